//! The audit log of the real daemon: a line for every request, none lost or torn by rotation, the tokens of the metrics, and nobody's secrets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the counts are what the big run is for")]

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use common::audit::{lines, serve, settled, stop, sum};
use common::plays::{Play, play};
use common::process::until;
use common::secrets::LOUD;
use common::{Gateway, PATIENCE, Upstream, relays};
use serde_json::Value;

const CHAT: &str = r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
const CLIENTS: usize = 16;

/// How many requests the big run makes.
fn requests() -> usize {
    std::env::var("AUDIT_REQUESTS").map_or(10_000, |number| number.parse().unwrap())
}

/// Renames the log in the midst of what others send, and waits for the new one; how many requests that took.
fn rotate(gateway: &Gateway, number: usize) -> u64 {
    let path = gateway.folder().join("audit.jsonl");
    std::fs::rename(&path, gateway.folder().join(format!("audit.jsonl.old-{number}"))).unwrap();
    gateway.signal("HUP");
    let begun = std::time::Instant::now();
    let mut asked = 0;
    while !path.exists() {
        assert!(begun.elapsed() < PATIENCE, "no new file");
        // Another request, or there is nothing to write.
        assert_eq!(gateway.get("/v1/models/nobody-has-it").status, 404);
        asked += 1;
    }
    asked
}

/// Requests of every kind and fate from several clients at a time, while the log is rotated: each has its line, which tells what became of it, and the tokens of
/// all lines are those of the metrics.
fn big_run(requests: usize, rule: &str, level: &str) {
    let each = requests.div_ceil(CLIENTS);
    let drained = rule == "drain";
    let upstream = Upstream::new();
    // A target that fails so often would rest, and a request that waits for a retry would not be what it says.
    let models = common::models(upstream.address) + &format!("\nrouting: {{ on_disconnect: {rule}, cooldown: null }}\n");
    let mut gateway = Gateway::with_models(&models, "audit: { path: audit.jsonl, on_full: block }", &[("RUST_LOG", level)]);
    let leaving = &play(upstream, drained);
    let house = &gateway;
    let asked = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut kept = None;
                for request in 0..each {
                    // Each client begins elsewhere, so that at any time there are some of each.
                    let play = Play::TURNS[(request + number) % Play::TURNS.len()];
                    let id = format!("audit-{}-{number}-{request}", play.word());
                    kept = leaving.ask(house, kept.unwrap_or_else(|| house.connect()), play, &id);
                    asked.fetch_add(1, Ordering::Relaxed);
                    if number == 0 && request % (each / 5).max(1) == 1 {
                        asked.fetch_add(rotate(house, request), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let metrics = settled(&gateway, asked.load(Ordering::Relaxed));
    assert_eq!((sum(&metrics, "adit_audit_dropped_total", ""), sum(&metrics, "adit_audit_errors_total", "")), (0, 0));
    stop(&mut gateway);
    let lines = lines(&gateway);
    assert_eq!(lines.len() as u64, asked.load(Ordering::Relaxed));
    let mut ids = HashSet::new();
    let mut counts: HashMap<Play, usize> = HashMap::new();
    let mut tokens = (0, 0);
    for line in &lines {
        let Some((word, rest)) = line["request_id"].as_str().unwrap().strip_prefix("audit-").and_then(|id| id.split_once('-')) else { continue };
        let play = Play::of(word).unwrap();
        assert!(ids.insert((play, rest)), "twice: {line}");
        *counts.entry(play).or_default() += 1;
        let (status, outcome, kind) = play.told();
        assert_eq!((line["status"].as_u64(), &line["outcome"], &line["error_kind"]), (Some(status), &outcome.into(), &kind.into()), "{play:?}: {line}");
        let told = line["tokens"]["input"].as_u64().map(|input| (input, line["tokens"]["output"].as_u64().unwrap()));
        assert_eq!(told, play.tokens(drained), "{play:?}: {line}");
        let (input, output) = told.unwrap_or_default();
        tokens = (tokens.0 + input, tokens.1 + output);
    }
    let mut expected: HashMap<Play, usize> = HashMap::new();
    for turn in (0..CLIENTS).flat_map(|number| number..number + each) {
        *expected.entry(Play::TURNS[turn % Play::TURNS.len()]).or_default() += 1;
    }
    assert_eq!(counts, expected, "a line is lost");
    let told = |kind: &str| sum(&metrics, "gen_ai_client_token_usage_sum", &format!("gen_ai_token_type=\"{kind}\""));
    assert!(tokens.1 > 0);
    assert_eq!(tokens, (told("input"), told("output")));
    println!("{} requests, {rule}: {counts:?}, {} input and {} output tokens", lines.len(), tokens.0, tokens.1);
}

#[test]
fn every_request_has_its_line_through_rotation_under_load_and_the_tokens_are_those_of_the_metrics() {
    big_run(requests(), "cancel", "warn,adit=error");
}

#[test]
fn every_request_has_its_line_where_what_clients_leave_behind_is_drained() {
    // Who leaves waits for its turn, so that it is known whose leaving was noticed.
    big_run(requests() / 20, "drain", "warn,adit=debug");
}

#[test]
fn no_secret_is_told_in_logs_lines_metrics_or_answers() {
    const KEY: &str = "obviously-not-a-key-of-alice-00000000";
    const WRONG: &str = "obviously-not-a-key-of-anybody-1111111";
    const QUERY: &str = "obviously-not-a-password-in-a-query-22";
    const CODE: &str = "obviously-not-a-code-333333";
    for bodies in ["none", "redacted", "full"] {
        let upstream = Upstream::new();
        let env = [("RUST_LOG", "adit=trace,access=info"), ("BEDROCK_API_KEY_ALICE", KEY)];
        let extra = format!("auth: {{ enabled: true }}\naudit: {{ path: audit.jsonl, bodies: {bodies} }}");
        let gateway = Gateway::with_models(&common::models(upstream.address), &extra, &env);
        gateway.secrets.note(QUERY);
        serve(upstream);
        for key in [KEY, WRONG] {
            for header in ["authorization: Bearer ", "x-api-key: ", "api-key: ", "x-goog-api-key: "] {
                for (path, body) in [("/v1/chat/completions", CHAT), ("/v1/messages", CHAT), ("/v1/chat/completions", "{"), ("/auth/session", "{}")] {
                    gateway.post(&format!("{path}?key={QUERY}"), &format!("{header}{key}\r\nx-totp-code: {CODE}\r\n"), body);
                }
            }
        }
        // Its own answer apart, a session's token is told by nobody.
        let made = gateway.post("/auth/session", &format!("x-api-key: {KEY}\r\n"), "{}").json();
        let token = made["token"].as_str().unwrap();
        for (header, path) in [("authorization: Bearer ", "/v1/chat/completions"), ("x-api-key: ", "/v1/messages")] {
            assert_eq!(gateway.post(path, &format!("{header}{token}\r\n"), CHAT).status, 200);
            assert_eq!(gateway.post(path, &format!("{header}{token}x\r\n"), CHAT).status, 401);
        }
        let lines = written(&gateway, 32 + 5);
        for user in [Value::from("alice"), Value::Null] {
            assert!(lines.iter().any(|line| line["user"] == user), "no line of {user}");
        }
        for proof in ["api_key", "session"] {
            assert!(lines.iter().any(|line| line["proof"] == proof && line["status"] == 200), "nobody came with {proof}");
        }
        gateway.log.wait(" user=alice ", 1);
        // The key, the wrong one, the code, the query, five tokens and the one with an x.
        assert_eq!(gateway.secrets.count(), 10);
        gateway.keeps_secrets();
    }
}

/// The lines of a log, once there are so many.
fn written(gateway: &Gateway, count: usize) -> Vec<Value> {
    until("all lines are written", || sum(gateway.get("/metrics").text(), "adit_audit_written_total", "") == count as u64);
    lines(gateway)
}

#[test]
fn of_a_secret_in_a_prompt_only_a_log_in_full_knows() {
    const PASTED: &str = "obviously-not-a-password-in-a-prompt-4";
    for bodies in ["none", "redacted", "full"] {
        let upstream = Upstream::new();
        let gateway = Gateway::with_models(&common::models(upstream.address), &format!("audit: {{ path: audit.jsonl, bodies: {bodies} }}"), &[LOUD]);
        serve(upstream);
        gateway.secrets.note(PASTED);
        assert_eq!(gateway.chat(&CHAT.replace("Hi", PASTED)).status, 200);
        assert_eq!(gateway.chat(&CHAT.replace("Hi", PASTED).replace("}]}", "}]")).status, 400);
        for line in written(&gateway, 2) {
            assert_eq!(line["request"].to_string().contains(PASTED), bodies == "full", "{line}");
            assert!(!line["response"].to_string().contains(PASTED) && !line["error"].to_string().contains(PASTED), "{line}");
        }
        let told = gateway.told_secrets("");
        assert_eq!(told, if bodies == "full" { vec![format!("{PASTED} in audit.jsonl")] } else { Vec::new() });
    }
}

#[test]
fn what_the_gateway_shows_to_providers_is_told_nobody_else() {
    let upstream = Upstream::new();
    let bearer = "  token: { type: bedrock, region: us-east-1, endpoint: 'http://{}', bearer_token: obviously-not-a-bearer-token-55555 }\nmodels:\n  bearer: { token: 'amazon.nova-lite-v1:0' }";
    let models = relays::models(upstream.address).replace("models:", &bearer.replace("{}", &upstream.address.to_string()));
    let gateway = Gateway::with_models(&models, "audit: { path: audit.jsonl, bodies: full }", &[("RUST_LOG", "adit=trace,access=info")]);
    for (model, key) in [
        ("my-gpt", relays::OPENAI_KEY),
        ("my-claude", relays::ANTHROPIC_KEY),
        ("bearer", "obviously-not-a-bearer-token-55555"),
        ("haiku", "AKIAIOSFODNN7EXAMPLE"),
    ] {
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let mut client = gateway.connect();
            client.call("POST", path, "", CHAT.replace("claude-3-haiku", model).as_bytes());
            let (mut far, request) = upstream.exchange();
            assert!(format!("{:?}", request.headers).contains(key), "{model}");
            // Some providers repeat the key that they do not know.
            let error = format!(r#"{{"message":"Incorrect API key provided: {key}","error":{{"type":"x","message":"Incorrect API key provided: {key}"}}}}"#);
            far.reply("401 Unauthorized", "connection: close\r\n", &error);
            let answer = client.answer();
            assert_eq!(answer.status, 502, "{}", answer.text());
        }
    }
    gateway.secrets.note("AKIAIOSFODNN7EXAMPLE");
    gateway.keeps_secrets();
}

#[test]
fn a_secret_that_is_told_is_found_wherever_it_is() {
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&common::models(upstream.address), "audit: { path: audit.jsonl }", &[LOUD]);
    serve(upstream);
    assert_eq!(gateway.chat(CHAT).status, 200);
    assert_eq!(gateway.chat(&CHAT.replace("haiku", "nobody-has-it")).status, 404);
    // None, but all of these places tell it.
    gateway.secrets.note("claude-3-");
    let told = gateway.told_secrets("");
    let places = ["/metrics", "/ready", "audit.jsonl", "the log", "an error answer"];
    assert_eq!(told, places.map(|place| format!("claude-3- in {place}")));
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
