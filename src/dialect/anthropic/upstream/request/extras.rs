//! Members that the client's API does not define: top-level members of the body, as far as nothing else stands there.

use crate::chat::fields::{Fields, Members};
use crate::chat::{ApiError, Ledger, Request, Unknown};
use crate::wire::json::{Kind, Raw, Text};

/// Free fields in Converse: their members are members of the body here.
const ADDITIONAL: &str = "additionalModelRequestFields";

/// Members of Converse that Messages has no place for.
const CONVERSE: [&str; 9] = [
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "inferenceConfig",
    "outputConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
    "toolConfig",
];

/// What has a header of its own, or another body's.
const ELSEWHERE: [&str; 2] = ["anthropic_beta", "anthropic_version"];

/// Members that are written by us or not at all.
const OURS: [&str; 7] = ["model", "max_tokens", "messages", "stream", "system", "tools", "tool_choice"];

/// Members that were planned from the extras.
const PLANNED: [&str; 5] = ["output_config", "temperature", "thinking", "top_k", "top_p"];

/// Members that a body of which the tokens are counted may have.
const COUNT: [&str; 2] = ["cache_control", "speed"];

/// The extras of a request, one level.
#[derive(Debug, Default)]
pub(super) struct Extras<'r> {
    members: Vec<(Text<'r>, Raw<'r>)>,
}

impl<'r> Extras<'r> {
    /// Reads the extras, as the policy says.
    ///
    /// # Errors
    /// 400 naming the member: where unknown members are refused, where free fields are no object, and where the policy refuses what has no place.
    pub(super) fn sort(request: &'r Request<'_>, unknown: Unknown, ledger: &mut Ledger) -> Result<Self, ApiError> {
        let mut extras = Extras::default();
        for extra in &request.extras {
            let name = extra.name.unescape();
            match unknown {
                Unknown::Carry => {}
                Unknown::Drop => {
                    ledger.note(&name);
                    continue;
                }
                Unknown::Reject => return Err(ApiError::invalid(name.clone().into_owned(), format!("the member {name:?} is not known"))),
            }
            if name == ADDITIONAL {
                let Some(members) = Members::of(extra.value) else { return Err(ApiError::invalid(ADDITIONAL, format!("{ADDITIONAL} must be an object"))) };
                for (name, value) in members.0 {
                    extras.add(name, value, ledger)?;
                }
            } else {
                extras.add(extra.name.borrowed(), extra.value, ledger)?;
            }
        }
        Ok(extras)
    }

    fn add(&mut self, name: Text<'r>, value: Raw<'r>, ledger: &mut Ledger) -> Result<(), ApiError> {
        if let Some(known) = CONVERSE.iter().chain(&ELSEWHERE).find(|known| name == **known) {
            return ledger.lose(known);
        }
        if OURS.iter().any(|ours| name == *ours) {
            ledger.note(&name.unescape());
        } else if value.kind() != Kind::Null {
            self.members.push((name, value));
        }
        Ok(())
    }

    /// What the client itself says for a member; the first word of several.
    pub(super) fn field(&self, name: &str) -> Option<Raw<'r>> {
        self.members.iter().find(|(key, _)| *key == *name).map(|(_, value)| *value)
    }

    /// Whether the client wants the API to choose where to cache.
    pub(super) fn caches(&self) -> bool {
        self.field("cache_control").is_some()
    }

    /// Puts the extras behind what was planned. `count` says that the body is one of which the tokens are counted.
    pub(super) fn place(&self, count: bool, rest: &mut Fields<'r>, ledger: &mut Ledger) {
        for (name, value) in &self.members {
            if PLANNED.iter().any(|planned| *name == *planned) {
                continue;
            }
            if rest.contains(name.escaped()) || (count && !COUNT.iter().any(|known| *name == *known)) {
                ledger.note(&name.unescape());
            } else {
                rest.put(name.clone().into_escaped(), value.as_str());
            }
        }
    }
}
