//! Request bodies of three sizes, as clients send them.

use serde_json::{Value, json};

/// The bodies by name: about 1 KB, about 100 KB of conversation, and a picture of 1 MB.
pub(crate) fn bodies() -> [(&'static str, String); 3] {
    [("1KB", small().to_string()), ("100KB", conversation().to_string()), ("1MB", picture().to_string())]
}

/// A request of one short turn with a tool: about 1 KB.
fn small() -> Value {
    let parameters = json!({
        "type": "object", "required": ["city"], "additionalProperties": false,
        "properties": {"city": {"type": "string", "description": "City and country"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    });
    json!({
        "model": "claude-3-haiku", "temperature": 0.2, "max_tokens": 1024, "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "system", "content": "You are a helpful assistant. Answer briefly and in the language of the question.\nUse tools for facts.".repeat(3)},
            {"role": "user", "content": "What is the weather like in Reykjavík \"today\"?"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "The weather in a place", "parameters": parameters}}],
    })
}

/// A long conversation with tool calls: about 100 KB, strings and parts, with the line breaks and quotes of prose and code.
fn conversation() -> Value {
    let mut body = small();
    let prose = "The quick brown fox jumps over the lazy dog, says \"nothing\", and walks away as if this were all there is.\n".repeat(9);
    let messages: Vec<Value> = (0..20)
        .flat_map(|turn| {
            let id = format!("call_{turn}");
            [
                json!({"role": "user", "content": [{"type": "text", "text": prose}, {"type": "text", "text": prose}]}),
                json!({"role": "assistant", "content": prose, "tool_calls": [
                    {"id": id, "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Oslo, Norway\",\"unit\":\"celsius\"}"}},
                ]}),
                json!({"role": "tool", "tool_call_id": id, "content": prose}),
                json!({"role": "assistant", "content": prose}),
            ]
        })
        .collect();
    body["messages"].as_array_mut().expect("the small request has messages").extend(messages);
    body
}

/// A question about a picture of 1 MB in base64.
fn picture() -> Value {
    let url = format!("data:image/png;base64,{}", "iVBORw0KGgoAAAANSUhEUgAA+/09".repeat(37_450));
    json!({"model": "claude-3-haiku", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]}]})
}
