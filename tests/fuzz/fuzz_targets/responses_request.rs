//! Responses bodies: never a panic, and what goes to any target, and what is kept of the request, is JSON.

#![no_main]

use adit::dialect::Surface;
use adit::dialect::openai::responses::kept::{self, Link, Page};
use adit::wire::json::pick;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    adit_fuzz::request(Surface::Responses, input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok([items]) = pick(text, ["input"]) else { return };
    let own = String::from_utf8(kept::own_items(items, "1")).expect("it is text");
    let links = [Link { input: &own, response: text }];
    let rebuilt = kept::rebuilt(&links, items);
    let mut list = Vec::new();
    let _ = kept::list(&links, &own, &Page { descending: true, after: None, limit: 3 }, &mut list);
    for json in [own.as_bytes(), rebuilt.as_bytes(), list.as_slice()] {
        serde_json::from_slice::<serde::de::IgnoredAny>(json).expect("it is JSON");
    }
});
