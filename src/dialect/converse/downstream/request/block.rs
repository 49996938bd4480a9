//! Content blocks of messages, of `system` and of tool results. Bytes stay base64 as they stand; nobody looks into them here.
//!
//! A block is a union: exactly one member is set. What only a guardrail reads is unwrapped, cited text is text.

use std::borrow::Cow;

use crate::chat::{ApiError, Audio, CachePoint, Document, Image, Part, Reasoning, SearchResult, Source, ToolResult, ToolUse};
use crate::wire::json::{Raw, Text};

use crate::chat::read::{
    Notes, Path, Shape, boolean, carried, each, filled_text, flat, missing, object, one_of, required_object, required_text, text, wrong_type, wrong_value,
};

flat! {
    /// A block of any kind.
    pub(super) struct BlockWire {
        text: Raw<'a> = "text",
        image: Shape<MediaWire<'a>> = "image",
        document: Shape<MediaWire<'a>> = "document",
        video: Raw<'a> = "video",
        audio: Shape<MediaWire<'a>> = "audio",
        tool_use: Shape<ToolUseWire<'a>> = "toolUse",
        tool_result: Shape<ToolResultWire<'a>> = "toolResult",
        guard: Shape<GuardWire<'a>> = "guardContent",
        cache: Shape<CacheWire<'a>> = "cachePoint",
        reasoning: Shape<ReasoningWire<'a>> = "reasoningContent",
        cited: Shape<Contents<'a>> = "citationsContent",
        search: Shape<SearchWire<'a>> = "searchResult",
        tool_addition: Raw<'a> = "toolAddition",
        tool_removal: Raw<'a> = "toolRemoval",
        json: Raw<'a> = "json",
    }
}

flat! {
    /// A picture, a file or sound: `{"format":"pdf","name":"…","source":{…}}`
    pub(super) struct MediaWire {
        format: Raw<'a> = "format",
        name: Raw<'a> = "name",
        source: Shape<SourceWire<'a>> = "source",
        context: Raw<'a> = "context",
        citations: Shape<Enabled<'a>> = "citations",
    }
}

flat! {
    /// A union.
    pub(super) struct SourceWire {
        bytes: Raw<'a> = "bytes",
        s3: Shape<S3Wire<'a>> = "s3Location",
        text: Raw<'a> = "text",
        content: Raw<'a> = "content",
    }
}

flat! {
    pub(super) struct S3Wire {
        uri: Raw<'a> = "uri",
        owner: Raw<'a> = "bucketOwner",
    }
}

flat! {
    /// `{"enabled":true}`
    pub(super) struct Enabled {
        enabled: Raw<'a> = "enabled",
    }
}

flat! {
    pub(super) struct ToolUseWire {
        id: Raw<'a> = "toolUseId",
        name: Raw<'a> = "name",
        input: Raw<'a> = "input",
        kind: Raw<'a> = "type",
    }
}

flat! {
    pub(super) struct ToolResultWire {
        id: Raw<'a> = "toolUseId",
        content: Raw<'a> = "content",
        status: Raw<'a> = "status",
    }
}

flat! {
    /// A union.
    pub(super) struct GuardWire {
        text: Shape<TextWire<'a>> = "text",
        image: Shape<MediaWire<'a>> = "image",
    }
}

flat! {
    /// `{"text":"…"}`
    pub(super) struct TextWire {
        text: Raw<'a> = "text",
    }
}

flat! {
    /// `{"type":"default","ttl":"1h"}`
    pub(super) struct CacheWire {
        kind: Raw<'a> = "type",
        ttl: Raw<'a> = "ttl",
    }
}

flat! {
    /// A union.
    pub(super) struct ReasoningWire {
        readable: Shape<ThoughtWire<'a>> = "reasoningText",
        redacted: Raw<'a> = "redactedContent",
    }
}

flat! {
    pub(super) struct ThoughtWire {
        text: Raw<'a> = "text",
        signature: Raw<'a> = "signature",
    }
}

flat! {
    /// `{"content":[{"text":"…"}],"citations":[…]}`
    pub(super) struct Contents {
        content: Raw<'a> = "content",
        citations: Raw<'a> = "citations",
    }
}

flat! {
    pub(super) struct SearchWire {
        source: Raw<'a> = "source",
        title: Raw<'a> = "title",
        content: Raw<'a> = "content",
        citations: Shape<Enabled<'a>> = "citations",
    }
}

const IMAGE_FORMATS: [&str; 4] = ["png", "jpeg", "gif", "webp"];
const AUDIO_FORMATS: [&str; 15] = ["mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"];
const DOCUMENT_FORMATS: [&str; 9] = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];

/// Whose content is read: not every block may stand everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `system`, or a message of the role `system`.
    System,
    User,
    Assistant,
    ToolResult,
}

impl Place {
    fn blocks(self) -> &'static [&'static str] {
        match self {
            Place::System => &["text", "guardContent", "cachePoint"],
            Place::User => &["text", "image", "document", "audio", "toolResult", "guardContent", "cachePoint", "searchResult"],
            Place::Assistant => &["text", "toolUse", "guardContent", "cachePoint", "reasoningContent", "citationsContent"],
            Place::ToolResult => &["json", "text", "image", "document", "searchResult"],
        }
    }
}

/// Reads a list of blocks.
pub(super) fn content<'a>(raw: Raw<'a>, place: Place, path: &Path<'_>, notes: &mut Notes) -> Result<Vec<Part<'a>>, ApiError> {
    // A list of one is what most messages come to.
    let mut parts = Vec::with_capacity(1);
    each(raw, path, |index, wire| block(wire, place, &path.item(index), notes, &mut parts))?;
    Ok(parts)
}

/// Reads one block behind the parts that are there already.
pub(super) fn block<'a>(wire: BlockWire<'a>, place: Place, path: &Path<'_>, notes: &mut Notes, out: &mut Vec<Part<'a>>) -> Result<(), ApiError> {
    let kind = wire.kind(path)?;
    let here = path.key(kind);
    if kind == "video" {
        return Err(wrong_value(&here, "videos are not supported by this model"));
    }
    if !place.blocks().contains(&kind) {
        return Err(wrong_value(&here, format_args!("expected one of '{}' here", place.blocks().join("', '"))));
    }
    let part = match kind {
        "text" => Part::Text(required_text(wire.text, &here)?),
        "json" => Part::Json(carried(wire.json.ok_or_else(|| missing(&here))?, &here)?),
        "image" => image(required_object(wire.image, &here)?, &IMAGE_FORMATS, &here, notes)?,
        "document" => document(required_object(wire.document, &here)?, &here, notes)?,
        "audio" => audio(required_object(wire.audio, &here)?, &here, notes)?,
        "toolUse" => tool_use(required_object(wire.tool_use, &here)?, &here)?,
        "toolResult" => tool_result(required_object(wire.tool_result, &here)?, &here, notes)?,
        "guardContent" => {
            // What it holds goes on; that a guardrail shall look at it is lost.
            notes.add("guardContent");
            guarded(required_object(wire.guard, &here)?, &here, notes)?
        }
        "cachePoint" => Part::CachePoint(cache_point(required_object(wire.cache, &here)?, &here)?),
        "reasoningContent" => thought(required_object(wire.reasoning, &here)?, &here)?,
        "searchResult" => search_result(required_object(wire.search, &here)?, &here)?,
        _ => {
            let cited = required_object(wire.cited, &here)?;
            let content = cited.content.map(|raw| texts(raw, &here.key("content"))).transpose()?;
            // What the model said stays; what it rests on has a place in Bedrock's history alone.
            if cited.citations.is_some_and(|list| list.as_str() != "null" && !list.as_str().trim_matches(['[', ']', ' ', '\n']).is_empty()) {
                notes.add("messages[].content[].citationsContent.citations");
            }
            out.extend(content.into_iter().flatten().map(Part::Text));
            return Ok(());
        }
    };
    out.push(part);
    Ok(())
}

impl BlockWire<'_> {
    /// The name of the one member that is set.
    fn kind(&self, path: &Path<'_>) -> Result<&'static str, ApiError> {
        exactly_one(
            &[
                ("text", self.text.is_some()),
                ("image", self.image.is_some()),
                ("document", self.document.is_some()),
                ("video", self.video.is_some()),
                ("audio", self.audio.is_some()),
                ("toolUse", self.tool_use.is_some()),
                ("toolResult", self.tool_result.is_some()),
                ("guardContent", self.guard.is_some()),
                ("cachePoint", self.cache.is_some()),
                ("reasoningContent", self.reasoning.is_some()),
                ("citationsContent", self.cited.is_some()),
                ("searchResult", self.search.is_some()),
                ("toolAddition", self.tool_addition.is_some()),
                ("toolRemoval", self.tool_removal.is_some()),
                ("json", self.json.is_some()),
            ],
            path,
        )
    }
}

/// The member of a union that is set.
pub(super) fn exactly_one(members: &[(&'static str, bool)], path: &Path<'_>) -> Result<&'static str, ApiError> {
    let mut set = members.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name);
    match (set.next(), set.next()) {
        (Some(name), None) => Ok(name),
        (Some(first), Some(second)) => Err(wrong_value(path, format_args!("only one member may be set, and both '{first}' and '{second}' are"))),
        (None, _) => {
            let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
            Err(wrong_value(path, format_args!("one of '{}' must be set", names.join("', '"))))
        }
    }
}

/// `cachePoint`, of content or of tools.
pub(super) fn cache_point<'a>(wire: CacheWire<'a>, path: &Path<'_>) -> Result<CachePoint<'a>, ApiError> {
    let kind_path = path.key("type");
    one_of(wire.kind, &["default"], &kind_path)?.ok_or_else(|| missing(&kind_path))?;
    let ttl = one_of(wire.ttl, &["5m", "1h"], &path.key("ttl"))?;
    Ok(CachePoint { ttl: ttl.map(Text::from_escaped) })
}

fn image<'a>(wire: MediaWire<'a>, formats: &[&'static str], path: &Path<'_>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    let format_path = path.key("format");
    let media_type = match one_of(wire.format, formats, &format_path)?.ok_or_else(|| missing(&format_path))? {
        "png" => "image/png",
        "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        _ => "image/webp",
    };
    Ok(Part::Image(Image { media_type: Some(Cow::Borrowed(media_type)), source: bytes_or_s3(wire.source, path, notes)? }))
}

fn audio<'a>(wire: MediaWire<'a>, path: &Path<'_>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    let format_path = path.key("format");
    let format = one_of(wire.format, &AUDIO_FORMATS, &format_path)?.ok_or_else(|| missing(&format_path))?;
    Ok(Part::Audio(Audio { format: Text::from_escaped(format), source: bytes_or_s3(wire.source, path, notes)? }))
}

fn document<'a>(wire: MediaWire<'a>, path: &Path<'_>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    let media_type = one_of(wire.format, &DOCUMENT_FORMATS, &path.key("format"))?.map(|format| Cow::Borrowed(document_type(format)));
    Ok(Part::Document(Document {
        media_type,
        name: Some(filled_text(wire.name, &path.key("name"))?),
        context: text(wire.context, &path.key("context"))?,
        citations: enabled(wire.citations, &path.key("citations"))?,
        source: source(required_object(wire.source, &path.key("source"))?, true, &path.key("source"), notes)?,
    }))
}

fn document_type(format: &str) -> &'static str {
    match format {
        "pdf" => "application/pdf",
        "csv" => "text/csv",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "html" => "text/html",
        "md" => "text/markdown",
        _ => "text/plain",
    }
}

fn bytes_or_s3<'a>(member: Option<Shape<SourceWire<'a>>>, path: &Path<'_>, notes: &mut Notes) -> Result<Source<'a>, ApiError> {
    let path = path.key("source");
    source(required_object(member, &path)?, false, &path, notes)
}

/// Where the bytes are; `texts` says that plain text will do.
fn source<'a>(wire: SourceWire<'a>, plain: bool, path: &Path<'_>, notes: &mut Notes) -> Result<Source<'a>, ApiError> {
    let all = [("bytes", wire.bytes.is_some()), ("s3Location", wire.s3.is_some()), ("text", wire.text.is_some()), ("content", wire.content.is_some())];
    let (binary, _) = all.split_at(2);
    match exactly_one(if plain { &all } else { binary }, path)? {
        "bytes" => Ok(Source::Base64(filled_text(wire.bytes, &path.key("bytes"))?)),
        "s3Location" => {
            let path = path.key("s3Location");
            let location = required_object(wire.s3, &path)?;
            if text(location.owner, &path.key("bucketOwner"))?.is_some() {
                notes.add("s3Location.bucketOwner");
            }
            Ok(Source::S3(filled_text(location.uri, &path.key("uri"))?))
        }
        "text" => Ok(Source::Text(filled_text(wire.text, &path.key("text"))?)),
        _ => Ok(Source::Texts(required_texts(wire.content, &path.key("content"))?)),
    }
}

fn enabled(member: Option<Shape<Enabled<'_>>>, path: &Path<'_>) -> Result<Option<bool>, ApiError> {
    let Some(wire) = object(member, path)? else { return Ok(None) };
    let path = path.key("enabled");
    boolean(wire.enabled, &path)?.ok_or_else(|| missing(&path)).map(Some)
}

/// `[{"text":"…"},…]`
fn texts<'a>(raw: Raw<'a>, path: &Path<'_>) -> Result<Vec<Text<'a>>, ApiError> {
    let mut texts = Vec::new();
    each(raw, path, |index, wire: TextWire<'a>| {
        texts.push(required_text(wire.text, &path.item(index).key("text"))?);
        Ok(())
    })?;
    Ok(texts)
}

/// Texts of which there must be one at least.
fn required_texts<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Vec<Text<'a>>, ApiError> {
    let texts = texts(member.ok_or_else(|| missing(path))?, path)?;
    if texts.is_empty() { Err(wrong_value(path, "it must hold at least one text")) } else { Ok(texts) }
}

fn tool_use<'a>(wire: ToolUseWire<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    let kind_path = path.key("type");
    if text(wire.kind, &kind_path)?.is_some() {
        return Err(wrong_value(&kind_path, "tools that the provider runs itself are not supported by this model"));
    }
    let input_path = path.key("input");
    let input = carried(wire.input.ok_or_else(|| missing(&input_path))?, &input_path)?;
    Ok(Part::ToolUse(ToolUse {
        id: filled_text(wire.id, &path.key("toolUseId"))?,
        name: filled_text(wire.name, &path.key("name"))?,
        input: Cow::Borrowed(input.as_str()),
    }))
}

fn tool_result<'a>(wire: ToolResultWire<'a>, path: &Path<'_>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    let id = filled_text(wire.id, &path.key("toolUseId"))?;
    let content_path = path.key("content");
    let raw = wire.content.ok_or_else(|| missing(&content_path))?;
    let status = one_of(wire.status, &["success", "error"], &path.key("status"))?;
    Ok(Part::ToolResult(ToolResult { id, parts: content(raw, Place::ToolResult, &content_path, notes)?, is_error: status.map(|status| status == "error") }))
}

fn guarded<'a>(wire: GuardWire<'a>, path: &Path<'_>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    match exactly_one(&[("text", wire.text.is_some()), ("image", wire.image.is_some())], path)? {
        "text" => {
            let path = path.key("text");
            Ok(Part::Text(required_text(required_object(wire.text, &path)?.text, &path.key("text"))?))
        }
        _ => {
            let path = path.key("image");
            let (formats, _) = IMAGE_FORMATS.split_at(2);
            image(required_object(wire.image, &path)?, formats, &path, notes)
        }
    }
}

fn thought<'a>(wire: ReasoningWire<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    match exactly_one(&[("reasoningText", wire.readable.is_some()), ("redactedContent", wire.redacted.is_some())], path)? {
        "reasoningText" => {
            let path = path.key("reasoningText");
            let wire = required_object(wire.readable, &path)?;
            let signature = text(wire.signature, &path.key("signature"))?.filter(|signature| !signature.is_empty());
            Ok(Part::Reasoning(Reasoning { text: required_text(wire.text, &path.key("text"))?, signature }))
        }
        _ => Ok(Part::RedactedReasoning(filled_text(wire.redacted, &path.key("redactedContent"))?)),
    }
}

fn search_result<'a>(wire: SearchWire<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    Ok(Part::SearchResult(SearchResult {
        source: required_text(wire.source, &path.key("source"))?,
        title: required_text(wire.title, &path.key("title"))?,
        content: required_texts(wire.content, &path.key("content"))?,
        citations: enabled(wire.citations, &path.key("citations"))?,
    }))
}

/// The content of a string as a reader sees it, borrowed from the body where nothing was escaped.
pub(super) fn plain<'a>(raw: Raw<'a>, path: &Path<'_>) -> Result<Cow<'a, str>, ApiError> {
    let text = raw.text().ok_or_else(|| wrong_type(path, "a string", raw.kind()))?;
    Ok(match text.unescape() {
        Cow::Owned(plain) => Cow::Owned(plain),
        // Nothing was escaped: the plain text stands between the quotes.
        Cow::Borrowed(_) => Cow::Borrowed(raw.as_str().trim_matches('"')),
    })
}
