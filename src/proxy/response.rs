//! The answer on its way to the client: head and body filters.
//!
//! ```text
//! Waiting ─2xx─▶ Body ─────────────▶ Done      a whole JSON answer: gathered, translated at its end
//!    │      ├──▶ Stream ───────────▶ Done      frames: translated as they come; held until the first content
//!    │      └──▶ Relay ────────────▶ Done      passes untouched, a tap reads along
//!    └─other───▶ Refused ──────────▶ Done      the upstream's error: gathered, written in the client's dialect
//! ```

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::Result;
use pingora::http::ResponseHeader;

use crate::chat::redact::redact;
use crate::chat::{ApiError, ErrorKind};
use crate::dialect::Dialect;
use crate::proxy::brand::{brand, stream_headers};
use crate::proxy::ctx::{Ctx, Exchange, Hold, Stage};
use crate::proxy::downstream::HeadPatch;
use crate::proxy::error::{give_up, overloaded};
use crate::proxy::headers::{self, native_answer, relayed_answer};
use crate::proxy::next::{self, another};
use crate::proxy::plan::{Answer, is_bodiless};
use crate::proxy::tries::Fault;
use crate::translate::body::count;
use crate::translate::relay::{Opening, Tap};
use crate::translate::stream::{Flow, Progress};
use crate::translate::{Client, stream_error};
use crate::wire::eventstream::CONTENT_TYPE;
use crate::wire::json::{Kind, Raw, pick};

/// The largest whole answer that is translated: far above what any model writes, and a bound on memory.
pub(super) const LARGEST_BODY: usize = 64 * 1024 * 1024;
/// The most that is held of an answer that passes, so that another target could still give it: what is larger passes, and can't be given again.
const LARGEST_HELD: usize = 8 * 1024 * 1024;
/// The same for what comes of a stream before its first content: openings are small.
const LARGEST_OPENING: usize = 64 * 1024;
/// As much of an upstream's error body as is read; what is behind it can't matter to a message.
pub(super) const LARGEST_ERROR: usize = 64 * 1024;

fn header_text(head: &ResponseHeader, name: &str) -> Option<String> {
    headers::text(&head.headers, name).map(str::to_owned)
}

/// What is seen of an upstream's head.
struct Seen<'h> {
    head: &'h ResponseHeader,
    /// The headers that pass, where the answer is relayed.
    relayed: Option<Vec<(HeaderName, HeaderValue)>>,
    /// There is no body.
    empty: bool,
}

/// Turns the upstream's head into the client's. `no_body` says that the client asked for the head alone.
///
/// # Errors
/// An answer that ends here: another try, or a reason to give up.
pub(super) fn head(head: &mut ResponseHeader, no_body: bool, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    if head.status.is_informational() {
        return Ok(());
    }
    exchange.upstream_at = Instant::now();
    exchange.upstream_request_id = ["x-amzn-requestid", "request-id", "apim-request-id", "x-request-id"].iter().find_map(|name| header_text(head, name));
    let native = matches!(exchange.answer, Answer::Relay { native: true, .. });
    let relayed = match &exchange.answer {
        Answer::Relay { native: true, .. } => Some(native_answer(&head.headers)),
        Answer::Relay { .. } => Some(relayed_answer(&head.headers)),
        _ => None,
    };
    let empty = no_body || is_bodiless(head.status) || head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
    // What a proxy in between shows to people is no answer of a model's.
    let is_page = !native && header_text(head, "content-type").is_some_and(|kind| kind.starts_with("text/html"));
    // A provider's own API may answer with more than 200; in all others it is what a good answer has.
    let good = (head.status == StatusCode::OK && !is_page) || (native && head.status.as_u16() < 400);
    let seen = Seen { relayed, empty, head };
    let fresh = if native && (good || (empty && is_theirs(exchange, head))) || (seen.relayed.is_some() && good && !empty) {
        relay(seen, ctx)?
    } else if head.status != StatusCode::OK {
        refuse(seen, ctx)?
    } else if is_page {
        return Err(fail(ctx, ApiError::new(ErrorKind::BadUpstream, "The model provider answered with a page instead of an answer.")));
    } else if empty {
        return Err(fail(ctx, no_output()));
    } else {
        translate(seen, ctx)?
    };
    *head = fresh;
    brand(head, ctx)
}

/// Without a body all is told by the status; only what is wrong between the gateway and the provider is not the client's.
fn is_theirs(exchange: &Exchange, head: &ResponseHeader) -> bool {
    let error = exchange.answer.api().error(head.status.as_u16(), headers::text(&head.headers, "x-amzn-errortype"), None, b"");
    error.kind != ErrorKind::BadUpstream
}

/// A head of our own making, for an upstream's.
fn fresh_head(seen: &Seen<'_>) -> Result<ResponseHeader> {
    let mut fresh = ResponseHeader::build(seen.head.status, Some(12 + seen.relayed.as_ref().map_or(0, Vec::len)))?;
    fresh.set_version(Version::HTTP_11);
    Ok(fresh)
}

/// The head of an answer that passes.
fn relay(seen: Seen<'_>, ctx: &mut Ctx) -> Result<ResponseHeader> {
    let mut fresh = fresh_head(&seen)?;
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(fresh) };
    let media_type = header_text(seen.head, "content-type").unwrap_or_default();
    // A stream is told by its type where the request says nothing: no bound on its whole time, and nothing in between may gather it.
    exchange.stream |= media_type.starts_with("text/event-stream") || media_type.starts_with(CONTENT_TYPE);
    if let Answer::Relay { watched, .. } = &exchange.answer {
        let hold = if !exchange.committed && exchange.tries.may_go_on(&ctx.current) {
            let opening = Opening::new(*watched, &media_type);
            (opening.is_some() || !exchange.stream).then(|| Hold { opening, pieces: Vec::new(), length: 0 })
        } else {
            None
        };
        exchange.stage = if seen.empty { Stage::Done } else { Stage::Relay { tap: Box::new(Tap::new(*watched, &media_type)), hold } };
    }
    for (name, value) in seen.relayed.unwrap_or_default() {
        fresh.append_header(name, value)?;
    }
    if exchange.stream {
        fresh.insert_header(header::CACHE_CONTROL, "no-cache")?;
        fresh.insert_header("x-accel-buffering", "no")?;
    }
    if !seen.empty && exchange.chunked && !fresh.headers.contains_key(header::CONTENT_LENGTH) {
        fresh.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(fresh)
}

/// The head of an upstream's error. Its body is gathered, unless another try follows.
fn refuse(seen: Seen<'_>, ctx: &mut Ctx) -> Result<ResponseHeader> {
    let mut fresh = fresh_head(&seen)?;
    let dialect = ctx.dialect;
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(fresh) };
    let status = seen.head.status.as_u16();
    let name = header_text(seen.head, "x-amzn-errortype");
    let retry_after = header_text(seen.head, "retry-after");
    exchange.stage = Stage::Refused { status, name, retry_after, body: Vec::new() };
    // What it says in its body does not matter to the decision.
    let error = refusal(exchange).unwrap_or_else(no_output);
    if seen.empty {
        // Without a body no body filter runs: say it now.
        return Err(fail(ctx, error));
    }
    if next::again(ctx, Fault::answered(status, error)) {
        return Err(another());
    }
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(fresh) };
    if exchange.chunked {
        fresh.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    fresh.insert_header(header::CONTENT_TYPE, "application/json")?;
    // What a good relay would let pass; the length is told at the end.
    for (name, value) in seen.relayed.unwrap_or_default() {
        if name != header::CONTENT_LENGTH && (dialect == Dialect::Bedrock || name != "x-amzn-errortype") {
            fresh.insert_header(name, value)?;
        }
    }
    Ok(fresh)
}

/// The head of an answer that is translated.
fn translate(seen: Seen<'_>, ctx: &mut Ctx) -> Result<ResponseHeader> {
    let mut fresh = fresh_head(&seen)?;
    let dialect = ctx.dialect;
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(fresh) };
    if exchange.chunked {
        fresh.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    let flow = match &exchange.answer {
        Answer::Translate(translation) if exchange.stream => Some(Flow::Translated(translation.stream())),
        Answer::Reframe => Some(Flow::Reframed(crate::translate::reframe::Unwrapped::default())),
        _ => None,
    };
    match flow {
        Some(flow) => {
            exchange.stage = Stage::Stream { stream: Box::new(flow), pending: Vec::new() };
            stream_headers(&mut fresh, dialect)?;
        }
        None => {
            exchange.stage = Stage::Body(Vec::new());
            fresh.insert_header(header::CONTENT_TYPE, "application/json")?;
        }
    }
    Ok(fresh)
}

/// Ends an attempt without an answer: for another one, or for good.
fn fail(ctx: &mut Ctx, error: ApiError) -> Box<pingora::Error> {
    if next::again(ctx, error.clone().into()) { another() } else { give_up(ctx, error) }
}

fn no_output() -> ApiError {
    ApiError::new(ErrorKind::BadUpstream, "The model provider answered without any output.")
}

/// The upstream's error as gathered, if the stage is one.
fn refusal(exchange: &Exchange) -> Option<ApiError> {
    match &exchange.stage {
        Stage::Refused { status, name, retry_after, body } => Some(exchange.answer.api().error(*status, name.as_deref(), retry_after.as_deref(), body)),
        _ => None,
    }
}

/// Whether an error may pass as the upstream wrote it: it is in the client's dialect already, it is no trouble with the gateway's own credentials, and it tells
/// nothing of the operator's account.
fn may_pass(exchange: &Exchange, dialect: Dialect, error: &ApiError, body: &[u8]) -> bool {
    let same = matches!(
        (&exchange.answer, exchange.answer.api(), dialect),
        (Answer::Relay { .. }, crate::translate::Api::Converse, Dialect::Bedrock)
            | (Answer::Relay { .. }, crate::translate::Api::OpenAi, Dialect::OpenAi | Dialect::Responses)
            | (Answer::Relay { .. }, crate::translate::Api::Anthropic, Dialect::Anthropic)
    );
    let Ok(text) = std::str::from_utf8(body) else { return false };
    same && error.kind != ErrorKind::BadUpstream && body.len() < LARGEST_ERROR && is_error_of(dialect, text) && redact(text) == text
}

/// Whether a body has the members by which clients of an API read an error. Google writes its own, also behind the APIs of others.
fn is_error_of(dialect: Dialect, text: &str) -> bool {
    let string = |raw: Option<Raw<'_>>| raw.is_some_and(|raw| raw.kind() == Kind::String);
    let error = || pick(text, ["error"]).ok().and_then(|[error]| pick(error?.as_str(), ["type", "message", "param", "code"]).ok());
    match dialect {
        Dialect::Bedrock => pick(text, ["message", "Message"]).is_ok_and(|[one, two]| string(one) || string(two)),
        Dialect::OpenAi | Dialect::Responses => {
            error().is_some_and(|[kind, message, param, code]| string(kind) && string(message) && param.is_some() && code.is_some())
        }
        Dialect::Anthropic => {
            error().is_some_and(|[kind, message, ..]| string(kind) && string(message)) && pick(text, ["type"]).is_ok_and(|[kind]| string(kind))
        }
    }
}

/// Translates a piece of the upstream's body in place.
pub(super) fn body(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    exchange.upstream_at = Instant::now();
    let piece = body.take().unwrap_or_default();
    exchange.answer_bytes = exchange.answer_bytes.saturating_add(piece.len() as u64);
    match &mut exchange.stage {
        Stage::Stream { .. } => stream(&piece, end, body, ctx),
        Stage::Relay { .. } => relayed(piece, end, body, ctx),
        Stage::Body(gathered) => {
            if gathered.len() + piece.len() > LARGEST_BODY {
                return Err(give_up(ctx, ApiError::new(ErrorKind::BadUpstream, "The model provider's answer is too large.")));
            }
            gathered.extend_from_slice(&piece);
            hold(piece.len(), ctx)?;
            if end { whole(body, ctx) } else { Ok(()) }
        }
        Stage::Refused { body: gathered, .. } => {
            let room = LARGEST_ERROR.saturating_sub(gathered.len());
            gathered.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if end {
                refused(body, ctx)?;
            }
            Ok(())
        }
        Stage::Waiting | Stage::Done => Ok(()),
    }
}

/// Counts what is gathered of an answer.
fn hold(bytes: usize, ctx: &mut Ctx) -> Result<()> {
    let bounds = &ctx.current.snapshot.process.overload;
    match ctx.place.as_mut().map(|place| place.hold(bytes, bounds)) {
        Some(Err(_)) => {
            if let Some(exchange) = &ctx.exchange {
                exchange.control.end();
            }
            Err(give_up(ctx, overloaded()))
        }
        _ => Ok(()),
    }
}

/// A piece of an answer that passes is in. It is held back while it says nothing and another target could take over.
fn relayed(piece: Bytes, end: bool, body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    let Stage::Relay { tap, hold } = &mut exchange.stage else { return Ok(()) };
    if end && piece.is_empty() && !tap.has_passed() && matches!(exchange.answer, Answer::Relay { native: false, .. }) {
        return answer_error(no_output(), body, ctx);
    }
    tap.push(&piece);
    let mut passes = piece;
    if let Some(held) = hold {
        let progress = held.opening.as_mut().map_or(Progress::Opening, |opening| opening.push(&passes));
        let length = passes.len();
        held.length += length;
        held.pieces.push(passes);
        let has_room = held.length <= if held.opening.is_some() { LARGEST_OPENING } else { LARGEST_HELD };
        match progress {
            Progress::Failed(error) if next::again(ctx, error.clone().into()) => return Err(another()),
            Progress::Opening if !end && has_room => return self::hold(length, ctx),
            _ => {}
        }
        let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
        let Stage::Relay { hold, .. } = &mut exchange.stage else { return Ok(()) };
        passes = hold.take().map(Hold::into_bytes).unwrap_or_default();
    }
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    if !passes.is_empty() {
        exchange.committed = true;
        exchange.tries.answered();
        if exchange.stream && exchange.first_content.is_none() {
            exchange.first_content = Some(Instant::now());
        }
    }
    if end && let Stage::Relay { tap, .. } = &exchange.stage {
        exchange.facts = tap.facts();
        if let (Some(answering), Some(id)) = (&mut ctx.answering, tap.answer_id()) {
            answering.keep_theirs(id, &exchange.route.target.provider.name);
        }
        exchange.stage = Stage::Done;
    }
    *body = Some(passes);
    Ok(())
}

/// An upstream's error is in: passes it, or writes it in the client's dialect.
fn refused(body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    let dialect = ctx.dialect;
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    let error = refusal(exchange).unwrap_or_else(no_output);
    match &mut exchange.stage {
        Stage::Refused { body: gathered, .. } if !gathered.is_empty() => {
            let gathered = std::mem::take(gathered);
            if !exchange.control.head_out() && may_pass(exchange, dialect, &error, &gathered) {
                exchange.stage = Stage::Done;
                exchange.control.patch_head(HeadPatch { content_length: Some(gathered.len()), ..HeadPatch::default() });
                exchange.control.finish();
                ctx.error = Some(error);
                *body = Some(gathered.into());
                return Ok(());
            }
        }
        _ => {}
    }
    final_error(error, body, ctx);
    Ok(())
}

/// A whole answer is in: translates it.
fn whole(body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    let Stage::Body(gathered) = std::mem::replace(&mut exchange.stage, Stage::Done) else { return Ok(()) };
    let mut out = Vec::new();
    let elapsed = milliseconds(exchange.started);
    let translated = match &exchange.answer {
        Answer::Translate(translation) => translation.body(&gathered, elapsed, &mut out),
        Answer::Count(api) => count(*api, ctx.dialect, &gathered, &mut out).map(|()| crate::translate::Facts::default()),
        Answer::Reframe | Answer::Relay { .. } => Err(ApiError::new(ErrorKind::Internal, "The gateway lost its way.")),
    };
    match translated {
        Ok(facts) => {
            exchange.facts = facts;
            exchange.committed = true;
            exchange.tries.answered();
            exchange.control.patch_head(HeadPatch { content_length: Some(out.len()), ..HeadPatch::default() });
            let out = Bytes::from(out);
            // Before the client has it, so that it finds it.
            if let (Some(answering), Answer::Translate(translation)) = (&mut ctx.answering, &exchange.answer)
                && matches!(&translation.client, Client::Responses(style) if style.store)
            {
                answering.keep(out.clone());
            }
            *body = Some(out);
        }
        Err(error) => answer_error(error, body, ctx)?,
    }
    Ok(())
}

/// A piece of a stream is in: translates its frames.
fn stream(piece: &[u8], end: bool, body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    let Stage::Stream { stream, pending } = &mut exchange.stage else { return Ok(()) };
    let mut out = std::mem::take(pending);
    // A frame of a few words becomes a chunk of about its own size.
    out.reserve(piece.len() + 256);
    stream.push(piece, milliseconds(exchange.started), &mut out);
    if end {
        stream.finish(&mut out);
    }
    exchange.facts = stream.facts();
    // Content counts even if the same read brought the failure behind it: what a client gets must not depend on how the bytes were cut.
    if stream.has_content() && exchange.first_content.is_none() {
        exchange.first_content = Some(Instant::now());
        exchange.committed = true;
        exchange.tries.answered();
    }
    match stream.progress().clone() {
        Progress::Opening => *pending = out,
        Progress::Content => {
            if !out.is_empty() {
                *body = Some(out.into());
            }
        }
        Progress::Ended => {
            if let (Some(answering), Some(kept)) = (&mut ctx.answering, stream.take_kept()) {
                answering.keep(kept.into());
            }
            exchange.stage = Stage::Done;
            *body = Some(out.into());
        }
        Progress::Failed(error) if !exchange.committed && next::again(ctx, error.clone().into()) => return Err(another()),
        Progress::Failed(error) => stream_failed(error, out, body, ctx),
    }
    Ok(())
}

/// A stream has failed for good: with its HTTP status while nothing of it is out, else with its last event.
fn stream_failed(error: ApiError, out: Vec<u8>, body: &mut Option<Bytes>, ctx: &mut Ctx) {
    let Some(exchange) = ctx.exchange.as_mut() else { return };
    if exchange.first_content.is_none() && !exchange.control.head_out() {
        return final_error(error, body, ctx);
    }
    exchange.tries.broke();
    // The error event is in `out`. What the upstream may still send is of no use: end here.
    exchange.stage = Stage::Done;
    exchange.control.finish();
    ctx.error = Some(error);
    *body = Some(out.into());
}

/// Milliseconds since a moment.
pub(super) fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// An answer without content has failed: another target may have its turn.
fn answer_error(error: ApiError, body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    if next::again(ctx, error.clone().into()) {
        return Err(another());
    }
    final_error(error, body, ctx);
    Ok(())
}

/// Ends an answer that has no content yet with an error: as an HTTP answer while the head is held, else as the stream's last event.
fn final_error(error: ApiError, body: &mut Option<Bytes>, ctx: &mut Ctx) {
    let dialect = ctx.dialect;
    let Some(exchange) = ctx.exchange.as_mut() else { return };
    exchange.stage = Stage::Done;
    let out = if exchange.control.head_out() {
        stream_error(dialect, &error, 0)
    } else {
        let out = dialect.error_body(&error, &ctx.request_id);
        exchange.control.patch_head(HeadPatch {
            status: StatusCode::from_u16(dialect.status(&error)).ok(),
            content_type: Some("application/json"),
            content_length: Some(out.len()),
            error_name: dialect.error_name(&error),
            retry_after: error.retry_after.clone(),
        });
        out
    };
    exchange.control.finish();
    ctx.error = Some(error);
    *body = Some(out.into());
}
