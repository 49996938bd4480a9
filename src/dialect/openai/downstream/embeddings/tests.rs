use proptest::prelude::*;

use super::*;

fn texts(body: &str) -> Vec<String> {
    match decode(body).unwrap().input {
        Input::Texts(texts) => texts.iter().map(|text| text.unescape().into_owned()).collect(),
        Input::Tokens => panic!("tokens"),
    }
}

/// The member that is refused.
fn refused(body: &str) -> String {
    let error = decode(body).unwrap_err();
    assert_eq!(error.status, 400, "{error}");
    error.param.unwrap_or_default().into_owned()
}

#[test]
fn one_text_or_many() {
    assert_eq!(texts(r#"{"model":"m","input":"a\n\u00e9"}"#), ["a\né"]);
    assert_eq!(texts(r#"{"input":["b","a","b"],"model":"m"}"#), ["b", "a", "b"]);
    let many = |count: usize| format!(r#"{{"model":"m","input":[{}]}}"#, vec!["\"x\""; count].join(","));
    assert_eq!(texts(&many(2048)).len(), 2048);
    assert_eq!(refused(&many(2049)), "input");
}

#[test]
fn tokens_are_told_apart() {
    for input in ["[1]", "[0, 17, 99999]", "[[1],[2,3]]", "[1.0]"] {
        assert!(matches!(decode(&format!(r#"{{"model":"m","input":{input}}}"#)).unwrap().input, Input::Tokens), "{input}");
    }
    // A single list of tokens is one text, of any length.
    let long = format!(r#"{{"model":"m","input":[{}]}}"#, vec!["7"; 8000].join(","));
    assert!(matches!(decode(&long).unwrap().input, Input::Tokens));
}

#[test]
fn all_members() {
    let body =
        r#"{"model":"m","input":"a","encoding_format":"base64","dimensions":256,"user":"u","input_type":"x","truncate":null,"input_type":"search_query"}"#;
    let request = decode(body).unwrap();
    assert_eq!((request.encoding, request.dimensions), (Encoding::Base64, Some(256)));
    assert_eq!(request.user.unwrap(), "u");
    let extras: Vec<_> = request.extras.iter().map(|extra| (extra.name.escaped(), extra.value.as_str())).collect();
    assert_eq!(extras, [("input_type", r#""search_query""#)]);
    let plain = decode(r#"{"model":"m","input":"a","encoding_format":null,"dimensions":null,"user":""}"#).unwrap();
    assert_eq!((plain.encoding, plain.dimensions, plain.user, plain.extras.len()), (Encoding::Float, None, None, 0));
}

#[test]
fn what_is_wrong_is_named() {
    for (body, param) in [
        (r#"{"input":"a"}"#, "model"),
        (r#"{"model":"","input":"a"}"#, "model"),
        (r#"{"model":1,"input":"a"}"#, "model"),
        (r#"{"model":"m"}"#, "input"),
        (r#"{"model":"m","input":null}"#, "input"),
        (r#"{"model":"m","input":""}"#, "input"),
        (r#"{"model":"m","input":[]}"#, "input"),
        (r#"{"model":"m","input":{}}"#, "input"),
        (r#"{"model":"m","input":5}"#, "input"),
        (r#"{"model":"m","input":["a",""]}"#, "input[1]"),
        (r#"{"model":"m","input":["a",1]}"#, "input"),
        (r#"{"model":"m","input":[1,"a"]}"#, "input"),
        (r#"{"model":"m","input":[1,-1]}"#, "input[1]"),
        (r#"{"model":"m","input":[1.5]}"#, "input[0]"),
        (r#"{"model":"m","input":[null]}"#, "input[0]"),
        (r#"{"model":"m","input":[{"text":"a"}]}"#, "input[0]"),
        (r#"{"model":"m","input":[[1],[]]}"#, "input[1]"),
        (r#"{"model":"m","input":[[1],[2,-3]]}"#, "input[1][1]"),
        (r#"{"model":"m","input":[["a"]]}"#, "input[0][0]"),
        (r#"{"model":"m","input":"a","encoding_format":"int8"}"#, "encoding_format"),
        (r#"{"model":"m","input":"a","dimensions":0}"#, "dimensions"),
        (r#"{"model":"m","input":"a","dimensions":1.5}"#, "dimensions"),
        (r#"{"model":"m","input":"a","dimensions":"256"}"#, "dimensions"),
        (r#"{"model":"m","input":"a","user":1}"#, "user"),
    ] {
        assert_eq!(refused(body), param, "{body}");
    }
}

#[test]
fn broken_json_is_told_with_its_position() {
    for (body, at) in [("", 0), ("[]", 0), (r#"{"model":"m","input":["a",]}"#, 26), (r#"{"model":"m","input":"a"} x"#, 26), (r#"{"model":"m""#, 12)] {
        let message = decode(body).unwrap_err().message;
        assert!(message.ends_with(&format!(" at byte {at}.")), "{body}: {message}");
    }
}

#[test]
fn hostile_bodies_are_answered() {
    let deep = format!(r#"{{"model":"m","input":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refused(&deep), "input[0][0]");
    let extra = format!(r#"{{"model":"m","input":"a","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refused(&extra), "x");
    let mixed = format!(r#"{{"model":"m","input":[{},"x"]}}"#, vec!["1"; 100_000].join(","));
    assert_eq!(refused(&mixed), "input");
}

fn vectors(json: &[String]) -> Vec<Vector<'_>> {
    json.iter().map(|json| Vector::of(Raw::parse(json).unwrap()).unwrap()).collect()
}

fn written(json: &[String], encoding: Encoding) -> String {
    let mut out = Vec::new();
    encode("a \"model\"", vectors(json), encoding, 7, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn numbers_are_moved_as_they_stand() {
    let json = ["[0.10, -2e-3]".to_owned(), "[3]".to_owned()];
    assert_eq!(
        written(&json, Encoding::Float),
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10, -2e-3]},{"object":"embedding","index":1,"embedding":[3]}],"model":"a \"model\"","usage":{"prompt_tokens":7,"total_tokens":7}}"#
    );
}

#[test]
fn trap_62_base64_holds_little_endian_floats() {
    // 1.0 = 3f800000, -2.0 = c0000000, 0.5 = 3f000000.
    let json = ["[1.0,-2.0]".to_owned(), "[0.5]".to_owned()];
    assert_eq!(
        written(&json, Encoding::Base64),
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAMA="},{"object":"embedding","index":1,"embedding":"AAAAPw=="}],"model":"a \"model\"","usage":{"prompt_tokens":7,"total_tokens":7}}"#
    );
}

/// The cases of `tests/golden/openai/embeddings`, with the member that is refused or how many texts there are.
#[test]
fn golden_inputs_are_read_or_refused() {
    macro_rules! case {
        ($name:literal) => {
            ($name, include_str!(concat!("../../../../../tests/golden/openai/embeddings/", $name, "/input.json")))
        };
    }
    for ((name, body), expected) in [
        (case!("one-text"), Ok(1)),
        (case!("several-texts"), Ok(3)),
        (case!("escapes"), Ok(2)),
        (case!("base64-and-dimensions"), Ok(1)),
        (case!("extras"), Ok(2)),
        (case!("tokens"), Ok(0)),
        (case!("lists-of-tokens"), Ok(0)),
        (case!("bad-empty-text"), Err("input[1]")),
        (case!("bad-mixed"), Err("input")),
        (case!("bad-dimensions"), Err("dimensions")),
        (case!("bad-encoding-format"), Err("encoding_format")),
        (case!("bad-no-input"), Err("input")),
    ] {
        let found = decode(body).map(|request| if let Input::Texts(texts) = request.input { texts.len() } else { 0 });
        assert_eq!(found.map_err(|error| error.param.unwrap_or_default().into_owned()), expected.map_err(str::to_owned), "{name}");
    }
}

proptest! {
    #[test]
    fn any_vector_survives_base64(numbers in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO, 1..50)) {
        let json = [serde_json::to_string(&numbers).unwrap()];
        let text = written(&json, Encoding::Base64);
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bytes = STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap()).unwrap();
        let back: Vec<u32> = bytes.chunks(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect();
        prop_assert_eq!(back, numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>());
    }

    #[test]
    fn any_text_is_answered(body in prop_oneof![".*", r#"\{"model":"m","input":[\[\]0-9a"{},:.-]{0,20}\}"#]) {
        if let Err(error) = decode(&body) {
            prop_assert_eq!(error.status, 400);
        }
    }
}
