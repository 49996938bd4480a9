//! Messages event streams, read into canonical events; and a tap on those that are relayed as they stand.
//!
//! ```text
//! message_start ─▶ ( content_block_start ─▶ content_block_delta* ─▶ content_block_stop )* ─▶ message_delta ─▶ message_stop
//!                     ping and events that nobody knows, anywhere; error, from anywhere, ends it
//! ```
//!
//! Payloads move in escaped form. Token counts are totals that come more than once: the canonical form gets them once, behind the stop.
//!
//! Vendor page: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use serde::Deserialize;

use super::answer::{METRICS, Tally, stop_reason};
use super::error;
use crate::chat::fields::Members;
use crate::chat::{ApiError, End, ErrorKind, Event, EventDecoder, Restore, StopReason, Usage};
use crate::wire::json::{Kind, Raw, Text};
use crate::wire::sse::{self, Parser};

/// Reads the bytes of a streamed Messages answer.
///
/// ```text
///          message_start        message_delta with a stop reason      message_stop
/// Waiting ───────────────▶ Open ──────────────────────────────▶ Stopped ──────────▶ Ended
///    └──────────────────────── error, nonsense: Failed, from anywhere ────┘
/// ```
#[derive(Debug)]
pub struct Decoder {
    parser: Parser,
    machine: Machine,
}

impl Decoder {
    /// A decoder at the start of an answer to the request that `restore` belongs to.
    #[must_use]
    pub fn new(restore: Restore) -> Self {
        Decoder { parser: Parser::new(), machine: Machine { restore, state: State::Waiting, tally: Tally::default(), tools: false, block: Block::Other } }
    }
}

impl EventDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn FnMut(Event<'_>)) {
        let Decoder { parser, machine } = self;
        if matches!(machine.state, State::Failed(_)) {
            return;
        }
        let read = parser.push(bytes, |event| {
            if !matches!(machine.state, State::Failed(_)) && machine.event(event, events).is_err() {
                machine.fail(broken("an event of the model provider's stream could not be read"), events);
            }
        });
        if read.is_err() && !matches!(machine.state, State::Failed(_)) {
            machine.fail(broken("the model provider's stream could not be read"), events);
        }
    }

    fn finish(&mut self) -> End {
        let why = match &self.machine.state {
            State::Failed(error) => return End::Failed(error.clone()),
            _ if self.parser.finish().is_err() => "the model provider's stream broke off in the middle of an event",
            State::Waiting => "the model provider's stream was empty",
            State::Open | State::Stopped => "the model provider's stream ended before the answer did",
            State::Ended => return End::Complete,
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
    Ended,
    Failed(ApiError),
}

/// What the block at hand is. They come one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Text or thoughts: their deltas say themselves what they are.
    Said(u32),
    /// A tool use.
    Tool(u32),
    /// A tool use whose arguments came with its start.
    GivenTool(u32),
    /// One that nobody knows, or of a tool that the provider runs itself; or none.
    Other,
}

#[derive(Debug)]
struct Machine {
    restore: Restore,
    state: State,
    tally: Tally,
    /// The model wants tools used.
    tools: bool,
    block: Block,
}

/// The data of any event: which members count, its name tells.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    message: Option<Raw<'a>>,
    #[serde(borrow, default)]
    content_block: Option<Start<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    usage: Option<Raw<'a>>,
    /// [`METRICS`].
    #[serde(borrow, rename = "amazon-bedrock-invocationMetrics", default)]
    metrics: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Raw<'a>>,
    #[serde(borrow, default)]
    id: Option<Raw<'a>>,
    #[serde(borrow, default)]
    name: Option<Raw<'a>>,
    #[serde(borrow, default)]
    input: Option<Raw<'a>>,
    #[serde(borrow, default)]
    text: Option<Raw<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Raw<'a>>,
    #[serde(borrow, default)]
    signature: Option<Raw<'a>>,
    #[serde(borrow, default)]
    data: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Raw<'a>>,
    #[serde(borrow, default)]
    text: Option<Raw<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Raw<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Raw<'a>>,
    #[serde(borrow, default)]
    signature: Option<Raw<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Raw<'a>>,
    #[serde(borrow, default)]
    stop_sequence: Option<Raw<'a>>,
}

/// An event that says nothing a reader could use.
struct Nonsense;

impl From<serde_json::Error> for Nonsense {
    fn from(_: serde_json::Error) -> Self {
        Nonsense
    }
}

/// The name of an event: its `event` field, or what its data says. Google's errors have no name of an event, wherever they stand.
fn name<'e>(event: &sse::Event<'e>) -> Result<&'e str, Nonsense> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type", default)]
        kind: Option<Raw<'a>>,
        #[serde(borrow, default)]
        error: Option<Raw<'a>>,
    }
    if !event.name.is_empty() {
        return Ok(std::str::from_utf8(event.name).unwrap_or_default());
    }
    let Typed { kind, error } = serde_json::from_slice(event.data)?;
    let kind = kind.and_then(|kind| kind.as_str().strip_prefix('"')?.strip_suffix('"'));
    let otherwise = if error.is_some() { "error" } else { "" };
    Ok(kind.unwrap_or(otherwise))
}

/// A string that says something.
fn filled(member: Option<Raw<'_>>) -> Option<Text<'_>> {
    member.and_then(Raw::text).filter(|text| !text.is_empty())
}

impl Machine {
    fn event(&mut self, event: sse::Event<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), Nonsense> {
        // Behind the end there is nothing to know.
        if matches!(self.state, State::Ended) {
            events(Event::Unknown);
            return Ok(());
        }
        let name = name(&event)?;
        match name {
            "ping" => return Ok(()),
            "error" => {
                self.fail(error::event(event.data), events);
                return Ok(());
            }
            "message_start" | "content_block_start" | "content_block_delta" | "content_block_stop" | "message_delta" | "message_stop" => {}
            _ => {
                events(Event::Unknown);
                return Ok(());
            }
        }
        let data: Data<'_> = serde_json::from_slice(event.data)?;
        if matches!(self.state, State::Waiting) {
            self.state = State::Open;
            events(Event::Start);
        }
        match name {
            "message_start" => {
                let message = data.message.and_then(Members::of);
                message.and_then(|message| message.value("usage")).into_iter().for_each(|usage| self.tally.take(usage));
            }
            "message_delta" => self.message_delta(&data, events),
            "message_stop" => self.message_stop(&data, events),
            // Behind the stop there is no content.
            _ if matches!(self.state, State::Stopped) => events(Event::Unknown),
            _ => {
                let block = data.index.ok_or(Nonsense)?;
                match name {
                    "content_block_delta" => self.delta(block, &data.delta.ok_or(Nonsense)?, events),
                    "content_block_start" => self.start(block, &data.content_block.ok_or(Nonsense)?, events)?,
                    _ => self.block_stop(block, events),
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: ApiError, events: &mut dyn FnMut(Event<'_>)) {
        events(Event::Failed(error.clone()));
        self.state = State::Failed(error);
    }

    fn start(&mut self, block: u32, start: &Start<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), Nonsense> {
        self.block = Block::Said(block);
        match start.kind.map_or("", Raw::as_str) {
            r#""text""# => {
                if let Some(text) = filled(start.text) {
                    events(Event::TextDelta { block, text });
                }
            }
            r#""thinking""# => {
                if let Some(text) = filled(start.thinking) {
                    events(Event::ReasoningDelta { block, text });
                }
                if let Some(signature) = filled(start.signature) {
                    events(Event::ReasoningSignature { block, signature });
                }
            }
            r#""redacted_thinking""# => {
                if let Some(content) = filled(start.data) {
                    events(Event::ReasoningRedacted { block, content });
                }
            }
            r#""tool_use""# => {
                let id = start.id.and_then(Raw::text).ok_or(Nonsense)?;
                let name = start.name.and_then(Raw::text).ok_or(Nonsense)?;
                self.tools = true;
                self.block = Block::Tool(block);
                events(Event::ToolStart { block, id, name: self.restore.tool_name(name) });
                let given = start.input.filter(|input| input.kind() == Kind::Object && Members::of(*input).is_some_and(|members| !members.0.is_empty()));
                if let Some(input) = given {
                    self.block = Block::GivenTool(block);
                    events(Event::ToolDelta { block, fragment: Text::from_plain(input.as_str()) });
                }
            }
            _ => {
                self.block = Block::Other;
                events(Event::Unknown);
            }
        }
        Ok(())
    }

    fn delta(&mut self, block: u32, delta: &Delta<'_>, events: &mut dyn FnMut(Event<'_>)) {
        match (self.block, delta.kind.map_or("", Raw::as_str)) {
            (Block::Tool(open), r#""input_json_delta""#) if open == block => {
                if let Some(fragment) = filled(delta.partial_json) {
                    events(Event::ToolDelta { block, fragment });
                }
            }
            (Block::Said(open), r#""text_delta""#) if open == block => {
                if let Some(text) = filled(delta.text) {
                    events(Event::TextDelta { block, text });
                }
            }
            (Block::Said(open), r#""thinking_delta""#) if open == block => {
                if let Some(text) = filled(delta.thinking) {
                    events(Event::ReasoningDelta { block, text });
                }
            }
            (Block::Said(open), r#""signature_delta""#) if open == block => {
                if let Some(signature) = filled(delta.signature) {
                    events(Event::ReasoningSignature { block, signature });
                }
            }
            // Known, and without a place in the canonical form; or of a block that is passed over.
            (_, r#""citations_delta""# | r#""input_json_delta""#) => {}
            _ => events(Event::Unknown),
        }
    }

    fn block_stop(&mut self, at: u32, events: &mut dyn FnMut(Event<'_>)) {
        if let Block::Said(block) | Block::Tool(block) | Block::GivenTool(block) = self.block
            && block == at
        {
            events(Event::BlockStop { block });
        }
        self.block = Block::Other;
    }

    fn message_delta(&mut self, data: &Data<'_>, events: &mut dyn FnMut(Event<'_>)) {
        data.usage.into_iter().for_each(|usage| self.tally.take(usage));
        let Some(delta) = &data.delta else { return };
        if let Some(reason) = delta.stop_reason.and_then(Raw::text)
            && matches!(self.state, State::Open)
        {
            self.state = State::Stopped;
            events(Event::Stop { reason: stop_reason(reason), stop_sequence: delta.stop_sequence.and_then(Raw::text) });
        }
    }

    fn message_stop(&mut self, data: &Data<'_>, events: &mut dyn FnMut(Event<'_>)) {
        if matches!(self.state, State::Open) {
            // Ended without a reason.
            let reason = if self.tools { StopReason::ToolUse } else { StopReason::EndTurn };
            events(Event::Stop { reason, stop_sequence: None });
        }
        data.metrics.into_iter().for_each(|metrics| self.tally.take_metrics(metrics));
        self.state = State::Ended;
        if let Some(usage) = self.tally.usage() {
            events(Event::Usage { usage, service_tier: self.tally.tier() });
        }
    }
}

/// Watches a stream that is relayed as it stands: token counts and why the model stopped. Content is not looked at.
#[derive(Debug, Default)]
pub struct UsageTap {
    parser: Parser,
    tally: Tally,
    stop: Option<&'static str>,
    complete: bool,
    /// What came was no event stream.
    lost: bool,
}

impl UsageTap {
    /// A tap at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        UsageTap::default()
    }

    /// Looks at bytes as they come, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        let mut parser = std::mem::take(&mut self.parser);
        self.lost = parser
            .push(bytes, |event| {
                self.complete |= event.name == b"message_stop";
                self.event(event.data);
            })
            .is_err();
        self.parser = parser;
    }

    /// Looks at the data of one event, for streams that are framed in another way.
    pub fn event(&mut self, data: &[u8]) {
        let strings = data.split(|byte| *byte == b'"').skip(1).step_by(2);
        self.complete |= strings.take(2).eq([&b"type"[..], b"message_stop"]);
        // A quote inside a string has a backslash before it, which spoils the match: these are names, or strings of just this text.
        let wanted = [&b"usage"[..], b"stop_reason", METRICS.as_bytes()];
        if !data.split(|byte| *byte == b'"').any(|piece| wanted.contains(&piece)) {
            return;
        }
        let Ok(data) = serde_json::from_slice::<Tapped<'_>>(data) else { return };
        let message = data.message.and_then(Members::of);
        let of_message = |name: &str| message.as_ref().and_then(|message| message.value(name));
        of_message("usage").into_iter().chain(data.usage).for_each(|usage| self.tally.take(usage));
        let reason = data.delta.and_then(Members::of).and_then(|delta| delta.value("stop_reason")).or_else(|| of_message("stop_reason"));
        if let Some(reason) = reason.and_then(Raw::text) {
            self.stop = Some(stop_reason(reason).as_str());
        }
        data.metrics.into_iter().for_each(|metrics| self.tally.take_metrics(metrics));
    }

    /// The counts so far.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.tally.usage()
    }

    /// Why the model stopped, by its stable name.
    #[must_use]
    pub fn stop(&self) -> Option<&'static str> {
        self.stop
    }

    /// Whether the answer's own last event was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }
}

/// What the tap reads of an event.
#[derive(Deserialize)]
struct Tapped<'a> {
    #[serde(borrow, default)]
    message: Option<Raw<'a>>,
    #[serde(borrow, default)]
    delta: Option<Raw<'a>>,
    #[serde(borrow, default)]
    usage: Option<Raw<'a>>,
    /// [`METRICS`].
    #[serde(borrow, rename = "amazon-bedrock-invocationMetrics", default)]
    metrics: Option<Raw<'a>>,
}

#[cfg(test)]
mod tests;
