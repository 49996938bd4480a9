//! Converse answers to Chat Completions answers: never a panic, and what comes out is JSON.

#![no_main]

use adit::chat::Envelope;
use adit::chat::Restore;
use adit::dialect::converse::upstream::response::decode;
use adit::dialect::openai::{Style, response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(body) = std::str::from_utf8(input) else { return };
    let restore = Restore::default();
    let Ok(answer) = decode(body, &restore) else { return };
    let envelope = Envelope { id: "fuzz".to_owned(), model: "model".to_owned(), created: 1 };
    for legacy_functions in [false, true] {
        let mut out = Vec::new();
        response::encode(&answer, &envelope, &Style { include_usage: true, legacy_functions }, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).expect("the body is JSON");
        assert!(value.is_object());
    }
});
