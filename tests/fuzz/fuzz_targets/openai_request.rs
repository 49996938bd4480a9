//! Chat Completions bodies: never a panic, and what goes to any target is JSON.

#![no_main]

use adit::dialect::Surface;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| adit_fuzz::request(Surface::ChatCompletions, input));
