//! How the process ends: what becomes of the requests that run, of those that wait, and of the connections that clients keep.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use common::process::{Daemon, signal, until};
use common::{Client, Upstream, far, h2, relays};

const CHAT: &str = r#"{"model":"talker","messages":[{"role":"user","content":"Hi"}]}"#;
const STREAM: &str = r#"{"model":"talker","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const TWO: &str = r#"{"model":"talker","n":2,"messages":[{"role":"user","content":"Hi"}]}"#;
const TWO_STREAMED: &str = r#"{"model":"talker","n":2,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const MESSAGE: &str = r#"{"model":"talker","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
const MESSAGE_STREAM: &str = r#"{"model":"talker","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const CONVERSE: &str = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;
/// Long enough for every request to end.
const PATIENT: &str = "grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30";
/// Too short for any that waits.
const IMPATIENT: &str = "grace_period_seconds: 0, graceful_shutdown_timeout_seconds: 1";

fn start(upstream: &Upstream, pingora: &str) -> Daemon {
    Daemon::start(&relays::models(upstream.address), pingora, "", &[])
}

/// A stream of which the client has the first words.
fn running(daemon: &Daemon, upstream: &Upstream) -> (Client, Client) {
    let mut client = daemon.connect();
    client.post(STREAM.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.begin_answer();
    far.delta("first");
    client.read_until(b"first");
    (client, far)
}

#[test]
fn a_stop_lets_running_requests_end_and_then_the_process() {
    let upstream = Upstream::new();
    let mut daemon = start(&upstream, PATIENT);
    let (mut client, mut far) = running(&daemon, &upstream);
    let over_h2 = h2::exchange(daemon.address, "POST", "/v1/chat/completions", &[], h2::body(STREAM));
    let (mut far_h2, _) = upstream.exchange();
    far_h2.begin_answer();
    far_h2.delta("first");
    let mut waiting = daemon.connect();
    waiting.post(CHAT.as_bytes());
    let (mut slow, _) = upstream.exchange();
    let mut idle = daemon.connect();
    idle.call("GET", "/health", "", b"");
    assert_eq!(idle.answer().header("connection"), Some("keep-alive"));
    let mut silent = daemon.connect();
    daemon.signal("TERM");
    daemon.wait_refused();
    // Who keeps a connection may use it for the grace period; whoever does not loses it.
    idle.call("GET", "/health", "", b"");
    let answer = idle.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    idle.wait_closed();
    silent.wait_closed();
    assert_eq!(daemon.pid_file(), None);
    // What runs goes on behind the grace period.
    for far in [&mut far, &mut far_h2] {
        far.delta("more");
    }
    assert!(client.read_until(b"more").ends_with(b"more"));
    slow.reply_text("late");
    assert_eq!(waiting.answer().json()["choices"][0]["message"]["content"], "late");
    for far in [&mut far, &mut far_h2] {
        far.end_stream();
    }
    assert!(client.answer_behind_head().ends_with(b"data: [DONE]\n\n"));
    let answer = over_h2.join().unwrap();
    assert!(answer.whole && answer.text().contains("more") && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let begun = Instant::now();
    // The clients' connections are still there: nobody waits for them longer than for a last request.
    assert_eq!(daemon.wait_exit(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20), "the process waited for nothing");
}

#[test]
fn streams_that_outlast_the_stop_end_in_the_clients_dialect() {
    let upstream = Upstream::new();
    let mut daemon = start(&upstream, IMPATIENT);
    let cases = [
        ("/v1/chat/completions", STREAM, "first"),
        ("/v1/chat/completions", TWO_STREAMED, "first"),
        ("/v1/messages", MESSAGE_STREAM, "first"),
        ("/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream", CONVERSE, "first"),
    ];
    let mut fars = Vec::new();
    let mut begin = |calls: usize| {
        for _ in 0..calls {
            let (mut far, _) = upstream.exchange();
            far.begin_answer();
            far.delta("first");
            fars.push(far);
        }
    };
    let mut clients = Vec::new();
    let mut over_h2 = Vec::new();
    for (path, body, _) in cases {
        let calls = if body == TWO_STREAMED { 2 } else { 1 };
        let mut client = daemon.connect();
        client.call("POST", path, "", body.as_bytes());
        begin(calls);
        client.head().unwrap();
        clients.push(client);
        over_h2.push(h2::exchange(daemon.address, "POST", path, &[], h2::body(body)));
        begin(calls);
    }
    daemon.signal("TERM");
    let bodies = clients.iter_mut().map(|client| client.rest_of_chunks()).collect::<Vec<_>>();
    let bodies_h2 = over_h2.into_iter().map(|answer| answer.join().unwrap()).map(|answer| (answer.body, answer.whole));
    for (number, (body, whole)) in bodies.into_iter().chain(bodies_h2).enumerate() {
        assert!(whole, "{number}");
        let text = String::from_utf8_lossy(&body);
        match number % 4 {
            0 | 1 => {
                let (_, last) = far::events(&text).pop().unwrap();
                assert!(last.starts_with(r#"{"error":{"message":"The gateway is shutting down."#) && text.contains("first"), "{number}: {text}");
            }
            2 => {
                let (name, last) = far::events(&text).pop().unwrap();
                assert!(name == "error" && last.contains("The gateway is shutting down.") && !text.contains("message_stop"), "{text}");
            }
            _ => {
                let (name, last) = far::frames(&body).pop().unwrap();
                assert_eq!((name.as_str(), last["message"].as_str()), ("serviceUnavailableException", Some("The gateway is shutting down.")));
            }
        }
    }
    drop(clients);
    assert_eq!(daemon.wait_exit(), Some(0));
}

#[test]
fn requests_that_wait_at_the_end_of_the_stop_get_503_in_the_clients_dialect() {
    let upstream = Upstream::new();
    let mut daemon = start(&upstream, IMPATIENT);
    // What has been read of a body at the end of the stop is nothing that could be answered otherwise.
    let half = &CHAT.as_bytes()[..20];
    let cases: [(&str, &str, usize); 6] = [
        ("/v1/chat/completions", CHAT, 1),
        ("/v1/chat/completions", STREAM, 1),
        ("/v1/chat/completions", TWO, 2),
        ("/v1/messages", MESSAGE, 1),
        ("/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse", CONVERSE, 1),
        ("/v1/chat/completions", "", 0),
    ];
    let mut fars = Vec::new();
    let mut clients = Vec::new();
    let mut over_h2 = Vec::new();
    let (sender, reading) = h2::begin(daemon.address, "/v1/messages");
    sender.unbounded_send(bytes::Bytes::from_static(b"{\"model\":")).unwrap();
    for (path, body, calls) in cases {
        let mut client = daemon.connect();
        if calls == 0 {
            client.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n", CHAT.len()).as_bytes());
            // It is being read once the gateway asks for it.
            assert!(client.head().unwrap().0.starts_with("HTTP/1.1 100"));
            client.send(half);
        } else {
            client.call("POST", path, "", body.as_bytes());
            over_h2.push((path, h2::exchange(daemon.address, "POST", path, &[], h2::body(body))));
        }
        for _ in 0..2 * calls {
            fars.push(upstream.exchange());
        }
        clients.push((path, client));
    }
    daemon.signal("TERM");
    let answers = clients.iter_mut().map(|(path, client)| (*path, client.answer()));
    let answers_h2 = over_h2.into_iter().map(|(path, answer)| (path, answer.join().unwrap()));
    for (path, answer) in answers.chain(answers_h2).chain([("/v1/messages", reading.join().unwrap())]) {
        assert!(answer.whole, "{path}");
        let retry_after = answer.header("retry-after").map(str::to_owned);
        let json = answer.json();
        let message = match path {
            "/v1/chat/completions" => {
                assert_eq!(answer.status, 503);
                &json["error"]["message"]
            }
            "/v1/messages" => {
                assert!(matches!(answer.status, 503 | 529), "{}", answer.status);
                assert_eq!(json["type"], "error");
                &json["error"]["message"]
            }
            _ => {
                assert_eq!((answer.status, answer.header("x-amzn-errortype")), (503, Some("ServiceUnavailableException")));
                &json["message"]
            }
        };
        assert_eq!((message.as_str(), retry_after.as_deref()), (Some("The gateway is shutting down."), Some("1")), "{path}");
    }
    drop(clients);
    assert_eq!(daemon.wait_exit(), Some(0));
    assert!(daemon.log().contains("the time to stop is over: ending 12 requests"), "{}", daemon.log());
}

#[test]
fn an_impatient_stop_waits_for_nobody() {
    let upstream = Upstream::new();
    for signals in [&["INT"][..], &["TERM", "INT"], &["TERM", "TERM"]] {
        let mut daemon = start(&upstream, PATIENT);
        let (mut client, _far) = running(&daemon, &upstream);
        let begun = Instant::now();
        for (number, name) in signals.iter().enumerate() {
            if number > 0 {
                // The first one was taken.
                until("the pid file is gone", || daemon.pid_file().is_none());
            }
            daemon.signal(name);
        }
        client.wait_closed();
        assert_eq!(daemon.wait_exit(), Some(0), "{signals:?}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{signals:?}");
        assert_eq!(daemon.pid_file(), None, "{signals:?}");
    }
}

#[test]
fn the_service_manager_hears_of_start_successor_and_stop() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let next = || {
        let mut said = [0; 4096];
        let length = manager.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..length]).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let env = [("NOTIFY_SOCKET", socket.to_str().unwrap())];
    let mut daemon = Daemon::start(&relays::models(upstream.address), PATIENT, "", &env);
    let ready = |process: u32| vec![format!("MAINPID={process}"), "READY=1".to_owned()];
    assert_eq!(next(), ready(daemon.child.id()));
    let old = daemon.child.id();
    daemon.signal("USR2");
    until("the successor has written its pid", || daemon.pid_file().is_some_and(|process| process != old));
    let successor = daemon.pid_file().unwrap();
    assert_eq!(next(), ready(successor));
    // The old one goes without a word: for the manager the service goes on.
    assert_eq!(daemon.wait_exit(), Some(0));
    signal(successor, "TERM");
    assert_eq!(next(), ["STOPPING=1"]);
    assert_eq!(daemon.wait_successor(), 0);
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 64]).is_err(), "nothing else was said");
}
