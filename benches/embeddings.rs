//! Vectors on their way to an OpenAI client, as numbers and as base64, on one core.

use std::hint::black_box;

use adit::chat::embedding::Encoding;
use adit::dialect::invoke::embeddings::{Family, decode};
use adit::dialect::openai::downstream::embeddings::encode;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// An answer of Cohere's: so many vectors of 1024 numbers.
fn answer(vectors: usize) -> String {
    let vector: Vec<String> = (0..1024_u16).map(|number| format!("{:.8}", f64::from(number).sin() / 10.0)).collect();
    let vector = format!("[{}]", vector.join(","));
    format!(r#"{{"id":"1","embeddings":[{}],"response_type":"embeddings_floats"}}"#, vec![vector; vectors].join(","))
}

fn encodings(criterion: &mut Criterion) {
    for (name, encoding) in [("embeddings/encode_float", Encoding::Float), ("embeddings/encode_base64", Encoding::Base64)] {
        let mut group = criterion.benchmark_group(name);
        for (case, vectors) in [("1x1024", 1), ("96x1024", 96)] {
            let body = answer(vectors);
            let answer = decode(Family::CohereV3, &body).expect("the answer is valid");
            let mut out = Vec::new();
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(case, |bencher| {
                bencher.iter(|| {
                    out.clear();
                    encode("m", black_box(&answer.vectors).iter().copied(), encoding, 5, &mut out);
                    out.len()
                });
            });
        }
        group.finish();
    }
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("embeddings/decode");
    for (case, vectors) in [("1x1024", 1), ("96x1024", 96)] {
        let body = answer(vectors);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(case, |bencher| bencher.iter(|| decode(Family::CohereV3, black_box(&body)).map(|answer| answer.vectors.len())));
    }
    group.finish();
}

criterion_group!(benches, encodings, reading);
criterion_main!(benches);
