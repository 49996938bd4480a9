//! A ConverseStream answer, frame by frame, read into events.
//!
//! ```text
//!            first frame            messageStop               metadata
//!  Waiting ───────────────▶ Open ───────────────▶ Stopped ◀──────────┐
//!     │                      │                       │  └────────────┘
//!     └──────────────────────┴─────── exception, error frame, broken frame ──▶ Failed
//! ```
//!
//! Only a body that ends in `Stopped`, between two frames, was a whole answer: status 200 promises nothing. Text and arguments move in their escaped form;
//! in steady state a delta allocates nothing.
//!
//! Where a tool stands for the wanted output shape, its arguments are the answer's text. Such a request makes the model use a tool, so text of its own is
//! the exception: it is held back, and given only if the model stops without having used that tool.
//!
//! Follows `ConverseStreamOutput` of the service model. Recorded payloads have a padding member `p` and no `contentBlockStart` for text.

mod shape;
mod tap;

use serde::Deserialize;

use crate::chat::{ApiError, End, ErrorKind, Event, EventDecoder, StopReason};
use crate::wire::eventstream::{self, Frame, Parser};
use crate::wire::json::{Raw, Text};

use super::answer::{Additional, ServiceTier, TokenUsage, stop_reason};
use super::error;
use crate::chat::Restore;
use shape::Shape;

pub use tap::UsageTap;

/// What a wrapped answer begins with.
const WRAPPER: &str = "{\"properties\":{";

/// Reads the bytes of a ConverseStream answer.
#[derive(Debug)]
pub struct Decoder {
    parser: Parser,
    machine: Machine,
}

impl Decoder {
    /// A decoder at the start of an answer to the request that `restore` belongs to.
    #[must_use]
    pub fn new(restore: Restore) -> Self {
        let machine = Machine {
            restore,
            state: State::Waiting,
            reasoning_tokens: None,
            ignored: None,
            tools: 0,
            format: Format::Unseen,
            held: String::new(),
            held_block: None,
        };
        Decoder { parser: Parser::new(), machine }
    }
}

impl EventDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn FnMut(Event<'_>)) {
        if matches!(self.machine.state, State::Failed(_)) {
            return;
        }
        let mut frames = self.parser.push(bytes);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => self.machine.frame(&frame, events),
                Ok(None) => return,
                Err(_) => self.machine.fail(broken("the model provider's stream could not be read"), events),
            }
            if matches!(self.machine.state, State::Failed(_)) {
                return;
            }
        }
    }

    fn finish(&mut self) -> End {
        let why = match &self.machine.state {
            State::Failed(error) => return End::Failed(error.clone()),
            _ if self.parser.finish().is_err() => "the model provider's stream broke off in the middle of a frame",
            State::Waiting => "the model provider's stream was empty",
            State::Open => "the model provider's stream ended before the answer did",
            State::Stopped => return End::Complete,
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
    Failed(ApiError),
}

/// The tool that stands for the output shape.
#[derive(Debug)]
enum Format {
    /// It was not used yet.
    Unseen,
    /// Its arguments began, and so far look like `{"properties":{`. Escaped form.
    Looking { block: u32, begun: String },
    /// They are the answer.
    Plain { block: u32 },
    /// They are the answer with a wrapper around it. `tail` is what may be the wrapper's end.
    Wrapped { block: u32, tail: String },
    /// They are over.
    Done,
}

#[derive(Debug)]
struct Machine {
    restore: Restore,
    state: State,
    /// Came with `messageStop`, belongs to the usage that comes behind it.
    reasoning_tokens: Option<u64>,
    /// A tool that the provider runs itself.
    ignored: Option<u32>,
    /// How many tools the model wants used.
    tools: usize,
    format: Format,
    /// Text that waits for whether it is the answer, in escaped form, and the block it came in.
    held: String,
    held_block: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    content_block_index: u32,
    #[serde(borrow, default)]
    start: Option<Start<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(borrow, default)]
    tool_use: Option<ToolUseStart<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUseStart<'a> {
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta<'a> {
    content_block_index: u32,
    #[serde(borrow)]
    delta: Delta<'a>,
}

/// A union: one member is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_use: Option<ToolUseDelta<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<ReasoningDelta<'a>>,
}

#[derive(Deserialize)]
struct ToolUseDelta<'a> {
    #[serde(borrow)]
    input: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningDelta<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    redacted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStop {
    content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop<'a> {
    #[serde(borrow)]
    stop_reason: Text<'a>,
    #[serde(borrow, default)]
    additional_model_response_fields: Option<Raw<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    usage: Option<TokenUsage<'a>>,
    #[serde(borrow, default)]
    service_tier: Option<ServiceTier<'a>>,
}

impl Machine {
    fn frame(&mut self, frame: &Frame<'_>, events: &mut dyn FnMut(Event<'_>)) {
        match frame.message_type() {
            Some(eventstream::EXCEPTION) => {
                let code = || frame.header(eventstream::ERROR_CODE);
                self.fail(error::exception(frame.exception_type().or_else(code).unwrap_or_default(), frame.payload), events);
            }
            Some(eventstream::ERROR) => {
                let (code, message) = (frame.header(eventstream::ERROR_CODE), frame.header(eventstream::ERROR_MESSAGE));
                self.fail(error::unmodelled(code, message), events);
            }
            _ => {
                if self.event(frame.event_type().unwrap_or_default(), frame.payload, events).is_err() {
                    self.fail(broken("an event of the model provider's stream could not be read"), events);
                }
            }
        }
    }

    fn fail(&mut self, error: ApiError, events: &mut dyn FnMut(Event<'_>)) {
        events(Event::Failed(error.clone()));
        self.state = State::Failed(error);
    }

    fn event(&mut self, name: &str, payload: &[u8], events: &mut dyn FnMut(Event<'_>)) -> serde_json::Result<()> {
        let known = matches!(name, "messageStart" | "contentBlockStart" | "contentBlockDelta" | "contentBlockStop" | "messageStop" | "metadata");
        if known && matches!(self.state, State::Waiting) {
            self.state = State::Open;
            events(Event::Start);
        }
        match name {
            "metadata" => self.metadata(&serde_json::from_slice(payload)?, events),
            // Behind the end there is nothing but metadata.
            _ if matches!(self.state, State::Stopped) => events(Event::Unknown),
            "contentBlockDelta" => match shape::read(payload) {
                Some((block, Shape::Text(text))) => self.text(block, Text::from_escaped(text), events),
                Some((block, Shape::Input(input))) => self.arguments(block, Text::from_escaped(input), events),
                None => self.delta(serde_json::from_slice(payload)?, events),
            },
            "contentBlockStart" => self.block_start(serde_json::from_slice(payload)?, events),
            "contentBlockStop" => self.block_stop(serde_json::from_slice::<BlockStop>(payload)?.content_block_index, events),
            "messageStop" => self.message_stop(serde_json::from_slice(payload)?, events),
            "messageStart" => {}
            _ => events(Event::Unknown),
        }
        Ok(())
    }

    fn block_start(&mut self, event: BlockStart<'_>, events: &mut dyn FnMut(Event<'_>)) {
        let block = event.content_block_index;
        // Text, images and results of the provider's own tools need no start.
        let Some(tool) = event.start.and_then(|start| start.tool_use) else { return };
        if tool.kind.is_some_and(|kind| kind == *"server_tool_use") {
            self.ignored = Some(block);
        } else if self.restore.is_format_tool(&tool.name) {
            self.held.clear();
            match self.format {
                Format::Unseen if self.restore.unwrap => self.format = Format::Looking { block, begun: String::new() },
                Format::Unseen => self.format = Format::Plain { block },
                // One answer is enough.
                _ => self.ignored = Some(block),
            }
        } else {
            self.tools += 1;
            events(Event::ToolStart { block, id: tool.tool_use_id, name: self.restore.tool_name(tool.name) });
        }
    }

    fn delta(&mut self, event: BlockDelta<'_>, events: &mut dyn FnMut(Event<'_>)) {
        let BlockDelta { content_block_index: block, delta } = event;
        match delta {
            Delta { text: Some(text), .. } => self.text(block, text, events),
            Delta { tool_use: Some(tool), .. } => self.arguments(block, tool.input, events),
            Delta { reasoning_content: Some(thought), .. } => {
                if let Some(text) = thought.text {
                    events(Event::ReasoningDelta { block, text });
                }
                if let Some(signature) = thought.signature {
                    events(Event::ReasoningSignature { block, signature });
                }
                if let Some(content) = thought.redacted_content {
                    events(Event::ReasoningRedacted { block, content });
                }
            }
            _ => events(Event::Unknown),
        }
    }

    /// More text: it waits where it may turn out not to be the answer.
    fn text(&mut self, block: u32, text: Text<'_>, events: &mut dyn FnMut(Event<'_>)) {
        if self.restore.format_tool.is_none() {
            events(Event::TextDelta { block, text });
        } else if matches!(self.format, Format::Unseen) {
            self.held.push_str(text.escaped());
            self.held_block = Some(block);
        }
    }

    /// A fragment of a tool's arguments.
    fn arguments(&mut self, at: u32, fragment: Text<'_>, events: &mut dyn FnMut(Event<'_>)) {
        if self.ignored == Some(at) {
            return;
        }
        match &mut self.format {
            Format::Plain { block } if *block == at => events(Event::TextDelta { block: at, text: fragment }),
            Format::Looking { block, begun } if *block == at => {
                begun.push_str(fragment.escaped());
                match look(begun) {
                    Look::More => {}
                    Look::Plain => {
                        events(Event::TextDelta { block: at, text: Text::from_escaped(begun.as_str()) });
                        self.format = Format::Plain { block: at };
                    }
                    Look::Wrapped(from) => {
                        let inner = begun.get(from..).unwrap_or_default().to_owned();
                        self.format = Format::Wrapped { block: at, tail: String::new() };
                        self.arguments(at, Text::from_escaped(inner), events);
                    }
                }
            }
            Format::Wrapped { block, tail } if *block == at => {
                // The last brace may be the wrapper's: it waits, and what is behind it.
                tail.push_str(fragment.escaped());
                let last = tail.rfind('}').unwrap_or(tail.len());
                if last > 0 {
                    events(Event::TextDelta { block: at, text: Text::from_escaped(tail.get(..last).unwrap_or_default()) });
                    tail.drain(..last);
                }
            }
            _ => events(Event::ToolDelta { block: at, fragment }),
        }
    }

    fn block_stop(&mut self, at: u32, events: &mut dyn FnMut(Event<'_>)) {
        match &self.format {
            // It ended before anything could be told: what there is, is the answer; nothing at all is an empty object.
            Format::Looking { block, begun } if *block == at => {
                let text = if begun.is_empty() { "{}" } else { begun.as_str() };
                events(Event::TextDelta { block: at, text: Text::from_escaped(text) });
                self.format = Format::Done;
            }
            Format::Plain { block } | Format::Wrapped { block, .. } if *block == at => self.format = Format::Done,
            _ => {}
        }
        if self.ignored == Some(at) {
            self.ignored = None;
        } else if self.held_block != Some(at) {
            events(Event::BlockStop { block: at });
        }
    }

    fn message_stop(&mut self, event: MessageStop<'_>, events: &mut dyn FnMut(Event<'_>)) {
        if let Some(block) = self.held_block.filter(|_| !self.held.is_empty()) {
            events(Event::TextDelta { block, text: Text::from_escaped(self.held.as_str()) });
            events(Event::BlockStop { block });
            self.held.clear();
        }
        let additional = Additional::read(event.additional_model_response_fields);
        self.reasoning_tokens = additional.reasoning_tokens;
        let mut reason = stop_reason(event.stop_reason);
        if reason == StopReason::ToolUse && self.tools == 0 && !matches!(self.format, Format::Unseen) {
            reason = StopReason::EndTurn;
        }
        self.state = State::Stopped;
        events(Event::Stop { reason, stop_sequence: additional.stop_sequence });
    }

    fn metadata(&mut self, event: &Metadata<'_>, events: &mut dyn FnMut(Event<'_>)) {
        if let Some(usage) = &event.usage {
            let service_tier = event.service_tier.as_ref().and_then(|tier| tier.kind.clone());
            events(Event::Usage { usage: usage.read(self.reasoning_tokens), service_tier });
        }
    }
}

/// What the beginning of some arguments looks like.
enum Look {
    /// Too short to tell.
    More,
    /// Like the answer.
    Plain,
    /// Like a wrapper; the answer begins at this byte.
    Wrapped(usize),
}

/// Compares the beginning of arguments, in escaped form, with the wrapper, white space aside.
fn look(begun: &str) -> Look {
    let mut wanted = WRAPPER.bytes().peekable();
    let mut bytes = begun.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let byte = match byte {
            // `\"` is the quote, `\n` and the like are white space.
            b'\\' => match bytes.next() {
                Some((_, b'"')) => b'"',
                Some((_, b'n' | b'r' | b't')) => continue,
                Some(_) => return Look::Plain,
                None => return Look::More,
            },
            byte if byte.is_ascii_whitespace() => continue,
            byte => byte,
        };
        if wanted.next() != Some(byte) {
            return Look::Plain;
        }
        if wanted.peek().is_none() {
            return Look::Wrapped(at);
        }
    }
    Look::More
}

#[cfg(test)]
mod tests;
