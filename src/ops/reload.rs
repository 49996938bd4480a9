//! Reloads of the configuration: on SIGHUP and when its files change, whole or not at all.
//!
//! ```text
//! SIGHUP ──────────────────────┐
//! event ─▶ quiet for a moment ─┴▶ watch the files anew ─▶ read ─▶ good: in force for requests that come from now on
//!                                                              └▶ bad: every mistake to the log; what was in force stays
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use log::{error, info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::config::snapshot::Process;
use crate::config::{self, Errors, FileRead, Snapshot};
use crate::ops::audit::Trail;
use crate::ops::live::{Live, Refused};
use crate::ops::metrics::{Metrics, Reload};
use crate::ops::watch::Watch;

/// A change is over when nothing has changed for so long: editors take several steps, and so do those who copy two files.
const QUIET: Duration = Duration::from_millis(200);
/// But something that changes all the time is read after this.
const MOST_PATIENCE: Duration = Duration::from_secs(2);
/// How often a configuration is read whose files are other ones each time.
const MOST_READINGS: usize = 3;

/// How a reload goes, for a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A new configuration is being read or put in force.
    Begun,
    /// The process is as ready as before, under the new configuration or under the old one.
    Ended,
}

/// Why a configuration is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The files were read before they were watched.
    Begin,
    /// Something changed in or around the files.
    Event,
    /// The operator says so.
    Signal,
}

/// Replaces the configuration in force when there is a new one.
#[derive(Debug)]
pub struct Reloader<'a> {
    /// `None` for the embedded configuration.
    file: Option<PathBuf>,
    live: &'a Live,
    metrics: &'a Metrics,
    audit: &'a Trail,
    tell: fn(Progress),
    hangup: Option<Signal>,
    changed: Arc<Notify>,
    watch: Arc<Mutex<Watch>>,
    /// What was read last, good or bad.
    read: Vec<FileRead>,
    /// What this process has begun with: its listeners and threads stay as they are.
    begun: Process,
    /// The keys that the operator knows to wait for another process.
    waiting: Vec<&'static str>,
}

impl<'a> Reloader<'a> {
    /// For a process that has just begun. From now on SIGHUP does not end it. Within a tokio runtime.
    pub fn new(file: Option<PathBuf>, live: &'a Live, metrics: &'a Metrics, audit: &'a Trail, tell: fn(Progress)) -> Self {
        let hangup = signal(SignalKind::hangup()).inspect_err(|error| error!("cannot listen to SIGHUP: {error}")).ok();
        let changed = Arc::new(Notify::new());
        let watch = Arc::new(Mutex::new(Watch::new(Arc::clone(&changed))));
        let Snapshot { files, process, .. } = live.now().snapshot.clone();
        Reloader { file, live, metrics, audit, tell, hangup, changed, watch, read: files, begun: process, waiting: Vec::new() }
    }

    /// Reloads whenever there is reason to, for ever. What keeps new providers usable runs in this tokio runtime.
    pub async fn run(&mut self) {
        let Some(file) = self.file.clone() else { return self.nothing_to_reload().await };
        let mut why = Why::Begin;
        loop {
            self.reload(&file, why).await;
            why = tokio::select! {
                () = next(&mut self.hangup) => Why::Signal,
                () = settled(&self.changed) => Why::Event,
            };
        }
    }

    async fn nothing_to_reload(&mut self) {
        loop {
            next(&mut self.hangup).await;
            (self.tell)(Progress::Begun);
            info!("SIGHUP: the configuration is the built-in one; there is nothing to reload");
            self.metrics.reloaded(Reload::Unchanged, SystemTime::now());
            (self.tell)(Progress::Ended);
        }
    }

    async fn reload(&mut self, file: &Path, why: Why) {
        if why == Why::Signal {
            (self.tell)(Progress::Begun);
            // Also where the configuration is bad: whoever rotates the log asks for no more than this.
            self.audit.reopen();
        }
        let (name, watch, last) = (file.to_owned(), Arc::clone(&self.watch), self.read.clone());
        let reading = tokio::task::spawn_blocking(move || read(&name, &mut watch.lock().unwrap_or_else(PoisonError::into_inner), last));
        match reading.await {
            Ok(found) => self.take(found, why),
            Err(error) => error!("the configuration could not be read: {error}"),
        }
        if why == Why::Signal {
            (self.tell)(Progress::Ended);
        }
    }

    fn take(&mut self, found: Result<Snapshot, Errors>, why: Why) {
        let files = files(&found);
        let same = self.read == files;
        self.read = files.to_vec();
        match (why, same) {
            (Why::Begin, true) => {}
            (Why::Event, true) => self.metrics.reloaded(Reload::Unchanged, SystemTime::now()),
            (Why::Signal, _) => self.conclude(found),
            (Why::Begin | Why::Event, false) => {
                (self.tell)(Progress::Begun);
                self.conclude(found);
                (self.tell)(Progress::Ended);
            }
        }
    }

    fn conclude(&mut self, found: Result<Snapshot, Errors>) {
        match found {
            Ok(snapshot) => self.apply(snapshot),
            Err(errors) => self.refuse(&errors),
        }
    }

    fn apply(&mut self, snapshot: Snapshot) {
        for note in snapshot.notes() {
            warn!("{note}");
        }
        let waiting = self.begun.fixed_but_changed(&snapshot.process);
        if waiting != self.waiting && !waiting.is_empty() {
            warn!("changed, but in force only after a restart or an upgrade: {}", waiting.join(", "));
        }
        self.waiting = waiting;
        let (models, providers) = (snapshot.models.models.len(), snapshot.models.providers.len());
        if let Err(error) = self.audit.follow(snapshot.process.audit.as_ref()) {
            error!("the audit log stays as it was, the new one can't be opened: {error}");
        }
        let next = self.live.now().renewed(snapshot);
        next.spawn();
        let loaded = next.loaded;
        self.live.replace(next);
        info!("the configuration was reloaded: {models} models, {providers} providers");
        self.metrics.reloaded(Reload::Applied, loaded);
    }

    fn refuse(&self, errors: &Errors) {
        let (mistakes, at) = (errors.iter().count(), SystemTime::now());
        let loaded = humantime::format_rfc3339_millis(self.live.now().loaded);
        error!("the new configuration is refused, the one of {loaded} stays in force:\n{errors}");
        self.live.refuse(Refused { mistakes, at });
        self.metrics.reloaded(Reload::Refused, at);
    }
}

/// Reads a configuration, and watches its files before that: what changes later is another event.
fn read(file: &Path, watch: &mut Watch, last: Vec<FileRead>) -> Result<Snapshot, Errors> {
    let mut watched = last;
    for _ in 1..MOST_READINGS {
        watch.follow(watched.iter().map(|file| file.path.as_path()));
        let found = config::load_from_process(Some(file));
        // It may name another model map than before, which may have changed before it was watched.
        if files(&found).iter().map(|file| &file.path).eq(watched.iter().map(|file| &file.path)) {
            return found;
        }
        watched = files(&found).to_vec();
    }
    watch.follow(watched.iter().map(|file| file.path.as_path()));
    config::load_from_process(Some(file))
}

fn files(found: &Result<Snapshot, Errors>) -> &[FileRead] {
    match found {
        Ok(snapshot) => &snapshot.files,
        Err(errors) => &errors.files,
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Waits for a change, and until it is over.
async fn settled(changed: &Notify) {
    changed.notified().await;
    let first = Instant::now();
    let mut over = over_at(first, first);
    // What is there already comes in time, however late it is.
    while Instant::now() < over && timeout_at(over, changed.notified()).await.is_ok() {
        over = over_at(first, Instant::now());
    }
}

/// When a change is over that began and went on at these times.
fn over_at(first: Instant, last: Instant) -> Instant {
    (last + QUIET).min(first + MOST_PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_over_when_it_is_quiet_but_not_put_off_for_ever() {
        let first = Instant::now();
        for (last_ms, over_ms) in [(0, 200), (150, 350), (1_000, 1_200), (1_799, 1_999), (1_800, 2_000), (1_999, 2_000), (60_000, 2_000)] {
            let over = over_at(first, first + Duration::from_millis(last_ms));
            assert_eq!(over, first + Duration::from_millis(over_ms), "last event after {last_ms} ms");
        }
    }
}
