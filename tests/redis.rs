//! Limits and budgets that several nodes share through a real Redis server: counted exactly, and what happens when the server is gone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use adit::config::snapshot::{self as settings, Budget, UserLimits};
use adit::ops::limits::{Ledger, Limits, Refused, now};
use adit::ops::redis::Link;
use adit::policy::limit::{Account, Ask, Used};
use common::access::{TOTP, code, early_in_a_step};
use common::process::until;
use common::redis::Redis;
use common::storm::{ANSWER_NANO_USD, CHAT, DOLLAR, TOKEN_NANO_USD, dear, good, serve, storm};
use common::{Answer, Gateway, PATIENCE, Upstream};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// For whoever comes where nobody has to say who he is.
const SPENT: &str = "{adit:anonymous}:spent";
const LEASES: &str = "{adit:anonymous}:leases";

/// A node. It has all the time that a busy machine may take: how long an answer takes is not the matter here.
fn node(upstream: SocketAddr, redis: &Redis, extra: &str) -> Gateway {
    let gateway = Gateway::with_models(&dear(upstream), &format!("redis: '{}'\nredis_timeout: 20s\n{extra}", redis.url()), &[]);
    gateway.wait_metrics(&["adit_redis_up 1".to_owned()]);
    gateway
}

/// So many clients at a time at each of the nodes, each with so many requests.
fn storms(nodes: &[Gateway], clients: usize, requests: usize, body: &str) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let storms: Vec<_> = nodes.iter().map(|node| scope.spawn(move || storm(node, clients, requests, body))).collect();
        storms.into_iter().flat_map(|storm| storm.join().unwrap()).collect()
    })
}

fn idle(nodes: &[Gateway]) {
    nodes.iter().for_each(|node| node.wait_metrics(&["adit_requests_in_flight 0".to_owned()]));
}

/// What all nodes have spent today.
fn spent(redis: &Redis) -> u64 {
    redis.ask::<Option<u64>>(&["HGET", SPENT, "in_day"]).unwrap_or(0)
}

/// Requests that the server believes to run.
fn running(redis: &Redis) -> u64 {
    redis.ask(&["ZCARD", LEASES])
}

#[test]
fn two_nodes_let_exactly_as_many_requests_pass_as_the_limit_says() {
    let redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    let served = serve(upstream);
    let limits = "limits: { default: { requests_per_minute: 100 } }";
    let nodes = [node(address, &redis, limits), node(address, &redis, limits)];
    let begun = Instant::now();
    let answers = storms(&nodes, 32, 5, CHAT);
    assert!(begun.elapsed().as_secs() < 55, "the window has moved on: the count says nothing");
    assert_eq!((good(&answers), served.load(Ordering::SeqCst)), (100, 100));
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &"rate_limit_exceeded".into()));
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
        assert_eq!((refused.header("x-ratelimit-limit-requests"), refused.header("x-ratelimit-remaining-requests")), (Some("100"), Some("0")));
    }
    let remaining =
        answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.header("x-ratelimit-remaining-requests").unwrap().parse().unwrap());
    let mut remaining: Vec<u64> = remaining.collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..100).collect::<Vec<u64>>(), "each place was given once, on whichever node");
    nodes.iter().for_each(|node| node.wait_metrics(&[r#"adit_redis_fallbacks_total{decision="local"} 0"#.to_owned()]));
}

#[test]
fn a_dollar_buys_a_dollars_worth_on_two_nodes_together() {
    let redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    let served = serve(upstream);
    let body = CHAT.replace("1000", "2");
    let held = (body.len().div_ceil(3) as u64 + 512 + 2) * TOKEN_NANO_USD;
    let limits = "limits: { default: { budget: { daily_usd: 1 } } }";
    let nodes = [node(address, &redis, limits), node(address, &redis, limits)];
    let day: u64 = redis.ask::<Vec<u64>>(&["TIME"])[0] / 86_400;
    let mut passed = 0;
    loop {
        let answers = storms(&nodes, 32, 4, &body);
        idle(&nodes);
        passed += good(&answers) as u64;
        assert!(passed * ANSWER_NANO_USD <= DOLLAR, "{passed} answers were let in");
        // Settled a moment after the answer is out.
        until("all is settled", || running(&redis) == 0);
        if good(&answers) == 0 {
            break;
        }
    }
    assert_eq!(day, redis.ask::<Vec<u64>>(&["TIME"])[0] / 86_400, "midnight has passed: run it again");
    // The last one that was let in found as much left as it holds.
    let most = (DOLLAR - held) / ANSWER_NANO_USD + 1;
    assert_eq!((passed, served.load(Ordering::SeqCst) as u64), (most, most));
    assert_eq!(spent(&redis), most * ANSWER_NANO_USD);
    for node in &nodes {
        let refused = node.post("/v1/chat/completions", "", &body);
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &"insufficient_quota".into()));
    }
    // A third node knows it as well.
    assert_eq!(node(address, &redis, limits).post("/v1/chat/completions", "", &body).status, 429);
}

#[test]
fn without_redis_a_node_goes_on_alone_and_tells_later_what_it_has_spent() {
    let mut redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    serve(upstream);
    let nodes = [
        node(address, &redis, "limits: { default: { budget: { daily_usd: 1 } } }"),
        node(address, &redis, "limits: { default: { budget: { daily_usd: 1 } } }"),
    ];
    let body = CHAT.replace("1000", "2");
    let mut passed = good(&storms(&nodes, 4, 5, &body));
    idle(&nodes);
    until("all is settled", || running(&redis) == 0);
    assert_eq!(spent(&redis), passed as u64 * ANSWER_NANO_USD);
    redis.kill();
    let answers = storms(&nodes, 4, 5, &body);
    assert_eq!(good(&answers), answers.len(), "there is money enough, by what each of them knows");
    passed += answers.len();
    idle(&nodes);
    for node in &nodes {
        node.wait_metrics(&["adit_redis_up 0".to_owned(), r#"adit_redis_fallbacks_total{decision="local"} 20"#.to_owned()]);
    }
    redis.restart();
    nodes.iter().for_each(|node| node.wait_metrics(&["adit_redis_up 1".to_owned()]));
    until("both have told it", || spent(&redis) == passed as u64 * ANSWER_NANO_USD);
    // They count together again.
    passed += good(&storms(&nodes, 4, 5, &body));
    idle(&nodes);
    until("all is settled", || running(&redis) == 0);
    assert_eq!(spent(&redis), passed as u64 * ANSWER_NANO_USD, "nothing is told twice");
}

#[test]
fn alone_a_node_keeps_to_the_limit_by_itself() {
    let mut redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    serve(upstream);
    let gateway = node(address, &redis, "limits: { default: { requests_per_minute: 7 } }");
    redis.kill();
    let begun = Instant::now();
    let answers = storm(&gateway, 8, 5, CHAT);
    assert!(begun.elapsed().as_secs() < 55, "the window has moved on: the count says nothing");
    assert_eq!(good(&answers), 7);
    assert!(answers.iter().filter(|answer| answer.status != 200).all(|answer| answer.status == 429));
}

#[test]
fn without_redis_nobody_is_let_in_where_that_is_wanted() {
    let mut redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    serve(upstream);
    let gateway = node(address, &redis, "on_redis_failure: deny\nlimits: { default: { requests_per_minute: 1000 } }");
    assert_eq!(gateway.chat(CHAT).status, 200);
    redis.kill();
    let openai = gateway.post("/v1/chat/completions", "", CHAT);
    assert_eq!((openai.status, openai.header("retry-after")), (503, Some("1")));
    assert!(openai.json()["error"]["message"].as_str().unwrap().contains("cannot check limits"), "{}", openai.text());
    let anthropic = gateway.post("/v1/messages", "", CHAT);
    assert_eq!((anthropic.status, &anthropic.json()["type"], anthropic.header("retry-after")), (503, &"error".into(), Some("1")));
    let bedrock = gateway.post("/model/claude-3-haiku/converse", "", r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#);
    assert_eq!((bedrock.status, bedrock.header("x-amzn-errortype")), (503, Some("ServiceUnavailableException")));
    gateway.wait_metrics(&["adit_redis_up 0".to_owned(), r#"adit_redis_fallbacks_total{decision="deny"} 3"#.to_owned()]);
    redis.restart();
    gateway.wait_metrics(&["adit_redis_up 1".to_owned()]);
    assert_eq!(gateway.chat(CHAT).status, 200);
}

#[test]
fn a_server_that_hangs_holds_up_no_more_than_those_that_ask_it_first() {
    let redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    serve(upstream);
    let extra = format!("redis: '{}'\nredis_timeout: 100ms\nlimits: {{ default: {{ requests_per_minute: 1000, budget: {{ daily_usd: 1 }} }} }}", redis.url());
    let gateway = Gateway::with_models(&dear(address), &extra, &[]);
    gateway.wait_metrics(&["adit_redis_up 1".to_owned()]);
    redis.hold(true);
    assert_eq!(gateway.chat(&CHAT.replace("1000", "2")).status, 200);
    gateway.wait_metrics(&["adit_redis_up 0".to_owned(), r#"adit_redis_fallbacks_total{decision="local"} 1"#.to_owned()]);
    redis.hold(false);
    gateway.wait_metrics(&["adit_redis_up 1".to_owned()]);
    // What it was asked while it hung is given back, and what was spent meanwhile is told.
    until("nothing is held", || running(&redis) == 0);
    until("it is told", || spent(&redis) == ANSWER_NANO_USD);
}

#[test]
fn the_scripts_are_sent_again_to_a_server_that_has_lost_them() {
    let redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    serve(upstream);
    let gateway = node(address, &redis, "limits: { default: { requests_per_minute: 1000 } }");
    assert_eq!(gateway.chat(CHAT).status, 200);
    redis.ask::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(gateway.chat(CHAT).header("x-ratelimit-remaining-requests"), Some("998"));
    gateway.wait_metrics(&[r#"adit_redis_fallbacks_total{decision="local"} 0"#.to_owned()]);
}

#[test]
fn what_a_dead_node_held_counts_in_full_and_what_a_slow_one_settles_late_counts_once() {
    let redis = Redis::start();
    let upstream = Upstream::new();
    let (dead, slow) = (
        node(upstream.address, &redis, "limits: { default: { concurrent_requests: 2, budget: { daily_usd: 9 } } }"),
        node(upstream.address, &redis, "limits: { default: { concurrent_requests: 2, budget: { daily_usd: 9 } } }"),
    );
    let body = CHAT.replace("1000", "2");
    let held = (body.len().div_ceil(3) as u64 + 512 + 2) * TOKEN_NANO_USD;
    let mut lost = dead.connect();
    lost.post(body.as_bytes());
    let far = upstream.exchange().0;
    let mut late = slow.connect();
    late.post(body.as_bytes());
    let (mut answering, _) = upstream.exchange();
    assert_eq!(running(&redis), 2);
    assert_eq!(slow.chat(&body).status, 429, "both places are taken");
    drop(dead);
    drop(far);
    // A minute without a renewal.
    for lease in redis.ask::<Vec<String>>(&["ZRANGE", LEASES, "0", "-1"]) {
        redis.ask::<()>(&["ZADD", LEASES, "1", &lease]);
    }
    let third = std::thread::scope(|scope| {
        let third = scope.spawn(|| slow.chat(&body));
        upstream.exchange().0.reply_text("Hello");
        third.join().unwrap()
    });
    assert_eq!(third.status, 200, "their places are free again");
    answering.reply_text("Hello");
    assert_eq!(late.answer().status, 200);
    until("all is settled", || running(&redis) == 0);
    until("all counts", || spent(&redis) >= 2 * held + ANSWER_NANO_USD);
    idle(&[slow]);
    assert_eq!(spent(&redis), 2 * held + ANSWER_NANO_USD);
}

/// What a node says and what the server does are two writings of one arithmetic.
#[test]
fn the_server_counts_as_a_node_does_by_itself() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = settings::Redis { url: redis.url().as_str().into(), on_failure: settings::OnRedisFailure::Deny, timeout: PATIENCE };
    let limits = Arc::new(Limits::default());
    let ledger = Ledger::new(&Link::new(&settings));
    runtime.block_on(async {
        ledger.spawn();
        ledger.link().up().await;
    });
    let users = AtomicUsize::new(0);
    let limit = || prop::option::of(0u64..6);
    let some = move || (limit(), prop::option::of(0u64..40), limit());
    let user_limits =
        |(requests_per_minute, tokens_per_minute, concurrent_requests)| UserLimits { requests_per_minute, tokens_per_minute, concurrent_requests };
    let steps = prop::collection::vec((any::<bool>(), 0u64..20, 0u64..20), 1..25);
    let case = (some(), some(), prop::option::of(0u64..60), prop::option::of(0u64..60), steps);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&case, |(all, one, daily_nano_usd, monthly_nano_usd, steps)| {
        let user: Arc<str> = format!("user-{}", users.fetch_add(1, Ordering::Relaxed)).into();
        let mut account = Account::default();
        let mut held = VecDeque::new();
        for (reserve, tokens, nano_usd) in steps {
            let ask = Ask {
                scopes: vec![("".into(), user_limits(all)), ("m:*".into(), user_limits(one))],
                budget: Budget { daily_nano_usd, monthly_nano_usd },
                tokens,
                nano_usd,
            };
            if reserve {
                let theirs = runtime.block_on(limits.reserve_shared(&ledger, &user, ask.clone()));
                let ours = account.reserve(&ask, now());
                let standing = account.standing(&ask, now());
                match (ours, theirs.held) {
                    (Ok(()), Ok(reservation)) => held.push_back((ask, reservation)),
                    (Err(ours), Err(Refused::Over(theirs))) => {
                        prop_assert_eq!(ours.limit, theirs.limit);
                        prop_assert!(ours.retry_after.abs_diff(theirs.retry_after) <= 5, "{:?} {:?}", ours, theirs);
                    }
                    (ours, theirs) => prop_assert!(false, "{:?} here, {:?} there", ours, theirs),
                }
                for (ours, theirs) in [(standing.requests, theirs.standing.requests), (standing.tokens, theirs.standing.tokens)] {
                    prop_assert_eq!(ours.map(|level| (level.limit, level.remaining)), theirs.map(|level| (level.limit, level.remaining)));
                    prop_assert!(ours.zip(theirs).is_none_or(|(ours, theirs)| ours.reset.abs_diff(theirs.reset) <= 5), "{:?} {:?}", ours, theirs);
                }
            } else if let Some((ask, reservation)) = held.pop_front() {
                let used = Used { tokens, nano_usd };
                account.settle(&ask, used, now());
                reservation.settle(used);
                prop_assert_eq!(runtime.block_on(ledger.flush(tokio::time::Instant::now() + PATIENCE)), 0);
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_code_is_good_once_on_all_nodes_together() {
    let mut redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    serve(upstream);
    let env =
        [("AUTH_ENABLED", "true"), ("AUTH_MODE", "api_key+totp"), ("BEDROCK_API_KEY_CAROL", "a-fake-key-of-the-environment"), ("TOTP_SECRET_CAROL", TOTP)];
    let node = |extra: &str| {
        let node = Gateway::with_models(&dear(address), &format!("redis: '{}'\nredis_timeout: 20s\n{extra}", redis.url()), &env);
        node.wait_metrics(&["adit_redis_up 1".to_owned()]);
        node
    };
    let (one, two, strict) = (node(""), node(""), node("on_redis_failure: deny"));
    let with = |code: &str| format!("x-api-key: a-fake-key-of-the-environment\r\nx-totp-code: {code}\r\n");
    early_in_a_step();
    let (first, second, third) = (with(&code(-1)), with(&code(0)), with(&code(1)));
    assert_eq!(one.post("/v1/chat/completions", &first, CHAT).status, 200);
    assert_eq!(two.post("/v1/chat/completions", &first, CHAT).status, 401, "another node has taken it");
    assert_eq!(two.post("/auth/session", &second, "").status, 200);
    assert_eq!(one.post("/v1/messages", &second, CHAT).status, 401);
    redis.kill();
    assert_eq!(strict.post("/v1/chat/completions", &third, CHAT).status, 503, "nobody can say whether it was used");
    assert_eq!(one.post("/v1/chat/completions", &third, CHAT).status, 200, "each node for itself");
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let redis = Redis::start();
    let upstream = Upstream::new();
    let gateway = node(upstream.address, &redis, "limits: { default: { concurrent_requests: 1 } }");
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let far = upstream.exchange().0;
    assert_eq!(running(&redis), 1);
    drop(client);
    until("its place is free", || running(&redis) == 0);
    drop(far);
}

#[test]
fn kept_responses_are_those_of_all_nodes() {
    const ASKED: &str = r#"{"model":"claude-3-haiku","input":"Hi"}"#;
    let mut redis = Redis::start();
    let upstream = Upstream::new();
    let address = upstream.address;
    serve(upstream);
    let env = [("AUTH_ENABLED", "true"), ("BEDROCK_API_KEY_ALICE", "a-fake-key-of-alice"), ("BEDROCK_API_KEY_BOB", "a-fake-key-of-bob")];
    let node = || {
        let config = format!("redis: '{}'\nredis_timeout: 20s\nresponses: {{ max_bytes: 20000 }}", redis.url());
        let node = Gateway::with_models(&common::models(address), &config, &env);
        node.wait_metrics(&["adit_redis_up 1".to_owned()]);
        node
    };
    let nodes = [node(), node()];
    let ask = |node: &Gateway, body: &str| {
        let answer = node.post("/v1/responses", "x-api-key: a-fake-key-of-alice\r\n", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let fetch = |node: &Gateway, method: &str, id: &str, user: &str| {
        let mut client = node.connect();
        client.call(method, &format!("/v1/responses/{id}"), &format!("x-api-key: a-fake-key-of-{user}\r\n"), b"");
        client.answer().status
    };
    let first = ask(&nodes[0], ASKED);
    assert_eq!((fetch(&nodes[1], "GET", &first, "alice"), fetch(&nodes[1], "GET", &first, "bob")), (200, 404));
    let second = ask(&nodes[1], &ASKED.replacen('{', &format!(r#"{{"previous_response_id":"{first}","#), 1));
    assert_eq!(fetch(&nodes[0], "GET", &second, "alice"), 200);
    assert_eq!(fetch(&nodes[0], "DELETE", &first, "alice"), 200);
    assert_eq!((fetch(&nodes[1], "GET", &first, "alice"), fetch(&nodes[1], "DELETE", &first, "alice")), (404, 404));
    // Beyond the bound the oldest go; what is counted is what is there.
    let long = ASKED.replace("Hi", &"x".repeat(4000));
    let ids: Vec<String> = (0..12).map(|_| ask(&nodes[0], &long)).collect();
    assert_eq!((fetch(&nodes[1], "GET", &ids[0], "alice"), fetch(&nodes[1], "GET", &ids[11], "alice")), (404, 200));
    let keys = redis.ask::<Vec<String>>(&["KEYS", "{adit:responses}:5:alice:*"]);
    let bytes: u64 = keys.iter().map(|key| redis.ask::<u64>(&["STRLEN", key])).sum();
    assert!(bytes > 10_000 && bytes <= 20_000, "{bytes}");
    assert_eq!((redis.ask::<u64>(&["GET", "{adit:responses}:bytes"]), redis.ask::<usize>(&["ZCARD", "{adit:responses}:all"])), (bytes, keys.len()));
    // Without it a node has what it keeps by itself, also when the server is back.
    redis.kill();
    let alone = ask(&nodes[0], ASKED);
    assert_eq!((fetch(&nodes[0], "GET", &alone, "alice"), fetch(&nodes[1], "GET", &alone, "alice")), (200, 503));
    redis.restart();
    until("the server is asked again", || fetch(&nodes[1], "GET", &alone, "alice") == 404);
    until("what it keeps is there again", || fetch(&nodes[1], "GET", &ids[11], "alice") == 200);
    assert_eq!(fetch(&nodes[0], "GET", &alone, "alice"), 200);
}
