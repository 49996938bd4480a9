//! Reads a Completions request.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/completions/create>.

use super::Style;
use crate::chat::read::{
    self, Notes, Path, Shape, boolean, filled_text, flat, integer, items, last_of_each, member, missing, number, object, text, wrong_type, wrong_value,
};
use crate::chat::{ApiError, Extra, Message, Part, Request, Role};
use crate::dialect::openai::downstream::request::{is_empty, is_object, is_whole, stop};
use crate::wire::json::{Kind, Raw, Text};

/// The most answers to one request, to all of its prompts together: OpenAI's limit for one prompt.
const MAX_CHOICES: u64 = 128;

/// A request and what it says about the form of its answer.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// What is asked, with the first prompt.
    pub request: Request<'a>,
    /// The other prompts, each a conversation of its own.
    pub more: Vec<Message<'a>>,
    /// Whether the answer is to come piece by piece.
    pub stream: bool,
    /// The form of the answer.
    pub style: Style,
}

flat! {
    struct Wire {
        model: Raw<'a> = "model",
        prompt: Raw<'a> = "prompt",
        max_tokens: Raw<'a> = "max_tokens",
        temperature: Raw<'a> = "temperature",
        top_p: Raw<'a> = "top_p",
        stop: Raw<'a> = "stop",
        n: Raw<'a> = "n",
        best_of: Raw<'a> = "best_of",
        echo: Raw<'a> = "echo",
        stream: Raw<'a> = "stream",
        stream_options: Shape<StreamOptions<'a>> = "stream_options",
        suffix: Raw<'a> = "suffix",
        logprobs: Raw<'a> = "logprobs",
        logit_bias: Raw<'a> = "logit_bias",
        frequency_penalty: Raw<'a> = "frequency_penalty",
        presence_penalty: Raw<'a> = "presence_penalty",
        seed: Raw<'a> = "seed",
        user: Raw<'a> = "user",
    }
}

flat! {
    struct StreamOptions {
        include_usage: Raw<'a> = "include_usage",
        include_obfuscation: Raw<'a> = "include_obfuscation",
    }
}

/// Reads a request body: `{"model":"…","prompt":"…"|["…"],…}`.
///
/// # Errors
/// 400. JSON that is broken: with the position in bytes. A member that is missing or wrong: with its name in `param`.
pub fn decode(body: &str) -> Result<Decoded<'_>, ApiError> {
    let (mut wire, mut extras): (Wire<'_>, Vec<Extra<'_>>) = Default::default();
    read::body(body, |name, reader| member(&mut wire, &mut extras, name, reader, &Path::Root))?;
    let root = Path::Root;
    let model = filled_text(wire.model, &root.key("model"))?;
    let prompts = prompts(wire.prompt, &root.key("prompt"))?;
    let n = integer(wire.n, 1..=MAX_CHOICES, &root.key("n"))?.unwrap_or(1);
    if n.saturating_mul(prompts.len() as u64) > MAX_CHOICES {
        return Err(wrong_value(&root.key("prompt"), format_args!("the request asks for more than {MAX_CHOICES} answers in all")));
    }
    let mut notes = unsupported(&wire, n)?;
    let (stream, include_usage) = stream(&mut wire, &mut notes)?;
    let echoed = boolean(wire.echo, &root.key("echo"))? == Some(true);
    let echo = if echoed { prompts.iter().map(|prompt| prompt.escaped().to_owned()).collect() } else { Vec::new() };
    let style = Style { n: u32::try_from(n).unwrap_or(u32::MAX), include_usage, echo: echo.into() };
    let mut messages = prompts.into_iter().map(|prompt| Message { role: Role::User, parts: vec![Part::Text(prompt)] });
    let request = Request {
        model,
        messages: messages.next().into_iter().collect(),
        max_tokens: integer(wire.max_tokens, 1..=u64::MAX, &root.key("max_tokens"))?,
        temperature: number(wire.temperature, 0.0..=2.0, &root.key("temperature"))?.map(|(raw, _)| raw),
        top_p: number(wire.top_p, 0.0..=1.0, &root.key("top_p"))?.map(|(raw, _)| raw),
        stop: stop(wire.stop, &root.key("stop"))?,
        user: text(wire.user, &root.key("user"))?.filter(|user| !user.is_empty()),
        unsupported: notes.0,
        extras: last_of_each(extras),
        ..Request::default()
    };
    Ok(Decoded { request, more: messages.collect(), stream, style })
}

/// A text, or several. Tokens belong to one model's own numbering.
fn prompts<'a>(prompt: Option<Raw<'a>>, path: &Path<'_>) -> Result<Vec<Text<'a>>, ApiError> {
    let raw = prompt.ok_or_else(|| missing(path))?;
    match raw.kind() {
        Kind::String => Ok(vec![filled_text(Some(raw), path)?]),
        Kind::Array => {
            let items = items(Some(raw), path)?.unwrap_or_default();
            if items.is_empty() {
                return Err(wrong_value(path, "it must hold at least one text"));
            }
            if items.iter().any(|item| matches!(item.kind(), Kind::Number | Kind::Array)) {
                return Err(wrong_value(path, "prompts of tokens are not supported: send texts"));
            }
            items.into_iter().enumerate().map(|(index, item)| filled_text(Some(item), &path.item(index))).collect()
        }
        kind => Err(wrong_type(path, "a string or an array of strings", kind)),
    }
}

/// The names of the members that would have an effect and cannot have it here. Their types are checked all the same.
fn unsupported(wire: &Wire<'_>, n: u64) -> Result<Notes, ApiError> {
    let root = Path::Root;
    let mut notes = Notes::default();
    let best_of = integer(wire.best_of, 1..=MAX_CHOICES, &root.key("best_of"))?;
    if best_of.is_some_and(|best_of| best_of < n) {
        return Err(wrong_value(&root.key("best_of"), "it must not be smaller than 'n'"));
    }
    notes.add_if(best_of.is_some_and(|best_of| best_of > n), "best_of");
    notes.add_if(text(wire.suffix, &root.key("suffix"))?.is_some_and(|suffix| !suffix.is_empty()), "suffix");
    notes.add_if(integer(wire.logprobs, 0..=5, &root.key("logprobs"))?.is_some(), "logprobs");
    notes.add_if(is_object(wire.logit_bias, &root.key("logit_bias"))?.is_some_and(|bias| !is_empty(bias)), "logit_bias");
    for (name, member) in [("frequency_penalty", wire.frequency_penalty), ("presence_penalty", wire.presence_penalty)] {
        notes.add_if(number(member, -2.0..=2.0, &root.key(name))?.is_some_and(|(_, number)| number != 0.0), name);
    }
    notes.add_if(is_whole(wire.seed, &root.key("seed"))?, "seed");
    Ok(notes)
}

/// Whether to stream, and whether with token counts; padding is not done here.
fn stream(wire: &mut Wire<'_>, notes: &mut Notes) -> Result<(bool, bool), ApiError> {
    let stream = boolean(wire.stream, &Path::Root.key("stream"))?.unwrap_or_default();
    let path = Path::Root.key("stream_options");
    let Some(options) = object(wire.stream_options.take(), &path)? else { return Ok((stream, false)) };
    if !stream {
        return Err(wrong_value(&path, "it is only allowed when 'stream' is true"));
    }
    notes.add_if(boolean(options.include_obfuscation, &path.key("include_obfuscation"))? == Some(true), "stream_options.include_obfuscation");
    Ok((true, boolean(options.include_usage, &path.key("include_usage"))?.unwrap_or_default()))
}
