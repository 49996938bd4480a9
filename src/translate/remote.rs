//! Files behind URLs, for targets that take none: where a request names them, and the request with the files themselves in the places of their URLs.
//!
//! ```text
//! {"type":"image_url","image_url":{"url":"https://…"}}   →  {"type":"image_url","image_url":{"url":"data:image/png;base64,…"}}
//! {"type":"image","source":{"type":"url","url":"…"}}     →  {"type":"image","source":{"type":"base64","media_type":"image/png","data":"…"}}
//! ```
//!
//! The request stays in its own dialect, and all else in it stays byte for byte: what follows reads it as if the client had sent the files. Nothing is fetched here.

use std::ops::Range;

use crate::chat::{Part, Source};
use crate::translate::{Client, Question};
use crate::wire::json::{Object, Text, write_string};

/// A URL in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The URL, unescaped.
    pub url: String,
    /// Its place: `messages[0].content[1].image_url.url`.
    pub param: String,
    /// It stands where a picture must be.
    pub is_image: bool,
    /// The bytes of the request that make room.
    room: Range<usize>,
    form: Form,
}

/// How a dialect holds a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// OpenAI: a data URL in a string.
    DataUrl,
    /// Anthropic: an object that says its type.
    Source,
}

/// A file to put in.
#[derive(Clone, Copy, Debug)]
pub struct File<'f> {
    /// Such as `image/png`.
    pub media_type: &'f str,
    /// What it holds.
    pub content: Content<'f>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'f> {
    /// Any bytes.
    Base64(&'f str),
    /// Text, and the same as base64.
    Text(&'f str, &'f str),
}

/// Whether a body may name files behind URLs; a cheap look before it is read as a whole.
#[must_use]
pub fn may_link(body: &[u8]) -> bool {
    ["\"url\"", "\"file_data\"", "\"image_url\"", "\"file_url\""].iter().any(|name| memchr::memmem::find(body, name.as_bytes()).is_some())
}

/// The pictures and files behind URLs in a request that was read from `body`, in its order.
#[must_use]
pub fn links(question: &Question<'_>, body: &str) -> Vec<Link> {
    let form = match question.client {
        Client::OpenAi(_) | Client::Responses(_) => Form::DataUrl,
        Client::Anthropic(_) | Client::Invoke(_) => Form::Source,
        Client::Converse(_) | Client::Completions(_) => return Vec::new(),
    };
    let mut found = Vec::new();
    for message in &question.request.messages {
        for part in &message.parts {
            note(part, body, &mut found);
            if let Part::ToolResult(result) = part {
                result.parts.iter().for_each(|part| note(part, body, &mut found));
            }
        }
    }
    found.sort_unstable_by_key(|(at, ..)| *at);
    let wanted: Vec<usize> = found.iter().map(|(at, ..)| *at).collect();
    let link = |((at, is_image, url), place): ((usize, bool, &Text<'_>), Place)| {
        let room = match form {
            Form::DataUrl => at..at + url.escaped().len(),
            Form::Source => place.object,
        };
        Link { url: url.unescape().into_owned(), param: place.path, is_image, room, form }
    };
    found.into_iter().zip(places(body, &wanted)).map(link).collect()
}

/// Notes the place of a part's URL.
fn note<'r>(part: &'r Part<'_>, body: &str, found: &mut Vec<(usize, bool, &'r Text<'r>)>) {
    let (is_image, url) = match part {
        Part::Image(image) => (true, &image.source),
        Part::Document(document) => (false, &document.source),
        _ => return,
    };
    let Source::Url(url) = url else { return };
    // What was read is a piece of the body. If it ever were a copy, nobody would know its place: the target's encoder refuses it then.
    let at = url.escaped().as_ptr().addr().checked_sub(body.as_ptr().addr());
    if let Some(at) = at.filter(|at| body.get(*at..).is_some_and(|rest| rest.starts_with(url.escaped()))) {
        found.push((at, is_image, url));
    }
}

/// The request with files in the places of links, in the links' order. A link without a file stays.
#[must_use]
pub fn inline<'f>(body: &str, links: &[Link], file: impl Fn(&Link) -> Option<File<'f>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut done = 0;
    for link in links {
        let Some(file) = file(link) else { continue };
        let Some(before) = body.get(done..link.room.start) else { continue };
        out.extend_from_slice(before.as_bytes());
        write_file(&mut out, link.form, file);
        done = link.room.end;
    }
    out.extend_from_slice(body.get(done..).unwrap_or_default().as_bytes());
    out
}

fn write_file(out: &mut Vec<u8>, form: Form, file: File<'_>) {
    match (form, file.content) {
        (Form::DataUrl, Content::Base64(data) | Content::Text(_, data)) => {
            for piece in ["data:", file.media_type, ";base64,", data] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
        (Form::Source, Content::Base64(data)) => Object::write(out, |source| {
            source.raw("type", "\"base64\"");
            source.string("media_type", file.media_type);
            source.string("data", data);
        }),
        (Form::Source, Content::Text(text, _)) => Object::write(out, |source| {
            source.raw("type", "\"text\"");
            source.raw("media_type", "\"text/plain\"");
            write_string(source.key("data"), text);
        }),
    }
}

/// Where a string stands.
#[derive(Debug, Default)]
struct Place {
    /// The object it is a member of.
    object: Range<usize>,
    /// `messages[0].content`
    path: String,
}

/// An object or array that is open.
struct Open {
    start: usize,
    /// The member's name, escaped, or the item's number.
    at: At,
    /// Strings in it whose place is wanted.
    holds: Vec<usize>,
}

enum At {
    Key(Range<usize>),
    Item(usize),
}

/// The places of strings, by where they begin behind their quote, in ascending order. `body` is JSON that was read before: nothing is checked again, and what
/// is no JSON gives places of no meaning.
fn places(body: &str, wanted: &[usize]) -> Vec<Place> {
    let bytes = body.as_bytes();
    let mut places: Vec<Place> = wanted.iter().map(|_| Place::default()).collect();
    let mut open: Vec<Open> = Vec::new();
    // Behind `{` and, in an object, `,` stands a name.
    let mut is_name = false;
    let (mut at, mut next) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                is_name = *byte == b'{';
                open.push(Open { start: at, at: if is_name { At::Key(0..0) } else { At::Item(0) }, holds: Vec::new() });
            }
            b'}' | b']' => {
                is_name = false;
                let Some(closed) = open.pop() else { break };
                for held in closed.holds {
                    if let Some(place) = places.get_mut(held) {
                        place.object = closed.start..at + 1;
                    }
                }
                if open.is_empty() {
                    break;
                }
            }
            b',' => match open.last_mut().map(|open| &mut open.at) {
                Some(At::Item(number)) => *number += 1,
                _ => is_name = true,
            },
            b'"' => {
                let begin = at + 1;
                at = end_of_string(bytes, begin);
                if is_name {
                    is_name = false;
                    if let Some(open) = open.last_mut() {
                        open.at = At::Key(begin..at);
                    }
                } else if wanted.get(next) == Some(&begin) {
                    if let Some(place) = places.get_mut(next) {
                        place.path = path(body, &open);
                    }
                    if let Some(open) = open.last_mut() {
                        open.holds.push(next);
                    }
                    next += 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    places
}

/// Where the closing quote is.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

fn path(body: &str, open: &[Open]) -> String {
    let mut path = String::new();
    for Open { at, .. } in open {
        match at {
            At::Item(number) => path.push_str(&format!("[{number}]")),
            At::Key(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&Text::from_escaped(body.get(name.clone()).unwrap_or_default()).unescape());
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Surface;

    fn linked(surface: Surface, body: &str) -> Vec<Link> {
        assert!(may_link(body.as_bytes()));
        links(&Question::decode(surface, "m", body).unwrap(), body)
    }

    fn picture(link: &Link) -> Option<File<'static>> {
        let file = File { media_type: "image/png", content: Content::Base64("iVBORw0KGgoAAAANSUhEUg==") };
        (!link.url.contains("keep")).then_some(file)
    }

    #[test]
    fn urls_of_openai_become_data_urls_and_all_else_stays() {
        let body = r#"{"model":"m", "messages":[{"role":"system","content":"{\"url\": [\"]"},{"role":"user","content":[{"type":"text","text":"\\\""},
            {"type":"image_url","image_url":{"detail":"auto","url":"https:\/\/a.example/\u0031.png"} },{"type":"file","file":{"file_data":"http://b.example/x","filename":"f"}},
            {"type":"image_url","image_url":{"url":"https://keep.example/"}}]}], "x":{"a":[1,{}]}}"#;
        let links = linked(Surface::ChatCompletions, body);
        let told: Vec<_> = links.iter().map(|link| (link.url.as_str(), link.param.as_str(), link.is_image)).collect();
        assert_eq!(
            told,
            [
                ("https://a.example/1.png", "messages[1].content[1].image_url.url", true),
                ("http://b.example/x", "messages[1].content[2].file.file_data", false),
                ("https://keep.example/", "messages[1].content[3].image_url.url", true),
            ]
        );
        let data = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
        let expected = body.replace(r"https:\/\/a.example/\u0031.png", data).replace("http://b.example/x", data);
        assert_eq!(String::from_utf8(inline(body, &links, picture)).unwrap(), expected);
    }

    #[test]
    fn sources_of_anthropic_are_replaced_whole_in_tool_results_too() {
        let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://a.example/1"},"cache_control":{"type":"ephemeral"}}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{"url":"https://a.example/1"}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"document","source":{"url":"https://a.example/2","type":"url"}}]}]}]}"#;
        let links = linked(Surface::Messages, body);
        let told: Vec<_> = links.iter().map(|link| (link.url.as_str(), link.param.as_str(), link.is_image)).collect();
        assert_eq!(
            told,
            [
                ("https://a.example/1", "messages[0].content[0].source.url", true),
                ("https://a.example/2", "messages[2].content[0].content[0].source.url", false),
            ]
        );
        let out =
            inline(
                body,
                &links,
                |link| if link.is_image { picture(link) } else { Some(File { media_type: "text/plain", content: Content::Text("a \"b\"\n", "") }) },
            );
        let expected = body
            .replace(r#"{"type":"url","url":"https://a.example/1"}"#, r#"{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoAAAANSUhEUg=="}"#)
            .replace(r#"{"url":"https://a.example/2","type":"url"}"#, r#"{"type":"text","media_type":"text/plain","data":"a \"b\"\n"}"#);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_body_without_files_behind_urls_has_no_links() {
        for body in [
            r#"{"model":"m","messages":[{"role":"user","content":"\"url\""}],"x":{"url":"http://a"}}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]}"#,
        ] {
            let question = Question::decode(Surface::ChatCompletions, "m", body).unwrap();
            let links = links(&question, body);
            assert_eq!(links, []);
            assert_eq!(inline(body, &links, picture), body.as_bytes());
        }
        assert!(!may_link(br#"{"messages":[]}"#));
    }

    #[test]
    fn what_is_no_json_does_no_harm() {
        for body in ["", "}", "{\"", "{\"a\\", "[[[[", "{,\"a\":]", "\"\\\""] {
            for at in 0..body.len() {
                assert_eq!(places(body, &[at]).len(), 1);
            }
        }
    }
}
