//! Models for embeddings: bodies and answers of InvokeModel for Titan, Cohere and Nova. Only text and small images; nothing is fetched.
//!
//! Vectors say nothing about meaning, but equal texts have equal ones and a test can work them out: with `d` the SHA-256 of the text in UTF-8 (of an image:
//! of its data URI or base64 as sent), component `i` is the big-endian `i16` of the bytes `2·(i mod 16)` and `2·(i mod 16)+1` of `d`, divided by 32768 and
//! rounded to six digits. `normalize` changes nothing. `int8` and `uint8` are the first of the two bytes. A bit is 1 where the component is greater than 0:
//! Titan's `binary` is one number for each, Cohere's `ubinary` has eight in a byte, the first at the top, and its `binary` is that less 128.
//!
//! Strict as the JSON schemas that Bedrock puts in front of these models, in their words.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html>, `…/model-parameters-embed-v3.html`,
//! `…/model-parameters-embed-v4.html`, <https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html>.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::wire::json::Object;

use super::answer::{IMAGE, tokens};
use super::failure::Failure;
use super::family::model_name;
use super::knobs::{Knobs, Omit};
use super::render::{Body, NO_OUTPUT, Output};
use super::rules::{Checked, image_format, items, text};

const INPUT_TOKENS: HeaderName = HeaderName::from_static("x-amzn-bedrock-input-token-count");
/// Tokens of one text of Titan's and Nova's.
const MOST_TOKENS: usize = 8192;
/// Characters of one text of Titan's.
const MOST_TITAN_CHARACTERS: usize = 50_000;
const MOST_INPUTS: usize = 96;
/// Characters of one text of Cohere 3.
const MOST_COHERE_CHARACTERS: usize = 2048;
/// Tokens of one input of Cohere 4.
const MOST_COHERE_TOKENS: usize = 128_000;
const TYPES: [&str; 5] = ["float", "int8", "uint8", "binary", "ubinary"];
const PURPOSES: [&str; 9] = [
    "GENERIC_INDEX",
    "GENERIC_RETRIEVAL",
    "TEXT_RETRIEVAL",
    "IMAGE_RETRIEVAL",
    "VIDEO_RETRIEVAL",
    "DOCUMENT_RETRIEVAL",
    "AUDIO_RETRIEVAL",
    "CLASSIFICATION",
    "CLUSTERING",
];

/// A model by its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// Titan Embeddings G1.
    Titan1,
    /// Titan Text Embeddings V2.
    Titan2,
    Cohere3,
    Cohere4,
    /// Nova Multimodal Embeddings.
    Nova,
}

/// Ids begin with these; editions follow.
const MODELS: [(&str, Model); 7] = [
    ("amazon.titan-embed-text-v1", Model::Titan1),
    ("amazon.titan-embed-g1", Model::Titan1),
    ("amazon.titan-embed-text-v2", Model::Titan2),
    ("cohere.embed-english-v3", Model::Cohere3),
    ("cohere.embed-multilingual-v3", Model::Cohere3),
    ("cohere.embed-v4", Model::Cohere4),
    ("amazon.nova-2-multimodal-embeddings", Model::Nova),
];

impl Model {
    /// The model of an id or ARN; `None` if it is not for embeddings.
    pub(super) fn of(id: &str) -> Option<Self> {
        let name = model_name(id)?;
        MODELS.iter().find_map(|(prefix, model)| name.starts_with(prefix).then_some(*model))
    }

    /// The answer to a body.
    ///
    /// # Errors
    /// `ValidationException` for the first thing that is wrong with it.
    pub(super) fn answer(self, body: &Value, body_sha256: &str, knobs: &Knobs) -> Result<Output, Failure> {
        let has_counts = knobs.omit != Some(Omit::Metadata);
        let mut headers = HeaderMap::new();
        let mut count = |tokens: usize| {
            if has_counts {
                headers.insert(INPUT_TOKENS, HeaderValue::from(tokens as u64));
            }
        };
        let mut out = Vec::new();
        match self {
            Model::Titan1 | Model::Titan2 => titan(self, body)?.write(&mut out, has_counts),
            Model::Cohere3 | Model::Cohere4 => {
                let request = cohere(self, body)?;
                count(request.tokens);
                request.write(&mut out, body_sha256);
            }
            Model::Nova => {
                let request = nova(body)?;
                count(request.tokens);
                request.write(&mut out);
            }
        }
        if knobs.omit == Some(Omit::Output) {
            return Ok(Body::Json(NO_OUTPUT.to_vec()).into());
        }
        Ok(Output { body: Body::Json(out), headers })
    }
}

/// A text as numbers.
struct Vector {
    digest: [u8; 32],
}

impl Vector {
    fn of(text: &str) -> Self {
        Vector { digest: Sha256::digest(text).into() }
    }

    /// `count` components: each is two bytes.
    fn pairs(&self, count: usize) -> impl Iterator<Item = [u8; 2]> {
        self.digest.as_chunks().0.iter().copied().cycle().take(count)
    }

    /// One bit for each component, eight in a byte, the first at the top.
    fn bits(&self, count: usize) -> Vec<u8> {
        let bits: Vec<bool> = self.pairs(count).map(is_positive).collect();
        bits.chunks(8).map(|bits| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | (u8::from(*bit) << (7 - at)))).collect()
    }

    /// The components of an embedding type of Cohere's as JSON.
    fn json(&self, kind: &str, count: usize) -> String {
        match kind {
            "int8" => list(self.pairs(count).map(|[first, _]| i8::from_be_bytes([first]))),
            "uint8" => list(self.pairs(count).map(|[first, _]| first)),
            "binary" => list(self.bits(count).into_iter().map(|byte| i16::from(byte) - 128)),
            "ubinary" => list(self.bits(count)),
            _ => list(self.pairs(count).map(number)),
        }
    }
}

fn is_positive(pair: [u8; 2]) -> bool {
    i16::from_be_bytes(pair) > 0
}

fn number(pair: [u8; 2]) -> f64 {
    (f64::from(i16::from_be_bytes(pair)) / 32768.0 * 1e6).round() / 1e6
}

fn list(numbers: impl IntoIterator<Item = impl ToString>) -> String {
    let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    format!("[{}]", numbers.join(","))
}

struct Titan<'r> {
    model: Model,
    text: &'r str,
    dimensions: usize,
    types: Vec<&'r str>,
    tokens: usize,
}

fn titan(model: Model, body: &Value) -> Result<Titan<'_>, Failure> {
    let known: &[&str] = if model == Model::Titan1 { &["inputText"] } else { &["inputText", "dimensions", "normalize", "embeddingTypes"] };
    check_members(body, "", known, &["inputText"])?;
    let text = string(body, "", "inputText")?;
    check_length(text, "/inputText", MOST_TITAN_CHARACTERS)?;
    let tokens = tokens(text.chars().count());
    if tokens > MOST_TOKENS {
        return Err(Failure::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: {MOST_TOKENS}, request input token count: {tokens} "
        )));
    }
    let standard = if model == Model::Titan1 { 1536 } else { 1024 };
    let dimensions = choice(body, "", "dimensions", &[256, 512, 1024])?.unwrap_or(standard);
    if body.get("normalize").is_some_and(|normalize| !normalize.is_boolean()) {
        return Err(malformed("/normalize", "expected type: Boolean"));
    }
    let types = types(body, "embeddingTypes", &["float", "binary"])?;
    Ok(Titan { model, text, dimensions, types, tokens })
}

impl Titan<'_> {
    fn write(&self, out: &mut Vec<u8>, has_counts: bool) {
        let vector = Vector::of(self.text);
        let floats = vector.json("float", self.dimensions);
        Object::write(out, |o| {
            o.raw("embedding", &floats);
            if self.model == Model::Titan2 {
                o.object("embeddingsByType", |o| {
                    if self.types.is_empty() || self.types.contains(&"float") {
                        o.raw("float", &floats);
                    }
                    if self.types.contains(&"binary") {
                        o.raw("binary", &list(vector.pairs(self.dimensions).map(|pair| u8::from(is_positive(pair)))));
                    }
                });
            }
            if has_counts {
                o.number("inputTextTokenCount", self.tokens as u64);
            }
        });
    }
}

struct Cohere<'r> {
    /// What is embedded.
    inputs: Vec<String>,
    /// The texts of the request, which come back.
    texts: Option<&'r Value>,
    dimensions: usize,
    types: Vec<&'r str>,
    tokens: usize,
}

fn cohere(model: Model, body: &Value) -> Result<Cohere<'_>, Failure> {
    let is_new = model == Model::Cohere4;
    let mut known = vec!["texts", "images", "input_type", "truncate", "embedding_types"];
    let sources: &[&str] = if is_new { &["texts", "images", "inputs"] } else { &["texts", "images"] };
    if is_new {
        known.extend(["inputs", "output_dimension", "max_tokens"]);
    }
    check_members(body, "", &known, &["input_type"])?;
    let input_type = one_of(body, "", "input_type", &["search_document", "search_query", "classification", "clustering", "image"])?;
    let truncations: &[&str] = if is_new { &["NONE", "LEFT", "RIGHT"] } else { &["NONE", "START", "END"] };
    let truncate = one_of(body, "", "truncate", truncations)?;
    let types = types(body, "embedding_types", &TYPES)?;
    let dimensions = choice(body, "", "output_dimension", &[256, 512, 1024, 1536])?.unwrap_or(if is_new { 1536 } else { 1024 });
    let given: Vec<&str> = sources.iter().copied().filter(|name| body.get(name).is_some()).collect();
    let [source] = given.as_slice() else {
        return Err(malformed("", &format!("exactly one of {} must be given, not {}", sources.join(", "), given.len())));
    };
    if !is_new && (input_type == Some("image")) != (*source == "images") {
        return Err(Failure::validation("invalid request: input_type 'image' goes with images, and with nothing else."));
    }
    let most = if !is_new && *source == "images" { 1 } else { MOST_INPUTS };
    let list = array(body, source)?;
    check_count(list, source, most)?;
    let limit = limit(body)?;
    let (mut inputs, mut total) = (Vec::new(), 0);
    for (index, input) in list.iter().enumerate() {
        let place = format!("/{source}/{index}");
        let (text, count) = match *source {
            "texts" => {
                let text = input.as_str().ok_or_else(|| malformed(&place, "expected type: String"))?;
                check_length(text, &place, if is_new { usize::MAX } else { MOST_COHERE_CHARACTERS })?;
                (text.to_owned(), tokens(text.chars().count()))
            }
            "images" => (data_uri(input, &place)?.to_owned(), tokens(IMAGE)),
            _ => parts(input, &place)?,
        };
        if count > limit && truncate == Some("NONE") {
            return Err(Failure::validation(format!("invalid request: input {index} is too long: {count} tokens, at most {limit} without truncation.")));
        }
        total += count.min(limit);
        inputs.push(text);
    }
    Ok(Cohere { inputs, texts: body.get("texts"), dimensions, types, tokens: total })
}

/// Tokens of one input.
fn limit(body: &Value) -> Result<usize, Failure> {
    let Some(given) = body.get("max_tokens") else { return Ok(MOST_COHERE_TOKENS) };
    let number = given.as_u64().and_then(|number| usize::try_from(number).ok());
    number.filter(|number| (1..=MOST_COHERE_TOKENS).contains(number)).ok_or_else(|| malformed("/max_tokens", "expected an integer from 1 to 128000"))
}

/// Text and images that make one embedding together, and their tokens.
fn parts(input: &Value, place: &str) -> Result<(String, usize), Failure> {
    check_members(input, place, &["content"], &["content"])?;
    let (mut all, mut count) = (String::new(), 0);
    for (index, part) in items(input, "content").iter().enumerate() {
        let place = format!("{place}/content/{index}");
        match text(part, "type") {
            Some("text") => {
                check_members(part, &place, &["type", "text"], &["text"])?;
                let text = string(part, &place, "text")?;
                check_length(text, &format!("{place}/text"), usize::MAX)?;
                all.push_str(text);
                count += tokens(text.chars().count());
            }
            Some("image_url") => {
                check_members(part, &place, &["type", "image_url"], &["image_url"])?;
                let image = &part["image_url"];
                all.push_str(data_uri(image.get("url").unwrap_or(image), &format!("{place}/image_url"))?);
                count += tokens(IMAGE);
            }
            _ => return Err(malformed(&format!("{place}/type"), "is not a valid enum value")),
        }
    }
    if all.is_empty() { Err(malformed(&format!("{place}/content"), "expected minimum item count: 1, found: 0")) } else { Ok((all, count)) }
}

/// `data:image/png;base64,iVBORw0K…`
fn data_uri<'v>(value: &'v Value, place: &str) -> Result<&'v str, Failure> {
    let uri = value.as_str().ok_or_else(|| malformed(place, "expected type: String"))?;
    let parts = uri.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
    match parts {
        Some((format, data)) if image_format(data) == Some(format) => Ok(uri),
        Some(_) => Err(Failure::validation(format!("invalid request: the image at #{place} is not of its declared format."))),
        None => Err(Failure::validation(format!("invalid request: the image at #{place} must be a data URI of an image."))),
    }
}

impl Cohere<'_> {
    fn write(&self, out: &mut Vec<u8>, body_sha256: &str) {
        let vectors: Vec<Vector> = self.inputs.iter().map(|input| Vector::of(input)).collect();
        let all = |kind: &str| list(vectors.iter().map(|vector| vector.json(kind, self.dimensions)));
        Object::write(out, |o| {
            o.string("id", &uuid(body_sha256));
            if self.types.is_empty() {
                o.raw("embeddings", &all("float"));
                o.string("response_type", "embeddings_floats");
            } else {
                o.object("embeddings", |o| self.types.iter().for_each(|kind| o.raw(kind, &all(kind))));
                o.string("response_type", "embeddings_by_type");
            }
            if let Some(texts) = self.texts {
                o.raw("texts", &texts.to_string());
            }
        });
    }
}

fn uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

struct Nova<'r> {
    kind: &'static str,
    /// What is embedded.
    input: &'r str,
    dimensions: usize,
    tokens: usize,
    /// Characters that are left of a text that was too long.
    truncated: Option<usize>,
}

fn nova(body: &Value) -> Result<Nova<'_>, Failure> {
    check_members(body, "", &["schemaVersion", "taskType", "singleEmbeddingParams"], &["taskType", "singleEmbeddingParams"])?;
    one_of(body, "", "schemaVersion", &["nova-multimodal-embed-v1"])?;
    one_of(body, "", "taskType", &["SINGLE_EMBEDDING"])?;
    let place = "/singleEmbeddingParams";
    let params = &body["singleEmbeddingParams"];
    check_members(params, place, &["embeddingPurpose", "embeddingDimension", "text", "image", "audio", "video"], &["embeddingPurpose"])?;
    one_of(params, place, "embeddingPurpose", &PURPOSES)?;
    let dimensions = choice(params, place, "embeddingDimension", &[256, 384, 1024, 3072])?.unwrap_or(3072);
    let given: Vec<&str> = ["text", "image", "audio", "video"].into_iter().filter(|name| params.get(name).is_some()).collect();
    match given.as_slice() {
        ["text"] => nova_text(&params["text"], dimensions),
        ["image"] => nova_image(&params["image"], dimensions),
        [other] => Err(Failure::validation(format!("The sandbox has no ears and watches nothing: #{place}/{other}."))),
        _ => Err(malformed(place, &format!("exactly one of text, image, audio, video must be given, not {}", given.len()))),
    }
}

fn nova_text(part: &Value, dimensions: usize) -> Result<Nova<'_>, Failure> {
    let place = "/singleEmbeddingParams/text";
    check_members(part, place, &["truncationMode", "value"], &["truncationMode", "value"])?;
    let truncate = one_of(part, place, "truncationMode", &["START", "END", "NONE"])?;
    let input = string(part, place, "value")?;
    check_length(input, &format!("{place}/value"), usize::MAX)?;
    let characters = input.chars().count();
    let is_long = tokens(characters) > MOST_TOKENS;
    if is_long && truncate == Some("NONE") {
        return Err(Failure::validation(format!("The text has {} tokens. The limit is {MOST_TOKENS}.", tokens(characters))));
    }
    let truncated = is_long.then_some(MOST_TOKENS * characters / tokens(characters));
    Ok(Nova { kind: "TEXT", input, dimensions, tokens: tokens(characters).min(MOST_TOKENS), truncated })
}

fn nova_image(part: &Value, dimensions: usize) -> Result<Nova<'_>, Failure> {
    let place = "/singleEmbeddingParams/image";
    check_members(part, place, &["detailLevel", "format", "source"], &["format", "source"])?;
    one_of(part, place, "detailLevel", &["STANDARD_IMAGE", "DOCUMENT_IMAGE"])?;
    let format = one_of(part, place, "format", &["png", "jpeg", "gif", "webp"])?;
    let source = format!("{place}/source");
    check_members(&part["source"], &source, &["bytes"], &["bytes"])?;
    let input = string(&part["source"], &source, "bytes")?;
    if image_format(input) != format {
        return Err(Failure::validation(format!("The image at #{place} is not of its declared format.")));
    }
    Ok(Nova { kind: "IMAGE", input, dimensions, tokens: tokens(IMAGE), truncated: None })
}

impl Nova<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        Object::write(out, |o| {
            o.array("embeddings", |list| {
                list.object(|o| {
                    o.string("embeddingType", self.kind);
                    o.raw("embedding", &Vector::of(self.input).json("float", self.dimensions));
                    if let Some(characters) = self.truncated {
                        o.number("truncatedCharLength", characters as u64);
                    }
                });
            });
        });
    }
}

/// In the words of the JSON schemas in front of the models: `Malformed input request: #/texts: expected maximum item count: 96, found: 97, please …`
fn malformed(place: &str, fault: &str) -> Failure {
    Failure::validation(format!("Malformed input request: #{place}: {fault}, please reformat your input and try again."))
}

fn check_members(value: &Value, place: &str, known: &[&str], required: &[&str]) -> Checked {
    let object = value.as_object().ok_or_else(|| malformed(place, "expected type: JSONObject"))?;
    if let Some(name) = required.iter().find(|name| !object.contains_key(**name)) {
        return Err(malformed(place, &format!("required key [{name}] not found")));
    }
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(malformed(place, &format!("extraneous key [{name}] is not permitted"))),
        None => Ok(()),
    }
}

fn string<'v>(value: &'v Value, place: &str, name: &str) -> Result<&'v str, Failure> {
    text(value, name).ok_or_else(|| malformed(&format!("{place}/{name}"), "expected type: String"))
}

fn array<'v>(value: &'v Value, name: &str) -> Result<&'v [Value], Failure> {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| malformed(&format!("/{name}"), "expected type: JSONArray"))
}

fn check_count(list: &[Value], name: &str, most: usize) -> Checked {
    match list.len() {
        0 => Err(malformed(&format!("/{name}"), "expected minimum item count: 1, found: 0")),
        count if count > most => Err(malformed(&format!("/{name}"), &format!("expected maximum item count: {most}, found: {count}"))),
        _ => Ok(()),
    }
}

fn check_length(text: &str, place: &str, most: usize) -> Checked {
    match text.chars().count() {
        0 => Err(malformed(place, "expected minLength: 1, actual: 0")),
        count if count > most => Err(malformed(place, &format!("expected maxLength: {most}, actual: {count}"))),
        _ => Ok(()),
    }
}

/// A member that may be one of a few strings.
fn one_of<'v>(value: &'v Value, place: &str, name: &str, known: &[&str]) -> Result<Option<&'v str>, Failure> {
    match value.get(name) {
        None => Ok(None),
        Some(Value::String(given)) if known.contains(&given.as_str()) => Ok(Some(given)),
        Some(given) => Err(malformed(&format!("{place}/{name}"), &format!("{given} is not a valid enum value"))),
    }
}

/// A member that may be one of a few numbers.
fn choice(value: &Value, place: &str, name: &str, known: &[usize]) -> Result<Option<usize>, Failure> {
    let Some(given) = value.get(name) else { return Ok(None) };
    let number = given.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|number| known.contains(number));
    number.map(Some).ok_or_else(|| malformed(&format!("{place}/{name}"), &format!("{given} is not a valid enum value")))
}

/// The embedding types that a body asks for; none if it does not say.
fn types<'v>(body: &'v Value, name: &str, known: &[&str]) -> Result<Vec<&'v str>, Failure> {
    if body.get(name).is_none() {
        return Ok(Vec::new());
    }
    let list = array(body, name)?;
    check_count(list, name, known.len())?;
    let valid = |(index, kind): (usize, &'v Value)| {
        kind.as_str().filter(|kind| known.contains(kind)).ok_or_else(|| malformed(&format!("/{name}/{index}"), &format!("{kind} is not a valid enum value")))
    };
    list.iter().enumerate().map(valid).collect()
}

#[cfg(test)]
mod tests;
