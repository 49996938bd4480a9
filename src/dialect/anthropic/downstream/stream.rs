//! Stub.
use crate::chat::{End, Envelope, Event, EventEncoder};
use crate::dialect::anthropic::Style;

/// Stub.
#[derive(Debug)]
pub struct Encoder {}

impl Encoder {
    /// Stub.
    #[must_use]
    pub fn new(_envelope: &Envelope, _style: &Style) -> Self {
        Encoder {}
    }
}

impl EventEncoder for Encoder {
    fn event(&mut self, _event: &Event<'_>, _out: &mut Vec<u8>) {}
    fn finish(&mut self, _end: &End, _out: &mut Vec<u8>) {}
}
