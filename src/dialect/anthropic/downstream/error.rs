//! Errors as Anthropic's clients read them. Statuses are [`ApiError`]'s own business; this is the body, which is the same in an answer and in a stream.
//!
//! The member that is wrong has no place of its own here: messages name it.
//!
//! Vendor page: <https://platform.claude.com/docs/en/api/errors>.

use crate::chat::{ApiError, ErrorKind};
use crate::wire::json::Object;

/// Appends the JSON body: `{"type":"error","error":{"type":"…","message":"…"},"request_id":"…"}`. Without a request id that member is left out.
pub fn encode(error: &ApiError, request_id: Option<&str>, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        body.string("type", "error");
        body.object("error", |object| {
            object.string("type", class(error));
            object.string("message", &error.message);
        });
        if let Some(id) = request_id {
            body.string("request_id", id);
        }
    });
}

/// The `type` of an error. It follows from the kind; only a refusal over money has a status and no kind of its own.
#[must_use]
pub fn class(error: &ApiError) -> &'static str {
    if error.status == 402 {
        return "billing_error";
    }
    match error.kind {
        ErrorKind::InvalidRequest | ErrorKind::ContextLengthExceeded | ErrorKind::MethodNotAllowed => "invalid_request_error",
        ErrorKind::MissingCredentials | ErrorKind::Authentication | ErrorKind::InvalidSignature => "authentication_error",
        ErrorKind::PermissionDenied => "permission_error",
        ErrorKind::NotFound | ErrorKind::ModelNotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::RateLimited | ErrorKind::QuotaExceeded => "rate_limit_error",
        ErrorKind::Internal | ErrorKind::UpstreamInternal | ErrorKind::BadUpstream | ErrorKind::ModelError => "api_error",
        ErrorKind::Unavailable | ErrorKind::ModelNotReady | ErrorKind::NotConfigured => "overloaded_error",
        ErrorKind::RequestTimeout | ErrorKind::Timeout => "timeout_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &ApiError, request_id: Option<&str>) -> String {
        let mut out = Vec::new();
        encode(error, request_id, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn trap_49_every_kind_has_the_class_of_its_status() {
        for kind in ErrorKind::ALL {
            let expected = match kind.status() {
                400 | 405 => "invalid_request_error",
                401 => "authentication_error",
                403 => "permission_error",
                404 => "not_found_error",
                408 | 504 => "timeout_error",
                413 => "request_too_large",
                429 => "rate_limit_error",
                500 | 502 => "api_error",
                503 => "overloaded_error",
                status => panic!("{kind:?} has the status {status}"),
            };
            assert_eq!(class(&ApiError::new(kind, "no")), expected, "{kind:?}");
        }
    }

    #[test]
    fn money_has_a_class_of_its_own() {
        let error = ApiError { status: 402, ..ApiError::new(ErrorKind::PermissionDenied, "no credit") };
        assert_eq!(class(&error), "billing_error");
    }

    #[test]
    fn the_body_to_the_letter() {
        let error = ApiError::invalid("messages[0].\"x\"", "line\n\"two\"");
        assert_eq!(body(&error, None), r#"{"type":"error","error":{"type":"invalid_request_error","message":"line\n\"two\""}}"#);
        let error = ApiError::new(ErrorKind::Unavailable, "later");
        assert_eq!(body(&error, Some("req_\"1")), r#"{"type":"error","error":{"type":"overloaded_error","message":"later"},"request_id":"req_\"1"}"#);
    }
}
