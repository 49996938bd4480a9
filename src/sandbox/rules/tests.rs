use serde_json::json;

use super::*;

const PNG: &str = "iVBORw0KGgo=";
const JPEG: &str = "/9j/4AAQ";
const HAIKU: Family = Family::Claude(3, 0);
const SONNET_3_7: Family = Family::Claude(3, 7);
const SONNET_4_5: Family = Family::Claude(4, 5);
const OPUS_4_8: Family = Family::Claude(4, 8);

fn accepted(family: Family, body: Value) {
    if let Err(failure) = check(&body, family) {
        panic!("{}: {body}", failure.message);
    }
}

fn refused(family: Family, body: Value, with: &str) {
    let failure = check(&body, family).expect_err(with);
    assert!(failure.message.contains(with), "{} does not say: {with}", failure.message);
}

fn user(blocks: Value) -> Value {
    json!({"messages": [{"role": "user", "content": blocks}]})
}

fn hi(more: Value) -> Value {
    let mut body = user(json!([{"text": "hi"}]));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn tools(names: &[&str]) -> Value {
    let specs: Vec<Value> = names.iter().map(|name| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}})).collect();
    json!({"tools": specs})
}

/// A conversation with tools, of (role, content) pairs.
fn talk(turns: &[(&str, Value)]) -> Value {
    let messages: Vec<Value> = turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    json!({"messages": messages, "toolConfig": tools(&["f"])})
}

fn call(id: &str) -> Value {
    json!({"toolUse": {"toolUseId": id, "name": "f", "input": {}}})
}

fn result(id: &str) -> Value {
    json!({"toolResult": {"toolUseId": id, "content": [{"text": "ok"}]}})
}

#[test]
fn trap_10_turns_alternate_and_the_user_begins() {
    let text = json!([{"text": "a"}]);
    accepted(HAIKU, talk(&[("user", text.clone()), ("assistant", text.clone()), ("user", text.clone())]));
    refused(HAIKU, talk(&[("assistant", text.clone()), ("user", text.clone())]), "must start with a user message");
    refused(HAIKU, talk(&[("user", text.clone()), ("user", text)]), "must alternate");
    refused(HAIKU, json!({"messages": []}), "messages field is empty");
    refused(HAIKU, json!({}), "messages field is empty");
}

#[test]
fn trap_22_blank_text_and_empty_content_are_refused() {
    refused(HAIKU, user(json!([])), "content field in the Message object at messages.0 is empty");
    for blank in ["", " ", "\n\t", "\u{a0}"] {
        refused(HAIKU, user(json!([{"text": "a"}, {"text": blank}])), "ContentBlock object at messages.0.content.1 is blank");
    }
    refused(HAIKU, hi(json!({"system": [{"text": " "}]})), "system.0 is blank");
    let last = |text: &str| talk(&[("user", json!([{"text": "a"}])), ("assistant", json!([{"text": text}]))]);
    accepted(HAIKU, last("Sure:"));
    refused(HAIKU, last("Sure: "), "trailing whitespace");
    refused(OPUS_4_8, last("Sure:"), "prefill");
}

#[test]
fn trap_10_tool_calls_and_results_are_paired() {
    let ask = json!([{"text": "a"}]);
    accepted(
        HAIKU,
        talk(&[
            ("user", ask.clone()),
            ("assistant", json!([{"text": "x"}, call("1"), call("2")])),
            ("user", json!([result("2"), result("1"), {"text": "and"}])),
        ]),
    );
    refused(HAIKU, talk(&[("user", ask.clone()), ("assistant", json!([call("1"), call("2")])), ("user", json!([result("1")]))]), "for the following Ids: 2");
    refused(
        HAIKU,
        talk(&[("user", ask.clone()), ("assistant", json!([call("1")])), ("user", ask.clone())]),
        "Expected toolResult blocks at messages.2.content for the following Ids: 1",
    );
    refused(HAIKU, talk(&[("user", ask.clone()), ("assistant", json!([call("1")]))]), "for the following Ids: 1");
    refused(HAIKU, talk(&[("user", json!([result("1")]))]), "exceeds the number of toolUse blocks");
    refused(HAIKU, talk(&[("user", ask.clone()), ("assistant", json!([call("1")])), ("user", json!([result("1"), result("1")]))]), "exceeds");
    let twice =
        [("user", ask), ("assistant", json!([call("1")])), ("user", json!([result("1")])), ("assistant", json!([call("1")])), ("user", json!([result("1")]))];
    refused(HAIKU, talk(&twice), "ids must be unique");
}

#[test]
fn trap_16_tool_blocks_need_a_tool_config() {
    let mut body = talk(&[("user", json!([{"text": "a"}])), ("assistant", json!([call("1")])), ("user", json!([result("1")]))]);
    accepted(HAIKU, body.clone());
    body.as_object_mut().unwrap().remove("toolConfig");
    refused(HAIKU, body, "toolConfig field must be defined");
}

#[test]
fn trap_09_tool_input_must_be_an_object() {
    for input in [json!(""), json!([]), json!(null), json!(1)] {
        let content = json!([{"toolUse": {"toolUseId": "1", "name": "f", "input": input}}]);
        refused(HAIKU, talk(&[("user", json!([{"text": "a"}])), ("assistant", content), ("user", json!([result("1")]))]), "messages.1.content.0.toolUse.input");
    }
}

#[test]
fn trap_20_and_21_tool_results_hold_objects_and_text_that_is_not_blank() {
    let with = |content: Value| {
        let result = json!([{"toolResult": {"toolUseId": "1", "content": content}}]);
        talk(&[("user", json!([{"text": "a"}])), ("assistant", json!([call("1")])), ("user", result)])
    };
    accepted(HAIKU, with(json!([])));
    accepted(HAIKU, with(json!([{"json": {"a": [1]}}])));
    refused(HAIKU, with(json!([{"text": ""}])), "toolResult.content.0 is blank");
    for value in [json!([1]), json!("x"), json!(null)] {
        refused(HAIKU, with(json!([{"json": value}])), "Provide a json object");
    }
    refused(HAIKU, with(json!([{"json": {"": 1}}])), "reserved");
    refused(HAIKU, with(json!([{"json": {"__type": 1}}])), "reserved");
    let image = json!([{"image": {"format": "png", "source": {"bytes": PNG}}}]);
    accepted(HAIKU, with(image.clone()));
    refused(Family::LlamaVision, with(image), "images in tool results");
}

#[test]
fn trap_14_tools_have_unique_names_and_object_schemas() {
    accepted(HAIKU, hi(json!({"toolConfig": tools(&["f", "g"])})));
    refused(HAIKU, hi(json!({"toolConfig": tools(&["f", "f"])})), "'f' at toolConfig.tools.1 is not unique");
    let with = |spec: Value| hi(json!({"toolConfig": {"tools": [{"toolSpec": spec}]}}));
    refused(HAIKU, with(json!({"name": "f", "inputSchema": {"json": {}}})), "must be one of the following: object");
    refused(HAIKU, with(json!({"name": "f", "inputSchema": {"json": "x"}})), "Provide a json object");
    let strict = json!({"name": "f", "strict": true, "inputSchema": {"json": {"type": "object"}}});
    refused(HAIKU, with(strict.clone()), "strict");
    accepted(SONNET_4_5, with(strict));
    refused(Family::Titan, hi(json!({"toolConfig": tools(&["f"])})), "doesn't support tool use");
}

#[test]
fn trap_18_and_19_tool_choice_depends_on_family_and_thinking() {
    let with = |choice: Value, more: Value| {
        let mut config = tools(&["f"]);
        config["toolChoice"] = choice;
        let mut body = hi(json!({"toolConfig": config}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    accepted(HAIKU, with(json!({"any": {}}), json!({})));
    accepted(HAIKU, with(json!({"tool": {"name": "f"}}), json!({})));
    refused(HAIKU, with(json!({"tool": {"name": "g"}}), json!({})), "is not one of toolConfig.tools");
    refused(Family::Llama, with(json!({"any": {}}), json!({})), "toolConfig.toolChoice.any");
    accepted(Family::Mistral, with(json!({"any": {}}), json!({})));
    refused(Family::Mistral, with(json!({"tool": {"name": "f"}}), json!({})), "toolConfig.toolChoice.tool");
    accepted(Family::Llama, with(json!({"auto": {}}), json!({})));
    let thinking = json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}});
    refused(SONNET_3_7, with(json!({"any": {}}), thinking.clone()), "forces tool use");
    accepted(SONNET_3_7, with(json!({"auto": {}}), thinking));
    refused(Family::Claude(5, 5), with(json!({"any": {}}), json!({})), "toolChoice.any");
    refused(HAIKU, with(json!({"any": {}}), json!({"additionalModelRequestFields": {"tool_choice": {"type": "any"}}})), "tool_choice");
}

#[test]
fn blocks_belong_to_their_roles() {
    refused(HAIKU, user(json!([call("1")])), "toolUse block at messages.0.content.0 is not allowed");
    refused(HAIKU, user(json!([{"reasoningContent": {"reasoningText": {"text": "a"}}}])), "reasoningContent block");
    let image = json!([{"image": {"format": "png", "source": {"bytes": PNG}}}]);
    refused(HAIKU, talk(&[("user", json!([{"text": "a"}])), ("assistant", image.clone())]), "image block at messages.1.content.0 is not allowed");
    accepted(HAIKU, user(image.clone()));
    refused(Family::Llama, user(image), "doesn't support the image");
    refused(HAIKU, talk(&[("user", json!([{"text": "a"}])), ("system", json!([{"text": "b"}]))]), "role system");
}

#[test]
fn trap_11_reasoning_comes_first_and_tool_calls_last() {
    let reasoning = json!({"reasoningContent": {"reasoningText": {"text": "r", "signature": seal::signature("r")}}});
    let with = |content: Value| talk(&[("user", json!([{"text": "a"}])), ("assistant", content), ("user", json!([result("1")]))]);
    accepted(HAIKU, with(json!([reasoning, {"text": "x"}, call("1")])));
    refused(HAIKU, with(json!([{"text": "x"}, reasoning, call("1")])), "must come before all other content");
    refused(HAIKU, with(json!([call("1"), {"text": "x"}])), "must come before the toolUse blocks");
}

#[test]
fn trap_30_and_32_reasoning_comes_back_byte_for_byte() {
    let with = |reasoning: Value| {
        talk(&[("user", json!([{"text": "a"}])), ("assistant", json!([{"reasoningContent": reasoning}, {"text": "b"}])), ("user", json!([{"text": "c"}]))])
    };
    let signed = |text: &str, signature: &str| with(json!({"reasoningText": {"text": text, "signature": signature}}));
    accepted(SONNET_4_5, signed("r", &seal::signature("r")));
    accepted(SONNET_4_5, signed("", &seal::signature("")));
    refused(SONNET_4_5, signed("r ", &seal::signature("r")), "Invalid `signature`");
    refused(SONNET_4_5, signed("r", "forged"), "Invalid `signature`");
    refused(SONNET_4_5, with(json!({"reasoningText": {"text": "r"}})), "signature: Field required");
    accepted(Family::DeepSeek, with(json!({"reasoningText": {"text": "r"}})));
    refused(Family::DeepSeek, signed("r", &seal::signature("r")), "signature");
    let redacted = STANDARD.encode(seal::redacted(b"x"));
    accepted(SONNET_4_5, with(json!({"redactedContent": redacted})));
    refused(SONNET_4_5, with(json!({"redactedContent": "W1JFREFDVEVEXQ=="})), "byte for byte");
}

#[test]
fn trap_33_and_34_thinking_has_its_limits() {
    let with = |thinking: Value, inference: Value| hi(json!({"additionalModelRequestFields": {"thinking": thinking}, "inferenceConfig": inference}));
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    accepted(SONNET_3_7, with(budget(1024), json!({"maxTokens": 1025})));
    refused(SONNET_3_7, with(budget(1023), json!({})), "greater than or equal to 1024");
    refused(SONNET_3_7, with(budget(1024), json!({"maxTokens": 1024})), "must be greater than `thinking.budget_tokens`");
    refused(SONNET_3_7, with(json!({"type": "enabled"}), json!({})), "budget_tokens: Field required");
    refused(SONNET_3_7, with(budget(1024), json!({"temperature": 0.5})), "`temperature` may only be set to 1");
    accepted(SONNET_3_7, with(budget(1024), json!({"temperature": 1})));
    refused(SONNET_3_7, with(budget(1024), json!({"topP": 0.5})), "`top_p`");
    refused(SONNET_3_7, with(json!({"type": "adaptive"}), json!({})), "\"adaptive\" is not supported");
    refused(HAIKU, with(budget(1024), json!({})), "\"enabled\" is not supported");
    refused(OPUS_4_8, with(budget(1024), json!({})), "\"enabled\" is not supported");
    accepted(OPUS_4_8, with(json!({"type": "adaptive"}), json!({})));
    refused(Family::Llama, with(budget(1024), json!({})), "Extra inputs");
    let nova = |inference: Value| {
        hi(json!({"additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}, "inferenceConfig": inference}))
    };
    accepted(Family::Nova2, nova(json!({"stopSequences": ["x"]})));
    refused(Family::Nova2, nova(json!({"maxTokens": 10})), "inferenceConfig.maxTokens must not be set");
}

#[test]
fn trap_30_thinking_comes_back_with_the_tool_call_it_led_to() {
    let reasoning = json!({"reasoningContent": {"reasoningText": {"text": "r", "signature": seal::signature("r")}}});
    let with = |content: Value| {
        let mut body = talk(&[("user", json!([{"text": "a"}])), ("assistant", content), ("user", json!([result("1")]))]);
        body["additionalModelRequestFields"] = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
        body
    };
    accepted(SONNET_3_7, with(json!([reasoning, call("1")])));
    refused(SONNET_3_7, with(json!([call("1")])), "must start with a thinking block");
}

#[test]
fn trap_35_and_38_sampling_and_stop_sequences() {
    let both = hi(json!({"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}));
    accepted(HAIKU, both.clone());
    refused(SONNET_4_5, both, "cannot both be specified");
    refused(OPUS_4_8, hi(json!({"inferenceConfig": {"temperature": 0.5}})), "not supported on this model");
    refused(HAIKU, hi(json!({"inferenceConfig": {"stopSequences": ["a", " \n"]}})), "stop_sequences.1");
    refused(Family::Grok, hi(json!({"inferenceConfig": {"stopSequences": ["a"]}})), "stopSequences");
}

#[test]
fn trap_39_images_are_what_they_say() {
    let image = |format: &str, bytes: &str| user(json!([{"image": {"format": format, "source": {"bytes": bytes}}}]));
    accepted(HAIKU, image("png", PNG));
    accepted(HAIKU, image("jpeg", JPEG));
    accepted(HAIKU, image("gif", "R0lGODlh"));
    accepted(HAIKU, image("webp", "UklGRgAAAABXRUJQ"));
    refused(HAIKU, image("png", JPEG), "are jpeg");
    refused(HAIKU, image("png", "aGVsbG8="), "Could not process image");
    let many = |count: usize| user(Value::from(vec![json!({"image": {"format": "png", "source": {"bytes": PNG}}}); count]));
    accepted(HAIKU, many(20));
    refused(HAIKU, many(21), "at most 20 images");
    let large = format!("{}{}", "iVBORw0KGgoA", "AAAA".repeat(MOST_IMAGE_BYTES / 3));
    refused(HAIKU, image("png", &large), "The limit is");
}

#[test]
fn trap_41_and_42_documents_have_proper_names_and_text_beside_them() {
    let document = |name: &str| json!({"document": {"name": name, "format": "txt", "source": {"bytes": "aGk="}}});
    accepted(HAIKU, user(json!([document("a (1) [b]-c"), {"text": "read"}])));
    refused(HAIKU, user(json!([document("a")])), "must also have a text block");
    for name in ["a.txt", "a_b", "a  b", "\u{e9}"] {
        refused(HAIKU, user(json!([document(name), {"text": "read"}])), "contains invalid characters");
    }
    refused(HAIKU, user(json!([document("a"), document("a"), {"text": "read"}])), "duplicate document names");
    let six: Vec<Value> = (0..6).map(|n| document(&format!("d{n}"))).chain([json!({"text": "read"})]).collect();
    refused(HAIKU, user(Value::from(six)), "at most 5 documents");
    let pdf = json!([{"document": {"name": "a", "format": "pdf", "source": {"bytes": "aGk="}}}, {"text": "read"}]);
    refused(HAIKU, user(pdf), "not of its declared format");
    refused(HAIKU, user(json!([{"document": {"name": "a", "source": {"bytes": "aGk="}}}, {"text": "read"}])), "must have a format");
}

#[test]
fn trap_25_and_26_cache_points_are_few_and_follow_what_they_cache() {
    let point = json!({"cachePoint": {"type": "default"}});
    let with = |count: usize| user(Value::from(std::iter::repeat_n([json!({"text": "a"}), point.clone()], count).flatten().collect::<Vec<_>>()));
    accepted(SONNET_4_5, with(4));
    refused(SONNET_4_5, with(5), "maximum of 4 blocks");
    refused(SONNET_4_5, user(json!([point.clone(), {"text": "a"}])), "messages.0.content.0 must follow");
    assert_eq!(check(&with(1), HAIKU).unwrap_err().name, "AccessDeniedException");
    let mut behind_tools = hi(json!({"toolConfig": tools(&["f"])}));
    behind_tools["toolConfig"]["tools"].as_array_mut().unwrap().push(point);
    accepted(SONNET_4_5, behind_tools.clone());
    assert_eq!(check(&behind_tools, Family::Nova).unwrap_err().name, "AccessDeniedException");
    let hour = user(json!([{"text": "a"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]));
    accepted(SONNET_4_5, hour.clone());
    refused(SONNET_3_7, hour, "ttl");
}

#[test]
fn trap_59_output_formats_are_closed_json_schemas() {
    let with = |schema: &str| hi(json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}}}));
    accepted(SONNET_4_5, with(r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#));
    accepted(SONNET_4_5, with(r#"{"type":"object","additionalProperties":true}"#));
    refused(SONNET_4_5, with(r#"{"type":"object","properties":{"a":{"type":"object","properties":{}}},"additionalProperties":false}"#), "additionalProperties");
    refused(SONNET_4_5, with("{"), "is not json");
    refused(SONNET_4_5, with("[]"), "must be the text of a json object");
    refused(HAIKU, with("{}"), "outputConfig.textFormat");
    refused(SONNET_4_5, hi(json!({"outputConfig": {"effort": "minimal"}})), "outputConfig.effort");
    refused(HAIKU, hi(json!({"outputConfig": {"effort": "low"}})), "outputConfig.effort");
}

#[test]
fn trap_52_additional_fields_are_those_of_the_family() {
    accepted(HAIKU, hi(json!({"additionalModelRequestFields": {"top_k": 5}})));
    refused(HAIKU, hi(json!({"additionalModelRequestFields": {"seed": 5}})), "seed: Extra inputs are not permitted");
    refused(HAIKU, hi(json!({"additionalModelRequestFields": [1]})), "Provide a json object");
    accepted(Family::Unknown, hi(json!({"additionalModelRequestFields": {"seed": 5}})));
    refused(Family::Nova, hi(json!({"additionalModelRequestFields": {"top_k": 5}})), "top_k");
}

#[test]
fn guardrails_have_a_version_and_old_models_no_system_prompt() {
    accepted(HAIKU, hi(json!({"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}})));
    refused(HAIKU, hi(json!({"guardrailConfig": {"guardrailIdentifier": "g"}})), "guardrailVersion");
    refused(Family::Titan, hi(json!({"system": [{"text": "a"}]})), "doesn't support the system field");
}
