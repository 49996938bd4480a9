//! The one error that callers see, before it is written in their dialect.

use std::borrow::Cow;

/// What went wrong, in a vocabulary that every dialect can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed, or a model refuses it. 400
    InvalidRequest,
    /// The conversation does not fit the model's context window. 400
    ContextLengthExceeded,
    /// No credentials at all. 401
    MissingCredentials,
    /// Wrong credentials. 401
    Authentication,
    /// Signed, but not with the secret it says, or not as it must be. 401
    InvalidSignature,
    /// Known, but not allowed. 403
    PermissionDenied,
    /// The path is unknown. 404
    NotFound,
    /// The model is unknown. 404
    ModelNotFound,
    /// The path is known, the method is not. 405
    MethodNotAllowed,
    /// The body, the headers or the URI took too long to come. 408
    RequestTimeout,
    /// The body is too large. 413
    TooLarge,
    /// Over a limit, the client's or the account's. 429
    RateLimited,
    /// Over a budget. 429
    QuotaExceeded,
    /// A fault of ours. 500
    Internal,
    /// The upstream reports a fault of its own. 500
    UpstreamInternal,
    /// The upstream gave nonsense, could not be reached, or refused our credentials. 502
    BadUpstream,
    /// The model failed while it worked. 502
    ModelError,
    /// Temporarily not there. 503
    Unavailable,
    /// The model is being loaded. 503
    ModelNotReady,
    /// The provider has no credentials or is not usable as configured. 503
    NotConfigured,
    /// The upstream took too long. 504
    Timeout,
}

impl ErrorKind {
    /// The HTTP status that goes with it, unless the upstream's own is more exact.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::InvalidRequest | ErrorKind::ContextLengthExceeded => 400,
            ErrorKind::MissingCredentials | ErrorKind::Authentication | ErrorKind::InvalidSignature => 401,
            ErrorKind::PermissionDenied => 403,
            ErrorKind::NotFound | ErrorKind::ModelNotFound => 404,
            ErrorKind::MethodNotAllowed => 405,
            ErrorKind::RequestTimeout => 408,
            ErrorKind::TooLarge => 413,
            ErrorKind::RateLimited | ErrorKind::QuotaExceeded => 429,
            ErrorKind::Internal | ErrorKind::UpstreamInternal => 500,
            ErrorKind::BadUpstream | ErrorKind::ModelError => 502,
            ErrorKind::Unavailable | ErrorKind::ModelNotReady | ErrorKind::NotConfigured => 503,
            ErrorKind::Timeout => 504,
        }
    }

    /// A short stable name for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest => "invalid_request",
            ErrorKind::ContextLengthExceeded => "context_length_exceeded",
            ErrorKind::MissingCredentials => "missing_credentials",
            ErrorKind::Authentication => "authentication",
            ErrorKind::InvalidSignature => "invalid_signature",
            ErrorKind::PermissionDenied => "permission_denied",
            ErrorKind::NotFound => "not_found",
            ErrorKind::ModelNotFound => "model_not_found",
            ErrorKind::MethodNotAllowed => "method_not_allowed",
            ErrorKind::RequestTimeout => "request_timeout",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::RateLimited => "rate_limited",
            ErrorKind::QuotaExceeded => "quota_exceeded",
            ErrorKind::Internal => "internal",
            ErrorKind::UpstreamInternal => "upstream_internal",
            ErrorKind::BadUpstream => "bad_upstream",
            ErrorKind::ModelError => "model_error",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::ModelNotReady => "model_not_ready",
            ErrorKind::NotConfigured => "not_configured",
            ErrorKind::Timeout => "timeout",
        }
    }

    /// What an upstream's status means, where its body does not say more.
    #[must_use]
    pub fn of_upstream(status: u16) -> Self {
        match status {
            403 => ErrorKind::PermissionDenied,
            404 => ErrorKind::ModelNotFound,
            408 | 504 => ErrorKind::Timeout,
            413 => ErrorKind::TooLarge,
            424 => ErrorKind::ModelError,
            429 => ErrorKind::RateLimited,
            401 | 405 | 407 => ErrorKind::BadUpstream,
            400..500 => ErrorKind::InvalidRequest,
            500 => ErrorKind::UpstreamInternal,
            503 | 529 => ErrorKind::Unavailable,
            _ => ErrorKind::BadUpstream,
        }
    }

    /// What to say of an upstream's error that says nothing itself.
    #[must_use]
    pub fn in_general(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest => "the model provider refused the request",
            ErrorKind::ContextLengthExceeded => "the conversation is too long for the model",
            ErrorKind::PermissionDenied => "the model provider does not allow the use of this model",
            ErrorKind::ModelNotFound => "the model provider does not know this model",
            ErrorKind::TooLarge => "the request is too large for the model provider",
            ErrorKind::RateLimited => "the model provider's rate limit is reached",
            ErrorKind::UpstreamInternal => "the model provider reports a fault of its own",
            ErrorKind::ModelError => "the model failed while it worked on the request",
            ErrorKind::Unavailable => "the model provider is temporarily unavailable",
            ErrorKind::ModelNotReady => "the model is not ready yet",
            ErrorKind::Timeout => "the model took too long to answer",
            _ => "the model provider's answer could not be used",
        }
    }

    /// Every kind, for table tests.
    pub const ALL: [ErrorKind; 21] = [
        ErrorKind::InvalidRequest,
        ErrorKind::ContextLengthExceeded,
        ErrorKind::MissingCredentials,
        ErrorKind::Authentication,
        ErrorKind::InvalidSignature,
        ErrorKind::PermissionDenied,
        ErrorKind::NotFound,
        ErrorKind::ModelNotFound,
        ErrorKind::MethodNotAllowed,
        ErrorKind::RequestTimeout,
        ErrorKind::TooLarge,
        ErrorKind::RateLimited,
        ErrorKind::QuotaExceeded,
        ErrorKind::Internal,
        ErrorKind::UpstreamInternal,
        ErrorKind::BadUpstream,
        ErrorKind::ModelError,
        ErrorKind::Unavailable,
        ErrorKind::ModelNotReady,
        ErrorKind::NotConfigured,
        ErrorKind::Timeout,
    ];
}

/// An error on its way to a client. Its text is safe to show: no keys, account ids or host names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The HTTP status to answer with.
    pub status: u16,
    /// One or two sentences for a person.
    pub message: Cow<'static, str>,
    /// The request member that is wrong, such as `messages[2].content`.
    pub param: Option<Cow<'static, str>>,
    /// The upstream's or our own `retry-after` header, as it came.
    pub retry_after: Option<String>,
}

impl ApiError {
    /// An error of a kind, with the kind's own status.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        ApiError { kind, status: kind.status(), message: message.into(), param: None, retry_after: None }
    }

    /// A 400 that names the member that is wrong.
    #[must_use]
    pub fn invalid(param: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        ApiError::new(ErrorKind::InvalidRequest, message).with_param(param)
    }

    /// Names the member that is wrong.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }
}
