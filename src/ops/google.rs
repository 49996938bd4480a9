//! Google's access tokens, kept ready: a request reads one with one atomic load, everything else happens behind its back.
//!
//! Where they come from is the business of two crates: `gcp_auth` exchanges the key of a service account at the key's own token endpoint, `google-cloud-auth`
//! knows the rest (metadata server, workload identity federation, impersonation, gcloud). Not here: any decision about a request.
//!
//! Follows <https://cloud.google.com/docs/authentication/application-default-credentials>.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use gcp_auth::{CustomServiceAccount, TokenProvider as _};
use google_cloud_auth::credentials::{AccessTokenCredentials, Builder, external_account, impersonated, user_account};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::credentials::{Current, backoff};
use crate::provider::vertex::SCOPE;

/// The longest that one exchange may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A token is renewed so long before it expires.
const LEAD: Duration = Duration::from_secs(225);
/// How often a source is asked that renews its tokens itself: it answers from memory.
const ASK: Duration = Duration::from_secs(30);

/// The tokens of one provider.
#[derive(Debug)]
pub struct Store {
    inner: Arc<Inner>,
    /// The background work, once it was started.
    task: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct Inner {
    /// The provider's name, for the log.
    provider: String,
    /// The file with credentials; without one, what the machine has.
    file: Option<PathBuf>,
    current: ArcSwap<Current>,
    /// Counts exchanges, for those who wait for one.
    exchanges: watch::Sender<u64>,
}

/// A source of tokens.
enum Source {
    ServiceAccount(Box<CustomServiceAccount>),
    Other(AccessTokenCredentials),
}

impl Store {
    /// A store without a token; [`Store::spawn`] fetches one.
    #[must_use]
    pub fn new(provider: &str, file: Option<PathBuf>) -> Self {
        let inner = Inner { provider: provider.to_owned(), file, current: ArcSwap::from_pointee(Current::Pending), exchanges: watch::Sender::new(0) };
        Store { inner: Arc::new(inner), task: OnceLock::new() }
    }

    /// The token, if there is one. Lock-free.
    #[must_use]
    pub fn current(&self) -> Current {
        Current::clone(&self.inner.current.load())
    }

    /// Waits for the first exchange, but not past the deadline.
    pub async fn wait_ready(&self, deadline: Instant) -> Current {
        let mut exchanges = self.inner.exchanges.subscribe();
        // Both ways to fail, the deadline and a closed channel, are told by what is current then.
        let _ = tokio::time::timeout_at(deadline, exchanges.wait_for(|count| *count > 0)).await;
        self.current()
    }

    /// Starts the background work, once, in the current tokio runtime. It ends with the store.
    pub fn spawn(&self) {
        self.task.get_or_init(|| tokio::spawn(maintain(Arc::clone(&self.inner))).abort_handle());
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// Fetches, waits, fetches again. A failure keeps the token there is until the far end refuses it.
async fn maintain(inner: Arc<Inner>) {
    let mut failures = 0;
    let mut source = None;
    loop {
        let fetched = match tokio::time::timeout(TIMEOUT, Box::pin(fetch(inner.file.as_deref(), &mut source))).await {
            Ok(fetched) => fetched,
            Err(_) => Err("the source of tokens did not answer in time".to_owned()),
        };
        let pause = match fetched {
            Ok((token, pause)) => {
                failures = 0;
                if !matches!(&**inner.current.load(), Current::Bearer(old) if old.expose() == token) {
                    log::info!("provider {}: a new Google access token", inner.provider);
                    inner.current.store(Arc::new(Current::Bearer(token.as_str().into())));
                }
                pause
            }
            Err(detail) => {
                failures += 1;
                source = None;
                log::warn!("provider {}: no Google access token, attempt {failures}: {detail}", inner.provider);
                if !matches!(**inner.current.load(), Current::Bearer(_)) {
                    inner.current.store(Arc::new(Current::Missing("no Google credentials were found, or they were refused; the log says more".into())));
                }
                backoff(failures, fastrand::f64())
            }
        };
        inner.exchanges.send_modify(|count| *count += 1);
        tokio::time::sleep(pause).await;
    }
}

/// A token, and when to ask for the next.
async fn fetch(file: Option<&Path>, source: &mut Option<Source>) -> Result<(String, Duration), String> {
    let used = match source.take() {
        Some(used) => used,
        None => open(file).await?,
    };
    match used {
        // It keeps its token to the end: a renewal ahead of that begins anew.
        Source::ServiceAccount(account) => {
            let token = account.token(&[SCOPE]).await.map_err(|error| chain(&error))?;
            let left = (token.expires_at().timestamp() - now()).max(0).unsigned_abs();
            let pause = Duration::from_secs(left).saturating_sub(LEAD).max(Duration::from_secs(left) / 2).max(Duration::from_secs(1));
            Ok((token.as_str().to_owned(), pause))
        }
        Source::Other(credentials) => {
            let token = credentials.access_token().await.map_err(|error| chain(&error))?;
            *source = Some(Source::Other(credentials));
            Ok((token.token, ASK))
        }
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Finds the source: the file by its `type`, or what the machine has.
async fn open(file: Option<&Path>) -> Result<Source, String> {
    let built = match file {
        None => Builder::default().with_scopes([SCOPE]).build_access_token_credentials(),
        Some(path) => {
            let text = tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
            // What the parser would say may quote the key.
            let json: Value = serde_json::from_str(&text).map_err(|_| format!("{} is no JSON", path.display()))?;
            match json.get("type").and_then(Value::as_str) {
                Some("service_account") => {
                    return CustomServiceAccount::from_json(&text).map(|account| Source::ServiceAccount(Box::new(account))).map_err(|error| chain(&error));
                }
                Some("authorized_user") => user_account::Builder::new(json).with_scopes([SCOPE]).build_access_token_credentials(),
                Some("external_account") => external_account::Builder::new(json).with_scopes([SCOPE]).build_access_token_credentials(),
                Some("impersonated_service_account") => impersonated::Builder::new(json).with_scopes([SCOPE]).build_access_token_credentials(),
                other => return Err(format!("{} has the type {other:?}, which is not known", path.display())),
            }
        }
    };
    built.map(Source::Other).map_err(|error| chain(&error))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
