//! The first target fails in every way that the network and a provider know; the client sees one clean answer from the second, and each is asked once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::far::{ANTHROPIC_STREAM, OPENAI_STREAM};
use common::{Answer, Client, Gateway, PATIENCE, Request, Upstream, exception, h2};

/// Two providers of Bedrock, the second one tried when the first has failed. `routing` is what the section says.
fn two(first: &str, second: &str, routing: &str) -> String {
    let keys = "access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    format!(
        r"
providers:
  one: {{ type: bedrock, region: us-east-1, endpoint: 'http://{first}', {keys}, timeouts: {{ first_byte: 500ms, connect: 1s }} }}
  two: {{ type: bedrock, region: us-west-2, endpoint: 'http://{second}', {keys} }}
models:
  claude-3-haiku:
    targets:
      - {{ provider: one, model: 'anthropic.claude-3-haiku-20240307-v1:0' }}
      - {{ provider: two, model: 'us.anthropic.claude-3-haiku-20240307-v1:0', priority: 1 }}
routing: {{ {routing} }}
"
    )
}

const ON_ALL: &str = "fallback: { enabled: true, on: [connect, timeout, 429, 500, 502, 503, 504] }, cooldown: null";

fn chat(bytes: usize, stream: bool) -> String {
    format!(r#"{{"model":"claude-3-haiku","stream":{stream},"messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(bytes))
}

/// How the first target fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    /// Nobody listens.
    Down,
    Throttled,
    /// It says nothing.
    Hung,
    /// It closes the connection instead of an answer.
    Closed,
    /// Half an answer, then the end.
    CutMidBody,
    /// A stream ends in an exception before its first content.
    ExceptionFirst,
    /// A stream breaks off before its first content.
    CutBeforeContent,
}

/// How a client sends its body.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    Chunked,
    H2c,
}

/// Sends a chat, without waiting for the answer.
fn send(gateway: &Gateway, framing: Framing, body: &str) -> std::thread::JoinHandle<Answer> {
    match framing {
        Framing::H2c => h2::send(gateway, "POST", "/v1/chat/completions", &[], body.as_bytes(), 16_000),
        Framing::Length | Framing::Chunked => {
            let mut client = gateway.connect();
            let body = body.to_owned();
            std::thread::spawn(move || {
                if matches!(framing, Framing::Chunked) {
                    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
                    body.as_bytes().chunks(30_011).for_each(|piece| client.chunk(piece));
                    client.send(b"0\r\n\r\n");
                } else {
                    client.post(body.as_bytes());
                }
                client.answer()
            })
        }
    }
}

/// Plays the first target; what it saw, and the connection for as long as it is needed.
fn fail(upstream: &Upstream, failure: Failure, stream: bool) -> Option<(Request, Option<Client>)> {
    if failure == Failure::Down {
        return None;
    }
    let (mut far, request) = upstream.exchange();
    match failure {
        Failure::Down => unreachable!(),
        Failure::Throttled => far.reply("429 Too Many Requests", "x-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#),
        Failure::Hung => {}
        Failure::Closed => {
            far.close();
            return Some((request, None));
        }
        Failure::CutMidBody if stream => {
            far.begin_answer();
            far.send(b"40\r\nhalf a frame");
            far.close();
            return Some((request, None));
        }
        Failure::CutMidBody => {
            far.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"output\":{\"message\":{\"role\":\"assi");
            far.close();
            return Some((request, None));
        }
        Failure::ExceptionFirst => {
            far.begin_answer();
            far.chunk(&exception("throttlingException", "slow down"));
        }
        Failure::CutBeforeContent => {
            far.begin_answer();
            far.send(b"0\r\n\r\n");
        }
    }
    Some((request, Some(far)))
}

fn assert_answered(answer: &Answer, stream: bool, case: &str) {
    assert_eq!(answer.status, 200, "{case}: {}", answer.text());
    assert!(answer.whole, "{case}");
    assert_eq!(answer.header("x-adit-provider"), Some("two"), "{case}");
    assert_eq!(answer.header("x-adit-attempts"), Some("2"), "{case}");
    let text = answer.text();
    if stream {
        assert!(text.ends_with("data: [DONE]\n\n"), "{case}: {text}");
        assert_eq!(text.matches("second").count(), 1, "{case}");
        assert_eq!(text.matches(r#""role":"assistant""#).count(), 1, "{case}: {text}");
        assert!(!text.contains("error"), "{case}");
    } else {
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "second", "{case}");
    }
}

/// One request, the failure, and the second target's answer.
fn play(failure: Failure, framing: Framing, size: usize, stream: bool) {
    let case = format!("{failure:?}, {framing:?}, {size} bytes, stream: {stream}");
    let (first, second) = (Upstream::new(), Upstream::new());
    let down = "127.0.0.1:1".to_owned();
    let first_address = if failure == Failure::Down { down } else { first.address.to_string() };
    let gateway = Gateway::with_models(&two(&first_address, &second.address.to_string(), ON_ALL), "", &[]);
    let sent = send(&gateway, framing, &chat(size, stream));
    let seen = fail(&first, failure, stream);
    let (mut far, request) = second.exchange();
    assert!(request.whole, "{case}");
    let json = request.json();
    assert_eq!(json["messages"][0]["content"][0]["text"].as_str().unwrap().len(), size, "{case}");
    assert!(request.line.contains("/model/us.anthropic.claude-3-haiku-20240307-v1%3A0/converse"), "{case}: translated for the second: {}", request.line);
    assert!(request.header("authorization").unwrap().contains("/us-west-2/bedrock/"), "{case}: signed for the second");
    if let Some((before, _)) = &seen {
        assert_ne!(before.header("authorization"), request.header("authorization"), "{case}");
        assert_eq!(before.json(), json, "{case}");
    }
    if stream {
        far.begin_answer();
        far.delta("second");
        far.end_stream();
    } else {
        far.reply_text("second");
    }
    assert_answered(&sent.join().unwrap(), stream, &case);
    assert!(first.is_unused() && second.is_unused(), "{case}: each is asked once");
}

#[test]
fn one_clean_answer_from_the_second_target_whatever_the_first_does() {
    use Failure as F;
    let mut played = 0;
    for framing in [Framing::Length, Framing::Chunked, Framing::H2c] {
        for size in [1_000, 200_000, 1_000_000] {
            for failure in [F::Down, F::Throttled, F::Hung, F::Closed, F::CutMidBody] {
                play(failure, framing, size, false);
                play(failure, framing, size, true);
                played += 2;
            }
            for failure in [F::ExceptionFirst, F::CutBeforeContent] {
                play(failure, framing, size, true);
                played += 1;
            }
        }
    }
    println!("{played} failures, {played} clean answers");
}

#[test]
fn trap_58_a_target_that_has_the_request_and_is_slow_is_not_given_up_unless_told_so() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let gateway = Gateway::with_models(&two(&first.address.to_string(), &second.address.to_string(), "cooldown: null"), "", &[]);
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let (_far, _) = first.exchange();
    let answer = sent.join().unwrap();
    assert_eq!(answer.status, 504);
    assert_eq!(answer.header("x-adit-attempts"), Some("1"));
    assert!(second.is_unused());
}

#[test]
fn never_after_content_has_reached_the_client() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let gateway = Gateway::with_models(&two(&first.address.to_string(), &second.address.to_string(), ON_ALL), "", &[]);
    let sent = send(&gateway, Framing::Length, &chat(10, true));
    let (mut far, _) = first.exchange();
    far.begin_answer();
    far.delta("first");
    far.chunk(&exception("throttlingException", "slow down"));
    let answer = sent.join().unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("first") && answer.text().contains("error") && !answer.text().contains("[DONE]"), "{}", answer.text());
    assert!(second.is_unused());
}

#[test]
fn what_the_client_did_wrong_is_not_tried_elsewhere() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let gateway = Gateway::with_models(&two(&first.address.to_string(), &second.address.to_string(), ON_ALL), "", &[]);
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let (mut far, _) = first.exchange();
    far.reply("400 Bad Request", "x-amzn-errortype: ValidationException\r\n", r#"{"message":"no"}"#);
    assert_eq!(sent.join().unwrap().status, 400);
    assert!(second.is_unused());
}

#[test]
fn when_all_have_failed_the_last_ones_error_is_the_clients() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let gateway = Gateway::with_models(&two(&first.address.to_string(), &second.address.to_string(), ON_ALL), "", &[]);
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let (mut far, _) = first.exchange();
    far.reply("503 Service Unavailable", "", r#"{"message":"first"}"#);
    let (mut far, _) = second.exchange();
    far.reply("429 Too Many Requests", "retry-after: 7\r\nx-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#);
    let answer = sent.join().unwrap();
    assert_eq!((answer.status, answer.header("retry-after"), answer.header("x-adit-attempts")), (429, Some("7"), Some("2")));
    gateway.wait_metrics(&[r#"adit_failed_tries_total{gen_ai_request_model="claude-3-haiku",provider="one",reason="503"} 1"#.to_owned()]);
}

#[test]
fn a_model_may_have_rules_of_its_own_and_fallback_may_be_off() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let models = two(&first.address.to_string(), &second.address.to_string(), "cooldown: null")
        .replace("    targets:", "    fallback: { enabled: false }\n    targets:");
    let gateway = Gateway::with_models(&models, "", &[]);
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let (mut far, _) = first.exchange();
    far.reply("503 Service Unavailable", "", r#"{"message":"first"}"#);
    assert_eq!(sent.join().unwrap().status, 503);
    assert!(second.is_unused());
    drop((far, gateway));
    // The same target may be tried again all the same.
    let gateway = Gateway::with_models(&models.replace("cooldown: null", "cooldown: null, retry: { attempts: 1, base: 1ms }"), "", &[]);
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let (mut far, _) = first.exchange();
    far.reply("503 Service Unavailable", "connection: close\r\n", r#"{"message":"first"}"#);
    let (mut far, _) = first.exchange();
    far.reply_text("again");
    let answer = sent.join().unwrap();
    assert_eq!((answer.status, answer.header("x-adit-provider"), answer.header("x-adit-attempts")), (200, Some("one"), Some("2")));
    assert!(second.is_unused());
}

#[test]
fn a_target_in_another_dialect_gets_the_request_in_its_own() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let models = format!(
        r"
providers:
  one: {{ type: openai, base_url: 'http://{}/v1', api_key: not-a-key }}
  two: {{ type: anthropic, base_url: 'http://{}', api_key: not-a-key }}
models:
  claude-3-haiku: {{ one: gpt-4o, two: claude-3-haiku-20240307 }}
routing: {{ default_provider: one }}
",
        first.address, second.address
    );
    let gateway = Gateway::with_models(&models, "", &[]);
    // A relay whose stream fails in its opening; its role chunk is not shown.
    let sent = send(&gateway, Framing::Length, &chat(10, true));
    let (mut far, request) = first.exchange();
    assert_eq!(request.json()["model"], "gpt-4o");
    far.begin_sse();
    far.data(r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#);
    far.data(r#"{"error":{"type":"server_error","message":"down","code":null,"param":null}}"#);
    let (mut far, request) = second.exchange();
    assert_eq!(request.line, "POST /v1/messages HTTP/1.1");
    assert_eq!(request.json()["model"], "claude-3-haiku-20240307");
    far.begin_sse();
    ANTHROPIC_STREAM.iter().for_each(|event| far.named(event));
    far.end_chunks();
    let answer = sent.join().unwrap();
    assert_eq!((answer.status, answer.header("x-adit-provider")), (200, Some("two")));
    assert!(answer.text().contains("first") && answer.text().ends_with("data: [DONE]\n\n") && !answer.text().contains("down"), "{}", answer.text());
    assert_eq!(answer.text().matches(r#""role":"assistant""#).count(), 1);

    // A whole relay that is cut: nothing of it is shown.
    drop(far);
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let (mut far, _) = first.exchange();
    far.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"id\":\"half");
    far.close();
    let (mut far, _) = second.exchange();
    far.reply("200 OK", "", r#"{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"whole"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#);
    assert_eq!(sent.join().unwrap().json()["choices"][0]["message"]["content"], "whole");

    // And a relay that is good passes, its opening included.
    drop(far);
    let sent = send(&gateway, Framing::Length, &chat(10, true));
    let (mut far, _) = first.exchange();
    far.begin_sse();
    OPENAI_STREAM.iter().for_each(|event| far.data(event));
    far.data("[DONE]");
    far.end_chunks();
    let answer = sent.join().unwrap();
    let expected: String = OPENAI_STREAM.iter().map(|event| format!("data: {event}\n\n")).collect();
    assert_eq!(answer.text(), format!("{expected}data: [DONE]\n\n"), "byte for byte");
}

#[test]
fn several_calls_and_one_take_each_others_place() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let map = |one: &str, two: &str| {
        let keys = "access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        format!(
            r"
providers:
  o: {{ type: openai, base_url: 'http://{}/v1', api_key: not-a-key }}
  b: {{ type: bedrock, region: us-east-1, endpoint: 'http://{}', {keys} }}
models:
  claude-3-haiku: {{ {one}, {two} }}
routing: {{ default_provider: o }}
",
            first.address, second.address
        )
    };
    let (openai, bedrock) = ("o: gpt-4o", "b: 'anthropic.claude-3-haiku-20240307-v1:0'");
    let body = r#"{"model":"claude-3-haiku","n":2,"messages":[{"role":"user","content":"Hi"}]}"#;
    let whole = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"},{"index":1,"message":{"role":"assistant","content":"b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    // From one call to several.
    let gateway = Gateway::with_models(&map(openai, bedrock), "", &[]);
    let mut client = gateway.connect();
    client.post(body.as_bytes());
    let (mut far, _) = first.exchange();
    far.reply("503 Service Unavailable", "", "{}");
    let (mut one, _) = second.exchange();
    let (mut two, _) = second.exchange();
    one.reply_text("x");
    two.reply_text("y");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("x-adit-provider"), answer.header("x-adit-attempts")), (200, Some("b"), Some("2")), "{}", answer.text());
    assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 2);
    // The connection is good for another request.
    client.post(body.as_bytes());
    let (mut far, _) = first.exchange();
    far.reply("200 OK", "", whole);
    assert_eq!(client.answer().json()["choices"][1]["message"]["content"], "b");
    drop(gateway);
    // From several calls to one.
    let gateway = Gateway::with_models(&map(bedrock, openai), "", &[]);
    let mut client = gateway.connect();
    client.post(body.as_bytes());
    let (mut one, _) = second.exchange();
    one.reply("503 Service Unavailable", "", r#"{"message":"down"}"#);
    let (mut far, _) = first.exchange();
    far.reply("200 OK", "", whole);
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("x-adit-provider"), answer.header("x-adit-attempts")), (200, Some("o"), Some("2")), "{}", answer.text());
}

#[test]
fn a_sign_of_life_is_no_content_and_the_next_target_goes_on_behind_it() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let models = two(&first.address.to_string(), &second.address.to_string(), ON_ALL);
    let gateway = Gateway::with_models(&models, "stream: { keepalive: 100ms }", &[]);
    let mut client = gateway.connect();
    client.post(chat(10, true).as_bytes());
    let (_silent, _) = first.exchange();
    let (status, _) = client.head().unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
    let (mut far, _) = second.exchange();
    far.begin_answer();
    far.delta("second");
    far.end_stream();
    let (body, whole) = client.rest_of_chunks();
    let text = String::from_utf8(body).unwrap();
    assert!(whole && text.starts_with(':') && text.contains("second") && text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[test]
fn retries_wait_obey_retry_after_and_keep_to_their_budget() {
    let upstream = Upstream::new();
    let routing = "\nrouting: { retry: { attempts: 2, base: 1ms, max: 1s }, cooldown: null }\n";
    let gateway = Gateway::with_models(&(common::models(upstream.address) + routing), "", &[]);
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let begun = Instant::now();
    let (mut far, _) = upstream.exchange();
    far.reply("503 Service Unavailable", "retry-after: 0.3\r\nconnection: close\r\n", r#"{"message":"down"}"#);
    let (mut far, _) = upstream.exchange();
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    far.reply_closing("better");
    let answer = sent.join().unwrap();
    assert_eq!((answer.status, answer.header("x-adit-attempts")), (200, Some("2")));
    // Who asks for more time than there is gets none of it: the client is told at once.
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let (mut far, _) = upstream.exchange();
    far.reply("429 Too Many Requests", "retry-after: 30\r\nconnection: close\r\n", r#"{"message":"slow down"}"#);
    let answer = sent.join().unwrap();
    assert_eq!((answer.status, answer.header("retry-after"), answer.header("x-adit-attempts")), (429, Some("30"), Some("1")));
    // A sick upstream sees a fifth more than it is asked, and some a second that are free, not three times as much.
    let (asked, mut seen) = (200, 0);
    let clients: Vec<_> = (0..asked).map(|_| send(&gateway, Framing::Length, &chat(10, false))).collect();
    while clients.iter().any(|client| !client.is_finished()) {
        if let Some(mut far) = upstream.poll() {
            seen += 1;
            if far.request().is_some() {
                far.reply("503 Service Unavailable", "connection: close\r\n", r#"{"message":"down"}"#);
            }
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    clients.into_iter().for_each(|client| assert_eq!(client.join().unwrap().status, 503));
    println!("{asked} requests, {seen} tries");
    assert!(seen > asked && seen <= asked + asked / 5 + 40, "{seen}");
}

#[test]
fn a_client_that_leaves_ends_the_request_or_has_it_read_to_its_end() {
    for (rule, expected) in [("cancel", None), ("drain", Some("2"))] {
        for stream in [false, true] {
            let upstream = Upstream::new();
            let models = common::models(upstream.address) + &format!("\nrouting: {{ on_disconnect: {rule} }}\n");
            let gateway = Gateway::with_models(&models, "", &[]);
            let mut client = gateway.connect();
            client.post(chat(10, stream).as_bytes());
            let (mut far, _) = upstream.exchange();
            if stream {
                far.begin_answer();
                far.delta("first");
                client.read_until(b"first");
            }
            client.close();
            if expected.is_none() {
                far.wait_closed();
                continue;
            }
            if stream {
                (0..100).for_each(|_| far.delta("more of it"));
                far.end_stream();
            } else {
                far.reply_text("all");
            }
            let served = r#"gen_ai_operation_name="chat",gen_ai_provider_name="aws.bedrock",gen_ai_request_model="claude-3-haiku""#;
            gateway.wait_metrics(&[format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="output"}} 2"#)]);
        }
    }
}

#[test]
fn what_passes_as_it_is_fails_over_in_every_framing() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let gateway = Gateway::with_models(&two(&first.address.to_string(), &second.address.to_string(), ON_ALL), "", &[]);
    let converse = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;
    let messages = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
    let send = |path: &str, body: &str| {
        let mut client = gateway.connect();
        client.call("POST", path, "", body.as_bytes());
        std::thread::spawn(move || client.answer())
    };

    // Converse frames: an exception behind the opening, then the second target's frames and nothing of the first's.
    let sent = send("/model/claude-3-haiku/converse-stream", converse);
    let (mut far, _) = first.exchange();
    far.begin_answer();
    far.chunk(&exception("modelStreamErrorException", "down"));
    let (mut far, _) = second.exchange();
    far.begin_answer();
    far.delta("second");
    far.end_stream();
    let answer = sent.join().unwrap();
    let names: Vec<String> = common::far::frames(&answer.body).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]);
    drop(far);

    // The model's own API in its envelope, and for clients of Messages out of it.
    for path in ["/model/claude-3-haiku/invoke-with-response-stream", "/v1/messages"] {
        let body = if path.starts_with("/v1") { messages.replacen('{', r#"{"model":"claude-3-haiku","stream":true,"#, 1) } else { messages.to_owned() };
        let sent = send(path, &body);
        let (mut far, _) = first.exchange();
        far.begin_stream();
        far.enveloped(ANTHROPIC_STREAM[0]);
        far.close();
        let (mut far, request) = second.exchange();
        assert!(request.line.contains("/invoke-with-response-stream "), "{}", request.line);
        far.begin_stream();
        ANTHROPIC_STREAM.iter().for_each(|event| far.enveloped(event));
        far.end_chunks();
        let answer = sent.join().unwrap();
        assert_eq!((answer.status, answer.header("x-adit-attempts")), (200, Some("2")), "{path}: {:?}", String::from_utf8_lossy(&answer.body));
        if path.starts_with("/v1") {
            assert_eq!(answer.text().matches("event: message_start").count(), 1, "{path}");
            assert!(answer.text().trim_end().ends_with(r#"{"type":"message_stop"}"#), "{path}");
        } else {
            assert_eq!(common::far::frames(&answer.body).len(), ANTHROPIC_STREAM.len(), "{path}");
        }
        drop(far);
    }

    // A whole answer of Bedrock's that breaks off.
    let sent = send("/model/claude-3-haiku/converse", converse);
    let (mut far, _) = first.exchange();
    far.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"out\r\n");
    far.close();
    let (mut far, _) = second.exchange();
    far.reply_text("second");
    let answer = sent.join().unwrap();
    assert_eq!(answer.json()["output"]["message"]["content"][0]["text"], "second");
    assert_eq!(answer.header("x-adit-attempts"), Some("2"));
    gateway.wait_metrics(&[r#"adit_failed_tries_total{gen_ai_request_model="claude-3-haiku",provider="one",reason="502"} 4"#.to_owned()]);
}

#[test]
fn embeddings_move_on_from_one_call_to_many() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let keys = "access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let models = format!(
        "providers:\n  o: {{ type: openai, base_url: 'http://{}/v1', api_key: not-a-key }}\n  b: {{ type: bedrock, region: us-east-1, endpoint: 'http://{}', {keys} }}\n\
         models:\n  vectors: {{ o: text-embedding-3-small, b: 'amazon.titan-embed-text-v2:0' }}\nrouting: {{ default_provider: o }}\n",
        first.address, second.address
    );
    let gateway = Gateway::with_models(&models, "", &[]);
    let mut client = gateway.connect();
    client.call("POST", "/v1/embeddings", "", br#"{"model":"vectors","input":["a","b"],"encoding_format":"float"}"#);
    let (mut far, _) = first.exchange();
    far.reply("500 Internal Server Error", "", "{}");
    for _ in 0..2 {
        let (mut far, request) = second.exchange();
        let number = if request.json()["inputText"] == "a" { 1 } else { 2 };
        far.reply_closing_json(&format!(r#"{{"embedding":[{number}.0],"embeddingsByType":{{"float":[{number}.0]}},"inputTextTokenCount":1}}"#));
    }
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let vectors: Vec<f64> = answer.json()["data"].as_array().unwrap().iter().map(|item| item["embedding"][0].as_f64().unwrap()).collect();
    assert_eq!(vectors, [1.0, 2.0]);
}

#[test]
fn a_host_that_does_not_answer_at_one_address_is_asked_at_another() {
    // On most machines this name has an address of each family, and nobody listens at the other one.
    let upstream = Upstream::new();
    let models = common::models(upstream.address).replace("127.0.0.1", "localhost");
    let gateway = Gateway::with_models(&models, "", &[]);
    for _ in 0..10 {
        let sent = send(&gateway, Framing::Length, &chat(10, false));
        let (mut far, _) = upstream.exchange();
        far.reply_closing("ok");
        assert_eq!(sent.join().unwrap().status, 200);
    }
}

#[test]
fn trap_26_what_the_next_target_does_not_take_is_left_out_for_it_alone() {
    let (first, second) = (Upstream::new(), Upstream::new());
    let models = two(&first.address.to_string(), &second.address.to_string(), ON_ALL)
        .replace("us.anthropic.claude-3-haiku-20240307-v1:0", "meta.llama3-8b-instruct-v1:0")
        .replace("model: 'anthropic.claude-3-haiku-20240307-v1:0'", "model: 'anthropic.claude-sonnet-4-5-20250929-v1:0'");
    let gateway = Gateway::with_models(&models, "", &[]);
    let body = r#"{"model":"claude-3-haiku","messages":[{"role":"user","content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}]}]}"#;
    let sent = send(&gateway, Framing::Length, body);
    let (mut far, request) = first.exchange();
    assert!(String::from_utf8_lossy(&request.body).contains("cachePoint"));
    far.reply("503 Service Unavailable", "", r#"{"message":"down"}"#);
    let (mut far, request) = second.exchange();
    assert!(!String::from_utf8_lossy(&request.body).contains("cachePoint"), "{:?}", String::from_utf8_lossy(&request.body));
    far.reply_text("ok");
    let answer = sent.join().unwrap();
    assert_eq!((answer.status, answer.header("x-adit-dropped")), (200, Some("cache_control")), "what the target that answers had no place for");
}

#[test]
fn trap_55_each_try_is_signed_anew() {
    let upstream = Upstream::new();
    let routing = "\nrouting: { retry: { attempts: 1, base: 1ms }, cooldown: null }\n";
    let gateway = Gateway::with_models(&(common::models(upstream.address) + routing), "", &[]);
    let sent = send(&gateway, Framing::Length, &chat(10, false));
    let (mut far, before) = upstream.exchange();
    // A signature has the second it was made in; so long has passed when the next one is made.
    far.reply("503 Service Unavailable", "retry-after: 1.1\r\nconnection: close\r\n", r#"{"message":"down"}"#);
    let (mut far, after) = upstream.exchange();
    far.reply_closing("ok");
    assert_eq!(sent.join().unwrap().status, 200);
    assert_ne!(before.header("x-amz-date"), after.header("x-amz-date"));
    assert_ne!(before.header("authorization"), after.header("authorization"));
    assert_eq!(before.body, after.body);
}

#[test]
fn what_is_drained_is_counted_for_clients_of_every_kind() {
    let drain = "\nrouting: { on_disconnect: drain }\n";
    let served = r#"gen_ai_operation_name="chat",gen_ai_provider_name="aws.bedrock",gen_ai_request_model="claude-3-haiku""#;
    let tokens = |count: u32| format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="output"}} {count}"#);
    // HTTP/2: the stream is reset, the connection ends.
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&(common::models(upstream.address) + drain), "", &[]);
    let body = chat(10, true);
    let leave = h2::leave(&gateway, "/v1/chat/completions", body.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.begin_answer();
    leave();
    (0..50).for_each(|_| far.delta("more of it"));
    far.end_stream();
    gateway.wait_metrics(&[tokens(2)]);
    drop(far);
    // Several calls: each is read to its end. Whether a write or a read finds the client gone is a race: both have to do.
    for stream in [false, true, true, true, true, true] {
        let gateway = Gateway::with_models(&(common::models(upstream.address) + drain), "", &[]);
        let mut client = gateway.connect();
        client.post(chat(10, stream).replace(r#""stream""#, r#""n":2,"stream""#).as_bytes());
        let mut calls: Vec<_> = (0..2).map(|_| upstream.exchange().0).collect();
        client.close();
        for far in &mut calls {
            if stream {
                far.begin_answer();
                (0..50).for_each(|_| far.delta("more of it"));
                far.end_stream();
            } else {
                far.reply_text("all");
            }
        }
        gateway.wait_metrics(&[tokens(4), "adit_requests_in_flight 0".to_owned()]);
    }
}

#[test]
fn several_calls_behind_a_failed_one_move_on_too() {
    let upstreams = [Upstream::new(), Upstream::new(), Upstream::new()];
    let keys = "access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let map = |last: &str| {
        format!(
            "providers:\n  o: {{ type: openai, base_url: 'http://{o}/v1', api_key: not-a-key }}\n  p: {{ type: openai, base_url: 'http://{b}/v1', api_key: not-a-key }}\n\
             \u{20} a: {{ type: bedrock, region: us-east-1, endpoint: 'http://{a}', {keys} }}\n  b: {{ type: bedrock, region: us-west-2, endpoint: 'http://{b}', {keys} }}\n\
             models: {{ claude-3-haiku: {{ o: gpt-4o, a: 'amazon.nova-lite-v1:0', {last} }} }}\nrouting: {{ default_provider: o }}\n",
            o = upstreams[0].address,
            a = upstreams[1].address,
            b = upstreams[2].address
        )
    };
    let body = r#"{"model":"claude-3-haiku","n":2,"messages":[{"role":"user","content":"Hi"}]}"#;
    for (last, status, attempts) in [("b: 'amazon.nova-lite-v1:0'", 200, "3"), ("p: gpt-4o", 429, "2")] {
        let gateway = Gateway::with_models(&map(last), "", &[]);
        let mut client = gateway.connect();
        client.post(body.as_bytes());
        let (mut far, _) = upstreams[0].exchange();
        far.reply("503 Service Unavailable", "connection: close\r\n", "{}");
        let (mut far, _) = upstreams[1].exchange();
        far.reply("429 Too Many Requests", "connection: close\r\nx-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#);
        if status == 200 {
            for _ in 0..2 {
                let (mut far, _) = upstreams[2].exchange();
                far.reply_closing("ok");
            }
        }
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("x-adit-attempts")), (status, Some(attempts)), "{last}: {}", answer.text());
        // The second call of the one that failed may have come too.
        while upstreams[1].poll().is_some() {}
    }
}
