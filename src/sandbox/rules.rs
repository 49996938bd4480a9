//! What Bedrock asks of a conversation beyond the service model: turns, tools, files, caching, reasoning, and what a model family does not take.
//!
//! All of it in one file, in the words of AWS where those are known. The first broken rule is told, with the member's path. Bodies come here after
//! [`super::shapes`], so members have the right types; where one is missing nothing is checked.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> and the pages behind it; what those leave out is known from
//! reports of users. Nothing was measured on AWS.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::family::Family;
use super::seal;

const MOST_IMAGES: usize = 20;
const MOST_DOCUMENTS: usize = 5;
pub(super) const MOST_CACHE_POINTS: usize = 4;
/// 3.75 MB.
const MOST_IMAGE_BYTES: usize = 3_932_160;
/// 4.5 MB.
const MOST_DOCUMENT_BYTES: usize = 4_718_592;
pub(super) const LEAST_THINKING_BUDGET: u64 = 1024;

/// What `additionalModelRequestFields` may hold for Claude: the members of the Messages API that Converse has no place for.
const CLAUDE_FIELDS: [&str; 11] = [
    "anthropic_beta",
    "anthropic_version",
    "cache_control",
    "container",
    "context_management",
    "metadata",
    "output_config",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
];

pub(super) type Checked = Result<(), Failure>;

pub(super) fn refuse(text: impl Into<String>) -> Checked {
    Err(Failure::validation(text.into()))
}

/// Checks the body of Converse and ConverseStream, or the `converse` member of CountTokens.
///
/// # Errors
/// The refusal, nearly always a `ValidationException`.
pub(super) fn check(body: &Value, family: Family) -> Checked {
    let request = Request { body, family, messages: items(body, "messages") };
    request.check_system()?;
    request.check_turns()?;
    for (index, message) in request.messages.iter().enumerate() {
        request.check_message(index, message)?;
    }
    request.check_tool_pairs()?;
    request.check_tool_config()?;
    request.check_files()?;
    request.check_cache_points()?;
    request.check_last_turn()?;
    request.check_inference()?;
    request.check_output_config()?;
    request.check_guardrail()?;
    request.check_additional_fields()?;
    request.check_thinking()
}

struct Request<'r> {
    body: &'r Value,
    family: Family,
    messages: &'r [Value],
}

impl<'r> Request<'r> {
    fn additional(&self) -> &'r Value {
        &self.body["additionalModelRequestFields"]
    }

    fn check_system(&self) -> Checked {
        let system = items(self.body, "system");
        if !system.is_empty() && !self.family.takes_system() {
            return refuse("This model doesn't support the system field. Remove system and try again.");
        }
        for (index, block) in system.iter().enumerate() {
            if text(block, "text").is_some_and(is_blank) {
                return refuse(format!(
                    "The text field in the SystemContentBlock object at system.{index} is blank. Add text to the text field, and try again."
                ));
            }
        }
        Ok(())
    }

    /// Turns alternate and the user begins. Messages of the role `system` stand between turns.
    fn check_turns(&self) -> Checked {
        let roles = || self.messages.iter().filter_map(|message| text(message, "role")).filter(|role| *role != "system");
        match roles().next() {
            None => return refuse("The messages field is empty. Add a Message object to the messages field and try again."),
            Some("user") => {}
            Some(_) => return refuse("A conversation must start with a user message. Try again with a conversation that starts with a user message."),
        }
        if roles().zip(roles().skip(1)).any(|(one, next)| one == next) {
            return refuse(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.",
            );
        }
        Ok(())
    }

    fn check_message(&self, index: usize, message: &Value) -> Checked {
        let role = text(message, "role").unwrap_or_default();
        let content = items(message, "content");
        if content.is_empty() {
            return refuse(format!(
                "The content field in the Message object at messages.{index} is empty. Add a ContentBlock object to the content field and try again."
            ));
        }
        let mut seen = Seen::default();
        for (block_index, block) in content.iter().enumerate() {
            let place = format!("messages.{index}.content.{block_index}");
            let Some((kind, value)) = member(block) else { continue };
            check_role(role, kind, &place)?;
            seen.check_order(role, kind, &place)?;
            self.check_block(kind, value, &place)?;
        }
        if seen.document && !seen.text {
            return refuse(format!("messages.{index}.content: a message with a document must also have a text block that says what to do with it."));
        }
        Ok(())
    }

    fn check_block(&self, kind: &str, value: &Value, place: &str) -> Checked {
        match kind {
            "text" if value.as_str().is_some_and(is_blank) => {
                refuse(format!("The text field in the ContentBlock object at {place} is blank. Add text to the text field, and try again."))
            }
            "toolUse" if !value["input"].is_object() => {
                refuse(format!("The format of the value at {place}.toolUse.input is invalid. Provide a json object for the field and try again."))
            }
            "toolResult" => self.check_tool_result(value, place),
            "image" if !self.family.takes_images() => refuse(format!("This model doesn't support the image content block that you provided at {place}.")),
            "image" => check_image(value, place),
            "document" => check_document(value, place),
            "video" if matches!(self.family, Family::Claude(..)) => {
                refuse(format!("This model doesn't support the video content block that you provided at {place}."))
            }
            "reasoningContent" => self.check_reasoning(value, place),
            _ => Ok(()),
        }
    }

    fn check_tool_result(&self, result: &Value, place: &str) -> Checked {
        for (index, block) in items(result, "content").iter().enumerate() {
            let place = format!("{place}.toolResult.content.{index}");
            let Some((kind, value)) = member(block) else { continue };
            match kind {
                "text" if value.as_str().is_some_and(is_blank) => {
                    return refuse(format!(
                        "The text field in the ToolResultContentBlock object at {place} is blank. Add text to the text field, and try again."
                    ));
                }
                "json" => match value.as_object() {
                    None => return refuse(format!("The format of the value at {place}.json is invalid. Provide a json object for the field and try again.")),
                    Some(object) if object.contains_key("") || object.contains_key("__type") => {
                        return refuse(format!("The value at {place}.json has a key that is reserved: '' or '__type'."));
                    }
                    Some(_) => {}
                },
                "image" if !self.family.takes_result_images() => return refuse(format!("This model doesn't support images in tool results: {place}.")),
                "image" => check_image(value, &place)?,
                "document" => check_document(value, &place)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_reasoning(&self, block: &Value, place: &str) -> Checked {
        if let Some(redacted) = text(block, "redactedContent") {
            if STANDARD.decode(redacted).is_ok_and(|bytes| seal::is_redacted(&bytes)) {
                return Ok(());
            }
            return refuse(format!("The redactedContent at {place} is not what the model sent: it must come back byte for byte."));
        }
        let reasoning = &block["reasoningText"];
        let written = text(reasoning, "text").unwrap_or_default();
        match text(reasoning, "signature") {
            Some(_) if !self.family.signs_reasoning() => refuse(format!("This model doesn't support the reasoningText.signature field at {place}.")),
            Some(signature) if signature == seal::signature(written) => Ok(()),
            Some(_) => refuse(format!("{place}: Invalid `signature` in `thinking` block")),
            None if self.family.demands_signature() => refuse(format!("{place}: thinking.signature: Field required")),
            None if is_blank(written) => refuse(format!("The text field in the ReasoningTextBlock object at {place} is blank.")),
            None => Ok(()),
        }
    }

    /// Every toolUse is answered in the very next user turn, and every toolResult answers one.
    fn check_tool_pairs(&self) -> Checked {
        let mut open: Vec<&str> = Vec::new();
        let mut all = HashSet::new();
        for (index, message) in self.messages.iter().enumerate().filter(|(_, message)| text(message, "role") != Some("system")) {
            let content = items(message, "content");
            let results: Vec<&str> = content.iter().filter_map(|block| text(&block["toolResult"], "toolUseId")).collect();
            let unanswered: Vec<&str> = open.iter().filter(|id| !results.contains(id)).copied().collect();
            if !unanswered.is_empty() {
                return refuse(format!("Expected toolResult blocks at messages.{index}.content for the following Ids: {}", unanswered.join(", ")));
            }
            if results.len() > open.len() {
                return refuse(format!("The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of previous turn."));
            }
            open = content.iter().filter_map(|block| text(&block["toolUse"], "toolUseId")).collect();
            if let Some(twice) = open.iter().find(|id| !all.insert(**id)) {
                return refuse(format!("messages.{index}.content: `tool_use` ids must be unique: '{twice}'"));
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        refuse(format!("Expected toolResult blocks at messages.{}.content for the following Ids: {}", self.messages.len(), open.join(", ")))
    }

    fn check_tool_config(&self) -> Checked {
        let Some(config) = self.body.get("toolConfig") else {
            let blocks = self.messages.iter().flat_map(|message| items(message, "content"));
            if blocks.filter_map(member).any(|(kind, _)| matches!(kind, "toolUse" | "toolResult")) {
                return refuse("The toolConfig field must be defined when using toolUse and toolResult content blocks.");
            }
            return Ok(());
        };
        if !self.family.takes_tools() {
            return refuse("This model doesn't support tool use.");
        }
        let mut names = HashSet::new();
        for (index, tool) in items(config, "tools").iter().enumerate() {
            let place = format!("toolConfig.tools.{index}");
            if let Some(name) = text(&tool["toolSpec"], "name").or_else(|| text(&tool["systemTool"], "name"))
                && !names.insert(name)
            {
                return refuse(format!("The tool name '{name}' at {place} is not unique. Tool names must be unique."));
            }
            if let Some(spec) = tool.get("toolSpec") {
                self.check_tool_spec(spec, &place)?;
            }
        }
        if names.is_empty() {
            return refuse("The toolConfig.tools field must have at least one tool.");
        }
        self.check_tool_choice(&config["toolChoice"], &names)
    }

    fn check_tool_spec(&self, spec: &Value, place: &str) -> Checked {
        let schema = &spec["inputSchema"]["json"];
        if !schema.is_object() {
            return refuse(format!(
                "The format of the value at {place}.toolSpec.inputSchema.json is invalid. Provide a json object for the field and try again."
            ));
        }
        if schema["type"] != "object" {
            return refuse(format!("The value at {place}.toolSpec.inputSchema.json.type must be one of the following: object."));
        }
        if text(spec, "description").is_some_and(is_blank) {
            return refuse(format!("The description field at {place}.toolSpec is blank."));
        }
        if spec.get("strict").is_some() && !self.family.takes_text_format() {
            return refuse(format!("This model doesn't support the strict field at {place}.toolSpec."));
        }
        Ok(())
    }

    fn check_tool_choice(&self, choice: &Value, names: &HashSet<&str>) -> Checked {
        let Some((kind, value)) = member(choice) else { return Ok(()) };
        let taken = match kind {
            "any" => self.family.takes_any_tool(),
            "tool" => self.family.takes_named_tool(),
            _ => true,
        };
        if !taken || (kind != "auto" && !self.family.lets_thinking_off()) {
            return refuse(format!("This model doesn't support the toolConfig.toolChoice.{kind} field. Remove toolConfig.toolChoice.{kind} and try again."));
        }
        if let Some(name) = text(value, "name").filter(|name| !names.contains(name)) {
            return refuse(format!("The tool '{name}' at toolConfig.toolChoice.tool is not one of toolConfig.tools."));
        }
        if self.additional().get("tool_choice").is_some() {
            return refuse("The model returned the following errors: tool_choice is set in toolConfig and in additionalModelRequestFields.");
        }
        Ok(())
    }

    /// How many images and documents there are, and whether documents have names of their own.
    fn check_files(&self) -> Checked {
        let blocks = self.messages.iter().flat_map(|message| items(message, "content"));
        let all = blocks.flat_map(|block| std::iter::once(block).chain(items(&block["toolResult"], "content")));
        let (mut images, mut names) = (0, HashSet::new());
        for (kind, value) in all.filter_map(member) {
            match kind {
                "image" => images += 1,
                "document" if !names.insert(text(value, "name")) => return refuse("Messages can not contain duplicate document names."),
                _ => {}
            }
        }
        if images > MOST_IMAGES {
            return refuse(format!("Too many images: {images}. A request takes at most {MOST_IMAGES} images."));
        }
        if names.len() > MOST_DOCUMENTS {
            return refuse(format!("Too many documents: {}. A request takes at most {MOST_DOCUMENTS} documents.", names.len()));
        }
        Ok(())
    }

    fn check_cache_points(&self) -> Checked {
        let lists = [("toolConfig.tools".to_owned(), items(&self.body["toolConfig"], "tools")), ("system".to_owned(), items(self.body, "system"))];
        let turns = self.messages.iter().enumerate().map(|(index, message)| (format!("messages.{index}.content"), items(message, "content")));
        let mut count = 0;
        for (place, list) in lists.into_iter().chain(turns) {
            for (index, point) in list.iter().enumerate().filter_map(|(index, block)| Some((index, block.get("cachePoint")?))) {
                count += 1;
                if index == 0 {
                    return refuse(format!("The cachePoint at {place}.0 must follow the content that it caches."));
                }
                if !self.family.takes_cache_points() || (place == "toolConfig.tools" && !self.family.takes_tool_cache_points()) {
                    let text = "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more information.";
                    return Err(Failure::new("AccessDenied", text));
                }
                if point.get("ttl").is_some() && !self.family.takes_cache_ttl() {
                    return refuse(format!("This model doesn't support the ttl field of the cachePoint at {place}.{index}."));
                }
            }
        }
        if count > MOST_CACHE_POINTS {
            return refuse(format!(
                "The model returned the following errors: A maximum of {MOST_CACHE_POINTS} blocks with cache_control may be provided. Found {count}."
            ));
        }
        Ok(())
    }

    /// A last turn of the assistant's is the beginning of the answer.
    fn check_last_turn(&self) -> Checked {
        let Some(last) = self.messages.last().filter(|last| text(last, "role") == Some("assistant")) else { return Ok(()) };
        if !self.family.takes_prefill() || self.thinking().is_some() {
            return refuse("This model does not support assistant message prefill. The conversation must end with a user message.");
        }
        let written = items(last, "content").iter().rev().find_map(|block| text(block, "text"));
        if written.is_some_and(|written| written.ends_with(char::is_whitespace)) {
            return refuse("The model returned the following errors: messages: final assistant content cannot end with trailing whitespace");
        }
        Ok(())
    }

    fn check_inference(&self) -> Checked {
        let config = &self.body["inferenceConfig"];
        let (temperature, top_p) = (config.get("temperature").is_some(), config.get("topP").is_some());
        if (temperature || top_p) && !self.family.takes_sampling() {
            return refuse("The model returned the following errors: `temperature` and `top_p` are not supported on this model.");
        }
        if temperature && top_p && !self.family.takes_temperature_with_top_p() {
            return refuse("The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model. Please use only one.");
        }
        let stops = items(config, "stopSequences");
        if !stops.is_empty() && !self.family.takes_stop_sequences() {
            return refuse("This model doesn't support the stopSequences field. Remove stopSequences and try again.");
        }
        if let Some(index) = stops.iter().position(|stop| stop.as_str().is_some_and(is_blank)) {
            return refuse(format!(
                "The model returned the following errors: stop_sequences.{index}: each stop sequence must contain non-whitespace (inferenceConfig.stopSequences.{index})"
            ));
        }
        Ok(())
    }

    fn check_output_config(&self) -> Checked {
        let config = &self.body["outputConfig"];
        if let Some(effort) = text(config, "effort") {
            if !self.family.takes_effort() {
                return refuse("This model doesn't support the outputConfig.effort field. Remove outputConfig.effort and try again.");
            }
            if !["low", "medium", "high", "xhigh", "max"].contains(&effort) {
                return refuse(format!("The value '{effort}' at outputConfig.effort must be one of the following: low, medium, high, xhigh, max."));
            }
        }
        let Some(schema) = text(&config["textFormat"]["structure"]["jsonSchema"], "schema") else { return Ok(()) };
        if !self.family.takes_text_format() {
            return refuse("This model doesn't support the outputConfig.textFormat field. Remove outputConfig.textFormat and try again.");
        }
        let place = "outputConfig.textFormat.structure.jsonSchema.schema";
        match serde_json::from_str::<Value>(schema) {
            Ok(schema) if is_open(&schema) => {
                refuse(format!("The model returned the following errors: {place}: For 'object' type, 'additionalProperties' must be explicitly set to false"))
            }
            Ok(schema) if schema.is_object() => Ok(()),
            Ok(_) => refuse(format!("The value at {place} must be the text of a json object.")),
            Err(error) => refuse(format!("The value at {place} is not json: {error}.")),
        }
    }

    fn check_guardrail(&self) -> Checked {
        let Some(config) = self.body.get("guardrailConfig") else { return Ok(()) };
        let given = |name| text(config, name).is_some_and(|text| !text.is_empty());
        if given("guardrailIdentifier") && given("guardrailVersion") {
            return Ok(());
        }
        refuse("The guardrailConfig field must have both guardrailIdentifier and guardrailVersion.")
    }

    fn check_additional_fields(&self) -> Checked {
        let fields = match self.additional() {
            Value::Null => return Ok(()),
            Value::Object(fields) => fields,
            _ => return refuse("The format of the value at additionalModelRequestFields is invalid. Provide a json object for the field and try again."),
        };
        let taken: fn(&str) -> bool = match self.family {
            Family::Claude(..) => |name| CLAUDE_FIELDS.contains(&name),
            Family::Nova | Family::Nova2 => |name| matches!(name, "inferenceConfig" | "reasoningConfig"),
            Family::Unknown => |_| true,
            _ => |name| name != "thinking",
        };
        match fields.keys().find(|name| !taken(name)) {
            Some(name) => {
                refuse(format!("The model returned the following errors: {name}: Extra inputs are not permitted (additionalModelRequestFields.{name})"))
            }
            None => self.check_nova_reasoning(fields),
        }
    }

    fn check_nova_reasoning(&self, fields: &Map<String, Value>) -> Checked {
        let Some(reasoning) = fields.get("reasoningConfig").filter(|_| matches!(self.family, Family::Nova | Family::Nova2)) else { return Ok(()) };
        if self.family == Family::Nova {
            return refuse("This model doesn't support reasoningConfig.");
        }
        let config = &self.body["inferenceConfig"];
        if text(reasoning, "maxReasoningEffort") == Some("high")
            && let Some(name) = ["maxTokens", "temperature", "topP"].iter().find(|name| config.get(**name).is_some())
        {
            return refuse(format!("inferenceConfig.{name} must not be set when reasoningConfig.maxReasoningEffort is high."));
        }
        Ok(())
    }

    /// The thinking that the request asks for, unless it is off.
    fn thinking(&self) -> Option<&'r Value> {
        self.additional().get("thinking").filter(|thinking| thinking["type"] != "disabled")
    }

    fn check_thinking(&self) -> Checked {
        let errors = |text: &str| refuse(format!("The model returned the following errors: {text}"));
        if self.additional()["thinking"]["type"] == "disabled" && !self.family.lets_thinking_off() {
            return errors("thinking.type: \"disabled\" is not supported on this model");
        }
        let Some(thinking) = self.thinking() else { return Ok(()) };
        match text(thinking, "type") {
            Some("enabled") if self.family.takes_thinking_budget() => self.check_budget(thinking)?,
            Some("adaptive") if self.family.takes_adaptive_thinking() => {}
            Some(kind @ ("enabled" | "adaptive")) => return errors(&format!("thinking.type: \"{kind}\" is not supported on this model")),
            _ => return errors("thinking.type: Input should be 'enabled', 'adaptive' or 'disabled'"),
        }
        if let Some((kind @ ("any" | "tool"), _)) = member(&self.body["toolConfig"]["toolChoice"]) {
            return errors(&format!("Thinking may not be enabled when tool_choice forces tool use (toolConfig.toolChoice.{kind})."));
        }
        let config = &self.body["inferenceConfig"];
        if config["temperature"].as_f64().is_some_and(|temperature| temperature < 1.0) {
            return errors("`temperature` may only be set to 1 when thinking is enabled (inferenceConfig.temperature).");
        }
        if config["topP"].as_f64().is_some_and(|top_p| top_p < 0.95) {
            return errors("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled (inferenceConfig.topP).");
        }
        if self.additional().get("top_k").is_some() {
            return errors("`top_k` must be unset when thinking is enabled (additionalModelRequestFields.top_k).");
        }
        Ok(())
    }

    fn check_budget(&self, thinking: &Value) -> Checked {
        let Some(budget) = thinking["budget_tokens"].as_u64() else {
            return refuse("The model returned the following errors: thinking.enabled.budget_tokens: Field required");
        };
        if budget < LEAST_THINKING_BUDGET {
            return refuse(format!(
                "The model returned the following errors: thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_THINKING_BUDGET}"
            ));
        }
        if self.body["inferenceConfig"]["maxTokens"].as_u64().is_some_and(|most| most <= budget) {
            return refuse("The model returned the following errors: `max_tokens` must be greater than `thinking.budget_tokens`.");
        }
        // While tools run, the turn that called them must still begin with the reasoning that led to the call.
        let Some(called) = self.messages.iter().rev().find(|message| text(message, "role") == Some("assistant")) else { return Ok(()) };
        let answered = self.messages.last().is_some_and(|last| items(last, "content").iter().any(|block| block.get("toolResult").is_some()));
        let first = items(called, "content").first().and_then(member).map(|(kind, _)| kind);
        if answered && self.family.demands_signature() && first != Some("reasoningContent") {
            return refuse(
                "The model returned the following errors: Expected `thinking` or `redacted_thinking`. When `thinking` is enabled, a final `assistant` message \
                 must start with a thinking block.",
            );
        }
        Ok(())
    }
}

/// What a turn has shown so far.
#[derive(Default)]
struct Seen {
    text: bool,
    document: bool,
    /// Something other than reasoning.
    content: bool,
    tool_use: bool,
}

impl Seen {
    /// Reasoning comes first in an assistant's turn, tool calls last.
    fn check_order(&mut self, role: &str, kind: &str, place: &str) -> Checked {
        match kind {
            "reasoningContent" if self.content => return refuse(format!("The reasoningContent block at {place} must come before all other content.")),
            "text" if role == "assistant" && self.tool_use => return refuse(format!("The text block at {place} must come before the toolUse blocks.")),
            "reasoningContent" | "cachePoint" => return Ok(()),
            "text" => self.text = true,
            "document" => self.document = true,
            "toolUse" => self.tool_use = true,
            _ => {}
        }
        self.content = true;
        Ok(())
    }
}

/// Which blocks a role may have.
fn check_role(role: &str, kind: &str, place: &str) -> Checked {
    let fits = match kind {
        "toolAddition" | "toolRemoval" => role == "system",
        "text" | "cachePoint" => role != "system",
        "toolUse" | "reasoningContent" | "citationsContent" => role == "assistant",
        _ => role == "user",
    };
    if fits {
        return Ok(());
    }
    refuse(format!("The {kind} block at {place} is not allowed in a message with the role {role}."))
}

fn check_image(image: &Value, place: &str) -> Checked {
    let Some(encoded) = text(&image["source"], "bytes") else { return Ok(()) };
    let declared = text(image, "format").unwrap_or_default();
    let length = decoded_length(encoded);
    if length > MOST_IMAGE_BYTES {
        return refuse(format!("The image at {place} has {length} bytes. The limit is {MOST_IMAGE_BYTES}."));
    }
    let Some(found) = image_format(encoded) else {
        return refuse(format!("The model returned the following errors: Could not process image: the bytes at {place} are no image."));
    };
    if found != declared {
        return refuse(format!(
            "The model returned the following errors: Image does not match the provided media type image/{declared}: the bytes at {place} are {found}."
        ));
    }
    Ok(())
}

/// What the first bytes of an image say that it is.
pub(super) fn image_format(encoded: &str) -> Option<&'static str> {
    match head(encoded).as_slice() {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
        _ => None,
    }
}

fn check_document(document: &Value, place: &str) -> Checked {
    let name = text(document, "name").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '(' | ')' | '[' | ']');
    if !name.chars().all(allowed) || name.contains("  ") {
        return refuse(format!(
            "The document file name at {place} contains invalid characters or multiple consecutive whitespace characters: it may have alphanumeric \
             characters, whitespace characters, hyphens, parentheses and square brackets."
        ));
    }
    let Some(encoded) = text(&document["source"], "bytes") else { return Ok(()) };
    let length = decoded_length(encoded);
    if length > MOST_DOCUMENT_BYTES {
        return refuse(format!("The document at {place} has {length} bytes. The limit is {MOST_DOCUMENT_BYTES}."));
    }
    let head = head(encoded);
    let fits = match text(document, "format") {
        None => return refuse(format!("The document at {place} must have a format.")),
        Some("pdf") => head.starts_with(b"%PDF-"),
        Some("docx" | "xlsx") => head.starts_with(b"PK"),
        Some(_) => true,
    };
    if fits { Ok(()) } else { refuse(format!("The document at {place} is not of its declared format.")) }
}

/// Whether the schema has an object with properties that does not refuse others: the model cannot be held to such a schema. Goes through all nested values
/// without recursion.
pub(super) fn is_open(schema: &Value) -> bool {
    let mut rest = vec![schema];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(object) => {
                let has_properties = object.get("type").is_some_and(|kind| kind == "object") && object.contains_key("properties");
                if has_properties && object.get("additionalProperties") != Some(&Value::Bool(false)) {
                    return true;
                }
                rest.extend(object.values());
            }
            Value::Array(items) => rest.extend(items),
            _ => {}
        }
    }
    false
}

/// The only member of a union: its name and value.
pub(super) fn member(block: &Value) -> Option<(&str, &Value)> {
    block.as_object()?.iter().next().map(|(name, value)| (name.as_str(), value))
}

/// A string member.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

/// An array member; empty when it is not there.
pub(super) fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// How many bytes base64 stands for.
pub(super) fn decoded_length(encoded: &str) -> usize {
    let padding = encoded.bytes().rev().take_while(|byte| *byte == b'=').count();
    (encoded.len() / 4 * 3).saturating_sub(padding)
}

/// The first bytes of a file, to see what it is.
pub(super) fn head(encoded: &str) -> Vec<u8> {
    let length = encoded.len().min(24) / 4 * 4;
    encoded.get(..length).and_then(|start| STANDARD.decode(start).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
