//! Invoke bodies of Claude against the published request types: required and unknown members, types, constants, unions.
//!
//! `schema.json` is the JSON schema of Anthropic's own types trimmed to what Bedrock has; nothing about members is written here by hand. The API tells the
//! first fault only, as `messages.0.content.1.tool_use.id: Field required`: a path with the tag of each union, then the words of pydantic. What it asks for
//! beyond its types is in [`super::rules`].

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::sandbox::rules::{Checked, items, refuse, text};

static SHAPES: LazyLock<Value> = LazyLock::new(|| {
    let mut file: Value = serde_json::from_str(include_str!("schema.json")).expect("the schema is part of the binary and has a test");
    file["shapes"].take()
});

/// The member that tells the options of a union apart.
const TAG: &str = "type";

/// Checks a body.
///
/// # Errors
/// `ValidationException` naming the first member that breaks the schema, and how.
pub(super) fn check(body: &Value) -> Checked {
    Check { place: String::new() }.value(&SHAPES["Body"], body)
}

/// Where the check stands.
struct Check {
    place: String,
}

impl Check {
    /// Descends by the schema, no shape of which holds itself, so the depth is the schema's and not the input's.
    fn value(&mut self, schema: &Value, value: &Value) -> Checked {
        let schema = resolve(schema);
        if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
            return self.union(options, value);
        }
        match (text(schema, "type"), value) {
            (None, _) | (Some("boolean"), Value::Bool(_)) | (Some("null"), Value::Null) | (Some("number"), Value::Number(_)) => Ok(()),
            (Some("string"), Value::String(given)) => self.choice(schema, given),
            (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
            (Some("array"), Value::Array(list)) => match schema.get("items") {
                Some(inner) => list.iter().enumerate().try_for_each(|(index, item)| self.at(index, |check| check.value(inner, item))),
                None => Ok(()),
            },
            (Some("object"), Value::Object(object)) => self.object(schema, object),
            (Some(kind), _) => self.fault(match kind {
                "object" => "Input should be an object",
                "array" => "Input should be a valid list",
                "integer" => "Input should be a valid integer",
                "number" => "Input should be a valid number",
                "boolean" => "Input should be a valid boolean",
                "null" => "Input should be null",
                _ => "Input should be a valid string",
            }),
        }
    }

    fn object(&mut self, schema: &Value, object: &Map<String, Value>) -> Checked {
        for name in items(schema, "required").iter().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                return self.at(name, |check| check.fault("Field required"));
            }
        }
        let is_open = schema.get("additionalProperties").is_some();
        for (name, value) in object {
            match schema.get("properties").and_then(|members| members.get(name)) {
                Some(inner) => self.at(name, |check| check.value(inner, value))?,
                None if is_open => {}
                None => return self.at(name, |check| check.fault("Extra inputs are not permitted")),
            }
        }
        Ok(())
    }

    /// The option that has the value's type; of several objects, the one whose tag it bears.
    fn union(&mut self, options: &[Value], value: &Value) -> Checked {
        let options = options.iter().map(resolve).filter(|option| text(option, "type").is_none_or(|kind| is_kind(kind, value)));
        let options: Vec<&Value> = options.collect();
        match options.as_slice() {
            [] => self.fault("Input does not match any of the expected types"),
            [first, ..] if !value.is_object() || tags(first).next().is_none() => self.value(first, value),
            [..] => self.tagged(&options, value),
        }
    }

    fn tagged(&mut self, options: &[&Value], value: &Value) -> Checked {
        // Custom tools need no tag, and a schema of theirs is open for everything: there the first option is meant.
        let untagged = options.iter().find(|option| !items(option, "required").iter().any(|name| name == TAG));
        let open = options.iter().find(|option| option.get("properties").is_none()).and_then(|_| options.first());
        let given = value.get(TAG).filter(|given| !given.is_null());
        if let Some(meant) = open {
            return self.value(meant, value);
        }
        match (given, untagged) {
            (None, None) => self.at(TAG, |check| check.fault("Field required")),
            (None, Some(option)) => self.at("custom", |check| check.value(option, value)),
            (Some(Value::String(tag)), _) => match options.iter().find(|option| tags(option).any(|known| known == tag)) {
                Some(option) => self.at(tag, |check| check.value(option, value)),
                None => {
                    let known: Vec<String> = options.iter().flat_map(|option| tags(option)).map(|tag| format!("'{tag}'")).collect();
                    self.fault(&format!("Input tag '{tag}' found using 'type' does not match any of the expected tags: {}", known.join(", ")))
                }
            },
            (Some(_), _) => self.at(TAG, |check| check.fault("Input should be a valid string")),
        }
    }

    fn choice(&mut self, schema: &Value, given: &str) -> Checked {
        let mut choices = choices(schema).peekable();
        if choices.peek().is_none() {
            return Ok(());
        }
        let all: Vec<&str> = choices.collect();
        if all.contains(&given) {
            return Ok(());
        }
        let quoted: Vec<String> = all.iter().map(|choice| format!("'{choice}'")).collect();
        self.fault(&format!("Input should be {}", quoted.join(" or ")))
    }

    fn at(&mut self, step: impl std::fmt::Display, inner: impl FnOnce(&mut Self) -> Checked) -> Checked {
        let length = self.place.len();
        let dot = if self.place.is_empty() { "" } else { "." };
        // Writing to a string does not fail.
        let _ = write!(self.place, "{dot}{step}");
        inner(self)?;
        self.place.truncate(length);
        Ok(())
    }

    fn fault(&self, text: &str) -> Checked {
        refuse(if self.place.is_empty() { text.to_owned() } else { format!("{}: {text}", self.place) })
    }
}

fn resolve(schema: &Value) -> &Value {
    text(schema, "$ref").map_or(schema, |name| &SHAPES[name])
}

fn choices(schema: &Value) -> impl Iterator<Item = &str> {
    text(schema, "const").into_iter().chain(items(schema, "enum").iter().filter_map(Value::as_str))
}

/// The values of the tag that stand for an option.
fn tags(option: &Value) -> impl Iterator<Item = &str> {
    let tag = &option["properties"][TAG];
    let inner = items(tag, "anyOf").iter().flat_map(choices);
    choices(tag).chain(inner)
}

fn is_kind(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "integer" | "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => value.is_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reference_leads_to_a_shape_and_no_shape_holds_itself() {
        fn depth(schema: &Value, above: usize) -> usize {
            assert!(above < 64, "a shape holds itself");
            let inner = match schema {
                Value::Object(object) => {
                    object.iter().map(|(name, value)| if name == "$ref" { depth(resolve(schema), above + 1) } else { depth(value, above + 1) }).max()
                }
                Value::Array(list) => list.iter().map(|value| depth(value, above + 1)).max(),
                _ => None,
            };
            assert!(!schema.is_null());
            inner.unwrap_or(above)
        }
        for (name, shape) in SHAPES.as_object().unwrap() {
            assert!(shape.is_object(), "{name}");
            depth(shape, 0);
        }
    }

    #[test]
    fn faults_name_the_member_with_the_tags_of_its_unions() {
        let body = |more: Value| {
            let mut body = json!({"anthropic_version": "v", "max_tokens": 1, "messages": []});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let block = |block: Value| body(json!({"messages": [{"role": "user", "content": ["", block]}]}));
        let alone = |block: Value| body(json!({"messages": [{"role": "user", "content": [block]}]}));
        let cases = [
            (json!([]), "Input should be an object"),
            (json!({}), "anthropic_version: Field required"),
            (json!({"anthropic_version": "v", "messages": []}), "max_tokens: Field required"),
            (body(json!({"seed": 1})), "seed: Extra inputs are not permitted"),
            (body(json!({"max_tokens": 1.5})), "max_tokens: Input should be a valid integer"),
            (body(json!({"max_tokens": null})), "max_tokens: Input should be a valid integer"),
            (body(json!({"top_p": "1"})), "top_p: Input should be a valid number"),
            (body(json!({"system": {}})), "system: Input does not match any of the expected types"),
            (body(json!({"system": [{"type": "text"}]})), "system.0.text: Field required"),
            (body(json!({"service_tier": "fast"})), "service_tier: Input should be 'auto' or 'standard_only'"),
            (body(json!({"thinking": {}})), "thinking.type: Field required"),
            (body(json!({"thinking": {"type": "enabled"}})), "thinking.enabled.budget_tokens: Field required"),
            (body(json!({"thinking": {"type": "between_tools"}})), "thinking: Input tag 'between_tools' found using 'type'"),
            (body(json!({"tool_choice": {"type": "none", "disable_parallel_tool_use": true}})), "tool_choice.none.disable_parallel_tool_use: Extra inputs"),
            (body(json!({"tools": [{"name": "f"}]})), "tools.0.custom.input_schema: Field required"),
            (body(json!({"tools": [{"name": "f", "input_schema": {"type": "array"}}]})), "tools.0.custom.input_schema.type: Input should be 'object'"),
            (body(json!({"tools": [{"name": "f", "input_schema": {}}]})), "tools.0.custom.input_schema.type: Field required"),
            (body(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})), "tools.0: Input tag 'web_search_20250305'"),
            (body(json!({"tools": [{"type": "bash_20250124", "name": "sh"}]})), "tools.0.bash_20250124.name: Input should be 'bash'"),
            (body(json!({"messages": [{"role": "tool", "content": "a"}]})), "messages.0.role: Input should be 'user' or 'assistant'"),
            (body(json!({"messages": [{"role": "user", "content": "a", "name": "b"}]})), "messages.0.name: Extra inputs are not permitted"),
            (block(json!({"type": "text", "text": "a"})), "messages.0.content.0: Input does not match"),
            (alone(json!({"text": "a"})), "messages.0.content.0.type: Field required"),
            (alone(json!({"type": "input_audio"})), "messages.0.content.0: Input tag 'input_audio'"),
            (alone(json!({"type": "text", "text": "a", "id": 1})), "messages.0.content.0.text.id: Extra inputs are not permitted"),
            (alone(json!({"type": "tool_use", "id": "a", "name": "f", "input": "{}"})), "messages.0.content.0.tool_use.input: Input should be an object"),
            (alone(json!({"type": "image", "source": {"type": "url", "url": "x"}})), "messages.0.content.0.image.source: Input tag 'url'"),
            (alone(json!({"type": "document", "source": {"type": "file", "file_id": "x"}})), "messages.0.content.0.document.source: Input tag 'file'"),
        ];
        for (body, fault) in cases {
            let failure = check(&body).expect_err(fault);
            assert!(failure.message.starts_with(fault), "{} does not begin with: {fault}", failure.message);
        }
    }

    #[test]
    fn what_the_types_allow_passes() {
        check(&json!({
            "anthropic_version": "v", "anthropic_beta": [], "max_tokens": 0, "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}, "cache_control": null}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "b"}], "is_error": true}]},
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object", "$defs": {}}}, {"type": "custom", "name": "g", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}],
            "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive", "display": "omitted"}, "temperature": 1, "top_k": 5, "metadata": {"user_id": null},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}, "stop_sequences": ["a"],
        }))
        .unwrap();
    }
}
