//! `encrypted_content` of a thought: what a model needs to take the thought back, in one opaque text.
//!
//! A model takes its thought back only byte for byte and with its seal, and a client may keep nothing but this member. So it holds both: [`MARK`] and base64 of
//! `{"thinking":"…","signature":"…"}`, or of `{"redacted":"…"}` for what the model encrypted itself. It is no secret of the gateway's: what is forged in it is
//! refused by the model, whose seal it is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::wire::json::{Object, Text, pick};

/// How such a text begins: other gateways and vendors have their own.
pub const MARK: &str = "adit1.";

/// What a text held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A thought and its seal.
    Thought {
        /// The thought; may be empty.
        text: Text<'static>,
        /// The seal.
        signature: Text<'static>,
    },
    /// What the model encrypted itself.
    Redacted(Text<'static>),
}

/// Seals a thought. Both are in escaped form.
#[must_use]
pub fn thought(text: &str, signature: &str) -> String {
    sealed(text.len() + signature.len(), |object| {
        object.text("thinking", &Text::from_escaped(text));
        object.text("signature", &Text::from_escaped(signature));
    })
}

/// Seals what the model encrypted, in escaped form.
#[must_use]
pub fn redacted(content: &str) -> String {
    sealed(content.len(), |object| object.text("redacted", &Text::from_escaped(content)))
}

fn sealed(length: usize, members: impl FnOnce(&mut Object<'_>)) -> String {
    let mut json = Vec::with_capacity(length + 48);
    Object::write(&mut json, members);
    let mut out = String::with_capacity(MARK.len() + json.len() * 4 / 3 + 4);
    out.push_str(MARK);
    URL_SAFE_NO_PAD.encode_string(&json, &mut out);
    out
}

/// Opens a text; `None` for one that was not sealed here.
#[must_use]
pub fn open(sealed: &str) -> Option<Opened> {
    let json = URL_SAFE_NO_PAD.decode(sealed.strip_prefix(MARK)?).ok()?;
    let json = std::str::from_utf8(&json).ok()?;
    let [thinking, signature, redacted] = pick(json, ["thinking", "signature", "redacted"]).ok()?.map(|member| member.and_then(|raw| raw.text()));
    match (thinking, signature, redacted) {
        (Some(text), Some(signature), None) => Some(Opened::Thought { text: text.into_owned(), signature: signature.into_owned() }),
        (None, None, Some(content)) => Some(Opened::Redacted(content.into_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_not_sealed_here_stays_closed() {
        for text in ["", "gAAAAABo", "adit1.", "adit1.!", "adit1.e30", "adit1.eyJ0aGlua2luZyI6IngifQ", "adit2.eyJyZWRhY3RlZCI6IngifQ"] {
            assert_eq!(open(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_thought_comes_back_byte_for_byte(text in ".{0,40}", signature in "[A-Za-z0-9+/=]{1,40}") {
            let (text, signature) = (Text::from_plain(text), Text::from_plain(signature));
            let opened = open(&thought(text.escaped(), signature.escaped()));
            prop_assert_eq!(opened, Some(Opened::Thought { text: text.into_owned(), signature: signature.clone().into_owned() }));
            prop_assert_eq!(open(&redacted(signature.escaped())), Some(Opened::Redacted(signature.into_owned())));
        }
    }
}
