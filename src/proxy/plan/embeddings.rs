//! Embeddings from models that have an API of their own for them: one call a text or a few, the vectors in the order of the texts.

use bytes::Bytes;

use super::{Answer, Asked, Fan, Parts, accept, json_headers, post, text, unusable};
use crate::chat::embedding::{Embeddings, Encoding, Vector};
use crate::chat::{ApiError, ErrorKind, Policy};
use crate::config::snapshot::ProviderKind;
use crate::dialect::openai::downstream::embeddings;
use crate::dialect::{invoke, vertex as vertex_dialect};
use crate::policy::route::Route;
use crate::provider::bedrock::{self, Operation};
use crate::provider::vertex;
use crate::translate::Api;

/// The calls that a request becomes, and how their answers are read.
#[derive(Debug)]
pub(in crate::proxy) struct Vectors {
    /// The body of each call, and how many vectors its answer must hold.
    pub(in crate::proxy) calls: Vec<(Bytes, usize)>,
    /// Whose answers come.
    reads: Reads,
    /// How the client wants its vectors written.
    encoding: Encoding,
}

#[derive(Clone, Copy, Debug)]
enum Reads {
    Invoke(invoke::embeddings::Family),
    Vertex,
}

/// Plans a request for embeddings.
pub(super) fn plan(asked: &Asked<'_>, route: &Route) -> Result<Parts, ApiError> {
    let target = &*route.target;
    let request = embeddings::decode(text(asked.body)?)?;
    let policy = route.model.as_ref().map_or_else(Policy::default, |model| model.policy);
    let input_type = target.input_type.as_deref();
    let mut headers = json_headers();
    headers.push(accept(false, ""));
    let (path, reads, calls) = match &target.provider.kind {
        ProviderKind::Bedrock(bedrock) => {
            let family = invoke::embeddings::Family::of(target.family_id())?;
            let calls = invoke::embeddings::plan(&request, target.family_id(), input_type, policy)?;
            (bedrock::path(&bedrock.endpoint, &target.model, Operation::Invoke), Reads::Invoke(family), calls)
        }
        ProviderKind::Vertex { project: Some(project), location, endpoint, .. } => {
            let calls = vertex_dialect::embeddings::plan(&request, &target.model, input_type, policy)?;
            (vertex::Place { endpoint, project, location }.predict_path(&target.model), Reads::Vertex, calls)
        }
        ProviderKind::Anthropic { .. } => return Err(ApiError::invalid("model", "The provider of this model has no embeddings.")),
        _ => return Err(unusable()),
    };
    let answer = Answer::Count(if matches!(reads, Reads::Vertex) { Api::OpenAi } else { Api::Converse });
    let bodies = calls.bodies.into_iter().map(Bytes::from).zip(calls.vectors).collect();
    let vectors = Vectors { calls: bodies, reads, encoding: request.encoding };
    Ok(Parts { call: post(path, headers), body: Bytes::new(), stream: false, dropped: calls.dropped, answer, fan: Some(Fan::Vectors(vectors)) })
}

/// Reads the answer to one call.
///
/// # Errors
/// 502 for what is no answer, or one with another number of vectors.
pub(in crate::proxy) fn read<'a>(vectors: &Vectors, body: &'a [u8], count: usize) -> Result<Embeddings<'a>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::new(ErrorKind::BadUpstream, "The model provider's answer is not valid UTF-8."))?;
    let read = match vectors.reads {
        Reads::Invoke(family) => invoke::embeddings::decode(family, text)?,
        Reads::Vertex => vertex_dialect::embeddings::decode(text)?,
    };
    read.of_texts(count)
}

/// Writes the client's answer.
pub(in crate::proxy) fn encode(vectors: &Vectors, model: &str, all: Vec<Vector<'_>>, tokens: u64, out: &mut Vec<u8>) {
    embeddings::encode(model, all, vectors.encoding, tokens, out);
}
