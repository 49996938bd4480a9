//! How hard Claude shall think, whichever API it is asked through: budgets, efforts, and what mends a wish that would be refused.
//!
//! Follows Anthropic's "Extended thinking", "Adaptive thinking" and "Effort" pages.

use serde::Deserialize;

use crate::chat::Effort;
use crate::chat::capability::Reasoning;
use crate::wire::json::{Raw, Text};

/// The smallest budget that Claude takes.
pub const BUDGET_MIN: u64 = 1024;

/// What stands in place of a `thinking` that would surely be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// A budget that is large enough.
    Budget(u64),
    /// No budget: the family wants none.
    Adaptive,
}

impl Mend {
    /// The value of `thinking`.
    #[must_use]
    pub fn json(self) -> String {
        match self {
            Mend::Budget(tokens) => format!(r#"{{"type":"enabled","budget_tokens":{tokens}}}"#),
            Mend::Adaptive => r#"{"type":"adaptive"}"#.to_owned(),
        }
    }
}

/// What becomes of a client's own `thinking`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    /// The model thinks.
    pub on: bool,
    /// What must stand in its place.
    pub mend: Option<Mend>,
    /// What the token limit must be, where the client's own is too small for the budget.
    pub max_tokens: Option<u64>,
    /// It must stay out: it turns off what the family does not let be turned off.
    pub forget: bool,
}

/// What a client says.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    #[serde(default)]
    budget_tokens: Option<u64>,
}

/// Reads a client's own `thinking`, and mends what would surely be refused. `None`: it is nothing that can be read.
#[must_use]
pub fn own(raw: Raw<'_>, effort: Option<Effort>, max_tokens: Option<u64>, reasoning: Reasoning) -> Option<Own> {
    let wire: Wire<'_> = raw.read().ok()?;
    let kind = wire.kind.as_ref().map(Text::unescape);
    let kind = kind.as_deref();
    let on = !matches!(kind, None | Some("disabled"));
    let forget = kind == Some("disabled") && reasoning == Reasoning::AdaptiveAlways;
    let own = Own { on, forget, ..Own::default() };
    if kind == Some("adaptive") && reasoning == Reasoning::Budget {
        let budget = fit(budget(effort.unwrap_or(Effort::Medium)), max_tokens);
        return Some(Own { mend: Some(Mend::Budget(budget)), max_tokens: make_room(budget, max_tokens), ..own });
    }
    if kind != Some("enabled") {
        return Some(own);
    }
    if matches!(reasoning, Reasoning::AdaptiveOnly | Reasoning::AdaptiveAlways) {
        return Some(Own { mend: Some(Mend::Adaptive), ..own });
    }
    let budget = wire.budget_tokens.unwrap_or(BUDGET_MIN).max(BUDGET_MIN);
    let mend = (wire.budget_tokens != Some(budget)).then_some(Mend::Budget(budget));
    Some(Own { mend, max_tokens: make_room(budget, max_tokens), ..own })
}

/// What a `thinking` comes to where only efforts are known: a budget is a level, and to let the model decide is to say nothing beyond the client's effort.
#[must_use]
pub fn effort_of(raw: Raw<'_>, effort: Option<Effort>) -> Option<Effort> {
    let wire = raw.read::<Wire<'_>>().ok();
    let kind = wire.as_ref().and_then(|wire| wire.kind.as_ref()).map(Text::unescape);
    match (kind.as_deref(), wire.as_ref().and_then(|wire| wire.budget_tokens)) {
        (Some("disabled"), _) => None,
        (Some("enabled"), Some(0..=2048)) => Some(Effort::Low),
        (Some("enabled"), Some(2049..=8192)) => Some(Effort::Medium),
        (Some("enabled"), Some(_)) => Some(Effort::High),
        _ => effort,
    }
}

/// The budget of an effort. The largest stays below the smallest output limit of a model that takes budgets (32,000 tokens).
#[must_use]
pub fn budget(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal => BUDGET_MIN,
        Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High => 16_384,
        Effort::XHigh => 24_576,
        Effort::Max => 31_999,
    }
}

/// The budget within the client's limit, half of which stays for the answer: OpenAI's limit counts thoughts and answer together.
#[must_use]
pub fn fit(budget: u64, max_tokens: Option<u64>) -> u64 {
    max_tokens.map_or(budget, |most| budget.min(most / 2)).max(BUDGET_MIN)
}

/// The limit to send instead of the client's, when the budget does not stay below it: the client's own comes on top for the answer.
#[must_use]
pub fn make_room(budget: u64, max_tokens: Option<u64>) -> Option<u64> {
    max_tokens.filter(|most| *most <= budget).map(|most| most.saturating_add(budget))
}

/// The word of Claude's own effort (`output_config.effort`; in Converse `outputConfig.effort`). Claude 4.6 does not know `xhigh`.
#[must_use]
pub fn claude_effort(effort: Effort, reasoning: Reasoning) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::XHigh if reasoning == Reasoning::Adaptive => "high",
        Effort::XHigh => "xhigh",
        Effort::Max => "max",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_33_budgets_are_at_least_1024_and_leave_room() {
        for (effort, max_tokens, budget_tokens, raised) in [
            (Effort::Minimal, None, 1024, None),
            (Effort::High, None, 16_384, None),
            (Effort::Max, None, 31_999, None),
            (Effort::High, Some(4096), 2048, None),
            (Effort::Low, Some(1500), 1024, None),
            (Effort::High, Some(1024), 1024, Some(2048)),
            (Effort::High, Some(10), 1024, Some(1034)),
        ] {
            let budget = fit(budget(effort), max_tokens);
            assert_eq!((budget, make_room(budget, max_tokens)), (budget_tokens, raised), "{effort:?} {max_tokens:?}");
        }
    }
}
