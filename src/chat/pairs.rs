//! Which tool result answers which tool use.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::chat::{Message, Part, Role, ToolResult, ToolUse};

/// The tool uses of a request, in order, and the results that belong to them.
#[derive(Debug, Default)]
pub struct Pairs<'r> {
    /// The tool uses, in order.
    pub calls: Vec<Call<'r>>,
    /// For each result, in order: which call it answers.
    pub answers: Vec<Option<usize>>,
}

/// A tool use, and what answers it.
#[derive(Debug)]
pub struct Call<'r> {
    /// The use.
    pub made: &'r ToolUse<'r>,
    /// Another call had this id before.
    pub again: bool,
    /// In which stretch of assistant messages it was made.
    stretch: usize,
    /// The result, and the message it came in.
    pub result: Option<(&'r ToolResult<'r>, usize)>,
}

/// Finds the call of each result: by id, the nearest stretch before it, the first one there without a result.
#[must_use]
pub fn pair<'r>(messages: &'r [Message<'_>]) -> Pairs<'r> {
    let mut pairs = Pairs::default();
    let mut waiting: HashMap<Cow<'r, str>, VecDeque<usize>> = HashMap::new();
    let mut stretch = 0;
    let mut speaker = Role::System;
    for (at, message) in messages.iter().enumerate() {
        if message.role == Role::Assistant && speaker != Role::Assistant {
            stretch += 1;
        }
        if message.role != Role::System {
            speaker = message.role;
        }
        for part in &message.parts {
            match part {
                Part::ToolUse(made) if message.role == Role::Assistant => {
                    let queue = waiting.entry(made.id.unescape());
                    let again = matches!(queue, Entry::Occupied(_));
                    let queue = queue.or_default();
                    // Who was not answered before a later turn uses the id again never will be. All in a queue are of one stretch.
                    if queue.front().and_then(|call| pairs.calls.get(*call)).is_some_and(|call| call.stretch != stretch) {
                        queue.clear();
                    }
                    queue.push_back(pairs.calls.len());
                    pairs.calls.push(Call { made, again, stretch, result: None });
                }
                Part::ToolResult(result) if message.role != Role::Assistant => {
                    let call = waiting.get_mut(&result.id.unescape()).and_then(VecDeque::pop_front);
                    if let Some(call) = call.and_then(|call| pairs.calls.get_mut(call)) {
                        call.result = Some((result, at));
                    }
                    pairs.answers.push(call);
                }
                _ => {}
            }
        }
    }
    pairs
}
