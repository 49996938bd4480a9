//! The keys that an identity provider publishes, kept ready: a request reads them with one atomic load, everything else happens behind its back.
//!
//! ```text
//! begin ─▶ discovery document ─▶ jwks_uri ─▶ keys in force ─▶ when they grow old ─┐
//!            ▲                                                                    │
//!            └────── a token names a key that is not there (at a bounded rate) ◀──┘
//! ```
//!
//! Follows <https://openid.net/specs/openid-connect-discovery-1_0.html>, section 4, and RFC 8414. What cannot be fetched changes nothing: the keys that are there
//! count on. Not here: what makes a token a good one (`policy::auth::jwt`).

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use http::header;
use log::{debug, info, warn};
use moka::sync::Cache;
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::snapshot::{Jwt, UserLimits};
use crate::policy::auth::jwt::{self, Fault, Keys};
use crate::policy::auth::{Principal, Proof};

/// For one document.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of one document. Sets of keys with their certificates have some ten thousand bytes.
const LONGEST_DOCUMENT: usize = 512 * 1024;
/// How long keys count as new where the provider does not say it, and the bounds of what it may say.
const FRESH: Duration = Duration::from_secs(3600);
const FRESH_LEAST: Duration = Duration::from_secs(300);
const FRESH_MOST: Duration = Duration::from_secs(86_400);
/// The pause behind a first failure; it doubles up to the most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(60);
/// Tokens with unknown keys make for one fetch in this time: anybody can send them.
const BETWEEN_WISHES: Duration = Duration::from_secs(10);
/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tokens that are remembered, and for how long.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// Who issues tokens, and the tokens that were found good.
#[derive(Debug)]
pub struct Issuer {
    jwt: Jwt,
    default: UserLimits,
    keyring: Arc<Keyring>,
    verified: Cache<[u8; 32], Arc<Verified>>,
}

/// A token that was found good.
#[derive(Debug)]
struct Verified {
    principal: Principal,
    until: SystemTime,
    /// The keys by which it is good.
    generation: u64,
}

impl Issuer {
    /// Without keys; [`Issuer::spawn`] fetches them.
    #[must_use]
    pub fn new(jwt: &Jwt, default: UserLimits) -> Self {
        Self::over(jwt, default, Arc::new(Keyring::new(jwt)))
    }

    fn over(jwt: &Jwt, default: UserLimits, keyring: Arc<Keyring>) -> Self {
        let verified = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Issuer { jwt: jwt.clone(), default, keyring, verified }
    }

    /// For the next configuration: with the keys, if they come from the same place; with what was found by them, if nothing has changed at all.
    #[must_use]
    pub fn renewed(self: &Arc<Self>, jwt: &Jwt, default: UserLimits) -> Arc<Self> {
        if self.jwt == *jwt && self.default == default {
            return Arc::clone(self);
        }
        let keyring = if Source::of(&self.jwt) == Source::of(jwt) { Arc::clone(&self.keyring) } else { Arc::new(Keyring::new(jwt)) };
        Arc::new(Self::over(jwt, default, keyring))
    }

    /// Starts the background work, once, in the current tokio runtime. It ends with the last configuration that has these keys.
    pub fn spawn(&self) {
        self.keyring.spawn();
    }

    /// The user who sends a token. Microseconds for one that was seen before; one whose key is not known waits for the keys, but not long.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn principal(&self, token: &str, now: SystemTime) -> Result<Principal, Fault> {
        if token.len() > jwt::LONGEST_TOKEN {
            return Err(Fault::Malformed);
        }
        let state = self.keyring.state.load_full();
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.verified.get(&hash)
            && known.generation == state.generation
        {
            return if now < known.until { Ok(known.principal.clone()) } else { Err(Fault::Expired) };
        }
        match self.verify(token, hash, &state, now) {
            Err(Fault::UnknownKey) if self.keyring.wish().await => self.verify(token, hash, &self.keyring.state.load_full(), now),
            other => other,
        }
    }

    fn verify(&self, token: &str, hash: [u8; 32], state: &State, now: SystemTime) -> Result<Principal, Fault> {
        let claims = jwt::verify(token, &state.keys, &self.jwt, now)?;
        let grant = Arc::new(jwt::grant(&claims.groups, &self.jwt, self.default));
        let principal = Principal { name: claims.user.into(), grant, proof: Proof::Jwt };
        let verified = Verified { principal: principal.clone(), until: claims.until, generation: state.generation };
        self.verified.insert(hash, Arc::new(verified));
        Ok(principal)
    }

    /// How it stands, for those who ask.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let state = self.keyring.state.load();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Standing { keys: state.keys.len(), reachable: state.reachable, fetched: count(&self.keyring.fetched), failed: count(&self.keyring.failed) }
    }
}

/// How an issuer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Keys in force.
    pub keys: usize,
    /// Whether the last fetch went well; `None` before there was one.
    pub reachable: Option<bool>,
    /// Fetches that went well.
    pub fetched: u64,
    /// Fetches that did not.
    pub failed: u64,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    /// Empty where only the address of the keys is known.
    issuer: String,
    keys: Option<String>,
    allow_http: bool,
}

impl Source {
    fn of(jwt: &Jwt) -> Self {
        Source { issuer: jwt.issuer.clone(), keys: jwt.jwks_url.as_ref().map(ToString::to_string), allow_http: jwt.allow_http }
    }
}

/// Keys, and what keeps them fresh.
#[derive(Debug)]
struct Keyring {
    source: Source,
    state: ArcSwap<State>,
    fetched: AtomicU64,
    failed: AtomicU64,
    /// Somebody needs newer keys.
    wish: Arc<Notify>,
    /// When somebody wished last, and how many fetches there had been.
    wished: Mutex<Option<(Instant, u64)>>,
    /// Counts fetches, for those who wait for one.
    fetches: watch::Sender<u64>,
    task: OnceLock<AbortHandle>,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Arc<Keys>,
    /// Counts changes of the keys.
    generation: u64,
    reachable: Option<bool>,
}

impl Drop for Keyring {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Keyring {
    fn new(jwt: &Jwt) -> Self {
        Keyring {
            source: Source::of(jwt),
            state: ArcSwap::default(),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            wish: Arc::default(),
            wished: Mutex::default(),
            fetches: watch::Sender::new(0),
            task: OnceLock::new(),
        }
    }

    fn spawn(self: &Arc<Self>) {
        self.task.get_or_init(|| tokio::spawn(maintain(Arc::downgrade(self), Arc::clone(&self.wish))).abort_handle());
    }

    /// Asks for newer keys and waits for them a while; false where it is too early for that. Before the first fetch all wait for that one.
    async fn wish(&self) -> bool {
        let mut fetches = self.fetches.subscribe();
        let begun = *fetches.borrow_and_update();
        if begun > 0 {
            let mut last = self.wished.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            match *last {
                // No fetch has ended since somebody wished: whoever comes meanwhile waits with him.
                Some((_, count)) if count == begun => {}
                Some((at, _)) if now < at + BETWEEN_WISHES => return false,
                _ => {
                    *last = Some((now, begun));
                    self.wish.notify_one();
                }
            }
        }
        tokio::time::timeout(PATIENCE, fetches.wait_for(|count| *count > begun)).await.is_ok_and(|waited| waited.is_ok())
    }

    /// Takes what a fetch gave, and says when to come back.
    fn take(&self, fetched: Result<(Keys, Duration), String>, failures: &mut u32) -> Duration {
        let before = self.state.load_full();
        let place = self.source.place();
        let pause = match fetched {
            Ok((keys, fresh)) => {
                let changed = *before.keys != keys;
                if changed || *failures > 0 {
                    info!("{place}: {} keys", keys.len());
                }
                *failures = 0;
                self.fetched.fetch_add(1, Ordering::Relaxed);
                self.state.store(Arc::new(State { keys: Arc::new(keys), generation: before.generation + u64::from(changed), reachable: Some(true) }));
                fresh
            }
            Err(reason) => {
                let kept = before.keys.len();
                *failures = failures.saturating_add(1);
                if *failures == 1 {
                    warn!("{place}: {reason}; {kept} keys count on")
                } else {
                    debug!("{place}: {reason}")
                }
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.state.store(Arc::new(State { reachable: Some(false), ..State::clone(&before) }));
                PAUSE.saturating_mul(1_u32.checked_shl(*failures - 1).unwrap_or(u32::MAX)).min(PAUSE_MOST)
            }
        };
        self.fetches.send_modify(|count| *count += 1);
        pause
    }
}

/// Keeps the keys fresh for as long as somebody has them.
async fn maintain(keyring: Weak<Keyring>, wish: Arc<Notify>) {
    let client = Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT).user_agent("adit").build();
    let mut failures = 0;
    loop {
        let Some(source) = keyring.upgrade().map(|keyring| keyring.source.clone()) else { return };
        let fetched = match &client {
            Ok(client) => source.fetch(client).await,
            Err(error) => Err(format!("no client: {}", told(error))),
        };
        let Some(pause) = keyring.upgrade().map(|keyring| keyring.take(fetched, &mut failures)) else { return };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wish.notified() => {}
        }
    }
}

/// What the discovery document has to say here.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    /// For the log.
    fn place(&self) -> &str {
        if self.issuer.is_empty() { self.keys.as_deref().unwrap_or_default() } else { &self.issuer }
    }

    /// The keys, and how long they count as new.
    async fn fetch(&self, client: &Client) -> Result<(Keys, Duration), String> {
        let keys = match &self.keys {
            Some(keys) => keys.clone(),
            None => self.discover(client).await?,
        };
        let (document, fresh) = self.get(client, &keys).await?;
        match Keys::parse(&document) {
            Some(keys) if !keys.is_empty() => Ok((keys, fresh)),
            Some(_) => Err(format!("{keys} has no key of a kind that is known here")),
            None => Err(format!("{keys} is no set of keys")),
        }
    }

    async fn discover(&self, client: &Client) -> Result<String, String> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let (document, _) = self.get(client, &url).await?;
        let Discovery { issuer, jwks_uri } = serde_json::from_slice(&document).map_err(|error| format!("{url} is no discovery document: {error}"))?;
        // Section 4.3: or one issuer could vouch for another's tokens.
        if issuer != self.issuer {
            return Err(format!("{url} is another issuer's document: {issuer}"));
        }
        Ok(jwks_uri)
    }

    /// One document, bounded in size and time, from the very address that was asked.
    async fn get(&self, client: &Client, url: &str) -> Result<(Vec<u8>, Duration), String> {
        let address = Url::parse(url).ok().filter(|address| self.may_ask(address)).ok_or_else(|| format!("{url} is no https address"))?;
        let failed = |error: reqwest::Error| format!("{url} cannot be fetched: {}", told(&error));
        let mut answer = client.get(address).header(header::ACCEPT, "application/json").send().await.map_err(failed)?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("{url} answers {}", answer.status().as_u16()));
        }
        let fresh = fresh_for(answer.headers().get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default());
        let mut document = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if document.len() + piece.len() > LONGEST_DOCUMENT {
                return Err(format!("{url} is longer than {LONGEST_DOCUMENT} bytes"));
            }
            document.extend_from_slice(&piece);
        }
        Ok((document, fresh))
    }

    /// Keys that come in the clear can be anybody's, but for this machine's own.
    fn may_ask(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_loopback = host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        url.scheme() == "https" || (url.scheme() == "http" && (self.allow_http || is_loopback))
    }
}

/// An error with what is behind it: a client's own words tell only that it failed.
fn told(error: &reqwest::Error) -> String {
    let mut told = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    told
}

/// `max-age` of a cache-control header, within bounds.
fn fresh_for(cache_control: &str) -> Duration {
    let directives = cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    let mut fresh = FRESH;
    for directive in directives {
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return FRESH_LEAST;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=").and_then(|seconds| seconds.trim_matches('"').parse().ok()) {
            fresh = Duration::from_secs(seconds);
        }
    }
    fresh.clamp(FRESH_LEAST, FRESH_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_says_how_long_its_keys_are_new_within_bounds() {
        for (header, seconds) in [
            ("", 3600),
            ("public, max-age=7200", 7200),
            ("max-age=1", 300),
            ("max-age=99999999999", 86_400),
            ("max-age=-1", 3600),
            ("MAX-AGE=600, must-revalidate", 600),
            ("no-store, max-age=7200", 300),
            ("no-cache", 300),
        ] {
            assert_eq!(fresh_for(header), Duration::from_secs(seconds), "{header}");
        }
    }

    #[test]
    fn keys_come_in_the_clear_from_this_machine_only() {
        for (url, allow_http, may) in [
            ("https://id.example.com/keys", false, true),
            ("http://id.example.com/keys", false, false),
            ("http://id.example.com/keys", true, true),
            ("http://127.0.0.1:1/keys", false, true),
            ("http://[::1]/keys", false, true),
            ("http://localhost/keys", false, true),
            ("http://localhost.example.com/keys", false, false),
            ("file:///etc/passwd", true, false),
        ] {
            let source = Source { issuer: String::new(), keys: None, allow_http };
            assert_eq!(source.may_ask(&Url::parse(url).unwrap()), may, "{url} {allow_http}");
        }
    }
}
