//! What Claude on Bedrock asks of an invoke body beyond its types: versions and betas, content, tools, caching, thinking, sampling, and what a version of
//! Claude does not take. Turns and pairs of tool calls are in [`super::order`].
//!
//! The words are Anthropic's where those are known; only the first broken rule is told. Sources: <https://platform.claude.com/docs/en/api/messages>, the pages
//! behind it, <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>, and reports of users. Nothing was
//! measured on AWS.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::sandbox::failure::Failure;
use crate::sandbox::family::{Family, model_name};
use crate::sandbox::rules::{Checked, LEAST_THINKING_BUDGET, MOST_CACHE_POINTS, head, image_format, is_blank, is_open, items, refuse, text};
use crate::sandbox::seal;

use super::turns::{Block, Turn};

/// The version that every model takes.
const VERSION: &str = "bedrock-2023-05-31";
/// The version of 2026: no sampling, and stricter about documents and citations. Models whose ids end in a version do not have it.
const NEWEST_VERSION: &str = "2026-10-21";
/// Betas that Bedrock lets through; each other value is refused.
const BETAS: [&str; 13] = [
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    CONTEXT_MANAGEMENT,
    "context-1m-2025-08-07",
    "dev-full-thinking-2025-05-14",
    EFFORT,
    "fine-grained-tool-streaming-2025-05-14",
    INTERLEAVED_THINKING,
    "output-128k-2025-02-19",
    "token-efficient-tools-2025-02-19",
    TOOL_EXAMPLES,
    TOOL_SEARCH,
];
const CONTEXT_MANAGEMENT: &str = "context-management-2025-06-27";
const EFFORT: &str = "effort-2025-11-24";
const INTERLEAVED_THINKING: &str = "interleaved-thinking-2025-05-14";
const TOOL_EXAMPLES: &str = "tool-examples-2025-10-29";
const TOOL_SEARCH: &str = "tool-search-tool-2025-10-19";
/// Members of tools that need a beta.
const TOOL_BETAS: [(&str, &str); 2] = [("defer_loading", TOOL_SEARCH), ("input_examples", TOOL_EXAMPLES)];
/// 5 MiB of base64.
const MOST_IMAGE_CHARACTERS: usize = 5_242_880;
const MOST_IMAGES: usize = 100;
/// Names of tools.
const MOST_NAME_CHARACTERS: usize = 128;

/// The members that no invoke body has, and betas: what a gateway gets wrong first is told first.
///
/// # Errors
/// As [`check`].
pub(super) fn check_envelope(model: &str, body: &Value, family: Family) -> Checked {
    for name in ["model", "stream"] {
        if body.get(name).is_some() {
            return refuse(format!("{name}: Extra inputs are not permitted"));
        }
    }
    let has_version = model_name(model).is_some_and(ends_in_version);
    match text(body, "anthropic_version") {
        None | Some(VERSION) => {}
        Some(NEWEST_VERSION) if family.takes_newest_version() && !has_version => {}
        Some(NEWEST_VERSION) => return refuse(format!("anthropic_version: API version {NEWEST_VERSION} is not supported for this model")),
        Some(_) => return refuse(format!("anthropic_version: Input should be '{VERSION}'")),
    }
    let betas = items(body, "anthropic_beta").iter().filter_map(Value::as_str);
    match betas.into_iter().find(|beta| !BETAS.contains(beta)) {
        Some(_) => refuse("invalid beta flag"),
        None => Ok(()),
    }
}

/// `anthropic.claude-3-haiku-20240307-v1:0`, `anthropic.claude-opus-4-6-v1`; not `anthropic.claude-opus-4-8`.
pub(super) fn ends_in_version(name: &str) -> bool {
    let number = name.split_once(':').map_or(name, |(name, _)| name).rsplit_once("-v").map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Checks a body that has passed the schema.
///
/// # Errors
/// `ValidationException` for the first rule that is broken.
pub(super) fn check(model: &str, body: &Value, family: Family, turns: &[Turn<'_>]) -> Checked {
    let request = Request { body, family, turns, has_version: model_name(model).is_some_and(ends_in_version) };
    request.check_members()?;
    request.check_blocks()?;
    request.check_tools()?;
    request.check_tool_choice()?;
    request.check_cache_control()?;
    request.check_sampling()?;
    request.check_thinking()?;
    request.check_output_config()
}

struct Request<'r> {
    body: &'r Value,
    family: Family,
    turns: &'r [Turn<'r>],
    /// The model id ends in a version.
    has_version: bool,
}

impl<'r> Request<'r> {
    fn has_beta(&self, beta: &str) -> bool {
        items(self.body, "anthropic_beta").iter().any(|given| given == beta)
    }

    fn is_newest_version(&self) -> bool {
        text(self.body, "anthropic_version") == Some(NEWEST_VERSION)
    }

    fn blocks(&self) -> impl Iterator<Item = (&'r str, Block<'r>)> {
        self.turns.iter().flat_map(|turn| turn.blocks.iter().map(|block| (turn.role, *block)))
    }

    fn check_members(&self) -> Checked {
        if self.body.get("context_management").is_some() && !self.has_beta(CONTEXT_MANAGEMENT) {
            return refuse("context_management: Extra inputs are not permitted");
        }
        if self.body.get("cache_control").is_some_and(|value| !value.is_null()) && self.has_version {
            return refuse("cache_control: Extra inputs are not permitted");
        }
        if self.body["max_tokens"].as_u64().is_none() {
            return refuse("max_tokens: Input should be greater than or equal to 0");
        }
        let system = &self.body["system"];
        let texts = system.as_str().into_iter().chain(items(self.body, "system").iter().filter_map(|block| text(block, "text")));
        if let Some(blank) = texts.into_iter().find(|text| is_blank(text)) {
            return refuse(format!("system: {}", blank_fault(blank)));
        }
        if !system.is_null() && !self.family.takes_system() {
            return refuse("system: Extra inputs are not permitted");
        }
        let stops = items(self.body, "stop_sequences").iter().filter_map(Value::as_str);
        if stops.into_iter().any(is_blank) {
            return refuse("stop_sequences: each stop sequence must contain non-whitespace");
        }
        if self.body["metadata"]["user_id"].as_str().is_some_and(|id| id.chars().count() > 256) {
            return refuse("metadata.user_id: String should have at most 256 characters");
        }
        Ok(())
    }

    fn check_blocks(&self) -> Checked {
        let mut images = 0;
        for (role, block) in self.blocks() {
            check_role(role, block, self.is_newest_version())?;
            match block.kind() {
                "text" => self.check_text(role, block)?,
                "image" => images += 1,
                "tool_use" => check_tool_use(block)?,
                "thinking" if block.member("signature") != Some(&seal::signature(block.member("thinking").unwrap_or_default())) => {
                    return refuse(format!("{}: Invalid `signature` in `thinking` block", block.place()));
                }
                "redacted_thinking" if !block.member("data").is_some_and(is_redacted) => {
                    return refuse(format!("{}: Invalid `data` in `redacted_thinking` block", block.place()));
                }
                _ => {}
            }
            self.check_file(block.value(), &block.tagged_place())?;
            for (index, inner) in items(block.value(), "content").iter().enumerate() {
                let kind = text(inner, "type").unwrap_or_default();
                let place = format!("{}.content.{index}.{kind}", block.tagged_place());
                images += usize::from(kind == "image");
                if let Some(blank) = text(inner, "text").filter(|text| is_blank(text)) {
                    return refuse(format!("{place}: {}", blank_fault(blank)));
                }
                self.check_file(inner, &place)?;
            }
        }
        if images > MOST_IMAGES {
            return refuse(format!("messages: too many images: {images} > {MOST_IMAGES}"));
        }
        Ok(())
    }

    fn check_text(&self, role: &str, block: Block<'_>) -> Checked {
        if self.is_newest_version() && role == "user" && !items(block.value(), "citations").is_empty() {
            return refuse(format!("{}.citations: citations are not permitted in user messages", block.tagged_place()));
        }
        match block.text().filter(|text| is_blank(text)) {
            Some(blank) => refuse(format!("{}: {}", block.place(), blank_fault(blank))),
            None => Ok(()),
        }
    }

    /// Images and documents.
    fn check_file(&self, block: &Value, place: &str) -> Checked {
        let source = &block["source"];
        match text(block, "type") {
            Some("image" | "document") if !self.family.takes_images() => refuse(format!("{place}: this model does not support this content")),
            Some("image") => check_image(source, place),
            Some("document") => match (text(source, "type"), text(source, "data")) {
                (Some("base64"), Some(data)) if STANDARD.decode(data).is_err() => refuse(format!("{place}.source.base64.data: Invalid base64 data")),
                (Some("base64"), Some(data)) if !head(data).starts_with(b"%PDF-") => {
                    refuse(format!("{place}.source.base64.data: The PDF specified was not valid."))
                }
                (Some("text"), Some(data)) if is_blank(data) => refuse(format!("{place}.source.text.data: {}", blank_fault(data))),
                _ => items(source, "content").iter().try_for_each(|inner| check_image(&inner["source"], place)),
            },
            _ => Ok(()),
        }
    }

    fn check_tools(&self) -> Checked {
        let tools = items(self.body, "tools");
        if tools.is_empty() {
            if self.blocks().any(|(_, block)| matches!(block.kind(), "tool_use" | "tool_result")) {
                return refuse("Requests which include `tool_use` or `tool_result` blocks must define tools");
            }
            return Ok(());
        }
        if !self.family.takes_tools() {
            return refuse("tools: Extra inputs are not permitted");
        }
        let mut names = HashSet::new();
        for (index, tool) in tools.iter().enumerate() {
            let kind = text(tool, "type").unwrap_or("custom");
            let place = format!("tools.{index}.{kind}");
            let name = text(tool, "name").unwrap_or_default();
            if !is_tool_name(name) {
                return refuse(format!("{place}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,{MOST_NAME_CHARACTERS}}}$'"));
            }
            if !names.insert(name) {
                return refuse("tools: Tool names must be unique.");
            }
            if kind.starts_with("tool_search_tool") && !self.has_beta(TOOL_SEARCH) {
                return refuse(format!("tools.{index}: Input tag '{kind}' found using 'type' does not match any of the expected tags"));
            }
            if let Some((member, _)) = TOOL_BETAS.iter().find(|(member, beta)| tool.get(member).is_some() && !self.has_beta(beta)) {
                return refuse(format!("{place}.{member}: Extra inputs are not permitted"));
            }
            if tool.get("strict").is_some() && !self.family.takes_text_format() {
                return refuse(format!("{place}.strict: Extra inputs are not permitted"));
            }
            if tool["strict"] == true && is_open(&tool["input_schema"]) {
                return refuse(format!("{place}.input_schema: For 'object' type, 'additionalProperties' must be explicitly set to false"));
            }
        }
        Ok(())
    }

    fn check_tool_choice(&self) -> Checked {
        let choice = &self.body["tool_choice"];
        let Some(kind) = text(choice, "type") else { return Ok(()) };
        let tools = items(self.body, "tools");
        if tools.is_empty() {
            return refuse("tool_choice: tool_choice may only be specified while providing tools.");
        }
        if let Some(name) = text(choice, "name")
            && !tools.iter().any(|tool| text(tool, "name") == Some(name))
        {
            return refuse(format!("tool_choice: Tool '{name}' not found in provided tools"));
        }
        if !matches!(kind, "any" | "tool") {
            return Ok(());
        }
        if !self.family.lets_thinking_off() {
            return refuse("tool_choice: forcing tool use is not supported on this model");
        }
        if self.thinks() {
            return refuse("Thinking may not be enabled when tool_choice forces tool use.");
        }
        Ok(())
    }

    /// Everything that may be marked, in the order of the cache.
    fn check_cache_control(&self) -> Checked {
        let tools = items(self.body, "tools").iter().enumerate().map(|(index, tool)| (format!("tools.{index}"), tool));
        let system = items(self.body, "system").iter().enumerate().map(|(index, block)| (format!("system.{index}"), block));
        let content = self.blocks().flat_map(|(_, block)| {
            let inner = items(block.value(), "content").iter().enumerate();
            let inner = inner.map(move |(index, value)| (format!("{}.content.{index}", block.tagged_place()), value));
            inner.chain(std::iter::once((block.tagged_place(), block.value())))
        });
        let whole = std::iter::once((String::new(), self.body));
        let (mut count, mut is_short) = (0, false);
        for (place, value) in tools.chain(system).chain(content).chain(whole) {
            let Some(mark) = value.get("cache_control").filter(|mark| !mark.is_null()) else { continue };
            count += 1;
            if !self.family.takes_cache_points() {
                return refuse(format!("{place}.cache_control: Extra inputs are not permitted"));
            }
            let ttl = text(mark, "ttl");
            if ttl.is_some() && !self.family.takes_cache_ttl() {
                return refuse(format!("{place}.cache_control.ephemeral.ttl: Extra inputs are not permitted"));
            }
            if ttl == Some("1h") && is_short {
                return refuse(format!("{place}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block."));
            }
            is_short |= ttl != Some("1h");
        }
        if count > MOST_CACHE_POINTS {
            return refuse(format!("A maximum of {MOST_CACHE_POINTS} blocks with cache_control may be provided. Found {count}."));
        }
        Ok(())
    }

    fn check_sampling(&self) -> Checked {
        let number = |name: &str| self.body[name].as_f64();
        let (temperature, top_p, top_k) = (number("temperature"), number("top_p"), number("top_k"));
        for (name, value, most) in [("temperature", temperature, 1.0), ("top_p", top_p, 1.0), ("top_k", top_k, f64::INFINITY)] {
            let Some(value) = value else { continue };
            if self.is_newest_version() {
                return refuse(format!("{name}: not supported in API version {NEWEST_VERSION}"));
            }
            if !self.family.takes_sampling() {
                return refuse(format!("`{name}` is not supported on this model."));
            }
            if !(0.0..=most).contains(&value) {
                let rule = if value < 0.0 { "greater than or equal to 0" } else { "less than or equal to 1" };
                return refuse(format!("{name}: Input should be {rule}"));
            }
        }
        if temperature.is_some() && top_p.is_some() && !self.family.takes_temperature_with_top_p() {
            return refuse("`temperature` and `top_p` cannot both be specified for this model. Please use only one.");
        }
        if !self.thinks() {
            return Ok(());
        }
        if temperature.is_some_and(|temperature| temperature < 1.0) {
            return refuse("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.");
        }
        if top_p.is_some_and(|top_p| top_p < 0.95) {
            return refuse("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled or in adaptive mode.");
        }
        if top_k.is_some() {
            return refuse("`top_k` must be unset when thinking is enabled or in adaptive mode.");
        }
        Ok(())
    }

    /// Whether the request asks for thinking.
    fn thinks(&self) -> bool {
        text(&self.body["thinking"], "type").is_some_and(|kind| kind != "disabled")
    }

    fn check_thinking(&self) -> Checked {
        let thinking = &self.body["thinking"];
        match text(thinking, "type") {
            Some("disabled") if !self.family.lets_thinking_off() => return refuse("thinking.type: \"disabled\" is not supported on this model"),
            Some("adaptive") if !self.family.takes_adaptive_thinking() => return refuse("thinking.type: \"adaptive\" is not supported on this model"),
            Some("enabled") if !self.family.takes_thinking_budget() => return refuse("thinking.type: \"enabled\" is not supported on this model"),
            Some("enabled") => self.check_budget(thinking["budget_tokens"].as_u64().unwrap_or_default())?,
            _ => {}
        }
        if !self.thinks() {
            return Ok(());
        }
        // While tools run, the turn that called them must still begin with the thinking that led to the call.
        let [.., called, answers] = self.turns else { return Ok(()) };
        let is_running = answers.blocks.iter().any(|block| block.kind() == "tool_result");
        let first = called.blocks.first().map_or("nothing", |block| block.kind());
        if is_running && self.family.demands_signature() && !matches!(first, "thinking" | "redacted_thinking") {
            let place = called.blocks.first().map(|block| block.tagged_place()).unwrap_or_default();
            return refuse(format!(
                "{place}: Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is enabled, a final `assistant` message must start \
                 with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
            ));
        }
        Ok(())
    }

    fn check_budget(&self, budget: u64) -> Checked {
        if budget < LEAST_THINKING_BUDGET {
            return refuse(format!("thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_THINKING_BUDGET}"));
        }
        // Interleaved, it is the budget of all thinking between the tool calls of a turn.
        let is_interleaved = self.has_beta(INTERLEAVED_THINKING) && !items(self.body, "tools").is_empty();
        if !is_interleaved && self.body["max_tokens"].as_u64().is_some_and(|most| most <= budget) {
            return refuse("`max_tokens` must be greater than `thinking.budget_tokens`.");
        }
        Ok(())
    }

    fn check_output_config(&self) -> Checked {
        let config = &self.body["output_config"];
        let takes_effort = self.family.takes_effort() && (!self.family.has_effort_as_beta() || self.has_beta(EFFORT));
        if text(config, "effort").is_some() && !takes_effort {
            return refuse("output_config.effort: Extra inputs are not permitted");
        }
        let Some(schema) = config.get("format").filter(|format| !format.is_null()).map(|format| &format["schema"]) else { return Ok(()) };
        if !self.family.takes_text_format() {
            return refuse("output_config.format: Extra inputs are not permitted");
        }
        if is_open(schema) {
            return refuse("output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false");
        }
        Ok(())
    }
}

/// Which blocks a role may have.
fn check_role(role: &str, block: Block<'_>, is_newest: bool) -> Checked {
    let kind = block.kind();
    let other = match kind {
        "tool_use" | "thinking" | "redacted_thinking" if role != "assistant" => "assistant",
        "tool_result" | "image" | "search_result" if role != "user" => "user",
        "document" if role != "user" && is_newest => "user",
        _ => return Ok(()),
    };
    refuse(format!("messages.{}: `{kind}` blocks can only be in `{other}` messages", block.message()))
}

fn check_tool_use(block: Block<'_>) -> Checked {
    let id = block.member("id").unwrap_or_default();
    if id.is_empty() || !id.bytes().all(is_name_byte) {
        return refuse(format!("{}.id: String should match pattern '^[a-zA-Z0-9_-]+$'", block.tagged_place()));
    }
    if !is_tool_name(block.member("name").unwrap_or_default()) {
        return refuse(format!("{}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,{MOST_NAME_CHARACTERS}}}$'", block.tagged_place()));
    }
    Ok(())
}

fn is_tool_name(name: &str) -> bool {
    (1..=MOST_NAME_CHARACTERS).contains(&name.len()) && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_redacted(data: &str) -> bool {
    STANDARD.decode(data).is_ok_and(|bytes| seal::is_redacted(&bytes))
}

/// A base64 source; others have not passed the schema.
fn check_image(source: &Value, place: &str) -> Checked {
    let (Some(data), Some(declared)) = (text(source, "data"), text(source, "media_type")) else { return Ok(()) };
    if data.is_empty() {
        return refuse(format!("{place}.source.base64: image cannot be empty"));
    }
    if STANDARD.decode(data).is_err() {
        return refuse(format!("{place}.source.base64.data: Invalid base64 data"));
    }
    if data.len() > MOST_IMAGE_CHARACTERS {
        return refuse(format!("{place}.source.base64: image exceeds 5 MB maximum: {} bytes > {MOST_IMAGE_CHARACTERS} bytes", data.len()));
    }
    match image_format(data) {
        None => Err(Failure::validation(format!("{place}.source.base64.data: Could not process image"))),
        Some(found) if declared.strip_prefix("image/") != Some(found) => refuse(format!(
            "{place}.source.base64.data: The image was specified using the {declared} media type, but the image appears to be a image/{found} image"
        )),
        Some(_) => Ok(()),
    }
}

fn blank_fault(text: &str) -> &'static str {
    if text.is_empty() { "text content blocks must be non-empty" } else { "text content blocks must contain non-whitespace text" }
}
