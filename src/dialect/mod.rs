//! The JSON APIs: each folder turns one API's shape into the canonical form and back.
//!
//! A new API is one folder here and one line in [`Dialect`] or in the path table below; a folder never imports another one.

pub mod anthropic;
pub mod converse;
pub mod invoke;
pub mod openai;
pub mod vertex;

use crate::chat::ApiError;

/// The APIs that clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's: also the shape of errors on paths that nobody knows.
    OpenAi,
}

impl Dialect {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
        }
    }

    /// An error as this API writes it: the JSON body.
    pub fn error_body(self, error: &ApiError) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + error.message.len());
        match self {
            Dialect::OpenAi => openai::downstream::error::encode(error, &mut out),
        }
        out
    }
}

/// What a client can ask of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// OpenAI Chat Completions, whole or streamed.
    ChatCompletions,
}

impl Surface {
    /// The API it belongs to.
    pub fn dialect(self) -> Dialect {
        match self {
            Surface::ChatCompletions => Dialect::OpenAi,
        }
    }

    /// The operation's name by OpenTelemetry's GenAI conventions.
    pub fn operation(self) -> &'static str {
        match self {
            Surface::ChatCompletions => "chat",
        }
    }
}

/// Path → surface. All of them take POST.
const SURFACES: &[(&str, Surface)] = &[
    ("/v1/chat/completions", Surface::ChatCompletions),
    ("/api/v1/chat/completions", Surface::ChatCompletions),
    ("/chat/completions", Surface::ChatCompletions),
];

/// The surface behind a path.
pub fn surface(path: &str) -> Option<Surface> {
    SURFACES.iter().find(|(known, _)| *known == path).map(|(_, surface)| *surface)
}
