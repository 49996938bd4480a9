//! In front of Pingora's proxy: reads the head of a request, so that what cannot be read as HTTP gets an answer in words too.
//!
//! Pingora answers an unreadable head with an empty 400. Here the head is read first; a good one goes on inside a session that has it already (the wrapper of
//! [`downstream`], taken off again by [`unwrap`] in the first phase). HTTP/2 has its own answers to broken frames and passes untouched.
//!
//! Which of the two a connection speaks is told here as well ([`Listener`]): Pingora waits for the 24 bytes of HTTP/2's preface, which a shorter request never
//! sends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use log::debug;
use pingora::ErrorType;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::stream::Stream as Socket;
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora_proxy::{HttpProxy, Session};
use tokio::io::AsyncReadExt;

use crate::chat::{ApiError, ErrorKind};
use crate::dialect::Dialect;
use crate::proxy::downstream::{self, Control};
use crate::proxy::error::error_head;
use crate::proxy::{Gateway, Shared, intake};

tokio::task_local! {
    /// The wrapper that a request of this task came in. Pingora runs all phases of a request in the task of its connection.
    static WRAPPED: Control;
}

/// What an HTTP/2 client without TLS sends first: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How Pingora sums a request up whose head it has not got: no method, no path, no host.
const NO_HEAD: &str = "- , Host: ";
/// How long a connection may be silent between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The application that the listener calls: tells the two versions of HTTP apart by a connection's first bytes.
pub struct Listener {
    http1: Arc<Front>,
    http2: Arc<Front>,
}

/// One version of HTTP.
struct Front {
    proxy: Arc<HttpProxy<Gateway>>,
    options: HttpServerOptions,
    shared: Arc<Shared>,
}

/// The gateway as a service of a Pingora server: HTTP/1.1 and HTTP/2 without TLS, on listeners that the caller adds.
pub fn service(conf: &Arc<ServerConf>, shared: Arc<Shared>) -> Service<Listener> {
    let proxy = Arc::new(pingora_proxy::http_proxy(conf, Gateway::new(Arc::clone(&shared))));
    let front = |h2c| {
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        options.h2_idle_timeout = Some(KEEP_ALIVE);
        // No limit: what is left of it tells a kept connection from a new one.
        options.keepalive_request_limit = Some(u32::MAX);
        Arc::new(Front { proxy: Arc::clone(&proxy), options, shared: Arc::clone(&shared) })
    };
    Service::new("gateway".to_owned(), Listener { http1: front(false), http2: front(true) })
}

#[async_trait]
impl ServerApp for Listener {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let shared = &self.http1.shared;
        let _counted = shared.connected();
        // TLS agrees on the version itself.
        if !stream.as_ref().as_any().is::<Socket>() {
            return self.http2.process_new(stream, shutdown).await;
        }
        let mut socket = stream.into_any().downcast::<Socket>().ok()?;
        // Whoever opens a connection has something to say, and as long for it as for the rest of the head.
        let patience = shared.live.now().snapshot.process.client_timeouts.head;
        let first = tokio::select! {
            // A request that is there is served, however late it is.
            biased;
            first = tokio::time::timeout(patience, first_bytes(&mut *socket)) => first.ok()?.ok()?,
            () = self.http1.grace_is_over(shutdown) => return None,
        };
        socket.rewind(&first);
        let front = if first == PREFACE { &self.http2 } else { &self.http1 };
        front.process_new(socket, shutdown).await
    }

    async fn cleanup(&self) {
        self.http1.http_cleanup().await;
    }
}

impl Front {
    /// Ends when the process is to stop, and clients have had their time to use the connections that they hold: a request that was on its way when a connection
    /// is closed is lost for them.
    async fn grace_is_over(&self, shutdown: &ShutdownWatch) {
        let mut stopping = shutdown.clone();
        // An error means that the host is gone, and with it all time.
        let _ = stopping.wait_for(|stopping| *stopping).await;
        tokio::time::sleep(Duration::from_secs(self.shared.live.now().snapshot.process.pingora.grace_period_seconds)).await;
    }
}

/// Reads no more than it takes to know whether this is HTTP/2: up to the first byte that differs from its preface.
async fn first_bytes(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let mut rest = (&mut *socket).take((PREFACE.len() - first.len()) as u64);
        if rest.read_buf(&mut first).await? == 0 {
            break;
        }
    }
    Ok(first)
}

#[async_trait]
impl HttpServerApp for Front {
    async fn process_new_http(self: &Arc<Self>, mut session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        let ServerSession::H1(h1) = &mut session else {
            return self.proxy.process_new_http(session, shutdown).await;
        };
        // Requests sent without waiting for the answers are answered in turn, as by other servers.
        h1.set_pipelining_enabled(true);
        let is_kept = h1.get_keepalive_reuses_remaining() != self.options.keepalive_request_limit;
        let head = self.shared.live.now().snapshot.process.client_timeouts.head;
        // Nobody tells when the head of a next request begins. Pingora itself closes a kept connection that is silent for this long.
        let patience = if is_kept { KEEP_ALIVE + head } else { head };
        let read = tokio::select! {
            biased;
            // Of a new plain connection the first byte is there; with TLS the wait for it counts too.
            read = tokio::time::timeout(patience, session.read_request()) => read,
            () = self.grace_is_over(shutdown) => return None,
        };
        match read {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return None,
            Err(_) => {
                answer(&mut session, &ApiError::new(ErrorKind::RequestTimeout, "The head of the request took too long to arrive.")).await;
                session.shutdown().await;
                return None;
            }
            Ok(Err(cause)) => {
                debug!("unreadable request: {cause}");
                if matches!(cause.etype(), ErrorType::InvalidHTTPHeader) {
                    let error = if is_excessive(&cause, &session) {
                        intake::excessive_head()
                    } else {
                        ApiError::new(ErrorKind::InvalidRequest, "The request is not valid HTTP.")
                    };
                    answer(&mut session, &error).await;
                }
                session.shutdown().await;
                return None;
            }
        }
        if let Err(refused) = framing(&session.req_header().headers) {
            answer(&mut session, &ApiError::new(ErrorKind::InvalidRequest, refused)).await;
            session.shutdown().await;
            return None;
        }
        if session.req_header().method == Method::CONNECT {
            answer(&mut session, &ApiError::new(ErrorKind::MethodNotAllowed, "This is no tunnel: CONNECT is not available.")).await;
            session.shutdown().await;
            return None;
        }
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        let control = downstream::install(&mut session, None);
        let reused = WRAPPED.scope(control.clone(), self.proxy.process_new_http(session, shutdown)).await;
        match control.take_left() {
            Some(kept) => reuse(kept).await,
            None => reused,
        }
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }
}

/// Whether a head was given up for its size: for more headers than Pingora has room for, as its parser says, or for more bytes, which is what it gives up for
/// by itself before there is a head. Shorter ones, and paths that are too long, are `intake`'s business.
fn is_excessive(cause: &pingora::Error, session: &ServerSession) -> bool {
    match &cause.cause {
        Some(cause) => cause.downcast_ref::<httparse::Error>() == Some(&httparse::Error::TooManyHeaders),
        None => matches!(session, ServerSession::H1(h1) if h1.request_summary() == NO_HEAD),
    }
}

/// Refuses what two HTTP parsers could frame differently, which is how requests are smuggled: RFC 9112, sections 6.1 and 6.3.
fn framing(headers: &HeaderMap) -> Result<(), &'static str> {
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err("The request names more than one host.");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err("The request has both a content-length and a transfer-encoding.");
    }
    if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Err("The only transfer-encoding of requests is chunked, once.");
    }
    Ok(())
}

/// Gives the proxy's phases the session as it came. A request in chunks is the last one of its connection.
pub(super) fn unwrap(session: &mut Session) {
    if let Ok(control) = WRAPPED.try_with(Control::clone) {
        downstream::restore(session.as_mut(), &control);
    }
    // Pingora's reader of chunks takes an empty size for zero, and bare line feeds in what may follow a size: somebody in front of the gateway may see another end
    // of the body. So nothing is served behind such a body.
    if session.req_header().headers.contains_key(header::TRANSFER_ENCODING) {
        session.set_keepalive(None);
    }
}

/// Keeps the client's connection where Pingora would end it: after an upstream failed, although the client has its whole answer.
pub(super) fn keep(session: &mut Session) {
    if let Ok(control) = WRAPPED.try_with(Control::clone) {
        downstream::leave(session.as_mut(), &control);
    }
}

/// Ends an answer and makes the connection ready for the next request.
async fn reuse(session: ServerSession) -> Option<ReusedHttpStream> {
    let settings = HttpPersistentSettings::for_session(&session);
    let stream = session.finish().await.ok().flatten()?;
    Some(ReusedHttpStream::from_reusable_stream(stream, settings))
}

/// An error to a client whose request never reached the proxy.
async fn answer(session: &mut ServerSession, error: &ApiError) {
    let body = Bytes::from(Dialect::OpenAi.error_body(error, ""));
    let Ok(mut head) = error_head(error, body.len()) else { return };
    let id = intake::random_id();
    let allow = if error.kind == ErrorKind::MethodNotAllowed { head.insert_header("allow", "GET, HEAD, POST") } else { Ok(()) };
    if head.insert_header("x-request-id", id).and(allow).is_ok() {
        write(session, head, body).await;
    }
}

async fn write(session: &mut ServerSession, head: ResponseHeader, body: Bytes) {
    session.set_keepalive(None);
    let written = async {
        session.write_response_header(Box::new(head)).await?;
        session.write_response_body(body, true).await?;
        session.finish_body().await
    };
    if let Err(cause) = written.await {
        debug!("the client of an unreadable request is gone: {cause}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_bytes_tell_the_version_without_waiting_for_more() {
        let first = async |pieces: &[&'static [u8]; 2]| {
            let [one, two] = *pieces;
            first_bytes(&mut one.chain(two)).await.unwrap()
        };
        assert_eq!(first(&[b"GET / HTTP/1.0\r\n\r\n", b"more"]).await, b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!(first(&[b"P", b"OST"]).await, b"POST");
        assert_eq!(first(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\nrest"]).await, PREFACE);
        assert_eq!(first(&[b"PRI", b""]).await, b"PRI");
        assert_eq!(first(&[b"", b""]).await, b"");
    }

    #[test]
    fn only_one_plain_framing_is_accepted() {
        let framed = |headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            framing(&map).is_ok()
        };
        assert!(framed(&[]));
        assert!(framed(&[("content-length", "5"), ("host", "a")]));
        assert!(!framed(&[("host", "a"), ("host", "a")]));
        assert!(framed(&[("transfer-encoding", "Chunked")]));
        assert!(!framed(&[("transfer-encoding", "chunked"), ("content-length", "5")]));
        assert!(!framed(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]));
        for coding in ["gzip", "gzip, chunked", "chunked, chunked", "xchunked", "chunked;q=1", ""] {
            assert!(!framed(&[("transfer-encoding", coding)]), "{coding:?}");
        }
    }
}
