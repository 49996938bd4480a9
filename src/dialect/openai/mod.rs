//! OpenAI Chat Completions, Responses, legacy Completions and Embeddings: their clients, and OpenAI or whoever speaks its API as the upstream.
//!
//! Vendor pages: <https://platform.openai.com/docs/api-reference/chat>, <https://github.com/openai/openai-openapi> (version 2.3.0).
//!
//! Thoughts of a model have no place in that API. They travel in members that are common among gateways, and come back in the same ones: see
//! [`downstream::response`].

pub mod choices;
pub mod completions;
pub mod downstream;
pub mod members;
pub mod responses;
pub mod upstream;

/// What the answer must look like, as far as the request decides it.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// `stream_options.include_usage`: the stream ends with a chunk that holds the token counts.
    pub include_usage: bool,
    /// The request came with `functions`: the answer uses `function_call`, of which there is one at most.
    pub legacy_functions: bool,
}
