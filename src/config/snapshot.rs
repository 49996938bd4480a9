//! What the code trusts: a configuration that was read, checked and typed as a whole.
//!
//! A request takes one `Arc` of the [`Snapshot`] and keeps it; a reload replaces it as a whole, but for what [`Process::fixed_but_changed`] names.
//! Nothing here can be wrong any more; what an operator may get wrong is the business of the readers beside this module.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{FileRead, Secret};

mod access;
mod models;
mod optillm;
mod remote;
mod tls;

pub use access::*;
pub use models::*;
pub use optillm::*;
pub use remote::*;
pub use tls::*;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Listeners, limits, timeouts.
    pub process: Process,
    /// Providers, models and how to choose among them.
    pub models: ModelMap,
    /// The files it was read from; none for what is embedded.
    pub files: Vec<FileRead>,
    pub(super) notes: Vec<String>,
}

/// What `conf/adit.yaml` says.
#[derive(Clone, Debug)]
pub struct Process {
    /// Address of the plain HTTP listener, such as `127.0.0.1:8080`.
    pub http: Option<String>,
    /// The TLS listener.
    pub https: Option<Https>,
    /// How clients prove who they are, and what each may do.
    pub auth: Auth,
    /// A folder for what outlives the process: budgets, kept responses, the key that signs sessions. `None`: the one that the service manager gave, else one beside the file.
    pub state_dir: Option<PathBuf>,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Limits of a user that has none of his own.
    pub default_limits: Option<UserLimits>,
    /// Budget of a user that has none of his own.
    pub default_budget: Budget,
    /// So many tokens are held for an answer whose request does not say how many it may have.
    pub default_max_tokens: u64,
    /// Requests in a second from one address; `None`: no limit.
    pub per_address: Option<u64>,
    /// How long to wait for an upstream that says nothing of its own.
    pub timeouts: Timeouts,
    /// How long to wait for a client.
    pub client_timeouts: ClientTimeouts,
    /// The audit log.
    pub audit: Option<Audit>,
    /// Answers of OpenAI Responses that are kept.
    pub responses: Responses,
    /// What all nodes share.
    pub redis: Option<Redis>,
    /// The response cache; `None`: no answer is given again.
    pub cache: Option<Cache>,
    /// URLs of images and files in requests; `None`: they are refused where the model can't fetch them itself.
    pub remote_files: Option<RemoteFiles>,
    /// Approaches that ask a model more than once; `None`: a name such as `moa-x` is just a name.
    pub optillm: Option<Optillm>,
    /// Networks whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<Network>,
    /// When to turn requests away.
    pub overload: Overload,
    /// One line a request, or none.
    pub access_log: AccessLog,
    /// How long a model may be silent before the client gets a sign of life; `None`: never.
    pub keepalive: Option<Duration>,
    /// What the host framework is told.
    pub pingora: Pingora,
}

impl Process {
    /// The keys whose values differ from another's although they are fixed for the life of a process.
    #[must_use]
    pub fn fixed_but_changed(&self, other: &Process) -> Vec<&'static str> {
        let (a, b) = (&self.pingora, &other.pingora);
        let keys = [
            ("listen.http", self.http != other.http),
            ("listen.https", self.https.as_ref().map(|https| &https.address) != other.https.as_ref().map(|https| &https.address)),
            ("pingora.threads", a.threads != b.threads),
            ("pingora.pid_file", a.pid_file != b.pid_file),
            ("pingora.upgrade_sock", a.upgrade_sock != b.upgrade_sock),
        ];
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

/// How long to wait for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the TCP and TLS handshakes.
    pub connect: Duration,
    /// From the request's last byte to the answer's first.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For the whole of an answer; `None`: for ever.
    pub total: Option<Duration>,
}

/// How long to wait for a client: one that sends a byte now and then must not hold a place for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For the whole head of a request.
    pub head: Duration,
    /// For a body, and between two pieces of one; what has come buys more time.
    pub body: Duration,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The file, one JSON line a request.
    pub path: PathBuf,
    /// How much of the bodies goes in.
    pub bodies: AuditBodies,
    /// Bytes of one body that go in at most; what is behind them is cut.
    pub max_body_bytes: usize,
    /// What happens to a line when the writer is behind.
    pub on_full: OnFull,
    /// The file is renamed and a new one begun when it is so large; `None`: whoever rotates it sends SIGHUP.
    pub max_bytes: Option<u64>,
    /// How many renamed files are kept.
    pub keep: usize,
}

/// What happens to a line of the audit log when the writer is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It is lost, and counted.
    Drop,
    /// Requests wait for the writer.
    Block,
}

/// The response cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// How long an answer is kept.
    pub ttl: Duration,
    /// How much memory all of them take.
    pub max_bytes: u64,
    /// Whether one user gets what another has asked.
    pub shared: bool,
    /// Whether only requests whose temperature is 0 have their answers kept, and those that ask for it.
    pub deterministic_only: bool,
}

/// Answers of OpenAI Responses that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responses {
    /// Whether any are.
    pub store: bool,
    /// For how long.
    pub ttl: Duration,
    /// All of them together.
    pub max_bytes: u64,
}

/// A Redis or Valkey server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// `redis://…` or `rediss://…`, with a password perhaps.
    pub url: Secret,
    /// What happens while it is not there.
    pub on_failure: OnRedisFailure,
    /// How long it has for an answer.
    pub timeout: Duration,
}

/// What happens to requests while Redis is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRedisFailure {
    /// Each node decides alone.
    Local,
    /// They are refused.
    Deny,
}

/// How much of the bodies an audit log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditBodies {
    /// Nothing.
    None,
    /// Their shape, without content.
    Redacted,
    /// Everything.
    Full,
}

/// When to turn requests away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overload {
    /// Requests in the house at a time.
    pub max_requests: u64,
    /// Bytes of bodies in memory.
    pub max_buffered_bytes: u64,
}

/// One line a request, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// For people.
    Text,
    /// For machines.
    Json,
    /// No line.
    Off,
}

/// What the host framework is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pingora {
    /// Worker threads; 0: one per core.
    pub threads: usize,
    /// Where the process id goes.
    pub pid_file: PathBuf,
    /// The socket over which a new process takes the listeners.
    pub upgrade_sock: PathBuf,
    /// How long a graceful stop takes at least: last bytes get out.
    pub grace_period_seconds: u64,
    /// How long requests may take beyond that; the process ends with the last of them.
    pub graceful_shutdown_timeout_seconds: u64,
}

/// An IP network: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count, at most 32 or 128.
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        (bits <= most).then_some(Network { address, bits })
    }

    /// Whether an address lies in it. An IPv4 address in IPv6 clothes counts as the IPv4 address that it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differs = |a: u128, b: u128, width: u32| (a ^ b).checked_shr(width - u32::from(self.bits)).unwrap_or(0) != 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => !differs(u32::from(net).into(), u32::from(address).into(), 32),
            (IpAddr::V6(net), IpAddr::V6(address)) => !differs(net.into(), address.into(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_addresses() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("::/0", "2001:db8::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("2001:db8::1/128", "2001:db8::1", true),
        ] {
            assert_eq!(Network::parse(network).unwrap().contains(address.parse().unwrap()), inside, "{network} {address}");
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "x", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
