//! Several answers to one request (`n`), from an upstream that makes one at a time: whole bodies merged, streams interleaved.

use crate::chat::{ApiError, End, Event, EventDecoder, Usage};
use crate::dialect::openai::choices;
use crate::dialect::openai::{self, completions, downstream};
use crate::translate::{Client, Facts, Translation};

impl Translation {
    /// Writes several whole answers as one.
    ///
    /// # Errors
    /// When one of the bodies is not an answer: 502.
    pub fn merged(&self, bodies: &[Vec<u8>], out: &mut Vec<u8>) -> Result<Facts, ApiError> {
        let mut responses = Vec::with_capacity(bodies.len());
        let mut facts = Facts::default();
        for body in bodies {
            let (response, learned) = self.read(body)?;
            responses.push(response);
            facts = add(facts, learned);
        }
        match &self.client {
            Client::Completions(style) => completions::response::encode(&responses, &self.envelope, style, out),
            _ => downstream::response::encode_choices(&responses, &self.envelope, &self.chat_style(), out),
        }
        Ok(facts)
    }

    /// Starts the streams of several answers.
    #[must_use]
    pub fn choices(&self, count: u32) -> Choices {
        Choices {
            decoders: (0..count).map(|_| Some(self.api.decoder(self.restore.clone()))).collect(),
            encoder: match &self.client {
                Client::Completions(style) => Writer::Completions(completions::stream::choices(&self.envelope, style, count)),
                _ => Writer::Chat(downstream::stream::choices(&self.envelope, &self.chat_style(), count)),
            },
            facts: Facts::default(),
            content: false,
            failed: None,
        }
    }

    /// Only OpenAI's clients ask for several answers; but for those of Completions they speak Chat.
    fn chat_style(&self) -> openai::Style {
        match &self.client {
            Client::OpenAi(style) => style.clone(),
            Client::Responses(_) | Client::Completions(_) | Client::Anthropic(_) | Client::Invoke(_) | Client::Converse(_) => openai::Style::default(),
        }
    }
}

fn add(one: Facts, two: Facts) -> Facts {
    Facts {
        usage: [one.usage, two.usage].into_iter().flatten().reduce(Usage::plus),
        stop: one.stop.or(two.stop),
        unknown_events: one.unknown_events.saturating_add(two.unknown_events),
    }
}

/// Writes all answers as one stream.
enum Writer {
    Chat(choices::Choices<downstream::stream::Encoder>),
    Completions(choices::Choices<completions::stream::Encoder>),
}

impl Writer {
    fn event(&mut self, choice: usize, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Writer::Chat(choices) => choices.event(choice, event, out),
            Writer::Completions(choices) => choices.event(choice, event, out),
        }
    }

    fn finish(&mut self, end: &End, out: &mut Vec<u8>) {
        match self {
            Writer::Chat(choices) => choices.finish(end, out),
            Writer::Completions(choices) => choices.finish(end, out),
        }
    }
}

/// Several streamed answers on their way, as one stream.
pub struct Choices {
    /// One an answer; none once it has ended.
    decoders: Vec<Option<Box<dyn EventDecoder>>>,
    encoder: Writer,
    facts: Facts,
    content: bool,
    failed: Option<ApiError>,
}

impl Choices {
    /// Translates bytes of one answer as they come, cut anywhere.
    pub fn push(&mut self, choice: usize, bytes: &[u8], out: &mut Vec<u8>) {
        let Choices { decoders, encoder, facts, content, failed } = self;
        let Some(Some(decoder)) = decoders.get_mut(choice) else { return };
        decoder.push(bytes, &mut |event| {
            if failed.is_some() {
                return;
            }
            match &event {
                Event::Stop { reason, .. } => facts.stop = facts.stop.or(Some(reason.as_str())),
                Event::Usage { usage, .. } => facts.usage = Some(facts.usage.map_or(*usage, |sum| sum.plus(*usage))),
                Event::Unknown => facts.unknown_events = facts.unknown_events.saturating_add(1),
                Event::Failed(error) => *failed = Some(error.clone()),
                _ => {}
            }
            *content |= event.is_content();
            encoder.event(choice, &event, out);
        });
    }

    /// One answer's body has ended. With the last one the stream ends.
    pub fn finish(&mut self, choice: usize, out: &mut Vec<u8>) {
        let Some(mut decoder) = self.decoders.get_mut(choice).and_then(Option::take) else { return };
        match decoder.finish() {
            End::Failed(error) => self.fail(error, out),
            End::Complete if self.failed.is_none() && self.decoders.iter().all(Option::is_none) => self.encoder.finish(&End::Complete, out),
            End::Complete => {}
        }
    }

    /// One answer failed, and with it all.
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

    /// Whether content has been written.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.content
    }

    /// What was learned so far. They have stopped when all have: until then the usage is not that of all.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts { stop: self.facts.stop.filter(|_| self.decoders.iter().all(Option::is_none)), ..self.facts }
    }
}
