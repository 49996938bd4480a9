//! One call of an approach: always translated, whatever the client and the target speak, since what is said in it is not what the client wrote.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::{Asked, Draft, Parts, edited, put, quoted, speaks, text};
use crate::chat::{ApiError, ErrorKind, Request};
use crate::ops::upstreams::Upstream;
use crate::policy::route::Route;
use crate::translate::Question;
use crate::translate::approach::{MEMBER, Step, Wish};
use crate::wire::json::Edit;

/// Tells that a request has come from a gateway once: who would send it on is part of a loop.
pub(in crate::proxy) const LOOP: &str = "x-adit-optillm";
/// What an approach sets, whatever the client has said of it.
const OWN: &str = "temperature";

/// Gives a call to a server that makes all calls of an approach: which one, and by what it is known when it calls back.
///
/// # Errors
/// 500 for a token that no header can hold.
pub(in crate::proxy) fn outward(draft: &mut Draft, approach: &str, token: &str, request_id: &str) -> Result<(), ApiError> {
    let unfit = |_| ApiError::new(ErrorKind::Internal, "The request could not be written.");
    draft.body = edited(&draft.body, &[Edit::Set(MEMBER, &quoted(approach))])?;
    let mut token = HeaderValue::from_str(&format!("Bearer {token}")).map_err(unfit)?;
    token.set_sensitive(true);
    draft.call.headers.push((AUTHORIZATION, token));
    draft.call.headers.push((HeaderName::from_static(LOOP), HeaderValue::from_str(request_id).map_err(unfit)?));
    Ok(())
}

/// Plans a call of an approach.
///
/// # Errors
/// 400 for what the client wrote wrong or the target cannot do.
pub(in crate::proxy) fn step(asked: &Asked<'_>, route: Route, upstream: Arc<Upstream>, step: &Step) -> Result<Draft, ApiError> {
    let mut asking = Question::decode(asked.surface, asked.model, text(asked.body)?)?;
    Wish::take(&mut asking.request)?;
    let ours = asking.request.temperature.is_none() && step.temperature.is_some();
    let request = step.request(&asking.request);
    let question =
        |temperature| Question { request: Request { temperature, ..request.clone() }, more: Vec::new(), stream: asked.stream, client: asking.client.clone() };
    let first = question(request.temperature);
    let own = first.client.own_name(OWN).unwrap_or(OWN);
    let speaks = speaks(&route.target);
    let put = match put(asked, &route, speaks, first) {
        // The client must not be told that it may not say what it has not said.
        Err(error) if ours && error.param.as_deref() == Some(own) => put(asked, &route, speaks, question(None)),
        put => put,
    };
    let Parts { call, body, stream, mut dropped, answer, fan } = put?;
    dropped.retain(|name| !(ours && name == own));
    Ok(Draft { route, upstream, call, body, stream, dropped, answer, fan })
}
