//! What makes two requests one, for answers that are given again: whether a request has the same answer each time, and a hash of all that it depends on.

use sha2::{Digest as _, Sha256};

use crate::dialect::Surface;
use crate::wire::json::{self, Kind, Raw, canonical};

/// Whether a request has the same answer each time, as far as that can be asked for: its temperature is 0, or it asks for embeddings.
#[must_use]
pub fn is_deterministic(surface: Surface, body: &str) -> bool {
    let is_zero = |raw: Option<Raw<'_>>| raw.is_some_and(|raw| raw.kind() == Kind::Number && raw.number() == Some(0.0));
    match surface {
        Surface::Embeddings => true,
        Surface::Converse | Surface::ConverseStream => json::pick(body, ["inferenceConfig"])
            .is_ok_and(|[config]| config.is_some_and(|config| json::pick(config.as_str(), ["temperature"]).is_ok_and(|[t]| is_zero(t)))),
        Surface::ChatCompletions | Surface::Completions | Surface::Responses | Surface::Messages => {
            json::pick(body, ["temperature"]).is_ok_and(|[temperature]| is_zero(temperature))
        }
        _ => false,
    }
}

/// Whether answers of a surface can be kept at all.
#[must_use]
pub fn is_kept(surface: Surface) -> bool {
    !matches!(surface, Surface::CountMessages | Surface::CountResponses | Surface::CountTokens)
}

/// Whether a request leaves nothing behind but its answer: a response that is stored has an id of its own, by which its client asks for it.
#[must_use]
pub fn is_pure(surface: Surface, body: &str) -> bool {
    surface != Surface::Responses || json::pick(body, ["store"]).is_ok_and(|[store]| store.and_then(Raw::bool) == Some(false))
}

/// Surfaces that ask the same and differ in how the answer comes share a name.
fn group(surface: Surface) -> &'static str {
    match surface {
        Surface::Converse | Surface::ConverseStream => "converse",
        other => other.route(),
    }
}

/// Everything besides the body that an answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Whose answers they are; `None` where all users share them.
    pub user: Option<&'a str>,
    /// What is asked for.
    pub surface: Surface,
    /// The model as the client named it.
    pub model: &'a str,
    /// Where it may go, and how: targets and their order, and headers that change what a model does.
    pub circumstances: &'a [&'a str],
}

impl Scope<'_> {
    /// A hash of a request; `None` for a body that is not JSON, or too deep. How a body is written does not count, nor whether it asks for a stream.
    #[must_use]
    pub fn hash(&self, body: &str) -> Option<[u8; 32]> {
        let mut form = Vec::with_capacity(body.len());
        canonical(body, &["stream", "stream_options"], &mut form).ok()?;
        let mut hash = Sha256::new();
        let mut part = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        part(b"1");
        part(&[u8::from(self.user.is_some())]);
        part(self.user.unwrap_or_default().as_bytes());
        part(group(self.surface).as_bytes());
        part(self.model.as_bytes());
        part(&self.circumstances.len().to_le_bytes());
        self.circumstances.iter().for_each(|circumstance| part(circumstance.as_bytes()));
        part(&form);
        Some(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_one_answer_is_deterministic() {
        for (surface, body, expected) in [
            (Surface::ChatCompletions, r#"{"temperature":0}"#, true),
            (Surface::ChatCompletions, r#"{"temperature":0.0,"n":2}"#, true),
            (Surface::Messages, r#"{"temperature":-0}"#, true),
            (Surface::Messages, r#"{"temperature":0.1}"#, false),
            (Surface::ChatCompletions, r#"{"temperature":"0"}"#, false),
            (Surface::ChatCompletions, r#"{"temperature":null}"#, false),
            (Surface::ChatCompletions, r"{}", false),
            (Surface::Converse, r#"{"inferenceConfig":{"temperature":0}}"#, true),
            (Surface::ConverseStream, r#"{"inferenceConfig":{"topP":0}}"#, false),
            (Surface::Converse, r#"{"temperature":0}"#, false),
            (Surface::Embeddings, r#"{"input":"a"}"#, true),
            (Surface::Invoke, r#"{"temperature":0}"#, false),
            (Surface::ChatCompletions, "{", false),
            (Surface::Responses, r#"{"temperature":0}"#, true),
            (Surface::Completions, r#"{"temperature":0}"#, true),
        ] {
            assert_eq!(is_deterministic(surface, body), expected, "{surface:?} {body}");
        }
        for (surface, body, expected) in [
            (Surface::Responses, "{}", false),
            (Surface::Responses, r#"{"store":true}"#, false),
            (Surface::Responses, r#"{"store":false}"#, true),
            (Surface::ChatCompletions, r#"{"store":true}"#, true),
        ] {
            assert_eq!(is_pure(surface, body), expected, "{surface:?} {body}");
        }
    }

    #[test]
    fn a_hash_is_of_the_user_the_model_the_way_and_the_question() {
        let scope = Scope { user: Some("alice"), surface: Surface::Converse, model: "m", circumstances: &["bedrock/m"] };
        let key = |scope: Scope<'_>, body: &str| scope.hash(body);
        let one = key(scope, r#"{"a":1,"b":2}"#);
        assert!(one.is_some());
        assert_eq!(one, key(Scope { surface: Surface::ConverseStream, ..scope }, r#"{ "b":2, "a":1, "stream":true, "stream_options":{} }"#));
        for other in [
            key(scope, r#"{"a":1,"b":3}"#),
            key(Scope { user: Some("bob"), ..scope }, r#"{"a":1,"b":2}"#),
            key(Scope { user: None, ..scope }, r#"{"a":1,"b":2}"#),
            key(Scope { user: Some(""), ..scope }, r#"{"a":1,"b":2}"#),
            key(Scope { model: "n", ..scope }, r#"{"a":1,"b":2}"#),
            key(Scope { surface: Surface::Messages, ..scope }, r#"{"a":1,"b":2}"#),
            key(Scope { circumstances: &["bedrock", "/m"], ..scope }, r#"{"a":1,"b":2}"#),
            key(scope, "{"),
        ] {
            assert_ne!(one, other);
        }
    }
}
