//! Stub.
use crate::chat::{ApiError, ErrorKind, Response, Restore};

/// Stub.
///
/// # Errors
/// Always.
pub fn decode<'a>(_body: &'a str, _restore: &'a Restore) -> Result<Response<'a>, ApiError> {
    Err(ApiError::new(ErrorKind::Internal, "not built"))
}
