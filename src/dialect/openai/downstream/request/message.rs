//! Messages of every role, in the client's order. Merging neighbours and moving system texts is the upstream's dialect's business.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use crate::chat::{ApiError, Message, Part, Role, ToolResult, ToolUse};
use crate::wire::json::{Kind, Raw, Text};

use super::part::{Place, content, thoughts};
use super::tool::{Breakpoint, CacheControl, cache_point};
use crate::chat::read::{Path, Shape, each, filled_text, flat, missing, object, one_of, required_object, text, wrong_type, wrong_value};

flat! {
    /// A message of any role, with the members that other gateways and clients add for a model's thoughts.
    pub(super) struct MessageWire {
        role: Raw<'a> = "role",
        content: Raw<'a> = "content",
        name: Raw<'a> = "name",
        refusal: Raw<'a> = "refusal",
        audio: Raw<'a> = "audio",
        tool_calls: Raw<'a> = "tool_calls",
        function_call: Shape<CallWire<'a>> = "function_call",
        tool_call_id: Raw<'a> = "tool_call_id",
        reasoning_content: Raw<'a> = "reasoning_content",
        reasoning_signature: Raw<'a> = "reasoning_signature",
        reasoning_details: Raw<'a> = "reasoning_details",
        thinking_blocks: Raw<'a> = "thinking_blocks",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
        breakpoint: Shape<Breakpoint<'a>> = "prompt_cache_breakpoint",
    }
}

flat! {
    /// `{"id":"…","type":"function","function":{…}}`
    pub(super) struct ToolCallWire {
        id: Raw<'a> = "id",
        kind: Raw<'a> = "type",
        function: Shape<CallWire<'a>> = "function",
    }
}

flat! {
    /// `{"name":"…","arguments":"{…}"}`
    pub(super) struct CallWire {
        name: Raw<'a> = "name",
        arguments: Raw<'a> = "arguments",
    }
}

/// The messages read so far.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    pub(super) messages: Vec<Message<'a>>,
    /// Some message names its speaker, which no target knows.
    pub(super) named: bool,
    /// Some picture asks for a level of detail, which no target knows.
    pub(super) detail: bool,
    /// How many deprecated function calls were seen: they have no ids, so they get numbers.
    calls: usize,
    /// Those that have no result yet, by the name of the function.
    pending: HashMap<String, VecDeque<String>>,
}

impl<'a> Conversation<'a> {
    pub(super) fn push(&mut self, mut wire: MessageWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let role_path = path.key("role");
        const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];
        let role = one_of(wire.role, &ROLES, &role_path)?.ok_or_else(|| missing(&role_path))?;
        // A list of one is what most messages come to.
        let mut parts = Vec::with_capacity(1);
        let cache = cache_point(wire.cache_control.take(), wire.breakpoint.take(), path)?.map(Part::CachePoint);
        let name = text(wire.name, &path.key("name"))?;
        self.named |= role != "function" && name.is_some();
        match role {
            "system" | "developer" => {
                self.content(required_content(&wire, path)?, Place::System, path, &mut parts)?;
                self.finish(Role::System, parts, cache);
            }
            "user" => {
                self.content(required_content(&wire, path)?, Place::User, path, &mut parts)?;
                self.finish(Role::User, parts, cache);
            }
            "assistant" => {
                self.assistant(wire, path, &mut parts)?;
                self.finish(Role::Assistant, parts, cache);
            }
            "tool" => {
                let id = filled_text(wire.tool_call_id, &path.key("tool_call_id"))?;
                self.content(required_content(&wire, path)?, Place::Tool, path, &mut parts)?;
                self.result(id, parts, cache);
            }
            _ => {
                let name = filled_text(wire.name, &path.key("name"))?;
                if let Some(raw) = wire.content {
                    self.content(raw, Place::Tool, path, &mut parts)?;
                }
                match self.pending.get_mut(&*name.unescape()).and_then(VecDeque::pop_front) {
                    Some(id) => self.result(Text::from_plain(id), parts, cache),
                    // Nobody called: all that is left of it is what it says.
                    None => self.finish(Role::User, parts, cache),
                }
            }
        }
        Ok(())
    }

    fn content(&mut self, raw: Raw<'a>, place: Place, path: &Path<'_>, parts: &mut Vec<Part<'a>>) -> Result<(), ApiError> {
        self.detail |= content(raw, place, &path.key("content"), parts)?;
        Ok(())
    }

    fn finish(&mut self, role: Role, mut parts: Vec<Part<'a>>, cache: Option<Part<'a>>) {
        parts.extend(cache);
        self.messages.push(Message { role, parts });
    }

    fn result(&mut self, id: Text<'a>, mut parts: Vec<Part<'a>>, cache: Option<Part<'a>>) {
        parts.extend(cache);
        let result = Part::ToolResult(ToolResult { id, parts, is_error: None });
        self.messages.push(Message { role: Role::Tool, parts: vec![result] });
    }

    /// Thoughts, then what was said, then the tool uses: the order in which a model makes them. A message without any is what an answer cut off early was.
    fn assistant(&mut self, wire: MessageWire<'a>, path: &Path<'_>, parts: &mut Vec<Part<'a>>) -> Result<(), ApiError> {
        if wire.audio.is_some() {
            return Err(wrong_value(&path.key("audio"), "audio answers are not supported"));
        }
        thoughts(wire.thinking_blocks, wire.reasoning_details, (wire.reasoning_content, wire.reasoning_signature), path, parts)?;
        if let Some(raw) = wire.content {
            self.content(raw, Place::Assistant, path, parts)?;
        }
        parts.extend(text(wire.refusal, &path.key("refusal"))?.map(Part::Text));
        if let Some(raw) = wire.tool_calls {
            let path = path.key("tool_calls");
            each(raw, &path, |index, call| {
                parts.push(tool_call(call, &path.item(index))?);
                Ok(())
            })?;
        }
        let call_path = path.key("function_call");
        if let Some(call) = object(wire.function_call, &call_path)? {
            let name = filled_text(call.name, &call_path.key("name"))?;
            let input = arguments(call.arguments, &call_path.key("arguments"))?;
            self.calls += 1;
            let id = format!("function_call_{}", self.calls);
            self.pending.entry(name.unescape().into_owned()).or_default().push_back(id.clone());
            parts.push(Part::ToolUse(ToolUse { id: Text::from_plain(id), name, input }));
        }
        Ok(())
    }
}

/// The content that everybody but an assistant has to have.
fn required_content<'a>(wire: &MessageWire<'a>, path: &Path<'_>) -> Result<Raw<'a>, ApiError> {
    wire.content.ok_or_else(|| missing(&path.key("content")))
}

fn tool_call<'a>(wire: ToolCallWire<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    let kind_path = path.key("type");
    // Clients that put a streamed call together may lose its type.
    if text(wire.kind, &kind_path)?.is_some_and(|kind| !kind.is_empty() && kind != "function") {
        return Err(wrong_value(&kind_path, "only calls of the type 'function' are supported"));
    }
    let id = filled_text(wire.id, &path.key("id"))?;
    let function_path = path.key("function");
    let function = required_object(wire.function, &function_path)?;
    let name = filled_text(function.name, &function_path.key("name"))?;
    let input = arguments(function.arguments, &function_path.key("arguments"))?;
    Ok(Part::ToolUse(ToolUse { id, name, input }))
}

/// The JSON text that a string holds. Some clients put the object itself there; what is no JSON at all is the model's old mistake and goes along.
pub(in crate::dialect::openai) fn arguments<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Cow<'a, str>, ApiError> {
    let Some(raw) = member else { return Ok(Cow::Borrowed("")) };
    if raw.kind() == Kind::Object {
        return Ok(Cow::Borrowed(raw.as_str()));
    }
    let text = raw.text().ok_or_else(|| wrong_type(path, "a string", raw.kind()))?;
    Ok(match text.unescape() {
        Cow::Owned(plain) => Cow::Owned(plain),
        // Nothing was escaped: the plain text stands between the quotes.
        Cow::Borrowed(_) => Cow::Borrowed(raw.as_str().trim_matches('"')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_borrowed_where_nothing_was_escaped() {
        let path = Path::Root;
        for (json, plain, borrowed) in
            [(r#""""#, "", true), (r#""[1]""#, "[1]", true), (r#"{"a":1}"#, r#"{"a":1}"#, true), (r#""{\"a\":\"\"}""#, r#"{"a":""}"#, false)]
        {
            let read = arguments(Some(Raw::parse(json).unwrap()), &path).unwrap();
            assert_eq!(read, plain);
            assert_eq!(matches!(read, Cow::Borrowed(_)), borrowed, "{json}");
        }
        assert!(arguments(Some(Raw::parse("[1]").unwrap()), &path).is_err());
    }
}
