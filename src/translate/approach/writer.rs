//! Writes what comes of the branches for the client: one answer, or one of several choices for each branch. Their tokens are those of all calls.

use crate::chat::read::{Path, items};
use crate::chat::{ApiError, End, Envelope, Event, EventDecoder, EventEncoder, Part, Response, Usage};
use crate::dialect::openai;
use crate::dialect::openai::choices::Choices;
use crate::dialect::openai::downstream::stream;
use crate::translate::{Client, Facts, Translation};
use crate::wire::json::{self, Text};

use super::output;
use super::step::Shape;

/// A whole answer of an upstream's that is the answer of a branch.
#[derive(Clone, Copy, Debug)]
pub struct Final<'a> {
    /// How to read it.
    pub translation: &'a Translation,
    /// As the upstream wrote it.
    pub body: &'a [u8],
    /// What of it counts.
    pub shape: Shape,
}

impl<'a> Final<'a> {
    fn read(&self) -> Result<Response<'a>, ApiError> {
        let (mut response, _) = self.translation.read(self.body)?;
        if self.shape == Shape::Output {
            let (texts, others) = std::mem::take(&mut response.parts).into_iter().partition::<Vec<_>, _>(|part| matches!(part, Part::Text(_)));
            let text: String = texts.iter().map(|part| if let Part::Text(text) = part { text.unescape() } else { "".into() }).collect();
            response.parts = others;
            response.parts.push(Part::Text(Text::from_plain(output::of(&text).to_owned())));
            // They told of places in another text.
            response.citations.clear();
        }
        Ok(response)
    }
}

/// Writes the answers of all branches, in their order. `usage` are the tokens of all calls.
///
/// # Errors
/// When one of the bodies is not an answer: 502.
pub fn encode(client: &Client, envelope: &Envelope, finals: &[Final<'_>], usage: Usage, out: &mut Vec<u8>) -> Result<Facts, ApiError> {
    let mut responses = finals.iter().map(Final::read).collect::<Result<Vec<_>, _>>()?;
    for (at, response) in responses.iter_mut().enumerate() {
        response.usage = (at == 0).then_some(usage);
    }
    let facts = Facts { usage: Some(usage), stop: responses.first().map(|response| response.stop.as_str()), ..Facts::default() };
    match (client, responses.first().zip(finals.first())) {
        (Client::OpenAi(style), _) => openai::downstream::response::encode_choices(&responses, envelope, style, out),
        // Its calls were planned for this client.
        (_, Some((response, first))) => first.translation.write(response, 0, out),
        (_, None) => {}
    }
    Ok(facts)
}

/// Each choice of a whole Chat Completions answer as an answer of its own; the answer itself where it has one, or is none.
#[must_use]
pub fn choices(body: &[u8]) -> Vec<Vec<u8>> {
    let read = || {
        let [list] = json::pick(std::str::from_utf8(body).ok()?, ["choices"]).ok()?;
        items(list, &Path::Root).ok()?.filter(|choices| choices.len() > 1)
    };
    match read() {
        Some(choices) => choices.iter().map(|choice| format!("{{\"choices\":[{}]}}", choice.as_str()).into_bytes()).collect(),
        None => vec![body.to_vec()],
    }
}

enum Encoder {
    One(Box<dyn EventEncoder>),
    Several(Choices<stream::Encoder>),
}

impl Encoder {
    fn event(&mut self, branch: usize, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Encoder::One(encoder) => encoder.event(event, out),
            Encoder::Several(choices) => choices.event(branch, event, out),
        }
    }

    fn finish(&mut self, end: &End, out: &mut Vec<u8>) {
        match self {
            Encoder::One(encoder) => encoder.finish(end, out),
            Encoder::Several(choices) => choices.finish(end, out),
        }
    }
}

/// The answer of one branch on its way.
#[derive(Default)]
struct Branch {
    decoder: Option<Box<dyn EventDecoder>>,
    /// Where what counts is a part of the text.
    output: Option<Output>,
    ended: bool,
}

/// The streamed answers of all branches, as one stream.
pub struct Writer {
    encoder: Encoder,
    branches: Vec<Branch>,
    facts: Facts,
    content: bool,
    failed: Option<ApiError>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Writer {
    /// A stream of so many branches, one at least. Only OpenAI's clients have room for more than one.
    #[must_use]
    pub fn new(client: &Client, envelope: &Envelope, branches: usize) -> Self {
        let encoder = match client {
            Client::OpenAi(style) if branches > 1 => Encoder::Several(stream::choices(envelope, style, u32::try_from(branches).unwrap_or(u32::MAX))),
            client => Encoder::One(client.encoder(envelope)),
        };
        let branches = (0..branches.max(1)).map(|_| Branch::default()).collect();
        Writer { encoder, branches, facts: Facts::default(), content: false, failed: None }
    }

    /// A branch's last call answers.
    pub fn open(&mut self, branch: usize, translation: &Translation, shape: Shape) {
        if let Some(branch) = self.branches.get_mut(branch) {
            branch.decoder = Some(translation.api.decoder(translation.restore.clone()));
            branch.output = (shape == Shape::Output).then(Output::default);
        }
    }

    /// Bytes of that answer as they come, cut anywhere.
    pub fn push(&mut self, branch: usize, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(mut decoder) = self.branches.get_mut(branch).and_then(|branch| branch.decoder.take()) else { return };
        decoder.push(bytes, &mut |event| self.event(branch, &event, out));
        if let Some(branch) = self.branches.get_mut(branch) {
            branch.decoder = Some(decoder);
        }
    }

    /// That answer has ended.
    pub fn finish(&mut self, branch: usize, out: &mut Vec<u8>) {
        let Some(found) = self.branches.get_mut(branch) else { return };
        found.ended = true;
        if let Some(End::Failed(error)) = found.decoder.take().map(|mut decoder| decoder.finish()) {
            self.fail(error, out);
        }
    }

    /// A branch's answer is one that is there as a whole. Its tokens have been counted.
    ///
    /// # Errors
    /// When it is not an answer: 502.
    pub fn whole(&mut self, branch: usize, answer: &Final<'_>, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let response = answer.read()?;
        self.event(branch, &Event::Start, out);
        let mut block = 0;
        for part in &response.parts {
            let text = |text: &Text<'_>| text.clone().into_owned();
            match part {
                Part::Text(said) => self.event(branch, &Event::TextDelta { block, text: text(said) }, out),
                Part::RedactedReasoning(content) => self.event(branch, &Event::ReasoningRedacted { block, content: text(content) }, out),
                Part::Reasoning(thought) => {
                    self.event(branch, &Event::ReasoningDelta { block, text: text(&thought.text) }, out);
                    if let Some(signature) = &thought.signature {
                        self.event(branch, &Event::ReasoningSignature { block, signature: text(signature) }, out);
                    }
                }
                _ => continue,
            }
            self.event(branch, &Event::BlockStop { block }, out);
            block += 1;
        }
        let Response { stop, stop_sequence, .. } = response;
        self.event(branch, &Event::Stop { reason: stop, stop_sequence }, out);
        if let Some(branch) = self.branches.get_mut(branch) {
            branch.ended = true;
        }
        Ok(())
    }

    /// Whether every branch has ended well.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_none() && self.branches.iter().all(|branch| branch.ended)
    }

    /// Ends the stream. `others` are the tokens of the calls that were not streamed.
    pub fn end(&mut self, others: Usage, out: &mut Vec<u8>) {
        if self.failed.is_some() {
            return;
        }
        let usage = self.facts.usage.map_or(others, |usage| usage.plus(others));
        self.encoder.event(0, &Event::Usage { usage, service_tier: None }, out);
        self.encoder.finish(&End::Complete, out);
    }

    /// One call failed, and with it all.
    pub fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if self.failed.is_none() {
            self.encoder.finish(&End::Failed(error.clone()), out);
            self.failed = Some(error);
        }
    }

    /// Why the stream failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&ApiError> {
        self.failed.as_ref()
    }

    /// Whether the client gets something of an answer's own.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.content
    }

    /// What was learned from the streamed answers.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts
    }

    fn event(&mut self, branch: usize, event: &Event<'_>, out: &mut Vec<u8>) {
        let Writer { encoder, branches, facts, content, failed } = self;
        if failed.is_some() {
            return;
        }
        match event {
            Event::Stop { reason, .. } => facts.stop = facts.stop.or(Some(reason.as_str())),
            Event::Usage { usage, .. } => {
                facts.usage = Some(facts.usage.map_or(*usage, |sum| sum.plus(*usage)));
                return;
            }
            Event::Unknown => facts.unknown_events = facts.unknown_events.saturating_add(1),
            Event::Failed(error) => *failed = Some(error.clone()),
            _ => {}
        }
        let mut write = |event: &Event<'_>| {
            *content |= event.is_content();
            encoder.event(branch, event, out);
        };
        match branches.get_mut(branch).and_then(|branch| branch.output.as_mut()) {
            Some(output) => output.event(event, &mut write),
            None => write(event),
        }
    }
}

/// Lets through what stands in the output of a text.
#[derive(Default)]
struct Output {
    reader: output::Reader,
    /// The blocks that text came in. What is let through belongs to the first of them, whatever came between.
    blocks: Vec<u32>,
}

impl Output {
    fn event(&mut self, event: &Event<'_>, write: &mut dyn FnMut(&Event<'_>)) {
        match event {
            Event::TextDelta { block, text } => {
                if !self.blocks.contains(block) {
                    self.blocks.push(*block);
                }
                let block = self.blocks.first().copied().unwrap_or_default();
                let text = self.reader.push(&text.unescape());
                if !text.is_empty() {
                    write(&Event::TextDelta { block, text: Text::from_plain(text) });
                }
            }
            Event::BlockStop { block } if self.blocks.contains(block) => {}
            Event::Stop { .. } => {
                if let Some(block) = self.blocks.first().copied() {
                    let text = self.reader.finish();
                    if !text.is_empty() {
                        write(&Event::TextDelta { block, text: Text::from_plain(text) });
                    }
                    write(&Event::BlockStop { block });
                }
                write(event);
            }
            event => write(event),
        }
    }
}
