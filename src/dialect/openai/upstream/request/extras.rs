//! Members that the client's API does not define. Here they have one place, the body itself: a Converse client's free fields come out of their object, and
//! what only Converse or Anthropic's API could mean stays out.

use crate::chat::fields::Members;
use crate::chat::{ApiError, Ledger, Request, Unknown};
use crate::wire::json::{Kind, Raw, Text};

use super::Settings;

/// Where a Converse client puts what its API does not define.
const FREE_FIELDS: &str = "additionalModelRequestFields";

/// What Converse has and this API has not, and what names a version of Anthropic's.
const PLACELESS: [&str; 10] = [
    "inferenceConfig",
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
    "outputConfig",
    "additionalModelResponseFieldPaths",
    "anthropic_version",
    "anthropic_beta",
];

/// Members that decide what the answer is read as: they are the gateway's alone.
const OURS: [&str; 4] = ["model", "messages", "stream", "stream_options"];

/// Puts the extras behind the members that are there, as the policy says. None of these is overwritten.
///
/// # Errors
/// 400 naming the member: where unknown members are refused, and where the free fields of a Converse client are not an object.
pub(super) fn place(request: &Request<'_>, unknown: Unknown, settings: &mut Settings, ledger: &mut Ledger) -> Result<(), ApiError> {
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
        if name == FREE_FIELDS {
            let Some(Members(members)) = Members::of(extra.value) else {
                return Err(ApiError::invalid(FREE_FIELDS, format!("{FREE_FIELDS} must be an object")));
            };
            members.iter().for_each(|(name, value)| carry(name, *value, settings, ledger));
        } else if let Some(name) = PLACELESS.into_iter().find(|known| *known == name) {
            ledger.lose(name)?;
        } else {
            carry(&extra.name, extra.value, settings, ledger);
        }
    }
    Ok(())
}

fn carry(name: &Text<'_>, value: Raw<'_>, settings: &mut Settings, ledger: &mut Ledger) {
    let plain = name.unescape();
    if OURS.contains(&plain.as_ref()) || settings.has(&plain) {
        ledger.note(&plain);
    } else if value.kind() != Kind::Null {
        // Escaped anew: two spellings of one name must not become two members.
        settings.put(Text::from_plain(plain).escaped(), value.as_str());
    }
}
