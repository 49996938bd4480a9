//! Every secret of a test, and whether the daemon has told one of them to anybody.
//!
//! Secrets are noted by themselves: what a client sends as a credential, sessions that it gets, and what stands in the daemon's files and environment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;

use super::process::Daemon;
use super::{Answer, Gateway};

/// For the `adit.yaml` of a daemon whose secrets are looked for: without an audit log there is nothing to look through.
pub(crate) const AUDIT: &str = "audit: { path: audit.jsonl, bodies: redacted }";
/// For its environment: all that it may log of itself, and a line a request.
pub(crate) const LOUD: (&str, &str) = ("RUST_LOG", "warn,adit=debug,access=info");
/// What is shorter could stand anywhere by chance; a code of six digits is looked for as a word.
const SHORTEST: usize = 8;
/// Requests are looked through as far as this: heads are shorter.
const HEAD: usize = 64 * 1024;

/// What a daemon must not tell, and the errors that it has answered with.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    secrets: BTreeSet<String>,
    answers: Vec<String>,
}

/// The first groups of all matches.
fn found<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
    Regex::new(pattern).unwrap().captures_iter(text).map(|found| found.get(1).unwrap().as_str()).collect()
}

impl Secrets {
    /// One more secret.
    pub(crate) fn note(&self, secret: &str) {
        let is_code = secret.len() == 6 && secret.bytes().all(|byte| byte.is_ascii_digit());
        if (secret.len() >= SHORTEST || is_code) && !secret.contains("${") {
            self.0.lock().unwrap().secrets.insert(secret.to_owned());
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().secrets.len()
    }

    /// What a client sends: credentials in headers, and the code for a session.
    pub(crate) fn sent(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes.get(..HEAD).unwrap_or(bytes));
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "authorization" if value.contains("Signature=") => found("Signature=([0-9a-f]{64})", value).into_iter().for_each(|secret| self.note(secret)),
                "authorization" => self.note(value.strip_prefix("Bearer ").unwrap_or(value)),
                "x-api-key" | "api-key" | "x-goog-api-key" | "x-totp-code" | "x-otp" | "cookie" | "x-amz-security-token" => self.note(value),
                _ => {}
            }
        }
        if text.contains("\"code\"") {
            found(r#""code": ?"([0-9]{6})""#, &text).into_iter().for_each(|code| self.note(code));
        }
    }

    /// What a client gets: errors are kept, and of what is good a session's token is a secret.
    pub(crate) fn answered(&self, answer: &Answer) {
        if answer.status >= 400 {
            let told = format!("{:?}\n{}", answer.headers, String::from_utf8_lossy(&answer.body));
            self.0.lock().unwrap().answers.push(told);
        } else if answer.body.starts_with(br#"{"token":"#) {
            found(r#"^\{"token":"([^"]+)""#, &String::from_utf8_lossy(&answer.body)).into_iter().for_each(|token| self.note(token));
        }
    }

    /// What stands in the files of a daemon's folder, and in its environment.
    pub(crate) fn configured(&self, folder: &Path, env: &[(String, String)]) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(text) = std::fs::read_to_string(&entry) else { continue };
            match entry.extension().and_then(|extension| extension.to_str()) {
                Some("yaml") => {
                    let keys = r#"\b(?:api_key|secret_access_key|bearer_token|session_token|totp|secret|hash): *["']?([^"',}\s]+)"#;
                    found(keys, &text).into_iter().chain(found(r"rediss?://[^:@/\s]*:([^@\s]+)@", &text)).for_each(|secret| self.note(secret));
                }
                Some("pem") if text.contains("PRIVATE KEY") => found(r"(?m)^([A-Za-z0-9+/=]{32,})\r?$", &text).into_iter().for_each(|line| self.note(line)),
                _ => {}
            }
        }
        for (_, value) in env.iter().filter(|(name, _)| ["KEY", "SECRET", "TOKEN", "PASSWORD", "ROBOT"].iter().any(|word| name.contains(word))) {
            self.note(value);
        }
    }

    /// The secrets that are in one of these, by the names of the places.
    pub(crate) fn told(&self, places: &[(String, String)]) -> Vec<String> {
        let noted = self.0.lock().unwrap();
        let answers = ("an error answer".to_owned(), noted.answers.join("\n"));
        let mut told = Vec::new();
        for secret in &noted.secrets {
            let forms = [secret.clone(), utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(), STANDARD.encode(secret)];
            for (place, text) in places.iter().chain([&answers]) {
                if forms.iter().any(|form| holds(text, form)) {
                    told.push(format!("{secret} in {place}"));
                }
            }
        }
        told
    }
}

/// Whether a text has a secret in it; a short one as a word of its own.
fn holds(text: &str, secret: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.match_indices(secret).any(|(at, _)| {
        secret.len() >= SHORTEST || !(is_part(at.checked_sub(1).and_then(|at| text.as_bytes().get(at))) || is_part(text.as_bytes().get(at + secret.len())))
    })
}

/// The files of an audit log.
fn audit_files(folder: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("audit.jsonl"));
    let files: Vec<_> = files.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())).collect();
    assert!(files.iter().any(|(_, text)| !text.is_empty()), "there is no audit log to look through");
    files
}

impl Gateway {
    /// Ends the daemon. The secrets of the test that it has told anywhere, and where; `headers` are for pages that want a key.
    pub(crate) fn told_secrets(mut self, headers: &str) -> Vec<String> {
        let mut places = Vec::new();
        for page in ["/metrics", "/ready"] {
            let mut client = self.connect();
            client.call("GET", page, headers, b"");
            let answer = client.answer();
            assert!(matches!((page, answer.status), (_, 200) | ("/ready", 503)), "{page}: {}", answer.status);
            places.push((page.to_owned(), answer.text().to_owned()));
        }
        self.signal("TERM");
        assert_eq!(self.wait_exit(), Some(0));
        places.extend(audit_files(self.folder()));
        places.push(("the log".to_owned(), self.log.end()));
        self.secrets.configured(self.folder(), &self.env);
        self.secrets.told(&places)
    }

    /// Ends the daemon, and looks for every secret of the test in all that it has told.
    pub(crate) fn keeps_secrets(self) {
        let secrets = self.secrets.clone();
        let told = self.told_secrets("");
        assert!(told.is_empty(), "{told:#?}");
        assert!(secrets.count() > 0, "there were no secrets");
    }
}

impl Daemon {
    /// The same for this kind of daemon.
    pub(crate) fn keeps_secrets(mut self) {
        let mut places = Vec::new();
        for page in ["/metrics", "/ready"] {
            let mut client = self.connect();
            client.call("GET", page, "", b"");
            places.push((page.to_owned(), client.answer().text().to_owned()));
        }
        self.signal("TERM");
        assert_eq!(self.wait_exit(), Some(0));
        let folder = self.path("");
        places.extend(audit_files(&folder));
        places.push(("the log".to_owned(), self.log()));
        self.secrets.configured(&folder, self.env());
        let told = self.secrets.told(&places);
        assert!(told.is_empty(), "{told:#?}");
        assert!(self.secrets.count() > 0, "there were no secrets");
    }
}
