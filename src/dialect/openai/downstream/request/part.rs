//! Content: a string, or parts of text, pictures, files, sound and thoughts. Bytes stay base64 as they stand; nobody looks into them here.

use std::borrow::Cow;

use crate::chat::{ApiError, Audio, Document, Image, Part, Reasoning, Source};
use crate::wire::json::{Kind, Raw, Text};

use super::tool::{Breakpoint, CacheControl, cache_point};
use crate::chat::read::{Path, Shape, each, filled_text, flat, missing, required_object, required_text, text, wrong_type, wrong_value};

flat! {
    /// A content part of any type, and a block of `thinking_blocks`.
    pub(super) struct PartWire {
        kind: Raw<'a> = "type",
        text: Raw<'a> = "text",
        refusal: Raw<'a> = "refusal",
        image_url: Shape<ImageUrl<'a>> = "image_url",
        file: Shape<File<'a>> = "file",
        input_audio: Shape<InputAudio<'a>> = "input_audio",
        thinking: Raw<'a> = "thinking",
        signature: Raw<'a> = "signature",
        redacted: Raw<'a> = "data",
        cache_control: Shape<CacheControl<'a>> = "cache_control",
        breakpoint: Shape<Breakpoint<'a>> = "prompt_cache_breakpoint",
    }
}

flat! {
    /// `{"url":"…","detail":"high"}`
    pub(super) struct ImageUrl {
        url: Raw<'a> = "url",
        detail: Raw<'a> = "detail",
    }
}

flat! {
    /// `{"file_data":"…","filename":"…"}`
    pub(super) struct File {
        filename: Raw<'a> = "filename",
        file_data: Raw<'a> = "file_data",
        file_id: Raw<'a> = "file_id",
    }
}

flat! {
    /// `{"data":"…","format":"wav"}`
    pub(super) struct InputAudio {
        bytes: Raw<'a> = "data",
        format: Raw<'a> = "format",
    }
}

flat! {
    /// An item of `reasoning_details`.
    pub(super) struct Detail {
        kind: Raw<'a> = "type",
        text: Raw<'a> = "text",
        signature: Raw<'a> = "signature",
        redacted: Raw<'a> = "data",
        format: Raw<'a> = "format",
    }
}

/// Whose content is read: not every part may stand everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A message of the role `system` or `developer`.
    System,
    User,
    Assistant,
    /// A message of the role `tool` or `function`.
    Tool,
}

impl Place {
    fn parts(self) -> &'static [&'static str] {
        match self {
            Place::System => &["text"],
            Place::User => &["text", "image_url", "file", "input_audio"],
            Place::Assistant => &["text", "refusal", "thinking", "redacted_thinking"],
            Place::Tool => &["text", "image_url", "file"],
        }
    }
}

/// Reads `content` behind the parts that are there already. The answer tells whether a picture's `detail` was asked for, which no target knows.
pub(super) fn content<'a>(raw: Raw<'a>, place: Place, path: &Path<'_>, out: &mut Vec<Part<'a>>) -> Result<bool, ApiError> {
    if let Some(text) = raw.text() {
        out.push(Part::Text(text));
        return Ok(false);
    }
    if raw.kind() != Kind::Array {
        return Err(wrong_type(path, "a string or an array of content parts", raw.kind()));
    }
    let (before, mut detail) = (out.len(), false);
    each(raw, path, |index, mut wire: PartWire<'a>| {
        let path = path.item(index);
        let cache = cache_point(wire.cache_control.take(), wire.breakpoint.take(), &path)?;
        detail |= wire.image_url.as_ref().is_some_and(ImageUrl::wants_detail);
        out.push(part(wire, place, &path)?);
        out.extend(cache.map(Part::CachePoint));
        Ok(())
    })?;
    if out.len() == before && matches!(place, Place::System | Place::User) {
        return Err(wrong_value(path, "it must hold at least one content part"));
    }
    Ok(detail)
}

fn part<'a>(wire: PartWire<'a>, place: Place, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    let kind_path = path.key("type");
    let kind = required_text(wire.kind, &kind_path)?;
    let kind = kind.unescape();
    if !place.parts().contains(&&*kind) {
        return Err(wrong_value(&kind_path, format_args!("a message of this role takes parts of the types '{}'", place.parts().join("', '"))));
    }
    match &*kind {
        "text" => Ok(Part::Text(required_text(wire.text, &path.key("text"))?)),
        "refusal" => Ok(Part::Text(required_text(wire.refusal, &path.key("refusal"))?)),
        "image_url" => image(required_object(wire.image_url, &path.key("image_url"))?, &path.key("image_url")),
        "file" => file(required_object(wire.file, &path.key("file"))?, &path.key("file")),
        "input_audio" => audio(required_object(wire.input_audio, &path.key("input_audio"))?, &path.key("input_audio")),
        _ => thought(wire, path),
    }
}

/// The thoughts that an assistant message brings back, sealed ones in the form that holds them whole.
pub(super) fn thoughts<'a>(
    blocks: Option<Raw<'a>>,
    details: Option<Raw<'a>>,
    plain: (Option<Raw<'a>>, Option<Raw<'a>>),
    path: &Path<'_>,
    out: &mut Vec<Part<'a>>,
) -> Result<(), ApiError> {
    let before = out.len();
    if let Some(raw) = blocks {
        let path = path.key("thinking_blocks");
        each(raw, &path, |index, wire: PartWire<'a>| {
            out.push(thought(wire, &path.item(index))?);
            Ok(())
        })?;
    }
    if let Some(raw) = details.filter(|_| out.len() == before) {
        let path = path.key("reasoning_details");
        each(raw, &path, |index, wire: Detail<'a>| {
            out.extend(detail(wire, &path.item(index))?);
            Ok(())
        })?;
    }
    if out.len() > before {
        return Ok(());
    }
    let thought = text(plain.0, &path.key("reasoning_content"))?;
    let signature = text(plain.1, &path.key("reasoning_signature"))?.filter(|signature| !signature.is_empty());
    if signature.is_some() || thought.as_ref().is_some_and(|thought| !thought.is_empty()) {
        out.push(Part::Reasoning(Reasoning { text: thought.unwrap_or(Text::EMPTY), signature }));
    }
    Ok(())
}

/// `{"type":"thinking","thinking":"…","signature":"…"}` or `{"type":"redacted_thinking","data":"…"}`
fn thought<'a>(wire: PartWire<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    let kind_path = path.key("type");
    let kind = required_text(wire.kind, &kind_path)?;
    if kind == "redacted_thinking" {
        return Ok(Part::RedactedReasoning(filled_text(wire.redacted, &path.key("data"))?));
    }
    if kind != "thinking" {
        return Err(wrong_value(&kind_path, "expected one of 'thinking', 'redacted_thinking'"));
    }
    let text_path = path.key("thinking");
    let thought = text(wire.thinking, &text_path)?;
    let signature = text(wire.signature, &path.key("signature"))?.filter(|signature| !signature.is_empty());
    match (thought, signature) {
        (None, None) => Err(missing(&text_path)),
        (thought, signature) => Ok(Part::Reasoning(Reasoning { text: thought.unwrap_or(Text::EMPTY), signature })),
    }
}

/// One item of `reasoning_details`. Summaries, and what another vendor's model has sealed, mean nothing to a model on Bedrock.
fn detail<'a>(wire: Detail<'a>, path: &Path<'_>) -> Result<Option<Part<'a>>, ApiError> {
    let kind = required_text(wire.kind, &path.key("type"))?;
    let format = text(wire.format, &path.key("format"))?;
    if format.is_some_and(|format| !format.unescape().starts_with("anthropic")) {
        return Ok(None);
    }
    if kind == "reasoning.text" {
        let thought = text(wire.text, &path.key("text"))?.unwrap_or(Text::EMPTY);
        let signature = text(wire.signature, &path.key("signature"))?.filter(|signature| !signature.is_empty());
        return Ok(Some(Part::Reasoning(Reasoning { text: thought, signature })));
    }
    if kind == "reasoning.encrypted" {
        return Ok(Some(Part::RedactedReasoning(filled_text(wire.redacted, &path.key("data"))?)));
    }
    Ok(None)
}

impl ImageUrl<'_> {
    fn wants_detail(shape: &Shape<Self>) -> bool {
        match shape {
            Shape::Object(image) => image.detail.and_then(Raw::text).is_some_and(|detail| detail != "auto"),
            Shape::Other(_) => false,
        }
    }
}

fn image<'a>(wire: ImageUrl<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    text(wire.detail, &path.key("detail"))?;
    picture(wire.url, &path.key("url"))
}

/// A picture by the URL that a member holds.
pub(in crate::dialect::openai) fn picture<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    match locate(member, path)? {
        Located::Bytes { media_type, base64 } => Ok(Part::Image(Image { media_type, source: Source::Base64(base64) })),
        Located::Elsewhere(source) => Ok(Part::Image(Image { media_type: None, source })),
        Located::Bare(_) => Err(wrong_value(path, "expected a data URL with base64, an http(s) URL or an s3 URI")),
    }
}

fn file<'a>(wire: File<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    if wire.file_id.is_some() {
        return Err(wrong_value(&path.key("file_id"), "uploaded files are not supported, send 'file_data'"));
    }
    let name = text(wire.filename, &path.key("filename"))?;
    Ok(document(locate(wire.file_data, &path.key("file_data"))?, name))
}

/// A file where it was found; a picture that came as one is a picture.
pub(in crate::dialect::openai) fn document<'a>(located: Located<'a>, name: Option<Text<'a>>) -> Part<'a> {
    let document = |media_type, source| Part::Document(Document { media_type, name, context: None, citations: None, source });
    match located {
        Located::Bytes { media_type: Some(media_type), base64 } if starts_with(&media_type, "image/") => {
            Part::Image(Image { media_type: Some(media_type), source: Source::Base64(base64) })
        }
        Located::Bytes { media_type, base64 } => document(media_type, Source::Base64(base64)),
        Located::Elsewhere(source) => document(None, source),
        Located::Bare(base64) => document(None, Source::Base64(base64)),
    }
}

fn audio<'a>(wire: InputAudio<'a>, path: &Path<'_>) -> Result<Part<'a>, ApiError> {
    let format = filled_text(wire.format, &path.key("format"))?;
    let path = path.key("data");
    match locate(wire.bytes, &path)? {
        Located::Bytes { base64, .. } | Located::Bare(base64) => Ok(Part::Audio(Audio { format, source: Source::Base64(base64) })),
        Located::Elsewhere(_) => Err(wrong_value(&path, "expected base64")),
    }
}

/// Where a string of the API says that the bytes are.
pub(in crate::dialect::openai) enum Located<'a> {
    /// In a data URL.
    Bytes { media_type: Option<Cow<'a, str>>, base64: Text<'a> },
    /// Behind a URL.
    Elsewhere(Source<'a>),
    /// Not a URL: perhaps base64 itself.
    Bare(Text<'a>),
}

pub(in crate::dialect::openai) fn locate<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Located<'a>, ApiError> {
    let text = filled_text(member, path)?;
    // The string between its quotes, for as long as the body lives.
    let escaped: &'a str = member.and_then(|raw| raw.as_str().get(1..raw.as_str().len() - 1)).unwrap_or_default();
    if starts_with(escaped, "data:") {
        return data_url(escaped, path);
    }
    // Only the scheme matters, and no escape is needed in one.
    Ok(if starts_with(escaped, "https:") || starts_with(escaped, "http:") {
        Located::Elsewhere(Source::Url(text))
    } else if starts_with(escaped, "s3:") {
        Located::Elsewhere(Source::S3(text))
    } else {
        Located::Bare(text)
    })
}

/// Splits `data:[media type][;parameter]*;base64,…` (RFC 2397). The base64 stays as it stands, escaped slashes and all.
fn data_url<'a>(escaped: &'a str, path: &Path<'_>) -> Result<Located<'a>, ApiError> {
    let (head, base64) = escaped.split_at("data:".len()).1.split_once(',').ok_or_else(|| wrong_value(path, "the data URL has no comma"))?;
    let (media_type, encoding) = match head.rfind(';') {
        Some(at) => (head.split(';').next().unwrap_or_default(), head.split_at(at + 1).1),
        None => (head, ""),
    };
    if !encoding.trim().eq_ignore_ascii_case("base64") {
        return Err(wrong_value(path, "the data URL must be base64"));
    }
    if base64.is_empty() {
        return Err(wrong_value(path, "the data URL is empty"));
    }
    let media_type = match media_type.trim() {
        "" => None,
        // `image\/png`, as PHP writes it.
        escaped if escaped.contains('\\') => Some(Cow::Owned(Text::from_escaped(escaped).unescape().into_owned())),
        plain => Some(Cow::Borrowed(plain)),
    };
    Ok(Located::Bytes { media_type, base64: Text::from_escaped(base64) })
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
