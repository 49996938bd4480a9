//! One process takes over from another, and no request notices.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the counts are what it is for")]

mod common;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::process::{Daemon, sandbox, signal, until};
use common::tls::{Authority, client, connect, through};
use common::{Client, Upstream};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

const CHAT: &str = r#"{"model":"short","messages":[{"role":"user","content":"Hi"}]}"#;
const STREAM: &str = r#"{"model":"long","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const GRACE: &str = "grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30";
/// Connections with chats on each listener: as many kept ones as fresh ones, and one of HTTP/2.
const KEPT: usize = 4;
const FRESH: usize = 4;
const HTTP2: usize = 1;
/// Streams across each hand-over, on each listener.
const STREAMS: usize = 3;

/// A map with quick answers, and with streams of ten seconds.
fn models(upstream: SocketAddr) -> String {
    let models = common::models(upstream);
    let claude = "anthropic.claude-3-haiku-20240307-v1:0.sandbox";
    format!("{models}  short: {{ bedrock: '{claude}.words-5' }}\n  long: {{ bedrock: '{claude}.words-48.pause-200ms' }}\n")
}

/// A listener, and how to speak to it.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    /// By protocol: HTTP/1.1 and HTTP/2; `None` in the clear.
    tls: Option<[Arc<ClientConfig>; 2]>,
}

impl Door {
    fn connect(&self) -> std::io::Result<Client> {
        match &self.tls {
            None => TcpStream::connect(self.address).map(Client::new),
            Some([http1, _]) => through(self.address, http1),
        }
    }

    /// A connection of HTTP/2.
    async fn handshake(&self) -> std::io::Result<SendRequest<Full<Bytes>>> {
        let stream = tokio::net::TcpStream::connect(self.address).await?;
        match &self.tls {
            None => http2_over(stream).await,
            Some([_, http2]) => http2_over(tokio_rustls::TlsConnector::from(Arc::clone(http2)).connect("localhost".try_into().unwrap(), stream).await?).await,
        }
    }

    fn name(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

async fn http2_over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> std::io::Result<SendRequest<Full<Bytes>>> {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Clients that ask without a pause until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(doors: &[Door]) -> Load {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = doors.iter().flat_map(|door| (0..KEPT + FRESH + HTTP2).map(move |number| (door.clone(), number))).map(|(door, number)| {
            let (stop, requests) = (Arc::clone(&stop), Arc::clone(&requests));
            std::thread::spawn(move || match number {
                0..KEPT => http1(&door, true, &stop, &requests),
                _ if number < KEPT + FRESH => http1(&door, false, &stop, &requests),
                _ => http2(&door, &stop, &requests),
            })
        });
        Load { clients: clients.collect(), stop, requests }
    }

    /// Waits for so many more answers.
    fn wait(&self, more: usize) {
        let begun = self.requests.load(Ordering::Relaxed);
        until("there are more answers", || self.requests.load(Ordering::Relaxed) >= begun + more || self.clients.iter().all(JoinHandle::is_finished));
    }

    /// How many requests there were, and what became of those that failed.
    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (self.requests.load(Ordering::Relaxed), failures)
    }
}

fn http1(door: &Door, keep: bool, stop: &AtomicBool, requests: &AtomicUsize) -> Vec<String> {
    let mut failures = Vec::new();
    let mut kept: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
        requests.fetch_add(1, Ordering::Relaxed);
        let reused = kept.is_some();
        match chat(door, kept.take(), keep) {
            Ok(client) => kept = client,
            Err(failure) => failures.push(format!("{}: {failure}; the connection was {}", door.name(), if reused { "kept" } else { "new" })),
        }
    }
    failures
}

/// One chat; gives the connection back if it may be used again.
fn chat(door: &Door, kept: Option<Client>, keep: bool) -> Result<Option<Client>, String> {
    use std::io::Write as _;
    let mut client = match kept {
        Some(client) => client,
        None => door.connect().map_err(|error| format!("no connection: {error}"))?,
    };
    let close = if keep { "" } else { "connection: close\r\n" };
    let request = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{close}content-length: {}\r\n\r\n{CHAT}", CHAT.len());
    client.stream.write_all(request.as_bytes()).map_err(|error| format!("not sent: {error}"))?;
    let Some((first, headers)) = client.head() else { return Err("no answer".to_owned()) };
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let body = client.exactly(length).ok_or("half an answer")?;
    if !first.starts_with("HTTP/1.1 200 ") || !String::from_utf8_lossy(&body).contains("chat.completion") {
        return Err(format!("{first}: {}", String::from_utf8_lossy(&body)));
    }
    Ok((header("connection") == Some("keep-alive")).then_some(client))
}

/// Chats over HTTP/2, one after the other on a connection until the gateway says that it goes away.
fn http2(door: &Door, stop: &AtomicBool, requests: &AtomicUsize) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut failures = Vec::new();
        while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
            let mut sender = match door.handshake().await {
                Ok(sender) => sender,
                Err(error) => {
                    failures.push(format!("{}: no connection for HTTP/2: {error}", door.name()));
                    continue;
                }
            };
            while !stop.load(Ordering::Relaxed) && sender.ready().await.is_ok() {
                let request = hyper::Request::post("http://gateway.example/v1/chat/completions").body(Full::new(Bytes::from(CHAT))).unwrap();
                let answered = async {
                    let answer = sender.send_request(request).await?;
                    let status = answer.status();
                    Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
                };
                match answered.await {
                    Ok((status, _)) if status == 200 => drop(requests.fetch_add(1, Ordering::Relaxed)),
                    // It was not sent: the gateway had said that it goes away.
                    Err(error) if error.is_canceled() => break,
                    Ok((status, body)) => failures.push(format!("HTTP/2: {status}: {}", String::from_utf8_lossy(&body))),
                    Err(error) => {
                        failures.push(format!("HTTP/2: {error:?}"));
                        break;
                    }
                }
            }
        }
        failures
    })
}

/// A stream of ten seconds on a connection that its client keeps; whether it ended well.
fn stream(door: &Door) -> JoinHandle<Result<Duration, String>> {
    let begun = Instant::now();
    let mut client = door.connect().unwrap();
    client.post(STREAM.as_bytes());
    client.read_until(b"data: ");
    std::thread::spawn(move || {
        let said = client.read_until(b"\r\n0\r\n\r\n");
        if !said.ends_with(b"data: [DONE]\n\n\r\n0\r\n\r\n") {
            return Err(String::from_utf8_lossy(&said[said.len().saturating_sub(300)..]).into_owned());
        }
        let lasted = begun.elapsed();
        // Who keeps a connection may use it for the grace period, even if the process has waited for nothing but this stream.
        std::thread::sleep(Duration::from_millis(400));
        client.call("GET", "/health", "", b"");
        match client.head() {
            Some((first, _)) if first.starts_with("HTTP/1.1 200 ") => Ok(lasted),
            other => Err(format!("a request behind the stream: {other:?}")),
        }
    })
}

#[test]
fn three_upgrades_under_load_lose_nothing() {
    let (upstream, _sandbox) = sandbox();
    let authority = Authority::new();
    let (first, second) = (authority.issue("first", 2400), authority.issue("second", 2400));
    let listen = "http: {http}, https: { address: {https}, certificate: cert.pem, key: key.pem }";
    let (models, key) = (models(upstream), first.key.serialize_pem());
    let mut daemon = Daemon::listening(listen, GRACE, "", &[], &[("models.yaml", &models), ("cert.pem", &first.pem), ("key.pem", &key)]);
    let tls = [b"http/1.1".as_slice(), b"h2"].map(|protocol| client(&authority, None, protocol));
    let doors = [Door { address: daemon.address, tls: None }, Door { address: daemon.https, tls: Some(tls) }];
    let load = Load::start(&doors);
    load.wait(100);
    let mut streams = 0;
    let mut failures = Vec::new();
    for hand_over in 1..=3 {
        let begun = Instant::now();
        let running: Vec<_> = doors.iter().flat_map(|door| (0..STREAMS).map(|_| stream(door))).collect();
        if hand_over < 3 {
            let successor = daemon.spawn(&["-u"]);
            daemon.signal("QUIT");
            until("the successor has written its pid", || daemon.pid_file() == Some(successor.id()));
            assert_eq!(daemon.wait_exit(), Some(0));
            daemon.child = successor;
        } else {
            let old = daemon.child.id();
            daemon.signal("USR2");
            until("the successor has written its pid", || daemon.pid_file().is_some_and(|process| process != old));
            // A service manager may send it to all processes of a service: the old one is stopping already.
            until("the third process stops", || daemon.log().matches("stopping: ").count() == 3);
            signal(old, "TERM");
            assert_eq!(daemon.wait_exit(), Some(0));
        }
        let ended = begun.elapsed();
        streams += running.len();
        for stream in running {
            match stream.join().unwrap() {
                Ok(lasted) => assert!(lasted > Duration::from_secs(9), "a stream of {lasted:?} proves nothing"),
                Err(failure) => failures.push(format!("a stream: {failure}")),
            }
        }
        load.wait(50);
        println!("hand-over {hand_over}: the old process ended after {ended:.1?}");
    }
    assert_ne!(daemon.pid_file(), None);
    // The last one looks after the files like the first: under load, and without a request lost.
    // Nobody who has been there before: whoever resumes a session is shown no certificate.
    let shown = || connect(daemon.https, &client(&authority, None, b"http/1.1")).unwrap().conn.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown(), first.certificate);
    daemon.rewrite("key.pem", &second.key.serialize_pem());
    daemon.rewrite("cert.pem", &second.pem);
    until("the new certificate is shown", || shown() == second.certificate);
    load.wait(50);
    let (requests, failed) = load.end();
    failures.extend(failed);
    println!("3 upgrades: {requests} requests, {streams} streams, {} failures", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
    signal(daemon.pid_file().unwrap(), "TERM");
    assert_eq!(daemon.wait_successor(), 0);
    assert_eq!(daemon.pid_file(), None, "the last process takes its pid file away");
}

#[test]
fn two_processes_write_one_audit_log_and_lose_no_line() {
    let (upstream, _sandbox) = sandbox();
    // So small that it is rotated while both write to it.
    let mut daemon = Daemon::start(&models(upstream), GRACE, "audit: { path: audit.jsonl, on_full: block, max_bytes: 20000, keep: 1000 }", &[]);
    let load = Load::start(&[Door { address: daemon.address, tls: None }]);
    load.wait(200);
    let successor = daemon.spawn(&["-u"]);
    daemon.signal("QUIT");
    until("the successor has written its pid", || daemon.pid_file() == Some(successor.id()));
    assert_eq!(daemon.wait_exit(), Some(0));
    daemon.child = successor;
    load.wait(200);
    let (requests, failures) = load.end();
    assert!(failures.is_empty(), "{failures:#?}");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(), Some(0));
    let files: Vec<_> = std::fs::read_dir(daemon.path("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<_> = files.into_iter().filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("audit.jsonl")).collect();
    let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let ids: Vec<_> = lines.map(|line: serde_json::Value| line["request_id"].to_string()).collect();
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (requests, requests), "every answered request has one line");
    assert!(files.len() > 5, "{} files", files.len());
    println!("an upgrade: {requests} requests, as many lines in {} files", files.len());
}

#[test]
fn a_quit_without_a_successor_changes_nothing() {
    let upstream = Upstream::new();
    let daemon = Daemon::start(&common::models(upstream.address), GRACE, "", &[]);
    assert_eq!(std::fs::metadata(daemon.path("run")).unwrap().mode() & 0o777, 0o700);
    daemon.signal("QUIT");
    daemon.wait_log("QUIT: no process waits for the sockets at");
    assert!(daemon.log().contains("Serving on"));
    assert!(daemon.is_healthy());
    assert_eq!(daemon.pid_file(), Some(daemon.child.id()));
}

#[test]
fn a_successor_that_cannot_start_leaves_the_old_process_serving() {
    let upstream = Upstream::new();
    let mut daemon = Daemon::start(&common::models(upstream.address), GRACE, "", &[]);
    let good = std::fs::read_to_string(daemon.path("adit.yaml")).unwrap();
    std::fs::write(daemon.path("adit.yaml"), format!("{good}nonsense: true\n")).unwrap();
    daemon.signal("USR2");
    daemon.wait_log("USR2: the successor ended at once (exit status: ");
    assert_eq!(daemon.wait_successor(), 2);
    assert!(daemon.log().contains("nonsense"), "what is wrong is said");
    assert!(daemon.is_healthy());
    assert_eq!(daemon.pid_file(), Some(daemon.child.id()));
    // The next one is as good as the file.
    std::fs::remove_file(daemon.path("exit")).unwrap();
    std::fs::write(daemon.path("adit.yaml"), good).unwrap();
    let old = daemon.child.id();
    daemon.signal("USR2");
    until("the successor has written its pid", || daemon.pid_file().is_some_and(|process| process != old));
    assert_eq!(daemon.wait_exit(), Some(0));
    assert!(daemon.is_healthy());
    signal(daemon.pid_file().unwrap(), "TERM");
    assert_eq!(daemon.wait_successor(), 0);
}

#[test]
fn sockets_are_not_handed_over_where_others_may_write() {
    let upstream = Upstream::new();
    let daemon = Daemon::start(&common::models(upstream.address), GRACE, "", &[]);
    std::fs::set_permissions(daemon.path("run"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(daemon.spawn(&["-u"]).wait().unwrap().code(), Some(1));
    let reason = format!("others may write in {}", daemon.path("run").display());
    assert!(daemon.log().contains("pingora.upgrade_sock: ") && daemon.log().contains(&reason), "{}", daemon.log());
    // Somebody else's socket, who waits for the sockets.
    let _listener = std::os::unix::net::UnixListener::bind(daemon.path("run/sock")).unwrap();
    for name in ["QUIT", "USR2"] {
        daemon.signal(name);
        daemon.wait_log(&format!("{name}: the sockets are not handed over: {reason}"));
    }
    assert!(daemon.is_healthy());
}

#[test]
fn a_stop_does_not_wait_for_a_successor() {
    let upstream = Upstream::new();
    for (name, handing_over) in [("TERM", false), ("INT", false), ("INT", true)] {
        let mut daemon = Daemon::start(&common::models(upstream.address), GRACE, "", &[]);
        let begun = Instant::now();
        if handing_over {
            let mut successor = daemon.spawn(&["-u"]);
            daemon.signal("QUIT");
            until("the successor has written its pid", || daemon.pid_file() == Some(successor.id()));
            daemon.signal(name);
            assert_eq!(daemon.wait_exit(), Some(0), "{name} during a hand-over");
            assert!(daemon.is_healthy());
            signal(successor.id(), "INT");
            assert_eq!(successor.wait().unwrap().code(), Some(0));
        } else {
            // Nobody comes: it waits some seconds.
            daemon.signal("QUIT");
            daemon.signal(name);
            assert_eq!(daemon.wait_exit(), Some(0), "{name} behind a QUIT");
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
        assert_eq!(daemon.pid_file(), None, "{name}");
    }
}
