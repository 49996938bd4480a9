//! Which headers pass, in both directions. Nothing passes by accident: translated requests get heads of our own making, relays a short list, and only a
//! provider's own API gets what the client wrote, less credentials and what belongs to the hop.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Belong to one connection, or are the gateway's own to set.
const OF_THE_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "expect",
    "accept-encoding",
    "http2-settings",
];

/// Credentials of a client, or what a client says to the gateway alone.
const OF_THE_CLIENT: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-goog-user-project",
    "x-goog-iap-jwt-assertion",
    "x-goog-iam-authorization-token",
    "x-serverless-authorization",
    "ocp-apim-subscription-key",
    "x-auth-token",
    "x-totp-code",
    "x-otp",
    "cookie",
    "x-provider",
    "x-request-id",
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-user-agent",
    "x-amz-target",
    "openai-organization",
    "openai-project",
    "anthropic-workspace-id",
];

/// Beginnings of such names.
const CLIENT_PREFIXES: &[&str] = &["x-forwarded-", "amz-sdk-", "x-adit-", "cf-", "x-amzn-oidc-", "x-auth-request-", "x-ms-client-principal"];

/// Headers of an upstream's answer that tell about the upstream, not about the answer.
const OF_THE_UPSTREAM: &[&str] = &[
    "server",
    "set-cookie",
    "alt-svc",
    "strict-transport-security",
    "date",
    "nel",
    "report-to",
    "x-powered-by",
    "location",
    "content-location",
    "www-authenticate",
    "via",
    "forwarded",
    "server-timing",
    "x-served-by",
    "x-backend-server",
    "x-real-ip",
    // Whose account it is.
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
    "anthropic-workspace-id",
];

/// Beginnings of names that a relayed request may carry on to a provider's chat operation: what it means for the model, not who sent it.
const REQUEST_PREFIXES: &[&str] = &["anthropic-version", "anthropic-beta", "openai-beta", "idempotency-key", "traceparent", "tracestate", "x-amzn-bedrock-"];

/// Beginnings of names that a relayed answer may carry on.
const ANSWER_PREFIXES: &[&str] = &[
    "content-type",
    "content-encoding",
    "retry-after",
    "x-should-retry",
    "x-ratelimit-",
    "anthropic-ratelimit-",
    "request-id",
    "openai-processing-ms",
    "openai-version",
    "openai-model",
    "apim-request-id",
    "x-ms-region",
    "x-amzn-",
];

fn begins(name: &HeaderName, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// Names that a `connection` header lists belong to the hop too.
fn listed(headers: &HeaderMap, name: &HeaderName) -> bool {
    let tokens = |value: &HeaderValue| value.to_str().is_ok_and(|list| list.split(',').any(|token| token.trim().eq_ignore_ascii_case(name.as_str())));
    headers.get_all(header::CONNECTION).iter().any(tokens)
}

/// What a request to a provider's own API takes along.
pub(super) fn native_request(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let passes = |name: &HeaderName| {
        !OF_THE_HOP.contains(&name.as_str()) && !OF_THE_CLIENT.contains(&name.as_str()) && !begins(name, CLIENT_PREFIXES) && !listed(headers, name)
    };
    pairs(headers, passes)
}

/// What a relayed model request takes along.
pub(super) fn relayed_request(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    pairs(headers, |name| begins(name, REQUEST_PREFIXES) && !OF_THE_CLIENT.contains(&name.as_str()) && !listed(headers, name))
}

/// What the answer of a provider's own API takes along.
pub(super) fn native_answer(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let passes = |name: &HeaderName| {
        name == header::CONTENT_LENGTH
            || (!OF_THE_HOP.contains(&name.as_str())
                && !OF_THE_UPSTREAM.contains(&name.as_str())
                && !begins(name, &["cf-", "x-adit-", "x-envoy-", "x-amz-cf-", "x-forwarded-"])
                && name != "x-request-id"
                && !listed(headers, name))
    };
    pairs(headers, passes)
}

/// What a relayed answer takes along.
pub(super) fn relayed_answer(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    pairs(headers, |name| name == header::CONTENT_LENGTH || (begins(name, ANSWER_PREFIXES) && !listed(headers, name)))
}

fn pairs(headers: &HeaderMap, passes: impl Fn(&HeaderName) -> bool) -> Vec<(HeaderName, HeaderValue)> {
    headers.iter().filter(|(name, _)| passes(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A header's text, if it is one.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn names(pairs: &[(HeaderName, HeaderValue)]) -> Vec<&str> {
        pairs.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn credentials_and_hops_never_pass() {
        let request = map(&[
            ("authorization", "Bearer client"),
            ("x-api-key", "client"),
            ("api-key", "client"),
            ("x-goog-api-key", "client"),
            ("cookie", "a=b"),
            ("x-amz-date", "20260101T000000Z"),
            ("x-amz-security-token", "t"),
            ("amz-sdk-invocation-id", "1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-provider", "openai"),
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("host", "gateway"),
            ("content-length", "2"),
            ("te", "trailers"),
            ("content-type", "application/json"),
            ("openai-beta", "assistants=v2"),
            ("x-amzn-bedrock-trace", "ENABLED"),
            ("x-custom", "1"),
        ]);
        assert_eq!(names(&native_request(&request)), ["content-type", "openai-beta", "x-amzn-bedrock-trace", "x-custom"]);
        assert_eq!(names(&relayed_request(&request)), ["openai-beta", "x-amzn-bedrock-trace"]);
    }

    #[test]
    fn answers_lose_what_tells_about_the_upstream() {
        let answer = map(&[
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("server", "envoy"),
            ("set-cookie", "a=b"),
            ("x-request-id", "theirs"),
            ("x-ratelimit-remaining-requests", "1"),
            ("retry-after", "3"),
            ("transfer-encoding", "chunked"),
            ("location", "http://internal/x"),
            ("via", "1.1 inner-proxy"),
            ("alt-svc", "h3=\":443\""),
            ("connection", "keep-alive, x-hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("x-envoy-upstream-service-time", "3"),
            ("x-amz-cf-id", "edge"),
            ("x-amzn-requestid", "r"),
            ("openai-organization", "org-1"),
            ("anthropic-organization-id", "org-1"),
            ("x-custom", "1"),
        ]);
        assert_eq!(names(&relayed_answer(&answer)), ["content-type", "content-length", "x-ratelimit-remaining-requests", "retry-after", "x-amzn-requestid"]);
        assert_eq!(
            names(&native_answer(&answer)),
            ["content-type", "content-length", "x-ratelimit-remaining-requests", "retry-after", "x-amzn-requestid", "x-custom"]
        );
    }
}
