//! Approaches, end to end: which calls reach the model, what the client gets, and what is counted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::far::events;
use common::relays::models;
use common::{Answer, Client, Gateway, Request, Upstream, exception};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const ON: &str = "optillm: { enabled: true }\n";

fn start(upstream: &Upstream, extra: &str) -> Gateway {
    Gateway::with_models(&models(upstream.address), &format!("{ON}{extra}"), &[])
}

/// A chat for a model of this name.
fn chat(model: &str, more: &str) -> String {
    format!(r#"{{"model":"{model}",{more}"messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"Why?"}}]}}"#)
}

fn begin(gateway: &Gateway, path: &str, body: &str) -> Client {
    let mut client = gateway.connect();
    client.call("POST", path, "", body.as_bytes());
    client
}

/// The text of the last thing that is said in a Converse request.
fn last_said(request: &Request) -> String {
    let json = request.json();
    let message = json["messages"].as_array().unwrap().last().unwrap().clone();
    message["content"][0]["text"].as_str().unwrap().to_owned()
}

/// As many calls as come now, each answered with what `says` gives; what each said last.
fn round(upstream: &Upstream, count: usize, says: impl Fn(usize, &Request) -> String) -> Vec<String> {
    let mut calls: Vec<_> = (0..count).map(|_| upstream.exchange()).collect();
    calls
        .iter_mut()
        .enumerate()
        .map(|(number, (far, request))| {
            assert!(request.line.contains("/converse "), "{}", request.line);
            far.reply_closing(&says(number, request));
            last_said(request)
        })
        .collect()
}

fn content(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// The texts of all choices of a stream, and its token counts.
fn streamed(answer: &Answer, count: usize) -> (Vec<String>, Value) {
    assert!(answer.status == 200 && answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let (mut texts, mut usage) = (vec![String::new(); count], Value::Null);
    for (_, data) in events(answer.text()).iter().filter(|(_, data)| data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).unwrap();
        for choice in chunk["choices"].as_array().unwrap() {
            let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
            texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        }
        if !chunk["usage"].is_null() {
            usage = chunk["usage"].clone();
        }
    }
    (texts, usage)
}

#[test]
fn switched_off_a_name_is_just_a_name() {
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&models(upstream.address), "", &[("ENABLE_OPTILLM", "false"), ("OPTILLM_BASE_URL", "http://127.0.0.1:1")]);
    let answer = gateway.chat(&chat("moa-haiku", ""));
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    let mut client = begin(&gateway, CHAT, &chat("talker", "").replace("Why?", "<optillm_approach>moa</optillm_approach>"));
    let (mut far, request) = upstream.exchange();
    assert_eq!(last_said(&request), "<optillm_approach>moa</optillm_approach>");
    far.reply_closing("plain");
    let answer = client.answer();
    assert_eq!((content(&answer).as_str(), answer.header("x-adit-calls")), ("plain", None));
}

#[test]
fn a_model_of_the_map_that_is_called_so_wins() {
    let upstream = Upstream::new();
    let map = models(upstream.address).replace("  nova:", "  moa-haiku: { bedrock: 'amazon.nova-lite-v1:0' }\n  nova:");
    let gateway = Gateway::with_models(&map, ON, &[]);
    let mut client = begin(&gateway, CHAT, &chat("moa-haiku", ""));
    let (mut far, request) = upstream.exchange();
    assert!(request.line.contains("/amazon.nova-lite-v1%3A0/converse "), "{}", request.line);
    far.reply_closing("Nova");
    assert_eq!(content(&client.answer()), "Nova");
}

#[test]
fn a_mixture_of_agents_makes_five_calls_and_adds_them_up() {
    let upstream = Upstream::new();
    let audit = tempfile::tempdir().unwrap();
    let path = audit.path().join("audit.jsonl");
    let gateway = start(&upstream, &format!("audit: {{ path: {} }}\n", path.display()));
    let mut client = begin(&gateway, CHAT, &chat("moa-talker", ""));
    let candidates = round(&upstream, 3, |number, request| {
        assert_eq!(request.json()["inferenceConfig"]["temperature"], 1);
        format!("draft {number}")
    });
    assert_eq!(candidates, ["Why?"; 3]);
    let critique = round(&upstream, 1, |_, _| "the second is best".to_owned());
    assert!((0..3).all(|number| critique[0].contains(&format!("draft {number}"))), "{critique:?}");
    let synthesis = round(&upstream, 1, |_, request| {
        assert_eq!(request.json()["system"], json!([{ "text": "Be brief." }]));
        "Because.".to_owned()
    });
    assert!(synthesis[0].contains("draft 1") && synthesis[0].contains("the second is best"), "{synthesis:?}");
    let answer = client.answer();
    assert_eq!(content(&answer), "Because.");
    let json = answer.json();
    assert_eq!((&json["model"], &json["usage"]["prompt_tokens"], &json["usage"]["completion_tokens"]), (&json!("talker"), &json!(15), &json!(10)));
    let header = |name| answer.header(name).unwrap();
    assert_eq!((header("x-adit-calls"), header("x-adit-attempts"), header("x-adit-model"), header("x-adit-provider")), ("5", "5", "talker", "bedrock"));
    gateway.wait_metrics(&[
        r#"adit_requests_total{gen_ai_request_model="talker",route="/v1/chat/completions",status="200"} 1"#.to_owned(),
        "adit_audit_written_total 1".to_owned(),
    ]);
    let line: Value = serde_json::from_str(std::fs::read_to_string(&path).unwrap().trim()).unwrap();
    assert_eq!((&line["approach"], &line["calls"], &line["attempts"], &line["model"]), (&json!("moa"), &json!(5), &json!(5), &json!("talker")));
    assert_eq!((&line["tokens"]["input"], &line["tokens"]["output"], &line["outcome"]), (&json!(15), &json!(10), &json!("complete")));
}

#[test]
fn the_last_call_is_streamed_and_a_chosen_answer_comes_as_a_stream_too() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let more = r#""stream":true,"stream_options":{"include_usage":true},"#;
    let mut client = begin(&gateway, CHAT, &chat("cot_reflection-talker", more));
    let (mut far, request) = upstream.exchange();
    assert!(request.line.contains("/converse-stream ") && request.json()["system"][1]["text"].as_str().unwrap().contains("<output>"));
    far.begin_last_answer();
    for piece in ["<thinking>a<reflection>b</reflection></thinking>\\n<out", "put>\\nFir"] {
        far.delta(piece);
    }
    assert!(client.read_until(b"\"content\":\"Fir\"").ends_with(b"\"content\":\"Fir\""), "it does not wait for the end");
    far.delta("st.\\n</output>");
    far.end_stream();
    let rest = String::from_utf8(client.read_until(b"0\r\n\r\n")).unwrap();
    assert!(rest.contains("\"content\":\"st.\"") && !rest.contains("output>") && rest.contains("[DONE]"), "{rest}");

    let mut client = begin(&gateway, CHAT, &chat("bon|re2-talker", more));
    // In whatever order they come: the plain call is the one that is streamed.
    let (mut candidates, mut last) = (Vec::new(), None);
    for _ in 0..4 {
        let (far, request) = upstream.exchange();
        if request.line.contains("/converse-stream ") { last = Some((far, request)) } else { candidates.push(far) }
    }
    let (mut last, request) = last.unwrap();
    assert_eq!(last_said(&request).matches("Why?").count(), 2);
    for (number, far) in candidates.iter_mut().enumerate() {
        far.reply_closing(&format!("candidate {number}"));
    }
    round(&upstream, 3, |_, request| if request.json().to_string().contains("candidate 1") { "9".to_owned() } else { "4".to_owned() });
    last.begin_last_answer();
    last.delta("re-read");
    last.end_stream();
    let answer = client.answer();
    let (texts, usage) = streamed(&answer, 2);
    assert_eq!(texts, ["candidate 1", "re-read"]);
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(21), &json!(14)), "of seven calls");
}

#[test]
fn calls_go_where_the_model_map_says_and_another_target_takes_over() {
    let upstream = Upstream::new();
    let map = models(upstream.address).replace("  nova:", "  both: { bedrock: 'amazon.nova-lite-v1:0', openai: gpt-4o }\n  nova:");
    let gateway = Gateway::with_models(&map, ON, &[]);
    let mut client = begin(&gateway, CHAT, &chat("re2-both", ""));
    let (mut far, request) = upstream.exchange();
    assert!(request.line.contains("/amazon.nova-lite-v1%3A0/converse "), "{}", request.line);
    far.reply("503 Service Unavailable", "connection: close\r\n", r#"{"message":"no"}"#);
    let (mut far, request) = upstream.exchange();
    assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!((&request.json()["model"], request.json()["messages"][1]["content"].to_string().matches("Why?").count()), (&json!("gpt-4o"), 2));
    far.reply(
        "200 OK",
        "connection: close\r\n",
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Two"},"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":1}}"#,
    );
    let answer = client.answer();
    assert_eq!(content(&answer), "Two");
    let header = |name| answer.header(name).unwrap();
    assert_eq!((header("x-adit-provider"), header("x-adit-attempts"), header("x-adit-calls")), ("openai", "2", "1"));
}

#[test]
fn other_clients_have_it_too() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let messages = r#"{"model":"re2-talker","max_tokens":9,"messages":[{"role":"user","content":"Why?"}]}"#;
    let mut client = begin(&gateway, "/v1/messages", messages);
    assert_eq!(round(&upstream, 1, |_, _| "A".to_owned())[0].matches("Why?").count(), 2);
    let answer = client.answer();
    assert_eq!((answer.status, &answer.json()["content"][0]["text"], &answer.json()["usage"]["input_tokens"]), (200, &json!("A"), &json!(3)));

    let converse = r#"{"messages":[{"role":"user","content":[{"text":"<optillm_approach>cot_reflection</optillm_approach> Why?"}]}]}"#;
    let mut client = begin(&gateway, "/model/talker/converse", converse);
    assert_eq!(round(&upstream, 1, |_, _| "<output> B </output>".to_owned()), ["Why?"]);
    let answer = client.answer();
    assert_eq!((answer.status, &answer.json()["output"]["message"]["content"][0]["text"]), (200, &json!("B")));

    let converse = r#"{"messages":[{"role":"user","content":[{"text":"Why?"}]}],"additionalModelRequestFields":{"optillm_approach":"re2"}}"#;
    let mut client = begin(&gateway, "/model/talker/converse", converse);
    let (mut far, request) = upstream.exchange();
    assert!(last_said(&request).matches("Why?").count() == 2 && request.json().get("additionalModelRequestFields").is_none());
    far.reply_closing("C");
    assert_eq!(client.answer().status, 200);

    let responses = r#"{"model":"re2-talker","input":"Why?"}"#;
    let mut client = begin(&gateway, "/v1/responses", responses);
    assert_eq!(round(&upstream, 1, |_, _| "D".to_owned())[0].matches("Why?").count(), 2);
    let answer = client.answer();
    assert_eq!((answer.status, &answer.json()["output"][0]["content"][0]["text"]), (200, &json!("D")), "{}", answer.text());
    let mut client = begin(&gateway, "/v1/responses", &responses.replace("re2-talker\"", "bon-talker\",\"stream\":true"));
    round(&upstream, 3, |number, _| format!("E{number}"));
    round(&upstream, 3, |_, _| "5".to_owned());
    let answer = client.answer();
    assert!(answer.text().contains("\"E0\"") && answer.text().contains("event: response.completed"), "{}", answer.text());

    let answer = gateway.post("/v1/messages", "", &messages.replace("re2-", "re2|moa-"));
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (400, &json!("invalid_request_error")));
}

#[test]
fn what_it_is_not_for_gets_400_that_says_what_to_do() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let refused = |body: String, param: &str, words: &str| {
        let answer = gateway.chat(&body);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["param"].as_str()), (400, Some(param)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    };
    refused(chat("mcts-talker", ""), "model", "OPTILLM_BASE_URL");
    refused(chat("talker", r#""optillm_approach":"re2&plansearch","#), "optillm_approach", "`plansearch` is not built in");
    refused(chat("bon||moa-talker", ""), "model", "missing");
    refused(chat("talker", r#""optillm_approach":7,"#), "optillm_approach", "text");
    refused(chat("moa-talker", r#""n":7,"#), "model", "35 calls");
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}],"#;
    refused(chat("bon-talker", tools), "tools", "tools");
    let unknown = gateway.chat(&chat("moa-nobody", ""));
    assert_eq!((unknown.status, unknown.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    // `n` times the calls, and a choice for each.
    let mut client = begin(&gateway, CHAT, &chat("re2-talker", r#""n":2,"#));
    round(&upstream, 2, |number, _| format!("choice {number}"));
    let choices = client.answer().json()["choices"].as_array().unwrap().len();
    assert_eq!(choices, 2);
    // `none` is the plain request, tools and all.
    let mut client = begin(&gateway, CHAT, &chat("none-talker", tools));
    let (mut far, request) = upstream.exchange();
    assert!(request.json()["toolConfig"].is_object());
    far.reply_closing("plain");
    assert_eq!(content(&client.answer()), "plain");
    assert!(upstream.is_unused());
}

#[test]
fn one_candidate_may_fail_but_not_all_of_them() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for stream in ["", r#""stream":true,"#] {
        let mut client = begin(&gateway, CHAT, &chat("bon-talker", stream));
        let mut calls: Vec<Client> = (0..3).map(|_| upstream.exchange().0).collect();
        calls[0].reply("400 Bad Request", "connection: close\r\nx-amzn-errortype: ValidationException\r\n", r#"{"message":"no"}"#);
        calls[1].reply_closing("the one");
        calls[2].reply("400 Bad Request", "connection: close\r\nx-amzn-errortype: ValidationException\r\n", r#"{"message":"no"}"#);
        let answer = client.answer();
        assert!(answer.status == 200 && answer.text().contains("the one"), "{}", answer.text());

        let mut client = begin(&gateway, CHAT, &chat("bon-talker", stream));
        for _ in 0..3 {
            upstream.exchange().0.reply(
                "429 Too Many Requests",
                "connection: close\r\nx-amzn-errortype: ThrottlingException\r\nretry-after: 7\r\n",
                r#"{"message":"slow"}"#,
            );
        }
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")), "{}", answer.text());
    }
}

#[test]
fn a_stream_that_fails_before_content_has_its_status_and_behind_it_an_event() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    let body = chat("re2-talker", r#""stream":true,"#);
    let mut client = begin(&gateway, CHAT, &body);
    let (mut far, _) = upstream.exchange();
    far.begin_last_answer();
    far.chunk(&exception("throttlingException", r#"{"message":"slow"}"#));
    far.end_chunks();
    assert_eq!(client.answer().status, 429);

    let mut client = begin(&gateway, CHAT, &body);
    let (mut far, _) = upstream.exchange();
    far.begin_last_answer();
    far.delta("Be");
    client.read_until(b"\"Be\"");
    far.chunk(&exception("internalServerException", r#"{"message":"no"}"#));
    far.end_chunks();
    let rest = String::from_utf8(client.read_until(b"0\r\n\r\n")).unwrap();
    assert!(rest.contains("\"error\"") && !rest.contains("[DONE]"), "{rest}");
}

#[test]
fn the_client_hears_something_while_others_think_and_ends_all_calls_when_it_leaves() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "stream: { keepalive: 10ms }\n");
    let mut client = begin(&gateway, CHAT, &chat("moa-talker", r#""stream":true,"#));
    let calls: Vec<Client> = (0..3).map(|_| upstream.exchange().0).collect();
    let heard = String::from_utf8(client.read_until(b": keep-alive\n\n")).unwrap();
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    client.read_until(b": keep-alive\n\n");
    drop(client);
    for mut call in calls {
        call.wait_closed();
    }
    gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned()]);
}

#[test]
fn so_many_calls_at_a_time_as_the_operator_allows() {
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&models(upstream.address), "optillm: { enabled: true, concurrency: 2, max_calls: 5 }\n", &[]);
    let mut client = begin(&gateway, CHAT, &chat("self_consistency-talker", ""));
    let (mut one, _) = upstream.exchange();
    let (mut two, _) = upstream.exchange();
    // The third comes when one of the two has its answer, and not before.
    assert!(upstream.is_unused());
    one.reply_closing("yes");
    let (mut three, _) = upstream.exchange();
    assert!(upstream.is_unused());
    two.reply_closing("no");
    three.reply_closing("yes");
    round(&upstream, 2, |_, _| "maybe".to_owned());
    assert_eq!(content(&client.answer()), "yes");
    let answer = gateway.chat(&chat("bon-talker", ""));
    assert!(answer.status == 400 && answer.text().contains("6 calls"), "{}", answer.text());
}

#[test]
fn all_calls_are_paid_for_before_the_first_and_their_model_must_be_allowed() {
    let upstream = Upstream::new();
    let body = |model: &str| chat(model, r#""max_tokens":100,"#);
    // Enough for one call, not for the six of `bon`.
    let gateway = start(&upstream, "limits: { default: { tokens_per_minute: 2000 } }\n");
    let refused = gateway.chat(&body("bon-talker"));
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (429, Some("rate_limit_exceeded")));
    assert!(upstream.is_unused());
    let mut client = begin(&gateway, CHAT, &body("re2-talker"));
    round(&upstream, 1, |_, _| "A".to_owned());
    let answer = client.answer();
    assert_eq!((content(&answer).as_str(), answer.header("x-ratelimit-limit-tokens")), ("A", Some("2000")));
    gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned()]);
    // What was really used is what stays: five tokens.
    let mut client = begin(&gateway, CHAT, &body("talker"));
    upstream.exchange().0.reply_closing("B");
    let remaining: u64 = client.answer().header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap();
    let held = (body("talker").len() as u64).div_ceil(3) + 512 + 100;
    assert_eq!(remaining, 2000 - 5 - held);
}

const KEY: &str = "an-obviously-fake-key-of-alice";

/// A gateway with a server of OptiLLM's, which the test plays, for the user `alice` and others.
fn with_server(upstream: &Upstream, server: &Upstream, extra: &str) -> Gateway {
    let url = format!("http://{}", server.address);
    let env = [("ENABLE_OPTILLM", "true"), ("OPTILLM_BASE_URL", url.as_str()), ("AUTH_ENABLED", "true"), ("BEDROCK_API_KEY_ALICE", KEY)];
    Gateway::with_models(&models(upstream.address), extra, &env)
}

fn keyed(gateway: &Gateway, path: &str, key: &str, body: &str) -> Client {
    let mut client = gateway.connect();
    client.call("POST", path, &format!("authorization: Bearer {key}\r\n"), body.as_bytes());
    client
}

/// What the server shows when it calls back.
fn token(request: &Request) -> String {
    request.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

/// An answer of OptiLLM's, which tells of what came out only.
fn completion(texts: &[&str]) -> String {
    let choice = |(index, text): (usize, &&str)| json!({ "index": index, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" });
    let choices: Vec<_> = texts.iter().enumerate().map(choice).collect();
    json!({ "model": "talker", "choices": choices, "usage": { "completion_tokens": 99, "completion_tokens_details": { "reasoning_tokens": 0 } } }).to_string()
}

#[test]
fn a_server_makes_the_calls_and_they_are_booked_to_the_first_caller() {
    let (upstream, server) = (Upstream::new(), Upstream::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    // The one request that the user may make at a time, and in a minute, is his own.
    let limits = "limits: { default: { requests_per_minute: 1, concurrent_requests: 1, tokens_per_minute: 100000 } }\n";
    let gateway = with_server(&upstream, &server, &format!("{limits}audit: {{ path: {} }}\n", path.display()));
    let mut client = keyed(&gateway, CHAT, KEY, &chat("mcts&bon-talker", r#""mcts_depth":2,"#));
    let (mut far, request) = server.exchange();
    assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
    let told = request.json();
    assert_eq!((&told["model"], &told["optillm_approach"], &told["mcts_depth"]), (&json!("talker"), &json!("mcts&bon"), &json!(2)));
    assert_eq!(told["messages"][1]["content"], "Why?");
    let shown = token(&request);
    assert!(shown.starts_with("sk-") && !format!("{:?}", request.headers).contains(KEY));
    assert!(request.header("x-adit-optillm").is_some_and(|id| !id.is_empty()));
    for text in ["one", "two"] {
        let mut call = keyed(&gateway, CHAT, &shown, &chat("talker", ""));
        upstream.exchange().0.reply_closing(text);
        assert_eq!(content(&call.answer()), text);
    }
    far.reply("200 OK", "connection: close\r\n", &completion(&["Because."]));
    let answer = client.answer();
    assert_eq!(content(&answer), "Because.");
    let json = answer.json();
    assert_eq!((&json["usage"]["prompt_tokens"], &json["usage"]["completion_tokens"]), (&json!(6), &json!(4)), "of both calls: {json}");
    assert!(json["id"].is_string() && json["object"] == "chat.completion");
    let header = |name| answer.header(name).unwrap();
    assert_eq!((header("x-adit-provider"), header("x-adit-model"), header("x-adit-calls"), header("x-adit-attempts")), ("optillm", "talker", "2", "1"));
    gateway.wait_metrics(&["adit_audit_written_total 3".to_owned()]);
    let lines: Vec<Value> = std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (outer, inner): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["parent"].is_null());
    assert_eq!(
        (&outer[0]["user"], &outer[0]["approach"], &outer[0]["calls"], &outer[0]["tokens"]),
        (&json!("alice"), &json!("mcts&bon"), &json!(2), &Value::Null)
    );
    assert_eq!(inner.len(), 2);
    for line in inner {
        assert_eq!((&line["user"], &line["proof"], &line["parent"]), (&json!("alice"), &json!("call"), &outer[0]["request_id"]));
        assert_eq!((&line["tokens"]["input"], &line["tokens"]["output"]), (&json!(3), &json!(2)));
    }
    // The token has ended with its request.
    assert_eq!(keyed(&gateway, CHAT, &shown, &chat("talker", "")).answer().status, 401);
    // His own second request of the minute is one too many, and the calls took ten of his tokens.
    let refused = keyed(&gateway, CHAT, KEY, &chat("talker", "")).answer();
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining-tokens")), (429, Some("99990")));
}

#[test]
fn who_sends_it_on_again_is_part_of_a_loop() {
    let (upstream, server) = (Upstream::new(), Upstream::new());
    let gateway = with_server(&upstream, &server, "");
    let _client = keyed(&gateway, CHAT, KEY, &chat("leap-talker", ""));
    let (_far, request) = server.exchange();
    let refused = |answer: Answer| {
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some("model")), "{}", answer.text());
        assert!(answer.text().contains("loop"), "{}", answer.text());
    };
    refused(keyed(&gateway, CHAT, &token(&request), &chat("leap-talker", "")).answer());
    // Another gateway in between has tokens of its own.
    let mut client = gateway.connect();
    client.call(
        "POST",
        CHAT,
        &format!("authorization: Bearer {KEY}\r\nx-adit-optillm: {}\r\n", request.header("x-adit-optillm").unwrap()),
        chat("leap-talker", "").as_bytes(),
    );
    refused(client.answer());
    // The plain request is nobody's loop.
    let mut call = keyed(&gateway, CHAT, &token(&request), &chat("none-talker", ""));
    upstream.exchange().0.reply_closing("plain");
    assert_eq!(content(&call.answer()), "plain");
    assert!(server.is_unused());
}

#[test]
fn a_token_is_no_key_and_may_do_what_its_user_may() {
    let (upstream, server) = (Upstream::new(), Upstream::new());
    let keys = "keys: [{ name: alice, models: [talker] }]\n";
    let gateway = with_server(&upstream, &server, "");
    gateway.rewrite("keys.yaml", keys);
    gateway.signal("HUP");
    let begun = std::time::Instant::now();
    // The file counts once it forbids.
    while keyed(&gateway, CHAT, KEY, &chat("mcts-haiku", r#""n":0,"#)).answer().status != 403 {
        assert!(begun.elapsed() < common::PATIENCE, "the keys file was not taken");
    }
    let _client = keyed(&gateway, CHAT, KEY, &chat("mcts-talker", ""));
    let (_far, request) = server.exchange();
    let shown = token(&request);
    let status = |key: &str, model: &str| keyed(&gateway, CHAT, key, &chat(model, "")).answer().status;
    assert_eq!(status(&shown, "haiku"), 403);
    assert_eq!((status(&format!("{shown}x"), "talker"), status("sk-aditcall-", "talker")), (401, 401));
    assert_eq!(keyed(&gateway, "/auth/session", &shown, "{}").answer().status, 401, "a session would outlive it");
    assert!(upstream.is_unused());
}

#[test]
fn a_server_s_answers_fit_every_client_and_its_errors_too() {
    let (upstream, server) = (Upstream::new(), Upstream::new());
    let gateway = with_server(&upstream, &server, "stream: { keepalive: 10ms }\n");
    let mut client = keyed(&gateway, CHAT, KEY, &chat("bon|moa-talker", r#""stream":true,"stream_options":{"include_usage":true},"#));
    let (mut far, request) = server.exchange();
    assert!(request.json().get("stream").is_none_or(|stream| stream == false));
    let heard = String::from_utf8(client.read_until(b": keep-alive\n\n")).unwrap();
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    far.reply("200 OK", "connection: close\r\n", &completion(&["A", "B"]));
    let rest = String::from_utf8(client.read_until(b"0\r\n\r\n")).unwrap();
    for part in [r#""index":0,"delta":{"content":"A"}"#, r#""index":1,"delta":{"content":"B"}"#, r#""completion_tokens":99"#, "[DONE]"] {
        assert!(rest.contains(part), "{part} in {rest}");
    }
    let messages = r#"{"model":"plansearch-talker","max_tokens":9,"messages":[{"role":"user","content":"Why?"}]}"#;
    let mut client = keyed(&gateway, "/v1/messages", KEY, messages);
    server.exchange().0.reply("200 OK", "connection: close\r\n", &completion(&["C"]));
    let answer = client.answer();
    assert_eq!((answer.status, &answer.json()["content"][0]["text"]), (200, &json!("C")));
    let answer = keyed(&gateway, "/v1/messages", KEY, &messages.replace("plansearch", "bon|moa")).answer();
    assert_eq!(answer.status, 400);

    let mut client = keyed(&gateway, CHAT, KEY, &chat("rto-talker", ""));
    server.exchange().0.reply("500 Internal Server Error", "connection: close\r\n", r#"{"error":"something at http://10.0.0.7 went wrong"}"#);
    let answer = client.answer();
    assert!(answer.status >= 500 && answer.json()["error"]["message"].is_string(), "{}", answer.text());
    assert!(!answer.text().contains("10.0.0.7") && server.is_unused(), "{}", answer.text());
    let unknown = keyed(&gateway, CHAT, KEY, &chat("rto-nobody", "")).answer();
    assert_eq!(unknown.status, 404);
}

#[test]
fn nodes_that_share_a_secret_take_each_other_s_calls() {
    let (upstream, server) = (Upstream::new(), Upstream::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let session = "auth: { session: { secret: an-obviously-fake-secret-of-all-nodes } }\n";
    let one = with_server(&upstream, &server, session);
    let other = with_server(&upstream, &server, &format!("{session}audit: {{ path: {} }}\n", path.display()));
    let stranger = with_server(&upstream, &server, "");
    let mut client = keyed(&one, CHAT, KEY, &chat("mcts-talker", ""));
    let (mut far, request) = server.exchange();
    let shown = token(&request);
    assert_eq!(keyed(&stranger, CHAT, &shown, &chat("talker", "")).answer().status, 401);
    // Without a line of his own the user is known where his request is, and nowhere else.
    assert_eq!(keyed(&other, CHAT, &shown, &chat("talker", "")).answer().status, 401);
    other.rewrite("keys.yaml", "keys: [{ name: alice, models: [talker] }]\n");
    other.signal("HUP");
    let begun = std::time::Instant::now();
    let mut call = loop {
        assert!(begun.elapsed() < common::PATIENCE, "the keys file was not taken");
        if keyed(&other, CHAT, &shown, &chat("haiku", "")).answer().status == 403 {
            break keyed(&other, CHAT, &shown, &chat("talker", ""));
        }
    };
    upstream.exchange().0.reply_closing("elsewhere");
    assert_eq!(content(&call.answer()), "elsewhere");
    far.reply("200 OK", "connection: close\r\n", &completion(&["Because."]));
    let answer = client.answer();
    assert_eq!((content(&answer).as_str(), answer.header("x-adit-calls")), ("Because.", Some("0")), "they were not made here");
    assert_eq!(answer.json()["usage"]["completion_tokens"], 99, "what the server says itself");
    let last = format!(r#""parent":"{}""#, request.header("x-adit-optillm").unwrap());
    while !std::fs::read_to_string(&path).unwrap().lines().any(|line| line.contains(&last) && line.contains(r#""status":200"#)) {
        assert!(begun.elapsed() < common::PATIENCE, "no line for the call");
        std::thread::yield_now();
    }
}

#[test]
fn who_leaves_takes_the_server_s_calls_with_him() {
    let (upstream, server) = (Upstream::new(), Upstream::new());
    let gateway = with_server(&upstream, &server, "");
    let client = keyed(&gateway, CHAT, KEY, &chat("mcts-talker", ""));
    let (mut far, request) = server.exchange();
    drop(client);
    far.wait_closed();
    gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned()]);
    // The server does not notice, and goes on.
    assert_eq!(keyed(&gateway, CHAT, &token(&request), &chat("talker", "")).answer().status, 401);
    assert!(upstream.is_unused());
}
