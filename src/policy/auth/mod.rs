//! Who a client is and what it may do. Time and stores are passed in.

pub mod inner;
pub mod jwt;
pub mod key;
pub mod lockout;
pub mod mtls;
pub mod session;
pub mod shown;
pub mod totp;

use std::sync::Arc;

use crate::config::snapshot::{Grant, UserLimits};

/// The user whom everybody is where nobody has to prove anything.
const ANYBODY: &str = "anonymous";

/// Who a request comes from.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The user: limits, budgets and the audit log know him by it.
    pub name: Arc<str>,
    /// What he may do.
    pub grant: Arc<Grant>,
    /// How he proved it.
    pub proof: Proof,
}

/// How a user proved who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// He did not have to.
    None,
    /// With a key.
    ApiKey,
    /// With a key and a code.
    Totp,
    /// With the token of a session.
    Session,
    /// With a token of an identity provider.
    Jwt,
    /// With a client certificate.
    Mtls,
    /// With the signature of a key pair issued here.
    SigV4,
    /// With the token of a call that is made for a request of his.
    Call,
}

impl Proof {
    /// Its name in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Proof::None => "none",
            Proof::ApiKey => "api_key",
            Proof::Totp => "api_key+totp",
            Proof::Session => "session",
            Proof::Jwt => "jwt",
            Proof::Mtls => "mtls",
            Proof::SigV4 => "sigv4",
            Proof::Call => "call",
        }
    }
}

impl Principal {
    /// Whoever comes while nobody has to prove anything.
    #[must_use]
    pub fn anybody(limits: UserLimits) -> Self {
        Principal { name: ANYBODY.into(), grant: Arc::new(Grant { limits, ..Grant::default() }), proof: Proof::None }
    }
}
