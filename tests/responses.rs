//! OpenAI Responses through the whole gateway: over every API of providers, with a scripted upstream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::far::{ANTHROPIC_STREAM, OPENAI_STREAM, events};
use common::relays::start;
use common::{Client, Gateway, Upstream, exception};
use serde_json::{Value, json};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Far {
    Converse,
    OpenAi,
    Anthropic,
}

const ALL: [Far; 3] = [Far::Converse, Far::OpenAi, Far::Anthropic];

impl Far {
    /// The model of the map that leads there.
    fn model(self) -> &'static str {
        match self {
            Far::Converse => "haiku",
            Far::OpenAi => "my-gpt",
            Far::Anthropic => "my-claude",
        }
    }

    /// A whole answer, `Hello`.
    fn reply(self, far: &mut Client) {
        match self {
            Far::Converse => far.reply_closing("Hello"),
            Far::OpenAi => far.reply_closing_json(
                r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
            ),
            Far::Anthropic => far.reply_closing_json(
                r#"{"id":"m","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#,
            ),
        }
    }

    /// The head of a stream, and the text `first`.
    fn first(self, far: &mut Client) {
        match self {
            Far::Converse => {
                far.begin_answer();
                far.delta("first");
            }
            Far::OpenAi => {
                far.begin_sse();
                far.data(OPENAI_STREAM[0]);
            }
            Far::Anthropic => {
                far.begin_sse();
                ANTHROPIC_STREAM[..3].iter().for_each(|event| far.named(event));
            }
        }
    }

    fn end(self, far: &mut Client) {
        match self {
            Far::Converse => return far.end_stream(),
            Far::OpenAi => {
                OPENAI_STREAM[1..].iter().for_each(|data| far.data(data));
                far.data("[DONE]");
            }
            Far::Anthropic => ANTHROPIC_STREAM[3..].iter().for_each(|event| far.named(event)),
        }
        far.end_chunks();
    }
}

fn ask(gateway: &Gateway, upstream: &Upstream, body: &Value) -> (Client, Client) {
    let mut client = gateway.connect();
    client.call("POST", "/v1/responses", "", body.to_string().as_bytes());
    (client, upstream.exchange().0)
}

fn asked(far: Far, stream: bool) -> Value {
    json!({"model": far.model(), "input": "Hi", "instructions": "Be brief.", "stream": stream, "max_output_tokens": 9})
}

/// The events of a stream, each of which names itself and has its number.
fn numbered(body: &str) -> Vec<Value> {
    let read = |(number, (name, data)): (usize, (String, String))| {
        let event: Value = serde_json::from_str(&data).unwrap();
        assert_eq!((event["type"].as_str(), event["sequence_number"].as_u64()), (Some(name.as_str()), Some(number as u64)), "{body}");
        event
    };
    events(body).into_iter().enumerate().map(read).collect()
}

#[test]
fn a_whole_answer_is_a_response_with_an_id_of_its_own() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for far in ALL {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let mut client = gateway.connect();
            client.call("POST", "/v1/responses", "x-request-id: mine\r\n", asked(far, false).to_string().as_bytes());
            let (mut end, request) = upstream.exchange();
            assert!(String::from_utf8_lossy(&request.body).contains("Be brief."), "{far:?}");
            far.reply(&mut end);
            let answer = client.answer();
            let json = answer.json();
            assert_eq!((answer.status, answer.header("x-request-id"), answer.header("x-adit-model")), (200, Some("mine"), Some(far.model())), "{json}");
            assert_eq!((&json["object"], &json["status"], &json["model"]), (&json!("response"), &json!("completed"), &json!(far.model())));
            assert_eq!(json["output"][0]["content"][0]["text"], "Hello");
            assert_eq!((&json["usage"]["input_tokens"], &json["usage"]["output_tokens"]), (&json!(3), &json!(2)), "{far:?}");
            assert_eq!((&json["instructions"], &json["max_output_tokens"]), (&json!("Be brief."), &json!(9)));
            ids.push(json["id"].as_str().unwrap().to_owned());
        }
        assert!(ids[0] != ids[1] && ids.iter().all(|id| id.starts_with("resp_") && id.len() == 37), "{ids:?}");
        let served = format!(r#"gen_ai_operation_name="chat",gen_ai_provider_name="{}",gen_ai_request_model="{}""#, provider(far), far.model());
        gateway.wait_metrics(&[format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="input"}} 6"#)]);
    }
}

fn provider(far: Far) -> &'static str {
    match far {
        Far::Converse => "aws.bedrock",
        Far::OpenAi => "openai",
        Far::Anthropic => "anthropic",
    }
}

#[test]
fn a_streams_events_come_one_by_one_in_order() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for kind in ALL {
        let (mut client, mut far) = ask(&gateway, &upstream, &asked(kind, true));
        kind.first(&mut far);
        let (status, headers) = client.head().unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains(&("content-type".to_owned(), "text/event-stream; charset=utf-8".to_owned())), "{headers:?}");
        let mut body = String::new();
        while !body.contains("first") {
            body.push_str(std::str::from_utf8(&client.read_chunks(1)).unwrap());
        }
        kind.end(&mut far);
        let (rest, whole) = client.rest_of_chunks();
        body.push_str(std::str::from_utf8(&rest).unwrap());
        assert!(whole && !body.contains("[DONE]"), "{kind:?}: {body}");
        let events = numbered(&body);
        let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        let expected = [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ];
        assert_eq!(kinds, expected, "{kind:?}: {body}");
        assert_eq!(events.last().unwrap()["response"]["usage"]["total_tokens"], 5, "{kind:?}");
    }
}

#[test]
fn trap_01_a_failure_has_its_status_before_content_and_is_response_failed_behind_it() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for kind in ALL {
        let (mut client, mut far) = ask(&gateway, &upstream, &asked(kind, true));
        far.reply(
            "429 Too Many Requests",
            "connection: close\r\nretry-after: 7\r\nx-amzn-errortype: ThrottlingException\r\n",
            r#"{"message":"slow down","error":{"message":"slow down"}}"#,
        );
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")), "{kind:?}");
        assert_eq!(answer.json()["error"]["type"], "rate_limit_error", "{kind:?}");

        let (mut client, mut far) = ask(&gateway, &upstream, &asked(kind, true));
        kind.first(&mut far);
        client.read_until(b"first");
        if kind == Far::Converse {
            far.chunk(&exception("throttlingException", "slow down"));
        } else {
            far.close();
        }
        let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
        assert!(rest.contains("event: response.failed\n") && !rest.contains("response.completed"), "{kind:?}: {rest}");
        let code = if kind == Far::Converse { "rate_limit_exceeded" } else { "server_error" };
        assert!(rest.contains(&format!(r#""error":{{"code":"{code}""#)), "{kind:?}: {rest}");
        client.call("GET", "/health", "", b"");
        assert_eq!(client.answer().status, 200, "{kind:?}: the connection goes on");
    }
}

#[test]
fn silence_is_kept_alive_by_comments_and_a_failure_behind_them_is_an_event() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "stream: { keepalive: 50ms }");
    let (mut client, mut far) = ask(&gateway, &upstream, &asked(Far::Converse, true));
    client.read_until(b": keep-alive\n\n");
    far.reply("429 Too Many Requests", "x-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#);
    let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
    assert!(
        rest.contains("event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"rate_limit_exceeded\",\"message\":\"slow down\""),
        "{rest}"
    );
}

#[test]
fn an_answer_that_was_cut_off_is_incomplete() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let (mut client, mut far) = ask(&gateway, &upstream, &asked(Far::Converse, true));
    far.begin_answer();
    far.delta("first");
    far.event("messageStop", r#"{"stopReason":"max_tokens"}"#);
    far.event("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":9,"totalTokens":12},"metrics":{"latencyMs":1}}"#);
    far.end_chunks();
    let answer = client.answer();
    let events = numbered(answer.text());
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["incomplete_details"]["reason"]), (&json!("response.incomplete"), &json!("max_output_tokens")));
}

#[test]
fn what_has_no_place_is_told_or_a_clear_400() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (member, value, param, word) in [
        ("background", json!(true), "background", "background"),
        ("conversation", json!("conv_1"), "conversation", "previous_response_id"),
        ("tools", json!([{"type": "web_search"}]), "tools[0].type", "web_search"),
        ("tools", json!([{"type": "mcp", "server_label": "x"}]), "tools[0].type", "mcp"),
        ("prompt", json!({"id": "pmpt_1"}), "prompt", "instructions"),
    ] {
        for far in ALL {
            let mut body = asked(far, true);
            body[member] = value.clone();
            let answer = gateway.post("/v1/responses", "", &body.to_string());
            let error = &answer.json()["error"];
            assert_eq!((answer.status, &error["type"], &error["param"]), (400, &json!("invalid_request_error"), &json!(param)), "{error}");
            assert!(error["message"].as_str().unwrap().contains(word), "{error}");
        }
    }
    assert!(upstream.is_unused());
    let mut body = asked(Far::Converse, false);
    body["truncation"] = json!("auto");
    let (mut client, mut far) = ask(&gateway, &upstream, &body);
    Far::Converse.reply(&mut far);
    assert_eq!(client.answer().header("x-adit-dropped"), Some("truncation"));
    let answer = gateway.post("/v1/responses", "", r#"{"model":"strict-gpt","input":"x","truncation":"auto"}"#);
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("truncation")));
    let answer = gateway.post("/v1/responses", "", r#"{"model":"nobody","input":"x"}"#);
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("model_not_found")));
}

#[test]
fn tokens_are_counted_by_whoever_runs_the_model() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let body = |model: &str| json!({"model": model, "input": "Hi", "instructions": "Be brief."}).to_string();
    for (model, path, reply) in [
        ("haiku", "/model/anthropic.claude-3-haiku-20240307-v1%3A0/count-tokens", r#"{"inputTokens":7}"#),
        ("nova", "/model/amazon.nova-lite-v1%3A0/count-tokens", r#"{"inputTokens":7}"#),
        ("my-claude", "/v1/messages/count_tokens", r#"{"input_tokens":7}"#),
    ] {
        let mut client = gateway.connect();
        client.call("POST", "/v1/responses/input_tokens", "", body(model).as_bytes());
        let (mut far, request) = upstream.exchange();
        assert_eq!(request.line, format!("POST {path} HTTP/1.1"), "{model}");
        far.reply_closing_json(reply);
        let answer = client.answer();
        assert_eq!((answer.status, answer.json()), (200, json!({"object": "response.input_tokens", "input_tokens": 7})), "{model}");
    }
    let answer = gateway.post("/v1/responses/input_tokens", "", &body("my-gpt"));
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (400, &json!("invalid_request_error")), "nobody counts there");
}

/// A map whose OpenAI-type providers speak Responses themselves.
fn speakers(upstream: &Upstream) -> Gateway {
    let models = format!(
        r"
providers:
  own: {{ type: openai, base_url: 'http://{address}/v1', api_key: sk-of-the-gateway, responses: true }}
  azure: {{ type: azure_openai, endpoint: 'http://{address}', api_key: of-the-gateway, api_version: 2025-04-01-preview, responses: true }}
models:
  gpt: {{ own: gpt-5 }}
  gpt-azure: {{ azure: deployed }}
",
        address = upstream.address
    );
    Gateway::with_models(&models, "", &[])
}

/// What only OpenAI knows, in odd spacing.
const ODD: &str = "{ \"tools\": [{\"type\":\"web_search\"} ],\t\"input\" :\"Hi\", \"model\": \"MODEL\",\"new\":1.50 }";

#[test]
fn who_speaks_responses_gets_them_as_they_are_and_so_does_the_client() {
    let upstream = Upstream::new();
    let gateway = speakers(&upstream);
    let said = r#"{ "id":"resp_theirs","object":"response", "status":"completed","output":[{"type":"web_search_call"}], "usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":2},"output_tokens":4,"total_tokens":11}}"#;
    for (model, target, path) in [("gpt", "gpt-5", "/v1/responses"), ("gpt-azure", "deployed", "/openai/responses?api-version=2025-04-01-preview")] {
        let mut client = gateway.connect();
        client.call("POST", "/v1/responses", "authorization: Bearer mine\r\n", ODD.replace("MODEL", model).as_bytes());
        let (mut far, request) = upstream.exchange();
        assert_eq!(request.line, format!("POST {path} HTTP/1.1"));
        assert_eq!(String::from_utf8(request.body.clone()).unwrap(), ODD.replace("MODEL", target));
        assert!(!request.headers.iter().any(|(_, value)| value.contains("mine")), "{:?}", request.headers);
        far.reply_closing_json(said);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text(), answer.header("x-adit-model")), (200, said, Some(model)));
    }
    let served = r#"gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt""#;
    gateway.wait_metrics(&[format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="input"}} 7"#)]);

    let mut client = gateway.connect();
    client.call("POST", "/v1/responses/input_tokens", "", br#"{"model":"gpt","input":"Hi"}"#);
    let (mut far, request) = upstream.exchange();
    assert_eq!((request.line.as_str(), request.json()["model"].as_str()), ("POST /v1/responses/input_tokens HTTP/1.1", Some("gpt-5")));
    far.reply_closing_json(r#"{"object":"response.input_tokens","input_tokens":3}"#);
    assert_eq!(client.answer().json()["input_tokens"], 3);

    let answer = gateway.post("/v1/responses", "", r#"{"model":"gpt","input":"Hi","background":true}"#);
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("background")));
}

#[test]
fn a_stream_of_who_speaks_responses_passes_and_ends_in_words_where_it_breaks_off() {
    let upstream = Upstream::new();
    let gateway = speakers(&upstream);
    let event = |kind: &str, number: u64, more: &str| format!("event: {kind}\ndata: {{\"type\": \"{kind}\",\"sequence_number\": {number}{more}}}\n\n");
    let created = event("response.created", 0, "");
    let delta = event("response.output_text.delta", 1, r#","delta":"first""#);
    let usage = r#","response":{"id":"resp_theirs","status":"completed","usage":{"input_tokens":7,"output_tokens":4,"total_tokens":11}}"#;
    let done = event("response.completed", 2, usage);
    let ask = || {
        let mut client = gateway.connect();
        client.call("POST", "/v1/responses", "", br#"{"model":"gpt","input":"Hi","stream":true}"#);
        (client, upstream.exchange().0)
    };
    let (mut client, mut far) = ask();
    far.begin_sse();
    for piece in [&created, &delta, &done] {
        far.chunk(piece.as_bytes());
    }
    far.end_chunks();
    assert_eq!(client.answer().text(), [created.as_str(), &delta, &done].concat());
    far.close();
    let served = r#"gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt""#;
    gateway.wait_metrics(&[format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="output"}} 4"#)]);

    let (mut client, mut far) = ask();
    far.begin_sse();
    far.chunk(created.as_bytes());
    far.chunk(delta.as_bytes());
    client.read_until(b"first");
    far.close();
    let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
    assert!(rest.contains("event: error\ndata: {\"type\":\"error\",\"sequence_number\":2,\"code\":\"upstream_error\""), "{rest}");
}

#[test]
fn limits_count_and_the_audit_log_tells_of_responses() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "audit: { path: audit.jsonl }\nlimits: { default: { tokens_per_minute: 1000 } }");
    let (mut client, mut far) = ask(&gateway, &upstream, &asked(Far::Converse, false));
    Far::Converse.reply(&mut far);
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("x-ratelimit-limit-tokens")), (200, Some("1000")));
    let answer = gateway.post("/v1/responses", "", r#"{"model":"haiku","input":"x","max_output_tokens":5000}"#);
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")), "the bound of the answer is held");
    gateway.wait_metrics(&["adit_audit_written_total 2".to_owned()]);
    let log = std::fs::read_to_string(gateway.folder().join("audit.jsonl")).unwrap();
    let mut lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Written behind the answers, and so in whichever order.
    lines.sort_by_key(|line| line["status"].as_u64());
    for (line, status) in lines.iter().zip([200, 429]) {
        assert_eq!((&line["dialect"], &line["route"], &line["status"]), (&json!("responses"), &json!("/v1/responses"), &json!(status)), "{line}");
    }
}
