//! How fast requests become Converse bodies, and answers and streams become events.

use std::borrow::Cow;
use std::hint::black_box;

use adit::chat::capability::Capabilities;
use adit::chat::{EventDecoder, Image, Message, Part, Request, Role, Source, Tool, ToolResult, ToolUse};
use adit::chat::{Policy, Restore};
use adit::dialect::converse::upstream::request::{Options, encode};
use adit::dialect::converse::upstream::response;
use adit::dialect::converse::upstream::stream::Decoder;
use adit::wire::eventstream::write_frame;
use adit::wire::json::{Raw, Text};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const SCHEMA: &str = r#"{"type":"object","properties":{"city":{"type":"string","description":"where"},"days":{"type":"integer"}},"required":["city"]}"#;

/// A conversation with tools: instructions, questions, calls and results, as long as it takes.
fn conversation(bytes: usize) -> Request<'static> {
    let text: &'static str = Box::leak("The quick brown fox jumps over the lazy dog.\\n".repeat(10).into_boxed_str());
    let say = |role| Message { role, parts: vec![Part::Text(Text::from_escaped(text))] };
    let mut messages = vec![say(Role::System)];
    let mut size = 0;
    while size < bytes {
        let id = Text::from_plain(format!("call_{}", messages.len()));
        messages.push(say(Role::User));
        let used = ToolUse { id: id.clone(), name: Text::from_plain("get_weather"), input: Cow::Borrowed(r#"{"city":"Paris","days":3}"#) };
        messages.push(Message { role: Role::Assistant, parts: vec![Part::Text(Text::from_escaped(text)), Part::ToolUse(used)] });
        let result = ToolResult { id, parts: vec![Part::Text(Text::from_escaped(text))], is_error: None };
        messages.push(Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] });
        size += text.len() * 3 + 100;
    }
    let tool = |name| Tool {
        name: Text::from_plain(name),
        description: Some(Text::from_plain("Tells the weather of a city.")),
        parameters: Raw::parse(SCHEMA).ok(),
        strict: None,
        cache: None,
    };
    Request {
        model: Text::from_plain("claude"),
        messages,
        tools: vec![tool("get_weather"), tool("get_forecast")],
        max_tokens: Some(1024),
        temperature: Raw::parse("0.5").ok(),
        stop: vec![Text::from_plain("END")],
        ..Request::default()
    }
}

/// A question about a picture.
fn picture(bytes: usize) -> Request<'static> {
    let base64: &'static str = Box::leak(format!("iVBORw0KGgo{}", "A".repeat(bytes)).into_boxed_str());
    let mut request = conversation(0);
    let image = Image { media_type: Some(Cow::Borrowed("image/png")), source: Source::Base64(Text::from_escaped(base64)) };
    request.messages.push(Message { role: Role::User, parts: vec![Part::Text(Text::from_plain("What is this?")), Part::Image(image)] });
    request
}

fn requests(c: &mut Criterion) {
    let capabilities = Capabilities::of("anthropic.claude-sonnet-4-5-20250929-v1:0");
    let options = Options { capabilities: &capabilities, policy: Policy::default(), default_max_tokens: None, guardrail: None, stream: false };
    let mut group = c.benchmark_group("converse/request_encode");
    for (name, request) in [("1KB", conversation(1 << 10)), ("100KB", conversation(100 << 10)), ("1MB_image", picture(1 << 20))] {
        let size = encode(&request, &options).expect("the request is good").body.len();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |b| b.iter(|| encode(black_box(&request), &options)));
    }
    group.finish();
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/bedrock/{name}", env!("CARGO_MANIFEST_DIR"))).expect("the fixture is there")
}

fn responses(c: &mut Criterion) {
    let mut group = c.benchmark_group("converse/response_decode");
    let restore = Restore::default();
    for name in ["basic.json", "tool.json"] {
        let body = String::from_utf8(fixture(name)).expect("JSON is UTF-8");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| response::decode(black_box(&body), &restore).map(|response| response.parts.len())));
    }
    group.finish();
}

fn streams(c: &mut Criterion) {
    let mut group = c.benchmark_group("converse/stream_decode");
    for name in ["basic.bin", "tool.bin"] {
        let bytes = fixture(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || Decoder::new(Restore::default()),
                |decoder| {
                    decoder.push(black_box(&bytes), &mut |event| drop(black_box(event)));
                    decoder.finish()
                },
                BatchSize::SmallInput,
            );
        });
    }
    let headers = [(":event-type", "contentBlockDelta"), (":content-type", "application/json"), (":message-type", "event")];
    let mut delta = Vec::new();
    write_frame(&mut delta, &headers, br#"{"contentBlockIndex":0,"delta":{"text":" a few words"},"p":"abcdefghij"}"#);
    group.throughput(Throughput::Elements(1));
    group.bench_function("text_delta", |b| {
        let mut decoder = Decoder::new(Restore::default());
        b.iter(|| decoder.push(black_box(&delta), &mut |event| drop(black_box(event))));
    });
    group.finish();
}

criterion_group!(benches, requests, responses, streams);
criterion_main!(benches);
