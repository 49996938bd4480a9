use super::*;

/// The parts in short.
fn short(response: &Response<'_>) -> Vec<String> {
    let of = |part: &Part<'_>| match part {
        Part::Text(text) => format!("text {}", text.unescape()),
        Part::ToolUse(used) => format!("tool {} {} {}", used.id.unescape(), used.name.unescape(), used.input),
        Part::Reasoning(thought) => format!("thought {}", thought.text.unescape()),
        other => format!("{other:?}"),
    };
    response.parts.iter().map(of).collect()
}

/// The parts and the reason of an answer whose only choice is this.
fn choice(json: &str) -> (Vec<String>, StopReason<'static>) {
    let body = format!(r#"{{"id":"x","object":"chat.completion","choices":[{json}]}}"#);
    let restore = Restore::default();
    let response = decode(&body, &restore).unwrap();
    let stop = match response.stop.clone() {
        StopReason::Other(name) => StopReason::Other(name.into_owned()),
        StopReason::EndTurn => StopReason::EndTurn,
        StopReason::StopSequence => StopReason::StopSequence,
        StopReason::MaxTokens => StopReason::MaxTokens,
        StopReason::ToolUse => StopReason::ToolUse,
        StopReason::ContentFiltered => StopReason::ContentFiltered,
        StopReason::MalformedToolUse => StopReason::MalformedToolUse,
        other => panic!("{other:?}"),
    };
    (short(&response), stop)
}

#[test]
fn an_answer_as_openai_writes_it() {
    let body = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-5.2","choices":[{"index":0,"message":{"role":"assistant",
        "content":"Hi \"you\"\n","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],
        "usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":16,"audio_tokens":0},
        "completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},
        "service_tier":"default","system_fingerprint":null}"#;
    let restore = Restore::default();
    let response = decode(body, &restore).unwrap();
    assert_eq!((short(&response), &response.stop), (vec!["text Hi \"you\"\n".to_owned()], &StopReason::EndTurn));
    let usage = response.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens), (3, 16, 10, Some(4)));
    assert!(response.service_tier.unwrap() == "default");
}

#[test]
fn tools_are_used_with_objects_and_their_own_names() {
    let body = r#"{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[
        {"id":"call_a","type":"function","function":{"name":"f_1","arguments":"{\"a\":\"\\\"x\\\"\"}"}},
        {"id":"","type":"function","function":{"name":"g","arguments":""}},
        {"type":"function","function":{"name":"h","arguments":"[1]"}},
        {"id":"d","function":{"name":"i","arguments":{"b": 1}}},
        {"id":"e","function":{"name":"j","arguments":" {} "}},
        {"id":"f","function":{"name":"k","arguments":"{\"a\":"}},
        {"id":"g","type":"custom","custom":{"name":"z","input":"text"}}]},"finish_reason":"tool_calls"}]}"#;
    let restore = Restore { names: vec![("f_1".to_owned(), "f.1".to_owned())], ..Restore::default() };
    let response = decode(body, &restore).unwrap();
    assert_eq!(
        short(&response),
        ["tool call_a f.1 {\"a\":\"\\\"x\\\"\"}", "tool call_1 g {}", "tool call_2 h {}", "tool d i {\"b\":1}", "tool e j {}", "tool f k {}"]
            .map(|line| line.replace("{\"b\":1}", "{\"b\": 1}"))
    );
    assert_eq!(response.stop, StopReason::ToolUse);
}

#[test]
fn irregular_answers_are_read() {
    for (json, parts, stop) in [
        (r#"{"finish_reason":"content_filter","index":0}"#, vec![], StopReason::ContentFiltered),
        (r#"{"message":null,"finish_reason":null}"#, vec![], StopReason::EndTurn),
        (r#"{"message":{"content":"","refusal":"I cannot"},"finish_reason":"stop"}"#, vec!["text I cannot"], StopReason::EndTurn),
        (
            r#"{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},"finish_reason":"length"}"#,
            vec!["text a", "text b"],
            StopReason::MaxTokens,
        ),
        (r#"{"message":{"reasoning_content":"hm","reasoning":"hm","content":"a"},"finish_reason":"stop"}"#, vec!["thought hm", "text a"], StopReason::EndTurn),
        (r#"{"message":{"reasoning":"hm","reasoning_content":null,"content":null},"finish_reason":"stop"}"#, vec!["thought hm"], StopReason::EndTurn),
        (r#"{"message":{"content":"a"},"finish_reason":"stop","stop_reason":128009}"#, vec!["text a"], StopReason::EndTurn),
        (
            r#"{"message":{"content":null,"function_call":{"name":"f","arguments":"{}"}},"finish_reason":"function_call"}"#,
            vec!["tool call_0 f {}"],
            StopReason::ToolUse,
        ),
        (
            r#"{"message":{"content":"","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}"#,
            vec!["tool a f {}"],
            StopReason::ToolUse,
        ),
        (
            r#"{"message":{"content":null,"tool_calls":[{"id":"a","function":{"arguments":"{}"}}]},"finish_reason":"tool_calls"}"#,
            vec![],
            StopReason::MalformedToolUse,
        ),
        (r#"{"message":{"content":"a","tool_calls":[]},"finish_reason":"tool_calls"}"#, vec!["text a"], StopReason::EndTurn),
        (r#"{"message":{"content":"a"},"finish_reason":"abort"}"#, vec!["text a"], StopReason::Other(Text::from_plain("abort"))),
    ] {
        assert_eq!(choice(json), (parts.into_iter().map(str::to_owned).collect(), stop), "{json}");
    }
}

#[test]
fn trap_48_the_stop_text_is_told() {
    let restore = Restore::default();
    for member in ["stop_reason", "matched_stop"] {
        let body = format!(r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop","{member}":"END\n"}}]}}"#);
        let response = decode(&body, &restore).unwrap();
        assert_eq!(response.stop, StopReason::StopSequence);
        assert!(response.stop_sequence.unwrap() == "END\n");
    }
}

#[test]
fn the_choice_of_the_index_0_counts() {
    let restore = Restore::default();
    let body = r#"{"choices":[{"index":1,"message":{"content":"b"}},{"index":0,"message":{"content":"a"}},{"index":2,"message":{"content":"c"}}]}"#;
    assert_eq!(short(&decode(body, &restore).unwrap()), ["text a"]);
    assert_eq!(short(&decode(r#"{"choices":[{"index":1,"message":{"content":"b"}}]}"#, &restore).unwrap()), ["text b"]);
}

#[test]
fn trap_44_an_answer_without_choices_is_502() {
    for body in ["{}", r#"{"choices":[]}"#, r#"{"choices":null}"#, r#"{"choices":{}}"#, r#"{"choices":[1]}"#, "", "<html>", "[]", "null", r#"{"choices":[{}]"#]
    {
        let error = decode(body, &Restore::default()).map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.status), (ErrorKind::BadUpstream, 502), "{body}");
    }
}

#[test]
fn trap_01_an_error_under_status_200_is_an_error() {
    for (body, status) in [
        (r#"{"error":{"message":"m","type":"server_error"}}"#, 500),
        (r#"{"choices":[],"error":{"message":"m","code":429}}"#, 429),
        (r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#, 503),
        (r#"{"object":"error","message":"m","code":400}"#, 400),
        (r#"{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}"#, 502),
    ] {
        assert_eq!(decode(body, &Restore::default()).map(|_| ()).unwrap_err().status, status, "{body}");
    }
    assert!(decode(r#"{"error":null,"choices":[{"message":{"content":"a"}}]}"#, &Restore::default()).is_ok());
}

#[test]
fn what_is_passed_on_is_counted() {
    let chat = r#"{"choices":[{"message":{"content":"\"usage\":{}"},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":5,"completion_tokens":6}}"#;
    let (found, stop) = usage(chat);
    assert_eq!((found.unwrap().input_tokens, found.unwrap().output_tokens, stop), (5, 6, Some("tool_use")));
    let (found, stop) = usage(r#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#);
    assert_eq!((found.unwrap(), stop), (Usage { input_tokens: 8, ..Usage::default() }, None));
    for (stop, name) in [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "content_filtered"), ("function_call", "tool_use"), ("x", "other")]
    {
        assert_eq!(usage(&format!(r#"{{"choices":[{{"finish_reason":"{stop}"}}]}}"#)), (None, Some(name)));
    }
    assert_eq!(usage("<html>"), (None, None));
}

#[test]
fn deep_nesting_takes_no_stack() {
    let deep = format!(r#"{{"choices":[{{"message":{{"content":{}1{}}}}}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(decode(&deep, &Restore::default()).is_ok());
    let arguments = format!(r#"{{"choices":[{{"message":{{"tool_calls":[{{"id":"a","function":{{"name":"f","arguments":"{}"}}}}]}}}}]}}"#, "[".repeat(100_000));
    assert_eq!(short(&decode(&arguments, &Restore::default()).unwrap()), ["tool a f {}"]);
}
