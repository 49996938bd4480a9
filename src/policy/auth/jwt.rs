//! Tokens of an identity provider: JSON Web Tokens, signed by a key that the provider publishes.
//!
//! Follows RFC 7515 (signatures), 7517 (keys), 7518 and 8037 (algorithms), 7519 (claims) and 8725 (what goes wrong). Pure: keys and time are passed in.
//!
//! ```text
//! eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0 . eyJzdWIiOiJhbGljZSIsImV4cCI6MTgwMDAwMDAwMH0 . c2lnbmF0dXJl
//! header: alg, kid                      claims: iss, aud, exp, user, groups            signature over both
//! ```

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::mtls::sane;
use crate::config::snapshot::{Budget, Grant, Jwt, Models, UserLimits};

/// The longest token that is looked at. Providers cut the list of groups well before that.
pub const LONGEST_TOKEN: usize = 16 * 1024;
/// More keys than any provider publishes at a time.
const MOST_KEYS: usize = 64;

/// Why a token does not count. Its sender is told nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It can't be read.
    #[error("it is no JSON Web Token")]
    Malformed,
    /// Nobody allows its algorithm.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// It wants something understood that nobody understands.
    #[error("it has critical extensions")]
    Critical,
    /// No key that is known has its id.
    #[error("its key is not known")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("its signature is wrong")]
    Signature,
    /// Its time is over, or it has none.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// Somebody else issued it.
    #[error("its issuer is another one")]
    Issuer,
    /// It is meant for somebody else.
    #[error("its audience is another one")]
    Audience,
    /// It names no user.
    #[error("it names no user")]
    NoUser,
}

impl Fault {
    /// Whether somebody has tried what might count. What an issuer has really signed, for another time or another house, is no guess; nor is a key that is not
    /// known here, which may be a new one that could not be fetched yet.
    #[must_use]
    pub fn is_guess(self) -> bool {
        match self {
            Fault::Malformed | Fault::Algorithm | Fault::Critical | Fault::Signature => true,
            Fault::UnknownKey | Fault::Expired | Fault::NotYet | Fault::Issuer | Fault::Audience | Fault::NoUser => false,
        }
    }
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who sends it.
    pub user: String,
    /// The groups he is in.
    pub groups: Vec<String>,
    /// Until when it counts, tolerance included.
    pub until: SystemTime,
}

/// The keys that a provider publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, if the provider says so.
    algorithm: Option<String>,
    public: Public,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A member of `keys`: RFC 7517, section 4, and 7518, section 6.
#[derive(serde::Deserialize)]
struct Published {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads `{"keys": […]}`. Keys that are no use here are passed over, as the RFC wants it; `None` where this is no such document.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(json).ok()?;
        let keys = document.keys.into_iter().take(MOST_KEYS).filter_map(|key| serde_json::from_value(key).ok().and_then(Key::of));
        Some(Keys(keys.collect()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Key {
    fn of(published: Published) -> Option<Self> {
        let Published { kty, kid, alg, purpose, key_ops, crv, n, e, x, y } = published;
        if purpose.is_some_and(|purpose| purpose != "sig") || key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return None;
        }
        let bytes = |text: Option<String>| BASE64URL.decode(text?).ok();
        let coordinate = |text: Option<String>, length| bytes(text).filter(|bytes| bytes.len() == length);
        let point = |x, y, length| Some([[4].as_slice(), &coordinate(x, length)?, &coordinate(y, length)?].concat());
        let public = match (kty.as_str(), crv.as_deref()) {
            ("RSA", _) => {
                // The number is what counts, and some write it with zeros in front.
                let number = |text| Some(bytes(text)?.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>());
                Public::Rsa { n: number(n)?, e: number(e)? }
            }
            ("EC", Some("P-256")) => Public::P256(point(x, y, 32)?),
            ("EC", Some("P-384")) => Public::P384(point(x, y, 48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(coordinate(x, 32)?),
            _ => return None,
        };
        Some(Key { id: kid, algorithm: alg, public })
    }

    /// Whether a token may be checked with it: the key says what it is good for, not the token.
    fn fits(&self, algorithm: &str) -> bool {
        let kind = match &self.public {
            Public::Rsa { .. } => algorithm.starts_with("RS") || algorithm.starts_with("PS"),
            Public::P256(_) => algorithm == "ES256",
            Public::P384(_) => algorithm == "ES384",
            Public::Ed25519(_) => algorithm == "EdDSA",
        };
        // RFC 9864 has a second name for EdDSA with this curve.
        let same = |own: &str| own == algorithm || (own, algorithm) == ("Ed25519", "EdDSA");
        kind && self.algorithm.as_deref().is_none_or(same)
    }

    fn has_signed(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let rsa = match algorithm {
            "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
            "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
            "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
            "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
            "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
            // No other algorithm fits an RSA key.
            _ => &signature::RSA_PSS_2048_8192_SHA512,
        };
        let verified = match &self.public {
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(rsa, message, signature),
            Public::P256(point) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Public::P384(point) => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, signature),
            Public::Ed25519(key) => UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}

/// Whether a bearer token looks like one of these: three parts, of which the first is the JSON of a header.
#[must_use]
pub fn looks_like(token: &str) -> bool {
    token.starts_with("eyJ") && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// A JSON object whose names are all different: of two claims of one name, another reader may take the other one (RFC 7519, section 4).
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut map = Map::new();
        while let Some((name, value)) = members.next_entry()? {
            if map.insert(name, value).is_some() {
                return Err(serde::de::Error::custom("a name that is there twice"));
            }
        }
        Ok(Unique(map))
    }
}

/// The JSON of a part of a token.
fn object(part: &str) -> Result<Map<String, Value>, Fault> {
    let json = BASE64URL.decode(part).map_err(|_| Fault::Malformed)?;
    serde_json::from_slice(&json).map(|Unique(map)| map).map_err(|_| Fault::Malformed)
}

/// Checks a token: signature first, then whom it is from, for and when.
///
/// # Errors
/// Why it does not count.
pub fn verify(token: &str, keys: &Keys, jwt: &Jwt, now: SystemTime) -> Result<Claims, Fault> {
    if token.len() > LONGEST_TOKEN {
        return Err(Fault::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Fault::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Fault::Malformed)?;
    let header = object(header)?;
    // Whatever it holds: nothing that is critical is understood here.
    if header.contains_key("crit") {
        return Err(Fault::Critical);
    }
    let claimed = header.get("alg").and_then(Value::as_str).ok_or(Fault::Malformed)?;
    let id = header.get("kid").map(|id| id.as_str().ok_or(Fault::Malformed)).transpose()?;
    // The allowed ones are asymmetric all: neither `none` nor a shared secret can be among them.
    let algorithm = *jwt.algorithms.iter().find(|allowed| **allowed == claimed).ok_or(Fault::Algorithm)?;
    let signature = BASE64URL.decode(signature).map_err(|_| Fault::Malformed)?;
    check_signature(keys, algorithm, id, message.as_bytes(), &signature)?;
    check_claims(&object(claims)?, jwt, now)
}

fn check_signature(keys: &Keys, algorithm: &str, id: Option<&str>, message: &[u8], signature: &[u8]) -> Result<(), Fault> {
    // A key without an id may be any; so may be the one that a token without an id is signed with.
    let meant = |key: &&Key| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
    let mut known = false;
    for key in keys.0.iter().filter(meant) {
        known |= key.id.is_some() && id.is_some();
        if key.fits(algorithm) && key.has_signed(algorithm, message, signature) {
            return Ok(());
        }
    }
    Err(if known { Fault::Signature } else { Fault::UnknownKey })
}

fn check_claims(claims: &Map<String, Value>, jwt: &Jwt, now: SystemTime) -> Result<Claims, Fault> {
    let now = now.duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
    let leeway = jwt.leeway.as_secs_f64();
    let expires = date(claims, "exp")?.ok_or(Fault::Expired)?;
    if now >= expires + leeway {
        return Err(Fault::Expired);
    }
    for name in ["nbf", "iat"] {
        if date(claims, name)?.is_some_and(|from| now + leeway < from) {
            return Err(Fault::NotYet);
        }
    }
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if !jwt.issuer.is_empty() && text("iss") != Some(&jwt.issuer) {
        return Err(Fault::Issuer);
    }
    if let Some(audience) = &jwt.audience {
        let is_meant = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if !is_meant {
            return Err(Fault::Audience);
        }
    }
    let user = claim(claims, &jwt.user_claim).and_then(Value::as_str).and_then(sane).ok_or(Fault::NoUser)?;
    let groups = match claim(claims, &jwt.groups_claim) {
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(groups)) => groups.split_ascii_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    // No date that a double holds exactly is too far for a year's worth of seconds; what is, counts for long enough.
    let until = UNIX_EPOCH.checked_add(Duration::from_secs_f64((expires + leeway).clamp(0.0, FAR)));
    Ok(Claims { user, groups, until: until.ok_or(Fault::Malformed)? })
}

/// The year 2286, in seconds.
const FAR: f64 = 1e10;

/// A NumericDate; one that is something else makes the token a broken one.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Fault> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().filter(|date| date.is_finite()).map(Some).ok_or(Fault::Malformed),
    }
}

/// A claim by its name, or by the way to it: `realm_access.roles`.
fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        claim(claims.get(first)?.as_object()?, rest)
    })
}

/// What a user may do: all that any of his groups may. Where groups are configured, whoever is in none of them may use no model.
#[must_use]
pub fn grant(groups: &[String], jwt: &Jwt, default: UserLimits) -> Grant {
    if jwt.groups.is_empty() {
        return Grant { limits: default, ..Grant::default() };
    }
    let mut own = jwt.groups.iter().filter(|(name, _)| groups.contains(name)).map(|(_, grant)| Grant { limits: grant.limits.or(default), ..grant.clone() });
    match own.next() {
        Some(first) => own.fold(first, |all, one| both(&all, &one)),
        None => Grant { models: Models::only(Vec::new()), limits: default, ..Grant::default() },
    }
}

/// The larger of two, where no limit is the largest.
fn larger(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.max(b?))
}

fn both(a: &Grant, b: &Grant) -> Grant {
    let models = match (a.models.patterns(), b.models.patterns()) {
        (Some(a), Some(b)) => Models::only(a.iter().chain(b.iter().filter(|pattern| !a.contains(pattern))).cloned().collect()),
        _ => Models::default(),
    };
    Grant {
        models,
        limits: larger_limits(&a.limits, &b.limits),
        budget: Budget {
            daily_nano_usd: larger(a.budget.daily_nano_usd, b.budget.daily_nano_usd),
            monthly_nano_usd: larger(a.budget.monthly_nano_usd, b.budget.monthly_nano_usd),
        },
        // A limit of one group that another one does not have is none.
        model_limits: a.model_limits.iter().filter_map(|limit| both_limits(limit, b)).collect(),
    }
}

/// A limit for some models, where another grant has one for the same models.
fn both_limits((models, limits): &(Models, UserLimits), other: &Grant) -> Option<(Models, UserLimits)> {
    let (_, others) = other.model_limits.iter().find(|(others, _)| others == models)?;
    Some((models.clone(), larger_limits(limits, others)))
}

fn larger_limits(a: &UserLimits, b: &UserLimits) -> UserLimits {
    UserLimits {
        requests_per_minute: larger(a.requests_per_minute, b.requests_per_minute),
        tokens_per_minute: larger(a.tokens_per_minute, b.tokens_per_minute),
        concurrent_requests: larger(a.concurrent_requests, b.concurrent_requests),
    }
}

#[cfg(test)]
mod tests;
