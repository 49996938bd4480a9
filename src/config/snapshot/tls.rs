//! What the TLS listener serves with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

/// A TLS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Https {
    /// Address such as `0.0.0.0:8443`.
    pub address: String,
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Certificates that client certificates must descend from, PEM.
    pub client_ca: Option<PathBuf>,
    /// What these files held.
    pub identity: Identity,
}

/// A certificate with its key, and who vouches for clients. Read, and known to fit.
#[derive(Clone)]
pub struct Identity {
    /// For the handshake.
    pub certified: Arc<CertifiedKey>,
    /// `None`: clients are not asked for certificates.
    pub clients: Option<Clients>,
}

/// Who vouches for clients.
#[derive(Clone)]
pub struct Clients {
    /// Checks their certificates.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// Tells one set of authorities from another: a certificate that was checked against these need not be checked again.
    pub digest: u64,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let clients = |identity: &Identity| identity.clients.as_ref().map(|clients| clients.digest);
        self.certified.cert == other.certified.cert && clients(self) == clients(other)
    }
}

impl Eq for Identity {}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.clients.as_ref().map(|clients| clients.digest);
        f.debug_struct("Identity").field("certificates", &self.certified.cert.len()).field("clients", &clients).finish_non_exhaustive()
    }
}
