//! OpenAI Responses: its clients. Requests are read; answers and streams are written. Those of providers that speak the API pass, and are listened to ([`tap`]).
//!
//! An answer is a list of items: messages, tool calls and thoughts, each with an id that begins with its kind and holds the answer's own, so that an item is
//! found where its answer is kept: `resp_<id>`, `msg_<id>_0`, `fc_<id>_1`. Errors have the shape of OpenAI's other APIs.
//!
//! Two things have no equal in the canonical form:
//! - A custom tool, whose input is free text, becomes a function with one text, [`INPUT`]; its calls become custom calls again.
//! - `encrypted_content` of a thought holds the thought and the model's seal over it, or what the model encrypted itself: see [`seal`].
//!
//! Vendor pages: <https://platform.openai.com/docs/api-reference/responses>, <https://github.com/openai/openai-openapi> (version 2.3.0).

mod item;
pub mod kept;
pub mod request;
pub mod response;
pub mod seal;
pub mod stream;
pub mod tap;

use std::sync::Arc;

/// The one member of the function that stands for a custom tool.
pub const INPUT: &str = "input";

/// What the answer must look like, as far as the request decides it.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// The members that say again what was asked for, as JSON without braces: `"instructions":null,"tools":[],…`.
    pub echo: Arc<str>,
    /// The custom tools, by their names in escaped form.
    pub custom: Arc<[String]>,
    /// Thoughts are shown as summaries, for the client asked for these; otherwise as what they are.
    pub summary: bool,
    /// The answer is kept.
    pub store: bool,
}

impl Style {
    /// Whether a tool is a custom one.
    fn is_custom(&self, name: &str) -> bool {
        self.custom.iter().any(|custom| custom == name)
    }
}
