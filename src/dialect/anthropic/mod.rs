//! Anthropic Messages: its clients, and Anthropic (or Claude elsewhere) as the upstream.
//!
//! Vendor pages: <https://platform.claude.com/docs/en/api/messages>, <https://platform.claude.com/docs/en/build-with-claude/streaming>.

pub mod downstream;
pub mod members;
pub mod upstream;

/// What the answer must look like, as far as the request decides it.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// The request's stop texts, in escaped form: where an upstream does not say which one was met, it is the only one.
    pub stop: Vec<String>,
}
