//! Embeddings of Google's models: requests go out as bodies of `:predict`, its answers come back.
//!
//! `gemini-embedding-…` takes one text a call, the others 250 with at most 20,000 tokens together; for more tokens the answer is a 400 of Google's.
//!
//! Vendor page: <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>.

use serde::Deserialize;

use crate::chat::capability::base_model;
use crate::chat::embedding::{Calls, EmbeddingRequest, Embeddings, Placed, no_embeddings, token_count};
use crate::chat::{ApiError, Ledger, Policy};
use crate::wire::json::{Array, Object, Raw, Text};

/// The extras that there is a place for.
const PLACES: &[&str] = &["input_type", "task_type", "title", "auto_truncate", "autoTruncate"];

/// What a model is like.
struct Limits {
    /// The most texts in one call.
    batch: usize,
    /// The most dimensions of a vector.
    dimensions: u64,
}

/// The limits of a model: `gemini-embedding-001`, `publishers/google/models/text-embedding-005`.
fn limits(model_id: &str) -> Result<Limits, ApiError> {
    let id = base_model(model_id);
    if id.starts_with("gemini-embedding") {
        Ok(Limits { batch: 1, dimensions: 3072 })
    } else if ["text-embedding-", "text-multilingual-embedding-", "textembedding-gecko"].iter().any(|prefix| id.starts_with(prefix)) {
        Ok(Limits { batch: 250, dimensions: 768 })
    } else {
        Err(ApiError::invalid("model", "this model does not make embeddings"))
    }
}

/// Writes the bodies of the calls that a request takes.
///
/// `{"model":"…","input":["a"],"dimensions":256}` → `{"instances":[{"content":"a"}],"parameters":{"outputDimensionality":256}}`
///
/// `input_type` is the operator's, for requests that bring none: `search_document` and the like, or a task type of Google's. Without it Google decides.
///
/// # Errors
/// 400: on `model` for a model that makes no embeddings, on `input` for tokens, on `dimensions` for more than the model has, and for what the policy refuses.
pub fn plan(request: &EmbeddingRequest<'_>, model_id: &str, input_type: Option<&str>, policy: Policy) -> Result<Calls, ApiError> {
    let limits = limits(model_id)?;
    let texts = request.texts()?;
    let mut ledger = Ledger::new(policy);
    if request.user.is_some() {
        ledger.lose("user")?;
    }
    if request.dimensions.is_some_and(|wanted| wanted > limits.dimensions) {
        return Err(ApiError::invalid("dimensions", format!("this model's embeddings have at most {} dimensions", limits.dimensions)));
    }
    let extras = request.place(PLACES, policy, &mut ledger)?;
    let theirs = extras.text("task_type")?.or(extras.text("input_type")?);
    let task_type = theirs.or_else(|| input_type.map(Text::from_plain)).map(task_type);
    Ok(Calls::new(texts, limits.batch, ledger, |texts, out| write(texts, request.dimensions, task_type.as_ref(), &extras, out)))
}

/// A task in Google's words. What is none of the common ones stands as it came.
fn task_type(input_type: Text<'_>) -> Text<'_> {
    let task = match input_type.unescape().as_ref() {
        "search_document" => "RETRIEVAL_DOCUMENT",
        "search_query" => "RETRIEVAL_QUERY",
        "classification" => "CLASSIFICATION",
        "clustering" => "CLUSTERING",
        _ => return input_type,
    };
    Text::from_escaped(task)
}

fn write(texts: &[Text<'_>], dimensions: Option<u64>, task_type: Option<&Text<'_>>, extras: &Placed<'_>, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        Array::write(body.key("instances"), |instances| {
            for text in texts {
                instances.object(|instance| {
                    instance.text("content", text);
                    if let Some(task_type) = task_type {
                        instance.text("task_type", task_type);
                    }
                    if let Some(title) = extras.value("title") {
                        instance.raw("title", title.as_str());
                    }
                });
            }
        });
        let truncate = extras.value("autoTruncate").or_else(|| extras.value("auto_truncate"));
        if dimensions.is_none() && truncate.is_none() {
            return;
        }
        body.object("parameters", |parameters| {
            if let Some(dimensions) = dimensions {
                parameters.number("outputDimensionality", dimensions);
            }
            if let Some(truncate) = truncate {
                parameters.raw("autoTruncate", truncate.as_str());
            }
        });
    });
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    predictions: Option<Vec<Prediction<'a>>>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow, default)]
    embeddings: Option<Embedding<'a>>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow, default)]
    values: Option<Raw<'a>>,
    #[serde(borrow, default)]
    statistics: Option<Statistics<'a>>,
}

#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow, default)]
    token_count: Option<Raw<'a>>,
}

/// Reads one answer: `{"predictions":[{"embeddings":{"values":[…],"statistics":{"token_count":4}}}]}`. Whether it holds as many vectors as there were texts,
/// [`Embeddings::of_texts`] tells. Tokens are told if all of them are there.
///
/// # Errors
/// 502 for what is not an answer.
pub fn decode(body: &str) -> Result<Embeddings<'_>, ApiError> {
    let answer: Answer<'_> = serde_json::from_str(body).map_err(|_| no_embeddings())?;
    let predictions = answer.predictions.ok_or_else(no_embeddings)?;
    let tokens = |prediction: &Prediction<'_>| token_count(prediction.embeddings.as_ref()?.statistics.as_ref()?.token_count);
    let input_tokens = predictions.iter().map(tokens).try_fold(0, |sum: u64, tokens| sum.checked_add(tokens?));
    Embeddings::new(predictions.into_iter().map(|prediction| prediction.embeddings?.values), input_tokens)
}

#[cfg(test)]
mod tests;
