//! Whole answers: one JSON body in, one JSON body out.

use crate::chat::{ApiError, ErrorKind};
use crate::dialect::{converse, openai};
use crate::translate::{Answer, Facts};

impl Answer {
    /// Writes an upstream's whole answer in the client's dialect.
    ///
    /// `{"output":{"message":{…}},"stopReason":"end_turn",…}` → `{"id":"chatcmpl-…","choices":[…],…}`
    ///
    /// # Errors
    /// When the body is not an answer: 502.
    pub fn translate_body(&self, body: &[u8], out: &mut Vec<u8>) -> Result<Facts, ApiError> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::new(ErrorKind::BadUpstream, "The model provider's answer is not valid UTF-8."))?;
        let response = converse::upstream::response::decode(text, &self.restore)?;
        let mut facts = Facts { usage: response.usage, ..Facts::default() };
        facts.stopped(&response.stop);
        out.reserve(text.len() + 512);
        openai::downstream::response::encode(&response, &self.envelope, &self.style, out);
        Ok(facts)
    }
}
