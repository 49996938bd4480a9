//! The arranging itself: one pass over the messages, part by part.

use std::borrow::Cow;

use super::{BILLING_HEADER, Block, Content, Conversation, FAILED, Form, Mark, NO_RESULT, Place, STRAY_RESULT, Speaker, Turn};
use crate::chat::capability::{Capabilities, LateSystem};
use crate::chat::names::{CallIds, ToolNames};
use crate::chat::pairs::{Pairs, pair};
use crate::chat::{ApiError, CachePoint, Ledger, Message, Part, Role, ToolResult, ToolUse};
use crate::wire::json::{Kind, Raw, Text};

/// Stands in a result whose pictures had to move out of it.
const MEDIA_FOLLOWS: &str = "The result is in the attachments of this message.";

/// A conversation in the making.
pub(super) struct Planner<'r, 'p, F: Form<'r>> {
    takes: &'p Capabilities,
    names: &'p ToolNames<'p>,
    form: F,
    ledger: &'p mut Ledger,
    ids: CallIds,
    pairs: Pairs<'r>,
    /// Index of the next call and the next result to come.
    next_call: usize,
    next_result: usize,
    /// Calls of the assistant turn that stands last, whose results are still to be written, and their ids on the wire.
    unanswered: Vec<(usize, Cow<'r, str>)>,
    conversation: Conversation<'r, F::Media>,
    /// Pictures and files that had to leave the results of the turn at hand.
    late: Vec<Block<'r, F::Media>>,
    /// The part at hand.
    at: Place,
}

impl<'r, 'p, F: Form<'r>> Planner<'r, 'p, F> {
    pub(super) fn new(messages: &'r [Message<'_>], takes: &'p Capabilities, names: &'p ToolNames<'p>, form: F, ledger: &'p mut Ledger) -> Self {
        let pairs = if takes.tools { pair(messages) } else { Pairs::default() };
        Planner {
            takes,
            names,
            form,
            ledger,
            ids: F::call_ids(pairs.calls.iter().map(|call| call.made.id.unescape())),
            pairs,
            next_call: 0,
            next_result: 0,
            unanswered: Vec::new(),
            conversation: Conversation { system: Vec::new(), turns: Vec::new(), size: 0 },
            late: Vec::new(),
            at: Place::default(),
        }
    }

    pub(super) fn run(mut self, messages: &'r [Message<'_>]) -> Result<Conversation<'r, F::Media>, ApiError> {
        for (at, message) in messages.iter().enumerate() {
            self.at = Place { message: at, part: 0 };
            for part in &message.parts {
                match message.role {
                    Role::System => self.system(part)?,
                    Role::Assistant => self.assistant(part)?,
                    Role::User | Role::Tool => self.user(part)?,
                }
                self.at.pass(part);
            }
        }
        if !self.unanswered.is_empty() {
            self.user_turn()?;
        }
        self.close_turn();
        self.conversation.turns.retain(|turn| !turn.blocks.is_empty());
        Ok(self.conversation)
    }

    fn system(&mut self, part: &'r Part<'_>) -> Result<(), ApiError> {
        match part {
            Part::Text(text) if text.is_blank() => Ok(()),
            Part::Text(text) if !self.form.reads_billing() && text.escaped().trim_start().starts_with(BILLING_HEADER) => {
                self.ledger.note(BILLING_HEADER);
                Ok(())
            }
            Part::Text(text) => {
                let content = Content::Text(Cow::Borrowed(text.escaped()));
                if self.takes.late_system == LateSystem::InPlace && !self.conversation.turns.is_empty() {
                    return self.push_user(content);
                }
                self.conversation.size += content.size(F::size);
                self.conversation.system.push(content.into());
                Ok(())
            }
            Part::CachePoint(point) => {
                let mark = Mark::of(point, self.takes.cache, self.ledger);
                let last = self.conversation.system.last_mut();
                put_mark::<F>(last, mark, self.ledger);
                Ok(())
            }
            _ => self.at.refuse("a system message holds text only"),
        }
    }

    fn assistant(&mut self, part: &'r Part<'_>) -> Result<(), ApiError> {
        let content = match part {
            Part::Text(text) if text.is_blank() => return Ok(()),
            Part::Text(text) => Content::Text(Cow::Borrowed(text.escaped())),
            Part::Json(raw) => Content::Text(Text::from_plain(raw.as_str()).into_escaped()),
            Part::ToolUse(made) => self.tool_use(made),
            Part::Reasoning(thought) if self.takes.signed_reasoning && thought.signature.as_ref().is_some_and(|seal| !seal.is_empty()) => {
                Content::Thought(thought)
            }
            Part::RedactedReasoning(content) if self.takes.signed_reasoning => Content::Redacted(content),
            Part::Reasoning(_) | Part::RedactedReasoning(_) => {
                self.ledger.note("reasoning_content");
                return Ok(());
            }
            Part::CachePoint(point) => {
                self.mark(point, Speaker::Assistant);
                return Ok(());
            }
            Part::Image(_) | Part::Document(_) | Part::Audio(_) | Part::SearchResult(_) => {
                return self.at.refuse("an assistant message cannot hold images, files or audio");
            }
            Part::ToolResult(_) => return self.at.refuse("an assistant message cannot hold tool results"),
        };
        self.conversation.size += content.size(F::size);
        self.turn(Speaker::Assistant).blocks.push(content.into());
        Ok(())
    }

    fn tool_use(&mut self, made: &'r ToolUse<'_>) -> Content<'r, F::Media> {
        let input = Raw::parse(&made.input).ok().filter(|raw| raw.kind() == Kind::Object).map_or("{}", Raw::as_str);
        let name = self.names.wire(&made.name);
        if !self.takes.tools {
            return Content::Text(Text::from_plain(format!("Tool call: {name} {input}")).into_escaped());
        }
        let call = self.next_call;
        self.next_call += 1;
        let again = self.pairs.calls.get(call).is_some_and(|call| call.again);
        let id = self.ids.wire(made.id.unescape(), again);
        self.unanswered.push((call, id.clone()));
        Content::ToolUse { id, name, input }
    }

    fn user(&mut self, part: &'r Part<'_>) -> Result<(), ApiError> {
        match part {
            Part::ToolResult(result) => self.tool_result(result),
            Part::CachePoint(point) => {
                self.mark(point, Speaker::User);
                Ok(())
            }
            Part::ToolUse(_) => self.at.refuse("only an assistant message can hold tool calls"),
            Part::Reasoning(_) | Part::RedactedReasoning(_) => self.at.refuse("only an assistant message can hold reasoning"),
            part => match self.content(part, self.at)? {
                Some(content) => self.push_user(content),
                None => Ok(()),
            },
        }
    }

    /// A part that may stand in a user's turn and in a tool result alike. A blank text is nothing.
    fn content(&mut self, part: &'r Part<'_>, at: Place) -> Result<Option<Content<'r, F::Media>>, ApiError> {
        let content = match part {
            Part::Text(text) if text.is_blank() => return Ok(None),
            Part::Text(text) => Content::Text(Cow::Borrowed(text.escaped())),
            Part::Json(raw) => Content::Text(Text::from_plain(raw.as_str()).into_escaped()),
            Part::Image(image) => Content::Media(self.form.picture(image, at)?),
            Part::Document(document) => Content::Media(self.form.file(document, at, self.ledger)?),
            Part::Audio(audio) => Content::Media(self.form.sound(audio, at)?),
            Part::SearchResult(found) => self.form.search(found, at)?,
            Part::ToolUse(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::RedactedReasoning(_) | Part::CachePoint(_) => return Ok(None),
        };
        Ok(Some(content))
    }

    /// A result where it stands in the conversation: most have their place in the turn behind their call already.
    fn tool_result(&mut self, result: &'r ToolResult<'_>) -> Result<(), ApiError> {
        let answers = self.pairs.answers.get(self.next_result).copied().flatten();
        self.next_result += 1;
        match answers {
            // Calls are counted in order: what is not before the first open one is open.
            Some(call) if self.unanswered.first().is_some_and(|(first, _)| call >= *first) => self.user_turn().map(drop),
            Some(_) => Ok(()),
            None => self.stray_result(result),
        }
    }

    /// A result that no call asked for: its content as the user's own.
    fn stray_result(&mut self, result: &'r ToolResult<'_>) -> Result<(), ApiError> {
        self.push_user(Content::Text(Cow::Borrowed(STRAY_RESULT)))?;
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

    fn push_user(&mut self, content: Content<'r, F::Media>) -> Result<(), ApiError> {
        self.conversation.size += content.size(F::size);
        self.user_turn()?.blocks.push(content.into());
        Ok(())
    }

    /// The user turn that stands last, or a new one. A new one begins with the results of all calls of the turn before it, and what had to leave them.
    fn user_turn(&mut self) -> Result<&mut Turn<'r, F::Media>, ApiError> {
        if self.conversation.turns.last().is_none_or(|last| last.speaker == Speaker::Assistant) {
            let mut blocks = Vec::with_capacity(self.unanswered.len() + 1);
            for (call, id) in std::mem::take(&mut self.unanswered) {
                let result = self.pairs.calls.get(call).and_then(|call| call.result);
                blocks.push(self.answer(id, result)?);
            }
            blocks.append(&mut self.late);
            self.conversation.size += blocks.iter().map(|block| block.content.size(F::size)).sum::<usize>();
            self.turn(Speaker::User).blocks = blocks;
        }
        Ok(self.turn(Speaker::User))
    }

    /// The result block of a call.
    fn answer(&mut self, id: Cow<'r, str>, result: Option<(&'r ToolResult<'r>, usize)>) -> Result<Block<'r, F::Media>, ApiError> {
        let tells_failure = self.form.tells_failure();
        let Some((result, message)) = result else {
            let items = vec![Content::Text(Cow::Borrowed(NO_RESULT))];
            return Ok(Content::ToolResult { id, items, failed: tells_failure.then_some(true) }.into());
        };
        let mut items = Vec::with_capacity(result.parts.len());
        let mut at = Place { message, part: 0 };
        let mut mark = None;
        let moved = self.late.len();
        if result.is_error == Some(true) && !tells_failure {
            items.push(Content::Text(Cow::Borrowed(FAILED)));
        }
        for part in &result.parts {
            match part {
                Part::CachePoint(point) => mark = Mark::of(point, self.takes.cache, self.ledger).or(mark),
                Part::ToolUse(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::RedactedReasoning(_) => {
                    return at.refuse("a tool result holds text, JSON, images, files and search results only");
                }
                part => self.item(part, at, &mut items)?,
            }
            at.pass(part);
        }
        if items.is_empty() && self.late.len() > moved {
            items.push(Content::Text(Cow::Borrowed(MEDIA_FOLLOWS)));
        }
        let failed = result.is_error.filter(|_| tells_failure);
        Ok(Block { content: Content::ToolResult { id, items, failed }, mark })
    }

    /// A piece of a result, or what has to stand behind it.
    fn item(&mut self, part: &'r Part<'_>, at: Place, items: &mut Vec<Content<'r, F::Media>>) -> Result<(), ApiError> {
        if let Part::Json(raw) = part
            && let Some(media) = self.form.json(*raw)
        {
            items.push(Content::Media(media));
            return Ok(());
        }
        match self.content(part, at)? {
            Some(Content::Media(media)) if !self.form.fits_result(&media) => self.late.push(Content::Media(media).into()),
            content => items.extend(content),
        }
        Ok(())
    }

    /// The last turn, if this speaker has it, or a new one.
    fn turn(&mut self, speaker: Speaker) -> &mut Turn<'r, F::Media> {
        if self.conversation.turns.last().is_none_or(|last| last.speaker != speaker) {
            self.close_turn();
            self.conversation.turns.push(Turn { speaker, blocks: Vec::new() });
        }
        let last = self.conversation.turns.len() - 1;
        &mut self.conversation.turns[last]
    }

    /// Puts the blocks of a finished assistant turn in order.
    fn close_turn(&mut self) {
        if let Some(last) = self.conversation.turns.last_mut()
            && last.speaker == Speaker::Assistant
            && !last.blocks.is_sorted_by_key(|block| block.content.rank())
        {
            last.blocks.sort_by_key(|block| block.content.rank());
        }
    }

    /// Puts a cache marker on the block that stands last.
    fn mark(&mut self, point: &CachePoint<'_>, speaker: Speaker) {
        let mark = Mark::of(point, self.takes.cache, self.ledger);
        let last = self.conversation.turns.last_mut().filter(|turn| turn.speaker == speaker).and_then(|turn| turn.blocks.last_mut());
        put_mark::<F>(last, mark, self.ledger);
    }
}

/// Marks a block. Thoughts cannot carry a marker, and nothing cannot either.
fn put_mark<'r, F: Form<'r>>(block: Option<&mut Block<'r, F::Media>>, mark: Option<Mark>, ledger: &mut Ledger) {
    match block.filter(|block| block.content.rank() != 0) {
        Some(block) => block.mark = mark.or(block.mark),
        None if F::TELLS_LOST_MARKS => ledger.note("cache_control"),
        None => {}
    }
}
