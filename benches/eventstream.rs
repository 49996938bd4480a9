//! How fast frames of an event stream are found and verified.

use std::fs;
use std::hint::black_box;

use adit::wire::eventstream::{Parser, write_frame};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// What a TLS record holds: a usual piece of a body.
const PIECE: usize = 16 * 1024;

fn frames(body: &[u8]) -> usize {
    let mut parser = Parser::new();
    let mut count = 0;
    for piece in body.chunks(PIECE) {
        let mut frames = parser.push(piece);
        while let Some(frame) = frames.next_frame().expect("the frames are whole") {
            count += black_box(frame).payload.len().min(1);
        }
    }
    count
}

fn parse(criterion: &mut Criterion) {
    let recorded = fs::read(format!("{}/tests/fixtures/bedrock/basic.bin", env!("CARGO_MANIFEST_DIR"))).expect("the recording is there");
    let mut large = Vec::new();
    write_frame(&mut large, &[(":event-type", "contentBlockDelta"), (":message-type", "event")], &vec![b'x'; 8 * 1024]);

    let mut group = criterion.benchmark_group("wire/eventstream/parse");
    for (case, body) in [("recorded", recorded.repeat(256 * 1024 / recorded.len())), ("8KB_frames", large.repeat(32))] {
        group.throughput(Throughput::BytesDecimal(body.len() as u64));
        group.bench_function(case, |bencher| bencher.iter(|| frames(black_box(&body))));
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
