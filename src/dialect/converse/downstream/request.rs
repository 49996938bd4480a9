//! Reads a Converse request: the body of Converse, of ConverseStream, and the part of CountTokens that holds one.
//!
//! Every member of the API is typed, listed in [`Request::unsupported`] where it would have an effect that only Bedrock can give, or refused where leaving it
//! out would betray the client. What the API does not define goes into [`Request::extras`] as it stands, and so do free members of the model's own.
//!
//! The body is read once, front to back: strings are not unescaped and bytes are not copied, but for the schema of an answer, which comes as a string.
//!
//! Vendor page: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>; shapes `ConverseRequest`, `CountTokensRequest` of the
//! service model.

mod block;
mod fields;
#[cfg(test)]
mod tests;
mod tool;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::chat::{ApiError, Effort, Extra, Message, OutputFormat, Part, Request, Role};
use crate::dialect::converse::Style;
use crate::wire::json::{Json, Kind, Raw, Reader, Text};

use crate::chat::read::{
    self, Members, Notes, Path, Shape, Stop, carried, flat, integer, items, last_of_each, list, missing, number, object, one_of, pairs, required_object,
    required_text, text, wrong_type, wrong_value,
};
use block::{BlockWire, Place, block, content, exactly_one, plain};
use fields::{Fields, each_member};
use tool::ToolConfig;

/// The most stop texts, the service model's limit.
const MAX_STOP: usize = 2500;

/// The most `requestMetadata` pairs, the service model's limit.
const MAX_METADATA: usize = 16;

/// The most `additionalModelResponseFieldPaths`, the service model's limit.
const MAX_PATHS: usize = 10;

/// The one path into a model's own answer that can be followed elsewhere.
const STOP_SEQUENCE: &str = "/stop_sequence";

/// A request and what it says about the form of its answer.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// What is asked.
    pub request: Request<'a>,
    /// The form of the answer.
    pub style: Style,
}

/// What shall be counted.
#[derive(Clone, Debug)]
pub enum Count<'a> {
    /// A Converse request, as far as it takes input tokens.
    Converse(Box<Request<'a>>),
    /// The body of an InvokeModel request, in the model's own API.
    Invoke(Vec<u8>),
}

/// Reads a request body: `{"messages":[{"role":"user","content":[{"text":"…"}]}],…}`. `model` is plain text: the API has it in the path, and whether to stream
/// too.
///
/// # Errors
/// 400. JSON that is broken: with the position in bytes. A member that is missing or wrong: with its path in `param`, `messages[2].content[0].text`.
pub fn decode<'a>(model: &'a str, body: &'a str) -> Result<Decoded<'a>, ApiError> {
    let mut reading = Reading::default();
    read::body(body, |name, reader| reading.member(name, reader, &Path::Root))?;
    reading.finish(model, &Path::Root)
}

/// Reads the body of CountTokens: `{"input":{"converse":{"messages":[…],…}}}` or `{"input":{"invokeModel":{"body":"<base64>"}}}`.
///
/// # Errors
/// 400, as [`decode`].
pub fn decode_count<'a>(model: &'a str, body: &'a str) -> Result<Count<'a>, ApiError> {
    let mut wire = CountWire::default();
    read::body(body, |name, reader| {
        if !wire.member(&name, reader)? {
            reader.value()?;
        }
        Ok(())
    })?;
    let path = Path::Root.key("input");
    let input = required_object(wire.input, &path)?;
    if exactly_one(&[("converse", input.converse.is_some()), ("invokeModel", input.invoke.is_some())], &path)? == "invokeModel" {
        let path = path.key("invokeModel");
        let invoke = required_object(input.invoke, &path)?;
        let base64 = required_text(invoke.body, &path.key("body"))?;
        let bytes = STANDARD.decode(base64.unescape().as_bytes());
        return bytes.map(Count::Invoke).map_err(|_| wrong_value(&path.key("body"), "it is not base64"));
    }
    let path = path.key("converse");
    let raw = input.converse.ok_or_else(|| missing(&path))?;
    if raw.kind() != Kind::Object {
        return Err(wrong_type(&path, "an object", raw.kind()));
    }
    let mut reading = Reading::default();
    match Reader::new(raw.as_str()).object(|name, reader| reading.member(name, reader, &path)) {
        Ok(()) => Ok(Count::Converse(Box::new(reading.finish(model, &path)?.request))),
        Err(Stop::Refused(error)) => Err(error),
        // The syntax was checked before: what is left is a name that no text can hold.
        Err(Stop::Syntax(_)) => Err(wrong_value(&path, "it holds a name that cannot be read")),
    }
}

flat! {
    struct CountWire {
        input: Shape<Input<'a>> = "input",
    }
}

flat! {
    /// A union.
    struct Input {
        converse: Raw<'a> = "converse",
        invoke: Shape<Invoke<'a>> = "invokeModel",
    }
}

flat! {
    /// `{"body":"<base64>"}`
    struct Invoke {
        body: Raw<'a> = "body",
    }
}

flat! {
    /// Every member of the API but the lists that are read in place.
    struct Wire {
        inference: Raw<'a> = "inferenceConfig",
        tools: Shape<ToolConfig<'a>> = "toolConfig",
        guardrail: Raw<'a> = "guardrailConfig",
        fields: Raw<'a> = "additionalModelRequestFields",
        variables: Raw<'a> = "promptVariables",
        paths: Raw<'a> = "additionalModelResponseFieldPaths",
        metadata: Raw<'a> = "requestMetadata",
        performance: Shape<Performance<'a>> = "performanceConfig",
        tier: Shape<Tier<'a>> = "serviceTier",
        output: Shape<OutputConfig<'a>> = "outputConfig",
    }
}

flat! {
    struct MessageWire {
        role: Raw<'a> = "role",
        content: Raw<'a> = "content",
    }
}

flat! {
    struct Performance {
        latency: Raw<'a> = "latency",
    }
}

flat! {
    struct Tier {
        kind: Raw<'a> = "type",
    }
}

flat! {
    struct OutputConfig {
        format: Shape<TextFormat<'a>> = "textFormat",
        effort: Raw<'a> = "effort",
    }
}

flat! {
    struct TextFormat {
        kind: Raw<'a> = "type",
        structure: Shape<Structure<'a>> = "structure",
    }
}

flat! {
    /// A union, of one.
    struct Structure {
        json_schema: Shape<JsonSchema<'a>> = "jsonSchema",
    }
}

flat! {
    /// `schema` is a string that holds JSON.
    struct JsonSchema {
        schema: Raw<'a> = "schema",
        name: Raw<'a> = "name",
        description: Raw<'a> = "description",
    }
}

/// `inferenceConfig`.
#[derive(Default)]
struct Inference<'a> {
    max_tokens: Option<Raw<'a>>,
    temperature: Option<Raw<'a>>,
    top_p: Option<Raw<'a>>,
    stop: Option<Raw<'a>>,
}

/// A body half read: the lists are what they will be, the rest is still as the client wrote it.
#[derive(Default)]
struct Reading<'a> {
    wire: Wire<'a>,
    system: Vec<Part<'a>>,
    /// `None` as long as there was no list.
    messages: Option<Vec<Message<'a>>>,
    notes: Notes,
    extras: Vec<Extra<'a>>,
}

impl<'a> Reading<'a> {
    fn member(&mut self, name: Cow<'a, str>, reader: &mut Reader<'a>, root: &Path<'_>) -> Result<(), Stop> {
        let path = root.key(&name);
        match &*name {
            "messages" => {
                let mut messages = Vec::new();
                let is_list = list(reader, &path, |index, wire| message(wire, &path.item(index), &mut self.notes, &mut messages))?;
                self.messages = is_list.then_some(messages);
            }
            "system" => {
                self.system.clear();
                list(reader, &path, |index, wire: BlockWire<'a>| block(wire, Place::System, &path.item(index), &mut self.notes, &mut self.system))?;
            }
            _ => read::member(&mut self.wire, &mut self.extras, name, reader, root)?,
        }
        Ok(())
    }

    /// Makes the request of what was read.
    fn finish(mut self, model: &'a str, root: &Path<'_>) -> Result<Decoded<'a>, ApiError> {
        let messages_path = root.key("messages");
        let mut messages = self.messages.take().ok_or_else(|| missing(&messages_path))?;
        if messages.is_empty() {
            return Err(wrong_value(&messages_path, "it must hold at least one message"));
        }
        if !self.system.is_empty() {
            messages.insert(0, Message { role: Role::System, parts: std::mem::take(&mut self.system) });
        }
        let tells_stop = self.unsupported(root)?;
        let (tools, choice) = tool::config(self.wire.tools.take(), &root.key("toolConfig"), &mut self.notes)?;
        let inference_path = root.key("inferenceConfig");
        let inference = self.inference(&inference_path)?;
        let fields_path = root.key("additionalModelRequestFields");
        let fields = self.wire.fields.map(|raw| Fields::read(raw, &fields_path, &mut self.extras)).transpose()?.unwrap_or_default();
        let (output_format, effort) = output(self.wire.output.take(), &root.key("outputConfig"))?;
        let request = Request {
            model: Text::from_plain(model),
            messages,
            tools,
            tool_choice: choice.or(fields.choice),
            parallel_tool_calls: fields.parallel_tool_calls,
            one_tool_call: false,
            max_tokens: integer(inference.max_tokens, 1..=u64::MAX, &inference_path.key("maxTokens"))?,
            temperature: number(inference.temperature, 0.0..=1.0, &inference_path.key("temperature"))?.map(|(raw, _)| raw),
            top_p: number(inference.top_p, 0.0..=1.0, &inference_path.key("topP"))?.map(|(raw, _)| raw),
            top_k: fields.top_k,
            n: None,
            stop: stop(inference.stop, &inference_path.key("stopSequences"))?,
            tells_stop,
            output_format,
            effort: effort.or(fields.effort),
            thinking: fields.thinking,
            user: None,
            service_tier: tier(self.wire.tier, &root.key("serviceTier"))?,
            metadata: metadata(self.wire.metadata, &root.key("requestMetadata"))?,
            unsupported: self.notes.0,
            extras: last_of_each(self.extras),
        };
        Ok(Decoded { request, style: Style { stop_sequence: tells_stop } })
    }

    /// Notes the members that only Bedrock can follow. Tells whether the stop text that was met is asked for.
    fn unsupported(&mut self, root: &Path<'_>) -> Result<bool, ApiError> {
        for (name, member) in [("guardrailConfig", self.wire.guardrail), ("promptVariables", self.wire.variables)] {
            let Some(raw) = member else { continue };
            if raw.kind() != Kind::Object {
                return Err(wrong_type(&root.key(name), "an object", raw.kind()));
            }
            let mut empty = true;
            each_member(raw, &root.key(name), |_, _| {
                empty = false;
                Ok(())
            })?;
            if !empty {
                self.notes.add(name);
            }
        }
        let path = root.key("performanceConfig");
        if let Some(wire) = object(self.wire.performance.take(), &path)?
            && one_of(wire.latency, &["standard", "optimized"], &path.key("latency"))? == Some("optimized")
        {
            self.notes.add("performanceConfig");
        }
        let path = root.key("additionalModelResponseFieldPaths");
        let paths = items(self.wire.paths, &path)?.unwrap_or_default();
        if paths.len() > MAX_PATHS {
            return Err(wrong_value(&path, format_args!("expected at most {MAX_PATHS} items")));
        }
        let mut tells_stop = false;
        for (index, item) in paths.into_iter().enumerate() {
            if required_text(Some(item), &path.item(index))? == STOP_SEQUENCE {
                tells_stop = true;
            } else {
                self.notes.add("additionalModelResponseFieldPaths");
            }
        }
        Ok(tells_stop)
    }

    /// Reads `inferenceConfig`; members that the API does not define are extras.
    fn inference(&mut self, path: &Path<'_>) -> Result<Inference<'a>, ApiError> {
        let mut inference = Inference::default();
        let Some(raw) = self.wire.inference else { return Ok(inference) };
        each_member(raw, path, |name, value| {
            match &*name {
                "maxTokens" => inference.max_tokens = Some(value),
                "temperature" => inference.temperature = Some(value),
                "topP" => inference.top_p = Some(value),
                "stopSequences" => inference.stop = Some(value),
                _ => {
                    let value = carried(value, &path.key(&name))?;
                    self.extras.push(Extra { name: Text::from_plain(name), value });
                }
            }
            Ok(())
        })?;
        Ok(inference)
    }
}

/// Reads one message; what tools gave becomes messages of its own.
fn message<'a>(wire: MessageWire<'a>, path: &Path<'_>, notes: &mut Notes, out: &mut Vec<Message<'a>>) -> Result<(), ApiError> {
    let role_path = path.key("role");
    let (role, place) = match one_of(wire.role, &["user", "assistant", "system"], &role_path)?.ok_or_else(|| missing(&role_path))? {
        "user" => (Role::User, Place::User),
        "assistant" => (Role::Assistant, Place::Assistant),
        _ => (Role::System, Place::System),
    };
    let content_path = path.key("content");
    let parts = content(wire.content.ok_or_else(|| missing(&content_path))?, place, &content_path, notes)?;
    if parts.is_empty() && role != Role::Assistant {
        return Err(wrong_value(&content_path, "it must hold at least one content block"));
    }
    if !parts.iter().any(|part| matches!(part, Part::ToolResult(_))) {
        out.push(Message { role, parts });
        return Ok(());
    }
    let mut runs: Vec<Message<'a>> = Vec::new();
    for part in parts {
        let last = runs.last_mut();
        let role = if matches!(part, Part::ToolResult(_)) { Role::Tool } else { Role::User };
        match last {
            Some(run) if run.role == role => run.parts.push(part),
            // A cache point closes what stands before it: a result keeps its own.
            Some(Message { role: Role::Tool, parts }) if matches!(part, Part::CachePoint(_)) => {
                if let Some(Part::ToolResult(result)) = parts.last_mut() {
                    result.parts.push(part);
                }
            }
            _ => runs.push(Message { role, parts: vec![part] }),
        }
    }
    out.append(&mut runs);
    Ok(())
}

fn stop<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Vec<Text<'a>>, ApiError> {
    let mut stop = Vec::new();
    for (index, item) in items(member, path)?.into_iter().flatten().enumerate() {
        stop.push(required_text(Some(item), &path.item(index))?);
    }
    stop.retain(|text: &Text<'_>| !text.is_empty());
    if stop.len() > MAX_STOP { Err(wrong_value(path, format_args!("expected at most {MAX_STOP} items"))) } else { Ok(stop) }
}

/// The tier in OpenAI's words: `scale` is its reserved capacity.
fn tier<'a>(member: Option<Shape<Tier<'_>>>, path: &Path<'_>) -> Result<Option<Text<'a>>, ApiError> {
    let Some(wire) = object(member, path)? else { return Ok(None) };
    let path = path.key("type");
    let tier = one_of(wire.kind, &["priority", "default", "flex", "reserved"], &path)?.ok_or_else(|| missing(&path))?;
    Ok(Some(Text::from_escaped(if tier == "reserved" { "scale" } else { tier })))
}

fn metadata<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Vec<(Text<'a>, Text<'a>)>, ApiError> {
    let Some(raw) = member else { return Ok(Vec::new()) };
    let pairs = pairs(raw, path, MAX_METADATA)?;
    if pairs.len() > MAX_METADATA {
        return Err(wrong_value(path, format_args!("expected at most {MAX_METADATA} pairs")));
    }
    let read = |(name, value): (Text<'a>, Raw<'a>)| {
        let value = required_text(Some(value), &path.key(&name.unescape()))?;
        Ok((name, value))
    };
    pairs.into_iter().map(read).collect()
}

/// The shape that the answer must have, and how hard to think about it.
fn output<'a>(member: Option<Shape<OutputConfig<'a>>>, path: &Path<'_>) -> Result<(Option<OutputFormat<'a>>, Option<Effort>), ApiError> {
    let Some(wire) = object(member, path)? else { return Ok((None, None)) };
    let effort = one_of(wire.effort, &["none", "minimal", "low", "medium", "high", "xhigh", "max"], &path.key("effort"))?.and_then(Effort::from_name);
    let format_path = path.key("textFormat");
    let Some(format) = object(wire.format, &format_path)? else { return Ok((None, effort)) };
    let kind_path = format_path.key("type");
    one_of(format.kind, &["json_schema"], &kind_path)?.ok_or_else(|| missing(&kind_path))?;
    let structure_path = format_path.key("structure");
    let structure = required_object(format.structure, &structure_path)?;
    let path = structure_path.key("jsonSchema");
    let wire = required_object(structure.json_schema, &path)?;
    let schema_path = path.key("schema");
    let schema = plain(wire.schema.ok_or_else(|| missing(&schema_path))?, &schema_path)?;
    let schema = Json::parse(schema).map_err(|_| wrong_value(&schema_path, "the string does not hold valid JSON"))?;
    if schema.raw().kind() != Kind::Object {
        return Err(wrong_value(&schema_path, "the string must hold a JSON object"));
    }
    carried(schema.raw(), &schema_path)?;
    let name = text(wire.name, &path.key("name"))?.filter(|name| !name.is_empty());
    let description = text(wire.description, &path.key("description"))?;
    Ok((Some(OutputFormat::JsonSchema { name, description, schema, strict: None }), effort))
}
