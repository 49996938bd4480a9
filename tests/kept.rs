//! Responses that are kept: going on from them, fetching and deleting them, whose they are, and what is left of them behind a restart and during an upgrade.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;

use common::process::{Daemon, signal, until};
use common::relays::models;
use common::{Answer, Client, Gateway, Upstream};
use serde_json::{Value, json};

const ALICE: &str = "authorization: Bearer key-of-alice-0123456789\r\n";
const BOB: &str = "authorization: Bearer key-of-bob-0123456789ab\r\n";

fn call(address: SocketAddr, method: &str, path: &str, headers: &str, body: &Value) -> Client {
    let mut client = Client::new(std::net::TcpStream::connect(address).unwrap());
    let body = if body.is_null() { String::new() } else { body.to_string() };
    client.call(method, path, headers, body.as_bytes());
    client
}

fn fetch(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    call(address, method, path, headers, &Value::Null).answer()
}

/// Asks for a response that the upstream answers with this text; the answer, and what the upstream was asked.
fn respond(address: SocketAddr, upstream: &Upstream, headers: &str, body: &Value, text: &str) -> (Value, Value) {
    let mut client = call(address, "POST", "/v1/responses", headers, body);
    let (mut far, request) = upstream.exchange();
    if request.line.contains("/converse") {
        far.reply_closing(text);
    } else if request.line.contains("/messages") {
        far.reply_closing_json(&format!(
            r#"{{"id":"m","type":"message","role":"assistant","model":"claude","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":3,"output_tokens":2}}}}"#
        ));
    } else {
        far.reply_closing_json(&format!(
            r#"{{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}}}"#
        ));
    }
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    (answer.json(), request.json())
}

/// What was said, one text after the other, whatever the API.
fn said(request: &Value) -> Vec<String> {
    let texts = |content: &Value| match content {
        Value::String(text) => vec![text.clone()],
        other => other.as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap().to_owned()).collect(),
    };
    request["messages"].as_array().unwrap().iter().filter(|message| message["role"] != "system").flat_map(|message| texts(&message["content"])).collect()
}

fn id(response: &Value) -> &str {
    response["id"].as_str().unwrap()
}

#[test]
fn a_conversation_goes_on_from_any_answer_over_every_api() {
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&models(upstream.address), "", &[]);
    let address = gateway.address;
    let first = json!({"model": "haiku", "input": "One", "instructions": "Be brief."});
    let (one, _) = respond(address, &upstream, "", &first, "Two");
    assert_eq!((&one["store"], &one["previous_response_id"]), (&json!(true), &Value::Null));
    // Each time another model, and so another API; instructions are not carried over.
    let mut previous = one.clone();
    for (number, model) in ["my-gpt", "my-claude", "haiku"].into_iter().enumerate() {
        let more = json!({"model": model, "input": [{"role": "user", "content": format!("Say {number}")}], "previous_response_id": id(&previous)});
        let (next, request) = respond(address, &upstream, "", &more, &format!("It is {number}"));
        let mut expected = vec!["One".to_owned(), "Two".to_owned()];
        expected.extend((0..number).flat_map(|before| [format!("Say {before}"), format!("It is {before}")]));
        expected.push(format!("Say {number}"));
        assert_eq!(said(&request), expected, "{model}");
        assert!(!request.to_string().contains("Be brief."), "{model}");
        assert_eq!(next["previous_response_id"], previous["id"]);
        previous = next;
    }
    // From the first one another way.
    let branch = json!({"model": "haiku", "input": "Else", "previous_response_id": id(&one)});
    assert_eq!(said(&respond(address, &upstream, "", &branch, "x").1), ["One", "Two", "Else"]);
    // Tokens are counted of all of it.
    let mut client = call(address, "POST", "/v1/responses/input_tokens", "", &branch);
    let (mut far, request) = upstream.exchange();
    assert!(request.line.contains("/count-tokens") && String::from_utf8_lossy(&request.body).contains("Two"), "{}", request.line);
    far.reply_closing_json(r#"{"inputTokens":7}"#);
    assert_eq!(client.answer().json()["input_tokens"], 7);
}

#[test]
fn a_streamed_answer_is_kept_as_its_last_event_says_and_calls_go_on() {
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&models(upstream.address), "", &[]);
    let tools = json!([{"type": "function", "name": "weather", "parameters": {"type": "object"}}]);
    let asked = json!({"model": "haiku", "input": "Weather?", "stream": true, "tools": tools});
    let mut client = call(gateway.address, "POST", "/v1/responses", "", &asked);
    let (mut far, _) = upstream.exchange();
    far.begin_last_answer();
    far.event("contentBlockStart", r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t1","name":"weather"}}}"#);
    far.event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}"#);
    far.event("contentBlockStop", r#"{"contentBlockIndex":0}"#);
    far.event("messageStop", r#"{"stopReason":"tool_use"}"#);
    far.event("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#);
    far.end_chunks();
    let answer = client.answer();
    let last = answer.text().split("\n\n").find(|event| event.starts_with("event: response.completed\n")).unwrap();
    let event: Value = serde_json::from_str(last.split_once("data: ").unwrap().1).unwrap();
    let response = &event["response"];
    assert_eq!(fetch(gateway.address, "GET", &format!("/v1/responses/{}", id(response)), "").json(), *response);
    let output = json!({"type": "function_call_output", "call_id": "t1", "output": "sun"});
    let more = json!({"model": "haiku", "input": [output], "previous_response_id": id(response), "tools": tools});
    let (_, request) = respond(gateway.address, &upstream, "", &more, "Sunny");
    assert_eq!(request["messages"][1]["content"][0]["toolUse"]["toolUseId"], "t1");
    assert_eq!(request["messages"][2]["content"][0]["toolResult"]["toolUseId"], "t1");
}

#[test]
fn answers_and_their_input_are_fetched_and_deleted() {
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&models(upstream.address), "", &[]);
    let address = gateway.address;
    let (one, _) = respond(address, &upstream, "", &json!({"model": "haiku", "input": "One"}), "Two");
    let (two, _) =
        respond(address, &upstream, "", &json!({"model": "haiku", "input": [{"role": "user", "content": "Three"}], "previous_response_id": id(&one)}), "Four");
    let path = format!("/v1/responses/{}", id(&two));
    assert_eq!(fetch(address, "GET", &path, "").json(), two);
    let items = |query: &str| -> Vec<String> {
        let list = fetch(address, "GET", &format!("{path}/input_items{query}"), "").json();
        assert_eq!(list["object"], "list", "{list}");
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["content"][0]["text"].as_str().or_else(|| item["content"].as_str()).unwrap().to_owned())
            .collect()
    };
    assert_eq!(items(""), ["Three", "Two", "One"]);
    assert_eq!(items("?order=asc&limit=2"), ["One", "Two"]);
    let newest = fetch(address, "GET", &format!("{path}/input_items?limit=1"), "").json();
    assert_eq!((&newest["has_more"], &newest["first_id"]), (&json!(true), &newest["last_id"]));
    assert_eq!(items(&format!("?after={}", newest["last_id"].as_str().unwrap())), ["Two", "One"]);
    for (query, param) in [("?limit=0", "limit"), ("?limit=101", "limit"), ("?order=up", "order"), ("?after=nobody", "after")] {
        let answer = fetch(address, "GET", &format!("{path}/input_items{query}"), "");
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)));
    }
    // Items by their names, as some SDKs send them.
    let named = json!({"model": "haiku", "input": [{"type": "item_reference", "id": one["output"][0]["id"]}, {"role": "user", "content": "And?"}]});
    assert!(said(&respond(address, &upstream, "", &named, "x").1).ends_with(&["Two".to_owned(), "And?".to_owned()]));
    assert_eq!(fetch(address, "POST", &path, "").status, 405);
    assert_eq!(fetch(address, "GET", &format!("{path}?stream=true"), "").status, 400);

    assert_eq!(fetch(address, "DELETE", &format!("/v1/responses/{}", id(&one)), "").json(), json!({"id": id(&one), "object": "response", "deleted": true}));
    let gone = fetch(address, "GET", &format!("/v1/responses/{}", id(&one)), "");
    assert_eq!((gone.status, &gone.json()["error"]["type"]), (404, &json!("invalid_request_error")));
    assert_eq!(fetch(address, "DELETE", &format!("/v1/responses/{}", id(&one)), "").status, 404);
    // What went on from it has lost its beginning.
    let broken = gateway.post("/v1/responses", "", &json!({"model": "haiku", "input": "x", "previous_response_id": id(&two)}).to_string());
    assert_eq!((broken.status, &broken.json()["error"]["param"]), (400, &json!("previous_response_id")));
    let unknown = gateway.post("/v1/responses", "", &json!({"model": "haiku", "input": "x", "previous_response_id": "resp_nobody"}).to_string());
    assert_eq!((unknown.status, &unknown.json()["error"]["param"]), (400, &json!("previous_response_id")));
    gateway.wait_metrics(&["adit_responses_kept_total 3".to_owned(), "adit_responses_lost_total 0".to_owned()]);
}

#[test]
fn what_is_not_to_be_kept_is_not() {
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&models(upstream.address), "", &[]);
    let (answer, _) = respond(gateway.address, &upstream, "", &json!({"model": "haiku", "input": "One", "store": false}), "Two");
    assert_eq!(answer["store"], false);
    assert_eq!(fetch(gateway.address, "GET", &format!("/v1/responses/{}", id(&answer)), "").status, 404);
    // Where the operator keeps nothing, the answer says so.
    let gateway = Gateway::with_models(&models(upstream.address), "responses: { store: false }", &[]);
    let (answer, _) = respond(gateway.address, &upstream, "", &json!({"model": "haiku", "input": "One", "store": true}), "Two");
    assert_eq!(answer["store"], false);
    assert_eq!(fetch(gateway.address, "GET", &format!("/v1/responses/{}", id(&answer)), "").status, 404);
    let unknown = gateway.post("/v1/responses", "", &json!({"model": "haiku", "input": "x", "previous_response_id": id(&answer)}).to_string());
    assert_eq!(unknown.status, 400);
    assert!(!gateway.folder().join("state/responses.db").exists());
}

#[test]
fn nobody_finds_what_another_user_keeps() {
    let upstream = Upstream::new();
    let env = [("AUTH_ENABLED", "true"), ("BEDROCK_API_KEY_ALICE", "key-of-alice-0123456789"), ("BEDROCK_API_KEY_BOB", "key-of-bob-0123456789ab")];
    let gateway = Gateway::with_models(&models(upstream.address), "", &env);
    let address = gateway.address;
    let (answer, _) = respond(address, &upstream, ALICE, &json!({"model": "haiku", "input": "Secret"}), "Two");
    let path = format!("/v1/responses/{}", id(&answer));
    assert_eq!(fetch(address, "GET", &path, ALICE).json(), answer);
    let nobody = fetch(address, "GET", "/v1/responses/resp_00000000000000000000000000000000", BOB);
    for (method, behind) in [("GET", ""), ("DELETE", ""), ("GET", "/input_items")] {
        let theirs = fetch(address, method, &format!("{path}{behind}"), BOB);
        assert_eq!(theirs.status, 404, "{method} {behind}");
        assert_eq!(theirs.text().replace(id(&answer), "ID"), nobody.text().replace("resp_00000000000000000000000000000000", "ID"), "like one that never was");
        assert_eq!(fetch(address, method, &format!("{path}{behind}"), "").status, 401, "{method} {behind}");
    }
    let more = json!({"model": "haiku", "input": "x", "previous_response_id": id(&answer)}).to_string();
    assert_eq!(gateway.post("/v1/responses", BOB, &more).status, 400);
    let named = json!({"model": "haiku", "input": [{"type": "item_reference", "id": answer["output"][0]["id"]}]}).to_string();
    assert_eq!(gateway.post("/v1/responses", BOB, &named).status, 400);
    assert!(upstream.is_unused());
    assert_eq!(fetch(address, "GET", &path, ALICE).status, 200);
}

#[test]
fn a_providers_own_answers_belong_to_who_asked_for_them() {
    let upstream = Upstream::new();
    let map = format!(
        r"
providers:
  own: {{ type: openai, base_url: 'http://{address}/v1', api_key: sk-of-the-gateway, responses: true }}
  bedrock: {{ type: bedrock, region: us-east-1, endpoint: 'http://{address}', access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY }}
models:
  gpt: {{ own: gpt-5 }}
  haiku: {{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }}
",
        address = upstream.address
    );
    let env = [("AUTH_ENABLED", "true"), ("BEDROCK_API_KEY_ALICE", "key-of-alice-0123456789"), ("BEDROCK_API_KEY_BOB", "key-of-bob-0123456789ab")];
    let gateway = Gateway::with_models(&map, "", &env);
    let address = gateway.address;
    let said = r#"{"id":"resp_theirs","object":"response","status":"completed","output":[],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#;
    let ask = |headers: &str, body: &Value| {
        let mut client = call(address, "POST", "/v1/responses", headers, body);
        let (mut far, request) = upstream.exchange();
        far.reply_closing_json(said);
        assert_eq!(client.answer().text(), said);
        request.json()
    };
    ask(ALICE, &json!({"model": "gpt", "input": "One"}));
    let more = |model: &str, previous: &str| json!({"model": model, "input": "Go on", "previous_response_id": previous});
    assert_eq!(ask(ALICE, &more("gpt", "resp_theirs"))["previous_response_id"], "resp_theirs");
    // Of the other user, and at another provider, it is not there.
    assert_eq!(gateway.post("/v1/responses", BOB, &more("gpt", "resp_theirs").to_string()).status, 400);
    assert_eq!(fetch(address, "GET", "/v1/responses/resp_theirs", BOB).status, 404);
    let elsewhere = gateway.post("/v1/responses", ALICE, &more("haiku", "resp_theirs").to_string());
    assert!(elsewhere.status == 400 && elsewhere.text().contains("'own'"), "{}", elsewhere.text());
    // It is fetched where it is kept.
    for (method, path, query) in [
        ("GET", "/v1/responses/resp_theirs", "?include=x"),
        ("GET", "/v1/responses/resp_theirs/input_items", "?limit=1"),
        ("DELETE", "/v1/responses/resp_theirs", ""),
    ] {
        let mut client = call(address, method, &format!("{path}{query}"), ALICE, &Value::Null);
        let (mut far, request) = upstream.exchange();
        assert_eq!((request.line, &*request.body), (format!("{method} {path}{query} HTTP/1.1"), &b""[..]));
        far.reply_closing_json(said);
        assert_eq!(client.answer().text(), said);
    }
    // A conversation that began elsewhere goes on there with its items, and without what only its model takes back.
    let thinking = r#"{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"c2ln"}}},{"text":"Two"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#;
    let mut client = call(address, "POST", "/v1/responses", ALICE, &json!({"model": "haiku", "input": "One"}));
    upstream.exchange().0.reply_closing_json(thinking);
    let first = client.answer().json();
    let request = ask(ALICE, &more("gpt", id(&first)));
    assert!(request["previous_response_id"].is_null());
    let types: Vec<_> = request["input"].as_array().unwrap().iter().map(|item| item["role"].as_str().unwrap()).collect();
    assert_eq!(types, ["user", "assistant", "user"], "{request}");
}

#[test]
fn what_is_kept_outlives_the_process_and_passes_to_a_successor() {
    let upstream = Upstream::new();
    let graceful = "grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30";
    let mut daemon = Daemon::start(&models(upstream.address), graceful, "", &[]);
    let address = daemon.address;
    let (one, _) = respond(address, &upstream, "", &json!({"model": "haiku", "input": "One"}), "Two");
    // An upgrade, with an answer of the old process under way.
    let mut late = call(address, "POST", "/v1/responses", "", &json!({"model": "haiku", "input": "Late"}));
    let (mut far, _) = upstream.exchange();
    let old = daemon.child.id();
    let mut successor = daemon.spawn(&["-u"]);
    daemon.signal("QUIT");
    until("the successor serves", || daemon.pid_file() == Some(successor.id()));
    let go_on = |previous: &Value| json!({"model": "haiku", "input": "More", "previous_response_id": id(previous)});
    // The old one still runs, and both have the file open.
    assert_eq!(said(&respond(address, &upstream, "", &go_on(&one), "x").1), ["One", "Two", "More"]);
    far.reply_closing("Answer");
    let answer = late.answer().json();
    assert_ne!(old, successor.id());
    assert_eq!(said(&respond(address, &upstream, "", &go_on(&answer), "x").1), ["Late", "Answer", "More"]);
    assert_eq!(daemon.wait_exit(), Some(0));
    // A restart.
    signal(successor.id(), "TERM");
    assert!(successor.wait().unwrap().success());
    let mut again = daemon.spawn(&[]);
    until("it serves again", || daemon.pid_file() == Some(again.id()));
    assert_eq!(fetch(address, "GET", &format!("/v1/responses/{}", id(&answer)), "").json(), answer);
    assert_eq!(said(&respond(address, &upstream, "", &go_on(&answer), "x").1), ["Late", "Answer", "More"]);
    signal(again.id(), "INT");
    again.wait().unwrap();
}
