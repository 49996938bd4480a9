//! The TLS listener: certificates as the configuration in force has them, and the user whom a client's certificate names.
//!
//! Nothing is set up once and for all: each handshake takes the certificate, and each check the authorities, of the configuration that is in force then. What is
//! agreed on a connection stays; only a client's certificate is looked at again when the authorities have changed or its time is over.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::tls::TlsRef;
use pingora_proxy::Session;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::config::snapshot::{Clients, Identity, Process};
use crate::policy::auth::mtls::Names;
use crate::proxy::Shared;

/// The settings of the TLS listener: TLS 1.2 and newer, HTTP/2 or HTTP/1.1 as the client likes.
///
/// # Errors
/// The host's.
pub fn settings(shared: &Arc<Shared>) -> pingora::Result<TlsSettings> {
    let live = || Live { shared: Arc::clone(shared), algorithms: ring::default_provider().signature_verification_algorithms };
    let mut settings = TlsSettings::with_callbacks(Box::new(live()))?;
    settings.enable_h2();
    settings.set_cert_resolver(Arc::new(live()));
    settings.set_client_cert_verifier(Arc::new(live()));
    Ok(settings)
}

/// The user whom the certificate of a request's connection names; `None` where there is none that counts now.
pub(super) fn certificate_user<'s>(session: &'s Session, process: &Process) -> Option<&'s str> {
    let peer = session.as_downstream().digest()?.ssl_digest.as_ref()?.extension.get::<Peer>()?;
    let clients = process.https.as_ref()?.identity.clients.as_ref()?;
    let now = UnixTime::now();
    let counts = if peer.verified == Some(clients.digest) { !peer.names.has_expired(now.as_secs()) } else { verify(clients, &peer.chain, now) };
    counts.then(|| peer.names.user(process.auth.mtls_user)).flatten()
}

/// A client's certificate, kept with its connection.
struct Peer {
    chain: Vec<CertificateDer<'static>>,
    names: Names,
    /// The authorities it was checked against, if it was found good.
    verified: Option<u64>,
}

fn verify(clients: &Clients, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
    chain.split_first().is_some_and(|(first, others)| clients.verifier.verify_client_cert(first, others, now).is_ok())
}

/// Looks everything up in the configuration in force.
struct Live {
    shared: Arc<Shared>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Live {
    fn identity(&self) -> Option<Identity> {
        self.shared.live.now().snapshot.process.https.as_ref().map(|https| https.identity.clone())
    }

    fn clients(&self) -> Option<Clients> {
        self.identity()?.clients
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Live {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // After a reload that took the listener away it goes on until a restart, but has nothing to show.
        Some(self.identity()?.certified)
    }
}

/// Clients may come without a certificate: whether they need one is decided when they ask for something, and is answered in their own words.
impl ClientCertVerifier for Live {
    fn offer_client_auth(&self) -> bool {
        self.clients().is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: they are borrowed here, and the authorities may change. Clients then send what they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(&self, certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<ClientCertVerified, Error> {
        match self.clients() {
            Some(clients) => clients.verifier.verify_client_cert(certificate, others, now),
            None => Err(Error::General("clients are not asked for certificates any more".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[async_trait]
impl TlsAccept for Live {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let chain = tls.peer_cert_chain_der().filter(|chain| !chain.is_empty())?.to_vec();
        let names = Names::of(chain.first()?)?;
        // A resumed session brings the certificate of an earlier handshake, which nobody has checked today.
        let clients = self.clients()?;
        let verified = verify(&clients, &chain, UnixTime::now()).then_some(clients.digest);
        Some(Arc::new(Peer { chain, names, verified }))
    }
}
