use proptest::prelude::*;

use super::*;

/// One event in short.
fn short(event: &Event<'_>) -> String {
    match event {
        Event::Start => "start".to_owned(),
        Event::TextDelta { block, text } => format!("text {block} {}", text.unescape()),
        Event::ReasoningDelta { block, text } => format!("thought {block} {}", text.unescape()),
        Event::ReasoningSignature { block, signature } => format!("signature {block} {}", signature.unescape()),
        Event::ReasoningRedacted { block, content } => format!("redacted {block} {}", content.unescape()),
        Event::ToolStart { block, id, name } => format!("tool {block} {} {}", id.unescape(), name.unescape()),
        Event::ToolDelta { block, fragment } => format!("arguments {block} {}", fragment.unescape()),
        Event::BlockStop { block } => format!("end {block}"),
        Event::Stop { reason, stop_sequence } => format!("stop {} {:?}", reason.as_str(), stop_sequence.as_ref().map(|text| text.unescape().into_owned())),
        Event::Usage { usage, service_tier } => {
            let tier = service_tier.as_ref().map_or(String::new(), |tier| format!(" {}", tier.unescape()));
            format!("usage {} {} {} {:?}{tier}", usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.reasoning_tokens)
        }
        Event::Failed(error) => format!("failed {} {}", error.status, error.message),
        Event::Unknown => "unknown".to_owned(),
    }
}

fn read_with(restore: Restore, chunks: &[&[u8]]) -> (Vec<String>, Option<u16>) {
    let mut decoder = Decoder::new(restore);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk, &mut |event| events.push(short(&event)));
    }
    let end = decoder.finish();
    assert_eq!(format!("{end:?}"), format!("{:?}", decoder.finish()), "asking again changes nothing");
    let status = match end {
        End::Complete => None,
        End::Failed(error) => Some(error.status),
    };
    (events, status)
}

fn read(text: &str) -> (Vec<String>, Option<u16>) {
    read_with(Restore::default(), &[text.as_bytes()])
}

/// Events as the API frames them: each named by its type.
fn framed(events: &[&str]) -> String {
    let of = |data: &&str| {
        let kind = data.split('"').nth(3).unwrap();
        format!("event: {kind}\ndata: {data}\n\n")
    };
    events.iter().map(of).collect()
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude-x","stop_reason":null,"usage":{"input_tokens":25,"cache_read_input_tokens":7,"output_tokens":1,"service_tier":"standard"}}}"#;
const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn text_answer() -> String {
    framed(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type": "ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"H\u00e9"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"l\n\"lo"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        END,
        STOP,
    ])
}

fn mixed_answer() -> String {
    framed(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"S+/="}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"AAEC"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"f_1","input":{}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" 1}"}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{}}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89,"output_tokens_details":{"thinking_tokens":4}}}"#,
        STOP,
    ])
}

#[test]
fn a_text_answer() {
    let (events, failed) = read(&text_answer());
    assert_eq!(events, ["start", "text 0 Hé", "text 0 l\n\"lo", "end 0", "stop end_turn None", "usage 25 15 7 None default"]);
    assert_eq!(failed, None);
}

#[test]
fn thoughts_and_tools() {
    let restore = Restore { names: vec![("f_1".to_owned(), "f.1".to_owned())], ..Restore::default() };
    let (events, failed) = read_with(restore, &[mixed_answer().as_bytes()]);
    assert_eq!(
        events,
        [
            "start",
            "thought 0 hm",
            "signature 0 S+/=",
            "end 0",
            "redacted 1 AAEC",
            "end 1",
            "tool 2 t1 f.1",
            "arguments 2 {\"x\":",
            "arguments 2  1}",
            "end 2",
            "tool 3 t2 g",
            "end 3",
            "stop tool_use None",
            "usage 25 89 7 Some(4) default",
        ]
    );
    assert_eq!(failed, None);
}

#[test]
fn arguments_that_come_with_the_start() {
    let start = r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{"x": "\n"}}}"#;
    let again = r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"x\":1}"}}"#;
    let (events, _) = read(&framed(&[START, start, again, r#"{"type":"content_block_stop","index":0}"#]));
    assert_eq!(events, ["start", "tool 0 t f", "arguments 0 {\"x\": \"\\n\"}", "end 0"]);
}

#[test]
fn what_nobody_knows_is_passed_over() {
    let (events, failed) = read(&framed(&[
        r#"{"type":"ping"}"#,
        START,
        r#"{"type":"something_new","x":1}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"char_location"}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"newer_delta","text":"no"}}"#,
        r#"{"type":"content_block_delta","index":4,"delta":{"type":"text_delta","text":"no"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        END,
        STOP,
        r#"{"type":"ping"}"#,
    ]));
    assert_eq!(
        events,
        ["start", "unknown", "unknown", "text 1 a", "unknown", "unknown", "end 1", "stop end_turn None", "usage 25 15 7 None default", "unknown"]
    );
    assert_eq!(failed, None);
}

#[test]
fn names_may_be_missing_and_lines_may_end_otherwise() {
    let (whole, _) = read(&text_answer());
    let nameless: String = text_answer().lines().filter(|line| !line.starts_with("event")).map(|line| format!("{line}\n")).collect();
    assert_eq!(read(&nameless), (whole.clone(), None));
    assert_eq!(read(&text_answer().replace('\n', "\r\n")), (whole.clone(), None));
    let spaced = text_answer().replace(r#"{"type":"content_block_stop","#, "{ \"x\" : null , \"type\":\"content_block_stop\",\ndata: ");
    assert_eq!(read(&spaced), (whole, None));
}

#[test]
fn trap_01_an_error_ends_it() {
    let failed = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let (events, status) = read(&framed(&[START, failed, END, STOP]));
    assert_eq!((events, status), (vec!["start".to_owned(), "failed 503 Overloaded".to_owned()], Some(503)));
    let (events, status) = read(&framed(&[failed]));
    assert_eq!((events.len(), status), (1, Some(503)), "before anything else");
    let (events, status) = read("data: {\"error\":{\"code\":429,\"message\":\"Quota\",\"status\":\"RESOURCE_EXHAUSTED\"}}\n\n");
    assert_eq!((events, status), (vec!["failed 429 Quota".to_owned()], Some(429)), "Google's own");
}

#[test]
fn trap_03_nonsense_fails() {
    for text in ["", "{\"type\":\"error\"}", "<html>no</html>\n\n", "data: [DONE]\n\n", "event: message_start\ndata: {\n\n"] {
        assert_eq!(read(text).1, Some(502), "{text}");
    }
    for broken in [
        r#"{"type":"content_block_delta","index":0}"#,
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_start","index":-1,"content_block":{"type":"text"}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t"}}"#,
        r#"{"type":"content_block_stop"}"#,
    ] {
        let (events, status) = read(&framed(&[START, broken, END, STOP]));
        assert_eq!((events.last().unwrap().as_str(), status), ("failed 502 an event of the model provider's stream could not be read", Some(502)), "{broken}");
    }
    let (_, status) =
        read_with(Restore::default(), &[framed(&[START]).as_bytes(), b"event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"text\":\"\xff\"}}\n\n"]);
    assert_eq!(status, Some(502), "not UTF-8");
    assert_eq!(read(&format!("{}data: {{", text_answer())).1, Some(502), "bytes left over");
}

#[test]
fn trap_28_totals_are_told_once() {
    let update = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":5}}"#;
    let last = r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"E\n"},"usage":{"input_tokens":30,"output_tokens":9,"cache_read_input_tokens":7}}"#;
    let again = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":10}}"#;
    let (events, _) = read(&framed(&[START, update, last, again, STOP]));
    assert_eq!(events, ["start", "stop stop_sequence Some(\"E\\n\")", "usage 30 10 7 None default"]);
    let (events, failed) = read(&framed(&[r#"{"type":"message_start"}"#, STOP]));
    assert_eq!((events, failed), (vec!["start".to_owned(), "stop end_turn None".to_owned()], None), "nothing was said");
}

#[test]
fn trap_04_the_same_events_for_every_cut() {
    for text in [text_answer(), mixed_answer(), text_answer().replace('\n', "\r\n")] {
        let whole = read(&text);
        let mut tapped = UsageTap::new();
        tapped.push(text.as_bytes());
        assert!(tapped.is_complete() && tapped.usage().is_some());
        for at in 0..=text.len() {
            let (left, right) = text.as_bytes().split_at(at);
            assert_eq!(read_with(Restore::default(), &[left, right]), whole, "cut at {at}");
            let mut tap = UsageTap::new();
            tap.push(left);
            tap.push(right);
            assert_eq!((tap.usage(), tap.stop(), tap.is_complete()), (tapped.usage(), tapped.stop(), true), "cut at {at}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read_with(Restore::default(), &single), whole, "byte by byte");
    }
}

#[test]
fn golden_streams_are_the_same_for_every_cut() {
    let root = format!("{}/tests/golden/anthropic/stream", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for case in std::fs::read_dir(root).unwrap() {
        let path = case.unwrap().path();
        let bytes = std::fs::read(path.join("input.sse")).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let whole = read_with(Restore::default(), &[&bytes]);
        let fails = ["error", "truncated", "empty", "not-json"].iter().any(|kind| name.starts_with(kind));
        assert_eq!(whole.1.is_some(), fails, "{name}: {whole:?}");
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(read_with(Restore::default(), &[left, right]), whole, "{name} cut at {at}");
        }
        count += 1;
    }
    assert!(count > 15);
}

#[test]
fn trap_03_every_truncation_fails() {
    for text in [text_answer(), mixed_answer()] {
        for at in 0..text.len() {
            let (_, status) = read_with(Restore::default(), &[&text.as_bytes()[..at]]);
            assert_eq!(status, Some(502), "cut at {at}");
        }
    }
}

#[test]
fn the_tap_looks_at_counts_only() {
    let mut tap = UsageTap::new();
    tap.push(text_answer().as_bytes());
    let counts = Usage { input_tokens: 25, output_tokens: 15, cache_read_tokens: 7, ..Usage::default() };
    assert_eq!((tap.usage(), tap.stop(), tap.is_complete()), (Some(counts), Some("end_turn"), true));

    let mut tap = UsageTap::new();
    let said = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\"usage\":{\"input_tokens\":9} message_stop"}}"#;
    let name = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"usage"}}"#;
    let stop = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"message_stop"}}"#;
    tap.push(framed(&[said, name, stop, r#"{"type":"ping"}"#]).as_bytes());
    tap.push(b"data: {\"usage\": nonsense\n\n");
    assert_eq!((tap.usage(), tap.stop(), tap.is_complete()), (None, None, false));

    let mut tap = UsageTap::new();
    tap.event(br#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":4,"cacheWriteInputTokenCount":5}}"#);
    assert_eq!(tap.usage(), Some(Usage { input_tokens: 3, output_tokens: 4, cache_write_tokens: 5, ..Usage::default() }));
    assert!(tap.is_complete());
}

proptest! {
    #[test]
    fn noise_never_panics_and_never_completes(noise in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..2000) {
        let mut bytes = mixed_answer().into_bytes();
        let at = at.min(bytes.len());
        bytes.truncate(at);
        bytes.extend_from_slice(&noise);
        let (events, status) = read_with(Restore::default(), &[&bytes]);
        prop_assert!(status.is_some(), "{:?}", events);
        let mut tap = UsageTap::new();
        tap.push(&bytes);
    }

    #[test]
    fn any_text_arrives_as_it_was(said in prop::collection::vec(any::<String>(), 1..6), size in 1_usize..40) {
        let mut text = framed(&[START, r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#]);
        for piece in &said {
            let data = serde_json::json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}});
            text.push_str(&format!("event: content_block_delta\ndata: {data}\n\n"));
        }
        text.push_str(&framed(&[END, STOP]));
        let mut decoder = Decoder::new(Restore::default());
        let mut found = String::new();
        for chunk in text.as_bytes().chunks(size) {
            decoder.push(chunk, &mut |event| if let Event::TextDelta { text, .. } = event { found.push_str(&text.unescape()) });
        }
        prop_assert_eq!(found, said.concat());
        prop_assert!(matches!(decoder.finish(), End::Complete));
    }
}
