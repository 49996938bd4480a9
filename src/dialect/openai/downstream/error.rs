//! Errors as OpenAI clients read them. Statuses are [`ApiError`]'s own business; this is the body.
//!
//! `type` and `code` are open strings in the vendor's specification. Names that it uses itself are used for the same; the others are ours.
//! Vendor page: <https://platform.openai.com/docs/guides/error-codes>.

use crate::chat::{ApiError, ErrorKind};
use crate::wire::json::Object;

/// Appends the JSON body: `{"error":{"message":"…","type":"…","param":"…"|null,"code":"…"|null}}`.
pub fn encode(error: &ApiError, out: &mut Vec<u8>) {
    let (class, code) = names(error.kind);
    Object::write(out, |body| {
        body.object("error", |object| {
            object.string("message", &error.message);
            object.string("type", class);
            match &error.param {
                Some(param) => object.string("param", param),
                None => object.raw("param", "null"),
            }
            match code {
                Some(code) => object.string("code", code),
                None => object.raw("code", "null"),
            }
        });
    });
}

/// The `type` and the `code` of a kind of error.
pub(in crate::dialect::openai) fn names(kind: ErrorKind) -> (&'static str, Option<&'static str>) {
    match kind {
        ErrorKind::InvalidRequest => ("invalid_request_error", None),
        ErrorKind::ContextLengthExceeded => ("invalid_request_error", Some("context_length_exceeded")),
        ErrorKind::MissingCredentials | ErrorKind::Authentication => ("authentication_error", Some("invalid_api_key")),
        ErrorKind::InvalidSignature => ("authentication_error", Some("invalid_signature")),
        ErrorKind::PermissionDenied => ("invalid_request_error", Some("access_denied")),
        ErrorKind::NotFound => ("invalid_request_error", Some("unknown_url")),
        ErrorKind::ModelNotFound => ("invalid_request_error", Some("model_not_found")),
        ErrorKind::MethodNotAllowed => ("invalid_request_error", Some("method_not_supported")),
        ErrorKind::RequestTimeout => ("invalid_request_error", Some("request_timeout")),
        ErrorKind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        ErrorKind::RateLimited => ("rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::QuotaExceeded => ("rate_limit_error", Some("insufficient_quota")),
        ErrorKind::Internal | ErrorKind::UpstreamInternal | ErrorKind::Unavailable => ("server_error", None),
        ErrorKind::BadUpstream => ("server_error", Some("upstream_error")),
        ErrorKind::ModelError => ("server_error", Some("model_error")),
        ErrorKind::ModelNotReady => ("server_error", Some("model_not_ready")),
        ErrorKind::NotConfigured => ("server_error", Some("provider_not_configured")),
        ErrorKind::Timeout => ("server_error", Some("timeout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &ApiError) -> serde_json::Value {
        let mut out = Vec::new();
        encode(error, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn every_kind_has_all_four_members_and_a_class_that_fits_its_status() {
        for kind in ErrorKind::ALL {
            let written = body(&ApiError::new(kind, "no"));
            let error = written["error"].as_object().unwrap();
            let mut members: Vec<&str> = error.keys().map(String::as_str).collect();
            members.sort_unstable();
            assert_eq!(members, ["code", "message", "param", "type"], "{kind:?}");
            let class = match kind.status() {
                401 => "authentication_error",
                429 => "rate_limit_error",
                400..500 => "invalid_request_error",
                _ => "server_error",
            };
            assert_eq!(error["type"], class, "{kind:?}");
            assert!(error["param"].is_null());
            assert!(error["code"].is_null() || error["code"].as_str().is_some_and(|code| !code.is_empty()), "{kind:?}");
        }
    }

    #[test]
    fn codes_that_clients_look_for() {
        for (kind, code) in [
            (ErrorKind::ContextLengthExceeded, "context_length_exceeded"),
            (ErrorKind::Authentication, "invalid_api_key"),
            (ErrorKind::PermissionDenied, "access_denied"),
            (ErrorKind::ModelNotFound, "model_not_found"),
            (ErrorKind::RateLimited, "rate_limit_exceeded"),
            (ErrorKind::ModelNotReady, "model_not_ready"),
            (ErrorKind::ModelError, "model_error"),
            (ErrorKind::Timeout, "timeout"),
        ] {
            assert_eq!(body(&ApiError::new(kind, "no"))["error"]["code"], code);
        }
    }

    #[test]
    fn message_and_param_are_escaped() {
        let written = body(&ApiError::invalid("messages[0].\"x\"", "line\n\"two\""));
        assert_eq!(written["error"]["message"], "line\n\"two\"");
        assert_eq!(written["error"]["param"], "messages[0].\"x\"");
    }
}
