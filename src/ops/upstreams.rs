//! The live side of the configured providers: credentials that are kept fresh, addresses that are known.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::snapshot::{ModelMap, Provider};
use crate::ops::credentials::{Current, Store, Stores};
use crate::ops::resolve::Addresses;

/// One provider's credentials and addresses.
#[derive(Debug)]
pub struct Upstream {
    /// Credentials, read without a lock.
    pub credentials: Arc<Store>,
    /// Addresses of its endpoint.
    pub addresses: Addresses,
}

/// All providers that this version can use.
#[derive(Debug)]
pub struct Upstreams {
    credentials: Stores,
    by_name: BTreeMap<String, Arc<Upstream>>,
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
    /// Prepares the providers of a model map. Nothing is looked up or fetched yet: [`Upstreams::background`] does that.
    pub fn new(models: &ModelMap) -> Self {
        let credentials = Stores::new(models);
        let mut by_name = BTreeMap::new();
        let mut unusable = BTreeMap::new();
        for provider in models.providers.values() {
            if let (Some(bedrock), Some(store)) = (provider.bedrock(), credentials.get(&provider.name)) {
                let addresses = Addresses::new(&bedrock.endpoint.host, bedrock.endpoint.port);
                by_name.insert(provider.name.clone(), Arc::new(Upstream { credentials: Arc::clone(store), addresses }));
            } else if let Some(reason) = provider.unavailable() {
                unusable.insert(provider.name.clone(), reason);
            }
        }
        Upstreams { credentials, by_name, unusable }
    }

    /// Runs what keeps the providers usable, for as long as the process lives.
    pub async fn background(&self) {
        self.credentials.spawn();
        let mut tasks = tokio::task::JoinSet::new();
        for upstream in self.by_name.values() {
            let upstream = Arc::clone(upstream);
            tasks.spawn(async move { upstream.addresses.keep_fresh().await });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// A provider by its name in the configuration.
    pub fn of(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name.get(name)
    }

    /// Whether requests may be routed to a provider: its credentials are there or on their way.
    pub fn usable(&self, provider: &Provider) -> bool {
        self.credentials.usable(provider)
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
                Current::Ready(_) | Current::Bearer(_) => State { ready: true, word: "ready", reason: None },
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
