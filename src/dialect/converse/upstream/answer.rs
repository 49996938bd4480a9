//! What a whole answer and a streamed one have in common: why the model stopped, tokens, tier, and what was asked for beyond that.
//!
//! Shapes of the service model: `StopReason`, `TokenUsage`, `ServiceTier`. Read leniently: recorded answers lack members that the model calls required.

use serde::Deserialize;

use crate::chat::{StopReason, Usage};
use crate::wire::json::{Raw, Text};

use crate::chat::fields::Members;

/// `usage`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenUsage<'a> {
    #[serde(borrow, default)]
    input_tokens: Option<Raw<'a>>,
    #[serde(borrow, default)]
    output_tokens: Option<Raw<'a>>,
    #[serde(borrow, default)]
    cache_read_input_tokens: Option<Raw<'a>>,
    #[serde(borrow, default)]
    cache_write_input_tokens: Option<Raw<'a>>,
    #[serde(borrow, default)]
    cache_details: Option<Vec<CacheDetail<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail<'a> {
    #[serde(borrow, default)]
    ttl: Option<Text<'a>>,
    #[serde(borrow, default)]
    input_tokens: Option<Raw<'a>>,
}

/// `serviceTier`.
#[derive(Debug, Deserialize)]
pub(super) struct ServiceTier<'a> {
    #[serde(borrow, rename = "type", default)]
    pub(super) kind: Option<Text<'a>>,
}

/// What came in `additionalModelResponseFields`.
#[derive(Debug, Default)]
pub(super) struct Additional<'a> {
    pub(super) stop_sequence: Option<Text<'a>>,
    pub(super) reasoning_tokens: Option<u64>,
}

impl TokenUsage<'_> {
    /// The counts. Bedrock's `inputTokens` leaves cached tokens out, as ours does.
    pub(super) fn read(&self, reasoning_tokens: Option<u64>) -> Usage {
        let hour = self.cache_details.iter().flatten().filter(|detail| detail.ttl.as_ref().is_some_and(|ttl| *ttl == *"1h"));
        Usage {
            input_tokens: count(self.input_tokens),
            output_tokens: count(self.output_tokens),
            cache_read_tokens: count(self.cache_read_input_tokens),
            cache_write_tokens: count(self.cache_write_input_tokens),
            cache_write_1h_tokens: hour.map(|detail| count(detail.input_tokens)).fold(0, u64::saturating_add),
            reasoning_tokens,
        }
    }
}

fn count(raw: Option<Raw<'_>>) -> u64 {
    raw.and_then(|raw| raw.as_str().parse().ok()).unwrap_or(0)
}

impl<'a> Additional<'a> {
    /// Reads what was asked for. Models put it where the pointer says, nested.
    pub(super) fn read(raw: Option<Raw<'a>>) -> Self {
        let Some(members) = raw.and_then(Members::of) else { return Additional::default() };
        let details = members.value("usage").and_then(Members::of).and_then(|usage| usage.value("output_tokens_details")).and_then(Members::of);
        let reasoning = details.and_then(|details| details.value("thinking_tokens").or_else(|| details.value("reasoning_tokens")));
        Additional { stop_sequence: members.value("stop_sequence").and_then(Raw::text), reasoning_tokens: reasoning.and_then(|raw| raw.as_str().parse().ok()) }
    }
}

/// Why the model stopped.
pub(super) fn stop_reason(reason: Text<'_>) -> StopReason<'_> {
    match reason.escaped() {
        "end_turn" => StopReason::EndTurn,
        "stop_sequence" => StopReason::StopSequence,
        "max_tokens" => StopReason::MaxTokens,
        "tool_use" => StopReason::ToolUse,
        "content_filtered" => StopReason::ContentFiltered,
        "guardrail_intervened" => StopReason::GuardrailIntervened,
        "model_context_window_exceeded" => StopReason::ContextWindowExceeded,
        "malformed_model_output" => StopReason::MalformedOutput,
        "malformed_tool_use" => StopReason::MalformedToolUse,
        _ => StopReason::Other(reason),
    }
}

/// The answer inside `{"properties": {…}}`, which some models put around the arguments of a tool.
pub(super) fn unwrapped(input: Raw<'_>) -> Raw<'_> {
    match Members::of(input).as_ref().map(|members| members.0.as_slice()) {
        Some([(name, inner)]) if *name == *"properties" && Members::of(*inner).is_some() => *inner,
        _ => input,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_45_every_stop_reason_is_known() {
        for (name, reason) in [
            ("end_turn", StopReason::EndTurn),
            ("stop_sequence", StopReason::StopSequence),
            ("max_tokens", StopReason::MaxTokens),
            ("tool_use", StopReason::ToolUse),
            ("content_filtered", StopReason::ContentFiltered),
            ("guardrail_intervened", StopReason::GuardrailIntervened),
            ("model_context_window_exceeded", StopReason::ContextWindowExceeded),
            ("malformed_model_output", StopReason::MalformedOutput),
            ("malformed_tool_use", StopReason::MalformedToolUse),
            ("new_reason", StopReason::Other(Text::from_plain("new_reason"))),
        ] {
            assert_eq!(stop_reason(Text::from_plain(name)), reason, "{name}");
        }
    }

    #[test]
    fn trap_28_cache_writes_are_split_by_time_to_live() {
        let json = r#"{"inputTokens":10,"outputTokens":5,"totalTokens":115,"cacheReadInputTokens":60,"cacheWriteInputTokens":40,
            "cacheDetails":[{"ttl":"1h","inputTokens":30},{"ttl":"5m","inputTokens":10}]}"#;
        let usage = serde_json::from_str::<TokenUsage<'_>>(json).unwrap().read(Some(3));
        let expected =
            Usage { input_tokens: 10, output_tokens: 5, cache_read_tokens: 60, cache_write_tokens: 40, cache_write_1h_tokens: 30, reasoning_tokens: Some(3) };
        assert_eq!(usage, expected);
        assert_eq!(usage.total_input_tokens(), 110, "trap 27: what was cached is not in inputTokens");
    }

    #[test]
    fn trap_29_reasoning_tokens_and_the_stop_text_are_found() {
        let raw = Raw::parse(r#"{"stop_sequence":"END","usage":{"output_tokens_details":{"thinking_tokens":12}}}"#).unwrap();
        let additional = Additional::read(Some(raw));
        assert_eq!(additional.reasoning_tokens, Some(12));
        assert!(additional.stop_sequence.unwrap() == "END");
        let nothing = Additional::read(Some(Raw::parse(r#"{"stop_sequence":null,"usage":3}"#).unwrap()));
        assert!(nothing.stop_sequence.is_none() && nothing.reasoning_tokens.is_none());
    }
}
