//! What passes untouched: the same bytes on both sides, whatever the framing, and nothing of either side that is not the other's business.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::far::{ANTHROPIC_STREAM, OPENAI_STREAM, anthropic_event, frames, wrapped};
use common::relays::{ANTHROPIC_KEY, Framing, HAIKU, ODD, OPENAI_KEY, post, serve, start};
use common::{Client, Upstream, frame, h2};

const FRAMES: &str = "application/vnd.amazon.eventstream";
const SSE: &str = "text/event-stream; charset=utf-8";

/// JSON as nobody would write it, of at least this length: what reads and writes it anew would change it.
fn odd(members: &str, length: usize) -> Vec<u8> {
    let padding = "\\u0041\\/ é🦙".repeat(length / 16);
    format!("{{ {members}\t\"z\":{{\"b\" :1.000000000000000000001,\r\n\"a\":[ ]}},\"pad\":\"{padding}\" ,\"e\": 1E2 }}\n").into_bytes()
}

fn openai_stream() -> Vec<u8> {
    let events: String = OPENAI_STREAM.iter().map(|data| format!("data: {data}\n\n")).collect();
    format!(": a comment\r\n\r\n{events}data:  [DONE]\n\n").into_bytes()
}

fn anthropic_stream() -> Vec<u8> {
    ANTHROPIC_STREAM.iter().map(|data| anthropic_event(data)).collect::<String>().into_bytes()
}

fn converse_stream() -> Vec<u8> {
    [
        frame("messageStart", r#"{"role":"assistant","p":"abc"}"#),
        frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"first"}}"#),
        frame("somethingNew", "{}"),
        frame("messageStop", r#"{"stopReason":"end_turn"}"#),
        frame("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#),
    ]
    .concat()
}

fn invoke_stream() -> Vec<u8> {
    let stop = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2,"invocationLatency":1}}"#;
    let events = ANTHROPIC_STREAM.iter().map(|data| if data.contains("message_stop") { stop } else { data });
    events.flat_map(wrapped).collect()
}

const OPENAI_JSON: &str = r#""usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"choices":[{"finish_reason":"stop"}],"#;
const ANTHROPIC_JSON: &str = r#""usage" :{"input_tokens":3,"output_tokens":2},"stop_reason":"end_turn","#;
const CONVERSE_JSON: &str = r#""usage":{"inputTokens":3, "outputTokens":2,"totalTokens":5},"stopReason":"end_turn","#;

/// A kind of relay.
struct Relay {
    path: String,
    /// Members of the request.
    asks: &'static str,
    /// What the upstream must be asked.
    target: String,
    media_type: &'static str,
    answer: fn() -> Vec<u8>,
    /// `operation`, `provider`, `model` in the metrics.
    labels: [&'static str; 3],
}

fn relays() -> Vec<Relay> {
    let relay = |path: &str, asks, target: &str, media_type, answer, labels| Relay {
        path: path.to_owned(),
        asks,
        target: target.to_owned(),
        media_type,
        answer,
        labels,
    };
    let bedrock = |operation: &str| format!("/model/{HAIKU}/{operation}");
    let native = |provider: &str, rest: &str| format!("/providers/{provider}{rest}");
    const CHAT: &str = r#""messages" :[{"role":"user","content":"Hi"}] ,"model":"gpt-4o","#;
    const CHAT_STREAM: &str = r#""stream":true , "messages" :[{"role":"user","content":"Hi"}] ,"model":"gpt-4o","#;
    const MESSAGES: &str = r#""max_tokens":5,"messages" :[{"role":"user","content":"Hi"}] ,"model":"claude-sonnet-4-5","#;
    const MESSAGES_STREAM: &str = r#""stream" :true,"max_tokens":5,"messages" :[{"role":"user","content":"Hi"}] ,"model":"claude-sonnet-4-5","#;
    let (converse, streamed) = (bedrock("converse"), bedrock("converse-stream"));
    let (invoke, invoked) = (bedrock("invoke"), bedrock("invoke-with-response-stream"));
    vec![
        relay("/v1/chat/completions", CHAT, "/v1/chat/completions", "application/json", || odd(OPENAI_JSON, 0), ["chat", "openai", "other"]),
        relay("/chat/completions", CHAT_STREAM, "/v1/chat/completions", SSE, openai_stream, ["chat", "openai", "other"]),
        relay("/v1/messages", MESSAGES, "/v1/messages", "application/json", || odd(ANTHROPIC_JSON, 0), ["chat", "anthropic", "other"]),
        relay("/v1/messages", MESSAGES_STREAM, "/v1/messages", SSE, anthropic_stream, ["chat", "anthropic", "other"]),
        relay(
            "/v1/embeddings",
            r#""input":[ "a"], "model":"text-embedding-3-small","#,
            "/v1/embeddings",
            "application/json",
            || odd(r#""usage":{"prompt_tokens":3,"total_tokens":3},"#, 0),
            ["embeddings", "openai", "other"],
        ),
        relay(&converse, "", &converse, "application/json", || odd(CONVERSE_JSON, 0), ["chat", "aws.bedrock", "other"]),
        relay(&format!("/bedrock{streamed}"), "", &streamed, FRAMES, converse_stream, ["chat", "aws.bedrock", "other"]),
        relay(&invoke, "", &invoke, "application/json", || odd(ANTHROPIC_JSON, 0), ["invoke", "aws.bedrock", "other"]),
        relay(&native("bedrock", &invoked), "", &invoked, FRAMES, invoke_stream, ["invoke", "aws.bedrock", "other"]),
        relay(&native("openai", "/v1/chat/completions"), "", "/v1/chat/completions", SSE, openai_stream, ["native", "openai", "other"]),
        relay(
            &native("openai", "/chat/completions?a=b"),
            "",
            "/v1/chat/completions?a=b",
            "application/json",
            || odd(OPENAI_JSON, 0),
            ["native", "openai", "other"],
        ),
        relay(&native("anthropic", "/v1/messages"), "", "/v1/messages", SSE, anthropic_stream, ["native", "anthropic", "other"]),
    ]
}

#[test]
fn every_relay_passes_every_byte_of_request_and_answer_in_every_framing() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let upstream = &upstream;
    for relay in relays() {
        for (size, asked, answered) in [(0, Framing::Length, Framing::Length), (1000, ODD, Framing::Chunks(&[1])), (90_000, ODD, ODD)] {
            let name = format!("{} {} ({size}, {asked:?}, {answered:?})", relay.path, relay.media_type);
            let body = odd(relay.asks, size);
            let answer = (relay.answer)();
            let client = post(&gateway, &relay.path, asked, &body);
            let request = serve(upstream, relay.media_type, answered, &answer);
            assert_eq!(request.line, format!("POST {} HTTP/1.1", relay.target), "{name}");
            assert!(request.whole && request.body == body, "{name}: the request is another one");
            let got = client.join().unwrap();
            assert!(got.status == 200 && got.whole && got.body == answer, "{name}: {:?}", String::from_utf8_lossy(&got.body));
            assert_eq!(got.header("content-type"), Some(relay.media_type), "{name}");
            // The same over HTTP/2.
            let client = h2::send(&gateway, "POST", &relay.path, &[("content-type", "application/json")], &body, if size == 0 { 0 } else { 10_007 });
            let request = serve(upstream, relay.media_type, answered, &answer);
            assert!(request.whole && request.body == body, "{name}: h2c: the request is another one");
            let got = client.join().unwrap();
            assert!(got.status == 200 && got.whole && got.body == answer, "{name}: h2c: {:?}", String::from_utf8_lossy(&got.body));
        }
    }
}

#[test]
fn large_answers_and_requests_pass_byte_for_byte() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (asked, answered) in [(Framing::Length, Framing::Length), (ODD, ODD)] {
        for path in ["/v1/chat/completions", "/providers/openai/v1/files"] {
            let (body, answer) = (odd(r#""model":"gpt-4o","#, 5_000_000), odd(OPENAI_JSON, 5_000_000));
            let client = post(&gateway, path, asked, &body);
            let request = serve(&upstream, "application/json", answered, &answer);
            assert!(request.whole && request.body == body);
            let got = client.join().unwrap();
            assert!(got.whole && got.body == answer);
            let client = h2::send(&gateway, "POST", path, &[], &body, 0);
            assert!(serve(&upstream, "application/json", answered, &answer).body == body);
            let got = client.join().unwrap();
            assert!(got.whole && got.body == answer);
        }
    }
}

#[test]
fn trap_04_frames_pass_and_are_read_wherever_they_are_cut() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let path = format!("/model/{HAIKU}/converse-stream");
    for sizes in [&[1][..], &[2], &[3, 5], &[11], &[12], &[13, 1], &[97]] {
        let (client, answer) = (post(&gateway, &path, Framing::Length, b"{}"), converse_stream());
        serve(&upstream, FRAMES, Framing::Chunks(sizes), &answer);
        let got = client.join().unwrap();
        assert!(got.whole && got.body == answer, "{sizes:?}");
        assert_eq!(frames(&got.body).len(), 5);
    }
    let labels = r#"gen_ai_operation_name="chat",gen_ai_provider_name="aws.bedrock",gen_ai_request_model="haiku""#;
    gateway.wait_metrics(&[format!(r#"gen_ai_client_token_usage_sum{{{},gen_ai_token_type="output"}} 14"#, labels.replace("haiku", "other"))]);
}

#[test]
fn tokens_are_counted_of_every_relay() {
    let upstream = Upstream::new();
    for relay in relays() {
        let gateway = start(&upstream, "");
        let client = post(&gateway, &relay.path, Framing::Length, &odd(relay.asks, 0));
        serve(&upstream, relay.media_type, ODD, &(relay.answer)());
        assert!(client.join().unwrap().whole);
        let [operation, provider, model] = relay.labels;
        let served = format!(r#"gen_ai_operation_name="{operation}",gen_ai_provider_name="{provider}",gen_ai_request_model="{model}""#);
        let mut wanted = vec![format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="input"}} 3"#)];
        if operation != "embeddings" {
            wanted.push(format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="output"}} 2"#));
        }
        let first_token = format!("gen_ai_server_time_to_first_token_seconds_count{{{served}}} 1");
        let is_stream = relay.media_type != "application/json";
        if is_stream {
            wanted.push(first_token.clone());
        }
        gateway.wait_metrics(&wanted);
        assert_eq!(gateway.get("/metrics").text().contains(&first_token), is_stream, "only streams have a first token: {}", relay.path);
    }
}

#[test]
fn only_the_models_name_changes_and_only_where_it_is_another_one() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (path, members, sent) in [
        ("/v1/chat/completions", r#" "model"  :"my-gpt" , "messages": [ ],"#, r#" "model"  :"gpt-4o" , "messages": [ ],"#),
        ("/v1/chat/completions", r#""model":"my\u002dgpt","messages": [ ],"#, r#""model":"gpt-4o","messages": [ ],"#),
        ("/v1/chat/completions", r#""model":"my-gpt","metadata":{"model":"my-gpt"},"#, r#""model":"gpt-4o","metadata":{"model":"my-gpt"},"#),
        ("/v1/chat/completions", r#""model":"gpt\u002d4o","#, r#""model":"gpt\u002d4o","#),
        // Whichever of the two a server takes, it is the one that was allowed.
        ("/v1/chat/completions", r#""model":"gpt-5-pro","model":"my-gpt","#, r#""model":"gpt-4o","model":"gpt-4o","#),
        ("/v1/messages", r#""system":"my-claude","model":"my-claude" ,"#, r#""system":"my-claude","model":"claude-sonnet-4-5" ,"#),
        ("/v1/messages/count_tokens", r#""model":"my-claude" ,"#, r#""model":"claude-sonnet-4-5" ,"#),
        ("/model/haiku/converse", r#""model":"haiku","#, r#""model":"haiku","#),
        ("/model/haiku/invoke", r#""model":"haiku","#, r#""model":"haiku","#),
    ] {
        let client = post(&gateway, path, Framing::Length, &odd(members, 100));
        let request = serve(&upstream, "application/json", Framing::Length, b"{}");
        assert_eq!(String::from_utf8(request.body).unwrap(), String::from_utf8(odd(sent, 100)).unwrap(), "{path}");
        assert_eq!(client.join().unwrap().body, b"{}");
        if path.starts_with("/model/") {
            assert!(request.line.starts_with(&format!("POST /model/{HAIKU}/")), "{}", request.line);
        }
    }
}

#[test]
fn the_first_piece_of_a_relayed_stream_does_not_wait_for_the_second() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "timeouts: { connect: 1s, first_byte: 60s, idle: 60s, total: 100ms }");
    for (path, body, client_sees) in [
        ("/v1/chat/completions", r#"{"model":"gpt-4o","stream":true}"#, "one"),
        ("/v1/messages", r#"{"model":"my-claude","stream":true}"#, "one"),
        // Nothing in the request says that the answer is a stream.
        ("/providers/openai/v1/anything", "{}", "one"),
    ] {
        let mut client = gateway.connect();
        client.call("POST", path, "", body.as_bytes());
        let (mut far, request) = upstream.exchange();
        assert_eq!(request.header("accept-encoding"), Some("identity"));
        far.begin_sse();
        far.chunk(b"data: one");
        assert!(client.read_until(client_sees.as_bytes()).ends_with(b"data: one"));
        // Time itself is what is tested here: the stream becomes older than `total`.
        std::thread::sleep(std::time::Duration::from_millis(150));
        far.chunk(b"\n\ndata: two\n\n");
        client.read_until(b"two\n\n");
        far.end_chunks();
        assert!(client.read_until(b"0\r\n\r\n").ends_with(b"0\r\n\r\n"), "{path}");
        far.close();
    }
}

/// A client's request and the upstream's answer to it. The client's connection lives on, the upstream's does not: nothing may be left on it.
fn both(client: &mut Client, upstream: &Upstream, request: (&str, &str, &[u8]), answer: &str) -> (common::Request, common::Answer) {
    let (method, path, body) = request;
    client.call(method, path, if body.is_empty() && method == "POST" { "content-length: 0\r\n" } else { "" }, body);
    let (mut far, seen) = upstream.exchange();
    far.send(answer.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes());
    let answer = client.answer_to(method);
    assert_eq!(far.last_words(), "", "{method} {path}: more than a request");
    (seen, answer)
}

#[test]
fn a_providers_own_api_takes_every_method_and_gives_every_status() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = gateway.connect();
    let missing = r#"{"error":{"message":"No such file","type":"invalid_request_error","param":"id","code":null}}"#;
    let missing = format!("HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{missing}", missing.len());
    for (method, body, answer) in [
        ("GET", "", "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\netag: \"1\"\r\ncontent-length: 3\r\n\r\nabc"),
        ("GET", "", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("GET", "", "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n"),
        ("GET", "", "HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\n\r\n"),
        ("GET", "", "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 1-2/9\r\ncontent-length: 2\r\n\r\nbc"),
        ("GET", "", "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n"),
        ("GET", "", &missing),
        ("HEAD", "", "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1234\r\n\r\n"),
        ("HEAD", "", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("HEAD", "", "HTTP/1.1 404 Not Found\r\ncontent-length: 77\r\n\r\n"),
        ("DELETE", "", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("DELETE", r#"{"ids":[1]}"#, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
        ("PUT", "plain text", "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"),
        ("PATCH", "{}", "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"),
        ("POST", "", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        ("POST", "{}", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"),
        ("OPTIONS", "", "HTTP/1.1 204 No Content\r\nallow: GET\r\n\r\n"),
        ("PURGE", "", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let what = format!("{method} {body:?} {answer}");
        let (request, got) = both(&mut client, &upstream, (method, "/providers/openai/v1/files/f", body.as_bytes()), answer);
        assert_eq!(request.line, format!("{method} /v1/files/f HTTP/1.1"));
        assert_eq!(request.body, body.as_bytes());
        assert_eq!(request.header("transfer-encoding"), None, "{what}");
        let has_length = !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH");
        assert_eq!(request.header("content-length").map(str::to_owned), has_length.then(|| body.len().to_string()), "{what}");
        let (head, sent) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!(" {} ", got.status)) && got.whole, "{what}: {got:?}");
        if head.contains("chunked") {
            assert_eq!(got.body, if method == "HEAD" { "" } else { "{}" }.as_bytes(), "{what}");
        } else {
            assert_eq!(got.text(), sent, "{what}");
        }
        for line in head.lines().skip(1).filter(|line| !line.starts_with("transfer-encoding")) {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(got.header(name), Some(value), "{what}");
        }
    }
    // The statuses also over HTTP/2.
    for (method, answer) in
        [("HEAD", "200 OK\r\ncontent-length: 9"), ("DELETE", "204 No Content"), ("GET", "304 Not Modified"), ("GET", "200 OK\r\ncontent-length: 0")]
    {
        let client = h2::send(&gateway, method, "/providers/openai/v1/files/f", &[], b"", 0);
        let (mut far, request) = upstream.exchange();
        assert_eq!(request.line, format!("{method} /v1/files/f HTTP/1.1"));
        far.send(format!("HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n").as_bytes());
        assert_eq!(far.last_words(), "");
        let got = client.join().unwrap();
        assert!(answer.starts_with(&got.status.to_string()) && got.body.is_empty() && got.whole, "{method} {answer}: {got:?}");
    }
}

#[test]
fn paths_and_queries_stay_as_they_were_written() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = gateway.connect();
    for (provider, rest, target) in [
        ("openai", "/v1/models?limit=2&after=a%2Fb%20c&empty=&flag&x=%C3%A9&x=2", None),
        ("openai", "/v1/models/gpt%2D4%2e1%2d?", None),
        ("openai", "/files/%E2%82%AC/a+b;c=d,e@f:g$h!i'j(k)l*m~n", Some("/v1/files/%E2%82%AC/a+b;c=d,e@f:g$h!i'j(k)l*m~n")),
        ("openai", "/v1//files///x/", None),
        ("openai", "//evil.example/v1", Some("/v1//evil.example/v1")),
        ("openai", "/v1x/files", Some("/v1/v1x/files")),
        ("openai", "/v1/a?x=../..&y=%2e%2e/%2f", None),
        ("openai", "/v1/a%2Fb/.hidden/...", None),
        ("openai", "/v1/?", None),
        ("openai", "/", Some("/v1/")),
        ("anthropic", "//evil.example/v1/models", None),
        ("anthropic", "/@evil.example/", None),
        ("anthropic", "/http://evil.example/v1?u=http://evil.example", None),
        ("anthropic", "/v1/%00%0d%0aHost:%20evil", None),
        ("bedrock", "/guardrail/g%2F1/version/1/apply?a=b%20c", None),
        ("bedrock", "/async-invoke?maxResults=1&statusEquals=InProgress", None),
    ] {
        let (request, answer) =
            both(&mut client, &upstream, ("GET", &format!("/providers/{provider}{rest}"), b""), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(request.line, format!("GET {} HTTP/1.1", target.unwrap_or(rest)));
        assert_eq!(answer.status, 200);
        assert_eq!(request.headers.iter().filter(|(name, _)| name == "host").count(), 1);
    }
}

#[test]
fn no_way_leads_out_of_a_providers_place_or_to_another_host() {
    let upstream = Upstream::new();
    let stranger = Upstream::new();
    let gateway = start(&upstream, "");
    for rest in ["..", ".", "v1/../admin", "v1/%2e%2e/admin", "%2E./x", ".%2e/", "a%2f..%2fb", "%2e%2e%2Fx", "v1\\..\\admin", "v1/./x", "..;/x%2f.."] {
        for provider in ["openai", "anthropic", "bedrock"] {
            let answer = gateway.get(&format!("/providers/{provider}/{rest}"));
            assert_eq!(answer.status, 400, "{rest}");
        }
    }
    assert_eq!(gateway.get("/v1/../providers/openai/v1/models").status, 404);
    assert_eq!(gateway.get("/providers/%2e%2e/x").status, 404);
    // Whatever a client calls the host, and wherever: the provider's own is asked, under its own name.
    let other = stranger.address;
    for (line, headers, target) in [
        (format!("GET http://{other}/providers/openai/v1/models HTTP/1.1"), format!("host: {other}"), "/v1/models"),
        ("GET /providers/openai/v1/models HTTP/1.1".to_owned(), format!("host: {other}\r\nx-forwarded-host: {other}\r\nforwarded: host={other}"), "/v1/models"),
        (format!("GET /providers/openai//{other}/v1 HTTP/1.1"), "host: x".to_owned(), "/v1//OTHER/v1"),
        (format!("GET /providers/openai/@{other}/v1 HTTP/1.1"), "host: x".to_owned(), "/v1/@OTHER/v1"),
    ] {
        let mut client = gateway.connect();
        client.send(format!("{line}\r\n{headers}\r\n\r\n").as_bytes());
        let (mut far, request) = upstream.exchange();
        assert_eq!(request.line, format!("GET {} HTTP/1.1", target.replace("OTHER", &other.to_string())));
        let hosts: Vec<_> = request.headers.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.as_str()).collect();
        assert_eq!(hosts, [upstream.address.to_string()]);
        assert!(!request.headers.iter().any(|(name, value)| name != "host" && value.contains(&other.to_string())), "{:?}", request.headers);
        far.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    for path in [format!("/providers/http:%2f%2f{other}/v1"), format!("//{other}/providers/openai/v1"), format!("/providers/{other}/v1/models")] {
        assert_eq!(gateway.get(&path).status, 404, "{path}");
    }
    assert!(stranger.is_unused() && upstream.is_unused(), "a refused request went out");
}

#[test]
fn credentials_of_a_client_end_here_and_the_gateways_are_there_once() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let theirs = "aUThorization: Bearer CLIENT\r\nX-Api-KEY: CLIENT\r\nAPI-Key: CLIENT\r\nx-goog-api-key: CLIENT\r\nCookie: a=CLIENT\r\ncookie: b=CLIENT\r\n\
        Proxy-Authorization: Basic CLIENT\r\nX-Amz-Security-Token: CLIENT\r\nX-Amz-Date: CLIENT\r\nx-amz-content-sha256: CLIENT\r\nX-TOTP-Code: CLIENT\r\nX-OTP: CLIENT\r\n\
        x-forwarded-access-token: CLIENT\r\nx-amzn-oidc-data: CLIENT\r\nx-amzn-oidc-accesstoken: CLIENT\r\nx-goog-iap-jwt-assertion: CLIENT\r\n\
        x-serverless-authorization: CLIENT\r\nocp-apim-subscription-key: CLIENT\r\nx-auth-request-access-token: CLIENT\r\nx-auth-token: CLIENT\r\n\
        OpenAI-Organization: CLIENT\r\nopenai-project: CLIENT\r\nx-adit-anything: CLIENT\r\nx-private: CLIENT\r\n\
        Connection: keep-alive, x-api-key, X-Private, anthropic-version, authorization\r\nconnection: content-type\r\nanthropic-version: CLIENT\r\n\
        x-stainless-lang: rust\r\nuser-agent: tester\r\n";
    let mut client = gateway.connect();
    for (path, body) in [
        ("/v1/chat/completions", r#"{"model":"gpt-4o"}"#),
        ("/v1/messages", r#"{"model":"my-claude"}"#),
        (&*format!("/model/{HAIKU}/converse"), "{}"),
        (&*format!("/model/{HAIKU}/invoke"), "{}"),
        ("/providers/openai/v1/files", "{}"),
        ("/providers/anthropic/v1/files", "{}"),
        ("/providers/bedrock/async-invoke", "{}"),
    ] {
        client.call("POST", path, theirs, body.as_bytes());
        let (mut far, request) = upstream.exchange();
        let told = format!("{:?}", request.headers);
        assert!(!told.contains("CLIENT"), "{path}: {told}");
        let ours: Vec<(&str, &str)> = request
            .headers
            .iter()
            .filter(|(name, _)| matches!(name.as_str(), "authorization" | "x-api-key" | "api-key"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        if path.contains("/anthropic/") || path == "/v1/messages" {
            assert_eq!(ours, [("x-api-key", ANTHROPIC_KEY)], "{path}");
            assert_eq!(request.header("anthropic-version"), Some("2023-06-01"), "{path}");
        } else if path.contains("openai") || path.contains("chat") {
            assert_eq!(ours, [("authorization", &*format!("Bearer {OPENAI_KEY}"))], "{path}");
        } else {
            assert!(matches!(&*ours, [("authorization", value)] if value.starts_with("AWS4-HMAC-SHA256 Credential=AKIA")), "{path}: {ours:?}");
            for name in ["x-amz-date", "x-amz-content-sha256"] {
                assert!(request.headers.iter().filter(|(known, _)| known == name).count() <= 1, "{path}: {name} twice");
            }
        }
        if path.starts_with("/providers/") {
            assert_eq!((request.header("x-stainless-lang"), request.header("user-agent")), (Some("rust"), Some("tester")), "{path}");
        }
        far.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(client.answer().status, 200);
    }
}
