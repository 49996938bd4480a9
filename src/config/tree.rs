//! YAML as a tree that knows where each piece stands, with `${VAR}` replaced in its values.
//!
//! A thin layer over `saphyr_parser`'s events. It keeps what typed readers need for good messages and the usual loaders lose: the position of every key and
//! value, a scalar's own text (`1.10` stays `1.10`), and each of several duplicate keys. Tags are not supported, nor several documents in one file.
//!
//! Grammar: <https://yaml.org/spec/1.2.2/>.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::mistake::{Mistakes, Position};

/// Deeper than any configuration of ours, and shallow enough for every stack.
const MAX_DEPTH: usize = 32;

/// A piece of YAML.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

/// What a piece is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Text, and whether it was written without quotes.
    Scalar { text: String, plain: bool },
    /// `[…]`
    Sequence(Vec<Rc<Node>>),
    /// `{…}`, in the order of the file, each key once.
    Mapping(Vec<(Key, Rc<Node>)>),
    /// A value whose mistake is already noted: readers pass it over in silence.
    Broken,
}

/// The name of a mapping's member.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) at: Position,
}

impl Node {
    /// `null`, `~` or nothing at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Reads one document. Every mistake that YAML allows to go on after is noted; `None` stands for text that is no YAML, or no document at all.
pub(super) fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>, mistakes: &Mistakes) -> Option<Rc<Node>> {
    let mut builder = Builder { env, mistakes, stack: Vec::new(), anchors: HashMap::new(), root: None };
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0_usize;
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::DocumentStart(_), span)) => {
                documents += 1;
                if documents > 1 {
                    mistakes.add(position(span.start), "", "expected one document, found a second one");
                    return None;
                }
            }
            Ok((event, span)) => builder.event(event, position(span.start))?,
            Err(error) => {
                mistakes.add(position(*error.marker()), &builder.path(None), format!("expected YAML, but {}", error.info()));
                return None;
            }
        }
    }
    builder.root
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// A collection that is being read.
struct Frame {
    at: Position,
    anchor: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Rc<Node>>),
    Mapping { members: Vec<(Key, Rc<Node>)>, key: Option<Key> },
}

struct Builder<'b> {
    env: &'b dyn Fn(&str) -> Option<String>,
    mistakes: &'b Mistakes,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
}

impl Builder<'_> {
    /// Takes one event; `None` ends the reading, its reason is noted.
    fn event(&mut self, event: Event<'_>, at: Position) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    self.key(Key { name: text.into_owned(), at });
                    return Some(());
                }
                let kind = self.scalar(&text, style, tag.as_deref(), at);
                self.finish(Node { at, kind }, anchor);
            }
            Event::SequenceStart(anchor, tag) => self.open(Items::Sequence(Vec::new()), anchor, tag.as_deref(), at)?,
            Event::MappingStart(anchor, tag) => self.open(Items::Mapping { members: Vec::new(), key: None }, anchor, tag.as_deref(), at)?,
            Event::SequenceEnd | Event::MappingEnd => {
                let frame = self.stack.pop()?;
                let kind = match frame.items {
                    Items::Sequence(items) => Kind::Sequence(items),
                    Items::Mapping { members, .. } => Kind::Mapping(members),
                };
                self.finish(Node { at: frame.at, kind }, frame.anchor);
            }
            Event::Alias(anchor) => {
                if self.wants_key() {
                    return self.no_key(at);
                }
                // Without aliases inside anchors a tree cannot hold itself, grow exponentially, or become deeper than twice the limit.
                let inside_anchor = self.stack.iter().any(|frame| frame.anchor > 0);
                let node = self.anchors.get(&anchor).filter(|_| !inside_anchor).cloned().unwrap_or_else(|| {
                    self.mistakes.add(at, &self.path(None), "an alias inside an anchor is not supported");
                    Rc::new(Node { at, kind: Kind::Broken })
                });
                self.place(node);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { items: Items::Mapping { key: None, .. }, .. }))
    }

    fn key(&mut self, new: Key) {
        if let Some(Frame { items: Items::Mapping { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(new);
        }
    }

    fn no_key(&self, at: Position) -> Option<()> {
        self.mistakes.add(at, &self.path(None), "expected a name as key, found something else");
        None
    }

    fn open(&mut self, items: Items, anchor: usize, tag: Option<&Tag>, at: Position) -> Option<()> {
        if self.wants_key() {
            return self.no_key(at);
        }
        if self.stack.len() >= MAX_DEPTH {
            self.mistakes.add(at, &self.path(None), format!("nested deeper than {MAX_DEPTH} levels"));
            return None;
        }
        if let Some(tag) = tag {
            self.mistakes.add(at, &self.path(None), format!("tags such as `{tag}` are not supported"));
        }
        self.stack.push(Frame { at, anchor, items });
        Some(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Kind {
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if let Some(tag) = tag.filter(|_| !is_text) {
            self.mistakes.add(at, &self.path(None), format!("tags such as `{tag}` are not supported"));
            return Kind::Broken;
        }
        match expand(text, self.env) {
            Ok(text) => Kind::Scalar { text, plain: style == ScalarStyle::Plain && !is_text },
            Err(message) => {
                self.mistakes.add(at, &self.path(None), message);
                Kind::Broken
            }
        }
    }

    fn finish(&mut self, node: Node, anchor: usize) {
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node);
    }

    fn place(&mut self, node: Rc<Node>) {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut frame.items {
            Items::Sequence(items) => items.push(node),
            Items::Mapping { members, key } => {
                let Some(key) = key.take() else { return };
                match members.iter().find(|(other, _)| other.name == key.name) {
                    None => members.push((key, node)),
                    Some((first, _)) => {
                        let message = format!("this key stands here a second time; the first is in line {}", first.at.line);
                        let path = self.path(Some(&key.name));
                        self.mistakes.add(key.at, &path, message);
                    }
                }
            }
        }
    }

    /// Where the builder stands: `models.x.targets[1]`, and a last name behind it.
    fn path(&self, last: Option<&str>) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.items {
                Items::Sequence(items) => path.push_str(&format!("[{}]", items.len())),
                Items::Mapping { key: Some(key), .. } => join(&mut path, &key.name),
                Items::Mapping { key: None, .. } => {}
            }
        }
        if let Some(last) = last {
            join(&mut path, last);
        }
        path
    }
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Replaces `${VAR}` and `${VAR:-default}`; `$$` is a dollar, and so is a `$` before anything else. An empty variable counts as missing beside a default.
fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(after) = from.strip_prefix("${") {
            let (inner, after) = after.split_once('}').ok_or("expected `}` behind `${`, found none")?;
            let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(format!("expected the name of an environment variable in `${{…}}`, found `{name}`"));
            }
            match (env(name), default) {
                (_, Some(default)) if default.contains("${") => return Err(format!("the default of `${{{name}}}` cannot hold another `${{…}}`")),
                (Some(value), None) => out.push_str(&value),
                (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
                (_, Some(default)) => out.push_str(default),
                (None, None) => {
                    return Err(format!("expected the environment variable {name} to be set, found none; `${{{name}:-default}}` would give it a default"));
                }
            }
            rest = after;
        } else {
            out.push('$');
            rest = from.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_expand() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${SET}", "value"),
            ("a ${SET} b ${SET}", "a value b value"),
            ("${SET:-other}", "value"),
            ("${UNSET:-other}", "other"),
            ("${UNSET:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-other}", "other"),
            ("${UNSET:-http://x:1/}", "http://x:1/"),
            ("$$", "$"),
            ("$${SET}", "${SET}"),
            ("$SET 5$", "$SET 5$"),
        ] {
            assert_eq!(expand(text, &env).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${UNSET}", "${SET", "${}", "${1A}", "${A B}", "${UNSET:-${SET}}"] {
            assert!(expand(text, &env).is_err(), "{text}");
        }
    }

    #[test]
    fn any_text_is_a_tree_or_a_mistake() {
        let deep = "[".repeat(10_000);
        for text in
            ["", "---", "a: b: c", "{a: [}", "&a [*a]", "a: &x 1\nb: *y", "? [a]\n: b", "a: !!int 5", "- !x {}", "a: 1\n---\nb: 2", "\u{0}", deep.as_str()]
        {
            let mistakes = Mistakes::new("x.yaml", true);
            let tree = parse(text, &env, &mistakes);
            assert!(!mistakes.is_empty() || tree.is_none() || tree.is_some_and(|node| node.is_null()), "{text:.20}");
        }
    }
}
