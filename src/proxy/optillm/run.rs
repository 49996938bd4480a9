//! Makes the calls of an approach and answers the client: each branch in a task of its own, so many calls at a time as the operator allows. A client that leaves
//! ends them all.

use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use pingora::Result;
use pingora_proxy::Session;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::Run;
use super::call::{Answer, Calls, Flowing, Outward, Tally};
use super::parent::Listed;
use crate::chat::{ApiError, Envelope, ErrorKind, Usage};
use crate::policy::auth::inner::{self, Claims};
use crate::policy::route::Route;
use crate::proxy::Shared;
use crate::proxy::ctx::{Ctx, Stage};
use crate::proxy::error::{refuse, stopping};
use crate::proxy::fanout::{WAITING, Whole, whole, write};
use crate::proxy::tries::Fault;
use crate::proxy::{auth, downstream};
use crate::translate::approach::{Course, Final, Next, Reply, Shape, Step, Writer, choices, encode};
use crate::translate::{Client, Facts, Translation, keep_alive};

/// What comes of the branches, in whatever order it comes.
enum News {
    /// A branch's answer is there as a whole.
    Whole(usize, Box<Answer<Whole>>),
    /// A branch's last call answers.
    Open(usize, Box<Translation>, Shape, Route),
    /// More of it.
    Piece(usize, Bytes),
    /// It has ended.
    End(usize),
    Failed(Fault),
}

/// Makes the calls and answers the client.
///
/// # Errors
/// Only when the client is gone.
pub(in crate::proxy) async fn serve(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx, run: Run) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Ok(()) };
    let stream = run.stream;
    exchange.stream = stream;
    if stream && !exchange.chunked {
        // Only the end of the connection ends an answer of unknown length: say so.
        session.set_keepalive(None);
    }
    let control = exchange.control.clone();
    let current = Arc::clone(&ctx.current);
    let rules = current.snapshot.process.optillm.as_ref();
    let id = shared.parents.new_id();
    // Dropped with this function: then calls for it are nobody's any more.
    let listed = run.is_outward.then(|| shared.parents.list(id, ctx.principal.clone()));
    let outward = listed.as_ref().and_then(|_| outward(shared, &run, id, ctx));
    if run.is_outward && outward.is_none() {
        return refuse(session, ctx, ApiError::new(ErrorKind::Internal, "The request could not be written.").into()).await;
    }
    let Run { courses, client, way, saved, .. } = run;
    let calls = Arc::new(Calls {
        shared: Arc::clone(shared),
        headers: session.req_header().headers.clone(),
        model: ctx.model.clone(),
        request_id: ctx.request_id.clone(),
        received: ctx.received,
        way,
        saved,
        control,
        on_disconnect: current.snapshot.models.routing.on_disconnect,
        overload: current.snapshot.process.overload.clone(),
        outward,
        turns: Semaphore::new(rules.map_or(1, |rules| rules.concurrency)),
        tally: Mutex::default(),
        current: Arc::clone(&current),
    });
    let branches = courses.len().max(1);
    let (sender, news) = mpsc::channel(WAITING);
    // Dropped with this function, and all calls with it.
    let mut tasks = JoinSet::new();
    if calls.outward.is_some() {
        tasks.spawn(delegated(Arc::clone(&calls), sender.clone()));
    }
    for (number, course) in courses.into_iter().enumerate() {
        tasks.spawn(branch(Arc::clone(&calls), number, course, stream, sender.clone()));
    }
    drop(sender);
    let id = ctx.answering.as_ref().map_or(&calls.request_id, |answering| &answering.id).clone();
    let envelope = Envelope { id, model: ctx.model.clone(), created: seconds(&calls) };
    let mut answering = Answering { calls: &calls, listed: listed.as_ref(), client: &client, envelope: &envelope, branches, news };
    let answered = if stream { answering.streamed(session, ctx).await } else { answering.whole(session, ctx).await };
    answering.note(Usage::default(), ctx);
    let past = std::mem::take(&mut calls.tally().past);
    if let Some(exchange) = ctx.exchange.as_mut() {
        exchange.tries.learn(past);
    }
    match answered? {
        Some(fault) => refuse(session, ctx, fault.error.into()).await,
        None => Ok(()),
    }
}

/// What a server is told that makes the calls.
fn outward(shared: &Shared, run: &Run, id: [u8; 16], ctx: &Ctx) -> Option<Outward> {
    let user = ctx.principal.as_ref().map(|principal| principal.name.to_string()).unwrap_or_default();
    let claims = Claims { id, user, request: ctx.request_id.clone() };
    let timeouts = &run.way.targets.first()?.provider.timeouts;
    let ends = SystemTime::now() + timeouts.total.unwrap_or(timeouts.first_byte);
    let token = inner::new(auth::session_secret(shared, ctx), &claims, ends)?;
    Some(Outward { approach: run.approach.clone(), token })
}

/// The one call of a server that makes all others.
async fn delegated(calls: Arc<Calls>, news: mpsc::Sender<News>) {
    let step = calls.saved.step.as_deref().cloned();
    let told = match step {
        Some(step) => calls.ask(step).await,
        None => Err(ApiError::new(ErrorKind::Internal, "The gateway lost its way.").into()),
    };
    // If the receiver is gone, so is the client.
    let _ = news.send(told.map_or_else(News::Failed, |(answer, _)| News::Whole(0, Box::new(answer)))).await;
}

fn seconds(calls: &Calls) -> u64 {
    calls.received.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// One branch to its answer.
async fn branch(calls: Arc<Calls>, number: usize, mut course: Course, stream: bool, news: mpsc::Sender<News>) {
    if let Err(fault) = answer(&calls, number, &mut course, stream, &news).await {
        // If the receiver is gone, so is the client.
        let _ = news.send(News::Failed(fault)).await;
    }
}

async fn answer(calls: &Calls, number: usize, course: &mut Course, stream: bool, news: &mpsc::Sender<News>) -> std::result::Result<(), Fault> {
    let mut kept: Vec<Option<Answer<Whole>>> = Vec::new();
    let mut next = course.begin();
    loop {
        next = match next {
            Next::Ask(steps) => {
                let mut replies = Vec::with_capacity(steps.len());
                for (answer, reply) in all(calls, steps).await? {
                    kept.push(answer);
                    replies.push(reply);
                }
                course.go_on(replies)?
            }
            Next::Pick(at) => {
                let picked = kept.get_mut(at).and_then(Option::take).ok_or_else(|| ApiError::new(ErrorKind::Internal, "The gateway lost its way."))?;
                let _ = news.send(News::Whole(number, Box::new(picked))).await;
                return Ok(());
            }
            Next::Last(step) if stream => return flow(calls, number, *step, news).await,
            Next::Last(step) => {
                let (answer, _) = calls.ask(*step).await?;
                let _ = news.send(News::Whole(number, Box::new(answer))).await;
                return Ok(());
            }
        };
    }
}

/// The replies to all of some calls, in their order. One that fails is worth as much as one that says nothing, as long as another one does not.
async fn all(calls: &Calls, steps: Vec<Step>) -> std::result::Result<Vec<(Option<Answer<Whole>>, Reply)>, Fault> {
    let count = steps.len();
    let asked: Vec<_> = steps.into_iter().map(|step| calls.ask(step)).collect();
    let outcomes: Vec<_> = stream::iter(asked).buffered(count.max(1)).collect().await;
    let mut fault = None;
    let mut replies = Vec::with_capacity(count);
    for outcome in outcomes {
        match outcome {
            Ok((answer, reply)) => replies.push((Some(answer), reply)),
            Err(failed) => {
                fault.get_or_insert(failed);
                replies.push((None, Reply { text: String::new(), truncated: false }));
            }
        }
    }
    match fault {
        Some(fault) if replies.iter().all(|(answer, _)| answer.is_none()) => Err(fault),
        _ => Ok(replies),
    }
}

/// The last call of a branch, piece by piece.
async fn flow(calls: &Calls, number: usize, step: Step, news: &mpsc::Sender<News>) -> std::result::Result<(), Fault> {
    let _turn = calls.turn().await?;
    let Answer { body: Flowing { mut open, work, pieces }, translation, route, shape } = calls.open(step).await?;
    let _ = news.send(News::Open(number, translation, shape, route)).await;
    for piece in pieces {
        let _ = news.send(News::Piece(number, piece)).await;
    }
    while let Some(piece) = open.next(&work).await? {
        if news.send(News::Piece(number, piece)).await.is_err() {
            return Ok(());
        }
    }
    open.release(&work).await;
    let _ = news.send(News::End(number)).await;
    Ok(())
}

/// The client's side of a run.
struct Answering<'a> {
    calls: &'a Calls,
    /// Where a server makes the calls.
    listed: Option<&'a Listed<'a>>,
    client: &'a Client,
    envelope: &'a Envelope,
    branches: usize,
    news: mpsc::Receiver<News>,
}

impl Answering<'_> {
    /// Tokens of the calls whose answers are there as a whole; where a server makes them, of those that came back to this process, else what it says itself.
    fn usage(&self) -> Usage {
        let tally = self.calls.tally();
        match self.listed {
            Some(listed) => listed.booked().usage.or(tally.told),
            None => tally.usage,
        }
        .unwrap_or_default()
    }

    /// The answers that a branch's answer holds: a server gives all of its at once.
    fn bodies(&self, answer: &Answer<Whole>) -> Vec<Vec<u8>> {
        let mut bodies = choices(&answer.body.body);
        if !matches!(self.client, Client::OpenAi(_)) {
            bodies.truncate(1);
        }
        bodies
    }

    /// The next news; `None` once all branches have told theirs. The gateway's own end comes as a failure.
    ///
    /// # Errors
    /// The client has left.
    async fn next(&mut self, session: &mut Session) -> Result<Option<News>> {
        let calls = self.calls;
        let told = async {
            let next = self.news.recv().await;
            if let (Some(News::Whole(..)), Some(listed)) = (&next, self.listed) {
                listed.settled().await;
            }
            next
        };
        tokio::select! {
            next = told => Ok(next),
            cause = downstream::gone(session, &calls.control, calls.on_disconnect) => Err(cause),
            () = calls.shared.ended() => {
                calls.control.end();
                Ok(Some(News::Failed(stopping().into())))
            }
        }
    }

    /// Writes all answers of a server.
    fn all_of(&self, answer: &Answer<Whole>, out: &mut Vec<u8>) -> Writer {
        let bodies = self.bodies(answer);
        let mut writer = Writer::new(self.client, self.envelope, bodies.len());
        for (number, body) in bodies.iter().enumerate() {
            if let Err(error) = writer.whole(number, &part(answer, body), out) {
                writer.fail(error, out);
            }
        }
        writer
    }

    /// Keeps what was learned for the account. `streamed` are the tokens of the answers that are streamed.
    fn note(&self, streamed: Usage, ctx: &mut Ctx) {
        let Some(exchange) = ctx.exchange.as_mut() else { return };
        let Tally { usage, calls, attempts, dropped, .. } = &*self.calls.tally();
        let usage = usage.map_or(streamed, |usage| usage.plus(streamed));
        if usage != Usage::default() && exchange.facts.usage.is_none_or(|known| known.total_tokens() < usage.total_tokens()) {
            exchange.facts.usage = Some(usage);
        }
        exchange.attempts = *attempts;
        exchange.dropped.clone_from(dropped);
        if let Some(made) = &mut exchange.approach {
            made.calls = self.listed.map_or(*calls, |listed| listed.booked().begun);
        }
    }

    /// All answers as one body. Gives back what went wrong, if nothing has been written.
    async fn whole(&mut self, session: &mut Session, ctx: &mut Ctx) -> Result<Option<Fault>> {
        let mut answers: Vec<Option<Box<Answer<Whole>>>> = (0..self.branches).map(|_| None).collect();
        while let Some(news) = self.next(session).await? {
            match news {
                News::Whole(number, answer) => {
                    if let Some(place) = answers.get_mut(number) {
                        *place = Some(answer);
                    }
                }
                News::Failed(fault) => return Ok(Some(fault)),
                News::Open(..) | News::Piece(..) | News::End(_) => {}
            }
        }
        if answers.iter().any(Option::is_none) {
            return Ok(Some(ApiError::new(ErrorKind::Internal, "The gateway lost its way.").into()));
        }
        let delegated = answers.iter().flatten().take(usize::from(self.listed.is_some()));
        let parts: Vec<_> = delegated.flat_map(|answer| self.bodies(answer).into_iter().map(move |body| (answer, body))).collect();
        let finals: Vec<Final<'_>> = match self.listed {
            Some(_) => parts.iter().map(|(answer, body)| part(answer, body)).collect(),
            None => answers.iter().flatten().map(|answer| of(answer)).collect(),
        };
        let usage = self.usage();
        let mut out = Vec::new();
        let facts = match encode(self.client, self.envelope, &finals, usage, &mut out) {
            Ok(facts) => facts,
            Err(error) => return Ok(Some(error.into())),
        };
        // What others have booked is not booked again.
        let facts = Facts { usage: facts.usage.filter(|_| self.listed.is_none()), ..facts };
        served(ctx, answers.iter().flatten().map(|answer| &answer.route).next());
        self.note(Usage::default(), ctx);
        whole(session, ctx, out, facts).await.map(|()| None)
    }

    /// All answers as one stream. The head waits for the first content, so that a failure before it has its status, or for the first sign of life.
    async fn streamed(&mut self, session: &mut Session, ctx: &mut Ctx) -> Result<Option<Fault>> {
        let mut writer = Writer::new(self.client, self.envelope, self.branches);
        let (mut out, mut head_out) = (Vec::new(), false);
        let keepalive = ctx.process().keepalive.zip(keep_alive(ctx.dialect));
        let mut written = tokio::time::Instant::now();
        loop {
            let quiet = async {
                match keepalive {
                    Some((period, _)) => tokio::time::sleep_until(written + period).await,
                    None => std::future::pending::<()>().await,
                }
            };
            let next = tokio::select! {
                next = self.next(session) => Some(next?),
                () = quiet => None,
            };
            let ended = matches!(next, Some(None | Some(News::Failed(_))));
            match next {
                None => out.extend_from_slice(keepalive.map_or(&[][..], |(_, sign)| sign)),
                Some(None) => {
                    let others = self.usage();
                    if writer.is_complete() {
                        writer.end(others, &mut out);
                    } else {
                        writer.fail(ApiError::new(ErrorKind::Internal, "The gateway lost its way."), &mut out);
                    }
                }
                Some(Some(News::Failed(fault))) if !head_out && !writer.has_content() => return Ok(Some(fault)),
                Some(Some(News::Whole(_, answer))) if self.listed.is_some() => {
                    served(ctx, Some(&answer.route));
                    writer = self.all_of(&answer, &mut out);
                }
                Some(Some(news)) => heard(&mut writer, news, ctx, &mut out),
            }
            self.note(writer.facts().usage.unwrap_or_default(), ctx);
            note_content(&writer, ctx);
            if let Some(error) = writer.failure().cloned() {
                if !head_out && !writer.has_content() {
                    return Ok(Some(error.into()));
                }
                ctx.error = Some(error);
                return write(session, ctx, &mut out, &mut head_out, true).await.map(|()| None);
            }
            if ended || !out.is_empty() {
                write(session, ctx, &mut out, &mut head_out, ended).await?;
                written = tokio::time::Instant::now();
            }
            if ended {
                if let Some(exchange) = ctx.exchange.as_mut() {
                    exchange.stage = Stage::Done;
                }
                return Ok(None);
            }
        }
    }
}

fn of(answer: &Answer<Whole>) -> Final<'_> {
    part(answer, &answer.body.body)
}

fn part<'a>(answer: &'a Answer<Whole>, body: &'a [u8]) -> Final<'a> {
    Final { translation: &answer.translation, body, shape: answer.shape }
}

/// Writes what a branch has told.
fn heard(writer: &mut Writer, news: News, ctx: &mut Ctx, out: &mut Vec<u8>) {
    match news {
        News::Whole(number, answer) => {
            served(ctx, Some(&answer.route));
            if let Err(error) = writer.whole(number, &of(&answer), out) {
                writer.fail(error, out);
            }
        }
        News::Open(number, translation, shape, route) => {
            served(ctx, Some(&route));
            writer.open(number, &translation, shape);
        }
        News::Piece(number, piece) => writer.push(number, &piece, out),
        News::End(number) => writer.finish(number, out),
        News::Failed(fault) => writer.fail(fault.error, out),
    }
}

/// Notes who gave the answer.
fn served(ctx: &mut Ctx, route: Option<&Route>) {
    if let Some((exchange, route)) = ctx.exchange.as_mut().zip(route)
        && !exchange.committed
    {
        exchange.route = route.clone();
    }
}

fn note_content(writer: &Writer, ctx: &mut Ctx) {
    let Some(exchange) = ctx.exchange.as_mut() else { return };
    let facts = writer.facts();
    exchange.facts.stop = facts.stop;
    exchange.facts.unknown_events = facts.unknown_events;
    if writer.has_content() && exchange.first_content.is_none() {
        exchange.first_content = Some(Instant::now());
        exchange.committed = true;
    }
}
