//! How long it takes to know who a client is: a signature over a small and a large body, with the signing key at hand and without.

use std::hint::black_box;
use std::time::SystemTime;

use adit::provider::sigv4::verify::{Claim, Received};
use adit::provider::sigv4::{Request, sign};
use aws_credential_types::Credentials;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, header};

const SECRET: &str = "obviously-not-a-secret-of-the-robot-0000";
const PATH: &str = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse";

fn sigv4(criterion: &mut Criterion) {
    let now = SystemTime::now();
    let credentials = Credentials::new("ADITOBVIOUSLYNOTAKEY", SECRET, None, None, "bench");
    let mut group = criterion.benchmark_group("provider/sigv4/verify");
    for (case, length) in [("1KB", 1_000), ("100KB", 100_000)] {
        let body = vec![b'x'; length];
        let request = Request { method: "POST", authority: "gateway.example", path: PATH, headers: &[("content-type", "application/json")] };
        let mut headers: HeaderMap = sign(&request, &body, &credentials, "us-east-1", now).expect("it can be signed").into_iter().collect();
        headers.insert(header::HOST, header::HeaderValue::from_static("gateway.example"));
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        let received = Received { method: "POST", target: PATH.as_bytes(), authority: None, headers: &headers };
        let key = Claim::read(&received, now).expect("it is well formed").expect("it is signed").key(SECRET);
        let read = || Claim::read(black_box(&received), now).expect("it is well formed").expect("it is signed");
        group.throughput(Throughput::BytesDecimal(length as u64));
        group.bench_function(format!("{case}_key_at_hand"), |bencher| bencher.iter(|| read().verify(black_box(&body), &key).expect("it is right")));
        group.bench_function(format!("{case}_new_key"), |bencher| {
            bencher.iter(|| {
                let claim = read();
                claim.verify(black_box(&body), &claim.key(SECRET)).expect("it is right");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sigv4);
criterion_main!(benches);
