use super::*;
use crate::chat::{ErrorKind, Message, Reasoning, Role, Source};
use serde_json::{Value, json};

/// A request with one user message and the members of `more`.
fn body(more: Value) -> String {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

/// A request with these messages.
fn talk(messages: Value) -> String {
    json!({"model": "m", "messages": messages}).to_string()
}

/// A request whose one user message has these parts.
fn user(parts: Value) -> String {
    talk(json!([{"role": "user", "content": parts}]))
}

fn read(body: &str) -> Decoded<'_, Style> {
    decode(body).unwrap_or_else(|error| panic!("{error:?} for {body}"))
}

/// The parameter that a request is refused for.
fn refused(body: &str) -> String {
    let error = decode(body).map(|_| ()).expect_err(body);
    assert_eq!((error.kind, error.status), (ErrorKind::InvalidRequest, 400));
    let param = error.param.unwrap_or_default().into_owned();
    assert!(error.message.contains(&param), "{}", error.message);
    param
}

/// A part as a short line.
fn line(part: &Part<'_>) -> String {
    let source = |source: &Source<'_>| match source {
        Source::Base64(text) => format!("base64 {}", text.escaped()),
        Source::Url(text) => format!("url {}", text.unescape()),
        Source::S3(text) => format!("s3 {}", text.unescape()),
        Source::Text(text) => format!("text {}", text.unescape()),
        Source::Texts(texts) => format!("texts {:?}", strings(texts)),
    };
    match part {
        Part::Text(text) => format!("text {}", text.unescape()),
        Part::Image(image) => format!("image {} {}", image.media_type.as_deref().unwrap_or("-"), source(&image.source)),
        Part::Document(document) => {
            let name = document.name.as_ref().map_or_else(|| "-".into(), Text::unescape);
            format!("document {} {name} {}", document.media_type.as_deref().unwrap_or("-"), source(&document.source))
        }
        Part::Audio(audio) => format!("audio {} {}", audio.format.unescape(), source(&audio.source)),
        Part::SearchResult(result) => format!("search {}", result.source.unescape()),
        Part::ToolUse(tool_use) => format!("use {} {} {}", tool_use.id.unescape(), tool_use.name.unescape(), tool_use.input),
        Part::ToolResult(result) => format!("result {} {:?} {:?}", result.id.unescape(), result.is_error, lines(&result.parts)),
        Part::Reasoning(Reasoning { text, signature }) => {
            format!("thought {} {}", text.unescape(), signature.as_ref().map_or_else(|| "-".into(), Text::unescape))
        }
        Part::RedactedReasoning(content) => format!("redacted {}", content.unescape()),
        Part::Json(raw) => format!("json {}", raw.as_str()),
        Part::CachePoint(point) => format!("cache {}", point.ttl.as_ref().map_or_else(|| "-".into(), Text::unescape)),
    }
}

fn lines(parts: &[Part<'_>]) -> Vec<String> {
    parts.iter().map(line).collect()
}

fn messages(body: &str) -> Vec<(Role, Vec<String>)> {
    read(body).request.messages.iter().map(|Message { role, parts }| (*role, lines(parts))).collect()
}

/// The parts of the first message.
fn parts(body: &str) -> Vec<String> {
    messages(body).swap_remove(0).1
}

fn strings(texts: &[Text<'_>]) -> Vec<String> {
    texts.iter().map(|text| text.unescape().into_owned()).collect()
}

#[test]
fn trap_36_a_minimal_request_sets_nothing_else() {
    let body = body(json!({}));
    let Decoded { request, stream, style } = read(&body);
    assert_eq!(request.model, "m");
    assert_eq!(messages(&body), [(Role::User, vec!["text Hi".to_owned()])]);
    assert!(!stream && !style.include_usage && !style.legacy_functions);
    assert!(request.tools.is_empty() && request.tool_choice.is_none() && request.parallel_tool_calls.is_none());
    assert!(request.max_tokens.is_none() && request.temperature.is_none() && request.top_p.is_none() && request.stop.is_empty());
    assert!(request.output_format.is_none() && request.effort.is_none() && request.service_tier.is_none() && request.metadata.is_empty());
    assert!(request.unsupported.is_empty() && request.extras.is_empty());
}

/// All members of `CreateChatCompletionRequest` in version 2.3.0 of the specification.
const MEMBERS: [&str; 37] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

#[test]
fn every_member_of_the_api_is_known_and_null_is_not_set() {
    for member in MEMBERS {
        if matches!(member, "model" | "messages") {
            assert_eq!(refused(&body(json!({member: null}))), member);
            continue;
        }
        let body = body(json!({member: null}));
        let request = read(&body).request;
        assert!(request.extras.is_empty() && request.unsupported.is_empty(), "{member}");
    }
}

#[test]
fn members_are_type_checked_with_their_path() {
    let wrong = json!({
        "audio": 1, "frequency_penalty": "1", "function_call": 1, "functions": {}, "logit_bias": [], "logprobs": 1, "max_completion_tokens": "1",
        "max_tokens": {}, "messages": "Hi", "metadata": [], "modalities": "text", "model": 1, "moderation": "x", "n": "1", "parallel_tool_calls": "no",
        "prediction": "x", "presence_penalty": [], "prompt_cache_key": 1, "prompt_cache_options": 1, "prompt_cache_retention": 1, "reasoning_effort": 1,
        "response_format": "json", "safety_identifier": 1, "seed": "1", "service_tier": 1, "stop": 1, "store": "yes", "stream": "true",
        "stream_options": [], "temperature": "0.5", "tool_choice": 1, "tools": {}, "top_logprobs": "1", "top_p": true, "user": 1, "verbosity": 1,
        "web_search_options": [],
    });
    let wrong = wrong.as_object().unwrap();
    for member in MEMBERS {
        assert_eq!(refused(&body(json!({member: wrong[member]}))), member);
    }
}

#[test]
fn refusals_name_the_member() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let deep: Value = serde_json::from_str(&format!("{}{}", "[".repeat(101), "]".repeat(101))).unwrap();
    for (more, param) in [
        (json!({"model": ""}), "model"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": ["Hi"]}), "messages[0]"),
        (json!({"messages": [null]}), "messages[0]"),
        (json!({"n": 129}), "n"),
        (json!({"n": 0}), "n"),
        (json!({"n": 1.5}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"modalities": [1]}), "modalities[0]"),
        (json!({"top_logprobs": 21}), "top_logprobs"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"temperature": -0.1}), "temperature"),
        (json!({"top_p": 1.01}), "top_p"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"max_tokens": 5, "max_completion_tokens": 0}), "max_completion_tokens"),
        (json!({"frequency_penalty": 3}), "frequency_penalty"),
        (json!({"seed": 1.5}), "seed"),
        (json!({"stop": ["a", 1]}), "stop[1]"),
        (json!({"stop": ["a", null]}), "stop[1]"),
        (json!({"stop": vec!["x"; 2501]}), "stop"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"stream": true, "stream_options": {"include_usage": 1}}), "stream_options.include_usage"),
        (json!({"stream": true, "stream_options": {"include_obfuscation": 1}}), "stream_options.include_obfuscation"),
        (json!({"reasoning_effort": "huge"}), "reasoning_effort"),
        (json!({"verbosity": "huge"}), "verbosity"),
        (json!({"service_tier": "gold"}), "service_tier"),
        (json!({"metadata": {"a": 1}}), "metadata.a"),
        (json!({"metadata": (0..17).map(|n| (n.to_string(), "x")).collect::<std::collections::BTreeMap<_, _>>()}), "metadata"),
        (json!({"response_format": {}}), "response_format.type"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
        (json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}), "response_format.json_schema.name"),
        (json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": true}}}), "response_format.json_schema.schema"),
        (json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "strict": 1}}}), "response_format.json_schema.strict"),
        (json!({"prompt_cache_options": {"ttl": "2h"}}), "prompt_cache_options.ttl"),
        (json!({"prompt_cache_options": {"mode": "x"}}), "prompt_cache_options.mode"),
        (json!({"tools": [1]}), "tools[0]"),
        (json!({"tools": [{"function": {"name": "f"}}]}), "tools[0].type"),
        (json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}), "tools[0].type"),
        (json!({"tools": [tool, {"type": "function"}]}), "tools[1].function"),
        (json!({"tools": [{"type": "function", "function": {}}]}), "tools[0].function.name"),
        (json!({"tools": [{"type": "function", "function": {"name": ""}}]}), "tools[0].function.name"),
        (json!({"tools": [{"type": "function", "function": {"name": "f", "description": 1}}]}), "tools[0].function.description"),
        (json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": "{}"}}]}), "tools[0].function.parameters"),
        (json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": deep}}}]}), "tools[0].function.parameters"),
        (json!({"tools": [{"type": "function", "function": {"name": "f", "strict": "yes"}}]}), "tools[0].function.strict"),
        (json!({"tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "x"}}]}), "tools[0].cache_control.type"),
        (json!({"tool_choice": "some"}), "tool_choice"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tools": [tool], "tool_choice": {}}), "tool_choice.type"),
        (json!({"tools": [tool], "tool_choice": {"type": "custom", "custom": {"name": "f"}}}), "tool_choice.type"),
        (json!({"tools": [tool], "tool_choice": {"type": "function"}}), "tool_choice.function"),
        (json!({"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "g"}}}), "tool_choice.function.name"),
        (json!({"tools": [tool], "tool_choice": {"type": "allowed_tools"}}), "tool_choice.allowed_tools"),
        (json!({"tools": [tool], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}}}), "tool_choice.allowed_tools.mode"),
        (json!({"tools": [tool], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}}), "tool_choice.allowed_tools.tools"),
        (
            json!({"tools": [tool], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}}),
            "tool_choice.allowed_tools.tools",
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]}}}),
            "tool_choice.allowed_tools.tools[0].function.name",
        ),
        (json!({"functions": [{}]}), "functions[0].name"),
        (json!({"functions": [{"name": "f"}], "tools": [tool]}), "functions"),
        (json!({"functions": [{"name": "f"}], "function_call": "required"}), "function_call"),
        (json!({"functions": [{"name": "f"}], "function_call": {"name": "g"}}), "function_call.name"),
        (json!({"top_k": deep}), "top_k"),
    ] {
        assert_eq!(refused(&body(more)), param);
    }
    assert_eq!(refused(r#"{"messages":[{"role":"user","content":"Hi"}]}"#), "model");
    assert_eq!(refused(r#"{"model":"m"}"#), "messages");
}

#[test]
fn messages_are_refused_with_their_path() {
    for (message, param) in [
        (json!({}), "role"),
        (json!({"role": null, "content": "x"}), "role"),
        (json!({"role": "robot", "content": "x"}), "role"),
        (json!({"role": "user"}), "content"),
        (json!({"role": "user", "content": null}), "content"),
        (json!({"role": "system", "content": null}), "content"),
        (json!({"role": "user", "content": 1}), "content"),
        (json!({"role": "user", "content": {"type": "text"}}), "content"),
        (json!({"role": "user", "content": []}), "content"),
        (json!({"role": "user", "content": ["x"]}), "content[0]"),
        (json!({"role": "user", "content": [{"text": "x"}]}), "content[0].type"),
        (json!({"role": "user", "content": [{"type": "text"}]}), "content[0].text"),
        (json!({"role": "user", "content": [{"type": "text", "text": 1}]}), "content[0].text"),
        (json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "video_url"}]}), "content[1].type"),
        (json!({"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}), "content[0].type"),
        (json!({"role": "user", "content": [{"type": "image_url"}]}), "content[0].image_url"),
        (json!({"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y.png"}]}), "content[0].image_url"),
        (json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}), "content[0].image_url.url"),
        (json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}), "content[0].image_url.url"),
        (json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}), "content[0].image_url.url"),
        (json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64"}}]}), "content[0].image_url.url"),
        (json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,AAAA"}}]}), "content[0].image_url.url"),
        (json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}), "content[0].image_url.url"),
        (json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "s3://b/k", "detail": 1}}]}), "content[0].image_url.detail"),
        (json!({"role": "user", "content": [{"type": "file", "file": {}}]}), "content[0].file.file_data"),
        (json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}), "content[0].file.file_id"),
        (json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA"}}]}), "content[0].input_audio.format"),
        (json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "wav"}}]}), "content[0].input_audio.data"),
        (json!({"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}), "content[0].cache_control.type"),
        (
            json!({"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1d"}}]}),
            "content[0].cache_control.ttl",
        ),
        (json!({"role": "user", "content": [{"type": "text", "text": "x", "prompt_cache_breakpoint": {}}]}), "content[0].prompt_cache_breakpoint.mode"),
        (json!({"role": "user", "content": "x", "name": 1}), "name"),
        (json!({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "s3://b/k"}}]}), "content[0].type"),
        (json!({"role": "assistant", "content": 1}), "content"),
        (json!({"role": "assistant", "audio": {"id": "a"}}), "audio"),
        (json!({"role": "assistant", "refusal": 1}), "refusal"),
        (json!({"role": "assistant", "tool_calls": {}}), "tool_calls"),
        (json!({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}), "tool_calls[0].id"),
        (json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}), "tool_calls[0].type"),
        (json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}), "tool_calls[0].function"),
        (json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}), "tool_calls[0].function.name"),
        (json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": [1]}}]}), "tool_calls[0].function.arguments"),
        (json!({"role": "assistant", "function_call": "f"}), "function_call"),
        (json!({"role": "assistant", "reasoning_content": 1}), "reasoning_content"),
        (json!({"role": "assistant", "thinking_blocks": [{"type": "dream"}]}), "thinking_blocks[0].type"),
        (json!({"role": "assistant", "thinking_blocks": [{"type": "thinking"}]}), "thinking_blocks[0].thinking"),
        (json!({"role": "assistant", "thinking_blocks": [{"type": "redacted_thinking"}]}), "thinking_blocks[0].data"),
        (json!({"role": "assistant", "reasoning_details": [1]}), "reasoning_details[0]"),
        (json!({"role": "tool", "content": "x"}), "tool_call_id"),
        (json!({"role": "tool", "tool_call_id": "a"}), "content"),
        (json!({"role": "tool", "tool_call_id": "a", "content": [{"type": "input_audio"}]}), "content[0].type"),
        (json!({"role": "function", "content": "x"}), "name"),
    ] {
        let expected = format!("messages[1].{param}");
        assert_eq!(refused(&talk(json!([{"role": "user", "content": "Hi"}, message]))), expected);
    }
}

#[test]
fn broken_json_is_told_with_its_position_in_bytes() {
    for (body, position) in [
        ("", 0),
        ("x", 0),
        ("{", 1),
        (r#"{"model":}"#, 9),
        ("{\"model\":\"m\",\n\n  \"messages\":[}", 29),
        (r#"{"model":"é",x"#, 14),
        (r#"{"model":"m","messages":[{"role":"user","content":"Hi"}"#, 55),
        (r#"{"model":"m"} x"#, 14),
    ] {
        let error = decode(body).unwrap_err();
        assert_eq!((error.kind, error.param.is_none()), (ErrorKind::InvalidRequest, true), "{body}");
        assert!(error.message.ends_with(&format!(" at byte {position}.")), "{body}: {}", error.message);
        assert!(!error.message.contains("line"), "{}", error.message);
    }
    for body in ["[]", "null", "\"x\"", "1"] {
        assert_eq!(decode(body).unwrap_err().status, 400, "{body}");
    }
}

#[test]
fn depth_is_refused_and_never_overflows_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
        for (body, param) in [
            (format!(r#"{{"model":"m","messages":{deep}}}"#), None),
            (format!(r#"{{"model":"m","messages":[{deep}]}}"#), None),
            (format!(r#"{{"model":"m","messages":[{{"role":"user","content":{deep}}}]}}"#), None),
            (format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"text","text":{deep}}}]}}]}}"#), Some("messages[0].content[0].text")),
            (format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"top_k":{deep}}}"#), Some("top_k")),
            (format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"metadata":{deep}}}"#), None),
            (format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"stop":{deep}}}"#), None),
            (deep.clone(), None),
        ] {
            let error = decode(&body).unwrap_err();
            assert_eq!(error.status, 400);
            if let Some(param) = param {
                assert_eq!(error.param.as_deref(), Some(param));
            }
        }
        // What nobody carries may be as deep as it likes.
        read(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x","other":{deep}}}]}}"#));
    }
    let brackets_in_a_string = body(json!({"note": "[{".repeat(500)}));
    assert_eq!(read(&brackets_in_a_string).request.extras.len(), 1);
    let wide = body(json!({"note": vec![json!([{}]); 500]}));
    assert_eq!(read(&wide).request.extras.len(), 1);
}

#[test]
fn numbers_are_kept_as_written_and_checked() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0.70,"top_p":1E-1,"max_tokens":1.0,"top_k":5.00}"#;
    let request = read(body).request;
    assert_eq!(request.temperature.unwrap().as_str(), "0.70");
    assert_eq!(request.top_p.unwrap().as_str(), "1E-1");
    assert_eq!(request.max_tokens, Some(1));
    assert_eq!(request.extras[0].value.as_str(), "5.00");
    for (member, number) in [("temperature", "1e400"), ("temperature", "-1e400"), ("max_tokens", "1e400"), ("seed", "1e400"), ("n", "1e400")] {
        assert_eq!(refused(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"{member}":{number}}}"#)), member);
    }
    // Where a number has no business it may be any: no parser error hides what is wrong.
    assert_eq!(decode(r#"{"model":"m","messages":[1e400]}"#).unwrap_err().status, 400);
    assert_eq!(read(r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":18446744073709551615}"#).request.max_tokens, Some(u64::MAX));
}

#[test]
fn the_last_of_equal_members_counts() {
    let body = r#"{"model":"a","m\u006fdel":"b","messages":1e1,"temperature":9,"temperature":1,"top_k":1,"x":1,"top_k":null,"x":2,"y":3,"x":4,
        "messages":[{"role":"user","role":"assistant","content":[1],"content":"z"}],"max_tokens":3,"max_tokens":null,"tools":[]}"#;
    // The lists are read where they stand, so a list that is wrong is wrong.
    assert_eq!(refused(body), "messages");
    let body = body.replace(r#""messages":1e1"#, r#""messages":[{"role":"user","content":"first"}]"#);
    let request = read(&body).request;
    assert_eq!(request.model, "b");
    assert_eq!(messages(&body), [(Role::Assistant, vec!["text z".to_owned()])]);
    assert_eq!(request.temperature.unwrap().as_str(), "1");
    assert_eq!(request.max_tokens, None);
    let extras: Vec<_> = request.extras.iter().map(|extra| (extra.name.unescape(), extra.value.as_str())).collect();
    assert_eq!(extras, [("y".into(), "3"), ("x".into(), "4")]);
}

#[test]
fn nul_and_lone_surrogates_go_along_in_texts() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"a\u0000\ud83d"}]}"#;
    let Part::Text(text) = &read(body).request.messages[0].parts[0] else { panic!("no text") };
    assert_eq!(text.escaped(), r"a\u0000\ud83d");
    // As the name of a member a lone surrogate is nothing that could be written again.
    assert_eq!(decode(r#"{"\ud83d":1}"#).unwrap_err().status, 400);
    assert_eq!(decode("{\"model\":\"a\u{0}\"}").unwrap_err().status, 400);
}

#[test]
fn members_without_an_equal_are_listed_when_they_have_an_effect() {
    for (more, expected) in [
        (json!({"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "logprobs": false, "top_logprobs": 0, "store": false}), vec![]),
        (json!({"n": 1, "modalities": ["text"], "verbosity": "medium", "user": "", "prompt_cache_options": {}}), vec![]),
        (json!({"frequency_penalty": -1, "presence_penalty": 0.5}), vec!["frequency_penalty", "presence_penalty"]),
        (json!({"logit_bias": {"50256": -100}}), vec!["logit_bias"]),
        (json!({"top_logprobs": 3}), vec!["top_logprobs"]),
        (json!({"seed": 0}), vec!["seed"]),
        (json!({"seed": -7}), vec!["seed"]),
        (json!({"store": true}), vec!["store"]),
        (json!({"verbosity": "low"}), vec!["verbosity"]),
        (json!({"audio": {"voice": "alloy", "format": "wav"}}), vec!["audio"]),
        (json!({"prediction": {"type": "content", "content": "x"}}), vec!["prediction"]),
        (json!({"web_search_options": {}}), vec!["web_search_options"]),
        (json!({"moderation": {"model": "omni-moderation-latest"}}), vec!["moderation"]),
        (
            json!({"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_retention": "24h"}),
            vec!["prompt_cache_key", "prompt_cache_retention"],
        ),
        (json!({"stream": true, "stream_options": {"include_obfuscation": true}}), vec!["stream_options.include_obfuscation"]),
        (json!({"stream": true, "stream_options": {"include_obfuscation": false}}), vec![]),
        (json!({"prompt_cache_options": {"mode": "implicit"}}), vec!["prompt_cache_options"]),
        (json!({"prompt_cache_options": {"mode": "explicit"}}), vec![]),
        (json!({"prompt_cache_options": {"ttl": "30m"}}), vec!["prompt_cache_options"]),
        (json!({"messages": [{"role": "user", "content": "x", "name": "Ann"}, {"role": "user", "content": "x", "name": "Bob"}]}), vec!["messages[].name"]),
    ] {
        let body = body(more);
        let request = read(&body).request;
        assert_eq!(request.unsupported, expected, "{body}");
        assert!(request.extras.is_empty());
    }
    for (detail, expected) in [(json!("auto"), vec![]), (json!(null), vec![]), (json!("high"), vec!["messages[].content[].image_url.detail"])] {
        let body = user(json!([{"type": "image_url", "image_url": {"url": "s3://b/k", "detail": detail}}]));
        assert_eq!(read(&body).request.unsupported, expected);
    }
}

#[test]
fn trap_60_members_of_nobody_travel_raw_and_in_order() {
    let body = r#"{"top_k": 5,"model":"m","thinking":{"type":"enabled", "budget_tokens":2048},"messages":[{"role":"user","content":"x"}],
        "guardrailConfig" : {"b":1,"a":2.50},"nothing":null,"additionalModelRequestFields":{},"we\"ird":"x"}"#;
    let request = read(body).request;
    let extras: Vec<_> = request.extras.iter().map(|extra| (extra.name.unescape(), extra.value.as_str())).collect();
    let expected = [
        ("top_k", "5"),
        ("thinking", r#"{"type":"enabled", "budget_tokens":2048}"#),
        ("guardrailConfig", r#"{"b":1,"a":2.50}"#),
        ("additionalModelRequestFields", "{}"),
        ("we\"ird", "\"x\""),
    ];
    assert_eq!(extras, expected.map(|(name, value)| (name.into(), value)));
}

#[test]
fn sampling_stop_and_the_other_simple_members() {
    let body = body(json!({
        "max_tokens": 10, "max_completion_tokens": 20, "stop": ["a", "", "b\n"], "reasoning_effort": "xhigh", "service_tier": "flex",
        "metadata": {"a": "1", "b": "\"2\""}, "stream": true, "stream_options": {"include_usage": true}, "parallel_tool_calls": false,
    }));
    let Decoded { request, stream, style } = read(&body);
    assert_eq!(request.max_tokens, Some(20));
    assert_eq!(strings(&request.stop), ["a", "b\n"]);
    assert_eq!(request.effort, Some(Effort::XHigh));
    assert_eq!(request.service_tier.unwrap(), "flex");
    let metadata: Vec<_> = request.metadata.iter().map(|(name, value)| (name.unescape(), value.unescape())).collect();
    assert_eq!(metadata, [("a".into(), "1".into()), ("b".into(), "\"2\"".into())]);
    assert!(stream && style.include_usage);
    assert_eq!(request.parallel_tool_calls, Some(false));
    for (stop, expected) in [(json!("x"), vec!["x"]), (json!(""), vec![]), (json!([]), vec![])] {
        assert_eq!(strings(&read(&self::body(json!({"stop": stop}))).request.stop), expected);
    }
    for effort in ["none", "minimal", "low", "medium", "high", "xhigh", "max"] {
        assert_eq!(read(&self::body(json!({"reasoning_effort": effort}))).request.effort.unwrap().as_str(), effort);
    }
    for tier in ["auto", "default", "flex", "scale", "priority", "fast"] {
        assert_eq!(read(&self::body(json!({"service_tier": tier}))).request.service_tier.unwrap(), tier);
    }
}

#[test]
fn output_formats() {
    let format = |format: Value| {
        let body = body(json!({"response_format": format}));
        match read(&body).request.output_format.unwrap() {
            OutputFormat::Text => "text".to_owned(),
            OutputFormat::JsonObject => "object".to_owned(),
            OutputFormat::JsonSchema { name, description, schema, strict } => {
                let plain = |text: Option<Text<'_>>| text.map_or_else(|| "-".to_owned(), |text| text.unescape().into_owned());
                format!("{} {} {} {strict:?}", plain(name), plain(description), schema.as_str())
            }
        }
    };
    assert_eq!(format(json!({"type": "text"})), "text");
    assert_eq!(format(json!({"type": "json_object"})), "object");
    let schema = json!({"name": "n", "schema": {"type": "object"}, "strict": true, "description": "d"});
    assert_eq!(format(json!({"type": "json_schema", "json_schema": schema})), r#"n d {"type":"object"} Some(true)"#);
    assert_eq!(format(json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": null}})), "n - {} None");
    assert_eq!(format(json!({"type": "json_schema", "json_schema": {"name": "n"}})), format(json!({"type": "json_object"})));
}

#[test]
fn messages_of_every_role_in_order() {
    let body = talk(json!([
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d1"}, {"type": "text", "text": "d2"}]},
        {"role": "user", "content": "u\n\"q\""},
        {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": \"\\n\"}"}},
            {"id": "b", "function": {"name": "g", "arguments": ""}},
            {"id": "c", "type": "", "function": {"name": "g"}},
            {"id": "d", "type": null, "function": {"name": "g", "arguments": {"x": 1}}},
        ]},
        {"role": "tool", "tool_call_id": "a", "content": "{\"looks\": \"like JSON\"}"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "r"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"role": "tool", "tool_call_id": "c", "content": []},
        {"role": "assistant", "content": [{"type": "text", "text": "t"}, {"type": "refusal", "refusal": "no"}], "annotations": []},
        {"role": "assistant", "refusal": "never"},
        {"role": "assistant", "content": null},
        {"role": "assistant", "content": ""},
    ]));
    let expected = [
        (Role::System, vec!["text s"]),
        (Role::System, vec!["text d1", "text d2"]),
        (Role::User, vec!["text u\n\"q\""]),
        (Role::Assistant, vec![r#"use a f {"x": "\n"}"#, "use b g ", "use c g ", r#"use d g {"x":1}"#]),
        (Role::Tool, vec![r#"result a None ["text {\"looks\": \"like JSON\"}"]"#]),
        (Role::Tool, vec![r#"result b None ["text r", "image image/png base64 AAAA"]"#]),
        (Role::Tool, vec!["result c None []"]),
        (Role::Assistant, vec!["text t", "text no"]),
        (Role::Assistant, vec!["text never"]),
        (Role::Assistant, vec![]),
        (Role::Assistant, vec!["text "]),
    ];
    let read = messages(&body);
    assert_eq!(read.len(), expected.len());
    for (message, (role, parts)) in read.into_iter().zip(expected) {
        assert_eq!((message.0, message.1.iter().map(String::as_str).collect::<Vec<_>>()), (role, parts));
    }
}

#[test]
fn trap_39_media_types_are_told_and_not_believed_or_mended() {
    let image = |url: &str| parts(&user(json!([{"type": "image_url", "image_url": {"url": url}}]))).swap_remove(0);
    assert_eq!(image("data:image/jpg;base64,AA=="), "image image/jpg base64 AA==");
    assert_eq!(image("DATA:image/png;charset=utf-8;BASE64,AA=="), "image image/png base64 AA==");
    assert_eq!(image("data:;base64,AA=="), "image - base64 AA==");
    assert_eq!(image("https://example.com/a.png?x=1"), "image - url https://example.com/a.png?x=1");
    assert_eq!(image("HTTP://example.com"), "image - url HTTP://example.com");
    assert_eq!(image("s3://bucket/key.png"), "image - s3 s3://bucket/key.png");
    // PHP escapes slashes: the base64 moves as it stands.
    let php = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image\/png;base64,A\/A="}},
        {"type":"image_url","image_url":{"url":"https:\/\/x\/y"}}]}]}"#;
    assert_eq!(parts(php), [r"image image/png base64 A\/A=", "image - url https://x/y"]);
}

#[test]
fn files_and_sound() {
    let file = |file: Value| parts(&user(json!([{"type": "file", "file": file}]))).swap_remove(0);
    assert_eq!(file(json!({"filename": "a b.pdf", "file_data": "data:application/pdf;base64,JVBE"})), "document application/pdf a b.pdf base64 JVBE");
    assert_eq!(file(json!({"filename": "a.pdf", "file_data": "JVBE", "file_id": null})), "document - a.pdf base64 JVBE");
    assert_eq!(file(json!({"file_data": "s3://b/k.pdf"})), "document - - s3 s3://b/k.pdf");
    assert_eq!(file(json!({"file_data": "https://x/k.pdf"})), "document - - url https://x/k.pdf");
    assert_eq!(file(json!({"filename": "a.png", "file_data": "data:image/png;base64,AAAA"})), "image image/png base64 AAAA");
    let audio = |data: &str| parts(&user(json!([{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]))).swap_remove(0);
    assert_eq!(audio("UklGRg=="), "audio wav base64 UklGRg==");
    assert_eq!(audio("data:audio/wav;base64,UklGRg=="), "audio wav base64 UklGRg==");
}

#[test]
fn big_strings_are_slices_of_the_body() {
    let base64 = "A".repeat(10_000);
    let body =
        user(json!([{"type": "text", "text": "line\n".repeat(1000)}, {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{base64}")}}]));
    let inside = |slice: &str| body.as_bytes().as_ptr_range().contains(&slice.as_ptr());
    match read(&body).request.messages[0].parts.as_slice() {
        [Part::Text(text), Part::Image(image)] => {
            assert!(inside(text.escaped()));
            assert!(matches!(image.media_type, Some(Cow::Borrowed(_))));
            let Source::Base64(bytes) = &image.source else { panic!("no base64") };
            assert!(inside(bytes.escaped()) && bytes.escaped() == base64);
        }
        parts => panic!("{parts:?}"),
    }
}

#[test]
fn cache_markers_stand_behind_what_they_close() {
    let body = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "c", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"role": "user", "content": [{"type": "text", "text": "d", "prompt_cache_breakpoint": {"mode": "explicit"}, "cache_control": null}]},
            {"role": "tool", "tool_call_id": "t", "content": "e", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}},
            {"type": "function", "function": {"name": "g", "cache_control": {"type": "ephemeral", "ttl": "1h"}}},
            {"type": "function", "function": {"name": "h"}, "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "function", "function": {"name": "i"}},
        ],
    });
    let ttls = |body: &str| {
        let read: Vec<Option<String>> = read(body)
            .request
            .tools
            .iter()
            .map(|tool| tool.cache.as_ref().map(|cache| cache.ttl.as_ref().map_or_else(|| "-".into(), |ttl| ttl.unescape().into_owned())))
            .collect();
        read.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>()
    };
    let lines = |body: &str| messages(body).into_iter().flat_map(|message| message.1).collect::<Vec<_>>();
    let plain = body.to_string();
    assert_eq!(lines(&plain), ["text a", "cache -", "text b", "text c", "cache 1h", "text d", "cache -", r#"result t None ["text e", "cache 5m"]"#]);
    assert_eq!(ttls(&plain), ["-", "1h", "-", ""]);
    // The request's own minimum, wherever in the body it stands, goes to the markers that have none.
    let mut with_ttl = body;
    with_ttl["prompt_cache_options"] = json!({"mode": "explicit", "ttl": "30m"});
    let with_ttl = with_ttl.to_string();
    assert_eq!(lines(&with_ttl), ["text a", "cache 1h", "text b", "text c", "cache 1h", "text d", "cache 1h", r#"result t None ["text e", "cache 5m"]"#]);
    assert_eq!(ttls(&with_ttl), ["1h", "1h", "1h", ""]);
    assert!(read(&with_ttl).request.unsupported.is_empty());
}

#[test]
fn trap_30_thoughts_come_back_in_every_common_form() {
    let assistant = |more: Value| {
        let mut message = json!({"role": "assistant", "content": "x"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parts(&talk(json!([message])))
    };
    let blocks = json!([{"type": "thinking", "thinking": "a\n", "signature": "1"}, {"type": "redacted_thinking", "data": "AA="}]);
    for (more, expected) in [
        (json!({"reasoning_content": "a\n", "reasoning_signature": "s=="}), vec!["thought a\n s==", "text x"]),
        (json!({"reasoning_content": null, "reasoning_signature": "s=="}), vec!["thought  s==", "text x"]),
        (json!({"reasoning_content": "a"}), vec!["thought a -", "text x"]),
        (json!({"reasoning_content": "", "reasoning_signature": ""}), vec!["text x"]),
        (json!({"thinking_blocks": blocks, "reasoning_content": "a"}), vec!["thought a\n 1", "redacted AA=", "text x"]),
        (json!({"thinking_blocks": [], "reasoning_content": "a"}), vec!["thought a -", "text x"]),
        (json!({"thinking_blocks": [{"type": "thinking", "signature": "1"}]}), vec!["thought  1", "text x"]),
        (json!({"content": [blocks[0], blocks[1], {"type": "text", "text": "x"}]}), vec!["thought a\n 1", "redacted AA=", "text x"]),
        (
            json!({"reasoning_details": [
                {"type": "reasoning.text", "text": "a", "signature": "1", "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.summary", "summary": "s"},
                {"type": "reasoning.encrypted", "data": "AA=", "format": "anthropic-claude-v1"},
                {"type": "reasoning.encrypted", "data": "BB=", "format": "openai-responses-v1"},
            ]}),
            vec!["thought a 1", "redacted AA=", "text x"],
        ),
    ] {
        assert_eq!(assistant(more.clone()), expected, "{more}");
    }
    // Thoughts stand before the tool uses.
    let call = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    assert_eq!(assistant(json!({"tool_calls": call, "reasoning_content": "a", "reasoning_signature": "1"})), ["thought a 1", "text x", "use a f {}"]);
}

/// The tools and the choice.
fn choice(more: Value) -> (Vec<String>, String) {
    let mut all = json!({"tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type":"object"}, "strict": true}},
        {"type": "function", "function": {"name": "g", "parameters": null}},
    ]});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = body(all);
    let request = read(&body).request;
    let choice = match request.tool_choice {
        None => "-".to_owned(),
        Some(ToolChoice::Auto) => "auto".to_owned(),
        Some(ToolChoice::None) => "none".to_owned(),
        Some(ToolChoice::Any) => "any".to_owned(),
        Some(ToolChoice::Tool(name)) => format!("tool {}", name.unescape()),
    };
    (request.tools.iter().map(|tool| tool.name.unescape().into_owned()).collect(), choice)
}

#[test]
fn tools_and_every_form_of_tool_choice() {
    let allowed = |mode: &str, names: &[&str]| {
        let tools: Vec<_> = names.iter().map(|name| json!({"type": "function", "function": {"name": name}})).collect();
        json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}})
    };
    for (more, tools, chosen) in [
        (json!({}), vec!["f", "g"], "-"),
        (json!({"tool_choice": null}), vec!["f", "g"], "-"),
        (json!({"tool_choice": "auto"}), vec!["f", "g"], "auto"),
        (json!({"tool_choice": "none"}), vec!["f", "g"], "none"),
        (json!({"tool_choice": "required"}), vec!["f", "g"], "any"),
        (json!({"tool_choice": "any"}), vec!["f", "g"], "any"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "g"}}}), vec!["f", "g"], "tool g"),
        (allowed("auto", &["g"]), vec!["g"], "auto"),
        (allowed("required", &["g", "f"]), vec!["f", "g"], "any"),
        (allowed("auto", &[]), vec!["f", "g"], "none"),
        (json!({"tools": [], "tool_choice": "auto"}), vec![], "auto"),
        (json!({"tools": null, "tool_choice": "none"}), vec![], "none"),
    ] {
        assert_eq!(choice(more.clone()), (tools.into_iter().map(str::to_owned).collect(), chosen.to_owned()), "{more}");
    }
    let body = body(json!({"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type":"object"}, "strict": true}}]}));
    let tool = &read(&body).request.tools[0];
    assert_eq!(tool.description.as_ref().unwrap(), &"d");
    assert_eq!(tool.parameters.unwrap().as_str(), r#"{"type":"object"}"#);
    assert_eq!(tool.strict, Some(true));
}

#[test]
fn legacy_functions_and_their_results() {
    let body = json!({
        "model": "m", "functions": [{"name": "f", "parameters": {}}, {"name": "g"}], "function_call": {"name": "g"},
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"a\":1}"}},
            {"role": "assistant", "content": null, "function_call": {"name": "g", "arguments": ""}},
            {"role": "function", "name": "g", "content": null},
            {"role": "function", "name": "f", "content": "2"},
            {"role": "function", "name": "f", "content": "3"},
        ],
    })
    .to_string();
    let Decoded { request, style, .. } = read(&body);
    assert!(style.legacy_functions);
    assert!(request.one_tool_call && request.parallel_tool_calls.is_none());
    assert_eq!(request.tools.len(), 2);
    assert!(matches!(request.tool_choice, Some(ToolChoice::Tool(name)) if name == "g"));
    assert!(request.unsupported.is_empty());
    let lines: Vec<_> = messages(&body).into_iter().flat_map(|(role, parts)| parts.into_iter().map(move |part| format!("{role:?} {part}"))).collect();
    let expected = [
        "User text x",
        "Assistant use function_call_1 f {}",
        r#"Tool result function_call_1 None ["text 1"]"#,
        r#"Assistant use function_call_2 f {"a":1}"#,
        "Assistant use function_call_3 g ",
        "Tool result function_call_3 None []",
        r#"Tool result function_call_2 None ["text 2"]"#,
        // Called by nobody.
        "User text 3",
    ];
    assert_eq!(lines, expected);
    for (call, chosen) in [(json!("auto"), "auto"), (json!("none"), "none")] {
        assert_eq!(choice(json!({"tools": null, "functions": [{"name": "f"}], "function_call": call})), (vec!["f".to_owned()], chosen.to_owned()));
    }
    let without = self::body(json!({"functions": []}));
    assert!(!read(&without).style.legacy_functions);
}

#[test]
fn trap_61_several_choices_are_refused_and_not_cut_to_one() {
    assert_eq!(read(&body(json!({"n": 3}))).request.n, Some(3));
    read(&body(json!({"n": 1.0})));
}

/// Any JSON, with names and words of the API strewn in.
fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    const WORDS: [&str; 28] = [
        "model",
        "messages",
        "role",
        "user",
        "assistant",
        "tool",
        "function",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "data:image/png;base64,AA",
        "tools",
        "tool_calls",
        "id",
        "tool_call_id",
        "name",
        "arguments",
        "stop",
        "metadata",
        "tool_choice",
        "allowed_tools",
        "thinking_blocks",
        "stream",
        "functions",
        "function_call",
        "cache_control",
    ];
    let word = proptest::sample::select(WORDS.as_slice()).prop_map(str::to_owned);
    let name = prop_oneof![4 => word, 1 => ".{0,4}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        name.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = decode(&text);
    }

    #[test]
    fn any_cut_of_a_request_is_refused(at in 0_usize..120) {
        let body = user(json!([{"type": "text", "text": "é \" \\ x"}, {"type": "image_url", "image_url": {"url": "s3://b/k"}}]));
        let at = (0..=at.min(body.len() - 1)).rev().find(|at| body.is_char_boundary(*at)).unwrap();
        proptest::prop_assert_eq!(decode(&body[..at]).unwrap_err().status, 400);
    }

    #[test]
    fn any_json_is_read_or_refused(value in any_json(), messages in any_json(), message in any_json()) {
        let _ = decode(&value.to_string());
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}, messages]});
        let _ = decode(&body.to_string());
        body["messages"][1] = json!({"role": "assistant", "content": messages, "tool_calls": message, "thinking_blocks": value});
        let _ = decode(&body.to_string());
        if let Some(members) = value.as_object() {
            let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
            body.as_object_mut().unwrap().extend(members.clone());
            let _ = decode(&body.to_string());
        }
    }
}
