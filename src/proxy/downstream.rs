//! The client's session, wrapped for the time between routing and the end of the answer.
//!
//! Pingora's pump has three limits that a translating gateway meets at once:
//!
//! * a request body that was read early is only sent on from a 64 KiB retry buffer, and a chunked one over that size hangs;
//! * the head of an answer goes out as soon as the upstream's head is in, although the first frame of a stream may still turn it into an error, and the
//!   length of a translated body is known only at its end;
//! * nothing runs while the upstream is silent, so nothing can keep the client's connection alive.
//!
//! Pingora lets a service bring its own kind of session, and [`Downstream`] is one around the real one: it says that the body is complete and always there
//! (so that every attempt of every size and framing calls `request_body_filter`), holds the head until the first byte of the body, and wakes the pump with
//! an empty piece of request body when a deadline is near. [`install`] puts it in, [`restore`] takes it out before Pingora decides about connection reuse.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use log::debug;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::snapshot::OnDisconnect;

/// The client's answer is complete, the upstream's is not: no failure towards the client.
const ANSWERED: ErrorType = ErrorType::Custom("Answered");

/// Headers that describe a body.
const OF_THE_BODY: &[&str] = &[
    "content-encoding",
    "content-language",
    "content-disposition",
    "content-range",
    "content-md5",
    "content-digest",
    "repr-digest",
    "digest",
    "etag",
    "last-modified",
    "accept-ranges",
];

/// What the request context keeps of the wrapped session. Cheap to clone; locked for a few instructions, never over an await.
#[derive(Clone)]
pub(super) struct Control(Arc<Shared>);

struct Shared {
    /// Whether it is in the session's place; an exchange that the gateway answers itself has none there.
    installed: bool,
    state: Mutex<State>,
    /// Where the real session is left when the wrapper goes.
    returned: Mutex<Option<ServerSession>>,
    /// What [`leave`] has left.
    left: Mutex<Option<ServerSession>>,
}

#[derive(Default)]
struct State {
    /// When the pump is to be woken.
    wake_at: Option<Instant>,
    /// The pump was woken: the next `request_body_filter` is that, not a body.
    woken: bool,
    /// The pump was woken because every request has to end.
    ending: bool,
    /// The head has gone to the client.
    head_out: bool,
    /// What the body filter found out about the head that is still held.
    patch: Option<HeadPatch>,
    /// The upstream gets no body: its head must not promise one.
    bodiless: bool,
    /// The body filter has written the last byte the client gets, whatever the upstream still sends.
    finished: bool,
    /// When something was last written to the client.
    written_at: Option<Instant>,
    /// The exchange goes on when the client leaves.
    drain: bool,
    /// The client has left.
    gone: bool,
}

/// Changes to a head that is still held.
#[derive(Debug, Default)]
pub(super) struct HeadPatch {
    /// Another status.
    pub(super) status: Option<StatusCode>,
    /// Another content type.
    pub(super) content_type: Option<&'static str>,
    /// A header that goes with another status: the error's name.
    pub(super) error_name: Option<(&'static str, &'static str)>,
    /// The length of the body, known by now.
    pub(super) content_length: Option<usize>,
    /// A `retry-after` for the client.
    pub(super) retry_after: Option<String>,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock would mean a panic between two field writes: the fields are still whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client has got the head: from then on an error is an event, not a status.
    pub(super) fn head_out(&self) -> bool {
        self.state().head_out
    }

    /// Changes the head before it goes out.
    pub(super) fn patch_head(&self, patch: HeadPatch) {
        self.state().patch = Some(patch);
    }

    /// Ends the answer with the piece of body that is being written, whatever the upstream still sends.
    pub(super) fn finish(&self) {
        self.state().finished = true;
    }

    /// Makes ready for a try: whether it has no body, and whether it goes on when the client leaves.
    pub(super) fn prepare(&self, bodiless: bool, drain: bool) {
        let mut state = self.state();
        state.bodiless = bodiless;
        state.drain = drain;
        // A wake-up of the try before must not be taken for the body of this one, nor its patch for this one's.
        state.woken = false;
        state.finished = false;
        state.patch = None;
    }

    /// The client has left, and the exchange goes on without it.
    pub(super) fn leave_alone(&self) {
        self.state().gone = true;
    }

    /// Whether the exchange goes on without its client.
    pub(super) fn is_gone(&self) -> bool {
        self.state().gone
    }

    /// Sets when the pump is woken next.
    pub(super) fn wake_at(&self, at: Option<Instant>) {
        self.state().wake_at = at;
    }

    /// Whether this call of `request_body_filter` is a wake-up; asking again says no.
    pub(super) fn take_wake(&self) -> bool {
        std::mem::take(&mut self.state().woken)
    }

    /// Says that the request has to end now, where nobody waits in its session.
    pub(super) fn end(&self) {
        self.state().ending = true;
    }

    /// Whether the request has to end now.
    pub(super) fn is_ending(&self) -> bool {
        self.state().ending
    }

    /// Takes the session that [`leave`] has left.
    pub(super) fn take_left(&self) -> Option<ServerSession> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// When something was last written to the client.
    pub(super) fn written_at(&self) -> Option<Instant> {
        self.state().written_at
    }
}

/// A control without a wrapper: for an exchange whose answer the gateway writes itself.
pub(super) fn detached() -> Control {
    Control(Arc::new(Shared { installed: false, state: Mutex::default(), returned: Mutex::new(None), left: Mutex::new(None) }))
}

/// Wraps the client's session. In the proxy's phases its request body must have been read to the end by then; `ending` wakes the pump for the last words.
pub(super) fn install(session: &mut ServerSession, ending: Option<watch::Receiver<bool>>) -> Control {
    let control = Control(Arc::new(Shared { installed: true, state: Mutex::default(), returned: Mutex::new(None), left: Mutex::new(None) }));
    let inner = std::mem::replace(session, ServerSession::Custom(Box::new(())));
    let wrapped = Downstream { inner: Some(inner), control: control.clone(), head: None, ending };
    *session = ServerSession::Custom(Box::new(wrapped));
    control
}

/// Takes the wrapper off again, so that Pingora may keep the connection.
pub(super) fn restore(session: &mut ServerSession, control: &Control) {
    if !control.0.installed {
        return;
    }
    let wrapped = std::mem::replace(session, ServerSession::Custom(Box::new(())));
    drop(wrapped);
    let returned = control.0.returned.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(inner) = returned {
        *session = inner;
    }
}

/// Leaves a session for whoever holds the control, in place of the proxy, which would drop it.
pub(super) fn leave(session: &mut ServerSession, control: &Control) {
    let inner = std::mem::replace(session, ServerSession::Custom(Box::new(())));
    *control.0.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(inner);
}

/// Ends when the client leaves; never where the calls go on without it.
pub(super) async fn gone(session: &mut Session, control: &Control, rule: OnDisconnect) -> Box<Error> {
    if !control.is_gone() {
        match session.as_downstream_mut().read_body_or_idle(true).await {
            Err(mut cause) if rule == OnDisconnect::Cancel => {
                cause.as_down();
                return cause;
            }
            Err(_) => {
                control.leave_alone();
                session.set_keepalive(None);
            }
            Ok(_) => {}
        }
    }
    std::future::pending().await
}

fn answered() -> Box<Error> {
    Error::explain(ANSWERED, "the answer was ended before the upstream's")
}

struct Downstream {
    /// Always there until `drop`.
    inner: Option<ServerSession>,
    control: Control,
    /// The head of the answer, held until the first byte of its body.
    head: Option<Box<ResponseHeader>>,
    /// Turns true when every request has to end; `None` for a wrapper that does not wait.
    ending: Option<watch::Receiver<bool>>,
}

impl Drop for Downstream {
    fn drop(&mut self) {
        *self.control.0.returned.lock().unwrap_or_else(PoisonError::into_inner) = self.inner.take();
    }
}

impl Downstream {
    #[expect(clippy::expect_used, reason = "set in `install`, taken only in `drop`")]
    fn inner(&self) -> &ServerSession {
        self.inner.as_ref().expect("a wrapper holds its session until it is dropped")
    }

    #[expect(clippy::expect_used, reason = "set in `install`, taken only in `drop`")]
    fn inner_mut(&mut self) -> &mut ServerSession {
        self.inner.as_mut().expect("a wrapper holds its session until it is dropped")
    }

    /// What could not be written to a client that has left, where the exchange goes on without it, is written off.
    fn bear<T>(&mut self, written: Result<T>, instead: T) -> Result<T> {
        match written {
            Err(cause) if self.control.state().drain => {
                debug!("going on without the client: {cause}");
                self.control.leave_alone();
                self.inner_mut().set_keepalive(None);
                Ok(instead)
            }
            other => other,
        }
    }

    /// Holds heads back, lets bodies through behind them; what is left is what the client gets now.
    fn release(&mut self, tasks: Vec<HttpTask>) -> Vec<HttpTask> {
        let mut out = Vec::with_capacity(tasks.len() + 2);
        let mut state = self.control.state();
        for task in tasks {
            match task {
                // An upstream's own interim answer means nothing to this client.
                HttpTask::Header(head, false) if head.status.is_informational() => {}
                HttpTask::Header(..) if state.head_out => {}
                HttpTask::Header(head, false) => self.head = Some(head),
                HttpTask::Header(head, true) => {
                    state.head_out = true;
                    out.push(HttpTask::Header(head, true));
                }
                HttpTask::Body(data, end) => {
                    let empty = data.as_ref().is_none_or(Bytes::is_empty);
                    if empty && !end {
                        continue;
                    }
                    if let Some(mut head) = self.head.take() {
                        if let Some(patch) = state.patch.take() {
                            patch.apply(&mut head);
                        }
                        state.head_out = true;
                        out.push(HttpTask::Header(head, false));
                    }
                    out.push(HttpTask::Body(data, end));
                }
                other => out.push(other),
            }
        }
        if !out.is_empty() {
            state.written_at = Some(Instant::now());
        }
        out
    }
}

impl HeadPatch {
    fn apply(self, head: &mut ResponseHeader) {
        // None of these can fail: constants, a number and a header value that came as one.
        if let Some(status) = self.status {
            let _ = head.set_status(status);
        }
        if let Some(content_type) = self.content_type {
            // What the upstream said of its own body is not true of another one.
            for name in OF_THE_BODY {
                head.remove_header(*name);
            }
            let _ = head.insert_header(header::CONTENT_TYPE, content_type);
        }
        if let Some(length) = self.content_length {
            head.remove_header(&header::TRANSFER_ENCODING);
            let _ = head.insert_header(header::CONTENT_LENGTH, length);
        }
        if let Some((name, value)) = self.error_name {
            let _ = head.insert_header(name, value);
        }
        if let Some(retry_after) = self.retry_after {
            let _ = head.insert_header(header::RETRY_AFTER, retry_after);
        }
    }
}

#[async_trait]
impl CustomSession for Downstream {
    fn req_header(&self) -> &RequestHeader {
        self.inner().req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner_mut().req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.inner_mut().drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.head = None;
        if !head.status.is_informational() {
            self.control.state().head_out = true;
        }
        if self.control.is_gone() {
            return Ok(());
        }
        let written = self.inner_mut().write_response_header(head).await;
        self.bear(written, ())
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        if self.control.is_gone() {
            return Ok(());
        }
        let written = self.inner_mut().write_response_body(data, end).await;
        self.bear(written, ())
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if self.control.is_gone() {
            return Ok(());
        }
        let written = self.inner_mut().write_response_trailers(trailers).await;
        self.bear(written, ())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut out = self.release(tasks);
        let end = matches!(out.last(), Some(HttpTask::Body(_, true) | HttpTask::Header(_, true) | HttpTask::Trailer(_) | HttpTask::Done));
        let (finished, gone) = {
            let state = self.control.state();
            (state.finished && !end, state.gone)
        };
        if gone {
            // An upstream's failure is the pump's to see.
            if let Some(HttpTask::Failed(cause)) = out.pop() {
                return Err(cause);
            }
            return if finished { Err(answered()) } else { Ok(end) };
        }
        if out.is_empty() {
            return Ok(false);
        }
        if finished {
            out.push(HttpTask::Body(None, true));
        }
        let failed = matches!(out.last(), Some(HttpTask::Failed(_)));
        let written = self.inner_mut().response_duplex_vec(out).await;
        let written = if failed { written? } else { self.bear(written, end)? };
        // The client has all it gets, and the upstream may be silent for ever: only an error makes the pump let go of it.
        if finished { Err(answered()) } else { Ok(written) }
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.inner().request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner().response_written()
    }

    async fn shutdown(&mut self, _code: u32, _reason: &str) {
        self.inner_mut().shutdown().await;
    }

    /// The body has been read, unless the pump is being woken: then one more, empty piece is pretended.
    fn is_body_done(&mut self) -> bool {
        !self.control.state().woken
    }

    async fn finish(&mut self) -> Result<()> {
        if self.control.is_gone() {
            return Ok(());
        }
        let finished = self.inner_mut().finish_body().await;
        self.bear(finished, ())
    }

    /// Where it is not, and no length is told, the pump puts the body into chunks.
    fn is_body_empty(&mut self) -> bool {
        self.control.state().bodiless
    }

    /// Waits for the client to leave, which is an error, or for the next deadline, which is an empty piece of body.
    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        let (wake_at, gone, drain) = {
            let state = self.control.state();
            (state.wake_at, state.gone, state.drain)
        };
        let inner = self.inner.as_mut().ok_or_else(|| Error::new(pingora::InternalError))?;
        let deadline = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            // An error means that nobody can end it any more.
            if let Some(ending) = &mut self.ending
                && ending.wait_for(|ending| *ending).await.is_ok()
            {
                return;
            }
            std::future::pending().await
        };
        let left = async { if gone { std::future::pending().await } else { inner.read_body_or_idle(true).await } };
        tokio::select! {
            idle = left => match idle {
                // Nothing to tell the pump: it asks again.
                Err(cause) if drain => {
                    self.bear(Err(cause), ())?;
                    self.control.state().woken = true;
                    Ok(Some(Bytes::new()))
                }
                idle => idle,
            },
            () = deadline => {
                let mut state = self.control.state();
                state.woken = true;
                state.wake_at = None;
                Ok(Some(Bytes::new()))
            }
            () = ended => {
                // Once is enough.
                self.ending = None;
                let mut state = self.control.state();
                state.woken = true;
                state.ending = true;
                Ok(Some(Bytes::new()))
            }
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.inner().body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.inner().body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.inner().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner().client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner().to_h1_raw()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    /// There is a body, on every attempt; `request_body_filter` puts the translated one in.
    fn get_retry_buffer(&self) -> Option<Bytes> {
        Some(Bytes::new())
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
