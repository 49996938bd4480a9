//! Clients that sign their requests with a key pair that was issued here: what is signed well is served and signed anew, everything else is refused unseen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, SystemTime};

use adit::provider::sigv4::verify::{Claim, Received};
use common::secrets::{AUDIT, LOUD};
use common::signed::{Call, elsewhere};
use common::{Gateway, Upstream, h2};
use http::{HeaderMap, HeaderName, HeaderValue};

const PATH: &str = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse";
const BODY: &str = r#"{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}"#;
const CHAT: &str = r#"{"model":"claude-3-haiku","messages":[{"role":"user","content":"Hello"}]}"#;
/// What the gateway signs with itself: `common::models`.
const OWN: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

const GOOD: (&str, &str) = ("ADITOBVIOUSLYNOTAKEY", "obviously-not-a-secret-of-the-robot-0000");
const KEYS: &str = r#"
keys:
  - { name: robot, access_key_id: ADITOBVIOUSLYNOTAKEY, secret: "${ROBOT}" }
  - { name: old, access_key_id: ADITOBVIOUSLYEXPIRED, secret: obviously-not-a-secret-of-the-robot-0000, expires: 2026-01-01T00:00:00Z }
  - { name: off, access_key_id: ADITOBVIOUSLYOFFOFFO, secret: obviously-not-a-secret-of-the-robot-0000, disabled: true }
"#;

/// A gateway that knows [`KEYS`].
fn gateway(upstream: &Upstream, auth: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.yaml");
    std::fs::write(&keys, KEYS).unwrap();
    let extra = format!("auth: {{ {auth}, keys: '{}' }}\ntrusted_proxies: [127.0.0.0/8]\n{AUDIT}", keys.display());
    (Gateway::with_models(&common::models(upstream.address), &extra, &[("ROBOT", GOOD.1), LOUD]), folder)
}

/// Signed with the pair that is good.
fn robot<'c>(path: &'c str, body: &'c str) -> Call<'c> {
    Call::new(GOOD, path, body)
}

/// Lets a request through, and shows what the upstream got.
fn served(upstream: &Upstream, mut client: common::Client) -> common::Request {
    let (mut far, request) = upstream.exchange();
    far.reply_text("ok");
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    request
}

/// The upstream's request is signed, whole, by the gateway and nobody else.
fn assert_own_signature(request: &common::Request) {
    let mut parts = request.line.split(' ');
    let (method, target) = (parts.next().unwrap(), parts.next().unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let received = Received { method, target: target.as_bytes(), authority: None, headers: &headers };
    let claim = Claim::read(&received, SystemTime::now()).unwrap().expect("a signature");
    assert_eq!(claim.access_key_id(), OWN.0);
    assert_eq!(claim.verify(&request.body, &claim.key(OWN.1)), Ok(()));
    let all = format!("{:?}", request.headers);
    assert!(!all.contains("ADIT") && !all.contains("amz-sdk"), "{all}");
}

#[test]
fn what_is_signed_well_is_served_and_signed_anew() {
    let upstream = Upstream::new();
    let (gateway, _keys) = gateway(&upstream, "enabled: true");
    let arn = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-3-haiku-20240307-v1%3A0/converse";
    for (path, body) in
        [(PATH, BODY), ("/model/claude-3-haiku/converse", BODY), (arn, BODY), ("/bedrock/model/claude-3-haiku/converse", BODY), ("/v1/chat/completions", CHAT)]
    {
        let call = Call { headers: vec![("x-amz-user-agent", "test"), ("x-amzn-bedrock-trace", "ENABLED")], ..robot(path, body) };
        let mut client = gateway.connect();
        client.call("POST", path, &format!("amz-sdk-request: attempt=1\r\n{}", call.lines()), body.as_bytes());
        assert_own_signature(&served(&upstream, client));
    }
    gateway.keeps_secrets();
}

#[test]
fn a_body_in_chunks_and_http_2_are_signed_the_same_way() {
    let upstream = Upstream::new();
    let (gateway, _keys) = gateway(&upstream, "enabled: true");
    let call = robot(PATH, BODY);
    let mut client = gateway.connect();
    client.send(format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{}transfer-encoding: chunked\r\n\r\n", call.lines()).as_bytes());
    for piece in BODY.as_bytes().chunks(7) {
        client.chunk(piece);
    }
    client.send(b"0\r\n\r\n");
    assert_own_signature(&served(&upstream, client));

    let call = Call { authority: "gateway.example", ..call };
    for piece in [0, 7] {
        let mut headers = call.signed();
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = h2::send(&gateway, "POST", PATH, &headers, BODY.as_bytes(), piece);
        let (mut far, request) = upstream.exchange();
        far.reply_text("ok");
        assert_eq!(answer.join().unwrap().status, 200);
        assert_own_signature(&request);
        let changed = h2::send(&gateway, "POST", PATH, &headers, br#"{"messages":[]}"#, piece).join().unwrap();
        assert_eq!((changed.status, changed.header("x-amzn-errortype")), (403, Some("InvalidSignatureException")));
    }
    gateway.keeps_secrets();
}

#[test]
fn whatever_is_wrong_is_refused_as_aws_refuses_it_and_nobody_behind_hears_of_it() {
    let upstream = Upstream::new();
    let (gateway, _keys) = gateway(&upstream, "enabled: true, mode: [api_key, api_key+totp]");
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let call = robot(PATH, BODY);
    let hash = |value: &'static str| Call { headers: vec![("x-amz-content-sha256", value)], ..call.clone() };
    let (invalid, unknown) = ("InvalidSignatureException", "UnrecognizedClientException");
    for (call, name, message) in [
        (Call { pair: (GOOD.0, "another-secret"), ..call.clone() }, invalid, "does not match"),
        (Call { time: SystemTime::now() - minutes(6), ..call.clone() }, invalid, "Signature expired: "),
        (Call { time: SystemTime::now() + minutes(6), ..call.clone() }, invalid, "Signature not yet current: "),
        (hash("UNSIGNED-PAYLOAD"), invalid, "whole payload"),
        (hash("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), invalid, "whole payload"),
        (hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), invalid, "whole payload"),
        (Call { headers: vec![("x-amz-security-token", "FwoGZXIvYXdzEXAMPLE")], ..call.clone() }, unknown, "security token"),
    ] {
        let answer = call.refused(&gateway);
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, Some(name)), "{message}: {}", answer.text());
        assert!(answer.json()["message"].as_str().unwrap().contains(message), "{}", answer.text());
    }
    // What is unknown, switched off or over looks the same.
    let bodies = [("ADITOBVIOUSLYUNKNOWN", GOOD.1), ("ADITOBVIOUSLYEXPIRED", GOOD.1), ("ADITOBVIOUSLYOFFOFFO", GOOD.1)].map(|pair| {
        let answer = Call { pair, ..call.clone() }.refused(&gateway);
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, Some(unknown)));
        answer.text().to_owned()
    });
    assert_eq!(bodies, [r#"{"message":"The security token included in the request is invalid."}"#; 3]);

    // Changed on the way.
    let lines = call.lines();
    for (path, headers, body) in [
        (PATH, lines.clone(), r#"{"messages":[{"role":"user","content":[{"text":"Hellp"}]}]}"#),
        ("/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream", lines.clone(), BODY),
        ("/model/anthropic.claude-3-haiku-20240307-v1:0/converse", lines.clone(), BODY),
        (&format!("{PATH}?a=1"), lines.clone(), BODY),
        (PATH, format!("{lines}x-amz-target: x\r\n"), BODY),
        (PATH, lines.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), BODY),
        (&format!("{PATH}?X-Amz-Signature=00"), String::new(), BODY),
    ] {
        let answer = gateway.post(path, &format!("{}{headers}", elsewhere()), body);
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, Some(invalid)), "{path} {headers} {}", answer.text());
    }
    assert!(upstream.is_unused());
    // Who speaks another API is told so in it.
    let answer = Call { pair: (GOOD.0, "another-secret"), ..robot("/v1/chat/completions", CHAT) }.refused(&gateway);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (401, Some("invalid_signature")));
    let answer = Call { pair: ("ADITOBVIOUSLYUNKNOWN", "x"), ..robot("/v1/messages", CHAT) }.refused(&gateway);
    assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (401, Some("authentication_error")));
    assert!(upstream.is_unused());
    gateway.keeps_secrets();
}

#[test]
fn a_signature_counts_where_keys_count_and_is_nobodys_where_authentication_is_off() {
    let upstream = Upstream::new();
    let unknown = Call { pair: ("AKIDOBVIOUSLYUNKNOWN", "x"), ..robot(PATH, BODY) };
    let (open, _keys) = gateway(&upstream, "enabled: false");
    let mut client = open.connect();
    client.call("POST", PATH, &unknown.lines(), BODY.as_bytes());
    assert_own_signature(&served(&upstream, client));

    // Beside a key it says nothing.
    let (keys, _keys) = gateway(&upstream, "enabled: true");
    let call = robot(PATH, BODY);
    let answer = keys.post(PATH, &format!("x-api-key: obviously-not-a-key\r\n{}", call.lines()), BODY);
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (401, Some("UnrecognizedClientException")));

    let (other, _keys) = gateway(&upstream, "enabled: true, mode: api_key+totp");
    assert_eq!(robot(PATH, BODY).refused(&other).status, 403);
    assert!(upstream.is_unused());
}

#[test]
fn secrets_are_told_nobody() {
    let upstream = Upstream::new();
    let (gateway, _keys) = gateway(&upstream, "enabled: true");
    let bad = Call { pair: (GOOD.0, "another-secret"), ..robot(PATH, BODY) };
    assert_eq!(bad.refused(&gateway).status, 403);
    let mut client = gateway.connect();
    let good = robot(PATH, BODY);
    client.call("POST", PATH, &good.lines(), BODY.as_bytes());
    served(&upstream, client);
    gateway.keeps_secrets();
}

#[test]
fn who_guesses_a_secret_or_an_id_waits_and_whose_clock_is_off_does_not() {
    let upstream = Upstream::new();
    let (gateway, _keys) = gateway(&upstream, "enabled: true");
    let from = |address: &str, call: &Call<'_>| gateway.post(call.path, &format!("x-forwarded-for: {address}\r\n{}", call.lines()), call.body);
    for (number, (path, body, wrong)) in [(PATH, BODY, 403), ("/v1/chat/completions", CHAT, 401)].into_iter().enumerate() {
        let (guesser, seeker, skewed) = (format!("192.0.2.{number}"), format!("192.0.3.{number}"), format!("192.0.4.{number}"));
        let good = robot(path, body);
        let guess = Call { pair: (GOOD.0, "another-secret"), ..good.clone() };
        let unknown = Call { pair: ("ADITOBVIOUSLYUNKNOWN", GOOD.1), ..good.clone() };
        let late = Call { time: SystemTime::now() - Duration::from_secs(600), ..good.clone() };
        for _ in 0..5 {
            assert_eq!(from(&guesser, &guess).status, wrong);
            assert_eq!(from(&seeker, &unknown).status, wrong);
        }
        // Which ids there are is told by nothing, not even by who waits.
        for (address, call) in [(&guesser, &good), (&guesser, &guess), (&seeker, &unknown)] {
            let answer = from(address, call);
            assert_eq!(answer.status, 429, "{}", answer.text());
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=61).contains(&wait), "{wait}");
            assert_eq!(answer.header("x-amzn-errortype"), (wrong == 403).then_some("ThrottlingException"));
        }
        // More than enough to wait for, if it counted.
        for _ in 0..60 {
            assert_eq!(from(&skewed, &late).status, wrong);
        }
        assert!(upstream.is_unused());
        for address in [skewed, format!("192.0.5.{number}")] {
            let mut client = gateway.connect();
            client.call("POST", path, &format!("x-forwarded-for: {address}\r\n{}", good.lines()), body.as_bytes());
            let (mut far, _) = upstream.exchange();
            far.reply_closing("ok");
            assert_eq!(client.answer().status, 200);
        }
        // A success forgives what came before.
        for _ in 0..2 {
            let address = format!("192.0.6.{number}");
            for _ in 0..4 {
                assert_eq!(from(&address, &guess).status, wrong);
            }
            let mut client = gateway.connect();
            client.call("POST", path, &format!("x-forwarded-for: {address}\r\n{}", good.lines()), body.as_bytes());
            let (mut far, _) = upstream.exchange();
            far.reply_closing("ok");
            assert_eq!(client.answer().status, 200);
        }
    }
    gateway.keeps_secrets();
}
