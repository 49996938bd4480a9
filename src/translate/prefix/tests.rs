use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};

use proptest::prelude::*;
use proptest::{collection, option};
use serde_json::{Value, json};

use super::*;
use crate::chat::Role;
use crate::dialect::Surface;
use crate::translate::Question;
use crate::wire::json::Raw;

/// The same key for every test: what is compared was hashed here.
type Fixed = BuildHasherDefault<DefaultHasher>;

fn of(request: &Request<'_>) -> Vec<CachedPrefix> {
    prefixes(request, &Fixed::default())
}

fn of_body(surface: Surface, body: &Value) -> Vec<CachedPrefix> {
    let body = body.to_string();
    let question = Question::decode(surface, "m", &body).unwrap_or_else(|error| panic!("{surface:?}: {error:?}\n{body}"));
    let found = of(&question.request);
    assert!(found.is_empty() || may_mark(body.as_bytes()), "the look at the bytes missed a marker");
    found
}

fn marked(prefixes: &[CachedPrefix]) -> Vec<u64> {
    prefixes.iter().filter(|prefix| prefix.ttl.is_some()).map(|prefix| prefix.hash).collect()
}

/// A body of one dialect with three markers: behind the tool `f`, the instructions and the first question.
struct Case {
    surface: Surface,
    body: Value,
    /// What the model sees before the first, the second, the third marker: JSON pointers, to strings.
    before: [&'static [&'static str]; 3],
    /// What stands behind all of them.
    behind: &'static [&'static str],
}

fn cases() -> [Case; 4] {
    let schema = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    let mark = json!({"type": "ephemeral"});
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    let point = json!({"cachePoint": {"type": "default"}});
    let messages = json!({
        "model": "m", "max_tokens": 9,
        "tools": [{"name": "f", "description": "does", "input_schema": schema, "cache_control": hour}, {"name": "g", "input_schema": schema}],
        "system": [{"type": "text", "text": "be"}, {"type": "text", "text": "brief", "cache_control": hour}],
        "messages": [
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "document", "title": "t", "context": "c", "source": {"type": "text", "media_type": "text/plain", "data": "text"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "seal"}, {"type": "redacted_thinking", "data": "BBBB"},
                {"type": "tool_use", "id": "id", "name": "f", "input": {"x": "1"}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "id", "content": [{"type": "text", "text": "found"}]}]},
            {"role": "user", "content": [
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "said"}]},
                {"type": "text", "text": "why", "cache_control": mark}, {"type": "text", "text": "now"},
            ]},
            {"role": "assistant", "content": "because"},
        ],
    });
    let mut invoke = messages.clone();
    let members = invoke.as_object_mut().expect("an object");
    members.remove("model");
    members.insert("anthropic_version".to_owned(), json!("bedrock-2023-05-31"));
    let anthropic = |surface, body| Case {
        surface,
        body,
        before: [
            &["/tools/0/name", "/tools/0/description", "/tools/0/input_schema/properties/x/type"],
            &["/tools/1/name", "/tools/1/input_schema/properties/x/type", "/system/0/text", "/system/1/text"],
            &[
                "/messages/0/content/0/source/media_type",
                "/messages/0/content/0/source/data",
                "/messages/0/content/1/title",
                "/messages/0/content/1/context",
                "/messages/0/content/1/source/data",
                "/messages/1/content/0/thinking",
                "/messages/1/content/0/signature",
                "/messages/1/content/1/data",
                "/messages/1/content/2/id",
                "/messages/1/content/2/name",
                "/messages/1/content/2/input/x",
                "/messages/2/content/0/tool_use_id",
                "/messages/2/content/0/content/0/text",
                "/messages/3/content/0/source",
                "/messages/3/content/0/title",
                "/messages/3/content/0/content/0/text",
                "/messages/3/content/1/text",
            ],
        ],
        behind: &["/messages/3/content/2/text", "/messages/4/content"],
    };
    let openai = Case {
        surface: Surface::ChatCompletions,
        body: json!({
            "model": "m",
            "tools": [
                {"type": "function", "function": {"name": "f", "description": "does", "parameters": schema}, "cache_control": hour},
                {"type": "function", "function": {"name": "g"}},
            ],
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "be"}, {"type": "text", "text": "brief", "cache_control": hour}]},
                {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"filename": "n", "file_data": "BBBB"}},
                ]},
                {"role": "assistant", "content": "let me see", "reasoning_content": "hm", "reasoning_signature": "seal", "tool_calls": [
                    {"id": "id", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "id", "content": "found"},
                {"role": "user", "content": [{"type": "text", "text": "why", "prompt_cache_breakpoint": {"mode": "explicit"}}, {"type": "text", "text": "now"}]},
                {"role": "assistant", "content": "because"},
            ],
        }),
        before: [
            &["/tools/0/function/name", "/tools/0/function/description", "/tools/0/function/parameters/properties/x/type"],
            &["/tools/1/function/name", "/messages/0/content/0/text", "/messages/0/content/1/text"],
            &[
                "/messages/1/content/0/image_url/url",
                "/messages/1/content/1/input_audio/data",
                "/messages/1/content/1/input_audio/format",
                "/messages/1/content/2/file/filename",
                "/messages/1/content/2/file/file_data",
                "/messages/2/content",
                "/messages/2/reasoning_content",
                "/messages/2/reasoning_signature",
                "/messages/2/tool_calls/0/id",
                "/messages/2/tool_calls/0/function/name",
                "/messages/2/tool_calls/0/function/arguments",
                "/messages/3/tool_call_id",
                "/messages/3/content",
                "/messages/4/content/0/text",
            ],
        ],
        behind: &["/messages/4/content/1/text", "/messages/5/content"],
    };
    let converse = Case {
        surface: Surface::Converse,
        body: json!({
            "toolConfig": {"tools": [
                {"toolSpec": {"name": "f", "description": "does", "inputSchema": {"json": schema}}}, {"cachePoint": {"type": "default", "ttl": "1h"}},
                {"toolSpec": {"name": "g", "inputSchema": {"json": schema}}},
            ]},
            "system": [{"text": "be"}, {"text": "brief"}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
            "messages": [
                {"role": "user", "content": [
                    {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                    {"document": {"format": "txt", "name": "n", "context": "c", "source": {"s3Location": {"uri": "s3://b/k"}}}},
                ]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "seal"}}}, {"reasoningContent": {"redactedContent": "BBBB"}},
                    {"toolUse": {"toolUseId": "id", "name": "f", "input": {"x": "1"}}},
                ]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "id", "status": "error", "content": [{"text": "found"}, {"json": {"y": "2"}}]}}]},
                {"role": "assistant", "content": [{"text": "so"}]},
                {"role": "user", "content": [{"text": "why"}, point, {"text": "now"}]},
                {"role": "assistant", "content": [{"text": "because"}]},
            ],
        }),
        before: [
            &["/toolConfig/tools/0/toolSpec/name", "/toolConfig/tools/0/toolSpec/description", "/toolConfig/tools/0/toolSpec/inputSchema/json/type"],
            &["/toolConfig/tools/2/toolSpec/name", "/system/0/text", "/system/1/text"],
            &[
                "/messages/0/content/0/image/source/bytes",
                "/messages/0/content/1/document/name",
                "/messages/0/content/1/document/context",
                "/messages/0/content/1/document/source/s3Location/uri",
                "/messages/1/content/0/reasoningContent/reasoningText/text",
                "/messages/1/content/0/reasoningContent/reasoningText/signature",
                "/messages/1/content/1/reasoningContent/redactedContent",
                "/messages/1/content/2/toolUse/toolUseId",
                "/messages/1/content/2/toolUse/name",
                "/messages/1/content/2/toolUse/input/x",
                "/messages/2/content/0/toolResult/toolUseId",
                "/messages/2/content/0/toolResult/content/0/text",
                "/messages/2/content/0/toolResult/content/1/json/y",
                "/messages/3/content/0/text",
                "/messages/4/content/0/text",
            ],
        ],
        behind: &["/messages/4/content/2/text", "/messages/5/content/0/text"],
    };
    [anthropic(Surface::Messages, messages), anthropic(Surface::Invoke, invoke), openai, converse]
}

/// The same body with one string changed, into one that every member of these takes.
fn edited(body: &Value, pointer: &str) -> Value {
    let mut edited = body.clone();
    let place = edited.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
    let text = place.as_str().unwrap_or_else(|| panic!("no string at {pointer}"));
    let new = match text {
        "AAAA" => "AAAB".to_owned(),
        "image/png" => "image/gif".to_owned(),
        "{}" => "{ }".to_owned(),
        text => format!("{text}2"),
    };
    *place = new.into();
    edited
}

#[test]
fn every_dialect_what_stands_before_a_marker_counts_and_what_stands_behind_does_not() {
    for Case { surface, body, before, behind } in cases() {
        let found = of_body(surface, &body);
        let ttls: Vec<Duration> = found.iter().filter_map(|prefix| prefix.ttl).collect();
        assert_eq!(ttls, [ONE_HOUR, ONE_HOUR, FIVE_MINUTES], "{surface:?}");
        assert!(found.last().is_some_and(|last| last.ttl.is_some()), "{surface:?}: nothing behind the last marker");
        let distinct: HashSet<u64> = found.iter().map(|prefix| prefix.hash).collect();
        assert_eq!(distinct.len(), found.len(), "{surface:?}");

        for pointer in behind {
            assert_eq!(of_body(surface, &edited(&body, pointer)), found, "{surface:?} {pointer}");
        }
        let all = marked(&found);
        for (section, pointers) in before.iter().enumerate() {
            for pointer in *pointers {
                let changed = marked(&of_body(surface, &edited(&body, pointer)));
                assert_eq!(changed[..section], all[..section], "{surface:?} {pointer}: the prefixes before it");
                assert!(changed[section..].iter().zip(&all[section..]).all(|(changed, old)| changed != old), "{surface:?} {pointer}: the prefixes behind it");
            }
        }
    }
}

#[test]
fn every_dialect_parameters_and_the_model_are_no_part_of_the_prompt() {
    for Case { surface, body, .. } in cases() {
        let mut other = body.clone();
        let members = other.as_object_mut().expect("an object");
        if surface == Surface::Converse {
            members.insert("inferenceConfig".to_owned(), json!({"maxTokens": 3, "temperature": 0.5}));
            members["toolConfig"]["toolChoice"] = json!({"any": {}});
        } else {
            members.insert("temperature".to_owned(), json!(0.5));
            members.insert("tool_choice".to_owned(), if surface == Surface::ChatCompletions { json!("required") } else { json!({"type": "any"}) });
        }
        if members.contains_key("model") {
            members.insert("model".to_owned(), json!("other"));
        }
        assert_eq!(of_body(surface, &other), of_body(surface, &body), "{surface:?}");
    }
}

/// A text block of a dialect, marked or not.
fn block(surface: Surface, text: &str, mark: bool) -> Vec<Value> {
    match (surface, mark) {
        (Surface::Converse, false) => vec![json!({"text": text})],
        (Surface::Converse, true) => vec![json!({"text": text}), json!({"cachePoint": {"type": "default"}})],
        (_, false) => vec![json!({"type": "text", "text": text})],
        (_, true) => vec![json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})],
    }
}

/// A conversation of so many messages, some of them marked at their end.
fn conversation(surface: Surface, messages: usize, marked: &[usize]) -> Value {
    let message = |at: usize| json!({"role": if at.is_multiple_of(2) { "user" } else { "assistant" }, "content": block(surface, &format!("text {at}"), marked.contains(&at))});
    let mut body = json!({"messages": (0..messages).map(message).collect::<Vec<Value>>()});
    match surface {
        Surface::Converse => {}
        Surface::Invoke => {
            body["anthropic_version"] = json!("bedrock-2023-05-31");
            body["max_tokens"] = json!(9);
        }
        _ => {
            body["model"] = json!("m");
            body["max_tokens"] = json!(9);
        }
    }
    body
}

const SURFACES: [Surface; 4] = [Surface::ChatCompletions, Surface::Messages, Surface::Invoke, Surface::Converse];

#[test]
fn every_dialect_a_conversation_that_grows_keeps_its_prefixes() {
    for surface in SURFACES {
        let first = of_body(surface, &conversation(surface, 1, &[0]));
        assert_eq!(first.len(), 1);
        // The marker stays and another one comes; it moves on; what has been asked before is all that is marked.
        for marks in [&[0, 2][..], &[2], &[0]] {
            let grown = of_body(surface, &conversation(surface, 3, marks));
            assert_eq!(grown[0].hash, first[0].hash, "{surface:?} {marks:?}");
            assert_eq!(grown[0].ttl.is_some(), marks.contains(&0));
            assert_eq!(marked(&grown).len(), marks.len());
        }
        let other = of_body(surface, &conversation(surface, 2, &[1]));
        let grown = of_body(surface, &conversation(surface, 3, &[2]));
        assert_eq!(other[..], [CachedPrefix { ttl: None, ..first[0] }, CachedPrefix { ttl: Some(FIVE_MINUTES), ..grown[1] }], "{surface:?}");
    }
}

#[test]
fn every_dialect_a_marker_looks_back_on_twenty_blocks() {
    for surface in SURFACES {
        let length = |messages: usize, marks: &[usize]| of_body(surface, &conversation(surface, messages, marks)).len();
        assert_eq!(length(51, &[]), 0, "{surface:?}");
        assert_eq!(length(51, &[50]), LOOK_BACK, "{surface:?}");
        assert_eq!(length(51, &[10]), 11, "{surface:?}");
        assert_eq!(length(51, &[40, 50]), LOOK_BACK + 10, "{surface:?}");
        let old = marked(&of_body(surface, &conversation(surface, 31, &[30])))[0];
        for (messages, seen) in [(50, true), (51, false)] {
            let now = of_body(surface, &conversation(surface, messages, &[messages - 1]));
            assert_eq!(now.iter().any(|prefix| prefix.hash == old), seen, "{surface:?} {messages}");
        }
    }
}

#[test]
fn the_last_four_markers_count() {
    let all: Vec<usize> = (0..6).collect();
    let found = of_body(Surface::ChatCompletions, &conversation(Surface::ChatCompletions, 6, &all));
    let ttls: Vec<bool> = found.iter().map(|prefix| prefix.ttl.is_some()).collect();
    assert_eq!(ttls, [false, false, true, true, true, true]);
    let all: Vec<usize> = (0..200).collect();
    assert_eq!(of_body(Surface::ChatCompletions, &conversation(Surface::ChatCompletions, 200, &all)).len(), MAX_MARKERS + LOOK_BACK - 1);
    let spread = of_body(Surface::ChatCompletions, &conversation(Surface::ChatCompletions, 200, &[0, 40, 80, 120, 160]));
    assert_eq!((spread.len(), marked(&spread).len()), (MAX_MARKERS * LOOK_BACK, MAX_MARKERS));
}

#[test]
fn a_string_is_a_list_of_one_and_a_marker_of_the_whole_body_is_one_of_its_last_block() {
    let body = |content: Value| json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
    let plain = body(json!("hi"));
    let mut whole = plain.clone();
    whole["cache_control"] = json!({"type": "ephemeral"});
    assert_eq!(of_body(Surface::Messages, &plain), []);
    assert_eq!(of_body(Surface::Messages, &whole), of_body(Surface::Messages, &body(json!(block(Surface::Messages, "hi", true)))));

    let whole = json!({"model": "m", "messages": [{"role": "user", "content": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]});
    let part = json!({"model": "m", "prompt_cache_options": {"ttl": "1h"}, "messages": [{"role": "user", "content": block(Surface::Messages, "hi", true)}]});
    assert_eq!(of_body(Surface::ChatCompletions, &whole), of_body(Surface::ChatCompletions, &part));
}

fn text(text: &'static str) -> Part<'static> {
    Part::Text(Text::from_plain(text))
}

fn point(ttl: Option<&'static str>) -> Part<'static> {
    Part::CachePoint(CachePoint { ttl: ttl.map(Text::from_plain) })
}

fn result(parts: Vec<Part<'static>>) -> Part<'static> {
    Part::ToolResult(ToolResult { id: Text::from_plain("id"), parts, is_error: None })
}

fn request(parts: Vec<Part<'static>>) -> Request<'static> {
    Request { messages: vec![Message { role: Role::User, parts }], ..Request::default() }
}

#[test]
fn markers_in_odd_places() {
    // In front of everything there is nothing; behind everything stands the last block, whichever message it is in.
    assert_eq!(of(&request(vec![point(None)])), []);
    let mut late = request(vec![text("a")]);
    late.messages.push(Message { role: Role::Assistant, parts: vec![point(None), text("b")] });
    assert_eq!(of(&late), of(&request(vec![text("a"), point(None)])));
    // Two in one place: the longer one.
    for (first, second) in [(None, Some("1h")), (Some("1h"), None), (Some("1h"), Some("5m"))] {
        assert_eq!(of(&request(vec![text("a"), point(first), point(second)]))[0].ttl, Some(ONE_HOUR));
    }
    assert_eq!(of(&request(vec![text("a"), point(Some("forever"))]))[0].ttl, Some(FIVE_MINUTES));
}

#[test]
fn markers_inside_tool_results() {
    let whole = of(&request(vec![result(vec![text("a"), text("b"), point(None)])]));
    assert_eq!(whole.len(), 1, "a result is one block");
    let behind = of(&request(vec![result(vec![text("a"), text("b")]), point(None)]));
    assert_eq!(behind, whole);
    // What comes behind the marker inside the result does not matter, and what was marked before is found again.
    let inside = of(&request(vec![result(vec![text("a"), point(None), text("b")])]));
    assert_eq!(inside, of(&request(vec![result(vec![text("a"), point(None), text("other")])])));
    assert_eq!(of(&request(vec![result(vec![text("a"), point(None), text("b")]), text("c"), point(None)]))[..1], inside[..]);
    let grown = of(&request(vec![result(vec![text("a"), text("b")]), text("c"), point(None)]));
    assert_eq!((grown.len(), grown[0].hash), (2, whole[0].hash));
    // Nothing in the result but a marker.
    assert_eq!(of(&request(vec![result(vec![point(None)])])), of(&request(vec![result(Vec::new()), point(None)])));
    // Parts of a result are not parts of the message.
    assert_ne!(of(&request(vec![result(vec![text("a")]), point(None)])), of(&request(vec![result(Vec::new()), text("a"), point(None)])));
}

#[test]
fn bodies_without_markers_are_told_by_their_bytes() {
    for (body, expected) in [
        (r#"{"messages":[{"role":"user","content":"a cache is a cache"}],"prompt_cache_key":"k","prompt_cache_options":{}}"#, false),
        (r#"{"cache_control":{"type":"ephemeral"}}"#, true),
        (r#"[{"cachePoint":{"type":"default"}}]"#, true),
        (r#"{"prompt_cache_breakpoint":{"mode":"explicit"}}"#, true),
        ("cache", false),
        ("cache_contro", false),
        ("", false),
    ] {
        assert_eq!(may_mark(body.as_bytes()), expected, "{body}");
    }
}

/// A prompt that can be compared, of few and short texts, so that a border that is not clear would show.
#[derive(Clone, Debug, PartialEq)]
struct Prompt {
    tools: Vec<(String, Option<String>, Option<bool>)>,
    turns: Vec<(bool, Vec<Piece>)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Json(bool),
    Image(Option<String>, bool, String),
    Document(Option<String>, Option<String>, Vec<String>),
    Search(String, String, Vec<String>),
    Use(String, String, String),
    Thought(String, Option<String>),
    Sealed(String),
    Result(String, Option<bool>, Vec<Piece>),
}

fn plain(text: &str) -> Text<'_> {
    Text::from_plain(text)
}

fn plains(texts: &[String]) -> Vec<Text<'_>> {
    texts.iter().map(|text| plain(text)).collect()
}

fn maybe(text: Option<&String>) -> Option<Text<'_>> {
    text.map(|text| plain(text))
}

impl Piece {
    fn part(&self) -> Part<'_> {
        match self {
            Piece::Text(it) => Part::Text(plain(it)),
            Piece::Json(it) => Part::Json(Raw::parse(if *it { "true" } else { "false" }).expect("it is JSON")),
            Piece::Image(media_type, remote, it) => Part::Image(Image {
                media_type: media_type.as_deref().map(Into::into),
                source: if *remote { Source::Url(plain(it)) } else { Source::Base64(plain(it)) },
            }),
            Piece::Document(name, context, it) => Part::Document(Document {
                media_type: None,
                name: maybe(name.as_ref()),
                context: maybe(context.as_ref()),
                citations: None,
                source: Source::Texts(plains(it)),
            }),
            Piece::Search(source, title, it) => {
                Part::SearchResult(SearchResult { source: plain(source), title: plain(title), content: plains(it), citations: None })
            }
            Piece::Use(id, name, input) => Part::ToolUse(ToolUse { id: plain(id), name: plain(name), input: input.into() }),
            Piece::Thought(it, signature) => Part::Reasoning(Reasoning { text: plain(it), signature: maybe(signature.as_ref()) }),
            Piece::Sealed(it) => Part::RedactedReasoning(plain(it)),
            Piece::Result(id, is_error, it) => Part::ToolResult(ToolResult { id: plain(id), parts: it.iter().map(Piece::part).collect(), is_error: *is_error }),
        }
    }
}

impl Prompt {
    fn request(&self) -> Request<'_> {
        let tools = self.tools.iter().map(|(name, description, strict)| Tool {
            name: plain(name),
            description: maybe(description.as_ref()),
            parameters: None,
            strict: *strict,
            cache: None,
        });
        let messages = self
            .turns
            .iter()
            .map(|(user, pieces)| Message { role: if *user { Role::User } else { Role::Assistant }, parts: pieces.iter().map(Piece::part).collect() });
        Request { tools: tools.collect(), messages: messages.collect(), ..Request::default() }
    }

    /// The prefix that ends at a marker behind everything; `behind` follows in the same message and in one of its own.
    fn marked(&self, behind: &[Piece]) -> u64 {
        let mut request = self.request();
        let mut parts = vec![Part::Text(plain("end")), Part::CachePoint(CachePoint::default())];
        parts.extend(behind.iter().map(Piece::part));
        request.messages.push(Message { role: Role::User, parts });
        request.messages.push(Message { role: Role::Assistant, parts: behind.iter().map(Piece::part).collect() });
        let found = marked(&of(&request));
        assert_eq!(found.len(), 1);
        found[0]
    }
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(&["", "a", "b", "aa", "ab"][..]).prop_map(str::to_owned)
}

fn words() -> impl Strategy<Value = Vec<String>> {
    collection::vec(word(), 0..3)
}

fn simple() -> impl Strategy<Value = Piece> {
    prop_oneof![
        word().prop_map(Piece::Text),
        any::<bool>().prop_map(Piece::Json),
        (option::of(word()), any::<bool>(), word()).prop_map(|(kind, remote, it)| Piece::Image(kind, remote, it)),
        (option::of(word()), option::of(word()), words()).prop_map(|(name, context, it)| Piece::Document(name, context, it)),
        (word(), word(), words()).prop_map(|(source, title, it)| Piece::Search(source, title, it)),
        (word(), word(), word()).prop_map(|(id, name, input)| Piece::Use(id, name, input)),
        (word(), option::of(word())).prop_map(|(it, signature)| Piece::Thought(it, signature)),
        word().prop_map(Piece::Sealed),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let result = (word(), option::of(any::<bool>()), collection::vec(simple(), 0..3)).prop_map(|(id, is_error, it)| Piece::Result(id, is_error, it));
    prop_oneof![3 => simple(), 1 => result]
}

fn prompt() -> impl Strategy<Value = Prompt> {
    let tools = collection::vec((word(), option::of(word()), option::of(any::<bool>())), 0..3);
    let turns = collection::vec((any::<bool>(), collection::vec(piece(), 0..3)), 0..4);
    (tools, turns).prop_map(|(tools, turns)| Prompt { tools, turns })
}

/// A prompt and one that differs from it in one place, if at all: a piece, a turn or a tool is replaced, put in, taken out, or moved over a border.
fn neighbours() -> impl Strategy<Value = (Prompt, Prompt)> {
    (prompt(), any::<prop::sample::Index>(), piece(), 0..6).prop_map(|(one, at, new, how)| {
        let mut other = one.clone();
        let turns = other.turns.len();
        match how {
            0 if turns > 0 => other.turns[at.index(turns)].1.push(new),
            1 if turns > 0 => drop(other.turns[at.index(turns)].1.pop()),
            2 if turns > 0 => other.turns[at.index(turns)].0 ^= true,
            3 if turns > 1 => {
                // The last piece of a turn becomes the first of the next.
                let from = at.index(turns - 1);
                let moved = other.turns[from].1.pop();
                moved.into_iter().for_each(|piece| other.turns[from + 1].1.insert(0, piece));
            }
            4 if turns > 0 => {
                // The last piece inside a result comes out of it.
                let (_, pieces) = &mut other.turns[at.index(turns)];
                let out = if let Some(Piece::Result(_, _, inside)) = pieces.last_mut() { inside.pop() } else { None };
                pieces.extend(out);
            }
            5 if !other.tools.is_empty() => drop(other.tools.pop()),
            _ => other.turns.insert(at.index(turns + 1), (true, vec![new])),
        }
        (one, other)
    })
}

proptest! {
    #[test]
    fn what_stands_before_a_marker_always_matters((one, other) in neighbours()) {
        prop_assert_eq!(one.marked(&[]) == other.marked(&[]), one == other);
    }

    #[test]
    fn two_prompts_are_two_prefixes(one in prompt(), other in prompt()) {
        prop_assert_eq!(one.marked(&[]) == other.marked(&[]), one == other);
    }

    #[test]
    fn what_stands_behind_a_marker_never_matters(prompt in prompt(), behind in collection::vec(piece(), 0..4)) {
        prop_assert_eq!(prompt.marked(&behind), prompt.marked(&[]));
    }

    #[test]
    fn every_marker_of_an_earlier_turn_is_found_again(prompt in prompt()) {
        let mut earlier: Vec<u64> = Vec::new();
        for turn in 1..=prompt.turns.len() {
            let mut request = prompt.request();
            request.messages.truncate(turn);
            request.messages[turn - 1].parts.push(Part::CachePoint(CachePoint::default()));
            let now = of(&request);
            for hash in &earlier {
                prop_assert!(now.iter().any(|prefix| prefix.hash == *hash));
            }
            earlier.extend(marked(&now));
        }
    }

    #[test]
    fn hashers_of_two_keys_agree_on_nothing_but_themselves(prompt in prompt()) {
        let (one, other) = (std::hash::RandomState::new(), std::hash::RandomState::new());
        let mut request = prompt.request();
        request.messages.push(Message { role: Role::User, parts: vec![Part::Text(plain("end")), Part::CachePoint(CachePoint::default())] });
        prop_assert_eq!(prefixes(&request, &one), prefixes(&request, &one));
        prop_assert_ne!(prefixes(&request, &one), prefixes(&request, &other));
    }
}
