use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::chat::{Part, Reasoning, Response, ToolUse};
use crate::dialect::openai::responses::{request, response};

fn style(request: &str) -> Style {
    request::decode(request).unwrap().style
}

fn plain() -> Style {
    style(r#"{"model":"m","input":"x","tools":[{"type":"custom","name":"run"},{"type":"function","name":"f"}]}"#)
}

fn envelope() -> Envelope {
    Envelope { id: "1".to_owned(), model: "m".to_owned(), created: 7 }
}

fn text(text: &str) -> Text<'static> {
    Text::from_plain(text.to_owned())
}

fn say(block: u32, said: &str) -> Event<'static> {
    Event::TextDelta { block, text: text(said) }
}

fn call(block: u32, id: &str, name: &str) -> Event<'static> {
    Event::ToolStart { block, id: text(id), name: text(name) }
}

fn arguments(block: u32, fragment: &str) -> Event<'static> {
    Event::ToolDelta { block, fragment: text(fragment) }
}

const STOP: Event<'static> = Event::Stop { reason: StopReason::EndTurn, stop_sequence: None };

/// The events of an answer, and what is kept of it.
fn written(style: &Style, events: &[Event<'_>], end: &End) -> (Vec<Value>, Option<Value>) {
    let mut encoder = Encoder::new(&envelope(), style);
    let mut out = Vec::new();
    events.iter().for_each(|event| encoder.event(event, &mut out));
    encoder.finish(end, &mut out);
    let length = out.len();
    encoder.finish(end, &mut out);
    assert_eq!(out.len(), length, "there is one end");
    let mut read = Vec::new();
    let mut parser = sse::Parser::new();
    parser
        .push(&out, |event| {
            let data: Value = serde_json::from_slice(event.data).unwrap();
            assert_eq!(data["type"].as_str().unwrap().as_bytes(), event.name);
            read.push(data);
        })
        .unwrap();
    parser.finish().unwrap();
    (read, encoder.take_kept().map(|kept| serde_json::from_slice(&kept).unwrap()))
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// What a client makes of the events of an answer, which has to be what the last one says.
fn check(events: &[Value]) {
    let mut output: Vec<Value> = Vec::new();
    let mut deltas: Vec<String> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
        let index = event["output_index"].as_u64().map(|index| usize::try_from(index).unwrap());
        let kind = event["type"].as_str().unwrap();
        if let Some(id) = event["item_id"].as_str() {
            assert_eq!(output[index.unwrap()]["id"], id, "{event}");
        }
        match kind {
            "response.output_item.added" => {
                assert_eq!(index.unwrap(), output.len());
                assert_eq!(event["item"]["status"], "in_progress");
                output.push(event["item"].clone());
                deltas.push(String::new());
            }
            "response.output_item.done" => {
                assert_eq!(event["item"]["id"], output[index.unwrap()]["id"]);
                output[index.unwrap()] = event["item"].clone();
            }
            _ if kind.ends_with(".delta") => deltas[index.unwrap()].push_str(event["delta"].as_str().unwrap()),
            _ if kind.ends_with(".done") => {
                let part = event.get("part").unwrap_or(event);
                let whole = ["text", "arguments", "input"].iter().find_map(|name| part[*name].as_str()).unwrap();
                assert_eq!(deltas[index.unwrap()], whole, "{event}");
            }
            _ => {}
        }
    }
    assert_eq!(kinds(events)[..2], ["response.created", "response.in_progress"]);
    let last = &events.last().unwrap()["response"];
    if last["status"] != "failed" {
        assert!(output.iter().all(|item| item["status"] != "in_progress"));
        assert_eq!(last["output"], Value::Array(output));
    }
    let ended = |event: &&Value| ["completed", "incomplete", "failed"].iter().any(|end| event["type"] == format!("response.{end}"));
    assert_eq!(events.iter().filter(ended).count(), 1);
}

#[test]
fn a_text_comes_in_the_events_of_the_api() {
    let (events, kept) = written(&plain(), &[Event::Start, say(0, "Hel"), say(3, "lo\n"), STOP], &End::Complete);
    check(&events);
    assert_eq!(
        kinds(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert_eq!(kept.unwrap(), events.last().unwrap()["response"]);
}

#[test]
fn what_is_not_to_be_kept_is_not() {
    let style = style(r#"{"model":"m","input":"x","store":false}"#);
    let (events, kept) = written(&style, &[say(0, "x"), STOP], &End::Complete);
    assert_eq!((kept, &events.last().unwrap()["response"]["store"]), (None, &json!(false)));
    let (_, kept) = written(&plain(), &[say(0, "x")], &End::Failed(ApiError::new(ErrorKind::Timeout, "slow")));
    assert_eq!(kept, None, "what failed is no answer");
}

#[test]
fn trap_08_a_call_without_arguments_has_an_empty_object() {
    let (events, _) = written(&plain(), &[call(0, "a", "f"), Event::BlockStop { block: 0 }, STOP], &End::Complete);
    check(&events);
    assert_eq!(events.last().unwrap()["response"]["output"][0]["arguments"], "{}");
}

#[test]
fn calls_may_be_mixed_and_text_may_stand_between() {
    let mixed = [
        say(0, "a"),
        call(1, "x", "f"),
        call(2, "y", "run"),
        arguments(1, "{"),
        arguments(2, r#"{"input":"#),
        say(3, "b"),
        arguments(1, "}"),
        arguments(2, "\"z\"}"),
    ];
    let (events, _) = written(&plain(), &[&mixed[..], &[STOP]].concat(), &End::Complete);
    check(&events);
    let output = &events.last().unwrap()["response"]["output"];
    let types: Vec<_> = output.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["message", "function_call", "custom_tool_call", "message"]);
    assert_eq!((&output[1]["arguments"], &output[2]["input"]), (&json!("{}"), &json!("z")));
}

#[test]
fn trap_46_an_answer_that_was_cut_off_is_incomplete() {
    for (reason, word) in [
        (StopReason::MaxTokens, "max_output_tokens"),
        (StopReason::ContextWindowExceeded, "max_output_tokens"),
        (StopReason::ContentFiltered, "content_filter"),
        (StopReason::GuardrailIntervened, "content_filter"),
    ] {
        let (events, kept) = written(&plain(), &[say(0, "x"), Event::Stop { reason, stop_sequence: None }], &End::Complete);
        check(&events);
        let last = &events.last().unwrap()["response"];
        assert_eq!((&last["status"], &last["incomplete_details"]["reason"]), (&json!("incomplete"), &json!(word)));
        assert_eq!(last["output"][0]["status"], "incomplete");
        assert_eq!(kept.as_ref(), Some(last));
    }
}

#[test]
fn a_failure_ends_the_answer_wherever_it_stands() {
    let failed = End::Failed(ApiError::new(ErrorKind::RateLimited, "slow \"down\""));
    for events in [&[][..], &[Event::Start], &[say(0, "x")], &[say(0, "x"), STOP]] {
        let (events, _) = written(&plain(), events, &failed);
        check(&events);
        let last = &events.last().unwrap()["response"];
        assert_eq!(last["error"], json!({"code": "rate_limit_exceeded", "message": "slow \"down\""}));
    }
    let (events, _) = written(&plain(), &[say(0, "x")], &End::Complete);
    assert_eq!(events.last().unwrap()["response"]["error"]["code"], "server_error", "it ended early");
}

#[test]
fn every_kind_of_failure_has_a_code_of_the_api() {
    for kind in ErrorKind::ALL {
        let (events, _) = written(&plain(), &[], &End::Failed(ApiError::new(kind, "no")));
        let code = events.last().unwrap()["response"]["error"]["code"].as_str().unwrap().to_owned();
        assert!(["server_error", "rate_limit_exceeded", "invalid_prompt"].contains(&code.as_str()), "{kind:?}: {code}");
        let mut out = Vec::new();
        write_error(&ApiError::new(kind, "no"), 3, &mut out);
        let event: Value = serde_json::from_str(String::from_utf8(out).unwrap().strip_prefix("event: error\ndata: ").unwrap()).unwrap();
        assert_eq!((&event["type"], &event["message"], &event["sequence_number"]), (&json!("error"), &json!("no"), &json!(3)));
        assert!(event["code"].is_string() && event["param"].is_null());
    }
}

/// One block of an answer: its events, and the parts that the same makes of a whole answer.
fn block(number: u32) -> impl Strategy<Value = (Vec<Event<'static>>, Part<'static>)> {
    let words = proptest::collection::vec("[a-z \"\\\\\n]{1,6}", 1..4);
    (0..4_u8, words).prop_map(move |(kind, words)| {
        let stop = Event::BlockStop { block: number };
        let whole = words.concat();
        match kind {
            0 => {
                let events = words.iter().map(|word| say(number, word)).chain([stop]).collect();
                (events, Part::Text(text(&whole)))
            }
            1 => {
                let thoughts = words.iter().map(|word| Event::ReasoningDelta { block: number, text: text(word) });
                let events = thoughts.chain([Event::ReasoningSignature { block: number, signature: text("s=") }, stop]).collect();
                (events, Part::Reasoning(Reasoning { text: text(&whole), signature: Some(text("s=")) }))
            }
            2 => {
                let json = json!({ "input": whole }).to_string();
                let (one, two) = json.split_at(json.char_indices().nth(5).unwrap().0);
                let events = vec![call(number, "a", "run"), arguments(number, one), arguments(number, two), stop];
                (events, Part::ToolUse(ToolUse { id: text("a"), name: text("run"), input: json.into() }))
            }
            _ => {
                let events = vec![Event::ReasoningRedacted { block: number, content: text("b3BhcXVl") }, stop];
                (events, Part::RedactedReasoning(text("b3BhcXVl")))
            }
        }
    })
}

proptest! {
    #[test]
    fn a_stream_ends_with_the_answer_that_would_have_been_written_whole(blocks in (0..5_u32).prop_flat_map(|count| (0..count).map(block).collect::<Vec<_>>()), summary: bool) {
        let style = Style { summary, ..plain() };
        let (events, parts): (Vec<_>, Vec<_>) = blocks.into_iter().unzip();
        let (events, kept) = written(&style, &[events.concat().as_slice(), &[STOP]].concat(), &End::Complete);
        check(&events);
        let answer = Response { parts, citations: Vec::new(), stop: StopReason::EndTurn, stop_sequence: None, usage: None, service_tier: None };
        let mut whole = Vec::new();
        response::encode(&answer, &envelope(), &style, 0, &mut whole);
        prop_assert_eq!(kept.unwrap(), serde_json::from_slice::<Value>(&whole).unwrap());
    }
}
