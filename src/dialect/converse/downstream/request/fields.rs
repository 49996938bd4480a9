//! `additionalModelRequestFields`: free members that each model family names as it likes. What the canonical form has a place for goes there, in whichever
//! family's words it came; the rest travels on as it stands.

use std::borrow::Cow;

use crate::chat::{ApiError, Effort, Extra, ToolChoice};
use crate::wire::json::{Kind, Raw, Reader, Syntax, Text};

use crate::chat::read::{Path, Stop, carried, carried_object, wrong_type, wrong_value};

/// What was found.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) top_k: Option<Raw<'a>>,
    pub(super) thinking: Option<Raw<'a>>,
    pub(super) effort: Option<Effort>,
    pub(super) choice: Option<ToolChoice<'a>>,
    pub(super) parallel_tool_calls: Option<bool>,
}

impl<'a> Fields<'a> {
    /// Reads all members; what has no typed place goes to `extras`.
    pub(super) fn read(raw: Raw<'a>, path: &Path<'_>, extras: &mut Vec<Extra<'a>>) -> Result<Self, ApiError> {
        let mut fields = Fields::default();
        each_member(raw, path, |name, value| {
            let here = path.key(&name);
            if !fields.take(&name, value, &here)? {
                extras.push(Extra { value: carried(value, &here)?, name: Text::from_plain(name) });
            }
            Ok(())
        })?;
        Ok(fields)
    }

    /// Takes a member if it knows it, and what it says.
    fn take(&mut self, name: &str, value: Raw<'a>, path: &Path<'_>) -> Result<bool, ApiError> {
        match name {
            "top_k" if value.kind() == Kind::Number => self.top_k = Some(value),
            "top_k" => return Err(wrong_type(path, "a number", value.kind())),
            "thinking" => self.thinking = Some(carried_object(value, path)?),
            "reasoning_effort" => return Ok(self.level(value)),
            // A level for DeepSeek and others; what `thinking` is for Claude, under the name that AWS used first.
            "reasoning_config" if value.kind() == Kind::Object && member(value, "type").is_some() => self.thinking = Some(carried(value, path)?),
            "reasoning_config" => return Ok(self.level(value)),
            "reasoningConfig" => return Ok(self.nova(value)),
            "inferenceConfig" => return Ok(self.nova_top_k(value)),
            "tool_choice" => return Ok(self.tool_choice(value)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn level(&mut self, value: Raw<'a>) -> bool {
        let effort = value.text().and_then(|text| Effort::from_name(&text.unescape()));
        self.effort = effort.or(self.effort);
        effort.is_some()
    }

    /// Nova: `{"type":"enabled","maxReasoningEffort":"low"}` or `{"type":"disabled"}`
    fn nova(&mut self, value: Raw<'a>) -> bool {
        match member(value, "type") {
            Some(kind) if kind == "disabled" => self.effort = Some(Effort::None),
            Some(kind) if kind == "enabled" => match member(value, "maxReasoningEffort").and_then(|level| Effort::from_name(&level.unescape())) {
                Some(effort) => self.effort = Some(effort),
                None => return false,
            },
            _ => return false,
        }
        true
    }

    /// Nova: `{"topK":5}`, if there is nothing else.
    fn nova_top_k(&mut self, value: Raw<'a>) -> bool {
        let mut found = Vec::new();
        let read = each_member(value, &Path::Root, |name, value| {
            found.push((name, value));
            Ok(())
        });
        match found.as_slice() {
            [(name, value)] if read.is_ok() && name == "topK" && value.kind() == Kind::Number => {
                self.top_k = Some(*value);
                true
            }
            _ => false,
        }
    }

    /// Anthropic: `{"type":"auto","disable_parallel_tool_use":true}`. `toolConfig` has no word for the second member.
    fn tool_choice(&mut self, value: Raw<'a>) -> bool {
        let choice = match member(value, "type") {
            Some(kind) if kind == "auto" => ToolChoice::Auto,
            Some(kind) if kind == "any" => ToolChoice::Any,
            Some(kind) if kind == "none" => ToolChoice::None,
            Some(kind) if kind == "tool" => match member(value, "name") {
                Some(name) => ToolChoice::Tool(name),
                None => return false,
            },
            _ => return false,
        };
        let disabled = member_raw(value, "disable_parallel_tool_use").and_then(Raw::bool);
        self.parallel_tool_calls = disabled.map(|disabled| !disabled);
        // The default need not be said where only the second member was meant.
        self.choice = (disabled.is_none() || !matches!(choice, ToolChoice::Auto)).then_some(choice);
        true
    }
}

/// Gives every member of an object in order; `null` is not set.
pub(super) fn each_member<'a>(raw: Raw<'a>, path: &Path<'_>, mut each: impl FnMut(Cow<'a, str>, Raw<'a>) -> Result<(), ApiError>) -> Result<(), ApiError> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let read = Reader::new(raw.as_str()).object(|name, reader| {
        let value = reader.value()?;
        if value.kind() != Kind::Null {
            each(name, value)?;
        }
        Ok::<(), Stop>(())
    });
    match read {
        Ok(()) => Ok(()),
        Err(Stop::Refused(error)) => Err(error),
        Err(Stop::Syntax(Syntax { .. })) => Err(wrong_value(path, "it holds a name that cannot be read")),
    }
}

/// A string member of an object.
fn member<'a>(object: Raw<'a>, name: &str) -> Option<Text<'a>> {
    member_raw(object, name).and_then(Raw::text)
}

fn member_raw<'a>(object: Raw<'a>, name: &str) -> Option<Raw<'a>> {
    crate::chat::fields::Members::of(object)?.value(name)
}
