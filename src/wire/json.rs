//! JSON as text: values that are moved from one body to another without being read, and a writer for what stands between them.
//!
//! A gateway moves far more JSON than it looks at. [`Raw`] is a value as it stands in the source, [`Text`] a string in its escaped form: both are
//! slices, so moving a megabyte of base64 from a request into another request is one `memcpy`. Unescaping happens only where somebody reads a string.
//! They are the leaves that `serde_json` hands out, and [`Reader`], which is for bodies of which nearly everything is moved.
//!
//! Grammar: <https://www.rfc-editor.org/rfc/rfc8259>.

mod canonical;
mod compact;
mod reader;
mod splice;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use canonical::canonical;
pub use compact::compact_into;
pub use reader::{Reader, Syntax};
pub use splice::{Edit, pick, pick_with_repeats, splice};

/// What a JSON value is, told from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// `-1.5e3`
    Number,
    /// `"…"`
    String,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

/// A complete, valid JSON value, borrowed from the text it was parsed from, without surrounding white space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// The value as JSON text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Checks that `text` is one JSON value and borrows it.
    ///
    /// # Errors
    /// The parser's own error, with line and column.
    pub fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Object, array, string and so on.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn text(self) -> Option<Text<'a>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(Text { escaped: Cow::Borrowed(inner) })
    }

    /// The boolean, if it is one.
    #[must_use]
    pub fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The number, if it is one that a double holds.
    #[must_use]
    pub fn number(self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.0.parse().ok()).flatten()
    }

    /// Reads the value into a type of the caller's, borrowing from the same source.
    ///
    /// # Errors
    /// When the value has another shape.
    pub fn read<T: Deserialize<'a>>(self) -> serde_json::Result<T> {
        serde_json::from_str(self.0)
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies stay out of logs: the kind and the size tell enough.
        write!(f, "Raw({:?}, {} bytes)", self.kind(), self.0.len())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(|raw| Raw(raw.get()))
    }
}

/// A complete, valid JSON value that may own its text, as one that stood escaped inside a string has to.
#[derive(Clone, PartialEq, Eq)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// Checks that `text` is one JSON value and keeps it.
    ///
    /// # Errors
    /// The parser's own error, with line and column.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> serde_json::Result<Self> {
        let text = text.into();
        let value = Raw::parse(&text)?.as_str();
        if value.len() == text.len() {
            return Ok(Json(text));
        }
        // White space around it: what is a `Json` begins with its first byte.
        Ok(match &text {
            Cow::Borrowed(whole) => Json(Cow::Borrowed(whole.trim_matches(is_space))),
            Cow::Owned(_) => Json(Cow::Owned(value.to_owned())),
        })
    }

    /// The value, borrowed from this one.
    #[must_use]
    pub fn raw(&self) -> Raw<'_> {
        Raw(&self.0)
    }

    /// The value as JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> From<Raw<'a>> for Json<'a> {
    fn from(raw: Raw<'a>) -> Self {
        Json(Cow::Borrowed(raw.0))
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw().fmt(f)
    }
}

/// White space of the grammar.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The content of a JSON string, still escaped, without its quotes.
///
/// Part of a string is a `Text` too, as long as it is not cut inside an escape: the base64 behind `data:image/png;base64,` for example.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text<'a> {
    escaped: Cow<'a, str>,
}

impl<'a> Text<'a> {
    /// The empty string.
    pub const EMPTY: Text<'static> = Text { escaped: Cow::Borrowed("") };

    /// Takes content that is already escaped: a slice of a valid JSON string.
    #[must_use]
    pub fn from_escaped(escaped: impl Into<Cow<'a, str>>) -> Self {
        Text { escaped: escaped.into() }
    }

    /// Escapes plain text, borrowing it where nothing needs an escape.
    #[must_use]
    pub fn from_plain(plain: impl Into<Cow<'a, str>>) -> Self {
        let plain = plain.into();
        if plain.bytes().any(needs_escape) {
            let mut out = Vec::with_capacity(plain.len() + 8);
            escape_into(&mut out, &plain);
            // `escape_into` copies whole characters or writes ASCII.
            Text { escaped: Cow::Owned(String::from_utf8(out).unwrap_or_default()) }
        } else {
            Text { escaped: plain }
        }
    }

    /// The content as it stands in JSON, without quotes.
    #[must_use]
    pub fn escaped(&self) -> &str {
        &self.escaped
    }

    /// The content as it stands in JSON, without quotes, for keeps.
    #[must_use]
    pub fn into_escaped(self) -> Cow<'a, str> {
        self.escaped
    }

    /// The same text, borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> Text<'_> {
        Text { escaped: Cow::Borrowed(&self.escaped) }
    }

    /// The same text, owning its bytes.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text { escaped: Cow::Owned(self.escaped.into_owned()) }
    }

    /// The content as a reader sees it; borrowed where nothing was escaped. A lone surrogate, which JSON allows and UTF-8 does not, becomes U+FFFD.
    #[must_use]
    pub fn unescape(&self) -> Cow<'_, str> {
        if self.escaped.contains('\\') { Cow::Owned(unescape(&self.escaped)) } else { Cow::Borrowed(&self.escaped) }
    }

    /// How many characters a reader sees. Counts without unescaping.
    #[must_use]
    pub fn characters(&self) -> usize {
        let mut count = 0;
        let mut rest = &*self.escaped;
        while let Some((plain, tail)) = rest.split_once('\\') {
            count += plain.chars().count() + 1;
            let used = match tail.as_bytes().first() {
                Some(b'u') => 1 + unescape_unicode(&tail[1..]).1,
                Some(_) => tail.chars().next().map_or(0, char::len_utf8),
                None => 0,
            };
            rest = tail.get(used..).unwrap_or_default();
        }
        count + rest.chars().count()
    }

    /// Whether the string has no characters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.escaped.is_empty()
    }

    /// Whether the string is empty or white space only, escaped white space included.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match self.escaped.bytes().find(|byte| !byte.is_ascii_whitespace()) {
            None => true,
            // An escape or a non-ASCII character may still be white space: look at the real text.
            Some(b'\\' | 0x80..) => self.unescape().chars().all(char::is_whitespace),
            Some(_) => false,
        }
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.unescape() == other
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.escaped.len())
    }
}

/// A string where the schema wants one; another kind of value is an error.
impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        raw.text().ok_or_else(|| serde::de::Error::custom("expected a string"))
    }
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends `plain` as the content of a JSON string, without quotes. Runs that need no escape are copied whole.
pub fn escape_into(out: &mut Vec<u8>, plain: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = plain.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !needs_escape(byte) {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// The reverse of [`escape_into`], for content that a JSON parser has accepted. Lenient: what is not an escape stays as it is.
fn unescape(escaped: &str) -> String {
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let mut chars = tail.chars();
        let plain = match chars.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('u') => {
                let (character, used) = unescape_unicode(&tail[1..]);
                out.push(character);
                rest = &tail[1 + used..];
                continue;
            }
            Some(other) => other,
            None => break,
        };
        out.push(plain);
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// Reads the hex digits behind `\u`, and the second half of a surrogate pair with its own `\u`. Gives the character and how many bytes it took.
fn unescape_unicode(hex: &str) -> (char, usize) {
    let unit = |text: &str| text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match unit(hex) {
        None => (char::REPLACEMENT_CHARACTER, 0),
        Some(high @ 0xd800..0xdc00) => {
            let low = hex.get(4..).and_then(|rest| rest.strip_prefix("\\u")).and_then(unit);
            match low {
                Some(low @ 0xdc00..0xe000) => {
                    let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10)
                }
                _ => (char::REPLACEMENT_CHARACTER, 4),
            }
        }
        Some(code) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 4),
    }
}

/// Appends a JSON string made of `plain`, with quotes.
pub fn write_string(out: &mut Vec<u8>, plain: &str) {
    out.push(b'"');
    escape_into(out, plain);
    out.push(b'"');
}

/// Appends a decimal number without going through a formatter.
pub fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten fits a byte.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes one JSON object, commas included. Members come out in the order they are written.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Writes `{…}` with the members that `members` adds.
    pub fn write<R>(out: &'o mut Vec<u8>, members: impl FnOnce(&mut Object<'_>) -> R) -> R {
        out.push(b'{');
        let mut object = Object { out, empty: true };
        let result = members(&mut object);
        object.out.push(b'}');
        result
    }

    /// Writes the name of a member and gives the buffer for its value. Names are constants of ours and need no escape.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A member whose name comes from outside, in its escaped form.
    pub fn text_key(&mut self, name: &Text<'_>) -> &mut Vec<u8> {
        self.key(name.escaped())
    }

    /// A member that is JSON already.
    pub fn raw(&mut self, name: &str, json: &str) {
        self.key(name).extend_from_slice(json.as_bytes());
    }

    /// Members that are JSON already, with their names and commas: not none.
    pub fn members(&mut self, json: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.extend_from_slice(json.as_bytes());
    }

    /// A string member, moved in its escaped form.
    pub fn text(&mut self, name: &str, text: &Text<'_>) {
        let out = self.key(name);
        write_text(out, text);
    }

    /// A string member from plain text.
    pub fn string(&mut self, name: &str, plain: &str) {
        write_string(self.key(name), plain);
    }

    /// A whole-number member.
    pub fn number(&mut self, name: &str, number: u64) {
        write_u64(self.key(name), number);
    }

    /// A boolean member.
    pub fn bool(&mut self, name: &str, value: bool) {
        self.raw(name, if value { "true" } else { "false" });
    }

    /// A member that is an object.
    pub fn object<R>(&mut self, name: &str, members: impl FnOnce(&mut Object<'_>) -> R) -> R {
        Object::write(self.key(name), members)
    }

    /// A member that is an array.
    pub fn array<R>(&mut self, name: &str, items: impl FnOnce(&mut Array<'_>) -> R) -> R {
        Array::write(self.key(name), items)
    }
}

/// Writes one JSON array, commas included.
#[derive(Debug)]
pub struct Array<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Array<'o> {
    /// Writes `[…]` with the items that `items` adds.
    pub fn write<R>(out: &'o mut Vec<u8>, items: impl FnOnce(&mut Array<'_>) -> R) -> R {
        out.push(b'[');
        let mut array = Array { out, empty: true };
        let result = items(&mut array);
        array.out.push(b']');
        result
    }

    /// Starts the next item and gives the buffer for its value.
    pub fn item(&mut self) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out
    }

    /// An item that is JSON already.
    pub fn raw(&mut self, json: &str) {
        self.item().extend_from_slice(json.as_bytes());
    }

    /// A string item, moved in its escaped form.
    pub fn text(&mut self, text: &Text<'_>) {
        write_text(self.item(), text);
    }

    /// An item that is an object.
    pub fn object<R>(&mut self, members: impl FnOnce(&mut Object<'_>) -> R) -> R {
        Object::write(self.item(), members)
    }
}

/// Appends a JSON string, moved in its escaped form.
pub fn write_text(out: &mut Vec<u8>, text: &Text<'_>) {
    out.push(b'"');
    out.extend_from_slice(text.escaped().as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_escapes_when_moved_and_lose_them_when_read() {
        let raw = Raw::parse(r#" "a\nb\u00e9\ud83d\ude00\/" "#).unwrap();
        let text = raw.text().unwrap();
        assert_eq!(text.escaped(), r"a\nb\u00e9\ud83d\ude00\/");
        assert_eq!(text.unescape(), "a\nb\u{e9}\u{1f600}/");
        let mut out = Vec::new();
        write_text(&mut out, &text);
        assert_eq!(out, raw.as_str().as_bytes());
    }

    #[test]
    fn a_json_value_has_no_white_space_around_it() {
        for text in [Cow::Borrowed(" {\"a\" : 1}\n"), Cow::Owned("\t{\"a\" : 1}".to_owned()), Cow::Borrowed("{\"a\" : 1}")] {
            let json = Json::parse(text).unwrap();
            assert_eq!((json.as_str(), json.raw().kind()), ("{\"a\" : 1}", Kind::Object));
        }
        assert!(Json::parse("{").is_err() && Json::parse("").is_err());
        assert_eq!(Json::from(Raw::parse("[1]").unwrap()).as_str(), "[1]");
    }

    #[test]
    fn lone_surrogates_become_the_replacement_character() {
        for (escaped, plain) in [(r"\ud83d", "\u{fffd}"), (r"\ud83dx", "\u{fffd}x"), (r"\ude00\ud83d\u0041", "\u{fffd}\u{fffd}A")] {
            assert_eq!(Text::from_escaped(escaped).unescape(), plain, "{escaped}");
            assert_eq!(Text::from_escaped(escaped).characters(), plain.chars().count(), "{escaped}");
        }
    }

    #[test]
    fn blank_sees_through_escapes() {
        for blank in ["", " ", r"\n\t", r"\u0020\u00a0", "\u{3000}"] {
            assert!(Text::from_escaped(blank).is_blank(), "{blank:?}");
        }
        for filled in ["a", r" \\n", r"\u0041", "\u{e9}"] {
            assert!(!Text::from_escaped(filled).is_blank(), "{filled:?}");
        }
    }

    #[test]
    fn objects_and_arrays_place_their_commas() {
        let mut out = Vec::new();
        Object::write(&mut out, |o| {
            o.string("a", "q\"\u{1}");
            o.array("b", |b| {
                b.raw("1");
                b.object(|_| ());
            });
            o.number("c", 18_446_744_073_709_551_615);
            o.bool("d", false);
        });
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":"q\"\u0001","b":[1,{}],"c":18446744073709551615,"d":false}"#);
    }

    proptest::proptest! {
        #[test]
        fn escape_is_what_a_json_parser_reads_back(plain in ".*") {
            let text = Text::from_plain(plain.as_str());
            let literal = format!("\"{}\"", text.escaped());
            proptest::prop_assert_eq!(&serde_json::from_str::<String>(&literal).unwrap(), &plain);
            proptest::prop_assert_eq!(text.unescape(), plain.as_str());
            proptest::prop_assert_eq!(text.characters(), plain.chars().count());
        }
    }
}
