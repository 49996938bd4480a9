//! Pictures, files and search results as Messages blocks.
//!
//! The bytes decide what a file is, whatever the client calls it. Claude reads PDF and plain text; other text files (CSV, HTML, Markdown) go as plain text,
//! and what is neither is refused. URLs go along: Anthropic fetches them itself.
//!
//! Vendor pages: <https://platform.claude.com/docs/en/build-with-claude/vision>, <https://platform.claude.com/docs/en/build-with-claude/pdf-support>,
//! <https://platform.claude.com/docs/en/build-with-claude/search-results>.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::chat::media::{EMPTY, Head, NOT_BASE64, document_format, ending};
use crate::chat::{ApiError, Document, Image, SearchResult, Source};
use crate::wire::json::{Object, Text};

const IMAGES: &str = "images must be PNG, JPEG, GIF or WebP";
const DOCUMENTS: &str = "this model reads PDF and plain text files only";
const NOT_TEXT: &str = "the file is not UTF-8 text";
const ELSEWHERE: &str = "files in S3 are not supported by this model. Send the file itself";
const NO_PASSAGES: &str = "a search result must hold text";

/// Base64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// A picture, ready to be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Picture<'r> {
    Base64 { media_type: &'static str, data: &'r Text<'r> },
    Url(&'r Text<'r>),
}

/// A file, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct File<'r> {
    source: FileSource<'r>,
    title: Option<&'r Text<'r>>,
    context: Option<&'r Text<'r>>,
    citations: Option<bool>,
}

#[derive(Clone, Debug)]
enum FileSource<'r> {
    Pdf(&'r Text<'r>),
    /// Escaped form.
    Text(Cow<'r, str>),
    Passages(Vec<&'r Text<'r>>),
    Url(&'r Text<'r>),
}

/// Reads a picture.
///
/// # Errors
/// 400 for what is no PNG, JPEG, GIF or WebP, and for nothing at all.
pub(super) fn picture<'r>(image: &'r Image<'_>, param: impl Fn() -> String) -> Result<Picture<'r>, ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid(param(), why));
    match &image.source {
        Source::Url(url) => Ok(Picture::Url(url)),
        Source::S3(_) => refuse(ELSEWHERE),
        Source::Text(_) | Source::Texts(_) => refuse(IMAGES),
        Source::Base64(data) => {
            let head = Head::of(data);
            if let Some(fault) = head.fault {
                return refuse(fault);
            }
            let media_type = match head.image() {
                Some("png") => "image/png",
                Some("jpeg") => "image/jpeg",
                Some("gif") => "image/gif",
                Some("webp") => "image/webp",
                _ => return refuse(IMAGES),
            };
            Ok(Picture::Base64 { media_type, data })
        }
    }
}

/// Reads a file.
///
/// # Errors
/// 400 for a format that Claude does not read, and for nothing at all.
pub(super) fn file<'r>(document: &'r Document<'_>, param: impl Fn() -> String) -> Result<File<'r>, ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid(param(), why));
    let source = match &document.source {
        Source::Url(url) => FileSource::Url(url),
        Source::S3(_) => return refuse(ELSEWHERE),
        Source::Text(text) if text.is_blank() => return refuse(EMPTY),
        Source::Text(text) => FileSource::Text(Cow::Borrowed(text.escaped())),
        Source::Texts(texts) => {
            let passages: Vec<&Text<'_>> = texts.iter().filter(|text| !text.is_blank()).collect();
            if passages.is_empty() {
                return refuse(EMPTY);
            }
            FileSource::Passages(passages)
        }
        Source::Base64(data) => {
            let head = Head::of(data);
            if let Some(fault) = head.fault {
                return refuse(fault);
            }
            let declared = document.media_type.as_deref().and_then(document_format);
            let by_name = || document.name.as_ref().and_then(|name| document_format(ending(&name.unescape())?));
            match declared.or_else(by_name) {
                _ if head.starts_with(b"%PDF") => FileSource::Pdf(data),
                Some("pdf") => FileSource::Pdf(data),
                Some("txt" | "csv" | "html" | "md") => match plain(data) {
                    Ok(text) if text.trim().is_empty() => return refuse(EMPTY),
                    Ok(text) => FileSource::Text(Text::from_plain(text).into_escaped()),
                    Err(why) => return refuse(why),
                },
                _ => return refuse(DOCUMENTS),
            }
        }
    };
    let filled = |text: &'r Option<Text<'_>>| text.as_ref().filter(|text| !text.is_blank());
    Ok(File { source, title: filled(&document.name), context: filled(&document.context), citations: document.citations })
}

/// Makes sure that a search result says something.
///
/// # Errors
/// 400 for nothing at all.
pub(super) fn search<'r>(result: &'r SearchResult<'r>, param: impl Fn() -> String) -> Result<&'r SearchResult<'r>, ApiError> {
    if result.content.iter().all(Text::is_blank) { Err(ApiError::invalid(param(), NO_PASSAGES)) } else { Ok(result) }
}

/// The text of a text file.
fn plain(data: &Text<'_>) -> Result<String, &'static str> {
    let base64: Vec<u8> = data
        .unescape()
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            // The alphabet for URLs.
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        })
        .collect();
    let bytes = LENIENT.decode(base64).map_err(|_| NOT_BASE64)?;
    String::from_utf8(bytes).map_err(|_| NOT_TEXT)
}

impl Picture<'_> {
    /// About how many bytes it takes.
    pub(super) fn size(self) -> usize {
        match self {
            Picture::Base64 { data: text, .. } | Picture::Url(text) => text.escaped().len(),
        }
    }

    /// Adds the members of its block.
    pub(super) fn write(self, block: &mut Object<'_>) {
        block.raw("type", r#""image""#);
        block.object("source", |source| match self {
            Picture::Base64 { media_type, data } => write_base64(source, media_type, data),
            Picture::Url(url) => write_url(source, url),
        });
    }
}

impl File<'_> {
    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let of = |text: Option<&Text<'_>>| text.map_or(0, |text| text.escaped().len() + 16);
        let source = match &self.source {
            FileSource::Pdf(text) | FileSource::Url(text) => text.escaped().len(),
            FileSource::Text(text) => text.len(),
            FileSource::Passages(texts) => texts.iter().map(|text| text.escaped().len() + 32).sum(),
        };
        source + of(self.title) + of(self.context)
    }

    /// Adds the members of its block.
    pub(super) fn write(&self, block: &mut Object<'_>) {
        block.raw("type", r#""document""#);
        block.object("source", |source| match &self.source {
            FileSource::Pdf(data) => write_base64(source, "application/pdf", data),
            FileSource::Url(url) => write_url(source, url),
            FileSource::Text(text) => {
                source.raw("type", r#""text""#);
                source.raw("media_type", r#""text/plain""#);
                source.text("data", &Text::from_escaped(text.as_ref()));
            }
            FileSource::Passages(texts) => {
                source.raw("type", r#""content""#);
                write_texts(source, texts.iter().copied());
            }
        });
        if let Some(title) = self.title {
            block.text("title", title);
        }
        if let Some(context) = self.context {
            block.text("context", context);
        }
        write_citations(block, self.citations);
    }
}

/// Adds the members of a search result's block.
pub(super) fn write_search(block: &mut Object<'_>, result: &SearchResult<'_>) {
    block.raw("type", r#""search_result""#);
    block.text("source", &result.source);
    block.text("title", &result.title);
    write_texts(block, result.content.iter().filter(|text| !text.is_blank()));
    write_citations(block, result.citations);
}

fn write_texts<'t>(object: &mut Object<'_>, texts: impl Iterator<Item = &'t Text<'t>>) {
    object.array("content", |content| {
        for text in texts {
            content.object(|block| {
                block.raw("type", r#""text""#);
                block.text("text", text);
            });
        }
    });
}

fn write_citations(block: &mut Object<'_>, citations: Option<bool>) {
    if let Some(enabled) = citations {
        block.object("citations", |citations| citations.bool("enabled", enabled));
    }
}

fn write_base64(source: &mut Object<'_>, media_type: &str, data: &Text<'_>) {
    source.raw("type", r#""base64""#);
    source.string("media_type", media_type);
    source.text("data", data);
}

fn write_url(source: &mut Object<'_>, url: &Text<'_>) {
    source.raw("type", r#""url""#);
    source.text("url", url);
}
