//! The sandbox over TCP, seen by clients that share no code with it.

use std::net::SocketAddr;
use std::time::SystemTime;

use ::http::{HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;
use crate::wire::eventstream::{Frame, Parser};

mod invoke;

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1%3A0";

/// A running sandbox; it stops when this is dropped.
struct Sandbox {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

impl Sandbox {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, Options::default(), stopped));
        Sandbox { address, stop: Some(stop), served }
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.served.await.unwrap();
    }

    /// An HTTP/1.1 connection of its own for each request.
    async fn send(&self, request: Request<Full<Bytes>>) -> ::http::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    fn request(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        request.header("authorization", format!("Bearer {BEARER_TOKEN}")).body(Full::new(body.into())).unwrap()
    }

    async fn post(&self, model: &str, operation: &str, body: &Value) -> ::http::Response<Incoming> {
        self.send(self.request("POST", &format!("/model/{model}/{operation}"), body.to_string())).await
    }

    async fn converse(&self, model: &str, body: &Value) -> (u16, HeaderMap, Value) {
        let (parts, body) = self.post(model, "converse", body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))))
    }

    /// The events of a stream and the error at its end, if there is one.
    async fn stream(&self, model: &str, body: &Value) -> (Vec<(String, Value)>, Option<String>) {
        read(self.post(model, "converse-stream", body).await.into_body()).await
    }

    async fn side_door(&self, method: &str, path: &str) -> (u16, Value) {
        let (parts, body) = self.send(self.request(method, path, "")).await.into_parts();
        (parts.status.as_u16(), serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap())
    }
}

/// The events of a stream and the error at its end, if there is one.
async fn read(mut body: Incoming) -> (Vec<(String, Value)>, Option<String>) {
    let (mut parser, mut events) = (Parser::new(), Vec::new());
    while let Some(chunk) = body.frame().await {
        let chunk = match chunk {
            Ok(chunk) => chunk.into_data().unwrap(),
            Err(error) => return (events, Some(format!("connection: {error}"))),
        };
        let mut frames = parser.push(&chunk);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => events.push(event(&frame)),
                Ok(None) => break,
                Err(error) => return (events, Some(error.to_string())),
            }
        }
    }
    (events, parser.finish().err().map(|error| error.to_string()))
}

fn event(frame: &Frame<'_>) -> (String, Value) {
    let name = frame.event_type().or_else(|| frame.exception_type()).unwrap();
    (name.to_owned(), serde_json::from_slice(frame.payload).unwrap())
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

fn hi() -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": "hi there"}]}]})
}

/// All text deltas together.
fn said(events: &[(String, Value)]) -> String {
    events.iter().filter_map(|(_, payload)| payload["delta"]["text"].as_str()).collect()
}

#[tokio::test]
async fn converse_answers_with_all_that_the_model_requires() {
    let sandbox = Sandbox::start().await;
    let (status, headers, body) = sandbox.converse(HAIKU, &hi()).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "application/json"));
    assert_eq!(headers["x-amzn-requestid"].len(), 36);
    assert_eq!(
        body,
        json!({
            "metrics": {"latencyMs": 42},
            "output": {"message": {"role": "assistant", "content": [{"text": "Echo: hi there"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 2, "outputTokens": 4, "totalTokens": 6}
        })
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn streams_look_like_the_recorded_ones() {
    let sandbox = Sandbox::start().await;
    let (events, error) = sandbox.stream(HAIKU, &hi()).await;
    assert_eq!(error, None);
    let delta = "contentBlockDelta";
    assert_eq!(names(&events), ["messageStart", delta, delta, delta, "contentBlockStop", "messageStop", "metadata"]);
    assert_eq!(said(&events), "Echo: hi there");
    assert_eq!(events[0].1["role"], "assistant");
    assert_eq!(events[6].1["usage"], json!({"inputTokens": 2, "outputTokens": 4, "totalTokens": 6}));
    let paddings: std::collections::HashSet<usize> = events.iter().map(|(_, payload)| payload["p"].as_str().unwrap().len()).collect();
    assert!(paddings.len() > 4, "{paddings:?}");
    sandbox.stop().await;
}

#[tokio::test]
async fn tool_calls_stream_in_fragments_behind_their_text() {
    let sandbox = Sandbox::start().await;
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": "Weather in Berlin and the clock, both please"}]}]});
    body["toolConfig"] = json!({"tools": [
        {"toolSpec": {"name": "get_weather", "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}},
        {"toolSpec": {"name": "clock", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
    ]});
    let (events, error) = sandbox.stream(HAIKU, &body).await;
    assert_eq!((error, said(&events).as_str()), (None, "I'll call get_weather and clock."));
    let starts: Vec<_> = events
        .iter()
        .filter(|(name, _)| name == "contentBlockStart")
        .map(|(_, payload)| (&payload["contentBlockIndex"], &payload["start"]["toolUse"]["name"]))
        .collect();
    assert_eq!(starts, [(&json!(1), &json!("get_weather")), (&json!(2), &json!("clock"))]);
    let input = |index: u64| {
        events
            .iter()
            .filter(|(_, payload)| payload["contentBlockIndex"] == index)
            .filter_map(|(_, payload)| payload["delta"]["toolUse"]["input"].as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(input(1).concat(), r#"{"city":"Berlin"}"#);
    assert!(input(1).len() > 1);
    assert!(input(2).is_empty());
    let (_, _, whole) = sandbox.converse(HAIKU, &body).await;
    assert_eq!(
        whole["output"]["message"]["content"][1]["toolUse"]["toolUseId"],
        events.iter().find(|(name, _)| name == "contentBlockStart").unwrap().1["start"]["toolUse"]["toolUseId"]
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn requests_signed_by_the_aws_crate_are_accepted_and_changed_ones_are_not() {
    use aws_credential_types::Credentials as Identity;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;

    let sandbox = Sandbox::start().await;
    let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
    let signed = |path: &str, secret: &str, body: &str, sent: &str| {
        let identity = Identity::new(ACCESS_KEY_ID, secret, None, None, "test").into();
        let params =
            v4::SigningParams::builder().identity(&identity).region("us-east-1").name("bedrock").time(SystemTime::now()).settings(SigningSettings::default());
        let host = sandbox.address.to_string();
        let headers = [("host", host.as_str()), ("content-type", "application/json")];
        let uri = format!("http://{host}{path}");
        let signable = SignableRequest::new("POST", &uri, headers.into_iter(), SignableBody::Bytes(body.as_bytes())).unwrap();
        let (instructions, _) = sign(signable, &params.build().unwrap().into()).unwrap().into_parts();
        let mut request = Request::builder().method("POST").uri(path).header("host", &host).header("content-type", "application/json");
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::from(sent.to_owned()))).unwrap()
    };
    let body = hi().to_string();
    for model in [HAIKU, arn] {
        let path = format!("/model/{model}/converse");
        assert_eq!(sandbox.send(signed(&path, SECRET_ACCESS_KEY, &body, &body)).await.status(), 200, "{path}");
        let refused = sandbox.send(signed(&path, "another", &body, &body)).await;
        assert_eq!(refused.status(), 403);
        assert!(refused.headers()["x-amzn-errortype"].to_str().unwrap().starts_with("InvalidSignatureException:"));
        assert_eq!(sandbox.send(signed(&path, SECRET_ACCESS_KEY, &body, &format!("{body} "))).await.status(), 403);
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn http2_is_spoken_without_tls() {
    let sandbox = Sandbox::start().await;
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::builder().method("POST").uri(format!("http://{}/model/{HAIKU}/converse-stream", sandbox.address));
        let request = request.header("authorization", format!("Bearer {BEARER_TOKEN}")).body(Full::new(Bytes::from(hi().to_string()))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut parser = Parser::new();
        let mut frames = parser.push(&bytes);
        let mut count = 0;
        while frames.next_frame().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 7);
    }
    drop(sender);
    sandbox.stop().await;
}

#[tokio::test]
async fn refusals_have_a_name_a_status_and_a_message() {
    let sandbox = Sandbox::start().await;
    let refused = async |path: String, method: &str, body: &str| {
        let (parts, body) = sandbox.send(sandbox.request(method, &path, body.to_owned())).await.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        let name = parts.headers["x-amzn-errortype"].to_str().unwrap().split(':').next().unwrap().to_owned();
        (parts.status.as_u16(), name, body["message"].as_str().unwrap().to_owned())
    };
    let valid = hi().to_string();
    let expected: [(&str, &str, &str, u16, &str, &str); 9] = [
        ("POST", "/model/no.such-model-v1:0/converse", &valid, 400, "ValidationException", "The provided model identifier is invalid."),
        ("POST", "/model/a%2Fb/converse", &valid, 400, "ValidationException", "regular expression"),
        ("GET", "/model/sandbox/converse", "", 404, "UnknownOperationException", "GET"),
        ("POST", "/model/sandbox/invoke-async", "{}", 404, "UnknownOperationException", "/invoke-async"),
        ("POST", "/model/arn:aws:bedrock:us-east-1::foundation-model/a.b/converse", &valid, 404, "UnknownOperationException", ""),
        ("POST", "/v1/chat/completions", "{}", 404, "UnknownOperationException", ""),
        ("POST", "/model/sandbox/converse", "{", 400, "SerializationException", "not JSON"),
        ("POST", "/model/sandbox/converse", r#"{"messages":[]}"#, 400, "ValidationException", "messages field is empty"),
        ("POST", "/model/sandbox.dely-5ms/converse", &valid, 400, "ValidationException", "no knob 'dely'"),
    ];
    for (method, path, body, status, name, text) in expected {
        let answer = refused(path.to_owned(), method, body).await;
        assert!(answer.0 == status && answer.1 == name && answer.2.contains(text), "{method} {path}: {answer:?}");
    }
    let request = Request::builder().method("POST").uri("/model/sandbox/converse").header("host", "x").body(Full::new(Bytes::from(valid))).unwrap();
    let answer = sandbox.send(request).await;
    assert_eq!(answer.status(), 403);
    assert!(answer.headers()["x-amzn-errortype"].to_str().unwrap().starts_with("MissingAuthenticationTokenException:"));
    sandbox.stop().await;
}

#[tokio::test]
async fn errors_come_in_every_form() {
    let sandbox = Sandbox::start().await;
    let (status, headers, body) = sandbox.converse("sandbox.error-throttling.retry-7", &hi()).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "7"));
    assert!(body["message"].is_string());
    let (status, headers, body) = sandbox.converse("sandbox.error-model-timeout.body-empty", &hi()).await;
    assert_eq!((status, body), (408, json!({})));
    assert!(headers["x-amzn-errortype"].to_str().unwrap().starts_with("ModelTimeoutException:"));
    let (status, headers, body) = sandbox.converse("sandbox.error-service-unavailable.body-plain", &hi()).await;
    assert_eq!((status, headers.get("x-amzn-errortype"), body.is_string()), (503, None, true));
    let (status, _, body) = sandbox.converse("sandbox.omit-output", &hi()).await;
    assert_eq!((status, body.get("output")), (200, None));
    let (status, _, _) = sandbox.converse("sandbox.exception-throttling", &hi()).await;
    assert_eq!(status, 429);
    sandbox.stop().await;
}

#[tokio::test]
async fn streams_break_as_they_are_told() {
    let sandbox = Sandbox::start().await;
    let broken = async |knobs: &str| sandbox.stream(&format!("sandbox.words-5.{knobs}"), &hi()).await;

    let (events, error) = broken("exception-throttling").await;
    assert_eq!((names(&events), error), (vec!["throttlingException"], None));
    let (events, error) = broken("exception-model-stream-error.after-2").await;
    assert_eq!((names(&events), error), (vec!["messageStart", "contentBlockDelta", "contentBlockDelta", "modelStreamErrorException"], None));
    assert_eq!(said(&events), "word1 word2");
    let (events, error) = broken("exception-validation.after-0").await;
    assert_eq!((names(&events), error), (vec!["messageStart", "validationException"], None));

    let (events, error) = broken("cut-3").await;
    assert_eq!(events.len(), 3);
    assert!(error.unwrap().starts_with("connection"));
    let (events, error) = broken("tear-3").await;
    assert_eq!(events.len(), 3);
    assert!(error.unwrap().starts_with("connection"));
    let (events, error) = broken("corrupt-2").await;
    assert_eq!(events.len(), 2);
    assert!(error.unwrap().contains("message checksum"));

    let (events, error) = broken("omit-stop").await;
    assert_eq!((events.last().unwrap().0.as_str(), error), ("contentBlockStop", None));
    let (events, error) = broken("omit-metadata").await;
    assert_eq!((events.last().unwrap().0.as_str(), error), ("messageStop", None));
    let (events, error) = broken("omit-output").await;
    assert_eq!((events.len(), error), (0, None));
    let (events, _) = broken("stop-malformed-tool-use").await;
    assert_eq!(events[events.len() - 2].1["stopReason"], "malformed_tool_use");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_json_answer_breaks_in_its_middle() {
    let sandbox = Sandbox::start().await;
    let response = sandbox.post("sandbox.cut-0", "converse", &hi()).await;
    assert!(response.headers().contains_key("content-length"));
    response.into_body().collect().await.unwrap_err();
    sandbox.stop().await;
}

#[tokio::test]
async fn bytes_leave_in_pieces_of_any_size() {
    let sandbox = Sandbox::start().await;
    for knobs in ["chunk-1", "chunk-7", "chunk-100", "chunk-all", "pause-0ms", "pause-1ms.words-2"] {
        let (events, error) = sandbox.stream(&format!("sandbox.{knobs}"), &hi()).await;
        assert_eq!((error, events.last().unwrap().0.as_str()), (None, "metadata"), "{knobs}");
    }
    let (events, error) = sandbox.stream("sandbox.kib-512", &hi()).await;
    assert_eq!((error, said(&events).len()), (None, 512 * 1024));
    let (_, _, body) = sandbox.converse("sandbox.chunk-1", &hi()).await;
    assert_eq!(body["stopReason"], "end_turn");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_held_stream_shows_its_first_delta_and_waits_for_its_release() {
    let sandbox = Sandbox::start().await;
    let mut body = sandbox.post("sandbox.hold.tag-held", "converse-stream", &hi()).await.into_body();
    let (mut parser, mut count) = (Parser::new(), 0);
    while count < 2 {
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let mut frames = parser.push(&chunk);
        while frames.next_frame().unwrap().is_some() {
            count += 1;
        }
    }
    assert_eq!(sandbox.side_door("GET", "/sandbox/wait?tag=held&held=1").await.0, 200);
    let (_, entry) = sandbox.side_door("GET", "/sandbox/requests/last?tag=held").await;
    assert_eq!((&entry["answer"]["state"], &entry["answer"]["frames"]), (&json!("held"), &json!(2)));
    assert_eq!(sandbox.side_door("POST", "/sandbox/release?tag=other").await.1["released"], 0);
    assert_eq!(sandbox.side_door("POST", "/sandbox/release?tag=held").await.1["released"], 1);
    let rest = body.collect().await.unwrap().to_bytes();
    let mut frames = parser.push(&rest);
    while let Some(frame) = frames.next_frame().unwrap() {
        count += 1;
        assert!(frame.event_type().is_some());
    }
    assert_eq!(count, 7);
    assert_eq!(sandbox.side_door("GET", "/sandbox/wait?tag=held&complete=1").await.0, 200);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_peer_that_leaves_is_noticed() {
    let sandbox = Sandbox::start().await;
    // While the head is held back, and in the middle of the stream; on HTTP/1.1, where leaving is closing.
    for (knob, tag) in [("hold-head", "head"), ("hold", "middle")] {
        let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
        let body = hi().to_string();
        let head = format!(
            "POST /model/sandbox.{knob}.tag-{tag}/converse-stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {BEARER_TOKEN}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        if tag == "middle" {
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        }
        assert_eq!(sandbox.side_door("GET", &format!("/sandbox/wait?tag={tag}&held=1")).await.0, 200);
        drop(stream);
        assert_eq!(sandbox.side_door("GET", &format!("/sandbox/wait?tag={tag}&closed=1")).await.0, 200, "{tag}");
    }
    assert_eq!(sandbox.side_door("GET", "/sandbox/wait?requests=3&timeout=1ms").await.0, 408);
    sandbox.stop().await;
}

#[tokio::test]
async fn the_journal_tells_what_arrived() {
    let sandbox = Sandbox::start().await;
    sandbox.converse(&format!("{HAIKU}.sandbox.tag-a"), &hi()).await;
    let (_, entry) = sandbox.side_door("GET", "/sandbox/requests/last?tag=a").await;
    assert_eq!(entry["path"], format!("/model/{HAIKU}.sandbox.tag-a/converse"));
    assert_eq!(entry["model"], "anthropic.claude-3-haiku-20240307-v1:0.sandbox.tag-a");
    assert_eq!((&entry["operation"], &entry["verification"], &entry["version"]), (&json!("Converse"), &json!("ok"), &json!("HTTP/1.1")));
    assert_eq!(serde_json::from_str::<Value>(entry["body"].as_str().unwrap()).unwrap(), hi());
    assert_eq!((&entry["answer"]["state"], &entry["answer"]["status"]), (&json!("complete"), &json!(200)));
    let headers = entry["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["host", sandbox.address.to_string()])));
    assert!(headers.contains(&json!(["authorization", "Bearer (not shown)"])));

    let large = json!({"messages": [{"role": "user", "content": [{"text": "x".repeat(1 << 20)}]}]});
    let length = large.to_string().len();
    sandbox.converse("sandbox.words-1.tag-b", &large).await;
    let (_, list) = sandbox.side_door("GET", "/sandbox/requests").await;
    assert_eq!(list["requests"].as_array().unwrap().len(), 2);
    assert_eq!((&list["requests"][1]["body"], &list["requests"][1]["body_bytes"]), (&Value::Null, &json!(length)));
    assert_eq!(list["requests"][1]["body_sha256"].as_str().unwrap().len(), 64);
    sandbox.side_door("DELETE", "/sandbox/requests?tag=a").await;
    assert_eq!(sandbox.side_door("GET", "/sandbox/requests/last?tag=a").await.0, 404);
    assert_eq!(sandbox.side_door("GET", "/sandbox/requests/last?tag=b").await.0, 200);
    sandbox.stop().await;
}

#[tokio::test]
async fn tokens_are_counted_without_an_answer() {
    let sandbox = Sandbox::start().await;
    let count = async |model: &str, body: Value| {
        let (parts, body) = sandbox.post(model, "count-tokens", &body).await.into_parts();
        (parts.status.as_u16(), serde_json::from_slice::<Value>(&body.collect().await.unwrap().to_bytes()).unwrap())
    };
    assert_eq!(count(HAIKU, json!({"input": {"converse": hi()}})).await, (200, json!({"inputTokens": 2})));
    let invoke = |body: Value| json!({"input": {"invokeModel": {"body": STANDARD.encode(body.to_string())}}});
    let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "messages": [{"role": "user", "content": "hi there"}]});
    assert_eq!(count(HAIKU, invoke(body.clone())).await, (200, json!({"inputTokens": 2})));
    assert_eq!(count(HAIKU, json!({"input": {"invokeModel": {"body": "eyJhIjoxMn0="}}})).await, (400, json!({"message": "anthropic_version: Field required"})));
    assert_eq!(count(HAIKU, json!({"input": {"invokeModel": {"body": "e30"}}})).await.0, 400);
    for id in [format!("us.{HAIKU}"), "amazon.nova-lite-v1:0".to_owned(), "cohere.embed-v4:0".to_owned()] {
        assert_eq!(count(&id, invoke(body.clone())).await.0, 400, "{id}");
    }
    assert_eq!(count(&format!("us.{HAIKU}"), json!({"input": {"converse": hi()}})).await.0, 400);
    assert_eq!(count(HAIKU, json!({"input": {}})).await.0, 400);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { max_body_bytes: 10, ..Options::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let sandbox = Sandbox { address, stop: Some(stop), served: tokio::spawn(serve(listener, options, stopped)) };
    assert_eq!(sandbox.converse("sandbox", &hi()).await.0, 413);
    sandbox.stop().await;
}

#[tokio::test]
async fn chunks_ignore_frames_and_waits_cut_them() {
    let sandbox = Sandbox::start().await;
    let sizes = async |model: &str| {
        let mut body = sandbox.post(model, "converse-stream", &hi()).await.into_body();
        let mut sizes = Vec::new();
        while let Some(chunk) = body.frame().await {
            sizes.push(chunk.unwrap().into_data().unwrap().len());
        }
        sizes
    };
    let whole = sizes("sandbox.chunk-all").await;
    assert_eq!(whole.len(), 1);
    let pieces = sizes("sandbox.chunk-100").await;
    assert_eq!((pieces.iter().sum::<usize>(), pieces.len()), (whole[0], whole[0].div_ceil(100)));
    assert!(pieces[..pieces.len() - 1].iter().all(|size| *size == 100));
    assert_eq!(sizes("sandbox.chunk-all.stall-1ms").await.len(), 2);
    assert_eq!(sizes("sandbox.pause-1ms").await.len(), 7);
    sandbox.stop().await;
}
