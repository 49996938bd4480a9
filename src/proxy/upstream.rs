//! The upstream side of an exchange: peer, head, signature, body; once per attempt.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Method, Version, header};
use log::{debug, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::HttpTask;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{Bedrock, Process};
use crate::ops::credentials::Current;
use crate::ops::upstreams::Upstream;
use crate::provider::sigv4;
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::proxy::error::{client_left, give_up};
use crate::proxy::response::{brand, stream_headers};
use crate::wire::sse;

/// How long the first requests after a start wait for credentials before they are told that there are none.
const CREDENTIALS_WAIT: Duration = Duration::from_secs(10);
/// How long a pooled upstream connection may idle: below the idle time-outs of AWS's load balancers, so that the pool, not the far end, closes it.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// Waits for a provider's credentials if the process has only just started; a read without waiting afterwards.
pub(super) async fn wait_ready(upstream: &Upstream) -> std::result::Result<(), ApiError> {
    if matches!(upstream.credentials.current(), Current::Pending) {
        upstream.credentials.wait_ready(tokio::time::Instant::now() + CREDENTIALS_WAIT).await;
    }
    match upstream.credentials.current() {
        Current::Ready(_) | Current::Bearer(_) | Current::Key(_) | Current::Open => Ok(()),
        Current::Pending => Err(ApiError {
            retry_after: Some("5".to_owned()),
            ..ApiError::new(ErrorKind::NotConfigured, "The provider's credentials are still being fetched.")
        }),
        Current::Missing(reason) => Err(ApiError::new(ErrorKind::NotConfigured, format!("The provider has no usable credentials: {reason}"))),
    }
}

fn bedrock(exchange: &Exchange) -> Option<&Bedrock> {
    exchange.route.target.provider.bedrock()
}

fn no_exchange() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "an upstream phase without an exchange")
}

/// The peer of the next attempt.
pub(super) async fn peer(ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let exchange = ctx.exchange.as_mut().ok_or_else(no_exchange)?;
    exchange.attempts += 1;
    // A wake-up of the attempt before must not be taken for the body of this one.
    exchange.control.take_wake();
    exchange.upstream_at = Instant::now();
    let number = fastrand::usize(..);
    let address = match exchange.upstream.addresses.pick(number) {
        Some(address) => Some(address),
        // Only before the first background look-up has come back.
        None => match exchange.upstream.addresses.refresh().await {
            Ok(()) => exchange.upstream.addresses.pick(number),
            Err(error) => {
                warn!("cannot look up the endpoint of {}: {error}", exchange.route.target.provider.name);
                None
            }
        },
    };
    let endpoint = bedrock(exchange).map(|bedrock| (bedrock.endpoint.tls, bedrock.endpoint.host.clone()));
    let (Some(address), Some((tls, host))) = (address, endpoint) else {
        return Err(give_up(ctx, ApiError::new(ErrorKind::BadUpstream, "The model provider could not be reached.")));
    };
    let timeouts = &ctx.snapshot.process.timeouts;
    let mut peer = HttpPeer::new(address, tls, host);
    peer.options.connection_timeout = Some(timeouts.connect);
    // TLS on top of TCP: twice the round trips.
    peer.options.total_connection_timeout = Some(timeouts.connect * 2);
    // A backstop only: `next_wake` tells the first byte from the pauses between events.
    peer.options.read_timeout = Some(timeouts.first_byte.max(timeouts.idle) + Duration::from_secs(5));
    peer.options.write_timeout = Some(timeouts.idle);
    peer.options.idle_timeout = Some(POOL_IDLE);
    Ok(Box::new(peer))
}

/// Replaces the client's head by the one the provider gets: nothing of the client's passes. Signs last, anew for every attempt.
pub(super) fn head(head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    let exchange = ctx.exchange.as_ref().ok_or_else(no_exchange)?;
    let bedrock = bedrock(exchange).ok_or_else(no_exchange)?;
    let path = if exchange.stream { &exchange.route.target.converse_stream_path } else { &exchange.route.target.converse_path };
    let authority = bedrock.endpoint.authority();
    let mut fresh = RequestHeader::build(Method::POST, path.as_bytes(), Some(10))?;
    fresh.set_version(Version::HTTP_11);
    fresh.insert_header(header::HOST, authority.as_str())?;
    fresh.insert_header(header::CONTENT_TYPE, "application/json")?;
    fresh.insert_header(header::ACCEPT, if exchange.stream { "application/vnd.amazon.eventstream" } else { "application/json" })?;
    // A compressed stream would be held back until a block is full.
    fresh.insert_header(header::ACCEPT_ENCODING, "identity")?;
    fresh.insert_header(header::CONTENT_LENGTH, exchange.body.len())?;
    fresh.insert_header(header::USER_AGENT, concat!("adit/", env!("CARGO_PKG_VERSION")))?;
    match exchange.upstream.credentials.current() {
        Current::Bearer(token) => fresh.insert_header(header::AUTHORIZATION, format!("Bearer {token}"))?,
        Current::Ready(credentials) => {
            let request = sigv4::Request { method: "POST", authority: &authority, path, headers: &[("content-type", "application/json")] };
            let signed = sigv4::sign(&request, &exchange.body, &credentials, &bedrock.region, SystemTime::now());
            match signed {
                Ok(headers) => {
                    for (name, value) in headers {
                        fresh.insert_header(name, value)?;
                    }
                }
                Err(error) => {
                    warn!("cannot sign for {}: {error}", exchange.route.target.provider.name);
                    return Err(give_up(ctx, ApiError::new(ErrorKind::Internal, "The request could not be signed.")));
                }
            }
        }
        Current::Key(_) | Current::Open | Current::Pending | Current::Missing(_) => {
            return Err(give_up(ctx, ApiError::new(ErrorKind::NotConfigured, "The provider has no usable credentials.")));
        }
    }
    *head = fresh;
    Ok(())
}

/// Puts the translated body in the place of the client's; or, when the pump was woken, keeps the client's connection alive and watches the deadlines.
pub(super) async fn body(session: &mut Session, body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    let exchange = ctx.exchange.as_ref().ok_or_else(no_exchange)?;
    if exchange.control.take_wake() {
        return wake(session, ctx).await;
    }
    *body = Some(exchange.body.clone());
    Ok(())
}

/// When the exchange wants to be woken: for a keep-alive or because the upstream is too slow.
pub(super) fn next_wake(exchange: &Exchange, process: &Process) -> Option<tokio::time::Instant> {
    [keepalive_at(exchange, process), deadline(exchange, process)].into_iter().flatten().min().map(tokio::time::Instant::from_std)
}

fn keepalive_at(exchange: &Exchange, process: &Process) -> Option<Instant> {
    let period = process.keepalive.filter(|_| exchange.stream)?;
    let since = exchange.control.written_at().map_or(exchange.upstream_at, tokio::time::Instant::into_std);
    since.checked_add(period)
}

fn deadline(exchange: &Exchange, process: &Process) -> Option<Instant> {
    let timeouts = &process.timeouts;
    let patience = if matches!(exchange.stage, Stage::Waiting) { timeouts.first_byte } else { timeouts.idle };
    // A long stream is no hung one: only whole answers have a bound on their whole time.
    let total = timeouts.total.filter(|_| !exchange.stream).and_then(|total| exchange.started.checked_add(total));
    [exchange.upstream_at.checked_add(patience), total].into_iter().flatten().min()
}

async fn wake(session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    let now = Instant::now();
    let process = &ctx.snapshot.process;
    let exchange = ctx.exchange.as_mut().ok_or_else(no_exchange)?;
    if deadline(exchange, process).is_some_and(|at| at <= now) {
        return Err(give_up(ctx, ApiError::new(ErrorKind::Timeout, "The model provider took too long to answer.")));
    }
    if keepalive_at(exchange, process).is_some_and(|at| at <= now) && !matches!(exchange.stage, Stage::Done) {
        debug!("keeping {} alive", ctx.request_id);
        let mut tasks = Vec::with_capacity(2);
        if !exchange.control.head_out() {
            // From here on a failure is an event of the stream; a silent connection would be cut by something on its way.
            let mut head = ResponseHeader::build(200, Some(12))?;
            stream_headers(&mut head)?;
            if exchange.chunked {
                head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
            }
            brand(&mut head, ctx)?;
            tasks.push(HttpTask::Header(Box::new(head), false));
        }
        tasks.push(HttpTask::Body(Some(Bytes::from_static(sse::COMMENT)), false));
        session.write_response_tasks(tasks).await?;
    }
    let exchange = ctx.exchange.as_ref().ok_or_else(no_exchange)?;
    exchange.control.wake_at(next_wake(exchange, &ctx.snapshot.process));
    Ok(())
}

/// An attempt failed. A pooled connection that the far end had closed before it saw the request is tried once more on a fresh one; nothing else is.
pub(super) fn failed(error: Box<Error>, ctx: &mut Ctx, reused: bool) -> Box<Error> {
    let mut error = error;
    let untouched = ctx
        .exchange
        .as_ref()
        .is_some_and(|exchange| matches!(exchange.stage, Stage::Waiting) && !exchange.control.head_out() && ctx.error.is_none() && exchange.attempts < 3);
    if untouched && reused && !client_left(&error) {
        error.retry.decide_reuse(true);
    } else {
        error.set_retry(false);
    }
    error
}
