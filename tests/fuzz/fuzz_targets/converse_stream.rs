//! ConverseStream bodies to SSE: never a panic, the same output however the bytes are cut, every event JSON, and `[DONE]` only at the end.
//!
//! The input is a script: a byte for the chunk size, then pieces of `kind, length (2), bytes`. The kind chooses the event whose payload the bytes are, so
//! that the fuzzer need not know framing or checksums.

#![no_main]

use adit::chat::{Envelope, EventDecoder as _, EventEncoder as _};
use adit::chat::Restore;
use adit::dialect::converse::upstream::stream::Decoder;
use adit::dialect::openai::Style;
use adit::dialect::openai::downstream::stream::Encoder;
use adit::wire::eventstream::write_frame;
use libfuzzer_sys::fuzz_target;

/// Headers of the frames by kind: type, name.
const FRAMES: [(&str, &str, &str); 10] = [
    (":event-type", "messageStart", "event"),
    (":event-type", "contentBlockStart", "event"),
    (":event-type", "contentBlockDelta", "event"),
    (":event-type", "contentBlockStop", "event"),
    (":event-type", "messageStop", "event"),
    (":event-type", "metadata", "event"),
    (":event-type", "somethingNew", "event"),
    (":exception-type", "throttlingException", "exception"),
    (":exception-type", "somethingNewException", "exception"),
    (":error-code", "InternalFailure", "error"),
];

fuzz_target!(|input: &[u8]| {
    let Some((&size, script)) = input.split_first() else { return };
    let stream = stream(script);
    let whole = translate(std::iter::once(&stream[..]));
    let cut = translate(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut);
    let text = String::from_utf8(whole).expect("SSE is UTF-8");
    let mut done = false;
    for event in text.split_terminator("\n\n") {
        assert!(!done, "[DONE] is the last event");
        let Some(data) = event.strip_prefix("data: ") else { panic!("no data in {event:?}") };
        done = data == "[DONE]";
        if !done {
            serde_json::from_str::<serde_json::Value>(data).expect("events are JSON");
        }
    }
});

fn translate<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let envelope = Envelope { id: "fuzz".to_owned(), model: "model".to_owned(), created: 1 };
    let mut decoder = Decoder::new(Restore::default());
    let mut encoder = Encoder::new(&envelope, &Style { include_usage: true, legacy_functions: false });
    let mut out = Vec::new();
    for chunk in chunks {
        decoder.push(chunk, &mut |event| encoder.event(&event, &mut out));
    }
    encoder.finish(&decoder.finish(), &mut out);
    out
}

fn stream(mut script: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(([kind, high, low], rest)) = script.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        script = rest;
        match FRAMES.get(usize::from(*kind) % (FRAMES.len() + 1)) {
            Some((header, name, message)) => write_frame(&mut out, &[(header, name), (":content-type", "application/json"), (":message-type", message)], piece),
            // Bytes that are no frame.
            None => out.extend_from_slice(piece),
        }
    }
    out
}
