//! A chat request as a Converse body: first everything is planned, then it is written once, from front to back, into one buffer.
//!
//! ```text
//! chat::Request ─▶ turns ─▶ thinking ─▶ tools ─▶ sampling ─▶ write ─▶ {"messages", "system", "inferenceConfig", "toolConfig", …}
//! ```
//!
//! Texts, schemas and base64 are moved as they stand. Members that the client did not set are not sent. Equal requests give equal bytes, and a longer
//! conversation begins with the bytes of the shorter one: prompt caches live on that.
//!
//! Follows `ConverseRequest` and `ConverseStreamRequest` of the service model; they differ in `guardrailConfig.streamProcessingMode` alone.

mod extras;
mod media;
mod thinking;
mod tools;
mod turns;

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::chat::{ApiError, Request, SearchResult};
use crate::wire::json::{Array, Object, Raw, Text, write_text, write_u64};

use crate::chat::capability::{Capabilities, SystemPrompt, TopK};
use crate::chat::fields::{Fields, Members, write_paths};
use crate::chat::names::ToolNames;
use crate::chat::turns::Mark;
use crate::chat::{Encoded, Ledger, Policy, Restore};
use crate::dialect::converse::Guardrail;
use extras::Extras;
use media::{Bytes, File};
use thinking::{Thinking, Wanted};
use tools::{Shape, Toolbox};
use turns::{Block, Content, Conversation, Media};

/// The most cache points in one request.
const MARKS_MAX: usize = 4;
/// The most pairs in `requestMetadata`, and the longest key and value.
const METADATA_MAX: usize = 16;
const METADATA_LENGTH_MAX: usize = 256;
/// The most `additionalModelResponseFieldPaths`.
const PATHS_MAX: usize = 10;
/// Members of `inferenceConfig`. Others under that name are Nova's own.
const INFERENCE_CONFIG: [&str; 4] = ["maxTokens", "temperature", "topP", "stopSequences"];

/// What the target of a request is like.
#[derive(Clone, Copy, Debug)]
pub struct Options<'o> {
    /// What the model takes.
    pub capabilities: &'o Capabilities,
    /// What to do with members that have no place.
    pub policy: Policy,
    /// `maxTokens` when the client does not say. Unset: the model's own.
    pub default_max_tokens: Option<u64>,
    /// The operator's guardrail.
    pub guardrail: Option<&'o Guardrail>,
    /// Whether the body is for ConverseStream.
    pub stream: bool,
}

/// Writes a chat request as a Converse body.
///
/// `{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5}` →
/// `{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"inferenceConfig":{"maxTokens":5}}`
///
/// # Errors
/// 400 naming the member, for what no model could read (an unknown image format, a URL), what cannot stand where it is (an image in an assistant message), and
/// what the policy refuses.
pub fn encode(request: &Request<'_>, options: &Options<'_>) -> Result<Encoded, ApiError> {
    let plan = Plan::new(request, options)?;
    let mut body = Vec::with_capacity(plan.size());
    Object::write(&mut body, |body| {
        plan.write_prompt(body, &plan.inference);
        plan.write_rest(body);
    });
    Ok(plan.into_encoded(body))
}

/// Writes the part of a chat request that takes input tokens as a CountTokens body.
///
/// `{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5}` →
/// `{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}}}`
///
/// # Errors
/// As [`encode`].
pub fn encode_count(request: &Request<'_>, options: &Options<'_>) -> Result<Encoded, ApiError> {
    let plan = Plan::new(request, options)?;
    let mut body = Vec::with_capacity(plan.size());
    Object::write(&mut body, |body| {
        body.object("input", |input| {
            input.object("converse", |converse| {
                plan.write_prompt(converse, &Fields::default());
                if !plan.fields.is_empty() {
                    plan.fields.write(converse.key("additionalModelRequestFields"));
                }
            });
        });
    });
    Ok(plan.into_encoded(body))
}

/// Everything that will be written.
struct Plan<'r> {
    conversation: Conversation<'r>,
    inference: Fields<'r>,
    toolbox: Toolbox<'r>,
    guardrail: Option<&'r Guardrail>,
    stream: bool,
    fields: Fields<'r>,
    /// What to ask for in `additionalModelResponseFieldPaths`.
    paths: Vec<&'static str>,
    metadata: Fields<'r>,
    service_tier: Option<&'static str>,
    effort: Option<&'static str>,
    extras: Extras<'r>,
    names: ToolNames<'r>,
    ledger: Ledger,
}

impl<'r> Plan<'r> {
    fn new(request: &'r Request<'_>, options: &Options<'r>) -> Result<Self, ApiError> {
        let takes = options.capabilities;
        let mut ledger = Ledger::new(options.policy);
        if request.messages.is_empty() {
            return Err(ApiError::invalid("messages", "messages must not be empty"));
        }
        for name in &request.unsupported {
            ledger.lose(name)?;
        }
        if request.user.is_some() {
            ledger.lose("user")?;
        }
        let mut extras = Extras::sort(request, options.policy.unknown, &mut ledger)?;
        if options.guardrail.is_some() && extras.guardrail_config.take().is_some() {
            ledger.note("guardrailConfig");
        }
        let names = ToolNames::of(request, tools::FORMAT_TOOL);
        let mut conversation = turns::plan(&request.messages, takes, &names, &mut ledger)?;

        let mut fields = Fields::default();
        let limit = request.max_tokens.or(options.default_max_tokens).or(takes.default_max_tokens);
        let wanted = Wanted {
            effort: request.effort,
            typed: request.thinking,
            extra: extras.field("thinking"),
            max_tokens: limit,
            lacks_thought: conversation.lacks_thought(),
        };
        let thinking = thinking::plan(&wanted, takes, &mut fields, &mut ledger)?;
        let mut toolbox = Toolbox::plan(request, takes, &names, &conversation, thinking.on, &mut ledger)?;
        if toolbox.one_at_a_time {
            fields.put("tool_choice", r#"{"type":"auto","disable_parallel_tool_use":true}"#);
        }
        if let Shape::Instruction(text) = &toolbox.shape {
            conversation.instruct(text.clone());
        }
        if takes.system == SystemPrompt::Prepended {
            conversation.prepend_system();
        }
        conversation.close(takes.prefill && !thinking.on);

        let mut inference = Fields::default();
        plan_inference(request, takes, &thinking, thinking.max_tokens.or(limit), &mut inference, &mut ledger)?;
        if let Some(top_k) = request.top_k {
            if thinking.alone {
                ledger.lose("top_k")?;
            } else {
                put_top_k(top_k, takes, &mut fields);
            }
        }
        place_extras(&extras, takes, &thinking, &mut inference, &mut fields, &mut ledger)?;

        conversation.limit_marks(toolbox.tools.iter_mut().map(|tool| &mut tool.mark), MARKS_MAX, &mut ledger);
        Ok(Plan {
            inference,
            guardrail: options.guardrail,
            stream: options.stream,
            paths: response_paths(request, takes, &thinking),
            metadata: plan_metadata(request, &extras, &mut ledger),
            service_tier: service_tier(request, &extras, &mut ledger)?,
            effort: thinking.effort,
            conversation,
            toolbox,
            fields,
            extras,
            names,
            ledger,
        })
    }

    /// About how many bytes the body takes; rather more, so that it is not moved while it grows.
    fn size(&self) -> usize {
        1024 + self.conversation.size + self.conversation.size / 32 + self.toolbox.size() * 2
    }

    /// What goes with the body.
    fn into_encoded(self, body: Vec<u8>) -> Encoded {
        let restore = Restore { names: self.names.into_restore(), format_tool: self.toolbox.format_tool, unwrap: self.toolbox.unwrap };
        Encoded { body, restore, dropped: self.ledger.into_dropped() }
    }

    /// Writes the first members, in the order of the service model.
    fn write_prompt(&self, body: &mut Object<'_>, inference: &Fields<'_>) {
        body.array("messages", |messages| {
            for turn in &self.conversation.turns {
                messages.object(|message| {
                    message.string("role", turn.speaker.role());
                    message.array("content", |content| write_blocks(content, &turn.blocks));
                });
            }
        });
        if !self.conversation.system.is_empty() {
            body.array("system", |system| write_blocks(system, &self.conversation.system));
        }
        if !inference.is_empty() {
            inference.write(body.key("inferenceConfig"));
        }
        if !self.toolbox.tools.is_empty() {
            body.object("toolConfig", |config| self.toolbox.write(config));
        }
    }

    fn write_rest(&self, body: &mut Object<'_>) {
        match (self.guardrail, self.extras.guardrail_config) {
            (Some(guardrail), _) => body.object("guardrailConfig", |config| write_guardrail(config, guardrail, self.stream)),
            (None, Some(theirs)) => body.raw("guardrailConfig", theirs.as_str()),
            (None, None) => {}
        }
        if !self.fields.is_empty() {
            self.fields.write(body.key("additionalModelRequestFields"));
        }
        if let Some(variables) = self.extras.prompt_variables {
            body.raw("promptVariables", variables.as_str());
        }
        if !self.paths.is_empty() || self.extras.response_paths.is_some() {
            write_paths(body.key("additionalModelResponseFieldPaths"), self.extras.response_paths, &self.paths, PATHS_MAX);
        }
        if !self.metadata.is_empty() {
            self.metadata.write(body.key("requestMetadata"));
        }
        if let Some(performance) = self.extras.performance_config {
            body.raw("performanceConfig", performance.as_str());
        }
        match (self.service_tier, self.extras.service_tier) {
            (Some(tier), _) => body.object("serviceTier", |service| service.string("type", tier)),
            (None, Some(theirs)) => body.raw("serviceTier", theirs.as_str()),
            (None, None) => {}
        }
        self.write_output_config(body);
    }

    fn write_output_config(&self, body: &mut Object<'_>) {
        let mut config = Fields::default();
        if let Shape::Native { schema, name, description } = &self.toolbox.shape {
            config.put("textFormat", text_format(schema, *name, *description));
        }
        if let Some(effort) = self.effort {
            config.put("effort", format!("\"{effort}\""));
        }
        if let Some(theirs) = self.extras.output_config.and_then(Members::of) {
            config.put_all(theirs);
        }
        if !config.is_empty() {
            config.write(body.key("outputConfig"));
        }
    }
}

/// Token limit, sampling and stop texts.
fn plan_inference(
    request: &Request<'_>,
    takes: &Capabilities,
    thinking: &Thinking,
    max_tokens: Option<u64>,
    inference: &mut Fields<'_>,
    ledger: &mut Ledger,
) -> Result<(), ApiError> {
    if let Some(max_tokens) = max_tokens {
        if thinking.alone {
            // A default of ours goes quietly.
            if request.max_tokens.is_some() {
                ledger.lose("max_tokens")?;
            }
        } else {
            let mut number = Vec::with_capacity(8);
            write_u64(&mut number, max_tokens);
            inference.put("maxTokens", String::from_utf8(number).unwrap_or_default());
        }
    }
    let sampling = takes.sampling && !thinking.alone && !thinking.on;
    if let Some(temperature) = request.temperature {
        let value = temperature.number();
        if sampling {
            // OpenAI goes up to 2, Converse to 1.
            let json = if value.is_some_and(|value| value > 1.0) { "1" } else { temperature.as_str() };
            inference.put("temperature", json.to_owned());
        } else if !(thinking.on && value == Some(1.0)) {
            ledger.lose("temperature")?;
        }
    }
    if let Some(top_p) = request.top_p {
        if sampling && (takes.temperature_with_top_p || request.temperature.is_none()) {
            inference.put("topP", top_p.as_str().to_owned());
        } else {
            ledger.lose("top_p")?;
        }
    }
    let stop: Vec<&Text<'_>> = request.stop.iter().filter(|text| !text.is_blank()).collect();
    if request.stop.iter().any(|text| text.is_blank() && !text.is_empty()) || (!stop.is_empty() && !takes.stop) {
        ledger.lose("stop")?;
    }
    if !stop.is_empty() && takes.stop {
        let mut texts = Vec::new();
        Array::write(&mut texts, |array| stop.iter().for_each(|text| array.text(text)));
        inference.put("stopSequences", String::from_utf8(texts).unwrap_or_default());
    }
    Ok(())
}

/// Puts the client's extras over what was planned.
fn place_extras<'r>(
    extras: &Extras<'r>,
    takes: &Capabilities,
    thinking: &Thinking,
    inference: &mut Fields<'r>,
    fields: &mut Fields<'r>,
    ledger: &mut Ledger,
) -> Result<(), ApiError> {
    for (name, value) in &extras.fields {
        if **name == "top_k" {
            put_top_k(*value, takes, fields);
        } else {
            fields.put(name.escaped(), value.as_str());
        }
    }
    if let Some(Members(members)) = extras.inference_config.and_then(Members::of) {
        for (name, value) in members {
            if INFERENCE_CONFIG.iter().any(|known| name == *known) {
                inference.put(name.into_escaped(), value.as_str());
            } else {
                fields.put("inferenceConfig", format!(r#"{{"{}":{}}}"#, name.escaped(), value.as_str()));
            }
        }
    }
    if let Some(additional) = extras.additional.and_then(Members::of) {
        fields.put_all(additional);
    }
    if let Some(mend) = thinking.mend {
        fields.replace("thinking", mend.json());
    }
    if thinking.forget {
        fields.remove("thinking");
    }
    if (!takes.sampling || (thinking.on && takes.anthropic_fields)) && fields.remove("top_k") {
        ledger.lose("top_k")?;
    }
    Ok(())
}

/// Puts top-k where the family has it.
fn put_top_k<'r>(value: Raw<'r>, takes: &Capabilities, fields: &mut Fields<'r>) {
    match takes.top_k {
        TopK::Plain => fields.put("top_k", value.as_str()),
        TopK::InferenceConfig => fields.put("inferenceConfig", format!(r#"{{"topK":{}}}"#, value.as_str())),
    }
}

/// What the answer should tell beyond Converse's own members, where the family can. Only what a caller gets to see is asked for: its own paths go along too.
fn response_paths(request: &Request<'_>, takes: &Capabilities, thinking: &Thinking) -> Vec<&'static str> {
    // A path that the model's answer does not have is ignored, says the service model.
    let wanted = [("/stop_sequence", request.tells_stop), ("/usage/output_tokens_details", takes.anthropic_fields && thinking.on)];
    wanted.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(path, _)| path).collect()
}

/// `metadata` as `requestMetadata`: the pairs that fit, and the client's own over them.
fn plan_metadata<'r>(request: &'r Request<'_>, extras: &Extras<'r>, ledger: &mut Ledger) -> Fields<'r> {
    let mut metadata = Fields::default();
    let mut room = METADATA_MAX;
    for (key, value) in &request.metadata {
        let plain = key.unescape();
        if room > 0 && !plain.is_empty() && is_metadata(&plain) && is_metadata(&value.unescape()) {
            room -= 1;
            let mut json = Vec::with_capacity(value.escaped().len() + 2);
            write_text(&mut json, value);
            metadata.put(key.escaped(), String::from_utf8(json).unwrap_or_default());
        } else {
            ledger.note("metadata");
        }
    }
    if let Some(theirs) = extras.request_metadata.and_then(Members::of) {
        metadata.put_all(theirs);
    }
    metadata
}

/// Characters and length that `RequestMetadata` takes.
fn is_metadata(text: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '\t' | '\n' | '\r' | ':' | '_' | '@' | '$' | '#' | '=' | '/' | '+' | ',' | '-' | '.');
    text.len() <= METADATA_LENGTH_MAX && text.chars().all(allowed)
}

/// OpenAI's tier in Bedrock's words. `auto` and `scale` have none: Bedrock's default is theirs.
fn service_tier(request: &Request<'_>, extras: &Extras<'_>, ledger: &mut Ledger) -> Result<Option<&'static str>, ApiError> {
    if extras.service_tier.is_some() {
        return Ok(None);
    }
    let Some(tier) = &request.service_tier else { return Ok(None) };
    match tier.unescape().as_ref() {
        "auto" | "scale" => Ok(None),
        "default" | "standard" => Ok(Some("default")),
        "flex" => Ok(Some("flex")),
        "priority" | "fast" => Ok(Some("priority")),
        "reserved" => Ok(Some("reserved")),
        _ => ledger.lose("service_tier").map(|()| None),
    }
}

/// `outputConfig.textFormat`. The schema is a string that holds JSON.
fn text_format(schema: &str, name: Option<&Text<'_>>, description: Option<&Text<'_>>) -> String {
    let mut out = Vec::with_capacity(schema.len() + schema.len() / 4 + 128);
    Object::write(&mut out, |format| {
        format.raw("type", r#""json_schema""#);
        format.object("structure", |structure| {
            structure.object("jsonSchema", |shape| {
                shape.string("schema", schema);
                if let Some(name) = name {
                    shape.text("name", name);
                }
                if let Some(description) = description {
                    shape.text("description", description);
                }
            });
        });
    });
    String::from_utf8(out).unwrap_or_default()
}

/// An operator's guardrail as the value of `guardrailConfig`, for requests that are not written here.
#[must_use]
pub fn guardrail_config(guardrail: &Guardrail, stream: bool) -> String {
    let mut out = Vec::with_capacity(128);
    Object::write(&mut out, |config| write_guardrail(config, guardrail, stream));
    String::from_utf8(out).unwrap_or_default()
}

fn write_guardrail(config: &mut Object<'_>, guardrail: &Guardrail, stream: bool) {
    config.string("guardrailIdentifier", &guardrail.identifier);
    config.string("guardrailVersion", &guardrail.version);
    if let Some(trace) = &guardrail.trace {
        config.string("trace", trace);
    }
    if let Some(mode) = guardrail.stream_processing_mode.as_ref().filter(|_| stream) {
        config.string("streamProcessingMode", mode);
    }
}

fn write_blocks(out: &mut Array<'_>, blocks: &[Block<'_>]) {
    for block in blocks {
        out.object(|object| write_content(object, &block.content));
        if let Some(mark) = block.mark {
            out.object(|point| write_mark(point, mark));
        }
    }
}

/// Writes a block, or a piece of a tool result: what both can hold looks the same.
fn write_content(block: &mut Object<'_>, content: &Content<'_>) {
    match content {
        Content::Text(text) => write_escaped(block.key("text"), text),
        Content::Media(Media::Picture(picture)) => write_media(block, "image", picture.format, picture.bytes),
        Content::Media(Media::File(file)) => write_file(block, file),
        Content::Media(Media::Sound(sound)) => write_media(block, "audio", sound.format, sound.bytes),
        Content::Media(Media::Search(found)) => write_search(block, found),
        Content::Media(Media::Json(json)) => block.raw("json", json),
        Content::ToolUse { id, name, input } => block.object("toolUse", |used| {
            write_escaped(used.key("toolUseId"), id);
            write_escaped(used.key("name"), name);
            used.raw("input", input);
        }),
        Content::ToolResult { id, items, failed } => block.object("toolResult", |result| {
            write_escaped(result.key("toolUseId"), id);
            result.array("content", |content| items.iter().for_each(|item| content.object(|object| write_content(object, item))));
            if let Some(failed) = failed {
                result.raw("status", if *failed { r#""error""# } else { r#""success""# });
            }
        }),
        Content::Thought(thought) => block.object("reasoningContent", |content| {
            content.object("reasoningText", |text| {
                text.text("text", &thought.text);
                if let Some(signature) = &thought.signature {
                    text.text("signature", signature);
                }
            });
        }),
        Content::Redacted(bytes) => block.object("reasoningContent", |content| content.text("redactedContent", bytes)),
    }
}

fn write_media(block: &mut Object<'_>, kind: &str, format: &str, bytes: Bytes<'_>) {
    block.object(kind, |media| {
        media.string("format", format);
        media.object("source", |source| write_source(source, bytes));
    });
}

fn write_file(block: &mut Object<'_>, file: &File<'_>) {
    block.object("document", |document| {
        document.string("format", file.format);
        document.string("name", &file.name);
        document.object("source", |source| write_source(source, file.bytes));
        if let Some(context) = file.context {
            document.text("context", context);
        }
        write_citations(document, file.citations);
    });
}

fn write_search(block: &mut Object<'_>, found: &SearchResult<'_>) {
    block.object("searchResult", |result| {
        result.text("source", &found.source);
        result.text("title", &found.title);
        result.array("content", |content| write_texts(content, &found.content));
        write_citations(result, found.citations);
    });
}

fn write_citations(object: &mut Object<'_>, enabled: Option<bool>) {
    if let Some(enabled) = enabled {
        object.object("citations", |citations| citations.bool("enabled", enabled));
    }
}

/// `{"text":"…"}`, of every text that is not blank.
fn write_texts(array: &mut Array<'_>, texts: &[Text<'_>]) {
    texts.iter().filter(|text| !text.is_blank()).for_each(|text| array.object(|item| item.text("text", text)));
}

fn write_source(source: &mut Object<'_>, bytes: Bytes<'_>) {
    match bytes {
        Bytes::Base64(text) => source.text("bytes", text),
        Bytes::Plain(text) => source.string("bytes", &STANDARD.encode(text.unescape().as_bytes())),
        Bytes::Passages(texts) => source.array("content", |content| write_texts(content, texts)),
        Bytes::Joined(texts) => {
            let plain: Vec<_> = texts.iter().map(Text::unescape).collect();
            source.string("bytes", &STANDARD.encode(plain.join("\n\n")));
        }
        Bytes::S3(uri) => source.object("s3Location", |location| location.text("uri", uri)),
    }
}

fn write_mark(point: &mut Object<'_>, mark: Mark) {
    point.object("cachePoint", |point| {
        point.raw("type", r#""default""#);
        if let Some(ttl) = mark.ttl {
            point.string("ttl", ttl);
        }
    });
}

/// Appends a string that is escaped already.
fn write_escaped(out: &mut Vec<u8>, escaped: &str) {
    out.push(b'"');
    out.extend_from_slice(escaped.as_bytes());
    out.push(b'"');
}
