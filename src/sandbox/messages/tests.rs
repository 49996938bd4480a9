use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;
use crate::sandbox::answer::GUARDRAIL_WORD;
use crate::sandbox::seal;
use crate::wire::eventstream::Parser;

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SONNET_3_7: &str = "us.anthropic.claude-3-7-sonnet-20250219-v1:0";
const SONNET_4_5: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS_4_6: &str = "anthropic.claude-opus-4-6-v1";
const OPUS_4_8: &str = "anthropic.claude-opus-4-8";
const PNG: &str = "iVBORw0KGgo=";
const JPEG: &str = "/9j/4AAQ";

fn family(model: &str) -> Family {
    Family::of(model).unwrap()
}

fn accepted(model: &str, body: Value) {
    if let Err(failure) = check(model, &body, family(model)) {
        panic!("{}: {body}", failure.message);
    }
}

fn refused(model: &str, body: Value, with: &str) {
    let failure = check(model, &body, family(model)).expect_err(with);
    assert_eq!(failure.name, "ValidationException");
    assert!(failure.message.contains(with), "{} does not say: {with}", failure.message);
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn talk(turns: Value) -> Value {
    json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 4096, "messages": turns})
}

fn hi(more: Value) -> Value {
    with(talk(json!([{"role": "user", "content": "hi"}])), more)
}

fn user(content: Value) -> Value {
    talk(json!([{"role": "user", "content": content}]))
}

fn tools(names: &[&str]) -> Value {
    let tools: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}))
        .collect();
    json!({"tools": tools})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "ok"})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A question, calls, and a user turn.
fn called(calls: Value, answers: Value) -> Value {
    with(talk(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": calls}, {"role": "user", "content": answers}])), tools(&["f"]))
}

fn without(mut body: Value, name: &str) -> Value {
    body.as_object_mut().unwrap().remove(name);
    body
}

#[test]
fn trap_51_model_and_stream_have_no_place_and_the_version_has_one() {
    accepted(HAIKU, hi(json!({})));
    refused(HAIKU, hi(json!({"model": "x"})), "model: Extra inputs are not permitted");
    refused(HAIKU, hi(json!({"stream": true})), "stream: Extra inputs are not permitted");
    refused(HAIKU, without(hi(json!({})), "anthropic_version"), "anthropic_version: Field required");
    refused(HAIKU, without(hi(json!({})), "max_tokens"), "max_tokens: Field required");
    refused(HAIKU, hi(json!({"anthropic_version": "2023-06-01"})), "anthropic_version: Input should be 'bedrock-2023-05-31'");
    refused(HAIKU, hi(json!({"inference_geo": "us"})), "inference_geo: Extra inputs are not permitted");
    refused(HAIKU, hi(json!({"cache_control": {"type": "ephemeral"}})), "cache_control: Extra inputs");
    accepted(OPUS_4_8, hi(json!({"cache_control": {"type": "ephemeral"}})));
}

#[test]
fn the_newest_version_is_for_ids_without_a_version_and_forgets_sampling() {
    let newest = |more: Value| with(hi(json!({"anthropic_version": "2026-10-21"})), more);
    accepted(OPUS_4_8, newest(json!({})));
    for model in [HAIKU, SONNET_4_5, OPUS_4_6] {
        refused(model, newest(json!({})), "anthropic_version: API version 2026-10-21 is not supported");
    }
    accepted("sandbox", newest(json!({})));
    for name in ["temperature", "top_p", "top_k"] {
        refused("sandbox", newest(json!({(name): 1})), name);
    }
    let document = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}});
    let in_answer = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [document]}, {"role": "user", "content": "b"}]});
    accepted("sandbox", hi(in_answer.clone()));
    refused("sandbox", newest(in_answer), "`document` blocks can only be in `user` messages");
}

#[test]
fn trap_50_unknown_betas_are_refused_and_their_members_with_them() {
    accepted(SONNET_4_5, hi(json!({"anthropic_beta": ["interleaved-thinking-2025-05-14", "context-1m-2025-08-07"]})));
    refused(SONNET_4_5, hi(json!({"anthropic_beta": ["advanced-tool-use-2025-11-20"]})), "invalid beta flag");
    refused(SONNET_4_5, hi(json!({"anthropic_beta": "context-1m-2025-08-07"})), "anthropic_beta: Input should be a valid list");
    let edits = json!({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}});
    refused(SONNET_4_5, hi(edits.clone()), "context_management: Extra inputs are not permitted");
    accepted(SONNET_4_5, with(hi(edits), json!({"anthropic_beta": ["context-management-2025-06-27"]})));
    let deferred = json!({"tools": [{"name": "f", "defer_loading": true, "input_schema": {"type": "object"}}, {"type": "tool_search_tool_regex", "name": "tool_search_tool_regex"}]});
    refused(SONNET_4_5, hi(deferred.clone()), "tools.0.custom.defer_loading: Extra inputs");
    accepted(SONNET_4_5, with(hi(deferred), json!({"anthropic_beta": ["tool-search-tool-2025-10-19"]})));
}

#[test]
fn trap_10_the_user_begins_and_turns_need_not_alternate() {
    refused(HAIKU, talk(json!([])), "at least one message is required");
    refused(HAIKU, talk(json!([{"role": "assistant", "content": "a"}])), "first message must use the \"user\" role");
    refused(HAIKU, talk(json!([{"role": "user", "content": "a"}, {"role": "system", "content": "a"}])), "Unexpected role \"system\"");
    accepted(HAIKU, talk(json!([{"role": "user", "content": "a"}, {"role": "user", "content": [text("b")]}])));
}

#[test]
fn trap_22_blank_text_and_empty_content_are_refused() {
    for content in [json!(""), json!([])] {
        refused(HAIKU, user(content.clone()), "messages.0: all messages must have non-empty content");
        accepted(HAIKU, talk(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": content}])));
    }
    refused(HAIKU, user(json!(" \n")), "text content blocks must contain non-whitespace text");
    refused(HAIKU, user(json!([text("a"), text("")])), "messages.0.content.1: text content blocks must be non-empty");
    refused(HAIKU, hi(json!({"system": ""})), "system: text content blocks must be non-empty");
    refused(HAIKU, hi(json!({"system": [text(" ")]})), "system: ");
    refused(HAIKU, hi(json!({"stop_sequences": ["a", "\n"]})), "each stop sequence must contain non-whitespace");
}

#[test]
fn prefill_does_not_end_in_white_space_and_new_models_take_none() {
    let last = |text: &str| talk(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": text}]));
    accepted(HAIKU, last("Sure:"));
    refused(HAIKU, last("Sure: "), "trailing whitespace");
    refused(OPUS_4_8, last("Sure:"), "does not support assistant message prefill");
    refused(SONNET_4_5, with(last("Sure:"), json!({"thinking": {"type": "enabled", "budget_tokens": 1024}})), "prefill");
}

#[test]
fn trap_12_each_call_is_answered_first_in_the_next_turn() {
    accepted(HAIKU, called(json!([call("a"), call("b")]), json!([result("b"), result("a"), text("and?")])));
    let split = json!([
        {"role": "user", "content": "a"}, {"role": "assistant", "content": [call("a")]}, {"role": "assistant", "content": [call("b")]},
        {"role": "user", "content": [result("a")]}, {"role": "user", "content": [result("b")]}
    ]);
    accepted(HAIKU, with(talk(split), tools(&["f"])));
    refused(
        HAIKU,
        called(json!([call("a")]), json!([text("wait"), result("a")])),
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: a",
    );
    refused(HAIKU, called(json!([call("a"), call("b")]), json!([result("a")])), "immediately after: b");
    refused(HAIKU, called(json!([call("a")]), json!("go on")), "immediately after: a");
    refused(HAIKU, called(json!([text("x")]), json!([result("a")])), "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: a");
    refused(HAIKU, called(json!([call("a")]), json!([result("a"), result("a")])), "each tool_use must have a single result");
    refused(HAIKU, called(json!([call("a"), call("a")]), json!([result("a")])), "`tool_use` ids must be unique");
    refused(HAIKU, without(called(json!([call("a")]), json!([result("a")])), "tools"), "must define tools");
    for id in ["a.b", "a:b", "", "\u{e9}"] {
        refused(HAIKU, called(json!([call(id)]), json!([result(id)])), "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'");
    }
    let open = talk(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": [call("a")]}]));
    refused(HAIKU, with(open, tools(&["f"])), "immediately after: a");
}

#[test]
fn blocks_belong_to_their_roles() {
    refused(HAIKU, with(user(json!([call("a")])), tools(&["f"])), "`tool_use` blocks can only be in `assistant` messages");
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}});
    accepted(HAIKU, user(json!([image])));
    refused(HAIKU, talk(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": [image]}])), "`image` blocks can only be in `user`");
    refused("anthropic.claude-v2:1", user(json!([image])), "does not support");
}

#[test]
fn trap_14_and_18_tools_have_proper_names_and_choices_name_one() {
    accepted(HAIKU, hi(tools(&["f", &"x".repeat(128)])));
    for name in ["", "a b", "a.b", &"x".repeat(129)] {
        refused(HAIKU, hi(tools(&[name])), "tools.0.custom.name: String should match pattern");
    }
    refused(HAIKU, hi(tools(&["f", "f"])), "Tool names must be unique");
    let choose = |choice: Value| with(hi(tools(&["f"])), json!({"tool_choice": choice}));
    for choice in
        [json!({"type": "auto", "disable_parallel_tool_use": true}), json!({"type": "any"}), json!({"type": "tool", "name": "f"}), json!({"type": "none"})]
    {
        accepted(HAIKU, choose(choice));
    }
    refused(HAIKU, choose(json!({"type": "tool", "name": "g"})), "Tool 'g' not found");
    refused(HAIKU, hi(json!({"tool_choice": {"type": "auto"}})), "only be specified while providing tools");
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    refused(SONNET_3_7, with(choose(json!({"type": "any"})), thinking.clone()), "Thinking may not be enabled when tool_choice forces tool use");
    accepted(SONNET_3_7, with(choose(json!({"type": "auto"})), thinking));
    let strict = json!({"tools": [{"name": "f", "strict": true, "input_schema": {"type": "object", "properties": {}, "additionalProperties": false}}]});
    accepted(SONNET_4_5, hi(strict.clone()));
    refused(HAIKU, hi(strict), "tools.0.custom.strict: Extra inputs");
}

#[test]
fn trap_39_and_40_files_are_what_they_say_and_come_with_the_request() {
    let image = |media_type: &str, data: &str| user(json!([{"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}]));
    accepted(HAIKU, image("image/png", PNG));
    accepted(HAIKU, image("image/jpeg", JPEG));
    refused(HAIKU, image("image/png", JPEG), "specified using the image/png media type, but the image appears to be a image/jpeg");
    refused(HAIKU, image("image/png", "aGVsbG8="), "Could not process image");
    refused(HAIKU, image("image/png", "data:image/png;base64,AAAA"), "Invalid base64 data");
    refused(HAIKU, image("image/bmp", PNG), "media_type: Input should be 'image/jpeg' or 'image/png'");
    refused(HAIKU, image("image/png", &format!("iVBORw0KGgoA{}", "AAAA".repeat(1_310_720))), "image exceeds 5 MB maximum");
    let source = |source: Value| user(json!([text("a"), {"type": "image", "source": source}]));
    refused(HAIKU, source(json!({"type": "url", "url": "https://example.com/a.png"})), "Input tag 'url'");
    refused(HAIKU, source(json!({"type": "file", "file_id": "a"})), "Input tag 'file'");
    let document = |source: Value| user(json!([{"type": "document", "title": "a.pdf", "source": source}]));
    accepted(HAIKU, document(json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjc="})));
    refused(HAIKU, document(json!({"type": "base64", "media_type": "application/pdf", "data": PNG})), "PDF specified was not valid");
    refused(HAIKU, document(json!({"type": "url", "url": "https://example.com/a.pdf"})), "Input tag 'url'");
    let nested = json!([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": PNG}}]}]);
    refused(HAIKU, called(json!([call("a")]), nested), "messages.2.content.0.tool_result.content.0.image.source");
}

#[test]
fn trap_25_and_26_four_marks_for_the_cache_and_the_long_ones_first() {
    let marked = |ttl: &str| json!({"type": "text", "text": "a", "cache_control": if ttl.is_empty() { json!({"type": "ephemeral"}) } else { json!({"type": "ephemeral", "ttl": ttl}) }});
    let with = |ttls: &[&str]| user(ttls.iter().map(|ttl| marked(ttl)).collect());
    accepted(SONNET_4_5, with(&["1h", "1h", "5m", ""]));
    refused(SONNET_4_5, with(&["", "", "", "", ""]), "A maximum of 4 blocks with cache_control may be provided. Found 5.");
    refused(SONNET_4_5, with(&["", "1h"]), "must not come after a ttl='5m'");
    refused(SONNET_3_7, with(&["1h"]), "cache_control.ephemeral.ttl: Extra inputs");
    refused(HAIKU, with(&[""]), "messages.0.content.0.text.cache_control: Extra inputs");
    refused(SONNET_4_5, with(&["2h"]), "messages.0.content.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'");
}

#[test]
fn trap_33_to_35_thinking_and_sampling_depend_on_the_model() {
    let budget = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    accepted(SONNET_3_7, hi(budget(1024)));
    refused(SONNET_3_7, hi(budget(1023)), "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024");
    refused(SONNET_3_7, hi(budget(4096)), "`max_tokens` must be greater than `thinking.budget_tokens`");
    let interleaved = with(with(hi(budget(8192)), tools(&["f"])), json!({"anthropic_beta": ["interleaved-thinking-2025-05-14"]}));
    accepted(SONNET_4_5, interleaved);
    refused(HAIKU, hi(budget(1024)), "\"enabled\" is not supported");
    refused(OPUS_4_8, hi(budget(1024)), "\"enabled\" is not supported");
    accepted(OPUS_4_8, hi(json!({"thinking": {"type": "adaptive"}})));
    refused(SONNET_4_5, hi(json!({"thinking": {"type": "adaptive"}})), "\"adaptive\" is not supported");
    refused(SONNET_3_7, with(hi(budget(1024)), json!({"temperature": 0.5})), "`temperature` may only be set to 1");
    refused(SONNET_3_7, with(hi(budget(1024)), json!({"top_p": 0.5})), "`top_p` must be greater");
    refused(SONNET_3_7, with(hi(budget(1024)), json!({"top_k": 5})), "`top_k` must be unset");
    accepted(HAIKU, hi(json!({"temperature": 0.5, "top_p": 0.5, "top_k": 5})));
    refused(SONNET_4_5, hi(json!({"temperature": 0.5, "top_p": 0.5})), "cannot both be specified");
    refused(OPUS_4_8, hi(json!({"temperature": 1})), "`temperature` is not supported");
    refused(HAIKU, hi(json!({"temperature": 1.5})), "temperature: Input should be less than or equal to 1");
    refused(HAIKU, hi(json!({"max_tokens": -1})), "max_tokens: Input should be greater");
}

#[test]
fn trap_30_and_32_thinking_comes_back_first_and_as_it_was_issued() {
    let thinking = |text: &str, signature: &str| json!({"type": "thinking", "thinking": text, "signature": signature});
    let sealed = thinking("r", &seal::signature("r"));
    let enabled = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let asked = |content: Value| with(called(content, json!([result("a")])), enabled.clone());
    accepted(SONNET_4_5, asked(json!([sealed, call("a")])));
    refused(SONNET_4_5, asked(json!([call("a")])), "messages.1.content.0.tool_use: Expected `thinking` or `redacted_thinking`, but found `tool_use`");
    refused(SONNET_4_5, asked(json!([thinking("r ", &seal::signature("r")), call("a")])), "messages.1.content.0: Invalid `signature` in `thinking` block");
    refused(SONNET_4_5, asked(json!([{"type": "thinking", "thinking": "r"}, call("a")])), "messages.1.content.0.thinking.signature: Field required");
    refused(SONNET_4_5, asked(json!([{"type": "redacted_thinking", "data": "W1JFREFDVEVEXQ=="}, call("a")])), "Invalid `data` in `redacted_thinking` block");
    let last = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": [sealed]}, {"role": "user", "content": "b"}]);
    refused(SONNET_4_5, talk(last), "The final block in an assistant message cannot be `thinking`");
}

#[test]
fn trap_59_output_formats_are_closed_and_effort_is_new() {
    let format = |schema: Value| hi(json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}));
    accepted(SONNET_4_5, format(json!({"type": "object", "properties": {}, "additionalProperties": false})));
    refused(SONNET_4_5, format(json!({"type": "object", "properties": {}})), "'additionalProperties' must be explicitly set to false");
    refused(HAIKU, format(json!({"type": "object"})), "output_config.format: Extra inputs");
    let effort = hi(json!({"output_config": {"effort": "low"}}));
    accepted(OPUS_4_6, effort.clone());
    refused(SONNET_4_5, effort.clone(), "output_config.effort: Extra inputs are not permitted");
    accepted(SONNET_4_5, with(effort, json!({"anthropic_beta": ["effort-2025-11-24"]})));
}

#[test]
fn deep_and_odd_values_are_refused_without_a_panic() {
    let deep = (0..100).fold(json!({}), |inner, _| json!({"content": [inner]}));
    refused(HAIKU, user(json!([deep])), "messages.0.content.0.type: Field required");
    accepted(HAIKU, called(json!([{"type": "tool_use", "id": "a", "name": "f", "input": deep}]), json!([result("a")])));
    for value in [json!(null), json!(1), json!("x"), json!([]), json!([[]]), json!({}), json!({"type": null}), json!([{"type": 1}])] {
        for name in [
            "messages",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "anthropic_beta",
            "anthropic_version",
            "output_config",
            "stop_sequences",
            "cache_control",
        ] {
            let _ = check(HAIKU, &hi(json!({(name): value})), family(HAIKU));
            let _ = check("sandbox", &hi(json!({(name): value})), family("sandbox"));
        }
    }
}

// Answers

struct Said {
    output: Output,
}

fn ask_with(id: &str, body: Value, headers: &HeaderMap, cache: &PromptCache, stream: bool) -> Result<Said, Failure> {
    let (model, knobs) = Knobs::of(id, &HeaderMap::new()).unwrap();
    let family = knobs.family.or_else(|| Family::of(model)).unwrap();
    let sha = "0123456789abcdef0123456789abcdef";
    Request { model, family, knobs: &knobs, headers, body: &body, body_sha256: sha, stream }.answer(cache).map(|output| Said { output })
}

fn ask(id: &str, body: Value) -> Value {
    ask_with(id, body, &HeaderMap::new(), &PromptCache::default(), false).unwrap_or_else(|failure| panic!("{}", failure.message)).json()
}

fn stream(id: &str, body: Value) -> Vec<Value> {
    ask_with(id, body, &HeaderMap::new(), &PromptCache::default(), true).unwrap_or_else(|failure| panic!("{}", failure.message)).events()
}

impl Said {
    fn json(&self) -> Value {
        match &self.output.body {
            Body::Json(bytes) => serde_json::from_slice(bytes).unwrap(),
            Body::Stream(_) => panic!("a stream"),
        }
    }

    fn events(self) -> Vec<Value> {
        let Body::Stream(frames) = self.output.body else { panic!("no stream") };
        let (bytes, _) = frames.into_parts();
        let (mut parser, mut events) = (Parser::new(), Vec::new());
        let mut frames = parser.push(&bytes);
        while let Some(frame) = frames.next_frame().unwrap() {
            let payload: Value = serde_json::from_slice(frame.payload).unwrap();
            if frame.event_type() == Some("chunk") {
                let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, payload["bytes"].as_str().unwrap()).unwrap();
                assert!(payload["p"].is_string());
                events.push(serde_json::from_slice(&bytes).unwrap());
            } else {
                events.push(json!({"type": frame.exception_type()}));
            }
        }
        events
    }
}

/// What an accumulator of Anthropic's makes of a stream.
fn accumulate(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut inputs = std::collections::HashMap::<usize, String>::new();
    for event in events {
        let index = event["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(message["content"].as_array().unwrap().len(), index);
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][index], &event["delta"]);
                let append = |block: &mut Value, name: &str| block[name] = json!(format!("{}{}", block[name].as_str().unwrap(), delta[name].as_str().unwrap()));
                match delta["type"].as_str().unwrap() {
                    "text_delta" => append(block, "text"),
                    "thinking_delta" => append(block, "thinking"),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    "citations_delta" => block["citations"].as_array_mut().unwrap().push(delta["citation"].clone()),
                    "input_json_delta" => inputs.entry(index).or_default().push_str(delta["partial_json"].as_str().unwrap()),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                if let Some(input) = inputs.get(&index).filter(|input| !input.is_empty()) {
                    message["content"][index]["input"] = serde_json::from_str(input).unwrap();
                }
            }
            "message_delta" => {
                for (name, value) in event["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
                message["usage"] = event["usage"].clone();
            }
            "message_start" | "message_stop" | "ping" => {}
            other => panic!("{other}"),
        }
    }
    message
}

#[test]
fn an_answer_is_a_whole_message() {
    assert_eq!(
        ask(HAIKU, hi(json!({"system": "Be kind."}))),
        json!({
            "model": "claude-3-haiku-20240307", "id": "msg_bdrk_0123456789abcdef01234567", "type": "message", "role": "assistant",
            "content": [{"type": "text", "text": "Echo: hi (system: Be kind.)"}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {
                "input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}, "output_tokens": 7
            }
        })
    );
    for (id, model) in [(SONNET_4_5, "claude-sonnet-4-5-20250929"), (OPUS_4_6, "claude-opus-4-6"), (OPUS_4_8, "claude-opus-4-8"), ("sandbox", "sandbox")] {
        assert_eq!(ask(id, hi(json!({})))["model"], model);
    }
}

#[test]
fn a_stream_is_the_same_message_in_events() {
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let weather = with(user(json!("weather in both Paris and Rome?")), tools(&["get_weather"]));
    let cases = [
        (HAIKU, hi(json!({}))),
        (SONNET_3_7, hi(thinking)),
        (SONNET_3_7, hi(json!({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}}))),
        (HAIKU, weather.clone()),
        ("sandbox.answer-redacted", hi(json!({}))),
        ("sandbox.answer-citations", hi(json!({}))),
        ("sandbox.answer-empty", hi(json!({}))),
        ("sandbox.answer-tool-empty", weather),
        ("sandbox.words-50", hi(json!({"max_tokens": 5}))),
        ("sandbox.kib-9", hi(json!({}))),
        ("sandbox.stop-refusal", hi(json!({}))),
        (HAIKU, hi(json!({"stop_sequences": [" hi"]}))),
    ];
    for (id, body) in cases {
        let events = stream(id, body.clone());
        assert_eq!(accumulate(&events), ask(id, body), "{id}");
        let last = events.last().unwrap();
        assert_eq!(last["type"], "message_stop");
        assert!(last["amazon-bedrock-invocationMetrics"]["inputTokenCount"].is_u64());
    }
    let kinds: Vec<String> = stream(HAIKU, hi(json!({}))).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        kinds,
        ["message_start", "content_block_start", "ping", "content_block_delta", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
    );
}

#[test]
fn limits_stop_sequences_and_tools_are_obeyed() {
    let answer = ask(HAIKU, hi(json!({"max_tokens": 1})));
    assert_eq!((&answer["content"][0]["text"], &answer["stop_reason"]), (&json!("Echo"), &json!("max_tokens")));
    let answer = ask(HAIKU, hi(json!({"stop_sequences": ["never", " hi"]})));
    assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!("stop_sequence"), &json!(" hi")));
    let weather = |more: Value| with(with(user(json!("weather in Berlin?")), tools(&["get_weather"])), more);
    let answer = ask(HAIKU, weather(json!({})));
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!((&answer["content"][0]["text"], &answer["content"][1]["input"]), (&json!("I'll call get_weather."), &json!({"city": "Berlin"})));
    let id = answer["content"][1]["id"].as_str().unwrap();
    assert!(id.starts_with("toolu_bdrk_") && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')));
    assert_eq!(ask(HAIKU, weather(json!({"tool_choice": {"type": "none"}})))["stop_reason"], "end_turn");
    assert_eq!(ask(HAIKU, weather(json!({"tool_choice": {"type": "any"}})))["content"][0]["type"], "tool_use");

    let history = json!({"messages": [
        {"role": "user", "content": "weather in Berlin?"},
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "21 degrees", "is_error": true}]}
    ]});
    assert_eq!(ask(HAIKU, with(weather(json!({})), history))["content"][0]["text"], "The tool failed: 21 degrees");
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false});
    let format = with(user(json!("weather in Oslo")), json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}));
    assert_eq!(ask(SONNET_4_5, format)["content"][0]["text"], r#"{"city":"Oslo"}"#);
}

#[test]
fn thinking_is_signed_counted_and_taken_back() {
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let answer = ask(SONNET_3_7, hi(thinking.clone()));
    assert_eq!(answer["content"][0]["type"], "thinking");
    assert!(answer["usage"]["output_tokens_details"]["thinking_tokens"].as_u64() > Some(0));
    let back =
        json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": "more"}]});
    accepted(SONNET_3_7, with(hi(thinking), back));
    let redacted = ask("sandbox.answer-redacted", hi(json!({})));
    let back =
        json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": redacted["content"]}, {"role": "user", "content": "more"}]});
    accepted(SONNET_3_7, hi(back));
    assert_eq!(ask(OPUS_4_8, hi(json!({"output_config": {"effort": "low"}})))["content"][0]["type"], "text");
}

#[test]
fn attachments_are_described() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}});
    let document = json!({"type": "document", "title": "notes", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}});
    let answer = ask(HAIKU, user(json!([image, document, text("look")])));
    assert_eq!(answer["content"][0]["text"], "Echo: look [image png, 8 bytes] [document txt \"notes\", 5 bytes]");
}

#[test]
fn trap_27_and_28_the_cache_is_written_first_and_read_next() {
    let cache = PromptCache::default();
    let body = hi(json!({"system": [{"type": "text", "text": "x".repeat(400), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}));
    let ask = |stream| ask_with(SONNET_4_5, body.clone(), &HeaderMap::new(), &cache, stream).unwrap();
    let first = ask(false);
    let usage = &first.json()["usage"];
    assert_eq!((&usage["input_tokens"], &usage["cache_creation_input_tokens"], &usage["cache_read_input_tokens"]), (&json!(1), &json!(100), &json!(0)));
    assert_eq!(usage["cache_creation"], json!({"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100}));
    let header = |said: &Said, name: &str| said.output.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header(&first, "x-amzn-bedrock-input-token-count").as_deref(), Some("1"));
    assert_eq!(header(&first, "x-amzn-bedrock-output-token-count"), Some(usage["output_tokens"].to_string()));
    assert_eq!(header(&first, "x-amzn-bedrock-cache-write-input-token-count").as_deref(), Some("100"));
    let events = ask(true).events();
    let delta = &events[events.len() - 2]["usage"];
    assert_eq!((&delta["input_tokens"], &delta["cache_read_input_tokens"]), (&json!(1), &json!(100)));
    assert_eq!(events[0]["message"]["usage"]["cache_read_input_tokens"], 100);
    assert_eq!(events[events.len() - 1]["amazon-bedrock-invocationMetrics"]["cacheReadInputTokenCount"], 100);
}

#[test]
fn trap_45_guardrails_come_in_headers() {
    let header = |name: &'static str, value: &'static str| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers = HeaderMap::from_iter([header("x-amzn-bedrock-guardrailidentifier", "g"), header("x-amzn-bedrock-guardrailversion", "1")]);
    let ask = |text: &str| ask_with(HAIKU, user(json!(text)), &headers, &PromptCache::default(), false).unwrap().json();
    let blocked = ask(GUARDRAIL_WORD);
    assert_eq!((&blocked["amazon-bedrock-guardrailAction"], &blocked["stop_reason"]), (&json!("INTERVENED"), &json!("end_turn")));
    assert_eq!(ask("fine")["amazon-bedrock-guardrailAction"], "NONE");
}

#[test]
fn knobs_break_answers_as_they_do_for_converse() {
    let kinds = |id: &str| stream(id, hi(json!({}))).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(kinds("sandbox.exception-model-timeout"), ["modelTimeoutException"]);
    assert_eq!(kinds("sandbox.exception-throttling.after-0"), ["message_start", "throttlingException"]);
    let broken = kinds("sandbox.words-5.exception-throttling.after-2");
    assert_eq!(broken, ["message_start", "content_block_start", "ping", "content_block_delta", "content_block_delta", "throttlingException"]);
    assert_eq!(kinds("sandbox.omit-stop").last().unwrap(), "content_block_stop");
    assert_eq!(kinds("sandbox.omit-output").len(), 0);
    let bare = stream("sandbox.omit-metadata", hi(json!({})));
    assert!(bare.iter().all(|event| event.get("usage").is_none() && event["message"].get("usage").is_none()));
    assert_eq!(bare.last().unwrap(), &json!({"type": "message_stop"}));
    assert_eq!(ask("sandbox.omit-metadata", hi(json!({}))).get("usage"), None);
    assert_eq!(ask("sandbox.omit-stop", hi(json!({}))).get("stop_reason"), None);
    assert_eq!(ask("sandbox.stop-pause-turn", hi(json!({})))["stop_reason"], "pause_turn");
    let refused = ask_with("sandbox.answer-image", hi(json!({})), &HeaderMap::new(), &PromptCache::default(), false);
    assert!(refused.err().unwrap().message.contains("no images"));
}

#[test]
fn tokens_are_those_of_the_answer() {
    let body = with(hi(tools(&["f"])), json!({"system": "Be kind."}));
    let counted = count(HAIKU, &body, family(HAIKU)).unwrap();
    assert_eq!(ask(HAIKU, body.clone())["usage"]["input_tokens"], counted);
    assert!(count(HAIKU, &without(body, "max_tokens"), family(HAIKU)).unwrap_err().message.contains("max_tokens: Field required"));
}
