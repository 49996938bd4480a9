//! What may be told of the JSON of Vertex AI's own predictions. What is missing here is not told.

use crate::chat::members::Members;

/// The members of Vertex AI.
pub const MEMBERS: Members = Members {
    words: &["mimeType", "task_type"],
    names: &[
        "autoTruncate",
        "billableCharacterCount",
        "content",
        "instances",
        "outputDimensionality",
        "predictions",
        "statistics",
        "title",
        "token_count",
        "truncated",
    ],
    opaque: &["embeddings"],
};
