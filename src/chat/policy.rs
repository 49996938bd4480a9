//! What becomes of request members that a target has no place for, and the record of what was left out.

use serde::Deserialize;

use super::ApiError;

/// The most names that are told as dropped: they go into a header.
const DROPPED_MAX: usize = 32;

/// What to do with request members that have no place upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Members of the client's API that the target has no place for: `seed`, `logit_bias`, `temperature` on a model that refuses it.
    #[serde(default)]
    pub unsupported: Unsupported,
    /// Members that the client's API does not define.
    #[serde(default)]
    pub unknown: Unknown,
}

/// What to do with a member that the target has no place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsupported {
    /// Leave it out and say so in the answer's headers.
    #[default]
    Drop,
    /// Answer 400 and name it.
    Reject,
}

/// What to do with a member that the client's API does not define.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// Hand it to the model: to its own place if the target's API has one of that name, else where the API takes free fields.
    #[default]
    Carry,
    /// Leave it out and say so in the answer's headers.
    Drop,
    /// Answer 400 and name it.
    Reject,
}

/// Remembers what was left out of a request.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    unsupported: Unsupported,
    dropped: Vec<String>,
}

impl Ledger {
    /// An empty record under a policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Ledger { unsupported: policy.unsupported, dropped: Vec::new() }
    }

    /// A member of the client's API that this target has no place for.
    ///
    /// # Errors
    /// 400 naming the member, where the policy says so.
    pub fn lose(&mut self, name: &'static str) -> Result<(), ApiError> {
        match self.unsupported {
            Unsupported::Drop => {
                self.note(name);
                Ok(())
            }
            Unsupported::Reject => Err(ApiError::invalid(name, format!("{name} is not supported by this model"))),
        }
    }

    /// Something that was left out, whatever the policy.
    pub fn note(&mut self, name: &str) {
        if self.dropped.len() < DROPPED_MAX && !self.dropped.iter().any(|known| known == name) {
            self.dropped.push(name.to_owned());
        }
    }

    /// The names of what was left out, each once, in order.
    #[must_use]
    pub fn into_dropped(self) -> Vec<String> {
        self.dropped
    }
}
