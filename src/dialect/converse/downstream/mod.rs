//! Bedrock's clients: Converse requests are read; answers, event streams and errors are written.

pub mod error;
pub mod request;
pub mod response;
pub mod stream;
