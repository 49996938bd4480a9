//! The tool calls of a streamed answer: which call a piece belongs to, and whether its arguments are complete.

use crate::wire::json::Text;

/// A tool call as far as it has come. Everything is in escaped form.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// The server's number.
    index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    /// Arguments that wait for the call to begin.
    pub(super) pending: String,
    pub(super) json: Nesting,
}

/// One piece of a call.
pub(super) struct Piece<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) arguments: Text<'a>,
}

impl Call {
    /// Takes what a piece says of the call itself. Servers repeat it, or send a name in several pieces.
    fn tell(&mut self, piece: &Piece<'_>) {
        self.index = self.index.or(piece.index);
        if self.id.is_empty() {
            self.id.push_str(piece.id.escaped());
        }
        // Once there are arguments the name is whole.
        if !self.json.begun && self.name != piece.name.escaped() {
            self.name.push_str(piece.name.escaped());
        }
    }
}

/// The calls of an answer, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Calls(pub(super) Vec<Call>);

impl Calls {
    /// The call that a piece belongs to, and whether it is a new one. Arguments are not taken yet.
    pub(super) fn take(&mut self, piece: &Piece<'_>) -> (usize, bool) {
        let (at, new) = match self.position(piece) {
            Some(at) => (at, false),
            None => {
                self.0.push(Call::default());
                (self.0.len() - 1, true)
            }
        };
        if let Some(call) = self.0.get_mut(at) {
            call.tell(piece);
        }
        (at, new)
    }

    /// Where the piece's call is; `None` is a new one.
    ///
    /// The index tells, where there is one; else the id; else the piece goes on with the last call. Only, there are servers that give every call the index 0,
    /// and servers that give every piece an id of its own: so a piece that names a tool under another id begins a call, and so does one that brings more
    /// arguments for a call whose arguments are complete.
    fn position(&self, piece: &Piece<'_>) -> Option<usize> {
        let has_id = !piece.id.is_empty();
        let last_that = |is: &dyn Fn(&Call) -> bool| self.0.iter().rposition(is);
        let at = match piece.index {
            Some(index) => last_that(&|call| call.index == Some(index)),
            None if has_id => last_that(&|call| call.id == piece.id.escaped()),
            None => self.0.len().checked_sub(1),
        }?;
        let call = self.0.get(at)?;
        let names = !piece.name.is_empty();
        let other_id = has_id && !call.id.is_empty() && call.id != piece.id.escaped();
        let begins = if other_id {
            names || (call.json.is_complete() && !piece.arguments.is_empty())
        } else if has_id || !names {
            false
        } else if call.json.is_complete() {
            !piece.arguments.is_blank() || call.name != piece.name.escaped()
        } else {
            piece.index.is_none() && call.json.begun && call.name != piece.name.escaped()
        };
        (!begins).then_some(at)
    }
}

/// How far JSON text has come that arrives in pieces: counts brackets, and nothing else.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    /// Something was written.
    pub(super) begun: bool,
    /// It was a bracket.
    bracket: bool,
    depth: u32,
    in_string: bool,
    /// The next character of the string is escaped.
    escaped: bool,
}

impl Nesting {
    /// Reads on. A piece is content of a JSON string, so a quote of the text within is `\"`, and a backslash `\\`.
    pub(super) fn read(&mut self, piece: &Text<'_>) {
        let mut rest = piece.escaped().as_bytes();
        loop {
            rest = match rest {
                [] => return,
                [b'\\', b'u', a, b, c, d, tail @ ..] => {
                    let hex = [a, b, c, d].into_iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?));
                    // Whatever is not ASCII stands for itself.
                    self.character(hex.and_then(|code| u8::try_from(code).ok()).unwrap_or(b'x'));
                    tail
                }
                [b'\\', b'n' | b'r' | b't' | b'b' | b'f', tail @ ..] => {
                    self.character(b' ');
                    tail
                }
                [b'\\', byte, tail @ ..] | [byte, tail @ ..] => {
                    self.character(*byte);
                    tail
                }
            };
        }
    }

    fn character(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b' ' => return,
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.bracket |= !self.begun;
                self.depth = self.depth.saturating_add(1);
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.begun = true;
    }

    /// Whether an object or a list was begun and is closed again.
    pub(super) fn is_complete(&self) -> bool {
        self.bracket && self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete(pieces: &[&str]) -> bool {
        let mut nesting = Nesting::default();
        pieces.iter().for_each(|piece| nesting.read(&Text::from_escaped(*piece)));
        nesting.is_complete()
    }

    #[test]
    fn brackets_are_counted_through_escapes() {
        for (pieces, is_complete) in [
            (&["{}"][..], true),
            (&["{", "}"], true),
            (&["", " ", "\\n{ }\\n"], true),
            (&["{"], false),
            (&[""], false),
            (&["null"], false),
            (&["}"], false),
            (&["x{}"], false),
            (&[r#"{\"a\":\"}\""#], false),
            (&[r#"{\"a\":\"}\"}"#], true),
            (&[r#"{\"a\":\"\\"#, r#"\"}\""#], false),
            (&[r#"{\"a\":\"\\"#, r#"\"}\"}"#], true),
            (&[r#"{\"a\":\"\\\\\"}"#], true),
            (&[r#"\u007b\u0022a\u0022:1\u007d"#], true),
            (&[r#"{\"a\":\"\u00e9\ud83d\ude00{\"}"#], true),
            (&[r#"[{\"a\":[1,2]},"#, "3]"], true),
        ] {
            assert_eq!(complete(pieces), is_complete, "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn arguments_are_complete_at_their_end_and_not_before(text in ".*", key in ".*") {
            let json = serde_json::json!({ key: [text, {}] }).to_string();
            let whole = Text::from_plain(json.as_str());
            prop_assert!(complete(&[whole.escaped()]));
            let cut = Text::from_plain(&json[..json.len() - 1]);
            prop_assert!(!complete(&[cut.escaped()]));
        }

        #[test]
        fn any_bytes_are_read(text in "[\\\\u0-9a-f\"{}\\[\\]]*") {
            complete(&[&text]);
        }
    }
}
