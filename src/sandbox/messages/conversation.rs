//! What a Messages body says, in the form that answers are made from: that of Converse. Only what makes an answer, its token counts or its cache points
//! differ is taken over.

use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::sandbox::rules::{items, text};

use super::turns::{Block, Turn};

/// The conversation of a body that has passed all checks.
pub(super) fn of(body: &Value, headers: &HeaderMap) -> Value {
    let mut out = Map::new();
    let mut set = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    let mut turns: Vec<Value> = Turn::all(items(body, "messages"))
        .iter()
        .map(|turn| json!({"role": turn.role, "content": turn.blocks.iter().flat_map(|block| content(*block)).collect::<Vec<_>>()}))
        .collect();
    // A mark on the whole body is one behind its last block.
    if let Some(point) = cache_point(body)
        && let Some(content) = turns.last_mut().and_then(|turn| turn["content"].as_array_mut())
    {
        content.push(point);
    }
    set("messages", Value::from(turns));
    let system = match &body["system"] {
        Value::String(system) => vec![json!({"text": system})],
        _ => items(body, "system").iter().flat_map(|block| with_cache_point(json!({"text": block["text"]}), block)).collect(),
    };
    set("system", Value::from(system));
    if let Some(config) = tool_config(body) {
        set("toolConfig", config);
    }
    let mut inference = json!({"maxTokens": body["max_tokens"]});
    inference["stopSequences"] = Value::from(items(body, "stop_sequences").to_vec());
    set("inferenceConfig", inference);
    set("additionalModelRequestFields", json!({"thinking": body["thinking"], "tool_choice": body["tool_choice"]}));
    if let Some(schema) = body["output_config"]["format"].get("schema") {
        set("outputConfig", json!({"textFormat": {"structure": {"jsonSchema": {"schema": schema.to_string()}}}}));
    }
    set("additionalModelResponseFieldPaths", json!(["/stop_sequence", "/usage/output_tokens_details"]));
    if headers.get("x-amzn-bedrock-guardrailidentifier").is_some_and(|id| !id.is_empty()) {
        set("guardrailConfig", json!({}));
    }
    Value::Object(out)
}

fn tool_config(body: &Value) -> Option<Value> {
    let choice = &body["tool_choice"];
    let tool_choice = match text(choice, "type") {
        // Without tools nothing is called.
        Some("none") => return None,
        Some("any") => json!({"any": {}}),
        Some("tool") => json!({"tool": {"name": choice["name"]}}),
        _ => json!({"auto": {}}),
    };
    let spec = |tool: &Value| {
        let schema = tool.get("input_schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
        json!({"toolSpec": {"name": tool["name"], "description": tool["description"], "inputSchema": {"json": schema}}})
    };
    // A search for tools is not the model's to call with arguments.
    let callable = items(body, "tools").iter().filter(|tool| !text(tool, "type").is_some_and(|kind| kind.starts_with("tool_search_tool")));
    let tools: Vec<Value> = callable.flat_map(|tool| with_cache_point(spec(tool), tool)).collect();
    (!tools.is_empty()).then(|| json!({"tools": tools, "toolChoice": tool_choice}))
}

/// The block, and its cache point.
fn content(block: Block<'_>) -> impl Iterator<Item = Value> {
    let value = block.value();
    let out = match block.kind() {
        "text" => json!({"text": block.text().unwrap_or_default()}),
        "thinking" => json!({"reasoningContent": {"reasoningText": {"text": value["thinking"]}}}),
        "redacted_thinking" => json!({"reasoningContent": {"redactedContent": value["data"]}}),
        "tool_use" => json!({"toolUse": {"name": value["name"], "input": value["input"]}}),
        "tool_result" => json!({"toolResult": {"content": result(value), "status": if value["is_error"] == true { "error" } else { "success" }}}),
        _ => file(value),
    };
    with_cache_point(out, value)
}

fn result(value: &Value) -> Vec<Value> {
    match &value["content"] {
        Value::String(text) => vec![json!({"text": text})],
        _ => items(value, "content").iter().map(|inner| text(inner, "text").map_or_else(|| file(inner), |text| json!({"text": text}))).collect(),
    }
}

fn file(value: &Value) -> Value {
    let source = &value["source"];
    match text(value, "type") {
        Some("image") => {
            let format = text(source, "media_type").and_then(|media_type| media_type.strip_prefix("image/"));
            json!({"image": {"format": format, "source": {"bytes": source["data"]}}})
        }
        Some("document") if text(source, "type") == Some("base64") => {
            json!({"document": {"format": "pdf", "name": value["title"], "source": {"bytes": source["data"]}}})
        }
        Some("document") => {
            let written = text(source, "data").or_else(|| text(source, "content")).map_or_else(|| source["content"].to_string(), str::to_owned);
            json!({"document": {"format": "txt", "name": value["title"], "source": {"text": written}}})
        }
        _ => json!({"searchResult": value}),
    }
}

fn with_cache_point(block: Value, marked: &Value) -> impl Iterator<Item = Value> {
    std::iter::once(block).chain(cache_point(marked))
}

fn cache_point(marked: &Value) -> Option<Value> {
    let mark = marked.get("cache_control").filter(|mark| !mark.is_null())?;
    Some(json!({"cachePoint": {"type": "default", "ttl": text(mark, "ttl").unwrap_or("5m")}}))
}
