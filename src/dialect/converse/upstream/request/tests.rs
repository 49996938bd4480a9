use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::chat::capability::{Cache, ForcedChoice, StructuredOutput, SystemPrompt};
use crate::chat::{
    Audio, CachePoint, Document, Effort, Extra, Image, Message, OutputFormat, Part, Reasoning, Request, Role, Source, Tool, ToolChoice, ToolResult, ToolUse,
};
use crate::chat::{Policy, Unknown, Unsupported};
use crate::wire::json::Raw;

mod members;

const HAIKU_3: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SONNET_3_7: &str = "us.anthropic.claude-3-7-sonnet-20250219-v1:0";
const SONNET_4_5: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS_4_6: &str = "anthropic.claude-opus-4-6-v1";
const OPUS_4_7: &str = "anthropic.claude-opus-4-7";
const OPUS_5_5: &str = "anthropic.claude-opus-5-5";
const NOVA: &str = "amazon.nova-pro-v1:0";
const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";
const MISTRAL_LARGE: &str = "mistral.mistral-large-2407-v1:0";
const TITAN: &str = "amazon.titan-text-express-v1";
const KIMI: &str = "moonshotai.kimi-k2-thinking";
const GPT_OSS: &str = "openai.gpt-oss-120b-1:0";

const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";
const PDF: &str = "JVBERi0xLjcK";
const WEATHER: &str = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;

fn request(messages: Vec<Message<'static>>) -> Request<'static> {
    Request {
        model: Text::from_plain("m"),
        messages,
        tools: vec![],
        tool_choice: None,
        parallel_tool_calls: None,
        one_tool_call: false,
        max_tokens: None,
        temperature: None,
        top_p: None,
        stop: vec![],
        output_format: None,
        effort: None,
        service_tier: None,
        metadata: vec![],
        unsupported: vec![],
        extras: vec![],
        ..Request::default()
    }
}

fn plain(text: &'static str) -> Text<'static> {
    Text::from_plain(text)
}

fn raw(json: &'static str) -> Raw<'static> {
    Raw::parse(json).unwrap()
}

fn says(role: Role, text: &'static str) -> Message<'static> {
    Message { role, parts: vec![Part::Text(plain(text))] }
}

fn user(text: &'static str) -> Message<'static> {
    says(Role::User, text)
}

fn assistant(parts: Vec<Part<'static>>) -> Message<'static> {
    Message { role: Role::Assistant, parts }
}

fn text(text: &'static str) -> Part<'static> {
    Part::Text(plain(text))
}

fn call(id: &'static str, name: &'static str, input: &'static str) -> Part<'static> {
    Part::ToolUse(ToolUse { id: plain(id), name: plain(name), input: Cow::Borrowed(input) })
}

fn result(id: &'static str, parts: Vec<Part<'static>>) -> Message<'static> {
    Message { role: Role::Tool, parts: vec![Part::ToolResult(ToolResult { id: plain(id), parts, is_error: None })] }
}

fn tool(name: &'static str) -> Tool<'static> {
    Tool { name: plain(name), description: Some(plain("d")), parameters: Some(raw(WEATHER)), strict: None, cache: None }
}

fn image() -> Part<'static> {
    Part::Image(Image { media_type: Some(Cow::Borrowed("image/png")), source: Source::Base64(Text::from_escaped(PNG)) })
}

fn pdf(name: Option<&'static str>) -> Part<'static> {
    Part::Document(Document { media_type: None, name: name.map(plain), context: None, citations: None, source: Source::Base64(Text::from_escaped(PDF)) })
}

fn cache(ttl: Option<&'static str>) -> Part<'static> {
    Part::CachePoint(CachePoint { ttl: ttl.map(plain) })
}

fn extra(name: &'static str, value: &'static str) -> Extra<'static> {
    Extra { name: plain(name), value: raw(value) }
}

fn json_schema(schema: &'static str) -> OutputFormat<'static> {
    OutputFormat::JsonSchema { name: Some(plain("weather")), description: None, schema: raw(schema).into(), strict: Some(true) }
}

fn try_encode(model: &str, policy: Policy, request: &Request<'_>) -> Result<Encoded, ApiError> {
    let capabilities = Capabilities::of(model);
    encode(request, &Options { capabilities: &capabilities, policy, default_max_tokens: None, guardrail: None, stream: false })
}

fn encoded(model: &str, request: &Request<'_>) -> Encoded {
    let encoded = try_encode(model, Policy::default(), request).unwrap();
    let again = try_encode(model, Policy::default(), request).unwrap();
    assert_eq!(encoded.body, again.body, "the same bytes each time");
    check(&serde_json::from_slice(&encoded.body).unwrap());
    encoded
}

fn body(model: &str, request: &Request<'_>) -> Value {
    serde_json::from_slice(&encoded(model, request).body).unwrap()
}

fn body_text(model: &str, request: &Request<'_>) -> String {
    String::from_utf8(encoded(model, request).body).unwrap()
}

fn dropped(model: &str, request: &Request<'_>) -> Vec<String> {
    encoded(model, request).dropped
}

/// What Bedrock checks in every request.
fn check(body: &Value) {
    let turns = body["messages"].as_array().unwrap();
    assert!(!turns.is_empty());
    let mut ids = std::collections::HashSet::new();
    let is_mark = |block: &&Value| block.get("cachePoint").is_some();
    let mut marks = 0;
    let mut open: Vec<String> = vec![];
    for (at, turn) in turns.iter().enumerate() {
        assert_eq!(turn["role"], if at % 2 == 0 { "user" } else { "assistant" }, "roles alternate: {body}");
        let blocks = turn["content"].as_array().unwrap();
        assert!(!blocks.is_empty());
        let results: Vec<String> = blocks.iter().filter_map(|block| block.pointer("/toolResult/toolUseId")).map(|id| id.as_str().unwrap().to_owned()).collect();
        assert_eq!(results, open, "every result in the next turn, in the order of the calls: {body}");
        let first = blocks.iter().filter(|block| !is_mark(block)).take(results.len());
        assert!(first.into_iter().all(|block| block.get("toolResult").is_some()), "results come first: {body}");
        marks += blocks.iter().filter(is_mark).count();
        open.clear();
        for block in blocks {
            assert_eq!(block.as_object().unwrap().len(), 1);
            if let Some(text) = block.get("text") {
                assert!(!text.as_str().unwrap().trim().is_empty());
            }
            if let Some(used) = block.get("toolUse") {
                let id = used["toolUseId"].as_str().unwrap();
                assert!((1..=64).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c)), "{id}");
                assert!(ids.insert(id.to_owned()), "{id} twice");
                assert!(crate::chat::names::is_name(used["name"].as_str().unwrap()));
                assert!(used["input"].is_object());
                assert!(body["toolConfig"].is_object());
                open.push(id.to_owned());
            }
            if let Some(item) = block.pointer("/toolResult/content") {
                assert!(item.as_array().unwrap().iter().all(|item| item.get("text").is_none_or(|text| text != "")));
            }
        }
        if blocks.iter().any(|block| block.get("document").is_some()) {
            assert!(blocks.iter().any(|block| block.get("text").is_some()));
        }
    }
    assert!(open.is_empty(), "no result behind the last call");
    marks += body["system"].as_array().into_iter().chain(body.pointer("/toolConfig/tools").and_then(Value::as_array)).flatten().filter(is_mark).count();
    assert!(marks <= 4, "{marks} cache points");
    for block in body["system"].as_array().into_iter().flatten() {
        assert!(is_mark(&block) || !block["text"].as_str().unwrap().trim().is_empty());
    }
    if let Some(config) = body.get("toolConfig") {
        for spec in config["tools"].as_array().unwrap().iter().filter_map(|tool| tool.get("toolSpec")) {
            assert!(crate::chat::names::is_name(spec["name"].as_str().unwrap()));
            assert_eq!(spec["inputSchema"]["json"]["type"], "object");
            assert!(spec.get("description").is_none_or(|text| text != ""));
        }
        assert!(!config["tools"].as_array().unwrap().is_empty());
    }
}

// ── Turns ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn trap_36_only_what_the_client_set_is_sent() {
    assert_eq!(body_text(HAIKU_3, &request(vec![user("Hi")])), r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#);
}

#[test]
fn system_texts_go_to_system_in_order() {
    let messages = vec![says(Role::System, "a"), user("Hi"), says(Role::System, "b \"c\"")];
    let found = body(HAIKU_3, &request(messages.clone()));
    assert_eq!(found["system"], json!([{"text":"a"},{"text":"b \"c\""}]));
    assert_eq!(found["messages"], json!([{"role":"user","content":[{"text":"Hi"}]}]));
    let found = body(TITAN, &request(messages));
    assert!(found.get("system").is_none());
    assert_eq!(found["messages"], json!([{"role":"user","content":[{"text":"a"},{"text":"b \"c\""},{"text":"Hi"}]}]), "no system prompt there");
}

#[test]
fn calls_and_their_results() {
    let mut request = request(vec![user("a"), assistant(vec![call("a b", "f", r#"{"x":1.50}"#), call("2", "g", "")]), result("a b", vec![text("r")])]);
    request.tools = vec![tool("f")];
    let found = body(HAIKU_3, &request);
    let id = found["messages"][1]["content"][0]["toolUse"]["toolUseId"].as_str().unwrap();
    let made = |id: &str, name: &str, input: Value| json!({"toolUse":{"toolUseId":id,"name":name,"input":input}});
    assert_eq!(found["messages"][1], json!({"role":"assistant","content":[made(id, "f", json!({"x":1.50})), made("2", "g", json!({}))]}));
    let given = json!({"toolResult":{"toolUseId":id,"content":[{"text":"r"}]}});
    let none = json!({"toolUseId":"2","content":[{"text":"No result was given for this tool call."}]});
    assert_eq!(body(LLAMA, &request)["messages"][2], json!({"role":"user","content":[given, {"toolResult":none}]}), "no status there");
    assert_eq!(found["messages"][2]["content"][1]["toolResult"]["status"], "error");
    assert!(body(TITAN, &request).get("toolConfig").is_none());
    assert_eq!(dropped(TITAN, &request), ["tools"]);
}

#[test]
fn trap_13_names_are_mapped_both_ways() {
    let mut request = request(vec![user("a"), assistant(vec![call("1", "fs.read", "{}")]), result("1", vec![])]);
    request.tools = vec![tool("fs.read"), tool("fs_read")];
    request.tool_choice = Some(ToolChoice::Tool(plain("fs.read")));
    let encoded = encoded(HAIKU_3, &request);
    let found: Value = serde_json::from_slice(&encoded.body).unwrap();
    let wire = found["toolConfig"]["tools"][0]["toolSpec"]["name"].as_str().unwrap();
    assert_ne!(wire, "fs_read");
    assert_eq!(found["toolConfig"]["toolChoice"]["tool"]["name"], wire);
    assert_eq!(found["messages"][1]["content"][0]["toolUse"]["name"], wire);
    assert!(encoded.restore.tool_name(Text::from_plain(wire)) == "fs.read");
    assert!(encoded.restore.tool_name(plain("fs_read")) == "fs_read");
}

#[test]
fn trap_20_json_results_are_plain_objects_or_text() {
    for (json, sent) in [
        (r#"{"a":1}"#, json!({"json":{"a":1}})),
        ("[1]", json!({"text":"[1]"})),
        (r#"{"__type":"x"}"#, json!({"text":r#"{"__type":"x"}"#})),
        (r#"{"a":{"" : 1}}"#, json!({"text":r#"{"a":{"" : 1}}"#})),
        (r#"{"a":""}"#, json!({"json":{"a":""}})),
    ] {
        let messages = vec![user("a"), assistant(vec![call("1", "f", "{}")]), result("1", vec![Part::Json(raw(json))])];
        assert_eq!(body(HAIKU_3, &request(messages))["messages"][2]["content"][0]["toolResult"]["content"][0], sent);
    }
    let messages = vec![user("a"), assistant(vec![call("1", "f", "{}")]), result("1", vec![text(r#"{"a":1}"#)])];
    assert_eq!(body(HAIKU_3, &request(messages))["messages"][2]["content"][0]["toolResult"]["content"][0], json!({"text":r#"{"a":1}"#}));
}

#[test]
fn trap_21_images_stay_in_results_only_where_they_are_taken() {
    let messages = || {
        vec![
            user("a"),
            assistant(vec![call("1", "f", "{}"), call("2", "f", "{}")]),
            result("1", vec![text("see"), image()]),
            result("2", vec![image(), text(" ")]),
            user("b"),
        ]
    };
    for model in [HAIKU_3, NOVA] {
        let found = body(model, &request(messages()));
        assert_eq!(found["messages"][2]["content"][0]["toolResult"]["content"][1]["image"]["source"]["bytes"], PNG);
    }
    let found = body(LLAMA, &request(messages()));
    let kinds: Vec<_> = found["messages"][2]["content"].as_array().unwrap().iter().map(|block| block.as_object().unwrap().keys().next().unwrap()).collect();
    assert_eq!(kinds, ["toolResult", "toolResult", "image", "image", "text"]);
    assert_eq!(found["messages"][2]["content"][1]["toolResult"]["content"].as_array().unwrap().len(), 1, "says where the image went");
}

#[test]
fn a_prefill_goes_where_it_is_taken_and_is_continued_elsewhere() {
    let messages = || vec![user("a"), assistant(vec![text("{")])];
    assert_eq!(body(HAIKU_3, &request(messages()))["messages"].as_array().unwrap().len(), 2);
    for model in [OPUS_4_6, LLAMA, TITAN] {
        let found = body(model, &request(messages()));
        assert_eq!(found["messages"][2]["content"], json!([{"text":"Please continue."}]), "{model}");
    }
    let mut thinking = request(messages());
    thinking.effort = Some(Effort::Low);
    assert_eq!(body(SONNET_3_7, &thinking)["messages"].as_array().unwrap().len(), 3, "no prefill beside thinking");
}

#[test]
fn trap_30_signed_thoughts_are_replayed_byte_by_byte_and_others_dropped() {
    let thought =
        |text: &'static str, seal: Option<&'static str>| Part::Reasoning(Reasoning { text: Text::from_escaped(text), signature: seal.map(Text::from_escaped) });
    let parts =
        vec![thought(r"h\u006d\/\n", Some(r"S\/==")), thought("", Some("ONLY")), thought("unsigned", None), Part::RedactedReasoning(plain("AAE=")), text("t")];
    let request = request(vec![user("a"), assistant(parts), user("b")]);
    let sent = body_text(SONNET_3_7, &request);
    assert!(sent.contains(
        r#"[{"reasoningContent":{"reasoningText":{"text":"h\u006d\/\n","signature":"S\/=="}}},{"reasoningContent":{"reasoningText":{"text":"","signature":"ONLY"}}},{"reasoningContent":{"redactedContent":"AAE="}},{"text":"t"}]"#
    ), "trap 32 too: {sent}");
    assert_eq!(dropped(SONNET_3_7, &request), ["reasoning_content"]);
    assert!(!body_text(LLAMA, &request).contains("reasoningContent"));
}

#[test]
fn trap_52_a_billing_header_is_for_claude_alone() {
    let request = request(vec![says(Role::System, "x-anthropic-billing-header: cc_version=1"), user("a")]);
    assert!(body(LLAMA, &request).get("system").is_none());
    assert!(body(HAIKU_3, &request).get("system").is_some());
}

#[test]
fn failed_results_say_so() {
    let mut failed = result("1", vec![text("no")]);
    if let Some(Part::ToolResult(result)) = failed.parts.first_mut() {
        result.is_error = Some(true);
    }
    let request = request(vec![user("a"), assistant(vec![call("1", "f", "{}")]), failed]);
    assert_eq!(body(HAIKU_3, &request)["messages"][2]["content"][0]["toolResult"]["status"], "error");
    let found = body(LLAMA, &request);
    assert_eq!(found["messages"][2]["content"][0]["toolResult"], json!({"toolUseId":"1","content":[{"text":"The tool call failed:"},{"text":"no"}]}));
}

#[test]
fn parts_in_the_wrong_place_and_too_many_are_400() {
    for (messages, param) in [
        (vec![], "messages"),
        (vec![user("a"), assistant(vec![text("b"), image()])], "messages[1].content[1]"),
        (vec![Message { role: Role::User, parts: (0..21).map(|_| image()).collect() }], "messages"),
        (vec![Message { role: Role::User, parts: (0..6).map(|_| pdf(None)).collect() }], "messages"),
    ] {
        let error = try_encode(HAIKU_3, Policy::default(), &request(messages)).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)));
    }
}

#[test]
fn trap_39_what_is_no_picture_is_named() {
    let bad = || Part::Image(Image { media_type: Some(Cow::Borrowed("image/png")), source: Source::Base64(plain("AAAAAAAAAAAAAAAA")) });
    let said = |parts| Message { role: Role::User, parts };
    let answered = result("1", vec![text("x"), bad()]);
    for (messages, param) in [
        (vec![said(vec![text("a"), bad()])], "messages[0].content[1]"),
        (vec![said(vec![text("a"), cache(None), image(), cache(None), bad()])], "messages[0].content[2]"),
        (vec![user("a"), assistant(vec![call("1", "f", "{}")]), user("b"), answered.clone()], "messages[3].content[1]"),
        (vec![user("a"), answered], "messages[1].content[1]"),
    ] {
        let error = try_encode(HAIKU_3, Policy::default(), &request(messages)).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{}", error.message);
    }
}

// ── Media ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn trap_42_a_document_is_never_alone_and_never_lost() {
    let parts = vec![pdf(Some("a_b.pdf")), pdf(Some("a_b.pdf"))];
    let found = body(HAIKU_3, &request(vec![Message { role: Role::User, parts }]));
    assert_eq!(
        found["messages"][0]["content"],
        json!([
            {"document":{"format":"pdf","name":"a-b","source":{"bytes":PDF}}},
            {"document":{"format":"pdf","name":"a-b-2","source":{"bytes":PDF}}},
            {"text":"See the attached file."},
        ])
    );
}

#[test]
fn all_kinds_of_media() {
    let parts = vec![
        text("x"),
        image(),
        Part::Image(Image { media_type: None, source: Source::S3(plain("s3://bucket/a.webp")) }),
        Part::Audio(Audio { format: plain("wav"), source: Source::Base64(plain("UklGRg==")) }),
        Part::Document(Document { media_type: None, name: Some(plain("n.md")), context: None, citations: None, source: Source::Text(plain("# \"Hi\"")) }),
    ];
    let found = body(HAIKU_3, &request(vec![Message { role: Role::User, parts }]));
    assert_eq!(
        found["messages"][0]["content"],
        json!([
            {"text":"x"},
            {"image":{"format":"png","source":{"bytes":PNG}}},
            {"image":{"format":"webp","source":{"s3Location":{"uri":"s3://bucket/a.webp"}}}},
            {"audio":{"format":"wav","source":{"bytes":"UklGRg=="}}},
            {"document":{"format":"md","name":"n","source":{"bytes":STANDARD.encode("# \"Hi\"")}}},
        ])
    );
}

// ── Cache points ─────────────────────────────────────────────────────────────────────────────────

fn cached() -> Request<'static> {
    let mut request = request(vec![
        Message { role: Role::System, parts: vec![text("s"), cache(None)] },
        Message { role: Role::User, parts: vec![text("a"), cache(Some("1h")), text("b"), cache(None)] },
        assistant(vec![call("1", "f", "{}")]),
        result("1", vec![text("r"), cache(Some("5m"))]),
    ]);
    request.tools = vec![Tool { cache: Some(CachePoint::default()), ..tool("f") }];
    request
}

#[test]
fn trap_25_at_most_four_cache_points_the_last_ones() {
    let found = body(SONNET_4_5, &cached());
    assert_eq!(found["toolConfig"]["tools"].as_array().unwrap().len(), 1, "the earliest goes: the tools come first");
    assert_eq!(found["system"], json!([{"text":"s"},{"cachePoint":{"type":"default"}}]));
    assert_eq!(
        found["messages"][0]["content"],
        json!([{"text":"a"},{"cachePoint":{"type":"default","ttl":"1h"}},{"text":"b"},{"cachePoint":{"type":"default"}}])
    );
    assert_eq!(found["messages"][2]["content"][1], json!({"cachePoint":{"type":"default","ttl":"5m"}}), "from inside the result to behind it");
    assert_eq!(dropped(SONNET_4_5, &cached()), ["cache_control"]);
    let mut fewer = cached();
    fewer.messages.remove(0);
    let found = body(SONNET_4_5, &fewer);
    assert_eq!(found["toolConfig"]["tools"][1], json!({"cachePoint":{"type":"default"}}));
    assert!(dropped(SONNET_4_5, &fewer).is_empty());
}

#[test]
fn trap_26_cache_points_go_only_where_they_are_taken() {
    assert!(!body_text(HAIKU_3, &cached()).contains("cachePoint"));
    assert_eq!(dropped(HAIKU_3, &cached()), ["cache_control"]);
    let sent = body_text(SONNET_3_7, &cached());
    assert!(sent.contains("cachePoint") && !sent.contains("ttl"));
    let found = body(NOVA, &cached());
    assert_eq!(found["toolConfig"]["tools"].as_array().unwrap().len(), 1, "not behind tools");
    assert!(found["system"].to_string().contains("cachePoint"));
}

// ── Tools ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn tools_move_as_they_are() {
    let mut request = request(vec![user("a")]);
    request.tools = vec![tool("f")];
    assert_eq!(
        body_text(HAIKU_3, &request),
        format!(
            r#"{{"messages":[{{"role":"user","content":[{{"text":"a"}}]}}],"toolConfig":{{"tools":[{{"toolSpec":{{"name":"f","description":"d","inputSchema":{{"json":{WEATHER}}}}}}}]}}}}"#
        ),
        "trap 60: no member is moved"
    );
}

#[test]
fn trap_14_descriptions_schemas_and_strict() {
    let mut request = request(vec![user("a")]);
    request.tools = vec![
        Tool { description: Some(plain(" ")), parameters: None, ..tool("f") },
        Tool { description: None, parameters: Some(raw("[]")), strict: Some(true), ..tool("g") },
    ];
    let found = body(HAIKU_3, &request);
    let empty = json!({"json":{"type":"object","properties":{}}});
    assert_eq!(found["toolConfig"]["tools"][0]["toolSpec"], json!({"name":"f","description":"f","inputSchema":empty}));
    assert_eq!(found["toolConfig"]["tools"][1]["toolSpec"], json!({"name":"g","inputSchema":empty}));
    let strict = body(SONNET_4_5, &request)["toolConfig"]["tools"][1]["toolSpec"].clone();
    assert_eq!(strict["strict"], true);
    assert_eq!(strict["inputSchema"]["json"]["additionalProperties"], false);
}

#[test]
fn trap_15_look_around_is_left_out_for_kimi_alone() {
    let mut request = request(vec![user("a")]);
    request.tools = vec![Tool { parameters: Some(raw(r#"{"type":"object","properties":{"a":{"type":"string","pattern":"^(?!x)"}}}"#)), ..tool("f") }];
    assert!(!body_text(KIMI, &request).contains("pattern"));
    assert!(body_text(HAIKU_3, &request).contains("(?!x)"));
}

#[test]
fn trap_16_tools_are_declared_when_the_history_uses_them() {
    let messages = vec![user("a"), assistant(vec![call("1", "f.x", "{}"), call("2", "g", "{}")]), result("1", vec![])];
    let found = body(HAIKU_3, &request(messages));
    let specs = found["toolConfig"]["tools"].as_array().unwrap();
    assert_eq!(specs.len(), 2);
    assert_eq!(specs[1]["toolSpec"], json!({"name":"g","description":"g","inputSchema":{"json":{"type":"object","properties":{}}}}));
    assert!(found["toolConfig"].get("toolChoice").is_none());
}

#[test]
fn trap_17_choice_none_removes_the_tools() {
    let mut alone = request(vec![user("a")]);
    alone.tools = vec![tool("f"), tool("g")];
    alone.tool_choice = Some(ToolChoice::None);
    assert!(body(HAIKU_3, &alone).get("toolConfig").is_none());
    alone.messages.extend([assistant(vec![call("1", "g", "{}")]), result("1", vec![])]);
    let found = body(HAIKU_3, &alone);
    assert_eq!(found["toolConfig"]["tools"].as_array().unwrap().len(), 1, "only what the history uses");
    assert_eq!(found["toolConfig"]["tools"][0]["toolSpec"]["description"], "d", "as the client defines it");
    assert!(found["toolConfig"].get("toolChoice").is_none());
}

#[test]
fn trap_19_forced_choices_follow_the_family() {
    let with = |choice: ToolChoice<'static>| {
        let mut request = request(vec![user("a")]);
        request.tools = vec![tool("f"), tool("g")];
        request.tool_choice = Some(choice);
        request
    };
    let config = |model: &str, choice: ToolChoice<'static>| body(model, &with(choice))["toolConfig"].clone();
    assert_eq!(config(HAIKU_3, ToolChoice::Auto)["toolChoice"], json!({"auto":{}}));
    assert_eq!(config(HAIKU_3, ToolChoice::Any)["toolChoice"], json!({"any":{}}));
    assert_eq!(config(NOVA, ToolChoice::Tool(plain("g")))["toolChoice"], json!({"tool":{"name":"g"}}));
    let any_of_one = config(MISTRAL_LARGE, ToolChoice::Tool(plain("g")));
    assert_eq!((&any_of_one["toolChoice"], any_of_one["tools"].as_array().unwrap().len()), (&json!({"any":{}}), 1));
    for (model, choice) in [(LLAMA, ToolChoice::Any), (OPUS_5_5, ToolChoice::Tool(plain("g")))] {
        assert!(config(model, choice.clone()).get("toolChoice").is_none());
        assert_eq!(dropped(model, &with(choice.clone())), ["tool_choice"]);
        let strict = Policy { unsupported: Unsupported::Reject, ..Policy::default() };
        assert_eq!(try_encode(model, strict, &with(choice)).unwrap_err().param.as_deref(), Some("tool_choice"));
    }
}

#[test]
fn an_answer_with_room_for_one_tool_call_asks_for_one_and_loses_nothing() {
    let mut request = request(vec![user("a")]);
    request.tools = vec![tool("f")];
    request.one_tool_call = true;
    assert_eq!(body(HAIKU_3, &request)["additionalModelRequestFields"]["tool_choice"]["disable_parallel_tool_use"], true);
    let strict = Policy { unsupported: Unsupported::Reject, ..Policy::default() };
    assert!(try_encode(NOVA, strict, &request).unwrap().dropped.is_empty());
    request.tool_choice = Some(ToolChoice::Tool(plain("f")));
    assert!(dropped(HAIKU_3, &request).is_empty());
}

#[test]
fn trap_19_one_tool_at_a_time_only_beside_a_free_choice_of_claudes() {
    let with = |choice: Option<ToolChoice<'static>>| {
        let mut request = request(vec![user("a")]);
        request.tools = vec![tool("f")];
        request.parallel_tool_calls = Some(false);
        request.tool_choice = choice;
        request
    };
    for choice in [None, Some(ToolChoice::Auto)] {
        let found = body(HAIKU_3, &with(choice));
        assert_eq!(found["additionalModelRequestFields"], json!({"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}));
        assert!(found["toolConfig"].get("toolChoice").is_none());
    }
    for (model, choice) in [(HAIKU_3, Some(ToolChoice::Any)), (LLAMA, None)] {
        assert!(body(model, &with(choice.clone())).get("additionalModelRequestFields").is_none());
        assert_eq!(dropped(model, &with(choice)), ["parallel_tool_calls"]);
    }
}

#[test]
fn trap_18_thinking_and_a_forced_choice_do_not_go_together() {
    let mut request = request(vec![user("a")]);
    request.tools = vec![tool("f")];
    request.tool_choice = Some(ToolChoice::Any);
    request.effort = Some(Effort::Low);
    for model in [SONNET_3_7, OPUS_4_6] {
        let found = body(model, &request);
        assert!(found["toolConfig"].get("toolChoice").is_none());
        assert!(found["additionalModelRequestFields"]["thinking"].is_object());
        assert_eq!(dropped(model, &request), ["tool_choice"]);
    }
}

// ── Output shape ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn trap_59_native_shapes_are_a_string_of_closed_json() {
    let mut request = request(vec![user("a")]);
    request.output_format = Some(json_schema(WEATHER));
    request.tools = vec![tool("f")];
    let encoded = encoded(SONNET_4_5, &request);
    let found: Value = serde_json::from_slice(&encoded.body).unwrap();
    let format = &found["outputConfig"]["textFormat"];
    assert_eq!((&format["type"], &format["structure"]["jsonSchema"]["name"]), (&json!("json_schema"), &json!("weather")));
    let schema = format["structure"]["jsonSchema"]["schema"].as_str().unwrap();
    assert_eq!(schema, r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}"#);
    assert!(encoded.restore.format_tool.is_none());
    assert_eq!(found["toolConfig"]["tools"].as_array().unwrap().len(), 1, "real tools stay beside it");
}

#[test]
fn trap_59_elsewhere_a_tool_is_forced_alone_or_beside_real_ones() {
    let mut request = request(vec![user("a")]);
    request.output_format = Some(json_schema(WEATHER));
    let encoded_alone = encoded(HAIKU_3, &request);
    let found: Value = serde_json::from_slice(&encoded_alone.body).unwrap();
    assert_eq!(found["toolConfig"]["toolChoice"], json!({"tool":{"name":"json_answer"}}));
    assert_eq!(encoded_alone.restore.format_tool.as_deref(), Some("json_answer"));
    assert!(encoded_alone.restore.unwrap);
    assert_eq!(body(MISTRAL_LARGE, &request)["toolConfig"]["toolChoice"], json!({"any":{}}));

    request.tools = vec![tool("json_answer"), tool("f")];
    let beside = encoded(HAIKU_3, &request);
    let found: Value = serde_json::from_slice(&beside.body).unwrap();
    assert_eq!(found["toolConfig"]["toolChoice"], json!({"any":{}}));
    assert_eq!(found["toolConfig"]["tools"].as_array().unwrap().len(), 3);
    assert_eq!(beside.restore.format_tool.as_deref(), Some("json_answer_2"), "a client's tool of that name stays its own");

    request.tool_choice = Some(ToolChoice::Tool(plain("f")));
    let forced = encoded(HAIKU_3, &request);
    assert!(forced.restore.format_tool.is_none(), "the client wants its own tool used");

    request.tool_choice = Some(ToolChoice::None);
    request.messages.extend([assistant(vec![call("1", "f", "{}")]), result("1", vec![])]);
    let last = encoded(HAIKU_3, &request);
    let found: Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(found["toolConfig"]["toolChoice"], json!({"tool":{"name":"json_answer_2"}}));
}

#[test]
fn trap_59_where_nothing_can_be_forced_an_instruction_asks() {
    let mut request = request(vec![says(Role::System, "s"), user("a")]);
    request.output_format = Some(json_schema(WEATHER));
    let found = body(LLAMA, &request);
    assert_eq!(found["system"][0]["text"], "s");
    assert!(found["system"][1]["text"].as_str().unwrap().ends_with(WEATHER));
    assert!(body(TITAN, &request)["messages"][0]["content"][1]["text"].as_str().unwrap().ends_with(WEATHER));
    request.effort = Some(Effort::Low);
    let found = body(SONNET_3_7, &request);
    assert!(found.get("toolConfig").is_none() && found["system"].as_array().unwrap().len() == 2, "thinking allows no forced tool");
    request.effort = None;
    request.output_format = Some(json_schema(r#"{"type":"object","additionalProperties":{"type":"string"}}"#));
    assert_eq!(body(SONNET_4_5, &request)["toolConfig"]["toolChoice"], json!({"tool":{"name":"json_answer"}}), "open shapes are not native");
}

#[test]
fn any_json_object() {
    let mut request = request(vec![user("a")]);
    request.output_format = Some(OutputFormat::JsonObject);
    let found = body(SONNET_4_5, &request);
    assert_eq!(found["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"], json!({"type":"object","additionalProperties":true}));
    request.tools = vec![tool("f")];
    assert!(body(SONNET_4_5, &request)["system"][0]["text"].as_str().unwrap().contains("JSON object"));
    request.output_format = Some(OutputFormat::Text);
    assert!(body(SONNET_4_5, &request).get("system").is_none());
}

// ── Sampling, thinking, tiers ────────────────────────────────────────────────────────────────────

#[test]
fn trap_37_limits_come_from_the_client_then_the_map() {
    let takes = Capabilities { default_max_tokens: Some(3), ..Capabilities::of(HAIKU_3) };
    for (client, map, sent) in [(Some(7), Some(5), 7), (None, Some(5), 5), (None, None, 3)] {
        let mut request = request(vec![user("a")]);
        request.max_tokens = client;
        let options = Options { capabilities: &takes, policy: Policy::default(), default_max_tokens: map, guardrail: None, stream: false };
        let found: Value = serde_json::from_slice(&encode(&request, &options).unwrap().body).unwrap();
        assert_eq!(found["inferenceConfig"], json!({"maxTokens":sent}));
    }
}

fn sampled() -> Request<'static> {
    let mut request = request(vec![user("a")]);
    request.temperature = Some(raw("0.70"));
    request.top_p = Some(raw("1e-1"));
    request
}

#[test]
fn trap_35_temperature_and_top_p() {
    assert!(body_text(HAIKU_3, &sampled()).contains(r#""inferenceConfig":{"temperature":0.70,"topP":1e-1}"#), "numbers as they were written");
    assert_eq!(body(SONNET_4_5, &sampled())["inferenceConfig"], json!({"temperature":0.70}));
    assert_eq!(dropped(SONNET_4_5, &sampled()), ["top_p"]);
    assert!(body(OPUS_4_7, &sampled()).get("inferenceConfig").is_none(), "the newest refuse both");
    assert_eq!(dropped(OPUS_4_7, &sampled()), ["temperature", "top_p"]);
    let mut hot = sampled();
    hot.temperature = Some(raw("1.5"));
    assert_eq!(body(HAIKU_3, &hot)["inferenceConfig"]["temperature"], 1);
}

#[test]
fn trap_33_thinking_has_room_and_no_sampling() {
    let mut request = sampled();
    request.effort = Some(Effort::Medium);
    request.max_tokens = Some(2000);
    request.extras = vec![extra("top_k", "5")];
    let found = body(SONNET_3_7, &request);
    assert_eq!(found["additionalModelRequestFields"], json!({"thinking":{"type":"enabled","budget_tokens":1024}}));
    assert_eq!(found["inferenceConfig"], json!({"maxTokens":2000}));
    assert_eq!(found["additionalModelResponseFieldPaths"], json!(["/usage/output_tokens_details"]));
    assert_eq!(dropped(SONNET_3_7, &request), ["temperature", "top_p", "top_k"]);
    request.max_tokens = Some(100);
    assert_eq!(body(SONNET_3_7, &request)["inferenceConfig"]["maxTokens"], 1124);
    request.temperature = Some(raw("1"));
    assert_eq!(dropped(SONNET_3_7, &request), ["top_p", "top_k"], "1 is what it is anyway");
}

#[test]
fn trap_34_each_family_has_its_own_switch() {
    let with = |effort: Effort| {
        let mut request = request(vec![user("a")]);
        request.effort = Some(effort);
        request
    };
    for (model, effort, fields, config) in [
        (SONNET_3_7, Effort::Low, json!({"thinking":{"type":"enabled","budget_tokens":2048}}), Value::Null),
        (OPUS_4_6, Effort::XHigh, json!({"thinking":{"type":"adaptive"}}), json!({"effort":"high"})),
        (OPUS_4_7, Effort::XHigh, json!({"thinking":{"type":"adaptive"}}), json!({"effort":"xhigh"})),
        (OPUS_4_7, Effort::Minimal, json!({"thinking":{"type":"adaptive"}}), json!({"effort":"low"})),
        (NOVA_2, Effort::Medium, json!({"reasoningConfig":{"type":"enabled","maxReasoningEffort":"medium"}}), Value::Null),
        (KIMI, Effort::High, json!({"reasoning_config":"high"}), Value::Null),
        (GPT_OSS, Effort::Minimal, json!({"reasoning_effort":"low"}), Value::Null),
        (SONNET_3_7, Effort::None, Value::Null, Value::Null),
    ] {
        let found = body(model, &with(effort));
        assert_eq!((&found["additionalModelRequestFields"], &found["outputConfig"]), (&fields, &config), "{model} {effort:?}");
        assert!(dropped(model, &with(effort)).is_empty());
    }
    assert_eq!(dropped(HAIKU_3, &with(Effort::Low)), ["reasoning_effort"]);
    assert!(dropped(HAIKU_3, &with(Effort::None)).is_empty());
    let mut high = sampled();
    high.effort = Some(Effort::High);
    high.max_tokens = Some(10);
    assert!(body(NOVA_2, &high).get("inferenceConfig").is_none());
    assert_eq!(dropped(NOVA_2, &high), ["max_tokens", "temperature", "top_p"]);
}

#[test]
fn a_budget_needs_the_thought_before_a_tool_use() {
    let mut request = request(vec![user("a"), assistant(vec![call("1", "f", "{}")]), result("1", vec![text("r")])]);
    request.effort = Some(Effort::Low);
    assert!(body(SONNET_3_7, &request).get("additionalModelRequestFields").is_none());
    assert_eq!(dropped(SONNET_3_7, &request), ["reasoning_effort"]);
    assert!(body(OPUS_4_6, &request)["additionalModelRequestFields"]["thinking"].is_object(), "adaptive thinking does not");
    request.messages[1].parts.insert(0, Part::Reasoning(Reasoning { text: plain("hm"), signature: Some(plain("S")) }));
    assert!(body(SONNET_3_7, &request)["additionalModelRequestFields"]["thinking"].is_object());
}

#[test]
fn the_clients_own_thinking_stands_above_the_effort() {
    let with = |own: &'static str| {
        let mut request = request(vec![user("a")]);
        request.effort = Some(Effort::High);
        request.max_tokens = Some(3000);
        request.extras = vec![extra("thinking", own)];
        request
    };
    let thinking = |model: &str, own: &'static str| {
        let found = body(model, &with(own));
        (found["additionalModelRequestFields"]["thinking"].clone(), found["inferenceConfig"]["maxTokens"].clone())
    };
    assert_eq!(thinking(SONNET_3_7, r#"{"type":"disabled"}"#), (json!({"type":"disabled"}), json!(3000)));
    assert_eq!(thinking(SONNET_3_7, r#"{"type":"enabled","budget_tokens":2000}"#), (json!({"type":"enabled","budget_tokens":2000}), json!(3000)));
    assert_eq!(thinking(SONNET_3_7, r#"{"type":"enabled","budget_tokens":4000}"#), (json!({"type":"enabled","budget_tokens":4000}), json!(7000)));
    assert_eq!(thinking(SONNET_3_7, r#"{"type":"enabled","budget_tokens":5}"#), (json!({"type":"enabled","budget_tokens":1024}), json!(3000)));
    assert_eq!(thinking(OPUS_4_7, r#"{"type":"enabled","budget_tokens":2000}"#), (json!({"type":"adaptive"}), json!(3000)));
}

#[test]
fn trap_18_thinking_stays_on_where_it_cannot_be_turned_off() {
    let mut request = request(vec![user("a")]);
    request.extras = vec![extra("thinking", r#"{"type":"disabled"}"#)];
    assert!(body(OPUS_5_5, &request).get("additionalModelRequestFields").is_none());
    assert_eq!(dropped(OPUS_5_5, &request), ["thinking"]);
    let strict = Policy { unsupported: Unsupported::Reject, ..Policy::default() };
    assert_eq!(try_encode(OPUS_5_5, strict, &request).unwrap_err().param.as_deref(), Some("thinking"));
    assert_eq!(body(OPUS_4_7, &request)["additionalModelRequestFields"]["thinking"], json!({"type":"disabled"}));
    request.effort = Some(Effort::XHigh);
    request.extras.clear();
    assert_eq!(body(OPUS_5_5, &request)["outputConfig"], json!({"effort":"xhigh"}));
}

#[test]
fn trap_38_stop_texts() {
    let mut request = request(vec![user("a")]);
    request.stop = vec![plain(""), plain("\n"), plain("END")];
    let found = body(HAIKU_3, &request);
    assert_eq!(found["inferenceConfig"], json!({"stopSequences":["END"]}));
    assert!(found.get("additionalModelResponseFieldPaths").is_none(), "trap 36: nobody asked which text it was");
    assert_eq!(dropped(HAIKU_3, &request), ["stop"]);
    assert!(body("xai.grok-4", &request).get("inferenceConfig").is_none());
    request.stop = vec![plain("")];
    assert!(body(HAIKU_3, &request).get("inferenceConfig").is_none());
    assert!(dropped(HAIKU_3, &request).is_empty(), "nothing was asked for");
}

#[test]
fn service_tiers() {
    for (tier, sent) in [
        ("auto", Value::Null),
        ("scale", Value::Null),
        ("default", json!({"type":"default"})),
        ("flex", json!({"type":"flex"})),
        ("priority", json!({"type":"priority"})),
        ("fast", json!({"type":"priority"})),
    ] {
        let mut request = request(vec![user("a")]);
        request.service_tier = Some(plain(tier));
        assert_eq!(body(HAIKU_3, &request)["serviceTier"], sent, "{tier}");
        assert!(dropped(HAIKU_3, &request).is_empty());
    }
    let mut request = request(vec![user("a")]);
    request.service_tier = Some(plain("turbo"));
    assert_eq!(dropped(HAIKU_3, &request), ["service_tier"]);
}

#[test]
fn metadata_pairs_that_fit() {
    let mut request = request(vec![user("a")]);
    request.metadata = vec![(plain("team"), plain("a/b c")), (plain("bad!"), plain("x")), (plain("k"), plain("")), (plain(""), plain("x"))];
    assert_eq!(body(HAIKU_3, &request)["requestMetadata"], json!({"team":"a/b c","k":""}));
    assert_eq!(dropped(HAIKU_3, &request), ["metadata"]);
    request.metadata = (0..20).map(|at| (Text::from_plain(format!("k{at}")), plain("v"))).collect();
    assert_eq!(body(HAIKU_3, &request)["requestMetadata"].as_object().unwrap().len(), 16);
}

// ── Extras and policies ──────────────────────────────────────────────────────────────────────────

#[test]
fn trap_52_extras_are_merged_and_the_client_wins() {
    let mut request = request(vec![user("a")]);
    request.tools = vec![tool("f")];
    request.parallel_tool_calls = Some(false);
    request.max_tokens = Some(5);
    request.extras = vec![
        extra("top_k", "7"),
        extra("additionalModelRequestFields", r#"{"tool_choice":{"type":"any"},"x":{"y":1.0}}"#),
        extra("inferenceConfig", r#"{"maxTokens":9,"topK":3}"#),
        extra("performanceConfig", r#"{"latency":"optimized"}"#),
        extra("guardrailConfig", r#"{"guardrailIdentifier":"g"}"#),
        extra("promptVariables", r#"{"v":{"text":"x"}}"#),
        extra("requestMetadata", r#"{"a":"b"}"#),
        extra("serviceTier", r#"{"type":"flex"}"#),
        extra("outputConfig", r#"{"effort":"low"}"#),
        extra("additionalModelResponseFieldPaths", r#"["/a"]"#),
    ];
    let found = body(HAIKU_3, &request);
    assert_eq!(
        found["additionalModelRequestFields"],
        json!({"tool_choice":{"type":"any","disable_parallel_tool_use":true},"top_k":7,"inferenceConfig":{"topK":3},"x":{"y":1.0}})
    );
    assert_eq!(found["inferenceConfig"], json!({"maxTokens":9}));
    assert_eq!(found["performanceConfig"], json!({"latency":"optimized"}));
    assert_eq!(found["guardrailConfig"], json!({"guardrailIdentifier":"g"}));
    assert_eq!(found["promptVariables"], json!({"v":{"text":"x"}}));
    assert_eq!(found["requestMetadata"], json!({"a":"b"}));
    assert_eq!(found["serviceTier"], json!({"type":"flex"}));
    assert_eq!(found["outputConfig"], json!({"effort":"low"}));
    assert_eq!(found["additionalModelResponseFieldPaths"], json!(["/a"]));
    let order: Vec<&str> = [
        "\"messages\":",
        "\"inferenceConfig\":",
        "\"toolConfig\":",
        "\"guardrailConfig\":",
        "\"additionalModelRequestFields\":",
        "\"promptVariables\":",
        "\"additionalModelResponseFieldPaths\":",
        "\"requestMetadata\":",
        "\"performanceConfig\":",
        "\"serviceTier\":",
        "\"outputConfig\":",
    ]
    .to_vec();
    let text = body_text(HAIKU_3, &request);
    assert!(order.iter().map(|name| text.find(name).unwrap()).is_sorted(), "trap 60: a stable order");
}

#[test]
fn top_k_has_another_place_on_nova() {
    let mut request = request(vec![user("a")]);
    request.extras = vec![extra("top_k", "7")];
    assert_eq!(body(NOVA, &request)["additionalModelRequestFields"], json!({"inferenceConfig":{"topK":7}}));
    assert_eq!(body(LLAMA, &request)["additionalModelRequestFields"], json!({"top_k":7}));
    assert!(body(OPUS_4_7, &request).get("additionalModelRequestFields").is_none());
    assert_eq!(dropped(OPUS_4_7, &request), ["top_k"]);
}

#[test]
fn policies() {
    let mut request = request(vec![user("a")]);
    request.unsupported = vec!["seed", "logit_bias"];
    request.extras = vec![extra("top_k", "7")];
    let found = try_encode(HAIKU_3, Policy { unknown: Unknown::Drop, ..Policy::default() }, &request).unwrap();
    assert_eq!(found.dropped, ["seed", "logit_bias", "top_k"]);
    assert!(!String::from_utf8(found.body).unwrap().contains("top_k"));
    let error = try_encode(HAIKU_3, Policy { unsupported: Unsupported::Reject, ..Policy::default() }, &request).unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (400, Some("seed")));
    request.unsupported.clear();
    let error = try_encode(HAIKU_3, Policy { unknown: Unknown::Reject, ..Policy::default() }, &request).unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (400, Some("top_k")));
    for (name, value) in [("system", "\"x\""), ("toolConfig", "{}"), ("guardrailConfig", "1"), ("additionalModelResponseFieldPaths", "{}")] {
        request.extras = vec![extra(name, value)];
        let error = try_encode(HAIKU_3, Policy::default(), &request).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(name)));
    }
    let policy: Policy = serde_yaml::from_str("{unsupported: reject}").unwrap();
    assert_eq!(policy, Policy { unsupported: Unsupported::Reject, unknown: Unknown::Carry });
}

#[test]
fn the_operators_guardrail_wins() {
    let guardrail: Guardrail = serde_yaml::from_str("{identifier: abc, version: '1', trace: enabled, stream_processing_mode: async}").unwrap();
    let mut request = request(vec![user("a")]);
    request.extras = vec![extra("guardrailConfig", r#"{"guardrailIdentifier":"none"}"#)];
    let takes = Capabilities::of(HAIKU_3);
    for (stream, sent) in [
        (false, json!({"guardrailIdentifier":"abc","guardrailVersion":"1","trace":"enabled"})),
        (true, json!({"guardrailIdentifier":"abc","guardrailVersion":"1","trace":"enabled","streamProcessingMode":"async"})),
    ] {
        let options = Options { capabilities: &takes, policy: Policy::default(), default_max_tokens: None, guardrail: Some(&guardrail), stream };
        let encoded = encode(&request, &options).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap()["guardrailConfig"], sent);
        assert_eq!(encoded.dropped, ["guardrailConfig"]);
    }
}

#[test]
fn trap_60_a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    let mut messages = vec![user("a"), assistant(vec![call("bad id", "f.g", "{}")]), result("bad id", vec![pdf(Some("x.pdf")), text("r")])];
    let short = body_text(HAIKU_3, &request(messages.clone()));
    messages.extend([assistant(vec![call("bad id", "f.g", "{}")]), result("bad id", vec![pdf(Some("x.pdf"))])]);
    let long = body_text(HAIKU_3, &request(messages));
    let end = short.find("],\"toolConfig\"").unwrap();
    assert!(long.starts_with(&short[..end]));
}

#[test]
fn the_table_and_the_encoder_agree_on_every_row() {
    // Whatever a family takes, a request with everything in it becomes a body that holds together.
    let mut everything = cached();
    everything.messages.push(assistant(vec![text("x "), Part::Reasoning(Reasoning { text: plain("t"), signature: Some(plain("s")) })]));
    everything.temperature = Some(raw("1"));
    everything.top_p = Some(raw("1"));
    everything.stop = vec![plain("END")];
    everything.effort = Some(Effort::High);
    everything.output_format = Some(json_schema(WEATHER));
    everything.tool_choice = Some(ToolChoice::Any);
    for tools in [true, false] {
        for forced_choice in [ForcedChoice::None, ForcedChoice::Any, ForcedChoice::Tool] {
            for system in [SystemPrompt::Native, SystemPrompt::Prepended] {
                for structured_output in [StructuredOutput::Native, StructuredOutput::Tool] {
                    for cache in [Cache::None, Cache::FiveMinutes, Cache::OneHour] {
                        let takes = Capabilities { tools, forced_choice, system, structured_output, cache, ..Capabilities::UNKNOWN };
                        let options = Options { capabilities: &takes, policy: Policy::default(), default_max_tokens: None, guardrail: None, stream: false };
                        check(&serde_json::from_slice(&encode(&everything, &options).unwrap().body).unwrap());
                    }
                }
            }
        }
    }
}

// ── Properties ───────────────────────────────────────────────────────────────────────────────────

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn any_text() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just(" \n"), Just("a"), "[a-z\"\\\\\n é]{0,8}".prop_map(leak)]
}

fn any_id() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("1"), Just("2"), Just("a b"), Just(""), "[a-z0-9!]{0,70}".prop_map(leak)]
}

fn any_part() -> impl Strategy<Value = Part<'static>> {
    prop_oneof![
        4 => any_text().prop_map(text),
        1 => Just(image()),
        1 => any_text().prop_map(|name| pdf(Some(name))),
        1 => prop_oneof![Just(None), Just(Some("1h"))].prop_map(cache),
        1 => Just(Part::Json(raw(r#"{"a":[1]}"#))),
    ]
}

fn any_assistant_part() -> impl Strategy<Value = Part<'static>> {
    let name = prop_oneof![Just("f"), Just("f.g"), Just("f_g"), "[a-z.]{0,70}".prop_map(leak)];
    let input = prop_oneof![Just("{}"), Just("[]"), Just("{\"a\":\"\\u00e9\"}"), Just("nonsense")];
    prop_oneof![
        3 => any_text().prop_map(text),
        3 => (any_id(), name, input).prop_map(|(id, name, input)| call(id, name, input)),
        1 => (any_text(), prop_oneof![Just(None), Just(Some(plain("S")))]).prop_map(|(thought, signature)| Part::Reasoning(Reasoning { text: plain(thought), signature })),
        1 => Just(cache(None)),
    ]
}

fn any_message() -> impl Strategy<Value = Message<'static>> {
    prop_oneof![
        1 => any_text().prop_map(|text| says(Role::System, text)),
        3 => proptest::collection::vec(any_part(), 0..4).prop_map(|parts| Message { role: Role::User, parts }),
        3 => proptest::collection::vec(any_assistant_part(), 0..4).prop_map(assistant),
        3 => (any_id(), proptest::collection::vec(any_part(), 0..3)).prop_map(|(id, parts)| result(id, parts)),
    ]
}

proptest! {
    #[test]
    fn every_request_becomes_a_body_that_holds_together(
        messages in proptest::collection::vec(any_message(), 1..9),
        model in prop_oneof![Just(HAIKU_3), Just(SONNET_4_5), Just(OPUS_5_5), Just(NOVA), Just(LLAMA), Just(TITAN), Just(KIMI)],
        choice in prop_oneof![Just(None), Just(Some(ToolChoice::None)), Just(Some(ToolChoice::Any))],
        shape in prop_oneof![Just(None), Just(Some(OutputFormat::JsonObject)), Just(Some(json_schema(WEATHER)))],
        thinks in any::<bool>(),
        tools in any::<bool>(),
    ) {
        let mut request = request(messages);
        request.tool_choice = choice;
        request.output_format = shape;
        request.effort = thinks.then_some(Effort::Low);
        request.tools = if tools { vec![tool("f"), tool("f.g")] } else { vec![] };
        // Too many files is the one thing that may be refused.
        if let Ok(encoded) = try_encode(model, Policy::default(), &request) {
            check(&serde_json::from_slice(&encoded.body).unwrap());
        }
    }
}

#[test]
fn hostile_sizes_cost_no_more_than_their_bytes() {
    // Each of these was quadratic in a first draft: the same id, the same name, the same member, over and over.
    const MANY: usize = 20_000;
    let started = std::time::Instant::now();
    let mut messages = vec![user("a"), assistant((0..MANY).map(|_| call("1", "f", "{}")).collect())];
    messages.extend((0..MANY).map(|_| result("1", vec![text("r")])));
    messages.push(assistant((0..MANY).map(|at| call("x", leak(format!("f{at}")), "{}")).collect()));
    messages.extend((0..MANY).map(|_| result("1", vec![text("stray")])));
    let mut request = request(messages);
    request.extras = (0..MANY).map(|at| extra(leak(format!("k{at}")), "1")).collect();
    request.tools = (0..MANY).map(|at| tool(leak(format!("json_answer_{at}")))).collect();
    request.output_format = Some(json_schema(WEATHER));
    let encoded = try_encode(HAIKU_3, Policy::default(), &request).unwrap();
    assert!(encoded.body.len() > MANY * 100);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
