//! What an operator writes, read into what the code trusts ([`snapshot`]).
//!
//! ```text
//! text ─▶ tree (positions, ${VAR}) ─▶ cursor (typed, collects mistakes) ─▶ Snapshot
//! environment ───────────────────────────▲
//! ```
//!
//! Parsed, not validated: strings become addresses, endpoints, durations and targets here, once. Every mistake is reported, all at once, as
//! `file:line:column: key.path: what was expected, what was found`. The process environment is passed in, so nothing here is global.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

mod access;
mod cursor;
mod env;
mod file;
mod keys;
mod mistake;
mod models;
mod open;
mod optillm;
mod provider;
mod secret;
pub mod snapshot;
mod tls;
mod top;
mod tree;
mod unpriced;

#[cfg(test)]
mod tests;

pub use mistake::{Errors, Mistake};
pub use models::BEDROCK_BEGAN;
pub use secret::Secret;
pub use snapshot::Snapshot;
use snapshot::{Auth, ModelMap};

use cursor::Value;
use env::Environment;
use mistake::Mistakes;
use tree::Node;

/// Where the process file is looked for when nobody says where.
const DEFAULT_PATH: &str = "conf/adit.yaml";

/// The model map's usual name, beside the process file.
const MODELS_NAME: &str = "models.yaml";

/// The usual name of the file with the keys, beside the process file.
const KEYS_NAME: &str = "keys.yaml";

/// The files of the source tree, which are the documentation of the format too.
const EMBEDDED_ADIT: &str = include_str!("../../conf/adit.yaml");
const EMBEDDED_MODELS: &str = include_str!("../../conf/models.yaml");

/// A text to read, and what to call it in messages.
struct Source {
    name: String,
    text: String,
    /// Whether the operator wrote it.
    own: bool,
}

impl Source {
    /// Where the files lie that it names; for what is embedded, where the process runs.
    fn folder(&self) -> &Path {
        Path::new(&self.name).parent().filter(|_| self.own).unwrap_or_else(|| Path::new(""))
    }
}

/// A file of a configuration, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// Where it is, from the root: a daemon leaves its folder.
    pub path: PathBuf,
    /// Tells one text from another, without the secrets in it; `None` when there was nothing to read.
    digest: Option<u64>,
}

impl FileRead {
    fn new(path: &Path, text: Option<&str>) -> Self {
        let digest = text.map(|text| {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        });
        FileRead { path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), digest }
    }
}

impl Snapshot {
    /// What the operator should know although it is no mistake: keys of his own files that have no effect in this version.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

/// Reads the configuration: `path`, else `ADIT_CONFIG`, else `conf/adit.yaml` if it is there, else the embedded one; and the model map that it names.
/// `env` looks up environment variables.
///
/// # Errors
/// Every mistake in the files and the environment.
pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Snapshot, Errors> {
    load_with(path, env, &[])
}

/// Like [`load`], with the environment of this process; it also sees variables with an open end, such as `BEDROCK_API_KEY_ALICE`.
///
/// # Errors
/// Every mistake in the files and the environment.
pub fn load_from_process(path: Option<&Path>) -> Result<Snapshot, Errors> {
    let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    load_with(path, &|name| std::env::var(name).ok(), &names)
}

/// The embedded configuration over an environment, whatever files are there.
///
/// # Errors
/// Every mistake in the environment.
pub fn load_embedded(env: &dyn Fn(&str) -> Option<String>) -> Result<Snapshot, Errors> {
    embedded(env, &[])
}

/// Reads a configuration from two texts, called `adit.yaml` and `models.yaml` in messages.
///
/// # Errors
/// Every mistake in the texts and the environment.
pub fn parse(adit: &str, models: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Snapshot, Errors> {
    let adit = Source { name: "adit.yaml".to_owned(), text: adit.to_owned(), own: true };
    let models = Source { name: MODELS_NAME.to_owned(), text: models.to_owned(), own: true };
    assemble(&adit, |_| Ok(models), |_| None, env, &[])
}

/// The process file that [`load_from_process`] reads; `None` for the embedded one.
#[must_use]
pub fn find_in_process(path: Option<&Path>) -> Option<PathBuf> {
    find(path, &|name| std::env::var(name).ok())
}

fn find(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = path.map(Path::to_path_buf).or_else(|| env("ADIT_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
    named.or_else(|| Path::new(DEFAULT_PATH).exists().then(|| PathBuf::from(DEFAULT_PATH)))
}

fn load_with(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>, names: &[String]) -> Result<Snapshot, Errors> {
    let Some(path) = find(path, env) else {
        return embedded(env, names);
    };
    let mut files = Vec::new();
    match load_files(&path, &mut files, env, names) {
        Ok(mut snapshot) => {
            snapshot.notes.extend(open::note(&files, &snapshot));
            snapshot.files = [files, snapshot.files].concat();
            Ok(snapshot)
        }
        Err(Errors { files: named, mistakes }) => Err(Errors { files: [files, named].concat(), mistakes }),
    }
}

fn load_files(path: &Path, files: &mut Vec<FileRead>, env: &dyn Fn(&str) -> Option<String>, names: &[String]) -> Result<Snapshot, Errors> {
    let files = RefCell::new(files);
    let read = |path: &Path| {
        let source = read(path);
        files.borrow_mut().push(FileRead::new(path, source.as_ref().ok().map(|source| source.text.as_str())));
        source
    };
    let adit = read(path)?;
    let beside = |name: &Path| path.parent().map_or_else(|| name.to_owned(), |folder| folder.join(name));
    let models = |models: Option<PathBuf>| read(&beside(&models.unwrap_or_else(|| PathBuf::from(MODELS_NAME))));
    let keys = |auth: &Auth| match &auth.keys_file {
        // Named, but not needed yet.
        Some(keys) if !auth.enabled && !keys.exists() => None,
        Some(keys) => Some(read(keys)),
        None => {
            let usual = beside(Path::new(KEYS_NAME));
            // Where keys count, one that comes later is waited for.
            let found = (auth.enabled || usual.exists()).then(|| read(&usual))?;
            usual.exists().then_some(found)
        }
    };
    assemble(&adit, models, keys, env, names)
}

fn embedded(env: &dyn Fn(&str) -> Option<String>, names: &[String]) -> Result<Snapshot, Errors> {
    let source = |name: &str, text: &str| Source { name: format!("{name} (embedded)"), text: text.to_owned(), own: false };
    assemble(&source("adit.yaml", EMBEDDED_ADIT), |_| Ok(source(MODELS_NAME, EMBEDDED_MODELS)), |_| None, env, names)
}

fn read(path: &Path) -> Result<Source, Errors> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Source { name, text, own: true }),
        Err(error) => {
            let mistakes = Mistakes::new(&name, true);
            mistakes.add_unplaced("", format!("expected a readable file, but {error}"));
            Err(Errors::new(mistakes.into_parts().0))
        }
    }
}

/// Reads all files, then asks whether anything was wrong.
fn assemble(
    adit: &Source,
    models: impl FnOnce(Option<PathBuf>) -> Result<Source, Errors>,
    keys: impl FnOnce(&Auth) -> Option<Result<Source, Errors>>,
    lookup: &dyn Fn(&str) -> Option<String>,
    names: &[String],
) -> Result<Snapshot, Errors> {
    let of_env = Mistakes::new("environment", true);
    let env = Environment::new(lookup, names, &of_env);

    let of_adit = Mistakes::new(&adit.name, adit.own);
    let mut file = file::read(root(tree(adit, &env, &of_adit).as_deref(), &of_adit), &env, adit.folder());
    let (mut found, mut notes) = of_adit.into_parts();

    let map = match models(file.models) {
        Err(Errors { mistakes, .. }) => {
            found.extend(mistakes);
            None
        }
        Ok(models) => {
            let of_models = Mistakes::new(&models.name, models.own);
            let tree = tree(&models, &env, &of_models);
            let map = match root(tree.as_deref(), &of_models) {
                // A copy of the shipped file says no more than the shipped file.
                Some(root) => models::read(&root, &env, &file.process.timeouts).map(|map| ModelMap { built_in: models.text == EMBEDDED_MODELS, ..map }),
                None => {
                    if of_models.is_empty() {
                        of_models.add_unplaced("", "expected `providers` and `models`, found an empty file");
                    }
                    None
                }
            };
            let (mistakes, more) = of_models.into_parts();
            found.extend(mistakes);
            notes.extend(more);
            map
        }
    };

    let keys = match keys(&file.process.auth) {
        Some(Err(Errors { mistakes, .. })) => {
            found.extend(mistakes);
            None
        }
        Some(Ok(source)) => Some(source),
        None => None,
    };
    let of_keys = Mistakes::new(keys.as_ref().map_or(KEYS_NAME, |source| &source.name), true);
    let tree_of_keys = keys.as_ref().and_then(|source| tree(source, &env, &of_keys));
    let users = keys::read(root(tree_of_keys.as_deref(), &of_keys), &env, &file.process, &mut notes);
    file.process.auth.users = Arc::new(users);
    let (mistakes, more) = of_keys.into_parts();
    found.extend(mistakes);
    notes.extend(more);

    let (mistakes, _) = of_env.into_parts();
    for mistake in mistakes {
        // Several providers may have asked for the same variable.
        if !found.contains(&mistake) {
            found.push(mistake);
        }
    }
    match map {
        Some(models) if found.is_empty() => {
            notes.extend(unpriced::note(&file.process, &models));
            Ok(Snapshot { process: file.process, models, files: file.files, notes })
        }
        _ => Err(Errors { files: file.files, ..Errors::new(found) }),
    }
}

fn tree(source: &Source, env: &Environment<'_>, mistakes: &Mistakes) -> Option<Rc<Node>> {
    tree::parse(&source.text, &|name| env.expand(name), mistakes)
}

/// The content of a file, unless there is none.
fn root<'n>(tree: Option<&'n Node>, mistakes: &'n Mistakes) -> Option<Value<'n>> {
    tree.filter(|node| !node.is_null()).map(|node| Value::root(node, mistakes))
}
