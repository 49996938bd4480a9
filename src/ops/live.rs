//! What is in force: a configuration with the live state that belongs to it, replaced as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::snapshot::Snapshot;
use crate::ops::targets::Targets;
use crate::ops::upstreams::Upstreams;

/// A configuration with the live state of its providers and targets.
#[derive(Debug)]
pub struct Current {
    /// What the operator wants.
    pub snapshot: Snapshot,
    /// Credentials and addresses per provider.
    pub upstreams: Upstreams,
    /// How fit each target is.
    pub targets: Targets,
}

impl Current {
    /// A first configuration; nothing is looked up or fetched yet.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Current { upstreams: Upstreams::new(&snapshot.models), targets: Targets::default().renewed(&snapshot.models), snapshot }
    }

    /// The next configuration, with the live state of everything that did not change.
    #[must_use]
    pub fn renewed(&self, snapshot: Snapshot) -> Self {
        Current { upstreams: self.upstreams.renewed(&snapshot.models), targets: self.targets.renewed(&snapshot.models), snapshot }
    }
}

/// Where the configuration in force is kept. A request takes it once and lives by it to its end.
#[derive(Debug)]
pub struct Live(ArcSwap<Current>);

impl Live {
    /// Starts with a configuration.
    #[must_use]
    pub fn new(current: Current) -> Self {
        Live(ArcSwap::from_pointee(current))
    }

    /// The configuration in force, for keeps. Lock-free.
    #[must_use]
    pub fn now(&self) -> Arc<Current> {
        self.0.load_full()
    }

    /// Puts another configuration in force: for requests that come from now on.
    pub fn replace(&self, next: Current) {
        self.0.store(Arc::new(next));
    }
}
