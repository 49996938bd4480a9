//! Limits and budgets, end to end and counted exactly: the daemon, many clients at a time, and an upstream whose usage is known.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use common::process::{Daemon, until};
use common::secrets::{AUDIT, LOUD};
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

/// A provider for each client's API, and a model at each.
fn everywhere(upstream: SocketAddr) -> String {
    let providers = format!(
        "  o: {{ type: openai, base_url: 'http://{upstream}/v1', api_key: fake }}\n  a: {{ type: anthropic, base_url: 'http://{upstream}', api_key: fake }}\nmodels:\n  gpt: {{ o: gpt-4o }}\n  claude: {{ a: claude-test }}\n  llama2: {{ bedrock: meta.llama2-70b-chat-v1 }}\n"
    );
    common::models(upstream).replace("models:\n", &providers)
}

/// The limits of a user who proves himself by a key of the environment.
fn of_alice(upstream: SocketAddr, line: &str) -> Gateway {
    let env = [("BEDROCK_API_KEY_ALICE", "a-fake-key-of-the-environment"), ("BEDROCK_API_KEY_BOB", "another-fake-key-of-the-environment"), LOUD];
    let gateway = Gateway::with_models(&everywhere(upstream), &format!("auth: {{ enabled: true }}\n{AUDIT}"), &env);
    gateway.rewrite("keys.yaml", &format!("keys: [{{ name: alice, {line} }}]\n"));
    gateway.log.wait("the configuration was reloaded", 1);
    gateway
}

#[test]
fn a_user_may_have_limits_for_some_models_besides() {
    let upstream = Upstream::new();
    let gateway = of_alice(
        upstream.address,
        "limits: { requests_per_minute: 5, models: { 'claude-*': { requests_per_minute: 2 }, '*llama*': { tokens_per_minute: 600 } } }",
    );
    serve(upstream);
    let ask = |key: &str, model: &str| {
        let answer = gateway.post("/v1/chat/completions", &format!("x-api-key: {key}\r\n"), &CHAT.replace("claude-3-haiku", model).replace("1000", "2"));
        (answer.status, answer.header("x-ratelimit-limit-requests").map(str::to_owned), answer.header("x-ratelimit-remaining-requests").map(str::to_owned))
    };
    let told = |status: u16, limit: &str, remaining: &str| (status, Some(limit.to_owned()), Some(remaining.to_owned()));
    let alice = "a-fake-key-of-the-environment";
    // The tighter of both is told.
    assert_eq!(ask(alice, "claude-3-haiku"), told(200, "2", "1"));
    assert_eq!(ask(alice, "claude-3-haiku"), told(200, "2", "0"));
    assert_eq!(ask(alice, "claude-3-haiku"), told(429, "2", "0"));
    // What was refused is not counted anywhere, and other models have what the user has.
    assert_eq!(ask(alice, "llama2"), told(200, "5", "2"));
    let tokens = CHAT.replace("claude-3-haiku", "llama2");
    assert_eq!(gateway.post("/v1/chat/completions", &format!("x-api-key: {alice}\r\n"), &tokens).status, 429, "more tokens than these models may have");
    gateway.wait_metrics(&[r#"adit_limited_total{limit="requests"} 1"#.to_owned(), r#"adit_limited_total{limit="tokens"} 1"#.to_owned()]);
    // Nor are they anybody else's.
    assert_eq!(ask("another-fake-key-of-the-environment", "claude-3-haiku"), (200, None, None));
    gateway.keeps_secrets();
}

#[test]
fn a_providers_own_limits_are_replaced_by_the_users() {
    let upstream = Upstream::new();
    let theirs = "x-ratelimit-limit-requests: 7777\r\nx-ratelimit-remaining-tokens: 7777\r\nx-ratelimit-reset-project-tokens: 7777\r\nanthropic-ratelimit-requests-limit: 7777\r\nanthropic-ratelimit-input-tokens-remaining: 7777\r\n";
    for (limits, told) in [("requests_per_minute: 9", true), ("concurrent_requests: 9", false), ("budget: { daily_usd: 9 }", false)] {
        let gateway = Gateway::with_models(&everywhere(upstream.address), &format!("limits: {{ default: {{ {limits} }} }}"), &[]);
        for (path, model, body, prefix) in [
            (
                "/v1/chat/completions",
                "gpt",
                r#"{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
                "x-ratelimit-",
            ),
            (
                "/v1/messages",
                "claude",
                r#"{"id":"x","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#,
                "anthropic-ratelimit-",
            ),
        ] {
            for status in ["200 OK", "429 Too Many Requests"] {
                let mut client = gateway.connect();
                client.call("POST", path, "", CHAT.replace("claude-3-haiku", model).as_bytes());
                let (mut far, _) = upstream.exchange();
                let error = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down","param":null,"code":"rate_limit_exceeded"}}"#;
                far.reply(status, &format!("connection: close\r\nretry-after: 3\r\n{theirs}"), if status.starts_with('2') { body } else { error });
                let answer = client.answer();
                assert_eq!(answer.status.to_string(), status[..3]);
                let limits: Vec<_> = answer.headers.iter().filter(|(name, _)| name.contains("ratelimit")).collect();
                assert!(limits.iter().all(|(name, value)| name.starts_with(prefix) && !value.contains("7777")), "{limits:?}");
                assert_eq!(limits.len(), if told { 3 } else { 0 }, "{limits:?}");
            }
        }
    }
}

#[test]
fn an_answer_without_a_bound_holds_what_its_model_can_write() {
    let upstream = Upstream::new();
    let body = |model: &str| format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hi"}}]}}"#);
    let held = |model: &str, output: usize| (10_000 - body(model).len().div_ceil(3) - 512 - output).to_string();
    for (most, expected) in [
        ("", [("llama2", 2048), ("claude", 4096), ("claude-3-haiku", 4096)]),
        (", default_max_tokens: 5000", [("llama2", 2048), ("claude", 5000), ("claude-3-haiku", 4096)]),
    ] {
        let gateway = Gateway::with_models(&everywhere(upstream.address), &format!("limits: {{ default: {{ tokens_per_minute: 10000 }}{most} }}"), &[]);
        for (model, output) in expected {
            let mut client = gateway.connect();
            client.post(body(model).as_bytes());
            // A refusal uses no tokens, so that the next one finds all of them.
            upstream.exchange().0.reply("400 Bad Request", "connection: close\r\n", r#"{"message":"no"}"#);
            let answer = client.answer();
            assert_eq!(answer.header("x-ratelimit-remaining-tokens"), Some(held(model, output).as_str()), "{model} {}", answer.text());
            gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned()]);
        }
    }
}

#[test]
fn who_leaves_pays_for_what_was_produced() {
    let upstream = Upstream::new();
    let limit = 100_000;
    let gateway = Gateway::with_models(&everywhere(upstream.address), &format!("limits: {{ default: {{ tokens_per_minute: {limit} }} }}"), &[]);
    let stream = |model: &str, most: usize| format!(r#"{{"model":"{model}","max_tokens":{most},"stream":true,"messages":[{{"role":"user","content":"Hi"}}]}}"#);
    let mut used = 0;
    // Translated, and as it is with the input told at once; of a long answer less than was held, of a short one no more than that.
    for (model, path, most) in [
        ("claude-3-haiku", "/v1/chat/completions", 1000),
        ("claude-3-haiku", "/v1/chat/completions", 5),
        ("claude", "/v1/messages", 1000),
        ("claude", "/v1/messages", 5),
    ] {
        let body = stream(model, most);
        let mut client = gateway.connect();
        client.call("POST", path, "", body.as_bytes());
        let (mut far, _) = upstream.exchange();
        let (input, bytes) = if model == "claude" {
            far.begin_sse();
            let events = &common::far::ANTHROPIC_STREAM[..3];
            events.iter().for_each(|event| far.named(event));
            (3, events.iter().map(|event| common::far::anthropic_event(event).len()).sum())
        } else {
            far.begin_answer();
            far.delta("first");
            let delta = common::frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"first"}}"#);
            (body.len().div_ceil(3) + 512, common::frame("messageStart", r#"{"role":"assistant"}"#).len() + delta.len())
        };
        client.read_until(b"first");
        drop(client);
        far.wait_closed();
        gateway.wait_metrics(&["adit_requests_in_flight 0".to_owned()]);
        let produced = bytes.div_ceil(3);
        assert!(produced > 5 && produced < 1000, "{produced} says nothing");
        used += input + produced.min(most);
        let refused = gateway.post("/v1/chat/completions", "", &stream("claude-3-haiku", limit));
        assert_eq!((refused.status, refused.header("x-ratelimit-remaining-tokens")), (429, Some((limit - used).to_string().as_str())), "{model} {most}");
    }
}

#[test]
fn an_upgrade_neither_forgets_nor_counts_twice_what_was_spent() {
    let upstream = Upstream::new();
    let state = tempfile::tempdir().unwrap();
    let extra = format!("state_dir: '{}'\nlimits: {{ default: {{ budget: {{ daily_usd: 1000 }} }} }}", state.path().join("state").display());
    let grace = "grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30";
    let mut daemon = Daemon::start(&dear(upstream.address), grace, &extra, &[]);
    let served = serve(upstream);
    let written = || {
        let text = std::fs::read_to_string(state.path().join("state/budgets.json")).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()?["users"]["anonymous"]["day_nano_usd"].as_u64()
    };
    let day = day();
    let address = daemon.address;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut answers = 0_u64;
                while !stop.load(Ordering::SeqCst) {
                    let mut client = common::Client::new(std::net::TcpStream::connect(address).unwrap());
                    client.call("POST", "/v1/chat/completions", "connection: close\r\n", CHAT.as_bytes());
                    assert_eq!(client.answer().status, 200);
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let more = |count: usize| {
        let begun = served.load(Ordering::SeqCst);
        until("there are more answers", || served.load(Ordering::SeqCst) >= begun + count);
    };
    for _ in 0..2 {
        // Some of it is in the file, some is not, when the next process reads it.
        let before = written();
        until("something more is written", || written() > before);
        more(10);
        let successor = daemon.spawn(&["-u"]);
        daemon.signal("QUIT");
        until("the successor has written its pid", || daemon.pid_file() == Some(successor.id()));
        more(10);
        assert_eq!(daemon.wait_exit(), Some(0));
        daemon.child = successor;
    }
    more(10);
    stop.store(true, Ordering::SeqCst);
    let answers: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0));
    assert_eq!(day, self::day(), "midnight has passed: run it again");
    assert_eq!(answers, served.load(Ordering::SeqCst) as u64);
    assert_eq!(written(), Some(answers * ANSWER_NANO_USD), "{answers} answers");
}

#[test]
fn what_cannot_be_written_down_is_counted_and_written_later() {
    let upstream = Upstream::new();
    let state = tempfile::tempdir().unwrap();
    let in_the_way = state.path().join("folder");
    // Not even root writes below a file.
    std::fs::write(&in_the_way, "").unwrap();
    let extra = format!("state_dir: '{}'\nlimits: {{ default: {{ budget: {{ daily_usd: 1 }} }} }}", in_the_way.join("state").display());
    let gateway = Gateway::with_models(&dear(upstream.address), &extra, &[]);
    serve(upstream);
    let errors = || -> u64 {
        let metrics = gateway.get("/metrics");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix("adit_budget_write_errors_total ")).map(str::to_owned);
        line.expect("a series from the start").parse().unwrap()
    };
    assert_eq!(errors(), 0, "nothing was spent");
    assert_eq!(gateway.post("/v1/chat/completions", "", CHAT).status, 200);
    until("failures are counted", || errors() >= 2);
    assert_eq!(gateway.log.text().matches("what is spent cannot be written down").count(), 1);
    std::fs::remove_file(&in_the_way).unwrap();
    let file = in_the_way.join("state/budgets.json");
    until("it is written", || std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&format!(r#""day_nano_usd":{ANSWER_NANO_USD}"#))));
}
