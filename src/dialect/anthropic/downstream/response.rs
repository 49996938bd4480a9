//! Stub.
use crate::chat::{Envelope, Response};
use crate::dialect::anthropic::Style;

/// Stub.
pub fn encode(_response: &Response<'_>, _envelope: &Envelope, _style: &Style, _out: &mut Vec<u8>) {}
