//! The real daemon between a raw client and an upstream that a test scripts byte by byte. No fixed ports, no sleeps: every wait is for an event.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod counting;
pub(crate) mod far;
pub(crate) mod h2;
pub(crate) mod issuer;
pub(crate) mod log;
pub(crate) mod plays;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod relays;
pub(crate) mod secrets;
pub(crate) mod signed;
pub(crate) mod storm;
pub(crate) mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A wait that takes this long has failed. Generous: it bounds a hang, it measures nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon under test; ends with the test.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it has logged.
    pub(crate) log: log::Log,
    files: tempfile::TempDir,
    env: Vec<(String, String)>,
    /// What it must not tell.
    pub(crate) secrets: secrets::Secrets,
}

/// A model map with one provider at `upstream`.
pub(crate) fn models(upstream: SocketAddr) -> String {
    format!(
        r"
providers:
  bedrock: {{ type: bedrock, region: us-east-1, endpoint: 'http://{upstream}', access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY }}
models:
  claude-3-haiku: {{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }}
"
    )
}

impl Gateway {
    /// Starts the daemon over an upstream; `extra` is added to its `adit.yaml`.
    pub(crate) fn start(upstream: SocketAddr, extra: &str) -> Gateway {
        Gateway::with_models(&models(upstream), extra, &[])
    }

    pub(crate) fn with_models(models: &str, extra: &str, env: &[(&str, &str)]) -> Gateway {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("models.yaml"), models).unwrap();
        // A port that was free a moment ago may be taken by now: then the daemon says so and another one is tried.
        for _ in 0..20 {
            let address = free_address();
            let config = format!(
                "listen: {{ http: '{address}' }}\nmodels: models.yaml\npingora: {{ threads: 2, pid_file: {dir}/pid, upgrade_sock: {dir}/sock, grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30 }}\n{extra}\n",
                dir = files.path().display()
            );
            let file = files.path().join("adit.yaml");
            std::fs::write(&file, config).unwrap();
            let mut child = Command::new(env!("CARGO_BIN_EXE_adit"))
                .arg("-c")
                .arg(&file)
                .env_clear()
                .env("RUST_LOG", "warn,adit=debug")
                .env("RUST_BACKTRACE", "1")
                .envs(env.iter().copied())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut log = log::Log::of(child.stderr.take().unwrap());
            log.and(child.stdout.take().unwrap());
            if healthy(&mut child, address) {
                let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
                return Gateway { child, address, log, files, env, secrets: secrets::Secrets::default() };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the daemon did not start");
    }

    /// The folder of its `adit.yaml` and `models.yaml`.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.files.path()
    }

    /// Puts a new file in the place of one of its files, as a whole.
    pub(crate) fn rewrite(&self, name: &str, text: &str) {
        let fresh = self.folder().join(format!("{name}.fresh"));
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.folder().join(name)).unwrap();
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> Client {
        Client::noting(TcpStream::connect(self.address).unwrap(), &self.secrets)
    }

    /// Sends the daemon a signal: `TERM`, `INT`, `QUIT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// How many files and sockets it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Waits for the daemon to end by itself; its exit code.
    pub(crate) fn wait_exit(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// One POST of a chat body on a new connection, with its answer.
    pub(crate) fn chat(&self, body: &str) -> Answer {
        let mut client = self.connect();
        client.post(body.as_bytes());
        client.answer()
    }

    /// One POST of a JSON body on a new connection, with its answer.
    pub(crate) fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        let mut client = self.connect();
        client.call("POST", path, headers, body.as_bytes());
        client.answer()
    }

    /// Asks for the metrics until all of these lines are there: they are written after the last byte of an answer.
    pub(crate) fn wait_metrics(&self, wanted: &[String]) {
        let begun = std::time::Instant::now();
        loop {
            let metrics = self.get("/metrics");
            let text = metrics.text();
            let Some(missing) = wanted.iter().find(|line| !text.lines().any(|found| found == *line)) else { return };
            assert!(begun.elapsed() < PATIENCE / 4, "no {missing} in\n{text}");
            std::thread::yield_now();
        }
    }

    /// One GET on a new connection, with its answer.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let mut client = self.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
        client.answer()
    }
}

/// An address for a daemon. Not one that the system hands out: before the daemon listens, another test's upstream could get it, or the very connection that asks
/// whether it is there, which then talks to itself.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let port = fastrand::u16(10_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

pub(crate) fn healthy(child: &mut Child, address: SocketAddr) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if let Ok(stream) = TcpStream::connect(address) {
            let mut client = Client::new(stream);
            let _ = client.stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            // The daemon first tries whether the address is free: whoever connects at that moment is reset.
            if let Some((first, _)) = client.head() {
                return first.starts_with("HTTP/1.1 200 ");
            }
        }
        std::thread::yield_now();
    }
    false
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One end of a connection, with what was read ahead.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the credentials that it sends are noted.
    secrets: Option<secrets::Secrets>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended as its framing says.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {:?}", self.text()))
    }
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, buffer: Vec::new(), secrets: None }
    }

    /// One whose credentials are noted, and the errors that it gets.
    pub(crate) fn noting(stream: TcpStream, secrets: &secrets::Secrets) -> Client {
        Client { secrets: Some(secrets.clone()), ..Client::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Some(secrets) = &self.secrets {
            secrets.sent(bytes);
        }
        self.stream.write_all(bytes).unwrap();
    }

    /// A chat request with a content-length.
    pub(crate) fn post(&mut self, body: &[u8]) {
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        self.send(head.as_bytes());
        self.send(body);
    }

    /// A request with a body of known length, where it is not empty. `headers` are whole lines.
    pub(crate) fn call(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let length = if body.is_empty() { String::new() } else { format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()) };
        self.send(&[format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}{length}\r\n").as_bytes(), body].concat());
    }

    /// Reads until the buffer holds `end`; gives everything up to and with it, or all there is when the connection ends first.
    pub(crate) fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                return self.buffer.drain(..at + end.len()).collect();
            }
            if !self.fill() {
                return std::mem::take(&mut self.buffer);
            }
        }
    }

    /// Reads some more; false at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&piece[..read]);
                true
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => panic!("nothing came for {PATIENCE:?}"),
            Err(_) => false,
        }
    }

    pub(crate) fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill() {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Waits for the far end to close the connection; what it said before that.
    pub(crate) fn last_words(&mut self) -> String {
        self.wait_closed();
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Waits for the far end to close or reset the connection.
    pub(crate) fn wait_closed(&mut self) {
        while self.fill() {}
    }

    /// Reads a head: first line and headers, names in lower case.
    pub(crate) fn head(&mut self) -> Option<(String, Vec<(String, String)>)> {
        let head = self.read_until(b"\r\n\r\n");
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.strip_suffix("\r\n\r\n")?.split("\r\n");
        let first = lines.next()?.to_owned();
        let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        Some((first, headers))
    }

    fn body(&mut self, headers: &[(String, String)]) -> (Vec<u8>, bool) {
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return self.rest_of_chunks();
        }
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        match self.exactly(length) {
            Some(body) => (body, true),
            None => (std::mem::take(&mut self.buffer), false),
        }
    }

    /// Reads chunks behind a head until they hold this many bytes, or to the end of the body.
    pub(crate) fn read_chunks(&mut self, length: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < length {
            let Some(piece) = self.read_chunk().filter(|piece| !piece.is_empty()) else { break };
            body.extend_from_slice(&piece);
        }
        body
    }

    /// Reads chunks to their end, and says whether there was one.
    pub(crate) fn rest_of_chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        while let Some(piece) = self.read_chunk() {
            if piece.is_empty() {
                return (body, true);
            }
            body.extend_from_slice(&piece);
        }
        (body, false)
    }

    /// What is left of an answer in chunks, of which something was read before.
    pub(crate) fn answer_behind_head(&mut self) -> Vec<u8> {
        let mut rest = self.read_until(b"\r\n0\r\n\r\n");
        rest.truncate(rest.len() - b"\r\n0\r\n\r\n".len());
        rest
    }

    /// One chunk; the last one is empty. `None` when the connection ends instead.
    fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.read_until(b"\r\n");
        let length = std::str::from_utf8(&line).ok().and_then(|line| usize::from_str_radix(line.strip_suffix("\r\n")?, 16).ok())?;
        let mut piece = self.exactly(length + 2)?;
        piece.truncate(length);
        Some(piece)
    }

    /// Reads an answer; interim ones are passed over.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// Reads the answer to a request of this method: one to HEAD has no body, whatever its head says.
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        loop {
            let (first, headers) = self.head().expect("an answer");
            let status: u16 = first.split(' ').nth(1).unwrap().parse().unwrap();
            if (100..200).contains(&status) {
                continue;
            }
            let bodiless = method == "HEAD" || matches!(status, 204 | 304);
            let (body, whole) = if bodiless { (Vec::new(), true) } else { self.body(&headers) };
            let answer = Answer { status, headers, body, whole };
            if let Some(secrets) = &self.secrets {
                secrets.answered(&answer);
            }
            return answer;
        }
    }

    /// Waits for the first byte of something, for any time; false at the end of the connection.
    pub(crate) fn waits(&mut self) -> bool {
        self.stream.set_read_timeout(None).unwrap();
        let waits = !self.buffer.is_empty() || self.stream.peek(&mut [0]).is_ok_and(|read| read > 0);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        waits
    }

    /// Reads a request as a server.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let (first, headers) = self.head()?;
        let (body, whole) = self.body(&headers);
        Some(Request { line: first, headers, body, whole })
    }
}

/// A request as the upstream sees it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) whole: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Came {
    /// On the connection of the one before.
    Again,
    /// On a new one.
    Fresh,
}

/// An upstream that a test plays itself.
pub(crate) struct Upstream {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Upstream {
    pub(crate) fn new() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // On a listener it bounds the wait for a connection.
        socket2::SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).unwrap();
        let address = listener.local_addr().unwrap();
        Upstream { listener, address }
    }

    /// Waits for a connection of the gateway's.
    pub(crate) fn accept(&self) -> Client {
        Client::new(self.listener.accept().unwrap().0)
    }

    /// Waits for a connection of the gateway's for any time.
    pub(crate) fn accept_any(&self) -> Client {
        socket2::SockRef::from(&self.listener).set_read_timeout(None).unwrap();
        self.accept()
    }

    /// Waits for a request, on a connection that was answered before or on a new one: a connection may come back into the pool too late to be used again.
    pub(crate) fn next(&self, mut kept: Client) -> (Client, Request, Came) {
        let begun = std::time::Instant::now();
        self.listener.set_nonblocking(true).unwrap();
        kept.stream.set_nonblocking(true).unwrap();
        let came = loop {
            assert!(begun.elapsed() < PATIENCE, "no request came");
            if kept.stream.peek(&mut [0]).is_ok_and(|read| read > 0) {
                break None;
            }
            if let Ok((fresh, _)) = self.listener.accept() {
                break Some(fresh);
            }
            std::thread::yield_now();
        };
        self.listener.set_nonblocking(false).unwrap();
        kept.stream.set_nonblocking(false).unwrap();
        match came {
            None => {
                let request = kept.request().expect("a request");
                (kept, request, Came::Again)
            }
            Some(fresh) => {
                let mut fresh = Client::new(fresh);
                let request = fresh.request().expect("a request");
                (fresh, request, Came::Fresh)
            }
        }
    }

    /// A connection, if one waits to be accepted.
    pub(crate) fn poll(&self) -> Option<Client> {
        self.listener.set_nonblocking(true).unwrap();
        let waiting = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        let (stream, _) = waiting.ok()?;
        stream.set_nonblocking(false).unwrap();
        Some(Client::new(stream))
    }

    /// Whether no connection waits to be accepted.
    pub(crate) fn is_unused(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        let waiting = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        waiting.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Waits for a connection and its request.
    pub(crate) fn exchange(&self) -> (Client, Request) {
        let mut client = self.accept();
        let request = client.request().expect("a request");
        (client, request)
    }
}

#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use far::{exception, frame};
