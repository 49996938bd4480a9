//! What is kept of a request and its answer, and what is made of it: the input that goes on from an earlier answer, lists of items, the words on a deletion.
//!
//! Items are moved as they stand. What is kept was read and written here before; what cannot be read all the same is passed over.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/responses/input-items>.

use super::seal::MARK;
use crate::wire::json::{Array, Edit, Kind, Object, Raw, Reader, Syntax, Text, compact_into, pick, splice, write_u64};

/// An earlier answer of a conversation, as it is kept: JSON.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The items of its own input.
    pub input: &'a str,
    /// The answer.
    pub response: &'a str,
}

/// The items of an input, each with an id and a type, as a JSON array: `"Hi"` →
/// `[{"type":"message","id":"msg_<answer>_i0","role":"user","content":[{"type":"input_text","text":"Hi"}]}]`.
#[must_use]
pub fn own_items(input: Option<Raw<'_>>, answer: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.map_or(2, |raw| raw.as_str().len() + 128));
    Array::write(&mut out, |list| {
        let mut number = 0;
        let mut put = |raw: Raw<'_>| {
            item(raw, answer, number, list.item());
            number += 1;
        };
        match input {
            Some(raw) if raw.kind() == Kind::String => message(raw, answer, list.item()),
            Some(raw) => items(raw).into_iter().for_each(&mut put),
            None => {}
        }
    });
    out
}

/// The whole conversation as an input: what came and went before, oldest first, and what comes now.
#[must_use]
pub fn rebuilt(links: &[Link<'_>], input: Option<Raw<'_>>) -> String {
    let mut out =
        Vec::with_capacity(links.iter().map(|link| link.input.len() + link.response.len()).sum::<usize>() + input.map_or(2, |raw| raw.as_str().len()));
    Array::write(&mut out, |list| {
        conversation(links, &mut |raw| list.item().extend_from_slice(raw.as_str().as_bytes()));
        match input {
            Some(raw) if raw.kind() == Kind::String => Object::write(list.item(), |message| {
                message.string("role", "user");
                message.raw("content", raw.as_str());
            }),
            Some(raw) => items(raw).into_iter().for_each(|raw| list.item().extend_from_slice(raw.as_str().as_bytes())),
            None => {}
        }
    });
    // Pieces of texts.
    String::from_utf8(out).unwrap_or_default()
}

/// What of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The newest first.
    pub descending: bool,
    /// Behind the item of this id.
    pub after: Option<String>,
    /// So many.
    pub limit: usize,
}

/// Appends the input of an answer, what came and went before it included: `{"object":"list","data":[…],"first_id":"…","last_id":"…","has_more":false}`. `None` if there
/// is no item to go on behind.
pub fn list(before: &[Link<'_>], own: &str, page: &Page, out: &mut Vec<u8>) -> Option<()> {
    let mut all = Vec::new();
    conversation(before, &mut |raw| all.push(raw));
    all.extend(parsed(own));
    if page.descending {
        all.reverse();
    }
    let start = match &page.after {
        Some(after) => all.iter().position(|raw| id(*raw).is_some_and(|id| id == *after))? + 1,
        None => 0,
    };
    let shown: Vec<Raw<'_>> = all.iter().skip(start).take(page.limit).copied().collect();
    Object::write(out, |body| {
        body.string("object", "list");
        body.array("data", |data| shown.iter().for_each(|raw| data.item().extend_from_slice(raw.as_str().as_bytes())));
        for (name, item) in [("first_id", shown.first()), ("last_id", shown.last())] {
            match item.and_then(|raw| id(*raw)) {
                Some(id) => body.string(name, &id),
                None => body.raw(name, "null"),
            }
        }
        body.bool("has_more", start + shown.len() < all.len());
    });
    Some(())
}

/// Appends what a client is told whose answer is gone: `{"id":"resp_…","object":"response","deleted":true}`.
pub fn deleted(id: &str, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        body.string("id", id);
        body.string("object", "response");
        body.bool("deleted", true);
    });
}

/// The answer whose item this is, by its id: `msg_<answer>_0` → `resp_<answer>`.
#[must_use]
pub fn answer_of(item: &str) -> Option<String> {
    let (_, rest) = item.split_once('_')?;
    let (answer, number) = rest.rsplit_once('_')?;
    let is_number = !number.is_empty() && number.trim_start_matches('i').bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !answer.is_empty()).then(|| format!("resp_{answer}"))
}

/// The items that an input names by their ids: `{"type":"item_reference","id":"msg_…"}`.
#[must_use]
pub fn references(input: Raw<'_>) -> Vec<String> {
    items(input).into_iter().filter_map(reference).collect()
}

/// The input with items in the places of their names. `find` gives an item of this id out of what is kept.
#[must_use]
pub fn dereferenced<'k>(input: Raw<'_>, find: impl Fn(&str) -> Option<&'k str>) -> String {
    let mut out = Vec::with_capacity(input.as_str().len());
    Array::write(&mut out, |list| {
        for raw in items(input) {
            let named = reference(raw);
            let found = named.as_deref().and_then(&find);
            list.item().extend_from_slice(found.unwrap_or(raw.as_str()).as_bytes());
        }
    });
    String::from_utf8(out).unwrap_or_default()
}

/// An item of this id in what is kept of an answer.
#[must_use]
pub fn find<'a>(link: Link<'a>, wanted: &str) -> Option<&'a str> {
    let mut found = None;
    conversation(&[link], &mut |raw| {
        if id(raw).is_some_and(|id| id == wanted) {
            found = Some(raw.as_str());
        }
    });
    found
}

/// The input without thoughts that were sealed here, if it has any: whoever speaks this API itself takes them for broken ones of its own.
#[must_use]
pub fn without_own_thoughts(input: Raw<'_>) -> Option<String> {
    memchr::memmem::find(input.as_str().as_bytes(), MARK.as_bytes())?;
    let is_own = |raw: &Raw<'_>| {
        let sealed = pick(raw.as_str(), ["encrypted_content"]).ok().and_then(|[sealed]| sealed?.text());
        sealed.is_some_and(|sealed| sealed.unescape().starts_with(MARK))
    };
    let mut out = Vec::with_capacity(input.as_str().len());
    Array::write(&mut out, |list| {
        items(input).into_iter().filter(|raw| !is_own(raw)).for_each(|raw| list.item().extend_from_slice(raw.as_str().as_bytes()));
    });
    String::from_utf8(out).ok()
}

fn conversation<'a>(links: &[Link<'a>], each: &mut dyn FnMut(Raw<'a>)) {
    for link in links {
        parsed(link.input).into_iter().for_each(&mut *each);
        let output = pick(link.response, ["output"]).ok().and_then(|[output]| output);
        output.map(items).unwrap_or_default().into_iter().for_each(&mut *each);
    }
}

fn parsed(json: &str) -> Vec<Raw<'_>> {
    Raw::parse(json).map(items).unwrap_or_default()
}

/// The objects of a list.
fn items(raw: Raw<'_>) -> Vec<Raw<'_>> {
    let mut items = Vec::new();
    if raw.kind() == Kind::Array {
        // It was read before; where it ends all the same, so does the list.
        let _ = Reader::new(raw.as_str()).array(|reader| {
            items.push(reader.value()?);
            Ok::<(), Syntax>(())
        });
    }
    items.retain(|raw| raw.kind() == Kind::Object);
    items
}

fn id(raw: Raw<'_>) -> Option<String> {
    let [id] = pick(raw.as_str(), ["id"]).ok()?;
    Some(id?.text()?.unescape().into_owned())
}

fn reference(raw: Raw<'_>) -> Option<String> {
    let [kind, id] = pick(raw.as_str(), ["type", "id"]).ok()?;
    kind?.text().filter(|kind| *kind == "item_reference")?;
    Some(id?.text()?.unescape().into_owned())
}

/// An item with the type and the id that it may lack.
fn item(raw: Raw<'_>, answer: &str, number: u64, out: &mut Vec<u8>) {
    let [kind, id] = pick(raw.as_str(), ["type", "id"]).unwrap_or_default().map(|member| member.and_then(Raw::text));
    let name = kind.as_ref().map_or_else(|| "message".into(), Text::unescape);
    let mut own = Vec::new();
    write_id(&name, answer, number, &mut own);
    let own = String::from_utf8(own).unwrap_or_default();
    let lacks_kind = kind.is_none().then_some(Edit::Set("type", "\"message\""));
    let edits: Vec<Edit<'_>> = lacks_kind.into_iter().chain(id.is_none().then_some(Edit::Set("id", &own))).collect();
    let whole = splice(raw.as_str(), &edits).ok().and_then(|whole| String::from_utf8(whole).ok());
    match whole.as_deref().and_then(|whole| Raw::parse(whole).ok()) {
        Some(whole) => compact_into(out, whole),
        None => compact_into(out, raw),
    }
}

fn message(text: Raw<'_>, answer: &str, out: &mut Vec<u8>) {
    Object::write(out, |message| {
        message.string("type", "message");
        write_id("message", answer, 0, message.key("id"));
        message.string("role", "user");
        message.array("content", |content| {
            content.object(|part| {
                part.string("type", "input_text");
                part.raw("text", text.as_str());
            });
        });
    });
}

fn write_id(kind: &str, answer: &str, number: u64, out: &mut Vec<u8>) {
    let prefix = match kind {
        "message" => "msg",
        "function_call" => "fc",
        "function_call_output" => "fco",
        "custom_tool_call" => "ctc",
        "custom_tool_call_output" => "ctco",
        "reasoning" => "rs",
        _ => "item",
    };
    out.push(b'"');
    out.extend_from_slice(prefix.as_bytes());
    out.push(b'_');
    out.extend_from_slice(answer.as_bytes());
    out.extend_from_slice(b"_i");
    write_u64(out, number);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn own(input: &str) -> Value {
        serde_json::from_slice(&own_items(Some(Raw::parse(input).unwrap()), "a1")).unwrap()
    }

    const FIRST: Link<'static> = Link { input: r#"[{"id":"msg_a1_i0","role":"user"}]"#, response: r#"{"output":[{"id":"msg_a1_0"},{"id":"fc_a1_1"}]}"# };
    const SECOND: Link<'static> = Link { input: r#"[{"id":"fco_a2_i0"}]"#, response: r#"{"id":"resp_a2","output":[]}"# };

    #[test]
    fn items_get_what_they_lack() {
        assert_eq!(
            own(r#""Hi \"you\"""#),
            json!([{"type": "message", "id": "msg_a1_i0", "role": "user", "content": [{"type": "input_text", "text": "Hi \"you\""}]}])
        );
        assert_eq!(
            own(r#"[ {"role": "user", "content": "x"}, {"type":"function_call_output","call_id":"c"}, {"type":"reasoning","id":"rs_1"}, {"id":null}, 7 ]"#),
            json!([
                {"type": "message", "id": "msg_a1_i0", "role": "user", "content": "x"},
                {"type": "function_call_output", "id": "fco_a1_i1", "call_id": "c"},
                {"type": "reasoning", "id": "rs_1"},
                {"type": "message", "id": "msg_a1_i3"}
            ])
        );
        assert_eq!(own_items(None, "a1"), b"[]");
    }

    #[test]
    fn a_conversation_is_what_came_and_went() {
        let ids = |text: &str| -> Vec<String> {
            let items: Vec<Value> = serde_json::from_str(text).unwrap();
            items.iter().map(|item| item["id"].as_str().unwrap_or("new").to_owned()).collect()
        };
        let links = [FIRST, SECOND];
        assert_eq!(ids(&rebuilt(&links, Some(Raw::parse(r#""Go on""#).unwrap()))), ["msg_a1_i0", "msg_a1_0", "fc_a1_1", "fco_a2_i0", "new"]);
        assert_eq!(ids(&rebuilt(&links, None)), ["msg_a1_i0", "msg_a1_0", "fc_a1_1", "fco_a2_i0"]);
        assert_eq!(ids(&rebuilt(&[], Some(Raw::parse(r#"[{"id":"1"}]"#).unwrap()))), ["1"]);
        let broken = Link { input: "{", response: "[" };
        assert_eq!(rebuilt(&[broken], None), "[]");
    }

    #[test]
    fn lists_come_in_pages() {
        let page = |descending, after: Option<&str>, limit| {
            let mut out = Vec::new();
            list(&[FIRST], SECOND.input, &Page { descending, after: after.map(str::to_owned), limit }, &mut out)?;
            let body: Value = serde_json::from_slice(&out).unwrap();
            let ids: Vec<String> = body["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
            assert_eq!((body["first_id"].as_str(), body["last_id"].as_str()), (ids.first().map(String::as_str), ids.last().map(String::as_str)));
            Some((ids, body["has_more"].as_bool().unwrap()))
        };
        let all = ["msg_a1_i0", "msg_a1_0", "fc_a1_1", "fco_a2_i0"].map(str::to_owned);
        assert_eq!(page(false, None, 20), Some((all.to_vec(), false)));
        assert_eq!(page(true, None, 1), Some((vec!["fco_a2_i0".to_owned()], true)));
        assert_eq!(page(true, Some("fco_a2_i0"), 2), Some((vec!["fc_a1_1".to_owned(), "msg_a1_0".to_owned()], true)));
        assert_eq!(page(false, Some("fc_a1_1"), 20), Some((vec!["fco_a2_i0".to_owned()], false)));
        assert_eq!(page(false, Some("fco_a2_i0"), 20), Some((vec![], false)));
        assert_eq!(page(false, Some("nobody"), 20), None);
    }

    #[test]
    fn items_are_found_by_their_names() {
        for (item, answer) in [
            ("msg_a1_0", Some("resp_a1")),
            ("fco_a1_i12", Some("resp_a1")),
            ("rs_x_y_3", Some("resp_x_y")),
            ("msg_1", None),
            ("msg__0", None),
            ("msg_a_x", None),
            ("", None),
        ] {
            assert_eq!(answer_of(item).as_deref(), answer, "{item}");
        }
        let input = r#"[{"type":"item_reference","id":"msg_a1_0"}, {"role":"user"},{"type":"item_reference","id":"msg_b_0"}]"#;
        let input = Raw::parse(input).unwrap();
        assert_eq!(references(input), ["msg_a1_0", "msg_b_0"]);
        assert_eq!(dereferenced(input, |id| find(FIRST, id)), r#"[{"id":"msg_a1_0"},{"role":"user"},{"type":"item_reference","id":"msg_b_0"}]"#);
    }

    #[test]
    fn thoughts_that_were_sealed_here_stay_here() {
        let input =
            r#"[{"type":"reasoning","encrypted_content":"adit1.x"},{"type":"reasoning","encrypted_content":"gAAA"},{"role":"user","content":"adit1."}]"#;
        let expected = r#"[{"type":"reasoning","encrypted_content":"gAAA"},{"role":"user","content":"adit1."}]"#;
        assert_eq!(without_own_thoughts(Raw::parse(input).unwrap()).as_deref(), Some(expected));
        assert_eq!(without_own_thoughts(Raw::parse("[]").unwrap()), None);
    }
}
