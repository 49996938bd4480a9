//! What a model answers, piece by piece.
//!
//! ```text
//! Start ─▶ ( TextDelta | Reasoning… | ToolStart ─▶ ToolDelta* | BlockStop )* ─▶ Stop ─▶ Usage? ─▶ end of body
//!   └────────────────────────── Failed, from anywhere, ends it ───────────────────────────┘
//! ```

use crate::chat::{ApiError, StopReason, Usage};
use crate::wire::json::Text;

/// One event of a streamed answer. `block` is the upstream's own block number: equal numbers belong together, gaps are allowed.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The answer begins.
    Start,
    /// More text.
    TextDelta {
        /// The block it belongs to.
        block: u32,
        /// The piece. May be empty.
        text: Text<'a>,
    },
    /// More reasoning, readable.
    ReasoningDelta {
        /// The block it belongs to.
        block: u32,
        /// The piece.
        text: Text<'a>,
    },
    /// The seal of a reasoning block.
    ReasoningSignature {
        /// The block it belongs to.
        block: u32,
        /// Opaque.
        signature: Text<'a>,
    },
    /// Encrypted reasoning.
    ReasoningRedacted {
        /// The block it belongs to.
        block: u32,
        /// Base64, opaque.
        content: Text<'a>,
    },
    /// The model begins to use a tool.
    ToolStart {
        /// The block that the arguments will come in.
        block: u32,
        /// Pairs the use with its result.
        id: Text<'a>,
        /// The tool.
        name: Text<'a>,
    },
    /// More of a tool's arguments.
    ToolDelta {
        /// The block it belongs to.
        block: u32,
        /// A fragment of JSON text, in the escaped form of a string: it moves from one string to another.
        fragment: Text<'a>,
    },
    /// A block is complete.
    BlockStop {
        /// Which.
        block: u32,
    },
    /// The model stopped.
    Stop {
        /// Why.
        reason: StopReason<'a>,
        /// Which stop text was met, where the upstream says so.
        stop_sequence: Option<Text<'a>>,
    },
    /// Tokens, and which tier served.
    Usage {
        /// The counts.
        usage: Usage,
        /// The tier, in OpenAI's words.
        service_tier: Option<Text<'a>>,
    },
    /// The upstream reported an error inside the stream.
    Failed(ApiError),
    /// Something this gateway does not know; skipped and counted.
    Unknown,
}

impl Event<'_> {
    /// Whether the client gets something of the model's own from this event: until then an error may still be answered with its HTTP status.
    #[must_use]
    pub fn is_content(&self) -> bool {
        matches!(
            self,
            Event::TextDelta { .. }
                | Event::ReasoningDelta { .. }
                | Event::ReasoningSignature { .. }
                | Event::ReasoningRedacted { .. }
                | Event::ToolStart { .. }
                | Event::ToolDelta { .. }
                | Event::Stop { .. }
        )
    }
}

/// How a stream came to its end.
#[derive(Clone, Debug)]
pub enum End {
    /// The upstream's body ended where it should.
    Complete,
    /// It did not: the error to tell the client.
    Failed(ApiError),
}

/// Writes events in a client's dialect. Sync, without I/O; sits in the request context.
pub trait EventEncoder: Send + Sync {
    /// Tells how long the answer has taken so far, for dialects that say so in their last event.
    fn clock(&mut self, _elapsed_ms: u64) {}

    /// Appends what the client gets for one event; may be nothing.
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>);

    /// Appends the end of the stream: the dialect's terminator after a complete answer, its error event after a failed one. Calling it again writes nothing.
    fn finish(&mut self, end: &End, out: &mut Vec<u8>);

    /// The whole answer, once it is complete, where the dialect has answers that are kept and this is one.
    fn take_kept(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// Reads the frames of an upstream's dialect. Sync, without I/O; sits in the request context.
pub trait EventDecoder: Send + Sync {
    /// Reads bytes as they come, cut anywhere, and hands over the events that are complete. After a [`Event::Failed`] nothing more comes.
    fn push(&mut self, bytes: &[u8], events: &mut dyn FnMut(Event<'_>));

    /// The body has ended: how does the answer stand? Complete only if the dialect's own last event was seen and no bytes are left over.
    fn finish(&mut self) -> End;
}
