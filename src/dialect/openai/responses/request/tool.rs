//! Tools and the choice among them. A custom tool becomes a function with one text; tools that OpenAI runs have no place here: 400.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::chat::read::{
    Path, Shape, boolean, carried_object, each, filled_text, flat, members, missing, object, one_of, required_text, text, wrong_type, wrong_value,
};
use crate::chat::{ApiError, Tool, ToolChoice};
use crate::dialect::openai::downstream::request::tool::{CacheControl, cache_point};
use crate::wire::json::{Kind, Raw, Text};

/// The arguments of the function that stands for a custom tool: [`INPUT`](super::super::INPUT).
const CUSTOM: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

flat! {
    /// A tool of any type that runs at the client.
    struct ToolWire {
        kind: Raw<'a> = "type",
        name: Raw<'a> = "name",
        description: Raw<'a> = "description",
        parameters: Raw<'a> = "parameters",
        strict: Raw<'a> = "strict",
        format: Shape<Format<'a>> = "format",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
    }
}

flat! {
    /// `{"type":"grammar","syntax":"lark","definition":"…"}`
    struct Format {
        kind: Raw<'a> = "type",
        syntax: Raw<'a> = "syntax",
        definition: Raw<'a> = "definition",
    }
}

flat! {
    /// The object forms of `tool_choice`.
    struct Choice {
        kind: Raw<'a> = "type",
        name: Raw<'a> = "name",
        mode: Raw<'a> = "mode",
        tools: Raw<'a> = "tools",
    }
}

/// The tools of a request.
#[derive(Default)]
pub(super) struct Tools<'a> {
    pub(super) list: Vec<Tool<'a>>,
    /// The custom ones, by their names in escaped form.
    pub(super) custom: Vec<String>,
}

impl<'a> Tools<'a> {
    pub(super) fn read(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Self, ApiError> {
        let mut tools = Tools::default();
        if let Some(raw) = member {
            each(raw, path, |index, wire| tools.push(wire, &path.item(index)))?;
        }
        Ok(tools)
    }

    fn push(&mut self, wire: ToolWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let kind_path = path.key("type");
        let kind = required_text(wire.kind, &kind_path)?;
        let is_custom = kind == "custom";
        if !is_custom && kind != "function" {
            return Err(hosted(&kind, &kind_path));
        }
        let name = filled_text(wire.name, &path.key("name"))?;
        let description = text(wire.description, &path.key("description"))?;
        let cache = cache_point(wire.cache_control, None, path)?;
        let strict = boolean(wire.strict, &path.key("strict"))?;
        self.list.push(if is_custom {
            self.custom.push(name.escaped().to_owned());
            let description = grammar(description, object(wire.format, &path.key("format"))?, &path.key("format"))?;
            Tool { name, description, parameters: Raw::parse(CUSTOM).ok(), strict: None, cache }
        } else {
            let parameters = wire.parameters.map(|raw| carried_object(raw, &path.key("parameters"))).transpose()?;
            Tool { name, description, parameters, strict, cache }
        });
        Ok(())
    }

    /// `tool_choice`. Leaves only those tools that the choice allows.
    pub(super) fn choice(&mut self, raw: Raw<'a>, path: &Path<'_>) -> Result<ToolChoice<'a>, ApiError> {
        let chosen = match raw.kind() {
            Kind::String => match one_of(Some(raw), &["none", "auto", "required"], path)? {
                Some("none") => ToolChoice::None,
                Some("auto") => ToolChoice::Auto,
                _ => ToolChoice::Any,
            },
            Kind::Object => {
                let wire: Choice<'a> = members(raw, path)?;
                let kind_path = path.key("type");
                let kind = required_text(wire.kind, &kind_path)?;
                match &*kind.unescape() {
                    "function" | "custom" => ToolChoice::Tool(self.known(wire.name, &path.key("name"))?),
                    "allowed_tools" => self.allowed(&wire, path)?,
                    _ => return Err(hosted(&kind, &kind_path)),
                }
            }
            kind => return Err(wrong_type(path, "a string or an object", kind)),
        };
        if self.list.is_empty() && matches!(chosen, ToolChoice::Any) {
            return Err(wrong_value(path, "there are no tools to choose from"));
        }
        Ok(chosen)
    }

    fn known(&self, name: Option<Raw<'a>>, path: &Path<'_>) -> Result<Text<'a>, ApiError> {
        let name = filled_text(name, path)?;
        let known = self.list.iter().any(|tool| tool.name == *name.unescape());
        if known { Ok(name) } else { Err(wrong_value(path, "there is no tool of this name")) }
    }

    fn allowed(&mut self, wire: &Choice<'a>, path: &Path<'_>) -> Result<ToolChoice<'a>, ApiError> {
        let mode_path = path.key("mode");
        let mode = one_of(wire.mode, &["auto", "required"], &mode_path)?.ok_or_else(|| missing(&mode_path))?;
        let tools_path = path.key("tools");
        let mut names = HashSet::new();
        each(wire.tools.ok_or_else(|| missing(&tools_path))?, &tools_path, |index, item: Choice<'a>| {
            let path = tools_path.item(index);
            let kind_path = path.key("type");
            let kind = required_text(item.kind, &kind_path)?;
            if kind != "function" && kind != "custom" {
                return Err(hosted(&kind, &kind_path));
            }
            names.insert(self.known(item.name, &path.key("name"))?.unescape().into_owned());
            Ok(())
        })?;
        if names.is_empty() {
            // Nothing is allowed: the tools stay, because the history may need them, and none is chosen.
            return if mode == "auto" { Ok(ToolChoice::None) } else { Err(wrong_value(&tools_path, "it must not be empty when a tool is required")) };
        }
        self.list.retain(|tool| names.contains(&*tool.name.unescape()));
        Ok(if mode == "auto" { ToolChoice::Auto } else { ToolChoice::Any })
    }
}

/// A 400 for a tool that OpenAI runs, or that only OpenAI's models know.
fn hosted(kind: &Text<'_>, path: &Path<'_>) -> ApiError {
    let shown: String = kind.unescape().chars().take(64).collect();
    wrong_value(path, format_args!("the tool '{shown}' runs at OpenAI, or only there; tools of the types 'function' and 'custom' are supported"))
}

/// The description of a custom tool, with the grammar that its input has to follow: no target can hold a model to it.
fn grammar<'a>(description: Option<Text<'a>>, format: Option<Format<'a>>, path: &Path<'_>) -> Result<Option<Text<'a>>, ApiError> {
    let Some(format) = format else { return Ok(description) };
    let kind_path = path.key("type");
    if one_of(format.kind, &["text", "grammar"], &kind_path)?.ok_or_else(|| missing(&kind_path))? == "text" {
        return Ok(description);
    }
    let syntax_path = path.key("syntax");
    let syntax = one_of(format.syntax, &["lark", "regex"], &syntax_path)?.ok_or_else(|| missing(&syntax_path))?;
    let definition = filled_text(format.definition, &path.key("definition"))?;
    let before = description.as_ref().map_or("", Text::escaped);
    let gap = if before.is_empty() { "" } else { r"\n\n" };
    let escaped = format!(r"{before}{gap}The input must follow this grammar ({syntax}):\n{}", definition.escaped());
    Ok(Some(Text::from_escaped(Cow::Owned(escaped))))
}
