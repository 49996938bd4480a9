//! Where a request comes from.

use std::net::IpAddr;

use http::HeaderMap;
use pingora::protocols::l4::socket::SocketAddr;

use crate::config::snapshot::Network;

/// More hops than any sane chain of proxies has.
const MOST_HOPS: usize = 32;

/// The client's address: the connection's, or where that is a trusted proxy's, what it says of whom it serves in `x-forwarded-for`. Each proxy adds whom it
/// sees at the end, so the list is read from there, and the first address that is no trusted proxy's is the client's: what stands before it the client has
/// written himself.
pub(super) fn address(connection: Option<&SocketAddr>, headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let peer = connection?.as_inet()?.ip().to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    if trusted.is_empty() || !is_trusted(peer) {
        return Some(client);
    }
    let lines = headers.get_all("x-forwarded-for").into_iter().filter_map(|line| line.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|hop| !hop.is_empty()).collect();
    for hop in hops.iter().rev().take(MOST_HOPS) {
        // What is no address stops the reading: the last address that a trusted proxy vouches for is the client's.
        let Some(address) = parse(hop) else { break };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    Some(client)
}

/// `192.0.2.1`, `2001:db8::1`, and with a port as some proxies write them: `192.0.2.1:80`, `[2001:db8::1]:80`.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse::<IpAddr>().ok().or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trusted_proxy_says_is_believed_and_nothing_else() {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| Network::parse(network).unwrap());
        for (peer, lines, client) in [
            ("198.51.100.1:1", vec!["192.0.2.1"], "198.51.100.1"),
            ("10.0.0.1:1", vec![], "10.0.0.1"),
            ("10.0.0.1:1", vec!["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1:1", vec!["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1:1", vec!["192.0.2.1, 10.2.2.2"], "192.0.2.1"),
            ("10.0.0.1:1", vec!["203.0.113.9", "192.0.2.1,10.2.2.2"], "192.0.2.1"),
            ("10.0.0.1:1", vec!["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1:1", vec!["192.0.2.1, unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1:1", vec!["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1:1", vec!["[2001:db8::1]:80"], "2001:db8::1"),
            ("10.0.0.1:1", vec!["2001:db8::1"], "2001:db8::1"),
            ("[fd00::1]:1", vec!["::ffff:192.0.2.1"], "192.0.2.1"),
            ("[::ffff:10.0.0.1]:1", vec!["192.0.2.1"], "192.0.2.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let peer: std::net::SocketAddr = peer.parse().unwrap();
            let found = address(Some(&SocketAddr::Inet(peer)), &headers, &trusted);
            assert_eq!(found, Some(client.parse().unwrap()), "{peer} {lines:?}");
        }
    }
}
