//! Who asks: AWS Signature Version 4 and bearer tokens, checked as AWS checks them.
//!
//! Written from the description of the algorithm and from nothing that signs, so that it does not share a signer's mistakes. Bedrock's particulars: the
//! service is called `bedrock`, the path is percent-encoded once more than it stands on the wire, and the hash is the one of the body that arrived.
//! Refusals say what should have been signed: the canonical request and the string to sign, as AWS does.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE, HOST};
use sha2::{Digest as _, Sha256};

use super::failure::Failure;

/// A key pair the sandbox knows.
#[derive(Clone)]
pub struct Credentials {
    /// For example `AKIAIOSFODNN7EXAMPLE`.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// Temporary credentials must show this token with each request.
    pub session_token: Option<String>,
    /// From then on the credentials are answered with `ExpiredTokenException`.
    pub expires: Option<SystemTime>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Fake or not: secrets stay out of logs.
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// How far a request's date may be from the clock.
const SKEW: Duration = Duration::from_secs(300);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "bedrock";
const TERMINATOR: &str = "aws4_request";

/// The request as it arrived.
pub(super) struct Received<'r> {
    /// For example `POST`.
    pub method: &'r str,
    /// The raw path, as received.
    pub path: &'r str,
    /// The raw query, as received; empty without one.
    pub query: &'r str,
    /// `:authority` of HTTP/2, which stands for `host` there.
    pub authority: Option<&'r str>,
    /// All headers.
    pub headers: &'r HeaderMap,
    /// Hex SHA-256 of the body.
    pub body_sha256: &'r str,
}

/// What the sandbox accepts.
pub(super) struct Keyring<'k> {
    /// Key pairs.
    pub credentials: &'k [Credentials],
    /// Bedrock API keys.
    pub bearer_tokens: &'k [String],
    /// The only region that signatures may be for; `None` for any.
    pub region: Option<&'k str>,
}

/// Who was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A signed request, by its access key id.
    Signed(String),
    /// A bearer token.
    Bearer,
}

impl Keyring<'_> {
    /// Checks who asks.
    ///
    /// # Errors
    /// The 400 or 403 that AWS answers with.
    pub(super) fn verify(&self, request: &Received<'_>, now: SystemTime) -> Result<Caller, Failure> {
        let mut values = request.headers.get_all(AUTHORIZATION).iter();
        let (first, second) = (values.next(), values.next());
        let Some(authorization) = first else { return Err(Failure::new("MissingAuthenticationToken", "Missing Authentication Token")) };
        if second.is_some() {
            return Err(incomplete("Authorization header is there more than once."));
        }
        let Ok(authorization) = authorization.to_str() else { return Err(incomplete("Authorization header is not ASCII.")) };
        if let Some(token) = authorization.strip_prefix("Bearer ") {
            return self.verify_bearer(token);
        }
        self.verify_signature(&Authorization::parse(authorization)?, request, now)
    }

    fn verify_bearer(&self, token: &str) -> Result<Caller, Failure> {
        if self.bearer_tokens.iter().any(|known| known == token) {
            return Ok(Caller::Bearer);
        }
        Err(Failure::new("AccessDenied", "Authentication failed: Please make sure your API Key is valid."))
    }

    fn verify_signature(&self, given: &Authorization<'_>, request: &Received<'_>, now: SystemTime) -> Result<Caller, Failure> {
        let time = Timestamp::of(request.headers)?;
        self.check_scope(given, time.text)?;
        check_signed_headers(given, request)?;
        time.check_skew(now)?;
        let known = self.credentials.iter().find(|known| known.access_key_id == given.access_key_id);
        let Some(known) = known else { return Err(unrecognized()) };
        check_token(known, request.headers, now)?;
        let declared = single(request.headers, "x-amz-content-sha256")?;
        if declared.is_some_and(|declared| declared != request.body_sha256) {
            return Err(Failure::new("InvalidSignature", "The value of x-amz-content-sha256 is not the SHA-256 of the body that arrived."));
        }

        let canonical = canonical_request(given, request)?;
        let scope = format!("{}/{}/{}/{}", given.date, given.region, given.service, given.terminator);
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", time.text, hex(&Sha256::digest(&canonical)));
        let key = [given.date, given.region, given.service, TERMINATOR]
            .iter()
            .fold(format!("AWS4{}", known.secret_access_key).into_bytes(), |key, part| hmac(&key, part.as_bytes()));
        if hex(&hmac(&key, to_sign.as_bytes())) == given.signature {
            return Ok(Caller::Signed(known.access_key_id.clone()));
        }
        Err(Failure::new(
            "InvalidSignature",
            format!(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult \
                 the service documentation for details.\n\nThe Canonical String for this request should have been\n'{canonical}'\n\nThe String-to-Sign should \
                 have been\n'{to_sign}'\n"
            ),
        ))
    }

    fn check_scope(&self, given: &Authorization<'_>, time: &str) -> Result<(), Failure> {
        let fault = if given.terminator != TERMINATOR {
            format!("Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.", given.terminator)
        } else if given.service != SERVICE {
            format!("Credential should be scoped to correct service: '{SERVICE}', not '{}'.", given.service)
        } else if let Some(region) = self.region.filter(|region| *region != given.region) {
            format!("Credential should be scoped to a valid region: '{region}', not '{}'.", given.region)
        } else if !time.starts_with(given.date) || given.date.len() != 8 {
            format!("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{time}'.", given.date)
        } else {
            return Ok(());
        };
        Err(Failure::new("InvalidSignature", fault))
    }
}

/// The parts of `AWS4-HMAC-SHA256 Credential=…/date/region/service/aws4_request, SignedHeaders=a;b, Signature=…`.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    terminator: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(value: &'a str) -> Result<Self, Failure> {
        let Some(parameters) = value.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
            return Err(incomplete(&format!("Authorization header requires the algorithm {ALGORITHM}.")));
        };
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            let place = match parameter.trim().split_once('=') {
                Some(("Credential", value)) => (&mut credential, value),
                Some(("SignedHeaders", value)) => (&mut signed_headers, value),
                Some(("Signature", value)) => (&mut signature, value),
                _ => return Err(incomplete(&format!("'{}' is not a valid key=value pair in the Authorization header.", parameter.trim()))),
            };
            if place.0.replace(place.1).is_some() {
                return Err(incomplete("Authorization header has a parameter twice."));
            }
        }
        let missing = |name: &str| incomplete(&format!("Authorization header requires '{name}' parameter."));
        let credential = credential.ok_or_else(|| missing("Credential"))?;
        let mut parts = credential.rsplitn(5, '/');
        // An access key id has no slash, but if it had one it would be at the front.
        let (Some(terminator), Some(service), Some(region), Some(date), Some(access_key_id)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."));
        };
        Ok(Authorization {
            access_key_id,
            date,
            region,
            service,
            terminator,
            signed_headers: signed_headers.ok_or_else(|| missing("SignedHeaders"))?,
            signature: signature.ok_or_else(|| missing("Signature"))?,
        })
    }
}

/// When the request says it was signed.
struct Timestamp<'t> {
    /// `20260102T030405Z`
    text: &'t str,
    time: SystemTime,
}

impl<'t> Timestamp<'t> {
    fn of(headers: &'t HeaderMap) -> Result<Self, Failure> {
        let text = match single(headers, "x-amz-date")? {
            Some(text) => text,
            None => single(headers, DATE.as_str())?
                .ok_or_else(|| incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."))?,
        };
        let time = parse_time(text).ok_or_else(|| incomplete(&format!("Date must be in ISO-8601 'basic format'. Got '{text}'.")))?;
        Ok(Timestamp { text, time })
    }

    fn check_skew(&self, now: SystemTime) -> Result<(), Failure> {
        let text = self.text;
        if self.time + SKEW < now {
            return Err(Failure::new("InvalidSignature", format!("Signature expired: {text} is more than 5 min. before the clock of the service.")));
        }
        if self.time > now + SKEW {
            return Err(Failure::new("InvalidSignature", format!("Signature not yet current: {text} is more than 5 min. after the clock of the service.")));
        }
        Ok(())
    }
}

/// `20260102T030405Z` as a time.
fn parse_time(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 16 && bytes[8] == b'T' && bytes[15] == b'Z';
    if !shape || !bytes.iter().enumerate().all(|(at, byte)| at == 8 || at == 15 || byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 0000-03-01: years begin in March, so that a leap day is the last of its year.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1;
    let since_epoch = days - 719_468;
    Some(UNIX_EPOCH + Duration::from_secs(since_epoch * 86_400 + hour * 3600 + minute * 60 + second))
}

/// `host` and every `x-amz-…` header must be signed, and the list must be sorted lower-case names that are there.
fn check_signed_headers(given: &Authorization<'_>, request: &Received<'_>) -> Result<(), Failure> {
    let invalid = |text: String| Err(Failure::new("InvalidSignature", text));
    let signed: Vec<&str> = given.signed_headers.split(';').collect();
    if !signed.is_sorted_by(|a, b| a < b) || given.signed_headers.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return invalid(format!("SignedHeaders must be lower-case, sorted and without duplicates: '{}'.", given.signed_headers));
    }
    let must = request.headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    for name in std::iter::once("host").chain(must) {
        if !signed.contains(&name) {
            return invalid(format!("'{name}' must be a signed header in the AWS Credential: it is in the request and not in '{}'.", given.signed_headers));
        }
    }
    Ok(())
}

fn check_token(known: &Credentials, headers: &HeaderMap, now: SystemTime) -> Result<(), Failure> {
    let token = single(headers, "x-amz-security-token")?;
    if token != known.session_token.as_deref() {
        return Err(unrecognized());
    }
    if known.expires.is_some_and(|expires| expires <= now) {
        return Err(Failure::new("ExpiredToken", "The security token included in the request is expired"));
    }
    Ok(())
}

fn canonical_request(given: &Authorization<'_>, request: &Received<'_>) -> Result<String, Failure> {
    let mut out = String::with_capacity(512);
    out.push_str(request.method);
    out.push('\n');
    encode(&mut out, if request.path.is_empty() { "/" } else { request.path }, true);
    out.push('\n');
    canonical_query(&mut out, request.query);
    out.push('\n');
    for name in given.signed_headers.split(';') {
        out.push_str(name);
        out.push(':');
        let mut found = false;
        for value in request.headers.get_all(name) {
            if found {
                out.push(',');
            }
            found = true;
            // Header values are bytes; what is no UTF-8 cannot have been signed by a client that the sandbox knows.
            trim_all(&mut out, std::str::from_utf8(value.as_bytes()).map_err(|_| incomplete(&format!("Header '{name}' is not UTF-8.")))?);
        }
        if !found {
            match request.authority.filter(|_| name == HOST.as_str()) {
                Some(authority) => out.push_str(authority),
                None => return Err(Failure::new("InvalidSignature", format!("'{name}' is a signed header and not in the request."))),
            }
        }
        out.push('\n');
    }
    out.push('\n');
    out.push_str(given.signed_headers);
    out.push('\n');
    out.push_str(request.body_sha256);
    Ok(out)
}

/// Parameters encoded and sorted by name, then by value.
fn canonical_query(out: &mut String, query: &str) {
    let encoded = |part: &str| {
        let plain = percent_encoding::percent_decode_str(part).decode_utf8_lossy();
        let mut out = String::new();
        encode(&mut out, &plain, false);
        out
    };
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    parameters.sort();
    for (index, (name, value)) in parameters.iter().enumerate() {
        let separator = if index == 0 { "" } else { "&" };
        // Writing to a string does not fail.
        let _ = write!(out, "{separator}{name}={value}");
    }
}

/// Percent-encodes everything but unreserved characters, and slashes on demand.
fn encode(out: &mut String, text: &str, keep_slash: bool) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if keep_slash => out.push('/'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Without spaces at both ends, and with one space for a run of them.
fn trim_all(out: &mut String, value: &str) {
    for (index, word) in value.split_ascii_whitespace().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

/// A header that makes sense only once.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(incomplete(&format!("Header '{name}' is there more than once.")));
    }
    first.map(|value| value.to_str().map(str::trim).map_err(|_| incomplete(&format!("Header '{name}' is not ASCII.")))).transpose()
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn incomplete(text: &str) -> Failure {
    Failure::new("IncompleteSignature", text.to_owned())
}

fn unrecognized() -> Failure {
    Failure::new("UnrecognizedClient", "The security token included in the request is invalid.")
}

#[cfg(test)]
mod tests;
