use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::chat::{EventDecoder, Restore};
use crate::dialect::converse::upstream;

fn plain(text: &'static str) -> Text<'static> {
    Text::from_plain(text)
}

fn text(block: u32, text: &'static str) -> Event<'static> {
    Event::TextDelta { block, text: plain(text) }
}

fn tool(block: u32, id: &'static str) -> Event<'static> {
    Event::ToolStart { block, id: plain(id), name: plain("f") }
}

fn arguments(block: u32, fragment: &'static str) -> Event<'static> {
    Event::ToolDelta { block, fragment: plain(fragment) }
}

fn end(block: u32) -> Event<'static> {
    Event::BlockStop { block }
}

fn stop(reason: StopReason<'static>) -> Event<'static> {
    Event::Stop { reason, stop_sequence: None }
}

fn usage() -> Event<'static> {
    Event::Usage { usage: Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() }, service_tier: Some(plain("flex")) }
}

/// Frames as AWS's own decoder reads them: the name and the payload. Checks the headers and their order.
fn frames(bytes: &[u8]) -> Vec<(String, Value)> {
    let mut decoder = MessageFrameDecoder::new();
    let mut rest = bytes;
    let mut frames = Vec::new();
    loop {
        match decoder.decode_frame(&mut rest).unwrap() {
            DecodedFrame::Complete(message) => {
                let headers: Vec<(String, String)> = message
                    .headers()
                    .iter()
                    .map(|header| (header.name().as_str().to_owned(), header.value().as_string().unwrap().as_str().to_owned()))
                    .collect();
                let kind = headers[2].1.clone();
                let first = if kind == "exception" { ":exception-type" } else { ":event-type" };
                assert_eq!([headers[0].0.as_str(), headers[1].0.as_str(), headers[2].0.as_str()], [first, ":content-type", ":message-type"]);
                assert_eq!((headers.len(), headers[1].1.as_str()), (3, "application/json"));
                let name = if kind == "exception" { format!("! {}", headers[0].1) } else { headers[0].1.clone() };
                frames.push((name, serde_json::from_slice(message.payload()).unwrap()));
            }
            DecodedFrame::Incomplete => {
                assert!(rest.is_empty());
                return frames;
            }
        }
    }
}

fn written_with(style: Style, events: &[Event<'_>], end: Option<&End>) -> Vec<u8> {
    let mut encoder = Encoder::new().with_style(style);
    let mut out = Vec::new();
    encoder.clock(7);
    for event in events {
        encoder.event(event, &mut out);
    }
    if let Some(end) = end {
        encoder.finish(end, &mut out);
        let length = out.len();
        encoder.finish(end, &mut out);
        assert_eq!(out.len(), length, "the end is written once");
    }
    out
}

fn written(events: &[Event<'_>], end: Option<&End>) -> Vec<(String, Value)> {
    frames(&written_with(Style::default(), events, end))
}

fn expected(frames: &[(&str, Value)]) -> Vec<(String, Value)> {
    frames.iter().map(|(name, payload)| ((*name).to_owned(), payload.clone())).collect()
}

fn delta(block: u32, delta: Value) -> (&'static str, Value) {
    ("contentBlockDelta", json!({"contentBlockIndex":block,"delta":delta}))
}

fn block_stop(block: u32) -> (&'static str, Value) {
    ("contentBlockStop", json!({"contentBlockIndex":block}))
}

fn tool_start(block: u32, id: &str) -> (&'static str, Value) {
    ("contentBlockStart", json!({"contentBlockIndex":block,"start":{"toolUse":{"toolUseId":id,"name":"f"}}}))
}

fn metadata() -> (&'static str, Value) {
    ("metadata", json!({"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7},"metrics":{"latencyMs":7},"serviceTier":{"type":"flex"}}))
}

#[test]
fn a_whole_answer() {
    let events = [
        Event::Start,
        Event::ReasoningDelta { block: 0, text: plain("hm") },
        Event::ReasoningSignature { block: 0, signature: plain("S==") },
        end(0),
        Event::ReasoningRedacted { block: 1, content: plain("AAEC") },
        end(1),
        text(5, "a \"b\"\n"),
        text(5, ""),
        text(5, "c"),
        end(5),
        tool(7, "t"),
        arguments(7, "{\"x\":"),
        arguments(7, "1}"),
        end(7),
        Event::Unknown,
        stop(StopReason::ToolUse),
        usage(),
    ];
    assert_eq!(
        written(&events, Some(&End::Complete)),
        expected(&[
            ("messageStart", json!({"role":"assistant"})),
            delta(0, json!({"reasoningContent":{"text":"hm"}})),
            delta(0, json!({"reasoningContent":{"signature":"S=="}})),
            block_stop(0),
            delta(1, json!({"reasoningContent":{"redactedContent":"AAEC"}})),
            block_stop(1),
            delta(2, json!({"text":"a \"b\"\n"})),
            delta(2, json!({"text":"c"})),
            block_stop(2),
            tool_start(3, "t"),
            delta(3, json!({"toolUse":{"input":"{\"x\":"}})),
            delta(3, json!({"toolUse":{"input":"1}"}})),
            block_stop(3),
            ("messageStop", json!({"stopReason":"tool_use"})),
            metadata(),
        ])
    );
}

#[test]
fn bytes_are_those_of_the_published_example() {
    let out = written_with(Style::default(), &[Event::Start, text(0, "Hi")], None);
    let start = written_with(Style::default(), &[Event::Start], None).len();
    assert_eq!(out.len() - start, 148);
    assert_eq!(out[start..start + 12], [0, 0, 0, 0x94, 0, 0, 0, 0x57, 0xb4, 0xab, 0x9a, 0xee]);
    assert_eq!(out[out.len() - 4..], [0x1f, 0x94, 0x46, 0x57]);
}

#[test]
fn blocks_end_though_the_upstream_does_not_say_so() {
    let events = [text(0, "a"), Event::ReasoningDelta { block: 0, text: plain("b") }, text(0, "c"), text(1, "d"), tool(1, "t"), stop(StopReason::MaxTokens)];
    assert_eq!(
        written(&events, None),
        expected(&[
            ("messageStart", json!({"role":"assistant"})),
            delta(0, json!({"text":"a"})),
            block_stop(0),
            delta(1, json!({"reasoningContent":{"text":"b"}})),
            block_stop(1),
            delta(2, json!({"text":"c"})),
            block_stop(2),
            delta(3, json!({"text":"d"})),
            block_stop(3),
            tool_start(4, "t"),
            delta(4, json!({"toolUse":{"input":"{}"}})),
            block_stop(4),
            ("messageStop", json!({"stopReason":"max_tokens"})),
        ])
    );
}

#[test]
fn tools_that_come_at_once_are_told_one_after_the_other() {
    let events = [tool(0, "a"), tool(1, "b"), arguments(1, "{\"b\""), arguments(0, "{}"), arguments(1, ":1}"), tool(2, "c"), end(1), end(0), end(2)];
    assert_eq!(
        written(&events, None)[1..],
        expected(&[
            tool_start(0, "a"),
            delta(0, json!({"toolUse":{"input":"{}"}})),
            block_stop(0),
            tool_start(1, "b"),
            delta(1, json!({"toolUse":{"input":"{\"b\":1}"}})),
            block_stop(1),
            tool_start(2, "c"),
            delta(2, json!({"toolUse":{"input":"{}"}})),
            block_stop(2),
        ])
    );
    let events = [tool(0, "a"), tool(1, "b"), arguments(1, "{}"), stop(StopReason::EndTurn)];
    let found = written(&events, None);
    assert_eq!(found.len(), 8);
    assert_eq!(found[7].1, json!({"stopReason":"tool_use"}), "none is lost when the upstream says nothing of ends");
    let events = [tool(0, "a"), tool(1, "b"), text(2, "x")];
    assert_eq!(written(&events, None).len(), 8, "text ends them both");
}

#[test]
fn what_waits_has_a_limit() {
    let long: &'static str = Box::leak("x".repeat(WAITING_MAX).into_boxed_str());
    let found = written(&[tool(0, "a"), tool(1, "b"), arguments(1, long), arguments(0, "{}"), stop(StopReason::ToolUse)], Some(&End::Complete));
    assert_eq!((found.len(), found[2].0.as_str()), (3, "! modelStreamErrorException"));
}

#[test]
fn metadata_is_the_last_frame_wherever_the_counts_came() {
    for events in [vec![text(0, "a"), usage(), stop(StopReason::EndTurn)], vec![text(0, "a"), stop(StopReason::EndTurn), usage(), usage()]] {
        let found = written(&events, Some(&End::Complete));
        assert_eq!(found.len(), 5);
        assert_eq!(found[4], expected(&[metadata()])[0]);
    }
    let found = written(&[text(0, "a"), stop(StopReason::EndTurn)], Some(&End::Complete));
    assert_eq!(found[4].1, json!({"usage":{"inputTokens":0,"outputTokens":0,"totalTokens":0},"metrics":{"latencyMs":7}}), "nobody counted");
}

#[test]
fn trap_48_the_stop_text_is_told_to_those_who_ask() {
    let events = [Event::Stop { reason: StopReason::StopSequence, stop_sequence: Some(plain("END")) }];
    let of = |style| frames(&written_with(style, &events, None))[1].1.clone();
    assert_eq!(of(Style::default()), json!({"stopReason":"stop_sequence"}));
    assert_eq!(of(Style { stop_sequence: true }), json!({"stopReason":"stop_sequence","additionalModelResponseFields":{"stop_sequence":"END"}}));
}

#[test]
fn trap_01_nothing_follows_an_exception() {
    let error = || ApiError::new(ErrorKind::RateLimited, "slow \"down\"");
    let exception = ("! throttlingException".to_owned(), json!({"message":"slow \"down\""}));
    let after = [text(0, "b"), stop(StopReason::EndTurn), usage(), Event::Failed(error())];
    let mut events = vec![text(0, "a"), Event::Failed(error())];
    events.extend(after);
    for end in [End::Complete, End::Failed(error())] {
        let found = written(&events, Some(&end));
        assert_eq!((found.len(), &found[2]), (3, &exception));
    }
    for events in [vec![], vec![text(0, "a")], vec![stop(StopReason::EndTurn)], vec![stop(StopReason::EndTurn), usage()]] {
        assert_eq!(written(&events, Some(&End::Failed(error()))).last(), Some(&exception));
    }
}

#[test]
fn trap_46_an_end_without_a_stop_is_an_exception() {
    for events in [vec![], vec![Event::Start], vec![text(0, "a")], vec![tool(0, "a"), usage()]] {
        let found = written(&events, Some(&End::Complete));
        assert_eq!(found.last().unwrap().0, "! modelStreamErrorException");
    }
}

#[test]
fn deltas_allocate_nothing_of_their_own() {
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    encoder.event(&text(0, "aaaaaaaaaaaaaaaa"), &mut out);
    let capacity = encoder.payload.capacity();
    for _ in 0..100 {
        encoder.event(&text(0, "bbbbbbbbbbbbbbbb"), &mut out);
    }
    assert_eq!(encoder.payload.capacity(), capacity);
}

/// One event in short; blocks by the order in which they are met.
fn short(event: &Event<'_>, blocks: &mut Vec<u32>) -> String {
    let mut number = |block: &u32| {
        blocks.iter().position(|known| known == block).unwrap_or_else(|| {
            blocks.push(*block);
            blocks.len() - 1
        })
    };
    match event {
        Event::TextDelta { block, text } => format!("text {} {}", number(block), text.unescape()),
        Event::ReasoningDelta { block, text } => format!("thought {} {}", number(block), text.unescape()),
        Event::ReasoningSignature { block, signature } => format!("signature {} {}", number(block), signature.unescape()),
        Event::ReasoningRedacted { block, content } => format!("redacted {} {}", number(block), content.unescape()),
        Event::ToolStart { block, id, name } => format!("tool {} {} {}", number(block), id.unescape(), name.unescape()),
        Event::ToolDelta { block, fragment } => format!("arguments {} {}", number(block), fragment.unescape()),
        Event::BlockStop { block } => format!("end {}", number(block)),
        Event::Stop { reason, stop_sequence } => format!("stop {} {:?}", reason.as_str(), stop_sequence.as_ref().map(|text| text.unescape().into_owned())),
        Event::Usage { usage, service_tier } => format!("usage {usage:?} {:?}", service_tier.as_ref().map(|tier| tier.unescape().into_owned())),
        Event::Failed(error) => format!("failed {}", error.message),
        other => format!("{other:?}"),
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Vec<String>),
    Thought(Vec<String>, bool),
    Redacted(String),
    Tool(Vec<String>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let texts = || prop::collection::vec("[a-z\"\\\\\n\u{e9}😀{}]{1,6}", 1..4);
    prop_oneof![
        texts().prop_map(Piece::Text),
        (texts(), any::<bool>()).prop_map(|(texts, signed)| Piece::Thought(texts, signed)),
        "[A-Za-z0-9+/]{4}".prop_map(Piece::Redacted),
        texts().prop_map(Piece::Tool),
    ]
}

fn events_of(pieces: &[Piece], gap: u32) -> Vec<Event<'_>> {
    let own = |text: &str| Text::from_plain(text.to_owned());
    let mut events = vec![Event::Start];
    let mut tools = false;
    for (block, piece) in (0..).map(|at| at * gap).zip(pieces) {
        match piece {
            Piece::Text(texts) => events.extend(texts.iter().map(|text| Event::TextDelta { block, text: own(text) })),
            Piece::Thought(texts, signed) => {
                events.extend(texts.iter().map(|text| Event::ReasoningDelta { block, text: own(text) }));
                if *signed {
                    events.push(Event::ReasoningSignature { block, signature: plain("S==") });
                }
            }
            Piece::Redacted(content) => events.push(Event::ReasoningRedacted { block, content: own(content) }),
            Piece::Tool(texts) => {
                tools = true;
                events.push(Event::ToolStart { block, id: Text::from_plain(format!("t{block}")), name: plain("f") });
                events.extend(texts.iter().map(|text| Event::ToolDelta { block, fragment: own(text) }));
            }
        }
        events.push(end(block));
    }
    events.push(Event::Stop { reason: if tools { StopReason::ToolUse } else { StopReason::StopSequence }, stop_sequence: Some(plain("E\"D")) });
    events.push(usage());
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_upstreams_side_reads_the_same_events(pieces in prop::collection::vec(piece(), 0..5), gap in 1_u32..4, cut in any::<prop::sample::Index>()) {
        let events = events_of(&pieces, gap);
        let bytes = written_with(Style { stop_sequence: true }, &events, Some(&End::Complete));
        frames(&bytes);
        let mut decoder = upstream::stream::Decoder::new(Restore::default());
        let (mut found, mut blocks) = (Vec::new(), Vec::new());
        let (left, right) = bytes.split_at(cut.index(bytes.len()));
        for chunk in [left, right] {
            decoder.push(chunk, &mut |event| found.push(short(&event, &mut blocks)));
        }
        prop_assert!(matches!(decoder.finish(), End::Complete));
        let mut blocks = Vec::new();
        let wanted: Vec<String> = events.iter().map(|event| short(event, &mut blocks)).collect();
        prop_assert_eq!(found, wanted);
        let mut tap = upstream::stream::UsageTap::new();
        tap.push(left);
        tap.push(right);
        prop_assert_eq!(tap.usage().map(|usage| (usage.input_tokens, usage.output_tokens)), Some((3, 4)));
        prop_assert_eq!(tap.stop(), Some(if pieces.iter().any(|piece| matches!(piece, Piece::Tool(_))) { "tool_use" } else { "stop_sequence" }));
    }

    #[test]
    fn events_in_any_order_give_frames_in_the_right_one(order in prop::collection::vec((0_usize..10, 0_u32..3), 0..30), failed in any::<bool>()) {
        let events: Vec<Event<'_>> = order.iter().map(|(kind, block)| match kind {
            0 => Event::Start,
            1 | 2 => text(*block, "a"),
            3 => Event::ReasoningDelta { block: *block, text: plain("b") },
            4 => Event::ReasoningRedacted { block: *block, content: plain("AA==") },
            5 => tool(*block, "t"),
            6 => arguments(*block, "{}"),
            7 => end(*block),
            8 => if *block == 0 { stop(StopReason::EndTurn) } else { Event::Unknown },
            _ => usage(),
        }).collect();
        let end = if failed { End::Failed(ApiError::new(ErrorKind::Unavailable, "no")) } else { End::Complete };
        let found = written(&events, Some(&end));
        let mut open: Option<u64> = None;
        let mut next = 0;
        let last = found.len() - 1;
        for (at, (name, payload)) in found.iter().enumerate() {
            let index = payload["contentBlockIndex"].as_u64();
            match name.as_str() {
                "messageStart" => prop_assert_eq!(at, 0),
                "contentBlockStart" | "contentBlockDelta" if open.is_none() => {
                    prop_assert_eq!(index, Some(next));
                    (open, next) = (index, next + 1);
                }
                "contentBlockDelta" => prop_assert_eq!(index, open),
                "contentBlockStop" => {
                    prop_assert_eq!(index, open.take());
                }
                "messageStop" => prop_assert!(open.is_none()),
                "metadata" => prop_assert!(at == last || (at == last - 1 && failed)),
                name => prop_assert!(name.starts_with('!') && at == last, "{}", name),
            }
        }
    }
}
