//! Who guesses is made to wait: after a few failures the same key is not looked at for a while from the same address, and after many no key is from there.
//!
//! Counted for key and address together, so that who knows a key's id, which is no secret, cannot lock its user out. Unknown ids are counted like known ones:
//! what is answered tells nothing about which there are. Tokens have no id that is worth anything before they are verified: forged ones count for the address
//! alone. What was good once (an expired token, the date of a clock that is off) is no guess and counts nowhere.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// Failures with one key.
const MOST_OF_KEY: u32 = 5;
/// Failures with any.
const MOST_OF_ADDRESS: u32 = 50;
/// The time in which they count.
const WITHIN: Duration = Duration::from_secs(300);
/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// So long after the last failure everything is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3600);
/// Bounds the memory: some 10 MB. Who has so many addresses to spare is not held up by this.
const MOST_ENTRIES: u64 = 100_000;
/// What is counted of an id: claimed ones may be of any length.
const ID_BYTES: usize = 64;

/// An address, and the id of a key or nothing for all of them: what entries are found by, without a word on the heap.
///
/// ```text
/// 0 | 4 | 6, the address 16 bytes, 0 | 1, the id at most 64
/// ```
struct Who {
    bytes: [u8; 1 + 16 + 1 + ID_BYTES],
    length: usize,
}

impl Who {
    fn new(address: Option<IpAddr>, id: Option<&str>) -> Self {
        let mut who = Who { bytes: [0; 1 + 16 + 1 + ID_BYTES], length: 1 + 16 + 1 };
        let (family, octets) = match network(address) {
            None => (0, [0; 16]),
            Some(IpAddr::V4(address)) => (4, address.to_ipv6_mapped().octets()),
            Some(IpAddr::V6(address)) => (6, address.octets()),
        };
        let bytes = [family].into_iter().chain(octets).chain([u8::from(id.is_some())]).chain(id.unwrap_or_default().bytes());
        for (place, byte) in who.bytes.iter_mut().zip(bytes) {
            *place = byte;
        }
        who.length += id.map_or(0, str::len).min(ID_BYTES);
        who
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

/// Failures so far.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Instant,
    locks: u32,
    until: Option<Instant>,
}

/// Failures of everybody.
#[derive(Debug)]
pub struct Lockout(Cache<Box<[u8]>, Failures>);

impl Default for Lockout {
    fn default() -> Self {
        // By age alone: what is asked for often must not push a lock out that is just as young.
        Lockout(Cache::builder().max_capacity(MOST_ENTRIES).time_to_idle(FORGOTTEN).eviction_policy(EvictionPolicy::lru()).build())
    }
}

impl Lockout {
    /// How long an address still waits, with this key or at all. Touches nothing where there is no failure on record.
    #[must_use]
    pub fn wait(&self, address: Option<IpAddr>, id: Option<&str>, now: Instant) -> Option<Duration> {
        let until = |id| {
            let who = Who::new(address, id);
            // Even a get that finds nothing is noted down in the cache.
            if self.0.contains_key(who.as_bytes()) { self.0.get(who.as_bytes()).and_then(|failures| failures.until) } else { None }
        };
        let one = id.and_then(|id| until(Some(id)));
        until(None).max(one).map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Counts a failure: for the address, and for the key there, where one is known by its id.
    pub fn failed(&self, address: Option<IpAddr>, id: Option<&str>, now: Instant) {
        self.count(&Who::new(address, None), MOST_OF_ADDRESS, now);
        if id.is_some() {
            self.count(&Who::new(address, id), MOST_OF_KEY, now);
        }
    }

    /// Forgets the failures with a key that proved right in the end. Touches nothing where there are none.
    pub fn succeeded(&self, address: Option<IpAddr>, id: &str) {
        let who = Who::new(address, Some(id));
        if self.0.contains_key(who.as_bytes()) {
            self.0.invalidate(who.as_bytes());
        }
    }

    fn count(&self, who: &Who, most: u32, now: Instant) {
        self.0.entry(who.as_bytes().into()).and_compute_with(|entry| {
            let before = entry.map(moka::Entry::into_value).unwrap_or(Failures { count: 0, since: now, locks: 0, until: None });
            Op::Put(before.one_more(most, now))
        });
    }
}

impl Failures {
    fn one_more(mut self, most: u32, now: Instant) -> Failures {
        if now.saturating_duration_since(self.since) > WITHIN {
            (self.count, self.since) = (0, now);
        }
        self.count += 1;
        if self.count >= most {
            let wait = FIRST_WAIT.saturating_mul(1 << self.locks.min(10)).min(LONGEST_WAIT);
            (self.count, self.since, self.locks, self.until) = (0, now, self.locks + 1, Some(now + wait));
        }
        self
    }
}

/// An IPv6 client has a whole /64 to himself.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_guesser_waits_longer_and_longer_and_nobody_else_does() {
        let lockout = Lockout::default();
        let (attacker, user) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let mut now = Instant::now();
        for wait in [60, 120, 240] {
            for _ in 0..MOST_OF_KEY {
                assert_eq!(lockout.wait(attacker, Some("one"), now), None);
                lockout.failed(attacker, Some("one"), now);
            }
            assert_eq!(lockout.wait(attacker, Some("one"), now), Some(Duration::from_secs(wait)));
            assert_eq!(lockout.wait(user, Some("one"), now), None, "another address");
            assert_eq!(lockout.wait(attacker, Some("two"), now), None, "another key");
            now += Duration::from_secs(wait);
        }
    }

    #[test]
    fn failures_far_apart_or_before_a_success_are_forgiven() {
        let lockout = Lockout::default();
        let (address, mut now) = (ip("192.0.2.1"), Instant::now());
        for _ in 0..20 {
            lockout.failed(address, Some("one"), now);
            now += WITHIN;
        }
        for _ in 0..20 {
            lockout.failed(address, Some("two"), now);
            lockout.succeeded(address, "two");
        }
        assert_eq!((lockout.wait(address, Some("one"), now), lockout.wait(address, Some("two"), now)), (None, None));
    }

    #[test]
    fn an_address_that_tries_many_keys_waits_with_all() {
        let lockout = Lockout::default();
        let now = Instant::now();
        for (at, address) in (0..MOST_OF_ADDRESS).map(|at| (at, ip(&format!("2001:db8::{at:x}")))) {
            assert_eq!(lockout.wait(ip("2001:db8::1"), None, now), None);
            lockout.failed(address, Some(&format!("{at}{}", "ä".repeat(100))), now);
        }
        assert_eq!(lockout.wait(ip("2001:db8::ffff"), Some("fresh"), now), Some(FIRST_WAIT));
        assert_eq!(lockout.wait(ip("2001:db8:0:1::1"), Some("fresh"), now), None, "the network next door");
    }
}
