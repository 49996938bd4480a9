//! Bedrock Converse, the upstream side: chat requests go out as Converse bodies, its answers, streams and errors come back.
//!
//! Not here: the path and the signature (`provider`), who asked and in which API (`openai`).
//!
//! Follows the service model of `bedrock-runtime` 2023-09-30 and
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>. What differs between model families is in [`capability`] alone.

pub mod capability;
pub mod error;
pub mod request;
pub mod response;
pub mod stream;

mod answer;
mod fields;

use serde::Deserialize;

use crate::wire::json::Text;

/// What to do with request members that have no place in Converse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Members of the client's API that the target has no place for: `seed`, `logit_bias`, `temperature` on a model that refuses it.
    #[serde(default)]
    pub unsupported: Unsupported,
    /// Members that the client's API does not define.
    #[serde(default)]
    pub unknown: Unknown,
}

/// What to do with a member that the target has no place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsupported {
    /// Leave it out and say so in the answer's headers.
    #[default]
    Drop,
    /// Answer 400 and name it.
    Reject,
}

/// What to do with a member that the client's API does not define.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// Hand it to the model: to its own place if Converse has one of that name, else in `additionalModelRequestFields`.
    #[default]
    Carry,
    /// Leave it out and say so in the answer's headers.
    Drop,
    /// Answer 400 and name it.
    Reject,
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

/// What reading the answer needs to know of the request.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// Tools that were renamed: the name on the wire, and the client's own in escaped form. Valid names are not in here.
    names: Vec<(String, String)>,
    /// The tool that stands for the wanted output shape: its arguments are the answer's text.
    format_tool: Option<String>,
    /// The wanted shape has no member called `properties`: an answer that is nothing but that member is wrapped in it by mistake.
    unwrap: bool,
}

impl Restore {
    /// The client's name of a tool.
    fn tool_name<'a>(&'a self, name: Text<'a>) -> Text<'a> {
        match self.names.iter().find(|(wire, _)| name == *wire.as_str()) {
            Some((_, own)) => Text::from_escaped(own.as_str()),
            None => name,
        }
    }

    /// Whether this tool stands for the output shape.
    fn is_format_tool(&self, name: &Text<'_>) -> bool {
        self.format_tool.as_deref().is_some_and(|tool| *name == *tool)
    }
}
