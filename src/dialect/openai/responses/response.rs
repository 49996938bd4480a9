//! Writes a whole answer as a `response`. What its members are called is shared with the stream, whose first and last events hold one too.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/responses/object>.

use std::borrow::Cow;

use super::Style;
use super::item::{Item, Status, custom_input};
use crate::chat::{ApiError, Citation, Envelope, ErrorKind, Part, Response, StopReason, Usage};
use crate::wire::json::{Array, Object, Text, escape_into};

/// How an answer ended, or that it has not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending<'a> {
    InProgress,
    Completed,
    /// Cut off: `max_output_tokens` or `content_filter`.
    Incomplete(&'static str),
    Failed(&'a ApiError),
}

impl Ending<'_> {
    pub(super) fn of(stop: &StopReason<'_>) -> Ending<'static> {
        match stop {
            StopReason::MaxTokens | StopReason::ContextWindowExceeded => Ending::Incomplete("max_output_tokens"),
            StopReason::ContentFiltered | StopReason::GuardrailIntervened => Ending::Incomplete("content_filter"),
            StopReason::EndTurn
            | StopReason::StopSequence
            | StopReason::ToolUse
            | StopReason::MalformedOutput
            | StopReason::MalformedToolUse
            | StopReason::Other(_) => Ending::Completed,
        }
    }

    pub(super) fn status(self) -> &'static str {
        match self {
            Ending::InProgress => Status::InProgress.as_str(),
            Ending::Completed => Status::Completed.as_str(),
            Ending::Incomplete(_) => Status::Incomplete.as_str(),
            Ending::Failed(_) => "failed",
        }
    }
}

/// All of a `response` but its items.
pub(super) struct Frame<'a> {
    pub(super) envelope: &'a Envelope,
    pub(super) style: &'a Style,
    pub(super) ending: Ending<'a>,
    /// How long it took.
    pub(super) elapsed_ms: u64,
    pub(super) usage: Option<&'a Usage>,
    pub(super) tier: Option<&'a Text<'a>>,
}

impl Frame<'_> {
    /// Appends `{"id":"resp_…","object":"response",…}` with the items that `output` writes.
    pub(super) fn write(&self, out: &mut Vec<u8>, output: impl FnOnce(&mut Array<'_>)) {
        Object::write(out, |body| {
            let id = body.key("id");
            id.extend_from_slice(b"\"resp_");
            escape_into(id, &self.envelope.id);
            id.push(b'"');
            body.string("object", "response");
            body.number("created_at", self.envelope.created);
            body.string("status", self.ending.status());
            body.bool("background", false);
            match self.ending {
                Ending::InProgress | Ending::Failed(_) => body.raw("completed_at", "null"),
                Ending::Completed | Ending::Incomplete(_) => body.number("completed_at", self.envelope.created.saturating_add(self.elapsed_ms / 1000)),
            }
            match self.ending {
                Ending::Failed(error) => body.object("error", |object| {
                    object.string("code", error_code(error.kind));
                    object.string("message", &error.message);
                }),
                _ => body.raw("error", "null"),
            }
            match self.ending {
                Ending::Incomplete(reason) => body.object("incomplete_details", |details| details.string("reason", reason)),
                _ => body.raw("incomplete_details", "null"),
            }
            body.string("model", &self.envelope.model);
            body.array("output", output);
            body.bool("store", self.style.store);
            if !self.style.echo.is_empty() {
                body.members(&self.style.echo);
            }
            if let Some(tier) = self.tier {
                body.text("service_tier", tier);
            }
            match self.usage {
                Some(usage) => self::usage(usage, body.key("usage")),
                None => body.raw("usage", "null"),
            }
        });
    }
}

/// The `code` of a failure inside an answer. The API has a closed list, most of which is about pictures.
fn error_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::RateLimited | ErrorKind::QuotaExceeded => "rate_limit_exceeded",
        ErrorKind::InvalidRequest | ErrorKind::ContextLengthExceeded | ErrorKind::TooLarge => "invalid_prompt",
        _ => "server_error",
    }
}

/// The value of `usage`. Here the input includes what came from the cache and what went into it.
fn usage(usage: &Usage, out: &mut Vec<u8>) {
    Object::write(out, |object| {
        object.number("input_tokens", usage.total_input_tokens());
        object.object("input_tokens_details", |details| {
            details.number("cached_tokens", usage.cache_read_tokens);
            details.number("cache_write_tokens", usage.cache_write_tokens);
        });
        object.number("output_tokens", usage.output_tokens);
        object.object("output_tokens_details", |details| details.number("reasoning_tokens", usage.reasoning_tokens.unwrap_or(0)));
        object.number("total_tokens", usage.total_tokens());
    });
}

/// Appends the answer. `elapsed_ms` is how long it took.
pub fn encode(response: &Response<'_>, envelope: &Envelope, style: &Style, elapsed_ms: u64, out: &mut Vec<u8>) {
    let ending = Ending::of(&response.stop);
    let frame = Frame { envelope, style, ending, elapsed_ms, usage: response.usage.as_ref(), tier: response.service_tier.as_ref() };
    frame.write(out, |output| items(response, envelope, style, matches!(ending, Ending::Incomplete(_)), output));
}

/// Appends the count of a request's tokens: `{"object":"response.input_tokens","input_tokens":7}`.
pub fn encode_count(tokens: u64, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        body.string("object", "response.input_tokens");
        body.number("input_tokens", tokens);
    });
}

/// Texts that follow each other are one message; all else is an item of its own.
fn items(response: &Response<'_>, envelope: &Envelope, style: &Style, is_cut: bool, output: &mut Array<'_>) {
    let mut parts = response.parts.as_slice();
    let (mut index, mut skipped) = (0, 0);
    while let Some((first, rest)) = parts.split_first() {
        parts = rest;
        let mut put = |item: Item<'_>, is_last: bool| {
            let status = if is_cut && is_last { Status::Incomplete } else { Status::Completed };
            item.write(&envelope.id, index, status, output.item());
            index += 1;
        };
        match first {
            Part::Text(text) => {
                let mut joined = Cow::Borrowed(text.escaped());
                while let Some((Part::Text(more), behind)) = parts.split_first() {
                    joined.to_mut().push_str(more.escaped());
                    parts = behind;
                }
                if joined.is_empty() {
                    continue;
                }
                let length = Text::from_escaped(&*joined).unescape().chars().count();
                let here = |citation: &&Citation<'_>| citation.span.start >= skipped && citation.span.start < skipped + length;
                let annotations: Vec<Citation<'_>> = response.citations.iter().filter(here).cloned().collect();
                put(Item::Message { text: Some(&joined), annotations: &annotations, skipped }, parts.is_empty());
                skipped += length;
            }
            Part::Reasoning(thought) => {
                let signature = thought.signature.as_ref().map_or("", Text::escaped);
                if !signature.is_empty() || !thought.text.is_empty() {
                    put(Item::Thought { text: thought.text.escaped(), signature, summary: style.summary }, parts.is_empty());
                }
            }
            Part::RedactedReasoning(content) => put(Item::Redacted { content: content.escaped() }, parts.is_empty()),
            Part::ToolUse(call) => {
                let arguments = Text::from_plain(if call.input.is_empty() { "{}" } else { &*call.input });
                let (id, name) = (call.id.escaped(), call.name.escaped());
                if style.is_custom(name) {
                    put(Item::Custom { id, name, input: &custom_input(arguments.escaped()) }, parts.is_empty());
                } else {
                    put(Item::Call { id, name, arguments: arguments.escaped() }, parts.is_empty());
                }
            }
            _ => {}
        }
    }
}
