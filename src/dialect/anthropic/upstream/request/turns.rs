//! From messages to turns: who speaks alternates, the user begins, and every tool use has its result at the head of the very next turn.
//!
//! ```text
//! messages   system · user · assistant(call A, call B) · tool B · system · tool A · user
//!                │       │            │                     └───────┬──────────┘     │
//! turns      system    user       assistant                       user: result A, result B, text
//! ```
//!
//! What does not fit is made to fit in the way that loses least: neighbours of one role are merged, a result that nobody asked for becomes text, a call that
//! nobody answered gets an error as its result, and where a user turn is needed and there is none, a short one is added.

use std::borrow::Cow;
use std::collections::HashSet;

use super::media::{self, File, Picture};
use crate::chat::capability::{Cache, Capabilities, LateSystem};
use crate::chat::names::{CallIds, ToolNames};
use crate::chat::pairs::{Pairs, pair};
use crate::chat::{ApiError, CachePoint, Ledger, Message, Part, Reasoning, Role, SearchResult, ToolResult, ToolUse};
use crate::wire::json::{Kind, Object, Raw, Text};

/// The user turn that is added where one is needed.
const CONTINUE: &str = "Please continue.";
/// The result of a call that nobody answered.
const NO_RESULT: &str = "No result was given for this tool call.";
/// Stands before a result that no call of the history asked for.
const STRAY_RESULT: &str = "Result of an earlier tool call:";

/// Instructions and turns, ready to be written.
#[derive(Debug, Default)]
pub(super) struct Conversation<'r> {
    pub(super) system: Vec<Block<'r>>,
    pub(super) turns: Vec<Turn<'r>>,
    /// About how many bytes it takes.
    pub(super) size: usize,
}

/// One turn of the conversation.
#[derive(Debug)]
pub(super) struct Turn<'r> {
    pub(super) speaker: Speaker,
    pub(super) blocks: Vec<Block<'r>>,
}

/// The roles of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    User,
    Assistant,
}

/// A content block, and the cache marker on it.
#[derive(Debug)]
pub(super) struct Block<'r> {
    content: Content<'r>,
    pub(super) mark: Option<Mark>,
}

/// A cache marker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// `5m` or `1h`, where the client says so and the family takes it.
    ttl: Option<&'static str>,
}

/// What a block holds. Texts are in escaped form, ids and names need no escape.
#[derive(Debug)]
enum Content<'r> {
    Text(Cow<'r, str>),
    Picture(Picture<'r>),
    File(File<'r>),
    Search(&'r SearchResult<'r>),
    ToolUse { id: Cow<'r, str>, name: Cow<'r, str>, input: &'r str },
    ToolResult { id: Cow<'r, str>, items: Vec<Content<'r>>, failed: Option<bool> },
    Thought(&'r Reasoning<'r>),
    Redacted(&'r Text<'r>),
}

impl<'r> From<Content<'r>> for Block<'r> {
    fn from(content: Content<'r>) -> Self {
        Block { content, mark: None }
    }
}

impl Mark {
    /// The cache marker that a family takes in place of the client's.
    pub(super) fn of(point: &CachePoint<'_>, cache: Cache, ledger: &mut Ledger) -> Option<Self> {
        let wanted = ["5m", "1h"].into_iter().find(|ttl| point.ttl.as_ref().is_some_and(|text| text == ttl));
        match cache {
            Cache::None => {
                ledger.note("cache_control");
                None
            }
            Cache::FiveMinutes => {
                if wanted == Some("1h") {
                    ledger.note("cache_control.ttl");
                }
                Some(Mark { ttl: None })
            }
            Cache::OneHour => Some(Mark { ttl: wanted }),
        }
    }

    /// Adds the member `cache_control`.
    pub(super) fn write(self, object: &mut Object<'_>) {
        object.object("cache_control", |control| {
            control.raw("type", r#""ephemeral""#);
            if let Some(ttl) = self.ttl {
                control.string("ttl", ttl);
            }
        });
    }
}

impl<'r> Conversation<'r> {
    /// Arranges messages into turns.
    ///
    /// # Errors
    /// 400 naming the message, for parts that cannot stand where they are or that the model cannot read.
    pub(super) fn plan(messages: &'r [Message<'_>], takes: &Capabilities, names: &ToolNames<'_>, ledger: &mut Ledger) -> Result<Self, ApiError> {
        let pairs = if takes.tools { pair(messages) } else { Pairs::default() };
        let ids = CallIds::plain(pairs.calls.iter().map(|call| call.made.id.unescape()));
        let mut planner = Planner {
            takes,
            names,
            ledger,
            ids,
            pairs,
            next_call: 0,
            next_result: 0,
            unanswered: Vec::new(),
            conversation: Conversation::default(),
            at: Place::default(),
        };
        for (at, message) in messages.iter().enumerate() {
            planner.at.message = at;
            planner.message(message)?;
        }
        planner.finish()
    }

    /// The names of the tools that were used, on the wire, each once, in order.
    pub(super) fn used_tools(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let names = self.blocks().filter_map(|block| match &block.content {
            Content::ToolUse { name, .. } => Some(name.as_ref()),
            _ => None,
        });
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// Whether the last thing the assistant did was to use tools without saying, in a form the model takes back, what it thought. Claude with a thinking
    /// budget refuses to go on from there.
    pub(super) fn lacks_thought(&self) -> bool {
        let last = self.turns.iter().rev().find(|turn| turn.speaker == Speaker::Assistant);
        last.is_some_and(|turn| {
            turn.blocks.iter().any(|block| matches!(block.content, Content::ToolUse { .. }))
                && turn.blocks.first().is_some_and(|block| block.content.rank() != 0)
        })
    }

    /// Every cache marker, in the order in which the model reads them.
    pub(super) fn marks(&mut self) -> impl Iterator<Item = &mut Option<Mark>> {
        let turns = self.turns.iter_mut().flat_map(|turn| &mut turn.blocks);
        self.system.iter_mut().chain(turns).map(|block| &mut block.mark)
    }

    /// Adds an instruction behind all others.
    pub(super) fn instruct(&mut self, plain: String) {
        self.size += plain.len() * 2;
        self.system.push(Content::Text(Text::from_plain(plain).into_escaped()).into());
    }

    /// Makes the ends fit: the user begins, the assistant ends only where the model goes on from what it said.
    pub(super) fn close(&mut self, prefill: bool) {
        let added = || Turn { speaker: Speaker::User, blocks: vec![Content::Text(Cow::Borrowed(CONTINUE)).into()] };
        if self.turns.first().is_none_or(|first| first.speaker == Speaker::Assistant) {
            self.turns.insert(0, added());
        }
        match self.turns.last_mut() {
            Some(last) if last.speaker == Speaker::Assistant && prefill => trim_end(last),
            Some(last) if last.speaker == Speaker::Assistant => self.turns.push(added()),
            _ => {}
        }
    }

    fn blocks(&self) -> impl Iterator<Item = &Block<'r>> {
        self.turns.iter().flat_map(|turn| &turn.blocks)
    }
}

/// Trailing white space of a prefill is refused.
fn trim_end(turn: &mut Turn<'_>) {
    if let Some(Block { content: Content::Text(text), .. }) = turn.blocks.last_mut() {
        let whole = Text::from_escaped(text.as_ref());
        let plain = whole.unescape();
        let trimmed = plain.trim_end();
        if trimmed.len() != plain.len() {
            *text = Text::from_plain(trimmed.to_owned()).into_escaped();
        }
    }
}

struct Planner<'r, 'p> {
    takes: &'p Capabilities,
    names: &'p ToolNames<'p>,
    ledger: &'p mut Ledger,
    ids: CallIds,
    pairs: Pairs<'r>,
    /// Index of the next call and the next result to come.
    next_call: usize,
    next_result: usize,
    /// Calls of the assistant turn that stands last, whose results are still to be written, and their ids on the wire.
    unanswered: Vec<(usize, Cow<'r, str>)>,
    conversation: Conversation<'r>,
    /// The part at hand.
    at: Place,
}

/// Where a part stands in the client's request.
#[derive(Clone, Copy, Default)]
struct Place {
    message: usize,
    part: usize,
}

impl Place {
    /// As clients see it: `messages[2].content[1]`.
    fn path(self) -> String {
        format!("messages[{}].content[{}]", self.message, self.part)
    }

    /// Goes behind a part. Cache points are no parts of their own in a request: they are members of the part they stand behind.
    fn pass(&mut self, part: &Part<'_>) {
        self.part += usize::from(!matches!(part, Part::CachePoint(_)));
    }

    fn refuse<T>(self, why: &'static str) -> Result<T, ApiError> {
        Err(ApiError::invalid(self.path(), why))
    }
}

impl<'r> Planner<'r, '_> {
    fn message(&mut self, message: &'r Message<'_>) -> Result<(), ApiError> {
        self.at.part = 0;
        for part in &message.parts {
            match message.role {
                Role::System => self.system(part)?,
                Role::Assistant => self.assistant(part)?,
                Role::User | Role::Tool => self.user(part)?,
            }
            self.at.pass(part);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Conversation<'r>, ApiError> {
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
            Part::Text(text) => {
                let content = Content::Text(Cow::Borrowed(text.escaped()));
                if self.takes.late_system == LateSystem::InPlace && !self.conversation.turns.is_empty() {
                    return self.push_user(content);
                }
                self.conversation.size += content.size();
                self.conversation.system.push(content.into());
                Ok(())
            }
            Part::CachePoint(point) => {
                let mark = Mark::of(point, self.takes.cache, self.ledger);
                put_mark(self.conversation.system.last_mut(), mark, self.ledger);
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
        self.conversation.size += content.size();
        self.turn(Speaker::Assistant).blocks.push(content.into());
        Ok(())
    }

    fn tool_use(&mut self, made: &'r ToolUse<'_>) -> Content<'r> {
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
            part => match content(part, self.at)? {
                Some(content) => self.push_user(content),
                None => Ok(()),
            },
        }
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

    fn push_user(&mut self, content: Content<'r>) -> Result<(), ApiError> {
        self.conversation.size += content.size();
        self.user_turn()?.blocks.push(content.into());
        Ok(())
    }

    /// The user turn that stands last, or a new one. A new one begins with the results of all calls of the turn before it.
    fn user_turn(&mut self) -> Result<&mut Turn<'r>, ApiError> {
        if self.conversation.turns.last().is_none_or(|last| last.speaker == Speaker::Assistant) {
            let mut blocks = Vec::with_capacity(self.unanswered.len() + 1);
            for (call, id) in std::mem::take(&mut self.unanswered) {
                let result = self.pairs.calls.get(call).and_then(|call| call.result);
                let block = self.answer(id, result)?;
                self.conversation.size += block.content.size();
                blocks.push(block);
            }
            self.turn(Speaker::User).blocks = blocks;
        }
        Ok(self.turn(Speaker::User))
    }

    /// The result block of a call.
    fn answer(&mut self, id: Cow<'r, str>, result: Option<(&'r ToolResult<'r>, usize)>) -> Result<Block<'r>, ApiError> {
        let Some((result, message)) = result else {
            let items = vec![Content::Text(Cow::Borrowed(NO_RESULT))];
            return Ok(Content::ToolResult { id, items, failed: Some(true) }.into());
        };
        let mut items = Vec::with_capacity(result.parts.len());
        let mut at = Place { message, part: 0 };
        let mut mark = None;
        for part in &result.parts {
            match part {
                Part::CachePoint(point) => mark = Mark::of(point, self.takes.cache, self.ledger).or(mark),
                Part::ToolUse(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::RedactedReasoning(_) => {
                    return at.refuse("a tool result holds text, JSON, images, files and search results only");
                }
                part => items.extend(content(part, at)?),
            }
            at.pass(part);
        }
        Ok(Block { content: Content::ToolResult { id, items, failed: result.is_error }, mark })
    }

    /// The last turn, if this speaker has it, or a new one.
    fn turn(&mut self, speaker: Speaker) -> &mut Turn<'r> {
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
        put_mark(last, mark, self.ledger);
    }
}

/// Marks a block. Thoughts cannot carry a marker, and nothing cannot either.
fn put_mark(block: Option<&mut Block<'_>>, mark: Option<Mark>, ledger: &mut Ledger) {
    match block.filter(|block| block.content.rank() != 0) {
        Some(block) => block.mark = mark.or(block.mark),
        None => ledger.note("cache_control"),
    }
}

/// A part that may stand in a user's turn and in a tool result alike. A blank text is nothing.
fn content<'r>(part: &'r Part<'_>, at: Place) -> Result<Option<Content<'r>>, ApiError> {
    let param = || at.path();
    match part {
        Part::Text(text) if text.is_blank() => Ok(None),
        Part::Text(text) => Ok(Some(Content::Text(Cow::Borrowed(text.escaped())))),
        Part::Json(raw) => Ok(Some(Content::Text(Text::from_plain(raw.as_str()).into_escaped()))),
        Part::Image(image) => media::picture(image, param).map(|picture| Some(Content::Picture(picture))),
        Part::Document(document) => media::file(document, param).map(|file| Some(Content::File(file))),
        Part::SearchResult(result) => media::search(result, param).map(|result| Some(Content::Search(result))),
        Part::Audio(_) => at.refuse("audio is not supported by this model"),
        Part::ToolUse(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::RedactedReasoning(_) | Part::CachePoint(_) => Ok(None),
    }
}

impl Content<'_> {
    /// The order inside an assistant turn: thoughts, texts, tool uses.
    fn rank(&self) -> u8 {
        match self {
            Content::Thought(_) | Content::Redacted(_) => 0,
            Content::ToolUse { .. } => 2,
            _ => 1,
        }
    }

    /// About how many bytes it takes.
    fn size(&self) -> usize {
        48 + match self {
            Content::Text(text) => text.len(),
            Content::Picture(picture) => picture.size() + 96,
            Content::File(file) => file.size() + 128,
            Content::Search(result) => result.content.iter().map(|text| text.escaped().len() + 32).sum::<usize>() + 256,
            Content::ToolUse { id, name, input } => id.len() + name.len() + input.len(),
            // Results hold no results.
            Content::ToolResult { items, .. } => 96 + items.iter().map(Content::size).sum::<usize>(),
            Content::Thought(thought) => thought.text.escaped().len() + thought.signature.as_ref().map_or(0, |seal| seal.escaped().len()),
            Content::Redacted(content) => content.escaped().len(),
        }
    }

    /// Adds the members of the block.
    fn write(&self, block: &mut Object<'_>) {
        match self {
            Content::Text(text) => {
                block.raw("type", r#""text""#);
                write_escaped(block, "text", text);
            }
            Content::Picture(picture) => picture.write(block),
            Content::File(file) => file.write(block),
            Content::Search(result) => media::write_search(block, result),
            Content::ToolUse { id, name, input } => {
                block.raw("type", r#""tool_use""#);
                write_escaped(block, "id", id);
                write_escaped(block, "name", name);
                block.raw("input", input);
            }
            Content::ToolResult { id, items, failed } => {
                block.raw("type", r#""tool_result""#);
                write_escaped(block, "tool_use_id", id);
                block.array("content", |content| items.iter().for_each(|item| content.object(|block| item.write(block))));
                if let Some(failed) = failed {
                    block.bool("is_error", *failed);
                }
            }
            Content::Thought(thought) => {
                block.raw("type", r#""thinking""#);
                block.text("thinking", &thought.text);
                if let Some(signature) = &thought.signature {
                    block.text("signature", signature);
                }
            }
            Content::Redacted(data) => {
                block.raw("type", r#""redacted_thinking""#);
                block.text("data", data);
            }
        }
    }
}

impl Block<'_> {
    /// Adds the members of the block.
    pub(super) fn write(&self, block: &mut Object<'_>) {
        self.content.write(block);
        if let Some(mark) = self.mark {
            mark.write(block);
        }
    }
}

/// Adds a string that is escaped already.
fn write_escaped(object: &mut Object<'_>, name: &str, escaped: &str) {
    object.text(name, &Text::from_escaped(escaped));
}
