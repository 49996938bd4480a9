//! TLS, client certificates and tokens of an identity provider, at the real daemon in front of the stand-in for Bedrock.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use common::process::{sandbox, signal, until};
use common::{PATIENCE, free_address, healthy};
use hmac::Mac as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SigningKey as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

const CHAT: &str = r#"{"model":"claude-3-haiku","messages":[{"role":"user","content":"Hi"}]}"#;
const MESSAGES: &str = r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
const CONVERSE: &str = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;
/// A path of each dialect, with a body.
const DIALECTS: [(&str, &str); 3] = [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES), ("/model/claude-3-haiku/converse", CONVERSE)];

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key, good until this year.
    fn issue(&self, name: &str, year: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

struct Pair {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

/// A client's end: it trusts one authority, and has a certificate perhaps.
fn client(authority: &Authority, own: Option<&Pair>, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match own {
        Some(pair) => {
            let key = PrivateKeyDer::try_from(pair.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![pair.certificate.clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Connection> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
    let mut connection = StreamOwned::new(session, stream);
    while connection.conn.is_handshaking() {
        connection.conn.complete_io(&mut connection.sock)?;
    }
    Ok(connection)
}

/// One request with its answer, on a connection that goes on.
fn ask(connection: &mut Connection, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<(u16, String)> {
    write!(connection, "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())?;
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte)?;
        read.push(byte[0]);
    }
    let head = String::from_utf8(read).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((head[9..12].parse().unwrap(), String::from_utf8(body).unwrap()))
}

/// The daemon; ends with the test.
struct Daemon {
    child: Child,
    http: SocketAddr,
    https: SocketAddr,
    folder: tempfile::TempDir,
    _sandbox: tokio::runtime::Runtime,
}

impl Daemon {
    /// `listen` and `extra` are added to the file, the files lie beside it. `{http}` in `listen` is the plain listener.
    fn start(listen: &str, extra: &str, files: &[(&str, &str)]) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let (upstream, sandbox) = sandbox();
        for (name, text) in files.iter().chain([&("models.yaml", common::models(upstream).as_str())]) {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for _ in 0..20 {
            let (http, https) = (free_address(), free_address());
            let listen = listen.replace("{http}", &format!("'{http}'")).replace("{https}", &format!("'{https}'"));
            let run = folder.path().join("run");
            let config = format!(
                "listen: {{ {listen} }}\npingora: {{ threads: 2, pid_file: {run}/pid, upgrade_sock: {run}/sock, grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30 }}\n{extra}\n",
                run = run.display()
            );
            std::fs::write(folder.path().join("adit.yaml"), &config).unwrap();
            let mut child = spawn(folder.path(), &[]);
            let up = if config.contains("http: null") {
                let pid = folder.path().join("run/pid");
                until("it serves or has ended", || pid.exists() || child.try_wait().unwrap().is_some());
                pid.exists()
            } else {
                healthy(&mut child, http)
            };
            if up {
                return Daemon { child, http, https, folder, _sandbox: sandbox };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the daemon did not start: {}", std::fs::read_to_string(folder.path().join("log")).unwrap_or_default());
    }

    fn write(&self, name: &str, text: &str) {
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.folder.path().join(name)).unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let mut client = common::Client::new(TcpStream::connect(self.http).unwrap());
        client.call("POST", path, headers, body.as_bytes());
        let answer = client.answer();
        (answer.status, answer.json())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.arg("-c").arg(folder.join("adit.yaml")).args(arguments).env_clear().env("RUST_LOG", "warn,adit=debug");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
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
    let daemon = Daemon::start(TLS, "", &[("cert.pem", &first.pem), ("key.pem", &first.key.serialize_pem())]);
    let config = client(&authority, None, b"http/1.1");
    let shown = || connect(daemon.https, &config).map(|connection| connection.conn.peer_certificates().unwrap()[0].clone());
    let mut old = connect(daemon.https, &config).unwrap();
    assert_eq!(old.conn.peer_certificates().unwrap()[0], first.certificate);
    let (status, body) = ask(&mut old, "POST", "/v1/chat/completions", "", CHAT).unwrap();
    assert_eq!(status, 200, "{body}");
    let (status, body) = post_h2(daemon.https, client(&authority, None, b"h2"), "/v1/chat/completions", CHAT);
    assert_eq!((status, &body["object"]), (200, &json!("chat.completion")));
    // Both files, one after the other: what lies between is no pair.
    daemon.write("key.pem", &second.key.serialize_pem());
    daemon.write("cert.pem", &second.pem);
    until("the new certificate is shown", || shown().unwrap() == second.certificate);
    assert_eq!(ask(&mut old, "GET", "/health", "", "").unwrap().0, 200, "the old connection lives on");
    let refused = daemon.log().matches("the new configuration is refused").count();
    daemon.write("key.pem", &other.key.serialize_pem());
    until("the bad pair is refused", || daemon.log().matches("the new configuration is refused").count() > refused);
    assert!(daemon.log().contains("listen.https.key: expected the key of the certificate, but "));
    assert_eq!(shown().unwrap(), second.certificate);
    assert!(!daemon.log().contains("PRIVATE KEY"));
}

#[test]
fn https_alone_is_asked_for_its_health_and_handed_over() {
    let authority = Authority::new();
    let pair = authority.issue("gateway", 2400);
    let listen = "http: null, https: { address: {https}, certificate: cert.pem, key: key.pem }";
    let mut daemon = Daemon::start(listen, "", &[("cert.pem", &pair.pem), ("key.pem", &pair.key.serialize_pem())]);
    let health = |file: &Path| Command::new(env!("CARGO_BIN_EXE_adit")).arg("health").arg("-c").arg(file).env_clear().output().unwrap();
    let file = daemon.folder.path().join("adit.yaml");
    assert_eq!(health(&file).status.code(), Some(0), "{:?}", health(&file));
    let config = client(&authority, None, b"http/1.1");
    let successor = spawn(daemon.folder.path(), &["-u"]);
    signal(daemon.child.id(), "QUIT");
    let pid = daemon.folder.path().join("run/pid");
    until("the successor has written its pid", || std::fs::read_to_string(&pid).is_ok_and(|text| text.trim() == successor.id().to_string()));
    let mut old = std::mem::replace(&mut daemon.child, successor);
    assert_eq!(old.wait().unwrap().code(), Some(0));
    let (status, body) = ask(&mut connect(daemon.https, &config).unwrap(), "POST", "/v1/chat/completions", "", CHAT).unwrap();
    assert_eq!(status, 200, "{body}");
    // Somebody else at this address is not taken for the gateway.
    let other = authority.issue("other", 2400);
    std::fs::create_dir(daemon.folder.path().join("x")).unwrap();
    for (name, text) in [("cert.pem", &other.pem), ("key.pem", &other.key.serialize_pem())] {
        std::fs::write(daemon.folder.path().join("x").join(name), text).unwrap();
    }
    std::fs::copy(daemon.folder.path().join("models.yaml"), daemon.folder.path().join("x/models.yaml")).unwrap();
    std::fs::copy(&file, daemon.folder.path().join("x/adit.yaml")).unwrap();
    assert_eq!(health(&daemon.folder.path().join("x/adit.yaml")).status.code(), Some(1));
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
    let daemon = Daemon::start(listen, "auth: { enabled: true, mode: mtls }", &files);
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
        let (status, answer) = daemon.post(path, "", body);
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
    daemon.write("ca.pem", &strangers.0.pem());
    until("the strangers count", || {
        connect(daemon.https, &client(&authority, Some(&wrong), b"http/1.1"))
            .and_then(|mut now| ask(&mut now, "POST", "/v1/chat/completions", "", CHAT))
            .is_ok_and(|(status, _)| status == 200)
    });
    assert_eq!(ask(&mut kept, "POST", "/v1/chat/completions", "", CHAT).unwrap().0, 401);
    // Nor does a session that was agreed on while it counted.
    let resumed = connect(daemon.https, &config).and_then(|mut again| ask(&mut again, "POST", "/v1/chat/completions", "", CHAT));
    assert!(!matches!(resumed, Ok((200, _))), "{resumed:?}");
}

/// An identity provider on loopback.
struct Provider {
    url: String,
    keys: Arc<Mutex<Option<String>>>,
    fetches: Arc<AtomicUsize>,
}

impl Provider {
    fn new(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Provider { url: url.clone(), keys: Arc::default(), fetches: Arc::default() };
        provider.publish(signers);
        let (keys, fetches) = (Arc::clone(&provider.keys), Arc::clone(&provider.fetches));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut client = common::Client::new(stream.unwrap());
                let Some(request) = client.request() else { continue };
                let body = if request.line.contains("/.well-known/openid-configuration") {
                    Some(json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string())
                } else {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    keys.lock().unwrap().clone()
                };
                let answer = match body {
                    Some(body) => format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
                    None => "HTTP/1.1 503 Down\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
                };
                client.send(answer.as_bytes());
            }
        });
        provider
    }

    fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.published()).collect();
        *self.keys.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    fn claims(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({"iss": self.url, "aud": ["other", "adit"], "sub": "alice", "groups": ["engineers"], "exp": now + 600, "nbf": now - 1, "iat": now})
    }
}

/// A key of the provider: Ed25519, whose signatures need no repacking.
struct Signer {
    id: &'static str,
    key: KeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        Signer { id, key: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap() }
    }

    fn published(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.id, "x": BASE64URL.encode(rcgen::PublicKeyData::der_bytes(&self.key))})
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "EdDSA", "kid": self.id, "typ": "JWT"}), claims, |message| self.key.sign(message).unwrap())
    }

    fn sign(&self, header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let message = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        format!("{message}.{}", BASE64URL.encode(sign(message.as_bytes())))
    }
}

#[test]
fn tokens_of_an_identity_provider_are_proofs() {
    let (first, second, thief) = (Signer::new("k1"), Signer::new("k2"), Signer::new("k1"));
    let provider = Provider::new(&[&first]);
    let extra = format!(
        "auth: {{ enabled: true, mode: jwt, jwt: {{ issuer: '{}', audience: adit, groups: {{ engineers: {{ models: ['claude-*'] }} }} }} }}",
        provider.url
    );
    let lines = "keys: [{ name: guest, models: ['*'] }, { name: junior, models: [nova] }, { name: gone, disabled: true }]";
    let daemon = Daemon::start("http: {http}", &extra, &[("keys.yaml", lines)]);
    let claims = provider.claims();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        first.token(&claims)
    };
    let post = |token: &str, path: &str, body: &str| daemon.post(path, &format!("authorization: Bearer {token}\r\n"), body);
    let hmac = |message: &[u8]| {
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(rcgen::PublicKeyData::der_bytes(&first.key)).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    };
    let bad = [
        ("the wrong signature", thief.token(&claims)),
        ("an unknown key", second.token(&claims)),
        ("expired", with("exp", json!(1))),
        ("not yet valid", with("nbf", json!(9_999_999_999_u64))),
        ("the wrong audience", with("aud", json!("other"))),
        ("the wrong issuer", with("iss", json!("https://id.example.com"))),
        ("no signature", first.sign(&json!({"alg": "none"}), &claims, |_| Vec::new())),
        ("the public key as a secret", first.sign(&json!({"alg": "HS256", "kid": "k1"}), &claims, hmac)),
        ("no token", "obviously-fake".to_owned()),
    ];
    for (path, body) in DIALECTS {
        // Right behind the start: it waits for the keys.
        let good = first.token(&claims);
        let (status, answer) = post(&good, path, body);
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = daemon.post(path, &format!("x-api-key: {good}\r\n"), body);
        assert_eq!(status, 200, "{answer}");
        for (what, token) in &bad {
            let (status, answer) = post(token, path, body);
            assert_eq!(status, 401, "{what}: {answer}");
            check_refused(path, &answer);
        }
        let (status, answer) = daemon.post(path, "", body);
        assert_eq!(status, 401);
        check_refused(path, &answer);
    }
    // Who is in no group may use nothing; a line of the keys file is stronger than a group, in both directions.
    let stranger = with("groups", json!(["guests"]));
    let as_user = |name: &str, groups: Value| {
        let mut claims = claims.clone();
        (claims["sub"], claims["groups"]) = (json!(name), groups);
        first.token(&claims)
    };
    for (path, body) in DIALECTS {
        assert_eq!(post(&stranger, path, body).0, 403);
        assert_eq!(post(&as_user("guest", json!([])), path, body).0, 200);
        assert_eq!(post(&as_user("junior", json!(["engineers"])), path, body).0, 403);
        let (status, answer) = post(&as_user("gone", json!(["engineers"])), path, body);
        assert_eq!(status, 401);
        check_refused(path, &answer);
    }
    // Once at the start, and once for all those tokens with an unknown key.
    assert_eq!(provider.fetches.load(Ordering::SeqCst), 2);
    assert!(!daemon.log().contains("eyJ"), "no token is logged");
}

#[test]
fn keys_are_rotated_and_outlive_their_provider() {
    let (first, second, third) = (Signer::new("k1"), Signer::new("k2"), Signer::new("k3"));
    let provider = Provider::new(&[&first]);
    let extra = format!("auth: {{ enabled: true, mode: jwt, jwt: {{ issuer: '{}', audience: adit }} }}", provider.url);
    let daemon = Daemon::start("http: {http}", &extra, &[]);
    let claims = provider.claims();
    let status = |signer: &Signer| daemon.post("/v1/chat/completions", &format!("authorization: Bearer {}\r\n", signer.token(&claims)), CHAT).0;
    assert_eq!(status(&first), 200);
    provider.publish(&[&second]);
    assert_eq!(status(&second), 200, "a new key is fetched when a token names it");
    assert_eq!(status(&first), 401, "a key that is not published any more does not count, whatever is remembered");
    assert_eq!(provider.fetches.load(Ordering::SeqCst), 2);
    // The provider is down: what is known goes on, also over a reload that changes who may do what.
    *provider.keys.lock().unwrap() = None;
    assert_eq!(status(&third), 401);
    let get = |path: &str| {
        let mut client = common::Client::new(TcpStream::connect(daemon.http).unwrap());
        client.call("GET", path, "", b"");
        client.answer()
    };
    // A third fetch is not made so soon; the state is that of the last one.
    assert_eq!(get("/ready").json()["token_issuer"], json!({"state": "reachable", "keys": 1}));
    let metrics = get("/metrics");
    for line in ["adit_token_issuer_keys 1", "adit_token_issuer_fetches{outcome=\"fetched\"} 2", "adit_token_issuer_fetches{outcome=\"failed\"} 0"] {
        assert!(metrics.text().lines().any(|found| found == line), "no {line}");
    }
    let file = std::fs::read_to_string(daemon.folder.path().join("adit.yaml")).unwrap();
    daemon.write("adit.yaml", &file.replace("audience: adit", "audience: nobody"));
    until("the new audience counts", || status(&second) == 401);
    daemon.write("adit.yaml", &file);
    until("the old audience counts", || status(&second) == 200);
}
