//! Ways of asking a model more than once: `docs/optillm.md`.

use std::sync::Arc;

use super::Provider;

/// The name that the OptiLLM server goes by in headers, metrics and logs.
pub const OPTILLM: &str = "optillm";

/// Approaches are looked for in requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Optillm {
    /// A real OptiLLM server, as an OpenAI-type provider; `None`: what is built in.
    pub server: Option<Arc<Provider>>,
    /// The most calls that one request may become.
    pub max_calls: u64,
    /// How many of them are under way at a time.
    pub concurrency: usize,
}
