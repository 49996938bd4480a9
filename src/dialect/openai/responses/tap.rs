//! Listens to Responses that pass as they are: tokens, how the answer ended, what it is called. The provider speaks the API itself.

use crate::chat::{ApiError, ErrorKind, Usage};
use crate::wire::json::{Kind, Raw, pick};
use crate::wire::sse::{Event, Parser};

/// What an answer tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its tokens.
    pub usage: Option<Usage>,
    /// Why the model stopped, by its stable name.
    pub stop: Option<&'static str>,
    /// What it is called: `resp_…`.
    pub id: Option<String>,
}

/// Reads a whole answer: `{"id":"resp_…","status":"completed","usage":{…},…}`.
#[must_use]
pub fn told(text: &str) -> Told {
    let Ok([id, status, details, usage]) = pick(text, ["id", "status", "incomplete_details", "usage"]) else { return Told::default() };
    let reason = details.filter(|raw| raw.kind() == Kind::Object).and_then(|raw| pick(raw.as_str(), ["reason"]).ok()).and_then(|[reason]| reason?.text());
    let stop = match status.and_then(Raw::text) {
        Some(status) if status == "completed" => Some("end_turn"),
        Some(status) if status == "incomplete" && reason.as_ref().is_some_and(|reason| *reason == "content_filter") => Some("content_filtered"),
        Some(status) if status == "incomplete" => Some("max_tokens"),
        _ => None,
    };
    Told { usage: usage.and_then(counts), stop, id: id.and_then(Raw::text).map(|id| id.unescape().into_owned()) }
}

fn counts(raw: Raw<'_>) -> Option<Usage> {
    if raw.kind() != Kind::Object {
        return None;
    }
    let number = |raw: Option<Raw<'_>>| raw.and_then(|raw| raw.as_str().parse::<u64>().ok());
    let inside = |raw: Option<Raw<'_>>, name| {
        number(raw.filter(|raw| raw.kind() == Kind::Object).and_then(|raw| pick(raw.as_str(), [name]).ok()).and_then(|[found]| found))
    };
    let [input, input_details, output, output_details] =
        pick(raw.as_str(), ["input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details"]).ok()?;
    let (read, write) = (inside(input_details, "cached_tokens").unwrap_or(0), inside(input_details, "cache_write_tokens").unwrap_or(0));
    Some(Usage {
        input_tokens: number(input)?.saturating_sub(read).saturating_sub(write),
        output_tokens: number(output)?,
        cache_read_tokens: read,
        cache_write_tokens: write,
        reasoning_tokens: inside(output_details, "reasoning_tokens"),
        ..Usage::default()
    })
}

/// Listens to a stream. Reads only the events that tell.
#[derive(Debug, Default)]
pub struct Tap {
    parser: Parser,
    told: Told,
    /// How many events have passed: the number of the next one.
    events: u64,
    /// What comes can no longer be read. It is passed on all the same.
    is_deaf: bool,
}

/// How the beginning of a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing of the model's own yet.
    Opening,
    /// Content has come.
    Content,
    /// It has failed.
    Failed(ApiError),
}

impl Tap {
    /// Listens to bytes as they pass, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_deaf {
            return;
        }
        let Tap { parser, told, events, .. } = self;
        let pushed = parser.push(bytes, |event| {
            *events += 1;
            if let Some(whole) = whole(&event) {
                *told = self::told(whole);
            }
        });
        self.is_deaf = pushed.is_err();
    }

    /// What was told so far.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The number of the next event.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
}

/// The answer in an event that ends it.
fn whole<'e>(event: &Event<'e>) -> Option<&'e str> {
    matches!(event.name, b"response.completed" | b"response.incomplete" | b"response.failed").then_some(())?;
    let [response] = pick(std::str::from_utf8(event.data).ok()?, ["response"]).ok()?;
    response.filter(|raw| raw.kind() == Kind::Object).map(Raw::as_str)
}

/// Reads the beginning of a stream, for as long as somebody else could still answer.
#[derive(Debug, Default)]
pub struct Opening {
    parser: Parser,
}

impl Opening {
    /// Reads bytes as they come, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) -> Beginning {
        let mut beginning = Beginning::Opening;
        let pushed = self.parser.push(bytes, |event| {
            if beginning == Beginning::Opening {
                beginning = match event.name {
                    b"response.created" | b"response.in_progress" | b"response.queued" => Beginning::Opening,
                    b"error" => Beginning::Failed(failure(std::str::from_utf8(event.data).ok())),
                    b"response.failed" => {
                        let error = whole(&event).and_then(|response| pick(response, ["error"]).ok()).and_then(|[error]| error);
                        Beginning::Failed(failure(error.filter(|raw| raw.kind() == Kind::Object).map(Raw::as_str)))
                    }
                    // What is not known may be content.
                    _ => Beginning::Content,
                };
            }
        });
        // What cannot be read passes.
        if pushed.is_err() { Beginning::Content } else { beginning }
    }
}

/// `{"code":"…","message":"…"}`
fn failure(json: Option<&str>) -> ApiError {
    let [code, message] = json.and_then(|json| pick(json, ["code", "message"]).ok()).unwrap_or_default().map(|raw| raw.and_then(Raw::text));
    let kind = match code.as_ref().map(|code| code.unescape()).as_deref() {
        Some("rate_limit_exceeded") => ErrorKind::RateLimited,
        Some("insufficient_quota") => ErrorKind::QuotaExceeded,
        Some("server_error") | None => ErrorKind::UpstreamInternal,
        Some(_) => ErrorKind::InvalidRequest,
    };
    let message = message.map_or_else(|| kind.in_general().to_owned(), |message| crate::chat::redact::redact(&message.unescape()));
    ApiError::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &str = r#"{"id":"resp_1","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":1},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":17}}"#;

    fn expected() -> Told {
        let usage = Usage { input_tokens: 5, output_tokens: 7, cache_read_tokens: 4, cache_write_tokens: 1, reasoning_tokens: Some(3), ..Usage::default() };
        Told { usage: Some(usage), stop: Some("max_tokens"), id: Some("resp_1".to_owned()) }
    }

    #[test]
    fn an_answer_tells_its_tokens_whole_and_streamed_wherever_it_is_cut() {
        assert_eq!(told(DONE), expected());
        let stream = format!(
            "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{{\"id\":\"resp_1\",\"usage\":null}}}}\n\n: x\n\nevent: response.output_text.delta\ndata: {{\"delta\":\"\\\"usage\\\"\"}}\n\nevent: response.incomplete\ndata: {{\"type\":\"response.incomplete\",\"response\":{DONE}}}\n\n"
        );
        for at in 0..=stream.len() {
            let mut tap = Tap::default();
            let (left, right) = stream.as_bytes().split_at(at);
            tap.push(left);
            tap.push(right);
            assert_eq!((tap.told(), tap.events()), (&expected(), 3), "split at {at}");
        }
    }

    #[test]
    fn what_is_no_answer_tells_nothing() {
        for text in ["", "[]", "{}", r#"{"usage":1,"status":2,"id":3}"#, r#"{"usage":{"input_tokens":"x"}}"#, r#"{"incomplete_details":"x","status":"queued"}"#]
        {
            assert_eq!(told(text), Told::default(), "{text}");
        }
        assert_eq!(told(r#"{"status":"failed"}"#).stop, None);
        assert_eq!(told(r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#).stop, Some("content_filtered"));
    }

    #[test]
    fn a_failure_before_content_is_seen() {
        let push = |text: &str| Opening::default().push(text.as_bytes());
        let created = "event: response.created\ndata: {}\n\nevent: response.in_progress\ndata: {}\n\n";
        assert_eq!(push(created), Beginning::Opening);
        assert_eq!(push(&format!("{created}event: response.output_item.added\ndata: {{}}\n\nevent: error\ndata: {{}}\n\n")), Beginning::Content);
        for (event, kind) in [
            ("event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow\"}\n\n", ErrorKind::RateLimited),
            ("event: error\ndata: [\n\n", ErrorKind::UpstreamInternal),
            ("event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"invalid_prompt\",\"message\":\"slow\"}}}\n\n", ErrorKind::InvalidRequest),
            ("event: response.failed\ndata: {\"response\":{\"error\":null}}\n\n", ErrorKind::UpstreamInternal),
        ] {
            let Beginning::Failed(error) = push(&format!("{created}{event}")) else { panic!("{event}") };
            assert_eq!(error.kind, kind, "{event}");
        }
    }
}
