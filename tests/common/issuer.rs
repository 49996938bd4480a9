//! An identity provider on loopback, with keys of several kinds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use ring::rsa;
use serde_json::{Value, json};

/// The key pair of RFC 7515, appendix A.2: everybody knows it.
const RSA: &str = include_str!("../fixtures/jose/rfc7515-a2.jwk.json");

/// An identity provider.
pub(crate) struct Provider {
    pub(crate) url: String,
    /// The document with its keys; `None` while it is down.
    pub(crate) keys: Arc<Mutex<Option<String>>>,
    pub(crate) fetches: Arc<AtomicUsize>,
}

impl Provider {
    pub(crate) fn new(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Provider { url: url.clone(), keys: Arc::default(), fetches: Arc::default() };
        provider.publish(signers);
        let (keys, fetches) = (Arc::clone(&provider.keys), Arc::clone(&provider.fetches));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut client = super::Client::new(stream.unwrap());
                let Some(request) = client.request() else { continue };
                let body = if request.line.contains("/.well-known/openid-configuration") {
                    Some(json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string())
                } else {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    keys.lock().unwrap().clone()
                };
                let answer = match body {
                    Some(body) => format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
                    None => "HTTP/1.1 503 Down\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
                };
                client.send(answer.as_bytes());
            }
        });
        provider
    }

    pub(crate) fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.published()).collect();
        *self.keys.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    /// Claims that are good for ten minutes.
    pub(crate) fn claims(&self) -> Value {
        let now = now();
        json!({"iss": self.url, "aud": ["other", "adit"], "sub": "alice", "groups": ["engineers"], "exp": now + 600, "nbf": now - 1, "iat": now})
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A key of the provider.
pub(crate) struct Signer {
    pub(crate) id: &'static str,
    key: Key,
}

enum Key {
    Ed25519(KeyPair),
    P256(KeyPair),
    Rsa(Box<rsa::KeyPair>),
}

impl Signer {
    /// For EdDSA.
    pub(crate) fn new(id: &'static str) -> Self {
        Signer { id, key: Key::Ed25519(KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()) }
    }

    pub(crate) fn es256(id: &'static str) -> Self {
        Signer { id, key: Key::P256(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()) }
    }

    pub(crate) fn rs256(id: &'static str) -> Self {
        let key: Value = serde_json::from_str(RSA).unwrap();
        let number = |name: &str| BASE64URL.decode(key[name].as_str().unwrap()).unwrap();
        let components = rsa::KeyPairComponents {
            public_key: rsa::PublicKeyComponents { n: number("n"), e: number("e") },
            d: number("d"),
            p: number("p"),
            q: number("q"),
            dP: number("dp"),
            dQ: number("dq"),
            qInv: number("qi"),
        };
        Signer { id, key: Key::Rsa(Box::new(rsa::KeyPair::from_components(&components).unwrap())) }
    }

    pub(crate) fn published(&self) -> Value {
        let mut key = match &self.key {
            Key::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(key.der_bytes())}),
            Key::P256(key) => {
                let point = key.der_bytes();
                json!({"kty": "EC", "crv": "P-256", "x": BASE64URL.encode(&point[1..33]), "y": BASE64URL.encode(&point[33..])})
            }
            Key::Rsa(_) => {
                let key: Value = serde_json::from_str(RSA).unwrap();
                json!({"kty": "RSA", "n": key["n"], "e": key["e"]})
            }
        };
        key["kid"] = self.id.into();
        key["use"] = "sig".into();
        key
    }

    /// What everybody can read of it, as bytes: what a confused verifier might take for a shared secret.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        match &self.key {
            Key::Ed25519(key) | Key::P256(key) => key.der_bytes().to_vec(),
            Key::Rsa(_) => serde_json::from_str::<Value>(RSA).unwrap()["n"].as_str().unwrap().into(),
        }
    }

    /// The header of its tokens.
    pub(crate) fn header(&self) -> Value {
        let algorithm = match self.key {
            Key::Ed25519(_) => "EdDSA",
            Key::P256(_) => "ES256",
            Key::Rsa(_) => "RS256",
        };
        json!({"alg": algorithm, "kid": self.id, "typ": "JWT"})
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.headed(&self.header(), claims)
    }

    /// A token with another header than is right for it.
    pub(crate) fn headed(&self, header: &Value, claims: &Value) -> String {
        sign(&header.to_string(), &claims.to_string(), |message| self.sign(message))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Ed25519(key) => key.sign(message).unwrap(),
            Key::P256(key) => fixed(&key.sign(message).unwrap()),
            Key::Rsa(key) => {
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(&ring::signature::RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), message, &mut out).unwrap();
                out
            }
        }
    }
}

/// A token of these texts, with whatever signature.
pub(crate) fn sign(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    format!("{message}.{}", BASE64URL.encode(sign(message.as_bytes())))
}

/// The two numbers of a signature in DER, in 32 bytes each.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 2;
    for _ in 0..2 {
        let number = &der[at + 2..at + 2 + usize::from(der[at + 1])];
        at += 2 + number.len();
        let number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend(number);
    }
    out
}
