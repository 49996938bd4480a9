//! What the blocks of a turn look like here. How messages become turns is the same for other APIs too: `chat::turns`.

use std::borrow::Cow;

use super::media::{self, File, Picture};
use crate::chat::names::CallIds;
use crate::chat::turns::{self, Form, Mark, Place};
use crate::chat::{ApiError, Audio, Document, Image, Ledger, SearchResult};
use crate::wire::json::{Array, Object, Text};

pub(super) type Conversation<'r> = turns::Conversation<'r, Media<'r>>;
pub(super) type Block<'r> = turns::Block<'r, Media<'r>>;
type Content<'r> = turns::Content<'r, Media<'r>>;

/// A block beside text, tools and thoughts.
#[derive(Debug)]
pub(super) enum Media<'r> {
    Picture(Picture<'r>),
    File(File<'r>),
    Search(&'r SearchResult<'r>),
}

/// The form of Messages: a result holds whatever a user's turn does, and says whether it failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks;

impl<'r> Form<'r> for Blocks {
    type Media = Media<'r>;

    const TELLS_LOST_MARKS: bool = true;

    fn call_ids<'t>(ids: impl Iterator<Item = Cow<'t, str>>) -> CallIds {
        CallIds::plain(ids)
    }

    fn size(media: &Media<'r>) -> usize {
        match media {
            Media::Picture(picture) => picture.size() + 96,
            Media::File(file) => file.size() + 128,
            Media::Search(result) => result.content.iter().map(|text| text.escaped().len() + 32).sum::<usize>() + 256,
        }
    }

    fn picture(&mut self, image: &'r Image<'r>, at: Place) -> Result<Media<'r>, ApiError> {
        media::picture(image, || at.path()).map(Media::Picture)
    }

    fn file(&mut self, document: &'r Document<'r>, at: Place, _: &mut Ledger) -> Result<Media<'r>, ApiError> {
        media::file(document, || at.path()).map(Media::File)
    }

    fn sound(&mut self, _: &'r Audio<'r>, at: Place) -> Result<Media<'r>, ApiError> {
        at.refuse("audio is not supported by this model")
    }

    fn search(&mut self, found: &'r SearchResult<'r>, at: Place) -> Result<Content<'r>, ApiError> {
        media::search(found, || at.path()).map(|found| Content::Media(Media::Search(found)))
    }
}

/// Adds the members of all blocks.
pub(super) fn write_blocks(out: &mut Array<'_>, blocks: &[Block<'_>]) {
    for block in blocks {
        out.object(|object| {
            write_content(object, &block.content);
            if let Some(mark) = block.mark {
                write_mark(object, mark);
            }
        });
    }
}

/// Adds the member `cache_control`.
pub(super) fn write_mark(object: &mut Object<'_>, mark: Mark) {
    object.object("cache_control", |control| {
        control.raw("type", r#""ephemeral""#);
        if let Some(ttl) = mark.ttl {
            control.string("ttl", ttl);
        }
    });
}

/// Adds the members of a block.
fn write_content(block: &mut Object<'_>, content: &Content<'_>) {
    match content {
        Content::Text(text) => {
            block.raw("type", r#""text""#);
            write_escaped(block, "text", text);
        }
        Content::Media(Media::Picture(picture)) => picture.write(block),
        Content::Media(Media::File(file)) => file.write(block),
        Content::Media(Media::Search(result)) => media::write_search(block, result),
        Content::ToolUse { id, name, input } => {
            block.raw("type", r#""tool_use""#);
            write_escaped(block, "id", id);
            write_escaped(block, "name", name);
            block.raw("input", input);
        }
        Content::ToolResult { id, items, failed } => {
            block.raw("type", r#""tool_result""#);
            write_escaped(block, "tool_use_id", id);
            block.array("content", |content| items.iter().for_each(|item| content.object(|block| write_content(block, item))));
            if let Some(failed) = failed {
                block.bool("is_error", *failed);
            }
        }
        Content::Thought(thought) => {
            block.raw("type", r#""thinking""#);
            block.text("thinking", &thought.text);
            if let Some(signature) = &thought.signature {
                block.text("signature", signature);
            }
        }
        Content::Redacted(data) => {
            block.raw("type", r#""redacted_thinking""#);
            block.text("data", data);
        }
    }
}

/// Adds a string that is escaped already.
fn write_escaped(object: &mut Object<'_>, name: &str, escaped: &str) {
    object.text(name, &Text::from_escaped(escaped));
}
