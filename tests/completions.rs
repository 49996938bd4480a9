//! OpenAI's legacy Completions through the whole gateway, over every API of providers, with a scripted upstream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::far::{OPENAI_STREAM, events};
use common::relays::start;
use common::{Gateway, Upstream};
use serde_json::{Value, json};

const CHAT: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":" upon a time"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

/// Sends a request from a thread, so that the test can be the upstream of all its calls.
fn ask(gateway: &Gateway, body: &Value) -> std::thread::JoinHandle<common::Answer> {
    let mut client = gateway.connect();
    client.call("POST", "/v1/completions", "", body.to_string().as_bytes());
    std::thread::spawn(move || client.answer())
}

#[test]
fn a_text_goes_on_over_every_api() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for (model, prompt) in [("haiku", "/messages/0/content/0/text"), ("my-gpt", "/messages/0/content"), ("my-claude", "/messages/0/content/0/text")] {
        let asking = ask(&gateway, &json!({"model": model, "prompt": "Once", "max_tokens": 4, "logprobs": 1}));
        let (mut far, request) = upstream.exchange();
        assert_eq!(request.json().pointer(prompt), Some(&json!("Once")), "{model}");
        match model {
            "haiku" => far.reply_closing(" upon a time"),
            "my-gpt" => far.reply_closing_json(CHAT),
            _ => far.reply_closing_json(
                r#"{"id":"m","type":"message","role":"assistant","model":"claude","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":" upon a time"}],"stop_reason":"max_tokens","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}"#,
            ),
        }
        let answer = asking.join().unwrap();
        let json = answer.json();
        assert_eq!((answer.status, answer.header("x-adit-dropped")), (200, Some("logprobs")), "{model}: {json}");
        let reason = if model == "haiku" { "stop" } else { "length" };
        assert_eq!(json["choices"], json!([{"text": " upon a time", "index": 0, "logprobs": null, "finish_reason": reason}]), "{model}");
        assert_eq!((&json["object"], &json["model"], &json["usage"]["total_tokens"]), (&json!("text_completion"), &json!(model), &json!(5)));
        assert!(json["id"].as_str().unwrap().starts_with("cmpl-"));
    }
    let labels = r#"gen_ai_operation_name="text_completion",gen_ai_provider_name="aws.bedrock",gen_ai_request_model="haiku",gen_ai_token_type="output""#;
    gateway.wait_metrics(&[format!("gen_ai_client_token_usage_sum{{{labels}}} 2")]);
}

#[test]
fn several_prompts_get_n_answers_each_in_order() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for model in ["haiku", "my-gpt"] {
        for stream in [false, true] {
            let asked = json!({"model": model, "prompt": ["One", "Two"], "n": 2, "echo": true, "stream": stream, "stream_options": if stream { json!({"include_usage": true}) } else { Value::Null }});
            let asking = ask(&gateway, &asked);
            for _ in 0..4 {
                // All four are under way at a time: each is told by what it asks.
                let (mut far, request) = upstream.exchange();
                let said = if String::from_utf8_lossy(&request.body).contains("One") { " two" } else { " three" };
                match (model, stream) {
                    ("haiku", false) => far.reply_closing(said),
                    ("haiku", true) => {
                        far.begin_last_answer();
                        far.delta(said);
                        far.end_stream();
                    }
                    (_, false) => far.reply_closing_json(&CHAT.replace(" upon a time", said)),
                    _ => {
                        far.begin_sse();
                        far.data(&OPENAI_STREAM[0].replace("first", said));
                        OPENAI_STREAM[1..].iter().for_each(|data| far.data(data));
                        far.data("[DONE]");
                        far.end_chunks();
                    }
                }
            }
            let answer = asking.join().unwrap();
            let mut texts = vec![String::new(); 4];
            let mut usage = Value::Null;
            let chunks: Vec<Value> = if stream {
                let all = events(answer.text());
                let (done, chunks) = all.split_last().unwrap();
                assert_eq!(done.1, "[DONE]", "{}", answer.text());
                chunks.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
            } else {
                vec![answer.json()]
            };
            for chunk in &chunks {
                for choice in chunk["choices"].as_array().unwrap() {
                    texts[usize::try_from(choice["index"].as_u64().unwrap()).unwrap()].push_str(choice["text"].as_str().unwrap());
                }
                if chunk["usage"].is_object() {
                    usage = chunk["usage"].clone();
                }
            }
            assert_eq!(texts, ["One two", "One two", "Two three", "Two three"], "{model}");
            assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(12), &json!(8)), "{model}");
            let reasons = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()).filter(|choice| choice["finish_reason"].is_string()).count();
            assert_eq!(reasons, 4);
        }
    }
}

#[test]
fn a_stream_of_one_text_ends_with_done_or_an_error() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "");
    for fails in [false, true] {
        let mut client = gateway.connect();
        client.call("POST", "/v1/completions", "", br#"{"model":"haiku","prompt":"Once","echo":true,"stream":true}"#);
        let (mut far, _) = upstream.exchange();
        far.begin_last_answer();
        far.delta("first");
        client.read_until(b"first");
        if fails {
            far.chunk(&common::exception("throttlingException", "slow down"));
        } else {
            far.end_stream();
        }
        let rest = String::from_utf8(client.read_until(b"\r\n0\r\n\r\n")).unwrap();
        assert_eq!(rest.contains("[DONE]"), !fails, "{rest}");
        assert_eq!(rest.contains(r#"data: {"error":{"message":"slow down","type":"rate_limit_error""#), fails, "{rest}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_and_limits_count_every_answer() {
    let upstream = Upstream::new();
    let gateway = start(&upstream, "limits: { default: { tokens_per_minute: 5000 } }");
    for (body, param) in [
        (json!({"model": "haiku", "prompt": [1, 2]}), "prompt"),
        (json!({"model": "haiku"}), "prompt"),
        (json!({"model": "strict-gpt", "prompt": "x", "logprobs": 1}), "logprobs"),
    ] {
        let answer = gateway.post("/v1/completions", "", &body.to_string());
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)));
    }
    let many = json!({"model": "haiku", "prompt": ["a", "b", "c"], "n": 2, "max_tokens": 800});
    assert_eq!(gateway.post("/v1/completions", "", &many.to_string()).status, 429, "six answers of 800 tokens");
    assert!(upstream.is_unused());
}
