//! A response body that follows a script: bytes, waits, and breaking off.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::journal::Delivery;
use super::knobs::{Hold, Knobs};
use super::render::Frames;

/// One thing to do.
#[derive(Debug)]
enum Step {
    /// Hand over bytes, and with them so many whole frames.
    Write(Bytes, usize),
    /// Let the connection send what it has.
    Flush,
    Wait(Duration),
    /// Wait until a test says so.
    Hold,
    /// Break the connection.
    Break,
}

/// The connection was broken off because a knob said so.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox was asked to break the connection")]
pub(super) struct Broken;

/// The body.
///
/// ```text
///  Write ──▶ the connection takes the bytes ──▶ next step … ──▶ no step left: complete
///  Wait, Hold, Flush ──▶ pending, so that the connection sends what it has
///  Break ──▶ an error: the connection ends without an end of the body
///  dropped with steps left ──▶ the peer has left
/// ```
pub(super) struct Script {
    steps: VecDeque<Step>,
    /// What is waited for.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The length, where the head says it.
    length: Option<u64>,
    delivery: Option<Delivery>,
}

impl Script {
    /// A body that no knob changes.
    pub(super) fn plain(bytes: impl Into<Bytes>, delivery: Option<Delivery>) -> Self {
        let bytes = bytes.into();
        let length = Some(bytes.len() as u64);
        Script { steps: VecDeque::from([Step::Write(bytes, 0)]), waiting: None, length, delivery }
    }

    /// A JSON answer: it may be cut in its middle, or leave in small pieces.
    pub(super) fn json(mut bytes: Vec<u8>, knobs: &Knobs, delivery: Delivery) -> Self {
        let length = bytes.len();
        if knobs.corrupt.is_some()
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        let breaks = knobs.cut.is_some() || knobs.tear.is_some();
        let mut run = Run::new(Bytes::from(bytes), Vec::new(), knobs.chunk);
        run.reach(if breaks { length / 2 } else { length });
        let mut steps = run.finish();
        if breaks {
            steps.extend([Step::Flush, Step::Break]);
        }
        Script { steps, waiting: None, length: Some(length as u64), delivery: Some(delivery) }
    }

    /// A stream: frame by frame, with the waits and breaks of the knobs.
    pub(super) fn stream(frames: Frames, knobs: &Knobs, delivery: Delivery) -> Self {
        let first_content = frames.first_content();
        let (bytes, ends) = frames.into_parts();
        let count = knobs.cut.or(knobs.tear).unwrap_or(usize::MAX).min(ends.len());
        let torn = knobs.tear.and_then(|_| ends.get(count)).copied();
        let mut run = Run::new(bytes, ends, knobs.chunk);
        for index in 0..count {
            if let Some(pause) = knobs.pause.filter(|_| index > 0) {
                run.wait(if pause.is_zero() { Step::Flush } else { Step::Wait(pause) });
            }
            run.reach_frame(index);
            if index + 1 == first_content {
                if !knobs.stall.is_zero() {
                    run.wait(Step::Wait(knobs.stall));
                }
                if knobs.hold == Some(Hold::First) {
                    run.wait(Step::Hold);
                }
            }
        }
        if let Some(end) = torn {
            run.reach(run.reached.midpoint(end));
        }
        let mut steps = run.finish();
        if knobs.cut.is_some() || knobs.tear.is_some() {
            steps.extend([Step::Flush, Step::Break]);
        }
        Script { steps, waiting: None, length: None, delivery: Some(delivery) }
    }

    fn complete(&mut self) {
        if let Some(delivery) = self.delivery.take() {
            delivery.complete();
        }
    }
}

/// Cuts bytes into writes: at the ends of frames, or, if a knob says so, after so many bytes wherever frames end.
struct Run {
    bytes: Bytes,
    ends: Vec<usize>,
    chunk: Option<usize>,
    /// What has become steps; `written <= reached <= bytes.len()`.
    written: usize,
    /// What may leave before the next wait.
    reached: usize,
    steps: VecDeque<Step>,
}

impl Run {
    fn new(bytes: Bytes, ends: Vec<usize>, chunk: Option<usize>) -> Self {
        Run { bytes, ends, chunk, written: 0, reached: 0, steps: VecDeque::new() }
    }

    /// Everything up to `end` may leave.
    fn reach(&mut self, end: usize) {
        self.reached = end.clamp(self.reached, self.bytes.len());
        if self.chunk.is_none() {
            self.write(self.reached);
        }
    }

    /// The frame of that index may leave.
    fn reach_frame(&mut self, index: usize) {
        if let Some(end) = self.ends.get(index) {
            self.reach(*end);
        }
    }

    /// What may leave leaves before the wait.
    fn wait(&mut self, step: Step) {
        self.write_chunks();
        self.steps.push_back(step);
    }

    fn write_chunks(&mut self) {
        let chunk = self.chunk.unwrap_or(usize::MAX);
        while self.written < self.reached {
            self.write(self.written.saturating_add(chunk).min(self.reached));
            self.steps.push_back(Step::Flush);
        }
    }

    fn write(&mut self, end: usize) {
        let ended = |at: usize| self.ends.partition_point(|end| *end <= at);
        let frames = ended(end) - ended(self.written);
        self.steps.push_back(Step::Write(self.bytes.slice(self.written..end), frames));
        self.written = end;
    }

    fn finish(mut self) -> VecDeque<Step> {
        self.write_chunks();
        self.steps
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                std::task::ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            match self.steps.pop_front() {
                Some(Step::Write(bytes, frames)) => {
                    if let Some(delivery) = &self.delivery {
                        delivery.wrote(&bytes, frames);
                    }
                    if self.steps.is_empty() {
                        // The connection may not ask again.
                        self.complete();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Wait(time)) => self.waiting = Some(Box::pin(tokio::time::sleep(time))),
                Some(Step::Hold) => self.waiting = self.delivery.as_ref().map(|delivery| Box::pin(delivery.hold()) as Pin<Box<dyn Future<Output = ()> + Send>>),
                Some(Step::Break) => {
                    if let Some(delivery) = self.delivery.take() {
                        delivery.broken();
                    }
                    return Poll::Ready(Some(Err(Broken)));
                }
                None => {
                    self.complete();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
