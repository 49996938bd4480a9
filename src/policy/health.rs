//! Whether a target is fit to be asked: it rests after it has failed too often, and comes back through a probe.
//!
//! ```text
//! Serving ──too many failures, or told to wait──▶ Resting ──time is over──▶ Due ──the next request──▶ Probing
//!    ▲                                              ▲                                                 │  │
//!    │                                              └──────────────failed: twice the rest─────────────┘  │
//!    └────────────────────────────────────────────────────────answered──────────────────────────────────┘
//! ```
//!
//! A decision only: time is passed in, nothing is counted that is not told. That never all targets of a model are left out is the router's business.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::snapshot::Cooldown;

/// Into how many parts the window is divided: it forgets a part at a time.
const PARTS: usize = 10;

/// How fit a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It is asked.
    Serving,
    /// It is not asked for so long.
    Resting(Duration),
    /// Its rest is over: the next request tries whether it is well.
    Due,
    /// One request is trying.
    Probing,
}

impl Fitness {
    /// Whether a request may go there before all others are tried.
    #[must_use]
    pub fn takes_requests(self) -> bool {
        matches!(self, Fitness::Serving | Fitness::Due)
    }

    /// One word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Fitness::Serving => "serving",
            Fitness::Resting(_) => "resting",
            Fitness::Due | Fitness::Probing => "probing",
        }
    }
}

/// What an attempt is to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One of many.
    Regular,
    /// It decides whether the target is well again.
    Probe,
    /// The target rests, but there was nobody else: it may show that it is well, and can't make it worse.
    Forced,
}

/// How an attempt went, as far as the target is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered, if only that the request is wrong.
    Answered,
    /// It failed; with the time it asked for, if it did.
    Failed(Option<Duration>),
    /// Nothing was learned: the client left first.
    Unknown,
}

/// The state of one target.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    window: Window,
    phase: Phase,
    /// How often it was sent to rest without having been well for a window in between.
    falls: u32,
    /// When it last came back.
    back_at: Option<Instant>,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Serving,
    Resting {
        until: Instant,
    },
    Probing,
}

/// What happened lately.
#[derive(Debug, Default)]
struct Window {
    /// Answers and failures of each part; the part of `number % PARTS` is the current one.
    parts: [(u64, u64); PARTS],
    /// Parts since `begun`.
    number: u64,
    begun: Option<Instant>,
}

impl Window {
    /// Forgets what is older than the window.
    fn roll(&mut self, now: Instant, within: Duration) {
        let begun = *self.begun.get_or_insert(now);
        let part_ns = (within.as_nanos() / PARTS as u128).max(1);
        let number = u64::try_from(now.saturating_duration_since(begun).as_nanos() / part_ns).unwrap_or(u64::MAX);
        let passed = number.saturating_sub(self.number).min(PARTS as u64);
        for step in 1..=passed {
            *self.part(self.number.saturating_add(step)) = (0, 0);
        }
        self.number = self.number.max(number);
    }

    fn part(&mut self, number: u64) -> &mut (u64, u64) {
        let at = usize::try_from(number % PARTS as u64).unwrap_or_default();
        // `at` is below the length, so the index is good.
        &mut self.parts[at]
    }

    fn sums(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(answers, failures), part| (answers + part.0, failures + part.1))
    }
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock would mean a panic between two field writes: the fields are still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How fit the target is.
    pub fn fitness(&self, now: Instant) -> Fitness {
        match self.state().phase {
            Phase::Serving => Fitness::Serving,
            Phase::Resting { until } if until > now => Fitness::Resting(until - now),
            Phase::Resting { .. } => Fitness::Due,
            Phase::Probing => Fitness::Probing,
        }
    }

    /// An attempt begins. The end of a probe must be told.
    pub fn begin(&self, now: Instant) -> Role {
        let mut state = self.state();
        match state.phase {
            Phase::Serving => Role::Regular,
            Phase::Resting { until } if until <= now => {
                state.phase = Phase::Probing;
                Role::Probe
            }
            Phase::Resting { .. } | Phase::Probing => Role::Forced,
        }
    }

    /// An attempt has ended. `role` is what [`Health::begin`] said of it.
    pub fn end(&self, now: Instant, rules: &Cooldown, role: Role, verdict: Verdict) {
        let mut state = self.state();
        state.window.roll(now, rules.within);
        let number = state.window.number;
        match verdict {
            Verdict::Answered => {
                state.window.part(number).0 += 1;
                if role != Role::Regular && !matches!(state.phase, Phase::Serving) {
                    state.phase = Phase::Serving;
                    state.back_at = Some(now);
                    // What failed before was paid for.
                    state.window.parts = Default::default();
                } else if state.back_at.is_some_and(|at| now.saturating_duration_since(at) > rules.within) {
                    state.falls = 0;
                    state.back_at = None;
                }
            }
            Verdict::Failed(wait) => {
                state.window.part(number).1 += 1;
                let serving = matches!(state.phase, Phase::Serving);
                if role == Role::Probe || (serving && (wait.is_some() || state.window.is_too_much(rules))) {
                    state.fall(now, rules, wait);
                }
            }
            // The next request may try.
            Verdict::Unknown if role == Role::Probe => state.phase = Phase::Resting { until: now },
            Verdict::Unknown => {}
        }
    }
}

impl Window {
    fn is_too_much(&self, rules: &Cooldown) -> bool {
        let (answers, failures) = self.sums();
        failures >= rules.failures && as_f64(failures) >= rules.rate * as_f64(answers + failures)
    }
}

impl State {
    /// Sends it to rest: for as long as it asked for, else for twice as long as the last time.
    fn fall(&mut self, now: Instant, rules: &Cooldown, wait: Option<Duration>) {
        let doubled = rules.rest.saturating_mul(1_u32.checked_shl(self.falls).unwrap_or(u32::MAX));
        let rest = wait.unwrap_or(doubled).min(rules.most);
        if wait.is_none() {
            self.falls = self.falls.saturating_add(1);
        }
        self.phase = Phase::Resting { until: now + rest };
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds stay far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
