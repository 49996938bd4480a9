//! How hard the model shall think, and the token limit, which goes with it.
//!
//! Vendor pages: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>,
//! <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking>, <https://platform.claude.com/docs/en/build-with-claude/effort>.

use std::borrow::Cow;

use crate::chat::capability::{Capabilities, Reasoning};
use crate::chat::thinking::{self, Mend, budget, claude_effort, fit, make_room};
use crate::chat::{ApiError, Effort, Ledger};
use crate::wire::json::Raw;

/// `max_tokens` when nobody says, which the API does not allow: what the smallest Claude can write.
pub(super) const MAX_TOKENS: u64 = 4096;

/// What every Claude that takes budgets can write, thoughts and answer together.
const OUTPUT_LEAST: u64 = 32_000;

/// What was decided.
#[derive(Clone, Debug)]
pub(super) struct Thinking<'r> {
    /// The model thinks: no forced tool, no prefill and no sampling parameters go with it.
    pub(super) on: bool,
    /// `thinking`.
    pub(super) json: Option<Cow<'r, str>>,
    /// `output_config.effort`.
    pub(super) effort: Option<&'static str>,
    /// `max_tokens`.
    pub(super) max_tokens: u64,
}

/// Everything that the decision rests on.
pub(super) struct Wanted<'r> {
    pub(super) effort: Option<Effort>,
    /// The client's own `thinking`: stands above an effort.
    pub(super) own: Option<Raw<'r>>,
    /// The token limit of the client or the operator.
    pub(super) max_tokens: Option<u64>,
    /// The history lacks a signed thought where a budget needs one.
    pub(super) lacks_thought: bool,
}

/// Decides.
///
/// # Errors
/// 400 for what the family does not take, where the policy says so.
pub(super) fn plan<'r>(wanted: &Wanted<'r>, takes: &Capabilities, ledger: &mut Ledger) -> Result<Thinking<'r>, ApiError> {
    let reasoning = takes.reasoning;
    let adaptive = matches!(reasoning, Reasoning::Adaptive | Reasoning::AdaptiveOnly | Reasoning::AdaptiveAlways);
    let limit = wanted.max_tokens.unwrap_or(MAX_TOKENS);
    let mut thinking = Thinking { on: false, json: None, effort: None, max_tokens: limit };
    // Our own limit is raised no further than the model can write.
    let room = |raised: u64| match wanted.max_tokens {
        Some(_) => raised,
        None => raised.min(OUTPUT_LEAST).max(raised.saturating_sub(limit).saturating_add(1)),
    };
    if let Some(raw) = wanted.own {
        let own = thinking::own(raw, wanted.effort, Some(limit), reasoning).unwrap_or_default();
        if own.forget {
            ledger.lose("thinking")?;
        } else {
            thinking.json = Some(own.mend.map_or(Cow::Borrowed(raw.as_str()), |mend| Cow::Owned(mend.json())));
        }
        thinking.on = own.on;
        thinking.max_tokens = own.max_tokens.map_or(limit, room);
        thinking.effort = wanted.effort.filter(|effort| adaptive && *effort != Effort::None).map(|effort| claude_effort(effort, reasoning));
        return Ok(thinking);
    }
    match (wanted.effort, reasoning) {
        (None, _) | (Some(Effort::None), Reasoning::None) => {}
        (Some(Effort::None), Reasoning::Budget | Reasoning::Adaptive | Reasoning::AdaptiveOnly) => {
            thinking.json = Some(Cow::Borrowed(r#"{"type":"disabled"}"#));
        }
        (Some(Effort::None), _) => ledger.lose("reasoning_effort")?,
        // Claude wants to see its thought before it goes on from its own tool use. A client that does not keep thoughts gets an answer without them.
        (Some(_), Reasoning::Budget) if wanted.lacks_thought => ledger.lose("reasoning_effort")?,
        (Some(effort), Reasoning::Budget) => {
            let budget = fit(budget(effort), wanted.max_tokens);
            thinking.on = true;
            thinking.max_tokens = make_room(budget, Some(limit)).map_or(limit, room);
            thinking.json = Some(Cow::Owned(Mend::Budget(budget).json()));
        }
        (Some(effort), _) if adaptive => {
            thinking.on = true;
            thinking.effort = Some(claude_effort(effort, reasoning));
            thinking.json = Some(Cow::Owned(Mend::Adaptive.json()));
        }
        (Some(effort), Reasoning::OutputConfig) => thinking.effort = Some(claude_effort(effort, reasoning)),
        (Some(_), _) => ledger.lose("reasoning_effort")?,
    }
    Ok(thinking)
}
