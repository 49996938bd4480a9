//! The life of the process: what each signal means, how a successor takes the sockets over, and how the last requests end.
//!
//! ```text
//! HUP   reload the configuration                      USR2  start a successor, then as QUIT
//! TERM  no new connections; end with the last request QUIT  hand the sockets to the successor that waits for them, then as TERM
//! INT   end now; so does a second TERM or INT while the last requests run
//! ```
//!
//! A QUIT that no successor waits for changes nothing: the host would stop serving without one.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info, warn};
use pingora::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::BackgroundService;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::ops::reload::Progress;
use crate::proxy::Shared;

/// The pause between two looks at what cannot be waited for otherwise.
const LOOK: Duration = Duration::from_millis(50);
/// How long a successor may take until it waits for the sockets: it reads its configuration first.
const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(30);
/// How long QUIT waits for a successor that was started a moment ago.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last lines of the audit log, and the last responses, may take.
/// How long a process that ends waits for what requests have used to be counted where all nodes share it.
const LIMITS_PATIENCE: Duration = Duration::from_secs(5);
const AUDIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long requests have for their last words once the time of a graceful stop is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How to start this program again.
#[derive(Clone, Debug)]
pub(super) struct Restart {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Restart {
    /// The program as it was called, so that a link which is moved to a new version leads there; its `-u` is what makes it a successor.
    pub(super) fn new(config: Option<&Path>) -> io::Result<Self> {
        let called = std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let program = called.map_or_else(std::env::current_exe, std::path::absolute)?;
        let mut arguments = vec![OsString::from("serve")];
        if let Some(config) = config {
            arguments.extend([OsString::from("--config"), config.into()]);
        }
        arguments.push("--upgrade".into());
        Ok(Restart { program, arguments })
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.program).args(&self.arguments).stdin(Stdio::null()).spawn()
    }
}

/// A process that was started to take over; ends with the attempt if it does not come to that.
struct Successor {
    child: Child,
    takes_over: bool,
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.takes_over {
            // It may be gone already, which is as good.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What the signals mean to Pingora's server.
pub(super) struct Signals {
    pub(super) upgrade_sock: PathBuf,
    pub(super) restart: Option<Restart>,
    /// Turns true when a successor takes over.
    pub(super) handed_over: Arc<AtomicBool>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let listen = |kind| signal(kind).inspect_err(|error| error!("cannot listen to a signal: {error}")).ok();
        let [mut terminate, mut interrupt, mut quit, mut successor] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::user_defined2()].map(listen);
        loop {
            let hand_over = async {
                tokio::select! {
                    () = next(&mut quit) => self.wait_for_successor(QUIT_PATIENCE, None).await.map_err(|reason| format!("QUIT: {reason}; start a successor with `-u` first")),
                    () = next(&mut successor) => self.start_successor().await.map_err(|reason| format!("USR2: {reason}")),
                }
            };
            // A stop does not wait for a successor that takes its time.
            let ready = tokio::select! {
                () = next(&mut terminate) => {
                    tell(&[NotifyState::Stopping]);
                    return ShutdownSignal::GracefulTerminate;
                }
                () = next(&mut interrupt) => return ShutdownSignal::FastShutdown,
                ready = hand_over => ready,
            };
            match ready {
                Ok(()) => {
                    self.handed_over.store(true, Ordering::Release);
                    // The host is deaf while it hands over.
                    tokio::spawn(async move {
                        next(&mut interrupt).await;
                        std::process::exit(0);
                    });
                    return ShutdownSignal::GracefulUpgrade;
                }
                Err(reason) => error!("{reason}. Serving on"),
            }
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

impl Signals {
    async fn start_successor(&self) -> Result<(), String> {
        let Some(restart) = &self.restart else { return Err("this process cannot start a successor".to_owned()) };
        let child = restart.start().map_err(|error| format!("cannot start {}: {error}", restart.program.display()))?;
        info!("started the process {} to take over", child.id());
        let mut successor = Successor { child, takes_over: false };
        self.wait_for_successor(SUCCESSOR_PATIENCE, Some(&mut successor.child)).await?;
        successor.takes_over = true;
        Ok(())
    }

    /// Waits until somebody listens for the sockets, for a time, and only while the process that is to do it lives.
    async fn wait_for_successor(&self, patience: Duration, mut child: Option<&mut Child>) -> Result<(), String> {
        check_folder(&self.upgrade_sock).map_err(|error| format!("the sockets are not handed over: {error}"))?;
        let begun = tokio::time::Instant::now();
        loop {
            match is_listened_to(&self.upgrade_sock) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(format!("cannot see who listens: {error}")),
            }
            if let Some(Ok(Some(status))) = child.as_mut().map(|child| child.try_wait()) {
                return Err(format!("the successor ended at once ({status})"));
            }
            if begun.elapsed() > patience {
                return Err(format!("no process waits for the sockets at {}", self.upgrade_sock.display()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether some process listens on a Unix socket. A connection would tell too, but it would be taken for the hand-over.
fn is_listened_to(socket: &Path) -> io::Result<bool> {
    /// `__SO_ACCEPTCON` of Linux's `net.h`, as `/proc/net/unix` shows it.
    const LISTENS: u32 = 0x10000;
    let table = std::fs::read_to_string("/proc/self/net/unix")?;
    // Num: RefCount Protocol Flags Type St Inode Path
    Ok(table.lines().skip(1).any(|line| {
        let mut columns = line.split_ascii_whitespace();
        let listens = columns.nth(3).and_then(|flags| u32::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & LISTENS != 0);
        listens && columns.nth(3).is_some_and(|path| Path::new(path) == socket)
    }))
}

/// Checks that nobody else can put a socket of his own where the sockets are handed over.
pub(super) fn check_folder(socket: &Path) -> io::Result<()> {
    /// Write permission of the group and of all others.
    const OTHERS_WRITE: u32 = 0o022;
    let folder = folder_of(socket);
    let facts = std::fs::metadata(folder)?;
    let own = std::fs::metadata("/proc/self")?.uid();
    if facts.mode() & OTHERS_WRITE != 0 || ![own, 0].contains(&facts.uid()) {
        return Err(io::Error::other(format!("others may write in {}", folder.display())));
    }
    Ok(())
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Makes the folder of a file, for this user alone; one that is there stays as it is.
pub(super) fn make_folder(file: &Path) -> io::Result<()> {
    let folder = folder_of(file);
    if folder.is_dir() { Ok(()) } else { DirBuilder::new().recursive(true).mode(0o700).create(folder) }
}

/// Makes sure that a file can be written, its folder included; leaves a file that is there as it is.
pub(super) fn writable(file: &Path) -> io::Result<()> {
    make_folder(file)?;
    match std::fs::OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(_) => std::fs::remove_file(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::fs::OpenOptions::new().append(true).open(file).map(drop),
        Err(error) => Err(error),
    }
}

/// Says that the process serves: to whoever reads the pid file, and to systemd.
pub(super) struct Ready {
    pub(super) pid_file: PathBuf,
    /// Where it listens.
    pub(super) listen: String,
}

#[async_trait]
impl BackgroundService for Ready {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // The host says when it starts to listen, not when it does.
        while tokio::net::TcpStream::connect(&self.listen).await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
        let process = std::process::id();
        if let Err(error) = write_pid(&self.pid_file, process) {
            info!("no pid file: cannot write {}: {error}", self.pid_file.display());
        }
        tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
        info!("ready, as process {process}");
        // Whether it turns true or its sender is gone: the process ends.
        let _ = shutdown.wait_for(|stopping| *stopping).await;
    }
}

/// Writes the file whole or not at all: a successor replaces it while somebody reads.
fn write_pid(file: &Path, process: u32) -> io::Result<()> {
    make_folder(file)?;
    let fresh = file.with_extension(format!("{process}.tmp"));
    let written = std::fs::File::create(&fresh).and_then(|mut out| writeln!(out, "{process}")).and_then(|()| std::fs::rename(&fresh, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// Takes the pid file away, unless a successor has written its own.
pub(super) fn remove_pid(file: &Path) {
    if std::fs::read_to_string(file).is_ok_and(|text| text.trim() == std::process::id().to_string()) {
        let _ = std::fs::remove_file(file);
    }
}

/// Tells the service manager, if there is one.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("cannot notify the service manager: {error}");
    }
}

/// Tells the service manager how a reload goes; one that asked for it waits for the end.
pub(super) fn tell_reload(progress: Progress) {
    match progress {
        Progress::Begun => {
            let now = NotifyState::monotonic_usec_now().inspect_err(|error| warn!("cannot read the monotonic clock: {error}")).ok();
            tell(&[Some(NotifyState::Reloading), now].into_iter().flatten().collect::<Vec<_>>());
        }
        Progress::Ended => tell(&[NotifyState::Ready]),
    }
}

/// Ends a process that was told to stop once its last request has ended.
pub(super) struct Drain {
    pub(super) shared: Arc<Shared>,
    pub(super) pid_file: PathBuf,
    /// A successor has taken over: nobody has sent a TERM yet.
    pub(super) handed_over: Arc<AtomicBool>,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.wait_for(|stopping| *stopping).await.is_err() {
            return;
        }
        remove_pid(&self.pid_file);
        info!("stopping: {} requests are in flight", self.shared.metrics.in_flight());
        // Pingora has stopped listening to signals by now; whoever sends another one will not wait.
        let impatience = async |kind, times| match signal(kind) {
            Ok(mut signal) => {
                for _ in 0..times {
                    signal.recv().await;
                }
            }
            Err(_) => std::future::pending().await,
        };
        // After a hand-over the first TERM asks for what is being done already: a service manager sends it to all processes of the service.
        let terms = if self.handed_over.load(Ordering::Acquire) { 2 } else { 1 };
        tokio::select! {
            () = self.drained() => {}
            () = impatience(SignalKind::interrupt(), 1) => {}
            () = impatience(SignalKind::terminate(), terms) => {}
        }
        self.shared.limits.finish(self.shared.live.now().ledger.clone(), LIMITS_PATIENCE).await;
        finish_audit(&self.shared);
        finish_responses(&self.shared);
        std::process::exit(0);
    }
}

/// Has the audit log written to its end, if the disk takes it.
pub(super) fn finish_audit(shared: &Shared) {
    let left = shared.audit.finish(AUDIT_PATIENCE);
    if left > 0 {
        error!("the audit log has lost {left} lines: they could not be written in time");
    }
}

/// Has responses written that are to be kept, if the disk takes them.
pub(super) fn finish_responses(shared: &Shared) {
    let left = shared.responses.finish(AUDIT_PATIENCE);
    if left > 0 {
        error!("responses of {left} bytes are lost: they could not be written in time");
    }
}

impl Drain {
    /// Ends with the last request; when the time is over, with its last words.
    async fn drained(&self) {
        let pingora = self.shared.live.now().snapshot.process.pingora.clone();
        // In any case: for bytes on their way, and for clients that are about to send a request on a connection that they hold.
        let grace = Duration::from_secs(pingora.grace_period_seconds);
        tokio::time::sleep(grace).await;
        if tokio::time::timeout(Duration::from_secs(pingora.graceful_shutdown_timeout_seconds), self.idle(grace)).await.is_ok() {
            info!("every request has ended");
            return;
        }
        warn!("the time to stop is over: ending {} requests", self.shared.metrics.in_flight());
        self.shared.last_call();
        if tokio::time::timeout(LAST_WORDS, self.idle(Duration::ZERO)).await.is_err() {
            warn!("{} requests did not take their last words", self.shared.metrics.in_flight());
        }
    }

    /// Waits until every client has left, or none has asked for anything for `grace`: who was answered last may be about to ask again.
    async fn idle(&self, grace: Duration) {
        let silent = async {
            let mut silence = Duration::ZERO;
            // A look more: the last bytes of an HTTP/2 answer leave a moment after its request has ended.
            while silence <= grace + LOOK {
                tokio::time::sleep(LOOK).await;
                silence = if self.shared.metrics.in_flight() > 0 { Duration::ZERO } else { silence + LOOK };
            }
        };
        tokio::select! {
            () = self.shared.deserted() => {}
            () = silent => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_listening_socket_is_seen_and_a_stale_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        assert!(!is_listened_to(&path).unwrap());
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_listened_to(&path).unwrap());
        drop(listener);
        assert!(path.exists() && !is_listened_to(&path).unwrap());
    }

    #[test]
    fn sockets_are_handed_over_only_where_nobody_else_can_write() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("run/upgrade.sock");
        make_folder(&socket).unwrap();
        assert_eq!(std::fs::metadata(folder.path().join("run")).unwrap().mode() & 0o777, 0o700);
        check_folder(&socket).unwrap();
        for mode in [0o777, 0o1777, 0o770] {
            std::fs::set_permissions(folder.path().join("run"), Permissions::from_mode(mode)).unwrap();
            assert!(check_folder(&socket).is_err(), "{mode:o}");
        }
    }

    #[test]
    fn a_pid_file_is_taken_away_only_by_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run/adit.pid");
        write_pid(&file, std::process::id()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        write_pid(&file, 1).unwrap();
        remove_pid(&file);
        assert!(file.exists());
        write_pid(&file, std::process::id()).unwrap();
        remove_pid(&file);
        assert!(!file.exists());
    }
}
