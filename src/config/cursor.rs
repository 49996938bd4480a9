//! Typed reading of a [`tree`](super::tree): every method either gives a value or notes what was expected and what was found, and goes on.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::mistake::{Mistakes, Position};
use super::secret::Secret;
use super::tree::{Key, Kind, Node};
use crate::provider::endpoint::Endpoint;

/// How much of a wrong value is shown.
const SHOWN_CHARS: usize = 60;

/// A value that is there and not null, and the way to it.
#[derive(Clone)]
pub(super) struct Value<'n> {
    mistakes: &'n Mistakes,
    node: &'n Node,
    path: String,
}

impl<'n> Value<'n> {
    /// The whole of a file.
    pub(super) fn root(node: &'n Node, mistakes: &'n Mistakes) -> Self {
        Value { mistakes, node, path: String::new() }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Notes a mistake at this value.
    pub(super) fn mistake(&self, message: impl Into<String>) {
        self.mistakes.add(self.node.at, &self.path, message);
    }

    /// Notes that something else was expected. A broken value has its mistake already.
    pub(super) fn expected(&self, expected: impl Display) {
        let found = match &self.node.kind {
            Kind::Broken => return,
            Kind::Scalar { text, .. } if text.is_empty() => "nothing".to_owned(),
            Kind::Scalar { text, .. } if text.chars().count() > SHOWN_CHARS => format!("`{}…`", text.chars().take(SHOWN_CHARS).collect::<String>()),
            Kind::Scalar { text, .. } => format!("`{text}`"),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
        };
        self.mistake(format!("expected {expected}, found {found}"));
    }

    /// Notes something that the operator should know.
    pub(super) fn note(&self, note: impl Display) {
        self.mistakes.note(format!("{}: {note}", self.path));
    }

    /// The text of a scalar, `None` for anything else, without a note.
    fn scalar(&self) -> Option<&'n str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_scalar(&self) -> bool {
        self.scalar().is_some()
    }

    /// A scalar that `read` takes.
    pub(super) fn parse<T>(&self, expected: impl Display, read: impl FnOnce(&'n str) -> Option<T>) -> Option<T> {
        let value = self.scalar().and_then(read);
        if value.is_none() {
            self.expected(expected);
        }
        value
    }

    /// Text that is not empty.
    pub(super) fn text(&self) -> Option<&'n str> {
        self.parse("text", |text| (!text.is_empty()).then_some(text))
    }

    /// Text that is not shown when it is wrong. An empty one counts as missing: `"${KEY:-}"`.
    pub(super) fn secret(&self) -> Option<Secret> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if text.is_empty() => None,
            Kind::Scalar { text, .. } if text.chars().any(char::is_control) => {
                self.mistake("expected one line of text, found control characters");
                None
            }
            Kind::Scalar { text, .. } => Some(Secret::from(text.trim())),
            Kind::Broken => None,
            _ => {
                self.mistake("expected text");
                None
            }
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.parse("true or false", |text| match text {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        })
    }

    /// A whole number in a range.
    pub(super) fn integer(&self, least: u64, most: u64) -> Option<u64> {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|n| (least..=most).contains(n));
        match most {
            u64::MAX => self.parse(format_args!("a whole number from {least}"), digits),
            _ => self.parse(format_args!("a whole number from {least} to {most}"), digits),
        }
    }

    /// A size in bytes, at least 1.
    pub(super) fn bytes(&self) -> Option<usize> {
        self.parse("a number of bytes such as 26214400 or 25MiB", size)
    }

    /// A number of dollars.
    pub(super) fn usd(&self) -> Option<f64> {
        self.parse("an amount of 0 or more in USD", |text| text.parse().ok().filter(|usd: &f64| usd.is_finite() && *usd >= 0.0))
    }

    pub(super) fn price(&self) -> Option<f64> {
        self.parse("a price of 0 or more in USD per million tokens", |text| text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0))
    }

    /// A share of a whole.
    pub(super) fn share(&self) -> Option<f64> {
        self.parse("a share from 0 to 1", |text| text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share)))
    }

    /// A duration above zero.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.parse("a duration above zero such as 500ms, 3s or 12h", |text| humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero()))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.parse(one_of(&names), |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
    }

    /// An `http(s)` URL.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        let text = self.text()?;
        match Endpoint::parse(text) {
            Ok(endpoint) => Some(endpoint),
            // What stands before an `@` may be a password.
            Err(error) if text.contains('@') => {
                self.mistake(format!("expected a URL such as https://host:443/prefix, but {error}"));
                None
            }
            Err(error) => {
                self.mistake(format!("expected a URL such as https://host:443/prefix, found `{text}`: {error}"));
                None
            }
        }
    }

    /// The elements of a list that are not null.
    pub(super) fn list(&self) -> Vec<Value<'n>> {
        match &self.node.kind {
            Kind::Sequence(items) => items.iter().enumerate().map(|(index, node)| self.child(&format!("[{index}]"), node)).collect(),
            _ => {
                self.expected("a list");
                Vec::new()
            }
        }
    }

    /// A list of texts, or one text alone.
    pub(super) fn texts(&self) -> Vec<(Value<'n>, &'n str)> {
        let values = if self.is_scalar() { vec![self.clone()] } else { self.list() };
        values.into_iter().filter_map(|value| value.text().map(|text| (value.clone(), text))).collect()
    }

    /// A mapping with names of ours.
    pub(super) fn section(&self) -> Option<Section<'n>> {
        match &self.node.kind {
            Kind::Mapping(members) => Some(Section { value: self.clone(), members, known: RefCell::default() }),
            _ => {
                self.expected("a mapping");
                None
            }
        }
    }

    /// The members of a mapping with names of the operator's.
    pub(super) fn members(&self) -> Vec<(&'n Key, Value<'n>)> {
        match &self.node.kind {
            Kind::Mapping(members) => members.iter().map(|(key, node)| (key, self.member(key, node))).collect(),
            _ => {
                self.expected("a mapping");
                Vec::new()
            }
        }
    }

    /// A mapping whose type belongs to somebody else, read through serde. All members of the type are optional, so each is first read alone: that gives
    /// every mistake its place.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let mut whole = serde_yaml::Mapping::new();
        let mut good = matches!(self.node.kind, Kind::Mapping(_));
        for (key, value) in self.members() {
            let Some(content) = to_serde(value.node) else {
                good = false;
                continue;
            };
            let alone = serde_yaml::Mapping::from_iter([(key.name.as_str().into(), content.clone())]);
            if let Err(error) = serde_yaml::from_value::<T>(alone.into()) {
                value.mistake(error.to_string());
                good = false;
            }
            whole.insert(key.name.as_str().into(), content);
        }
        good.then(|| serde_yaml::from_value(whole.into()).map_err(|error| self.mistake(error.to_string())).ok())?
    }

    fn member(&self, key: &Key, node: &'n Rc<Node>) -> Value<'n> {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.child(&format!("{dot}{}", key.name), node)
    }

    fn child(&self, step: &str, node: &'n Node) -> Value<'n> {
        Value { mistakes: self.mistakes, node, path: format!("{}{step}", self.path) }
    }
}

/// A mapping whose keys are known. [`Section::finish`] complains about the others.
pub(super) struct Section<'n> {
    value: Value<'n>,
    members: &'n [(Key, Rc<Node>)],
    known: RefCell<Vec<&'static str>>,
}

impl<'n> Section<'n> {
    /// The mapping as a value, for messages about the whole.
    pub(super) fn value(&self) -> &Value<'n> {
        &self.value
    }

    /// A member, unless it is missing or null.
    pub(super) fn get(&self, name: &'static str) -> Option<Value<'n>> {
        self.get_or_null(name).filter(|value| !value.node.is_null())
    }

    /// A member, null included, for keys where null switches something off.
    pub(super) fn get_or_null(&self, name: &'static str) -> Option<Value<'n>> {
        self.known.borrow_mut().push(name);
        self.members.iter().find(|(key, _)| key.name == name).map(|(key, node)| self.value.member(key, node))
    }

    /// A member that has to be there.
    pub(super) fn required(&self, name: &'static str, expected: &str) -> Option<Value<'n>> {
        let value = self.get(name);
        if value.is_none() {
            self.value.mistake(format!("expected `{name}`: {expected}, found none"));
        }
        value
    }

    /// A member that is a section of its own, read by `read`; unknown keys in it are complained about.
    pub(super) fn section<T>(&self, name: &'static str, read: impl FnOnce(&Section<'n>) -> T) -> Option<T> {
        let section = self.get(name)?.section()?;
        let value = read(&section);
        section.finish();
        Some(value)
    }

    pub(super) fn flag(&self, name: &'static str) -> Option<bool> {
        self.get(name)?.flag()
    }

    pub(super) fn text(&self, name: &'static str) -> Option<&'n str> {
        self.get(name)?.text()
    }

    /// Text, where empty counts as missing: `"${NAME:-}"`.
    pub(super) fn text_or_empty(&self, name: &'static str) -> Option<&'n str> {
        let value = self.get(name)?;
        value.parse("text", Some).filter(|text| !text.is_empty())
    }

    pub(super) fn secret(&self, name: &'static str) -> Option<Secret> {
        self.get(name)?.secret()
    }

    pub(super) fn integer(&self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        self.get(name)?.integer(least, most)
    }

    pub(super) fn duration(&self, name: &'static str, default: Duration) -> Duration {
        self.get(name).and_then(|value| value.duration()).unwrap_or(default)
    }

    /// A duration that null switches off.
    pub(super) fn optional_duration(&self, name: &'static str, default: Option<Duration>) -> Option<Duration> {
        match self.get_or_null(name) {
            None => default,
            Some(value) if value.node.is_null() => None,
            Some(value) => value.duration().or(default),
        }
    }

    /// Whether a member is null in so many words.
    pub(super) fn is_null(&self, name: &'static str) -> bool {
        self.get_or_null(name).is_some_and(|value| value.node.is_null())
    }

    /// Members that nobody asked for, with their keys' positions.
    pub(super) fn unknown(&self) -> Vec<(&'n Key, Value<'n>)> {
        let known = self.known.borrow();
        self.members.iter().filter(|(key, _)| !known.contains(&key.name.as_str())).map(|(key, node)| (key, self.value.member(key, node))).collect()
    }

    /// Notes every member that nobody asked for.
    pub(super) fn finish(&self) {
        for (key, value) in self.unknown() {
            self.complain(key, &value, &[]);
        }
    }

    /// Notes that a key is unknown, with a name it may have been meant for.
    pub(super) fn complain(&self, key: &Key, value: &Value<'_>, also: &[&str]) {
        let mut known: Vec<&str> = self.known.borrow().iter().copied().chain(also.iter().copied()).collect();
        known.sort_unstable();
        known.dedup();
        let message = match closest(&key.name, known.iter().copied()) {
            Some(near) => format!("unknown key, did you mean `{near}`?"),
            None => format!("unknown key, expected {}", one_of(&known)),
        };
        self.value.mistakes.add(key.at, &value.path, message);
    }

    /// Notes a mistake at a key.
    pub(super) fn mistake_at(&self, at: Position, path: &str, message: impl Into<String>) {
        self.value.mistakes.add(at, path, message);
    }
}

/// The name that a wrong one was probably meant to be.
pub(super) fn closest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let most = (name.chars().count() / 3).clamp(1, 3);
    known.map(|other| (strsim::osa_distance(name, other), other)).filter(|(distance, _)| *distance <= most).min().map(|(_, other)| other)
}

/// `a, b or c`
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing here".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A sub-tree for serde, `None` if a part of it is broken. The depth is bounded by the reader of the tree.
fn to_serde(node: &Node) -> Option<serde_yaml::Value> {
    Some(match &node.kind {
        Kind::Broken => return None,
        Kind::Scalar { text, plain: false } => serde_yaml::Value::String(text.clone()),
        // The text of a plain scalar decides its type; one that YAML would read as something else is just text.
        Kind::Scalar { text, plain: true } => match serde_yaml::from_str(text) {
            Ok(value @ (serde_yaml::Value::Null | serde_yaml::Value::Bool(_) | serde_yaml::Value::Number(_))) => value,
            _ => serde_yaml::Value::String(text.clone()),
        },
        Kind::Sequence(items) => serde_yaml::Value::Sequence(items.iter().map(|item| to_serde(item)).collect::<Option<_>>()?),
        Kind::Mapping(members) => {
            let members = members.iter().map(|(key, value)| Some((serde_yaml::Value::String(key.name.clone()), to_serde(value)?)));
            serde_yaml::Value::Mapping(members.collect::<Option<_>>()?)
        }
    })
}
/// `26214400`, `64KiB`, `25MiB`, `1GiB`; above zero.
fn size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let number: usize = digits.parse().ok().filter(|number| *number > 0 && !digits.starts_with('+'))?;
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("26214400", Some(26_214_400)), ("1KiB", Some(1024)), ("25MiB", Some(26_214_400)), ("1GiB", Some(1 << 30))] {
            assert_eq!(size(text), bytes, "{text}");
        }
        for bad in ["", "0", "0MiB", "+1", "-1", "1.5MiB", "1MB", "1 MiB", "MiB", "1mib", "99999999999GiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
