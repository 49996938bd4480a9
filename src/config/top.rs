//! The top of `conf/adit.yaml`: its sections, any of which may be missing, and the files that they name.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::FileRead;
use super::cursor::{Section, Value};

/// A section that may be missing as a whole.
pub(super) struct Keys<'s, 'n> {
    pub(super) section: Option<&'s Section<'n>>,
    pub(super) folder: &'s Path,
    /// What it names and has been read, for who watches them.
    pub(super) read: RefCell<Vec<FileRead>>,
}

impl<'n> Keys<'_, 'n> {
    pub(super) fn get(&self, name: &'static str) -> Option<Value<'n>> {
        self.section?.get(name)
    }

    pub(super) fn section<T>(&self, name: &'static str, read: impl FnOnce(&Section<'n>) -> T) -> Option<T> {
        self.section?.section(name, read)
    }

    /// Where a file is, from the root: a daemon leaves its folder.
    pub(super) fn file(&self, written: &str) -> PathBuf {
        let path = self.folder.join(written);
        std::path::absolute(&path).unwrap_or(path)
    }

    /// Reads a text file that the configuration depends on: when it changes, so does the configuration.
    pub(super) fn read_text(&self, path: &Path) -> std::io::Result<String> {
        let text = std::fs::read_to_string(path);
        self.read.borrow_mut().push(FileRead::new(path, text.as_deref().ok()));
        text
    }
}
