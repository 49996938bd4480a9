//! `adit demo` and `adit sandbox`: the Bedrock stand-in, with a gateway in front of it or alone.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::{BackgroundService, background_service};

use super::serve::{Beside, start};
use super::{EXIT_USAGE, Serve, complain, environment, say};
use crate::{config, sandbox};

/// The model that the demo's banner asks.
const DEMO_MODEL: &str = "claude-3-haiku";
/// The region that the demo signs for; the stand-in takes any.
const DEMO_REGION: &str = "us-east-1";

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

pub(super) fn demo() -> ExitCode {
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
    start(snapshot, None, &Serve::default(), vec![beside])
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

pub(super) fn stand_in(listen: &str) -> ExitCode {
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
