//! OpenAI, or whoever speaks its API, as the upstream: chat requests go out as Chat Completions bodies, its answers, streams and errors come back.
//!
//! Whoever speaks it is OpenAI, Azure, Gemini, vLLM, llama.cpp, LiteLLM and many more, and no two speak it alike: what goes out keeps to what all of them
//! take, what comes back is read as leniently as its meaning allows.

mod answer;
pub mod error;
pub mod request;
pub mod response;
pub mod stream;
