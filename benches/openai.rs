//! Reading Chat Completions requests and writing stream chunks, on one core.

mod common;

use std::hint::black_box;

use adit::chat::{Envelope, Event, EventEncoder};
use adit::dialect::openai::Style;
use adit::dialect::openai::downstream::{request, stream};
use adit::wire::json::Text;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn request_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("openai/request_decode");
    for (case, body) in common::bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(case), &body, |bencher, body| {
            bencher.iter(|| request::decode(black_box(body)).expect("the request is valid").request.messages.len());
        });
    }
    group.finish();
}

fn stream_encode(criterion: &mut Criterion) {
    let envelope = Envelope { id: "0123456789abcdef0123456789abcdef".to_owned(), model: "claude-3-haiku".to_owned(), created: 1_700_000_000 };
    let mut encoder = stream::Encoder::new(&envelope, &Style { include_usage: true, legacy_functions: false });
    let event = Event::TextDelta { block: 0, text: Text::from_plain(" is the answer to") };
    let mut out = Vec::new();
    encoder.event(&event, &mut out);
    out.clear();
    encoder.event(&event, &mut out);
    let mut group = criterion.benchmark_group("openai/stream_encode");
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function("text_delta", |bencher| {
        bencher.iter(|| {
            out.clear();
            encoder.event(black_box(&event), &mut out);
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, request_decode, stream_encode);
criterion_main!(benches);
