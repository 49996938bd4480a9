//! The part of a head that says who sends it: whatever stands there is read or refused, in the same way however its headers are ordered, and is nobody's key. The input is
//! lines, each a byte that names a header and its value.

#![no_main]

use std::time::{Duration, Instant, SystemTime};

use adit::config::snapshot::{TotpSecret, Users};
use adit::policy::auth::key::Keyring;
use adit::policy::auth::lockout::Lockout;
use adit::policy::auth::shown::{Shown, code};
use adit::policy::auth::totp::{Outcome, UsedCodes};
use adit::policy::auth::{jwt, session};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-totp-code", "x-otp"];

fuzz_target!(|input: &[u8]| {
    let lines = || input.split(|byte| *byte == b'\n').filter_map(|line| line.split_first());
    let mut headers = HeaderMap::new();
    let mut turned = HeaderMap::new();
    let lines: Vec<_> = lines().filter_map(|(name, value)| Some((NAMES[usize::from(*name) % NAMES.len()], HeaderValue::from_bytes(value).ok()?))).collect();
    for ((name, value), (last, other)) in lines.iter().zip(lines.iter().rev()) {
        headers.append(*name, value.clone());
        turned.append(*last, other.clone());
    }
    let shown = Shown::find(&headers);
    assert_eq!(shown, Shown::find(&turned));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    if let Shown::Key(text) = shown {
        assert!(!text.is_empty() && text == text.trim());
        let users = Users::default();
        let ring = Keyring::new(&users, [7; 32]);
        assert!(ring.check(&users, text, now).is_none());
        assert!(session::check(b"obviously-not-a-secret", &users, text, now).is_err());
        let _ = jwt::looks_like(text);
        // However long a label is, and wherever it would have to be cut.
        let (lockout, label, then) = (Lockout::default(), ring.label(text), Instant::now());
        (0..5).for_each(|_| lockout.failed(None, Some(&label), then));
        assert!(lockout.wait(None, Some(&label), then).is_some());
    }
    if let Some(code) = code(&headers) {
        let right = UsedCodes::default().take(&"alice".into(), &TotpSecret(b"12345678901234567890".as_slice().into()), code, now);
        assert!(right == Outcome::Wrong || (code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit())), "{code:?}");
    }
});
