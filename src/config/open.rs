//! Whether others can read what they should not: the secrets of SigV4 clients stand in a file as they are, as signatures can't be checked with hashes of them.

use std::os::unix::fs::PermissionsExt as _;

use super::{FileRead, Snapshot};

/// Anybody who has an account on the machine.
const READ_BY_OTHERS: u32 = 0o004;

/// What to note of the file with the keys, the third that is read.
pub(super) fn note(files: &[FileRead], snapshot: &Snapshot) -> Option<String> {
    let [_adit, _models, keys, ..] = files else { return None };
    // A file that is gone by now is the next reload's business.
    let mode = std::fs::metadata(&keys.path).ok()?.permissions().mode();
    (!snapshot.process.auth.users.sigv4.is_empty() && mode & READ_BY_OTHERS != 0)
        .then(|| format!("{}: it has secrets of SigV4 clients, and everybody on this machine can read it: `chmod 600` helps", keys.path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    #[test]
    fn a_file_with_secrets_that_everybody_can_read_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        write(file("adit.yaml"), "").unwrap();
        write(file("models.yaml"), super::super::EMBEDDED_MODELS).unwrap();
        let pair = "keys: [{ name: robot, access_key_id: ADITOBVIOUSLYNOTAKEY, secret: obviously-not-a-secret }]";
        for (keys, mode, noted) in [(pair, 0o644, true), (pair, 0o640, false), (pair, 0o600, false), ("keys: [{ name: carol }]", 0o644, false)] {
            write(file("keys.yaml"), keys).unwrap();
            set_permissions(file("keys.yaml"), Permissions::from_mode(mode)).unwrap();
            let notes = super::super::load(Some(&file("adit.yaml")), &|_| None).unwrap().notes();
            assert_eq!(notes.iter().any(|note| note.contains("chmod 600")), noted, "{mode:o} {notes:?}");
            assert!(!format!("{notes:?}").contains("obviously-not-a-secret"));
        }
    }
}
