//! Answers of the gateway's own: health, readiness, metrics, the model list.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header;
use percent_encoding::percent_decode_str;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind};
use crate::config::{self, snapshot::Model};
use crate::dialect::Dialect;
use crate::dialect::anthropic::downstream::models as anthropic;
use crate::dialect::openai::downstream::models as openai;
use crate::ops::jwks::Issuer;
use crate::ops::live::{Current, Refused};
use crate::policy::auth::Principal;
use crate::policy::health::Fitness;
use crate::policy::route;
use crate::proxy::brand::brand;
use crate::proxy::ctx::Ctx;
use crate::proxy::error::clip;
use crate::proxy::{Shared, permission};
use crate::wire::json::{Object, Text};

/// A path that the gateway answers itself. All of them take GET and HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page<'p> {
    /// Is the process alive? Touches nothing.
    Health,
    /// Can it serve? The state of each provider.
    Ready,
    /// Prometheus metrics.
    Metrics,
    /// All models that can be used.
    Models,
    /// One of them; the id as it stands in the path, percent-encoded.
    Model(&'p str),
}

impl<'p> Page<'p> {
    pub(super) fn of(path: &'p str) -> Option<Self> {
        match path {
            "/health" => return Some(Page::Health),
            "/ready" => return Some(Page::Ready),
            "/metrics" => return Some(Page::Metrics),
            _ => {}
        }
        let rest = path.strip_prefix("/v1/models").or_else(|| path.strip_prefix("/api/v1/models"))?;
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Some(Page::Models),
            Some(id) => Some(Page::Model(id)),
            None => None,
        }
    }

    /// Its name in metrics.
    pub(super) fn route(self) -> &'static str {
        match self {
            Page::Health => "/health",
            Page::Ready => "/ready",
            Page::Metrics => "/metrics",
            Page::Models => "/v1/models",
            Page::Model(_) => "/v1/models/{id}",
        }
    }
}

/// What is answered without a model.
pub(super) struct Reply {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        Reply { status, content_type: "application/json", body }
    }
}

/// Gives a page to the client; not `whole`: no more of it than strangers may know.
pub(super) async fn serve(page: Page<'_>, whole: bool, shared: &Shared, session: &mut Session, ctx: &mut Ctx) -> Result<(), ApiError> {
    let current = &*Arc::clone(&ctx.current);
    let reply = match page {
        Page::Health => Reply::json(200, br#"{"status":"healthy","service":"ai-gateway"}"#.to_vec()),
        Page::Ready if !whole => bare(ready(current, shared.live.refused()).status),
        Page::Ready => ready(current, shared.live.refused()),
        Page::Metrics => {
            shared.metrics.observe(&shared.load, current.targets.states(Instant::now()));
            shared.metrics.observe_audit(shared.audit.counts());
            shared.metrics.observe_responses(shared.responses.counts());
            shared.metrics.observe_budgets(shared.limits.write_errors());
            shared.metrics.observe_issuer(current.issuer.as_deref().map(Issuer::standing));
            shared.metrics.observe_cache(current.cache.as_ref().map_or([0, 0], |cache| cache.size()));
            shared.metrics.observe_redis(current.ledger.as_ref().is_some_and(|ledger| ledger.link().is_up()));
            let (body, content_type) = shared.metrics.render().map_err(|_| ApiError::new(ErrorKind::Internal, "The metrics could not be written."))?;
            Reply { status: 200, content_type, body }
        }
        Page::Models => {
            let mut body = Vec::with_capacity(4096);
            list(cards(current, ctx.principal.as_ref()), ctx.dialect, &mut body);
            Reply::json(200, body)
        }
        Page::Model(id) => model(id, ctx, current)?,
    };
    // The client is gone if this fails; there is nobody left to tell.
    let _ = write(session, ctx, reply).await;
    Ok(())
}

/// Writes an answer of the gateway's own.
pub(super) async fn write(session: &mut Session, ctx: &mut Ctx, reply: Reply) -> Result<()> {
    let mut head = ResponseHeader::build(reply.status, Some(8))?;
    head.insert_header(header::CONTENT_TYPE, reply.content_type)?;
    head.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
    brand(&mut head, ctx)?;
    let no_body = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head), no_body).await?;
    if !no_body {
        ctx.answers(&reply.body);
        session.write_response_body(Some(Bytes::from(reply.body)), true).await?;
    }
    Ok(())
}

/// What a list tells of a model.
struct Card<'a> {
    id: &'a str,
    /// Seconds since 1970.
    created: u64,
    owned_by: &'a str,
}

/// The list as OpenAI's or Anthropic's clients read it.
fn list<'a>(cards: impl Iterator<Item = Card<'a>>, dialect: Dialect, out: &mut Vec<u8>) {
    match dialect {
        Dialect::Anthropic => anthropic::list(cards.map(|card| card.anthropic()), out),
        Dialect::OpenAi | Dialect::Responses | Dialect::Bedrock => openai::list(cards.map(|card| card.openai()), out),
    }
}

impl<'a> Card<'a> {
    fn openai(&self) -> openai::ModelCard<'a> {
        openai::ModelCard { id: self.id, created: self.created, owned_by: self.owned_by }
    }

    fn anthropic(&self) -> anthropic::ModelCard<'a> {
        anthropic::ModelCard { id: self.id, created: self.created, display_name: self.id }
    }

    fn write(&self, dialect: Dialect) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        match dialect {
            Dialect::Anthropic => anthropic::one(&self.anthropic(), &mut out),
            Dialect::OpenAi | Dialect::Responses | Dialect::Bedrock => openai::one(&self.openai(), &mut out),
        }
        out
    }
}

fn cards<'c>(current: &'c Current, principal: Option<&'c Principal>) -> impl Iterator<Item = Card<'c>> {
    let allowed = move |model: &&Arc<Model>| permission::asked(principal, &model.name, &current.snapshot.models).is_ok();
    route::visible_models(&current.snapshot, |provider| current.upstreams.usable(provider)).filter(allowed).map(|model| Card {
        id: &model.name,
        created: model.created,
        owned_by: &model.owned_by,
    })
}

fn model(encoded: &str, ctx: &Ctx, current: &Current) -> Result<Reply, ApiError> {
    let (dialect, id) = (ctx.dialect, percent_decode_str(encoded).decode_utf8_lossy());
    let unknown = || ApiError::new(ErrorKind::ModelNotFound, format!("The model '{}' does not exist.", clip(&id))).with_param("model");
    // What he may not use is not there for him.
    permission::asked(ctx.principal.as_ref(), &id, &current.snapshot.models).map_err(|_| unknown())?;
    let visible = |model: &&Arc<Model>| model.targets.iter().any(|target| current.upstreams.usable(&target.provider));
    let known = current.snapshot.models.find(&id).filter(visible);
    if let Some(model) = known {
        return Ok(Reply::json(200, Card { id: &id, created: model.created, owned_by: &model.owned_by }.write(dialect)));
    }
    // An id that only a provider knows by its form is served, so it is a model too.
    let view = route::View { usable: &|provider| current.upstreams.usable(provider), fit: &|_| true, pinned: &|_| false, random: 0 };
    let way = route::route(&current.snapshot, &id, route::Wish::None, &view).ok().filter(|way| way.model.is_none());
    match way.as_ref().and_then(|way| way.targets.first()) {
        Some(target) => Ok(Reply::json(200, Card { id: &id, created: config::BEDROCK_BEGAN, owned_by: &target.provider.name }.write(dialect))),
        None => Err(unknown()),
    }
}

/// Readiness without the names of providers.
fn bare(status: u16) -> Reply {
    let word = if status == 200 { "ready" } else { "not ready" };
    let mut body = Vec::new();
    Object::write(&mut body, |page| page.string("status", word));
    Reply::json(status, body)
}

/// A refused configuration leaves the old one serving: that is no reason to take the process out of the balance.
fn ready(current: &Current, refused: Option<Refused>) -> Reply {
    let mut body = Vec::with_capacity(256);
    let mut any = false;
    Object::write(&mut body, |page| {
        page.object("providers", |providers| {
            for (name, state) in current.upstreams.states() {
                any |= state.ready;
                Object::write(providers.text_key(&Text::from_plain(name)), |provider| {
                    provider.bool("ready", state.ready);
                    provider.string("state", state.word);
                    if let Some(reason) = &state.reason {
                        provider.string("reason", reason);
                    }
                });
            }
        });
        page.array("targets", |targets| {
            for (slot, fitness) in current.targets.states(Instant::now()) {
                targets.object(|target| {
                    target.string("provider", &slot.provider);
                    target.string("model", &slot.model);
                    target.string("state", fitness.as_str());
                    if let Fitness::Resting(left) = fitness {
                        target.number("rest_seconds", left.as_secs() + 1);
                    }
                });
            }
        });
        if let Some(issuer) = &current.issuer {
            let standing = issuer.standing();
            page.object("token_issuer", |page| {
                page.string("state", standing.reachable.map_or("pending", |reachable| if reachable { "reachable" } else { "unreachable" }));
                page.number("keys", standing.keys as u64);
            });
        }
        page.object("config", |config| {
            config.string("state", if refused.is_some() { "refused" } else { "current" });
            config.string("loaded", &humantime::format_rfc3339_millis(current.loaded).to_string());
            if let Some(Refused { mistakes, at }) = refused {
                config.number("mistakes", mistakes as u64);
                config.string("refused", &humantime::format_rfc3339_millis(at).to_string());
            }
        });
        page.string("status", if any { "ready" } else { "not ready" });
    });
    Reply::json(if any { 200 } else { 503 }, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_by_their_path() {
        for (path, page) in [
            ("/health", Some(Page::Health)),
            ("/v1/models", Some(Page::Models)),
            ("/v1/models/", Some(Page::Model(""))),
            ("/v1/models/a%2Fb:0", Some(Page::Model("a%2Fb:0"))),
            ("/v1/models/a/b", Some(Page::Model("a/b"))),
            ("/v1/modelsx", None),
            ("/healthz", None),
        ] {
            assert_eq!(Page::of(path), page, "{path}");
        }
    }
}
