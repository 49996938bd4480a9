//! What the gateway does with a chat: a request from the client's body to the upstream's, an answer all the way back; on one core, without network and
//! signature.

mod common;

use std::fs;
use std::hash::RandomState;
use std::hint::black_box;

use adit::chat::capability::Capabilities;
use adit::chat::{ApiError, CachePoint, Encoded, Envelope, Options, Part, Policy, Restore};
use adit::dialect::{Surface, openai};
use adit::translate::{Api, Client, Question, Target, Translation, prefix};
use adit::wire::eventstream;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";

fn translate(body: &str, capabilities: &Capabilities) -> Result<Encoded, ApiError> {
    let question = Question::decode(Surface::ChatCompletions, "", body)?;
    let options = Options { model: HAIKU, family: HAIKU, capabilities, policy: Policy::default(), default_max_tokens: None, stream: question.stream };
    question.encode(&Target { api: Api::Converse, options, guardrail: None })
}

fn requests(criterion: &mut Criterion) {
    let capabilities = Capabilities::of(HAIKU);
    let mut group = criterion.benchmark_group("translate/request");
    for (case, body) in common::bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(case), &body, |bencher, body| {
            bencher.iter(|| translate(black_box(body), &capabilities).expect("the request is valid"));
        });
    }
    group.finish();
}

/// What affinity to a prompt cache costs: the look that all bodies get, and the hashes of one with a marker at its end.
fn prefixes(criterion: &mut Criterion) {
    let hasher = RandomState::new();
    let mut group = criterion.benchmark_group("translate/prefix");
    for (case, body) in common::bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("may_mark", case), &body, |bencher, body| bencher.iter(|| prefix::may_mark(black_box(body.as_bytes()))));
        let mut question = Question::decode(Surface::ChatCompletions, "", &body).expect("the request is valid");
        let last = question.request.messages.last_mut().expect("it has messages");
        last.parts.push(Part::CachePoint(CachePoint::default()));
        group.bench_function(BenchmarkId::new("prefixes", case), |bencher| bencher.iter(|| prefix::prefixes(black_box(&question.request), &hasher)));
    }
    group.finish();
}

fn answer() -> Translation {
    Translation {
        envelope: Envelope { id: "0123456789abcdef0123456789abcdef".to_owned(), model: "claude-3-haiku".to_owned(), created: 1_700_000_000 },
        client: Client::OpenAi(openai::Style { include_usage: true, legacy_functions: false }),
        api: Api::Converse,
        restore: Restore::default(),
    }
}

fn recorded(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/fixtures/bedrock/{name}", env!("CARGO_MANIFEST_DIR"))).expect("the recording is there")
}

fn streams(criterion: &mut Criterion) {
    let answer = answer();
    let headers = [(":event-type", "contentBlockDelta"), (":content-type", "application/json"), (":message-type", "event")];
    let mut frame = Vec::new();
    eventstream::write_frame(&mut frame, &headers, br#"{"contentBlockIndex":0,"delta":{"text":" is the answer to"},"p":"abcdefghijklmnop"}"#);
    let mut stream = answer.stream();
    let mut out = Vec::new();
    stream.push(&frame, &mut out);

    let mut group = criterion.benchmark_group("translate/stream");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("text_delta", |bencher| {
        bencher.iter(|| {
            out.clear();
            stream.push(black_box(&frame), &mut out);
            out.len()
        });
    });
    for (case, name) in [("recorded/text", "basic.bin"), ("recorded/tool", "tool.bin")] {
        let bytes = recorded(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(case, |bencher| {
            let mut out = Vec::new();
            bencher.iter_batched(
                || answer.stream(),
                |mut stream| {
                    out.clear();
                    stream.push(black_box(&bytes), &mut out);
                    stream.finish(&mut out);
                    stream
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn bodies(criterion: &mut Criterion) {
    let answer = answer();
    let mut group = criterion.benchmark_group("translate/body");
    for (case, name) in [("recorded/text", "basic.json"), ("recorded/tool", "tool.json")] {
        let body = recorded(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(case, |bencher| {
            bencher.iter(|| {
                let mut out = Vec::new();
                answer.body(black_box(&body), 0, &mut out).expect("the recording is an answer");
                out
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, prefixes, streams, bodies);
criterion_main!(benches);
