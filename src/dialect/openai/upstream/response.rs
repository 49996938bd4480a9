//! A whole `chat.completion`, read into the canonical form.
//!
//! One choice counts, the first. Arguments of tools arrive as a string that holds JSON; what does not parse to an object becomes an empty one, since every
//! other API wants an object there.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/chat/object>.

use std::borrow::Cow;

use crate::chat::{ApiError, ErrorKind, Part, Reasoning, Response, Restore, StopReason, ToolUse, Usage};
use crate::wire::json::{Kind, Raw, Text};

use super::answer::{Body, Call, Function, Said, Voice, calls, failure, named_stop, object, stop_reason};
use super::error;

/// Reads a whole answer.
///
/// `{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{…}}` → one text part, `EndTurn`.
///
/// # Errors
/// 502 for what is not a Chat Completions answer, one without choices among them. The error itself, where one comes with status 200.
pub fn decode<'a>(body: &'a str, restore: &'a Restore) -> Result<Response<'a>, ApiError> {
    let bad = |why: &'static str| ApiError::new(ErrorKind::BadUpstream, why);
    let mut body = Body::read(body).map_err(|_| bad("the model provider's answer could not be read"))?;
    if let Some(raw) = body.error {
        return Err(error::inside(raw));
    }
    let usage = body.usage();
    let choice = body.choice.or(body.other).ok_or_else(|| bad("the model provider answered without a message"))?;
    let (reason, met) = (choice.finish_reason(), choice.stop_text());
    if let Some(error) = reason.as_ref().and_then(failure) {
        return Err(error);
    }
    let mut reader = Reader { restore, parts: Vec::new(), tools: 0, nameless: false };
    // Gemini leaves the message out when a filter or the token limit left nothing of it.
    if let Some(said) = object(choice.message).or_else(|| object(choice.delta)) {
        reader.message(said);
    }
    let stop = match reason.map_or(StopReason::EndTurn, |reason| stop_reason(reason, met.as_ref(), reader.tools > 0)) {
        StopReason::EndTurn if reader.tools > 0 => StopReason::ToolUse,
        StopReason::EndTurn if reader.nameless => StopReason::MalformedToolUse,
        stop => stop,
    };
    Ok(Response {
        parts: reader.parts,
        citations: Vec::new(),
        stop_sequence: met.filter(|_| stop == StopReason::StopSequence),
        stop,
        usage,
        service_tier: body.service_tier,
    })
}

/// The tokens of a whole answer that is passed on as it is, of chat or of embeddings, and why the model stopped, by its stable name.
///
/// `{"data":[…],"usage":{"prompt_tokens":8,"total_tokens":8}}` → 8 tokens of input.
#[must_use]
pub fn usage(body: &str) -> (Option<Usage>, Option<&'static str>) {
    let Ok(mut body) = Body::read(body) else { return (None, None) };
    let usage = body.usage();
    let stop = body.choice.or(body.other).and_then(|choice| named_stop(&choice));
    (usage, stop)
}

struct Reader<'a> {
    restore: &'a Restore,
    parts: Vec<Part<'a>>,
    /// How many tools the model wants used.
    tools: usize,
    /// A call says not of what.
    nameless: bool,
}

impl<'a> Reader<'a> {
    fn message(&mut self, said: Said<'a>) {
        said.speech(&mut |voice, text| {
            self.parts.push(match voice {
                Voice::Thought => Part::Reasoning(Reasoning { text, signature: None }),
                Voice::Text => Part::Text(text),
            });
        });
        calls(said.tool_calls, |call| self.call(call));
        if let Some(function) = object(said.function_call).filter(|_| self.tools == 0) {
            self.function(Text::EMPTY, &function);
        }
    }

    fn call(&mut self, mut call: Call<'a>) {
        match object(call.function.take()) {
            Some(function) => self.function(call.id(), &function),
            None => self.nameless = true,
        }
    }

    fn function(&mut self, id: Text<'a>, function: &Function<'a>) {
        let name = function.name();
        if name.is_empty() {
            self.nameless = true;
            return;
        }
        let id = if id.is_empty() { Text::from_escaped(format!("call_{}", self.tools)) } else { id };
        self.tools += 1;
        self.parts.push(Part::ToolUse(ToolUse { id, name: self.restore.tool_name(name), input: input(function.arguments()) }));
    }
}

/// The arguments as a JSON object, borrowed where nothing was escaped.
fn input(arguments: Text<'_>) -> Cow<'_, str> {
    let json = match arguments.into_escaped() {
        Cow::Borrowed(text) if !text.contains('\\') => Cow::Borrowed(text),
        escaped => Cow::Owned(Text::from_escaped(escaped).unescape().into_owned()),
    };
    let is_object = |text: &str| Raw::parse(text).is_ok_and(|raw| raw.kind() == Kind::Object);
    match json {
        Cow::Borrowed(text) if is_object(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) if is_object(&text) => Cow::Owned(text),
        _ => Cow::Borrowed("{}"),
    }
}

#[cfg(test)]
mod tests;
