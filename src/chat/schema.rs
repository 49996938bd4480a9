//! JSON schemas: moved as they stand, changed only where a family would refuse them.
//!
//! Two changes are known. Strict schemas need `additionalProperties: false` on every object ([`Wish::closed`]), and some families refuse regular expressions
//! with look-around ([`Wish::plain_patterns`]). The text is rewritten from left to right; order, numbers and spacing of the rest stay (a prompt cache compares
//! bytes).
//!
//! JSON Schema: <https://json-schema.org/draft/2020-12/json-schema-core>.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::chat::fields::{Fields, Members};
use crate::wire::json::{Kind, Raw, Text};

/// What is sent when a tool has no usable schema.
pub const EMPTY: &str = r#"{"type":"object","properties":{}}"#;

const OBJECT_INSTRUCTION: &str = "Answer with one valid JSON object and nothing else: no text around it, no Markdown.";
const SCHEMA_INSTRUCTION: &str = "Answer with one JSON value that follows this JSON Schema, and nothing else: no text around it, no Markdown.\n";

/// How a schema shall be changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Every object says `additionalProperties: false`.
    pub closed: bool,
    /// No `pattern` with look-around or NUL.
    pub plain_patterns: bool,
}

/// What to tell the model where no member asks for the shape of its answer: JSON of this schema, or any JSON object.
#[must_use]
pub fn instruction(schema: Option<&str>) -> String {
    schema.map_or_else(|| OBJECT_INSTRUCTION.to_owned(), |schema| format!("{SCHEMA_INSTRUCTION}{schema}"))
}

/// The schema of a tool: its top must be an object schema.
pub fn of_tool<'r>(parameters: Option<Raw<'r>>, wish: Wish) -> Cow<'r, str> {
    let Some(raw) = parameters.filter(|raw| raw.kind() == Kind::Object) else { return rewrite(EMPTY, wish) };
    // Only the names at the top are needed; most schemas begin with `type`.
    let members = Members::of(raw);
    let of_type = members.as_ref().and_then(|members| members.value("type"));
    match of_type.map(|value| value.as_str()) {
        Some(r#""object""#) => rewrite(raw.as_str(), wish),
        // One type among several: arguments are always an object.
        Some(list) if list.starts_with('[') && list.contains(r#""object""#) => {
            let mut top = Fields::default();
            members.into_iter().for_each(|members| top.put_all(members));
            top.replace("type", r#""object""#);
            let mut out = Vec::with_capacity(raw.as_str().len());
            top.write(&mut out);
            Cow::Owned(rewrite(&String::from_utf8(out).unwrap_or_default(), wish).into_owned())
        }
        Some(_) => rewrite(EMPTY, wish),
        None if members.is_none_or(|members| members.0.is_empty()) => rewrite(EMPTY, wish),
        None => {
            let rest = raw.as_str().get(1..).unwrap_or_default();
            Cow::Owned(rewrite(&format!(r#"{{"type":"object",{rest}"#), wish).into_owned())
        }
    }
}

/// Rewrites a schema, or gives it back as it is.
pub fn rewrite(schema: &str, wish: Wish) -> Cow<'_, str> {
    let patterns = wish.plain_patterns && schema.contains("\"pattern\"");
    if !patterns && !wish.closed {
        return Cow::Borrowed(schema);
    }
    let mut writer = Rewriter { wish, text: schema, out: String::new(), copied: 0, open: Vec::new() };
    writer.run();
    writer.finish()
}

/// Whether some object of the schema says that it takes members it does not name, which no strict mode allows.
pub fn is_open(schema: &str) -> bool {
    let mut rest = schema;
    while let Some(at) = rest.find("\"additionalProperties\"") {
        rest = rest.get(at + "\"additionalProperties\"".len()..).unwrap_or_default().trim_start();
        if let Some(value) = rest.strip_prefix(':')
            && !value.trim_start().starts_with("false")
        {
            return true;
        }
    }
    false
}

/// Whether some object of the schema names members that need not be there, which OpenAI's strict mode does not allow. A schema that is too deep for that mode
/// counts as one.
pub fn has_optional(schema: &str) -> bool {
    /// More levels than OpenAI takes.
    const DEPTH: usize = 16;
    let mut todo: Vec<(Raw<'_>, usize)> = Raw::parse(schema).ok().map(|raw| (raw, 0)).into_iter().collect();
    while let Some((raw, depth)) = todo.pop() {
        let Some(members) = Members::of(raw) else { continue };
        if depth > DEPTH {
            return true;
        }
        let named = |name: &str| members.value(name).and_then(Members::of).into_iter().flat_map(|Members(list)| list);
        let required: Vec<Text<'_>> = members.value("required").and_then(|list| list.read().ok()).unwrap_or_default();
        let required: HashSet<Cow<'_, str>> = required.iter().map(Text::unescape).collect();
        if named("properties").any(|(name, _)| !required.contains(&name.unescape())) {
            return true;
        }
        let listed = ["anyOf", "oneOf", "allOf", "prefixItems"].into_iter().filter_map(|name| members.value(name)?.read::<Vec<Raw<'_>>>().ok()).flatten();
        let inside = ["properties", "$defs", "definitions"].into_iter().flat_map(named).map(|(_, schema)| schema);
        todo.extend(inside.chain(listed).chain(members.value("items")).map(|schema| (schema, depth + 1)));
    }
    false
}

/// What an open bracket holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// The members of a schema.
    Schema,
    /// Schemas by name: `properties`, `$defs`.
    Named,
    /// Schemas one after the other: `anyOf`, `prefixItems`.
    List,
    /// Anything else: `enum`, `default`, `required`.
    Other,
}

struct Open {
    holds: Holds,
    /// The name whose value comes next, in an object.
    name: Option<&'static str>,
    /// `type` says object, or there are `properties`.
    is_object: bool,
    /// `additionalProperties` is there.
    is_closed: bool,
    /// Where the member that is being read begins, with the comma before it.
    member: usize,
}

/// The names that mean something here.
const NAMES: [&str; 24] = [
    "type",
    "properties",
    "additionalProperties",
    "pattern",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "anyOf",
    "oneOf",
    "allOf",
    "prefixItems",
    "items",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "additionalItems",
    "contentSchema",
    "unevaluatedProperties",
    "",
];

struct Rewriter<'t> {
    wish: Wish,
    text: &'t str,
    out: String,
    /// Up to where `text` is in `out` or left out.
    copied: usize,
    open: Vec<Open>,
}

impl<'t> Rewriter<'t> {
    /// Walks over valid JSON, bracket by bracket and string by string.
    fn run(&mut self) {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'{' | b'[' => {
                    let holds = self.inside(byte == b'{');
                    self.open.push(Open { holds, name: None, is_object: false, is_closed: false, member: at + 1 });
                }
                b'}' | b']' => self.close(at),
                b',' => {
                    if let Some(open) = self.open.last_mut() {
                        open.name = None;
                        // A comma that went with the member before it leaves the next member the first one.
                        open.member = at.max(self.copied);
                    }
                }
                b'"' => {
                    let end = string_end(bytes, at);
                    self.string(at, end);
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// What the bracket that opens now will hold.
    fn inside(&mut self, brace: bool) -> Holds {
        let Some(outer) = self.open.last() else { return if brace { Holds::Schema } else { Holds::Other } };
        match (outer.holds, outer.name) {
            (Holds::Named | Holds::List, _) if brace => Holds::Schema,
            (Holds::Schema, Some("properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas")) if brace => Holds::Named,
            (Holds::Schema, Some("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items")) if !brace => Holds::List,
            (Holds::Schema, Some(name)) if brace && !matches!(name, "" | "type" | "pattern") => Holds::Schema,
            _ => Holds::Other,
        }
    }

    /// A string from its opening quote to behind its closing quote: a name or a value.
    fn string(&mut self, start: usize, end: usize) {
        let Some(open) = self.open.last_mut() else { return };
        let inner = self.text.get(start + 1..end.saturating_sub(1)).unwrap_or_default();
        let is_name = self.text.get(end..).unwrap_or_default().trim_start().starts_with(':');
        match (open.holds, open.name, is_name) {
            (Holds::Schema, None, true) => {
                let name = NAMES.into_iter().find(|name| *name == inner).unwrap_or("");
                open.name = Some(name);
                open.is_object |= name == "properties";
                open.is_closed |= name == "additionalProperties";
            }
            (Holds::Named, None, true) => open.name = Some(""),
            (Holds::Schema, Some("type"), _) => open.is_object |= inner == "object",
            (Holds::Schema, Some("pattern"), _) if self.wish.plain_patterns && is_odd_pattern(inner) => self.leave_out(end),
            _ => {}
        }
    }

    /// Leaves the member out that ends here.
    fn leave_out(&mut self, end: usize) {
        let Some(open) = self.open.last() else { return };
        let (start, mut end) = (open.member, end);
        // The first member has its comma behind it.
        if self.text.as_bytes().get(start) != Some(&b',') {
            let rest = self.text.get(end..).unwrap_or_default();
            let spaces = rest.len() - rest.trim_start().len();
            if rest.trim_start().starts_with(',') {
                end += spaces + 1;
            }
        }
        self.out.push_str(self.text.get(self.copied..start).unwrap_or_default());
        self.copied = end;
    }

    fn close(&mut self, at: usize) {
        let Some(open) = self.open.pop() else { return };
        if self.wish.closed && open.holds == Holds::Schema && open.is_object && !open.is_closed {
            self.out.push_str(self.text.get(self.copied..at).unwrap_or_default());
            self.copied = at;
            // It has a member already: the one that says it is an object.
            self.out.push_str(",\"additionalProperties\":false");
        }
    }

    fn finish(mut self) -> Cow<'t, str> {
        if self.copied == 0 {
            return Cow::Borrowed(self.text);
        }
        self.out.push_str(self.text.get(self.copied..).unwrap_or_default());
        Cow::Owned(self.out)
    }
}

/// Where a string ends: behind the closing quote.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Look-ahead, look-behind, or a NUL.
fn is_odd_pattern(escaped: &str) -> bool {
    let pattern = Text::from_escaped(escaped);
    let pattern = pattern.unescape();
    ["(?=", "(?!", "(?<=", "(?<!", "\\0", "\0"].iter().any(|odd| pattern.contains(odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Wish = Wish { closed: true, plain_patterns: false };
    const PLAIN: Wish = Wish { closed: false, plain_patterns: true };

    #[test]
    fn trap_14_a_tool_schema_is_an_object_schema() {
        let of = |text: &'static str| of_tool(Some(Raw::parse(text).unwrap()), Wish::default()).into_owned();
        assert_eq!(of_tool(None, Wish::default()), EMPTY);
        for odd in ["null", "[]", "\"x\"", "{}", " { } ", r#"{"type":"string"}"#, r#"{"type":["string","null"]}"#] {
            assert_eq!(of(odd), EMPTY, "{odd}");
        }
        assert_eq!(of(r#"{ "properties" : {"b":{},"a":{}} }"#), r#"{"type":"object", "properties" : {"b":{},"a":{}} }"#);
        assert_eq!(of(r#"{"z":1.10,"type":["object","null"],"properties":{"b":{}}}"#), r#"{"z":1.10,"type":"object","properties":{"b":{}}}"#);
        assert_eq!(of(r#"{"z":1.10,"type":"object"}"#), r#"{"z":1.10,"type":"object"}"#, "untouched");
    }

    #[test]
    fn trap_59_every_object_is_closed_once() {
        for (schema, closed) in [
            (r#"{"type":"object"}"#, r#"{"type":"object","additionalProperties":false}"#),
            (r#"{"type":"object","additionalProperties":false}"#, r#"{"type":"object","additionalProperties":false}"#),
            (
                r#"{"type":"object","properties":{"type":{"type":"string"},"o":{"properties":{}}}}"#,
                r#"{"type":"object","properties":{"type":{"type":"string"},"o":{"properties":{},"additionalProperties":false}},"additionalProperties":false}"#,
            ),
            (
                r#"{"anyOf":[{"type":"object"},{"type":"null"}],"$defs":{"properties":{"type":["object","null"]}}}"#,
                r#"{"anyOf":[{"type":"object","additionalProperties":false},{"type":"null"}],"$defs":{"properties":{"type":["object","null"]}}}"#,
            ),
            (r#"{"type":"array","items":{"type":"object" }}"#, r#"{"type":"array","items":{"type":"object" ,"additionalProperties":false}}"#),
            (r#"{"enum":[{"type":"object"}],"default":{"type":"object"}}"#, r#"{"enum":[{"type":"object"}],"default":{"type":"object"}}"#),
            (r#"{"description":"{\"type\":\"object\"}"}"#, r#"{"description":"{\"type\":\"object\"}"}"#),
        ] {
            assert_eq!(rewrite(schema, CLOSED), closed);
            assert_eq!(rewrite(closed, CLOSED), closed, "again");
            assert!(Raw::parse(&rewrite(schema, CLOSED)).is_ok());
        }
    }

    #[test]
    fn trap_15_patterns_with_look_around_are_left_out_only_there() {
        for (schema, plain) in [
            (r#"{"type":"string","pattern":"^(?!x).*$"}"#, r#"{"type":"string"}"#),
            (r#"{"pattern":"(?<=a)b","type":"string"}"#, r#"{"type":"string"}"#),
            (r#"{"pattern":"(?=a)"}"#, r#"{}"#),
            (r#"{"pattern":"(?=a)","pattern":"(?=b)","a":1}"#, r#"{"a":1}"#),
            (r#"{ "pattern" : "(?=a)" , "a":1, "pattern":"(?<!z)"}"#, r#"{ "a":1}"#),
            (r#"{"pattern":"a\\0b"}"#, r#"{}"#),
            (r#"{"pattern":"a\u0000b"}"#, r#"{}"#),
            (r#"{"pattern":"^[a-z]+$"}"#, r#"{"pattern":"^[a-z]+$"}"#),
            (r#"{"properties":{"pattern":{"const":"(?=a)"}}}"#, r#"{"properties":{"pattern":{"const":"(?=a)"}}}"#),
        ] {
            let found = rewrite(schema, PLAIN).into_owned();
            assert_eq!(found.replace(' ', ""), plain.replace(' ', ""), "{schema}");
            assert!(Raw::parse(&found).is_ok(), "{found}");
            assert_eq!(rewrite(schema, Wish::default()), schema);
        }
    }

    #[test]
    fn open_objects_are_told() {
        assert!(is_open(r#"{"type":"object","additionalProperties": {"type":"string"}}"#));
        assert!(is_open(r#"{"additionalProperties" : true}"#));
        assert!(!is_open(r#"{"additionalProperties": false}"#));
        assert!(!is_open(r#"{"enum":["additionalProperties"]}"#));
    }

    #[test]
    fn members_that_need_not_be_there_are_found() {
        for (schema, optional) in [
            (r#"{"type":"object","properties":{}}"#, false),
            (r#"{"properties":{"a":{},"b\u00e9":{}},"required":["bé","a"]}"#, false),
            (r#"{"properties":{"a":{}}}"#, true),
            (r#"{"properties":{"a":{}},"required":"a"}"#, true),
            (r#"{"properties":{"a":{"properties":{"b":{}}}},"required":["a"]}"#, true),
            (r#"{"items":{"anyOf":[{"type":"null"},{"properties":{"b":{}}}]}}"#, true),
            (r#"{"$defs":{"x":{"properties":{"b":{}}}}}"#, true),
            (r#"{"properties":{"properties":{"type":"string"}},"required":["properties"]}"#, false),
            (r#"{"enum":[{"properties":{"a":1}}]}"#, false),
            ("true", false),
        ] {
            assert_eq!(has_optional(schema), optional, "{schema}");
        }
        assert!(has_optional(&(r#"{"items":"#.repeat(100) + "{}" + &"}".repeat(100))));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}{}", r#"{"items":"#.repeat(20_000), "1") + &"}".repeat(20_000);
        assert!(matches!(rewrite(&deep, CLOSED), Cow::Borrowed(_)));
    }
}
