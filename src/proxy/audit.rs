//! The bodies of a request, kept for its line in the audit log: what the client sent and what it got, up to a bound. Nobody else reads them.

use bytes::Bytes;
use http::HeaderMap;

use crate::config::snapshot::{AuditBodies, Overload, Process};
use crate::ops::access_log::Line;
use crate::ops::audit::Entry;
use crate::ops::audit::line::{self, json};
use crate::ops::load::Held;
use crate::proxy::{Shared, headers};
use crate::translate::audit::{Body, Telling, write};

/// What is kept of one request.
#[derive(Debug)]
pub(super) struct Bodies {
    telling: Telling,
    /// Bytes of each body at most.
    most: usize,
    /// Counts what is kept with all other bodies of the process.
    held: Held,
    bounds: Overload,
    asked: Option<Asked>,
    /// The beginning of the answer, without a gap.
    answer: Vec<u8>,
    /// Bytes of all of it.
    answer_bytes: u64,
    /// There was no room for a piece: none behind it is kept.
    is_full: bool,
}

/// What the client sent.
#[derive(Debug)]
enum Asked {
    /// As it came, or its beginning.
    Raw { bytes: Bytes, total: u64, media_type: String },
    /// Without its content, which may be much more.
    Told(Vec<u8>),
}

impl Bodies {
    /// Nothing, where the log holds no bodies or there is none.
    pub(super) fn begin(shared: &Shared, process: &Process) -> Option<Box<Self>> {
        let audit = process.audit.as_ref()?;
        let telling = match audit.bodies {
            AuditBodies::None => return None,
            AuditBodies::Redacted => Telling::Redacted,
            AuditBodies::Full => Telling::Full,
        };
        // Lines that wait for a disk must not keep requests out: the other half is theirs.
        let bounds = Overload { max_buffered_bytes: process.overload.max_buffered_bytes / 2, ..process.overload };
        shared.audit.is_kept().then(|| Box::new(Bodies::new(telling, audit.max_body_bytes, shared.load.held(), bounds)))
    }

    fn new(telling: Telling, most: usize, held: Held, bounds: Overload) -> Self {
        Bodies { telling, most, held, bounds, asked: None, answer: Vec::new(), answer_bytes: 0, is_full: false }
    }

    /// The body of the request is there. A log is no reason to refuse a request: where there is no room for it, it is cut.
    pub(super) fn asks(&mut self, body: &Bytes, headers: &HeaderMap) {
        let media_type = headers::text(headers, "content-type").unwrap_or_default();
        let total = body.len() as u64;
        let asked = match self.telling {
            _ if body.is_empty() => return,
            Telling::Full => {
                let bytes = body.get(..self.most).map_or_else(|| body.clone(), Bytes::copy_from_slice);
                Asked::Raw { bytes, total, media_type: media_type.to_owned() }
            }
            Telling::Redacted => {
                let mut told = Vec::new();
                write(&Body { bytes: body, total, media_type }, self.telling, self.most, &mut told);
                Asked::Told(told)
            }
        };
        let fits = self.held.hold(asked.length(), &self.bounds).is_ok();
        self.asked = Some(if fits { asked } else { Asked::Raw { bytes: Bytes::new(), total, media_type: media_type.to_owned() } });
    }

    /// A piece of the answer's body is on its way to the client.
    pub(super) fn answers(&mut self, piece: &[u8]) {
        self.answer_bytes += piece.len() as u64;
        let room = self.most.saturating_sub(self.answer.len());
        let kept = piece.get(..room).unwrap_or(piece);
        if self.is_full || kept.is_empty() {
            return;
        }
        self.is_full = self.held.hold(kept.len(), &self.bounds).is_err();
        if !self.is_full {
            self.answer.extend_from_slice(kept);
        }
    }

    /// The line with what is told of both. `answer_type` is the media type that the client was told.
    pub(super) fn into_entry(mut self, record: &Line<'_>, answer_type: &str) -> Entry {
        let tell = |bytes: &[u8], total, media_type: &str| {
            let mut told = Vec::new();
            write(&Body { bytes, total, media_type }, self.telling, self.most, &mut told);
            told
        };
        let request = self.asked.take().map(|asked| match asked {
            Asked::Told(told) => told,
            Asked::Raw { bytes, total, media_type } => tell(&bytes, total, &media_type),
        });
        let response = (self.answer_bytes > 0).then(|| tell(&self.answer, self.answer_bytes, answer_type));
        // Both are JSON of our own making.
        let text = |told: Vec<u8>| String::from_utf8(told).ok();
        let (request, response) = (request.and_then(text), response.and_then(text));
        let line = json(record, line::Bodies { request: request.as_deref(), response: response.as_deref() });
        self.held.keep(line.len());
        Entry { line, held: Some(self.held) }
    }
}

impl Asked {
    fn length(&self) -> usize {
        match self {
            Asked::Raw { bytes, .. } => bytes.len(),
            Asked::Told(told) => told.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::ops::access_log::tests::line;
    use crate::ops::load::Load;

    const HELLO: &[u8] = br#"{"content":"Hello"}"#;

    /// The bodies of a line whose client sent `HELLO` and got it, in two pieces; what is held before there is a line, with it and behind it.
    fn exchange(telling: Telling, most: usize, room: u64) -> (Value, [u64; 3]) {
        let load = Arc::new(Load::default());
        let mut bodies = Bodies::new(telling, most, load.held(), Overload { max_requests: 1, max_buffered_bytes: room });
        bodies.asks(&Bytes::from_static(HELLO), &HeaderMap::new());
        let (one, other) = HELLO.split_at(7);
        bodies.answers(one);
        bodies.answers(other);
        let before = load.bytes();
        let entry = bodies.into_entry(&line(), "application/json");
        let line = serde_json::from_str(&entry.line).unwrap();
        let waiting = load.bytes();
        assert_eq!(waiting, entry.line.len() as u64, "a line counts as long as it waits");
        drop(entry);
        (line, [before, waiting, load.bytes()])
    }

    #[test]
    fn bodies_count_until_their_line_is_written() {
        let (line, held) = exchange(Telling::Full, 100, 1000);
        assert_eq!((held[0], held[2]), (2 * HELLO.len() as u64, 0));
        for name in ["request", "response"] {
            assert_eq!((&line[name]["json"]["content"], &line[name]["cut_bytes"]), (&Value::from("Hello"), &Value::from(0)), "{name}");
        }
        let (line, held) = exchange(Telling::Redacted, 100, 1000);
        assert!(held[1] > 0 && held[2] == 0);
        assert_eq!((&line["request"]["json"]["content"], &line["response"]["json"]["content"]), (&"<5 chars>".into(), &"<5 chars>".into()));
    }

    #[test]
    fn what_is_over_the_bound_of_a_body_or_of_the_process_is_cut() {
        let (line, held) = exchange(Telling::Full, 10, 1000);
        assert_eq!((held[0], held[2]), (20, 0), "no more than is told is held");
        for name in ["request", "response"] {
            assert_eq!((&line[name]["text"], &line[name]["cut_bytes"]), (&Value::from(r#"{"content""#), &Value::from(9)), "{name}");
        }
        // The request fits into the house, and one piece of the answer.
        let (line, held) = exchange(Telling::Full, 100, HELLO.len() as u64 + 7);
        assert_eq!((held[0], held[2]), (HELLO.len() as u64 + 7, 0));
        assert_eq!((&line["request"]["cut_bytes"], &line["response"]["text"]), (&Value::from(0), &Value::from(r#"{"conte"#)));
        for telling in [Telling::Full, Telling::Redacted] {
            let (line, held) = exchange(telling, 100, 0);
            assert_eq!((held[0], held[2]), (0, 0));
            for name in ["request", "response"] {
                assert_eq!((&line[name]["bytes"], &line[name]["cut_bytes"]), (&Value::from(HELLO.len()), &Value::from(HELLO.len())), "{name}");
            }
        }
    }

    #[test]
    fn nothing_is_told_of_bodies_that_are_not_there() {
        let mut bodies = Bodies::new(Telling::Full, 9, Arc::new(Load::default()).held(), Overload { max_requests: 1, max_buffered_bytes: 9 });
        bodies.asks(&Bytes::new(), &HeaderMap::new());
        bodies.answers(b"");
        let line: Value = serde_json::from_str(&bodies.into_entry(&line(), "").line).unwrap();
        assert_eq!((&line["request"], &line["response"]), (&Value::Null, &Value::Null));
    }
}
