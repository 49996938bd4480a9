//! Stub.
use crate::chat::{ApiError, ErrorKind};

/// Stub.
pub fn encode(_error: &ApiError, _out: &mut Vec<u8>) {}

/// Stub.
#[must_use]
pub fn name(_kind: ErrorKind) -> &'static str {
    ""
}
