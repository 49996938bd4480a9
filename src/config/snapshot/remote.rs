//! Which hosts may be asked for files behind URLs.

use std::fmt;
use std::time::Duration;

use url::Host;

/// URLs of images and files in requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFiles {
    /// Who may be asked. Empty: nobody.
    pub allow: Vec<RemoteHost>,
    /// Of one file.
    pub max_bytes: usize,
    /// For one file, from the name to its last byte.
    pub timeout: Duration,
}

/// A host that may be asked for files: `cdn.example.com`, `*.example.com` for all below it, `192.0.2.7`; on ports 80 and 443, or the one behind a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteHost {
    below: bool,
    /// As URLs are read: in lower case, names in other scripts as `xn--`.
    host: Host<String>,
    port: Option<u16>,
}

impl RemoteHost {
    /// Reads an entry of the list; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (below, text) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // A colon behind a closing bracket, or the only one, stands before a port.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
            _ => (text, None),
        };
        let host = Host::parse(host).or_else(|error| host.parse().map(Host::Ipv6).map_err(|_| error)).ok()?;
        let is_name = matches!(&host, Host::Domain(name) if !name.contains('*') && !name.ends_with('.'));
        (is_name || !below && !matches!(host, Host::Domain(_))).then_some(RemoteHost { below, host, port })
    }

    /// Whether this entry takes a host and port of a URL.
    #[must_use]
    pub fn takes(&self, host: &Host<&str>, port: u16) -> bool {
        let named = match (&self.host, host) {
            (Host::Domain(own), Host::Domain(name)) if self.below => {
                name.strip_suffix(own.as_str()).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
            }
            (Host::Domain(own), Host::Domain(name)) => own == name,
            (Host::Ipv4(own), Host::Ipv4(address)) => own == address,
            (Host::Ipv6(own), Host::Ipv6(address)) => own == address,
            _ => false,
        };
        named && self.port.map_or(matches!(port, 80 | 443), |own| own == port)
    }
}

impl fmt::Display for RemoteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RemoteHost { below, host, port } = self;
        f.write_str(if *below { "*." } else { "" })?;
        host.fmt(f)?;
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_what_it_names_and_nothing_else() {
        let takes = |entry: &str, url: &str| {
            let url = url::Url::parse(url).unwrap();
            RemoteHost::parse(entry).unwrap().takes(&url.host().unwrap(), url.port_or_known_default().unwrap())
        };
        for (entry, url) in [
            ("cdn.example.com", "https://cdn.example.com/a"),
            ("CDN.example.com", "http://cdn.EXAMPLE.com:80/a"),
            ("*.example.com", "https://a.b.example.com/"),
            ("cdn.example.com:8443", "https://cdn.example.com:8443/"),
            ("bücher.example", "https://xn--bcher-kva.example/"),
            ("127.0.0.1:8080", "http://127.1:8080/"),
            ("[::1]:8080", "http://[0:0::1]:8080/"),
            ("2001:db8::1", "http://[2001:db8::1]/"),
        ] {
            assert!(takes(entry, url), "{entry} {url}");
        }
        for (entry, url) in [
            ("cdn.example.com", "https://example.com/"),
            ("cdn.example.com", "https://cdn.example.com:8080/"),
            ("cdn.example.com", "https://cdn.example.com./"),
            ("cdn.example.com", "https://a.cdn.example.com/"),
            ("*.example.com", "https://example.com/"),
            ("*.example.com", "https://evilexample.com/"),
            ("*.example.com", "https://example.com.evil.test/"),
            ("*.example.com", "https://.example.com/"),
            ("cdn.example.com:8443", "https://cdn.example.com/"),
            ("127.0.0.1:8080", "http://127.0.0.1/"),
            ("127.0.0.1", "http://[::ffff:127.0.0.1]/"),
        ] {
            assert!(!takes(entry, url), "{entry} {url}");
        }
    }

    #[test]
    fn what_is_no_host_is_no_entry() {
        for bad in [
            "",
            "*",
            "*.",
            "http://a.example",
            "a.example/x",
            "a.example:",
            "a.example:0",
            "a.example:99999",
            "*.127.0.0.1",
            "a.*.example",
            "a example",
            "a@b",
            "a.example.",
        ] {
            assert_eq!(RemoteHost::parse(bad), None, "{bad}");
        }
        assert_eq!(RemoteHost::parse("*.Example.com:81").unwrap().to_string(), "*.example.com:81");
    }
}
