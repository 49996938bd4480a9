//! What a client asks for.

use std::borrow::Cow;

use crate::wire::json::{Json, Raw, Text};

/// A request as it was read, and what it says about the form of its answer.
#[derive(Clone, Debug)]
pub struct Decoded<'a, Style> {
    /// What is asked.
    pub request: Request<'a>,
    /// Whether the answer is to come piece by piece. Never where the path says so instead of the body.
    pub stream: bool,
    /// The form of the answer, in the client's dialect.
    pub style: Style,
}

/// A chat request. `None` and empty mean that the client did not say.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// The model as the client named it.
    pub model: Text<'a>,
    /// The conversation in the client's order, system messages included where they stood.
    pub messages: Vec<Message<'a>>,
    /// The tools the model may use.
    pub tools: Vec<Tool<'a>>,
    /// Whether and which tool the model must use.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether several tools may be used in one turn.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer has room for one tool use: worth asking for where it can be asked for, and nothing lost where it cannot.
    pub one_tool_call: bool,
    /// The most tokens the answer may take.
    pub max_tokens: Option<u64>,
    /// Sampling temperature as the client wrote it: a JSON number.
    pub temperature: Option<Raw<'a>>,
    /// Nucleus sampling as the client wrote it: a JSON number.
    pub top_p: Option<Raw<'a>>,
    /// Sampling from the so many likeliest tokens, as the client wrote it: a JSON number.
    pub top_k: Option<Raw<'a>>,
    /// How many answers are wanted; `None` is one. An upstream that makes one at a time is asked so often by the gateway.
    pub n: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<Text<'a>>,
    /// The client's API tells which stop text was met: worth asking for.
    pub tells_stop: bool,
    /// The shape the answer must have.
    pub output_format: Option<OutputFormat<'a>>,
    /// How hard the model should think.
    pub effort: Option<Effort>,
    /// Whether and how to think, in Anthropic's words: `{"type":"enabled","budget_tokens":2048}`, `{"type":"adaptive"}`, `{"type":"disabled"}`. Stands above
    /// an effort.
    pub thinking: Option<Raw<'a>>,
    /// The person behind the request, as an opaque id of the caller's: OpenAI's `user` and `safety_identifier`, Anthropic's `metadata.user_id`.
    pub user: Option<Text<'a>>,
    /// The processing tier, in OpenAI's words: `auto`, `default`, `flex`, `scale`, `priority`, `fast`.
    pub service_tier: Option<Text<'a>>,
    /// Labels of the caller's for its own records.
    pub metadata: Vec<(Text<'a>, Text<'a>)>,
    /// Members of the client's API that the canonical form has no place for (`seed`, `logit_bias`), by name: dropped or refused, as the model's policy says.
    pub unsupported: Vec<&'static str>,
    /// Members that the client's API does not define, raw: carried, dropped or refused, as the model's policy says.
    pub extras: Vec<Extra<'a>>,
}

/// A member that no type of ours describes.
#[derive(Clone, Debug)]
pub struct Extra<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// Its value.
    pub value: Raw<'a>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions: OpenAI's `system` and `developer`.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// A tool that was used; holds [`Part::ToolResult`] only.
    Tool,
}

/// One turn, or a part of one: neighbours of one role are not merged here.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order. May be empty.
    pub parts: Vec<Part<'a>>,
}

/// A piece of a message or of a tool result.
#[derive(Clone, Debug)]
pub enum Part<'a> {
    /// Text.
    Text(Text<'a>),
    /// A picture.
    Image(Image<'a>),
    /// A file that the model reads.
    Document(Document<'a>),
    /// Sound.
    Audio(Audio<'a>),
    /// A passage that the client found, to be cited.
    SearchResult(SearchResult<'a>),
    /// The assistant uses a tool.
    ToolUse(ToolUse<'a>),
    /// What a tool gave.
    ToolResult(ToolResult<'a>),
    /// What the model thought, readable.
    Reasoning(Reasoning<'a>),
    /// What the model thought, encrypted: base64, opaque.
    RedactedReasoning(Text<'a>),
    /// A JSON value, inside a tool result.
    Json(Raw<'a>),
    /// What stands before is worth caching.
    CachePoint(CachePoint<'a>),
}

/// A prompt-cache marker: it stands behind the part it closes.
#[derive(Clone, Debug, Default)]
pub struct CachePoint<'a> {
    /// How long the entry should live: `5m` or `1h`.
    pub ttl: Option<Text<'a>>,
}

/// Where the bytes of a picture, file or sound are.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// Base64 in the request, as it stands there.
    Base64(Text<'a>),
    /// `http(s)://…`; somebody has to fetch it.
    Url(Text<'a>),
    /// `s3://bucket/key`.
    S3(Text<'a>),
    /// Plain text.
    Text(Text<'a>),
    /// Plain text in passages that may be cited one by one.
    Texts(Vec<Text<'a>>),
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// What the client says it is, such as `image/png`. Clients err: the bytes decide.
    pub media_type: Option<Cow<'a, str>>,
    /// The bytes.
    pub source: Source<'a>,
}

/// A file that the model reads.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// What the client says it is, such as `application/pdf`.
    pub media_type: Option<Cow<'a, str>>,
    /// File name or title.
    pub name: Option<Text<'a>>,
    /// What the model should know about it.
    pub context: Option<Text<'a>>,
    /// Whether the answer should cite it.
    pub citations: Option<bool>,
    /// The bytes.
    pub source: Source<'a>,
}

/// A passage that the client found, to be cited.
#[derive(Clone, Debug)]
pub struct SearchResult<'a> {
    /// Where it is from: a URL or a name.
    pub source: Text<'a>,
    /// Its title.
    pub title: Text<'a>,
    /// What it says.
    pub content: Vec<Text<'a>>,
    /// Whether the answer should cite it.
    pub citations: Option<bool>,
}

/// Sound.
#[derive(Clone, Debug)]
pub struct Audio<'a> {
    /// Short name of the encoding: `wav`, `mp3`.
    pub format: Text<'a>,
    /// The bytes.
    pub source: Source<'a>,
}

/// The assistant uses a tool.
#[derive(Clone, Debug)]
pub struct ToolUse<'a> {
    /// Pairs the use with its result.
    pub id: Text<'a>,
    /// The tool.
    pub name: Text<'a>,
    /// The arguments: JSON text. From a client it may be anything; from a model it is a JSON object.
    pub input: Cow<'a, str>,
}

/// What a tool gave.
#[derive(Clone, Debug)]
pub struct ToolResult<'a> {
    /// The [`ToolUse::id`] it answers.
    pub id: Text<'a>,
    /// Texts, JSON, pictures, documents, cache points.
    pub parts: Vec<Part<'a>>,
    /// Whether the tool failed, where the client's API can say so.
    pub is_error: Option<bool>,
}

/// What the model thought.
#[derive(Clone, Debug)]
pub struct Reasoning<'a> {
    /// The thought; may be empty beside a signature.
    pub text: Text<'a>,
    /// The model's seal over the thought, opaque. A model takes its thoughts back only with it.
    pub signature: Option<Text<'a>>,
}

/// A tool the model may use.
#[derive(Clone, Debug)]
pub struct Tool<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// What it is for.
    pub description: Option<Text<'a>>,
    /// JSON schema of its arguments.
    pub parameters: Option<Raw<'a>>,
    /// Whether the arguments must follow the schema to the letter.
    pub strict: Option<bool>,
    /// A cache marker behind this tool.
    pub cache: Option<CachePoint<'a>>,
}

/// Whether and which tool the model must use.
#[derive(Clone, Debug)]
pub enum ToolChoice<'a> {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Any,
    /// This tool.
    Tool(Text<'a>),
}

/// The shape the answer must have.
#[derive(Clone, Debug)]
pub enum OutputFormat<'a> {
    /// Plain text, said explicitly.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// A name for the schema.
        name: Option<Text<'a>>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// The schema. Owned where it came as text inside a string.
        schema: Json<'a>,
        /// Whether the answer must follow it to the letter.
        strict: Option<bool>,
    },
}

/// How hard the model should think, from not at all to as much as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Do not think.
    None,
    /// As little as possible.
    Minimal,
    /// A little.
    Low,
    /// The usual.
    Medium,
    /// A lot.
    High,
    /// More than a lot.
    XHigh,
    /// As much as there is.
    Max,
}

impl Effort {
    /// The name that OpenAI's API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }

    /// Reads the name that OpenAI's API uses.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Effort::None, Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max]
            .into_iter()
            .find(|effort| effort.as_str() == name)
    }
}
