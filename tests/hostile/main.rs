//! Bad input from both sides: what no client sends by accident, what no model answers, and URLs that lead astray. `make test` sends 2,000 generated requests,
//! `make hostile` 10,000 (HOSTILE_REQUESTS); HOSTILE_SEED repeats a run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the seed is what it takes to repeat a run")]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod framing;
mod generated;
mod http2;
mod provider;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{Client, Gateway};
use fastrand::Rng;

/// No connection of these may take longer.
const BOUND: Duration = Duration::from_secs(45);

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
