//! The envelope of InvokeModelWithResponseStream: never a panic, what was put in comes out, and a stream out of it is the same however the bytes are cut.
//!
//! The input is a byte for the size of the pieces, then a script: pieces are events in an envelope, payloads of one, or bytes that are no frame.

#![no_main]

use adit::translate::reframe::Unwrapped;
use adit::wire::envelope::{CHUNK, open, write_chunk};
use adit::wire::eventstream::{Frame, write_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&size, script)) = input.split_first() else { return };
    let mut stream = Vec::new();
    adit_fuzz::pieces(script, |kind, piece| match kind % 4 {
        0 => stream.extend_from_slice(piece),
        1 => write_frame(&mut stream, &[(":event-type", CHUNK), (":message-type", "event")], piece),
        _ => {
            write_chunk(&mut stream, piece);
            there_and_back(piece);
        }
    });
    let whole = unwrap(std::iter::once(&stream[..]));
    let cut = unwrap(stream.chunks(usize::from(size).max(1)));
    assert!(whole == cut, "the same at every cut");
});

fn there_and_back(event: &[u8]) {
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    write_chunk(&mut frame, event);
    let (read, _) = Frame::parse(&frame).expect("the frame can be read").expect("the frame is whole");
    open(read.payload, &mut out).expect("the envelope can be opened");
    assert_eq!(out, event);
}

fn unwrap<'c>(pieces: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut stream = Unwrapped::default();
    let mut out = Vec::new();
    pieces.for_each(|piece| stream.push(piece, &mut out));
    stream.finish(&mut out);
    out
}
