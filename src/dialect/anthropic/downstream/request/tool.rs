//! Tools, the choice among them, and cache markers.
//!
//! Tools that Anthropic defines (a `type` of their own: web search, bash, computer use) are known to its models only, and some run on its servers. They are
//! left out and listed; what was left out cannot be forced.

use crate::chat::{ApiError, CachePoint, Tool, ToolChoice};
use crate::wire::json::{Raw, Text};

use super::is_empty;
use crate::chat::read::{Notes, Path, Shape, boolean, carried_object, filled_text, flat, items, missing, object, one_of, required_text, text, wrong_value};

flat! {
    /// `{"name":"…","description":"…","input_schema":{…},"strict":true}`
    pub(super) struct ToolWire {
        kind: Raw<'a> = "type",
        name: Raw<'a> = "name",
        description: Raw<'a> = "description",
        input_schema: Raw<'a> = "input_schema",
        strict: Raw<'a> = "strict",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
        allowed_callers: Raw<'a> = "allowed_callers",
        defer_loading: Raw<'a> = "defer_loading",
        eager_input_streaming: Raw<'a> = "eager_input_streaming",
        input_examples: Raw<'a> = "input_examples",
    }
}

flat! {
    /// `{"type":"ephemeral","ttl":"1h"}`
    pub(super) struct CacheControl {
        kind: Raw<'a> = "type",
        ttl: Raw<'a> = "ttl",
    }
}

flat! {
    /// `{"type":"tool","name":"…","disable_parallel_tool_use":true}`
    pub(super) struct Choice {
        kind: Raw<'a> = "type",
        name: Raw<'a> = "name",
        disable_parallel_tool_use: Raw<'a> = "disable_parallel_tool_use",
    }
}

/// The tools read so far.
#[derive(Default)]
pub(super) struct Tools<'a> {
    pub(super) list: Vec<Tool<'a>>,
    /// What was left out of them.
    pub(super) notes: Notes,
}

impl<'a> Tools<'a> {
    /// Takes one item of `tools`.
    pub(super) fn push(&mut self, mut wire: ToolWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let cache = cache_point(wire.cache_control.take(), path)?;
        if text(wire.kind, &path.key("type"))?.is_some_and(|kind| kind != "custom") {
            self.notes.add("tools[].type");
            // The marker closes the tools before it too.
            if let (Some(last), Some(cache)) = (self.list.last_mut(), cache) {
                last.cache.get_or_insert(cache);
            }
            return Ok(());
        }
        let name = filled_text(wire.name, &path.key("name"))?;
        let description = text(wire.description, &path.key("description"))?;
        let schema_path = path.key("input_schema");
        let parameters = carried_object(wire.input_schema.ok_or_else(|| missing(&schema_path))?, &schema_path)?;
        let strict = boolean(wire.strict, &path.key("strict"))?;
        self.note(&wire, path)?;
        self.list.push(Tool { name, description, parameters: Some(parameters), strict, cache });
        Ok(())
    }

    /// Notes the members that only Anthropic's servers can heed.
    fn note(&mut self, wire: &ToolWire<'a>, path: &Path<'_>) -> Result<(), ApiError> {
        let callers_path = path.key("allowed_callers");
        for (index, caller) in items(wire.allowed_callers, &callers_path)?.into_iter().flatten().enumerate() {
            self.notes.add_if(required_text(Some(caller), &callers_path.item(index))? != "direct", "tools[].allowed_callers");
        }
        self.notes.add_if(boolean(wire.defer_loading, &path.key("defer_loading"))? == Some(true), "tools[].defer_loading");
        self.notes.add_if(boolean(wire.eager_input_streaming, &path.key("eager_input_streaming"))? == Some(true), "tools[].eager_input_streaming");
        self.notes.add_if(wire.input_examples.is_some_and(|examples| !is_empty(examples)), "tools[].input_examples");
        Ok(())
    }
}

/// The cache marker of a body, block or tool.
pub(super) fn cache_point<'a>(member: Option<Shape<CacheControl<'a>>>, path: &Path<'_>) -> Result<Option<CachePoint<'a>>, ApiError> {
    let path = path.key("cache_control");
    let Some(control) = object(member, &path)? else { return Ok(None) };
    let kind_path = path.key("type");
    one_of(control.kind, &["ephemeral"], &kind_path)?.ok_or_else(|| missing(&kind_path))?;
    let ttl = one_of(control.ttl, &["5m", "1h"], &path.key("ttl"))?;
    Ok(Some(CachePoint { ttl: ttl.map(Text::from_escaped) }))
}

/// `tool_choice`, and whether it allows several tool uses in one turn: not said unless it forbids them.
pub(super) fn choice<'a>(wire: Choice<'a>, tools: &[Tool<'a>], path: &Path<'_>) -> Result<(ToolChoice<'a>, Option<bool>), ApiError> {
    let single = boolean(wire.disable_parallel_tool_use, &path.key("disable_parallel_tool_use"))?;
    let parallel = single.filter(|single| *single).map(|single| !single);
    let kind_path = path.key("type");
    let choice = match one_of(wire.kind, &["auto", "any", "tool", "none"], &kind_path)?.ok_or_else(|| missing(&kind_path))? {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" if tools.is_empty() => return Err(wrong_value(path, "there are no tools to choose from")),
        "any" => ToolChoice::Any,
        _ => {
            let name_path = path.key("name");
            let name = filled_text(wire.name, &name_path)?;
            if !tools.iter().any(|tool| tool.name == *name.unescape()) {
                return Err(wrong_value(&name_path, "there is no tool of this name"));
            }
            ToolChoice::Tool(name)
        }
    };
    Ok((choice, parallel))
}
