//! Who a request comes from: its proof is found in the head and checked. No header that holds one goes on to an upstream, which is the business of
//! [`headers`](super::headers).
//!
//! ```text
//! connection ─▶ a client certificate ───▶ its user
//! head ─▶ Shown ─┬─ a session's token ──▶ session
//!                ├─ an issuer's token ──▶ jwt
//!                ├─ a key ──────────────▶ key, and its code
//!                ├─ an AWS signature ───▶ sigv4, once the body is there
//!                └─ nothing, or two ────▶ 401
//! ```

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use data_encoding::HEXLOWER;
use log::debug;
use pingora::http::RequestHeader;
use pingora_proxy::Session;
use sha2::{Digest as _, Sha256};

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{ApiKey, Grant, OnRedisFailure, Page};
use crate::dialect::Dialect;
use crate::ops::random;
use crate::policy::auth::lockout::Lockout;
use crate::policy::auth::shown::{self, Shown};
use crate::policy::auth::totp::{Outcome, UsedCodes};
use crate::policy::auth::{Principal, Proof, inner, jwt, session};
use crate::proxy::ctx::Ctx;
use crate::proxy::error::Refusal;
use crate::proxy::optillm::Inner;
use crate::proxy::sigv4::{self, Signed};
use crate::proxy::{Shared, limits, local, tls};

/// No code is taken later than this behind its first use: a step before its time and one behind.
const CODE_COUNTS: Duration = Duration::from_secs(120);

/// What everybody is told whose proof is missing or not good.
const NOT_VALID: &str = "The request has no valid credentials.";

/// What authentication remembers from one request to the next.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) lockout: Lockout,
    used_codes: UsedCodes,
    session_key: OnceLock<[u8; 32]>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("lockout", &self.lockout).finish_non_exhaustive()
    }
}

impl Memory {
    /// Gives it the key that signs sessions where the operator gives none; once.
    pub(super) fn keep_session_key(&self, key: [u8; 32]) {
        let _ = self.session_key.set(key);
    }
}

/// What a head says of who sends the request.
pub(super) enum Who {
    /// It proves it.
    Proven(Principal),
    /// It is a call for a request of this user's.
    Calls(Principal, Inner),
    /// It is signed: what it says is proved with the body.
    Signs(Box<Signed>),
}

/// Finds out who sends a request. A request that is refused gets the same answer whatever is wrong with its proof.
///
/// # Errors
/// 401; 403 for a signature on Bedrock's paths; 429 for whoever failed too often.
pub(super) async fn authenticate(shared: &Shared, session: &Session, ctx: &Ctx) -> Result<Who, Refusal> {
    let process = ctx.process();
    let auth = &process.auth;
    let headers = &session.req_header().headers;
    if process.optillm.is_some()
        && let Shown::Key(token) = Shown::find(headers)
        && inner::is_one(token)
    {
        return calls(shared, token, ctx);
    }
    if !auth.enabled {
        return Ok(Who::Proven(ctx.current.anybody.clone()));
    }
    // SDKs that have a certificate show some key all the same.
    if auth.modes.mtls
        && let Some(user) = tls::certificate_user(session, process)
    {
        let grant = Grant { limits: process.default_limits.unwrap_or_default(), ..Grant::default() };
        let stranger = Principal { name: user.into(), grant: grant.into(), proof: Proof::Mtls };
        return Ok(Who::Proven(known(stranger, ctx)?));
    }
    match Shown::find(headers) {
        Shown::Key(token) if session::is_one(token) => {
            may_try(shared, ctx, None)?;
            let key = session::check(session_secret(shared, ctx), &auth.users, token, SystemTime::now()).map_err(|fault| {
                if fault == session::Fault::Forged {
                    shared.auth.lockout.failed(ctx.client, None, Instant::now());
                }
                refused()
            })?;
            counts(ctx, &key)?;
            Ok(Who::Proven(principal(&key, Proof::Session)))
        }
        Shown::Key(token) if jwt::looks_like(token) && ctx.current.issuer.is_some() => {
            may_try(shared, ctx, None)?;
            let issued = issued(shared, token, ctx).await?;
            Ok(Who::Proven(known(issued, ctx)?))
        }
        Shown::Key(text) => {
            let key = identify(shared, text, ctx)?;
            let proof = prove(shared, text, &key, shown::code(headers), ctx).await?;
            Ok(Who::Proven(principal(&key, proof)))
        }
        found @ (Shown::Signature | Shown::Nothing) => match sigv4::read(shared, session, ctx)? {
            Some(signed) => Ok(Who::Signs(Box::new(signed))),
            None if found == Shown::Signature && ctx.dialect == Dialect::Bedrock => Err(unknown_signer().into()),
            None if found == Shown::Nothing => Err(ApiError::new(ErrorKind::MissingCredentials, NOT_VALID).into()),
            None => Err(refused().into()),
        },
        Shown::Muddle => Err(refused().into()),
    }
}

/// The user of the request that a call is made for: as he proved it there, else by his line of the keys file.
fn calls(shared: &Shared, token: &str, ctx: &Ctx) -> Result<Who, Refusal> {
    let auth = &ctx.process().auth;
    if auth.enabled {
        may_try(shared, ctx, None)?;
    }
    let claims = inner::check(session_secret(shared, ctx), token, SystemTime::now()).map_err(|fault| {
        if auth.enabled && fault == session::Fault::Forged {
            shared.auth.lockout.failed(ctx.client, None, Instant::now());
        }
        refused()
    })?;
    let name: Arc<str> = claims.user.as_str().into();
    let (inner, principal) = shared.parents.call(claims).ok_or_else(refused)?;
    let principal = match principal {
        Some(principal) => principal,
        None if !auth.enabled => ctx.current.anybody.clone(),
        None => {
            let user = auth.users.by_name.get(&name).ok_or_else(refused)?;
            Principal { name, grant: Arc::clone(&user.grant), proof: Proof::Call }
        }
    };
    Ok(Who::Calls(known(Principal { proof: Proof::Call, ..principal }, ctx)?, inner))
}

/// The user of an identity provider's token.
async fn issued(shared: &Shared, token: &str, ctx: &Ctx) -> Result<Principal, ApiError> {
    let issuer = ctx.current.issuer.as_ref().ok_or_else(refused)?;
    issuer.principal(token, SystemTime::now()).await.map_err(|fault| {
        debug!("{}: a token is refused: {fault}", ctx.request_id);
        if fault.is_guess() {
            shared.auth.lockout.failed(ctx.client, None, Instant::now());
        }
        refused()
    })
}

/// Somebody whom others vouch for, with what his line of the keys file says of him where he has one.
fn known(principal: Principal, ctx: &Ctx) -> Result<Principal, ApiError> {
    match ctx.process().auth.users.by_name.get(&principal.name) {
        Some(user) if user.disabled || user.expires.is_some_and(|expires| expires <= ctx.received) => Err(refused()),
        Some(user) => Ok(Principal { grant: Arc::clone(&user.grant), ..principal }),
        None => Ok(principal),
    }
}

/// Whether a page of the gateway's own is for whoever asks: true for the whole of it, false for what strangers may see.
pub(super) async fn admit(page: local::Page<'_>, shared: &Shared, ctx: &mut Ctx, session: &Session) -> Result<bool, Refusal> {
    let auth = &ctx.process().auth;
    let open = match page {
        local::Page::Health => true,
        local::Page::Ready => auth.ready == Page::Open,
        local::Page::Metrics => auth.metrics == Page::Open,
        local::Page::Models | local::Page::Model(_) => false,
    };
    if open || !auth.enabled {
        return Ok(true);
    }
    let proven = match authenticate(shared, session, ctx).await {
        Ok(Who::Proven(principal) | Who::Calls(principal, _)) => Ok(principal),
        // Pages are asked for without a body.
        Ok(Who::Signs(signed)) => sigv4::prove(shared, &signed, &[], ctx),
        Err(refusal) => Err(refusal),
    };
    match proven {
        Ok(principal) => {
            ctx.principal = Some(principal);
            Ok(true)
        }
        // A balancer must learn whether the process serves, whatever it knows.
        Err(_) if page == local::Page::Ready => Ok(false),
        Err(error) => Err(error),
    }
}

/// The key of a request for a session: a session does not beget another.
pub(super) fn key_for_session<'h>(shared: &Shared, head: &'h RequestHeader, ctx: &Ctx) -> Result<(&'h str, Arc<ApiKey>), ApiError> {
    match Shown::find(&head.headers) {
        Shown::Key(text) if !session::is_one(text) => Ok((text, identify(shared, text, ctx)?)),
        _ => Err(refused()),
    }
}

pub(super) fn principal(key: &ApiKey, proof: Proof) -> Principal {
    Principal { name: Arc::clone(&key.name), grant: Arc::clone(&key.grant), proof }
}

/// Turns away whoever has failed too often: with the key of this id, or with any.
///
/// # Errors
/// 429.
pub(super) fn may_try(shared: &Shared, ctx: &Ctx, id: Option<&str>) -> Result<(), ApiError> {
    let Some(wait) = shared.auth.lockout.wait(ctx.client, id, Instant::now()) else { return Ok(()) };
    let error = ApiError::new(ErrorKind::RateLimited, "Too many failed attempts to authenticate. Please try again later.");
    Err(ApiError { retry_after: Some((wait.as_secs() + 1).to_string()), ..error })
}

/// The key that a client shows, unless it has failed too often.
fn identify(shared: &Shared, text: &str, ctx: &Ctx) -> Result<Arc<ApiKey>, ApiError> {
    let ring = &ctx.current.keyring;
    let label = ring.label(text);
    may_try(shared, ctx, Some(&label))?;
    let key = ring.check(&ctx.process().auth.users, text, SystemTime::now());
    let key = key.ok_or_else(|| {
        shared.auth.lockout.failed(ctx.client, Some(&label), Instant::now());
        refused()
    })?;
    counts(ctx, &key)?;
    Ok(key)
}

/// Whether a key counts in the modes that are on: one without a second factor only where a key alone does.
fn counts(ctx: &Ctx, key: &ApiKey) -> Result<(), ApiError> {
    let modes = ctx.process().auth.modes;
    if modes.api_key || (modes.api_key_totp && key.totp.is_some()) { Ok(()) } else { Err(refused()) }
}

/// Checks the code of a key that has a second factor, whatever the mode.
pub(super) async fn prove(shared: &Shared, text: &str, key: &ApiKey, code: Option<&str>, ctx: &Ctx) -> Result<Proof, ApiError> {
    let label = ctx.current.keyring.label(text);
    let lockout = &shared.auth.lockout;
    let Some(totp) = &key.totp else {
        lockout.succeeded(ctx.client, &label);
        return Ok(Proof::ApiKey);
    };
    // Not to send one is no guess.
    let code = code.ok_or_else(refused)?;
    match shared.auth.used_codes.take(&key.name, totp, code, SystemTime::now()) {
        Outcome::Good if !is_first(&key.name, &totp.0, code, ctx).await? => Err(refused()),
        Outcome::Good => {
            lockout.succeeded(ctx.client, &label);
            Ok(Proof::Totp)
        }
        // It was right once: no guess either.
        Outcome::Used => Err(refused()),
        Outcome::Wrong => {
            lockout.failed(ctx.client, Some(&label), Instant::now());
            Err(refused())
        }
    }
}

/// Whether no other node has taken a code; true where nodes share nothing.
///
/// # Errors
/// 503 where nobody is let in while that cannot be known.
async fn is_first(user: &str, secret: &[u8], code: &str, ctx: &Ctx) -> Result<bool, ApiError> {
    let Some(ledger) = &ctx.current.ledger else { return Ok(true) };
    // Nobody who reads there learns anything of the secret or the code.
    let hash = Sha256::new().chain_update(secret).chain_update(user).chain_update([0]).chain_update(code.trim()).finalize();
    match ledger.link().claim(&format!("adit:code:{}", HEXLOWER.encode(&hash)), CODE_COUNTS).await {
        Some(first) => Ok(first),
        None if ledger.link().on_failure() == OnRedisFailure::Local => Ok(true),
        None => Err(limits::away()),
    }
}

/// What signs sessions.
pub(super) fn session_secret<'s>(shared: &'s Shared, ctx: &'s Ctx) -> &'s [u8] {
    match &ctx.process().auth.session_secret {
        Some(secret) => secret.expose().as_bytes(),
        None => shared.auth.session_key.get_or_init(random::bytes),
    }
}

fn refused() -> ApiError {
    ApiError::new(ErrorKind::Authentication, NOT_VALID)
}

/// In AWS' words, which their users look up.
fn unknown_signer() -> ApiError {
    ApiError { status: 403, ..ApiError::new(ErrorKind::Authentication, "The security token included in the request is invalid.") }
}
