//! The envelope of InvokeModelWithResponseStream: event-stream frames named `chunk` whose payload `{"bytes":"<base64>"}` holds one event of the model's own API.
//!
//! Recorded payloads carry a padding member `p` beside the bytes. What the bytes mean is not this module's business.
//!
//! Service model: `ResponseStream`, `PayloadPart` of `bedrock-runtime` 2023-09-30.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::eventstream::{EVENT, EVENT_TYPE, MESSAGE_TYPE, write_frame};
use super::json::pick;

/// `:event-type` of a frame that holds an event.
pub const CHUNK: &str = "chunk";

/// A payload that is no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a JSON object with a string `bytes`.
    #[error("the payload holds no bytes")]
    NoBytes,
    /// The string is no base64.
    #[error("the payload's bytes are no base64")]
    Base64,
}

/// Appends what is in an envelope: `{"bytes":"eyJ9"}` → `{"}`.
///
/// # Errors
/// [`Error`]; nothing is appended then.
pub fn open(payload: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let text = std::str::from_utf8(payload).map_err(|_| Error::NoBytes)?;
    let [bytes] = pick(text, ["bytes"]).map_err(|_| Error::NoBytes)?;
    let bytes = bytes.and_then(|raw| raw.text()).ok_or(Error::NoBytes)?;
    let before = out.len();
    STANDARD.decode_vec(bytes.unescape().as_bytes(), out).map_err(|_| {
        out.truncate(before);
        Error::Base64
    })
}

/// Appends a frame with an event of the model's own API in it.
pub fn write_chunk(out: &mut Vec<u8>, event: &[u8]) {
    let mut payload = String::with_capacity(event.len() * 4 / 3 + 16);
    payload.push_str(r#"{"bytes":""#);
    STANDARD.encode_string(event, &mut payload);
    payload.push_str(r#""}"#);
    write_frame(out, &[(EVENT_TYPE, CHUNK), (":content-type", "application/json"), (MESSAGE_TYPE, EVENT)], payload.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::eventstream::Frame;

    #[test]
    fn payloads_are_opened_and_others_refused() {
        let mut out = b"x".to_vec();
        open(br#"{"p":"abcdef","bytes":"eyJ0eXBlIjoibWVzc2FnZV9zdG9wIn0="}"#, &mut out).unwrap();
        assert_eq!(out, br#"x{"type":"message_stop"}"#);
        open(br#"{"bytes":"YS8v\/w=="}"#, &mut out).unwrap();
        out.truncate(1);
        for (payload, error) in [
            (&b"{}"[..], Error::NoBytes),
            (b"", Error::NoBytes),
            (b"\xff", Error::NoBytes),
            (b"{\"bytes\":1}", Error::NoBytes),
            (b"{\"bytes\":\"a\"}", Error::Base64),
            (b"{\"bytes\":\"YWJj*\"}", Error::Base64),
        ] {
            assert_eq!(open(payload, &mut out), Err(error));
            assert_eq!(out, b"x");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(event in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (mut frame, mut out) = (Vec::new(), Vec::new());
            write_chunk(&mut frame, &event);
            let (read, length) = Frame::parse(&frame).unwrap().unwrap();
            prop_assert_eq!(length, frame.len());
            prop_assert_eq!((read.message_type(), read.event_type()), (Some(EVENT), Some(CHUNK)));
            open(read.payload, &mut out).unwrap();
            prop_assert_eq!(out, event);
        }
    }
}
