//! Reads a Responses request. What it means for a target, and what the target cannot do, is the target's dialect's business.
//!
//! Every member of the API is typed, listed in [`Request::unsupported`] where it would have an effect, or refused where leaving it out would betray the
//! client: work in the background, conversations and prompts that OpenAI keeps, tools that OpenAI runs, log probabilities. What the API does not define goes into
//! [`Request::extras`] as it stands. `previous_response_id` is not followed here: whoever keeps answers puts the items in front of `input` before.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/responses/create>.

mod echo;
mod input;
mod tool;

use std::borrow::Cow;

use super::Style;
use crate::chat::read::{
    self, Notes, Path, Shape, Stop, boolean, carried_object, filled_text, flat, integer, items, last_of_each, list, member, missing, number, object, one_of,
    required_text, text, wrong_type, wrong_value,
};
use crate::chat::{ApiError, Decoded, Extra, Message, OutputFormat, Part, Request, Role};
use crate::dialect::openai::downstream::request::{CacheOptions, cache_options, effort, is_object, metadata, service_tier};
use crate::wire::json::{Kind, Raw, Reader};
use input::Conversation;
use tool::Tools;

/// What a request may ask to be told beside the answer. All but the first two are about tools that OpenAI runs, of which there are none here.
const INCLUDES: &[&str] = &[
    "reasoning.encrypted_content",
    LOG_PROBABILITIES,
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];
const LOG_PROBABILITIES: &str = "message.output_text.logprobs";

/// Reads a request body: `{"model":"…","input":"…"|[…],…}`.
///
/// # Errors
/// 400. JSON that is broken: with the position in bytes. A member that is missing or wrong: with its path in `param`, `input[2].content[0].text`.
pub fn decode(body: &str) -> Result<Decoded<'_, Style>, ApiError> {
    let mut reading = Reading::default();
    read::body(body, |name, reader| reading.member(name, reader))?;
    reading.finish()
}

/// Refuses work in the background, for which there is nobody here to ask again.
///
/// # Errors
/// 400.
pub fn refuse_background(member: Option<Raw<'_>>) -> Result<(), ApiError> {
    let path = Path::Root.key("background");
    match boolean(member, &path)? {
        Some(true) => Err(wrong_value(&path, "responses are not made in the background here: leave it out, and wait for the answer or stream it")),
        _ => Ok(()),
    }
}

flat! {
    /// Every member of the API but the lists that are read in place.
    struct Wire {
        model: Raw<'a> = "model",
        instructions: Raw<'a> = "instructions",
        previous_response_id: Raw<'a> = "previous_response_id",
        store: Raw<'a> = "store",
        background: Raw<'a> = "background",
        conversation: Raw<'a> = "conversation",
        prompt: Raw<'a> = "prompt",
        stream: Raw<'a> = "stream",
        stream_options: Shape<StreamOptions<'a>> = "stream_options",
        include: Raw<'a> = "include",
        max_output_tokens: Raw<'a> = "max_output_tokens",
        max_tool_calls: Raw<'a> = "max_tool_calls",
        temperature: Raw<'a> = "temperature",
        top_p: Raw<'a> = "top_p",
        top_logprobs: Raw<'a> = "top_logprobs",
        truncation: Raw<'a> = "truncation",
        reasoning: Raw<'a> = "reasoning",
        text: Raw<'a> = "text",
        tools: Raw<'a> = "tools",
        tool_choice: Raw<'a> = "tool_choice",
        parallel_tool_calls: Raw<'a> = "parallel_tool_calls",
        metadata: Raw<'a> = "metadata",
        user: Raw<'a> = "user",
        safety_identifier: Raw<'a> = "safety_identifier",
        service_tier: Raw<'a> = "service_tier",
        moderation: Raw<'a> = "moderation",
        context_management: Raw<'a> = "context_management",
        prompt_cache_key: Raw<'a> = "prompt_cache_key",
        prompt_cache_retention: Raw<'a> = "prompt_cache_retention",
        prompt_cache_options: Shape<CacheOptions<'a>> = "prompt_cache_options",
    }
}

flat! {
    struct StreamOptions {
        include_obfuscation: Raw<'a> = "include_obfuscation",
    }
}

flat! {
    struct Reasoning {
        effort: Raw<'a> = "effort",
        summary: Raw<'a> = "summary",
        generate_summary: Raw<'a> = "generate_summary",
        mode: Raw<'a> = "mode",
        context: Raw<'a> = "context",
    }
}

flat! {
    struct TextWire {
        format: Shape<Format<'a>> = "format",
        verbosity: Raw<'a> = "verbosity",
    }
}

flat! {
    /// `{"type":"json_schema","name":"…","schema":{…}}`
    struct Format {
        kind: Raw<'a> = "type",
        name: Raw<'a> = "name",
        description: Raw<'a> = "description",
        schema: Raw<'a> = "schema",
        strict: Raw<'a> = "strict",
    }
}

/// A body half read: the input is what it will be, the rest is still as the client wrote it.
#[derive(Default)]
struct Reading<'a> {
    wire: Wire<'a>,
    /// `None` as long as there was none.
    conversation: Option<Conversation<'a>>,
    extras: Vec<Extra<'a>>,
}

impl<'a> Reading<'a> {
    fn member(&mut self, name: Cow<'a, str>, reader: &mut Reader<'a>) -> Result<(), Stop> {
        if name != "input" {
            return member(&mut self.wire, &mut self.extras, name, reader, &Path::Root);
        }
        let path = Path::Root.key("input");
        let mut conversation = Conversation::default();
        match reader.kind()? {
            Kind::String => {
                conversation.say(required_text(Some(reader.value()?), &path)?);
                self.conversation = Some(conversation);
            }
            Kind::Array | Kind::Null => {
                let is_list = list(reader, &path, |index, wire| conversation.push(wire, &path.item(index)))?;
                self.conversation = is_list.then_some(conversation);
            }
            kind => return Err(wrong_type(&path, "a string or an array of items", kind).into()),
        }
        Ok(())
    }

    /// Makes the request of what was read.
    fn finish(mut self) -> Result<Decoded<'a, Style>, ApiError> {
        let root = Path::Root;
        let model = filled_text(self.wire.model, &root.key("model"))?;
        self.refuse()?;
        let mut conversation = self.conversation.take().ok_or_else(|| missing(&root.key("input")))?;
        if conversation.messages.is_empty() {
            return Err(wrong_value(&root.key("input"), "it must hold at least one item"));
        }
        let mut notes = self.unsupported()?;
        notes.add_if(conversation.detail, "input[].content[].detail");
        notes.add_if(conversation.foreign, "input[].encrypted_content");
        let stream = self.stream(&mut notes)?;
        let (effort, summary) = self.reasoning(&mut notes)?;
        let output_format = self.text(&mut notes)?;
        let mut tools = Tools::read(self.wire.tools, &root.key("tools"))?;
        let tool_choice = self.wire.tool_choice.map(|raw| tools.choice(raw, &root.key("tool_choice"))).transpose()?;
        let lost = cache_options(self.wire.prompt_cache_options.take(), &mut conversation.messages, tools.list.iter_mut(), &root.key("prompt_cache_options"))?;
        notes.add_if(lost, "prompt_cache_options");
        let instructions = text(self.wire.instructions, &root.key("instructions"))?.filter(|text| !text.is_empty());
        let mut messages = conversation.messages;
        if let Some(text) = instructions {
            messages.insert(0, Message { role: Role::System, parts: vec![Part::Text(text)] });
        }
        let store = boolean(self.wire.store, &root.key("store"))?.unwrap_or(true);
        let style = Style { echo: echo::echo(&self.wire).into(), custom: tools.custom.into(), summary, store };
        let wire = self.wire;
        let request = Request {
            model,
            messages,
            tools: tools.list,
            tool_choice,
            parallel_tool_calls: boolean(wire.parallel_tool_calls, &root.key("parallel_tool_calls"))?,
            max_tokens: integer(wire.max_output_tokens, 1..=u64::MAX, &root.key("max_output_tokens"))?,
            temperature: number(wire.temperature, 0.0..=2.0, &root.key("temperature"))?.map(|(raw, _)| raw),
            top_p: number(wire.top_p, 0.0..=1.0, &root.key("top_p"))?.map(|(raw, _)| raw),
            output_format,
            effort,
            user: text(wire.safety_identifier, &root.key("safety_identifier"))?.or(text(wire.user, &root.key("user"))?).filter(|user| !user.is_empty()),
            service_tier: service_tier(wire.service_tier, &root.key("service_tier"))?,
            metadata: metadata(wire.metadata, &root.key("metadata"))?,
            unsupported: notes.0,
            extras: last_of_each(self.extras),
            ..Request::default()
        };
        Ok(Decoded { request, stream, style })
    }

    /// Members without which the answer would not be what the client takes it for.
    fn refuse(&self) -> Result<(), ApiError> {
        let wire = &self.wire;
        refuse_background(wire.background)?;
        if wire.conversation.is_some() {
            return Err(wrong_value(
                &Path::Root.key("conversation"),
                "conversations are not kept here: use 'previous_response_id', or send the items in 'input'",
            ));
        }
        if wire.prompt.is_some() {
            return Err(wrong_value(&Path::Root.key("prompt"), "prompts are kept by OpenAI: send 'instructions' and 'input'"));
        }
        let path = Path::Root.key("include");
        for (index, include) in items(wire.include, &path)?.into_iter().flatten().enumerate() {
            let path = path.item(index);
            if one_of(Some(include), INCLUDES, &path)? == Some(LOG_PROBABILITIES) {
                return Err(wrong_value(&path, "log probabilities are not supported"));
            }
        }
        Ok(())
    }

    /// The names of the members that would have an effect and cannot have it here. Their types are checked all the same.
    fn unsupported(&self) -> Result<Notes, ApiError> {
        let wire = &self.wire;
        let root = Path::Root;
        let mut notes = Notes::default();
        notes.add_if(integer(wire.top_logprobs, 0..=20, &root.key("top_logprobs"))?.is_some_and(|count| count > 0), "top_logprobs");
        // How many tokens a conversation has, and so what would have to go, only the model's provider knows.
        notes.add_if(one_of(wire.truncation, &["auto", "disabled"], &root.key("truncation"))? == Some("auto"), "truncation");
        notes.add_if(is_object(wire.moderation, &root.key("moderation"))?.is_some(), "moderation");
        notes.add_if(items(wire.context_management, &root.key("context_management"))?.is_some_and(|list| !list.is_empty()), "context_management");
        for (name, member) in [("prompt_cache_key", wire.prompt_cache_key), ("prompt_cache_retention", wire.prompt_cache_retention)] {
            notes.add_if(text(member, &root.key(name))?.is_some_and(|label| !label.is_empty()), name);
        }
        // It bounds calls of tools that OpenAI runs: there are none.
        integer(wire.max_tool_calls, 0..=u64::MAX, &root.key("max_tool_calls"))?;
        text(wire.previous_response_id, &root.key("previous_response_id"))?;
        Ok(notes)
    }

    /// Whether to stream; padding is not done here.
    fn stream(&mut self, notes: &mut Notes) -> Result<bool, ApiError> {
        let stream = boolean(self.wire.stream, &Path::Root.key("stream"))?.unwrap_or_default();
        let path = Path::Root.key("stream_options");
        if let Some(options) = object(self.wire.stream_options.take(), &path)? {
            if !stream {
                return Err(wrong_value(&path, "it is only allowed when 'stream' is true"));
            }
            notes.add_if(boolean(options.include_obfuscation, &path.key("include_obfuscation"))? == Some(true), "stream_options.include_obfuscation");
        }
        Ok(stream)
    }

    /// How hard to think, and whether thoughts are wanted as summaries.
    fn reasoning(&self, notes: &mut Notes) -> Result<(Option<crate::chat::Effort>, bool), ApiError> {
        let path = Path::Root.key("reasoning");
        let Some(raw) = self.wire.reasoning else { return Ok((None, false)) };
        let wire: Reasoning<'a> = read::members(raw, &path)?;
        const SUMMARIES: &[&str] = &["auto", "concise", "detailed"];
        let summary = one_of(wire.summary, SUMMARIES, &path.key("summary"))?.or(one_of(wire.generate_summary, SUMMARIES, &path.key("generate_summary"))?);
        notes.add_if(text(wire.mode, &path.key("mode"))?.is_some_and(|mode| mode != "standard"), "reasoning.mode");
        notes.add_if(text(wire.context, &path.key("context"))?.is_some_and(|context| context != "auto"), "reasoning.context");
        Ok((effort(wire.effort, &path.key("effort"))?, summary.is_some()))
    }

    fn text(&self, notes: &mut Notes) -> Result<Option<OutputFormat<'a>>, ApiError> {
        let path = Path::Root.key("text");
        let Some(raw) = self.wire.text else { return Ok(None) };
        let wire: TextWire<'a> = read::members(raw, &path)?;
        let verbosity = one_of(wire.verbosity, &["low", "medium", "high"], &path.key("verbosity"))?;
        notes.add_if(verbosity.is_some_and(|level| level != "medium"), "text.verbosity");
        let path = path.key("format");
        let Some(format) = object(wire.format, &path)? else { return Ok(None) };
        let kind_path = path.key("type");
        match one_of(format.kind, &["text", "json_object", "json_schema"], &kind_path)?.ok_or_else(|| missing(&kind_path))? {
            "text" => Ok(Some(OutputFormat::Text)),
            "json_object" => Ok(Some(OutputFormat::JsonObject)),
            _ => {
                let schema_path = path.key("schema");
                Ok(Some(OutputFormat::JsonSchema {
                    name: Some(filled_text(format.name, &path.key("name"))?),
                    description: text(format.description, &path.key("description"))?,
                    schema: carried_object(format.schema.ok_or_else(|| missing(&schema_path))?, &schema_path)?.into(),
                    strict: boolean(format.strict, &path.key("strict"))?,
                }))
            }
        }
    }
}
