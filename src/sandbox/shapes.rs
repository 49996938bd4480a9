//! Requests against the shapes of the service model: required and unknown members, types, lengths, ranges, patterns, enums, unions, blobs.
//!
//! The shapes come from `service-model.json`, which is botocore's model trimmed to what requests reach; nothing about Converse is written here by hand.
//! What Bedrock asks for beyond the model is in [`super::rules`].
//!
//! Constraint traits: <https://smithy.io/2.0/spec/constraint-traits.html>.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::Failure;

/// So many faults are told at once; AWS cuts its list too.
const MOST_FAULTS: usize = 10;

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::load(include_str!("service-model.json")));

/// Checks a body against the input shape of an operation, for example `ConverseRequest`. Members that travel in the path or in headers are not expected.
///
/// # Errors
/// `ValidationException` naming each member and the rule it breaks, in the words of AWS.
pub(super) fn check_body(shape: &str, body: &Value) -> Result<(), Failure> {
    let mut faults = Faults::default();
    MODEL.check(&mut faults, shape, body);
    faults.finish()
}

/// Checks one string, for example a model id, against a shape.
///
/// # Errors
/// As [`check_body`]; `member` is what the value is called.
pub(super) fn check_text(shape: &str, member: &str, text: &str) -> Result<(), Failure> {
    let mut faults = Faults::default();
    faults.path.push_str(member);
    match MODEL.shapes.get(shape) {
        Some(Shape::Text(rule)) => rule.check(&mut faults, text),
        _ => faults.add("has no shape in the service model"),
    }
    faults.finish()
}

/// Checks the members that an operation takes from headers, for example those of `InvokeModelRequest`.
///
/// # Errors
/// As [`check_body`].
pub(super) fn check_headers(shape: &str, headers: &HeaderMap) -> Result<(), Failure> {
    let mut faults = Faults::default();
    let Some(Shape::Structure { headers: members, .. }) = MODEL.shapes.get(shape) else { return Ok(()) };
    for Header { member, name, shape } in members {
        let Some(value) = headers.get(name) else { continue };
        faults.at(member, |faults| match (MODEL.shapes.get(shape), value.to_str()) {
            (Some(Shape::Text(rule)), Ok(text)) => rule.check(faults, text),
            (Some(_), Ok(_)) => faults.add("has no shape for a header in the service model"),
            _ => faults.add("must be ASCII"),
        });
    }
    faults.finish()
}

/// Checks the length of a body that the service does not look into.
///
/// # Errors
/// As [`check_body`].
pub(super) fn check_blob(shape: &str, member: &str, bytes: usize) -> Result<(), Failure> {
    let mut faults = Faults::default();
    faults.path.push_str(member);
    if let Some(Shape::Blob { length }) = MODEL.shapes.get(shape) {
        length.check_length(&mut faults, bytes);
    }
    faults.finish()
}

/// What was wrong so far, and where the check stands.
#[derive(Default)]
struct Faults {
    path: String,
    all: Vec<String>,
}

impl Faults {
    /// `Value at 'inferenceConfig.topP' failed to satisfy constraint: Member must …`
    fn add(&mut self, constraint: &str) {
        if self.all.len() < MOST_FAULTS {
            self.all.push(format!("Value at '{}' failed to satisfy constraint: Member {constraint}", self.path));
        }
    }

    /// Runs `inner` with the path one step deeper.
    fn at(&mut self, step: impl std::fmt::Display, inner: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        let dot = if length == 0 { "" } else { "." };
        // Writing to a string does not fail.
        let _ = write!(self.path, "{dot}{step}");
        inner(self);
        self.path.truncate(length);
    }

    fn finish(self) -> Result<(), Failure> {
        match self.all.len() {
            0 => Ok(()),
            1 => Err(Failure::validation(format!("1 validation error detected: {}", self.all.join("; ")))),
            count => Err(Failure::validation(format!("{count} validation errors detected: {}", self.all.join("; ")))),
        }
    }
}

struct Model {
    shapes: HashMap<String, Shape>,
}

enum Shape {
    Structure { required: Vec<String>, members: BTreeMap<String, String>, headers: Vec<Header>, union: bool },
    List { member: String, length: Range },
    Map { key: String, value: String, length: Range },
    Text(TextRule),
    Blob { length: Range },
    Integer { range: Range },
    Float { range: Range },
    Boolean,
    Document,
}

/// A member that travels as a header.
struct Header {
    member: String,
    /// As on the wire.
    name: String,
    shape: String,
}

/// Inclusive limits on a value or a length.
#[derive(Clone, Copy, Default)]
struct Range {
    min: Option<f64>,
    max: Option<f64>,
}

struct TextRule {
    length: Range,
    pattern: Option<(String, Regex)>,
    choices: Vec<String>,
}

/// A shape as the file has it.
#[derive(Deserialize)]
struct Raw {
    r#type: String,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    members: BTreeMap<String, RawMember>,
    #[serde(default)]
    union: bool,
    #[serde(default)]
    document: bool,
    payload: Option<String>,
    member: Option<RawMember>,
    key: Option<RawMember>,
    value: Option<RawMember>,
    min: Option<f64>,
    max: Option<f64>,
    pattern: Option<String>,
    #[serde(default)]
    r#enum: Vec<String>,
}

#[derive(Deserialize)]
struct RawMember {
    shape: String,
    location: Option<String>,
    #[serde(rename = "locationName")]
    location_name: Option<String>,
}

impl Model {
    fn load(text: &str) -> Self {
        #[derive(Deserialize)]
        struct File {
            shapes: HashMap<String, Raw>,
        }
        let file: File = serde_json::from_str(text).expect("the service model is part of the binary and has a test");
        Model { shapes: file.shapes.into_iter().map(|(name, raw)| (name, Shape::load(raw))).collect() }
    }

    /// Descends by the model's shapes, none of which holds itself, so the depth is the model's and not the input's.
    fn check(&self, faults: &mut Faults, shape: &str, value: &Value) {
        let Some(shape) = self.shapes.get(shape) else {
            return faults.add("has no shape in the service model");
        };
        match (shape, value) {
            (Shape::Document, _) | (Shape::Boolean, Value::Bool(_)) => {}
            (Shape::Structure { required, members, union, .. }, Value::Object(object)) => {
                self.check_structure(faults, (required, members, *union), object);
            }
            (Shape::List { member, length }, Value::Array(items)) => {
                length.check_length(faults, items.len());
                for (index, item) in items.iter().enumerate() {
                    faults.at(format_args!("{}.member", index + 1), |faults| self.check(faults, member, item));
                }
            }
            (Shape::Map { key, value, length }, Value::Object(object)) => {
                length.check_length(faults, object.len());
                for (name, item) in object {
                    faults.at(name, |faults| {
                        if let Some(Shape::Text(rule)) = self.shapes.get(key) {
                            rule.check(faults, name);
                        }
                        self.check(faults, value, item);
                    });
                }
            }
            (Shape::Text(rule), Value::String(text)) => rule.check(faults, text),
            (Shape::Blob { length }, Value::String(text)) => match STANDARD.decode(text) {
                Ok(bytes) => length.check_length(faults, bytes.len()),
                Err(error) => faults.add(&format!("must be base64: {error}")),
            },
            (Shape::Integer { range }, Value::Number(number)) => match number.as_i64() {
                Some(number) => range.check_value(faults, number as f64),
                None => faults.add("must be an integer"),
            },
            (Shape::Float { range }, Value::Number(number)) => range.check_value(faults, number.as_f64().unwrap_or(f64::NAN)),
            (shape, value) => faults.add(&format!("must be {}, not {}", shape.kind(), kind(value))),
        }
    }

    fn check_structure(&self, faults: &mut Faults, (required, members, union): (&[String], &BTreeMap<String, String>, bool), object: &Map<String, Value>) {
        for name in required {
            if !object.contains_key(name) {
                faults.at(name, |faults| faults.add("must not be null"));
            }
        }
        for (name, value) in object {
            faults.at(name, |faults| match members.get(name) {
                Some(shape) => self.check(faults, shape, value),
                None => faults.add("is not known here"),
            });
        }
        if union && object.len() != 1 {
            faults.add(&format!("must have exactly one of its members set, not {}", object.len()));
        }
    }
}

impl Shape {
    fn load(raw: Raw) -> Self {
        let range = Range { min: raw.min, max: raw.max };
        let inner = |member: Option<RawMember>| member.map(|member| member.shape).unwrap_or_default();
        match raw.r#type.as_str() {
            "structure" if raw.document => Shape::Document,
            "structure" => {
                // What has a location is in the path or a header. A payload member is the body itself, which the operation checks.
                let in_body = |name: &str, member: &RawMember| member.location.is_none() && raw.payload.as_deref() != Some(name);
                let required = raw.required.into_iter().filter(|name| raw.members.get(name).is_none_or(|member| in_body(name, member))).collect();
                let header = |(name, member): (&String, &RawMember)| {
                    let on_the_wire = member.location_name.clone().filter(|_| member.location.as_deref() == Some("header"))?;
                    Some(Header { member: name.clone(), name: on_the_wire, shape: member.shape.clone() })
                };
                let headers = raw.members.iter().filter_map(header).collect();
                let members = raw.members.iter().filter(|(name, member)| in_body(name, member));
                let members = members.map(|(name, member)| (name.clone(), member.shape.clone())).collect();
                Shape::Structure { required, members, headers, union: raw.union }
            }
            "list" => Shape::List { member: inner(raw.member), length: range },
            "map" => Shape::Map { key: inner(raw.key), value: inner(raw.value), length: range },
            "blob" => Shape::Blob { length: range },
            "integer" | "long" => Shape::Integer { range },
            "float" | "double" => Shape::Float { range },
            "boolean" => Shape::Boolean,
            _ => {
                // AWS matches the whole value, whatever anchors its patterns have.
                let pattern = raw.pattern.map(|pattern| {
                    let whole = Regex::new(&format!("^(?:{pattern})$")).expect("the patterns are part of the binary and have a test");
                    (pattern, whole)
                });
                Shape::Text(TextRule { length: range, pattern, choices: raw.r#enum })
            }
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Shape::Structure { .. } | Shape::Map { .. } => "an object",
            Shape::List { .. } => "an array",
            Shape::Text(_) => "a string",
            Shape::Blob { .. } => "a base64 string",
            Shape::Integer { .. } => "an integer",
            Shape::Float { .. } => "a number",
            Shape::Boolean => "a boolean",
            Shape::Document => "any value",
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl Range {
    fn check_length(self, faults: &mut Faults, length: usize) {
        self.check(faults, length as f64, "length");
    }

    fn check_value(self, faults: &mut Faults, value: f64) {
        self.check(faults, value, "value");
    }

    fn check(self, faults: &mut Faults, measured: f64, what: &str) {
        if let Some(min) = self.min.filter(|min| measured < *min) {
            faults.add(&format!("must have {what} greater than or equal to {min}"));
        }
        if let Some(max) = self.max.filter(|max| measured > *max) {
            faults.add(&format!("must have {what} less than or equal to {max}"));
        }
    }
}

impl TextRule {
    fn check(&self, faults: &mut Faults, text: &str) {
        self.length.check_length(faults, text.chars().count());
        if let Some((pattern, _)) = self.pattern.as_ref().filter(|(_, whole)| !whole.is_match(text)) {
            faults.add(&format!("must satisfy regular expression pattern: {pattern}"));
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| choice == text) {
            faults.add(&format!("must satisfy enum value set: [{}]", self.choices.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: Value) -> String {
        check_body("ConverseRequest", &body).unwrap_err().message.into_owned()
    }

    fn user(block: Value) -> Value {
        serde_json::json!({"messages": [{"role": "user", "content": [block]}]})
    }

    #[test]
    fn the_model_loads_with_every_pattern_and_every_reference() {
        for (name, shape) in &MODEL.shapes {
            let inner: Vec<&String> = match shape {
                Shape::Structure { members, .. } => members.values().collect(),
                Shape::List { member, .. } => vec![member],
                Shape::Map { key, value, .. } => vec![key, value],
                _ => vec![],
            };
            for inner in inner {
                assert!(MODEL.shapes.contains_key(inner), "{name} → {inner}");
            }
        }
        assert!(MODEL.shapes.len() > 100);
    }

    #[test]
    fn a_full_request_passes() {
        let body = serde_json::json!({
            "messages": [
                {"role": "user", "content": [{"text": "hi"}, {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}, {"cachePoint": {"type": "default", "ttl": "1h"}}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a.b:c-1", "name": "f", "input": {"any": [1, null]}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "a.b:c-1", "content": [{"json": {"a": 1}}, {"text": "t"}], "status": "success"}}]}
            ],
            "system": [{"text": "be kind"}],
            "inferenceConfig": {"maxTokens": 1, "temperature": 0.5, "topP": 1, "stopSequences": ["x"]},
            "toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}, "strict": true}}], "toolChoice": {"auto": {}}},
            "additionalModelRequestFields": {"top_k": 5},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
            "requestMetadata": {"team": "a b"},
            "serviceTier": {"type": "flex"},
            "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "DRAFT", "trace": "enabled"},
            "outputConfig": {"effort": "low", "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}", "name": "n"}}}},
            "performanceConfig": {"latency": "standard"}
        });
        check_body("ConverseRequest", &body).unwrap();
    }

    #[test]
    fn every_kind_of_fault_names_the_member_and_the_rule() {
        let cases = [
            (serde_json::json!({"messages": [{"role": "user"}]}), "'messages.1.member.content'", "must not be null"),
            (serde_json::json!({"mesages": []}), "'mesages'", "is not known here"),
            (serde_json::json!({"messages": {}}), "'messages'", "must be an array, not an object"),
            (serde_json::json!({"messages": null}), "'messages'", "must be an array, not null"),
            (serde_json::json!({"inferenceConfig": {"maxTokens": 0}}), "'inferenceConfig.maxTokens'", "greater than or equal to 1"),
            (serde_json::json!({"inferenceConfig": {"maxTokens": 1.5}}), "'inferenceConfig.maxTokens'", "must be an integer"),
            (serde_json::json!({"inferenceConfig": {"temperature": 1.1}}), "'inferenceConfig.temperature'", "less than or equal to 1"),
            (serde_json::json!({"inferenceConfig": {"stopSequences": [""]}}), "'inferenceConfig.stopSequences.1.member'", "length greater than or equal to 1"),
            (serde_json::json!({"toolConfig": {"tools": []}}), "'toolConfig.tools'", "length greater than or equal to 1"),
            (serde_json::json!({"serviceTier": {"type": "fast"}}), "'serviceTier.type'", "enum value set: [priority, default, flex, reserved]"),
            (serde_json::json!({"requestMetadata": {"a": "\u{e9}"}}), "'requestMetadata.a'", "regular expression pattern"),
            (serde_json::json!({"additionalModelResponseFieldPaths": vec!["/a"; 11]}), "'additionalModelResponseFieldPaths'", "less than or equal to 10"),
            (user(serde_json::json!({})), "'messages.1.member.content.1.member'", "exactly one of its members set, not 0"),
            (user(serde_json::json!({"text": "a", "cachePoint": {"type": "default"}})), "'messages.1.member.content.1.member'", "exactly one"),
            (user(serde_json::json!({"image": {"format": "jpg", "source": {"bytes": "AAAA"}}})), "content.1.member.image.format'", "enum value set"),
            (user(serde_json::json!({"image": {"format": "png", "source": {"bytes": "data:image/png;base64,AAAA"}}})), "image.source.bytes'", "must be base64"),
            (user(serde_json::json!({"image": {"format": "png", "source": {"bytes": ""}}})), "image.source.bytes'", "length greater than or equal to 1"),
            (user(serde_json::json!({"toolResult": {"toolUseId": "a b", "content": []}})), "toolResult.toolUseId'", "regular expression pattern"),
            (user(serde_json::json!({"toolUse": {"toolUseId": "x".repeat(65), "name": "f", "input": {}}})), "toolUse.toolUseId'", "less than or equal to 64"),
        ];
        for (body, place, rule) in cases {
            let text = fault(body);
            assert!(text.contains(place) && text.contains(rule), "{text}: {place} {rule}");
        }
        let two = fault(serde_json::json!({"inferenceConfig": {"maxTokens": 0, "topP": 2}}));
        assert!(two.starts_with("2 validation errors detected: "), "{two}");
    }

    #[test]
    fn headers_are_checked_by_their_shapes() {
        let check = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))]);
            check_headers("InvokeModelRequest", &headers).map_err(|failure| failure.message.into_owned())
        };
        check("x-amzn-bedrock-service-tier", "flex").unwrap();
        check("x-unknown", "flex").unwrap();
        assert!(check("x-amzn-bedrock-service-tier", "fast").unwrap_err().contains("'serviceTier'"));
        assert!(check("x-amzn-bedrock-guardrailversion", "x").unwrap_err().contains("'guardrailVersion'"));
        assert!(check("x-amzn-bedrock-trace", "on").unwrap_err().contains("[ENABLED, DISABLED, ENABLED_FULL]"));
        check_blob("Body", "body", 25_000_000).unwrap();
        check_blob("Body", "body", 25_000_001).unwrap_err();
    }

    #[test]
    fn model_ids_are_checked_by_their_pattern() {
        for id in [
            "anthropic.claude-3-haiku-20240307-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0.sandbox.delay-5ms",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ] {
            check_text("ConversationalModelId", "modelId", id).unwrap();
        }
        for id in ["", "a/b", "a b", "mod\u{e9}l", "arn:aws:bedrock:us-east-1:12:inference-profile/x"] {
            assert!(check_text("ConversationalModelId", "modelId", id).is_err(), "{id}");
        }
    }
}
