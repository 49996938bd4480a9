//! What a file is: told by its first bytes, by the media type that the client says, or by the ending of its name.
//!
//! Only the first bytes of the base64 are decoded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::wire::json::Text;

/// What to say of a file without bytes.
pub const EMPTY: &str = "the file is empty";
/// What to say of a file that is not base64.
pub const NOT_BASE64: &str = "the file is not base64";

/// Media type or file name ending → document format.
const DOCUMENT_FORMATS: &[(&str, &str)] = &[
    ("application/pdf", "pdf"),
    ("application/x-pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("text/html", "html"),
    ("application/xhtml+xml", "html"),
    ("text/markdown", "md"),
    ("text/x-markdown", "md"),
    ("pdf", "pdf"),
    ("csv", "csv"),
    ("doc", "doc"),
    ("docx", "docx"),
    ("xls", "xls"),
    ("xlsx", "xlsx"),
    ("html", "html"),
    ("htm", "html"),
    ("md", "md"),
    ("markdown", "md"),
    ("txt", "txt"),
    ("text", "txt"),
    ("log", "txt"),
    ("json", "txt"),
    ("xml", "txt"),
    ("yaml", "txt"),
    ("yml", "txt"),
    ("application/json", "txt"),
    ("application/xml", "txt"),
    ("application/yaml", "txt"),
];

/// The picture format by a media type or an ending: `image/png; x=y`, `png`, `jpg` → `png`, `png`, `jpeg`.
#[must_use]
pub fn image_format(declared: &str) -> Option<&'static str> {
    let kind = bare(declared);
    let kind = kind.strip_prefix("image/").unwrap_or(&kind);
    match kind {
        "png" | "x-png" | "apng" => Some("png"),
        "jpeg" | "jpg" | "pjpeg" | "jfif" => Some("jpeg"),
        "gif" => Some("gif"),
        "webp" => Some("webp"),
        _ => None,
    }
}

/// The document format by a media type or an ending: `application/pdf`, `pdf` → `pdf`; any other text is `txt`.
#[must_use]
pub fn document_format(declared: &str) -> Option<&'static str> {
    let kind = bare(declared);
    let known = DOCUMENT_FORMATS.iter().find(|(name, _)| *name == kind).map(|(_, format)| *format);
    known.or_else(|| kind.starts_with("text/").then_some("txt"))
}

/// A media type without its parameters, in lower case.
fn bare(declared: &str) -> String {
    declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The ending of a file name, without the dot.
#[must_use]
pub fn ending(name: &str) -> Option<&str> {
    let name = name.rsplit(['/', '\\']).next()?;
    name.rsplit_once('.').map(|(_, ending)| ending)
}

/// The first bytes of a file.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; Head::BYTES],
    length: usize,
    /// Why there are none: [`EMPTY`] or [`NOT_BASE64`].
    pub fault: Option<&'static str>,
}

impl Head {
    /// Enough for every signature here.
    const BYTES: usize = 18;
    /// As base64.
    const CHARS: usize = 24;
    /// The same when every character is written as an escape, and some line breaks.
    const ESCAPED: usize = 200;

    /// Decodes the beginning of base64 in escaped form. Line breaks, which some encoders put in, are passed over.
    #[must_use]
    pub fn of(text: &Text<'_>) -> Self {
        let escaped = text.escaped();
        let beginning = Text::from_escaped(escaped.get(..Self::ESCAPED).unwrap_or(escaped));
        let mut chars = [b'A'; Self::CHARS];
        let mut filled = 0_usize;
        for (place, byte) in chars.iter_mut().zip(beginning.unescape().bytes().filter(|byte| !byte.is_ascii_whitespace()).take_while(|byte| *byte != b'=')) {
            // The alphabet for URLs says `-` and `_`.
            *place = match byte {
                b'-' => b'+',
                b'_' => b'/',
                byte => byte,
            };
            filled += 1;
        }
        let mut bytes = [0; Self::BYTES];
        let fault = match STANDARD.decode_slice(chars, &mut bytes) {
            _ if filled == 0 => Some(EMPTY),
            Ok(_) => None,
            Err(_) => Some(NOT_BASE64),
        };
        // Four characters are three bytes; an unfinished group holds one less than it has characters.
        Head { bytes, length: filled / 4 * 3 + (filled % 4).saturating_sub(1), fault }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Whether the file begins so.
    #[must_use]
    pub fn starts_with(&self, signature: &[u8]) -> bool {
        self.as_slice().starts_with(signature)
    }

    /// The picture format that the signature tells: `png`, `jpeg`, `gif` or `webp`.
    #[must_use]
    pub fn image(&self) -> Option<&'static str> {
        match self.as_slice() {
            [0x89, b'P', b'N', b'G', ..] => Some("png"),
            [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
            [b'G', b'I', b'F', b'8', ..] => Some("gif"),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
            _ => None,
        }
    }
}
