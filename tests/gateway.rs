//! End to end: the daemon, a raw client, and an upstream played by the test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Gateway, PATIENCE, Upstream, exception};

const CHAT: &str = r#"{"model":"claude-3-haiku","messages":[{"role":"user","content":"Hi"}]}"#;
const STREAM: &str = r#"{"model":"claude-3-haiku","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;

fn chat_of(bytes: usize) -> String {
    let text = "x".repeat(bytes);
    format!(r#"{{"model":"claude-3-haiku","messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

#[test]
fn a_chat_goes_to_converse_and_back() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let (mut far, request) = upstream.exchange();
    assert_eq!(request.line, "POST /model/anthropic.claude-3-haiku-20240307-v1%3A0/converse HTTP/1.1");
    assert_eq!(request.json(), serde_json::json!({"messages":[{"role":"user","content":[{"text":"Hi"}]}]}), "nothing is sent that the client did not set");
    assert!(request.header("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/"));
    assert_eq!(request.header("host"), Some(upstream.address.to_string().as_str()));
    far.reply_text("Hello");
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!(json["choices"][0]["message"]["content"], "Hello");
    assert_eq!(json["usage"]["total_tokens"], 5);
    assert_eq!(json["model"], "claude-3-haiku");
    assert_eq!(answer.header("x-adit-provider"), Some("bedrock"));
    assert_eq!(answer.header("x-adit-model"), Some("claude-3-haiku"));
    assert_eq!(answer.header("x-adit-attempts"), Some("1"));
    assert!(answer.header("content-length").is_some(), "the length of a whole answer is known");
    assert!(answer.header("x-request-id").is_some());
}

#[test]
fn nothing_of_the_clients_headers_reaches_the_upstream() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    client.send(
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: secret.example\r\nauthorization: Bearer client-key\r\nx-api-key: client-key\r\ncookie: client-key\r\n\
             x-amz-security-token: client-key\r\nx-request-id: mine-1\r\naccept-encoding: gzip\r\ncontent-length: {}\r\n\r\n{CHAT}",
            CHAT.len()
        )
        .as_bytes(),
    );
    let (mut far, request) = upstream.exchange();
    for (name, value) in &request.headers {
        assert!(!value.contains("client-key") && !value.contains("secret.example"), "{name}: {value}");
    }
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    far.reply_text("Hello");
    assert_eq!(client.answer().header("x-request-id"), Some("mine-1"));
}

#[test]
fn trap_05_streams_are_asked_for_without_compression() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    client.send(
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\naccept-encoding: gzip, br, zstd\r\ncontent-length: {}\r\n\r\n{STREAM}", STREAM.len())
            .as_bytes(),
    );
    let (_far, request) = upstream.exchange();
    assert_eq!(request.header("accept-encoding"), Some("identity"));
}

#[test]
fn the_first_chunk_reaches_the_client_before_the_second_frame_is_sent() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    client.post(STREAM.as_bytes());
    let (mut far, request) = upstream.exchange();
    assert!(request.line.contains("/converse-stream "), "{}", request.line);
    far.begin_answer();
    far.delta("first");
    let (status, headers) = client.head().unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.iter().any(|(name, value)| name == "content-type" && value.starts_with("text/event-stream")));
    let seen = client.read_until(b"first");
    assert!(seen.ends_with(b"first"), "{}", String::from_utf8_lossy(&seen));
    // Only now does the upstream go on.
    far.delta("second");
    assert!(client.read_until(b"second").ends_with(b"second"));
    far.end_stream();
    assert!(client.read_until(b"data: [DONE]\n\n").ends_with(b"data: [DONE]\n\n"));
}

#[test]
fn bodies_of_every_size_and_framing_arrive_whole() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    for size in [0, 10, 65_000, 65_536, 70_000, 1_000_000, 20_000_000] {
        for chunked in [false, true] {
            let body = chat_of(size);
            let mut client = gateway.connect();
            let sender = {
                let mut stream = common::Client::new(client.stream.try_clone().unwrap());
                let body = body.clone();
                std::thread::spawn(move || {
                    if chunked {
                        stream.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
                        for piece in body.as_bytes().chunks(30_011) {
                            stream.chunk(piece);
                        }
                        stream.send(b"0\r\n\r\n");
                    } else {
                        stream.post(body.as_bytes());
                    }
                })
            };
            let mut far = upstream.accept();
            let request = far.request().unwrap();
            sender.join().unwrap();
            assert!(request.whole);
            if size > 0 {
                let text = &request.json()["messages"][0]["content"][0]["text"];
                assert_eq!(text.as_str().unwrap().len(), size, "chunked: {chunked}");
            }
            far.reply_text("ok");
            assert_eq!(client.answer().status, 200, "{size} bytes, chunked: {chunked}");
            if size == 0 {
                break;
            }
        }
    }
}

#[test]
fn a_body_over_the_limit_gets_413_in_the_clients_dialect() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "limits: { max_body_bytes: 100000 }");
    for chunked in [false, true] {
        let mut client = gateway.connect();
        let mut sender = common::Client::new(client.stream.try_clone().unwrap());
        let body = chat_of(3_000_000);
        let writer = std::thread::spawn(move || {
            use std::io::Write;
            // The gateway may stop listening at any point: that is the point.
            if chunked {
                let _ = sender.stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
                for piece in body.as_bytes().chunks(30_000) {
                    let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                    if sender.stream.write_all(&framed).is_err() {
                        return;
                    }
                }
                let _ = sender.stream.write_all(b"0\r\n\r\n");
            } else {
                let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = sender.stream.write_all(head.as_bytes());
                let _ = sender.stream.write_all(body.as_bytes());
            }
        });
        let answer = client.answer();
        assert_eq!(answer.status, 413, "chunked: {chunked}");
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains("100000"));
        writer.join().unwrap();
    }
}

#[test]
fn expect_continue_is_answered_before_the_body_is_sent() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    client.send(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n", CHAT.len()).as_bytes());
    let (interim, _) = client.head().unwrap();
    assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
    client.send(CHAT.as_bytes());
    let (mut far, request) = upstream.exchange();
    assert_eq!(request.header("expect"), None);
    far.reply_text("ok");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.reply_text("one");
    assert_eq!(client.answer().status, 200);
    // A stream, an upstream error and a chat again, all on the same two connections.
    client.post(STREAM.as_bytes());
    far.request().unwrap();
    far.begin_answer();
    far.delta("two");
    far.end_stream();
    assert!(client.answer().text().ends_with("data: [DONE]\n\n"));
    client.post(CHAT.as_bytes());
    far.request().unwrap();
    far.reply("429 Too Many Requests", "x-amzn-errortype: ThrottlingException\r\nretry-after: 7\r\n", r#"{"message":"slow down"}"#);
    let refused = client.answer();
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("7")));
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    client.post(CHAT.as_bytes());
    far.request().unwrap();
    far.reply_text("three");
    assert_eq!(client.answer().json()["choices"][0]["message"]["content"], "three");
}

#[test]
fn a_failed_exchange_leaves_the_clients_connection_usable() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "timeouts: { connect: 1s, first_byte: 5s, idle: 300ms }");
    let mut client = gateway.connect();
    for how in ["cut before the head", "cut before content", "cut after content", "cut JSON", "refused", "silent", "exception"] {
        client.post(if how == "cut JSON" { CHAT } else { STREAM }.as_bytes());
        let (mut far, _) = upstream.exchange();
        match how {
            "cut before the head" => {}
            "refused" => far.send(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
            "cut JSON" => far.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
            _ => {
                far.begin_answer();
                if how != "cut before content" {
                    far.delta("some");
                    client.read_until(b"some");
                }
            }
        }
        match how {
            "silent" => {}
            "exception" => far.chunk(&exception("throttlingException", "slow down")),
            _ => far.close(),
        }
        if matches!(how, "cut after content" | "silent" | "exception") {
            let rest = String::from_utf8(client.read_until(b"0\r\n\r\n")).unwrap();
            assert!(rest.contains(r#"{"error":"#), "{how}: {rest}");
        } else {
            let answer = client.answer();
            assert!(answer.status >= 500 && answer.whole, "{how}: {answer:?}");
            assert_eq!(answer.header("connection"), Some("keep-alive"), "{how}");
        }
        client.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(client.answer().status, 200, "after {how}");
    }
}

#[test]
fn an_old_client_gets_bodies_that_it_can_read() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    let post = |body: &str| format!("POST /v1/chat/completions HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    client.send(post(CHAT).as_bytes());
    let (mut far, _) = upstream.exchange();
    far.reply_text("one");
    let answer = client.answer();
    assert_eq!((answer.header("connection"), answer.header("transfer-encoding")), (Some("keep-alive"), None));
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "one");
    // The same connection; a stream's only end is the connection's.
    client.send(post(STREAM).as_bytes());
    far.request().unwrap();
    far.begin_answer();
    far.delta("two");
    far.end_stream();
    let (first, headers) = client.head().unwrap();
    assert!(first.contains(" 200 "), "{first}");
    assert!(headers.contains(&("connection".to_owned(), "close".to_owned())), "{headers:?}");
    assert!(!headers.iter().any(|(name, _)| name == "transfer-encoding"), "{headers:?}");
    client.wait_closed();
    assert!(client.read_until(b"data: [DONE]\n\n").ends_with(b"data: [DONE]\n\n"));
}

#[test]
fn a_pooled_connection_that_the_upstream_closed_is_replaced() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.reply_text("one");
    assert_eq!(client.answer().status, 200);
    client.post(CHAT.as_bytes());
    // The request arrives on the pooled connection, which dies without a byte of an answer.
    far.request().unwrap();
    far.close();
    let (mut fresh, request) = upstream.exchange();
    assert!(request.whole);
    fresh.reply_text("two");
    assert_eq!(client.answer().json()["choices"][0]["message"]["content"], "two");
}

#[test]
fn trap_01_an_exception_in_the_stream_is_an_error_in_the_clients_dialect() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    // Before any content: the right HTTP status.
    for (name, status, code) in [
        ("throttlingException", 429, "rate_limit_exceeded"),
        ("serviceUnavailableException", 503, ""),
        ("validationException", 400, ""),
        ("modelStreamErrorException", 502, "model_error"),
        ("internalServerException", 500, ""),
    ] {
        let mut client = gateway.connect();
        client.post(STREAM.as_bytes());
        let (mut far, _) = upstream.exchange();
        far.begin_answer();
        far.chunk(&exception(name, "no"));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{name}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.whole);
        if !code.is_empty() {
            assert_eq!(answer.json()["error"]["code"], code);
        }
    }
    // After content: an error event, no terminator, a clean end, although the upstream would go on.
    let mut client = gateway.connect();
    client.post(STREAM.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.begin_answer();
    far.delta("some");
    far.chunk(&exception("throttlingException", "slow down"));
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.whole);
    assert!(answer.text().contains(r#""content":"some""#));
    assert!(answer.text().contains(r#"data: {"error":{"message":"#) && answer.text().contains("rate_limit_exceeded"));
    assert!(!answer.text().contains("[DONE]"));
    far.wait_closed();
    // The same when everything comes in one read, with the end behind it or without one.
    let delta = common::frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"some"}}"#);
    for end in [exception("throttlingException", "slow down"), Vec::new(), b"half".to_vec()] {
        let mut client = gateway.connect();
        client.post(STREAM.as_bytes());
        let (mut far, _) = upstream.exchange();
        let body = [common::frame("messageStart", r#"{"role":"assistant"}"#), delta.clone(), end].concat();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ncontent-length: {}\r\n\r\n", body.len());
        far.send(&[head.as_bytes(), body.as_slice()].concat());
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.whole && answer.text().contains(r#""content":"some""#));
        assert!(answer.text().contains(r#"data: {"error":{"message":"#) && !answer.text().contains("[DONE]"));
    }
}

#[test]
fn a_stream_that_is_cut_never_looks_complete() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let start = |upstream: &Upstream| {
        let mut client = gateway.connect();
        client.post(STREAM.as_bytes());
        let (mut far, _) = upstream.exchange();
        far.begin_answer();
        (client, far)
    };
    // Cut before content.
    let (mut client, far) = start(&upstream);
    far.close();
    assert_eq!(client.answer().status, 502);
    // Cut after content: closed, reset, in the middle of a frame, and ended by its framing without a messageStop.
    for how in ["close", "reset", "half", "short"] {
        let (mut client, mut far) = start(&upstream);
        far.delta("some");
        assert!(client.read_until(b"some").ends_with(b"some"));
        match how {
            "close" => far.close(),
            "reset" => far.reset(),
            "half" => {
                let frame = common::frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"lost"}}"#);
                far.chunk(&frame[..40]);
                far.send(b"0\r\n\r\n");
            }
            _ => far.send(b"0\r\n\r\n"),
        }
        let rest = client.read_until(b"0\r\n\r\n");
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.contains(r#"{"error":{"message":"#), "{how}: {rest}");
        assert!(!rest.contains("[DONE]") && !rest.contains("lost"), "{how}: {rest}");
        assert!(rest.ends_with("0\r\n\r\n"), "{how}: the client's body ends cleanly: {rest:?}");
    }
}

#[test]
fn trap_03_a_200_without_output_is_a_502() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    for (body, reply) in
        [(CHAT, "{}"), (CHAT, r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"}}"#), (CHAT, ""), (CHAT, "not json"), (STREAM, "")]
    {
        let mut client = gateway.connect();
        client.post(body.as_bytes());
        let (mut far, _) = upstream.exchange();
        far.reply("200 OK", "", reply);
        let answer = client.answer();
        assert_eq!(answer.status, 502, "{reply:?}");
        assert_eq!(answer.json()["error"]["type"], "server_error");
    }
}

#[test]
fn comments_keep_a_silent_stream_alive_and_a_later_failure_is_an_event() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "stream: { keepalive: 50ms }");
    // Silent before its head.
    let mut client = gateway.connect();
    client.post(STREAM.as_bytes());
    let (mut far, _) = upstream.exchange();
    assert!(client.read_until(b": keep-alive\n\n").starts_with(b"HTTP/1.1 200 OK\r\n"));
    client.read_until(b": keep-alive\n\n");
    far.begin_answer();
    client.read_until(b": keep-alive\n\n");
    far.delta("late");
    assert!(client.read_until(b"late").ends_with(b"late"));
    // Silent between events.
    client.read_until(b": keep-alive\n\n");
    far.end_stream();
    assert!(client.read_until(b"[DONE]").ends_with(b"[DONE]"));
    // The upstream refuses after the first comment: the status is spent, the error is an event.
    let mut client = gateway.connect();
    client.post(STREAM.as_bytes());
    far.request().unwrap();
    client.read_until(b": keep-alive\n\n");
    far.reply("429 Too Many Requests", "x-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#);
    let rest = String::from_utf8(client.read_until(b"0\r\n\r\n")).unwrap();
    assert!(rest.contains("rate_limit_exceeded") && !rest.contains("[DONE]"), "{rest}");
}

#[test]
fn a_client_that_leaves_takes_its_upstream_with_it() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    // While the model is silent, while it streams, and before it answers at all.
    for stage in ["silent", "streaming", "waiting"] {
        let mut client = gateway.connect();
        client.post(STREAM.as_bytes());
        let (mut far, _) = upstream.exchange();
        if stage != "waiting" {
            far.begin_answer();
            if stage == "streaming" {
                far.delta("some");
                client.read_until(b"some");
            }
        }
        client.close();
        // The gateway closes its side; a hang here would be caught by the read time-out.
        far.wait_closed();
    }
}

#[test]
fn a_slow_upstream_is_given_up_with_504() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "timeouts: { connect: 1s, first_byte: 100ms, idle: 100ms }");
    for body in [CHAT, STREAM] {
        let mut client = gateway.connect();
        client.post(body.as_bytes());
        let (mut far, _) = upstream.exchange();
        let answer = client.answer();
        assert_eq!(answer.status, 504);
        assert_eq!(answer.json()["error"]["code"], "timeout");
        far.wait_closed();
    }
    // Between events: the client learns it as an event.
    let mut client = gateway.connect();
    client.post(STREAM.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.begin_answer();
    far.delta("some");
    let answer = client.answer();
    assert!(answer.whole && answer.text().contains("took too long") && !answer.text().contains("[DONE]"), "{}", answer.text());
}

#[test]
fn a_client_that_does_not_read_is_let_go_and_a_slow_one_is_served() {
    use std::io::{Read, Write};
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "timeouts: { connect: 1s, first_byte: 3s, idle: 3s }");
    let start = || {
        let mut client = gateway.connect();
        socket2::SockRef::from(&client.stream).set_recv_buffer_size(65536).unwrap();
        client.post(STREAM.as_bytes());
        let (mut far, _) = upstream.exchange();
        far.begin_answer();
        (client, far)
    };
    let delta = common::frame("contentBlockDelta", &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{}"}}}}"#, "x".repeat(60_000)));
    let chunk = [format!("{:x}\r\n", delta.len()).as_bytes(), &delta, b"\r\n"].concat();
    // More than all buffers on the way hold; the client reads nothing.
    let (client, mut far) = start();
    let begun = std::time::Instant::now();
    while far.stream.write_all(&chunk).is_ok() {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    drop(client);
    // A client that pauses for less than that gets everything.
    let (mut client, mut far) = start();
    let writer = std::thread::spawn(move || {
        for _ in 0..150 {
            far.send(&chunk);
        }
        far.end_stream();
    });
    let mut tail = Vec::new();
    let mut piece = vec![0; 65536];
    for turn in 0.. {
        if turn < 4 {
            // A pause of the client's is what is tested here.
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        let read = client.stream.read(&mut piece).unwrap();
        tail.extend_from_slice(&piece[..read]);
        tail.drain(..tail.len().saturating_sub(1000));
        if read == 0 || tail.ends_with(b"0\r\n\r\n") {
            break;
        }
    }
    assert!(tail.ends_with(b"data: [DONE]\n\n\r\n0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&tail));
    writer.join().unwrap();
}

#[test]
fn an_upstream_that_is_not_there_is_a_502_that_names_no_host() {
    let upstream = Upstream::new();
    let address = upstream.address;
    let gateway = Gateway::start(address, "");
    drop(upstream);
    let answer = gateway.chat(CHAT);
    assert_eq!(answer.status, 502);
    assert!(!answer.text().contains("127.0.0.1") && !answer.text().contains(&address.port().to_string()), "{}", answer.text());
}

#[test]
fn paths_methods_and_models_are_told_apart() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let send = |text: String| {
        let mut client = gateway.connect();
        client.send(text.as_bytes());
        client.answer()
    };
    let answer = gateway.get("/nowhere");
    assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (404, Some("invalid_request_error")));
    let answer = gateway.get("/v1/chat/completions");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let answer = send("DELETE /v1/models HTTP/1.1\r\nhost: x\r\n\r\n".to_owned());
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    let answer = gateway.get("/v1/models");
    assert_eq!(answer.json()["data"][0]["id"], "claude-3-haiku");
    assert_eq!(gateway.get("/v1/models/claude%2D3%2Dhaiku").json()["object"], "model");
    let answer = gateway.get("/v1/models/nope");
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    let answer = gateway.chat(&CHAT.replace("claude-3-haiku", "nope"));
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    assert_eq!(gateway.get("/health").text(), r#"{"status":"healthy","service":"ai-gateway"}"#);
    let ready = gateway.get("/ready");
    assert_eq!((ready.status, ready.json()["providers"]["bedrock"]["ready"].as_bool()), (200, Some(true)));
    let head = {
        let mut client = gateway.connect();
        client.send(b"HEAD /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let head = client.head().unwrap();
        client.wait_closed();
        head
    };
    assert!(head.0.starts_with("HTTP/1.1 200"));
}

#[test]
fn metrics_count_what_was_served() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut client = gateway.connect();
    client.post(STREAM.as_bytes());
    let (mut far, _) = upstream.exchange();
    assert!(gateway.get("/metrics").text().contains("adit_requests_in_flight 1\n"));
    far.begin_answer();
    far.delta("some");
    far.end_stream();
    assert!(client.answer().whole);
    gateway.chat(&CHAT.replace("claude-3-haiku", "nope"));
    // The line is booked after the last byte has gone out: ask until it is there.
    let begun = std::time::Instant::now();
    let served = r#"gen_ai_operation_name="chat",gen_ai_provider_name="aws.bedrock",gen_ai_request_model="claude-3-haiku""#;
    let wanted = [
        format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="input"}} 3"#),
        format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="output"}} 2"#),
        format!("gen_ai_server_time_to_first_token_seconds_count{{{served}}} 1"),
        "adit_requests_in_flight 0".to_owned(),
        r#"adit_overhead_seconds_count{gen_ai_operation_name="chat"} 1"#.to_owned(),
        r#"adit_requests_total{gen_ai_request_model="",route="/v1/chat/completions",status="404"} 1"#.to_owned(),
    ];
    loop {
        let metrics = gateway.get("/metrics");
        let text = metrics.text();
        let Some(missing) = wanted.iter().find(|line| !text.lines().any(|found| found == *line)) else { break };
        assert!(begun.elapsed() < PATIENCE, "no {missing} in\n{text}");
    }
}

#[test]
fn what_cannot_be_read_as_http_gets_an_answer_in_words_and_a_closed_connection() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let long = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(3_000_000));
    let both = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    for (what, bytes, status) in [
        ("garbage", "\u{16}\u{3}\u{1}garbage, garbage, garbage\r\n\r\n", 400),
        ("short garbage", "garbage\r\n\r\n", 400),
        ("a short line of an old version", "GET / HTTP/1.0\r\n\r\n", 404),
        ("no version", "GET /health/with/a/long/path\r\n\r\n", 400),
        ("a header without a colon", "GET /health HTTP/1.1\r\nhost: x\r\nbroken\r\n\r\n", 400),
        ("content-length and transfer-encoding", both, 400),
        ("two content-lengths", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", 400),
        ("a content-length that is none", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
        ("a tunnel", "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n", 405),
        ("a head without end", &long, 431),
    ] {
        use std::io::Write;
        let mut client = gateway.connect();
        // The gateway may close while a long head is still being written.
        let _ = client.stream.write_all(bytes.as_bytes());
        let Some((first, _)) = client.head() else {
            assert_eq!(what, "a head without end", "{what}: closed without a word");
            continue;
        };
        assert!(first.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {first}");
        client.wait_closed();
    }
    assert_eq!(gateway.get("/health").status, 200);
}

#[test]
fn trap_06_the_total_time_is_for_whole_answers_and_long_streams_live_on() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "timeouts: { connect: 1s, first_byte: 60s, idle: 60s, total: 150ms }\nstream: { keepalive: 50ms }");
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let (mut far, _) = upstream.exchange();
    assert_eq!(client.answer().status, 504);
    far.wait_closed();
    // Ten comments take half a second: the stream is older than `total` by then.
    let mut client = gateway.connect();
    client.post(STREAM.as_bytes());
    let (mut far, _) = upstream.exchange();
    for _ in 0..10 {
        client.read_until(b": keep-alive\n\n");
    }
    far.begin_answer();
    far.delta("late");
    far.end_stream();
    assert!(client.read_until(b"data: [DONE]\n\n").ends_with(b"data: [DONE]\n\n"));
}

#[test]
fn a_provider_without_credentials_answers_503_with_the_reason() {
    let upstream = Upstream::new();
    let models = common::models(upstream.address)
        .replace("access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "profile: nobody");
    let gateway = Gateway::with_models(&models, "", &[("AWS_EC2_METADATA_DISABLED", "true")]);
    let answer = gateway.chat(CHAT);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("provider_not_configured")));
    let ready = gateway.get("/ready");
    let reason = ready.json()["providers"]["bedrock"]["reason"].as_str().unwrap().to_owned();
    assert_eq!(ready.status, 503);
    assert!(!reason.is_empty() && answer.text().contains(reason.split('"').next().unwrap()), "{} / {reason}", answer.text());
    // Once it is known, the second one too, by the router; and nobody is shown a model that can't be used.
    assert!(gateway.chat(CHAT).text().contains(reason.split('"').next().unwrap()));
    assert_eq!(gateway.get("/v1/models").json()["data"].as_array().unwrap().len(), 0);
}

#[test]
fn where_a_request_comes_from_is_believed_of_a_trusted_proxy_alone_and_no_provider_is_told() {
    for (extra, client) in [("", "127.0.0.1"), ("trusted_proxies: [127.0.0.0/8]", "192.0.2.1"), ("trusted_proxies: [10.0.0.0/8]", "127.0.0.1")] {
        let upstream = Upstream::new();
        let gateway = Gateway::with_models(&common::models(upstream.address), extra, &[("RUST_LOG", "warn,access=info")]);
        let mut asking = gateway.connect();
        let headers = "x-forwarded-for: 203.0.113.9, 192.0.2.1\r\nforwarded: for=203.0.113.9\r\nx-real-ip: 203.0.113.9\r\nx-forwarded-host: 203.0.113.9\r\n";
        asking.call("POST", "/providers/bedrock/async-invoke?key=not-a-real-key", headers, b"{}");
        let (mut far, request) = upstream.exchange();
        let told = format!("{:?}", request.headers);
        assert!(!told.contains("203.0.113.9") && !told.contains("192.0.2.1"), "{told}");
        far.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(asking.answer().status, 200);
        // The line tells the path without its query, which may hold a key.
        gateway.log.wait(&format!(" client={client} method=POST path=/providers/bedrock/async-invoke status=200 "), 1);
        assert_eq!(gateway.log.count("not-a-real-key"), 0);
    }
}
