//! How turns and tool calls follow each other in an invoke body of Claude.
//!
//! Messages of one role in a row are one turn, so roles need not alternate. The user begins. Each `tool_use` is answered by a `tool_result` in the turn
//! behind it, before anything else there: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls>.

use std::collections::HashSet;

use serde_json::Value;

use crate::sandbox::family::Family;
use crate::sandbox::rules::{Checked, items, refuse, text};

use super::turns::{Block, Turn};

/// Checks the order of a conversation that has passed the schema.
///
/// # Errors
/// `ValidationException` for the first rule that is broken.
pub(super) fn check(body: &Value, family: Family, turns: &[Turn<'_>]) -> Checked {
    check_messages(items(body, "messages"))?;
    check_tool_pairs(turns)?;
    let thinks = text(&body["thinking"], "type").is_some_and(|kind| kind != "disabled");
    check_last_turn(turns, family.takes_prefill() && !thinks)
}

fn check_messages(messages: &[Value]) -> Checked {
    let roles = || messages.iter().map(|message| text(message, "role").unwrap_or_default());
    if roles().any(|role| role == "system") {
        return refuse(
            "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role.",
        );
    }
    match roles().next() {
        None => return refuse("messages: at least one message is required"),
        Some("user") => {}
        Some(_) => return refuse("messages: first message must use the \"user\" role"),
    }
    let is_empty = |message: &Value| message["content"].as_str().is_some_and(str::is_empty) || message["content"].as_array().is_some_and(Vec::is_empty);
    let last = messages.len() - 1;
    let wrong = messages.iter().enumerate().find(|(index, message)| is_empty(message) && (*index != last || text(message, "role") == Some("user")));
    match wrong {
        Some((index, _)) => refuse(format!("messages.{index}: all messages must have non-empty content except for the optional final assistant message")),
        None => Ok(()),
    }
}

fn check_tool_pairs(turns: &[Turn<'_>]) -> Checked {
    let mut open: Vec<Block<'_>> = Vec::new();
    let mut all = HashSet::new();
    for turn in turns {
        let results = || turn.blocks.iter().filter(|block| block.kind() == "tool_result");
        // What stands behind something else answers nothing.
        let leading: Vec<&str> = turn.blocks.iter().take_while(|block| block.kind() == "tool_result").filter_map(|block| block.member("tool_use_id")).collect();
        unanswered(&open, &leading)?;
        let mut seen = HashSet::new();
        for result in results() {
            let id = result.member("tool_use_id").unwrap_or_default();
            if !open.iter().any(|call| call.member("id") == Some(id)) {
                return refuse(format!(
                    "{}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in \
                     the previous message.",
                    result.place()
                ));
            }
            if !seen.insert(id) {
                return refuse(format!("{}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}", result.place()));
            }
        }
        open = turn.blocks.iter().filter(|block| block.kind() == "tool_use").copied().collect();
        if let Some(twice) = open.iter().find(|call| !all.insert(call.member("id"))) {
            return refuse(format!("{}: `tool_use` ids must be unique", twice.place()));
        }
    }
    unanswered(&open, &[])
}

fn unanswered(open: &[Block<'_>], results: &[&str]) -> Checked {
    let missing: Vec<&Block<'_>> = open.iter().filter(|call| !call.member("id").is_some_and(|id| results.contains(&id))).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let ids: Vec<&str> = missing.iter().filter_map(|call| call.member("id")).collect();
    refuse(format!(
        "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding \
         `tool_result` block in the next message.",
        first.message(),
        ids.join(", ")
    ))
}

/// A last turn of the assistant's is the beginning of the answer.
fn check_last_turn(turns: &[Turn<'_>], takes_prefill: bool) -> Checked {
    for turn in turns.iter().filter(|turn| turn.role == "assistant") {
        if let Some(last) = turn.blocks.last().filter(|last| matches!(last.kind(), "thinking" | "redacted_thinking")) {
            return refuse(format!("messages.{}: The final block in an assistant message cannot be `{}`.", last.message(), last.kind()));
        }
    }
    let Some(last) = turns.last().filter(|last| last.role == "assistant") else { return Ok(()) };
    if !takes_prefill {
        return refuse("This model does not support assistant message prefill. The conversation must end with a user message.");
    }
    if last.blocks.last().and_then(|block| block.text()).is_some_and(|written| written.ends_with(char::is_whitespace)) {
        return refuse("messages: final assistant content cannot end with trailing whitespace");
    }
    Ok(())
}
