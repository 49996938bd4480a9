//! Files behind URLs that stand in requests: fetched from hosts that the operator names, and never from inside the operator's network.
//!
//! A URL in a request is an order to the gateway to connect to somewhere, written by whoever holds a key. So: only hosts on the list; only addresses of the public
//! internet, all that a name has; the connection goes to the very addresses that were checked; no redirect to another host; a bound on bytes and on time. An address
//! that the operator wrote down as a number is taken at its word.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use log::{debug, warn};
use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use thiserror::Error;
use url::Url;

use crate::config::snapshot::RemoteFiles;
use crate::ops::load::Full;

/// Redirects within one host: a name of a file often leads to its newest version, but not through more doors than that.
const MOST_REDIRECTS: usize = 3;

/// A file as its host gave it.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The `content-type`, if there was one that is text.
    pub media_type: Option<String>,
}

/// Why a file was not fetched. Nothing here tells what a host answered.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Trouble {
    /// It is no URL, or none that is fetched.
    #[error("expected an http(s) URL without user name or password")]
    Url,
    /// The operator's list does not name it.
    #[error("the gateway does not fetch files from this host")]
    Host,
    /// It is, or leads to, a place that is not public.
    #[error("the host of this URL is not on the public internet")]
    Address,
    /// It leads to another host, or round and round.
    #[error("the URL redirects to another place; give the file's own URL")]
    Redirect,
    /// More than the operator allows.
    #[error("the file behind the URL is larger than {0} bytes")]
    TooLarge(usize),
    /// Too slow.
    #[error("the host of the URL took too long")]
    TimedOut,
    /// Anything else.
    #[error("the file could not be fetched from its URL")]
    Failed,
    /// The house is full.
    #[error("the gateway has no room for the file at the moment")]
    Full(Full),
}

/// Looks a name up. The system's resolver; a script in tests.
trait Lookup: Send + Sync + 'static {
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;
}

struct System;

impl Lookup for System {
    fn lookup(&self, name: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// A resolver that gives only addresses that may be connected to. The client connects to what it gets here and asks nobody else.
#[derive(Clone)]
struct Checked {
    lookup: Arc<dyn Lookup>,
    may: fn(IpAddr) -> bool,
}

/// What the resolver says of a name that leads inside.
#[derive(Clone, Copy, Debug, Error)]
#[error("the name has an address that is not public")]
struct Inside;

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let Checked { lookup, may } = self.clone();
        Box::pin(async move {
            let found = lookup.lookup(name.as_str().to_owned()).await?;
            // One bad address is enough: which of them is taken would be chance.
            if found.is_empty() || !found.iter().all(|address| may(*address)) {
                return Err(Inside.into());
            }
            let addresses: reqwest::dns::Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Fetches files.
pub struct Remote {
    resolver: Checked,
    /// Made for the first file: most gateways fetch none.
    client: OnceLock<Option<reqwest::Client>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl Default for Remote {
    fn default() -> Self {
        Remote::with(Arc::new(System), is_public)
    }
}

impl Remote {
    fn with(lookup: Arc<dyn Lookup>, may: fn(IpAddr) -> bool) -> Self {
        Remote { resolver: Checked { lookup, may }, client: OnceLock::new() }
    }

    /// Fetches a file. `hold` is asked for room before bytes are kept.
    ///
    /// # Errors
    /// Why not.
    pub async fn fetch(&self, url: &str, rules: &RemoteFiles, hold: impl FnMut(usize) -> Result<(), Trouble> + Send) -> Result<Fetched, Trouble> {
        match tokio::time::timeout(rules.timeout, self.follow(url, rules, hold)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(Trouble::TimedOut),
        }
    }

    async fn follow(&self, url: &str, rules: &RemoteFiles, hold: impl FnMut(usize) -> Result<(), Trouble> + Send) -> Result<Fetched, Trouble> {
        let mut url = self.check(Url::parse(url).map_err(|_| Trouble::Url)?, rules)?;
        let client = self.client().ok_or(Trouble::Failed)?;
        for _ in 0..=MOST_REDIRECTS {
            let answer = client.get(url.clone()).header(ACCEPT_ENCODING, "identity").send().await.map_err(|error| failed(&error))?;
            if !answer.status().is_redirection() {
                return read(answer, rules, hold).await;
            }
            let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| url.join(to).ok()).ok_or(Trouble::Redirect)?;
            let stays = to.host() == url.host() && to.port_or_known_default() == url.port_or_known_default() && to.scheme() == url.scheme();
            if !stays {
                return Err(Trouble::Redirect);
            }
            url = self.check(to, rules)?;
        }
        Err(Trouble::Redirect)
    }

    /// Whether a URL may be asked at all, as far as that can be told without looking its name up.
    fn check(&self, url: Url, rules: &RemoteFiles) -> Result<Url, Trouble> {
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(Trouble::Url);
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return Err(Trouble::Url) };
        if !rules.allow.iter().any(|entry| entry.takes(&host, port)) {
            return Err(Trouble::Host);
        }
        // An address that is written as a number is only taken by an entry that names it: the operator's own decision, public or not.
        Ok(url)
    }

    fn client(&self) -> Option<&reqwest::Client> {
        let make = || {
            // An error means that there is one.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let builder = reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .retry(reqwest::retry::never())
                .http1_only()
                // A kept connection would be one to an address that was checked for another request.
                .pool_max_idle_per_host(0)
                .user_agent(concat!("adit/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Arc::new(self.resolver.clone()));
            builder.build().map_err(|error| warn!("no files can be fetched: {error}")).ok()
        };
        self.client.get_or_init(make).as_ref()
    }
}

/// Reads a file up to the bound.
async fn read(mut answer: reqwest::Response, rules: &RemoteFiles, mut hold: impl FnMut(usize) -> Result<(), Trouble>) -> Result<Fetched, Trouble> {
    let encoded = answer.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes() != b"identity");
    if answer.status() != reqwest::StatusCode::OK || encoded {
        debug!("a remote file was answered with {}", answer.status());
        return Err(Trouble::Failed);
    }
    let too_large = |length: u64| length > rules.max_bytes as u64;
    if answer.content_length().is_some_and(too_large) {
        return Err(Trouble::TooLarge(rules.max_bytes));
    }
    let media_type = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| failed(&error))? {
        if too_large(bytes.len() as u64 + piece.len() as u64) {
            return Err(Trouble::TooLarge(rules.max_bytes));
        }
        hold(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(Fetched { bytes, media_type })
}

fn failed(error: &reqwest::Error) -> Trouble {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<Inside>() {
            return Trouble::Address;
        }
        cause = inner.source();
    }
    debug!("a remote file failed: {}", if error.is_connect() { "no connection" } else { "no answer" });
    Trouble::Failed
}

/// Whether an address is one of the public internet: none of IANA's special-purpose registries, of either version, whatever wraps it.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>, and multicast.
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Azure's platform and metadata services answer on an address that is no private one.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |(network, bits): &(Ipv4Addr, u32)| (address.to_bits() ^ network.to_bits()).checked_shr(32 - bits).unwrap_or_default() == 0;
    !SPECIAL_V4.iter().any(within)
}

/// <https://www.iana.org/assignments/iana-ipv6-special-registry>, within what is global unicast at all (2000::/3).
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let inner = |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match segments {
        // The other version in this one's clothes: mapped, and by way of a translator (RFC 6052) or a tunnel (RFC 3056).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => return inner(high, low),
        _ => {}
    }
    let is_global = segments[0] & 0xe000 == 0x2000;
    let within = |(network, bits): &(Ipv6Addr, u32)| (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0;
    is_global && !SPECIAL_V6.iter().any(within)
}

#[cfg(test)]
mod tests;
