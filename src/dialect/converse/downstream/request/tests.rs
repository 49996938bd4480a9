use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::chat::capability::Capabilities;
use crate::chat::{Audio, CachePoint, Document, ErrorKind, Image, Policy, Reasoning, SearchResult, Source, Tool, ToolChoice, ToolResult, ToolUse};
use crate::dialect::converse::upstream;

const SONNET_4_5: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

/// A request with one user message and the members of `more`.
fn body(more: Value) -> String {
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

/// A request with these blocks in one message.
fn says(role: &str, content: Value) -> String {
    json!({"messages": [{"role": role, "content": content}]}).to_string()
}

fn request(body: &str) -> Request<'_> {
    decode("m", body).unwrap().request
}

fn refused(body: &str) -> (String, String) {
    let error = decode("m", body).map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.status), (ErrorKind::InvalidRequest, 400), "{body}");
    (error.param.unwrap_or_default().into_owned(), error.message.into_owned())
}

/// A part in short.
fn short(part: &Part<'_>) -> String {
    let plain = |text: &Text<'_>| text.unescape().into_owned();
    let source = |source: &Source<'_>| match source {
        Source::Base64(text) => format!("bytes {}", plain(text)),
        Source::Url(text) => format!("url {}", plain(text)),
        Source::S3(text) => format!("s3 {}", plain(text)),
        Source::Text(text) => format!("text {}", plain(text)),
        Source::Texts(texts) => format!("texts {:?}", texts.iter().map(plain).collect::<Vec<_>>()),
    };
    match part {
        Part::Text(text) => format!("text {}", plain(text)),
        Part::Image(Image { media_type, source: at }) => format!("image {media_type:?} {}", source(at)),
        Part::Document(Document { media_type, name, context, citations, source: at }) => {
            format!("document {media_type:?} {:?} {:?} {citations:?} {}", name.as_ref().map(plain), context.as_ref().map(plain), source(at))
        }
        Part::Audio(Audio { format, source: at }) => format!("audio {} {}", plain(format), source(at)),
        Part::SearchResult(SearchResult { source, title, content, citations }) => {
            format!("search {} {} {:?} {citations:?}", plain(source), plain(title), content.iter().map(plain).collect::<Vec<_>>())
        }
        Part::ToolUse(ToolUse { id, name, input }) => format!("use {} {} {input}", plain(id), plain(name)),
        Part::ToolResult(ToolResult { id, parts, is_error }) => format!("result {} {is_error:?} {:?}", plain(id), parts.iter().map(short).collect::<Vec<_>>()),
        Part::Reasoning(Reasoning { text, signature }) => format!("thought {} {:?}", plain(text), signature.as_ref().map(plain)),
        Part::RedactedReasoning(text) => format!("redacted {}", plain(text)),
        Part::Json(raw) => format!("json {}", raw.as_str()),
        Part::CachePoint(CachePoint { ttl }) => format!("cache {:?}", ttl.as_ref().map(plain)),
    }
}

fn messages(request: &Request<'_>) -> Vec<(Role, Vec<String>)> {
    request.messages.iter().map(|message| (message.role, message.parts.iter().map(short).collect())).collect()
}

#[test]
fn the_least_that_there_is() {
    let text = body(json!({}));
    let Decoded { request, style } = decode("eu.model:0", &text).unwrap();
    assert!(request.model == "eu.model:0");
    assert_eq!(messages(&request), [(Role::User, vec!["text Hi".to_owned()])]);
    assert!(!style.stop_sequence && request.max_tokens.is_none() && request.temperature.is_none() && request.tools.is_empty());
    assert!(request.extras.is_empty() && request.unsupported.is_empty());
}

#[test]
fn every_typed_member() {
    let text = r#"{"system":[{"text":"be"},{"cachePoint":{"type":"default","ttl":"1h"}},{"guardContent":{"text":{"text":"brief"}}}],
        "messages":[{"role":"user","content":[{"text":"Hi"}]}],
        "inferenceConfig":{"maxTokens":5,"temperature":0.50,"topP":1e-1,"stopSequences":["END",""]},
        "toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"type":"object"}},"strict":true}},{"cachePoint":{"type":"default"}}],
            "toolChoice":{"tool":{"name":"f"}}},
        "outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":" {\"type\":\"object\"}","name":"n","description":"e"}}},"effort":"high"},
        "serviceTier":{"type":"flex"},"requestMetadata":{"team":"a","n":""},"additionalModelResponseFieldPaths":["/stop_sequence"],
        "performanceConfig":{"latency":"standard"},"guardrailConfig":null}"#;
    let Decoded { request, style } = decode("m", text).unwrap();
    let system: Vec<String> = ["text be", "cache Some(\"1h\")", "text brief"].map(str::to_owned).to_vec();
    assert_eq!(messages(&request), [(Role::System, system), (Role::User, vec!["text Hi".to_owned()])]);
    assert_eq!(request.max_tokens, Some(5));
    assert_eq!((request.temperature.unwrap().as_str(), request.top_p.unwrap().as_str()), ("0.50", "1e-1"));
    assert!(request.stop.len() == 1 && request.stop[0] == "END");
    let [Tool { name, description, parameters, strict, cache }] = request.tools.as_slice() else { panic!() };
    assert!(*name == "f" && *description.as_ref().unwrap() == "d" && parameters.unwrap().as_str() == r#"{"type":"object"}"#);
    assert!(*strict == Some(true) && cache.as_ref().is_some_and(|point| point.ttl.is_none()));
    assert!(matches!(&request.tool_choice, Some(ToolChoice::Tool(name)) if *name == "f"));
    let Some(OutputFormat::JsonSchema { name, description, schema, strict }) = &request.output_format else { panic!() };
    assert_eq!((schema.as_str(), strict), (r#"{"type":"object"}"#, &None));
    assert!(*name.as_ref().unwrap() == "n" && *description.as_ref().unwrap() == "e");
    assert_eq!(request.effort, Some(Effort::High));
    assert!(request.service_tier.unwrap() == "flex");
    assert_eq!(request.metadata.len(), 2);
    assert!(style.stop_sequence && request.tells_stop);
    assert!(request.unsupported == ["guardContent"] && request.extras.is_empty());
}

#[test]
fn every_block_of_a_user() {
    let text = says(
        "user",
        json!([
            {"text":"a"},
            {"image":{"format":"jpeg","source":{"bytes":"/9j/"}}},
            {"image":{"format":"webp","source":{"s3Location":{"uri":"s3://b/k","bucketOwner":"123456789012"}}}},
            {"document":{"format":"pdf","name":"N","source":{"bytes":"JVBERg=="},"context":"c","citations":{"enabled":true}}},
            {"document":{"name":"T","source":{"text":"plain"}}},
            {"document":{"format":"md","name":"P","source":{"content":[{"text":"x"},{"text":"y"}]}}},
            {"audio":{"format":"mp3","source":{"bytes":"AA=="}}},
            {"guardContent":{"text":{"text":"g","qualifiers":["query"]}}},
            {"guardContent":{"image":{"format":"png","source":{"bytes":"iVBO"}}}},
            {"searchResult":{"source":"https://a","title":"t","content":[{"text":"x"}],"citations":{"enabled":false}}},
            {"cachePoint":{"type":"default"}},
        ]),
    );
    let request = request(&text);
    assert_eq!(
        messages(&request)[0].1,
        [
            "text a",
            "image Some(\"image/jpeg\") bytes /9j/",
            "image Some(\"image/webp\") s3 s3://b/k",
            "document Some(\"application/pdf\") Some(\"N\") Some(\"c\") Some(true) bytes JVBERg==",
            "document None Some(\"T\") None None text plain",
            "document Some(\"text/markdown\") Some(\"P\") None None texts [\"x\", \"y\"]",
            "audio mp3 bytes AA==",
            "text g",
            "image Some(\"image/png\") bytes iVBO",
            "search https://a t [\"x\"] Some(false)",
            "cache None",
        ]
    );
    assert_eq!(request.unsupported, ["s3Location.bucketOwner", "guardContent"]);
}

#[test]
fn every_block_of_an_assistant() {
    let text = says(
        "assistant",
        json!([
            {"reasoningContent":{"reasoningText":{"text":"hm","signature":"S=="}}},
            {"reasoningContent":{"reasoningText":{"text":"unsigned","signature":""}}},
            {"reasoningContent":{"redactedContent":"AAEC"}},
            {"text":"a"},
            {"citationsContent":{"content":[{"text":"b"},{"text":"c"}],"citations":[{"title":"t"}]}},
            {"citationsContent":{"citations":[]}},
            {"toolUse":{"toolUseId":"1","name":"f","input":{"x":1.50}}},
            {"toolUse":{"toolUseId":"2","name":"f","input":[1]}},
        ]),
    );
    assert_eq!(
        messages(&request(&text))[0].1,
        ["thought hm Some(\"S==\")", "thought unsigned None", "redacted AAEC", "text a", "text b", "text c", "use 1 f {\"x\":1.5}", "use 2 f [1]"]
    );
}

#[test]
fn what_tools_gave_stands_apart_from_what_the_user_says() {
    let text = json!({"messages": [
        {"role":"user","content":[
            {"toolResult":{"toolUseId":"1","content":[{"text":"a"},{"json":{"b":[1]}},{"image":{"format":"png","source":{"bytes":"iVBO"}}},
                {"document":{"format":"txt","name":"d","source":{"bytes":"AA"}}},{"searchResult":{"source":"s","title":"t","content":[{"text":"x"}]}}],"status":"error"}},
            {"cachePoint":{"type":"default"}},
            {"toolResult":{"toolUseId":"2","content":[],"status":"success"}},
            {"text":"go on"},{"text":"please"},
            {"toolResult":{"toolUseId":"3","content":[]}},
        ]},
        {"role":"system","content":[{"text":"late"}]},
    ]})
    .to_string();
    let found = request(&text);
    let found = messages(&found);
    assert_eq!(found.iter().map(|(role, _)| *role).collect::<Vec<_>>(), [Role::Tool, Role::User, Role::Tool, Role::System]);
    assert!(found[0].1[0].starts_with("result 1 Some(true) [\"text a\", \"json {\\\"b\\\":[1]}\", \"image"), "{:?}", found[0]);
    assert!(found[0].1[0].ends_with("\"cache None\"]"), "the mark closes the result: {:?}", found[0]);
    assert_eq!(found[0].1[1], "result 2 Some(false) []");
    assert_eq!(found[1].1, ["text go on", "text please"]);
    assert_eq!(found[2].1, ["result 3 None []"]);
}

#[test]
fn free_fields_find_their_place() {
    let additional = |fields: Value| body(json!({"additionalModelRequestFields": fields}));
    let text = additional(json!({"top_k": 5, "thinking": {"type":"enabled","budget_tokens":2048}, "anthropic_beta": ["x"], "seed": null}));
    let found = request(&text);
    assert_eq!((found.top_k.unwrap().as_str(), found.thinking.unwrap().as_str()), ("5", r#"{"budget_tokens":2048,"type":"enabled"}"#));
    assert_eq!(found.extras.len(), 1);
    assert!(found.extras[0].name == "anthropic_beta" && found.extras[0].value.as_str() == r#"["x"]"#);
    for (fields, effort) in [
        (json!({"reasoning_effort":"low"}), Effort::Low),
        (json!({"reasoning_config":"high"}), Effort::High),
        (json!({"reasoningConfig":{"type":"enabled","maxReasoningEffort":"medium"}}), Effort::Medium),
        (json!({"reasoningConfig":{"type":"disabled"}}), Effort::None),
    ] {
        let text = additional(fields);
        let found = request(&text);
        assert_eq!((found.effort, found.extras.len()), (Some(effort), 0), "{text}");
    }
    let text = additional(json!({"reasoning_config":{"type":"enabled","budget_tokens":1024}}));
    assert!(request(&text).thinking.is_some(), "as AWS called it first");
    let text = additional(json!({"inferenceConfig":{"topK":20}}));
    assert_eq!(request(&text).top_k.unwrap().as_str(), "20");
    let text = additional(json!({"inferenceConfig":{"topK":20,"x":1},"reasoning_effort":3,"reasoning_config":[1],"reasoningConfig":{"type":"enabled"}}));
    let found = request(&text);
    assert_eq!((found.extras.len(), found.top_k, found.effort), (4, None, None), "what is not understood travels on");
    let text = additional(json!({"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}));
    let found = request(&text);
    assert_eq!((found.parallel_tool_calls, found.tool_choice.is_none(), found.extras.len()), (Some(false), true, 0));
    assert_eq!(refused(&additional(json!({"top_k":"5"}))).0, "additionalModelRequestFields.top_k");
    assert_eq!(refused(&additional(json!({"thinking":"on"}))).0, "additionalModelRequestFields.thinking");
    assert_eq!(refused(&additional(json!("x"))).0, "additionalModelRequestFields");
}

#[test]
fn what_only_bedrock_can_do_is_noted() {
    for (more, expected) in [
        (json!({"guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"1"}}), vec!["guardrailConfig"]),
        (json!({"promptVariables":{"a":{"text":"b"}}}), vec!["promptVariables"]),
        (json!({"promptVariables":{}}), vec![]),
        (json!({"performanceConfig":{"latency":"optimized"}}), vec!["performanceConfig"]),
        (json!({"performanceConfig":{}}), vec![]),
        (json!({"additionalModelResponseFieldPaths":["/stop_sequence","/x","/y"]}), vec!["additionalModelResponseFieldPaths"]),
        (json!({"toolConfig":{"tools":[{"systemTool":{"name":"nova_grounding"}}]}}), vec!["toolConfig.tools[].systemTool"]),
    ] {
        let text = body(more);
        assert_eq!(request(&text).unsupported, expected, "{text}");
    }
}

#[test]
fn members_that_the_api_does_not_define_travel_on() {
    let text = r#"{"messages":[{"role":"user","content":[{"text":"a","p":1}],"name":"x"}],"seed":1,"seed":2,"user":null,"inferenceConfig":{"topK":3}}"#;
    let found = request(text);
    let extras: Vec<(Cow<'_, str>, &str)> = found.extras.iter().map(|extra| (extra.name.unescape(), extra.value.as_str())).collect();
    assert_eq!(extras, [(Cow::Borrowed("seed"), "2"), (Cow::Borrowed("topK"), "3")]);
}

#[test]
fn the_tier_is_told_in_the_words_of_the_canonical_form() {
    for (tier, canonical) in [("default", "default"), ("flex", "flex"), ("priority", "priority"), ("reserved", "scale")] {
        let text = body(json!({"serviceTier":{"type":tier}}));
        assert!(request(&text).service_tier.unwrap() == canonical);
    }
}

#[test]
fn mistakes_are_named_with_their_path() {
    let user = |content: Value| says("user", content);
    for (body, param) in [
        ("{}".to_owned(), "messages"),
        (r#"{"messages":[]}"#.to_owned(), "messages"),
        (r#"{"messages":{}}"#.to_owned(), "messages"),
        (r#"{"messages":[{"content":[]}]}"#.to_owned(), "messages[0].role"),
        (r#"{"messages":[{"role":"tool","content":[]}]}"#.to_owned(), "messages[0].role"),
        (r#"{"messages":[{"role":"user"}]}"#.to_owned(), "messages[0].content"),
        (r#"{"messages":[{"role":"user","content":"Hi"}]}"#.to_owned(), "messages[0].content"),
        (user(json!([])), "messages[0].content"),
        (user(json!(["Hi"])), "messages[0].content[0]"),
        (user(json!([{}])), "messages[0].content[0]"),
        (user(json!([{"newThing":{}}])), "messages[0].content[0]"),
        (user(json!([{"text":"a","image":{}}])), "messages[0].content[0]"),
        (user(json!([{"text":5}])), "messages[0].content[0].text"),
        (user(json!([{"video":{"format":"mp4","source":{"bytes":"AA"}}}])), "messages[0].content[0].video"),
        (user(json!([{"toolUse":{"toolUseId":"1","name":"f","input":{}}}])), "messages[0].content[0].toolUse"),
        (user(json!([{"reasoningContent":{"redactedContent":"AA"}}])), "messages[0].content[0].reasoningContent"),
        (user(json!([{"json":{}}])), "messages[0].content[0].json"),
        (user(json!([{"image":{"format":"bmp","source":{"bytes":"AA"}}}])), "messages[0].content[0].image.format"),
        (user(json!([{"image":{"source":{"bytes":"AA"}}}])), "messages[0].content[0].image.format"),
        (user(json!([{"image":{"format":"png"}}])), "messages[0].content[0].image.source"),
        (user(json!([{"image":{"format":"png","source":{}}}])), "messages[0].content[0].image.source"),
        (user(json!([{"image":{"format":"png","source":{"bytes":""}}}])), "messages[0].content[0].image.source.bytes"),
        (user(json!([{"image":{"format":"png","source":{"text":"x"}}}])), "messages[0].content[0].image.source"),
        (user(json!([{"image":{"format":"png","source":{"s3Location":{}}}}])), "messages[0].content[0].image.source.s3Location.uri"),
        (user(json!([{"guardContent":{"image":{"format":"gif","source":{"bytes":"AA"}}}}])), "messages[0].content[0].guardContent.image.format"),
        (user(json!([{"document":{"format":"pdf","source":{"bytes":"AA"}}}])), "messages[0].content[0].document.name"),
        (user(json!([{"document":{"name":"n","source":{"content":[]}}}])), "messages[0].content[0].document.source.content"),
        (user(json!([{"document":{"name":"n","source":{"text":"x"},"citations":{}}}])), "messages[0].content[0].document.citations.enabled"),
        (user(json!([{"audio":{"format":"midi","source":{"bytes":"AA"}}}])), "messages[0].content[0].audio.format"),
        (user(json!([{"searchResult":{"source":"s","title":"t"}}])), "messages[0].content[0].searchResult.content"),
        (user(json!([{"cachePoint":{}}])), "messages[0].content[0].cachePoint.type"),
        (user(json!([{"cachePoint":{"type":"default","ttl":"2h"}}])), "messages[0].content[0].cachePoint.ttl"),
        (user(json!([{"toolResult":{"content":[]}}])), "messages[0].content[0].toolResult.toolUseId"),
        (user(json!([{"toolResult":{"toolUseId":"1"}}])), "messages[0].content[0].toolResult.content"),
        (user(json!([{"toolResult":{"toolUseId":"1","content":[],"status":"bad"}}])), "messages[0].content[0].toolResult.status"),
        (user(json!([{"toolResult":{"toolUseId":"1","content":[{"video":{}}]}}])), "messages[0].content[0].toolResult.content[0].video"),
        (user(json!([{"toolResult":{"toolUseId":"1","content":[{"toolResult":{}}]}}])), "messages[0].content[0].toolResult.content[0].toolResult"),
        (says("assistant", json!([{"toolResult":{"toolUseId":"1","content":[]}}])), "messages[0].content[0].toolResult"),
        (says("assistant", json!([{"toolUse":{"toolUseId":"1","name":"f"}}])), "messages[0].content[0].toolUse.input"),
        (says("assistant", json!([{"toolUse":{"toolUseId":"1","name":"","input":{}}}])), "messages[0].content[0].toolUse.name"),
        (says("assistant", json!([{"toolUse":{"toolUseId":"1","name":"f","input":{},"type":"server_tool_use"}}])), "messages[0].content[0].toolUse.type"),
        (says("assistant", json!([{"reasoningContent":{"reasoningText":{}}}])), "messages[0].content[0].reasoningContent.reasoningText.text"),
        (says("system", json!([{"toolAddition":{"tool":{}}}])), "messages[0].content[0].toolAddition"),
        (body(json!({"system":"x"})), "system"),
        (body(json!({"system":[{"image":{"format":"png","source":{"bytes":"AA"}}}]})), "system[0].image"),
        (body(json!({"inferenceConfig":{"maxTokens":0}})), "inferenceConfig.maxTokens"),
        (body(json!({"inferenceConfig":{"temperature":1.5}})), "inferenceConfig.temperature"),
        (body(json!({"inferenceConfig":{"topP":"1"}})), "inferenceConfig.topP"),
        (body(json!({"inferenceConfig":{"stopSequences":"END"}})), "inferenceConfig.stopSequences"),
        (body(json!({"inferenceConfig":{"stopSequences":[1]}})), "inferenceConfig.stopSequences[0]"),
        (body(json!({"inferenceConfig":[]})), "inferenceConfig"),
        (body(json!({"toolConfig":{}})), "toolConfig.tools"),
        (body(json!({"toolConfig":{"tools":[]}})), "toolConfig.tools"),
        (body(json!({"toolConfig":{"tools":[{"toolSpec":{"name":"f"}}]}})), "toolConfig.tools[0].toolSpec.inputSchema"),
        (body(json!({"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":"{}"}}}]}})), "toolConfig.tools[0].toolSpec.inputSchema.json"),
        (
            body(json!({"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{}}}}],"toolChoice":{"tool":{"name":"g"}}}})),
            "toolConfig.toolChoice.tool.name",
        ),
        (body(json!({"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{}}}}],"toolChoice":{}}})), "toolConfig.toolChoice"),
        (body(json!({"outputConfig":{"effort":"hard"}})), "outputConfig.effort"),
        (body(json!({"outputConfig":{"textFormat":{"type":"json_schema","structure":{}}}})), "outputConfig.textFormat.structure.jsonSchema"),
        (
            body(json!({"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":{}}}}}})),
            "outputConfig.textFormat.structure.jsonSchema.schema",
        ),
        (
            body(json!({"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{"}}}}})),
            "outputConfig.textFormat.structure.jsonSchema.schema",
        ),
        (
            body(json!({"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"[]"}}}}})),
            "outputConfig.textFormat.structure.jsonSchema.schema",
        ),
        (body(json!({"serviceTier":{"type":"fast"}})), "serviceTier.type"),
        (body(json!({"requestMetadata":{"a":1}})), "requestMetadata.a"),
        (body(json!({"guardrailConfig":"g"})), "guardrailConfig"),
        (body(json!({"additionalModelResponseFieldPaths":[1]})), "additionalModelResponseFieldPaths[0]"),
    ] {
        let (found, message) = refused(&body);
        assert_eq!(found, param, "{body}");
        assert!(message.contains(param), "boto3 shows nothing but the sentence: {message}");
    }
}

#[test]
fn broken_json_is_told_with_its_place() {
    for body in ["", "[]", "{", r#"{"messages":[{"role":"user","content":[{"text":"a"},]}]}"#, "\u{feff}{}", r#"{"messages":[]} x"#, r#"{"\ud83d":1}"#] {
        let (param, message) = refused(body);
        assert!(param.is_empty() && message.starts_with("The request body is not valid JSON: "), "{body}: {message}");
    }
}

#[test]
fn values_that_are_carried_have_a_bottom() {
    let deep = format!("{}{}", "{\"a\":".repeat(200), "1") + &"}".repeat(200);
    for body in [
        format!(r#"{{"messages":[{{"role":"assistant","content":[{{"toolUse":{{"toolUseId":"1","name":"f","input":{deep}}}}}]}}]}}"#),
        format!(r#"{{"messages":[{{"role":"user","content":[{{"text":"a"}}]}}],"x":{deep}}}"#),
        format!(r#"{{"messages":[{{"role":"user","content":[{{"text":"a"}}]}}],"additionalModelRequestFields":{{"x":{deep}}}}}"#),
        format!(r#"{{"messages":[{{"role":"user","content":[{{"toolResult":{{"toolUseId":"1","content":[{{"json":{deep}}}]}}}}]}}]}}"#),
        body(json!({"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":deep}}}}})),
    ] {
        assert!(refused(&body).1.contains("deeper"));
    }
}

#[test]
fn golden_inputs_are_taken_unless_they_are_bad() {
    let root = format!("{}/tests/golden/converse/request", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for case in std::fs::read_dir(root).unwrap() {
        let case = case.unwrap();
        let text = std::fs::read_to_string(case.path().join("input.json")).unwrap();
        let bad = case.file_name().to_string_lossy().starts_with("bad-");
        assert_eq!(decode("m", &text).is_err(), bad, "{case:?}");
        count += 1;
    }
    assert!(count >= 15);
}

#[test]
fn tokens_to_count() {
    let body =
        r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"system":[{"text":"s"}],"additionalModelRequestFields":{"top_k":3}}}}"#;
    let Count::Converse(found) = decode_count("m", body).unwrap() else { panic!() };
    assert_eq!((found.messages.len(), found.top_k.unwrap().as_str()), (2, "3"));
    let Count::Invoke(found) = decode_count("m", r#"{"input":{"invokeModel":{"body":"eyJhIjoxfQ=="}}}"#).unwrap() else { panic!() };
    assert_eq!(found, br#"{"a":1}"#);
    for (body, param) in [
        ("{}", "input"),
        (r#"{"input":{}}"#, "input"),
        (r#"{"input":{"converse":{},"invokeModel":{}}}"#, "input"),
        (r#"{"input":{"converse":[]}}"#, "input.converse"),
        (r#"{"input":{"converse":{}}}"#, "input.converse.messages"),
        (r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":1}]}]}}}"#, "input.converse.messages[0].content[0].text"),
        (r#"{"input":{"invokeModel":{}}}"#, "input.invokeModel.body"),
        (r#"{"input":{"invokeModel":{"body":"*"}}}"#, "input.invokeModel.body"),
        ("{", ""),
    ] {
        let error = decode_count("m", body).map(|_| ()).unwrap_err();
        assert_eq!((error.status, error.param.as_deref().unwrap_or_default()), (400, param), "{body}");
    }
}

/// What the upstream's side writes for a model that takes everything.
fn encode(request: &Request<'_>) -> Vec<u8> {
    let capabilities = Capabilities::of(SONNET_4_5);
    let options =
        upstream::request::Options { capabilities: &capabilities, policy: Policy::default(), default_max_tokens: None, guardrail: None, stream: false };
    upstream::request::encode(request, &options).unwrap().body
}

/// All of a request, in order, for comparing.
fn all(request: &Request<'_>) -> String {
    let plain = |text: &Text<'_>| text.unescape().into_owned();
    let raw = |raw: &Option<Raw<'_>>| raw.map(|raw| raw.as_str().to_owned());
    let tools: Vec<_> = request
        .tools
        .iter()
        .map(|tool| {
            let cache = tool.cache.as_ref().map(|point| point.ttl.as_ref().map(plain));
            (plain(&tool.name), tool.description.as_ref().map(plain), raw(&tool.parameters), tool.strict, cache)
        })
        .collect();
    let choice = request.tool_choice.as_ref().map(|choice| match choice {
        ToolChoice::Tool(name) => format!("tool {}", plain(name)),
        other => format!("{other:?}"),
    });
    let format = request.output_format.as_ref().map(|format| match format {
        OutputFormat::JsonSchema { name, description, schema, .. } => {
            format!("{:?} {:?} {}", name.as_ref().map(plain), description.as_ref().map(plain), schema.as_str())
        }
        other => format!("{other:?}"),
    });
    let metadata: Vec<_> = request.metadata.iter().map(|(key, value)| (plain(key), plain(value))).collect();
    let stop: Vec<_> = request.stop.iter().map(plain).collect();
    format!(
        "{:#?}\n{tools:#?}\n{choice:?} {:?}\n{:?} {:?} {:?} {:?} {stop:?} {}\n{format:?} {:?} {:?} {:?}\n{metadata:?}",
        messages(request),
        request.parallel_tool_calls,
        request.max_tokens,
        raw(&request.temperature),
        raw(&request.top_p),
        raw(&request.top_k),
        request.tells_stop,
        request.effort,
        raw(&request.thinking),
        request.service_tier.as_ref().map(plain),
    )
}

fn block_of_user() -> impl Strategy<Value = Value> {
    let text = "[a-z\"\\\\\u{e9}😀]{1,8}x";
    prop_oneof![
        text.prop_map(|text| json!({"text": text})),
        Just(json!({"image":{"format":"png","source":{"bytes":"iVBORw0KGgoAAAANSUhEUg=="}}})),
        Just(json!({"image":{"format":"gif","source":{"s3Location":{"uri":"s3://bucket/key"}}}})),
        Just(json!({"searchResult":{"source":"https://a","title":"t","content":[{"text":"x"}],"citations":{"enabled":true}}})),
    ]
}

/// A body that Bedrock takes as it is: turns alternate, results follow their calls.
fn any_body() -> impl Strategy<Value = Value> {
    let text = "[a-z\"\\\\\u{e9}😀]{1,8}x";
    let turn = (prop::collection::vec(block_of_user(), 1..4), text, any::<bool>(), any::<bool>(), text);
    let documents = any::<bool>();
    let sampling = prop_oneof![
        Just(json!({})),
        Just(json!({"temperature":0.5})),
        Just(json!({"topP":0.25,"maxTokens":10000,"stopSequences":["a","b"]})),
        Just(json!({"maxTokens":4000}))
    ];
    let fields = prop_oneof![
        Just(json!({})),
        Just(json!({"top_k":7})),
        Just(json!({"thinking":{"type":"enabled","budget_tokens":2048}})),
        Just(json!({"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}))
    ];
    let format = prop_oneof![
        Just(json!({})),
        Just(json!({"textFormat":{"type":"json_schema","structure":{"jsonSchema":{
            "schema":"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}","name":"n","description":"d"}}}}))
    ];
    (prop::collection::vec(turn, 1..4), documents, sampling, fields, format, any::<bool>()).prop_map(|(turns, documents, sampling, fields, format, more)| {
        let mut messages = Vec::new();
        let mut results = Vec::new();
        for (at, (blocks, answer, thinks, calls, result)) in turns.into_iter().enumerate() {
            let mut content = std::mem::take(&mut results);
            content.extend(blocks);
            if documents && at == 0 {
                content.push(json!({"document":{"format":"pdf","name":"Report","source":{"bytes":"JVBERi0xLjcK"},"context":"c","citations":{"enabled":true}}}));
                content.push(json!({"document":{"name":"Plain","format":"txt","source":{"content":[{"text":"x"},{"text":"y"}]}}}));
                content.push(json!({"text":"see"}));
            }
            messages.push(json!({"role":"user","content":content}));
            let mut content = Vec::new();
            if thinks {
                content.push(json!({"reasoningContent":{"reasoningText":{"text":"hm","signature":"S=="}}}));
            }
            content.push(json!({"text":answer}));
            if calls {
                content.push(json!({"toolUse":{"toolUseId":format!("t{at}"),"name":"f","input":{"a":[1,{"b":"\"c\""}]}}}));
                results.push(json!({"toolResult":{"toolUseId":format!("t{at}"),"content":[{"text":result},{"json":{"x":1}}],"status":if more {"error"} else {"success"}}}));
            }
            messages.push(json!({"role":"assistant","content":content}));
        }
        results.push(json!({"text":"go on"}));
        if more {
            results.push(json!({"cachePoint":{"type":"default","ttl":"1h"}}));
        }
        messages.push(json!({"role":"user","content":results}));
        let mut tools = json!({"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"type":"object","properties":{}}}}}]});
        let thinks = fields.get("thinking").is_some();
        let forced = more && !thinks && fields.get("tool_choice").is_none();
        if forced {
            tools["toolChoice"] = json!({"tool":{"name":"f"}});
            tools["tools"].as_array_mut().unwrap().push(json!({"cachePoint":{"type":"default"}}));
        }
        let mut sampling = sampling;
        if thinks {
            let sampling = sampling.as_object_mut().unwrap();
            sampling.remove("temperature");
            sampling.remove("topP");
        }
        json!({
            "system":[{"text":"be"},{"text":"brief"}],
            "messages":messages, "inferenceConfig":sampling, "toolConfig":tools, "additionalModelRequestFields":fields, "outputConfig":format,
            "serviceTier":{"type":"priority"}, "requestMetadata":{"team":"a b"},
            "additionalModelResponseFieldPaths": if more { json!(["/stop_sequence"]) } else { json!([]) },
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_the_upstreams_side_writes_is_read_back(body in any_body()) {
        let text = body.to_string();
        let first = request(&text);
        let written = String::from_utf8(encode(&first)).unwrap();
        let again = decode("m", &written).unwrap().request;
        // How the answer is to tell about thoughts is the gateway's own wish.
        prop_assert_eq!(all(&first), all(&again));
        prop_assert_eq!(String::from_utf8(encode(&again)).unwrap(), written);
    }

    #[test]
    fn nonsense_never_panics(body in any_body(), at in any::<prop::sample::Index>(), with in prop::sample::select(vec!["", "null", "{}", "[", "\"", "1", "\\", "}"])) {
        let text = body.to_string();
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (left, right) = text.split_at(at);
        let mut rest = right.chars();
        rest.next();
        let broken = format!("{left}{with}{}", rest.as_str());
        let _ = decode("m", &broken);
        let _ = decode_count("m", &broken);
        let _ = decode_count("m", &format!(r#"{{"input":{{"converse":{broken}}}}}"#));
    }
}
