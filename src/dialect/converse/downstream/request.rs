//! Stub.
use crate::chat::{ApiError, ErrorKind, Request};

/// Stub.
///
/// # Errors
/// Always.
pub fn decode<'a>(_model: &'a str, _body: &'a str) -> Result<Request<'a>, ApiError> {
    Err(ApiError::new(ErrorKind::Internal, "not built"))
}
