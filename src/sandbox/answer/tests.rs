use http::HeaderMap;

use super::*;
use crate::sandbox::rules;

fn ask_model(id: &str, body: Value, cache: &PromptCache) -> Answer {
    let (model, knobs) = Knobs::of(id, &HeaderMap::new()).unwrap();
    let family = knobs.family.or_else(|| Family::of(model)).unwrap();
    rules::check(&body, family).unwrap_or_else(|failure| panic!("{}", failure.message));
    Question { model, family, knobs: &knobs, body: &body, body_sha256: "00" }.answer(cache)
}

fn ask(id: &str, body: Value) -> Answer {
    ask_model(id, body, &PromptCache::default())
}

fn user(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": text}]}]})
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn said(answer: &Answer) -> &str {
    match answer.blocks.as_slice() {
        [Block::Text(text)] | [.., Block::Text(text)] => text,
        other => panic!("{other:?}"),
    }
}

fn weather() -> Value {
    json!({"toolConfig": {"tools": [
        {"toolSpec": {"name": "get_weather", "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}},
        {"toolSpec": {"name": "get_time", "inputSchema": {"json": {"type": "object"}}}}
    ]}})
}

fn calls(answer: &Answer) -> Vec<(&str, &str)> {
    let calls = answer.blocks.iter().filter_map(|block| match block {
        Block::ToolUse { name, input, .. } => Some((name.as_str(), input.as_str())),
        _ => None,
    });
    calls.collect()
}

#[test]
fn text_echoes_the_last_user_turn_and_shows_the_system_prompt() {
    let answer = ask("sandbox", user("Hello!"));
    assert_eq!((said(&answer), answer.stop_reason), ("Echo: Hello!", "end_turn"));
    assert_eq!((answer.usage.input, answer.usage.output), (2, 3));
    let body = json!({
        "system": [{"text": "Be kind."}],
        "messages": [{"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": [{"text": "b"}]}, {"role": "user", "content": [{"text": "c "}, {"text": "#turns"}]}]
    });
    assert_eq!(said(&ask("sandbox", body)), "Echo: c #turns (system: Be kind.) (turns: 3)");
}

#[test]
fn attachments_are_described() {
    let body = json!({"messages": [{"role": "user", "content": [{"text": "look"}, {"image": {"format": "png", "source": {"bytes": PIXEL}}}, {"document": {"name": "notes", "format": "txt", "source": {"bytes": "aGk="}}}]}]});
    assert_eq!(said(&ask("sandbox", body)), "Echo: look [image png, 70 bytes] [document txt \"notes\", 2 bytes]");
}

#[test]
fn limits_and_stop_sequences_are_obeyed() {
    let answer = ask("sandbox", with(user("one two three"), json!({"inferenceConfig": {"maxTokens": 2}})));
    assert_eq!((said(&answer), answer.stop_reason, answer.usage.output), ("Echo: on", "max_tokens", 2));
    let answer = ask(
        "sandbox",
        with(user("one two three"), json!({"inferenceConfig": {"stopSequences": ["three", " two"]}, "additionalModelResponseFieldPaths": ["/stop_sequence"]})),
    );
    assert_eq!((said(&answer), answer.stop_reason), ("Echo: one", "stop_sequence"));
    assert_eq!(answer.fields, Some(json!({"stop_sequence": " two"})));
}

#[test]
fn tools_are_called_when_the_text_or_the_choice_says_so() {
    let id = "anthropic.claude-3-haiku-20240307-v1:0";
    let answer = ask(id, with(user("What is the weather in Berlin?"), weather()));
    assert_eq!(calls(&answer), [("get_weather", r#"{"city":"Berlin"}"#)]);
    assert!(matches!(&answer.blocks[0], Block::Text(text) if text == "I'll call get_weather."));
    assert_eq!(answer.stop_reason, "tool_use");
    assert_eq!(calls(&ask(id, with(user("Please use the tool."), weather()))).len(), 1);
    assert_eq!(calls(&ask(id, with(user("Say hi."), weather()))), []);
    let both = ask(id, with(user("Use both: weather in Rome, and time."), weather()));
    assert_eq!(calls(&both), [("get_weather", r#"{"city":"Rome"}"#), ("get_time", "{}")]);

    let mut forced = with(user("Say hi."), weather());
    forced["toolConfig"]["toolChoice"] = json!({"tool": {"name": "get_time"}});
    let answer = ask(id, forced.clone());
    assert_eq!((calls(&answer), answer.blocks.len()), (vec![("get_time", "{}")], 1));
    forced["toolConfig"]["toolChoice"] = json!({"any": {}});
    assert_eq!(calls(&ask(id, forced)), [("get_weather", r#"{"city":"Paris"}"#)]);
}

#[test]
fn one_tool_is_called_twice_for_both() {
    let mut body = with(user("What is the weather in both Paris and Rome?"), weather());
    body["toolConfig"]["tools"].as_array_mut().unwrap().pop();
    assert_eq!(calls(&ask("sandbox", body.clone())), [("get_weather", r#"{"city":"Paris"}"#), ("get_weather", r#"{"city":"Rome"}"#)]);
    body["additionalModelRequestFields"] = json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}});
    assert_eq!(calls(&ask("sandbox", body)).len(), 1);
}

#[test]
fn tool_results_are_quoted() {
    let body = with(
        json!({"messages": [
            {"role": "user", "content": [{"text": "weather in Berlin?"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "get_weather", "input": {}}}, {"toolUse": {"toolUseId": "b", "name": "get_time", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "21 degrees"}]}}, {"toolResult": {"toolUseId": "b", "content": [{"json": {"t": 1}}], "status": "error"}}]}
        ]}),
        weather(),
    );
    assert_eq!(said(&ask("sandbox", body)), r#"The tool says: 21 degrees; The tool failed: {"t":1}"#);
}

#[test]
fn structured_output_is_json_for_the_schema() {
    let format = |schema: &str| json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}}});
    let schema = r#"{"type":"object","properties":{"city":{"type":"string"},"n":{"type":"integer"}},"required":["city","n"],"additionalProperties":false}"#;
    assert_eq!(said(&ask("sandbox", with(user("weather in Oslo"), format(schema)))), r#"{"city":"Oslo","n":1}"#);
    let open = r#"{"type":"object","additionalProperties":true}"#;
    assert_eq!(said(&ask("sandbox", with(user("hi"), format(open)))), r#"{"echo":"hi"}"#);
}

#[test]
fn reasoning_is_signed_and_what_is_issued_is_accepted() {
    let thinking = json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "additionalModelResponseFieldPaths": ["/usage/output_tokens_details"]});
    let id = "anthropic.claude-3-7-sonnet-20250219-v1:0";
    let answer = ask(id, with(user("hi"), thinking));
    let [Block::Reasoning { text, signature: Some(signature) }, Block::Text(_)] = answer.blocks.as_slice() else { panic!("{:?}", answer.blocks) };
    assert_eq!(answer.fields, Some(json!({"usage": {"output_tokens_details": {"thinking_tokens": tokens(text.len())}}})));
    ask(
        id,
        json!({"messages": [
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}, {"text": "Echo: hi"}]},
            {"role": "user", "content": [{"text": "more"}]}
        ]}),
    );
    let effort = ask("openai.gpt-oss-120b-1:0", with(user("hi"), json!({"outputConfig": {"effort": "low"}})));
    assert!(matches!(effort.blocks[0], Block::Reasoning { signature: None, .. }));
}

#[test]
fn trap_27_and_28_the_cache_is_written_first_and_read_next() {
    let cache = PromptCache::default();
    let text = "x".repeat(400);
    let body = |question: &str| {
        json!({
            "system": [{"text": text}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
            "messages": [{"role": "user", "content": [{"text": text}, {"cachePoint": {"type": "default"}}, {"text": question}]}]
        })
    };
    let id = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let first = ask_model(id, body("12345678"), &cache).usage;
    assert_eq!((first.input, first.cache.clone().unwrap()), (2, CacheUsage { read: 0, write: 200, details: vec![("1h", 100), ("5m", 100)] }));
    assert_eq!(first.total(), 202 + first.output);
    let second = ask_model(id, body("1234"), &cache).usage;
    assert_eq!((second.input, second.cache.unwrap()), (1, CacheUsage { read: 200, write: 0, details: vec![] }));
    let other = ask_model("anthropic.claude-haiku-4-5-20251001-v1:0", body("1234"), &cache).usage;
    assert_eq!(other.cache.unwrap().read, 0);
    cache.clear();
    assert_eq!(ask_model(id, body("1234"), &cache).usage.cache.unwrap().read, 0);
}

#[test]
fn trap_45_guardrails_intervene_on_their_word() {
    let guardrail = json!({"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"}});
    let answer = ask("sandbox", with(user("this is sandbox-forbidden"), guardrail.clone()));
    assert_eq!((said(&answer), answer.stop_reason), (BLOCKED, "guardrail_intervened"));
    assert!(answer.trace.is_some());
    assert_eq!(ask("sandbox", with(user("this is fine"), guardrail)).stop_reason, "end_turn");
    assert_eq!(ask("sandbox", user("this is sandbox-forbidden")).stop_reason, "end_turn");
}

#[test]
fn knobs_choose_the_answer() {
    assert_eq!(said(&ask("sandbox.words-3", user("hi"))), "word1 word2 word3");
    assert_eq!(said(&ask("sandbox.kib-3", user("hi"))).len(), 3072);
    assert_eq!(ask("sandbox.stop-content-filtered", user("hi")).stop_reason, "content_filtered");
    assert!(ask("sandbox.answer-empty", user("hi")).blocks.is_empty());
    assert_eq!(calls(&ask("sandbox.answer-tool-empty", user("hi"))), [("sandbox_tool", "{}")]);
    assert!(matches!(ask("sandbox.answer-image", user("hi")).blocks[1], Block::Image(_)));
    assert!(matches!(ask("sandbox.answer-citations", user("hi")).blocks[0], Block::Citations { .. }));
    assert!(matches!(ask("sandbox.answer-redacted", user("hi")).blocks[0], Block::Redacted(_)));
    assert_eq!(ask("sandbox", with(user("hi"), json!({"serviceTier": {"type": "flex"}}))).service_tier.as_deref(), Some("flex"));
}
