//! The upstream side of an exchange: peer, head, signature, body; once per attempt.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version, header};
use log::{debug, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::HttpTask;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{OnDisconnect, Process, Provider, ProviderKind, Trigger};
use crate::ops::credentials::Current;
use crate::ops::upstreams::Upstream;
use crate::provider::sigv4;
use crate::proxy::brand::{brand, stream_headers};
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::proxy::error::{client_left, describe, give_up, no_exchange, stopping, timed_out};
use crate::proxy::plan::Call;
use crate::proxy::tries::Fault;
use crate::proxy::{Shared, downstream, next};

/// How long a pooled upstream connection may idle: below the idle time-outs of AWS's load balancers, so that the pool, not the far end, closes it.
pub(super) const POOL_IDLE: Duration = Duration::from_secs(50);

/// Makes an exchange ready for the proxy's pump.
pub(super) fn to_pump(shared: &Shared, session: &mut Session, ctx: &mut Ctx) {
    let drain = ctx.current.snapshot.models.routing.on_disconnect == OnDisconnect::Drain;
    let Some(exchange) = &mut ctx.exchange else { return };
    exchange.control = downstream::install(session.as_mut(), Some(shared.ending.subscribe()));
    exchange.control.prepare(exchange.body.is_empty(), drain);
    exchange.control.wake_at(next_wake(exchange, &ctx.current.snapshot.process));
}

/// The peer of the next attempt; plans it first where another one has failed.
pub(super) async fn peer(shared: &Shared, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    loop {
        if ctx.exchange.as_ref().is_some_and(|exchange| exchange.fan.is_some() || exchange.tries.is_due()) {
            next::go_on(shared, session, ctx).await?;
        }
        let drain = ctx.current.snapshot.models.routing.on_disconnect == OnDisconnect::Drain;
        let process = &ctx.current.snapshot.process;
        let exchange = ctx.exchange.as_mut().ok_or_else(no_exchange)?;
        exchange.attempts += 1;
        exchange.control.prepare(exchange.body.is_empty(), drain);
        exchange.upstream_at = Instant::now();
        exchange.control.wake_at(next_wake(exchange, process));
        let provider = Arc::clone(&exchange.route.target.provider);
        let upstream = Arc::clone(&exchange.upstream);
        match find_peer(&provider, &upstream, exchange.address).await {
            Ok(peer) => return Ok(Box::new(peer)),
            Err(error) => {
                if !next::again(ctx, Fault { error: error.clone(), trigger: Trigger::Connect }) {
                    return Err(give_up(ctx, error));
                }
            }
        }
    }
}

/// One of a provider's addresses, and how to speak to it.
pub(super) async fn find_peer(provider: &Provider, upstream: &Upstream, number: usize) -> std::result::Result<HttpPeer, ApiError> {
    let timeouts = &provider.timeouts;
    let address = match upstream.addresses.pick(number) {
        Some(address) => Some(address),
        // Only before the first background look-up has come back.
        None => match upstream.addresses.refresh().await {
            Ok(()) => upstream.addresses.pick(number),
            Err(error) => {
                warn!("cannot look up the endpoint of {}: {error}", provider.name);
                None
            }
        },
    };
    let (Some(address), Some(endpoint)) = (address, provider.endpoint()) else {
        return Err(ApiError::new(ErrorKind::BadUpstream, "The model provider could not be reached."));
    };
    let mut peer = HttpPeer::new(address, endpoint.tls, endpoint.host.clone());
    peer.options.connection_timeout = Some(timeouts.connect);
    // TLS on top of TCP: twice the round trips.
    peer.options.total_connection_timeout = Some(timeouts.connect * 2);
    // A backstop only: `next_wake` tells the first byte from the pauses between events.
    peer.options.read_timeout = Some(timeouts.first_byte.max(timeouts.idle) + Duration::from_secs(5));
    peer.options.write_timeout = Some(timeouts.idle);
    peer.options.idle_timeout = Some(POOL_IDLE);
    Ok(peer)
}

/// Replaces the client's head by the one the provider gets. Signs last, anew for every attempt.
pub(super) fn head(head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    let exchange = ctx.exchange.as_ref().ok_or_else(no_exchange)?;
    match call_head(&exchange.call, &exchange.route.target.provider, &exchange.upstream, &exchange.body)? {
        Ok(fresh) => {
            *head = fresh;
            Ok(())
        }
        Err(error) => Err(give_up(ctx, error)),
    }
}

/// The head of a call: what was planned, and Adit's credentials.
pub(super) fn call_head(call: &Call, provider: &Provider, upstream: &Upstream, body: &[u8]) -> Result<std::result::Result<RequestHeader, ApiError>> {
    let Some(endpoint) = provider.endpoint() else {
        return Ok(Err(ApiError::new(ErrorKind::NotConfigured, "The provider has no endpoint.")));
    };
    let authority = endpoint.authority();
    let mut fresh = RequestHeader::build(call.method.clone(), call.path.as_bytes(), Some(call.headers.len() + 6))?;
    fresh.set_version(Version::HTTP_11);
    fresh.insert_header(header::HOST, authority.as_str())?;
    for (name, value) in &call.headers {
        fresh.append_header(name.clone(), value.clone())?;
    }
    // A compressed stream would be held back until a block is full.
    fresh.insert_header(header::ACCEPT_ENCODING, "identity")?;
    if !body.is_empty() || matches!(call.method, Method::POST | Method::PUT | Method::PATCH) {
        fresh.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    if !fresh.headers.contains_key(header::USER_AGENT) {
        fresh.insert_header(header::USER_AGENT, concat!("adit/", env!("CARGO_PKG_VERSION")))?;
    }
    let missing = || Ok(Err(ApiError::new(ErrorKind::NotConfigured, "The provider has no usable credentials.")));
    match upstream.credentials.current() {
        Current::Open => {}
        Current::Bearer(token) => secret(&mut fresh, header::AUTHORIZATION, &format!("Bearer {}", token.expose()))?,
        Current::Key(key) => {
            let name = if matches!(provider.kind, ProviderKind::AzureOpenAi { .. }) { "api-key" } else { "x-api-key" };
            secret(&mut fresh, HeaderName::from_static(name), key.expose())?;
        }
        Current::Ready(credentials) => {
            let Some(bedrock) = provider.bedrock() else { return missing() };
            let pairs: Vec<(&str, &str)> = call.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
            let request = sigv4::Request { method: call.method.as_str(), authority: &authority, path: &call.path, headers: &pairs };
            match sigv4::sign(&request, body, &credentials, &bedrock.region, SystemTime::now()) {
                Ok(headers) => {
                    for (name, value) in headers {
                        fresh.insert_header(name, value)?;
                    }
                }
                Err(error) => {
                    warn!("cannot sign for {}: {error}", provider.name);
                    return Ok(Err(ApiError::new(ErrorKind::Internal, "The request could not be signed.")));
                }
            }
        }
        Current::Pending | Current::Missing(_) => return missing(),
    }
    Ok(Ok(fresh))
}

/// Sets a header that is not to be seen in logs.
fn secret(head: &mut RequestHeader, name: HeaderName, value: &str) -> Result<()> {
    let mut value = HeaderValue::from_str(value).map_err(|_| Error::explain(ErrorType::InternalError, "a key holds what no header can"))?;
    value.set_sensitive(true);
    head.insert_header(name, value)
}

/// Puts the translated body in the place of the client's; or, when the pump was woken, keeps the client's connection alive and watches the deadlines.
pub(super) async fn body(session: &mut Session, body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    let exchange = ctx.exchange.as_ref().ok_or_else(no_exchange)?;
    if exchange.control.take_wake() {
        return wake(session, ctx).await;
    }
    // An empty piece would be written as an end of its own where there are chunks.
    *body = (!exchange.body.is_empty()).then(|| exchange.body.clone());
    Ok(())
}

/// When the exchange wants to be woken: for a keep-alive or because the upstream is too slow.
pub(super) fn next_wake(exchange: &Exchange, process: &Process) -> Option<tokio::time::Instant> {
    [keepalive_at(exchange, process), deadline(exchange)].into_iter().flatten().min().map(tokio::time::Instant::from_std)
}

/// The head is in: from now on it is the pauses that count.
pub(super) fn answering(ctx: &Ctx) {
    if let Some(exchange) = &ctx.exchange {
        exchange.control.wake_at(next_wake(exchange, ctx.process()));
    }
}

fn keepalive_at(exchange: &Exchange, process: &Process) -> Option<Instant> {
    let period = process.keepalive.filter(|_| exchange.stream && exchange.answer.keep_alive().is_some())?;
    // What counts is what the client hears: a model may send pings, or thoughts that this client has no place for.
    let since = exchange.control.written_at().map_or(exchange.started, tokio::time::Instant::into_std);
    since.checked_add(period)
}

fn deadline(exchange: &Exchange) -> Option<Instant> {
    let timeouts = &exchange.route.target.provider.timeouts;
    let patience = if matches!(exchange.stage, Stage::Waiting) { timeouts.first_byte } else { timeouts.idle };
    // A long stream is no hung one: only whole answers have a bound on their whole time.
    let total = timeouts.total.filter(|_| !exchange.stream).and_then(|total| exchange.started.checked_add(total));
    [exchange.upstream_at.checked_add(patience), total].into_iter().flatten().min()
}

async fn wake(session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    let now = Instant::now();
    let process = &ctx.current.snapshot.process;
    let exchange = ctx.exchange.as_mut().ok_or_else(no_exchange)?;
    if exchange.control.is_ending() {
        return Err(give_up(ctx, stopping()));
    }
    if deadline(exchange).is_some_and(|at| at <= now) {
        exchange.timed_out = true;
        return Err(give_up(ctx, ApiError::new(ErrorKind::Timeout, "The model provider took too long to answer.")));
    }
    if let Some(sign_of_life) = exchange.answer.keep_alive().filter(|_| keepalive_at(exchange, process).is_some_and(|at| at <= now))
        && !matches!(exchange.stage, Stage::Done)
    {
        debug!("keeping {} alive", ctx.request_id);
        let mut tasks = Vec::with_capacity(2);
        if !exchange.control.head_out() {
            // From here on a failure is an event of the stream; a silent connection would be cut by something on its way.
            let mut head = ResponseHeader::build(200, Some(12))?;
            stream_headers(&mut head, ctx.dialect)?;
            if exchange.chunked {
                head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
            }
            brand(&mut head, ctx)?;
            tasks.push(HttpTask::Header(Box::new(head), false));
        }
        // What was held back with the head, such as Anthropic's `message_start`, comes first.
        let body = match ctx.exchange.as_mut() {
            Some(Exchange { stage: Stage::Stream { pending, .. }, committed, .. }) if !pending.is_empty() => {
                // No other target can begin the answer again.
                *committed = true;
                pending.extend_from_slice(sign_of_life);
                Bytes::from(std::mem::take(pending))
            }
            _ => Bytes::from_static(sign_of_life),
        };
        ctx.answers(&body);
        tasks.push(HttpTask::Body(Some(body), false));
        session.write_response_tasks(tasks).await?;
    }
    let exchange = ctx.exchange.as_ref().ok_or_else(no_exchange)?;
    exchange.control.wake_at(next_wake(exchange, ctx.process()));
    Ok(())
}

/// There is no connection. Another address of the same host may do, else another target.
pub(super) fn unreachable(mut cause: Box<Error>, ctx: &mut Ctx) -> Box<Error> {
    if let Some(exchange) = ctx.exchange.as_mut().filter(|exchange| !exchange.readdressed && exchange.upstream.addresses.are_several()) {
        exchange.readdressed = true;
        exchange.address = exchange.address.wrapping_add(1);
        cause.set_retry(true);
        return cause;
    }
    cause.set_retry(false);
    if next::again(ctx, Fault { error: describe(&cause), trigger: Trigger::Connect }) { next::another() } else { cause }
}

/// An attempt failed. A pooled connection that the far end had closed before it saw the request is tried once more on a fresh one; else it may be another
/// target's turn.
pub(super) fn failed(mut cause: Box<Error>, ctx: &mut Ctx, reused: bool) -> Box<Error> {
    if cause.etype() == &next::ANOTHER {
        return cause;
    }
    let gone = client_left(&cause);
    let Some(exchange) = &mut ctx.exchange else { return cause };
    let untouched = matches!(exchange.stage, Stage::Waiting) && !exchange.control.head_out() && ctx.error.is_none() && exchange.attempts < 3;
    cause.set_retry(false);
    if untouched && reused && !gone && !timed_out(&cause) {
        cause.set_retry(true);
        return cause;
    }
    if gone || matches!(exchange.stage, Stage::Done) {
        return cause;
    }
    let late = std::mem::take(&mut exchange.timed_out) || timed_out(&cause);
    let error = ctx.error.clone().unwrap_or_else(|| describe(&cause));
    let trigger = if late { Trigger::Timeout } else { Fault::from(error.clone()).trigger };
    if next::again(ctx, Fault { error, trigger }) { next::another() } else { cause }
}
