//! OpenAI's legacy Completions: its clients, over the same canonical form. A prompt becomes what a user says, and what the model says is the text that goes on.
//!
//! Models that continue a text as it stands are not behind the providers' chat APIs: an answer is one, not a continuation. Thoughts have no place, and are left out.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/completions>.

pub mod request;
pub mod response;
pub mod stream;

use std::sync::Arc;

use crate::chat::{Envelope, StopReason};
use crate::wire::json::{Object, escape_into};

/// What the answer must look like, as far as the request decides it.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// How many answers each prompt gets; none is one.
    pub n: u32,
    /// `stream_options.include_usage`: the stream ends with a chunk that holds the token counts.
    pub include_usage: bool,
    /// The prompts, in escaped form, where each stands in front of its answers.
    pub echo: Arc<[String]>,
}

impl Style {
    /// What stands in front of an answer, in escaped form.
    fn before(&self, choice: usize) -> &str {
        choice.checked_div(self.n.max(1) as usize).and_then(|prompt| self.echo.get(prompt)).map_or("", String::as_str)
    }
}

/// The members that open an answer and every chunk of one.
fn head(body: &mut Object<'_>, envelope: &Envelope) {
    let id = body.key("id");
    id.extend_from_slice(b"\"cmpl-");
    escape_into(id, &envelope.id);
    id.push(b'"');
    body.string("object", "text_completion");
    body.number("created", envelope.created);
    body.string("model", &envelope.model);
}

/// What a stop reason is called.
fn finish_reason(stop: &StopReason<'_>) -> &'static str {
    match stop {
        StopReason::MaxTokens | StopReason::ContextWindowExceeded => "length",
        StopReason::ContentFiltered | StopReason::GuardrailIntervened => "content_filter",
        StopReason::EndTurn
        | StopReason::StopSequence
        | StopReason::ToolUse
        | StopReason::MalformedOutput
        | StopReason::MalformedToolUse
        | StopReason::Other(_) => "stop",
    }
}
