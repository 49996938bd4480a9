//! One writing for all writings of a JSON value, to be hashed: members in the order of their names, strings escaped in one way, no white space.
//!
//! Numbers stay as they are written: `1` and `1.0` are two writings that a model's API may tell apart.

use std::borrow::Cow;
use std::ops::Range;

use super::{Kind, Reader, Syntax, write_string};

/// Values inside values; deeper ones have no canonical form here. Far deeper than any schema of a tool.
const DEEPEST: usize = 128;

/// Why there is no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON.
    Syntax,
    /// It is too deep.
    Depth,
}

impl From<Syntax> for Fault {
    fn from(_: Syntax) -> Self {
        Fault::Syntax
    }
}

/// Appends the canonical form of one JSON value, without the members of these names at its top. It is no JSON: every member and item is followed by a comma.
/// Of members of one name all stay, in their order.
///
/// `{"b":[1, 2],"a":"\u0041"}` → `{"a":"A","b":[1,2,],}`
///
/// # Errors
/// When it has none. What is appended by then is of no use.
pub fn canonical(text: &str, without: &[&str], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut reader = Reader::new(text);
    value(&mut reader, DEEPEST, without, out)?;
    Ok(reader.end()?)
}

fn value(reader: &mut Reader<'_>, deeper: usize, without: &[&str], out: &mut Vec<u8>) -> Result<(), Fault> {
    let kind = reader.kind()?;
    let deeper = if matches!(kind, Kind::Object | Kind::Array) { deeper.checked_sub(1).ok_or(Fault::Depth)? } else { deeper };
    match kind {
        Kind::Object => object(reader, deeper, without, out)?,
        Kind::Array => {
            out.push(b'[');
            reader.array(|reader| {
                value(reader, deeper, &[], out)?;
                out.push(b',');
                Ok::<_, Fault>(())
            })?;
            out.push(b']');
        }
        Kind::String => {
            let raw = reader.value()?;
            match raw.text().filter(|text| !text.escaped().contains('\\')) {
                Some(text) => write_string(out, text.escaped()),
                // Strict: two halves of surrogate pairs must not become one.
                None => write_string(out, &raw.read::<String>().map_err(|_| Fault::Syntax)?),
            }
        }
        Kind::Number | Kind::Bool | Kind::Null => out.extend_from_slice(reader.value()?.as_str().as_bytes()),
    }
    Ok(())
}

fn object(reader: &mut Reader<'_>, deeper: usize, without: &[&str], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.push(b'{');
    let begin = out.len();
    let mut members: Vec<(Cow<'_, str>, Range<usize>)> = Vec::new();
    reader.object(|name, reader| {
        if without.contains(&&*name) {
            reader.value()?;
            return Ok(());
        }
        let start = out.len();
        write_string(out, &name);
        out.push(b':');
        value(reader, deeper, &[], out)?;
        out.push(b',');
        members.push((name, start..out.len()));
        Ok::<_, Fault>(())
    })?;
    if !members.is_sorted_by(|one, other| one.0 <= other.0) {
        members.sort_by(|one, other| one.0.cmp(&other.0));
        let sorted = members.iter().filter_map(|(_, range)| out.get(range.clone())).collect::<Vec<_>>().concat();
        out.truncate(begin);
        out.extend_from_slice(&sorted);
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn of(text: &str) -> Result<String, Fault> {
        let mut out = Vec::new();
        canonical(text, &["stream"], &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn order_escapes_and_space_do_not_count_and_all_else_does() {
        for (text, expected) in [
            (r#"{"b":[1, 2],"a":"\u0041"}"#, r#"{"a":"A","b":[1,2,],}"#),
            ("{ \"stream\" : true, \"a\" : { \"stream\": 1, \"z\": null, \"y\": {} } }", r#"{"a":{"stream":1,"y":{},"z":null,},}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2,}"#),
            (r#"{"a":2,"a":1}"#, r#"{"a":2,"a":1,}"#),
            (r#"[1.0,"a/\/"]"#, r#"[1.0,"a//",]"#),
        ] {
            assert_eq!(of(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "{", "{} {}", "[1,]", r#"{"a"}"#, r#""\ud800""#] {
            assert_eq!(of(text), Err(Fault::Syntax), "{text}");
        }
        assert_eq!(of(&"[".repeat(1_000_000)), Err(Fault::Depth));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from), ".{0,6}".prop_map(Value::from)];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn two_values_have_one_form_only_if_they_are_equal(one in json(), other in json()) {
            prop_assert_eq!(of(&one.to_string()) == of(&other.to_string()), one == other);
            let pretty = of(&serde_json::to_string_pretty(&one).unwrap());
            prop_assert_eq!(pretty, of(&one.to_string()));
        }
    }
}
