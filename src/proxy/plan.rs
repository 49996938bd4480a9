//! What becomes of a request, once it is known where it goes: relayed with a few members changed, put into another framing, translated, or asked several times.
//!
//! ```text
//!                 OpenAI-type          Anthropic, Claude on Vertex    Claude on Bedrock         other on Bedrock
//! Chat            relay                translate (n: fan out)         translate (n: fan out)    translate (n: fan out)
//! Completions     translate            translate                      translate                 translate    (several prompts, n: fan out)
//! Responses       relay if it speaks   translate                      translate                 translate
//!                 it, else translate
//! Messages        translate            relay                          reframe                   translate
//! Converse        translate            translate                      relay                     relay
//! Invoke          translate            translate                      relay                     relay
//! Embeddings      relay                400 (Vertex: fan out)          —                         fan out
//! token counts    400, or relay as     relay, translate               relay, translate          relay, translate
//!                 for Responses
//! ```
//!
//! A pure function of the request, the snapshot and the target; nothing is sent here.

mod approach;
mod claude;
mod counts;
mod embeddings;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::chat::{ApiError, Encoded, Envelope, ErrorKind, Ledger, Options, Policy};
use crate::config::snapshot::{Provider, ProviderKind, Target};
use crate::dialect::openai::responses::kept::without_own_thoughts;
use crate::dialect::openai::responses::request::refuse_background;
use crate::dialect::{Dialect, Surface, converse};
use crate::ops::upstreams::Upstream;
use crate::policy::route::Route;
use crate::provider::bedrock::{self, Operation};
use crate::provider::{anthropic, azure, openai, vertex};
use crate::proxy::headers::{native_request, relayed_request};
use crate::proxy::kept::{Answering, Previous};
use crate::translate::relay::Watched;
use crate::translate::{self, Api, Client, Question, Translation};
use crate::wire::eventstream;
use crate::wire::json::{Edit, Kind, pick, splice};

pub(super) use approach::{LOOP, outward, step};
pub(super) use embeddings::{Vectors, encode as encode_embeddings, read as read_embeddings};

/// A client's request, as far as a plan needs it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) surface: Surface,
    /// As the client named it.
    pub(super) model: &'a str,
    /// Behind the path.
    pub(super) query: Option<&'a str>,
    /// Whether a stream is asked for, where the body says so.
    pub(super) stream: bool,
    /// The body names its model, or says whether to stream, more than once: which of them counts, each reader decides for himself.
    pub(super) repeated: bool,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
    pub(super) request_id: &'a str,
    /// For Responses: what the answer is called, whether it is kept, what it goes on from.
    pub(super) answering: Option<&'a Answering>,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// One call of an upstream, without credentials.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query, as they go onto the wire.
    pub(super) path: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What becomes of the upstream's answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// It is written in the client's dialect.
    Translate(Box<Translation>),
    /// Its events leave their frames.
    Reframe,
    /// A count of tokens in another dialect.
    Count(Api),
    /// It passes.
    Relay {
        /// Who reads along.
        watched: Watched,
        /// Whose errors come.
        api: Api,
        /// Every header passes that tells nothing of the upstream: a provider's own API.
        native: bool,
    },
}

impl Answer {
    /// The API whose errors come.
    pub(super) fn api(&self) -> Api {
        match self {
            Answer::Translate(translation) => translation.api,
            Answer::Reframe => Api::Converse,
            Answer::Count(api) => *api,
            Answer::Relay { api, .. } => *api,
        }
    }
}

impl Answer {
    /// What keeps the client's connection alive while the model is silent. What passes as it is gets nothing between.
    pub(super) fn keep_alive(&self) -> Option<&'static [u8]> {
        match self {
            Answer::Translate(translation) => translate::keep_alive(translation.client.dialect()),
            Answer::Reframe => translate::keep_alive(Dialect::Anthropic),
            Answer::Count(_) | Answer::Relay { .. } => None,
        }
    }
}

/// Several calls for one request.
#[derive(Debug)]
pub(super) enum Fan {
    /// An answer for each of these bodies: the same one `n` times, or for several prompts.
    Choices(Vec<Bytes>),
    /// Texts that the model takes one by one, or some at a time.
    Vectors(Vectors),
}

/// A plan without the client's session.
pub(super) struct Draft {
    pub(super) route: Route,
    pub(super) upstream: Arc<Upstream>,
    pub(super) call: Call,
    pub(super) body: Bytes,
    pub(super) stream: bool,
    pub(super) dropped: Vec<String>,
    pub(super) answer: Answer,
    pub(super) fan: Option<Fan>,
}

/// Everything but the route.
struct Parts {
    call: Call,
    body: Bytes,
    stream: bool,
    dropped: Vec<String>,
    answer: Answer,
    fan: Option<Fan>,
}

/// How a provider's model is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    OpenAi,
    Anthropic,
    Bedrock,
}

pub(super) fn speaks(target: &Target) -> Speaks {
    match &target.provider.kind {
        ProviderKind::Bedrock(_) => Speaks::Bedrock,
        ProviderKind::OpenAi { .. } | ProviderKind::AzureOpenAi { .. } => Speaks::OpenAi,
        ProviderKind::Anthropic { .. } => Speaks::Anthropic,
        ProviderKind::Vertex { .. } if vertex::is_claude(&target.model) => Speaks::Anthropic,
        ProviderKind::Vertex { .. } => Speaks::OpenAi,
    }
}

/// Plans a model request.
///
/// # Errors
/// 400 for what the client wrote wrong or the target cannot do.
pub(super) fn plan(asked: &Asked<'_>, route: Route, upstream: Arc<Upstream>) -> Result<Draft, ApiError> {
    let target = Arc::clone(&route.target);
    if let Some(answering) = asked.answering {
        answering.check(&target)?;
    }
    let parts = match (asked.surface, speaks(&target)) {
        (Surface::ChatCompletions, Speaks::OpenAi) => relay_chat(asked, &target, azure::Operation::Chat)?,
        (Surface::Responses, _) if target.provider.speaks_responses() => relay_responses(asked, &target, azure::Operation::Responses)?,
        (Surface::CountResponses, _) if target.provider.speaks_responses() => relay_responses(asked, &target, azure::Operation::ResponseTokens)?,
        (Surface::Messages, Speaks::Anthropic) => claude::relay(asked, &target)?,
        (Surface::Messages, Speaks::Bedrock) if target.speaks_messages() => claude::reframe(asked, &target)?,
        (Surface::Converse | Surface::ConverseStream | Surface::Invoke | Surface::InvokeStream, Speaks::Bedrock) => relay_bedrock(asked, &target)?,
        (Surface::CountMessages | Surface::CountResponses | Surface::CountTokens, _) => counts::plan(asked, &route)?,
        (Surface::Embeddings, Speaks::OpenAi) if !matches!(target.provider.kind, ProviderKind::Vertex { .. }) => {
            relay_chat(asked, &target, azure::Operation::Embeddings)?
        }
        (Surface::Embeddings, _) => embeddings::plan(asked, &route)?,
        (
            Surface::ChatCompletions
            | Surface::Completions
            | Surface::Responses
            | Surface::Messages
            | Surface::Converse
            | Surface::ConverseStream
            | Surface::Invoke
            | Surface::InvokeStream,
            speaks,
        ) => translated(asked, &route, speaks)?,
    };
    let Parts { call, body, stream, dropped, answer, fan } = parts;
    Ok(Draft { route, upstream, call, body, stream, dropped, answer, fan })
}

/// Plans a request to a provider's own API: method, path, query and body stay as they are.
///
/// # Errors
/// 400 for a path with dot segments: behind them might be somebody else's part of the same host.
pub(super) fn native(
    method: &Method,
    rest: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Bytes,
    provider: &Arc<Provider>,
    upstream: Arc<Upstream>,
) -> Result<Draft, ApiError> {
    let endpoint = provider.endpoint().ok_or_else(|| ApiError::new(ErrorKind::NotConfigured, "The provider has no endpoint."))?;
    if rest.split('/').any(is_dot_segment) || rest.contains('\\') {
        return Err(ApiError::new(ErrorKind::InvalidRequest, "The path holds a dot segment."));
    }
    // SDKs are pointed at a provider with the version in their base URL or without it; both mean the same place.
    let inside = rest.strip_prefix(endpoint.prefix.as_str()).is_some_and(|rest| rest.starts_with('/'));
    let mut path = if inside { rest.to_owned() } else { format!("{}{rest}", endpoint.prefix) };
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    let mut headers = native_request(headers);
    let (watched, api, dialect) = match &provider.kind {
        ProviderKind::Bedrock(_) => (Watched::Invoke, Api::Converse, Dialect::Bedrock),
        ProviderKind::Anthropic { .. } => (Watched::Anthropic, Api::Anthropic, Dialect::Anthropic),
        ProviderKind::OpenAi { .. } | ProviderKind::AzureOpenAi { .. } | ProviderKind::Vertex { .. } => (Watched::OpenAi, Api::OpenAi, Dialect::OpenAi),
    };
    if dialect == Dialect::Anthropic {
        version_header(&mut headers);
    }
    Ok(Draft {
        route: Route { model: None, target: Arc::new(Target::plain(Arc::clone(provider), "")) },
        upstream,
        call: Call { method: method.clone(), path, headers },
        body,
        stream: false,
        dropped: Vec::new(),
        answer: Answer::Relay { watched, api, native: true },
        fan: None,
    })
}

/// `.`, `..` and their encoded forms.
fn is_dot_segment(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    // Whatever follows an encoded slash may be taken for a segment by somebody on the way.
    plain.split("%2f").any(|part| part == "." || part == "..")
}

/// Names a version of Anthropic's API where the client names none.
fn version_header(headers: &mut Vec<(HeaderName, HeaderValue)>) {
    if !headers.iter().any(|(name, _)| name == "anthropic-version") {
        headers.push((HeaderName::from_static("anthropic-version"), HeaderValue::from_static(anthropic::VERSION)));
    }
}

fn json_headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))]
}

/// Puts what a client said for the model behind what the gateway says.
fn with_relayed(mut headers: Vec<(HeaderName, HeaderValue)>, client: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    headers.extend(relayed_request(client).into_iter().filter(|(name, _)| !name.as_str().starts_with("x-amzn-") && !name.as_str().starts_with("anthropic-")));
    headers
}

fn post(path: String, headers: Vec<(HeaderName, HeaderValue)>) -> Call {
    Call { method: Method::POST, path, headers }
}

fn accept(stream: bool, stream_type: &'static str) -> (HeaderName, HeaderValue) {
    (ACCEPT, HeaderValue::from_static(if stream { stream_type } else { "application/json" }))
}

fn text(body: &Bytes) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|error| ApiError::new(ErrorKind::InvalidRequest, format!("The body is not valid UTF-8 at byte {}.", error.valid_up_to())))
}

/// The body with some members changed; the very same bytes where nothing changes.
fn edited(body: &Bytes, edits: &[Edit<'_>]) -> Result<Bytes, ApiError> {
    if edits.is_empty() {
        return Ok(body.clone());
    }
    let text = text(body)?;
    splice(text, edits).map(Bytes::from).map_err(|syntax| crate::chat::read::malformed(text, syntax))
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    crate::wire::json::write_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// The edit that gives a body the target's name of the model, where it is another one than the client's.
fn model_edit<'e>(asked: &Asked<'_>, model: &str, json: &'e mut String) -> Vec<Edit<'e>> {
    if asked.model == model && !asked.repeated {
        return Vec::new();
    }
    *json = quoted(model);
    let stream = asked.repeated.then_some(Edit::Replace("stream", if asked.stream { "true" } else { "false" }));
    std::iter::once(Edit::Set("model", json)).chain(stream).collect()
}

/// Chat Completions, Responses and Embeddings to whoever speaks them.
fn relay_chat(asked: &Asked<'_>, target: &Target, operation: azure::Operation) -> Result<Parts, ApiError> {
    let mut json = String::new();
    let (path, edits) = match &target.provider.kind {
        ProviderKind::AzureOpenAi { endpoint: Some(endpoint), api_version, .. } => {
            let path = azure::path(endpoint, api_version, &target.model, operation);
            // The path of a deployment decides; its service passes over the member.
            let edits = if path.contains("/openai/deployments/") { Vec::new() } else { model_edit(asked, &target.model, &mut json) };
            (path, edits)
        }
        ProviderKind::Vertex { project: Some(project), location, endpoint, .. } => {
            (vertex::Place { endpoint, project, location }.chat_path(), model_edit(asked, &vertex::open_model(&target.model), &mut json))
        }
        ProviderKind::OpenAi { base_url, .. } => {
            let path = match operation {
                azure::Operation::Chat => openai::chat_path(base_url),
                azure::Operation::Embeddings => openai::embeddings_path(base_url),
                azure::Operation::Responses => openai::responses_path(base_url),
                azure::Operation::ResponseTokens => openai::response_tokens_path(base_url),
            };
            (path, model_edit(asked, &target.model, &mut json))
        }
        _ => return Err(unusable()),
    };
    let watched = match operation {
        azure::Operation::Chat | azure::Operation::Embeddings => Watched::OpenAi,
        azure::Operation::Responses => Watched::Responses,
        azure::Operation::ResponseTokens => Watched::Nothing,
    };
    let mut headers = with_relayed(json_headers(), asked.headers);
    headers.push(accept(asked.stream, "text/event-stream"));
    Ok(Parts {
        call: post(path, headers),
        body: edited(asked.body, &edits)?,
        stream: asked.stream,
        dropped: Vec::new(),
        answer: Answer::Relay { watched, api: Api::OpenAi, native: false },
        fan: None,
    })
}

/// Responses to whoever speaks them. What is made in the background would be fetched, and counted, by nobody here.
fn relay_responses(asked: &Asked<'_>, target: &Target, operation: azure::Operation) -> Result<Parts, ApiError> {
    let text = text(asked.body)?;
    let [background, input] = pick(text, ["background", "input"]).map_err(|syntax| crate::chat::read::malformed(text, syntax))?;
    refuse_background(background.filter(|raw| raw.kind() != Kind::Null))?;
    let mut edits = Vec::new();
    // What the answer goes on from stands in the body; the provider never had it.
    if asked.answering.is_some_and(|answering| answering.previous == Previous::Followed) {
        edits.push(Edit::Remove("previous_response_id"));
    }
    let input = input.and_then(without_own_thoughts);
    edits.extend(input.as_deref().map(|input| Edit::Set("input", input)));
    let body = edited(asked.body, &edits)?;
    relay_chat(&Asked { body: &body, ..*asked }, target, operation)
}

fn unusable() -> ApiError {
    ApiError::new(ErrorKind::NotConfigured, "The provider is not configured.")
}

/// The Bedrock runtime's own operations on a model of Bedrock's: signed anew, and nothing else, unless the operator wants a guardrail.
fn relay_bedrock(asked: &Asked<'_>, target: &Target) -> Result<Parts, ApiError> {
    let (operation, stream) = match asked.surface {
        Surface::ConverseStream => (Operation::ConverseStream, true),
        Surface::Invoke => (Operation::Invoke, false),
        Surface::InvokeStream => (Operation::InvokeStream, true),
        _ => (Operation::Converse, false),
    };
    let bedrock = target.provider.bedrock().ok_or_else(unusable)?;
    bedrock::check_model_id(&target.model).map_err(|error| ApiError::invalid("modelId", format!("The model id is not valid: {error}.")))?;
    let uniform = matches!(operation, Operation::Converse | Operation::ConverseStream);
    let mut headers: Vec<_> = relayed_request(asked.headers).into_iter().filter(|(name, _)| !name.as_str().starts_with("anthropic-")).collect();
    for name in [CONTENT_TYPE, ACCEPT] {
        if let Some(value) = asked.headers.get(&name) {
            headers.push((name, value.clone()));
        }
    }
    let mut config = None;
    if let Some(guardrail) = &target.guardrail {
        if uniform {
            headers.retain(|(name, _)| !name.as_str().starts_with("x-amzn-bedrock-guardrail"));
            config = Some(converse::upstream::request::guardrail_config(guardrail, stream));
        } else {
            guardrail_headers(guardrail, &mut headers)?;
        }
    }
    let mut edits: Vec<Edit<'_>> = config.iter().map(|config| Edit::Set("guardrailConfig", config)).collect();
    if !uniform {
        edits.extend(claude::version_for(target, asked.body));
    }
    Ok(Parts {
        call: post(bedrock::path(&bedrock.endpoint, &target.model, operation), headers),
        body: edited(asked.body, &edits)?,
        stream,
        dropped: Vec::new(),
        answer: Answer::Relay { watched: if uniform { Watched::Converse } else { Watched::Invoke }, api: Api::Converse, native: false },
        fan: None,
    })
}

/// InvokeModel has its guardrail in headers; the operator's takes the place of the client's.
fn guardrail_headers(guardrail: &converse::Guardrail, headers: &mut Vec<(HeaderName, HeaderValue)>) -> Result<(), ApiError> {
    headers.retain(|(name, _)| !name.as_str().starts_with("x-amzn-bedrock-guardrail"));
    for (name, text) in [("x-amzn-bedrock-guardrailidentifier", &guardrail.identifier), ("x-amzn-bedrock-guardrailversion", &guardrail.version)] {
        let value = HeaderValue::from_str(text).map_err(|_| ApiError::new(ErrorKind::Internal, "The guardrail's name fits no header."))?;
        headers.push((HeaderName::from_static(name), value));
    }
    Ok(())
}

/// The target as the encoders see it.
fn encoder_target<'t>(route: &'t Route, model: &'t str, api: Api, stream: bool) -> translate::Target<'t> {
    let target = &route.target;
    let options = Options {
        model,
        family: target.family_id(),
        capabilities: &target.capabilities,
        policy: route.model.as_ref().map_or_else(Policy::default, |model| model.policy),
        default_max_tokens: target.default_max_tokens,
        stream,
    };
    translate::Target { api, options, guardrail: target.guardrail.as_ref() }
}

/// A body without members that its target does not know.
fn without(body: Bytes, names: &[&'static str], policy: Policy, client: &Client, dropped: &mut Vec<String>) -> Result<Bytes, ApiError> {
    let mut ledger = Ledger::new(policy);
    let mut edits = Vec::new();
    for name in names {
        if pick(text(&body)?, [name]).is_ok_and(|[member]| member.is_some()) {
            ledger.lose(client.own_name(name).unwrap_or(name))?;
            edits.push(Edit::Remove(name));
        }
    }
    dropped.extend(ledger.into_dropped());
    edited(&body, &edits)
}

fn translated(asked: &Asked<'_>, route: &Route, speaks: Speaks) -> Result<Parts, ApiError> {
    let question = Question::decode(asked.surface, asked.model, text(asked.body)?)?;
    put(asked, route, speaks, question)
}

/// Puts a question to a target, in the target's own terms.
fn put(asked: &Asked<'_>, route: &Route, speaks: Speaks, mut question: Question<'_>) -> Result<Parts, ApiError> {
    if let Client::Responses(style) = &mut question.client {
        style.store &= asked.answering.is_some_and(Answering::is_kept);
    }
    let target = &*route.target;
    let (api, model): (Api, Cow<'_, str>) = match speaks {
        Speaks::Bedrock => (Api::Converse, Cow::Borrowed(&target.model)),
        Speaks::Anthropic => (Api::Anthropic, Cow::Borrowed(vertex::claude(&target.model))),
        Speaks::OpenAi if matches!(target.provider.kind, ProviderKind::Vertex { .. }) => (Api::OpenAi, Cow::Owned(vertex::open_model(&target.model))),
        Speaks::OpenAi => (Api::OpenAi, Cow::Borrowed(&target.model)),
    };
    let encoder = encoder_target(route, &model, api, question.stream);
    let Encoded { body, restore, mut dropped } = written(&question, &encoder, target)?;
    let body = Bytes::from(body);
    // OpenAI-type targets make several chat answers themselves; of those to a prompt one is read.
    let answers = match &question.client {
        Client::Completions(style) => u64::from(style.n),
        _ => question.request.n.filter(|_| api != Api::OpenAi).unwrap_or(1),
    };
    let mut bodies: Vec<Bytes> = std::iter::repeat_n(&body, usize::try_from(answers).unwrap_or(usize::MAX)).cloned().collect();
    for prompt in std::mem::take(&mut question.more) {
        question.request.messages = vec![prompt];
        let body = Bytes::from(written(&question, &encoder, target)?.body);
        bodies.extend(std::iter::repeat_n(&body, usize::try_from(answers).unwrap_or(usize::MAX)).cloned());
    }
    if asked.headers.contains_key("anthropic-beta") && asked.surface == Surface::Messages {
        dropped.push("anthropic-beta".to_owned());
    }
    let stream = question.stream;
    let id = asked.answering.map_or(asked.request_id, |answering| &answering.id);
    let envelope = Envelope { id: id.to_owned(), model: asked.model.to_owned(), created: asked.now };
    let translation = Translation { envelope, client: question.client, api, restore };
    let fan = (bodies.len() > 1).then_some(Fan::Choices(bodies));
    Ok(Parts { call: translated_call(target, api, stream)?, body, stream, dropped, answer: Answer::Translate(Box::new(translation)), fan })
}

/// The question as this target takes it: what its place knows better than its API changes.
fn written(question: &Question<'_>, encoder: &translate::Target<'_>, target: &Target) -> Result<Encoded, ApiError> {
    let mut encoded = question.encode(encoder)?;
    if let ProviderKind::Vertex { .. } = &target.provider.kind {
        let body = Bytes::from(encoded.body);
        let body = if encoder.api == Api::Anthropic {
            edited(&body, &claude::vertex_edits())?
        } else {
            without(body, vertex::NOT_IN_CHAT, encoder.options.policy, &question.client, &mut encoded.dropped)?
        };
        encoded.body = body.into();
    }
    Ok(encoded)
}

/// Where a translated request goes.
fn translated_call(target: &Target, api: Api, stream: bool) -> Result<Call, ApiError> {
    let mut headers = json_headers();
    headers.push(accept(stream, if api == Api::Converse { eventstream::CONTENT_TYPE } else { "text/event-stream" }));
    let path = match &target.provider.kind {
        ProviderKind::Bedrock(_) if stream => target.converse_stream_path.clone(),
        ProviderKind::Bedrock(_) => target.converse_path.clone(),
        ProviderKind::Anthropic { base_url, .. } => {
            version_header(&mut headers);
            anthropic::messages_path(base_url)
        }
        ProviderKind::Vertex { project: Some(project), location, endpoint, .. } => {
            let place = vertex::Place { endpoint, project, location };
            if api == Api::Anthropic { place.claude_path(&target.model, stream) } else { place.chat_path() }
        }
        ProviderKind::OpenAi { base_url, .. } => openai::chat_path(base_url),
        ProviderKind::AzureOpenAi { endpoint: Some(endpoint), api_version, .. } => azure::path(endpoint, api_version, &target.model, azure::Operation::Chat),
        _ => return Err(unusable()),
    };
    Ok(post(path, headers))
}

/// Whether a status has no body.
pub(super) fn is_bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_seen_in_every_dress() {
        for bad in [".", "..", "%2e", "%2E%2e", ".%2e", "a%2f..%2fb", "..%2F"] {
            assert!(is_dot_segment(bad), "{bad}");
        }
        for good in ["", "a", "...", "a.b", "v1", "%2fa"] {
            assert!(!is_dot_segment(good), "{good}");
        }
    }

    #[test]
    fn members_that_a_target_does_not_know_are_left_out_and_told_or_refused() {
        let body = Bytes::from_static(br#"{"model": "m", "user": "u", "metadata": {"a": "b"}, "stop": []}"#);
        let client = Client::Anthropic(crate::dialect::anthropic::Style::default());
        let mut dropped = vec!["top_k".to_owned()];
        let left = without(body.clone(), vertex::NOT_IN_CHAT, Policy::default(), &client, &mut dropped).unwrap();
        assert_eq!(left, r#"{"model": "m", "stop": []}"#);
        assert_eq!(dropped, ["top_k", "metadata.user_id", "metadata"]);
        let policy = Policy { unsupported: crate::chat::Unsupported::Reject, ..Policy::default() };
        let error = without(body, vertex::NOT_IN_CHAT, policy, &client, &mut dropped).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some("metadata.user_id")));
    }
}
