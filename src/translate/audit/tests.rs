use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::envelope::write_chunk;
use crate::wire::eventstream::write_frame;

const JSON: &str = "application/json";
const ROOM: usize = 64 * 1024;

/// What is told, as every reader of JSON reads it.
fn told_of(bytes: &[u8], total: usize, media_type: &str, telling: Telling, room: usize) -> Value {
    let mut out = Vec::new();
    write(&Body { bytes, total: total as u64, media_type }, telling, room, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains(['\n', '\r']), "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn redacted_json(body: &str) -> Value {
    let told = told_of(body.as_bytes(), body.len(), JSON, Telling::Redacted, ROOM);
    assert_eq!((&told["bytes"], &told["cut_bytes"]), (&json!(body.len()), &json!(0)), "{told}");
    told["json"].clone()
}

fn frame(kind: &str, name: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, &[(kind, name), (":content-type", JSON)], payload.as_bytes());
    out
}

#[test]
fn openai_chat_keeps_its_shape() {
    let request = r#"{"model":"gpt-4o","user":"bob","temperature":0.5,"stream":true,"stop":["END"],
        "messages":[{"role":"system","content":"Be kind."},{"role":"user","name":"Bob","content":[{"type":"text","text":"H\u00e9 \ud83d\ude00"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"pay","arguments":"{\"card\":4111}"}}]},
        {"role":"tool","tool_call_id":"call_1","content":"paid"}],
        "tools":[{"type":"function","function":{"name":"pay","description":"Pays","parameters":{"type":"object","properties":{"card":{"type":"integer","maximum":9}}}}}],
        "tool_choice":"auto","metadata":{"ward":"7"},"logit_bias":{"50256":-100},"secret_sauce":{"role":"user","x":[1,2,3]}}"#;
    let expected = json!({
        "model": "gpt-4o", "user": "<3 chars>", "temperature": 0.5, "stream": true, "stop": ["<3 chars>"],
        "messages": [
            {"role": "system", "content": "<8 chars>"},
            {"role": "user", "name": "<3 chars>", "content": [
                {"type": "text", "text": "<4 chars>"}, {"type": "image_url", "image_url": {"url": "<26 chars>", "detail": "low"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "<3 chars>", "arguments": "<13 chars>"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "<4 chars>"}],
        "tools": [{"type": "function", "function": {"name": "<3 chars>", "description": "<4 chars>", "parameters": {
            "<1: 4 chars>": "<6 chars>", "<2: 10 chars>": {"<1: 4 chars>": {"<1: 4 chars>": "<7 chars>", "<2: 7 chars>": "<number>"}}}}}],
        "tool_choice": "auto", "metadata": {"<1: 4 chars>": "<1 chars>"}, "logit_bias": {"<1: 5 chars>": "<number>"},
        "<11: 12 chars>": {"<1: 4 chars>": "<4 chars>", "<2: 1 chars>": ["<3 numbers>"]}
    });
    assert_eq!(redacted_json(request), expected);
    let answer = r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"gpt-4o","choices":[{"index":0,"finish_reason":"stop",
        "logprobs":{"content":[{"token":"Hi","logprob":-0.1,"bytes":[72,105]}]},"message":{"role":"assistant","content":"Hi"}}],
        "usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    let expected = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop",
            "logprobs": {"<1: 7 chars>": [{"<1: 5 chars>": "<2 chars>", "<2: 7 chars>": "<number>", "<3: 5 chars>": ["<2 numbers>"]}]},
            "message": {"role": "assistant", "content": "<2 chars>"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    });
    assert_eq!(redacted_json(answer), expected);
}

#[test]
fn anthropic_messages_keep_their_shape() {
    let request = r#"{"model":"claude-sonnet-4-5","max_tokens":9,"system":[{"type":"text","text":"Kind.","cache_control":{"type":"ephemeral","ttl":"1h"}}],
        "metadata":{"user_id":"bob"},"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},
        {"role":"assistant","content":[{"type":"thinking","thinking":"Hm","signature":"c2ln"},{"type":"tool_use","id":"toolu_1","name":"pay","input":{"card":4111,"to":"Bob"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","is_error":false,"content":"paid"}]}],
        "tools":[{"name":"pay","input_schema":{"type":"object"}}],"mcp_servers":[{"type":"url","url":"https://x","authorization_token":"t"}]}"#;
    let expected = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 9,
        "system": [{"type": "text", "text": "<5 chars>", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "metadata": {"<1: 7 chars>": "<3 chars>"},
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "<4 chars>"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "<2 chars>", "signature": "<4 chars>"},
                {"type": "tool_use", "id": "toolu_1", "name": "<3 chars>", "input": {"<1: 4 chars>": "<number>", "<2: 2 chars>": "<3 chars>"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": false, "content": "<4 chars>"}]}],
        "tools": [{"name": "<3 chars>", "input_schema": {"<1: 4 chars>": "<6 chars>"}}],
        "mcp_servers": [{"<1: 4 chars>": "<3 chars>", "<2: 3 chars>": "<9 chars>", "<3: 19 chars>": "<1 chars>"}]
    });
    assert_eq!(redacted_json(request), expected);
    let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":3}}}\n\n: a comment\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi Bob\"}}\n\n\
        event: a name of its own\ndata: not JSON\n\nevent: content_block_delta\ndata: {\"ty";
    let told = told_of(stream.as_bytes(), stream.len(), "text/event-stream; charset=utf-8", Telling::Redacted, ROOM);
    let expected = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":3}}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"<6 chars>\"}}\n\n\
        event: <17 bytes>\ndata: \"<8 bytes>\"\n\n";
    assert_eq!(told["text"], expected);
    assert_eq!((&told["type"], &told["cut_bytes"]), (&json!("text/event-stream"), &json!(37)));
}

#[test]
fn converse_keeps_its_shape() {
    let request = r#"{"system":[{"text":"Kind."}],"inferenceConfig":{"maxTokens":9,"temperature":1},"additionalModelRequestFields":{"top_k":5},
        "messages":[{"role":"user","content":[{"text":"Hi"},{"document":{"format":"pdf","name":"will of Bob","source":{"bytes":"AAAA"}}},{"cachePoint":{"type":"default"}}]},
        {"role":"assistant","content":[{"toolUse":{"toolUseId":"t-1","name":"pay","input":{"card":[4,1]}}}]},
        {"role":"user","content":[{"toolResult":{"toolUseId":"t-1","status":"success","content":[{"json":{"ok":true}}]}}]}],
        "toolConfig":{"toolChoice":{"tool":{"name":"pay"}},"tools":[{"toolSpec":{"name":"pay","inputSchema":{"json":{"type":"object"}}}}]}}"#;
    let expected = json!({
        "system": [{"text": "<5 chars>"}], "inferenceConfig": {"maxTokens": 9, "temperature": 1},
        "additionalModelRequestFields": {"<1: 5 chars>": "<number>"},
        "messages": [
            {"role": "user", "content": [{"text": "<2 chars>"}, {"document": {"format": "pdf", "name": "<11 chars>", "source": {"bytes": "<4 chars>"}}},
                {"cachePoint": {"type": "default"}}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t-1", "name": "<3 chars>", "input": {"<1: 4 chars>": ["<2 numbers>"]}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "t-1", "status": "success", "content": [{"json": {"<1: 2 chars>": true}}]}}]}],
        "toolConfig": {"toolChoice": {"tool": {"name": "<3 chars>"}},
            "tools": [{"toolSpec": {"name": "<3 chars>", "inputSchema": {"json": {"<1: 4 chars>": "<6 chars>"}}}}]}
    });
    assert_eq!(redacted_json(request), expected);
    let stream = [
        frame(":event-type", "messageStart", r#"{"role":"assistant"}"#),
        frame(":event-type", "contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi Bob"},"p":"abc"}"#),
        frame(":exception-type", "throttlingException", r#"{"message":"slow, Bob"}"#),
        frame(":event-type", "a name of its own", "text"),
    ]
    .concat();
    let told = told_of(&stream[..stream.len() - 1], stream.len() - 1, "application/vnd.amazon.eventstream", Telling::Redacted, ROOM);
    let mut events = json!([
        {"event": "messageStart", "data": {"role": "assistant"}},
        {"event": "contentBlockDelta", "data": {"contentBlockIndex": 0, "delta": {"text": "<6 chars>"}, "p": "<3 chars>"}},
        {"exception": "throttlingException", "data": {"message": "<9 chars>"}}
    ]);
    assert_eq!(told["events"], events);
    let last = frame(":event-type", "a name of its own", "text").len() - 1;
    assert_eq!(told["cut_bytes"], last, "a frame that has not ended");
    let told = told_of(&stream, stream.len(), "application/vnd.amazon.eventstream", Telling::Redacted, ROOM);
    events.as_array_mut().unwrap().push(json!({"event": "<17 bytes>", "data": "<4 bytes>"}));
    assert_eq!((&told["events"], &told["cut_bytes"]), (&events, &json!(0)));
    let told = told_of(&stream, stream.len(), "application/vnd.amazon.eventstream", Telling::Full, ROOM);
    assert_eq!(told["events"][1]["data"]["delta"]["text"], "Hi Bob");
    assert_eq!(told["events"][3], json!({"event": "a name of its own", "data": "text"}));
}

#[test]
fn invoke_keeps_its_shape_and_its_envelope_is_opened() {
    let told =
        redacted_json(r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"anthropic_beta":["x-1"],"messages":[{"role":"user","content":"Hi"}]}"#);
    let expected = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "anthropic_beta": ["x-1"],
        "messages": [{"role": "user", "content": "<2 chars>"}]});
    assert_eq!(told, expected);
    let told = redacted_json(r#"{"prompt":"Hi","max_gen_len":5,"inputText":"Hi","textGenerationConfig":{"stopSequences":["Bob"],"topP":0.5}}"#);
    assert_eq!(
        told,
        json!({"prompt": "<2 chars>", "max_gen_len": 5, "inputText": "<2 chars>", "textGenerationConfig": {"stopSequences": ["<3 chars>"], "topP": 0.5}})
    );
    let mut stream = Vec::new();
    write_chunk(&mut stream, br#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi Bob"}}"#);
    for (telling, text) in [(Telling::Redacted, "<6 chars>"), (Telling::Full, "Hi Bob")] {
        let told = told_of(&stream, stream.len(), "application/vnd.amazon.eventstream", telling, ROOM);
        let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        assert_eq!(told["events"], json!([{"event": "chunk", "data": delta}]));
    }
}

#[test]
fn embeddings_tell_neither_texts_nor_tokens_nor_vectors() {
    for (body, expected) in [
        (r#"{"model":"e","input":["Hi","Bob"],"dimensions":2}"#, json!({"model": "e", "input": ["<2 chars>", "<3 chars>"], "dimensions": 2})),
        (r#"{"model":"e","input":[[17,4],[9]]}"#, json!({"model": "e", "input": [["<2 numbers>"], ["<number>"]]})),
        (r#"{"input":[17,"a",4,5]}"#, json!({"input": ["<number>", "<1 chars>", "<2 numbers>"]})),
        (r#"{"texts":["Hi"],"input_type":"search_query"}"#, json!({"texts": ["<2 chars>"], "input_type": "search_query"})),
        (
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,0.2]}],"usage":{"prompt_tokens":3}}"#,
            json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": ["<2 numbers>"]}], "usage": {"prompt_tokens": 3}}),
        ),
        (r#"{"data":[{"embedding":"AACAPw=="}]}"#, json!({"data": [{"embedding": "<8 chars>"}]})),
        (
            r#"{"embeddings":{"float":[[0.1]]},"embeddingsByType":{"binary":[1,0]},"inputTextTokenCount":3}"#,
            json!({"embeddings": {"<1: 5 chars>": [["<number>"]]}, "embeddingsByType": {"<1: 6 chars>": ["<2 numbers>"]}, "inputTextTokenCount": 3}),
        ),
    ] {
        assert_eq!(redacted_json(body), expected, "{body}");
    }
}

#[test]
fn what_a_providers_own_api_takes_is_told_as_far_as_it_is_known() {
    let told =
        redacted_json(r#"{"model":"gpt-4o","instructions":"Kind.","input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]}],"store":false}"#);
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "<2 chars>"}]}]);
    assert_eq!(told, json!({"model": "gpt-4o", "instructions": "<5 chars>", "input": input, "store": false}));
    let told = redacted_json(r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}],"generationConfig":{"topK":1}}"#);
    assert_eq!(
        told,
        json!({"<1: 8 chars>": [{"<1: 4 chars>": "<4 chars>", "<2: 5 chars>": [{"<1: 4 chars>": "<2 chars>"}]}], "<2: 16 chars>": {"<1: 4 chars>": "<number>"}})
    );
    // No API has such a body.
    assert_eq!(redacted_json(r#"[{"role":"user"},41,42]"#), json!([{"<1: 4 chars>": "<4 chars>"}, "<2 numbers>"]));
}

#[test]
fn what_is_not_json_is_told_by_its_length() {
    for body in
        ["", "My pin is 1234", "1234", "\"1234\"", "{\"role\":\"user\" and my pin", "[1234", "{} {}", "--x\r\ncontent-disposition: form-data", "\u{feff}{}"]
    {
        let told = told_of(body.as_bytes(), body.len(), "text/plain", Telling::Redacted, ROOM);
        assert_eq!(told, json!({"type": "text/plain", "bytes": body.len(), "cut_bytes": 0, "text": format!("<{} bytes>", body.len())}));
    }
    let told = told_of(&[0xff, b'{'], 2, "", Telling::Redacted, ROOM);
    assert_eq!(told, json!({"type": null, "bytes": 2, "cut_bytes": 0, "text": "<2 bytes>"}));
}

#[test]
fn words_look_like_words() {
    let told = redacted_json(
        r#"{"type":"my pin","role":"a\u0062","id":"x","model":12345678901234567890123456789012345,"stop_reason":["end_turn","Bob said"],"object":{"role":"y"}}"#,
    );
    let expected =
        json!({"type": "<6 chars>", "role": "<2 chars>", "id": "x", "model": "<number>", "stop_reason": ["end_turn", "<8 chars>"], "object": {"role": "y"}});
    assert_eq!(told, expected);
    assert_eq!(redacted_json(&format!(r#"{{"id":"{}"}}"#, "x".repeat(257)))["id"], "<257 chars>");
}

#[test]
fn full_is_the_body_itself() {
    let pretty = "{\r\n  \"n\" : 1.50,\n \"model\":\"a\\nb\", \"n\":2}\n";
    let mut out = Vec::new();
    write(&Body { bytes: pretty.as_bytes(), total: pretty.len() as u64, media_type: "Application/JSON; charset=utf-8" }, Telling::Full, ROOM, &mut out);
    let expected = r#"{"type":"application/json","bytes":41,"cut_bytes":0,"json":{    "n" : 1.50,  "model":"a\nb", "n":2}}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected, "numbers, spaces and order stay");
    let full = |bytes: &[u8], media_type| told_of(bytes, bytes.len(), media_type, Telling::Full, ROOM);
    let stream = "data: {\"a\":1}\n\ndata: [DONE]\n\n";
    assert_eq!(full(stream.as_bytes(), "text/event-stream")["text"], stream);
    assert_eq!(full(b"\x01\xff\x00", "image/png"), json!({"type": "image/png", "bytes": 3, "cut_bytes": 0, "base64": "Af8A"}));
    assert_eq!(full(b"\x00", "a b/c\n")["type"], Value::Null);
    // Valid JSON that some reader of lines would not take is text.
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for strange in [r#"{"a":"\ud800"}"#, r#"{"\ud800":1}"#, "[1e999]", deep.as_str(), "{\"a\":1", "{} {}"] {
        assert_eq!(full(strange.as_bytes(), JSON)["text"], strange);
    }
    assert!(full(format!("{}1{}", "[".repeat(64), "]".repeat(64)).as_bytes(), JSON)["json"].is_array());
}

#[test]
fn what_is_over_the_room_is_cut_and_told() {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}},{{"role":"user","content":"é"}}]}}"#, "é".repeat(1000));
    let told = told_of(body.as_bytes(), body.len(), JSON, Telling::Full, 64);
    let text = told["text"].as_str().unwrap();
    assert!(body.starts_with(text) && (63..=64).contains(&text.len()), "{told}");
    assert_eq!(told["cut_bytes"], body.len() - text.len());
    // Content takes no room once it is redacted.
    let told = told_of(body.as_bytes(), body.len(), JSON, Telling::Redacted, 128);
    let turn = |length| json!({"role": "user", "content": format!("<{length} chars>")});
    assert_eq!((&told["json"]["messages"], &told["cut_bytes"]), (&json!([turn(1000), turn(1)]), &json!(0)));
    // A shape does: it is cut, and stays JSON.
    let many = format!(r#"{{"messages":[{}]}}"#, vec![r#"{"role":"user"}"#; 100].join(","));
    let told = told_of(many.as_bytes(), many.len(), JSON, Telling::Redacted, 200);
    let turns = told["json"]["messages"].as_array().unwrap().len();
    assert!((10..20).contains(&turns) && told["cut_bytes"].as_u64().unwrap() > 1000, "{told}");
    // The rest never came, or was not kept.
    let told = told_of(&body.as_bytes()[..100], body.len(), JSON, Telling::Redacted, ROOM);
    assert_eq!(told["json"], json!({"model": "m", "messages": [{"role": "user", "content": null}]}));
    let deep = format!("{}{}", r#"{"content":"#.repeat(70), "1");
    let told = told_of(deep.as_bytes(), deep.len() + 70, JSON, Telling::Redacted, ROOM);
    assert!(told["json"].is_object());
}

/// A body of any shape, in which every string that is content has a mark, and those marks.
fn shapes() -> impl Strategy<Value = (Value, BTreeSet<String>)> {
    let names = prop_oneof![
        4 => proptest::sample::select(vec!["content", "messages", "text", "arguments", "input", "delta", "role", "type", "id", "model", "metadata", "schema", "embedding", "tools"]).prop_map(str::to_owned),
        1 => "[a-zé]{1,3} secret[0-9]{4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        // No word has a space.
        "[a-z\"\\\\\n\u{e9}\u{1f600}]{0,6} secret[0-9]{4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .prop_map(|value| {
        let mut marks = BTreeSet::new();
        collect(&value, &mut marks);
        (value, marks)
    })
}

fn collect(value: &Value, marks: &mut BTreeSet<String>) {
    let mark = |text: &str| text.split_once("secret").map(|(_, mark)| format!("secret{mark}"));
    match value {
        Value::String(text) => marks.extend(mark(text)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, marks)),
        Value::Object(members) => {
            for (name, value) in members {
                marks.extend(mark(name));
                collect(value, marks);
            }
        }
        _ => {}
    }
}

/// As many objects and arrays, one in the other, but for arrays of nothing but numbers, whose numbers are counted.
fn same_shape(value: &Value, told: &Value) -> bool {
    match (value, told) {
        (Value::Object(members), Value::Object(told)) => members.len() == told.len() && members.values().zip(told.values()).count() == members.len(),
        (Value::Array(items), Value::Array(told)) => told.len() <= items.len(),
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => false,
        _ => true,
    }
}

proptest! {
    #[test]
    fn no_content_is_in_what_is_redacted((value, marks) in shapes(), cut in any::<prop::sample::Index>(), room in 0_usize..400) {
        let text = value.to_string();
        let sse = format!("event: x secret0000\ndata: {text}\n\ndata: {text}\n\n");
        let mut frames = frame(":event-type", "contentBlockDelta", &text);
        write_chunk(&mut frames, text.as_bytes());
        for (body, media_type) in [(text.as_bytes(), JSON), (sse.as_bytes(), "text/event-stream"), (&frames, "application/vnd.amazon.eventstream"), (sse.as_bytes(), JSON)] {
            let at = cut.index(body.len());
            for (bytes, total, room) in [(body, body.len(), ROOM), (&body[..at], body.len(), ROOM), (&body[..at], at, ROOM), (body, body.len(), room)] {
                let told = told_of(bytes, total, media_type, Telling::Redacted, room);
                let line = told.to_string();
                for mark in marks.iter().map(String::as_str).chain(["secret"]) {
                    prop_assert!(!line.contains(mark), "{mark} in {line}");
                }
                prop_assert_eq!(&told["bytes"], total);
                prop_assert!(told["cut_bytes"].as_u64().unwrap() <= total as u64);
            }
        }
        if value.is_object() || value.is_array() {
            let told = told_of(text.as_bytes(), text.len(), JSON, Telling::Redacted, ROOM);
            prop_assert!(same_shape(&value, &told["json"]), "{told}");
        }
    }

    #[test]
    fn any_bytes_are_one_line_of_json(bytes in prop::collection::vec(any::<u8>(), 0..200), more in 0_usize..3, room in 0_usize..300, kind in 0_usize..3) {
        let media_type = [JSON, "text/event-stream", "application/vnd.amazon.eventstream"][kind];
        for telling in [Telling::Full, Telling::Redacted] {
            told_of(&bytes, bytes.len() + more, media_type, telling, room);
        }
    }

    #[test]
    fn json_is_embedded_as_it_is((value, _) in shapes()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let told = told_of(text.as_bytes(), text.len(), JSON, Telling::Full, ROOM);
        if value.is_object() || value.is_array() {
            prop_assert_eq!(&told["json"], &value);
        } else {
            prop_assert_eq!(&told["text"], &text);
        }
    }
}
