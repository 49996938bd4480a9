//! HTTP/2 without TLS, as service meshes and some SDKs speak it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::convert::Infallible;
use std::sync::mpsc;

use bytes::Bytes;
use common::{Gateway, Upstream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Body, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};

type Sender = hyper::client::conn::http2::SendRequest<BoxBody<Bytes, Infallible>>;

async fn connect(gateway: &Gateway) -> Sender {
    let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn post(body: BoxBody<Bytes, Infallible>) -> hyper::Request<BoxBody<Bytes, Infallible>> {
    hyper::Request::post("http://gateway.example/v1/chat/completions").header("content-type", "application/json").body(body).unwrap()
}

fn chat(size: usize, stream: bool) -> String {
    let text = "x".repeat(size);
    format!(r#"{{"model":"claude-3-haiku","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

/// A body whose length nobody knows; its last piece ends the stream itself or an empty one does.
fn pieces(text: &str, last_ends: bool) -> BoxBody<Bytes, Infallible> {
    let mut frames: Vec<_> = text.as_bytes().chunks(16_000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    if !last_ends {
        frames.push(Ok(Frame::data(Bytes::new())));
    }
    StreamBody::new(futures::stream::iter(frames)).boxed()
}

fn known(text: &str) -> BoxBody<Bytes, Infallible> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    assert!(body.size_hint().exact().is_some());
    body.boxed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_framing_arrive_whole_over_h2c() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let (lengths, seen) = mpsc::channel();
    let far = std::thread::spawn(move || {
        for size in seen {
            let size: usize = size;
            let (mut far, request) = upstream.exchange();
            let json = request.json();
            assert_eq!(json["messages"][0]["content"][0]["text"].as_str().unwrap().len(), size);
            far.reply_text("ok");
            // One connection per request: the test reads them one by one.
            far.close();
        }
    });
    let mut sender = connect(&gateway).await;
    for size in [10, 70_000, 1_000_000] {
        let text = chat(size, false);
        for body in [known(&text), pieces(&text, true), pieces(&text, false)] {
            lengths.send(size).unwrap();
            let answer = sender.send_request(post(body)).await.unwrap();
            assert_eq!(answer.status(), 200, "{size} bytes");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(json["choices"][0]["message"]["content"], "ok");
        }
    }
    drop(lengths);
    far.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_errors_and_departures_over_h2c() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut sender = connect(&gateway).await;
    let pending = tokio::spawn(sender.send_request(post(known(&chat(2, true)))));
    let (upstream, mut far) = tokio::task::spawn_blocking(move || {
        let (mut far, _) = upstream.exchange();
        far.begin_answer();
        far.delta("first");
        (upstream, far)
    })
    .await
    .unwrap();
    let mut answer = pending.await.unwrap().unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
    let mut text = String::new();
    while !text.contains("first") {
        text.push_str(std::str::from_utf8(&answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap()).unwrap());
    }
    let rest = tokio::task::spawn_blocking(move || far.end_stream());
    while let Some(frame) = answer.body_mut().frame().await {
        text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
    }
    rest.await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    // An error of ours.
    let answer = sender.send_request(post(known("{"))).await.unwrap();
    assert_eq!(answer.status(), 400);
    // The client resets its stream: the upstream is dropped.
    let pending = sender.send_request(post(known(&chat(2, true))));
    let far = tokio::task::spawn_blocking(move || upstream.exchange().0);
    tokio::select! {
        _ = pending => panic!("nothing was answered yet"),
        far = far => {
            let mut far = far.unwrap();
            // `pending` is dropped here, which resets the stream.
            tokio::task::spawn_blocking(move || far.wait_closed()).await.unwrap();
        }
    }
}
