//! Anthropic's clients: requests are read; answers, streams and errors are written.

pub mod error;
pub mod request;
pub mod response;
pub mod stream;
