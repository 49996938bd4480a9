//! From the head of a request to the decision where it goes: path, method, body, decode, route, encode.
//!
//! The model's name stands in the body, and the signature covers the translated body, so all of it is read and translated before Pingora chooses a peer.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Method, Version, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use crate::chat::{ApiError, Envelope, ErrorKind, Policy};
use crate::config::snapshot::Provider;
use crate::dialect::converse::upstream::request::Options;
use crate::dialect::{self, Surface, converse, openai};
use crate::policy::route;
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::proxy::error::{Refusal, describe};
use crate::proxy::local::{self, Page};
use crate::proxy::{Current, Shared, downstream, upstream};
use crate::translate::{Answer, Facts};

/// The longest request id a client may choose.
const LONGEST_REQUEST_ID: usize = 128;
/// A body is given this much room at once; more only as it comes, so that a length that lies costs nothing.
const FIRST_BODY_BUFFER: usize = 256 * 1024;
/// The longest pause between two pieces of a request body.
const BODY_PAUSE: Duration = Duration::from_secs(60);
/// The longest path and query. Model ids, the longest thing in a path, have at most 2048 characters.
const LONGEST_URI: usize = 8 * 1024;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Accepted {
    /// It goes to an upstream: `ctx.exchange` is set.
    Exchange,
    /// The gateway has answered it.
    Answered,
}

/// The client's `x-request-id` if it is short and harmless, else a random one.
pub(super) fn request_id(head: &RequestHeader) -> String {
    let sane = |id: &&str| {
        !id.is_empty()
            && id.len() <= LONGEST_REQUEST_ID
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'='))
    };
    match head.headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(sane) {
        Some(id) => id.to_owned(),
        None => random_id(),
    }
}

/// A request id of ours.
pub(super) fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Answers a request or makes it ready for an upstream.
///
/// # Errors
/// The refusal to answer with.
pub(super) async fn accept(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx) -> Result<Accepted, Refusal> {
    let head = session.req_header();
    let path = head.uri.path();
    if head.raw_path().len() > LONGEST_URI {
        let error = ApiError { status: 414, ..ApiError::new(ErrorKind::InvalidRequest, "The path and query of the request are too long.") };
        return Err(Refusal { error, allow: None, close: true });
    }
    if let Some(page) = Page::of(path) {
        ctx.route = page.route();
        allow(&head.method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
        // The page borrows the path, the session is needed to write: keep a copy of a short string.
        let path = path.to_owned();
        if let Some(page) = Page::of(&path) {
            local::serve(page, shared, session, ctx).await?;
        }
        return Ok(Accepted::Answered);
    }
    let Some(surface) = dialect::surface(path) else {
        return Err(ApiError::new(ErrorKind::NotFound, format!("Unknown path: {}.", local::clip(path))).into());
    };
    ctx.surface = Some(surface);
    ctx.route = match surface {
        Surface::ChatCompletions => "/v1/chat/completions",
    };
    allow(&head.method, &[Method::POST], "POST")?;
    ctx.in_flight = Some(shared.metrics.begin());
    let provider = head.headers.get("x-provider").map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let body = read_body(session, ctx.snapshot.process.max_body_bytes).await?;
    let current = shared.current.load_full();
    let draft = ctx.timed(|ctx| plan(&body, provider.as_deref(), &current, ctx))?;
    // The client's bytes are not needed any more: the translated body is what every attempt sends.
    drop(body);
    upstream::wait_ready(&draft.upstream).await?;
    let chunked = session.req_header().version > Version::HTTP_10;
    if draft.stream && !chunked {
        // Only the end of the connection ends such an answer: say so.
        session.set_keepalive(None);
    }
    // A client that has stopped reading must not hold an upstream that costs money.
    session.as_downstream_mut().set_write_timeout(Some(ctx.snapshot.process.timeouts.idle));
    let control = downstream::install(session.as_mut());
    let exchange = draft.into_exchange(control, chunked);
    exchange.control.wake_at(upstream::next_wake(&exchange, &ctx.snapshot.process));
    ctx.exchange = Some(exchange);
    Ok(Accepted::Exchange)
}

fn allow(method: &Method, allowed: &[Method], header: &'static str) -> Result<(), Refusal> {
    if allowed.contains(method) {
        return Ok(());
    }
    let error = ApiError::new(ErrorKind::MethodNotAllowed, format!("This path takes {header}."));
    Err(Refusal { error, allow: Some(header), close: false })
}

/// Reads the whole body, with a length or in chunks, up to the limit.
async fn read_body(session: &mut Session, limit: usize) -> Result<Bytes, Refusal> {
    let head = session.req_header();
    let announced = match head.headers.get(header::CONTENT_LENGTH) {
        None => None,
        Some(length) => {
            let length = length.to_str().ok().and_then(|length| length.trim().parse::<usize>().ok());
            Some(length.ok_or_else(|| closing(ApiError::new(ErrorKind::InvalidRequest, "The content-length is not a number.")))?)
        }
    };
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    if head.headers.get(header::EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        session.as_downstream_mut().write_continue_response().await.map_err(|cause| closing(describe(&cause)))?;
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or(0).min(FIRST_BODY_BUFFER));
    while let Some(piece) = next_piece(session).await? {
        if body.len() + piece.len() > limit {
            return Err(too_large(limit));
        }
        body.extend_from_slice(&piece);
    }
    if announced.is_some_and(|length| length != body.len()) {
        return Err(closing(ApiError::new(ErrorKind::InvalidRequest, "The body is shorter than its content-length.")));
    }
    Ok(body.freeze())
}

/// The next piece of the body. Pingora has a limit of its own for HTTP/1.1, which is the same, and none for HTTP/2.
async fn next_piece(session: &mut Session) -> Result<Option<Bytes>, Refusal> {
    match tokio::time::timeout(BODY_PAUSE, session.read_request_body()).await {
        Ok(read) => read.map_err(|cause| closing(describe(&cause.into_down()))),
        Err(_) => Err(closing(ApiError::new(ErrorKind::RequestTimeout, "The request body took too long to arrive."))),
    }
}

fn too_large(limit: usize) -> Refusal {
    closing(ApiError::new(ErrorKind::TooLarge, format!("The request body is larger than {limit} bytes.")))
}

fn closing(error: ApiError) -> Refusal {
    Refusal { error, allow: None, close: true }
}

/// An exchange without the client's session.
struct Draft {
    route: route::Route,
    upstream: Arc<crate::ops::upstreams::Upstream>,
    body: Bytes,
    stream: bool,
    dropped: Vec<String>,
    answer: Answer,
}

/// Decodes the body, decides where it goes and encodes it for there.
fn plan(body: &[u8], provider: Option<&str>, current: &Current, ctx: &mut Ctx) -> Result<Draft, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| ApiError::new(ErrorKind::InvalidRequest, format!("The body is not valid UTF-8 at byte {}.", error.valid_up_to())))?;
    let decoded = openai::downstream::request::decode(text)?;
    ctx.model = decoded.request.model.unescape().into_owned();
    let unusable = Cell::new(None);
    let usable = |provider: &Provider| {
        let usable = current.upstreams.usable(provider);
        if !usable {
            unusable.set(current.upstreams.trouble(provider));
        }
        usable
    };
    let route = route::route(&current.snapshot, &ctx.model, provider, usable, fastrand::u64(..)).map_err(|error| match (error.kind, unusable.take()) {
        (ErrorKind::NotConfigured, Some(reason)) => ApiError { message: format!("{} Reason: {reason}", error.message).into(), ..error },
        _ => error,
    })?;
    let target = &route.target;
    let upstream = current
        .upstreams
        .of(&target.provider.name)
        .ok_or_else(|| ApiError::new(ErrorKind::NotConfigured, format!("The provider '{}' is not configured.", target.provider.name)))?;
    let options = Options {
        capabilities: &target.capabilities,
        policy: route.model.as_ref().map_or_else(Policy::default, |model| model.policy),
        default_max_tokens: target.default_max_tokens,
        guardrail: target.guardrail.as_ref(),
        stream: decoded.stream,
    };
    let encoded = converse::upstream::request::encode(&decoded.request, &options)?;
    let created = ctx.received.duration_since(std::time::SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let envelope = Envelope { id: ctx.request_id.clone(), model: ctx.model.clone(), created };
    Ok(Draft {
        upstream: Arc::clone(upstream),
        body: encoded.body.into(),
        stream: decoded.stream,
        dropped: encoded.dropped,
        answer: Answer { envelope, style: decoded.style, restore: encoded.restore },
        route,
    })
}

impl Draft {
    fn into_exchange(self, control: downstream::Control, chunked: bool) -> Exchange {
        let Draft { route, upstream, body, stream, dropped, answer } = self;
        Exchange {
            route,
            upstream,
            body,
            stream,
            chunked,
            dropped,
            answer,
            control,
            attempts: 0,
            started: Instant::now(),
            upstream_at: Instant::now(),
            stage: Stage::Waiting,
            upstream_request_id: None,
            facts: Facts::default(),
            first_content: None,
        }
    }
}

/// The names of dropped members for the `x-adit-dropped` header: only what a header can hold.
pub(super) fn header_list(names: &[String]) -> Cow<'_, str> {
    const MOST: usize = 1024;
    let mut list = String::new();
    for name in names {
        let clean = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if !clean || list.len() + name.len() > MOST {
            continue;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(name);
    }
    list.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(id: Option<&str>) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/", None).unwrap();
        if let Some(id) = id {
            head.insert_header("x-request-id", id).unwrap();
        }
        head
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        assert_eq!(request_id(&head(Some("req_1:a/b"))), "req_1:a/b");
        for bad in ["", "a b", "x\"y", &"x".repeat(129)] {
            let id = request_id(&head(Some(bad)));
            assert_eq!(id.len(), 32, "{bad}");
        }
        assert_ne!(request_id(&head(None)), request_id(&head(None)));
    }

    #[test]
    fn dropped_members_fit_a_header_whatever_they_are_called() {
        let names = ["seed".to_owned(), "a\r\nb".to_owned(), "top_k".to_owned()];
        assert_eq!(header_list(&names), "seed, top_k");
    }
}
