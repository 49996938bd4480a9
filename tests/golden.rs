//! Golden fixtures: one directory a case, the input beside what each other side makes of it.
//!
//! * `golden/openai/request/<case>/input.json` → `converse.json`, the body that Bedrock gets, and `dropped.txt`; or `error.txt`
//! * `golden/converse/response/<case>/input.json` → `openai.json`, or `error.txt`
//! * `golden/converse/stream/<case>/input.bin` or `input.jsonl` (one `{"name": payload}` a line) → `openai.sse`
//!
//! `target.json` beside an input chooses the model and the policy. Set `ADIT_UPDATE_GOLDEN=1` to rewrite the expected files; read the difference before you
//! commit it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use adit::chat::capability::{Capabilities, Overrides};
use adit::chat::{ApiError, Encoded, Envelope, Policy, Unknown, Unsupported};
use adit::dialect::converse::upstream::request::Options;
use adit::dialect::{converse, openai};
use adit::translate::Answer;
use adit::wire::eventstream;
use serde::Deserialize;
use serde_json::Value;

/// What a request, or an answer, may become.
const REQUEST_FILES: [&str; 3] = ["converse.json", "dropped.txt", "error.txt"];
const RESPONSE_FILES: [&str; 2] = ["openai.json", "error.txt"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    #[serde(default = "haiku")]
    model: String,
    #[serde(default)]
    unsupported: Unsupported,
    #[serde(default)]
    unknown: Unknown,
    default_max_tokens: Option<u64>,
    #[serde(default)]
    capabilities: Overrides,
    guardrail: Option<converse::Guardrail>,
}

fn haiku() -> String {
    "anthropic.claude-3-haiku-20240307-v1:0".to_owned()
}

fn target(case: &Path) -> Target {
    let text = fs::read_to_string(case.join("target.json")).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", case.display()))
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kind);
    let mut cases: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    cases
}

/// Compares with the expected file, or writes it when asked to.
fn check(case: &Path, name: &str, found: &[u8], failures: &mut Vec<String>) {
    let path = case.join(name);
    if std::env::var_os("ADIT_UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
        return;
    }
    match fs::read(&path) {
        Ok(expected) if expected == found => {}
        Ok(_) => failures.push(format!("{} differs; found:\n{}", path.display(), String::from_utf8_lossy(found))),
        Err(_) => failures.push(format!("{} is missing; found:\n{}", path.display(), String::from_utf8_lossy(found))),
    }
}

/// Compares with what a case expects of all of these files: those that were not made must not be there.
fn check_all(case: &Path, all: &[&str], made: &[(&str, &[u8])], failures: &mut Vec<String>) {
    for name in all {
        let path = case.join(name);
        match made.iter().find(|(made, _)| made == name) {
            Some((_, found)) => check(case, name, found, failures),
            None if !path.exists() => {}
            None if std::env::var_os("ADIT_UPDATE_GOLDEN").is_some() => fs::remove_file(&path).unwrap(),
            None => failures.push(format!("{} was not made", path.display())),
        }
    }
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} cases fail\n{}", failures.len(), failures.join("\n"));
}

/// Pretty, with the members in the order in which they were written: the order is part of what is promised.
fn pretty(json: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(json).unwrap();
    serde_json::from_str::<serde::de::IgnoredAny>(text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"));
    let mut out = Vec::new();
    let (mut depth, mut in_string, mut escaped, mut empty) = (0_usize, false, false, false);
    let indent = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for &byte in json {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                if empty {
                    indent(&mut out, depth);
                }
                depth += 1;
                out.push(byte);
                empty = true;
                continue;
            }
            b'}' | b']' => {
                depth -= 1;
                if !empty {
                    indent(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                indent(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => continue,
            _ => {
                if empty {
                    indent(&mut out, depth);
                }
                in_string = byte == b'"';
                out.push(byte);
            }
        }
        empty = false;
    }
    out.push(b'\n');
    out
}

fn encode(case: &Path, input: &str) -> Result<Encoded, ApiError> {
    let target = target(case);
    let decoded = openai::downstream::request::decode(input)?;
    let mut capabilities = Capabilities::of(&target.model);
    capabilities.apply(&target.capabilities);
    let policy = Policy { unsupported: target.unsupported, unknown: target.unknown };
    let options = Options {
        capabilities: &capabilities,
        policy,
        default_max_tokens: target.default_max_tokens,
        guardrail: target.guardrail.as_ref(),
        stream: decoded.stream,
    };
    converse::upstream::request::encode(&decoded.request, &options)
}

#[test]
fn openai_requests_become_converse_requests() {
    let mut failures = Vec::new();
    for case in cases("openai/request") {
        let input = fs::read_to_string(case.join("input.json")).unwrap();
        match encode(&case, &input) {
            Ok(encoded) => {
                let (body, dropped) = (pretty(&encoded.body), format!("{}\n", encoded.dropped.join("\n")));
                let made = [("converse.json", body.as_slice()), ("dropped.txt", dropped.as_bytes())];
                check_all(&case, &REQUEST_FILES, if encoded.dropped.is_empty() { &made[..1] } else { &made }, &mut failures);
            }
            Err(error) => {
                let mut body = Vec::new();
                openai::downstream::error::encode(&error, &mut body);
                let shown = [format!("{}\n", error.status).as_bytes(), &pretty(&body)].concat();
                check_all(&case, &REQUEST_FILES, &[("error.txt", &shown)], &mut failures);
            }
        }
    }
    report(&failures);
}

fn answer(case: &Path) -> Answer {
    // The request that led to the answer, where the answer depends on it.
    let request = fs::read_to_string(case.join("request.json")).ok();
    let (style, restore) = match &request {
        Some(request) => (openai::downstream::request::decode(request).unwrap().style, encode(case, request).unwrap().restore),
        None => Default::default(),
    };
    Answer { envelope: Envelope { id: "golden".to_owned(), model: "claude".to_owned(), created: 1_700_000_000 }, style, restore }
}

#[test]
fn converse_answers_become_chat_completions() {
    let mut failures = Vec::new();
    for case in cases("converse/response") {
        let input = fs::read(case.join("input.json")).unwrap();
        let mut out = Vec::new();
        match answer(&case).translate_body(&input, &mut out) {
            Ok(_) => check_all(&case, &RESPONSE_FILES, &[("openai.json", &pretty(&out))], &mut failures),
            Err(error) => check_all(&case, &RESPONSE_FILES, &[("error.txt", format!("{} {error}\n", error.status).as_bytes())], &mut failures),
        }
    }
    report(&failures);
}

/// The frames of a case, from a recording or from lines.
fn frames(case: &Path) -> Vec<u8> {
    if let Ok(recorded) = fs::read(case.join("input.bin")) {
        return recorded;
    }
    let mut out = Vec::new();
    for line in fs::read_to_string(case.join("input.jsonl")).unwrap().lines() {
        let event: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let (name, payload) = event.iter().next().unwrap();
        let (kind, message_type) = if name.ends_with("Exception") { (":exception-type", "exception") } else { (":event-type", "event") };
        let headers = [(kind, name.as_str()), (":content-type", "application/json"), (":message-type", message_type)];
        eventstream::write_frame(&mut out, &headers, payload.to_string().as_bytes());
    }
    out
}

fn translate(answer: &Answer, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = answer.stream();
    let mut out = Vec::new();
    for piece in pieces {
        stream.push(piece, &mut out);
    }
    stream.finish(&mut out);
    out
}

#[test]
fn converse_streams_become_chunks() {
    let mut failures = Vec::new();
    for case in cases("converse/stream") {
        let input = frames(&case);
        check(&case, "openai.sse", &translate(&answer(&case), &[&input]), &mut failures);
    }
    report(&failures);
}

#[test]
fn streams_are_the_same_for_every_split_point_and_chunk_size() {
    for case in cases("converse/stream") {
        let input = frames(&case);
        let answer = answer(&case);
        let whole = translate(&answer, &[&input]);
        for at in 0..=input.len() {
            let (left, right) = input.split_at(at);
            assert_eq!(translate(&answer, &[left, right]), whole, "{} split at {at}", case.display());
        }
        for size in [1, 2, 3, 7, 11, 12, 13, 64, 1000] {
            let pieces: Vec<&[u8]> = input.chunks(size).collect();
            assert_eq!(translate(&answer, &pieces), whole, "{} in pieces of {size}", case.display());
        }
    }
}

#[test]
fn a_stream_cut_anywhere_ends_in_an_error_and_never_in_done() {
    for case in cases("converse/stream") {
        let input = frames(&case);
        let answer = answer(&case);
        let whole = String::from_utf8(translate(&answer, &[&input])).unwrap();
        if !whole.ends_with("data: [DONE]\n\n") {
            continue;
        }
        // Behind messageStop the answer is complete, but for bytes that are left over; find where that is by cutting frame by frame.
        for at in 0..input.len() {
            let text = String::from_utf8(translate(&answer, &[&input[..at]])).unwrap();
            let stopped = text.contains(r#""finish_reason":""#);
            let failed = text.contains(r#"data: {"error":"#);
            assert!(failed || stopped, "{} cut at {at}: neither an error nor a stop:\n{text}", case.display());
            assert!(!(failed && text.contains("[DONE]")), "{} cut at {at}", case.display());
        }
    }
}
