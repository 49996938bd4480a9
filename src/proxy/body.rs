//! The body of a request, read whole: bounded in bytes, in time and by what fits into the house.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::Process;
use crate::ops::load::Full;
use crate::proxy::Shared;
use crate::proxy::ctx::Ctx;
use crate::proxy::error::{Refusal, describe, overloaded};

/// A body is given this much room at once; more only as it comes, so that a length that lies costs nothing.
const FIRST_BODY_BUFFER: usize = 256 * 1024;
/// So many bytes of a request body buy a second more for the rest: no line is slower than that, and whoever is holds a place on purpose.
const SLOWEST_BYTES_PER_SECOND: usize = 500;

/// Reads the whole body, with a length or in chunks, up to the limit of the configuration or a lower one.
pub(super) async fn read(shared: &Shared, session: &mut Session, ctx: &mut Ctx, most: usize) -> Result<Bytes, Refusal> {
    let Process { max_body_bytes: limit, client_timeouts, overload, .. } = &ctx.current.snapshot.process;
    let (limit, patience) = (most.min(*limit), client_timeouts.body);
    let head = session.req_header();
    let announced = match head.headers.get(header::CONTENT_LENGTH) {
        None => None,
        Some(length) => {
            let length = length.to_str().ok().and_then(|length| length.trim().parse::<usize>().ok());
            Some(length.ok_or_else(|| Refusal::closing(ApiError::new(ErrorKind::InvalidRequest, "The content-length is not a number.")))?)
        }
    };
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    if head.headers.get(header::EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        session.as_downstream_mut().write_continue_response().await.map_err(|cause| Refusal::closing(describe(&cause)))?;
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or(0).min(FIRST_BODY_BUFFER));
    let begun = tokio::time::Instant::now();
    loop {
        let earned = Duration::from_secs((body.len() / SLOWEST_BYTES_PER_SECOND) as u64);
        let deadline = (begun + patience + earned).min(tokio::time::Instant::now() + patience);
        let Some(piece) = next_piece(session, deadline).await? else { break };
        if body.len() + piece.len() > limit {
            return Err(too_large(limit));
        }
        if let Some(place) = &mut ctx.place {
            place.hold(piece.len(), overload).map_err(|full| turned_away(shared, full))?;
        }
        body.extend_from_slice(&piece);
    }
    if announced.is_some_and(|length| length != body.len()) {
        return Err(Refusal::closing(ApiError::new(ErrorKind::InvalidRequest, "The body is shorter than its content-length.")));
    }
    Ok(body.freeze())
}

/// The next piece of the body. Pingora has a limit of its own for HTTP/1.1, which is the same, and none for HTTP/2.
async fn next_piece(session: &mut Session, deadline: tokio::time::Instant) -> Result<Option<Bytes>, Refusal> {
    match tokio::time::timeout_at(deadline, session.read_request_body()).await {
        Ok(read) => read.map_err(|cause| Refusal::closing(describe(&cause.into_down()))),
        Err(_) => Err(Refusal::closing(ApiError::new(ErrorKind::RequestTimeout, "The request body took too long to arrive."))),
    }
}

fn too_large(limit: usize) -> Refusal {
    Refusal::closing(ApiError::new(ErrorKind::TooLarge, format!("The request body is larger than {limit} bytes.")))
}

/// What a client is told that comes when the house is full.
pub(super) fn turned_away(shared: &Shared, full: Full) -> Refusal {
    shared.metrics.turned_away(full.as_str());
    Refusal::closing(overloaded())
}
