//! Content: a string, or blocks of text, pictures, documents, thoughts and tool use. Bytes stay base64 as they stand; nobody looks into them here.

use std::borrow::Cow;

use crate::chat::{ApiError, CachePoint, Document, Image, Part, Reasoning, SearchResult, Source, ToolResult, ToolUse};
use crate::wire::json::{Kind, Raw, Reader, Syntax, Text};

use super::is_empty;
use super::tool::{CacheControl, cache_point};
use crate::chat::read::{
    Leaf, Notes, Path, Shape, boolean, carried_object, each, filled_text, flat, members, missing, one_of, required_text, text, wrong_type, wrong_value,
};

flat! {
    /// A block of any type.
    pub(super) struct BlockWire {
        kind: Raw<'a> = "type",
        text: Raw<'a> = "text",
        citations: Raw<'a> = "citations",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
        source: SourceWire<'a> = "source",
        title: Raw<'a> = "title",
        context: Raw<'a> = "context",
        transformations: Raw<'a> = "transformations",
        content: Raw<'a> = "content",
        thinking: Raw<'a> = "thinking",
        signature: Raw<'a> = "signature",
        redacted: Raw<'a> = "data",
        id: Raw<'a> = "id",
        name: Raw<'a> = "name",
        input: Raw<'a> = "input",
        caller: Raw<'a> = "caller",
        toolset_name: Raw<'a> = "toolset_name",
        tool_use_id: Raw<'a> = "tool_use_id",
        is_error: Raw<'a> = "is_error",
    }
}

/// Where bytes are, or the name of where a search result is from.
pub(super) enum SourceWire<'a> {
    Object(Box<SourceObject<'a>>),
    Other(Raw<'a>),
}

flat! {
    /// `{"type":"base64","media_type":"image/png","data":"…"}`, `{"type":"url","url":"…"}` and others.
    pub(super) struct SourceObject {
        kind: Raw<'a> = "type",
        media_type: Raw<'a> = "media_type",
        bytes: Raw<'a> = "data",
        url: Raw<'a> = "url",
        content: Raw<'a> = "content",
    }
}

impl<'a> Leaf<'a> for SourceWire<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, Syntax> {
        if reader.kind()? != Kind::Object {
            return Ok(Leaf::read(reader)?.map(SourceWire::Other));
        }
        Ok(match Shape::read(reader)? {
            Some(Shape::Object(object)) => Some(SourceWire::Object(Box::new(object))),
            _ => None,
        })
    }
}

flat! {
    /// `{"enabled":true}`
    struct CitationsConfig {
        enabled: Raw<'a> = "enabled",
    }
}

flat! {
    /// `{"type":"direct"}`
    struct Caller {
        kind: Raw<'a> = "type",
    }
}

/// Whose content is read: not every block may stand everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `system`, or a message of the role `system`.
    System,
    User,
    Assistant,
    /// What a tool gave.
    ToolResult,
}

impl Place {
    fn blocks(self) -> &'static [&'static str] {
        match self {
            Place::System => &["text"],
            Place::User => &["text", "image", "document", "search_result", "tool_result"],
            // An assistant's pictures and files are for the target to refuse: the API's first version takes them.
            Place::Assistant => &["text", "thinking", "redacted_thinking", "tool_use", "image", "document", "search_result"],
            Place::ToolResult => &["text", "image", "document", "search_result"],
        }
    }

    /// Under which name a block is noted that only Anthropic's own servers make and read; no name where there is no such block.
    fn foreign(self, kind: &str) -> Option<&'static str> {
        let server = matches!(kind, "server_tool_use" | "mcp_tool_use" | "container_upload" | "compaction" | "fallback")
            || kind.strip_suffix("_tool_result").is_some_and(|tool| !tool.is_empty());
        match self {
            Place::User | Place::Assistant if server => Some("messages[].content[].type"),
            Place::ToolResult if matches!(kind, "tool_reference" | "browser_state") => Some("messages[].content[].content[].type"),
            _ => None,
        }
    }
}

/// Reads a `content`: a string is one text.
pub(super) fn content<'a>(raw: Raw<'a>, place: Place, path: &Path<'_>, notes: &mut Notes) -> Result<Vec<Part<'a>>, ApiError> {
    if let Some(text) = raw.text() {
        return Ok(vec![Part::Text(text)]);
    }
    if raw.kind() != Kind::Array {
        return Err(wrong_type(path, "a string or an array of blocks", raw.kind()));
    }
    // A list of one is what most messages come to.
    let mut parts = Vec::with_capacity(1);
    each(raw, path, |index, mut wire: BlockWire<'a>| {
        let path = path.item(index);
        let mut cache = cache_point(wire.cache_control.take(), &path)?;
        parts.extend(block(wire, place, &path, &mut cache, notes)?);
        // Where nothing stands before it there is nothing to cache.
        parts.extend(cache.filter(|_| !parts.is_empty()).map(Part::CachePoint));
        Ok(())
    })?;
    Ok(parts)
}

/// Reads one block; none where it is left out. A marker inside the block becomes the block's own, if that has none.
fn block<'a>(wire: BlockWire<'a>, place: Place, path: &Path<'_>, cache: &mut Option<CachePoint<'a>>, notes: &mut Notes) -> Result<Option<Part<'a>>, ApiError> {
    let kind_path = path.key("type");
    let kind = required_text(wire.kind, &kind_path)?;
    let kind = kind.unescape();
    if let Some(name) = place.foreign(&kind) {
        notes.add(name);
        return Ok(None);
    }
    if !place.blocks().contains(&&*kind) {
        return Err(wrong_value(&kind_path, format_args!("expected one of '{}' here", place.blocks().join("', '"))));
    }
    let part = match &*kind {
        "text" => plain(&wire, path, notes).map(Part::Text),
        "image" => image(wire, path, notes),
        "document" => document(wire, path, cache, notes),
        "search_result" => search_result(wire, path, cache, notes),
        "thinking" => thought(&wire, path),
        "redacted_thinking" => filled_text(wire.redacted, &path.key("data")).map(Part::RedactedReasoning),
        "tool_use" => tool_use(&wire, path, notes),
        _ => tool_result(&wire, path, notes),
    };
    part.map(Some)
}

/// The text of a text block. What it cites is told nowhere else.
fn plain<'a>(wire: &BlockWire<'a>, path: &Path<'_>, notes: &mut Notes) -> Result<Text<'a>, ApiError> {
    let citations_path = path.key("citations");
    if let Some(citations) = wire.citations {
        if citations.kind() != Kind::Array {
            return Err(wrong_type(&citations_path, "an array", citations.kind()));
        }
        notes.add_if(!is_empty(citations), "messages[].content[].citations");
    }
    required_text(wire.text, &path.key("text"))
}

fn source<'a>(member: Option<SourceWire<'a>>, path: &Path<'_>) -> Result<SourceObject<'a>, ApiError> {
    match member {
        Some(SourceWire::Object(object)) => Ok(*object),
        Some(SourceWire::Other(raw)) => Err(wrong_type(path, "an object", raw.kind())),
        None => Err(missing(path)),
    }
}

fn image<'a>(wire: BlockWire<'a>, path: &Path<'_>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    notes.add_if(wire.transformations.is_some_and(|wish| !is_empty(wish)), "messages[].content[].transformations");
    let path = path.key("source");
    let source = source(wire.source, &path)?;
    let kind_path = path.key("type");
    match one_of(source.kind, &["base64", "url", "file"], &kind_path)?.ok_or_else(|| missing(&kind_path))? {
        "base64" => {
            let (media_type, source) = base64(&source, &path)?;
            Ok(Part::Image(Image { media_type: Some(media_type), source }))
        }
        "url" => Ok(Part::Image(Image { media_type: None, source: url(&source, &path)? })),
        _ => Err(no_files(&kind_path)),
    }
}

fn document<'a>(wire: BlockWire<'a>, path: &Path<'_>, cache: &mut Option<CachePoint<'a>>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    let name = text(wire.title, &path.key("title"))?.filter(|title| !title.is_empty());
    let context = text(wire.context, &path.key("context"))?.filter(|context| !context.is_empty());
    let citations = cites(wire.citations, &path.key("citations"))?;
    let path = path.key("source");
    let from = source(wire.source, &path)?;
    let kind_path = path.key("type");
    let (media_type, source) = match one_of(from.kind, &["base64", "text", "content", "url", "file"], &kind_path)?.ok_or_else(|| missing(&kind_path))? {
        "base64" => {
            let (media_type, source) = base64(&from, &path)?;
            (Some(media_type), source)
        }
        "text" => (Some(media_type(&from, &path)?), Source::Text(required_text(from.bytes, &path.key("data"))?)),
        "content" => {
            let path = path.key("content");
            let content = from.content.ok_or_else(|| missing(&path))?;
            let texts = match content.text() {
                Some(text) => vec![text],
                None => texts(content, &path, cache, notes)?,
            };
            (None, Source::Texts(texts))
        }
        "url" => (None, url(&from, &path)?),
        _ => return Err(no_files(&kind_path)),
    };
    Ok(Part::Document(Document { media_type, name, context, citations, source }))
}

fn search_result<'a>(wire: BlockWire<'a>, path: &Path<'_>, cache: &mut Option<CachePoint<'a>>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    let source_path = path.key("source");
    let source = match wire.source {
        Some(SourceWire::Other(raw)) => required_text(Some(raw), &source_path)?,
        Some(SourceWire::Object(_)) => return Err(wrong_type(&source_path, "a string", Kind::Object)),
        None => return Err(missing(&source_path)),
    };
    let title = required_text(wire.title, &path.key("title"))?;
    let content_path = path.key("content");
    let content = texts(wire.content.ok_or_else(|| missing(&content_path))?, &content_path, cache, notes)?;
    let citations = cites(wire.citations, &path.key("citations"))?;
    Ok(Part::SearchResult(SearchResult { source, title, content, citations }))
}

/// A list of text blocks, inside another block. Pictures in there have no place in another API.
fn texts<'a>(raw: Raw<'a>, path: &Path<'_>, cache: &mut Option<CachePoint<'a>>, notes: &mut Notes) -> Result<Vec<Text<'a>>, ApiError> {
    let mut texts = Vec::new();
    each(raw, path, |index, mut wire: BlockWire<'a>| {
        let path = path.item(index);
        let kind_path = path.key("type");
        one_of(wire.kind, &["text"], &kind_path)?.ok_or_else(|| missing(&kind_path))?;
        if let Some(point) = cache_point(wire.cache_control.take(), &path)? {
            cache.get_or_insert(point);
        }
        texts.push(plain(&wire, &path, notes)?);
        Ok(())
    })?;
    Ok(texts)
}

/// `{"type":"thinking","thinking":"…","signature":"…"}`. Models of other vendors do not seal their thoughts, and an empty seal is none.
fn thought<'a>(wire: &BlockWire<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    let text_path = path.key("thinking");
    let thought = text(wire.thinking, &text_path)?;
    let signature = text(wire.signature, &path.key("signature"))?.filter(|signature| !signature.is_empty());
    match (thought, signature) {
        (None, None) => Err(missing(&text_path)),
        (thought, signature) => Ok(Part::Reasoning(Reasoning { text: thought.unwrap_or(Text::EMPTY), signature })),
    }
}

fn tool_use<'a>(wire: &BlockWire<'a>, path: &Path<'_>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    if let Some(raw) = wire.caller {
        let path = path.key("caller");
        let caller: Caller<'a> = members(raw, &path)?;
        notes.add_if(required_text(caller.kind, &path.key("type"))? != "direct", "messages[].content[].caller");
    }
    toolset(wire, path, notes)?;
    let id = filled_text(wire.id, &path.key("id"))?;
    let name = filled_text(wire.name, &path.key("name"))?;
    let input_path = path.key("input");
    let input = carried_object(wire.input.ok_or_else(|| missing(&input_path))?, &input_path)?;
    Ok(Part::ToolUse(ToolUse { id, name, input: Cow::Borrowed(input.as_str()) }))
}

fn tool_result<'a>(wire: &BlockWire<'a>, path: &Path<'_>, notes: &mut Notes) -> Result<Part<'a>, ApiError> {
    toolset(wire, path, notes)?;
    let id = filled_text(wire.tool_use_id, &path.key("tool_use_id"))?;
    let is_error = boolean(wire.is_error, &path.key("is_error"))?;
    let parts = match wire.content {
        Some(raw) => content(raw, Place::ToolResult, &path.key("content"), notes)?,
        None => Vec::new(),
    };
    Ok(Part::ToolResult(ToolResult { id, parts, is_error }))
}

fn toolset(wire: &BlockWire<'_>, path: &Path<'_>, notes: &mut Notes) -> Result<(), ApiError> {
    let toolset = text(wire.toolset_name, &path.key("toolset_name"))?;
    notes.add_if(toolset.is_some_and(|name| !name.is_empty()), "messages[].content[].toolset_name");
    Ok(())
}

/// Whether the answer should cite: `{"enabled":true}`.
fn cites(member: Option<Raw<'_>>, path: &Path<'_>) -> Result<Option<bool>, ApiError> {
    let Some(raw) = member else { return Ok(None) };
    let config: CitationsConfig<'_> = members(raw, path)?;
    boolean(config.enabled, &path.key("enabled"))
}

fn base64<'a>(source: &SourceObject<'a>, path: &Path<'_>) -> Result<(Cow<'a, str>, Source<'a>), ApiError> {
    Ok((media_type(source, path)?, Source::Base64(filled_text(source.bytes, &path.key("data"))?)))
}

fn media_type<'a>(source: &SourceObject<'a>, path: &Path<'_>) -> Result<Cow<'a, str>, ApiError> {
    let text = filled_text(source.media_type, &path.key("media_type"))?;
    // `image\/png`, as PHP writes it.
    Ok(if text.escaped().contains('\\') { Cow::Owned(text.unescape().into_owned()) } else { text.into_escaped() })
}

/// Only the scheme matters, and no escape is needed in one. S3 is no part of the API, but Bedrock reads it.
fn url<'a>(source: &SourceObject<'a>, path: &Path<'_>) -> Result<Source<'a>, ApiError> {
    let path = path.key("url");
    let url = filled_text(source.url, &path)?;
    let has_scheme = |scheme: &str| url.escaped().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if has_scheme("https:") || has_scheme("http:") {
        Ok(Source::Url(url))
    } else if has_scheme("s3:") {
        Ok(Source::S3(url))
    } else {
        Err(wrong_value(&path, "expected an http(s) URL or an s3 URI"))
    }
}

fn no_files(path: &Path<'_>) -> ApiError {
    wrong_value(path, "uploaded files are not supported, send the bytes with the type 'base64'")
}
