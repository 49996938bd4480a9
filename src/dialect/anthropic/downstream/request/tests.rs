use super::*;
use crate::chat::{ErrorKind, Reasoning, Source};
use serde_json::{Value, json};

/// A request with one user message and the members of `more`.
fn body(more: Value) -> String {
    let mut body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

/// A request with these messages.
fn talk(messages: Value) -> String {
    json!({"model": "m", "max_tokens": 5, "messages": messages}).to_string()
}

/// A request with one message of this role.
fn says(role: &str, content: Value) -> String {
    talk(json!([{"role": role, "content": content}]))
}

fn read(body: &str) -> Decoded<'_, Style> {
    decode(body, Purpose::Messages).unwrap_or_else(|error| panic!("{error:?} for {body}"))
}

/// The parameter that a request is refused for.
fn refused_as(body: &str, purpose: Purpose) -> String {
    let error = decode(body, purpose).map(|_| ()).expect_err(body);
    assert_eq!((error.kind, error.status), (ErrorKind::InvalidRequest, 400));
    let param = error.param.unwrap_or_default().into_owned();
    assert!(error.message.contains(&param), "{}", error.message);
    param
}

fn refused(body: &str) -> String {
    refused_as(body, Purpose::Messages)
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
    let or_none = |text: &Option<Text<'_>>| text.as_ref().map_or_else(|| "-".to_owned(), |text| text.unescape().into_owned());
    match part {
        Part::Text(text) => format!("text {}", text.unescape()),
        Part::Image(image) => format!("image {} {}", image.media_type.as_deref().unwrap_or("-"), source(&image.source)),
        Part::Document(document) => format!(
            "document {} {} {} {:?} {}",
            document.media_type.as_deref().unwrap_or("-"),
            or_none(&document.name),
            or_none(&document.context),
            document.citations,
            source(&document.source)
        ),
        Part::Audio(_) | Part::Json(_) => panic!("not made here"),
        Part::SearchResult(result) => {
            format!("search {} {} {:?} {:?}", result.source.unescape(), result.title.unescape(), strings(&result.content), result.citations)
        }
        Part::ToolUse(tool_use) => format!("use {} {} {}", tool_use.id.unescape(), tool_use.name.unescape(), tool_use.input),
        Part::ToolResult(result) => format!("result {} {:?} {:?}", result.id.unescape(), result.is_error, lines(&result.parts)),
        Part::Reasoning(Reasoning { text, signature }) => format!("thought {} {}", text.unescape(), or_none(signature)),
        Part::RedactedReasoning(content) => format!("redacted {}", content.unescape()),
        Part::CachePoint(point) => format!("cache {}", or_none(&point.ttl)),
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

fn unsupported(body: &str) -> Vec<&'static str> {
    read(body).request.unsupported
}

fn tool(name: &str) -> Value {
    json!({"name": name, "input_schema": {"type": "object"}})
}

#[test]
fn trap_36_a_minimal_request_sets_nothing_else() {
    let body = body(json!({}));
    let Decoded { request, stream, style } = read(&body);
    assert_eq!(request.model, "m");
    assert_eq!(messages(&body), [(Role::User, vec!["text Hi".to_owned()])]);
    assert!(!stream && style.stop.is_empty() && request.tells_stop && !request.one_tool_call);
    assert_eq!(request.max_tokens, Some(5));
    assert!(request.tools.is_empty() && request.tool_choice.is_none() && request.parallel_tool_calls.is_none());
    assert!(request.temperature.is_none() && request.top_p.is_none() && request.top_k.is_none() && request.n.is_none() && request.stop.is_empty());
    assert!(request.output_format.is_none() && request.effort.is_none() && request.thinking.is_none() && request.service_tier.is_none());
    assert!(request.user.is_none() && request.metadata.is_empty() && request.unsupported.is_empty() && request.extras.is_empty());
}

/// All members of both versions' `MessageCreateParams` and `MessageCountTokensParams`, of betas, and of the bodies of Bedrock and Vertex.
const MEMBERS: [&str; 29] = [
    "anthropic_beta",
    "anthropic_version",
    "betas",
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    "workspace_id",
];

#[test]
fn every_member_of_the_api_is_known_and_null_is_not_set() {
    for member in MEMBERS {
        let body = body(json!({member: null}));
        if matches!(member, "model" | "messages" | "max_tokens") {
            assert_eq!(refused(&body), member);
            continue;
        }
        let request = read(&body).request;
        assert!(request.extras.is_empty() && request.unsupported.is_empty(), "{member}");
    }
}

#[test]
fn members_are_type_checked_with_their_path() {
    for (member, wrong) in [
        ("cache_control", json!("ephemeral")),
        ("container", json!(1)),
        ("diagnostics", json!(true)),
        ("inference_geo", json!(1)),
        ("max_tokens", json!("5")),
        ("messages", json!("Hi")),
        ("metadata", json!([])),
        ("model", json!(1)),
        ("output_config", json!("high")),
        ("output_format", json!("json")),
        ("service_tier", json!(1)),
        ("speed", json!(1)),
        ("stop_sequences", json!("x")),
        ("stream", json!("true")),
        ("system", json!({"type": "text", "text": "x"})),
        ("temperature", json!("0.5")),
        ("thinking", json!(true)),
        ("tool_choice", json!("auto")),
        ("tools", json!({})),
        ("top_k", json!("5")),
        ("top_p", json!(true)),
        ("user_profile_id", json!(1)),
        ("workspace_id", json!(1)),
    ] {
        assert_eq!(refused(&body(json!({member: wrong}))), member);
    }
}

#[test]
fn refusals_name_the_member() {
    let deep: Value = serde_json::from_str(&format!("{}{}", "[".repeat(101), "]".repeat(101))).unwrap();
    for (more, param) in [
        (json!({"model": ""}), "model"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": ["Hi"]}), "messages[0]"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"temperature": 1.01}), "temperature"),
        (json!({"temperature": -0.1}), "temperature"),
        (json!({"top_p": 1.01}), "top_p"),
        (json!({"top_k": -1}), "top_k"),
        (json!({"top_k": 1.5}), "top_k"),
        (json!({"stop_sequences": ["a", 1]}), "stop_sequences[1]"),
        (json!({"stop_sequences": vec!["x"; 2501]}), "stop_sequences"),
        (json!({"system": [{"type": "text"}]}), "system[0].text"),
        (json!({"system": [{"type": "image"}]}), "system[0].type"),
        (json!({"system": [{"text": "x"}]}), "system[0].type"),
        (json!({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1d"}}]}), "system[0].cache_control.ttl"),
        (json!({"thinking": {}}), "thinking.type"),
        (json!({"thinking": {"type": "on"}}), "thinking.type"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": "1024"}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "adaptive", "display": "full"}}), "thinking.display"),
        (json!({"thinking": {"type": "disabled", "x": deep}}), "thinking"),
        (json!({"output_config": {"effort": "minimal"}}), "output_config.effort"),
        (json!({"output_config": {"format": {}}}), "output_config.format.type"),
        (json!({"output_config": {"format": {"type": "json_object"}}}), "output_config.format.type"),
        (json!({"output_config": {"format": {"type": "json_schema"}}}), "output_config.format.schema"),
        (json!({"output_config": {"format": {"type": "json_schema", "schema": true}}}), "output_config.format.schema"),
        (json!({"output_config": {"format": {"type": "json_schema", "schema": {"x": deep}}}}), "output_config.format.schema"),
        (json!({"output_format": {"type": "json_schema"}}), "output_format.schema"),
        (json!({"metadata": {"user_id": 1}}), "metadata.user_id"),
        (json!({"service_tier": "priority"}), "service_tier"),
        (json!({"speed": "slow"}), "speed"),
        (json!({"cache_control": {}}), "cache_control.type"),
        (json!({"cache_control": {"type": "persistent"}}), "cache_control.type"),
        (json!({"tools": [1]}), "tools[0]"),
        (json!({"tools": [{"input_schema": {}}]}), "tools[0].name"),
        (json!({"tools": [{"name": "", "input_schema": {}}]}), "tools[0].name"),
        (json!({"tools": [tool("f"), {"name": "f"}]}), "tools[1].input_schema"),
        (json!({"tools": [{"name": "f", "input_schema": "{}"}]}), "tools[0].input_schema"),
        (json!({"tools": [{"name": "f", "input_schema": {"x": deep}}]}), "tools[0].input_schema"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "type": 1}]}), "tools[0].type"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "description": 1}]}), "tools[0].description"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "strict": 1}]}), "tools[0].strict"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "defer_loading": 1}]}), "tools[0].defer_loading"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "allowed_callers": "direct"}]}), "tools[0].allowed_callers"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "allowed_callers": [1]}]}), "tools[0].allowed_callers[0]"),
        (json!({"tools": [{"name": "f", "input_schema": {}, "cache_control": {"type": "x"}}]}), "tools[0].cache_control.type"),
        (json!({"tool_choice": {}}), "tool_choice.type"),
        (json!({"tool_choice": {"type": "required"}}), "tool_choice.type"),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice"),
        (json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}}), "tool_choice.disable_parallel_tool_use"),
        (json!({"tools": [tool("f")], "tool_choice": {"type": "tool"}}), "tool_choice.name"),
        (json!({"tools": [tool("f")], "tool_choice": {"type": "tool", "name": "g"}}), "tool_choice.name"),
        (json!({"tools": [{"type": "bash_20250124", "name": "bash"}], "tool_choice": {"type": "tool", "name": "bash"}}), "tool_choice.name"),
        (json!({"seed": deep}), "seed"),
    ] {
        assert_eq!(refused(&body(more)), param);
    }
}

#[test]
fn messages_are_refused_with_their_path() {
    let bytes = json!({"type": "base64", "media_type": "image/png", "data": "AA=="});
    for (role, content, param) in [
        ("robot", json!("x"), "role"),
        ("tool", json!("x"), "role"),
        ("user", json!(null), "content"),
        ("user", json!(1), "content"),
        ("user", json!({"type": "text"}), "content"),
        ("user", json!([]), "content"),
        ("system", json!([]), "content"),
        ("user", json!(["x"]), "content[0]"),
        ("user", json!([{"text": "x"}]), "content[0].type"),
        ("user", json!([{"type": "text"}]), "content[0].text"),
        ("user", json!([{"type": "text", "text": 1}]), "content[0].text"),
        ("user", json!([{"type": "text", "text": "x", "citations": true}]), "content[0].citations"),
        ("user", json!([{"type": "text", "text": "x"}, {"type": "video"}]), "content[1].type"),
        ("user", json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}]), "content[0].type"),
        ("user", json!([{"type": "thinking", "thinking": "x", "signature": "s"}]), "content[0].type"),
        ("user", json!([{"type": "_tool_result"}]), "content[0].type"),
        ("system", json!([{"type": "image", "source": bytes}]), "content[0].type"),
        ("assistant", json!([{"type": "tool_result", "tool_use_id": "a"}]), "content[0].type"),
        ("user", json!([{"type": "image"}]), "content[0].source"),
        ("user", json!([{"type": "image", "source": "AA=="}]), "content[0].source"),
        ("user", json!([{"type": "image", "source": {}}]), "content[0].source.type"),
        ("user", json!([{"type": "image", "source": {"type": "text"}}]), "content[0].source.type"),
        ("user", json!([{"type": "image", "source": {"type": "file", "file_id": "file_1"}}]), "content[0].source.type"),
        ("user", json!([{"type": "image", "source": {"type": "base64", "data": "AA=="}}]), "content[0].source.media_type"),
        ("user", json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png"}}]), "content[0].source.data"),
        ("user", json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}]), "content[0].source.data"),
        ("user", json!([{"type": "image", "source": {"type": "url"}}]), "content[0].source.url"),
        ("user", json!([{"type": "image", "source": {"type": "url", "url": "ftp://x"}}]), "content[0].source.url"),
        ("user", json!([{"type": "image", "source": {"type": "url", "url": "data:image/png;base64,AA=="}}]), "content[0].source.url"),
        ("user", json!([{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]), "content[0].source.type"),
        ("user", json!([{"type": "document", "source": {"type": "text", "media_type": "text/plain"}}]), "content[0].source.data"),
        ("user", json!([{"type": "document", "source": {"type": "content"}}]), "content[0].source.content"),
        ("user", json!([{"type": "document", "source": {"type": "content", "content": 1}}]), "content[0].source.content"),
        (
            "user",
            json!([{"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": bytes}]}}]),
            "content[0].source.content[0].type",
        ),
        ("user", json!([{"type": "document", "title": 1, "source": bytes}]), "content[0].title"),
        ("user", json!([{"type": "document", "citations": [], "source": bytes}]), "content[0].citations"),
        ("user", json!([{"type": "document", "citations": {"enabled": 1}, "source": bytes}]), "content[0].citations.enabled"),
        ("user", json!([{"type": "search_result", "title": "t", "content": []}]), "content[0].source"),
        ("user", json!([{"type": "search_result", "source": bytes, "title": "t", "content": []}]), "content[0].source"),
        ("user", json!([{"type": "search_result", "source": "s", "content": []}]), "content[0].title"),
        ("user", json!([{"type": "search_result", "source": "s", "title": "t"}]), "content[0].content"),
        ("user", json!([{"type": "search_result", "source": "s", "title": "t", "content": "x"}]), "content[0].content"),
        ("assistant", json!([{"type": "thinking"}]), "content[0].thinking"),
        ("assistant", json!([{"type": "redacted_thinking"}]), "content[0].data"),
        ("assistant", json!([{"type": "tool_use", "name": "f", "input": {}}]), "content[0].id"),
        ("assistant", json!([{"type": "tool_use", "id": "a", "input": {}}]), "content[0].name"),
        ("assistant", json!([{"type": "tool_use", "id": "a", "name": "f"}]), "content[0].input"),
        ("assistant", json!([{"type": "tool_use", "id": "a", "name": "f", "input": "{}"}]), "content[0].input"),
        ("assistant", json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {}}]), "content[0].caller.type"),
        ("user", json!([{"type": "tool_result"}]), "content[0].tool_use_id"),
        ("user", json!([{"type": "tool_result", "tool_use_id": "a", "is_error": 1}]), "content[0].is_error"),
        ("user", json!([{"type": "tool_result", "tool_use_id": "a", "content": 1}]), "content[0].content"),
        ("user", json!([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_result", "tool_use_id": "b"}]}]), "content[0].content[0].type"),
        (
            "user",
            json!([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image", "source": {"type": "file"}}]}]),
            "content[0].content[0].source.type",
        ),
        ("user", json!([{"type": "text", "text": "x", "cache_control": {}}]), "content[0].cache_control.type"),
    ] {
        let body = talk(json!([{"role": "user", "content": "Hi"}, {"role": role, "content": content}]));
        assert_eq!(refused(&body), format!("messages[1].{param}"), "{body}");
    }
    assert_eq!(refused(&talk(json!([{"content": "x"}]))), "messages[0].role");
    assert_eq!(refused(&talk(json!([{"role": "user"}]))), "messages[0].content");
}

#[test]
fn what_a_body_must_hold_depends_on_what_it_is_for() {
    let hi = json!([{"role": "user", "content": "Hi"}]);
    let bare = json!({"messages": hi}).to_string();
    let named = json!({"model": "m", "messages": hi}).to_string();
    let bedrock = json!({"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["x"], "max_tokens": 7, "messages": hi}).to_string();
    assert_eq!(refused(&bare), "model");
    assert_eq!(refused(&named), "max_tokens");
    assert_eq!(refused(&bedrock), "model");
    assert_eq!(refused_as(&bare, Purpose::Count), "model");
    assert_eq!(decode(&named, Purpose::Count).unwrap().request.max_tokens, None);
    assert_eq!(refused_as(&bare, Purpose::Invoke), "max_tokens");
    let Decoded { request, stream, .. } = decode(&bedrock, Purpose::Invoke).unwrap();
    assert!(request.model.is_empty() && !stream && request.unsupported.is_empty() && request.extras.is_empty());
    assert_eq!(request.max_tokens, Some(7));
    // The path stands above the body.
    let both = body(json!({"stream": true}));
    assert!(read(&both).stream);
    let Decoded { request, stream, .. } = decode(&both, Purpose::Invoke).unwrap();
    assert!(request.model.is_empty() && !stream);
    assert!(!decode(&both, Purpose::Count).unwrap().stream);
}

#[test]
fn no_tokens_at_all_are_one_token() {
    for (limit, tokens) in [("0", 1), ("1", 1), ("2.0", 2), ("18446744073709551615", u64::MAX)] {
        let body = body(json!({"max_tokens": serde_json::from_str::<Value>(limit).unwrap()}));
        assert_eq!(read(&body).request.max_tokens, Some(tokens));
    }
}

#[test]
fn broken_json_is_told_with_its_position_in_bytes() {
    for (body, position) in [("", 0), ("{", 1), (r#"{"model":}"#, 9), (r#"{"model":"é",x"#, 14), (r#"{"model":"m"} x"#, 14)] {
        let error = decode(body, Purpose::Messages).unwrap_err();
        assert_eq!((error.kind, error.param.is_none()), (ErrorKind::InvalidRequest, true), "{body}");
        assert!(error.message.ends_with(&format!(" at byte {position}.")), "{body}: {}", error.message);
    }
    for body in ["[]", "null", "\"x\"", "1", r#"{"\ud83d":1}"#] {
        assert_eq!(decode(body, Purpose::Messages).unwrap_err().status, 400, "{body}");
    }
}

#[test]
fn depth_is_refused_and_never_overflows_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
        let hi = r#""model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]"#;
        for body in [
            format!(r#"{{"model":"m","max_tokens":1,"messages":{deep}}}"#),
            format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":{deep}}}]}}"#),
            format!(
                r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"assistant","content":[{{"type":"tool_use","id":"a","name":"f","input":{deep}}}]}}]}}"#
            ),
            format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":[{{"type":"image","source":{deep}}}]}}]}}"#),
            format!(r#"{{{hi},"system":{deep}}}"#),
            format!(r#"{{{hi},"stop_sequences":{deep}}}"#),
            format!(r#"{{{hi},"thinking":{deep}}}"#),
            format!(r#"{{{hi},"unknown":{deep}}}"#),
            deep.clone(),
        ] {
            assert_eq!(decode(&body, Purpose::Messages).unwrap_err().status, 400);
        }
        // What nobody carries may be as deep as it likes.
        read(&format!(r#"{{{hi},"context_management":{deep},"betas":{deep}}}"#));
    }
}

#[test]
fn numbers_are_kept_as_written() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0.70,"top_p":1E-1,"max_tokens":1.0,"top_k":50,"seed":5.00}"#;
    let request = read(body).request;
    assert_eq!(request.temperature.unwrap().as_str(), "0.70");
    assert_eq!(request.top_p.unwrap().as_str(), "1E-1");
    assert_eq!(request.top_k.unwrap().as_str(), "50");
    assert_eq!(request.extras[0].value.as_str(), "5.00");
}

#[test]
fn the_last_of_equal_members_counts() {
    let body = r#"{"model":"a","m\u006fdel":"b","max_tokens":1,"x":1,"tools":[{"type":"bash_1"}],"tools":null,"x":2,"y":null,
        "messages":[{"role":"user","content":[{"type":"container_upload"}]}],"messages":[{"role":"user","role":"assistant","content":"z"}]}"#;
    let request = read(body).request;
    assert_eq!(request.model, "b");
    assert_eq!(messages(body), [(Role::Assistant, vec!["text z".to_owned()])]);
    assert!(request.unsupported.is_empty());
    let extras: Vec<_> = request.extras.iter().map(|extra| (extra.name.unescape(), extra.value.as_str())).collect();
    assert_eq!(extras, [("x".into(), "2")]);
}

#[test]
fn instructions_come_first_and_keep_their_markers() {
    let hi = (Role::User, vec!["text Hi".to_owned()]);
    for (system, expected) in [
        (json!("Be kind."), Some(vec!["text Be kind."])),
        (json!([]), None),
        (
            json!([
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "b", "cache_control": null, "citations": null},
                {"type": "text", "text": "c", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            ]),
            Some(vec!["text a", "cache -", "text b", "text c", "cache 1h"]),
        ),
    ] {
        let found = messages(&body(json!({"system": system})));
        match expected {
            Some(expected) => assert_eq!(found, [(Role::System, expected.into_iter().map(str::to_owned).collect()), hi.clone()]),
            None => assert_eq!(found, std::slice::from_ref(&hi)),
        }
    }
}

#[test]
fn trap_24_instructions_between_messages_stay_where_they_are() {
    let body = talk(json!([
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Go"}]},
        {"role": "system", "content": [{"type": "text", "text": "Now."}]},
    ]));
    let roles: Vec<_> = messages(&body).into_iter().map(|(role, _)| role).collect();
    assert_eq!(roles, [Role::User, Role::System, Role::User, Role::System]);
}

#[test]
fn a_last_turn_of_the_assistant_is_kept() {
    let body = talk(json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "{\"a\":"}]));
    assert_eq!(messages(&body)[1], (Role::Assistant, vec!["text {\"a\":".to_owned()]));
    let body = talk(json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": []}]));
    assert_eq!(messages(&body)[1], (Role::Assistant, vec![]));
}

#[test]
fn blocks_of_users() {
    let cached = json!({"type": "ephemeral", "ttl": "5m"});
    for (block, expected) in [
        (json!({"type": "text", "text": "a\n\"b\""}), vec!["text a\n\"b\""]),
        (json!({"type": "text", "text": "a", "cache_control": cached}), vec!["text a", "cache 5m"]),
        (json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}), vec!["image image/png base64 iVBO"]),
        (json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "transformations": {}}), vec!["image - url https://x/y.png"]),
        (json!({"type": "image", "source": {"type": "url", "url": "s3://b/k"}, "cache_control": cached}), vec!["image - s3 s3://b/k", "cache 5m"]),
        (
            json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}),
            vec!["document application/pdf - - None base64 JVBE"],
        ),
        (
            json!({"type": "document", "title": "T", "context": "C", "citations": {"enabled": true}, "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
            vec!["document text/plain T C Some(true) text x"],
        ),
        (
            json!({"type": "document", "title": null, "context": "", "citations": {"enabled": false}, "source": {"type": "content", "content": "x"}}),
            vec!["document - - - Some(false) texts [\"x\"]"],
        ),
        (
            json!({"type": "document", "citations": {}, "source": {"type": "content", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y", "cache_control": cached}]}}),
            vec!["document - - - None texts [\"x\", \"y\"]", "cache 5m"],
        ),
        (json!({"type": "document", "source": {"type": "url", "url": "HTTP://x/y.pdf"}}), vec!["document - - - None url HTTP://x/y.pdf"]),
        (
            json!({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}], "citations": {"enabled": true}}),
            vec!["search s t [\"x\"] Some(true)"],
        ),
    ] {
        let body = says("user", json!([block]));
        assert_eq!(parts(&body), expected, "{body}");
        assert!(unsupported(&body).is_empty());
    }
}

#[test]
fn media_types_may_be_escaped() {
    let body = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image\/png","data":"iV\/BO"}}]}]}"#;
    assert_eq!(parts(body), [r"image image/png base64 iV\/BO"]);
}

#[test]
fn trap_30_blocks_of_assistants_come_back_as_they_were() {
    let body = says(
        "assistant",
        json!([
            {"type": "thinking", "thinking": "hm", "signature": "S=="},
            {"type": "thinking", "thinking": "", "signature": "ONLY"},
            {"type": "thinking", "thinking": "open", "signature": ""},
            {"type": "thinking", "thinking": "open"},
            {"type": "redacted_thinking", "data": "AAE="},
            {"type": "text", "text": "So", "citations": []},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": [1, {"a": "b"}]}, "caller": {"type": "direct"}, "cache_control": {"type": "ephemeral"}},
            {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
        ]),
    );
    let expected = [
        "thought hm S==",
        "thought  ONLY",
        "thought open -",
        "thought open -",
        "redacted AAE=",
        "text So",
        r#"use toolu_1 look {"q":[1,{"a":"b"}]}"#,
        "cache -",
        "use toolu_2 look {}",
    ];
    assert_eq!(parts(&body), expected);
    assert!(unsupported(&body).is_empty());
}

#[test]
fn trap_60_arguments_are_moved_as_they_stand() {
    let body = r#"{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{ "z" : 1.00, "a":"\u00e9" }}]}]}"#;
    assert_eq!(parts(body), [r#"use a f { "z" : 1.00, "a":"\u00e9" }"#]);
}

#[test]
fn trap_10_what_tools_gave_stands_in_messages_of_its_own() {
    let cached = json!({"type": "ephemeral"});
    let body = says(
        "user",
        json!([
            {"type": "tool_result", "tool_use_id": "a", "content": "1", "cache_control": cached},
            {"type": "tool_result", "tool_use_id": "b", "is_error": true, "content": [{"type": "text", "text": "x", "cache_control": cached}]},
            {"type": "tool_result", "tool_use_id": "c", "is_error": false},
            {"type": "text", "text": "Go on"},
            {"type": "text", "text": "please", "cache_control": cached},
            {"type": "tool_result", "tool_use_id": "d", "content": []},
        ]),
    );
    let expected = [
        (Role::Tool, vec![r#"result a None ["text 1", "cache -"]"#, r#"result b Some(true) ["text x", "cache -"]"#, "result c Some(false) []"]),
        (Role::User, vec!["text Go on", "text please", "cache -"]),
        (Role::Tool, vec!["result d None []"]),
    ];
    assert_eq!(messages(&body), expected.map(|(role, lines)| (role, lines.into_iter().map(str::to_owned).collect())));
}

#[test]
fn tools_may_give_pictures_documents_and_search_results() {
    let body = says(
        "user",
        json!([{"type": "tool_result", "tool_use_id": "a", "content": [
            {"type": "text", "text": "x"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            {"type": "search_result", "source": "s", "title": "t", "content": []},
        ]}]),
    );
    let expected = r#"result a None ["text x", "image image/png base64 AA==", "document text/plain - - None text d", "search s t [] None"]"#;
    assert_eq!(parts(&body), [expected]);
}

#[test]
fn what_only_the_vendors_servers_make_is_left_out_and_told() {
    for (role, kind) in [
        ("assistant", "server_tool_use"),
        ("assistant", "web_search_tool_result"),
        ("assistant", "web_fetch_tool_result"),
        ("assistant", "code_execution_tool_result"),
        ("assistant", "bash_code_execution_tool_result"),
        ("assistant", "text_editor_code_execution_tool_result"),
        ("assistant", "tool_search_tool_result"),
        ("assistant", "mcp_tool_use"),
        ("user", "mcp_tool_result"),
        ("user", "container_upload"),
        ("user", "web_search_tool_result"),
    ] {
        let cached = json!({"type": "ephemeral"});
        let body = says(role, json!([{"type": kind, "cache_control": cached}, {"type": "text", "text": "x"}, {"type": kind, "cache_control": cached}]));
        assert_eq!(parts(&body), ["text x", "cache -"], "{kind}");
        assert_eq!(unsupported(&body), ["messages[].content[].type"], "{kind}");
    }
    for kind in ["tool_reference", "browser_state"] {
        let body = says("user", json!([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": kind}]}]));
        assert_eq!(parts(&body), ["result a None []"]);
        assert_eq!(unsupported(&body), ["messages[].content[].content[].type"]);
    }
    // A message that held nothing else stays, empty.
    assert_eq!(messages(&says("user", json!([{"type": "container_upload", "file_id": "f"}]))), [(Role::User, vec![])]);
}

#[test]
fn members_of_blocks_without_an_equal_are_told_once() {
    let use_with = |more: Value| {
        let mut block = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        block
    };
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://x"}, "transformations": {"oversized_image": "error"}});
    let cited = json!({"type": "text", "text": "x", "citations": [{"type": "char_location"}]});
    for (role, content, expected) in [
        ("assistant", json!([cited, cited]), "messages[].content[].citations"),
        ("user", json!([image]), "messages[].content[].transformations"),
        ("assistant", json!([use_with(json!({"caller": {"type": "code_execution_20260120", "tool_id": "x"}}))]), "messages[].content[].caller"),
        ("assistant", json!([use_with(json!({"toolset_name": "computer"}))]), "messages[].content[].toolset_name"),
        ("user", json!([{"type": "tool_result", "tool_use_id": "a", "toolset_name": "computer"}]), "messages[].content[].toolset_name"),
        ("user", json!([{"type": "search_result", "source": "s", "title": "t", "content": [cited]}]), "messages[].content[].citations"),
    ] {
        assert_eq!(unsupported(&says(role, content)), [expected]);
    }
}

#[test]
fn tools_are_read_and_those_of_the_vendor_left_out() {
    let body = body(json!({"tools": [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "z": 1}, "strict": true},
        {"type": "custom", "name": "g", "input_schema": {}, "allowed_callers": ["direct"], "defer_loading": false, "input_examples": []},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "browser_toolset_20260801"},
        {"type": null, "name": "h", "input_schema": {}, "cache_control": {"type": "ephemeral"}, "allowed_callers": ["code_execution_20260120"],
         "defer_loading": true, "eager_input_streaming": true, "input_examples": [{}]},
    ]}));
    let request = read(&body).request;
    let tools: Vec<_> = request
        .tools
        .iter()
        .map(|tool| {
            let cache = tool.cache.as_ref().map(|point| point.ttl.as_ref().map(|ttl| ttl.unescape().into_owned()));
            (tool.name.unescape(), tool.description.is_some(), tool.parameters.unwrap().as_str().len(), tool.strict, cache)
        })
        .collect();
    let expected =
        [("f".into(), true, 23, Some(true), None), ("g".into(), false, 2, None, Some(Some("1h".to_owned()))), ("h".into(), false, 2, None, Some(None))];
    assert_eq!(tools, expected);
    let lost = ["tools[].type", "tools[].allowed_callers", "tools[].defer_loading", "tools[].eager_input_streaming", "tools[].input_examples"];
    assert_eq!(request.unsupported, lost);
}

#[test]
fn tool_choices() {
    for (choice, expected, parallel) in [
        (json!({"type": "auto"}), "Auto", None),
        (json!({"type": "any", "disable_parallel_tool_use": false}), "Any", None),
        (json!({"type": "auto", "disable_parallel_tool_use": true}), "Auto", Some(false)),
        (json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true}), "Tool(Text(1 bytes))", Some(false)),
        (json!({"type": "none"}), "None", None),
    ] {
        let body = body(json!({"tools": [tool("f")], "tool_choice": choice}));
        let request = read(&body).request;
        assert_eq!((format!("{:?}", request.tool_choice.unwrap()).as_str(), request.parallel_tool_calls), (expected, parallel));
    }
    read(&body(json!({"tool_choice": {"type": "auto"}})));
    read(&body(json!({"tool_choice": {"type": "none"}})));
}

#[test]
fn settings_find_their_places() {
    let body = body(json!({
        "stop_sequences": ["END", "", "a\nb"], "thinking": {"type": "enabled", "budget_tokens": 1024}, "stream": true,
        "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u"}, "service_tier": "standard_only",
    }));
    let Decoded { request, stream, style } = read(&body);
    assert!(stream && request.unsupported.is_empty());
    assert_eq!(strings(&request.stop), ["END", "a\nb"]);
    assert_eq!(style.stop, ["END", "a\\nb"]);
    assert_eq!(request.thinking.unwrap().as_str(), r#"{"budget_tokens":1024,"type":"enabled"}"#);
    assert_eq!(request.effort, Some(Effort::XHigh));
    let Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None }) = request.output_format else { panic!("no schema") };
    assert_eq!(schema.raw().as_str(), r#"{"type":"object"}"#);
    assert_eq!(request.user.unwrap(), "u");
    assert_eq!(request.service_tier.unwrap(), "default");
    for (more, expected) in
        [(json!({"service_tier": "auto"}), "auto"), (json!({"output_format": {"type": "json_schema", "schema": {}}, "service_tier": "auto"}), "auto")]
    {
        let beta = more.get("output_format").is_some();
        let body = self::body(more);
        let request = read(&body).request;
        assert_eq!(request.service_tier.unwrap(), expected);
        assert_eq!(request.output_format.is_some(), beta);
    }
    for thinking in [json!({"type": "disabled"}), json!({"type": "adaptive", "display": "omitted"}), json!({"type": "between_tools"})] {
        assert!(read(&self::body(json!({"thinking": thinking}))).request.thinking.is_some());
    }
}

#[test]
fn members_without_an_equal_are_listed_when_they_have_an_effect() {
    for (more, expected) in [
        (json!({"speed": "standard", "inference_geo": "", "container": {}, "mcp_servers": [], "context_management": {}, "fallbacks": [], "betas": []}), vec![]),
        (json!({"anthropic_version": "vertex-2023-10-16", "anthropic_beta": ["x"], "metadata": {}, "output_config": {}}), vec![]),
        (json!({"speed": "fast"}), vec!["speed"]),
        (json!({"inference_geo": "us"}), vec!["inference_geo"]),
        (json!({"container": "c"}), vec!["container"]),
        (json!({"container": {"skills": []}}), vec!["container"]),
        (json!({"diagnostics": {}}), vec!["diagnostics"]),
        (json!({"mcp_servers": [{}]}), vec!["mcp_servers"]),
        (json!({"context_management": {"edits": []}}), vec!["context_management"]),
        (json!({"fallbacks": [{"model": "x"}]}), vec!["fallbacks"]),
        (json!({"betas": ["x"]}), vec!["betas"]),
        (json!({"user_profile_id": "x", "workspace_id": "y"}), vec!["user_profile_id", "workspace_id"]),
        (json!({"output_config": {"task_budget": {"type": "tokens", "total": 1}}}), vec!["output_config.task_budget"]),
    ] {
        let body = body(more);
        assert_eq!(unsupported(&body), expected);
        assert!(read(&body).request.extras.is_empty());
    }
}

#[test]
fn a_marker_for_all_stands_behind_the_last_part() {
    let cached = json!({"type": "ephemeral", "ttl": "1h"});
    for (messages, expected) in [
        (json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]), vec!["text b", "cache 1h"]),
        (
            json!([{"role": "user", "content": [{"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "5m"}}]}]),
            vec!["text b", "cache 5m"],
        ),
        (json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}]), vec![r#"result a None ["text x", "cache 1h"]"#]),
    ] {
        let body = json!({"model": "m", "max_tokens": 5, "messages": messages, "system": "s", "cache_control": cached}).to_string();
        assert_eq!(self::messages(&body).pop().unwrap().1, expected);
    }
}

mod round_trip {
    use super::*;
    use crate::chat::{Envelope, Response, StopReason, ToolUse};
    use crate::dialect::anthropic::downstream::response;
    use proptest::prelude::*;

    fn any_part() -> impl Strategy<Value = Part<'static>> {
        prop_oneof![
            ".+".prop_map(|text| Part::Text(Text::from_plain(text))),
            (".*", "[A-Za-z0-9+/]{1,9}")
                .prop_map(|(text, seal)| { Part::Reasoning(Reasoning { text: Text::from_plain(text), signature: Some(Text::from_plain(seal)) }) }),
            ".+".prop_map(|text| Part::Reasoning(Reasoning { text: Text::from_plain(text), signature: None })),
            "[A-Za-z0-9+/]{1,9}".prop_map(|content| Part::RedactedReasoning(Text::from_plain(content))),
            (".+", ".+", ".*").prop_map(|(id, name, value)| {
                Part::ToolUse(ToolUse { id: Text::from_plain(id), name: Text::from_plain(name), input: json!({"v": value}).to_string().into() })
            }),
        ]
    }

    /// The members of a request whose place is one value, as a client writes them.
    fn any_settings() -> impl Strategy<Value = Value> {
        let optional = |values: &[Value]| proptest::option::of(proptest::sample::select(values.to_vec()));
        (
            proptest::option::of(0.0..=1.0_f64),
            proptest::option::of(0..500_u64),
            optional(&[json!("auto"), json!("standard_only")]),
            proptest::collection::vec(".+", 0..4),
            optional(&[json!({"effort": "low"}), json!({"effort": "max", "format": {"type": "json_schema", "schema": {"a": 1}}})]),
            proptest::option::of(".+"),
        )
            .prop_map(|(temperature, top_k, tier, stop, output, user)| {
                json!({
                    "temperature": temperature, "top_k": top_k, "service_tier": tier, "stop_sequences": stop, "output_config": output,
                    "metadata": {"user_id": user},
                })
            })
    }

    proptest! {
        #[test]
        fn an_answer_that_is_sent_back_is_what_it_was(parts in proptest::collection::vec(any_part(), 0..6)) {
            let answer = Response { parts, citations: vec![], stop: StopReason::EndTurn, stop_sequence: None, usage: None, service_tier: None };
            let envelope = Envelope { id: "1".to_owned(), model: "m".to_owned(), created: 0 };
            let mut out = Vec::new();
            response::encode(&answer, &envelope, &Style::default(), &mut out);
            let message: Value = serde_json::from_slice(&out).unwrap();
            let body = says("assistant", message["content"].clone());
            prop_assert_eq!(super::parts(&body), lines(&answer.parts));
            prop_assert!(unsupported(&body).is_empty());
        }

        #[test]
        fn settings_are_read_back_from_what_was_written(settings in any_settings()) {
            let body = body(settings.clone());
            let Decoded { request, style, .. } = read(&body);
            prop_assert_eq!(request.temperature.map_or("null", Raw::as_str), settings["temperature"].to_string());
            prop_assert_eq!(request.top_k.map_or("null", Raw::as_str), settings["top_k"].to_string());
            prop_assert_eq!(json!(strings(&request.stop)), settings["stop_sequences"].clone());
            prop_assert_eq!(style.stop.len(), request.stop.len());
            prop_assert_eq!(request.user.map(|user| json!(user.unescape())).unwrap_or_default(), settings["metadata"]["user_id"].clone());
            let tier = request.service_tier.map(|tier| json!(if tier == "auto" { "auto" } else { "standard_only" }));
            prop_assert_eq!(tier.unwrap_or_default(), settings["service_tier"].clone());
            prop_assert_eq!(request.effort.map(|effort| json!(effort.as_str())).unwrap_or_default(), settings["output_config"]["effort"].clone());
            prop_assert_eq!(request.output_format.is_some(), settings["output_config"]["format"].is_object());
        }

        #[test]
        fn any_cut_or_changed_body_is_read_or_refused(at in 0_usize..600, byte: u8, cut: bool) {
            let whole = talk(json!([
                {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "é", "signature": "s"}, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": [1]}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}]}]},
            ]));
            let mut bytes = whole.into_bytes();
            if cut {
                bytes.truncate(at);
            } else if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            if let Ok(text) = std::str::from_utf8(&bytes) {
                for purpose in [Purpose::Messages, Purpose::Count, Purpose::Invoke] {
                    if let Err(error) = decode(text, purpose) {
                        prop_assert_eq!(error.status, 400);
                    }
                }
            }
        }
    }
}
