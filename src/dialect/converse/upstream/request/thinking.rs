//! How hard the model shall think: one word of the client's, a switch of its own in each family.
//!
//! Budgets and efforts follow Anthropic's "Extended thinking", "Adaptive thinking" and "Effort" pages, and the AWS pages on Nova 2 and gpt-oss.

use crate::chat::{ApiError, Effort};
use crate::wire::json::Raw;

use crate::chat::Ledger;
use crate::chat::capability::{Capabilities, Reasoning};
use crate::chat::fields::Fields;
use crate::chat::thinking::{self, Mend, budget, claude_effort, fit, make_room};

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

/// Everything that the decision rests on.
pub(super) struct Wanted<'r> {
    /// `reasoning_effort`.
    pub(super) effort: Option<Effort>,
    /// The client's own `thinking`, as a member of its API.
    pub(super) typed: Option<Raw<'r>>,
    /// The same among the extras, where it travels by itself. It stands above the other.
    pub(super) extra: Option<Raw<'r>>,
    /// The token limit that will be sent.
    pub(super) max_tokens: Option<u64>,
    /// The history lacks a signed thought where a budget needs one.
    pub(super) lacks_thought: bool,
}

/// Decides, and puts the family's switch into `fields`. A `thinking` of the client's own stands above an effort.
///
/// # Errors
/// 400 for an effort or a `thinking` that the family does not take, where the policy says so.
pub(super) fn plan<'r>(wanted: &Wanted<'r>, takes: &Capabilities, fields: &mut Fields<'r>, ledger: &mut Ledger) -> Result<Thinking, ApiError> {
    let mut thinking = Thinking::default();
    let mut effort = wanted.effort.filter(|effort| *effort != Effort::None);
    let mut own = wanted.extra.filter(|_| takes.anthropic_fields);
    if let Some(typed) = wanted.typed.filter(|_| own.is_none()) {
        if takes.anthropic_fields && takes.reasoning != Reasoning::None {
            fields.put("thinking", typed.as_str());
            own = Some(typed);
        } else {
            effort = thinking::effort_of(typed, effort);
            if effort.is_some() && takes.reasoning == Reasoning::None {
                ledger.lose("thinking")?;
                return Ok(thinking);
            }
        }
    }
    if let Some(own) = own.and_then(|raw| thinking::own(raw, effort, wanted.max_tokens, takes.reasoning)) {
        thinking = Thinking { on: own.on, forget: own.forget, mend: own.mend, max_tokens: own.max_tokens, ..thinking };
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

fn three_levels(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh | Effort::Max => "high",
    }
}
