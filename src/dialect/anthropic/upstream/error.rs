//! Errors of Anthropic and of Google (Claude on Vertex), as HTTP answers and as events inside a stream, read into the one error that callers see.
//!
//! The name of an error decides: `error.type` is Anthropic's, `error.status` Google's. The HTTP status decides where there is no name that says more.
//! Messages are shown to callers after everything that tells about the operator's account is taken out. Trouble with the gateway's own key or account is not
//! the caller's business at all.
//!
//! Vendor pages: <https://platform.claude.com/docs/en/api/errors>, <https://google.aip.dev/193>.

use crate::chat::fields::Members;
use crate::chat::refusal::{Refusal, our_credentials};
use crate::chat::{ApiError, ErrorKind};
use crate::wire::json::{Kind, Raw};

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// This, whatever the status is.
    Is(ErrorKind),
    /// A fault of the provider's; the status may say which.
    Fault,
    /// Something is not allowed: to the caller or to the gateway.
    Forbidden,
    /// The gateway's own key.
    Key,
    /// The gateway's own account.
    Account,
}

const NAMES: &[(&str, Meaning)] = &[
    ("invalid_request_error", Meaning::Is(ErrorKind::InvalidRequest)),
    ("conflict_error", Meaning::Is(ErrorKind::InvalidRequest)),
    ("authentication_error", Meaning::Key),
    ("billing_error", Meaning::Account),
    ("permission_error", Meaning::Forbidden),
    ("not_found_error", Meaning::Is(ErrorKind::ModelNotFound)),
    ("request_too_large", Meaning::Is(ErrorKind::TooLarge)),
    ("rate_limit_error", Meaning::Is(ErrorKind::RateLimited)),
    ("overloaded_error", Meaning::Is(ErrorKind::Unavailable)),
    ("timeout_error", Meaning::Is(ErrorKind::Timeout)),
    ("api_error", Meaning::Fault),
    // Google's.
    ("INVALID_ARGUMENT", Meaning::Is(ErrorKind::InvalidRequest)),
    ("FAILED_PRECONDITION", Meaning::Is(ErrorKind::InvalidRequest)),
    ("OUT_OF_RANGE", Meaning::Is(ErrorKind::InvalidRequest)),
    ("UNAUTHENTICATED", Meaning::Key),
    ("PERMISSION_DENIED", Meaning::Forbidden),
    ("NOT_FOUND", Meaning::Is(ErrorKind::ModelNotFound)),
    ("RESOURCE_EXHAUSTED", Meaning::Is(ErrorKind::RateLimited)),
    ("UNAVAILABLE", Meaning::Is(ErrorKind::Unavailable)),
    ("ABORTED", Meaning::Is(ErrorKind::Unavailable)),
    ("DEADLINE_EXCEEDED", Meaning::Is(ErrorKind::Timeout)),
    ("INTERNAL", Meaning::Fault),
    ("UNKNOWN", Meaning::Fault),
];

/// What messages say when the conversation does not fit the model.
const TOO_LONG: [&str; 4] = ["prompt is too long", "input is too long", "context limit", "context window"];

/// What messages say when it is the gateway's account that is in trouble, under whatever name.
const ACCOUNT: [&str; 4] = ["credit balance", "api usage limits", "organization has been disabled", "account has been disabled"];

/// What callers are told about the gateway's own account.
const OUR_ACCOUNT: &str = "the gateway's account with the model provider is not in order";

/// Reads an HTTP error answer. `retry_after` is the header of that name.
///
/// 429, `{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}` → rate limited, 429, "Slow down".
#[must_use]
pub fn decode(status: u16, retry_after: Option<&str>, body: &[u8]) -> ApiError {
    let mut error = read(Some(status), body);
    error.retry_after = retry_after.map(str::to_owned);
    error
}

/// Reads the data of an `error` event.
///
/// `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}` → unavailable, 503, "Overloaded".
pub(super) fn event(data: &[u8]) -> ApiError {
    read(None, data)
}

fn read(status: Option<u16>, body: &[u8]) -> ApiError {
    let body = String::from_utf8_lossy(body);
    let facts = Facts::of(&body);
    // Google may hand on what Anthropic said as the text of its own error.
    let inner = facts.message.as_deref().filter(|message| message.starts_with('{')).map(Facts::of).filter(|inner| inner.name.is_some());
    judge(status, inner.as_ref().unwrap_or(&facts))
}

/// What a body says.
#[derive(Debug, Default)]
struct Facts {
    name: Option<String>,
    message: Option<String>,
}

impl Facts {
    fn of(body: &str) -> Self {
        let body = body.trim();
        let Ok(raw) = Raw::parse(body) else {
            // A page or a sentence of some proxy. A sentence is worth showing.
            let is_text = !body.is_empty() && !body.starts_with(['<', '{', '[']);
            return Facts { name: None, message: is_text.then(|| body.to_owned()) };
        };
        // Google's streams put their errors into a list.
        let raw = match raw.kind() {
            Kind::Array => raw.read::<Vec<Raw<'_>>>().ok().and_then(|items| items.first().copied()).unwrap_or(raw),
            _ => raw,
        };
        let Some(members) = Members::of(raw) else { return Facts::default() };
        let text = |members: &Members<'_>, name: &str| {
            let found = members.value(name).and_then(Raw::text).map(|text| text.unescape().into_owned());
            found.filter(|text| !text.trim().is_empty())
        };
        match members.value("error").and_then(Members::of) {
            Some(error) => Facts { name: text(&error, "type").or_else(|| text(&error, "status")), message: text(&error, "message") },
            None => {
                Facts { name: None, message: text(&members, "message").or_else(|| text(&members, "error_description")).or_else(|| text(&members, "error")) }
            }
        }
    }
}

/// Puts name, status and message together. Without a status it is an event inside a stream.
fn judge(status: Option<u16>, facts: &Facts) -> ApiError {
    let known = facts.name.as_deref().and_then(|name| NAMES.iter().find(|(known, _)| *known == name)).map(|(_, meaning)| *meaning);
    let refusal = Refusal::new(facts.message.as_deref());
    let meaning = known.unwrap_or_else(|| match status {
        Some(401) => Meaning::Key,
        Some(402) => Meaning::Account,
        Some(403) => Meaning::Forbidden,
        Some(status) => Meaning::Is(ErrorKind::of_upstream(status)),
        None => Meaning::Is(ErrorKind::BadUpstream),
    });
    let kind = match meaning {
        Meaning::Key => return our_credentials(),
        // A model that the key may not use is something to know; all else that it may not is not.
        Meaning::Forbidden if !refusal.says(&["model"]) => return our_credentials(),
        Meaning::Account => return ApiError::new(ErrorKind::BadUpstream, OUR_ACCOUNT),
        Meaning::Is(ErrorKind::InvalidRequest | ErrorKind::RateLimited) if refusal.says(&ACCOUNT) => return ApiError::new(ErrorKind::BadUpstream, OUR_ACCOUNT),
        Meaning::Forbidden => ErrorKind::PermissionDenied,
        Meaning::Is(ErrorKind::InvalidRequest) if refusal.says(&TOO_LONG) => ErrorKind::ContextLengthExceeded,
        Meaning::Is(kind) => kind,
        Meaning::Fault => match status {
            Some(status @ (408 | 503 | 504 | 529)) => ErrorKind::of_upstream(status),
            _ => ErrorKind::UpstreamInternal,
        },
    };
    refusal.tell(kind, status.filter(|_| known.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::refusal::OUR_CREDENTIALS;

    fn summary(error: &ApiError) -> (ErrorKind, u16) {
        (error.kind, error.status)
    }

    #[test]
    fn every_type_of_anthropics() {
        for (name, status, kind, shown) in [
            ("invalid_request_error", 400, ErrorKind::InvalidRequest, 400),
            ("invalid_request_error", 422, ErrorKind::InvalidRequest, 400),
            ("authentication_error", 401, ErrorKind::BadUpstream, 502),
            ("billing_error", 402, ErrorKind::BadUpstream, 502),
            ("billing_error", 403, ErrorKind::BadUpstream, 502),
            ("permission_error", 403, ErrorKind::BadUpstream, 502),
            ("not_found_error", 404, ErrorKind::ModelNotFound, 404),
            ("request_too_large", 413, ErrorKind::TooLarge, 413),
            ("rate_limit_error", 429, ErrorKind::RateLimited, 429),
            ("api_error", 500, ErrorKind::UpstreamInternal, 500),
            ("api_error", 503, ErrorKind::Unavailable, 503),
            ("timeout_error", 504, ErrorKind::Timeout, 504),
            ("overloaded_error", 529, ErrorKind::Unavailable, 503),
            ("something_new", 418, ErrorKind::InvalidRequest, 418),
            ("something_new", 401, ErrorKind::BadUpstream, 502),
            ("something_new", 502, ErrorKind::BadUpstream, 502),
        ] {
            let body = format!(r#"{{"type":"error","error":{{"type":"{name}","message":"m"}},"request_id":"req_1"}}"#);
            assert_eq!(summary(&decode(status, None, body.as_bytes())), (kind, shown), "{name} {status}");
        }
        let error = decode(429, Some("7"), br#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}"#);
        assert_eq!((error.message.as_ref(), error.retry_after.as_deref()), ("Slow down", Some("7")));
    }

    #[test]
    fn every_status_of_googles() {
        for (name, status, kind, shown) in [
            ("INVALID_ARGUMENT", 400, ErrorKind::InvalidRequest, 400),
            ("FAILED_PRECONDITION", 400, ErrorKind::InvalidRequest, 400),
            ("UNAUTHENTICATED", 401, ErrorKind::BadUpstream, 502),
            ("NOT_FOUND", 404, ErrorKind::ModelNotFound, 404),
            ("RESOURCE_EXHAUSTED", 429, ErrorKind::RateLimited, 429),
            ("INTERNAL", 500, ErrorKind::UpstreamInternal, 500),
            ("UNAVAILABLE", 503, ErrorKind::Unavailable, 503),
            ("DEADLINE_EXCEEDED", 504, ErrorKind::Timeout, 504),
        ] {
            let body = format!(r#"{{"error":{{"code":{status},"message":"m","status":"{name}","details":[{{}}]}}}}"#);
            for body in [body.clone(), format!("[{body}\n]")] {
                let error = decode(status, None, body.as_bytes());
                assert_eq!(summary(&error), (kind, shown), "{body}");
                assert!(kind == ErrorKind::BadUpstream || error.message == "m");
            }
        }
        let denied = br#"{"error":{"code":403,"message":"Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/my-own/locations/us-east5/publishers/anthropic/models/claude-x' (or it may not exist).","status":"PERMISSION_DENIED"}}"#;
        let error = decode(403, None, denied);
        assert_eq!(summary(&error), (ErrorKind::PermissionDenied, 403));
        assert_eq!(error.message, "Permission 'aiplatform.endpoints.predict' denied on resource 'claude-x' (or it may not exist).");
        let off = br#"{"error":{"code":403,"message":"Vertex AI API has not been used in project 123456789 before","status":"PERMISSION_DENIED"}}"#;
        assert_eq!(decode(403, None, off).message, OUR_CREDENTIALS);
    }

    #[test]
    fn what_google_hands_on_is_unpacked() {
        let inner = r#"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 2 tokens > 1 maximum\"}}"#;
        let error = decode(400, None, format!(r#"{{"error":{{"code":400,"message":"{inner}","status":"INVALID_ARGUMENT"}}}}"#).as_bytes());
        assert_eq!((error.kind, error.message.as_ref()), (ErrorKind::ContextLengthExceeded, "prompt is too long: 2 tokens > 1 maximum"));
        let error = decode(400, None, br#"{"error":{"code":400,"message":"{no json","status":"INVALID_ARGUMENT"}}"#);
        assert_eq!((error.kind, error.message.as_ref()), (ErrorKind::InvalidRequest, "{no json"));
    }

    #[test]
    fn trap_02_errors_in_a_stream_have_their_own_status() {
        for (name, kind, status) in [
            ("overloaded_error", ErrorKind::Unavailable, 503),
            ("api_error", ErrorKind::UpstreamInternal, 500),
            ("rate_limit_error", ErrorKind::RateLimited, 429),
            ("invalid_request_error", ErrorKind::InvalidRequest, 400),
            ("something_new", ErrorKind::BadUpstream, 502),
        ] {
            let error = event(format!(r#"{{"type":"error","error":{{"type":"{name}","message":"m"}}}}"#).as_bytes());
            assert_eq!((summary(&error), error.message.as_ref()), ((kind, status), "m"), "{name}");
        }
        assert_eq!(event(b"").status, 502);
    }

    #[test]
    fn our_own_key_and_account_are_nobodys_business() {
        for (status, body, told) in [
            (401, r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#, OUR_CREDENTIALS),
            (401, r#"{"error":"invalid_grant","error_description":"Bad sa@my-own.iam.gserviceaccount.com"}"#, OUR_CREDENTIALS),
            (403, r#"{"type":"error","error":{"type":"forbidden","message":"Request not allowed"}}"#, OUR_CREDENTIALS),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
                OUR_ACCOUNT,
            ),
            (402, "{}", OUR_ACCOUNT),
        ] {
            let error = decode(status, None, body.as_bytes());
            assert_eq!((error.kind, error.status, error.message.as_ref()), (ErrorKind::BadUpstream, 502, told), "{body}");
        }
        let model = br#"{"type":"error","error":{"type":"permission_error","message":"Your organization has no access to the model claude-x"}}"#;
        assert_eq!(summary(&decode(403, None, model)), (ErrorKind::PermissionDenied, 403));
    }

    #[test]
    fn bodies_that_say_nothing_or_not_in_json() {
        for body in [&b"<html><h1>503</h1></html>"[..], b"", b"{}", b"[1]", b"[]", b"\xff\xfe", b"{\"error\":", b"{\"error\":{\"message\":\" \"}}"] {
            let error = decode(503, None, body);
            assert_eq!(summary(&error), (ErrorKind::Unavailable, 503));
            assert!(!error.message.contains('<') && !error.message.is_empty());
        }
        assert_eq!(decode(400, None, b"Please slow down").message, "Please slow down");
    }
}
