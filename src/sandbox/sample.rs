//! A value that is valid for a JSON schema, the same for the same schema and prompt: the arguments of a tool call, the text of a structured answer.
//!
//! It knows what tools and structured outputs use: types, properties, required, enum, const, default, items, limits on numbers, lengths, `anyOf`, `oneOf`,
//! `allOf` and local references. It is not a validator, and a schema that contradicts itself gets a value that does too.
//!
//! <https://json-schema.org/draft/2020-12>.

use serde_json::{Map, Value, json};

/// Deeper values are cut: a schema may refer to itself.
const DEEPEST: usize = 12;
/// Arrays are never longer than this, whatever a schema asks for.
const LONGEST: u64 = 64;

/// A value for `schema`, with words taken from `prompt` where a string may be anything.
pub(super) fn sample(schema: &Value, prompt: &str) -> Value {
    Sampler { root: schema, prompt }.value(schema, "", 0)
}

struct Sampler<'s> {
    root: &'s Value,
    prompt: &'s str,
}

impl<'s> Sampler<'s> {
    /// Recursion ends at [`DEEPEST`].
    fn value(&self, schema: &'s Value, name: &str, depth: usize) -> Value {
        let schema = self.resolve(schema);
        for chosen in ["const", "default"] {
            if let Some(value) = schema.get(chosen) {
                return value.clone();
            }
        }
        for list in ["enum", "examples"] {
            if let Some(value) = schema.get(list).and_then(Value::as_array).and_then(|values| values.first()) {
                return value.clone();
            }
        }
        if depth >= DEEPEST {
            return Value::Null;
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(first) = schema.get(union).and_then(Value::as_array).and_then(|options| options.first()) {
                return self.value(first, name, depth + 1);
            }
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "integer" => number(schema, true),
            "number" => number(schema, false),
            "boolean" => json!(true),
            "null" => Value::Null,
            _ => Value::String(self.string(schema, name)),
        }
    }

    /// Follows local references, a few steps at most.
    fn resolve(&self, mut schema: &'s Value) -> &'s Value {
        for _ in 0..DEEPEST {
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
            match target.and_then(|pointer| self.root.pointer(pointer)) {
                Some(found) => schema = found,
                None => break,
            }
        }
        schema
    }

    fn object(&self, schema: &'s Value, depth: usize) -> Value {
        let mut out = Map::new();
        if schema.get("properties").is_none() && schema.get("additionalProperties") == Some(&Value::Bool(true)) {
            // A schema that allows everything says so to get something.
            out.insert("echo".to_owned(), Value::from(self.prompt));
        }
        self.add_members(&mut out, schema, depth);
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.add_members(&mut out, self.resolve(part), depth);
        }
        Value::Object(out)
    }

    /// Required members; where nothing is required, all of them up to a depth that a schema which holds itself never reaches.
    fn add_members(&self, out: &mut Map<String, Value>, schema: &'s Value, depth: usize) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let required: Option<Vec<&str>> = schema.get("required").and_then(Value::as_array).map(|names| names.iter().filter_map(Value::as_str).collect());
        for (name, property) in properties {
            let wanted = required.as_ref().map_or(depth < 3, |names| names.contains(&name.as_str()));
            if wanted {
                out.insert(name.clone(), self.value(property, name, depth + 1));
            }
        }
    }

    fn array(&self, schema: &'s Value, name: &str, depth: usize) -> Value {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(LONGEST);
        let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(LONGEST);
        let count = if depth + 1 < DEEPEST { least.max(1).min(most) } else { least };
        match schema.get("items") {
            Some(items) => (0..count).map(|_| self.value(items, name, depth + 1)).collect(),
            None => (0..least).map(Value::from).collect(),
        }
    }

    fn string(&self, schema: &Value, name: &str) -> String {
        let limit = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok());
        let text = match schema.get("format").and_then(Value::as_str) {
            Some("date") => "2026-01-02",
            Some("date-time") => "2026-01-02T03:04:05Z",
            Some("time") => "03:04:05Z",
            Some("email") => "someone@example.com",
            Some("uri") => "https://example.com/",
            Some("uuid") => "00000000-0000-4000-8000-000000000000",
            _ => self.word(name),
        };
        let mut text: String = text.chars().take(limit("maxLength").unwrap_or(usize::MAX)).collect();
        let missing = limit("minLength").unwrap_or(0).min(4096).saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('x', missing));
        text
    }

    /// What the prompt has in quotes, or the word behind "in" or "for", or something that fits the name.
    fn word(&self, name: &str) -> &'s str {
        if let Some(quoted) = self.prompt.split('"').nth(1).filter(|quoted| !quoted.is_empty()) {
            return quoted;
        }
        let name = name.to_ascii_lowercase();
        let is_place = ["city", "location", "place", "country"].iter().any(|place| name.contains(place));
        let mut words = self.prompt.split_whitespace();
        let place = words.by_ref().find(|word| matches!(*word, "in" | "for")).and_then(|_| words.next());
        match place.map(|place| place.trim_matches(|c: char| !c.is_alphanumeric())).filter(|place| !place.is_empty()) {
            Some(place) if is_place => place,
            _ if is_place => "Paris",
            _ if name.contains("name") => "Ada",
            _ => "example",
        }
    }
}

/// The schema's type; of several, the first that is not null. Without one, what its members are for.
fn kind(schema: &Value) -> &str {
    let named = match schema.get("type") {
        Some(Value::String(kind)) => Some(kind.as_str()),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ => None,
    };
    let has = |name: &str| schema.get(name).is_some();
    match named {
        Some(kind) => kind,
        None if has("properties") || has("allOf") => "object",
        None if has("items") => "array",
        None => "string",
    }
}

/// The number nearest to 1 that the limits allow.
fn number(schema: &Value, whole: bool) -> Value {
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    let step = if whole { 1.0 } else { 0.5 };
    let least = [limit("minimum"), limit("exclusiveMinimum").map(|least| least + step)].into_iter().flatten().fold(f64::NEG_INFINITY, f64::max);
    let most = [limit("maximum"), limit("exclusiveMaximum").map(|most| most - step)].into_iter().flatten().fold(f64::INFINITY, f64::min);
    let mut number = 1.0_f64.min(most).max(least);
    if let Some(multiple) = limit("multipleOf").filter(|multiple| *multiple > 0.0) {
        number = (number / multiple).ceil() * multiple;
    }
    if whole { json!(number.ceil() as i64) } else { json!(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_their_schema() {
        let cases = [
            (
                json!({"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}}, "required": ["city"]}),
                json!({"city": "Berlin"}),
            ),
            (json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 5}, "b": {"type": "boolean"}}}), json!({"a": 5, "b": true})),
            (json!({"type": "array", "items": {"type": "number", "maximum": 0.5}, "minItems": 2}), json!([0.5, 0.5])),
            (json!({"type": ["null", "string"], "maxLength": 3}), json!("exa")),
            (json!({"anyOf": [{"type": "integer", "exclusiveMinimum": 1}, {"type": "null"}]}), json!(2)),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"const": 7}}}), json!(7)),
            (json!({"type": "string", "format": "date"}), json!("2026-01-02")),
            (json!({"allOf": [{"properties": {"x": {"default": 1}}}, {"properties": {"y": {"type": "null"}}}]}), json!({"x": 1, "y": null})),
            (json!({"type": "integer", "multipleOf": 7}), json!(7)),
            (json!({"type": "object"}), json!({})),
            (json!({"type": "object", "additionalProperties": true}), json!({"echo": "What is the weather in Berlin?"})),
        ];
        for (schema, expected) in cases {
            assert_eq!(sample(&schema, "What is the weather in Berlin?"), expected, "{schema}");
        }
        assert_eq!(sample(&json!({"type": "string"}), "say \"hello there\""), json!("hello there"));
    }

    #[test]
    fn schemas_that_hold_themselves_end() {
        let schema =
            json!({"type": "object", "properties": {"child": {"$ref": "#"}, "list": {"type": "array", "items": {"$ref": "#"}}}, "required": ["child", "list"]});
        assert!(sample(&schema, "").is_object());
        assert_eq!(sample(&json!({"$ref": "#"}), ""), json!("example"));
    }
}
