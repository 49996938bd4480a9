//! Whole answers: one JSON body in, one JSON body out.

use crate::chat::{ApiError, ErrorKind, Response};
use crate::dialect::{Dialect, anthropic, converse, openai};
use crate::translate::{Api, Client, Facts, Translation};

impl Translation {
    /// Writes an upstream's whole answer in the client's dialect. `elapsed_ms` is how long it took.
    ///
    /// `{"output":{"message":{…}},"stopReason":"end_turn",…}` → `{"id":"chatcmpl-…","choices":[…],…}`
    ///
    /// # Errors
    /// When the body is not an answer: 502.
    pub fn body(&self, body: &[u8], elapsed_ms: u64, out: &mut Vec<u8>) -> Result<Facts, ApiError> {
        let (response, facts) = self.read(body)?;
        out.reserve(body.len() + 512);
        self.write(&response, elapsed_ms, out);
        Ok(facts)
    }

    /// Writes a whole answer in the client's dialect.
    pub(in crate::translate) fn write(&self, response: &Response<'_>, elapsed_ms: u64, out: &mut Vec<u8>) {
        match &self.client {
            Client::OpenAi(style) => openai::downstream::response::encode(response, &self.envelope, style, out),
            Client::Completions(style) => openai::completions::response::encode(std::slice::from_ref(response), &self.envelope, style, out),
            Client::Responses(style) => openai::responses::response::encode(response, &self.envelope, style, elapsed_ms, out),
            Client::Anthropic(style) | Client::Invoke(style) => anthropic::downstream::response::encode(response, &self.envelope, style, out),
            Client::Converse(style) => converse::downstream::response::encode_with(response, elapsed_ms, style, out),
        }
    }

    /// Reads an upstream's whole answer.
    ///
    /// # Errors
    /// When the body is not an answer: 502.
    pub fn read<'a>(&'a self, body: &'a [u8]) -> Result<(Response<'a>, Facts), ApiError> {
        let response = self.api.decode(text(body)?, &self.restore)?;
        let mut facts = Facts { usage: response.usage, ..Facts::default() };
        facts.stopped(&response.stop);
        Ok((response, facts))
    }
}

/// Writes an upstream's count of tokens in a client's dialect: `{"inputTokens":7}` → `{"input_tokens":7}`.
///
/// # Errors
/// When the body is not a count: 502.
pub fn count(api: Api, dialect: Dialect, body: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
    let text = text(body)?;
    let tokens = match api {
        Api::Converse => converse::upstream::response::decode_count(text)?,
        Api::Anthropic => anthropic::upstream::response::decode_count(text)?,
        Api::OpenAi => return Err(ApiError::new(ErrorKind::Internal, "This provider counts no tokens.")),
    };
    match dialect {
        Dialect::Bedrock => converse::downstream::response::encode_count(tokens, out),
        Dialect::Responses => openai::responses::response::encode_count(tokens, out),
        Dialect::Anthropic | Dialect::OpenAi => anthropic::downstream::response::encode_count(tokens, out),
    }
    Ok(())
}

fn text(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|_| ApiError::new(ErrorKind::BadUpstream, "The model provider's answer is not valid UTF-8."))
}
