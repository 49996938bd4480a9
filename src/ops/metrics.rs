//! Metrics in Prometheus form.
//!
//! Where OpenTelemetry's GenAI conventions have a name, it is used in the form that their Prometheus exporter gives it (`gen_ai.client.token.usage` →
//! `gen_ai_client_token_usage`); the rest starts with `adit_`. Labels are bounded: models by the names of the model map, everything else is `other`.
//!
//! <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, exponential_buckets, histogram_opts,
};

use crate::chat::Usage;
use crate::config::snapshot::Trigger;
use crate::ops::audit::Counts;
use crate::ops::jwks::Standing;
use crate::ops::load::Load;
use crate::ops::targets::Slot;
use crate::policy::health::Fitness;

/// Bucket bounds of the token histogram, as the conventions recommend them.
const TOKEN_BUCKETS: [f64; 14] =
    [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];
/// Bucket bounds of request durations in seconds, as the conventions recommend them.
const DURATION_BUCKETS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// Who served a request: the label values that most metrics share.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// `chat`, by the conventions.
    pub operation: &'a str,
    /// The provider's type, by the conventions: `aws.bedrock`.
    pub provider: &'a str,
    /// The model's name in the map, or `other`.
    pub model: &'a str,
}

/// What one request leaves behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// The status the client got; 0 when it left before one.
    pub status: u16,
    /// From the first byte of the request to the last byte of the answer.
    pub duration: Duration,
    /// From the first byte of the request to the first content, for streams.
    pub first_token: Option<Duration>,
    /// The gateway's own time: decoding, routing, encoding, signing, translating back.
    pub overhead: Duration,
    /// Tokens, where known.
    pub usage: Option<Usage>,
    /// A short name of what went wrong, if something did.
    pub error: Option<&'static str>,
}

/// What became of a reload of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is in force.
    Applied,
    /// It was bad; the one before it is in force.
    Refused,
    /// The files say what they said before.
    Unchanged,
}

impl Reload {
    const ALL: [Reload; 3] = [Reload::Applied, Reload::Refused, Reload::Unchanged];

    fn word(self) -> &'static str {
        match self {
            Reload::Applied => "applied",
            Reload::Refused => "refused",
            Reload::Unchanged => "unchanged",
        }
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    in_flight: IntGauge,
    duration: HistogramVec,
    first_token: HistogramVec,
    per_token: HistogramVec,
    tokens: HistogramVec,
    cache_tokens: IntCounterVec,
    overhead: HistogramVec,
    upstream_errors: IntCounterVec,
    dropped: IntCounterVec,
    unknown_events: IntCounterVec,
    tried_again: IntCounterVec,
    turned_away: IntCounterVec,
    limited: IntCounterVec,
    cached: IntCounterVec,
    spared: IntCounterVec,
    cache_size: [IntGauge; 2],
    redis_up: IntGauge,
    redis_fallbacks: IntCounterVec,
    /// Locked, or two who take over at a time would count twice.
    audit: Mutex<[IntCounter; 3]>,
    responses: Mutex<[IntCounter; 2]>,
    /// Locked for the same reason.
    budget_write_errors: Mutex<IntCounter>,
    buffered: IntGauge,
    target_state: IntGaugeVec,
    issuer_keys: IntGauge,
    issuer_fetches: IntGaugeVec,
    reloads: IntCounterVec,
    reload_successful: IntGauge,
    reload_success_at: IntGauge,
}

const SERVED: &[&str] = &["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"];

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let histogram = |opts: HistogramOpts, labels: &[&str]| {
            let metric = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let lines = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let with_error = [SERVED, &["error_type"]].concat();
        let with_type = [SERVED, &["gen_ai_token_type"]].concat();
        let target_state = IntGaugeVec::new(
            Opts::new("adit_target_state", "How fit a target is: 0 it is asked, 1 a request tries whether it is well again, 2 it rests."),
            &["provider", "target"],
        )?;
        registry.register(Box::new(target_state.clone()))?;
        let issuer_fetches =
            IntGaugeVec::new(Opts::new("adit_token_issuer_fetches", "Fetches of the token issuer's keys since the last change of the issuer."), &["outcome"])?;
        registry.register(Box::new(issuer_fetches.clone()))?;
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let metrics = Metrics {
            requests: counter(
                "adit_requests_total",
                "Answered requests, by route, by the status the client got (0: it left before one) and by model.",
                &["route", "status", "gen_ai_request_model"],
            )?,
            in_flight: gauge("adit_requests_in_flight", "Model requests that are being answered.")?,
            duration: histogram(
                histogram_opts!("gen_ai_server_request_duration_seconds", "Time from the request to the end of its answer.", DURATION_BUCKETS.to_vec()),
                &with_error,
            )?,
            first_token: histogram(
                histogram_opts!(
                    "gen_ai_server_time_to_first_token_seconds",
                    "Time from the request to the first content of a stream.",
                    DURATION_BUCKETS.to_vec()
                ),
                SERVED,
            )?,
            per_token: histogram(
                histogram_opts!(
                    "gen_ai_server_time_per_output_token_seconds",
                    "Time per output token after the first one, of a stream.",
                    exponential_buckets(0.001, 2.0, 12)?
                ),
                SERVED,
            )?,
            tokens: histogram(histogram_opts!("gen_ai_client_token_usage", "Tokens per request.", TOKEN_BUCKETS.to_vec()), &with_type)?,
            cache_tokens: counter("adit_cache_tokens_total", "Input tokens read from or written to the prompt cache.", &["kind", "gen_ai_request_model"])?,
            overhead: histogram(
                histogram_opts!(
                    "adit_overhead_seconds",
                    "The gateway's own time per request: decoding, routing, encoding, signing and translating back.",
                    exponential_buckets(0.000_01, 2.0, 16)?
                ),
                &["gen_ai_operation_name"],
            )?,
            upstream_errors: counter("adit_upstream_errors_total", "Answers and connections of providers that failed.", &["provider", "error_type"])?,
            dropped: counter("adit_dropped_members_total", "Request members that the target had no place for.", &["gen_ai_request_model"])?,
            unknown_events: counter("adit_unknown_events_total", "Stream events that this version does not know.", &["provider"])?,
            tried_again: counter(
                "adit_failed_tries_total",
                "Tries that failed and were followed by another one, by the provider that failed and by how.",
                &["gen_ai_request_model", "provider", "reason"],
            )?,
            limited: counter("adit_limited_total", "Requests that were refused because they were over a limit, by which.", &["limit"])?,
            cached: counter("adit_response_cache_requests_total", "Requests by how they stand with the response cache: hit, miss, bypass.", &["result"])?,
            spared: counter(
                "adit_response_cache_saved_tokens_total",
                "Tokens that were not taken again, for the answer was in the response cache.",
                &["gen_ai_token_type"],
            )?,
            cache_size: [
                gauge("adit_response_cache_entries", "Answers in the response cache of this process.")?,
                gauge("adit_response_cache_bytes", "Bytes that they take.")?,
            ],
            redis_up: gauge("adit_redis_up", "Whether there is a connection to Redis (1). Without `redis` it is always 0.")?,
            redis_fallbacks: counter(
                "adit_redis_fallbacks_total",
                "Requests whose limits could not be checked in Redis: local, this node decided; deny, they were refused.",
                &["decision"],
            )?,
            turned_away: counter("adit_overload_refusals_total", "Requests that were turned away because the house was full, by what was full.", &["full"])?,
            audit: Mutex::new([
                lines("adit_audit_written_total", "Lines in the audit log.")?,
                lines("adit_audit_dropped_total", "Lines that the audit log has lost, for its writer was behind.")?,
                lines("adit_audit_errors_total", "Failures to open, write or rename the audit log. Each is tried again.")?,
            ]),
            responses: Mutex::new([
                lines("adit_responses_kept_total", "Responses that were written down.")?,
                lines("adit_responses_lost_total", "Responses that should have been kept, and could not be written.")?,
            ]),
            budget_write_errors: Mutex::new(lines("adit_budget_write_errors_total", "Failures to write down what users have spent. Each is tried again.")?),
            buffered: gauge("adit_buffered_bytes", "Bytes of requests, whole answers and bodies for the audit log in memory.")?,
            target_state,
            issuer_keys: gauge("adit_token_issuer_keys", "Keys of the token issuer that count.")?,
            issuer_fetches,
            reloads: counter(
                "adit_config_reloads_total",
                "Reloads of the configuration: applied, refused, or unchanged when a file was touched and says what it said before.",
                &["result"],
            )?,
            reload_successful: gauge("adit_config_last_reload_successful", "Whether the newest configuration is in force (1), or was refused (0).")?,
            reload_success_at: gauge("adit_config_last_reload_success_timestamp_seconds", "When the configuration in force was read.")?,
            registry,
        };
        // A rate needs a series from the start.
        ["local", "deny"].iter().for_each(|decision| drop(metrics.redis_fallbacks.with_label_values(&[decision])));
        Reload::ALL.iter().for_each(|result| drop(metrics.reloads.with_label_values(&[result.word()])));
        metrics.configured(SystemTime::now());
        Ok(metrics)
    }

    /// Counts a request from now until the guard is dropped.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// How many requests are counted now.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Counts an answer of the gateway's own: health, models, errors before a model was chosen.
    pub fn answered(&self, route: &str, status: u16, model: &str) {
        self.requests.with_label_values(&[route, status_text(status).as_str(), model]).inc();
    }

    /// Counts a request that a model was chosen for.
    pub fn served(&self, labels: Labels<'_>, outcome: &Outcome) {
        let Labels { operation, provider, model } = labels;
        let served = [operation, provider, model];
        self.duration.with_label_values(&[operation, provider, model, outcome.error.unwrap_or("")]).observe(outcome.duration.as_secs_f64());
        self.overhead.with_label_values(&[operation]).observe(outcome.overhead.as_secs_f64());
        if let Some(first) = outcome.first_token {
            self.first_token.with_label_values(&served).observe(first.as_secs_f64());
        }
        let Some(usage) = outcome.usage else { return };
        for (kind, count) in [("input", usage.total_input_tokens()), ("output", usage.output_tokens)] {
            self.tokens.with_label_values(&[operation, provider, model, kind]).observe(as_f64(count));
        }
        for (kind, count) in [("read", usage.cache_read_tokens), ("write", usage.cache_write_tokens)] {
            if count > 0 {
                self.cache_tokens.with_label_values(&[kind, model]).inc_by(count);
            }
        }
        if let Some(first) = outcome.first_token
            && usage.output_tokens > 1
        {
            let rest = outcome.duration.saturating_sub(first).as_secs_f64();
            self.per_token.with_label_values(&served).observe(rest / as_f64(usage.output_tokens - 1));
        }
    }

    /// Counts a failure of a provider.
    pub fn upstream_error(&self, provider: &str, error: &str) {
        self.upstream_errors.with_label_values(&[provider, error]).inc();
    }

    /// Counts request members that were dropped. By model, not by name: a client chooses the names.
    pub fn dropped(&self, model: &str, members: u64) {
        self.dropped.with_label_values(&[model]).inc_by(members);
    }

    /// Counts stream events that were skipped.
    pub fn unknown_events(&self, provider: &str, count: u32) {
        self.unknown_events.with_label_values(&[provider]).inc_by(u64::from(count));
    }

    /// Counts a try that failed and was followed by another one.
    pub fn tried_again(&self, model: &str, provider: &str, trigger: Trigger) {
        let reason = match trigger {
            Trigger::Connect => Cow::Borrowed("connect"),
            Trigger::Timeout => Cow::Borrowed("timeout"),
            Trigger::Status(status) => Cow::Owned(status_text(status)),
        };
        self.tried_again.with_label_values(&[model, provider, &reason]).inc();
    }

    /// Counts a request that was turned away.
    pub fn turned_away(&self, full: &str) {
        self.turned_away.with_label_values(&[full]).inc();
    }

    /// Counts a request that was over a limit.
    pub fn limited(&self, limit: &str) {
        self.limited.with_label_values(&[limit]).inc();
    }

    /// Takes over what others count, for the next [`Metrics::render`].
    pub fn observe<'s>(&self, load: &Load, targets: impl Iterator<Item = (&'s Slot, Fitness)>) {
        self.buffered.set(i64::try_from(load.bytes()).unwrap_or(i64::MAX));
        // A target that is no longer in the map has no state.
        self.target_state.reset();
        for (slot, fitness) in targets {
            let state = match fitness {
                Fitness::Serving => 0,
                Fitness::Due | Fitness::Probing => 1,
                Fitness::Resting(_) => 2,
            };
            self.target_state.with_label_values(&[slot.provider.as_str(), slot.model.as_str()]).set(state);
        }
    }

    /// Takes over how the issuer of tokens stands; `None` where there is none.
    pub fn observe_issuer(&self, standing: Option<Standing>) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.issuer_fetches.reset();
        self.issuer_keys.set(standing.map_or(0, |standing| number(standing.keys as u64)));
        let Some(standing) = standing else { return };
        for (outcome, count) in [("fetched", standing.fetched), ("failed", standing.failed)] {
            self.issuer_fetches.with_label_values(&[outcome]).set(number(count));
        }
    }

    /// Counts how a request stands with the response cache: `hit`, `miss` or `bypass`.
    pub fn cached(&self, result: &str) {
        self.cached.with_label_values(&[result]).inc();
    }

    /// Counts tokens that were not taken again.
    pub fn spared(&self, usage: &Usage) {
        for (kind, tokens) in [("input", usage.total_input_tokens()), ("output", usage.output_tokens)] {
            self.spared.with_label_values(&[kind]).inc_by(tokens);
        }
    }

    /// Takes over how many answers the response cache holds, and their bytes.
    pub fn observe_cache(&self, size: [u64; 2]) {
        for (gauge, number) in self.cache_size.iter().zip(size) {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }

    /// Takes over whether there is a connection to Redis.
    pub fn observe_redis(&self, is_up: bool) {
        self.redis_up.set(i64::from(is_up));
    }

    /// Counts a request whose limits could not be checked in Redis: `local` or `deny`.
    pub fn fell_back(&self, decision: &str) {
        self.redis_fallbacks.with_label_values(&[decision]).inc();
    }

    /// Takes over what became of the lines of the audit log.
    pub fn observe_audit(&self, counts: &Counts) {
        let metrics = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        for (metric, count) in metrics.iter().zip([&counts.written, &counts.dropped, &counts.errors]) {
            catch_up(metric, count.load(Ordering::Relaxed));
        }
    }

    /// Takes over what became of responses that are to be kept.
    pub fn observe_responses(&self, counts: &super::responses::Counts) {
        let metrics = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        for (metric, count) in metrics.iter().zip([&counts.written, &counts.dropped]) {
            catch_up(metric, count.load(Ordering::Relaxed));
        }
    }

    /// Takes over how often budgets could not be written.
    pub fn observe_budgets(&self, write_errors: u64) {
        catch_up(&self.budget_write_errors.lock().unwrap_or_else(PoisonError::into_inner), write_errors);
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, result: Reload, at: SystemTime) {
        self.reloads.with_label_values(&[result.word()]).inc();
        match result {
            Reload::Applied => self.configured(at),
            Reload::Refused => self.reload_successful.set(0),
            Reload::Unchanged => {}
        }
    }

    fn configured(&self, at: SystemTime) {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.reload_successful.set(1);
        self.reload_success_at.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// All metrics in the text format, with the content type to send it under.
    ///
    /// # Errors
    /// When a metric can't be written, which the library rules out for registered ones.
    pub fn render(&self) -> prometheus::Result<(Vec<u8>, &'static str)> {
        let mut out = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok((out, prometheus::TEXT_FORMAT))
    }
}

/// A request in flight; counts it out when it goes, however it ends.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Brings a counter to what somebody else has counted.
fn catch_up(metric: &IntCounter, count: u64) {
    metric.inc_by(count.saturating_sub(metric.get()));
}

fn status_text(status: u16) -> String {
    status.to_string()
}

#[expect(clippy::cast_precision_loss, reason = "token counts stay far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_served_request_leaves_tokens_times_and_its_model() {
        let metrics = Metrics::new().unwrap();
        let guard = metrics.begin();
        let usage = Usage { input_tokens: 10, output_tokens: 5, cache_read_tokens: 7, ..Usage::default() };
        let outcome = Outcome {
            status: 200,
            duration: Duration::from_secs(2),
            first_token: Some(Duration::from_secs(1)),
            overhead: Duration::from_micros(80),
            usage: Some(usage),
            error: None,
        };
        metrics.answered("/v1/chat/completions", 200, "m");
        metrics.served(Labels { operation: "chat", provider: "aws.bedrock", model: "m" }, &outcome);
        let text = String::from_utf8(metrics.render().unwrap().0).unwrap();
        let served = r#"gen_ai_operation_name="chat",gen_ai_provider_name="aws.bedrock",gen_ai_request_model="m""#;
        for line in [
            "adit_requests_in_flight 1".to_owned(),
            r#"adit_requests_total{gen_ai_request_model="m",route="/v1/chat/completions",status="200"} 1"#.to_owned(),
            format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="input"}} 17"#),
            format!(r#"gen_ai_client_token_usage_sum{{{served},gen_ai_token_type="output"}} 5"#),
            r#"adit_cache_tokens_total{gen_ai_request_model="m",kind="read"} 7"#.to_owned(),
            format!("gen_ai_server_time_per_output_token_seconds_sum{{{served}}} 0.25"),
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
        }
        drop(guard);
        assert_eq!(metrics.in_flight.get(), 0);
    }

    #[test]
    fn reloads_are_counted_from_nothing_and_the_last_one_shows() {
        let metrics = Metrics::new().unwrap();
        let has = |line: &str| {
            let text = String::from_utf8(metrics.render().unwrap().0).unwrap();
            assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
        };
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        has(r#"adit_config_reloads_total{result="refused"} 0"#);
        has("adit_config_last_reload_successful 1");
        metrics.reloaded(Reload::Applied, at(7));
        metrics.reloaded(Reload::Refused, at(8));
        metrics.reloaded(Reload::Unchanged, at(9));
        has(r#"adit_config_reloads_total{result="refused"} 1"#);
        has("adit_config_last_reload_successful 0");
        has("adit_config_last_reload_success_timestamp_seconds 7");
    }
}
