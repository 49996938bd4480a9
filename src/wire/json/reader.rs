//! Reads JSON from front to back where most of it is moved and little is looked at: brackets, names and commas one by one, strings at the speed of memory.
//!
//! It takes exactly the texts that `serde_json` takes, one value after the other, and builds nothing. A parser behind `serde`'s interface cannot tell an
//! array from a string before it has unescaped the string, so content that may be either is read twice; here [`Reader::kind`] tells them apart first.
//! Whoever wants words for what is wrong lets `serde_json` say them: [`Syntax`] knows only where it is.
//!
//! Grammar: <https://www.rfc-editor.org/rfc/rfc8259>.

use std::borrow::Cow;

use super::{Kind, Raw};

/// Where a text stops being JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {at}")]
pub struct Syntax {
    /// Bytes from the start of the text.
    pub at: usize,
}

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    /// Bytes before it are read. Always at the border of a character: it stands behind ASCII, or before something that is an error.
    pub(super) at: usize,
    /// What is open in the value at hand; kept for its memory.
    open: Brackets,
}

/// Open brackets, one bit each: values of usual depth take no memory beside it.
#[derive(Clone, Debug, Default)]
struct Brackets {
    /// The innermost ones, the last in the lowest bit; a set bit is a brace.
    bits: u64,
    /// How many of them: 0 only if none is open at all.
    count: u32,
    /// The others, in words that are full.
    outer: Vec<u64>,
}

impl Brackets {
    fn clear(&mut self) {
        (self.bits, self.count) = (0, 0);
        self.outer.clear();
    }

    fn push(&mut self, is_brace: bool) {
        if self.count == u64::BITS {
            self.outer.push(self.bits);
            self.count = 0;
        }
        self.bits = self.bits << 1 | u64::from(is_brace);
        self.count += 1;
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.count = self.count.saturating_sub(1);
        if self.count == 0
            && let Some(word) = self.outer.pop()
        {
            (self.bits, self.count) = (word, u64::BITS);
        }
    }

    /// What closes the innermost one.
    fn closing(&self) -> Option<u8> {
        (self.count > 0).then_some(if self.bits & 1 == 1 { b'}' } else { b']' })
    }
}

impl<'a> Reader<'a> {
    /// A reader at the start of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Reader { text, at: 0, open: Brackets::default() }
    }

    /// What the next value is, told from its first byte. Reads nothing but white space.
    ///
    /// # Errors
    /// When no value begins here.
    pub fn kind(&mut self) -> Result<Kind, Syntax> {
        match self.peek() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.syntax()),
        }
    }

    /// Reads the next value, whatever it is and however deep. Takes no stack.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn value(&mut self) -> Result<Raw<'a>, Syntax> {
        self.peek();
        let start = self.at;
        match self.byte() {
            Some(b'"') => _ = self.string()?,
            Some(b'{' | b'[') => self.nested()?,
            _ => self.scalar()?,
        }
        self.slice(start, self.at).map(Raw)
    }

    /// Reads the next value, an object, and gives each member's name, unescaped. `member` reads the value.
    ///
    /// # Errors
    /// When it is not an object or not JSON; a name that no UTF-8 text could hold, with half a surrogate pair, counts as that. What `member` refuses.
    pub fn object<E: From<Syntax>>(&mut self, mut member: impl FnMut(Cow<'a, str>, &mut Self) -> Result<(), E>) -> Result<(), E> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.name()?;
            self.expect(b':')?;
            member(name, self)?;
            if !self.take(b',') {
                return Ok(self.expect(b'}')?);
            }
        }
    }

    /// Reads the next value, an array. `item` is called before each item and reads it.
    ///
    /// # Errors
    /// When it is not an array or not JSON. What `item` refuses.
    pub fn array<E: From<Syntax>>(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.expect(b'[')?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.take(b',') {
                return Ok(self.expect(b']')?);
            }
        }
    }

    /// Makes sure that nothing but white space is left.
    ///
    /// # Errors
    /// When there is more.
    pub fn end(&mut self) -> Result<(), Syntax> {
        if self.peek().is_none() { Ok(()) } else { Err(self.syntax()) }
    }

    /// How many bytes of the text are read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    fn syntax(&self) -> Syntax {
        Syntax { at: self.at }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn slice(&self, start: usize, end: usize) -> Result<&'a str, Syntax> {
        self.text.get(start..end).ok_or(Syntax { at: start })
    }

    /// The next byte that is not white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Reads this byte, if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Syntax> {
        if self.take(byte) { Ok(()) } else { Err(self.syntax()) }
    }

    /// The name of a member.
    pub(super) fn name(&mut self) -> Result<Cow<'a, str>, Syntax> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax());
        }
        let start = self.at;
        if self.string()? {
            // Rare, and there are surrogates to pair.
            return serde_json::from_str(self.slice(start, self.at)?).map(Cow::Owned).map_err(|_| Syntax { at: start });
        }
        self.slice(start + 1, self.at - 1).map(Cow::Borrowed)
    }

    /// Reads an array or object without looking into it.
    fn nested(&mut self) -> Result<(), Syntax> {
        self.open.clear();
        loop {
            let mut begun = match self.peek() {
                Some(bracket @ (b'[' | b'{')) => {
                    self.at += 1;
                    self.open.push(bracket == b'{');
                    true
                }
                Some(b'"') => self.string().map(|_| false)?,
                _ => self.scalar().map(|()| false)?,
            };
            let closing = loop {
                let Some(closing) = self.open.closing() else { return Ok(()) };
                if self.take(closing) {
                    self.open.pop();
                    begun = false;
                } else if begun || self.take(b',') {
                    break closing;
                } else {
                    return Err(self.syntax());
                }
            };
            if closing == b'}' {
                if self.peek() != Some(b'"') {
                    return Err(self.syntax());
                }
                self.string()?;
                self.expect(b':')?;
            }
        }
    }

    /// Reads a string from its opening quote on; tells whether there are escapes in it.
    fn string(&mut self) -> Result<bool, Syntax> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain(self.rest());
            match self.rest() {
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(escaped);
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                [b'\\', b'u', a, b, c, d, ..] if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit) => self.at += 6,
                _ => return Err(self.syntax()),
            }
            escaped = true;
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<(), Syntax> {
        for word in ["true", "false", "null"] {
            if self.rest().starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    /// Reads one digit or more.
    fn digits(&mut self) -> Result<(), Syntax> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(self.syntax()) }
    }
}

/// How many bytes from the start on stand for themselves in a string: no quote, no backslash, no control character.
fn plain(bytes: &[u8]) -> usize {
    /// Prose has an escape or an end within so many words; what has none may be base64, of which there is a lot.
    const FEW: usize = 8;
    const BLOCK: usize = 64;
    let mut at = 0;
    for _ in 0..FEW {
        match plain_word(bytes, at) {
            Ok(next) => at = next,
            Err(found) => return found,
        }
    }
    // The compiler makes vector instructions of this.
    let blocks = bytes.get(at..).unwrap_or_default().chunks_exact(BLOCK);
    at += blocks.take_while(|block| !block.iter().fold(false, |special, byte| special | is_special(*byte))).count() * BLOCK;
    loop {
        match plain_word(bytes, at) {
            Ok(next) => at = next,
            Err(found) => return found,
        }
    }
}

/// Looks at eight bytes in one: goes on behind them, or tells where the first special one is, or the end.
#[inline]
fn plain_word(bytes: &[u8], at: usize) -> Result<usize, usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(word) = rest.first_chunk::<8>() else {
        return Err(at + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len()));
    };
    // From the lowest byte up, a borrow begins only at a byte that is below the subtrahend: the first mark is right, those above it may not be.
    let word = u64::from_le_bytes(*word);
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let marks = (below(word, 0x20) | below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1)) & (ONES << 7);
    if marks == 0 { Ok(at + 8) } else { Err(at + marks.trailing_zeros() as usize / 8) }
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// What `serde_json` makes of a text as one value.
    fn oracle(text: &str) -> Option<String> {
        serde_json::from_str::<Box<RawValue>>(text).ok().map(|raw| raw.get().to_owned())
    }

    fn whole(text: &str) -> Result<Raw<'_>, Syntax> {
        let mut reader = Reader::new(text);
        let value = reader.value()?;
        reader.end()?;
        Ok(value)
    }

    fn agrees(text: &str) {
        assert_eq!(whole(text).ok().map(|raw| raw.as_str().to_owned()), oracle(text), "{text:?}");
    }

    /// Reads with `object` and `array` all the way down.
    fn walk(reader: &mut Reader<'_>, out: &mut Vec<String>) -> Result<(), Syntax> {
        match reader.kind()? {
            Kind::Object => reader.object(|name, reader| {
                out.push(format!("{name}:"));
                walk(reader, out)
            }),
            Kind::Array => reader.array(|reader| walk(reader, out)),
            _ => {
                out.push(reader.value()?.as_str().to_owned());
                Ok(())
            }
        }
    }

    #[test]
    fn every_byte_at_every_place_of_a_string_is_judged_as_the_parser_does() {
        // Lengths on both sides of a word, of the few words, and of a block behind them.
        for length in [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200] {
            for at in 0..length {
                for byte in 0..0x80_u8 {
                    let mut text = vec![b'x'; length];
                    text[at] = byte;
                    agrees(&format!("\"{}\"", String::from_utf8(text).unwrap()));
                }
            }
        }
        for text in ["é", "\u{7f}", "\u{80}", "\u{2028}", "😀"] {
            agrees(&format!("\"{}\"", text.repeat(50)));
        }
    }

    #[test]
    fn every_escape_is_judged_as_the_parser_does() {
        for byte in 0..0x80_u8 {
            let c = char::from(byte);
            for text in [format!("\"\\{c}\""), format!("\"\\u00{c}0\""), format!("\"\\u{c}000\""), format!("\"\\u000{c}\""), format!("\"\\u{c}\"")] {
                agrees(&text);
            }
        }
        for text in [r#""\ud83d""#, r#""\ude00\ud83d""#, r#""\u12é4""#, r#""\"#, r#""\u"#, r#""\u123"#, r#""\u1234"#] {
            agrees(text);
        }
    }

    #[test]
    fn the_grammar_is_the_parsers() {
        for text in [
            "",
            " ",
            "0",
            "-0",
            "00",
            "01",
            "-",
            "-a",
            "1.",
            "1.5",
            ".5",
            "1e",
            "1e+",
            "1e+5",
            "1E-05",
            "1e5.5",
            "1e999",
            "-1e999",
            "+1",
            "0x1",
            "1_0",
            "1 2",
            "true",
            "tru",
            "truee",
            "null",
            "nul",
            "nulll",
            "false",
            "False",
            "NaN",
            "{}",
            "[]",
            "{ }",
            "[ ]",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2]",
            "[",
            "]",
            "[}",
            "{]",
            "{",
            "}",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a" : [ { } , [ ] ] }"#,
            r#"{1:2}"#,
            r#"{"a":1]"#,
            r#"[1}"#,
            r#"["a":1]"#,
            r#"{"a"::1}"#,
            r#"{"a",1}"#,
            "[[]]",
            "[[],[]]",
            "[[]",
            "[]]",
            "\u{feff}1",
            "\u{a0}1",
            "1\u{b}",
            "\t\r\n 1 \t\r\n",
            "\"a",
            "'a'",
            "[\"a\",\"b\"]",
            "/**/1",
            "[1]//",
            "\0",
        ] {
            agrees(text);
        }
        let deep = format!("{}1{}", "[{\"a\":".repeat(50_000), "}]".repeat(50_000));
        assert_eq!(whole(&deep).unwrap().as_str().len(), deep.len());
        assert!(whole(&deep[..deep.len() - 1]).is_err());
    }

    #[test]
    fn brackets_of_every_depth_are_matched() {
        for depth in [1, 2, 63, 64, 65, 127, 128, 129, 200] {
            let open = |at: usize| if at.is_multiple_of(3) { "{\"a\":" } else { "[" };
            let close = |at: usize| if at.is_multiple_of(3) { "}" } else { "]" };
            let mut text: String = (0..depth).map(open).collect();
            text.push('1');
            text.extend((0..depth).rev().map(close));
            assert_eq!(whole(&text).unwrap().as_str(), text);
            for at in 0..depth {
                let end = text.len() - depth + at;
                let other = if text.as_bytes()[end] == b'}' { "]" } else { "}" };
                assert!(whole(&format!("{}{other}{}", &text[..end], &text[end + 1..])).is_err(), "{depth} {at}");
            }
        }
    }

    #[test]
    fn objects_and_arrays_are_read_in_place() {
        let text = r#" { "a" : 1 , "b\u00e9" : [ "x" , { } , [ ] , {"c":null} ] } "#;
        let mut reader = Reader::new(text);
        let mut seen = Vec::new();
        walk(&mut reader, &mut seen).unwrap();
        reader.end().unwrap();
        assert_eq!(seen, ["a:", "1", "bé:", "\"x\"", "c:", "null"]);
        // No text could hold such a name.
        assert_eq!(walk(&mut Reader::new(r#"{"a":1,"\ud83d":1}"#), &mut Vec::new()), Err(Syntax { at: 7 }));
    }

    /// Pieces of JSON in any order: mostly broken, often nearly right.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "\\", "\\u12", "\\n", "1", "0", "-", ".", "e", "true", "null", " ", "\n", "\u{1}", "é",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// Valid JSON of any shape.
    fn valid() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![Just(serde_json::Value::Null), any::<bool>().prop_map(Into::into), any::<f64>().prop_map(Into::into), ".*".prop_map(Into::into)];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::hash_map(".{0,6}", inner, 0..5).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_as_the_parser_does(text in prop_oneof![".*", pieces(), pieces().prop_map(|text| format!("[{text}]"))]) {
            agrees(&text);
            let _ = walk(&mut Reader::new(&text), &mut Vec::new());
        }

        #[test]
        fn valid_text_is_taken_and_no_byte_of_it_can_go(value in valid(), at in any::<prop::sample::Index>(), other in any::<char>()) {
            let text = value.to_string();
            agrees(&text);
            walk(&mut Reader::new(&text), &mut Vec::new()).unwrap();
            let mut broken: Vec<char> = text.chars().collect();
            let at = at.index(broken.len());
            broken[at] = other;
            agrees(&broken.iter().collect::<String>());
            broken.remove(at);
            agrees(&broken.iter().collect::<String>());
        }
    }
}
