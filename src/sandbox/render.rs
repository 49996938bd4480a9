//! An answer of Converse as bytes: one JSON body, or frames as Bedrock was recorded to send them; and what frames are broken by, for every stream.
//!
//! Recorded streams have no `contentBlockStart` for text, count text and tool blocks together, send `metadata` behind `messageStop`, put the headers in the
//! order event-type, content-type, message-type, and fill payloads up with a key `p` of varying length.

use bytes::Bytes;
use http::HeaderMap;

use crate::wire::eventstream::{self, EVENT, EVENT_TYPE, EXCEPTION, EXCEPTION_TYPE, MESSAGE_TYPE};
use crate::wire::json::{Array, Object};

use super::answer::{Answer, Block, Usage};
use super::failure;
use super::knobs::{Knobs, Omit};

/// What `p` is cut from.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// Arguments of tool calls leave in fragments of so many bytes.
pub(super) const FRAGMENT: usize = 8;
/// The model always takes as long: answers are the same each time.
pub(super) const LATENCY_MS: u64 = 42;
/// What AWS answers, with status 200, where an operation is not there for a model.
pub(super) const NO_OUTPUT: &[u8] = br#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
const CONTENT_TYPE: &str = ":content-type";
const JSON: &str = "application/json";

/// A successful answer.
#[derive(Debug)]
pub(super) struct Output {
    pub body: Body,
    /// Headers beside those of every answer.
    pub headers: HeaderMap,
}

/// What an answer sends.
#[derive(Debug)]
pub(super) enum Body {
    Json(Vec<u8>),
    Stream(Frames),
}

impl From<Body> for Output {
    fn from(body: Body) -> Self {
        Output { body, headers: HeaderMap::new() }
    }
}

/// The body of a Converse answer.
pub(super) fn body(answer: &Answer, knobs: &Knobs) -> Vec<u8> {
    if knobs.omit == Some(Omit::Output) {
        return NO_OUTPUT.to_vec();
    }
    let mut out = Vec::new();
    Object::write(&mut out, |o| {
        if let Some(fields) = &answer.fields {
            o.raw("additionalModelResponseFields", &fields.to_string());
        }
        if knobs.omit != Some(Omit::Metadata) {
            write_metrics(o);
        }
        o.object("output", |output| {
            output.object("message", |message| {
                message.array("content", |content| {
                    for block in &answer.blocks {
                        content.object(|o| write_block(o, block));
                    }
                });
                message.string("role", "assistant");
            });
        });
        write_echoes(o, answer);
        if knobs.omit != Some(Omit::Stop) {
            o.string("stopReason", answer.stop_reason);
        }
        if knobs.omit != Some(Omit::Metadata) {
            write_usage(o, &answer.usage);
        }
    });
    out
}

fn write_block(o: &mut Object<'_>, block: &Block) {
    match block {
        Block::Text(text) => o.string("text", text),
        Block::Reasoning { text, signature } => o.object("reasoningContent", |o| {
            o.object("reasoningText", |o| {
                if let Some(signature) = signature {
                    o.string("signature", signature);
                }
                o.string("text", text);
            });
        }),
        Block::Redacted(bytes) => o.object("reasoningContent", |o| o.string("redactedContent", bytes)),
        Block::ToolUse { id, name, input } => o.object("toolUse", |o| {
            o.raw("input", input);
            o.string("name", name);
            o.string("toolUseId", id);
        }),
        Block::Image(bytes) => o.object("image", |o| {
            o.string("format", "png");
            o.object("source", |o| o.string("bytes", bytes));
        }),
        Block::Citations { text, citation } => o.object("citationsContent", |o| {
            o.array("citations", |citations| citations.raw(&citation.to_string()));
            o.array("content", |content| content.object(|o| o.string("text", text)));
        }),
    }
}

fn write_metrics(o: &mut Object<'_>) {
    o.object("metrics", |o| o.number("latencyMs", LATENCY_MS));
}

/// What the request asked for and got.
fn write_echoes(o: &mut Object<'_>, answer: &Answer) {
    if let Some(latency) = &answer.latency {
        o.object("performanceConfig", |o| o.string("latency", latency));
    }
    if let Some(tier) = &answer.service_tier {
        o.object("serviceTier", |o| o.string("type", tier));
    }
    if let Some(trace) = &answer.trace {
        o.raw("trace", &trace.to_string());
    }
}

fn write_usage(o: &mut Object<'_>, usage: &Usage) {
    o.object("usage", |o| {
        if let Some(cache) = &usage.cache {
            o.array("cacheDetails", |details: &mut Array<'_>| {
                for (ttl, count) in &cache.details {
                    details.object(|o| {
                        o.number("inputTokens", *count as u64);
                        o.string("ttl", ttl);
                    });
                }
            });
            o.number("cacheReadInputTokens", cache.read as u64);
            o.number("cacheWriteInputTokens", cache.write as u64);
        }
        o.number("inputTokens", usage.input as u64);
        o.number("outputTokens", usage.output as u64);
        o.number("totalTokens", usage.total() as u64);
    });
}

/// Frames in one buffer.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// For each frame with content, how many frames there are up to and with it.
    deltas: Vec<usize>,
    payload: Vec<u8>,
}

impl Frames {
    /// The frames of a ConverseStream answer, with what the knobs break of it.
    pub(super) fn of(answer: &Answer, knobs: &Knobs) -> Self {
        Frames::broken(knobs, |frames| frames.conversation(answer, knobs))
    }

    /// The frames that `write` makes, and what the knobs break of them.
    pub(super) fn broken(knobs: &Knobs, write: impl FnOnce(&mut Frames)) -> Self {
        let mut frames = Frames::default();
        if knobs.omit == Some(Omit::Output) {
            return frames;
        }
        if let Some(name) = knobs.exception.filter(|_| knobs.after.is_none()) {
            frames.exception(name);
            return frames;
        }
        write(&mut frames);
        frames.apply_exception(knobs);
        if let Some(corrupt) = knobs.corrupt
            && let Some(last) = frames.ends.get(corrupt).and_then(|end| frames.bytes.get_mut(end - 1))
        {
            *last ^= 1;
        }
        frames
    }

    fn conversation(&mut self, answer: &Answer, knobs: &Knobs) {
        self.event("messageStart", |o| o.string("role", "assistant"));
        for (index, block) in answer.blocks.iter().enumerate() {
            self.block(index as u64, block, answer.piece);
        }
        self.event("messageStop", |o| {
            if let Some(fields) = &answer.fields {
                o.raw("additionalModelResponseFields", &fields.to_string());
            }
            o.string("stopReason", answer.stop_reason);
        });
        self.event("metadata", |o| {
            write_metrics(o);
            write_echoes(o, answer);
            write_usage(o, &answer.usage);
        });
        match knobs.omit {
            Some(Omit::Stop) => self.drop_last(2),
            Some(Omit::Metadata) => self.drop_last(1),
            Some(Omit::Output) | None => {}
        }
    }

    /// Cuts the answer behind so many content frames and ends it with an exception.
    fn apply_exception(&mut self, knobs: &Knobs) {
        let (Some(name), Some(after)) = (knobs.exception, knobs.after) else { return };
        // Without any content the exception stands behind messageStart.
        let keep = after.checked_sub(1).and_then(|last| self.deltas.get(last).or_else(|| self.deltas.last())).copied().unwrap_or(1);
        self.truncate(keep);
        self.exception(name);
    }

    /// Takes so many frames off the end.
    pub(super) fn drop_last(&mut self, count: usize) {
        self.truncate(self.ends.len().saturating_sub(count));
    }

    fn truncate(&mut self, count: usize) {
        self.ends.truncate(count);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    fn exception(&mut self, name: &str) {
        let payload = failure::payload(name, "The sandbox was asked for this exception.");
        eventstream::write_frame(&mut self.bytes, &[(EXCEPTION_TYPE, name), (CONTENT_TYPE, JSON), (MESSAGE_TYPE, EXCEPTION)], &payload);
        self.ends.push(self.bytes.len());
    }

    /// A frame with a JSON object, which is filled up as the recorded ones are.
    pub(super) fn event(&mut self, name: &str, members: impl FnOnce(&mut Object<'_>)) {
        self.payload.clear();
        // The lengths jump, so that equal texts do not make equal frames.
        let padding = &PADDING[..4 + (self.ends.len() * 13) % (PADDING.len() - 4)];
        Object::write(&mut self.payload, |o| {
            members(o);
            o.string("p", padding);
        });
        eventstream::write_frame(&mut self.bytes, &[(EVENT_TYPE, name), (CONTENT_TYPE, JSON), (MESSAGE_TYPE, EVENT)], &self.payload);
        self.ends.push(self.bytes.len());
    }

    fn start(&mut self, index: u64, members: impl FnOnce(&mut Object<'_>)) {
        self.event("contentBlockStart", |o| {
            o.number("contentBlockIndex", index);
            o.object("start", members);
        });
    }

    fn delta(&mut self, index: u64, members: impl FnOnce(&mut Object<'_>)) {
        self.event("contentBlockDelta", |o| {
            o.number("contentBlockIndex", index);
            o.object("delta", members);
        });
        self.mark_content();
    }

    /// The last frame has content.
    pub(super) fn mark_content(&mut self) {
        self.deltas.push(self.ends.len());
    }

    fn block(&mut self, index: u64, block: &Block, piece: Option<usize>) {
        match block {
            Block::Text(text) => self.text(index, text, piece),
            Block::Reasoning { text, signature } => {
                for word in words(text) {
                    self.delta(index, |o| o.object("reasoningContent", |o| o.string("text", word)));
                }
                if let Some(signature) = signature {
                    self.delta(index, |o| o.object("reasoningContent", |o| o.string("signature", signature)));
                }
            }
            Block::Redacted(bytes) => self.delta(index, |o| o.object("reasoningContent", |o| o.string("redactedContent", bytes))),
            Block::ToolUse { id, name, input } => {
                self.start(index, |o| {
                    o.object("toolUse", |o| {
                        o.string("name", name);
                        o.string("toolUseId", id);
                    });
                });
                // A call without arguments has no fragment at all.
                if input != "{}" {
                    for fragment in pieces(input, FRAGMENT) {
                        self.delta(index, |o| o.object("toolUse", |o| o.string("input", fragment)));
                    }
                }
            }
            Block::Image(bytes) => {
                self.start(index, |o| o.object("image", |o| o.string("format", "png")));
                self.delta(index, |o| o.object("image", |o| o.object("source", |o| o.string("bytes", bytes))));
            }
            Block::Citations { text, citation } => {
                self.text(index, text, piece);
                self.delta(index, |o| o.raw("citation", &citation.to_string()));
            }
        }
        self.event("contentBlockStop", |o| o.number("contentBlockIndex", index));
    }

    fn text(&mut self, index: u64, text: &str, piece: Option<usize>) {
        match piece {
            Some(length) => pieces(text, length).for_each(|piece| self.delta(index, |o| o.string("text", piece))),
            None => words(text).for_each(|word| self.delta(index, |o| o.string("text", word))),
        }
    }

    /// Up to and with the first content frame, in frames; where there is none, all of them.
    pub(super) fn first_content(&self) -> usize {
        self.deltas.first().copied().unwrap_or(usize::MAX).min(self.ends.len())
    }

    /// All frames in one buffer, and where each of them ends.
    pub(super) fn into_parts(self) -> (Bytes, Vec<usize>) {
        (Bytes::from(self.bytes), self.ends)
    }
}

/// Each word with the white space before it; white space at the end stands alone.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let end = rest.get(word..)?.find(char::is_whitespace).map_or(rest.len(), |length| word + length);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Pieces of about `length` bytes, cut between characters.
pub(super) fn pieces(text: &str, length: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, tail) = rest.split_at(rest.ceil_char_boundary(length));
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_pieces_are_the_text_again() {
        assert_eq!(words("Echo: hi  there\n").collect::<Vec<_>>(), ["Echo:", " hi", "  there", "\n"]);
        assert_eq!(words("").count(), 0);
        assert_eq!(pieces("a\u{e9}\u{e9}b", 2).collect::<Vec<_>>(), ["a\u{e9}", "\u{e9}", "b"]);
    }
}
