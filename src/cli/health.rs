//! `adit health`: one question to the gateway of this machine, for health checks in images that hold no other program.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{EXIT_USAGE, complain, say};
use crate::config;
use crate::config::snapshot::{Identity, Process, Snapshot};
use crate::provider::endpoint::Endpoint;

/// As long as anybody waits for it: less than the time-outs of health checks usually are.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than a status line and the answer to `/health` need.
const LONGEST_ANSWER: u64 = 16 * 1024;

/// Asks, and says what came.
pub(super) fn health(config: Option<&Path>, url: Option<&str>) -> ExitCode {
    let (url, expected) = match url {
        Some(url) => (url.to_owned(), None),
        None => match config::load_from_process(config) {
            Ok(Snapshot { process: Process { http: Some(listen), .. }, .. }) => (format!("http://{}", reachable(&listen)), None),
            Ok(Snapshot { process: Process { https: Some(https), .. }, .. }) => (format!("https://{}", reachable(&https.address)), Some(https.identity)),
            Ok(_) => return usage("listen.http: there is nothing to ask"),
            Err(errors) => return usage(&errors.to_string()),
        },
    };
    let endpoint = match Endpoint::parse(&url) {
        Ok(endpoint) if !endpoint.tls || expected.is_some() => endpoint,
        Ok(_) => return usage("--url: expected http://, as the question is for this machine"),
        Err(error) => return usage(&format!("--url: {error}")),
    };
    match ask(&endpoint, expected.as_ref()) {
        Ok(status) if status == "200" => {
            say("healthy");
            ExitCode::SUCCESS
        }
        Ok(status) => failed(&format!("{url} answers {status}")),
        Err(error) => failed(&format!("{url} cannot be asked: {error}")),
    }
}

fn usage(text: &str) -> ExitCode {
    complain(text);
    ExitCode::from(EXIT_USAGE)
}

fn failed(text: &str) -> ExitCode {
    complain(text);
    ExitCode::FAILURE
}

/// An address to connect to, for one to listen on: the unspecified one is this machine.
fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

/// The status that the gateway answers with.
fn ask(endpoint: &Endpoint, expected: Option<&Identity>) -> std::io::Result<String> {
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "no address");
    let address = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?.next().ok_or_else(missing)?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match expected {
        None => converse(stream, endpoint),
        Some(identity) => converse(tls::connect(stream, identity)?, endpoint),
    }
}

fn converse(mut stream: impl Read + Write, endpoint: &Endpoint) -> std::io::Result<String> {
    let path = if endpoint.prefix.is_empty() { "/health" } else { &endpoint.prefix };
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", endpoint.authority())?;
    let mut answer = String::new();
    let read = stream.take(LONGEST_ANSWER).read_to_string(&mut answer);
    // Some end a TLS session with the connection alone, behind a whole answer.
    read.map(drop).or_else(|error| if error.kind() == std::io::ErrorKind::UnexpectedEof && !answer.is_empty() { Ok(()) } else { Err(error) })?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.map(str::to_owned).ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "it speaks no HTTP"))
}

/// The client's end of TLS, for a server whose certificate is known beforehand.
mod tls {
    use std::io;
    use std::net::TcpStream;
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

    use crate::config::snapshot::Identity;

    pub(super) fn connect(stream: TcpStream, identity: &Identity) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let provider = Arc::new(ring::default_provider());
        let known = Known { certificate: identity.certified.cert.first().cloned(), provider: Arc::clone(&provider) };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(known)).with_no_client_auth();
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        Ok(StreamOwned::new(ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?, stream))
    }

    /// Takes the certificate that the configuration names and no other, whatever name it is for: the question goes to an address of this machine.
    #[derive(Debug)]
    struct Known {
        certificate: Option<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    }

    impl ServerCertVerifier for Known {
        fn verify_server_cert(
            &self,
            shown: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            if self.certificate.as_ref() == Some(shown) {
                return Ok(ServerCertVerified::assertion());
            }
            Err(Error::General("it does not show the certificate that the configuration names".to_owned()))
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:80", "[::1]:80"), ("127.0.0.1:1", "127.0.0.1:1"), ("localhost:9", "localhost:9")] {
            assert_eq!(reachable(listen), asked);
        }
    }
}
