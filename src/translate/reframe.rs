//! One dialect in another framing: Anthropic's events out of the frames of InvokeModelWithResponseStream and into them. Nothing is translated: what an event
//! says passes byte for byte, so that what Anthropic adds tomorrow passes too.
//!
//! Bedrock puts `amazon-bedrock-invocationMetrics` into the last event: it is taken out for the client and read for the account.

use crate::chat::{ApiError, End, ErrorKind, Event, EventEncoder, Usage};
use crate::dialect::{anthropic, converse};
use crate::translate::Facts;
use crate::translate::stream::Progress;
use crate::wire::envelope;
use crate::wire::eventstream::{self, Frame, Parser};
use crate::wire::json::{Edit, Raw, pick, splice};
use crate::wire::sse;

/// The member with token counts that Bedrock adds to the last event.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// InvokeModelWithResponseStream → server-sent events.
///
/// ```text
/// Opening ──content_block_…, message_delta──▶ Content ──message_stop──▶ (stopped) ──end of body──▶ Ended
///    └───────────────────────┴── exception, broken frame, end of body too early ──▶ Failed
/// ```
#[derive(Debug)]
pub struct Unwrapped {
    parser: Parser,
    /// The event at hand; kept for its memory.
    event: Vec<u8>,
    tap: anthropic::upstream::stream::UsageTap,
    progress: Progress,
    content: bool,
    /// `message_stop` has come.
    stopped: bool,
    facts: Facts,
}

impl Default for Unwrapped {
    fn default() -> Self {
        Unwrapped {
            parser: Parser::new(),
            event: Vec::new(),
            tap: anthropic::upstream::stream::UsageTap::new(),
            progress: Progress::Opening,
            content: false,
            stopped: false,
            facts: Facts::default(),
        }
    }
}

impl Unwrapped {
    /// Reads upstream bytes as they come, cut anywhere, and appends the client's events. A failure inside the stream is written as the client's error event.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if !self.open() {
            return;
        }
        // The parser lends its frames: it is put aside while they are read.
        let mut parser = std::mem::take(&mut self.parser);
        {
            let mut frames = parser.push(bytes);
            while self.open() {
                match frames.next_frame() {
                    Ok(Some(frame)) => self.frame(&frame, out),
                    Ok(None) => break,
                    Err(_) => self.fail(ApiError::new(ErrorKind::BadUpstream, "The model provider's stream could not be read."), out),
                }
            }
        }
        self.parser = parser;
    }

    /// The upstream's body has ended where its framing says so.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.open() {
            return;
        }
        if self.stopped && self.parser.finish().is_ok() {
            self.progress = Progress::Ended;
        } else {
            self.fail(ApiError::new(ErrorKind::BadUpstream, "The model provider's stream ended before the answer did."), out);
        }
    }

    /// The stream cannot go on: appends the client's error event. Does nothing after an end.
    pub fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if self.open() {
            sse::write_event(out, "error", |out| anthropic::downstream::error::encode(&error, None, out));
            self.progress = Progress::Failed(error);
        }
    }

    /// How far the stream has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether content has been written.
    pub fn has_content(&self) -> bool {
        self.content
    }

    /// What was learned so far.
    pub fn facts(&self) -> Facts {
        Facts { usage: self.facts.usage.or_else(|| self.tap.usage()), stop: self.tap.stop(), ..self.facts }
    }

    /// Whether no frame is half read.
    pub fn is_between_frames(&self) -> bool {
        self.parser.is_empty()
    }

    fn open(&self) -> bool {
        matches!(self.progress, Progress::Opening | Progress::Content)
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        match frame.message_type() {
            Some(eventstream::EXCEPTION) => {
                self.fail(converse::upstream::error::exception(frame.exception_type().unwrap_or_default(), frame.payload), out);
            }
            Some(eventstream::ERROR) => {
                let (code, message) = (frame.header(eventstream::ERROR_CODE), frame.header(eventstream::ERROR_MESSAGE));
                self.fail(converse::upstream::error::unmodelled(code, message), out);
            }
            _ if frame.event_type() == Some(envelope::CHUNK) => {
                let mut event = std::mem::take(&mut self.event);
                event.clear();
                match envelope::open(frame.payload, &mut event) {
                    Ok(()) => self.chunk(&event, out),
                    Err(_) => self.facts.unknown_events = self.facts.unknown_events.saturating_add(1),
                }
                self.event = event;
            }
            _ => self.facts.unknown_events = self.facts.unknown_events.saturating_add(1),
        }
    }

    /// One event of the model's own API.
    fn chunk(&mut self, event: &[u8], out: &mut Vec<u8>) {
        let picked = std::str::from_utf8(event).ok().and_then(|text| Some((text, pick(text, ["type", METRICS]).ok()?)));
        let Some((text, [kind, metrics])) = picked else {
            self.facts.unknown_events = self.facts.unknown_events.saturating_add(1);
            return;
        };
        if let Some(metrics) = metrics {
            self.facts.usage = self::metrics(metrics).or(self.facts.usage);
        }
        // What has no type is for the account only, and so is what follows the end.
        let Some(kind) = kind.filter(|_| !self.stopped).and_then(|kind| kind.text()) else { return };
        let kind = kind.escaped();
        if !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.facts.unknown_events = self.facts.unknown_events.saturating_add(1);
            return;
        }
        let start = out.len();
        sse::write_event(out, kind, |out| {
            let without = metrics.and_then(|_| splice(text, &[Edit::Remove(METRICS)]).ok());
            // A line break would end the data. In JSON it stands between tokens only, where a space does as well.
            out.extend(without.as_deref().unwrap_or(event).iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        });
        self.tap.push(out.get(start..).unwrap_or_default());
        match kind {
            "message_stop" => self.stopped = true,
            "error" => self.progress = Progress::Failed(anthropic::upstream::error::decode(500, None, event)),
            _ => {}
        }
        if self.open() && (kind.starts_with("content_block") || kind == "message_delta" || kind == "message_stop") {
            self.progress = Progress::Content;
            self.content = true;
        }
    }
}

/// `{"inputTokenCount":7,"outputTokenCount":3,…}`: the count of the input leaves cached tokens out.
fn metrics(raw: Raw<'_>) -> Option<Usage> {
    let names = ["inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"];
    let [input, output, read, write] = pick(raw.as_str(), names).ok()?.map(|count| count.and_then(|count| count.as_str().parse().ok()));
    Some(Usage {
        input_tokens: input?,
        output_tokens: output?,
        cache_read_tokens: read.unwrap_or(0),
        cache_write_tokens: write.unwrap_or(0),
        ..Usage::default()
    })
}

/// Server-sent events of Anthropic's dialect → the envelope of InvokeModelWithResponseStream.
pub struct Enveloped {
    inner: Box<dyn EventEncoder>,
    parser: sse::Parser,
    events: Vec<u8>,
}

impl Enveloped {
    /// Puts what an encoder writes into envelopes.
    #[must_use]
    pub fn new(inner: Box<dyn EventEncoder>) -> Self {
        Enveloped { inner, parser: sse::Parser::new(), events: Vec::new() }
    }

    fn wrap(&mut self, out: &mut Vec<u8>) {
        // Whole events, written a moment ago: none is too long or cut.
        let _ = self.parser.push(&self.events, |event| envelope::write_chunk(out, event.data));
        self.events.clear();
    }
}

impl EventEncoder for Enveloped {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if let Event::Failed(error) = event {
            return self.finish(&End::Failed(error.clone()), out);
        }
        self.inner.event(event, &mut self.events);
        self.wrap(out);
    }

    fn finish(&mut self, end: &End, out: &mut Vec<u8>) {
        self.inner.finish(end, &mut self.events);
        match end {
            End::Complete => self.wrap(out),
            // The inner encoder knows whether there was an end before; what it says of a failure is said by a frame here.
            End::Failed(_) if self.events.is_empty() => {}
            End::Failed(_) => {
                self.events.clear();
                converse::downstream::stream::Encoder::new().finish(end, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_message_stop_and_what_is_told_there_counts() {
        let mut frames = Vec::new();
        for event in [
            r#"{"type":"message_start","message":{"usage":{"input_tokens":1,"output_tokens":1}}}"#,
            r#"{"type":"message_stop"}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"ping"}"#,
            r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":7,"outputTokenCount":3}}"#,
        ] {
            envelope::write_chunk(&mut frames, event.as_bytes());
        }
        let mut out = Vec::new();
        let mut stream = Unwrapped::default();
        stream.push(&frames, &mut out);
        stream.finish(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");
        assert_eq!(*stream.progress(), Progress::Ended);
        assert_eq!(stream.facts().usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((7, 3)));
    }
}
