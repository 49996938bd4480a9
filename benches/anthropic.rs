//! Reading Messages requests, writing answers and stream events, and reading the events of an Anthropic upstream, on one core.

#[path = "common/events.rs"]
mod events;

use std::hint::black_box;

use adit::chat::{Envelope, Event, EventDecoder, EventEncoder, Restore};
use adit::dialect::anthropic::Style;
use adit::dialect::anthropic::downstream::{request, response, stream};
use adit::dialect::anthropic::upstream::response::decode;
use adit::dialect::anthropic::upstream::stream::Decoder;
use adit::wire::json::Text;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};

fn envelope() -> Envelope {
    Envelope { id: "0123456789abcdef0123456789abcdef".to_owned(), model: "claude-3-haiku".to_owned(), created: 1_700_000_000 }
}

/// Request bodies of three sizes: about 1 KB, about 100 KB of conversation with tools, and a picture of 1 MB.
fn bodies() -> [(&'static str, String); 3] {
    let prose = "The quick brown fox jumps over the lazy dog, says \"nothing\", and walks away as if this were all there is.\n".repeat(9);
    let body = |messages: Vec<Value>| {
        let schema = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string", "description": "City and country"}}});
        let tools = json!([{"name": "weather", "description": "The weather in a place", "input_schema": schema}]);
        json!({"model": "claude-3-haiku", "max_tokens": 1024, "temperature": 0.2, "stream": true, "system": "Be brief.", "messages": messages, "tools": tools})
            .to_string()
    };
    let turns = (0..25).flat_map(|turn| {
        let id = format!("toolu_{turn}");
        let used = json!({"type": "tool_use", "id": id, "name": "weather", "input": {"city": "Oslo, Norway"}});
        [
            json!({"role": "user", "content": [{"type": "text", "text": prose}, {"type": "text", "text": prose}]}),
            json!({"role": "assistant", "content": [{"type": "text", "text": prose}, used]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": prose}]}),
        ]
    });
    let source = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAANSUhEUgAA+/09".repeat(37_450)});
    let picture = json!({"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image", "source": source}]});
    [("1KB", body(vec![json!({"role": "user", "content": prose.get(..600)})])), ("100KB", body(turns.collect())), ("1MB", body(vec![picture]))]
}

fn request_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("anthropic/request_decode");
    for (case, body) in bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(case), &body, |bencher, body| {
            bencher.iter(|| request::decode(black_box(body), request::Purpose::Messages).expect("the request is valid").request.messages.len());
        });
    }
    group.finish();
}

fn response_encode(criterion: &mut Criterion) {
    let text = "The quick brown fox jumps over the lazy dog, says \"nothing\", and walks away.\n".repeat(40);
    let used = json!([{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo", "days": 3}}]);
    let answer = |content, reason| {
        let usage = json!({"input_tokens": 25, "output_tokens": 15, "cache_read_input_tokens": 1000});
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content, "stop_reason": reason, "usage": usage}).to_string()
    };
    let (restore, envelope, style) = (Restore::default(), envelope(), Style::default());
    let mut group = criterion.benchmark_group("anthropic/response_encode");
    for (case, body) in [("text", answer(json!([{"type": "text", "text": text}]), "end_turn")), ("tool", answer(used, "tool_use"))] {
        let response = decode(&body, &restore).expect("the answer is valid");
        let mut out = Vec::new();
        response::encode(&response, &envelope, &style, &mut out);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(case, |bencher| {
            bencher.iter(|| {
                out.clear();
                response::encode(black_box(&response), &envelope, &style, &mut out);
                out.len()
            });
        });
    }
    group.finish();
}

fn stream_encode(criterion: &mut Criterion) {
    let mut encoder = stream::Encoder::new(&envelope(), &Style::default());
    let event = Event::TextDelta { block: 0, text: Text::from_plain(" is the answer to") };
    let mut out = Vec::new();
    encoder.event(&event, &mut out);
    out.clear();
    encoder.event(&event, &mut out);
    let mut group = criterion.benchmark_group("anthropic/stream_encode");
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

fn stream_decode(criterion: &mut Criterion) {
    let whole = [events::START, &events::DELTA.repeat(100), events::END].concat();
    let mut decoder = Decoder::new(Restore::default());
    decoder.push(events::START.as_bytes(), &mut |event| drop(black_box(event)));
    let delta = events::DELTA.as_bytes();
    let mut group = criterion.benchmark_group("anthropic/stream_decode");
    group.throughput(Throughput::Bytes(delta.len() as u64));
    group.bench_function("text_delta", |bencher| bencher.iter(|| decoder.push(black_box(delta), &mut |event| drop(black_box(event)))));
    group.throughput(Throughput::Bytes(whole.len() as u64));
    group.bench_function("100_deltas", |bencher| {
        let read = |decoder: &mut Decoder| {
            decoder.push(black_box(whole.as_bytes()), &mut |event| drop(black_box(event)));
            decoder.finish()
        };
        bencher.iter_batched_ref(|| Decoder::new(Restore::default()), read, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, request_decode, response_encode, stream_encode, stream_decode);
criterion_main!(benches);
