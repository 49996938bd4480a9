//! The upstream: good answers to good questions, and garbage where it is asked for.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpListener};

use fastrand::Rng;

use crate::common::{self, Client};
use crate::mutate;

/// A model provider that gives a good answer to good questions, repeating them, and garbage to those that ask for it: `garbage-SEED`.
pub(crate) fn provider() -> SocketAddr {
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
