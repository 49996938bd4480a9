//! Errors of whoever speaks OpenAI's API, as HTTP answers and inside streams, read into the one error that callers see.
//!
//! There is one shape, and everybody has another one: OpenAI's and Azure's `{"error":{"message","type","param","code"}}`, Google's
//! `{"error":{"code":429,"message","status"}}`, also in a list, `{"error":"…"}`, `{"message":"…"}`, FastAPI's `{"detail":…}`, and pages of proxies. Codes that
//! say more than the status decide; then the status; then names that only repeat it, which is all there is inside a stream.
//!
//! Messages are shown to callers after everything that tells about the operator's account is taken out. Trouble with the gateway's own key is not the caller's
//! business at all: OpenAI's message quotes the key.
//!
//! Vendor pages: <https://platform.openai.com/docs/guides/error-codes>, <https://learn.microsoft.com/azure/ai-services/openai/reference>.

use std::borrow::Cow;

use crate::chat::redact::cut;
use crate::chat::refusal::{Refusal, our_credentials};
use crate::chat::{ApiError, ErrorKind};
use crate::wire::json::{Kind, Raw};

use crate::chat::fields::Members;

/// Codes that say more than a status, in lower case → what they mean.
const CODES: &[(&str, ErrorKind)] = &[
    ("context_length_exceeded", ErrorKind::ContextLengthExceeded),
    ("exceed_context_size_error", ErrorKind::ContextLengthExceeded),
    ("insufficient_quota", ErrorKind::RateLimited),
    ("rate_limit_exceeded", ErrorKind::RateLimited),
    ("rate_limit_error", ErrorKind::RateLimited),
    ("resource_exhausted", ErrorKind::RateLimited),
    ("model_not_found", ErrorKind::ModelNotFound),
    ("deploymentnotfound", ErrorKind::ModelNotFound),
    ("content_filter", ErrorKind::InvalidRequest),
    ("content_policy_violation", ErrorKind::InvalidRequest),
    ("responsibleaipolicyviolation", ErrorKind::InvalidRequest),
    ("overloaded_error", ErrorKind::Unavailable),
    ("engine_overloaded_error", ErrorKind::Unavailable),
    ("invalid_api_key", ErrorKind::BadUpstream),
    ("api_key_invalid", ErrorKind::BadUpstream),
    ("authentication_error", ErrorKind::BadUpstream),
    ("unauthenticated", ErrorKind::BadUpstream),
];

/// Names that only repeat what a status says, in lower case: OpenAI's, vLLM's, Google's.
const NAMES: &[(&str, ErrorKind)] = &[
    ("invalid_request_error", ErrorKind::InvalidRequest),
    ("badrequesterror", ErrorKind::InvalidRequest),
    ("invalid_argument", ErrorKind::InvalidRequest),
    ("failed_precondition", ErrorKind::InvalidRequest),
    ("permission_denied", ErrorKind::PermissionDenied),
    ("permission_error", ErrorKind::PermissionDenied),
    ("not_found", ErrorKind::ModelNotFound),
    ("not_found_error", ErrorKind::ModelNotFound),
    ("notfounderror", ErrorKind::ModelNotFound),
    ("too_many_requests", ErrorKind::RateLimited),
    ("server_error", ErrorKind::UpstreamInternal),
    ("internal_error", ErrorKind::UpstreamInternal),
    ("internalservererror", ErrorKind::UpstreamInternal),
    ("internal", ErrorKind::UpstreamInternal),
    ("api_error", ErrorKind::UpstreamInternal),
    ("unavailable", ErrorKind::Unavailable),
    ("unavailable_error", ErrorKind::Unavailable),
    ("service_unavailable", ErrorKind::Unavailable),
    ("deadline_exceeded", ErrorKind::Timeout),
    ("timeout", ErrorKind::Timeout),
    ("timeout_error", ErrorKind::Timeout),
];

/// What messages say when the conversation does not fit the model.
const TOO_LONG: [&str; 9] = [
    "maximum context length",
    "context length",
    "context window",
    "context size",
    "context limit",
    "prompt is too long",
    "input is too long",
    "input token count",
    "maximum input length",
];

/// What messages say when it is the key that was refused.
const KEYS: [&str; 8] = ["api key", "api_key", "api-key", "apikey", "subscription key", "credential", "access token", "bearer token"];

/// What messages say of a key under a status that says nothing of it: Google's is 400.
const WRONG_KEY: [&str; 4] = ["api key not valid", "api key expired", "incorrect api key", "invalid api key"];

/// The longest name of a member that is passed on, in bytes.
const PARAM_MAX: usize = 200;

/// Reads an HTTP error answer. `retry_after` is the header `retry-after`.
///
/// 429, `{"error":{"message":"Slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}` → rate limited, 429, "Slow down".
#[must_use]
pub fn decode(status: u16, retry_after: Option<&str>, body: &[u8]) -> ApiError {
    let body = String::from_utf8_lossy(body);
    let mut error = Facts::of_body(&body).judge(Some(status));
    error.retry_after = retry_after.map(str::to_owned);
    error
}

/// Reads the error that stands where an answer was expected, under status 200: the value of `error`.
pub(super) fn inside(raw: Raw<'_>) -> ApiError {
    Facts::of(raw).judge(None)
}

/// What an error says.
#[derive(Debug, Default)]
struct Facts {
    message: Option<String>,
    /// Every name it goes by, the most exact first, in lower case.
    names: Vec<String>,
    /// A status in the body.
    status: Option<u16>,
    param: Option<String>,
}

impl Facts {
    /// What the body of an HTTP error says.
    fn of_body(body: &str) -> Self {
        let body = body.trim_start_matches('\u{feff}').trim();
        let Ok(raw) = Raw::parse(body) else {
            // A page or a sentence of some proxy. A sentence is worth showing.
            let message = (!body.is_empty() && !body.starts_with('<')).then(|| body.to_owned());
            return Facts { message, ..Facts::default() };
        };
        let raw = first_item(raw).unwrap_or(raw);
        let inner = Members::of(raw).and_then(|members| members.value("error")).filter(|error| matches!(error.kind(), Kind::Object | Kind::String));
        Facts::of(inner.unwrap_or(raw))
    }

    /// What an error says that stands by itself.
    fn of(raw: Raw<'_>) -> Self {
        let mut facts = Facts::default();
        let raw = first_item(raw).unwrap_or(raw);
        let Some(members) = Members::of(raw) else {
            facts.message = raw.text().map(|text| text.unescape().into_owned()).filter(|text| !text.trim().is_empty());
            return facts;
        };
        let text = |name: &str| {
            let found = members.value(name).and_then(Raw::text).map(|text| text.unescape().into_owned());
            found.filter(|text| !text.trim().is_empty())
        };
        facts.message = text("message").or_else(|| members.value("detail").and_then(detail)).or_else(|| text("error"));
        facts.param = text("param");
        let inner = members.value("inner_error").or_else(|| members.value("innererror")).and_then(Members::of);
        let inner = inner.and_then(|inner| inner.value("code")).and_then(Raw::text).map(|code| code.unescape().into_owned());
        facts.names = inner.into_iter().chain(["code", "status", "type"].into_iter().filter_map(text)).map(|name| name.to_ascii_lowercase()).collect();
        let number = |name: &str| members.value(name).map(|raw| raw.as_str().trim_matches('"')).and_then(|digits| digits.parse().ok());
        facts.status = number("code").or_else(|| number("status")).filter(|status| (400..600).contains(status));
        facts
    }

    /// Puts names, status and message together. Without a status it is an error inside an answer.
    fn judge(self, status: Option<u16>) -> ApiError {
        let known = |table: &[(&str, ErrorKind)]| {
            let of = |name: &String| table.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
            self.names.iter().find_map(of)
        };
        let status = status.or(self.status);
        let exact = known(CODES);
        let mut kind = exact.or_else(|| status.map(by_status)).or_else(|| known(NAMES)).unwrap_or(ErrorKind::BadUpstream);
        let refusal = Refusal::new(self.message.as_deref());
        let ours = exact == Some(ErrorKind::BadUpstream)
            || matches!(status, Some(401 | 407))
            || (kind == ErrorKind::PermissionDenied && refusal.says(&KEYS))
            || refusal.says(&WRONG_KEY);
        if ours {
            return our_credentials();
        }
        if matches!(kind, ErrorKind::InvalidRequest | ErrorKind::TooLarge) && refusal.says(&TOO_LONG) {
            kind = ErrorKind::ContextLengthExceeded;
        }
        let mut error = refusal.tell(kind, status);
        error.param = self.param.map(|param| Cow::Owned(cut(&param, PARAM_MAX).to_owned()));
        error
    }
}

/// The first item of a list.
fn first_item(raw: Raw<'_>) -> Option<Raw<'_>> {
    (raw.kind() == Kind::Array).then(|| raw.read::<Vec<Raw<'_>>>().ok()).flatten()?.into_iter().next()
}

/// FastAPI's `detail`: a sentence, an object with a `message`, or a list of what is wrong, of which the first is told.
fn detail(raw: Raw<'_>) -> Option<String> {
    let raw = first_item(raw).unwrap_or(raw);
    let text = match Members::of(raw) {
        Some(members) => members.value("msg").or_else(|| members.value("message")).and_then(Raw::text),
        None => raw.text(),
    };
    text.map(|text| text.unescape().into_owned()).filter(|text| !text.trim().is_empty())
}

/// What a status means by itself.
fn by_status(status: u16) -> ErrorKind {
    match status {
        // The operator's account has run dry, which OpenAI itself tells with 429.
        402 => ErrorKind::RateLimited,
        status => ErrorKind::of_upstream(status),
    }
}

#[cfg(test)]
mod tests;
