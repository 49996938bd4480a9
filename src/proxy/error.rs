//! The single bridge between [`ApiError`] and Pingora's error, and the only place that gives a client its error: before the head as an answer, after it as
//! the dialect's error event.

use std::time::Duration;

use bytes::Bytes;
use http::header;
use log::debug;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};

use crate::chat::{ApiError, ErrorKind};
use crate::dialect::Dialect;
use crate::proxy::brand::brand;
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::translate::stream_error;

/// How long a client may go on sending a body that nobody wants before its connection is cut: enough for it to notice the answer.
const DRAIN: Duration = Duration::from_secs(5);

/// A request that is answered with an error before an upstream was chosen.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: ApiError,
    /// The `allow` header of a 405.
    pub(super) allow: Option<&'static str>,
    /// The rest of the request can't be trusted or is too large: the connection ends with the answer.
    pub(super) close: bool,
}

impl Refusal {
    /// One that ends the connection.
    pub(super) fn closing(error: ApiError) -> Self {
        Refusal { error, allow: None, close: true }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Refusal { error, allow: None, close: false }
    }
}

/// Answers a request with an error of ours.
pub(super) async fn refuse(session: &mut Session, ctx: &mut Ctx, refusal: Refusal) -> Result<()> {
    let Refusal { error, allow, close } = refusal;
    let body = Bytes::from(ctx.dialect.error_body(&error, &ctx.request_id));
    let mut head = error_head(&error, body.len())?;
    let status = ctx.dialect.status(&error);
    head.set_status(status)?;
    if let Some((name, value)) = ctx.dialect.error_name(&error) {
        head.insert_header(name, value)?;
    }
    // RFC 9110, section 15.5.2: always.
    if status == 401 {
        head.insert_header(header::WWW_AUTHENTICATE, "Bearer")?;
    }
    if let Some(allow) = allow {
        head.insert_header(header::ALLOW, allow)?;
    }
    brand(&mut head, ctx)?;
    ctx.error = Some(error);
    if close {
        session.set_keepalive(None);
    }
    let no_body = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head), no_body).await?;
    if !no_body {
        ctx.answers(&body);
        session.write_response_body(Some(body), true).await?;
    }
    if close {
        // Closing at once, with unread bytes in the socket, would reset the connection and take the answer with it.
        let drained = tokio::time::timeout(DRAIN, session.as_downstream_mut().drain_request_body()).await;
        debug!("drained a refused body: {}", drained.is_ok());
    }
    Ok(())
}

/// The head of an error answer.
pub(super) fn error_head(error: &ApiError, length: usize) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(error.status, Some(12))?;
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    head.insert_header(header::CONTENT_LENGTH, length)?;
    if let Some(retry_after) = &error.retry_after {
        head.insert_header(header::RETRY_AFTER, retry_after.as_str())?;
    }
    Ok(head)
}

/// Pingora gave up on the exchange: tells the client, if it is still there, in whatever way is left.
pub(super) async fn last_word(session: &mut Session, cause: &Error, ctx: &mut Ctx) -> FailToProxy {
    let gone = FailToProxy { error_code: 0, can_reuse_downstream: false };
    if client_left(cause) {
        return gone;
    }
    let error = ctx.error.clone().unwrap_or_else(|| describe(cause));
    debug!("giving up on {}: {cause}", ctx.request_id);
    let status = error.status;
    // The body of an exchange was read to its end, and what is written here ends its answer: the client may go on with the connection.
    let whole = ctx.exchange.is_some();
    let written = if let Some(exchange) = ctx.exchange.as_mut().filter(|exchange| exchange.control.head_out()) {
        let cut = matches!(&exchange.stage, Stage::Relay { tap, .. } if !tap.is_between_events());
        let event = last_event(ctx.dialect, exchange, error.clone());
        ctx.error = Some(error);
        if cut {
            // In the middle of what passes, nothing of ours can be understood: the connection breaks off, as the upstream's did.
            return gone;
        }
        ctx.answers(&event);
        if event.is_empty() { Ok(()) } else { session.write_response_body(Some(event), true).await }
    } else {
        refuse(session, ctx, Refusal { error, allow: None, close: !whole }).await
    };
    match written {
        Ok(()) => {
            ctx.keep_connection = whole;
            FailToProxy { error_code: status, can_reuse_downstream: whole }
        }
        Err(_) => gone,
    }
}

/// What is left to say on a stream whose head is out: pending bytes and the error event.
fn last_event(dialect: Dialect, exchange: &mut Exchange, error: ApiError) -> Bytes {
    match std::mem::replace(&mut exchange.stage, Stage::Done) {
        Stage::Stream { mut stream, mut pending } => {
            stream.fail(error, &mut pending);
            exchange.facts = stream.facts();
            pending.into()
        }
        Stage::Relay { tap, .. } => {
            exchange.facts = tap.facts();
            if exchange.stream { stream_error(dialect, &error, tap.events()).into() } else { Bytes::new() }
        }
        // The head went out ahead of the upstream's, with a keep-alive.
        Stage::Waiting | Stage::Refused { .. } if exchange.stream => stream_error(dialect, &error, 0).into(),
        _ => Bytes::new(),
    }
}

/// Whether the client, not the upstream, ended the exchange.
pub(super) fn client_left(cause: &Error) -> bool {
    cause.esource() == &ErrorSource::Downstream
        && matches!(
            cause.etype(),
            ErrorType::ConnectionClosed
                | ErrorType::ReadError
                | ErrorType::WriteError
                | ErrorType::WriteTimedout
                | ErrorType::H2Error
                | ErrorType::ConnectError
        )
}

/// Whether it was waiting that failed, on a connection that may be a good one.
pub(super) fn timed_out(cause: &Error) -> bool {
    matches!(cause.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}

/// Pingora's error in the caller's terms. Addresses and host names stay out of it.
pub(super) fn describe(cause: &Error) -> ApiError {
    use ErrorType as E;
    match (cause.esource(), cause.etype()) {
        (ErrorSource::Downstream, E::ReadTimedout) => ApiError::new(ErrorKind::RequestTimeout, "The request body took too long to arrive."),
        (ErrorSource::Downstream, _) => ApiError::new(ErrorKind::InvalidRequest, "The request could not be read."),
        (ErrorSource::Upstream, E::ConnectTimedout | E::TLSHandshakeTimedout) => {
            ApiError::new(ErrorKind::Timeout, "The model provider could not be reached in time.")
        }
        (ErrorSource::Upstream, E::ReadTimedout | E::WriteTimedout) => ApiError::new(ErrorKind::Timeout, "The model provider took too long to answer."),
        (ErrorSource::Upstream, E::ConnectRefused | E::ConnectNoRoute | E::ConnectError | E::SocketError | E::TLSHandshakeFailure | E::InvalidCert) => {
            ApiError::new(ErrorKind::BadUpstream, "The model provider could not be reached.")
        }
        (ErrorSource::Upstream, _) => ApiError::new(ErrorKind::BadUpstream, "The connection to the model provider broke before the answer was complete."),
        (ErrorSource::Internal | ErrorSource::Unset, _) => ApiError::new(ErrorKind::Internal, "The gateway failed on this request."),
    }
}

/// A reason of ours to give an exchange up, as Pingora carries it; the text travels in the context.
pub(super) fn give_up(ctx: &mut Ctx, error: ApiError) -> Box<Error> {
    let status = error.status;
    ctx.error = Some(error);
    Error::explain(ErrorType::HTTPStatus(status), "given up by the gateway")
}

/// What a client is told that comes when the house is full, or whose answer does not fit in.
pub(super) fn overloaded() -> ApiError {
    ApiError { retry_after: Some("1".to_owned()), ..ApiError::new(ErrorKind::Unavailable, "The gateway is overloaded: please try again later.") }
}

/// What a client is told whose answer outlasts the process.
pub(super) fn stopping() -> ApiError {
    ApiError { retry_after: Some("1".to_owned()), ..ApiError::new(ErrorKind::Unavailable, "The gateway is shutting down.") }
}

pub(super) fn no_exchange() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "an upstream phase without an exchange")
}

/// As much of a foreign text as an error message should repeat.
pub(super) fn clip(text: &str) -> &str {
    const MOST: usize = 128;
    let end = text.char_indices().nth(MOST).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_repeat_little_of_what_a_client_sent() {
        assert_eq!(clip(&"ä".repeat(200)).chars().count(), 128);
        assert_eq!(clip("short"), "short");
    }
}
