//! One request, several calls: `n` answers from a model that makes one at a time, and embeddings of texts that a model takes one by one.
//!
//! The calls go through Pingora's own pooled client beside the proxy's pump, some at a time. Their order is kept, and the first error ends them all.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{StatusCode, header};
use log::debug;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::client::HttpSession;
use pingora::{Error, Result};
use pingora_core::connectors::http::Connector;
use pingora_proxy::{FailToProxy, Session};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{OnDisconnect, Overload, Provider, Timeouts, Trigger};
use crate::ops::load::Held;
use crate::ops::upstreams::Upstream;
use crate::proxy::brand::{brand, stream_headers};
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::proxy::downstream::{self, Control};
use crate::proxy::error::{describe, overloaded, refuse, stopping, timed_out};
use crate::proxy::headers;
use crate::proxy::plan::{self, Answer, Call, Fan, Vectors};
use crate::proxy::response::{LARGEST_BODY, LARGEST_ERROR};
use crate::proxy::tries::Fault;
use crate::proxy::upstream::{POOL_IDLE, call_head, find_peer, to_pump};
use crate::proxy::{Shared, next};
use crate::translate::{Api, Facts, Translation};

/// How many calls of one request are under way at a time.
const AT_A_TIME: usize = 8;
/// How often a call is tried whose pooled connection turns out to be closed.
const TRIES: u32 = 3;
/// How many pieces of answers may wait for the client: what is behind them stays in the sockets.
pub(super) const WAITING: usize = 16;

/// Pingora's pooled client.
pub(super) struct Client(Connector);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    pub(super) fn new() -> Self {
        Client(Connector::new(None))
    }
}

/// What the calls of one request have in common.
pub(super) struct Work {
    pub(super) shared: Arc<Shared>,
    pub(super) call: Call,
    pub(super) provider: Arc<Provider>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) timeouts: Timeouts,
    pub(super) api: Api,
    pub(super) control: Control,
    pub(super) on_disconnect: OnDisconnect,
    pub(super) overload: Overload,
}

/// A whole answer.
pub(super) struct Whole {
    pub(super) body: Vec<u8>,
    /// Counts it.
    held: Held,
    /// `x-amzn-bedrock-input-token-count`
    input_tokens: Option<u64>,
}

/// Makes the calls and answers the client. True if that is done; false if another target is to be asked by the proxy's pump, and is planned.
///
/// # Errors
/// Only when the client is gone.
pub(super) async fn serve(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx, fan: Fan) -> Result<bool> {
    let answered = one_after_another(shared, session, ctx, fan).await?;
    if !answered {
        to_pump(shared, session, ctx);
    }
    Ok(answered)
}

/// Makes the calls where the pump was to have another try, which are several: `None` where it was not. The pump has been left: a target that it would have to
/// ask is none.
pub(super) async fn instead(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx) -> Option<FailToProxy> {
    let fan = ctx.exchange.as_mut().and_then(|exchange| exchange.fan.take())?;
    let written = match one_after_another(shared, session, ctx, fan).await {
        Ok(false) => {
            let error = ctx.exchange.as_ref().and_then(|exchange| exchange.tries.error());
            refuse(session, ctx, error.unwrap_or_else(|| ApiError::new(ErrorKind::Internal, "The gateway lost its way.")).into()).await
        }
        other => other.map(drop),
    };
    ctx.keep_connection = written.is_ok();
    let status = session.response_written().map_or(502, |head| head.status.as_u16());
    Some(FailToProxy { error_code: if written.is_ok() { status } else { 0 }, can_reuse_downstream: written.is_ok() })
}

/// Makes the calls of one target after the other, until the client is answered. False if the next one is the pump's to ask.
async fn one_after_another(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx, mut fan: Fan) -> Result<bool> {
    loop {
        let Some(fault) = calls(shared, session, ctx, fan).await? else { return Ok(true) };
        let error = fault.error.clone();
        let prepared = if next::again(ctx, fault) { next::prepare(shared, session, ctx).await? } else { Err(error) };
        if let Err(error) = prepared {
            return refuse(session, ctx, error.into()).await.map(|()| true);
        }
        match ctx.exchange.as_mut().and_then(|exchange| exchange.fan.take()) {
            Some(next) => fan = next,
            None => return Ok(false),
        }
    }
}

/// Makes the calls. Gives back what went wrong, if nothing has been written.
async fn calls(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx, fan: Fan) -> Result<Option<Fault>> {
    let on_disconnect = ctx.current.snapshot.models.routing.on_disconnect;
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(None) };
    exchange.attempts += 1;
    let work = Arc::new(Work {
        shared: Arc::clone(shared),
        call: exchange.call.clone(),
        provider: Arc::clone(&exchange.route.target.provider),
        upstream: Arc::clone(&exchange.upstream),
        timeouts: exchange.route.target.provider.timeouts.clone(),
        api: exchange.answer.api(),
        control: exchange.control.clone(),
        on_disconnect,
        overload: ctx.current.snapshot.process.overload.clone(),
    });
    let written = match (fan, &exchange.answer) {
        (Fan::Vectors(vectors), _) => {
            let bodies = vectors.calls.iter().map(|(body, _)| body.clone()).collect();
            let gathered = gather(work, session, bodies).await?;
            gathered.and_then(|answers| Ok(join_vectors(&vectors, &answers, &ctx.model)?))
        }
        (Fan::Choices(bodies), Answer::Translate(translation)) => {
            let translation = translation.clone();
            if exchange.stream {
                let fault = streamed(work, session, ctx, &translation, bodies).await?;
                pin(shared, ctx);
                return Ok(fault);
            }
            let gathered = gather(work, session, bodies).await?;
            gathered.and_then(|answers| {
                let bodies: Vec<Vec<u8>> = answers.into_iter().map(|answer| answer.body).collect();
                let mut out = Vec::new();
                let facts = translation.merged(&bodies, &mut out)?;
                Ok((out, facts))
            })
        }
        (Fan::Choices(_), _) => Err(ApiError::new(ErrorKind::Internal, "The gateway lost its way.").into()),
    };
    match written {
        Ok((body, facts)) => {
            whole(session, ctx, body, facts).await?;
            pin(shared, ctx);
            Ok(None)
        }
        Err(fault) => Ok(Some(fault)),
    }
}

/// Notes who has the prompt cached now.
fn pin(shared: &Shared, ctx: &mut Ctx) {
    if let Some(exchange) = ctx.exchange.as_mut().filter(|exchange| exchange.committed) {
        exchange.tries.pin(&shared.pins, &exchange.route.target);
    }
}

/// Writes the client's answer.
pub(super) async fn whole(session: &mut Session, ctx: &mut Ctx, body: Vec<u8>, facts: Facts) -> Result<()> {
    if let Some(exchange) = ctx.exchange.as_mut() {
        exchange.facts = facts;
        exchange.stage = Stage::Done;
        exchange.committed = true;
        exchange.tries.answered();
        if exchange.control.is_gone() {
            return Ok(());
        }
    }
    let mut head = ResponseHeader::build(200, Some(12))?;
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    brand(&mut head, ctx)?;
    ctx.answers(&body);
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(body.into()), true).await
}

/// The vectors of all answers, in the order of the texts.
fn join_vectors(vectors: &Vectors, answers: &[Whole], model: &str) -> std::result::Result<(Vec<u8>, Facts), ApiError> {
    let mut all = Vec::with_capacity(answers.len());
    let mut tokens = 0_u64;
    for (answer, (_, count)) in answers.iter().zip(&vectors.calls) {
        let read = plan::read_embeddings(vectors, &answer.body, *count)?;
        tokens = tokens.saturating_add(read.input_tokens.or(answer.input_tokens).unwrap_or(0));
        all.extend(read.vectors);
    }
    let mut out = Vec::new();
    plan::encode_embeddings(vectors, model, all, tokens, &mut out);
    let usage = crate::chat::Usage { input_tokens: tokens, ..crate::chat::Usage::default() };
    Ok((out, Facts { usage: Some(usage), ..Facts::default() }))
}

/// All answers, in the order of their bodies.
async fn gather(work: Arc<Work>, session: &mut Session, bodies: Vec<Bytes>) -> Result<std::result::Result<Vec<Whole>, Fault>> {
    let total = work.timeouts.total;
    let numbered = async |(at, body)| Ok((at, one(&work, body).await?));
    // In the order in which they end, so that an error is seen at once, whoever is still silent.
    let calls = futures::stream::iter(bodies.into_iter().enumerate()).map(numbered).buffer_unordered(AT_A_TIME).try_collect::<Vec<_>>();
    let bounded = async {
        let mut answers = match total {
            Some(total) => tokio::time::timeout(total, calls).await.unwrap_or_else(|_| Err(too_slow())),
            None => calls.await,
        }?;
        answers.sort_unstable_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    };
    let (shared, control, on_disconnect) = (Arc::clone(&work.shared), work.control.clone(), work.on_disconnect);
    tokio::select! {
        answers = bounded => Ok(answers),
        cause = downstream::gone(session, &control, on_disconnect) => Err(cause),
        () = shared.ended() => {
            control.end();
            Ok(Err(stopping().into()))
        }
    }
}

pub(super) fn too_slow() -> Fault {
    Fault { error: ApiError::new(ErrorKind::Timeout, "The model provider took too long to answer."), trigger: Trigger::Timeout }
}

/// One call with a whole answer.
pub(super) async fn one(work: &Work, body: Bytes) -> std::result::Result<Whole, Fault> {
    let mut whole = Whole { body: Vec::new(), held: work.shared.load.held(), input_tokens: None };
    let (head, mut answer) = open(work, body).await?;
    whole.input_tokens = headers::text(&head.headers, "x-amzn-bedrock-input-token-count").and_then(|count| count.parse().ok());
    while let Some(piece) = answer.next(work).await? {
        if whole.body.len() + piece.len() > LARGEST_BODY {
            return Err(ApiError::new(ErrorKind::BadUpstream, "The model provider's answer is too large.").into());
        }
        if whole.held.hold(piece.len(), &work.overload).is_err() {
            work.control.end();
            return Err(overloaded().into());
        }
        whole.body.extend_from_slice(&piece);
    }
    answer.release(work).await;
    Ok(whole)
}

/// An answer whose head is read.
pub(super) struct Open {
    session: HttpSession,
    peer: pingora::upstreams::peer::HttpPeer,
}

impl Open {
    /// The next piece of the body.
    pub(super) async fn next(&mut self, work: &Work) -> std::result::Result<Option<Bytes>, Fault> {
        self.session.set_read_timeout(Some(work.timeouts.idle));
        self.session.read_response_body().await.map_err(failed)
    }

    /// Gives the connection back to the pool.
    pub(super) async fn release(self, work: &Work) {
        work.shared.client.0.release_http_session(self.session, &self.peer, Some(POOL_IDLE)).await;
    }
}

/// An error of Pingora's client in the caller's terms.
fn failed(mut cause: Box<Error>) -> Fault {
    cause.as_up();
    debug!("a call of several failed: {cause}");
    let error = describe(&cause);
    if timed_out(&cause) { Fault { error, trigger: Trigger::Timeout } } else { error.into() }
}

fn unreachable(cause: Box<Error>) -> Fault {
    Fault { trigger: Trigger::Connect, ..failed(cause) }
}

/// Sends a call and reads the head of its answer; an error answer is read to its end.
pub(super) async fn open(work: &Work, body: Bytes) -> std::result::Result<(ResponseHeader, Open), Fault> {
    let peer = find_peer(&work.provider, &work.upstream, fastrand::usize(..)).await.map_err(|error| Fault { error, trigger: Trigger::Connect })?;
    let internal = |_| ApiError::new(ErrorKind::Internal, "The request could not be written.");
    let mut tries = 0;
    let (head, mut answer) = loop {
        tries += 1;
        // Signed anew on each try.
        let head = call_head(&work.call, &work.provider, &work.upstream, &body).map_err(internal)??;
        let (mut session, reused) = work.shared.client.0.get_http_session(&peer).await.map_err(unreachable)?;
        match send(&mut session, head, &body, &work.timeouts).await {
            Ok(()) => {
                let head = session.response_header().cloned().ok_or_else(|| ApiError::new(ErrorKind::BadUpstream, "The model provider did not answer."))?;
                break (head, Open { session, peer: peer.clone() });
            }
            // The far end closed it while it lay in the pool: it has not seen the request. One that is slow has, and may be working on it.
            Err(cause) if reused && tries < TRIES && !timed_out(&cause) => {}
            Err(cause) => return Err(failed(cause)),
        }
    };
    if head.status == StatusCode::OK {
        return Ok((head, answer));
    }
    let mut refusal = Vec::new();
    while let Some(piece) = answer.next(work).await? {
        let room = LARGEST_ERROR.saturating_sub(refusal.len());
        refusal.extend_from_slice(piece.get(..room).unwrap_or(&piece));
    }
    answer.release(work).await;
    let text = |name| headers::text(&head.headers, name);
    let error = work.api.error(head.status.as_u16(), text("x-amzn-errortype"), text("retry-after"), &refusal);
    Err(Fault::answered(head.status.as_u16(), error))
}

async fn send(session: &mut HttpSession, head: pingora::http::RequestHeader, body: &Bytes, timeouts: &Timeouts) -> Result<()> {
    session.set_write_timeout(Some(timeouts.idle));
    session.set_read_timeout(Some(timeouts.first_byte));
    session.write_request_header(Box::new(head)).await?;
    session.write_request_body(body.clone(), true).await?;
    session.finish_request_body().await?;
    loop {
        session.read_response_header().await?;
        if !session.response_header().is_some_and(|head| head.status.is_informational()) {
            return Ok(());
        }
    }
}

/// What comes of the calls, in whatever order it comes.
enum News {
    Piece(usize, Bytes),
    End(usize),
    Failed(Fault),
}

/// One call with a streamed answer; ends early when nobody listens any more.
async fn tell(work: Arc<Work>, choice: usize, body: Bytes, turns: Arc<Semaphore>, news: mpsc::Sender<News>) {
    let Ok(_turn) = turns.acquire().await else { return };
    let told = async {
        let (_, mut answer) = open(&work, body).await?;
        while let Some(piece) = answer.next(&work).await? {
            if news.send(News::Piece(choice, piece)).await.is_err() {
                return Ok(());
            }
        }
        answer.release(&work).await;
        // If the receiver is gone, so is the client.
        let _ = news.send(News::End(choice)).await;
        Ok(())
    };
    if let Err(fault) = told.await {
        let _ = news.send(News::Failed(fault)).await;
    }
}

/// Several streamed answers as one stream. The head waits for the first content, so that a failure before it has its status.
async fn streamed(work: Arc<Work>, session: &mut Session, ctx: &mut Ctx, translation: &Translation, bodies: Vec<Bytes>) -> Result<Option<Fault>> {
    let count = u32::try_from(bodies.len()).unwrap_or(u32::MAX);
    let (sender, mut news) = mpsc::channel(WAITING);
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let mut calls = JoinSet::new();
    for (choice, body) in bodies.into_iter().enumerate() {
        calls.spawn(tell(Arc::clone(&work), choice, body, Arc::clone(&turns), sender.clone()));
    }
    drop(sender);
    let mut choices = translation.choices(count);
    let mut out = Vec::new();
    let mut head_out = false;
    let keepalive = ctx.process().keepalive;
    // What comes of the calls is no sign of life for the client until something is written.
    let mut written = tokio::time::Instant::now();
    loop {
        let quiet = async {
            match keepalive {
                Some(period) => tokio::time::sleep_until(written + period).await,
                None => std::future::pending::<()>().await,
            }
        };
        let next = tokio::select! {
            next = news.recv() => next,
            cause = downstream::gone(session, &work.control, work.on_disconnect) => return Err(cause),
            () = work.shared.ended() => {
                work.control.end();
                Some(News::Failed(stopping().into()))
            }
            () = quiet => {
                out.extend_from_slice(crate::wire::sse::COMMENT);
                write(session, ctx, &mut out, &mut head_out, false).await?;
                written = tokio::time::Instant::now();
                continue;
            }
        };
        let last = match next {
            Some(News::Piece(choice, piece)) => {
                if let Some(exchange) = ctx.exchange.as_mut() {
                    exchange.answer_bytes = exchange.answer_bytes.saturating_add(piece.len() as u64);
                }
                choices.push(choice, &piece, &mut out);
                false
            }
            Some(News::End(choice)) => {
                choices.finish(choice, &mut out);
                false
            }
            Some(News::Failed(fault)) if !head_out && !choices.has_content() => return Ok(Some(fault)),
            Some(News::Failed(fault)) => {
                choices.fail(fault.error, &mut out);
                true
            }
            None => true,
        };
        note(ctx.exchange.as_mut(), &choices);
        if let Some(error) = choices.failure().cloned() {
            if !head_out && !choices.has_content() {
                return Ok(Some(error.into()));
            }
            ctx.error = Some(error);
            return write(session, ctx, &mut out, &mut head_out, true).await.map(|()| None);
        }
        if last || (choices.has_content() && !out.is_empty()) {
            write(session, ctx, &mut out, &mut head_out, last).await?;
            written = tokio::time::Instant::now();
        }
        if last {
            if let Some(exchange) = ctx.exchange.as_mut() {
                exchange.stage = Stage::Done;
            }
            return Ok(None);
        }
    }
}

/// Keeps what was learned for the account.
fn note(exchange: Option<&mut Exchange>, choices: &crate::translate::choices::Choices) {
    let Some(exchange) = exchange else { return };
    exchange.facts = choices.facts();
    if choices.has_content() && exchange.first_content.is_none() {
        exchange.first_content = Some(Instant::now());
        exchange.committed = true;
        exchange.tries.answered();
    }
}

/// Writes what there is, behind the head.
pub(super) async fn write(session: &mut Session, ctx: &mut Ctx, out: &mut Vec<u8>, head_out: &mut bool, end: bool) -> Result<()> {
    if ctx.exchange.as_ref().is_some_and(|exchange| exchange.control.is_gone()) {
        out.clear();
        return Ok(());
    }
    let mut tasks = Vec::with_capacity(2);
    if !std::mem::replace(head_out, true) {
        let mut head = ResponseHeader::build(200, Some(12))?;
        stream_headers(&mut head, ctx.dialect)?;
        if ctx.exchange.as_ref().is_some_and(|exchange| exchange.chunked) {
            head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        brand(&mut head, ctx)?;
        tasks.push(HttpTask::Header(Box::new(head), false));
    }
    ctx.answers(out);
    tasks.push(HttpTask::Body(Some(Bytes::from(std::mem::take(out))), end));
    match session.write_response_tasks(tasks).await {
        // The client may be found gone by a write before anyone sees it leave.
        Err(cause) if ctx.current.snapshot.models.routing.on_disconnect == OnDisconnect::Drain => {
            debug!("going on without the client: {cause}");
            if let Some(exchange) = ctx.exchange.as_ref() {
                exchange.control.leave_alone();
            }
            session.set_keepalive(None);
            Ok(())
        }
        written => written.map(drop),
    }
}
