//! Reads a Messages request. What it means for a target, and what the target cannot do, is the target's dialect's business.
//!
//! Bodies of both living API versions are taken, `2023-06-01` and `2026-10-21`: what one of them refuses, such as `temperature`, is for the model to refuse.
//! Every member of the API and of its betas is typed, or listed in [`Request::unsupported`] where it would have an effect that no other API knows. What the
//! API does not define goes into [`Request::extras`] as it stands. Blocks that only Anthropic's own servers make and read (the uses and results of server
//! tools) are left out of the history and listed; blocks that nobody knows are refused.
//!
//! The body is read once, front to back: strings are not unescaped and bytes are not copied. Of members of one name the last counts; `null` is not set.
//!
//! Vendor pages: <https://platform.claude.com/docs/en/api/messages>, <https://platform.claude.com/docs/en/api/messages-count-tokens>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>.

mod block;
mod message;
#[cfg(test)]
mod tests;
mod tool;

use std::borrow::Cow;

use crate::chat::{ApiError, CachePoint, Decoded, Effort, Extra, Message, OutputFormat, Part, Request, Role, Tool, ToolChoice};
use crate::dialect::anthropic::Style;
use crate::wire::json::{Kind, Raw, Reader, Text};

use crate::chat::read::{
    self, Notes, Path, Shape, Stop, boolean, carried_object, filled_text, flat, integer, items, last_of_each, list, members, missing, number, object, one_of,
    required_text, text, wrong_type, wrong_value,
};
use block::{Place, content};
use message::Conversation;
use tool::{CacheControl, Choice, Tools, cache_point};

/// The most stop texts that a request may bring: what Converse takes, which takes the most.
const MAX_STOP: usize = 2500;

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`: no limit of tokens is needed.
    Count,
    /// Bedrock's InvokeModel: `model` and `stream` are not in the body. The path tells both, and stands above a body that has them all the same.
    Invoke,
}

/// Reads a request body: `{"model":"…","max_tokens":1024,"messages":[…],…}`.
///
/// The instructions of `system` become the first message. What tools gave stands in messages of its own, and the rest of the same user message around it.
/// The model of [`Purpose::Invoke`] is empty: the caller puts in what the path says.
///
/// # Errors
/// 400. JSON that is broken: with the position in bytes. A member that is missing or wrong: with its path in `param`, `messages[2].content[0].text`.
pub fn decode(body: &str, purpose: Purpose) -> Result<Decoded<'_, Style>, ApiError> {
    let mut reading = Reading::default();
    read::body(body, |name, reader| reading.member(name, reader))?;
    reading.finish(purpose)
}

flat! {
    /// Every member of the API and of its betas but the lists that are read in place.
    struct Wire {
        model: Raw<'a> = "model",
        max_tokens: Raw<'a> = "max_tokens",
        stream: Raw<'a> = "stream",
        system: Raw<'a> = "system",
        stop_sequences: Raw<'a> = "stop_sequences",
        temperature: Raw<'a> = "temperature",
        top_p: Raw<'a> = "top_p",
        top_k: Raw<'a> = "top_k",
        tool_choice: Shape<Choice<'a>> = "tool_choice",
        thinking: Raw<'a> = "thinking",
        output_config: Shape<OutputConfig<'a>> = "output_config",
        output_format: Shape<Format<'a>> = "output_format",
        metadata: Shape<Metadata<'a>> = "metadata",
        service_tier: Raw<'a> = "service_tier",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
        speed: Raw<'a> = "speed",
        inference_geo: Raw<'a> = "inference_geo",
        container: Raw<'a> = "container",
        diagnostics: Raw<'a> = "diagnostics",
        mcp_servers: Raw<'a> = "mcp_servers",
        context_management: Raw<'a> = "context_management",
        fallbacks: Raw<'a> = "fallbacks",
        betas: Raw<'a> = "betas",
        user_profile_id: Raw<'a> = "user_profile_id",
        workspace_id: Raw<'a> = "workspace_id",
        // Which version of the API a body is for, where no header says so: Bedrock and Vertex. It is read alike in all of them.
        anthropic_version: Raw<'a> = "anthropic_version",
        anthropic_beta: Raw<'a> = "anthropic_beta",
    }
}

flat! {
    /// `{"effort":"high","format":{…}}`
    struct OutputConfig {
        effort: Raw<'a> = "effort",
        format: Shape<Format<'a>> = "format",
        task_budget: Raw<'a> = "task_budget",
    }
}

flat! {
    /// `{"type":"json_schema","schema":{…}}`
    struct Format {
        kind: Raw<'a> = "type",
        schema: Raw<'a> = "schema",
    }
}

flat! {
    /// `{"user_id":"…"}`
    struct Metadata {
        user_id: Raw<'a> = "user_id",
    }
}

flat! {
    /// `{"type":"enabled","budget_tokens":2048}`
    struct Thinking {
        kind: Raw<'a> = "type",
        budget_tokens: Raw<'a> = "budget_tokens",
        display: Raw<'a> = "display",
    }
}

/// The tools, the choice among them, and whether several may be used at once.
type ToolsRead<'a> = (Vec<Tool<'a>>, Option<ToolChoice<'a>>, Option<bool>);

/// A body half read: the lists are what they will be, the rest is still as the client wrote it.
#[derive(Default)]
struct Reading<'a> {
    wire: Wire<'a>,
    /// `None` as long as there was no list.
    conversation: Option<Conversation<'a>>,
    tools: Tools<'a>,
    extras: Vec<Extra<'a>>,
}

impl<'a> Reading<'a> {
    fn member(&mut self, name: Cow<'a, str>, reader: &mut Reader<'a>) -> Result<(), Stop> {
        let path = Path::Root.key(&name);
        match &*name {
            "messages" => {
                let mut conversation = Conversation::default();
                let is_list = list(reader, &path, |index, wire| conversation.push(wire, &path.item(index)))?;
                self.conversation = is_list.then_some(conversation);
            }
            "tools" => {
                self.tools = Tools::default();
                list(reader, &path, |index, wire| self.tools.push(wire, &path.item(index)))?;
            }
            _ => read::member(&mut self.wire, &mut self.extras, name, reader, &Path::Root)?,
        }
        Ok(())
    }

    /// Makes the request of what was read.
    fn finish(mut self, purpose: Purpose) -> Result<Decoded<'a, Style>, ApiError> {
        let root = Path::Root;
        let model = if purpose == Purpose::Invoke { Text::EMPTY } else { filled_text(self.wire.model, &root.key("model"))? };
        let max_tokens = max_tokens(self.wire.max_tokens, purpose, &root.key("max_tokens"))?;
        let messages_path = root.key("messages");
        let Conversation { mut messages, mut notes } = self.conversation.take().ok_or_else(|| missing(&messages_path))?;
        if messages.is_empty() {
            return Err(wrong_value(&messages_path, "it must hold at least one message"));
        }
        if let Some(point) = cache_point(self.wire.cache_control.take(), &root)? {
            cache_all(&mut messages, point);
        }
        if let Some(raw) = self.wire.system {
            let parts = content(raw, Place::System, &root.key("system"), &mut notes)?;
            if !parts.is_empty() {
                messages.insert(0, Message { role: Role::System, parts });
            }
        }
        let (tools, tool_choice, parallel_tool_calls) = self.tools(&mut notes)?;
        self.unsupported(&mut notes)?;
        let (effort, output_format) = self.output(&mut notes)?;
        let stream = boolean(self.wire.stream, &root.key("stream"))?.unwrap_or_default();
        let wire = self.wire;
        let stop = stop(wire.stop_sequences, &root.key("stop_sequences"))?;
        let style = Style { stop: stop.iter().map(|text| text.escaped().to_owned()).collect() };
        let request = Request {
            model,
            messages,
            tools,
            tool_choice,
            parallel_tool_calls,
            one_tool_call: false,
            max_tokens,
            temperature: number(wire.temperature, 0.0..=1.0, &root.key("temperature"))?.map(|(raw, _)| raw),
            top_p: number(wire.top_p, 0.0..=1.0, &root.key("top_p"))?.map(|(raw, _)| raw),
            top_k: integer(wire.top_k, 0..=u64::MAX, &root.key("top_k"))?.and(wire.top_k),
            n: None,
            stop,
            tells_stop: true,
            output_format,
            effort,
            thinking: thinking(wire.thinking, &root.key("thinking"))?,
            user: user(wire.metadata, &root.key("metadata"))?,
            service_tier: service_tier(wire.service_tier, &root.key("service_tier"))?,
            metadata: Vec::new(),
            unsupported: notes.0,
            extras: last_of_each(self.extras),
        };
        Ok(Decoded { request, stream: stream && purpose == Purpose::Messages, style })
    }

    /// What the body says about tools that any model can use.
    fn tools(&mut self, notes: &mut Notes) -> Result<ToolsRead<'a>, ApiError> {
        let Tools { list, notes: lost } = std::mem::take(&mut self.tools);
        lost.0.into_iter().for_each(|name| notes.add(name));
        let (choice, parallel) = match self.wire.tool_choice.take() {
            Some(wire) => {
                let path = Path::Root.key("tool_choice");
                let (choice, parallel) = tool::choice(wire.object(&path)?, &list, &path)?;
                (Some(choice), parallel)
            }
            None => (None, None),
        };
        Ok((list, choice, parallel))
    }

    /// Notes the members that would have an effect and cannot have it here. The types of those that the API documents are checked all the same.
    fn unsupported(&self, notes: &mut Notes) -> Result<(), ApiError> {
        let wire = &self.wire;
        let root = Path::Root;
        notes.add_if(one_of(wire.speed, &["standard", "fast"], &root.key("speed"))? == Some("fast"), "speed");
        for (name, member) in [("inference_geo", wire.inference_geo), ("user_profile_id", wire.user_profile_id), ("workspace_id", wire.workspace_id)] {
            notes.add_if(text(member, &root.key(name))?.is_some_and(|text| !text.is_empty()), name);
        }
        if let Some(raw) = wire.container.filter(|raw| !matches!(raw.kind(), Kind::String | Kind::Object)) {
            return Err(wrong_type(&root.key("container"), "a string or an object", raw.kind()));
        }
        if let Some(raw) = wire.diagnostics.filter(|raw| raw.kind() != Kind::Object) {
            return Err(wrong_type(&root.key("diagnostics"), "an object", raw.kind()));
        }
        notes.add_if(wire.diagnostics.is_some(), "diagnostics");
        for (name, member) in [
            ("container", wire.container),
            ("mcp_servers", wire.mcp_servers),
            ("context_management", wire.context_management),
            ("fallbacks", wire.fallbacks),
            ("betas", wire.betas),
        ] {
            notes.add_if(member.is_some_and(|raw| !is_empty(raw)), name);
        }
        Ok(())
    }

    /// How hard to think, and the shape of the answer. The beta had the shape in a member of its own.
    fn output(&mut self, notes: &mut Notes) -> Result<(Option<Effort>, Option<OutputFormat<'a>>), ApiError> {
        let path = Path::Root.key("output_config");
        let config = object(self.wire.output_config.take(), &path)?.unwrap_or_default();
        let effort = one_of(config.effort, &["low", "medium", "high", "xhigh", "max"], &path.key("effort"))?.and_then(Effort::from_name);
        notes.add_if(config.task_budget.is_some(), "output_config.task_budget");
        let format = match output_format(config.format, &path.key("format"))? {
            None => output_format(self.wire.output_format.take(), &Path::Root.key("output_format"))?,
            format => format,
        };
        Ok((effort, format))
    }
}

/// The limit of tokens. None at all, which fills the prompt cache and asks for no answer, is the smallest answer there is elsewhere.
fn max_tokens(member: Option<Raw<'_>>, purpose: Purpose, path: &Path<'_>) -> Result<Option<u64>, ApiError> {
    match integer(member, 0..=u64::MAX, path)? {
        None if purpose != Purpose::Count => Err(missing(path)),
        limit => Ok(limit.map(|limit| limit.max(1))),
    }
}

/// Puts a marker behind the last part of the conversation, unless one stands there already.
fn cache_all<'a>(messages: &mut [Message<'a>], point: CachePoint<'a>) {
    let Some(last) = messages.last_mut() else { return };
    // What tools gave keeps its markers inside.
    let parts = if let (Role::Tool, Some(Part::ToolResult(result))) = (last.role, last.parts.last_mut()) { &mut result.parts } else { &mut last.parts };
    if !matches!(parts.last(), Some(Part::CachePoint(_))) {
        parts.push(Part::CachePoint(point));
    }
}

fn stop<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Vec<Text<'a>>, ApiError> {
    let items = items(member, path)?.unwrap_or_default();
    let mut stop = items.into_iter().enumerate().map(|(index, item)| required_text(Some(item), &path.item(index))).collect::<Result<Vec<_>, _>>()?;
    stop.retain(|text| !text.is_empty());
    if stop.len() > MAX_STOP { Err(wrong_value(path, format_args!("expected at most {MAX_STOP} items"))) } else { Ok(stop) }
}

/// Checks the shape; whether the budget fits is for the target to say.
fn thinking<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Option<Raw<'a>>, ApiError> {
    let Some(raw) = member else { return Ok(None) };
    let raw = carried_object(raw, path)?;
    let wire: Thinking<'a> = members(raw, path)?;
    let kind_path = path.key("type");
    let kind = one_of(wire.kind, &["enabled", "disabled", "adaptive", "between_tools"], &kind_path)?.ok_or_else(|| missing(&kind_path))?;
    let budget_path = path.key("budget_tokens");
    if integer(wire.budget_tokens, 0..=u64::MAX, &budget_path)?.is_none() && kind == "enabled" {
        return Err(missing(&budget_path));
    }
    one_of(wire.display, &["summarized", "omitted"], &path.key("display"))?;
    Ok(Some(raw))
}

fn output_format<'a>(member: Option<Shape<Format<'a>>>, path: &Path<'_>) -> Result<Option<OutputFormat<'a>>, ApiError> {
    let Some(format) = object(member, path)? else { return Ok(None) };
    let kind_path = path.key("type");
    one_of(format.kind, &["json_schema"], &kind_path)?.ok_or_else(|| missing(&kind_path))?;
    let schema_path = path.key("schema");
    let schema = carried_object(format.schema.ok_or_else(|| missing(&schema_path))?, &schema_path)?.into();
    Ok(Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None }))
}

fn user<'a>(member: Option<Shape<Metadata<'a>>>, path: &Path<'_>) -> Result<Option<Text<'a>>, ApiError> {
    let Some(metadata) = object(member, path)? else { return Ok(None) };
    Ok(text(metadata.user_id, &path.key("user_id"))?.filter(|user| !user.is_empty()))
}

fn service_tier<'a>(member: Option<Raw<'_>>, path: &Path<'_>) -> Result<Option<Text<'a>>, ApiError> {
    let tier = one_of(member, &["auto", "standard_only"], path)?;
    Ok(tier.map(|tier| Text::from_escaped(if tier == "auto" { "auto" } else { "default" })))
}

/// Whether an object, a list or a string holds nothing.
fn is_empty(value: Raw<'_>) -> bool {
    let mut bytes = value.as_str().bytes().filter(|byte| !byte.is_ascii_whitespace());
    matches!((bytes.next(), bytes.next()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) | (Some(b'"'), Some(b'"')))
}
