//! Text that must not be shown.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A key, token or password: prints as `***`, and its memory is overwritten when the last copy goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Box<str>>>);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::hash::Hash for Secret {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        // A box holds exactly the text: nothing of it stays behind in a buffer that grew.
        Secret(Arc::new(Zeroizing::new(text.into())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars_and_compares_by_its_text() {
        let secret = Secret::from("not-a-real-key");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(secret, Secret::from("not-a-real-key"));
        assert_ne!(secret, Secret::from("another"));
        assert_eq!(secret.expose(), "not-a-real-key");
    }
}
