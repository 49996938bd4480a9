use proptest::prelude::*;

use super::*;
use crate::chat::embedding::{Encoding, Input};
use crate::chat::{Extra, Unknown, Unsupported};

const TITAN_V1: &str = "amazon.titan-embed-text-v1";
const TITAN_V2: &str = "amazon.titan-embed-text-v2:0";
const COHERE_V3: &str = "cohere.embed-multilingual-v3";
const COHERE_V4: &str = "us.cohere.embed-v4:0";
const NOVA: &str = "amazon.nova-2-multimodal-embeddings-v1:0";
const ALL: [&str; 5] = [TITAN_V1, TITAN_V2, COHERE_V3, COHERE_V4, NOVA];

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

fn bodies(calls: &Calls) -> Vec<&str> {
    calls.bodies.iter().map(|body| std::str::from_utf8(body).unwrap()).collect()
}

fn planned(request: &EmbeddingRequest<'_>, model: &str) -> Calls {
    plan(request, model, None, Policy::default()).unwrap()
}

fn refused(request: &EmbeddingRequest<'_>, model: &str, policy: Policy) -> String {
    let error = plan(request, model, None, policy).unwrap_err();
    assert_eq!(error.status, 400);
    error.param.unwrap().into_owned()
}

#[test]
fn families() {
    for (id, family) in [
        (TITAN_V1, Family::TitanV1),
        ("amazon.titan-embed-g1-text-02", Family::TitanV1),
        (TITAN_V2, Family::TitanV2),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0", Family::TitanV2),
        ("cohere.embed-english-v3", Family::CohereV3),
        (COHERE_V3, Family::CohereV3),
        (COHERE_V4, Family::CohereV4),
        ("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.cohere.embed-v4:0", Family::CohereV4),
        (NOVA, Family::Nova),
    ] {
        assert_eq!(Family::of(id), Ok(family), "{id}");
    }
    for id in ["amazon.titan-embed-image-v1", "amazon.titan-text-express-v1", "amazon.nova-pro-v1:0", "anthropic.claude-opus-5", "cohere.command-r-v1:0", ""] {
        assert_eq!(refused(&request(&["a"], None, &[]), id, Policy::default()), "model", "{id}");
    }
}

#[test]
fn trap_62_one_text_a_call_in_order() {
    let two = request(&[r"a\n\u00e9", "b"], None, &[]);
    for model in [TITAN_V1, TITAN_V2] {
        let calls = planned(&two, model);
        assert_eq!((bodies(&calls), &calls.vectors[..]), (vec![r#"{"inputText":"a\n\u00e9"}"#, r#"{"inputText":"b"}"#], &[1, 1][..]));
    }
    let calls = planned(&two, NOVA);
    assert_eq!(
        bodies(&calls),
        [
            r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX","text":{"truncationMode":"NONE","value":"a\n\u00e9"}}}"#,
            r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX","text":{"truncationMode":"NONE","value":"b"}}}"#,
        ]
    );
}

#[test]
fn cohere_takes_96_texts_a_call() {
    let numbers: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = numbers.iter().map(String::as_str).collect();
    for model in [COHERE_V3, COHERE_V4] {
        assert_eq!(bodies(&planned(&request(&["a", "b"], None, &[]), model)), [r#"{"texts":["a","b"],"input_type":"search_document"}"#]);
        assert_eq!(planned(&request(&texts[..96], None, &[]), model).vectors, [96]);
        let calls = planned(&request(&texts, None, &[]), model);
        assert_eq!(calls.vectors, [96, 96, 8]);
        let sent: Vec<String> = bodies(&calls)
            .iter()
            .flat_map(|body| {
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                body["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(sent, numbers);
    }
}

#[test]
fn dimensions_have_their_own_name_in_each_family() {
    for (model, dimensions, body) in [
        (TITAN_V1, 1536, r#"{"inputText":"a"}"#),
        (TITAN_V2, 256, r#"{"inputText":"a","dimensions":256}"#),
        (COHERE_V3, 1024, r#"{"texts":["a"],"input_type":"search_document"}"#),
        (COHERE_V4, 512, r#"{"texts":["a"],"input_type":"search_document","output_dimension":512}"#),
        (
            NOVA,
            384,
            r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX","embeddingDimension":384,"text":{"truncationMode":"NONE","value":"a"}}}"#,
        ),
    ] {
        assert_eq!(bodies(&planned(&request(&["a"], Some(dimensions), &[]), model)), [body]);
    }
    for model in ALL {
        for dimensions in [1, 255, 768, u64::MAX] {
            assert_eq!(refused(&request(&["a"], Some(dimensions), &[]), model, Policy::default()), "dimensions");
        }
    }
    let error = plan(&request(&["a"], Some(1536), &[]), TITAN_V2, None, Policy::default()).unwrap_err();
    assert_eq!(error.message, "this model's embeddings can have 256, 512, 1024 dimensions, not 1536");
}

#[test]
fn the_input_type_is_the_clients_then_the_operators() {
    let with = |extras: &[(&'static str, &'static str)], setting: Option<&str>, model: &str| {
        let calls = plan(&request(&["a"], None, extras), model, setting, Policy::default()).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&calls.bodies[0]).unwrap();
        let purpose = &body["singleEmbeddingParams"]["embeddingPurpose"];
        purpose.as_str().or_else(|| body["input_type"].as_str()).unwrap_or_default().to_owned()
    };
    const QUERY: (&str, &str) = ("input_type", r#""search_query""#);
    assert_eq!(with(&[], Some("clustering"), COHERE_V3), "clustering");
    assert_eq!(with(&[QUERY], Some("clustering"), COHERE_V4), "search_query");
    assert_eq!(with(&[QUERY], Some("clustering"), NOVA), "GENERIC_RETRIEVAL");
    assert_eq!(with(&[], Some("clustering"), NOVA), "CLUSTERING");
    assert_eq!(with(&[], Some("TEXT_RETRIEVAL"), NOVA), "TEXT_RETRIEVAL");
    assert_eq!(with(&[QUERY, ("embeddingPurpose", r#""DOCUMENT_RETRIEVAL""#)], None, NOVA), "DOCUMENT_RETRIEVAL");
    assert_eq!(with(&[], Some("clustering"), TITAN_V2), "");
    assert_eq!(refused(&request(&["a"], None, &[("input_type", "5")]), COHERE_V3, Policy::default()), "input_type");
}

#[test]
fn truncation_is_put_into_each_familys_words() {
    for (model, truncate, written) in [
        (COHERE_V3, "START", r#""truncate":"START""#),
        (COHERE_V3, "RIGHT", r#""truncate":"END""#),
        (COHERE_V4, "START", r#""truncate":"LEFT""#),
        (COHERE_V4, "END", r#""truncate":"RIGHT""#),
        (COHERE_V4, "NONE", r#""truncate":"NONE""#),
        (NOVA, "LEFT", r#""truncationMode":"START""#),
        (NOVA, "other", r#""truncationMode":"other""#),
    ] {
        let json = format!("\"{truncate}\"");
        let calls = planned(&request(&["a"], None, &[("truncate", &json)]), model);
        assert!(bodies(&calls)[0].contains(written), "{model} {truncate}: {:?}", bodies(&calls));
        assert!(calls.dropped.is_empty());
    }
    // What is no string is the upstream's to refuse.
    assert!(bodies(&planned(&request(&["a"], None, &[("truncate", "5")]), COHERE_V3))[0].ends_with(r#""truncate":5}"#));
}

#[test]
fn extras_go_where_there_is_a_place_and_the_rest_is_reported() {
    let extras = [("normalize", "false"), ("truncate", r#""END""#), ("max_tokens", "128"), ("input_type", r#""clustering""#), ("x", "{}")];
    for (model, body, dropped) in [
        (TITAN_V1, r#"{"inputText":"a"}"#, &["normalize", "truncate", "max_tokens", "input_type", "x"][..]),
        (TITAN_V2, r#"{"inputText":"a","normalize":false}"#, &["truncate", "max_tokens", "input_type", "x"]),
        (COHERE_V3, r#"{"texts":["a"],"input_type":"clustering","truncate":"END"}"#, &["normalize", "max_tokens", "x"]),
        (COHERE_V4, r#"{"texts":["a"],"input_type":"clustering","truncate":"RIGHT","max_tokens":128}"#, &["normalize", "x"]),
    ] {
        let calls = planned(&request(&["a"], None, &extras), model);
        assert_eq!((bodies(&calls), &calls.dropped[..]), (vec![body], &dropped.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..]));
    }
}

#[test]
fn the_policy_decides_about_extras_and_the_user() {
    let strict = Policy { unsupported: Unsupported::Reject, unknown: Unknown::Carry };
    let closed = Policy { unsupported: Unsupported::Drop, unknown: Unknown::Reject };
    let deaf = Policy { unsupported: Unsupported::Drop, unknown: Unknown::Drop };
    let normalize = request(&["a"], None, &[("normalize", "true")]);
    assert_eq!(refused(&normalize, COHERE_V3, strict), "normalize");
    assert!(plan(&normalize, TITAN_V2, None, strict).is_ok());
    assert_eq!(refused(&normalize, TITAN_V2, closed), "normalize");
    let calls = plan(&normalize, TITAN_V2, None, deaf).unwrap();
    assert_eq!((bodies(&calls), calls.dropped.clone()), (vec![r#"{"inputText":"a"}"#], vec!["normalize".to_owned()]));

    let user = EmbeddingRequest { user: Some(Text::from_plain("u")), ..request(&["a"], None, &[]) };
    assert_eq!(planned(&user, TITAN_V2).dropped, ["user"]);
    assert_eq!(refused(&user, TITAN_V2, strict), "user");
}

#[test]
fn tokens_cannot_be_sent() {
    for input in [Input::Tokens, Input::Texts(Vec::new())] {
        let request = EmbeddingRequest { input, ..request(&[], None, &[]) };
        for model in ALL {
            assert_eq!(refused(&request, model, Policy::default()), "input");
        }
    }
}

fn read(family: Family, body: &str) -> (Vec<&str>, Option<u64>) {
    let answer = decode(family, body).unwrap();
    (answer.vectors.iter().map(|vector| vector.as_str()).collect(), answer.input_tokens)
}

#[test]
fn answers_of_each_family() {
    let titan = r#"{"embedding":[0.1,-2e-3],"inputTextTokenCount":5,"embeddingsByType":{"float":[0.1,-2e-3],"binary":[1,0]}}"#;
    assert_eq!(read(Family::TitanV2, titan), (vec!["[0.1,-2e-3]"], Some(5)));
    assert_eq!(read(Family::TitanV1, r#"{"embedding":[1]}"#), (vec!["[1]"], None));
    let floats = r#"{"id":"x","texts":["b","a"],"embeddings":[[1,2],[3,4]],"response_type":"embeddings_floats"}"#;
    let by_type = r#"{"embeddings":{"int8":[[1]],"float":[[1,2],[3,4]]},"response_type":"embeddings_by_type"}"#;
    for body in [floats, by_type] {
        for family in [Family::CohereV3, Family::CohereV4] {
            assert_eq!(read(family, body), (vec!["[1,2]", "[3,4]"], None));
        }
    }
    let nova = r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[1.5],"truncatedCharLength":3}]}"#;
    assert_eq!(read(Family::Nova, nova), (vec!["[1.5]"], None));
}

#[test]
fn nonsense_is_the_upstreams_fault() {
    for body in [
        "",
        "x",
        "{}",
        "[]",
        "null",
        r#"{"message":"no"}"#,
        r#"{"embedding":null,"embeddings":null}"#,
        r#"{"embedding":[],"embeddings":[[]]}"#,
        r#"{"embedding":["a"],"embeddings":["a"]}"#,
        r#"{"embedding":[null],"embeddings":[[null]]}"#,
        r#"{"embedding":"[1]","embeddings":{"int8":[[1]]}}"#,
        r#"{"embedding":{},"embeddings":[{"embedding":[[1]]}]}"#,
        r#"{"embedding":[1],"embeddings":[[1]],"embedding":[1],"embeddings":[[1]]}"#,
    ] {
        for family in [Family::TitanV1, Family::TitanV2, Family::CohereV3, Family::CohereV4, Family::Nova] {
            assert_eq!(decode(family, body).unwrap_err().status, 502, "{family:?} {body}");
        }
    }
    let deep = format!(r#"{{"embedding":{0}1{1},"embeddings":{0}1{1}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for family in [Family::TitanV1, Family::CohereV4, Family::Nova] {
        assert_eq!(decode(family, &deep).unwrap_err().status, 502);
    }
}

proptest! {
    /// Every text is sent once, in order, and every body is JSON.
    #[test]
    fn no_text_is_lost(texts in prop::collection::vec(".{1,8}", 1..220), model in prop::sample::select(ALL.to_vec())) {
        let request = EmbeddingRequest { input: Input::Texts(texts.iter().map(|text| Text::from_plain(text.as_str())).collect()), ..request(&[], None, &[]) };
        let calls = plan(&request, model, None, Policy::default()).unwrap();
        let mut sent = Vec::new();
        for (body, count) in calls.bodies.iter().zip(&calls.vectors) {
            let before = sent.len();
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            let one = body["inputText"].as_str().or_else(|| body["singleEmbeddingParams"]["text"]["value"].as_str());
            sent.extend(one.map(str::to_owned));
            sent.extend(body["texts"].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()));
            prop_assert_eq!(sent.len() - before, *count);
        }
        prop_assert_eq!(sent, texts);
    }

    #[test]
    fn any_answer_is_read_or_refused(body in ".*") {
        for family in [Family::TitanV2, Family::CohereV4, Family::Nova] {
            if let Err(error) = decode(family, &body) {
                prop_assert_eq!(error.status, 502);
            }
        }
    }
}
