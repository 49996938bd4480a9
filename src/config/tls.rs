//! `listen.https` of `conf/adit.yaml`, with the files that it names: a certificate without its key is found here, not in the first handshake.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::cursor::{Section, Value};
use super::snapshot::{Clients, Https, Identity};
use super::top::Keys;

/// Reads the section; every file is checked, also where another one is wrong.
pub(super) fn https(section: &Section<'_>, keys: &Keys<'_, '_>, expected: &str, address: fn(&str) -> Option<String>) -> Option<Https> {
    let address = section.required("address", expected).and_then(|value| value.parse(expected, address));
    let certificate = section.required("certificate", "a file").and_then(|value| File::read(value, keys));
    let key = section.required("key", "a file").and_then(|value| File::read(value, keys));
    let client_ca = section.get("client_ca").map(|value| File::read(value, keys));
    let chain = certificate.as_ref().and_then(certificates);
    let private = key.as_ref().and_then(private_key);
    let clients = match &client_ca {
        None => None,
        Some(file) => Some(file.as_ref().and_then(clients)?),
    };
    let (certificate, chain, key, private) = (certificate?, chain?, key?, private?);
    note_times(&certificate.value, &chain);
    let certified = match CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider()) {
        Ok(certified) => Arc::new(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            key.value.mistake(format!("expected the key of the certificate, but {} is another one's", key.path.display()));
            return None;
        }
        Err(error) => {
            key.value.mistake(format!("expected a private key that can sign, but {}: {error}", key.path.display()));
            return None;
        }
    };
    let client_ca = client_ca.flatten().map(|file| file.path);
    Some(Https { address: address?, certificate: certificate.path, key: key.path, client_ca, identity: Identity { certified, clients } })
}

/// A file that was read, and where it is named.
struct File<'n> {
    value: Value<'n>,
    path: PathBuf,
    text: String,
}

impl<'n> File<'n> {
    fn read(value: Value<'n>, keys: &Keys<'_, '_>) -> Option<Self> {
        let path = keys.file(value.text()?);
        match keys.read_text(&path) {
            Ok(text) => Some(File { value, path, text }),
            Err(error) => {
                value.mistake(format!("expected a readable file, but {}: {error}", path.display()));
                None
            }
        }
    }
}

/// All certificates of a file; at least one.
fn certificates(file: &File<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(file.text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => file.value.mistake(format!("expected certificates in PEM, but there is none in {}", file.path.display())),
        Ok(found) if found.iter().any(|found| X509Certificate::from_der(found).is_err()) => {
            file.value.mistake(format!("expected certificates in PEM, but one in {} can't be read", file.path.display()));
        }
        Ok(found) => return Some(found),
        Err(error) => file.value.mistake(format!("expected certificates in PEM, but {}: {error}", file.path.display())),
    }
    None
}

/// What is wrong with a key is said without a word of its text.
fn private_key(file: &File<'_>) -> Option<PrivateKeyDer<'static>> {
    let key = PrivateKeyDer::from_pem_slice(file.text.as_bytes()).ok();
    if key.is_none() {
        file.value.mistake(format!("expected a private key in PEM without a pass phrase, but there is none in {}", file.path.display()));
    }
    key
}

fn clients(file: &File<'_>) -> Option<Clients> {
    let certificates = certificates(file)?;
    let mut hasher = DefaultHasher::new();
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        certificate.hash(&mut hasher);
        if let Err(error) = roots.add(certificate) {
            file.value.mistake(format!("expected certificates of authorities, but one in {} is none: {error}", file.path.display()));
            return None;
        }
    }
    match WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider())).build() {
        Ok(verifier) => Some(Clients { verifier, digest: hasher.finish() }),
        Err(error) => {
            file.value.mistake(format!("expected certificates of authorities, but {}: {error}", file.path.display()));
            None
        }
    }
}

/// A certificate out of its time is no mistake: the gateway that serves on with it is better than one that does not start.
fn note_times(value: &Value<'_>, chain: &[CertificateDer<'_>]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let Some(Ok((_, leaf))) = chain.first().map(|leaf| X509Certificate::from_der(leaf)) else { return };
    let validity = leaf.validity();
    if validity.not_after.timestamp() < now {
        value.note(format_args!("the certificate has expired on {}", validity.not_after));
    } else if validity.not_before.timestamp() > now {
        value.note(format_args!("the certificate is not valid before {}", validity.not_before));
    }
}
