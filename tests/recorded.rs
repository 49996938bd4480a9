//! Recorded streams, translated, against what botocore reads from the same bytes, wherever the bytes are cut.
//!
//! `tests/tools/botocore_reads.py` writes down what botocore reads; a test beside the Python SDKs checks that it still reads that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use adit::chat::{Envelope, Restore};
use adit::dialect::openai::Style;
use adit::translate::{Api, Client, Translation};
use serde::Deserialize;
use serde_json::Value;

/// What botocore reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Opinion {
    blocks: Vec<Block>,
    stop_reason: Option<String>,
    usage: Option<Usage>,
    exception: Option<Exception>,
}

#[derive(Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase", deny_unknown_fields)]
enum Block {
    Text { text: String },
    ToolUse { tool_use_id: String, name: String, input: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    code: String,
    message: String,
}

/// What a client makes of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    text: String,
    /// Id, name and arguments by index.
    tools: BTreeMap<u64, (String, String, String)>,
    finish_reason: Option<String>,
    /// Prompt, completion, total.
    usage: Option<(u64, u64, u64)>,
    /// Message and code.
    error: Option<(String, Option<String>)>,
    done: bool,
}

impl Opinion {
    /// The same in the words of Chat Completions.
    fn expected(&self) -> Seen {
        let mut seen = Seen { done: self.exception.is_none(), ..Seen::default() };
        for block in &self.blocks {
            match block {
                Block::Text { text } => seen.text.push_str(text),
                Block::ToolUse { tool_use_id, name, input } => {
                    _ = seen.tools.insert(seen.tools.len() as u64, (tool_use_id.clone(), name.clone(), input.clone()));
                }
            }
        }
        seen.finish_reason = self.stop_reason.as_deref().map(|reason| match reason {
            "end_turn" => "stop".to_owned(),
            "tool_use" => "tool_calls".to_owned(),
            other => panic!("no recording stops for {other}: say here what it is called"),
        });
        seen.usage = self.usage.as_ref().map(|usage| (usage.input_tokens, usage.output_tokens, usage.total_tokens));
        seen.error = self.exception.as_ref().map(|exception| {
            let code = match exception.code.as_str() {
                "throttlingException" => "rate_limit_exceeded",
                "modelStreamErrorException" => "model_error",
                other => panic!("no recording fails with {other}: say here what it is called"),
            };
            (exception.message.clone(), Some(code.to_owned()))
        });
        seen
    }
}

impl Seen {
    /// Reads an SSE body as clients do.
    fn read(body: &str) -> Self {
        let mut seen = Seen::default();
        for event in body.split_terminator("\n\n") {
            assert!(!seen.done && seen.error.is_none(), "something follows the end: {event}");
            let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("not a data line: {event}"));
            if data == "[DONE]" {
                seen.done = true;
                continue;
            }
            let chunk: Value = serde_json::from_str(data).unwrap();
            let text = |value: &Value| value.as_str().map(str::to_owned);
            if let Some(error) = chunk.get("error") {
                let message = text(&error["message"]).unwrap();
                // What the model itself said stands behind it in parentheses; botocore leaves that out.
                let message = message.split(" (").next().unwrap().to_owned();
                seen.error = Some((message, text(&error["code"])));
                continue;
            }
            for choice in chunk["choices"].as_array().unwrap() {
                seen.choice(choice);
            }
            if chunk["usage"].is_object() {
                let count = |name: &str| chunk["usage"][name].as_u64().unwrap();
                assert_eq!(seen.usage.replace((count("prompt_tokens"), count("completion_tokens"), count("total_tokens"))), None, "tokens come once");
            }
        }
        seen
    }

    fn choice(&mut self, choice: &Value) {
        assert_eq!(choice["index"], 0);
        let delta = &choice["delta"];
        self.text.push_str(delta["content"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let (id, name, arguments) = self.tools.entry(call["index"].as_u64().unwrap()).or_default();
            id.push_str(call["id"].as_str().unwrap_or_default());
            name.push_str(call["function"]["name"].as_str().unwrap_or_default());
            arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            assert_eq!(self.finish_reason.replace(reason.to_owned()), None, "the answer finishes once");
        }
    }
}

/// Translates a body that arrives in these pieces.
fn translate(pieces: &[&[u8]]) -> String {
    let envelope = Envelope { id: "recorded".to_owned(), model: "claude".to_owned(), created: 1_700_000_000 };
    let style = Style { include_usage: true, legacy_functions: false };
    let translation = Translation { envelope, client: Client::OpenAi(style), api: Api::Converse, restore: Restore::default() };
    let mut stream = translation.stream();
    let mut out = Vec::new();
    for piece in pieces {
        stream.push(piece, &mut out);
    }
    stream.finish(&mut out);
    String::from_utf8(out).unwrap()
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bedrock");
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|extension| extension == "bin")).collect();
    found.sort();
    assert_eq!(found.len(), 4);
    found
}

#[test]
fn clients_see_what_botocore_reads_wherever_the_bytes_are_cut() {
    for path in recordings() {
        let bytes = fs::read(&path).unwrap();
        let opinion: Opinion = serde_json::from_str(&fs::read_to_string(path.with_extension("botocore.json")).unwrap()).unwrap();
        let expected = opinion.expected();
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(Seen::read(&translate(&[left, right])), expected, "{} split at {at}", path.display());
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(Seen::read(&translate(&single)), expected, "{} byte by byte", path.display());
    }
}
