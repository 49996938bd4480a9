//! Tokens of sessions: no text is one that was not made here, and one that was is good until it ends and in no other form. The first byte says whether the rest is the
//! token's text or the bytes inside; the next eight are its end, and the two behind them which bit is changed.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit::config::snapshot::{ApiKey, Grant, KeyHash, Users};
use adit::policy::auth::session::{Fault, check, new};
use data_encoding::BASE64URL_NOPAD;
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"obviously-not-a-secret";

fuzz_target!(|input: &[u8]| {
    let Some((&form, rest)) = input.split_first() else { return };
    let users = users();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let text = if form % 2 == 0 { String::from_utf8_lossy(rest).into_owned() } else { BASE64URL_NOPAD.encode(rest) };
    assert_eq!(check(SECRET, &users, &format!("adit-session-{text}"), now).err(), Some(Fault::Forged));
    assert_eq!(check(SECRET, &users, &text, now).err(), Some(Fault::Forged));

    let Some((ends, rest)) = rest.split_first_chunk::<8>() else { return };
    let Some((at, random)) = rest.split_first_chunk::<2>() else { return };
    let seconds = u64::from_be_bytes(*ends) % 4_000_000_000;
    let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let random = random.first_chunk().copied().unwrap_or_default();
    let token = new(SECRET, &users, &users.keys["one"], ends, random);
    assert_eq!(check(SECRET, &users, &token, now).err(), (now >= ends).then_some(Fault::Over));
    let mut changed = token.into_bytes();
    let bit = usize::from(u16::from_be_bytes(*at)) % (changed.len() * 8);
    changed[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(check(SECRET, &users, &String::from_utf8_lossy(&changed), now).err(), Some(Fault::Forged));
});

fn users() -> Users {
    let key = ApiKey {
        name: "alice".into(),
        id: "one".into(),
        hash: Some(KeyHash { salt: vec![1; 16], digest: [2; 32] }),
        grant: Arc::new(Grant::default()),
        expires: None,
        disabled: false,
        labels: Vec::new(),
        totp: None,
    };
    Users { keys: [("one".into(), Arc::new(key))].into(), ..Users::default() }
}
