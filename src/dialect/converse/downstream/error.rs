//! Errors as Bedrock's clients read them: the name in the header `x-amzn-errortype`, a sentence in the body, and inside a stream an exception frame.
//!
//! The AWS SDKs choose the exception to raise, and whether to try again, by the name; the status goes with the name as the service model has it.
//! Vendor page: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors>.

use std::borrow::Cow;

use crate::chat::{ApiError, ErrorKind};
use crate::wire::json::Object;

/// Appends the JSON body, of an answer or of an exception frame: `{"message":"…"}`. Clients show nothing else, so the wrong member is named in the sentence.
pub fn encode(error: &ApiError, out: &mut Vec<u8>) {
    let message = match &error.param {
        Some(param) if !error.message.contains(&**param) => Cow::Owned(format!("{param}: {}", error.message)),
        _ => Cow::Borrowed(&*error.message),
    };
    Object::write(out, |body| body.string("message", &message));
}

/// The name of an error, for `x-amzn-errortype`. `status` is [`ApiError::status`]: it tells a conflict apart, and who has signed.
#[must_use]
pub fn name(kind: ErrorKind, status: u16) -> &'static str {
    named(kind, status).0
}

/// The HTTP status that goes with the name.
#[must_use]
pub fn status(error: &ApiError) -> u16 {
    named(error.kind, error.status).1
}

/// `:exception-type` of a frame that ends a ConverseStream: one of the five that its event union has.
#[must_use]
pub fn exception(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::RateLimited | ErrorKind::QuotaExceeded => "throttlingException",
        ErrorKind::Unavailable | ErrorKind::ModelNotReady | ErrorKind::NotConfigured => "serviceUnavailableException",
        ErrorKind::Internal | ErrorKind::UpstreamInternal => "internalServerException",
        ErrorKind::BadUpstream | ErrorKind::ModelError | ErrorKind::Timeout => "modelStreamErrorException",
        ErrorKind::InvalidRequest
        | ErrorKind::ContextLengthExceeded
        | ErrorKind::MissingCredentials
        | ErrorKind::Authentication
        | ErrorKind::InvalidSignature
        | ErrorKind::PermissionDenied
        | ErrorKind::NotFound
        | ErrorKind::ModelNotFound
        | ErrorKind::MethodNotAllowed
        | ErrorKind::RequestTimeout
        | ErrorKind::TooLarge => "validationException",
    }
}

/// Name and status. What the service model does not have is called as AWS calls it elsewhere.
fn named(kind: ErrorKind, status: u16) -> (&'static str, u16) {
    match kind {
        ErrorKind::InvalidRequest if status == 409 => ("ConflictException", 400),
        ErrorKind::InvalidRequest | ErrorKind::ContextLengthExceeded => ("ValidationException", 400),
        // Where the status says more than the service model's: SDKs go by the name, everybody else by the status.
        ErrorKind::TooLarge => ("ValidationException", 413),
        // AWS's name with the status that all APIs here have for it: AWS's own is 403.
        ErrorKind::MissingCredentials => ("MissingAuthenticationTokenException", 401),
        // As AWS answers whoever signs with an access key that it does not know.
        ErrorKind::Authentication if status == 403 => ("UnrecognizedClientException", 403),
        ErrorKind::Authentication => ("UnrecognizedClientException", 401),
        ErrorKind::InvalidSignature => ("InvalidSignatureException", 403),
        ErrorKind::PermissionDenied => ("AccessDeniedException", 403),
        ErrorKind::NotFound => ("UnknownOperationException", 404),
        ErrorKind::ModelNotFound => ("ResourceNotFoundException", 404),
        ErrorKind::MethodNotAllowed => ("UnknownOperationException", 405),
        ErrorKind::RequestTimeout => ("RequestTimeoutException", 408),
        ErrorKind::RateLimited | ErrorKind::QuotaExceeded => ("ThrottlingException", 429),
        ErrorKind::Internal | ErrorKind::UpstreamInternal => ("InternalServerException", 500),
        ErrorKind::BadUpstream => ("InternalServerException", 502),
        ErrorKind::ModelError => ("ModelErrorException", 424),
        ErrorKind::Unavailable | ErrorKind::NotConfigured => ("ServiceUnavailableException", 503),
        ErrorKind::ModelNotReady => ("ModelNotReadyException", 429),
        ErrorKind::Timeout => ("ModelTimeoutException", 408),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::converse::upstream;

    fn body(error: &ApiError) -> String {
        let mut out = Vec::new();
        encode(error, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_has_a_name_a_status_and_an_exception() {
        const STREAM: [&str; 5] =
            ["internalServerException", "modelStreamErrorException", "validationException", "throttlingException", "serviceUnavailableException"];
        for kind in ErrorKind::ALL {
            let error = ApiError::new(kind, "no");
            assert!(name(kind, error.status).ends_with("Exception"), "{kind:?}");
            assert!((400..600).contains(&status(&error)), "{kind:?}");
            assert!(STREAM.contains(&exception(kind)), "{kind:?}");
        }
        assert_eq!(name(ErrorKind::InvalidRequest, 409), "ConflictException");
        for (kind, code, name) in [
            (ErrorKind::MissingCredentials, 401, ("MissingAuthenticationTokenException", 401)),
            (ErrorKind::Authentication, 401, ("UnrecognizedClientException", 401)),
            (ErrorKind::Authentication, 403, ("UnrecognizedClientException", 403)),
            (ErrorKind::InvalidSignature, 401, ("InvalidSignatureException", 403)),
        ] {
            assert_eq!(named(kind, code), name);
        }
    }

    #[test]
    fn names_have_the_status_of_the_service_model() {
        for (kind, expected, code) in [
            (ErrorKind::InvalidRequest, "ValidationException", 400),
            (ErrorKind::PermissionDenied, "AccessDeniedException", 403),
            (ErrorKind::ModelNotFound, "ResourceNotFoundException", 404),
            (ErrorKind::RateLimited, "ThrottlingException", 429),
            (ErrorKind::ModelNotReady, "ModelNotReadyException", 429),
            (ErrorKind::Timeout, "ModelTimeoutException", 408),
            (ErrorKind::ModelError, "ModelErrorException", 424),
            (ErrorKind::Internal, "InternalServerException", 500),
            (ErrorKind::Unavailable, "ServiceUnavailableException", 503),
        ] {
            let error = ApiError::new(kind, "no");
            assert_eq!((name(kind, error.status), status(&error)), (expected, code));
        }
    }

    #[test]
    fn what_bedrock_names_is_read_back_as_the_same_kind() {
        for kind in [
            ErrorKind::InvalidRequest,
            ErrorKind::PermissionDenied,
            ErrorKind::ModelNotFound,
            ErrorKind::RateLimited,
            ErrorKind::ModelNotReady,
            ErrorKind::Timeout,
            ErrorKind::ModelError,
            ErrorKind::UpstreamInternal,
            ErrorKind::Unavailable,
        ] {
            let error = ApiError::new(kind, "no");
            let read = upstream::error::decode(status(&error), Some(name(kind, error.status)), None, body(&error).as_bytes());
            assert_eq!((read.kind, read.message.as_ref()), (kind, "no"));
        }
    }

    #[test]
    fn the_sentence_names_the_member() {
        assert_eq!(body(&ApiError::invalid("messages[0].content", "images must be \"PNG\"")), r#"{"message":"messages[0].content: images must be \"PNG\""}"#);
        assert_eq!(body(&ApiError::invalid("system", "'system' is wrong")), r#"{"message":"'system' is wrong"}"#);
    }
}
