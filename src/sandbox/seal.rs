//! Signatures on reasoning, as a model gives them: opaque to everybody else, and checked when they come back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The length of a code.
const CODE: usize = 32;

fn code(label: &[u8], text: &[u8]) -> [u8; CODE] {
    // The key is no secret: the codes only have to be hard to make up by accident.
    let mut mac = Hmac::<Sha256>::new_from_slice(b"adit sandbox").expect("HMAC takes keys of any length");
    mac.update(label);
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The signature of reasoning with that text.
pub(super) fn signature(text: &str) -> String {
    STANDARD.encode(code(b"reasoning", text.as_bytes()))
}

/// The bytes of redacted reasoning about something.
pub(super) fn redacted(about: &[u8]) -> Vec<u8> {
    [&code(b"redacted", about)[..], about].concat()
}

/// Whether [`redacted`] made these bytes.
pub(super) fn is_redacted(bytes: &[u8]) -> bool {
    bytes.split_first_chunk::<CODE>().is_some_and(|(given, about)| *given == code(b"redacted", about))
}
