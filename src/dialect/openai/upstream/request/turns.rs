//! From messages to the messages of this API: instructions stay where they stand, neighbours of one role are merged, and every tool call has its result right
//! behind it.
//!
//! ```text
//! messages   system · user · assistant(call A, call B) · user(result B, result A with a picture, text)
//! written    system · user · assistant(call A, call B) · tool A · tool B · user(picture, text)
//! ```
//!
//! What does not fit is made to fit in the way that loses least: a result that nobody asked for becomes text, a call that nobody answered gets a result that
//! says so, pictures leave the results, which hold text only.

use std::borrow::Cow;

use crate::chat::names::ToolNames;
use crate::chat::pairs::{Pairs, pair};
use crate::chat::turns::{BILLING_HEADER, FAILED, NO_RESULT, Place, STRAY_RESULT};
use crate::chat::{ApiError, Ledger, Message, Part, Role, ToolResult, ToolUse};
use crate::wire::json::{Array, Kind, Object, Raw, Text, write_string};

use super::media::{self, Piece};

/// Stands in a result whose pictures had to move out of it.
const MEDIA_FOLLOWS: &str = "The result is in the attachments of the next message.";
/// Stands before the pictures that moved.
const MEDIA_OF: &str = "Attachments of the result of tool call";
/// The same, where the result says nothing.
const FAILED_SILENTLY: &str = "The tool call failed.";

/// The conversation, ready to be written.
#[derive(Debug, Default)]
pub(super) struct Conversation<'r> {
    turns: Vec<Turn<'r>>,
    /// About how many bytes it takes.
    size: usize,
}

/// One message of the API. Texts, ids and names are in escaped form.
#[derive(Debug)]
enum Turn<'r> {
    System(Vec<Piece<'r>>),
    User(Vec<Piece<'r>>),
    Assistant(Spoken<'r>),
    Tool { id: Cow<'r, str>, texts: Vec<Piece<'r>> },
}

/// What the assistant says and calls.
#[derive(Debug, Default)]
struct Spoken<'r> {
    texts: Vec<Cow<'r, str>>,
    calls: Vec<Made<'r>>,
}

/// A call that was made.
#[derive(Debug)]
struct Made<'r> {
    /// Its place among the calls of the request.
    number: usize,
    id: Cow<'r, str>,
    name: Cow<'r, str>,
    /// A JSON object.
    input: &'r str,
}

impl<'r> Conversation<'r> {
    /// Arranges messages.
    ///
    /// # Errors
    /// 400 naming the message, for parts that cannot stand where they are or that the API has no form for.
    pub(super) fn plan(messages: &'r [Message<'_>], names: &ToolNames<'_>, ledger: &mut Ledger) -> Result<Self, ApiError> {
        let mut planner = Planner {
            names,
            ledger,
            pairs: pair(messages),
            next_call: 0,
            next_result: 0,
            speaking: None,
            conversation: Conversation::default(),
            at: Place::default(),
        };
        for (at, message) in messages.iter().enumerate() {
            planner.at = Place { message: at, part: 0 };
            for part in &message.parts {
                match message.role {
                    Role::System => planner.system(part)?,
                    Role::Assistant => planner.assistant(part)?,
                    Role::User | Role::Tool => planner.user(part)?,
                }
                planner.at.pass(part);
            }
        }
        planner.answer_calls()?;
        if planner.conversation.turns.is_empty() {
            return Err(ApiError::invalid("messages", "messages must not be empty"));
        }
        Ok(planner.conversation)
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Writes the messages.
    pub(super) fn write(&self, messages: &mut Array<'_>) {
        for turn in &self.turns {
            messages.object(|message| turn.write(message));
        }
    }
}

impl Turn<'_> {
    fn write(&self, message: &mut Object<'_>) {
        match self {
            Turn::System(pieces) => {
                message.string("role", "system");
                write_content(message, pieces);
            }
            Turn::User(pieces) => {
                message.string("role", "user");
                write_content(message, pieces);
            }
            Turn::Assistant(Spoken { texts, calls }) => {
                message.string("role", "assistant");
                if texts.is_empty() {
                    message.raw("content", "null");
                } else {
                    write_joined(message, texts.iter().map(Cow::as_ref));
                }
                if !calls.is_empty() {
                    message.array("tool_calls", |list| calls.iter().for_each(|call| list.object(|item| call.write(item))));
                }
            }
            Turn::Tool { id, texts } => {
                message.string("role", "tool");
                message.text("tool_call_id", &Text::from_escaped(id.as_ref()));
                write_content(message, texts);
            }
        }
    }
}

impl Made<'_> {
    fn write(&self, item: &mut Object<'_>) {
        item.text("id", &Text::from_escaped(self.id.as_ref()));
        item.string("type", "function");
        item.object("function", |function| {
            function.string("name", &self.name);
            write_string(function.key("arguments"), self.input);
        });
    }
}

/// One text is a plain string, which every server reads; what is more is a list of parts.
fn write_content(message: &mut Object<'_>, pieces: &[Piece<'_>]) {
    match pieces {
        [] => message.string("content", ""),
        [Piece::Text(text)] => write_joined(message, std::iter::once(text.as_ref())),
        pieces => message.array("content", |parts| pieces.iter().for_each(|piece| parts.object(|part| piece.write(part)))),
    }
}

/// `content` of texts in escaped form, with nothing between them.
fn write_joined<'t>(message: &mut Object<'_>, texts: impl Iterator<Item = &'t str>) {
    let out = message.key("content");
    out.push(b'"');
    texts.for_each(|text| out.extend_from_slice(text.as_bytes()));
    out.push(b'"');
}

struct Planner<'r, 'p> {
    names: &'p ToolNames<'p>,
    ledger: &'p mut Ledger,
    pairs: Pairs<'r>,
    /// Index of the next call and the next result to come.
    next_call: usize,
    next_result: usize,
    /// The assistant's message at hand, behind all turns.
    speaking: Option<Spoken<'r>>,
    conversation: Conversation<'r>,
    /// The part at hand.
    at: Place,
}

impl<'r> Planner<'r, '_> {
    fn system(&mut self, part: &'r Part<'_>) -> Result<(), ApiError> {
        let piece = match part {
            Part::Text(text) if text.is_blank() => return Ok(()),
            Part::Text(text) if text.escaped().trim_start().starts_with(BILLING_HEADER) => {
                self.ledger.note(BILLING_HEADER);
                return Ok(());
            }
            Part::Text(text) => Piece::Text(Cow::Borrowed(text.escaped())),
            Part::Json(raw) => Piece::Text(Text::from_plain(raw.as_str()).into_escaped()),
            Part::SearchResult(found) => media::passage(found),
            Part::CachePoint(_) => {
                self.ledger.note("cache_control");
                return Ok(());
            }
            _ => return self.at.refuse("a system message holds text only"),
        };
        // Nothing may stand between a call and its result.
        self.answer_calls()?;
        self.conversation.size += piece.size();
        match self.conversation.turns.last_mut() {
            Some(Turn::System(pieces)) => pieces.push(piece),
            _ => self.conversation.turns.push(Turn::System(vec![piece])),
        }
        Ok(())
    }

    fn assistant(&mut self, part: &'r Part<'_>) -> Result<(), ApiError> {
        let text = match part {
            Part::Text(text) if text.is_blank() => return Ok(()),
            Part::Text(text) => Cow::Borrowed(text.escaped()),
            Part::Json(raw) => Text::from_plain(raw.as_str()).into_escaped(),
            Part::ToolUse(made) => {
                self.tool_use(made);
                return Ok(());
            }
            Part::Reasoning(_) | Part::RedactedReasoning(_) => {
                self.ledger.note("thinking");
                return Ok(());
            }
            Part::CachePoint(_) => {
                self.ledger.note("cache_control");
                return Ok(());
            }
            Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::SearchResult(_) => {
                return self.at.refuse("an assistant message cannot hold images, files or audio");
            }
            Part::ToolResult(_) => return self.at.refuse("an assistant message cannot hold tool results"),
        };
        self.conversation.size += text.len() + 48;
        self.speaking.get_or_insert_default().texts.push(text);
        Ok(())
    }

    fn tool_use(&mut self, made: &'r ToolUse<'_>) {
        let input = Raw::parse(&made.input).ok().filter(|raw| raw.kind() == Kind::Object).map_or("{}", Raw::as_str);
        let name = self.names.wire(&made.name);
        let call = self.next_call;
        self.next_call += 1;
        let id = if made.id.is_empty() { Cow::Owned(format!("call_{call}")) } else { Cow::Borrowed(made.id.escaped()) };
        self.conversation.size += input.len() + input.len() / 8 + id.len() * 2 + name.len() + 128;
        self.speaking.get_or_insert_default().calls.push(Made { number: call, id, name, input });
    }

    fn user(&mut self, part: &'r Part<'_>) -> Result<(), ApiError> {
        match part {
            Part::Text(text) if text.is_blank() => Ok(()),
            Part::Text(text) => self.push_user(Piece::Text(Cow::Borrowed(text.escaped()))),
            Part::Json(raw) => self.push_user(Piece::Text(Text::from_plain(raw.as_str()).into_escaped())),
            Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::SearchResult(_) => {
                let mut pieces = Vec::new();
                self.media(part, self.at, &mut pieces)?;
                pieces.into_iter().try_for_each(|piece| self.push_user(piece))
            }
            Part::ToolResult(result) => self.tool_result(result),
            Part::CachePoint(_) => {
                self.ledger.note("cache_control");
                Ok(())
            }
            Part::ToolUse(_) => self.at.refuse("only an assistant message can hold tool calls"),
            Part::Reasoning(_) | Part::RedactedReasoning(_) => self.at.refuse("only an assistant message can hold reasoning"),
        }
    }

    /// A result where it stands in the conversation: it belongs right behind its call, unless there is none.
    fn tool_result(&mut self, result: &'r ToolResult<'_>) -> Result<(), ApiError> {
        let answers = self.pairs.answers.get(self.next_result).copied().flatten();
        self.next_result += 1;
        if answers.is_some() {
            return self.answer_calls();
        }
        self.push_user(Piece::Text(Cow::Borrowed(STRAY_RESULT)))?;
        self.at.part = 0;
        for part in &result.parts {
            match part {
                Part::ToolResult(_) => self.at.refuse("a tool result cannot hold tool results")?,
                part => self.user(part)?,
            }
            self.at.pass(part);
        }
        Ok(())
    }

    /// Reads a picture, a file, sound or a passage.
    fn media(&mut self, part: &'r Part<'_>, at: Place, out: &mut Vec<Piece<'r>>) -> Result<(), ApiError> {
        let param = || at.path();
        let citations = match part {
            Part::Image(image) => {
                out.push(media::picture(image, param)?);
                None
            }
            Part::Audio(audio) => {
                out.push(media::sound(audio, param)?);
                None
            }
            Part::Document(document) => {
                media::file(document, param, out)?;
                document.citations
            }
            Part::SearchResult(found) => {
                out.push(media::passage(found));
                found.citations
            }
            _ => None,
        };
        if citations == Some(true) {
            self.ledger.note("citations");
        }
        Ok(())
    }

    fn push_user(&mut self, piece: Piece<'r>) -> Result<(), ApiError> {
        self.answer_calls()?;
        self.conversation.size += piece.size();
        match self.conversation.turns.last_mut() {
            Some(Turn::User(pieces)) => pieces.push(piece),
            _ => self.conversation.turns.push(Turn::User(vec![piece])),
        }
        Ok(())
    }

    /// Ends the assistant's message at hand: it becomes a turn, and the results of its calls come right behind it, in the order of the calls. What cannot stand
    /// in a result follows as the user's.
    fn answer_calls(&mut self) -> Result<(), ApiError> {
        let Some(spoken) = self.speaking.take() else { return Ok(()) };
        let calls: Vec<_> = spoken.calls.iter().map(|call| (call.number, call.id.clone())).collect();
        self.conversation.turns.push(Turn::Assistant(spoken));
        let mut late = Vec::new();
        for (number, id) in calls {
            let result = self.pairs.calls.get(number).and_then(|call| call.result);
            let texts = match result {
                Some((result, message)) => self.result(result, message, &id, &mut late)?,
                None => vec![Cow::Borrowed(NO_RESULT)],
            };
            self.conversation.size += 96 + texts.iter().map(|text| text.len() + 32).sum::<usize>();
            self.conversation.turns.push(Turn::Tool { id, texts: texts.into_iter().map(Piece::Text).collect() });
        }
        if !late.is_empty() {
            self.conversation.size += 48 + late.iter().map(Piece::size).sum::<usize>();
            self.conversation.turns.push(Turn::User(late));
        }
        Ok(())
    }

    /// The texts of a result. What is no text goes to `late`.
    fn result(&mut self, result: &'r ToolResult<'_>, message: usize, id: &str, late: &mut Vec<Piece<'r>>) -> Result<Vec<Cow<'r, str>>, ApiError> {
        let mut texts: Vec<Cow<'r, str>> = Vec::with_capacity(result.parts.len());
        let (mut media, mut moved) = (Vec::new(), Vec::new());
        let mut at = Place { message, part: 0 };
        for part in &result.parts {
            match part {
                Part::Text(text) if text.is_blank() => {}
                Part::Text(text) => texts.push(Cow::Borrowed(text.escaped())),
                Part::Json(raw) => texts.push(Text::from_plain(raw.as_str()).into_escaped()),
                Part::SearchResult(_) | Part::Document(_) | Part::Image(_) | Part::Audio(_) => self.media(part, at, &mut media)?,
                Part::CachePoint(_) => self.ledger.note("cache_control"),
                Part::ToolUse(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::RedactedReasoning(_) => {
                    return at.refuse("a tool result holds text, JSON, images and files only");
                }
            }
            // Passages and files of plain text are text, here too.
            if media.iter().all(|piece| matches!(piece, Piece::Text(_))) {
                texts.extend(media.drain(..).filter_map(|piece| if let Piece::Text(text) = piece { Some(text) } else { None }));
            }
            moved.append(&mut media);
            at.pass(part);
        }
        if texts.is_empty() && !moved.is_empty() {
            texts.push(Cow::Borrowed(MEDIA_FOLLOWS));
        }
        if !moved.is_empty() {
            late.push(Piece::Text(Cow::Owned(format!("{MEDIA_OF} {id}:"))));
            late.append(&mut moved);
        }
        if result.is_error == Some(true) {
            match texts.first_mut() {
                Some(first) => *first = Cow::Owned(format!("{FAILED} {first}")),
                None => texts.push(Cow::Borrowed(FAILED_SILENTLY)),
            }
        }
        Ok(texts)
    }
}
