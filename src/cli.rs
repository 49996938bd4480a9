//! The command line; wires configuration, background work and the proxy into one Pingora server.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use clap::{Args, Parser, Subcommand};
use log::{info, warn};
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};

use crate::chat::capability::Capabilities;
use crate::config;
use crate::config::snapshot::{Model, Snapshot};
use crate::ops::access_log;
use crate::ops::metrics::Metrics;
use crate::ops::upstreams::Upstreams;
use crate::proxy::{self, Current, Gateway, Shared};
use crate::sandbox;

/// The gateway's own words, quiet about its host's.
const DEFAULT_LOG: &str = "warn,adit=info,access=info";
/// Bad usage or a bad configuration.
const EXIT_USAGE: u8 = 2;
/// The model that the demo's banner asks.
const DEMO_MODEL: &str = "claude-3-haiku";
/// The pause between two looks at the requests in flight of a process that is to stop.
const DRAIN_LOOK: Duration = Duration::from_millis(100);
/// The region that the demo signs for; the stand-in takes any.
const DEMO_REGION: &str = "us-east-1";

/// An AI gateway: any OpenAI, Anthropic or AWS Bedrock client talks to any model provider.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default)
    Serve(Serve),
    /// Run the gateway with a Bedrock stand-in behind it: no AWS account, no network
    Demo,
    /// Print what Adit believes of each model of the map, and why: the rows of the capability table and what the map overrides
    Models {
        /// The configuration file; without one, as `serve` finds it
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Only these: names or aliases of the map, or ids of a provider's own
        #[arg(value_name = "MODEL")]
        names: Vec<String>,
    },
    /// Run the Bedrock stand-in alone
    Sandbox {
        /// Where to listen
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
        listen: String,
    },
}

#[derive(Debug, Default, Args)]
struct Serve {
    /// The configuration file; without one, ADIT_CONFIG, else `conf/adit.yaml` if it is there, else the built-in one
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, print every mistake, and exit
    #[arg(short, long)]
    test: bool,
    /// Run in the background
    #[arg(short, long)]
    daemon: bool,
    /// Take over the sockets of the running process
    #[arg(short, long)]
    upgrade: bool,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    // Two crates of the tree could each bring a TLS provider; there is one.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        warn!("a TLS provider was installed before");
    }
    match cli.command {
        None => serve(&cli.serve),
        Some(Command::Serve(options)) => serve(&options),
        Some(Command::Demo) => demo(),
        Some(Command::Models { config, names }) => models(config.as_deref(), &names),
        Some(Command::Sandbox { listen }) => stand_in(&listen),
    }
}

fn log_to_stderr() {
    let mut plain = env_logger::fmt::ConfigurableFormat::default();
    plain.timestamp(Some(env_logger::TimestampPrecision::Millis));
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(DEFAULT_LOG))
        .format(move |out, record| {
            // A machine reads these lines: nothing stands before the object, which has the time in it.
            if record.target() == access_log::JSON_TARGET { writeln!(out, "{}", record.args()) } else { plain.format(out, record) }
        })
        .init();
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Prints to standard output; a closed pipe is nobody's mistake.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn serve(options: &Serve) -> ExitCode {
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
    start(snapshot, options, Vec::new())
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

/// Prints what is believed of models.
fn models(config: Option<&Path>, names: &[String]) -> ExitCode {
    let snapshot = match config::load_from_process(config) {
        Ok(snapshot) => snapshot,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let map = &snapshot.models;
    let mut out = String::new();
    if names.is_empty() {
        map.models.iter().for_each(|model| capabilities(model, &mut out));
    }
    for name in names {
        match map.find(name) {
            Some(model) => capabilities(model, &mut out),
            None => believed(name, &Capabilities::find(name), None, &mut out),
        }
    }
    say(out.trim_end());
    ExitCode::SUCCESS
}

/// What is believed of the targets of a model.
fn capabilities(model: &Model, out: &mut String) {
    for target in &model.targets {
        let title = format!("{} → {}: {}", model.name, target.provider.name, target.model);
        believed(&title, &Capabilities::find(target.family_id()), Some(&target.capabilities), out);
    }
}

/// The row of the table for a model, and how the map's word differs from it.
fn believed(title: &str, row: &(&'static str, Capabilities), overridden: Option<&Capabilities>, out: &mut String) {
    use std::fmt::Write as _;
    let (pattern, table) = row;
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{title}\n  row: {pattern}");
    let table = table.describe();
    let own = overridden.map_or_else(|| table.clone(), Capabilities::describe);
    for ((name, value), (_, of_table)) in own.iter().zip(&table) {
        let source = if value == of_table { String::new() } else { format!("   # models.yaml; the table says {of_table}") };
        let _ = writeln!(out, "  {name}: {value}{source}");
    }
    out.push('\n');
}

/// A part of the process that runs beside the proxy.
type Beside = Box<dyn FnOnce(&mut Server) + Send>;

fn start(snapshot: Snapshot, options: &Serve, beside: Vec<Beside>) -> ExitCode {
    let process = &snapshot.process;
    let listen = process.http.clone();
    let pingora = &process.pingora;
    let conf = ServerConf {
        daemon: options.daemon,
        pid_file: pingora.pid_file.display().to_string(),
        upgrade_sock: pingora.upgrade_sock.display().to_string(),
        threads: if pingora.threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { pingora.threads },
        // Pingora would sleep through the grace period and then drop every request that still runs. [`Drain`] ends the process earlier, or here at the latest.
        grace_period_seconds: Some(pingora.grace_period_seconds + pingora.graceful_shutdown_timeout_seconds),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let Some(listen) = listen else {
        complain("listen.http: there is nothing to listen on");
        return ExitCode::from(EXIT_USAGE);
    };
    // Pingora would panic over it in the background, where nobody sees it.
    if options.daemon
        && let Err(error) = writable(&pingora.pid_file)
    {
        complain(&format!("pingora.pid_file: cannot write {}: {error}", pingora.pid_file.display()));
        return ExitCode::FAILURE;
    }
    if !options.upgrade
        && let Err(error) = TcpListener::bind(&listen)
    {
        complain(&format!("cannot listen on {listen}: {error}"));
        return ExitCode::FAILURE;
    }
    let metrics = match Metrics::new() {
        Ok(metrics) => metrics,
        Err(error) => {
            complain(&format!("cannot set up metrics: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let pingora_grace = pingora.grace_period_seconds;
    let upstreams = Upstreams::new(&snapshot.models);
    let shared = Arc::new(Shared::new(Current { snapshot: Arc::new(snapshot), upstreams }, metrics));

    let drain = Drain { shared: Arc::clone(&shared), grace: Duration::from_secs(pingora_grace) };

    let mut server = Server::new_with_opt_and_conf(Opt { upgrade: options.upgrade, daemon: options.daemon, ..Opt::default() }, conf);
    server.bootstrap();
    for part in beside {
        part(&mut server);
    }
    server.add_service(background_service("upstreams", KeepUpstreams { shared: Arc::clone(&shared) }));
    server.add_service(background_service("drain", drain));
    let mut proxy = proxy::service(&server.configuration, Gateway::new(shared));
    proxy.add_tcp(&listen);
    info!("listening on http://{listen}");
    server.add_service(proxy);
    server.run_forever()
}

/// Makes sure that a file can be written, its folder included; leaves a file that is there as it is.
fn writable(file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(_) => std::fs::remove_file(file),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => std::fs::OpenOptions::new().append(true).open(file).map(drop),
        Err(error) => Err(error),
    }
}

/// Credentials and addresses, kept fresh beside the proxy.
struct KeepUpstreams {
    shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for KeepUpstreams {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let current = self.shared.current.load_full();
        tokio::select! {
            () = current.upstreams.background() => {}
            _ = shutdown.changed() => {}
        }
    }
}

/// Ends a process that was told to stop once its last request has ended.
struct Drain {
    shared: Arc<Shared>,
    /// How long to stay in any case: for last bytes on their way, and requests that were being read.
    grace: Duration,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        use tokio::signal::unix::{SignalKind, signal};

        if shutdown.wait_for(|stopping| *stopping).await.is_err() {
            return;
        }
        let drained = async {
            tokio::time::sleep(self.grace).await;
            // Twice: the last bytes of an HTTP/2 answer leave a moment after its request has ended.
            let mut idle = 0;
            while idle < 2 {
                tokio::time::sleep(DRAIN_LOOK).await;
                idle = if self.shared.metrics.in_flight() > 0 { 0 } else { idle + 1 };
            }
        };
        // Pingora has stopped listening to signals by now; whoever sends another one will not wait.
        let impatience = async |kind| match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        };
        tokio::select! {
            () = drained => info!("every request has ended"),
            () = impatience(SignalKind::interrupt()) => {}
            () = impatience(SignalKind::terminate()) => {}
        }
        std::process::exit(0);
    }
}

/// The stand-in as a service of the same server.
struct StandIn {
    /// Taken when the service starts.
    listener: Mutex<Option<TcpListener>>,
}

#[async_trait]
impl BackgroundService for StandIn {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listener) = listener.and_then(|listener| tokio::net::TcpListener::from_std(listener).ok()) else {
            return;
        };
        // The gateway's last requests need it to the end of the process.
        sandbox::serve(listener, sandbox::Options::default(), std::future::pending::<()>()).await;
    }
}

fn bind(address: &str) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn demo() -> ExitCode {
    let (listener, upstream) = match bind("127.0.0.1:0") {
        Ok(bound) => bound,
        Err(error) => {
            complain(&format!("cannot start the sandbox: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // The embedded configuration over the stand-in, whatever account this shell may hold credentials for.
    let env = move |name: &str| match name {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME" => Some(format!("http://{upstream}")),
        "AWS_REGION" => Some(DEMO_REGION.to_owned()),
        "AWS_ACCESS_KEY_ID" => Some(sandbox::ACCESS_KEY_ID.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(sandbox::SECRET_ACCESS_KEY.to_owned()),
        "ADIT_LISTEN" => environment(name),
        _ => None,
    };
    let snapshot = match config::load_embedded(&env) {
        Ok(snapshot) => snapshot,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Some(listen) = &snapshot.process.http {
        say(&banner(listen, upstream));
    }
    let service = StandIn { listener: Mutex::new(Some(listener)) };
    let beside: Beside = Box::new(move |server| {
        server.add_service(background_service("sandbox", service));
    });
    start(snapshot, &Serve::default(), vec![beside])
}

fn banner(listen: &str, upstream: SocketAddr) -> String {
    format!(
        r#"
  Adit demo: the gateway, with a Bedrock stand-in behind it. No AWS account, no network.

    gateway   http://{listen}/v1
    sandbox   http://{upstream}

  Paste this into another terminal:

    curl -N http://{listen}/v1/chat/completions -H 'content-type: application/json' \
      -d '{{"model":"{DEMO_MODEL}","stream":true,"messages":[{{"role":"user","content":"What is an adit?"}}]}}'

  or point any OpenAI SDK at it:

    export OPENAI_BASE_URL=http://{listen}/v1 OPENAI_API_KEY=anything

  or Anthropic's, or boto3:

    export ANTHROPIC_BASE_URL=http://{listen} ANTHROPIC_API_KEY=anything
    export AWS_ENDPOINT_URL_BEDROCK_RUNTIME=http://{listen}

  Ctrl-C ends it.
"#
    )
}

fn stand_in(listen: &str) -> ExitCode {
    let run = || -> std::io::Result<()> {
        let (listener, address) = bind(listen)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            say(&format!("sandbox on http://{address}"));
            sandbox::serve(listener, sandbox::Options::default(), async {
                // Without a signal handler the process ends by the signal itself.
                let _ = tokio::signal::ctrl_c().await;
            })
            .await;
            Ok(())
        })
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot run the sandbox on {listen}: {error}"));
            ExitCode::FAILURE
        }
    }
}
