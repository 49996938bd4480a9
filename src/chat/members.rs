//! What of an API's JSON may be told where its content may not: each API has a table of the names of its members, kept sorted.
//!
//! What stands in no table is taken for content, whatever it is.

/// The members of one API.
#[derive(Clone, Copy, Debug)]
pub struct Members {
    /// Their strings are words of the API or ids, not content: `role`, `type`, `model`.
    pub words: &'static [&'static str],
    /// Their names may be told, and so may their numbers and the members of the same kind below them; their strings are content: `content`, `max_tokens`.
    pub names: &'static [&'static str],
    /// Their names may be told, nothing below them: names there are somebody's own, and numbers may be content: `arguments`, `embedding`.
    pub opaque: &'static [&'static str],
}

/// How much of a member may be told, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// [`Members::words`]
    Word,
    /// [`Members::names`]
    Name,
    /// [`Members::opaque`]
    Opaque,
    /// Not even its name.
    Nothing,
}

impl Members {
    /// How much of a member may be told by several tables together: the strictest that knows it decides.
    #[must_use]
    pub fn told(tables: &[Members], name: &str) -> Told {
        let any = |list: fn(&Members) -> &'static [&'static str]| tables.iter().any(|table| list(table).binary_search(&name).is_ok());
        if any(|table| table.opaque) {
            Told::Opaque
        } else if any(|table| table.words) {
            Told::Word
        } else if any(|table| table.names) {
            Told::Name
        } else {
            Told::Nothing
        }
    }

    /// Whether every list can be searched.
    #[must_use]
    pub fn is_sorted(&self) -> bool {
        [self.words, self.names, self.opaque].iter().all(|list| list.is_sorted())
    }
}
