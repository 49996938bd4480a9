//! Pictures, files and sound: what the bytes are, whatever the client calls them.
//!
//! Only the first bytes of the base64 are decoded; the rest moves as it stands. Nothing is fetched: a URL is refused.
//!
//! Formats of the service model: `ImageFormat`, `DocumentFormat`, `AudioFormat`.

use crate::chat::media::{EMPTY, Head, document_format, ending, image_format};
use crate::chat::{ApiError, Audio, Document, Image, Source};
use crate::wire::json::Text;

/// A picture, ready to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture<'r> {
    pub(super) format: &'static str,
    pub(super) bytes: Bytes<'r>,
}

/// A file, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct File<'r> {
    pub(super) format: &'static str,
    pub(super) name: String,
    pub(super) bytes: Bytes<'r>,
    /// What the model should know about it.
    pub(super) context: Option<&'r Text<'r>>,
    /// Whether the answer should cite it.
    pub(super) citations: Option<bool>,
}

/// Sound, ready to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sound<'r> {
    pub(super) format: &'static str,
    pub(super) bytes: Bytes<'r>,
}

/// Where the bytes are. Escaped form throughout.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bytes<'r> {
    Base64(&'r Text<'r>),
    S3(&'r Text<'r>),
    /// Plain text, to be turned into base64.
    Plain(&'r Text<'r>),
    /// Plain texts that may be cited one by one.
    Passages(&'r [Text<'r>]),
    /// Plain texts, to be turned into base64 together.
    Joined(&'r [Text<'r>]),
}

impl Bytes<'_> {
    /// About how many bytes it takes in the body.
    pub(super) fn size(self) -> usize {
        match self {
            Bytes::Base64(text) | Bytes::S3(text) => text.escaped().len(),
            Bytes::Plain(text) => text.escaped().len().div_ceil(3) * 4,
            Bytes::Passages(texts) | Bytes::Joined(texts) => texts.iter().map(|text| text.escaped().len().div_ceil(3) * 4 + 16).sum(),
        }
    }
}

const REMOTE: &str = "remote files are off: the gateway does not fetch URLs. Send the file itself, as a data: URL with base64";
const IMAGES: &str = "images must be PNG, JPEG, GIF or WebP";
const DOCUMENTS: &str = "files must be PDF, CSV, DOC, DOCX, XLS, XLSX, HTML, TXT or MD";

const AUDIO_FORMATS: [&str; 15] = ["mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm"];

/// Reads a picture. The bytes decide what it is; what the client calls it counts only where the bytes are elsewhere.
///
/// # Errors
/// 400 for what is no PNG, JPEG, GIF or WebP, for a URL and for nothing at all.
pub(super) fn picture<'r>(image: &'r Image<'_>, param: impl Fn() -> String) -> Result<Picture<'r>, ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid(param(), why));
    match &image.source {
        Source::Url(_) => refuse(REMOTE),
        Source::Text(_) | Source::Texts(_) => refuse(IMAGES),
        Source::S3(uri) => {
            let declared = image.media_type.as_deref().and_then(image_format);
            match declared.or_else(|| image_format(ending(&uri.unescape()).unwrap_or_default())) {
                Some(format) => Ok(Picture { format, bytes: Bytes::S3(uri) }),
                None => refuse(IMAGES),
            }
        }
        Source::Base64(text) => {
            let head = Head::of(text);
            if let Some(fault) = head.fault {
                return refuse(fault);
            }
            match head.image() {
                Some(format) => Ok(Picture { format, bytes: Bytes::Base64(text) }),
                None => refuse(IMAGES),
            }
        }
    }
}

/// Reads a file. `name` is the name it shall have.
///
/// # Errors
/// 400 for a format that Bedrock does not read, for a URL and for nothing at all.
pub(super) fn file<'r>(document: &'r Document<'_>, name: impl FnOnce(Option<&str>) -> String, param: impl Fn() -> String) -> Result<File<'r>, ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid(param(), why));
    let own_name = document.name.as_ref().map(Text::unescape);
    let declared = document.media_type.as_deref().and_then(document_format);
    let by_name = || own_name.as_deref().and_then(ending).and_then(document_format);
    let (format, bytes) = match &document.source {
        Source::Url(_) => return refuse(REMOTE),
        Source::Texts(texts) if texts.iter().all(Text::is_blank) => return refuse(EMPTY),
        Source::Texts(texts) => (Some(plain_format(declared.or_else(by_name))), Bytes::Passages(texts)),
        Source::S3(uri) => (declared.or_else(by_name).or_else(|| document_format(ending(&uri.unescape())?)), Bytes::S3(uri)),
        Source::Text(text) if text.is_empty() => return refuse(EMPTY),
        Source::Text(text) => (Some(plain_format(declared.or_else(by_name))), Bytes::Plain(text)),
        Source::Base64(text) => {
            let head = Head::of(text);
            if let Some(fault) = head.fault {
                return refuse(fault);
            }
            let format = if head.starts_with(b"%PDF") { Some("pdf") } else { declared.or_else(by_name) };
            (format, Bytes::Base64(text))
        }
    };
    match format {
        Some(format) => Ok(File {
            format,
            name: name(own_name.as_deref()),
            bytes,
            context: document.context.as_ref().filter(|text| !text.is_blank()),
            citations: document.citations,
        }),
        None => refuse(DOCUMENTS),
    }
}

/// The format of a file that is plain text: only some of them are.
fn plain_format(named: Option<&'static str>) -> &'static str {
    named.filter(|format| matches!(*format, "csv" | "html" | "md")).unwrap_or("txt")
}

/// Reads sound.
///
/// # Errors
/// 400 for an encoding that Bedrock does not know, for a URL and for nothing at all.
pub(super) fn sound<'r>(audio: &'r Audio<'_>, param: impl Fn() -> String) -> Result<Sound<'r>, ApiError> {
    let refuse = |why: &'static str| Err(ApiError::invalid(param(), why));
    let declared = audio.format.unescape();
    let Some(format) = AUDIO_FORMATS.into_iter().find(|format| format.eq_ignore_ascii_case(&declared)) else {
        return refuse("audio must be one of mp3, opus, wav, aac, flac, mp4, ogg, mkv, mka, x-aac, m4a, mpeg, mpga, pcm, webm");
    };
    match &audio.source {
        Source::Base64(text) => match Head::of(text).fault {
            Some(fault) => refuse(fault),
            None => Ok(Sound { format, bytes: Bytes::Base64(text) }),
        },
        Source::S3(uri) => Ok(Sound { format, bytes: Bytes::S3(uri) }),
        Source::Url(_) => refuse(REMOTE),
        Source::Text(_) | Source::Texts(_) => refuse("audio must be base64"),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::chat::media::NOT_BASE64;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";

    fn encoded(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }

    fn format_of(media_type: Option<&'static str>, source: Source<'_>) -> Result<&'static str, ApiError> {
        let image = Image { media_type: media_type.map(Cow::Borrowed), source };
        picture(&image, || "messages[0].content".to_owned()).map(|picture| picture.format)
    }

    fn base64(text: &str) -> Source<'_> {
        Source::Base64(Text::from_escaped(text))
    }

    #[test]
    fn trap_39_bytes_decide_what_an_image_is() {
        for (declared, bytes, format) in [
            (Some("image/jpeg"), &b"\x89PNG\r\n\x1a\n"[..], "png"),
            (Some("image/png"), b"\xff\xd8\xff\xe0", "jpeg"),
            (None, b"GIF89a", "gif"),
            (Some("image/png"), b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
            (Some("image/jpg"), b"\xff\xd8\xff\xe0", "jpeg"),
            (Some("text/plain"), b"\x89PNG\r\n\x1a\n", "png"),
        ] {
            assert_eq!(format_of(declared, base64(&encoded(bytes))).unwrap(), format);
        }
        for (declared, bytes) in [
            (Some("image/png"), &b"BM\0\0\0\0"[..]),
            (Some("image/jpeg"), b"????????????????"),
            (Some("image/bmp"), b"????"),
            (None, b"????"),
            (Some("image/png"), b"<svg/>"),
            (Some("image/webp"), b"RIFF\0\0\0\0WAVE"),
        ] {
            assert_eq!(format_of(declared, base64(&encoded(bytes))).unwrap_err().message, IMAGES);
        }
        assert_eq!(format_of(Some("image/png"), base64("")).unwrap_err().message, EMPTY);
        assert_eq!(format_of(Some("image/png"), base64("{nothing}")).unwrap_err().message, NOT_BASE64);
        assert_eq!(format_of(None, base64("\\u0069VBORw0KGgo=")).unwrap(), "png", "some encoders escape more than they must");
        assert_eq!(format_of(Some("image/png"), base64("iVBO\\nRw0K\\nGgo=")).unwrap(), "png", "line breaks do not hide the signature");
        assert_eq!(format_of(None, base64("\\/9j\\/4AAQ")).unwrap(), "jpeg", "slashes may be escaped");
        assert_eq!(format_of(None, base64(PNG)).unwrap(), "png");
    }

    #[test]
    fn trap_40_nothing_is_fetched() {
        let error = format_of(None, Source::Url(Text::from_plain("http://169.254.169.254/latest"))).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some("messages[0].content")));
        assert!(error.message.contains("remote files are off"));
        assert_eq!(format_of(None, Source::S3(Text::from_plain("s3://bucket/a/b.JPG"))).unwrap(), "jpeg");
        assert_eq!(format_of(None, Source::S3(Text::from_plain("s3://bucket/a/b"))).unwrap_err().status, 400);
    }

    #[test]
    fn document_formats() {
        let format = |media_type: Option<&'static str>, name: Option<&'static str>, bytes: &[u8]| {
            let text = encoded(bytes);
            let document =
                Document { media_type: media_type.map(Cow::Borrowed), name: name.map(Text::from_plain), context: None, citations: None, source: base64(&text) };
            file(&document, |_| "x".to_owned(), || "p".to_owned()).map(|file| file.format).map_err(|error| error.status)
        };
        assert_eq!(format(Some("application/pdf"), None, b"%PDF-1.7"), Ok("pdf"));
        assert_eq!(format(Some("application/octet-stream"), Some("A.PDF"), b"xxxx"), Ok("pdf"));
        assert_eq!(format(None, None, b"%PDF-1.7"), Ok("pdf"));
        assert_eq!(format(Some("text/plain; charset=utf-8"), Some("a.bin"), b"hello"), Ok("txt"));
        assert_eq!(format(Some("text/x-rust"), None, b"fn"), Ok("txt"));
        assert_eq!(format(None, Some("table.xlsx"), b"PK\x03\x04"), Ok("xlsx"));
        assert_eq!(format(None, Some("notes.md"), b"# Hi"), Ok("md"));
        assert_eq!(format(Some("application/zip"), Some("a.zip"), b"PK\x03\x04"), Err(400));
        assert_eq!(format(None, None, b"hello"), Err(400));
        assert_eq!(format(Some("application/pdf"), None, b""), Err(400));
        let text = Document { media_type: None, name: None, context: None, citations: None, source: Source::Text(Text::from_plain("hello")) };
        assert_eq!(file(&text, |_| "x".to_owned(), || "p".to_owned()).unwrap().format, "txt");
    }

    #[test]
    fn sound_formats() {
        let format = |format: &'static str, source: Source<'static>| {
            let audio = Audio { format: Text::from_plain(format), source };
            sound(&audio, || "p".to_owned()).map(|sound| sound.format).map_err(|error| error.status)
        };
        assert_eq!(format("WAV", base64("UklGRg==")), Ok("wav"));
        assert_eq!(format("midi", base64("UklGRg==")), Err(400));
        assert_eq!(format("mp3", base64("")), Err(400));
        assert_eq!(format("mp3", Source::Url(Text::from_plain("https://example.com/a.mp3"))), Err(400));
    }
}
