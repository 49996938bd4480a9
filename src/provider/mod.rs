//! Where a provider listens, which operation it takes and how it wants to be signed, as data.

pub mod anthropic;
pub mod azure;
pub mod bedrock;
pub mod endpoint;
pub mod openai;
pub mod sigv4;
pub mod vertex;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// What SDKs encode in a path segment: everything but unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
