//! JSON without the white space that means nothing.

use super::Raw;

/// Appends a value on one line: what an event of a stream can hold. Strings stay as they are, and so does everything else that has a meaning.
///
/// `{ "a" : [1, 2] }` → `{"a":[1,2]}`
pub fn compact_into(out: &mut Vec<u8>, value: Raw<'_>) {
    let mut rest = value.as_str().as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b' ' | b'\t' | b'\n' | b'\r')) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let length = if tail.first() == Some(&b'"') { string(tail) } else { 1 };
        let (token, behind) = tail.split_at(length);
        if length > 1 {
            out.extend_from_slice(token);
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// The length of the string at the start, its quotes included: two bytes at least.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn compact(json: &str) -> String {
        let mut out = Vec::new();
        compact_into(&mut out, Raw::parse(json).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn white_space_goes_and_strings_stay() {
        for (json, expected) in [
            ("{ }", "{}"),
            ("[\r\n\t1 , -2.50e1 ,\"\"]", "[1,-2.50e1,\"\"]"),
            (r#"{"a b" : "c \" d", "e" : "\\" , "f": null }"#, r#"{"a b":"c \" d","e":"\\","f":null}"#),
            ("\" x \"", "\" x \""),
        ] {
            assert_eq!(compact(json), expected);
        }
    }

    proptest! {
        #[test]
        fn the_value_is_the_same(text in ".{0,20}", other in "[ \"\\\\\n]{0,8}") {
            let value = serde_json::json!({ text.clone(): [other, { "x": text }] });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let found = compact(&pretty);
            prop_assert_eq!(&serde_json::from_str::<Value>(&found).unwrap(), &value);
            prop_assert_eq!(found, serde_json::to_string(&value).unwrap());
        }
    }
}
