//! Stub.
use crate::chat::Response;

/// Stub.
pub fn encode(_response: &Response<'_>, _latency_ms: u64, _out: &mut Vec<u8>) {}
