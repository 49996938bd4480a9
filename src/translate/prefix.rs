//! What of a prompt its provider may have in its cache: the prefixes that end at the request's cache markers, as hashes.
//!
//! ```text
//! tools     f │ g ▲          ▲ marker: the prefix is kept, for as long as the marker says
//! system    text ▲           │ end of a block before a marker: looked up only, as a marker of an earlier request may have stood there
//! messages  user: text │ assistant: text │ user: text ▲ text        what stands behind the last marker is not read
//! ```
//!
//! A prefix is what the model sees before the marker, in the order in which providers put a prompt together: tools, instructions, messages. The markers
//! themselves are no part of it, so a conversation that has grown, and whose marker has moved on, still has the prefixes of its earlier turns. Parameters are
//! no part of it either (`tool_choice`, `thinking`, the shape of the answer): some of them cost a part of the cache, none of them moves it elsewhere.
//! Instructions that a client puts between its messages count where they stand, wherever the target has them.
//!
//! Strings and JSON count as they are written: two spellings of one value are two prefixes. That costs a hit and nothing else.
//!
//! Vendor pages: <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use memchr::memmem;

use crate::chat::{Audio, CachePoint, CachedPrefix, Document, Image, Message, Part, Reasoning, Request, SearchResult, Source, Tool, ToolResult, ToolUse};
use crate::wire::json::Text;

/// The most markers that count, the last ones: what Anthropic and Bedrock take, and the encoders leave.
const MAX_MARKERS: usize = 4;

/// How many blocks, its own included, a marker looks back on for what an earlier one left. Anthropic's number, and Bedrock's for Claude.
const LOOK_BACK: usize = 20;

/// How long an entry lives that a marker says nothing of, and one of `"ttl":"1h"`.
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const ONE_HOUR: Duration = Duration::from_secs(3600);

/// The members that hold cache markers in the clients' dialects, all of them from the word `cache` on: `cache_control`, `prompt_cache_breakpoint` and
/// Converse's `cachePoint`.
const MARKERS: [&[u8]; 3] = [b"cache_control", b"cache_breakpoint", b"cachePoint"];

/// Whether a body can have a cache marker at all. One look at its bytes spares all requests without any the hashing.
///
/// Text that talks of markers is taken for one, and names spelled with `\u` escapes, which nobody sends, are not seen.
#[must_use]
pub fn may_mark(body: &[u8]) -> bool {
    memmem::find_iter(body, "cache").any(|at| body.get(at..).is_some_and(|rest| MARKERS.iter().any(|name| rest.starts_with(name))))
}

/// The prefixes of a request that its provider may have in its cache, shortest first: each that ends at one of the last `MAX_MARKERS` markers, and those that
/// such a marker looks back on. At most `MAX_MARKERS * LOOK_BACK`, none where nothing is marked.
///
/// Only hashes of one and the same `hasher` can be compared. It should be seeded at random once a process, so that nobody makes prompts collide.
#[must_use]
pub fn prefixes(request: &Request<'_>, hasher: &impl BuildHasher) -> Vec<CachedPrefix> {
    let in_tools = request.tools.iter().filter(|tool| tool.cache.is_some()).count();
    let in_messages: usize = request.messages.iter().map(|message| markers(&message.parts)).sum();
    let mut walk = Walk { hasher: hasher.build_hasher(), prefixes: Vec::new(), markers: in_tools + in_messages };
    walk.tools(&request.tools);
    walk.messages(&request.messages);
    in_reach(walk.prefixes)
}

/// How many markers there are among the parts of a message, those inside tool results included.
fn markers(parts: &[Part<'_>]) -> usize {
    let is_marker = |part: &&Part<'_>| matches!(part, Part::CachePoint(_));
    let inside = |part: &Part<'_>| if let Part::ToolResult(result) = part { result.parts.iter().filter(is_marker).count() } else { 0 };
    parts.iter().filter(is_marker).count() + parts.iter().map(inside).sum::<usize>()
}

/// Leaves what the last markers end at or look back on.
fn in_reach(prefixes: Vec<CachedPrefix>) -> Vec<CachedPrefix> {
    let (mut markers, mut reach) = (0, 0);
    let keep = |prefix: CachedPrefix| {
        // A marker that is one too many does not reach the provider.
        let ttl = prefix.ttl.filter(|_| markers < MAX_MARKERS);
        if ttl.is_some() {
            markers += 1;
            reach = LOOK_BACK;
        }
        let kept = reach > 0;
        reach = reach.saturating_sub(1);
        kept.then_some(CachedPrefix { ttl, ..prefix })
    };
    let mut kept: Vec<CachedPrefix> = prefixes.into_iter().rev().filter_map(keep).collect();
    kept.reverse();
    kept
}

/// What comes next in a prompt. With the lengths of all texts, and with a byte for each that may be missing, it makes two different prompts two different
/// sequences of bytes.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Absent,
    Present,
    Tool,
    Message,
    Text,
    Image,
    Document,
    Audio,
    SearchResult,
    ToolUse,
    ToolResult,
    Reasoning,
    RedactedReasoning,
    Json,
    Base64,
    Url,
    S3,
    PlainText,
    PlainTexts,
}

/// Reads a prompt front to back.
struct Walk<H> {
    /// Of everything so far.
    hasher: H,
    /// One for each block so far, and one for each marker inside a tool result that goes on behind it.
    prefixes: Vec<CachedPrefix>,
    /// How many are still to come; behind the last one nothing is read.
    markers: usize,
}

impl<H: Hasher> Walk<H> {
    fn tools(&mut self, tools: &[Tool<'_>]) {
        for tool in tools {
            if self.markers == 0 {
                return;
            }
            let Tool { name, description, parameters, strict, cache } = tool;
            self.tag(Tag::Tool);
            self.text(name);
            self.maybe_text(description.as_ref());
            self.maybe(parameters.map(|schema| schema.as_str()), Self::string);
            self.maybe(*strict, Self::flag);
            self.end_block();
            if let Some(point) = cache {
                self.mark(point);
            }
        }
    }

    fn messages(&mut self, messages: &[Message<'_>]) {
        for Message { role, parts } in messages {
            if self.markers == 0 {
                return;
            }
            self.tag(Tag::Message);
            self.hasher.write_u8(*role as u8);
            for part in parts {
                self.part(part);
            }
        }
    }

    /// A part of a message.
    fn part(&mut self, part: &Part<'_>) {
        if self.markers == 0 {
            return;
        }
        match part {
            Part::CachePoint(point) => self.mark(point),
            Part::ToolResult(result) => self.result(result),
            part => {
                self.content(part);
                self.end_block();
            }
        }
    }

    /// A block that has parts of its own. No closing tag is needed: what does not begin with [`Tag::Present`] is no part of it.
    fn result(&mut self, ToolResult { id, parts, is_error }: &ToolResult<'_>) {
        self.tag(Tag::ToolResult);
        self.text(id);
        self.maybe(*is_error, Self::flag);
        self.end_block();
        for part in parts {
            if self.markers == 0 {
                return;
            }
            if let Part::CachePoint(point) = part {
                self.mark(point);
                continue;
            }
            self.tag(Tag::Present);
            self.content(part);
            self.extend_block();
        }
    }

    /// What has no parts. Results hold no results, and a marker is for the caller to see.
    fn content(&mut self, part: &Part<'_>) {
        match part {
            Part::Text(text) => self.tagged(Tag::Text, text),
            Part::Image(Image { media_type, source }) => {
                self.tag(Tag::Image);
                self.maybe(media_type.as_deref(), Self::string);
                self.source(source);
            }
            Part::Document(Document { media_type, name, context, citations, source }) => {
                self.tag(Tag::Document);
                self.maybe(media_type.as_deref(), Self::string);
                self.maybe_text(name.as_ref());
                self.maybe_text(context.as_ref());
                self.maybe(*citations, Self::flag);
                self.source(source);
            }
            Part::Audio(Audio { format, source }) => {
                self.tagged(Tag::Audio, format);
                self.source(source);
            }
            Part::SearchResult(SearchResult { source, title, content, citations }) => {
                self.tagged(Tag::SearchResult, source);
                self.text(title);
                self.texts(content);
                self.maybe(*citations, Self::flag);
            }
            Part::ToolUse(ToolUse { id, name, input }) => {
                self.tagged(Tag::ToolUse, id);
                self.text(name);
                self.string(input);
            }
            Part::Reasoning(Reasoning { text, signature }) => {
                self.tagged(Tag::Reasoning, text);
                self.maybe_text(signature.as_ref());
            }
            Part::RedactedReasoning(sealed) => self.tagged(Tag::RedactedReasoning, sealed),
            Part::Json(value) => {
                self.tag(Tag::Json);
                self.string(value.as_str());
            }
            Part::ToolResult(_) | Part::CachePoint(_) => {}
        }
    }

    fn source(&mut self, source: &Source<'_>) {
        match source {
            Source::Base64(base64) => self.tagged(Tag::Base64, base64),
            Source::Url(url) => self.tagged(Tag::Url, url),
            Source::S3(uri) => self.tagged(Tag::S3, uri),
            Source::Text(text) => self.tagged(Tag::PlainText, text),
            Source::Texts(texts) => {
                self.tag(Tag::PlainTexts);
                self.texts(texts);
            }
        }
    }

    /// A block ends here, as far as is known.
    fn end_block(&mut self) {
        self.prefixes.push(CachedPrefix { hash: self.hasher.finish(), ttl: None });
    }

    /// The last block has got longer. If a marker stands inside, the prefix that ends there stays too.
    fn extend_block(&mut self) {
        self.prefixes.pop_if(|last| last.ttl.is_none());
        self.end_block();
    }

    /// A marker stands here: it closes what has gone before, whatever message that is in. In front of everything there is nothing to cache.
    fn mark(&mut self, point: &CachePoint<'_>) {
        self.markers -= 1;
        let ttl = if point.ttl.as_ref().is_some_and(|ttl| *ttl == "1h") { ONE_HOUR } else { FIVE_MINUTES };
        if let Some(last) = self.prefixes.last_mut() {
            last.ttl = last.ttl.max(Some(ttl));
        }
    }

    fn tag(&mut self, tag: Tag) {
        self.hasher.write_u8(tag as u8);
    }

    fn tagged(&mut self, tag: Tag, text: &Text<'_>) {
        self.tag(tag);
        self.text(text);
    }

    fn text(&mut self, text: &Text<'_>) {
        self.string(text.escaped());
    }

    fn texts(&mut self, texts: &[Text<'_>]) {
        self.hasher.write_usize(texts.len());
        for text in texts {
            self.text(text);
        }
    }

    fn string(&mut self, string: &str) {
        self.hasher.write_usize(string.len());
        self.hasher.write(string.as_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.hasher.write_u8(u8::from(flag));
    }

    fn maybe_text(&mut self, text: Option<&Text<'_>>) {
        self.maybe(text.map(Text::escaped), Self::string);
    }

    /// What may be missing.
    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.tag(Tag::Absent),
            Some(value) => {
                self.tag(Tag::Present);
                write(self, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
