//! The turns of a conversation as Claude sees them: messages in a row with one role are one turn, and text may stand without a block.

use serde_json::Value;

use crate::sandbox::rules::{items, text};

/// What one side says before the other does.
#[derive(Debug)]
pub(super) struct Turn<'r> {
    pub role: &'r str,
    pub blocks: Vec<Block<'r>>,
}

/// A content block and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'r> {
    message: usize,
    index: usize,
    value: &'r Value,
}

impl<'r> Turn<'r> {
    /// The turns of `messages`, which have passed the schema.
    pub(super) fn all(messages: &'r [Value]) -> Vec<Self> {
        let mut turns: Vec<Turn<'r>> = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let role = text(message, "role").unwrap_or_default();
            match turns.last_mut().filter(|last| last.role == role) {
                Some(last) => last.blocks.extend(Block::all(index, message)),
                None => turns.push(Turn { role, blocks: Block::all(index, message).collect() }),
            }
        }
        turns
    }
}

impl<'r> Block<'r> {
    /// The blocks of a message. Content that is a string is one block, unless it is empty.
    pub(super) fn all(message: usize, value: &'r Value) -> impl Iterator<Item = Self> {
        let content = &value["content"];
        let alone = content.as_str().is_some_and(|text| !text.is_empty()).then_some(Block { message, index: 0, value: content });
        alone.into_iter().chain(items(value, "content").iter().enumerate().map(move |(index, value)| Block { message, index, value }))
    }

    /// The block as the request has it: an object, or a string.
    pub(super) fn value(self) -> &'r Value {
        self.value
    }

    /// `text`, `tool_use`, …
    pub(super) fn kind(self) -> &'r str {
        text(self.value, "type").unwrap_or("text")
    }

    /// The text of a text block.
    pub(super) fn text(self) -> Option<&'r str> {
        self.value.as_str().or_else(|| text(self.value, "text").filter(|_| self.kind() == "text"))
    }

    /// A string member.
    pub(super) fn member(self, name: &str) -> Option<&'r str> {
        text(self.value, name)
    }

    /// The message it is in.
    pub(super) fn message(self) -> usize {
        self.message
    }

    /// `messages.0.content.1`
    pub(super) fn place(self) -> String {
        if self.value.is_string() { format!("messages.{}.content", self.message) } else { format!("messages.{}.content.{}", self.message, self.index) }
    }

    /// `messages.0.content.1.image`: with the tag, as the API writes members of blocks.
    pub(super) fn tagged_place(self) -> String {
        format!("{}.{}", self.place(), self.kind())
    }
}
