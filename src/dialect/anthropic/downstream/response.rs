//! Writes a whole answer as a `message`. What the stop reasons and tokens are called here is shared with the stream.
//!
//! Parts stay blocks of their own, in the model's order, so that a client that sends the message back gives the model its thoughts back byte for byte. A
//! thought without a seal has an empty one, as the API wants the member. Empty texts are left out: the API refuses them when they come back.
//!
//! Citations of web pages are left out: the API's own hold the words that are cited and a key that only its servers make, and an upstream tells neither.
//!
//! Vendor page: <https://platform.claude.com/docs/en/api/messages>.

use crate::chat::{Envelope, Part, Reasoning, Response, StopReason, ToolUse, Usage};
use crate::dialect::anthropic::Style;
use crate::wire::json::{Array, Kind, Object, Raw, Text, escape_into};

/// Appends the answer:
/// `{"id":"msg_…","type":"message","role":"assistant","model":"…","content":[…],"stop_reason":"…","stop_sequence":null,"usage":{…}}`.
///
/// The API promises `usage`: where the upstream does not tell it, it is all zeros.
pub fn encode(response: &Response<'_>, envelope: &Envelope, style: &Style, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        head(body, envelope);
        body.array("content", |content| response.parts.iter().for_each(|part| block(content, part)));
        let tools = response.parts.iter().any(|part| matches!(part, Part::ToolUse(_)));
        let reason = stop_reason(&response.stop, tools);
        body.string("stop_reason", reason);
        write_stop_sequence(body, stop_sequence(reason, response.stop_sequence.as_ref(), style).as_ref());
        usage(&response.usage.unwrap_or_default(), response.service_tier.as_ref(), body.key("usage"));
    });
}

/// Appends the answer of `POST /v1/messages/count_tokens`: `{"input_tokens":7}`.
pub fn encode_count(input_tokens: u64, out: &mut Vec<u8>) {
    Object::write(out, |body| body.number("input_tokens", input_tokens));
}

/// The members that open a message, whole or streamed.
pub(super) fn head(body: &mut Object<'_>, envelope: &Envelope) {
    let id = body.key("id");
    id.extend_from_slice(b"\"msg_");
    escape_into(id, &envelope.id);
    id.push(b'"');
    body.string("type", "message");
    body.string("role", "assistant");
    body.string("model", &envelope.model);
}

/// What a stop reason is called. Clients look at the name to decide whether there are tools to use, so it follows from what they get.
pub(super) fn stop_reason(stop: &StopReason<'_>, tools: bool) -> &'static str {
    match stop {
        StopReason::EndTurn | StopReason::ToolUse | StopReason::Other(_) if tools => "tool_use",
        StopReason::StopSequence => "stop_sequence",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextWindowExceeded => "model_context_window_exceeded",
        StopReason::ContentFiltered | StopReason::GuardrailIntervened => "refusal",
        StopReason::EndTurn | StopReason::ToolUse | StopReason::MalformedOutput | StopReason::MalformedToolUse | StopReason::Other(_) => "end_turn",
    }
}

/// Which stop text was met: what the upstream says, else the only one there was.
pub(super) fn stop_sequence<'t>(reason: &str, told: Option<&'t Text<'_>>, style: &'t Style) -> Option<Text<'t>> {
    if reason != "stop_sequence" {
        return None;
    }
    match (told, style.stop.as_slice()) {
        (Some(told), _) => Some(told.borrowed()),
        (None, [only]) => Some(Text::from_escaped(only.as_str())),
        (None, _) => None,
    }
}

/// The member `stop_sequence`, which is always there.
pub(super) fn write_stop_sequence(object: &mut Object<'_>, stop_sequence: Option<&Text<'_>>) {
    match stop_sequence {
        Some(text) => object.text("stop_sequence", text),
        None => object.raw("stop_sequence", "null"),
    }
}

/// The value of `usage`. As in the canonical form, what came from the cache and what went into it stand beside the rest of the input.
pub(super) fn usage(usage: &Usage, service_tier: Option<&Text<'_>>, out: &mut Vec<u8>) {
    Object::write(out, |object| {
        object.number("input_tokens", usage.input_tokens);
        object.number("cache_creation_input_tokens", usage.cache_write_tokens);
        object.number("cache_read_input_tokens", usage.cache_read_tokens);
        object.object("cache_creation", |written| {
            let hour = usage.cache_write_1h_tokens.min(usage.cache_write_tokens);
            written.number("ephemeral_5m_input_tokens", usage.cache_write_tokens - hour);
            written.number("ephemeral_1h_input_tokens", hour);
        });
        object.number("output_tokens", usage.output_tokens);
        if let Some(reasoning) = usage.reasoning_tokens {
            object.object("output_tokens_details", |details| details.number("thinking_tokens", reasoning));
        }
        if let Some(tier) = service_tier.and_then(tier) {
            object.string("service_tier", tier);
        }
    });
}

/// The API's name of a tier. It knows no others.
fn tier(tier: &Text<'_>) -> Option<&'static str> {
    match &*tier.unescape() {
        "default" => Some("standard"),
        "priority" => Some("priority"),
        _ => None,
    }
}

fn block(content: &mut Array<'_>, part: &Part<'_>) {
    match part {
        Part::Text(text) if text.is_empty() => {}
        Part::Text(text) => content.object(|block| {
            block.string("type", "text");
            block.text("text", text);
        }),
        Part::Reasoning(Reasoning { text, signature }) => content.object(|block| {
            block.string("type", "thinking");
            block.text("thinking", text);
            block.text("signature", signature.as_ref().unwrap_or(&Text::EMPTY));
        }),
        Part::RedactedReasoning(sealed) => content.object(|block| {
            block.string("type", "redacted_thinking");
            block.text("data", sealed);
        }),
        Part::ToolUse(ToolUse { id, name, input }) => content.object(|block| {
            block.string("type", "tool_use");
            block.text("id", id);
            block.text("name", name);
            block.raw("input", arguments(input));
        }),
        // No model answers with these.
        Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::SearchResult(_) | Part::ToolResult(_) | Part::Json(_) | Part::CachePoint(_) => {}
    }
}

/// The arguments as a JSON object, which the API promises: models write what they like.
fn arguments(input: &str) -> &str {
    Raw::parse(input).ok().filter(|raw| raw.kind() == Kind::Object).map_or("{}", Raw::as_str)
}

#[cfg(test)]
mod tests;
