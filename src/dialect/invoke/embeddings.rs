//! Embeddings of Titan, Cohere and Nova: requests go out as InvokeModel bodies, its answers come back.
//!
//! Titan and Nova take one text a call, Cohere 96. Cohere's vocabulary stands for all: `input_type` and `truncate` are put into each family's own words.
//!
//! Vendor pages: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v4.html>,
//! <https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html>.

use serde::Deserialize;

use crate::chat::capability::base_model;
use crate::chat::embedding::{Calls, EmbeddingRequest, Embeddings, Placed, no_embeddings, token_count};
use crate::chat::{ApiError, Ledger, Policy};
use crate::wire::json::{Array, Kind, Object, Raw, Text, write_text};

/// The most texts in one call of Cohere's models.
const COHERE_BATCH: usize = 96;
/// What Cohere's models want to know about a text, when nobody says.
const INPUT_TYPE: &str = "search_document";

/// The model families that make embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Titan Embeddings G1: takes a text and nothing else.
    TitanV1,
    /// Titan Text Embeddings V2.
    TitanV2,
    /// Cohere Embed 3, English and multilingual.
    CohereV3,
    /// Cohere Embed 4.
    CohereV4,
    /// Nova Multimodal Embeddings.
    Nova,
}

impl Family {
    /// The family behind a model id, an inference profile or an ARN that holds one.
    ///
    /// # Errors
    /// 400 on `model` for a model that is none of them.
    pub fn of(model_id: &str) -> Result<Self, ApiError> {
        const FAMILIES: [(&str, Family); 6] = [
            ("amazon.titan-embed-text-v1", Family::TitanV1),
            ("amazon.titan-embed-g1-text", Family::TitanV1),
            ("amazon.titan-embed-text-v2", Family::TitanV2),
            ("cohere.embed-v4", Family::CohereV4),
            ("cohere.embed-", Family::CohereV3),
            ("amazon.nova-2-multimodal-embeddings", Family::Nova),
        ];
        let id = base_model(model_id);
        let found = FAMILIES.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, family)| *family);
        found.ok_or_else(|| ApiError::invalid("model", "this model does not make embeddings"))
    }

    /// The sizes that its vectors can have.
    fn sizes(self) -> &'static [u64] {
        match self {
            Family::TitanV1 => &[1536],
            Family::TitanV2 => &[256, 512, 1024],
            Family::CohereV3 => &[1024],
            Family::CohereV4 => &[256, 512, 1024, 1536],
            Family::Nova => &[256, 384, 1024, 3072],
        }
    }

    /// The extras that it has a place for.
    fn places(self) -> &'static [&'static str] {
        match self {
            Family::TitanV1 => &[],
            Family::TitanV2 => &["normalize"],
            Family::CohereV3 => &["input_type", "truncate"],
            Family::CohereV4 => &["input_type", "truncate", "max_tokens"],
            Family::Nova => &["input_type", "truncate", "embeddingPurpose", "truncationMode"],
        }
    }
}

/// Writes the bodies of the InvokeModel calls that a request takes.
///
/// `{"model":"…","input":["a","b"],"dimensions":256}` → Titan V2: `{"inputText":"a","dimensions":256}`, `{"inputText":"b","dimensions":256}`;
/// Cohere 4: `{"texts":["a","b"],"input_type":"search_document","output_dimension":256}`
///
/// `input_type` is the operator's, for requests that bring none; models that have no place for it do without.
///
/// # Errors
/// 400: on `model` for a model of no known family, on `input` for tokens, on `dimensions` for a size that the model's vectors cannot have, and for what the
/// policy refuses.
pub fn plan(request: &EmbeddingRequest<'_>, model_id: &str, input_type: Option<&str>, policy: Policy) -> Result<Calls, ApiError> {
    let family = Family::of(model_id)?;
    let texts = request.texts()?;
    let mut ledger = Ledger::new(policy);
    if request.user.is_some() {
        ledger.lose("user")?;
    }
    let extras = request.place(family.places(), policy, &mut ledger)?;
    let dimensions = dimensions(request, family)?;
    let input_type = match extras.text("input_type")? {
        Some(theirs) => theirs,
        None => Text::from_plain(input_type.unwrap_or(INPUT_TYPE)),
    };
    let calls = match family {
        Family::TitanV1 | Family::TitanV2 => Calls::new(texts, 1, ledger, |texts, out| titan(texts, dimensions, &extras, out)),
        Family::CohereV3 | Family::CohereV4 => {
            Calls::new(texts, COHERE_BATCH, ledger, |texts, out| cohere(family, texts, dimensions, &input_type, &extras, out))
        }
        Family::Nova => Calls::new(texts, 1, ledger, |texts, out| nova(texts, dimensions, &input_type, &extras, out)),
    };
    Ok(calls)
}

/// The size to ask for. A family of one size need not be asked.
fn dimensions(request: &EmbeddingRequest<'_>, family: Family) -> Result<Option<u64>, ApiError> {
    let sizes = family.sizes();
    match request.dimensions {
        Some(wanted) if !sizes.contains(&wanted) => {
            let known: Vec<String> = sizes.iter().map(u64::to_string).collect();
            Err(ApiError::invalid("dimensions", format!("this model's embeddings can have {} dimensions, not {wanted}", known.join(", "))))
        }
        wanted => Ok(wanted.filter(|_| sizes.len() > 1)),
    }
}

/// `{"inputText":"…","dimensions":256,"normalize":true}`
fn titan(texts: &[Text<'_>], dimensions: Option<u64>, extras: &Placed<'_>, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        texts.iter().take(1).for_each(|text| body.text("inputText", text));
        if let Some(dimensions) = dimensions {
            body.number("dimensions", dimensions);
        }
        if let Some(normalize) = extras.value("normalize") {
            body.raw("normalize", normalize.as_str());
        }
    });
}

/// `{"texts":["…"],"input_type":"search_document","output_dimension":256,"truncate":"NONE"}`
fn cohere(family: Family, texts: &[Text<'_>], dimensions: Option<u64>, input_type: &Text<'_>, extras: &Placed<'_>, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        Array::write(body.key("texts"), |array| texts.iter().for_each(|text| array.text(text)));
        body.text("input_type", input_type);
        if let Some(dimensions) = dimensions {
            body.number("output_dimension", dimensions);
        }
        if let Some(truncate) = extras.value("truncate") {
            let ends = if family == Family::CohereV4 { ["LEFT", "RIGHT"] } else { ["START", "END"] };
            write_end(truncate, ends, body.key("truncate"));
        }
        if let Some(max_tokens) = extras.value("max_tokens") {
            body.raw("max_tokens", max_tokens.as_str());
        }
    });
}

/// `{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX","text":{"truncationMode":"NONE","value":"…"}}}`
fn nova(texts: &[Text<'_>], dimensions: Option<u64>, input_type: &Text<'_>, extras: &Placed<'_>, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        body.string("taskType", "SINGLE_EMBEDDING");
        body.object("singleEmbeddingParams", |params| {
            match (extras.value("embeddingPurpose"), input_type.unescape().as_ref()) {
                (Some(purpose), _) => params.raw("embeddingPurpose", purpose.as_str()),
                (None, "search_document") => params.string("embeddingPurpose", "GENERIC_INDEX"),
                (None, "search_query") => params.string("embeddingPurpose", "GENERIC_RETRIEVAL"),
                (None, "classification") => params.string("embeddingPurpose", "CLASSIFICATION"),
                (None, "clustering") => params.string("embeddingPurpose", "CLUSTERING"),
                (None, _) => params.text("embeddingPurpose", input_type),
            }
            if let Some(dimensions) = dimensions {
                params.number("embeddingDimension", dimensions);
            }
            params.object("text", |text| {
                match extras.value("truncationMode").or_else(|| extras.value("truncate")) {
                    Some(mode) => write_end(mode, ["START", "END"], text.key("truncationMode")),
                    // It must be there. A text too long is an error with everybody else.
                    None => text.string("truncationMode", "NONE"),
                }
                texts.iter().take(1).for_each(|value| text.text("value", value));
            });
        });
    });
}

/// Writes which end of a text is cut, by the family's own names for the two. What is no name of an end stands as it came.
fn write_end(end: Raw<'_>, [start, stop]: [&str; 2], out: &mut Vec<u8>) {
    let name = end.text();
    match name.as_ref().map(Text::unescape).as_deref() {
        Some("START" | "LEFT") => write_text(out, &Text::from_escaped(start)),
        Some("END" | "RIGHT") => write_text(out, &Text::from_escaped(stop)),
        _ => out.extend_from_slice(end.as_str().as_bytes()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TitanAnswer<'a> {
    #[serde(borrow, default)]
    embedding: Option<Raw<'a>>,
    #[serde(borrow, default)]
    input_text_token_count: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct CohereAnswer<'a> {
    #[serde(borrow, default)]
    embeddings: Option<Raw<'a>>,
}

/// The shape that comes when types of numbers were asked for.
#[derive(Deserialize)]
struct ByType<'a> {
    #[serde(borrow, default)]
    float: Option<Vec<Raw<'a>>>,
}

#[derive(Deserialize)]
struct NovaAnswer<'a> {
    #[serde(borrow, default)]
    embeddings: Option<Vec<NovaEmbedding<'a>>>,
}

#[derive(Deserialize)]
struct NovaEmbedding<'a> {
    #[serde(borrow, default)]
    embedding: Option<Raw<'a>>,
}

/// Reads one answer. Whether it holds as many vectors as there were texts, [`Embeddings::of_texts`] tells.
///
/// Titan's answers tell the tokens; for the others they are in the header `x-amzn-bedrock-input-token-count`.
///
/// # Errors
/// 502 for what is not an answer of that family.
pub fn decode(family: Family, body: &str) -> Result<Embeddings<'_>, ApiError> {
    match family {
        Family::TitanV1 | Family::TitanV2 => {
            let answer: TitanAnswer<'_> = parse(body)?;
            Embeddings::new([answer.embedding], token_count(answer.input_text_token_count))
        }
        Family::CohereV3 | Family::CohereV4 => {
            let embeddings = parse::<CohereAnswer<'_>>(body)?.embeddings.ok_or_else(no_embeddings)?;
            let vectors = match embeddings.kind() {
                Kind::Array => embeddings.read().map_err(|_| no_embeddings())?,
                _ => embeddings.read::<ByType<'_>>().ok().and_then(|by_type| by_type.float).ok_or_else(no_embeddings)?,
            };
            Embeddings::new(vectors.into_iter().map(Some), None)
        }
        Family::Nova => {
            let embeddings = parse::<NovaAnswer<'_>>(body)?.embeddings.ok_or_else(no_embeddings)?;
            Embeddings::new(embeddings.into_iter().map(|one| one.embedding), None)
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, ApiError> {
    serde_json::from_str(body).map_err(|_| no_embeddings())
}

#[cfg(test)]
mod tests;
