//! The three dialects of clients over providers that speak another one: streams, failures, and errors of every kind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::far::{ANTHROPIC_STREAM, OPENAI_STREAM, events, frames};
use common::relays::start;
use common::{Answer, Client, Gateway, Upstream, exception, frame};

/// What answers a Messages request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Far {
    Converse,
    Invoke,
    OpenAi,
    Anthropic,
}

impl Far {
    /// The model of the map that leads there.
    fn model(self) -> &'static str {
        match self {
            Far::Converse => "talker",
            Far::Invoke => "haiku",
            Far::OpenAi => "my-gpt",
            Far::Anthropic => "my-claude",
        }
    }

    /// The head, and all that comes before content.
    fn begin(self, far: &mut Client) {
        match self {
            Far::Converse => far.begin_answer(),
            Far::Invoke => {
                far.begin_stream();
                far.enveloped(ANTHROPIC_STREAM[0]);
            }
            Far::OpenAi => far.begin_sse(),
            Far::Anthropic => {
                far.begin_sse();
                far.named(ANTHROPIC_STREAM[0]);
            }
        }
    }

    /// The text `first`.
    fn first(self, far: &mut Client) {
        match self {
            Far::Converse => far.delta("first"),
            Far::Invoke => ANTHROPIC_STREAM[1..3].iter().for_each(|event| far.enveloped(event)),
            Far::OpenAi => far.data(OPENAI_STREAM[0]),
            Far::Anthropic => ANTHROPIC_STREAM[1..3].iter().for_each(|event| far.named(event)),
        }
    }

    /// All that is left of a good answer.
    fn end(self, far: &mut Client) {
        match self {
            Far::Converse => return far.end_stream(),
            Far::Invoke => {
                ANTHROPIC_STREAM[3..5].iter().for_each(|event| far.enveloped(event));
                far.enveloped(
                    r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2,"invocationLatency":1,"firstByteLatency":1}}"#,
                );
            }
            Far::OpenAi => {
                OPENAI_STREAM[1..].iter().for_each(|data| far.data(data));
                far.data("[DONE]");
            }
            Far::Anthropic => ANTHROPIC_STREAM[3..].iter().for_each(|event| far.named(event)),
        }
        far.end_chunks();
    }

    /// The provider says inside the stream that it is overloaded or the client too quick.
    fn fail(self, far: &mut Client) {
        match self {
            Far::Converse | Far::Invoke => far.chunk(&exception("throttlingException", "slow down")),
            Far::OpenAi => far.data(r#"{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}"#),
            Far::Anthropic => far.named(r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#),
        }
    }

    /// Half of something.
    fn half(self, far: &mut Client) {
        match self {
            Far::Converse | Far::Invoke => far.chunk(&frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"lost"}}"#)[..40]),
            Far::OpenAi => far.chunk(br#"data: {"choices":[{"index":0,"delta":{"content":"lost"}}]}"#),
            Far::Anthropic => far.chunk(b"event: content_block_delta\ndata: {\"type\":\"content_bl"),
        }
    }
}

/// Those whose answers become Messages.
const UNDER_MESSAGES: [Far; 3] = [Far::Converse, Far::Invoke, Far::OpenAi];
/// Those whose answers become Converse.
const UNDER_CONVERSE: [Far; 2] = [Far::OpenAi, Far::Anthropic];

fn messages(far: Far) -> String {
    format!(r#"{{"model":"{}","max_tokens":9,"stream":true,"messages":[{{"role":"user","content":"Hi"}}]}}"#, far.model())
}

const CONVERSE: &str = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"inferenceConfig":{"maxTokens":9}}"#;
const INVOKE: &str = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;

fn ask_messages(gateway: &Gateway, upstream: &Upstream, kind: Far) -> (Client, Client) {
    let mut client = gateway.connect();
    client.call("POST", "/v1/messages", "", messages(kind).as_bytes());
    (client, upstream.exchange().0)
}

/// `operation` is one of Bedrock's runtime.
fn ask_bedrock(gateway: &Gateway, upstream: &Upstream, kind: Far, operation: &str) -> (Client, Client) {
    let mut client = gateway.connect();
    let body = if operation.starts_with("converse") { CONVERSE } else { INVOKE };
    client.call("POST", &format!("/model/{}/{operation}", kind.model()), "", body.as_bytes());
    (client, upstream.exchange().0)
}

fn names(body: &str) -> Vec<String> {
    events(body).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn the_first_event_of_messages_reaches_the_client_before_the_second_frame_is_sent() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for kind in UNDER_MESSAGES {
        let (mut client, mut far) = ask_messages(&gateway, &upstream, kind);
        kind.begin(&mut far);
        kind.first(&mut far);
        let (status, headers) = client.head().unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        for (name, value) in [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"), ("x-adit-model", kind.model())] {
            assert!(headers.contains(&(name.to_owned(), value.to_owned())), "{kind:?}: {headers:?}");
        }
        assert!(headers.iter().any(|(name, _)| name == "request-id"));
        let mut body = String::new();
        while !body.contains("first") {
            body.push_str(std::str::from_utf8(&client.read_chunks(1)).unwrap());
        }
        assert!(body.starts_with("event: message_start\ndata: {\"type\":\"message_start\","), "{kind:?}: {body}");
        kind.end(&mut far);
        let (rest, whole) = client.rest_of_chunks();
        body.push_str(std::str::from_utf8(&rest).unwrap());
        assert!(whole);
        let expected = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"];
        assert_eq!(names(&body), expected, "{kind:?}: {body}");
        assert!(!body.contains("invocationMetrics") && !body.contains("[DONE]"), "{kind:?}: {body}");
        assert!(body.contains(r#""stop_reason":"end_turn""#) && body.contains(r#""output_tokens":2"#), "{kind:?}: {body}");
        let provider = if kind == Far::OpenAi { "openai" } else { "aws.bedrock" };
        let served = format!(r#"gen_ai_operation_name="chat",gen_ai_provider_name="{provider}",gen_ai_request_model="{}""#, kind.model());
        gateway.wait_metrics(&[
            format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="input"}} 3"#),
            format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="output"}} 2"#),
        ]);
    }
}

#[test]
fn pings_keep_silent_messages_alive_and_a_later_failure_is_an_event() {
    const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let upstream = Upstream::new();
    let gateway = start(&upstream, "stream: { keepalive: 50ms }");
    for kind in UNDER_MESSAGES {
        let (mut client, mut far) = ask_messages(&gateway, &upstream, kind);
        assert!(client.read_until(PING).starts_with(b"HTTP/1.1 200 OK\r\n"));
        client.read_until(PING);
        kind.begin(&mut far);
        client.read_until(PING);
        kind.first(&mut far);
        client.read_until(b"first");
        client.read_until(PING);
        kind.end(&mut far);
        let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
        assert!(rest.contains("event: message_stop\n"), "{kind:?}: {rest}");
        far.close();
        // The status is spent: what would have been one is an event.
        let (mut client, mut far) = ask_messages(&gateway, &upstream, kind);
        client.read_until(PING);
        far.reply("429 Too Many Requests", "x-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#);
        let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
        assert!(rest.contains("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\""), "{kind:?}: {rest}");
        assert!(!rest.contains("message_stop"));
    }
}

#[test]
fn trap_01_a_failure_before_content_has_its_status_in_anthropics_shape() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for kind in UNDER_MESSAGES {
        for with_head in [false, true] {
            let (mut client, mut far) = ask_messages(&gateway, &upstream, kind);
            if with_head {
                kind.begin(&mut far);
                kind.fail(&mut far);
            } else {
                far.reply("429 Too Many Requests", "retry-after: 7\r\nx-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#);
            }
            let answer = client.answer();
            assert_eq!((answer.status, answer.header("content-type")), (429, Some("application/json")), "{kind:?}");
            assert_eq!(answer.header("retry-after"), Some("7").filter(|_| !with_head));
            let json = answer.json();
            assert_eq!((&json["type"], &json["error"]["type"], &json["error"]["message"]), (&"error".into(), &"rate_limit_error".into(), &"slow down".into()));
            assert_eq!(json["request_id"].as_str(), answer.header("request-id"), "{kind:?}");
        }
    }
    for kind in [Far::Converse, Far::Invoke] {
        for (name, status, class) in [
            ("validationException", 400, "invalid_request_error"),
            ("serviceUnavailableException", 503, "overloaded_error"),
            ("modelStreamErrorException", 502, "api_error"),
            ("internalServerException", 500, "api_error"),
            ("modelTimeoutException", 504, "timeout_error"),
            ("neverHeardOfException", 502, "api_error"),
        ] {
            let (mut client, mut far) = ask_messages(&gateway, &upstream, kind);
            far.begin_stream();
            far.chunk(&exception(name, "no"));
            let answer = client.answer();
            assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (status, Some(class)), "{kind:?}: {name}");
        }
    }
}

#[test]
fn trap_01_a_failure_after_content_is_an_error_event_and_no_message_stop() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "timeouts: { connect: 1s, first_byte: 60s, idle: 200ms }");
    for kind in UNDER_MESSAGES {
        for how in ["exception", "cut", "reset", "half", "ended", "silent", "garbage"] {
            let (mut client, mut far) = ask_messages(&gateway, &upstream, kind);
            kind.begin(&mut far);
            kind.first(&mut far);
            client.read_until(b"first");
            match how {
                "exception" => kind.fail(&mut far),
                "cut" => far.close(),
                "reset" => far.reset(),
                "half" => {
                    kind.half(&mut far);
                    far.end_chunks();
                }
                "ended" => far.end_chunks(),
                // A frame whose lengths or checksums are wrong; an event that is no JSON.
                "garbage" => far.chunk(b"data: garbage, garbage\n\n"),
                _ => {}
            }
            let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
            assert!(rest.contains("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\""), "{kind:?}, {how}: {rest}");
            assert_eq!(rest.contains("rate_limit_error"), how == "exception", "{kind:?}, {how}: {rest}");
            assert!(!rest.contains("message_stop") && !rest.contains("lost"), "{kind:?}, {how}: {rest}");
            client.call("GET", "/health", "", b"");
            assert_eq!(client.answer().status, 200, "{kind:?}, {how}: the connection goes on");
        }
    }
}

#[test]
fn converse_clients_of_other_providers_get_true_frames_one_by_one() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for kind in UNDER_CONVERSE {
        let (mut client, mut far) = ask_bedrock(&gateway, &upstream, kind, "converse-stream");
        kind.begin(&mut far);
        kind.first(&mut far);
        let (status, headers) = client.head().unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains(&("content-type".to_owned(), "application/vnd.amazon.eventstream".to_owned())), "{headers:?}");
        assert!(headers.iter().any(|(name, _)| name == "x-amzn-requestid"));
        let mut body = Vec::new();
        while !String::from_utf8_lossy(&body).contains("first") {
            body.extend(client.read_chunks(1));
        }
        kind.end(&mut far);
        let (rest, whole) = client.rest_of_chunks();
        assert!(whole);
        body.extend(rest);
        let frames = frames(&body);
        let names: Vec<_> = frames.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"], "{kind:?}");
        assert_eq!(frames[1].1, serde_json::json!({"contentBlockIndex": 0, "delta": {"text": "first"}}));
        assert_eq!(frames[3].1["stopReason"], "end_turn");
        assert_eq!(frames[4].1["usage"]["inputTokens"], 3);
        assert_eq!(frames[4].1["usage"]["outputTokens"], 2);
        assert!(frames[4].1["metrics"]["latencyMs"].is_u64());
    }
    // InvokeModel's stream: Anthropic's events in their envelope.
    let (mut client, mut far) = ask_bedrock(&gateway, &upstream, Far::OpenAi, "invoke-with-response-stream");
    Far::OpenAi.begin(&mut far);
    Far::OpenAi.first(&mut far);
    Far::OpenAi.end(&mut far);
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/vnd.amazon.eventstream")));
    let chunks = frames(&answer.body);
    assert!(chunks.len() == 6 && chunks.iter().all(|(name, payload)| name == "chunk" && payload["bytes"].is_string()), "{chunks:?}");
}

#[test]
fn converse_clients_learn_failures_as_bedrock_tells_them() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "timeouts: { connect: 1s, first_byte: 60s, idle: 200ms }");
    let bedrock_error = |answer: &Answer, status: u16, name: &str| {
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, Some(name)), "{}", answer.text());
        assert_eq!(answer.header("x-amzn-requestid"), answer.header("x-request-id"));
        assert!(answer.whole && answer.json()["message"].is_string() && answer.header("content-type") == Some("application/json"));
    };
    for kind in UNDER_CONVERSE {
        for operation in ["converse", "converse-stream", "invoke", "invoke-with-response-stream"] {
            if kind == Far::Anthropic && operation.starts_with("invoke") {
                continue;
            }
            let (mut client, mut far) = ask_bedrock(&gateway, &upstream, kind, operation);
            far.reply("429 Too Many Requests", "retry-after: 7\r\n", r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#);
            let answer = client.answer();
            bedrock_error(&answer, 429, "ThrottlingException");
            assert_eq!((answer.header("retry-after"), answer.json()["message"].as_str()), (Some("7"), Some("slow down")));
            drop(far);
            let (mut client, far) = ask_bedrock(&gateway, &upstream, kind, operation);
            far.close();
            bedrock_error(&client.answer(), 502, "InternalServerException");
            if !operation.contains("stream") {
                continue;
            }
            for (how, expected) in [
                ("exception", "throttlingException"),
                ("cut", "modelStreamErrorException"),
                ("half", "modelStreamErrorException"),
                ("ended", "modelStreamErrorException"),
                ("silent", "modelStreamErrorException"),
            ] {
                let (mut client, mut far) = ask_bedrock(&gateway, &upstream, kind, operation);
                kind.begin(&mut far);
                kind.first(&mut far);
                let head = client.head().unwrap();
                assert!(head.0.contains("200"));
                let mut body = client.read_chunks(1);
                match how {
                    "exception" => kind.fail(&mut far),
                    "cut" => far.close(),
                    "half" => {
                        kind.half(&mut far);
                        far.end_chunks();
                    }
                    "ended" => far.end_chunks(),
                    _ => {}
                }
                let (rest, whole) = client.rest_of_chunks();
                body.extend(rest);
                assert!(whole, "{kind:?}, {operation}, {how}");
                let frames = frames(&body);
                let (name, payload) = frames.last().unwrap();
                assert_eq!(name, expected, "{kind:?}, {operation}, {how}");
                assert!(payload["message"].is_string() && frames.iter().all(|(name, _)| name != "messageStop"), "{kind:?}, {how}: {frames:?}");
            }
        }
        let (mut client, mut far) = ask_bedrock(&gateway, &upstream, kind, "converse-stream");
        kind.begin(&mut far);
        kind.fail(&mut far);
        bedrock_error(&client.answer(), 429, "ThrottlingException");
    }
}

/// An error answer, checked for the shape of its dialect: status, and what the dialect calls it.
fn error(answer: &Answer, dialect: &str) -> (u16, String) {
    assert!(answer.whole && answer.header("content-type") == Some("application/json"), "{answer:?}");
    assert!(answer.header("x-request-id").is_some());
    let json = answer.json();
    let name = match dialect {
        "openai" => {
            assert!(json["error"]["message"].is_string() && json["error"].get("param").is_some(), "{json}");
            json["error"]["code"].as_str().or_else(|| json["error"]["type"].as_str()).unwrap().to_owned()
        }
        "anthropic" => {
            assert!(json["type"] == "error" && json["error"]["message"].is_string(), "{json}");
            assert_eq!(json["request_id"].as_str(), answer.header("request-id"));
            json["error"]["type"].as_str().unwrap().to_owned()
        }
        _ => {
            assert!(json["message"].is_string() && answer.header("x-amzn-requestid").is_some(), "{json}");
            answer.header("x-amzn-errortype").unwrap().to_owned()
        }
    };
    (answer.status, name)
}

const PATHS: [(&str, &str); 3] = [("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages"), ("bedrock", "/model/MODEL/converse")];

/// A body without secrets of the path's dialect.
fn body(dialect: &str, model: &str) -> String {
    match dialect {
        "openai" => format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hi"}}]}}"#),
        "anthropic" => format!(r#"{{"model":"{model}","max_tokens":9,"messages":[{{"role":"user","content":"Hi"}}]}}"#),
        _ => CONVERSE.to_owned(),
    }
}

#[test]
fn every_error_of_the_gateways_own_comes_in_the_dialect_of_the_path() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "limits: { max_body_bytes: 1000 }");
    for (dialect, path) in PATHS {
        let post = |model: &str, headers: &str, body: &str| gateway.post(&path.replace("MODEL", model), headers, body);
        let said = |openai: &str, anthropic: &str, bedrock: &str| match dialect {
            "openai" => openai.to_owned(),
            "anthropic" => anthropic.to_owned(),
            _ => bedrock.to_owned(),
        };
        // Paths.
        let unknown = match dialect {
            "openai" => "/v1/chat/nowhere",
            "anthropic" => "/v1/messages/nowhere",
            _ => "/model/haiku/nowhere",
        };
        let answer = gateway.post(unknown, "", "{}");
        assert_eq!(error(&answer, dialect), (404, said("unknown_url", "not_found_error", "UnknownOperationException")));
        // Methods.
        for method in ["GET", "PUT", "DELETE", "HEAD"] {
            let mut client = gateway.connect();
            client.call(method, &path.replace("MODEL", "my-gpt"), "", b"");
            let answer = client.answer_to(method);
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{dialect} {method}");
            if method != "HEAD" {
                assert_eq!(error(&answer, dialect).1, said("method_not_supported", "invalid_request_error", "UnknownOperationException"));
            }
        }
        // Bodies.
        let answer = post("my-gpt", "", &" ".repeat(1001));
        assert_eq!(error(&answer, dialect), (413, said("request_too_large", "request_too_large", "ValidationException")));
        assert!(answer.text().contains("1000"));
        for (broken, at) in [("{\"model\":\"my-gpt\",}", "18"), ("{\"model\":\"my-gpt\" \"x\"}", "18"), ("", "0"), ("{\"model\":\"my-gpt\"", "17")] {
            let answer = post("my-gpt", "", broken);
            assert_eq!(error(&answer, dialect), (400, said("invalid_request_error", "invalid_request_error", "ValidationException")), "{broken}");
            assert!(answer.text().contains(&format!("byte {at}")), "{dialect} {broken}: {}", answer.text());
        }
        let mut client = gateway.connect();
        client.call("POST", &path.replace("MODEL", "my-gpt"), "", b"{\"model\":\"my-gpt\xff\"}");
        let answer = client.answer();
        assert_eq!(error(&answer, dialect).0, 400);
        assert!(answer.text().contains("byte 16"), "{}", answer.text());
        // Models and providers.
        let answer = post("nope", "", &body(dialect, "nope"));
        assert_eq!(error(&answer, dialect), (404, said("model_not_found", "not_found_error", "ResourceNotFoundException")));
        let answer = post("nowhere", "", &body(dialect, "nowhere"));
        assert_eq!(error(&answer, dialect), (503, said("provider_not_configured", "overloaded_error", "ServiceUnavailableException")));
        let answer = post("my-gpt", "x-provider: nobody\r\n", &body(dialect, "my-gpt"));
        assert_eq!(error(&answer, dialect), (400, said("invalid_request_error", "invalid_request_error", "ValidationException")));
        assert!(answer.text().contains("nobody"));
        let answer = post("nope", "x-request-id: mine-1\r\n", &body(dialect, "nope"));
        assert_eq!(answer.header("x-request-id"), Some("mine-1"));
        if let "anthropic" | "bedrock" = dialect {
            let name = if dialect == "bedrock" { "x-amzn-requestid" } else { "request-id" };
            assert_eq!(answer.header(name), Some("mine-1"));
        }
    }
    for (path, status, dialect) in [
        ("/providers/nobody/v1/x", 404, "openai"),
        ("/providers/azure/v1/x", 503, "openai"),
        ("/providers/bedrock/..", 400, "bedrock"),
        ("/providers/anthropic/%2e", 400, "anthropic"),
    ] {
        assert_eq!(error(&gateway.get(path), dialect).0, status, "{path}");
    }
    assert!(upstream.is_unused());
}

#[test]
fn what_a_target_has_no_place_for_is_told_or_refused() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let body = CONVERSE.replacen(
        '{',
        r#"{"guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"1"},"promptVariables":{"a":{"text":"b"}},"performanceConfig":{"latency":"optimized"},"#,
        1,
    );
    for operation in ["converse", "converse-stream"] {
        let mut client = gateway.connect();
        client.call("POST", &format!("/model/my-gpt/{operation}"), "", body.as_bytes());
        let (mut far, request) = upstream.exchange();
        let sent = request.json();
        assert!(["guardrailConfig", "promptVariables", "performanceConfig"].iter().all(|name| sent.get(name).is_none()), "{sent}");
        assert_eq!((sent["model"].as_str(), sent["messages"][0]["content"].as_str()), (Some("gpt-4o"), Some("Hi")));
        if operation == "converse" {
            far.reply("200 OK", "", r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#);
        } else {
            Far::OpenAi.begin(&mut far);
            Far::OpenAi.first(&mut far);
            Far::OpenAi.end(&mut far);
        }
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        let mut dropped: Vec<_> = answer.header("x-adit-dropped").unwrap().split(", ").collect();
        dropped.sort_unstable();
        assert_eq!(dropped, ["guardrailConfig", "performanceConfig", "promptVariables"]);
        if operation == "converse" {
            let json = answer.json();
            assert_eq!(
                (&json["output"]["message"]["content"][0]["text"], &json["stopReason"], &json["usage"]["totalTokens"]),
                (&"ok".into(), &"end_turn".into(), &5.into())
            );
            assert!(json["metrics"]["latencyMs"].is_u64());
        }
        // The operator may want them refused.
        let answer = gateway.post(&format!("/model/strict-gpt/{operation}"), "", &body);
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, Some("ValidationException")));
        assert!(["guardrailConfig", "promptVariables", "performanceConfig"].iter().any(|name| answer.text().contains(name)), "{}", answer.text());
    }
    assert!(upstream.is_unused());
    gateway.wait_metrics(&[r#"adit_dropped_members_total{gen_ai_request_model="my-gpt"} 6"#.to_owned()]);
}

#[test]
fn a_request_may_name_its_provider() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (path, provider, model, line, named) in [
        ("/v1/chat/completions", "openai", "claude-sonnet-4-5", "POST /v1/chat/completions ", "openai"),
        ("/v1/messages", "anthropic", "gpt-4o", "POST /v1/messages ", "anthropic"),
        ("/v1/chat/completions", "aws", "amazon.nova-lite-v1:0", "POST /model/amazon.nova-lite-v1%3A0/converse ", "bedrock"),
        ("/v1/messages", "bedrock", "haiku", "POST /model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke ", "bedrock"),
        // The path is the stronger word.
        ("/providers/anthropic/v1/messages", "openai", "gpt-4o", "POST /v1/messages ", "anthropic"),
    ] {
        let mut client = gateway.connect();
        let dialect = if path.contains("messages") { "anthropic" } else { "openai" };
        client.call("POST", path, &format!("x-provider: {provider}\r\n"), body(dialect, model).as_bytes());
        let (mut far, request) = upstream.exchange();
        assert!(request.line.starts_with(line), "{provider} {model}: {}", request.line);
        assert_eq!(request.header("x-provider"), None);
        far.reply("429 Too Many Requests", "", r#"{"message":"slow down"}"#);
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("x-adit-provider")), (429, Some(named)));
    }
    // A model that the map knows elsewhere only does not go where it is not known.
    let answer = gateway.post("/v1/messages", "x-provider: bedrock\r\n", &body("anthropic", "my-claude"));
    assert_eq!(error(&answer, "anthropic").0, 404);
    assert!(upstream.is_unused());
}

#[test]
fn the_model_list_comes_in_the_dialect_of_whoever_asks() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let ask = |path: &str, headers: &str| {
        let mut client = gateway.connect();
        client.call("GET", path, headers, b"");
        client.answer()
    };
    let openai = ask("/v1/models", "").json();
    let ids = |list: &serde_json::Value| list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!((openai["object"].as_str(), openai["data"][0]["object"].as_str()), (Some("list"), Some("model")));
    let answer = ask("/v1/models", "anthropic-version: 2023-06-01\r\n");
    let anthropic = answer.json();
    assert_eq!((anthropic["data"][0]["type"].as_str(), anthropic["has_more"].as_bool()), (Some("model"), Some(false)));
    assert_eq!(ids(&anthropic), ids(&openai));
    assert!(ids(&openai).contains(&"my-claude".to_owned()) && !ids(&openai).contains(&"nowhere".to_owned()));
    assert_eq!((anthropic["first_id"].as_str(), answer.header("request-id")), (anthropic["data"][0]["id"].as_str(), answer.header("x-request-id")));
    let one = ask("/v1/models/my-claude", "anthropic-version: 2023-06-01\r\n").json();
    assert_eq!((one["type"].as_str(), one["id"].as_str()), (Some("model"), Some("my-claude")));
    let missing = ask("/v1/models/nope", "anthropic-version: 2023-06-01\r\n");
    assert_eq!(error(&missing, "anthropic"), (404, "not_found_error".to_owned()));
}
