//! Golden fixtures: one directory a case, the input beside what each other side makes of it.
//!
//! * `golden/<dialect>/request/<case>/input.json`, for each API of another dialect: `<api>.json`, the body that its upstreams get, and `<api>.dropped.txt`, or
//!   `<api>.error.txt` where it cannot be asked; `error.txt` alone where the request cannot be read
//! * `golden/<api>/response/<case>/input.json`, for each client of another dialect: `<client>.json`, or `<client>.error.txt`
//! * `golden/<api>/stream/<case>/input.bin`, `input.sse` or `input.jsonl` (one `{"name": payload}` a line) → `openai.sse`, `anthropic.sse`, `converse.jsonl`
//! * `golden/openai/embeddings/<case>/input.json`, for each family on Bedrock: `<family>.json`, the bodies of its calls, or `<family>.error.txt`
//!
//! Responses and legacy Completions are APIs of clients only: `responses/request/<case>` for all three upstreams, `responses.json` and `responses.sse` beside what others get.
//!
//! `target.json` beside an input chooses the models and the policy; `request.json`, of OpenAI's API, is what led to an answer, and so is `request.responses.json` of
//! OpenAI Responses, for its clients. Set `ADIT_UPDATE_GOLDEN=1` to
//! rewrite the expected files; read the difference before you commit it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use adit::chat::capability::{Capabilities, Overrides};
use adit::chat::{ApiError, Encoded, Envelope, Options, Policy, Restore, Unknown, Unsupported};
use adit::dialect::{Dialect, Surface, anthropic, converse, invoke, openai};
use adit::translate::reframe::Unwrapped;
use adit::translate::stream::Flow;
use adit::translate::{Api, Client, Question, Translation};
use adit::wire::{envelope, eventstream, sse};
use aws_smithy_eventstream::frame::read_message_from;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An API, by the name of its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side {
    name: &'static str,
    /// What its upstreams speak; none for an API of clients only.
    api: Option<Api>,
    dialect: Dialect,
    surface: Surface,
    /// What its streams are called.
    stream: &'static str,
}

const OPENAI: Side = Side { name: "openai", api: Some(Api::OpenAi), dialect: Dialect::OpenAi, surface: Surface::ChatCompletions, stream: "openai.sse" };
const ANTHROPIC: Side = Side { name: "anthropic", api: Some(Api::Anthropic), dialect: Dialect::Anthropic, surface: Surface::Messages, stream: "anthropic.sse" };
const CONVERSE: Side = Side { name: "converse", api: Some(Api::Converse), dialect: Dialect::Bedrock, surface: Surface::Converse, stream: "converse.jsonl" };
const RESPONSES: Side = Side { name: "responses", api: None, dialect: Dialect::Responses, surface: Surface::Responses, stream: "responses.sse" };
const COMPLETIONS: Side = Side { name: "completions", api: None, dialect: Dialect::OpenAi, surface: Surface::Completions, stream: "" };
const SIDES: [Side; 4] = [OPENAI, ANTHROPIC, CONVERSE, RESPONSES];

/// Embeddings on Bedrock, by the name of their files.
const FAMILIES: [(&str, &str); 3] =
    [("titan", "amazon.titan-embed-text-v2:0"), ("cohere", "cohere.embed-english-v3"), ("nova", "amazon.nova-2-multimodal-embeddings-v1:0")];

impl Side {
    fn others(self) -> impl Iterator<Item = Side> {
        SIDES.into_iter().filter(move |other| *other != self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    #[serde(default = "haiku")]
    model: String,
    #[serde(default = "sonnet")]
    anthropic_model: String,
    #[serde(default = "gpt_4o")]
    openai_model: String,
    #[serde(default)]
    unsupported: Unsupported,
    #[serde(default)]
    unknown: Unknown,
    default_max_tokens: Option<u64>,
    /// Of the model on Bedrock, and so is the guardrail.
    #[serde(default)]
    capabilities: Overrides,
    guardrail: Option<converse::Guardrail>,
}

fn haiku() -> String {
    "anthropic.claude-3-haiku-20240307-v1:0".to_owned()
}

fn sonnet() -> String {
    "claude-sonnet-4-5".to_owned()
}

fn gpt_4o() -> String {
    "gpt-4o".to_owned()
}

fn target(case: &Path) -> Target {
    let text = fs::read_to_string(case.join("target.json")).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", case.display()))
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kind);
    let mut cases: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    cases
}

/// What a case makes, by the names of the files.
type Made = Vec<(String, Vec<u8>)>;

/// Compares with what a case expects: a file that was not made must not be there.
fn check(case: &Path, made: &Made, failures: &mut Vec<String>) {
    let update = std::env::var_os("ADIT_UPDATE_GOLDEN").is_some();
    for (name, found) in made {
        let path = case.join(name);
        match fs::read(&path) {
            Ok(expected) if expected == *found => {}
            _ if update => fs::write(&path, found).unwrap(),
            Ok(_) => failures.push(format!("{} differs; found:\n{}", path.display(), String::from_utf8_lossy(found))),
            Err(_) => failures.push(format!("{} is missing; found:\n{}", path.display(), String::from_utf8_lossy(found))),
        }
    }
    for entry in fs::read_dir(case).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let given = name.starts_with("input.") || name == "target.json" || name.starts_with("request.");
        if given || made.iter().any(|(made, _)| *made == name) {
            continue;
        }
        if update {
            fs::remove_file(case.join(&name)).unwrap();
        } else {
            failures.push(format!("{} was not made", case.join(&name).display()));
        }
    }
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} files are not as expected\n{}", failures.len(), failures.join("\n"));
}

/// The status and the body that a client gets.
fn refusal(dialect: Dialect, error: &ApiError) -> Vec<u8> {
    let body = match dialect {
        Dialect::OpenAi | Dialect::Responses | Dialect::Bedrock => dialect.error_body(error, ""),
        Dialect::Anthropic => dialect.error_body(error, "req_golden"),
    };
    [format!("{}\n", dialect.status(error)).as_bytes(), &pretty(&body)].concat()
}

fn lines(names: &[String]) -> Vec<u8> {
    format!("{}\n", names.join("\n")).into_bytes()
}

/// Pretty, with the members in the order in which they were written: the order is part of what is promised.
fn pretty(json: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(json).unwrap();
    serde_json::from_str::<serde::de::IgnoredAny>(text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"));
    let mut out = Vec::new();
    let (mut depth, mut in_string, mut escaped, mut empty) = (0_usize, false, false, false);
    let indent = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for &byte in json {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                if empty {
                    indent(&mut out, depth);
                }
                depth += 1;
                out.push(byte);
                empty = true;
                continue;
            }
            b'}' | b']' => {
                depth -= 1;
                if !empty {
                    indent(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                indent(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => continue,
            _ => {
                if empty {
                    indent(&mut out, depth);
                }
                in_string = byte == b'"';
                out.push(byte);
            }
        }
        empty = false;
    }
    out.push(b'\n');
    out
}

/// Writes a request for an API, as `target.json` says.
fn encode(question: &Question<'_>, api: Api, target: &Target) -> Result<Encoded, ApiError> {
    let (model, overrides) = match api {
        Api::Converse => (&target.model, Some(&target.capabilities)),
        Api::Anthropic => (&target.anthropic_model, None),
        Api::OpenAi => (&target.openai_model, None),
    };
    let mut capabilities = Capabilities::of(model);
    if let Some(overrides) = overrides {
        capabilities.apply(overrides);
    }
    let options = Options {
        model,
        family: model,
        capabilities: &capabilities,
        policy: Policy { unsupported: target.unsupported, unknown: target.unknown },
        default_max_tokens: target.default_max_tokens,
        stream: question.stream,
    };
    question.encode(&adit::translate::Target { api, options, guardrail: target.guardrail.as_ref() })
}

fn requests(client: Side) {
    let mut failures = Vec::new();
    for case in cases(&format!("{}/request", client.name)) {
        let input = fs::read_to_string(case.join("input.json")).unwrap();
        let mut made = Made::new();
        match Question::decode(client.surface, "claude", &input) {
            Err(error) => made.push(("error.txt".to_owned(), refusal(client.dialect, &error))),
            Ok(question) => {
                let target = target(&case);
                for (name, api) in client.others().filter_map(|other| Some((other.name, other.api?))) {
                    match encode(&question, api, &target) {
                        Ok(encoded) => {
                            made.push((format!("{name}.json"), pretty(&encoded.body)));
                            if !encoded.dropped.is_empty() {
                                made.push((format!("{name}.dropped.txt"), lines(&encoded.dropped)));
                            }
                        }
                        Err(error) => made.push((format!("{name}.error.txt"), refusal(client.dialect, &error))),
                    }
                }
            }
        }
        check(&case, &made, &mut failures);
    }
    report(&failures);
}

#[test]
fn openai_requests_are_written_for_other_apis() {
    requests(OPENAI);
}

#[test]
fn responses_requests_are_written_for_other_apis() {
    requests(RESPONSES);
}

#[test]
fn completions_requests_are_written_for_other_apis() {
    requests(COMPLETIONS);
}

#[test]
fn anthropic_requests_are_written_for_other_apis() {
    requests(ANTHROPIC);
}

#[test]
fn converse_requests_are_written_for_other_apis() {
    requests(CONVERSE);
}

/// An answer of `upstream` on its way to a client.
fn translation(case: &Path, upstream: Side, client: Side) -> Translation {
    let api = upstream.api.unwrap();
    // The request that led to the answer, where the answer depends on it.
    let own = fs::read_to_string(case.join("request.responses.json")).ok().filter(|_| client == RESPONSES).map(|request| (Surface::Responses, request));
    let request = own.or_else(|| Some((Surface::ChatCompletions, fs::read_to_string(case.join("request.json")).ok()?)));
    let question = request.as_ref().map(|(surface, request)| Question::decode(*surface, "", request).unwrap());
    let restore = question.as_ref().map_or_else(Restore::default, |question| encode(question, api, &target(case)).unwrap().restore);
    let client = match (client.dialect, question) {
        (Dialect::OpenAi, Some(question)) => question.client,
        (Dialect::OpenAi, None) => Client::OpenAi(openai::Style::default()),
        (Dialect::Responses, Some(Question { client: client @ Client::Responses(_), .. })) => client,
        (Dialect::Responses, _) => Question::decode(Surface::Responses, "", r#"{"model": "claude", "input": "Hello"}"#).unwrap().client,
        (Dialect::Anthropic, _) => Client::Anthropic(anthropic::Style::default()),
        (Dialect::Bedrock, _) => Client::Converse(converse::Style::default()),
    };
    let envelope = Envelope { id: "golden".to_owned(), model: "claude".to_owned(), created: 1_700_000_000 };
    Translation { envelope, client, api, restore }
}

fn responses(upstream: Side) {
    let mut failures = Vec::new();
    for case in cases(&format!("{}/response", upstream.name)) {
        let input = fs::read(case.join("input.json")).unwrap();
        let mut made = Made::new();
        for client in upstream.others() {
            let mut out = Vec::new();
            made.push(match translation(&case, upstream, client).body(&input, 0, &mut out) {
                Ok(_) => (format!("{}.json", client.name), pretty(&out)),
                Err(error) => (format!("{}.error.txt", client.name), format!("{} {error}\n", client.dialect.status(&error)).into_bytes()),
            });
        }
        check(&case, &made, &mut failures);
    }
    report(&failures);
}

#[test]
fn openai_answers_are_written_for_other_clients() {
    responses(OPENAI);
}

#[test]
fn anthropic_answers_are_written_for_other_clients() {
    responses(ANTHROPIC);
}

#[test]
fn converse_answers_are_written_for_other_clients() {
    responses(CONVERSE);
}

/// The bytes of a stream: as they were recorded or written, or frames made of lines.
fn stream_input(case: &Path) -> Vec<u8> {
    if let Some(bytes) = ["input.bin", "input.sse"].into_iter().find_map(|name| fs::read(case.join(name)).ok()) {
        return bytes;
    }
    let mut out = Vec::new();
    for line in fs::read_to_string(case.join("input.jsonl")).unwrap().lines() {
        let event: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let (name, payload) = event.iter().next().unwrap();
        let (kind, message_type) = if name.ends_with("Exception") { (":exception-type", "exception") } else { (":event-type", "event") };
        let headers = [(kind, name.as_str()), (":content-type", "application/json"), (":message-type", message_type)];
        eventstream::write_frame(&mut out, &headers, payload.to_string().as_bytes());
    }
    out
}

/// What a client gets of a body that comes in these pieces, and whether the model's own stop was read.
fn run(mut flow: Flow, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    for piece in pieces {
        flow.push(piece, 0, &mut out);
    }
    flow.finish(&mut out);
    (out, flow.facts().stop.is_some())
}

fn translate(translation: &Translation, pieces: &[&[u8]]) -> Vec<u8> {
    run(Flow::Translated(translation.stream()), pieces).0
}

/// Frames as AWS's own decoder reads them: `{"name": payload}`, one a line.
fn frames_as_lines(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    while !bytes.is_empty() {
        let message = read_message_from(&mut bytes).unwrap();
        let header =
            |name: &str| message.headers().iter().find(|header| header.name().as_str() == name).map(|header| header.value().as_string().unwrap().as_str());
        let name = header(":event-type").or_else(|| header(":exception-type")).unwrap();
        let payload: &RawValue = serde_json::from_slice(message.payload()).unwrap();
        out.push_str(&format!("{{\"{name}\": {payload}}}\n"));
    }
    out.into_bytes()
}

fn shown(client: Side, body: Vec<u8>) -> Vec<u8> {
    if client.dialect == Dialect::Bedrock { frames_as_lines(&body) } else { body }
}

fn streams(upstream: Side) {
    let mut failures = Vec::new();
    for case in cases(&format!("{}/stream", upstream.name)) {
        let input = stream_input(&case);
        let made: Made =
            upstream.others().map(|client| (client.stream.to_owned(), shown(client, translate(&translation(&case, upstream, client), &[&input])))).collect();
        check(&case, &made, &mut failures);
    }
    report(&failures);
}

#[test]
fn openai_streams_are_written_for_other_clients() {
    streams(OPENAI);
}

#[test]
fn anthropic_streams_are_written_for_other_clients() {
    streams(ANTHROPIC);
}

#[test]
fn converse_streams_are_written_for_other_clients() {
    streams(CONVERSE);
}

/// Every client of an upstream's streams, those of InvokeModel and of legacy Completions too.
fn translations(case: &Path, upstream: Side) -> impl Iterator<Item = (Side, Translation)> {
    let case = case.to_owned();
    let invoke = Translation { client: Client::Invoke(anthropic::Style::default()), ..translation(&case, upstream, CONVERSE) };
    let style = openai::completions::Style { echo: vec!["Once".to_owned()].into(), include_usage: true, n: 1 };
    let completions = Translation { client: Client::Completions(style), ..translation(&case, upstream, OPENAI) };
    SIDES.into_iter().map(move |client| (client, translation(&case, upstream, client))).chain([(CONVERSE, invoke), (OPENAI, completions)])
}

fn split(upstream: Side) {
    for case in cases(&format!("{}/stream", upstream.name)) {
        let input = stream_input(&case);
        for (client, translation) in translations(&case, upstream) {
            let whole = translate(&translation, &[&input]);
            for at in 0..=input.len() {
                let (left, right) = input.split_at(at);
                assert_eq!(translate(&translation, &[left, right]), whole, "{} to {} split at {at}", case.display(), client.name);
            }
            for size in [1, 2, 3, 7, 11, 12, 13, 64, 1000] {
                let pieces: Vec<&[u8]> = input.chunks(size).collect();
                assert_eq!(translate(&translation, &pieces), whole, "{} to {} in pieces of {size}", case.display(), client.name);
            }
        }
    }
}

#[test]
fn openai_streams_are_the_same_for_every_split_point_and_chunk_size() {
    split(OPENAI);
}

#[test]
fn anthropic_streams_are_the_same_for_every_split_point_and_chunk_size() {
    split(ANTHROPIC);
}

#[test]
fn converse_streams_are_the_same_for_every_split_point_and_chunk_size() {
    split(CONVERSE);
}

/// How a client's stream ends.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Success,
    Failure,
    Neither,
}

/// Reads the end of a stream, and makes sure that nothing before it looked like one.
fn ending(client: Side, body: &[u8]) -> Ending {
    const METADATA: &str = r#"{"metadata":"#;
    // `{"type":"message_stop` in base64.
    const ENVELOPED_STOP: &str = r#"{"chunk": {"bytes":"eyJ0eXBlIjoibWVzc2FnZV9zdG9w"#;
    let body = String::from_utf8(shown(client, body.to_vec())).unwrap();
    let events: Vec<&str> = if client.dialect == Dialect::Bedrock { body.lines().collect() } else { body.split_terminator("\n\n").collect() };
    let of = |event: &&str| match client.dialect {
        Dialect::OpenAi if *event == "data: [DONE]" => Ending::Success,
        Dialect::OpenAi if event.starts_with(r#"data: {"error":"#) => Ending::Failure,
        Dialect::Responses if event.starts_with("event: response.completed\n") || event.starts_with("event: response.incomplete\n") => Ending::Success,
        Dialect::Responses if event.starts_with("event: response.failed\n") => Ending::Failure,
        Dialect::Anthropic if event.starts_with("event: message_stop\n") => Ending::Success,
        Dialect::Anthropic if event.starts_with("event: error\n") => Ending::Failure,
        Dialect::Bedrock if event.starts_with(METADATA) || event.starts_with(ENVELOPED_STOP) => Ending::Success,
        Dialect::Bedrock if event.contains(r#"Exception": {"message":"#) => Ending::Failure,
        _ => Ending::Neither,
    };
    let Some((last, before)) = events.split_last() else { return Ending::Neither };
    // Converse has no mark of success: there, counts may still be followed by a failure.
    let nothing = before.iter().all(|event| of(event) == Ending::Neither || event.starts_with(METADATA));
    assert!(nothing, "something follows the end:\n{body}");
    of(last)
}

fn truncate(upstream: Side) {
    for case in cases(&format!("{}/stream", upstream.name)) {
        let input = stream_input(&case);
        for (client, translation) in translations(&case, upstream) {
            for at in 0..=input.len() {
                let (body, stopped) = run(Flow::Translated(translation.stream()), &[&input[..at]]);
                let ending = ending(client, &body);
                let fine = ending == Ending::Failure || (stopped && ending == Ending::Success);
                assert!(fine, "{} to {} cut at {at}: {ending:?}\n{}", case.display(), client.name, String::from_utf8_lossy(&body));
            }
        }
    }
}

#[test]
fn an_openai_stream_cut_anywhere_ends_in_an_error_and_in_nothing_else() {
    truncate(OPENAI);
}

#[test]
fn an_anthropic_stream_cut_anywhere_ends_in_an_error_and_in_nothing_else() {
    truncate(ANTHROPIC);
}

#[test]
fn a_converse_stream_cut_anywhere_ends_in_an_error_and_in_nothing_else() {
    truncate(CONVERSE);
}

/// The events of a stream as `name, data`.
fn events(body: &[u8]) -> Vec<(String, String)> {
    let mut parser = sse::Parser::new();
    let mut events = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    parser.push(body, |event| events.push((text(event.name), text(event.data)))).unwrap();
    events
}

#[test]
fn what_was_in_an_envelope_comes_out_of_it_byte_for_byte() {
    for case in cases("anthropic/stream") {
        let inside = events(&stream_input(&case));
        let complete = inside.last().is_some_and(|(_, data)| data.contains(r#""message_stop""#));
        let named = inside.iter().all(|(name, data)| serde_json::from_str::<Value>(data).is_ok_and(|data| data["type"] == **name));
        if !complete || !named {
            continue;
        }
        let mut frames = Vec::new();
        inside.iter().for_each(|(_, data)| envelope::write_chunk(&mut frames, data.as_bytes()));
        for size in [1, 13, usize::MAX] {
            let pieces: Vec<&[u8]> = frames.chunks(size).collect();
            assert_eq!(events(&run(Flow::Reframed(Unwrapped::default()), &pieces).0), inside, "{} in pieces of {size}", case.display());
        }
        for at in 0..frames.len() {
            let (body, stopped) = run(Flow::Reframed(Unwrapped::default()), &[&frames[..at]]);
            assert!(ending(ANTHROPIC, &body) == Ending::Failure || stopped, "{} cut at {at}", case.display());
        }
    }
}

#[test]
fn embeddings_become_calls_of_each_family() {
    let mut failures = Vec::new();
    for case in cases("openai/embeddings") {
        let input = fs::read_to_string(case.join("input.json")).unwrap();
        let target = target(&case);
        let policy = Policy { unsupported: target.unsupported, unknown: target.unknown };
        let mut made = Made::new();
        match openai::downstream::embeddings::decode(&input) {
            Err(error) => made.push(("error.txt".to_owned(), refusal(Dialect::OpenAi, &error))),
            Ok(request) => {
                for (family, model) in FAMILIES {
                    match invoke::embeddings::plan(&request, model, None, policy) {
                        Ok(calls) => {
                            made.push((format!("{family}.json"), pretty(&[b"[", calls.bodies.join(&b","[..]).as_slice(), b"]"].concat())));
                            if !calls.dropped.is_empty() {
                                made.push((format!("{family}.dropped.txt"), lines(&calls.dropped)));
                            }
                        }
                        Err(error) => made.push((format!("{family}.error.txt"), refusal(Dialect::OpenAi, &error))),
                    }
                }
            }
        }
        check(&case, &made, &mut failures);
    }
    report(&failures);
}
