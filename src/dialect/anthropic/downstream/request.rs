//! Stub.
use crate::chat::{ApiError, ErrorKind, Request};
use crate::dialect::anthropic::Style;

/// Stub.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// What is asked.
    pub request: Request<'a>,
    /// Whether the answer is to come piece by piece.
    pub stream: bool,
    /// The form of the answer.
    pub style: Style,
}

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`: no limit of tokens is needed.
    Count,
    /// Bedrock's InvokeModel: `model` and `stream` are not in the body.
    Invoke,
}

/// Stub.
///
/// # Errors
/// Always.
pub fn decode(_body: &str, _purpose: Purpose) -> Result<Decoded<'_>, ApiError> {
    Err(ApiError::new(ErrorKind::Internal, "not built"))
}
