//! The request's way: read in the client's dialect, written in the target's.

use std::collections::HashSet;

use crate::chat::{ApiError, Encoded, ErrorKind, Message, Options, Request};
use crate::dialect::{Surface, anthropic, converse, openai};
use crate::translate::{Api, Client};

/// A chat request, read.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub request: Request<'a>,
    /// Prompts beside the first, each a conversation of its own with the same settings.
    pub more: Vec<Message<'a>>,
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
                Question { request: decoded.request, more: Vec::new(), stream: decoded.stream, client: Client::OpenAi(decoded.style) }
            }
            Surface::Completions => {
                let decoded = openai::completions::request::decode(body)?;
                Question { request: decoded.request, more: decoded.more, stream: decoded.stream, client: Client::Completions(decoded.style) }
            }
            Surface::Responses | Surface::CountResponses => {
                let decoded = openai::responses::request::decode(body)?;
                Question { request: decoded.request, more: Vec::new(), stream: decoded.stream, client: Client::Responses(decoded.style) }
            }
            Surface::Messages => {
                let decoded = anthropic::downstream::request::decode(body, Purpose::Messages)?;
                Question { request: decoded.request, more: Vec::new(), stream: decoded.stream, client: Client::Anthropic(decoded.style) }
            }
            Surface::CountMessages => {
                let decoded = anthropic::downstream::request::decode(body, Purpose::Count)?;
                Question { request: decoded.request, more: Vec::new(), stream: false, client: Client::Anthropic(decoded.style) }
            }
            Surface::Invoke | Surface::InvokeStream => {
                let decoded = anthropic::downstream::request::decode(body, Purpose::Invoke)?;
                Question { request: decoded.request, more: Vec::new(), stream: surface == Surface::InvokeStream, client: Client::Invoke(decoded.style) }
            }
            Surface::Converse | Surface::ConverseStream => {
                let decoded = converse::downstream::request::decode(model, body)?;
                Question { request: decoded.request, more: Vec::new(), stream: surface == Surface::ConverseStream, client: Client::Converse(decoded.style) }
            }
            Surface::Embeddings | Surface::CountTokens => return Err(ApiError::new(ErrorKind::Internal, "This is no chat request.")),
        })
    }

    /// Writes the request for a target.
    ///
    /// # Errors
    /// 400 naming the member that the target has no place for.
    pub fn encode(&self, target: &Target<'_>) -> Result<Encoded, ApiError> {
        self.named(match target.api {
            Api::Converse => converse::upstream::request::encode(&self.request, &converse_options(target)),
            Api::OpenAi => openai::upstream::request::encode(&self.request, &target.options),
            Api::Anthropic => anthropic::upstream::request::encode(&self.request, &target.options),
        })
    }

    /// Writes the question how many tokens the request has.
    ///
    /// # Errors
    /// As [`Question::encode`]; 400 where the API has no such operation.
    pub fn encode_count(&self, target: &Target<'_>) -> Result<Encoded, ApiError> {
        self.named(match target.api {
            Api::Converse => converse::upstream::request::encode_count(&self.request, &converse_options(target)),
            Api::Anthropic => anthropic::upstream::request::encode_count(&self.request, &target.options),
            Api::OpenAi => Err(ApiError::new(ErrorKind::InvalidRequest, "The provider of this model cannot count tokens.")),
        })
    }

    /// Calls what was left out, or refused, by the names that the client knows.
    fn named(&self, encoded: Result<Encoded, ApiError>) -> Result<Encoded, ApiError> {
        let own = |name: &str| self.client.own_name(name);
        match encoded {
            Ok(mut encoded) => {
                for name in &mut encoded.dropped {
                    if let Some(own) = own(name) {
                        own.clone_into(name);
                    }
                }
                // What is two things elsewhere may be one here.
                let mut told = HashSet::new();
                encoded.dropped.retain(|name| told.insert(name.clone()));
                Ok(encoded)
            }
            Err(mut error) => {
                if let Some((own, param)) = error.param.as_deref().and_then(|param| Some((own(param)?, param))) {
                    error.message = error.message.replacen(param, own, 1).into();
                    error.param = Some(own.into());
                }
                Err(error)
            }
        }
    }
}

/// A member that not all APIs call by one name.
struct Names {
    /// OpenAI Chat's, which the canonical form goes by.
    chat: &'static str,
    responses: &'static str,
    anthropic: &'static str,
    converse: &'static str,
}

const fn names(chat: &'static str, responses: &'static str, anthropic: &'static str, converse: &'static str) -> Names {
    Names { chat, responses, anthropic, converse }
}

const NAMES: &[Names] = &[
    names("user", "user", "metadata.user_id", "requestMetadata"),
    names("stop", "stop", "stop_sequences", "inferenceConfig.stopSequences"),
    names("stop_sequences", "stop", "stop_sequences", "inferenceConfig.stopSequences"),
    names("max_tokens", "max_output_tokens", "max_tokens", "inferenceConfig.maxTokens"),
    names("temperature", "temperature", "temperature", "inferenceConfig.temperature"),
    names("top_p", "top_p", "top_p", "inferenceConfig.topP"),
    names("top_k", "top_k", "top_k", "additionalModelRequestFields.top_k"),
    names("thinking", "reasoning", "thinking", "additionalModelRequestFields.thinking"),
    names("reasoning_effort", "reasoning.effort", "output_config.effort", "outputConfig.effort"),
    names("effort", "reasoning.effort", "output_config.effort", "outputConfig.effort"),
    names("reasoning_content", "input[].encrypted_content", "thinking", "reasoningContent"),
    names("response_format", "text.format", "output_config.format", "outputConfig.textFormat"),
    names("cache_control", "prompt_cache_breakpoint", "cache_control", "cachePoint"),
    names("cache_control.ttl", "prompt_cache_options.ttl", "cache_control.ttl", "cachePoint.ttl"),
    names("metadata", "metadata", "metadata", "requestMetadata"),
    names("service_tier", "service_tier", "service_tier", "serviceTier"),
    names("tools", "tools", "tools", "toolConfig"),
    names("tools[].strict", "tools[].strict", "tools[].strict", "toolConfig.tools[].toolSpec.strict"),
    names("tool_choice", "tool_choice", "tool_choice", "toolConfig.toolChoice"),
    names("parallel_tool_calls", "parallel_tool_calls", "tool_choice.disable_parallel_tool_use", "toolConfig.toolChoice"),
];

impl Client {
    /// What a client calls a member that it knows under another name than OpenAI's chat clients.
    pub fn own_name(&self, name: &str) -> Option<&'static str> {
        // An item of its input became a message somewhere.
        if matches!(self, Client::Responses(_)) && name.starts_with("messages[") {
            return Some("input");
        }
        let names = NAMES.iter().find(|names| names.chat == name)?;
        match self {
            Client::OpenAi(_) | Client::Completions(_) => None,
            Client::Responses(_) => Some(names.responses),
            Client::Anthropic(_) | Client::Invoke(_) => Some(names.anthropic),
            Client::Converse(_) => Some(names.converse),
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
