//! Where a provider listens, which operation it takes and how it wants to be signed, as data.

pub mod bedrock;
pub mod endpoint;
pub mod sigv4;
