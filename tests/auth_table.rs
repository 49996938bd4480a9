//! One table of who is let in and who is not: every mode, every proof, every kind of mistake, in each of the three APIs. What a mode's own rules are beyond that
//! stands in `auth.rs` (keys, codes, sessions), `access_tls.rs` (certificates, tokens) and `sigv4.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit::policy::auth::{key, session};
use common::access::{APIS, TOTP, code, early_in_a_step, same};
use common::issuer::{Provider, Signer};
use common::process::Daemon;
use common::signed::Call;
use common::tls::{Authority, client, through};
use common::{Answer, Client, Upstream};
use rustls::ClientConfig;
use serde_json::{Value, json};

const PAIR_SECRET: &str = "obviously-not-a-secret-of-the-robot-0000";
const SESSION_SECRET: &str = "an obviously fake secret that signs sessions";

/// How somebody proves who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Key,
    Code,
    Session,
    /// A session of a key with a second factor.
    CodeSession,
    Token,
    Certificate,
    Signature,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Good,
    Wrong,
    Missing,
    /// The proof itself is too old.
    Expired,
    /// Its user, or its key, has ended.
    Ended,
    Disabled,
    /// Good, but for other models.
    NotAllowed,
    /// A second time.
    Replayed,
}

/// What a client shows.
enum Shown {
    /// Header lines.
    Head(String),
    /// A signature with this pair, so long ago.
    Signed((&'static str, &'static str), Duration),
    /// A certificate.
    Tls(Arc<ClientConfig>),
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Served,
    /// There was no proof at all.
    Missing,
    /// It is not good: one answer, whatever is wrong with it.
    Bad,
    /// An access key id that does not count: as bad, in AWS's words.
    UnknownSigner,
    /// A signature that is not right: what it is stands in the message.
    BadSignature(&'static str),
    /// It is good, for other models.
    Denied,
    /// TLS itself says no: there is no request that could be answered.
    NoHandshake,
    /// There is no such thing, and why.
    Never(&'static str),
}

/// Everybody who may come, and the files that know them.
struct People {
    keys: String,
    users: adit::config::snapshot::Snapshot,
    secrets: Vec<(String, String)>,
    signer: Signer,
    thief: Signer,
    provider: Provider,
    authority: Authority,
    clients: Authority,
    strangers: Authority,
    /// The code of when the test began: good for half a minute more than it is the present one.
    code: String,
}

impl People {
    fn new() -> People {
        let mut secrets = Vec::new();
        let mut keys = "keys:\n".to_owned();
        let mut add = |name: &str, more: &str| {
            let (secret, hash) = key::new(&std::array::from_fn(|_| fastrand::u8(..)));
            keys.push_str(&format!("  - {{ name: {name}, hash: \"{hash}\"{more} }}\n"));
            secrets.push((name.to_owned(), secret));
        };
        let ended = ", expires: 2020-01-01T00:00:00Z";
        for (name, more) in [("key", ""), ("key-ended", ended), ("key-off", ", disabled: true"), ("key-junior", ", models: [nova]")] {
            add(name, more);
        }
        // A code is good once, and with it all earlier ones of its user.
        let totp = format!(", totp: {TOTP}");
        for number in 0..6 {
            add(&format!("code-{number}"), &totp);
            add(&format!("junior-{number}"), &format!("{totp}, models: [nova]"));
        }
        for (name, more) in [("code-ended", ended), ("code-off", ", disabled: true")] {
            add(name, &format!("{totp}{more}"));
        }
        for (id, more) in [("GOOD", ""), ("ENDED", ended), ("OFF", ", disabled: true"), ("JUNIOR", ", models: [nova]")] {
            keys.push_str(&format!("  - {{ name: robot-{}, access_key_id: ADITOBVIOUSLY{id}, secret: {PAIR_SECRET}{more} }}\n", id.to_lowercase()));
        }
        for kind in ["token", "cert"] {
            keys.push_str(&format!(
                "  - {{ name: {kind}-ended{ended} }}\n  - {{ name: {kind}-off, disabled: true }}\n  - {{ name: {kind}-junior, models: [nova] }}\n"
            ));
        }
        let (signer, thief) = (Signer::new("k1"), Signer::new("k1"));
        let provider = Provider::new(&[&signer]);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("keys.yaml"), &keys).unwrap();
        std::fs::write(folder.path().join("adit.yaml"), "auth: { enabled: true }").unwrap();
        std::fs::write(folder.path().join("models.yaml"), common::models("127.0.0.1:1".parse().unwrap())).unwrap();
        let users = adit::config::load(Some(&folder.path().join("adit.yaml")), &|_| None).unwrap();
        People {
            keys,
            users,
            secrets,
            signer,
            thief,
            provider,
            authority: Authority::new(),
            clients: Authority::new(),
            strangers: Authority::new(),
            code: code(0),
        }
    }

    fn secret(&self, name: &str) -> &str {
        &self.secrets.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// A session as the daemon itself would make it.
    fn session(&self, secret: &str, name: &str, ends: SystemTime) -> String {
        let users = &self.users.process.auth.users;
        let key = users.keys.values().find(|key| &*key.name == name).unwrap();
        session::new(secret.as_bytes(), users, key, ends, [7; 8])
    }

    fn token(&self, signer: &Signer, name: &str, change: impl FnOnce(&mut Value)) -> Shown {
        let mut claims = self.provider.claims();
        claims["sub"] = name.into();
        change(&mut claims);
        Shown::Head(format!("authorization: Bearer {}\r\n", signer.token(&claims)))
    }

    fn certificate(&self, issuer: &Authority, name: &str, year: i32) -> Shown {
        Shown::Tls(client(&self.authority, Some(&issuer.issue(name, year)), b"http/1.1"))
    }

    /// A daemon that takes these modes.
    fn daemon(&self, mode: &str, upstream: &Upstream) -> Daemon {
        let pair = self.authority.issue("gateway", 2400);
        let extra = format!(
            "auth: {{ enabled: true, mode: {mode}, session: {{ secret: \"{SESSION_SECRET}\" }}, jwt: {{ issuer: '{}', audience: adit }} }}",
            self.provider.url
        );
        let listen = "http: {http}, https: { address: {https}, certificate: cert.pem, key: key.pem, client_ca: ca.pem }";
        // Messages are translated too, so that one upstream speaks to all.
        let haiku = "{ targets: [{ provider: bedrock, model: 'anthropic.claude-3-haiku-20240307-v1:0', surface: converse }] }";
        let models = common::models(upstream.address).replace("{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }", haiku);
        let models = format!("{models}  nova: {{ bedrock: 'amazon.nova-pro-v1:0' }}\n");
        let (key, ca) = (pair.key.serialize_pem(), self.clients.0.pem());
        let files = [("models.yaml", models.as_str()), ("keys.yaml", &self.keys), ("cert.pem", &pair.pem), ("key.pem", &key), ("ca.pem", &ca)];
        Daemon::listening(listen, "grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30", &extra, &[], &files)
    }

    /// What somebody shows. `turn` counts requests: codes are used up, so each has a user of its own.
    fn show(&self, kind: Kind, case: Case, turn: usize) -> Result<Shown, &'static str> {
        let head = |text: String| Ok(Shown::Head(text));
        let bearer = |name: &str| head(format!("authorization: Bearer {}\r\n", self.secret(name)));
        let with_code = |name: &str, code: String| head(format!("x-api-key: {}\r\nx-totp-code: {code}\r\n", self.secret(name)));
        let session = |name: &str| head(format!("x-api-key: {}\r\n", self.session(SESSION_SECRET, name, SystemTime::now() + Duration::from_secs(600))));
        let pair = |id, age| Ok(Shown::Signed((id, PAIR_SECRET), Duration::from_secs(age)));
        let of_key = if kind == Kind::CodeSession { ["code-0", "code-ended", "code-off", "junior-0"] } else { ["key", "key-ended", "key-off", "key-junior"] };
        match (kind, case) {
            (_, Case::Missing) => head(String::new()),

            (Kind::Key, Case::Good) => bearer("key"),
            (Kind::Key, Case::Wrong) => head(format!("authorization: Bearer {}x\r\n", self.secret("key"))),
            (Kind::Key, Case::Expired) => Err("a key has no age of its own: its line has an end"),
            (Kind::Key, Case::Ended) => bearer("key-ended"),
            (Kind::Key, Case::Disabled) => bearer("key-off"),
            (Kind::Key, Case::NotAllowed) => bearer("key-junior"),
            (Kind::Key, Case::Replayed) => Err("a key is there to be shown again"),

            (Kind::Code, Case::Good | Case::Replayed) => with_code(&format!("code-{turn}"), self.code.clone()),
            // Far enough from now to be no code of today.
            (Kind::Code, Case::Wrong) => with_code(&format!("code-{turn}"), code(100_000)),
            (Kind::Code, Case::Expired) => with_code(&format!("code-{turn}"), code(-3)),
            (Kind::Code, Case::Ended) => with_code("code-ended", self.code.clone()),
            (Kind::Code, Case::Disabled) => with_code("code-off", self.code.clone()),
            (Kind::Code, Case::NotAllowed) => with_code(&format!("junior-{turn}"), self.code.clone()),

            (Kind::Session | Kind::CodeSession, Case::Good) => session(of_key[0]),
            (Kind::Session | Kind::CodeSession, Case::Wrong) => {
                head(format!("x-api-key: {}\r\n", self.session("another secret", of_key[0], SystemTime::now() + Duration::from_secs(600))))
            }
            (Kind::Session | Kind::CodeSession, Case::Expired) => {
                head(format!("x-api-key: {}\r\n", self.session(SESSION_SECRET, of_key[0], SystemTime::now())))
            }
            (Kind::Session | Kind::CodeSession, Case::Ended) => session(of_key[1]),
            (Kind::Session | Kind::CodeSession, Case::Disabled) => session(of_key[2]),
            (Kind::Session | Kind::CodeSession, Case::NotAllowed) => session(of_key[3]),
            (Kind::Session | Kind::CodeSession, Case::Replayed) => Err("a session is there to be shown again until it ends"),

            (Kind::Token, Case::Good) => Ok(self.token(&self.signer, "token", |_| ())),
            (Kind::Token, Case::Wrong) => Ok(self.token(&self.thief, "token", |_| ())),
            (Kind::Token, Case::Expired) => Ok(self.token(&self.signer, "token", |claims| claims["exp"] = json!(1))),
            (Kind::Token, Case::Ended) => Ok(self.token(&self.signer, "token-ended", |_| ())),
            (Kind::Token, Case::Disabled) => Ok(self.token(&self.signer, "token-off", |_| ())),
            (Kind::Token, Case::NotAllowed) => Ok(self.token(&self.signer, "token-junior", |_| ())),
            (Kind::Token, Case::Replayed) => Err("a token is there to be shown again until it expires: `jti` is not remembered"),

            (Kind::Certificate, Case::Good) => Ok(self.certificate(&self.clients, "cert", 2400)),
            (Kind::Certificate, Case::Wrong) => Ok(self.certificate(&self.strangers, "cert", 2400)),
            (Kind::Certificate, Case::Expired) => Ok(self.certificate(&self.clients, "cert", 2021)),
            (Kind::Certificate, Case::Ended) => Ok(self.certificate(&self.clients, "cert-ended", 2400)),
            (Kind::Certificate, Case::Disabled) => Ok(self.certificate(&self.clients, "cert-off", 2400)),
            (Kind::Certificate, Case::NotAllowed) => Ok(self.certificate(&self.clients, "cert-junior", 2400)),
            (Kind::Certificate, Case::Replayed) => Err("each handshake proves the key anew"),

            (Kind::Signature, Case::Good | Case::Replayed) => pair("ADITOBVIOUSLYGOOD", 0),
            (Kind::Signature, Case::Wrong) => Ok(Shown::Signed(("ADITOBVIOUSLYGOOD", "another-secret"), Duration::ZERO)),
            (Kind::Signature, Case::Expired) => pair("ADITOBVIOUSLYGOOD", 3600),
            (Kind::Signature, Case::Ended) => pair("ADITOBVIOUSLYENDED", 0),
            (Kind::Signature, Case::Disabled) => pair("ADITOBVIOUSLYOFF", 0),
            (Kind::Signature, Case::NotAllowed) => pair("ADITOBVIOUSLYJUNIOR", 0),
        }
    }
}

/// The table: what becomes of each proof where its mode is on.
fn outcome(kind: Kind, case: Case) -> Outcome {
    match (kind, case) {
        (_, Case::Missing) => Outcome::Missing,
        (_, Case::Good) => Outcome::Served,
        (_, Case::NotAllowed) => Outcome::Denied,

        (Kind::Certificate, Case::Wrong | Case::Expired) => Outcome::NoHandshake,
        (Kind::Certificate, Case::Replayed) => Outcome::Never("each handshake proves the key anew"),
        (Kind::Certificate, Case::Ended | Case::Disabled) => Outcome::Bad,

        (Kind::Signature, Case::Wrong) => Outcome::BadSignature("The request signature does not match the request."),
        (Kind::Signature, Case::Expired) => Outcome::BadSignature("Signature expired: "),
        (Kind::Signature, Case::Ended | Case::Disabled) => Outcome::UnknownSigner,
        // As at AWS: two equal requests of one second have one signature, and SDKs send them. The date bounds it.
        (Kind::Signature, Case::Replayed) => Outcome::Served,

        (Kind::Code, Case::Replayed) => Outcome::Bad,
        (Kind::Key, Case::Expired) => Outcome::Never("a key has no age of its own: its line has an end"),
        (Kind::Key, Case::Replayed) => Outcome::Never("a key is there to be shown again"),
        (Kind::Session | Kind::CodeSession, Case::Replayed) => Outcome::Never("a session is there to be shown again until it ends"),
        (Kind::Token, Case::Replayed) => Outcome::Never("a token is there to be shown again until it expires: `jti` is not remembered"),
        (_, Case::Wrong | Case::Expired | Case::Ended | Case::Disabled) => Outcome::Bad,
    }
}

/// What becomes of a good proof whose mode is off.
fn elsewhere(kind: Kind, api: usize) -> Outcome {
    match kind {
        // It was not even looked at.
        Kind::Certificate => Outcome::Missing,
        // Nobody's pair counts there; AWS's clients are told so in its words.
        Kind::Signature if api == 2 => Outcome::UnknownSigner,
        Kind::Signature | Kind::Key | Kind::Code | Kind::Session | Kind::CodeSession | Kind::Token => Outcome::Bad,
    }
}

const KINDS: [Kind; 7] = [Kind::Key, Kind::Code, Kind::Session, Kind::CodeSession, Kind::Token, Kind::Certificate, Kind::Signature];
const CASES: [Case; 8] = [Case::Good, Case::Replayed, Case::Wrong, Case::Missing, Case::Expired, Case::Ended, Case::Disabled, Case::NotAllowed];

/// Each mode, and the proofs that count in it: a key with a second factor is good with its code in either of the first two.
const MODES: [(&str, &[Kind]); 5] = [
    ("api_key", &[Kind::Key, Kind::Code, Kind::Session, Kind::CodeSession, Kind::Signature]),
    ("api_key+totp", &[Kind::Code, Kind::CodeSession]),
    ("jwt", &[Kind::Token]),
    ("mtls", &[Kind::Certificate]),
    ("[api_key, api_key+totp, jwt, mtls]", &KINDS),
];

/// Path and body, whole or as a stream.
fn question(api: usize, stream: bool) -> (String, String) {
    let (path, body, _) = APIS[api];
    match (stream, api) {
        (false, _) => (path.to_owned(), body.to_owned()),
        (true, 2) => (format!("{path}-stream"), body.to_owned()),
        (true, _) => (path.to_owned(), body.replacen('{', "{\"stream\":true,", 1)),
    }
}

/// Asks; `None` where TLS said no.
fn ask(daemon: &Daemon, shown: &Shown, path: &str, body: &str) -> Option<Client> {
    let (mut client, lines) = match shown {
        Shown::Head(lines) => (daemon.connect(), lines.clone()),
        Shown::Signed(pair, age) => (daemon.connect(), Call { time: SystemTime::now() - *age, ..Call::new(*pair, path, body) }.lines()),
        Shown::Tls(config) => (through(daemon.https, config).ok()?, String::new()),
    };
    client.call("POST", path, &lines, body.as_bytes());
    Some(client)
}

/// Lets a request through, and looks at what the upstream gets and the client is given.
fn serve(upstream: &Upstream, mut client: Client, api: usize, stream: bool) {
    let (mut far, request) = upstream.exchange();
    for header in ["x-api-key", "api-key", "x-totp-code", "cookie"] {
        assert_eq!(request.header(header), None, "{header} at the upstream");
    }
    let own = request.header("authorization").unwrap();
    assert!(own.starts_with("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/"), "not the gateway's own: {own}");
    if stream {
        far.begin_last_answer();
        far.delta("Hello");
        far.end_stream();
    } else {
        far.reply_closing("Hello");
    }
    let answer = client.answer();
    assert_eq!((answer.status, answer.whole), (200, true), "{}", String::from_utf8_lossy(&answer.body));
    let said = String::from_utf8_lossy(&answer.body);
    let end = [["chat.completion", "[DONE]"], ["end_turn", "message_stop"], ["end_turn", "metadata"]][api][usize::from(stream)];
    assert!(said.contains("Hello") && said.contains(end), "{said}");
}

/// The answer to a refused request: status, names, and every member of the body.
fn check(answer: &Answer, outcome: Outcome, api: usize, what: &str) {
    const NOT_VALID: &str = "The request has no valid credentials.";
    let unknown = "The security token included in the request is invalid.";
    let denied = "You are not allowed to use the model `claude-3-haiku`.";
    // Status, `x-amzn-errortype`, type, code, message.
    let (statuses, name, kind, code, message) = match outcome {
        Outcome::Missing => ([401, 401], "MissingAuthenticationTokenException", "authentication_error", "invalid_api_key", NOT_VALID),
        Outcome::Bad => ([401, 401], "UnrecognizedClientException", "authentication_error", "invalid_api_key", NOT_VALID),
        Outcome::UnknownSigner => ([401, 403], "UnrecognizedClientException", "authentication_error", "invalid_api_key", unknown),
        Outcome::BadSignature(message) => ([401, 403], "InvalidSignatureException", "authentication_error", "invalid_signature", message),
        Outcome::Denied => ([403, 403], "AccessDeniedException", if api == 0 { "invalid_request_error" } else { "permission_error" }, "access_denied", denied),
        Outcome::Served | Outcome::NoHandshake | Outcome::Never(_) => unreachable!("{what} has no answer"),
    };
    let status = statuses[usize::from(api == 2)];
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"), "{what}");
    assert_eq!(answer.header("x-amzn-errortype"), (api == 2).then_some(name), "{what}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut body = answer.json();
    let place = ["/error/message", "/error/message", "/message"][api];
    let told = body.pointer_mut(place).unwrap().take();
    let told = told.as_str().unwrap();
    if matches!(outcome, Outcome::BadSignature(_)) {
        assert!(told.starts_with(message), "{what}: {told}");
    } else {
        assert_eq!(told, message, "{what}");
    }
    let param = if outcome == Outcome::Denied { json!("model") } else { Value::Null };
    let expected = match api {
        0 => json!({"error": {"message": null, "type": kind, "param": param, "code": code}}),
        1 => json!({"type": "error", "error": {"type": kind, "message": null}, "request_id": answer.header("x-request-id")}),
        _ => json!({"message": null}),
    };
    assert_eq!(body, expected, "{what}");
}

/// All rows of one mode.
fn run(people: &People, mode: &str, counts: &[Kind]) -> usize {
    let upstream = Upstream::new();
    let daemon = people.daemon(mode, &upstream);
    let mut rows = 0;
    // One answer for everything that is not good, from outside.
    let mut bad: [Vec<Answer>; 3] = Default::default();
    let mut unknown: [Vec<Answer>; 3] = Default::default();
    for kind in KINDS {
        let on = counts.contains(&kind);
        for (case, api, stream) in CASES.iter().flat_map(|case| (0..3).flat_map(move |api| [(*case, api, false), (*case, api, true)])) {
            let good = matches!(case, Case::Good | Case::Replayed);
            // Where its mode is off the good one says it all; a refusal comes before anybody looks at whether it is a stream.
            if (!on && case != Case::Good) || (stream && !(on && good)) {
                continue;
            }
            let what = format!("{mode}: {kind:?} {case:?} {api} {stream}");
            rows += 1;
            let expected = if on { outcome(kind, case) } else { elsewhere(kind, api) };
            // What was wrong came last: codes are used up by users who were let in.
            let turn = api + if stream { 3 } else { 0 };
            let shown = match (people.show(kind, case, turn), expected) {
                (Ok(shown), _) => shown,
                (Err(why), Outcome::Never(reason)) => {
                    assert_eq!(why, reason);
                    continue;
                }
                (Err(why), _) => panic!("{what}: {why}"),
            };
            let (path, body) = question(api, stream);
            if expected == Outcome::NoHandshake {
                // A client of TLS 1.3 learns it with its first read.
                assert!(ask(&daemon, &shown, &path, &body).is_none_or(|mut client| client.head().is_none()), "{what}");
                assert!(upstream.is_unused(), "{what}");
                continue;
            }
            let mut client = ask(&daemon, &shown, &path, &body).unwrap_or_else(|| panic!("{what}: no connection"));
            if expected == Outcome::Served {
                serve(&upstream, client, api, stream);
                continue;
            }
            let answer = client.answer();
            check(&answer, expected, api, &what);
            assert!(upstream.is_unused(), "{what}");
            match expected {
                Outcome::Bad => bad[api].push(answer),
                Outcome::UnknownSigner => unknown[api].push(answer),
                _ => {}
            }
        }
    }
    for answers in bad.iter().chain(&unknown) {
        answers.iter().for_each(|answer| assert_eq!(same(answer), same(&answers[0]), "{mode}"));
    }
    rows
}

/// Runs one mode. The code it begins with has to be good to the end, so it begins early in a step.
fn mode(number: usize) {
    early_in_a_step();
    let people = People::new();
    let (name, counts) = MODES[number];
    let rows = run(&people, name, counts);
    let on = counts.len();
    assert_eq!(rows, on * (CASES.len() * 3 + 2 * 3) + (KINDS.len() - on) * 3, "rows were left out");
}

#[test]
fn api_key() {
    mode(0);
}

#[test]
fn api_key_and_code() {
    mode(1);
}

#[test]
fn jwt() {
    mode(2);
}

#[test]
fn mtls() {
    mode(3);
}

#[test]
fn a_list_of_modes() {
    mode(4);
}
