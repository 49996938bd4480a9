//! Puts the blocks of an answer one after the other: the API numbers them 0, 1, 2… without gaps, and has one open at a time.

use std::collections::VecDeque;

use super::arguments::Arguments;
use crate::wire::json::{Object, Text, write_string, write_u64};
use crate::wire::sse;

/// Opens, fills and closes blocks. Upstreams number theirs as they like, and not all say where one begins and ends.
///
/// ```text
///           begins                 ends, or another one begins
///  Nothing ────────▶ Text, Thought ─────────────────────────────▶ Nothing
///     │                                                              ▲
///     │     begins            ends, or another one begins            │
///     └──────────────▶ Tool ──────────────────────────────────▶ next that waits, or
///                      │  ▲   behind complete arguments
///                      └──┘ another one begins before: it waits
/// ```
///
/// Only a tool keeps others waiting: its arguments are worthless in pieces, while text and thoughts can go on in a new block.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// How many blocks were closed: the index of the next one, or of the open one.
    closed: u64,
    open: Option<Open>,
    /// Blocks that wait. There are none unless a tool is open.
    waiting: VecDeque<Waiting>,
    /// The upstream's number of the last thought that was closed: a seal that comes later has nowhere to go.
    thought: Option<u32>,
    tools: bool,
}

/// The block that is open, by the upstream's number.
#[derive(Debug)]
enum Open {
    Text(u32),
    /// With its seal, which is written once and whole: clients replace what they have of it.
    Thought(u32, String),
    Tool(u32, Arguments),
}

/// A block that waits, with all that came for it; texts in escaped form.
#[derive(Debug)]
enum Waiting {
    Text { block: u32, text: String },
    Thought { block: u32, text: String, signature: String },
    Redacted { content: String },
    Tool { block: u32, id: String, name: String, arguments: String, ended: bool },
}

impl Blocks {
    /// Whether the answer uses tools.
    pub(super) fn has_tools(&self) -> bool {
        self.tools
    }

    pub(super) fn text(&mut self, block: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Text(open)) if open == block) {
            if !self.make_room(out) {
                match self.waiting.back_mut() {
                    Some(Waiting::Text { block: last, text: kept }) if *last == block => kept.push_str(text.escaped()),
                    _ => self.waiting.push_back(Waiting::Text { block, text: text.escaped().to_owned() }),
                }
                return;
            }
            self.begin_text(block, out);
        }
        self.delta("text_delta", "text", text.escaped(), out);
    }

    pub(super) fn thought(&mut self, block: u32, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Thought(open, _)) if open == block) {
            if !self.make_room(out) {
                match self.waiting.back_mut() {
                    Some(Waiting::Thought { block: last, text: kept, .. }) if *last == block => kept.push_str(text.escaped()),
                    _ => self.waiting.push_back(Waiting::Thought { block, text: text.escaped().to_owned(), signature: String::new() }),
                }
                return;
            }
            self.begin_thought(block, out);
        }
        self.delta("thinking_delta", "thinking", text.escaped(), out);
    }

    /// More of the seal of a thought, which may have nothing to read.
    pub(super) fn seal(&mut self, block: u32, signature: &Text<'_>, out: &mut Vec<u8>) {
        if signature.is_empty() {
            return;
        }
        let signature = signature.escaped();
        if let Some(Open::Thought(open, kept)) = &mut self.open
            && *open == block
        {
            return kept.push_str(signature);
        }
        if let Some(Waiting::Thought { block: last, signature: kept, .. }) = self.waiting.back_mut()
            && *last == block
        {
            return kept.push_str(signature);
        }
        if self.thought == Some(block) {
            return;
        }
        if self.make_room(out) {
            self.begin_thought(block, out);
            self.open = Some(Open::Thought(block, signature.to_owned()));
        } else {
            self.waiting.push_back(Waiting::Thought { block, text: String::new(), signature: signature.to_owned() });
        }
    }

    pub(super) fn redacted(&mut self, content: &Text<'_>, out: &mut Vec<u8>) {
        if content.is_empty() {
            return;
        }
        if self.make_room(out) {
            self.write_redacted(content, out);
        } else {
            self.waiting.push_back(Waiting::Redacted { content: content.escaped().to_owned() });
        }
    }

    pub(super) fn tool(&mut self, block: u32, id: &Text<'_>, name: &Text<'_>, out: &mut Vec<u8>) {
        self.tools = true;
        if self.make_room(out) {
            self.begin_tool(block, id, name, out);
        } else {
            let (id, name) = (id.escaped().to_owned(), name.escaped().to_owned());
            self.waiting.push_back(Waiting::Tool { block, id, name, arguments: String::new(), ended: false });
        }
    }

    /// More arguments of a tool. Those of one that never began, or is closed, go nowhere.
    pub(super) fn arguments(&mut self, block: u32, fragment: &Text<'_>, out: &mut Vec<u8>) {
        if fragment.is_empty() {
            return;
        }
        if let Some((arguments, _)) = self.waiting_tool(block) {
            arguments.push_str(fragment.escaped());
            return;
        }
        if self.write_arguments(block, fragment.escaped(), out) && !self.waiting.is_empty() {
            self.close(out);
            self.admit(out);
        }
    }

    /// Writes arguments of the open tool, if it is this one; tells whether they are complete.
    fn write_arguments(&mut self, block: u32, fragment: &str, out: &mut Vec<u8>) -> bool {
        let Some(Open::Tool(open, arguments)) = &mut self.open else { return false };
        if *open != block || fragment.is_empty() {
            return false;
        }
        arguments.push(fragment);
        let complete = arguments.is_complete();
        self.delta("input_json_delta", "partial_json", fragment, out);
        complete
    }

    /// The upstream says that a block has ended.
    pub(super) fn stop(&mut self, block: u32, out: &mut Vec<u8>) {
        if let Some((_, ended)) = self.waiting_tool(block) {
            *ended = true;
            return;
        }
        if let Some(Open::Text(open) | Open::Thought(open, _) | Open::Tool(open, _)) = self.open
            && open == block
        {
            self.close(out);
            self.admit(out);
        }
    }

    /// The answer has ended, and with it all that is open or waits.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        while let Some(next) = self.waiting.pop_front() {
            self.begin(next, out);
            self.close(out);
        }
    }

    /// The arguments of the last tool of this number that waits, and whether it has ended.
    fn waiting_tool(&mut self, wanted: u32) -> Option<(&mut String, &mut bool)> {
        self.waiting.iter_mut().rev().find_map(|waiting| match waiting {
            Waiting::Tool { block, arguments, ended, .. } if *block == wanted => Some((arguments, ended)),
            _ => None,
        })
    }

    /// Closes what is open, so that another block can begin; says no when it cannot be closed yet.
    fn make_room(&mut self, out: &mut Vec<u8>) -> bool {
        if matches!(&self.open, Some(Open::Tool(_, arguments)) if !arguments.is_complete()) {
            return false;
        }
        self.close(out);
        true
    }

    /// Lets in what waited, up to the next tool that is not complete. The last one stays open: more may come for it.
    fn admit(&mut self, out: &mut Vec<u8>) {
        while let Some(next) = self.waiting.pop_front() {
            let ended = matches!(next, Waiting::Tool { ended: true, .. });
            self.begin(next, out);
            if ended {
                self.close(out);
            }
            if !self.waiting.is_empty() && !self.make_room(out) {
                return;
            }
        }
    }

    fn begin(&mut self, waiting: Waiting, out: &mut Vec<u8>) {
        match waiting {
            Waiting::Text { block, text } => {
                self.begin_text(block, out);
                self.delta("text_delta", "text", &text, out);
            }
            Waiting::Thought { block, text, signature } => {
                self.begin_thought(block, out);
                if !text.is_empty() {
                    self.delta("thinking_delta", "thinking", &text, out);
                }
                self.open = Some(Open::Thought(block, signature));
            }
            Waiting::Redacted { content } => self.write_redacted(&Text::from_escaped(content), out),
            Waiting::Tool { block, id, name, arguments, .. } => {
                self.begin_tool(block, &Text::from_escaped(id), &Text::from_escaped(name), out);
                self.write_arguments(block, &arguments, out);
            }
        }
    }

    fn begin_text(&mut self, block: u32, out: &mut Vec<u8>) {
        self.open = Some(Open::Text(block));
        self.start(out, |block| {
            block.string("type", "text");
            block.string("text", "");
        });
    }

    fn begin_thought(&mut self, block: u32, out: &mut Vec<u8>) {
        self.open = Some(Open::Thought(block, String::new()));
        self.start(out, |block| {
            block.string("type", "thinking");
            block.string("thinking", "");
            block.string("signature", "");
        });
    }

    fn begin_tool(&mut self, block: u32, id: &Text<'_>, name: &Text<'_>, out: &mut Vec<u8>) {
        self.open = Some(Open::Tool(block, Arguments::default()));
        self.start(out, |block| {
            block.string("type", "tool_use");
            block.text("id", id);
            block.text("name", name);
            block.raw("input", "{}");
        });
    }

    /// Writes a whole block: what is encrypted comes at once.
    fn write_redacted(&mut self, content: &Text<'_>, out: &mut Vec<u8>) {
        self.start(out, |block| {
            block.string("type", "redacted_thinking");
            block.text("data", content);
        });
        self.end(out);
    }

    /// Closes the open block, if there is one.
    fn close(&mut self, out: &mut Vec<u8>) {
        match self.open.take() {
            None => return,
            Some(Open::Text(_)) => {}
            Some(Open::Thought(block, signature)) => {
                self.thought = Some(block);
                if !signature.is_empty() {
                    self.delta("signature_delta", "signature", &signature, out);
                }
            }
            // Some clients parse what they get, so a tool without arguments gets an empty object.
            Some(Open::Tool(_, arguments)) if arguments.is_empty() => self.delta("input_json_delta", "partial_json", "{}", out),
            Some(Open::Tool(..)) => {}
        }
        self.end(out);
    }

    fn start(&self, out: &mut Vec<u8>, members: impl FnOnce(&mut Object<'_>)) {
        sse::write_event(out, "content_block_start", |out| {
            Object::write(out, |event| {
                event.string("type", "content_block_start");
                event.number("index", self.closed);
                event.object("content_block", members);
            });
        });
    }

    /// `text` is in escaped form.
    fn delta(&self, kind: &str, member: &str, text: &str, out: &mut Vec<u8>) {
        sse::write_event(out, "content_block_delta", |out| {
            out.extend_from_slice(br#"{"type":"content_block_delta","index":"#);
            write_u64(out, self.closed);
            out.extend_from_slice(br#","delta":{"type":"#);
            write_string(out, kind);
            out.push(b',');
            write_string(out, member);
            out.extend_from_slice(b":\"");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\"}}");
        });
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        sse::write_event(out, "content_block_stop", |out| {
            out.extend_from_slice(br#"{"type":"content_block_stop","index":"#);
            write_u64(out, self.closed);
            out.push(b'}');
        });
        self.closed += 1;
    }
}
