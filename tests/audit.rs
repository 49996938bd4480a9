//! The audit log of the real daemon: a line for every request, none lost or torn by rotation, the tokens of the metrics, and nobody's secrets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use common::audit::{lines, serve, stop, sum};
use common::{Gateway, PATIENCE, Upstream};
use serde_json::Value;

const CHAT: &str = r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
const CLIENTS: usize = 16;

#[test]
fn every_request_has_its_line_through_rotation_under_load_and_the_tokens_are_those_of_the_metrics() {
    let requests: usize = std::env::var("AUDIT_REQUESTS").map_or(10_000, |number| number.parse().unwrap());
    let each = requests.div_ceil(CLIENTS);
    let upstream = Upstream::new();
    let mut gateway = Gateway::start(upstream.address, "audit: { path: audit.jsonl, on_full: block }");
    serve(upstream);
    let house = &gateway;
    let asked = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = house.connect();
                for request in 0..each {
                    let id = format!("x-request-id: audit-{number}-{request}\r\n");
                    // Good ones, and what is refused: a model that nobody has, no JSON, and a path that leads nowhere.
                    let (path, body, status) = match request % 8 {
                        5 => ("/v1/chat/completions", r#"{"model":"nobody-has-it","messages":[]}"#, 404),
                        6 => ("/v1/chat/completions", "{", 400),
                        7 => ("/v1/nowhere", "{}", 404),
                        _ => ("/v1/chat/completions", CHAT, 200),
                    };
                    client.call("POST", path, &id, body.as_bytes());
                    let answer = client.answer();
                    asked.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(answer.status, status, "{}", answer.text());
                    if answer.header("connection") == Some("close") {
                        client = house.connect();
                    }
                    // In the midst of what the others send.
                    if number == 0 && request % (each / 5) == 1 {
                        let moved = house.folder().join(format!("audit.jsonl.old-{request}"));
                        std::fs::rename(house.folder().join("audit.jsonl"), moved).unwrap();
                        house.signal("HUP");
                        let begun = std::time::Instant::now();
                        while !house.folder().join("audit.jsonl").exists() {
                            assert!(begun.elapsed() < PATIENCE, "no new file");
                            // Another request, or there is nothing to write.
                            assert_eq!(house.get("/v1/models/nobody-has-it").status, 404);
                            asked.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    // The lines are counted behind the last byte of an answer.
    let begun = std::time::Instant::now();
    let metrics = loop {
        let metrics = gateway.get("/metrics").text().to_owned();
        let all = sum(&metrics, "adit_requests_total{", "route=\"/") - sum(&metrics, "adit_requests_total{", "route=\"/metrics\"")
            + sum(&metrics, "adit_requests_total{", "route=\"unknown\"")
            - sum(&metrics, "adit_requests_total{", "route=\"/health\"");
        if all == asked.load(Ordering::Relaxed) && sum(&metrics, "adit_audit_written_total", "") == all {
            break metrics;
        }
        assert!(begun.elapsed() < PATIENCE, "{metrics}");
    };
    assert_eq!((sum(&metrics, "adit_audit_dropped_total", ""), sum(&metrics, "adit_audit_errors_total", "")), (0, 0));
    stop(&mut gateway);
    let lines = lines(&gateway);
    assert_eq!(lines.len() as u64, sum(&metrics, "adit_audit_written_total", ""));
    let ours: Vec<&Value> = lines.iter().filter(|line| line["request_id"].as_str().unwrap().starts_with("audit-")).collect();
    let ids: HashSet<&str> = ours.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!((ours.len(), ids.len()), (each * CLIENTS, each * CLIENTS), "a line is lost or there twice");
    let total = |names: &[&str]| lines.iter().flat_map(|line| names.iter().map(|name| line["tokens"][*name].as_u64().unwrap_or(0))).sum::<u64>();
    let told = |kind: &str| sum(&metrics, "gen_ai_client_token_usage_sum", &format!("gen_ai_token_type=\"{kind}\""));
    assert!(told("output") > 0);
    assert_eq!((total(&["input", "cache_read", "cache_write"]), total(&["output"])), (told("input"), told("output")));
    for (status, outcome) in [(200, "complete"), (400, "refused"), (404, "refused")] {
        let of = || lines.iter().filter(|line| line["status"] == status);
        assert!(of().count() > 0 && of().all(|line| line["outcome"] == outcome), "{status}");
    }
}

#[test]
fn no_secret_is_told_in_logs_lines_metrics_or_answers() {
    const KEY: &str = "obviously-not-a-key-of-alice-00000000";
    const WRONG: &str = "obviously-not-a-key-of-anybody-1111111";
    const QUERY: &str = "obviously-not-a-password-in-a-query-22";
    const CODE: &str = "obviously-not-a-code-333333";
    const AWS: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let upstream = Upstream::new();
    let env = [("RUST_LOG", "adit=trace,access=info"), ("BEDROCK_API_KEY_ALICE", KEY)];
    let mut gateway = Gateway::with_models(&common::models(upstream.address), "auth: { enabled: true }\naudit: { path: audit.jsonl }", &env);
    serve(upstream);
    let mut told = String::new();
    for key in [KEY, WRONG] {
        for header in ["authorization: Bearer ", "x-api-key: ", "api-key: ", "x-goog-api-key: "] {
            for (path, body) in [("/v1/chat/completions", CHAT), ("/v1/messages", CHAT), ("/v1/chat/completions", "{"), ("/auth/session", "{}")] {
                let answer = gateway.post(&format!("{path}?key={QUERY}"), &format!("{header}{key}\r\nx-totp-code: {CODE}\r\n"), body);
                told += &format!("{:?}{}", answer.headers, answer.text());
            }
        }
    }
    // Its own answer apart, a session's token is told by nobody.
    let made = gateway.post("/auth/session", &format!("x-api-key: {KEY}\r\n"), "{}").json();
    let token = made["token"].as_str().unwrap();
    for (header, path) in [("authorization: Bearer ", "/v1/chat/completions"), ("x-api-key: ", "/v1/messages")] {
        let answer = gateway.post(path, &format!("{header}{token}\r\n"), CHAT);
        told += &format!("{:?}{}", answer.headers, answer.text());
        let answer = gateway.post(path, &format!("{header}{token}x\r\n"), CHAT);
        assert_eq!(answer.status, 401);
        told += &format!("{:?}{}", answer.headers, answer.text());
    }
    let mut client = gateway.connect();
    client.call("GET", "/metrics", &format!("x-api-key: {KEY}\r\n"), b"");
    let metrics = client.answer();
    assert_eq!(metrics.status, 200);
    told += metrics.text();
    drop(client);
    stop(&mut gateway);
    let lines = lines(&gateway);
    assert_eq!(lines.len(), 32 + 5);
    for user in [Value::from("alice"), Value::Null] {
        assert!(lines.iter().any(|line| line["user"] == user), "no line of {user}");
    }
    for proof in ["api_key", "session"] {
        assert!(lines.iter().any(|line| line["proof"] == proof && line["status"] == 200), "nobody came with {proof}");
    }
    told += &lines.iter().map(Value::to_string).collect::<String>();
    let log = gateway.log.text();
    assert!(log.contains(" user=alice "), "the access line does not tell the user");
    told += &log;
    for secret in [KEY, WRONG, QUERY, CODE, AWS, token] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

#[test]
fn a_reload_leads_to_another_file() {
    let upstream = Upstream::new();
    let mut gateway = Gateway::start(upstream.address, "audit: { path: audit.jsonl }");
    assert_eq!(gateway.get("/v1/models/one").status, 404);
    let config = std::fs::read_to_string(gateway.folder().join("adit.yaml")).unwrap();
    gateway.rewrite("adit.yaml", &config.replace("audit.jsonl", "audit.jsonl.next"));
    gateway.log.wait("the configuration was reloaded", 1);
    assert_eq!(gateway.get("/v1/models/two").status, 404);
    stop(&mut gateway);
    for (file, path) in [("audit.jsonl", "/v1/models/one"), ("audit.jsonl.next", "/v1/models/two")] {
        let text = std::fs::read_to_string(gateway.folder().join(file)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["path"], path, "{file}");
    }
}
