//! Composition: from one dialect to another, still without I/O.
//!
//! The request's way is two calls around the routing decision: [`Question::decode`] reads what a client wrote, [`Question::encode`] writes it for the target that was
//! chosen. The answer's way is what the rest of this folder holds: [`Translation`] gives whole bodies ([`body`]) and streams ([`stream`]); [`relay`] watches what
//! passes untouched; [`reframe`] puts one dialect from one framing into another. [`audit`] is what may be told of either way's bodies.

pub mod approach;
pub mod audit;
pub mod body;
pub mod choices;
pub mod prefix;
pub mod question;
pub mod reframe;
pub mod relay;
pub mod remote;
pub mod replay;
pub mod sameness;
pub mod stream;

use crate::chat::{ApiError, End, Envelope, EventDecoder, EventEncoder, Response, Restore, StopReason, Usage};
use crate::dialect::{Dialect, anthropic, converse, openai};
use crate::wire::sse;

pub use question::{Question, Target};

/// The APIs that upstreams speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Bedrock Converse.
    Converse,
    /// OpenAI Chat Completions.
    OpenAi,
    /// Anthropic Messages.
    Anthropic,
}

/// How a client wants its answer written, as far as its API and its request decide it.
#[derive(Clone, Debug)]
pub enum Client {
    /// OpenAI Chat Completions.
    OpenAi(openai::Style),
    /// OpenAI's legacy Completions.
    Completions(openai::completions::Style),
    /// OpenAI Responses.
    Responses(openai::responses::Style),
    /// Anthropic Messages.
    Anthropic(anthropic::Style),
    /// Anthropic Messages in the envelope of InvokeModel.
    Invoke(anthropic::Style),
    /// Bedrock Converse.
    Converse(converse::Style),
}

/// What the answer's translation needs of the request.
#[derive(Clone, Debug)]
pub struct Translation {
    /// Id, model and time that the client sees.
    pub envelope: Envelope,
    /// How the client wants its answer written.
    pub client: Client,
    /// How the upstream writes it.
    pub api: Api,
    /// What the request's encoding changed and the answer must change back.
    pub restore: Restore,
}

/// What the gateway learns from an answer while it passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Tokens, where the upstream said so.
    pub usage: Option<Usage>,
    /// Why the model stopped, by its stable name.
    pub stop: Option<&'static str>,
    /// Events that this version does not know.
    pub unknown_events: u32,
}

impl Facts {
    fn stopped(&mut self, reason: &StopReason<'_>) {
        self.stop = Some(reason.as_str());
    }
}

impl Api {
    /// Reads an upstream's HTTP error. `name` is the header `x-amzn-errortype`, `retry_after` the header `retry-after`.
    #[must_use]
    pub fn error(self, status: u16, name: Option<&str>, retry_after: Option<&str>, body: &[u8]) -> ApiError {
        match self {
            Api::Converse => converse::upstream::error::decode(status, name, retry_after, body),
            Api::OpenAi => openai::upstream::error::decode(status, retry_after, body),
            Api::Anthropic => anthropic::upstream::error::decode(status, retry_after, body),
        }
    }

    fn decode<'a>(self, text: &'a str, restore: &'a Restore) -> Result<Response<'a>, ApiError> {
        match self {
            Api::Converse => converse::upstream::response::decode(text, restore),
            Api::OpenAi => openai::upstream::response::decode(text, restore),
            Api::Anthropic => anthropic::upstream::response::decode(text, restore),
        }
    }

    fn decoder(self, restore: Restore) -> Box<dyn EventDecoder> {
        match self {
            Api::Converse => Box::new(converse::upstream::stream::Decoder::new(restore)),
            Api::OpenAi => Box::new(openai::upstream::stream::Decoder::new(restore)),
            Api::Anthropic => Box::new(anthropic::upstream::stream::Decoder::new(restore)),
        }
    }
}

impl Client {
    /// The API it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Client::OpenAi(_) | Client::Completions(_) => Dialect::OpenAi,
            Client::Responses(_) => Dialect::Responses,
            Client::Anthropic(_) => Dialect::Anthropic,
            Client::Invoke(_) | Client::Converse(_) => Dialect::Bedrock,
        }
    }

    /// The same for an answer that is not kept, whatever the request says.
    #[must_use]
    pub fn unkept(mut self) -> Self {
        if let Client::Responses(style) = &mut self {
            style.store = false;
        }
        self
    }

    fn encoder(&self, envelope: &Envelope) -> Box<dyn EventEncoder> {
        match self {
            Client::OpenAi(style) => Box::new(openai::downstream::stream::Encoder::new(envelope, style)),
            Client::Completions(style) => Box::new(openai::completions::stream::Encoder::new(envelope, style)),
            Client::Responses(style) => Box::new(openai::responses::stream::Encoder::new(envelope, style)),
            Client::Anthropic(style) => Box::new(anthropic::downstream::stream::Encoder::new(envelope, style)),
            Client::Invoke(style) => Box::new(reframe::Enveloped::new(Box::new(anthropic::downstream::stream::Encoder::new(envelope, style)))),
            Client::Converse(style) => Box::new(converse::downstream::stream::Encoder::new().with_style(*style)),
        }
    }
}

/// What keeps a silent stream of a dialect alive, where the dialect has such a thing: it stands between two events.
#[must_use]
pub fn keep_alive(dialect: Dialect) -> Option<&'static [u8]> {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => Some(sse::COMMENT),
        Dialect::Anthropic => Some(anthropic::downstream::stream::PING),
        // Bedrock's own streams are silent too, and a frame of no known kind is for each SDK to trip over.
        Dialect::Bedrock => None,
    }
}

/// The last words of a stream that failed, in a client's dialect, between two events; so many have passed, where the dialect numbers them.
#[must_use]
pub fn stream_error(dialect: Dialect, error: &ApiError, events: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let envelope = Envelope { id: String::new(), model: String::new(), created: 0 };
    let client = match dialect {
        Dialect::OpenAi => Client::OpenAi(openai::Style::default()),
        // Whether an answer was begun, and as which, is not known here.
        Dialect::Responses => {
            openai::responses::stream::write_error(error, events, &mut out);
            return out;
        }
        Dialect::Anthropic => Client::Anthropic(anthropic::Style::default()),
        Dialect::Bedrock => Client::Converse(converse::Style::default()),
    };
    client.encoder(&envelope).finish(&End::Failed(error.clone()), &mut out);
    out
}

/// The media type of a dialect's streams.
#[must_use]
pub fn stream_type(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic => "text/event-stream; charset=utf-8",
        Dialect::Bedrock => crate::wire::eventstream::CONTENT_TYPE,
    }
}
