//! What an audit log tells of a body: all of it, or its shape without its content.
//!
//! ```json
//! {"type":"application/json","bytes":31,"cut_bytes":0,"json":{"model":"m","input":"Hi"}}
//! {"type":"text/event-stream","bytes":90210,"cut_bytes":24674,"text":"data: {\"id\":…"}
//! {"type":"application/vnd.amazon.eventstream","bytes":412,"cut_bytes":0,"events":[{"event":"messageStart","data":{"role":"assistant"}}]}
//! {"type":"image/png","bytes":3,"cut_bytes":0,"base64":"AQID"}
//! ```
//!
//! Whatever the bytes are, what is written is one JSON object without a line break, which every reader of JSON takes.

mod redacted;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::wire::envelope;
use crate::wire::eventstream::{CONTENT_TYPE, ERROR_CODE, Frame};
use crate::wire::json::{Array, Object, write_string};
use redacted::{MOST_DEPTH, Stop};

/// The media type of server-sent events.
const EVENTS: &str = "text/event-stream";
/// The longest media type that is told.
const LONGEST_TYPE: usize = 64;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// Everything.
    Full,
    /// The shape: `redacted` of the configuration.
    Redacted,
}

/// A body, or its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Body<'b> {
    /// What there is of it.
    pub bytes: &'b [u8],
    /// How many bytes all of it has.
    pub total: u64,
    /// Its `content-type`.
    pub media_type: &'b str,
}

/// Writes what is told of a body, at most about `room` bytes of content and what its escapes need.
pub fn write(body: &Body<'_>, telling: Telling, room: usize, out: &mut Vec<u8>) {
    let mut content = Vec::with_capacity(body.bytes.len().min(room) + 64);
    let (name, read) = match telling {
        Telling::Full => full(body, room, &mut content),
        Telling::Redacted => redacted(body, room, &mut content),
    };
    Object::write(out, |told| {
        match essence(body.media_type) {
            Some(media_type) => told.string("type", &media_type),
            None => told.raw("type", "null"),
        }
        told.number("bytes", body.total);
        told.number("cut_bytes", body.total.saturating_sub(read as u64));
        told.key(name).extend_from_slice(&content);
    });
}

/// Writes a body's content as JSON; the name of the member that it is, and how many bytes of the body are told by it.
fn full(body: &Body<'_>, room: usize, out: &mut Vec<u8>) -> (&'static str, usize) {
    let bytes = body.bytes.get(..room).unwrap_or(body.bytes);
    if is(body.media_type, CONTENT_TYPE)
        && let Some(read) = frames(bytes, out, Telling::Full)
    {
        return ("events", read);
    }
    let cut = body.total > bytes.len() as u64;
    let Some(text) = text(bytes, cut) else {
        write_string(out, &STANDARD.encode(bytes));
        return ("base64", bytes.len());
    };
    if !cut && is_structure(text) && is_plain(text) {
        flat(text.trim(), out);
        return ("json", bytes.len());
    }
    write_string(out, text);
    ("text", text.len())
}

/// The same without the content. JSON may be larger than the room: what is left of it seldom is.
fn redacted(body: &Body<'_>, room: usize, out: &mut Vec<u8>) -> (&'static str, usize) {
    let capped = body.bytes.get(..room).unwrap_or(body.bytes);
    if is(body.media_type, CONTENT_TYPE)
        && let Some(read) = frames(capped, out, Telling::Redacted)
    {
        return ("events", read);
    }
    if is(body.media_type, EVENTS) {
        let mut events = Vec::with_capacity(capped.len());
        let read = redacted::events(capped, &mut events);
        write_string(out, &String::from_utf8_lossy(&events));
        return ("text", read);
    }
    let cut = body.total > body.bytes.len() as u64;
    let text = text(body.bytes, cut).unwrap_or_default();
    if is_structure(text) {
        let (read, stop) = redacted::json(text, out, room);
        match stop {
            None => return ("json", body.bytes.len()),
            Some(Stop::Full) => return ("json", read),
            // Where the rest was cut, it had to end like that.
            Some(Stop::Syntax) if cut => return ("json", read),
            Some(Stop::Syntax) => out.clear(),
        }
    }
    redacted::bytes(out, body.bytes.len());
    ("text", body.bytes.len())
}

/// Bytes as text; `cut` says that the last character may be half a one.
fn text(bytes: &[u8], cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => bytes.get(..error.valid_up_to()).and_then(|bytes| std::str::from_utf8(bytes).ok()),
        Err(_) => None,
    }
}

/// The payloads of event frames, as an array; how many bytes were whole frames, and `None` if there is no frame at all. What InvokeModel puts into its envelope
/// is taken out of it.
fn frames(body: &[u8], out: &mut Vec<u8>, telling: Telling) -> Option<usize> {
    let before = out.len();
    let mut read = 0;
    let mut opened = Vec::new();
    Array::write(out, |array| {
        while let Ok(Some((frame, length))) = Frame::parse(body.get(read..).unwrap_or_default()) {
            read += length;
            array.object(|event| one_frame(&frame, event, &mut opened, telling));
        }
    });
    if read == 0 {
        out.truncate(before);
    }
    (read > 0).then_some(read)
}

fn one_frame(frame: &Frame<'_>, event: &mut Object<'_>, opened: &mut Vec<u8>, telling: Telling) {
    for (kind, name) in [("event", frame.event_type()), ("exception", frame.exception_type()), ("error", frame.header(ERROR_CODE))] {
        match (name, telling) {
            (None, _) => {}
            (Some(name), Telling::Redacted) if !redacted::is_word(name) => redacted::bytes(event.key(kind), name.len()),
            (Some(name), _) => event.string(kind, name),
        }
    }
    opened.clear();
    let data = match envelope::open(frame.payload, opened) {
        Ok(()) if frame.event_type() == Some(envelope::CHUNK) => opened.as_slice(),
        _ => frame.payload,
    };
    match telling {
        Telling::Full => embed(data, event.key("data")),
        Telling::Redacted => redacted::payload(data, event.key("data")),
    }
}

/// A payload as it is: JSON, text or base64.
fn embed(data: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(data) {
        Ok(text) if is_plain(text) => flat(text.trim(), out),
        Ok(text) => write_string(out, text),
        Err(_) => write_string(out, &STANDARD.encode(data)),
    }
}

/// Whether a text may be an object or an array: the body of an API is nothing else.
fn is_structure(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// JSON on one line: a line break can only stand between its tokens.
fn flat(json: &str, out: &mut Vec<u8>) {
    out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}

/// `Text/Plain; charset=utf-8` → `text/plain`, if it looks like one.
fn essence(media_type: &str) -> Option<String> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let fits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-' | b'_'));
    let (kind, name) = essence.split_once('/')?;
    (essence.len() <= LONGEST_TYPE && fits(kind) && fits(name)).then(|| essence.to_ascii_lowercase())
}

fn is(media_type: &str, wanted: &str) -> bool {
    media_type.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted))
}

/// Whether a text is JSON that every reader takes: not too deep, no half of a surrogate pair, no number that no double holds.
fn is_plain(text: &str) -> bool {
    let mut json = serde_json::Deserializer::from_str(text);
    Plain { depth: MOST_DEPTH }.deserialize(&mut json).and_then(|()| json.end()).is_ok()
}

struct Plain {
    /// Of what may stand in it.
    depth: usize,
}

impl Plain {
    fn below<E: serde::de::Error>(&self) -> Result<Plain, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Plain { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Plain { depth: 0 })?.is_some() {
            map.next_value_seed(self.below()?)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self.below()?)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
