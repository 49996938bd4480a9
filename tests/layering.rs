//! Holds the source tree to its layout: a folder imports only from the folders that its row in [`LAYERS`] names, the pure folders do no I/O, read no clock,
//! take no lock and never log, and Pingora's proxy API has one home.
//!
//! It reads `src/**/*.rs` as text: comments and literals are blanked, then every path (`crate::a::b`, `super::c`, `use crate::{a, b::c}`, `std::net`) is
//! resolved and looked up. `#[cfg(test)] mod tests` and files named `tests.rs` are exempt.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// One row a folder (or file) under `src/`: what it may import besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("chat", &["wire"]),
    ("dialect", &["wire", "chat"]),
    ("translate", &["wire", "chat", "dialect"]),
    ("provider", &["wire", "chat"]),
    ("config", &["wire", "chat", "dialect", "provider"]),
    ("policy", &["chat", "config"]),
    ("ops", &["chat", "provider", "config", "policy"]),
    ("proxy", &["wire", "chat", "dialect", "translate", "provider", "config", "policy", "ops"]),
    ("sandbox", &["wire"]),
    ("cli", &["wire", "chat", "dialect", "translate", "provider", "config", "policy", "ops", "proxy", "sandbox"]),
    ("main", &["cli"]),
];

/// Folders whose subfolders must not know each other: only the folder's own `mod.rs` names them.
const SEPARATE: &[&str] = &["dialect"];

/// Folders that do no I/O, read no clock, take no lock and never log.
const PURE: &[&str] = &["wire", "chat", "dialect", "translate"];

/// What a pure folder does not name. A capital begins a type, known by its last segments however it was imported; a trailing `::` a whole crate.
const IMPURE: &[&str] =
    &["std::env", "std::fs", "std::net", "std::process", "std::thread", "tokio::", "log::", "Mutex", "RwLock", "Condvar", "SystemTime::now", "Instant::now"];

/// The names of Pingora's proxy API, and the folder that may use them.
const PROXY_API: &[&str] = &["pingora_proxy", "pingora::proxy", "pingora::prelude"];
const PROXY: &str = "proxy";

#[test]
fn folders_import_only_what_their_row_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read_sources(&root, &mut Vec::new(), &mut sources).expect("src can be read");
    assert!(sources.iter().any(|source| source.file.ends_with("lib.rs")), "no sources found in {}", root.display());
    let violations = check(&sources);
    let listing: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{} lines break the layout:\n{}", violations.len(), listing.join("\n"));
}

/// A source file and the module it holds.
struct Source {
    file: String,
    module: Vec<String>,
    text: String,
}

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Reads all sources below a folder; `module` is the folder's own module path.
fn read_sources(folder: &Path, module: &mut Vec<String>, out: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            module.push(name);
            read_sources(&path, module, out)?;
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut module = module.clone();
            if name != "mod" && !(module.is_empty() && name == "lib") {
                module.push(name.clone());
            }
            let mut file = module.join("/");
            if name == "mod" || name == "lib" {
                file.push_str(if name == "mod" { "/mod" } else { "lib" });
            }
            out.push(Source { file: file + ".rs", module, text: fs::read_to_string(&path)? });
        }
    }
    Ok(())
}

/// Every line that breaks a rule, in the order of files and lines.
fn check(sources: &[Source]) -> Vec<Violation> {
    // The subfolders that must not know each other, from what is there.
    let separate: BTreeSet<(&str, &str)> = sources
        .iter()
        .filter_map(|source| match source.module.as_slice() {
            [folder, part, ..] if SEPARATE.contains(&folder.as_str()) => Some((folder.as_str(), part.as_str())),
            _ => None,
        })
        .collect();
    let folders: BTreeSet<&str> = sources.iter().filter_map(|source| source.module.first().map(String::as_str)).collect();
    let mut violations = Vec::new();
    for source in sources {
        let Some(folder) = source.module.first() else { continue };
        if source.module.iter().any(|part| part == "tests") {
            continue;
        }
        let mut report = |line: usize, what: String| violations.push(Violation { file: source.file.clone(), line, what });
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| name == folder) else {
            report(1, format!("`{folder}` has no row in the layout: give it one in tests/layering.rs"));
            continue;
        };
        for path in paths(&source.text, &source.module) {
            if let Some(what) = breach(&path.segments, path.inside, &source.module, allowed, &folders, &separate) {
                report(path.line, what);
            }
        }
    }
    violations.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    violations.dedup();
    violations
}

/// What is wrong with one path in one module, if anything.
fn breach(
    segments: &[String],
    inside: bool,
    module: &[String],
    allowed: &[&str],
    folders: &BTreeSet<&str>,
    separate: &BTreeSet<(&str, &str)>,
) -> Option<String> {
    let folder = module.first()?.as_str();
    let written = segments.join("::");
    if !inside {
        if PURE.contains(&folder) && IMPURE.iter().any(|name| starts_with(segments, name)) {
            return Some(format!("`{folder}` is pure and must not name `{written}`"));
        }
        if folder != PROXY && PROXY_API.iter().any(|name| starts_with(segments, name)) {
            return Some(format!("only `{PROXY}` may name `{written}`"));
        }
        return None;
    }
    let Some(target) = segments.first().map(String::as_str).filter(|&target| target != "*") else {
        return Some("names the whole crate: name what you need".to_owned());
    };
    if target != folder {
        let forbidden = folders.contains(target) && !allowed.contains(&target);
        return forbidden.then(|| format!("`{folder}` must not import `{written}`; it may import {allowed:?}"));
    }
    // Within the own folder: its subfolders are strangers to each other.
    let part = module.get(1)?.as_str();
    if !SEPARATE.contains(&folder) {
        return None;
    }
    match segments.get(1).map(String::as_str) {
        None | Some("*") => Some(format!("`{folder}::{part}` must not import `{folder}` as a whole: it holds its neighbours")),
        Some(other) if other != part && separate.contains(&(folder, other)) => Some(format!("`{folder}::{part}` must not import `{written}`")),
        Some(_) => None,
    }
}

/// Whether a path begins with another one; a trailing `::` asks for a longer path.
fn starts_with(segments: &[String], prefix: &str) -> bool {
    let mut segments = segments.iter();
    prefix.split("::").all(|part| segments.next().is_some_and(|segment| part.is_empty() || segment == part))
}

/// A path as it resolves, and where it stands.
#[derive(Debug)]
struct Named {
    /// From the crate's root where `inside`, else from the crate or name it begins with.
    segments: Vec<String>,
    /// Whether it leads into this crate.
    inside: bool,
    line: usize,
}

/// Every path that a source names outside its tests. `module` resolves `self` and `super`.
fn paths(text: &str, module: &[String]) -> Vec<Named> {
    let code = blank(text);
    let tokens = without_tests(tokens(&code));
    let mut found = Vec::new();
    // The modules that a line stands in, each with the brace depth that ends it.
    let mut inner: Vec<(&str, usize)> = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let text_at = |index: usize| tokens.get(index).map_or("", |token| token.text);
        match token.text {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inner.retain(|&(_, end)| end <= depth);
            }
            "mod" if text_at(at + 2) == "{" => inner.push((text_at(at + 1), depth + 1)),
            _ => {}
        }
        let before = at.checked_sub(1).map_or("", text_at);
        let begins = is_name(token.text) && before != "::" && before != "." && before != "'";
        if !begins {
            at += 1;
            continue;
        }
        // `pub(crate)`, `pub(in crate::a)`: who may see something, not what is used.
        let before_that = at.checked_sub(2).map_or("", text_at);
        let visibility = (before == "in" && before_that == "(") || (before == "(" && before_that == "pub" && text_at(at + 1) == ")");
        let mut trees = Vec::new();
        tree(&tokens, at, &[], token.line, &mut trees);
        for (segments, line) in trees {
            if visibility {
                continue;
            }
            // `Mutex`, `Instant::now`: known by their last segments, however they were imported.
            for start in 1..segments.len() {
                let tail = &segments[start..];
                if IMPURE.iter().any(|name| starts_with(tail, name) && name.starts_with(char::is_uppercase)) {
                    found.push(Named { segments: tail.to_vec(), inside: false, line });
                }
            }
            found.push(resolve(segments, module, &inner, line));
        }
        // Only past the first name: what stands in a group or in generics is met again, without its root, and is then no path of this crate.
        at += 1;
    }
    found
}

/// Resolves `crate`, `self`, `super` and, in the binary, `adit`.
fn resolve(segments: Vec<String>, module: &[String], inner: &[(&str, usize)], line: usize) -> Named {
    let main = module == ["main"];
    let mut base: Vec<String> = match segments.first().map(String::as_str) {
        Some("crate") if !main => Vec::new(),
        Some("adit") if main => Vec::new(),
        Some("self" | "super") if segments.len() > 1 => module.iter().cloned().chain(inner.iter().map(|(name, _)| (*name).to_owned())).collect(),
        _ => return Named { segments, inside: false, line },
    };
    for segment in &segments {
        match segment.as_str() {
            "crate" | "self" | "adit" => {}
            "super" => {
                base.pop();
            }
            other => base.push(other.to_owned()),
        }
    }
    Named { segments: base, inside: true, line }
}

/// Reads one path, or the branches of a grouped one, from its first name on.
fn tree(tokens: &[Token<'_>], at: usize, prefix: &[String], line: usize, out: &mut Vec<(Vec<String>, usize)>) -> usize {
    let mut segments = prefix.to_vec();
    let mut at = at;
    loop {
        match tokens.get(at).map(|token| token.text) {
            Some("{") if at > 0 && tokens[at - 1].text == "::" => {
                at += 1;
                while let Some(token) = tokens.get(at).filter(|token| token.text != "}") {
                    at = if token.text == "," { at + 1 } else { tree(tokens, at, &segments, token.line, out).max(at + 1) };
                }
                return at + 1;
            }
            Some(name) if is_name(name) || name == "*" => {
                if name != "self" || prefix.is_empty() {
                    segments.push(name.to_owned());
                }
                at += 1;
            }
            _ => break,
        }
        if tokens.get(at).is_some_and(|token| token.text == "::") {
            at += 1;
        } else {
            break;
        }
    }
    if tokens.get(at).is_some_and(|token| token.text == "as") {
        at += 2;
    }
    out.push((segments, line));
    at
}

/// A word, `::` or a single sign.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Splits blanked code into tokens.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first == '_' || first.is_alphanumeric() {
                rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, tail) = rest.split_at(length);
            out.push(Token { text, line: line + 1 });
            rest = tail.trim_start();
        }
    }
    out
}

/// Leaves out `#[cfg(test)] mod tests { … }`.
fn without_tests(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    const MARK: [&str; 10] = ["#", "[", "cfg", "(", "test", ")", "]", "mod", "tests", "{"];
    let mut out = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if tokens.len() >= at + MARK.len() && MARK.iter().zip(&tokens[at..]).all(|(mark, token)| *mark == token.text) {
            at += MARK.len();
            let mut depth = 1;
            while depth > 0 && at < tokens.len() {
                depth = match tokens[at].text {
                    "{" => depth + 1,
                    "}" => depth - 1,
                    _ => depth,
                };
                at += 1;
            }
        } else {
            out.push(*token);
            at += 1;
        }
    }
    out
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphabetic())
}

/// The source with comments, strings and characters blanked; lines stay where they are.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (skip, keep) = match literal(rest, out.chars().next_back()) {
            Some(length) => (length, false),
            None => (first.len_utf8(), true),
        };
        let (piece, tail) = rest.split_at(skip);
        if keep {
            out.push_str(piece);
        } else {
            out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    out
}

/// The length of the comment, string or character that `rest` begins with.
fn literal(rest: &str, before: Option<char>) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, 0, '"'));
    }
    let in_word = before.is_some_and(|c| c == '_' || c.is_alphanumeric());
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| rest.starts_with(prefix)).filter(|_| !in_word);
    if let Some(prefix) = prefix {
        let tail = &rest[prefix.len()..];
        if prefix.ends_with('r') {
            let hashes = tail.len() - tail.trim_start_matches('#').len();
            if tail[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let start = prefix.len() + hashes + 1;
                return Some(rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()));
            }
        } else if tail.starts_with('"') {
            return Some(quoted(rest, prefix.len(), '"'));
        } else if prefix == "b" && tail.starts_with('\'') {
            return Some(quoted(rest, prefix.len(), '\''));
        }
    }
    // A character, not a lifetime: an escape, or a closing quote right after one character.
    let mut chars = rest.strip_prefix('\'')?.chars();
    let first = chars.next()?;
    (first == '\\' || chars.next() == Some('\'')).then(|| quoted(rest, 0, '\''))
}

/// The length up to and with the closing quote, of a literal whose opening quote stands at `start`.
fn quoted(rest: &str, start: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at <= start) {
        if !escaped && c == quote {
            return at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    rest.len()
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Made-up sources: what the test above would say of them.
mod itself {
    use super::{Source, blank, check};

    /// A tree in which every folder exists, with one file of our own.
    fn lines_against(module: &str, text: &str) -> Vec<usize> {
        let source = |module: &str, text: &str| Source {
            file: format!("{}.rs", module.replace("::", "/")),
            module: module.split("::").map(str::to_owned).collect(),
            text: text.to_owned(),
        };
        let mut sources: Vec<Source> = super::LAYERS.iter().map(|(folder, _)| source(folder, "")).collect();
        sources.push(source("dialect::openai::request", ""));
        sources.push(source("dialect::converse::request", ""));
        sources.push(source(module, text));
        check(&sources).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_wrong_import_is_found_with_its_line() {
        assert_eq!(lines_against("wire::json", "use std::fmt;\n\nuse crate::chat::Part;\n"), [3]);
        assert_eq!(lines_against("chat::request", "use crate::wire::json::Text;\nuse crate::dialect::openai;\n"), [2]);
        assert_eq!(lines_against("provider::sigv4", "use crate::config::file;"), [1]);
        assert_eq!(lines_against("policy::route", "use crate::config::snapshot::Model;\nuse crate::ops::credentials;"), [2]);
        assert_eq!(lines_against("sandbox::validate", "use crate::dialect::converse::request;"), [1]);
        assert_eq!(lines_against("ops::metrics", "use crate::proxy::Gateway;"), [1]);
        assert_eq!(lines_against("proxy::intake", "use crate::sandbox::Sandbox;"), [1]);
    }

    #[test]
    fn a_group_is_read_branch_by_branch() {
        let text = "use crate::{\n    chat::{self, Part},\n    wire::json::{Raw, Text as T},\n    config::{file::File, snapshot},\n    policy,\n};\n";
        assert_eq!(lines_against("translate::body", text), [4, 4, 5]);
        assert_eq!(lines_against("wire::sse", "use {crate::chat::Part, std::fmt};"), [1]);
    }

    #[test]
    fn a_path_in_the_middle_of_code_counts() {
        assert_eq!(lines_against("wire::sse", "fn f() {\n    let x: Vec<crate::chat::Part<'_>> = vec![];\n    crate::ops::run(\"crate::wire\");\n}"), [2, 3]);
        assert_eq!(lines_against("wire::sse", "pub(in crate::chat) fn f() {}"), []);
    }

    #[test]
    fn visibility_is_no_import() {
        assert_eq!(
            lines_against("chat::read", "macro_rules! flat { () => {} }\npub(crate) use flat;\npub(crate) fn f() {}\npub(super) struct S(pub(crate) u8);"),
            []
        );
        assert_eq!(lines_against("chat::read", "pub(crate) use crate::config::File;\npub(crate) use crate::*;\npub(crate) use crate as all;"), [1, 2, 3]);
        assert_eq!(lines_against("chat::read", "struct S(crate::ops::X);\npub fn f(x: (crate::ops::X)) {}"), [1, 2]);
        // A tuple's first field may be of a type of this crate, in parentheses too.
        assert_eq!(lines_against("chat::read", "pub struct S(pub (crate::ops::X));"), [1]);
    }

    #[test]
    fn relative_paths_are_resolved() {
        assert_eq!(lines_against("wire::sse", "use super::json::Raw;\nuse super::super::chat::Part;\nuse super::super::*;"), [2, 3]);
        assert_eq!(
            lines_against("wire::sse", "mod inner {\n    use super::super::json;\n    use super::super::super::chat;\n}\nuse super::super::chat;"),
            [3, 5]
        );
    }

    #[test]
    fn dialects_do_not_know_each_other() {
        assert_eq!(lines_against("dialect::openai::stream", "use crate::dialect::converse::capability;\nuse crate::dialect::openai::Style;"), [1]);
        assert_eq!(lines_against("dialect::openai::stream", "use super::super::converse::request;\nuse super::Style;"), [1]);
        assert_eq!(lines_against("dialect::openai::stream", "use crate::dialect;\nuse crate::dialect::*;\nuse crate::dialect::Dialect;"), [1, 2]);
        assert_eq!(lines_against("dialect", "pub use self::openai::Style;\nuse crate::dialect::converse;"), []);
        assert_eq!(lines_against("translate::stream", "use crate::dialect::{converse, openai};"), []);
    }

    #[test]
    fn pure_folders_stay_pure() {
        let text = "use std::net::IpAddr;\nuse std::sync::{Arc, Mutex};\nuse std::time::{Duration, Instant};\nfn f() {\n    let _ = Instant::now();\n    log::warn!(\"\");\n    let _ = \
                    std::time::SystemTime::now();\n    tokio::spawn(async {});\n}";
        assert_eq!(lines_against("wire::sse", text), [1, 2, 5, 6, 7, 8]);
        assert_eq!(lines_against("proxy::intake", text), []);
        assert_eq!(lines_against("wire::json", "fn log(x: f64) -> f64 { x.log(2.0) }\nstruct Blog;"), []);
    }

    #[test]
    fn pingora_s_proxy_api_has_one_home() {
        let text = "use pingora_proxy::Session;\nuse pingora::prelude::*;\nuse pingora_core::server::Server;\nuse pingora::{proxy::Session};";
        assert_eq!(lines_against("cli", text), [1, 2, 4]);
        assert_eq!(lines_against("proxy::ctx", text), []);
    }

    #[test]
    fn tests_comments_and_literals_are_exempt() {
        let text = "// use crate::chat::Part;\n/* crate::chat /* nested */ crate::chat */\n//! [`x`]: crate::chat::Part\nconst A: &str = \"crate::chat\";\nconst B: &str = r#\"\"crate::chat\"#;\n\
                    fn f<'a>(x: &'a str) -> char { '\"' }\n#[cfg(test)]\nmod tests {\n    use crate::chat::Part;\n    mod deep {}\n}\nuse crate::chat::End;\n";
        assert_eq!(lines_against("wire::sse", text), [12]);
        assert_eq!(lines_against("wire::sse::tests", "use crate::chat::Part;"), []);
        assert_eq!(lines_against("wire::sse", "mod tests {\n    use crate::chat::Part;\n}"), [2]);
    }

    #[test]
    fn a_new_folder_needs_a_row() {
        assert_eq!(lines_against("cache", "fn f() {}"), [1]);
    }

    #[test]
    fn the_binary_calls_the_command_line_only() {
        assert_eq!(lines_against("main", "fn main() {\n    adit::cli::main();\n    adit::ops::run();\n}"), [3]);
    }

    #[test]
    fn blanking_keeps_the_lines() {
        assert_eq!(blank("a // b\n\"c\nd\" e '\\'' 'f b'g' h"), "a     \n  \n   e      'f      h");
    }
}
