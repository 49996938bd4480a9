//! The live side of the configured providers: credentials that are kept fresh, addresses that are known.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{ModelMap, Provider, ProviderKind};
use crate::ops::credentials::{Current, Store, Stores};
use crate::ops::google;
use crate::ops::resolve::Addresses;
use crate::provider::endpoint::Endpoint;

/// How long the first requests after a start wait for credentials before they are told that there are none.
const CREDENTIALS_WAIT: Duration = Duration::from_secs(10);

/// One provider's credentials and addresses.
#[derive(Debug)]
pub struct Upstream {
    /// What it was made for: another configuration with the same keeps it.
    kind: ProviderKind,
    /// Credentials, read without a lock.
    pub credentials: Credentials,
    /// Addresses of its endpoint.
    pub addresses: Arc<Addresses>,
    /// Looks its host up, once it was started.
    look_up: OnceLock<AbortHandle>,
}

impl Upstream {
    fn new(provider: &Provider, endpoint: &Endpoint, credentials: Credentials) -> Self {
        let addresses = Arc::new(Addresses::new(&endpoint.host, endpoint.port));
        Upstream { kind: provider.kind.clone(), credentials, addresses, look_up: OnceLock::new() }
    }

    /// Waits for its credentials if the process has only just started; a read without waiting afterwards.
    ///
    /// # Errors
    /// 503, with the reason, if there are none.
    pub async fn ready(&self) -> Result<(), ApiError> {
        if matches!(self.credentials.current(), Current::Pending) {
            self.credentials.wait_ready(Instant::now() + CREDENTIALS_WAIT).await;
        }
        match self.credentials.current() {
            Current::Ready(_) | Current::Bearer(_) | Current::Key(_) | Current::Open => Ok(()),
            Current::Pending => Err(ApiError {
                retry_after: Some("5".to_owned()),
                ..ApiError::new(ErrorKind::NotConfigured, "The provider's credentials are still being fetched.")
            }),
            Current::Missing(reason) => Err(ApiError::new(ErrorKind::NotConfigured, format!("The provider has no usable credentials: {reason}"))),
        }
    }

    /// Starts what keeps it usable, once, in the current tokio runtime. It ends with the upstream.
    fn spawn(&self) {
        self.credentials.spawn();
        let addresses = Arc::clone(&self.addresses);
        self.look_up.get_or_init(|| tokio::spawn(async move { addresses.keep_fresh().await }).abort_handle());
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(task) = self.look_up.get() {
            task.abort();
        }
    }
}

/// Where a provider's credentials come from.
#[derive(Debug)]
pub enum Credentials {
    /// From the configuration, for ever.
    Fixed(Current),
    /// From AWS.
    Aws(Arc<Store>),
    /// From Google.
    Google(google::Store),
}

impl Credentials {
    fn of(provider: &Provider, aws: &Stores) -> Self {
        match &provider.kind {
            ProviderKind::Bedrock(_) => aws
                .get(&provider.name)
                .map_or_else(|| Credentials::Fixed(Current::Missing("there are no AWS credentials".into())), |store| Credentials::Aws(Arc::clone(store))),
            ProviderKind::Vertex { credentials, .. } => Credentials::Google(google::Store::new(&provider.name, credentials.clone())),
            ProviderKind::OpenAi { api_key: Some(key), .. } => Credentials::Fixed(Current::Bearer(key.clone())),
            // A server of one's own may ask for none.
            ProviderKind::OpenAi { api_key: None, .. } => Credentials::Fixed(Current::Open),
            ProviderKind::AzureOpenAi { api_key: Some(key), .. } | ProviderKind::Anthropic { api_key: Some(key), .. } => {
                Credentials::Fixed(Current::Key(key.clone()))
            }
            ProviderKind::AzureOpenAi { api_key: None, .. } | ProviderKind::Anthropic { api_key: None, .. } => {
                Credentials::Fixed(Current::Missing("there is no API key".into()))
            }
        }
    }

    /// What a request can be sent with, now. Lock-free.
    pub fn current(&self) -> Current {
        match self {
            Credentials::Fixed(current) => current.clone(),
            Credentials::Aws(store) => store.current(),
            Credentials::Google(store) => store.current(),
        }
    }

    /// Waits for the first ones, but not past the deadline.
    pub async fn wait_ready(&self, deadline: Instant) -> Current {
        match self {
            Credentials::Fixed(current) => current.clone(),
            Credentials::Aws(store) => store.wait_ready(deadline).await,
            Credentials::Google(store) => store.wait_ready(deadline).await,
        }
    }

    fn spawn(&self) {
        match self {
            Credentials::Fixed(_) => {}
            Credentials::Aws(store) => store.spawn(),
            Credentials::Google(store) => store.spawn(),
        }
    }
}

/// All providers that can be used as they are configured.
#[derive(Debug, Default)]
pub struct Upstreams {
    aws: Stores,
    by_name: BTreeMap<String, Arc<Upstream>>,
    /// The OptiLLM server, which is none of the model map's.
    server: Option<Arc<Upstream>>,
    /// Providers of the configuration that can't be used, with the reason.
    unusable: BTreeMap<String, &'static str>,
}

/// A provider's state as `/ready` tells it.
#[derive(Debug)]
pub struct State {
    /// Whether requests can be sent to it.
    pub ready: bool,
    /// One word for it.
    pub word: &'static str,
    /// Why it is not ready. Free of secrets.
    pub reason: Option<String>,
}

impl Upstreams {
    /// Prepares the providers of a model map. Nothing is looked up or fetched yet: [`Upstreams::spawn`] does that.
    pub fn new(models: &ModelMap) -> Self {
        Upstreams::default().renewed(models)
    }

    /// The providers of another model map: those that did not change stay as they are, credentials, addresses and background work included.
    #[must_use]
    pub fn renewed(&self, models: &ModelMap) -> Self {
        let aws = self.aws.renewed(models);
        let mut by_name = BTreeMap::new();
        let mut unusable = BTreeMap::new();
        for provider in models.providers.values() {
            match (provider.unavailable(), provider.endpoint()) {
                (None, Some(endpoint)) => {
                    let known = self.by_name.get(&provider.name).filter(|known| known.kind == provider.kind);
                    let upstream = known.cloned().unwrap_or_else(|| Arc::new(Upstream::new(provider, endpoint, Credentials::of(provider, &aws))));
                    by_name.insert(provider.name.clone(), upstream);
                }
                (reason, _) => _ = unusable.insert(provider.name.clone(), reason.unwrap_or("it has no endpoint")),
            }
        }
        Upstreams { aws, by_name, server: None, unusable }
    }

    /// The same with an OptiLLM server, or without one.
    #[must_use]
    pub fn with_server(self, server: Option<&Provider>, last: Option<&Upstreams>) -> Self {
        let endpoint = server.and_then(Provider::endpoint);
        let known = last.and_then(|last| last.server.as_ref());
        let server = server.zip(endpoint).map(|(provider, endpoint)| {
            let known = known.filter(|known| known.kind == provider.kind);
            known.cloned().unwrap_or_else(|| Arc::new(Upstream::new(provider, endpoint, Credentials::Fixed(Current::Open))))
        });
        Upstreams { server, ..self }
    }

    /// The OptiLLM server.
    pub fn server(&self) -> Option<&Arc<Upstream>> {
        self.server.as_ref()
    }

    /// Starts what keeps the providers usable, where it does not run yet, in the current tokio runtime. It ends with the last user of each.
    pub fn spawn(&self) {
        self.by_name.values().chain(&self.server).for_each(|upstream| upstream.spawn());
    }

    /// A provider by its name in the configuration.
    pub fn of(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name.get(name)
    }

    /// Whether requests may be routed to a provider: its credentials are there or on their way.
    pub fn usable(&self, provider: &Provider) -> bool {
        self.of(&provider.name).is_some_and(|upstream| !matches!(upstream.credentials.current(), Current::Missing(_)))
    }

    /// Why a provider has no credentials, if it has none. Free of secrets.
    pub fn trouble(&self, provider: &Provider) -> Option<Arc<str>> {
        match self.of(&provider.name)?.credentials.current() {
            Current::Missing(reason) => Some(reason),
            _ => None,
        }
    }

    /// Every provider's state.
    pub fn states(&self) -> impl Iterator<Item = (&str, State)> {
        let live = self.by_name.iter().map(|(name, upstream)| {
            let state = match upstream.credentials.current() {
                Current::Ready(_) | Current::Bearer(_) | Current::Key(_) | Current::Open => State { ready: true, word: "ready", reason: None },
                Current::Pending => State { ready: false, word: "pending", reason: Some("credentials are being fetched".to_owned()) },
                Current::Missing(reason) => State { ready: false, word: "not configured", reason: Some(reason.to_string()) },
            };
            (name.as_str(), state)
        });
        let unusable =
            self.unusable.iter().map(|(name, reason)| (name.as_str(), State { ready: false, word: "not configured", reason: Some((*reason).to_owned()) }));
        live.chain(unusable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn what_did_not_change_stays_as_it_is() {
        let map = |text: &str| config::parse("", &format!("{text}models: {{}}\n"), &|_| None).unwrap().models;
        let before = Upstreams::new(&map(
            "providers:\n  kept: { type: openai, base_url: 'http://127.0.0.1:1', api_key: a }\n  rekeyed: { type: openai, base_url: 'http://127.0.0.1:2', api_key: a }\n  gone: { type: anthropic, api_key: a }\n  aws: { type: bedrock, region: us-east-1 }\n",
        ));
        let after = before.renewed(&map(
            "providers:\n  new: { type: anthropic, api_key: a }\n  aws: { type: bedrock, region: us-east-1 }\n  rekeyed: { type: openai, base_url: 'http://127.0.0.1:2', api_key: b }\n  kept: { type: openai, base_url: 'http://127.0.0.1:1', api_key: a, timeouts: { connect: 1s } }\n",
        ));
        let same = |name: &str| Arc::ptr_eq(before.of(name).unwrap(), after.of(name).unwrap());
        assert!(same("kept") && same("aws"));
        assert!(!same("rekeyed") && after.of("gone").is_none() && after.of("new").is_some());
    }
}
