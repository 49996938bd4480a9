//! How hard the model shall think: one word of the client's, a switch of its own in each family.
//!
//! Budgets and efforts follow Anthropic's "Extended thinking", "Adaptive thinking" and "Effort" pages, and the AWS pages on Nova 2 and gpt-oss.

use serde::Deserialize;

use crate::chat::{ApiError, Effort};
use crate::wire::json::{Raw, Text};

use crate::chat::Ledger;
use crate::chat::capability::{Capabilities, Reasoning};
use crate::chat::fields::Fields;

/// The smallest budget that Claude takes.
const BUDGET_MIN: u64 = 1024;

/// What was decided.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thinking {
    /// The model thinks in the way that goes with no forced tool, no prefill and no sampling parameters.
    pub(super) on: bool,
    /// Sampling parameters and a token limit are refused beside it: Nova at high effort.
    pub(super) alone: bool,
    /// `outputConfig.effort`.
    pub(super) effort: Option<&'static str>,
    /// What `maxTokens` must be, where the client's own is too small for the budget.
    pub(super) max_tokens: Option<u64>,
    /// What must stand in place of the client's own `thinking`.
    pub(super) mend: Option<Mend>,
    /// The client's own `thinking` must stay out: it turns off what the family does not let be turned off.
    pub(super) forget: bool,
}

/// What stands in place of a `thinking` that would surely be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// A budget that is large enough.
    Budget(u64),
    /// No budget: the family wants none.
    Adaptive,
}

impl Mend {
    /// The value of `thinking`.
    pub(super) fn json(self) -> String {
        match self {
            Mend::Budget(tokens) => format!(r#"{{"type":"enabled","budget_tokens":{tokens}}}"#),
            Mend::Adaptive => r#"{"type":"adaptive"}"#.to_owned(),
        }
    }
}

/// What a client says in Anthropic's own member.
#[derive(Deserialize)]
struct Own<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    #[serde(default)]
    budget_tokens: Option<u64>,
}

/// Everything that the decision rests on.
pub(super) struct Wanted<'r> {
    /// `reasoning_effort`.
    pub(super) effort: Option<Effort>,
    /// The client's own `thinking`.
    pub(super) own: Option<Raw<'r>>,
    /// The token limit that will be sent.
    pub(super) max_tokens: Option<u64>,
    /// The history lacks a signed thought where a budget needs one.
    pub(super) lacks_thought: bool,
}

/// Decides, and puts the family's switch into `fields`. A `thinking` of the client's own stands above an effort.
///
/// # Errors
/// 400 for an effort that the family does not take, where the policy says so.
pub(super) fn plan(wanted: &Wanted<'_>, takes: &Capabilities, fields: &mut Fields<'_>, ledger: &mut Ledger) -> Result<Thinking, ApiError> {
    let mut thinking = Thinking::default();
    let own = wanted.own.filter(|_| takes.anthropic_fields).and_then(|raw| raw.read::<Own<'_>>().ok());
    let effort = wanted.effort.filter(|effort| *effort != Effort::None);
    if let Some(own) = own {
        own_thinking(&own, wanted.max_tokens, takes, &mut thinking);
        if thinking.forget {
            ledger.lose("thinking")?;
        }
        if matches!(takes.reasoning, Reasoning::Adaptive | Reasoning::AdaptiveOnly | Reasoning::AdaptiveAlways) {
            thinking.effort = effort.map(|effort| claude_effort(effort, takes.reasoning));
        }
        return Ok(thinking);
    }
    let Some(effort) = effort else { return Ok(thinking) };
    match takes.reasoning {
        Reasoning::None => ledger.lose("reasoning_effort")?,
        // Claude wants to see its thought before it goes on from its own tool use. A client that does not keep thoughts gets an answer without them.
        Reasoning::Budget if wanted.lacks_thought => ledger.lose("reasoning_effort")?,
        Reasoning::Budget => {
            let budget = fit(budget(effort), wanted.max_tokens);
            thinking.on = true;
            thinking.max_tokens = make_room(budget, wanted.max_tokens);
            fields.put("thinking", Mend::Budget(budget).json());
        }
        Reasoning::Adaptive | Reasoning::AdaptiveOnly | Reasoning::AdaptiveAlways => {
            thinking.on = true;
            thinking.effort = Some(claude_effort(effort, takes.reasoning));
            fields.put("thinking", Mend::Adaptive.json());
        }
        Reasoning::OutputConfig => thinking.effort = Some(claude_effort(effort, takes.reasoning)),
        Reasoning::Nova => {
            let level = three_levels(effort);
            thinking.alone = level == "high";
            fields.put("reasoningConfig", format!(r#"{{"type":"enabled","maxReasoningEffort":"{level}"}}"#));
        }
        Reasoning::ReasoningConfig => fields.put("reasoning_config", format!("\"{}\"", three_levels(effort))),
        Reasoning::ReasoningEffort => fields.put("reasoning_effort", format!("\"{}\"", three_levels(effort))),
    }
    Ok(thinking)
}

/// Takes the client's own `thinking` and mends what would surely be refused.
fn own_thinking(own: &Own<'_>, max_tokens: Option<u64>, takes: &Capabilities, thinking: &mut Thinking) {
    let kind = own.kind.as_ref().map(Text::unescape);
    thinking.on = !matches!(kind.as_deref(), None | Some("disabled"));
    thinking.forget = kind.as_deref() == Some("disabled") && takes.reasoning == Reasoning::AdaptiveAlways;
    if kind.as_deref() != Some("enabled") {
        return;
    }
    if matches!(takes.reasoning, Reasoning::AdaptiveOnly | Reasoning::AdaptiveAlways) {
        thinking.mend = Some(Mend::Adaptive);
        return;
    }
    let budget = own.budget_tokens.unwrap_or(BUDGET_MIN).max(BUDGET_MIN);
    thinking.mend = (own.budget_tokens != Some(budget)).then_some(Mend::Budget(budget));
    thinking.max_tokens = make_room(budget, max_tokens);
}

/// The budget of an effort. The largest stays below the smallest output limit of a model that takes budgets (32,000 tokens).
fn budget(effort: Effort) -> u64 {
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
fn fit(budget: u64, max_tokens: Option<u64>) -> u64 {
    max_tokens.map_or(budget, |most| budget.min(most / 2)).max(BUDGET_MIN)
}

/// The limit to send instead of the client's, when the budget does not stay below it: the client's own comes on top for the answer.
fn make_room(budget: u64, max_tokens: Option<u64>) -> Option<u64> {
    max_tokens.filter(|most| *most <= budget).map(|most| most.saturating_add(budget))
}

/// `outputConfig.effort`. Claude 4.6 does not know `xhigh`.
fn claude_effort(effort: Effort, reasoning: Reasoning) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::XHigh if reasoning == Reasoning::Adaptive => "high",
        Effort::XHigh => "xhigh",
        Effort::Max => "max",
    }
}

fn three_levels(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh | Effort::Max => "high",
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
