//! Pictures, files and sound as content parts. Bytes go as data URLs, and the base64 in them moves as it stands; only its beginning is decoded, because
//! clients err in what they say a picture is.

use std::borrow::Cow;

use crate::chat::media::{EMPTY, Head, NOT_BASE64, document_format, ending};
use crate::chat::{ApiError, Audio, Document, Image, SearchResult, Source};
use crate::wire::json::{Object, Text};

/// Why nothing in a bucket can be sent.
const IN_S3: &str = "files in S3 are not supported by this model: send the file itself";
const IMAGES: &str = "images must be PNG, JPEG, GIF or WebP";
const SOUNDS: &str = "audio must be wav or mp3, as base64";
const REMOTE: &str = "files behind a URL are not supported by this model: send the file itself";

/// A content part, ready to be written. Texts are in escaped form.
#[derive(Debug)]
pub(super) enum Piece<'r> {
    Text(Cow<'r, str>),
    /// Behind a URL of the client's.
    Link(&'r str),
    Picture {
        format: &'static str,
        base64: Cow<'r, str>,
    },
    File {
        name: Cow<'r, str>,
        media_type: Cow<'r, str>,
        base64: Cow<'r, str>,
    },
    Sound {
        format: &'static str,
        base64: Cow<'r, str>,
    },
}

impl Piece<'_> {
    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        match self {
            Piece::Text(text) => text.len() + 32,
            Piece::Link(url) => url.len() + 64,
            Piece::Picture { base64, .. } | Piece::Sound { base64, .. } => base64.len() + 96,
            Piece::File { name, base64, .. } => base64.len() + name.len() + 128,
        }
    }

    pub(super) fn write(&self, part: &mut Object<'_>) {
        match self {
            Piece::Text(text) => {
                part.string("type", "text");
                write_escaped(part, "text", &[text]);
            }
            Piece::Link(url) => {
                part.string("type", "image_url");
                part.object("image_url", |image| write_escaped(image, "url", &[url]));
            }
            Piece::Picture { format, base64 } => {
                part.string("type", "image_url");
                part.object("image_url", |image| write_escaped(image, "url", &["data:image/", format, ";base64,", base64]));
            }
            Piece::File { name, media_type, base64 } => {
                part.string("type", "file");
                part.object("file", |file| {
                    write_escaped(file, "filename", &[name]);
                    write_escaped(file, "file_data", &["data:", media_type, ";base64,", base64]);
                });
            }
            Piece::Sound { format, base64 } => {
                part.string("type", "input_audio");
                part.object("input_audio", |sound| {
                    write_escaped(sound, "data", &[base64]);
                    sound.string("format", format);
                });
            }
        }
    }
}

/// A string member of pieces in escaped form.
fn write_escaped(object: &mut Object<'_>, name: &str, pieces: &[&str]) {
    let out = object.key(name);
    out.push(b'"');
    pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
    out.push(b'"');
}

/// A picture. The bytes decide what it is; one behind a URL is for the server to fetch.
///
/// # Errors
/// 400 for what is no PNG, JPEG, GIF or WebP, for a picture in S3 and for nothing at all.
pub(super) fn picture<'r>(image: &'r Image<'_>, param: impl Fn() -> String) -> Result<Piece<'r>, ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid(param(), why));
    match &image.source {
        Source::Url(url) => Ok(Piece::Link(url.escaped())),
        Source::S3(_) => refuse(IN_S3),
        Source::Text(_) | Source::Texts(_) => refuse(IMAGES),
        Source::Base64(text) => {
            let head = Head::of(text);
            match (head.fault, head.image()) {
                (Some(fault), _) => refuse(fault),
                (None, Some(format)) => Ok(Piece::Picture { format, base64: compact(text) }),
                (None, None) => refuse(IMAGES),
            }
        }
    }
}

/// A file, or the text that is one, with what the client says about it in front.
///
/// # Errors
/// 400 for a file behind a URL or in S3, and for nothing at all.
pub(super) fn file<'r>(document: &'r Document<'_>, param: impl Fn() -> String, out: &mut Vec<Piece<'r>>) -> Result<(), ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid(param(), why));
    let (name, context) = (document.name.as_ref(), document.context.as_ref());
    match &document.source {
        Source::Url(_) => refuse(REMOTE),
        Source::S3(_) => refuse(IN_S3),
        Source::Text(text) if text.is_blank() => refuse(EMPTY),
        Source::Text(text) => {
            out.push(Piece::Text(described(&[("Title", name), ("Context", context)], std::slice::from_ref(text))));
            Ok(())
        }
        Source::Texts(texts) if texts.iter().all(Text::is_blank) => refuse(EMPTY),
        Source::Texts(texts) => {
            out.push(Piece::Text(described(&[("Title", name), ("Context", context)], texts)));
            Ok(())
        }
        Source::Base64(text) => {
            let head = Head::of(text);
            if let Some(fault) = head.fault {
                return refuse(fault);
            }
            let media_type = media_type(document, &head);
            let name = match name.filter(|name| !name.is_blank()) {
                Some(name) => with_ending(name, &media_type),
                None => Cow::Owned(format!("document.{}", document_format(&media_type).unwrap_or("bin"))),
            };
            if let Some(context) = context.filter(|context| !context.is_blank()) {
                let text = described(&[("File", Some(&Text::from_escaped(name.as_ref()))), ("Context", Some(context))], &[]);
                out.push(Piece::Text(Cow::Owned(text.into_owned())));
            }
            out.push(Piece::File { name, media_type, base64: compact(text) });
            Ok(())
        }
    }
}

/// A file's name, with an ending where there is none that tells what it is: Bedrock's clients may not write a dot, and servers go by the ending.
fn with_ending<'r>(name: &'r Text<'_>, media_type: &str) -> Cow<'r, str> {
    let known = ending(&name.unescape()).and_then(document_format).is_some();
    match document_format(media_type).filter(|_| !known) {
        Some(format) => Cow::Owned(format!("{}.{format}", name.escaped())),
        None => Cow::Borrowed(name.escaped()),
    }
}

/// Sound.
///
/// # Errors
/// 400 for everything but WAV and MP3 as base64.
pub(super) fn sound<'r>(audio: &'r Audio<'_>, param: impl Fn() -> String) -> Result<Piece<'r>, ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid(param(), why));
    let format = match audio.format.unescape().to_ascii_lowercase().as_str() {
        "wav" | "wave" | "x-wav" => "wav",
        "mp3" | "mpeg" | "mpga" => "mp3",
        _ => return refuse(SOUNDS),
    };
    match &audio.source {
        Source::Base64(text) => match Head::of(text).fault {
            Some(fault) => refuse(fault),
            None => Ok(Piece::Sound { format, base64: compact(text) }),
        },
        Source::S3(_) => refuse(IN_S3),
        Source::Url(_) => refuse(REMOTE),
        Source::Text(_) | Source::Texts(_) => refuse(NOT_BASE64),
    }
}

/// A passage that the client found, as text.
pub(super) fn passage<'r>(found: &'r SearchResult<'_>) -> Piece<'r> {
    Piece::Text(described(&[("Title", Some(&found.title)), ("Source", Some(&found.source))], &found.content))
}

/// Texts with lines about them in front: `Title: …`, an empty line, the texts. In escaped form.
fn described<'r>(about: &[(&str, Option<&Text<'_>>)], texts: &'r [Text<'_>]) -> Cow<'r, str> {
    let about = about.iter().filter_map(|(label, text)| Some((label, text.filter(|text| !text.is_blank())?)));
    let mut out = String::new();
    for (label, text) in about {
        out.push_str(label);
        out.push_str(": ");
        out.push_str(text.escaped());
        out.push_str("\\n");
    }
    if let ([only], true) = (texts, out.is_empty()) {
        return Cow::Borrowed(only.escaped());
    }
    for text in texts {
        if !out.is_empty() {
            out.push_str("\\n");
        }
        out.push_str(text.escaped());
    }
    Cow::Owned(out)
}

/// What a file is called in a data URL: by its bytes, by what the client says, by its name. In escaped form.
fn media_type<'r>(document: &'r Document<'_>, head: &Head) -> Cow<'r, str> {
    if head.starts_with(b"%PDF") {
        return Cow::Borrowed("application/pdf");
    }
    let declared = document.media_type.as_deref().map(|declared| declared.split(';').next().unwrap_or_default().trim());
    if let Some(declared) = declared.filter(|declared| declared.contains('/')) {
        // It goes into a URL inside a string.
        let is_plain = declared.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'+' | b'-' | b'_'));
        return Cow::Borrowed(if is_plain { declared } else { "application/octet-stream" });
    }
    let name = document.name.as_ref().map(Text::unescape);
    let format = declared.and_then(document_format).or_else(|| name.as_deref().and_then(ending).and_then(document_format));
    Cow::Borrowed(match format {
        Some("pdf") => "application/pdf",
        Some("csv") => "text/csv",
        Some("doc") => "application/msword",
        Some("docx") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        Some("xls") => "application/vnd.ms-excel",
        Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Some("html") => "text/html",
        Some("md") => "text/markdown",
        Some("txt") => "text/plain",
        _ => "application/octet-stream",
    })
}

/// Base64 without the line breaks that some encoders put in: a URL has none.
fn compact<'r>(base64: &'r Text<'_>) -> Cow<'r, str> {
    let escaped = base64.escaped();
    if !escaped.contains(['\\', ' ']) {
        return Cow::Borrowed(escaped);
    }
    let plain: String = base64.unescape().chars().filter(|c| !c.is_ascii_whitespace()).collect();
    Cow::Owned(Text::from_plain(plain).into_escaped().into_owned())
}
