//! What an approach may cost, before its first call.

use super::Approach;
use super::course::{CANDIDATES, CRITIQUE_TOKENS, RATING_TOKENS, SAMPLES};

/// Calls of an approach, and what goes in and comes out of them at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How many calls.
    pub calls: u64,
    /// How often the client's own prompt goes in.
    pub prompts: u64,
    /// How many answers go into other calls.
    pub carried: u64,
    /// How many answers come out, as long as the client allows.
    pub answers: u64,
    /// Tokens of other calls that go in.
    pub notes_in: u64,
    /// Tokens of calls whose length is not the client's business.
    pub notes_out: u64,
}

impl Cost {
    /// Of approaches one after another; of none, it is the plain request.
    /// What follows the first has an answer for its question.
    #[must_use]
    pub fn of(sequence: &[Approach]) -> Self {
        if sequence.is_empty() {
            return Cost { calls: 1, prompts: 1, answers: 1, ..Cost::default() };
        }
        sequence.iter().enumerate().fold(Cost::default(), |sum, (at, approach)| {
            let own = Cost::alone(*approach);
            let questions = if at == 0 { 0 } else { own.prompts };
            sum.plus(Cost { carried: own.carried + questions, ..own })
        })
    }

    /// Of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Cost {
            calls: self.calls + other.calls,
            prompts: self.prompts + other.prompts,
            carried: self.carried + other.carried,
            answers: self.answers + other.answers,
            notes_in: self.notes_in + other.notes_in,
            notes_out: self.notes_out + other.notes_out,
        }
    }

    /// Tokens that go in and come out at most, where a prompt and an answer have so many.
    #[must_use]
    pub fn tokens(self, prompt: u64, answer: u64) -> (u64, u64) {
        let times = |count: u64, tokens: u64| count.saturating_mul(tokens);
        let input = times(self.prompts, prompt).saturating_add(times(self.carried, answer)).saturating_add(self.notes_in);
        (input, times(self.answers, answer).saturating_add(self.notes_out))
    }

    fn alone(approach: Approach) -> Self {
        let (candidates, samples) = (CANDIDATES as u64, SAMPLES as u64);
        match approach {
            Approach::Re2 => Cost { calls: 1, prompts: 2, answers: 1, ..Cost::default() },
            Approach::CotReflection => Cost { calls: 1, prompts: 1, answers: 1, ..Cost::default() },
            Approach::SelfConsistency => Cost { calls: samples, prompts: samples, answers: samples, ..Cost::default() },
            Approach::Bon => Cost {
                calls: 2 * candidates,
                prompts: 2 * candidates,
                carried: candidates,
                answers: candidates,
                notes_in: 0,
                notes_out: candidates * RATING_TOKENS,
            },
            Approach::Moa => Cost {
                calls: candidates + 2,
                prompts: candidates + 2,
                carried: 2 * candidates,
                answers: candidates + 1,
                notes_in: CRITIQUE_TOKENS,
                notes_out: CRITIQUE_TOKENS,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_counted_with_what_goes_into_it() {
        assert_eq!(Cost::of(&[]).tokens(100, 10), (100, 10));
        assert_eq!(Cost::of(&[Approach::Re2]).tokens(100, 10), (200, 10));
        assert_eq!(Cost::of(&[Approach::Moa]).tokens(100, 10), (500 + 60 + CRITIQUE_TOKENS, 40 + CRITIQUE_TOKENS));
        let sequence = Cost::of(&[Approach::CotReflection, Approach::Bon]);
        assert_eq!((sequence.calls, sequence.prompts, sequence.carried), (7, 7, 3 + 6));
        assert_eq!(sequence.tokens(u64::MAX, u64::MAX), (u64::MAX, u64::MAX));
    }
}
