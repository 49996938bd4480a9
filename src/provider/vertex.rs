//! Google Vertex AI: Gemini and open models through the OpenAI-compatible endpoint, Claude through rawPredict, embeddings through predict.
//!
//! API: <https://cloud.google.com/vertex-ai/generative-ai/docs/start/openai>, <https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>.

use percent_encoding::utf8_percent_encode;

use super::SEGMENT;
use super::endpoint::Endpoint;

/// What tokens are asked for.
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Members of Chat Completions that the OpenAI-compatible endpoint does not know, of those that other APIs have too.
/// Vendor page: <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/overview>.
pub const NOT_IN_CHAT: &[&str] = &["user", "metadata", "service_tier", "parallel_tool_calls"];

/// The host of a location: `us-east5` → `us-east5-aiplatform.googleapis.com`.
#[must_use]
pub fn endpoint(location: &str) -> Endpoint {
    match location {
        "global" => Endpoint::https("aiplatform.googleapis.com"),
        "us" | "eu" => Endpoint::https(format!("aiplatform.{location}.rep.googleapis.com")),
        _ => Endpoint::https(format!("{location}-aiplatform.googleapis.com")),
    }
}

/// Whether a text can stand in a host name as a location.
#[must_use]
pub fn is_location(location: &str) -> bool {
    (1..=63).contains(&location.len()) && location.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && !location.starts_with('-')
}

/// A project at a location, which every path begins with.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// Where it listens.
    pub endpoint: &'p Endpoint,
    /// The project.
    pub project: &'p str,
    /// The location.
    pub location: &'p str,
}

impl Place<'_> {
    fn path(&self, rest: &str) -> String {
        let Place { endpoint, project, location } = self;
        format!("{}/v1/projects/{}/locations/{location}/{rest}", endpoint.prefix, utf8_percent_encode(project, SEGMENT))
    }

    /// Chat Completions of the OpenAI-compatible endpoint.
    #[must_use]
    pub fn chat_path(&self) -> String {
        self.path("endpoints/openapi/chat/completions")
    }

    /// Messages for Claude.
    #[must_use]
    pub fn claude_path(&self, model: &str, stream: bool) -> String {
        let call = if stream { "streamRawPredict" } else { "rawPredict" };
        self.path(&format!("publishers/anthropic/models/{}:{call}", utf8_percent_encode(claude(model), SEGMENT)))
    }

    /// The token count for Claude; the model stands in the body.
    #[must_use]
    pub fn count_path(&self) -> String {
        self.path("publishers/anthropic/models/count-tokens:rawPredict")
    }

    /// Embeddings.
    #[must_use]
    pub fn predict_path(&self, model: &str) -> String {
        self.path(&format!("publishers/google/models/{}:predict", utf8_percent_encode(google(model), SEGMENT)))
    }
}

/// Whether a model is Claude: `claude-opus-4-5@20251101`, `publishers/anthropic/models/claude-…`.
#[must_use]
pub fn is_claude(model: &str) -> bool {
    claude(model).starts_with("claude")
}

/// Claude's id without the publisher in front.
#[must_use]
pub fn claude(model: &str) -> &str {
    let model = model.strip_prefix("publishers/anthropic/models/").unwrap_or(model);
    model.strip_prefix("anthropic/").unwrap_or(model)
}

fn google(model: &str) -> &str {
    let model = model.strip_prefix("publishers/google/models/").unwrap_or(model);
    model.strip_prefix("google/").unwrap_or(model)
}

/// The model as the OpenAI-compatible endpoint wants it, with its publisher: `gemini-2.5-pro` → `google/gemini-2.5-pro`.
#[must_use]
pub fn open_model(model: &str) -> String {
    if model.contains('/') { model.to_owned() } else { format!("google/{model}") }
}

/// Whether a model name is one of Vertex's own.
#[must_use]
pub fn recognises(model: &str) -> bool {
    model.starts_with("google/") || model.starts_with("gemini-") || model.starts_with("publishers/") || (model.starts_with("claude-") && model.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_have_their_hosts() {
        for (location, host) in
            [("global", "aiplatform.googleapis.com"), ("eu", "aiplatform.eu.rep.googleapis.com"), ("us-east5", "us-east5-aiplatform.googleapis.com")]
        {
            assert_eq!(endpoint(location).host, host);
            assert!(is_location(location));
        }
        for bad in ["", "-a", "us.east", "us east", "US"] {
            assert!(!is_location(bad), "{bad}");
        }
    }

    #[test]
    fn models_have_their_paths() {
        let endpoint = endpoint("us-east5");
        let place = Place { endpoint: &endpoint, project: "p-1", location: "us-east5" };
        let base = "/v1/projects/p-1/locations/us-east5";
        assert_eq!(place.chat_path(), format!("{base}/endpoints/openapi/chat/completions"));
        assert_eq!(
            place.claude_path("claude-opus-4-5@20251101", true),
            format!("{base}/publishers/anthropic/models/claude-opus-4-5%4020251101:streamRawPredict")
        );
        assert_eq!(place.claude_path("publishers/anthropic/models/claude-x;y", false), format!("{base}/publishers/anthropic/models/claude-x%3By:rawPredict"));
        assert_eq!(place.count_path(), format!("{base}/publishers/anthropic/models/count-tokens:rawPredict"));
        assert_eq!(place.predict_path("google/gemini-embedding-001"), format!("{base}/publishers/google/models/gemini-embedding-001:predict"));
        assert_eq!((open_model("gemini-2.5-pro").as_str(), open_model("meta/llama").as_str()), ("google/gemini-2.5-pro", "meta/llama"));
        assert!(recognises("google/gemini-2.5-pro") && recognises("claude-opus-4-5@20251101") && !recognises("claude-opus-4-5"));
    }
}
