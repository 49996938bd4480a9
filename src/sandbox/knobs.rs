//! Knobs: how a test asks the sandbox to be slow, wrong or broken. The table is in [`super`].
//!
//! A knob is set by a header, `x-sandbox-delay: 500ms`, or, since a gateway passes no headers on, behind the word `sandbox` in the model id:
//! `anthropic.claude-3-haiku-20240307-v1:0.sandbox.delay-500ms.words-20`. Both stay what Bedrock allows in an id. The header wins.

use std::time::Duration;

use http::HeaderMap;

use super::failure::{BodyForm, Failure, known};
use super::family::Family;

/// Headers are the names of knobs behind this.
const HEADER: &str = "x-sandbox-";
/// The word in a model id behind which knobs stand, and a vendor for ids that have nothing else.
const MARK: &str = "sandbox";
const NAMES: &str = "answer, after, body, chunk, corrupt, cut, delay, error, exception, family, hold, kib, omit, pause, retry, stall, stop, tag, tear, words";
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(3600);
/// No answer is larger: 64 MiB.
const MOST_KIB: usize = 65_536;
const MOST_WORDS: usize = 1_000_000;

/// All knobs of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Knobs {
    /// Wait before the head of the answer.
    pub delay: Duration,
    /// Wait between two frames. With zero, frames still leave one by one.
    pub pause: Option<Duration>,
    /// Wait behind the first content frame.
    pub stall: Duration,
    /// Wait until a test says so.
    pub hold: Option<Hold>,
    /// The answer has so many words.
    pub words: Option<usize>,
    /// The answer has so many KiB.
    pub kib: Option<usize>,
    /// The body leaves in pieces of so many bytes.
    pub chunk: Option<usize>,
    /// An HTTP error instead of an answer.
    pub error: Option<Failure>,
    /// An exception frame.
    pub exception: Option<&'static str>,
    /// How many content frames come before the exception; `None`: not even `messageStart`.
    pub after: Option<usize>,
    /// The connection breaks behind so many frames.
    pub cut: Option<usize>,
    /// The connection breaks inside the frame behind so many.
    pub tear: Option<usize>,
    /// The frame behind so many has a wrong checksum.
    pub corrupt: Option<usize>,
    /// What the answer lacks.
    pub omit: Option<Omit>,
    /// The stop reason, whatever the answer.
    pub stop: Option<&'static str>,
    /// The kind of answer, whatever the request.
    pub answer: Option<Kind>,
    /// The family, whatever the id.
    pub family: Option<Family>,
    /// A name by which a test finds its own requests.
    pub tag: Option<String>,
}

/// Where an answer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Before the head.
    Head,
    /// Behind the first content frame.
    First,
}

/// What an answer lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omit {
    /// `messageStop` and everything behind it; of a Message `message_delta` too.
    Stop,
    /// `metadata`; in a JSON answer `usage` and `metrics`; of a Message and of embeddings all token counts.
    Metadata,
    /// Everything: 200 and no output.
    Output,
}

/// Answers that a request alone does not bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, even if tools are there.
    Text,
    /// A call of the first tool, or of `sandbox_tool`.
    Tool,
    /// A call without arguments.
    ToolEmpty,
    /// Text with citations.
    Citations,
    /// Text and an image.
    Image,
    /// Reasoning and text.
    Reasoning,
    /// Redacted reasoning and text.
    Redacted,
    /// No content.
    Empty,
}

const STOP_REASONS: [&str; 11] = [
    "end_turn",
    "tool_use",
    "max_tokens",
    "stop_sequence",
    "guardrail_intervened",
    "content_filtered",
    "malformed_model_output",
    "malformed_tool_use",
    "model_context_window_exceeded",
    "pause_turn",
    "refusal",
];

/// Exceptions that a stream may end with, as `:exception-type` has them.
const STREAM_EXCEPTIONS: [&str; 6] =
    ["internalServerException", "modelStreamErrorException", "serviceUnavailableException", "throttlingException", "validationException", MODEL_TIMEOUT];
/// The one that only InvokeModelWithResponseStream has.
pub(super) const MODEL_TIMEOUT: &str = "modelTimeoutException";

impl Knobs {
    /// The knobs of a request, and the model id without them.
    ///
    /// # Errors
    /// `ValidationException` for a knob that does not exist or a value that it does not take: a test with a typing error should not pass.
    pub(super) fn of<'i>(id: &'i str, headers: &HeaderMap) -> Result<(&'i str, Self), Failure> {
        let mut knobs = Knobs::default();
        let mut error = ErrorKnobs::default();
        let (model, list) = split(id);
        for knob in list.split('.').filter(|knob| !knob.is_empty()) {
            let (name, value) = knob.split_once('-').unwrap_or((knob, ""));
            knobs.set(&mut error, name, value)?;
        }
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix(HEADER) else { continue };
            let value = value.to_str().map_err(|_| Failure::validation(format!("{HEADER}{name} is not ASCII")))?;
            knobs.set(&mut error, name, value)?;
        }
        knobs.error = error.failure();
        Ok((model, knobs))
    }

    fn set(&mut self, error: &mut ErrorKnobs, name: &str, value: &str) -> Result<(), Failure> {
        let wrong = |expected: &str| Failure::validation(format!("The sandbox knob '{name}' takes {expected}, not '{value}'."));
        let number = |most: usize| value.parse().ok().filter(|number| *number <= most).ok_or_else(|| wrong(&format!("a number up to {most}")));
        let time = || humantime::parse_duration(value).ok().filter(|time| *time <= LONGEST).ok_or_else(|| wrong("a time such as 500ms or 2s"));
        match name {
            "delay" => self.delay = time()?,
            "pause" => self.pause = Some(time()?),
            "stall" => self.stall = time()?,
            "hold" => {
                self.hold = Some(match value {
                    "" | "first" => Hold::First,
                    "head" => Hold::Head,
                    _ => return Err(wrong("nothing, 'first' or 'head'")),
                });
            }
            "words" => self.words = Some(number(MOST_WORDS)?),
            "kib" => self.kib = Some(number(MOST_KIB)?),
            "chunk" if value == "all" => self.chunk = Some(usize::MAX),
            "chunk" => self.chunk = Some(number(MOST_KIB * 1024)?.max(1)),
            "error" => error.name = Some(known(value).ok_or_else(|| wrong("the name of an error of Bedrock's"))?.0),
            "retry" => error.retry_after = Some(value.parse().map_err(|_| wrong("seconds"))?),
            "body" => {
                error.form = match value {
                    "json" => BodyForm::Json,
                    "empty" => BodyForm::Empty,
                    "plain" => BodyForm::Plain,
                    _ => return Err(wrong("'json', 'empty' or 'plain'")),
                }
            }
            "exception" => self.exception = Some(stream_exception(value).ok_or_else(|| wrong(&format!("one of {}", STREAM_EXCEPTIONS.join(", "))))?),
            "after" => self.after = Some(number(MOST_WORDS)?),
            "cut" => self.cut = Some(number(MOST_WORDS)?),
            "tear" => self.tear = Some(number(MOST_WORDS)?),
            "corrupt" => self.corrupt = Some(number(MOST_WORDS)?),
            "omit" => {
                self.omit = Some(match value {
                    "stop" => Omit::Stop,
                    "metadata" => Omit::Metadata,
                    "output" => Omit::Output,
                    _ => return Err(wrong("'stop', 'metadata' or 'output'")),
                });
            }
            "stop" => {
                let reason = value.replace('-', "_");
                self.stop = Some(STOP_REASONS.iter().find(|known| **known == reason).ok_or_else(|| wrong(&format!("one of {}", STOP_REASONS.join(", "))))?);
            }
            "answer" => self.answer = Some(Kind::named(value).ok_or_else(|| wrong("the name of an answer"))?),
            "family" => self.family = Some(Family::named(value).ok_or_else(|| wrong("the name of a model family"))?),
            "tag" => self.tag = Some(value.to_owned()),
            _ => return Err(Failure::validation(format!("The sandbox has no knob '{name}'. There are: {NAMES}."))),
        }
        Ok(())
    }
}

/// Three knobs that make one failure.
#[derive(Default)]
struct ErrorKnobs {
    name: Option<&'static str>,
    retry_after: Option<u32>,
    form: BodyForm,
}

impl ErrorKnobs {
    fn failure(self) -> Option<Failure> {
        let mut failure = Failure::new(self.name?, "The sandbox was asked for this error.");
        failure.retry_after = self.retry_after;
        failure.form = self.form;
        Some(failure)
    }
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Kind::Text,
            "tool" => Kind::Tool,
            "tool-empty" => Kind::ToolEmpty,
            "citations" => Kind::Citations,
            "image" => Kind::Image,
            "reasoning" => Kind::Reasoning,
            "redacted" => Kind::Redacted,
            "empty" => Kind::Empty,
            _ => return None,
        })
    }
}

/// The model id, and the knobs behind the word `sandbox` in it. An id that begins with that word stays `sandbox`.
fn split(id: &str) -> (&str, &str) {
    let mut at = 0;
    for part in id.split('.') {
        let end = at + part.len();
        if part == MARK {
            let model = if at == 0 { MARK } else { id.get(..at - 1).unwrap_or_default() };
            return (model, id.get(end + 1..).unwrap_or_default());
        }
        at = end + 1;
    }
    (id, "")
}

/// The exception by its name in any spelling that [`known`] takes.
fn stream_exception(name: &str) -> Option<&'static str> {
    let (name, _) = known(name)?;
    STREAM_EXCEPTIONS.iter().find(|exception| exception.eq_ignore_ascii_case(name)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> (&str, Knobs) {
        Knobs::of(id, &HeaderMap::new()).unwrap()
    }

    #[test]
    fn knobs_stand_behind_the_word_sandbox() {
        let (model, knobs) = of("us.anthropic.claude-3-haiku-20240307-v1:0.sandbox.delay-500ms.words-20.stop-max-tokens.tag-a-b.hold");
        assert_eq!(model, "us.anthropic.claude-3-haiku-20240307-v1:0");
        assert_eq!((knobs.delay, knobs.words, knobs.stop), (Duration::from_millis(500), Some(20), Some("max_tokens")));
        assert_eq!((knobs.tag.as_deref(), knobs.hold), (Some("a-b"), Some(Hold::First)));
        assert_eq!(of("anthropic.claude-3-haiku-20240307-v1:0").0, "anthropic.claude-3-haiku-20240307-v1:0");
        let (model, knobs) = of("sandbox.exception-model-stream-error.after-3.family-claude-4-5");
        assert_eq!((model, knobs.exception, knobs.after, knobs.family), ("sandbox", Some("modelStreamErrorException"), Some(3), Some(Family::Claude(4, 5))));
        assert_eq!(of("sandbox").0, "sandbox");
    }

    #[test]
    fn errors_have_a_name_a_status_and_a_form() {
        let failure = of("sandbox.error-throttling.retry-7.body-empty").1.error.unwrap();
        assert_eq!((failure.name, failure.status, failure.retry_after, failure.form), ("ThrottlingException", 429, Some(7), BodyForm::Empty));
        assert!(of("sandbox.retry-7").1.error.is_none());
    }

    #[test]
    fn headers_win() {
        let mut headers = HeaderMap::new();
        headers.insert("x-sandbox-words", "3".parse().unwrap());
        let (_, knobs) = Knobs::of("sandbox.words-20", &headers).unwrap();
        assert_eq!(knobs.words, Some(3));
    }

    #[test]
    fn unknown_knobs_and_values_are_refused() {
        for id in [
            "sandbox.dely-500ms",
            "sandbox.delay-soon",
            "sandbox.words-x",
            "sandbox.words-1000001",
            "sandbox.stop-never",
            "sandbox.exception-access-denied",
            "sandbox.family-unicorn",
            "sandbox.x",
        ] {
            assert_eq!(Knobs::of(id, &HeaderMap::new()).unwrap_err().status, 400, "{id}");
        }
    }
}
