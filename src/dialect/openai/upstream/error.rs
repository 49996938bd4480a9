//! Stub.
use crate::chat::{ApiError, ErrorKind};

/// Stub.
#[must_use]
pub fn decode(status: u16, retry_after: Option<&str>, _body: &[u8]) -> ApiError {
    ApiError { status, retry_after: retry_after.map(str::to_owned), ..ApiError::new(ErrorKind::Internal, "not built") }
}
