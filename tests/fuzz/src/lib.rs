//! What the fuzz targets have in common: a request goes to every kind of target, an answer to every kind of client, and streams are cut in pieces.
//!
//! Targets are named after what they read. Inputs of streams are scripts, so that the fuzzer need not know framing or checksums: a byte for the size of the
//! pieces that the stream is cut into, then `kind, length (2), bytes` again and again.

use adit::chat::capability::Capabilities;
use adit::chat::{Envelope, Options, Policy, Restore, Unknown, Unsupported};
use adit::dialect::{Surface, anthropic, converse, openai};
use adit::translate::stream::Flow;
use adit::translate::{Api, Client, Question, Target, Translation};
use adit::wire::eventstream::{Frame, write_frame};
use adit::wire::sse;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Targets of all kinds: the API that they speak, and the model.
const TARGETS: [(Api, &str); 12] = [
    (Api::Converse, "anthropic.claude-3-haiku-20240307-v1:0"),
    (Api::Converse, "anthropic.claude-3-7-sonnet-20250219-v1:0"),
    (Api::Converse, "anthropic.claude-opus-4-8"),
    (Api::Converse, "amazon.nova-2-lite-v1:0"),
    (Api::Converse, "amazon.titan-text-express-v1"),
    (Api::Converse, "mistral.mixtral-8x7b-instruct-v0:1"),
    (Api::Converse, "deepseek.v3-v1:0"),
    (Api::Anthropic, "claude-sonnet-4-5"),
    (Api::Anthropic, "claude-opus-5-5"),
    (Api::OpenAi, "gpt-4o"),
    (Api::OpenAi, "gpt-5.2"),
    (Api::OpenAi, "google/gemini-3-pro"),
];

/// Makes sure that this is one JSON object. Numbers that no double holds and half a surrogate pair are JSON too, and move as they stand.
pub fn assert_object(json: &[u8]) {
    serde_json::from_slice::<IgnoredAny>(json).expect("it is JSON");
    assert!(json.starts_with(b"{") && std::str::from_utf8(json).is_ok());
}

/// A request body: it is read or refused, and what is written for any target is a JSON object.
pub fn request(surface: Surface, body: &[u8]) {
    let Ok(body) = std::str::from_utf8(body) else { return };
    let Ok(question) = Question::decode(surface, "model", body) else { return };
    for (api, model) in TARGETS {
        let capabilities = Capabilities::of(model);
        for policy in [Policy::default(), Policy { unsupported: Unsupported::Reject, unknown: Unknown::Reject }] {
            let options = Options { model, family: model, capabilities: &capabilities, policy, default_max_tokens: None, stream: question.stream };
            let target = Target { api, options, guardrail: None };
            for encoded in [question.encode(&target), question.encode_count(&target)].into_iter().flatten() {
                assert_object(&encoded.body);
            }
        }
    }
}

fn translations(api: Api) -> [Translation; 7] {
    let request = r#"{"model":"m","input":"x","tools":[{"type":"custom","name":"a.b"}],"reasoning":{"summary":"auto"}}"#;
    let clients = [
        Client::OpenAi(openai::Style { include_usage: true, legacy_functions: false }),
        Client::OpenAi(openai::Style { include_usage: false, legacy_functions: true }),
        Client::Completions(openai::completions::Style { n: 1, include_usage: true, echo: vec!["x".to_owned()].into() }),
        Question::decode(Surface::Responses, "m", request).expect("it is a request").client,
        Client::Anthropic(anthropic::Style { stop: vec!["END".to_owned()] }),
        Client::Invoke(anthropic::Style::default()),
        Client::Converse(converse::Style { stop_sequence: true }),
    ];
    clients.map(|client| {
        let envelope = Envelope { id: "fuzz".to_owned(), model: "model".to_owned(), created: 1 };
        let names = vec![("a_b".to_owned(), "a.b".to_owned())];
        Translation { envelope, client, api, restore: Restore { names, format_tool: Some("json_answer".to_owned()), unwrap: true } }
    })
}

/// A whole answer: it is read or refused, and what any client gets is a JSON object.
pub fn answer(api: Api, body: &[u8]) {
    for translation in translations(api) {
        let mut out = Vec::new();
        if translation.body(body, 7, &mut out).is_ok() {
            assert_object(&out);
        }
    }
    // An error body is never too odd to be read.
    for status in [200, 400, 429, 500] {
        let _ = api.error(status, None, None, body);
    }
}

/// A streamed answer: any client gets the same however it is cut, and whole events that end in success or failure.
pub fn stream(api: Api, stream: &[u8], size: u8) {
    for translation in translations(api) {
        let whole = run(&translation, std::iter::once(stream));
        let cut = run(&translation, stream.chunks(usize::from(size).max(1)));
        assert!(whole == cut, "the same at every cut");
        match &translation.client {
            Client::OpenAi(_) | Client::Completions(_) => openai_events(&whole),
            Client::Responses(_) => responses_events(&whole),
            Client::Anthropic(_) => anthropic_events(&whole),
            Client::Invoke(_) | Client::Converse(_) => frames(&whole),
        }
    }
}

fn run<'c>(translation: &Translation, pieces: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut flow = Flow::Translated(translation.stream());
    let mut out = Vec::new();
    pieces.for_each(|piece| flow.push(piece, 7, &mut out));
    flow.finish(&mut out);
    out
}

/// What is read of a chunk.
#[derive(Deserialize)]
struct Chunk {
    error: Option<IgnoredAny>,
}

/// What is read of one of Anthropic's events.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    index: Option<u64>,
}

fn openai_events(body: &[u8]) {
    let text = std::str::from_utf8(body).expect("SSE is UTF-8");
    let mut over = false;
    for event in text.split_terminator("\n\n") {
        assert!(!over, "nothing follows the end");
        let data = event.strip_prefix("data: ").expect("data");
        over = data == "[DONE]";
        if !over {
            over = serde_json::from_str::<Chunk>(data).expect("events are JSON").error.is_some();
        }
    }
    assert!(over, "there is an end");
}

/// What is read of an event of Responses.
#[derive(Deserialize)]
struct Numbered<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    sequence_number: usize,
}

fn responses_events(body: &[u8]) {
    let text = std::str::from_utf8(body).expect("SSE is UTF-8");
    let mut over = false;
    for (number, event) in text.split_terminator("\n\n").enumerate() {
        assert!(!over, "nothing follows the end");
        let (name, data) = event.split_once("\ndata: ").expect("data");
        let Numbered { kind, sequence_number } = serde_json::from_str(data).expect("events are JSON");
        assert_eq!((name.strip_prefix("event: "), sequence_number), (Some(kind), number));
        over = matches!(kind, "response.completed" | "response.incomplete" | "response.failed");
    }
    assert!(over, "there is an end");
}

fn anthropic_events(body: &[u8]) {
    let text = std::str::from_utf8(body).expect("SSE is UTF-8");
    let (mut over, mut next, mut open) = (false, 0, None);
    for event in text.split_terminator("\n\n") {
        assert!(!over, "nothing follows the end");
        let (name, data) = event.split_once("\ndata: ").expect("data");
        let Event { kind, index } = serde_json::from_str(data).expect("events are JSON");
        assert_eq!(name.strip_prefix("event: "), Some(kind));
        match kind {
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(next)));
                open = Some(next);
                next += 1;
            }
            "content_block_delta" => assert!(open.is_some() && index == open),
            "content_block_stop" => assert!(open.is_some() && index == open.take()),
            "message_stop" | "error" => over = true,
            _ => {}
        }
    }
    assert!(over, "there is an end");
}

fn frames(mut body: &[u8]) {
    assert!(!body.is_empty(), "there is an end");
    while !body.is_empty() {
        let (frame, length) = Frame::parse(body).expect("frames can be read").expect("frames are whole");
        assert_object(frame.payload);
        body = &body[length..];
    }
}

/// Headers of the frames of a ConverseStream by kind: type, name.
const FRAMES: [(&str, &str, &str); 10] = [
    (":event-type", "messageStart", "event"),
    (":event-type", "contentBlockStart", "event"),
    (":event-type", "contentBlockDelta", "event"),
    (":event-type", "contentBlockStop", "event"),
    (":event-type", "messageStop", "event"),
    (":event-type", "metadata", "event"),
    (":event-type", "somethingNew", "event"),
    (":exception-type", "throttlingException", "exception"),
    (":exception-type", "somethingNewException", "exception"),
    (":error-code", "InternalFailure", "error"),
];

/// A ConverseStream: a piece is the payload of the frame that its kind says, or bytes that are no frame.
#[must_use]
pub fn converse_stream(script: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pieces(script, |kind, piece| match FRAMES.get(usize::from(kind) % (FRAMES.len() + 1)) {
        Some((header, name, message)) => write_frame(&mut out, &[(header, name), (":content-type", "application/json"), (":message-type", message)], piece),
        None => out.extend_from_slice(piece),
    });
    out
}

/// Server-sent events: a piece is the data of one without a name, or bytes of any kind.
#[must_use]
pub fn events(script: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pieces(script, |kind, piece| {
        if kind.is_multiple_of(4) {
            out.extend_from_slice(&line_ends(piece));
            return;
        }
        sse::write_data(&mut out, |out| out.extend(piece.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })));
    });
    out
}

/// Bytes whose carriage returns all stand before a line feed. Of a lone one at the end of a piece nobody knows whether it is one.
#[must_use]
pub fn line_ends(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter().peekable();
    while let Some(&byte) = bytes.next() {
        out.push(byte);
        if byte == b'\r' && bytes.peek() != Some(&&b'\n') {
            out.push(b'\n');
        }
    }
    out
}

/// Cuts a script into its pieces.
pub fn pieces(mut script: &[u8], mut each: impl FnMut(u8, &[u8])) {
    while let Some(([kind, high, low], rest)) = script.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        script = rest;
        each(*kind, piece);
    }
}
