//! Writes a whole answer as a `ConverseResponse`. What the stop reasons and tokens are called here is shared with the stream.
//!
//! Vendor page: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseSyntax>.

use crate::chat::{Citation, Part, Response, StopReason, ToolUse, Usage};
use crate::dialect::converse::Style;
use crate::wire::json::{Array, Kind, Object, Raw, Text, write_u64};

/// Appends the answer: `{"output":{"message":{…}},"stopReason":"end_turn","usage":{…},"metrics":{"latencyMs":9}}`. Clients require all four members.
pub fn encode(response: &Response<'_>, latency_ms: u64, out: &mut Vec<u8>) {
    encode_with(response, latency_ms, &Style::default(), out);
}

/// Appends the answer in the form that the request asked for.
pub fn encode_with(response: &Response<'_>, latency_ms: u64, style: &Style, out: &mut Vec<u8>) {
    let tools = response.parts.iter().any(|part| matches!(part, Part::ToolUse(_)));
    Object::write(out, |body| {
        body.object("output", |output| {
            output.object("message", |message| {
                message.raw("role", r#""assistant""#);
                message.array("content", |content| blocks(content, response));
            });
        });
        body.string("stopReason", stop_reason(&response.stop, tools));
        usage(&response.usage.unwrap_or_default(), body.key("usage"));
        metrics(body, latency_ms);
        additional(body, style, response.stop_sequence.as_ref());
        service_tier(body, response.service_tier.as_ref());
    });
}

/// Appends the answer to CountTokens: `{"inputTokens":12}`.
pub fn encode_count(input_tokens: u64, out: &mut Vec<u8>) {
    Object::write(out, |body| body.number("inputTokens", input_tokens));
}

/// What a stop reason is called. Clients go by `tool_use` to decide whether there are tools to run, so it follows from what they get.
pub(super) fn stop_reason(stop: &StopReason<'_>, tools: bool) -> &'static str {
    match stop {
        StopReason::EndTurn | StopReason::ToolUse if tools => "tool_use",
        StopReason::EndTurn | StopReason::ToolUse | StopReason::Other(_) => "end_turn",
        StopReason::StopSequence => "stop_sequence",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContentFiltered => "content_filtered",
        StopReason::GuardrailIntervened => "guardrail_intervened",
        StopReason::ContextWindowExceeded => "model_context_window_exceeded",
        StopReason::MalformedOutput => "malformed_model_output",
        StopReason::MalformedToolUse => "malformed_tool_use",
    }
}

/// The value of `usage`. Cached input has counts of its own here, and is part of the total; what took part in no cache is not told as zero.
pub(super) fn usage(usage: &Usage, out: &mut Vec<u8>) {
    Object::write(out, |object| {
        object.number("inputTokens", usage.input_tokens);
        object.number("outputTokens", usage.output_tokens);
        object.number("totalTokens", usage.total_tokens());
        if usage.cache_read_tokens == 0 && usage.cache_write_tokens == 0 {
            return;
        }
        object.number("cacheReadInputTokens", usage.cache_read_tokens);
        object.number("cacheWriteInputTokens", usage.cache_write_tokens);
        if usage.cache_write_1h_tokens > 0 {
            object.array("cacheDetails", |details| {
                cache_detail(details, "1h", usage.cache_write_1h_tokens);
                let short = usage.cache_write_tokens.saturating_sub(usage.cache_write_1h_tokens);
                if short > 0 {
                    cache_detail(details, "5m", short);
                }
            });
        }
    });
}

/// `"metrics":{"latencyMs":9}`
pub(super) fn metrics(body: &mut Object<'_>, latency_ms: u64) {
    body.object("metrics", |metrics| metrics.number("latencyMs", latency_ms));
}

/// `"additionalModelResponseFields":{"stop_sequence":"…"}`, if it was asked for and there is one.
pub(super) fn additional(body: &mut Object<'_>, style: &Style, stop_sequence: Option<&Text<'_>>) {
    if let Some(text) = stop_sequence.filter(|_| style.stop_sequence) {
        body.object("additionalModelResponseFields", |fields| fields.text("stop_sequence", text));
    }
}

/// `"serviceTier":{"type":"flex"}`. A tier that Bedrock has no word for is not told.
pub(super) fn service_tier(body: &mut Object<'_>, tier: Option<&Text<'_>>) {
    let name = match tier.map(Text::escaped) {
        Some("default" | "standard") => "default",
        Some("flex") => "flex",
        Some("priority" | "fast") => "priority",
        Some("scale" | "reserved") => "reserved",
        _ => return,
    };
    body.object("serviceTier", |tier| tier.string("type", name));
}

fn cache_detail(details: &mut Array<'_>, ttl: &str, tokens: u64) {
    details.object(|detail| {
        detail.string("ttl", ttl);
        write_u64(detail.key("inputTokens"), tokens);
    });
}

/// The content of the message. Parts that no model makes are not there.
fn blocks(content: &mut Array<'_>, response: &Response<'_>) {
    for part in &response.parts {
        match part {
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => content.object(|block| block.text("text", text)),
            Part::Reasoning(thought) => content.object(|block| {
                block.object("reasoningContent", |content| {
                    content.object("reasoningText", |object| {
                        object.text("text", &thought.text);
                        if let Some(signature) = &thought.signature {
                            object.text("signature", signature);
                        }
                    });
                });
            }),
            Part::RedactedReasoning(bytes) => content.object(|block| block.object("reasoningContent", |content| content.text("redactedContent", bytes))),
            Part::ToolUse(used) => content.object(|block| block.object("toolUse", |object| tool_use(object, used))),
            _ => {}
        }
    }
    if !response.citations.is_empty() {
        content.object(|block| block.object("citationsContent", |cited| cited.array("citations", |list| citations(list, &response.citations))));
    }
}

/// Clients read `input` as an object, and a model that wrote something else has not used the tool in any way they could follow.
fn tool_use(object: &mut Object<'_>, used: &ToolUse<'_>) {
    object.text("toolUseId", &used.id);
    object.text("name", &used.name);
    let input = Raw::parse(&used.input).ok().filter(|raw| raw.kind() == Kind::Object);
    object.raw("input", input.map_or("{}", Raw::as_str));
}

/// Pages that the texts rest on, in a block without text of its own: the texts stand in blocks that every client reads.
fn citations(list: &mut Array<'_>, citations: &[Citation<'_>]) {
    for citation in citations {
        list.object(|object| {
            if let Some(title) = &citation.title {
                object.text("title", title);
            }
            object.object("location", |location| location.object("web", |web| web.text("url", &citation.url)));
        });
    }
}

#[cfg(test)]
mod tests;
