//! Clients that sign their requests, as the SDKs of AWS do, with a key pair that was issued here.
//!
//! ```text
//! head ─▶ read: who says so, is he known, is it today ─▶ body ─▶ prove: over all of it, with his secret ─▶ Principal
//! ```
//!
//! There is no [`Principal`] before the body is there and covered: nothing that a name is good for may happen on a head alone, as the name is no secret.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use moka::sync::Cache;
use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind};
use crate::config::Secret;
use crate::config::snapshot::SigV4Key;
use crate::dialect::Dialect;
use crate::policy::auth::{Principal, Proof};
use crate::provider::sigv4::verify::{Claim, Fault, Received, SigningKey};
use crate::proxy::ctx::Ctx;
use crate::proxy::error::Refusal;
use crate::proxy::{Shared, auth};

/// Each client has one a day and region.
const MOST_SIGNING_KEYS: u64 = 10_000;

/// Signing keys that were good for a signature, by the secret, day and region that they follow from.
#[derive(Debug)]
pub(super) struct SigningKeys(Cache<(Secret, Box<str>, Box<str>), SigningKey>);

impl Default for SigningKeys {
    fn default() -> Self {
        SigningKeys(Cache::new(MOST_SIGNING_KEYS))
    }
}

/// A signed request whose body has yet to come.
#[derive(Debug)]
pub(super) struct Signed {
    claim: Claim,
    key: Arc<SigV4Key>,
}

/// Reads the signature of a head; `None` if it has none, or if none counts here.
///
/// # Errors
/// What can be said without the body; 429 for whoever guesses. Key pairs that are unknown, switched off or expired look the same.
pub(super) fn read(shared: &Shared, session: &Session, ctx: &Ctx) -> Result<Option<Signed>, Refusal> {
    let access = &ctx.process().auth;
    if !access.enabled || !access.modes.api_key {
        return Ok(None);
    }
    let head = session.req_header();
    let received = Received {
        method: head.method.as_str(),
        target: head.raw_path(),
        authority: head.uri.authority().map(|authority| authority.as_str()),
        headers: &head.headers,
    };
    let Some(claim) = Claim::read(&received, ctx.received).map_err(|fault| refused(&fault, ctx.dialect))? else { return Ok(None) };
    auth::may_try(shared, ctx, Some(claim.access_key_id()))?;
    match access.users.sigv4.get(claim.access_key_id()).filter(|key| is_good(key, ctx.received)) {
        Some(key) => Ok(Some(Signed { claim, key: Arc::clone(key) })),
        None => {
            // Whoever looks for an id that counts is a guesser like any other.
            shared.auth.lockout.failed(ctx.client, Some(claim.access_key_id()), Instant::now());
            Err(refused(&Fault::Token, ctx.dialect))
        }
    }
}

/// Who has sent a request, now that all of it is here.
///
/// # Errors
/// The signature is not his, or not over this body.
pub(super) fn prove(shared: &Shared, signed: &Signed, body: &[u8], ctx: &Ctx) -> Result<Principal, Refusal> {
    let Signed { claim, key } = signed;
    let (keys, lockout) = (&shared.signing_keys, &shared.auth.lockout);
    let name = (key.secret.clone(), claim.day().into(), claim.region().into());
    let known = keys.0.get(&name);
    let signing_key = known.unwrap_or_else(|| claim.key(key.secret.expose()));
    claim.verify(body, &signing_key).map_err(|fault| {
        // Everything else is a client that signs in another way, not one that tries secrets.
        if fault == Fault::Mismatch {
            lockout.failed(ctx.client, Some(claim.access_key_id()), Instant::now());
        }
        refused(&fault, ctx.dialect)
    })?;
    lockout.succeeded(ctx.client, claim.access_key_id());
    if known.is_none() {
        // Only now, or whoever knows an access key id could fill the cache with regions.
        keys.0.insert(name, signing_key);
    }
    Ok(Principal { name: Arc::clone(&key.name), grant: Arc::clone(&key.grant), proof: Proof::SigV4 })
}

fn is_good(key: &SigV4Key, now: SystemTime) -> bool {
    !key.disabled && key.expires.is_none_or(|expires| now < expires)
}

/// A fault as the client's API tells it: AWS's own with 403, the others with 401.
fn refused(fault: &Fault, dialect: Dialect) -> Refusal {
    let kind = if *fault == Fault::Token { ErrorKind::Authentication } else { ErrorKind::InvalidSignature };
    let mut error = ApiError::new(kind, fault.to_string());
    if dialect == Dialect::Bedrock {
        error.status = 403;
    }
    error.into()
}
