//! The event-stream parser: never a panic, and the same frames however the bytes are cut.
//!
//! The input is a script: a byte for the chunk size, then pieces of `kind, length (2), bytes`. A piece is either taken as it is, or gets the lengths and
//! checksums of a frame around it, so that the fuzzer gets past them and into the headers.

#![no_main]

use adit::wire::eventstream::{Error, Parser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&size, script)) = input.split_first() else { return };
    let stream = stream(script);
    let whole = read(std::iter::once(&stream[..]));
    let cut = read(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut);
});

type Frames = (Vec<(usize, Vec<u8>)>, Result<(), Error>);

/// Every frame (number of headers and payload) up to the end or the first error.
fn read<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> Frames {
    let mut parser = Parser::new();
    let mut all = Vec::new();
    for chunk in chunks {
        let mut frames = parser.push(chunk);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => all.push((frame.headers().count(), frame.payload.to_vec())),
                Ok(None) => break,
                Err(error) => return (all, Err(error)),
            }
        }
    }
    let end = parser.finish();
    (all, end)
}

fn stream(mut script: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(([kind, high, low], rest)) = script.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        script = rest;
        match kind % 4 {
            0 => out.extend_from_slice(piece),
            // The whole piece is headers, or the first half of it.
            1 => frame(&mut out, piece, b""),
            _ => {
                let (headers, payload) = piece.split_at(piece.len() / 2);
                frame(&mut out, headers, payload);
            }
        }
    }
    out
}

fn frame(out: &mut Vec<u8>, headers: &[u8], payload: &[u8]) {
    let start = out.len();
    let total = (16 + headers.len() + payload.len()) as u32;
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out[start..]).to_be_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out[start..]).to_be_bytes());
}
