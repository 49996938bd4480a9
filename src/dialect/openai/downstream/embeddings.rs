//! Embeddings: reads requests, writes answers.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/embeddings>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::chat::embedding::{EmbeddingRequest, Encoding, Input, Vector};
use crate::chat::read::{self, Path, Stop, filled_text, flat, integer, last_of_each, missing, one_of, text, wrong_type, wrong_value};
use crate::chat::{ApiError, Extra};
use crate::wire::json::{Kind, Object, Raw, Reader, Text};

/// The most texts in one request, OpenAI's limit.
const MAX_TEXTS: usize = 2048;

flat! {
    struct Wire {
        model: Raw<'a> = "model",
        input: Raw<'a> = "input",
        encoding_format: Raw<'a> = "encoding_format",
        dimensions: Raw<'a> = "dimensions",
        user: Raw<'a> = "user",
    }
}

/// Reads a request body: `{"model":"…","input":["…"]}`. `input` may be one text, texts, token numbers or lists of these.
///
/// # Errors
/// 400. JSON that is broken: with the position in bytes. A member that is missing or wrong: with its path in `param`, `input[2]`.
pub fn decode(body: &str) -> Result<EmbeddingRequest<'_>, ApiError> {
    let mut wire = Wire::default();
    let mut extras = Vec::new();
    read::body(body, |name, reader| read::member(&mut wire, &mut extras, name, reader, &Path::Root))?;
    finish(&wire, extras)
}

fn finish<'a>(wire: &Wire<'a>, extras: Vec<Extra<'a>>) -> Result<EmbeddingRequest<'a>, ApiError> {
    let root = Path::Root;
    Ok(EmbeddingRequest {
        model: filled_text(wire.model, &root.key("model"))?,
        input: input(wire.input, &root.key("input"))?,
        dimensions: integer(wire.dimensions, 1..=u64::MAX, &root.key("dimensions"))?,
        encoding: match one_of(wire.encoding_format, &["float", "base64"], &root.key("encoding_format"))? {
            Some("base64") => Encoding::Base64,
            _ => Encoding::Float,
        },
        user: text(wire.user, &root.key("user"))?.filter(|user| !user.is_empty()),
        extras: last_of_each(extras),
    })
}

fn input<'a>(member: Option<Raw<'a>>, path: &Path<'_>) -> Result<Input<'a>, ApiError> {
    let raw = member.ok_or_else(|| missing(path))?;
    if raw.kind() == Kind::String {
        return Ok(Input::Texts(vec![filled_text(Some(raw), path)?]));
    }
    let mut reader = Reader::new(raw.as_str());
    let mut texts = Vec::new();
    let first = each(&mut reader, path, "a string or an array", |index, item| {
        let place = path.item(index);
        match item.kind() {
            Kind::Number => token(item, &place),
            _ if index == MAX_TEXTS => Err(wrong_value(path, format_args!("expected at most {MAX_TEXTS} items"))),
            Kind::Array => {
                let numbers = each(&mut Reader::new(item.as_str()), &place, "an array", |index, number| token(number, &place.item(index)))?;
                numbers.map(|_| ()).ok_or_else(|| wrong_value(&place, "it must not be empty"))
            }
            Kind::String => filled_text(Some(item), &place).map(|text| texts.push(text)),
            kind => Err(wrong_type(&place, "a string, an integer or an array of integers", kind)),
        }
    })?;
    match first {
        None => Err(wrong_value(path, "it must not be empty")),
        Some(Kind::String) => Ok(Input::Texts(texts)),
        Some(_) => Ok(Input::Tokens),
    }
}

/// Reads a list item by item; all must be of the first one's kind, which it tells.
fn each<'a>(
    reader: &mut Reader<'a>,
    path: &Path<'_>,
    expected: &str,
    mut item: impl FnMut(usize, Raw<'a>) -> Result<(), ApiError>,
) -> Result<Option<Kind>, ApiError> {
    let kind = reader.kind().unwrap_or(Kind::Null);
    if kind != Kind::Array {
        return Err(wrong_type(path, expected, kind));
    }
    let (mut first, mut index) = (None, 0);
    let read = reader.array(|reader| {
        let value = reader.value()?;
        let kind = value.kind();
        if *first.get_or_insert(kind) != kind {
            return Err(Stop::Refused(wrong_value(path, "its items must all be of one kind")));
        }
        item(index, value)?;
        index += 1;
        Ok(())
    });
    match read {
        Ok(()) => Ok(first),
        Err(Stop::Refused(error)) => Err(error),
        // It was read once already.
        Err(Stop::Syntax(_)) => Err(wrong_type(path, expected, Kind::Array)),
    }
}

fn token(item: Raw<'_>, path: &Path<'_>) -> Result<(), ApiError> {
    integer(Some(item), 0..=u64::MAX, path).map(|_| ())
}

/// Appends the answer: `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[…]}],"model":"…","usage":{…}}`.
///
/// Numbers are moved as the upstream wrote them; base64 holds them as little-endian 32-bit floats.
pub fn encode<'v>(model: &str, vectors: impl IntoIterator<Item = Vector<'v>>, encoding: Encoding, input_tokens: u64, out: &mut Vec<u8>) {
    let (mut bytes, mut base64) = (Vec::new(), String::new());
    Object::write(out, |body| {
        body.string("object", "list");
        body.array("data", |data| {
            for (index, vector) in vectors.into_iter().enumerate() {
                data.object(|item| {
                    item.string("object", "embedding");
                    item.number("index", index as u64);
                    if encoding == Encoding::Float {
                        item.raw("embedding", vector.as_str());
                        return;
                    }
                    bytes.clear();
                    vector.floats().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
                    base64.clear();
                    STANDARD.encode_string(&bytes, &mut base64);
                    item.text("embedding", &Text::from_escaped(base64.as_str()));
                });
            }
        });
        body.string("model", model);
        body.object("usage", |usage| {
            usage.number("prompt_tokens", input_tokens);
            usage.number("total_tokens", input_tokens);
        });
    });
}

#[cfg(test)]
mod tests;
