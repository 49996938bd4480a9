//! Writes a whole answer as a `chat.completion`. What the stop reasons and tokens are called here is shared with the stream.
//!
//! The API has no place for a model's thoughts, so they travel in members that other gateways use too:
//! - `reasoning_content`: what can be read of them, joined.
//! - `reasoning_signature`: the model's seal, when there is one thought.
//! - `thinking_blocks`: all of them as Anthropic's blocks, only when the two members above cannot hold them: several thoughts, or an encrypted one.
//!
//! A client that sends the message back as it came gives the model its thoughts back byte for byte; the request reader takes the last one that is there.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/chat/object>.

use crate::chat::{Citation, Envelope, Part, Reasoning, Response, StopReason, ToolUse, Usage};
use crate::dialect::openai::Style;
use crate::wire::json::{Array, Object, Text, escape_into};

/// Appends the answer: `{"id":"chatcmpl-…","object":"chat.completion","created":0,"model":"…","choices":[{…}],"usage":{…}}`.
///
/// `usage` and `service_tier` are there when the upstream told them; `content` is `null` when the model said nothing.
pub fn encode(response: &Response<'_>, envelope: &Envelope, style: &Style, out: &mut Vec<u8>) {
    encode_choices(std::slice::from_ref(response), envelope, style, out);
}

/// Appends one answer of several: a choice for each, their tokens added up.
pub fn encode_choices(responses: &[Response<'_>], envelope: &Envelope, style: &Style, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        head(body, envelope, "chat.completion");
        body.array("choices", |choices| {
            for (index, response) in responses.iter().enumerate() {
                choices.object(|choice| {
                    choice.number("index", index as u64);
                    choice.object("message", |message| self::message(message, response, style));
                    choice.raw("logprobs", "null");
                    let tools = response.parts.iter().any(|part| matches!(part, Part::ToolUse(_)));
                    choice.string("finish_reason", finish_reason(&response.stop, tools, style));
                });
            }
        });
        if let Some(usage) = responses.iter().filter_map(|response| response.usage).reduce(Usage::plus) {
            self::usage(&usage, body.key("usage"));
        }
        if let Some(tier) = responses.iter().find_map(|response| response.service_tier.as_ref()) {
            body.text("service_tier", tier);
        }
    });
}

/// The members that open an answer and every chunk of one.
pub(super) fn head(body: &mut Object<'_>, envelope: &Envelope, object: &str) {
    let id = body.key("id");
    id.extend_from_slice(b"\"chatcmpl-");
    escape_into(id, &envelope.id);
    id.push(b'"');
    body.string("object", object);
    body.number("created", envelope.created);
    body.string("model", &envelope.model);
}

/// What a stop reason is called. Clients look at the name to decide whether there are calls to make, so it follows from what they get.
pub(super) fn finish_reason(stop: &StopReason<'_>, tools: bool, style: &Style) -> &'static str {
    match stop {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::ToolUse if tools && style.legacy_functions => "function_call",
        StopReason::EndTurn | StopReason::StopSequence | StopReason::ToolUse if tools => "tool_calls",
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

/// The value of `usage`. Here the prompt includes what came from the cache and what went into it.
pub(in crate::dialect::openai) fn usage(usage: &Usage, out: &mut Vec<u8>) {
    Object::write(out, |object| {
        object.number("prompt_tokens", usage.total_input_tokens());
        object.number("completion_tokens", usage.output_tokens);
        object.number("total_tokens", usage.total_tokens());
        object.object("prompt_tokens_details", |details| {
            details.number("cached_tokens", usage.cache_read_tokens);
            details.number("cache_write_tokens", usage.cache_write_tokens);
        });
        if let Some(reasoning) = usage.reasoning_tokens {
            object.object("completion_tokens_details", |details| details.number("reasoning_tokens", reasoning));
        }
    });
}

/// One item of `thinking_blocks`: `{"type":"thinking","thinking":"…","signature":"…"}`.
pub(super) fn thinking_block(blocks: &mut Array<'_>, thought: &Text<'_>, signature: Option<&Text<'_>>) {
    blocks.object(|block| {
        block.string("type", "thinking");
        block.text("thinking", thought);
        if let Some(signature) = signature {
            block.text("signature", signature);
        }
    });
}

/// One item of `thinking_blocks`: `{"type":"redacted_thinking","data":"…"}`.
pub(super) fn redacted_block(blocks: &mut Array<'_>, content: &Text<'_>) {
    blocks.object(|block| {
        block.string("type", "redacted_thinking");
        block.text("data", content);
    });
}

fn message(message: &mut Object<'_>, response: &Response<'_>, style: &Style) {
    let parts = &response.parts;
    message.string("role", "assistant");
    joined(message, "content", true, parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }));
    message.raw("refusal", "null");
    if !response.citations.is_empty() {
        message.array("annotations", |annotations| response.citations.iter().for_each(|citation| annotations.object(|item| annotation(item, citation))));
    }
    thoughts(message, parts);
    let mut uses = parts.iter().filter_map(|part| if let Part::ToolUse(tool_use) = part { Some(tool_use) } else { None }).peekable();
    let Some(&first) = uses.peek() else { return };
    if style.legacy_functions {
        message.object("function_call", |object| call(object, first));
        return;
    }
    message.array("tool_calls", |calls| {
        for tool_use in uses {
            calls.object(|object| {
                object.text("id", &tool_use.id);
                object.string("type", "function");
                object.object("function", |object| call(object, tool_use));
            });
        }
    });
}

/// `{"type":"url_citation","url_citation":{"start_index":0,"end_index":9,"url":"…","title":"…"}}`. A page without a title goes by its URL: the API wants one.
fn annotation(item: &mut Object<'_>, citation: &Citation<'_>) {
    item.string("type", "url_citation");
    item.object("url_citation", |object| {
        object.number("start_index", citation.span.start as u64);
        object.number("end_index", citation.span.end as u64);
        object.text("url", &citation.url);
        object.text("title", citation.title.as_ref().unwrap_or(&citation.url));
    });
}

fn call(object: &mut Object<'_>, tool_use: &ToolUse<'_>) {
    object.text("name", &tool_use.name);
    object.string("arguments", if tool_use.input.is_empty() { "{}" } else { &tool_use.input });
}

fn thoughts(message: &mut Object<'_>, parts: &[Part<'_>]) {
    let readable = || parts.iter().filter_map(|part| if let Part::Reasoning(reasoning) = part { Some(reasoning) } else { None });
    joined(message, "reasoning_content", false, readable().map(|reasoning| &reasoning.text));
    let encrypted = parts.iter().any(|part| matches!(part, Part::RedactedReasoning(_)));
    let sealed = readable().any(|reasoning| reasoning.signature.is_some());
    if !encrypted && readable().count() == 1 {
        if let Some(signature) = readable().find_map(|reasoning| reasoning.signature.as_ref()) {
            message.text("reasoning_signature", signature);
        }
    } else if encrypted || sealed {
        message.array("thinking_blocks", |blocks| {
            for part in parts {
                match part {
                    Part::Reasoning(Reasoning { text, signature }) => thinking_block(blocks, text, signature.as_ref()),
                    Part::RedactedReasoning(content) => redacted_block(blocks, content),
                    _ => {}
                }
            }
        });
    }
}

/// A string member of several texts, with nothing between them. When all are empty it is `null` or left out.
fn joined<'t>(object: &mut Object<'_>, name: &str, nullable: bool, texts: impl Iterator<Item = &'t Text<'t>>) {
    let mut texts = texts.filter(|text| !text.is_empty()).peekable();
    if texts.peek().is_none() {
        if nullable {
            object.raw(name, "null");
        }
        return;
    }
    let out = object.key(name);
    out.push(b'"');
    for text in texts {
        out.extend_from_slice(text.escaped().as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
