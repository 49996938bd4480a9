//! The command line.
//!
//! ```text
//! serve    configuration → one Pingora server          process  signals, successor, drain, service manager
//! demo     the same over the stand-in; the stand-in alone       models, health   questions, answered at once
//! ```

mod access;
mod demo;
mod health;
mod models;
mod pair;
mod process;
mod serve;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use log::warn;

use crate::ops::access_log;

/// The gateway's own words, quiet about its host's. Those who watch files warn of every watched folder that goes, as kubelet's do.
const DEFAULT_LOG: &str = "warn,adit=info,access=info,notify=error";
/// Bad usage or a bad configuration.
const EXIT_USAGE: u8 = 2;

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
    /// Ask the gateway of this machine whether it is alive: exit code 0 if it is, 1 if not. For health checks of containers
    Health {
        /// The configuration file that says where it listens; without one, as `serve` finds it
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Ask there instead: http://host:port, with or without a path
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Print what Adit believes of each model of the map, and why: the rows of the capability table and what the map overrides
    Models {
        /// The configuration file; without one, as `serve` finds it
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Only these: names or aliases of the map, or ids of a provider's own
        #[arg(value_name = "MODEL")]
        names: Vec<String>,
    },
    /// Keys of users
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Second factors of users
    Totp {
        #[command(subcommand)]
        command: TotpCommand,
    },
    /// Run the Bedrock stand-in alone
    Sandbox {
        /// Where to listen
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
        listen: String,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print a new key, once, and its line for keys.yaml
    New {
        /// The user
        name: String,
        /// A key pair for a client that signs its requests, as the SDKs of AWS do
        #[arg(long)]
        sigv4: bool,
    },
}

#[derive(Debug, Subcommand)]
enum TotpCommand {
    /// Print a QR code for an authenticator app, its URL, and what goes into keys.yaml
    New {
        /// The user
        name: String,
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
        None => serve::serve(&cli.serve),
        Some(Command::Serve(options)) => serve::serve(&options),
        Some(Command::Demo) => demo::demo(),
        Some(Command::Health { config, url }) => health::health(config.as_deref(), url.as_deref()),
        Some(Command::Models { config, names }) => models::models(config.as_deref(), &names),
        Some(Command::Key { command: KeyCommand::New { name, sigv4: true } }) => pair::new(&name),
        Some(Command::Key { command: KeyCommand::New { name, sigv4: false } }) => access::new_key(&name),
        Some(Command::Totp { command: TotpCommand::New { name } }) => access::new_totp(&name),
        Some(Command::Sandbox { listen }) => demo::stand_in(&listen),
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
