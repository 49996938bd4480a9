//! Writes a streamed answer as chunks of a `text_completion`.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/completions/create#completions-create-stream>.

use super::{Style, finish_reason, head};
use crate::chat::{ApiError, End, Envelope, ErrorKind, Event, EventEncoder, StopReason, Usage};
use crate::dialect::openai::choices::{Choice, Choices};
use crate::dialect::openai::downstream::{error, response};
use crate::wire::json::{Object, Text, write_string, write_text, write_u64};
use crate::wire::sse;

/// Writes one answer.
///
/// ```text
///           Start, any text           Stop               finish(Complete)
/// Waiting ──────────────────▶ Open ───────────▶ Stopped ─────────────────▶ Closed
///    │       echo                 finish chunk    │ ▲    [DONE]              ▲
///    │                                            └─┘ Usage: its chunk       │
///    └───────────── Failed, finish(Failed), finish(Complete) too early ──────┘ from anywhere: error
/// ```
#[derive(Debug)]
pub struct Encoder {
    /// Every chunk up to what its list of choices holds.
    head: Box<[u8]>,
    index: u32,
    include_usage: bool,
    /// What stands in front of the answer, in escaped form.
    before: String,
    state: State,
    /// Token counts that came before the stop: they are the last chunk all the same.
    usage: Option<Usage>,
    /// The chunk with token counts is out.
    counted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was written.
    Waiting,
    /// What stands in front was written.
    Open,
    /// The finish reason was written.
    Stopped,
    /// The last byte was written.
    Closed,
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new(envelope: &Envelope, style: &Style) -> Self {
        Self::choice(envelope, style, 0)
    }

    fn choice(envelope: &Envelope, style: &Style, index: u32) -> Self {
        let mut first = Vec::with_capacity(160);
        Object::write(&mut first, |body| {
            head(body, envelope);
            body.key("choices");
        });
        // The object stays open: its brace comes with the end of each chunk.
        first.pop();
        first.push(b'[');
        let before = style.before(index as usize).to_owned();
        Encoder { head: first.into(), index, include_usage: style.include_usage, before, state: State::Waiting, usage: None, counted: false }
    }

    fn chunk(&self, text: &Text<'_>, reason: Option<&str>, out: &mut Vec<u8>) {
        sse::write_data(out, |out| {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(br#"{"text":"#);
            write_text(out, text);
            out.extend_from_slice(br#","index":"#);
            write_u64(out, self.index.into());
            out.extend_from_slice(br#","logprobs":null,"finish_reason":"#);
            match reason {
                Some(reason) => write_string(out, reason),
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(b"}]");
            // A client that asked for token counts finds `null` in all chunks but the last.
            out.extend_from_slice(if self.include_usage { br#","usage":null}"# } else { b"}" });
        });
    }

    fn text_delta(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if self.open(out) && !text.is_empty() {
            self.chunk(text, None, out);
        }
    }

    fn stop(&mut self, reason: &StopReason<'_>, out: &mut Vec<u8>) {
        if self.open(out) {
            self.state = State::Stopped;
            self.chunk(&Text::EMPTY, Some(finish_reason(reason)), out);
            if let Some(usage) = self.usage.take() {
                self.count(&usage, out);
            }
        }
    }
}

impl Choice for Encoder {
    fn open(&mut self, out: &mut Vec<u8>) -> bool {
        if self.state == State::Waiting {
            self.state = State::Open;
            if !self.before.is_empty() {
                let before = std::mem::take(&mut self.before);
                self.chunk(&Text::from_escaped(before), None, out);
            }
        }
        self.state == State::Open
    }

    fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    fn count(&mut self, usage: &Usage, out: &mut Vec<u8>) {
        if !self.include_usage || self.counted {
            return;
        }
        match self.state {
            State::Waiting | State::Open => self.usage = Some(*usage),
            State::Stopped => {
                self.counted = true;
                sse::write_data(out, |out| {
                    out.extend_from_slice(&self.head);
                    out.extend_from_slice(br#"],"usage":"#);
                    response::usage(usage, out);
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

    fn silence(&mut self) {
        self.state = State::Closed;
    }
}

impl EventEncoder for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start => _ = self.open(out),
            Event::TextDelta { text, .. } => self.text_delta(text, out),
            Event::Stop { reason, .. } => self.stop(reason, out),
            Event::Usage { usage, .. } => self.count(usage, out),
            Event::Failed(error) => self.fail(error, out),
            // Thoughts and tools have no place in this API.
            Event::ReasoningDelta { .. }
            | Event::ReasoningSignature { .. }
            | Event::ReasoningRedacted { .. }
            | Event::ToolStart { .. }
            | Event::ToolDelta { .. }
            | Event::BlockStop { .. }
            | Event::Unknown => {}
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

/// An encoder for `count` answers, one at least.
#[must_use]
pub fn choices(envelope: &Envelope, style: &Style, count: u32) -> Choices<Encoder> {
    Choices::new((0..count.max(1)).map(|index| Encoder::choice(envelope, style, index)).collect())
}
