//! Proofs of who a client is, and what is said of those that are not good.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};

use super::Answer;

/// Obviously fake; 20 bytes in base32.
pub(crate) const TOTP: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
pub(crate) const CHAT: &str = r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
pub(crate) const CONVERSE: &str = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;

/// The three APIs: path, body, and what a key is sent in.
pub(crate) const APIS: [(&str, &str, &str); 3] = [
    ("/v1/chat/completions", CHAT, "authorization: Bearer "),
    ("/v1/messages", CHAT, "x-api-key: "),
    ("/model/claude-3-haiku/converse", CONVERSE, "authorization: Bearer "),
];

/// What `adit key new` prints: the key, and the hash of its line.
pub(crate) fn new_key(name: &str) -> (String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_adit")).args(["key", "new", name]).output().unwrap();
    assert!(out.status.success());
    let text = String::from_utf8(out.stdout).unwrap();
    let key = text.split_whitespace().find(|word| word.starts_with("sk-adit-")).unwrap().to_owned();
    let hash = text.split('"').find(|word| word.starts_with("hmac-sha256:")).unwrap().to_owned();
    assert!(text.contains(&format!("  - {{ name: \"{name}\", hash: \"{hash}\" }}")), "{text}");
    (key, hash)
}

/// The code of now, computed here: the daemon's own arithmetic is what is tested.
pub(crate) fn code(steps_from_now: i64) -> String {
    let step = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30) as i64 + steps_from_now;
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"12345678901234567890").unwrap();
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 15);
    let number = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// Waits until the present code has some time left: a test that sends the one before would come too late behind its end.
pub(crate) fn early_in_a_step() {
    loop {
        let into = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 30;
        if into < 22 {
            return;
        }
        std::thread::sleep(Duration::from_secs(30 - into));
    }
}

/// An answer without what differs from one request to the next.
pub(crate) fn same(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let id = answer.header("x-request-id").unwrap();
    let own = ["x-request-id", "request-id", "x-amzn-requestid", "date"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())).cloned().collect();
    (answer.status, headers, answer.text().replace(id, "ID"))
}
