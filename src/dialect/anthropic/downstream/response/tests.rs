use super::*;
use crate::chat::Citation;
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

fn answer(parts: Vec<Part<'static>>, stop: StopReason<'static>) -> Response<'static> {
    Response { parts, citations: vec![], stop, stop_sequence: None, usage: None, service_tier: None }
}

fn written_with(response: &Response<'_>, stop: &[&str]) -> Value {
    let mut out = Vec::new();
    encode(response, &envelope(), &Style { stop: stop.iter().map(|&text| text.to_owned()).collect() }, &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn written(response: &Response<'_>) -> Value {
    written_with(response, &[])
}

fn content(parts: Vec<Part<'static>>) -> Value {
    written(&answer(parts, StopReason::EndTurn))["content"].clone()
}

#[test]
fn a_whole_answer_to_the_letter() {
    let mut response = answer(vec![text("Hi \"you\"\n")], StopReason::EndTurn);
    response.usage = Some(Usage { input_tokens: 5, output_tokens: 7, ..Usage::default() });
    let mut out = Vec::new();
    encode(&response, &envelope(), &Style::default(), &mut out);
    let expected = r#"{"id":"msg_1-\"2","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hi \"you\"\n"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":7}}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn trap_43_parts_stay_blocks_of_their_own_in_their_order() {
    let thought = |plain, seal: Option<&'static str>| Part::Reasoning(Reasoning { text: Text::from_plain(plain), signature: seal.map(Text::from_plain) });
    let sealed = Part::RedactedReasoning(Text::from_plain("AAE="));
    let parts = vec![thought("hm", Some("S==")), thought("", Some("ONLY")), thought("open", None), sealed, text("a"), text(""), text(" "), tool_use("t", "{}")];
    let expected = json!([
        {"type": "thinking", "thinking": "hm", "signature": "S=="},
        {"type": "thinking", "thinking": "", "signature": "ONLY"},
        {"type": "thinking", "thinking": "open", "signature": ""},
        {"type": "redacted_thinking", "data": "AAE="},
        {"type": "text", "text": "a"},
        {"type": "text", "text": " "},
        {"type": "tool_use", "id": "t", "name": "look", "input": {}},
    ]);
    assert_eq!(content(parts), expected);
    assert_eq!(content(vec![]), json!([]));
}

#[test]
fn trap_09_arguments_are_an_object_whatever_the_model_wrote() {
    for (input, expected) in [
        (r#"{"a":{"b":[1.0]}}"#, json!({"a": {"b": [1.0]}})),
        (" {\n } ", json!({})),
        ("", json!({})),
        ("null", json!({})),
        ("[1]", json!({})),
        ("\"x\"", json!({})),
        ("{\"a\":", json!({})),
        ("{} {}", json!({})),
    ] {
        assert_eq!(content(vec![tool_use("t", input)])[0]["input"], expected, "{input}");
    }
}

#[test]
fn stop_reasons_say_what_the_client_gets() {
    let other = || StopReason::Other(Text::from_plain("new"));
    for (stop, without, with) in [
        (StopReason::EndTurn, "end_turn", "tool_use"),
        (StopReason::ToolUse, "end_turn", "tool_use"),
        (other(), "end_turn", "tool_use"),
        (StopReason::StopSequence, "stop_sequence", "stop_sequence"),
        (StopReason::MaxTokens, "max_tokens", "max_tokens"),
        (StopReason::ContentFiltered, "refusal", "refusal"),
        (StopReason::GuardrailIntervened, "refusal", "refusal"),
        (StopReason::ContextWindowExceeded, "model_context_window_exceeded", "model_context_window_exceeded"),
        (StopReason::MalformedOutput, "end_turn", "end_turn"),
        (StopReason::MalformedToolUse, "end_turn", "end_turn"),
    ] {
        assert_eq!(written(&answer(vec![text("x")], stop.clone()))["stop_reason"], without, "{stop:?}");
        assert_eq!(written(&answer(vec![tool_use("t", "{}")], stop.clone()))["stop_reason"], with, "{stop:?}");
    }
}

#[test]
fn trap_48_the_stop_text_that_was_met_is_told() {
    let told = Some(Text::from_escaped(r"E\nD"));
    for (stop, told, asked, expected) in [
        (StopReason::StopSequence, told.clone(), vec!["A", "B"], json!("E\nD")),
        (StopReason::StopSequence, None, vec![r"A\n"], json!("A\n")),
        (StopReason::StopSequence, None, vec!["A", "B"], json!(null)),
        (StopReason::StopSequence, None, vec![], json!(null)),
        (StopReason::EndTurn, None, vec!["A"], json!(null)),
        (StopReason::MaxTokens, told, vec!["A"], json!(null)),
    ] {
        let response = Response { stop_sequence: told, ..answer(vec![text("x")], stop) };
        let written = written_with(&response, &asked);
        assert_eq!(written.get("stop_sequence"), Some(&expected));
    }
}

#[test]
fn trap_27_28_token_counts_stay_apart() {
    let counts =
        Usage { input_tokens: 1, output_tokens: 2, cache_read_tokens: 30, cache_write_tokens: 500, cache_write_1h_tokens: 200, reasoning_tokens: Some(1) };
    let mut response = answer(vec![], StopReason::EndTurn);
    response.usage = Some(counts);
    for (tier, expected) in [(None, None), (Some("default"), Some("standard")), (Some("priority"), Some("priority")), (Some("flex"), None)] {
        response.service_tier = tier.map(Text::from_plain);
        let mut usage = json!({
            "input_tokens": 1, "cache_creation_input_tokens": 500, "cache_read_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
            "output_tokens": 2, "output_tokens_details": {"thinking_tokens": 1},
        });
        if let Some(tier) = expected {
            usage["service_tier"] = json!(tier);
        }
        assert_eq!(written(&response)["usage"], usage);
    }
    // More than all is all.
    response.usage = Some(Usage { cache_write_1h_tokens: 600, ..counts });
    assert_eq!(written(&response)["usage"]["cache_creation"], json!({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 500}));
    response.usage = None;
    assert_eq!(written(&response)["usage"]["output_tokens"], 0);
}

#[test]
fn citations_have_no_place() {
    let cited = Citation { span: 0..1, url: Text::from_plain("https://x"), title: None };
    let response = Response { citations: vec![cited], ..answer(vec![text("x")], StopReason::EndTurn) };
    assert_eq!(written(&response)["content"], json!([{"type": "text", "text": "x"}]));
}

#[test]
fn a_count() {
    let mut out = Vec::new();
    encode_count(42, &mut out);
    assert_eq!(out, br#"{"input_tokens":42}"#);
}
