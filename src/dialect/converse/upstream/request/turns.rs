//! What the blocks of a turn look like here, and how many of them it takes. How messages become turns is the same for other APIs too: `chat::turns`.

use std::borrow::Cow;

use super::media::{self, Bytes, File, Picture, Sound};
use crate::chat::capability::Capabilities;
use crate::chat::names::{CallIds, DocumentNames, ToolNames};
use crate::chat::turns::{self, Form, Place};
use crate::chat::{ApiError, Audio, Document, Image, Ledger, Message, SearchResult};
use crate::wire::json::{Kind, Raw, Text};

/// The text that is added to a turn that has nothing but files.
const SEE_FILE: &str = "See the attached file.";

/// The most pictures and files in one turn (service model, `Message.content`).
const IMAGES_MAX: usize = 20;
const FILES_MAX: usize = 5;

pub(super) type Conversation<'r> = turns::Conversation<'r, Media<'r>>;
pub(super) type Block<'r> = turns::Block<'r, Media<'r>>;
pub(super) type Content<'r> = turns::Content<'r, Media<'r>>;

/// A block beside text, tools and thoughts.
#[derive(Debug)]
pub(super) enum Media<'r> {
    Picture(Picture<'r>),
    File(File<'r>),
    Sound(Sound<'r>),
    Search(&'r SearchResult<'r>),
    /// An object, inside a tool result.
    Json(&'r str),
}

/// Arranges messages into turns.
///
/// # Errors
/// 400 naming the message, for parts that cannot stand where they are or that no model could read, and for too many of them in one turn.
pub(super) fn plan<'r>(messages: &'r [Message<'_>], takes: &Capabilities, names: &ToolNames<'_>, ledger: &mut Ledger) -> Result<Conversation<'r>, ApiError> {
    let mut conversation = Conversation::plan(messages, takes, names, Blocks { takes, documents: DocumentNames::default() }, ledger)?;
    for turn in &mut conversation.turns {
        let count = |of: fn(&Content<'_>) -> bool| turn.blocks.iter().filter(|block| of(&block.content)).count();
        if count(|content| matches!(content, Content::Media(Media::Picture(_)))) > IMAGES_MAX {
            return Err(ApiError::invalid("messages", "a message can hold at most 20 images"));
        }
        let files = count(|content| matches!(content, Content::Media(Media::File(_))));
        if files > FILES_MAX {
            return Err(ApiError::invalid("messages", "a message can hold at most 5 files"));
        }
        if files > 0 && count(|content| matches!(content, Content::Text(_))) == 0 {
            turn.blocks.push(Content::Text(Cow::Borrowed(SEE_FILE)).into());
        }
    }
    Ok(conversation)
}

/// The form of Converse, of which families take more or less.
struct Blocks<'p> {
    takes: &'p Capabilities,
    documents: DocumentNames,
}

impl<'r> Form<'r> for Blocks<'_> {
    type Media = Media<'r>;

    const TELLS_LOST_MARKS: bool = false;

    fn call_ids<'t>(ids: impl Iterator<Item = Cow<'t, str>>) -> CallIds {
        CallIds::new(ids)
    }

    fn size(media: &Media<'r>) -> usize {
        match media {
            Media::Picture(picture) => picture.bytes.size() + 96,
            Media::File(file) => file.bytes.size() + 128,
            Media::Sound(sound) => sound.bytes.size() + 96,
            Media::Search(found) => search_size(found),
            Media::Json(json) => json.len(),
        }
    }

    fn picture(&mut self, image: &'r Image<'r>, at: Place) -> Result<Media<'r>, ApiError> {
        media::picture(image, || at.path()).map(Media::Picture)
    }

    /// Takes out of a file what belongs to citations, where the family knows none.
    fn file(&mut self, document: &'r Document<'r>, at: Place, ledger: &mut Ledger) -> Result<Media<'r>, ApiError> {
        let mut file = media::file(document, |name| self.documents.next(name), || at.path())?;
        if self.takes.anthropic_fields {
            return Ok(Media::File(file));
        }
        if file.context.take().is_some() {
            ledger.lose("context")?;
        }
        if file.citations.take() == Some(true) {
            ledger.lose("citations")?;
        }
        if let Bytes::Passages(texts) = file.bytes {
            file.bytes = Bytes::Joined(texts);
        }
        Ok(Media::File(file))
    }

    fn sound(&mut self, audio: &'r Audio<'r>, at: Place) -> Result<Media<'r>, ApiError> {
        media::sound(audio, || at.path()).map(Media::Sound)
    }

    fn search(&mut self, found: &'r SearchResult<'r>, _: Place) -> Result<Content<'r>, ApiError> {
        let stands = self.takes.anthropic_fields && found.content.iter().any(|text| !text.is_blank());
        Ok(if stands { Content::Media(Media::Search(found)) } else { Content::Text(search_text(found)) })
    }

    fn json(&self, value: Raw<'r>) -> Option<Media<'r>> {
        is_plain_object(value).then(|| Media::Json(value.as_str()))
    }

    fn fits_result(&self, media: &Media<'r>) -> bool {
        match media {
            Media::Picture(_) | Media::File(_) => self.takes.media_in_tool_results,
            Media::Sound(_) => false,
            Media::Search(_) | Media::Json(_) => true,
        }
    }

    fn tells_failure(&self) -> bool {
        self.takes.tool_result_status
    }

    fn reads_billing(&self) -> bool {
        self.takes.anthropic_fields
    }
}

/// A passage as text: title, source and content, a line each. Escaped form.
fn search_text<'r>(found: &SearchResult<'_>) -> Cow<'r, str> {
    let lines: Vec<&str> = [&found.title, &found.source].into_iter().chain(&found.content).filter(|text| !text.is_blank()).map(Text::escaped).collect();
    Cow::Owned(if lines.is_empty() { "-".to_owned() } else { lines.join("\\n") })
}

/// About how many bytes a passage takes.
fn search_size(found: &SearchResult<'_>) -> usize {
    96 + found.title.escaped().len() + found.source.escaped().len() + found.content.iter().map(|text| text.escaped().len() + 16).sum::<usize>()
}

/// Whether a value can stand in `toolResult.json`: an object, without a member called `__type` or nothing at all anywhere.
fn is_plain_object(raw: Raw<'_>) -> bool {
    let text = raw.as_str();
    let nameless = || text.match_indices("\"\"").any(|(at, _)| text.get(at + 2..).is_some_and(|rest| rest.trim_start().starts_with(':')));
    raw.kind() == Kind::Object && !text.contains("\"__type\"") && !nameless()
}
