//! The tries of one request: the targets that are left, those that failed, and what is learned about them on the way. [`next`](super::next) decides with it.
//!
//! ```text
//! way ─▶ turn ─▶ attempt ──answered──▶ the client's
//!          ▲        └──failed──▶ again? ──no──▶ the client's error
//!          └─────yes: the next target at once; all of them again after a pause
//! ```

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::chat::{ApiError, CachedPrefix};
use crate::config::snapshot::{Fallback, Provider, Target, Trigger};
use crate::dialect::Surface;
use crate::ops::live::Current;
use crate::policy::affinity::{Pins, TargetKey};
use crate::policy::health::{Health, Role, Verdict};
use crate::policy::retry;
use crate::policy::route::{Route, Way};
use crate::proxy::files::Files;
use crate::translate::approach::Step;

/// What a client asked, for as long as it may have to be planned again.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) surface: Surface,
    /// Whether a stream is asked for, where the body says so.
    pub(super) stream: bool,
    /// The body says some things more than once.
    pub(super) repeated: bool,
    pub(super) body: Bytes,
    /// What it names by URL.
    pub(super) files: Files,
    /// The call of an approach that it is planned for; `None` for the client's own.
    pub(super) step: Option<Arc<Step>>,
}

/// What of a prompt may be in a target's cache.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    /// The model's name in the map.
    pub(super) model: String,
    /// Shortest first.
    pub(super) prefixes: Vec<CachedPrefix>,
}

/// A failure, and what it may set off.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: ApiError,
    pub(super) trigger: Trigger,
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Fault { trigger: Trigger::Status(error.status), error }
    }
}

impl Fault {
    /// An upstream's answer that is an error: its own status tells more than the one that the client gets, unless it blames the request for what is not its fault.
    pub(super) fn answered(status: u16, error: ApiError) -> Self {
        let telling = status == 429 || status >= 500;
        Fault { trigger: Trigger::Status(if telling { status } else { error.status }), error }
    }
}

/// Whether a rule names a failure: exactly, or as what it means. 529 is how Anthropic says 503; other 5xx come from what stands in front of a provider.
fn is_named(on: &[Trigger], trigger: Trigger) -> bool {
    let meant = match trigger {
        Trigger::Status(529) => Trigger::Status(503),
        Trigger::Status(501 | 505..) => Trigger::Status(502),
        exact => exact,
    };
    on.contains(&trigger) || on.contains(&meant)
}

/// Whether the target is to blame.
fn is_fault(trigger: Trigger) -> bool {
    match trigger {
        Trigger::Connect | Trigger::Timeout => true,
        Trigger::Status(status) => status == 429 || status >= 500,
    }
}

/// The tries of one request.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// All targets; `None` for a provider's own API, which nobody else has.
    way: Option<Way>,
    /// Those that are not asked yet, best first.
    left: VecDeque<Route>,
    /// What to plan from.
    saved: Option<Saved>,
    /// What the target that answers has in its cache from then on.
    cached: Option<Cached>,
    /// How often all of them were asked again.
    round: u32,
    /// The next turn comes after such a pause.
    due: Option<Duration>,
    /// The one that runs.
    attempt: Option<Attempt>,
    /// The failures so far.
    past: Vec<(Arc<Provider>, Trigger)>,
    /// The last of them.
    error: Option<ApiError>,
}

/// One try of a target whose state is kept.
#[derive(Debug)]
struct Attempt {
    current: Arc<Current>,
    health: Arc<Health>,
    role: Role,
    answered: bool,
}

impl Attempt {
    fn end(&mut self, verdict: Verdict) {
        if let Some(rules) = &self.current.snapshot.models.routing.cooldown {
            self.health.end(Instant::now(), rules, std::mem::replace(&mut self.role, Role::Regular), verdict);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Nobody else would ever probe.
        if self.role == Role::Probe {
            self.end(Verdict::Unknown);
        }
    }
}

impl Tries {
    /// The tries of a request for a model.
    pub(super) fn new(way: Way, saved: Saved, cached: Option<Cached>) -> Self {
        Tries { left: way.routes().collect(), way: Some(way), saved: Some(saved), cached, ..Tries::default() }
    }

    /// The target answers, and has the prompt cached up to its last marker: the next request with this beginning is to go there too.
    pub(super) fn pin(&mut self, pins: &Pins, target: &Target) {
        let Some(Cached { model, prefixes }) = self.cached.take() else { return };
        if let Some(last) = prefixes.iter().rposition(|prefix| prefix.ttl.is_some()) {
            pins.pin(&model, prefixes.get(last..=last).unwrap_or_default(), TargetKey::of(&target.provider.name, &target.model));
        }
    }

    /// Whether a try may follow the one that runs.
    pub(super) fn may_go_on(&self, current: &Current) -> bool {
        let rounds = self.way.is_some() && self.round < current.snapshot.models.routing.retry.attempts;
        rounds || (!self.left.is_empty() && self.fallback(current).enabled)
    }

    /// All targets that may be asked; none for a provider's own API.
    pub(super) fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.way.iter().flat_map(Way::routes)
    }

    /// Bytes that are kept for another try.
    pub(super) fn saved_bytes(&self) -> usize {
        self.saved.as_ref().map_or(0, |saved| saved.body.len() + saved.files.bytes())
    }

    /// Whether another try is to follow.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// The pause before the next try.
    pub(super) fn pause(&mut self) -> Duration {
        self.due.take().unwrap_or_default()
    }

    fn fallback<'c>(&'c self, current: &'c Current) -> &'c Fallback {
        let model = self.way.as_ref().and_then(|way| way.model.as_ref());
        model.map_or(&current.snapshot.models.routing.fallback, |model| &model.fallback)
    }

    /// Notes a failure, and says whether another try is to follow. `over` says that none may.
    pub(super) fn fail(&mut self, current: &Current, provider: &Arc<Provider>, fault: Fault, over: bool) -> bool {
        let Fault { error, trigger } = fault;
        let wait = error.retry_after.as_deref().and_then(|header| retry::retry_after(header, SystemTime::now()));
        self.failed(trigger, wait.filter(|_| matches!(trigger, Trigger::Status(429 | 503))));
        let fallback = self.fallback(current);
        if over || self.due.is_some() || !is_named(&fallback.on, trigger) {
            return false;
        }
        let rules = &current.snapshot.models.routing.retry;
        if fallback.enabled && !self.left.is_empty() {
            self.due = Some(Duration::ZERO);
        } else if let Some(way) = &self.way
            && self.round < rules.attempts
            && wait.is_none_or(|wait| wait <= rules.most)
            && current.targets.may_retry(&provider.name)
        {
            let pause = retry::pause(rules, self.round, fastrand::f64());
            self.due = Some(pause.max(wait.unwrap_or_default()));
            self.left = way.routes().collect();
            self.round += 1;
        } else {
            return false;
        }
        self.past.push((Arc::clone(provider), trigger));
        self.error = Some(error);
        true
    }

    /// All targets.
    pub(super) fn way(&self) -> Option<&Way> {
        self.way.as_ref()
    }

    /// The last failure.
    pub(super) fn error(&self) -> Option<ApiError> {
        self.error.clone()
    }

    /// What to plan from, for as long as another try may follow.
    pub(super) fn saved(&self) -> Option<&Saved> {
        self.saved.as_ref()
    }

    /// The same, to keep what was fetched for it.
    pub(super) fn saved_mut(&mut self) -> Option<&mut Saved> {
        self.saved.as_mut()
    }

    /// The target whose turn it is. One that began to rest meanwhile lets the others go first.
    pub(super) fn pop(&mut self, current: &Current, now: Instant) -> Option<Route> {
        let fit = self.left.iter().position(|route| current.targets.is_fit(&route.target, now)).unwrap_or_default();
        self.left.remove(fit)
    }

    /// An attempt begins. What could only serve another one is forgotten if none may follow.
    pub(super) fn begin(&mut self, current: &Arc<Current>, route: &Route) {
        // A retry buys no other one.
        if self.round == 0 {
            current.targets.asked(&route.target.provider.name);
        }
        self.attempt = current.targets.health(&route.target).map(|health| Attempt {
            current: Arc::clone(current),
            health: Arc::clone(health),
            role: health.begin(Instant::now()),
            answered: false,
        });
        if !self.may_go_on(current) {
            self.saved = None;
        }
    }

    /// The target answers: what the client sends is its own business.
    pub(super) fn answered(&mut self) {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| !attempt.answered) {
            attempt.answered = true;
            attempt.end(Verdict::Answered);
        }
    }

    /// The target failed after it had begun to answer.
    pub(super) fn broke(&mut self) {
        self.failed(Trigger::Status(502), None);
    }

    /// The target failed; told once an attempt.
    fn failed(&mut self, trigger: Trigger, wait: Option<Duration>) {
        if let Some(mut attempt) = self.attempt.take() {
            let verdict = if is_fault(trigger) { Verdict::Failed(wait) } else { Verdict::Answered };
            if !(attempt.answered && verdict == Verdict::Answered) {
                attempt.end(verdict);
            }
        }
    }

    /// What was tried in vain, for the log: `bedrock:503,bedrock-west:connect`.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for (provider, trigger) in &self.past {
            let comma = if path.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = match trigger {
                Trigger::Connect => write!(path, "{comma}{}:connect", provider.name),
                Trigger::Timeout => write!(path, "{comma}{}:timeout", provider.name),
                Trigger::Status(status) => write!(path, "{comma}{}:{status}", provider.name),
            };
        }
        path
    }

    /// What was tried in vain for the request by others.
    pub(super) fn learn(&mut self, past: impl IntoIterator<Item = (Arc<Provider>, Trigger)>) {
        self.past.extend(past);
    }

    /// The providers that were tried in vain, and why.
    pub(super) fn past(&self) -> &[(Arc<Provider>, Trigger)] {
        &self.past
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ErrorKind;

    #[test]
    fn every_5xx_is_named_by_one_of_the_usual_ones() {
        let status = Trigger::Status;
        let usual = [status(429), status(500), status(502), status(503), status(504)];
        for code in (429..430).chain(500..600) {
            assert!(is_named(&usual, status(code)), "{code}");
        }
        for code in [400, 401, 403, 404, 408, 413, 428, 499] {
            assert!(!is_named(&usual, status(code)), "{code}");
        }
        assert!(is_named(&[status(503)], status(529)) && !is_named(&[status(502)], status(529)));
        assert!(is_named(&[status(520)], status(520)) && is_named(&[status(404)], status(404)));
        assert!(!is_named(&usual, Trigger::Timeout) && is_named(&[Trigger::Timeout], Trigger::Timeout));
    }

    #[test]
    fn an_answers_own_status_counts_unless_it_blames_the_request_for_nothing() {
        let answered = |status, kind| Fault::answered(status, ApiError::new(kind, "")).trigger;
        assert_eq!(answered(529, ErrorKind::Unavailable), Trigger::Status(529));
        assert_eq!(answered(429, ErrorKind::ModelNotReady), Trigger::Status(429));
        assert_eq!(answered(424, ErrorKind::ModelError), Trigger::Status(502), "the model failed");
        assert_eq!(answered(401, ErrorKind::BadUpstream), Trigger::Status(502), "our own key");
        assert_eq!(answered(400, ErrorKind::InvalidRequest), Trigger::Status(400));
    }
}
