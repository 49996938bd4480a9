//! What an answer says again of its request.

use super::Wire;
use crate::wire::json::{Raw, compact_into};

/// What stands in an answer where the request says nothing. Of the sampling only the model knows what holds then.
const DEFAULTS: [(&str, &str); 14] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", r#""disabled""#),
    ("user", "null"),
    ("metadata", "{}"),
];

/// The members, without braces, on one line: `"instructions":null,…`.
pub(super) fn echo(wire: &Wire<'_>) -> String {
    let mut out = Vec::with_capacity(400);
    for (name, default) in DEFAULTS {
        if !out.is_empty() {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match said(wire, name) {
            Some(raw) => compact_into(&mut out, raw),
            None => out.extend_from_slice(default.as_bytes()),
        }
    }
    // Names of ours and pieces of a text.
    String::from_utf8(out).unwrap_or_default()
}

fn said<'a>(wire: &Wire<'a>, name: &str) -> Option<Raw<'a>> {
    match name {
        "instructions" => wire.instructions,
        "max_output_tokens" => wire.max_output_tokens,
        "max_tool_calls" => wire.max_tool_calls,
        "parallel_tool_calls" => wire.parallel_tool_calls,
        "previous_response_id" => wire.previous_response_id,
        "reasoning" => wire.reasoning,
        "temperature" => wire.temperature,
        "text" => wire.text,
        "tool_choice" => wire.tool_choice,
        "tools" => wire.tools,
        "top_p" => wire.top_p,
        "truncation" => wire.truncation,
        "user" => wire.user,
        "metadata" => wire.metadata,
        _ => None,
    }
}
