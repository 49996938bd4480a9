//! Notices when what a configuration says may have changed: its files, and every link that leads to them.
//!
//! Folders are watched, not files: editors put a new file in the place of the old one, and a ConfigMap's files never change at all.
//!
//! ```text
//! models.yaml ─▶ ..data/models.yaml        kubelet makes ..2026_02 and moves a link to it over ..data
//!                ..data ─▶ ..2026_01
//! ```

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use log::{debug, warn};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// Tells when a file that is followed may have changed.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    trail: Arc<ArcSwap<Trail>>,
    changed: Arc<Notify>,
    /// The operator knows that it does not work.
    complained: bool,
}

impl Watch {
    /// Follows nothing yet; will wake `changed`.
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        Watch { watcher: None, trail: Arc::default(), changed, complained: false }
    }

    /// Follows these files from now on, wherever their names lead now. Says once if it cannot.
    pub(super) fn follow<'p>(&mut self, files: impl IntoIterator<Item = &'p Path>) {
        let before = self.trail.load_full();
        self.trail.store(Arc::new(Trail::of(files)));
        match self.watch(&before) {
            Ok(()) => self.complained = false,
            Err(error) if self.complained => debug!("still cannot watch the configuration: {error}"),
            Err(error) => {
                self.complained = true;
                warn!("changes of the configuration are not noticed, only SIGHUP reloads it: {error}");
            }
        }
    }

    fn watch(&mut self, before: &Trail) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => {
                let (trail, changed) = (Arc::clone(&self.trail), Arc::clone(&self.changed));
                let handler = move |event: notify::Result<Event>| {
                    if may_matter(&event, &trail.load()) {
                        changed.notify_one();
                    }
                };
                self.watcher.insert(notify::recommended_watcher(handler)?)
            }
        };
        // All anew: another folder may stand where one was that had the same name. Of those that are gone there is nothing to end.
        for folder in before.folders() {
            let _ = watcher.unwatch(folder);
        }
        let failures =
            self.trail.load().folders().into_iter().filter_map(|folder| watcher.watch(folder, RecursiveMode::NonRecursive).err()).collect::<Vec<_>>();
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

/// Whether an event may have changed what a trail leads to. Reading a file is an event too.
fn may_matter(event: &notify::Result<Event>, trail: &Trail) -> bool {
    let Ok(event) = event else { return true };
    let reads = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    event.need_rescan() || !reads && event.paths.iter().any(|path| trail.passes(path))
}

/// Every name on the way from a file's name to the file: its own, and those of the links that lead there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trail {
    names: BTreeSet<PathBuf>,
}

impl Trail {
    /// The trail of some files, from the root.
    fn of<'p>(files: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut names = BTreeSet::new();
        files.into_iter().for_each(|file| walk(file, &mut names));
        Trail { names }
    }

    /// The folders that hold the names.
    fn folders(&self) -> BTreeSet<&Path> {
        self.names.iter().filter_map(|name| name.parent()).collect()
    }

    /// Whether a path is one of the names, or one of their folders: that may be moved away.
    fn passes(&self, path: &Path) -> bool {
        self.names.contains(path) || self.names.iter().any(|name| name.parent() == Some(path))
    }
}

/// Goes the way that the system goes from a name to a file, and notes where it could lead elsewhere. A way that ends early ends with the name that is missing.
fn walk(file: &Path, names: &mut BTreeSet<PathBuf>) {
    let mut at = PathBuf::from("/");
    let mut links = 0;
    let mut rest = parts(file);
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        // The root of an absolute link replaces all that is there.
        let name = at.join(&part);
        let Ok(facts) = name.symlink_metadata() else {
            names.insert(name);
            return;
        };
        if facts.is_symlink() {
            links += 1;
            let target = name.read_link();
            names.insert(name);
            match target {
                Ok(target) if links <= MOST_LINKS => rest.extend(parts(&target)),
                _ => return,
            }
        } else if rest.is_empty() {
            names.insert(name);
        } else {
            at = name;
        }
    }
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().filter(|part| *part != Component::CurDir).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, ModifyKind, RenameMode};

    use super::*;

    /// The names of a file's trail, below a folder.
    fn trail(folder: &Path, file: &str) -> Vec<String> {
        let trail = Trail::of([folder.join(file).as_path()]);
        trail.names.iter().map(|name| name.strip_prefix(folder).unwrap_or(name).display().to_string()).collect()
    }

    /// A folder whose own name has no links in it.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn a_plain_file_is_its_own_trail() {
        let (_held, folder) = folder();
        fs::create_dir(folder.join("conf")).unwrap();
        fs::write(folder.join("conf/adit.yaml"), "").unwrap();
        assert_eq!(trail(&folder, "conf/adit.yaml"), ["conf/adit.yaml"]);
        assert_eq!(trail(&folder, "conf/../conf/./adit.yaml"), ["conf/adit.yaml"]);
    }

    #[test]
    fn every_link_of_a_mounted_config_map_is_on_the_trail() {
        let (_held, folder) = folder();
        fs::create_dir(folder.join("..2026_01")).unwrap();
        fs::write(folder.join("..2026_01/models.yaml"), "").unwrap();
        symlink("..2026_01", folder.join("..data")).unwrap();
        symlink("..data/models.yaml", folder.join("models.yaml")).unwrap();
        assert_eq!(trail(&folder, "models.yaml"), ["..2026_01/models.yaml", "..data", "models.yaml"]);
        // An absolute link to it, from elsewhere.
        fs::create_dir(folder.join("etc")).unwrap();
        symlink(folder.join("models.yaml"), folder.join("etc/link.yaml")).unwrap();
        assert_eq!(trail(&folder, "etc/link.yaml"), ["..2026_01/models.yaml", "..data", "etc/link.yaml", "models.yaml"]);
    }

    #[test]
    fn a_trail_ends_where_a_name_is_missing_and_not_in_a_circle() {
        let (_held, folder) = folder();
        assert_eq!(trail(&folder, "conf/adit.yaml"), ["conf"]);
        fs::create_dir(folder.join("conf")).unwrap();
        assert_eq!(trail(&folder, "conf/adit.yaml"), ["conf/adit.yaml"]);
        symlink("b", folder.join("a")).unwrap();
        symlink("a", folder.join("b")).unwrap();
        assert_eq!(trail(&folder, "a"), ["a", "b"]);
    }

    #[test]
    fn only_changes_on_the_trail_matter() {
        let trail = Trail { names: ["/conf/models.yaml".into(), "/conf/..data".into()].into() };
        let event = |kind, path: &str| Ok(Event::new(kind).add_path(path.into()));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let moved_here = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (kind, path) in [
            (written, "/conf/models.yaml"),
            (moved_here, "/conf/..data"),
            (EventKind::Create(CreateKind::File), "/conf/models.yaml"),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), "/conf/models.yaml"),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/conf/models.yaml"),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "/conf"),
        ] {
            assert!(may_matter(&event(kind, path), &trail), "{kind:?} {path}");
        }
        for (kind, path) in [
            (written, "/conf/audit.jsonl"),
            (moved_here, "/conf/..data_tmp"),
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), "/conf/models.yaml"),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), "/conf/models.yaml"),
        ] {
            assert!(!may_matter(&event(kind, path), &trail), "{kind:?} {path}");
        }
        assert!(may_matter(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), &trail), "events were lost");
        assert!(may_matter(&Err(notify::Error::generic("broken")), &trail));
    }
}
