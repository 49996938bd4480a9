//! One request that becomes several calls: `n` answers of a model that makes one at a time, and embeddings of texts that a model takes one by one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::far::{ANTHROPIC_STREAM, events};
use common::relays::start;
use common::{Answer, Came, Client, Gateway, Request, Upstream, exception, frame, h2};

const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";
const THROTTLED: &str = "x-amzn-errortype: ThrottlingException\r\nretry-after: 7\r\n";

fn chat(n: usize, stream: bool) -> String {
    format!(
        r#"{{"model":"haiku","n":{n},"stream":{stream},"stream_options":{},"messages":[{{"role":"user","content":"Hi"}}]}}"#,
        if stream { r#"{"include_usage":true}"# } else { "null" }
    )
}

fn begin(gateway: &Gateway, path: &str, body: &str) -> Client {
    let mut client = gateway.connect();
    client.call("POST", path, "", body.as_bytes());
    client
}

/// As many calls as there are to be, each on a connection of its own.
fn calls(upstream: &Upstream, count: usize) -> Vec<(Client, Request)> {
    (0..count).map(|_| upstream.exchange()).collect()
}

fn streams(upstream: &Upstream, count: usize) -> Vec<Client> {
    calls(upstream, count).into_iter().map(|(far, _)| far).collect()
}

/// Chunks of a whole streamed answer.
fn chunks(answer: &Answer) -> Vec<serde_json::Value> {
    events(answer.text()).iter().filter(|(_, data)| data != "[DONE]").map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
}

/// The text of each choice.
fn texts(chunks: &[serde_json::Value], count: usize) -> Vec<String> {
    let mut texts = vec![String::new(); count];
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
        let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
    }
    texts
}

#[test]
fn choices_come_by_index_in_whatever_order_the_calls_are_answered() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = begin(&gateway, CHAT, &chat(4, false));
    let mut calls = calls(&upstream, 4);
    for (_, request) in &calls {
        assert!(request.line.contains("/converse ") && request.body == calls[0].1.body && request.json().get("n").is_none());
    }
    for (number, (far, _)) in calls.iter_mut().enumerate().rev() {
        far.reply_text(&format!("text {number}"));
    }
    let answer = client.answer();
    let json = answer.json();
    let choices = json["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let mut texts: Vec<_> = choices.iter().map(|choice| choice["message"]["content"].as_str().unwrap().to_owned()).collect();
    texts.sort();
    assert_eq!(texts, ["text 0", "text 1", "text 2", "text 3"]);
    for (name, tokens) in [("prompt_tokens", 12), ("completion_tokens", 8), ("total_tokens", 20)] {
        assert_eq!(json["usage"][name], tokens, "{json}");
    }
    assert_eq!(
        (answer.header("x-adit-provider"), answer.header("x-adit-model"), answer.header("x-adit-attempts")),
        (Some("bedrock"), Some("haiku"), Some("1"))
    );
    assert!(answer.header("content-length").is_some() && answer.header("x-request-id").is_some());
}

#[test]
fn streamed_choices_are_interleaved_and_end_together() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = begin(&gateway, CHAT, &chat(3, true));
    let mut calls = streams(&upstream, 3);
    calls.iter_mut().for_each(Client::begin_last_answer);
    calls[2].delta("c1");
    assert!(client.read_until(b"c1").ends_with(b"c1"), "the first content does not wait for the others");
    calls[0].delta("a1");
    client.read_until(b"a1");
    calls[2].delta("c2");
    calls[2].end_stream();
    client.read_until(b"\"finish_reason\":\"stop\"");
    calls[1].delta("b1");
    calls[1].end_stream();
    calls[0].delta("a2");
    calls[0].end_stream();
    let rest = String::from_utf8(client.read_until(b"0\r\n\r\n")).unwrap();
    assert!(rest.contains(r#""prompt_tokens":9,"completion_tokens":6,"total_tokens":15"#), "{rest}");
    assert!(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{rest}");
    // All at once: whole texts under their own index, whatever the order.
    let mut client = begin(&gateway, CHAT, &chat(3, true));
    let mut calls = streams(&upstream, 3);
    for (call, name) in calls.iter_mut().zip(["a", "b", "c"]).rev() {
        call.begin_answer();
        for number in 0..3 {
            call.delta(&format!("{name}{number} "));
        }
        call.end_stream();
    }
    let answer = client.answer();
    let chunks = chunks(&answer);
    let mut texts = texts(&chunks, 3);
    texts.sort();
    assert_eq!(texts, ["a0 a1 a2 ", "b0 b1 b2 ", "c0 c1 c2 "]);
    assert_eq!(chunks.iter().filter(|chunk| !chunk["usage"].is_null()).count(), 1);
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
}

#[test]
fn another_provider_fans_out_as_well() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = begin(&gateway, CHAT, &chat(2, true).replace("haiku", "my-claude"));
    for (far, request) in &mut calls(&upstream, 2) {
        assert_eq!(request.line, "POST /v1/messages HTTP/1.1");
        far.begin_sse();
        ANTHROPIC_STREAM.iter().for_each(|event| far.named(event));
        far.end_chunks();
    }
    let answer = client.answer();
    assert_eq!(texts(&chunks(&answer), 2), ["first", "first"]);
    assert!(answer.text().contains(r#""prompt_tokens":6,"completion_tokens":4"#), "{}", answer.text());
}

#[test]
fn a_call_that_fails_before_content_gives_its_status_and_ends_the_others() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = gateway.connect();
    for stream in [false, true] {
        for (how, status) in [("refused", 429), ("cut", 502), ("nonsense", 502), ("exception", 503)] {
            client.call("POST", CHAT, "", chat(4, stream).as_bytes());
            let mut calls = streams(&upstream, 4);
            // Whichever of them it is: the last one is the hardest.
            let mut failing = calls.pop().unwrap();
            if stream {
                calls[0].begin_answer();
            }
            match how {
                "refused" => failing.reply("429 Too Many Requests", THROTTLED, r#"{"message":"slow down"}"#),
                "cut" => failing.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
                "nonsense" if stream => failing.reply("200 OK", "", ""),
                "nonsense" => failing.reply("500 Oops", "", "nonsense"),
                _ if stream => {
                    failing.begin_answer();
                    failing.chunk(&exception("serviceUnavailableException", "no"));
                }
                _ => failing.reply("503 Gone", "", r#"{"message":"no"}"#),
            }
            failing.close();
            let answer = client.answer();
            let status = if how == "nonsense" && !stream { 500 } else { status };
            assert_eq!(answer.status, status, "{how}, stream: {stream}: {}", answer.text());
            assert!(answer.whole && answer.json()["error"]["message"].is_string());
            assert_eq!(answer.header("retry-after"), Some("7").filter(|_| how == "refused"));
            assert_eq!(answer.header("x-adit-provider"), Some("bedrock"));
            calls.iter_mut().for_each(Client::wait_closed);
        }
    }
    assert!(upstream.is_unused(), "a failed call was made again");
}

#[test]
fn a_call_that_fails_after_content_ends_the_stream_with_an_error() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "timeouts: { connect: 1s, first_byte: 60s, idle: 200ms }");
    let mut client = gateway.connect();
    for how in ["exception", "cut", "reset", "half", "refused", "silent"] {
        client.call("POST", CHAT, "", chat(3, true).as_bytes());
        let mut calls = streams(&upstream, 3);
        calls[0].begin_answer();
        calls[0].delta("some");
        client.read_until(b"some");
        let mut failing = calls.pop().unwrap();
        if how != "refused" {
            failing.begin_answer();
        }
        match how {
            "exception" => failing.chunk(&exception("throttlingException", "slow down")),
            "refused" => failing.reply("429 Too Many Requests", THROTTLED, r#"{"message":"slow down"}"#),
            "half" => {
                failing.chunk(&frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"lost"}}"#)[..40]);
                failing.end_chunks();
            }
            "reset" => failing.reset(),
            "cut" => failing.close(),
            _ => {}
        }
        let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
        assert!(rest.contains(r#"data: {"error":{"message":"#) && !rest.contains("[DONE]") && !rest.contains("lost"), "{how}: {rest}");
        calls.iter_mut().for_each(Client::wait_closed);
    }
}

#[test]
fn no_more_than_eight_calls_are_under_way() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for stream in [false, true] {
        let mut client = begin(&gateway, CHAT, &chat(11, stream));
        let mut calls: std::collections::VecDeque<_> = streams(&upstream, 8).into();
        for _ in 0..3 {
            // A round trip: time enough for a ninth call to come.
            assert_eq!(gateway.get("/health").status, 200);
            assert!(upstream.is_unused());
            let mut far = calls.pop_front().unwrap();
            answer_call(&mut far, stream);
            calls.push_back(upstream.exchange().0);
        }
        calls.iter_mut().for_each(|far| answer_call(far, stream));
        let answer = client.answer();
        assert!(answer.status == 200 && answer.whole, "{}", answer.text());
        if stream {
            assert_eq!(texts(&chunks(&answer), 11), ["ok"; 11]);
        } else {
            assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 11);
        }
    }
}

/// A good answer and the end of the connection.
fn answer_call(far: &mut Client, stream: bool) {
    if stream {
        far.begin_last_answer();
        far.delta("ok");
        far.end_stream();
    } else {
        far.reply_closing("ok");
    }
}

#[test]
fn comments_keep_silent_choices_alive_and_a_later_failure_is_an_event() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "stream: { keepalive: 50ms }");
    let mut client = begin(&gateway, CHAT, &chat(2, true));
    let mut calls = streams(&upstream, 2);
    assert!(client.read_until(b": keep-alive\n\n").starts_with(b"HTTP/1.1 200 OK\r\n"));
    // What the client does not see is no sign of life for it.
    calls[0].begin_answer();
    let seen = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            client.read_until(b": keep-alive\n\n");
            client.read_until(b": keep-alive\n\n");
            seen.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            calls[0].event("somethingNew", "{}");
        }
    });
    calls[0].delta("late");
    client.read_until(b"late");
    client.read_until(b": keep-alive\n\n");
    calls[1].reply("429 Too Many Requests", THROTTLED, r#"{"message":"slow down"}"#);
    let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
    assert!(rest.contains("rate_limit_exceeded") && !rest.contains("[DONE]"), "{rest}");
}

#[test]
fn a_client_that_leaves_takes_all_calls_with_it() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let inputs = r#"{"model":"titan","input":["a","b","c"]}"#;
    for (path, body) in [(CHAT, &*chat(3, false)), (CHAT, &*chat(3, true)), (EMBEDDINGS, inputs)] {
        let client = begin(&gateway, path, body);
        let mut calls = streams(&upstream, 3);
        client.close();
        calls.iter_mut().for_each(Client::wait_closed);
        let leave = h2::leave(&gateway, path, body.as_bytes());
        let mut calls = streams(&upstream, 3);
        leave();
        calls.iter_mut().for_each(Client::wait_closed);
    }
    // And while it gets its answer.
    let mut client = begin(&gateway, CHAT, &chat(3, true));
    let mut calls = streams(&upstream, 3);
    calls[1].begin_answer();
    calls[1].delta("some");
    client.read_until(b"some");
    client.close();
    calls.iter_mut().for_each(Client::wait_closed);
}

#[test]
fn a_client_that_sends_ahead_gets_both_answers() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for stream in [false, true] {
        let mut client = begin(&gateway, CHAT, &chat(2, stream));
        let mut calls = streams(&upstream, 2);
        client.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(gateway.get("/health").status, 200);
        calls.iter_mut().for_each(|far| answer_call(far, stream));
        let answer = client.answer();
        assert!(answer.status == 200 && answer.whole, "{answer:?}");
        assert!(client.answer().text().contains("healthy"));
    }
}

/// Titan's answer: a vector that tells the text.
fn vector(text: &str) -> String {
    let number = f32::from(text.as_bytes()[0]);
    format!(r#"{{"embedding":[{number},0.5],"inputTextTokenCount":2}}"#)
}

fn embed(gateway: &Gateway, inputs: &str, more: &str) -> Client {
    begin(gateway, EMBEDDINGS, &format!(r#"{{"model":"titan","input":{inputs}{more}}}"#))
}

#[test]
fn vectors_come_in_the_order_of_their_texts() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = embed(&gateway, r#"["a","b","c","d"]"#, "");
    let mut calls = calls(&upstream, 4);
    calls.sort_by_key(|(_, request)| std::cmp::Reverse(request.json()["inputText"].as_str().unwrap().to_owned()));
    for (far, request) in &mut calls {
        assert_eq!(request.line, "POST /model/amazon.titan-embed-text-v2%3A0/invoke HTTP/1.1");
        far.reply("200 OK", "", &vector(request.json()["inputText"].as_str().unwrap()));
    }
    let answer = client.answer();
    let json = answer.json();
    for (index, expected) in [97.0, 98.0, 99.0, 100.0].iter().enumerate() {
        let data = &json["data"][index];
        assert_eq!((&data["object"], &data["index"], data["embedding"][0].as_f64()), (&"embedding".into(), &index.into(), Some(*expected)), "{json}");
    }
    assert_eq!(json["usage"], serde_json::json!({"prompt_tokens": 8, "total_tokens": 8}));
    assert_eq!((json["model"].as_str(), answer.header("x-adit-model")), (Some("titan"), Some("titan")));
    let served = r#"gen_ai_operation_name="embeddings",gen_ai_provider_name="aws.bedrock",gen_ai_request_model="titan""#;
    gateway.wait_metrics(&[
        r#"adit_requests_total{gen_ai_request_model="titan",route="/v1/embeddings",status="200"} 1"#.to_owned(),
        format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="input"}} 8"#),
        format!(r#"gen_ai_client_token_usage_count{{{served},gen_ai_token_type="input"}} 1"#),
        r#"adit_overhead_seconds_count{gen_ai_operation_name="embeddings"} 1"#.to_owned(),
        "adit_requests_in_flight 0".to_owned(),
    ]);
}

#[test]
fn trap_62_base64_is_little_endian_floats_and_tokens_may_stand_in_a_header() {
    use base64::Engine;
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = embed(&gateway, r#""a""#, r#","encoding_format":"base64""#);
    let (mut far, _) = upstream.exchange();
    far.reply("200 OK", "connection: close\r\n", &vector("a"));
    let bytes: Vec<u8> = [97.0_f32, 0.5].iter().flat_map(|number| number.to_le_bytes()).collect();
    let answer = client.answer();
    assert_eq!(answer.json()["data"][0]["embedding"], base64::engine::general_purpose::STANDARD.encode(bytes));
    // Cohere takes 96 texts a call and tells its tokens in a header.
    let inputs: Vec<String> = (0..100).map(|number| format!("\"{number}\"")).collect();
    let mut client = begin(&gateway, EMBEDDINGS, &format!(r#"{{"model":"embed","input":[{}]}}"#, inputs.join(",")));
    for (far, request) in &mut calls(&upstream, 2) {
        let texts = request.json()["texts"].as_array().unwrap().clone();
        let vectors: Vec<String> = texts.iter().map(|text| format!("[{}]", text.as_str().unwrap())).collect();
        let body = format!(r#"{{"embeddings":[{}],"id":"x","response_type":"embeddings_floats","texts":[]}}"#, vectors.join(","));
        far.reply("200 OK", &format!("x-amzn-bedrock-input-token-count: {}\r\n", texts.len()), &body);
    }
    let json = client.answer().json();
    for number in 0..100 {
        assert_eq!(json["data"][number]["embedding"][0].as_f64().unwrap(), f64::from(u32::try_from(number).unwrap()));
    }
    assert_eq!(json["usage"]["prompt_tokens"], 100);
}

#[test]
fn the_first_error_wins_although_an_earlier_call_is_silent() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let mut client = embed(&gateway, r#"["a","b","c"]"#, "");
    let mut calls = calls(&upstream, 3);
    let last = calls.iter().position(|(_, request)| request.json()["inputText"] == "c").unwrap();
    let (mut far, _) = calls.swap_remove(last);
    far.reply("429 Too Many Requests", THROTTLED, r#"{"message":"slow down"}"#);
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    calls.iter_mut().for_each(|(far, _)| far.wait_closed());
}

#[test]
fn an_answer_with_too_few_vectors_is_a_502() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (model, reply) in [
        ("titan", "{}"),
        ("titan", r#"{"embedding":null}"#),
        ("embed", r#"{"embeddings":[[1.0]]}"#),
        ("embed", r#"{"embeddings":[]}"#),
        ("embed", r#"{"embeddings":[[1.0],[1.0],[1.0]]}"#),
        ("embed", "not json"),
    ] {
        let inputs = if model == "titan" { r#"["a"]"# } else { r#"["a","b"]"# };
        let mut client = begin(&gateway, EMBEDDINGS, &format!(r#"{{"model":"{model}","input":{inputs}}}"#));
        let (mut far, _) = upstream.exchange();
        far.reply("200 OK", "connection: close\r\n", reply);
        let answer = client.answer();
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (502, Some("server_error")), "{model} {reply}");
    }
}

#[test]
fn a_pooled_connection_that_the_upstream_closed_is_replaced_and_a_slow_one_is_not_asked_twice() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "timeouts: { connect: 1s, first_byte: 300ms, idle: 60s }");
    let mut client = gateway.connect();
    let ask = |client: &mut Client, text: &str| client.call("POST", EMBEDDINGS, "", format!(r#"{{"model":"titan","input":"{text}"}}"#).as_bytes());
    // A call on a connection that was used before.
    let again = |client: &mut Client| {
        ask(client, "a");
        let (mut far, _) = upstream.exchange();
        loop {
            far.reply("200 OK", "", &vector("a"));
            assert_eq!(client.answer().status, 200);
            ask(client, "b");
            let (next, _, came) = upstream.next(far);
            far = next;
            if came == Came::Again {
                return far;
            }
        }
    };
    // The upstream has read the request, but not answered a byte.
    again(&mut client).close();
    let (mut far, request) = upstream.exchange();
    assert_eq!(request.json()["inputText"], "b");
    far.reply("200 OK", "connection: close\r\n", &vector("b"));
    assert_eq!(client.answer().json()["data"][0]["embedding"][0].as_f64(), Some(98.0));
    // trap_58: a silent one may be working. It was paid for.
    let mut far = again(&mut client);
    assert_eq!(client.answer().status, 504);
    far.wait_closed();
    assert!(upstream.is_unused(), "a slow call was made again");
    // One that had begun to answer is not asked again either.
    let mut far = again(&mut client);
    far.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
    far.close();
    assert_eq!(client.answer().status, 502);
    assert!(upstream.is_unused(), "a call that was being answered was made again");
}

#[test]
fn answers_of_every_framing_are_read() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for answer in [
        format!("HTTP/1.0 200 OK\r\n\r\n{}", vector("a")),
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", vector("a")),
        format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", vector("a").len(), vector("a")),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{{\r\n{:x}\r\n{}\r\n0\r\n\r\n", vector("a").len() - 1, &vector("a")[1..]),
    ] {
        let mut client = embed(&gateway, r#"["a"]"#, "");
        let (mut far, _) = upstream.exchange();
        far.send(answer.as_bytes());
        far.close();
        assert_eq!(client.answer().json()["data"][0]["embedding"][0], 97.0, "{answer}");
    }
}
