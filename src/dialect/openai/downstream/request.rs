//! Reads a Chat Completions request. What it means for a target, and what the target cannot do, is the target's dialect's business.
//!
//! Every member of the API is typed, listed in [`Request::unsupported`] where it would have an effect, or refused where leaving it out would betray the
//! client (several choices, log probabilities, spoken answers). What the API does not define goes into [`Request::extras`] as it stands.
//!
//! The body is read once, front to back: strings are not unescaped and bytes are not copied. Of members of one name the last counts; `null` is not set.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/chat/create>.

pub(in crate::dialect::openai) mod message;
pub(in crate::dialect::openai) mod part;
#[cfg(test)]
mod tests;
pub(in crate::dialect::openai) mod tool;

use std::borrow::Cow;

use crate::chat::{ApiError, CachePoint, Decoded, Effort, Extra, Message, OutputFormat, Part, Request, Tool, ToolChoice};
use crate::dialect::openai::Style;
use crate::wire::json::{Kind, Raw, Reader, Text};

use crate::chat::read::{
    self, Path, Shape, Stop, boolean, carried_object, filled_text, flat, integer, items, last_of_each, list, missing, number, object, one_of, pairs,
    required_object, required_text, text, wrong_type, wrong_value,
};
use message::Conversation;

/// The most stop texts that a request may bring. OpenAI takes 4; Converse, which takes the most, 2500.
const MAX_STOP: usize = 2500;

/// The most answers to one request, OpenAI's limit.
const MAX_CHOICES: u64 = 128;

/// The most metadata pairs, OpenAI's limit and Converse's.
const MAX_METADATA: usize = 16;

/// Reads a request body: `{"model":"…","messages":[…],…}`.
///
/// # Errors
/// 400. JSON that is broken: with the position in bytes. A member that is missing or wrong: with its path in `param`, `messages[2].content[0].text`.
pub fn decode(body: &str) -> Result<Decoded<'_, Style>, ApiError> {
    let mut reading = Reading::default();
    read::body(body, |name, reader| reading.member(name, reader))?;
    reading.finish()
}

flat! {
    /// Every member of the API but the lists that are read in place.
    struct Wire {
        model: Raw<'a> = "model",
        max_completion_tokens: Raw<'a> = "max_completion_tokens",
        max_tokens: Raw<'a> = "max_tokens",
        temperature: Raw<'a> = "temperature",
        top_p: Raw<'a> = "top_p",
        stop: Raw<'a> = "stop",
        n: Raw<'a> = "n",
        stream: Raw<'a> = "stream",
        stream_options: Shape<StreamOptions<'a>> = "stream_options",
        tool_choice: Raw<'a> = "tool_choice",
        parallel_tool_calls: Raw<'a> = "parallel_tool_calls",
        function_call: Raw<'a> = "function_call",
        response_format: Shape<ResponseFormat<'a>> = "response_format",
        reasoning_effort: Raw<'a> = "reasoning_effort",
        service_tier: Raw<'a> = "service_tier",
        metadata: Raw<'a> = "metadata",
        modalities: Raw<'a> = "modalities",
        audio: Raw<'a> = "audio",
        logprobs: Raw<'a> = "logprobs",
        top_logprobs: Raw<'a> = "top_logprobs",
        frequency_penalty: Raw<'a> = "frequency_penalty",
        presence_penalty: Raw<'a> = "presence_penalty",
        logit_bias: Raw<'a> = "logit_bias",
        seed: Raw<'a> = "seed",
        store: Raw<'a> = "store",
        prediction: Raw<'a> = "prediction",
        verbosity: Raw<'a> = "verbosity",
        web_search_options: Raw<'a> = "web_search_options",
        moderation: Raw<'a> = "moderation",
        user: Raw<'a> = "user",
        safety_identifier: Raw<'a> = "safety_identifier",
        prompt_cache_key: Raw<'a> = "prompt_cache_key",
        prompt_cache_retention: Raw<'a> = "prompt_cache_retention",
        prompt_cache_options: Shape<CacheOptions<'a>> = "prompt_cache_options",
    }
}

flat! {
    struct StreamOptions {
        include_usage: Raw<'a> = "include_usage",
        include_obfuscation: Raw<'a> = "include_obfuscation",
    }
}

flat! {
    struct ResponseFormat {
        kind: Raw<'a> = "type",
        json_schema: Shape<JsonSchema<'a>> = "json_schema",
    }
}

flat! {
    struct JsonSchema {
        name: Raw<'a> = "name",
        description: Raw<'a> = "description",
        schema: Raw<'a> = "schema",
        strict: Raw<'a> = "strict",
    }
}

flat! {
    /// `{"ttl":"30m","mode":"explicit"}`
    pub(in crate::dialect::openai) struct CacheOptions {
        ttl: Raw<'a> = "ttl",
        mode: Raw<'a> = "mode",
    }
}

/// A body half read: the lists are what they will be, the rest is still as the client wrote it.
#[derive(Default)]
struct Reading<'a> {
    wire: Wire<'a>,
    /// `None` as long as there was no list.
    conversation: Option<Conversation<'a>>,
    tools: Vec<Tool<'a>>,
    functions: Vec<Tool<'a>>,
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
                self.tools.clear();
                list(reader, &path, |index, wire| {
                    self.tools.push(tool::tool(wire, &path.item(index))?);
                    Ok(())
                })?;
            }
            "functions" => {
                self.functions.clear();
                list(reader, &path, |index, wire| {
                    self.functions.push(tool::function(wire, &path.item(index))?);
                    Ok(())
                })?;
            }
            _ => read::member(&mut self.wire, &mut self.extras, name, reader, &Path::Root)?,
        }
        Ok(())
    }

    /// Makes the request of what was read.
    fn finish(mut self) -> Result<Decoded<'a, Style>, ApiError> {
        let root = Path::Root;
        let model = filled_text(self.wire.model, &root.key("model"))?;
        let messages_path = root.key("messages");
        let mut conversation = self.conversation.take().ok_or_else(|| missing(&messages_path))?;
        if conversation.messages.is_empty() {
            return Err(wrong_value(&messages_path, "it must hold at least one message"));
        }
        self.refuse()?;
        let mut unsupported = self.unsupported()?;
        if conversation.named {
            unsupported.push("messages[].name");
        }
        if conversation.detail {
            unsupported.push("messages[].content[].image_url.detail");
        }
        let (stream, include_usage, obfuscation) = self.stream()?;
        if obfuscation {
            unsupported.push("stream_options.include_obfuscation");
        }
        if self.cache_options(&mut conversation)? {
            unsupported.push("prompt_cache_options");
        }
        let (tool_choice, legacy_functions) = self.tool_choice()?;
        let parallel_tool_calls = boolean(self.wire.parallel_tool_calls, &root.key("parallel_tool_calls"))?;
        let wire = self.wire;
        let max_tokens = integer(wire.max_tokens, 1..=u64::MAX, &root.key("max_tokens"))?;
        let request = Request {
            model,
            messages: conversation.messages,
            tools: self.tools,
            tool_choice,
            parallel_tool_calls,
            one_tool_call: legacy_functions,
            max_tokens: integer(wire.max_completion_tokens, 1..=u64::MAX, &root.key("max_completion_tokens"))?.or(max_tokens),
            temperature: number(wire.temperature, 0.0..=2.0, &root.key("temperature"))?.map(|(raw, _)| raw),
            top_p: number(wire.top_p, 0.0..=1.0, &root.key("top_p"))?.map(|(raw, _)| raw),
            top_k: None,
            n: integer(wire.n, 1..=MAX_CHOICES, &root.key("n"))?,
            stop: stop(wire.stop, &root.key("stop"))?,
            tells_stop: false,
            output_format: output_format(wire.response_format, &root.key("response_format"))?,
            effort: effort(wire.reasoning_effort, &root.key("reasoning_effort"))?,
            thinking: None,
            user: text(wire.safety_identifier, &root.key("safety_identifier"))?.or(text(wire.user, &root.key("user"))?).filter(|user| !user.is_empty()),
            service_tier: service_tier(wire.service_tier, &root.key("service_tier"))?,
            metadata: metadata(wire.metadata, &root.key("metadata"))?,
            unsupported,
            extras: last_of_each(self.extras),
        };
        Ok(Decoded { request, stream, style: Style { include_usage, legacy_functions } })
    }

    /// Members without which the answer would not be what the client takes it for.
    fn refuse(&self) -> Result<(), ApiError> {
        let path = Path::Root.key("logprobs");
        if boolean(self.wire.logprobs, &path)? == Some(true) {
            return Err(wrong_value(&path, "log probabilities are not supported"));
        }
        let path = Path::Root.key("modalities");
        for (index, modality) in items(self.wire.modalities, &path)?.into_iter().flatten().enumerate() {
            if required_text(Some(modality), &path.item(index))? != "text" {
                return Err(wrong_value(&path, "only text answers are supported"));
            }
        }
        Ok(())
    }

    /// The names of the members that would have an effect and cannot have it here. Their types are checked all the same.
    fn unsupported(&self) -> Result<Vec<&'static str>, ApiError> {
        let wire = &self.wire;
        let root = Path::Root;
        let mut names = Vec::new();
        let mut note = |name: &'static str, has_effect: bool| {
            if has_effect {
                names.push(name);
            }
        };
        for (name, member) in [("frequency_penalty", wire.frequency_penalty), ("presence_penalty", wire.presence_penalty)] {
            note(name, number(member, -2.0..=2.0, &root.key(name))?.is_some_and(|(_, number)| number != 0.0));
        }
        note("logit_bias", is_object(wire.logit_bias, &root.key("logit_bias"))?.is_some_and(|bias| !is_empty(bias)));
        note("top_logprobs", integer(wire.top_logprobs, 0..=20, &root.key("top_logprobs"))?.is_some_and(|count| count > 0));
        note("seed", is_whole(wire.seed, &root.key("seed"))?);
        note("store", boolean(wire.store, &root.key("store"))? == Some(true));
        let verbosity = one_of(wire.verbosity, &["low", "medium", "high"], &root.key("verbosity"))?;
        note("verbosity", verbosity.is_some_and(|level| level != "medium"));
        for (name, member) in
            [("audio", wire.audio), ("prediction", wire.prediction), ("web_search_options", wire.web_search_options), ("moderation", wire.moderation)]
        {
            note(name, is_object(member, &root.key(name))?.is_some());
        }
        for (name, member) in [("prompt_cache_key", wire.prompt_cache_key), ("prompt_cache_retention", wire.prompt_cache_retention)] {
            note(name, text(member, &root.key(name))?.is_some_and(|label| !label.is_empty()));
        }
        Ok(names)
    }

    /// Whether to stream, whether with token counts, and whether with padding, which is not done here.
    fn stream(&mut self) -> Result<(bool, bool, bool), ApiError> {
        let stream = boolean(self.wire.stream, &Path::Root.key("stream"))?.unwrap_or_default();
        let path = Path::Root.key("stream_options");
        let Some(options) = object(self.wire.stream_options.take(), &path)? else { return Ok((stream, false, false)) };
        if !stream {
            return Err(wrong_value(&path, "it is only allowed when 'stream' is true"));
        }
        let include_usage = boolean(options.include_usage, &path.key("include_usage"))?.unwrap_or_default();
        let obfuscation = boolean(options.include_obfuscation, &path.key("include_obfuscation"))?.unwrap_or_default();
        Ok((true, include_usage, obfuscation))
    }

    /// Gives the request's time to live to the markers that have none. The answer tells whether something of the options stays without effect.
    fn cache_options(&mut self, conversation: &mut Conversation<'a>) -> Result<bool, ApiError> {
        let options = self.wire.prompt_cache_options.take();
        cache_options(options, &mut conversation.messages, self.tools.iter_mut().chain(&mut self.functions), &Path::Root.key("prompt_cache_options"))
    }

    /// The choice among the tools, in the form that goes with the tools; and whether that is the deprecated one.
    fn tool_choice(&mut self) -> Result<(Option<ToolChoice<'a>>, bool), ApiError> {
        let legacy = !self.functions.is_empty();
        if legacy && !self.tools.is_empty() {
            return Err(wrong_value(&Path::Root.key("functions"), "it cannot be used together with 'tools'"));
        }
        if legacy {
            self.tools = std::mem::take(&mut self.functions);
        }
        let choice = match (self.wire.tool_choice, self.wire.function_call) {
            (Some(raw), _) => Some(tool::choice(raw, &mut self.tools, &Path::Root.key("tool_choice"))?),
            (None, Some(raw)) => Some(tool::legacy_choice(raw, &self.tools, &Path::Root.key("function_call"))?),
            (None, None) => None,
        };
        Ok((choice, legacy))
    }
}

/// Gives the time to live of `prompt_cache_options` to the markers that have none. The answer tells whether something of the options stays without effect.
pub(in crate::dialect::openai) fn cache_options<'a: 't, 't>(
    options: Option<Shape<CacheOptions<'a>>>,
    messages: &mut [Message<'a>],
    tools: impl Iterator<Item = &'t mut Tool<'a>>,
    path: &Path<'_>,
) -> Result<bool, ApiError> {
    let Some(options) = object(options, path)? else { return Ok(false) };
    // There are no implicit markers: those are for a target that places them itself.
    let implicit = one_of(options.mode, &["implicit", "explicit"], &path.key("mode"))? == Some("implicit");
    let ttl = match one_of(options.ttl, &["5m", "30m", "1h"], &path.key("ttl"))? {
        None => return Ok(implicit),
        Some("5m") => "5m",
        // It is a minimum, and the next longer one that a target has is an hour.
        Some(_) => "1h",
    };
    let mut used = false;
    let mut mark = |point: &mut CachePoint<'a>| {
        used = true;
        point.ttl.get_or_insert_with(|| Text::from_escaped(ttl));
    };
    for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::CachePoint(point) => mark(point),
            Part::ToolResult(result) => result.parts.iter_mut().for_each(|part| {
                if let Part::CachePoint(point) = part {
                    mark(point);
                }
            }),
            _ => {}
        }
    }
    tools.filter_map(|tool| tool.cache.as_mut()).for_each(mark);
    Ok(implicit || !used)
}

pub(in crate::dialect::openai) fn stop<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Vec<Text<'a>>, ApiError> {
    let Some(raw) = member else { return Ok(Vec::new()) };
    let mut stop = match raw.kind() {
        Kind::String => vec![required_text(Some(raw), path)?],
        Kind::Array => {
            let items = items(Some(raw), path)?.unwrap_or_default();
            items.into_iter().enumerate().map(|(index, item)| required_text(Some(item), &path.item(index))).collect::<Result<_, _>>()?
        }
        kind => return Err(wrong_type(path, "a string or an array of strings", kind)),
    };
    stop.retain(|text: &Text<'_>| !text.is_empty());
    if stop.len() > MAX_STOP { Err(wrong_value(path, format_args!("expected at most {MAX_STOP} items"))) } else { Ok(stop) }
}

fn output_format<'a>(member: Option<Shape<ResponseFormat<'a>>>, path: &Path<'_>) -> Result<Option<OutputFormat<'a>>, ApiError> {
    let Some(format) = object(member, path)? else { return Ok(None) };
    let kind_path = path.key("type");
    match one_of(format.kind, &["text", "json_object", "json_schema"], &kind_path)?.ok_or_else(|| missing(&kind_path))? {
        "text" => Ok(Some(OutputFormat::Text)),
        "json_object" => Ok(Some(OutputFormat::JsonObject)),
        _ => {
            let path = path.key("json_schema");
            let wire = required_object(format.json_schema, &path)?;
            let name = filled_text(wire.name, &path.key("name"))?;
            let description = text(wire.description, &path.key("description"))?;
            let strict = boolean(wire.strict, &path.key("strict"))?;
            // The API lets it be left out; what is left of the wish then is an object.
            let Some(schema) = wire.schema else { return Ok(Some(OutputFormat::JsonObject)) };
            let schema = carried_object(schema, &path.key("schema"))?.into();
            Ok(Some(OutputFormat::JsonSchema { name: Some(name), description, schema, strict }))
        }
    }
}

pub(in crate::dialect::openai) fn effort(member: Option<Raw<'_>>, path: &Path<'_>) -> Result<Option<Effort>, ApiError> {
    Ok(one_of(member, &["none", "minimal", "low", "medium", "high", "xhigh", "max"], path)?.and_then(Effort::from_name))
}

pub(in crate::dialect::openai) fn service_tier<'a>(member: Option<Raw<'_>>, path: &Path<'_>) -> Result<Option<Text<'a>>, ApiError> {
    Ok(one_of(member, &["auto", "default", "flex", "scale", "priority", "fast"], path)?.map(Text::from_escaped))
}

pub(in crate::dialect::openai) fn metadata<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Vec<(Text<'a>, Text<'a>)>, ApiError> {
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

pub(in crate::dialect::openai) fn is_object<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Option<Raw<'a>>, ApiError> {
    match member {
        Some(raw) if raw.kind() != Kind::Object => Err(wrong_type(path, "an object", raw.kind())),
        member => Ok(member),
    }
}

/// Whether the member is set; it must be a whole number, negative ones included.
pub(in crate::dialect::openai) fn is_whole(member: Option<Raw<'_>>, path: &Path<'_>) -> Result<bool, ApiError> {
    match member {
        None => Ok(false),
        Some(raw) if raw.number().is_some_and(|number| number.fract() == 0.0) => Ok(true),
        Some(raw) => Err(wrong_type(path, "an integer", raw.kind())),
    }
}

/// Whether an object has no members.
pub(in crate::dialect::openai) fn is_empty(object: Raw<'_>) -> bool {
    object.as_str().bytes().filter(|byte| !byte.is_ascii_whitespace()).take(2).eq(*b"{}")
}
