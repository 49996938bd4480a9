//! A whole Converse answer, read into the canonical form.
//!
//! Follows `ConverseResponse` of the service model, leniently: blocks that nobody knows are passed over, counts may be missing. What cannot be passed over is
//! an answer without a message; it comes with status 200 all the same.

use std::borrow::Cow;

use serde::Deserialize;

use crate::chat::{ApiError, Citation, ErrorKind, Part, Reasoning, Response, StopReason, ToolUse, Usage};
use crate::wire::json::{Raw, Text, pick};

use super::answer::{Additional, ServiceTier, TokenUsage, stop_reason, unwrapped};
use crate::chat::Restore;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default)]
    output: Option<Output<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    usage: Option<TokenUsage<'a>>,
    #[serde(borrow, default)]
    additional_model_response_fields: Option<Raw<'a>>,
    #[serde(borrow, default)]
    service_tier: Option<ServiceTier<'a>>,
}

/// The members of a body that are not the answer itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bill<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    usage: Option<TokenUsage<'a>>,
    #[serde(borrow, default)]
    additional_model_response_fields: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<Vec<Block<'a>>>,
}

/// A union: one member is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_use: Option<WireToolUse<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<ReasoningContent<'a>>,
    #[serde(borrow, default)]
    citations_content: Option<CitationsContent<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, default)]
    input: Option<Raw<'a>>,
    /// `server_tool_use`: the provider runs it itself.
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningContent<'a> {
    #[serde(borrow, default)]
    reasoning_text: Option<ReasoningText<'a>>,
    #[serde(borrow, default)]
    redacted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ReasoningText<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    signature: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct CitationsContent<'a> {
    #[serde(borrow, default)]
    content: Option<Vec<Cited<'a>>>,
    #[serde(borrow, default)]
    citations: Option<Vec<WireCitation<'a>>>,
}

#[derive(Deserialize)]
struct WireCitation<'a> {
    #[serde(borrow, default)]
    title: Option<Text<'a>>,
    #[serde(borrow, default)]
    location: Option<Location<'a>>,
}

/// A union. The other members tell places in documents of the request.
#[derive(Deserialize)]
struct Location<'a> {
    #[serde(borrow, default)]
    web: Option<Web<'a>>,
}

#[derive(Deserialize)]
struct Web<'a> {
    #[serde(borrow, default)]
    url: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Cited<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
}

/// Reads a whole answer.
///
/// `{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn","usage":{…}}` → one text part, `EndTurn`.
///
/// # Errors
/// 502 for what is not a Converse answer, an answer without a message among them.
pub fn decode<'a>(body: &'a str, restore: &'a Restore) -> Result<Response<'a>, ApiError> {
    let bad = |why: &'static str| ApiError::new(ErrorKind::BadUpstream, why);
    let body: Body<'a> = serde_json::from_str(body).map_err(|_| bad("the model provider's answer could not be read"))?;
    let message = body.output.and_then(|output| output.message).ok_or_else(|| bad("the model provider answered without a message"))?;
    let mut reader = Reader { restore, parts: Vec::new(), citations: Vec::new(), format: None, tools: 0 };
    for block in message.content.into_iter().flatten() {
        reader.block(block);
    }
    let mut stop = body.stop_reason.map_or(StopReason::EndTurn, stop_reason);
    if let Some(format) = reader.format {
        // The arguments are the answer: what the model said around them is not.
        reader.parts.retain(|part| !matches!(part, Part::Text(_)));
        let at = reader.parts.iter().position(|part| matches!(part, Part::ToolUse(_))).unwrap_or(reader.parts.len());
        reader.parts.insert(at, Part::Text(format));
        reader.citations.clear();
        if stop == StopReason::ToolUse && reader.tools == 0 {
            stop = StopReason::EndTurn;
        }
    }
    let additional = Additional::read(body.additional_model_response_fields);
    Ok(Response {
        parts: reader.parts,
        citations: reader.citations,
        stop,
        stop_sequence: additional.stop_sequence,
        usage: body.usage.map(|usage| usage.read(additional.reasoning_tokens)),
        service_tier: body.service_tier.and_then(|tier| tier.kind),
    })
}

/// Reads no more than what an answer cost and why it ended, for an answer that is passed on as it is: the counts, and the reason by
/// [`StopReason::as_str`].
#[must_use]
pub fn usage(body: &str) -> (Option<Usage>, Option<&'static str>) {
    let Ok(body) = serde_json::from_str::<Bill<'_>>(body) else { return (None, None) };
    let additional = Additional::read(body.additional_model_response_fields);
    (body.usage.map(|usage| usage.read(additional.reasoning_tokens)), body.stop_reason.map(|reason| stop_reason(reason).as_str()))
}

/// Reads the answer of CountTokens: `{"inputTokens":7}` → 7.
///
/// # Errors
/// 502 for what is no count.
pub fn decode_count(body: &str) -> Result<u64, ApiError> {
    let count = pick(body, ["inputTokens"]).ok().and_then(|[count]| count?.as_str().parse().ok());
    count.ok_or_else(|| ApiError::new(ErrorKind::BadUpstream, "the model provider answered without a count"))
}

struct Reader<'a> {
    restore: &'a Restore,
    parts: Vec<Part<'a>>,
    citations: Vec<Citation<'a>>,
    /// The arguments of the tool that stands for the output shape.
    format: Option<Text<'a>>,
    /// How many tools the model wants used.
    tools: usize,
}

impl<'a> Reader<'a> {
    fn block(&mut self, block: Block<'a>) {
        if let Some(text) = block.text {
            self.parts.push(Part::Text(text));
        }
        if let Some(cited) = block.citations_content {
            self.cited(cited);
        }
        if let Some(content) = block.reasoning_content {
            if let Some(thought) = content.reasoning_text {
                let text = thought.text.unwrap_or(Text::EMPTY);
                self.parts.push(Part::Reasoning(Reasoning { text, signature: thought.signature }));
            }
            self.parts.extend(content.redacted_content.map(Part::RedactedReasoning));
        }
        match block.tool_use {
            Some(used) if used.kind.as_ref().is_some_and(|kind| *kind == *"server_tool_use") => {}
            // One answer is enough.
            Some(used) if self.restore.is_format_tool(&used.name) && self.format.is_some() => {}
            Some(used) if self.restore.is_format_tool(&used.name) => {
                let json = used.input.map(|input| if self.restore.unwrap { unwrapped(input) } else { input });
                self.format = Some(Text::from_plain(json.map_or("{}", Raw::as_str)));
            }
            Some(used) => {
                self.tools += 1;
                let input = Cow::Borrowed(used.input.map_or("{}", Raw::as_str));
                self.parts.push(Part::ToolUse(ToolUse { id: used.tool_use_id, name: self.restore.tool_name(used.name), input }));
            }
            None => {}
        }
    }

    /// Text, and the web pages that it rests on: all of them on all of it.
    fn cited(&mut self, cited: CitationsContent<'a>) {
        let before = self.parts.len();
        self.parts.extend(cited.content.into_iter().flatten().filter_map(|cited| cited.text.map(Part::Text)));
        let mut span = None;
        for citation in cited.citations.into_iter().flatten() {
            let Some(url) = citation.location.and_then(|location| location.web).and_then(|web| web.url) else { continue };
            let span = span.get_or_insert_with(|| {
                let (old, new) = self.parts.split_at(before);
                let start = characters(old);
                start..start + characters(new)
            });
            self.citations.push(Citation { span: span.clone(), url, title: citation.title });
        }
    }
}

/// How many characters the texts have.
fn characters(parts: &[Part<'_>]) -> usize {
    let of = |part: &Part<'_>| if let Part::Text(text) = part { text.unescape().chars().count() } else { 0 };
    parts.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        std::fs::read_to_string(format!("{}/tests/fixtures/bedrock/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// The parts in short.
    fn short(response: &Response<'_>) -> Vec<String> {
        let of = |part: &Part<'_>| match part {
            Part::Text(text) => format!("text {}", text.unescape()),
            Part::ToolUse(used) => format!("tool {} {} {}", used.id.unescape(), used.name.unescape(), used.input.split_whitespace().collect::<String>()),
            Part::Reasoning(thought) => {
                format!("thought {} {:?}", thought.text.unescape(), thought.signature.as_ref().map(|seal| seal.unescape().into_owned()))
            }
            Part::RedactedReasoning(content) => format!("redacted {}", content.unescape()),
            other => format!("{other:?}"),
        };
        response.parts.iter().map(of).collect()
    }

    #[test]
    fn recorded_answers() {
        let restore = Restore::default();
        let body = fixture("basic.json");
        let response = decode(&body, &restore).unwrap();
        assert_eq!((short(&response), &response.stop), (vec!["text Hello world".to_owned()], &StopReason::EndTurn));
        assert_eq!(response.usage.unwrap(), Usage { input_tokens: 18, output_tokens: 46, ..Usage::default() });
        let body = fixture("max_tokens.json");
        assert_eq!(decode(&body, &restore).unwrap().stop, StopReason::MaxTokens);
        let body = fixture("tool.json");
        let response = decode(&body, &restore).unwrap();
        assert_eq!(
            short(&response),
            ["tool tooluse_kZJMlvQmRJ6eAyJE5GIl7Q top_song {\"sign\":\"WZPZ\"}", "tool tooluse_kZJMlvQmRJ6eAyxxx hello {\"sign\":\"world\"}"]
        );
        assert_eq!(response.stop, StopReason::ToolUse);
        assert!(response.usage.is_none(), "the recorded answer has none");
    }

    #[test]
    fn trap_44_an_answer_without_a_message_is_502() {
        for body in ["{}", r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#, r#"{"output":{}}"#, "", "<html>"] {
            let error = decode(body, &Restore::default()).map(|_| ()).unwrap_err();
            assert_eq!((error.kind, error.status), (ErrorKind::BadUpstream, 502), "{body}");
        }
    }

    #[test]
    fn trap_32_every_block_is_kept_or_passed_over() {
        let body = r#"{"output":{"message":{"role":"assistant","content":[
            {"reasoningContent":{"reasoningText":{"text":"hm\n","signature":"SIG=="}}},
            {"reasoningContent":{"redactedContent":"AAEC"}},
            {"text":"a"},{"citationsContent":{"content":[{"text":"b"},{"text":"c"}],"citations":[{"title":"t"}]}},
            {"image":{"format":"png","source":{"bytes":"AA"}}},{"somethingNew":{"x":[1]}},
            {"toolUse":{"toolUseId":"s","name":"search","input":{},"type":"server_tool_use"}},
            {"toolUse":{"toolUseId":"t","name":"f_1"}}]}},
            "stopReason":"stop_sequence","serviceTier":{"type":"flex"},"additionalModelResponseFields":{"stop_sequence":"END"},"trace":{}}"#;
        let restore = Restore { names: vec![("f_1".to_owned(), "f.1".to_owned())], ..Restore::default() };
        let response = decode(body, &restore).unwrap();
        assert_eq!(short(&response), ["thought hm\n Some(\"SIG==\")", "redacted AAEC", "text a", "text b", "text c", "tool t f.1 {}"]);
        assert_eq!(response.stop, StopReason::StopSequence);
        assert!(response.stop_sequence.unwrap() == "END" && response.service_tier.unwrap() == "flex");
    }

    #[test]
    fn counts_and_reason_alone() {
        assert_eq!(usage(&fixture("basic.json")), (Some(Usage { input_tokens: 18, output_tokens: 46, ..Usage::default() }), Some("end_turn")));
        assert_eq!(usage(&fixture("tool.json")), (None, Some("tool_use")));
        for body in ["", "{}", "[]", "<html>"] {
            assert_eq!(usage(body), (None, None));
        }
    }

    #[test]
    fn trap_59_the_format_tool_becomes_text() {
        let restore = Restore { format_tool: Some("json_answer".to_owned()), unwrap: true, ..Restore::default() };
        let body = |input: &str, more: &str| {
            format!(
                r#"{{"output":{{"message":{{"content":[{{"text":"Here:"}},{{"toolUse":{{"toolUseId":"t","name":"json_answer","input":{input}}}}}{more}]}}}},"stopReason":"tool_use"}}"#
            )
        };
        let text = body(r#"{"a":"\"x\""}"#, "");
        let response = decode(&text, &restore).unwrap();
        assert_eq!((short(&response), response.stop), (vec![r#"text {"a":"\"x\""}"#.to_owned()], StopReason::EndTurn));
        let text = body(r#"{"properties": {"a":1}}"#, "");
        assert_eq!(short(&decode(&text, &restore).unwrap()), [r#"text {"a":1}"#]);
        let own = Restore { unwrap: false, ..restore.clone() };
        assert_eq!(short(&decode(&text, &own).unwrap()), [r#"text {"properties": {"a":1}}"#], "the shape has such a member itself");
        let text = body(r#"{"a":1}"#, r#",{"toolUse":{"toolUseId":"u","name":"real","input":{}}}"#);
        let response = decode(&text, &restore).unwrap();
        assert_eq!((short(&response), response.stop), (vec![r#"text {"a":1}"#.to_owned(), "tool u real {}".to_owned()], StopReason::ToolUse));
    }
}
