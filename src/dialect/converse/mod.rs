//! Bedrock Converse: as the upstream, and as the API that clients speak.
//!
//! Not here: the path and the signature (`provider`).
//!
//! Follows the service model of `bedrock-runtime` 2023-09-30 and
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>. What differs between model families is in
//! [`capability`](crate::chat::capability) alone.

pub mod downstream;
pub mod members;
pub mod upstream;

use serde::Deserialize;

/// What a client says about the form of its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// `additionalModelResponseFieldPaths` holds `/stop_sequence`: the stop text that was met is told in `additionalModelResponseFields`.
    pub stop_sequence: bool,
}

/// A guardrail that the operator puts on a model. It wins over one that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// Its id or ARN.
    pub identifier: String,
    /// Its version, or `DRAFT`.
    pub version: String,
    /// `enabled`, `disabled` or `enabled_full`.
    #[serde(default)]
    pub trace: Option<String>,
    /// `sync` or `async`; used for streams only.
    #[serde(default)]
    pub stream_processing_mode: Option<String>,
}
