//! What a streamed answer costs and why it ended, read off the bytes of one that is passed on as it is.

use super::{MessageStop, Metadata};
use crate::chat::Usage;
use crate::dialect::converse::upstream::answer::{Additional, stop_reason};
use crate::wire::eventstream::Parser;

/// Looks at a ConverseStream that passes by. Of the payloads it reads `messageStop` and `metadata` alone; bytes that are no event stream end its reading and
/// nothing else.
#[derive(Debug, Default)]
pub struct UsageTap {
    parser: Parser,
    usage: Option<Usage>,
    stop: Option<&'static str>,
    /// Came with `messageStop`, belongs to the usage that comes behind it.
    reasoning_tokens: Option<u64>,
}

impl UsageTap {
    /// A tap at the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at bytes as they come, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut frames = self.parser.push(bytes);
        // A broken frame stays broken: the parser says so each time and keeps nothing.
        while let Ok(Some(frame)) = frames.next_frame() {
            match frame.event_type() {
                Some("messageStop") => {
                    if let Ok(event) = serde_json::from_slice::<MessageStop<'_>>(frame.payload) {
                        self.stop = Some(stop_reason(event.stop_reason).as_str());
                        self.reasoning_tokens = Additional::read(event.additional_model_response_fields).reasoning_tokens;
                    }
                }
                Some("metadata") => {
                    if let Ok(Metadata { usage: Some(usage), .. }) = serde_json::from_slice(frame.payload) {
                        self.usage = Some(usage.read(self.reasoning_tokens));
                    }
                }
                // Content, and what nobody knows.
                _ => {}
            }
        }
    }

    /// Whether no frame is half read.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.parser.is_empty()
    }

    /// The tokens, once they were told.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Why the model stopped, once it did, by [`StopReason::as_str`](crate::chat::StopReason::as_str).
    #[must_use]
    pub fn stop(&self) -> Option<&'static str> {
        self.stop
    }
}
