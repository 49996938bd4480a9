//! Messages requests to Claude: relayed to Anthropic and Vertex, put into InvokeModel's framing for Bedrock. The body passes but for the members that say where.
//!
//! Vendor pages: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>,
//! <https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>.

use std::collections::HashSet;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Answer, Asked, Call, Parts, accept, edited, guardrail_headers, json_headers, model_edit, post, text, unusable, version_header};
use crate::chat::ApiError;
use crate::chat::read::malformed;
use crate::config::snapshot::{ProviderKind, Target};
use crate::provider::bedrock::{self, Operation};
use crate::provider::{anthropic, vertex};
use crate::proxy::headers::relayed_request;
use crate::translate::Api;
use crate::translate::relay::Watched;
use crate::wire::eventstream;
use crate::wire::json::{Array, Edit, Kind, Raw, Reader, Syntax, Text, pick};

/// What Vertex wants changed: the model stands in the path, the version in the body.
pub(super) fn vertex_edits() -> [Edit<'static>; 2] {
    [Edit::Remove("model"), Edit::Set("anthropic_version", VERTEX_VERSION)]
}

/// [`anthropic::VERTEX_VERSION`] as JSON.
const VERTEX_VERSION: &str = "\"vertex-2023-10-16\"";

/// The headers of a request to Anthropic's API, wherever it is.
fn headers(client: &HeaderMap, stream: bool) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = json_headers();
    headers.extend(relayed_request(client).into_iter().filter(|(name, _)| !name.as_str().starts_with("x-amzn-")));
    headers.push(accept(stream, "text/event-stream"));
    headers
}

fn relayed(call: Call, body: Bytes, stream: bool) -> Parts {
    Parts { call, body, stream, dropped: Vec::new(), answer: Answer::Relay { watched: Watched::Anthropic, api: Api::Anthropic, native: false }, fan: None }
}

/// Anthropic's packages say `?beta=true` where they use what is not settled yet.
fn with_query(path: String, asked: &Asked<'_>) -> String {
    match asked.query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Messages to Anthropic, or to Claude on Vertex.
pub(super) fn relay(asked: &Asked<'_>, target: &Target) -> Result<Parts, ApiError> {
    let mut headers = headers(asked.headers, asked.stream);
    match &target.provider.kind {
        ProviderKind::Anthropic { base_url, .. } => {
            version_header(&mut headers);
            let mut json = String::new();
            let edits = model_edit(asked, &target.model, &mut json);
            Ok(relayed(post(with_query(anthropic::messages_path(base_url), asked), headers), edited(asked.body, &edits)?, asked.stream))
        }
        ProviderKind::Vertex { project: Some(project), location, endpoint, .. } => {
            headers.retain(|(name, _)| name != "anthropic-version");
            let path = vertex::Place { endpoint, project, location }.claude_path(&target.model, asked.stream);
            Ok(relayed(post(path, headers), edited(asked.body, &vertex_edits())?, asked.stream))
        }
        _ => Err(unusable()),
    }
}

/// Token counts of Messages requests, by Anthropic or Vertex.
pub(super) fn relay_count(asked: &Asked<'_>, target: &Target) -> Result<Parts, ApiError> {
    let mut headers = headers(asked.headers, false);
    match &target.provider.kind {
        ProviderKind::Anthropic { base_url, .. } => {
            version_header(&mut headers);
            let mut json = String::new();
            let edits = model_edit(asked, &target.model, &mut json);
            Ok(relayed(post(with_query(anthropic::count_path(base_url), asked), headers), edited(asked.body, &edits)?, false))
        }
        ProviderKind::Vertex { project: Some(project), location, endpoint, .. } => {
            headers.retain(|(name, _)| name != "anthropic-version");
            let mut json = String::new();
            let mut edits = model_edit(asked, vertex::claude(&target.model), &mut json);
            edits.push(Edit::Set("anthropic_version", VERTEX_VERSION));
            Ok(relayed(post(vertex::Place { endpoint, project, location }.count_path(), headers), edited(asked.body, &edits)?, false))
        }
        _ => Err(unusable()),
    }
}

/// Messages to Claude on Bedrock.
pub(super) fn reframe(asked: &Asked<'_>, target: &Target) -> Result<Parts, ApiError> {
    let bedrock = target.provider.bedrock().ok_or_else(unusable)?;
    let (body, dropped) = invoke_body(asked, &[])?;
    let mut headers = json_headers();
    headers.extend(relayed_request(asked.headers).into_iter().filter(|(name, _)| name.as_str().starts_with("x-amzn-bedrock-")));
    headers.push(accept(asked.stream, eventstream::CONTENT_TYPE));
    if let Some(guardrail) = &target.guardrail {
        guardrail_headers(guardrail, &mut headers)?;
    }
    let operation = if asked.stream { Operation::InvokeStream } else { Operation::Invoke };
    let answer = if asked.stream { Answer::Reframe } else { Answer::Relay { watched: Watched::Invoke, api: Api::Converse, native: false } };
    Ok(Parts { call: post(bedrock::path(&bedrock.endpoint, &target.model, operation), headers), body, stream: asked.stream, dropped, answer, fan: None })
}

/// The edit that an InvokeModel body needs to be taken at all: Anthropic's packages name the newest API version, which Bedrock does not have for models whose
/// id ends in a version of its own. The one that it has knows all of the newest's members.
pub(super) fn version_for(target: &Target, body: &Bytes) -> Option<Edit<'static>> {
    const NEWEST: &str = "2026-10-21";
    // Those of 4.6 belong to them, although their ids end otherwise.
    let id = target.family_id();
    let is_older = bedrock::has_version(id) || ["-4-6", "-4-6-v1"].iter().any(|end| id.ends_with(end));
    if !bedrock::is_claude(id) || !is_older {
        return None;
    }
    let [version] = pick(std::str::from_utf8(body).ok()?, ["anthropic_version"]).ok()?;
    (version?.text()? == *NEWEST).then_some(Edit::Replace("anthropic_version", "\"bedrock-2023-05-31\""))
}

/// The body of InvokeModel: without `model` and `stream`, with the version, with the betas of header and body that Bedrock takes, and with what is missing of
/// `defaults` (names and JSON). All else byte for byte. Also tells what was left out.
pub(super) fn invoke_body(asked: &Asked<'_>, defaults: &[(&str, &str)]) -> Result<(Bytes, Vec<String>), ApiError> {
    let text = text(asked.body)?;
    let [version, betas] = pick(text, ["anthropic_version", "anthropic_beta"]).map_err(|syntax| malformed(text, syntax))?;
    let mut edits = vec![Edit::Remove("model"), Edit::Remove("stream")];
    let own_version = version.and_then(Raw::text).is_some_and(|version| version.escaped().starts_with("bedrock-"));
    let quoted_version = super::quoted(anthropic::BEDROCK_VERSION);
    if !own_version {
        edits.push(Edit::Set("anthropic_version", &quoted_version));
    }
    if betas.is_some_and(|betas| !matches!(betas.kind(), Kind::Array | Kind::Null)) {
        return Err(ApiError::invalid("anthropic_beta", "anthropic_beta must be a list of texts."));
    }
    let mut wanted: Vec<String> = in_body(betas);
    let before = wanted.len();
    wanted.extend(in_headers(asked.headers));
    let mut seen = HashSet::new();
    let taken: Vec<&str> = wanted.iter().filter_map(|beta| anthropic::bedrock_beta(beta)).filter(|beta| seen.insert(*beta)).collect();
    let dropped = if wanted.iter().all(|beta| anthropic::bedrock_beta(beta).is_some()) { Vec::new() } else { vec!["anthropic-beta".to_owned()] };
    let mut list = Vec::new();
    Array::write(&mut list, |list| taken.iter().for_each(|beta| list.text(&Text::from_plain(*beta))));
    let list = String::from_utf8(list).unwrap_or_default();
    let unchanged = wanted.len() == before && taken.len() == before && wanted.iter().zip(&taken).all(|(wanted, taken)| wanted == taken);
    if taken.is_empty() {
        edits.push(Edit::Remove("anthropic_beta"));
    } else if !unchanged {
        edits.push(Edit::Set("anthropic_beta", &list));
    }
    for (name, json) in defaults {
        if pick(text, [name]).map_err(|syntax| malformed(text, syntax))?[0].is_none() {
            edits.push(Edit::Set(name, json));
        }
    }
    Ok((edited(asked.body, &edits)?, dropped))
}

/// The betas that a body names.
fn in_body(betas: Option<Raw<'_>>) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(raw) = betas.filter(|raw| raw.kind() == Kind::Array) {
        let read = Reader::new(raw.as_str()).array(|reader| {
            found.extend(reader.value()?.text().map(|text| text.unescape().into_owned()));
            Ok::<(), Syntax>(())
        });
        // It was read once as a part of the body.
        debug_assert!(read.is_ok());
    }
    found
}

/// The betas that headers name: `anthropic-beta: a, b`.
fn in_headers(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all("anthropic-beta").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|list| list.split(',').map(str::trim).filter(|beta| !beta.is_empty()).map(str::to_owned))
}
