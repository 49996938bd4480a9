//! What a whole answer and a chunk of a streamed one have in common: the body around the choice, what is said in it, why the model stopped, and tokens.
//!
//! Read in place and leniently: members that nobody needs are passed over, members that are missing are missed by nobody. Servers that speak this API differ
//! in nearly everything but the names.

use crate::chat::fields;
use crate::chat::read::{Leaf, Members, Path, Shape, Stop, each, flat, list};
use crate::chat::{ApiError, ErrorKind, StopReason, Usage};
use crate::wire::json::{Kind, Raw, Reader, Syntax, Text};

flat! {
    /// An item of `choices`, whole or in a chunk.
    pub(super) struct Choice {
        index: Raw<'a> = "index",
        message: Shape<Said<'a>> = "message",
        delta: Shape<Said<'a>> = "delta",
        finish_reason: Raw<'a> = "finish_reason",
        // vLLM tells the stop text that was met, or the number of the token.
        stop_reason: Raw<'a> = "stop_reason",
        // SGLang's name for the same.
        matched_stop: Raw<'a> = "matched_stop",
        // Moonshot counts here.
        usage: Shape<Counts<'a>> = "usage",
    }
}

flat! {
    /// A message, or a piece of one.
    pub(super) struct Said {
        content: Raw<'a> = "content",
        refusal: Raw<'a> = "refusal",
        reasoning_content: Raw<'a> = "reasoning_content",
        reasoning: Raw<'a> = "reasoning",
        tool_calls: Raw<'a> = "tool_calls",
        function_call: Shape<Function<'a>> = "function_call",
    }
}

flat! {
    /// An item of `content`, where that is a list.
    pub(super) struct Part {
        text: Raw<'a> = "text",
        refusal: Raw<'a> = "refusal",
        thinking: Raw<'a> = "thinking",
    }
}

flat! {
    /// An item of `tool_calls`.
    pub(super) struct Call {
        index: Raw<'a> = "index",
        id: Raw<'a> = "id",
        function: Shape<Function<'a>> = "function",
    }
}

flat! {
    /// What is to be called, and with what.
    pub(super) struct Function {
        name: Raw<'a> = "name",
        arguments: Raw<'a> = "arguments",
    }
}

flat! {
    /// `usage`, of chat and of embeddings.
    pub(super) struct Counts {
        prompt: Raw<'a> = "prompt_tokens",
        completion: Raw<'a> = "completion_tokens",
        total: Raw<'a> = "total_tokens",
        prompt_details: Shape<PromptDetails<'a>> = "prompt_tokens_details",
        completion_details: Shape<CompletionDetails<'a>> = "completion_tokens_details",
        // DeepSeek's name for what came from the cache.
        cache_hit: Raw<'a> = "prompt_cache_hit_tokens",
        // Moonshot's.
        cached: Raw<'a> = "cached_tokens",
    }
}

flat! {
    pub(super) struct PromptDetails {
        cached: Raw<'a> = "cached_tokens",
        written: Raw<'a> = "cache_write_tokens",
        // LiteLLM's name for what went into the cache.
        created: Raw<'a> = "cache_creation_tokens",
    }
}

flat! {
    pub(super) struct CompletionDetails {
        reasoning: Raw<'a> = "reasoning_tokens",
    }
}

/// A whole answer or a chunk of one, as far as it matters.
#[derive(Default)]
pub(super) struct Body<'a> {
    /// The choice of the index 0, or without one.
    pub(super) choice: Option<Choice<'a>>,
    /// The first choice of another index.
    pub(super) other: Option<Choice<'a>>,
    /// The error that stands in the place of an answer.
    pub(super) error: Option<Raw<'a>>,
    pub(super) service_tier: Option<Text<'a>>,
    usage: Option<Usage>,
}

impl<'a> Body<'a> {
    /// Reads a body, or the first item of a list of them: Gemini's API wraps its errors so.
    ///
    /// # Errors
    /// When it is not JSON, or not an object with a list of objects as its `choices`.
    pub(super) fn read(text: &'a str) -> Result<Self, Stop> {
        let mut reader = Reader::new(text);
        let mut body = Body::default();
        if reader.kind()? == Kind::Array {
            let mut first = true;
            reader.array(|reader| if std::mem::take(&mut first) { body.object(reader) } else { reader.value().map(drop).map_err(Stop::from) })?;
        } else {
            body.object(&mut reader)?;
        }
        reader.end()?;
        if body.is_error(text) {
            body.error = Raw::parse(text).ok();
        }
        Ok(body)
    }

    fn object(&mut self, reader: &mut Reader<'a>) -> Result<(), Stop> {
        reader.object(|name, reader| {
            match &*name {
                "choices" => {
                    list(reader, &Path::Root, |_, choice: Choice<'a>| {
                        let place = if choice.is_first() { &mut self.choice } else { &mut self.other };
                        place.get_or_insert(choice);
                        Ok(())
                    })?;
                }
                "usage" => self.usage = read::<Shape<Counts<'a>>>(reader)?.and_then(counts).or(self.usage),
                "service_tier" => self.service_tier = reader.value()?.text(),
                "error" => self.error = Some(reader.value()?).filter(|raw| !matches!(raw.as_str(), "null" | "false" | "\"\"" | "{}")),
                _ => drop(reader.value()?),
            }
            Ok::<(), Stop>(())
        })
    }

    /// Older vLLM writes its errors without a member around them: `{"object":"error","message":"…","code":400}`.
    fn is_error(&self, text: &str) -> bool {
        if self.choice.is_some() || self.other.is_some() || self.error.is_some() || !text.contains("\"error\"") {
            return false;
        }
        let members = Raw::parse(text).ok().and_then(fields::Members::of);
        members.and_then(|members| members.value("object")).and_then(Raw::text).is_some_and(|kind| kind == *"error")
    }

    /// The tokens, wherever they stand.
    pub(super) fn usage(&mut self) -> Option<Usage> {
        self.usage.or_else(|| self.choice.as_mut().and_then(|choice| choice.usage.take()).and_then(counts))
    }
}

fn read<'a, T: Leaf<'a>>(reader: &mut Reader<'a>) -> Result<Option<T>, Syntax> {
    T::read(reader)
}

impl<'a> Choice<'a> {
    fn is_first(&self) -> bool {
        self.index.is_none_or(|index| index.as_str() == "0")
    }

    /// The reason why the model stopped, in the server's word. Some send an empty one for as long as it has not.
    pub(super) fn finish_reason(&self) -> Option<Text<'a>> {
        self.finish_reason.and_then(Raw::text).filter(|reason| !reason.is_empty())
    }

    /// The stop text that was met, where the server tells.
    pub(super) fn stop_text(&self) -> Option<Text<'a>> {
        self.stop_reason.and_then(Raw::text).or_else(|| self.matched_stop.and_then(Raw::text)).filter(|text| !text.is_empty())
    }
}

/// Who speaks in a piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// What the model thinks.
    Thought,
    /// What it says.
    Text,
}

impl<'a> Said<'a> {
    /// Hands over what is thought and said, in that order, but nothing empty.
    pub(super) fn speech(&self, each: &mut dyn FnMut(Voice, Text<'a>)) {
        let mut hand = |voice, raw: Option<Raw<'a>>| {
            let text = raw.and_then(Raw::text).filter(|text| !text.is_empty());
            let found = text.is_some();
            text.into_iter().for_each(|text| each(voice, text));
            found
        };
        // Servers that have both names say the same under both.
        let _ = hand(Voice::Thought, self.reasoning_content) || hand(Voice::Thought, self.reasoning);
        match self.content {
            Some(list) if list.kind() == Kind::Array => parts(list, each),
            content => _ = hand(Voice::Text, content),
        }
        if let Some(text) = self.refusal.and_then(Raw::text).filter(|text| !text.is_empty()) {
            each(Voice::Text, text);
        }
    }
}

/// Hands over what a list of content parts says. Mistral's models think in such.
fn parts<'a>(list: Raw<'a>, hand: &mut dyn FnMut(Voice, Text<'a>)) {
    let filled = |raw: Option<Raw<'a>>| raw.and_then(Raw::text).filter(|text| !text.is_empty());
    let _ = each(list, &Path::Root, |_, part: Part<'a>| {
        match part.thinking {
            Some(list) if list.kind() == Kind::Array => {
                let _ = each(list, &Path::Root, |_, part: Part<'a>| {
                    filled(part.text).into_iter().for_each(|text| hand(Voice::Thought, text));
                    Ok(())
                });
            }
            thinking => filled(thinking).into_iter().for_each(|text| hand(Voice::Thought, text)),
        }
        filled(part.text).or_else(|| filled(part.refusal)).into_iter().for_each(|text| hand(Voice::Text, text));
        Ok(())
    });
}

impl<'a> Call<'a> {
    /// What pairs the call with its result; may be empty.
    pub(super) fn id(&self) -> Text<'a> {
        self.id.and_then(Raw::text).unwrap_or_default()
    }

    /// Which of the calls of an answer it belongs to, where the server counts.
    pub(super) fn index(&self) -> Option<u64> {
        self.index.and_then(|index| index.as_str().parse().ok())
    }
}

impl<'a> Function<'a> {
    /// The tool, or a piece of its name; may be empty.
    pub(super) fn name(&self) -> Text<'a> {
        self.name.and_then(Raw::text).unwrap_or_default()
    }

    /// JSON text, or a piece of it, in the escaped form of a string; may be empty. Some servers write the object itself.
    pub(super) fn arguments(&self) -> Text<'a> {
        match self.arguments {
            Some(raw) if raw.kind() == Kind::Object => Text::from_plain(raw.as_str()),
            raw => raw.and_then(Raw::text).unwrap_or_default(),
        }
    }
}

/// Hands over the calls of a list. What is none is passed over.
pub(super) fn calls<'a>(list: Option<Raw<'a>>, mut hand: impl FnMut(Call<'a>)) {
    let Some(list) = list.filter(|raw| raw.kind() == Kind::Array) else { return };
    let _ = each(list, &Path::Root, |_, call: Call<'a>| {
        hand(call);
        Ok(())
    });
}

/// The object that stands there, if one does.
pub(super) fn object<'a, T: Members<'a>>(shape: Option<Shape<T>>) -> Option<T> {
    match shape {
        Some(Shape::Object(object)) => Some(object),
        Some(Shape::Other(_)) | None => None,
    }
}

/// Why the model stopped. `met` is the stop text that was met; `tools` says whether there are calls, which some servers end with `stop`.
pub(super) fn stop_reason<'a>(reason: Text<'a>, met: Option<&Text<'_>>, tools: bool) -> StopReason<'a> {
    match reason.escaped() {
        "stop" | "tool_calls" | "function_call" | "eos" if tools => StopReason::ToolUse,
        "stop" | "eos" if met.is_some() => StopReason::StopSequence,
        // No call was made, whatever the server says: nobody must wait for one.
        "stop" | "tool_calls" | "function_call" | "eos" => StopReason::EndTurn,
        "stop_sequence" => StopReason::StopSequence,
        "length" | "max_tokens" => StopReason::MaxTokens,
        "model_length" => StopReason::ContextWindowExceeded,
        "content_filter" => StopReason::ContentFiltered,
        _ => StopReason::Other(reason),
    }
}

/// The stable name of why the model stopped, for who passes the choice on without reading what is said in it.
pub(super) fn named_stop(choice: &Choice<'_>) -> Option<&'static str> {
    let reason = choice.finish_reason()?;
    let tools = reason != *"stop";
    Some(stop_reason(reason, choice.stop_text().as_ref(), tools).as_str())
}

/// The error that a finish reason stands for: OpenRouter and Mistral end so what failed, DeepSeek what it had no room for.
pub(super) fn failure(reason: &Text<'_>) -> Option<ApiError> {
    match reason.escaped() {
        "error" => Some(ApiError::new(ErrorKind::ModelError, "the model failed while it worked on the request")),
        "insufficient_system_resource" => Some(ApiError::new(ErrorKind::Unavailable, "the model provider is temporarily unavailable")),
        _ => None,
    }
}

/// Tokens. Here the prompt includes what came from the cache and what went into it.
fn counts(shape: Shape<Counts<'_>>) -> Option<Usage> {
    let counts = object(Some(shape))?;
    let prompt = count(counts.prompt).unwrap_or(0);
    let details = object(counts.prompt_details).unwrap_or_default();
    let read = count(details.cached).or_else(|| count(counts.cache_hit)).or_else(|| count(counts.cached)).unwrap_or(0);
    let written = count(details.written).or_else(|| count(details.created)).unwrap_or(0);
    // Gemini and xAI leave thoughts out of the completion but not out of the total, and Gemini leaves out an empty completion.
    let rest = count(counts.total).unwrap_or(0).saturating_sub(prompt);
    Some(Usage {
        input_tokens: prompt.saturating_sub(read).saturating_sub(written),
        output_tokens: count(counts.completion).unwrap_or(0).max(rest),
        cache_read_tokens: read,
        cache_write_tokens: written,
        cache_write_1h_tokens: 0,
        reasoning_tokens: object(counts.completion_details).and_then(|details| count(details.reasoning)),
    })
}

fn count(raw: Option<Raw<'_>>) -> Option<u64> {
    /// Up to here a double holds every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let raw = raw?;
    // A whole number in a range that a double holds: the cast keeps the value.
    raw.as_str().parse().ok().or_else(|| raw.number().filter(|number| (0.0..=EXACT).contains(number)).map(|number| number as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Usage {
        Body::read(&format!(r#"{{"usage":{json}}}"#)).unwrap_or_default().usage().unwrap()
    }

    #[test]
    fn trap_27_the_prompt_includes_what_is_cached() {
        let found = usage(
            r#"{"prompt_tokens":110,"completion_tokens":5,"total_tokens":115,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":40,"audio_tokens":0},
               "completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0}}"#,
        );
        let expected =
            Usage { input_tokens: 10, output_tokens: 5, cache_read_tokens: 60, cache_write_tokens: 40, cache_write_1h_tokens: 0, reasoning_tokens: Some(3) };
        assert_eq!(found, expected);
        assert_eq!(found.total_input_tokens(), 110);
    }

    #[test]
    fn counts_are_read_leniently() {
        for (json, input, output, read) in [
            (r#"{"prompt_tokens":7,"total_tokens":7}"#, 7, 0, 0),
            (r#"{"prompt_tokens":7,"completion_tokens":2,"total_tokens":19}"#, 7, 12, 0),
            (r#"{"prompt_tokens":7,"completion_tokens":null,"total_tokens":9,"prompt_tokens_details":null}"#, 7, 2, 0),
            (r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}"#, 6, 1, 4),
            (r#"{"prompt_tokens":10,"completion_tokens":1,"cached_tokens":4}"#, 6, 1, 4),
            (r#"{"prompt_tokens":3.0,"completion_tokens":1e1,"prompt_tokens_details":{"cached_tokens":9}}"#, 0, 10, 9),
            (r#"{"prompt_tokens":"3","completion_tokens":-1,"prompt_tokens_details":[]}"#, 0, 0, 0),
            ("{}", 0, 0, 0),
        ] {
            let found = usage(json);
            assert_eq!((found.input_tokens, found.output_tokens, found.cache_read_tokens), (input, output, read), "{json}");
        }
        for json in ["null", "3", "[]", "\"x\""] {
            assert!(Body::read(&format!(r#"{{"usage":{json}}}"#)).unwrap_or_default().usage().is_none(), "{json}");
        }
    }

    #[test]
    fn trap_45_finish_reasons() {
        let met = Text::from_plain("END");
        for (name, met, tools, reason) in [
            ("stop", None, false, StopReason::EndTurn),
            ("stop", Some(&met), false, StopReason::StopSequence),
            ("stop", None, true, StopReason::ToolUse),
            ("tool_calls", None, true, StopReason::ToolUse),
            ("tool_calls", None, false, StopReason::EndTurn),
            ("function_call", None, true, StopReason::ToolUse),
            ("length", None, true, StopReason::MaxTokens),
            ("content_filter", None, false, StopReason::ContentFiltered),
            ("model_length", None, false, StopReason::ContextWindowExceeded),
            ("abort", None, false, StopReason::Other(Text::from_plain("abort"))),
        ] {
            assert_eq!(stop_reason(Text::from_plain(name), met, tools), reason, "{name}");
        }
    }

    #[test]
    fn a_list_of_parts_speaks_in_its_order() {
        let json = r#"{"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"},{"type":"new"},
            {"type":"refusal","refusal":"no"},{"type":"thinking","thinking":"ha"}],"refusal":"never"}}]}"#;
        let body = Body::read(json).unwrap_or_default();
        let mut heard = Vec::new();
        let said = object(body.choice.and_then(|choice| choice.message)).unwrap();
        said.speech(&mut |voice, text| heard.push(format!("{voice:?} {}", text.unescape())));
        assert_eq!(heard, ["Thought hm", "Text a", "Text no", "Thought ha", "Text never"]);
    }
}
