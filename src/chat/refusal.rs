//! A model provider's refusal, told to callers: what it said, after everything that tells about the operator's account is taken out, unless it is about the
//! gateway's own credentials, which are not the caller's business at all.
//!
//! Which names and phrases mean what is for each dialect to know.

use std::borrow::Cow;

use crate::chat::redact::{MESSAGE_MAX, cut, redact};
use crate::chat::{ApiError, ErrorKind};

/// What callers are told about the gateway's own credentials.
pub const OUR_CREDENTIALS: &str = "the gateway could not authenticate itself to the model provider";

/// What a provider says.
#[derive(Debug)]
pub struct Refusal<'m> {
    message: Option<&'m str>,
    /// In lower case.
    lower: String,
}

impl<'m> Refusal<'m> {
    /// A refusal, with or without a message.
    #[must_use]
    pub fn new(message: Option<&'m str>) -> Self {
        Refusal { message, lower: message.unwrap_or_default().to_ascii_lowercase() }
    }

    /// Whether the message holds one of the phrases, which are in lower case.
    #[must_use]
    pub fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.lower.contains(phrase))
    }

    /// The error that callers see. `status` is the provider's, where no name says more: a client error that nobody knows keeps it.
    ///
    /// "Slow down", rate limited → rate limited, 429, "Slow down".
    #[must_use]
    pub fn tell(&self, kind: ErrorKind, status: Option<u16>) -> ApiError {
        let text = match self.message {
            Some(message) => Cow::Owned(redact(cut(message.trim(), MESSAGE_MAX))),
            None => Cow::Borrowed(kind.in_general()),
        };
        let mut error = ApiError::new(kind, text);
        if let Some(status @ 400..500) = status
            && kind == ErrorKind::InvalidRequest
        {
            error.status = status;
        }
        error
    }
}

/// The error that callers see when the provider refused the gateway itself.
#[must_use]
pub fn our_credentials() -> ApiError {
    ApiError::new(ErrorKind::BadUpstream, OUR_CREDENTIALS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_told_short_and_clean() {
        let told = |message: &str| Refusal::new(Some(message)).tell(ErrorKind::UpstreamInternal, None).message;
        assert_eq!(told(" https://internal.example:8080/x of sk-ant-REDACTED failed\n"), "[host] of [key] failed");
        assert!(told(&"ü".repeat(5000)).len() <= MESSAGE_MAX);
        assert_eq!(Refusal::new(None).tell(ErrorKind::RateLimited, None).message, ErrorKind::RateLimited.in_general());
        let refusal = Refusal::new(Some("Prompt is TOO long"));
        assert!(refusal.says(&["x", "too long"]) && !refusal.says(&["short"]) && !Refusal::new(None).says(&["x"]));
    }

    #[test]
    fn only_a_client_error_that_nobody_knows_keeps_its_status() {
        for (kind, status, shown) in [
            (ErrorKind::InvalidRequest, Some(422), 422),
            (ErrorKind::InvalidRequest, Some(200), 400),
            (ErrorKind::InvalidRequest, None, 400),
            (ErrorKind::RateLimited, Some(402), 429),
            (ErrorKind::ContextLengthExceeded, Some(413), 400),
        ] {
            assert_eq!(Refusal::new(None).tell(kind, status).status, shown, "{kind:?} {status:?}");
        }
        assert_eq!((our_credentials().kind, our_credentials().status), (ErrorKind::BadUpstream, 502));
    }
}
