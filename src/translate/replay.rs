//! A whole answer written as the stream that its client would have got, and the other way round: for answers that are given again in another form than they came.
//!
//! ```text
//! body ──▶ Response ──▶ events ──▶ stream
//! stream ─▶ events ───▶ Response ─▶ body
//! ```
//!
//! Both go through the canonical form, so what that has no place for (several choices, sound, citations in streams) is refused here rather than lost; so are the
//! seals of thoughts in OpenAI's dialect, which its models do not have and its readers do not know.

use memchr::memmem;

use crate::chat::{ApiError, End, ErrorKind, Event, Part, Reasoning, Response, StopReason, ToolUse, Usage};
use crate::translate::{Api, Translation};
use crate::wire::json::Text;

impl Translation {
    /// Writes a whole answer, which is in the API that is named as the upstream's, as a stream of the client's.
    ///
    /// # Errors
    /// When it is not an answer, or one that no stream can tell.
    pub fn as_stream(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.is_readable(body)?;
        let (response, _) = self.read(body)?;
        let mut encoder = self.client.encoder(&self.envelope);
        events(&response, &mut |event| encoder.event(&event, out))?;
        encoder.finish(&End::Complete, out);
        Ok(())
    }

    /// Writes a whole stream, which is in the API that is named as the upstream's, as one body of the client's. `usage` is what is known of its tokens
    /// where the stream does not tell.
    ///
    /// # Errors
    /// When it is not a stream that has ended as it should.
    pub fn as_body(&self, stream: &[u8], usage: Option<Usage>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        self.is_readable(stream)?;
        let mut decoder = self.api.decoder(self.restore.clone());
        let mut gathered = Gathered::default();
        decoder.push(stream, &mut |event| gathered.take(event));
        let whole = matches!(decoder.finish(), End::Complete);
        let response = gathered.into_response(usage).filter(|_| whole).ok_or_else(cannot)?;
        self.write(&response, 0, out);
        Ok(())
    }

    fn is_readable(&self, answer: &[u8]) -> Result<(), ApiError> {
        let seals: [&[u8]; 3] = [b"\"reasoning_signature\":", b"\"thinking_blocks\":", b"\"reasoning_details\":"];
        let is_sealed = self.api == Api::OpenAi && seals.iter().any(|seal| memmem::find(answer, seal).is_some());
        if is_sealed { Err(cannot()) } else { Ok(()) }
    }
}

fn cannot() -> ApiError {
    ApiError::new(ErrorKind::Internal, "The answer cannot be written in another form.")
}

/// The events of a whole answer.
fn events(response: &Response<'_>, event: &mut dyn FnMut(Event<'_>)) -> Result<(), ApiError> {
    if !response.citations.is_empty() {
        return Err(cannot());
    }
    event(Event::Start);
    for (block, part) in (0..).zip(&response.parts) {
        match part {
            Part::Text(text) => event(Event::TextDelta { block, text: text.borrowed() }),
            Part::Reasoning(Reasoning { text, signature }) => {
                if !text.is_empty() {
                    event(Event::ReasoningDelta { block, text: text.borrowed() });
                }
                if let Some(signature) = signature {
                    event(Event::ReasoningSignature { block, signature: signature.borrowed() });
                }
            }
            Part::RedactedReasoning(content) => event(Event::ReasoningRedacted { block, content: content.borrowed() }),
            Part::ToolUse(ToolUse { id, name, input }) => {
                event(Event::ToolStart { block, id: id.borrowed(), name: name.borrowed() });
                event(Event::ToolDelta { block, fragment: Text::from_plain(&**input) });
            }
            _ => return Err(cannot()),
        }
        event(Event::BlockStop { block });
    }
    event(Event::Stop { reason: response.stop.clone(), stop_sequence: response.stop_sequence.as_ref().map(Text::borrowed) });
    if let Some(usage) = response.usage {
        event(Event::Usage { usage, service_tier: response.service_tier.as_ref().map(Text::borrowed) });
    }
    Ok(())
}

/// What the events of one block have told so far; texts in escaped form.
#[derive(Debug)]
enum Block {
    Text(String),
    Reasoning { text: String, signature: Option<String> },
    Redacted(String),
    Tool { id: Text<'static>, name: Text<'static>, input: String },
}

/// What the events of a stream tell together.
#[derive(Debug, Default)]
struct Gathered {
    /// By the upstream's numbers, in the order in which they began.
    blocks: Vec<(u32, Block)>,
    stop: Option<(StopReason<'static>, Option<Text<'static>>)>,
    usage: Option<Usage>,
    service_tier: Option<Text<'static>>,
    /// An event that cannot be told in a body.
    is_lost: bool,
}

impl Gathered {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start | Event::BlockStop { .. } => {}
            Event::TextDelta { block, text } => match self.block(block, || Block::Text(String::new())) {
                Some(Block::Text(all)) => all.push_str(text.escaped()),
                _ => self.is_lost = true,
            },
            Event::ReasoningDelta { block, text } => match self.reasoning(block) {
                Some((all, _)) => all.push_str(text.escaped()),
                None => self.is_lost = true,
            },
            Event::ReasoningSignature { block, signature } => match self.reasoning(block) {
                Some((_, seal)) => seal.get_or_insert_default().push_str(signature.escaped()),
                None => self.is_lost = true,
            },
            Event::ReasoningRedacted { block, content } => match self.block(block, || Block::Redacted(String::new())) {
                Some(Block::Redacted(all)) => all.push_str(content.escaped()),
                _ => self.is_lost = true,
            },
            Event::ToolStart { block, id, name } => {
                let tool = Block::Tool { id: id.into_owned(), name: name.into_owned(), input: String::new() };
                self.blocks.push((block, tool));
            }
            Event::ToolDelta { block, fragment } => match self.blocks.iter_mut().rev().find(|(number, _)| *number == block) {
                Some((_, Block::Tool { input, .. })) => input.push_str(fragment.escaped()),
                _ => self.is_lost = true,
            },
            Event::Stop { reason, stop_sequence } => self.stop = Some((owned(reason), stop_sequence.map(Text::into_owned))),
            Event::Usage { usage, service_tier } => {
                self.usage = Some(usage);
                self.service_tier = service_tier.map(Text::into_owned).or_else(|| self.service_tier.take());
            }
            Event::Failed(_) | Event::Unknown => self.is_lost = true,
        }
    }

    /// The last block of a number, begun if it is not there.
    fn block(&mut self, number: u32, begin: impl FnOnce() -> Block) -> Option<&mut Block> {
        if !self.blocks.iter().any(|(known, _)| *known == number) {
            self.blocks.push((number, begin()));
        }
        self.blocks.iter_mut().rev().find(|(known, _)| *known == number).map(|(_, block)| block)
    }

    fn reasoning(&mut self, number: u32) -> Option<(&mut String, &mut Option<String>)> {
        match self.block(number, || Block::Reasoning { text: String::new(), signature: None }) {
            Some(Block::Reasoning { text, signature }) => Some((text, signature)),
            _ => None,
        }
    }

    fn into_response(self, usage: Option<Usage>) -> Option<Response<'static>> {
        let (stop, stop_sequence) = self.stop.filter(|_| !self.is_lost)?;
        let text = |escaped: String| Text::from_escaped(escaped);
        let part = |block| match block {
            Block::Text(all) => Part::Text(text(all)),
            Block::Reasoning { text: all, signature } => Part::Reasoning(Reasoning { text: text(all), signature: signature.map(text) }),
            Block::Redacted(all) => Part::RedactedReasoning(text(all)),
            // A tool without arguments is used with none.
            Block::Tool { id, name, input } if input.is_empty() => Part::ToolUse(ToolUse { id, name, input: "{}".into() }),
            Block::Tool { id, name, input } => Part::ToolUse(ToolUse { id, name, input: text(input).unescape().into_owned().into() }),
        };
        Some(Response {
            parts: self.blocks.into_iter().map(|(_, block)| part(block)).collect(),
            citations: Vec::new(),
            stop,
            stop_sequence,
            usage: self.usage.or(usage),
            service_tier: self.service_tier,
        })
    }
}

fn owned(reason: StopReason<'_>) -> StopReason<'static> {
    match reason {
        StopReason::EndTurn => StopReason::EndTurn,
        StopReason::StopSequence => StopReason::StopSequence,
        StopReason::MaxTokens => StopReason::MaxTokens,
        StopReason::ToolUse => StopReason::ToolUse,
        StopReason::ContentFiltered => StopReason::ContentFiltered,
        StopReason::GuardrailIntervened => StopReason::GuardrailIntervened,
        StopReason::ContextWindowExceeded => StopReason::ContextWindowExceeded,
        StopReason::MalformedOutput => StopReason::MalformedOutput,
        StopReason::MalformedToolUse => StopReason::MalformedToolUse,
        StopReason::Other(name) => StopReason::Other(name.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Envelope, Restore};
    use crate::dialect::{anthropic, converse, openai};
    use crate::translate::{Api, Client};

    fn same(client: Client, api: Api) -> Translation {
        Translation { envelope: Envelope { id: "1".to_owned(), model: "m".to_owned(), created: 1 }, client, api, restore: Restore::default() }
    }

    fn clients() -> [(Client, Api); 3] {
        [
            (Client::OpenAi(openai::Style { include_usage: true, ..openai::Style::default() }), Api::OpenAi),
            (Client::Anthropic(anthropic::Style::default()), Api::Anthropic),
            (Client::Converse(converse::Style::default()), Api::Converse),
        ]
    }

    /// Without the seal of its thought, which not all can tell.
    fn unsealed() -> String {
        ANSWER.replace(r#","signature":"c2VhbA==""#, "")
    }

    const ANSWER: &str = r#"{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm\n","signature":"c2VhbA=="}}},{"text":"Let \"me\" é\ud83d\ude00 see"},{"toolUse":{"toolUseId":"t1","name":"look","input":{"a":[1,"\\\" "]}}},{"toolUse":{"toolUseId":"t2","name":"rest","input":{}}}]}},"stopReason":"tool_use","usage":{"inputTokens":7,"outputTokens":5,"totalTokens":12},"metrics":{"latencyMs":0}}"#;

    #[test]
    fn an_answer_is_the_same_behind_a_stream_of_it() {
        for (client, api) in clients() {
            let mut body = Vec::new();
            let answer = if api == Api::OpenAi { unsealed() } else { ANSWER.to_owned() };
            same(client.clone(), Api::Converse).body(answer.as_bytes(), 0, &mut body).unwrap();
            let own = same(client, api);
            let (mut stream, mut again) = (Vec::new(), Vec::new());
            own.as_stream(&body, &mut stream).unwrap();
            own.as_body(&stream, None, &mut again).unwrap();
            assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&body), "{api:?}");
        }
    }

    #[test]
    fn a_stream_that_was_cut_or_failed_is_no_answer() {
        for (client, api) in clients() {
            let mut body = Vec::new();
            same(client.clone(), Api::Converse).body(unsealed().as_bytes(), 0, &mut body).unwrap();
            let own = same(client, api);
            let mut stream = Vec::new();
            own.as_stream(&body, &mut stream).unwrap();
            for end in [0, 1, stream.len() / 2, stream.len() - 4] {
                assert!(own.as_body(&stream[..end], None, &mut Vec::new()).is_err(), "{api:?} {end}");
            }
        }
        let (client, api) = clients()[0].clone();
        let own = same(client.clone(), api);
        assert!(own.as_stream(b"{}", &mut Vec::new()).is_err());
        let mut sealed = Vec::new();
        same(client, Api::Converse).body(ANSWER.as_bytes(), 0, &mut sealed).unwrap();
        assert!(own.as_stream(&sealed, &mut Vec::new()).is_err(), "a seal would be lost");
    }

    #[test]
    fn tokens_that_a_stream_does_not_tell_are_told_all_the_same() {
        let own = same(Client::OpenAi(openai::Style::default()), Api::OpenAi);
        let (mut body, mut stream, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let facts = same(Client::OpenAi(openai::Style::default()), Api::Converse).body(unsealed().as_bytes(), 0, &mut body).unwrap();
        own.as_stream(&body, &mut stream).unwrap();
        assert!(!String::from_utf8_lossy(&stream).contains("\"usage\":{"), "it was not asked for");
        own.as_body(&stream, facts.usage, &mut again).unwrap();
        assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&body));
    }
}
