//! The approaches by their call trees: which calls, in which order, what in each, and what becomes the client's answer.
//!
//! `golden/approach/<case>/input.json` is what a client of Chat Completions sends, `answers.json` what the model says to the calls of each branch, in their order;
//! `tree.json` holds the calls as OpenAI-type targets get them. Set `ADIT_UPDATE_GOLDEN=1` to rewrite the trees; read the difference before you commit it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use adit::chat::capability::Capabilities;
use adit::chat::{Envelope, Options, Policy, Usage};
use adit::dialect::Surface;
use adit::translate::approach::{Approach, Cost, Course, Expression, Final, Next, Reply, Shape, Step, Wish, Writer, encode, of_name};
use adit::translate::{Api, Client, Question, Target, Translation};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Said {
    Whole(String),
    Cut { cut: String },
}

impl Said {
    fn reply(&self) -> Reply {
        match self {
            Said::Whole(text) => Reply { text: text.clone(), truncated: false },
            Said::Cut { cut } => Reply { text: cut.clone(), truncated: true },
        }
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/approach");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn envelope() -> Envelope {
    Envelope { id: "x".to_owned(), model: "m".to_owned(), created: 0 }
}

/// The call as the body that an OpenAI-type target gets.
fn body(step: &Step, question: &Question<'_>) -> Value {
    let asked = Question { request: step.request(&question.request), more: Vec::new(), stream: false, client: question.client.clone() };
    let options = Options {
        model: "m-1",
        family: "gpt-4o",
        capabilities: &Capabilities::of("gpt-4o"),
        policy: Policy::default(),
        default_max_tokens: None,
        stream: false,
    };
    let encoded = asked.encode(&Target { api: Api::OpenAi, options, guardrail: None }).unwrap();
    serde_json::from_slice(&encoded.body).unwrap()
}

/// The rounds of calls of one branch, and its answer.
fn tree(sequence: &[Approach], question: &Question<'_>, said: &[Said]) -> Value {
    let mut course = Course::new(sequence, &question.request);
    let mut said = said.iter();
    let (mut rounds, mut replies) = (Vec::new(), Vec::new());
    let mut next = course.begin();
    let show = |step: &Step| json!({ "for": step.kind.as_str(), "body": body(step, question) });
    let answer = loop {
        match next {
            Next::Ask(steps) => {
                rounds.push(steps.iter().map(show).collect::<Vec<_>>());
                let round: Vec<Reply> = steps.iter().map(|_| said.next().expect("an answer for each call").reply()).collect();
                replies.extend(round.clone());
                next = match course.go_on(round) {
                    Ok(next) => next,
                    Err(error) => break json!({ "error": error.message }),
                };
            }
            Next::Last(step) => {
                rounds.push(vec![show(&step)]);
                let last = said.next().expect("an answer for the last call").reply().text;
                break json!(final_text(&last, step.shape));
            }
            Next::Pick(at) => break json!(replies[at].text),
        }
    };
    assert!(said.next().is_none(), "more answers than calls");
    let calls: usize = rounds.iter().map(Vec::len).sum();
    assert!(calls as u64 <= Cost::of(sequence).calls, "more calls than were reckoned with");
    json!({ "rounds": rounds, "answer": answer })
}

fn translation() -> Translation {
    Translation { envelope: envelope(), client: Client::OpenAi(Default::default()), api: Api::OpenAi, restore: Default::default() }
}

/// An upstream's whole answer.
fn completion(text: &str) -> Vec<u8> {
    let choice = json!({ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" });
    json!({ "choices": [choice], "usage": { "prompt_tokens": 3, "completion_tokens": 2 } }).to_string().into_bytes()
}

/// What the client reads, of a whole answer and of a stream.
fn final_text(said: &str, shape: Shape) -> String {
    let (translation, answer) = (translation(), completion(said));
    let finals = [Final { translation: &translation, body: &answer, shape }];
    let mut out = Vec::new();
    encode(&translation.client, &envelope(), &finals, Usage::default(), &mut out).unwrap();
    let whole: Value = serde_json::from_slice(&out).unwrap();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    assert_eq!(streamed(said, shape), text);
    text
}

fn streamed(said: &str, shape: Shape) -> String {
    let mut writer = Writer::new(&Client::OpenAi(Default::default()), &envelope(), 1);
    writer.open(0, &translation(), shape);
    let mut out = Vec::new();
    for piece in said.chars() {
        let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": piece.to_string() } }] });
        writer.push(0, format!("data: {chunk}\n\n").as_bytes(), &mut out);
    }
    writer.push(0, b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", &mut out);
    writer.finish(0, &mut out);
    assert!(writer.is_complete() && writer.has_content(), "{writer:?}");
    writer.end(Usage::default(), &mut out);
    text_of(&String::from_utf8(out).unwrap())
}

/// The text of the first choice of a stream of Chat Completions that ended well.
fn text_of(stream: &str) -> String {
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    let chunks = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let chunks = chunks.map(|data| serde_json::from_str::<Value>(data).unwrap());
    chunks.map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn each_approach_makes_these_calls() {
    let update = std::env::var_os("ADIT_UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let input = fs::read_to_string(case.join("input.json")).unwrap();
        let answers: Vec<Vec<Said>> = serde_json::from_str(&fs::read_to_string(case.join("answers.json")).unwrap()).unwrap();
        let mut question = Question::decode(Surface::ChatCompletions, "", &input).unwrap();
        let wish = Wish::take(&mut question.request).unwrap();
        let name = question.request.model.unescape().into_owned();
        let expression = Expression::parse(wish.or(of_name(&name).map(|(approach, _)| approach)).unwrap()).unwrap();
        assert_eq!(expression.branches.len(), answers.len(), "{}", case.display());
        let branches: Vec<Value> = expression.branches.iter().zip(&answers).map(|(sequence, said)| tree(sequence, &question, said)).collect();
        let found = format!("{:#}\n", json!(branches));
        let file = case.join("tree.json");
        if update {
            fs::write(&file, &found).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{} trees differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_whole_answer_can_be_streamed_and_several_become_choices() {
    let (translation, one, two) = (translation(), completion("one"), completion("<output> two </output>"));
    let finals = [Final { translation: &translation, body: &one, shape: Shape::Whole }, Final { translation: &translation, body: &two, shape: Shape::Output }];
    let usage = Usage { input_tokens: 30, output_tokens: 4, ..Usage::default() };
    let mut out = Vec::new();
    encode(&translation.client, &envelope(), &finals, usage, &mut out).unwrap();
    let whole: Value = serde_json::from_slice(&out).unwrap();
    let texts: Vec<_> = whole["choices"].as_array().unwrap().iter().map(|choice| choice["message"]["content"].as_str().unwrap()).collect();
    assert_eq!((texts, &whole["usage"]["total_tokens"]), (vec!["one", "two"], &json!(34)));

    let style = adit::dialect::openai::Style { include_usage: true, ..Default::default() };
    let mut writer = Writer::new(&Client::OpenAi(style), &envelope(), 2);
    let mut out = Vec::new();
    writer.whole(1, &finals[1], &mut out).unwrap();
    assert!(!writer.is_complete());
    writer.whole(0, &finals[0], &mut out).unwrap();
    assert!(writer.is_complete());
    writer.end(usage, &mut out);
    let stream = String::from_utf8(out).unwrap();
    assert!(stream.contains(r#""index":0,"delta":{"content":"one"}"#) && stream.contains(r#""index":1,"delta":{"content":"two"}"#), "{stream}");
    assert!(stream.contains(r#""total_tokens":34"#) && stream.ends_with("data: [DONE]\n\n"), "{stream}");
}

#[test]
fn a_call_that_breaks_off_ends_the_stream_with_an_error() {
    let mut writer = Writer::new(&Client::OpenAi(Default::default()), &envelope(), 2);
    writer.open(0, &translation(), Shape::Whole);
    let mut out = Vec::new();
    writer.push(0, b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He\"}}]}\n\n", &mut out);
    writer.finish(0, &mut out);
    assert!(writer.failure().is_some() && !writer.is_complete());
    writer.end(Usage::default(), &mut out);
    let stream = String::from_utf8(out).unwrap();
    assert!(stream.contains(r#""error""#) && !stream.contains("[DONE]"), "{stream}");
}
