//! What passes untouched: the same dialect on both sides. Bytes go on as they come; a tap reads the token counts out of them.

use bytes::Bytes;

use crate::chat::{Event, EventDecoder, Restore, Usage};
use crate::dialect::openai::responses::tap as responses;
use crate::dialect::{anthropic, converse, openai};
use crate::translate::reframe::Unwrapped;
use crate::translate::stream::Progress;
use crate::translate::{Api, Facts};
use crate::wire::eventstream;

/// The most of a whole body that is kept for its token counts: what is longer passes uncounted.
const MOST: usize = 32 * 1024 * 1024;

/// Whose answers pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// OpenAI's, chat and embeddings.
    OpenAi,
    /// OpenAI's, Responses.
    Responses,
    /// Anthropic's.
    Anthropic,
    /// Bedrock Converse's.
    Converse,
    /// A model's own on Bedrock.
    Invoke,
    /// Nobody's that would be read.
    Nothing,
}

/// Tells how far the beginning of a stream that passes has come, for as long as another target could still take its place.
pub struct Opening(Reads);

enum Reads {
    Events(Box<dyn EventDecoder>),
    Responses(responses::Opening),
    Frames { frames: Box<Unwrapped>, scratch: Vec<u8> },
}

impl Opening {
    /// The beginning of a stream; `None` for one that nobody here reads.
    #[must_use]
    pub fn new(watched: Watched, media_type: &str) -> Option<Self> {
        let events = media_type.starts_with("text/event-stream");
        let frames = media_type.starts_with(eventstream::CONTENT_TYPE);
        Some(Opening(match watched {
            Watched::OpenAi if events => Reads::Events(Api::OpenAi.decoder(Restore::default())),
            Watched::Responses if events => Reads::Responses(responses::Opening::default()),
            Watched::Anthropic if events => Reads::Events(Api::Anthropic.decoder(Restore::default())),
            Watched::Converse if frames => Reads::Events(Api::Converse.decoder(Restore::default())),
            Watched::Invoke if frames => Reads::Frames { frames: Box::default(), scratch: Vec::new() },
            _ => return None,
        }))
    }

    /// Reads a piece: `Opening` while nothing of the model's own has come.
    pub fn push(&mut self, piece: &[u8]) -> Progress {
        match &mut self.0 {
            Reads::Events(decoder) => {
                let mut progress = Progress::Opening;
                decoder.push(piece, &mut |event| match event {
                    _ if progress != Progress::Opening => {}
                    Event::Failed(error) => progress = Progress::Failed(error),
                    // What is not known may be content.
                    Event::Unknown => progress = Progress::Content,
                    event if event.is_content() => progress = Progress::Content,
                    _ => {}
                });
                progress
            }
            Reads::Responses(opening) => match opening.push(piece) {
                responses::Beginning::Opening => Progress::Opening,
                responses::Beginning::Content => Progress::Content,
                responses::Beginning::Failed(error) => Progress::Failed(error),
            },
            Reads::Frames { frames, scratch } => {
                frames.push(piece, scratch);
                scratch.clear();
                // Content that came before a failure, in one read, is content.
                if frames.has_content() || frames.facts().unknown_events > 0 { Progress::Content } else { frames.progress().clone() }
            }
        }
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opening")
    }
}

/// Reads along.
#[derive(Debug)]
pub struct Tap {
    kind: Kind,
    /// The last bytes that passed were a blank line.
    blank: bool,
    /// Something has passed.
    passed: bool,
}

#[derive(Debug)]
enum Kind {
    OpenAi(openai::upstream::stream::UsageTap),
    Responses(responses::Tap),
    Anthropic(anthropic::upstream::stream::UsageTap),
    Converse(converse::upstream::stream::UsageTap),
    Invoke { frames: Box<Unwrapped>, scratch: Vec<u8> },
    Body { watched: Watched, pieces: Vec<Bytes>, length: usize },
    Nothing,
}

impl Tap {
    /// A tap for an answer of this media type.
    #[must_use]
    pub fn new(watched: Watched, media_type: &str) -> Self {
        let events = media_type.starts_with("text/event-stream");
        let frames = media_type.starts_with(eventstream::CONTENT_TYPE);
        let kind = match watched {
            Watched::OpenAi if events => Kind::OpenAi(openai::upstream::stream::UsageTap::new()),
            Watched::Responses if events => Kind::Responses(responses::Tap::default()),
            Watched::Anthropic if events => Kind::Anthropic(anthropic::upstream::stream::UsageTap::new()),
            Watched::Converse if frames => Kind::Converse(converse::upstream::stream::UsageTap::new()),
            Watched::Invoke if frames => Kind::Invoke { frames: Box::default(), scratch: Vec::new() },
            Watched::Nothing => Kind::Nothing,
            _ if media_type.starts_with("application/json") => Kind::Body { watched, pieces: Vec::new(), length: 0 },
            _ => Kind::Nothing,
        };
        Tap { kind, blank: true, passed: false }
    }

    /// Reads a piece that passes.
    pub fn push(&mut self, piece: &Bytes) {
        // A line end that was cut in two is taken for the middle of an event: then nothing is written there.
        if !piece.is_empty() {
            self.passed = true;
            self.blank = piece.ends_with(b"\n\n") || piece.ends_with(b"\r\n\r\n") || piece.ends_with(b"\r\r");
        }
        match &mut self.kind {
            Kind::OpenAi(tap) => tap.push(piece),
            Kind::Responses(tap) => tap.push(piece),
            Kind::Anthropic(tap) => tap.push(piece),
            Kind::Converse(tap) => tap.push(piece),
            Kind::Invoke { frames, scratch } => {
                frames.push(piece, scratch);
                scratch.clear();
            }
            Kind::Body { pieces, length, .. } => {
                *length += piece.len();
                pieces.push(piece.clone());
                if *length > MOST {
                    self.kind = Kind::Nothing;
                }
            }
            Kind::Nothing => {}
        }
    }

    /// Whether anything has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.passed
    }

    /// Whether something may be written between what has passed and what would come: not in the middle of an event, and never in a whole body.
    #[must_use]
    pub fn is_between_events(&self) -> bool {
        match &self.kind {
            Kind::OpenAi(_) | Kind::Responses(_) | Kind::Anthropic(_) => self.blank,
            Kind::Converse(tap) => tap.is_between_frames(),
            Kind::Invoke { frames, .. } => frames.is_between_frames(),
            Kind::Body { .. } | Kind::Nothing => false,
        }
    }

    /// What the answer is called, where its provider keeps it by that name.
    #[must_use]
    pub fn answer_id(&self) -> Option<String> {
        match &self.kind {
            Kind::Responses(tap) => tap.told().id.clone(),
            Kind::Body { watched: Watched::Responses, pieces, .. } => std::str::from_utf8(&pieces.concat()).ok().and_then(|text| responses::told(text).id),
            _ => None,
        }
    }

    /// How many events have passed, where the dialect numbers them.
    #[must_use]
    pub fn events(&self) -> u64 {
        if let Kind::Responses(tap) = &self.kind { tap.events() } else { 0 }
    }

    /// What was learned.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let (usage, stop) = match &self.kind {
            Kind::OpenAi(tap) => (tap.usage(), tap.stop()),
            Kind::Responses(tap) => (tap.told().usage, tap.told().stop),
            Kind::Anthropic(tap) => (tap.usage(), tap.stop()),
            Kind::Converse(tap) => (tap.usage(), tap.stop()),
            Kind::Invoke { frames, .. } => return frames.facts(),
            Kind::Body { watched, pieces, .. } => body(*watched, pieces),
            Kind::Nothing => (None, None),
        };
        Facts { usage, stop, ..Facts::default() }
    }
}

fn body(watched: Watched, pieces: &[Bytes]) -> (Option<Usage>, Option<&'static str>) {
    let whole;
    let bytes: &[u8] = match pieces {
        [one] => one,
        several => {
            whole = several.concat();
            &whole
        }
    };
    let Ok(text) = std::str::from_utf8(bytes) else { return (None, None) };
    match watched {
        Watched::OpenAi => openai::upstream::response::usage(text),
        Watched::Responses => {
            let told = responses::told(text);
            (told.usage, told.stop)
        }
        Watched::Anthropic | Watched::Invoke => anthropic::upstream::response::usage(text),
        Watched::Converse => converse::upstream::response::usage(text),
        Watched::Nothing => (None, None),
    }
}
