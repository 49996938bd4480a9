//! OpenAI and whoever speaks its API: vLLM, llama.cpp, LiteLLM, a company's own server.
//!
//! API: <https://platform.openai.com/docs/api-reference>.

use super::endpoint::Endpoint;

/// Where OpenAI itself listens.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// Beginnings of OpenAI's own model names.
const MODELS: &[&str] = &["gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-", "codex-"];

/// Path of Chat Completions: `/v1/chat/completions`.
#[must_use]
pub fn chat_path(base: &Endpoint) -> String {
    format!("{}/chat/completions", base.prefix)
}

/// Path of Responses: `/v1/responses`.
#[must_use]
pub fn responses_path(base: &Endpoint) -> String {
    format!("{}/responses", base.prefix)
}

/// Path of the token counts of Responses: `/v1/responses/input_tokens`.
#[must_use]
pub fn response_tokens_path(base: &Endpoint) -> String {
    format!("{}/responses/input_tokens", base.prefix)
}

/// Path of Embeddings: `/v1/embeddings`.
#[must_use]
pub fn embeddings_path(base: &Endpoint) -> String {
    format!("{}/embeddings", base.prefix)
}

/// Whether a model name is one of OpenAI's own.
#[must_use]
pub fn recognises(model: &str) -> bool {
    MODELS.iter().any(|start| model.starts_with(start))
}

/// Whether a server is OpenAI's own: others may know any model, and need no key.
#[must_use]
pub fn is_own(base: &Endpoint) -> bool {
    base.host == "api.openai.com" || base.host.ends_with(".api.openai.com")
}
