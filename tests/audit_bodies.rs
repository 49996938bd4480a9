//! Bodies in the audit log of the real daemon: what the client sent and got, whole, without its content, or not at all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;

use common::audit::{lines, stop};
use common::far::{ANTHROPIC_STREAM, OPENAI_STREAM};
use common::relays::{self, HAIKU};
use common::{Answer, Client, Gateway, Upstream, frame};
use serde_json::{Value, json};

/// Is in every text that a user or a model writes here, and in nothing else.
const CONTENT: &str = "quite secret";
const CONVERSE: &str = r#"{"output":{"message":{"role":"assistant","content":[{"text":"quite secret answer"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#;

/// A gateway whose audit log holds bodies in this way.
fn gateway(upstream: &Upstream, bodies: &str) -> Gateway {
    relays::start(upstream, &format!("audit: {{ path: audit.jsonl, bodies: {bodies} }}"))
}

/// Sends a request whose id is its name.
fn ask(gateway: &Gateway, name: &str, path: &str, body: &str) -> Client {
    let mut client = gateway.connect();
    client.call("POST", path, &format!("x-request-id: {name}\r\n"), body.as_bytes());
    client
}

/// The lines of a daemon, which ends, by the ids of their requests.
fn by_id(gateway: &mut Gateway) -> HashMap<String, Value> {
    stop(gateway);
    lines(gateway).into_iter().map(|line| (line["request_id"].as_str().unwrap().to_owned(), line)).collect()
}

/// One exchange with a whole JSON answer.
struct Exchange {
    name: &'static str,
    path: String,
    request: &'static str,
    reply: &'static str,
    /// The request without its content.
    redacted: Value,
    /// A pointer into the answer that the client gets, and what is there without its content.
    answer: (&'static str, &'static str),
}

fn exchanges() -> Vec<Exchange> {
    let turn = |length| json!([{"role": "user", "content": format!("<{length} chars>")}]);
    vec![
        Exchange {
            name: "chat",
            path: "/v1/chat/completions".to_owned(),
            request: r#"{"model":"talker","max_tokens":9,"messages":[{"role":"user","content":"quite secret"}]}"#,
            reply: CONVERSE,
            redacted: json!({"model": "talker", "max_tokens": 9, "messages": turn(12)}),
            answer: ("/choices/0/message/content", "<19 chars>"),
        },
        Exchange {
            name: "messages",
            path: "/v1/messages".to_owned(),
            request: r#"{"model":"my-claude","max_tokens":9,"messages":[{"role":"user","content":"quite secret"}]}"#,
            reply: r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"quite secret answer"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#,
            redacted: json!({"model": "my-claude", "max_tokens": 9, "messages": turn(12)}),
            answer: ("/content/0/text", "<19 chars>"),
        },
        Exchange {
            name: "converse",
            path: format!("/model/{HAIKU}/converse"),
            request: r#"{"messages":[{"role":"user","content":[{"text":"quite secret"}]}]}"#,
            reply: CONVERSE,
            redacted: json!({"messages": [{"role": "user", "content": [{"text": "<12 chars>"}]}]}),
            answer: ("/output/message/content/0/text", "<19 chars>"),
        },
        Exchange {
            name: "invoke",
            path: format!("/model/{HAIKU}/invoke"),
            request: r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"quite secret"}]}"#,
            reply: r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"quite secret answer"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#,
            redacted: json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": turn(12)}),
            answer: ("/content/0/text", "<19 chars>"),
        },
        Exchange {
            name: "embeddings",
            path: "/v1/embeddings".to_owned(),
            request: r#"{"model":"titan","input":"quite secret"}"#,
            reply: r#"{"embedding":[0.5,0.25],"inputTextTokenCount":3}"#,
            redacted: json!({"model": "titan", "input": "<12 chars>"}),
            answer: ("/data/0/embedding/0", "<2 numbers>"),
        },
        Exchange {
            name: "native",
            path: "/providers/openai/v1/responses".to_owned(),
            request: r#"{"model":"gpt-4o","input":[{"role":"user","content":"quite secret"}],"quite secret":1}"#,
            reply: r#"{"id":"resp_1","object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"quite secret answer"}]}]}"#,
            redacted: json!({"model": "gpt-4o", "input": turn(12), "<3: 12 chars>": "<number>"}),
            answer: ("/output/0/content/0/text", "<19 chars>"),
        },
    ]
}

/// Plays one exchange to its end.
fn play(gateway: &Gateway, upstream: &Upstream, exchange: &Exchange) -> Answer {
    let mut client = ask(gateway, exchange.name, &exchange.path, exchange.request);
    let (mut far, _) = upstream.exchange();
    far.reply_closing_json(exchange.reply);
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}: {}", exchange.name, answer.text());
    answer
}

#[test]
fn whole_answers_of_every_api_are_told_in_full_redacted_or_not_at_all() {
    for bodies in ["full", "redacted", "none"] {
        let upstream = Upstream::new();
        let mut gateway = gateway(&upstream, bodies);
        let exchanges = exchanges();
        let answers: Vec<_> = exchanges.iter().map(|exchange| play(&gateway, &upstream, exchange)).collect();
        let lines = by_id(&mut gateway);
        for (exchange, answer) in exchanges.iter().zip(&answers) {
            let (name, line) = (exchange.name, &lines[exchange.name]);
            let (request, response) = (&line["request"], &line["response"]);
            if bodies == "none" {
                assert_eq!((request, response), (&Value::Null, &Value::Null), "{name}");
                continue;
            }
            assert_eq!((&request["bytes"], &request["type"]), (&json!(exchange.request.len()), &json!("application/json")), "{name}");
            assert_eq!((&response["bytes"], &response["cut_bytes"]), (&json!(answer.body.len()), &json!(0)), "{name}");
            if bodies == "full" {
                assert_eq!(request["json"], serde_json::from_str::<Value>(exchange.request).unwrap(), "{name}");
                assert_eq!(response["json"], answer.json(), "{name}");
            } else {
                assert_eq!(request["json"], exchange.redacted, "{name}");
                let (pointer, expected) = exchange.answer;
                assert_eq!(response["json"].pointer(pointer), Some(&json!(expected)), "{name}: {response}");
                assert!(!line.to_string().contains(CONTENT), "{line}");
            }
        }
    }
}

/// The answer to a request for a stream whose upstream writes these pieces.
fn stream(gateway: &Gateway, upstream: &Upstream, (name, path, model): (&str, &str, &str), begin: fn(&mut Client), pieces: &[Vec<u8>]) -> Answer {
    let body = if path.starts_with("/model/") {
        r#"{"messages":[{"role":"user","content":[{"text":"quite secret"}]}]}"#.to_owned()
    } else {
        format!(r#"{{"model":"{model}","max_tokens":9,"stream":true,"messages":[{{"role":"user","content":"quite secret"}}]}}"#)
    };
    let mut client = ask(gateway, name, path, &body);
    let (mut far, _) = upstream.exchange();
    begin(&mut far);
    pieces.iter().for_each(|piece| far.chunk(piece));
    far.end_chunks();
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    far.close();
    answer
}

fn converse_pieces() -> Vec<Vec<u8>> {
    vec![
        frame("messageStart", r#"{"role":"assistant"}"#),
        frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"quite secret answer"}}"#),
        frame("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        frame("messageStop", r#"{"stopReason":"end_turn"}"#),
        frame("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#),
    ]
}

#[test]
fn streams_are_told_as_the_client_got_them() {
    let secret = |data: &str| data.replace("first", "quite secret answer");
    let openai: Vec<_> = OPENAI_STREAM.iter().map(|data| format!("data: {}\n\n", secret(data)).into_bytes()).chain([b"data: [DONE]\n\n".to_vec()]).collect();
    let anthropic: Vec<_> = ANTHROPIC_STREAM.iter().map(|data| common::far::anthropic_event(&secret(data)).into_bytes()).collect();
    let wrapped: Vec<_> = ANTHROPIC_STREAM.iter().map(|data| common::far::wrapped(&secret(data))).collect();
    let (converse_path, invoke_path) = (format!("/model/{HAIKU}/converse-stream"), format!("/model/{HAIKU}/invoke-with-response-stream"));
    type Streams<'a> = [((&'a str, &'a str, &'a str), fn(&mut Client), Vec<Vec<u8>>); 6];
    let streams: Streams<'_> = [
        (("translated", "/v1/chat/completions", "talker"), Client::begin_stream, converse_pieces()),
        (("relayed", "/v1/chat/completions", "my-gpt"), Client::begin_sse, openai),
        (("messages", "/v1/messages", "my-claude"), Client::begin_sse, anthropic),
        (("reframed", "/v1/messages", "haiku"), Client::begin_stream, wrapped.clone()),
        (("converse", &converse_path, ""), Client::begin_stream, converse_pieces()),
        (("invoke", &invoke_path, ""), Client::begin_stream, wrapped),
    ];
    for bodies in ["full", "redacted"] {
        let upstream = Upstream::new();
        let mut gateway = gateway(&upstream, bodies);
        let answers: Vec<_> = streams.iter().map(|(what, begin, pieces)| stream(&gateway, &upstream, *what, *begin, pieces)).collect();
        let lines = by_id(&mut gateway);
        for (((name, ..), ..), answer) in streams.iter().zip(answers) {
            let (line, response) = (&lines[*name], &lines[*name]["response"]);
            assert_eq!((&response["bytes"], &response["cut_bytes"], &line["outcome"]), (&json!(answer.body.len()), &json!(0), &json!("complete")), "{name}");
            let told = response["text"].as_str().map_or_else(|| response["events"].to_string(), str::to_owned);
            match (bodies, *name) {
                ("full", "converse" | "invoke") => {
                    let frames = common::far::frames(&answer.body).len();
                    assert_eq!(response["events"].as_array().unwrap().len(), frames, "{name}");
                    assert!(told.contains("quite secret answer") && told.contains("end_turn"), "{name}: {told}");
                }
                ("full", _) => assert_eq!(told, answer.text(), "{name}"),
                _ => {
                    assert!(told.contains("<19 chars>") && (told.contains("end_turn") || told.contains("stop")), "{name}: {told}");
                    assert_eq!(told.contains("data: [DONE]"), matches!(*name, "translated" | "relayed"), "{name}: {told}");
                    assert!(!line.to_string().contains(CONTENT), "{line}");
                }
            }
        }
    }
}

#[test]
fn of_a_client_that_left_it_is_what_was_written_until_then() {
    for (rule, bodies) in [("cancel", "full"), ("cancel", "redacted"), ("drain", "full")] {
        let upstream = Upstream::new();
        let models = common::models(upstream.address) + &format!("\nrouting: {{ on_disconnect: {rule} }}\n");
        let mut gateway = Gateway::with_models(&models, &format!("audit: {{ path: audit.jsonl, bodies: {bodies} }}"), &[]);
        let mut client =
            ask(&gateway, "left", "/v1/chat/completions", r#"{"model":"claude-3-haiku","stream":true,"messages":[{"role":"user","content":"quite secret"}]}"#);
        let (mut far, _) = upstream.exchange();
        far.begin_answer();
        far.delta("quite secret beginning");
        client.read_until(if rule == "drain" || bodies == "full" { b"quite secret beginning" } else { b"beginning" });
        drop(client);
        if rule == "drain" {
            gateway.log.wait("going on without the client", 1);
            far.delta("what nobody got");
            far.end_stream();
        } else {
            far.wait_closed();
        }
        let lines = by_id(&mut gateway);
        let line = &lines["left"];
        assert_eq!(line["outcome"], "client_left", "{line}");
        let text = line["response"]["text"].as_str().unwrap();
        assert!(text.contains(if bodies == "full" { "quite secret beginning" } else { "<22 chars>" }), "{text}");
        assert!(!line.to_string().contains("nobody got") && (bodies == "full" || !line.to_string().contains(CONTENT)), "{line}");
    }
}

#[test]
fn error_answers_are_told_and_so_is_what_led_to_them() {
    for bodies in ["full", "redacted"] {
        let upstream = Upstream::new();
        let mut gateway = gateway(&upstream, bodies);
        let chat = "/v1/chat/completions";
        let good = r#"{"model":"talker","messages":[{"role":"user","content":"quite secret"}]}"#;
        let mut answers = HashMap::new();
        for (name, path, body, status) in [
            ("no-json", chat, "{quite secret", 400),
            ("no-model", chat, r#"{"model":"nobody-has-it","messages":[]}"#, 404),
            ("no-path", "/v1/nowhere", good, 404),
        ] {
            let answer = ask(&gateway, name, path, body).answer();
            assert_eq!(answer.status, status, "{name}");
            answers.insert(name, answer);
        }
        let mut client = ask(&gateway, "failed", chat, good);
        let (mut far, _) = upstream.exchange();
        far.reply("500 Internal Server Error", "connection: close\r\n", r#"{"message":"quite secret trouble"}"#);
        answers.insert("failed", client.answer());
        let mut client = ask(&gateway, "cut", chat, &good.replace("\"messages\"", "\"stream\":true,\"messages\""));
        let (mut far, _) = upstream.exchange();
        far.begin_last_answer();
        far.delta("quite secret beginning");
        client.read_until(b"beginning");
        far.close();
        client.read_until(b"\r\n0\r\n\r\n");
        let mut get = gateway.connect();
        get.call("GET", "/v1/models", "x-request-id: list\r\n", b"");
        answers.insert("list", get.answer());
        drop((client, get));
        let lines = by_id(&mut gateway);
        for (name, answer) in &answers {
            let (line, response) = (&lines[*name], &lines[*name]["response"]);
            assert_eq!((&line["status"], &response["bytes"], &response["cut_bytes"]), (&json!(answer.status), &json!(answer.body.len()), &json!(0)), "{name}");
            if bodies == "full" {
                assert_eq!(response["json"], answer.json(), "{name}");
            } else if *name != "list" {
                let message = format!("<{} chars>", answer.json()["error"]["message"].as_str().unwrap().chars().count());
                assert_eq!(response["json"]["error"]["message"], message, "{name}");
                assert_eq!(response["json"]["error"]["type"], answer.json()["error"]["type"], "{name}");
            }
        }
        assert_eq!(lines["no-path"]["request"], Value::Null, "it was not read");
        assert_eq!(lines["list"]["request"], Value::Null);
        assert_eq!(lines["no-json"]["request"]["text"], if bodies == "full" { "{quite secret" } else { "<13 bytes>" });
        assert_eq!(lines["cut"]["outcome"], "upstream_failed");
        let cut = lines["cut"]["response"]["text"].as_str().unwrap();
        assert!(cut.contains(if bodies == "full" { "quite secret beginning" } else { "<22 chars>" }), "{cut}");
        assert!(cut.contains("\"error\"") && !cut.contains("[DONE]"), "its last event is there too: {cut}");
        if bodies == "redacted" {
            let told: String = lines.values().map(|line| line["request"].to_string() + &line["response"].to_string()).collect();
            assert!(!told.contains(CONTENT), "{told}");
        }
    }
}

#[test]
fn several_calls_are_one_request_and_one_answer() {
    for bodies in ["full", "redacted"] {
        let upstream = Upstream::new();
        let mut gateway = gateway(&upstream, bodies);
        let mut answers = HashMap::new();
        for (name, streams) in [("whole", false), ("stream", true)] {
            let body = format!(r#"{{"model":"talker","n":2,"stream":{streams},"messages":[{{"role":"user","content":"quite secret"}}]}}"#);
            let mut client = ask(&gateway, name, "/v1/chat/completions", &body);
            let mut calls: Vec<_> = (0..2).map(|_| upstream.exchange().0).collect();
            for call in &mut calls {
                if streams {
                    call.begin_last_answer();
                    call.delta("quite secret answer");
                    call.end_stream();
                } else {
                    call.reply_closing_json(CONVERSE);
                }
            }
            answers.insert(name, client.answer());
        }
        let lines = by_id(&mut gateway);
        assert_eq!(lines.len(), 2);
        for (name, answer) in answers {
            let (line, response) = (&lines[name], &lines[name]["response"]);
            assert_eq!((&response["bytes"], &line["request"]["json"]["n"]), (&json!(answer.body.len()), &json!(2)), "{name}");
            match (bodies, name) {
                ("full", "whole") => assert_eq!(response["json"], answer.json()),
                ("full", _) => assert_eq!(response["text"], answer.text()),
                (_, "whole") => assert_eq!(response["json"]["choices"][1]["message"]["content"], "<19 chars>"),
                _ => assert_eq!(response["text"].as_str().unwrap().matches("<19 chars>").count(), 2, "{response}"),
            }
            assert_eq!(line.to_string().contains(CONTENT), bodies == "full", "{line}");
        }
    }
}

#[test]
fn what_is_longer_than_it_may_be_is_cut_and_the_line_stays_whole() {
    let upstream = Upstream::new();
    let mut gateway = relays::start(&upstream, "audit: { path: audit.jsonl, bodies: full, max_body_bytes: 1000 }");
    let long = "é \\\"quoted\\\" \\u0007".repeat(200);
    let body = format!(r#"{{"model":"talker","messages":[{{"role":"user","content":"{long}"}}]}}"#);
    let mut client = ask(&gateway, "long", "/v1/chat/completions", &body);
    let (mut far, _) = upstream.exchange();
    far.reply_closing_json(&CONVERSE.replace("quite secret answer", &long));
    let answer = client.answer();
    let lines = by_id(&mut gateway);
    for (body, told) in [(body.as_bytes(), &lines["long"]["request"]), (&answer.body, &lines["long"]["response"])] {
        let text = told["text"].as_str().unwrap();
        assert!(body.starts_with(text.as_bytes()) && (999..=1000).contains(&text.len()), "{told}");
        assert_eq!((&told["bytes"], &told["cut_bytes"]), (&json!(body.len()), &json!(body.len() - text.len())));
    }
}

#[test]
fn neither_strangers_nor_sessions_are_told() {
    const KEY: &str = "obviously-not-a-key-of-alice-00000000";
    let upstream = Upstream::new();
    let mut gateway = Gateway::with_models(
        &common::models(upstream.address),
        "auth: { enabled: true }\naudit: { path: audit.jsonl, bodies: full }",
        &[("BEDROCK_API_KEY_ALICE", KEY)],
    );
    let stranger = ask(&gateway, "stranger", "/v1/chat/completions", r#"{"model":"claude-3-haiku","messages":"quite secret"}"#).answer();
    assert_eq!(stranger.status, 401);
    let mut client = gateway.connect();
    client.call("POST", "/auth/session", &format!("x-request-id: session\r\nx-api-key: {KEY}\r\n"), br#"{"code":"123456"}"#);
    let session = client.answer().json();
    drop(client);
    let lines = by_id(&mut gateway);
    assert_eq!((&lines["stranger"]["request"], &lines["stranger"]["response"]["json"]), (&Value::Null, &stranger.json()));
    assert_eq!((&lines["session"]["status"], &lines["session"]["request"], &lines["session"]["response"]), (&json!(200), &Value::Null, &Value::Null));
    let told: String = lines.values().map(Value::to_string).collect();
    assert!(!told.contains(session["token"].as_str().unwrap()) && !told.contains("123456") && !told.contains(KEY) && !told.contains(CONTENT), "{told}");
}
