use std::borrow::Cow;

use serde_json::{Value, json};

use super::*;
use crate::chat::{Reasoning, Restore};
use crate::dialect::converse::upstream;

fn plain(text: &'static str) -> Text<'static> {
    Text::from_plain(text)
}

fn answer(parts: Vec<Part<'static>>, stop: StopReason<'static>) -> Response<'static> {
    Response { parts, citations: vec![], stop, stop_sequence: None, usage: None, service_tier: None }
}

fn tool(input: &'static str) -> Part<'static> {
    Part::ToolUse(ToolUse { id: plain("t"), name: plain("f"), input: Cow::Borrowed(input) })
}

fn text_of(response: &Response<'_>, style: Style) -> String {
    let mut out = Vec::new();
    encode_with(response, 12, &style, &mut out);
    String::from_utf8(out).unwrap()
}

fn body(response: &Response<'_>) -> Value {
    serde_json::from_str(&text_of(response, Style::default())).unwrap()
}

#[test]
fn all_that_clients_require_is_there() {
    let found = body(&answer(vec![], StopReason::EndTurn));
    assert_eq!(
        found,
        json!({"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn",
            "usage":{"inputTokens":0,"outputTokens":0,"totalTokens":0},"metrics":{"latencyMs":12}})
    );
}

#[test]
fn every_part_of_an_answer() {
    let mut response = answer(
        vec![
            Part::Reasoning(Reasoning { text: plain("hm\n"), signature: Some(plain("S==")) }),
            Part::Reasoning(Reasoning { text: plain("open"), signature: None }),
            Part::RedactedReasoning(plain("AAEC")),
            Part::Text(plain("")),
            Part::Text(plain("a \"b\"")),
            tool(r#"{"x": 1.50}"#),
        ],
        StopReason::ToolUse,
    );
    response.citations = vec![Citation { span: 0..3, url: plain("https://a"), title: Some(plain("A")) }];
    response.service_tier = Some(plain("flex"));
    let found = body(&response);
    assert_eq!(
        found["output"]["message"]["content"],
        json!([
            {"reasoningContent":{"reasoningText":{"text":"hm\n","signature":"S=="}}},
            {"reasoningContent":{"reasoningText":{"text":"open"}}},
            {"reasoningContent":{"redactedContent":"AAEC"}},
            {"text":"a \"b\""},
            {"toolUse":{"toolUseId":"t","name":"f","input":{"x":1.5}}},
            {"citationsContent":{"citations":[{"title":"A","location":{"web":{"url":"https://a"}}}]}},
        ])
    );
    assert_eq!(found["serviceTier"], json!({"type":"flex"}));
}

#[test]
fn trap_09_input_is_always_an_object() {
    for (input, written) in [("", "{}"), ("null", "{}"), ("[1]", "{}"), ("{\"a\":", "{}"), (" {\"b\":1,\"a\":2} ", "{\"b\":1,\"a\":2}")] {
        let text = text_of(&answer(vec![tool(input)], StopReason::ToolUse), Style::default());
        assert!(text.contains(&format!(r#""input":{written}}}"#)), "{input}: {text}");
    }
}

#[test]
fn stop_reasons_in_bedrocks_words() {
    for (reason, name) in [
        (StopReason::EndTurn, "end_turn"),
        (StopReason::StopSequence, "stop_sequence"),
        (StopReason::MaxTokens, "max_tokens"),
        (StopReason::ToolUse, "end_turn"),
        (StopReason::ContentFiltered, "content_filtered"),
        (StopReason::GuardrailIntervened, "guardrail_intervened"),
        (StopReason::ContextWindowExceeded, "model_context_window_exceeded"),
        (StopReason::MalformedOutput, "malformed_model_output"),
        (StopReason::MalformedToolUse, "malformed_tool_use"),
        (StopReason::Other(plain("new")), "end_turn"),
    ] {
        assert_eq!(stop_reason(&reason, false), name);
    }
    for (reason, name) in [(StopReason::EndTurn, "tool_use"), (StopReason::ToolUse, "tool_use"), (StopReason::MaxTokens, "max_tokens")] {
        assert_eq!(stop_reason(&reason, true), name, "clients look at it to know whether there are tools to run");
    }
}

#[test]
fn trap_27_28_cached_tokens_are_told_apart_and_are_part_of_the_total() {
    let of = |counts: Usage| {
        let mut out = Vec::new();
        usage(&counts, &mut out);
        serde_json::from_slice::<Value>(&out).unwrap()
    };
    let cached =
        Usage { input_tokens: 10, output_tokens: 5, cache_read_tokens: 60, cache_write_tokens: 40, cache_write_1h_tokens: 30, reasoning_tokens: Some(3) };
    assert_eq!(
        of(cached),
        json!({"inputTokens":10,"outputTokens":5,"totalTokens":115,"cacheReadInputTokens":60,"cacheWriteInputTokens":40,
            "cacheDetails":[{"ttl":"1h","inputTokens":30},{"ttl":"5m","inputTokens":10}]})
    );
    let short = Usage { cache_read_tokens: 1, ..Usage::default() };
    assert_eq!(of(short), json!({"inputTokens":0,"outputTokens":0,"totalTokens":1,"cacheReadInputTokens":1,"cacheWriteInputTokens":0}));
}

#[test]
fn trap_48_the_stop_text_is_told_to_those_who_ask() {
    let response = Response { stop_sequence: Some(plain("END")), ..answer(vec![], StopReason::StopSequence) };
    assert!(!text_of(&response, Style::default()).contains("END"));
    assert!(text_of(&response, Style { stop_sequence: true }).contains(r#""additionalModelResponseFields":{"stop_sequence":"END"}"#));
}

#[test]
fn tiers_in_bedrocks_words() {
    for (tier, name) in [("default", "default"), ("flex", "flex"), ("priority", "priority"), ("fast", "priority"), ("scale", "reserved")] {
        let response = Response { service_tier: Some(plain(tier)), ..answer(vec![], StopReason::EndTurn) };
        assert_eq!(body(&response)["serviceTier"]["type"], name);
    }
    let response = Response { service_tier: Some(plain("auto")), ..answer(vec![], StopReason::EndTurn) };
    assert!(body(&response).get("serviceTier").is_none());
}

#[test]
fn the_upstreams_side_reads_it_back() {
    let response = Response {
        usage: Some(Usage { input_tokens: 1, output_tokens: 2, cache_read_tokens: 3, cache_write_tokens: 4, cache_write_1h_tokens: 4, reasoning_tokens: None }),
        stop_sequence: Some(plain("END")),
        service_tier: Some(plain("priority")),
        ..answer(
            vec![
                Part::Reasoning(Reasoning { text: plain("hm"), signature: Some(plain("S==")) }),
                Part::RedactedReasoning(plain("AAEC")),
                Part::Text(plain("a")),
                tool("{\"x\":1}"),
            ],
            StopReason::ToolUse,
        )
    };
    let style = Style { stop_sequence: true };
    let text = text_of(&response, style);
    let restore = Restore::default();
    let read = upstream::response::decode(&text, &restore).unwrap();
    assert_eq!(text_of(&read, style), text);
    assert_eq!((read.usage, read.stop), (response.usage, StopReason::ToolUse));
    let (usage, stop) = upstream::response::usage(&text);
    assert_eq!((usage, stop), (response.usage, Some("tool_use")));
}

#[test]
fn a_count() {
    let mut out = Vec::new();
    encode_count(12, &mut out);
    assert_eq!(out, br#"{"inputTokens":12}"#);
}
