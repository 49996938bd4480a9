//! The items of `input`, in the client's order. Merging neighbours and moving system texts is the upstream's dialect's business.

use std::borrow::Cow;

use crate::chat::read::{Path, Shape, each, filled_text, flat, missing, one_of, required_text, text, wrong_type, wrong_value};
use crate::chat::{ApiError, Message, Part, Reasoning, Role, ToolResult, ToolUse};
use crate::dialect::openai::downstream::request::message::arguments;
use crate::dialect::openai::downstream::request::part::{document, locate, picture};
use crate::dialect::openai::downstream::request::tool::{Breakpoint, CacheControl, cache_point};
use crate::dialect::openai::responses::seal::{self, Opened};
use crate::wire::json::{Kind, Raw, Text};

flat! {
    /// An item of any type.
    pub(super) struct ItemWire {
        kind: Raw<'a> = "type",
        id: Raw<'a> = "id",
        role: Raw<'a> = "role",
        content: Raw<'a> = "content",
        call_id: Raw<'a> = "call_id",
        name: Raw<'a> = "name",
        arguments: Raw<'a> = "arguments",
        input: Raw<'a> = "input",
        output: Raw<'a> = "output",
        summary: Raw<'a> = "summary",
        encrypted_content: Raw<'a> = "encrypted_content",
    }
}

flat! {
    /// A content part of any type.
    struct PartWire {
        kind: Raw<'a> = "type",
        text: Raw<'a> = "text",
        refusal: Raw<'a> = "refusal",
        image_url: Raw<'a> = "image_url",
        detail: Raw<'a> = "detail",
        file_id: Raw<'a> = "file_id",
        file_data: Raw<'a> = "file_data",
        file_url: Raw<'a> = "file_url",
        filename: Raw<'a> = "filename",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
        breakpoint: Shape<Breakpoint<'a>> = "prompt_cache_breakpoint",
    }
}

/// The item types that have a meaning here. All others belong to tools that OpenAI runs.
const KINDS: &[&str] = &["message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning"];

/// Whose content is read: not every part may stand everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    System,
    User,
    Assistant,
    /// What a tool gave.
    Output,
}

impl Place {
    fn parts(self) -> &'static [&'static str] {
        match self {
            Place::System => &["input_text"],
            Place::User | Place::Output => &["input_text", "input_image", "input_file"],
            Place::Assistant => &["output_text", "refusal", "input_text"],
        }
    }
}

/// The items read so far.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    pub(super) messages: Vec<Message<'a>>,
    /// Some picture or file asks for a level of detail, which no target knows.
    pub(super) detail: bool,
    /// Some thought was encrypted by somebody else, and nothing else is known of it.
    pub(super) foreign: bool,
}

impl<'a> Conversation<'a> {
    /// An input that is one text.
    pub(super) fn say(&mut self, text: Text<'a>) {
        self.messages.push(Message { role: Role::User, parts: vec![Part::Text(text)] });
    }

    pub(super) fn push(&mut self, wire: ItemWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let kind_path = path.key("type");
        let kind = text(wire.kind, &kind_path)?;
        let kind = kind.as_ref().map_or(Cow::Borrowed("message"), Text::unescape);
        match &*kind {
            "message" => self.message(&wire, path),
            "function_call" => {
                let input = arguments(wire.arguments, &path.key("arguments"))?;
                self.call(&wire, input, path)
            }
            "custom_tool_call" => {
                let input = required_text(wire.input, &path.key("input"))?;
                self.call(&wire, Cow::Owned(format!(r#"{{"input":"{}"}}"#, input.escaped())), path)
            }
            "function_call_output" | "custom_tool_call_output" => self.output(&wire, path),
            "reasoning" => self.reasoning(&wire, path),
            "item_reference" => Err(wrong_value(&path.key("id"), "no item of this id is kept here")),
            other => {
                let shown: String = other.chars().take(64).collect();
                let known = KINDS.join("', '");
                Err(wrong_value(&kind_path, format_args!("items of the type '{shown}' are not supported; supported are '{known}'")))
            }
        }
    }

    fn message(&mut self, wire: &ItemWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let role_path = path.key("role");
        let role = one_of(wire.role, &["user", "assistant", "system", "developer"], &role_path)?.ok_or_else(|| missing(&role_path))?;
        let (role, place) = match role {
            "user" => (Role::User, Place::User),
            "assistant" => (Role::Assistant, Place::Assistant),
            _ => (Role::System, Place::System),
        };
        let path = path.key("content");
        // A list of one is what most messages come to.
        let mut parts = Vec::with_capacity(1);
        self.content(wire.content.ok_or_else(|| missing(&path))?, place, &path, &mut parts)?;
        self.messages.push(Message { role, parts });
        Ok(())
    }

    fn call(&mut self, wire: &ItemWire<'a>, input: Cow<'a, str>, path: &Path<'_>) -> Result<(), ApiError> {
        let id = filled_text(wire.call_id, &path.key("call_id"))?;
        let name = filled_text(wire.name, &path.key("name"))?;
        self.messages.push(Message { role: Role::Assistant, parts: vec![Part::ToolUse(ToolUse { id, name, input })] });
        Ok(())
    }

    fn output(&mut self, wire: &ItemWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let id = filled_text(wire.call_id, &path.key("call_id"))?;
        let path = path.key("output");
        let mut parts = Vec::with_capacity(1);
        self.content(wire.output.ok_or_else(|| missing(&path))?, Place::Output, &path, &mut parts)?;
        self.messages.push(Message { role: Role::Tool, parts: vec![Part::ToolResult(ToolResult { id, parts, is_error: None })] });
        Ok(())
    }

    /// What was sealed here comes back whole; what somebody else encrypted is of use to nobody here, so what can be read counts.
    fn reasoning(&mut self, wire: &ItemWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let sealed = text(wire.encrypted_content, &path.key("encrypted_content"))?.filter(|sealed| !sealed.is_empty());
        let part = match sealed.as_ref().and_then(|sealed| seal::open(&sealed.unescape())) {
            Some(Opened::Thought { text, signature }) => Some(Part::Reasoning(Reasoning { text, signature: Some(signature) })),
            Some(Opened::Redacted(content)) => Some(Part::RedactedReasoning(content)),
            None => {
                let mut thought = String::new();
                for (name, member) in [("content", wire.content), ("summary", wire.summary)] {
                    let path = path.key(name);
                    if let Some(raw) = member.filter(|_| thought.is_empty()) {
                        each(raw, &path, |index, part: PartWire<'a>| {
                            thought.push_str(required_text(part.text, &path.item(index).key("text"))?.escaped());
                            Ok(())
                        })?;
                    }
                }
                (!thought.is_empty()).then(|| Part::Reasoning(Reasoning { text: Text::from_escaped(thought), signature: None }))
            }
        };
        self.foreign |= part.is_none() && sealed.is_some();
        self.messages.extend(part.map(|part| Message { role: Role::Assistant, parts: vec![part] }));
        Ok(())
    }

    /// Reads content behind the parts that are there already.
    fn content(&mut self, raw: Raw<'a>, place: Place, path: &Path<'_>, out: &mut Vec<Part<'a>>) -> Result<(), ApiError> {
        if let Some(text) = raw.text() {
            out.push(Part::Text(text));
            return Ok(());
        }
        if raw.kind() != Kind::Array {
            return Err(wrong_type(path, "a string or an array of content parts", raw.kind()));
        }
        let before = out.len();
        each(raw, path, |index, mut wire: PartWire<'a>| {
            let path = path.item(index);
            let cache = cache_point(wire.cache_control.take(), wire.breakpoint.take(), &path)?;
            self.detail |= text(wire.detail, &path.key("detail"))?.is_some_and(|detail| detail != "auto");
            out.push(part(&wire, place, &path)?);
            out.extend(cache.map(Part::CachePoint));
            Ok(())
        })?;
        if out.len() == before && matches!(place, Place::System | Place::User) {
            return Err(wrong_value(path, "it must hold at least one content part"));
        }
        Ok(())
    }
}

fn part<'a>(wire: &PartWire<'a>, place: Place, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    let kind_path = path.key("type");
    let kind = required_text(wire.kind, &kind_path)?;
    let kind = kind.unescape();
    if !place.parts().contains(&&*kind) {
        return Err(wrong_value(&kind_path, format_args!("parts of the types '{}' may stand here", place.parts().join("', '"))));
    }
    let uploaded = |path: &Path<'_>, instead: &str| wrong_value(path, format_args!("uploaded files are not supported, send '{instead}'"));
    match &*kind {
        "refusal" => Ok(Part::Text(required_text(wire.refusal, &path.key("refusal"))?)),
        "input_image" if wire.file_id.is_some() && wire.image_url.is_none() => Err(uploaded(&path.key("file_id"), "image_url")),
        "input_image" => picture(wire.image_url, &path.key("image_url")),
        "input_file" if wire.file_id.is_some() => Err(uploaded(&path.key("file_id"), "file_data' or 'file_url")),
        "input_file" => {
            let name = text(wire.filename, &path.key("filename"))?;
            let (member, path) = if wire.file_url.is_some() { (wire.file_url, path.key("file_url")) } else { (wire.file_data, path.key("file_data")) };
            Ok(document(locate(member, &path)?, name))
        }
        _ => Ok(Part::Text(required_text(wire.text, &path.key("text"))?)),
    }
}
