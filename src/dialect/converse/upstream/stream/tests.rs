use proptest::prelude::*;

use super::*;
use crate::wire::eventstream::write_frame;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/bedrock/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

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
        Event::Stop { reason, stop_sequence } => format!("stop {reason:?} {:?}", stop_sequence.as_ref().map(|text| text.unescape().into_owned())),
        Event::Usage { usage, service_tier } => {
            let tier = service_tier.as_ref().map_or(String::new(), |tier| format!(" {}", tier.unescape()));
            format!("usage {} {} {:?}{tier}", usage.input_tokens, usage.output_tokens, usage.reasoning_tokens)
        }
        Event::Failed(error) => format!("failed {} {}", error.status, error.message),
        Event::Unknown => "unknown".to_owned(),
    }
}

fn read_with(restore: Restore, chunks: &[&[u8]]) -> (Vec<String>, End) {
    let mut decoder = Decoder::new(restore);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk, &mut |event| events.push(short(&event)));
    }
    let end = decoder.finish();
    assert_eq!(format!("{end:?}"), format!("{:?}", decoder.finish()), "asking again changes nothing");
    (events, end)
}

fn read(bytes: &[u8]) -> (Vec<String>, End) {
    read_with(Restore::default(), &[bytes])
}

fn status(end: &End) -> Option<u16> {
    match end {
        End::Complete => None,
        End::Failed(error) => Some(error.status),
    }
}

fn frames(events: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, payload) in events {
        let kind = if name.ends_with("Exception") { (":exception-type", "exception") } else { (":event-type", "event") };
        write_frame(&mut bytes, &[(kind.0, *name), (":content-type", "application/json"), (":message-type", kind.1)], payload.as_bytes());
    }
    bytes
}

#[test]
fn a_recorded_text_answer() {
    let (events, end) = read(&fixture("basic.bin"));
    assert_eq!(status(&end), None);
    assert_eq!(events.len(), 7);
    assert_eq!(events[0], "start");
    assert!(events[1].starts_with("text 0 \nOnce upon a time"));
    assert!(events[3].ends_with("the birds he had helped."));
    assert_eq!(events[4..], ["end 0", "stop EndTurn None", "usage 15 142 None"]);
}

#[test]
fn a_recorded_answer_with_two_tools() {
    let (events, end) = read(&fixture("tool.bin"));
    assert_eq!(status(&end), None);
    assert_eq!(
        events[..11],
        [
            "start",
            "text 0 I'll call both tools.",
            "end 0",
            "tool 1 tooluse_kZJMlvQmRJ6eAyJE5GIl7Q top_song",
            "arguments 1 {\"sign\":",
            "arguments 1 \"WZPZ\"}",
            "end 1",
            "tool 2 tooluse_kZJMlvQmRJ6eAyxxx hello",
            "arguments 2 {\"sign\":\"world\"}",
            "end 2",
            "stop ToolUse None",
        ]
    );
}

#[test]
fn trap_04_the_same_events_for_every_cut() {
    for name in ["basic.bin", "tool.bin", "generated-midstream-model-error.bin", "generated-throttling-first.bin"] {
        let bytes = fixture(name);
        let (whole, end) = read(&bytes);
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            let (events, cut_end) = read_with(Restore::default(), &[left, right]);
            assert_eq!((events, status(&cut_end)), (whole.clone(), status(&end)), "{name} cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read_with(Restore::default(), &single).0, whole, "{name} byte by byte");
    }
}

#[test]
fn trap_03_every_truncation_fails() {
    for name in ["basic.bin", "tool.bin"] {
        let bytes = fixture(name);
        // Behind messageStop the answer is whole: only the counts are missing.
        let (whole, _) = read(&bytes);
        for at in 0..bytes.len() {
            let (events, end) = read(&bytes[..at]);
            let stopped = events.iter().any(|event| event.starts_with("stop"));
            let on_boundary = stopped && events.len() == whole.len() - 1 && matches!(end, End::Complete);
            assert!(on_boundary || status(&end) == Some(502), "{name} cut at {at}: {end:?}");
        }
        let boundaries = (0..bytes.len()).filter(|at| matches!(read(&bytes[..*at]).1, End::Complete)).count();
        assert_eq!(boundaries, 1, "between messageStop and metadata, nowhere else");
    }
}

#[test]
fn trap_03_bytes_that_are_no_frames_fail() {
    for bytes in [&b""[..], b"{\"Output\":{}}", b"<html>there is nothing here that a model said</html>"] {
        let (events, end) = read(bytes);
        assert_eq!(status(&end), Some(502), "{events:?}");
    }
    let mut bytes = fixture("basic.bin");
    bytes.extend_from_slice(b"\0\0");
    assert_eq!(status(&read(&bytes).1), Some(502), "bytes left over");
    let mut bytes = fixture("basic.bin");
    bytes[200] ^= 1;
    let (events, end) = read(&bytes);
    assert_eq!((events.last().unwrap().starts_with("failed 502"), status(&end)), (true, Some(502)), "a checksum is wrong");
}

#[test]
fn trap_01_exceptions_are_errors_wherever_they_come() {
    let (events, end) = read(&fixture("generated-throttling-first.bin"));
    assert_eq!(events, ["failed 429 Too many requests, please wait before trying again."]);
    assert_eq!(status(&end), Some(429));
    let (events, end) = read(&fixture("generated-midstream-model-error.bin"));
    assert_eq!(events, ["start", "text 0 Hel", "failed 502 The model stream failed. (upstream)"]);
    assert_eq!(status(&end), Some(502));
    let (events, end) = read(&frames(&[
        ("messageStart", "{}"),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ("serviceUnavailableException", r#"{"message":"gone"}"#),
        ("metadata", "{}"),
    ]));
    assert_eq!(events, ["start", "stop EndTurn None", "failed 503 gone"], "behind the end, and nothing after it");
    assert_eq!(status(&end), Some(503));
    let mut bytes = Vec::new();
    write_frame(&mut bytes, &[(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "oh")], b"");
    assert_eq!(read(&bytes).0, ["failed 500 oh"]);
}

#[test]
fn trap_61_blocks_need_no_start_and_unknown_things_are_counted() {
    let (events, end) = read(&frames(&[
        ("messageStart", r#"{"role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#),
        ("contentBlockDelta", r#"{"delta":{"reasoningContent":{"signature":"S=="}},"contentBlockIndex":0}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"AAE="}}}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":2,"start":{}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"a\"\n"}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"citation":{"title":"t"}}}"#),
        ("somethingNew", "not even JSON"),
        ("contentBlockStart", r#"{"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"s","name":"web","type":"server_tool_use"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
        (
            "messageStop",
            r#"{"stopReason":"stop_sequence","additionalModelResponseFields":{"stop_sequence":"END","usage":{"output_tokens_details":{"thinking_tokens":7}}}}"#,
        ),
        ("metadata", r#"{"usage":{"inputTokens":1,"outputTokens":9},"serviceTier":{"type":"priority"}}"#),
    ]));
    assert_eq!(status(&end), None);
    assert_eq!(
        events,
        [
            "start",
            "thought 0 hm",
            "signature 0 S==",
            "redacted 1 AAE=",
            "text 2 a\"\n",
            "unknown",
            "unknown",
            "stop StopSequence Some(\"END\")",
            "usage 1 9 Some(7) priority",
        ]
    );
    assert_eq!(status(&read(&frames(&[("contentBlockDelta", "{}")])).1), Some(502), "an event that cannot be read");
}

#[test]
fn trap_13_tool_names_come_back() {
    let restore = Restore { names: vec![("a_b".to_owned(), "a.b".to_owned())], ..Restore::default() };
    let bytes = frames(&[("contentBlockStart", r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"a_b"}}}"#)]);
    assert_eq!(read_with(restore, &[&bytes]).0, ["start", "tool 0 t a.b"]);
}

/// The text that a format tool's fragments become, and the stop reason.
fn format_text(unwrap: bool, fragments: &[&str]) -> (String, Vec<String>) {
    let restore = Restore { format_tool: Some("json_answer".to_owned()), unwrap, ..Restore::default() };
    let payloads: Vec<String> = fragments
        .iter()
        .map(|fragment| format!(r#"{{"contentBlockIndex":1,"delta":{{"toolUse":{{"input":{}}}}}}}"#, serde_json::to_string(fragment).unwrap()))
        .collect();
    let mut all = vec![
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Here it comes:"}}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t","name":"json_answer"}}}"#),
    ];
    all.extend(payloads.iter().map(|payload| ("contentBlockDelta", payload.as_str())));
    all.extend([("contentBlockStop", r#"{"contentBlockIndex":1}"#), ("messageStop", r#"{"stopReason":"tool_use"}"#)]);
    let (events, _) = read_with(restore, &[&frames(&all)]);
    let text = events.iter().filter_map(|event| event.strip_prefix("text 1 ")).collect();
    (text, events.into_iter().filter(|event| !event.starts_with("text 1")).collect())
}

#[test]
fn trap_59_the_format_tool_streams_as_text() {
    let rest = ["start", "end 1", "stop EndTurn None"];
    for (unwrap, fragments, text) in [
        (true, &["{\"a\":", "1}"][..], "{\"a\":1}"),
        (false, &["{\"properties\":", "{\"a\":1}}"], "{\"properties\":{\"a\":1}}"),
        (true, &["", "{\"proper", "ties\" : ", "{\"a\":{\"b\":", "1}", "}", "}\n"], "{\"a\":{\"b\":1}}"),
        (true, &["{\"properties\":{\"a\":\"}\"}}"], "{\"a\":\"}\"}"),
        (true, &["{\n", "\"props\":{}}"], "{\n\"props\":{}}"),
        (true, &["{\"properties\":7}"], "{\"properties\":7}"),
        (true, &[], "{}"),
        (true, &["{", "}"], "{}"),
    ] {
        assert_eq!(format_text(unwrap, fragments), (text.to_owned(), rest.map(str::to_owned).to_vec()), "{fragments:?}");
    }
}

#[test]
fn trap_59_text_is_the_answer_when_the_format_tool_was_not_used() {
    let restore = Restore { format_tool: Some("json_answer".to_owned()), ..Restore::default() };
    let bytes = frames(&[
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"I can"}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"not."}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
    ]);
    assert_eq!(read_with(restore, &[&bytes]).0, ["start", "text 0 I cannot.", "end 0", "stop EndTurn None"]);
}

proptest! {
    #[test]
    fn any_bytes_end_somehow(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
        let (left, right) = bytes.split_at(cut.min(bytes.len()));
        let (_, end) = read_with(Restore::default(), &[left, right]);
        prop_assert_eq!(status(&end), Some(502));
    }

    #[test]
    fn any_payload_in_a_good_frame_ends_somehow(name in "messageSt(art|op)|contentBlock(Start|Delta|Stop)|metadata|x", payload in "[\\{\\}\":a-zA-Z0,\\\\ ]{0,80}") {
        read(&frames(&[(&name, &payload)]));
    }

    #[test]
    fn any_cuts_give_the_same_events(cuts in proptest::collection::vec(0_usize..1900, 0..8)) {
        let bytes = fixture("tool.bin");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read_with(Restore::default(), &chunks).0, read(&bytes).0);
    }
}

#[test]
fn a_tap_reads_counts_and_reason_at_every_cut() {
    let whole = |bytes: &[u8]| {
        let mut tap = UsageTap::new();
        tap.push(bytes);
        (tap.usage(), tap.stop())
    };
    for (name, tokens, stop) in [("basic.bin", (15, 142), "end_turn"), ("tool.bin", (0, 0), "tool_use")] {
        let bytes = fixture(name);
        let expected = whole(&bytes);
        assert_eq!(expected.1, Some(stop));
        if tokens != (0, 0) {
            assert_eq!(expected.0.map(|usage| (usage.input_tokens, usage.output_tokens)), Some(tokens));
        }
        for at in 0..=bytes.len() {
            let mut tap = UsageTap::new();
            tap.push(&bytes[..at]);
            tap.push(&bytes[at..]);
            assert_eq!((tap.usage(), tap.stop()), expected, "{name} cut at {at}");
        }
    }
    let bytes = frames(&[
        ("messageStop", r#"{"stopReason":"new_reason","additionalModelResponseFields":{"usage":{"output_tokens_details":{"thinking_tokens":7}}}}"#),
        ("metadata", r#"{"usage":{"inputTokens":1,"outputTokens":9}}"#),
    ]);
    let (usage, stop) = whole(&bytes);
    assert_eq!((usage.unwrap().reasoning_tokens, stop), (Some(7), Some("other")));
    let broken = frames(&[("messageStop", "{"), ("metadata", "[]"), ("metadata", r#"{"usage":{"outputTokens":9}}"#)]);
    assert_eq!(whole(&broken).0.unwrap().output_tokens, 9, "what cannot be read is passed over");
    for bytes in [&b"<html>not an event stream at all</html>"[..], b""] {
        assert_eq!(whole(bytes), (None, None));
    }
}
