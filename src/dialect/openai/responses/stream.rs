//! Writes a streamed answer as the events of a `response`, each with its number.
//!
//! Texts that follow each other are one message, whatever blocks the upstream makes of them. The counts of tokens come last from every upstream, so the last
//! event waits for the end of the body. It says the whole answer again, as the API has it: what was written is kept until then.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/responses-streaming>.

#[cfg(test)]
mod tests;

use super::Style;
use super::item::{self, Item, Status, custom_input};
use super::response::{Ending, Frame};
use crate::chat::{ApiError, End, Envelope, ErrorKind, Event, EventEncoder, StopReason, Usage};
use crate::dialect::openai::downstream::error;
use crate::wire::json::{Array, Object, Text};
use crate::wire::sse;

/// Writes one answer.
///
/// ```text
///           Start, any delta                Stop                 finish(Complete)
/// Waiting ───────────────────▶ Open ────────────────▶ Stopped ──────────────────────▶ Closed
///    │      created, in_progress  │ items     items done  │   completed, incomplete      ▲
///    └── Failed, finish(Failed), finish(Complete) too early: failed ────────────────────┘ from anywhere
/// ```
pub struct Encoder {
    envelope: Envelope,
    style: Style,
    state: State,
    /// The next event's.
    sequence_number: u64,
    items: Vec<Slot>,
    /// The message or thought that is open.
    current: Option<usize>,
    usage: Option<(Usage, Option<Text<'static>>)>,
    elapsed_ms: u64,
    kept: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing was written.
    Waiting,
    /// The start was written.
    Open,
    /// The last item is done.
    Stopped(Ending<'static>),
    /// The last byte was written.
    Closed,
}

/// An item: where it comes from, and what has come. Texts are in escaped form.
#[derive(Debug)]
struct Slot {
    /// The upstream's number.
    block: u32,
    kind: Kind,
    text: String,
    status: Status,
}

#[derive(Debug)]
enum Kind {
    Message,
    Thought {
        signature: String,
    },
    Redacted,
    Call {
        id: String,
        name: String,
    },
    /// Its text is what stands for the input in the arguments, once it is done.
    Custom {
        id: String,
        name: String,
    },
}

impl Slot {
    fn item<'s>(&'s self, style: &Style) -> Item<'s> {
        match &self.kind {
            Kind::Message => Item::Message { text: Some(&self.text), annotations: &[], skipped: 0 },
            Kind::Thought { signature } => Item::Thought { text: &self.text, signature, summary: style.summary },
            Kind::Redacted => Item::Redacted { content: &self.text },
            Kind::Call { id, name } => Item::Call { id, name, arguments: &self.text },
            Kind::Custom { id, name } => Item::Custom { id, name, input: &self.text },
        }
    }

    /// The same as it begins.
    fn empty<'s>(&'s self, style: &Style) -> Item<'s> {
        match self.item(style) {
            Item::Message { annotations, skipped, .. } => Item::Message { text: None, annotations, skipped },
            Item::Thought { summary, .. } => Item::Thought { text: "", signature: "", summary },
            Item::Call { id, name, .. } => Item::Call { id, name, arguments: "" },
            Item::Custom { id, name, .. } => Item::Custom { id, name, input: "" },
            redacted @ Item::Redacted { .. } => redacted,
        }
    }
}

/// What every event of an item says first.
struct Place<'a> {
    item: Item<'a>,
    answer: &'a str,
    index: u32,
}

impl Place<'_> {
    fn write(&self, event: &mut Object<'_>) {
        self.item.write_id(self.answer, self.index, event.key("item_id"));
        event.number("output_index", self.index.into());
    }
}

/// Appends one event: `event: …`, and `data: {"type":"…","sequence_number":0,…}` with the members that `fill` adds.
fn write(out: &mut Vec<u8>, number: &mut u64, kind: &str, fill: impl FnOnce(&mut Object<'_>)) {
    sse::write_event(out, kind, |out| {
        Object::write(out, |event| {
            event.string("type", kind);
            event.number("sequence_number", *number);
            fill(event);
        });
    });
    *number += 1;
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new(envelope: &Envelope, style: &Style) -> Self {
        Encoder {
            envelope: envelope.clone(),
            style: style.clone(),
            state: State::Waiting,
            sequence_number: 0,
            items: Vec::new(),
            current: None,
            usage: None,
            elapsed_ms: 0,
            kept: None,
        }
    }

    /// Makes sure that the start is written; says no when the answer is over.
    fn open(&mut self, out: &mut Vec<u8>) -> bool {
        if matches!(self.state, State::Waiting) {
            self.state = State::Open;
            self.lifecycle("response.created", Ending::InProgress, out);
            self.lifecycle("response.in_progress", Ending::InProgress, out);
        }
        matches!(self.state, State::Open)
    }

    /// An event that holds the whole answer.
    fn lifecycle(&mut self, kind: &str, ending: Ending<'_>, out: &mut Vec<u8>) {
        let mut number = self.sequence_number;
        write(out, &mut number, kind, |event| self.response(ending, event.key("response")));
        self.sequence_number = number;
    }

    /// The answer as it stands.
    fn response(&self, ending: Ending<'_>, out: &mut Vec<u8>) {
        let (usage, tier) = self.usage.as_ref().map_or((None, None), |(usage, tier)| (Some(usage), tier.as_ref()));
        let frame = Frame { envelope: &self.envelope, style: &self.style, ending, elapsed_ms: self.elapsed_ms, usage, tier };
        frame.write(out, |output: &mut Array<'_>| {
            for (index, slot) in self.items.iter().enumerate() {
                slot.item(&self.style).write(&self.envelope.id, number(index), slot.status, output.item());
            }
        });
    }

    fn text_delta(&mut self, block: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        if !self.open(out) || text.is_empty() {
            return;
        }
        let at = match self.current.filter(|at| self.items.get(*at).is_some_and(|slot| matches!(slot.kind, Kind::Message))) {
            Some(at) => at,
            None => {
                self.close_current(Status::Completed, out);
                let at = self.begin(Slot { block, kind: Kind::Message, text: String::new(), status: Status::InProgress }, out);
                self.current = Some(at);
                self.part("response.content_part.added", "content_index", at, out, |part| item::output_text("", &[], 0, part));
                at
            }
        };
        self.delta("response.output_text.delta", "content_index", at, text, out);
    }

    fn reasoning_delta(&mut self, block: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        if !self.open(out) || text.is_empty() {
            return;
        }
        let at = self.thought(block, out);
        let (added, delta, place, kind) = if self.style.summary {
            ("response.reasoning_summary_part.added", "response.reasoning_summary_text.delta", "summary_index", "summary_text")
        } else {
            ("response.content_part.added", "response.reasoning_text.delta", "content_index", "reasoning_text")
        };
        if self.items.get(at).is_some_and(|slot| slot.text.is_empty()) {
            self.part(added, place, at, out, |part| item::text_part(kind, "", part));
        }
        self.delta(delta, place, at, text, out);
    }

    fn reasoning_signature(&mut self, block: u32, seal: &Text<'_>, out: &mut Vec<u8>) {
        if !self.open(out) || seal.is_empty() {
            return;
        }
        // A seal that comes after its thought was closed has nowhere to go.
        let is_late = self.items.iter().enumerate().any(|(at, slot)| {
            slot.block == block && matches!(slot.kind, Kind::Thought { .. }) && slot.status != Status::InProgress && self.current != Some(at)
        });
        if is_late {
            return;
        }
        let at = self.thought(block, out);
        if let Some(Slot { kind: Kind::Thought { signature }, .. }) = self.items.get_mut(at) {
            signature.push_str(seal.escaped());
        }
    }

    /// The thought of this block: the open one, or a new one.
    fn thought(&mut self, block: u32, out: &mut Vec<u8>) -> usize {
        let is_this = |slot: &Slot| slot.block == block && matches!(slot.kind, Kind::Thought { .. });
        if let Some(at) = self.current.filter(|at| self.items.get(*at).is_some_and(is_this)) {
            return at;
        }
        self.close_current(Status::Completed, out);
        let kind = Kind::Thought { signature: String::new() };
        let at = self.begin(Slot { block, kind, text: String::new(), status: Status::InProgress }, out);
        self.current = Some(at);
        at
    }

    fn reasoning_redacted(&mut self, block: u32, content: &Text<'_>, out: &mut Vec<u8>) {
        if !self.open(out) || content.is_empty() {
            return;
        }
        self.close_current(Status::Completed, out);
        let at = self.begin(Slot { block, kind: Kind::Redacted, text: content.escaped().to_owned(), status: Status::InProgress }, out);
        self.close(at, Status::Completed, out);
    }

    fn tool_start(&mut self, block: u32, id: &Text<'_>, name: &Text<'_>, out: &mut Vec<u8>) {
        if !self.open(out) {
            return;
        }
        self.close_current(Status::Completed, out);
        let (id, name) = (id.escaped().to_owned(), name.escaped().to_owned());
        let kind = if self.style.is_custom(&name) { Kind::Custom { id, name } } else { Kind::Call { id, name } };
        self.begin(Slot { block, kind, text: String::new(), status: Status::InProgress }, out);
    }

    fn tool_delta(&mut self, block: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        if !matches!(self.state, State::Open) || fragment.is_empty() {
            return;
        }
        let Some(at) = self.items.iter().rposition(|slot| slot.block == block && slot.is_open_call()) else { return };
        match self.items.get_mut(at) {
            // What the input is shows only in the whole of the arguments.
            Some(Slot { kind: Kind::Custom { .. }, text, .. }) => text.push_str(fragment.escaped()),
            _ => self.delta("response.function_call_arguments.delta", "", at, fragment, out),
        }
    }

    /// Announces an item; its place.
    fn begin(&mut self, slot: Slot, out: &mut Vec<u8>) -> usize {
        let at = self.items.len();
        let item = slot.empty(&self.style);
        write(out, &mut self.sequence_number, "response.output_item.added", |event| {
            event.number("output_index", at as u64);
            item.write(&self.envelope.id, number(at), Status::InProgress, event.key("item"));
        });
        self.items.push(slot);
        at
    }

    /// An event of a part of an item, of which there is one.
    fn part(&mut self, kind: &str, place: &str, at: usize, out: &mut Vec<u8>, part: impl FnOnce(&mut Vec<u8>)) {
        let Some(slot) = self.items.get(at) else { return };
        let of = Place { item: slot.item(&self.style), answer: &self.envelope.id, index: number(at) };
        write(out, &mut self.sequence_number, kind, |event| {
            of.write(event);
            event.number(place, 0);
            part(event.key("part"));
        });
    }

    /// More of an item's text.
    fn delta(&mut self, kind: &str, place: &str, at: usize, text: &Text<'_>, out: &mut Vec<u8>) {
        let Some(slot) = self.items.get_mut(at) else { return };
        slot.text.push_str(text.escaped());
        let of = Place { item: slot.item(&self.style), answer: &self.envelope.id, index: number(at) };
        write(out, &mut self.sequence_number, kind, |event| {
            of.write(event);
            if !place.is_empty() {
                event.number(place, 0);
            }
            event.text("delta", text);
            if kind == "response.output_text.delta" {
                event.raw("logprobs", "[]");
            }
        });
    }

    /// The whole of an item's text.
    fn done(&mut self, kind: &str, place: &str, member: &str, at: usize, out: &mut Vec<u8>) {
        let Some(slot) = self.items.get(at) else { return };
        let of = Place { item: slot.item(&self.style), answer: &self.envelope.id, index: number(at) };
        write(out, &mut self.sequence_number, kind, |event| {
            of.write(event);
            if !place.is_empty() {
                event.number(place, 0);
            }
            if let Kind::Call { name, .. } = &slot.kind {
                event.text("name", &Text::from_escaped(name.as_str()));
            }
            event.text(member, &Text::from_escaped(slot.text.as_str()));
            if kind == "response.output_text.done" {
                event.raw("logprobs", "[]");
            }
        });
    }

    fn close_current(&mut self, status: Status, out: &mut Vec<u8>) {
        if let Some(at) = self.current.take() {
            self.close(at, status, out);
        }
    }

    /// Ends an item.
    fn close(&mut self, at: usize, status: Status, out: &mut Vec<u8>) {
        self.complete_call(at, out);
        let Some(slot) = self.items.get_mut(at) else { return };
        if std::mem::replace(&mut slot.status, status) != Status::InProgress {
            return;
        }
        let text = slot.text.clone();
        match slot.kind {
            Kind::Message => {
                self.done("response.output_text.done", "content_index", "text", at, out);
                self.part("response.content_part.done", "content_index", at, out, |part| item::output_text(&text, &[], 0, part));
            }
            Kind::Thought { .. } if text.is_empty() => {}
            Kind::Thought { .. } if self.style.summary => {
                self.done("response.reasoning_summary_text.done", "summary_index", "text", at, out);
                self.part("response.reasoning_summary_part.done", "summary_index", at, out, |part| item::text_part("summary_text", &text, part));
            }
            Kind::Thought { .. } => {
                self.done("response.reasoning_text.done", "content_index", "text", at, out);
                self.part("response.content_part.done", "content_index", at, out, |part| item::text_part("reasoning_text", &text, part));
            }
            Kind::Redacted => {}
            Kind::Call { .. } => self.done("response.function_call_arguments.done", "", "arguments", at, out),
            Kind::Custom { .. } => self.done("response.custom_tool_call_input.done", "", "input", at, out),
        }
        let Some(slot) = self.items.get(at) else { return };
        write(out, &mut self.sequence_number, "response.output_item.done", |event| {
            event.number("output_index", at as u64);
            slot.item(&self.style).write(&self.envelope.id, number(at), slot.status, event.key("item"));
        });
    }

    /// Gives a call what it still lacks: arguments where there were none, for clients parse what they get; the input that stands in a custom tool's.
    fn complete_call(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(slot) = self.items.get_mut(at).filter(|slot| slot.is_open_call()) else { return };
        if matches!(slot.kind, Kind::Custom { .. }) {
            let input = custom_input(&std::mem::take(&mut slot.text));
            if !input.is_empty() {
                self.delta("response.custom_tool_call_input.delta", "", at, &Text::from_escaped(input), out);
            }
        } else if slot.text.is_empty() {
            self.delta("response.function_call_arguments.delta", "", at, &Text::from_escaped("{}"), out);
        }
    }

    /// The upstream says that a block has ended. More text may follow a text.
    fn block_stop(&mut self, block: u32, out: &mut Vec<u8>) {
        let ends = |slot: &Slot| slot.block == block && slot.status == Status::InProgress && !matches!(slot.kind, Kind::Message);
        if let Some(at) = self.items.iter().rposition(ends) {
            if self.current == Some(at) {
                self.current = None;
            }
            self.close(at, Status::Completed, out);
        }
    }

    fn stop(&mut self, reason: &StopReason<'_>, out: &mut Vec<u8>) {
        if !self.open(out) {
            return;
        }
        let ending = Ending::of(reason);
        self.current = None;
        for at in 0..self.items.len() {
            let is_cut = matches!(ending, Ending::Incomplete(_)) && at + 1 == self.items.len();
            self.close_if_open(at, if is_cut { Status::Incomplete } else { Status::Completed }, out);
        }
        self.state = State::Stopped(ending);
    }

    fn close_if_open(&mut self, at: usize, status: Status, out: &mut Vec<u8>) {
        if self.items.get(at).is_some_and(|slot| slot.status == Status::InProgress) {
            self.close(at, status, out);
        }
    }

    fn complete(&mut self, ending: Ending<'static>, out: &mut Vec<u8>) {
        self.state = State::Closed;
        let kind = if matches!(ending, Ending::Incomplete(_)) { "response.incomplete" } else { "response.completed" };
        let mut whole = Vec::new();
        self.response(ending, &mut whole);
        write(out, &mut self.sequence_number, kind, |event| event.key("response").extend_from_slice(&whole));
        if self.style.store {
            self.kept = Some(whole);
        }
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.open(out);
        self.state = State::Closed;
        for slot in &mut self.items {
            if slot.status == Status::InProgress {
                slot.status = Status::Incomplete;
            }
        }
        self.lifecycle("response.failed", Ending::Failed(error), out);
    }
}

impl Slot {
    fn is_open_call(&self) -> bool {
        self.status == Status::InProgress && matches!(self.kind, Kind::Call { .. } | Kind::Custom { .. })
    }
}

/// An item's number. There are never so many that it would not fit.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl EventEncoder for Encoder {
    fn clock(&mut self, elapsed_ms: u64) {
        self.elapsed_ms = elapsed_ms;
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start => _ = self.open(out),
            Event::TextDelta { block, text } => self.text_delta(*block, text, out),
            Event::ReasoningDelta { block, text } => self.reasoning_delta(*block, text, out),
            Event::ReasoningSignature { block, signature } => self.reasoning_signature(*block, signature, out),
            Event::ReasoningRedacted { block, content } => self.reasoning_redacted(*block, content, out),
            Event::ToolStart { block, id, name } => self.tool_start(*block, id, name, out),
            Event::ToolDelta { block, fragment } => self.tool_delta(*block, fragment, out),
            Event::BlockStop { block } if matches!(self.state, State::Open) => self.block_stop(*block, out),
            Event::Stop { reason, .. } => self.stop(reason, out),
            Event::Usage { usage, service_tier } => self.usage = Some((*usage, service_tier.clone().map(Text::into_owned))),
            Event::Failed(error) => self.fail(error, out),
            Event::BlockStop { .. } | Event::Unknown => {}
        }
    }

    fn finish(&mut self, end: &End, out: &mut Vec<u8>) {
        match (self.state, end) {
            (State::Closed, _) => {}
            (State::Stopped(ending), End::Complete) => self.complete(ending, out),
            (State::Waiting | State::Open, End::Complete) => self.fail(&ApiError::new(ErrorKind::BadUpstream, "The upstream's answer ended early."), out),
            (_, End::Failed(error)) => self.fail(error, out),
        }
    }

    fn take_kept(&mut self) -> Option<Vec<u8>> {
        self.kept.take()
    }
}

/// Appends the event of a failure on a stream whose answer is not known: `{"type":"error","sequence_number":0,"code":…,"message":"…","param":null}`.
pub fn write_error(failure: &ApiError, sequence_number: u64, out: &mut Vec<u8>) {
    let mut number = sequence_number;
    write(out, &mut number, "error", |event| {
        let (class, code) = error::names(failure.kind);
        event.string("code", code.unwrap_or(class));
        event.string("message", &failure.message);
        match &failure.param {
            Some(param) => event.string("param", param),
            None => event.raw("param", "null"),
        }
    });
}
