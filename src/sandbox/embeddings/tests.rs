use serde_json::json;

use super::*;

const TITAN_1: &str = "amazon.titan-embed-text-v1";
const TITAN_2: &str = "amazon.titan-embed-text-v2:0";
const COHERE_3: &str = "cohere.embed-english-v3";
const COHERE_4: &str = "us.cohere.embed-v4:0";
const NOVA: &str = "amazon.nova-2-multimodal-embeddings-v1:0";
const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

fn ask(id: &str, body: Value) -> Result<(Value, Option<String>), String> {
    let (model, knobs) = Knobs::of(id, &HeaderMap::new()).unwrap();
    let output = Model::of(model).unwrap().answer(&body, "0123456789abcdef0123456789abcdef", &knobs).map_err(|failure| failure.message.into_owned())?;
    let Body::Json(bytes) = output.body else { panic!("a stream") };
    let tokens = output.headers.get(INPUT_TOKENS).map(|value| value.to_str().unwrap().to_owned());
    Ok((serde_json::from_slice(&bytes).unwrap(), tokens))
}

fn refused(id: &str, body: Value, with: &str) {
    let message = ask(id, body).expect_err(with);
    assert!(message.contains(with), "{message} does not say: {with}");
}

/// The formula of the module, written once more.
fn expected(text: &str, count: usize) -> Vec<f64> {
    let digest = Sha256::digest(text);
    let component = |index: usize| {
        let at = index % 16 * 2;
        f64::from(i16::from_be_bytes([digest[at], digest[at + 1]])) / 32768.0
    };
    (0..count).map(|index| format!("{:.6}", component(index)).parse().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn ids_tell_the_format() {
    let cases = [
        (TITAN_1, Some(Model::Titan1)),
        ("amazon.titan-embed-g1-text-02", Some(Model::Titan1)),
        (TITAN_2, Some(Model::Titan2)),
        ("cohere.embed-multilingual-v3", Some(Model::Cohere3)),
        (COHERE_4, Some(Model::Cohere4)),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-multimodal-embeddings-v1:0", Some(Model::Nova)),
        ("amazon.titan-embed-image-v1", None),
        ("amazon.nova-2-lite-v1:0", None),
        ("cohere.command-r-v1:0", None),
    ];
    for (id, model) in cases {
        assert_eq!(Model::of(id), model, "{id}");
    }
}

#[test]
fn vectors_are_made_by_the_formula() {
    let (answer, header) = ask(TITAN_2, json!({"inputText": "hello", "dimensions": 256, "normalize": true, "embeddingTypes": ["float", "binary"]})).unwrap();
    let floats_of = expected("hello", 256);
    assert_eq!(floats(&answer["embedding"]), floats_of);
    assert_eq!(answer["embeddingsByType"]["float"], answer["embedding"]);
    let bits: Vec<f64> = floats_of.iter().map(|number| f64::from(u8::from(*number > 0.0))).collect();
    assert_eq!(floats(&answer["embeddingsByType"]["binary"]), bits);
    assert_eq!((&answer["inputTextTokenCount"], header), (&json!(2), None));

    let types = json!(["float", "int8", "uint8", "binary", "ubinary"]);
    let (answer, header) = ask(COHERE_3, json!({"texts": ["hello", "b"], "input_type": "search_query", "embedding_types": types})).unwrap();
    assert_eq!((header.as_deref(), &answer["response_type"], &answer["texts"]), (Some("3"), &json!("embeddings_by_type"), &json!(["hello", "b"])));
    let of = |kind: &str| floats(&answer["embeddings"][kind][0]);
    assert_eq!(of("float"), expected("hello", 1024));
    assert_eq!((of("int8").len(), of("uint8").len(), of("binary").len(), of("ubinary").len()), (1024, 1024, 128, 128));
    let first = Sha256::digest("hello")[0];
    assert_eq!((of("uint8")[0], of("int8")[0]), (f64::from(first), f64::from(first as i8)));
    let byte = expected("hello", 8).iter().fold(0_u8, |byte, number| byte << 1 | u8::from(*number > 0.0));
    assert_eq!((of("ubinary")[0], of("binary")[0]), (f64::from(byte), f64::from(byte) - 128.0));
}

#[test]
fn each_format_has_its_own_answer() {
    let (answer, _) = ask(TITAN_1, json!({"inputText": "hello"})).unwrap();
    assert_eq!((answer["embedding"].as_array().unwrap().len(), answer.as_object().unwrap().len()), (1536, 2));
    let (answer, _) = ask(COHERE_4, json!({"texts": ["a"], "input_type": "search_document"})).unwrap();
    assert_eq!((floats(&answer["embeddings"][0]).len(), &answer["response_type"]), (1536, &json!("embeddings_floats")));
    assert_eq!(answer["id"], "01234567-89ab-4def-a123-456789abcdef");
    let inputs = json!([{"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": PNG}}]}]);
    let (answer, tokens) = ask(COHERE_4, json!({"inputs": inputs, "input_type": "search_document", "output_dimension": 256})).unwrap();
    assert_eq!((floats(&answer["embeddings"][0]), tokens.as_deref()), (expected(&format!("a{PNG}"), 256), Some("101")));
    assert_eq!(answer.get("texts"), None);
    let text = json!({"truncationMode": "END", "value": "hello"});
    let params = json!({"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 384, "text": text});
    let (answer, tokens) = ask(NOVA, json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params})).unwrap();
    assert_eq!((&answer["embeddings"][0]["embeddingType"], tokens.as_deref()), (&json!("TEXT"), Some("2")));
    assert_eq!(floats(&answer["embeddings"][0]["embedding"]), expected("hello", 384));
}

#[test]
fn titan_bodies_are_checked() {
    refused(TITAN_1, json!({"inputText": "a", "dimensions": 256}), "#: extraneous key [dimensions] is not permitted, please reformat");
    refused(TITAN_2, json!({"inputText": "a", "input": "a"}), "extraneous key [input]");
    refused(TITAN_2, json!({}), "required key [inputText] not found");
    refused(TITAN_2, json!([]), "expected type: JSONObject");
    refused(TITAN_2, json!({"inputText": ["a"]}), "#/inputText: expected type: String");
    refused(TITAN_2, json!({"inputText": ""}), "expected minLength: 1, actual: 0");
    refused(TITAN_2, json!({"inputText": "a", "dimensions": 1536}), "#/dimensions: 1536 is not a valid enum value");
    refused(TITAN_2, json!({"inputText": "a", "normalize": 1}), "#/normalize: expected type: Boolean");
    refused(TITAN_2, json!({"inputText": "a", "embeddingTypes": ["base64"]}), "#/embeddingTypes/0");
    refused(TITAN_2, json!({"inputText": "a".repeat(50_001)}), "expected maxLength: 50000");
    refused(TITAN_2, json!({"inputText": "a".repeat(32_769)}), "Max input tokens: 8192, request input token count: 8193");
}

#[test]
fn cohere_bodies_are_checked() {
    let with = |more: Value| {
        let mut body = json!({"texts": ["a"], "input_type": "search_document"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for id in [COHERE_3, COHERE_4] {
        ask(id, with(json!({"texts": vec!["a"; 96]}))).unwrap();
        refused(id, with(json!({"texts": vec!["a"; 97]})), "#/texts: expected maximum item count: 96, found: 97");
        refused(id, with(json!({"texts": []})), "expected minimum item count: 1");
        refused(id, with(json!({"texts": "a"})), "#/texts: expected type: JSONArray");
        refused(id, with(json!({"texts": [[1, 2]]})), "#/texts/0: expected type: String");
        refused(id, json!({"texts": ["a"]}), "required key [input_type] not found");
        refused(id, with(json!({"input_type": "query"})), "#/input_type: \"query\" is not a valid enum value");
        refused(id, with(json!({"model": "x"})), "extraneous key [model]");
        refused(id, with(json!({"embedding_types": ["base64"]})), "#/embedding_types/0");
        refused(id, json!({"input_type": "search_query"}), "exactly one of texts, images");
    }
    refused(COHERE_3, with(json!({"texts": ["a".repeat(2049)]})), "#/texts/0: expected maxLength: 2048, actual: 2049");
    ask(COHERE_4, with(json!({"texts": ["a".repeat(2049)]}))).unwrap();
    refused(COHERE_3, with(json!({"output_dimension": 256})), "extraneous key [output_dimension]");
    refused(COHERE_4, with(json!({"output_dimension": 100})), "#/output_dimension: 100");
    ask(COHERE_3, with(json!({"truncate": "START"}))).unwrap();
    refused(COHERE_3, with(json!({"truncate": "LEFT"})), "#/truncate");
    refused(COHERE_4, with(json!({"truncate": "START"})), "#/truncate");
    refused(COHERE_4, with(json!({"texts": ["abcdefghi"], "max_tokens": 2, "truncate": "NONE"})), "input 0 is too long: 3 tokens");
    assert_eq!(ask(COHERE_4, with(json!({"texts": ["abcdefghi"], "max_tokens": 2}))).unwrap().1.as_deref(), Some("2"));
    ask(COHERE_3, json!({"images": [PNG], "input_type": "image"})).unwrap();
    refused(COHERE_3, json!({"images": [PNG, PNG], "input_type": "image"}), "expected maximum item count: 1");
    refused(COHERE_3, json!({"images": [PNG], "input_type": "search_query"}), "input_type 'image'");
    refused(COHERE_4, json!({"images": ["https://example.com/a.png"], "input_type": "image"}), "must be a data URI");
    refused(COHERE_4, json!({"images": ["data:image/jpeg;base64,iVBORw0KGgo="], "input_type": "image"}), "not of its declared format");
}

#[test]
fn nova_bodies_are_checked() {
    let body = |params: Value| json!({"schemaVersion": "nova-multimodal-embed-v1", "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params});
    let text = |more: Value| {
        let mut params = json!({"embeddingPurpose": "TEXT_RETRIEVAL", "text": {"truncationMode": "NONE", "value": "a"}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body(params)
    };
    assert_eq!(ask(NOVA, text(json!({}))).unwrap().0["embeddings"][0]["embedding"].as_array().unwrap().len(), 3072);
    refused(NOVA, json!({"taskType": "SEGMENTED_EMBEDDING", "singleEmbeddingParams": {}}), "#/taskType");
    refused(NOVA, text(json!({"embeddingDimension": 512})), "#/singleEmbeddingParams/embeddingDimension: 512");
    refused(NOVA, text(json!({"embeddingPurpose": "SEARCH"})), "#/singleEmbeddingParams/embeddingPurpose");
    refused(NOVA, text(json!({"text": {"value": "a"}})), "#/singleEmbeddingParams/text: required key [truncationMode] not found");
    refused(NOVA, text(json!({"text": {"truncationMode": "NONE", "value": ""}})), "minLength");
    refused(NOVA, text(json!({"text": {"truncationMode": "NONE", "value": "a".repeat(32_769)}})), "The limit is 8192");
    let cut = ask(NOVA, text(json!({"text": {"truncationMode": "END", "value": "a".repeat(40_000)}}))).unwrap();
    assert_eq!((&cut.0["embeddings"][0]["truncatedCharLength"], cut.1.as_deref()), (&json!(32_768), Some("8192")));
    refused(NOVA, text(json!({"image": {}})), "exactly one of text, image");
    refused(NOVA, body(json!({"embeddingPurpose": "GENERIC_INDEX", "audio": {}})), "no ears");
    let image = |format: &str| body(json!({"embeddingPurpose": "GENERIC_INDEX", "image": {"format": format, "source": {"bytes": "iVBORw0KGgo="}}}));
    assert_eq!(ask(NOVA, image("png")).unwrap().0["embeddings"][0]["embeddingType"], "IMAGE");
    refused(NOVA, image("gif"), "not of its declared format");
}

#[test]
fn counts_and_output_can_be_left_out() {
    let body = json!({"texts": ["a"], "input_type": "search_document"});
    assert_eq!(ask("cohere.embed-v4:0.sandbox.omit-metadata", body.clone()).unwrap().1, None);
    assert_eq!(ask("cohere.embed-v4:0.sandbox.omit-output", body).unwrap().0["Version"], "1.0");
    assert_eq!(ask("amazon.titan-embed-text-v2:0.sandbox.omit-metadata", json!({"inputText": "a"})).unwrap().0.get("inputTextTokenCount"), None);
}
