//! The next try: whether a failure leads to one, whose turn it is, and its plan in the place of the one before.
//!
//! Only while nothing of an answer has reached the client, and only after failures that the operator has named. Each try is planned anew from the client's own
//! bytes, for its own target, and signed anew.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use log::debug;
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::Provider;
use crate::ops::live::Current;
use crate::ops::upstreams::Upstream;
use crate::policy::route::Route;
use crate::proxy::ctx::{Ctx, Stage};
use crate::proxy::error::{give_up, no_exchange, stopping};
use crate::proxy::kept::Answering;
use crate::proxy::plan::{self, Asked, Draft};
use crate::proxy::tries::{Fault, Tries};
use crate::proxy::{Shared, downstream, remote};
use crate::translate::Facts;

/// Notes a failure, and says whether another try follows. Then the attempt has to end in a way that leads to [`go_on`].
pub(super) fn again(ctx: &mut Ctx, fault: Fault) -> bool {
    let Some(exchange) = ctx.exchange.as_mut() else { return false };
    // The gateway's own end of it: no target is to blame, and none could help.
    if exchange.control.is_ending() {
        return false;
    }
    let provider = Arc::clone(&exchange.route.target.provider);
    let overdue = provider.timeouts.total.filter(|_| !exchange.stream).is_some_and(|total| exchange.started.elapsed() >= total);
    let over = exchange.committed || exchange.control.is_gone() || overdue;
    let shown = fault.error.message.clone();
    let again = exchange.tries.fail(&ctx.current, &provider, fault, over);
    if again {
        debug!("{}: {} failed ({shown}), trying again", ctx.request_id, provider.name);
    }
    again
}

/// Plans the next try that can be planned, and begins it. `several` says whether it may be several calls.
///
/// # Errors
/// What the client is told when there is none: the last failure, else why the first target cannot be asked.
pub(super) async fn turn(shared: &Shared, tries: &mut Tries, head: &RequestHeader, ctx: &mut Ctx, several: bool) -> Result<Draft, ApiError> {
    let draft = planned(shared, tries, head, ctx, several).await?;
    tries.begin(&ctx.current, &draft.route);
    Ok(draft)
}

/// The same for a try that others begin.
///
/// # Errors
/// As [`turn`].
pub(super) async fn planned(shared: &Shared, tries: &mut Tries, head: &RequestHeader, ctx: &mut Ctx, several: bool) -> Result<Draft, ApiError> {
    let current = Arc::clone(&ctx.current);
    let mut planner = Planner {
        shared,
        current: &current,
        headers: &head.headers,
        query: head.uri.query(),
        model: &ctx.model,
        request_id: &ctx.request_id,
        answering: ctx.answering.as_deref(),
        received: ctx.received,
        routed: None,
        overhead: Duration::ZERO,
    };
    let planned = planner.next(tries, several).await;
    let Planner { routed, overhead, .. } = planner;
    ctx.routed = routed.or_else(|| ctx.routed.take());
    ctx.overhead += overhead;
    planned
}

/// What plans the tries of one request.
pub(super) struct Planner<'p> {
    pub(super) shared: &'p Shared,
    pub(super) current: &'p Arc<Current>,
    pub(super) headers: &'p HeaderMap,
    /// Behind the path.
    pub(super) query: Option<&'p str>,
    /// As the client named it.
    pub(super) model: &'p str,
    pub(super) request_id: &'p str,
    /// For Responses.
    pub(super) answering: Option<&'p Answering>,
    /// When the request came.
    pub(super) received: SystemTime,
    /// Where it was planned to go last.
    pub(super) routed: Option<Route>,
    /// The gateway's own time for it.
    pub(super) overhead: Duration,
}

impl Planner<'_> {
    /// Plans the next try that can be planned. `several` says whether it may be several calls.
    ///
    /// # Errors
    /// What the client is told when there is none: the last failure, else why the first target cannot be asked.
    pub(super) async fn next(&mut self, tries: &mut Tries, several: bool) -> Result<Draft, ApiError> {
        let mut first = tries.error();
        while let Some(route) = tries.pop(self.current, Instant::now()) {
            self.routed = Some(route.clone());
            let body = match remote::body_for(self.shared, tries, &route.target, &self.current.snapshot.process, self.model).await {
                Ok(body) => body,
                Err(error) => {
                    first.get_or_insert(error);
                    continue;
                }
            };
            let begun = Instant::now();
            let drafted = self.draft(tries, &body, &route);
            self.overhead += begun.elapsed();
            match drafted {
                Ok(draft) if several || draft.fan.is_none() => match draft.upstream.ready().await {
                    Ok(()) => return Ok(draft),
                    Err(error) => _ = first.get_or_insert(error),
                },
                Ok(_) => {}
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        Err(first.unwrap_or_else(|| ApiError::new(ErrorKind::Internal, "The gateway lost its way.")))
    }

    fn draft(&self, tries: &Tries, body: &Bytes, route: &Route) -> Result<Draft, ApiError> {
        let saved = tries.saved().ok_or_else(|| ApiError::new(ErrorKind::Internal, "The gateway lost its way."))?;
        let upstream = upstream(self.current, &route.target.provider)?;
        let asked = Asked {
            surface: saved.surface,
            model: self.model,
            query: self.query,
            stream: saved.stream,
            repeated: saved.repeated,
            headers: self.headers,
            body,
            request_id: self.request_id,
            answering: self.answering,
            now: self.received.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        };
        match &saved.step {
            Some(step) => plan::step(&asked, route.clone(), upstream, step),
            None => plan::plan(&asked, route.clone(), upstream),
        }
    }
}

/// A provider's live side.
///
/// # Errors
/// 503 if it has none.
pub(super) fn upstream(current: &Current, provider: &Provider) -> Result<Arc<Upstream>, ApiError> {
    let server = current.snapshot.process.optillm.as_ref().and_then(|rules| rules.server.as_deref());
    let upstream = match server {
        // Whatever one of the model map's is called.
        Some(server) if std::ptr::eq(server, provider) => current.upstreams.server(),
        _ => current.upstreams.of(&provider.name),
    };
    let upstream = upstream.map(Arc::clone);
    upstream.ok_or_else(|| ApiError::new(ErrorKind::NotConfigured, format!("The provider '{}' is not configured.", provider.name)))
}

/// Ends an attempt in favour of another one.
pub(super) const ANOTHER: ErrorType = ErrorType::Custom("Another");

/// What ends an attempt whose failure leads to another one.
pub(super) fn another() -> Box<Error> {
    let mut error = Error::explain(ANOTHER, "another try follows");
    error.set_retry(true);
    error
}

/// The next try is several calls, which the pump can't make.
fn several() -> Box<Error> {
    Error::explain(ErrorType::Custom("Several"), "the next try is several calls")
}

/// Waits until the next try is due; an error of the gateway's own if it stops meanwhile.
///
/// # Errors
/// The client has left.
async fn pause(shared: &Shared, session: &mut Session, ctx: &mut Ctx) -> Result<std::result::Result<(), ApiError>> {
    let Some(exchange) = &mut ctx.exchange else { return Err(no_exchange()) };
    let pause = exchange.tries.pause();
    if pause.is_zero() {
        return Ok(Ok(()));
    }
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(Ok(())),
        cause = downstream::gone(session, &exchange.control, ctx.current.snapshot.models.routing.on_disconnect) => Err(cause),
        () = shared.ended() => Ok(Err(stopping())),
    }
}

/// Waits until the next try is due and plans it; what the client is told where there is none.
///
/// # Errors
/// The client has left.
pub(super) async fn prepare(shared: &Shared, session: &mut Session, ctx: &mut Ctx) -> Result<std::result::Result<(), ApiError>> {
    match pause(shared, session, ctx).await? {
        Ok(()) => Ok(adopt(shared, session, ctx).await),
        stopping => Ok(stopping),
    }
}

/// Prepares the pump's next try.
///
/// # Errors
/// The client has left, nothing can be tried any more, or the try is several calls: [`Exchange::fan`](super::ctx::Exchange::fan) is set.
pub(super) async fn go_on(shared: &Shared, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    // The error of the try before is not this one's.
    ctx.error = None;
    if ctx.exchange.as_ref().is_some_and(|exchange| exchange.fan.is_some()) {
        return Err(several());
    }
    prepare(shared, session, ctx).await?.map_err(|error| give_up(ctx, error))?;
    if ctx.exchange.as_ref().is_some_and(|exchange| exchange.fan.is_some()) { Err(several()) } else { Ok(()) }
}

/// Plans the next try and puts it in the place of the one before.
///
/// # Errors
/// What the client is told when there is none.
async fn adopt(shared: &Shared, session: &Session, ctx: &mut Ctx) -> std::result::Result<(), ApiError> {
    let Some(exchange) = &mut ctx.exchange else { return Err(ApiError::new(ErrorKind::Internal, "The gateway lost its way.")) };
    let mut tries = std::mem::take(&mut exchange.tries);
    // Several calls write a head of their own.
    let several = !exchange.control.head_out();
    let planned = turn(shared, &mut tries, session.req_header(), ctx, several).await;
    let Some(exchange) = &mut ctx.exchange else { return Ok(()) };
    exchange.tries = tries;
    let Draft { route, upstream, call, body, stream, dropped, answer, fan } = planned?;
    let held = body.len() + exchange.tries.saved_bytes() + ctx.answering.as_ref().map_or(0, |answering| answering.held_bytes());
    exchange.route = route;
    exchange.upstream = upstream;
    exchange.call = call;
    exchange.body = body;
    exchange.stream = stream;
    exchange.dropped = dropped;
    exchange.answer = answer;
    exchange.fan = fan;
    exchange.stage = Stage::Waiting;
    exchange.facts = Facts::default();
    exchange.first_content = None;
    exchange.answer_bytes = 0;
    exchange.upstream_request_id = None;
    exchange.timed_out = false;
    exchange.readdressed = false;
    if let Some(place) = &mut ctx.place {
        place.keep(held);
    }
    Ok(())
}
