//! `toolConfig`: tools, the cache points behind them, and the choice among them. Tools that the provider runs itself have no equal elsewhere.

use crate::chat::{ApiError, Tool, ToolChoice};
use crate::wire::json::Raw;

use super::block::{CacheWire, cache_point, exactly_one};
use crate::chat::read::{Notes, Path, Shape, boolean, carried_object, each, filled_text, flat, missing, object, required_object, text, wrong_value};

flat! {
    /// `toolConfig`
    pub(super) struct ToolConfig {
        tools: Raw<'a> = "tools",
        choice: Shape<Choice<'a>> = "toolChoice",
    }
}

flat! {
    /// A union.
    pub(super) struct ToolWire {
        spec: Shape<Spec<'a>> = "toolSpec",
        system: Raw<'a> = "systemTool",
        cache: Shape<CacheWire<'a>> = "cachePoint",
    }
}

flat! {
    pub(super) struct Spec {
        name: Raw<'a> = "name",
        description: Raw<'a> = "description",
        schema: Shape<InputSchema<'a>> = "inputSchema",
        strict: Raw<'a> = "strict",
    }
}

flat! {
    /// `{"json":{…}}`
    pub(super) struct InputSchema {
        json: Raw<'a> = "json",
    }
}

flat! {
    /// A union.
    pub(super) struct Choice {
        auto: Raw<'a> = "auto",
        any: Raw<'a> = "any",
        tool: Shape<Named<'a>> = "tool",
    }
}

flat! {
    /// `{"name":"…"}`
    pub(super) struct Named {
        name: Raw<'a> = "name",
    }
}

/// Reads tools and choice.
pub(super) fn config<'a>(wire: Option<Shape<ToolConfig<'a>>>, path: &Path<'_>, notes: &mut Notes) -> Result<(Vec<Tool<'a>>, Option<ToolChoice<'a>>), ApiError> {
    let Some(wire) = object(wire, path)? else { return Ok((Vec::new(), None)) };
    let tools_path = path.key("tools");
    let raw = wire.tools.ok_or_else(|| missing(&tools_path))?;
    let (mut tools, mut count): (Vec<Tool<'a>>, usize) = (Vec::new(), 0);
    each(raw, &tools_path, |index, item: ToolWire<'a>| {
        let path = tools_path.item(index);
        count += 1;
        match exactly_one(&[("toolSpec", item.spec.is_some()), ("systemTool", item.system.is_some()), ("cachePoint", item.cache.is_some())], &path)? {
            "toolSpec" => tools.push(tool(required_object(item.spec, &path.key("toolSpec"))?, &path.key("toolSpec"))?),
            "systemTool" => notes.add("toolConfig.tools[].systemTool"),
            _ => {
                let point = cache_point(required_object(item.cache, &path.key("cachePoint"))?, &path.key("cachePoint"))?;
                // In front of all tools there is nothing to cache.
                if let Some(last) = tools.last_mut() {
                    last.cache = Some(point);
                }
            }
        }
        Ok(())
    })?;
    if count == 0 {
        return Err(wrong_value(&tools_path, "it must hold at least one tool"));
    }
    let choice_path = path.key("toolChoice");
    let choice = object(wire.choice, &choice_path)?.map(|wire| choice(wire, &tools, &choice_path)).transpose()?;
    Ok((tools, choice))
}

fn tool<'a>(wire: Spec<'a>, path: &Path<'_>) -> Result<Tool<'a>, ApiError> {
    let schema_path = path.key("inputSchema");
    let json_path = schema_path.key("json");
    let schema = required_object(wire.schema, &schema_path)?.json.ok_or_else(|| missing(&json_path))?;
    Ok(Tool {
        name: filled_text(wire.name, &path.key("name"))?,
        description: text(wire.description, &path.key("description"))?,
        parameters: Some(carried_object(schema, &json_path)?),
        strict: boolean(wire.strict, &path.key("strict"))?,
        cache: None,
    })
}

fn choice<'a>(wire: Choice<'a>, tools: &[Tool<'a>], path: &Path<'_>) -> Result<ToolChoice<'a>, ApiError> {
    match exactly_one(&[("auto", wire.auto.is_some()), ("any", wire.any.is_some()), ("tool", wire.tool.is_some())], path)? {
        "auto" => Ok(ToolChoice::Auto),
        // Only tools of the provider's own were offered.
        "any" if tools.is_empty() => Err(wrong_value(&path.key("any"), "there are no tools to choose from")),
        "any" => Ok(ToolChoice::Any),
        _ => {
            let path = path.key("tool");
            let name_path = path.key("name");
            let name = filled_text(required_object(wire.tool, &path)?.name, &name_path)?;
            let known = tools.iter().any(|tool| tool.name == *name.unescape());
            if known { Ok(ToolChoice::Tool(name)) } else { Err(wrong_value(&name_path, "there is no tool of this name")) }
        }
    }
}
