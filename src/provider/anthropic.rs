//! Anthropic itself: paths, the version header, and which betas Bedrock takes.
//!
//! API: <https://platform.claude.com/docs/en/api/overview>.

use super::endpoint::Endpoint;

/// The `anthropic-version` of requests whose client does not name one.
pub const VERSION: &str = "2023-06-01";

/// What stands in a body for Bedrock's InvokeModel: valid for every Claude there.
pub const BEDROCK_VERSION: &str = "bedrock-2023-05-31";

/// What stands in a body for Vertex AI.
pub const VERTEX_VERSION: &str = "vertex-2023-10-16";

/// Path of Messages.
#[must_use]
pub fn messages_path(base: &Endpoint) -> String {
    format!("{}/v1/messages", base.prefix)
}

/// Path of the token count.
#[must_use]
pub fn count_path(base: &Endpoint) -> String {
    format!("{}/v1/messages/count_tokens", base.prefix)
}

/// Whether a model name is one of Anthropic's own: `claude-sonnet-4-5`.
#[must_use]
pub fn recognises(model: &str) -> bool {
    model.starts_with("claude-") && !model.contains('@')
}

/// Betas that have another name on Bedrock. Source: what public gateways map.
const RENAMED: &[(&str, &str)] = &[("advanced-tool-use-2025-11-20", "tool-search-tool-2025-10-19")];

/// Beginnings of the betas that Bedrock takes; others make it refuse the request. Dates change, names stay.
const BEDROCK_BETAS: &[&str] = &[
    "computer-use-",
    "token-efficient-tools-",
    "interleaved-thinking-",
    "output-128k-",
    "dev-full-thinking-",
    "context-1m-",
    "context-management-",
    "effort-",
    "tool-search-tool-",
    "tool-examples-",
    "fine-grained-tool-streaming-",
    "compact-",
];

/// A beta as Bedrock takes it, or nothing where Bedrock has no such beta.
#[must_use]
pub fn bedrock_beta(beta: &str) -> Option<&str> {
    let name = RENAMED.iter().find(|(own, _)| *own == beta).map_or(beta, |(_, theirs)| theirs);
    BEDROCK_BETAS.iter().any(|start| name.starts_with(start)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_50_betas_that_bedrock_refuses_are_filtered_and_renamed() {
        assert_eq!(bedrock_beta("advanced-tool-use-2025-11-20"), Some("tool-search-tool-2025-10-19"));
        assert_eq!(bedrock_beta("interleaved-thinking-2025-05-14"), Some("interleaved-thinking-2025-05-14"));
        for refused in ["prompt-caching-scope-2026-01-05", "files-api-2025-04-14", "claude-code-20250219", "oauth-2025-04-20", ""] {
            assert_eq!(bedrock_beta(refused), None, "{refused}");
        }
    }

    #[test]
    fn names_and_paths() {
        assert!(recognises("claude-opus-4-6") && !recognises("claude-opus-4-5@20251101") && !recognises("anthropic.claude-v2"));
        let base = Endpoint::parse("https://api.anthropic.com").unwrap();
        assert_eq!((messages_path(&base).as_str(), count_path(&base).as_str()), ("/v1/messages", "/v1/messages/count_tokens"));
    }
}
