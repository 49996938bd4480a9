//! How relayed answers end: heads, errors, cuts and departures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::far::{anthropic_event, frames, wrapped};
use common::relays::start;
use common::{Answer, Client, Gateway, Upstream, exception, frame, h2};

const CHAT: (&str, &str) = ("/v1/chat/completions", r#"{"model":"my-gpt"}"#);
const CHAT_STREAM: (&str, &str) = ("/v1/chat/completions", r#"{"model":"my-gpt","stream":true}"#);
const MESSAGES: (&str, &str) = ("/v1/messages", r#"{"model":"my-claude"}"#);
const MESSAGES_STREAM: (&str, &str) = ("/v1/messages", r#"{"model":"my-claude","stream":true}"#);
const CONVERSE: (&str, &str) = ("/model/haiku/converse", "{}");
const CONVERSE_STREAM: (&str, &str) = ("/model/haiku/converse-stream", "{}");
const INVOKE_STREAM: (&str, &str) = ("/model/haiku/invoke-with-response-stream", "{}");
const NATIVE_OPENAI: (&str, &str) = ("/providers/openai/v1/files", "{}");
const NATIVE_ANTHROPIC: (&str, &str) = ("/providers/anthropic/v1/files", "{}");
const NATIVE_BEDROCK: (&str, &str) = ("/providers/bedrock/async-invoke", "{}");

const OPENAI_ERROR: &str = r#"{ "error":{"message":"No.","type":"some_error","param":null,"code":"c"},"more":1 }"#;
const ANTHROPIC_ERROR: &str = r#"{"error":{"message":"No.","type":"some_error"} ,"type":"error","request_id":"req_1"}"#;
const BEDROCK_ERROR: &str = r#"{"message":"No." }"#;

fn begin(gateway: &Gateway, upstream: &Upstream, (path, body): (&str, &str)) -> (Client, Client) {
    let mut client = gateway.connect();
    client.call("POST", path, "", body.as_bytes());
    (client, upstream.exchange().0)
}

/// What a client gets when the upstream answers with these bytes and closes.
fn answered(gateway: &Gateway, upstream: &Upstream, what: (&str, &str), answer: &[u8]) -> Answer {
    let (mut client, mut far) = begin(gateway, upstream, what);
    // No connection is used again: the next request comes on its own.
    let line = answer.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    far.send(&[&answer[..line], b"connection: close\r\n", &answer[line..]].concat());
    far.close();
    client.answer()
}

fn error(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn errors_pass_as_they_are_with_status_and_retry_after() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (what, body, name) in [
        (CHAT, OPENAI_ERROR, ""),
        (CHAT_STREAM, OPENAI_ERROR, ""),
        (NATIVE_OPENAI, OPENAI_ERROR, ""),
        (MESSAGES, ANTHROPIC_ERROR, ""),
        (MESSAGES_STREAM, ANTHROPIC_ERROR, ""),
        (NATIVE_ANTHROPIC, ANTHROPIC_ERROR, ""),
        (CONVERSE, BEDROCK_ERROR, "ThrottlingException"),
        (CONVERSE_STREAM, BEDROCK_ERROR, "ThrottlingException:http://internal.amazon.com/coral/"),
        (INVOKE_STREAM, BEDROCK_ERROR, "ModelNotReadyException"),
        (NATIVE_BEDROCK, BEDROCK_ERROR, "ThrottlingException"),
    ] {
        for (status, code) in
            [("429 Too Many Requests", 429), ("400 Bad Request", 400), ("404 Not Found", 404), ("503 Service Unavailable", 503), ("529 Overloaded", 529)]
        {
            let headers = if name.is_empty() { String::new() } else { format!("x-amzn-errortype: {name}\r\n") };
            let headers = format!("{headers}retry-after: 7\r\nx-should-retry: true\r\nserver: envoy\r\nx-request-id: theirs\r\n");
            let answer = answered(&gateway, &upstream, what, &error(status, &headers, body));
            assert_eq!((answer.status, answer.text()), (code, body), "{what:?}");
            assert_eq!((answer.header("retry-after"), answer.header("x-should-retry")), (Some("7"), Some("true")), "{what:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.header("server").is_none() && answer.header("x-request-id").unwrap() != "theirs");
            if !name.is_empty() {
                assert_eq!(answer.header("x-amzn-errortype"), Some(name));
            }
        }
    }
}

#[test]
fn an_error_about_the_gateways_own_key_is_a_502_that_does_not_tell_it() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let openai = r#"{"error":{"message":"Incorrect API key provided: sk-SECRET. See https://platform","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
    let anthropic = r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key SECRET"},"request_id":"r"}"#;
    let forbidden = r#"{"type":"error","error":{"type":"permission_error","message":"Your SECRET organization may not"},"request_id":"r"}"#;
    let bedrock = r#"{"message":"The security token SECRET included in the request is invalid."}"#;
    let signature = r#"{"message":"The request signature we calculated does not match SECRET. Check your AWS Secret Access Key"}"#;
    for (what, status, name, body) in [
        (CHAT, "401 Unauthorized", "", openai),
        (CHAT_STREAM, "401 Unauthorized", "", openai),
        (NATIVE_OPENAI, "401 Unauthorized", "", openai),
        (NATIVE_OPENAI, "403 Forbidden", "", openai),
        (NATIVE_OPENAI, "401 Unauthorized", "", ""),
        (CHAT, "401 Unauthorized", "", ""),
        (MESSAGES, "401 Unauthorized", "", anthropic),
        (MESSAGES_STREAM, "403 Forbidden", "", forbidden),
        (NATIVE_ANTHROPIC, "401 Unauthorized", "", anthropic),
        (NATIVE_ANTHROPIC, "403 Forbidden", "", ""),
        (CONVERSE, "403 Forbidden", "UnrecognizedClientException", bedrock),
        (CONVERSE_STREAM, "403 Forbidden", "InvalidSignatureException", signature),
        (INVOKE_STREAM, "403 Forbidden", "ExpiredTokenException", bedrock),
        (NATIVE_BEDROCK, "403 Forbidden", "UnrecognizedClientException", bedrock),
        (NATIVE_BEDROCK, "401 Unauthorized", "", ""),
    ] {
        let headers = if name.is_empty() { String::new() } else { format!("x-amzn-errortype: {name}\r\n") };
        let answer = answered(&gateway, &upstream, what, &error(status, &format!("{headers}www-authenticate: Bearer SECRET\r\n"), body));
        assert_eq!(answer.status, 502, "{what:?} {status} {body}: {}", answer.text());
        assert!(!answer.text().contains("SECRET") && !format!("{:?}", answer.headers).contains("SECRET"), "{what:?}: {answer:?}");
        assert!(answer.text().contains("the gateway could not authenticate itself"), "{what:?}: {}", answer.text());
        assert!(name.is_empty() || answer.header("x-amzn-errortype") != Some(name), "{what:?}: clients would renew their own credentials");
    }
    // HEAD has no body to say it in.
    let mut client = gateway.connect();
    client.call("HEAD", "/providers/openai/v1/files", "", b"");
    upstream.exchange().0.send(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.answer_to("HEAD").status, 502);
}

#[test]
fn an_error_that_names_the_account_is_written_anew() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let told = "User: arn:aws:sts::123456789012:assumed-role/adit/i-1 may not, on 123456789012, see https://vpce-1.internal.amazonaws.com/x (sk-abcdefghijk)";
    let openai = format!(r#"{{"error":{{"message":"{told} model","type":"t","param":null,"code":null}}}}"#);
    let anthropic = format!(r#"{{"type":"error","error":{{"type":"not_found_error","message":"{told} model"}}}}"#);
    let bedrock = format!(r#"{{"message":"{told} model"}}"#);
    for (what, body) in [
        (CHAT, &openai),
        (NATIVE_OPENAI, &openai),
        (MESSAGES, &anthropic),
        (NATIVE_ANTHROPIC, &anthropic),
        (CONVERSE, &bedrock),
        (CONVERSE_STREAM, &bedrock),
        (INVOKE_STREAM, &bedrock),
        (NATIVE_BEDROCK, &bedrock),
    ] {
        let answer = answered(&gateway, &upstream, what, &error("404 Not Found", "retry-after: 3\r\nx-amzn-errortype: ResourceNotFoundException\r\n", body));
        assert_eq!((answer.status, answer.header("retry-after")), (404, Some("3")), "{what:?}");
        for secret in ["arn:aws", "123456789012", "vpce-1", "sk-abc"] {
            assert!(!answer.text().contains(secret), "{what:?}: {}", answer.text());
        }
        assert!(answer.text().contains("may not"), "{what:?}: the sentence stays: {}", answer.text());
    }
}

#[test]
fn trap_49_an_error_that_is_written_anew_has_no_coding_of_the_old_one() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for what in [CHAT, NATIVE_OPENAI, MESSAGES, NATIVE_ANTHROPIC, CONVERSE, NATIVE_BEDROCK] {
        // Gzip, or what calls itself that; and a page of some proxy's.
        for (headers, body) in [("content-encoding: gzip\r\n", "\u{1f}\u{8b}garbage"), ("content-md5: abc\r\netag: \"1\"\r\n", "<html>Bad gateway</html>")] {
            let answer = answered(&gateway, &upstream, what, &error("503 Service Unavailable", headers, body));
            assert_eq!((answer.status, answer.header("content-encoding"), answer.header("content-md5")), (503, None, None), "{what:?}");
            assert!(answer.whole && answer.json().is_object(), "{what:?}");
        }
    }
}

#[test]
fn heads_carry_what_is_said_to_the_client_and_nothing_of_the_upstream() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let theirs = "server: envoy\r\nset-cookie: a=b\r\nset-cookie: c=d\r\nlocation: http://internal/x\r\nopenai-organization: org-1\r\nanthropic-organization-id: o\r\n\
        x-request-id: theirs\r\nx-adit-provider: fake\r\nx-adit-model: fake\r\nx-adit-attempts: 9\r\nx-adit-other: fake\r\nalt-svc: h3\r\nstrict-transport-security: x\r\n\
        cf-ray: 1\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\nconnection: x-hop\r\nx-powered-by: y\r\n\
        x-ratelimit-remaining-requests: 1\r\nanthropic-ratelimit-requests-limit: 2\r\nrequest-id: req_1\r\nx-amzn-requestid: amzn-1\r\nopenai-processing-ms: 3\r\n";
    for (what, provider, model) in [
        (CHAT, "openai", Some("my-gpt")),
        (MESSAGES, "anthropic", Some("my-claude")),
        (CONVERSE, "bedrock", Some("haiku")),
        (NATIVE_OPENAI, "openai", None),
        (NATIVE_ANTHROPIC, "anthropic", None),
        (NATIVE_BEDROCK, "bedrock", None),
    ] {
        for status in ["200 OK", "429 Too Many Requests"] {
            let body = if status.starts_with('2') { "{}" } else { r#"{"type":"error","message":"m","error":{"type":"t","message":"m"}}"# };
            let mut client = gateway.connect();
            client.call("POST", what.0, "x-request-id: mine-1\r\n", what.1.as_bytes());
            let (mut far, _) = upstream.exchange();
            far.send(&error(status, theirs, body));
            let answer = client.answer();
            for name in [
                "server",
                "set-cookie",
                "location",
                "openai-organization",
                "anthropic-organization-id",
                "alt-svc",
                "cf-ray",
                "x-hop",
                "x-adit-other",
                "x-powered-by",
            ] {
                assert_eq!(answer.header(name), None, "{what:?}");
            }
            let named = |name: &str| answer.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect::<Vec<_>>();
            assert_eq!(named("x-request-id"), ["mine-1"], "{what:?}");
            assert_eq!(named("x-adit-provider"), [provider], "{what:?}");
            assert_eq!(named("x-adit-model"), model.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{what:?}");
            assert_eq!(named("x-adit-attempts"), ["1"], "{what:?}");
            for (name, value) in
                [("x-ratelimit-remaining-requests", "1"), ("request-id", "req_1"), ("x-amzn-requestid", "amzn-1"), ("openai-processing-ms", "3")]
            {
                assert_eq!(named(name), [value], "{what:?}");
            }
        }
    }
}

#[test]
fn a_whole_answer_that_is_cut_is_a_broken_connection() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for what in [CHAT, MESSAGES, CONVERSE, NATIVE_OPENAI, NATIVE_BEDROCK] {
        for (head, body) in [
            ("content-length: 100", r#"{"half":"#.to_owned()),
            ("transfer-encoding: chunked", "8\r\n{\"half\":\r\n".to_owned()),
            // A blank line in it is no end of an event.
            ("transfer-encoding: chunked", "3\r\n{\n\n\r\n".to_owned()),
        ] {
            let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n\r\n{body}").into_bytes();
            let got = answered(&gateway, &upstream, what, &answer);
            assert!(got.status == 200 && !got.whole, "{what:?} {head}: {got:?}");
            assert!(!got.text().contains("error"), "{what:?}: {}", got.text());
            // Nothing has been said yet if not a byte of the body is there.
            answer.truncate(answer.len() - body.len());
            let got = answered(&gateway, &upstream, what, &answer);
            assert!(got.status == 502 && got.whole, "{what:?} {head}: {got:?}");
            // Over HTTP/2 the stream is reset.
            let client = h2::send(&gateway, "POST", what.0, &[], what.1.as_bytes(), 0);
            let (mut far, _) = upstream.exchange();
            answer.extend_from_slice(body.as_bytes());
            far.send(&answer);
            far.close();
            let got = client.join().unwrap();
            assert!(got.status == 200 && !got.whole, "h2c: {what:?} {head}: {got:?}");
        }
    }
}

#[test]
fn a_relayed_stream_that_is_cut_ends_in_the_dialects_error_or_not_at_all() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "timeouts: { connect: 1s, first_byte: 60s, idle: 200ms }");
    let delta = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n").into_bytes();
    let message = anthropic_event(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#).into_bytes();
    let converse = frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"x"}}"#);
    let invoke = wrapped(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#);
    for (what, event) in
        [(CHAT_STREAM, delta("x")), (MESSAGES_STREAM, message), (CONVERSE_STREAM, converse), (INVOKE_STREAM, invoke), (NATIVE_OPENAI, delta("y"))]
    {
        let is_frames = what.0.contains("/model/");
        for how in ["closed", "reset", "silent"] {
            for inside in [false, true] {
                let (mut client, mut far) = begin(&gateway, &upstream, what);
                if is_frames {
                    far.begin_stream()
                } else {
                    far.begin_sse()
                }
                let sent = if inside { &event[..event.len() - 1] } else { &event[..] };
                far.chunk(&event);
                if inside {
                    far.chunk(sent);
                }
                // The client has it before the end comes: what was sent is not taken back.
                let head = client.head().unwrap();
                let all = if inside { [&event[..], sent].concat() } else { event.clone() };
                let mut got = client.read_chunks(all.len());
                assert_eq!(got, all, "{what:?}");
                match how {
                    "closed" => far.close(),
                    "reset" => far.reset(),
                    _ => {}
                }
                let (rest, whole) = client.rest_of_chunks();
                got.extend_from_slice(&rest);
                let name = format!("{what:?}, {how}, inside: {inside}, {head:?}, {:?}", String::from_utf8_lossy(&got));
                assert_eq!(whole, !inside, "{name}");
                if inside {
                    assert!(rest.is_empty(), "{name}");
                } else if is_frames {
                    let frames = frames(&got);
                    assert!(frames.len() == 2 && frames[1].0 == "modelStreamErrorException", "{name}");
                } else if what == MESSAGES_STREAM {
                    assert!(rest.starts_with(b"event: error\ndata: {\"type\":\"error\",") && rest.ends_with(b"}\n\n"), "{name}");
                } else {
                    assert!(rest.starts_with(b"data: {\"error\":{") && !rest.ends_with(b"[DONE]\n\n"), "{name}");
                }
            }
        }
    }
}

#[test]
fn exceptions_in_a_relayed_stream_are_the_clients_to_read() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for what in [CONVERSE_STREAM, INVOKE_STREAM] {
        let body = [wrapped("{}"), exception("throttlingException", "slow down")].concat();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ncontent-length: {}\r\n\r\n", body.len());
        let got = answered(&gateway, &upstream, what, &[answer.as_bytes(), &body].concat());
        assert!(got.status == 200 && got.whole && got.body == body);
    }
}

#[test]
fn a_client_that_leaves_a_relay_takes_the_upstream_with_it_and_its_tokens_count() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for what in [CHAT_STREAM, CONVERSE_STREAM, NATIVE_OPENAI, CHAT] {
        for streaming in [false, true] {
            let (mut client, mut far) = begin(&gateway, &upstream, what);
            if streaming {
                far.begin_sse();
                far.chunk(b": some\n\n");
                client.read_until(b"some");
            }
            client.close();
            far.wait_closed();
        }
    }
    // What was told until then is booked: it has to be paid.
    let (mut client, mut far) = begin(&gateway, &upstream, MESSAGES_STREAM);
    far.begin_sse();
    far.named(common::far::ANTHROPIC_STREAM[0]);
    client.read_until(b"msg_1");
    client.close();
    far.wait_closed();
    let served = r#"gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="my-claude""#;
    gateway.wait_metrics(&[format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="input"}} 3"#)]);
    // The client of an HTTP/2 connection leaves its stream.
    let client = h2::leave(&gateway, CHAT_STREAM.0, CHAT_STREAM.1.as_bytes());
    let (mut far, _) = upstream.exchange();
    client();
    far.wait_closed();
}

#[test]
fn answers_of_old_servers_and_compressed_ones_pass() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for what in [CHAT, NATIVE_OPENAI, MESSAGES, CONVERSE] {
        // The end of the connection is the end of the body.
        for version in ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK"] {
            let answer = format!("{version}\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{{\"a\": 1}}");
            let got = answered(&gateway, &upstream, what, answer.as_bytes());
            assert!(got.status == 200 && got.whole && got.text() == r#"{"a": 1}"#, "{what:?} {version}: {got:?}");
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\nvary: accept-encoding\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x00\xff";
        let got = answered(&gateway, &upstream, what, answer);
        assert_eq!((got.status, got.header("content-encoding"), &got.body[..]), (200, Some("gzip"), &b"\x1f\x8b\x00\xff"[..]), "{what:?}");
        // Interim answers are the upstream's own.
        let answer = b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let got = answered(&gateway, &upstream, what, answer);
        assert_eq!((got.status, got.text()), (200, "{}"), "{what:?}");
        assert_eq!(got.header("link"), None);
    }
    // Chunks and a length at once: the chunks count.
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n";
    let got = answered(&gateway, &upstream, CHAT, answer);
    assert!(got.status == 502 || (got.whole && got.text() == "[1,2]"), "{got:?}");
    // An answer without the model's own path stays a good one.
    let got = answered(&gateway, &upstream, ("/providers/bedrock/guardrail/g/version/1/apply", "{}"), b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!((got.status, got.header("content-length")), (200, Some("0")));
}
