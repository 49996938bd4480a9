//! Looks at and changes single members of an object; every other byte stays as it is.
//!
//! A relayed body keeps its spacing, its order, its numbers and the members that nobody here knows: what reads it at the far end gets what the client wrote.

use std::borrow::Cow;

use super::{Raw, Reader, Syntax};

/// What becomes of one member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'e> {
    /// Gets this value, which is JSON; added in front where it is missing.
    Set(&'e str, &'e str),
    /// Gets this value only where the member is there.
    Replace(&'e str, &'e str),
    /// Goes.
    Remove(&'e str),
}

impl<'e> Edit<'e> {
    fn name(self) -> &'e str {
        match self {
            Edit::Set(name, _) | Edit::Replace(name, _) | Edit::Remove(name) => name,
        }
    }
}

/// A member where it stands.
struct Member<'a> {
    name: Cow<'a, str>,
    /// Of the quote before the name.
    start: usize,
    /// Of the value.
    value: std::ops::Range<usize>,
}

/// The values of the members of these names, at the top of an object; of members of one name the last. Reads the whole text, so that it is JSON.
///
/// `{"model":"m","x":[1]}`, `["model", "stream"]` → `[Some("m"), None]`
///
/// # Errors
/// When it is not one JSON object.
pub fn pick<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<[Option<Raw<'a>>; N], Syntax> {
    pick_with_repeats(text, names).map(|(found, _)| found)
}

/// Like [`pick`]; also tells whether one of the members stands more than once, so that another reader may take another one.
///
/// # Errors
/// When it is not one JSON object.
pub fn pick_with_repeats<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<([Option<Raw<'a>>; N], bool), Syntax> {
    let mut found = [None; N];
    let mut repeated = false;
    let mut reader = Reader::new(text);
    reader.object(|name, reader| {
        let value = reader.value()?;
        if let Some(at) = names.iter().position(|wanted| *wanted == name) {
            // Both lists are of one length.
            if let Some(place) = found.get_mut(at) {
                repeated |= place.replace(value).is_some();
            }
        }
        Ok::<(), Syntax>(())
    })?;
    reader.end()?;
    Ok((found, repeated))
}

/// Changes members at the top of an object. Members that stand twice are all changed: whichever of them a reader takes, it takes ours.
///
/// `{"model": "a", "x":1}`, `Set("model", "\"b\"")` → `{"model": "b", "x":1}`
///
/// # Errors
/// When it is not one JSON object.
pub fn splice(text: &str, edits: &[Edit<'_>]) -> Result<Vec<u8>, Syntax> {
    let mut members = Vec::with_capacity(16);
    let mut reader = Reader::new(text);
    // The place behind the opening brace: nothing but white space may stand before it.
    let open = text.find('{').map_or(0, |at| at + 1);
    reader.members(|member| members.push(member))?;
    let mut out = Vec::with_capacity(text.len() + edits.iter().map(|edit| edit.name().len() + 16).sum::<usize>());
    out.extend_from_slice(text.get(..open).unwrap_or_default().as_bytes());
    let mut empty = true;
    for edit in edits {
        if let Edit::Set(name, json) = edit
            && !members.iter().any(|member| member.name == *name)
        {
            if !empty {
                out.push(b',');
            }
            super::write_string(&mut out, name);
            out.push(b':');
            out.extend_from_slice(json.as_bytes());
            empty = false;
        }
    }
    let mut end = open;
    for member in &members {
        // What stands before a member: its comma, and white space.
        let before = text.get(end..member.start).unwrap_or_default();
        end = member.value.end;
        let edit = edits.iter().rev().find(|edit| edit.name() == member.name);
        if let Some(Edit::Remove(_)) = edit {
            continue;
        }
        match (empty, before.trim_start().starts_with(',')) {
            (true, true) => out.extend_from_slice(before.trim_start().trim_start_matches(',').as_bytes()),
            (false, false) => {
                out.push(b',');
                out.extend_from_slice(before.as_bytes());
            }
            _ => out.extend_from_slice(before.as_bytes()),
        }
        empty = false;
        let value = match edit {
            Some(Edit::Set(_, json) | Edit::Replace(_, json)) => json,
            _ => text.get(member.value.clone()).unwrap_or_default(),
        };
        out.extend_from_slice(text.get(member.start..member.value.start).unwrap_or_default().as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(text.get(end..).unwrap_or_default().as_bytes());
    Ok(out)
}

impl<'a> Reader<'a> {
    /// Reads a whole text, one object, and tells where its members stand.
    fn members(&mut self, mut each: impl FnMut(Member<'a>)) -> Result<(), Syntax> {
        self.expect(b'{')?;
        if !self.take(b'}') {
            loop {
                self.peek();
                let start = self.at;
                let name = self.name()?;
                self.expect(b':')?;
                self.peek();
                let begin = self.at;
                self.value()?;
                each(Member { name, start, value: begin..self.at });
                if !self.take(b',') {
                    self.expect(b'}')?;
                    break;
                }
            }
        }
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn spliced(text: &str, edits: &[Edit<'_>]) -> String {
        let out = String::from_utf8(splice(text, edits).unwrap()).unwrap();
        serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{out}: {error}"));
        out
    }

    #[test]
    fn only_the_named_members_change() {
        let body = "{ \"model\" : \"a\",\n  \"n\": 1.0e2 , \"x\":[1 ,{\"model\":2}] , \"stream\":true\t}\n";
        for (edits, expected) in [
            (&[][..], body.to_owned()),
            (&[Edit::Set("model", "\"b\"")], body.replace("\"a\"", "\"b\"")),
            (&[Edit::Replace("model", "\"b\""), Edit::Replace("none", "1")], body.replace("\"a\"", "\"b\"")),
            (&[Edit::Remove("model")], "{\n  \"n\": 1.0e2 , \"x\":[1 ,{\"model\":2}] , \"stream\":true\t}\n".to_owned()),
            (&[Edit::Remove("stream")], "{ \"model\" : \"a\",\n  \"n\": 1.0e2 , \"x\":[1 ,{\"model\":2}]\t}\n".to_owned()),
            (&[Edit::Set("v", "2")], format!("{{\"v\":2,{}", &body[1..])),
            (&[Edit::Set("v", "2"), Edit::Remove("model"), Edit::Remove("stream"), Edit::Remove("x"), Edit::Remove("n")], "{\"v\":2\t}\n".to_owned()),
        ] {
            assert_eq!(spliced(body, edits), expected, "{edits:?}");
        }
        assert_eq!(spliced("{}", &[Edit::Set("a", "1"), Edit::Set("b", "[]")]), r#"{"a":1,"b":[]}"#);
        assert_eq!(spliced(" { } ", &[Edit::Set("a", "1")]), r#" {"a":1 } "#);
        assert_eq!(spliced(r#"{"a":1}"#, &[Edit::Remove("a")]), "{}");
    }

    #[test]
    fn a_member_that_stands_twice_changes_twice() {
        assert_eq!(spliced(r#"{"a":1,"b":2,"\u0061":3}"#, &[Edit::Set("a", "0")]), r#"{"a":0,"b":2,"\u0061":0}"#);
        assert_eq!(spliced(r#"{"a":1,"b":2,"\u0061":3}"#, &[Edit::Remove("a")]), r#"{"b":2}"#);
    }

    #[test]
    fn members_are_picked_and_what_is_no_object_is_refused() {
        let [model, stream, n] = pick(r#"{"model":1,"x":{"stream":1},"model":"m"}"#, ["model", "stream", "n"]).unwrap();
        assert_eq!((model.unwrap().as_str(), stream.is_none(), n.is_none()), ("\"m\"", true, true));
        assert!(pick_with_repeats(r#"{"model":1,"\u006dodel":2}"#, ["model"]).unwrap().1);
        assert!(!pick_with_repeats(r#"{"model":1,"x":{"model":2}}"#, ["model"]).unwrap().1);
        for bad in ["", "[]", "{", "{\"a\":1}x", "{\"a\" 1}", "{\"a\":1,}", "null"] {
            assert!(pick(bad, ["a"]).is_err(), "{bad}");
            assert!(splice(bad, &[Edit::Set("a", "1")]).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_splice_is_what_a_map_would_do(members in proptest::collection::vec(("[a-d]", "[ \n]{0,2}", 0_u32..99), 0..6), set in "[a-e]", gone in "[a-e]") {
            let body = members.iter().map(|(name, space, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}")).collect::<Vec<_>>().join(",");
            let body = format!("{{{body}}}");
            let mut expected: serde_json::Map<String, Value> = serde_json::from_str(&body).unwrap();
            let mut edits = vec![Edit::Set(&set, "7")];
            expected.insert(set.clone(), Value::from(7));
            if gone != set {
                edits.push(Edit::Remove(&gone));
                expected.remove(&gone);
            }
            let out = spliced(&body, &edits);
            prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), Value::Object(expected));
            prop_assert_eq!(splice(&body, &[]).unwrap(), body.as_bytes());
        }
    }
}
