//! Chat Completions streams: never a panic, the same for every client however the bytes are cut, whole events, and an end.

#![no_main]

use adit::translate::Api;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((&size, script)) = input.split_first() {
        adit_fuzz::stream(Api::OpenAi, &adit_fuzz::events(script), size);
    }
});
