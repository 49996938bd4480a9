//! Writes a streamed answer as frames of a ConverseStream.
//!
//! As Bedrock does it: text and thoughts have no `contentBlockStart`, blocks of all kinds share one count from 0, each is over before the next begins, and
//! `metadata` is the last frame. An upstream that streams several tool uses at once has them here one after the other: what comes for a later one waits.
//!
//! Vendor page: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>; shape `ConverseStreamOutput`.

use std::collections::VecDeque;

use super::{error, response};
use crate::chat::{ApiError, End, ErrorKind, Event, EventEncoder, StopReason, Usage};
use crate::dialect::converse::Style;
use crate::wire::eventstream::{EVENT, EVENT_TYPE, EXCEPTION, EXCEPTION_TYPE, MESSAGE_TYPE, write_frame};
use crate::wire::json::{Object, Text, write_text, write_u64};

/// The most argument bytes of tool uses that wait for another one to end.
const WAITING_MAX: usize = 4 * 1024 * 1024;

const CONTENT_TYPE: (&str, &str) = (":content-type", "application/json");

/// Writes one answer.
///
/// ```text
///            Start, any delta             Stop                Usage, finish(Complete)
/// Waiting ──────────────────────▶ Open ───────────▶ Stopped ──────────────────────────▶ Counted ─▶ Closed
///    │       messageStart              messageStop     │           metadata                │          ▲
///    └─────────────── Failed, finish(Failed), finish(Complete) too early: exception ───────┴──────────┘ from anywhere
/// ```
#[derive(Debug)]
pub struct Encoder {
    style: Style,
    state: State,
    /// The block at hand.
    open: Option<Block>,
    /// The number of the next block.
    next: u32,
    /// Tool uses that began while another one was not over, in order.
    waiting: VecDeque<Waiting>,
    /// Bytes in `waiting`.
    held: usize,
    /// Some tool was used.
    tools: bool,
    /// Token counts that came before the stop.
    usage: Option<(Usage, Option<Text<'static>>)>,
    elapsed_ms: u64,
    /// The payload of the frame at hand; kept for its memory.
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was written.
    Waiting,
    /// `messageStart` was written.
    Open,
    /// `messageStop` was written.
    Stopped,
    /// `metadata` was written.
    Counted,
    /// Nothing more may be written.
    Closed,
}

/// A block that is not over.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The upstream's number.
    from: u32,
    /// The client's number.
    index: u32,
    kind: Kind,
    /// Something was written for it.
    filled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thought,
    /// An encrypted thought.
    Redacted,
    Tool,
}

/// A tool use that waits. Escaped forms.
#[derive(Debug)]
struct Waiting {
    from: u32,
    id: String,
    name: String,
    input: String,
    over: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new() -> Self {
        Encoder {
            style: Style::default(),
            state: State::Waiting,
            open: None,
            next: 0,
            waiting: VecDeque::new(),
            held: 0,
            tools: false,
            usage: None,
            elapsed_ms: 0,
            payload: Vec::new(),
        }
    }

    /// The same, for an answer in the form that the request asked for.
    #[must_use]
    pub fn with_style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    /// Makes sure that `messageStart` is written; says no when the answer is over.
    fn begin(&mut self, out: &mut Vec<u8>) -> bool {
        if self.state == State::Waiting {
            self.state = State::Open;
            self.frame("messageStart", out, |payload| payload.extend_from_slice(br#"{"role":"assistant"}"#));
        }
        self.state == State::Open
    }

    /// One event frame around what `fill` writes.
    fn frame(&mut self, name: &str, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        self.payload.clear();
        fill(&mut self.payload);
        write_frame(out, &[(EVENT_TYPE, name), CONTENT_TYPE, (MESSAGE_TYPE, EVENT)], &self.payload);
    }

    /// A frame about the block of this number, with the members that `fill` writes behind it.
    fn block_frame(&mut self, name: &str, index: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        self.frame(name, out, |payload| {
            payload.extend_from_slice(br#"{"contentBlockIndex":"#);
            write_u64(payload, index.into());
            fill(payload);
            payload.push(b'}');
        });
    }

    /// A delta of the block at hand: `before`, a string, `after`.
    fn delta(&mut self, index: u32, before: &[u8], text: &Text<'_>, after: &[u8], out: &mut Vec<u8>) {
        self.block_frame("contentBlockDelta", index, out, |payload| {
            payload.extend_from_slice(br#","delta":{"#);
            payload.extend_from_slice(before);
            write_text(payload, text);
            payload.extend_from_slice(after);
            payload.push(b'}');
        });
    }

    /// The number of the block that holds this kind of content; begins one, and ends the one before, where it is another.
    fn block(&mut self, from: u32, kind: Kind, out: &mut Vec<u8>) -> u32 {
        match &mut self.open {
            Some(block) if block.from == from && block.kind == kind => {
                block.filled = true;
                block.index
            }
            _ => {
                self.close_all(out);
                self.start(from, kind, true)
            }
        }
    }

    fn start(&mut self, from: u32, kind: Kind, filled: bool) -> u32 {
        let index = self.next;
        self.next = self.next.saturating_add(1);
        self.open = Some(Block { from, index, kind, filled });
        index
    }

    /// Ends the block at hand. A tool without arguments got none; clients parse what they get, so it gets an empty object.
    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        if block.kind == Kind::Tool && !block.filled {
            self.input(block.index, &Text::from_escaped("{}"), out);
        }
        self.block_frame("contentBlockStop", block.index, out, |_| ());
    }

    /// Ends the block at hand, and goes on with the tool uses that waited for it, as far as they are over themselves.
    fn advance(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        while let Some(next) = self.waiting.pop_front() {
            self.held = self.held.saturating_sub(next.size());
            self.tool(next.from, &Text::from_escaped(next.id), &Text::from_escaped(next.name), out);
            self.tool_delta(next.from, &Text::from_escaped(next.input), out);
            if !next.over {
                return;
            }
            self.close(out);
        }
    }

    /// Ends everything that is not over.
    fn close_all(&mut self, out: &mut Vec<u8>) {
        while self.open.is_some() {
            self.advance(out);
        }
    }

    fn tool_start(&mut self, from: u32, id: &Text<'_>, name: &Text<'_>, out: &mut Vec<u8>) {
        if !self.begin(out) {
            return;
        }
        if self.open.is_some_and(|block| block.kind == Kind::Tool) {
            let next = Waiting { from, id: id.escaped().to_owned(), name: name.escaped().to_owned(), input: String::new(), over: false };
            self.hold(next.size(), out);
            self.waiting.push_back(next);
        } else {
            self.close(out);
            self.tool(from, id, name, out);
        }
    }

    /// Begins a tool use.
    fn tool(&mut self, from: u32, id: &Text<'_>, name: &Text<'_>, out: &mut Vec<u8>) {
        self.tools = true;
        let index = self.start(from, Kind::Tool, false);
        self.block_frame("contentBlockStart", index, out, |payload| {
            payload.extend_from_slice(br#","start":{"toolUse":{"toolUseId":"#);
            write_text(payload, id);
            payload.extend_from_slice(br#","name":"#);
            write_text(payload, name);
            payload.extend_from_slice(b"}}");
        });
    }

    fn tool_delta(&mut self, from: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        if self.state != State::Open || fragment.is_empty() {
            return;
        }
        match &mut self.open {
            Some(block) if block.from == from && block.kind == Kind::Tool => {
                block.filled = true;
                let index = block.index;
                self.input(index, fragment, out);
            }
            _ => {
                if let Some(tool) = self.waiting.iter_mut().rev().find(|tool| tool.from == from && !tool.over) {
                    tool.input.push_str(fragment.escaped());
                    self.hold(fragment.escaped().len(), out);
                }
            }
        }
    }

    fn input(&mut self, index: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        self.delta(index, br#""toolUse":{"input":"#, fragment, b"}", out);
    }

    /// Counts bytes that wait. What is too much for that is too much for the client.
    fn hold(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.held = self.held.saturating_add(bytes);
        if self.held > WAITING_MAX {
            self.fail(&ApiError::new(ErrorKind::BadUpstream, "The model uses too many tools at once."), out);
        }
    }

    fn block_stop(&mut self, from: u32, out: &mut Vec<u8>) {
        if self.state != State::Open {
            return;
        }
        if self.open.is_some_and(|block| block.from == from) {
            self.advance(out);
        } else if let Some(tool) = self.waiting.iter_mut().find(|tool| tool.from == from && !tool.over) {
            tool.over = true;
        }
    }

    fn stop(&mut self, reason: &StopReason<'_>, stop_sequence: Option<&Text<'_>>, out: &mut Vec<u8>) {
        if !self.begin(out) {
            return;
        }
        self.close_all(out);
        self.state = State::Stopped;
        let (name, style) = (response::stop_reason(reason, self.tools), self.style);
        self.frame("messageStop", out, |payload| {
            Object::write(payload, |body| {
                body.string("stopReason", name);
                response::additional(body, &style, stop_sequence);
            });
        });
        if let Some((usage, tier)) = self.usage.take() {
            self.metadata(&usage, tier.as_ref(), out);
        }
    }

    fn usage(&mut self, usage: &Usage, tier: Option<&Text<'_>>, out: &mut Vec<u8>) {
        match self.state {
            State::Waiting | State::Open => self.usage = Some((*usage, tier.map(|tier| tier.clone().into_owned()))),
            State::Stopped => self.metadata(usage, tier, out),
            State::Counted | State::Closed => {}
        }
    }

    fn metadata(&mut self, usage: &Usage, tier: Option<&Text<'_>>, out: &mut Vec<u8>) {
        self.state = State::Counted;
        let elapsed_ms = self.elapsed_ms;
        self.frame("metadata", out, |payload| {
            Object::write(payload, |body| {
                response::usage(usage, body.key("usage"));
                response::metrics(body, elapsed_ms);
                response::service_tier(body, tier);
            });
        });
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.payload.clear();
        error::encode(error, &mut self.payload);
        write_frame(out, &[(EXCEPTION_TYPE, error::exception(error.kind)), CONTENT_TYPE, (MESSAGE_TYPE, EXCEPTION)], &self.payload);
    }
}

impl Waiting {
    fn size(&self) -> usize {
        self.id.len() + self.name.len() + self.input.len() + size_of::<Self>()
    }
}

impl EventEncoder for Encoder {
    fn clock(&mut self, elapsed_ms: u64) {
        self.elapsed_ms = elapsed_ms;
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start => _ = self.begin(out),
            Event::TextDelta { block, text } => {
                if self.begin(out) && !text.is_empty() {
                    let index = self.block(*block, Kind::Text, out);
                    self.delta(index, br#""text":"#, text, b"", out);
                }
            }
            Event::ReasoningDelta { block, text } => {
                if self.begin(out) && !text.is_empty() {
                    let index = self.block(*block, Kind::Thought, out);
                    self.delta(index, br#""reasoningContent":{"text":"#, text, b"}", out);
                }
            }
            Event::ReasoningSignature { block, signature } => {
                if self.begin(out) && !signature.is_empty() {
                    let index = self.block(*block, Kind::Thought, out);
                    self.delta(index, br#""reasoningContent":{"signature":"#, signature, b"}", out);
                }
            }
            Event::ReasoningRedacted { block, content } => {
                if self.begin(out) && !content.is_empty() {
                    let index = self.block(*block, Kind::Redacted, out);
                    self.delta(index, br#""reasoningContent":{"redactedContent":"#, content, b"}", out);
                }
            }
            Event::ToolStart { block, id, name } => self.tool_start(*block, id, name, out),
            Event::ToolDelta { block, fragment } => self.tool_delta(*block, fragment, out),
            Event::BlockStop { block } => self.block_stop(*block, out),
            Event::Stop { reason, stop_sequence } => self.stop(reason, stop_sequence.as_ref(), out),
            Event::Usage { usage, service_tier } => self.usage(usage, service_tier.as_ref(), out),
            Event::Failed(error) => self.fail(error, out),
            Event::Unknown => {}
        }
    }

    fn finish(&mut self, end: &End, out: &mut Vec<u8>) {
        match (self.state, end) {
            (State::Closed, _) => {}
            (State::Counted, End::Complete) => self.state = State::Closed,
            (State::Stopped, End::Complete) => {
                // Nobody counted: clients want the frame all the same.
                self.metadata(&Usage::default(), None, out);
                self.state = State::Closed;
            }
            (State::Waiting | State::Open, End::Complete) => self.fail(&ApiError::new(ErrorKind::BadUpstream, "The upstream's answer ended early."), out),
            (_, End::Failed(error)) => self.fail(error, out),
        }
    }
}

#[cfg(test)]
mod tests;
