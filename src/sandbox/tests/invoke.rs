//! InvokeModel and InvokeModelWithResponseStream over TCP.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::sandbox::verify::hex;

fn message() -> Value {
    json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{"role": "user", "content": "hi there"}]})
}

impl Sandbox {
    /// Status, headers and bytes.
    async fn invoke(&self, model: &str, operation: &str, body: &Value) -> (u16, HeaderMap, Bytes) {
        let (parts, body) = self.post(model, operation, body).await.into_parts();
        (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
    }

    /// The events in the chunks of a stream, or the name and payload of an exception; and the error at the end.
    async fn events(&self, model: &str, body: &Value) -> (Vec<Value>, Option<String>) {
        let (frames, error) = read(self.post(model, "invoke-with-response-stream", body).await.into_body()).await;
        let event = |(name, payload): (String, Value)| match name.as_str() {
            "chunk" => serde_json::from_slice(&STANDARD.decode(payload["bytes"].as_str().unwrap()).unwrap()).unwrap(),
            _ => json!({"type": name, "payload": payload}),
        };
        (frames.into_iter().map(event).collect(), error)
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn claude_answers_with_a_message_and_counts_in_the_head() {
    let sandbox = Sandbox::start().await;
    let (status, headers, body) = sandbox.invoke(HAIKU, "invoke", &message()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["content"]), (200, &json!([{"type": "text", "text": "Echo: hi there"}])));
    assert_eq!((&body["model"], &body["type"], &body["role"]), (&json!("claude-3-haiku-20240307"), &json!("message"), &json!("assistant")));
    let header = |name: &str| headers[name].to_str().unwrap();
    assert_eq!((header("x-amzn-bedrock-input-token-count"), header("x-amzn-bedrock-output-token-count")), ("2", "4"));
    assert_eq!((header("content-type"), header("x-amzn-requestid").len()), ("application/json", 36));
    sandbox.stop().await;
}

#[tokio::test]
async fn claude_streams_events_in_chunks() {
    let sandbox = Sandbox::start().await;
    let response = sandbox.post(HAIKU, "invoke-with-response-stream", &message()).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    assert_eq!(response.headers()["x-amzn-bedrock-content-type"], "application/json");
    let (frames, error) = read(response.into_body()).await;
    assert_eq!(error, None);
    assert!(frames.iter().all(|(name, payload)| name == "chunk" && payload["bytes"].is_string() && payload["p"].is_string()));
    let (events, _) = sandbox.events(HAIKU, &message()).await;
    let delta = "content_block_delta";
    let expected = ["message_start", "content_block_start", "ping", delta, delta, delta, "content_block_stop", "message_delta", "message_stop"];
    assert_eq!((kinds(&events), frames.len()), (expected.to_vec(), expected.len()));
    assert_eq!(events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect::<String>(), "Echo: hi there");
    let metrics = &events[8]["amazon-bedrock-invocationMetrics"];
    assert_eq!((&metrics["inputTokenCount"], &metrics["outputTokenCount"]), (&json!(2), &json!(4)));
    sandbox.stop().await;
}

#[tokio::test]
async fn streams_of_chunks_break_as_they_are_told() {
    let sandbox = Sandbox::start().await;
    let broken = async |knobs: &str| sandbox.events(&format!("sandbox.words-5.{knobs}"), &message()).await;
    let (events, error) = broken("exception-model-timeout.after-1").await;
    assert_eq!((kinds(&events).last(), events.len(), error), (Some(&"modelTimeoutException"), 5, None));
    let (events, error) = broken("cut-3").await;
    assert!(events.len() == 3 && error.unwrap().starts_with("connection"));
    let (events, error) = broken("tear-3").await;
    assert!(events.len() == 3 && error.unwrap().starts_with("connection"));
    let (events, error) = broken("corrupt-2").await;
    assert!(events.len() == 2 && error.unwrap().contains("message checksum"));
    for knobs in ["chunk-1", "chunk-100", "chunk-all", "pause-0ms", "stall-1ms"] {
        let (events, error) = broken(knobs).await;
        assert_eq!((kinds(&events).last(), error), (Some(&"message_stop"), None), "{knobs}");
    }
    assert_eq!(sandbox.invoke("sandbox.error-throttling.retry-7", "invoke", &message()).await.0, 429);
    assert_eq!(sandbox.invoke("sandbox.exception-model-timeout", "invoke", &message()).await.0, 408);
    assert_eq!(sandbox.stream("sandbox.exception-model-timeout", &hi()).await.0.len(), 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_held_stream_of_chunks_waits_behind_its_first_delta() {
    let sandbox = Sandbox::start().await;
    let body = sandbox.post("sandbox.hold.tag-held", "invoke-with-response-stream", &message()).await.into_body();
    let rest = tokio::spawn(read(body));
    assert_eq!(sandbox.side_door("GET", "/sandbox/wait?tag=held&held=1").await.0, 200);
    let (_, entry) = sandbox.side_door("GET", "/sandbox/requests/last?tag=held").await;
    assert_eq!(entry["answer"]["frames"], 4);
    assert_eq!(sandbox.side_door("POST", "/sandbox/release?tag=held").await.1["released"], 1);
    assert_eq!(rest.await.unwrap().0.len(), 9);
    sandbox.stop().await;
}

#[tokio::test]
async fn embeddings_are_numbers_and_never_streams() {
    let sandbox = Sandbox::start().await;
    let titan = json!({"inputText": "hello", "dimensions": 256});
    let (status, _, body) = sandbox.invoke("amazon.titan-embed-text-v2:0", "invoke", &titan).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body["embedding"].as_array().unwrap().len(), &body["inputTextTokenCount"]), (200, 256, &json!(2)));
    let cohere = json!({"texts": ["hello", "there"], "input_type": "search_document"});
    let (status, headers, _) = sandbox.invoke("cohere.embed-multilingual-v3", "invoke", &cohere).await;
    assert_eq!((status, headers["x-amzn-bedrock-input-token-count"].to_str().unwrap()), (200, "4"));
    let (status, _, body) = sandbox.invoke("amazon.titan-embed-text-v2:0", "invoke-with-response-stream", &titan).await;
    assert!(status == 400 && body.windows(9).any(|text| text == b"streaming"));
    assert_eq!(sandbox.converse("cohere.embed-v4:0", &hi()).await.0, 400);
    sandbox.stop().await;
}

#[tokio::test]
async fn other_bodies_and_headers_are_refused() {
    let sandbox = Sandbox::start().await;
    let refused = async |model: &str, body: &str, header: Option<(&'static str, &str)>| {
        let mut request = sandbox.request("POST", &format!("/model/{model}/invoke"), body.to_owned());
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (parts, body) = sandbox.send(request).await.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        (parts.status.as_u16(), body["message"].as_str().unwrap_or_default().to_owned())
    };
    let valid = message().to_string();
    let cases = [
        ("amazon.nova-lite-v1:0", valid.as_str(), None, "The sandbox has no body for amazon.nova-lite-v1:0"),
        ("meta.llama3-8b-instruct-v1:0", r#"{"prompt":"hi"}"#, None, "The sandbox has no body for"),
        ("amazon.titan-text-express-v1", r#"{"inputText":"hi"}"#, None, "The sandbox has no body for"),
        (HAIKU, "{", None, "Malformed input request"),
        (HAIKU, "[]", None, "Malformed input request"),
        (HAIKU, &valid, Some(("content-type", "text/plain")), "Content Type"),
        (HAIKU, &valid, Some(("accept", "text/html")), "Accept Type"),
        (HAIKU, &valid, Some(("x-amzn-bedrock-service-tier", "fast")), "enum value set"),
        (HAIKU, &valid, Some(("x-amzn-bedrock-guardrailidentifier", "abc")), "both an identifier and a version"),
        ("no.such-model", &valid, None, "The provided model identifier is invalid."),
    ];
    for (model, body, header, text) in cases {
        let (status, message) = refused(model, body, header).await;
        assert!(status == 400 && message.contains(text), "{model} {header:?}: {status} {message}");
    }
    assert_eq!(refused(HAIKU, &valid, Some(("content-type", "application/json; charset=utf-8"))).await.0, 200);
    let mut request = sandbox.request("POST", &format!("/model/{HAIKU}/invoke"), valid);
    request.headers_mut().insert("x-amzn-bedrock-service-tier", "flex".parse().unwrap());
    assert_eq!(sandbox.send(request).await.headers()["x-amzn-bedrock-service-tier"], "flex");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_journal_has_hashes_of_what_came_and_what_went() {
    let sandbox = Sandbox::start().await;
    let hash = |bytes: &[u8]| hex(&Sha256::digest(bytes));
    let sent = message();
    for (operation, name) in [("invoke", "InvokeModel"), ("invoke-with-response-stream", "InvokeModelWithResponseStream")] {
        let (_, _, answer) = sandbox.invoke(&format!("{HAIKU}.sandbox.tag-j"), operation, &sent).await;
        let (_, entry) = sandbox.side_door("GET", "/sandbox/requests/last?tag=j").await;
        assert_eq!((&entry["operation"], &entry["path"]), (&json!(name), &json!(format!("/model/{HAIKU}.sandbox.tag-j/{operation}"))));
        assert_eq!(entry["body_sha256"], hash(sent.to_string().as_bytes()));
        assert_eq!(entry["answer_sha256"], hash(&answer));
        assert_eq!(entry["body"], sent.to_string());
    }
    let (_, _, answer) = sandbox.invoke("sandbox.tag-j.error-throttling", "invoke", &sent).await;
    let (_, entry) = sandbox.side_door("GET", "/sandbox/requests/last?tag=j").await;
    assert_eq!(entry["answer_sha256"], hash(&answer));
    sandbox.stop().await;
}
