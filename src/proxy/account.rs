//! After the last byte: metrics, the access line and the audit line, once per request, however it ended.

use std::time::{Duration, Instant};

use log::{info, warn};
use pingora::Error;
use pingora_proxy::Session;

use crate::config::snapshot::AccessLog;
use crate::ops::access_log::{self, Line};
use crate::ops::audit::Entry;
use crate::ops::audit::line::{self, Bodies};
use crate::ops::metrics::{Labels, Metrics, Outcome};
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::proxy::error::client_left;
use crate::proxy::{Shared, headers, limits};

/// Books a request that has ended; its line for the audit log, if it has one.
pub(super) fn settle(shared: &Shared, session: &Session, cause: Option<&Error>, ctx: &mut Ctx) -> Option<Entry> {
    let ended = Instant::now();
    // What passed before the client left was paid for.
    if let Some(exchange) = ctx.exchange.as_mut()
        && let Stage::Relay { tap, .. } = &exchange.stage
    {
        exchange.facts = tap.facts();
    }
    limits::settle(ctx);
    if let Some(inner) = &mut ctx.inner {
        inner.usage = ctx.exchange.as_ref().and_then(|exchange| exchange.facts.usage);
    }
    let status = session.response_written().map_or(0, |head| head.status.as_u16());
    let left = cause.is_some_and(client_left) || ctx.exchange.as_ref().is_some_and(|exchange| exchange.control.is_gone());
    let error = ctx.error.as_ref().map(|error| error.message.as_ref());
    let outcome = match (&ctx.exchange, left, error) {
        (_, true, _) => "client_left",
        (Some(_), _, Some(_)) => "upstream_failed",
        (Some(exchange), ..) if !matches!(exchange.stage, Stage::Done) => "upstream_failed",
        (None, _, Some(_)) => "refused",
        _ => "complete",
    };
    ctx.memo.settle(outcome == "complete" && status == 200, ctx.exchange.as_ref());
    if let Some(result) = ctx.memo.result {
        shared.metrics.cached(result);
    }
    let duration = ended.duration_since(ctx.started);
    let first_token = ctx.exchange.as_ref().and_then(|exchange| exchange.first_content).map(|at| at.duration_since(ctx.started));
    let model = ctx.exchange.as_ref().map_or("", known_model);
    shared.metrics.answered(ctx.route, status, model);
    if let Some(exchange) = &ctx.exchange {
        serve(
            &shared.metrics,
            exchange,
            ctx,
            &Outcome {
                status,
                duration,
                first_token,
                overhead: ctx.overhead,
                usage: exchange.facts.usage,
                error: if left { Some("client_left") } else { ctx.error.as_ref().map(|error| error.kind.as_str()) },
            },
        );
    }
    let format = ctx.process().access_log;
    let logged = format != AccessLog::Off && log::log_enabled!(target: access_log::TARGET, log::Level::Info);
    let audited = is_audited(ctx.route) && shared.audit.is_kept();
    if !logged && !audited {
        return None;
    }
    let bodies = ctx.bodies.take();
    let head = session.req_header();
    let client = ctx.client.map_or_else(String::new, |address| address.to_string());
    let tries = ctx.exchange.as_ref().map_or_else(String::new, |exchange| exchange.tries.path());
    let told = Told { status, outcome, duration, first_token, client: &client, tries: &tries, bytes: session.body_bytes_sent() };
    let line = record(ctx, head.method.as_str(), head.uri.path(), &told);
    if logged {
        match format {
            AccessLog::Json => info!(target: access_log::JSON_TARGET, "{}", line.json()),
            _ => info!(target: access_log::TARGET, "{}", line.text()),
        }
    }
    let answer_type = || session.response_written().and_then(|head| headers::text(&head.headers, "content-type")).unwrap_or_default();
    audited.then(|| match bodies {
        Some(bodies) => bodies.into_entry(&line, answer_type()),
        None => Entry { line: line::json(&line, Bodies::default()), held: None },
    })
}

/// Whether requests of a route have lines in the audit log. Whoever watches the gateway asks for some pages all the time; they reach no model.
pub(super) fn is_audited(route: &str) -> bool {
    !matches!(route, "/health" | "/ready" | "/metrics")
}

/// What is only known once a request has ended.
struct Told<'a> {
    status: u16,
    outcome: &'static str,
    duration: Duration,
    first_token: Option<Duration>,
    client: &'a str,
    tries: &'a str,
    bytes: usize,
}

fn record<'a>(ctx: &'a Ctx, method: &'a str, path: &'a str, told: &Told<'a>) -> Line<'a> {
    let exchange = ctx.exchange.as_ref();
    let route = exchange.map(|exchange| &exchange.route).or(ctx.routed.as_ref());
    Line {
        time: ctx.received,
        request_id: &ctx.request_id,
        client: told.client,
        user: ctx.principal.as_ref().map(|principal| principal.name.as_ref()),
        proof: ctx.principal.as_ref().map(|principal| principal.proof.as_str()),
        dialect: ctx.dialect.as_str(),
        route: ctx.route,
        method,
        path,
        status: told.status,
        duration: told.duration,
        first_token: told.first_token,
        bytes: told.bytes,
        model: &ctx.model,
        served: route.and_then(|route| route.model.as_ref()).map(|model| model.name.as_str()),
        region: exchange.and_then(|exchange| exchange.route.target.provider.region()),
        target: exchange.map(|exchange| (exchange.route.target.provider.name.as_str(), exchange.route.target.model.as_str())),
        upstream_request_id: exchange.and_then(|exchange| exchange.upstream_request_id.as_deref()),
        attempts: exchange.map_or(0, |exchange| exchange.attempts),
        approach: exchange.and_then(|exchange| exchange.approach.as_ref()).map(|made| (made.approach.as_str(), made.calls)),
        parent: ctx.inner.as_ref().map(|inner| inner.parent.as_str()),
        tries: told.tries,
        usage: exchange.and_then(|exchange| exchange.facts.usage),
        nano_usd: exchange.and_then(limits::cost),
        dropped: exchange.map_or(&[], |exchange| &exchange.dropped),
        stop: exchange.and_then(|exchange| exchange.facts.stop),
        outcome: told.outcome,
        cache: ctx.memo.result,
        saved: ctx.memo.saved,
        error_kind: ctx.error.as_ref().map(|error| error.kind.as_str()),
        error: ctx.error.as_ref().map(|error| error.message.as_ref()),
    }
}

/// The model's name in the map; ids that only a provider knows share one label, or any client could fill the metrics.
fn known_model(exchange: &Exchange) -> &str {
    exchange.route.model.as_ref().map_or("other", |model| model.name.as_str())
}

fn serve(metrics: &Metrics, exchange: &Exchange, ctx: &Ctx, outcome: &Outcome) {
    let provider = &exchange.route.target.provider;
    let operation = ctx.surface.map_or("native", crate::dialect::Surface::operation);
    let labels = Labels { operation, provider: provider.semantic_name(), model: known_model(exchange) };
    metrics.served(labels, outcome);
    if let Some(error) = &ctx.error {
        metrics.upstream_error(&provider.name, error.kind.as_str());
        if outcome.status >= 500 || outcome.status == 200 {
            warn!("{}: {} failed: {error}", ctx.request_id, provider.name);
        }
    }
    for (provider, trigger) in exchange.tries.past() {
        metrics.tried_again(labels.model, &provider.name, *trigger);
    }
    if !exchange.dropped.is_empty() {
        metrics.dropped(labels.model, exchange.dropped.len() as u64);
    }
    if exchange.facts.unknown_events > 0 {
        metrics.unknown_events(&provider.name, exchange.facts.unknown_events);
    }
}
