//! Thousands of requests that nobody has thought of, beside good ones.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fastrand::Rng;

use crate::common::{Client, Gateway};
use crate::framing::ambiguous;
use crate::provider::provider;
use crate::{BOUND, canary, chat, check_canary, gateway, mutate, post};

/// Requests in `make test`.
const FEW: usize = 2_000;
/// Connections at a time.
const WORKERS: usize = 4;

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
