//! What comes of upstreams that answer badly, or take their time, for clients of each API.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;

use common::{Answer, Client, Gateway, Upstream};

const CHAT: (&str, &str) = ("/v1/chat/completions", r#"{"model":"gpt","messages":[{"role":"user","content":"x"}]}"#);
const CHAT_STREAM: (&str, &str) = ("/v1/chat/completions", r#"{"model":"gpt","messages":[{"role":"user","content":"x"}],"stream":true}"#);
const MESSAGES: (&str, &str) = ("/v1/messages", r#"{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#);
const CONVERSE: (&str, &str) = ("/model/haiku/converse", r#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#);

fn models(upstream: SocketAddr) -> String {
    format!(
        r"
providers:
  bedrock: {{ type: bedrock, region: us-east-1, endpoint: 'http://{upstream}', access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY }}
  openai: {{ type: openai, base_url: 'http://{upstream}/v1', api_key: key }}
  anthropic: {{ type: anthropic, base_url: 'http://{upstream}', api_key: key }}
models:
  gpt: {{ openai: gpt }}
  claude: {{ anthropic: claude }}
  haiku: {{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }}
  opus-4-6: {{ bedrock: 'anthropic.claude-opus-4-6-v1' }}
  opus-4-8: {{ bedrock: 'anthropic.claude-opus-4-8' }}
"
    )
}

fn start(upstream: &Upstream, extra: &str) -> Gateway {
    Gateway::with_models(&models(upstream.address), extra, &[])
}

fn ask(gateway: &Gateway, path: &str, body: &str) -> Client {
    let mut client = gateway.connect();
    client.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    client
}

fn answered(gateway: &Gateway, upstream: &Upstream, (path, body): (&str, &str), answer: &str) -> Answer {
    let mut client = ask(gateway, path, body);
    let (mut far, _) = upstream.exchange();
    far.send(answer.as_bytes());
    client.answer()
}

#[test]
fn trap_44_a_relayed_200_without_output_is_a_502() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 13\r\n\r\n<html></html>";
    for what in [CHAT, CHAT_STREAM, MESSAGES, CONVERSE] {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            html,
        ] {
            let got = answered(&gateway, &upstream, what, answer);
            assert_eq!((got.status, got.header("content-type"), got.whole), (502, Some("application/json"), true), "{what:?} {answer}");
            let error = got.json();
            assert!(error["message"].is_string() || error["error"]["message"].is_string(), "{what:?}: {error}");
        }
    }
    // What a provider shows under a path of its own is its own business.
    let mut client = ask(&gateway, "/providers/openai/v1/page", "{}");
    let (mut far, _) = upstream.exchange();
    far.send(html.as_bytes());
    assert_eq!(client.answer().text(), "<html></html>");
}

#[test]
fn errors_of_openai_type_servers_have_all_four_members() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (body, kept) in [
        (r#"{"error":{"message":"no","type":"t","param":null,"code":null,"innererror":{}}}"#, true),
        (r#"{"error":{"message":"no","type":"t"}}"#, false),
        (r#"{"error":{"message":"no","type":"t","code":"c"}}"#, false),
        (r#"{"type":"error","error":{"message":"no","type":"overloaded_error"}}"#, false),
    ] {
        let got = answered(
            &gateway,
            &upstream,
            CHAT,
            &format!("HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        );
        assert_eq!(got.text() == body, kept, "{body}: {}", got.text());
        let error = got.json();
        for member in ["message", "type", "param", "code"] {
            assert!(error["error"].get(member).is_some(), "{body}: {error}");
        }
        assert_eq!(error["error"]["message"], "no");
    }
}

#[test]
fn only_bedrocks_clients_are_told_bedrocks_name_of_an_error() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let refusal =
        "HTTP/1.1 400 Bad Request\r\nx-amzn-errortype: ValidationException:http://internal.amazon.com/coral/\r\ncontent-length: 16\r\n\r\n{\"message\":\"no\"}";
    let messages = (MESSAGES.0, &*MESSAGES.1.replace("claude", "haiku"));
    let chat = (CHAT.0, &*CHAT.1.replace("gpt", "haiku"));
    for (what, told) in [(CONVERSE, true), (messages, false), (chat, false)] {
        let got = answered(&gateway, &upstream, what, refusal);
        assert_eq!((got.status, got.header("x-amzn-errortype").is_some()), (400, told), "{what:?}");
    }
}

#[test]
fn pings_of_the_upstream_are_no_sign_of_life_for_a_client_who_does_not_get_them() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "stream: { keepalive: 50ms }");
    let mut client = ask(&gateway, CHAT_STREAM.0, &CHAT_STREAM.1.replace("gpt", "claude"));
    let (mut far, _) = upstream.exchange();
    far.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    // More often than the client is told, and for longer than the client stays.
    const PINGS: usize = 10_000;
    let pinging = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < PINGS && far.stream.peer_addr().is_ok() {
            far.chunk(b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
            // A pace, not a wait.
            std::thread::sleep(std::time::Duration::from_millis(1));
            sent += 1;
        }
        sent
    });
    assert!(client.read_until(b": keep-alive\n\n").ends_with(b": keep-alive\n\n"));
    drop(client);
    // The gateway goes with its client: the pings end early, by a write that fails (a panic there) or before it.
    assert!(pinging.join().map_or(true, |sent| sent < PINGS), "the upstream outlived its client");
}

#[test]
fn a_message_starts_before_the_first_ping_once_the_upstream_has_started_it() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "stream: { keepalive: 300ms }");
    let body = MESSAGES.1.replace("claude", "gpt").replace("{\"model\"", "{\"stream\":true,\"model\"");
    let mut client = ask(&gateway, MESSAGES.0, &body);
    let (mut far, _) = upstream.exchange();
    far.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    far.chunk(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n");
    let begun = String::from_utf8(client.read_until(b"event: ping\n")).unwrap();
    assert!(begun.contains("event: message_start\n"), "{begun}");
}

#[test]
fn betas_in_a_body_are_a_list() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for betas in [r#""context-1m-2025-08-07""#, "5", "{}", "true"] {
        let body = MESSAGES.1.replace("\"claude\"", &format!("\"haiku\",\"anthropic_beta\":{betas}"));
        let mut client = ask(&gateway, MESSAGES.0, &body);
        let got = client.answer();
        assert_eq!((got.status, got.json()["error"]["type"].as_str()), (400, Some("invalid_request_error")), "{betas}");
        assert!(got.text().contains("anthropic_beta"));
    }
}

#[test]
fn trap_51_the_newest_version_is_for_models_that_have_it() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (model, version) in [("haiku", "bedrock-2023-05-31"), ("opus-4-6", "bedrock-2023-05-31"), ("opus-4-8", "2026-10-21")] {
        let body = r#"{"anthropic_version":"2026-10-21","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
        let mut client = ask(&gateway, &format!("/model/{model}/invoke"), body);
        let (mut far, request) = upstream.exchange();
        far.reply("200 OK", "", "{}");
        assert_eq!(client.answer().status, 200);
        assert_eq!(String::from_utf8(request.body).unwrap(), body.replace("2026-10-21", version), "{model}");
    }
}

#[test]
fn a_body_full_of_betas_keeps_nobody_busy() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    // Compared with each other one by one they would take minutes.
    let betas: Vec<String> = (0..300_000).map(|number| format!("\"compact-{number}\"")).collect();
    let body = MESSAGES.1.replace("\"claude\"", &format!("\"haiku\",\"anthropic_beta\":[{}]", betas.join(",")));
    let mut client = ask(&gateway, MESSAGES.0, &body);
    let (mut far, request) = upstream.exchange();
    assert_eq!(request.json()["anthropic_beta"].as_array().unwrap().len(), betas.len());
    far.reply("200 OK", "", "{}");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn an_answer_whose_pieces_come_at_once_is_no_empty_one() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    // So few that the gateway takes them, and the end, before it writes the first.
    for pieces in (1..=4).cycle().take(200) {
        let body = "1\r\n1\r\n".repeat(pieces);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{body}0\r\n\r\n");
        let got = answered(&gateway, &upstream, CHAT, &answer);
        assert_eq!((got.status, got.text()), (200, &"1111"[..pieces]));
    }
}
