//! The JSON of one line: `docs/audit.md`. Every member is in every line.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::Usage;
use crate::ops::access_log::{Line, tenths};

#[derive(Serialize)]
struct Json<'a> {
    time: String,
    request_id: &'a str,
    user: Option<&'a str>,
    proof: Option<&'static str>,
    client: &'a str,
    dialect: &'static str,
    route: &'static str,
    method: &'a str,
    path: &'a str,
    model: Option<&'a str>,
    model_served: Option<&'a str>,
    provider: Option<&'a str>,
    target: Option<&'a str>,
    region: Option<&'a str>,
    attempts: u32,
    approach: Option<&'a str>,
    calls: Option<u32>,
    parent: Option<&'a str>,
    failed_tries: Vec<&'a str>,
    status: u16,
    outcome: &'a str,
    error_kind: Option<&'static str>,
    error: Option<&'a str>,
    stop: Option<&'a str>,
    tokens: Option<Tokens>,
    cost_usd: Option<Box<RawValue>>,
    cache: Option<&'static str>,
    tokens_saved: Option<Tokens>,
    first_token_ms: Option<f64>,
    duration_ms: f64,
    dropped: &'a [String],
    upstream_request_id: Option<&'a str>,
    // And `request` and `response`, which are JSON already.
}

/// What is told of the bodies of a request, each as one JSON object without a line break.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bodies<'a> {
    /// As the client sent it.
    pub request: Option<&'a str>,
    /// As the client got it.
    pub response: Option<&'a str>,
}

/// `input` is what neither came from the cache nor went into it.
#[derive(Serialize)]
struct Tokens {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_1h: u64,
    output: u64,
    reasoning: Option<u64>,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Tokens {
            input: usage.input_tokens,
            cache_read: usage.cache_read_tokens,
            cache_write: usage.cache_write_tokens,
            cache_write_1h: usage.cache_write_1h_tokens,
            output: usage.output_tokens,
            reasoning: usage.reasoning_tokens,
        }
    }
}

/// One JSON object, without a line feed.
#[must_use]
pub fn json(line: &Line<'_>, bodies: Bodies<'_>) -> String {
    let json = Json {
        time: humantime::format_rfc3339_millis(line.time).to_string(),
        request_id: line.request_id,
        user: line.user,
        proof: line.proof,
        client: line.client,
        dialect: line.dialect,
        route: line.route,
        method: line.method,
        path: line.path,
        model: Some(line.model).filter(|model| !model.is_empty()),
        model_served: line.served,
        provider: line.target.map(|(provider, _)| provider),
        target: line.target.map(|(_, target)| target),
        region: line.region,
        attempts: line.attempts,
        approach: line.approach.map(|(approach, _)| approach),
        calls: line.approach.map(|(_, calls)| calls),
        parent: line.parent,
        failed_tries: line.tries.split(',').filter(|word| !word.is_empty()).collect(),
        status: line.status,
        outcome: line.outcome,
        error_kind: line.error_kind,
        error: line.error,
        stop: line.stop,
        tokens: line.usage.map(Tokens::from),
        cost_usd: line.nano_usd.and_then(dollars),
        cache: line.cache,
        tokens_saved: line.saved.map(Tokens::from),
        first_token_ms: line.first_token.map(tenths),
        duration_ms: tenths(line.duration),
        dropped: line.dropped,
        upstream_request_id: line.upstream_request_id,
    };
    // Strings and numbers always have a JSON form.
    let mut text = serde_json::to_string(&json).unwrap_or_default();
    // What is JSON is not read again: it goes in before the brace that closes the object.
    text.pop();
    for (name, body) in [("request", bodies.request), ("response", bodies.response)] {
        text.push_str(",\"");
        text.push_str(name);
        text.push_str("\":");
        text.push_str(body.unwrap_or("null"));
    }
    text.push('}');
    text
}

/// All nine places: sums of lines are exact, as sums of doubles are not.
fn dollars(nano: u64) -> Option<Box<RawValue>> {
    RawValue::from_string(format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::access_log::tests::line;

    #[test]
    fn a_line_is_one_json_object_with_every_member() {
        let dropped = ["seed".to_owned()];
        let bodies = Bodies { request: Some(r#"{"json":{}}"#), response: None };
        let text = json(&Line { dropped: &dropped, tries: "a:503,b:connect", ..line() }, bodies);
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","request_id":"r1","user":"alice","proof":"api_key","client":"127.0.0.1","dialect":"openai","#,
            r#""route":"/v1/chat/completions","method":"POST","path":"/v1/chat/completions","model":"m\n\"x","model_served":"m","provider":"bedrock","#,
            r#""target":"anthropic.claude","region":"us-east-1","attempts":1,"approach":"re2&moa","calls":6,"parent":null,"failed_tries":["a:503","b:connect"],"status":200,"outcome":"complete","#,
            r#""error_kind":null,"error":null,"stop":"end_turn","tokens":{"input":2,"cache_read":0,"cache_write":0,"cache_write_1h":0,"output":3,"reasoning":null},"#,
            r#""cost_usd":1.000000700,"cache":null,"tokens_saved":null,"first_token_ms":1.0,"duration_ms":1.5,"dropped":["seed"],"upstream_request_id":"u-1","request":{"json":{}},"response":null}"#
        );
        assert_eq!(text, expected);
    }
}
