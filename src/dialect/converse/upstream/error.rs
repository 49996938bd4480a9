//! Bedrock's errors, as HTTP answers and as frames inside a stream, read into the one error that callers see.
//!
//! The name of an error decides, not its status: Bedrock says 400 for an exhausted quota and 424 for a model that failed. Names come in the header
//! `x-amzn-errortype`, or in the body as `__type` or `code`, with a namespace before a `#` and a link behind a `:`.
//!
//! Messages are shown to callers after everything that tells about the operator's account is taken out. Trouble with the gateway's own credentials is not the
//! caller's business at all.
//!
//! Follows the exceptions of the service model and <https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html>.

use crate::chat::{ApiError, ErrorKind};
use crate::wire::json::Raw;

use crate::chat::fields::Members;
use crate::chat::refusal::{Refusal, our_credentials};

/// Name in lower case → what it means.
const NAMES: &[(&str, ErrorKind)] = &[
    ("validationexception", ErrorKind::InvalidRequest),
    ("validationerror", ErrorKind::InvalidRequest),
    ("conflictexception", ErrorKind::InvalidRequest),
    ("serializationexception", ErrorKind::InvalidRequest),
    ("accessdeniedexception", ErrorKind::PermissionDenied),
    ("accessdenied", ErrorKind::PermissionDenied),
    ("resourcenotfoundexception", ErrorKind::ModelNotFound),
    ("throttlingexception", ErrorKind::RateLimited),
    ("throttling", ErrorKind::RateLimited),
    ("toomanyrequestsexception", ErrorKind::RateLimited),
    ("servicequotaexceededexception", ErrorKind::RateLimited),
    ("modelnotreadyexception", ErrorKind::ModelNotReady),
    ("modeltimeoutexception", ErrorKind::Timeout),
    ("modelerrorexception", ErrorKind::ModelError),
    ("modelstreamerrorexception", ErrorKind::ModelError),
    ("internalserverexception", ErrorKind::UpstreamInternal),
    ("internalservererror", ErrorKind::UpstreamInternal),
    ("internalfailure", ErrorKind::UpstreamInternal),
    ("serviceunavailableexception", ErrorKind::Unavailable),
    ("serviceunavailable", ErrorKind::Unavailable),
    // The gateway's own credentials, clock or region are wrong.
    ("unrecognizedclientexception", ErrorKind::BadUpstream),
    ("invalidsignatureexception", ErrorKind::BadUpstream),
    ("signaturedoesnotmatch", ErrorKind::BadUpstream),
    ("incompletesignature", ErrorKind::BadUpstream),
    ("incompletesignatureexception", ErrorKind::BadUpstream),
    ("missingauthenticationtoken", ErrorKind::BadUpstream),
    ("missingauthenticationtokenexception", ErrorKind::BadUpstream),
    ("expiredtoken", ErrorKind::BadUpstream),
    ("expiredtokenexception", ErrorKind::BadUpstream),
    ("requestexpired", ErrorKind::BadUpstream),
    ("invalidclienttokenid", ErrorKind::BadUpstream),
    ("invalidaccesskeyid", ErrorKind::BadUpstream),
    ("notauthorized", ErrorKind::BadUpstream),
    ("optinrequired", ErrorKind::BadUpstream),
];

/// What messages say when the conversation does not fit the model.
const TOO_LONG: [&str; 9] = [
    "input is too long",
    "prompt is too long",
    "too many input tokens",
    "context limit",
    "context length",
    "context window",
    "maximum number of input tokens",
    "input tokens exceed",
    "input token count",
];

/// What messages say when it is the credentials that were refused, under whatever name.
const CREDENTIALS: [&str; 7] = ["security token", "signature we calculated", "signature expired", "signature not yet", "credential", "api key", "bearer token"];

/// Reads an HTTP error answer. `error_type` is the header `x-amzn-errortype`, `retry_after` the header `retry-after`.
///
/// 429, `ThrottlingException`, `{"message":"Too many requests"}` → rate limited, 429, "Too many requests".
#[must_use]
pub fn decode(status: u16, error_type: Option<&str>, retry_after: Option<&str>, body: &[u8]) -> ApiError {
    let body = String::from_utf8_lossy(body);
    let facts = Facts::of(&body);
    let name = error_type.map(bare_name).filter(|name| !name.is_empty()).or(facts.name.as_deref());
    let mut error = named(name, Some(status), facts.message.as_deref());
    error.retry_after = retry_after.map(str::to_owned);
    error
}

/// Reads an exception frame: its `:exception-type` and its payload.
///
/// `throttlingException`, `{"message":"slow down"}` → rate limited, 429, "slow down".
#[must_use]
pub fn exception(name: &str, payload: &[u8]) -> ApiError {
    let body = String::from_utf8_lossy(payload);
    let facts = Facts::of(&body);
    named(Some(bare_name(name)), None, facts.message.as_deref())
}

/// Reads an unmodelled failure: `:error-code` and `:error-message` of an error frame.
#[must_use]
pub fn unmodelled(code: Option<&str>, message: Option<&str>) -> ApiError {
    named(code.map(bare_name), None, message)
}

/// What a body says.
struct Facts {
    name: Option<String>,
    message: Option<String>,
}

impl Facts {
    fn of(body: &str) -> Self {
        let body = body.trim();
        let Some(members) = Raw::parse(body).ok().and_then(Members::of) else {
            // A page or a sentence of some proxy. A sentence is worth showing.
            let is_text = !body.is_empty() && !body.starts_with('<') && Raw::parse(body).is_err();
            return Facts { name: None, message: is_text.then(|| body.to_owned()) };
        };
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| members.value(name).and_then(Raw::text));
            found.map(|text| text.unescape().into_owned()).filter(|text| !text.trim().is_empty())
        };
        let name = text(&["__type", "code", "Code"]).map(|name| bare_name(&name).to_owned());
        let mut message = text(&["message", "Message", "errorMessage"]);
        if let (Some(message), Some(original)) = (&mut message, text(&["originalMessage"]))
            && !message.contains(&original)
        {
            message.push_str(&format!(" ({original})"));
        }
        Facts { name, message }
    }
}

/// `com.amazon.coral.service#ThrottlingException:http://…` → `ThrottlingException`.
fn bare_name(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

/// Puts name, status and message together. Without a status it is a frame inside a stream.
fn named(name: Option<&str>, status: Option<u16>, message: Option<&str>) -> ApiError {
    let name = name.map(str::to_ascii_lowercase);
    let known = name.as_deref().and_then(|name| NAMES.iter().find(|(known, _)| *known == name));
    let mut kind = match (known, status) {
        (Some((_, kind)), _) => *kind,
        (None, Some(status)) => ErrorKind::of_upstream(status),
        (None, None) => ErrorKind::BadUpstream,
    };
    let refusal = Refusal::new(message);
    let ours = match known {
        Some((_, ErrorKind::BadUpstream)) => true,
        None if status == Some(401) => true,
        _ => kind == ErrorKind::PermissionDenied && refusal.says(&CREDENTIALS),
    };
    if ours {
        return our_credentials();
    }
    if kind == ErrorKind::InvalidRequest && refusal.says(&TOO_LONG) {
        kind = ErrorKind::ContextLengthExceeded;
    }
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
    fn every_name_of_the_service_model() {
        for (name, status, kind, shown) in [
            ("ValidationException", 400, ErrorKind::InvalidRequest, 400),
            ("AccessDeniedException", 403, ErrorKind::PermissionDenied, 403),
            ("ResourceNotFoundException", 404, ErrorKind::ModelNotFound, 404),
            ("ThrottlingException", 429, ErrorKind::RateLimited, 429),
            ("ServiceQuotaExceededException", 400, ErrorKind::RateLimited, 429),
            ("ModelNotReadyException", 429, ErrorKind::ModelNotReady, 503),
            ("ModelTimeoutException", 408, ErrorKind::Timeout, 504),
            ("ModelErrorException", 424, ErrorKind::ModelError, 502),
            ("ModelStreamErrorException", 424, ErrorKind::ModelError, 502),
            ("InternalServerException", 500, ErrorKind::UpstreamInternal, 500),
            ("ServiceUnavailableException", 503, ErrorKind::Unavailable, 503),
            ("ConflictException", 400, ErrorKind::InvalidRequest, 400),
            ("FTUFormNotFilled", 404, ErrorKind::ModelNotFound, 404),
            ("InternalFailure", 500, ErrorKind::UpstreamInternal, 500),
            ("IncompleteSignature", 400, ErrorKind::BadUpstream, 502),
            ("UnrecognizedClientException", 403, ErrorKind::BadUpstream, 502),
            ("ExpiredTokenException", 403, ErrorKind::BadUpstream, 502),
            ("SomethingNew", 418, ErrorKind::InvalidRequest, 418),
            ("SomethingNew", 502, ErrorKind::BadUpstream, 502),
            ("SomethingNew", 401, ErrorKind::BadUpstream, 502),
        ] {
            assert_eq!(summary(&decode(status, Some(name), None, br#"{"message":"m"}"#)), (kind, shown), "{name} {status}");
        }
    }

    #[test]
    fn trap_02_exceptions_in_a_stream_have_their_own_status() {
        for (name, kind, status) in [
            ("throttlingException", ErrorKind::RateLimited, 429),
            ("serviceUnavailableException", ErrorKind::Unavailable, 503),
            ("modelNotReadyException", ErrorKind::ModelNotReady, 503),
            ("internalServerException", ErrorKind::UpstreamInternal, 500),
            ("validationException", ErrorKind::InvalidRequest, 400),
            ("modelStreamErrorException", ErrorKind::ModelError, 502),
            ("modelTimeoutException", ErrorKind::Timeout, 504),
            ("newException", ErrorKind::BadUpstream, 502),
        ] {
            let error = exception(name, br#"{"message":"slow down"}"#);
            assert_eq!((error.kind, error.status, error.message.as_ref()), (kind, status, "slow down"), "{name}");
        }
        assert_eq!(exception("throttlingException", b"").message, ErrorKind::RateLimited.in_general());
        assert_eq!(exception("modelStreamErrorException", br#"{"message":"m","originalMessage":"o"}"#).message, "m (o)");
    }

    #[test]
    fn trap_49_the_facts_may_be_in_the_header_or_in_the_body() {
        let link = "com.amazon.coral.service#ThrottlingException:http://internal.amazon.com/coral/";
        for (header, body) in [
            (Some("ThrottlingException"), "{}"),
            (Some(link), "{}"),
            (None, r#"{"__type":"com.amazon.coral.service#ThrottlingException","Message":"x"}"#),
            (None, r#"{"code":"ThrottlingException"}"#),
            (Some(""), r#"{"__type":"ThrottlingException"}"#),
        ] {
            assert_eq!(summary(&decode(400, header, None, body.as_bytes())), (ErrorKind::RateLimited, 429), "{header:?} {body}");
        }
        let error = decode(429, None, Some("7"), b"Please slow down");
        assert_eq!((error.message.as_ref(), error.retry_after.as_deref()), ("Please slow down", Some("7")));
        for body in [&b"<html><h1>503</h1></html>"[..], b"", b"{}", b"[1]", b"\xff\xfe"] {
            let error = decode(503, None, None, body);
            assert_eq!(summary(&error), (ErrorKind::Unavailable, 503));
            assert!(!error.message.contains('<') && !error.message.is_empty());
        }
    }

    #[test]
    fn too_long_conversations_are_told_apart() {
        for message in ["Input is too long for requested model.", "prompt is too long: 200001 tokens > 200000 maximum", "Too many input tokens. Max: 1"] {
            let body = format!(r#"{{"message":"{message}"}}"#);
            assert_eq!(decode(400, Some("ValidationException"), None, body.as_bytes()).kind, ErrorKind::ContextLengthExceeded, "{message}");
        }
        let throttled = decode(429, Some("ThrottlingException"), None, br#"{"message":"Too many input tokens, please wait"}"#);
        assert_eq!(throttled.kind, ErrorKind::RateLimited);
    }

    #[test]
    fn our_own_credentials_are_nobodys_business() {
        for (name, message) in [
            ("UnrecognizedClientException", "The security token included in the request is invalid."),
            ("InvalidSignatureException", "The Credential AKIAIOSFODNN7EXAMPLE is wrong"),
            ("AccessDeniedException", "Invalid API Key format: Must start with pre-defined prefix"),
        ] {
            let error = decode(403, Some(name), None, format!(r#"{{"message":"{message}"}}"#).as_bytes());
            assert_eq!((error.kind, error.status, error.message.as_ref()), (ErrorKind::BadUpstream, 502, OUR_CREDENTIALS));
        }
    }
}
