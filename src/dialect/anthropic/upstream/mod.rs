//! Anthropic as the upstream: chat requests go out as Messages bodies, its answers, streams and errors come back.

pub mod error;
pub mod request;
pub mod response;
pub mod stream;

mod answer;
