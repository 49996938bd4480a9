//! The request's way: read in the client's dialect, written in the target's.

use crate::chat::{ApiError, Encoded, ErrorKind, Options, Request};
use crate::dialect::{Surface, anthropic, converse, openai};
use crate::translate::{Api, Client};

/// A chat request, read.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub request: Request<'a>,
    /// Whether the answer is to come piece by piece.
    pub stream: bool,
    /// How the client wants its answer written.
    pub client: Client,
}

/// A target as the encoders see it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The API it speaks.
    pub api: Api,
    /// What it is like.
    pub options: Options<'t>,
    /// The operator's guardrail, on Bedrock.
    pub guardrail: Option<&'t converse::Guardrail>,
}

impl<'a> Question<'a> {
    /// Reads a request body. `model` is the one in the path, for surfaces that have it there.
    ///
    /// # Errors
    /// 400, with the position in bytes or the member that is wrong.
    pub fn decode(surface: Surface, model: &'a str, body: &'a str) -> Result<Self, ApiError> {
        use anthropic::downstream::request::Purpose;
        Ok(match surface {
            Surface::ChatCompletions => {
                let decoded = openai::downstream::request::decode(body)?;
                Question { request: decoded.request, stream: decoded.stream, client: Client::OpenAi(decoded.style) }
            }
            Surface::Messages => {
                let decoded = anthropic::downstream::request::decode(body, Purpose::Messages)?;
                Question { request: decoded.request, stream: decoded.stream, client: Client::Anthropic(decoded.style) }
            }
            Surface::CountMessages => {
                let decoded = anthropic::downstream::request::decode(body, Purpose::Count)?;
                Question { request: decoded.request, stream: false, client: Client::Anthropic(decoded.style) }
            }
            Surface::Invoke | Surface::InvokeStream => {
                let decoded = anthropic::downstream::request::decode(body, Purpose::Invoke)?;
                Question { request: decoded.request, stream: surface == Surface::InvokeStream, client: Client::Invoke(decoded.style) }
            }
            Surface::Converse | Surface::ConverseStream => {
                let decoded = converse::downstream::request::decode(model, body)?;
                Question { request: decoded.request, stream: surface == Surface::ConverseStream, client: Client::Converse(decoded.style) }
            }
            Surface::Embeddings | Surface::CountTokens => return Err(ApiError::new(ErrorKind::Internal, "This is no chat request.")),
        })
    }

    /// Writes the request for a target.
    ///
    /// # Errors
    /// 400 naming the member that the target has no place for.
    pub fn encode(&self, target: &Target<'_>) -> Result<Encoded, ApiError> {
        match target.api {
            Api::Converse => converse::upstream::request::encode(&self.request, &converse_options(target)),
            Api::OpenAi => openai::upstream::request::encode(&self.request, &target.options),
            Api::Anthropic => anthropic::upstream::request::encode(&self.request, &target.options),
        }
    }

    /// Writes the question how many tokens the request has.
    ///
    /// # Errors
    /// As [`Question::encode`]; 400 where the API has no such operation.
    pub fn encode_count(&self, target: &Target<'_>) -> Result<Encoded, ApiError> {
        match target.api {
            Api::Converse => converse::upstream::request::encode_count(&self.request, &converse_options(target)),
            Api::Anthropic => anthropic::upstream::request::encode_count(&self.request, &target.options),
            Api::OpenAi => Err(ApiError::new(ErrorKind::InvalidRequest, "The provider of this model cannot count tokens.")),
        }
    }
}

fn converse_options<'t>(target: &Target<'t>) -> converse::upstream::request::Options<'t> {
    let options = &target.options;
    converse::upstream::request::Options {
        capabilities: options.capabilities,
        policy: options.policy,
        default_max_tokens: options.default_max_tokens,
        guardrail: target.guardrail,
        stream: options.stream,
    }
}
