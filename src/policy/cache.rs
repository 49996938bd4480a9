//! Which answers may come from the response cache, by what a request says. What makes two requests one is `translate::sameness`.

use std::time::Duration;

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
                        // Nothing is so young: to wait for another one's answer would be to wait for nothing.
                        wish.read &= seconds > 0;
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

/// What makes two requests one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:02x}{:02x}…)", self.0[0], self.0[1])
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
            (vec!["max-age=0"], Wish { read: false, max_age: Some(Duration::ZERO), ..any }),
            (vec!["no-cache", "no-store"], Wish { read: false, write: false, max_age: None }),
            (vec!["max-age=soon, private"], any),
        ] {
            assert_eq!(Wish::read(values.iter().copied()), expected, "{values:?}");
        }
        let young = Wish { max_age: Some(Duration::from_secs(2)), ..any };
        assert!(young.takes(Duration::from_secs(2)) && !young.takes(Duration::from_secs(3)));
        assert!(!Wish { max_age: Some(Duration::ZERO), ..any }.takes(Duration::ZERO), "0 asks for a fresh one");
    }
}
