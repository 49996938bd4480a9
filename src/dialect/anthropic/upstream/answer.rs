//! What a whole answer and a streamed one have in common: why the model stopped, tokens, tier.
//!
//! Read leniently: a member of another kind than the schema says counts as not there.

use crate::chat::fields::Members;
use crate::chat::{StopReason, Usage};
use crate::wire::json::{Raw, Text};

/// The counts that Bedrock puts on the last event of Claude's own stream, or behind its answer.
pub(super) const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// The counts of an answer as far as they are known. A stream tells them more than once, as totals: the later word replaces the earlier one.
#[derive(Debug, Default)]
pub(super) struct Tally {
    usage: Option<Usage>,
    /// In OpenAI's words, in escaped form.
    tier: Option<String>,
}

impl Tally {
    /// Takes a `usage` in.
    pub(super) fn take(&mut self, usage: Raw<'_>) {
        let Some(members) = Members::of(usage) else { return };
        let count = |name: &str| members.value(name).and_then(count);
        let total = self.usage.get_or_insert_default();
        let put = |place: &mut u64, value: Option<u64>| *place = value.unwrap_or(*place);
        put(&mut total.input_tokens, count("input_tokens"));
        put(&mut total.output_tokens, count("output_tokens"));
        put(&mut total.cache_read_tokens, count("cache_read_input_tokens"));
        put(&mut total.cache_write_tokens, count("cache_creation_input_tokens"));
        if let Some(split) = members.value("cache_creation").and_then(Members::of) {
            let part = |name: &str| split.value(name).and_then(self::count).unwrap_or(0);
            let hour = part("ephemeral_1h_input_tokens");
            total.cache_write_1h_tokens = hour;
            total.cache_write_tokens = total.cache_write_tokens.max(hour.saturating_add(part("ephemeral_5m_input_tokens")));
        }
        let details = members.value("output_tokens_details").and_then(Members::of);
        total.reasoning_tokens = details.and_then(|details| details.value("thinking_tokens").and_then(self::count)).or(total.reasoning_tokens);
        if let Some(tier) = members.value("service_tier").and_then(Raw::text) {
            // Kept over events: a short word.
            self.tier = Some(tier_name(tier).into_escaped().into_owned());
        }
    }

    /// Takes Bedrock's own counts in, where the model said nothing.
    pub(super) fn take_metrics(&mut self, metrics: Raw<'_>) {
        let Some(members) = Members::of(metrics).filter(|_| self.usage.is_none()) else { return };
        let count = |name: &str| members.value(name).and_then(count).unwrap_or(0);
        self.usage = Some(Usage {
            input_tokens: count("inputTokenCount"),
            output_tokens: count("outputTokenCount"),
            cache_read_tokens: count("cacheReadInputTokenCount"),
            cache_write_tokens: count("cacheWriteInputTokenCount"),
            ..Usage::default()
        });
    }

    /// The counts, if anything was said.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The tier that served.
    pub(super) fn tier(&self) -> Option<Text<'_>> {
        self.tier.as_deref().map(Text::from_escaped)
    }

    /// The tier that served, for keeps.
    pub(super) fn into_tier(self) -> Option<Text<'static>> {
        self.tier.map(Text::from_escaped)
    }
}

fn count(raw: Raw<'_>) -> Option<u64> {
    raw.as_str().parse().ok()
}

/// A tier in OpenAI's words.
fn tier_name(tier: Text<'_>) -> Text<'_> {
    if tier == "standard" { Text::from_plain("default") } else { tier }
}

/// Why the model stopped.
pub(super) fn stop_reason(reason: Text<'_>) -> StopReason<'_> {
    match reason.escaped() {
        "end_turn" => StopReason::EndTurn,
        "stop_sequence" => StopReason::StopSequence,
        "max_tokens" => StopReason::MaxTokens,
        "tool_use" => StopReason::ToolUse,
        "refusal" => StopReason::ContentFiltered,
        "model_context_window_exceeded" => StopReason::ContextWindowExceeded,
        _ => StopReason::Other(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(pieces: &[&str]) -> Tally {
        let mut tally = Tally::default();
        pieces.iter().for_each(|piece| tally.take(Raw::parse(piece).unwrap()));
        tally
    }

    #[test]
    fn every_stop_reason_is_known() {
        for (name, reason) in [
            ("end_turn", StopReason::EndTurn),
            ("stop_sequence", StopReason::StopSequence),
            ("max_tokens", StopReason::MaxTokens),
            ("tool_use", StopReason::ToolUse),
            ("refusal", StopReason::ContentFiltered),
            ("model_context_window_exceeded", StopReason::ContextWindowExceeded),
            ("pause_turn", StopReason::Other(Text::from_plain("pause_turn"))),
            ("new_reason", StopReason::Other(Text::from_plain("new_reason"))),
        ] {
            assert_eq!(stop_reason(Text::from_plain(name)), reason, "{name}");
        }
    }

    #[test]
    fn trap_28_totals_replace_and_cache_writes_are_split() {
        let tally = tally(&[
            r#"{"input_tokens":10,"cache_creation_input_tokens":40,"cache_read_input_tokens":60,"output_tokens":1,"service_tier":"standard",
                "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":30}}"#,
            r#"{"output_tokens":5,"cache_read_input_tokens":60,"output_tokens_details":{"thinking_tokens":3},"input_tokens":null}"#,
        ]);
        let expected =
            Usage { input_tokens: 10, output_tokens: 5, cache_read_tokens: 60, cache_write_tokens: 40, cache_write_1h_tokens: 30, reasoning_tokens: Some(3) };
        assert_eq!(tally.usage(), Some(expected));
        assert!(tally.tier().unwrap() == "default");
    }

    #[test]
    fn odd_counts_count_as_not_there() {
        let tally = tally(&[r#"{"input_tokens":-1,"output_tokens":"7","cache_creation":3,"output_tokens_details":null,"service_tier":{}}"#, "[1]"]);
        assert_eq!(tally.usage(), Some(Usage::default()));
        assert!(tally.tier().is_none());
    }

    #[test]
    fn bedrocks_counts_stand_in() {
        let metrics = Raw::parse(r#"{"inputTokenCount":7,"outputTokenCount":8,"cacheReadInputTokenCount":9,"invocationLatency":1}"#).unwrap();
        let mut none = Tally::default();
        none.take_metrics(metrics);
        assert_eq!(none.usage(), Some(Usage { input_tokens: 7, output_tokens: 8, cache_read_tokens: 9, ..Usage::default() }));
        let mut some = tally(&[r#"{"input_tokens":1,"output_tokens":2}"#]);
        some.take_metrics(metrics);
        assert_eq!(some.usage().unwrap().input_tokens, 1);
    }
}
