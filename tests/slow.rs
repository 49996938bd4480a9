//! Clients that hold a place without asking for anything: who opens a connection and says nothing, who sends a byte now and then.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Gateway, Upstream, h2};

/// The pause between two bytes of a client that trickles: shorter than any time-out of these tests.
const TRICKLE: Duration = Duration::from_millis(20);
const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/messages", "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"];

/// Sends bytes one by one until the gateway listens no more or the answer is there.
fn trickle(client: &common::Client, bytes: &'static [u8], answered: &AtomicBool) {
    let mut stream = client.stream.try_clone().unwrap();
    for byte in bytes.iter().cycle() {
        if answered.load(Ordering::Relaxed) || stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(TRICKLE);
    }
}

/// Whether a 408 says in the dialect of its path what took too long.
fn check(path: &str, answer: &common::Answer) {
    assert_eq!((answer.status, answer.whole), (408, true), "{path}: {answer:?}");
    let json = answer.json();
    let message = match path {
        "/v1/chat/completions" => &json["error"]["message"],
        "/v1/messages" => {
            assert_eq!(json["type"], "error");
            &json["error"]["message"]
        }
        _ => {
            assert!(answer.header("x-amzn-errortype").is_some());
            &json["message"]
        }
    };
    assert!(message.as_str().unwrap().contains("took too long to arrive"), "{path}: {json}");
}

#[test]
fn a_head_that_trickles_is_cut() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "timeouts: { request_head: 300ms }");
    for start in ["POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-long: ", "PO"] {
        let mut client = gateway.connect();
        client.send(start.as_bytes());
        let begun = Instant::now();
        let answered = AtomicBool::new(false);
        let said = std::thread::scope(|scope| {
            scope.spawn(|| trickle(&client_of(&client), b"x", &answered));
            let said = client_of(&client).last_words();
            answered.store(true, Ordering::Relaxed);
            said
        });
        assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(20), "{start:?}: {:?}", begun.elapsed());
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("The head of the request took too long to arrive."), "{start:?}: {said}");
        drop(client);
    }
    assert_eq!(gateway.get("/health").status, 200);
}

/// The same connection for another thread.
fn client_of(client: &common::Client) -> common::Client {
    common::Client::new(client.stream.try_clone().unwrap())
}

#[test]
fn a_body_that_trickles_is_refused_in_the_clients_dialect() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "timeouts: { request_body: 300ms }");
    for path in PATHS {
        for (framing, piece) in [("content-length: 100000", &b" "[..]), ("transfer-encoding: chunked", b"1\r\n \r\n")] {
            let mut client = gateway.connect();
            client.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n").as_bytes());
            let answered = AtomicBool::new(false);
            let answer = std::thread::scope(|scope| {
                scope.spawn(|| trickle(&client_of(&client), piece, &answered));
                let answer = client_of(&client).answer();
                answered.store(true, Ordering::Relaxed);
                answer
            });
            check(path, &answer);
            assert_eq!(answer.header("connection"), Some("close"), "{path}");
        }
        // The same over HTTP/2: the other streams of such a connection go on.
        let (sender, answer) = h2::begin(gateway.address, path);
        while sender.unbounded_send(Bytes::from_static(b" ")).is_ok() && !answer.is_finished() {
            std::thread::sleep(TRICKLE);
        }
        check(path, &answer.join().unwrap());
    }
    assert!(upstream.is_unused());
}

#[test]
fn a_body_that_is_slow_but_comes_is_waited_for() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "timeouts: { request_body: 1s }");
    let body = format!(r#"{{"model":"claude-3-haiku","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(9000));
    let mut client = gateway.connect();
    client.send(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
    let begun = Instant::now();
    // Twice the time in all, at more than the least speed.
    for piece in body.as_bytes().chunks(body.len() / 20) {
        client.send(piece);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() > Duration::from_secs(2));
    let (mut far, request) = upstream.exchange();
    assert_eq!(request.json()["messages"][0]["content"][0]["text"].as_str().unwrap().len(), 9000);
    far.reply_text("ok");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_connection_that_says_nothing_is_closed_and_a_kept_one_is_not() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "timeouts: { request_head: 300ms }");
    let mut kept = gateway.connect();
    kept.call("GET", "/health", "", b"");
    assert_eq!(kept.answer().status, 200);
    let begun = Instant::now();
    for said in ["", "PRI * HT"] {
        let mut silent = gateway.connect();
        silent.send(said.as_bytes());
        assert_eq!(silent.last_words(), "", "who has not asked is not answered");
    }
    assert!(begun.elapsed() >= Duration::from_millis(600) && begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Well behind that time, a connection that was used is still there.
    kept.call("GET", "/health", "", b"");
    assert_eq!(kept.answer().status, 200);
}
