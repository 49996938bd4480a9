//! Sessions: a token in place of a key and a code, for SDKs that know only keys.
//!
//! ```text
//! adit-session-<base64url of: MAC 32 bytes | end 8 | random 8 | id of the key>
//! ```
//!
//! Nothing is stored. The MAC also covers what is known of the key, so a session ends with its key: removed, switched off, or given another secret or factor.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq as _;

use super::key::{lives, mac};
use crate::config::snapshot::{ApiKey, Users};

/// What every session's token begins with.
const PREFIX: &str = "adit-session-";
/// No id is so long that its token is longer.
const LONGEST: usize = 1024;

/// Makes the token of a session that ends at a time.
#[must_use]
pub fn new(secret: &[u8], users: &Users, key: &ApiKey, ends: SystemTime, random: [u8; 8]) -> String {
    let ends = seconds(ends).to_be_bytes();
    let mac = sign(secret, users, key, &ends, &random);
    let bytes = [mac.as_slice(), &ends, &random, key.id.as_bytes()].concat();
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
}

/// Whether a credential claims to be a session.
#[must_use]
pub fn is_one(shown: &str) -> bool {
    shown.starts_with(PREFIX)
}

/// Why a session does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was not made here, or not for the key as it is now.
    Forged,
    /// It was good once: its time is over, or its key's.
    Over,
}

/// The key that a session stands for, if both are good.
///
/// # Errors
/// Why they are not.
pub fn check(secret: &[u8], users: &Users, shown: &str, now: SystemTime) -> Result<Arc<ApiKey>, Fault> {
    let bytes = decode(shown).ok_or(Fault::Forged)?;
    let Token { claimed, ends, random, id } = Token::read(&bytes).ok_or(Fault::Forged)?;
    let in_env = || users.env_keys.iter().map(|(_, key)| key).find(|key| &*key.id == id);
    let key = users.keys.get(id).or_else(in_env).ok_or(Fault::Forged)?;
    if !bool::from(sign(secret, users, key, ends, random).ct_eq(claimed)) {
        return Err(Fault::Forged);
    }
    let lives = seconds(now) < u64::from_be_bytes(*ends) && lives(key, now);
    if lives { Ok(Arc::clone(key)) } else { Err(Fault::Over) }
}

fn decode(shown: &str) -> Option<Vec<u8>> {
    let encoded = shown.strip_prefix(PREFIX).filter(|encoded| encoded.len() <= LONGEST)?;
    BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()
}

/// What a token is made of, in its order.
struct Token<'b> {
    /// The MAC.
    claimed: &'b [u8; 32],
    /// When it ends.
    ends: &'b [u8; 8],
    random: &'b [u8; 8],
    /// Of the key.
    id: &'b str,
}

impl<'b> Token<'b> {
    fn read(bytes: &'b [u8]) -> Option<Self> {
        let (claimed, rest) = bytes.split_first_chunk()?;
        let (ends, rest) = rest.split_first_chunk()?;
        let (random, id) = rest.split_first_chunk()?;
        Some(Token { claimed, ends, random, id: std::str::from_utf8(id).ok()? })
    }
}

fn sign(secret: &[u8], users: &Users, key: &ApiKey, ends: &[u8; 8], random: &[u8; 8]) -> [u8; 32] {
    let text = users.env_keys.iter().find(|(_, known)| known.id == key.id).map_or("", |(text, _)| text.expose());
    let (salt, digest) = key.hash.as_ref().map_or((&[][..], &[][..]), |hash| (&hash.salt, &hash.digest));
    let totp = key.totp.as_ref().map_or(&[][..], |totp| &totp.0);
    mac(secret, &[b"adit session 1", ends, random, key.name.as_bytes(), key.id.as_bytes(), salt, digest, text.as_bytes(), totp])
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::snapshot::{Grant, KeyHash, TotpSecret};

    fn users(change: impl FnOnce(&mut ApiKey)) -> Users {
        let mut key = ApiKey {
            name: "alice".into(),
            id: "one".into(),
            hash: Some(KeyHash { salt: vec![1; 16], digest: [2; 32] }),
            grant: Arc::new(Grant::default()),
            expires: None,
            disabled: false,
            labels: Vec::new(),
            totp: None,
        };
        change(&mut key);
        Users { keys: [("one".into(), Arc::new(key))].into(), ..Users::default() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn token() -> String {
        let users = users(|_| ());
        new(b"fake", &users, &users.keys["one"], at(1000), [9; 8])
    }

    #[test]
    fn a_session_ends_in_time_and_with_its_key() {
        let check = |users: &Users, now| check(b"fake", users, &token(), at(now)).err();
        assert_eq!(check(&users(|_| ()), 999), None);
        assert_eq!(check(&users(|_| ()), 1000), Some(Fault::Over), "its time is over");
        assert_eq!(check(&users(|key| key.disabled = true), 1), Some(Fault::Over));
        assert_eq!(check(&users(|key| key.expires = Some(at(500))), 500), Some(Fault::Over));
        assert_eq!(check(&Users::default(), 1), Some(Fault::Forged), "the key is gone");
        assert_eq!(check(&users(|key| key.hash = Some(KeyHash { salt: vec![1; 16], digest: [3; 32] })), 1), Some(Fault::Forged), "another secret");
        let totp = users(|key| key.totp = Some(TotpSecret(vec![1; 20].into())));
        assert_eq!(check(&totp, 1), Some(Fault::Forged), "a second factor it was made without");
        assert_eq!(super::check(b"other", &users(|_| ()), &token(), at(1)).err(), Some(Fault::Forged), "another node's");
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_session(text in ".*", at_byte in 0_usize..200, bit in 0_u8..7) {
            let users = users(|_| ());
            let shown = format!("{PREFIX}{text}");
            prop_assert!(check(b"fake", &users, &shown, at(1)).is_err() || shown == token());
            let mut changed = token().into_bytes();
            let length = changed.len();
            changed[at_byte % length] ^= 1 << bit;
            let changed = String::from_utf8_lossy(&changed);
            prop_assert_eq!(check(b"fake", &users, &changed, at(1)).err(), Some(Fault::Forged));
        }
    }
}
