//! The folder for what outlives the process, and the key that signs sessions in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::random;
use crate::config::snapshot::Process;

/// The key's file.
const SESSION_KEY: &str = "session.key";

/// The folder: `state_dir`, else the one that the service manager gave (`STATE_DIRECTORY`, of which it may give several), else `state` beside the
/// configuration. `None` for an embedded configuration that nobody gave one.
#[must_use]
pub fn folder(process: &Process, given: Option<&str>, config: Option<&Path>) -> Option<PathBuf> {
    let given = || given.and_then(|given| given.split(':').next()).filter(|given| !given.is_empty()).map(PathBuf::from);
    let beside = || config.and_then(Path::parent).map(|folder| folder.join("state"));
    process.state_dir.clone().or_else(given).or_else(beside)
}

/// The key that signs sessions: made when it is first needed, and readable by nobody else.
///
/// # Errors
/// The folder or the file cannot be made, read or trusted.
pub fn session_key(folder: &Path) -> io::Result<[u8; 32]> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(SESSION_KEY);
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    // Written aside and linked: whoever finds it finds all of it, and of two processes that begin at once both use the first one's.
    let fresh = folder.join(format!("{SESSION_KEY}.{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let linked = file.write_all(&random::bytes::<32>()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&fresh, &path));
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(&path),
    }
}

fn read(path: &Path) -> io::Result<[u8; 32]> {
    let mut bytes = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut bytes)?;
    bytes.try_into().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{} does not hold a key of 32 bytes", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_the_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/state");
        let key = session_key(&folder).unwrap();
        assert_eq!(session_key(&folder).unwrap(), key);
        assert_ne!(key, [0; 32]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join(SESSION_KEY))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::write(folder.join(SESSION_KEY), "short").unwrap();
        assert_eq!(session_key(&folder).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
