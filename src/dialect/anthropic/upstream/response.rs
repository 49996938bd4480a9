//! A whole Messages answer, read into the canonical form.
//!
//! Read leniently: blocks that nobody knows, and those of tools that the provider runs itself, are passed over, counts may be missing. What cannot be passed
//! over is an answer without content; it comes with status 200 all the same.
//!
//! Vendor page: <https://platform.claude.com/docs/en/api/messages>.

use std::borrow::Cow;

use serde::Deserialize;

use super::answer::{Tally, stop_reason};
use super::error;
use crate::chat::{ApiError, Citation, ErrorKind, Part, Reasoning, Response, Restore, StopReason, ToolUse, Usage};
use crate::wire::json::{Kind, Raw, Text};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Raw<'a>>,
    #[serde(borrow, default)]
    content: Option<Raw<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Raw<'a>>,
    #[serde(borrow, default)]
    stop_sequence: Option<Raw<'a>>,
    #[serde(borrow, default)]
    usage: Option<Raw<'a>>,
    /// [`super::answer::METRICS`].
    #[serde(borrow, rename = "amazon-bedrock-invocationMetrics", default)]
    metrics: Option<Raw<'a>>,
}

/// The counts of a whole body, without its content.
#[derive(Deserialize)]
struct Counts<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<Raw<'a>>,
    #[serde(borrow, default)]
    usage: Option<Raw<'a>>,
    /// [`super::answer::METRICS`].
    #[serde(borrow, rename = "amazon-bedrock-invocationMetrics", default)]
    metrics: Option<Raw<'a>>,
}

/// Any block: which members count, its type tells.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Raw<'a>>,
    #[serde(borrow, default)]
    text: Option<Raw<'a>>,
    #[serde(borrow, default)]
    citations: Option<Raw<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Raw<'a>>,
    #[serde(borrow, default)]
    signature: Option<Raw<'a>>,
    #[serde(borrow, default)]
    data: Option<Raw<'a>>,
    #[serde(borrow, default)]
    id: Option<Raw<'a>>,
    #[serde(borrow, default)]
    name: Option<Raw<'a>>,
    #[serde(borrow, default)]
    input: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct WireCitation<'a> {
    #[serde(borrow, default)]
    url: Option<Raw<'a>>,
    #[serde(borrow, default)]
    source: Option<Raw<'a>>,
    #[serde(borrow, default)]
    title: Option<Raw<'a>>,
}

/// Reads a whole answer.
///
/// `{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{…}}` → one text part, `EndTurn`.
///
/// # Errors
/// 502 for what is not a Messages answer, one without content among them; the error that the body tells, if it is one.
pub fn decode<'a>(body: &'a str, restore: &'a Restore) -> Result<Response<'a>, ApiError> {
    let text = body;
    let body: Body<'a> = serde_json::from_str(text).map_err(|_| unreadable())?;
    if body.kind.and_then(Raw::text).is_some_and(|kind| kind == "error") {
        return Err(error::event(text.as_bytes()));
    }
    let without = || ApiError::new(ErrorKind::BadUpstream, "the model provider answered without a message");
    let content = body.content.filter(|content| content.kind() == Kind::Array).ok_or_else(without)?;
    let blocks: Vec<Block<'a>> = content.read().map_err(|_| unreadable())?;
    let mut reader = Reader { restore, parts: Vec::with_capacity(blocks.len()), citations: Vec::new(), characters: None };
    for block in blocks {
        reader.block(block)?;
    }
    let mut tally = Tally::default();
    body.usage.into_iter().for_each(|usage| tally.take(usage));
    body.metrics.into_iter().for_each(|metrics| tally.take_metrics(metrics));
    Ok(Response {
        parts: reader.parts,
        citations: reader.citations,
        stop: body.stop_reason.and_then(Raw::text).map_or(StopReason::EndTurn, stop_reason),
        stop_sequence: body.stop_sequence.and_then(Raw::text),
        usage: tally.usage(),
        service_tier: tally.into_tier(),
    })
}

/// Reads how many tokens a request has: the answer of `POST /v1/messages/count_tokens`.
///
/// `{"input_tokens":14}` → 14.
///
/// # Errors
/// 502 for anything else.
pub fn decode_count(body: &str) -> Result<u64, ApiError> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: u64,
    }
    serde_json::from_str(body).map(|count: Count| count.input_tokens).map_err(|_| unreadable())
}

/// Reads the counts of a whole answer that is relayed as it stands, and why the model stopped, by its stable name.
#[must_use]
pub fn usage(body: &str) -> (Option<Usage>, Option<&'static str>) {
    let Ok(counts) = serde_json::from_str::<Counts<'_>>(body) else { return (None, None) };
    let mut tally = Tally::default();
    counts.usage.into_iter().for_each(|usage| tally.take(usage));
    counts.metrics.into_iter().for_each(|metrics| tally.take_metrics(metrics));
    (tally.usage(), counts.stop_reason.and_then(Raw::text).map(|reason| stop_reason(reason).as_str()))
}

fn unreadable() -> ApiError {
    ApiError::new(ErrorKind::BadUpstream, "the model provider's answer could not be read")
}

struct Reader<'a> {
    restore: &'a Restore,
    parts: Vec<Part<'a>>,
    citations: Vec<Citation<'a>>,
    /// How many characters the texts of so many parts have: counted only for citations.
    characters: Option<(usize, usize)>,
}

impl<'a> Reader<'a> {
    fn block(&mut self, block: Block<'a>) -> Result<(), ApiError> {
        let text = |member: Option<Raw<'a>>| member.and_then(Raw::text);
        let kind = text(block.kind).unwrap_or_default();
        match kind.escaped() {
            "text" => {
                let said = text(block.text).unwrap_or_default();
                if let Some(citations) = block.citations.filter(|citations| citations.kind() == Kind::Array) {
                    self.cited(&said, citations);
                }
                self.parts.push(Part::Text(said));
            }
            "thinking" => {
                let signature = text(block.signature).filter(|seal| !seal.is_empty());
                self.parts.push(Part::Reasoning(Reasoning { text: text(block.thinking).unwrap_or_default(), signature }));
            }
            "redacted_thinking" => self.parts.extend(text(block.data).map(Part::RedactedReasoning)),
            "tool_use" => {
                let (Some(id), Some(name)) = (text(block.id), text(block.name)) else { return Err(unreadable()) };
                let input = block.input.filter(|input| input.kind() == Kind::Object).map_or("{}", Raw::as_str);
                self.parts.push(Part::ToolUse(ToolUse { id, name: self.restore.tool_name(name), input: Cow::Borrowed(input) }));
            }
            _ => {}
        }
        Ok(())
    }

    /// The web pages that the text to come rests on: all of them on all of it. Places in documents of the request are passed over.
    fn cited(&mut self, said: &Text<'a>, citations: Raw<'a>) {
        let Ok(citations) = citations.read::<Vec<WireCitation<'a>>>() else { return };
        for citation in citations {
            let source = citation.source.and_then(Raw::text).filter(is_web);
            let Some(url) = citation.url.and_then(Raw::text).or(source) else { continue };
            let start = self.characters();
            let span = start..start + length(said);
            self.citations.push(Citation { span, url, title: citation.title.and_then(Raw::text) });
        }
    }

    /// How many characters the texts so far have.
    fn characters(&mut self) -> usize {
        let (parts, characters) = self.characters.unwrap_or_default();
        let of = |part: &Part<'_>| if let Part::Text(text) = part { length(text) } else { 0 };
        let characters = characters + self.parts.iter().skip(parts).map(of).sum::<usize>();
        self.characters = Some((self.parts.len(), characters));
        characters
    }
}

fn length(text: &Text<'_>) -> usize {
    text.unescape().chars().count()
}

fn is_web(source: &Text<'_>) -> bool {
    let plain = source.unescape();
    plain.starts_with("https://") || plain.starts_with("http://")
}

#[cfg(test)]
mod tests;
