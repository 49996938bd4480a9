//! What is in force: a configuration with the live state that belongs to it, replaced as a whole.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::config::snapshot::{Process, Provider, Snapshot};
use crate::ops::cache::Cache;
use crate::ops::jwks::Issuer;
use crate::ops::limits::Ledger;
use crate::ops::random;
use crate::ops::redis::Link;
use crate::ops::targets::Targets;
use crate::ops::upstreams::Upstreams;
use crate::policy::auth::Principal;
use crate::policy::auth::key::Keyring;

/// A configuration with the live state of its providers and targets.
#[derive(Debug)]
pub struct Current {
    /// What the operator wants.
    pub snapshot: Snapshot,
    /// Credentials and addresses per provider.
    pub upstreams: Upstreams,
    /// How fit each target is.
    pub targets: Targets,
    /// Keys of users.
    pub keyring: Keyring,
    /// Whoever comes, where nobody has to prove anything.
    pub anybody: Principal,
    /// The keys of whoever issues tokens, where they count.
    pub issuer: Option<Arc<Issuer>>,
    /// What users have used, where all nodes share it.
    pub ledger: Option<Arc<Ledger>>,
    /// Answers that are given again.
    pub cache: Option<Arc<Cache>>,
    /// When it was read.
    pub loaded: SystemTime,
}

fn cache(snapshot: &Snapshot, ledger: Option<&Arc<Ledger>>, last: Option<&Arc<Cache>>) -> Option<Arc<Cache>> {
    let settings = snapshot.process.cache.as_ref()?;
    let link = ledger.map(|ledger| Arc::clone(ledger.link()));
    Some(match last {
        Some(last) => last.renewed(settings, link),
        None => Cache::new(settings, link),
    })
}

fn ledger(snapshot: &Snapshot, last: Option<&Arc<Ledger>>) -> Option<Arc<Ledger>> {
    let redis = snapshot.process.redis.as_ref()?;
    Some(last.map_or_else(|| Ledger::new(&Link::new(redis)), |last| last.renewed(redis)))
}

fn anybody(snapshot: &Snapshot) -> Principal {
    Principal::anybody(snapshot.process.default_limits.unwrap_or_default())
}

/// The issuer whose tokens count.
fn issuer(snapshot: &Snapshot, last: Option<&Arc<Issuer>>) -> Option<Arc<Issuer>> {
    let Process { auth, default_limits, .. } = &snapshot.process;
    let jwt = auth.jwt.as_ref().filter(|_| auth.enabled && auth.modes.jwt)?;
    let default = default_limits.unwrap_or_default();
    Some(last.map_or_else(|| Arc::new(Issuer::new(jwt, default)), |last| last.renewed(jwt, default)))
}

impl Current {
    /// A first configuration; nothing is looked up or fetched yet.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        let upstreams = Upstreams::new(&snapshot.models).with_server(server(&snapshot), None);
        let targets = Targets::default().renewed(&snapshot.models);
        let (keyring, anybody, issuer) = (keyring(&snapshot), anybody(&snapshot), issuer(&snapshot, None));
        let ledger = ledger(&snapshot, None);
        let cache = cache(&snapshot, ledger.as_ref(), None);
        Current { snapshot, upstreams, targets, keyring, anybody, issuer, ledger, cache, loaded: SystemTime::now() }
    }

    /// Starts what keeps credentials, addresses, keys and connections fresh, where it does not run already, in the current tokio runtime.
    pub fn spawn(&self) {
        self.upstreams.spawn();
        if let Some(issuer) = &self.issuer {
            issuer.spawn();
        }
        if let Some(ledger) = &self.ledger {
            ledger.spawn();
        }
    }

    /// The next configuration, with the live state of everything that did not change.
    #[must_use]
    pub fn renewed(&self, snapshot: Snapshot) -> Self {
        let upstreams = self.upstreams.renewed(&snapshot.models).with_server(server(&snapshot), Some(&self.upstreams));
        let targets = self.targets.renewed(&snapshot.models);
        let (keyring, anybody, issuer) = (keyring(&snapshot), anybody(&snapshot), issuer(&snapshot, self.issuer.as_ref()));
        let ledger = ledger(&snapshot, self.ledger.as_ref());
        let cache = cache(&snapshot, ledger.as_ref(), self.cache.as_ref());
        Current { snapshot, upstreams, targets, keyring, anybody, issuer, ledger, cache, loaded: SystemTime::now() }
    }
}

/// The OptiLLM server.
fn server(snapshot: &Snapshot) -> Option<&Provider> {
    snapshot.process.optillm.as_ref()?.server.as_deref()
}

fn keyring(snapshot: &Snapshot) -> Keyring {
    Keyring::new(&snapshot.process.auth.users, random::bytes())
}

/// A newer configuration that was not taken.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// How many. What they are may hold secrets: that is for the log.
    pub mistakes: usize,
    /// When.
    pub at: SystemTime,
}

/// Where the configuration in force is kept. A request takes it once and lives by it to its end.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Current>,
    refused: ArcSwapOption<Refused>,
}

impl Live {
    /// Starts with a configuration.
    #[must_use]
    pub fn new(current: Current) -> Self {
        Live { current: ArcSwap::from_pointee(current), refused: ArcSwapOption::empty() }
    }

    /// The configuration in force, for keeps. Lock-free.
    #[must_use]
    pub fn now(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// The newer configuration that was refused, if the one in force is not the newest.
    #[must_use]
    pub fn refused(&self) -> Option<Refused> {
        self.refused.load().as_deref().copied()
    }

    /// Puts another configuration in force: for requests that come from now on.
    pub fn replace(&self, next: Current) {
        self.current.store(Arc::new(next));
        self.refused.store(None);
    }

    /// Notes that a newer configuration was bad; the one in force stays.
    pub fn refuse(&self, refused: Refused) {
        self.refused.store(Some(Arc::new(refused)));
    }
}
