//! Writes whole answers as a `text_completion`.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/completions/object>.

use super::{Style, finish_reason, head};
use crate::chat::{Envelope, Part, Response, Usage};
use crate::dialect::openai::downstream::response::usage;
use crate::wire::json::Object;

/// Appends one answer for all choices, their tokens added up: `{"id":"cmpl-…","object":"text_completion","created":0,"model":"…","choices":[{…}],"usage":{…}}`.
pub fn encode(responses: &[Response<'_>], envelope: &Envelope, style: &Style, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        head(body, envelope);
        body.array("choices", |choices| {
            for (index, response) in responses.iter().enumerate() {
                choices.object(|choice| {
                    let out = choice.key("text");
                    out.push(b'"');
                    out.extend_from_slice(style.before(index).as_bytes());
                    for part in &response.parts {
                        if let Part::Text(text) = part {
                            out.extend_from_slice(text.escaped().as_bytes());
                        }
                    }
                    out.push(b'"');
                    choice.number("index", index as u64);
                    choice.raw("logprobs", "null");
                    choice.string("finish_reason", finish_reason(&response.stop));
                });
            }
        });
        if let Some(all) = responses.iter().filter_map(|response| response.usage).reduce(Usage::plus) {
            usage(&all, body.key("usage"));
        }
    });
}
