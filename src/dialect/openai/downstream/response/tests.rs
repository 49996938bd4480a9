use super::*;
use crate::chat::Request;
use crate::dialect::openai::downstream::request;
use serde_json::{Value, json};

fn envelope() -> Envelope {
    Envelope { id: "1-\"2".to_owned(), model: "claude".to_owned(), created: 1_700_000_000 }
}

fn text(plain: &'static str) -> Part<'static> {
    Part::Text(Text::from_plain(plain))
}

fn tool_use(id: &'static str, input: &'static str) -> Part<'static> {
    Part::ToolUse(ToolUse { id: Text::from_plain(id), name: Text::from_plain("look"), input: input.into() })
}

fn thought(plain: &'static str, signature: Option<&'static str>) -> Part<'static> {
    Part::Reasoning(Reasoning { text: Text::from_plain(plain), signature: signature.map(Text::from_plain) })
}

fn answer(parts: Vec<Part<'static>>, stop: StopReason<'static>) -> Response<'static> {
    Response { parts, citations: vec![], stop, stop_sequence: None, usage: None, service_tier: None }
}

fn written(response: &Response<'_>, legacy_functions: bool) -> Value {
    let mut out = Vec::new();
    encode(response, &envelope(), &Style { include_usage: false, legacy_functions }, &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn message(parts: Vec<Part<'static>>) -> Value {
    written(&answer(parts, StopReason::EndTurn), false)["choices"][0]["message"].clone()
}

#[test]
fn a_whole_answer() {
    let mut response = answer(vec![text("Hi \"you\"\n")], StopReason::EndTurn);
    response.usage = Some(Usage { input_tokens: 5, output_tokens: 7, ..Usage::default() });
    response.service_tier = Some(Text::from_plain("flex"));
    assert_eq!(
        written(&response, false),
        json!({
            "id": "chatcmpl-1-\"2", "object": "chat.completion", "created": 1_700_000_000, "model": "claude",
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "Hi \"you\"\n", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            },
            "service_tier": "flex",
        })
    );
}

#[test]
fn what_the_upstream_did_not_tell_is_not_made_up() {
    let written = written(&answer(vec![text("Hi")], StopReason::EndTurn), false);
    for member in ["usage", "service_tier", "system_fingerprint"] {
        assert!(written.get(member).is_none(), "{member}");
    }
}

#[test]
fn trap_43_several_texts_are_joined_with_nothing_between_them() {
    assert_eq!(message(vec![text("Hel"), tool_use("a", "{}"), text("lo"), text(""), text("\n!")])["content"], "Hello\n!");
    // Halves of a surrogate pair, one in each text.
    let halves = ["\\ud83d", "\\ude00"].map(|half| Part::Text(Text::from_escaped(half)));
    assert_eq!(message(halves.into())["content"], "\u{1f600}");
}

#[test]
fn content_is_null_without_text() {
    for parts in [vec![], vec![text("")], vec![tool_use("a", "{}")]] {
        assert_eq!(message(parts)["content"], Value::Null);
    }
}

#[test]
fn tool_uses_become_tool_calls_with_arguments_as_a_string() {
    let message = message(vec![tool_use("a", r#"{"q":"\"\\"}"#), text("x"), tool_use("b", "")]);
    assert_eq!(
        message["tool_calls"],
        json!([
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": r#"{"q":"\"\\"}"#}},
            {"id": "b", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        ])
    );
    assert!(message.get("function_call").is_none());
}

#[test]
fn legacy_functions_get_one_function_call() {
    let response = answer(vec![tool_use("a", "{\"a\":1}"), tool_use("b", "{}")], StopReason::ToolUse);
    let choice = &written(&response, true)["choices"][0];
    assert_eq!(choice["message"]["function_call"], json!({"name": "look", "arguments": "{\"a\":1}"}));
    assert!(choice["message"].get("tool_calls").is_none());
    assert_eq!(choice["finish_reason"], "function_call");
}

#[test]
fn trap_45_every_stop_reason_has_its_finish_reason() {
    let other = || StopReason::Other(Text::from_plain("something_new"));
    // (reason, without tool calls, with them)
    for (stop, without, with) in [
        (StopReason::EndTurn, "stop", "tool_calls"),
        (StopReason::StopSequence, "stop", "tool_calls"),
        (StopReason::ToolUse, "stop", "tool_calls"),
        (StopReason::MaxTokens, "length", "length"),
        (StopReason::ContextWindowExceeded, "length", "length"),
        (StopReason::ContentFiltered, "content_filter", "content_filter"),
        (StopReason::GuardrailIntervened, "content_filter", "content_filter"),
        (StopReason::MalformedOutput, "stop", "stop"),
        (StopReason::MalformedToolUse, "stop", "stop"),
        (other(), "stop", "stop"),
    ] {
        let style = Style::default();
        assert_eq!(finish_reason(&stop, false, &style), without, "{stop:?}");
        assert_eq!(finish_reason(&stop, true, &style), with, "{stop:?}");
        let legacy = Style { legacy_functions: true, ..style };
        assert_eq!(finish_reason(&stop, true, &legacy), if with == "tool_calls" { "function_call" } else { with }, "{stop:?}");
    }
}

#[test]
fn trap_27_the_prompt_includes_what_the_cache_gave_and_took() {
    let mut response = answer(vec![], StopReason::EndTurn);
    response.usage = Some(Usage {
        input_tokens: 1,
        output_tokens: 20,
        cache_read_tokens: 300,
        cache_write_tokens: 4000,
        cache_write_1h_tokens: 400,
        reasoning_tokens: Some(8),
    });
    assert_eq!(
        written(&response, false)["usage"],
        json!({
            "prompt_tokens": 4301, "completion_tokens": 20, "total_tokens": 4321,
            "prompt_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 4000},
            "completion_tokens_details": {"reasoning_tokens": 8},
        })
    );
    response.usage = Some(Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() });
    assert_eq!(written(&response, false)["usage"]["total_tokens"], u64::MAX);
}

/// What the request reader makes of a message that a client sends back as it came.
fn replayed(message: &Value) -> Vec<String> {
    let body = json!({"model": "m", "messages": [message]}).to_string();
    let request: Request<'_> = request::decode(&body).unwrap().request;
    let parts = request.messages[0].parts.iter().map(|part| match part {
        Part::Reasoning(Reasoning { text, signature }) => format!("{}|{}", text.unescape(), signature.as_ref().map_or_else(|| "-".into(), Text::unescape)),
        Part::RedactedReasoning(content) => format!("redacted {}", content.unescape()),
        Part::Text(text) => text.unescape().into_owned(),
        other => panic!("{other:?}"),
    });
    parts.collect()
}

#[test]
fn trap_30_one_thought_travels_in_two_strings_and_back() {
    let message = message(vec![thought("think \"hard\"\n", Some("si+g/==")), text("x")]);
    assert_eq!(message["reasoning_content"], "think \"hard\"\n");
    assert_eq!(message["reasoning_signature"], "si+g/==");
    assert!(message.get("thinking_blocks").is_none());
    assert_eq!(replayed(&message), ["think \"hard\"\n|si+g/==", "x"]);
}

#[test]
fn trap_30_a_seal_without_a_thought_travels_too() {
    let message = message(vec![thought("", Some("sig")), text("x")]);
    assert!(message.get("reasoning_content").is_none());
    assert_eq!(replayed(&message), ["|sig", "x"]);
}

#[test]
fn trap_32_encrypted_thoughts_and_several_ones_travel_as_blocks() {
    let several = message(vec![thought("a", Some("1")), Part::RedactedReasoning(Text::from_plain("AAA=")), thought("b", Some("2")), text("x")]);
    assert_eq!(several["reasoning_content"], "ab");
    assert!(several.get("reasoning_signature").is_none());
    assert_eq!(
        several["thinking_blocks"],
        json!([
            {"type": "thinking", "thinking": "a", "signature": "1"},
            {"type": "redacted_thinking", "data": "AAA="},
            {"type": "thinking", "thinking": "b", "signature": "2"},
        ])
    );
    assert_eq!(replayed(&several), ["a|1", "redacted AAA=", "b|2", "x"]);
    assert_eq!(replayed(&message(vec![Part::RedactedReasoning(Text::from_plain("AAA="))])), ["redacted AAA="]);
}

#[test]
fn thoughts_without_a_seal_are_only_shown() {
    let message = message(vec![thought("a", None), thought("b", None), text("x")]);
    assert_eq!(message["reasoning_content"], "ab");
    assert!(message.get("thinking_blocks").is_none() && message.get("reasoning_signature").is_none());
    assert_eq!(message["content"], "x");
}
