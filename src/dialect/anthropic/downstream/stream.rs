//! Writes a streamed answer as the events of a `message`.
//!
//! The counts of tokens come last from every upstream but Anthropic, so `message_start` has zeros, and `message_delta`, whose counts replace all earlier ones,
//! waits for them. The order of the blocks has a file of its own.
//!
//! Vendor page: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

mod arguments;
mod blocks;

use super::{error, response};
use crate::chat::{ApiError, End, Envelope, ErrorKind, Event, EventEncoder, StopReason, Usage};
use crate::dialect::anthropic::Style;
use crate::wire::json::{Object, Text};
use crate::wire::sse;
use blocks::Blocks;

/// The event that keeps a stream alive: clients pass over it, wherever it stands.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// Writes one answer.
///
/// ```text
///          Start, any delta          Stop                  Usage                finish(Complete)
/// Waiting ─────────────────▶ Open ─────────▶ Stopped ────────────────▶ Counted ──────────────────▶ Closed
///    │      message_start           blocks      │     message_delta              message_stop        ▲
///    │                              closed      └──────────────── finish(Complete): both ────────────┤
///    └──────────────────────── Failed, finish(Failed), finish(Complete) too early: error ────────────┘ from anywhere
/// ```
#[derive(Debug)]
pub struct Encoder {
    /// The payload of `message_start`.
    start: Box<[u8]>,
    style: Style,
    state: State,
    blocks: Blocks,
    /// The last counts of tokens that came, and the tier that served.
    usage: Option<(Usage, Option<Text<'static>>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing was written.
    Waiting,
    /// The start was written.
    Open,
    /// The last block was written.
    Stopped { reason: &'static str, stop_sequence: Option<Text<'static>> },
    /// The stop reason and the counts were written.
    Counted,
    /// The last byte was written.
    Closed,
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new(envelope: &Envelope, style: &Style) -> Self {
        let mut start = Vec::with_capacity(400);
        Object::write(&mut start, |event| {
            event.string("type", "message_start");
            event.object("message", |message| {
                response::head(message, envelope);
                message.raw("content", "[]");
                message.raw("stop_reason", "null");
                message.raw("stop_sequence", "null");
                response::usage(&Usage::default(), None, message.key("usage"));
            });
        });
        Encoder { start: start.into(), style: style.clone(), state: State::Waiting, blocks: Blocks::default(), usage: None }
    }

    /// Makes sure that the start is written; says no when the answer is over.
    fn open(&mut self, out: &mut Vec<u8>) -> bool {
        if self.state == State::Waiting {
            self.state = State::Open;
            sse::write_event(out, "message_start", |out| out.extend_from_slice(&self.start));
        }
        self.state == State::Open
    }

    fn stop(&mut self, reason: &StopReason<'_>, told: Option<&Text<'_>>, out: &mut Vec<u8>) {
        if !self.open(out) {
            return;
        }
        self.blocks.finish(out);
        let reason = response::stop_reason(reason, self.blocks.has_tools());
        let stop_sequence = response::stop_sequence(reason, told, &self.style).map(Text::into_owned);
        self.state = State::Stopped { reason, stop_sequence };
    }

    fn usage(&mut self, usage: &Usage, tier: Option<&Text<'_>>, out: &mut Vec<u8>) {
        self.usage = Some((*usage, tier.map(|tier| tier.clone().into_owned())));
        self.message_delta(out);
    }

    /// Writes what waited for the counts, once it is known why the model stopped.
    fn message_delta(&mut self, out: &mut Vec<u8>) {
        let State::Stopped { reason, stop_sequence } = &self.state else { return };
        let (usage, tier) = self.usage.take().unwrap_or_default();
        sse::write_event(out, "message_delta", |out| {
            Object::write(out, |event| {
                event.string("type", "message_delta");
                event.object("delta", |delta| {
                    delta.string("stop_reason", reason);
                    response::write_stop_sequence(delta, stop_sequence.as_ref());
                });
                response::usage(&usage, tier.as_ref(), event.key("usage"));
            });
        });
        self.state = State::Counted;
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        if self.state != State::Closed {
            self.state = State::Closed;
            sse::write_event(out, "error", |out| error::encode(error, None, out));
        }
    }
}

impl EventEncoder for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Failed(error) => self.fail(error, out),
            Event::Stop { reason, stop_sequence } => self.stop(reason, stop_sequence.as_ref(), out),
            Event::Usage { usage, service_tier } => self.usage(usage, service_tier.as_ref(), out),
            Event::Unknown => {}
            // All others are content, or open the way for it.
            _ if !self.open(out) => {}
            Event::Start => {}
            Event::TextDelta { block, text } => self.blocks.text(*block, text, out),
            Event::ReasoningDelta { block, text } => self.blocks.thought(*block, text, out),
            Event::ReasoningSignature { block, signature } => self.blocks.seal(*block, signature, out),
            Event::ReasoningRedacted { content, .. } => self.blocks.redacted(content, out),
            Event::ToolStart { block, id, name } => self.blocks.tool(*block, id, name, out),
            Event::ToolDelta { block, fragment } => self.blocks.arguments(*block, fragment, out),
            Event::BlockStop { block } => self.blocks.stop(*block, out),
        }
    }

    fn finish(&mut self, end: &End, out: &mut Vec<u8>) {
        match (&self.state, end) {
            (State::Closed, _) => {}
            (_, End::Failed(error)) => self.fail(error, out),
            (State::Stopped { .. } | State::Counted, End::Complete) => {
                self.message_delta(out);
                self.state = State::Closed;
                sse::write_event(out, "message_stop", |out| out.extend_from_slice(br#"{"type":"message_stop"}"#));
            }
            (State::Waiting | State::Open, End::Complete) => self.fail(&ApiError::new(ErrorKind::BadUpstream, "The upstream's answer ended early."), out),
        }
    }
}

#[cfg(test)]
mod tests;
