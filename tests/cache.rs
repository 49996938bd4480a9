//! The response cache of the real daemon: what comes from it, in which form, for whom, and what never does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::audit::lines;
use common::h2::body;
use common::redis::Redis;
use common::{Answer, Client, Gateway, Upstream};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

const ON: &str = "cache: { enabled: true }";
const CHAT: &str = r#"{"model":"claude-3-haiku","temperature":0,"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
const CONVERSE: &str = r#"{"inferenceConfig":{"temperature":0},"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;

/// Answers each request for as long as the test runs, with how manieth it is, as a stream where that is asked for; counts them.
fn serve(upstream: Upstream) -> Arc<AtomicUsize> {
    serve_with(upstream, |far, number, stream| {
        if stream {
            far.begin_stream();
            far.delta(&format!("answer {number}"));
            far.end_stream();
        } else {
            far.reply_text(&format!("answer {number}"));
        }
    })
}

fn serve_with(upstream: Upstream, reply: impl Fn(&mut Client, usize, bool) + Send + Sync + 'static) -> Arc<AtomicUsize> {
    let (asked, reply) = (Arc::new(AtomicUsize::new(0)), Arc::new(reply));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        loop {
            let mut far = upstream.accept();
            let (count, reply) = (Arc::clone(&count), Arc::clone(&reply));
            std::thread::spawn(move || {
                while let Some(request) = far.request() {
                    let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                    reply(&mut far, number, request.line.contains("-stream"));
                }
            });
        }
    });
    asked
}

fn told(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-adit-cache"))
}

/// The three APIs: path, whole and streamed, and the body of each.
fn apis() -> [(&'static str, String, &'static str, String); 3] {
    let stream = |body: &str| body.replacen('{', r#"{"stream":true,"#, 1);
    [
        ("/v1/chat/completions", CHAT.to_owned(), "/v1/chat/completions", stream(CHAT)),
        ("/v1/messages", CHAT.to_owned(), "/v1/messages", stream(CHAT)),
        ("/model/claude-3-haiku/converse", CONVERSE.to_owned(), "/model/claude-3-haiku/converse-stream", CONVERSE.to_owned()),
    ]
}

/// The text of an answer in any API, whole or streamed.
fn text(answer: &Answer) -> String {
    if answer.header("content-type").unwrap().starts_with("application/vnd.amazon.eventstream") {
        return common::far::frames(&answer.body).iter().filter_map(|(_, payload)| payload["delta"]["text"].as_str().map(str::to_owned)).collect();
    }
    let whole = |json: &Value| {
        let places = ["/choices/0/message/content", "/content/0/text", "/output/message/content/0/text", "/choices/0/delta/content", "/delta/text"];
        places.iter().find_map(|place| json.pointer(place)?.as_str().map(str::to_owned)).unwrap_or_default()
    };
    if answer.header("content-type").unwrap().starts_with("application/json") {
        return whole(&answer.json());
    }
    let data = answer.text().lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| whole(&serde_json::from_str(data).unwrap())).collect()
}

#[test]
fn the_same_question_is_answered_from_memory_however_it_is_written() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, ON);
    let asked = serve(upstream);
    let first = gateway.chat(CHAT);
    assert_eq!(told(&first), (200, Some("miss")));
    let again = gateway.chat(
        "{ \"messages\": [{\"content\":\"\\u0048i\",\"role\":\"user\"}], \"max_tokens\": 9, \"temperature\": 0, \"model\": \"claude-3-haiku\", \"stream\": false }",
    );
    assert_eq!(told(&again), (200, Some("hit")));
    assert_eq!((again.text(), again.header("content-type")), (first.text(), Some("application/json")));
    assert!(again.header("age").is_some() && again.header("x-request-id").is_some());
    assert_eq!(again.header("x-adit-model"), Some("claude-3-haiku"));
    for other in [CHAT.replace("Hi", "Ho"), CHAT.replace('9', "8"), CHAT.replace("\"max", "\"seed\":1,\"max")] {
        assert_eq!(told(&gateway.chat(&other)), (200, Some("miss")), "{other}");
        assert_eq!(told(&gateway.chat(&other)), (200, Some("hit")), "{other}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    let saved = |kind: &str, tokens: u64| format!("adit_response_cache_saved_tokens_total{{gen_ai_token_type=\"{kind}\"}} {tokens}");
    let requests = |result: &str, count: u64| format!("adit_response_cache_requests_total{{result=\"{result}\"}} {count}");
    gateway.wait_metrics(&[saved("input", 12), saved("output", 8), requests("hit", 4), requests("miss", 4), "adit_response_cache_entries 4".to_owned()]);
}

#[test]
fn a_stream_and_a_whole_answer_stand_for_each_other_in_every_api() {
    for stream_first in [false, true] {
        let upstream = Upstream::new();
        // Of Claude, Messages pass as they are: of this one everything is translated.
        let models = common::models(upstream.address).replace("anthropic.claude-3-haiku-20240307-v1:0", "amazon.nova-lite-v1:0");
        let gateway = Gateway::with_models(&models, ON, &[]);
        let asked = serve(upstream);
        for (number, (path, body, stream_path, stream_body)) in apis().into_iter().enumerate() {
            let whole = || gateway.post(path, "", &body);
            let stream = || gateway.post(stream_path, "", &stream_body);
            let (first, other) = if stream_first { (stream(), whole()) } else { (whole(), stream()) };
            assert_eq!((told(&first), told(&other)), ((200, Some("miss")), (200, Some("hit"))), "{path}");
            let expected = format!("answer {}", number + 1);
            assert_eq!((text(&first), text(&other)), (expected.clone(), expected.clone()), "{path}");
            // As the model has answered it: word for word the first time's.
            let third = if stream_first { stream() } else { whole() };
            assert_eq!((told(&third), &third.body), ((200, Some("hit")), &first.body), "{path}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}

#[test]
fn what_passes_untouched_is_kept_too() {
    const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-3-haiku-20240307","content":[{"type":"text","text":"as it is"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#;
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, ON);
    let asked = serve_with(upstream, |far, _, _| far.reply("200 OK", "content-type: application/json\r\n", MESSAGE));
    let first = gateway.post("/v1/messages", "", CHAT);
    let again = gateway.post("/v1/messages", "", CHAT);
    assert_eq!((told(&first), told(&again), first.text()), ((200, Some("miss")), (200, Some("hit")), again.text()));
    let stream = gateway.post("/v1/messages", "", &CHAT.replacen('{', r#"{"stream":true,"#, 1));
    assert_eq!((told(&stream), text(&stream)), ((200, Some("hit")), "as it is".to_owned()));
    // What else a header may change in an answer makes another question.
    assert_eq!(told(&gateway.post("/v1/messages", "anthropic-beta: context-1m-2025-08-07\r\n", CHAT)), (200, Some("miss")));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_stream_tells_of_tokens_only_where_it_is_asked_to() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, ON);
    let asked = serve(upstream);
    let silent = CHAT.replacen('{', r#"{"stream":true,"#, 1);
    let telling = silent.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    for first in [&silent, &telling] {
        let answer = gateway.chat(first);
        assert_eq!(answer.text().contains("\"total_tokens\":5"), first == &telling, "{}", answer.text());
    }
    let whole = gateway.chat(CHAT);
    assert_eq!((told(&whole), &whole.json()["usage"]["total_tokens"]), ((200, Some("hit")), &5.into()));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_request_says_what_it_wants_of_the_cache() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, ON);
    let asked = serve(upstream);
    let with = |headers: &str, body: &str| gateway.post("/v1/chat/completions", headers, body);
    assert_eq!(told(&with("cache-control: no-store\r\n", CHAT)), (200, Some("bypass")));
    assert_eq!(told(&with("", CHAT)), (200, Some("miss")), "it was not kept");
    assert_eq!(text(&with("", CHAT)), "answer 2");
    let fresh = with("cache-control: no-cache\r\n", CHAT);
    assert_eq!((told(&fresh), text(&fresh)), ((200, Some("miss")), "answer 3".to_owned()));
    assert_eq!(text(&with("cache-control: max-age=60\r\n", CHAT)), "answer 3", "the fresh one was kept");
    assert_eq!(told(&with("cache-control: max-age=0\r\n", CHAT)), (200, Some("miss")));
    // Answers differ where the temperature lets them.
    let warm = CHAT.replace("\"temperature\":0", "\"temperature\":0.7");
    let unsaid = CHAT.replace("\"temperature\":0,", "");
    for body in [&warm, &unsaid] {
        assert_eq!(told(&with("", body)), (200, Some("bypass")));
        assert_eq!(told(&with("x-adit-cache: on\r\n", body)), (200, Some("miss")));
        assert_eq!(told(&with("x-adit-cache: on\r\n", body)), (200, Some("hit")));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 8);
}

#[test]
fn what_failed_was_cut_or_is_not_whole_is_never_kept() {
    let upstream = Upstream::new();
    let mut gateway = Gateway::start(upstream.address, &format!("{ON}\naudit: {{ path: audit.jsonl }}"));
    let asked = serve_with(upstream, |far, number, stream| {
        match number {
        1 => far.reply("400 Bad Request", "x-amzn-errortype: ValidationException\r\n", r#"{"message":"no"}"#),
        2 => far.reply("200 OK", "content-type: application/json\r\n", "{}"),
        3 => {
            far.begin_stream();
            far.delta("half of");
            far.chunk(&common::far::exception("modelStreamErrorException", "it broke"));
            far.end_chunks();
        }
        4 => far.reply(
            "200 OK",
            "content-type: application/json\r\n",
            r#"{"output":{"message":{"role":"assistant","content":[{"text":"too lo"}]}},"stopReason":"max_tokens","usage":{"inputTokens":3,"outputTokens":9,"totalTokens":12},"metrics":{"latencyMs":1}}"#,
        ),
        _ if stream => {
            far.begin_stream();
            far.delta("good");
            far.end_stream();
        }
        _ => far.reply_text("good"),
    }
    });
    let stream = CHAT.replacen('{', r#"{"stream":true,"#, 1);
    for (body, status) in [(CHAT, 400), (CHAT, 502), (stream.as_str(), 200), (CHAT, 200), (CHAT, 200)] {
        let answer = gateway.chat(body);
        assert_eq!(told(&answer), (status, Some("miss")), "{}", answer.text());
    }
    let hit = gateway.chat(CHAT);
    assert_eq!((told(&hit), text(&hit)), ((200, Some("hit")), "good".to_owned()));
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit(), Some(0));
    let lines = lines(&gateway);
    let hit = lines.iter().find(|line| line["cache"] == "hit").unwrap();
    assert_eq!((&hit["tokens_saved"]["input"], &hit["tokens_saved"]["output"], &hit["tokens"]), (&3.into(), &2.into(), &Value::Null));
    assert_eq!((&hit["outcome"], &hit["attempts"], &hit["model_served"]), (&"complete".into(), &0.into(), &"claude-3-haiku".into()));
    assert_eq!(lines.iter().filter(|line| line["cache"] == "miss").count(), 5);
}

#[test]
fn one_user_does_not_get_what_another_has_asked() {
    for (shared, second) in [(false, "miss"), (true, "hit")] {
        let upstream = Upstream::new();
        let config = format!("cache: {{ enabled: true, shared: {shared} }}\nauth: {{ enabled: true }}");
        let env = [("BEDROCK_API_KEY_ALICE", "a-fake-key-of-alice"), ("BEDROCK_API_KEY_BOB", "a-fake-key-of-bob")];
        let gateway = Gateway::with_models(&common::models(upstream.address), &config, &env);
        serve(upstream);
        let ask = |key: &str| gateway.post("/v1/chat/completions", &format!("x-api-key: {key}\r\n"), CHAT);
        assert_eq!(told(&ask("a-fake-key-of-alice")), (200, Some("miss")));
        assert_eq!(told(&ask("a-fake-key-of-bob")), (200, Some(second)), "shared: {shared}");
        assert_eq!(told(&ask("a-fake-key-of-nobody")), (401, None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_ask_the_same_at_a_time_ask_once() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, ON);
    let asks = (0..10).map(|_| async {
        let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let asks = (0..100).map(|_| {
            let mut sender = sender.clone();
            async move {
                let request = hyper::Request::post("http://gateway.example/v1/chat/completions").body(body(CHAT)).unwrap();
                let answer = sender.send_request(request).await.unwrap();
                let result = answer.headers()["x-adit-cache"].to_str().unwrap().to_owned();
                (answer.status().as_u16(), result, answer.into_body().collect().await.unwrap().to_bytes())
            }
        });
        futures::future::join_all(asks).await
    });
    let asks = futures::future::join_all(asks);
    // It answers when all of them are in.
    let answering = async {
        let metrics = tokio::task::spawn_blocking({
            let (address, one) = (gateway.address, upstream);
            move || {
                let (mut far, _) = one.exchange();
                loop {
                    let mut client = Client::new(std::net::TcpStream::connect(address).unwrap());
                    client.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
                    if client.answer().text().lines().any(|line| line == "adit_requests_in_flight 1000") {
                        break;
                    }
                    std::thread::yield_now();
                }
                far.reply_text("once");
                one.is_unused()
            }
        });
        metrics.await.unwrap()
    };
    let (answers, is_unused) = tokio::join!(asks, answering);
    let answers: Vec<(u16, String, Bytes)> = answers.into_iter().flatten().collect();
    assert_eq!(answers.len(), 1000);
    assert!(answers.iter().all(|(status, _, body)| *status == 200 && *body == answers[0].2));
    assert_eq!(answers.iter().filter(|(_, result, _)| result == "hit").count(), 999);
    assert!(is_unused, "nobody else has asked");
}

#[test]
fn nodes_share_their_answers_through_redis() {
    let mut redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    let asked = serve(upstream);
    let config = format!("{ON}\nredis: '{}'\nredis_timeout: 20s", redis.url());
    let nodes = [Gateway::start(address, &config), Gateway::start(address, &config)];
    nodes.iter().for_each(|node| node.wait_metrics(&["adit_redis_up 1".to_owned()]));
    let first = nodes[0].chat(CHAT);
    common::process::until("it is there", || redis.ask::<Vec<String>>(&["KEYS", "adit:answer:*"]).len() == 1);
    let other = nodes[1].chat(CHAT);
    assert_eq!((told(&other), other.text()), ((200, Some("hit")), first.text()));
    let stream = nodes[1].chat(&CHAT.replacen('{', r#"{"stream":true,"#, 1));
    assert_eq!((told(&stream), text(&stream)), ((200, Some("hit")), "answer 1".to_owned()));
    // Without it each node has its own.
    redis.kill();
    assert_eq!(told(&nodes[1].chat(CHAT)), (200, Some("hit")));
    assert_eq!(told(&nodes[1].chat(&CHAT.replace("Hi", "Ho"))), (200, Some("miss")));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
