//! Messages of every role, in the client's order. Merging neighbours and moving system texts is the upstream's dialect's business.

use crate::chat::{ApiError, Message, Part, Role};
use crate::wire::json::{Kind, Raw};

use super::block::{Place, content};
use super::is_empty;
use crate::chat::read::{Notes, Path, flat, missing, one_of, wrong_value};

flat! {
    /// `{"role":"user","content":"…"|[…]}`
    pub(super) struct MessageWire {
        role: Raw<'a> = "role",
        content: Raw<'a> = "content",
    }
}

/// The messages read so far.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    pub(super) messages: Vec<Message<'a>>,
    /// What was left out of them.
    pub(super) notes: Notes,
}

impl<'a> Conversation<'a> {
    pub(super) fn push(&mut self, wire: MessageWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let role_path = path.key("role");
        let role = one_of(wire.role, &["user", "assistant", "system"], &role_path)?.ok_or_else(|| missing(&role_path))?;
        let content_path = path.key("content");
        let raw = wire.content.ok_or_else(|| missing(&content_path))?;
        // An assistant may have said nothing: what a model cut off early was.
        if role != "assistant" && raw.kind() == Kind::Array && is_empty(raw) {
            return Err(wrong_value(&content_path, "it must hold at least one block"));
        }
        let mut read = |place| content(raw, place, &content_path, &mut self.notes);
        match role {
            "user" => {
                let parts = read(Place::User)?;
                self.user(parts);
            }
            "assistant" => {
                let parts = read(Place::Assistant)?;
                self.messages.push(Message { role: Role::Assistant, parts });
            }
            _ => {
                let parts = read(Place::System)?;
                self.messages.push(Message { role: Role::System, parts });
            }
        }
        Ok(())
    }

    /// What tools gave stands in messages of its own, in the order of the client's blocks.
    fn user(&mut self, parts: Vec<Part<'a>>) {
        if !parts.iter().any(|part| matches!(part, Part::ToolResult(_))) {
            self.messages.push(Message { role: Role::User, parts });
            return;
        }
        let before = self.messages.len();
        for part in parts {
            let role = if matches!(part, Part::ToolResult(_)) { Role::Tool } else { Role::User };
            let last = if self.messages.len() > before { self.messages.last_mut() } else { None };
            match last {
                Some(message) if message.role == role => message.parts.push(part),
                // A cache point closes what stands before it: a result keeps its own.
                Some(Message { role: Role::Tool, parts }) if matches!(part, Part::CachePoint(_)) => {
                    if let Some(Part::ToolResult(result)) = parts.last_mut() {
                        result.parts.push(part);
                    }
                }
                _ => self.messages.push(Message { role, parts: vec![part] }),
            }
        }
    }
}
