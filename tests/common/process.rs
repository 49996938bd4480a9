//! The daemon as a process: what it logs, its pid file, its successors.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::secrets::Secrets;
use super::{Answer, Client, PATIENCE, free_address, healthy};

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a process a signal: `TERM`, `INT`, `QUIT`, `USR2`.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().unwrap();
    assert!(sent.success(), "there is no process {process}");
}

/// A daemon and its successors: they share a folder, a configuration and a log, and end with the test.
pub(crate) struct Daemon {
    files: tempfile::TempDir,
    program: PathBuf,
    env: Vec<(String, String)>,
    pub(crate) address: SocketAddr,
    /// Of the listener with TLS, if it has one.
    pub(crate) https: SocketAddr,
    pub(crate) child: Child,
    /// What it must not tell.
    pub(crate) secrets: Secrets,
}

impl Daemon {
    /// Starts it; `pingora` is added to its section, `extra` to its `adit.yaml`.
    pub(crate) fn start(models: &str, pingora: &str, extra: &str, env: &[(&str, &str)]) -> Daemon {
        Daemon::listening("http: {http}", pingora, extra, env, &[("models.yaml", models)])
    }

    /// Starts it with other listeners, and with files beside its `adit.yaml`. `{http}` and `{https}` in `listen` stand for free addresses.
    pub(crate) fn listening(listen: &str, pingora: &str, extra: &str, env: &[(&str, &str)], beside: &[(&str, &str)]) -> Daemon {
        let files = tempfile::tempdir().unwrap();
        for (name, text) in beside {
            std::fs::write(files.path().join(name), text).unwrap();
        }
        let program = recorder(files.path());
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for _ in 0..20 {
            let (address, https) = (free_address(), free_address());
            let run = files.path().join("run");
            let listen = listen.replace("{http}", &format!("'{address}'")).replace("{https}", &format!("'{https}'"));
            let config = format!(
                "listen: {{ {listen} }}\nmodels: models.yaml\npingora: {{ threads: 2, pid_file: {run}/pid, upgrade_sock: {run}/sock, {pingora} }}\n{extra}\n",
                run = run.display()
            );
            std::fs::write(files.path().join("adit.yaml"), &config).unwrap();
            let mut child = command(files.path(), &program, &env, &[]).spawn().unwrap();
            let pid = run.join("pid");
            // Where nobody listens in the clear, the pid file tells.
            if config.contains("http: null") || healthy(&mut child, address) {
                until("it serves or has ended", || pid.exists() || child.try_wait().unwrap().is_some());
            }
            if std::fs::read_to_string(&pid).is_ok_and(|text| text.trim() == child.id().to_string()) {
                return Daemon { files, program, env, address, https, child, secrets: Secrets::default() };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the daemon did not start: {}", std::fs::read_to_string(files.path().join("log")).unwrap_or_default());
    }

    /// Puts a new file in the place of one of its files, as a whole.
    pub(crate) fn rewrite(&self, name: &str, text: &str) {
        std::fs::write(self.path("fresh"), text).unwrap();
        std::fs::rename(self.path("fresh"), self.path(name)).unwrap();
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Starts another process over the same configuration.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        command(self.files.path(), &self.program, &self.env, arguments).spawn().unwrap()
    }

    /// What it is started with.
    pub(crate) fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// The process that the pid file names.
    pub(crate) fn pid_file(&self) -> Option<u32> {
        std::fs::read_to_string(self.path("run/pid")).ok()?.trim().parse().ok()
    }

    /// What all processes have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    pub(crate) fn wait_log(&self, text: &str) {
        until(&format!("{text:?} is logged"), || self.log().contains(text));
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for the first process to end by itself; its exit code.
    pub(crate) fn wait_exit(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Waits for a successor that the daemon started itself to end; its exit code.
    pub(crate) fn wait_successor(&self) -> i32 {
        until("the successor ends", || self.path("exit").exists());
        std::fs::read_to_string(self.path("exit")).unwrap().trim().parse().unwrap()
    }

    /// One POST on a new plain connection, with its answer.
    pub(crate) fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        let mut client = self.connect();
        client.call("POST", path, headers, body.as_bytes());
        client.answer()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::noting(TcpStream::connect(self.address).unwrap(), &self.secrets)
    }

    /// Waits until nobody listens any more.
    pub(crate) fn wait_refused(&self) {
        until("nobody listens", || TcpStream::connect(self.address).is_err());
    }

    /// Whether it answers.
    pub(crate) fn is_healthy(&self) -> bool {
        let mut client = self.connect();
        client.call("GET", "/health", "connection: close\r\n", b"");
        client.answer().status == 200
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().filter(|line| !line.contains(" DEBUG ")).collect();
            eprintln!("the last lines of the log:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A successor that the daemon started is nobody's child here. Its number may be another's by now.
        if let Some(process) = self.pid_file() {
            let program = std::fs::read_link(format!("/proc/{process}/exe"));
            if program.is_ok_and(|program| program == Path::new(env!("CARGO_BIN_EXE_adit"))) {
                let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
            }
        }
    }
}

/// A program by whose name the daemon is called and which starts it: what a daemon starts itself is this, and its exit code is written down.
fn recorder(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let program = folder.join("adit");
    let script = format!(
        "#!/bin/sh\n'{}' \"$@\"\necho $? > '{folder}/code'\nmv '{folder}/code' '{folder}/exit'\n",
        env!("CARGO_BIN_EXE_adit"),
        folder = folder.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn command(folder: &Path, program: &Path, env: &[(String, String)], arguments: &[&str]) -> Command {
    use std::os::unix::process::CommandExt as _;
    let log: File = OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command
        .arg0(program)
        .arg("-c")
        .arg(folder.join("adit.yaml"))
        .args(arguments)
        .env_clear()
        .env("RUST_LOG", "warn,adit=info,access=off")
        .env("RUST_BACKTRACE", "1");
    command.env("PATH", "/usr/bin:/bin").envs(env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

/// A stand-in for Bedrock in this process, for the time of a test. What is given back ends it.
pub(crate) fn sandbox() -> (SocketAddr, tokio::runtime::Runtime) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let options = adit::sandbox::Options { remembered_requests: 0, ..adit::sandbox::Options::default() };
        adit::sandbox::serve(listener, options, std::future::pending::<()>()).await;
    });
    (address, runtime)
}
