//! What was spent, in a file: `budgets.json` in the state folder.
//!
//! Several processes write it, for a while, when one takes over from another. So none writes what it believes the whole to be: under a lock it reads the
//! file, adds what it has spent since its last write, and puts a new file in the place of the old one.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::warn;
use serde::{Deserialize, Serialize};

use crate::policy::limit::{Now, Spent};

/// The file.
#[derive(Debug)]
pub(super) struct Budgets {
    folder: PathBuf,
    path: PathBuf,
}

/// One user's money.
pub(super) struct Entry {
    pub(super) user: Arc<str>,
    /// What is not in the file yet.
    pub(super) unsaved: Spent,
    /// All that this process knows of.
    pub(super) spent: Spent,
}

#[derive(Default, Serialize, Deserialize)]
struct Written {
    users: BTreeMap<String, Line>,
}

/// Days since 1970, months since the year 0, thousand-millionths of a dollar.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Line {
    day: u64,
    day_nano_usd: u64,
    month: u64,
    month_nano_usd: u64,
}

impl From<Line> for Spent {
    fn from(line: Line) -> Self {
        Spent { day: line.day, in_day: line.day_nano_usd, month: line.month, in_month: line.month_nano_usd }
    }
}

impl From<Spent> for Line {
    fn from(spent: Spent) -> Self {
        Line { day: spent.day, day_nano_usd: spent.in_day, month: spent.month, month_nano_usd: spent.in_month }
    }
}

impl Budgets {
    pub(super) fn new(folder: PathBuf) -> Self {
        Budgets { path: folder.join("budgets.json"), folder }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was spent, by user.
    pub(super) fn load(&self) -> io::Result<impl Iterator<Item = (String, Spent)>> {
        let written = self.read()?;
        Ok(written.users.into_iter().map(|(user, line)| (user, line.into())))
    }

    /// Adds what was spent to the file; gives what it says then of each.
    pub(super) fn merge(&self, entries: &[Entry], now: Now) -> io::Result<Vec<Spent>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let lock = private().create(true).truncate(false).open(self.folder.join("budgets.lock"))?;
        lock.lock()?;
        let mut written = self.read()?;
        written.users.retain(|_, line| !Spent::from(*line).at(now).is_nothing());
        let all = entries.iter().map(|entry| {
            let known = written.users.get(&*entry.user);
            // Not in the file any more: someone has lost it, and this process has not.
            let all = known.map_or_else(|| entry.spent.at(now), |line| Spent::from(*line).plus(entry.unsaved, now));
            written.users.insert(entry.user.to_string(), all.into());
            all
        });
        let all = all.collect();
        self.write(&written)?;
        Ok(all)
    }

    fn read(&self) -> io::Result<Written> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Written::default()),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&text).or_else(|error| {
            let aside = self.path.with_extension("json.broken");
            fs::rename(&self.path, &aside)?;
            warn!("budgets: {} is broken ({error}): kept as {}", self.path.display(), aside.display());
            Ok(Written::default())
        })
    }

    /// The old file or the new one is there, whatever happens in between.
    fn write(&self, written: &Written) -> io::Result<()> {
        let fresh = self.path.with_extension("json.new");
        let mut file = private().create(true).truncate(true).open(&fresh)?;
        file.write_all(&serde_json::to_vec(written)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(user: &str, unsaved: u64, spent: u64, now: Now) -> Entry {
        let of = |nano_usd| Spent { in_day: nano_usd, in_month: nano_usd, ..Spent::default().at(now) };
        Entry { user: user.into(), unsaved: of(unsaved), spent: of(spent) }
    }

    #[test]
    fn two_processes_add_up_and_what_is_broken_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Budgets::new(folder.path().join("state")), Budgets::new(folder.path().join("state")));
        let now = Now::at(1_000_000);
        assert_eq!(one.merge(&[entry("a", 5, 5, now)], now).unwrap()[0].in_day, 5);
        assert_eq!(two.merge(&[entry("a", 7, 7, now), entry("b", 1, 1, now)], now).unwrap()[0].in_month, 12);
        assert_eq!(one.load().unwrap().map(|(user, spent)| (user, spent.in_day)).collect::<Vec<_>>(), [("a".to_owned(), 12), ("b".to_owned(), 1)]);
        fs::write(one.path(), b"{\"users\":").unwrap();
        assert_eq!(one.merge(&[entry("a", 1, 13, now)], now).unwrap()[0].in_day, 13, "this process still knows");
        assert_eq!(fs::read(folder.path().join("state/budgets.json.broken")).unwrap(), b"{\"users\":");
    }
}
