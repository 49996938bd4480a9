//! AWS event-stream framing: `application/vnd.amazon.eventstream`, bytes ⇄ frames.
//!
//! A frame is headers and a payload between two checksums. What the payload means, and which exceptions there are, is the business of whoever reads the
//! frames; this module knows where a frame begins and ends, that it arrived whole, and what its headers say.
//!
//! ```text
//!  0        4        8        12                12+H              T-4       T
//!  ┌────────┬────────┬────────┬─────────────────┬─────────────────┬────────┐
//!  │ total  │headers │ CRC-32 │ headers         │ payload         │ CRC-32 │   integers are unsigned, big-endian;
//!  │ T      │ H      │ 0..8   │ H bytes         │ T-H-16 bytes    │ 0..T-4 │   CRC-32 is the one of zlib
//!  └────────┴────────┴────────┴─────────────────┴─────────────────┴────────┘
//!
//!  one header:  name length (1) │ name │ type (1) │ value
//!  types:       0 true, 1 false │ 2, 3, 4, 5 signed integer of 1, 2, 4, 8 bytes │ 6 bytes, 7 text: length (2) and data │ 8 milliseconds (8) │ 9 UUID (16)
//! ```
//!
//! ```
//! use adit::wire::eventstream::{Parser, write_frame};
//!
//! let mut bytes = Vec::new();
//! write_frame(&mut bytes, &[(":event-type", "messageStop"), (":message-type", "event")], br#"{"stopReason":"end_turn"}"#);
//!
//! let mut parser = Parser::new();
//! for chunk in bytes.chunks(7) {
//!     let mut frames = parser.push(chunk);
//!     while let Some(frame) = frames.next_frame()? {
//!         assert_eq!(frame.event_type(), Some("messageStop"));
//!         assert_eq!(frame.payload, br#"{"stopReason":"end_turn"}"#);
//!     }
//! }
//! parser.finish()?;
//! # Ok::<(), adit::wire::eventstream::Error>(())
//! ```
//!
//! Specification: <https://smithy.io/2.0/aws/amazon-eventstream.html>.

use std::collections::HashSet;

/// The media type of a body of frames.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// The header that says what a frame is: [`EVENT`], [`EXCEPTION`] or [`ERROR`].
pub const MESSAGE_TYPE: &str = ":message-type";
/// The header that names the member of the event union.
pub const EVENT_TYPE: &str = ":event-type";
/// The header that names the modelled exception.
pub const EXCEPTION_TYPE: &str = ":exception-type";
/// The header with the code of an unmodelled failure.
pub const ERROR_CODE: &str = ":error-code";
/// The header with the text of an unmodelled failure.
pub const ERROR_MESSAGE: &str = ":error-message";

/// `:message-type` of an event: its name is in `:event-type`.
pub const EVENT: &str = "event";
/// `:message-type` of a modelled failure: its name is in `:exception-type`.
pub const EXCEPTION: &str = "exception";
/// `:message-type` of an unmodelled failure: code and text are in `:error-code` and `:error-message`, the payload may be empty.
pub const ERROR: &str = "error";

/// The most header bytes a frame may declare: the limit that AWS's own parsers use (128 KiB).
pub const HEADERS_CAP: usize = 128 * 1024;
/// The most payload bytes a frame may declare: the limit that AWS's own parsers use (24 MiB).
pub const PAYLOAD_CAP: usize = 24 * 1024 * 1024;

/// Total length, headers length and their checksum.
const PRELUDE: usize = 12;
/// The checksum behind the payload.
const CHECKSUM: usize = 4;
/// What a frame has beside headers and payload.
const OVERHEAD: usize = PRELUDE + CHECKSUM;
/// A tail buffer that grew beyond this for one large frame is given back once that frame is read.
const KEPT_CAPACITY: usize = 64 * 1024;
/// Up to so many headers are compared one by one for duplicates; Bedrock sends three.
const FEW_HEADERS: usize = 8;

/// What is wrong with the bytes. Nothing behind a broken frame can be trusted: its length may be what is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes 0 to 8 do not have the checksum that follows them.
    #[error("prelude checksum mismatch: the frame says {declared:#010x}, its first 8 bytes have {computed:#010x}")]
    PreludeChecksum {
        /// The checksum in the frame.
        declared: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The frame does not have the checksum at its end.
    #[error("message checksum mismatch: the frame says {declared:#010x}, its bytes have {computed:#010x}")]
    MessageChecksum {
        /// The checksum in the frame.
        declared: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The headers do not fit into the frame, or the frame is shorter than its own prelude and checksum.
    #[error("inconsistent lengths: a frame of {total} bytes with {headers} bytes of headers")]
    Lengths {
        /// Declared length of the whole frame.
        total: u32,
        /// Declared length of the headers.
        headers: u32,
    },
    /// The declared headers are over [`HEADERS_CAP`].
    #[error("{length} bytes of headers, the limit is {HEADERS_CAP}")]
    HeadersTooLong {
        /// Declared length.
        length: usize,
    },
    /// The declared payload is over [`PAYLOAD_CAP`].
    #[error("{length} bytes of payload, the limit is {PAYLOAD_CAP}")]
    PayloadTooLong {
        /// Declared length.
        length: usize,
    },
    /// A header cannot be read.
    #[error("header at byte {at} of the frame: {fault}")]
    Header {
        /// Where the header starts, counted from the start of the frame.
        at: usize,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// The body ended inside a frame.
    #[error("the stream ended inside a frame, with {left} bytes of it")]
    Truncated {
        /// How many bytes there are of the unfinished frame.
        left: usize,
    },
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// It reaches beyond the headers.
    #[error("cut off")]
    Cut,
    /// Its name is not UTF-8.
    #[error("name is not UTF-8")]
    NameText,
    /// Its value is of the type text and not UTF-8.
    #[error("value is not UTF-8")]
    ValueText,
    /// Its value has a type that is not defined.
    #[error("unknown value type {0}")]
    UnknownType(u8),
    /// An earlier header has the same name.
    #[error("duplicate name")]
    Duplicate,
}

/// A header's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Types 0 and 1.
    Bool(bool),
    /// Type 2.
    Int8(i8),
    /// Type 3.
    Int16(i16),
    /// Type 4.
    Int32(i32),
    /// Type 5.
    Int64(i64),
    /// Type 6.
    Bytes(&'a [u8]),
    /// Type 7.
    Text(&'a str),
    /// Type 8: milliseconds since the Unix epoch.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// One frame, both checksums verified and every header readable. Borrowed from the bytes it was parsed from.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// What the frame carries; for Bedrock, JSON.
    pub payload: &'a [u8],
    headers: &'a [u8],
    message_type: Option<&'a str>,
    event_type: Option<&'a str>,
    exception_type: Option<&'a str>,
}

impl<'a> Frame<'a> {
    /// Reads one frame from the start of `bytes`: the frame and its length, `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are no frame, as soon as that can be told: broken lengths are refused with the first 12 bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Error> {
        let Some(lengths) = Lengths::parse(bytes)? else { return Ok(None) };
        let Some(frame) = bytes.get(..lengths.total) else { return Ok(None) };
        Ok(Some((Self::read(frame, lengths)?, lengths.total)))
    }

    /// Reads a frame of which all bytes are there.
    fn read(frame: &'a [u8], lengths: Lengths) -> Result<Self, Error> {
        let (covered, checksum) = frame.split_at(frame.len() - CHECKSUM);
        let declared = be32(checksum);
        let computed = crc32fast::hash(covered);
        if declared != computed {
            return Err(Error::MessageChecksum { declared, computed });
        }
        let (headers, payload) = covered[PRELUDE..].split_at(lengths.headers);
        let mut frame = Frame { payload, headers, message_type: None, event_type: None, exception_type: None };
        frame.check_headers()?;
        Ok(frame)
    }

    /// Walks all headers once: each must be readable and have a name of its own. Remembers the three that everybody asks for.
    fn check_headers(&mut self) -> Result<(), Error> {
        let mut walk = Headers::new(self.headers);
        let mut few = [""; FEW_HEADERS];
        let mut many = HashSet::new();
        let mut count = 0;
        loop {
            let at = walk.at();
            let fault = |fault| Error::Header { at: PRELUDE + at, fault };
            let Some((name, value)) = walk.read().map_err(fault)? else { return Ok(()) };
            let duplicate = match few.get_mut(count) {
                Some(free) => {
                    *free = name;
                    few[..count].contains(&name)
                }
                None => few.contains(&name) || !many.insert(name),
            };
            if duplicate {
                return Err(fault(HeaderFault::Duplicate));
            }
            count += 1;
            if let Value::Text(text) = value {
                match name {
                    MESSAGE_TYPE => self.message_type = Some(text),
                    EVENT_TYPE => self.event_type = Some(text),
                    EXCEPTION_TYPE => self.exception_type = Some(text),
                    // Everything else is there for whoever asks with `header`.
                    _ => {}
                }
            }
        }
    }

    /// `:message-type`: [`EVENT`], [`EXCEPTION`], [`ERROR`], or something newer.
    #[must_use]
    pub fn message_type(&self) -> Option<&'a str> {
        self.message_type
    }

    /// `:event-type`, for example `contentBlockDelta`.
    #[must_use]
    pub fn event_type(&self) -> Option<&'a str> {
        self.event_type
    }

    /// `:exception-type`, for example `throttlingException`.
    #[must_use]
    pub fn exception_type(&self) -> Option<&'a str> {
        self.exception_type
    }

    /// The text of the header called exactly `name`. `None` also when its value is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().find(|(header, _)| *header == name).and_then(|(_, value)| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    /// All headers in the order of the frame.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let mut walk = Headers::new(self.headers);
        // The frame exists, so all of its headers were readable once.
        std::iter::from_fn(move || walk.read().ok().flatten())
    }
}

impl std::fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Payloads stay out of logs: names and sizes tell enough.
        let kind = self.event_type.or(self.exception_type);
        write!(f, "Frame({:?}, {:?}, {} bytes of payload)", self.message_type, kind, self.payload.len())
    }
}

/// What the prelude declares, checked: `OVERHEAD + headers <= total`, and both within their caps.
#[derive(Clone, Copy)]
struct Lengths {
    total: usize,
    headers: usize,
}

impl Lengths {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let Some(prelude) = bytes.first_chunk::<PRELUDE>() else { return Ok(None) };
        let (total, headers, declared) = (be32(&prelude[..4]), be32(&prelude[4..8]), be32(&prelude[8..]));
        // The checksum comes first: for bytes that are no event stream at all it is the better message.
        let computed = crc32fast::hash(&prelude[..8]);
        if declared != computed {
            return Err(Error::PreludeChecksum { declared, computed });
        }
        let inconsistent = Error::Lengths { total, headers };
        let (Ok(total), Ok(headers)) = (usize::try_from(total), usize::try_from(headers)) else { return Err(inconsistent) };
        let Some(payload) = total.checked_sub(OVERHEAD).and_then(|inner| inner.checked_sub(headers)) else { return Err(inconsistent) };
        if headers > HEADERS_CAP {
            return Err(Error::HeadersTooLong { length: headers });
        }
        if payload > PAYLOAD_CAP {
            return Err(Error::PayloadTooLong { length: payload });
        }
        Ok(Some(Lengths { total, headers }))
    }
}

/// Reads headers one after the other.
struct Headers<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Headers<'a> {
    fn new(headers: &'a [u8]) -> Self {
        Headers { rest: headers, length: headers.len() }
    }

    fn at(&self) -> usize {
        self.length - self.rest.len()
    }

    fn read(&mut self) -> Result<Option<(&'a str, Value<'a>)>, HeaderFault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let [length] = self.array()?;
        let name = std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| HeaderFault::NameText)?;
        let [kind] = self.array()?;
        let value = match kind {
            0 => Value::Bool(true),
            1 => Value::Bool(false),
            2 => Value::Int8(i8::from_be_bytes(self.array()?)),
            3 => Value::Int16(i16::from_be_bytes(self.array()?)),
            4 => Value::Int32(i32::from_be_bytes(self.array()?)),
            5 => Value::Int64(i64::from_be_bytes(self.array()?)),
            6 => Value::Bytes(self.run()?),
            7 => Value::Text(std::str::from_utf8(self.run()?).map_err(|_| HeaderFault::ValueText)?),
            8 => Value::Timestamp(i64::from_be_bytes(self.array()?)),
            9 => Value::Uuid(self.array()?),
            other => return Err(HeaderFault::UnknownType(other)),
        };
        Ok(Some((name, value)))
    }

    /// Data behind its two-byte length.
    fn run(&mut self) -> Result<&'a [u8], HeaderFault> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], HeaderFault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(HeaderFault::Cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderFault> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(HeaderFault::Cut)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Takes the body in chunks cut anywhere and gives its frames.
///
/// Frames that lie whole in a chunk are borrowed from it; only a frame that is cut by the end of a chunk is copied.
///
/// ```text
///                  push(chunk)                    next_frame
///   Parser ─────────────────────────▶ Frames ───────────────────▶ Frame, Frame, … None
///   (the unfinished frame)  ◀─── drop: what was not read ───┘
/// ```
#[derive(Debug, Default)]
pub struct Parser {
    /// Bytes of earlier chunks: usually the start of one frame. `read <= tail.len()`.
    tail: Vec<u8>,
    /// How much of `tail` was given out as frames.
    read: usize,
    /// The first error. A stream has no way to find the next frame after it.
    failed: Option<Error>,
}

impl Parser {
    /// A parser at the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk of the body. The frames that are complete with it come from the value this gives; what is left over when that is dropped is
    /// kept for the next chunk.
    #[must_use = "the frames are read from the value this gives"]
    pub fn push<'p>(&'p mut self, chunk: &'p [u8]) -> Frames<'p> {
        Frames { parser: self, chunk }
    }

    /// Whether no bytes are left over: the body stands between two frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.failed.is_none()
    }

    /// Says whether the body may end here.
    ///
    /// # Errors
    /// [`Error::Truncated`] inside a frame, or the error that stopped the parser.
    pub fn finish(&self) -> Result<(), Error> {
        match self.failed {
            Some(error) => Err(error),
            None if self.tail.is_empty() => Ok(()),
            None => Err(Error::Truncated { left: self.tail.len() }),
        }
    }
}

/// The frames that one chunk completed; see [`Parser::push`].
#[derive(Debug)]
pub struct Frames<'p> {
    parser: &'p mut Parser,
    /// What was not read of the chunk. Bytes of `parser.tail` come before it.
    chunk: &'p [u8],
}

impl Frames<'_> {
    /// The next frame, or `None` when more of the body is needed.
    ///
    /// # Errors
    /// The same one at every call after the first: nothing behind it can be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let Parser { tail, read, failed } = &mut *self.parser;
        match failed {
            Some(error) => Err(*error),
            None => next(tail, read, &mut self.chunk).inspect_err(|error| *failed = Some(*error)),
        }
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        let Parser { tail, read, failed } = &mut *self.parser;
        forget_read(tail, read);
        if failed.is_none() {
            tail.extend_from_slice(self.chunk);
        } else {
            *tail = Vec::new();
        }
    }
}

/// The next frame of `tail` and `chunk` together. Moves bytes from the chunk into the tail only as far as they complete the frame that started there.
fn next<'t, 'c: 't>(tail: &'t mut Vec<u8>, read: &mut usize, chunk: &mut &'c [u8]) -> Result<Option<Frame<'t>>, Error> {
    forget_read(tail, read);
    if tail.is_empty() {
        let Some((frame, length)) = Frame::parse(chunk)? else { return Ok(None) };
        *chunk = chunk.get(length..).unwrap_or_default();
        return Ok(Some(frame));
    }
    fill(tail, chunk, PRELUDE);
    let Some(lengths) = Lengths::parse(tail)? else { return Ok(None) };
    fill(tail, chunk, lengths.total);
    let Some(frame) = tail.get(..lengths.total) else { return Ok(None) };
    *read = lengths.total;
    Frame::read(frame, lengths).map(Some)
}

/// Moves bytes from the chunk until the tail has `wanted`, or the chunk is empty.
fn fill(tail: &mut Vec<u8>, chunk: &mut &[u8], wanted: usize) {
    let missing = wanted.saturating_sub(tail.len()).min(chunk.len());
    let (moved, rest) = chunk.split_at(missing);
    tail.extend_from_slice(moved);
    *chunk = rest;
}

/// Removes from the tail what was given out as a frame.
fn forget_read(tail: &mut Vec<u8>, read: &mut usize) {
    tail.drain(..std::mem::take(read));
    if tail.is_empty() && tail.capacity() > KEPT_CAPACITY {
        *tail = Vec::new();
    }
}

/// Appends one frame with text headers, in the order given: for what Bedrock sends, `:event-type`, `:content-type`, `:message-type`.
///
/// The format has one byte for the length of a name and two for the length of a value; what is longer is cut at the end of a character. A payload over
/// [`PAYLOAD_CAP`] is the caller's mistake: no reader takes it.
pub fn write_frame(out: &mut Vec<u8>, headers: &[(&str, &str)], payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; PRELUDE]);
    for (name, value) in headers {
        let name = clip(name, usize::from(u8::MAX));
        let value = clip(value, usize::from(u16::MAX));
        // `clip` made both lengths fit.
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.push(TEXT);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    let headers_length = out.len() - start - PRELUDE;
    out.extend_from_slice(payload);
    let total = out.len() - start + CHECKSUM;
    let frame = &mut out[start..];
    frame[..4].copy_from_slice(&saturated(total));
    frame[4..8].copy_from_slice(&saturated(headers_length));
    let prelude = crc32fast::hash(&frame[..8]);
    frame[8..PRELUDE].copy_from_slice(&prelude.to_be_bytes());
    let message = crc32fast::hash(frame);
    out.extend_from_slice(&message.to_be_bytes());
}

/// A length as the format has it. Beyond 4 GiB it is wrong, and over every reader's cap.
fn saturated(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn clip(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The first four bytes as a number; callers pass four.
fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

/// The value type of text.
const TEXT: u8 = 7;

#[cfg(test)]
mod tests;
