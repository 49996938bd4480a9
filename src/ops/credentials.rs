//! AWS credentials, kept ready: a request reads them with one atomic load, everything else happens behind its back.
//!
//! ```text
//! Pending ──first answer──▶ Ready ──refresh ahead of expiry──▶ Ready
//!    │                        │ refresh fails: the old ones stay while they are valid, retries back off
//!    └──failure──▶ Missing ◀──┘ expired without new ones
//! Bearer, and keys that stand in the configuration: ready from the start, for ever
//! ```
//!
//! The chain itself (environment, profile with SSO, web identity, container, instance metadata) is `aws-config`'s. It is built anew for every refresh, so rotated
//! files are seen. Not here: signing, and any decision about a request.
//!
//! Follows <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_config::BehaviorVersion;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::Provider as Tls;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_types::region::Region;
use aws_types::sdk_config::SharedHttpClient;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::Secret;
use crate::config::snapshot::{AwsCredentials, AwsSource, Bedrock, ModelMap, Provider};

/// The longest that one resolution may take, its own retries included: the slowest honest one is SSO or STS over a bad line.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Credentials are renewed at least so long before they expire, if they live long enough for that.
const LEAD: Duration = Duration::from_secs(300);

/// How often credentials without an expiry are read again: somebody may have rotated the file they come from.
const REREAD: Duration = Duration::from_secs(300);

/// Bounds of the pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The longest pause between two looks at the wall clock: a machine that slept has other ideas of time than a timer.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// Name of the sessions that assumed roles show in CloudTrail.
const SESSION_NAME: &str = "adit";

/// What a request can be signed with, now.
#[derive(Clone)]
pub enum Current {
    /// Sign with these.
    Ready(Arc<Credentials>),
    /// Send this token, sign nothing.
    Bearer(Secret),
    /// Send this key, in the provider's own header.
    Key(Secret),
    /// Nothing is needed.
    Open,
    /// The first resolution is under way: see [`Store::wait_ready`].
    Pending,
    /// There are none, and why: safe to show.
    Missing(Arc<str>),
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Current::Ready(_) => f.write_str("Ready(***)"),
            Current::Bearer(_) => f.write_str("Bearer(***)"),
            Current::Key(_) => f.write_str("Key(***)"),
            Current::Open => f.write_str("Open"),
            Current::Pending => f.write_str("Pending"),
            Current::Missing(reason) => write!(f, "Missing({reason})"),
        }
    }
}

/// The credentials of one provider.
#[derive(Debug)]
pub struct Store {
    inner: Arc<Inner>,
    /// The background work, once it was started.
    task: OnceLock<AbortHandle>,
}

struct Inner {
    /// The provider's name, for the log.
    provider: String,
    config: AwsCredentials,
    region: String,
    current: ArcSwap<Current>,
    /// Why the last resolution failed, even while older credentials still serve.
    trouble: ArcSwapOption<String>,
    /// Counts resolutions, for those who wait for one.
    resolutions: watch::Sender<u64>,
    /// Made on first use: it reads the machine's root certificates.
    http: OnceLock<SharedHttpClient>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("provider", &self.provider).field("config", &self.config).field("current", &self.current).finish_non_exhaustive()
    }
}

impl Store {
    /// A store for a provider; static credentials are ready at once, others once [`Store::spawn`] has worked for a while.
    #[must_use]
    pub fn new(provider: &str, bedrock: &Bedrock) -> Self {
        let config = bedrock.credentials.clone();
        let current = match (&config.source, &config.role) {
            (AwsSource::Bearer(token), _) => Current::Bearer(token.clone()),
            (AwsSource::Keys { .. }, None) => static_keys(&config.source).map_or(Current::Pending, |keys| Current::Ready(Arc::new(keys))),
            _ => Current::Pending,
        };
        let settled = u64::from(!matches!(current, Current::Pending));
        let inner = Inner {
            provider: provider.to_owned(),
            region: bedrock.region.clone(),
            config,
            current: ArcSwap::from_pointee(current),
            trouble: ArcSwapOption::empty(),
            resolutions: watch::Sender::new(settled),
            http: OnceLock::new(),
        };
        Store { inner: Arc::new(inner), task: OnceLock::new() }
    }

    /// What a request can be signed with. Lock-free.
    #[must_use]
    pub fn current(&self) -> Current {
        Current::clone(&self.inner.current.load())
    }

    /// Waits for the first resolution, but not past the deadline: for requests that come right after the start.
    pub async fn wait_ready(&self, deadline: Instant) -> Current {
        let mut resolutions = self.inner.resolutions.subscribe();
        // Both ways to fail, the deadline and a closed channel, are told by what is current then.
        let _ = tokio::time::timeout_at(deadline, resolutions.wait_for(|count| *count > 0)).await;
        self.current()
    }

    /// Why the last resolution failed, even while older credentials still serve; safe to show.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.inner.trouble.load_full()
    }

    /// Starts the background work, once, in the current tokio runtime. It ends with the store.
    pub fn spawn(&self) {
        if self.inner.is_static() {
            return;
        }
        self.task.get_or_init(|| tokio::spawn(maintain(Arc::clone(&self.inner))).abort_handle());
    }

    fn serves(&self, bedrock: &Bedrock) -> bool {
        self.inner.config == bedrock.credentials && self.inner.region == bedrock.region
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The stores of all Bedrock providers of a configuration.
#[derive(Debug, Default)]
pub struct Stores {
    by_provider: BTreeMap<String, Arc<Store>>,
}

impl Stores {
    /// Stores for every Bedrock provider. Nothing runs before [`Stores::spawn`].
    #[must_use]
    pub fn new(map: &ModelMap) -> Self {
        Stores::default().renewed(map)
    }

    /// Stores for another configuration: those whose provider did not change stay as they are, credentials and background work included.
    #[must_use]
    pub fn renewed(&self, map: &ModelMap) -> Self {
        let bedrock = map.providers.values().filter_map(|provider| provider.bedrock().map(|bedrock| (&provider.name, bedrock)));
        let store = |name: &String, bedrock| match self.by_provider.get(name) {
            Some(store) if store.serves(bedrock) => Arc::clone(store),
            _ => Arc::new(Store::new(name, bedrock)),
        };
        Stores { by_provider: bedrock.map(|(name, bedrock)| (name.clone(), store(name, bedrock))).collect() }
    }

    /// Starts the background work of every store that does not run yet, in the current tokio runtime.
    pub fn spawn(&self) {
        for store in self.by_provider.values() {
            store.spawn();
        }
    }

    /// The store of a provider, by name.
    #[must_use]
    pub fn get(&self, provider: &str) -> Option<&Arc<Store>> {
        self.by_provider.get(provider)
    }

    /// All stores, by the name of their provider.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Store)> {
        self.by_provider.iter().map(|(name, store)| (name.as_str(), store.as_ref()))
    }

    /// Whether a request for the provider has a chance: it has credentials, or may get some in a moment. Lock-free.
    #[must_use]
    pub fn usable(&self, provider: &Provider) -> bool {
        self.get(&provider.name).is_some_and(|store| !matches!(**store.inner.current.load(), Current::Missing(_)))
    }
}

/// Resolves, waits, resolves again.
async fn maintain(inner: Arc<Inner>) {
    let mut failures = 0;
    loop {
        let pause = match inner.resolve().await {
            Ok(credentials) => {
                failures = 0;
                inner.accept(credentials)
            }
            Err(trouble) => {
                failures += 1;
                inner.reject(&trouble, failures)
            }
        };
        inner.resolutions.send_modify(|count| *count += 1);
        sleep_until(SystemTime::now() + pause).await;
    }
}

/// Sleeps by the wall clock, which is what expiry is measured with.
async fn sleep_until(due: SystemTime) {
    while let Ok(left) = due.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(CLOCK_CHECK)).await;
    }
}

/// Why there are no new credentials.
struct Trouble {
    /// For everybody: no account, host or path.
    public: &'static str,
    /// For the log.
    detail: String,
}

impl Inner {
    fn is_static(&self) -> bool {
        match self.config.source {
            AwsSource::Bearer(_) => true,
            AwsSource::Keys { .. } => self.config.role.is_none(),
            AwsSource::Default | AwsSource::Profile(_) => false,
        }
    }

    async fn resolve(&self) -> Result<Credentials, Trouble> {
        // The SDK's futures are large; on the heap they burden nobody's stack.
        match tokio::time::timeout(RESOLVE_TIMEOUT, Box::pin(self.provide())).await {
            Ok(Ok(credentials)) if left(&credentials) == Some(Duration::ZERO) => {
                Err(Trouble { public: "the credentials have expired", detail: "the source gave credentials that have expired".to_owned() })
            }
            Ok(result) => result.map_err(|error| trouble(&error)),
            Err(_) => Err(Trouble { public: "the source of credentials did not answer in time", detail: format!("no answer in {RESOLVE_TIMEOUT:?}") }),
        }
    }

    /// Asks the source, and assumes the role with what it gives.
    async fn provide(&self) -> Result<Credentials, CredentialsError> {
        let http = self.http.get_or_init(|| HttpClientBuilder::new().tls_provider(Tls::Rustls(CryptoMode::Ring)).build_https()).clone();
        let region = Region::new(self.region.clone());
        let sdk = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).region(region.clone()).load().await;
        let base = match &self.config.source {
            AwsSource::Default => sdk.credentials_provider(),
            // Not the default chain with this profile: there the environment would come first.
            AwsSource::Profile(name) => {
                let config = ProviderConfig::without_region().with_region(Some(region.clone())).with_http_client(http);
                Some(SharedCredentialsProvider::new(ProfileFileCredentialsProvider::builder().configure(&config).profile_name(name).build()))
            }
            AwsSource::Keys { .. } | AwsSource::Bearer(_) => static_keys(&self.config.source).map(SharedCredentialsProvider::new),
        };
        let base = base.ok_or_else(|| CredentialsError::not_loaded("no source of credentials"))?;
        let Some(role) = &self.config.role else { return base.provide_credentials().await };
        let mut assume = AssumeRoleProvider::builder(&role.arn).session_name(SESSION_NAME).region(region).configure(&sdk);
        if let Some(external_id) = &role.external_id {
            assume = assume.external_id(external_id);
        }
        assume.build_from_provider(base).await.provide_credentials().await
    }

    /// Puts new credentials in place and says when to come back.
    fn accept(&self, credentials: Credentials) -> Duration {
        let left = left(&credentials);
        let before = self.current.load();
        if !matches!(&**before, Current::Ready(old) if old.access_key_id() == credentials.access_key_id()) {
            match left {
                Some(left) => log::info!("provider {}: new AWS credentials, valid for {} s", self.provider, left.as_secs()),
                None => log::info!("provider {}: new AWS credentials without expiry", self.provider),
            }
        }
        self.current.store(Arc::new(Current::Ready(Arc::new(credentials))));
        self.trouble.store(None);
        left.map_or(REREAD, |left| refresh_after(left, fastrand::f64()))
    }

    /// Notes a failure, gives up credentials that have expired, and says when to try again.
    fn reject(&self, trouble: &Trouble, failures: u32) -> Duration {
        log::warn!("provider {}: no AWS credentials, attempt {failures}: {}", self.provider, trouble.detail);
        self.trouble.store(Some(Arc::new(trouble.public.to_owned())));
        let pause = backoff(failures, fastrand::f64());
        let before = self.current.load();
        let valid_for = match &**before {
            Current::Ready(old) => left(old).unwrap_or(Duration::MAX),
            _ => Duration::ZERO,
        };
        if valid_for.is_zero() {
            self.current.store(Arc::new(Current::Missing(trouble.public.into())));
            pause
        } else {
            // Back at the latest when they expire, to try once more and then say so.
            pause.min(valid_for)
        }
    }
}

/// Time to expiry; zero once expired, `None` without one.
fn left(credentials: &Credentials) -> Option<Duration> {
    credentials.expiry().map(|expiry| expiry.duration_since(SystemTime::now()).unwrap_or_default())
}

/// When to renew: after 80 % of the time left or [`LEAD`] before the end, whichever is earlier, less up to a tenth so that many processes do not ask at once.
fn refresh_after(left: Duration, jitter: f64) -> Duration {
    let most = left.mul_f64(0.8);
    let lead = if left > 2 * LEAD { left - LEAD } else { most };
    most.min(lead).mul_f64(1.0 - 0.1 * jitter).max(Duration::from_secs(1))
}

/// Doubles with every failure up to the cap, less up to a half.
pub(super) fn backoff(failures: u32, jitter: f64) -> Duration {
    let (first, most) = BACKOFF;
    first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(most).mul_f64(1.0 - 0.5 * jitter)
}

fn static_keys(source: &AwsSource) -> Option<Credentials> {
    let AwsSource::Keys { access_key_id, secret_access_key, session_token } = source else { return None };
    let token = session_token.as_ref().map(|token| token.expose().to_string());
    Some(Credentials::new(access_key_id, secret_access_key.expose().to_string(), token, None, "configuration"))
}

fn trouble(error: &CredentialsError) -> Trouble {
    let public = match error {
        CredentialsError::CredentialsNotLoaded(_) => "no AWS credentials were found",
        CredentialsError::ProviderTimedOut(_) => "the source of credentials did not answer in time",
        CredentialsError::InvalidConfiguration(_) => "the AWS configuration is invalid; the log says more",
        _ => "the source of credentials failed; the log says more",
    };
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        detail.push_str(": ");
        detail.push_str(&cause.to_string());
        source = cause.source();
    }
    Trouble { public, detail }
}

#[cfg(test)]
mod tests;
