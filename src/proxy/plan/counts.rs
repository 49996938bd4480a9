//! Token counts: whoever runs the model counts, in its own API; a model behind an OpenAI-type API cannot be asked.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Answer, Asked, Parts, Speaks, claude, edited, encoder_target, json_headers, post, speaks, text, unusable, version_header};
use crate::chat::ApiError;
use crate::config::snapshot::{ProviderKind, Target};
use crate::dialect::converse::downstream::request::{Count, decode_count};
use crate::dialect::{Surface, converse};
use crate::policy::route::Route;
use crate::provider::bedrock::{self, Operation};
use crate::provider::{anthropic, vertex};
use crate::translate::relay::Watched;
use crate::translate::{Api, Client, Question};
use crate::wire::json::{Edit, Object};

/// Plans a count.
pub(super) fn plan(asked: &Asked<'_>, route: &Route) -> Result<Parts, ApiError> {
    let target = &*route.target;
    match (asked.surface, speaks(target)) {
        (Surface::CountMessages, Speaks::Anthropic) => claude::relay_count(asked, target),
        (Surface::CountMessages, Speaks::Bedrock) if bedrock::is_claude(target.family_id()) => {
            let (inner, dropped) = claude::invoke_body(asked, &[("max_tokens", "1")])?;
            bedrock_count(target, invoke_question(&inner), dropped)
        }
        (Surface::CountMessages | Surface::CountResponses, speaks) => counted(route, speaks, Question::decode(asked.surface, asked.model, text(asked.body)?)?),
        (_, Speaks::Bedrock) => {
            let answer = Answer::Relay { watched: Watched::Nothing, api: Api::Converse, native: false };
            Ok(Parts { answer, ..bedrock_count(target, asked.body.clone(), Vec::new())? })
        }
        (_, speaks) => match decode_count(asked.model, text(asked.body)?)? {
            Count::Converse(request) => {
                let client = Client::Converse(converse::Style::default());
                counted(route, speaks, Question { request: *request, more: Vec::new(), stream: false, client })
            }
            Count::Invoke(body) => {
                let inner = std::str::from_utf8(&body).map_err(|_| ApiError::invalid("input.invokeModel.body", "The body is not valid UTF-8."))?;
                counted(route, speaks, Question::decode(Surface::Invoke, asked.model, inner)?)
            }
        },
    }
}

/// `{"input":{"invokeModel":{"body":"<base64>"}}}`
fn invoke_question(inner: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(inner.len() * 4 / 3 + 64);
    Object::write(&mut out, |body| body.object("input", |input| input.object("invokeModel", |invoke| invoke.string("body", &STANDARD.encode(inner)))));
    out.into()
}

fn bedrock_count(target: &Target, body: Bytes, dropped: Vec<String>) -> Result<Parts, ApiError> {
    let bedrock = target.provider.bedrock().ok_or_else(unusable)?;
    let path = bedrock::path(&bedrock.endpoint, bedrock::counted_model(target.family_id()), Operation::CountTokens);
    Ok(Parts { call: post(path, json_headers()), body, stream: false, dropped, answer: Answer::Count(Api::Converse), fan: None })
}

/// The question in the target's API.
fn counted(route: &Route, speaks: Speaks, question: Question<'_>) -> Result<Parts, ApiError> {
    let target = &*route.target;
    let (api, model) = match speaks {
        Speaks::Bedrock => (Api::Converse, Cow::Borrowed(target.model.as_str())),
        Speaks::Anthropic => (Api::Anthropic, Cow::Borrowed(vertex::claude(&target.model))),
        Speaks::OpenAi => (Api::OpenAi, Cow::Borrowed(target.model.as_str())),
    };
    let encoded = question.encode_count(&encoder_target(route, &model, api, false))?;
    let body = Bytes::from(encoded.body);
    let mut headers = json_headers();
    let (path, body) = match &target.provider.kind {
        ProviderKind::Bedrock(_) => return bedrock_count(target, body, encoded.dropped),
        ProviderKind::Anthropic { base_url, .. } => {
            version_header(&mut headers);
            (anthropic::count_path(base_url), body)
        }
        ProviderKind::Vertex { project: Some(project), location, endpoint, .. } => {
            let version = super::quoted(anthropic::VERTEX_VERSION);
            (vertex::Place { endpoint, project, location }.count_path(), edited(&body, &[Edit::Set("anthropic_version", &version)])?)
        }
        _ => return Err(unusable()),
    };
    Ok(Parts { call: post(path, headers), body, stream: false, dropped: encoded.dropped, answer: Answer::Count(api), fan: None })
}
