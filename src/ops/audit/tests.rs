use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;

use futures::FutureExt as _;

use super::*;
use crate::config::snapshot::AuditBodies;

/// A wait that takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long that a batch is a few hundred of them.
const PADDING: &str =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

fn audit(path: &Path, on_full: OnFull, max_bytes: Option<u64>) -> Audit {
    Audit { path: path.to_owned(), bodies: AuditBodies::None, max_body_bytes: 0, on_full, max_bytes, keep: 1000 }
}

fn trail(audit: &Audit) -> Trail {
    let trail = Trail::default();
    trail.follow(Some(audit)).unwrap();
    trail
}

fn line(number: u64) -> Entry {
    Entry { line: format!("{{\"n\":{number},\"x\":\"{PADDING}\"}}"), held: None }
}

fn number(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap()
}

/// The numbers in all files of a folder; each line must be whole.
fn numbers(folder: &Path) -> (usize, BTreeSet<u64>) {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn end");
        found.extend(text.lines().map(number));
    }
    (found.len(), found.into_iter().collect())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn written(trail: &Trail) -> u64 {
    trail.counts().written.load(Ordering::Relaxed)
}

fn dropped(trail: &Trail) -> u64 {
    trail.counts().dropped.load(Ordering::Relaxed)
}

#[tokio::test]
async fn no_line_is_lost_or_torn_by_rotation_of_any_kind() {
    const LINES: u64 = 10_000;
    for kind in ["size", "rename", "rename and ask", "two processes by size"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = audit(&path, OnFull::Block, kind.contains("size").then_some(20_000));
        let trails: Vec<_> = (0..if kind.starts_with("two") { 2 } else { 1 }).map(|_| trail(&audit)).collect();
        for number in 0..LINES {
            trails[number as usize % trails.len()].put(line(number)).await;
            if number % 1000 == 999 && kind.starts_with("rename") {
                until("some of it is written", || written(&trails[0]) > number - 999);
                std::fs::rename(&path, folder.path().join(format!("old.{number}"))).unwrap();
                if kind.ends_with("ask") {
                    trails[0].reopen();
                }
                // Or there is nothing to rename the next time.
                trails[0].put(line(LINES + number)).await;
                until("there is a new file", || path.exists());
            }
        }
        let extra = if kind.starts_with("rename") { LINES / 1000 } else { 0 };
        assert_eq!(trails.iter().map(|trail| trail.finish(PATIENCE)).sum::<u64>(), 0, "{kind}");
        assert_eq!(trails.iter().map(|trail| (written(trail), dropped(trail))).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)), (LINES + extra, 0));
        let (count, numbers) = numbers(folder.path());
        assert_eq!((count as u64, numbers.range(..LINES).count() as u64), (LINES + extra, LINES), "{kind}");
        assert!(std::fs::read_dir(folder.path()).unwrap().count() > 1, "{kind}: never rotated");
    }
}

#[tokio::test]
async fn a_stuck_writer_drops_and_counts_or_holds_up_whoever_must_not_lose_a_line() {
    for on_full in [OnFull::Drop, OnFull::Block] {
        // Nobody reads the pipe while it fills: the thread is stuck in a write.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let trail = trail(&audit(&path, on_full, None));
        let mut put = 0;
        let held_up = loop {
            let mut next = Box::pin(trail.put(line(put)));
            put += 1;
            match next.as_mut().now_or_never() {
                None => break Some(next),
                Some(()) if dropped(&trail) == 100 => break None,
                Some(()) => assert!(put < 1_000_000, "{on_full:?}: the queue has no end"),
            }
        };
        assert_eq!((held_up.is_some(), dropped(&trail)), if on_full == OnFull::Drop { (false, 100) } else { (true, 0) }, "{on_full:?}");
        let lost = dropped(&trail);
        let reading = std::thread::spawn(move || {
            let lines = io::BufReader::new(reader).lines().take((put - lost) as usize);
            lines.map(|line| number(&line.unwrap())).collect::<BTreeSet<_>>().len() as u64
        });
        if let Some(next) = held_up {
            next.await;
        }
        assert_eq!(trail.finish(PATIENCE), 0);
        assert_eq!((written(&trail), dropped(&trail), reading.join().unwrap()), (put - lost, lost, put - lost), "{on_full:?}");
    }
}

#[tokio::test]
async fn a_line_whose_request_goes_while_it_waits_is_counted_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let trail = trail(&audit(&path, OnFull::Block, None));
    let mut put = 1;
    while trail.put(line(put)).now_or_never().is_some() {
        put += 1;
    }
    assert_eq!(dropped(&trail), 1);
    std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    assert_eq!(trail.finish(PATIENCE), 0);
    assert_eq!(written(&trail) + dropped(&trail), put);
}

#[tokio::test]
async fn a_full_disk_is_counted_and_the_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let trail = trail(&audit(&path, OnFull::Drop, None));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A device that is always full.
    trail.follow(Some(&audit(Path::new("/dev/full"), OnFull::Drop, None))).unwrap();
    trail.put(line(0)).await;
    until("errors are counted", || trail.counts().errors.load(Ordering::Relaxed) >= 2);
    assert_eq!(written(&trail), 0);
}
