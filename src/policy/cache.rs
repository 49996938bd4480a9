//! Which answers may come from the response cache: what a request says, and what makes two requests one.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::dialect::Surface;
use crate::wire::json::{self, Kind, Raw, canonical};

/// What a request wants of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// An answer from the cache will do.
    pub read: bool,
    /// The answer may be kept.
    pub write: bool,
    /// No older than this.
    pub max_age: Option<Duration>,
}

impl Wish {
    /// Reads the values of `cache-control`, as RFC 9111 has it for requests: `no-store`, `no-cache`, `max-age`. What is not known, or cannot be read, says nothing.
    #[must_use]
    pub fn read<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut wish = Wish { read: true, write: true, max_age: None };
        for directive in values.flat_map(|value| value.split(',')) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => wish = Wish { read: false, write: false, ..wish },
                "no-cache" => wish.read = false,
                "max-age" => {
                    if let Ok(seconds) = argument.trim().trim_matches('"').parse() {
                        wish.max_age = Some(Duration::from_secs(seconds));
                    }
                }
                _ => {}
            }
        }
        wish
    }

    /// Whether an answer of that age will do.
    #[must_use]
    pub fn takes(self, age: Duration) -> bool {
        self.read && self.max_age.is_none_or(|most| age <= most && !most.is_zero())
    }
}

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

/// What makes two requests one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:02x}{:02x}…)", self.0[0], self.0[1])
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

impl Key {
    /// The key of a request; `None` for a body that is not JSON, or too deep. How a body is written does not count, nor whether it asks for a stream.
    #[must_use]
    pub fn of(scope: &Scope<'_>, body: &str) -> Option<Self> {
        let mut form = Vec::with_capacity(body.len());
        canonical(body, &["stream", "stream_options"], &mut form).ok()?;
        let mut hash = Sha256::new();
        let mut part = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        part(b"1");
        part(&[u8::from(scope.user.is_some())]);
        part(scope.user.unwrap_or_default().as_bytes());
        part(group(scope.surface).as_bytes());
        part(scope.model.as_bytes());
        part(&scope.circumstances.len().to_le_bytes());
        scope.circumstances.iter().for_each(|circumstance| part(circumstance.as_bytes()));
        part(&form);
        Some(Key(hash.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_say_what_they_want_as_of_any_http_cache() {
        let any = Wish { read: true, write: true, max_age: None };
        for (values, expected) in [
            (vec![], any),
            (vec!["no-store"], Wish { read: false, write: false, max_age: None }),
            (vec!["No-Cache"], Wish { read: false, ..any }),
            (vec!["max-age=60"], Wish { max_age: Some(Duration::from_secs(60)), ..any }),
            (vec!["max-age=\"5\" , no-transform"], Wish { max_age: Some(Duration::from_secs(5)), ..any }),
            (vec!["no-cache", "no-store"], Wish { read: false, write: false, max_age: None }),
            (vec!["max-age=soon, private"], any),
        ] {
            assert_eq!(Wish::read(values.iter().copied()), expected, "{values:?}");
        }
        let young = Wish { max_age: Some(Duration::from_secs(2)), ..any };
        assert!(young.takes(Duration::from_secs(2)) && !young.takes(Duration::from_secs(3)));
        assert!(!Wish { max_age: Some(Duration::ZERO), ..any }.takes(Duration::ZERO), "0 asks for a fresh one");
    }

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
    fn a_key_is_of_the_user_the_model_the_way_and_the_question() {
        let scope = Scope { user: Some("alice"), surface: Surface::Converse, model: "m", circumstances: &["bedrock/m"] };
        let key = |scope: Scope<'_>, body: &str| Key::of(&scope, body);
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
