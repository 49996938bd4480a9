//! The other side of a signature: whether a request that came was signed with a secret, over all that counts of it.
//!
//! ```text
//! head ─▶ Claim: who says so, when, over what ─▶ his secret ─▶ SigningKey ─▶ body ─▶ the signature is his, or Fault
//! ```
//!
//! Time and secrets are passed in; who has which secret is for the caller to know. What is refused here although it may be signed well: anything that leaves a part
//! of the request open (a payload that is not hashed, an `x-amz-` header that is not signed), temporary credentials, presigned URLs and SigV4A.
//!
//! Follows <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use aws_sigv4::sign::v4::generate_signing_key;
use hmac::{Hmac, Mac as _};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use sha2::{Digest as _, Sha256};

use crate::provider::bedrock::SIGNING_NAME;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What every algorithm of AWS begins with.
const FAMILY: &[u8] = b"AWS4-";
const TERMINATOR: &str = "aws4_request";
/// How far a request's date may be from the clock, as at AWS.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// The longest region there is has 14 characters.
const LONGEST_REGION: usize = 32;
/// A SHA-256, or a MAC made with it.
const DIGEST_BYTES: usize = 32;

/// What the canonical form leaves as it is: RFC 3986's unreserved characters.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, and what stands between segments.
const IN_PATH: &AsciiSet = &IN_QUERY.remove(b'/');

/// The head of a request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Received<'r> {
    /// `POST`
    pub method: &'r str,
    /// Path and query, byte for byte as on the wire.
    pub target: &'r [u8],
    /// `:authority` of HTTP/2, which stands for `host` there.
    pub authority: Option<&'r str>,
    /// All headers.
    pub headers: &'r HeaderMap,
}

/// Why a signature does not count. The texts are safe to show: they hold neither a secret nor what the signature should have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Another algorithm of the family, such as SigV4A.
    #[error("Only {ALGORITHM} signatures are accepted here.")]
    Algorithm,
    /// The signature stands in the query.
    #[error("Presigned URLs are not accepted: the signature belongs in the Authorization header.")]
    Presigned,
    /// The header cannot be read.
    #[error("The Authorization header is not a valid {ALGORITHM} header: {0}.")]
    Malformed(&'static str),
    /// A header that counts only once is there twice.
    #[error("The header '{0}' is there more than once.")]
    Repeated(&'static str),
    /// The scope is not one of Bedrock.
    #[error("The credential must be scoped to DATE/REGION/{SIGNING_NAME}/{TERMINATOR}: {0}.")]
    Scope(&'static str),
    /// `x-amz-date` is missing or no date.
    #[error("The request needs the header 'x-amz-date', as YYYYMMDDTHHMMSSZ.")]
    Date,
    /// The request is too old.
    #[error("Signature expired: {0} is more than 5 minutes before the gateway's clock.")]
    Expired(String),
    /// The client's clock is fast.
    #[error("Signature not yet current: {0} is more than 5 minutes after the gateway's clock.")]
    NotYetCurrent(String),
    /// A header must be signed.
    #[error("The header '{0}' must be signed.")]
    Unsigned(String),
    /// A signed header is not there.
    #[error("The header '{0}' is signed, but not in the request.")]
    Missing(String),
    /// Temporary credentials are AWS's own.
    #[error("The security token included in the request is invalid.")]
    Token,
    /// The payload is not part of the signature, or signed in pieces.
    #[error("The whole payload must be signed: 'x-amz-content-sha256' may only be the SHA-256 of the body.")]
    Payload,
    /// Another secret, or another request.
    #[error(
        "The request signature does not match the request. Check the secret access key, and that nothing between the client and the gateway changes the request."
    )]
    Mismatch,
}

/// What a signed head says: whose signature it is and what it is over. Nothing of it is true before [`Claim::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    access_key_id: String,
    region: String,
    service: &'static str,
    /// `x-amz-date`, as it came.
    stamp: String,
    time: SystemTime,
    signature: [u8; DIGEST_BYTES],
    /// The canonical request up to the hash of the payload.
    canonical: Vec<u8>,
    /// `x-amz-content-sha256`, in hex.
    declared: Option<String>,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The canonical request holds whatever headers were signed.
        f.debug_struct("Claim").field("access_key_id", &self.access_key_id).field("region", &self.region).field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

/// What signatures of one secret, day and region are made with.
#[derive(Clone, Copy)]
pub struct SigningKey([u8; DIGEST_BYTES]);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Claim {
    /// Reads a head; `None` if it has no AWS signature at all.
    ///
    /// # Errors
    /// Every [`Fault`] that does not take the secret or the body to see.
    pub fn read(request: &Received<'_>, now: SystemTime) -> Result<Option<Claim>, Fault> {
        let Some(authorization) = find(request)? else { return Ok(None) };
        if request.headers.contains_key("x-amz-security-token") {
            return Err(Fault::Token);
        }
        Claim::read_for(SIGNING_NAME, authorization, request, now).map(Some)
    }

    fn read_for(service: &'static str, authorization: &str, request: &Received<'_>, now: SystemTime) -> Result<Claim, Fault> {
        let given = Authorization::parse(authorization)?;
        let scope = given.scope(service)?;
        let stamp = single(request.headers, "x-amz-date")?.ok_or(Fault::Date)?;
        let time = parse_stamp(stamp).ok_or(Fault::Date)?;
        if stamp.get(..8) != Some(scope.date) {
            return Err(Fault::Scope("the date is not the one of x-amz-date"));
        }
        // In whole seconds, as the header has it.
        if time + SKEW < now {
            return Err(Fault::Expired(stamp.to_owned()));
        }
        if time > now + SKEW {
            return Err(Fault::NotYetCurrent(stamp.to_owned()));
        }
        let declared = single(request.headers, "x-amz-content-sha256")?;
        if declared.is_some_and(|declared| digest(declared).is_none()) {
            return Err(Fault::Payload);
        }
        let signature = digest(given.signature).ok_or(Fault::Malformed("Signature is not 64 lower-case hexadecimal digits"))?;
        check_signed(given.signed_headers, request.headers)?;
        Ok(Claim {
            access_key_id: scope.access_key_id.to_owned(),
            region: scope.region.to_owned(),
            service,
            stamp: stamp.to_owned(),
            time,
            signature,
            canonical: canonical_head(given.signed_headers, request)?,
            declared: declared.map(str::to_owned),
        })
    }

    /// Whose signature it is said to be.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The region that it was made for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The day that it was made on: `20260102`.
    #[must_use]
    pub fn day(&self) -> &str {
        self.stamp.get(..8).unwrap_or_default()
    }

    /// What the signature was made with, if this is the secret. Good for all claims of this secret, day and region.
    #[must_use]
    pub fn key(&self, secret: &str) -> SigningKey {
        let derived = generate_signing_key(secret, self.time, &self.region, self.service);
        let mut key = [0; DIGEST_BYTES];
        // Both are the length of a SHA-256.
        key.iter_mut().zip(derived.as_ref()).for_each(|(to, from)| *to = *from);
        SigningKey(key)
    }

    /// Checks the signature over head and body. Takes the same time wherever a wrong one differs.
    ///
    /// # Errors
    /// [`Fault::Payload`] if the body is not the one that the head declares, [`Fault::Mismatch`].
    pub fn verify(&self, body: &[u8], key: &SigningKey) -> Result<(), Fault> {
        let payload = hex(&Sha256::digest(body));
        if self.declared.as_ref().is_some_and(|declared| *declared != payload) {
            return Err(Fault::Payload);
        }
        let canonical = Sha256::new().chain_update(&self.canonical).chain_update(&payload).finalize();
        let Claim { stamp, region, service, .. } = self;
        let to_sign = format!("{ALGORITHM}\n{stamp}\n{}/{region}/{service}/{TERMINATOR}\n{}", self.day(), hex(&canonical));
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&key.0) else { return Err(Fault::Mismatch) };
        mac.chain_update(to_sign).verify_slice(&self.signature).map_err(|_| Fault::Mismatch)
    }
}

/// The header with the signature; `None` where there is neither it nor a signature in the query.
fn find<'r>(request: &Received<'r>) -> Result<Option<&'r str>, Fault> {
    let all = request.headers.get_all(AUTHORIZATION);
    let Some(signed) = all.iter().find(|value| value.as_bytes().trim_ascii_start().starts_with(FAMILY)) else {
        let (_, query) = split(request.target);
        let signs = |parameter: &[u8]| begins(parameter, b"x-amz-signature=");
        return if query.split(|byte| *byte == b'&').any(signs) { Err(Fault::Presigned) } else { Ok(None) };
    };
    if all.iter().nth(1).is_some() {
        return Err(Fault::Repeated("authorization"));
    }
    signed.to_str().map(|text| Some(text.trim())).map_err(|_| Fault::Malformed("it is not ASCII"))
}

fn begins(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The parts of `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=a;b, Signature=…`.
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

/// The parts of `KEYID/20260102/us-east-1/bedrock/aws4_request` that are free.
struct Scope<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self, Fault> {
        let (algorithm, parameters) = header.split_once([' ', '\t']).unwrap_or((header, ""));
        if algorithm != ALGORITHM {
            return Err(Fault::Algorithm);
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter.split_once('=').ok_or(Fault::Malformed("a part of it is not NAME=VALUE"))?;
            let place = match name.trim() {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(Fault::Malformed("it has a part other than Credential, SignedHeaders and Signature")),
            };
            if place.replace(value.trim()).is_some() {
                return Err(Fault::Malformed("a part of it is there twice"));
            }
        }
        Ok(Authorization {
            credential: credential.ok_or(Fault::Malformed("it has no Credential"))?,
            signed_headers: signed_headers.ok_or(Fault::Malformed("it has no SignedHeaders"))?,
            signature: signature.ok_or(Fault::Malformed("it has no Signature"))?,
        })
    }

    fn scope(&self, service: &str) -> Result<Scope<'a>, Fault> {
        let mut parts = self.credential.split('/');
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(Fault::Malformed("Credential is not KEYID/DATE/REGION/SERVICE/aws4_request"));
        let (access_key_id, date, region, named, terminator) = (part()?, part()?, part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(Fault::Malformed("Credential has more than five parts"));
        }
        if terminator != TERMINATOR {
            return Err(Fault::Scope("the end is another one"));
        }
        if named != service {
            return Err(Fault::Scope("the service is another one"));
        }
        if region.len() > LONGEST_REGION || !region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return Err(Fault::Scope("the region is no name of one"));
        }
        Ok(Scope { access_key_id, date, region })
    }
}

/// The host and all that is AWS's own must be signed, and the list be in the one form that it can have.
fn check_signed(list: &str, headers: &HeaderMap) -> Result<(), Fault> {
    if !list.split(';').is_sorted_by(|a, b| a < b) || list.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Fault::Malformed("SignedHeaders are not sorted names in lower case, each once"));
    }
    let own = headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    for name in own.chain([HOST.as_str()]) {
        if !list.split(';').any(|signed| signed == name) {
            return Err(Fault::Unsigned(name.to_owned()));
        }
    }
    Ok(())
}

/// The canonical request without its last line, the hash of the payload.
fn canonical_head(signed_headers: &str, request: &Received<'_>) -> Result<Vec<u8>, Fault> {
    let (path, query) = split(request.target);
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(request.method.as_bytes());
    out.push(b'\n');
    // The path is encoded on the wire, and here once more. Nothing is normalised: what was signed is what is routed.
    extend(&mut out, percent_encode(if path.is_empty() { b"/" } else { path }, IN_PATH));
    out.push(b'\n');
    canonical_query(&mut out, query);
    out.push(b'\n');
    for name in signed_headers.split(';') {
        canonical_header(&mut out, name, request)?;
    }
    out.push(b'\n');
    out.extend_from_slice(signed_headers.as_bytes());
    out.push(b'\n');
    Ok(out)
}

/// `name:value\n`, the values of a repeated header joined by commas.
fn canonical_header(out: &mut Vec<u8>, name: &str, request: &Received<'_>) -> Result<(), Fault> {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let authority = request.authority.filter(|_| name == HOST.as_str() && !request.headers.contains_key(HOST));
    let mut found = false;
    for value in request.headers.get_all(name).iter().map(http::HeaderValue::as_bytes).chain(authority.map(str::as_bytes)) {
        if found {
            out.push(b',');
        }
        found = true;
        let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        for (index, word) in words.enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
    out.push(b'\n');
    if found { Ok(()) } else { Err(Fault::Missing(name.to_owned())) }
}

/// Parameters encoded in the one way that there is, sorted by name and then by value.
fn canonical_query(out: &mut Vec<u8>, query: &[u8]) {
    let encoded = |part: &[u8]| {
        let plain: Vec<u8> = percent_decode(part).collect();
        percent_encode(&plain, IN_QUERY).to_string()
    };
    let mut parameters: Vec<(String, String)> = query
        .split(|byte| *byte == b'&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let equals = parameter.iter().position(|byte| *byte == b'=').unwrap_or(parameter.len());
            let (name, value) = parameter.split_at(equals);
            (encoded(name), encoded(value.get(1..).unwrap_or_default()))
        })
        .collect();
    parameters.sort_unstable();
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        extend(out, [name.as_str(), "=", value.as_str()].into_iter());
    }
}

fn extend<'t>(out: &mut Vec<u8>, pieces: impl Iterator<Item = &'t str>) {
    pieces.for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

/// Path and query.
fn split(target: &[u8]) -> (&[u8], &[u8]) {
    let mark = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(mark);
    (path, query.get(1..).unwrap_or_default())
}

/// A header that makes sense only once.
fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Fault::Repeated(name));
    }
    // What is no text is neither a date nor a hash.
    Ok(value.map(|value| value.to_str().unwrap_or_default().trim()))
}

/// `20260102T030405Z`
fn parse_stamp(stamp: &str) -> Option<SystemTime> {
    let bytes = stamp.as_bytes();
    let fits = |(at, byte): (usize, &u8)| match at {
        8 => *byte == b'T',
        15 => *byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    if bytes.len() != 16 || !bytes.iter().enumerate().all(fits) {
        return None;
    }
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or_default();
    let text = format!("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(9, 11), part(11, 13), part(13, 15));
    humantime::parse_rfc3339(&text).ok()
}

/// 64 lower-case hexadecimal digits.
fn digest(text: &str) -> Option<[u8; DIGEST_BYTES]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes();
    if bytes.len() != 2 * DIGEST_BYTES {
        return None;
    }
    let mut out = [0; DIGEST_BYTES];
    for (to, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *to = pair.iter().try_fold(0, |high, byte| Some(high << 4 | digit(byte)?))?;
    }
    Some(out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests;
