//! Limits and budgets, end to end and counted exactly: the daemon, many clients at a time, and an upstream whose usage is known.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Instant;

use common::process::until;
use common::storm::{ANSWER_NANO_USD, CHAT, DOLLAR, TOKEN_NANO_USD, dear, good, serve, storm};
use common::{Answer, Gateway, Upstream};

#[test]
fn of_64_clients_exactly_as_many_requests_pass_as_the_limit_says() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "limits: { default: { requests_per_minute: 100 } }");
    let served = serve(upstream);
    let begun = Instant::now();
    let answers = storm(&gateway, 64, 5, CHAT);
    assert!(begun.elapsed().as_secs() < 55, "the window has moved on: the count says nothing");
    assert_eq!((good(&answers), served.load(Ordering::SeqCst)), (100, 100));
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.status, 429);
        assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
        assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("100"));
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
        assert!(refused.header("x-ratelimit-reset-requests").is_some());
    }
    let remaining =
        answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.header("x-ratelimit-remaining-requests").unwrap().parse().unwrap());
    let mut remaining: Vec<u64> = remaining.collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..100).collect::<Vec<u64>>(), "each place was given once");
    gateway.wait_metrics(&[r#"adit_limited_total{limit="requests"} 220"#.to_owned()]);
}

#[test]
fn a_dollar_buys_a_dollars_worth_and_a_restart_does_not_change_that() {
    let upstream = Upstream::new();
    let state = tempfile::tempdir().unwrap();
    let config = format!("state_dir: {}\nlimits: {{ default: {{ budget: {{ daily_usd: 1 }} }} }}", state.path().join("state").display());
    let models = dear(upstream.address);
    let served = serve(upstream);
    let body = CHAT.replace("1000", "2");
    // What is held for a request: a third of its bytes, what providers add, and its two tokens of output.
    let held = (body.len().div_ceil(3) as u64 + 512 + 2) * TOKEN_NANO_USD;
    let gateway = Gateway::with_models(&models, &config, &[]);
    let mut passed = 0;
    let day = day();
    loop {
        let answers = storm(&gateway, 64, 4, &body);
        gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned()]);
        passed += good(&answers) as u64;
        assert!(passed * ANSWER_NANO_USD <= DOLLAR, "{passed} answers were let in");
        if good(&answers) == 0 {
            break;
        }
    }
    // The last one that was let in found as much left as it holds.
    let most = (DOLLAR - held) / ANSWER_NANO_USD + 1;
    assert_eq!((passed, served.load(Ordering::SeqCst) as u64), (most, most));
    let refused = gateway.post("/v1/chat/completions", "", &body);
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &"insufficient_quota".into()));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 0 && wait <= 86_400, "{wait}");

    // What was spent is written down soon; then even a kill loses nothing.
    let nano = most * ANSWER_NANO_USD;
    until("it is written down", || {
        std::fs::read_to_string(state.path().join("state/budgets.json")).is_ok_and(|text| text.contains(&format!(r#""day_nano_usd":{nano}"#)))
    });
    drop(gateway);
    let gateway = Gateway::with_models(&models, &config, &[]);
    let answer = gateway.post("/v1/chat/completions", "", &body);
    assert_eq!(day, self::day(), "midnight has passed: run it again");
    assert_eq!(answer.status, 429, "a new process knows what the old one has spent");
}

fn day() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86_400
}

#[test]
fn places_and_tokens_are_held_while_a_request_runs_and_given_back_when_it_fails() {
    let upstream = Upstream::new();
    let limits = "limits: { default: { concurrent_requests: 1, tokens_per_minute: 3000 } }";
    let gateway = Gateway::start(upstream.address, limits);
    let mut first = gateway.connect();
    first.post(CHAT.as_bytes());
    let (mut far, _) = upstream.exchange();
    let second = gateway.post("/v1/messages", "", CHAT);
    assert_eq!((second.status, &second.json()["error"]["type"]), (429, &"rate_limit_error".into()));
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(second.header("anthropic-ratelimit-tokens-limit"), Some("3000"));
    assert!(second.header("anthropic-ratelimit-tokens-reset").unwrap().ends_with('Z'));
    let third = gateway.post("/model/claude-3-haiku/converse", "", r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#);
    assert_eq!((third.status, third.header("x-amzn-errortype")), (429, Some("ThrottlingException")));
    far.reply("400 Bad Request", "x-amzn-errortype: ValidationException\r\n", r#"{"message":"no"}"#);
    assert_eq!(first.answer().status, 400);
    gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned()]);
    // The failed one has used no tokens, this one five.
    first.post(CHAT.as_bytes());
    let mut far = match far.request() {
        Some(_) => far,
        None => upstream.exchange().0,
    };
    far.reply_text("Hello");
    assert_eq!(first.answer().status, 200);
    gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned()]);
    let too_many = gateway.post("/v1/chat/completions", "", &CHAT.replace("1000", "2990"));
    assert_eq!((too_many.status, too_many.header("x-ratelimit-remaining-tokens")), (429, Some("2995")));
}

#[test]
fn an_address_that_floods_is_turned_away() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "limits: { per_address: { requests_per_second: 3 } }");
    serve(upstream);
    let begun = Instant::now();
    let answers: Vec<Answer> = (0..40).map(|_| gateway.post("/v1/chat/completions", "", CHAT)).collect();
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let passed = good(&answers);
    assert!(passed >= 3 && passed <= 3 * seconds, "{passed} in {seconds} seconds");
    assert!(answers.iter().filter(|answer| answer.status != 200).all(|answer| answer.status == 429 && answer.header("retry-after") == Some("1")));
}

#[test]
fn without_limits_nothing_is_told_of_them() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    serve(upstream);
    let answer = gateway.post("/v1/chat/completions", "", CHAT);
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.iter().any(|(name, _)| name.contains("ratelimit")));
}
