//! Server-sent events as an OpenAI client reads them: unnamed events of one `data:` line each. Writing only; nothing here knows what the lines mean.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

/// A comment: clients skip it, proxies and idle timers see that the stream is alive.
pub const COMMENT: &[u8] = b": keep-alive\n\n";

/// The event that ends a complete OpenAI stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

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

#[cfg(test)]
mod tests {
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
}
