//! After the last byte: metrics and the access line, once per request, however it ended.

use std::time::Instant;

use log::{info, warn};
use pingora::Error;
use pingora_proxy::Session;

use crate::config::snapshot::AccessLog;
use crate::ops::access_log::{self, Line};
use crate::ops::metrics::{Labels, Metrics, Outcome};
use crate::proxy::ctx::{Ctx, Exchange, Stage};
use crate::proxy::error::client_left;
use crate::proxy::{Shared, limits};

/// Books a request that has ended.
pub(super) fn settle(shared: &Shared, session: &Session, cause: Option<&Error>, ctx: &mut Ctx) {
    let ended = Instant::now();
    // What passed before the client left was paid for.
    if let Some(exchange) = ctx.exchange.as_mut()
        && let Stage::Relay { tap, .. } = &exchange.stage
    {
        exchange.facts = tap.facts();
    }
    limits::settle(ctx);
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
    if format == AccessLog::Off || !log::log_enabled!(target: access_log::TARGET, log::Level::Info) {
        return;
    }
    let client = ctx.client.map_or_else(String::new, |address| address.to_string());
    let head = session.req_header();
    let tries = ctx.exchange.as_ref().map_or_else(String::new, |exchange| exchange.tries.path());
    let line = Line {
        time: ctx.received,
        request_id: &ctx.request_id,
        client: &client,
        method: head.method.as_str(),
        path: head.uri.path(),
        status,
        duration,
        first_token,
        bytes: session.body_bytes_sent(),
        model: &ctx.model,
        target: ctx.exchange.as_ref().map(|exchange| (exchange.route.target.provider.name.as_str(), exchange.route.target.model.as_str())),
        upstream_request_id: ctx.exchange.as_ref().and_then(|exchange| exchange.upstream_request_id.as_deref()),
        attempts: ctx.exchange.as_ref().map_or(0, |exchange| exchange.attempts),
        tries: &tries,
        usage: ctx.exchange.as_ref().and_then(|exchange| exchange.facts.usage),
        stop: ctx.exchange.as_ref().and_then(|exchange| exchange.facts.stop),
        outcome,
        error,
    };
    match format {
        AccessLog::Json => info!(target: access_log::JSON_TARGET, "{}", line.json()),
        _ => info!(target: access_log::TARGET, "{}", line.text()),
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
