//! How much the user of a request may do: held before it goes anywhere, settled when it has ended, told in the headers of its answer.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use memchr::memmem;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_limits::rate::Rate;

use crate::chat::{ApiError, ErrorKind, Usage, read};
use crate::config::snapshot::{Price, Process, UserLimits};
use crate::dialect::{Dialect, Surface};
use crate::ops::limits::{Admission, Refused, now};
use crate::policy::limit::{Ask, Level, Limit, Over, Standing, Used};
use crate::policy::route::Route;
use crate::proxy::Shared;
use crate::proxy::ctx::{Ctx, Exchange};
use crate::translate::approach::Cost;
use crate::wire::json::{self, Raw};

/// Of English text a token has four bytes and more, of other text and of JSON fewer: so many are not too many.
const BYTES_PER_TOKEN: u64 = 3;
/// What a provider adds of its own, for tools above all.
const OVERHEAD_TOKENS: u64 = 512;

/// Lets a request in, or not. `calls` are those of an approach: what all of them may take is held before the first.
///
/// # Errors
/// 429; 503 where nobody is let in while the accounts cannot be reached.
pub(super) async fn admit(shared: &Shared, route: &Route, body: &Bytes, calls: Option<Cost>, ctx: &mut Ctx) -> std::result::Result<(), ApiError> {
    let Some(principal) = &ctx.principal else { return Ok(()) };
    let process = ctx.process();
    let grant = &principal.grant;
    let limits = grant.limits.or(process.default_limits.unwrap_or_default());
    let budget = grant.budget.or(process.default_budget);
    if limits == Default::default() && grant.model_limits.is_empty() && budget == Default::default() {
        return Ok(());
    }
    // A call for another request is not one of its user's own: that one counts, and holds a place.
    let own = |limits: UserLimits| match &ctx.inner {
        Some(_) => UserLimits { requests_per_minute: None, concurrent_requests: None, ..limits },
        None => limits,
    };
    let mut scopes = vec![("".into(), own(limits))];
    let name = route.model.as_ref().map_or(route.target.model.as_str(), |model| model.name.as_str());
    scopes.extend(grant.model_limits.iter().filter(|(models, _)| models.allow(name)).map(|(models, limits)| (models.to_string().into(), own(*limits))));
    scopes.retain(|(_, limits)| *limits != Default::default());
    if scopes.is_empty() && budget == Default::default() {
        return Ok(());
    }
    let estimate = estimate(ctx.surface, body, calls, longest(route, process));
    let nano_usd = price(route).map_or(0, |price| estimate.nano_usd(&price));
    let ask = Ask { scopes, budget, tokens: estimate.input.saturating_add(estimate.output), nano_usd };
    let (held, standing) = match &ctx.current.ledger {
        None => {
            let (held, standing) = shared.limits.reserve(&principal.name, ask, now());
            (held.map_err(Refused::Over), standing)
        }
        Some(ledger) => {
            let Admission { held, standing, away } = shared.limits.reserve_shared(ledger, &principal.name, ask).await;
            if away {
                shared.metrics.fell_back(if matches!(held, Err(Refused::Away)) { "deny" } else { "local" });
            }
            (held, standing)
        }
    };
    ctx.standing = standing;
    ctx.estimate = estimate;
    match held {
        Ok(held) => {
            ctx.reservation = Some(held);
            Ok(())
        }
        Err(Refused::Over(over)) => {
            shared.metrics.limited(over.limit.as_str());
            Err(refusal(over))
        }
        Err(Refused::Away) => Err(away()),
    }
}

/// 503: what all nodes share cannot be reached, and then nobody is to be let in.
pub(super) fn away() -> ApiError {
    let error = ApiError::new(ErrorKind::Unavailable, "The gateway cannot check limits at the moment: please try again.");
    ApiError { retry_after: Some("1".to_owned()), ..error }
}

/// Turns an address away that sends more requests than one may, before anything is done for it.
///
/// # Errors
/// 429.
pub(super) fn flood(shared: &Shared, ctx: &Ctx) -> std::result::Result<(), ApiError> {
    let (Some(most), Some(address)) = (ctx.process().per_address, ctx.client) else { return Ok(()) };
    if !shared.flood.is_over(address, most) {
        return Ok(());
    }
    shared.metrics.limited("address");
    let error = ApiError::new(ErrorKind::RateLimited, "Too many requests from this address.");
    Err(ApiError { retry_after: Some("1".to_owned()), ..error })
}

/// Requests in a second, by address. The estimate errs upwards, never downwards, and its memory does not grow with the addresses: right for a guard, wrong
/// for a user's limits.
pub(super) struct Flood(Rate);

impl Default for Flood {
    fn default() -> Self {
        Flood(Rate::new(Duration::from_secs(1)))
    }
}

impl fmt::Debug for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flood")
    }
}

impl Flood {
    fn is_over(&self, address: IpAddr, most: u64) -> bool {
        u64::try_from(self.0.observe(&address, 1)).unwrap_or(0) > most
    }
}

/// Counts what a request has used, in place of what was held for it.
pub(super) fn settle(ctx: &mut Ctx) {
    let Some(held) = ctx.reservation.take() else { return };
    let used = ctx.exchange.as_ref().map_or_else(Used::default, |exchange| {
        let (tokens, usd) = used(exchange, ctx.estimate);
        Used { tokens, nano_usd: if held.has_budget() { usd } else { 0 } }
    });
    held.settle(used);
}

/// Tokens that an answer has taken, and what they cost.
fn used(exchange: &Exchange, estimate: Estimate) -> (u64, u64) {
    let price = price(&exchange.route);
    let facts = &exchange.facts;
    let produced = estimate.produced(exchange.answer_bytes);
    match facts.usage {
        Some(usage) => {
            // Some APIs tell of the input at once, and of the output with the stop only.
            let output_tokens = if facts.stop.is_some() { usage.output_tokens } else { usage.output_tokens.max(produced.output) };
            let usage = Usage { output_tokens, ..usage };
            (usage.total_input_tokens().saturating_add(output_tokens), price.map_or(0, |price| price.nano_usd(&usage)))
        }
        // Usage comes last, if at all: whoever leaves before it has not had his answer for nothing.
        None if exchange.committed => (produced.input.saturating_add(produced.output), price.map_or(0, |price| produced.nano_usd(&price))),
        None => (0, 0),
    }
}

/// What the tokens of an answer cost, where that is known.
pub(super) fn cost(exchange: &Exchange) -> Option<u64> {
    Some(price(&exchange.route)?.nano_usd(exchange.facts.usage.as_ref()?))
}

fn price(route: &Route) -> Option<Price> {
    route.model.as_ref()?.price
}

/// Tokens that a request takes at most, as far as that can be told before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Estimate {
    input: u64,
    output: u64,
    /// What goes in may be written to the prompt cache, which costs more.
    cached: bool,
}

impl Estimate {
    /// What was taken of it by an answer of so many bytes, of which nobody tells its tokens. Framing counts as text: rather too many than too few, but never
    /// more than was held.
    fn produced(self, bytes: u64) -> Estimate {
        Estimate { output: self.output.min(bytes.div_ceil(BYTES_PER_TOKEN)), ..self }
    }

    fn nano_usd(self, price: &Price) -> u64 {
        let input = if self.cached { price.input.max(price.cache_write).max(price.cache_write_1h) } else { price.input };
        let usd = self.input as f64 * input + self.output as f64 * price.output;
        (usd * 1000.0).ceil().max(0.0) as u64
    }
}

/// Tokens of an answer that its request does not bound: no more than its model can write, and than the operator holds for any.
fn longest(route: &Route, process: &Process) -> u64 {
    route.target.capabilities.max_output_tokens.map_or(process.default_max_tokens, |most| most.min(process.default_max_tokens))
}

/// `longest`: what is held for an answer without a bound.
fn estimate(surface: Option<Surface>, body: &[u8], calls: Option<Cost>, longest: u64) -> Estimate {
    // What a provider's own API takes is not known here: it counts when the answer tells.
    let Some(surface) = surface.filter(|surface| !matches!(surface, Surface::CountMessages | Surface::CountResponses | Surface::CountTokens)) else {
        return Estimate::default();
    };
    let input = (body.len() as u64).div_ceil(BYTES_PER_TOKEN) + OVERHEAD_TOKENS;
    if surface == Surface::Embeddings {
        return Estimate { input, output: 0, cached: false };
    }
    let (most, mut answers) = std::str::from_utf8(body).map_or((None, 1), bounds);
    if surface == Surface::Completions {
        answers = answers.saturating_mul(prompts(body));
    }
    let output = most.unwrap_or(longest);
    let cached = memmem::find(body, b"cache").is_some();
    if let Some(calls) = calls {
        let (input, output) = calls.tokens(input, output);
        return Estimate { input, output, cached };
    }
    // Several answers may be as many calls, each with the whole input.
    Estimate { input: input.saturating_mul(answers), output: output.saturating_mul(answers), cached }
}

/// How many prompts a body of Completions has, each of which gets answers of its own.
fn prompts(body: &[u8]) -> u64 {
    let prompt = std::str::from_utf8(body).ok().and_then(|text| json::pick(text, ["prompt"]).ok()).and_then(|[prompt]| prompt);
    let list = read::items(prompt.filter(|raw| raw.kind() == json::Kind::Array), &read::Path::Root).ok().flatten();
    list.map_or(1, |list| list.len().max(1) as u64)
}

/// The most tokens of an answer, and how many answers, as a body of any of the APIs says it.
fn bounds(text: &str) -> (Option<u64>, u64) {
    const NAMES: [&str; 8] =
        ["n", "max_tokens", "max_completion_tokens", "max_tokens_to_sample", "max_gen_len", "inferenceConfig", "textGenerationConfig", "max_output_tokens"];
    let Ok(([n, a, b, c, d, converse, titan, e], repeated)) = json::pick_with_repeats(text, NAMES) else { return (None, 1) };
    let number = |raw: Option<Raw<'_>>| raw.and_then(Raw::number).map(|number| number.max(0.0) as u64);
    let inner = |raw: Option<Raw<'_>>| {
        let found = json::pick(raw?.as_str(), ["maxTokens", "max_new_tokens", "maxTokenCount"]).ok()?;
        found.into_iter().filter_map(number).max()
    };
    let most = [number(a), number(b), number(c), number(d), number(e), inner(converse), inner(titan)].into_iter().flatten().max();
    // Of a member that stands twice, another reader may take the other one.
    (most.filter(|_| !repeated), number(n).unwrap_or(1).max(1))
}

fn refusal(over: Over) -> ApiError {
    let (kind, message) = match over.limit {
        Limit::Requests => (ErrorKind::RateLimited, "Too many requests in a minute: please try again later."),
        Limit::Tokens => (ErrorKind::RateLimited, "Too many tokens in a minute: please try again later, or ask for fewer (max_tokens)."),
        Limit::Concurrent => (ErrorKind::RateLimited, "Too many requests at a time: please wait for one to end."),
        Limit::Daily => (ErrorKind::QuotaExceeded, "The budget of the day is used up, or what is left of it is too small for this request."),
        Limit::Monthly => (ErrorKind::QuotaExceeded, "The budget of the month is used up, or what is left of it is too small for this request."),
    };
    ApiError { retry_after: Some(over.retry_after.to_string()), ..ApiError::new(kind, message) }
}

/// The headers that tell where the user stands, by the names of the client's API. An upstream's own would tell of the gateway's account.
pub(super) fn tell(head: &mut ResponseHeader, ctx: &Ctx) -> Result<()> {
    let Standing { requests, tokens } = ctx.standing;
    if requests.is_none() && tokens.is_none() && ctx.reservation.is_none() {
        return Ok(());
    }
    let theirs = |name: &str| name.starts_with("x-ratelimit-") || name.starts_with("anthropic-ratelimit-");
    let names: Vec<String> = head.headers.keys().map(|name| name.as_str().to_owned()).filter(|name| theirs(name)).collect();
    for name in names {
        head.remove_header(name.as_str());
    }
    for (what, level) in [("requests", requests), ("tokens", tokens)] {
        let Some(Level { limit, remaining, reset }) = level else { continue };
        match ctx.dialect {
            Dialect::OpenAi | Dialect::Responses => {
                head.insert_header(format!("x-ratelimit-limit-{what}"), limit)?;
                head.insert_header(format!("x-ratelimit-remaining-{what}"), remaining)?;
                head.insert_header(format!("x-ratelimit-reset-{what}"), written(reset))?;
            }
            Dialect::Anthropic => {
                let at = humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(reset)).to_string();
                head.insert_header(format!("anthropic-ratelimit-{what}-limit"), limit)?;
                head.insert_header(format!("anthropic-ratelimit-{what}-remaining"), remaining)?;
                head.insert_header(format!("anthropic-ratelimit-{what}-reset"), at)?;
            }
            Dialect::Bedrock => {}
        }
    }
    Ok(())
}

/// `1s`, `6m0s`
fn written(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_an_answer_is_read_in_every_api() {
        for (body, expected) in [
            (r#"{"messages":[]}"#, (None, 1)),
            (r#"{"max_tokens":5}"#, (Some(5), 1)),
            (r#"{"max_tokens":5,"max_completion_tokens":9,"n":3}"#, (Some(9), 3)),
            (r#"{"max_tokens":5,"max_tokens":9}"#, (None, 1)),
            (r#"{"max_tokens":-5,"n":0}"#, (Some(0), 1)),
            (r#"{"max_tokens":1e300}"#, (Some(u64::MAX), 1)),
            (r#"{"inferenceConfig":{"maxTokens":7}}"#, (Some(7), 1)),
            (r#"{"textGenerationConfig":{"maxTokenCount":8}}"#, (Some(8), 1)),
            (r#"{"max_gen_len":6}"#, (Some(6), 1)),
            (r#"{"max_tokens":"#, (None, 1)),
        ] {
            assert_eq!(bounds(body), expected, "{body}");
        }
    }

    #[test]
    fn every_prompt_counts() {
        for (body, expected) in [(r#"{"prompt":"a"}"#, 1), (r#"{"prompt":["a","b"]}"#, 2), (r#"{"prompt":[]}"#, 1), ("{", 1)] {
            assert_eq!(prompts(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn times_are_written_as_the_api_does() {
        assert_eq!([0, 1, 59, 60, 61, 360].map(written), ["0s", "1s", "59s", "1m0s", "1m1s", "6m0s"]);
    }
}
