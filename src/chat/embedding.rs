//! Embeddings: texts in, vectors out.
//!
//! A request may become several calls, for models that take one text or a few at a time; the vectors come back in the order of the texts.

use crate::chat::read::{self, Path};
use crate::chat::{ApiError, ErrorKind, Extra, Ledger, Policy, Unknown, Unsupported};
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
    /// Members that the client's API does not define, such as `input_type`: for models that know them. Each name once.
    pub extras: Vec<Extra<'a>>,
}

impl<'a> EmbeddingRequest<'a> {
    /// The texts to embed.
    ///
    /// # Errors
    /// 400 on `input` where there are token numbers: which text they stand for, only another model's tokenizer knows.
    pub fn texts(&self) -> Result<&[Text<'a>], ApiError> {
        match &self.input {
            Input::Texts(texts) if !texts.is_empty() => Ok(texts),
            Input::Texts(_) => Err(ApiError::invalid("input", "input must hold at least one text")),
            Input::Tokens => Err(ApiError::invalid("input", "input must be text: this model does not take lists of tokens")),
        }
    }

    /// The extras that a model has a place for. What becomes of the others, the policy says.
    ///
    /// # Errors
    /// 400 naming the member, where the policy refuses it.
    pub fn place(&self, places: &'static [&'static str], policy: Policy, ledger: &mut Ledger) -> Result<Placed<'a>, ApiError> {
        let mut placed = Placed::default();
        for extra in &self.extras {
            let name = extra.name.unescape();
            let place = places.iter().find(|place| **place == name);
            match (policy.unknown, place) {
                (Unknown::Reject, _) => return Err(ApiError::invalid(name.clone().into_owned(), format!("the member {name:?} is not known"))),
                (Unknown::Carry, Some(place)) => placed.0.push((*place, extra.value)),
                // The bodies of embedding models have no room for free members.
                (Unknown::Carry, None) if policy.unsupported == Unsupported::Reject => {
                    return Err(ApiError::invalid(name.clone().into_owned(), format!("{name} is not supported by this model")));
                }
                (Unknown::Carry, None) | (Unknown::Drop, _) => ledger.note(&name),
            }
        }
        Ok(placed)
    }
}

/// Extras that have a place, by name.
#[derive(Clone, Debug, Default)]
pub struct Placed<'a>(Vec<(&'static str, Raw<'a>)>);

impl<'a> Placed<'a> {
    /// The value of a member; the last one's, if there are several.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Raw<'a>> {
        self.0.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The value of a member that must be a string.
    ///
    /// # Errors
    /// 400 naming the member.
    pub fn text(&self, name: &str) -> Result<Option<Text<'a>>, ApiError> {
        read::text(self.value(name), &Path::Root.key(name))
    }
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

/// The calls that a request becomes.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// The body of each, in the order of the texts.
    pub bodies: Vec<Vec<u8>>,
    /// How many vectors the answer to each must hold.
    pub vectors: Vec<usize>,
    /// Members that were left out, by their names in the client's API.
    pub dropped: Vec<String>,
}

impl Calls {
    /// Writes one body for every `batch` texts.
    #[must_use]
    pub fn new(texts: &[Text<'_>], batch: usize, ledger: Ledger, mut write: impl FnMut(&[Text<'_>], &mut Vec<u8>)) -> Self {
        /// Room for everything but the texts.
        const FRAME: usize = 256;
        let mut calls = Calls { dropped: ledger.into_dropped(), ..Calls::default() };
        for texts in texts.chunks(batch.max(1)) {
            let size = texts.iter().map(|text| text.escaped().len() + 64).sum::<usize>();
            let mut body = Vec::with_capacity(FRAME + size);
            write(texts, &mut body);
            calls.bodies.push(body);
            calls.vectors.push(texts.len());
        }
        calls
    }
}

/// The vectors of one upstream answer, in the order of its texts.
#[derive(Clone, Debug, Default)]
pub struct Embeddings<'a> {
    /// The vectors.
    pub vectors: Vec<Vector<'a>>,
    /// Tokens of the texts, where the upstream says so.
    pub input_tokens: Option<u64>,
}

impl<'a> Embeddings<'a> {
    /// Takes what an upstream gave as vectors.
    ///
    /// # Errors
    /// 502 where one of them is no vector.
    pub fn new(vectors: impl IntoIterator<Item = Option<Raw<'a>>>, input_tokens: Option<u64>) -> Result<Self, ApiError> {
        let vectors = vectors.into_iter().map(|raw| raw.and_then(Vector::of)).collect::<Option<Vec<_>>>().ok_or_else(no_embeddings)?;
        Ok(Embeddings { vectors, input_tokens })
    }

    /// Makes sure that there is a vector for each text.
    ///
    /// # Errors
    /// 502 otherwise: which vector belongs to which text cannot be told.
    pub fn of_texts(self, texts: usize) -> Result<Self, ApiError> {
        if self.vectors.len() == texts {
            return Ok(self);
        }
        let found = self.vectors.len();
        Err(ApiError::new(ErrorKind::BadUpstream, format!("The model provider answered with {found} embeddings for {texts} texts.")))
    }
}

/// An answer that is not what it should be: 502.
#[must_use]
pub fn no_embeddings() -> ApiError {
    ApiError::new(ErrorKind::BadUpstream, "The model provider's answer holds no embeddings.")
}

/// A token count, `null` or nonsense being none. Some write it as `5.0`.
#[must_use]
pub fn token_count(raw: Option<Raw<'_>>) -> Option<u64> {
    read::integer(raw, 0..=u64::MAX, &Path::Root).ok().flatten()
}

/// A vector: a JSON array of numbers and nothing else, at least one, as the upstream wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector<'a>(&'a str);

impl<'a> Vector<'a> {
    /// Takes an array of numbers.
    #[must_use]
    pub fn of(raw: Raw<'a>) -> Option<Self> {
        let numbers = raw.as_str().strip_prefix('[')?.strip_suffix(']')?;
        // A value is JSON already: what is made of these alone can only be numbers.
        let numeric = |byte: u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E' | b',' | b' ' | b'\n' | b'\r' | b'\t');
        (numbers.bytes().all(numeric) && !numbers.trim_ascii().is_empty()).then_some(Vector(raw.as_str()))
    }

    /// The array as JSON text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The numbers, each rounded once to the nearest 32-bit float.
    pub fn floats(self) -> impl Iterator<Item = f32> + 'a {
        // JSON's numbers are a part of those that Rust reads.
        self.0.trim_matches(['[', ']']).split(',').map(|number| number.trim_ascii().parse().unwrap_or(f32::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arrays_of_numbers_are_vectors() {
        for json in ["[1]", "[-0.5,1e-3,2E+5]", "[\n  1,\n  2\n]", "[0]"] {
            assert_eq!(Vector::of(Raw::parse(json).unwrap()).map(Vector::as_str), Some(json));
        }
        for json in ["[]", "[ ]", "1", "\"[1]\"", "[[1]]", "[null]", "[true]", "[\"1\"]", "[{}]", "{}", "null"] {
            assert_eq!(Vector::of(Raw::parse(json).unwrap()), None, "{json}");
        }
    }

    #[test]
    fn numbers_are_rounded_once() {
        // Halfway between two 32-bit floats but for its last digit, which a double loses.
        let json = "[1.00000005960464477539062500000001, 0.1,\n-1e-46, 1e39]";
        let floats: Vec<f32> = Vector::of(Raw::parse(json).unwrap()).unwrap().floats().collect();
        assert_eq!(floats, [1.000_000_1, 0.1, -0.0, f32::INFINITY]);
    }

    #[test]
    fn calls_keep_the_order_and_count() {
        let texts: Vec<Text<'_>> = ["a", "b", "c", "d", "e"].into_iter().map(Text::from_escaped).collect();
        let mut ledger = Ledger::new(Policy::default());
        ledger.note("x");
        let calls = Calls::new(&texts, 2, ledger, |texts, out| texts.iter().for_each(|text| out.extend_from_slice(text.escaped().as_bytes())));
        assert_eq!((calls.bodies, calls.vectors, calls.dropped), (vec![b"ab".to_vec(), b"cd".to_vec(), b"e".to_vec()], vec![2, 2, 1], vec!["x".to_owned()]));
    }

    #[test]
    fn a_vector_too_few_or_too_many_is_the_upstreams_fault() {
        let answer = || Embeddings::new([Raw::parse("[1]").ok(), Raw::parse("[2]").ok()], None).unwrap();
        assert!(answer().of_texts(2).is_ok());
        for texts in [0, 1, 3] {
            assert_eq!(answer().of_texts(texts).unwrap_err().status, 502);
        }
        assert_eq!(Embeddings::new([None], None).unwrap_err().status, 502);
    }

    #[test]
    fn counts_are_read_as_they_come() {
        for (json, count) in [("5", Some(5)), ("5.0", Some(5)), ("null", None), ("-1", None), ("1.5", None), ("\"5\"", None)] {
            assert_eq!(token_count(Raw::parse(json).ok()), count, "{json}");
        }
        assert_eq!(token_count(None), None);
    }
}
