//! What the response cache adds to a request: its key, made of the whole body, and the look for its answer, whose slowest of a hundred is told besides.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use adit::config::snapshot::Cache as Settings;
use adit::dialect::Surface;
use adit::ops::cache::{Cache, Entry, Form, Found};
use adit::policy::cache::{Key, Wish};
use adit::translate::sameness::Scope;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn body(length: usize) -> String {
    let text = "Lorem ipsum dolor sit amet. ".repeat(length / 28);
    format!(r#"{{"model":"claude-3-haiku","temperature":0,"max_tokens":9,"messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

fn key(body: &str) -> Key {
    let scope = Scope { user: Some("alice"), surface: Surface::ChatCompletions, model: "claude-3-haiku", circumstances: &["bedrock/claude"] };
    Key(scope.hash(body).expect("it is JSON"))
}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("translate/sameness");
    for (case, length) in [("1KB", 1_000), ("100KB", 100_000), ("1MB", 1_000_000)] {
        let body = body(length);
        group.throughput(Throughput::BytesDecimal(body.len() as u64));
        group.bench_function(case, |bencher| bencher.iter(|| key(black_box(&body))));
    }
    group.finish();
}

#[expect(clippy::print_stdout, reason = "a tail is nothing that criterion tells")]
fn hits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let settings = Settings { ttl: Duration::from_secs(3600), max_bytes: 256 << 20, shared: false, deterministic_only: true };
    let cache = Cache::new(&settings, None);
    let any = Wish { read: true, write: true, max_age: None };
    let find = |key: Key| runtime.block_on(cache.find(key, any));
    for number in 0..10_000 {
        if let Found::Nothing(lead) = find(key(&format!("[{number}]"))) {
            lead.keep(Entry { body: vec![b'x'; 4096].into(), form: Form::Whole, made: SystemTime::now(), usage: None, stop: None, dropped: Vec::new() });
        }
    }
    let known = key("[5000]");
    assert!(matches!(find(known), Found::Answer(_)));
    criterion.bench_function("ops/cache/hit", |bencher| bencher.iter(|| Arc::strong_count(&answer(find(black_box(known))))));
    let mut times: Vec<Duration> = (0..100_000)
        .map(|_| {
            let begun = Instant::now();
            black_box(answer(find(black_box(known))));
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("ops/cache/hit of 10,000 entries: p50 {:?}, p99 {:?}, p99.9 {:?}", times[50_000], times[99_000], times[99_900]);
}

fn answer(found: Found) -> Arc<Entry> {
    match found {
        Found::Answer(entry) => entry,
        Found::Nothing(_) => panic!("it is there"),
    }
}

criterion_group!(benches, keys, hits);
criterion_main!(benches);
