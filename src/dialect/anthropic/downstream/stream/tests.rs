use super::*;
use crate::chat::{Part, Reasoning, Response, ToolUse};
use serde_json::{Value, json};

const COUNTS: Usage =
    Usage { input_tokens: 1, output_tokens: 2, cache_read_tokens: 3, cache_write_tokens: 4, cache_write_1h_tokens: 1, reasoning_tokens: Some(1) };

fn envelope() -> Envelope {
    Envelope { id: "7".to_owned(), model: "a \"model\"".to_owned(), created: 1_700_000_000 }
}

fn encoder(stop: &[&str]) -> Encoder {
    Encoder::new(&envelope(), &Style { stop: stop.iter().map(|&text| text.to_owned()).collect() })
}

fn text(block: u32, plain: &str) -> Event<'_> {
    Event::TextDelta { block, text: Text::from_plain(plain) }
}

fn thought(block: u32, plain: &str) -> Event<'_> {
    Event::ReasoningDelta { block, text: Text::from_plain(plain) }
}

fn seal(block: u32, plain: &str) -> Event<'_> {
    Event::ReasoningSignature { block, signature: Text::from_plain(plain) }
}

fn redacted(block: u32) -> Event<'static> {
    Event::ReasoningRedacted { block, content: Text::from_plain("AAE=") }
}

fn tool(block: u32, id: &str) -> Event<'_> {
    Event::ToolStart { block, id: Text::from_plain(id), name: Text::from_plain("look") }
}

fn fragment(block: u32, plain: &str) -> Event<'_> {
    Event::ToolDelta { block, fragment: Text::from_plain(plain) }
}

fn end(block: u32) -> Event<'static> {
    Event::BlockStop { block }
}

fn stop(reason: StopReason<'static>) -> Event<'static> {
    Event::Stop { reason, stop_sequence: None }
}

fn usage() -> Event<'static> {
    Event::Usage { usage: COUNTS, service_tier: Some(Text::from_plain("default")) }
}

fn failure() -> ApiError {
    ApiError::new(ErrorKind::RateLimited, "slow\ndown")
}

/// The payloads of a stream. The name of each event is its type: the SDKs read nothing else.
fn payloads(bytes: &[u8]) -> Vec<Value> {
    let stream = std::str::from_utf8(bytes).unwrap();
    assert!(stream.is_empty() || stream.ends_with("\n\n"));
    let payload = |event: &str| {
        let (name, payload) = event.split_once('\n').unwrap();
        let payload: Value = serde_json::from_str(payload.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(payload["type"], name.strip_prefix("event: ").unwrap());
        payload
    };
    stream.split_terminator("\n\n").map(payload).collect()
}

fn run_with(mut encoder: Encoder, events: &[Event<'_>], end: &End) -> Vec<Value> {
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    encoder.finish(end, &mut out);
    let length = out.len();
    encoder.finish(&End::Complete, &mut out);
    encoder.finish(&End::Failed(failure()), &mut out);
    for event in events {
        encoder.event(event, &mut out);
    }
    assert_eq!(out.len(), length, "nothing comes after the end");
    payloads(&out)
}

fn run(events: &[Event<'_>]) -> Vec<Value> {
    run_with(encoder(&[]), events, &End::Complete)
}

/// Puts the message together as the vendor's SDKs do, and is as strict as they are.
fn accumulate(payloads: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut arguments: Vec<String> = Vec::new();
    let mut open: Option<usize> = None;
    let mut stopped = false;
    for event in payloads {
        assert!(!stopped, "{event} behind the end");
        match event["type"].as_str().unwrap() {
            "message_start" => {
                assert!(message.is_null(), "a second start");
                message = event["message"].clone();
                assert_eq!(message["content"], json!([]));
            }
            "content_block_start" => {
                let content = message["content"].as_array_mut().expect("a start before it");
                assert_eq!((event["index"].as_u64().unwrap() as usize, open), (content.len(), None));
                open = Some(content.len());
                content.push(event["content_block"].clone());
                arguments.push(String::new());
            }
            "content_block_delta" => {
                let index = event["index"].as_u64().unwrap() as usize;
                assert_eq!(open, Some(index), "{event}");
                let (block, delta) = (&mut message["content"][index], &event["delta"]);
                match (block["type"].as_str().unwrap(), delta["type"].as_str().unwrap()) {
                    ("text", "text_delta") => append(&mut block["text"], &delta["text"]),
                    ("thinking", "thinking_delta") => append(&mut block["thinking"], &delta["thinking"]),
                    ("thinking", "signature_delta") => {
                        assert_eq!(block["signature"], "", "a second seal");
                        block["signature"] = delta["signature"].clone();
                    }
                    ("tool_use", "input_json_delta") => arguments[index].push_str(delta["partial_json"].as_str().unwrap()),
                    mismatch => panic!("{mismatch:?}"),
                }
            }
            "content_block_stop" => {
                let index = event["index"].as_u64().unwrap() as usize;
                assert_eq!(open.take(), Some(index));
                if message["content"][index]["type"] == "tool_use" {
                    // What is cut off stays what it was at the start.
                    message["content"][index]["input"] = serde_json::from_str(&arguments[index]).unwrap_or_else(|_| json!({}));
                }
            }
            "message_delta" => {
                assert!(open.is_none() && message["stop_reason"].is_null());
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                let counts = event["usage"].as_object().unwrap().clone();
                message["usage"].as_object_mut().unwrap().extend(counts);
            }
            "message_stop" => stopped = true,
            other => panic!("{other}"),
        }
    }
    assert!(stopped && !message["stop_reason"].is_null(), "no end");
    message
}

fn append(text: &mut Value, more: &Value) {
    assert_ne!(more, "");
    *text = json!(format!("{}{}", text.as_str().unwrap(), more.as_str().unwrap()));
}

fn content(events: &[Event<'_>]) -> Value {
    accumulate(&run(events))["content"].clone()
}

/// The types of the events, with the indexes of blocks.
fn outline(payloads: &[Value]) -> Vec<String> {
    let line = |event: &Value| {
        let kind = event["type"].as_str().unwrap();
        event.get("index").map_or_else(|| kind.to_owned(), |index| format!("{} {index}", kind.strip_prefix("content_block_").unwrap()))
    };
    payloads.iter().map(line).collect()
}

fn used(id: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": "look", "input": input})
}

fn said(plain: &str) -> Value {
    json!({"type": "text", "text": plain})
}

fn thinks(plain: &str, signature: &str) -> Value {
    json!({"type": "thinking", "thinking": plain, "signature": signature})
}

#[test]
fn trap_61_a_text_answer_to_the_letter() {
    let mut encoder = encoder(&[]);
    let mut out = Vec::new();
    for event in [Event::Start, text(4, "Hel\n"), text(4, ""), Event::Unknown, text(4, "\"lo"), end(4), stop(StopReason::EndTurn), usage()] {
        encoder.event(&event, &mut out);
    }
    encoder.finish(&End::Complete, &mut out);
    let zeros = r#"{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":0}"#;
    let counts = r#"{"input_tokens":1,"cache_creation_input_tokens":4,"cache_read_input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":1},"output_tokens":2,"output_tokens_details":{"thinking_tokens":1},"service_tier":"standard"}"#;
    let lines = [
        "event: message_start".to_owned(),
        format!(
            r#"data: {{"type":"message_start","message":{{"id":"msg_7","type":"message","role":"assistant","model":"a \"model\"","content":[],"stop_reason":null,"stop_sequence":null,"usage":{zeros}}}}}"#
        ),
        String::new(),
        "event: content_block_start".to_owned(),
        r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#.to_owned(),
        String::new(),
        "event: content_block_delta".to_owned(),
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel\n"}}"#.to_owned(),
        String::new(),
        "event: content_block_delta".to_owned(),
        r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\"lo"}}"#.to_owned(),
        String::new(),
        "event: content_block_stop".to_owned(),
        r#"data: {"type":"content_block_stop","index":0}"#.to_owned(),
        String::new(),
        "event: message_delta".to_owned(),
        format!(r#"data: {{"type":"message_delta","delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{counts}}}"#),
        String::new(),
        "event: message_stop".to_owned(),
        r#"data: {"type":"message_stop"}"#.to_owned(),
        "\n".to_owned(),
    ];
    assert_eq!(String::from_utf8(out).unwrap(), lines.join("\n"));
    assert_eq!(payloads(PING), [json!({"type": "ping"})]);
}

#[test]
fn the_stop_waits_for_the_counts_and_the_counts_for_the_stop() {
    let (mut encoder, mut out) = (encoder(&[]), Vec::new());
    let mut step = |event: &Event<'_>| {
        out.clear();
        encoder.event(event, &mut out);
        outline(&payloads(&out))
    };
    assert_eq!(step(&usage()), [""; 0]);
    assert_eq!(step(&text(0, "Hi")), ["message_start", "start 0", "delta 0"]);
    assert_eq!(step(&stop(StopReason::MaxTokens)), ["stop 0"]);
    assert_eq!(step(&usage()), ["message_delta"]);
    assert_eq!(step(&usage()), [""; 0]);
    // Counts that came early are told all the same, and none are told as none.
    let early = run(&[Event::Start, usage(), text(0, "Hi"), stop(StopReason::EndTurn)]);
    assert_eq!(accumulate(&early)["usage"]["input_tokens"], 1);
    let never = run(&[Event::Start, text(0, "Hi"), stop(StopReason::EndTurn)]);
    assert_eq!(accumulate(&never)["usage"]["output_tokens"], 0);
}

#[test]
fn trap_46_an_answer_that_was_cut_off_ends_as_it_should() {
    let payloads = run(&[text(0, "a"), tool(1, "t"), fragment(1, "{\"q\": \"un"), stop(StopReason::MaxTokens), usage()]);
    let message = accumulate(&payloads);
    assert_eq!((message["stop_reason"].as_str(), message["content"].as_array().unwrap().len()), (Some("max_tokens"), 2));
    assert_eq!(outline(&payloads), ["message_start", "start 0", "delta 0", "stop 0", "start 1", "delta 1", "stop 1", "message_delta", "message_stop"]);
}

#[test]
fn trap_07_blocks_are_numbered_from_zero_whatever_their_numbers_were() {
    let events = [
        thought(3, "h"),
        thought(3, "m"),
        seal(3, "S1"),
        seal(3, "S2"),
        end(3),
        redacted(5),
        text(9, "a"),
        text(9, "b"),
        end(9),
        tool(2, "t"),
        fragment(2, "{\"q\""),
        fragment(2, ""),
        fragment(2, ":1}"),
        end(2),
        stop(StopReason::ToolUse),
    ];
    let payloads = run(&events);
    let expected = [
        "message_start",
        "start 0",
        "delta 0",
        "delta 0",
        "delta 0",
        "stop 0",
        "start 1",
        "stop 1",
        "start 2",
        "delta 2",
        "delta 2",
        "stop 2",
        "start 3",
        "delta 3",
        "delta 3",
        "stop 3",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(outline(&payloads), expected);
    let message = accumulate(&payloads);
    let content = json!([thinks("hm", "S1S2"), {"type": "redacted_thinking", "data": "AAE="}, said("ab"), used("t", json!({"q": 1}))]);
    assert_eq!((&message["content"], &message["stop_reason"]), (&content, &json!("tool_use")));
}

#[test]
fn thoughts_may_have_no_seal_or_nothing_else() {
    assert_eq!(content(&[thought(0, ""), seal(0, "S"), text(1, "x"), stop(StopReason::EndTurn)]), json!([thinks("", "S"), said("x")]));
    assert_eq!(content(&[thought(0, "a"), thought(1, "b"), stop(StopReason::EndTurn)]), json!([thinks("a", ""), thinks("b", "")]));
    // A seal that comes when its thought is closed belongs to nothing.
    assert_eq!(content(&[thought(0, "a"), text(1, "x"), seal(0, "S"), stop(StopReason::EndTurn)]), json!([thinks("a", ""), said("x")]));
}

#[test]
fn trap_08_a_tool_without_arguments_gets_an_empty_object() {
    for ends in [vec![end(1), end(1)], vec![]] {
        let mut events = vec![tool(1, "a"), fragment(1, "")];
        events.extend(ends);
        events.push(stop(StopReason::ToolUse));
        let payloads = run(&events);
        assert_eq!(payloads[2]["delta"], json!({"type": "input_json_delta", "partial_json": "{}"}));
        assert_eq!(accumulate(&payloads)["content"], json!([used("a", json!({}))]));
    }
}

#[test]
fn a_tool_begins_when_the_one_before_is_complete_with_or_without_a_word() {
    let expected = json!([used("a", json!({"q": "}"})), used("b", json!([])), said("x"), used("c", json!({}))]);
    let quiet = [tool(1, "a"), fragment(1, "{\"q\":"), fragment(1, "\"}\"}"), tool(2, "b"), fragment(2, "[]"), text(0, "x"), tool(3, "c")];
    let (mut encoder, mut out) = (encoder(&[]), Vec::new());
    let mut begun = Vec::new();
    for event in &quiet {
        out.clear();
        encoder.event(event, &mut out);
        begun.push(payloads(&out).iter().filter(|event| event["type"] == "content_block_start").count());
    }
    assert_eq!(begun, [1, 0, 0, 1, 0, 1, 1], "nothing waits");
    let with = |more: &[Event<'static>]| content(&[&quiet[..], more].concat());
    assert_eq!(with(&[stop(StopReason::ToolUse)]), expected);
    let told = [tool(1, "a"), fragment(1, "{\"q\":\"}\"}"), end(1), tool(2, "b"), fragment(2, "[]"), end(2), text(0, "x"), end(0), tool(3, "c"), end(3)];
    assert_eq!(content(&[&told[..], &[stop(StopReason::ToolUse)]].concat()), expected);
}

#[test]
fn what_comes_while_a_tool_is_incomplete_waits_in_order() {
    let expected = json!([
        used("a", json!({"x": 1})), said("mn"), used("b", json!({"y": 2})), thinks("hm", "S"), {"type": "redacted_thinking", "data": "AAE="},
        used("c", json!({})), said("z"),
    ]);
    let mixed = [
        tool(1, "a"),
        fragment(1, "{\"x\""),
        text(0, "m"),
        text(0, "n"),
        tool(2, "b"),
        fragment(2, "{\"y\":"),
        thought(7, "h"),
        fragment(2, "2}"),
        thought(7, "m"),
        seal(7, "S"),
        redacted(8),
        tool(3, "c"),
        end(3),
        text(9, "z"),
    ];
    for rest in [
        vec![fragment(1, ":1}"), end(1), end(2)],
        vec![fragment(1, ":1"), fragment(1, "}"), end(1), end(2), end(9)],
        vec![end(2), fragment(1, ":1}")],
        vec![fragment(1, ":1}")],
    ] {
        let events = [&mixed[..], &rest[..], &[stop(StopReason::ToolUse), usage()]].concat();
        assert_eq!(content(&events), expected);
    }
    // What belongs to the last one that waited goes on behind it.
    let events = [tool(1, "a"), text(0, "m"), fragment(1, "{}"), text(0, "n"), stop(StopReason::EndTurn)];
    assert_eq!(content(&events), json!([used("a", json!({})), said("mn")]));
    let events = [tool(1, "a"), tool(2, "b"), fragment(2, "{\"y\""), fragment(1, "{}"), fragment(2, ":1}"), stop(StopReason::EndTurn)];
    assert_eq!(content(&events), json!([used("a", json!({})), used("b", json!({"y": 1}))]));
}

#[test]
fn a_number_may_be_used_again() {
    let events = [tool(1, "a"), fragment(1, "{}"), tool(1, "b"), fragment(1, "{\"b\":1}"), end(1), text(1, "x"), end(1), stop(StopReason::ToolUse)];
    assert_eq!(content(&events), json!([used("a", json!({})), used("b", json!({"b": 1})), said("x")]));
    let events = [tool(1, "a"), tool(1, "b"), fragment(1, "{}"), tool(1, "c"), end(1), end(1), stop(StopReason::ToolUse)];
    assert_eq!(content(&events), json!([used("a", json!({})), used("b", json!({})), used("c", json!({}))]));
}

#[test]
fn trap_48_the_stop_text_is_told() {
    let last = |events: &[Event<'_>], stop: &[&str]| {
        let message = accumulate(&run_with(encoder(stop), events, &End::Complete));
        (message["stop_reason"].clone(), message["stop_sequence"].clone())
    };
    let told = Event::Stop { reason: StopReason::StopSequence, stop_sequence: Some(Text::from_escaped(r"E\n")) };
    assert_eq!(last(&[told], &["A", "B"]), (json!("stop_sequence"), json!("E\n")));
    assert_eq!(last(&[stop(StopReason::StopSequence)], &["A"]), (json!("stop_sequence"), json!("A")));
    assert_eq!(last(&[stop(StopReason::StopSequence)], &["A", "B"]), (json!("stop_sequence"), json!(null)));
    assert_eq!(last(&[stop(StopReason::GuardrailIntervened)], &["A"]), (json!("refusal"), json!(null)));
    assert_eq!(last(&[tool(0, "a"), stop(StopReason::EndTurn)], &[]), (json!("tool_use"), json!(null)));
}

#[test]
fn trap_01_a_failure_is_the_last_word_and_said_once() {
    let error = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow\ndown"}});
    let stopped = [Event::Start, stop(StopReason::EndTurn)];
    let counted = [Event::Start, stop(StopReason::EndTurn), usage()];
    for (events, before) in [(vec![], 0), (vec![Event::Start, text(0, "x")], 3), (stopped.to_vec(), 1), (counted.to_vec(), 2)] {
        let by_end = run_with(encoder(&[]), &events, &End::Failed(failure()));
        assert_eq!(by_end.len(), before + 1);
        assert_eq!(by_end[before], error);
        let by_event: Vec<_> = events.iter().cloned().chain([Event::Failed(failure()), text(0, "y"), stop(StopReason::EndTurn), usage()]).collect();
        for end in [End::Complete, End::Failed(failure())] {
            assert_eq!(run_with(encoder(&[]), &by_event, &end), by_end);
        }
    }
}

#[test]
fn an_end_without_a_stop_is_a_failure() {
    for events in [vec![], vec![Event::Start, text(0, "x")], vec![tool(0, "x"), usage()]] {
        let payloads = run(&events);
        assert_eq!(payloads.last().unwrap()["error"]["type"], "api_error");
    }
}

#[test]
fn odd_orders_do_no_harm() {
    let events = [
        fragment(1, "{}"),
        end(5),
        text(0, "a"),
        Event::Start,
        end(0),
        end(0),
        text(0, "b"),
        stop(StopReason::EndTurn),
        text(0, "c"),
        tool(1, "a"),
        stop(StopReason::MaxTokens),
    ];
    assert_eq!(content(&events), json!([said("a"), said("b")]));
    // Arguments for a tool that is closed.
    assert_eq!(content(&[tool(1, "a"), end(1), fragment(1, "x"), stop(StopReason::ToolUse)]), json!([used("a", json!({}))]));
}

#[test]
fn deltas_take_no_memory_of_their_own() {
    let (mut encoder, mut out) = (encoder(&[]), Vec::with_capacity(4096));
    encoder.event(&text(0, "x"), &mut out);
    let text = text(0, "forty-two is the answer");
    let fragment = fragment(1, "\"a\":[");
    let mut steady = |encoder: &mut Encoder, event: &Event<'_>| {
        let place = (out.capacity(), out.as_ptr());
        for _ in 0..1000 {
            out.clear();
            encoder.event(event, &mut out);
        }
        assert_eq!((out.capacity(), out.as_ptr()), place);
    };
    steady(&mut encoder, &text);
    encoder.event(&tool(1, "a"), &mut Vec::new());
    steady(&mut encoder, &fragment);
}

mod whole {
    use super::*;
    use proptest::prelude::*;

    /// A part of an answer, with how it comes in pieces.
    fn any_part() -> impl Strategy<Value = Part<'static>> {
        let plain = |text: String| Text::from_plain(text);
        prop_oneof![
            ".+".prop_map(move |text| Part::Text(plain(text))),
            (".+", proptest::option::of("[A-Za-z0-9+/]{1,9}"))
                .prop_map(move |(text, seal)| Part::Reasoning(Reasoning { text: plain(text), signature: seal.map(plain) })),
            "[A-Za-z0-9+/]{1,9}".prop_map(move |content| Part::RedactedReasoning(plain(content))),
            (".+", ".*").prop_map(move |(id, value)| {
                Part::ToolUse(ToolUse { id: plain(id), name: plain("look".to_owned()), input: json!({"v": value, "{": []}).to_string().into() })
            }),
        ]
    }

    /// Cuts a plain text into pieces of so many characters.
    fn pieces(plain: &str, size: usize) -> Vec<String> {
        let characters: Vec<char> = plain.chars().collect();
        characters.chunks(size).map(|piece| piece.iter().collect()).collect()
    }

    fn own(text: &str) -> Text<'static> {
        Text::from_plain(text.to_owned())
    }

    /// The events of a part under an upstream's number.
    fn events(part: &Part<'_>, block: u32, size: usize) -> Vec<Event<'static>> {
        match part {
            Part::Text(text) => pieces(&text.unescape(), size).iter().map(|piece| Event::TextDelta { block, text: own(piece) }).collect(),
            Part::Reasoning(Reasoning { text, signature }) => {
                let texts = pieces(&text.unescape(), size);
                let seals = signature.as_ref().map(|seal| pieces(&seal.unescape(), size)).unwrap_or_default();
                let texts = texts.iter().map(|piece| Event::ReasoningDelta { block, text: own(piece) });
                texts.chain(seals.iter().map(|piece| Event::ReasoningSignature { block, signature: own(piece) })).collect()
            }
            Part::RedactedReasoning(content) => vec![Event::ReasoningRedacted { block, content: content.clone().into_owned() }],
            Part::ToolUse(ToolUse { id, name, input }) => {
                let start = Event::ToolStart { block, id: id.clone().into_owned(), name: name.clone().into_owned() };
                let fragments = pieces(input, size);
                std::iter::once(start).chain(fragments.iter().map(|piece| Event::ToolDelta { block, fragment: own(piece) })).collect()
            }
            _ => panic!("not made here"),
        }
    }

    /// The whole answer, by the other writer.
    fn whole(response: &Response<'_>) -> Value {
        let mut out = Vec::new();
        response::encode(response, &envelope(), &Style::default(), &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    proptest! {
        #[test]
        fn a_stream_comes_to_what_the_whole_answer_is(
            parts in proptest::collection::vec(any_part(), 0..6),
            size in 1_usize..8,
            quirks: [bool; 4],
        ) {
            let [starts, ends, early, tells] = quirks;
            let mut stream = Vec::new();
            stream.extend(starts.then_some(Event::Start));
            stream.extend(early.then_some(usage()));
            for (part, block) in parts.iter().zip(0..) {
                // Numbers with gaps, and empty pieces.
                stream.extend(events(part, block * 2 + 1, size));
                stream.push(text(block, ""));
                stream.extend(ends.then_some(end(block * 2 + 1)));
            }
            stream.push(stop(StopReason::EndTurn));
            stream.extend(tells.then_some(usage()));
            let response = Response {
                parts,
                citations: vec![],
                stop: StopReason::EndTurn,
                stop_sequence: None,
                usage: (early || tells).then_some(COUNTS),
                service_tier: (early || tells).then(|| Text::from_plain("default")),
            };
            prop_assert_eq!(accumulate(&run(&stream)), whole(&response));
        }

        #[test]
        fn tools_that_come_interleaved_come_to_what_they_are(values in proptest::collection::vec(".*", 1..5), picks in proptest::collection::vec(0_usize..5, 0..80), size in 1_usize..6) {
            let tool_use = |(at, value): (usize, &String)| {
                Part::ToolUse(ToolUse { id: own(&format!("t{at}")), name: own("look"), input: json!({"v": value}).to_string().into() })
            };
            let parts: Vec<_> = values.iter().enumerate().map(tool_use).collect();
            let mut queues: Vec<_> = parts.iter().zip(0..).map(|(part, block)| events(part, block, size).into_iter()).collect();
            // All begin first, so that their order is what it is.
            let mut stream: Vec<Event<'_>> = queues.iter_mut().filter_map(Iterator::next).collect();
            for pick in picks {
                stream.extend(queues.get_mut(pick).and_then(Iterator::next));
            }
            stream.extend(queues.into_iter().flatten());
            stream.push(stop(StopReason::ToolUse));
            let response = Response { parts, citations: vec![], stop: StopReason::ToolUse, stop_sequence: None, usage: None, service_tier: None };
            prop_assert_eq!(accumulate(&run(&stream)), whole(&response));
        }

        #[test]
        fn any_order_of_events_gives_a_message_or_an_error(picks in proptest::collection::vec((0_u8..14, 0_u32..4), 0..60), complete: bool) {
            let event = |(kind, block): (u8, u32)| match kind {
                0 => Event::Start,
                1 | 2 => text(block, "a\nb"),
                3 => thought(block, "t"),
                4 => seal(block, "s"),
                5 => redacted(block),
                6 => tool(block, "id"),
                7 => fragment(block, "{"),
                8 => fragment(block, "\"a\":\"}\"}"),
                9 => end(block),
                10 if block == 3 => stop(StopReason::EndTurn),
                11 => usage(),
                12 if block == 3 => Event::Failed(failure()),
                _ => Event::Unknown,
            };
            let events: Vec<_> = picks.into_iter().map(event).collect();
            let end = if complete { End::Complete } else { End::Failed(failure()) };
            let payloads = run_with(encoder(&[]), &events, &end);
            let last = payloads.last().unwrap();
            if last["type"] == "error" {
                prop_assert_eq!(payloads.iter().filter(|event| event["type"] == "error" || event["type"] == "message_stop").count(), 1);
            } else {
                prop_assert!(complete);
                let message = accumulate(&payloads);
                // Everything that came before the stop is there, in some block.
                let came = |of: fn(&Event<'_>) -> bool| events.iter().take_while(|event| !matches!(event, Event::Stop { .. })).filter(|event| of(event)).count();
                let blocks = message["content"].as_array().unwrap();
                let texts: usize = blocks.iter().filter_map(|block| block["text"].as_str()).map(|text| text.len() / 3).sum();
                prop_assert_eq!(texts, came(|event| matches!(event, Event::TextDelta { .. })));
                let thoughts: usize = blocks.iter().filter_map(|block| block["thinking"].as_str()).map(str::len).sum();
                prop_assert_eq!(thoughts, came(|event| matches!(event, Event::ReasoningDelta { .. })));
                let uses = blocks.iter().filter(|block| block["type"] == "tool_use").count();
                prop_assert_eq!(uses, came(|event| matches!(event, Event::ToolStart { .. })));
            }
        }
    }
}
