//! What a request's head shows of who sends it, before any of it is checked.
//!
//! ```text
//! authorization: Bearer …  x-api-key: …  api-key: …  x-goog-api-key: …  ─▶ a key or a token, if they all say the same
//! authorization: AWS4-HMAC-SHA256 …                                     ─▶ a signature
//! ```

use http::{HeaderMap, header};

/// Headers in which clients send a key as it is.
const KEY_HEADERS: &[&str] = &["x-api-key", "api-key", "x-goog-api-key"];
/// Headers in which they send the code of a second factor.
const CODE_HEADERS: &[&str] = &["x-totp-code", "x-otp"];

/// What a client shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'h> {
    /// No proof at all.
    Nothing,
    /// A key or a token, in one header or in several.
    Key(&'h str),
    /// `authorization: AWS4-HMAC-SHA256 …`
    Signature,
    /// Things that contradict each other, or that nobody can read.
    Muddle,
}

impl<'h> Shown<'h> {
    /// What all headers say together.
    #[must_use]
    pub fn find(headers: &'h HeaderMap) -> Self {
        let mut shown = Shown::Nothing;
        let plain = KEY_HEADERS.iter().flat_map(|name| headers.get_all(*name)).map(|value| value.to_str().map_or(Shown::Muddle, Shown::key));
        let authorization = headers.get_all(header::AUTHORIZATION).into_iter().map(|value| value.to_str().map_or(Shown::Muddle, Shown::authorization));
        for next in authorization.chain(plain) {
            shown = match (shown, next) {
                (_, Shown::Muddle) => return Shown::Muddle,
                (one, Shown::Nothing) | (Shown::Nothing, one) => one,
                (Shown::Key(one), Shown::Key(other)) if one == other => shown,
                // An SDK that cannot help signing may show its key beside that.
                (Shown::Signature, Shown::Key(key)) => Shown::Key(key),
                _ => return Shown::Muddle,
            };
        }
        shown
    }

    fn key(text: &'h str) -> Self {
        let text = text.trim();
        if text.is_empty() { Shown::Nothing } else { Shown::Key(text) }
    }

    fn authorization(text: &'h str) -> Self {
        match text.trim().split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => Shown::key(rest),
            Some((scheme, _)) if scheme.starts_with("AWS4-") => Shown::Signature,
            None if text.trim().is_empty() || text.trim().eq_ignore_ascii_case("bearer") => Shown::Nothing,
            _ => Shown::Muddle,
        }
    }
}

/// The code of a second factor.
#[must_use]
pub fn code(headers: &HeaderMap) -> Option<&str> {
    CODE_HEADERS.iter().find_map(|name| headers.get(*name)).and_then(|code| code.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_clients_put_it() {
        for (lines, shown) in [
            (vec![], Shown::Nothing),
            (vec![("authorization", "Bearer k")], Shown::Key("k")),
            (vec![("authorization", "bEARER  k ")], Shown::Key("k")),
            (vec![("x-api-key", "k")], Shown::Key("k")),
            (vec![("api-key", "k")], Shown::Key("k")),
            (vec![("x-goog-api-key", "k")], Shown::Key("k")),
            (vec![("x-api-key", "k"), ("authorization", "Bearer k")], Shown::Key("k")),
            (vec![("x-api-key", "k"), ("authorization", "Bearer l")], Shown::Muddle),
            (vec![("x-api-key", "k"), ("x-api-key", "l")], Shown::Muddle),
            (vec![("x-api-key", "k"), ("authorization", "Basic eDp5")], Shown::Muddle),
            (vec![("authorization", "k")], Shown::Muddle),
            (vec![("authorization", "Bearer ")], Shown::Nothing),
            (vec![("x-api-key", ""), ("authorization", "Bearer k")], Shown::Key("k")),
            (vec![("authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/x")], Shown::Signature),
            (vec![("authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/x"), ("x-api-key", "k")], Shown::Key("k")),
            (vec![("x-api-key", "\u{fc}")], Shown::Muddle),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &lines {
                headers.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(Shown::find(&headers), shown, "{lines:?}");
        }
    }
}
