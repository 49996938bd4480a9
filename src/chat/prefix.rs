//! What a provider may keep of a prompt.

use std::time::Duration;

/// The beginning of a prompt, up to the end of one of its blocks, told apart by a hash.
///
/// Lists of them go from the shortest to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPrefix {
    /// Of all that the model sees of the prefix. Comparable to those that the same hasher made, and to no others.
    pub hash: u64,
    /// How long the provider keeps the prefix once it has read it: a cache marker stands behind it. `None`: none does, but the provider looks here for what a
    /// marker of an earlier request may have left.
    pub ttl: Option<Duration>,
}
