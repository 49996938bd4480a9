//! A chat request as a Chat Completions body: first everything is planned, then it is written once, from front to back, into one buffer.
//!
//! ```text
//! chat::Request ─▶ turns ─▶ settings ─▶ extras ─▶ write ─▶ {"model", "messages", "stream", "max_tokens", "tools", …}
//! ```
//!
//! Texts, schemas and base64 are moved as they stand. Members that the client did not set are not sent. Equal requests give equal bytes, and a longer
//! conversation begins with the bytes of the shorter one: prompt caches live on that.
//!
//! What is sent is what OpenAI, Azure, Gemini, vLLM, llama.cpp and LiteLLM all take. Which model is behind an id is not known there, so nothing is left out for
//! the sake of a model, but where the id says that it is OpenAI's own.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/chat/create>.

mod extras;
mod media;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde::Deserialize;

use crate::chat::capability::Reasoning;
use crate::chat::names::{ToolNames, is_name};
use crate::chat::schema::{self, Wish};
use crate::chat::{ApiError, Effort, Encoded, Ledger, Options, OutputFormat, Request, Restore, Tool, ToolChoice};
use crate::wire::json::{Array, Kind, Object, Text, write_string, write_text};

use turns::Conversation;

/// The most stop texts, OpenAI's limit.
const STOP_MAX: usize = 4;
/// What a shape is called that has no name.
const SHAPE_NAME: &str = "response";

/// Writes a chat request as a Chat Completions body.
///
/// `{"model":"m","system":"Be brief","messages":[{"role":"user","content":"Hi"}],"max_tokens":5}` →
/// `{"model":"gpt-4o","messages":[{"role":"system","content":"Be brief"},{"role":"user","content":"Hi"}],"max_tokens":5}`
///
/// # Errors
/// 400 naming the member, for what the API has no form for (a document behind a URL, files in S3), what cannot stand where it is (an image in an assistant
/// message), and what the policy refuses.
pub fn encode(request: &Request<'_>, options: &Options<'_>) -> Result<Encoded, ApiError> {
    let mut ledger = Ledger::new(options.policy);
    for name in &request.unsupported {
        ledger.lose(name)?;
    }
    let names = ToolNames::of(request, "");
    let conversation = Conversation::plan(&request.messages, &names, &mut ledger)?;
    let mut settings = Settings::default();
    settings.plan(request, options, &names, &mut ledger)?;
    extras::place(request, options.policy.unknown, &mut settings, &mut ledger)?;
    let mut body = Vec::with_capacity(256 + conversation.size() + conversation.size() / 16 + settings.size());
    Object::write(&mut body, |body| {
        body.string("model", options.model);
        body.array("messages", |messages| conversation.write(messages));
        for (name, json) in &settings.members {
            body.raw(name, json);
        }
    });
    Ok(Encoded { body, restore: Restore { names: names.into_restore(), ..Restore::default() }, dropped: ledger.into_dropped() })
}

/// The members beside `model` and `messages`, in order: names in escaped form, values as JSON.
#[derive(Debug, Default)]
struct Settings {
    members: Vec<(String, String)>,
    /// Their names: a client may send as many members as a body holds.
    names: HashSet<String>,
}

impl Settings {
    /// Whether there is such a member, or one that means the same.
    fn has(&self, name: &str) -> bool {
        let is = |other: &str| self.names.contains(other);
        is(name) || (name == "max_tokens" && is("max_completion_tokens")) || (name == "max_completion_tokens" && is("max_tokens"))
    }

    fn put(&mut self, name: &str, json: impl Into<String>) {
        self.names.insert(name.to_owned());
        self.members.push((name.to_owned(), json.into()));
    }

    /// Puts in what `fill` writes.
    fn write(&mut self, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut json = Vec::new();
        fill(&mut json);
        // Made of text and ASCII.
        self.put(name, String::from_utf8(json).unwrap_or_default());
    }

    /// How many bytes they take.
    fn size(&self) -> usize {
        self.members.iter().map(|(name, json)| name.len() + json.len() + 4).sum()
    }

    fn plan(&mut self, request: &Request<'_>, options: &Options<'_>, names: &ToolNames<'_>, ledger: &mut Ledger) -> Result<(), ApiError> {
        let id = bare_id(options.family);
        if options.stream {
            self.put("stream", "true");
            self.put("stream_options", r#"{"include_usage":true}"#);
        }
        if let Some(most) = request.max_tokens.or(options.default_max_tokens) {
            self.put(if is_recent(id) { "max_completion_tokens" } else { "max_tokens" }, most.to_string());
        }
        let effort = effort(request, options, id, ledger)?;
        // OpenAI's newer models take sampling as long as they do not think.
        let samples = options.capabilities.sampling && !(is_recent(id) && effort.is_some_and(|effort| effort != Effort::None));
        self.sampling(request, options, samples, ledger)?;
        self.tools(request, names, ledger)?;
        if let Some(format) = &request.output_format {
            self.write("response_format", |out| write_format(out, format));
        }
        if let Some(effort) = effort {
            self.write("reasoning_effort", |out| write_string(out, effort.as_str()));
        }
        if let Some(user) = &request.user {
            self.write("user", |out| write_text(out, user));
        }
        if let Some(tier) = &request.service_tier {
            self.write("service_tier", |out| write_text(out, tier));
        }
        if !request.metadata.is_empty() {
            self.write("metadata", |out| {
                Object::write(out, |object| request.metadata.iter().for_each(|(name, value)| write_text(object.text_key(name), value)));
            });
        }
        if let Some(count) = request.n.filter(|count| *count > 1) {
            self.put("n", count.to_string());
        }
        Ok(())
    }

    /// Sampling and stop texts.
    fn sampling(&mut self, request: &Request<'_>, options: &Options<'_>, samples: bool, ledger: &mut Ledger) -> Result<(), ApiError> {
        for (name, value) in [("temperature", request.temperature), ("top_p", request.top_p)] {
            match value {
                Some(value) if samples => self.put(name, value.as_str()),
                Some(_) => ledger.lose(name)?,
                None => {}
            }
        }
        if request.top_k.is_some() {
            ledger.lose("top_k")?;
        }
        let stop: Vec<&Text<'_>> = request.stop.iter().filter(|text| !text.is_empty()).collect();
        let most = if options.capabilities.stop { STOP_MAX } else { 0 };
        if stop.len() > most {
            ledger.lose("stop_sequences")?;
        }
        if !stop.is_empty() && most > 0 {
            self.write("stop", |out| Array::write(out, |array| stop.iter().take(most).for_each(|text| array.text(text))));
        }
        Ok(())
    }

    /// Tools and the choice among them, which OpenAI takes beside tools only.
    fn tools(&mut self, request: &Request<'_>, names: &ToolNames<'_>, ledger: &mut Ledger) -> Result<(), ApiError> {
        if request.tools.iter().any(|tool| tool.cache.is_some()) {
            ledger.note("cache_control");
        }
        if request.tools.is_empty() {
            return match request.tool_choice {
                Some(ToolChoice::Any | ToolChoice::Tool(_)) => ledger.lose("tool_choice"),
                Some(ToolChoice::Auto | ToolChoice::None) | None => Ok(()),
            };
        }
        self.write("tools", |out| Array::write(out, |tools| request.tools.iter().for_each(|tool| tools.object(|item| write_tool(item, tool, names, ledger)))));
        match &request.tool_choice {
            None => {}
            Some(ToolChoice::Auto) => self.put("tool_choice", "\"auto\""),
            Some(ToolChoice::None) => self.put("tool_choice", "\"none\""),
            Some(ToolChoice::Any) => self.put("tool_choice", "\"required\""),
            Some(ToolChoice::Tool(name)) => self.write("tool_choice", |out| {
                Object::write(out, |choice| {
                    choice.string("type", "function");
                    choice.object("function", |function| function.string("name", &names.wire(name)));
                });
            }),
        }
        match request.parallel_tool_calls {
            Some(parallel) => self.put("parallel_tool_calls", if parallel { "true" } else { "false" }),
            None if request.one_tool_call => self.put("parallel_tool_calls", "false"),
            None => {}
        }
        Ok(())
    }
}

/// How hard to think. An effort says it in this API's own words; a budget is the next best; who wants no thoughts at all gets no word about them.
fn effort(request: &Request<'_>, options: &Options<'_>, id: &str, ledger: &mut Ledger) -> Result<Option<Effort>, ApiError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow, rename = "type", default)]
        kind: Option<Text<'a>>,
        #[serde(default)]
        budget_tokens: Option<u64>,
    }
    let own = request.thinking.and_then(|raw| raw.read::<Wire<'_>>().ok());
    let is = |kind: &str| own.as_ref().is_some_and(|own| own.kind.as_ref().is_some_and(|own| own == kind));
    if is("disabled") {
        if request.effort.is_some_and(|effort| effort != Effort::None) {
            ledger.note("effort");
        }
        return Ok(None);
    }
    if options.capabilities.reasoning == Reasoning::None && never_thinks(id) {
        match request.effort {
            _ if request.thinking.is_some() => ledger.lose("thinking")?,
            Some(Effort::None) | None => {}
            Some(_) => ledger.lose("reasoning_effort")?,
        }
        return Ok(None);
    }
    let budget = own.as_ref().and_then(|own| own.budget_tokens).filter(|_| is("enabled"));
    Ok(request.effort.or_else(|| budget.map(effort_of)))
}

/// The effort that is worth a budget of thinking tokens.
fn effort_of(budget: u64) -> Effort {
    match budget {
        0..=2048 => Effort::Low,
        2049..=8192 => Effort::Medium,
        _ => Effort::High,
    }
}

/// `openai/gpt-5` → `gpt-5`: gateways and Vertex put a publisher before the id.
fn bare_id(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

/// OpenAI's reasoning models refuse `max_tokens`; older ones, and most other servers, know nothing else.
fn is_recent(id: &str) -> bool {
    ["gpt-5", "o1", "o3", "o4"].iter().any(|prefix| id.starts_with(prefix))
}

/// OpenAI's models that refuse `reasoning_effort`.
fn never_thinks(id: &str) -> bool {
    id.starts_with("gpt-4") || id.starts_with("gpt-3.5")
}

fn write_tool(item: &mut Object<'_>, tool: &Tool<'_>, names: &ToolNames<'_>, ledger: &mut Ledger) {
    item.string("type", "function");
    item.object("function", |function| {
        function.string("name", &names.wire(&tool.name));
        if let Some(description) = tool.description.as_ref().filter(|text| !text.is_blank()) {
            function.text("description", description);
        }
        let schema = tool.parameters.map(|schema| if schema.kind() == Kind::Object { schema.as_str() } else { schema::EMPTY });
        // Others call a schema strict that leaves members out; OpenAI refuses the whole request for it.
        let strict = tool.strict.filter(|strict| !*strict || schema.is_none_or(is_strict));
        if tool.strict.is_some() && strict.is_none() {
            ledger.note("tools[].strict");
        }
        if let Some(schema) = schema {
            function.raw("parameters", &schema::rewrite(schema, Wish { closed: strict == Some(true), plain_patterns: false }));
        }
        if let Some(strict) = strict {
            function.bool("strict", strict);
        }
    });
}

/// Whether OpenAI's strict mode takes a schema, once its objects are closed.
fn is_strict(schema: &str) -> bool {
    !schema::is_open(schema) && !schema::has_optional(schema)
}

fn write_format(out: &mut Vec<u8>, format: &OutputFormat<'_>) {
    Object::write(out, |object| match format {
        OutputFormat::Text => object.string("type", "text"),
        OutputFormat::JsonObject => object.string("type", "json_object"),
        OutputFormat::JsonSchema { name, description, schema, strict } => {
            object.string("type", "json_schema");
            object.object("json_schema", |shape| {
                let name = name.as_ref().map(Text::unescape).filter(|name| is_name(name));
                shape.string("name", name.as_deref().unwrap_or(SHAPE_NAME));
                if let Some(description) = description.as_ref().filter(|text| !text.is_blank()) {
                    shape.text("description", description);
                }
                shape.raw("schema", schema.as_str());
                if let Some(strict) = strict {
                    shape.bool("strict", *strict);
                }
            });
        }
    });
}
