//! Where an upstream listens, parsed once from a URL.
//!
//! Not a general URL type: no user, no query, no fragment, and a path only as a prefix that goes in front of an API's own paths.
//!
//! Grammar: <https://www.rfc-editor.org/rfc/rfc3986>.

use std::fmt;

use http::Uri;

/// Where an upstream listens: `https://host:8443/prefix` → tls, `host`, 8443, `/prefix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Host name or IP address, in lower case; an IPv6 address stands without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What goes in front of every path: empty, or `/some/prefix` without a slash at the end.
    pub prefix: String,
}

/// Why a URL is no [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL at all.
    #[error("it is no URL")]
    Malformed,
    /// Neither `http` nor `https`.
    #[error("it does not begin with http:// or https://")]
    Scheme,
    /// No host, or characters that no host has.
    #[error("it names no valid host")]
    Host,
    /// A port that is not 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// `user:password@`.
    #[error("it holds a user name")]
    UserInfo,
    /// `?…` or `#…`.
    #[error("it holds a query or a fragment")]
    Query,
    /// A prefix with empty or dot segments, which signing and proxies would rewrite.
    #[error("its path holds an empty or a dot segment")]
    Path,
}

impl Endpoint {
    /// A host on the default port of HTTPS, without a prefix.
    #[must_use]
    pub fn https(host: impl Into<String>) -> Self {
        Endpoint { tls: true, host: host.into(), port: 443, prefix: String::new() }
    }

    /// Reads `http(s)://host[:port][/prefix][/]`.
    ///
    /// # Errors
    /// [`EndpointError`] says which part is wrong.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
        let (tls, rest) = if lower.starts_with("https://") {
            (true, url.get(8..))
        } else if lower.starts_with("http://") {
            (false, url.get(7..))
        } else {
            return Err(EndpointError::Scheme);
        };
        let rest = rest.unwrap_or_default();
        if rest.contains(['?', '#']) {
            return Err(EndpointError::Query);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        // What is left to check is which characters a URL may hold: the HTTP types know.
        let uri: Uri = url.parse().map_err(|_| EndpointError::Malformed)?;
        if uri.host().is_none() {
            return Err(EndpointError::Host);
        }
        Ok(Endpoint { tls, host: host.to_ascii_lowercase(), port: port.unwrap_or(if tls { 443 } else { 80 }), prefix: prefix(path)?.to_owned() })
    }

    /// The `host` header: no port where it is the scheme's own, brackets around an IPv6 address.
    #[must_use]
    pub fn authority(&self) -> String {
        let default = if self.tls { 443 } else { 80 };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        if self.port == default { format!("{open}{}{close}", self.host) } else { format!("{open}{}{close}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.prefix)
    }
}

/// `[::1]:80` → `::1` and 80; `host` → `host` and none.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), EndpointError> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(EndpointError::Host)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| EndpointError::Host)?;
        match rest {
            "" => (host, None),
            _ => (host, Some(rest.strip_prefix(':').ok_or(EndpointError::Port)?)),
        }
    } else {
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        if !is_host_name(host) {
            return Err(EndpointError::Host);
        }
        (host, port)
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(EndpointError::Port),
        },
        Some(_) => return Err(EndpointError::Port),
    };
    Ok((host, port))
}

/// Names as people really use them: letters, digits, `-` and `_`, in labels that dots divide.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

fn prefix(path: &str) -> Result<&str, EndpointError> {
    let path = path.trim_end_matches('/');
    let Some(segments) = path.strip_prefix('/') else { return Ok("") };
    if segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(EndpointError::Path);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_endpoints() {
        for (url, tls, host, port, prefix, authority) in [
            ("https://example.com", true, "example.com", 443, "", "example.com"),
            ("https://example.com:443/", true, "example.com", 443, "", "example.com"),
            ("HTTPS://Example.COM", true, "example.com", 443, "", "example.com"),
            ("http://127.0.0.1:9000", false, "127.0.0.1", 9000, "", "127.0.0.1:9000"),
            ("http://localhost", false, "localhost", 80, "", "localhost"),
            ("http://[::1]:9000/bedrock/", false, "::1", 9000, "/bedrock", "[::1]:9000"),
            ("https://[fd00:ec2::1]", true, "fd00:ec2::1", 443, "", "[fd00:ec2::1]"),
            ("https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com/a/b//", true, "vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", 443, "/a/b", ""),
            ("http://stand_in:80/x", false, "stand_in", 80, "/x", "stand_in"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((endpoint.tls, endpoint.host.as_str(), endpoint.port, endpoint.prefix.as_str()), (tls, host, port, prefix), "{url}");
            if !authority.is_empty() {
                assert_eq!(endpoint.authority(), authority, "{url}");
            }
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for (url, error) in [
            ("", EndpointError::Scheme),
            ("example.com", EndpointError::Scheme),
            ("ftp://example.com", EndpointError::Scheme),
            ("https://", EndpointError::Host),
            ("https:///path", EndpointError::Host),
            ("https://ex ample.com", EndpointError::Host),
            ("https://exa/mple com", EndpointError::Malformed),
            ("https://[::1", EndpointError::Host),
            ("https://[nonsense]", EndpointError::Host),
            ("https://[::1]8080", EndpointError::Port),
            ("https://a:0", EndpointError::Port),
            ("https://a:", EndpointError::Port),
            ("https://a:99999", EndpointError::Port),
            ("https://a:+80", EndpointError::Port),
            ("https://user:pass@a", EndpointError::UserInfo),
            ("https://a/x?y=1", EndpointError::Query),
            ("https://a/#y", EndpointError::Query),
            ("https://a/x//y", EndpointError::Path),
            ("https://a/x/../y", EndpointError::Path),
            ("https://münchen.example", EndpointError::Host),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn an_endpoint_writes_itself_as_a_url() {
        for url in ["https://example.com", "http://[::1]:9000/bedrock", "http://localhost:8080"] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), url);
        }
    }
}
