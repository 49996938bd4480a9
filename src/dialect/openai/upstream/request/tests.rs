use crate::wire::json::Raw;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::chat::capability::Capabilities;
use crate::chat::{CachePoint, Extra, Message, Part, Policy, Role, Source, ToolResult, ToolUse, Unknown, Unsupported};
use crate::dialect::openai::downstream;

const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";

fn options(model: &str) -> Options<'_> {
    Options { model, family: model, capabilities: &Capabilities::UNKNOWN, policy: Policy::default(), default_max_tokens: None, stream: false }
}

/// The body for a model, and what was dropped.
fn encoded(request: &Request<'_>, options: &Options<'_>) -> (Value, Vec<String>) {
    let encoded = encode(request, options).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
}

/// The same, as it is on the wire.
fn encoded_pair(request: &Request<'_>, options: &Options<'_>) -> (String, Vec<String>) {
    let encoded = encode(request, options).unwrap();
    (String::from_utf8(encoded.body).unwrap(), encoded.dropped)
}

fn body(request: &Request<'_>) -> Value {
    encoded(request, &options("m")).0
}

fn text(plain: &'static str) -> Part<'static> {
    Part::Text(Text::from_plain(plain))
}

fn message(role: Role, parts: Vec<Part<'static>>) -> Message<'static> {
    Message { role, parts }
}

fn used(id: &'static str, name: &'static str, input: &'static str) -> Part<'static> {
    Part::ToolUse(ToolUse { id: Text::from_plain(id), name: Text::from_plain(name), input: input.into() })
}

fn result(id: &'static str, parts: Vec<Part<'static>>) -> Part<'static> {
    Part::ToolResult(ToolResult { id: Text::from_plain(id), parts, is_error: None })
}

fn image(source: Source<'static>) -> Part<'static> {
    Part::Image(crate::chat::Image { media_type: Some("image/jpeg".into()), source })
}

fn base64(bytes: &'static str) -> Source<'static> {
    Source::Base64(Text::from_plain(bytes))
}

fn document(name: Option<&'static str>, media_type: Option<&'static str>, source: Source<'static>) -> Part<'static> {
    let (name, media_type) = (name.map(Text::from_plain), media_type.map(Into::into));
    Part::Document(crate::chat::Document { media_type, name, context: None, citations: None, source })
}

fn request(messages: Vec<Message<'static>>) -> Request<'static> {
    Request { messages, ..Request::default() }
}

/// A request that says "hi".
fn hi() -> Request<'static> {
    request(vec![message(Role::User, vec![text("hi")])])
}

/// The messages that these become.
fn messages(list: Vec<Message<'static>>) -> Value {
    body(&request(list))["messages"].clone()
}

/// The content that one user message becomes.
fn content(parts: Vec<Part<'static>>) -> Value {
    messages(vec![message(Role::User, parts)])[0]["content"].clone()
}

fn refused(parts: Vec<Part<'static>>) -> (u16, Option<String>) {
    let error = encode(&request(vec![message(Role::User, vec![text("a")]), message(Role::User, parts)]), &options("m")).unwrap_err();
    (error.status, error.param.map(|param| param.into_owned()))
}

#[test]
fn trap_36_what_is_not_set_is_not_sent() {
    let encoded = encode(&hi(), &options("gpt-4o")).unwrap();
    assert_eq!(String::from_utf8(encoded.body).unwrap(), r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#);
    assert!(encoded.dropped.is_empty() && encoded.restore.names.is_empty());
    let stream = Options { stream: true, default_max_tokens: Some(9), ..options("m") };
    let (body, _) = encoded_pair(&hi(), &stream);
    assert_eq!(body, r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true},"max_tokens":9}"#);
}

#[test]
fn trap_24_instructions_stay_where_they_stand_but_not_before_a_result() {
    let found = messages(vec![
        message(Role::System, vec![text("a"), Part::CachePoint(CachePoint::default()), text("b"), text(" ")]),
        message(Role::System, vec![text("x-anthropic-billing-header: cc_version=1")]),
        message(Role::User, vec![text("hi")]),
        message(Role::Assistant, vec![used("1", "f", "{}")]),
        message(Role::System, vec![text("late")]),
        message(Role::Tool, vec![result("1", vec![text("r")])]),
    ]);
    assert_eq!(
        found,
        json!([
            {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "r"},
            {"role": "system", "content": "late"},
        ])
    );
}

#[test]
fn trap_10_results_come_first_and_in_the_order_of_the_calls() {
    let found = messages(vec![
        message(Role::User, vec![text("hi")]),
        message(Role::Assistant, vec![text("Let me "), Part::Reasoning(crate::chat::Reasoning { text: Text::from_plain("hm"), signature: None })]),
        message(Role::Assistant, vec![text("see."), used("1", "f", r#"{"x": "\"y\""}"#), used("", "g", "[1]"), used("3", "h", "{}")]),
        message(
            Role::User,
            vec![text("and"), result("", vec![text("two"), text("more")]), result("1", vec![Part::Json(Raw::parse(r#"{"a":"b"}"#).unwrap())]), text("then")],
        ),
        message(Role::User, vec![text("go")]),
    ]);
    assert_eq!(
        found,
        json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": \"\\\"y\\\"\"}"}},
                {"id": "call_1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                {"id": "3", "type": "function", "function": {"name": "h", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "{\"a\":\"b\"}"},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "more"}]},
            {"role": "tool", "tool_call_id": "3", "content": "No result was given for this tool call."},
            {"role": "user", "content": [{"type": "text", "text": "and"}, {"type": "text", "text": "then"}, {"type": "text", "text": "go"}]},
        ])
    );
}

#[test]
fn results_of_every_kind() {
    let failed = |parts| Part::ToolResult(ToolResult { id: Text::from_plain("1"), parts, is_error: Some(true) });
    for (result, content) in [
        (result("1", vec![]), json!("")),
        (result("1", vec![text(" ")]), json!("")),
        (failed(vec![text("no\n\"such\" file")]), json!("The tool call failed: no\n\"such\" file")),
        (failed(vec![]), json!("The tool call failed.")),
        (result("1", vec![document(Some("T"), None, Source::Text(Text::from_plain("plain")))]), json!("Title: T\n\nplain")),
    ] {
        let found = messages(vec![message(Role::Assistant, vec![used("1", "f", "{}")]), message(Role::User, vec![result])]);
        assert_eq!(found.as_array().unwrap().len(), 2);
        assert_eq!(found[1]["content"], content);
    }
}

#[test]
fn trap_21_media_in_results_follow_as_the_user_s() {
    let found = messages(vec![
        message(Role::Assistant, vec![used("1", "f", "{}"), used("2", "g", "{}")]),
        message(
            Role::User,
            vec![result("2", vec![text("ok")]), result("1", vec![image(base64(PNG)), image(Source::Url(Text::from_plain("https://a/b")))]), text("so?")],
        ),
    ]);
    assert_eq!(
        found.as_array().unwrap()[1..],
        *json!([
            {"role": "tool", "tool_call_id": "1", "content": "The result is in the attachments of the next message."},
            {"role": "tool", "tool_call_id": "2", "content": "ok"},
            {"role": "user", "content": [
                {"type": "text", "text": "Attachments of the result of tool call 1:"},
                {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}},
                {"type": "image_url", "image_url": {"url": "https://a/b"}},
                {"type": "text", "text": "so?"},
            ]},
        ])
        .as_array()
        .unwrap()
    );
}

#[test]
fn stray_results_become_text() {
    assert_eq!(
        content(vec![result("9", vec![text("r")]), text("so?")]),
        json!([{"type": "text", "text": "Result of an earlier tool call:"}, {"type": "text", "text": "r"}, {"type": "text", "text": "so?"}])
    );
}

#[test]
fn trap_39_media() {
    assert_eq!(
        content(vec![image(base64("/9j/4AAQ"))]),
        json!([{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"}}]),
        "a single picture is a list all the same"
    );
    assert_eq!(content(vec![image(base64("iVBO\nRw0KGgo="))])[0]["image_url"]["url"], "data:image/png;base64,iVBORw0KGgo=", "no line breaks in a URL");
    for (name, media_type, bytes, written, url) in [
        (Some("a \"b\".pdf"), None, "JVBERi0xLjc=", "a \"b\".pdf", "data:application/pdf;base64,JVBERi0xLjc="),
        (None, Some("application/pdf"), "AAAA", "document.pdf", "data:application/pdf;base64,AAAA"),
        (None, Some("pdf"), "AAAA", "document.pdf", "data:application/pdf;base64,AAAA"),
        (Some("t.csv"), None, "AAAA", "t.csv", "data:text/csv;base64,AAAA"),
        (Some("t"), Some("text/plain; charset=utf-8"), "AAAA", "t.txt", "data:text/plain;base64,AAAA"),
        (Some("Report 2024"), Some("pdf"), "JVBERi0xLjc=", "Report 2024.pdf", "data:application/pdf;base64,JVBERi0xLjc="),
        (Some("v1.2"), Some("pdf"), "AAAA", "v1.2.pdf", "data:application/pdf;base64,AAAA"),
        (Some("a.b"), None, "AAAA", "a.b", "data:application/octet-stream;base64,AAAA"),
        (None, Some("a/b\"c"), "AAAA", "document.bin", "data:application/octet-stream;base64,AAAA"),
    ] {
        let found = content(vec![document(name, media_type, base64(bytes))]);
        assert_eq!(found, json!([{"type": "file", "file": {"filename": written, "file_data": url}}]));
    }
    let found = content(vec![Part::Document(crate::chat::Document {
        media_type: None,
        name: Some(Text::from_plain("N")),
        context: Some(Text::from_plain("C")),
        citations: Some(true),
        source: Source::Texts(vec![Text::from_plain("one"), Text::from_plain("two")]),
    })]);
    assert_eq!(found, json!("Title: N\nContext: C\n\none\ntwo"));
    let found = content(vec![Part::SearchResult(crate::chat::SearchResult {
        source: Text::from_plain("https://a"),
        title: Text::from_plain("T"),
        content: vec![Text::from_plain("one"), Text::from_plain("two")],
        citations: None,
    })]);
    assert_eq!(found, json!("Title: T\nSource: https://a\n\none\ntwo"));
    let sound = |format: &'static str, source| Part::Audio(crate::chat::Audio { format: Text::from_plain(format), source });
    assert_eq!(content(vec![sound("MPEG", base64("AAAA"))]), json!([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}]));
    let url = || Source::Url(Text::from_plain("https://a"));
    let s3 = || Source::S3(Text::from_plain("s3://a/b.png"));
    for part in [
        image(s3()),
        image(base64("AAAA")),
        image(base64("")),
        image(Source::Text(Text::EMPTY)),
        document(None, None, url()),
        document(None, None, s3()),
        document(None, None, base64("")),
        document(None, None, Source::Text(Text::EMPTY)),
        document(None, None, Source::Texts(Vec::new())),
        sound("flac", base64("AAAA")),
        sound("wav", url()),
        sound("wav", s3()),
        used("1", "f", "{}"),
        Part::RedactedReasoning(Text::EMPTY),
    ] {
        assert_eq!(refused(vec![text("x"), part.clone()]), (400, Some("messages[1].content[1]".to_owned())), "{part:?}");
    }
}

#[test]
fn parts_that_cannot_stand_where_they_are_are_refused() {
    for (role, part) in [
        (Role::System, image(base64(PNG))),
        (Role::Assistant, image(base64(PNG))),
        (Role::Assistant, result("1", vec![])),
        (Role::User, result("1", vec![result("2", vec![])])),
    ] {
        let error = encode(&request(vec![message(role, vec![part])]), &options("m")).unwrap_err();
        assert_eq!(error.status, 400);
    }
    let nested = result("1", vec![text("a"), used("2", "f", "{}")]);
    let error = encode(&request(vec![message(Role::Assistant, vec![used("1", "f", "{}")]), message(Role::User, vec![nested])]), &options("m")).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("messages[1].content[1]"));
    for empty in [vec![], vec![message(Role::User, vec![])], vec![message(Role::Assistant, vec![text(" \n")])]] {
        assert_eq!(encode(&request(empty), &options("m")).unwrap_err().param.as_deref(), Some("messages"));
    }
}

#[test]
fn thoughts_and_cache_points_are_left_out_and_told() {
    let mut request = request(vec![
        message(Role::User, vec![text("hi"), Part::CachePoint(CachePoint::default())]),
        message(Role::Assistant, vec![Part::RedactedReasoning(Text::from_plain("AA")), text("a")]),
    ]);
    request.tools = vec![tool("f", Some(CachePoint::default()))];
    let (body, dropped) = encoded(&request, &options("m"));
    assert_eq!(body["messages"], json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}]));
    assert_eq!(dropped, ["cache_control", "thinking"]);
}

fn tool(name: &'static str, cache: Option<CachePoint<'static>>) -> Tool<'static> {
    Tool { name: Text::from_plain(name), description: None, parameters: None, strict: None, cache }
}

#[test]
fn trap_33_openai_s_models_take_no_sampling_while_they_think() {
    for (model, effort, taken) in [
        ("gpt-5.2", None, true),
        ("gpt-5.2", Some(Effort::None), true),
        ("gpt-5.2", Some(Effort::Low), false),
        ("gpt-5", None, false),
        ("gpt-4o", None, true),
        ("google/gemini-3-pro", Some(Effort::Low), true),
    ] {
        let request = Request { temperature: Raw::parse("0.5").ok(), effort, ..hi() };
        let capabilities = Capabilities::of(model);
        let options = Options { model, family: model, capabilities: &capabilities, policy: Policy::default(), default_max_tokens: None, stream: false };
        let (body, dropped) = encoded(&request, &options);
        assert_eq!(body["temperature"], if taken { json!(0.5) } else { json!(null) }, "{model} {effort:?}");
        assert_eq!(dropped.contains(&"temperature".to_owned()), !taken, "{model} {effort:?}");
    }
}

#[test]
fn strict_tools_are_what_openai_calls_strict() {
    for (schema, strict) in [
        (r#"{"type":"object","properties":{"a":{}},"required":["a"]}"#, true),
        (r#"{"type":"object","properties":{}}"#, true),
        (r#"{"type":"object","properties":{"a":{},"b":{}},"required":["a"]}"#, false),
        (r#"{"type":"object","properties":{},"additionalProperties":{"type":"string"}}"#, false),
    ] {
        let mut request = hi();
        request.tools = vec![Tool { parameters: Some(Raw::parse(schema).unwrap()), strict: Some(true), ..tool("f", None) }];
        let (body, dropped) = encoded(&request, &options("m"));
        let function = &body["tools"][0]["function"];
        assert_eq!(function["strict"], if strict { json!(true) } else { json!(null) }, "{schema}");
        if strict {
            assert_eq!(function["parameters"]["additionalProperties"], false, "{schema}");
        } else {
            assert_eq!(function["parameters"].to_string(), serde_json::from_str::<Value>(schema).unwrap().to_string());
        }
        assert_eq!(dropped.is_empty(), strict, "{dropped:?}");
    }
}

#[test]
fn tools_and_the_choice_among_them() {
    let schema = Raw::parse(r#"{"type": "object", "properties": {"z": {}, "a": {}}, "required": ["a", "z"]}"#).unwrap();
    let mut request = hi();
    request.tools = vec![
        Tool { description: Some(Text::from_plain("d")), parameters: Some(schema), strict: Some(true), ..tool("a.b", None) },
        Tool { description: Some(Text::from_plain(" ")), parameters: Some(Raw::parse("null").unwrap()), ..tool("g", None) },
    ];
    request.parallel_tool_calls = Some(false);
    request.tool_choice = Some(ToolChoice::Tool(Text::from_plain("a.b")));
    let whole = encode(&request, &options("m")).unwrap();
    let text = String::from_utf8(whole.body).unwrap();
    let expected = r#""tools":[{"type":"function","function":{"name":"a_b","description":"d","parameters":{"type": "object", "properties": {"z": {}, "a": {}}, "required": ["a", "z"],"additionalProperties":false},"strict":true}},{"type":"function","function":{"name":"g","parameters":{"type":"object","properties":{}}}}],"tool_choice":{"type":"function","function":{"name":"a_b"}},"parallel_tool_calls":false}"#;
    assert!(text.ends_with(expected), "{text}");
    assert_eq!(whole.restore.names, [("a_b".to_owned(), "a.b".to_owned())]);
    for (choice, written) in [(ToolChoice::Auto, "auto"), (ToolChoice::None, "none"), (ToolChoice::Any, "required")] {
        request.tool_choice = Some(choice);
        assert_eq!(body(&request)["tool_choice"], written);
    }
    request.tools.clear();
    for (choice, lost) in [(ToolChoice::Auto, 0), (ToolChoice::None, 0), (ToolChoice::Any, 1)] {
        request.tool_choice = Some(choice);
        let (body, dropped) = encoded(&request, &options("m"));
        assert!(body.get("tool_choice").is_none() && body.get("parallel_tool_calls").is_none());
        assert_eq!(dropped.len(), lost);
    }
    request.tools = vec![tool("f", None)];
    (request.parallel_tool_calls, request.one_tool_call) = (None, true);
    assert_eq!(body(&request)["parallel_tool_calls"], false);
}

#[test]
fn trap_37_the_token_limit_goes_by_the_name_that_the_model_takes() {
    let mut request = hi();
    request.max_tokens = Some(5);
    for (model, name) in [
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.2-mini", "max_completion_tokens"),
        ("openai/o3-mini", "max_completion_tokens"),
        ("o1", "max_completion_tokens"),
        ("x/y/o4-mini", "max_completion_tokens"),
        ("gpt-4o", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("google/gemini-3-pro", "max_tokens"),
        ("o1/other", "max_tokens"),
    ] {
        let (body, _) = encoded(&request, &options(model));
        assert_eq!(body[name], 5, "{model}");
        assert_eq!(body.as_object().unwrap().len(), 3, "{model}");
    }
}

#[test]
fn sampling_moves_as_it_was_written() {
    let mut request = hi();
    request.temperature = Some(Raw::parse("0.70").unwrap());
    request.top_p = Some(Raw::parse("1e-1").unwrap());
    request.top_k = Some(Raw::parse("5").unwrap());
    request.stop = ["", "a", "\n", "c", "d", "e"].map(Text::from_plain).to_vec();
    let (text, dropped) = encoded_pair(&request, &options("m"));
    assert!(text.ends_with(r#""temperature":0.70,"top_p":1e-1,"stop":["a","\n","c","d"]}"#), "{text}");
    assert_eq!(dropped, ["top_k", "stop_sequences"]);
    let refusing = Capabilities { sampling: false, stop: false, ..Capabilities::UNKNOWN };
    let (text, dropped) = encoded_pair(&request, &Options { capabilities: &refusing, ..options("m") });
    assert!(text.ends_with(r#""content":"hi"}]}"#), "{text}");
    assert_eq!(dropped, ["temperature", "top_p", "top_k", "stop_sequences"]);
    let reject = Policy { unsupported: Unsupported::Reject, ..Policy::default() };
    assert_eq!(encode(&request, &Options { policy: reject, ..options("m") }).unwrap_err().param.as_deref(), Some("top_k"));
}

#[test]
fn thinking_becomes_an_effort() {
    let thinks = Raw::parse(r#"{"type":"adaptive","display":"omitted"}"#).unwrap();
    for (model, thinking, effort, written, dropped) in [
        ("m", Some(r#"{"type":"enabled","budget_tokens":1024}"#), None, json!("low"), vec![]),
        ("m", Some(r#"{"type":"enabled","budget_tokens":2048}"#), None, json!("low"), vec![]),
        ("m", Some(r#"{"type":"enabled","budget_tokens":2049}"#), None, json!("medium"), vec![]),
        ("m", Some(r#"{"type":"enabled","budget_tokens":8193}"#), None, json!("high"), vec![]),
        ("m", Some(r#"{"type":"enabled","budget_tokens":1024}"#), Some(Effort::Max), json!("max"), vec![]),
        ("m", Some(thinks.as_str()), None, Value::Null, vec![]),
        ("m", Some(thinks.as_str()), Some(Effort::XHigh), json!("xhigh"), vec![]),
        ("m", Some(r#"{"type":"disabled"}"#), None, Value::Null, vec![]),
        ("m", Some(r#"{"type":"disabled"}"#), Some(Effort::High), Value::Null, vec!["effort"]),
        ("m", Some("3"), None, Value::Null, vec![]),
        ("m", None, Some(Effort::None), json!("none"), vec![]),
        ("gpt-4o", Some(thinks.as_str()), Some(Effort::High), Value::Null, vec!["thinking"]),
        ("openai/gpt-3.5-turbo", None, Some(Effort::High), Value::Null, vec!["reasoning_effort"]),
        ("gpt-4o", Some(r#"{"type":"disabled"}"#), None, Value::Null, vec![]),
        ("gpt-4.1", None, Some(Effort::None), Value::Null, vec![]),
    ] {
        let request = Request { thinking: thinking.map(|text| Raw::parse(text).unwrap()), effort, ..hi() };
        let (body, lost) = encoded(&request, &options(model));
        assert_eq!((&body["reasoning_effort"], lost), (&written, dropped.into_iter().map(str::to_owned).collect()), "{model} {thinking:?} {effort:?}");
    }
}

#[test]
fn shapes() {
    let schema = Raw::parse(r#"{"type":"object"}"#).unwrap();
    let shape =
        |name: Option<&'static str>, strict| OutputFormat::JsonSchema { name: name.map(Text::from_plain), description: None, schema: schema.into(), strict };
    for (format, written) in [
        (OutputFormat::Text, json!({"type": "text"})),
        (OutputFormat::JsonObject, json!({"type": "json_object"})),
        (shape(None, None), json!({"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}})),
        (shape(Some("a b"), Some(true)), json!({"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}, "strict": true}})),
        (shape(Some("a_b"), Some(false)), json!({"type": "json_schema", "json_schema": {"name": "a_b", "schema": {"type": "object"}, "strict": false}})),
    ] {
        assert_eq!(body(&Request { output_format: Some(format), ..hi() })["response_format"], written);
    }
}

#[test]
fn labels_and_tiers() {
    let request = Request {
        user: Some(Text::from_plain("u\"1")),
        service_tier: Some(Text::from_plain("flex")),
        metadata: vec![(Text::from_plain("k\""), Text::from_plain("v"))],
        n: Some(3),
        unsupported: vec!["container"],
        ..hi()
    };
    let (body, dropped) = encoded(&request, &options("m"));
    assert_eq!((&body["user"], &body["service_tier"], &body["metadata"], &body["n"]), (&json!("u\"1"), &json!("flex"), &json!({"k\"": "v"}), &json!(3)));
    assert_eq!(dropped, ["container"]);
    assert!(self::body(&Request { n: Some(1), ..hi() }).get("n").is_none());
}

fn extra(name: &'static str, json: &'static str) -> Extra<'static> {
    Extra { name: Text::from_plain(name), value: Raw::parse(json).unwrap() }
}

#[test]
fn extras_are_members_of_the_body() {
    let mut request = hi();
    request.max_tokens = Some(5);
    request.temperature = Some(Raw::parse("1").unwrap());
    request.extras = vec![
        extra("seed", "7"),
        extra(
            "additionalModelRequestFields",
            r#"{"top_k":40,"temperature":0,"logit_bias":{"1":-100},"stream":true,"seed":8,"nothing":null,"thinking":{"type":"enabled"}}"#,
        ),
        extra("inferenceConfig", r#"{"topK":1}"#),
        extra("performanceConfig", "{}"),
        extra("max_completion_tokens", "9"),
        extra("model", "\"other\""),
        extra("se\u{e9}d", "1"),
    ];
    let (text, dropped) = encoded_pair(&request, &options("m"));
    let tail = r#""max_tokens":5,"temperature":1,"seed":7,"top_k":40,"logit_bias":{"1":-100},"thinking":{"type":"enabled"},"seéd":1}"#;
    assert!(text.ends_with(tail), "{text}");
    assert_eq!(dropped, ["temperature", "stream", "seed", "inferenceConfig", "performanceConfig", "max_completion_tokens", "model"]);
    let drop = Policy { unknown: Unknown::Drop, ..Policy::default() };
    let (text, dropped) = encoded_pair(&request, &Options { policy: drop, ..options("m") });
    assert!(text.ends_with(r#""temperature":1}"#) && dropped.len() == 7, "{text} {dropped:?}");
    let reject = Policy { unknown: Unknown::Reject, ..Policy::default() };
    assert_eq!(encode(&request, &Options { policy: reject, ..options("m") }).unwrap_err().param.as_deref(), Some("seed"));
    request.extras = vec![extra("additionalModelRequestFields", "[]")];
    assert_eq!(encode(&request, &options("m")).unwrap_err().status, 400);
    request.extras = vec![extra("inferenceConfig", "{}")];
    let reject = Policy { unsupported: Unsupported::Reject, ..Policy::default() };
    assert_eq!(encode(&request, &Options { policy: reject, ..options("m") }).unwrap_err().param.as_deref(), Some("inferenceConfig"));
}

#[test]
fn spellings_of_one_name_are_one_member() {
    let mut request = hi();
    request.extras = vec![Extra { name: Text::from_escaped(r"\u0073eed"), value: Raw::parse("1").unwrap() }, extra("seed", "2")];
    let (text, dropped) = encoded_pair(&request, &options("m"));
    assert!(text.ends_with(r#","seed":1}"#), "{text}");
    assert_eq!(dropped, ["seed"]);
}

#[test]
fn trap_60_a_longer_conversation_begins_with_the_shorter_one() {
    let mut turns = vec![
        message(Role::System, vec![text("s")]),
        message(Role::User, vec![text("hi")]),
        message(Role::Assistant, vec![used("1", "f", r#"{"z":1, "a":2}"#)]),
        message(Role::User, vec![result("1", vec![text("r"), image(base64(PNG))])]),
    ];
    let shorter = encode(&request(turns.clone()), &options("m")).unwrap().body;
    turns.push(message(Role::Assistant, vec![text("so")]));
    let longer = encode(&request(turns), &options("m")).unwrap().body;
    let shorter = shorter.strip_suffix(b"]}").unwrap();
    assert!(longer.starts_with(shorter));
}

/// What a request says, in short: role, text, calls and results.
fn gist(request: &Request<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for message in &request.messages {
        for part in &message.parts {
            match part {
                Part::Text(text) => out.push(format!("{:?} {}", message.role, text.unescape())),
                Part::ToolUse(used) => out.push(format!("call {} {} {}", used.id.unescape(), used.name.unescape(), used.input)),
                Part::ToolResult(result) => {
                    let text = |part: &Part<'_>| if let Part::Text(text) = part { text.unescape().into_owned() } else { format!("{part:?}") };
                    out.push(format!("result {} {}", result.id.unescape(), result.parts.iter().map(text).collect::<String>()));
                }
                other => out.push(format!("{other:?}")),
            }
        }
    }
    out
}

fn words() -> impl Strategy<Value = String> {
    "[a-z\"\\\\\n\u{e9}]{1,6}".prop_filter("not blank", |text| !text.trim().is_empty())
}

#[test]
fn as_many_extras_as_a_body_holds_are_placed_in_no_time() {
    let free: String = (0..300_000).map(|n| format!(r#""x{n}":1,"#)).collect();
    let free = format!(r#"{{{free}"x7":2,"n":1}}"#);
    let extra = Extra { name: Text::from_plain("additionalModelRequestFields"), value: Raw::parse(&free).unwrap() };
    let request = Request { messages: vec![message(Role::User, vec![text("x")])], extras: vec![extra], ..Request::default() };
    // Compared with each other one by one they would take minutes.
    let (body, _) = encoded_pair(&request, &options("m"));
    assert!(body.ends_with(r#""x299999":1,"n":1}"#), "{}", &body[body.len() - 40..]);
}

proptest! {
    /// What is written here is read back by the reader for clients of the same API, and says the same.
    #[test]
    fn what_is_written_is_read_back(system in words(), turns in prop::collection::vec((words(), words(), words(), words()), 1..4)) {
        let mut list = vec![message(Role::System, vec![Part::Text(Text::from_plain(system))])];
        for (number, (asked, said, argument, answer)) in turns.into_iter().enumerate() {
            let input = json!({ "x": argument }).to_string();
            let id = Text::from_plain(format!("call_{number}"));
            list.push(message(Role::User, vec![Part::Text(Text::from_plain(asked))]));
            list.push(message(Role::Assistant, vec![
                Part::Text(Text::from_plain(said)),
                Part::ToolUse(ToolUse { id: id.clone(), name: Text::from_plain("f"), input: input.into() }),
            ]));
            list.push(message(Role::Tool, vec![Part::ToolResult(ToolResult { id, parts: vec![Part::Text(Text::from_plain(answer))], is_error: None })]));
        }
        let request = request(list);
        let encoded = encode(&request, &options("m")).unwrap();
        let text = String::from_utf8(encoded.body).unwrap();
        let read = downstream::request::decode(&text).unwrap();
        prop_assert_eq!(gist(&read.request), gist(&request));
    }

    /// Whatever the conversation is, results stand behind their call and nothing else does.
    #[test]
    fn every_call_has_its_result_right_behind_it(turns in prop::collection::vec((0_u8..5, 0_usize..3), 0..12)) {
        let id = |number: usize| ["a", "b", ""][number % 3];
        let list: Vec<Message<'static>> = turns.into_iter().map(|(kind, number)| match kind {
            0 => message(Role::User, vec![text("u")]),
            1 => message(Role::Assistant, vec![text("a"), used(id(number), "f", "{}")]),
            2 => message(Role::Tool, vec![result(id(number), vec![text("r")])]),
            3 => message(Role::System, vec![text("s")]),
            _ => message(Role::User, vec![result(id(number), vec![image(base64(PNG))]), text("u")]),
        }).collect();
        if let Ok(encoded) = encode(&request(list), &options("m")) {
            let body: Value = serde_json::from_slice(&encoded.body).unwrap();
            let mut open: std::collections::VecDeque<Value> = std::collections::VecDeque::new();
            for message in body["messages"].as_array().unwrap() {
                if message["role"] == "tool" {
                    prop_assert_eq!(open.pop_front(), Some(message["tool_call_id"].clone()));
                } else {
                    prop_assert!(open.is_empty());
                    open.extend(message["tool_calls"].as_array().into_iter().flatten().map(|call| call["id"].clone()));
                }
            }
            prop_assert!(open.is_empty());
        }
    }
}
