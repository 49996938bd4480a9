//! `conf/keys.yaml`: who is known, by which keys, and what each may do. And the keys that stand in the environment.
//!
//! ```yaml
//! keys:
//!   - { name: alice, hash: "hmac-sha256:…", models: ["claude-3-*"], totp: "BASE32" }    # as `adit key new` and `adit totp new` print them
//!   - { name: robot, access_key_id: "…", secret: "…" }                                  # a client that signs its requests
//!   - { name: carol, models: ["*haiku*"] }                                              # proves herself by a token or a certificate
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};

use super::access::grant;
use super::cursor::{Section, Value};
use super::env::Environment;
use super::snapshot::{ApiKey, Grant, KeyHash, Process, SigV4Key, TotpSecret, User, Users};

/// What stands before the parts of a hash.
const HASH_PREFIX: &str = "hmac-sha256:";
/// The usual lengths of salts and ids, generously.
const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;
const LONGEST_ID: usize = 32;
/// Some services give secrets of 80 bits; fewer can be guessed from codes that were overheard.
const LEAST_TOTP_BYTES: usize = 10;
/// A key of the environment is the operator's own text: from this length on it can be hard to guess.
const LEAST_ENV_KEY_CHARS: usize = 20;

/// Reads the file; `None` stands for one without content, or none at all.
pub(super) fn read(root: Option<Value<'_>>, env: &Environment<'_>, process: &Process, notes: &mut Vec<String>) -> Users {
    let mut lines = Lines { users: Users::default(), process };
    if let Some(section) = root.and_then(|root| root.section()) {
        if let Some(keys) = section.get("keys") {
            for value in keys.list() {
                if let Some(line) = value.section() {
                    lines.line(&line);
                    line.finish();
                }
            }
        }
        section.finish();
    }
    lines.env_keys(env, notes);
    let Lines { users, .. } = lines;
    let auth = &process.auth;
    if auth.enabled && (auth.modes.api_key || auth.modes.api_key_totp) && users.keys.is_empty() && users.env_keys.is_empty() {
        notes.push("auth.mode: there are no keys, so nobody can prove anything by one: `adit key new NAME` makes one".to_owned());
    }
    if !auth.enabled && !users.env_keys.is_empty() {
        notes.push("environment: keys are set (BEDROCK_API_KEY_…), but auth.enabled is false: everybody may use the gateway".to_owned());
    }
    users
}

/// What has been read so far.
struct Lines<'p> {
    users: Users,
    process: &'p Process,
}

impl Lines<'_> {
    fn line(&mut self, line: &Section<'_>) {
        let name: Option<Arc<str>> = line.required("name", "the user").and_then(|value| user_name(&value)).map(Arc::from);
        let granted = self.with_defaults(grant(line));
        let expires = line.get("expires").and_then(|value| value.parse("a time such as 2027-01-01T00:00:00Z", time));
        let disabled = line.flag("disabled").unwrap_or(false);
        let labels = line.get("labels").map(|labels| labels.members()).unwrap_or_default();
        let labels = labels.into_iter().filter_map(|(key, value)| Some((key.name.clone(), value.text()?.to_owned()))).collect();
        let totp = line.get("totp").and_then(|value| totp(&value));
        let (hash, pair) = (line.get("hash").map(|hash| key_hash(&hash)), (line.get("access_key_id"), line.secret("secret")));
        let Some(name) = name else { return };
        let granted = Arc::new(granted);
        let user = User { grant: Arc::clone(&granted), expires, disabled };
        match (hash, pair) {
            (Some(hash), (None, None)) => {
                self.known(line, &name, user, false);
                let Some((id, hash)) = hash else { return };
                let key = ApiKey { name, id: id.clone(), hash: Some(hash), grant: granted, expires, disabled, labels, totp };
                if self.users.keys.insert(id, Arc::new(key)).is_some() {
                    line.value().mistake("expected a key of its own, found the id of another line's hash");
                }
            }
            (None, (Some(id), Some(secret))) => {
                self.known(line, &name, user, false);
                if totp.is_some() {
                    line.value().mistake("expected no `totp`: a signed request has no place for a code");
                }
                let Some(id) = id.text().map(Arc::<str>::from) else { return };
                let key = SigV4Key { name, access_key_id: id.clone(), secret, grant: granted, expires, disabled };
                if self.users.sigv4.insert(id, Arc::new(key)).is_some() {
                    line.value().mistake("expected a key pair of its own, found the access_key_id of another line");
                }
            }
            (None, (None, None)) => {
                if totp.is_some() {
                    line.value().mistake("expected `hash` beside `totp`: codes go with a key");
                }
                self.known(line, &name, user, true);
            }
            (Some(_), _) => line.value().mistake("expected either `hash` or `access_key_id` and `secret`, found both"),
            (None, (Some(_), None)) => line.value().mistake("expected `secret` beside `access_key_id`"),
            (None, (None, Some(_))) => line.value().mistake("expected `access_key_id` beside `secret`"),
        }
    }

    /// Notes what a line says of its user. He has one account, so all his lines say the same of it; a line without a key says it for good.
    fn known(&mut self, line: &Section<'_>, name: &Arc<str>, user: User, alone: bool) {
        let Some(before) = self.users.by_name.get(name) else {
            // What switches off one key does not switch off the user.
            let user = if alone { user } else { User { expires: None, disabled: false, ..user } };
            self.users.by_name.insert(Arc::clone(name), user);
            return;
        };
        if before.grant.limits != user.grant.limits || before.grant.budget != user.grant.budget {
            line.value().mistake(format!("expected the same limits and budget as in the other lines of `{name}`: they hold for the user, not for a key"));
        }
        if alone {
            self.users.by_name.insert(Arc::clone(name), user);
        }
    }

    fn with_defaults(&self, granted: Grant) -> Grant {
        Grant { limits: granted.limits.or(self.process.default_limits.unwrap_or_default()), ..granted }
    }

    fn env_keys(&mut self, env: &Environment<'_>, notes: &mut Vec<String>) {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for (variable, name) in env.api_keys() {
            let Some(key) = env.get(variable).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()) else { continue };
            if let Some(other) = seen.insert(key.clone(), variable) {
                env.mistake(variable, format!("expected a key of its own, found the one of {other}"));
                continue;
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                env.mistake(variable, "expected a key of printable ASCII characters without spaces");
                continue;
            }
            if key.len() < LEAST_ENV_KEY_CHARS {
                notes.push(format!("environment: {variable}: a key of fewer than {LEAST_ENV_KEY_CHARS} characters can be guessed"));
            }
            let of_codes = format!("TOTP_SECRET_{}", variable.get(variable.len() - name.len()..).unwrap_or_default());
            let totp = env.get(&of_codes).and_then(|text| {
                let secret = base32(&text);
                if secret.is_none() {
                    env.mistake(&of_codes, TOTP_EXPECTED);
                }
                secret
            });
            let name: Arc<str> = name.into();
            let user = self.users.by_name.get(&name).cloned();
            let user = user.unwrap_or_else(|| User { grant: Arc::new(self.with_defaults(Grant::default())), expires: None, disabled: false });
            let User { grant, expires, disabled } = user;
            let entry = ApiKey { name, id: variable.into(), hash: None, grant, expires, disabled, labels: Vec::new(), totp };
            self.users.env_keys.push((key.as_str().into(), Arc::new(entry)));
        }
    }
}

fn user_name<'n>(value: &Value<'n>) -> Option<&'n str> {
    let sane = |text: &&str| !text.is_empty() && text.len() <= 256 && text.trim() == *text && !text.chars().any(char::is_control);
    value.parse("the name of a user, at most 256 bytes", |text| Some(text).filter(sane))
}

/// `2027-01-01T00:00:00Z`, `2027-01-01`
fn time(text: &str) -> Option<SystemTime> {
    let offset = |text: &str| humantime::parse_rfc3339_weak(text).ok();
    let day = || (text.len() == "2027-01-01".len()).then(|| offset(&format!("{text}T00:00:00Z")))?;
    // Before 1970 nothing can end.
    offset(text).or_else(day).filter(|time| time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since > Duration::ZERO))
}

const TOTP_EXPECTED: &str = "expected a secret in base32 of at least 16 characters, as `adit totp new` prints it";

/// The value may be nearly right, so it is never shown.
fn totp(value: &Value<'_>) -> Option<TotpSecret> {
    let secret = value.secret()?;
    let read = base32(secret.expose());
    if read.is_none() {
        value.mistake(TOTP_EXPECTED);
    }
    read
}

/// As people copy it: in either case, in groups, padded or not.
fn base32(text: &str) -> Option<TotpSecret> {
    let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '=')).collect();
    let bytes = BASE32_NOPAD.decode(plain.to_ascii_uppercase().as_bytes()).ok()?;
    (bytes.len() >= LEAST_TOTP_BYTES).then(|| TotpSecret(bytes.into()))
}

fn key_hash(value: &Value<'_>) -> Option<(Arc<str>, KeyHash)> {
    // Somebody may have put the key itself there.
    let text = value.secret()?;
    let read = parse_hash(text.expose());
    if read.is_none() {
        value.mistake("expected `hmac-sha256:<id>:<salt>:<digest>`, as `adit key new` prints it");
    }
    read
}

fn parse_hash(text: &str) -> Option<(Arc<str>, KeyHash)> {
    let mut parts = text.strip_prefix(HASH_PREFIX)?.split(':');
    let (id, salt, digest) = (parts.next()?, parts.next()?, parts.next()?);
    let sane = !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let salt = BASE64URL_NOPAD.decode(salt.as_bytes()).ok().filter(|salt| SALT_BYTES.contains(&salt.len()))?;
    let digest = BASE64URL_NOPAD.decode(digest.as_bytes()).ok()?.try_into().ok()?;
    (sane && parts.next().is_none()).then(|| (id.into(), KeyHash { salt, digest }))
}
