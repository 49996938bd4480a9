//! A request written for a target, and what reading the target's answer needs to know of it.

use super::capability::Capabilities;
use super::policy::Policy;
use crate::wire::json::Text;

/// What the target of a request is like, whatever its API.
#[derive(Clone, Copy, Debug)]
pub struct Options<'o> {
    /// The model's id at the target.
    pub model: &'o str,
    /// The id that tells which family it is of, where its own does not: a deployment may be called anything.
    pub family: &'o str,
    /// What the model takes.
    pub capabilities: &'o Capabilities,
    /// What to do with members that have no place.
    pub policy: Policy,
    /// The token limit when the client does not say. Unset: the model's own, or [`Capabilities::default_max_tokens`].
    pub default_max_tokens: Option<u64>,
    /// Whether the answer is to come piece by piece.
    pub stream: bool,
}

/// A request body for a target and what goes with it.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The JSON.
    pub body: Vec<u8>,
    /// What reading the answer needs to know.
    pub restore: Restore,
    /// Members that were left out, by their names in the client's API.
    pub dropped: Vec<String>,
}

/// What reading the answer needs to know of the request.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// Tools that were renamed: the name on the wire, and the client's own in escaped form. Valid names are not in here.
    pub names: Vec<(String, String)>,
    /// The tool that stands for the wanted output shape: its arguments are the answer's text.
    pub format_tool: Option<String>,
    /// The wanted shape has no member called `properties`: an answer that is nothing but that member is wrapped in it by mistake.
    pub unwrap: bool,
}

impl Restore {
    /// The client's name of a tool.
    #[must_use]
    pub fn tool_name<'a>(&'a self, name: Text<'a>) -> Text<'a> {
        match self.names.iter().find(|(wire, _)| name == *wire.as_str()) {
            Some((_, own)) => Text::from_escaped(own.as_str()),
            None => name,
        }
    }

    /// Whether this tool stands for the output shape.
    #[must_use]
    pub fn is_format_tool(&self, name: &Text<'_>) -> bool {
        self.format_tool.as_deref().is_some_and(|tool| *name == *tool)
    }
}
