//! Claude's own format on Bedrock: bodies and answers of InvokeModel for ids of Anthropic's, and for ids that hide their model.
//!
//! A body is a request of the Messages API without `model` and `stream` and with `anthropic_version`. It is checked against the published types (`schema`)
//! and against what Anthropic asks for beyond them (`rules`, `order`). The answer is worked out as for Converse (`conversation`) and written as a Message or
//! as the events of one (`render`).
//!
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>, <https://platform.claude.com/docs/en/api/messages>.

use http::HeaderMap;
use serde_json::Value;

use super::answer::{PromptCache, Question, count_tokens};
use super::failure::Failure;
use super::family::Family;
use super::knobs::{Kind, Knobs};
use super::render::{Body, Output};
use super::rules::Checked;

use turns::Turn;

mod conversation;
mod order;
mod render;
mod rules;
mod schema;
mod turns;

/// A request for Claude.
pub(super) struct Request<'r> {
    /// Model id without knobs.
    pub model: &'r str,
    pub family: Family,
    pub knobs: &'r Knobs,
    pub headers: &'r HeaderMap,
    pub body: &'r Value,
    /// Hex SHA-256 of the body: what makes ids differ.
    pub body_sha256: &'r str,
    pub stream: bool,
}

impl Request<'_> {
    /// The answer, a Message or a stream of events.
    ///
    /// # Errors
    /// The refusal of a body that breaks a rule, and of knobs that ask for what Claude does not say.
    pub(super) fn answer(&self, cache: &PromptCache) -> Result<Output, Failure> {
        check(self.model, self.body, self.family)?;
        if self.knobs.answer == Some(Kind::Image) {
            return Err(Failure::validation("The sandbox knob 'answer' takes no 'image' here: a Message has no images."));
        }
        let body = conversation::of(self.body, self.headers);
        let question = Question { model: self.model, family: self.family, knobs: self.knobs, body: &body, body_sha256: self.body_sha256 };
        let answer = question.answer(cache);
        let message = render::Message::of(&answer, &question, body.get("guardrailConfig").is_some());
        Ok(if self.stream { Body::Stream(message.frames()).into() } else { Output { body: Body::Json(message.body()), headers: message.headers() } })
    }
}

/// How many tokens an invoke body has.
///
/// # Errors
/// As [`Request::answer`].
pub(super) fn count(model: &str, body: &Value, family: Family) -> Result<usize, Failure> {
    check(model, body, family)?;
    Ok(count_tokens(&conversation::of(body, &HeaderMap::new())))
}

fn check(model: &str, body: &Value, family: Family) -> Checked {
    rules::check_envelope(model, body, family)?;
    schema::check(body)?;
    let turns = Turn::all(super::rules::items(body, "messages"));
    rules::check(model, body, family, &turns)?;
    order::check(body, family, &turns)
}

#[cfg(test)]
mod tests;
