//! What Bedrock answers when it refuses: a name, a status and a message.
//!
//! Names and statuses of modelled errors are those of the service model; the others are the common errors of AWS services, from
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html>.

use std::borrow::Cow;

use crate::wire::json::Object;

/// What AWS puts behind the name in `x-amzn-errortype`; clients cut it off.
const NAMESPACE: &str = ":http://internal.amazon.com/coral/com.amazon.bedrock/";

/// Every error the sandbox can answer with, and its status.
pub(super) const NAMES: [(&str, u16); 21] = [
    ("AccessDeniedException", 403),
    ("ConflictException", 400),
    ("ExpiredTokenException", 403),
    ("FTUFormNotFilled", 404),
    ("IncompleteSignature", 400),
    ("InternalFailure", 500),
    ("InternalServerException", 500),
    ("InvalidSignatureException", 403),
    ("MissingAuthenticationTokenException", 403),
    ("ModelErrorException", 424),
    ("ModelNotReadyException", 429),
    ("ModelStreamErrorException", 424),
    ("ModelTimeoutException", 408),
    ("RequestEntityTooLargeException", 413),
    ("ResourceNotFoundException", 404),
    ("SerializationException", 400),
    ("ServiceQuotaExceededException", 400),
    ("ServiceUnavailableException", 503),
    ("ThrottlingException", 429),
    ("UnknownOperationException", 404),
    ("UnrecognizedClientException", 403),
];

/// `ValidationException` is by far the most frequent one, so it stands by itself.
const VALIDATION: (&str, u16) = ("ValidationException", 400);

/// How the body of a failure looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// `{"message":"…"}`
    #[default]
    Json,
    /// `{}`: everything a client learns stands in the head.
    Empty,
    /// Text instead of JSON and no error name, as something in front of the service answers.
    Plain,
}

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The exception's name, for example `ThrottlingException`.
    pub name: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The text of the body.
    pub message: Cow<'static, str>,
    /// Seconds for `retry-after`.
    pub retry_after: Option<u32>,
    /// The form of the body.
    pub form: BodyForm,
}

impl Failure {
    /// The failure of that name, which must be one of the table.
    pub(super) fn new(name: &str, message: impl Into<Cow<'static, str>>) -> Self {
        let (name, status) = known(name).unwrap_or(("InternalFailure", 500));
        Failure { name, status, message: message.into(), retry_after: None, form: BodyForm::Json }
    }

    /// The request breaks a rule.
    pub(super) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(VALIDATION.0, message)
    }

    /// The value of `x-amzn-errortype`.
    pub(super) fn error_type(&self) -> String {
        format!("{}{NAMESPACE}", self.name)
    }

    /// The body, and its media type.
    pub(super) fn body(&self) -> (Vec<u8>, &'static str) {
        match self.form {
            BodyForm::Json => (payload(self.name, &self.message), "application/json"),
            BodyForm::Empty => (b"{}".to_vec(), "application/json"),
            BodyForm::Plain => (self.message.as_bytes().to_vec(), "text/plain"),
        }
    }
}

/// The JSON of an error, in a body or in an exception frame.
pub(super) fn payload(name: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Object::write(&mut out, |o| {
        o.string("message", message);
        if name.eq_ignore_ascii_case("ModelErrorException") {
            o.number("originalStatusCode", 500);
            o.string("resourceName", "sandbox");
        } else if name.eq_ignore_ascii_case("ModelStreamErrorException") {
            o.number("originalStatusCode", 500);
            o.string("originalMessage", "The sandbox was asked for this.");
        }
    });
    out
}

/// The name as AWS spells it, and its status: letter case, hyphens and the ending `Exception` are left to the caller.
pub(super) fn known(name: &str) -> Option<(&'static str, u16)> {
    fn plain(name: &str) -> String {
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        letters.strip_suffix("exception").map_or_else(|| letters.clone(), str::to_owned)
    }
    let wanted = plain(name);
    std::iter::once(VALIDATION).chain(NAMES).find(|(name, _)| plain(name) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_modelled_errors_are_those_of_the_service_model() {
        let model: serde_json::Value = serde_json::from_str(include_str!("service-model.json")).unwrap();
        for (name, status) in model["errors"].as_object().unwrap() {
            assert_eq!(known(name).map(|(_, status)| u64::from(status)), status.as_u64(), "{name}");
        }
    }

    #[test]
    fn names_are_found_in_any_spelling() {
        for spelling in ["ThrottlingException", "throttling", "throttling-exception", "throttlingException"] {
            assert_eq!(known(spelling), Some(("ThrottlingException", 429)));
        }
        assert_eq!(known("service-unavailable"), Some(("ServiceUnavailableException", 503)));
        assert_eq!(known("teapot"), None);
    }
}
