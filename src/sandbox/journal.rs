//! What arrived and what became of it, for tests to look at: the last requests, how far their answers got, and whether the peer left early.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::wire::json::{Array, Object, write_string};

use super::failure::Failure;
use super::verify::hex;

/// Bodies beyond this are remembered by length and hash alone.
const BODY_KEPT: usize = 64 * 1024;
/// Headers beside `authorization` whose values are credentials.
const SECRET: [&str; 2] = ["x-amz-security-token", "x-api-key"];

/// The last requests.
#[derive(Debug)]
pub(super) struct Journal {
    entries: Mutex<VecDeque<Arc<Entry>>>,
    limit: usize,
    /// How many entries there were; new ones are numbered by it.
    changed: watch::Sender<u64>,
}

/// What is known of a request when it has arrived.
#[derive(Debug)]
pub(super) struct Facts {
    pub tag: Option<String>,
    pub parts: Parts,
    /// The peer's address.
    pub peer: std::net::SocketAddr,
    pub operation: Option<&'static str>,
    pub model: Option<String>,
    pub body: Bytes,
    pub body_bytes: usize,
    pub body_sha256: String,
    /// The refusal of the signature check.
    pub verification: Result<(), Failure>,
}

/// A request and its answer.
#[derive(Debug)]
pub(super) struct Entry {
    facts: Facts,
    progress: Mutex<Progress>,
    released: watch::Sender<bool>,
}

/// How far an answer is.
#[derive(Clone, Debug, Default)]
struct Progress {
    state: State,
    status: Option<u16>,
    error: Option<(&'static str, String)>,
    frames: usize,
    bytes: usize,
    hasher: Sha256,
}

/// `Open` becomes one of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Being answered.
    #[default]
    Open,
    /// Waiting for a release.
    Held,
    /// Handed over whole.
    Complete,
    /// The peer left before that.
    Closed,
    /// Broken off because a knob said so.
    Broken,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Held => "held",
            State::Complete => "complete",
            State::Closed => "closed",
            State::Broken => "broken",
        }
    }
}

/// What a wait is for: at least so many requests in each state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Awaited {
    pub requests: usize,
    pub held: usize,
    pub complete: usize,
    pub closed: usize,
    pub broken: usize,
    /// So many frames of one answer.
    pub frames: usize,
}

impl Journal {
    pub(super) fn new(limit: usize) -> Self {
        Journal { entries: Mutex::default(), limit, changed: watch::Sender::new(0) }
    }

    /// Notes a request. The guard is told what becomes of its answer, and takes being dropped before the end for a peer that left.
    pub(super) fn note(self: &Arc<Self>, mut facts: Facts) -> Delivery {
        if facts.body.len() > BODY_KEPT {
            facts.body = Bytes::new();
        }
        facts.parts.extensions.clear();
        let entry = Arc::new(Entry { facts, progress: Mutex::default(), released: watch::Sender::new(false) });
        {
            let mut entries = self.lock();
            if entries.len() >= self.limit {
                entries.pop_front();
            }
            if self.limit > 0 {
                entries.push_back(Arc::clone(&entry));
            }
        }
        self.tell();
        Delivery { journal: Arc::clone(self), entry }
    }

    /// Forgets the requests with a tag, or all.
    pub(super) fn clear(&self, tag: Option<&str>) {
        self.lock().retain(|entry| !entry.has(tag));
        self.tell();
    }

    /// Lets answers go on that wait, or will wait; gives their number.
    pub(super) fn release(&self, tag: Option<&str>) -> usize {
        // A release may come before the answer has reached the place where it waits, so every unfinished one is released.
        let mut count = 0;
        for entry in self.select(tag) {
            if matches!(entry.progress().state, State::Open | State::Held) {
                entry.released.send_replace(true);
                count += 1;
            }
        }
        count
    }

    /// Waits until as much has happened as is awaited; `false` when the time is over.
    pub(super) async fn wait(&self, tag: Option<&str>, awaited: Awaited, timeout: Duration) -> bool {
        let mut changed = self.changed.subscribe();
        let met = async { changed.wait_for(|_| self.has(tag, awaited)).await.is_ok() };
        tokio::time::timeout(timeout, met).await.unwrap_or(false)
    }

    fn has(&self, tag: Option<&str>, awaited: Awaited) -> bool {
        let mut found = Awaited::default();
        for entry in self.select(tag) {
            let progress = entry.progress();
            found.requests += 1;
            found.frames = found.frames.max(progress.frames);
            match progress.state {
                State::Open => {}
                State::Held => found.held += 1,
                State::Complete => found.complete += 1,
                State::Closed => found.closed += 1,
                State::Broken => found.broken += 1,
            }
        }
        found.requests >= awaited.requests
            && found.held >= awaited.held
            && found.complete >= awaited.complete
            && found.closed >= awaited.closed
            && found.broken >= awaited.broken
            && found.frames >= awaited.frames
    }

    /// The last request as JSON.
    pub(super) fn last(&self, tag: Option<&str>) -> Option<Vec<u8>> {
        let last = self.select(tag).pop()?;
        let mut out = Vec::new();
        Object::write(&mut out, |o| last.write(o));
        Some(out)
    }

    /// `{"requests":[…]}`, the oldest first.
    pub(super) fn list(&self, tag: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        Object::write(&mut out, |o| {
            o.array("requests", |list| {
                for entry in self.select(tag) {
                    list.object(|o| entry.write(o));
                }
            });
        });
        out
    }

    fn select(&self, tag: Option<&str>) -> Vec<Arc<Entry>> {
        self.lock().iter().filter(|entry| entry.has(tag)).cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Entry>>> {
        // Nothing panics while it holds the lock, and if it did the list would still be one.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Entry {
    fn has(&self, tag: Option<&str>) -> bool {
        tag.is_none() || self.facts.tag.as_deref() == tag
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, o: &mut Object<'_>) {
        let Facts { tag, parts, peer, operation, model, body, body_bytes, body_sha256, verification } = &self.facts;
        let optional = |o: &mut Object<'_>, name: &str, value: Option<&str>| match value {
            Some(value) => o.string(name, value),
            None => o.raw(name, "null"),
        };
        o.string("method", parts.method.as_str());
        o.string("path", parts.uri.path());
        optional(o, "query", parts.uri.query());
        o.string("version", &format!("{:?}", parts.version));
        o.string("peer", &peer.to_string());
        optional(o, "authority", parts.uri.authority().map(http::uri::Authority::as_str));
        optional(o, "tag", tag.as_deref());
        optional(o, "operation", *operation);
        optional(o, "model", model.as_deref());
        o.array("headers", |list| write_headers(list, &parts.headers));
        optional(o, "body", (!body.is_empty()).then(|| String::from_utf8_lossy(body)).as_deref());
        o.number("body_bytes", *body_bytes as u64);
        o.string("body_sha256", body_sha256);
        optional(o, "verification", Some(verification.as_ref().map_or_else(|failure| failure.name, |()| "ok")));
        let progress = self.progress().clone();
        o.object("answer", |o| {
            o.string("state", progress.state.name());
            match progress.status {
                Some(status) => o.number("status", u64::from(status)),
                None => o.raw("status", "null"),
            }
            optional(o, "error", progress.error.as_ref().map(|(name, _)| *name));
            optional(o, "message", progress.error.as_ref().map(|(_, message)| message.as_str()));
            o.number("frames", progress.frames as u64);
            o.number("bytes", progress.bytes as u64);
        });
        o.string("answer_sha256", &hex(&progress.hasher.finalize()));
    }
}

fn write_headers(list: &mut Array<'_>, headers: &HeaderMap) {
    for (name, value) in headers {
        Array::write(list.item(), |pair| {
            write_string(pair.item(), name.as_str());
            write_string(pair.item(), &written(name, value));
        });
    }
}

/// The value of a header; of a credential only what kind it is.
fn written<'h>(name: &HeaderName, value: &'h HeaderValue) -> Cow<'h, str> {
    let text = String::from_utf8_lossy(value.as_bytes());
    if *name == AUTHORIZATION {
        return Cow::Owned(format!("{} (not shown)", text.split(' ').next().unwrap_or_default()));
    }
    if SECRET.contains(&name.as_str()) { Cow::Borrowed("(not shown)") } else { text }
}

/// Follows one answer. Dropped before [`Delivery::complete`] or [`Delivery::broken`], it notes that the peer has left.
#[derive(Debug)]
pub(super) struct Delivery {
    journal: Arc<Journal>,
    entry: Arc<Entry>,
}

impl Delivery {
    /// The status of the answer, and the refusal if it is one.
    pub(super) fn answered(&self, status: u16, failure: Option<&Failure>) {
        let mut progress = self.entry.progress();
        progress.status = Some(status);
        progress.error = failure.map(|failure| (failure.name, failure.message.clone().into_owned()));
    }

    /// Bytes were handed to the connection, and with them so many whole frames.
    pub(super) fn wrote(&self, bytes: &[u8], frames: usize) {
        {
            let mut progress = self.entry.progress();
            progress.bytes += bytes.len();
            progress.frames += frames;
            // Where nothing is remembered nobody can ask for the hash.
            if self.journal.limit > 0 {
                progress.hasher.update(bytes);
            }
        }
        self.journal.tell();
    }

    /// Waits for [`Journal::release`].
    pub(super) fn hold(&self) -> impl Future<Output = ()> + Send + 'static {
        self.become_(State::Held);
        let mut released = self.entry.released.subscribe();
        let (journal, entry) = (Arc::clone(&self.journal), Arc::clone(&self.entry));
        async move {
            // The entry holds the sender, so there is always one.
            let _ = released.wait_for(|released| *released).await;
            entry.progress().state = State::Open;
            journal.tell();
        }
    }

    /// The answer was handed over whole.
    pub(super) fn complete(&self) {
        self.become_(State::Complete);
    }

    /// The answer was broken off on purpose.
    pub(super) fn broken(&self) {
        self.become_(State::Broken);
    }

    fn become_(&self, state: State) {
        self.entry.progress().state = state;
        self.journal.tell();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let state = self.entry.progress().state;
        if matches!(state, State::Open | State::Held) {
            self.become_(State::Closed);
        }
    }
}
