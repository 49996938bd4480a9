//! Streamed answers: frames in, the client's events out, and the facts tapped on the way.
//!
//! ```text
//! bytes ─▶ EventDecoder ─▶ Event ─▶ EventEncoder ─▶ bytes
//!                            └─▶ Facts, first content, failure
//! ```

use crate::chat::{ApiError, End, Event, EventDecoder, EventEncoder};
use crate::dialect::{converse, openai};
use crate::translate::{Answer, Facts};

/// One streamed answer on its way.
pub struct Stream {
    decoder: Box<dyn EventDecoder>,
    encoder: Box<dyn EventEncoder>,
    facts: Facts,
    progress: Progress,
    /// Content has been written, whatever came behind it.
    content: bool,
}

/// How far a stream has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing of the model's own yet: a failure may still be answered with its HTTP status.
    Opening,
    /// The client gets content.
    Content,
    /// The upstream reported an error; the client's error event has been written.
    Failed(ApiError),
    /// The end has been written.
    Ended,
}

impl Answer {
    /// Starts a stream in the client's dialect.
    pub fn stream(&self) -> Stream {
        Stream {
            decoder: Box::new(converse::upstream::stream::Decoder::new(self.restore.clone())),
            encoder: Box::new(openai::downstream::stream::Encoder::new(&self.envelope, &self.style)),
            facts: Facts::default(),
            progress: Progress::Opening,
            content: false,
        }
    }
}

impl Stream {
    /// Translates upstream bytes as they come, cut anywhere, and appends what the client gets. A failure inside the stream is written as the client's error
    /// event; nothing follows it.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Stream { decoder, encoder, facts, progress, content } = self;
        if !matches!(progress, Progress::Opening | Progress::Content) {
            return;
        }
        decoder.push(bytes, &mut |event| {
            if matches!(progress, Progress::Failed(_)) {
                return;
            }
            match &event {
                Event::Stop { reason, .. } => facts.stopped(reason),
                Event::Usage { usage, .. } => facts.usage = Some(*usage),
                Event::Unknown => facts.unknown_events = facts.unknown_events.saturating_add(1),
                Event::Failed(error) => {
                    encoder.finish(&End::Failed(error.clone()), out);
                    *progress = Progress::Failed(error.clone());
                    return;
                }
                _ => {}
            }
            if event.is_content() {
                *progress = Progress::Content;
                *content = true;
            }
            encoder.event(&event, out);
        });
    }

    /// The upstream's body has ended where its framing says so. Appends the terminator, or the error event if the answer is not complete.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.progress, Progress::Opening | Progress::Content) {
            return;
        }
        match self.decoder.finish() {
            End::Complete => {
                self.encoder.finish(&End::Complete, out);
                self.progress = Progress::Ended;
            }
            End::Failed(error) => self.fail(error, out),
        }
    }

    /// The upstream's body was cut, timed out or could not be sent on: appends the client's error event. Does nothing after an end.
    pub fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if matches!(self.progress, Progress::Opening | Progress::Content) {
            self.encoder.finish(&End::Failed(error.clone()), out);
            self.progress = Progress::Failed(error);
        }
    }

    /// How far the stream has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether content has been written: also when the same bytes brought a failure behind it, which [`Stream::progress`] then tells.
    pub fn has_content(&self) -> bool {
        self.content
    }

    /// What was learned so far.
    pub fn facts(&self) -> Facts {
        self.facts
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("progress", &self.progress).field("facts", &self.facts).finish_non_exhaustive()
    }
}
