//! `adit serve`: wires configuration, background work and the proxy into one Pingora server.

use std::net::TcpListener;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use log::{error, info, warn};
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server, ShutdownWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::{BackgroundService, background_service};

use super::process::{Drain, Ready, Restart, Signals, check_folder, finish_audit, finish_responses, make_folder, remove_pid, tell_reload, writable};
use super::{EXIT_USAGE, Serve, complain, environment, say};
use crate::config;
use crate::config::snapshot::{Process, Snapshot};
use crate::ops::audit;
use crate::ops::live::Current;
use crate::ops::metrics::Metrics;
use crate::ops::reload::Reloader;
use crate::ops::state;
use crate::proxy::{self, Shared};

/// For the host: for ever. [`Drain`] ends the process earlier.
const NEVER_SECONDS: u64 = 10 * 365 * 86_400;
/// More than any model has targets: Pingora's bound on the tries of a request. Adit has its own.
const MOST_TRIES: usize = 256;

/// Runs the gateway, or checks its configuration.
pub(super) fn serve(options: &Serve) -> ExitCode {
    let snapshot = match config::load_from_process(options.config.as_deref()) {
        Ok(snapshot) => snapshot,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    for note in snapshot.notes() {
        warn!("{note}");
    }
    if options.test {
        say(&describe(&snapshot));
        return ExitCode::SUCCESS;
    }
    // A daemon leaves its folder; a reload must find the file all the same.
    let file = config::find_in_process(options.config.as_deref()).and_then(|path| std::path::absolute(path).ok());
    start(snapshot, file, options, Vec::new())
}

/// What `adit -t` prints of a good configuration.
fn describe(snapshot: &Snapshot) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("the configuration is good\n");
    for model in &snapshot.models.models {
        // Writing to a string cannot fail.
        let _ = write!(out, "  {}", model.name);
        for alias in &model.aliases {
            let _ = write!(out, " = {alias}");
        }
        for target in &model.targets {
            let state = if target.provider.unavailable().is_none() { "" } else { " (not configured)" };
            let _ = write!(out, "\n    {}: {}{state}", target.provider.name, target.model);
        }
        out.push('\n');
    }
    let _ = write!(out, "{} models, {} providers", snapshot.models.models.len(), snapshot.models.providers.len());
    out
}

/// A part of the process that runs beside the proxy.
pub(super) type Beside = Box<dyn FnOnce(&mut Server) + Send>;

/// Serves until a signal ends it. `file` is what a reload reads; `None` for the embedded configuration.
pub(super) fn start(snapshot: Snapshot, file: Option<PathBuf>, options: &Serve, beside: Vec<Beside>) -> ExitCode {
    let process = snapshot.process.clone();
    let Some(listen) = process.http.as_ref().or_else(|| process.https.as_ref().map(|https| &https.address)).cloned() else {
        complain("listen.http: there is nothing to listen on");
        return ExitCode::from(EXIT_USAGE);
    };
    if let Err(trouble) = check(&process, options) {
        complain(&trouble);
        return ExitCode::FAILURE;
    }
    let metrics = match Metrics::new() {
        Ok(metrics) => metrics,
        Err(error) => {
            complain(&format!("cannot set up metrics: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let state = state::folder(&process, environment("STATE_DIRECTORY").as_deref(), file.as_deref());
    let shared = Arc::new(Shared::new(Current::new(snapshot), metrics));
    keep_sessions(&shared, &process, state.as_deref());
    if let Some(state) = &state {
        shared.limits.open(state.clone());
    }
    let restart = if beside.is_empty() {
        Restart::new(file.as_deref()).inspect_err(|error| warn!("USR2 will not start a successor: {error}")).ok()
    } else {
        // What runs beside the proxy has sockets that are not handed over.
        None
    };

    let handed_over = Arc::new(AtomicBool::new(false));
    let opt = Opt { upgrade: options.upgrade, daemon: options.daemon, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(opt, host_conf(&process, options.daemon));
    server.bootstrap();
    for part in beside {
        part(&mut server);
    }
    let pid_file = process.pingora.pid_file.clone();
    let keep = server.add_service(background_service("configuration", KeepConfiguration { shared: Arc::clone(&shared), file, state }));
    server.add_service(background_service("drain", Drain { shared: Arc::clone(&shared), pid_file: pid_file.clone(), handed_over: Arc::clone(&handed_over) }));
    let tls = process.https.as_ref().map(|https| proxy::tls::settings(&shared).map(|settings| (&https.address, settings)));
    let mut proxy = proxy::service(&server.configuration, Arc::clone(&shared));
    if let Some(listen) = &process.http {
        proxy.add_tcp(listen);
        info!("listening on http://{listen}");
    }
    match tls {
        Some(Ok((listen, settings))) => {
            proxy.add_tls_with_settings(listen, None, settings);
            info!("listening on https://{listen}");
        }
        Some(Err(error)) => {
            complain(&format!("listen.https: {error}"));
            return ExitCode::FAILURE;
        }
        None => {}
    }
    let proxy = server.add_service(proxy);
    // No request before there is an audit log for it.
    proxy.add_dependency(&keep);
    server.add_service(background_service("ready", Ready { pid_file: pid_file.clone(), listen })).add_dependencies([proxy, keep]);
    server.run(RunArgs { shutdown_signal: Box::new(Signals { upgrade_sock: process.pingora.upgrade_sock, restart, handed_over }) });
    // Only INT leads here: every other end is the drain's.
    finish_audit(&shared);
    finish_responses(&shared);
    remove_pid(&pid_file);
    ExitCode::SUCCESS
}

/// Sessions outlive the process where there is a place for what signs them.
fn keep_sessions(shared: &Shared, process: &Process, state: Option<&Path>) {
    if !process.auth.enabled || process.auth.session_secret.is_some() {
        return;
    }
    let Some(folder) = state else {
        return warn!("sessions end with the process: there is no `state_dir` for the key that signs them, and no auth.session.secret");
    };
    match state::session_key(folder) {
        Ok(key) => shared.keep_session_key(key),
        Err(error) => warn!("sessions end with the process: {}: {error}", folder.display()),
    }
}

/// What has to be true before the host starts: it would panic where nobody sees it, or serve and not say what is wrong.
fn check(process: &Process, options: &Serve) -> Result<(), String> {
    if let Some(audit) = &process.audit {
        audit::check(audit).map_err(|error| format!("audit.path: cannot write {}: {error}", audit.path.display()))?;
    }
    let pingora = &process.pingora;
    if options.daemon {
        writable(&pingora.pid_file).map_err(|error| format!("pingora.pid_file: cannot write {}: {error}", pingora.pid_file.display()))?;
    }
    if options.upgrade {
        let socket = &pingora.upgrade_sock;
        make_folder(socket)
            .and_then(|()| check_folder(socket))
            .and_then(|()| SocketAddr::from_pathname(socket).map(drop))
            .map_err(|error| format!("pingora.upgrade_sock: {}: {error}", socket.display()))?;
    } else {
        // Held together: they must not be the same.
        let listeners = process.http.iter().chain(process.https.as_ref().map(|https| &https.address));
        let bound: Result<Vec<_>, _> =
            listeners.map(|listen| TcpListener::bind(listen).map_err(|error| format!("cannot listen on {listen}: {error}"))).collect();
        drop(bound?);
    }
    Ok(())
}

fn host_conf(process: &Process, daemon: bool) -> ServerConf {
    let pingora = &process.pingora;
    ServerConf {
        daemon,
        pid_file: pingora.pid_file.display().to_string(),
        upgrade_sock: pingora.upgrade_sock.display().to_string(),
        threads: if pingora.threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { pingora.threads },
        // Pingora would sleep through the grace period and then drop every request that still runs.
        grace_period_seconds: Some(NEVER_SECONDS),
        graceful_shutdown_timeout_seconds: Some(0),
        max_retries: MOST_TRIES,
        ..ServerConf::default()
    }
}

/// The configuration in force: credentials and addresses kept fresh beside the proxy, and reloads.
struct KeepConfiguration {
    shared: Arc<Shared>,
    /// `None` for the embedded configuration.
    file: Option<PathBuf>,
    /// What outlives the process lies there.
    state: Option<PathBuf>,
}

#[async_trait]
impl BackgroundService for KeepConfiguration {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        self.shared.live.now().spawn();
        // Not before: a thread would not outlive the fork of a daemon.
        if let Err(error) = self.shared.audit.follow(self.shared.live.now().snapshot.process.audit.as_ref()) {
            error!("no audit log is written: {error}");
        }
        let shared = Arc::clone(&self.shared);
        if let Err(error) = self.shared.responses.open(self.state.clone(), self.shared.live.now().snapshot.process.redis.clone()) {
            error!("no responses are kept: {error}");
        }
        tokio::spawn(Arc::clone(&self.shared.limits).keep_saving(move || shared.live.now().ledger.clone()));
        let mut reloader = Reloader::new(self.file.clone(), &self.shared.live, &self.shared.metrics, &self.shared.audit, tell_reload);
        // From here on a SIGHUP is no end: the pid file may be written.
        ready.notify_ready();
        tokio::select! {
            () = reloader.run() => {}
            _ = shutdown.wait_for(|stopping| *stopping) => {}
        }
        // The tasks of the upstreams live in this service's runtime, which ends with the process.
        std::future::pending::<()>().await;
    }
}
