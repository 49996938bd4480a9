use std::borrow::Cow;

use serde_json::{Value, json};

use super::*;
use crate::chat::capability::Cache;
use crate::chat::{
    Audio, CachePoint, Document, Effort, Extra, Image, Message, OutputFormat, Part, Policy, Reasoning, Role, SearchResult, Source, Tool, ToolResult, ToolUse,
    Unknown, Unsupported,
};
use crate::dialect::openai;

const HAIKU_3: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SONNET_4: &str = "anthropic.claude-sonnet-4-20250514-v1:0";
const SONNET_4_5: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS_4_6: &str = "anthropic.claude-opus-4-6-v1";
const OPUS_4_7: &str = "anthropic.claude-opus-4-7";
const OPUS_5_5: &str = "anthropic.claude-opus-5-5";
const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";

fn options<'o>(takes: &'o Capabilities, policy: Policy) -> Options<'o> {
    Options { model: "claude-test", family: "claude-test", capabilities: takes, policy, default_max_tokens: None, stream: false }
}

fn written(request: &Request<'_>, takes: &Capabilities) -> Result<(Value, Vec<String>), ApiError> {
    let encoded = encode(request, &options(takes, Policy::default()))?;
    Ok((serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped))
}

/// An OpenAI request as it goes out to a model.
fn sent_with(model: &str, input: &Value, policy: Policy) -> Result<(Value, Vec<String>), ApiError> {
    let text = input.to_string();
    let decoded = openai::downstream::request::decode(&text)?;
    let encoded = encode(&decoded.request, &options(&Capabilities::of(model), policy))?;
    Ok((serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped))
}

fn sent(model: &str, input: Value) -> (Value, Vec<String>) {
    let mut whole = json!({"model": "m"});
    whole.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
    sent_with(model, &whole, Policy::default()).unwrap()
}

fn hi() -> Value {
    json!([{"role": "user", "content": "Hi"}])
}

fn text(plain: &str) -> Part<'_> {
    Part::Text(Text::from_plain(plain))
}

fn user(parts: Vec<Part<'_>>) -> Message<'_> {
    Message { role: Role::User, parts }
}

fn assistant(parts: Vec<Part<'_>>) -> Message<'_> {
    Message { role: Role::Assistant, parts }
}

fn call<'a>(id: &'a str, name: &'a str) -> Part<'a> {
    Part::ToolUse(ToolUse { id: Text::from_plain(id), name: Text::from_plain(name), input: Cow::Borrowed("{}") })
}

fn result<'a>(id: &'a str, parts: Vec<Part<'a>>) -> Part<'a> {
    Part::ToolResult(ToolResult { id: Text::from_plain(id), parts, is_error: None })
}

fn of(messages: Vec<Message<'_>>) -> Request<'_> {
    Request { messages, ..Request::default() }
}

fn block(plain: &str) -> Value {
    json!({"type": "text", "text": plain})
}

#[test]
fn trap_36_nothing_set_nothing_sent() {
    let (body, dropped) = sent(HAIKU_3, json!({"messages": hi()}));
    assert_eq!(body, json!({"model": "claude-test", "max_tokens": 4096, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}));
    assert!(dropped.is_empty());
}

#[test]
fn trap_37_somebody_says_how_many_tokens() {
    let takes = Capabilities { default_max_tokens: Some(3), ..Capabilities::of(HAIKU_3) };
    let mut request = of(vec![user(vec![text("Hi")])]);
    let limit = |request: &Request<'_>, default| {
        let encoded = encode(request, &Options { default_max_tokens: default, stream: true, ..options(&takes, Policy::default()) }).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body["stream"], true);
        body["max_tokens"].as_u64().unwrap()
    };
    assert_eq!((limit(&request, None), limit(&request, Some(2))), (3, 2));
    request.max_tokens = Some(1);
    assert_eq!(limit(&request, Some(2)), 1);
}

#[test]
fn counting_needs_no_limit_and_no_sampling() {
    let input = json!({"model": "m", "messages": hi(), "max_tokens": 5, "temperature": 0.5, "stop": "x", "user": "u", "unknown": 1,
        "tools": [{"type": "function", "function": {"name": "f"}}]})
    .to_string();
    let decoded = openai::downstream::request::decode(&input).unwrap();
    let takes = Capabilities::of(HAIKU_3);
    let encoded = encode_count(&decoded.request, &Options { stream: true, ..options(&takes, Policy::default()) }).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["messages", "model", "tools"]);
    assert_eq!(encoded.dropped, ["unknown"]);
}

#[test]
fn results_and_tools_of_the_history() {
    let request = || of(vec![user(vec![text("a")]), assistant(vec![call("t1", "f"), call("t2", "f")]), user(vec![result("t2", vec![text("r")])])]);
    let (body, _) = written(&request(), &Capabilities::of(HAIKU_3)).unwrap();
    let made = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": [made("t1"), made("t2")]}));
    let none = json!({"type": "tool_result", "tool_use_id": "t1", "content": [block("No result was given for this tool call.")], "is_error": true});
    let given = json!({"type": "tool_result", "tool_use_id": "t2", "content": [block("r")]});
    assert_eq!(body["messages"][2], json!({"role": "user", "content": [none, given]}));
    // Trap 16: what the history uses is declared; trap 17: and may not be used.
    assert_eq!(body["tools"], json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]));
    assert_eq!(body["tool_choice"], json!({"type": "none"}));
    let (body, _) = written(&request(), &Capabilities { tools: false, ..Capabilities::of(HAIKU_3) }).unwrap();
    assert!(body.get("tools").is_none() && body.get("tool_choice").is_none());
}

#[test]
fn trap_12_ids_fit_and_stay_apart() {
    let request = of(vec![
        user(vec![text("a")]),
        assistant(vec![call("call:1.a", "f"), call("ok_1-A", "f"), call("ok_1-A", "f")]),
        user(vec![result("ok_1-A", vec![text("1")]), result("call:1.a", vec![text("0")]), result("ok_1-A", vec![text("2")])]),
        assistant(vec![call("call:1.a", "f")]),
    ]);
    let (body, _) = written(&request, &Capabilities::of(HAIKU_3)).unwrap();
    let ids = |turn: usize, member: &str| -> Vec<String> {
        body["messages"][turn]["content"].as_array().unwrap().iter().map(|block| block[member].as_str().unwrap().to_owned()).collect()
    };
    let made = ids(1, "id");
    assert_eq!(made, ids(2, "tool_use_id"));
    assert_eq!(body["messages"][2]["content"][0]["content"], json!([block("0")]));
    let mut all = [made, ids(3, "id")].concat();
    assert!(all.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')), "{all:?}");
    assert_eq!(all[1], "ok_1-A");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
}

#[test]
fn trap_13_tool_names_are_restored() {
    let input = json!({"model": "m", "messages": [{"role": "user", "content": "a"},
            {"role": "assistant", "tool_calls": [{"id": "t", "type": "function", "function": {"name": "a.b", "arguments": "{}"}}]}],
        "tools": [{"type": "function", "function": {"name": "a.b"}}], "tool_choice": {"type": "function", "function": {"name": "a.b"}}})
    .to_string();
    let decoded = openai::downstream::request::decode(&input).unwrap();
    let takes = Capabilities::of(HAIKU_3);
    let encoded = encode(&decoded.request, &options(&takes, Policy::default())).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    for name in [&body["tools"][0]["name"], &body["tool_choice"]["name"], &body["messages"][1]["content"][0]["name"]] {
        assert_eq!(name, "a_b");
    }
    assert_eq!(encoded.restore.names, [("a_b".to_owned(), "a.b".to_owned())]);
}

#[test]
fn trap_11_and_30_signed_thoughts_come_first_and_unsigned_ones_not_at_all() {
    let thought =
        |said: &'static str, seal: Option<&'static str>| Part::Reasoning(Reasoning { text: Text::from_escaped(said), signature: seal.map(Text::from_escaped) });
    let request = || {
        of(vec![
            user(vec![text("a")]),
            assistant(vec![
                call("t", "f"),
                text("b"),
                thought("no seal", None),
                thought(r"h\u00fc\/m", Some("S+/=")),
                thought("", Some("T")),
                Part::RedactedReasoning(Text::from_plain("AAEC")),
            ]),
        ])
    };
    let takes = Capabilities::of(SONNET_4);
    let encoded = encode(&request(), &options(&takes, Policy::default())).unwrap();
    let body = String::from_utf8(encoded.body).unwrap();
    assert!(body.contains(
        r#"[{"type":"thinking","thinking":"h\u00fc\/m","signature":"S+/="},{"type":"thinking","thinking":"","signature":"T"},{"type":"redacted_thinking","data":"AAEC"},{"type":"text","text":"b"},{"type":"tool_use""#
    ));
    assert_eq!(encoded.dropped, ["reasoning_content"]);
    let (body, dropped) = written(&request(), &Capabilities::of(HAIKU_3)).unwrap();
    assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), 2);
    assert_eq!(dropped, ["reasoning_content"]);
}

#[test]
fn trap_25_and_26_cache_markers() {
    let point = |ttl: Option<&'static str>| Part::CachePoint(CachePoint { ttl: ttl.map(Text::from_plain) });
    let request = || Request {
        tools: vec![Tool {
            name: Text::from_plain("f"),
            description: None,
            parameters: None,
            strict: None,
            cache: Some(CachePoint { ttl: Some(Text::from_plain("1h")) }),
        }],
        ..of(vec![
            Message { role: Role::System, parts: vec![point(None), text("s"), point(Some("1h"))] },
            user(vec![text("a"), point(None)]),
            assistant(vec![call("t", "f"), point(None)]),
            user(vec![result("t", vec![text("r"), point(Some("5m"))]), text("b"), point(None)]),
        ])
    };
    let (body, dropped) = written(&request(), &Capabilities::of(SONNET_4_5)).unwrap();
    assert_eq!(body.to_string().matches("cache_control").count(), 4);
    assert!(body["tools"][0].get("cache_control").is_none() && body["messages"][0]["content"][0].get("cache_control").is_some());
    assert!(body["system"][0].get("cache_control").is_none(), "the first two are too many");
    assert_eq!(body["messages"][2]["content"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "5m"}));
    assert_eq!(body["messages"][2]["content"][1]["cache_control"], json!({"type": "ephemeral"}));
    assert_eq!(dropped, ["cache_control"]);
    let (body, dropped) = written(&request(), &Capabilities::of(HAIKU_3)).unwrap();
    assert!(!body.to_string().contains("cache_control"));
    assert_eq!(dropped, ["cache_control"]);
    let takes = Capabilities { cache: Cache::FiveMinutes, ..Capabilities::of(SONNET_4_5) };
    let (body, dropped) = written(&request(), &takes).unwrap();
    assert!(!body.to_string().contains("ttl"));
    assert_eq!(dropped, ["cache_control", "cache_control.ttl"]);
}

#[test]
fn trap_39_pictures() {
    let image = |media_type: &'static str, source| Part::Image(Image { media_type: Some(Cow::Borrowed(media_type)), source });
    let base64 = |data: &'static str| Source::Base64(Text::from_escaped(data));
    let request = of(vec![
        user(vec![image("image/jpeg", base64(PNG)), image("image/png", Source::Url(Text::from_plain("https://example.com/a.png")))]),
        assistant(vec![call("t", "f")]),
        user(vec![result("t", vec![image("image/png", base64(PNG))])]),
    ]);
    let (body, _) = written(&request, &Capabilities::UNKNOWN).unwrap();
    let png = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}});
    assert_eq!(body["messages"][0]["content"], json!([png, {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]));
    assert_eq!(body["messages"][2]["content"][0]["content"], json!([png]));
    for (source, why) in [
        (base64(""), "the file is empty"),
        (base64("Qk0AAAAA"), "images must be PNG, JPEG, GIF or WebP"),
        (Source::S3(Text::from_plain("s3://b/k.png")), "files in S3 are not supported by this model. Send the file itself"),
    ] {
        let request = of(vec![user(vec![text("a"), image("image/png", source)])]);
        let error = written(&request, &Capabilities::UNKNOWN).unwrap_err();
        assert_eq!((error.status, error.param.as_deref(), error.message.as_ref()), (400, Some("messages[0].content[1]"), why));
    }
}

#[test]
fn documents() {
    let document = |media_type: Option<&'static str>, source| Document {
        media_type: media_type.map(Cow::Borrowed),
        name: Some(Text::from_plain("a.b")),
        context: Some(Text::from_plain("c")),
        citations: Some(true),
        source,
    };
    let source = |media_type: Option<&'static str>, source| {
        let request = of(vec![user(vec![Part::Document(document(media_type, source))])]);
        written(&request, &Capabilities::UNKNOWN).map(|(body, _)| body["messages"][0]["content"][0].clone()).map_err(|error| error.message.into_owned())
    };
    let base64 = |data: &'static str| Source::Base64(Text::from_escaped(data));
    let whole = |source: Value| json!({"type": "document", "source": source, "title": "a.b", "context": "c", "citations": {"enabled": true}});
    let pdf = whole(json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}));
    assert_eq!(source(Some("text/plain"), base64("JVBERi0x")).unwrap(), pdf);
    let plain = |data: &str| whole(json!({"type": "text", "media_type": "text/plain", "data": data}));
    assert_eq!(source(Some("text/csv"), base64("YTtiCg")).unwrap(), plain("a;b\n"));
    assert_eq!(source(None, Source::Text(Text::from_plain("x\ny"))).unwrap(), plain("x\ny"));
    let passages = vec![Text::from_plain("p"), Text::from_plain(" "), Text::from_plain("q")];
    assert_eq!(source(None, Source::Texts(passages)).unwrap(), whole(json!({"type": "content", "content": [block("p"), block("q")]})));
    let url = whole(json!({"type": "url", "url": "https://example.com/a.pdf"}));
    assert_eq!(source(None, Source::Url(Text::from_plain("https://example.com/a.pdf"))).unwrap(), url);
    for (media_type, data, why) in [
        (Some("application/vnd.openxmlformats-officedocument.wordprocessingml.document"), "UEsDBA==", "this model reads PDF and plain text files only"),
        (None, "UEsDBA==", "this model reads PDF and plain text files only"),
        (Some("text/plain"), "//79", "the file is not UTF-8 text"),
        (Some("text/plain"), "ICA=", "the file is empty"),
        (Some("text/plain"), "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4{", "the file is not base64"),
    ] {
        assert_eq!(source(media_type, base64(data)).unwrap_err(), why);
    }
}

#[test]
fn search_results_and_what_cannot_be_said() {
    let found = |content: Vec<Text<'static>>| {
        Part::SearchResult(SearchResult { source: Text::from_plain("https://a"), title: Text::from_plain("t"), content, citations: Some(false) })
    };
    let (body, _) = written(&of(vec![user(vec![found(vec![Text::from_plain("p")])])]), &Capabilities::UNKNOWN).unwrap();
    assert_eq!(
        body["messages"][0]["content"][0],
        json!({"type": "search_result", "source": "https://a", "title": "t", "content": [block("p")], "citations": {"enabled": false}})
    );
    let audio = || Part::Audio(Audio { format: Text::from_plain("wav"), source: Source::Base64(Text::from_plain("UklGRg==")) });
    for message in [
        user(vec![found(vec![])]),
        user(vec![audio()]),
        user(vec![call("t", "f")]),
        assistant(vec![found(vec![Text::from_plain("p")])]),
        assistant(vec![result("t", vec![])]),
        Message { role: Role::System, parts: vec![audio()] },
    ] {
        let error = written(&of(vec![message]), &Capabilities::UNKNOWN).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some("messages[0].content[0]")));
    }
    let nested = of(vec![user(vec![text("a")]), assistant(vec![call("t", "f")]), user(vec![result("t", vec![text("x"), audio()])])]);
    assert_eq!(written(&nested, &Capabilities::UNKNOWN).unwrap_err().param.as_deref(), Some("messages[2].content[1]"));
    assert_eq!(written(&of(vec![]), &Capabilities::UNKNOWN).unwrap_err().param.as_deref(), Some("messages"));
}

#[test]
fn trap_14_tools() {
    let (body, dropped) = sent(
        SONNET_4_5,
        json!({"messages": hi(), "parallel_tool_calls": false, "tools": [
            {"type": "function", "function": {"name": "a", "description": " "}},
            {"type": "function", "function": {"name": "b", "description": "d\n", "strict": true,
                "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}}]}),
    );
    assert_eq!(
        body["tools"],
        json!([{"name": "a", "input_schema": {"type": "object", "properties": {}}},
            {"name": "b", "description": "d\n", "strict": true,
                "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": false}}])
    );
    assert_eq!(body["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert!(dropped.is_empty());
}

#[test]
fn trap_17_and_18_tool_choices() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let function = json!({"type": "function", "function": {"name": "f"}});
    for (model, choice, effort, written, lost) in [
        (SONNET_4, json!("auto"), None, json!({"type": "auto"}), false),
        (SONNET_4, json!("none"), None, json!({"type": "none"}), false),
        (SONNET_4, json!("required"), None, json!({"type": "any"}), false),
        (SONNET_4, function.clone(), None, json!({"type": "tool", "name": "f"}), false),
        (SONNET_4, json!("required"), Some("low"), Value::Null, true),
        (OPUS_4_6, function.clone(), Some("low"), Value::Null, true),
        (OPUS_5_5, function, None, Value::Null, true),
    ] {
        let mut input = json!({"messages": hi(), "tools": tools, "tool_choice": choice});
        if let Some(effort) = effort {
            input["reasoning_effort"] = json!(effort);
        }
        let (body, dropped) = sent(model, input);
        assert_eq!(body.get("tool_choice").unwrap_or(&Value::Null), &written, "{model} {choice}");
        assert_eq!(dropped.contains(&"tool_choice".to_owned()), lost, "{model} {choice}");
        assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn trap_33_and_34_thinking_by_effort() {
    let enabled = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let adaptive = json!({"type": "adaptive"});
    let off = json!({"type": "disabled"});
    for (model, effort, max_tokens, thinking, word, limit) in [
        (SONNET_4, "high", None, enabled(16_384), Value::Null, 20_480),
        (SONNET_4, "xhigh", None, enabled(24_576), Value::Null, 28_672),
        (SONNET_4, "high", Some(4096), enabled(2048), Value::Null, 4096),
        (SONNET_4, "low", Some(10), enabled(1024), Value::Null, 1034),
        (SONNET_4, "none", None, off.clone(), Value::Null, 4096),
        (OPUS_4_6, "xhigh", None, adaptive.clone(), json!("high"), 4096),
        (OPUS_4_7, "xhigh", Some(10), adaptive.clone(), json!("xhigh"), 10),
        (OPUS_4_7, "minimal", None, adaptive, json!("low"), 4096),
        (OPUS_4_7, "none", None, off, Value::Null, 4096),
        (OPUS_5_5, "none", None, Value::Null, Value::Null, 4096),
        (HAIKU_3, "high", None, Value::Null, Value::Null, 4096),
    ] {
        let mut input = json!({"messages": hi(), "reasoning_effort": effort});
        if let Some(most) = max_tokens {
            input["max_tokens"] = json!(most);
        }
        let (body, dropped) = sent(model, input);
        let member = |name: &str| body.get(name).cloned().unwrap_or_default();
        assert_eq!((member("thinking"), body["max_tokens"].as_u64()), (thinking.clone(), Some(limit)), "{model} {effort}");
        assert_eq!(body["output_config"]["effort"], word, "{model} {effort}");
        assert_eq!(dropped == ["reasoning_effort"], thinking.is_null(), "{model} {effort}");
    }
}

#[test]
fn our_own_limit_is_raised_to_what_every_model_can_write() {
    let request = |effort| Request { effort: Some(effort), ..of(vec![user(vec![text("a")])]) };
    let (body, _) = written(&request(Effort::Max), &Capabilities::of(SONNET_4)).unwrap();
    assert_eq!((&body["thinking"]["budget_tokens"], &body["max_tokens"]), (&json!(31_999), &json!(32_000)));
}

#[test]
fn trap_33_thinking_in_anthropics_words() {
    let with = |model: &str, thinking: &'static str, max_tokens: Option<u64>| {
        let request = Request { thinking: Some(Raw::parse(thinking).unwrap()), max_tokens, effort: Some(Effort::High), ..of(vec![user(vec![text("a")])]) };
        let (body, dropped) = written(&request, &Capabilities::of(model)).unwrap();
        (body.get("thinking").cloned().unwrap_or_default(), body["max_tokens"].as_u64().unwrap(), body["output_config"]["effort"].clone(), dropped.join(" "))
    };
    let plain = |thinking: Value, most: u64, effort: Value, dropped: &str| (thinking, most, effort, dropped.to_owned());
    assert_eq!(
        with(SONNET_4, r#"{"type":"enabled","budget_tokens":2000,"display":"summarized"}"#, Some(3000)),
        plain(json!({"type": "enabled", "budget_tokens": 2000, "display": "summarized"}), 3000, Value::Null, "")
    );
    assert_eq!(
        with(SONNET_4, r#"{"type":"enabled","budget_tokens":20}"#, Some(30)),
        plain(json!({"type": "enabled", "budget_tokens": 1024}), 1054, Value::Null, "")
    );
    assert_eq!(with(OPUS_4_7, r#"{"type":"enabled","budget_tokens":2000}"#, None), plain(json!({"type": "adaptive"}), 4096, json!("high"), ""));
    assert_eq!(with(OPUS_4_7, r#"{"type":"disabled"}"#, None), plain(json!({"type": "disabled"}), 4096, json!("high"), ""));
    assert_eq!(with(OPUS_5_5, r#"{"type":"disabled"}"#, None), plain(Value::Null, 4096, json!("high"), "thinking"));
}

#[test]
fn a_budget_needs_the_thought_before_a_tool_use() {
    let takes = Capabilities::of(SONNET_4);
    let request = |parts| Request { effort: Some(Effort::Low), ..of(vec![user(vec![text("a")]), assistant(parts), user(vec![result("t", vec![text("r")])])]) };
    let (body, dropped) = written(&request(vec![call("t", "f")]), &takes).unwrap();
    assert!(body.get("thinking").is_none() && dropped == ["reasoning_effort"]);
    let seal = Part::Reasoning(Reasoning { text: Text::EMPTY, signature: Some(Text::from_plain("S")) });
    let (body, _) = written(&request(vec![seal, call("t", "f")]), &takes).unwrap();
    assert_eq!(body["thinking"]["type"], "enabled");
}

#[test]
fn trap_35_sampling() {
    let all = json!({"messages": hi(), "temperature": 1.5, "top_p": 0.9, "top_k": 40});
    for (model, sampling, dropped) in [
        (HAIKU_3, json!([1, 0.9, 40]), vec![]),
        (SONNET_4_5, json!([1, null, 40]), vec!["top_p"]),
        (OPUS_4_7, json!([null, null, null]), vec!["temperature", "top_p", "top_k"]),
    ] {
        let (body, lost) = sent(model, all.clone());
        assert_eq!(json!([body.get("temperature"), body.get("top_p"), body.get("top_k")]), sampling, "{model}");
        assert_eq!(lost, dropped, "{model}");
    }
    let mut thinking = all;
    thinking["reasoning_effort"] = json!("low");
    thinking["temperature"] = json!(1);
    let (body, lost) = sent(SONNET_4, thinking);
    assert!(body.get("temperature").is_none());
    assert_eq!(lost, ["top_p", "top_k"]);
    let typed = Request { top_k: Some(Raw::parse("7").unwrap()), ..of(vec![user(vec![text("a")])]) };
    assert_eq!(written(&typed, &Capabilities::of(HAIKU_3)).unwrap().0["top_k"], 7);
}

#[test]
fn trap_38_stop_texts_and_the_small_members() {
    let (body, dropped) = sent(
        HAIKU_3,
        json!({"messages": hi(), "stop": ["END", " \n", ""], "user": "u\"1", "service_tier": "default", "metadata": {"a": "b"}, "seed": 1, "n": 3}),
    );
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!((&body["metadata"], &body["service_tier"]), (&json!({"user_id": "u\"1"}), &json!("standard_only")));
    assert_eq!(dropped, ["seed", "stop", "metadata"]);
    assert!(body.get("n").is_none());
    let (body, dropped) = sent(HAIKU_3, json!({"messages": hi(), "service_tier": "auto"}));
    assert_eq!((&body["service_tier"], dropped.is_empty()), (&json!("auto"), true));
    let (body, dropped) = sent(HAIKU_3, json!({"messages": hi(), "service_tier": "flex"}));
    assert_eq!((body.get("service_tier"), dropped), (None, vec!["service_tier".to_owned()]));
    let reject = Policy { unsupported: Unsupported::Reject, ..Policy::default() };
    let error = sent_with(HAIKU_3, &json!({"model": "m", "messages": hi(), "seed": 1}), reject).unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (400, Some("seed")));
}

#[test]
fn trap_59_output_shapes() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
    let format = |schema: &Value| json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let (body, _) = sent(SONNET_4_5, json!({"messages": hi(), "response_format": format(&schema), "tools": [{"type": "function", "function": {"name": "f"}}]}));
    assert_eq!(
        body["output_config"],
        json!({"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": false}}})
    );
    assert!(body.get("tool_choice").is_none() && body.get("system").is_none());
    let open = json!({"type": "object", "additionalProperties": true});
    for (model, shape) in [(HAIKU_3, format(&schema)), (SONNET_4_5, format(&open)), (SONNET_4_5, json!({"type": "json_object"}))] {
        let messages = json!([{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]);
        let (body, _) = sent(model, json!({"messages": messages, "response_format": shape}));
        assert!(body.get("output_config").is_none());
        assert_eq!(body["system"][0], block("S"));
        assert!(body["system"][1]["text"].as_str().unwrap().starts_with("Answer with one "), "{body}");
    }
    let prefill = OutputFormat::JsonSchema { name: None, description: None, schema: Raw::parse("{}").unwrap().into(), strict: None };
    let request = Request { output_format: Some(prefill), ..of(vec![user(vec![text("a")]), assistant(vec![text("{")])]) };
    let (body, _) = written(&request, &Capabilities::of(SONNET_4_5)).unwrap();
    assert_eq!(body["messages"].as_array().unwrap().len(), 3, "a shape and a prefill do not go together");
}

#[test]
fn extras_by_policy() {
    let extras = || {
        json!({"model": "m", "messages": hi(), "reasoning_effort": "low", "inference_geo": "eu", "system": "no", "anthropic_beta": ["x"],
            "guardrailConfig": {"guardrailIdentifier": "g"}, "output_config": {"effort": "max", "other": 1},
            "additionalModelRequestFields": {"speed": "fast", "inference_geo": "us", "thinking": {"type": "adaptive", "display": "omitted"}}})
    };
    let (body, dropped) = sent_with(OPUS_4_6, &extras(), Policy::default()).unwrap();
    let mut dropped = dropped;
    dropped.sort();
    assert_eq!(dropped, ["anthropic_beta", "guardrailConfig", "inference_geo", "output_config", "system"]);
    assert_eq!(body["output_config"], json!({"effort": "low", "other": 1}));
    assert_eq!(body["thinking"], json!({"type": "adaptive", "display": "omitted"}));
    assert_eq!((&body["speed"], body.get("guardrailConfig"), body.get("system")), (&json!("fast"), None, None));
    let (body, dropped) = sent_with(OPUS_4_6, &extras(), Policy { unknown: Unknown::Drop, ..Policy::default() }).unwrap();
    assert_eq!((body.get("speed"), dropped.len()), (None, 6));
    let error = sent_with(OPUS_4_6, &extras(), Policy { unknown: Unknown::Reject, ..Policy::default() }).unwrap_err();
    assert_eq!(error.status, 400);
    let error = sent_with(OPUS_4_6, &extras(), Policy { unsupported: Unsupported::Reject, ..Policy::default() }).unwrap_err();
    assert_eq!(error.status, 400);
    let extra = Extra { name: Text::from_plain("additionalModelRequestFields"), value: Raw::parse("[]").unwrap() };
    let request = Request { extras: vec![extra], ..of(vec![user(vec![text("a")])]) };
    assert_eq!(written(&request, &Capabilities::UNKNOWN).unwrap_err().param.as_deref(), Some("additionalModelRequestFields"));
}

#[test]
fn trap_60_what_is_moved_keeps_its_bytes() {
    let input = r#"{"model":"m","messages":[{"role":"user","content":"\u00e9\/ü"},{"role":"assistant","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{\"z\": 1.50, \"a\":1e3}"}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","z":1.0,"a":2}}}]}"#;
    let decoded = openai::downstream::request::decode(input).unwrap();
    let takes = Capabilities::of(HAIKU_3);
    let body = String::from_utf8(encode(&decoded.request, &options(&takes, Policy::default())).unwrap().body).unwrap();
    for part in [r#""text":"\u00e9\/ü""#, r#""input":{"z": 1.50, "a":1e3}"#, r#""input_schema":{"type":"object","z":1.0,"a":2}"#] {
        assert!(body.contains(part), "{part} in {body}");
    }
}
