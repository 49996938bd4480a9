//! A Message as JSON, or as the events of one in frames.
//!
//! Each event is one frame `chunk`, whose payload has the JSON of the event in base64 and a filling: `{"bytes":"eyJ0…","p":"abcd"}`. The last event bears
//! Bedrock's own count: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::sandbox::answer::{Answer, Block, CacheUsage, Question};
use crate::sandbox::family::model_name;
use crate::sandbox::knobs::{Knobs, Omit};
use crate::sandbox::render::{FRAGMENT, Frames, LATENCY_MS, NO_OUTPUT, pieces, words};
use crate::wire::json::{Array, Object};

use super::rules::ends_in_version;

/// What calls of tools are named with.
const CALL: &str = "toolu_bdrk_";
/// What they are named with in Converse.
const CONVERSE_CALL: &str = "tooluse_";

/// A Message before it is written.
pub(super) struct Message<'m> {
    answer: &'m Answer,
    knobs: &'m Knobs,
    id: String,
    model: &'m str,
    stop_reason: &'static str,
    stop_sequence: Option<&'m str>,
    thinking_tokens: Option<u64>,
    /// What a guardrail did, if there is one.
    guardrail: Option<&'static str>,
}

impl<'m> Message<'m> {
    pub(super) fn of(answer: &'m Answer, question: &Question<'m>, has_guardrail: bool) -> Self {
        let fields = answer.fields.as_ref().unwrap_or(&Value::Null);
        // A Message has no word for it, so it is one unless a knob says so.
        let blocked = answer.stop_reason == "guardrail_intervened" && question.knobs.stop.is_none();
        Message {
            answer,
            knobs: question.knobs,
            id: format!("msg_bdrk_{}", question.body_sha256.get(..24).unwrap_or(question.body_sha256)),
            model: model(question.model),
            stop_reason: if blocked { "end_turn" } else { answer.stop_reason },
            stop_sequence: fields["stop_sequence"].as_str(),
            thinking_tokens: fields["usage"]["output_tokens_details"]["thinking_tokens"].as_u64(),
            guardrail: has_guardrail.then_some(if blocked { "INTERVENED" } else { "NONE" }),
        }
    }

    /// The body of an answer without a stream.
    pub(super) fn body(&self) -> Vec<u8> {
        if self.knobs.omit == Some(Omit::Output) {
            return NO_OUTPUT.to_vec();
        }
        let mut out = Vec::new();
        Object::write(&mut out, |o| {
            self.write_head(o);
            o.array("content", |content| self.answer.blocks.iter().for_each(|block| content.object(|o| write_block(o, block))));
            if self.knobs.omit != Some(Omit::Stop) {
                self.write_stop(o);
            }
            if self.has_usage() {
                self.write_usage(o, self.answer.usage.output);
            }
            self.write_guardrail(o);
        });
        out
    }

    /// Token counts, as headers of an answer without a stream.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut count = |name: &'static str, count: u64| drop(headers.insert(HeaderName::from_static(name), HeaderValue::from(count)));
        if self.has_usage() && self.knobs.omit != Some(Omit::Output) {
            let usage = &self.answer.usage;
            count("x-amzn-bedrock-input-token-count", usage.input as u64);
            count("x-amzn-bedrock-output-token-count", usage.output as u64);
            if let Some(cache) = &usage.cache {
                count("x-amzn-bedrock-cache-read-input-token-count", cache.read as u64);
                count("x-amzn-bedrock-cache-write-input-token-count", cache.write as u64);
            }
            count("x-amzn-bedrock-invocation-latency", LATENCY_MS);
        }
        headers
    }

    /// The answer as a stream, with what the knobs break of it.
    pub(super) fn frames(&self) -> Frames {
        Frames::broken(self.knobs, |frames| {
            self.start(frames);
            for (index, block) in self.answer.blocks.iter().enumerate() {
                self.block(frames, index as u64, block);
            }
            self.end(frames);
            if self.knobs.omit == Some(Omit::Stop) {
                frames.drop_last(2);
            }
        })
    }

    fn start(&self, frames: &mut Frames) {
        chunk(frames, "message_start", |o| {
            o.object("message", |o| {
                self.write_head(o);
                o.array("content", |_| ());
                o.raw("stop_reason", "null");
                o.raw("stop_sequence", "null");
                if self.has_usage() {
                    // The first token is there when the stream begins.
                    self.write_usage(o, self.answer.usage.output.min(1));
                }
            });
        });
    }

    fn end(&self, frames: &mut Frames) {
        chunk(frames, "message_delta", |o| {
            o.object("delta", |o| self.write_stop(o));
            if self.has_usage() {
                self.write_usage(o, self.answer.usage.output);
            }
        });
        chunk(frames, "message_stop", |o| {
            if self.has_usage() {
                o.object("amazon-bedrock-invocationMetrics", |o| {
                    o.number("inputTokenCount", self.answer.usage.input as u64);
                    o.number("outputTokenCount", self.answer.usage.output as u64);
                    o.number("invocationLatency", LATENCY_MS);
                    o.number("firstByteLatency", LATENCY_MS / 2);
                    if let Some(cache) = &self.answer.usage.cache {
                        o.number("cacheReadInputTokenCount", cache.read as u64);
                        o.number("cacheWriteInputTokenCount", cache.write as u64);
                    }
                });
            }
            self.write_guardrail(o);
        });
    }

    fn block(&self, frames: &mut Frames, index: u64, block: &Block) {
        chunk(frames, "content_block_start", |o| {
            o.number("index", index);
            o.object("content_block", |o| write_start(o, block));
        });
        if index == 0 {
            chunk(frames, "ping", |_| ());
        }
        match block {
            Block::Text(text) => self.text(frames, index, text),
            Block::Citations { text, citation } => {
                self.text(frames, index, text);
                delta(frames, index, "citations_delta", |o| o.raw("citation", &char_location(citation).to_string()));
            }
            Block::Reasoning { text, signature } => {
                words(text).for_each(|word| delta(frames, index, "thinking_delta", |o| o.string("thinking", word)));
                if let Some(signature) = signature {
                    delta(frames, index, "signature_delta", |o| o.string("signature", signature));
                }
            }
            Block::ToolUse { input, .. } => {
                // The first fragment is always empty, and the only one of a call without arguments.
                let arguments = if input == "{}" { "" } else { input };
                for fragment in std::iter::once("").chain(pieces(arguments, FRAGMENT)) {
                    delta(frames, index, "input_json_delta", |o| o.string("partial_json", fragment));
                }
            }
            // These are whole with their start.
            Block::Redacted(_) | Block::Image(_) => frames.mark_content(),
        }
        chunk(frames, "content_block_stop", |o| o.number("index", index));
    }

    fn text(&self, frames: &mut Frames, index: u64, text: &str) {
        let mut say = |piece: &str| delta(frames, index, "text_delta", |o| o.string("text", piece));
        match self.answer.piece {
            Some(length) => pieces(text, length).for_each(&mut say),
            None => words(text).for_each(&mut say),
        }
    }

    fn has_usage(&self) -> bool {
        self.knobs.omit != Some(Omit::Metadata)
    }

    fn write_head(&self, o: &mut Object<'_>) {
        o.string("model", self.model);
        o.string("id", &self.id);
        o.string("type", "message");
        o.string("role", "assistant");
    }

    fn write_stop(&self, o: &mut Object<'_>) {
        o.string("stop_reason", self.stop_reason);
        match self.stop_sequence {
            Some(stop) => o.string("stop_sequence", stop),
            None => o.raw("stop_sequence", "null"),
        }
        if self.stop_reason == "refusal" {
            o.object("stop_details", |o| {
                o.string("type", "refusal");
                o.raw("category", "null");
                o.string("explanation", "The sandbox was asked to refuse.");
            });
        }
    }

    /// All counts each time: those of a stream are totals, and repeat what is known from the start.
    fn write_usage(&self, o: &mut Object<'_>, output: usize) {
        let none = CacheUsage::default();
        let cache = self.answer.usage.cache.as_ref().unwrap_or(&none);
        let written = |ttl: &str| cache.details.iter().filter(|(name, _)| *name == ttl).map(|(_, count)| *count as u64).sum();
        o.object("usage", |o| {
            o.number("input_tokens", self.answer.usage.input as u64);
            o.number("cache_creation_input_tokens", cache.write as u64);
            o.number("cache_read_input_tokens", cache.read as u64);
            o.object("cache_creation", |o| {
                o.number("ephemeral_5m_input_tokens", written("5m"));
                o.number("ephemeral_1h_input_tokens", written("1h"));
            });
            o.number("output_tokens", output as u64);
            if let Some(thinking) = self.thinking_tokens {
                o.object("output_tokens_details", |o| o.number("thinking_tokens", thinking));
            }
        });
    }

    fn write_guardrail(&self, o: &mut Object<'_>) {
        if let Some(action) = self.guardrail {
            o.string("amazon-bedrock-guardrailAction", action);
        }
    }
}

/// One event in a frame.
fn chunk(frames: &mut Frames, kind: &str, members: impl FnOnce(&mut Object<'_>)) {
    let mut event = Vec::new();
    Object::write(&mut event, |o| {
        o.string("type", kind);
        members(o);
    });
    frames.event("chunk", |o| o.string("bytes", &STANDARD.encode(&event)));
}

fn delta(frames: &mut Frames, index: u64, kind: &str, members: impl FnOnce(&mut Object<'_>)) {
    chunk(frames, "content_block_delta", |o| {
        o.number("index", index);
        o.object("delta", |o| {
            o.string("type", kind);
            members(o);
        });
    });
    frames.mark_content();
}

/// A block of which nothing has been said yet.
fn write_start(o: &mut Object<'_>, block: &Block) {
    match block {
        Block::Text(_) | Block::Image(_) => write_text(o, ""),
        Block::Citations { .. } => {
            o.array("citations", |_| ());
            write_text(o, "");
        }
        Block::Reasoning { .. } => write_thinking(o, "", ""),
        Block::Redacted(_) => write_block(o, block),
        Block::ToolUse { id, name, .. } => write_tool_use(o, id, name, "{}"),
    }
}

fn write_block(o: &mut Object<'_>, block: &Block) {
    match block {
        Block::Text(text) => write_text(o, text),
        Block::Citations { text, citation } => {
            o.array("citations", |citations: &mut Array<'_>| citations.raw(&char_location(citation).to_string()));
            write_text(o, text);
        }
        Block::Reasoning { text, signature } => write_thinking(o, text, signature.as_deref().unwrap_or_default()),
        Block::Redacted(data) => {
            o.string("type", "redacted_thinking");
            o.string("data", data);
        }
        Block::ToolUse { id, name, input } => write_tool_use(o, id, name, input),
        // Nothing asks for one: the knob is refused.
        Block::Image(_) => write_text(o, ""),
    }
}

fn write_text(o: &mut Object<'_>, text: &str) {
    o.string("type", "text");
    o.string("text", text);
}

fn write_thinking(o: &mut Object<'_>, text: &str, signature: &str) {
    o.string("type", "thinking");
    o.string("thinking", text);
    o.string("signature", signature);
}

fn write_tool_use(o: &mut Object<'_>, id: &str, name: &str, input: &str) {
    o.string("type", "tool_use");
    o.string("id", &format!("{CALL}{}", id.strip_prefix(CONVERSE_CALL).unwrap_or(id)));
    o.string("name", name);
    o.raw("input", input);
}

/// Where a citation comes from, as a Message says it: a place in the first document.
fn char_location(citation: &Value) -> Value {
    let cited = citation["sourceContent"][0]["text"].as_str().unwrap_or_default();
    json!({
        "type": "char_location", "cited_text": cited, "document_index": 0, "document_title": citation["title"],
        "start_char_index": 0, "end_char_index": cited.chars().count()
    })
}

/// What the API calls the model: `claude-3-haiku-20240307` for `us.anthropic.claude-3-haiku-20240307-v1:0`.
fn model(id: &str) -> &str {
    let name = model_name(id).unwrap_or(id);
    let name = name.rsplit_once('/').map_or(name, |(_, last)| last);
    let name = name.strip_prefix("anthropic.").unwrap_or(name);
    if ends_in_version(name) { name.rsplit_once("-v").map_or(name, |(name, _)| name) } else { name }
}
