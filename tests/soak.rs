//! What many streams cost that do nothing, and clients that stop reading: memory, and what is left of it all.
//!
//! `make soak` holds 2,000 idle streams and 200 stuck readers for SOAK_MINUTES (10); `make test` a few of them for a moment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::far::frame;
use common::process::Daemon;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Time for one thing of a test, on a machine that has more to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often an idle stream says a word: less often than the gateway's keep-alive.
const WORD: Duration = Duration::from_secs(30);
/// An upstream whose words nobody takes for this long is stuck.
const STUCK: Duration = Duration::from_secs(1);
/// How much a process may grow that does the same all the time: a page here and there.
const GROWTH_KIB: u64 = 4096;
/// What an idle stream may cost: two connections and their buffers, and the state of a translator.
const IDLE_KIB: u64 = 128;
/// What may leave the upstream of a stuck reader once it seemed stuck. An endless stream that is read has as much in a moment.
const MORE_KIB: u64 = 4096;
/// The test's own part of the system's buffers: small, so that a stream is stuck soon.
const SOCKET_BYTES: usize = 64 * 1024;
/// What a stuck reader may cost: what the gateway reads before it notices, not what the model says.
const STUCK_KIB: u64 = 512;

/// What the upstream has seen.
#[derive(Default)]
struct Seen {
    /// Connections that are open.
    open: AtomicUsize,
    /// Bytes that endless streams got rid of.
    poured: AtomicU64,
}

/// Plays the model provider: `idle` says a word now and then until it is told to end, `endless` never stops, all others answer at once.
async fn upstream(listener: TcpListener, seen: Arc<Seen>, end: watch::Receiver<bool>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        socket2::SockRef::from(&stream).set_send_buffer_size(SOCKET_BYTES).unwrap();
        let (seen, end) = (Arc::clone(&seen), end.clone());
        tokio::spawn(async move {
            seen.open.fetch_add(1, Ordering::Relaxed);
            // An error says that the gateway has let go of it.
            let _ = play(stream, &seen, end).await;
            seen.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn delta(text: &str) -> Vec<u8> {
    chunk(&frame("contentBlockDelta", &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#)))
}

fn chunk(frame: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", frame.len()).as_bytes(), frame, b"\r\n"].concat()
}

async fn play(mut stream: TcpStream, seen: &Seen, mut end: watch::Receiver<bool>) -> std::io::Result<()> {
    let request = read_until(&mut stream, b"Hi\"}]}]}").await?;
    let line = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    if !line.contains("converse-stream") {
        let body = r#"{"output":{"message":{"role":"assistant","content":[{"text":"ok"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        return stream.write_all(format!("{head}{body}").as_bytes()).await;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    stream.write_all(&chunk(&frame("messageStart", r#"{"role":"assistant"}"#))).await?;
    stream.write_all(&delta("first")).await?;
    if line.contains("endless") {
        let piece = delta(&"x".repeat(8000));
        loop {
            stream.write_all(&piece).await?;
            seen.poured.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
    let word = delta("word");
    while tokio::time::timeout(WORD, end.wait_for(|end| *end)).await.is_err() {
        stream.write_all(&word).await?;
    }
    for (name, payload) in [
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5},"metrics":{"latencyMs":1}}"#),
    ] {
        stream.write_all(&chunk(&frame(name, payload))).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// Reads until the end of what has come is this.
async fn read_until(stream: &mut TcpStream, end: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    while !read.windows(end.len()).any(|window| window == end) {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(read)
}

/// A request on a new connection, with everything up to `end` read.
async fn ask(gateway: SocketAddr, model: &str, stream: bool, end: &[u8]) -> TcpStream {
    let body = format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"Hi"}}]}}"#);
    let request = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let asked = async {
        let mut client = TcpStream::connect(gateway).await?;
        socket2::SockRef::from(&client).set_recv_buffer_size(SOCKET_BYTES)?;
        client.write_all(request.as_bytes()).await?;
        read_until(&mut client, end).await?;
        Ok::<_, std::io::Error>(client)
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("an answer in time").expect("an answer")
}

/// What the kernel knows of a process.
struct Process(u32);

impl Process {
    fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count()
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing is poured any more.
async fn all_stuck(seen: &Seen) {
    let begun = Instant::now();
    let mut last = (seen.poured.load(Ordering::Relaxed), Instant::now());
    while last.1.elapsed() < STUCK {
        assert!(begun.elapsed() < PATIENCE, "the gateway takes from an endless stream whose client does not read");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let poured = seen.poured.load(Ordering::Relaxed);
        if poured != last.0 {
            last = (poured, Instant::now());
        }
    }
}

async fn open(gateway: SocketAddr, model: &'static str, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    // Some at a time: the queue of a listening socket is short.
    while streams.len() < count {
        let wave = (count - streams.len()).min(50);
        streams.extend(futures::future::join_all((0..wave).map(|_| ask(gateway, model, true, b"first"))).await);
    }
    streams
}

/// Does the same small things until the time is over; how much the process has grown after the first quarter of it.
async fn hold(gateway: SocketAddr, process: &Process, time: Duration) -> (u64, usize) {
    let begun = Instant::now();
    let mut settled = None;
    let mut chats = 0;
    while begun.elapsed() < time || settled.is_none() {
        drop(ask(gateway, "quick", false, b"\"ok\"").await);
        chats += 1;
        if begun.elapsed() >= time / 4 {
            settled.get_or_insert_with(|| process.rss_kib());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (process.rss_kib().saturating_sub(settled.unwrap()), chats)
}

/// Where the requests go and come from.
struct Scene {
    seen: Arc<Seen>,
    end: watch::Sender<bool>,
    daemon: Daemon,
}

impl Scene {
    async fn new() -> Scene {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let claude = "{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0";
        let models = common::models(listener.local_addr().unwrap());
        let models = format!("{models}  quick: {claude}' }}\n  idle: {claude}.idle' }}\n  endless: {claude}.endless' }}\n");
        let end = watch::Sender::new(false);
        let seen = Arc::new(Seen::default());
        tokio::spawn(upstream(listener, Arc::clone(&seen), end.subscribe()));
        // A stuck reader would be let go after the idle time.
        let extra = "timeouts: { connect: 10s, first_byte: 60s, idle: 12h }";
        let pingora = "grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 30";
        let daemon = tokio::task::block_in_place(|| Daemon::start(&models, pingora, extra, &[]));
        for _ in 0..20 {
            drop(ask(daemon.address, "quick", false, b"\"ok\"").await);
        }
        let scene = Scene { seen, end, daemon };
        scene.until_open("the first connections are gone", 0).await;
        scene
    }

    async fn until_open(&self, what: &str, count: usize) {
        until(what, || self.seen.open.load(Ordering::Relaxed) <= count).await;
    }

    /// All streams, for a time, and their end; the memory with the idle ones, with the stuck ones too, and behind it all, and how much of it grew meanwhile.
    async fn round(&self, idle: usize, stuck: usize, time: Duration) -> [u64; 4] {
        let (gateway, process) = (self.daemon.address, Process(self.daemon.child.id()));
        self.end.send_replace(false);
        let idle_streams = open(gateway, "idle", idle).await;
        let with_idle = process.rss_kib();
        let readers = open(gateway, "endless", stuck).await;
        all_stuck(&self.seen).await;
        let with_stuck = process.rss_kib();
        let poured = self.seen.poured.load(Ordering::Relaxed);
        let (grown, chats) = hold(gateway, &process, time).await;
        // The system may find some more room in its own buffers, which are not the gateway's memory.
        let more = (self.seen.poured.load(Ordering::Relaxed) - poured) / 1024 / stuck as u64;
        assert!(more <= MORE_KIB, "{more} KiB more of each stuck stream were taken");
        drop(readers);
        self.until_open("the upstreams of the stuck readers are let go", idle).await;
        self.end.send_replace(true);
        let ended = idle_streams.into_iter().map(|mut stream| async move { read_until(&mut stream, b"data: [DONE]\n\n").await.is_ok() });
        let ended = tokio::time::timeout(PATIENCE, futures::future::join_all(ended)).await.unwrap();
        assert!(ended.iter().all(|ended| *ended), "every idle stream ends well");
        self.until_open("no upstream connection is left", 0).await;
        println!(
            "{idle} idle streams, {stuck} stuck readers, {chats} chats in {time:?}: grown by {grown} KiB in the last three quarters of it, {more} KiB more of each stuck stream"
        );
        [with_idle, with_stuck, process.rss_kib(), grown]
    }
}

async fn soak(idle: usize, stuck: usize, time: Duration) {
    let scene = Scene::new().await;
    let process = Process(scene.daemon.child.id());
    let (before, files) = (process.rss_kib(), process.files());
    let [with_idle, with_stuck, _, _] = scene.round(idle, stuck, Duration::ZERO).await;
    let poured = scene.seen.poured.load(Ordering::Relaxed) / 1024 / stuck as u64;
    // Until the allocator has its pages together, on every thread.
    scene.round(idle, stuck, Duration::ZERO).await;
    let [_, _, once, _] = scene.round(idle, stuck, Duration::ZERO).await;
    let [_, _, again, grown] = scene.round(idle, stuck, time).await;
    until("no file is left", || process.files() <= files).await;
    let each = |more: u64, less: u64, count: usize| more.saturating_sub(less) / count as u64;
    let (per_idle, per_stuck) = (each(with_idle, before, idle), each(with_stuck, with_idle, stuck));
    println!(
        "memory: {before} KiB before, {with_idle} with the idle streams, {with_stuck} with the stuck readers, {once} behind three rounds of them, {again} behind the fourth"
    );
    println!("per idle stream {per_idle} KiB, per stuck reader {per_stuck} KiB; of each {poured} KiB left the upstream, most of it into the system's buffers");
    // A buffer of which little is used takes pages that others have used whole.
    println!("in the long run {} KiB for each of both, which the allocator keeps", each(again, before, idle + stuck));
    println!("files: {files} before, {} after", process.files());
    assert!(per_idle <= IDLE_KIB && per_stuck <= STUCK_KIB);
    assert!(grown <= GROWTH_KIB && again <= once + once / 10 + GROWTH_KIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_idle_streams_and_stuck_readers_leave_nothing_behind() {
    soak(50, 10, Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes SOAK_MINUTES and 5000 files: make soak"]
async fn two_thousand_idle_streams_and_two_hundred_stuck_readers() {
    let minutes: f64 = std::env::var("SOAK_MINUTES").map_or(10.0, |minutes| minutes.parse().unwrap());
    soak(2000, 200, Duration::from_secs_f64(minutes * 60.0)).await;
}
