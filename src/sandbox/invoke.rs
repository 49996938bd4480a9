//! InvokeModel and InvokeModelWithResponseStream: whose body a model takes, and what travels in headers.
//!
//! The service hands the body to the model as it is. The sandbox has the bodies of Claude ([`super::messages`]) and of models for embeddings
//! ([`super::embeddings`]); every other model is refused. <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::answer::PromptCache;
use super::embeddings::Model;
use super::failure::Failure;
use super::family::Family;
use super::knobs::Knobs;
use super::messages;
use super::render::Output;
use super::shapes;

/// What a request asked for comes back under the same name.
const ECHOED: [&str; 2] = ["x-amzn-bedrock-performanceconfig-latency", "x-amzn-bedrock-service-tier"];
const STREAM_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-amzn-bedrock-content-type");

/// A request for one of the two operations.
pub(super) struct Invocation<'i> {
    /// Model id without knobs.
    pub model: &'i str,
    pub family: Family,
    pub knobs: &'i Knobs,
    pub headers: &'i HeaderMap,
    pub body: &'i [u8],
    /// Hex SHA-256 of the body.
    pub body_sha256: &'i str,
    pub stream: bool,
}

impl Invocation<'_> {
    /// The answer of the model.
    ///
    /// # Errors
    /// The refusal, nearly always a `ValidationException`; without a stream also the exception that a knob asks for.
    pub(super) fn answer(&self, cache: &PromptCache) -> Result<Output, Failure> {
        self.check_headers()?;
        let body = parse(self.body)?;
        let mut output = match Model::of(self.model) {
            Some(_) if self.stream => return Err(Failure::validation("The model is unsupported for streaming.")),
            Some(model) => model.answer(&body, self.body_sha256, self.knobs)?,
            None if !has_body(self.family) => return Err(no_body(self.model)),
            None => {
                let &Invocation { model, family, knobs, headers, body_sha256, stream, .. } = self;
                messages::Request { model, family, knobs, headers, body: &body, body_sha256, stream }.answer(cache)?
            }
        };
        if let Some(name) = self.knobs.exception.filter(|_| !self.stream) {
            // Without a stream there is no place for an exception but the whole answer.
            return Err(Failure::new(name, "The sandbox was asked for this exception."));
        }
        if self.stream {
            output.headers.insert(STREAM_CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for name in ECHOED {
            if let Some(value) = self.headers.get(name) {
                output.headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        Ok(output)
    }

    fn check_headers(&self) -> Result<(), Failure> {
        shapes::check_headers(if self.stream { "InvokeModelWithResponseStreamRequest" } else { "InvokeModelRequest" }, self.headers)?;
        let is_json = |name: &str| {
            let given = self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
            given.is_none_or(|value| value.contains("application/json") || value.contains("*/*"))
        };
        if !is_json(CONTENT_TYPE.as_str()) {
            return Err(Failure::validation("The provided Content Type is invalid or not supported for this model"));
        }
        if !is_json(if self.stream { "x-amzn-bedrock-accept" } else { ACCEPT.as_str() }) {
            return Err(Failure::validation("The provided Accept Type is invalid or not supported for this model"));
        }
        let given = |name: &str| self.headers.get(name).is_some_and(|value| !value.is_empty());
        if given("x-amzn-bedrock-guardrailidentifier") != given("x-amzn-bedrock-guardrailversion") {
            return Err(Failure::validation("The guardrail must have both an identifier and a version."));
        }
        Ok(())
    }
}

/// How many tokens the body of an invocation has.
///
/// # Errors
/// The refusal of the body, or of a model that is not for text.
pub(super) fn count(model: &str, family: Family, body: &[u8]) -> Result<usize, Failure> {
    if Model::of(model).is_some() || !has_body(family) {
        return Err(no_body(model));
    }
    messages::count(model, &parse(body)?, family)
}

/// Whether the family's models take a Messages body; those that hide behind an id might.
fn has_body(family: Family) -> bool {
    matches!(family, Family::Claude(..) | Family::Unknown)
}

fn no_body(model: &str) -> Failure {
    Failure::validation(format!("The sandbox has no body for {model}: it knows those of Claude and of models for embeddings."))
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    shapes::check_blob("Body", "body", body.len())?;
    let malformed = || Failure::validation("Malformed input request, please reformat your input and try again.");
    serde_json::from_slice(body).ok().filter(Value::is_object).ok_or_else(malformed)
}
