//! Members that the client's API does not define: sorted to the place that Converse has for them, or to the model's own fields.

use crate::chat::{ApiError, Request};
use crate::wire::json::{Kind, Raw, Text};

use crate::chat::Ledger;
use crate::chat::Unknown;
use crate::chat::fields::Members;

/// The extras of a request, by place.
#[derive(Debug, Default)]
pub(super) struct Extras<'r> {
    /// For `additionalModelRequestFields`, one by one.
    pub(super) fields: Vec<(&'r Text<'r>, Raw<'r>)>,
    /// The client's own `additionalModelRequestFields`.
    pub(super) additional: Option<Raw<'r>>,
    pub(super) inference_config: Option<Raw<'r>>,
    pub(super) output_config: Option<Raw<'r>>,
    pub(super) guardrail_config: Option<Raw<'r>>,
    pub(super) performance_config: Option<Raw<'r>>,
    pub(super) prompt_variables: Option<Raw<'r>>,
    pub(super) request_metadata: Option<Raw<'r>>,
    pub(super) response_paths: Option<Raw<'r>>,
    pub(super) service_tier: Option<Raw<'r>>,
}

impl<'r> Extras<'r> {
    /// Sorts the extras, as the policy says.
    ///
    /// # Errors
    /// 400 naming the member: where unknown members are refused, where a member of Converse is not an object, and for members of Converse that the client's
    /// API has under another name.
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
            let object = || {
                if extra.value.kind() == Kind::Object {
                    Ok(Some(extra.value))
                } else {
                    Err(ApiError::invalid(name.clone().into_owned(), format!("{name} must be an object")))
                }
            };
            match name.as_ref() {
                "additionalModelRequestFields" => extras.additional = object()?,
                "inferenceConfig" => extras.inference_config = object()?,
                "outputConfig" => extras.output_config = object()?,
                "guardrailConfig" => extras.guardrail_config = object()?,
                "performanceConfig" => extras.performance_config = object()?,
                "promptVariables" => extras.prompt_variables = object()?,
                "requestMetadata" => extras.request_metadata = object()?,
                "serviceTier" => extras.service_tier = object()?,
                "additionalModelResponseFieldPaths" if extra.value.kind() == Kind::Array => extras.response_paths = Some(extra.value),
                "additionalModelResponseFieldPaths" => return Err(ApiError::invalid(name.into_owned(), "additionalModelResponseFieldPaths must be an array")),
                "system" | "toolConfig" | "modelId" => {
                    return Err(ApiError::invalid(name.clone().into_owned(), format!("{name} is not a member of this API: use messages, tools and model")));
                }
                _ => extras.fields.push((&extra.name, extra.value)),
            }
        }
        Ok(extras)
    }

    /// What the client itself says for a member of the model's own fields.
    pub(super) fn field(&self, name: &str) -> Option<Raw<'r>> {
        let direct = || self.fields.iter().find(|(key, _)| **key == *name).map(|(_, value)| *value);
        self.additional.and_then(Members::of).and_then(|members| members.value(name)).or_else(direct)
    }
}
