//! A body without its content: its shape, the words of its API and its numbers, and of every other string how long it is.
//!
//! ```json
//! {"model":"m","messages":[{"role":"user","content":"Hi Bob"}],"x":{"pin":1234}}
//! {"model":"m","messages":[{"role":"user","content":"<6 chars>"}],"<3: 1 chars>":{"<1: 3 chars>":"<number>"}}
//! ```
//!
//! What no API here defines is content: the names of members that nobody knows too, and everything below them.

use std::fmt::Write as _;

use crate::chat::members::Told;
use crate::dialect::told;
use crate::wire::json::{Array, Kind, Object, Raw, Reader, Syntax, Text, write_string};
use crate::wire::sse;

/// So deep a body is looked into: no API's are, and readers of lines give up before long.
pub(super) const MOST_DEPTH: usize = 64;
/// The longest word or id of an API; ARNs of inference profiles are half of that.
const LONGEST_WORD: usize = 256;
/// The longest number: what is longer is a text of digits.
const LONGEST_NUMBER: usize = 32;

/// What ends the reading of a body early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is not JSON from here on.
    Syntax,
    /// There is no more room for what is written.
    Full,
}

impl From<Syntax> for Stop {
    fn from(_: Syntax) -> Self {
        Stop::Syntax
    }
}

/// How much may be told of a value, by what stands above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    /// Below a name of an API: names and numbers, no strings.
    Name,
    /// The same, but a string is a word.
    Word,
    /// `input` at the top: texts or tokens for a model that makes vectors of them, or the turns of a conversation, which have names.
    Input,
    /// Nothing.
    Opaque,
}

/// A body that is one JSON value, as far as there is room for it (bytes of `out`). What is written is JSON, whatever the text is; how far the text was read, and
/// why no further.
pub(super) fn json(text: &str, out: &mut Vec<u8>, room: usize) -> (usize, Option<Stop>) {
    let mut reader = Reader::new(text);
    // No API's body is anything but an object, so what is in anything else is not known.
    let under = if reader.kind() == Ok(Kind::Object) { Under::Name } else { Under::Opaque };
    let mut writer = Writer { most: out.len().saturating_add(room) };
    let ended = writer.value(&mut reader, out, under, 0).and_then(|()| Ok(reader.end()?));
    (reader.position(), ended.err())
}

struct Writer {
    /// As long as the output may become.
    most: usize,
}

impl Writer {
    /// Writes one value, always: where it cannot be read, `null`.
    fn value(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>, under: Under, depth: usize) -> Result<(), Stop> {
        let before = out.len();
        let written = if before > self.most { Err(Stop::Full) } else { self.any(reader, out, under, depth) };
        if out.len() == before {
            out.extend_from_slice(b"null");
        }
        written
    }

    fn any(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>, under: Under, depth: usize) -> Result<(), Stop> {
        match reader.kind()? {
            Kind::Object | Kind::Array if depth == MOST_DEPTH => bytes(out, reader.value()?.as_str().len()),
            Kind::Object => return self.object(reader, out, under, depth),
            Kind::Array => return self.array(reader, out, under, depth),
            _ => scalar(reader.value()?, out, under),
        }
        Ok(())
    }

    fn object(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>, under: Under, depth: usize) -> Result<(), Stop> {
        Object::write(out, |object| {
            let mut number = 0;
            reader.object(|name, reader| {
                number += 1;
                let told = if under == Under::Opaque { Told::Nothing } else { told(&name) };
                let out = match told {
                    Told::Nothing => object.key(&format!("<{number}: {} chars>", name.chars().count())),
                    _ => object.key(&name),
                };
                let under = match told {
                    Told::Word => Under::Word,
                    Told::Name => Under::Name,
                    Told::Opaque if depth == 0 && name == "input" => Under::Input,
                    Told::Opaque | Told::Nothing => Under::Opaque,
                };
                self.value(reader, out, under, depth + 1)
            })
        })
    }

    /// Numbers that may be content are told by how many there are: vectors have thousands.
    fn array(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>, under: Under, depth: usize) -> Result<(), Stop> {
        let hides = matches!(under, Under::Opaque | Under::Input);
        let mut numbers = 0_usize;
        Array::write(out, |array| {
            let ended = reader.array(|reader| {
                if hides && reader.kind()? == Kind::Number {
                    reader.value()?;
                    numbers += 1;
                    return Ok(());
                }
                flush(array, &mut numbers);
                self.value(reader, array.item(), under, depth + 1)
            });
            flush(array, &mut numbers);
            ended
        })
    }
}

fn flush(array: &mut Array<'_>, numbers: &mut usize) {
    match std::mem::take(numbers) {
        0 => {}
        1 => array.raw("\"<number>\""),
        count => write_string(array.item(), &format!("<{count} numbers>")),
    }
}

fn scalar(raw: Raw<'_>, out: &mut Vec<u8>, under: Under) {
    let json = raw.as_str();
    match raw.text() {
        Some(text) if under == Under::Word && is_word(text.escaped()) => out.extend_from_slice(json.as_bytes()),
        Some(text) => chars(out, &text),
        None if raw.kind() != Kind::Number || (matches!(under, Under::Name | Under::Word) && json.len() <= LONGEST_NUMBER) => {
            out.extend_from_slice(json.as_bytes());
        }
        None => out.extend_from_slice(b"\"<number>\""),
    }
}

/// Whether a string is a word of an API or an id, by its look: prose has spaces.
pub(super) fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'/' | b'@' | b'+' | b'=');
    text.len() <= LONGEST_WORD && text.bytes().all(fits)
}

fn chars(out: &mut Vec<u8>, text: &Text<'_>) {
    let mut told = String::with_capacity(20);
    // Writing to a string cannot fail.
    let _ = write!(told, "<{} chars>", text.characters());
    write_string(out, &told);
}

/// What is told of something that has no shape.
pub(super) fn bytes(out: &mut Vec<u8>, count: usize) {
    write_string(out, &format!("<{count} bytes>"));
}

/// A stream of server-sent events, event by event; how many bytes of it were whole events.
pub(super) fn events(body: &[u8], out: &mut Vec<u8>) -> usize {
    let mut parser = sse::Parser::new();
    // An event that is too long for it is the last one, and stays in it.
    let _ = parser.push(body, |event| one_event(event, out));
    body.len() - parser.pending().min(body.len())
}

fn one_event(event: sse::Event<'_>, out: &mut Vec<u8>) {
    let fill = |out: &mut Vec<u8>| {
        if event.data == b"[DONE]" {
            out.extend_from_slice(event.data);
        } else {
            payload(event.data, out);
        }
    };
    match std::str::from_utf8(event.name) {
        Ok("") => sse::write_data(out, fill),
        Ok(name) if is_word(name) => sse::write_event(out, name, fill),
        _ => sse::write_event(out, &format!("<{} bytes>", event.name.len()), fill),
    }
}

/// The payload of one event: JSON, or only its length.
pub(super) fn payload(data: &[u8], out: &mut Vec<u8>) {
    let before = out.len();
    let whole = std::str::from_utf8(data).is_ok_and(|text| json(text, out, usize::MAX).1.is_none());
    if !whole {
        out.truncate(before);
        bytes(out, data.len());
    }
}
