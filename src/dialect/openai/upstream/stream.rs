//! A streamed answer, chunk by chunk, read into events; and a tap for streams that are passed on as they are.
//!
//! ```text
//!          a chunk with a choice         finish_reason            [DONE]
//!  Waiting ────────────────────▶ Open ────────────────▶ Stopped ──────────▶ Done
//!     │                           │                       │ ▲
//!     │                           │                       └─┘ usage
//!     └───────────────────────────┴── error, broken chunk ─┴──▶ Failed
//! ```
//!
//! An answer is whole when its `finish_reason` came: not every server says `[DONE]` behind it. Text and arguments move in their escaped form; in steady state
//! a delta of text allocates nothing.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/chat/streaming>. Azure's first chunk has no choices and no usage; Gemini, vLLM and others count
//! in every chunk; llama.cpp and Gemini send a whole call at once; some leave out `index` or repeat names: see `calls`.

mod blocks;
mod calls;

use crate::chat::{ApiError, End, ErrorKind, Event, EventDecoder, Restore, StopReason, Usage};
use crate::wire::json::Text;
use crate::wire::sse::Parser;

use super::answer::{self, Body, Choice, Said, failure, named_stop, object, stop_reason};
use super::error;
use blocks::{Blocks, TooMuch};
use calls::Piece;

/// What ends a stream, as data.
const DONE: &[u8] = b"[DONE]";

/// Reads the bytes of a streamed answer.
#[derive(Debug)]
pub struct Decoder {
    parser: Parser,
    machine: Machine,
}

impl Decoder {
    /// A decoder at the start of an answer to the request that `restore` belongs to.
    #[must_use]
    pub fn new(restore: Restore) -> Self {
        let machine = Machine { restore, state: State::Waiting, blocks: Blocks::default(), usage: None, told: None, service_tier: None };
        Decoder { parser: Parser::new(), machine }
    }
}

impl EventDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn FnMut(Event<'_>)) {
        let Decoder { parser, machine } = self;
        if parser.push(bytes, |event| machine.data(event.data, events)).is_err() {
            machine.fail(broken("an event of the model provider's stream is too long"), events);
        }
    }

    fn finish(&mut self) -> End {
        if self.parser.finish().is_err() && !matches!(self.machine.state, State::Done | State::Failed(_)) {
            // Servers forget the empty line behind the last event. Whatever it is, it must be whole; and what it says can no longer be told.
            let is_stopped = matches!(self.machine.state, State::Stopped);
            let machine = &mut self.machine;
            let _ = self.parser.push(b"\n\n", |event| machine.data(event.data, &mut |_| {}));
            if !is_stopped || matches!(self.machine.state, State::Failed(_)) {
                return End::Failed(broken("the model provider's stream broke off in the middle of an event"));
            }
        }
        let why = match &self.machine.state {
            State::Failed(error) => return End::Failed(error.clone()),
            State::Stopped | State::Done => return End::Complete,
            State::Waiting => "the model provider's stream was empty",
            State::Open => "the model provider's stream ended before the answer did",
        };
        End::Failed(broken(why))
    }
}

fn broken(why: &'static str) -> ApiError {
    ApiError::new(ErrorKind::BadUpstream, why)
}

#[derive(Debug)]
enum State {
    Waiting,
    Open,
    Stopped,
    Done,
    Failed(ApiError),
}

#[derive(Debug)]
struct Machine {
    restore: Restore,
    state: State,
    blocks: Blocks,
    /// Counts that came before the stop, behind which they belong. Each stands above the one before.
    usage: Option<Usage>,
    /// Counts that were told.
    told: Option<Usage>,
    /// Escaped form.
    service_tier: Option<String>,
}

impl Machine {
    fn data(&mut self, data: &[u8], events: &mut dyn FnMut(Event<'_>)) {
        let data = data.trim_ascii();
        if data.is_empty() || matches!(self.state, State::Done | State::Failed(_)) {
            return;
        }
        if data == DONE {
            self.done(events);
            return;
        }
        let read = std::str::from_utf8(data).ok().and_then(|text| Body::read(text).ok());
        match read.map(|body| self.chunk(body, events)) {
            Some(Ok(())) => {}
            Some(Err(error)) => self.fail(error, events),
            None => self.fail(broken("a chunk of the model provider's stream could not be read"), events),
        }
    }

    fn done(&mut self, events: &mut dyn FnMut(Event<'_>)) {
        match self.state {
            State::Stopped => {
                self.tell_usage(events);
                self.state = State::Done;
            }
            State::Waiting => self.fail(broken("the model provider's stream was empty"), events),
            _ => self.fail(broken("the model provider's stream ended before the answer did"), events),
        }
    }

    fn fail(&mut self, error: ApiError, events: &mut dyn FnMut(Event<'_>)) {
        if !matches!(self.state, State::Failed(_)) {
            events(Event::Failed(error.clone()));
            self.state = State::Failed(error);
        }
    }

    fn chunk(&mut self, mut body: Body<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), ApiError> {
        if let Some(raw) = body.error {
            return Err(error::inside(raw));
        }
        if let Some(tier) = &body.service_tier
            && self.service_tier.as_deref() != Some(tier.escaped())
        {
            self.service_tier = Some(tier.escaped().to_owned());
        }
        let usage = body.usage();
        self.usage = usage.or(self.usage);
        if let Some(choice) = body.choice {
            self.choice(choice, events)?;
        }
        if usage.is_some() {
            self.tell_usage(events);
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), ApiError> {
        if matches!(self.state, State::Waiting) {
            self.state = State::Open;
            events(Event::Start);
        }
        let (reason, met) = (choice.finish_reason(), choice.stop_text());
        if let Some(said) = object(choice.delta) {
            self.said(said, events).map_err(|TooMuch| broken("the model provider's stream mixes too much"))?;
        }
        match reason {
            Some(reason) if matches!(self.state, State::Open) => match failure(&reason) {
                Some(error) => Err(error),
                None => {
                    self.stop(reason, met, events);
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    fn said(&mut self, said: Said<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), TooMuch> {
        if !matches!(self.state, State::Open) {
            // Behind the end there is nothing but usage, and what filters found.
            said.speech(&mut |_, _| events(Event::Unknown));
            answer::calls(said.tool_calls, |_| events(Event::Unknown));
            return Ok(());
        }
        let Machine { blocks, restore, .. } = self;
        let mut outcome = Ok(());
        said.speech(&mut |voice, text| {
            if outcome.is_ok() {
                outcome = blocks.speak(voice, text, events);
            }
        });
        let mut call = |index, id, function: answer::Function<'_>| {
            if outcome.is_ok() {
                outcome = blocks.call(&Piece { index, id, name: function.name(), arguments: function.arguments() }, restore, events);
            }
        };
        answer::calls(said.tool_calls, |mut wire| {
            let function = object(wire.function.take()).unwrap_or_default();
            call(wire.index(), wire.id(), function);
        });
        if let Some(function) = object(said.function_call) {
            call(None, Text::EMPTY, function);
        }
        outcome
    }

    fn stop(&mut self, reason: Text<'_>, met: Option<Text<'_>>, events: &mut dyn FnMut(Event<'_>)) {
        self.blocks.finish(&self.restore, events);
        let reason = match stop_reason(reason, met.as_ref(), self.blocks.tools() > 0) {
            StopReason::EndTurn if self.blocks.has_nameless() => StopReason::MalformedToolUse,
            reason => reason,
        };
        self.state = State::Stopped;
        let stop_sequence = met.filter(|_| reason == StopReason::StopSequence);
        events(Event::Stop { reason, stop_sequence });
    }

    /// Tells the counts once the model has stopped, and again if they change.
    fn tell_usage(&mut self, events: &mut dyn FnMut(Event<'_>)) {
        if let Some(usage) = self.usage.filter(|usage| matches!(self.state, State::Stopped) && self.told != Some(*usage)) {
            self.told = Some(usage);
            events(Event::Usage { usage, service_tier: self.service_tier.as_deref().map(Text::from_escaped) });
        }
    }
}

/// Listens to a stream that is passed on as it is: tokens, why the model stopped, and whether the end came. Reads only the few chunks that tell.
#[derive(Debug, Default)]
pub struct UsageTap {
    parser: Parser,
    usage: Option<Usage>,
    stop: Option<&'static str>,
    is_done: bool,
    /// What comes can no longer be read. It is passed on all the same.
    is_deaf: bool,
}

impl UsageTap {
    /// A tap at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        UsageTap::default()
    }

    /// Listens to bytes as they pass, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_deaf {
            return;
        }
        let UsageTap { parser, usage, stop, is_done, .. } = self;
        let pushed = parser.push(bytes, |event| {
            let data = event.data.trim_ascii();
            *is_done |= data == DONE;
            let Some(mut body) = telling(data).and_then(|text| Body::read(text).ok()) else { return };
            *usage = body.usage().or(*usage);
            *stop = body.choice.as_ref().and_then(named_stop).or(*stop);
        });
        self.is_deaf = pushed.is_err();
    }

    /// The tokens, where the upstream has told them.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Why the model stopped, by its stable name.
    #[must_use]
    pub fn stop(&self) -> Option<&'static str> {
        self.stop
    }

    /// Whether `[DONE]` came.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }
}

/// The data, if it has counts or the reason of a stop. Inside a string these names would stand between escaped quotes.
fn telling(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    let has = |name: &str, first: char| {
        text.match_indices(name).any(|(at, _)| {
            let rest = text.get(at + name.len()..).unwrap_or_default().trim_start();
            rest.strip_prefix(':').is_some_and(|value| value.trim_start().starts_with(first))
        })
    };
    (has("\"usage\"", '{') || has("\"finish_reason\"", '"')).then_some(text)
}

#[cfg(test)]
mod tests;
