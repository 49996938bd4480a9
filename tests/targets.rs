//! Shares of the traffic: by weight, of targets that fail and of targets that heal; who has a prompt cached; and what happens when the house is full.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::counting::Counting;
use common::{Gateway, PATIENCE, Upstream};

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
/// Clients at a time.
const CLIENTS: usize = 8;

/// One model on two providers of Bedrock.
fn two(a: &Counting, b: &Counting, weights: (u32, u32), routing: &str) -> String {
    let keys = "access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    format!(
        r"
providers:
  a: {{ type: bedrock, region: us-east-1, endpoint: 'http://{}', {keys} }}
  b: {{ type: bedrock, region: us-west-2, endpoint: 'http://{}', {keys} }}
models:
  m:
    targets:
      - {{ provider: a, model: 'anthropic.claude-3-haiku-20240307-v1:0', weight: {} }}
      - {{ provider: b, model: 'anthropic.claude-3-haiku-20240307-v1:0', weight: {} }}
routing: {{ default_provider: a, {routing} }}
",
        a.address, b.address, weights.0, weights.1
    )
}

/// Asks on several connections, as long as it is worth it; how many requests were made and how many of them got another status than 200.
fn load(gateway: &Gateway, more: impl Fn(u64) -> bool + Sync) -> (u64, u64) {
    let (made, failed, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !over.load(Ordering::SeqCst) {
                    client.post(CHAT.as_bytes());
                    if client.answer().status != 200 {
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                    if !more(made.fetch_add(1, Ordering::SeqCst) + 1) {
                        over.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    (made.into_inner(), failed.into_inner())
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

fn state_of(provider: &str, state: u8) -> String {
    format!(r#"adit_target_state{{provider="{provider}",target="anthropic.claude-3-haiku-20240307-v1:0"}} {state}"#)
}

#[test]
fn a_failing_target_gets_next_to_nothing_and_its_share_back_when_it_is_well() {
    let (a, b) = (Counting::new(), Counting::new());
    let gateway = Gateway::with_models(&two(&a, &b, (1, 1), "cooldown: { failures: 5, within: 10s, for: 1s, max: 2s }"), "access_log: { format: off }", &[]);
    a.fail(true);
    let begun = Instant::now();
    let (made, failed) = load(&gateway, |_| begun.elapsed() < Duration::from_secs(2));
    let (in_the_beginning, before) = (a.requests(), made);
    assert_eq!(failed, 0, "the other target takes what it fails");
    let (made, failed) = load(&gateway, |made| made < 4000);
    let share = percent(a.requests() - in_the_beginning, made);
    println!("failing: {in_the_beginning} of {before} in the first two seconds, then {share:.2} % of {made}, {failed} failures");
    assert_eq!(failed, 0);
    assert!(share < 1.0, "{share} %");
    let states = gateway.get("/ready").json();
    let resting = states["targets"].as_array().unwrap().iter().find(|target| target["provider"] == "a").unwrap().clone();
    assert_ne!(resting["state"], "serving", "{states}");

    a.fail(false);
    let well = || gateway.get("/metrics").text().contains(&state_of("a", 0));
    let begun = Instant::now();
    let (_, failed) = load(&gateway, |made| made % 50 != 0 || (begun.elapsed() < PATIENCE && !well()));
    assert_eq!(failed, 0);
    let asked = a.requests();
    let (made, failed) = load(&gateway, |made| made < 2000);
    let share = percent(a.requests() - asked, made);
    println!("healed: {share:.1} % of {made}, {failed} failures");
    assert!(failed == 0 && (share - 50.0).abs() < 5.0, "{share} %");
}

#[test]
fn never_all_targets_are_left_out() {
    let (a, b) = (Counting::new(), Counting::new());
    let gateway = Gateway::with_models(&two(&a, &b, (1, 1), "cooldown: { failures: 2, within: 10s, for: 60s, max: 60s }"), "", &[]);
    a.fail(true);
    b.fail(true);
    let (made, failed) = load(&gateway, |made| made < 100);
    assert_eq!(failed, made);
    gateway.wait_metrics(&[state_of("a", 2), state_of("b", 2)]);
    a.fail(false);
    b.fail(false);
    let (_, failed) = load(&gateway, |made| made < 100);
    assert_eq!(failed, 0, "they rest for a minute, but there is nobody else");
    // Who has answered is asked from then on; the other one has its minute.
    let states = gateway.get("/metrics");
    assert!(states.text().contains(&state_of("a", 0)) || states.text().contains(&state_of("b", 0)), "{}", states.text());
}

/// A conversation with a marker behind its last message.
fn marked(turns: &[&str]) -> String {
    let mut messages: Vec<_> = turns
        .iter()
        .enumerate()
        .map(|(at, text)| serde_json::json!({"role": if at % 2 == 0 { "user" } else { "assistant" }, "content": [{"type": "text", "text": text}]}))
        .collect();
    messages.last_mut().unwrap()["content"][0]["cache_control"] = serde_json::json!({"type": "ephemeral"});
    serde_json::json!({"model": "m", "max_tokens": 10, "messages": messages}).to_string()
}

#[test]
fn a_conversation_stays_where_its_prompt_is_cached_until_that_target_is_throttled() {
    let (a, b) = (Counting::new(), Counting::new());
    // The stand-in speaks Converse only.
    let models = two(&a, &b, (1, 1), "cache_affinity: true").replace("weight: 1 }", "weight: 1, surface: converse }");
    let gateway = Gateway::with_models(&models, "", &[]);
    let ask = |turns: &[&str]| {
        let answer = gateway.post("/v1/messages", "anthropic-version: 2023-06-01\r\n", &marked(turns));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("x-adit-provider").unwrap().to_owned()
    };
    let mut homes = std::collections::BTreeSet::new();
    for number in 0..12 {
        let first = format!("conversation {number}");
        let home = ask(&[&first]);
        for _ in 0..3 {
            assert_eq!(ask(&[&first]), home);
        }
        assert_eq!(ask(&[&first, "an answer", "the next question"]), home, "its marker has moved on");
        homes.insert(home);
    }
    assert_eq!(homes.len(), 2, "conversations are spread");

    let home = ask(&["throttled"]);
    let (pinned, other) = if home == "a" { (&a, "b") } else { (&b, "a") };
    pinned.throttle(true);
    for _ in 0..3 {
        assert_eq!(ask(&["throttled"]), other, "it yields");
    }
    pinned.throttle(false);
    assert_eq!(ask(&["throttled"]), other, "the cache is there now");
}

#[test]
fn who_comes_when_the_house_is_full_is_told_so_at_once() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "overload: { max_requests: 2, max_buffered_bytes: 100000 }");
    let body = CHAT.replace("\"m\"", "\"claude-3-haiku\"");
    let mut inside: Vec<_> = (0..2)
        .map(|_| {
            let mut client = gateway.connect();
            client.post(body.as_bytes());
            let (far, _) = upstream.exchange();
            (client, far)
        })
        .collect();
    let told = gateway.chat(&body);
    assert_eq!((told.status, told.header("retry-after")), (503, Some("1")));
    assert!(told.json()["error"]["message"].as_str().unwrap().contains("overloaded"), "{}", told.text());
    let told = gateway.post("/v1/messages", "", &body);
    assert_eq!((told.status, told.json()["type"].as_str()), (503, Some("error")));
    assert_eq!(gateway.get("/health").status, 200, "its own pages are not counted");
    for (client, far) in &mut inside {
        far.reply_closing("ok");
        assert_eq!(client.answer().status, 200);
    }
    gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned(), r#"adit_overload_refusals_total{full="requests"} 2"#.to_owned()]);
    // There is room again; but not for so many bytes.
    let large = format!(r#"{{"model":"claude-3-haiku","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(150_000));
    let told = gateway.chat(&large);
    assert_eq!((told.status, told.header("retry-after")), (503, Some("1")));
    gateway.wait_metrics(&["adit_buffered_bytes 0".to_owned(), r#"adit_overload_refusals_total{full="buffered_bytes"} 1"#.to_owned()]);
    // Nor for an answer of that size.
    let mut client = gateway.connect();
    client.post(body.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.reply_closing(&"y".repeat(150_000));
    assert_eq!(client.answer().status, 503);
    gateway.wait_metrics(&["adit_buffered_bytes 0".to_owned(), "adit_requests_in_flight 0".to_owned()]);
    // Nor for one that several calls make.
    let mut client = gateway.connect();
    client.post(body.replacen('{', r#"{"n":2,"#, 1).as_bytes());
    for _ in 0..2 {
        let (mut far, _) = upstream.exchange();
        far.reply_closing(&"y".repeat(60_000));
    }
    assert_eq!(client.answer().status, 503);
    gateway.wait_metrics(&["adit_buffered_bytes 0".to_owned(), "adit_requests_in_flight 0".to_owned()]);
}

#[test]
fn a_full_house_is_no_targets_fault() {
    let (a, b) = (Upstream::new(), Upstream::new());
    let keys = "access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let models = format!(
        "providers:\n  a: {{ type: bedrock, region: us-east-1, endpoint: 'http://{}', {keys} }}\n  b: {{ type: bedrock, region: us-west-2, endpoint: 'http://{}', {keys} }}\n\
         models: {{ m: {{ a: 'amazon.nova-lite-v1:0', b: 'amazon.nova-lite-v1:0' }} }}\nrouting: {{ default_provider: a, cooldown: {{ failures: 1 }} }}\n",
        a.address, b.address
    );
    let gateway = Gateway::with_models(&models, "overload: { max_buffered_bytes: 100000 }", &[]);
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let (mut far, _) = a.exchange();
    far.reply_closing(&"y".repeat(150_000));
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("x-adit-attempts")), (503, Some("1")));
    assert!(b.is_unused());
    gateway.wait_metrics(&[r#"adit_target_state{provider="a",target="amazon.nova-lite-v1:0"} 0"#.to_owned()]);
}
