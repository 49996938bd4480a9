//! Answers with embeddings, of Bedrock's families and of Vertex AI: never a panic, and what the client gets is JSON.

#![no_main]

use adit::chat::embedding::Encoding;
use adit::dialect::invoke::embeddings::{Family, decode};
use adit::dialect::{openai, vertex};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(body) = std::str::from_utf8(input) else { return };
    let families = [Family::TitanV1, Family::TitanV2, Family::CohereV3, Family::CohereV4, Family::Nova].map(|family| decode(family, body));
    for answer in families.into_iter().chain([vertex::embeddings::decode(body)]).flatten() {
        for encoding in [Encoding::Float, Encoding::Base64] {
            let mut out = Vec::new();
            openai::downstream::embeddings::encode("model", answer.vectors.iter().copied(), encoding, answer.input_tokens.unwrap_or(0), &mut out);
            adit_fuzz::assert_object(&out);
        }
    }
});
