//! Members that clients of Bedrock and of Anthropic have and OpenAI's do not.

use super::*;
use crate::chat::SearchResult;

fn found(content: &[&'static str], citations: Option<bool>) -> Part<'static> {
    Part::SearchResult(SearchResult {
        source: plain("https://a"),
        title: plain("A \"title\""),
        content: content.iter().map(|text| plain(text)).collect(),
        citations,
    })
}

fn passages(context: Option<&'static str>, citations: Option<bool>) -> Part<'static> {
    let source = Source::Texts(vec![plain("one"), plain(" "), plain("two")]);
    Part::Document(Document { media_type: None, name: Some(plain("Notes")), context: context.map(plain), citations, source })
}

fn thinks(thinking: &'static str) -> Request<'static> {
    Request { thinking: Some(raw(thinking)), ..request(vec![user("a")]) }
}

#[test]
fn search_results_stand_as_what_they_are_where_they_can() {
    let wire = json!({"searchResult":{"source":"https://a","title":"A \"title\"","content":[{"text":"x"},{"text":"y"}],"citations":{"enabled":true}}});
    let parts = vec![text("q"), found(&["x", " ", "y"], Some(true))];
    let in_result = result("1", vec![found(&["x", "y"], Some(true))]);
    let asked = request(vec![Message { role: Role::User, parts }, assistant(vec![call("1", "f", "{}")]), in_result]);
    let claude = body(SONNET_4_5, &asked);
    assert_eq!(claude["messages"][0]["content"][1], wire);
    assert_eq!(claude["messages"][2]["content"][0]["toolResult"]["content"], json!([wire]));
    let llama = body(LLAMA, &asked);
    let plain = json!({"text":"A \"title\"\nhttps://a\nx\ny"});
    assert_eq!(llama["messages"][0]["content"][1], plain);
    assert_eq!(llama["messages"][2]["content"][0]["toolResult"]["content"], json!([plain]));
    let empty = body(SONNET_4_5, &request(vec![Message { role: Role::User, parts: vec![found(&[], None)] }]));
    assert_eq!(empty["messages"][0]["content"], json!([{"text":"A \"title\"\nhttps://a"}]), "Bedrock wants content in one");
}

#[test]
fn documents_tell_their_context_and_are_cited_where_the_family_can() {
    let asked = request(vec![Message { role: Role::User, parts: vec![text("q"), passages(Some("c"), Some(true))] }]);
    assert_eq!(
        body(SONNET_4_5, &asked)["messages"][0]["content"][1],
        json!({"document":{"format":"txt","name":"Notes","source":{"content":[{"text":"one"},{"text":"two"}]},"context":"c","citations":{"enabled":true}}})
    );
    let llama = body(LLAMA, &asked);
    assert_eq!(llama["messages"][0]["content"][1], json!({"document":{"format":"txt","name":"Notes","source":{"bytes": STANDARD.encode("one\n\n \n\ntwo")}}}));
    assert_eq!(dropped(LLAMA, &asked), ["context", "citations"]);
    let strict = Policy { unsupported: Unsupported::Reject, ..Policy::default() };
    assert_eq!(try_encode(LLAMA, strict, &asked).unwrap_err().param.as_deref(), Some("context"));
    let off = request(vec![Message { role: Role::User, parts: vec![text("q"), passages(None, Some(false))] }]);
    assert!(dropped(LLAMA, &off).is_empty(), "not to cite is what it does anyway");
    let nothing = Part::Document(Document { media_type: None, name: None, context: None, citations: None, source: Source::Texts(vec![plain(" ")]) });
    let error = try_encode(SONNET_4_5, Policy::default(), &request(vec![Message { role: Role::User, parts: vec![nothing] }])).unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (400, Some("messages[0].content[0]")));
}

#[test]
fn top_k_goes_where_the_family_has_it() {
    let with = |effort: Option<Effort>| Request { top_k: Some(raw("40")), effort, ..request(vec![user("a")]) };
    assert_eq!(body(SONNET_4_5, &with(None))["additionalModelRequestFields"], json!({"top_k":40}));
    assert_eq!(body(LLAMA, &with(None))["additionalModelRequestFields"], json!({"top_k":40}));
    assert_eq!(body(NOVA, &with(None))["additionalModelRequestFields"], json!({"inferenceConfig":{"topK":40}}));
    for (model, effort) in [(OPUS_4_7, None), (OPUS_4_6, Some(Effort::Low)), (NOVA_2, Some(Effort::High))] {
        let asked = with(effort);
        assert!(!body_text(model, &asked).contains("40"), "{model}");
        assert_eq!(dropped(model, &asked), ["top_k"], "{model}");
    }
    let both = Request { extras: vec![extra("top_k", "41")], ..with(None) };
    assert_eq!(body(SONNET_4_5, &both)["additionalModelRequestFields"], json!({"top_k":41}));
}

#[test]
fn trap_33_34_thinking_is_written_and_mended() {
    for (model, thinking, written) in [
        (SONNET_4_5, r#"{"type":"enabled","budget_tokens":2048}"#, json!({"type":"enabled","budget_tokens":2048})),
        (SONNET_4_5, r#"{"type":"enabled","budget_tokens":5}"#, json!({"type":"enabled","budget_tokens":1024})),
        (SONNET_4_5, r#"{"type":"adaptive"}"#, json!({"type":"enabled","budget_tokens":8192})),
        (SONNET_4_5, r#"{"type":"disabled"}"#, json!({"type":"disabled"})),
        (OPUS_4_6, r#"{"type":"enabled","budget_tokens":2048}"#, json!({"type":"enabled","budget_tokens":2048})),
        (OPUS_4_6, r#"{"type":"adaptive","display":"summarized"}"#, json!({"type":"adaptive","display":"summarized"})),
        (OPUS_4_7, r#"{"type":"enabled","budget_tokens":2048}"#, json!({"type":"adaptive"})),
    ] {
        assert_eq!(body(model, &thinks(thinking))["additionalModelRequestFields"]["thinking"], written, "{model} {thinking}");
    }
    let small = Request { max_tokens: Some(1000), ..thinks(r#"{"type":"enabled","budget_tokens":2048}"#) };
    assert_eq!(body(SONNET_4_5, &small)["inferenceConfig"]["maxTokens"], 3048);
    let always = thinks(r#"{"type":"disabled"}"#);
    assert!(body(OPUS_5_5, &always).get("additionalModelRequestFields").is_none());
    assert_eq!(dropped(OPUS_5_5, &always), ["thinking"]);
    let effort = Request { effort: Some(Effort::High), ..thinks(r#"{"type":"adaptive"}"#) };
    assert_eq!(body(OPUS_4_6, &effort)["outputConfig"]["effort"], "high");
    let both = Request { extras: vec![extra("thinking", r#"{"type":"enabled","budget_tokens":4096}"#)], ..thinks(r#"{"type":"disabled"}"#) };
    assert_eq!(body(SONNET_4_5, &both)["additionalModelRequestFields"]["thinking"]["budget_tokens"], 4096, "the one that travels by itself stands above");
}

#[test]
fn thinking_is_an_effort_for_other_families() {
    for (budget, level) in [(1024, "low"), (2048, "low"), (2049, "medium"), (8192, "medium"), (8193, "high"), (30_000, "high")] {
        let json: &'static str = Box::leak(format!(r#"{{"type":"enabled","budget_tokens":{budget}}}"#).into_boxed_str());
        assert_eq!(body(GPT_OSS, &thinks(json))["additionalModelRequestFields"], json!({"reasoning_effort":level}), "{budget}");
        assert_eq!(body(KIMI, &thinks(json))["additionalModelRequestFields"], json!({"reasoning_config":level}), "{budget}");
    }
    for thinking in [r#"{"type":"disabled"}"#, r#"{"type":"adaptive"}"#, "{}"] {
        assert!(body(GPT_OSS, &thinks(thinking)).get("additionalModelRequestFields").is_none(), "{thinking}");
        assert!(dropped(LLAMA, &thinks(thinking)).is_empty());
    }
    let effort = Request { effort: Some(Effort::High), ..thinks(r#"{"type":"adaptive"}"#) };
    assert_eq!(body(GPT_OSS, &effort)["additionalModelRequestFields"], json!({"reasoning_effort":"high"}));
    for model in [LLAMA, HAIKU_3] {
        let asked = thinks(r#"{"type":"enabled","budget_tokens":2048}"#);
        assert!(!body_text(model, &asked).contains("thinking"), "{model}");
        assert_eq!(dropped(model, &asked), ["thinking"], "{model}");
    }
}

#[test]
fn trap_48_the_stop_text_is_asked_for() {
    let asked = Request { tells_stop: true, ..request(vec![user("a")]) };
    assert_eq!(body(SONNET_4_5, &asked)["additionalModelResponseFieldPaths"], json!(["/stop_sequence"]));
    assert_eq!(body(LLAMA, &asked)["additionalModelResponseFieldPaths"], json!(["/stop_sequence"]), "who does not know it ignores it");
    let twice = Request { extras: vec![extra("additionalModelResponseFieldPaths", r#"["/stop_sequence"]"#)], ..asked };
    assert_eq!(body(SONNET_4_5, &twice)["additionalModelResponseFieldPaths"], json!(["/stop_sequence"]));
}

#[test]
fn what_takes_input_tokens_is_counted() {
    let mut asked = request(vec![says(Role::System, "be"), user("a")]);
    asked.tools = vec![tool("f")];
    asked.max_tokens = Some(9);
    asked.stop = vec![plain("END")];
    asked.metadata = vec![(plain("a"), plain("b"))];
    asked.top_k = Some(raw("5"));
    let capabilities = Capabilities::of(SONNET_4_5);
    let options = Options { capabilities: &capabilities, policy: Policy::default(), default_max_tokens: None, guardrail: None, stream: false };
    let counted: Value = serde_json::from_slice(&encode_count(&asked, &options).unwrap().body).unwrap();
    let whole = body(SONNET_4_5, &asked);
    assert_eq!(
        counted,
        json!({"input":{"converse":{"messages":whole["messages"],"system":whole["system"],"toolConfig":whole["toolConfig"],
            "additionalModelRequestFields":{"top_k":5}}}})
    );
    let least = encode_count(&request(vec![user("Hi")]), &options).unwrap();
    assert_eq!(String::from_utf8(least.body).unwrap(), r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}}}"#);
}
