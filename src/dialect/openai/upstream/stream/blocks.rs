//! From pieces to blocks: one block is open at a time, and it is closed before another one begins.
//!
//! ```text
//! deltas    text · call 0 · call 1 · call 0 · call 1 · text
//!             │       └────────┼────────┘        │       │
//! blocks    text 0     call 0  1 ──────── call 1 2     text 3
//! ```
//!
//! The API numbers calls but no blocks, and lets calls mix. Nearly always one piece follows the other and goes out as it comes. What belongs to another block
//! while the arguments of a call are not complete waits until they are, at the latest until the model stops.

use std::collections::VecDeque;

use crate::chat::{Event, Restore};
use crate::wire::json::Text;
use crate::wire::sse::MAX_EVENT_BYTES;

use super::super::answer::Voice;
use super::calls::{Calls, Piece};

/// What a call counts for by itself: it bounds how many an answer can have.
const CALL_BYTES: usize = 4096;

/// The blocks of one answer.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The number of the next block.
    next: u32,
    open: Option<Open>,
    calls: Calls,
    waiting: VecDeque<Waiting>,
    /// Bytes that wait.
    held: usize,
    /// How many calls were begun.
    tools: usize,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    block: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Speech(Voice),
    /// The call of this place.
    Call(usize),
}

/// What has not begun yet. Escaped form.
#[derive(Debug)]
enum Waiting {
    Speech(Voice, String),
    Call(usize),
}

/// More waits than any answer needs.
#[derive(Debug)]
pub(super) struct TooMuch;

impl Blocks {
    /// More of what is thought or said.
    pub(super) fn speak(&mut self, voice: Voice, text: Text<'_>, events: &mut dyn FnMut(Event<'_>)) -> Result<(), TooMuch> {
        if self.waiting.is_empty() && !self.is_call_open() {
            let block = self.begin(Kind::Speech(voice), events);
            events(speech(block, voice, text));
            return Ok(());
        }
        self.hold(text.escaped().len())?;
        match self.waiting.back_mut() {
            Some(Waiting::Speech(last, held)) if *last == voice => held.push_str(text.escaped()),
            _ => self.waiting.push_back(Waiting::Speech(voice, text.escaped().to_owned())),
        }
        Ok(())
    }

    /// A piece of a call.
    pub(super) fn call(&mut self, piece: &Piece<'_>, restore: &Restore, events: &mut dyn FnMut(Event<'_>)) -> Result<(), TooMuch> {
        let (at, new) = self.calls.take(piece);
        if new {
            self.hold(CALL_BYTES)?;
            self.waiting.push_back(Waiting::Call(at));
        }
        let Some(call) = self.calls.0.get_mut(at).filter(|_| !piece.arguments.is_empty()) else { return Ok(()) };
        let is_waiting = self.waiting.iter().any(|waiting| matches!(waiting, Waiting::Call(other) if *other == at));
        match self.open {
            Some(Open { block, kind: Kind::Call(open) }) if open == at => {
                call.json.read(&piece.arguments);
                events(Event::ToolDelta { block, fragment: piece.arguments.borrowed() });
            }
            _ if is_waiting => {
                call.json.read(&piece.arguments);
                call.pending.push_str(piece.arguments.escaped());
                self.hold(piece.arguments.escaped().len())?;
            }
            // Its arguments were complete, and its block is closed.
            _ => events(Event::Unknown),
        }
        self.release(false, restore, events);
        Ok(())
    }

    /// The model has stopped: everything that waits goes out, and the last block is closed.
    pub(super) fn finish(&mut self, restore: &Restore, events: &mut dyn FnMut(Event<'_>)) {
        self.release(true, restore, events);
        self.close(events);
    }

    /// How many calls there are.
    pub(super) fn tools(&self) -> usize {
        self.tools
    }

    /// Whether there is a call without a name, which nobody can make.
    pub(super) fn has_nameless(&self) -> bool {
        self.calls.0.iter().any(|call| call.name.is_empty() && call.json.begun)
    }

    /// Whether a call is open whose arguments are not complete.
    fn is_call_open(&self) -> bool {
        match self.open {
            Some(Open { kind: Kind::Call(at), .. }) => self.calls.0.get(at).is_some_and(|call| !call.json.is_complete()),
            _ => false,
        }
    }

    /// Lets out what no longer has to wait; or all of it.
    fn release(&mut self, all: bool, restore: &Restore, events: &mut dyn FnMut(Event<'_>)) {
        while let Some(first) = self.waiting.front() {
            // A name is whole when the arguments begin.
            let is_ready = match first {
                Waiting::Speech(..) => true,
                Waiting::Call(at) => self.calls.0.get(*at).is_some_and(|call| !call.name.is_empty() && !call.pending.is_empty()),
            };
            if !all && (!is_ready || self.is_call_open()) {
                return;
            }
            match self.waiting.pop_front() {
                Some(Waiting::Speech(voice, text)) => {
                    self.held = self.held.saturating_sub(text.len());
                    let block = self.begin(Kind::Speech(voice), events);
                    events(speech(block, voice, Text::from_escaped(text)));
                }
                Some(Waiting::Call(at)) => self.begin_call(at, restore, events),
                None => return,
            }
        }
    }

    fn begin_call(&mut self, at: usize, restore: &Restore, events: &mut dyn FnMut(Event<'_>)) {
        let Some(call) = self.calls.0.get_mut(at) else { return };
        let pending = std::mem::take(&mut call.pending);
        if call.name.is_empty() {
            events(Event::Unknown);
            return;
        }
        let (id, name) = (std::mem::take(&mut call.id), std::mem::take(&mut call.name));
        let block = self.begin(Kind::Call(at), events);
        let made = if id.is_empty() { Some(format!("call_{}", self.tools)) } else { None };
        self.tools += 1;
        let shown = Text::from_escaped(made.as_deref().unwrap_or(&id));
        events(Event::ToolStart { block, id: shown, name: restore.tool_name(Text::from_escaped(name.as_str())) });
        if !pending.is_empty() {
            self.held = self.held.saturating_sub(pending.len());
            events(Event::ToolDelta { block, fragment: Text::from_escaped(pending) });
        }
        // Later pieces are compared with them.
        if let Some(call) = self.calls.0.get_mut(at) {
            (call.id, call.name) = (id, name);
        }
    }

    /// The number of the block that is open if it is of this kind, or of a new one.
    fn begin(&mut self, kind: Kind, events: &mut dyn FnMut(Event<'_>)) -> u32 {
        if let Some(open) = self.open.filter(|open| open.kind == kind) {
            return open.block;
        }
        self.close(events);
        let block = self.next;
        self.next = self.next.saturating_add(1);
        self.open = Some(Open { block, kind });
        block
    }

    fn close(&mut self, events: &mut dyn FnMut(Event<'_>)) {
        if let Some(Open { block, .. }) = self.open.take() {
            events(Event::BlockStop { block });
        }
    }

    fn hold(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.held = self.held.saturating_add(bytes);
        if self.held > MAX_EVENT_BYTES { Err(TooMuch) } else { Ok(()) }
    }
}

fn speech(block: u32, voice: Voice, text: Text<'_>) -> Event<'_> {
    match voice {
        Voice::Text => Event::TextDelta { block, text },
        Voice::Thought => Event::ReasoningDelta { block, text },
    }
}
