//! From messages to turns, for the APIs of two speakers: who speaks alternates, the user begins, and every tool use has its result at the head of the very
//! next turn.
//!
//! ```text
//! messages   system · user · assistant(call A, call B) · tool B · system · tool A · user
//!                │       │            │                     └───────┬──────────┘     │
//! turns      system    user       assistant                       user: result A, result B, text
//! ```
//!
//! What does not fit is made to fit in the way that loses least: neighbours of one role are merged, a result that nobody asked for becomes text, a call that
//! nobody answered gets an error as its result, and where a user turn is needed and there is none, a short one is added.
//!
//! What pictures, files, sound and search results look like is the dialect's own: it says so in a [`Form`]. Nothing is written here.

mod planner;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;

use crate::chat::capability::{Cache, Capabilities};
use crate::chat::names::{CallIds, ToolNames};
use crate::chat::{ApiError, Audio, CachePoint, Document, Image, Ledger, Message, Part, Reasoning, SearchResult};
use crate::wire::json::{Raw, Text};
use planner::Planner;

/// The user turn that is added where one is needed.
const CONTINUE: &str = "Please continue.";
/// The result of a call that nobody answered.
pub const NO_RESULT: &str = "No result was given for this tool call.";
/// Stands before a result that no call of the history asked for.
pub const STRAY_RESULT: &str = "Result of an earlier tool call:";
/// Stands in a failed result where nothing else can say so.
pub const FAILED: &str = "The tool call failed:";
/// A line that Anthropic's own tools put into the system prompt for Anthropic's own API.
pub const BILLING_HEADER: &str = "x-anthropic-billing-header";

/// What a dialect's own blocks look like, and what its turns have no place for.
pub trait Form<'r> {
    /// A block that only this API has: a picture, a file, sound, a search result.
    type Media;

    /// Whether a cache marker that no block can carry goes into the ledger.
    const TELLS_LOST_MARKS: bool;

    /// The ids of the tool uses, of which the API takes some as they are.
    fn call_ids<'t>(ids: impl Iterator<Item = Cow<'t, str>>) -> CallIds;

    /// About how many bytes a block takes, beyond what every block takes.
    fn size(media: &Self::Media) -> usize;

    /// Reads a picture.
    ///
    /// # Errors
    /// 400 naming the part, for what the model cannot read; so too for files, sound and search results.
    fn picture(&mut self, image: &'r Image<'r>, at: Place) -> Result<Self::Media, ApiError>;

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Form::picture`], and what the policy refuses.
    fn file(&mut self, document: &'r Document<'r>, at: Place, ledger: &mut Ledger) -> Result<Self::Media, ApiError>;

    /// Reads sound.
    ///
    /// # Errors
    /// As [`Form::picture`].
    fn sound(&mut self, audio: &'r Audio<'r>, at: Place) -> Result<Self::Media, ApiError>;

    /// Reads a search result, which may have to become text.
    ///
    /// # Errors
    /// As [`Form::picture`].
    fn search(&mut self, found: &'r SearchResult<'r>, at: Place) -> Result<Content<'r, Self::Media>, ApiError>;

    /// A JSON value in a tool result. None: it stands there as text.
    fn json(&self, _value: Raw<'r>) -> Option<Self::Media> {
        None
    }

    /// Whether a block can stand inside a tool result. Else it stands behind the results.
    fn fits_result(&self, _media: &Self::Media) -> bool {
        true
    }

    /// Whether a tool result can say that the call failed. Else words say so.
    fn tells_failure(&self) -> bool {
        true
    }

    /// Whether the model's API reads [`BILLING_HEADER`]. Else it is left out.
    fn reads_billing(&self) -> bool {
        true
    }
}

/// Instructions and turns, ready to be written. `M` is what the dialect has beside text, tool uses and thoughts.
#[derive(Debug)]
pub struct Conversation<'r, M> {
    /// The instructions.
    pub system: Vec<Block<'r, M>>,
    /// The turns, user and assistant by turns.
    pub turns: Vec<Turn<'r, M>>,
    /// About how many bytes it takes.
    pub size: usize,
}

/// One turn of the conversation.
#[derive(Debug)]
pub struct Turn<'r, M> {
    /// Who speaks.
    pub speaker: Speaker,
    /// What is said, in order. Never empty.
    pub blocks: Vec<Block<'r, M>>,
}

/// The roles of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The person or program that asks, and its tools.
    User,
    /// The model.
    Assistant,
}

impl Speaker {
    /// Its name in every API of two speakers.
    #[must_use]
    pub fn role(self) -> &'static str {
        match self {
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        }
    }
}

/// A content block, and the cache marker on it.
#[derive(Debug)]
pub struct Block<'r, M> {
    /// What it holds.
    pub content: Content<'r, M>,
    /// The marker.
    pub mark: Option<Mark>,
}

/// A cache marker.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// `5m` or `1h`, where the client says so and the family takes it.
    pub ttl: Option<&'static str>,
}

/// What a block holds. Texts are in escaped form, ids and names need no escape.
#[derive(Debug)]
pub enum Content<'r, M> {
    /// Text, never blank.
    Text(Cow<'r, str>),
    /// A block of the dialect's own.
    Media(M),
    /// The assistant uses a tool.
    ToolUse {
        /// The id on the wire.
        id: Cow<'r, str>,
        /// The name on the wire.
        name: Cow<'r, str>,
        /// A JSON object.
        input: &'r str,
    },
    /// What a tool gave.
    ToolResult {
        /// The id of the tool use.
        id: Cow<'r, str>,
        /// Texts and media, no results.
        items: Vec<Self>,
        /// Whether the call failed, where somebody says so and it can be said.
        failed: Option<bool>,
    },
    /// What the model thought, with its signature.
    Thought(&'r Reasoning<'r>),
    /// What the model thought, encrypted.
    Redacted(&'r Text<'r>),
}

/// Where a part stands in the client's request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// The message.
    pub message: usize,
    /// The part of it.
    pub part: usize,
}

impl<'r, M> From<Content<'r, M>> for Block<'r, M> {
    fn from(content: Content<'r, M>) -> Self {
        Block { content, mark: None }
    }
}

impl Mark {
    /// The cache marker that a family takes in place of the client's.
    pub fn of(point: &CachePoint<'_>, cache: Cache, ledger: &mut Ledger) -> Option<Self> {
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

impl Place {
    /// As clients see it: `messages[2].content[1]`.
    #[must_use]
    pub fn path(self) -> String {
        format!("messages[{}].content[{}]", self.message, self.part)
    }

    /// Goes behind a part. Cache points are no parts of their own in a request: they are members of the part they stand behind.
    pub fn pass(&mut self, part: &Part<'_>) {
        self.part += usize::from(!matches!(part, Part::CachePoint(_)));
    }

    /// Refuses the part here.
    ///
    /// # Errors
    /// Always: 400 naming it.
    pub fn refuse<T>(self, why: &'static str) -> Result<T, ApiError> {
        Err(ApiError::invalid(self.path(), why))
    }
}

impl<M> Content<'_, M> {
    /// The order inside an assistant turn: thoughts, texts, tool uses.
    fn rank(&self) -> u8 {
        match self {
            Content::Thought(_) | Content::Redacted(_) => 0,
            Content::ToolUse { .. } => 2,
            _ => 1,
        }
    }

    /// About how many bytes it takes.
    fn size(&self, of_media: fn(&M) -> usize) -> usize {
        48 + match self {
            Content::Text(text) => text.len(),
            Content::Media(media) => of_media(media),
            Content::ToolUse { id, name, input } => id.len() + name.len() + input.len(),
            // Results hold no results.
            Content::ToolResult { items, .. } => 96 + items.iter().map(|item| item.size(of_media)).sum::<usize>(),
            Content::Thought(thought) => thought.text.escaped().len() + thought.signature.as_ref().map_or(0, |seal| seal.escaped().len()),
            Content::Redacted(content) => content.escaped().len(),
        }
    }
}

impl<'r, M> Turn<'r, M> {
    /// What is added where a turn of the user's is needed.
    fn added() -> Self {
        Turn { speaker: Speaker::User, blocks: vec![Content::Text(Cow::Borrowed(CONTINUE)).into()] }
    }

    /// Trailing white space of a prefill is refused.
    fn trim_end(&mut self) {
        if let Some(Block { content: Content::Text(text), .. }) = self.blocks.last_mut() {
            let whole = Text::from_escaped(text.as_ref());
            let plain = whole.unescape();
            let trimmed = plain.trim_end();
            if trimmed.len() != plain.len() {
                *text = Text::from_plain(trimmed.to_owned()).into_escaped();
            }
        }
    }
}

impl<'r, M> Conversation<'r, M> {
    /// Arranges messages into turns.
    ///
    /// # Errors
    /// 400 naming the message, for parts that cannot stand where they are or that the model cannot read.
    pub fn plan<F: Form<'r, Media = M>>(
        messages: &'r [Message<'_>],
        takes: &Capabilities,
        names: &ToolNames<'_>,
        form: F,
        ledger: &mut Ledger,
    ) -> Result<Self, ApiError> {
        Planner::new(messages, takes, names, form, ledger).run(messages)
    }

    /// Whether a turn uses tools or tells their results.
    #[must_use]
    pub fn has_tools(&self) -> bool {
        self.blocks().any(|block| matches!(block.content, Content::ToolUse { .. } | Content::ToolResult { .. }))
    }

    /// The names of the tools that were used, on the wire, each once, in order.
    #[must_use]
    pub fn used_tools(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let names = self.blocks().filter_map(|block| match &block.content {
            Content::ToolUse { name, .. } => Some(name.as_ref()),
            _ => None,
        });
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// Whether the last thing the assistant did was to use tools without saying, in a form the model takes back, what it thought. Claude with a thinking
    /// budget refuses to go on from there.
    #[must_use]
    pub fn lacks_thought(&self) -> bool {
        let last = self.turns.iter().rev().find(|turn| turn.speaker == Speaker::Assistant);
        last.is_some_and(|turn| {
            turn.blocks.iter().any(|block| matches!(block.content, Content::ToolUse { .. }))
                && turn.blocks.first().is_some_and(|block| block.content.rank() != 0)
        })
    }

    /// Adds an instruction behind all others.
    pub fn instruct(&mut self, plain: String) {
        self.size += plain.len() * 2;
        self.system.push(Content::Text(Text::from_plain(plain).into_escaped()).into());
    }

    /// Puts the instructions before what the user says first, for a family that has no system prompt.
    pub fn prepend_system(&mut self) {
        if self.system.is_empty() {
            return;
        }
        let blocks = std::mem::take(&mut self.system);
        match self.turns.first_mut() {
            Some(first) if first.speaker == Speaker::User => drop(first.blocks.splice(..0, blocks)),
            _ => self.turns.insert(0, Turn { speaker: Speaker::User, blocks }),
        }
    }

    /// Makes the ends fit: the user begins, the assistant ends only where the model goes on from what it said.
    pub fn close(&mut self, prefill: bool) {
        if self.turns.first().is_none_or(|first| first.speaker == Speaker::Assistant) {
            self.turns.insert(0, Turn::added());
        }
        match self.turns.last_mut() {
            Some(last) if last.speaker == Speaker::Assistant && prefill => last.trim_end(),
            Some(last) if last.speaker == Speaker::Assistant => self.turns.push(Turn::added()),
            _ => {}
        }
    }

    /// Takes out the cache markers that are too many, those on the tools before it included. Those that stand first close the shortest prefixes: they are the
    /// least worth.
    pub fn limit_marks<'m>(&'m mut self, tools: impl Iterator<Item = &'m mut Option<Mark>>, most: usize, ledger: &mut Ledger) {
        let turns = self.turns.iter_mut().flat_map(|turn| &mut turn.blocks);
        let blocks = self.system.iter_mut().chain(turns).map(|block| &mut block.mark);
        let mut marks: Vec<_> = tools.chain(blocks).filter(|mark| mark.is_some()).collect();
        let surplus = marks.len().saturating_sub(most);
        if surplus > 0 {
            ledger.note("cache_control");
        }
        marks.iter_mut().take(surplus).for_each(|mark| **mark = None);
    }

    fn blocks(&self) -> impl Iterator<Item = &Block<'r, M>> {
        self.turns.iter().flat_map(|turn| &turn.blocks)
    }
}
