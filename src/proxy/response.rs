//! The answer on its way to the client: head and body filters.
//!
//! ```text
//! Waiting ─200─▶ Body ─────────────▶ Done      a whole JSON answer: gathered, translated at its end
//!    │    └────▶ Stream ───────────▶ Done      frames: translated as they come; held until the first content
//!    └─other───▶ Refused ──────────▶ Done      the upstream's error: gathered, written in the client's dialect
//! ```

use std::time::Instant;

use bytes::Bytes;
use http::{StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;

use crate::chat::{ApiError, ErrorKind};
use crate::dialect::converse;
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::proxy::downstream::HeadPatch;
use crate::proxy::error::give_up;
use crate::proxy::intake::header_list;
use crate::translate::stream::Progress;

/// The largest whole answer that is translated: far above what any model writes, and a bound on memory.
const LARGEST_BODY: usize = 64 * 1024 * 1024;
/// As much of an upstream's error body as is read; what is behind it can't matter to a message.
const LARGEST_ERROR: usize = 64 * 1024;

/// The headers that every answer carries: `x-request-id`, and whose answer it is once that is known.
pub(super) fn brand(head: &mut ResponseHeader, ctx: &Ctx) -> Result<()> {
    head.insert_header("x-request-id", ctx.request_id.as_str())?;
    let Some(exchange) = &ctx.exchange else { return Ok(()) };
    head.insert_header("x-adit-provider", exchange.route.target.provider.name.as_str())?;
    // A model's name may be anything a client wrote; a header may not.
    let model = exchange.route.model.as_ref().map_or(exchange.route.target.model.as_str(), |model| model.name.as_str());
    if let Ok(model) = http::HeaderValue::from_str(model) {
        head.insert_header("x-adit-model", model)?;
    }
    head.insert_header("x-adit-attempts", exchange.attempts)?;
    let dropped = header_list(&exchange.dropped);
    if !dropped.is_empty() {
        head.insert_header("x-adit-dropped", dropped.as_ref())?;
    }
    Ok(())
}

/// The headers of an SSE answer.
pub(super) fn stream_headers(head: &mut ResponseHeader) -> Result<()> {
    head.insert_header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")?;
    head.insert_header(header::CACHE_CONTROL, "no-cache")?;
    // nginx in front would otherwise gather the stream before it passes it on.
    head.insert_header("x-accel-buffering", "no")
}

fn header_text(head: &ResponseHeader, name: &str) -> Option<String> {
    head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Turns the upstream's head into the client's. Nothing of the upstream's passes but `retry-after`.
pub(super) fn head(head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    if head.status.is_informational() {
        return Ok(());
    }
    exchange.upstream_at = Instant::now();
    exchange.upstream_request_id = header_text(head, "x-amzn-requestid");
    let retry_after = header_text(head, "retry-after");
    let mut fresh = ResponseHeader::build(head.status, Some(12))?;
    fresh.set_version(head.version);
    if exchange.chunked {
        fresh.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    if head.status != StatusCode::OK {
        let name = header_text(head, "x-amzn-errortype");
        exchange.stage = Stage::Refused { status: head.status.as_u16(), name, retry_after, body: Vec::new() };
        if head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0") || head.status == StatusCode::NO_CONTENT {
            // Without a body no body filter runs: say it now.
            let error = refusal(exchange).unwrap_or_else(no_output);
            return Err(give_up(ctx, error));
        }
        fresh.insert_header(header::CONTENT_TYPE, "application/json")?;
    } else if head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0") {
        return Err(give_up(ctx, no_output()));
    } else if exchange.stream {
        exchange.stage = Stage::Stream { stream: exchange.answer.stream(), pending: Vec::new() };
        stream_headers(&mut fresh)?;
    } else {
        exchange.stage = Stage::Body(Vec::new());
        fresh.insert_header(header::CONTENT_TYPE, "application/json")?;
    }
    brand(&mut fresh, ctx)?;
    *head = fresh;
    Ok(())
}

fn no_output() -> ApiError {
    ApiError::new(ErrorKind::BadUpstream, "The model provider answered without any output.")
}

/// The upstream's error as gathered, if the stage is one.
fn refusal(exchange: &Exchange) -> Option<ApiError> {
    match &exchange.stage {
        Stage::Refused { status, name, retry_after, body } => Some(converse::upstream::error::decode(*status, name.as_deref(), retry_after.as_deref(), body)),
        _ => None,
    }
}

/// Translates a piece of the upstream's body in place.
pub(super) fn body(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    exchange.upstream_at = Instant::now();
    let piece = body.take().unwrap_or_default();
    match &mut exchange.stage {
        Stage::Stream { .. } => stream(&piece, end, body, ctx),
        Stage::Body(gathered) => {
            if gathered.len() + piece.len() > LARGEST_BODY {
                return Err(give_up(ctx, ApiError::new(ErrorKind::BadUpstream, "The model provider's answer is too large.")));
            }
            gathered.extend_from_slice(&piece);
            if end { whole(body, ctx) } else { Ok(()) }
        }
        Stage::Refused { body: gathered, .. } => {
            let room = LARGEST_ERROR.saturating_sub(gathered.len());
            gathered.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if end {
                let error = refusal(exchange).unwrap_or_else(no_output);
                answer_error(error, body, ctx);
            }
            Ok(())
        }
        Stage::Waiting | Stage::Done => Ok(()),
    }
}

/// A whole answer is in: translates it.
fn whole(body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    let Stage::Body(gathered) = std::mem::replace(&mut exchange.stage, Stage::Done) else { return Ok(()) };
    let mut out = Vec::new();
    match exchange.answer.translate_body(&gathered, &mut out) {
        Ok(facts) => {
            exchange.facts = facts;
            exchange.control.patch_head(HeadPatch { content_length: Some(out.len()), ..HeadPatch::default() });
            *body = Some(out.into());
        }
        Err(error) => answer_error(error, body, ctx),
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
    stream.push(piece, &mut out);
    if end {
        stream.finish(&mut out);
    }
    exchange.facts = stream.facts();
    // Content counts even if the same read brought the failure behind it: what a client gets must not depend on how the bytes were cut.
    if stream.has_content() && exchange.first_content.is_none() {
        exchange.first_content = Some(Instant::now());
    }
    match stream.progress().clone() {
        Progress::Opening => *pending = out,
        Progress::Content => {
            if !out.is_empty() {
                *body = Some(out.into());
            }
        }
        Progress::Ended => {
            exchange.stage = Stage::Done;
            *body = Some(out.into());
        }
        Progress::Failed(error) if exchange.first_content.is_none() && !exchange.control.head_out() => answer_error(error, body, ctx),
        Progress::Failed(error) => {
            // The error event is in `out`. What the upstream may still send is of no use: end here.
            exchange.stage = Stage::Done;
            exchange.control.finish();
            ctx.error = Some(error);
            *body = Some(out.into());
        }
    }
    Ok(())
}

/// Ends an answer that has no content yet with an error: as an HTTP answer while the head is held, else as the stream's last event.
fn answer_error(error: ApiError, body: &mut Option<Bytes>, ctx: &mut Ctx) {
    let dialect = ctx.dialect();
    let Some(exchange) = ctx.exchange.as_mut() else { return };
    exchange.stage = Stage::Done;
    let out = if exchange.control.head_out() {
        let mut event = Vec::new();
        exchange.answer.stream().fail(error.clone(), &mut event);
        event
    } else {
        let out = dialect.error_body(&error);
        exchange.control.patch_head(HeadPatch {
            status: StatusCode::from_u16(error.status).ok(),
            content_type: Some("application/json"),
            content_length: Some(out.len()),
            retry_after: error.retry_after.clone(),
        });
        out
    };
    exchange.control.finish();
    ctx.error = Some(error);
    *body = Some(out.into());
}
