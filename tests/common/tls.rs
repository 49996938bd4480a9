//! Certificates made here, and clients that speak TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Client, PATIENCE};

/// A certificate authority.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key, good until this year.
    pub(crate) fn issue(&self, name: &str, year: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
}

/// A client's end: it trusts one authority, and has a certificate perhaps.
pub(crate) fn client(authority: &Authority, own: Option<&Pair>, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match own {
        Some(pair) => {
            let key = PrivateKeyDer::try_from(pair.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![pair.certificate.clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

pub(crate) type Connection = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Connection> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
    let mut connection = StreamOwned::new(session, stream);
    while connection.conn.is_handshaking() {
        connection.conn.complete_io(&mut connection.sock)?;
    }
    Ok(connection)
}

/// One request with its answer, on a connection that goes on.
pub(crate) fn ask(connection: &mut Connection, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<(u16, String)> {
    write!(connection, "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())?;
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte)?;
        read.push(byte[0]);
    }
    let head = String::from_utf8(read).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((head[9..12].parse().unwrap(), String::from_utf8(body).unwrap()))
}

/// Carries the bytes of all tunnels.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A client whose bytes go through TLS, which is agreed on when it is given back.
pub(crate) fn through(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Client> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (inner, _) = listener.accept()?;
    inner.set_nonblocking(true)?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    RUNTIME.block_on(async {
        let mut inner = tokio::net::TcpStream::from_std(inner)?;
        let outer = tokio::net::TcpStream::connect(address).await?;
        outer.set_nodelay(true)?;
        inner.set_nodelay(true)?;
        let mut outer = connector.connect("localhost".try_into().unwrap(), outer).await?;
        // Whoever reads at the near end sees how it ended.
        tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut inner, &mut outer).await) });
        Ok::<_, std::io::Error>(())
    })?;
    Ok(Client::new(near))
}
