//! The record of a request, and its access line: text or JSON, on the log target `access`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::chat::Usage;

/// The log target of access lines: `RUST_LOG=warn,access=info` shows them alone.
pub const TARGET: &str = "access";
/// The same for lines in JSON, which are written as they are.
pub const JSON_TARGET: &str = "access::json";

/// What is told of a request, here and in the audit log. No bodies, no credentials.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the request came.
    pub time: SystemTime,
    /// Its id.
    pub request_id: &'a str,
    /// Where it came from.
    pub client: &'a str,
    /// The user, once that is known.
    pub user: Option<&'a str>,
    /// How he proved it.
    pub proof: Option<&'static str>,
    /// The API the client speaks.
    pub dialect: &'static str,
    /// The route's name in metrics.
    pub route: &'static str,
    /// HTTP method.
    pub method: &'a str,
    /// Path without the query, which may hold secrets.
    pub path: &'a str,
    /// The status the client got; 0 when it left before one.
    pub status: u16,
    /// The whole time.
    pub duration: Duration,
    /// To the first content of a stream.
    pub first_token: Option<Duration>,
    /// Bytes of the answer's body.
    pub bytes: usize,
    /// The model as asked for.
    pub model: &'a str,
    /// The model's name in the map.
    pub served: Option<&'a str>,
    /// The region, of providers that have one.
    pub region: Option<&'a str>,
    /// The provider and its name for the model.
    pub target: Option<(&'a str, &'a str)>,
    /// The provider's own id of the request.
    pub upstream_request_id: Option<&'a str>,
    /// How many upstream tries.
    pub attempts: u32,
    /// The id of the request that it is a call for.
    pub parent: Option<&'a str>,
    /// The approach that was asked for, and the calls that it took.
    pub approach: Option<(&'a str, u32)>,
    /// Those that failed before the last one: `provider:status`, with commas; `connect` and `timeout` for what has no status. Empty: none.
    pub tries: &'a str,
    /// Tokens, where known.
    pub usage: Option<Usage>,
    /// Its cost in billionths of a dollar, where the model has a price.
    pub nano_usd: Option<u64>,
    /// Request members that were dropped.
    pub dropped: &'a [String],
    /// Why the model stopped.
    pub stop: Option<&'a str>,
    /// `complete`, `upstream_failed`, `client_left` or `refused`.
    pub outcome: &'a str,
    /// How it stands with the response cache: `hit`, `miss` or `bypass`.
    pub cache: Option<&'static str>,
    /// Tokens that were not taken again.
    pub saved: Option<Usage>,
    /// A short name of what went wrong.
    pub error_kind: Option<&'static str>,
    /// What went wrong, in the gateway's own words.
    pub error: Option<&'a str>,
}

impl Line<'_> {
    /// `key=value` pairs; what is not known is left out.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(320);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "id={} client={} method={} path={} status={} outcome={} ms={:.1} bytes={}",
            self.request_id,
            self.client,
            self.method,
            Shown(self.path),
            self.status,
            self.outcome,
            millis(self.duration),
            self.bytes
        );
        if let Some(user) = self.user {
            let _ = write!(out, " user={}", Shown(user));
        }
        if !self.model.is_empty() {
            let _ = write!(out, " model={}", Shown(self.model));
        }
        if let Some((provider, target)) = self.target {
            let _ = write!(out, " provider={provider} target={} attempts={}", Shown(target), self.attempts);
        }
        if let Some((approach, calls)) = self.approach {
            let _ = write!(out, " approach={} calls={calls}", Shown(approach));
        }
        if let Some(parent) = self.parent {
            let _ = write!(out, " parent={}", Shown(parent));
        }
        if !self.tries.is_empty() {
            let _ = write!(out, " failed_tries={}", self.tries);
        }
        if let Some(id) = self.upstream_request_id {
            let _ = write!(out, " upstream_request_id={}", Shown(id));
        }
        if let Some(first) = self.first_token {
            let _ = write!(out, " first_token_ms={:.1}", millis(first));
        }
        if let Some(usage) = self.usage {
            let _ = write!(
                out,
                " input_tokens={} output_tokens={} cache_read_tokens={} cache_write_tokens={}",
                usage.total_input_tokens(),
                usage.output_tokens,
                usage.cache_read_tokens,
                usage.cache_write_tokens
            );
        }
        if let Some(cache) = self.cache {
            let _ = write!(out, " cache={cache}");
        }
        if let Some(stop) = self.stop {
            let _ = write!(out, " stop={stop}");
        }
        if let Some(error) = self.error {
            let _ = write!(out, " error={error:?}");
        }
        out
    }

    /// One JSON object; what is not known is left out.
    pub fn json(&self) -> String {
        let json = Json {
            time: humantime::format_rfc3339_millis(self.time).to_string(),
            request_id: self.request_id,
            client: self.client,
            user: self.user,
            method: self.method,
            path: self.path,
            status: self.status,
            outcome: self.outcome,
            duration_ms: tenths(self.duration),
            bytes: self.bytes,
            model: Some(self.model).filter(|model| !model.is_empty()),
            provider: self.target.map(|(provider, _)| provider),
            target: self.target.map(|(_, target)| target),
            attempts: self.target.map(|_| self.attempts),
            approach: self.approach.map(|(approach, _)| approach),
            calls: self.approach.map(|(_, calls)| calls),
            parent: self.parent,
            failed_tries: Some(self.tries).filter(|tries| !tries.is_empty()),
            upstream_request_id: self.upstream_request_id,
            first_token_ms: self.first_token.map(tenths),
            input_tokens: self.usage.map(|usage| usage.total_input_tokens()),
            output_tokens: self.usage.map(|usage| usage.output_tokens),
            cache_read_tokens: self.usage.map(|usage| usage.cache_read_tokens),
            cache_write_tokens: self.usage.map(|usage| usage.cache_write_tokens),
            stop: self.stop,
            error: self.error,
        };
        // Strings and numbers always have a JSON form.
        serde_json::to_string(&json).unwrap_or_default()
    }
}

/// The JSON form of a line.
#[derive(Serialize)]
struct Json<'a> {
    time: String,
    request_id: &'a str,
    client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    status: u16,
    outcome: &'a str,
    duration_ms: f64,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approach: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_tries: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_token_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Milliseconds to one decimal: what a log needs.
pub(super) fn tenths(duration: Duration) -> f64 {
    (millis(duration) * 10.0).round() / 10.0
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Text from outside in a `key=value` line: quoted as soon as it could be taken for something else, so that no request writes a line of its own.
struct Shown<'a>(&'a str);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = self.0.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\'));
        if plain && !self.0.is_empty() { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn line<'a>() -> Line<'a> {
        Line {
            time: SystemTime::UNIX_EPOCH,
            request_id: "r1",
            client: "127.0.0.1",
            user: Some("alice"),
            proof: Some("api_key"),
            dialect: "openai",
            route: "/v1/chat/completions",
            method: "POST",
            path: "/v1/chat/completions",
            status: 200,
            duration: Duration::from_micros(1500),
            first_token: Some(Duration::from_millis(1)),
            bytes: 12,
            model: "m\n\"x",
            served: Some("m"),
            region: Some("us-east-1"),
            target: Some(("bedrock", "anthropic.claude")),
            upstream_request_id: Some("u-1"),
            attempts: 1,
            approach: Some(("re2&moa", 6)),
            parent: None,
            tries: "",
            usage: Some(Usage { input_tokens: 2, output_tokens: 3, ..Usage::default() }),
            nano_usd: Some(1_000_000_700),
            dropped: &[],
            stop: Some("end_turn"),
            outcome: "complete",
            cache: None,
            saved: None,
            error_kind: None,
            error: None,
        }
    }

    #[test]
    fn a_text_line_stays_one_line_whatever_the_client_sends() {
        let text = line().text();
        assert!(!text.contains('\n'), "{text}");
        assert!(text.contains(r#" model="m\n\"x" provider=bedrock "#), "{text}");
        assert!(text.contains(" user=alice ") && text.contains(" approach=re2&moa calls=6 "), "{text}");
        assert!(text.contains(" input_tokens=2 output_tokens=3 "), "{text}");
    }

    #[test]
    fn a_json_line_is_one_json_object() {
        let json = line().json();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["model"], "m\n\"x");
        assert_eq!(value["duration_ms"], 1.5);
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert!(value.get("error").is_none());
    }
}
