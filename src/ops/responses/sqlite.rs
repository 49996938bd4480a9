//! Kept answers in an SQLite file of the process: `responses.db` in the state folder, for the owner alone.
//!
//! SQLite, because two processes may have it open at a time: during an upgrade the old one still writes down what its last requests bring, while the new one
//! reads and writes. A store that one process locks would keep the new one waiting for as long as the old one drains, or lose the old one's last answers.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Fault, Kept, Shelf};

/// The file.
const FILE: &str = "responses.db";
/// What the tables below are called, for a version that has others.
const SCHEMA_VERSION: i64 = 1;
/// How long to wait for the other process of an upgrade.
const PATIENCE: Duration = Duration::from_secs(5);
/// What expired goes with every so many answers.
const SWEEP: u32 = 64;
/// So many of the oldest go at a time.
const EVICT: u32 = 16;
/// Without a file the memory of the process holds them: no more than this.
const MOST_IN_MEMORY: u64 = 64 * 1024 * 1024;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS responses (
  user TEXT NOT NULL,
  id TEXT NOT NULL,
  expires INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  previous TEXT,
  provider TEXT,
  response BLOB NOT NULL,
  input BLOB NOT NULL,
  UNIQUE (user, id)
);
CREATE INDEX IF NOT EXISTS responses_expire ON responses (expires);
";

#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("it was made by a newer version")]
    Newer,
}

/// The file, open.
pub(super) struct Sqlite {
    connection: Connection,
    most: u64,
    /// Bytes of all answers, as far as this process knows: the other one of an upgrade may have added some.
    total: u64,
    /// Answers since what expired went.
    puts: u32,
}

impl Sqlite {
    pub(super) fn open(folder: Option<&Path>) -> Result<Self, OpenError> {
        let connection = match folder {
            Some(folder) => {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                let path = folder.join(FILE);
                // SQLite gives what it makes beside it the same mode.
                OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
                Connection::open(path)?
            }
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(PATIENCE)?;
        // Before there is a table: room that answers leave goes back to the file system.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A crash of the machine may lose the last answers, never the file.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(OpenError::Newer);
        }
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        let most = if folder.is_some() { u64::MAX } else { MOST_IN_MEMORY };
        let mut sqlite = Sqlite { connection, most, total: 0, puts: 0 };
        sqlite.total = sqlite.sum()?;
        Ok(sqlite)
    }

    fn sum(&self) -> rusqlite::Result<u64> {
        let sum: i64 = self.connection.query_row("SELECT coalesce(sum(bytes), 0) FROM responses", [], |row| row.get(0))?;
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    fn write(&mut self, user: &str, id: &str, kept: &Kept, expires: u64) -> rusqlite::Result<()> {
        let bytes = kept.bytes() as u64;
        let mut insert = self.connection.prepare(
            "INSERT OR REPLACE INTO responses (user, id, expires, bytes, previous, provider, response, input) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        insert.execute(params![user, id, signed(expires), signed(bytes), kept.previous, kept.provider, &*kept.response, &*kept.input])?;
        self.total = self.total.saturating_add(bytes);
        Ok(())
    }

    /// Takes away what has expired, and the oldest while there is too much.
    fn sweep(&mut self, now: u64, max_bytes: u64) -> rusqlite::Result<()> {
        let most = max_bytes.min(self.most);
        self.puts += 1;
        if self.puts < SWEEP && self.total <= most {
            return Ok(());
        }
        self.puts = 0;
        self.connection.execute("DELETE FROM responses WHERE expires <= ?1", [signed(now)])?;
        self.total = self.sum()?;
        while self.total > most {
            let gone = self.connection.execute("DELETE FROM responses WHERE rowid IN (SELECT rowid FROM responses ORDER BY rowid LIMIT ?1)", [EVICT])?;
            if gone == 0 {
                break;
            }
            self.total = self.sum()?;
        }
        self.connection.execute_batch("PRAGMA incremental_vacuum")
    }

    fn find(&mut self, user: &str, id: &str, now: u64) -> rusqlite::Result<Option<Kept>> {
        let mut select = self.connection.prepare("SELECT response, input, previous, provider FROM responses WHERE user = ?1 AND id = ?2 AND expires > ?3")?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Kept { response: row.get::<_, Vec<u8>>(0)?.into(), input: row.get::<_, Vec<u8>>(1)?.into(), previous: row.get(2)?, provider: row.get(3)? })
        };
        select.query_row(params![user, id, signed(now)], read).optional()
    }
}

/// SQLite's whole numbers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Shelf for Sqlite {
    fn put(&mut self, user: &str, id: &str, kept: &Kept, now: u64, expires: u64, max_bytes: u64) -> Result<(), Fault> {
        self.write(user, id, kept, expires)?;
        Ok(self.sweep(now, max_bytes)?)
    }

    fn get(&mut self, user: &str, id: &str, now: u64) -> Result<Option<Kept>, Fault> {
        Ok(self.find(user, id, now)?)
    }

    fn delete(&mut self, user: &str, id: &str, now: u64) -> Result<bool, Fault> {
        let deleted = self.connection.execute("DELETE FROM responses WHERE user = ?1 AND id = ?2 AND expires > ?3", params![user, id, signed(now)])?;
        Ok(deleted > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::tests::kept;
    use super::*;

    fn put(shelf: &mut Sqlite, id: &str, size: usize, now: u64, max_bytes: u64) {
        shelf.put("alice", id, &kept(&"x".repeat(size)), now, now + 10, max_bytes).unwrap();
    }

    #[test]
    fn what_has_expired_is_not_there_and_goes() {
        let mut shelf = Sqlite::open(None).unwrap();
        put(&mut shelf, "old", 100, 1000, u64::MAX);
        assert!(shelf.get("alice", "old", 1009).unwrap().is_some());
        assert!(shelf.get("alice", "old", 1010).unwrap().is_none());
        assert!(!shelf.delete("alice", "old", 1010).unwrap());
        for number in 0..SWEEP {
            put(&mut shelf, &number.to_string(), 1, 2000, u64::MAX);
        }
        let left: i64 = shelf.connection.query_row("SELECT count(*) FROM responses WHERE id = 'old'", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn the_oldest_go_when_there_is_too_much_and_the_file_shrinks() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Sqlite::open(Some(folder.path())).unwrap();
        for number in 0..200 {
            put(&mut shelf, &number.to_string(), 10_000, 1, 500_000);
            assert!(shelf.total <= 500_000);
        }
        assert_eq!(shelf.total, shelf.sum().unwrap());
        assert!(shelf.get("alice", "0", 1).unwrap().is_none() && shelf.get("alice", "199", 1).unwrap().is_some());
        let pages: i64 = shelf.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        assert!(pages * 4096 < 1_000_000, "{pages} pages");
        // One that is larger than all the room does not stay, and does no harm.
        put(&mut shelf, "large", 600_000, 1, 500_000);
        assert!(shelf.get("alice", "large", 1).unwrap().is_none());
        put(&mut shelf, "next", 10, 1, 500_000);
        assert!(shelf.get("alice", "next", 1).unwrap().is_some());
    }

    #[test]
    fn an_answer_of_the_same_name_takes_the_place_of_the_first() {
        let mut shelf = Sqlite::open(None).unwrap();
        put(&mut shelf, "1", 5, 1, u64::MAX);
        put(&mut shelf, "1", 7, 1, u64::MAX);
        assert_eq!(shelf.get("alice", "1", 1).unwrap().unwrap().response.len(), 7);
        assert!(shelf.get("bob", "1", 1).unwrap().is_none());
    }

    #[test]
    fn the_files_are_for_the_owner_alone_and_no_older_version_touches_a_newer_ones() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/state");
        let mut shelf = Sqlite::open(Some(&folder)).unwrap();
        put(&mut shelf, "1", 5, 1, u64::MAX);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
        shelf.connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        drop(shelf);
        assert!(matches!(Sqlite::open(Some(&folder)), Err(OpenError::Newer)));
        std::fs::write(folder.join(FILE), "this is no database, and long enough to be sure of it").unwrap();
        assert!(matches!(Sqlite::open(Some(&folder)), Err(OpenError::Sqlite(_))));
    }
}
