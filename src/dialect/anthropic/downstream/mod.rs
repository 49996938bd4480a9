//! Anthropic's clients: requests are read; answers, streams, errors and the model list are written.

pub mod error;
pub mod models;
pub mod request;
pub mod response;
pub mod stream;
