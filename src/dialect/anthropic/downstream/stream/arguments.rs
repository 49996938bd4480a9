//! Tells where a tool's arguments end, when their upstream does not: some announce the next tool without a word about the one before.

/// How far the arguments of one tool have come. They are a JSON object that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// Some piece was not empty.
    begun: bool,
    /// Brackets that are open.
    depth: usize,
    string: Place,
    complete: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    Inside,
    /// Behind a backslash of the arguments' own.
    Escape,
}

impl Arguments {
    /// Whether there are none so far.
    pub(super) fn is_empty(&self) -> bool {
        !self.begun
    }

    /// Whether the last bracket was closed.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes the next piece, in the escaped form of a string. It is not cut inside an escape.
    pub(super) fn push(&mut self, escaped: &str) {
        self.begun |= !escaped.is_empty();
        let mut rest = escaped.as_bytes();
        while let [first, tail @ ..] = rest {
            let (byte, tail) = if *first == b'\\' { unescape(tail) } else { (*first, tail) };
            rest = tail;
            self.step(byte);
        }
    }

    fn step(&mut self, byte: u8) {
        self.string = match (self.string, byte) {
            (Place::Escape, _) | (Place::Outside, b'"') => Place::Inside,
            (Place::Inside, b'\\') => Place::Escape,
            (Place::Inside, b'"') => Place::Outside,
            (place, _) => place,
        };
        match byte {
            _ if self.string != Place::Outside => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.complete |= self.depth == 1;
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }
}

/// What stands behind a backslash, as far as it matters here: a character that is no ASCII is as good as any letter.
fn unescape(tail: &[u8]) -> (u8, &[u8]) {
    const LETTER: u8 = b'x';
    match tail {
        [b'u', hex @ ..] => {
            let (digits, rest) = hex.split_at(hex.len().min(4));
            let unit = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
            (unit.filter(u8::is_ascii).unwrap_or(LETTER), rest)
        }
        [byte @ (b'"' | b'\\' | b'/'), rest @ ..] => (*byte, rest),
        [_, rest @ ..] => (LETTER, rest),
        [] => (LETTER, tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::Text;

    /// Whether the arguments are complete before their last character, and with it.
    fn complete(plain: &str) -> (bool, bool) {
        let mut arguments = Arguments::default();
        let mut before = false;
        for character in plain.chars() {
            before = arguments.is_complete();
            arguments.push(Text::from_plain(character.to_string()).escaped());
        }
        let mut whole = Arguments::default();
        whole.push(Text::from_plain(plain).escaped());
        assert_eq!(whole.is_complete(), arguments.is_complete(), "{plain}");
        (before, arguments.is_complete())
    }

    #[test]
    fn an_object_is_complete_with_its_last_bracket() {
        for plain in
            ["{}", " {\n}", r#"{"a":{"b":[1,{}]}}"#, r#"{"a":"}"}"#, r#"{"a":"\"}"}"#, r#"{"a":"\\"}"#, r#"{"a":"\\\"}{"}"#, r#"{"a":"é\u007d}"}"#, "[[]]"]
        {
            assert_eq!(complete(plain), (false, true), "{plain}");
        }
        for plain in ["", "{", "{]", "{\"a\"", "\"}\"", "null", "}", "{\"a\":\"}"] {
            assert!(!complete(plain).0, "{plain}");
        }
        assert!(!complete("{\"a\":\"}").1 && !complete("}").1 && !complete("null").1);
    }

    #[test]
    fn brackets_may_be_escaped() {
        let mut arguments = Arguments::default();
        assert!(arguments.is_empty());
        arguments.push(r"\u007b\u0022\u00e9\u0022:\u005B\t]");
        assert!(!arguments.is_empty() && !arguments.is_complete());
        arguments.push(r"\u007D");
        assert!(arguments.is_complete());
    }
}
