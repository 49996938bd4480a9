//! Vertex AI's own bodies, the upstream side: what `publishers/google/models/{model}:predict` takes and gives. Here: embeddings.
//!
//! Not here: the path and the token (`provider`); chat, which goes through OpenAI's or Anthropic's API.
//!
//! Vendor page: <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>.

pub mod embeddings;
pub mod members;
