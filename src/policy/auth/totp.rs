//! One-time codes that change every 30 seconds: RFC 6238 over RFC 4226, SHA-1 and six digits, what every authenticator app takes for granted.
//! <https://www.rfc-editor.org/rfc/rfc6238>

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, Mac as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use crate::config::snapshot::TotpSecret;

/// How long a code is shown.
const STEP_SECONDS: u64 = 30;
/// Steps before and behind the present one whose codes are taken: clocks differ, and typing takes a while.
const WINDOW: u64 = 1;

/// How a code was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is right and new.
    Good,
    /// It was right once.
    Used,
    /// It is not right.
    Wrong,
}

/// Codes that were taken: none is taken twice. Holds no more than there are second factors.
#[derive(Debug, Default)]
pub struct UsedCodes(Mutex<HashMap<(Arc<str>, TotpSecret), u64>>);

impl UsedCodes {
    /// Takes a code of a user, if it is right. Of two that come at once one is refused.
    pub fn take(&self, user: &Arc<str>, secret: &TotpSecret, code: &str, now: SystemTime) -> Outcome {
        let Some(step) = step_of(secret, code, now) else { return Outcome::Wrong };
        // Nothing panics while it is held.
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = used.entry((Arc::clone(user), secret.clone())).or_insert(0);
        // With a code all earlier ones are used up.
        if step <= *last {
            return Outcome::Used;
        }
        *last = step;
        Outcome::Good
    }
}

/// The step that a code belongs to, counted from 1: there was none before 1970. All are looked at, whichever fits.
fn step_of(secret: &TotpSecret, code: &str, now: SystemTime) -> Option<u64> {
    let code = code.trim();
    if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let present = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs() / STEP_SECONDS;
    let mut found = None;
    for step in present.saturating_sub(WINDOW)..=present + WINDOW {
        let right = format!("{:06}", number(&secret.0, step) % 1_000_000);
        if bool::from(right.as_bytes().ct_eq(code.as_bytes())) {
            found = Some(step + 1);
        }
    }
    found
}

/// RFC 4226, section 5.3: HMAC-SHA-1 of the counter, and four of its bytes, where the last one says, without the sign.
fn number(secret: &[u8], counter: u64) -> u32 {
    let Ok(mac) = Hmac::<Sha1>::new_from_slice(secret) else { unreachable!("HMAC takes keys of any length") };
    let hash = mac.chain_update(counter.to_be_bytes()).finalize().into_bytes();
    let at = usize::from(hash.last().copied().unwrap_or_default() & 0xf);
    let four = hash.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
    u32::from_be_bytes(four) & 0x7fff_ffff
}

/// A new secret: its text for the file, and the URL that authenticator apps read.
#[must_use]
pub fn new(user: &str, random: &[u8; 20]) -> (String, String) {
    let secret = BASE32_NOPAD.encode(random);
    let user = utf8_percent_encode(user, NON_ALPHANUMERIC);
    let url = format!("otpauth://totp/Adit:{user}?secret={secret}&issuer=Adit&algorithm=SHA1&digits=6&period={STEP_SECONDS}");
    (secret, url)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn secret() -> TotpSecret {
        TotpSecret(b"12345678901234567890".as_slice().into())
    }

    #[test]
    fn the_vectors_of_rfc_6238() {
        // Appendix B, SHA-1: eight digits, of which six are shown here.
        for (seconds, code) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(number(&secret().0, seconds / STEP_SECONDS) % 100_000_000, code, "{seconds}");
            let six = format!("{:06}", code % 1_000_000);
            assert_eq!(UsedCodes::default().take(&"alice".into(), &secret(), &six, at(seconds)), Outcome::Good, "{six}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_near_its_time() {
        let used = UsedCodes::default();
        let take = |user: &str, code: &str, seconds| used.take(&user.into(), &secret(), code, at(seconds));
        let code = |seconds: u64| format!("{:06}", number(&secret().0, seconds / STEP_SECONDS) % 1_000_000);
        for (text, now) in
            [(code(300), 360), (code(300), 269), ("".to_owned(), 300), ("12345".to_owned(), 300), ("1234567".to_owned(), 300), ("+12345".to_owned(), 300)]
        {
            assert_eq!(take("alice", &text, now), Outcome::Wrong, "{text} at {now}");
        }
        assert_eq!(take("alice", &code(300), 359), Outcome::Good);
        assert_eq!(take("alice", &code(300), 301), Outcome::Used);
        assert_eq!(take("alice", &code(270), 300), Outcome::Used, "an earlier one");
        assert_eq!(take("bob", &code(300), 300), Outcome::Good);
        assert_eq!(take("alice", &code(330), 330), Outcome::Good);
    }

    #[test]
    fn of_many_at_once_one_gets_in() {
        let used = UsedCodes::default();
        let code = format!("{:06}", number(&secret().0, 10) % 1_000_000);
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| used.take(&"alice".into(), &secret(), &code, at(300)))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Good).count(), 1);
    }
}
