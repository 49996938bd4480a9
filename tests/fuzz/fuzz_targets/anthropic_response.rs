//! Messages answers: never a panic, and what any client gets is JSON.

#![no_main]

use adit::translate::Api;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_fuzz::answer(Api::Anthropic, input));
