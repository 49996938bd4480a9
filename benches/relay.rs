//! What is done to bodies that pass untranslated, on one core: members are spliced in requests, streams are tapped for their token counts.

mod common;
#[path = "common/events.rs"]
mod events;

use std::fs;
use std::hint::black_box;

use adit::translate::relay::{Tap, Watched};
use adit::wire::eventstream::CONTENT_TYPE;
use adit::wire::json::{Edit, splice};
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// What a TLS record holds: a usual piece of a body.
const PIECE: usize = 16 * 1024;

fn splices(criterion: &mut Criterion) {
    let edits = [Edit::Set("model", "\"gpt-4o\""), Edit::Remove("stream"), Edit::Set("anthropic_version", "\"bedrock-2023-05-31\"")];
    let mut group = criterion.benchmark_group("relay/splice");
    for (case, body) in common::bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(case), &body, |bencher, body| {
            bencher.iter(|| splice(black_box(body), &edits).expect("the body is an object"));
        });
    }
    group.finish();
}

fn taps(criterion: &mut Criterion) {
    let anthropic = [events::START, &events::DELTA.repeat(1000), events::END].concat();
    let chunk = |delta: &str, rest: &str| {
        format!("data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",{delta}{rest}}}\n\n")
    };
    let openai = [
        chunk(r#""choices":[{"index":0,"delta":{"content":" is the answer to"},"finish_reason":null}]"#, "").repeat(1000),
        chunk(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#, ""),
        chunk(r#""choices":[]"#, r#","usage":{"prompt_tokens":25,"completion_tokens":1000,"total_tokens":1025}"#),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let recorded = fs::read(format!("{}/tests/fixtures/bedrock/basic.bin", env!("CARGO_MANIFEST_DIR"))).expect("the recording is there");
    let sse = "text/event-stream";
    let mut group = criterion.benchmark_group("relay/tap");
    for (case, watched, media_type, stream) in [
        ("anthropic", Watched::Anthropic, sse, anthropic.into_bytes()),
        ("openai", Watched::OpenAi, sse, openai.into_bytes()),
        ("converse", Watched::Converse, CONTENT_TYPE, recorded),
    ] {
        let pieces: Vec<Bytes> = stream.chunks(PIECE).map(Bytes::copy_from_slice).collect();
        let read = |tap: &mut Tap| pieces.iter().for_each(|piece| tap.push(black_box(piece)));
        let mut tap = Tap::new(watched, media_type);
        read(&mut tap);
        assert!(tap.facts().usage.is_some(), "{case}: the counts are found");
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(case, |bencher| bencher.iter_batched_ref(|| Tap::new(watched, media_type), read, BatchSize::SmallInput));
    }
    group.finish();
}

criterion_group!(benches, splices, taps);
criterion_main!(benches);
