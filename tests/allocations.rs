//! How often the translators allocate: never for a delta of a running stream, and a bounded number of times for a small request.
//!
//! `cargo test --test allocations -- --nocapture` prints the figures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use adit::chat::capability::Capabilities;
use adit::chat::{Envelope, Policy, Restore};
use adit::dialect::converse::upstream::request::Options;
use adit::dialect::{converse, openai};
use adit::translate::Answer;
use adit::translate::stream::Stream;
use adit::wire::eventstream::write_frame;
use allocation_counter::{AllocationInfo, measure};

const DELTAS: usize = 1000;

fn frame(event: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, &[(":event-type", event), (":content-type", "application/json"), (":message-type", "event")], payload.as_bytes());
    out
}

/// A stream that has begun, in the block of `start`, and is warm: buffers have their size.
fn running(start: &str, delta: &[u8], out: &mut Vec<u8>) -> Stream {
    let envelope = Envelope { id: "0123456789abcdef".to_owned(), model: "claude".to_owned(), created: 1_700_000_000 };
    let style = openai::Style { include_usage: true, legacy_functions: false };
    let mut stream = Answer { envelope, style, restore: Restore::default() }.stream();
    stream.push(&frame("messageStart", r#"{"role":"assistant"}"#), out);
    stream.push(&frame("contentBlockStart", start), out);
    for piece in delta.chunks(50) {
        stream.push(piece, out);
    }
    stream
}

/// Sends a delta again and again, in pieces of `size`, and counts.
fn repeated(start: &str, delta: &str, size: usize) -> AllocationInfo {
    let delta = frame("contentBlockDelta", delta);
    let mut out = Vec::new();
    let mut stream = running(start, &delta, &mut out);
    let mut written = 0;
    let counted = measure(|| {
        for _ in 0..DELTAS {
            out.clear();
            for piece in delta.chunks(size) {
                stream.push(piece, &mut out);
            }
            written += out.len();
        }
    });
    assert!(written > DELTAS * 100, "every delta is written");
    counted
}

#[test]
fn deltas_allocate_nothing_in_steady_state() {
    for (name, start, delta) in [
        (
            "text",
            r#"{"contentBlockIndex":0,"start":{}}"#,
            r#"{"contentBlockIndex":0,"delta":{"text":" is \"the\"\nanswer, d\u00e9j\u00e0 vu é"},"p":"abcdef"}"#,
        ),
        (
            "tool arguments",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"a","name":"f"}}}"#,
            r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"city\": \"Os"}},"p":"abcdef"}"#,
        ),
    ] {
        for size in [usize::MAX, 50, 7] {
            let counted = repeated(start, delta, size);
            assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{name} in pieces of {size}");
        }
        println!("{DELTAS} deltas of {name}: 0 allocations");
    }
}

#[test]
fn a_small_request_takes_few_allocations() {
    let body = r#"{"model":"claude","temperature":0.2,"max_tokens":1024,"stream":true,"stream_options":{"include_usage":true},"messages":[
        {"role":"system","content":"You are a helpful assistant.\nUse tools for facts."},{"role":"user","content":"What is the weather like in Oslo \"today\"?"}],
        "tools":[{"type":"function","function":{"name":"weather","description":"The weather in a place","parameters":
        {"type":"object","required":["city"],"properties":{"city":{"type":"string"}}}}}]}"#;
    let capabilities = Capabilities::of("anthropic.claude-3-haiku-20240307-v1:0");
    let mut dropped = Vec::new();
    let counted = measure(|| {
        let decoded = openai::downstream::request::decode(body).unwrap();
        let options = Options { capabilities: &capabilities, policy: Policy::default(), default_max_tokens: None, guardrail: None, stream: decoded.stream };
        dropped = converse::upstream::request::encode(&decoded.request, &options).unwrap().dropped;
    });
    assert!(dropped.is_empty(), "{dropped:?}");
    println!("a request of {} bytes: {} allocations, {} bytes", body.len(), counted.count_total, counted.bytes_total);
    // Twice what it takes today: this is about a copy of every text or a map for every message, not about one vector more.
    assert!(counted.count_total <= 40, "{counted:?}");
    assert!(counted.bytes_total <= 8 * 1024, "{counted:?}");
}
