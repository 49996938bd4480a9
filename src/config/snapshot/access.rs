//! Who may do what.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::Secret;
use crate::provider::endpoint::Endpoint;

/// How clients prove who they are, and what each may do.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Whether anybody has to prove anything.
    pub enabled: bool,
    /// What counts as a proof: any of these.
    pub modes: Modes,
    /// The file with the keys, as it is opened; `None`: there is none.
    pub keys_file: Option<PathBuf>,
    /// Who is known: what the file with the keys and the environment say.
    pub users: Arc<Users>,
    /// How long a session lives.
    pub session_ttl: Duration,
    /// What signs sessions, the same on all nodes; `None`: each node makes its own.
    pub session_secret: Option<Secret>,
    /// Tokens of an identity provider.
    pub jwt: Option<Jwt>,
    /// What of a client's certificate names the user.
    pub mtls_user: CertificateUser,
    /// Who sees `/metrics`.
    pub metrics: Page,
    /// Who sees more of `/ready` than its status.
    pub ready: Page,
}

/// `auth.mode`: which proofs count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// `api_key`: a key alone.
    pub api_key: bool,
    /// `api_key+totp`: a key and a code, or a session made with both.
    pub api_key_totp: bool,
    /// `jwt`: a token of an identity provider.
    pub jwt: bool,
    /// `mtls`: a client certificate.
    pub mtls: bool,
}

/// Who sees a page of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Everybody.
    Open,
    /// Whoever could send a request.
    Key,
}

/// What of a certificate names its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUser {
    /// The subject's common name.
    SubjectCn,
    /// The first DNS name among the subject's alternative names.
    SanDns,
    /// The first URI among them, such as a SPIFFE id.
    SanUri,
}

/// Tokens of an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// Who issues them: `iss`, and where OpenID's discovery document lies. Without a slash at the end unless it was written with one.
    pub issuer: String,
    /// Where the issuer is asked.
    pub endpoint: Endpoint,
    /// Where the keys are; `None`: the discovery document says it.
    pub jwks_url: Option<Endpoint>,
    /// Whether the keys may lie at a plain http address that is not this machine.
    pub allow_http: bool,
    /// `aud`; `None`: anything.
    pub audience: Option<String>,
    /// Signature algorithms that are taken, by their names in RFC 7518.
    pub algorithms: Vec<&'static str>,
    /// How far the clocks of issuer and gateway may differ.
    pub leeway: Duration,
    /// The claim with the user's name.
    pub user_claim: String,
    /// The claim with the user's groups.
    pub groups_claim: String,
    /// What members of groups may do, by name; empty: everybody may do everything.
    pub groups: Vec<(String, Grant)>,
}

/// Who is known, by what.
#[derive(Clone, Debug, Default)]
pub struct Users {
    /// Keys of the file, by their ids.
    pub keys: HashMap<Arc<str>, Arc<ApiKey>>,
    /// Keys of the environment, which stand there in the open.
    pub env_keys: Vec<(Secret, Arc<ApiKey>)>,
    /// Key pairs of SigV4 clients, by their access key ids.
    pub sigv4: HashMap<Arc<str>, Arc<SigV4Key>>,
    /// All names that have a line, for users who prove themselves otherwise.
    pub by_name: HashMap<Arc<str>, User>,
}

/// What a name's lines say, whatever the user proves himself by.
#[derive(Clone, Debug)]
pub struct User {
    /// What he may do.
    pub grant: Arc<Grant>,
    /// When he is nobody any more.
    pub expires: Option<SystemTime>,
    /// Whether he is nobody already.
    pub disabled: bool,
}

/// A key of a user.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The user.
    pub name: Arc<str>,
    /// Names the key, in it and in the file. Of a key in the environment: the variable's name, which no key in a file can have as its id.
    pub id: Arc<str>,
    /// What the file knows of its secret; `None` for a key of the environment.
    pub hash: Option<KeyHash>,
    /// What it is good for.
    pub grant: Arc<Grant>,
    /// When it ends.
    pub expires: Option<SystemTime>,
    /// Whether it is switched off.
    pub disabled: bool,
    /// The operator's own notes, for the audit log.
    pub labels: Vec<(String, String)>,
    /// What its codes are made of; `None`: it has no second factor.
    pub totp: Option<TotpSecret>,
}

/// A key pair of a SigV4 client.
#[derive(Clone, Debug)]
pub struct SigV4Key {
    /// The user.
    pub name: Arc<str>,
    /// Names the pair.
    pub access_key_id: Arc<str>,
    /// What requests are signed with.
    pub secret: Secret,
    /// What it is good for.
    pub grant: Arc<Grant>,
    /// When it ends.
    pub expires: Option<SystemTime>,
    /// Whether it is switched off.
    pub disabled: bool,
}

/// A salted hash of a key's secret: `hmac-sha256:<id>:<salt>:<digest>`. A secret of 256 random bits needs no slow hash: nobody can try them all.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyHash {
    /// Makes hashes of equal secrets differ.
    pub salt: Vec<u8>,
    /// HMAC-SHA-256 of the secret's text under the salt.
    pub digest: [u8; 32],
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What one-time codes are made of.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TotpSecret(pub Arc<[u8]>);

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Models he may use.
    pub models: Models,
    /// How much.
    pub limits: UserLimits,
    /// For how much money.
    pub budget: Budget,
    /// How much of some models, besides.
    pub model_limits: Vec<(Models, UserLimits)>,
}

/// How much a user may do. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserLimits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute, in and out.
    pub tokens_per_minute: Option<u64>,
    /// Requests at a time.
    pub concurrent_requests: Option<u64>,
}

impl UserLimits {
    /// These, and another's where these say nothing.
    #[must_use]
    pub fn or(self, other: UserLimits) -> UserLimits {
        UserLimits {
            requests_per_minute: self.requests_per_minute.or(other.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.or(other.tokens_per_minute),
            concurrent_requests: self.concurrent_requests.or(other.concurrent_requests),
        }
    }
}

/// How much money a user may spend, in thousand-millionths of a dollar. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// In a day of UTC.
    pub daily_nano_usd: Option<u64>,
    /// In a month of UTC.
    pub monthly_nano_usd: Option<u64>,
}

impl Budget {
    /// This, and another where this says nothing.
    #[must_use]
    pub fn or(self, other: Budget) -> Budget {
        Budget { daily_nano_usd: self.daily_nano_usd.or(other.daily_nano_usd), monthly_nano_usd: self.monthly_nano_usd.or(other.monthly_nano_usd) }
    }
}

/// Which models: names of the map, with `*` for any run of characters. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Models(Option<Arc<[String]>>);

impl Models {
    /// These; none at all for an empty list.
    #[must_use]
    pub fn only(patterns: Vec<String>) -> Self {
        Models(Some(patterns.into()))
    }

    /// Whether there is a name that they do not hold.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The patterns; `None` for all models.
    #[must_use]
    pub fn patterns(&self) -> Option<&[String]> {
        self.0.as_deref()
    }

    /// Whether a name is one of them.
    #[must_use]
    pub fn allow(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes())))
    }
}

/// The patterns, one after another.
impl fmt::Display for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.patterns() {
            Some(patterns) => f.write_str(&patterns.join(" ")),
            None => f.write_str("*"),
        }
    }
}

/// `*` in a pattern stands for any run of characters. Linear in practice: on a mismatch only the last star is moved.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while let Some(byte) = name.get(n) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(expected) if expected == byte => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, name, fits) in [
            ("claude-3-*", "claude-3-haiku", true),
            ("claude-3-*", "claude-3", false),
            ("*", "", true),
            ("*", "x", true),
            ("", "", true),
            ("", "x", false),
            ("*haiku*", "claude-3-haiku-20240307", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("gpt-4", "gpt-4", true),
            ("gpt-4", "gpt-4o", false),
            ("**", "x", true),
            ("*a", "aaaa", true),
        ] {
            assert_eq!(Models::only(vec![pattern.to_owned()]).allow(name), fits, "{pattern} {name}");
        }
        assert!(Models::default().allow("x") && !Models::only(Vec::new()).allow("x"));
    }
}
