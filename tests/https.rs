//! An https endpoint: the certificate is checked, and the request arrives as over plain http.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::sync::Arc;

use common::{Gateway, Upstream};

const CHAT: &str = r#"{"model":"claude-3-haiku","messages":[{"role":"user","content":"Hi"}]}"#;

fn models(port: u16) -> String {
    format!(
        "providers:\n  bedrock: {{ type: bedrock, region: us-east-1, endpoint: 'https://localhost:{port}/vpce', bearer_token: obviously-fake }}\n\
         models:\n  claude-3-haiku: {{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }}\n"
    )
}

/// A TLS server with a fresh certificate, and that certificate for the gateway to trust.
fn tls() -> (rustls::ServerConfig, String) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (config, certified.cert.pem())
}

#[test]
fn an_https_endpoint_with_a_path_and_a_bearer_token() {
    let upstream = Upstream::new();
    let (config, certificate) = tls();
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let gateway = Gateway::with_models(&models(upstream.address.port()), "", &[("SSL_CERT_FILE", trusted.to_str().unwrap())]);
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let far = upstream.accept();
    let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let mut stream = rustls::StreamOwned::new(session, far.stream);
    let head = read_request(&mut stream);
    assert!(head.starts_with("POST /vpce/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    assert!(head.contains("\r\nauthorization: bearer obviously-fake\r\n"), "a bearer token stands in for a signature");
    assert!(!head.contains("x-amz-date"));
    let body = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}"#;
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.flush().unwrap();
    assert_eq!(client.answer().json()["choices"][0]["message"]["content"], "Hello");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let upstream = Upstream::new();
    let (config, _) = tls();
    let gateway = Gateway::with_models(&models(upstream.address.port()), "", &[]);
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let far = upstream.accept();
    let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let mut stream = rustls::StreamOwned::new(session, far.stream);
    // The gateway ends the handshake: nothing of the request has been sent.
    assert!(std::io::Read::read(&mut stream, &mut [0; 1]).map_or(true, |read| read == 0));
    drop(stream);
    let answer = client.answer();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], "upstream_error");
}

/// The head of a request; its body is read to the end.
fn read_request(stream: &mut impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the request ended early");
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap()));
            if body.len() >= length.unwrap() {
                return format!("{head}\r\n\r\n");
            }
        }
    }
}
