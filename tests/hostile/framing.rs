//! Where a request ends, and how much of one may come.

use std::io::Write as _;
use std::net::Shutdown;

use crate::provider::provider;
use crate::{canary, chat, check_canary, exchange, gateway};

/// Framings that some parser would read in another way: none of them may get an answer to the request inside.
pub(crate) fn ambiguous(inner: &str) -> Vec<Vec<u8>> {
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
        (431, many(255), "/v1/chat/completions".to_owned()),
        (431, many(1000), "/v1/chat/completions".to_owned()),
        (414, String::new(), format!("/v1/models/{}", "m".repeat(9 * 1024))),
        (400, "host: other\r\n".to_owned(), "/v1/models".to_owned()),
    ];
    for (status, headers, path) in cases {
        let said = exchange(gateway.address, format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes());
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{status} {}: {said}", headers.len());
        assert!(said.contains(r#""type":"invalid_request_error""#) && said.to_lowercase().contains("connection: close"), "{said}");
        // As the second request of its connection.
        let mut client = gateway.connect();
        client.send(&canary(7, "gpt"));
        check_canary(&mut client, 7);
        // It may be refused long before its end.
        let _ = client.stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes());
        let said = client.last_words();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{status} {}: {said}", headers.len());
    }
    // What is no head at all is not taken for one that is too long.
    for (status, bytes) in
        [(400, "- , HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"), (400, "x\0\r\n\r\n"), (400, "GET / HTTP/1.1\r\n: x\r\n\r\n")]
    {
        let said = exchange(gateway.address, bytes.as_bytes());
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:?}: {said}");
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
