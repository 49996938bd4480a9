//! Messages bodies, of the API itself, of its count of tokens and of InvokeModel: never a panic, and what goes to any target is JSON.

#![no_main]

use adit::dialect::Surface;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for surface in [Surface::Messages, Surface::CountMessages, Surface::InvokeStream] {
        adit_fuzz::request(surface, input);
    }
});
