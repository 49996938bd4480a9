//! The audit log of a daemon under test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;

use super::{Gateway, PATIENCE, Upstream};

/// Answers every request, for as long as the test runs.
pub(crate) fn serve(upstream: Upstream) {
    std::thread::spawn(move || {
        loop {
            let mut far = upstream.accept();
            std::thread::spawn(move || {
                while far.request().is_some() {
                    far.reply_text("Hello");
                }
            });
        }
    });
}

/// The lines of all files of a log, each of which has to be whole.
pub(crate) fn lines(gateway: &Gateway) -> Vec<Value> {
    let files = std::fs::read_dir(gateway.folder()).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("audit.jsonl"));
    let text: String = files.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Ends the daemon as a service manager does, which writes the log to its end.
pub(crate) fn stop(gateway: &mut Gateway) {
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit(), Some(0));
}

/// The sum of a metric over its series.
pub(crate) fn sum(metrics: &str, name: &str, label: &str) -> u64 {
    let found = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    found.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

/// Metrics by which all of these requests are counted, and their lines written: both come behind the last byte of an answer.
pub(crate) fn settled(gateway: &Gateway, asked: u64) -> String {
    let begun = std::time::Instant::now();
    loop {
        let metrics = gateway.get("/metrics").text().to_owned();
        let of = |route: &str| sum(&metrics, "adit_requests_total{", &format!("route=\"{route}"));
        let all = of("/") + of("unknown\"") - of("/metrics\"") - of("/health\"");
        if all == asked && sum(&metrics, "adit_audit_written_total", "") == all {
            return metrics;
        }
        assert!(begun.elapsed() < PATIENCE, "{asked} requests, and\n{metrics}");
        std::thread::yield_now();
    }
}
