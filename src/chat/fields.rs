//! JSON objects that several hands write: ours first, then the client's, merged member by member.
//!
//! Used for `additionalModelRequestFields` and the few other free-form members of a Converse request. Values stay raw JSON until two writers meet in the
//! same object; only then is that object taken apart. Order of first appearance is kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::wire::json::{Array, Kind, Object, Raw, Text};

/// How deep two objects are merged. Below it the later writer's value stands whole; no model has members that deep.
const MERGE_DEPTH: usize = 8;

/// From how many members on they are looked up by hash: a client may send any number.
const INDEX_FROM: usize = 16;

/// The members of a raw JSON object, in order.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<(Text<'a>, Raw<'a>)>);

impl<'a> Members<'a> {
    /// The members, if `raw` is an object.
    pub fn of(raw: Raw<'a>) -> Option<Self> {
        (raw.kind() == Kind::Object).then(|| raw.read().ok()).flatten()
    }

    /// The value of a member.
    pub fn value(&self, name: &str) -> Option<Raw<'a>> {
        self.0.iter().find(|(key, _)| *key == *name).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Vec<(Text<'de>, Raw<'de>)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or(4));
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Walk).map(Members)
    }
}

/// An object in the making.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    /// Names in escaped form.
    members: Vec<(Cow<'a, str>, Value<'a>)>,
    /// Where each name stands; empty while there are few.
    index: HashMap<Cow<'a, str>, usize>,
}

#[derive(Debug)]
enum Value<'a> {
    Json(Cow<'a, str>),
    Object(Fields<'a>),
}

impl<'a> Fields<'a> {
    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a member of this name was put in. `name` is in escaped form.
    pub fn contains(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// Puts a member in. What is there already under the same name gives way, except that two objects become one. `name` is in escaped form, `json` is one
    /// JSON value.
    pub fn put(&mut self, name: impl Into<Cow<'a, str>>, json: impl Into<Cow<'a, str>>) {
        self.put_at(name.into(), json.into(), MERGE_DEPTH);
    }

    /// Puts a member in, and throws away what was there under the same name.
    pub fn replace(&mut self, name: &'static str, json: impl Into<Cow<'a, str>>) {
        self.put_at(Cow::Borrowed(name), json.into(), 0);
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(at) = self.position(name) else { return false };
        self.members.remove(at);
        if !self.index.is_empty() {
            self.index = self.members.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        }
        true
    }

    /// Puts every member of an object in.
    pub fn put_all(&mut self, members: Members<'a>) {
        for (name, value) in members.0 {
            self.put_at(name.into_escaped(), Cow::Borrowed(value.as_str()), MERGE_DEPTH);
        }
    }

    fn put_at(&mut self, name: Cow<'a, str>, json: Cow<'a, str>, depth: usize) {
        let Some((_, old)) = self.position(&name).and_then(|at| self.members.get_mut(at)) else {
            self.push(name, Value::Json(json));
            return;
        };
        if depth > 0
            && let Some(mut fields) = old.take_apart()
            && let Some(members) = explode(&json)
        {
            for (name, value) in members {
                fields.put_at(name, value, depth - 1);
            }
            *old = Value::Object(fields);
        } else {
            *old = Value::Json(json);
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.index.is_empty() { self.members.iter().position(|(known, _)| known == name) } else { self.index.get(name).copied() }
    }

    fn push(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        if !self.index.is_empty() {
            self.index.insert(name.clone(), self.members.len());
        }
        self.members.push((name, value));
        if self.members.len() == INDEX_FROM {
            self.index = self.members.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        }
    }

    /// Appends the object as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        Object::write(out, |object| self.write_into(object));
    }

    /// Adds the members to an object.
    pub fn write_into(&self, object: &mut Object<'_>) {
        for (name, value) in &self.members {
            match value {
                Value::Json(json) => object.raw(name, json),
                // No deeper than `MERGE_DEPTH`.
                Value::Object(fields) => fields.write(object.key(name)),
            }
        }
    }
}

impl<'a> Value<'a> {
    /// The members, if this is an object; the value itself is empty afterwards.
    fn take_apart(&mut self) -> Option<Fields<'a>> {
        match self {
            Value::Object(fields) => Some(std::mem::take(fields)),
            Value::Json(json) => {
                let mut fields = Fields::default();
                explode(json)?.into_iter().for_each(|(name, value)| fields.push(name, Value::Json(value)));
                Some(fields)
            }
        }
    }
}

/// The members of an object, borrowed where the text is.
fn explode<'a>(json: &Cow<'a, str>) -> Option<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
    match json {
        Cow::Borrowed(text) => {
            let members = Members::of(Raw::parse(text).ok()?)?;
            Some(members.0.into_iter().map(|(name, value)| (name.into_escaped(), Cow::Borrowed(value.as_str()))).collect())
        }
        Cow::Owned(text) => {
            let members = Members::of(Raw::parse(text).ok()?)?;
            let owned = |text: &str| Cow::Owned(text.to_owned());
            Some(members.0.into_iter().map(|(name, value)| (owned(name.escaped()), owned(value.as_str()))).collect())
        }
    }
}

/// Appends an array of strings: what the client's array holds, then `more`, each once, at most `most`. A value that is no array of strings is taken as empty.
pub fn write_paths(out: &mut Vec<u8>, theirs: Option<Raw<'_>>, more: &[&str], most: usize) {
    let theirs: Vec<Text<'_>> = theirs.and_then(|raw| raw.read().ok()).unwrap_or_default();
    Array::write(out, |array| {
        let mut left = most;
        for path in &theirs {
            if left > 0 {
                array.text(path);
                left -= 1;
            }
        }
        for path in more {
            if left > 0 && !theirs.iter().any(|known| known == path) {
                array.text(&Text::from_plain(*path));
                left -= 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(pieces: &[(&'static str, &'static str)]) -> String {
        let mut fields = Fields::default();
        for (name, json) in pieces {
            fields.put(*name, *json);
        }
        let mut out = Vec::new();
        fields.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn trap_52_objects_merge_and_leaves_are_replaced_in_place() {
        let text = merged(&[
            ("thinking", r#"{"type":"enabled","budget_tokens":1024}"#),
            ("top_k", "5"),
            ("thinking", r#"{"budget_tokens":2048,"x":1}"#),
            ("top_k", "6"),
        ]);
        assert_eq!(text, r#"{"thinking":{"type":"enabled","budget_tokens":2048,"x":1},"top_k":6}"#);
    }

    #[test]
    fn an_object_and_a_leaf_do_not_mix() {
        assert_eq!(merged(&[("a", "{\"b\":1}"), ("a", "2")]), r#"{"a":2}"#);
        assert_eq!(merged(&[("a", "2"), ("a", "{\"b\":1}")]), r#"{"a":{"b":1}}"#);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |leaf: &str| format!("{}{leaf}{}", "{\"a\":".repeat(500), "}".repeat(500));
        let mut fields = Fields::default();
        fields.put("a", deep("1"));
        fields.put("a", deep("2"));
        let mut out = Vec::new();
        fields.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains('2') && !text.contains('1'));
    }

    #[test]
    fn many_members_are_found_again() {
        let mut fields = Fields::default();
        for round in 0..2 {
            (0..100).for_each(|at| fields.put(format!("k{at}"), format!("{}", at + round)));
        }
        assert!(fields.remove("k7") && !fields.remove("k7"));
        fields.put("k99", "0");
        let mut out = Vec::new();
        fields.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(r#"{"k0":1,"k1":2,"#) && text.ends_with(r#""k98":99,"k99":0}"#) && !text.contains("k7\""), "{text}");
    }

    #[test]
    fn paths_are_joined_and_bounded() {
        let mut out = Vec::new();
        write_paths(&mut out, Some(Raw::parse(r#"["/a","/stop_sequence"]"#).unwrap()), &["/stop_sequence", "/b", "/c"], 3);
        assert_eq!(out, br#"["/a","/stop_sequence","/b"]"#);
    }
}
