//! The writer of the audit log: whole lines from a bounded queue, appended to a file by a thread of its own.
//!
//! Requests only ever hand lines over. A disk that is slow, full or gone is the thread's affair: the queue fills, and `on_full` says what happens then.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;

use crate::config::snapshot::{Audit, OnFull};
use crate::ops::load::Held;

pub mod line;

/// Lines that wait for the writer.
const QUEUE: usize = 8192;
/// Lines are gathered up to so many bytes for one write.
const BATCH: usize = 64 * 1024;
/// Between two tries of a write that failed.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks at whether everything is written.
const LOOK: Duration = Duration::from_millis(5);
/// A failing disk is told of so often.
const TELL: Duration = Duration::from_secs(10);

/// A line on its way into the file.
#[derive(Debug)]
pub struct Entry {
    /// Without its line feed.
    pub line: String,
    /// Counts what it takes of memory while it waits; only a line with bodies takes much.
    pub held: Option<Held>,
}

/// What became of the lines.
#[derive(Debug, Default)]
pub struct Counts {
    /// Are in the file.
    pub written: AtomicU64,
    /// Were lost, for the queue was full or the writer had ended.
    pub dropped: AtomicU64,
    /// Failures to open, write or rename, each of which is tried again.
    pub errors: AtomicU64,
    /// Were handed over, and are neither written nor dropped yet.
    waiting: AtomicU64,
}

/// The audit log of the process: what it is written by changes with the configuration, what is counted goes on.
#[derive(Debug, Default)]
pub struct Trail {
    writer: ArcSwapOption<Writer>,
    /// What it was made from. Held by whoever changes it.
    audit: Mutex<Option<Audit>>,
    counts: Arc<Counts>,
}

impl Trail {
    /// Has lines written as a configuration says from now on. What a file before this one has been given still goes there.
    ///
    /// # Errors
    /// When the file can't be opened; the one before it stays.
    pub fn follow(&self, audit: Option<&Audit>) -> io::Result<()> {
        let mut followed = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.as_ref() == audit {
            return Ok(());
        }
        let writer = audit.map(|audit| Writer::start(audit, Arc::clone(&self.counts))).transpose()?;
        self.writer.store(writer.map(Arc::new));
        *followed = audit.cloned();
        Ok(())
    }

    /// Whether lines are written.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.writer.load().is_some()
    }

    /// Hands a line over. Waits for the writer where lines must not be lost, without holding up a thread.
    pub async fn put(&self, entry: Entry) {
        if let Some(writer) = self.writer.load_full() {
            writer.put(entry).await;
        }
    }

    /// The file is opened anew before the next write.
    pub fn reopen(&self) {
        if let Some(writer) = &*self.writer.load() {
            writer.reopen.store(true, Ordering::Release);
        }
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Holds up the caller's thread until every line is in its file, at most so long: for the end of a process. What is left then, which is lost.
    #[must_use]
    pub fn finish(&self, limit: Duration) -> u64 {
        let begun = Instant::now();
        loop {
            let left = self.counts.waiting.load(Ordering::Acquire);
            if left == 0 || begun.elapsed() >= limit {
                return left;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Hands lines to a thread, which writes what waits and ends when this goes.
#[derive(Debug)]
struct Writer {
    lines: mpsc::Sender<Entry>,
    on_full: OnFull,
    counts: Arc<Counts>,
    reopen: Arc<AtomicBool>,
}

impl Writer {
    /// Opens the file and starts the thread.
    ///
    /// # Errors
    /// When the file can't be opened or no thread started.
    fn start(audit: &Audit, counts: Arc<Counts>) -> io::Result<Writer> {
        let (lines, waiting) = mpsc::channel(QUEUE);
        let reopen = Arc::new(AtomicBool::new(false));
        let log = Log {
            file: open(&audit.path)?,
            path: audit.path.clone(),
            max_bytes: audit.max_bytes,
            keep: audit.keep,
            counts: Arc::clone(&counts),
            reopen: Arc::clone(&reopen),
            told: None,
        };
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || log.run(waiting))?;
        Ok(Writer { lines, on_full: audit.on_full, counts, reopen })
    }

    async fn put(&self, entry: Entry) {
        let mut handed = Handed::over(&self.counts);
        handed.kept = match self.on_full {
            OnFull::Drop => self.lines.try_send(entry).is_ok(),
            OnFull::Block => self.lines.send(entry).await.is_ok(),
        };
    }
}

/// Counts a line on its way into the queue. One whose request goes while it waits for room is lost, and has to be counted as that.
struct Handed<'c> {
    counts: &'c Counts,
    kept: bool,
}

impl<'c> Handed<'c> {
    fn over(counts: &'c Counts) -> Self {
        counts.waiting.fetch_add(1, Ordering::AcqRel);
        Handed { counts, kept: false }
    }
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            self.counts.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The file, on the writer's thread.
struct Log {
    file: File,
    path: PathBuf,
    max_bytes: Option<u64>,
    keep: usize,
    counts: Arc<Counts>,
    reopen: Arc<AtomicBool>,
    told: Option<Instant>,
}

impl Log {
    fn run(mut self, mut waiting: mpsc::Receiver<Entry>) {
        let mut batch = String::with_capacity(BATCH);
        while let Some(entry) = waiting.blocking_recv() {
            let mut lines = 1;
            add(&mut batch, &entry.line);
            while batch.len() < BATCH
                && let Ok(entry) = waiting.try_recv()
            {
                add(&mut batch, &entry.line);
                lines += 1;
            }
            self.write(batch.as_bytes());
            self.counts.written.fetch_add(lines, Ordering::Relaxed);
            self.counts.waiting.fetch_sub(lines, Ordering::AcqRel);
            batch.clear();
        }
    }

    /// Writes until it is written. What a full disk took of a batch stays, and only the rest is tried again: no line twice.
    fn write(&mut self, batch: &[u8]) {
        self.renew();
        let mut rest = batch;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => self.failed(&io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Another file where the path leads elsewhere by now (someone rotated it), on request, or when this one is large enough. Only ever between lines.
    fn renew(&mut self) {
        let asked = self.reopen.swap(false, Ordering::AcqRel);
        if asked || self.moved() {
            self.open();
        }
        if self.is_large() {
            self.rotate();
        }
    }

    /// Two processes write to one file during an upgrade: only who holds its lock and still finds it at the path renames it, or the second one would rename
    /// the first one's new file over the old one.
    fn rotate(&mut self) {
        let rotated = self.file.lock().and_then(|()| if self.moved() { Ok(()) } else { rotate(&self.path, self.keep) });
        let _ = self.file.unlock();
        match rotated {
            Ok(()) => self.open(),
            Err(error) => self.tell(&error),
        }
    }

    fn moved(&self) -> bool {
        let Ok(ours) = self.file.metadata() else { return true };
        std::fs::metadata(&self.path).map_or(true, |found| (found.dev(), found.ino()) != (ours.dev(), ours.ino()))
    }

    fn is_large(&self) -> bool {
        self.max_bytes.is_some_and(|most| self.file.metadata().is_ok_and(|found| found.len() >= most))
    }

    /// The old file goes on being written where no new one can be opened.
    fn open(&mut self) {
        match open(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => self.tell(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.tell(error);
        std::thread::sleep(RETRY);
    }

    fn tell(&mut self, error: &io::Error) {
        self.counts.errors.fetch_add(1, Ordering::Relaxed);
        if self.told.is_none_or(|at| at.elapsed() >= TELL) {
            self.told = Some(Instant::now());
            log::error!("the audit log {} can't be written, it is tried again: {error}", self.path.display());
        }
    }
}

fn add(batch: &mut String, line: &str) {
    batch.push_str(line);
    batch.push('\n');
}

/// Whether an audit log can be written there; for a start that is to fail rather than serve without one.
///
/// # Errors
/// When it can't be opened.
pub fn check(audit: &Audit) -> io::Result<()> {
    open(&audit.path).map(drop)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// `audit.jsonl` → `.1` → … → `.keep`; the last one goes, and with none to keep the file itself.
fn rotate(path: &Path, keep: usize) -> io::Result<()> {
    let name = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match std::fs::rename(name(number), name(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, name(1))
}

#[cfg(test)]
mod tests;
