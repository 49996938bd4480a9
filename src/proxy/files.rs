//! What one request has of files behind URLs, kept for its next target. [`remote`](super::remote) fetches them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ops::remote::Trouble;
use crate::translate::remote::Link;

/// The files of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// Where its body names them; `None` before anybody needed to know.
    pub(super) links: Option<Arc<[Link]>>,
    /// What came of their URLs.
    pub(super) got: BTreeMap<String, Result<Arc<Got>, Trouble>>,
}

impl Files {
    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.got.values().flatten().map(|got| got.base64.len() + got.text.as_ref().map_or(0, String::len)).sum()
    }
}

/// A file, ready to stand in a request.
#[derive(Debug)]
pub(super) struct Got {
    /// `None` for what no model reads.
    pub(super) media_type: Option<&'static str>,
    pub(super) base64: String,
    /// The same, if it is text.
    pub(super) text: Option<String>,
}
