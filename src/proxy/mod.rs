//! The gateway: Pingora's phases, each a few lines that call the neighbour file which knows how. The only place that names Pingora's proxy API.
//!
//! ```text
//! front ─▶ request_filter ─▶ upstream_peer ─▶ upstream_request_filter ─▶ request_body_filter ─▶ response_filter ─▶ response_body_filter ─▶ logging
//!           intake, local      upstream ◀──────── upstream, sign ◀────────── upstream ◀─────────── response ◀────────── response            account
//!                              next: another try, while nothing of an answer is out
//! ```

mod account;
mod audit;
mod auth;
mod body;
mod brand;
mod cache;
mod client;
mod ctx;
mod downstream;
mod error;
mod fanout;
mod files;
mod front;
mod headers;
mod intake;
mod kept;
mod limits;
mod local;
mod next;
mod optillm;
mod permission;
mod plan;
mod remote;
mod response;
mod session;
mod sigv4;
pub mod tls;
mod tries;
mod upstream;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::sync::watch;

use crate::dialect::Dialect;
use crate::ops::audit::Trail;
use crate::ops::limits::Limits;
use crate::ops::live::{Current, Live};
use crate::ops::load::Load;
use crate::ops::metrics::Metrics;
use crate::ops::remote::Remote;
use crate::ops::responses::Store;
use crate::policy::affinity::Pins;
use crate::policy::limit::Standing;
pub use ctx::Ctx;
pub use front::{Listener, service};

/// What all requests share.
#[derive(Debug)]
pub struct Shared {
    /// For calls beside the proxy's pump.
    client: fanout::Client,
    /// The configuration in force.
    pub live: Live,
    /// How much is in the house.
    pub load: Arc<Load>,
    /// What users have used.
    pub limits: Arc<Limits>,
    /// Requests in the last second, by address.
    flood: limits::Flood,
    /// Who has which prompt cached.
    pins: Pins,
    /// What signatures of clients are checked with.
    signing_keys: sigv4::SigningKeys,
    /// Fetches files behind URLs in requests.
    remote: Arc<Remote>,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// The audit log.
    pub audit: Trail,
    /// Responses that are kept.
    pub responses: Arc<Store>,
    /// Requests that an OptiLLM server works on.
    parents: optillm::Parents,
    /// Failures, used codes, and what signs sessions.
    auth: auth::Memory,
    /// Turns true when the last requests of a stopping process are to end.
    ending: watch::Sender<bool>,
    /// Connections of clients.
    connections: watch::Sender<usize>,
}

/// Counts a client's connection until it goes.
struct Connected<'a>(&'a watch::Sender<usize>);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Shared {
    /// Shared state under a first configuration.
    #[must_use]
    pub fn new(current: Current, metrics: Metrics) -> Self {
        Shared {
            client: fanout::Client::new(),
            live: Live::new(current),
            load: Arc::default(),
            limits: Arc::default(),
            flood: limits::Flood::default(),
            pins: Pins::default(),
            signing_keys: sigv4::SigningKeys::default(),
            remote: Arc::default(),
            metrics,
            audit: Trail::default(),
            responses: Arc::default(),
            parents: optillm::Parents::default(),
            auth: auth::Memory::default(),
            ending: watch::Sender::new(false),
            connections: watch::Sender::new(0),
        }
    }

    /// Has sessions signed with this where the configuration gives nothing, so that they outlive the process. Only the first call counts.
    pub fn keep_session_key(&self, key: [u8; 32]) {
        self.auth.keep_session_key(key);
    }

    /// Ends all requests that still run: each gets an error in its own dialect.
    pub fn last_call(&self) {
        self.ending.send_replace(true);
    }

    /// Waits until no client is connected.
    pub async fn deserted(&self) {
        // The sender is in `self`.
        let _ = self.connections.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Counts a connection.
    fn connected(&self) -> Connected<'_> {
        self.connections.send_modify(|open| *open += 1);
        Connected(&self.connections)
    }

    /// Waits for the last call.
    async fn ended(&self) {
        // The sender is in `self`.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }
}

/// The proxy service: Pingora calls it for every request.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
}

impl Gateway {
    /// A gateway over shared state.
    pub fn new(shared: Arc<Shared>) -> Self {
        Gateway { shared }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx {
            started: Instant::now(),
            received: SystemTime::now(),
            request_id: String::new(),
            current: self.shared.live.now(),
            client: None,
            principal: None,
            surface: None,
            dialect: Dialect::OpenAi,
            route: "unknown",
            model: String::new(),
            routed: None,
            exchange: None,
            error: None,
            keep_connection: false,
            overhead: Duration::ZERO,
            in_flight: None,
            answering: None,
            place: None,
            inner: None,
            reservation: None,
            estimate: limits::Estimate::default(),
            standing: Standing::default(),
            memo: cache::Memo::default(),
            bodies: None,
        }
    }

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut Ctx) -> Result<()> {
        front::unwrap(session);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        // Time on a kept-alive connection before the request came is not the request's.
        ctx.started = Instant::now();
        ctx.received = SystemTime::now();
        ctx.request_id = intake::request_id(session.req_header());
        ctx.client = client::address(session.client_addr(), &session.req_header().headers, &ctx.process().trusted_proxies);
        ctx.memo = cache::Memo::default();
        ctx.bodies = audit::Bodies::begin(&self.shared, ctx.process());
        match intake::accept(&self.shared, session, ctx).await {
            Ok(intake::Accepted::Exchange) => Ok(false),
            Ok(intake::Accepted::Answered) => Ok(true),
            Ok(intake::Accepted::Several(fan)) => fanout::serve(&self.shared, session, ctx, fan).await,
            Ok(intake::Accepted::Approach(run)) => optillm::serve(&self.shared, session, ctx, *run).await.map(|()| true),
            Err(refusal) => error::refuse(session, ctx, refusal).await.map(|()| true),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        upstream::peer(&self.shared, session, ctx).await
    }

    fn fail_to_connect(&self, _session: &mut Session, _peer: &HttpPeer, ctx: &mut Ctx, error: Box<pingora::Error>) -> Box<pingora::Error> {
        upstream::unreachable(error, ctx)
    }

    async fn upstream_request_filter(&self, _session: &mut Session, head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
        ctx.timed(|ctx| upstream::head(head, ctx))
    }

    async fn request_body_filter(&self, session: &mut Session, body: &mut Option<Bytes>, _end: bool, ctx: &mut Ctx) -> Result<()> {
        upstream::body(session, body, ctx).await
    }

    async fn response_filter(&self, session: &mut Session, head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
        let no_body = session.req_header().method == http::Method::HEAD;
        response::head(head, no_body, ctx)?;
        if head.status.is_success()
            && let Some(exchange) = &mut ctx.exchange
        {
            exchange.tries.pin(&self.shared.pins, &exchange.route.target);
        }
        upstream::answering(ctx);
        Ok(())
    }

    fn response_body_filter(&self, _session: &mut Session, body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<Option<Duration>> {
        ctx.timed(|ctx| response::body(body, end, ctx))?;
        if let Some(piece) = body {
            ctx.answers(piece);
        }
        Ok(None)
    }

    fn error_while_proxy(&self, _peer: &HttpPeer, _session: &mut Session, error: Box<pingora::Error>, ctx: &mut Ctx, reused: bool) -> Box<pingora::Error> {
        upstream::failed(error, ctx, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &pingora::Error, ctx: &mut Ctx) -> FailToProxy {
        match fanout::instead(&self.shared, session, ctx).await {
            Some(answered) => answered,
            None => error::last_word(session, error, ctx).await,
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &pingora::Error) -> bool {
        // The access line tells it, once, and without the upstream's address.
        true
    }

    fn suppress_proxy_warn_log(&self, _session: &Session, _ctx: &Ctx, _error: &pingora::Error, _context: ProxyWarnLogContext) -> bool {
        // So do the access line and the metrics of failed tries.
        true
    }

    async fn logging(&self, session: &mut Session, error: Option<&pingora::Error>, ctx: &mut Ctx) {
        if let Some(exchange) = &ctx.exchange {
            downstream::restore(session.as_mut(), &exchange.control);
        }
        if let Some(entry) = account::settle(&self.shared, session, error, ctx) {
            self.shared.audit.put(entry).await;
        }
        if ctx.keep_connection {
            front::keep(session);
        }
    }
}
