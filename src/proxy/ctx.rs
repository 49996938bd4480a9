//! What one request carries through Pingora's phases.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::chat::ApiError;
use crate::config::snapshot::Process;
use crate::dialect::{Dialect, Surface};
use crate::ops::limits::Reservation;
use crate::ops::live::Current;
use crate::ops::load::Place;
use crate::ops::metrics::InFlight;
use crate::ops::upstreams::Upstream;
use crate::policy::auth::Principal;
use crate::policy::limit::Standing;
use crate::policy::route::Route;
use crate::proxy::audit::Bodies;
use crate::proxy::cache::Memo;
use crate::proxy::downstream::Control;
use crate::proxy::kept::Answering;
use crate::proxy::limits::Estimate;
use crate::proxy::optillm::Inner;
use crate::proxy::plan::{Answer, Call, Fan};
use crate::proxy::tries::Tries;
use crate::translate::Facts;
use crate::translate::relay::{Opening, Tap};
use crate::translate::stream::Flow;

/// Per-request state.
pub struct Ctx {
    /// When the head of the request was there.
    pub started: Instant,
    /// The same moment by the calendar.
    pub received: SystemTime,
    /// The client's own id if it sent a sane one, else one of ours.
    pub request_id: String,
    /// The configuration this request lives by, to its end.
    pub current: Arc<Current>,
    /// Where it comes from; a trusted proxy in between does not count.
    pub client: Option<IpAddr>,
    /// Who it comes from, once that is known.
    pub principal: Option<Principal>,
    /// What the client asks for; `None` on paths without a model.
    pub surface: Option<Surface>,
    /// The API whose error shape the client understands.
    pub dialect: Dialect,
    /// The route's name in metrics.
    pub route: &'static str,
    /// The model as the client named it; empty before it is known.
    pub model: String,
    /// Where the request would go, once that is known: a request that is refused behind it still tells.
    pub routed: Option<Route>,
    /// The exchange with an upstream, once it is decided.
    pub(super) exchange: Option<Exchange>,
    /// The error that the client gets or got, for the log.
    pub error: Option<ApiError>,
    /// The exchange failed, but the client has a whole answer: its connection may go on.
    pub keep_connection: bool,
    /// The gateway's own time so far.
    pub overhead: Duration,
    /// Counts the request as in flight until the context goes.
    pub in_flight: Option<InFlight>,
    /// What is to be known of a request for a response.
    pub(super) answering: Option<Box<Answering>>,
    /// What it takes of the house.
    pub place: Option<Place>,
    /// The request that it is a call for, if it is one of another server's.
    pub(super) inner: Option<Inner>,
    /// What is held of its user's limits.
    pub reservation: Option<Reservation>,
    /// What that was reckoned from.
    pub(super) estimate: Estimate,
    /// Where its user stands with them.
    pub standing: Standing,
    /// How it stands with the response cache.
    pub(super) memo: Memo,
    /// Its bodies, for the audit log; `None` where that holds none.
    pub(super) bodies: Option<Box<Bodies>>,
}

/// One model request on its way: the decision, the body to send and the state of the answer.
pub(super) struct Exchange {
    /// Where it goes.
    pub(super) route: Route,
    /// That provider's credentials and addresses.
    pub(super) upstream: Arc<Upstream>,
    /// The operation, its path and its headers.
    pub(super) call: Call,
    /// The body for the upstream, sent as it is on every attempt.
    pub(super) body: Bytes,
    /// Whether the client wants a stream.
    pub(super) stream: bool,
    /// Whether the client understands chunks. HTTP/1.0 does not: its answers end with the connection.
    pub(super) chunked: bool,
    /// Request members that were dropped, for `x-adit-dropped`.
    pub(super) dropped: Vec<String>,
    /// Where else it may go, and where it has been.
    pub(super) tries: Tries,
    /// The client has got something of the answer: nobody else can give it from now on.
    pub(super) committed: bool,
    /// A deadline has passed.
    pub(super) timed_out: bool,
    /// Which of the upstream's addresses is asked.
    pub(super) address: usize,
    /// One of them could not be reached.
    pub(super) readdressed: bool,
    /// The next try is several calls, which are made beside the pump.
    pub(super) fan: Option<Fan>,
    /// What becomes of the answer.
    pub(super) answer: Answer,
    /// The client's wrapped session.
    pub(super) control: Control,
    /// Upstream tries so far.
    pub(super) attempts: u32,
    /// The approach that the client has asked for, and the calls that were begun for it.
    pub(super) approach: Option<Made>,
    /// When it was decided.
    pub(super) started: Instant,
    /// When the upstream was last heard of: the start of the try, a head, a piece of body.
    pub(super) upstream_at: Instant,
    /// Where the answer stands.
    pub(super) stage: Stage,
    /// The upstream's own id of the request: what its support asks for.
    pub(super) upstream_request_id: Option<String>,
    /// What was learned from the answer.
    pub(super) facts: Facts,
    /// Bytes of the answer's body so far.
    pub(super) answer_bytes: u64,
    /// When the first content came.
    pub(super) first_content: Option<Instant>,
}

/// What an approach has become.
#[derive(Debug)]
pub(super) struct Made {
    /// As the client wrote it.
    pub(super) approach: String,
    /// Calls so far.
    pub(super) calls: u32,
}

/// Where an answer stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// No head yet.
    Waiting,
    /// A whole JSON body is being gathered.
    Body(Vec<u8>),
    /// A stream is being translated; what it gives before its first content is kept here.
    Stream {
        /// The translator.
        stream: Box<Flow>,
        /// Written, but not shown to the client yet.
        pending: Vec<u8>,
    },
    /// The answer passes as it is.
    Relay {
        /// Reads along.
        tap: Box<Tap>,
        /// What does not pass yet.
        hold: Option<Hold>,
    },
    /// The upstream refused; its error body is being gathered.
    Refused {
        /// Its status.
        status: u16,
        /// `x-amzn-errortype`.
        name: Option<String>,
        /// `retry-after`.
        retry_after: Option<String>,
        /// Its body so far.
        body: Vec<u8>,
    },
    /// The client's answer is complete.
    Done,
}

/// The beginning of an answer that passes, held back while another target could still give it.
#[derive(Debug)]
pub(super) struct Hold {
    /// Tells when content comes; `None` for a whole body, which is content to its end.
    pub(super) opening: Option<Opening>,
    /// What has come.
    pub(super) pieces: Vec<Bytes>,
    /// Bytes of it.
    pub(super) length: usize,
}

impl Hold {
    /// All of it.
    pub(super) fn into_bytes(mut self) -> Bytes {
        match self.pieces.as_mut_slice() {
            [one] => std::mem::take(one),
            several => several.concat().into(),
        }
    }
}

impl Ctx {
    /// What `adit.yaml` says.
    pub fn process(&self) -> &Process {
        &self.current.snapshot.process
    }

    /// A piece of the answer's body is written to the client. Whoever writes one says so here, or an audit log with bodies does not know of it.
    pub(super) fn answers(&mut self, piece: &[u8]) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.control.is_gone()) {
            return;
        }
        self.memo.answers(piece, &self.current.snapshot.process.overload);
        if let Some(bodies) = &mut self.bodies {
            bodies.answers(piece);
        }
    }

    /// Runs a step of the gateway's own work and adds its time to the overhead.
    pub fn timed<R>(&mut self, step: impl FnOnce(&mut Self) -> R) -> R {
        let begun = Instant::now();
        let result = step(self);
        self.overhead += begun.elapsed();
        result
    }
}
