use proptest::prelude::*;

use super::*;

/// An event in short.
fn short(event: &Event<'_>) -> String {
    match event {
        Event::Start => "start".to_owned(),
        Event::TextDelta { block, text } => format!("text {block} {}", text.unescape()),
        Event::ReasoningDelta { block, text } => format!("thought {block} {}", text.unescape()),
        Event::ToolStart { block, id, name } => format!("tool {block} {} {}", id.unescape(), name.unescape()),
        Event::ToolDelta { block, fragment } => format!("arguments {block} {}", fragment.unescape()),
        Event::BlockStop { block } => format!("end {block}"),
        Event::Stop { reason, stop_sequence } => {
            format!("stop {}{}", reason.as_str(), stop_sequence.as_ref().map_or(String::new(), |text| format!(" {}", text.unescape())))
        }
        Event::Usage { usage, service_tier } => {
            let tier = service_tier.as_ref().map_or(String::new(), |tier| format!(" {}", tier.unescape()));
            format!("usage {}+{}+{}={}{tier}", usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.total_tokens())
        }
        Event::Failed(error) => format!("failed {} {}", error.status, error.message),
        Event::Unknown => "unknown".to_owned(),
        other => format!("{other:?}"),
    }
}

fn feed(pieces: &[&[u8]], restore: &Restore) -> Vec<String> {
    let mut decoder = Decoder::new(restore.clone());
    let mut found = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut |event| found.push(short(&event)));
    }
    found.push(match decoder.finish() {
        End::Complete => "complete".to_owned(),
        End::Failed(error) => format!("broken {} {}", error.status, error.message),
    });
    found
}

/// Reads a stream whole and cut anywhere, which must not make a difference.
fn read(stream: &str) -> Vec<String> {
    let restore = Restore::default();
    let bytes = stream.as_bytes();
    let whole = feed(&[bytes], &restore);
    for at in 0..bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(feed(&[head, tail], &restore), whole, "cut at {at}");
    }
    assert_eq!(feed(&bytes.chunks(1).collect::<Vec<_>>(), &restore), whole);
    whole
}

/// A stream of these chunks, with its end.
fn stream(chunks: &[&str]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// A stream of these deltas, which ends for a reason.
fn deltas(deltas: &[&str], reason: &str) -> String {
    let chunks: Vec<String> = deltas
        .iter()
        .map(|delta| format!(r#"{{"id":"x","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":null}}"#))
        .chain([format!(r#"{{"id":"x","choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}],"usage":null}}"#)])
        .collect();
    stream(&chunks.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What is left of the events of such a stream without its frame.
fn inner(list: &[&str], reason: &str) -> Vec<String> {
    let mut found = read(&deltas(list, reason));
    assert_eq!(found.first().map(String::as_str), Some("start"));
    assert_eq!(found.pop().as_deref(), Some("complete"));
    found.remove(0);
    found
}

#[test]
fn text_as_openai_streams_it() {
    let chunks = [
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"abc"}"#,
        r#"{"id":"c","service_tier":"default","choices":[{"index":0,"delta":{"content":"Hel"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{"id":"c","service_tier":"default","choices":[{"index":0,"delta":{"content":"lo\n\"é\""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{"id":"c","service_tier":"default","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#,
        r#"{"id":"c","service_tier":"default","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
    ];
    let expected = ["start", "text 0 Hel", "text 0 lo\n\"é\"", "end 0", "stop end_turn", "usage 6+4+5=15 default", "complete"];
    assert_eq!(read(&stream(&chunks)), expected);
    let crlf = format!(": processing\r\n\r\nevent: message\r\n{}", stream(&chunks).replace('\n', "\r\n"));
    assert_eq!(read(&crlf), expected);
    assert_eq!(read(stream(&chunks).trim_end()), expected, "without the empty line at the end");
    assert_eq!(read(stream(&chunks).trim_end_matches("data: [DONE]\n\n")), expected, "without the end, as llama.cpp");
}

#[test]
fn tools_as_openai_streams_them() {
    let found = inner(
        &[
            r#"{"role":"assistant","content":null}"#,
            r#"{"content":"Let me see."}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"\"}\"}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#,
        ],
        "tool_calls",
    );
    assert_eq!(
        found,
        [
            "text 0 Let me see.",
            "end 0",
            "tool 1 a f",
            "arguments 1 {\"x\":",
            "arguments 1 \"}\"}",
            "end 1",
            "tool 2 b g",
            "arguments 2 {}",
            "end 2",
            "stop tool_use"
        ]
    );
}

#[test]
fn calls_come_in_many_ways() {
    let two = ["tool 0 a f", "arguments 0 {\"x\":1}", "end 0", "tool 1 b g", "arguments 1 {}", "end 1", "stop tool_use"];
    let whole_f = r#""type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}"#;
    let whole_g = r#""type":"function","function":{"name":"g","arguments":"{}"}}"#;
    let cases = [
        ("whole, in one chunk", vec![format!(r#"{{"tool_calls":[{{"index":0,"id":"a",{whole_f},{{"index":1,"id":"b",{whole_g}]}}"#)]),
        (
            "whole, one after the other",
            vec![format!(r#"{{"tool_calls":[{{"index":0,"id":"a",{whole_f}]}}"#), format!(r#"{{"tool_calls":[{{"index":1,"id":"b",{whole_g}]}}"#)],
        ),
        (
            "all of index 0",
            vec![format!(r#"{{"tool_calls":[{{"index":0,"id":"a",{whole_f}]}}"#), format!(r#"{{"tool_calls":[{{"index":0,"id":"b",{whole_g}]}}"#)],
        ),
        ("without an index", vec![format!(r#"{{"tool_calls":[{{"id":"a",{whole_f},{{"id":"b",{whole_g}]}}"#)]),
        (
            "indexes out of order",
            vec![format!(r#"{{"tool_calls":[{{"index":1,"id":"a",{whole_f}]}}"#), format!(r#"{{"tool_calls":[{{"index":0,"id":"b",{whole_g}]}}"#)],
        ),
    ];
    for (what, list) in cases {
        assert_eq!(inner(&list.iter().map(String::as_str).collect::<Vec<_>>(), "tool_calls"), two, "{what}");
        assert_eq!(inner(&list.iter().map(String::as_str).collect::<Vec<_>>(), "stop"), two, "{what}, ended by stop");
    }
}

#[test]
fn pieces_find_their_call() {
    for (what, list) in [
        (
            "id and name in each piece",
            vec![
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":":1}"}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}"#,
            ],
        ),
        (
            "an id of its own in each piece",
            vec![
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"a1","function":{"arguments":"{\"x\""}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"a2","function":{"arguments":":1}"}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"a3","function":{"arguments":""}}]}"#,
            ],
        ),
        (
            "no index, and the id once",
            vec![
                r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":""}}]}"#,
                r#"{"tool_calls":[{"function":{"arguments":"{\"x\""}}]}"#,
                r#"{"tool_calls":[{"id":null,"function":{"name":null,"arguments":":1}"}}]}"#,
            ],
        ),
        (
            "the name behind the id",
            vec![
                r#"{"tool_calls":[{"index":0,"id":"a"}]}"#,
                r#"{"tool_calls":[{"index":0,"function":{"name":"f"}}]}"#,
                r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\""}}]}"#,
                r#"{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}"#,
            ],
        ),
    ] {
        assert_eq!(inner(&list, "tool_calls"), ["tool 0 a f", "arguments 0 {\"x\"", "arguments 0 :1}", "end 0", "stop tool_use"], "{what}");
    }
    let split = [
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"get_"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"name":"weather"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#,
    ];
    assert_eq!(inner(&split, "tool_calls"), ["tool 0 a get_weather", "arguments 0 {}", "end 0", "stop tool_use"]);
}

#[test]
fn ids_are_made_where_there_are_none() {
    let list = [
        r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"f","arguments":"{\"x\":2}"}}]}"#,
        r#"{"tool_calls":[{"function":{"name":"g","arguments":{"y":3}}}]}"#,
    ];
    assert_eq!(
        inner(&list, "stop"),
        [
            "tool 0 call_0 f",
            "arguments 0 {\"x\":1}",
            "end 0",
            "tool 1 call_1 f",
            "arguments 1 {\"x\":2}",
            "end 1",
            "tool 2 call_2 g",
            "arguments 2 {\"y\":3}",
            "end 2",
            "stop tool_use"
        ]
    );
}

#[test]
fn trap_08_a_call_without_arguments_is_a_call() {
    let list = [r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}"#];
    assert_eq!(inner(&list, "tool_calls"), ["tool 0 a f", "end 0", "stop tool_use"]);
    let list = [
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}},{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        r#"{"content":"text"}"#,
    ];
    assert_eq!(
        inner(&list, "tool_calls"),
        ["tool 0 a f", "end 0", "tool 1 b g", "arguments 1 {}", "end 1", "text 2 text", "end 2", "stop tool_use"],
        "nobody knows that there are none before the end"
    );
}

#[test]
fn mixed_pieces_are_put_in_order() {
    let list = [
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\""}}]}"#,
        r#"{"content":"so"}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"}"}},{"index":1,"function":{"arguments":":2}"}}]}"#,
        r#"{"content":" be it"}"#,
    ];
    assert_eq!(
        inner(&list, "tool_calls"),
        [
            "tool 0 a f",
            "arguments 0 {",
            "arguments 0 }",
            "end 0",
            "tool 1 b g",
            "arguments 1 {\"y\"",
            "arguments 1 :2}",
            "end 1",
            "text 2 so",
            "text 2  be it",
            "end 2",
            "stop tool_use"
        ]
    );
    let broken = [r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#, r#"{"content":"so"}"#, r#"{"content":"!"}"#];
    assert_eq!(inner(&broken, "length"), ["tool 0 a f", "arguments 0 {", "end 0", "text 1 so!", "end 1", "stop max_tokens"]);
}

#[test]
fn thoughts_and_texts_have_blocks_of_their_own() {
    let list = [
        r#"{"role":"assistant","reasoning_content":"h"}"#,
        r#"{"reasoning_content":"m","content":""}"#,
        r#"{"reasoning_content":null,"content":"a"}"#,
        r#"{"reasoning":"again","content":"b"}"#,
        r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"x"}]},{"type":"text","text":"y"}]}"#,
        r#"{"refusal":"no"}"#,
    ];
    assert_eq!(
        inner(&list, "stop"),
        [
            "thought 0 h",
            "thought 0 m",
            "end 0",
            "text 1 a",
            "end 1",
            "thought 2 again",
            "end 2",
            "text 3 b",
            "end 3",
            "thought 4 x",
            "end 4",
            "text 5 y",
            "text 5 no",
            "end 5",
            "stop end_turn"
        ]
    );
}

#[test]
fn deprecated_calls_are_calls() {
    let list = [r#"{"function_call":{"name":"f","arguments":""}}"#, r#"{"function_call":{"arguments":"{\"x\":"}}"#, r#"{"function_call":{"arguments":"1}"}}"#];
    assert_eq!(inner(&list, "function_call"), ["tool 0 call_0 f", "arguments 0 {\"x\":", "arguments 0 1}", "end 0", "stop tool_use"]);
}

#[test]
fn a_call_without_a_name_is_no_call() {
    let list = [r#"{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{}"}}]}"#];
    assert_eq!(inner(&list, "tool_calls"), ["unknown", "stop malformed_tool_use"]);
    assert_eq!(inner(&[r#"{"content":"a","tool_calls":[]}"#], "tool_calls"), ["text 0 a", "end 0", "stop end_turn"]);
}

#[test]
fn trap_13_names_are_restored() {
    let restore = Restore { names: vec![("f_1".to_owned(), "f.1".to_owned())], ..Restore::default() };
    let text = deltas(&[r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f_1","arguments":"{}"}}]}"#], "tool_calls");
    assert_eq!(feed(&[text.as_bytes()], &restore)[1], "tool 0 a f.1");
}

#[test]
fn azure_and_gemini_and_vllm_count_where_they_like() {
    let azure = [
        r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false}}}]}"#,
        r#"{"choices":[{"content_filter_results":{},"delta":{"content":"","role":"assistant"},"finish_reason":null,"index":0}]}"#,
        r#"{"choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"delta":{"content":"Hi"},"finish_reason":null,"index":0}]}"#,
        r#"{"choices":[{"content_filter_results":{},"delta":{},"finish_reason":"stop","index":0}]}"#,
        r#"{"choices":[{"content_filter_offsets":{"check_offset":1},"content_filter_results":{},"finish_reason":null,"index":0}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#,
    ];
    assert_eq!(read(&stream(&azure)), ["start", "text 0 Hi", "end 0", "stop end_turn", "usage 3+0+1=4", "complete"]);
    let gemini = [
        r#"{"choices":[{"delta":{"content":"Hi","role":"assistant"},"index":0}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#,
        r#"{"choices":[{"delta":{"content":"!","role":"assistant"},"finish_reason":"stop","index":0}],"usage":{"completion_tokens":2,"prompt_tokens":3,"total_tokens":9}}"#,
    ];
    assert_eq!(read(&stream(&gemini)), ["start", "text 0 Hi", "text 0 !", "end 0", "stop end_turn", "usage 3+0+6=9", "complete"]);
    let vllm = [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}],"usage":{"prompt_tokens":3,"total_tokens":4,"completion_tokens":1}}"#,
        r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop","stop_reason":"END"}],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2}}"#,
    ];
    assert_eq!(read(&stream(&vllm)), ["start", "text 0 Hi", "end 0", "stop stop_sequence END", "usage 3+0+2=5", "complete"], "told once");
    let early = [
        r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    ];
    assert_eq!(read(&stream(&early)), ["start", "text 0 Hi", "end 0", "stop end_turn", "usage 3+0+1=4", "complete"]);
    let moonshot = [r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":1,"cached_tokens":2}}]}"#];
    assert_eq!(read(&stream(&moonshot)), ["start", "stop end_turn", "usage 1+2+1=4", "complete"]);
}

#[test]
fn trap_01_errors_inside_a_stream_end_it() {
    let failed = "failed 500 m";
    for error in
        [r#"{"error":{"message":"m","type":"server_error"}}"#, r#"[{"error":{"message":"m","code":500}}]"#, r#"{"object":"error","message":"m","code":500}"#]
    {
        let text = stream(&[r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#, error, r#"{"choices":[{"index":0,"delta":{"content":"!"}}]}"#]);
        assert_eq!(read(&text), ["start", "text 0 Hi", failed, "broken 500 m"], "{error}");
        assert_eq!(read(&stream(&[error])), [failed, "broken 500 m"]);
    }
    let router = r#"{"error":{"code":502,"message":"m"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#;
    assert_eq!(read(&stream(&[router])), ["failed 502 m", "broken 502 m"]);
    let found = read(&stream(&[r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"error"}]}"#]));
    assert_eq!(found[1..3], ["text 0 Hi", "failed 502 the model failed while it worked on the request"]);
}

#[test]
fn trap_03_what_breaks_off_is_not_complete() {
    let hi = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let stop = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for (text, last) in [
        (String::new(), "broken 502 the model provider's stream was empty"),
        (": nothing\n\n".to_owned(), "broken 502 the model provider's stream was empty"),
        (hi.to_owned(), "broken 502 the model provider's stream ended before the answer did"),
        (format!("{hi}{stop}"), "complete"),
        (format!("{hi}{stop}data: [DONE]"), "complete"),
        (format!("{hi}{stop}data: [DO"), "broken 502 the model provider's stream broke off in the middle of an event"),
        (format!("{hi}{stop}data: {{\"choices\":[],\"us"), "broken 502 the model provider's stream broke off in the middle of an event"),
        (format!("{hi}data: {{\"cho"), "broken 502 the model provider's stream broke off in the middle of an event"),
        (format!("{hi}data: [DONE]\n\n"), "broken 502 the model provider's stream ended before the answer did"),
        ("data: [DONE]\n\n".to_owned(), "broken 502 the model provider's stream was empty"),
        (format!("{hi}data: <html>\n\n{stop}"), "broken 502 a chunk of the model provider's stream could not be read"),
        (format!("{hi}data: {{\"choices\":[1]}}\n\n{stop}"), "broken 502 a chunk of the model provider's stream could not be read"),
        (format!("{hi}{stop}{hi}"), "complete"),
        (format!("{hi}{stop}data: [DONE]\n\ndata: nonsense\n\n"), "complete"),
    ] {
        assert_eq!(read(&text).last().map(String::as_str), Some(last), "{text}");
    }
}

#[test]
fn only_the_choice_of_the_index_0_counts() {
    let chunks = [
        r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
    ];
    assert_eq!(read(&stream(&chunks)), ["start", "text 0 a", "end 0", "stop max_tokens", "complete"]);
}

#[test]
fn a_failed_decoder_stays_failed() {
    let mut decoder = Decoder::new(Restore::default());
    let mut count = 0;
    for _ in 0..3 {
        decoder.push(b"data: nonsense\n\n", &mut |_| count += 1);
    }
    assert_eq!(count, 1);
    assert!(matches!(decoder.finish(), End::Failed(_)));
    assert!(matches!(decoder.finish(), End::Failed(_)));
}

#[test]
fn a_tap_hears_what_matters() {
    let chunks = [
        r#"{"choices":[{"index":0,"delta":{"content":"\"usage\":{\"prompt_tokens\":99}, \"finish_reason\":\"length\""},"finish_reason":null}],"usage":null}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":null}"#,
        r#"{"choices":[],"usage" : {"prompt_tokens":3,"completion_tokens":1}}"#,
    ];
    let text = stream(&chunks);
    for size in 1..=text.len() {
        let mut tap = UsageTap::new();
        for piece in text.as_bytes().chunks(size) {
            assert!(!tap.is_done());
            tap.push(piece);
        }
        let usage = tap.usage().unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens, tap.stop(), tap.is_done()), (3, 1, Some("tool_use"), true), "{size}");
    }
    let mut tap = UsageTap::new();
    tap.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}],\"usage\":null}\n\ndata: nonsense \"usage\":{\n\ndata: \xff\n\n");
    assert_eq!((tap.usage(), tap.stop(), tap.is_done()), (None, None, false));
}

fn delta() -> impl Strategy<Value = String> {
    let arguments = prop::sample::select(vec!["", "{", "}", "{}", r#"{\"a\":"#, r#"\"b\""#, r"\\", "[", "]"]);
    let id = prop::sample::select(vec!["", r#""id":"a","#, r#""id":"b","#, r#""id":"","#]);
    let index = prop::sample::select(vec!["", r#""index":0,"#, r#""index":1,"#, r#""index":-1,"#]);
    let name = prop::sample::select(vec!["", r#""name":"f","#, r#""name":"g","#, r#""name":"","#]);
    prop_oneof![
        (index, id, name, arguments)
            .prop_map(|(index, id, name, arguments)| format!(r#"{{"tool_calls":[{{{index}{id}"function":{{{name}"arguments":"{arguments}"}}}}]}}"#)),
        ".{0,3}".prop_map(|text| serde_json::json!({ "content": text }).to_string()),
        ".{0,3}".prop_map(|text| serde_json::json!({ "reasoning_content": text }).to_string()),
        Just(r#"{"function_call":{"name":"f","arguments":"{}"}}"#.to_owned()),
    ]
}

proptest! {
    /// Whatever comes, blocks are numbered upwards, one is open at a time, and deltas belong to the open one.
    #[test]
    fn blocks_follow_one_another(list in prop::collection::vec(delta(), 0..12), size in 1_usize..50) {
        let text = deltas(&list.iter().map(String::as_str).collect::<Vec<_>>(), "stop");
        let mut decoder = Decoder::new(Restore::default());
        let (mut open, mut next, mut stopped, mut said) = (None, 0, false, String::new());
        for piece in text.as_bytes().chunks(size) {
            decoder.push(piece, &mut |event| {
                match &event {
                    Event::TextDelta { block, .. } | Event::ReasoningDelta { block, .. } | Event::ToolStart { block, .. } if open != Some(*block) => {
                        assert_eq!((open, *block), (None, next));
                        open = Some(*block);
                        next += 1;
                    }
                    Event::ToolDelta { block, .. } => assert_eq!(open, Some(*block)),
                    Event::BlockStop { block } => assert_eq!(open.take(), Some(*block)),
                    Event::Stop { .. } => {
                        assert!(open.is_none() && !stopped);
                        stopped = true;
                    }
                    _ => {}
                }
                if let Event::TextDelta { text, .. } = &event {
                    said.push_str(&text.unescape());
                }
            });
        }
        prop_assert!(stopped && matches!(decoder.finish(), End::Complete));
        let wanted: String = list.iter().filter_map(|delta| serde_json::from_str::<serde_json::Value>(delta).ok()?["content"].as_str().map(str::to_owned)).collect();
        prop_assert_eq!(said, wanted);
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(prop_oneof![Just(b"data: ".to_vec()), Just(b"\n\n".to_vec()), Just(b"{\"choices\":[".to_vec()), Just(b"]}".to_vec()), any::<Vec<u8>>()], 0..20)) {
        let bytes = bytes.concat();
        let mut decoder = Decoder::new(Restore::default());
        decoder.push(&bytes, &mut |_| {});
        let _ = decoder.finish();
        UsageTap::new().push(&bytes);
    }
}
