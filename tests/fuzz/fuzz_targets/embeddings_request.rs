//! Embeddings bodies: never a panic, and the calls of every family are JSON and hold every text once.

#![no_main]

use adit::chat::embedding::Calls;
use adit::chat::{Policy, Unknown, Unsupported};
use adit::dialect::openai::downstream::embeddings::decode;
use adit::dialect::{invoke, vertex};
use libfuzzer_sys::fuzz_target;

const MODELS: [&str; 5] = [
    "amazon.titan-embed-text-v1",
    "amazon.titan-embed-text-v2:0",
    "cohere.embed-multilingual-v3",
    "cohere.embed-v4:0",
    "amazon.nova-2-multimodal-embeddings-v1:0",
];

fuzz_target!(|input: &[u8]| {
    let Ok(body) = std::str::from_utf8(input) else { return };
    let Ok(request) = decode(body) else { return };
    for policy in [Policy::default(), Policy { unsupported: Unsupported::Reject, unknown: Unknown::Reject }] {
        let plans = MODELS.map(|model| invoke::embeddings::plan(&request, model, None, policy));
        for calls in plans.into_iter().chain([vertex::embeddings::plan(&request, "gemini-embedding-001", None, policy)]).flatten() {
            check(&calls, request.texts().map_or(0, <[_]>::len));
        }
    }
});

fn check(calls: &Calls, texts: usize) {
    assert_eq!(calls.vectors.iter().sum::<usize>(), texts);
    assert_eq!(calls.vectors.len(), calls.bodies.len());
    calls.bodies.iter().for_each(|body| adit_fuzz::assert_object(body));
}
