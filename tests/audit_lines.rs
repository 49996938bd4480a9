//! One line of the audit log for each API of clients and each outcome: `tests/golden/audit/<dialect>/<outcome>.json`. `ADIT_UPDATE_GOLDEN=1` rewrites them; read the
//! difference before you commit it. Times and random ids are masked.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::path::Path;

use common::audit::{lines, stop};
use common::{Client, Gateway, Upstream};
use regex::Regex;
use serde_json::Value;

const KEY: &str = "obviously-not-a-key-of-alice-00000000";
const ID: &str = "x-amzn-requestid: 00000000-0000-0000-0000-000000000001\r\n";
const OUTCOMES: [&str; 4] = ["complete", "upstream_failed", "client_left", "refused"];

/// Two targets, the second of which takes over, and a price.
fn models(upstream: SocketAddr) -> String {
    let bedrock = |region: &str| {
        format!(
            "{{ type: bedrock, region: {region}, endpoint: 'http://{upstream}', access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY }}"
        )
    };
    let target = |provider: &str, priority: u32| {
        format!("{{ provider: {provider}, model: 'anthropic.claude-3-haiku-20240307-v1:0', surface: converse, priority: {priority} }}")
    };
    format!(
        "providers:\n  east: {}\n  west: {}\nmodels:\n  haiku: {{ targets: [{}, {}], aliases: [small], price: {{ input: 3.00, output: 15.00 }} }}\nrouting: {{ default_provider: east }}\n",
        bedrock("us-east-1"),
        bedrock("us-west-2"),
        target("east", 0),
        target("west", 1)
    )
}

/// An API: its name in the lines, its path, a good body and one that is refused.
struct Api {
    dialect: &'static str,
    path: &'static str,
    good: &'static str,
    bad: &'static str,
}

const APIS: [Api; 4] = [
    Api {
        dialect: "openai",
        path: "/v1/chat/completions",
        good: r#"{"model":"small","stream":true,"seed":7,"messages":[{"role":"user","content":"Hi Bob"}]}"#,
        bad: r#"{"model":"small","messages":"Hi Bob"}"#,
    },
    Api {
        dialect: "responses",
        path: "/v1/responses",
        good: r#"{"model":"small","stream":true,"store":false,"input":"Hi Bob"}"#,
        bad: r#"{"model":"small","input":7}"#,
    },
    Api {
        dialect: "anthropic",
        path: "/v1/messages",
        good: r#"{"model":"small","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hi Bob"}]}"#,
        bad: r#"{"model":"small","max_tokens":9,"messages":"Hi Bob"}"#,
    },
    Api {
        dialect: "bedrock",
        path: "/model/small/converse-stream",
        good: r#"{"messages":[{"role":"user","content":[{"text":"Hi Bob"}]}]}"#,
        // What is in it is Bedrock's to judge.
        bad: r#"{"messages":"Hi Bob"}"#,
    },
];

/// Has a request end in each way; their lines.
fn lines_of(api: &Api) -> Vec<Value> {
    let upstream = Upstream::new();
    let extra = "auth: { enabled: true }\naudit: { path: audit.jsonl, bodies: redacted }";
    let mut gateway = Gateway::with_models(&models(upstream.address), extra, &[("BEDROCK_API_KEY_ALICE", KEY)]);
    OUTCOMES.iter().for_each(|outcome| end(&gateway, &upstream, api, outcome));
    stop(&mut gateway);
    let lines = lines(&gateway);
    assert_eq!(lines.len(), OUTCOMES.len());
    lines
}

/// Has a request end in this way.
fn end(gateway: &Gateway, upstream: &Upstream, api: &Api, outcome: &str) {
    // Bedrock's clients name their model in the path.
    let path = if outcome == "refused" { api.path.replace("small", "nobody-has-it") } else { api.path.to_owned() };
    let body = if outcome == "refused" { api.bad } else { api.good };
    let mut client = gateway.connect();
    client.call("POST", &path, &format!("authorization: Bearer {KEY}\r\nx-request-id: golden-{outcome}\r\n"), body.as_bytes());
    match outcome {
        "complete" => {
            let (mut far, _) = upstream.exchange();
            begin(&mut far);
            far.end_stream();
            assert_eq!(client.answer().status, 200);
        }
        "upstream_failed" => {
            let (mut first, _) = upstream.exchange();
            first.reply("503 Service Unavailable", "connection: close\r\n", r#"{"message":"busy"}"#);
            let (mut far, _) = upstream.exchange();
            let headers = format!("{ID}connection: close\r\nx-amzn-errortype: InternalServerException\r\n");
            far.reply("500 Internal Server Error", &headers, r#"{"message":"down"}"#);
            assert_eq!(client.answer().status, 500);
        }
        "client_left" => {
            let (mut far, _) = upstream.exchange();
            begin(&mut far);
            client.read_until(b"Hello");
            drop(client);
            far.wait_closed();
        }
        _ => assert!((400..500).contains(&client.answer().status)),
    }
}

/// The beginning of a good answer.
fn begin(far: &mut Client) {
    far.send(
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n{ID}connection: close\r\ntransfer-encoding: chunked\r\n\r\n")
            .as_bytes(),
    );
    far.event("messageStart", r#"{"role":"assistant"}"#);
    far.delta("Hello");
}

/// Without what differs from run to run: times, and the ids that OpenAI's Responses get from us.
fn masked(mut line: Value) -> Value {
    for name in ["time", "duration_ms", "first_token_ms"] {
        if !line[name].is_null() {
            line[name] = "masked".into();
        }
    }
    if let Some(text) = line["response"]["text"].as_str() {
        let times = Regex::new(r#""(created|created_at|completed_at)":[0-9]+"#).unwrap().replace_all(text, r#""$1":0"#);
        line["response"]["text"] = Regex::new("_[0-9a-f]{32}").unwrap().replace_all(&times, "_masked").into();
    }
    line
}

#[test]
fn a_line_of_every_api_and_outcome_is_as_it_was() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audit");
    let update = std::env::var_os("ADIT_UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for api in &APIS {
        for line in lines_of(api) {
            let outcome = line["outcome"].as_str().unwrap().to_owned();
            assert_eq!((&line["dialect"], &line["request_id"]), (&api.dialect.into(), &format!("golden-{outcome}").into()), "{line}");
            let found = serde_json::to_string_pretty(&masked(line)).unwrap() + "\n";
            let file = root.join(api.dialect).join(format!("{outcome}.json"));
            if update {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, &found).unwrap();
            }
            let expected = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            if found != expected {
                wrong.push(format!("{}:\n{found}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let files = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
    assert_eq!(APIS.iter().map(|api| files(&root.join(api.dialect))).sum::<usize>(), APIS.len() * OUTCOMES.len(), "a file that nothing is compared with");
}
