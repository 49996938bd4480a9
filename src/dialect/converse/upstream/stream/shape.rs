//! The two payloads that nearly all of a stream consists of, read by their exact shape.
//!
//! A JSON parser takes twice as long over such a payload as the checksum of its frame does. Whatever looks only a little different is left to it: this
//! knows one order of members, no spaces, and the padding member `p` at the end.
//!
//! ```text
//! {"contentBlockIndex":0,"delta":{"text":"…"}}
//! {"contentBlockIndex":1,"delta":{"toolUse":{"input":"…"}},"p":"abcdef"}
//! ```

/// A delta, still escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// More text.
    Text(&'a str),
    /// More of a tool's arguments.
    Input(&'a str),
}

/// Reads a payload of one of the two shapes: the block number and what came. `None` says nothing about the payload but that it has another shape.
pub(super) fn read(payload: &[u8]) -> Option<(u32, Shape<'_>)> {
    let rest = payload.strip_prefix(b"{\"contentBlockIndex\":")?;
    let (block, rest) = number(rest)?;
    let rest = rest.strip_prefix(b",\"delta\":{\"")?;
    if let Some(rest) = rest.strip_prefix(b"text\":\"") {
        let (text, rest) = string(rest)?;
        ends(rest.strip_prefix(b"}")?).then_some((block, Shape::Text(text)))
    } else {
        let (input, rest) = string(rest.strip_prefix(b"toolUse\":{\"input\":\"")?)?;
        ends(rest.strip_prefix(b"}}")?).then_some((block, Shape::Input(input)))
    }
}

/// A small number without a sign, and what is behind it.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    let is_plain = matches!(number, [b'0'] | [b'1'..=b'9', ..]) && digits < 9;
    is_plain.then(|| (number.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')), rest))
}

/// The content of a string whose opening quote was read, and what is behind its closing quote.
fn string(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => break,
            b'\\' => {
                at += match bytes.get(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                    b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                    _ => return None,
                }
            }
            0x20.. => at += 1,
            _ => return None,
        }
    }
    let (content, rest) = bytes.split_at_checked(at)?;
    Some((std::str::from_utf8(content).ok()?, rest.get(1..)?))
}

/// Whether nothing comes but the padding and the end of the object.
fn ends(rest: &[u8]) -> bool {
    rest == b"}"
        || rest.strip_prefix(b",\"p\":\"").and_then(|rest| rest.strip_suffix(b"\"}")).is_some_and(|padding| padding.iter().all(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::BlockDelta;
    use super::*;
    use crate::wire::json::write_string;

    /// What the JSON parser makes of it.
    fn parsed(payload: &[u8]) -> Option<(u32, String, bool)> {
        let event: BlockDelta<'_> = serde_json::from_slice(payload).ok()?;
        match (event.delta.text, event.delta.tool_use) {
            (Some(text), None) => Some((event.content_block_index, text.escaped().to_owned(), true)),
            (None, Some(tool)) => Some((event.content_block_index, tool.input.escaped().to_owned(), false)),
            _ => None,
        }
    }

    fn shaped(payload: &[u8]) -> Option<(u32, String, bool)> {
        read(payload).map(|(block, shape)| match shape {
            Shape::Text(text) => (block, text.to_owned(), true),
            Shape::Input(text) => (block, text.to_owned(), false),
        })
    }

    #[test]
    fn the_recorded_shapes_are_known() {
        for payload in [
            r#"{"contentBlockIndex":0,"delta":{"text":"\nOnce \u00e9 \"é\""},"p":"abcXYZ0"}"#,
            r#"{"contentBlockIndex":12,"delta":{"text":""}}"#,
            r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"sign\":"}}}"#,
        ] {
            assert!(shaped(payload.as_bytes()).is_some(), "{payload}");
            assert_eq!(shaped(payload.as_bytes()), parsed(payload.as_bytes()));
        }
    }

    #[test]
    fn other_shapes_are_left_alone() {
        for payload in [
            r#"{"delta":{"text":"a"},"contentBlockIndex":0}"#,
            r#"{"contentBlockIndex":01,"delta":{"text":"a"}}"#,
            r#"{"contentBlockIndex":99999999999,"delta":{"text":"a"}}"#,
            r#"{"contentBlockIndex":-1,"delta":{"text":"a"}}"#,
            r#"{"contentBlockIndex":0,"delta":{"text":"a\x"}}"#,
            r#"{"contentBlockIndex":0,"delta":{"text":"a\u00g0"}}"#,
            "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\n\"}}",
            r#"{"contentBlockIndex":0,"delta":{"text":"a"}"#,
            r#"{"contentBlockIndex":0,"delta":{"text":"a"},"p":"\""}"#,
            r#"{"contentBlockIndex":0,"delta":{"text":"a","x":1}}"#,
        ] {
            assert_eq!(shaped(payload.as_bytes()), None, "{payload}");
        }
        assert_eq!(read(b"{\"contentBlockIndex\":0,\"delta\":{\"text\":\"\xff\"}}"), None);
    }

    proptest! {
        #[test]
        fn what_is_read_by_shape_is_what_the_parser_reads(block in 0_u32..2000, text in any::<String>(), tool in any::<bool>(), padding in "[a-z]{0,9}") {
            let mut string = Vec::new();
            write_string(&mut string, &text);
            let string = String::from_utf8(string).unwrap();
            let delta = if tool { format!(r#"{{"toolUse":{{"input":{string}}}}}"#) } else { format!(r#"{{"text":{string}}}"#) };
            let payload = format!(r#"{{"contentBlockIndex":{block},"delta":{delta},"p":"{padding}"}}"#);
            prop_assert!(shaped(payload.as_bytes()).is_some());
            prop_assert_eq!(shaped(payload.as_bytes()), parsed(payload.as_bytes()));
        }

        #[test]
        fn it_never_reads_what_the_parser_does_not(noise in "[\\\\\"u0-9a-f}{,:p ]{0,12}") {
            for payload in [
                format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{noise}"}}}}"#),
                format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"a"}}{noise}}}"#),
            ] {
                if let Some(read) = shaped(payload.as_bytes()) {
                    prop_assert_eq!(Some(read), parsed(payload.as_bytes()));
                }
            }
        }
    }
}
