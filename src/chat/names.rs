//! Names and ids that Bedrock takes: each client name becomes one valid name, the same one wherever it stands in the request, and no two become one.
//!
//! The maps live as long as one request. What a name becomes depends on the request alone, so that a repeated prompt stays equal byte by byte.
//!
//! Patterns of the service model: `ToolName`, `ToolUseId`, `DocumentBlockNameString`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::chat::{Part, Request, ToolChoice};
use crate::wire::json::Text;

/// The longest tool name and tool use id.
const NAME_MAX: usize = 64;
/// The longest document name.
const DOCUMENT_NAME_MAX: usize = 200;
/// What a document without a usable name is called.
const DOCUMENT: &str = "document";

/// The tool names of one request.
#[derive(Debug, Default)]
pub struct ToolNames<'r> {
    /// Client's name → name on the wire, for those that are not valid as they are.
    renamed: HashMap<Cow<'r, str>, String>,
    /// The same, in the order they were met.
    restore: Vec<(String, String)>,
}

impl<'r> ToolNames<'r> {
    /// The names of a request: of the tools it offers, the one it chooses and those its history used. No tool gets the reserved one.
    #[must_use]
    pub fn of(request: &'r Request<'_>, reserved: &'static str) -> Self {
        let chosen = match &request.tool_choice {
            Some(ToolChoice::Tool(name)) => Some(name),
            _ => None,
        };
        let used = request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
            Part::ToolUse(used) => Some(&used.name),
            _ => None,
        });
        Self::new(request.tools.iter().map(|tool| &tool.name).chain(chosen).chain(used), reserved)
    }

    /// Collects every name of a request, so that a valid one is never given to another tool.
    pub fn new<'a: 'r>(names: impl Iterator<Item = &'r Text<'a>> + Clone, reserved: &'static str) -> Self {
        if names.clone().all(|name| is_name(&name.unescape())) {
            return Self::default();
        }
        let mut taken: HashSet<Cow<'r, str>> = names.clone().map(Text::unescape).filter(|name| is_name(name)).collect();
        taken.insert(Cow::Borrowed(reserved));
        let mut found = Self::default();
        for name in names {
            let plain = name.unescape();
            if is_name(&plain) || found.renamed.contains_key(&plain) {
                continue;
            }
            let wire = unused(sanitise(&plain, "tool", is_name_byte), &plain, &taken);
            taken.insert(Cow::Owned(wire.clone()));
            found.restore.push((wire.clone(), name.escaped().to_owned()));
            found.renamed.insert(plain, wire);
        }
        found
    }

    /// The name on the wire. Needs no escape.
    pub fn wire<'t>(&self, name: &'t Text<'_>) -> Cow<'t, str> {
        let plain = name.unescape();
        match self.renamed.get(&plain) {
            Some(wire) => Cow::Owned(wire.clone()),
            None => plain,
        }
    }

    /// What the answer needs to find the client's names again.
    pub fn into_restore(self) -> Vec<(String, String)> {
        self.restore
    }
}

/// The ids of the tool uses of one request.
#[derive(Debug)]
pub struct CallIds {
    /// Which ids the target takes.
    is_valid: fn(&str) -> bool,
    taken: HashSet<String>,
    /// The last number that was put behind a name.
    numbers: HashMap<String, usize>,
}

impl CallIds {
    /// Reserves the ids of the request that Bedrock takes.
    pub fn new<'t>(ids: impl Iterator<Item = Cow<'t, str>>) -> Self {
        Self::that(is_call_id, ids)
    }

    /// Reserves the ids of the request that Anthropic takes: letters, digits, `_` and `-`.
    pub fn plain<'t>(ids: impl Iterator<Item = Cow<'t, str>>) -> Self {
        Self::that(is_name, ids)
    }

    fn that<'t>(is_valid: fn(&str) -> bool, ids: impl Iterator<Item = Cow<'t, str>>) -> Self {
        CallIds { is_valid, taken: ids.filter(|id| is_valid(id)).map(Cow::into_owned).collect(), numbers: HashMap::new() }
    }

    /// The id on the wire of one use. `again` says that another use had this id before. Needs no escape.
    pub fn wire<'t>(&mut self, id: Cow<'t, str>, again: bool) -> Cow<'t, str> {
        if !again && (self.is_valid)(&id) {
            return id;
        }
        let base = if (self.is_valid)(&id) { id.into_owned() } else { format!("tooluse_{:016x}", hash(&id)) };
        let mut wire = base.clone();
        if again || self.taken.contains(&wire) {
            let number = self.numbers.entry(base.clone()).or_insert(1);
            loop {
                *number += 1;
                wire = suffixed(&base, *number);
                if !self.taken.contains(&wire) {
                    break;
                }
            }
        }
        self.taken.insert(wire.clone());
        Cow::Owned(wire)
    }
}

/// The document names of one request: clean, and each only once.
#[derive(Debug, Default)]
pub struct DocumentNames {
    /// Name → the last number given to it.
    taken: HashMap<String, usize>,
}

impl DocumentNames {
    /// The name of the next document: the file name without its ending, cleaned; with a number behind it when it was there before. Needs no escape.
    pub fn next(&mut self, name: Option<&str>) -> String {
        let base = clean_document_name(name.unwrap_or_default());
        if !self.taken.contains_key(&base) {
            self.taken.insert(base.clone(), 1);
            return base;
        }
        loop {
            let number = self.taken.entry(base.clone()).or_insert(1);
            *number += 1;
            let numbered = format!("{base}-{number}");
            if !self.taken.contains_key(&numbered) {
                self.taken.insert(numbered.clone(), 1);
                return numbered;
            }
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Whether this is a `ToolName`.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_name_byte)
}

/// Whether this is a `ToolUseId`.
fn is_call_id(id: &str) -> bool {
    (1..=NAME_MAX).contains(&id.len()) && id.bytes().all(|byte| is_name_byte(byte) || matches!(byte, b'.' | b':'))
}

/// Replaces what is not allowed by `_` and cuts what is too long, with a hash of the whole behind it.
fn sanitise(plain: &str, empty: &str, allowed: fn(u8) -> bool) -> String {
    if plain.is_empty() {
        return empty.to_owned();
    }
    let clean: String = plain.chars().map(|c| if c.is_ascii() && allowed(c as u8) { c } else { '_' }).collect();
    if clean.len() <= NAME_MAX { clean } else { hashed(&clean, plain) }
}

/// A name that nobody has, as close to `wanted` as can be.
fn unused(wanted: String, plain: &str, taken: &HashSet<Cow<'_, str>>) -> String {
    if !taken.contains(wanted.as_str()) {
        return wanted;
    }
    let mut name = hashed(&wanted, plain);
    let mut number = 2;
    while taken.contains(name.as_str()) {
        name = suffixed(&wanted, number);
        number += 1;
    }
    name
}

/// The beginning of an ASCII name, and a hash of what it stands for.
fn hashed(clean: &str, plain: &str) -> String {
    let hash = format!("{:08x}", hash(plain) as u32);
    let keep = clean.get(..NAME_MAX - hash.len() - 1).unwrap_or(clean);
    format!("{keep}_{hash}")
}

/// An ASCII name with a number behind it, no longer than allowed.
fn suffixed(base: &str, number: usize) -> String {
    let suffix = format!("_{number}");
    let keep = base.get(..NAME_MAX - suffix.len()).unwrap_or(base);
    format!("{keep}{suffix}")
}

/// FNV-1a: short, stable over versions and platforms. Names are compared after it, so it need not resist anybody.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Letters, digits, single spaces, hyphens, parentheses and square brackets; the ending of a file name is left out, its format is told elsewhere.
fn clean_document_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let stem = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 5 => stem,
        _ => name,
    };
    let mut clean = String::with_capacity(stem.len());
    for c in stem.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '(' | ')' | '[' | ']' => clean.push(c),
            c if c.is_whitespace() && (clean.is_empty() || clean.ends_with(' ')) => {}
            c if c.is_whitespace() => clean.push(' '),
            _ if !clean.ends_with('-') => clean.push('-'),
            _ => {}
        }
    }
    // Room for a number behind it.
    clean.truncate(DOCUMENT_NAME_MAX - 20);
    let clean = clean.trim_matches([' ', '-']);
    if clean.is_empty() { DOCUMENT.to_owned() } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire_names(names: &[&'static str]) -> Vec<String> {
        let texts: Vec<Text<'_>> = names.iter().map(|name| Text::from_plain(*name)).collect();
        let map = ToolNames::new(texts.iter(), "reserved");
        texts.iter().map(|text| map.wire(text).into_owned()).collect()
    }

    #[test]
    fn trap_13_tool_names_are_cleaned_without_collisions_and_valid_ones_stay() {
        assert_eq!(wire_names(&["get_weather", "a-b"]), ["get_weather", "a-b"]);
        let names = wire_names(&["files.read", "files_read", "files/read", "", "größe", "reserved!"]);
        assert_eq!(names[1], "files_read", "a valid name is never given away");
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| is_name(name)), "{names:?}");
        assert_eq!(wire_names(&["files.read", "files_read", "files/read", "", "größe", "reserved!"]), names, "the same each time");
    }

    #[test]
    fn trap_13_long_tool_names_keep_apart() {
        let long: &'static str = Box::leak("x".repeat(70).into_boxed_str());
        let longer: &'static str = Box::leak("x".repeat(71).into_boxed_str());
        let names = wire_names(&[long, longer]);
        assert!(names.iter().all(|name| is_name(name)));
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn trap_12_ids_are_made_valid_and_single() {
        let mut ids = CallIds::new(["call_1", "call_1_2", "a b"].into_iter().map(Cow::Borrowed));
        assert_eq!(ids.wire("call_1".into(), false), "call_1");
        assert_eq!(ids.wire("call_1".into(), true), "call_1_3", "call_1_2 belongs to somebody else");
        assert_eq!(ids.wire("call_1".into(), true), "call_1_4");
        let bad = ids.wire("a b".into(), false).into_owned();
        assert!(is_call_id(&bad) && bad.starts_with("tooluse_"));
        let again = ids.wire("a b".into(), true).into_owned();
        assert!(is_call_id(&again) && again != bad);
        let long = "y".repeat(200);
        assert!(is_call_id(&ids.wire(long.as_str().into(), false)));
        let full = "z".repeat(64);
        assert!(is_call_id(&ids.wire(full.as_str().into(), true)));
    }

    #[test]
    fn trap_41_document_names_are_clean_single_and_stable() {
        let mut names = DocumentNames::default();
        let of = |names: &mut DocumentNames, name: &'static str| names.next(Some(name));
        assert_eq!(of(&mut names, "Report  2024 (final).pdf"), "Report 2024 (final)");
        assert_eq!(of(&mut names, "Report 2024 (final).docx"), "Report 2024 (final)-2");
        assert_eq!(of(&mut names, "C:\\temp\\a_b.csv"), "a-b");
        assert_eq!(of(&mut names, "übersicht"), "bersicht");
        assert_eq!(of(&mut names, "..."), "document");
        assert_eq!(names.next(None), "document-2");
        assert_eq!(of(&mut names, "document-2.pdf"), "document-2-2");
        assert_eq!(names.next(None), "document-3");
        let long: &'static str = Box::leak("l".repeat(400).into_boxed_str());
        assert!(of(&mut names, long).len() <= DOCUMENT_NAME_MAX);
    }
}
