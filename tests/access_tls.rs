//! TLS, client certificates and tokens of an identity provider, at the real daemon in front of the stand-in for Bedrock.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::issuer::{Provider, Signer, sign};
use common::process::{Daemon, sandbox, signal, until};
use common::secrets::{AUDIT, LOUD};
use common::tls::{Authority, ask, client, connect};
use hmac::Mac as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use serde_json::{Value, json};

const CHAT: &str = r#"{"model":"claude-3-haiku","messages":[{"role":"user","content":"Hi"}]}"#;
const MESSAGES: &str = r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
const CONVERSE: &str = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;
/// A path of each dialect, with a body.
const DIALECTS: [(&str, &str); 3] = [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES), ("/model/claude-3-haiku/converse", CONVERSE)];

/// The daemon in front of the stand-in. `listen` and `extra` are added to its file, the files lie beside it.
fn start(listen: &str, extra: &str, files: &[(&str, &str)]) -> (Daemon, tokio::runtime::Runtime) {
    let (upstream, sandbox) = sandbox();
    let models = common::models(upstream);
    let files = [files, &[("models.yaml", &models)]].concat();
    let grace = "grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30";
    (Daemon::listening(listen, grace, &format!("{AUDIT}\n{extra}"), &[LOUD], &files), sandbox)
}

/// What a plain client is told.
fn post(daemon: &Daemon, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let answer = daemon.post(path, headers, body);
    (answer.status, answer.json())
}

const TLS: &str = "http: {http}, https: { address: {https}, certificate: cert.pem, key: key.pem }";

/// One POST over HTTP/2 with TLS.
fn post_h2(address: SocketAddr, config: Arc<ClientConfig>, path: &str, body: &'static str) -> (u16, Value) {
    let uri = format!("https://localhost{path}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect("localhost".try_into().unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post(uri).body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
    })
}

#[test]
fn certificates_change_while_connections_live_on() {
    let authority = Authority::new();
    let (first, second, other) = (authority.issue("first", 2400), authority.issue("second", 2400), authority.issue("other", 2400));
    let (daemon, _sandbox) = start(TLS, "", &[("cert.pem", &first.pem), ("key.pem", &first.key.serialize_pem())]);
    let config = client(&authority, None, b"http/1.1");
    let shown = || connect(daemon.https, &config).map(|connection| connection.conn.peer_certificates().unwrap()[0].clone());
    let mut old = connect(daemon.https, &config).unwrap();
    assert_eq!(old.conn.peer_certificates().unwrap()[0], first.certificate);
    let (status, body) = ask(&mut old, "POST", "/v1/chat/completions", "", CHAT).unwrap();
    assert_eq!(status, 200, "{body}");
    let (status, body) = post_h2(daemon.https, client(&authority, None, b"h2"), "/v1/chat/completions", CHAT);
    assert_eq!((status, &body["object"]), (200, &json!("chat.completion")));
    // Both files, one after the other: what lies between is no pair.
    daemon.rewrite("key.pem", &second.key.serialize_pem());
    daemon.rewrite("cert.pem", &second.pem);
    until("the new certificate is shown", || shown().unwrap() == second.certificate);
    assert_eq!(ask(&mut old, "GET", "/health", "", "").unwrap().0, 200, "the old connection lives on");
    let refused = daemon.log().matches("the new configuration is refused").count();
    daemon.rewrite("key.pem", &other.key.serialize_pem());
    until("the bad pair is refused", || daemon.log().matches("the new configuration is refused").count() > refused);
    assert!(daemon.log().contains("listen.https.key: expected the key of the certificate, but "));
    assert_eq!(shown().unwrap(), second.certificate);
    assert!(!daemon.log().contains("PRIVATE KEY"));
    daemon.keeps_secrets();
}

#[test]
fn https_alone_is_asked_for_its_health_and_handed_over() {
    let authority = Authority::new();
    let pair = authority.issue("gateway", 2400);
    let listen = "http: null, https: { address: {https}, certificate: cert.pem, key: key.pem }";
    let (mut daemon, _sandbox) = start(listen, "", &[("cert.pem", &pair.pem), ("key.pem", &pair.key.serialize_pem())]);
    let health = |file: &Path| Command::new(env!("CARGO_BIN_EXE_adit")).arg("health").arg("-c").arg(file).env_clear().output().unwrap();
    let file = daemon.path("adit.yaml");
    assert_eq!(health(&file).status.code(), Some(0), "{:?}", health(&file));
    let config = client(&authority, None, b"http/1.1");
    let successor = daemon.spawn(&["-u"]);
    signal(daemon.child.id(), "QUIT");
    let pid = daemon.path("run/pid");
    until("the successor has written its pid", || std::fs::read_to_string(&pid).is_ok_and(|text| text.trim() == successor.id().to_string()));
    let mut old = std::mem::replace(&mut daemon.child, successor);
    assert_eq!(old.wait().unwrap().code(), Some(0));
    let (status, body) = ask(&mut connect(daemon.https, &config).unwrap(), "POST", "/v1/chat/completions", "", CHAT).unwrap();
    assert_eq!(status, 200, "{body}");
    // Somebody else at this address is not taken for the gateway.
    let other = authority.issue("other", 2400);
    std::fs::create_dir(daemon.path("x")).unwrap();
    for (name, text) in [("cert.pem", &other.pem), ("key.pem", &other.key.serialize_pem())] {
        std::fs::write(daemon.path("x").join(name), text).unwrap();
    }
    std::fs::copy(daemon.path("models.yaml"), daemon.path("x/models.yaml")).unwrap();
    std::fs::copy(&file, daemon.path("x/adit.yaml")).unwrap();
    assert_eq!(health(&daemon.path("x/adit.yaml")).status.code(), Some(1));
}

/// The refusal of a request without a proof, as each dialect writes it.
fn check_refused(path: &str, answer: &Value) {
    const TEXT: &str = "The request has no valid credentials.";
    match path {
        "/v1/chat/completions" => assert_eq!(answer["error"]["message"], TEXT),
        "/v1/messages" => assert_eq!((&answer["type"], &answer["error"]["type"]), (&json!("error"), &json!("authentication_error"))),
        _ => assert_eq!(*answer, json!({"message": TEXT})),
    }
}

#[test]
fn client_certificates_are_proofs() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let pair = authority.issue("gateway", 2400);
    let (key, ca) = (pair.key.serialize_pem(), clients.0.pem());
    let lines = "keys: [{ name: junior, models: [nova] }, { name: gone, expires: 2021-01-01T00:00:00Z }]";
    let files = [("cert.pem", pair.pem.as_str()), ("key.pem", &key), ("ca.pem", &ca), ("keys.yaml", lines)];
    let listen = "http: {http}, https: { address: {https}, certificate: cert.pem, key: key.pem, client_ca: ca.pem }";
    let (daemon, _sandbox) = start(listen, "auth: { enabled: true, mode: mtls }", &files);
    // By the name in the certificate his line is found.
    for (name, status) in [("junior", 403), ("gone", 401)] {
        let config = client(&authority, Some(&clients.issue(name, 2400)), b"http/1.1");
        for (path, body) in DIALECTS {
            assert_eq!(ask(&mut connect(daemon.https, &config).unwrap(), "POST", path, "", body).unwrap().0, status, "{name}");
        }
    }
    let (good, wrong, expired) = (clients.issue("alice", 2400), strangers.issue("alice", 2400), clients.issue("alice", 2021));
    let config = client(&authority, Some(&good), b"http/1.1");
    let mut kept = connect(daemon.https, &config).unwrap();
    for (path, body) in DIALECTS {
        let (status, text) = ask(&mut kept, "POST", path, "", body).unwrap();
        assert_eq!(status, 200, "{text}");
        assert_eq!(post_h2(daemon.https, client(&authority, Some(&good), b"h2"), path, body).0, 200);
        let (status, text) = ask(&mut connect(daemon.https, &client(&authority, None, b"http/1.1")).unwrap(), "POST", path, "", body).unwrap();
        assert_eq!(status, 401, "{text}");
        check_refused(path, &serde_json::from_str(&text).unwrap());
        let (status, answer) = post(&daemon, path, "", body);
        assert_eq!(status, 401);
        check_refused(path, &answer);
        for bad in [&wrong, &expired] {
            // The handshake fails; a client of TLS 1.3 learns it with its first read.
            let asked = connect(daemon.https, &client(&authority, Some(bad), b"http/1.1")).and_then(|mut bad| ask(&mut bad, "POST", path, "", body));
            assert!(asked.is_err(), "{asked:?}");
        }
    }
    assert_eq!(ask(&mut connect(daemon.https, &client(&authority, None, b"http/1.1")).unwrap(), "GET", "/health", "", "").unwrap().0, 200);
    // Who vouches for clients has changed: the connection lives on, its certificate does not count any more.
    daemon.rewrite("ca.pem", &strangers.0.pem());
    until("the strangers count", || {
        connect(daemon.https, &client(&authority, Some(&wrong), b"http/1.1"))
            .and_then(|mut now| ask(&mut now, "POST", "/v1/chat/completions", "", CHAT))
            .is_ok_and(|(status, _)| status == 200)
    });
    assert_eq!(ask(&mut kept, "POST", "/v1/chat/completions", "", CHAT).unwrap().0, 401);
    // Nor does a session that was agreed on while it counted.
    let resumed = connect(daemon.https, &config).and_then(|mut again| ask(&mut again, "POST", "/v1/chat/completions", "", CHAT));
    assert!(!matches!(resumed, Ok((200, _))), "{resumed:?}");
    daemon.keeps_secrets();
}

#[test]
fn tokens_of_an_identity_provider_are_proofs() {
    let (first, rsa, p256) = (Signer::new("k1"), Signer::rs256("k-rsa"), Signer::es256("k-p256"));
    let (second, thief) = (Signer::new("k2"), Signer::new("k1"));
    let provider = Provider::new(&[&first, &rsa, &p256]);
    let extra = format!(
        "auth: {{ enabled: true, mode: jwt, jwt: {{ issuer: '{}', audience: adit, groups: {{ engineers: {{ models: ['claude-*'] }} }} }} }}",
        provider.url
    );
    let lines = "keys: [{ name: guest, models: ['*'] }, { name: junior, models: [nova] }, { name: gone, disabled: true }]";
    let (daemon, _sandbox) = start("http: {http}", &extra, &[("keys.yaml", lines)]);
    let claims = provider.claims();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        first.token(&claims)
    };
    let bearer = |token: &str, path: &str, body: &str| post(&daemon, path, &format!("authorization: Bearer {token}\r\n"), body);
    let hmac = |signer: &Signer| {
        let mut header = signer.header();
        header["alg"] = "HS256".into();
        sign(&header.to_string(), &claims.to_string(), |message| {
            let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&signer.public_bytes()).unwrap();
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        })
    };
    let headed = |header: Value| first.headed(&header, &claims);
    let changed = |signer: &Signer| {
        let token = signer.token(&claims);
        let at = token.len() - 20;
        let other = if token[at..].starts_with('A') { "Q" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    };
    let now = common::issuer::now();
    let twice = claims.to_string().replacen('{', r#"{"sub":"mallory","#, 1);
    let bad = [
        ("another one's signature", thief.token(&claims)),
        ("a changed byte, EdDSA", changed(&first)),
        ("a changed byte, RS256", changed(&rsa)),
        ("a changed byte, ES256", changed(&p256)),
        ("an unknown key", second.token(&claims)),
        ("expired, beyond the leeway", with("exp", json!(now - 90))),
        ("not yet valid, beyond the leeway", with("nbf", json!(now + 600))),
        ("issued in the future", with("iat", json!(now + 600))),
        ("the wrong audience", with("aud", json!("other"))),
        ("the wrong issuer", with("iss", json!("https://id.example.com"))),
        ("no signature", sign(r#"{"alg":"none"}"#, &claims.to_string(), |_| Vec::new())),
        ("a public key as a secret, EdDSA", hmac(&first)),
        ("a public key as a secret, RS256", hmac(&rsa)),
        ("an algorithm for another key", headed(json!({"alg": "RS256", "kid": "k1"}))),
        ("a critical extension", headed(json!({"alg": "EdDSA", "kid": "k1", "crit": ["exp"]}))),
        ("a claim that is there twice", sign(&first.header().to_string(), &twice, |message| first.sign(message))),
        ("a giant", with("groups", json!(vec!["engineers"; 2000]))),
        ("no token", "obviously-fake".to_owned()),
    ];
    for (path, body) in DIALECTS {
        // Right behind the start: it waits for the keys.
        for good in [first.token(&claims), rsa.token(&claims), p256.token(&claims), with("exp", json!(now - 30)), with("nbf", json!(now + 30))] {
            let (status, answer) = bearer(&good, path, body);
            assert_eq!(status, 200, "{answer}");
            let (status, answer) = post(&daemon, path, &format!("x-api-key: {good}\r\n"), body);
            assert_eq!(status, 200, "{answer}");
        }
        for (what, token) in &bad {
            let (status, answer) = bearer(token, path, body);
            assert_eq!(status, 401, "{what}: {answer}");
            check_refused(path, &answer);
        }
    }
    // Who is in no group may use nothing; a line of the keys file is stronger than a group, in both directions.
    let stranger = with("groups", json!(["guests"]));
    let as_user = |name: &str, groups: Value| {
        let mut claims = claims.clone();
        (claims["sub"], claims["groups"]) = (json!(name), groups);
        first.token(&claims)
    };
    for (path, body) in DIALECTS {
        assert_eq!(bearer(&stranger, path, body).0, 403);
        assert_eq!(bearer(&as_user("guest", json!([])), path, body).0, 200);
        assert_eq!(bearer(&as_user("junior", json!(["engineers"])), path, body).0, 403);
        let (status, answer) = bearer(&as_user("gone", json!(["engineers"])), path, body);
        assert_eq!(status, 401);
        check_refused(path, &answer);
    }
    // Once at the start, and once for all those tokens with an unknown key.
    assert_eq!(provider.fetches.load(Ordering::SeqCst), 2);
    assert!(!daemon.log().contains("eyJ"), "no token is logged");
    daemon.keeps_secrets();
}

#[test]
fn keys_are_rotated_and_outlive_their_provider() {
    let (first, second, third) = (Signer::new("k1"), Signer::new("k2"), Signer::new("k3"));
    let provider = Provider::new(&[&first]);
    let extra = format!("auth: {{ enabled: true, mode: jwt, jwt: {{ issuer: '{}', audience: adit }} }}", provider.url);
    let (daemon, _sandbox) = start("http: {http}", &extra, &[]);
    let claims = provider.claims();
    let status = |signer: &Signer| post(&daemon, "/v1/chat/completions", &format!("authorization: Bearer {}\r\n", signer.token(&claims)), CHAT).0;
    assert_eq!(status(&first), 200);
    provider.publish(&[&second]);
    assert_eq!(status(&second), 200, "a new key is fetched when a token names it");
    assert_eq!(status(&first), 401, "a key that is not published any more does not count, whatever is remembered");
    assert_eq!(provider.fetches.load(Ordering::SeqCst), 2);
    // The provider is down: what is known goes on, also over a reload that changes who may do what.
    *provider.keys.lock().unwrap() = None;
    assert_eq!(status(&third), 401);
    let get = |path: &str| {
        let mut client = common::Client::new(TcpStream::connect(daemon.address).unwrap());
        client.call("GET", path, "", b"");
        client.answer()
    };
    // A third fetch is not made so soon; the state is that of the last one.
    assert_eq!(get("/ready").json()["token_issuer"], json!({"state": "reachable", "keys": 1}));
    let metrics = get("/metrics");
    for line in ["adit_token_issuer_keys 1", "adit_token_issuer_fetches{outcome=\"fetched\"} 2", "adit_token_issuer_fetches{outcome=\"failed\"} 0"] {
        assert!(metrics.text().lines().any(|found| found == line), "no {line}");
    }
    let file = std::fs::read_to_string(daemon.path("adit.yaml")).unwrap();
    daemon.rewrite("adit.yaml", &file.replace("audience: adit", "audience: nobody"));
    until("the new audience counts", || status(&second) == 401);
    daemon.rewrite("adit.yaml", &file);
    until("the old audience counts", || status(&second) == 200);
    daemon.keeps_secrets();
}
