//! Tools and the choice among them, in today's and in the old form. Custom tools, whose input is free text, have no equal in the canonical form: 400.

use std::collections::HashSet;

use crate::chat::{ApiError, CachePoint, Tool, ToolChoice};
use crate::wire::json::{Kind, Raw, Text};

use crate::chat::read::{
    Path, Shape, boolean, carried_object, each, filled_text, flat, members, missing, object, one_of, required_object, required_text, text, wrong_type,
    wrong_value,
};

flat! {
    /// `{"type":"function","function":{…}}`
    pub(super) struct ToolWire {
        kind: Raw<'a> = "type",
        function: Shape<FunctionWire<'a>> = "function",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
        breakpoint: Shape<Breakpoint<'a>> = "prompt_cache_breakpoint",
    }
}

flat! {
    /// `{"name":"…","description":"…","parameters":{…},"strict":true}`
    pub(super) struct FunctionWire {
        name: Raw<'a> = "name",
        description: Raw<'a> = "description",
        parameters: Raw<'a> = "parameters",
        strict: Raw<'a> = "strict",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
    }
}

flat! {
    /// `{"type":"ephemeral","ttl":"1h"}`: Anthropic's cache marker, which many OpenAI clients can send.
    pub(in crate::dialect::openai) struct CacheControl {
        kind: Raw<'a> = "type",
        ttl: Raw<'a> = "ttl",
    }
}

flat! {
    /// `{"mode":"explicit"}`: OpenAI's cache marker.
    pub(in crate::dialect::openai) struct Breakpoint {
        mode: Raw<'a> = "mode",
    }
}

flat! {
    /// The object forms of `tool_choice`.
    pub(super) struct Choice {
        kind: Raw<'a> = "type",
        function: Shape<Named<'a>> = "function",
        allowed_tools: Shape<Allowed<'a>> = "allowed_tools",
    }
}

flat! {
    /// `{"mode":"auto","tools":[{"type":"function","function":{"name":"…"}}]}`
    pub(super) struct Allowed {
        mode: Raw<'a> = "mode",
        tools: Raw<'a> = "tools",
    }
}

flat! {
    /// `{"type":"function","function":{"name":"…"}}`
    pub(super) struct AllowedTool {
        function: Shape<Named<'a>> = "function",
    }
}

flat! {
    /// `{"name":"…"}`
    pub(super) struct Named {
        name: Raw<'a> = "name",
    }
}

/// One item of `tools`.
pub(super) fn tool<'a>(wire: ToolWire<'a>, path: &Path<'_>) -> Result<Tool<'a>, ApiError> {
    let kind_path = path.key("type");
    let kind = required_text(wire.kind, &kind_path)?;
    if kind != "function" {
        return Err(wrong_value(&kind_path, "only tools of the type 'function' are supported"));
    }
    let mut tool = function(required_object(wire.function, &path.key("function"))?, &path.key("function"))?;
    if let Some(cache) = cache_point(wire.cache_control, wire.breakpoint, path)? {
        tool.cache = Some(cache);
    }
    Ok(tool)
}

/// The function of a tool, or one item of the deprecated `functions`.
pub(super) fn function<'a>(wire: FunctionWire<'a>, path: &Path<'_>) -> Result<Tool<'a>, ApiError> {
    let parameters = wire.parameters.map(|raw| carried_object(raw, &path.key("parameters"))).transpose()?;
    Ok(Tool {
        name: filled_text(wire.name, &path.key("name"))?,
        description: text(wire.description, &path.key("description"))?,
        parameters,
        strict: boolean(wire.strict, &path.key("strict"))?,
        cache: cache_point(wire.cache_control, None, path)?,
    })
}

/// The cache marker of a message, part or tool.
pub(in crate::dialect::openai) fn cache_point<'a>(
    cache_control: Option<Shape<CacheControl<'a>>>,
    breakpoint: Option<Shape<Breakpoint<'a>>>,
    path: &Path<'_>,
) -> Result<Option<CachePoint<'a>>, ApiError> {
    let breakpoint_path = path.key("prompt_cache_breakpoint");
    let marked = match object(breakpoint, &breakpoint_path)? {
        None => None,
        Some(breakpoint) => {
            let mode = breakpoint_path.key("mode");
            one_of(breakpoint.mode, &["explicit"], &mode)?.ok_or_else(|| missing(&mode))?;
            Some(CachePoint::default())
        }
    };
    let control_path = path.key("cache_control");
    let Some(control) = object(cache_control, &control_path)? else { return Ok(marked) };
    let kind = control_path.key("type");
    one_of(control.kind, &["ephemeral"], &kind)?.ok_or_else(|| missing(&kind))?;
    let ttl = one_of(control.ttl, &["5m", "1h"], &control_path.key("ttl"))?;
    Ok(Some(CachePoint { ttl: ttl.map(Text::from_escaped) }))
}

/// `tool_choice`. Leaves in `tools` only those that the choice allows.
pub(super) fn choice<'a>(raw: Raw<'a>, tools: &mut Vec<Tool<'a>>, path: &Path<'_>) -> Result<ToolChoice<'a>, ApiError> {
    let chosen = match raw.kind() {
        Kind::String => match one_of(Some(raw), &["none", "auto", "required", "any"], path)? {
            Some("none") => ToolChoice::None,
            Some("auto") => ToolChoice::Auto,
            _ => ToolChoice::Any,
        },
        Kind::Object => {
            let wire: Choice<'a> = members(raw, path)?;
            let kind_path = path.key("type");
            match one_of(wire.kind, &["function", "allowed_tools"], &kind_path)? {
                None => return Err(missing(&kind_path)),
                Some("function") => named(required_object(wire.function, &path.key("function"))?, tools, &path.key("function"))?,
                Some(_) => {
                    let path = path.key("allowed_tools");
                    allowed(required_object(wire.allowed_tools, &path)?, tools, &path)?
                }
            }
        }
        kind => return Err(wrong_type(path, "a string or an object", kind)),
    };
    if tools.is_empty() && matches!(chosen, ToolChoice::Any) {
        return Err(wrong_value(path, "there are no tools to choose from"));
    }
    Ok(chosen)
}

/// The deprecated `function_call`: `none`, `auto` or `{"name":"…"}`.
pub(super) fn legacy_choice<'a>(raw: Raw<'a>, tools: &[Tool<'a>], path: &Path<'_>) -> Result<ToolChoice<'a>, ApiError> {
    match raw.kind() {
        Kind::String => Ok(match one_of(Some(raw), &["none", "auto"], path)? {
            Some("none") => ToolChoice::None,
            _ => ToolChoice::Auto,
        }),
        Kind::Object => named(members(raw, path)?, tools, path),
        kind => Err(wrong_type(path, "a string or an object", kind)),
    }
}

fn named<'a>(wire: Named<'a>, tools: &[Tool<'a>], path: &Path<'_>) -> Result<ToolChoice<'a>, ApiError> {
    let path = path.key("name");
    let name = filled_text(wire.name, &path)?;
    let known = tools.iter().any(|tool| tool.name == *name.unescape());
    if known { Ok(ToolChoice::Tool(name)) } else { Err(wrong_value(&path, "there is no tool of this name")) }
}

fn allowed<'a>(wire: Allowed<'a>, tools: &mut Vec<Tool<'a>>, path: &Path<'_>) -> Result<ToolChoice<'a>, ApiError> {
    let mode_path = path.key("mode");
    let mode = one_of(wire.mode, &["auto", "required"], &mode_path)?.ok_or_else(|| missing(&mode_path))?;
    let tools_path = path.key("tools");
    let list = wire.tools.ok_or_else(|| missing(&tools_path))?;
    let known: HashSet<String> = tools.iter().map(|tool| tool.name.unescape().into_owned()).collect();
    let mut names = HashSet::new();
    each(list, &tools_path, |index, item: AllowedTool<'a>| {
        let item_path = tools_path.item(index);
        let function_path = item_path.key("function");
        let name_path = function_path.key("name");
        let name = filled_text(required_object(item.function, &function_path)?.name, &name_path)?;
        let name = name.unescape().into_owned();
        if !known.contains(&name) {
            return Err(wrong_value(&name_path, "there is no tool of this name"));
        }
        names.insert(name);
        Ok(())
    })?;
    if names.is_empty() {
        // Nothing is allowed: the tools stay, because the history may need them, and none is chosen.
        return if mode == "auto" { Ok(ToolChoice::None) } else { Err(wrong_value(&tools_path, "it must not be empty when a tool is required")) };
    }
    tools.retain(|tool| names.contains(&*tool.name.unescape()));
    Ok(if mode == "auto" { ToolChoice::Auto } else { ToolChoice::Any })
}
