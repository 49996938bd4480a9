//! What a model answers, whole.

use crate::chat::Part;
use crate::wire::json::Text;

/// What the gateway, not the model, knows of an answer.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Identifies the answer; the client's dialect puts its own prefix in front.
    pub id: String,
    /// The model as the client named it: no Converse answer says which model it came from.
    pub model: String,
    /// Seconds since 1970.
    pub created: u64,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// Texts, tool uses and reasoning in the model's order.
    pub parts: Vec<Part<'a>>,
    /// Web pages that the answer's texts rest on.
    pub citations: Vec<Citation<'a>>,
    /// Why the model stopped.
    pub stop: StopReason<'a>,
    /// Which stop text was met, where the upstream says so.
    pub stop_sequence: Option<Text<'a>>,
    /// Tokens, where the upstream says so.
    pub usage: Option<Usage>,
    /// The tier that served the request, in OpenAI's words.
    pub service_tier: Option<Text<'a>>,
}

/// A web page, and the stretch of the answer that rests on it.
#[derive(Clone, Debug)]
pub struct Citation<'a> {
    /// Where the stretch begins and ends, in characters of all texts joined; the end is behind it.
    pub span: std::ops::Range<usize>,
    /// The page.
    pub url: Text<'a>,
    /// Its title.
    pub title: Option<Text<'a>>,
}

/// Why a model stopped. Open: a reason nobody knew when this was written is kept as [`StopReason::Other`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason<'a> {
    /// It was done.
    EndTurn,
    /// It wrote one of the stop texts.
    StopSequence,
    /// It reached the token limit of the request.
    MaxTokens,
    /// It wants tools used.
    ToolUse,
    /// The answer was filtered.
    ContentFiltered,
    /// A guardrail stepped in.
    GuardrailIntervened,
    /// The context window was full.
    ContextWindowExceeded,
    /// What it wrote was not a usable message.
    MalformedOutput,
    /// What it wrote was not a usable tool call.
    MalformedToolUse,
    /// Something else, by the upstream's name.
    Other(Text<'a>),
}

impl StopReason<'_> {
    /// A short stable name for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            StopReason::EndTurn => "end_turn",
            StopReason::StopSequence => "stop_sequence",
            StopReason::MaxTokens => "max_tokens",
            StopReason::ToolUse => "tool_use",
            StopReason::ContentFiltered => "content_filtered",
            StopReason::GuardrailIntervened => "guardrail_intervened",
            StopReason::ContextWindowExceeded => "context_window_exceeded",
            StopReason::MalformedOutput => "malformed_output",
            StopReason::MalformedToolUse => "malformed_tool_use",
            StopReason::Other(_) => "other",
        }
    }
}

/// Tokens of one answer. The parts of the input do not overlap: the whole input is `input + cache_read + cache_write`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input that neither came from the cache nor went into it.
    pub input_tokens: u64,
    /// Output, reasoning included.
    pub output_tokens: u64,
    /// Input read from the cache.
    pub cache_read_tokens: u64,
    /// Input written to the cache, whatever its time to live.
    pub cache_write_tokens: u64,
    /// The part of `cache_write_tokens` that lives for an hour: it has a price of its own.
    pub cache_write_1h_tokens: u64,
    /// The part of `output_tokens` that was reasoning, where the upstream says so.
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// All input tokens, cached or not.
    #[must_use]
    pub fn total_input_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.cache_read_tokens).saturating_add(self.cache_write_tokens)
    }

    /// The tokens of two answers.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let reasoning = match (self.reasoning_tokens, other.reasoning_tokens) {
            (None, None) => None,
            (one, two) => Some(one.unwrap_or(0).saturating_add(two.unwrap_or(0))),
        };
        Usage {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            cache_write_1h_tokens: self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens),
            reasoning_tokens: reasoning,
        }
    }

    /// All tokens.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.total_input_tokens().saturating_add(self.output_tokens)
    }
}
