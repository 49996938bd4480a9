//! The items of an answer, as they stand in it and in the events of its stream.

use super::{INPUT, seal};
use crate::chat::Citation;
use crate::wire::json::{Array, Object, Text, escape_into, pick, write_u64};

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete => "incomplete",
        }
    }
}

/// An item. Texts are in escaped form.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    /// What the model says. `None` before its first word.
    Message { text: Option<&'a str>, annotations: &'a [Citation<'a>], skipped: usize },
    /// What it thinks, and its seal.
    Thought { text: &'a str, signature: &'a str, summary: bool },
    /// What it thinks, encrypted.
    Redacted { content: &'a str },
    /// A call of a function.
    Call { id: &'a str, name: &'a str, arguments: &'a str },
    /// A call of a custom tool.
    Custom { id: &'a str, name: &'a str, input: &'a str },
}

impl Item<'_> {
    /// How the ids of such items begin.
    fn prefix(&self) -> &'static str {
        match self {
            Item::Message { .. } => "msg_",
            Item::Thought { .. } | Item::Redacted { .. } => "rs_",
            Item::Call { .. } => "fc_",
            Item::Custom { .. } => "ctc_",
        }
    }

    /// Appends its id, with quotes. `answer` is the answer's own, `index` its place in it.
    pub(super) fn write_id(&self, answer: &str, index: u32, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.prefix().as_bytes());
        escape_into(out, answer);
        out.push(b'_');
        write_u64(out, index.into());
        out.push(b'"');
    }

    /// Appends it whole: `{"type":"message","id":"msg_…_0",…}`.
    pub(super) fn write(&self, answer: &str, index: u32, status: Status, out: &mut Vec<u8>) {
        Object::write(out, |item| {
            item.string(
                "type",
                match self {
                    Item::Message { .. } => "message",
                    Item::Thought { .. } | Item::Redacted { .. } => "reasoning",
                    Item::Call { .. } => "function_call",
                    Item::Custom { .. } => "custom_tool_call",
                },
            );
            self.write_id(answer, index, item.key("id"));
            match *self {
                Item::Message { text, annotations, skipped } => {
                    item.string("status", status.as_str());
                    item.string("role", "assistant");
                    item.array("content", |content| {
                        if let Some(text) = text {
                            output_text(text, annotations, skipped, content.item());
                        }
                    });
                }
                Item::Thought { text, signature, summary } => {
                    item.array("summary", |list| shown(list, "summary_text", text, summary));
                    if !summary {
                        item.array("content", |list| shown(list, "reasoning_text", text, true));
                    }
                    if !signature.is_empty() {
                        item.string("encrypted_content", &seal::thought(text, signature));
                    }
                    item.string("status", status.as_str());
                }
                Item::Redacted { content } => {
                    item.raw("summary", "[]");
                    item.string("encrypted_content", &seal::redacted(content));
                    item.string("status", status.as_str());
                }
                Item::Call { id, name, arguments } => {
                    item.string("status", status.as_str());
                    item.text("call_id", &Text::from_escaped(id));
                    item.text("name", &Text::from_escaped(name));
                    item.text("arguments", &Text::from_escaped(arguments));
                }
                Item::Custom { id, name, input } => {
                    item.string("status", status.as_str());
                    item.text("call_id", &Text::from_escaped(id));
                    item.text("name", &Text::from_escaped(name));
                    item.text("input", &Text::from_escaped(input));
                }
            }
        });
    }
}

fn shown(list: &mut Array<'_>, kind: &str, text: &str, is_wanted: bool) {
    if is_wanted && !text.is_empty() {
        text_part(kind, text, list.item());
    }
}

/// Appends `{"type":"reasoning_text","text":"…"}`. The text is in escaped form, as all that follows.
pub(super) fn text_part(kind: &str, text: &str, out: &mut Vec<u8>) {
    Object::write(out, |part| {
        part.string("type", kind);
        part.text("text", &Text::from_escaped(text));
    });
}

/// Appends `{"type":"output_text","text":"…","annotations":[],"logprobs":[]}`. `skipped` is how many characters of the answer's text stand in items before.
pub(super) fn output_text(text: &str, annotations: &[Citation<'_>], skipped: usize, out: &mut Vec<u8>) {
    Object::write(out, |part| {
        part.string("type", "output_text");
        part.text("text", &Text::from_escaped(text));
        part.array("annotations", |list| {
            for citation in annotations {
                list.object(|item| {
                    item.string("type", "url_citation");
                    item.number("start_index", citation.span.start.saturating_sub(skipped) as u64);
                    item.number("end_index", citation.span.end.saturating_sub(skipped) as u64);
                    item.text("url", &citation.url);
                    // A page without a title goes by its URL: the API wants one.
                    item.text("title", citation.title.as_ref().unwrap_or(&citation.url));
                });
            }
        });
        part.raw("logprobs", "[]");
    });
}

/// The input of a custom tool in the arguments of the function that stands for it; both in escaped form. Arguments of another form are an input of their own.
pub(super) fn custom_input(arguments: &str) -> String {
    let json = Text::from_escaped(arguments);
    let json = json.unescape();
    let input = pick(&json, [INPUT]).ok().and_then(|[input]| input?.text());
    match input {
        Some(input) => input.escaped().to_owned(),
        None => arguments.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_a_custom_tool_is_found_in_the_arguments() {
        for (arguments, input) in
            [(r#"{"input":"a\n\"b\" é"}"#, "a\n\"b\" é"), (r#"{ "input" : "" }"#, ""), (r#"{"input":1}"#, r#"{"input":1}"#), ("plain", "plain"), ("", "")]
        {
            let found = custom_input(Text::from_plain(arguments).escaped());
            assert_eq!(Text::from_escaped(found).unescape(), input, "{arguments}");
        }
    }
}
