//! What is wrong with a configuration: collected, so that an operator gets all of it at once.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use super::FileRead;

/// Line and column, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// One mistake: `models.yaml:7:12: models.x.targets[0].weight: expected a whole number from 1 to 1000000, found `heavy``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    file: Arc<str>,
    at: Option<Position>,
    path: String,
    message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(at) = self.at {
            write!(f, "{}:{}:", at.line, at.column)?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.message)
    }
}

/// Every mistake of a configuration, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    pub(super) mistakes: Vec<Mistake>,
    /// The files they were found in, and their good neighbours; none for what is embedded.
    pub files: Vec<FileRead>,
}

impl Errors {
    pub(super) fn new(mistakes: Vec<Mistake>) -> Self {
        Errors { mistakes, files: Vec::new() }
    }

    /// One by one, in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.mistakes.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Where readers of one file put what they find wrong, and what they want the operator to know.
pub(super) struct Mistakes {
    file: Arc<str>,
    /// Whether the operator wrote the file. Notes about the embedded one would be noise.
    own: bool,
    found: RefCell<Vec<Mistake>>,
    notes: RefCell<Vec<String>>,
}

impl Mistakes {
    pub(super) fn new(file: &str, own: bool) -> Self {
        Mistakes { file: file.into(), own, found: RefCell::default(), notes: RefCell::default() }
    }

    pub(super) fn add(&self, at: Position, path: &str, message: impl Into<String>) {
        self.found.borrow_mut().push(Mistake { file: Arc::clone(&self.file), at: Some(at), path: path.to_owned(), message: message.into() });
    }

    /// A mistake in something that has no lines: the environment, or a file that cannot be read.
    pub(super) fn add_unplaced(&self, path: &str, message: impl Into<String>) {
        self.found.borrow_mut().push(Mistake { file: Arc::clone(&self.file), at: None, path: path.to_owned(), message: message.into() });
    }

    pub(super) fn note(&self, note: impl Into<String>) {
        if self.own {
            self.notes.borrow_mut().push(note.into());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Mistakes in the order of the file, and notes.
    pub(super) fn into_parts(self) -> (Vec<Mistake>, Vec<String>) {
        let mut found = self.found.into_inner();
        found.sort_by_key(|mistake| mistake.at);
        (found, self.notes.into_inner())
    }
}
