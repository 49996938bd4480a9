//! Formats as bytes, each from someone's published specification. No I/O, no clock, no meaning: only where a message begins and ends.

pub mod envelope;
pub mod eventstream;
pub mod json;
pub mod sse;
