//! Server-sent events: never a panic, and the same events however the bytes are cut. The first byte is the size of the pieces.

#![no_main]

use adit::wire::sse::{Error, Parser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&size, stream)) = input.split_first() else { return };
    let stream = adit_fuzz::line_ends(stream);
    let whole = read(std::iter::once(&stream[..]));
    let cut = read(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut);
});

/// The events as name and data, and the end.
type Events = (Vec<(Vec<u8>, Vec<u8>)>, Result<(), Error>);

fn read<'c>(pieces: impl Iterator<Item = &'c [u8]>) -> Events {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(error) = parser.push(piece, |event| events.push((event.name.to_vec(), event.data.to_vec()))) {
            return (events, Err(error));
        }
    }
    (events, parser.finish())
}
