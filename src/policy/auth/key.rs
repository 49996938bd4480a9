//! API keys: `sk-adit-<id>-<secret>`.
//!
//! The id finds the line, so a check costs one hash however many keys there are. The secret is 256 bits of the system's randomness, so the hash is a fast one:
//! a slow or memory-hard hash makes guessing a password dear, and there is nothing to guess here; all it would do is let strangers burn the gateway's time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::config::snapshot::{ApiKey, KeyHash, Users};

/// What every key made here begins with.
const PREFIX: &str = "sk-adit-";
/// 50 bits: no two keys of one file are likely to meet.
const ID_CHARS: usize = 10;
/// What stands in for the salt of a key that nobody knows, so that the answer takes as long.
const NO_SALT: [u8; 16] = [0; 16];

/// HMAC-SHA-256 of several pieces, each with its length, so that no two lists of pieces are the same text.
pub(super) fn mac(key: &[u8], pieces: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("HMAC takes keys of any length") };
    for piece in pieces {
        mac.update(&(piece.len() as u64).to_be_bytes());
        mac.update(piece);
    }
    mac.finalize().into_bytes().into()
}

fn digest(salt: &[u8], secret: &str) -> [u8; 32] {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(salt) else { unreachable!("HMAC takes keys of any length") };
    mac.chain_update(secret).finalize().into_bytes().into()
}

/// The keys that are known, ready to be looked up.
#[derive(Debug, Default)]
pub struct Keyring {
    /// Keys of the environment by the beginning of their hash under `under`: where an entry lies tells nothing about the key.
    of_env: HashMap<u64, ([u8; 32], Arc<ApiKey>)>,
    /// Random, and new with every ring.
    under: [u8; 32],
}

impl Keyring {
    /// A ring for the keys of the environment; those of a file are found by their ids.
    #[must_use]
    pub fn new(users: &Users, under: [u8; 32]) -> Self {
        let entry = |(text, key): &(crate::config::Secret, Arc<ApiKey>)| {
            let hash = digest(&under, text.expose());
            (beginning(&hash), (hash, Arc::clone(key)))
        };
        Keyring { of_env: users.env_keys.iter().map(entry).collect(), under }
    }

    /// The key that a client shows, if it is one. A key that has ended is as good as none; an unknown one costs the same work.
    #[must_use]
    pub fn check(&self, users: &Users, shown: &str, now: SystemTime) -> Option<Arc<ApiKey>> {
        let of_env = digest(&self.under, shown);
        let of_env = self.of_env.get(&beginning(&of_env)).filter(|(hash, _)| bool::from(hash.ct_eq(&of_env))).map(|(_, key)| key);
        let (id, secret) = split(shown).unwrap_or(("", shown));
        let entry = users.keys.get(id).and_then(|key| Some((key, key.hash.as_ref()?)));
        let salt = entry.map_or(NO_SALT.as_slice(), |(_, hash)| &hash.salt);
        let found = digest(salt, secret);
        let of_file = entry.filter(|(_, hash)| bool::from(hash.digest.ct_eq(&found))).map(|(key, _)| key);
        of_env.or(of_file).filter(|key| lives(key, now)).map(Arc::clone)
    }
}

impl Keyring {
    /// What failures with a key are counted by: the id that it claims; of a key that isn't of our making, a name that tells nothing about it.
    #[must_use]
    pub fn label<'k>(&self, shown: &'k str) -> Cow<'k, str> {
        match split(shown) {
            Some((id, _)) => Cow::Borrowed(id),
            None => Cow::Owned(format!("other {:016x}", beginning(&digest(&self.under, shown)))),
        }
    }
}

fn beginning(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Whether a key is still good for something.
#[must_use]
pub(super) fn lives(key: &ApiKey, now: SystemTime) -> bool {
    !key.disabled && key.expires.is_none_or(|expires| now < expires)
}

fn split(shown: &str) -> Option<(&str, &str)> {
    shown.strip_prefix(PREFIX)?.split_once('-')
}

/// A new key: what its user gets, once, and what goes into the file.
#[must_use]
pub fn new(random: &[u8; 56]) -> (String, String) {
    let (secret, rest) = random.split_at(32);
    let (salt, id) = rest.split_at(16);
    let mut id = BASE32_NOPAD.encode(id).to_ascii_lowercase();
    id.truncate(ID_CHARS);
    let secret = BASE64URL_NOPAD.encode(secret);
    let hash = KeyHash { salt: salt.to_vec(), digest: digest(salt, &secret) };
    let line = format!("hmac-sha256:{id}:{}:{}", BASE64URL_NOPAD.encode(&hash.salt), BASE64URL_NOPAD.encode(&hash.digest));
    (format!("{PREFIX}{id}-{secret}"), line)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::snapshot::Grant;

    fn key(id: &str, hash: Option<KeyHash>) -> ApiKey {
        ApiKey { name: "alice".into(), id: id.into(), hash, grant: Arc::new(Grant::default()), expires: None, disabled: false, labels: Vec::new(), totp: None }
    }

    #[test]
    fn only_the_whole_key_is_the_key() {
        let (text, line) = new(&[7; 56]);
        let parts: Vec<&str> = line.split(':').collect();
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        let hash = KeyHash { salt: decode(parts[2]), digest: decode(parts[3]).try_into().unwrap() };
        let mut users = Users::default();
        users.keys.insert(parts[1].into(), Arc::new(key(parts[1], Some(hash.clone()))));
        users.env_keys.push(("an-obviously-fake-key-of-the-environment".into(), Arc::new(key("BEDROCK_API_KEY_ALICE", None))));
        let ring = Keyring::new(&users, [1; 32]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let check = |users: &Users, text: &str| ring.check(users, text, now).map(|key| key.id.to_string());
        assert_eq!(check(&users, &text).as_deref(), Some(parts[1]));
        assert_eq!(check(&users, "an-obviously-fake-key-of-the-environment").as_deref(), Some("BEDROCK_API_KEY_ALICE"));
        let short = text.get(..text.len() - 1).unwrap().to_owned();
        for wrong in
            ["", "sk-adit-", "sk-adit--", &line, &short, &format!("{text}x"), &text.replace("sk-adit-", "sk-adit-x"), &text.to_uppercase(), "an-obviously"]
        {
            assert_eq!(check(&users, wrong), None, "{wrong}");
        }
        for ended in [ApiKey { disabled: true, ..key(parts[1], Some(hash.clone())) }, ApiKey { expires: Some(now), ..key(parts[1], Some(hash)) }] {
            users.keys.insert(parts[1].into(), Arc::new(ended));
            assert_eq!(check(&users, &text), None);
        }
    }

    #[test]
    fn pieces_cannot_be_moved_into_each_other() {
        assert_ne!(mac(b"k", &[b"ab", b"c"]), mac(b"k", &[b"a", b"bc"]));
    }
}
