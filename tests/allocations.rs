//! How often the translators allocate: never for a delta of a running stream, and a bounded number of times for a small request.
//!
//! `cargo test --test allocations -- --nocapture` prints the figures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use adit::chat::capability::Capabilities;
use adit::chat::{Envelope, Options, Policy, Restore};
use adit::dialect::{Surface, anthropic, converse, openai};
use adit::translate::reframe::Unwrapped;
use adit::translate::stream::Flow;
use adit::translate::{Api, Client, Question, Target, Translation};
use adit::wire::envelope::write_chunk;
use adit::wire::eventstream::write_frame;
use allocation_counter::{AllocationInfo, measure};

const DELTAS: usize = 1000;
const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";

/// What an upstream streams: how an answer begins, and one delta of it.
struct Script {
    name: &'static str,
    api: Api,
    start: Vec<u8>,
    delta: Vec<u8>,
}

fn frame(event: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, &[(":event-type", event), (":content-type", "application/json"), (":message-type", "event")], payload.as_bytes());
    out
}

/// A stream of Converse: the payloads of the block's start and of the delta.
fn converse_script(name: &'static str, start: &str, delta: &str) -> Script {
    let start = [frame("messageStart", r#"{"role":"assistant"}"#), frame("contentBlockStart", start)].concat();
    Script { name, api: Api::Converse, start, delta: frame("contentBlockDelta", delta) }
}

fn sse(data: &[&str]) -> Vec<u8> {
    data.iter().map(|data| format!("data: {data}\n\n")).collect::<String>().into_bytes()
}

fn named_sse(events: &[(&str, &str)]) -> Vec<u8> {
    events.iter().map(|(name, data)| format!("event: {name}\ndata: {data}\n\n")).collect::<String>().into_bytes()
}

const MESSAGE_START: (&str, &str) = (
    "message_start",
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":7,"output_tokens":1}}}"#,
);

/// A text and a tool use of every API.
fn scripts() -> Vec<Script> {
    let anthropic = |name, block, delta| Script {
        name,
        api: Api::Anthropic,
        start: named_sse(&[MESSAGE_START, ("content_block_start", block)]),
        delta: named_sse(&[("content_block_delta", delta)]),
    };
    let openai = |name, first, delta| Script { name, api: Api::OpenAi, start: sse(&[first]), delta: sse(&[delta]) };
    vec![
        converse_script(
            "text",
            r#"{"contentBlockIndex":0,"start":{}}"#,
            r#"{"contentBlockIndex":0,"delta":{"text":" is \"the\"\nanswer, d\u00e9j\u00e0 vu é"},"p":"abcdef"}"#,
        ),
        converse_script(
            "tool arguments",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"a","name":"f"}}}"#,
            r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"city\": \"Os"}},"p":"abcdef"}"#,
        ),
        anthropic(
            "text",
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" is \"the\"\nanswer, d\u00e9j\u00e0 vu é"}}"#,
        ),
        anthropic(
            "tool arguments",
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"city\": \"Os"}}"#,
        ),
        openai(
            "text",
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" is \"the\"\nanswer, d\u00e9j\u00e0 vu é"},"finish_reason":null}]}"#,
        ),
        openai(
            "tool arguments",
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}"#,
            r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\": \"Os"}}]},"finish_reason":null}]}"#,
        ),
    ]
}

fn clients() -> [(&'static str, Client); 6] {
    let request = r#"{"model":"claude","input":"Hello"}"#;
    [
        ("Completions", Client::Completions(openai::completions::Style::default())),
        ("Responses", Question::decode(Surface::Responses, "", request).unwrap().client),
        ("OpenAI", Client::OpenAi(openai::Style { include_usage: true, legacy_functions: false })),
        ("Anthropic", Client::Anthropic(anthropic::Style::default())),
        ("Converse", Client::Converse(converse::Style::default())),
        ("InvokeModel", Client::Invoke(anthropic::Style::default())),
    ]
}

/// Sends a delta again and again, in pieces of `size`, and counts: in a stream that has begun and is warm, its buffers have their size.
fn repeated(mut flow: Flow, script: &Script, size: usize) -> AllocationInfo {
    let mut out = Vec::new();
    flow.push(&script.start, 0, &mut out);
    for piece in script.delta.chunks(50) {
        flow.push(piece, 0, &mut out);
    }
    let mut written = 0;
    let counted = measure(|| {
        for _ in 0..DELTAS {
            out.clear();
            for piece in script.delta.chunks(size) {
                flow.push(piece, 0, &mut out);
            }
            written += out.len();
        }
    });
    assert!(written > DELTAS * 100, "every delta is written");
    counted
}

#[test]
fn deltas_allocate_nothing_in_steady_state() {
    let mut found = Vec::new();
    for script in scripts() {
        // Completions have no tools.
        for (name, client) in clients().into_iter().filter(|(name, _)| *name != "Completions" || script.name == "text") {
            let envelope = Envelope { id: "0123456789abcdef".to_owned(), model: "claude".to_owned(), created: 1_700_000_000 };
            let translation = Translation { envelope, client, api: script.api, restore: Restore::default() };
            let most = match name {
                // The envelope's base64 is text of its own for every event.
                "InvokeModel" => DELTAS as u64,
                // The last event says the whole answer again: what is kept until then doubles its room now and then.
                "Responses" => u64::from(usize::BITS),
                _ => 0,
            };
            for size in [usize::MAX, 50, 7] {
                let counted = repeated(Flow::Translated(translation.stream()), &script, size);
                if counted.count_total > most {
                    found.push(format!("{:?}, {}, {name} client, pieces of {size}: {counted:?}", script.api, script.name));
                }
            }
            println!("{DELTAS} deltas of {} from {:?} to {name}'s clients: at most {most} allocations", script.name, script.api);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_delta_out_of_its_envelope_allocates_nothing_either() {
    for script in scripts().into_iter().filter(|script| script.api == Api::Anthropic) {
        let enveloped = |events: &[u8]| {
            let mut out = Vec::new();
            let text = String::from_utf8(events.to_vec()).unwrap();
            for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                write_chunk(&mut out, data.as_bytes());
            }
            out
        };
        let script = Script { start: enveloped(&script.start), delta: enveloped(&script.delta), ..script };
        for size in [usize::MAX, 50, 7] {
            let counted = repeated(Flow::Reframed(Unwrapped::default()), &script, size);
            assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{} in pieces of {size}", script.name);
        }
    }
}

#[test]
fn a_small_request_takes_few_allocations() {
    let body = r#"{"model":"claude","temperature":0.2,"max_tokens":1024,"stream":true,"stream_options":{"include_usage":true},"messages":[
        {"role":"system","content":"You are a helpful assistant.\nUse tools for facts."},{"role":"user","content":"What is the weather like in Oslo \"today\"?"}],
        "tools":[{"type":"function","function":{"name":"weather","description":"The weather in a place","parameters":
        {"type":"object","required":["city"],"properties":{"city":{"type":"string"}}}}}]}"#;
    let capabilities = Capabilities::of(HAIKU);
    let mut dropped = Vec::new();
    let counted = measure(|| {
        let question = Question::decode(Surface::ChatCompletions, "", body).unwrap();
        let options =
            Options { model: HAIKU, family: HAIKU, capabilities: &capabilities, policy: Policy::default(), default_max_tokens: None, stream: question.stream };
        dropped = question.encode(&Target { api: Api::Converse, options, guardrail: None }).unwrap().dropped;
    });
    assert!(dropped.is_empty(), "{dropped:?}");
    println!("a request of {} bytes: {} allocations, {} bytes", body.len(), counted.count_total, counted.bytes_total);
    // Twice what it takes today: this is about a copy of every text or a map for every message, not about one vector more.
    assert!(counted.count_total <= 40, "{counted:?}");
    assert!(counted.bytes_total <= 8 * 1024, "{counted:?}");
}

#[test]
fn a_good_proof_touches_nothing_where_there_is_no_failure_on_record() {
    use adit::policy::auth::lockout::Lockout;
    let (lockout, now) = (Lockout::default(), std::time::Instant::now());
    let (address, other) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
    // Somebody else has failed, so that there is something to look into.
    lockout.failed(other, Some("one"), now);
    let good = || {
        assert_eq!(lockout.wait(address, Some("one"), now), None);
        lockout.succeeded(address, "one");
    };
    good();
    let AllocationInfo { count_total, .. } = measure(|| (0..100).for_each(|_| good()));
    assert_eq!(count_total, 0);
}
