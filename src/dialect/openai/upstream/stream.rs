//! Stub.
use crate::chat::{ApiError, End, ErrorKind, Event, EventDecoder, Restore};

/// Stub.
#[derive(Debug)]
pub struct Decoder {
    restore: Restore,
}

impl Decoder {
    /// Stub.
    #[must_use]
    pub fn new(restore: Restore) -> Self {
        Decoder { restore }
    }
}

impl EventDecoder for Decoder {
    fn push(&mut self, _bytes: &[u8], _events: &mut dyn FnMut(Event<'_>)) {
        let _ = &self.restore;
    }

    fn finish(&mut self) -> End {
        End::Failed(ApiError::new(ErrorKind::Internal, "not built"))
    }
}
