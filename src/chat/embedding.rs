//! Embeddings: texts in, vectors out.

use crate::wire::json::{Raw, Text};

/// A request for embeddings. `None` means that the client did not say.
#[derive(Clone, Debug)]
pub struct EmbeddingRequest<'a> {
    /// The model as the client named it.
    pub model: Text<'a>,
    /// What to embed, at least one.
    pub input: Input<'a>,
    /// How many numbers a vector has.
    pub dimensions: Option<u64>,
    /// How the client wants its vectors written.
    pub encoding: Encoding,
    /// The person behind the request, as an opaque id of the caller's.
    pub user: Option<Text<'a>>,
    /// Members that the client's API does not define, such as `input_type`: for models that know them.
    pub extras: Vec<(Text<'a>, Raw<'a>)>,
}

/// What to embed.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Texts.
    Texts(Vec<Text<'a>>),
    /// Lists of token numbers, which only the model that they belong to can read.
    Tokens,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As JSON numbers.
    #[default]
    Float,
    /// As base64 of little-endian 32-bit floats.
    Base64,
}

/// The vectors of one upstream answer, in the order of its texts.
#[derive(Clone, Debug, Default)]
pub struct Embeddings<'a> {
    /// Each a JSON array of numbers, as the upstream wrote it.
    pub vectors: Vec<Raw<'a>>,
    /// Tokens of the texts, where the upstream says so.
    pub input_tokens: Option<u64>,
}
