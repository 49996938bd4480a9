//! Host names to addresses, off the request path.
//!
//! A Bedrock endpoint has several addresses that change within minutes. Each provider's host is looked up at start and then again and again in the background;
//! a request takes one of the addresses without waiting. A failed look-up keeps the addresses that are known.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use log::{debug, warn};

/// How long addresses are used before they are looked up again: the order of the time to live of AWS's own records.
const REFRESH: Duration = Duration::from_secs(30);

/// The addresses of one host and port.
#[derive(Debug)]
pub struct Addresses {
    host: String,
    port: u16,
    known: ArcSwap<Vec<SocketAddr>>,
}

impl Addresses {
    /// Addresses of a host, none yet; an IP address needs no look-up and is there at once.
    pub fn new(host: &str, port: u16) -> Self {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        let known = literal.parse::<IpAddr>().map(|ip| vec![SocketAddr::new(ip, port)]).unwrap_or_default();
        Addresses { host: literal.to_owned(), port, known: ArcSwap::from_pointee(known) }
    }

    /// One of the known addresses; equal numbers give equal addresses while the set stays the same.
    pub fn pick(&self, number: usize) -> Option<SocketAddr> {
        let known = self.known.load();
        let index = number.checked_rem(known.len())?;
        known.get(index).copied()
    }

    /// Whether there is more than one.
    pub fn are_several(&self) -> bool {
        self.known.load().len() > 1
    }

    /// Looks the host up now.
    ///
    /// # Errors
    /// The resolver's own.
    pub async fn refresh(&self) -> std::io::Result<()> {
        let mut found: Vec<SocketAddr> = tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        if found.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no address"));
        }
        found.sort_unstable();
        found.dedup();
        if **self.known.load() != found {
            debug!("{} has {} addresses", self.host, found.len());
            self.known.store(Arc::new(found));
        }
        Ok(())
    }

    /// Keeps the addresses fresh; never returns, and returns at once for an IP address.
    pub async fn keep_fresh(&self) {
        if self.host.parse::<IpAddr>().is_ok() {
            return;
        }
        loop {
            if let Err(error) = self.refresh().await {
                warn!("cannot look up {}: {error}", self.host);
            }
            tokio::time::sleep(REFRESH).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ip_address_is_known_at_once() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:80"), ("[::1]", "[::1]:80"), ("::1", "[::1]:80")] {
            let addresses = Addresses::new(host, 80);
            assert_eq!(addresses.pick(3), Some(address.parse().unwrap()), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_is_known_once_it_was_looked_up() {
        let addresses = Addresses::new("localhost", 80);
        assert_eq!(addresses.pick(0), None);
        addresses.refresh().await.unwrap();
        assert!(addresses.pick(7).unwrap().ip().is_loopback());
    }
}
