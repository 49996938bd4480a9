//! One call of an approach: planned, signed, tried and tried again like any request for its model.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Semaphore;

use crate::chat::{ApiError, ErrorKind, Part, Response, StopReason, Usage};
use crate::config::snapshot::{OnDisconnect, Overload, Provider, Trigger};
use crate::ops::live::Current;
use crate::policy::route::{Route, Way};
use crate::proxy::Shared;
use crate::proxy::downstream::Control;
use crate::proxy::fanout::{Open, Whole, Work, one, open, too_slow};
use crate::proxy::next::Planner;
use crate::proxy::plan::{self, Answer as Reading, Draft};
use crate::proxy::tries::{Fault, Saved, Tries};
use crate::translate::Translation;
use crate::translate::approach::{Reply, Shape, Step};
use crate::translate::stream::Progress;

/// What all calls of one request have in common.
pub(super) struct Calls {
    pub(super) shared: Arc<Shared>,
    pub(super) current: Arc<Current>,
    pub(super) headers: HeaderMap,
    pub(super) model: String,
    pub(super) request_id: String,
    pub(super) received: SystemTime,
    pub(super) way: Way,
    pub(super) saved: Saved,
    pub(super) control: Control,
    pub(super) on_disconnect: OnDisconnect,
    pub(super) overload: Overload,
    /// Where a server makes the calls.
    pub(super) outward: Option<Outward>,
    /// How many may be under way.
    pub(super) turns: Semaphore,
    /// What was learned of them. Locked for a few instructions, never over an await.
    pub(super) tally: Mutex<Tally>,
}

/// What a server is told that makes the calls.
pub(super) struct Outward {
    /// Which approach, as the client wrote it.
    pub(super) approach: String,
    /// What it shows when it calls back.
    pub(super) token: String,
}

/// What was learned of the calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Tokens of the answers that are there as a whole.
    pub(super) usage: Option<Usage>,
    /// Tokens that a server tells of, which are those of calls that are booked by themselves.
    pub(super) told: Option<Usage>,
    /// How many were begun.
    pub(super) calls: u32,
    /// How often an upstream was asked for them.
    pub(super) attempts: u32,
    /// What was tried in vain.
    pub(super) past: Vec<(Arc<Provider>, Trigger)>,
    /// Members that were dropped.
    pub(super) dropped: Vec<String>,
}

/// An answer and how to read it.
pub(super) struct Answer<B> {
    pub(super) body: B,
    pub(super) translation: Box<Translation>,
    pub(super) route: Route,
    pub(super) shape: Shape,
}

/// A streamed answer of which something is there.
pub(super) struct Flowing {
    pub(super) open: Open,
    pub(super) work: Work,
    /// Up to the first content.
    pub(super) pieces: Vec<Bytes>,
}

impl Answer<Whole> {
    fn read(&self) -> Result<Response<'_>, ApiError> {
        self.translation.read(&self.body.body).map(|(response, _)| response)
    }
}

/// What a model has said.
fn reply(response: &Response<'_>) -> Reply {
    let text = response.parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text.unescape()) } else { None }).collect();
    Reply { text, truncated: matches!(response.stop, StopReason::MaxTokens | StopReason::ContextWindowExceeded) }
}

impl Calls {
    /// What was learned.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // A poisoned lock would mean a panic between two field writes: the fields are still whole.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, and reads its answer to the end.
    pub(super) async fn ask(&self, step: Step) -> Result<(Answer<Whole>, Reply), Fault> {
        let _turn = self.turn().await?;
        match self.tried(step, false).await? {
            Got::Whole(answer, reply) => Ok((answer, reply)),
            Got::Flowing(_) => Err(lost().into()),
        }
    }

    /// Makes a call, and reads its streamed answer up to its first content: until then another target may give it.
    pub(super) async fn open(&self, step: Step) -> Result<Answer<Flowing>, Fault> {
        match self.tried(step, true).await? {
            Got::Flowing(answer) => Ok(*answer),
            Got::Whole(..) => Err(lost().into()),
        }
    }

    /// Waits until a call may be made.
    pub(super) async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Fault> {
        self.turns.acquire().await.map_err(|_| lost().into())
    }

    /// Tries one target after the other.
    async fn tried(&self, step: Step, stream: bool) -> Result<Got, Fault> {
        self.tally().calls += 1;
        let shape = step.shape;
        let saved = Saved { stream, step: Some(Arc::new(step)), ..self.saved.clone() };
        let mut tries = Tries::new(self.way.clone(), saved, None);
        let outcome = loop {
            let (work, draft, translation) = match self.planned(&mut tries).await {
                Ok(planned) => planned,
                Err(error) => break Err(error.into()),
            };
            let provider = Arc::clone(&work.provider);
            // Boxed: all calls of a branch are futures side by side.
            let attempted = match stream {
                true => Box::pin(flowing(work, draft, translation, shape)).await,
                false => Box::pin(self.whole(&work, draft, translation, shape)).await,
            };
            match attempted {
                Ok(got) => {
                    tries.answered();
                    break Ok(got);
                }
                Err(fault) => {
                    let (error, trigger) = (fault.error.clone(), fault.trigger);
                    // A server that failed has made calls, and would make them again.
                    let over = self.control.is_ending() || self.outward.is_some();
                    if !tries.fail(&self.current, &provider, fault, over) {
                        break Err(Fault { error, trigger });
                    }
                    tokio::time::sleep(tries.pause()).await;
                }
            }
        };
        self.tally().past.extend_from_slice(tries.past());
        outcome
    }

    async fn whole(&self, work: &Work, draft: Draft, translation: Box<Translation>, shape: Shape) -> Result<Got, Fault> {
        let answering = one(work, draft.body);
        let body = match work.timeouts.total {
            Some(total) => tokio::time::timeout(total, answering).await.unwrap_or_else(|_| Err(too_slow()))?,
            None => answering.await?,
        };
        let answer = Answer { body, translation, route: draft.route, shape };
        let response = answer.read()?;
        let reply = reply(&response);
        if let Some(usage) = response.usage {
            let mut tally = self.tally();
            match self.outward {
                Some(_) => tally.told = Some(usage),
                None => tally.usage = Some(tally.usage.map_or(usage, |sum| sum.plus(usage))),
            }
        }
        Ok(Got::Whole(answer, reply))
    }

    /// Plans and begins the next try.
    async fn planned(&self, tries: &mut Tries) -> Result<(Work, Draft, Box<Translation>), ApiError> {
        let mut planner = Planner {
            shared: &self.shared,
            current: &self.current,
            headers: &self.headers,
            query: None,
            model: &self.model,
            request_id: &self.request_id,
            answering: None,
            received: self.received,
            routed: None,
            overhead: Duration::ZERO,
        };
        let mut draft = planner.next(tries, false).await?;
        if let Some(Outward { approach, token }) = &self.outward {
            plan::outward(&mut draft, approach, token, &self.request_id)?;
        }
        let Reading::Translate(translation) = draft.answer.clone() else { return Err(lost()) };
        tries.begin(&self.current, &draft.route);
        let mut tally = self.tally();
        tally.attempts += 1;
        for name in &draft.dropped {
            if !tally.dropped.contains(name) {
                tally.dropped.push(name.clone());
            }
        }
        drop(tally);
        let provider = Arc::clone(&draft.route.target.provider);
        let work = Work {
            shared: Arc::clone(&self.shared),
            call: draft.call.clone(),
            timeouts: provider.timeouts.clone(),
            provider,
            upstream: Arc::clone(&draft.upstream),
            api: translation.api,
            control: self.control.clone(),
            on_disconnect: self.on_disconnect,
            overload: self.overload.clone(),
        };
        Ok((work, draft, translation))
    }
}

/// What a try has brought.
enum Got {
    Whole(Answer<Whole>, Reply),
    Flowing(Box<Answer<Flowing>>),
}

async fn flowing(work: Work, draft: Draft, translation: Box<Translation>, shape: Shape) -> Result<Got, Fault> {
    let (_, mut open) = open(&work, draft.body).await?;
    let pieces = beginning(&work, &mut open, &translation).await?;
    Ok(Got::Flowing(Box::new(Answer { body: Flowing { open, work, pieces }, translation, route: draft.route, shape })))
}

/// What comes of a streamed answer up to its first content.
async fn beginning(work: &Work, open: &mut Open, translation: &Translation) -> Result<Vec<Bytes>, Fault> {
    let mut probe = translation.stream();
    let (mut pieces, mut unread) = (Vec::new(), Vec::new());
    loop {
        let piece = open.next(work).await?;
        match &piece {
            Some(piece) => probe.push(piece, &mut unread),
            None => probe.finish(&mut unread),
        }
        let ended = piece.is_none();
        pieces.extend(piece);
        if probe.has_content() {
            return Ok(pieces);
        }
        if let Progress::Failed(error) = probe.progress() {
            return Err(error.clone().into());
        }
        if ended {
            return Ok(pieces);
        }
    }
}

fn lost() -> ApiError {
    ApiError::new(ErrorKind::Internal, "The gateway lost its way.")
}
