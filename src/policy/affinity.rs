//! Which target has a conversation in its prompt cache.
//!
//! A prompt cache lives in one region and account of one provider, for as long as the prompt's cache markers say and each use of it renews. A request that was
//! answered pins the prefixes that it marks to its target for that long; one that comes with the longest of them goes there too.
//!
//! A pin is a hint. It says where the prompt has been, not whether the target takes requests now: a target that rests, or that the model map no longer has, is
//! passed over by whoever asks, and the answer of another one pins the prompt there.
//!
//! Pins are forgotten when their time is over or, the one that was used longest ago first, when there are too many. They are one process's own: another node
//! learns its own.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::chat::CachedPrefix;

/// The most pins, one a marker, so up to four a request. So many take 35 MB.
const MAX_PINS: u64 = 100_000;

/// A target, told apart by a hash of its names, so that it stays itself when the model map is read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetKey(u64);

impl TargetKey {
    /// The key of the target of a provider, by its name in the model map, and a model, by its id there.
    #[must_use]
    pub fn of(provider: &str, model: &str) -> Self {
        // The names are the operator's, who has no reason to make them collide: no key is needed.
        let mut hasher = DefaultHasher::new();
        (provider, model).hash(&mut hasher);
        TargetKey(hasher.finish())
    }
}

/// Which prompts were at which targets.
#[derive(Debug)]
pub struct Pins {
    pins: Cache<u64, Pin, RandomState>,
    hasher: RandomState,
}

/// Where a prefix is, and for how long from the moment of writing.
#[derive(Clone, Copy, Debug)]
struct Pin {
    target: TargetKey,
    ttl: Duration,
}

/// Each pin lives as long as it says itself, from its latest writing on. Being looked up does not renew it: the request may fail, or go elsewhere.
struct Lifetime;

impl Expiry<u64, Pin> for Lifetime {
    fn expire_after_create(&self, _: &u64, pin: &Pin, _: Instant) -> Option<Duration> {
        Some(pin.ttl)
    }

    fn expire_after_update(&self, _: &u64, pin: &Pin, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(pin.ttl)
    }
}

impl Default for Pins {
    fn default() -> Self {
        Pins::with_capacity(MAX_PINS)
    }
}

impl Pins {
    /// Holds so many pins at most.
    #[must_use]
    pub fn with_capacity(pins: u64) -> Self {
        let hasher = RandomState::new();
        // Not by frequency, which is the default: that would turn away the pins of new conversations, which are the ones that come back.
        let pins = Cache::builder().max_capacity(pins).eviction_policy(EvictionPolicy::lru()).expire_after(Lifetime).build_with_hasher(hasher.clone());
        Pins { pins, hasher }
    }

    /// What prefixes are to be hashed with: seeded at random, the same for the life of these pins.
    #[must_use]
    pub fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// The target that had the longest of these prefixes, shortest first, for a model as the client names it.
    #[must_use]
    pub fn find(&self, model: &str, prefixes: &[CachedPrefix]) -> Option<TargetKey> {
        if prefixes.is_empty() {
            return None;
        }
        let model = self.hasher.hash_one(model);
        prefixes.iter().rev().find_map(|prefix| self.pins.get(&(model ^ prefix.hash))).map(|pin| pin.target)
    }

    /// Pins the prefixes that are marked to the target that has just read them, each for its time. What was pinned elsewhere is pinned here from now on.
    pub fn pin(&self, model: &str, prefixes: &[CachedPrefix], target: TargetKey) {
        if prefixes.is_empty() {
            return;
        }
        let model = self.hasher.hash_one(model);
        for prefix in prefixes {
            if let Some(ttl) = prefix.ttl {
                self.pins.insert(model ^ prefix.hash, Pin { target, ttl });
            }
        }
    }
}

#[cfg(test)]
mod tests;
