//! A client that speaks HTTP/2 without TLS, for tests that are otherwise played on threads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Answer, Gateway};

/// Sends one request on a connection of its own, its body in pieces of this length or, with 0, at once with its length. The answer comes when the thread ends; it
/// is not whole if the stream was reset.
pub(crate) fn send(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8], piece: usize) -> JoinHandle<Answer> {
    let body: BoxBody<Bytes, Infallible> = if piece == 0 {
        Full::new(Bytes::copy_from_slice(body)).boxed()
    } else {
        let frames: Vec<_> = body.chunks(piece).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        StreamBody::new(futures::stream::iter(frames)).boxed()
    };
    exchange(gateway.address, method, path, headers, body)
}

/// Sends one request whose body comes as it is written to what is given back, and ends when that is dropped.
pub(crate) fn begin(address: SocketAddr, path: &str) -> (futures::channel::mpsc::UnboundedSender<Bytes>, JoinHandle<Answer>) {
    let (sender, pieces) = futures::channel::mpsc::unbounded();
    let body = StreamBody::new(futures::StreamExt::map(pieces, |piece| Ok(Frame::data(piece)))).boxed();
    (sender, exchange(address, "POST", path, &[], body))
}

/// A body that is sent at once.
pub(crate) fn body(text: &str) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed()
}

/// Sends one request on a connection of its own.
pub(crate) fn exchange(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: BoxBody<Bytes, Infallible>) -> JoinHandle<Answer> {
    let mut request = hyper::Request::builder().method(method).uri(format!("http://gateway.example{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let mut answer = sender.send_request(request).await.unwrap();
            let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            let mut body = Vec::new();
            let mut whole = true;
            while let Some(frame) = answer.body_mut().frame().await {
                match frame.map(Frame::into_data) {
                    Ok(Ok(data)) => body.extend_from_slice(&data),
                    Ok(Err(_)) => {}
                    Err(_) => {
                        whole = false;
                        break;
                    }
                }
            }
            Answer { status: answer.status().as_u16(), headers, body, whole }
        })
    })
}

/// Sends a POST and goes, by a reset of its stream, when what is given back is called.
pub(crate) fn leave(gateway: &Gateway, path: &str, body: &[u8]) -> impl FnOnce() {
    let address = gateway.address;
    let request = hyper::Request::post(format!("http://gateway.example{path}")).body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            let connection = tokio::spawn(connection);
            tokio::select! {
                _ = sender.send_request(request) => panic!("nothing was answered"),
                _ = gone => {}
            }
            // The pending request was dropped, which resets its stream; the connection says so and ends.
            drop(sender);
            connection.await.unwrap().unwrap();
        });
    });
    move || {
        go.send(()).unwrap();
        thread.join().unwrap();
    }
}
