//! From the head of a request to the decision where it goes: path, method, body, decode, route, encode.
//!
//! The model's name stands in the body, and the signature covers the translated body, so all of it is read and translated before Pingora chooses a peer.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Version};
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind, read};
use crate::config::snapshot::{Provider, ProviderKind, Snapshot};
use crate::dialect::{self, Dialect, Place, Surface};
use crate::ops::live::Current;
use crate::policy::affinity::TargetKey;
use crate::policy::route::{self, View, Wish};
use crate::proxy::auth::Who;
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::proxy::error::{Refusal, clip, stopping};
use crate::proxy::files::Files;
use crate::proxy::kept::pages::Served;
use crate::proxy::local::{self, Page};
use crate::proxy::optillm::{Run, Wanted};
use crate::proxy::plan::{self, Draft, Fan};
use crate::proxy::session as session_page;
use crate::proxy::tries::{Cached, Saved, Tries};
use crate::proxy::{Shared, account, auth, body, cache, downstream, kept, limits, next, optillm, permission, sigv4, upstream};
use crate::translate::{Facts, Question, prefix};
use crate::wire::json::{self, Kind, Raw};

/// The longest request id a client may choose.
const LONGEST_REQUEST_ID: usize = 128;
/// The longest path and query. Model ids, the longest thing in a path, have at most 2048 characters.
const LONGEST_URI: usize = 8 * 1024;
/// All headers together, names and values. The longest that clients need are a token and a trace: both are a few KiB.
const LONGEST_HEAD: usize = 64 * 1024;
/// Headers of one request. Pingora reads 256 of HTTP/1.1, and any number of HTTP/2.
const MOST_HEADERS: usize = 200;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Accepted {
    /// It goes to an upstream: `ctx.exchange` is set.
    Exchange,
    /// It becomes several calls: `ctx.exchange` is set.
    Several(Fan),
    /// It becomes the calls of an approach: `ctx.exchange` is set.
    Approach(Box<Run>),
    /// The gateway has answered it.
    Answered,
}

/// The client's `x-request-id` if it is short and harmless, else a random one.
pub(super) fn request_id(head: &RequestHeader) -> String {
    let sane = |id: &&str| {
        !id.is_empty()
            && id.len() <= LONGEST_REQUEST_ID
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'='))
    };
    match head.headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(sane) {
        Some(id) => id.to_owned(),
        None => random_id(),
    }
}

/// Whether a head takes more than its room.
fn is_excessive(head: &RequestHeader) -> bool {
    let length: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    length > LONGEST_HEAD || head.headers.len() > MOST_HEADERS
}

/// 431
pub(super) fn excessive_head() -> ApiError {
    ApiError { status: 431, ..ApiError::new(ErrorKind::InvalidRequest, "The headers of the request are too many or too long.") }
}

/// A request id of ours.
pub(super) fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Answers a request or makes it ready for an upstream.
///
/// # Errors
/// The refusal to answer with.
pub(super) async fn accept(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx) -> Result<Accepted, Refusal> {
    let head = session.req_header();
    let path = head.uri.path();
    if head.raw_path().len() > LONGEST_URI {
        let error = ApiError { status: 414, ..ApiError::new(ErrorKind::InvalidRequest, "The path and query of the request are too long.") };
        return Err(Refusal { error, allow: None, close: true });
    }
    if is_excessive(head) {
        ctx.dialect = dialect::nearest(path);
        return Err(Refusal::closing(excessive_head()));
    }
    if let Some(page) = Page::of(path) {
        ctx.route = page.route();
        if !account::is_audited(ctx.route) {
            ctx.bodies = None;
        }
        // One path for two APIs: Anthropic's clients name its version.
        if matches!(page, Page::Models | Page::Model(_)) && head.headers.contains_key("anthropic-version") {
            ctx.dialect = Dialect::Anthropic;
        }
        allow(&head.method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
        let whole = auth::admit(page, shared, ctx, session).await?;
        // The page borrows the path, the session is needed to write: keep a copy of a short string.
        let path = path.to_owned();
        if let Some(page) = Page::of(&path) {
            local::serve(page, whole, shared, session, ctx).await?;
        }
        return Ok(Accepted::Answered);
    }
    if path == session_page::PATH && ctx.process().auth.enabled {
        ctx.route = session_page::PATH;
        // A code and a token: neither is for a log.
        ctx.bodies = None;
        allow(&head.method, &[Method::POST], "POST")?;
        session_page::serve(shared, session, ctx).await?;
        return Ok(Accepted::Answered);
    }
    if let Some(page) = kept::pages::Page::of(path) {
        return kept_page(shared, session, ctx, &page).await;
    }
    let Some(place) = dialect::place(path) else {
        ctx.dialect = dialect::nearest(path);
        return Err(ApiError::new(ErrorKind::NotFound, format!("Unknown path: {}.", clip(path))).into());
    };
    let place = Known::of(place);
    ctx.surface = place.surface;
    ctx.dialect = place.surface.map_or(Dialect::OpenAi, Surface::dialect);
    ctx.route = place.surface.map_or("/providers/{provider}", Surface::route);
    let current = Arc::clone(&ctx.current);
    let place = place.in_house(&current.snapshot, ctx);
    if ctx.surface.is_some() {
        allow(&head.method, &[Method::POST], "POST")?;
    }
    // The body is not read: the connection is of no more use.
    limits::flood(shared, ctx).map_err(Refusal::closing)?;
    let signed = match auth::authenticate(shared, session, ctx).await? {
        Who::Proven(principal) => {
            ctx.principal = Some(principal);
            None
        }
        Who::Calls(principal, inner) => {
            ctx.principal = Some(principal);
            ctx.inner = Some(inner);
            None
        }
        Who::Signs(signed) => Some(signed),
    };
    // Which providers there are, and in what state, is not for strangers.
    let place = place?;
    ctx.place = Some(shared.load.enter(&ctx.process().overload).map_err(|full| body::turned_away(shared, full))?);
    ctx.in_flight = Some(shared.metrics.begin());
    let body = tokio::select! {
        biased;
        body = body::read(shared, session, ctx, usize::MAX) => body?,
        () = shared.ended() => return Err(Refusal::closing(stopping())),
    };
    if let Some(signed) = signed {
        ctx.principal = Some(ctx.timed(|ctx| sigv4::prove(shared, &signed, &body, ctx))?);
    }
    // Not before: what a stranger sends is nobody's content.
    if let Some(bodies) = &mut ctx.bodies {
        bodies.asks(&body, &session.req_header().headers);
    }
    let body = match ctx.surface {
        Some(surface @ (Surface::Responses | Surface::CountResponses)) => kept::begin(shared, surface, body, ctx).await?,
        _ => body,
    };
    go(shared, session, ctx, &place, body).await
}

/// An answer that is kept, here or by a provider.
async fn kept_page(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx, page: &kept::pages::Page) -> Result<Accepted, Refusal> {
    (ctx.route, ctx.dialect) = (page.route(), Dialect::Responses);
    let (methods, header) = page.methods();
    allow(&session.req_header().method, methods, header)?;
    limits::flood(shared, ctx).map_err(Refusal::closing)?;
    ctx.principal = Some(match auth::authenticate(shared, session, ctx).await? {
        Who::Proven(principal) | Who::Calls(principal, _) => principal,
        // It is asked for without a body.
        Who::Signs(signed) => sigv4::prove(shared, &signed, &[], ctx)?,
    });
    ctx.place = Some(shared.load.enter(&ctx.process().overload).map_err(|full| body::turned_away(shared, full))?);
    match kept::pages::serve(page, shared, session, ctx).await? {
        Served::Answered => Ok(Accepted::Answered),
        Served::Theirs { provider, rest, query } => {
            ctx.in_flight = Some(shared.metrics.begin());
            let place = Known { surface: None, model: None, provider: Some(provider.name.clone()), rest, owned: Some(query) };
            go(shared, session, ctx, &place, Bytes::new()).await
        }
    }
}

/// Sends a request on its way, once all of it is there.
async fn go(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx, place: &Known, body: Bytes) -> Result<Accepted, Refusal> {
    let current = Arc::clone(&ctx.current);
    let (draft, tries, run) = match decide(shared, place, session.req_header(), &body, &current, ctx).await? {
        Decided::Ask(draft, tries) => (draft, tries, None),
        Decided::Run(draft, tries, run) => (*draft, *tries, Some(run)),
        Decided::Known(hit) => {
            cache::give(shared, hit, session, ctx).await;
            return Ok(Accepted::Answered);
        }
    };
    if let Err(over) = limits::admit(shared, &draft.route, &body, run.as_deref().map(Run::cost), ctx).await {
        ctx.routed = Some(draft.route);
        return Err(over.into());
    }
    // Of the client's bytes no more is kept than another try would need.
    drop(body);
    if let Some(place) = &mut ctx.place {
        place.keep(draft.body.len() + tries.saved_bytes() + ctx.answering.as_ref().map_or(0, |answering| answering.held_bytes()));
    }
    let chunked = session.req_header().version > Version::HTTP_10;
    if !chunked && (draft.stream || ctx.surface.is_none()) {
        // Only the end of the connection ends an answer of unknown length: say so.
        session.set_keepalive(None);
    }
    // A client that has stopped reading must not hold an upstream that costs money.
    session.as_downstream_mut().set_write_timeout(Some(draft.route.target.provider.timeouts.idle));
    let (exchange, fan) = into_exchange(draft, tries, chunked);
    let exchange = ctx.exchange.insert(exchange);
    if let Some(run) = run {
        exchange.approach = Some(run.made());
        return Ok(Accepted::Approach(run));
    }
    if let Some(fan) = fan {
        return Ok(Accepted::Several(fan));
    }
    upstream::to_pump(shared, session, ctx);
    Ok(Accepted::Exchange)
}

/// What is to be done for a request.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and a box would be an allocation for each request")]
enum Decided {
    /// An upstream is asked.
    Ask(Draft, Tries),
    /// It is asked several times.
    Run(Box<Draft>, Box<Tries>, Box<Run>),
    /// The answer is there.
    Known(cache::Hit),
}

/// Decides where a request goes and what becomes of it.
async fn decide(shared: &Shared, place: &Known, head: &RequestHeader, body: &Bytes, current: &Arc<Current>, ctx: &mut Ctx) -> Result<Decided, ApiError> {
    if place.surface.is_none() {
        // What is the user's own needs no leave.
        if place.owned.is_none() {
            permission::native(ctx.principal.as_ref(), &place.rest, head.uri.query(), body, &current.snapshot.models)?;
        }
        let draft = native(place, head, body, current)?;
        draft.upstream.ready().await?;
        return Ok(Decided::Ask(draft, Tries::default()));
    }
    let (mut tries, wanted) = ctx.timed(|ctx| find(shared, place, head, body, current, ctx))?;
    if let Some(wanted) = wanted {
        if let Some(answering) = &ctx.answering {
            answering.check_here()?;
        }
        let (draft, run) = optillm::plan(shared, &wanted, &mut tries, head, ctx).await?;
        return Ok(Decided::Run(Box::new(draft), Box::new(tries), Box::new(run)));
    }
    if let Some(hit) = cache::look(shared, &tries, head, ctx).await {
        ctx.routed = tries.routes().next();
        return Ok(Decided::Known(hit));
    }
    match next::turn(shared, &mut tries, head, ctx, true).await {
        Ok(draft) => Ok(Decided::Ask(draft, tries)),
        // Right after a start it is only now known that there are no credentials: another provider may do.
        Err(error) if error.kind == ErrorKind::NotConfigured => {
            let (mut tries, _) = ctx.timed(|ctx| find(shared, place, head, body, current, ctx))?;
            let draft = next::turn(shared, &mut tries, head, ctx, true).await?;
            Ok(Decided::Ask(draft, tries))
        }
        Err(error) => Err(error),
    }
}

/// What a path asks for, for keeps.
struct Known {
    /// `None` for a provider's own API.
    surface: Option<Surface>,
    /// The model in the path.
    model: Option<String>,
    /// The provider in the path, and whether it may be another one.
    provider: Option<String>,
    /// The path behind a provider's name.
    rest: String,
    /// The user's own answer at that provider: the query that goes with the path.
    owned: Option<Option<String>>,
}

impl Known {
    fn of(place: Place<'_>) -> Self {
        match place {
            Place::Surface(surface) => Known { surface: Some(surface), model: None, provider: None, rest: String::new(), owned: None },
            Place::Model { surface, model, provider } => {
                Known { surface: Some(surface), model: Some(model.into_owned()), provider: provider.map(str::to_owned), rest: String::new(), owned: None }
            }
            Place::Native { provider, rest } => Known { surface: None, model: None, provider: Some(provider.to_owned()), rest: rest.to_owned(), owned: None },
        }
    }

    /// A path below a provider of the operator's that is one of Bedrock has the runtime's operations too.
    fn in_house(mut self, snapshot: &Snapshot, ctx: &mut Ctx) -> Result<Self, ApiError> {
        let Some(name) = self.provider.as_deref().filter(|_| self.surface.is_none()) else { return Ok(self) };
        let provider = route::native(snapshot, name, |_| true)?;
        ctx.dialect = match &provider.kind {
            ProviderKind::Bedrock(_) => Dialect::Bedrock,
            ProviderKind::Anthropic { .. } => Dialect::Anthropic,
            _ => Dialect::OpenAi,
        };
        if let Some((surface, model)) = dialect::runtime(&self.rest).filter(|_| provider.bedrock().is_some()) {
            self.model = Some(model.into_owned());
            self.surface = Some(surface);
            ctx.surface = Some(surface);
            ctx.route = surface.route();
        }
        Ok(self)
    }
}

fn allow(method: &Method, allowed: &[Method], header: &'static str) -> Result<(), Refusal> {
    if allowed.contains(method) {
        return Ok(());
    }
    let error = ApiError::new(ErrorKind::MethodNotAllowed, format!("This path takes {header}."));
    Err(Refusal { error, allow: Some(header), close: false })
}

/// Whether providers can be used; why the last one that was asked for cannot.
struct Usable<'c> {
    current: &'c Current,
    trouble: Cell<Option<Arc<str>>>,
}

impl Usable<'_> {
    fn ask(&self, provider: &Provider) -> bool {
        let usable = self.current.upstreams.usable(provider);
        if !usable {
            self.trouble.set(self.current.upstreams.trouble(provider));
        }
        usable
    }

    fn explain(&self, error: ApiError) -> ApiError {
        match (error.kind, self.trouble.take()) {
            (ErrorKind::NotConfigured, Some(reason)) => ApiError { message: format!("{} Reason: {reason}", error.message).into(), ..error },
            _ => error,
        }
    }
}

/// Plans a request to a provider's own API.
fn native(place: &Known, head: &RequestHeader, body: &Bytes, current: &Current) -> Result<Draft, ApiError> {
    let usable = Usable { current, trouble: Cell::default() };
    let name = place.provider.as_deref().unwrap_or_default();
    let provider = route::native(&current.snapshot, name, |provider| usable.ask(provider)).map_err(|error| usable.explain(error))?;
    let query = place.owned.as_ref().map_or_else(|| head.uri.query(), Option::as_deref);
    plan::native(&head.method, &place.rest, query, &head.headers, body.clone(), provider, next::upstream(current, provider)?)
}

/// Finds out where a request for a model may go.
fn find(shared: &Shared, place: &Known, head: &RequestHeader, body: &Bytes, current: &Current, ctx: &mut Ctx) -> Result<(Tries, Option<Wanted>), ApiError> {
    let surface = place.surface.ok_or_else(|| ApiError::new(ErrorKind::Internal, "The gateway lost its way."))?;
    let (model, stream, repeated) = match &place.model {
        Some(model) => (model.clone(), matches!(surface, Surface::ConverseStream | Surface::InvokeStream), false),
        None => named_in(body)?,
    };
    let mut wanted = optillm::look(ctx.process().optillm.as_ref(), &current.snapshot.models, surface, &model, body)?;
    let model = wanted.as_mut().map_or(model, |wanted| std::mem::take(&mut wanted.model));
    ctx.model.clone_from(&model);
    permission::asked(ctx.principal.as_ref(), &model, &current.snapshot.models)?;
    let named = head.headers.get("x-provider").map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let wish = match (&place.provider, &named, surface.dialect()) {
        (Some(provider), ..) if matches!(provider.as_str(), "bedrock" | "aws") => Wish::Rather(provider),
        (Some(provider), ..) => Wish::Provider(provider),
        (None, Some(provider), _) => Wish::Provider(provider),
        (None, None, _) => Wish::None,
    };
    let usable = Usable { current, trouble: Cell::default() };
    let now = Instant::now();
    let cached = if wanted.is_none() { cached(shared, surface, &model, body, current) } else { None };
    let pin = cached.as_ref().and_then(|cached| shared.pins.find(&cached.model, &cached.prefixes));
    let view = View {
        usable: &|provider| usable.ask(provider),
        fit: &|target| current.targets.is_fit(target, now),
        pinned: &|target| pin.is_some_and(|pin| pin == TargetKey::of(&target.provider.name, &target.model)),
        random: fastrand::u64(..),
    };
    let way = route::route(&current.snapshot, &model, wish, &view).map_err(|error| usable.explain(error))?;
    permission::led_to(ctx.principal.as_ref(), &model, way.model.as_deref(), &current.snapshot.models)?;
    let saved = Saved { surface, stream, repeated, body: body.clone(), files: Files::default(), step: None };
    Ok((Tries::new(way, saved, cached), wanted))
}

/// What of a prompt may be in some target's cache; `None` where that decides nothing. A body that can't be read is refused later, by who plans it.
fn cached(shared: &Shared, surface: Surface, model: &str, body: &Bytes, current: &Current) -> Option<Cached> {
    let map = &current.snapshot.models;
    let model = map.find(model).filter(|model| map.routing.cache_affinity && model.targets.len() > 1 && prefix::may_mark(body))?;
    let question = Question::decode(surface, &model.name, std::str::from_utf8(body).ok()?).ok()?;
    let prefixes = prefix::prefixes(&question.request, shared.pins.hasher());
    (!prefixes.is_empty()).then(|| Cached { model: model.name.clone(), prefixes })
}

/// The model that a body names, whether it asks for a stream, and whether it says one of both more than once.
fn named_in(body: &Bytes) -> Result<(String, bool, bool), ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| ApiError::new(ErrorKind::InvalidRequest, format!("The body is not valid UTF-8 at byte {}.", error.valid_up_to())))?;
    let ([model, stream], repeated) = json::pick_with_repeats(text, ["model", "stream"]).map_err(|syntax| read::malformed(text, syntax))?;
    let set = |member: Option<Raw<'_>>| member.is_some_and(|raw| raw.kind() != Kind::Null);
    let model = read::filled_text(model.filter(|_| set(model)), &read::Path::Root.key("model"))?.unescape().into_owned();
    let stream = read::boolean(stream.filter(|_| set(stream)), &read::Path::Root.key("stream"))?;
    Ok((model, stream == Some(true), repeated))
}

fn into_exchange(draft: Draft, tries: Tries, chunked: bool) -> (Exchange, Option<Fan>) {
    let Draft { route, upstream, call, body, stream, dropped, answer, fan } = draft;
    let now = Instant::now();
    let exchange = Exchange {
        route,
        upstream,
        call,
        body,
        stream,
        chunked,
        dropped,
        tries,
        committed: false,
        timed_out: false,
        address: fastrand::usize(..),
        readdressed: false,
        fan: None,
        answer,
        control: downstream::detached(),
        attempts: 0,
        approach: None,
        started: now,
        upstream_at: now,
        stage: Stage::Waiting,
        upstream_request_id: None,
        facts: Facts::default(),
        answer_bytes: 0,
        first_content: None,
    };
    (exchange, fan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(id: Option<&str>) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/", None).unwrap();
        if let Some(id) = id {
            head.insert_header("x-request-id", id).unwrap();
        }
        head
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        assert_eq!(request_id(&head(Some("req_1:a/b"))), "req_1:a/b");
        for bad in ["", "a b", "x\"y", &"x".repeat(129)] {
            let id = request_id(&head(Some(bad)));
            assert_eq!(id.len(), 32, "{bad}");
        }
        assert_ne!(request_id(&head(None)), request_id(&head(None)));
    }
}
