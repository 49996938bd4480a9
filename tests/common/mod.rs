//! The real daemon between a raw client and an upstream that a test scripts byte by byte. No fixed ports, no sleeps: every wait is for an event.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A wait that takes this long has failed. Generous: it bounds a hang, it measures nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon under test; ends with the test.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    _files: tempfile::TempDir,
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
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
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
                .spawn()
                .unwrap();
            if healthy(&mut child, address) {
                return Gateway { child, address, _files: files };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the daemon did not start");
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    /// Sends the daemon a signal: `TERM`, `INT`, `QUIT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
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

    /// One GET on a new connection, with its answer.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let mut client = self.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
        client.answer()
    }
}

fn healthy(child: &mut Child, address: SocketAddr) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if let Ok(stream) = TcpStream::connect(address) {
            let mut client = Client::new(stream);
            client.send(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            return client.answer().status == 200;
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
        Client { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// A chat request with a content-length.
    pub(crate) fn post(&mut self, body: &[u8]) {
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        self.send(head.as_bytes());
        self.send(body);
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

    fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill() {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
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
            let mut body = Vec::new();
            loop {
                let line = self.read_until(b"\r\n");
                let Some(length) = std::str::from_utf8(&line).ok().and_then(|line| usize::from_str_radix(line.trim(), 16).ok()) else {
                    return (body, false);
                };
                let Some(piece) = self.exactly(length + 2) else { return (body, false) };
                body.extend_from_slice(&piece[..length]);
                if length == 0 {
                    return (body, true);
                }
            }
        }
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        match self.exactly(length) {
            Some(body) => (body, true),
            None => (std::mem::take(&mut self.buffer), false),
        }
    }

    /// Reads an answer; interim ones are passed over.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            let (first, headers) = self.head().expect("an answer");
            let status: u16 = first.split(' ').nth(1).unwrap().parse().unwrap();
            if status == 100 {
                continue;
            }
            let (body, whole) = self.body(&headers);
            return Answer { status, headers, body, whole };
        }
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

/// An upstream that a test plays itself.
pub(crate) struct Upstream {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Upstream {
    pub(crate) fn new() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Upstream { listener, address }
    }

    /// Waits for a connection of the gateway's.
    pub(crate) fn accept(&self) -> Client {
        Client::new(self.listener.accept().unwrap().0)
    }

    /// Waits for a connection and its request.
    pub(crate) fn exchange(&self) -> (Client, Request) {
        let mut client = self.accept();
        let request = client.request().expect("a request");
        (client, request)
    }
}

impl Client {
    /// As a server: starts an event stream.
    pub(crate) fn begin_stream(&mut self) {
        self.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    /// As a server: starts an event stream with the event that opens every answer.
    pub(crate) fn begin_answer(&mut self) {
        self.begin_stream();
        self.event("messageStart", r#"{"role":"assistant"}"#);
    }

    /// As a server: one HTTP chunk.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        self.send(format!("{:x}\r\n", bytes.len()).as_bytes());
        self.send(bytes);
        self.send(b"\r\n");
    }

    /// As a server: one event frame in a chunk of its own.
    pub(crate) fn event(&mut self, name: &str, payload: &str) {
        let bytes = frame(name, payload);
        self.chunk(&bytes);
    }

    /// As a server: a text delta.
    pub(crate) fn delta(&mut self, text: &str) {
        self.event("contentBlockDelta", &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#));
    }

    /// As a server: the end of a good answer and of the body.
    pub(crate) fn end_stream(&mut self) {
        self.event("contentBlockStop", r#"{"contentBlockIndex":0}"#);
        self.event("messageStop", r#"{"stopReason":"end_turn"}"#);
        self.event("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#);
        self.send(b"0\r\n\r\n");
    }

    /// As a server: a whole JSON answer.
    pub(crate) fn reply(&mut self, status: &str, headers: &str, body: &str) {
        self.send(format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    /// As a server: a good short answer.
    pub(crate) fn reply_text(&mut self, text: &str) {
        let body = format!(
            r#"{{"output":{{"message":{{"role":"assistant","content":[{{"text":"{text}"}}]}}}},"stopReason":"end_turn","usage":{{"inputTokens":3,"outputTokens":2,"totalTokens":5}},"metrics":{{"latencyMs":1}}}}"#
        );
        self.reply("200 OK", "", &body);
    }

    /// Ends the connection with a reset instead of a close.
    pub(crate) fn reset(self) {
        // Unread bytes in the socket turn a close into a reset; a linger of zero does so always.
        socket_linger_zero(&self.stream);
        drop(self.stream);
    }

    pub(crate) fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn socket_linger_zero(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// One event frame.
pub(crate) fn frame(name: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    adit::wire::eventstream::write_frame(&mut out, &headers, payload.as_bytes());
    out
}

/// One exception frame.
pub(crate) fn exception(name: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let headers = [(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")];
    adit::wire::eventstream::write_frame(&mut out, &headers, format!(r#"{{"message":"{message}"}}"#).as_bytes());
    out
}
