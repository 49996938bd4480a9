use super::*;
use serde_json::{Value, json};

const COUNTS: Usage =
    Usage { input_tokens: 1, output_tokens: 2, cache_read_tokens: 3, cache_write_tokens: 4, cache_write_1h_tokens: 0, reasoning_tokens: Some(1) };

fn encoder(include_usage: bool, legacy_functions: bool) -> Encoder {
    let envelope = Envelope { id: "7".to_owned(), model: "a \"model\"".to_owned(), created: 1_700_000_000 };
    Encoder::new(&envelope, &Style { include_usage, legacy_functions })
}

fn text(plain: &str) -> Event<'_> {
    Event::TextDelta { block: 0, text: Text::from_plain(plain) }
}

fn thought(block: u32, plain: &str) -> Event<'_> {
    Event::ReasoningDelta { block, text: Text::from_plain(plain) }
}

fn seal(block: u32, plain: &str) -> Event<'_> {
    Event::ReasoningSignature { block, signature: Text::from_plain(plain) }
}

fn tool(block: u32, id: &str) -> Event<'_> {
    Event::ToolStart { block, id: Text::from_plain(id), name: Text::from_plain("look") }
}

fn fragment(block: u32, plain: &str) -> Event<'_> {
    Event::ToolDelta { block, fragment: Text::from_plain(plain) }
}

fn stop(reason: StopReason<'static>) -> Event<'static> {
    Event::Stop { reason, stop_sequence: None }
}

fn usage() -> Event<'static> {
    Event::Usage { usage: COUNTS, service_tier: Some(Text::from_plain("default")) }
}

fn failure() -> ApiError {
    ApiError::new(ErrorKind::RateLimited, "slow down")
}

/// The payloads of a stream; `[DONE]` as a string.
fn payloads(bytes: &[u8]) -> Vec<Value> {
    let stream = std::str::from_utf8(bytes).unwrap();
    assert!(stream.is_empty() || stream.ends_with("\n\n"));
    let payload = |event: &str| match event.strip_prefix("data: ").unwrap() {
        "[DONE]" => json!("[DONE]"),
        payload => serde_json::from_str(payload).unwrap(),
    };
    stream.split_terminator("\n\n").map(payload).collect()
}

fn run_with(mut encoder: Encoder, events: &[Event<'_>], end: &End) -> Vec<Value> {
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    encoder.finish(end, &mut out);
    let length = out.len();
    encoder.finish(&End::Complete, &mut out);
    encoder.finish(&End::Failed(failure()), &mut out);
    for event in events {
        encoder.event(event, &mut out);
    }
    assert_eq!(out.len(), length, "nothing comes after the end");
    payloads(&out)
}

fn run(events: &[Event<'_>]) -> Vec<Value> {
    run_with(encoder(false, false), events, &End::Complete)
}

/// The deltas, with the finish reason where there is one.
fn deltas(chunks: &[Value]) -> Vec<Value> {
    let delta = |chunk: &Value| {
        let Some(choice) = chunk["choices"].get(0) else { return chunk.clone() };
        assert_eq!(choice["index"], 0);
        if choice["finish_reason"].is_null() { choice["delta"].clone() } else { json!({"delta": choice["delta"], "finish": choice["finish_reason"]}) }
    };
    chunks.iter().map(delta).collect()
}

fn role() -> Value {
    json!({"role": "assistant", "content": ""})
}

fn finish(reason: &str) -> Value {
    json!({"delta": {}, "finish": reason})
}

fn arguments(index: u32, fragment: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})
}

fn call(index: u32, id: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": "look", "arguments": ""}}]})
}

#[test]
fn trap_48_a_text_answer_to_the_letter() {
    let mut encoder = encoder(false, false);
    let mut out = Vec::new();
    for event in [Event::Start, text("Hel\n"), text(""), Event::Unknown, text("\"lo"), Event::BlockStop { block: 0 }, stop(StopReason::EndTurn), usage()] {
        encoder.event(&event, &mut out);
    }
    encoder.finish(&End::Complete, &mut out);
    let head = r#"data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1700000000,"model":"a \"model\"","choices":[{"index":0,"delta":"#;
    let lines = [
        format!(r#"{head}{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}]}}"#),
        format!(r#"{head}{{"content":"Hel\n"}},"logprobs":null,"finish_reason":null}}]}}"#),
        format!(r#"{head}{{"content":"\"lo"}},"logprobs":null,"finish_reason":null}}]}}"#),
        format!(r#"{head}{{}},"logprobs":null,"finish_reason":"stop"}}]}}"#),
        "data: [DONE]".to_owned(),
    ];
    assert_eq!(String::from_utf8(out).unwrap(), lines.join("\n\n") + "\n\n");
}

#[test]
fn trap_47_usage_only_if_asked_for_and_then_last_with_no_choices() {
    let events = [Event::Start, text("Hi"), stop(StopReason::EndTurn), usage(), usage()];
    let without = run(&events);
    assert!(without.iter().filter(|chunk| chunk.is_object()).all(|chunk| chunk.get("usage").is_none()));
    let with = run_with(encoder(true, false), &events, &End::Complete);
    let [chunks @ .., last, done] = with.as_slice() else { panic!("too short") };
    assert_eq!(deltas(chunks), [role(), json!({"content": "Hi"}), finish("stop")]);
    assert!(chunks.iter().all(|chunk| chunk.as_object().unwrap().get("usage") == Some(&Value::Null)));
    assert_eq!(
        *last,
        json!({
            "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "a \"model\"", "choices": [],
            "usage": {
                "prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
            "service_tier": "default",
        })
    );
    assert_eq!(done, "[DONE]");
}

#[test]
fn trap_47_the_finish_never_waits_for_usage_and_usage_waits_for_the_finish() {
    let (mut encoder, mut out) = (encoder(true, false), Vec::new());
    for event in [Event::Start, usage(), text("Hi")] {
        encoder.event(&event, &mut out);
    }
    assert_eq!(payloads(&out).len(), 2);
    out.clear();
    encoder.event(&stop(StopReason::MaxTokens), &mut out);
    let after = payloads(&out);
    assert_eq!(after[0]["choices"][0]["finish_reason"], "length");
    assert_eq!(after[1]["usage"]["total_tokens"], 10);
    // No counts came: none are made up.
    let chunks = run_with(self::encoder(true, false), &[stop(StopReason::EndTurn)], &End::Complete);
    assert_eq!(deltas(&chunks), [role(), finish("stop"), json!("[DONE]")]);
}

#[test]
fn trap_07_tool_indices_are_dense_whatever_the_blocks_are() {
    let chunks = run(&[
        Event::Start,
        text("x"),
        tool(4, "a"),
        fragment(4, "{\"q\""),
        fragment(4, ""),
        fragment(4, ":1}"),
        Event::BlockStop { block: 4 },
        tool(9, "b"),
        fragment(9, "{}"),
        Event::BlockStop { block: 9 },
        stop(StopReason::ToolUse),
    ]);
    let expected = [
        role(),
        json!({"content": "x"}),
        call(0, "a"),
        arguments(0, "{\"q\""),
        arguments(0, ":1}"),
        call(1, "b"),
        arguments(1, "{}"),
        finish("tool_calls"),
        json!("[DONE]"),
    ];
    assert_eq!(deltas(&chunks), expected);
}

#[test]
fn interleaved_tools_keep_their_indices() {
    let chunks = run(&[tool(1, "a"), tool(2, "b"), fragment(1, "{"), fragment(2, "[1]"), fragment(1, "}"), stop(StopReason::ToolUse)]);
    let expected = [role(), call(0, "a"), call(1, "b"), arguments(0, "{"), arguments(1, "[1]"), arguments(0, "}"), finish("tool_calls"), json!("[DONE]")];
    assert_eq!(deltas(&chunks), expected);
}

#[test]
fn trap_08_a_tool_without_arguments_gets_an_empty_object() {
    // At the end of its block, or with the stop where the block never ended; once.
    for blocks in [vec![Event::BlockStop { block: 1 }, Event::BlockStop { block: 1 }], vec![]] {
        let mut events = vec![tool(1, "a"), fragment(1, "")];
        events.extend(blocks);
        events.push(stop(StopReason::ToolUse));
        assert_eq!(deltas(&run(&events)), [role(), call(0, "a"), arguments(0, "{}"), finish("tool_calls"), json!("[DONE]")]);
    }
}

#[test]
fn tool_calls_beside_an_end_of_turn_are_tool_calls() {
    let last = |events: &[Event<'_>]| deltas(&run(events)).into_iter().rev().nth(1).unwrap();
    assert_eq!(last(&[tool(0, "a"), stop(StopReason::EndTurn)]), finish("tool_calls"));
    assert_eq!(last(&[text("a"), stop(StopReason::Other(Text::from_plain("new")))]), finish("stop"));
    assert_eq!(last(&[text("a"), stop(StopReason::GuardrailIntervened)]), finish("content_filter"));
}

#[test]
fn legacy_functions_stream_one_function_call() {
    let events = [tool(3, "a"), fragment(3, "{\"a\""), tool(4, "b"), fragment(4, "{}"), fragment(3, ":1}"), stop(StopReason::ToolUse)];
    let chunks = run_with(encoder(false, true), &events, &End::Complete);
    let expected = [
        role(),
        json!({"function_call": {"name": "look", "arguments": ""}}),
        json!({"function_call": {"arguments": "{\"a\""}}),
        json!({"function_call": {"arguments": ":1}"}}),
        finish("function_call"),
        json!("[DONE]"),
    ];
    assert_eq!(deltas(&chunks), expected);
    let chunks = run_with(encoder(false, true), &[tool(3, "a"), stop(StopReason::ToolUse)], &End::Complete);
    assert_eq!(deltas(&chunks)[2], json!({"function_call": {"arguments": "{}"}}));
}

#[test]
fn one_thought_streams_as_two_strings() {
    let chunks = run(&[thought(0, "a\n"), thought(0, "b"), seal(0, "s1"), seal(0, "s2"), text("x"), stop(StopReason::EndTurn)]);
    let expected = [
        role(),
        json!({"reasoning_content": "a\n"}),
        json!({"reasoning_content": "b"}),
        json!({"reasoning_signature": "s1"}),
        json!({"reasoning_signature": "s2"}),
        json!({"content": "x"}),
        finish("stop"),
        json!("[DONE]"),
    ];
    assert_eq!(deltas(&chunks), expected);
}

#[test]
fn trap_32_encrypted_thoughts_and_several_ones_come_whole_before_the_finish() {
    let redacted = Event::ReasoningRedacted { block: 1, content: Text::from_plain("AAA=") };
    let chunks = run(&[thought(0, "a"), seal(0, "1"), redacted, thought(2, "b"), seal(2, "2"), text("x"), stop(StopReason::EndTurn)]);
    let blocks = json!([
        {"type": "thinking", "thinking": "a", "signature": "1"},
        {"type": "redacted_thinking", "data": "AAA="},
        {"type": "thinking", "thinking": "b", "signature": "2"},
    ]);
    let expected = [
        role(),
        json!({"reasoning_content": "a"}),
        json!({"reasoning_signature": "1"}),
        json!({"reasoning_content": "b"}),
        json!({"content": "x"}),
        json!({"thinking_blocks": blocks}),
        finish("stop"),
        json!("[DONE]"),
    ];
    assert_eq!(deltas(&chunks), expected);
    // Without seals there is nothing that a model would take back.
    let chunks = run(&[thought(0, "a"), thought(1, "b"), stop(StopReason::EndTurn)]);
    assert_eq!(chunks.len(), 5);
}

#[test]
fn trap_01_a_failure_is_the_last_word_and_said_once() {
    let error = json!({"error": {"message": "slow down", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"}});
    for (events, deltas_before) in [(vec![], 0), (vec![Event::Start, text("x")], 2), (vec![Event::Start, stop(StopReason::EndTurn)], 2)] {
        let by_end = run_with(encoder(true, false), &events, &End::Failed(failure()));
        assert_eq!(by_end.len(), deltas_before + 1);
        assert_eq!(by_end[deltas_before], error);
        let by_event: Vec<_> = events.iter().cloned().chain([Event::Failed(failure()), text("y"), stop(StopReason::EndTurn), usage()]).collect();
        for end in [End::Complete, End::Failed(failure())] {
            assert_eq!(run_with(encoder(true, false), &by_event, &end), by_end);
        }
    }
}

#[test]
fn an_end_without_a_stop_is_a_failure() {
    for events in [vec![], vec![Event::Start, text("x")]] {
        let chunks = run(&events);
        assert_eq!(chunks.last().unwrap()["error"]["code"], "upstream_error");
    }
}

#[test]
fn odd_orders_do_no_harm() {
    // Arguments without a tool, a block that never began, a late start, words after the stop.
    let events = [
        fragment(1, "{}"),
        Event::BlockStop { block: 5 },
        text("a"),
        Event::Start,
        stop(StopReason::EndTurn),
        text("b"),
        tool(1, "a"),
        stop(StopReason::MaxTokens),
    ];
    assert_eq!(deltas(&run(&events)), [role(), json!({"content": "a"}), finish("stop"), json!("[DONE]")]);
    // Arguments for a tool that is complete.
    let events = [tool(1, "a"), Event::BlockStop { block: 1 }, fragment(1, "x"), stop(StopReason::ToolUse)];
    assert_eq!(deltas(&run(&events)), [role(), call(0, "a"), arguments(0, "{}"), finish("tool_calls"), json!("[DONE]")]);
}

#[test]
fn deltas_take_no_memory_of_their_own() {
    let mut encoder = encoder(true, false);
    let mut out = Vec::new();
    encoder.event(&tool(1, "a"), &mut out);
    let (text, fragment) = (text("forty-two is the answer"), fragment(1, "{\"a\":"));
    encoder.event(&text, &mut out);
    encoder.event(&fragment, &mut out);
    let (capacity, place, tools) = (out.capacity(), out.as_ptr(), encoder.tools.capacity());
    for _ in 0..1000 {
        out.clear();
        encoder.event(&text, &mut out);
        encoder.event(&fragment, &mut out);
    }
    assert_eq!((out.capacity(), out.as_ptr(), encoder.tools.capacity()), (capacity, place, tools));
}

proptest::proptest! {
    #[test]
    fn any_order_of_events_gives_whole_events_and_at_most_one_end(picks in proptest::collection::vec((0_u8..12, 0_u32..4), 0..40), complete: bool) {
        let event = |(kind, block): (u8, u32)| match kind {
            0 => Event::Start,
            1 | 2 => text("a\nb"),
            3 => thought(block, "t"),
            4 => seal(block, "s"),
            5 => Event::ReasoningRedacted { block, content: Text::from_plain("AA==") },
            6 => tool(block, "id"),
            7 => fragment(block, "{"),
            8 => Event::BlockStop { block },
            9 => stop(StopReason::EndTurn),
            10 => usage(),
            _ if block == 3 => Event::Failed(failure()),
            _ => Event::Unknown,
        };
        let events: Vec<_> = picks.into_iter().map(event).collect();
        let end = if complete { End::Complete } else { End::Failed(failure()) };
        let chunks = run_with(encoder(true, false), &events, &end);
        let ends = chunks.iter().filter(|chunk| chunk.is_string() || chunk.get("error").is_some()).count();
        proptest::prop_assert_eq!(ends, 1);
        let last = chunks.last().unwrap();
        proptest::prop_assert!(last.is_string() || last.get("error").is_some());
        let finishes = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).count();
        proptest::prop_assert!(finishes <= 1 && (!last.is_string() || finishes == 1));
        let roles = chunks.iter().filter(|chunk| chunk["choices"][0]["delta"].get("role").is_some()).count();
        proptest::prop_assert!(roles <= 1);
    }
}
