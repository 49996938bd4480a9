use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::snapshot::AuditBodies;

fn audit(path: &Path, on_full: OnFull, max_bytes: Option<u64>) -> Audit {
    Audit { path: path.to_owned(), bodies: AuditBodies::None, on_full, max_bytes, keep: 1000 }
}

/// The numbers in all files of a folder; each line must be whole.
fn numbers(folder: &Path) -> (usize, BTreeSet<usize>) {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn end");
        found.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap() as usize));
    }
    (found.len(), found.into_iter().collect())
}

#[tokio::test]
async fn no_line_is_lost_or_torn_by_rotation_of_any_kind() {
    for kind in ["size", "rename", "rename and ask", "two processes by size"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let max_bytes = kind.contains("size").then_some(20_000);
        let writer = Writer::start(&audit(&path, OnFull::Block, max_bytes), 16).unwrap();
        let other = (kind == "two processes by size").then(|| Writer::start(&audit(&path, OnFull::Block, max_bytes), 16).unwrap());
        for number in 0..10_000 {
            let turn = other.as_ref().filter(|_| number % 2 == 0).unwrap_or(&writer);
            turn.put(format!("{{\"n\":{number}}}")).await;
            if number % 1000 == 999 && kind.starts_with("rename") {
                std::fs::rename(&path, folder.path().join(format!("old.{number}"))).unwrap_or_default();
                if kind.ends_with("ask") {
                    writer.reopen();
                }
            }
        }
        let counts = Arc::clone(writer.counts());
        writer.finish();
        if let Some(other) = other {
            other.finish();
        } else {
            assert_eq!((counts.written.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed)), (10_000, 0), "{kind}");
        }
        assert_eq!(numbers(folder.path()), (10_000, (0..10_000).collect()), "{kind}");
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
        let mut reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let writer = Writer::start(&audit(&path, on_full, None), 4).unwrap();
        let line = "x".repeat(BATCH);
        let put = async {
            for _ in 0..20 {
                writer.put(line.clone()).await;
            }
        };
        let went = tokio::time::timeout(Duration::from_secs(1), put).await.is_ok();
        let counts = Arc::clone(writer.counts());
        let dropped = counts.dropped.load(Ordering::Relaxed);
        assert_eq!((went, dropped > 0), (on_full == OnFull::Drop, on_full == OnFull::Drop), "{on_full:?}");
        std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        writer.finish();
        if on_full == OnFull::Drop {
            assert_eq!(counts.written.load(Ordering::Relaxed) + dropped, 20);
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_counted_and_the_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let writer = Writer::start(&audit(&path, OnFull::Drop, None), 4).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    writer.finish();
    // A device that is always full.
    let writer = Writer::start(&audit(Path::new("/dev/full"), OnFull::Drop, None), 4).unwrap();
    writer.put("{}".to_owned()).await;
    let begun = Instant::now();
    while writer.counts().errors.load(Ordering::Relaxed) < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "no error was counted");
        tokio::task::yield_now().await;
    }
    assert_eq!(writer.counts().written.load(Ordering::Relaxed), 0);
}
