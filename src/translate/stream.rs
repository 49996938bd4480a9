//! Streamed answers: frames in, the client's events out, and the facts tapped on the way.
//!
//! ```text
//! bytes ─▶ EventDecoder ─▶ Event ─▶ EventEncoder ─▶ bytes
//!                            └─▶ Facts, first content, failure
//! ```

use crate::chat::{ApiError, End, Event, EventDecoder, EventEncoder};
use crate::translate::reframe::Unwrapped;
use crate::translate::{Facts, Translation};

/// One streamed answer on its way.
pub struct Stream {
    decoder: Box<dyn EventDecoder>,
    encoder: Box<dyn EventEncoder>,
    facts: Facts,
    progress: Progress,
    /// Content has been written, whatever came behind it.
    content: bool,
}

/// One streamed answer, however it is written for the client.
#[derive(Debug)]
pub enum Flow {
    /// From one dialect into another.
    Translated(Stream),
    /// The same dialect in another framing.
    Reframed(Unwrapped),
}

macro_rules! each {
    ($flow:expr, $stream:ident => $do:expr) => {
        match $flow {
            Flow::Translated($stream) => $do,
            Flow::Reframed($stream) => $do,
        }
    };
}

impl Flow {
    /// Reads upstream bytes as they come, cut anywhere, and appends what the client gets. `elapsed_ms` is how long the answer has taken so far.
    pub fn push(&mut self, bytes: &[u8], elapsed_ms: u64, out: &mut Vec<u8>) {
        if let Flow::Translated(stream) = self {
            stream.clock(elapsed_ms);
        }
        each!(self, stream => stream.push(bytes, out));
    }

    /// The upstream's body has ended where its framing says so. Appends the terminator, or the error event if the answer is not complete.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        each!(self, stream => stream.finish(out));
    }

    /// The upstream's body was cut, timed out or could not be sent on: appends the client's error event. Does nothing after an end.
    pub fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        each!(self, stream => stream.fail(error, out));
    }

    /// The whole answer, once it is complete, if it is one that is kept.
    pub fn take_kept(&mut self) -> Option<Vec<u8>> {
        match self {
            Flow::Translated(stream) => stream.encoder.take_kept(),
            Flow::Reframed(_) => None,
        }
    }

    /// How far the stream has come.
    pub fn progress(&self) -> &Progress {
        each!(self, stream => stream.progress())
    }

    /// Whether content has been written: also when the same bytes brought a failure behind it.
    pub fn has_content(&self) -> bool {
        each!(self, stream => stream.has_content())
    }

    /// What was learned so far.
    pub fn facts(&self) -> Facts {
        each!(self, stream => stream.facts())
    }
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

impl Translation {
    /// Starts a stream in the client's dialect.
    pub fn stream(&self) -> Stream {
        Stream::new(self.api.decoder(self.restore.clone()), self.client.encoder(&self.envelope))
    }
}

impl Stream {
    /// A stream from one dialect into another.
    pub fn new(decoder: Box<dyn EventDecoder>, encoder: Box<dyn EventEncoder>) -> Self {
        Stream { decoder, encoder, facts: Facts::default(), progress: Progress::Opening, content: false }
    }

    /// Tells how long the answer has taken so far.
    pub fn clock(&mut self, elapsed_ms: u64) {
        self.encoder.clock(elapsed_ms);
    }

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
