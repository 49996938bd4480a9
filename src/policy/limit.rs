//! How much a user may do: requests and tokens in a minute, requests at a time, money in a day and a month.
//!
//! ```text
//! reserve ─▶ Over (nothing is counted)
//!         └▶ held: running, tokens, money ─▶ settle: what was really used, at the moment it is known
//! ```
//!
//! A request is let in only if what was used, what others hold and its own reservation fit together, so that requests at the same time cannot overrun
//! a limit. Time is passed in; whoever keeps an [`Account`] sees to it that one at a time changes it.

use std::collections::VecDeque;

use crate::config::snapshot::{Budget, UserLimits};

/// Seconds that count as the last minute. Whatever happens within 60 seconds touches at most 61 whole ones: with so many in the sum, no 60 seconds,
/// wherever they begin, ever hold more than a limit.
const SPAN: u64 = 61;
const DAY: u64 = 86_400;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970.
    second: u64,
    /// Days since 1970, by UTC.
    day: u64,
    /// Months since the year 0.
    month: u64,
}

impl Now {
    /// The moment so many seconds after 1970 began.
    #[must_use]
    pub fn at(second: u64) -> Self {
        let day = second / DAY;
        Now { second, day, month: month_of(day) }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn second(self) -> u64 {
        self.second
    }

    /// Seconds until a budget begins anew; 0 for a limit that is none.
    #[must_use]
    pub fn until_next(self, limit: Limit) -> u64 {
        let days = match limit {
            Limit::Daily => 1,
            Limit::Monthly => (1..32).find(|days| month_of(self.day + days) != self.month).unwrap_or(31),
            Limit::Requests | Limit::Tokens | Limit::Concurrent => return 0,
        };
        (self.day + days) * DAY - self.second
    }
}

/// The month of a day since 1970, counted from the year 0, by the Gregorian calendar: years begin in March, so that the odd day comes last.
fn month_of(day: u64) -> u64 {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    // March is the third month, and 12 of them make a year wherever it begins.
    (era * 400 + year) * 12 + from_march + 2
}

/// What was counted in the last minute, by seconds.
#[derive(Clone, Debug, Default)]
struct Window {
    /// Oldest first; at most `SPAN`.
    buckets: VecDeque<(u64, u64)>,
    sum: u64,
}

impl Window {
    fn expire(&mut self, second: u64) {
        while let Some((_, count)) = self.buckets.front().copied().filter(|(at, _)| at + SPAN <= second) {
            self.sum -= count;
            self.buckets.pop_front();
        }
    }

    fn add(&mut self, second: u64, count: u64) {
        let count = count.min(u64::MAX - self.sum);
        if count == 0 {
            return;
        }
        self.sum += count;
        match self.buckets.back_mut() {
            // A clock that was set back does not make what happens now older than what happened before.
            Some((at, sum)) if *at >= second => *sum += count,
            _ => self.buckets.push_back((second, count)),
        }
    }

    /// Seconds until no more than `most` is counted.
    fn until(&self, second: u64, most: u64) -> u64 {
        let mut left = self.sum;
        for (at, count) in &self.buckets {
            if left <= most {
                break;
            }
            left -= count;
            if left <= most {
                return (at + SPAN).saturating_sub(second).max(1);
            }
        }
        0
    }
}

/// Requests and tokens of one scope: all that a user does, or what he does with some models.
#[derive(Clone, Debug, Default)]
struct Meter {
    requests: Window,
    tokens: Window,
    running: u64,
    held_tokens: u64,
}

/// Money, in thousand-millionths of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The day, since 1970.
    pub day: u64,
    /// What was spent on it.
    pub in_day: u64,
    /// The month, since the year 0.
    pub month: u64,
    /// What was spent in it.
    pub in_month: u64,
}

impl Spent {
    /// What of it still counts at a moment.
    #[must_use]
    pub fn at(self, now: Now) -> Spent {
        Spent {
            day: now.day,
            in_day: if self.day == now.day { self.in_day } else { 0 },
            month: now.month,
            in_month: if self.month == now.month { self.in_month } else { 0 },
        }
    }

    /// With what was spent besides.
    #[must_use]
    pub fn plus(self, other: Spent, now: Now) -> Spent {
        let (one, two) = (self.at(now), other.at(now));
        Spent { in_day: one.in_day.saturating_add(two.in_day), in_month: one.in_month.saturating_add(two.in_month), ..one }
    }

    fn of(nano_usd: u64, now: Now) -> Spent {
        Spent { day: now.day, in_day: nano_usd, month: now.month, in_month: nano_usd }
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self.in_day == 0 && self.in_month == 0
    }
}

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The limits that it touches: `""` for all that the user does, else the pattern of model names.
    pub scopes: Vec<(Box<str>, UserLimits)>,
    /// What the user may spend.
    pub budget: Budget,
    /// Tokens that it takes at most, as far as that is known.
    pub tokens: u64,
    /// What they cost.
    pub nano_usd: u64,
}

/// What a request has really used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// In and out.
    pub tokens: u64,
    /// What they cost.
    pub nano_usd: u64,
}

/// What is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Requests at a time.
    Concurrent,
    /// Money in a day.
    Daily,
    /// Money in a month.
    Monthly,
}

impl Limit {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Requests => "requests",
            Limit::Tokens => "tokens",
            Limit::Concurrent => "concurrent",
            Limit::Daily | Limit::Monthly => "budget",
        }
    }
}

/// A request is over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub limit: Limit,
    /// Seconds until it may fit.
    pub retry_after: u64,
}

/// How much of a limit is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// All of it.
    pub limit: u64,
    /// What is left.
    pub remaining: u64,
    /// Seconds until all of it is there again.
    pub reset: u64,
}

/// Where a user stands: of several limits, the one of which least is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Requests in a minute.
    pub requests: Option<Level>,
    /// Tokens in a minute.
    pub tokens: Option<Level>,
}

/// What counts in one scope, with what is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests in the last minute.
    pub requests: u64,
    /// Seconds until none of them counts.
    pub requests_gone: u64,
    /// Tokens in the last minute, and those that are held.
    pub tokens: u64,
    /// Seconds until none of them counts.
    pub tokens_gone: u64,
}

impl Standing {
    /// Takes in how a user stands in one more scope.
    pub fn tighten(&mut self, limits: &UserLimits, counted: Counted) {
        let level = |limit: u64, used: u64, reset| Level { limit, remaining: limit.saturating_sub(used), reset };
        let tighter = |old: Option<Level>, new: Option<Level>| match (old, new) {
            (Some(old), Some(new)) => Some(if old.remaining <= new.remaining { old } else { new }),
            (old, new) => old.or(new),
        };
        let requests = limits.requests_per_minute.map(|limit| level(limit, counted.requests, counted.requests_gone));
        let tokens = limits.tokens_per_minute.map(|limit| level(limit, counted.tokens, counted.tokens_gone));
        *self = Standing { requests: tighter(self.requests, requests), tokens: tighter(self.tokens, tokens) };
    }
}

/// All that is counted of one user.
#[derive(Clone, Debug, Default)]
pub struct Account {
    meters: Vec<(Box<str>, Meter)>,
    spent: Spent,
    /// What of it nobody has written down yet.
    unsaved: Spent,
    held_nano_usd: u64,
}

impl Account {
    /// Holds what a request asks for.
    ///
    /// # Errors
    /// When it does not fit; nothing is counted then.
    pub fn reserve(&mut self, ask: &Ask, now: Now) -> Result<(), Over> {
        for (scope, limits) in &ask.scopes {
            self.meter(scope, now).admits(limits, ask.tokens, now)?;
        }
        self.affords(ask, now)?;
        for (scope, _) in &ask.scopes {
            let meter = self.meter(scope, now);
            meter.requests.add(now.second, 1);
            meter.running += 1;
            meter.held_tokens = meter.held_tokens.saturating_add(ask.tokens);
        }
        self.held_nano_usd = self.held_nano_usd.saturating_add(ask.nano_usd);
        Ok(())
    }

    /// Counts what a request has used, in place of what it held.
    pub fn settle(&mut self, ask: &Ask, used: Used, now: Now) {
        for (scope, _) in &ask.scopes {
            let meter = self.meter(scope, now);
            meter.running = meter.running.saturating_sub(1);
            meter.held_tokens = meter.held_tokens.saturating_sub(ask.tokens);
            meter.tokens.add(now.second, used.tokens);
        }
        self.held_nano_usd = self.held_nano_usd.saturating_sub(ask.nano_usd);
        let spent = Spent::of(used.nano_usd, now);
        self.spent = self.spent.plus(spent, now);
        self.unsaved = self.unsaved.plus(spent, now);
    }

    /// Where the user stands with the limits that a request touches.
    pub fn standing(&mut self, ask: &Ask, now: Now) -> Standing {
        let mut standing = Standing::default();
        for (scope, limits) in &ask.scopes {
            let meter = self.meter(scope, now);
            let held = if meter.held_tokens > 0 { SPAN } else { 0 };
            let counted = Counted {
                requests: meter.requests.sum,
                requests_gone: meter.requests.until(now.second, 0),
                tokens: meter.tokens.sum.saturating_add(meter.held_tokens),
                tokens_gone: meter.tokens.until(now.second, 0).max(held),
            };
            standing.tighten(limits, counted);
        }
        standing
    }

    /// What was spent, as far as this process knows.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// What was spent since it was last written down.
    #[must_use]
    pub fn unsaved(&self) -> Spent {
        self.unsaved
    }

    /// `all` was written down, with `saved` of this account's in it.
    pub fn saved(&mut self, saved: Spent, all: Spent, now: Now) {
        let (had, saved) = (self.unsaved.at(now), saved.at(now));
        self.unsaved = Spent { in_day: had.in_day.saturating_sub(saved.in_day), in_month: had.in_month.saturating_sub(saved.in_month), ..had };
        self.spent = all.plus(self.unsaved, now);
    }

    /// Others have spent so much as well; `saved` of this account's is in it.
    pub fn learn(&mut self, all: Spent, saved: Spent, now: Now) {
        let (known, had, saved, all) = (self.spent.at(now), self.unsaved.at(now), saved.at(now), all.at(now));
        self.unsaved = Spent { in_day: had.in_day.saturating_sub(saved.in_day), in_month: had.in_month.saturating_sub(saved.in_month), ..had };
        let all = all.plus(self.unsaved, now);
        // An older answer may come later.
        self.spent = Spent { in_day: all.in_day.max(known.in_day), in_month: all.in_month.max(known.in_month), ..all };
    }

    /// Whether nothing would be lost with it.
    pub fn is_idle(&mut self, now: Now) -> bool {
        self.meters.retain_mut(|(_, meter)| {
            meter.expire(now);
            meter.running > 0 || meter.requests.sum > 0 || meter.tokens.sum > 0
        });
        self.meters.is_empty() && self.held_nano_usd == 0 && self.spent.at(now).is_nothing() && self.unsaved.at(now).is_nothing()
    }

    fn affords(&self, ask: &Ask, now: Now) -> Result<(), Over> {
        let spent = self.spent.at(now);
        let fits = |spent: u64, budget: Option<u64>| {
            // What costs nothing fits as long as there is something left.
            budget.is_none_or(|budget| spent < budget && u128::from(spent) + u128::from(self.held_nano_usd) + u128::from(ask.nano_usd) <= u128::from(budget))
        };
        // What others hold may come back much sooner than a day ends.
        let wait = |left: u64, spent: u64, budget: Option<u64>| {
            let alone = budget.is_none_or(|budget| spent.saturating_add(ask.nano_usd) <= budget);
            if alone && self.held_nano_usd > 0 { 1 } else { left }
        };
        if !fits(spent.in_month, ask.budget.monthly_nano_usd) {
            return Err(Over { limit: Limit::Monthly, retry_after: wait(now.until_next(Limit::Monthly), spent.in_month, ask.budget.monthly_nano_usd) });
        }
        if !fits(spent.in_day, ask.budget.daily_nano_usd) {
            return Err(Over { limit: Limit::Daily, retry_after: wait(now.until_next(Limit::Daily), spent.in_day, ask.budget.daily_nano_usd) });
        }
        Ok(())
    }

    fn meter(&mut self, scope: &str, now: Now) -> &mut Meter {
        let at = self.meters.iter().position(|(known, _)| **known == *scope).unwrap_or_else(|| {
            self.meters.push((scope.into(), Meter::default()));
            self.meters.len() - 1
        });
        let meter = &mut self.meters[at].1;
        meter.expire(now);
        meter
    }
}

impl Meter {
    fn expire(&mut self, now: Now) {
        self.requests.expire(now.second);
        self.tokens.expire(now.second);
    }

    fn admits(&self, limits: &UserLimits, tokens: u64, now: Now) -> Result<(), Over> {
        let over = |limit, retry_after| Err(Over { limit, retry_after });
        if limits.concurrent_requests.is_some_and(|limit| self.running >= limit) {
            return over(Limit::Concurrent, 1);
        }
        if let Some(limit) = limits.requests_per_minute
            && self.requests.sum >= limit
        {
            return over(Limit::Requests, self.requests.until(now.second, limit.saturating_sub(1)).max(1));
        }
        if let Some(limit) = limits.tokens_per_minute
            && self.tokens.sum.saturating_add(self.held_tokens).saturating_add(tokens) > limit
        {
            let room = limit.saturating_sub(tokens).saturating_sub(self.held_tokens);
            return over(Limit::Tokens, self.tokens.until(now.second, room).max(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
