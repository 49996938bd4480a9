//! Stub.
use crate::chat::{ApiError, Encoded, ErrorKind, Options, Request};

/// Stub.
///
/// # Errors
/// Always.
pub fn encode(_request: &Request<'_>, _options: &Options<'_>) -> Result<Encoded, ApiError> {
    Err(ApiError::new(ErrorKind::Internal, "not built"))
}
