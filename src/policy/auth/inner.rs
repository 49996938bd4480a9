//! Tokens for calls that a server makes on behalf of a request: it gets one in the place of the client's key, and shows it when it calls back.
//!
//! ```text
//! sk-aditcall-<base64url of: MAC 32 bytes | end 8 | id 16 | length of the name 2 | name of the user | id of the request>
//! ```
//!
//! Nothing else is needed to know whose call it is. OptiLLM hands a token on only if it begins with `sk-`.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq as _;

use super::key::mac;
use super::session::Fault;

/// What every such token begins with.
const PREFIX: &str = "sk-aditcall-";
/// Names and ids of requests are short; whatever is longer is nobody's token.
const LONGEST: usize = 4096;

/// Whose call it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Of the token.
    pub id: [u8; 16],
    /// The user whose request it is made for.
    pub user: String,
    /// The id of that request.
    pub request: String,
}

/// Makes a token that ends at a time; `None` for a name that no user has.
#[must_use]
pub fn new(secret: &[u8], claims: &Claims, ends: SystemTime) -> Option<String> {
    let length = u16::try_from(claims.user.len()).ok()?.to_be_bytes();
    let text = [&seconds(ends).to_be_bytes()[..], &claims.id, &length, claims.user.as_bytes(), claims.request.as_bytes()].concat();
    let bytes = [&sign(secret, &text)[..], &text].concat();
    Some(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
}

/// Whether a credential claims to be such a token.
#[must_use]
pub fn is_one(shown: &str) -> bool {
    shown.starts_with(PREFIX)
}

/// What a token says, if it is good.
///
/// # Errors
/// Why it is not.
pub fn check(secret: &[u8], shown: &str, now: SystemTime) -> Result<Claims, Fault> {
    let encoded = shown.strip_prefix(PREFIX).filter(|encoded| encoded.len() <= LONGEST).ok_or(Fault::Forged)?;
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| Fault::Forged)?;
    let (claimed, text) = bytes.split_first_chunk::<32>().ok_or(Fault::Forged)?;
    if !bool::from(sign(secret, text).ct_eq(claimed)) {
        return Err(Fault::Forged);
    }
    let (ends, claims) = read(text).ok_or(Fault::Forged)?;
    if seconds(now) < ends { Ok(claims) } else { Err(Fault::Over) }
}

fn read(text: &[u8]) -> Option<(u64, Claims)> {
    let (ends, rest) = text.split_first_chunk::<8>()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (user, request) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some((u64::from_be_bytes(*ends), Claims { id: *id, user: text(user)?, request: text(request)? }))
}

fn sign(secret: &[u8], text: &[u8]) -> [u8; 32] {
    mac(secret, &[b"adit call 1", text])
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn claims() -> Claims {
        Claims { id: [7; 16], user: "alice".to_owned(), request: "req-1".to_owned() }
    }

    #[test]
    fn a_token_says_whose_call_it_is_until_it_ends() {
        let token = new(b"fake", &claims(), at(100)).unwrap();
        assert!(is_one(&token) && !is_one("sk-adit-x"));
        assert_eq!(check(b"fake", &token, at(99)), Ok(claims()));
        assert_eq!(check(b"fake", &token, at(100)), Err(Fault::Over));
        assert_eq!(check(b"other", &token, at(1)), Err(Fault::Forged));
        assert_eq!(new(b"fake", &Claims { user: "x".repeat(70_000), ..claims() }, at(1)), None);
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_token(text in ".*", at_byte in 0_usize..200, bit in 0_u8..7) {
            let token = new(b"fake", &claims(), at(100)).unwrap();
            prop_assert_eq!(check(b"fake", &format!("{PREFIX}{text}"), at(1)), Err(Fault::Forged));
            let mut changed = token.into_bytes();
            let length = changed.len();
            changed[at_byte % length] ^= 1 << bit;
            prop_assert!(check(b"fake", &String::from_utf8_lossy(&changed), at(1)).is_err());
        }
    }
}
