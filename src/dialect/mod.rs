//! The JSON APIs: each folder turns one API's shape into the canonical form and back, on the side of clients (`downstream`) and of model providers (`upstream`).
//!
//! A new API is one folder here, its lines in [`Dialect`] and [`Surface`], and its paths in the table below; a folder never imports another one.

pub mod anthropic;
pub mod converse;
pub mod invoke;
pub mod openai;
pub mod vertex;

use std::borrow::Cow;

use crate::chat::ApiError;
use crate::chat::members::{Members, Told};

/// The APIs that clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's: also the shape of errors on paths that nobody knows.
    OpenAi,
    /// OpenAI Responses: the errors of the others, and streams of its own.
    Responses,
    /// Anthropic's.
    Anthropic,
    /// That of the Bedrock runtime.
    Bedrock,
}

impl Dialect {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Responses => "responses",
            Dialect::Anthropic => "anthropic",
            Dialect::Bedrock => "bedrock",
        }
    }

    /// An error as this API writes it: the JSON body.
    pub fn error_body(self, error: &ApiError, request_id: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + error.message.len());
        match self {
            Dialect::OpenAi | Dialect::Responses => openai::downstream::error::encode(error, &mut out),
            Dialect::Anthropic => anthropic::downstream::error::encode(error, Some(request_id), &mut out),
            Dialect::Bedrock => converse::downstream::error::encode(error, &mut out),
        }
        out
    }

    /// The name of an error that goes into a header, where the API has one.
    pub fn error_name(self, error: &ApiError) -> Option<(&'static str, &'static str)> {
        match self {
            Dialect::Bedrock => Some(("x-amzn-errortype", converse::downstream::error::name(error.kind, error.status))),
            Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic => None,
        }
    }

    /// The status that goes with an error: Bedrock's clients know some errors by a status of their own.
    pub fn status(self, error: &ApiError) -> u16 {
        match self {
            Dialect::Bedrock => converse::downstream::error::status(error),
            Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic => error.status,
        }
    }

    /// The header in which clients of this API look for the request's id.
    pub fn id_header(self) -> Option<&'static str> {
        match self {
            Dialect::OpenAi | Dialect::Responses => None,
            Dialect::Anthropic => Some("request-id"),
            Dialect::Bedrock => Some("x-amzn-requestid"),
        }
    }
}

/// How much of a member may be told where content may not. One answer for all APIs: bodies pass that are of another API than their path, and what is a
/// word in one of them and content in another is content.
#[must_use]
pub fn told(name: &str) -> Told {
    const ALL: [Members; 5] =
        [openai::members::MEMBERS, anthropic::members::MEMBERS, converse::members::MEMBERS, invoke::members::MEMBERS, vertex::members::MEMBERS];
    Members::told(&ALL, name)
}

/// What a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// OpenAI Chat Completions, whole or streamed.
    ChatCompletions,
    /// OpenAI's legacy Completions, whole or streamed.
    Completions,
    /// OpenAI Responses, whole or streamed.
    Responses,
    /// How many tokens a Responses request has.
    CountResponses,
    /// OpenAI Embeddings.
    Embeddings,
    /// Anthropic Messages, whole or streamed.
    Messages,
    /// How many tokens a Messages request has.
    CountMessages,
    /// Bedrock Converse.
    Converse,
    /// Bedrock ConverseStream.
    ConverseStream,
    /// Bedrock InvokeModel: the model's own API, whole.
    Invoke,
    /// Bedrock InvokeModelWithResponseStream: the model's own API, streamed.
    InvokeStream,
    /// How many tokens a Converse or InvokeModel request has.
    CountTokens,
}

impl Surface {
    /// The API it belongs to.
    pub fn dialect(self) -> Dialect {
        match self {
            Surface::ChatCompletions | Surface::Completions | Surface::Embeddings => Dialect::OpenAi,
            Surface::Responses | Surface::CountResponses => Dialect::Responses,
            Surface::Messages | Surface::CountMessages => Dialect::Anthropic,
            Surface::Converse | Surface::ConverseStream | Surface::Invoke | Surface::InvokeStream | Surface::CountTokens => Dialect::Bedrock,
        }
    }

    /// The operation's name by OpenTelemetry's GenAI conventions.
    pub fn operation(self) -> &'static str {
        match self {
            Surface::ChatCompletions | Surface::Responses | Surface::Messages | Surface::Converse | Surface::ConverseStream => "chat",
            Surface::Completions => "text_completion",
            Surface::Embeddings => "embeddings",
            Surface::CountMessages | Surface::CountResponses | Surface::CountTokens => "count_tokens",
            Surface::Invoke | Surface::InvokeStream => "invoke",
        }
    }

    /// The route's name in metrics.
    pub fn route(self) -> &'static str {
        match self {
            Surface::ChatCompletions => "/v1/chat/completions",
            Surface::Completions => "/v1/completions",
            Surface::Responses => "/v1/responses",
            Surface::CountResponses => "/v1/responses/input_tokens",
            Surface::Embeddings => "/v1/embeddings",
            Surface::Messages => "/v1/messages",
            Surface::CountMessages => "/v1/messages/count_tokens",
            Surface::Converse => "/model/{id}/converse",
            Surface::ConverseStream => "/model/{id}/converse-stream",
            Surface::Invoke => "/model/{id}/invoke",
            Surface::InvokeStream => "/model/{id}/invoke-with-response-stream",
            Surface::CountTokens => "/model/{id}/count-tokens",
        }
    }
}

/// Path → surface. All of them take POST.
const SURFACES: &[(&str, Surface)] = &[
    ("/v1/chat/completions", Surface::ChatCompletions),
    ("/api/v1/chat/completions", Surface::ChatCompletions),
    ("/chat/completions", Surface::ChatCompletions),
    ("/v1/completions", Surface::Completions),
    ("/api/v1/completions", Surface::Completions),
    ("/completions", Surface::Completions),
    ("/v1/responses", Surface::Responses),
    ("/api/v1/responses", Surface::Responses),
    ("/responses", Surface::Responses),
    ("/v1/responses/input_tokens", Surface::CountResponses),
    ("/api/v1/responses/input_tokens", Surface::CountResponses),
    ("/responses/input_tokens", Surface::CountResponses),
    ("/v1/messages", Surface::Messages),
    ("/v1/messages/count_tokens", Surface::CountMessages),
    ("/v1/embeddings", Surface::Embeddings),
    ("/api/v1/embeddings", Surface::Embeddings),
    ("/embeddings", Surface::Embeddings),
];

/// Last segment of a path of the Bedrock runtime → surface.
const OPERATIONS: &[(&str, Surface)] = &[
    ("converse", Surface::Converse),
    ("converse-stream", Surface::ConverseStream),
    ("invoke", Surface::Invoke),
    ("invoke-with-response-stream", Surface::InvokeStream),
    ("count-tokens", Surface::CountTokens),
];

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place<'p> {
    /// An API of ours; the model is named in the body.
    Surface(Surface),
    /// The Bedrock runtime's; the model stands in the path. `provider` is the one that the path names.
    Model {
        /// What is asked.
        surface: Surface,
        /// Decoded once.
        model: Cow<'p, str>,
        /// The provider that the path names.
        provider: Option<&'p str>,
    },
    /// A provider's own API: what is behind `/providers/{provider}`, slash included.
    Native {
        /// The provider that the path names.
        provider: &'p str,
        /// As the client wrote it.
        rest: &'p str,
    },
}

/// What a path asks for, if it is one of a model's. The path is as it stands on the wire, still encoded.
pub fn place(path: &str) -> Option<Place<'_>> {
    if let Some((_, surface)) = SURFACES.iter().find(|(known, _)| *known == path) {
        return Some(Place::Surface(*surface));
    }
    if let Some((surface, model)) = path.strip_prefix("/bedrock").and_then(runtime).or_else(|| runtime(path)) {
        return Some(Place::Model { surface, model, provider: None });
    }
    let rest = path.strip_prefix("/providers/")?;
    let slash = rest.find('/')?;
    let (provider, rest) = rest.split_at(slash);
    if provider.is_empty() {
        return None;
    }
    Some(match runtime(rest) {
        Some((surface, model)) if matches!(provider, "bedrock" | "aws") => Place::Model { surface, model, provider: Some(provider) },
        _ => Place::Native { provider, rest },
    })
}

/// The API that somebody who asks for an unknown path most likely speaks: his SDK can show errors of its own API only.
pub fn nearest(path: &str) -> Dialect {
    match path.split('/').nth(1) {
        Some("model" | "bedrock") => Dialect::Bedrock,
        Some("v1") if path.starts_with("/v1/messages") => Dialect::Anthropic,
        _ => Dialect::OpenAi,
    }
}

/// `/model/{id}/converse` → what it asks and the id, decoded once. An id is one segment; SDKs that leave its slashes bare are understood all the same.
pub fn runtime(path: &str) -> Option<(Surface, Cow<'_, str>)> {
    let (id, operation) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let (_, surface) = OPERATIONS.iter().find(|(known, _)| *known == operation)?;
    let id = percent_encoding::percent_decode_str(id).decode_utf8().ok()?;
    (!id.is_empty()).then_some((*surface, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_table_decides_what_is_told_of_a_member() {
        for (name, expected) in [
            ("role", Told::Word),
            ("stop_reason", Told::Word),
            ("stopReason", Told::Word),
            ("content", Told::Name),
            ("messages", Told::Name),
            ("arguments", Told::Opaque),
            ("input", Told::Opaque),
            ("json", Told::Opaque),
            ("card_number", Told::Nothing),
            ("", Told::Nothing),
        ] {
            assert_eq!(told(name), expected, "{name}");
        }
        let all = [openai::members::MEMBERS, anthropic::members::MEMBERS, converse::members::MEMBERS, invoke::members::MEMBERS, vertex::members::MEMBERS];
        assert!(all.iter().all(Members::is_sorted));
    }

    #[test]
    fn paths_lead_to_surfaces() {
        let model = |surface, model: &'static str, provider| Some(Place::Model { surface, model: Cow::Borrowed(model), provider });
        for (path, expected) in [
            ("/v1/chat/completions", Some(Place::Surface(Surface::ChatCompletions))),
            ("/v1/completions", Some(Place::Surface(Surface::Completions))),
            ("/v1/responses", Some(Place::Surface(Surface::Responses))),
            ("/responses/input_tokens", Some(Place::Surface(Surface::CountResponses))),
            ("/v1/messages", Some(Place::Surface(Surface::Messages))),
            ("/v1/messages/count_tokens", Some(Place::Surface(Surface::CountMessages))),
            ("/v1/embeddings", Some(Place::Surface(Surface::Embeddings))),
            ("/model/m/converse", model(Surface::Converse, "m", None)),
            ("/bedrock/model/a.b-v1%3A0/invoke", model(Surface::Invoke, "a.b-v1:0", None)),
            ("/providers/bedrock/model/a.b-v1:0/count-tokens", model(Surface::CountTokens, "a.b-v1:0", Some("bedrock"))),
            ("/providers/aws/model/m/invoke-with-response-stream", model(Surface::InvokeStream, "m", Some("aws"))),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse-stream",
                model(Surface::ConverseStream, "arn:aws:bedrock:us-east-1:1:inference-profile/us.x", None),
            ),
            ("/providers/openai/v1/models", Some(Place::Native { provider: "openai", rest: "/v1/models" })),
            ("/providers/openai/model/m/converse", Some(Place::Native { provider: "openai", rest: "/model/m/converse" })),
            ("/providers/bedrock/guardrail/g/version/1/apply", Some(Place::Native { provider: "bedrock", rest: "/guardrail/g/version/1/apply" })),
            ("/providers/openai", None),
            ("/providers//v1", None),
            ("/model//converse", None),
            ("/model/m/unknown", None),
            ("/model/%ff/converse", None),
            ("/v1/other", None),
        ] {
            assert_eq!(place(path), expected, "{path}");
        }
    }

    #[test]
    fn unknown_paths_are_answered_in_the_api_that_they_look_like() {
        for (path, expected) in [
            ("/model/m/unknown", Dialect::Bedrock),
            ("/bedrock/model/m/unknown", Dialect::Bedrock),
            ("/v1/messages/batches", Dialect::Anthropic),
            ("/v1/other", Dialect::OpenAi),
            ("/modelx", Dialect::OpenAi),
            ("/", Dialect::OpenAi),
            ("", Dialect::OpenAi),
        ] {
            assert_eq!(nearest(path), expected, "{path}");
        }
    }
}
