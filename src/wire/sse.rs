//! Server-sent events: a parser for what an upstream streams, and a writer for what a client reads. Nothing here knows what the lines mean.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

/// A comment: clients skip it, proxies and idle timers see that the stream is alive.
pub const COMMENT: &[u8] = b": keep-alive\n\n";

/// The event that ends a complete OpenAI stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// The largest event that is gathered: a stream's events are some kilobytes, one with a whole image some megabytes.
pub const MAX_EVENT_BYTES: usize = 24 * 1024 * 1024;

/// U+FEFF as UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'b> {
    /// The `event` field; empty where there is none.
    pub name: &'b [u8],
    /// The `data` fields, joined by line breaks.
    pub data: &'b [u8],
}

/// The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An event is longer than [`MAX_EVENT_BYTES`].
    #[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
    TooLong,
    /// The stream ended inside an event.
    #[error("the stream ended inside an event")]
    Truncated,
}

/// Cuts bytes into events, however they come. Only an event that is not complete yet is copied.
#[derive(Debug, Default)]
pub struct Parser {
    /// The beginning of an event whose end has not come.
    kept: Vec<u8>,
    /// Bytes of `kept` that are known to hold no end.
    seen: usize,
    /// Data of an event with several lines of it.
    joined: Vec<u8>,
}

impl Parser {
    /// A parser at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Parser::default()
    }

    /// Reads bytes as they come, cut anywhere, and hands over the events that are complete. Comments and events without data are passed over.
    ///
    /// # Errors
    /// [`Error::TooLong`]. The stream cannot be read on after it.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) -> Result<(), Error> {
        let Parser { kept, seen, joined } = self;
        let mut bytes = bytes;
        if !kept.is_empty() {
            kept.extend_from_slice(bytes);
            let Some(end) = end_of_event(kept, *seen) else { return wait(kept, seen) };
            event(kept.get(..end).unwrap_or_default(), joined, &mut each);
            // What is behind the first end came with this push.
            let rest = kept.len() - end;
            bytes = bytes.get(bytes.len().saturating_sub(rest)..).unwrap_or_default();
            kept.clear();
            *seen = 0;
        }
        while let Some(end) = end_of_event(bytes, 0) {
            let (whole, rest) = bytes.split_at(end);
            event(whole, joined, &mut each);
            bytes = rest;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        kept.extend_from_slice(bytes);
        wait(kept, seen)
    }

    /// Bytes that have come of an event that has not ended.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.kept.len()
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`Error::Truncated`] when an event was begun and not ended.
    pub fn finish(&self) -> Result<(), Error> {
        let open = lines(&self.kept).any(|line| !line.is_empty() && !line.starts_with(b":"));
        if open { Err(Error::Truncated) } else { Ok(()) }
    }
}

fn wait(kept: &[u8], seen: &mut usize) -> Result<(), Error> {
    // The end may begin in the last three bytes: `\r\n\r` so far.
    *seen = kept.len().saturating_sub(3);
    if kept.len() > MAX_EVENT_BYTES { Err(Error::TooLong) } else { Ok(()) }
}

/// Where the first event ends, behind its blank line. `from` is where the search begins.
fn end_of_event(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        let found = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        at += found;
        match bytes.get(at..)? {
            [b'\n', b'\n', ..] | [b'\r', b'\r', ..] => return Some(at + 2),
            [b'\n', b'\r', b'\n', ..] => return Some(at + 3),
            [b'\r', b'\n', b'\r', b'\n', ..] => return Some(at + 4),
            // A blank line by a lone `\r` may still become `\r\n`: more has to come.
            [b'\r', b'\n', b'\r'] | [b'\n', b'\r'] => return None,
            [b'\r', b'\n', b'\r' | b'\n', ..] => return Some(at + 3),
            [b'\n', b'\r', ..] => return Some(at + 2),
            [b'\r', b'\n', ..] => at += 2,
            [] => return None,
            _ => at += 1,
        }
    }
}

/// The lines of an event; line ends may be `\n`, `\r\n` and `\r`.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    // `\r\n` gives an empty line more, which means nothing inside an event.
    bytes.split(|byte| matches!(byte, b'\n' | b'\r'))
}

fn event(bytes: &[u8], joined: &mut Vec<u8>, each: &mut impl FnMut(Event<'_>)) {
    let mut name: &[u8] = b"";
    let mut data: Option<&[u8]> = None;
    let mut several = false;
    // A stream may begin with a byte order mark, which belongs to no line.
    for line in lines(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)) {
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = value,
            b"data" => {
                match data {
                    None => data = Some(value),
                    Some(first) => {
                        if !several {
                            joined.clear();
                            joined.extend_from_slice(first);
                            several = true;
                        }
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                    }
                };
            }
            _ => {}
        }
    }
    if let Some(data) = data {
        each(Event { name, data: if several { joined } else { data } });
    }
}

/// Appends one event, `data: …`, whose payload `fill` writes.
///
/// A line break would end the payload early. Compact JSON has none: inside strings the grammar wants them escaped, and a writer that puts nothing between
/// its tokens adds none. So payloads are made of [`crate::wire::json::Object`] members and [`crate::wire::json::Text`], never of raw JSON from outside,
/// which may be indented. Debug builds check it.
pub fn write_data(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"data: ");
    let start = out.len();
    fill(out);
    debug_assert!(!out.iter().skip(start).any(|byte| matches!(byte, b'\n' | b'\r')), "a line break in the payload of an event");
    out.extend_from_slice(b"\n\n");
}

/// Appends one named event, `event: …` and `data: …`. The same holds of its payload as in [`write_data`].
pub fn write_event(out: &mut Vec<u8>, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    write_data(out, fill);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::json::Object;

    #[test]
    fn an_event_is_one_line_whatever_its_text_holds() {
        let mut out = Vec::new();
        write_data(&mut out, |out| Object::write(out, |object| object.string("a", "one\ntwo\r\n\u{2028}three")));
        assert_eq!(String::from_utf8(out).unwrap(), "data: {\"a\":\"one\\ntwo\\r\\n\u{2028}three\"}\n\n");
    }

    #[test]
    #[should_panic(expected = "a line break")]
    #[cfg(debug_assertions)]
    fn a_line_break_in_a_payload_is_a_mistake_of_ours() {
        write_data(&mut Vec::new(), |out| out.extend_from_slice(b"{\n}"));
    }

    /// Events as `name|data`, from a stream that comes in pieces of so many bytes.
    fn read(stream: &[u8], piece: usize) -> (Vec<String>, bool) {
        let mut parser = Parser::new();
        let mut found = Vec::new();
        for bytes in stream.chunks(piece.max(1)) {
            let push = |event: Event<'_>| found.push(format!("{}|{}", String::from_utf8_lossy(event.name), String::from_utf8_lossy(event.data)));
            parser.push(bytes, push).unwrap();
        }
        (found, parser.finish().is_ok())
    }

    #[test]
    fn events_of_every_line_end_are_found_at_every_split() {
        for end in ["\n", "\r\n"] {
            let stream = [
                ": comment",
                "",
                "data: one",
                "",
                "event: two",
                "data:2",
                "data:  two",
                "id: 7",
                "retry: 5",
                "",
                "",
                "event: nothing",
                "",
                "data",
                "",
                ": end",
                "",
            ]
            .join(end)
                + end;
            for piece in 1..=stream.len() {
                let (found, whole) = read(stream.as_bytes(), piece);
                assert_eq!(found, ["|one", "two|2\n two", "|"], "{end:?} {piece}");
                assert!(whole);
            }
        }
        assert_eq!(read(b"data: a\r\rdata: b\r\rx", 100).0, ["|a", "|b"]);
    }

    #[test]
    fn a_byte_order_mark_hides_no_event() {
        for piece in 1..12 {
            assert_eq!(read(b"\xef\xbb\xbfdata: a\n\ndata: b\n\n", piece), (vec!["|a".to_owned(), "|b".to_owned()], true));
        }
    }

    #[test]
    fn an_event_without_its_end_is_cut_short() {
        assert_eq!(read(b"data: a\n\ndata: b\n", 3), (vec!["|a".to_owned()], false));
        assert_eq!(read(b"data: a\n\n: bye\n", 3), (vec!["|a".to_owned()], true));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_at_any_split(texts in proptest::collection::vec(".*", 0..5), piece in 1_usize..40) {
            let mut stream = Vec::new();
            for text in &texts {
                write_event(&mut stream, "x", |out| Object::write(out, |object| object.string("t", text)));
            }
            let (found, whole) = read(&stream, piece);
            prop_assert!(whole);
            prop_assert_eq!(found.len(), texts.len());
            for (found, text) in found.iter().zip(&texts) {
                let value: serde_json::Value = serde_json::from_str(found.strip_prefix("x|").unwrap()).unwrap();
                prop_assert_eq!(value["t"].as_str().unwrap(), text);
            }
        }

        #[test]
        fn any_bytes_give_the_same_events_at_any_split(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'd'), Just(b':'), any::<u8>().prop_filter("no carriage return", |b| *b != b'\r')], 0..200), piece in 1_usize..20) {
            let mut stream = b"data: x\n\n".to_vec();
            stream.extend_from_slice(&bytes);
            prop_assert_eq!(read(&stream, piece), read(&stream, stream.len()));
        }
    }
}
