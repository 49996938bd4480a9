use proptest::prelude::*;

use super::*;

/// The parts in short.
fn short(response: &Response<'_>) -> Vec<String> {
    let of = |part: &Part<'_>| match part {
        Part::Text(text) => format!("text {}", text.unescape()),
        Part::ToolUse(used) => format!("tool {} {} {}", used.id.unescape(), used.name.unescape(), used.input),
        Part::Reasoning(thought) => {
            format!("thought {} {:?}", thought.text.unescape(), thought.signature.as_ref().map(|seal| seal.unescape().into_owned()))
        }
        Part::RedactedReasoning(content) => format!("redacted {}", content.unescape()),
        other => format!("{other:?}"),
    };
    response.parts.iter().map(of).collect()
}

fn message(content: &str, more: &str) -> String {
    format!(r#"{{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":{content},"stop_sequence":null{more}}}"#)
}

#[test]
fn trap_32_every_block_is_kept_or_passed_over() {
    let body = message(
        r#"[{"type":"thinking","thinking":"hm\n","signature":"SIG=="},{"type":"thinking","thinking":"","signature":""},{"type":"redacted_thinking","data":"AAEC"},
            {"type":"text","text":"a","citations":null},{"type":"server_tool_use","id":"s","name":"web_search","input":{}},
            {"type":"web_search_tool_result","tool_use_id":"s","content":[]},{"type":"something_new","text":"no"},
            {"type":"tool_use","id":"t","name":"f_1","input":{"x": [1]}},{"type":"tool_use","id":"u","name":"g","input":null}]"#,
        r#","stop_reason":"tool_use""#,
    );
    let restore = Restore { names: vec![("f_1".to_owned(), "f.1".to_owned())], ..Restore::default() };
    let response = decode(&body, &restore).unwrap();
    assert_eq!(short(&response), ["thought hm\n Some(\"SIG==\")", "thought  None", "redacted AAEC", "text a", "tool t f.1 {\"x\": [1]}", "tool u g {}"]);
    assert_eq!((response.stop, response.usage), (StopReason::ToolUse, None));
}

#[test]
fn trap_45_why_it_stopped_and_what_it_took() {
    let body = message(
        "[]",
        r#","stop_reason":"refusal","stop_details":{"type":"refusal"},"usage":{"input_tokens":10,"output_tokens":5,"cache_creation_input_tokens":40,
            "cache_read_input_tokens":60,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":30},
            "output_tokens_details":{"thinking_tokens":3},"service_tier":"standard"}"#,
    );
    let restore = Restore::default();
    let response = decode(&body, &restore).unwrap();
    let expected =
        Usage { input_tokens: 10, output_tokens: 5, cache_read_tokens: 60, cache_write_tokens: 40, cache_write_1h_tokens: 30, reasoning_tokens: Some(3) };
    assert_eq!((response.stop, response.usage), (StopReason::ContentFiltered, Some(expected)));
    assert!(response.service_tier.unwrap() == "default");
    assert_eq!(usage(&body), (Some(expected), Some("content_filtered")), "a relay counts the same");
    let body = message("[]", "").replace(r#""stop_sequence":null"#, r#""stop_reason":"stop_sequence","stop_sequence":"E\n""#);
    let restore = Restore::default();
    let response = decode(&body, &restore).unwrap();
    assert!(response.stop == StopReason::StopSequence && response.stop_sequence.unwrap() == "E\n");
}

#[test]
fn web_pages_are_cited() {
    let body = message(
        r#"[{"type":"text","text":"\u00fcb"},{"type":"tool_use","id":"t","name":"f","input":{}},{"type":"text","text":"cde","citations":[
            {"type":"web_search_result_location","url":"https://a/","title":"A","cited_text":"x"},{"type":"char_location","document_title":"d"},
            {"type":"search_result_location","source":"https://b/","title":null},{"type":"search_result_location","source":"notes","title":"N"}]},
            {"type":"text","text":"f","citations":[{"url":"https://c/"}]}]"#,
        "",
    );
    let restore = Restore::default();
    let response = decode(&body, &restore).unwrap();
    let cited: Vec<_> = response
        .citations
        .iter()
        .map(|citation| (citation.span.clone(), citation.url.unescape().into_owned(), citation.title.as_ref().map(|title| title.unescape().into_owned())))
        .collect();
    let url = |url: &str| url.to_owned();
    assert_eq!(cited, [(2..5, url("https://a/"), Some(url("A"))), (2..5, url("https://b/"), None), (5..6, url("https://c/"), None)]);
}

#[test]
fn trap_44_an_answer_without_content_is_502() {
    for body in [
        "{}",
        "",
        "<html>",
        "[]",
        r#"{"type":"message","content":null}"#,
        r#"{"content":"text"}"#,
        r#"{"content":[1]}"#,
        r#"{"content":[{"type":"tool_use"}]}"#,
    ] {
        let error = decode(body, &Restore::default()).map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.status), (ErrorKind::BadUpstream, 502), "{body}");
    }
    let error = decode(r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, &Restore::default()).map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.message.as_ref()), (ErrorKind::Unavailable, "Overloaded"));
}

#[test]
fn counted_tokens() {
    assert_eq!(decode_count(r#"{"input_tokens":14,"x":1}"#).unwrap(), 14);
    for body in ["{}", "", r#"{"input_tokens":-1}"#, "[14]x"] {
        assert_eq!(decode_count(body).unwrap_err().status, 502, "{body}");
    }
}

#[test]
fn a_relay_counts_what_bedrock_says() {
    let body = r#"{"content":[],"stop_reason":"end_turn","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":4}}"#;
    assert_eq!(usage(body), (Some(Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() }), Some("end_turn")));
    for body in ["", "<html>", "[]", "{}", r#"{"usage":7,"stop_reason":8}"#] {
        assert_eq!(usage(body), (None, None), "{body}");
    }
}

proptest! {
    #[test]
    fn nonsense_never_panics(noise in r#"[\[\]{}",:\\a-z0-9]{0,40}"#, content in r#"[\[\]{}",:\\tx0-9]{0,20}"#) {
        let restore = Restore::default();
        for body in [noise.clone(), message(&content, ""), message(&format!("[{{\"type\":\"text\",\"text\":{content}}}]"), &noise)] {
            let _ = decode(&body, &restore);
            let _ = usage(&body);
            let _ = decode_count(&body);
        }
    }
}
