//! What a model id says about the model: which family it is of, and what that family takes.
//!
//! Nothing here was measured on AWS: the differences are those that users of Bedrock report, and those of
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html>. Where an id does not tell (an
//! application inference profile, the sandbox's own ids), nothing is refused.

/// The maker of a model, and for Claude its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Major and minor version.
    Claude(u32, u32),
    /// Nova 1.
    Nova,
    /// Nova 2, which reasons.
    Nova2,
    Titan,
    /// Llama 2 and 3, without images.
    Llama,
    /// Llama 3.2 with vision, and Llama 4.
    LlamaVision,
    /// The first open models of Mistral: no system prompt, no tools.
    MistralInstruct,
    Mistral,
    Cohere,
    DeepSeek,
    Grok,
    /// Another vendor of Bedrock's.
    Other,
    /// The id hides the model: nothing is refused.
    Unknown,
}

/// Prefixes of cross-region inference profiles.
const REGIONS: [&str; 10] = ["us", "eu", "apac", "ap", "jp", "au", "ca", "sa", "us-gov", "global"];

/// Vendors whose models Bedrock has, beside those with a family of their own.
const OTHERS: [&str; 13] =
    ["ai21", "google", "luma", "minimax", "moonshot", "moonshotai", "nvidia", "openai", "qwen", "stability", "twelvelabs", "writer", "zai"];

/// The model of a model id, of the ARN of a model or of an inference profile, without its region: `anthropic.claude-3-haiku-20240307-v1:0`. `None` for
/// ARNs that do not name their model.
pub(super) fn model_name(id: &str) -> Option<&str> {
    let name = match id.strip_prefix("arn:") {
        Some(arn) => {
            let (kind, name) = arn.splitn(5, ':').nth(4)?.split_once('/')?;
            matches!(kind, "foundation-model" | "inference-profile").then_some(name)?
        }
        None => id,
    };
    match name.split_once('.') {
        Some((region, rest)) if REGIONS.contains(&region) => Some(rest),
        _ => Some(name),
    }
}

impl Family {
    /// The family of a model id or ARN; `None` for an id that is no model of Bedrock's.
    pub(super) fn of(id: &str) -> Option<Self> {
        let Some(id) = model_name(id) else {
            // Another ARN, if it is one: it names no model.
            return id.splitn(6, ':').nth(5).is_some_and(|resource| resource.contains('/')).then_some(Family::Unknown);
        };
        let (vendor, name) = id.split_once('.').unwrap_or((id, ""));
        if vendor == "sandbox" {
            return Some(Family::Unknown);
        }
        if name.is_empty() {
            return None;
        }
        Some(match vendor {
            "anthropic" => claude(name)?,
            "amazon" if name.starts_with("nova-2") => Family::Nova2,
            "amazon" if name.starts_with("nova") => Family::Nova,
            "amazon" => Family::Titan,
            "meta" if ["llama4", "llama3-2-11b", "llama3-2-90b"].iter().any(|vision| name.starts_with(vision)) => Family::LlamaVision,
            "meta" => Family::Llama,
            "mistral" if name.starts_with("mistral-7b") || name.starts_with("mixtral-8x7b") => Family::MistralInstruct,
            "mistral" => Family::Mistral,
            "cohere" => Family::Cohere,
            "deepseek" => Family::DeepSeek,
            "xai" => Family::Grok,
            other if OTHERS.contains(&other) => Family::Other,
            _ => return None,
        })
    }

    /// The family by the name of a knob: `claude`, `claude-4-5`, `nova`, `llama`, …
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "claude" => Family::Claude(3, 0),
            "nova" => Family::Nova,
            "nova-2" => Family::Nova2,
            "titan" => Family::Titan,
            "llama" => Family::Llama,
            "llama-vision" => Family::LlamaVision,
            "mistral-instruct" => Family::MistralInstruct,
            "mistral" => Family::Mistral,
            "cohere" => Family::Cohere,
            "deepseek" => Family::DeepSeek,
            "grok" => Family::Grok,
            "other" => Family::Other,
            "any" => Family::Unknown,
            _ => return claude(name).filter(|_| name.starts_with("claude-")),
        })
    }

    fn claude_from(self, major: u32, minor: u32) -> bool {
        matches!(self, Family::Claude(a, b) if (a, b) >= (major, minor))
    }

    fn claude_before(self, major: u32, minor: u32) -> bool {
        matches!(self, Family::Claude(a, b) if (a, b) < (major, minor))
    }

    /// System prompts.
    pub(super) fn takes_system(self) -> bool {
        !matches!(self, Family::Titan | Family::MistralInstruct)
    }

    /// Tools.
    pub(super) fn takes_tools(self) -> bool {
        !matches!(self, Family::Titan | Family::MistralInstruct) && !self.claude_before(3, 0)
    }

    /// `toolChoice.any`.
    pub(super) fn takes_any_tool(self) -> bool {
        matches!(self, Family::Claude(..) | Family::Nova | Family::Nova2 | Family::Mistral | Family::DeepSeek | Family::Unknown)
    }

    /// `toolChoice.tool`.
    pub(super) fn takes_named_tool(self) -> bool {
        matches!(self, Family::Claude(..) | Family::Nova | Family::Nova2 | Family::Unknown)
    }

    /// Images in user turns.
    pub(super) fn takes_images(self) -> bool {
        !matches!(self, Family::Titan | Family::Llama | Family::MistralInstruct | Family::Cohere | Family::DeepSeek) && !self.claude_before(3, 0)
    }

    /// Images in tool results.
    pub(super) fn takes_result_images(self) -> bool {
        matches!(self, Family::Claude(..) | Family::Nova | Family::Nova2 | Family::Unknown)
    }

    /// Cache points. Claude 3.5 has them from its second edition, which the id tells only by its date, so 3.5 is taken as a whole.
    pub(super) fn takes_cache_points(self) -> bool {
        matches!(self, Family::Nova | Family::Nova2 | Family::Unknown) || self.claude_from(3, 5)
    }

    /// Cache points behind tools.
    pub(super) fn takes_tool_cache_points(self) -> bool {
        !matches!(self, Family::Nova | Family::Nova2)
    }

    /// `ttl` on cache points.
    pub(super) fn takes_cache_ttl(self) -> bool {
        self == Family::Unknown || self.claude_from(4, 5)
    }

    /// `outputConfig.textFormat`, and `strict` on tools.
    pub(super) fn takes_text_format(self) -> bool {
        !matches!(self, Family::Titan | Family::Nova | Family::Llama | Family::MistralInstruct | Family::Cohere) && !self.claude_before(4, 5)
    }

    /// Effort in a Messages body only with its beta.
    pub(super) fn has_effort_as_beta(self) -> bool {
        self.claude_before(4, 6)
    }

    /// The version of the Messages API that forgets sampling.
    pub(super) fn takes_newest_version(self) -> bool {
        !self.claude_before(4, 7)
    }

    /// `outputConfig.effort`.
    pub(super) fn takes_effort(self) -> bool {
        !matches!(self, Family::Titan | Family::Nova | Family::Llama | Family::LlamaVision | Family::MistralInstruct | Family::Cohere)
            && !self.claude_before(4, 5)
    }

    /// `stopSequences`.
    pub(super) fn takes_stop_sequences(self) -> bool {
        self != Family::Grok
    }

    /// `temperature` and `topP` at all.
    pub(super) fn takes_sampling(self) -> bool {
        !self.claude_from(4, 7)
    }

    /// `temperature` and `topP` in one request.
    pub(super) fn takes_temperature_with_top_p(self) -> bool {
        !self.claude_from(4, 1)
    }

    /// `thinking: {"type": "enabled", "budget_tokens": n}`.
    pub(super) fn takes_thinking_budget(self) -> bool {
        self == Family::Unknown || (self.claude_from(3, 7) && self.claude_before(4, 7))
    }

    /// `thinking: {"type": "adaptive"}`.
    pub(super) fn takes_adaptive_thinking(self) -> bool {
        self == Family::Unknown || self.claude_from(4, 6)
    }

    /// `thinking: {"type": "disabled"}`, and forced tool choice.
    pub(super) fn lets_thinking_off(self) -> bool {
        !self.claude_from(5, 5)
    }

    /// A last turn of the assistant's, which the model continues.
    pub(super) fn takes_prefill(self) -> bool {
        !self.claude_from(4, 6)
    }

    /// Whether reasoning carries a signature that must come back.
    pub(super) fn signs_reasoning(self) -> bool {
        matches!(self, Family::Claude(..) | Family::Unknown)
    }

    /// Whether unsigned reasoning in the history is refused.
    pub(super) fn demands_signature(self) -> bool {
        matches!(self, Family::Claude(..))
    }
}

/// The version in `claude-3-5-sonnet-20240620-v1:0`, `claude-sonnet-4-5-20250929-v1:0`, `claude-opus-4-8`, `claude-v2:1`, `claude-instant-v1`.
fn claude(name: &str) -> Option<Family> {
    let rest = name.strip_prefix("claude")?;
    let end = rest.find(['.', ':']).unwrap_or(rest.len());
    let mut numbers = rest[..end].split('-').skip(1).map_while(|part| match part.parse::<u32>() {
        // A date is no version.
        Ok(number) => (number < 1000).then_some(Some(number)),
        Err(_) => Some(None),
    });
    let Some(major) = numbers.by_ref().flatten().next() else {
        // `claude-v2`, `claude-instant-v1`; newer names without a number are at the newest rules.
        return Some(if rest.contains("-v2") {
            Family::Claude(2, 0)
        } else if rest.contains("instant") {
            Family::Claude(1, 2)
        } else {
            Family::Claude(5, 0)
        });
    };
    let minor = numbers.next().flatten().unwrap_or(0);
    Some(Family::Claude(major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_family() {
        let cases = [
            ("anthropic.claude-3-haiku-20240307-v1:0", Family::Claude(3, 0)),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", Family::Claude(3, 5)),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Family::Claude(3, 7)),
            ("global.anthropic.claude-sonnet-4-20250514-v1:0", Family::Claude(4, 0)),
            ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude(4, 5)),
            ("anthropic.claude-opus-4-8", Family::Claude(4, 8)),
            ("anthropic.claude-v2:1", Family::Claude(2, 0)),
            ("anthropic.claude-instant-v1", Family::Claude(1, 2)),
            ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude(4, 5)),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", Family::Claude(3, 0)),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", Family::Unknown),
            ("us.amazon.nova-lite-v1:0", Family::Nova),
            ("amazon.nova-2-lite-v1:0", Family::Nova2),
            ("amazon.titan-text-express-v1", Family::Titan),
            ("meta.llama3-2-11b-instruct-v1:0", Family::LlamaVision),
            ("mistral.mixtral-8x7b-instruct-v0:1", Family::MistralInstruct),
            ("us.deepseek.r1-v1:0", Family::DeepSeek),
            ("openai.gpt-oss-120b-1:0", Family::Other),
            ("sandbox", Family::Unknown),
        ];
        for (id, family) in cases {
            assert_eq!(Family::of(id), Some(family), "{id}");
        }
        for id in ["no.such-model-v1:0", "gpt-4o", "anthropic.", "us.nobody.model", "anthropic.opus", "arn:aws:bedrock", ""] {
            assert_eq!(Family::of(id), None, "{id}");
        }
    }

    #[test]
    fn knobs_name_families() {
        assert_eq!(Family::named("claude-4-5"), Some(Family::Claude(4, 5)));
        assert_eq!(Family::named("llama"), Some(Family::Llama));
        assert_eq!(Family::named("unicorn"), None);
    }
}
