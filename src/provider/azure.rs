//! OpenAI's models on Azure: one path a deployment with a dated `api-version`, or the v1 API, whose paths are OpenAI's.
//!
//! API: <https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference>.

use percent_encoding::utf8_percent_encode;

use super::SEGMENT;
use super::endpoint::Endpoint;

/// What is asked of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Chat Completions.
    Chat,
    /// Embeddings.
    Embeddings,
    /// Responses; the deployment's name stands in the body whatever the version.
    Responses,
    /// How many tokens a Responses request has.
    ResponseTokens,
}

impl Operation {
    fn segment(self) -> &'static str {
        match self {
            Operation::Chat => "chat/completions",
            Operation::Embeddings => "embeddings",
            Operation::Responses => "responses",
            Operation::ResponseTokens => "responses/input_tokens",
        }
    }
}

/// Path and query of an operation. A dated version goes to the deployment's path; `v1` and `preview`, or an endpoint that ends in `/openai/v1`, to the v1 API,
/// where the deployment's name stands in the body.
///
/// `gpt4`, `2024-10-21` → `/openai/deployments/gpt4/chat/completions?api-version=2024-10-21`
#[must_use]
pub fn path(endpoint: &Endpoint, api_version: &str, deployment: &str, operation: Operation) -> String {
    let prefix = endpoint.prefix.as_str();
    let segment = operation.segment();
    if prefix.ends_with("/openai/v1") {
        return format!("{prefix}/{segment}");
    }
    match api_version {
        "v1" => format!("{prefix}/openai/v1/{segment}"),
        "preview" | "latest" => format!("{prefix}/openai/v1/{segment}?api-version={api_version}"),
        _ if matches!(operation, Operation::Responses | Operation::ResponseTokens) => format!("{prefix}/openai/{segment}?api-version={api_version}"),
        _ => format!("{prefix}/openai/deployments/{}/{segment}?api-version={api_version}", utf8_percent_encode(deployment, SEGMENT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_decides_the_path() {
        for (endpoint, version, expected) in [
            ("https://r.openai.azure.com", "2024-10-21", "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"),
            ("https://r.openai.azure.com/", "v1", "/openai/v1/chat/completions"),
            ("https://r.openai.azure.com", "preview", "/openai/v1/chat/completions?api-version=preview"),
            ("https://r.openai.azure.com/openai/v1/", "2024-10-21", "/openai/v1/chat/completions"),
            ("http://127.0.0.1:1/a", "2024-10-21", "/a/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"),
        ] {
            assert_eq!(path(&Endpoint::parse(endpoint).unwrap(), version, "my gpt", Operation::Chat), expected);
        }
        let endpoint = Endpoint::parse("https://r.openai.azure.com").unwrap();
        assert_eq!(path(&endpoint, "2025-04-01-preview", "e", Operation::Responses), "/openai/responses?api-version=2025-04-01-preview");
        assert_eq!(path(&endpoint, "v1", "e", Operation::ResponseTokens), "/openai/v1/responses/input_tokens");
        assert_eq!(path(&endpoint, "2024-10-21", "e", Operation::Embeddings), "/openai/deployments/e/embeddings?api-version=2024-10-21");
    }
}
