use proptest::prelude::*;

use super::*;
use crate::chat::embedding::{Encoding, Input};
use crate::chat::{Extra, Unknown, Unsupported};

const GEMINI: &str = "gemini-embedding-001";
const TEXT: &str = "publishers/google/models/text-embedding-005";

fn request<'a>(texts: &[&'a str], dimensions: Option<u64>, extras: &[(&'a str, &'a str)]) -> EmbeddingRequest<'a> {
    EmbeddingRequest {
        model: Text::from_plain("m"),
        input: Input::Texts(texts.iter().map(|text| Text::from_escaped(*text)).collect()),
        dimensions,
        encoding: Encoding::Float,
        user: None,
        extras: extras.iter().map(|(name, json)| Extra { name: Text::from_plain(*name), value: Raw::parse(json).unwrap() }).collect(),
    }
}

fn bodies(request: &EmbeddingRequest<'_>, model: &str, input_type: Option<&str>) -> Vec<String> {
    let calls = plan(request, model, input_type, Policy::default()).unwrap();
    calls.bodies.into_iter().map(|body| String::from_utf8(body).unwrap()).collect()
}

fn refused(request: &EmbeddingRequest<'_>, model: &str, policy: Policy) -> String {
    let error = plan(request, model, None, policy).unwrap_err();
    assert_eq!(error.status, 400);
    error.param.unwrap().into_owned()
}

#[test]
fn gemini_takes_one_text_a_call_and_the_others_250() {
    let two = request(&[r"a\n", "b"], None, &[]);
    assert_eq!(bodies(&two, GEMINI, None), [r#"{"instances":[{"content":"a\n"}]}"#, r#"{"instances":[{"content":"b"}]}"#]);
    assert_eq!(bodies(&two, TEXT, None), [r#"{"instances":[{"content":"a\n"},{"content":"b"}]}"#]);
    let many = vec!["x"; 600];
    assert_eq!(plan(&request(&many, None, &[]), "text-multilingual-embedding-002", None, Policy::default()).unwrap().vectors, [250, 250, 100]);
    assert_eq!(plan(&request(&many, None, &[]), GEMINI, None, Policy::default()).unwrap().vectors.len(), 600);
}

#[test]
fn wishes_have_their_places() {
    let extras = [("title", r#""t""#), ("auto_truncate", "false"), ("x", "1"), ("input_type", r#""search_query""#)];
    let calls = plan(&request(&["a"], Some(256), &extras), TEXT, Some("clustering"), Policy::default()).unwrap();
    let body = r#"{"instances":[{"content":"a","task_type":"RETRIEVAL_QUERY","title":"t"}],"parameters":{"outputDimensionality":256,"autoTruncate":false}}"#;
    assert_eq!((std::str::from_utf8(&calls.bodies[0]).unwrap(), &calls.dropped[..]), (body, &["x".to_owned()][..]));
}

#[test]
fn the_task_is_the_clients_then_the_operators_then_googles() {
    let with = |extras: &[(&'static str, &'static str)], setting: Option<&str>| {
        let body: serde_json::Value = serde_json::from_str(&bodies(&request(&["a"], None, extras), GEMINI, setting)[0]).unwrap();
        body["instances"][0]["task_type"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(with(&[], None), "");
    assert_eq!(with(&[], Some("search_document")), "RETRIEVAL_DOCUMENT");
    assert_eq!(with(&[], Some("SEMANTIC_SIMILARITY")), "SEMANTIC_SIMILARITY");
    assert_eq!(with(&[("input_type", r#""classification""#)], Some("clustering")), "CLASSIFICATION");
    assert_eq!(with(&[("input_type", r#""clustering""#), ("task_type", r#""FACT_VERIFICATION""#)], None), "FACT_VERIFICATION");
    assert_eq!(refused(&request(&["a"], None, &[("task_type", "[]")]), GEMINI, Policy::default()), "task_type");
}

#[test]
fn what_cannot_be_is_refused_and_named() {
    let strict = Policy { unsupported: Unsupported::Reject, unknown: Unknown::Carry };
    for (model, dimensions) in [(GEMINI, 3073), (TEXT, 769), (TEXT, u64::MAX)] {
        assert_eq!(refused(&request(&["a"], Some(dimensions), &[]), model, Policy::default()), "dimensions");
    }
    assert!(plan(&request(&["a"], Some(3072), &[]), GEMINI, None, Policy::default()).is_ok());
    for model in ["gemini-2.5-pro", "claude-opus-5", ""] {
        assert_eq!(refused(&request(&["a"], None, &[]), model, Policy::default()), "model");
    }
    let tokens = EmbeddingRequest { input: Input::Tokens, ..request(&[], None, &[]) };
    assert_eq!(refused(&tokens, GEMINI, Policy::default()), "input");
    assert_eq!(refused(&request(&["a"], None, &[("truncate", r#""END""#)]), GEMINI, strict), "truncate");
    let user = EmbeddingRequest { user: Some(Text::from_plain("u")), ..request(&["a"], None, &[]) };
    assert_eq!(refused(&user, GEMINI, strict), "user");
    assert_eq!(plan(&user, GEMINI, None, Policy::default()).unwrap().dropped, ["user"]);
}

#[test]
fn answers_keep_their_order_and_their_counts_are_summed() {
    let body = r#"{"predictions":[
        {"embeddings":{"statistics":{"token_count":4,"truncated":false},"values":[0.1, 2]}},
        {"embeddings":{"values":[3],"statistics":{"truncated":false,"token_count":5.0}}}],"metadata":{"billableCharacterCount":11}}"#;
    let answer = decode(body).unwrap();
    let vectors: Vec<&str> = answer.vectors.iter().map(|vector| vector.as_str()).collect();
    assert_eq!((vectors, answer.input_tokens), (vec!["[0.1, 2]", "[3]"], Some(9)));
    let uncounted = decode(r#"{"predictions":[{"embeddings":{"values":[1],"statistics":{"token_count":4}}},{"embeddings":{"values":[2]}}]}"#).unwrap();
    assert_eq!((uncounted.vectors.len(), uncounted.input_tokens), (2, None));
}

#[test]
fn nonsense_is_the_upstreams_fault() {
    for body in [
        "",
        "{}",
        "[]",
        r#"{"error":{"code":429}}"#,
        r#"{"predictions":null}"#,
        r#"{"predictions":{}}"#,
        r#"{"predictions":[{}]}"#,
        r#"{"predictions":[null]}"#,
        r#"{"predictions":[{"embeddings":{"values":[]}}]}"#,
        r#"{"predictions":[{"embeddings":{"values":["a"]}}]}"#,
        r#"{"predictions":[{"embeddings":[{"values":[1]}]}]}"#,
    ] {
        assert_eq!(decode(body).unwrap_err().status, 502, "{body}");
    }
    let most = u64::MAX;
    let body = format!(r#"{{"predictions":[{0},{0}]}}"#, format_args!(r#"{{"embeddings":{{"values":[1],"statistics":{{"token_count":{most}}}}}}}"#));
    assert_eq!(decode(&body).unwrap().input_tokens, None);
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(body in prop_oneof![".*", r#"\{"predictions":[\[\]0-9a"{},:.-]{0,20}\}"#]) {
        if let Err(error) = decode(&body) {
            prop_assert_eq!(error.status, 502);
        }
    }
}
