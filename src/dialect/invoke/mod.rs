//! Bedrock's model-native bodies, the upstream side: what InvokeModel takes and gives, which is each model family's own. Here: embeddings.
//!
//! Not here: the path and the signature (`provider`); chat, which goes through Converse.
//!
//! Vendor page: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html>.

pub mod embeddings;
pub mod members;
