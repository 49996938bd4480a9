//! Chat Completions bodies to Converse bodies: never a panic, and what comes out is JSON, whatever the model family.

#![no_main]

use adit::chat::capability::Capabilities;
use adit::dialect::converse::upstream::request::{Options, encode};
use adit::dialect::converse::{Policy, Unknown, Unsupported};
use adit::dialect::openai::downstream::request::decode;
use libfuzzer_sys::fuzz_target;

const MODELS: [&str; 6] = [
    "anthropic.claude-3-haiku-20240307-v1:0",
    "anthropic.claude-3-7-sonnet-20250219-v1:0",
    "anthropic.claude-opus-4-8",
    "amazon.nova-2-lite-v1:0",
    "mistral.mixtral-8x7b-instruct-v0:1",
    "deepseek.v3-v1:0",
];

fuzz_target!(|input: &[u8]| {
    let Ok(body) = std::str::from_utf8(input) else { return };
    let Ok(decoded) = decode(body) else { return };
    for model in MODELS {
        let capabilities = Capabilities::of(model);
        for policy in [Policy::default(), Policy { unsupported: Unsupported::Reject, unknown: Unknown::Reject }] {
            let options = Options { capabilities: &capabilities, policy, default_max_tokens: None, guardrail: None, stream: decoded.stream };
            if let Ok(encoded) = encode(&decoded.request, &options) {
                let value: serde_json::Value = serde_json::from_slice(&encoded.body).expect("the body is JSON");
                assert!(value.is_object());
            }
        }
    }
});
