//! Converse bodies and those of CountTokens: never a panic, and what goes to any target is JSON.

#![no_main]

use adit::dialect::Surface;
use adit::dialect::converse::downstream::request::decode_count;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    adit_fuzz::request(Surface::ConverseStream, input);
    if let Ok(body) = std::str::from_utf8(input) {
        let _ = decode_count("model", body);
    }
});
