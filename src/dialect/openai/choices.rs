//! Several answers to one request as one stream, in any API whose chunks say which answer they belong to.

use crate::chat::{ApiError, End, ErrorKind, Event, EventEncoder, Usage};

/// The stream of one answer of several.
pub trait Choice: EventEncoder {
    /// Makes sure that its beginning is written; says no when the answer is over.
    fn open(&mut self, out: &mut Vec<u8>) -> bool;

    /// Whether it has written why it stopped.
    fn is_stopped(&self) -> bool;

    /// Writes token counts, where the client wants them.
    fn count(&mut self, usage: &Usage, out: &mut Vec<u8>);

    /// Ends the stream with an error.
    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>);

    /// Ends it without a word: another one has the last.
    fn silence(&mut self);
}

/// Writes several answers to one request as one stream: their chunks as they come, each with its choice's number, their tokens added up behind the last.
#[derive(Debug)]
pub struct Choices<E> {
    encoders: Vec<E>,
    usage: Option<Usage>,
    /// The beginnings are written.
    opened: bool,
}

impl<E: Choice> Choices<E> {
    /// One stream of these.
    #[must_use]
    pub fn new(encoders: Vec<E>) -> Self {
        Choices { encoders, usage: None, opened: false }
    }

    /// Appends what the client gets for one event of one answer.
    pub fn event(&mut self, choice: usize, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Usage { usage, .. } => self.usage = Some(self.usage.map_or(*usage, |sum| sum.plus(*usage))),
            Event::Failed(error) => self.finish(&End::Failed(error.clone()), out),
            event => {
                // Clients put choices into a list as they come: all of them begin, in order, before one goes on.
                if !std::mem::replace(&mut self.opened, true) {
                    self.encoders.iter_mut().for_each(|encoder| _ = encoder.open(out));
                }
                if let Some(encoder) = self.encoders.get_mut(choice) {
                    encoder.event(event, out);
                }
            }
        }
    }

    /// Appends the end of the stream: complete once every answer has stopped, else an error. Calling it again writes nothing.
    pub fn finish(&mut self, end: &End, out: &mut Vec<u8>) {
        let stopped = self.encoders.iter().all(Choice::is_stopped);
        let usage = self.usage.take();
        let Some((first, others)) = self.encoders.split_first_mut() else { return };
        match end {
            End::Complete if stopped => {
                if let Some(usage) = usage {
                    first.count(&usage, out);
                }
                first.finish(end, out);
            }
            End::Complete => first.fail(&ApiError::new(ErrorKind::BadUpstream, "The upstream's answer ended early."), out),
            End::Failed(error) => first.fail(error, out),
        }
        others.iter_mut().for_each(Choice::silence);
    }
}
