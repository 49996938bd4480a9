//! Stub.
use crate::chat::{End, Event, EventEncoder};

/// Stub.
#[derive(Debug, Default)]
pub struct Encoder {}

impl Encoder {
    /// Stub.
    #[must_use]
    pub fn new() -> Self {
        Encoder {}
    }
}

impl EventEncoder for Encoder {
    fn event(&mut self, _event: &Event<'_>, _out: &mut Vec<u8>) {}
    fn finish(&mut self, _end: &End, _out: &mut Vec<u8>) {}
}
