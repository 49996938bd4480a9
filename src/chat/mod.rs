//! The canonical form: what a chat request, its answer and its stream mean, whatever API they were written for.
//!
//! Every client dialect decodes into it and every upstream dialect encodes from it, so a target's rules live once. It is a borrowed view that lives inside
//! one call: texts are slices of the body they came from ([`Text`]), values that nobody reads are raw JSON ([`Raw`]). Unset stays unset; what has no typed
//! place travels in [`Request::extras`].
//!
//! [`Text`]: crate::wire::json::Text
//! [`Raw`]: crate::wire::json::Raw

pub mod capability;
pub mod embedding;
mod encoded;
mod error;
mod event;
pub mod fields;
pub mod media;
pub mod members;
pub mod names;
pub mod pairs;
mod policy;
mod prefix;
pub mod read;
pub mod redact;
pub mod refusal;
mod request;
mod response;
pub mod schema;
pub mod thinking;
pub mod turns;

pub use encoded::{Encoded, Options, Restore};
pub use error::{ApiError, ErrorKind};
pub use event::{End, Event, EventDecoder, EventEncoder};
pub use policy::{Ledger, Policy, Unknown, Unsupported};
pub use prefix::CachedPrefix;
pub use request::{
    Audio, CachePoint, Decoded, Document, Effort, Extra, Image, Message, OutputFormat, Part, Reasoning, Request, Role, SearchResult, Source, Tool, ToolChoice,
    ToolResult, ToolUse,
};
pub use response::{Citation, Envelope, Response, StopReason, Usage};
