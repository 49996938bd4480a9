//! Composition: from one dialect to another, still without I/O.
//!
//! The request's way is two calls around the routing decision (decode, then encode for the target that was chosen). The answer's way is what this folder
//! holds: [`Answer`] remembers what the answer needs of the request, and gives whole bodies ([`body`]) and streams ([`stream`]).

pub mod body;
pub mod stream;

use crate::chat;
use crate::chat::{Envelope, StopReason, Usage};
use crate::dialect::openai;

/// What the answer's translation needs of the request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Id, model and time that the client sees.
    pub envelope: Envelope,
    /// How the client wants its answer written.
    pub style: openai::Style,
    /// What the request's encoding changed and the answer must change back.
    pub restore: chat::Restore,
}

/// What the gateway learns from an answer while it passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Tokens, where the upstream said so.
    pub usage: Option<Usage>,
    /// Why the model stopped, by its stable name.
    pub stop: Option<&'static str>,
    /// Events that this version does not know.
    pub unknown_events: u32,
}

impl Facts {
    fn stopped(&mut self, reason: &StopReason<'_>) {
        self.stop = Some(reason.as_str());
    }
}
