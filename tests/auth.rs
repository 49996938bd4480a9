//! Who may do what, against the real daemon: keys, second factor, sessions, lock-out, pages and permissions, in the shape of each client's API.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

use common::access::{APIS, CHAT, CONVERSE, TOTP, code, early_in_a_step, new_key, same};
use common::issuer::{Provider, Signer};
use common::secrets::{AUDIT, LOUD};
use common::{Answer, Gateway, Upstream, models};

const ANSWER: &str = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}"#;

/// A daemon that knows keys.
struct House {
    upstream: Upstream,
    gateway: Gateway,
}

/// Where the error's own name stands in each.
fn error_of(api: usize, answer: &Answer) -> String {
    match api {
        0 => format!("{} {}", answer.json()["error"]["type"].as_str().unwrap(), answer.json()["error"]["code"]),
        1 => {
            assert_eq!(answer.json()["type"], "error");
            answer.json()["error"]["type"].as_str().unwrap().to_owned()
        }
        _ => {
            assert!(answer.json()["message"].is_string());
            answer.header("x-amzn-errortype").unwrap().to_owned()
        }
    }
}

impl House {
    fn new(auth: &str, keys: &str) -> House {
        let upstream = Upstream::new();
        let more = models(upstream.address)
            .replace("models:\n", "models:\n  nova: { targets: [{ provider: bedrock, model: amazon.nova-pro-v1:0 }], aliases: [novum] }\n");
        let gateway = Gateway::with_models(&more, &format!("state_dir: state\n{AUDIT}\n{auth}"), &[LOUD]);
        let house = House { upstream, gateway };
        house.keys(keys, 1);
        house
    }

    /// Gives it another file of keys, and waits until it is in force.
    fn keys(&self, keys: &str, times: usize) {
        self.gateway.rewrite("keys.yaml", keys);
        self.gateway.log.wait("the configuration was reloaded", times);
    }

    /// A request that the upstream answers.
    fn good(&self, path: &str, headers: &str, body: &str) -> Answer {
        let mut client = self.gateway.connect();
        client.call("POST", path, headers, body.as_bytes());
        let (mut upstream, request) = self.upstream.exchange();
        for header in ["x-api-key", "api-key", "x-goog-api-key", "x-totp-code", "x-otp", "cookie"] {
            assert_eq!(request.header(header), None, "{header} at the upstream");
        }
        assert!(request.header("authorization").is_some_and(|proof| proof.starts_with("AWS4-HMAC-SHA256 ")), "not the gateway's own");
        upstream.send(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len()).as_bytes());
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    fn status(&self, path: &str, headers: &str, body: &str) -> u16 {
        self.gateway.post(path, headers, body).status
    }

    fn session(&self, headers: &str, body: &str) -> Answer {
        self.gateway.post("/auth/session", headers, body)
    }

    fn get(&self, path: &str, headers: &str) -> Answer {
        let mut client = self.gateway.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes());
        client.answer()
    }
}

#[test]
fn keys_in_every_header() {
    let (alice, of_alice) = new_key("alice");
    let (nobody, _) = new_key("nobody");
    let house = House::new("auth: { enabled: true }", &format!("keys: [{{ name: alice, hash: \"{of_alice}\", models: [claude-3-haiku] }}]\n"));
    for (api, (path, body, header)) in APIS.into_iter().enumerate() {
        house.good(path, &format!("{header}{alice}\r\ncookie: a=b\r\n"), body);
        for other in ["authorization: Bearer ", "x-api-key: ", "api-key: ", "x-goog-api-key: "] {
            house.good(path, &format!("{other}{alice}\r\n"), body);
        }
        // Another one's, two at a time, none of any kind: as a wrong one in the table.
        let refused = [format!("{header}{nobody}\r\n"), format!("{header}{alice}\r\napi-key: {nobody}\r\n"), format!("{header}adit-session-AAAA\r\n")];
        let refused: Vec<Answer> = refused.iter().map(|headers| house.gateway.post(path, headers, body)).collect();
        for answer in &refused {
            assert_eq!(error_of(api, answer), ["authentication_error \"invalid_api_key\"", "authentication_error", "UnrecognizedClientException"][api]);
            assert_eq!(same(answer), same(&refused[0]));
        }
        // Not his model, by any of its names.
        for model in ["nova", "novum", "amazon.nova-pro-v1:0", "anthropic.claude-3-haiku-20240307-v1:0", "no-such-model"] {
            let path = if api == 2 { format!("/model/{}/converse", model.replace(':', "%3A")) } else { path.to_owned() };
            let denied = house.gateway.post(&path, &format!("{header}{alice}\r\n"), &body.replace("claude-3-haiku", model));
            assert_eq!(denied.status, 403, "{model}: {}", denied.text());
            assert!(denied.text().contains(model), "{}", denied.text());
        }
    }
    // A signature that nobody can read; those of key pairs are `sigv4.rs`'s business.
    let signed = "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=00\r\n";
    let answer = house.gateway.post("/model/claude-3-haiku/converse", signed, CONVERSE);
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, Some("InvalidSignatureException")));
    assert_eq!(house.status("/v1/chat/completions", signed, CHAT), 401);
    // A provider's own API.
    for (path, body, status) in [("/providers/bedrock/guardrail/x/version/1/apply", "{}", 403), ("/providers/bedrock/model/nova/converse", CONVERSE, 403)] {
        assert_eq!(house.status(path, &format!("x-api-key: {alice}\r\n"), body), status, "{path}");
        assert_eq!(house.status(path, "", body), 401, "{path}");
    }
    assert_eq!(house.status("/providers/nobody/x", "", ""), 401);
    assert_eq!(house.status("/providers/nobody/x", &format!("x-api-key: {alice}\r\n"), ""), 404);
    assert!(house.upstream.is_unused());
    house.gateway.keeps_secrets();
}

#[test]
fn pages_are_for_those_who_may_see_them() {
    let (alice, hash) = new_key("alice");
    let house = House::new("auth: { enabled: true, metrics: key, ready: key }", &format!("keys: [{{ name: alice, hash: \"{hash}\", models: ['*haiku'] }}]\n"));
    let key = format!("x-api-key: {alice}\r\n");
    assert_eq!(house.get("/health", "").status, 200);
    assert_eq!((house.get("/metrics", "").status, house.get("/metrics", &key).status), (401, 200));
    assert_eq!((house.get("/v1/models", "").status, house.get("/v1/models/claude-3-haiku", "").status), (401, 401));
    let list = house.get("/v1/models", &key).json();
    assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["id"]), (1, &"claude-3-haiku".into()));
    assert_eq!(house.get("/v1/models/claude-3-haiku", &key).status, 200);
    for other in ["nova", "novum", "amazon.nova-pro-v1:0"] {
        assert_eq!(house.get(&format!("/v1/models/{other}"), &key).status, 404, "{other}");
    }
    let (bare, whole) = (house.get("/ready", ""), house.get("/ready", &key));
    assert_eq!(bare.status, whole.status);
    assert_eq!(bare.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["status"]);
    assert!(whole.json()["providers"].is_object());
    assert_eq!(house.get("/auth/session", &key).status, 405);
    assert_eq!(house.get("/nowhere", "").status, 404);
    let told = house.gateway.told_secrets(&key);
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn a_second_factor_and_sessions() {
    let (alice, of_alice) = new_key("alice");
    let (bob, of_bob) = new_key("bob");
    let lines = |more: &str| format!("keys:\n  - {{ name: alice, hash: \"{of_alice}\", totp: {TOTP}{more} }}\n  - {{ name: bob, hash: \"{of_bob}\" }}\n");
    let house = House::new("auth: { enabled: true, mode: api_key+totp }", &lines(""));
    let key = format!("x-api-key: {alice}\r\n");
    early_in_a_step();
    // Earlier steps first: with a code all before it are used up.
    let first = code(-1);
    house.good(APIS[0].0, &format!("{key}x-totp-code: {first}\r\n"), CHAT);
    for (path, body, header) in APIS {
        for headers in [
            // A code alone, a key without its code, a key that has no second factor.
            format!("x-totp-code: {}\r\n", code(1)),
            format!("{header}{alice}\r\n"),
            format!("{header}{bob}\r\nx-totp-code: {}\r\n", code(1)),
        ] {
            assert_eq!(house.status(path, &headers, body), 401, "{path} {headers}");
        }
    }
    for body in ["", "{}", r#"{"code":null}"#, r#"{"code":"1234"}"#] {
        assert_eq!(house.session(&key, body).status, 401, "{body}");
    }
    assert_eq!((house.session(&key, "{").status, house.session(&key, r#"{"code":1}"#).status), (400, 400));
    assert_eq!(house.session(&key, &" ".repeat(5000)).status, 413);
    let fresh = format!(r#"{{"code":"{}"}}"#, code(1));
    let made = house.session(&key, &fresh);
    assert_eq!((made.status, made.header("cache-control")), (200, Some("no-store")), "{}", made.text());
    let made = made.json();
    assert_eq!((&made["token_type"], &made["expires_in"]), (&"Bearer".into(), &43200.into()));
    let token = made["token"].as_str().unwrap();
    assert_eq!(house.session(&key, &fresh).status, 401, "a code is good once");
    for (path, body, header) in APIS {
        house.good(path, &format!("{header}{token}\r\n"), body);
        house.good(path, &format!("api-key: {token}\r\n"), body);
        assert_eq!(house.status(path, &format!("{header}{token}x\r\n"), body), 401);
    }
    assert_eq!(house.session(&format!("x-api-key: {token}\r\n"), "").status, 401, "a session begets none");
    // It ends with its key.
    house.keys(&lines(", disabled: true"), 2);
    assert_eq!(house.status(APIS[0].0, &format!("x-api-key: {token}\r\n"), CHAT), 401);
    house.keys(&lines(""), 3);
    house.good(APIS[0].0, &format!("x-api-key: {token}\r\n"), CHAT);
    // A bad file changes nothing.
    house.gateway.rewrite("keys.yaml", &lines(", nmae: x"));
    house.gateway.log.wait("the new configuration is refused", 1);
    house.good(APIS[0].0, &format!("x-api-key: {token}\r\n"), CHAT);
    house.gateway.keeps_secrets();
}

#[test]
fn who_guesses_waits() {
    let (alice, of_alice) = new_key("alice");
    let (bob, of_bob) = new_key("bob");
    let (stranger, _) = new_key("stranger");
    let keys = format!("keys:\n  - {{ name: alice, hash: \"{of_alice}\", totp: {TOTP} }}\n  - {{ name: bob, hash: \"{of_bob}\" }}\n");
    let house = House::new("auth: { enabled: true }\ntrusted_proxies: [127.0.0.0/8]", &keys);
    let from = |address: &str, key: &str, code: &str| format!("x-forwarded-for: {address}\r\nx-api-key: {key}\r\nx-totp-code: {code}\r\n");
    for (api, (path, body, _)) in APIS.into_iter().enumerate() {
        let address = format!("192.0.2.{}", api + 1);
        let wrong = format!("{}-wrong", &alice[..alice.rfind('-').unwrap()]);
        let unknown = format!("{stranger}x");
        for _ in 0..5 {
            assert_eq!(house.status(path, &from(&address, &alice, "abcdef"), body), 401);
            assert_eq!(house.status(path, &from(&format!("198.51.100.{api}"), &wrong, ""), body), 401);
            assert_eq!(house.status(path, &from(&format!("203.0.113.{api}"), &unknown, ""), body), 401);
        }
        let known = house.gateway.post(path, &from(&address, &alice, "abcdef"), body);
        assert_eq!(known.status, 429, "{}", known.text());
        let wait: u64 = known.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
        let error = error_of(api, &known);
        assert!(["rate_limit_exceeded", "rate_limit_error", "ThrottlingException"].iter().any(|name| error.contains(name)), "{error}");
        let other = house.gateway.post(path, &from(&format!("203.0.113.{api}"), &unknown, ""), body);
        assert_eq!(
            (other.status, other.text().replace(other.header("x-request-id").unwrap(), "ID")),
            (429, known.text().replace(known.header("x-request-id").unwrap(), "ID"))
        );
        assert_eq!(house.session(&from(&address, &alice, ""), "").status, 429);
        // Another key from there, and the same key from elsewhere.
        house.good(path, &from(&address, &bob, ""), body);
    }
    house.good(APIS[0].0, &from("192.0.2.200", &alice, &code(0)), CHAT);
    house.gateway.keeps_secrets();
}

#[test]
fn who_makes_up_tokens_waits_and_who_comes_late_does_not() {
    let (alice, of_alice) = new_key("alice");
    let signer = Signer::new("k1");
    let provider = Provider::new(&[&signer]);
    let auth = format!(
        "auth: {{ enabled: true, mode: [api_key, jwt], session: {{ secret: obviously-fake-obviously-fake-obviously }}, jwt: {{ issuer: '{}', audience: adit }} }}\ntrusted_proxies: [127.0.0.0/8]",
        provider.url
    );
    let house = House::new(&auth, &format!("keys: [{{ name: alice, hash: \"{of_alice}\" }}]\n"));
    let (path, body, _) = APIS[0];
    let from = |address: &str, token: &str| house.gateway.post(path, &format!("x-forwarded-for: {address}\r\nx-api-key: {token}\r\n"), body);
    let session = house.session(&format!("x-api-key: {alice}\r\n"), "").json()["token"].as_str().unwrap().to_owned();
    let token = |change: fn(&mut serde_json::Value)| {
        let mut claims = provider.claims();
        change(&mut claims);
        signer.token(&claims)
    };
    let good = token(|_| ());
    let forged = |token: &str| format!("{}AAAA", &token[..token.len() - 4]);
    let (unknown, late) = (Signer::new("k2").token(&provider.claims()), token(|claims| claims["exp"] = 1.into()));
    for (number, (good, guess)) in [(&session, forged(&session)), (&good, forged(&good))].into_iter().enumerate() {
        let address = format!("192.0.2.{number}");
        for _ in 0..50 {
            assert_eq!(from(&address, &guess).status, 401);
        }
        // Whatever it shows, this address waits; nobody else does.
        for shown in [&guess, good, &alice] {
            let answer = from(&address, shown);
            assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true), "{}", answer.text());
        }
        house.good(path, &format!("x-forwarded-for: 192.0.3.{number}\r\nx-api-key: {good}\r\n"), body);
    }
    // What was good once, or comes too early for the provider's keys, is no guess.
    for (number, harmless) in [&late, &unknown, &token(|claims| claims["aud"] = "other".into())].into_iter().enumerate() {
        let address = format!("192.0.4.{number}");
        for _ in 0..60 {
            assert_eq!(from(&address, harmless).status, 401);
        }
        house.good(path, &format!("x-forwarded-for: {address}\r\nx-api-key: {good}\r\n"), body);
    }
    house.gateway.keeps_secrets();
}

#[test]
fn keys_of_the_environment_and_sessions_that_outlive_the_process() {
    let upstream = Upstream::new();
    let env =
        [("AUTH_ENABLED", "true"), ("AUTH_MODE", "api_key+totp"), ("BEDROCK_API_KEY_CAROL", "a-fake-key-of-the-environment"), ("TOTP_SECRET_CAROL", TOTP)];
    let state = tempfile::tempdir().unwrap();
    let extra = format!("state_dir: {}", state.path().join("state").display());
    let chat = |gateway: &Gateway, headers: &str| gateway.post("/v1/models-nowhere", headers, "").status.min(gateway.post("/auth/session", headers, "").status);
    let key = "authorization: Bearer a-fake-key-of-the-environment\r\n";
    let gateway = Gateway::with_models(&models(upstream.address), &extra, &env);
    assert_eq!(chat(&gateway, key), 401, "no code");
    let made = gateway.post("/auth/session", &format!("{key}x-otp: {}\r\n", code(0)), "");
    assert_eq!(made.status, 200, "{}", made.text());
    let token = made.json()["token"].as_str().unwrap().to_owned();
    drop(gateway);
    let list = |env: &[(&str, &str)]| {
        let gateway = Gateway::with_models(&models(upstream.address), &extra, env);
        let mut client = gateway.connect();
        client.send(format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n").as_bytes());
        client.answer().status
    };
    assert_eq!(list(&env), 200, "the next process");
    let mut other = env;
    other[2].1 = "another-fake-key-of-the-environment";
    assert_eq!(list(&other), 401, "the key has changed");
    let off = Gateway::with_models(&models(upstream.address), "", &[env[2]]);
    assert_eq!(off.post("/auth/session", key, "").status, 404, "where nobody has to prove anything there are no sessions");
    off.log.wait("auth.enabled is false", 1);
}

#[test]
fn a_second_factor_is_printed_for_phones() {
    let out = Command::new(env!("CARGO_BIN_EXE_adit")).args(["totp", "new", "alice@example.com"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let secret = text.split('"').rev().find(|word| word.len() == 32).unwrap();
    assert!(text.contains(&format!("otpauth://totp/Adit:alice%40example%2Ecom?secret={secret}&issuer=Adit&algorithm=SHA1&digits=6&period=30")), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.contains(['█', '▀'])).collect();
    let width = rows[0].chars().count();
    assert!(rows.len() == width.div_ceil(2) && rows.iter().all(|row| row.chars().count() == width), "{text}");
    // Four light modules all around.
    assert!(rows[..2].iter().all(|row| row.chars().all(|c| c == '█')) && rows.iter().all(|row| row.starts_with("████") || row.starts_with("▀▀▀▀")), "{text}");
    let none = Command::new(env!("CARGO_BIN_EXE_adit")).args(["key", "new", ""]).output().unwrap();
    assert_eq!(none.status.code(), Some(2));
}
