//! Files in the places of URLs: what comes out can be read again and names no file by URL any more. Entries of the list of hosts, and addresses, never panic.

#![no_main]

use adit::config::snapshot::RemoteHost;
use adit::dialect::Surface;
use adit::translate::Question;
use adit::translate::remote::{Content, File, inline, links};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(host) = RemoteHost::parse(text) {
        assert_eq!(RemoteHost::parse(&host.to_string()), Some(host));
    }
    for surface in [Surface::ChatCompletions, Surface::Messages] {
        let Ok(question) = Question::decode(surface, "m", text) else { continue };
        let found = links(&question, text);
        let file = File { media_type: "image/png", content: Content::Base64("iVBORw0KGgoAAAANSUhEUg==") };
        let out = inline(text, &found, |_| Some(file));
        let out = std::str::from_utf8(&out).expect("it is text");
        let again = Question::decode(surface, "m", out).expect("it can be read again");
        assert_eq!(links(&again, out), []);
        assert!(found.iter().all(|link| !link.param.is_empty()));
    }
});
