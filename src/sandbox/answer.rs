//! What the stand-in says: a deterministic answer, worked out from the request alone.
//!
//! Only the prompt cache has a memory: the first request with a prefix writes it, the next one reads it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::family::Family;
use super::knobs::{Kind, Knobs};
use super::rules::{decoded_length, items, member, text};
use super::sample::sample;
use super::seal;

/// Characters that make one token.
const TOKEN: usize = 4;
/// What an image counts, in characters.
pub(super) const IMAGE: usize = 400;
/// A guardrail, if there is one, blocks requests with this word.
pub const GUARDRAIL_WORD: &str = "sandbox-forbidden";
/// What it answers then.
const BLOCKED: &str = "Sorry, the guardrail of the sandbox has blocked this request.";
/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
/// Answers of a given size repeat this.
const FILLER: &str = "All work and no play makes a gateway slow. ";

/// An answer before it is written as JSON or as frames.
#[derive(Debug)]
pub(super) struct Answer {
    pub blocks: Vec<Block>,
    pub stop_reason: &'static str,
    /// `additionalModelResponseFields`
    pub fields: Option<Value>,
    pub usage: Usage,
    /// `trace`
    pub trace: Option<Value>,
    /// `serviceTier.type`, as requested.
    pub service_tier: Option<String>,
    /// `performanceConfig.latency`, as requested.
    pub latency: Option<String>,
    /// Text leaves in pieces of so many bytes instead of word by word.
    pub piece: Option<usize>,
}

/// A content block of an answer.
#[derive(Debug)]
pub(super) enum Block {
    Text(String),
    Reasoning {
        text: String,
        signature: Option<String>,
    },
    /// Base64.
    Redacted(String),
    /// `input` is JSON text.
    ToolUse {
        id: String,
        name: String,
        input: String,
    },
    /// Base64 of a PNG.
    Image(&'static str),
    /// Text, and where it is said to come from.
    Citations {
        text: String,
        citation: Value,
    },
}

/// Token counts. `input` has only what no cache has anything to do with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub input: usize,
    pub output: usize,
    pub cache: Option<CacheUsage>,
}

/// Token counts of a request with cache points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheUsage {
    pub read: usize,
    pub write: usize,
    /// Written tokens by time to live.
    pub details: Vec<(&'static str, usize)>,
}

impl Usage {
    /// Everything together.
    pub(super) fn total(&self) -> usize {
        self.input + self.output + self.cache.as_ref().map_or(0, |cache| cache.read + cache.write)
    }
}

/// Prefixes that were sent before.
#[derive(Debug, Default)]
pub(super) struct PromptCache {
    prefixes: Mutex<HashSet<[u8; 32]>>,
}

impl PromptCache {
    /// So many prefixes are remembered; then all are forgotten.
    const MOST: usize = 4096;

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many of these prefixes, from the longest down, are known; remembers all of them.
    fn longest_known(&self, prefixes: &[[u8; 32]]) -> Option<usize> {
        let mut known = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = prefixes.iter().rposition(|prefix| known.contains(prefix));
        if known.len() + prefixes.len() > Self::MOST {
            known.clear();
        }
        known.extend(prefixes);
        found
    }
}

/// What an answer is made from.
pub(super) struct Question<'q> {
    /// Model id without knobs.
    pub model: &'q str,
    pub family: Family,
    pub knobs: &'q Knobs,
    pub body: &'q Value,
    /// Hex SHA-256 of the body: what makes ids of tool calls differ.
    pub body_sha256: &'q str,
}

impl Question<'_> {
    /// The answer.
    pub(super) fn answer(&self, cache: &PromptCache) -> Answer {
        let last = Turn::last_of_user(self.body);
        let (mut blocks, mut fields) = (Vec::new(), serde_json::Map::new());
        let stop_reason;
        let mut trace = None;
        if self.is_blocked() {
            stop_reason = "guardrail_intervened";
            trace = self.guardrail_trace();
            blocks.push(Block::Text(BLOCKED.to_owned()));
        } else {
            self.add_reasoning(&last, &mut blocks, &mut fields);
            let calls = self.calls(&last);
            if calls.is_empty() {
                stop_reason = self.add_text(&last, &mut blocks, &mut fields);
            } else {
                stop_reason = "tool_use";
                blocks.extend(calls);
            }
        }
        let output = blocks.iter().map(Block::tokens).sum::<usize>().max(1);
        let piece = self.knobs.kib.map(|_| 4096);
        Answer {
            blocks,
            stop_reason: self.knobs.stop.unwrap_or(stop_reason),
            fields: (!fields.is_empty()).then_some(Value::Object(fields)),
            usage: self.usage(output, cache),
            trace,
            service_tier: text(&self.body["serviceTier"], "type").map(str::to_owned),
            latency: text(&self.body["performanceConfig"], "latency").map(str::to_owned),
            piece,
        }
    }

    fn is_blocked(&self) -> bool {
        self.body.get("guardrailConfig").is_some()
            && items(self.body, "messages").iter().flat_map(|message| items(message, "content")).any(|block| {
                let guarded = text(&block["guardContent"]["text"], "text");
                text(block, "text").or(guarded).is_some_and(|text| text.contains(GUARDRAIL_WORD))
            })
    }

    fn guardrail_trace(&self) -> Option<Value> {
        let asked = text(&self.body["guardrailConfig"], "trace").is_some_and(|trace| trace != "disabled");
        asked.then(|| json!({"guardrail": {"actionReason": "Guardrail blocked."}}))
    }

    fn add_reasoning(&self, last: &Turn, blocks: &mut Vec<Block>, fields: &mut serde_json::Map<String, Value>) {
        if self.knobs.answer == Some(Kind::Redacted) {
            blocks.push(Block::Redacted(STANDARD.encode(seal::redacted(last.text.as_bytes()))));
            return;
        }
        if self.knobs.answer != Some(Kind::Reasoning) && !self.reasoning_is_on() {
            return;
        }
        let omitted = self.body["additionalModelRequestFields"]["thinking"]["display"] == "omitted";
        let about: String = last.text.chars().take(60).collect();
        let text = if omitted { String::new() } else { format!("The user says: {about}. I should answer.") };
        let signature = self.family.signs_reasoning().then(|| seal::signature(&text));
        let block = Block::Reasoning { text, signature };
        if self.wants_field("/usage/output_tokens_details") {
            fields.insert("usage".to_owned(), json!({"output_tokens_details": {"thinking_tokens": block.tokens()}}));
        }
        blocks.push(block);
    }

    fn reasoning_is_on(&self) -> bool {
        let additional = &self.body["additionalModelRequestFields"];
        let kind = |name: &str| text(&additional[name], "type").is_some_and(|kind| kind != "disabled");
        let named = |name: &str| text(additional, name).is_some_and(|level| level != "none");
        kind("thinking")
            || kind("reasoningConfig")
            || named("reasoning_config")
            || named("reasoning_effort")
            || text(&self.body["outputConfig"], "effort").is_some()
    }

    fn wants_field(&self, pointer: &str) -> bool {
        items(self.body, "additionalModelResponseFieldPaths").iter().any(|path| path == pointer)
    }

    /// Text and the blocks that go with it; gives the stop reason.
    fn add_text(&self, last: &Turn, blocks: &mut Vec<Block>, fields: &mut serde_json::Map<String, Value>) -> &'static str {
        let mut stop_reason = "end_turn";
        let mut said = self.text(last);
        if let Some((at, stop)) = self.first_stop(&said) {
            said.truncate(at);
            stop_reason = "stop_sequence";
            if self.wants_field("/stop_sequence") {
                fields.insert("stop_sequence".to_owned(), Value::from(stop));
            }
        }
        let most = self.body["inferenceConfig"]["maxTokens"].as_u64().and_then(|most| usize::try_from(most).ok());
        if let Some(most) = most.filter(|most| tokens(said.chars().count()) > *most) {
            said = said.chars().take(most * TOKEN).collect();
            stop_reason = "max_tokens";
        }
        match self.knobs.answer {
            Some(Kind::Empty) => {}
            Some(Kind::Citations) => {
                let citation = json!({
                    "title": "The request", "source": "sandbox",
                    "sourceContent": [{"text": last.text}],
                    "location": {"web": {"url": "https://example.com/", "domain": "example.com"}}
                });
                blocks.push(Block::Citations { text: said, citation });
            }
            Some(Kind::Image) => blocks.extend([Block::Text(said), Block::Image(PIXEL)]),
            _ if said.is_empty() => {}
            _ => blocks.push(Block::Text(said)),
        }
        stop_reason
    }

    /// Where the first stop sequence stands in the text, and which one it is.
    fn first_stop(&self, said: &str) -> Option<(usize, &str)> {
        let stops = items(&self.body["inferenceConfig"], "stopSequences").iter().filter_map(Value::as_str);
        stops.filter_map(|stop| said.find(stop).map(|at| (at, stop))).min_by_key(|(at, _)| *at)
    }

    fn text(&self, last: &Turn) -> String {
        if let Some(kib) = self.knobs.kib {
            return FILLER.chars().cycle().take(kib * 1024).collect();
        }
        if let Some(words) = self.knobs.words {
            return (1..=words).map(|word| format!("word{word}")).collect::<Vec<_>>().join(" ");
        }
        if let Some(schema) = text(&self.body["outputConfig"]["textFormat"]["structure"]["jsonSchema"], "schema") {
            let schema: Value = serde_json::from_str(schema).unwrap_or_default();
            return sample(&schema, &last.text).to_string();
        }
        let mut said = if last.results.is_empty() { format!("Echo: {}", last.text) } else { last.results.join("; ") };
        for attachment in &last.attachments {
            said.push_str(&format!(" [{attachment}]"));
        }
        let system: Vec<&str> = items(self.body, "system").iter().filter_map(|block| text(block, "text")).collect();
        if !system.is_empty() {
            said.push_str(&format!(" (system: {})", system.join(" ")));
        }
        if last.text.contains("#turns") {
            said.push_str(&format!(" (turns: {})", items(self.body, "messages").len()));
        }
        said
    }

    /// Tool calls with the text before them; nothing if no tool is called.
    fn calls(&self, last: &Turn) -> Vec<Block> {
        let config = &self.body["toolConfig"];
        let specs: Vec<&Value> = items(config, "tools").iter().filter_map(|tool| tool.get("toolSpec")).collect();
        let choice = member(&config["toolChoice"]).filter(|(kind, _)| *kind != "auto");
        let forced = choice.is_some() || matches!(self.knobs.answer, Some(Kind::Tool | Kind::ToolEmpty));
        if self.knobs.answer.is_some_and(|kind| !matches!(kind, Kind::Tool | Kind::ToolEmpty | Kind::Reasoning | Kind::Redacted)) {
            return Vec::new();
        }
        if !forced && (!last.results.is_empty() || specs.is_empty()) {
            return Vec::new();
        }
        let named = choice.and_then(|(_, tool)| text(tool, "name"));
        let chosen = named.and_then(|name| specs.iter().find(|spec| text(spec, "name") == Some(name))).copied();
        let asked = chosen.or_else(|| last.asks_for(&specs));
        let first = match asked.or_else(|| specs.first().copied().filter(|_| forced)) {
            Some(first) => first,
            None if forced => &Value::Null,
            None => return Vec::new(),
        };
        let alone = named.is_some() || self.body["additionalModelRequestFields"]["tool_choice"]["disable_parallel_tool_use"] == true;
        let all = if alone { vec![(first, last.text.clone())] } else { last.several(first, &specs) };

        let names: Vec<&str> = all.iter().map(|(spec, _)| tool_name(spec)).collect();
        let mut blocks = Vec::new();
        if !forced {
            blocks.push(Block::Text(format!("I'll call {}.", names.join(" and "))));
        }
        for (index, (spec, prompt)) in all.iter().enumerate() {
            let input = if self.knobs.answer == Some(Kind::ToolEmpty) { json!({}) } else { sample(&spec["inputSchema"]["json"], prompt) };
            let input = if input.is_object() { input.to_string() } else { "{}".to_owned() };
            let hash = Sha256::digest(format!("{}/{index}", self.body_sha256));
            let id = format!("tooluse_{}", URL_SAFE_NO_PAD.encode(&hash[..16]));
            blocks.push(Block::ToolUse { id, name: tool_name(spec).to_owned(), input });
        }
        blocks
    }

    /// Counts tokens, and what of them is in the cache.
    fn usage(&self, output: usize, cache: &PromptCache) -> Usage {
        let prefixes = Prefixes::of(self.model, self.body);
        let total = tokens(prefixes.characters).max(1);
        if prefixes.points.is_empty() {
            return Usage { input: total, output, cache: None };
        }
        let hashes: Vec<[u8; 32]> = prefixes.points.iter().map(|point| point.hash).collect();
        let known = cache.longest_known(&hashes);
        let read = known.and_then(|index| prefixes.points.get(index)).map_or(0, |point| tokens(point.characters));
        let mut found = CacheUsage { read, ..CacheUsage::default() };
        let mut reached = read;
        for point in prefixes.points.iter().skip(known.map_or(0, |index| index + 1)) {
            let written = tokens(point.characters) - reached;
            reached += written;
            found.write += written;
            match found.details.iter_mut().find(|(ttl, _)| *ttl == point.ttl) {
                Some((_, count)) => *count += written,
                None => found.details.push((point.ttl, written)),
            }
        }
        Usage { input: total - reached, output, cache: Some(found) }
    }
}

/// Tokens of a request by the rule of the sandbox: a quarter of its characters, at least one.
pub(super) fn count_tokens(body: &Value) -> usize {
    tokens(Prefixes::of("", body).characters).max(1)
}

/// Tokens of text.
pub(super) fn tokens(characters: usize) -> usize {
    characters.div_ceil(TOKEN)
}

fn tool_name(spec: &Value) -> &str {
    text(spec, "name").unwrap_or("sandbox_tool")
}

impl Block {
    fn tokens(&self) -> usize {
        tokens(match self {
            Block::Text(text) | Block::Citations { text, .. } | Block::Reasoning { text, .. } => text.chars().count(),
            Block::ToolUse { name, input, .. } => name.len() + input.chars().count(),
            Block::Redacted(_) | Block::Image(_) => IMAGE,
        })
    }
}

/// What the user says last.
#[derive(Debug, Default)]
struct Turn {
    text: String,
    /// What tools have answered, as sentences.
    results: Vec<String>,
    /// Images and documents, described.
    attachments: Vec<String>,
}

impl Turn {
    fn last_of_user(body: &Value) -> Self {
        let Some(message) = items(body, "messages").iter().rev().find(|message| text(message, "role") == Some("user")) else { return Turn::default() };
        let mut turn = Turn::default();
        for (kind, value) in items(message, "content").iter().filter_map(member) {
            match kind {
                "text" => turn.text.push_str(value.as_str().unwrap_or_default()),
                "guardContent" => turn.text.push_str(text(&value["text"], "text").unwrap_or_default()),
                "toolResult" => turn.results.push(quote(value)),
                "image" | "document" | "video" | "audio" => turn.attachments.push(describe(kind, value)),
                _ => {}
            }
        }
        turn
    }

    /// The tool that the text asks for: by name, by a word of its name, or with "use the tool".
    fn asks_for<'s>(&self, specs: &[&'s Value]) -> Option<&'s Value> {
        let text = self.text.to_ascii_lowercase();
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').collect();
        let by_name = specs.iter().find(|spec| words.contains(&tool_name(spec).to_ascii_lowercase().as_str()));
        let by_word = || specs.iter().find(|spec| tool_name(spec).to_ascii_lowercase().split(['_', '-']).any(|part| part.len() > 4 && words.contains(&part)));
        let by_order = || specs.first().filter(|_| text.contains("use the tool") || text.contains("use both tools") || text.contains("use all tools"));
        by_name.or_else(by_word).or_else(by_order).copied()
    }

    /// One call, or several where the text says "both" or "all": of all tools, or twice of the only one.
    fn several<'s>(&self, first: &'s Value, specs: &[&'s Value]) -> Vec<(&'s Value, String)> {
        let words = || self.text.split(|c: char| !c.is_alphanumeric());
        let has = |wanted: &str| words().any(|word| word.eq_ignore_ascii_case(wanted));
        let (both, all) = (has("both"), has("all"));
        let prompt = self.text.clone();
        match specs {
            _ if !both && !all => vec![(first, prompt)],
            [_, _, ..] => specs.iter().take(if all { specs.len() } else { 2 }).map(|spec| (*spec, prompt.clone())).collect(),
            _ => {
                let second = self.text.rsplit_once(" and ").map_or_else(|| prompt.clone(), |(_, rest)| format!("in {rest}"));
                // "in both Paris and Rome": the first place is behind "both".
                vec![(first, prompt.replace("both ", "")), (first, second)]
            }
        }
    }
}

/// `The tool says: 21 degrees`
fn quote(result: &Value) -> String {
    let parts: Vec<String> = items(result, "content")
        .iter()
        .filter_map(member)
        .map(|(kind, value)| match (kind, value) {
            ("text", Value::String(text)) => text.clone(),
            ("json", value) => value.to_string(),
            (kind, value) => format!("[{}]", describe(kind, value)),
        })
        .collect();
    let verb = if text(result, "status") == Some("error") { "failed" } else { "says" };
    format!("The tool {verb}: {}", parts.join(" "))
}

/// `image png, 68 bytes`, `document pdf "report", 120 bytes`
fn describe(kind: &str, value: &Value) -> String {
    let format = text(value, "format").unwrap_or("file");
    let name = text(value, "name").map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let source = &value["source"];
    let length = match text(source, "bytes") {
        Some(bytes) => decoded_length(bytes),
        None => text(source, "text").map_or(0, str::len),
    };
    format!("{kind} {format}{name}, {length} bytes")
}

/// The request as one run of characters in the order of the cache: tools, system, messages.
struct Prefixes {
    hasher: Sha256,
    hashing: bool,
    characters: usize,
    points: Vec<Point>,
}

/// A cache point: what is before it.
struct Point {
    hash: [u8; 32],
    characters: usize,
    ttl: &'static str,
}

impl Prefixes {
    fn of(model: &str, body: &Value) -> Self {
        let tools = items(&body["toolConfig"], "tools");
        let system = items(body, "system");
        let messages = items(body, "messages");
        let mut blocks = tools.iter().chain(system).chain(messages.iter().flat_map(|message| items(message, "content")));
        // Without cache points nothing has to be hashed.
        let hashing = blocks.any(|block| block.get("cachePoint").is_some());
        let mut prefixes = Prefixes { hasher: Sha256::new(), hashing, characters: 0, points: Vec::new() };
        prefixes.mark(model);
        prefixes.add_list("tools", tools);
        prefixes.add_list("system", system);
        for message in messages {
            prefixes.add_list(text(message, "role").unwrap_or_default(), items(message, "content"));
        }
        prefixes
    }

    fn mark(&mut self, name: &str) {
        if self.hashing {
            self.hasher.update(name);
            self.hasher.update([0]);
        }
    }

    fn add_list(&mut self, name: &str, blocks: &[Value]) {
        self.mark(name);
        for block in blocks {
            if let Some(point) = block.get("cachePoint") {
                let ttl = if text(point, "ttl") == Some("1h") { "1h" } else { "5m" };
                self.points.push(Point { hash: self.hasher.clone().finalize().into(), characters: self.characters, ttl });
            } else {
                if self.hashing {
                    self.hasher.update(block.to_string());
                }
                self.characters += weigh(block);
            }
        }
    }
}

/// Characters of a block that make tokens.
fn weigh(block: &Value) -> usize {
    let Some((kind, value)) = member(block) else { return 0 };
    match (kind, value) {
        ("text", Value::String(text)) => text.chars().count(),
        ("image" | "video" | "audio", _) => IMAGE,
        ("document", document) => match text(&document["source"], "bytes") {
            Some(bytes) => decoded_length(bytes),
            None => document.to_string().chars().count(),
        },
        // Tool results hold blocks, and those hold none.
        ("toolResult", result) => {
            items(result, "content").iter().map(|block| if block.get("json").is_some() { block.to_string().chars().count() } else { weigh(block) }).sum()
        }
        ("toolUse", call) => tool_name(call).len() + call["input"].to_string().chars().count(),
        ("reasoningContent", reasoning) => text(&reasoning["reasoningText"], "text").map_or(IMAGE, |text| text.chars().count()),
        (_, value) => value.to_string().chars().count(),
    }
}

#[cfg(test)]
mod tests;
