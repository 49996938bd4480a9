//! Adit: an AI gateway. Any OpenAI, Anthropic or AWS Bedrock client, unchanged, talks to any model provider.
//!
//! ```text
//! listener → authenticate → limit → decode(client dialect) → route → encode(upstream dialect) → sign → upstream
//!                                    ↓ facts: model, stream?                                        ↓
//! account/audit ← frame(client) ← encode(client dialect) ← decode(upstream dialect) ← deframe ← response bytes
//! ```
//!
//! Three axes never mix: **framing** (one JSON body, SSE, AWS event stream), **dialect** (the JSON shape) and **provider** (endpoint, operation,
//! credentials). A folder imports only from folders above it in this list; `tests/layering.rs` holds the house to that.

pub mod wire;

pub mod chat;

pub mod dialect;

pub mod translate;

pub mod provider;

pub mod config;

pub mod policy;

pub mod ops;

pub mod proxy;

pub mod sandbox;

pub mod cli;
