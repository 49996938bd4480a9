//! From messages to turns: who speaks alternates, the user begins, and every tool use has its result in the very next turn.
//!
//! ```text
//! messages   system · user · assistant(call A, call B) · tool B · system · tool A · user
//!                │       │            │                     └───────┬──────────┘     │
//! turns      system    user       assistant                       user: result A, result B, text
//! ```
//!
//! What does not fit is made to fit in the way that loses least: neighbours of one role are merged, a result that nobody asked for becomes text, a call that
//! nobody answered gets an error as its result, and where Bedrock wants a user turn and there is none, a short one is added.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::chat::{ApiError, CachePoint, Message, Part, Reasoning, Role, SearchResult, ToolResult, ToolUse};
use crate::wire::json::{Kind, Raw, Text};

use super::media::{self, Bytes, File, Picture, Sound};
use crate::chat::Ledger;
use crate::chat::capability::{Cache, Capabilities, LateSystem, SystemPrompt};
use crate::chat::names::{CallIds, DocumentNames, ToolNames};
use crate::chat::pairs::{Pairs, pair};

/// The user turn that is added where Bedrock needs one.
const CONTINUE: &str = "Please continue.";
/// The text that is added to a turn that has nothing but files.
const SEE_FILE: &str = "See the attached file.";
/// The result of a call that nobody answered.
const NO_RESULT: &str = "No result was given for this tool call.";
/// Stands before a result that no call of the history asked for.
const STRAY_RESULT: &str = "Result of an earlier tool call:";
/// Stands in a result whose pictures had to move out of it.
const MEDIA_FOLLOWS: &str = "The result is in the attachments of this message.";
/// Stands in a failed result where the family has no `status`.
const FAILED: &str = "The tool call failed:";
/// A line that Anthropic's own tools put into the system prompt for Anthropic's own API.
const BILLING_HEADER: &str = "x-anthropic-billing-header";

/// The most pictures and files in one turn (service model, `Message.content`).
const IMAGES_MAX: usize = 20;
const FILES_MAX: usize = 5;

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

/// The roles of Converse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    User,
    Assistant,
}

/// A content block, and the cache point behind it.
#[derive(Debug)]
pub(super) struct Block<'r> {
    pub(super) content: Content<'r>,
    pub(super) mark: Option<Mark>,
}

/// A cache point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// `5m` or `1h`, where the family takes it.
    pub(super) ttl: Option<&'static str>,
}

/// What a block holds. Texts are in escaped form, ids and names need no escape.
#[derive(Debug)]
pub(super) enum Content<'r> {
    Text(Cow<'r, str>),
    Picture(Picture<'r>),
    File(File<'r>),
    Sound(Sound<'r>),
    Search(&'r SearchResult<'r>),
    ToolUse { id: Cow<'r, str>, name: Cow<'r, str>, input: &'r str },
    ToolResult { id: Cow<'r, str>, items: Vec<Item<'r>>, failed: Option<bool> },
    Thought(&'r Reasoning<'r>),
    Redacted(&'r Text<'r>),
}

/// A piece of a tool result.
#[derive(Debug)]
pub(super) enum Item<'r> {
    Text(Cow<'r, str>),
    Json(&'r str),
    Picture(Picture<'r>),
    File(File<'r>),
    Search(&'r SearchResult<'r>),
}

impl<'r> From<Content<'r>> for Block<'r> {
    fn from(content: Content<'r>) -> Self {
        Block { content, mark: None }
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
}

impl Mark {
    /// The cache point that a family takes in place of the client's.
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
}

impl<'r> Conversation<'r> {
    /// Arranges messages into turns.
    ///
    /// # Errors
    /// 400 naming the message, for parts that cannot stand where they are or that no model could read.
    pub(super) fn plan(messages: &'r [Message<'_>], takes: &Capabilities, names: &ToolNames<'_>, ledger: &mut Ledger) -> Result<Self, ApiError> {
        let calls = if takes.tools { pair(messages) } else { Pairs::default() };
        let ids = CallIds::new(calls.calls.iter().map(|call| call.made.id.unescape()));
        let mut planner = Planner {
            takes,
            names,
            ledger,
            ids,
            documents: DocumentNames::default(),
            pairs: calls,
            next_call: 0,
            next_result: 0,
            unanswered: Vec::new(),
            conversation: Conversation::default(),
            late: Vec::new(),
            at: Place::default(),
        };
        for (at, message) in messages.iter().enumerate() {
            planner.at.message = at;
            planner.message(message)?;
        }
        planner.finish()
    }

    /// Whether a turn uses tools or tells their results.
    pub(super) fn has_tools(&self) -> bool {
        self.blocks().any(|block| matches!(block.content, Content::ToolUse { .. } | Content::ToolResult { .. }))
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

    /// How many cache points there are.
    pub(super) fn marks(&self) -> usize {
        self.system.iter().chain(self.blocks()).filter(|block| block.mark.is_some()).count()
    }

    /// Adds an instruction behind all others.
    pub(super) fn instruct(&mut self, plain: String) {
        self.size += plain.len() * 2;
        self.system.push(Content::Text(Text::from_plain(plain).into_escaped()).into());
    }

    /// Makes the ends fit: the user begins, the assistant ends only where the model goes on from what it said.
    pub(super) fn close(&mut self, system: SystemPrompt, prefill: bool) {
        let user = |blocks| Turn { speaker: Speaker::User, blocks };
        if system == SystemPrompt::Prepended && !self.system.is_empty() {
            let blocks = std::mem::take(&mut self.system);
            match self.turns.first_mut() {
                Some(first) if first.speaker == Speaker::User => drop(first.blocks.splice(..0, blocks)),
                _ => self.turns.insert(0, user(blocks)),
            }
        }
        let added = || user(vec![Content::Text(Cow::Borrowed(CONTINUE)).into()]);
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
    documents: DocumentNames,
    pairs: Pairs<'r>,
    /// Index of the next call and the next result to come.
    next_call: usize,
    next_result: usize,
    /// Calls of the assistant turn that stands last, whose results are still to be written, and their ids on the wire.
    unanswered: Vec<(usize, Cow<'r, str>)>,
    conversation: Conversation<'r>,
    /// Pictures and files that had to leave the results of the turn at hand.
    late: Vec<Block<'r>>,
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
        for turn in &mut self.conversation.turns {
            let count = |of: fn(&Content<'_>) -> bool| turn.blocks.iter().filter(|block| of(&block.content)).count();
            if count(|content| matches!(content, Content::Picture(_))) > IMAGES_MAX {
                return Err(ApiError::invalid("messages", "a message can hold at most 20 images"));
            }
            let files = count(|content| matches!(content, Content::File(_)));
            if files > FILES_MAX {
                return Err(ApiError::invalid("messages", "a message can hold at most 5 files"));
            }
            if files > 0 && count(|content| matches!(content, Content::Text(_))) == 0 {
                turn.blocks.push(Content::Text(Cow::Borrowed(SEE_FILE)).into());
            }
        }
        self.conversation.turns.retain(|turn| !turn.blocks.is_empty());
        Ok(self.conversation)
    }

    fn system(&mut self, part: &'r Part<'_>) -> Result<(), ApiError> {
        match part {
            Part::Text(text) if text.is_blank() => Ok(()),
            Part::Text(text) if !self.takes.anthropic_fields && text.escaped().trim_start().starts_with(BILLING_HEADER) => {
                self.ledger.note(BILLING_HEADER);
                Ok(())
            }
            Part::Text(text) => {
                if self.takes.late_system == LateSystem::InPlace && !self.conversation.turns.is_empty() {
                    return self.push_user(Content::Text(Cow::Borrowed(text.escaped())), text.escaped().len());
                }
                self.conversation.size += text.escaped().len() + 16;
                self.conversation.system.push(Content::Text(Cow::Borrowed(text.escaped())).into());
                Ok(())
            }
            Part::CachePoint(point) => {
                let mark = Mark::of(point, self.takes.cache, self.ledger);
                if let Some(last) = self.conversation.system.last_mut() {
                    last.mark = mark.or(last.mark);
                }
                Ok(())
            }
            _ => self.refuse("a system message holds text only"),
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
                return self.refuse("an assistant message cannot hold images, files or audio");
            }
            Part::ToolResult(_) => return self.refuse("an assistant message cannot hold tool results"),
        };
        self.conversation.size += 64
            + match &content {
                Content::Text(text) => text.len(),
                Content::ToolUse { input, .. } => input.len() + 96,
                Content::Thought(thought) => thought.text.escaped().len() + thought.signature.as_ref().map_or(0, |seal| seal.escaped().len()),
                Content::Redacted(content) => content.escaped().len(),
                _ => 0,
            };
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
            Part::Text(text) if text.is_blank() => Ok(()),
            Part::Text(text) => self.push_user(Content::Text(Cow::Borrowed(text.escaped())), text.escaped().len()),
            Part::Json(raw) => self.push_user(Content::Text(Text::from_plain(raw.as_str()).into_escaped()), raw.as_str().len()),
            Part::Image(_) | Part::Document(_) | Part::Audio(_) => {
                if let Some(content) = self.media(part, self.at)? {
                    self.push_user(content, 0)?;
                }
                Ok(())
            }
            Part::ToolResult(result) => self.tool_result(result),
            Part::CachePoint(point) => {
                self.mark(point, Speaker::User);
                Ok(())
            }
            Part::SearchResult(found) => {
                let size = search_size(found);
                let content = if self.takes_search(found) { Content::Search(found) } else { Content::Text(search_text(found)) };
                self.push_user(content, size)
            }
            Part::ToolUse(_) => self.refuse("only an assistant message can hold tool calls"),
            Part::Reasoning(_) | Part::RedactedReasoning(_) => self.refuse("only an assistant message can hold reasoning"),
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
        self.push_user(Content::Text(Cow::Borrowed(STRAY_RESULT)), 0)?;
        self.at.part = 0;
        for part in &result.parts {
            match part {
                Part::ToolResult(_) => self.refuse("a tool result cannot hold tool results")?,
                part => self.user(part)?,
            }
            self.at.pass(part);
        }
        Ok(())
    }

    /// Reads a picture, a file or sound.
    fn media(&mut self, part: &'r Part<'_>, at: Place) -> Result<Option<Content<'r>>, ApiError> {
        let param = || at.path();
        let content = match part {
            Part::Image(image) => Content::Picture(media::picture(image, param)?),
            Part::Document(document) => {
                let mut file = media::file(document, |name| self.documents.next(name), param)?;
                self.without_citations(&mut file)?;
                Content::File(file)
            }
            Part::Audio(audio) => Content::Sound(media::sound(audio, param)?),
            _ => return Ok(None),
        };
        self.conversation.size += 128
            + match &content {
                Content::Picture(picture) => picture.bytes.size(),
                Content::File(file) => file.bytes.size(),
                Content::Sound(sound) => sound.bytes.size(),
                _ => 0,
            };
        Ok(Some(content))
    }

    /// Takes out of a file what belongs to citations, where the family knows none.
    fn without_citations(&mut self, file: &mut File<'r>) -> Result<(), ApiError> {
        if self.takes.anthropic_fields {
            return Ok(());
        }
        if file.context.take().is_some() {
            self.ledger.lose("context")?;
        }
        if file.citations.take() == Some(true) {
            self.ledger.lose("citations")?;
        }
        if let Bytes::Passages(texts) = file.bytes {
            file.bytes = Bytes::Joined(texts);
        }
        Ok(())
    }

    /// Whether a passage can stand as what it is.
    fn takes_search(&self, found: &SearchResult<'_>) -> bool {
        self.takes.anthropic_fields && found.content.iter().any(|text| !text.is_blank())
    }

    fn push_user(&mut self, content: Content<'r>, size: usize) -> Result<(), ApiError> {
        self.conversation.size += size + 32;
        self.user_turn()?.blocks.push(content.into());
        Ok(())
    }

    /// The user turn that stands last, or a new one. A new one begins with the results of all calls of the turn before it.
    fn user_turn(&mut self) -> Result<&mut Turn<'r>, ApiError> {
        if self.conversation.turns.last().is_none_or(|last| last.speaker == Speaker::Assistant) {
            let mut blocks = Vec::with_capacity(self.unanswered.len() + 1);
            for (call, id) in std::mem::take(&mut self.unanswered) {
                let result = self.pairs.calls.get(call).and_then(|call| call.result);
                blocks.push(self.answer(id, result)?);
            }
            blocks.append(&mut self.late);
            self.turn(Speaker::User).blocks = blocks;
        }
        Ok(self.turn(Speaker::User))
    }

    /// The result block of a call.
    fn answer(&mut self, id: Cow<'r, str>, result: Option<(&'r ToolResult<'r>, usize)>) -> Result<Block<'r>, ApiError> {
        let Some((result, message)) = result else {
            let failed = self.takes.tool_result_status.then_some(true);
            return Ok(Content::ToolResult { id, items: vec![Item::Text(Cow::Borrowed(NO_RESULT))], failed }.into());
        };
        let mut items = Vec::with_capacity(result.parts.len());
        let mut at = Place { message, part: 0 };
        let mut mark = None;
        let moved = self.late.len();
        if result.is_error == Some(true) && !self.takes.tool_result_status {
            items.push(Item::Text(Cow::Borrowed(FAILED)));
        }
        for part in &result.parts {
            match part {
                Part::Text(text) if text.is_blank() => {}
                Part::Text(text) => items.push(Item::Text(Cow::Borrowed(text.escaped()))),
                Part::Json(raw) if is_plain_object(*raw) => items.push(Item::Json(raw.as_str())),
                Part::Json(raw) => items.push(Item::Text(Text::from_plain(raw.as_str()).into_escaped())),
                Part::CachePoint(point) => mark = Mark::of(point, self.takes.cache, self.ledger).or(mark),
                Part::Image(_) | Part::Document(_) | Part::Audio(_) => match self.media(part, at)? {
                    Some(Content::Picture(picture)) if self.takes.media_in_tool_results => items.push(Item::Picture(picture)),
                    Some(Content::File(file)) if self.takes.media_in_tool_results => items.push(Item::File(file)),
                    Some(content) => self.late.push(content.into()),
                    None => {}
                },
                Part::SearchResult(found) if self.takes_search(found) => items.push(Item::Search(found)),
                Part::SearchResult(found) => items.push(Item::Text(search_text(found))),
                Part::ToolUse(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::RedactedReasoning(_) => {
                    return Err(ApiError::invalid(at.path(), "a tool result holds text, JSON, images, files and search results only"));
                }
            }
            at.pass(part);
            if let Part::Text(_) | Part::Json(_) | Part::SearchResult(_) = part {
                self.conversation.size += items.last().map_or(0, Item::size);
            }
        }
        if items.is_empty() && self.late.len() > moved {
            items.push(Item::Text(Cow::Borrowed(MEDIA_FOLLOWS)));
        }
        self.conversation.size += 128;
        let failed = result.is_error.filter(|_| self.takes.tool_result_status);
        Ok(Block { content: Content::ToolResult { id, items, failed }, mark })
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

    /// Puts a cache point behind the block that stands last. Thoughts cannot carry one.
    fn mark(&mut self, point: &CachePoint<'_>, speaker: Speaker) {
        let mark = Mark::of(point, self.takes.cache, self.ledger);
        let last = self.conversation.turns.last_mut().filter(|turn| turn.speaker == speaker).and_then(|turn| turn.blocks.last_mut());
        if let Some(block) = last.filter(|block| !matches!(block.content, Content::Thought(_) | Content::Redacted(_))) {
            block.mark = mark.or(block.mark);
        }
    }

    fn refuse<T>(&self, why: &'static str) -> Result<T, ApiError> {
        Err(ApiError::invalid(self.at.path(), why))
    }
}

impl Item<'_> {
    /// About how many bytes its text takes.
    fn size(&self) -> usize {
        match self {
            Item::Text(text) => text.len() + 16,
            Item::Json(json) => json.len() + 16,
            Item::Search(found) => search_size(found),
            Item::Picture(_) | Item::File(_) => 0,
        }
    }
}

/// A passage as text: title, source and content, a line each. Escaped form.
fn search_text<'r>(found: &SearchResult<'_>) -> Cow<'r, str> {
    let lines: Vec<&str> = [&found.title, &found.source].into_iter().chain(&found.content).filter(|text| !text.is_blank()).map(Text::escaped).collect();
    Cow::Owned(if lines.is_empty() { "-".to_owned() } else { lines.join("\\n") })
}

/// About how many bytes a passage takes.
fn search_size(found: &SearchResult<'_>) -> usize {
    96 + found.title.escaped().len() + found.source.escaped().len() + found.content.iter().map(|text| text.escaped().len() + 16).sum::<usize>()
}

/// Whether a value can stand in `toolResult.json`: an object, without a member called `__type` or nothing at all anywhere.
fn is_plain_object(raw: Raw<'_>) -> bool {
    let text = raw.as_str();
    let nameless = || text.match_indices("\"\"").any(|(at, _)| text.get(at + 2..).is_some_and(|rest| rest.trim_start().starts_with(':')));
    raw.kind() == Kind::Object && !text.contains("\"__type\"") && !nameless()
}
