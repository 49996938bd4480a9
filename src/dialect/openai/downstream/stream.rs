//! Writes a streamed answer as `chat.completion.chunk` events.
//!
//! Thoughts stream as `reasoning_content` and `reasoning_signature`. When these cannot hold them (several thoughts, or an encrypted one), `thinking_blocks`
//! comes with all of them just before the finish: see [`super::response`].
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/chat/streaming>.

use super::{error, response};
use crate::chat::{ApiError, End, Envelope, ErrorKind, Event, EventEncoder, StopReason, Usage};
use crate::dialect::openai::Style;
use crate::dialect::openai::choices::{Choice, Choices};
use crate::wire::json::{Array, Object, Text, write_string, write_text, write_u64};
use crate::wire::sse;

/// Writes one answer.
///
/// ```text
///            Start, any delta             Stop               finish(Complete)
/// Waiting ──────────────────────▶ Open ───────────▶ Stopped ─────────────────▶ Closed
///    │       role chunk                finish chunk    │ ▲    [DONE]              ▲
///    │                                                 └─┘ Usage: its chunk       │
///    └───────────── Failed, finish(Failed), finish(Complete) too early: error ────┘ from anywhere
/// ```
#[derive(Debug)]
pub struct Encoder {
    /// Every chunk up to what its list of choices holds.
    head: Box<[u8]>,
    /// The same up to the members of the one choice's delta.
    delta: Box<[u8]>,
    style: Style,
    state: State,
    tools: Vec<ToolSlot>,
    thoughts: Vec<Thought>,
    /// Token counts that came before the stop: they are the last chunk all the same.
    usage: Option<(Usage, Option<Text<'static>>)>,
    /// The chunk with token counts is out.
    counted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was written.
    Waiting,
    /// The role was written.
    Open,
    /// The finish reason was written.
    Stopped,
    /// The last byte was written.
    Closed,
}

/// A tool use: where its arguments come from, and where they go.
#[derive(Debug)]
struct ToolSlot {
    /// The upstream's number.
    block: u32,
    /// The client's number: counts tool uses only, from 0.
    index: u32,
    arguments: Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arguments {
    None,
    Some,
    Complete,
}

/// A thought, kept because whether the client needs it once more shows only later.
#[derive(Debug)]
struct Thought {
    kind: ThoughtKind,
    /// Escaped, as all that follows.
    text: String,
    signature: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThoughtKind {
    /// From the upstream's block of this number.
    Readable(u32),
    /// The text is base64 and opaque.
    Encrypted,
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new(envelope: &Envelope, style: &Style) -> Self {
        Self::choice(envelope, style, 0)
    }

    /// An encoder for one answer of several.
    fn choice(envelope: &Envelope, style: &Style, index: u32) -> Self {
        let mut head = Vec::with_capacity(160);
        Object::write(&mut head, |body| {
            response::head(body, envelope, "chat.completion.chunk");
            body.key("choices");
        });
        // The object stays open: its brace comes with the end of each chunk.
        head.pop();
        head.push(b'[');
        let mut delta = head.clone();
        delta.extend_from_slice(br#"{"index":"#);
        write_u64(&mut delta, index.into());
        delta.extend_from_slice(br#","delta":{"#);
        Encoder {
            head: head.into(),
            delta: delta.into(),
            style: style.clone(),
            state: State::Waiting,
            tools: Vec::new(),
            thoughts: Vec::new(),
            usage: None,
            counted: false,
        }
    }

    /// Makes sure that the role is written; says no when the answer is over.
    fn open(&mut self, out: &mut Vec<u8>) -> bool {
        if self.state == State::Waiting {
            self.state = State::Open;
            self.chunk(out, |out| out.extend_from_slice(br#""role":"assistant","content":"""#));
        }
        self.state == State::Open
    }

    /// A chunk whose delta has the members that `fill` writes.
    fn chunk(&self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        sse::write_data(out, |out| {
            out.extend_from_slice(&self.delta);
            fill(out);
            out.extend_from_slice(br#"},"logprobs":null,"finish_reason":null}]"#);
            self.close(out);
        });
    }

    /// The end of every chunk but the one with the token counts: a client that asked for them finds `null` in all others.
    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.style.include_usage { br#","usage":null}"# } else { b"}" });
    }

    fn text_delta(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if self.open(out) && !text.is_empty() {
            self.chunk(out, |out| {
                out.extend_from_slice(br#""content":"#);
                write_text(out, text);
            });
        }
    }

    fn reasoning_delta(&mut self, block: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        if !self.open(out) || text.is_empty() {
            return;
        }
        self.think(block, text.escaped(), "");
        self.chunk(out, |out| {
            out.extend_from_slice(br#""reasoning_content":"#);
            write_text(out, text);
        });
    }

    fn reasoning_signature(&mut self, block: u32, signature: &Text<'_>, out: &mut Vec<u8>) {
        if !self.open(out) || signature.is_empty() {
            return;
        }
        self.think(block, "", signature.escaped());
        // A second thought's seal must not be appended to the first one's, as clients do with equal names.
        if self.thoughts.len() == 1 {
            self.chunk(out, |out| {
                out.extend_from_slice(br#""reasoning_signature":"#);
                write_text(out, signature);
            });
        }
    }

    fn reasoning_redacted(&mut self, content: &Text<'_>, out: &mut Vec<u8>) {
        if self.open(out) && !content.is_empty() {
            self.thoughts.push(Thought { kind: ThoughtKind::Encrypted, text: content.escaped().to_owned(), signature: String::new() });
        }
    }

    /// Adds to the thought that a block holds; a new block is a new thought.
    fn think(&mut self, block: u32, text: &str, signature: &str) {
        let kind = ThoughtKind::Readable(block);
        match self.thoughts.last_mut() {
            Some(thought) if thought.kind == kind => {
                thought.text.push_str(text);
                thought.signature.push_str(signature);
            }
            _ => self.thoughts.push(Thought { kind, text: text.to_owned(), signature: signature.to_owned() }),
        }
    }

    fn tool_start(&mut self, block: u32, id: &Text<'_>, name: &Text<'_>, out: &mut Vec<u8>) {
        // The deprecated form has room for one call.
        if !self.open(out) || (self.style.legacy_functions && !self.tools.is_empty()) {
            return;
        }
        let index = self.tools.last().map_or(0, |tool| tool.index + 1);
        self.tools.push(ToolSlot { block, index, arguments: Arguments::None });
        let legacy = self.style.legacy_functions;
        self.chunk(out, |out| {
            if legacy {
                out.extend_from_slice(br#""function_call":{"name":"#);
                write_text(out, name);
                out.extend_from_slice(br#","arguments":""}"#);
            } else {
                out.extend_from_slice(br#""tool_calls":[{"index":"#);
                write_u64(out, index.into());
                out.extend_from_slice(br#","id":"#);
                write_text(out, id);
                out.extend_from_slice(br#","type":"function","function":{"name":"#);
                write_text(out, name);
                out.extend_from_slice(br#","arguments":""}}]"#);
            }
        });
    }

    fn tool_delta(&mut self, block: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        if self.state != State::Open || fragment.is_empty() {
            return;
        }
        let Some(tool) = self.tools.iter_mut().rev().find(|tool| tool.block == block && tool.arguments != Arguments::Complete) else { return };
        tool.arguments = Arguments::Some;
        let index = tool.index;
        self.arguments(index, fragment, out);
    }

    fn arguments(&self, index: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        let legacy = self.style.legacy_functions;
        self.chunk(out, |out| {
            if legacy {
                out.extend_from_slice(br#""function_call":{"arguments":"#);
                write_text(out, fragment);
                out.push(b'}');
            } else {
                out.extend_from_slice(br#""tool_calls":[{"index":"#);
                write_u64(out, index.into());
                out.extend_from_slice(br#","function":{"arguments":"#);
                write_text(out, fragment);
                out.extend_from_slice(b"}}]");
            }
        });
    }

    /// Completes the tool uses that `which` picks. A tool without arguments got no fragment; clients parse what they get, so it gets an empty object.
    fn complete_tools(&mut self, which: impl Fn(&ToolSlot) -> bool, out: &mut Vec<u8>) {
        let mut tools = std::mem::take(&mut self.tools);
        for tool in tools.iter_mut().filter(|tool| which(tool)) {
            if std::mem::replace(&mut tool.arguments, Arguments::Complete) == Arguments::None {
                self.arguments(tool.index, &Text::from_escaped("{}"), out);
            }
        }
        self.tools = tools;
    }

    fn stop(&mut self, reason: &StopReason<'_>, out: &mut Vec<u8>) {
        if !self.open(out) {
            return;
        }
        self.complete_tools(|_| true, out);
        self.thinking_blocks(out);
        self.state = State::Stopped;
        let reason = response::finish_reason(reason, !self.tools.is_empty(), &self.style);
        sse::write_data(out, |out| {
            out.extend_from_slice(&self.delta);
            out.extend_from_slice(br#"},"logprobs":null,"finish_reason":"#);
            write_string(out, reason);
            out.extend_from_slice(b"}]");
            self.close(out);
        });
        if let Some((usage, tier)) = self.usage.take() {
            self.usage(&usage, tier.as_ref(), out);
        }
    }

    fn thinking_blocks(&mut self, out: &mut Vec<u8>) {
        let thoughts = std::mem::take(&mut self.thoughts);
        let encrypted = thoughts.iter().any(|thought| thought.kind == ThoughtKind::Encrypted);
        let sealed = thoughts.iter().any(|thought| !thought.signature.is_empty());
        let held = !encrypted && (thoughts.len() < 2 || !sealed);
        if held {
            return;
        }
        self.chunk(out, |out| {
            out.extend_from_slice(br#""thinking_blocks":"#);
            Array::write(out, |blocks| {
                for thought in &thoughts {
                    let (text, signature) = (Text::from_escaped(thought.text.as_str()), Text::from_escaped(thought.signature.as_str()));
                    match thought.kind {
                        ThoughtKind::Readable(_) => response::thinking_block(blocks, &text, (!signature.is_empty()).then_some(&signature)),
                        ThoughtKind::Encrypted => response::redacted_block(blocks, &text),
                    }
                }
            });
        });
    }

    fn usage(&mut self, usage: &Usage, tier: Option<&Text<'_>>, out: &mut Vec<u8>) {
        if !self.style.include_usage || self.counted {
            return;
        }
        match self.state {
            State::Waiting | State::Open => self.usage = Some((*usage, tier.map(|tier| tier.clone().into_owned()))),
            State::Stopped => {
                self.counted = true;
                sse::write_data(out, |out| {
                    out.extend_from_slice(&self.head);
                    out.extend_from_slice(br#"],"usage":"#);
                    response::usage(usage, out);
                    if let Some(tier) = tier {
                        out.extend_from_slice(br#","service_tier":"#);
                        write_text(out, tier);
                    }
                    out.push(b'}');
                });
            }
            State::Closed => {}
        }
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        if self.state != State::Closed {
            self.state = State::Closed;
            sse::write_data(out, |out| error::encode(error, out));
        }
    }
}

impl EventEncoder for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start => _ = self.open(out),
            Event::TextDelta { text, .. } => self.text_delta(text, out),
            Event::ReasoningDelta { block, text } => self.reasoning_delta(*block, text, out),
            Event::ReasoningSignature { block, signature } => self.reasoning_signature(*block, signature, out),
            Event::ReasoningRedacted { content, .. } => self.reasoning_redacted(content, out),
            Event::ToolStart { block, id, name } => self.tool_start(*block, id, name, out),
            Event::ToolDelta { block, fragment } => self.tool_delta(*block, fragment, out),
            Event::BlockStop { block } if self.state == State::Open => self.complete_tools(|tool| tool.block == *block, out),
            Event::Stop { reason, .. } => self.stop(reason, out),
            Event::Usage { usage, service_tier } => self.usage(usage, service_tier.as_ref(), out),
            Event::Failed(error) => self.fail(error, out),
            Event::BlockStop { .. } | Event::Unknown => {}
        }
    }

    fn finish(&mut self, end: &End, out: &mut Vec<u8>) {
        match (self.state, end) {
            (State::Closed, _) => {}
            (State::Stopped, End::Complete) => {
                self.state = State::Closed;
                out.extend_from_slice(sse::DONE);
            }
            (State::Waiting | State::Open, End::Complete) => self.fail(&ApiError::new(ErrorKind::BadUpstream, "The upstream's answer ended early."), out),
            (_, End::Failed(error)) => self.fail(error, out),
        }
    }
}

impl Choice for Encoder {
    fn open(&mut self, out: &mut Vec<u8>) -> bool {
        Encoder::open(self, out)
    }

    fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    fn count(&mut self, usage: &Usage, out: &mut Vec<u8>) {
        self.usage(usage, None, out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        Encoder::fail(self, error, out);
    }

    fn silence(&mut self) {
        self.state = State::Closed;
    }
}

/// An encoder for `count` answers, one at least.
#[must_use]
pub fn choices(envelope: &Envelope, style: &Style, count: u32) -> Choices<Encoder> {
    Choices::new((0..count.max(1)).map(|index| Encoder::choice(envelope, style, index)).collect())
}

#[cfg(test)]
mod tests;
