//! Stub.
use crate::chat::ApiError;

/// Stub.
pub fn encode(_error: &ApiError, _request_id: Option<&str>, _out: &mut Vec<u8>) {}
