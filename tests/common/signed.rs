//! A client that signs its requests as the SDKs of AWS do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use adit::provider::sigv4::{Request, sign};
use aws_credential_types::Credentials;

use super::{Answer, Gateway};

/// A request, and what it is signed with.
#[derive(Clone)]
pub(crate) struct Call<'c> {
    pub(crate) pair: (&'c str, &'c str),
    pub(crate) method: &'c str,
    pub(crate) path: &'c str,
    pub(crate) body: &'c str,
    pub(crate) time: SystemTime,
    pub(crate) authority: &'c str,
    /// In the request and signed.
    pub(crate) headers: Vec<(&'c str, &'c str)>,
}

impl<'c> Call<'c> {
    pub(crate) fn new(pair: (&'c str, &'c str), path: &'c str, body: &'c str) -> Self {
        Call { pair, method: "POST", path, body, time: SystemTime::now(), authority: "x", headers: Vec::new() }
    }

    pub(crate) fn signed(&self) -> Vec<(String, String)> {
        let credentials = Credentials::new(self.pair.0, self.pair.1, None, None, "test");
        let mut headers = self.headers.clone();
        headers.push(("content-type", "application/json"));
        let request = Request { method: self.method, authority: self.authority, path: self.path, headers: &headers };
        let set = sign(&request, self.body.as_bytes(), &credentials, "us-east-1", self.time).unwrap();
        let set = set.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        set.chain(self.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }

    pub(crate) fn lines(&self) -> String {
        self.signed().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    }

    /// The answer to a call that must not get through, from an address that has not failed before: for a gateway that believes loopback.
    pub(crate) fn refused(&self, gateway: &Gateway) -> Answer {
        gateway.post(self.path, &format!("{}{}", elsewhere(), self.lines()), self.body)
    }
}

/// The header of a request that comes from another address than all others.
pub(crate) fn elsewhere() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let [_, a, b, c] = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    format!("x-forwarded-for: 198.{a}.{b}.{c}\r\n")
}
