//! The audit log of the real daemon where its file is rotated by size, or cannot be written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::audit::{lines, settled, stop, sum};
use common::process::until;
use common::{Gateway, Upstream};
use serde_json::Value;

/// Asks for a model that nobody has, over and over on one connection, until it is told to stop; each has a line.
fn ask(gateway: &Gateway, asked: &AtomicU64, mut goes_on: impl FnMut(usize) -> bool) {
    let mut client = gateway.connect();
    let mut request = 0;
    while goes_on(request) {
        client.call("GET", "/v1/models/nobody-has-it", "", b"");
        assert_eq!(client.answer().status, 404);
        asked.fetch_add(1, Ordering::SeqCst);
        request += 1;
    }
}

#[test]
fn rotation_by_size_under_load_loses_nothing_and_keeps_so_many_files() {
    const CLIENTS: usize = 8;
    const EACH: usize = 250;
    const MOST: u64 = 40_000;
    for keep in [1000, 3] {
        let upstream = Upstream::new();
        let mut gateway = Gateway::start(upstream.address, &format!("audit: {{ path: audit.jsonl, on_full: block, max_bytes: {MOST}, keep: {keep} }}"));
        let asked = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| ask(&gateway, &asked, |request| request < EACH));
            }
        });
        settled(&gateway, (CLIENTS * EACH) as u64);
        stop(&mut gateway);
        let mut files: Vec<_> = std::fs::read_dir(gateway.folder()).unwrap().map(|entry| entry.unwrap()).collect();
        files.retain(|entry| entry.file_name().to_string_lossy().starts_with("audit.jsonl"));
        let lines = lines(&gateway);
        let ids: HashSet<_> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), lines.len(), "a line is there twice");
        for file in files.iter().filter(|entry| entry.file_name() != "audit.jsonl") {
            assert!(file.metadata().unwrap().len() >= MOST, "{:?} was renamed too early", file.file_name());
        }
        if keep == 3 {
            let mut names: Vec<_> = files.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.3"]);
            assert!(lines.len() < CLIENTS * EACH, "the oldest went");
        } else {
            assert!(files.len() > 5, "{} files", files.len());
            assert_eq!(lines.len(), CLIENTS * EACH, "a line is lost");
        }
    }
}

/// A pipe in the place of the file: it takes no more than fits into it until somebody reads.
fn pipe(path: &Path) -> impl Read + Send + 'static {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    // To open it for reading alone waits for a writer; with one of our own it does not.
    let both = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let reader = OpenOptions::new().read(true).open(path).unwrap();
    drop(both);
    reader
}

/// What is asked of the metrics of a daemon whose log nobody reads.
struct Standing {
    requests: u64,
    written: u64,
    dropped: u64,
}

impl Standing {
    fn of(gateway: &Gateway) -> Standing {
        let metrics = gateway.get("/metrics").text().to_owned();
        let requests = sum(&metrics, "adit_requests_total{", "route=\"/v1/models/{id}\"");
        Standing { requests, written: sum(&metrics, "adit_audit_written_total", ""), dropped: sum(&metrics, "adit_audit_dropped_total", "") }
    }
}

/// Has clients ask until `is_held_up`, then reads the log and has them end: how many requests there were, and the lines and losses.
fn held_up(on_full: &str, clients: usize, is_held_up: fn(&Standing) -> bool) -> (u64, u64, u64) {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = pipe(&path);
    // No line a request beside those that count.
    let quiet = [("RUST_LOG", "warn")];
    let mut gateway = Gateway::with_models(&common::models(upstream.address), &format!("audit: {{ path: '{}', on_full: {on_full} }}", path.display()), &quiet);
    let (asked, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let reading = std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| ask(&gateway, &asked, |_| !ended.load(Ordering::SeqCst)));
        }
        until("the log is behind", || is_held_up(&Standing::of(&gateway)));
        ended.store(true, Ordering::SeqCst);
        std::thread::spawn(move || {
            let lines = BufReader::new(log).lines();
            lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["request_id"].to_string()).collect::<Vec<_>>()
        })
    });
    let asked = asked.load(Ordering::SeqCst);
    until("all lines are written or lost", || {
        let standing = Standing::of(&gateway);
        standing.written + standing.dropped == asked
    });
    let dropped = Standing::of(&gateway).dropped;
    stop(&mut gateway);
    let lines = reading.join().unwrap();
    assert_eq!(lines.iter().collect::<HashSet<_>>().len(), lines.len(), "a line is there twice");
    (asked, lines.len() as u64, dropped)
}

#[test]
fn a_log_that_is_behind_drops_lines_and_counts_each() {
    let (asked, lines, dropped) = held_up("drop", 8, |standing| standing.dropped >= 100);
    assert!(dropped >= 100);
    assert_eq!(lines + dropped, asked);
}

#[test]
fn bodies_of_a_log_that_is_behind_are_cut_before_requests_have_no_room() {
    const BODY: usize = 20_000;
    const REQUESTS: usize = 60;
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = pipe(&path);
    let extra = format!("audit: {{ path: '{}', bodies: full }}\noverload: {{ max_buffered_bytes: {} }}", path.display(), 20 * BODY);
    let mut gateway = Gateway::start(upstream.address, &extra);
    let body = format!(r#"{{"model":"nobody-has-it","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(BODY));
    for _ in 0..REQUESTS {
        assert_eq!(gateway.chat(&body).status, 404);
    }
    let reading = std::thread::spawn(move || {
        let lines = BufReader::new(log).lines();
        lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["request"]["cut_bytes"].as_u64().unwrap()).collect::<Vec<_>>()
    });
    stop(&mut gateway);
    let cut = reading.join().unwrap();
    let whole = cut.iter().take_while(|cut| **cut == 0).count();
    // Half of the room, and what is in the pipe and the batch by now.
    assert!((8..REQUESTS).contains(&whole), "{cut:?}");
    assert!(cut[whole..].contains(&(body.len() as u64)), "{cut:?}");
    assert_eq!(cut.len(), REQUESTS);
}

#[test]
fn a_log_that_must_lose_nothing_holds_requests_up() {
    // What waits is in the queue, in the batch that is being written, or a request that is held up: of the first there are 8192, and the second is 64 KiB.
    let (asked, lines, dropped) = held_up("block", 192, |standing| standing.requests > standing.written + standing.dropped + 8192 + 128);
    assert_eq!((lines, dropped), (asked, 0));
}
