//! Bad input from both sides: what no client sends by accident, what no model answers, and URLs that lead astray. `make test` sends 2,000 generated requests,
//! `make hostile` 10,000 (HOSTILE_REQUESTS); HOSTILE_SEED repeats a run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the seed is what it takes to repeat a run")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Client, Gateway, Upstream};
use fastrand::Rng;

/// No connection of these may take longer.
const BOUND: Duration = Duration::from_secs(45);
/// Requests in `make test`.
const FEW: usize = 2_000;
/// Connections at a time.
const WORKERS: usize = 4;
/// A picture of one dot.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";

/// A model provider that gives a good answer to good questions, repeating them, and garbage to those that ask for it: `garbage-SEED`.
fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut far = Client::new(stream);
                // The gateway keeps connections for as long as it likes.
                far.stream.set_read_timeout(None).unwrap();
                while answer(&mut far) {}
            });
        }
    });
    address
}

/// Answers one request; false when the connection is over.
fn answer(far: &mut Client) -> bool {
    let Some(request) = far.request() else { return false };
    let text = String::from_utf8_lossy(&request.body).into_owned();
    let word = |start: &str| text.split_once(start).map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    if let Some(seed) = word("garbage-") {
        let mut rng = Rng::with_seed(seed.parse().unwrap_or_default());
        let bytes = garbage(&mut rng, request.line.contains("stream"), request.line.contains("/v1/"));
        // It may have been enough for the gateway long before.
        let _ = far.stream.write_all(&bytes);
        let _ = far.stream.shutdown(Shutdown::Write);
        return false;
    }
    let said = format!("canary-{}", word("canary-").unwrap_or_default());
    if request.line.contains("/v1/") {
        far.reply("200 OK", "", &format!(r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{said}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}}"#));
    } else {
        far.reply_text(&said);
    }
    true
}

/// An answer that is broken somewhere.
fn garbage(rng: &mut Rng, stream: bool, openai: bool) -> Vec<u8> {
    let mut body = Vec::new();
    let kind = if openai {
        for event in [
            r#"data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hé"},"finish_reason":null}]}"#,
            r#"data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"n","arguments":"{"}}]},"finish_reason":null}]}"#,
            r#"data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            "data: [DONE]",
        ] {
            body.extend_from_slice(event.as_bytes());
            body.extend_from_slice(b"\n\n");
        }
        "text/event-stream"
    } else if stream {
        for (name, payload) in [
            ("messageStart", r#"{"role":"assistant"}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"hé"}}"#),
            ("contentBlockStart", r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t","name":"n"}}}"#),
            ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
            ("messageStop", r#"{"stopReason":"end_turn"}"#),
            ("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}"#),
        ] {
            // Good checksums around bad words, so that the reader behind the frames gets them.
            let mut payload = payload.as_bytes().to_vec();
            if rng.u8(..6) == 0 {
                mutate(rng, &mut payload);
            }
            body.extend_from_slice(&common::frame(name, &String::from_utf8_lossy(&payload)));
        }
        "application/vnd.amazon.eventstream"
    } else {
        body.extend_from_slice(br#"{"output":{"message":{"role":"assistant","content":[{"text":"x"},{"toolUse":{"toolUseId":"t","name":"n","input":{}}}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}"#);
        "application/json"
    };
    for _ in 0..rng.usize(0..4) {
        mutate(rng, &mut body);
    }
    let mut out = match rng.u8(..8) {
        0 => format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len() + rng.usize(0..9)),
        1 => format!("HTTP/1.1 {} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", rng.u16(100..1000), body.len()),
        2 => format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nset-cookie: a=b\r\nx-request-id: theirs\r\nconnection: close\r\n\r\n"),
        3 => format!("HTTP/1.{} {} \r\nx\r\n\r\n", rng.u8(..), rng.u32(..)),
        _ => format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"),
    }
    .into_bytes();
    if out.ends_with(b"chunked\r\n\r\n") {
        for piece in body.chunks(rng.usize(1..200)) {
            out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(if rng.bool() { b"0\r\n\r\n" } else { b"zz\r\n" });
    } else {
        out.extend_from_slice(&body);
    }
    if rng.u8(..10) == 0 {
        mutate(rng, &mut out);
    }
    out
}

/// Breaks something: a byte, a length, an end, a repetition.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..7) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << rng.u8(..8),
        2 => bytes[at] = [0, 0xff, b'"', b'\\', b'{', b'\r', b'\n', b':'][rng.usize(..8)],
        3 => {
            let piece = bytes[at..(at + rng.usize(1..40)).min(bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        4 => bytes.splice(at..at, std::iter::repeat_n(b"[{\"a\x00\xf0"[rng.usize(..6)], rng.usize(1..2000))).for_each(drop),
        5 => drop(bytes.drain(at..(at + rng.usize(1..40)).min(bytes.len()))),
        _ => bytes.splice(at..at, std::iter::repeat_with(|| rng.u8(..)).take(8)).for_each(drop),
    }
}

fn chat(model: &str, text: &str, stream: bool) -> String {
    format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A good request whose answer can be no other one's.
fn canary(number: u64, model: &str) -> Vec<u8> {
    post("/v1/chat/completions", &format!("x-request-id: canary-{number}\r\n"), &chat(model, &format!("canary-{number}"), false))
}

/// Reads the answer to a canary, and makes sure that it is its own.
fn check_canary(client: &mut Client, number: u64) {
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let own = format!("canary-{number}");
    assert_eq!(answer.header("x-request-id"), Some(own.as_str()));
    assert_eq!(answer.json()["choices"][0]["message"]["content"], own.as_str());
}

/// Framings that some parser would read in another way: none of them may get an answer to the request inside.
fn ambiguous(inner: &str) -> Vec<Vec<u8>> {
    let line = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n";
    let length = inner.len();
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n");
    let mut all: Vec<String> = vec![
        format!("{line}content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("{line}transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n0\r\n\r\n{inner}"),
        format!("{line}content-length: 0\r\ncontent-length: {length}\r\n\r\n{inner}"),
        format!("{line}content-length: {length}\r\ncontent-length: 0\r\n\r\n{inner}"),
        format!("{line}content-length: 0, {length}\r\n\r\n{inner}"),
        format!("{line}content-length: +0\r\n\r\n{inner}"),
        format!("{line}content-length: -1\r\n\r\n{inner}"),
        format!("{line}content-length: 0x0\r\n\r\n{inner}"),
        format!("{line}content-length : 0\r\n\r\n{inner}"),
        format!("{line} content-length: 0\r\n\r\n{inner}"),
        format!("{line}content-length:\r\n 0\r\n\r\n{inner}"),
        format!("{line}x: a\r\n content-length: 0\r\ntransfer-encoding: xchunked\r\n\r\n{inner}"),
        format!("{line}x: a\0b\r\ncontent-length: 0\r\n\r\n{inner}"),
        format!("{line}x: a\rb: c\r\ncontent-length: 0\r\n\r\n{inner}"),
        format!("{line}x\r\ncontent-length: 0\r\n\r\n{inner}"),
        format!("{line}: x\r\ncontent-length: 0\r\n\r\n{inner}"),
        format!("{line}x[y]: z\r\ncontent-length: 0\r\n\r\n{inner}"),
        format!("{line}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("{line}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n{inner}"),
        format!("{line}transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("{line}transfer_encoding: chunked\r\ncontent-length: {length}\r\n\r\n{inner}"),
        // The inner request is the body, in whole or in part.
        format!("{line}content-length: {length}\r\n\r\n{inner}"),
        format!("{line}{chunked}"),
        format!("{line}connection: transfer-encoding\r\n{chunked}"),
    ];
    for coding in [
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "chunked\x0b",
        "\"chunked\"",
        "chunked;q=1",
        "gzip, chunked",
        "identity",
        "",
        "chunke d",
        "chunKed\0",
    ] {
        all.push(format!("{line}transfer-encoding: {coding}\r\n\r\n0\r\n\r\n{inner}"));
    }
    for size in [
        "0x0",
        "+0",
        "-0",
        "-1",
        "g",
        "",
        " 0x",
        "ffffffffffffffff",
        "10000000000000000",
        "fffffffffffffffff0",
        "0\n",
        "0;\n",
        "0;a\nb",
        "0;\0",
        "0\r",
        "1_0",
        "0,0",
        "0 0",
    ] {
        all.push(format!("{line}transfer-encoding: chunked\r\n\r\n{size}\r\n\r\n{inner}"));
    }
    // A chunk that is longer than it says: what follows it is no next chunk.
    all.push(format!("{line}transfer-encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n{inner}"));
    all.push(format!("{line}transfer-encoding: chunked\r\n\r\n1\r\nx0\r\n\r\n{inner}"));
    all.push(format!("{line}transfer-encoding: chunked\r\n\r\n1\nx\n0\n\n{inner}"));
    all.push(format!("POST /v1/chat/completions HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"));
    all.push(format!("POST /v1/chat/completions HTTP/1.1\nhost: x\ncontent-length: {length}\n\n{inner}"));
    for first in [
        "POST  /v1/chat/completions HTTP/1.1",
        "POST /v1/chat completions HTTP/1.1",
        "POST /v1/chat/completions HTTP/1.1 x",
        "POST /v1/chat/completions",
        "POST /v1/chat/completions HTTP/2.0",
        "POST /v1/chat/completions HTTP/0.9",
        "PO\0ST / HTTP/1.1",
        "CONNECT x:1 HTTP/1.1",
    ] {
        all.push(format!("{first}\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{inner}"));
    }
    all.into_iter().map(String::into_bytes).collect()
}

/// Sends bytes and nothing more; what comes back until the gateway closes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    // It may be refused long before its end.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    read_to_end(&mut stream, bytes)
}

fn read_to_end(stream: &mut TcpStream, sent: &[u8]) -> String {
    let begun = Instant::now();
    let mut out = Vec::new();
    let mut piece = [0; 16384];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => out.extend_from_slice(&piece[..read]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("a hang: {}", String::from_utf8_lossy(sent))
            }
            Err(_) => break,
        }
        assert!(begun.elapsed() < BOUND, "a hang: {}", String::from_utf8_lossy(sent));
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn gateway(upstream: SocketAddr, extra: &str) -> Gateway {
    let models = common::models(upstream)
        .replace("models:\n", &format!("  other: {{ type: openai, base_url: 'http://{upstream}/v1', api_key: k }}\nmodels:\n  gpt: {{ other: gpt }}\n"))
        + "routing: { cooldown: null }\n";
    Gateway::with_models(&models, extra, &[])
}

#[test]
fn no_framing_hides_a_request_in_another() {
    let gateway = gateway(provider(), "");
    for (number, bytes) in (0_u64..).zip(ambiguous("GET /v1/models HTTP/1.1\r\nhost: x\r\nx-request-id: inner\r\n\r\n")) {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let said = exchange(gateway.address, &bytes);
        assert!(!said.contains("x-request-id: inner"), "{shown}\n{said}");
        assert!(!said.contains("HTTP/1.1 200"), "{shown}\n{said}");
        assert!(said.matches("HTTP/1.1 ").count() <= 1, "{shown}\n{said}");
        // Behind a good request on the same connection.
        let mut client = gateway.connect();
        client.send(&[canary(number, "gpt"), bytes].concat());
        check_canary(&mut client, number);
        let _ = client.stream.shutdown(Shutdown::Write);
        let said = client.last_words();
        assert!(!said.contains("x-request-id: inner") && !said.contains("canary-"), "{shown}\n{said}");
    }
}

#[test]
fn heads_beyond_all_bounds_are_refused_in_words() {
    let gateway = gateway(provider(), "");
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: v\r\n")).collect::<String>();
    let cases = [
        (431, format!("x: {}\r\n", "v".repeat(65 * 1024)), "/v1/chat/completions".to_owned()),
        (431, format!("x: {}\r\n", "v".repeat(2 << 20)), "/v1/chat/completions".to_owned()),
        (431, many(210), "/v1/chat/completions".to_owned()),
        (431, many(1000), "/v1/chat/completions".to_owned()),
        (414, String::new(), format!("/v1/models/{}", "m".repeat(9 * 1024))),
        (400, "host: other\r\n".to_owned(), "/v1/models".to_owned()),
    ];
    for (status, headers, path) in cases {
        let said = exchange(gateway.address, format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes());
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{status} {}: {said}", headers.len());
        assert!(said.contains(r#""type":"invalid_request_error""#) && said.to_lowercase().contains("connection: close"), "{said}");
    }
    let answer = gateway.post("/v1/messages", &many(199), "{}");
    assert_eq!((answer.status, answer.json()["type"].as_str()), (431, Some("error")), "in the dialect of the path");
    assert_eq!(gateway.post("/v1/chat/completions", &many(150), &chat("gpt", "canary-1", false)).status, 200);
}

#[test]
fn upgrades_and_other_hosts_change_nothing() {
    let gateway = gateway(provider(), "");
    for (number, (line, headers)) in (0_u64..).zip([
        ("POST /v1/chat/completions", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"),
        ("POST /v1/chat/completions", "connection: upgrade\r\nupgrade: websocket\r\n"),
    ]) {
        let body = chat("gpt", &format!("canary-{number}"), false);
        let mut client = gateway.connect();
        client.send(format!("{line} HTTP/1.1\r\nhost: x\r\nx-request-id: canary-{number}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        check_canary(&mut client, number);
    }
    for url in ["http://evil.test/v1/models", "http://169.254.169.254:80/v1/models", "https://x@evil.test/v1/models"] {
        let said = exchange(gateway.address, format!("GET {url} HTTP/1.1\r\nhost: x\r\nx-forwarded-host: evil.test\r\n\r\n").as_bytes());
        assert!(said.starts_with("HTTP/1.1 400 ") && !said.contains("evil.test"), "{url}: {said}");
    }
}

/// One generated request; true if its answer may be read to the end without closing first.
fn hostile(rng: &mut Rng) -> (Vec<u8>, bool) {
    let model = if rng.bool() { "gpt" } else { "claude-3-haiku" };
    match rng.u8(..6) {
        0 => {
            let mut all = ambiguous("GET /health HTTP/1.1\r\nhost: x\r\nx-request-id: inner\r\n\r\n");
            (all.swap_remove(rng.usize(..all.len())), false)
        }
        1 => {
            let mut bytes = canary(0, model);
            for _ in 0..rng.usize(1..6) {
                mutate(rng, &mut bytes);
            }
            (bytes, false)
        }
        2 => {
            let mut body = chat(model, "x", rng.bool()).into_bytes();
            for _ in 0..rng.usize(1..4) {
                mutate(rng, &mut body);
            }
            let path = [
                "/v1/chat/completions",
                "/v1/messages",
                "/v1/embeddings",
                "/model/claude-3-haiku/converse",
                "/model/gpt/converse-stream",
                "/v1/messages/count_tokens",
            ][rng.usize(..6)];
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            ([head.into_bytes(), body].concat(), true)
        }
        3 => {
            let pieces = [
                "/",
                "v1",
                "%2f",
                "..",
                "%00",
                "chat/completions",
                "%",
                "%zz",
                "model",
                "providers",
                "other",
                "\u{e9}",
                "?",
                "#",
                "//",
                ";",
                "\\",
                "converse",
                "models",
                "http://evil/",
                "*",
            ];
            let path: String = (0..rng.usize(1..12)).map(|_| pieces[rng.usize(..pieces.len())]).collect();
            let method = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE", "X"][rng.usize(..7)];
            (format!("{method} /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes(), true)
        }
        4 => {
            let mut headers = String::new();
            for _ in 0..rng.usize(1..400) {
                let name: String = (0..rng.usize(1..30)).map(|_| rng.alphanumeric()).collect();
                headers.push_str(&format!("{name}: {}\r\n", "v".repeat(rng.usize(..400))));
            }
            (post("/v1/chat/completions", &format!("{headers}connection: close, x-a\r\n"), &chat(model, "canary-0", false)), true)
        }
        _ => {
            let stream = rng.bool();
            let body = chat(model, &format!("garbage-{}", rng.u32(..)), stream);
            (post("/v1/chat/completions", "connection: close\r\n", &body), true)
        }
    }
}

#[test]
fn thousands_of_bad_requests_do_no_harm() {
    let seed = std::env::var("HOSTILE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125_u64);
    let requests = std::env::var("HOSTILE_REQUESTS").ok().and_then(|count| count.parse().ok()).unwrap_or(FEW);
    println!("HOSTILE_SEED={seed} HOSTILE_REQUESTS={requests}");
    let gateway = gateway(provider(), "timeouts: { first_byte: 10s, idle: 10s, request_head: 10s, request_body: 10s }\n");
    // Whatever is made once is made before it is counted.
    let warm = |base: u64| {
        for number in base..base + 20 {
            let mut client = gateway.connect();
            client.send(&canary(number, ["gpt", "claude-3-haiku"][(number % 2) as usize]));
            check_canary(&mut client, number);
        }
    };
    warm(1 << 40);
    let before = gateway.descriptors();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                // The neighbour, on one connection for as long as it is kept.
                let mut neighbour = gateway.connect();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return;
                    }
                    one(&gateway, &mut neighbour, seed, number as u64);
                }
            });
        }
    });
    warm(1 << 41);
    gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned(), "adit_buffered_bytes 0".to_owned()]);
    // Connections to the provider stay in the pool: some a worker, not one a request.
    let begun = Instant::now();
    while gateway.descriptors() > before + 8 * WORKERS {
        assert!(begun.elapsed() < BOUND, "{before} descriptors have become {}", gateway.descriptors());
        std::thread::yield_now();
    }
    let log = gateway.log.text();
    assert!(!log.contains("panicked"), "{log}");
}

fn one(gateway: &Gateway, neighbour: &mut Client, seed: u64, number: u64) {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
    let (bytes, ends) = hostile(&mut rng);
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    let id = 1000 + number;
    let behind = rng.bool();
    let mut client = Client::new(stream.try_clone().unwrap());
    if behind {
        stream.write_all(&canary(id, "gpt")).unwrap();
    }
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream.set_write_timeout(Some(BOUND)).unwrap();
    // The neighbour's request is on its way at the same time.
    let beside = number.is_multiple_of(4);
    if beside {
        neighbour.send(&canary(id + 1_000_000, "claude-3-haiku"));
    }
    let _ = stream.write_all(&bytes);
    if behind {
        check_canary(&mut client, id);
    }
    if !ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let said = client.last_words();
    let shown = || format!("HOSTILE_SEED={seed}, number {number}\n{}\n{said}", String::from_utf8_lossy(&bytes));
    assert!(!said.contains("x-request-id: inner"), "{}", shown());
    assert!(!said.contains(&format!("canary-{id}")) && !said.contains(&format!("canary-{}", id + 1_000_000)), "{}", shown());
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 "), "{}", shown());
    if beside {
        check_canary(neighbour, id + 1_000_000);
    }
}

/// A host of files: gives each its answer, once.
fn files(answers: Vec<(&'static str, Vec<u8>)>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let mut asked = Vec::new();
        for _ in 0..answers.len() {
            let mut far = Client::new(listener.accept().unwrap().0);
            let request = far.request().unwrap();
            let path = request.line.split(' ').nth(1).unwrap().to_owned();
            let (_, answer) = answers.iter().find(|(name, _)| *name == path).unwrap_or_else(|| panic!("nobody should ask for {path}"));
            far.send(answer);
            asked.push(path);
        }
        asked
    };
    (address, std::thread::spawn(serve))
}

fn file(kind: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn allowing(host: &str) -> String {
    format!("remote_files: {{ enabled: true, allow: ['{host}'], max_bytes: 1000, timeout: 20s }}\n")
}

#[test]
fn a_picture_behind_a_url_reaches_a_model_that_takes_none_and_is_fetched_once() {
    let (host, asked) = files(vec![("/a.jpg", file("image/jpeg", PNG)), ("/b.txt", file("text/plain", b"plain words"))]);
    let (first, second) = (Upstream::new(), Upstream::new());
    let target = |name: &str, upstream: &Upstream| {
        format!(
            "  {name}: {{ type: bedrock, region: us-east-1, endpoint: 'http://{}', access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY }}\n",
            upstream.address
        )
    };
    let models = format!(
        "providers:\n{}{}models:\n  m: {{ targets: [{{ provider: one, model: 'anthropic.claude-3-haiku-20240307-v1:0' }}, {{ provider: two, model: 'us.amazon.nova-lite-v1:0', priority: 1 }}] }}\n",
        target("one", &first),
        target("two", &second)
    );
    let gateway = Gateway::with_models(&models, &allowing(&host.to_string()), &[]);
    let body = format!(
        r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"url","url":"http://{host}/a.jpg"}}}},{{"type":"document","title":"d","source":{{"type":"url","url":"http://{host}/b.txt"}}}},{{"type":"image","source":{{"type":"url","url":"http://{host}/a.jpg"}}}}]}}]}}"#
    );
    let mut client = gateway.connect();
    client.call("POST", "/v1/messages", "", body.as_bytes());
    // Claude on Bedrock: InvokeModel, Anthropic's own form.
    let (mut far, request) = first.exchange();
    assert!(request.line.contains("/invoke "), "{}", request.line);
    let content = request.json()["messages"][0]["content"].clone();
    assert_eq!(content[0]["source"]["media_type"], "image/png", "the bytes decide");
    assert_eq!(content[0]["source"], content[2]["source"]);
    assert_eq!(content[1]["source"], serde_json::json!({"type": "text", "media_type": "text/plain", "data": "plain words"}));
    far.reply("503 Service Unavailable", "connection: close\r\n", r#"{"message":"later"}"#);
    // Nova: Converse. Nothing is fetched again.
    let (mut far, request) = second.exchange();
    assert!(request.line.contains("/converse "), "{}", request.line);
    assert_eq!(request.json()["messages"][0]["content"][0]["image"]["format"], "png");
    far.reply_text("seen");
    assert_eq!(client.answer().status, 200);
    let mut asked = asked.join().unwrap();
    asked.sort();
    assert_eq!(asked, ["/a.jpg", "/b.txt"]);
    gateway.wait_metrics(&["adit_buffered_bytes 0".to_owned()]);
}

#[test]
fn urls_that_lead_astray_are_refused_in_words_that_tell_nothing() {
    let refused = "secret words of an inner host";
    let (host, asked) = files(vec![
        (
            "/moved",
            format!("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data\r\ncontent-length: {}\r\n\r\n{refused}", refused.len())
                .into_bytes(),
        ),
        ("/denied", format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{refused}", refused.len()).into_bytes()),
        ("/page.png", file("image/png", b"<html>secret words of an inner host</html>")),
        ("/large", file("image/png", &PNG.repeat(100))),
    ]);
    let upstream = Upstream::new();
    let extra = format!("remote_files: {{ enabled: true, allow: ['{host}', localhost, '*.example.com'], max_bytes: 1000, timeout: 20s }}\n");
    let gateway = Gateway::start(upstream.address, &extra);
    let port = host.port();
    for url in [
        format!("http://{host}/moved"),
        format!("http://{host}/denied"),
        format!("http://{host}/page.png"),
        format!("http://{host}/large"),
        format!("http://localhost:{port}/x"),
        "http://localhost/x".to_owned(),
        "http://127.0.0.1/x".to_owned(),
        format!("http://user@{host}/x"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/".to_owned(),
        "http://2130706433/".to_owned(),
        "http://0177.0.0.1/".to_owned(),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://files.example.com@169.254.169.254/".to_owned(),
        "https://example.com.evil.test/".to_owned(),
    ] {
        let image = format!(r#"{{"model":"claude-3-haiku","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#);
        let answer = gateway.post("/v1/chat/completions", "", &image);
        assert_eq!(answer.status, 400, "{url}: {}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!((&error["type"], &error["param"]), (&"invalid_request_error".into(), &"messages[0].content[0].image_url.url".into()), "{url}");
        let text = answer.text();
        for telling in ["secret", "403", "302", "169.254", "127.0.0.1", "refused", "ec2"] {
            assert!(!text.contains(telling), "{url}: {text}");
        }
    }
    let answer = gateway.post("/v1/messages", "", r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://10.0.0.1/"}}]}]}"#);
    assert_eq!((answer.status, answer.json()["type"].as_str()), (400, Some("error")), "{}", answer.text());
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("does not fetch files from this host"), "{}", answer.text());
    assert_eq!(asked.join().unwrap().len(), 4);
    assert!(upstream.is_unused());
}

#[test]
fn remote_files_are_off_unless_the_operator_says_so_and_pass_where_the_provider_fetches() {
    let upstream = Upstream::new();
    let gateway = gateway(upstream.address, "");
    let image = |model: &str| {
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"http://10.0.0.1/a.png"}}}}]}}]}}"#)
    };
    for (path, body) in [
        ("/v1/chat/completions", image("claude-3-haiku")),
        ("/v1/messages", r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://10.0.0.1/"}}]}]}"#.to_owned()),
    ] {
        let answer = gateway.post(path, "", &body);
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("remote files are off"), "{}", answer.text());
    }
    let mut client = gateway.connect();
    client.post(image("gpt").as_bytes());
    let (mut far, request) = upstream.exchange();
    assert_eq!(request.json()["messages"][0]["content"][0]["image_url"]["url"], "http://10.0.0.1/a.png");
    far.reply("200 OK", "", r#"{"choices":[]}"#);
    assert_eq!(client.answer().status, 200);
}
