//! The service behind the connections: which operation a request asks for, who asks, and what it is answered.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::wire::eventstream;
use crate::wire::json::Object;

use super::Options;
use super::answer::{PromptCache, Question, count_tokens};
use super::embeddings;
use super::failure::Failure;
use super::family::Family;
use super::invoke::{self, Invocation};
use super::journal::{Awaited, Delivery, Facts, Journal};
use super::knobs::{Hold, Knobs, MODEL_TIMEOUT};
use super::render::{self, Body, Frames, Output};
use super::rules::{self, member, text};
use super::script::Script;
use super::shapes;
use super::verify::{Keyring, Received, hex};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// Everything for tests is below this path; Bedrock has nothing there.
const SIDE_DOOR: &str = "/sandbox/";
/// How long a wait of the side door lasts if it does not say.
const WAIT: Duration = Duration::from_secs(10);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    options: Options,
    journal: Arc<Journal>,
    cache: PromptCache,
}

/// An operation of Bedrock's that the sandbox has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Converse,
    ConverseStream,
    CountTokens,
    Invoke,
    InvokeStream,
}

impl Operation {
    /// Each operation with the last segment of its path, its name, the shape of the model id, and that of the body.
    const ALL: [(&str, Operation, &str, &str, &str); 5] = [
        ("converse", Operation::Converse, "Converse", "ConversationalModelId", "ConverseRequest"),
        ("converse-stream", Operation::ConverseStream, "ConverseStream", "ConversationalModelId", "ConverseStreamRequest"),
        ("count-tokens", Operation::CountTokens, "CountTokens", "FoundationModelVersionIdentifier", "CountTokensRequest"),
        ("invoke", Operation::Invoke, "InvokeModel", "InvokeModelIdentifier", "InvokeModelRequest"),
        (
            "invoke-with-response-stream",
            Operation::InvokeStream,
            "InvokeModelWithResponseStream",
            "InvokeModelIdentifier",
            "InvokeModelWithResponseStreamRequest",
        ),
    ];

    /// The operation that a last segment of a path stands for.
    fn of(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(name, operation, ..)| (name == segment).then_some(operation))
    }

    fn name(self) -> &'static str {
        self.row().2
    }

    /// The shape of the model id, and of the body.
    fn shapes(self) -> (&'static str, &'static str) {
        let (.., id, body) = self.row();
        (id, body)
    }

    fn row(self) -> (&'static str, Operation, &'static str, &'static str, &'static str) {
        let [first, rest @ ..] = Self::ALL;
        rest.into_iter().find(|(_, operation, ..)| *operation == self).unwrap_or(first)
    }

    fn is_stream(self) -> bool {
        matches!(self, Operation::ConverseStream | Operation::InvokeStream)
    }
}

/// What a request asks for.
struct Call {
    operation: Operation,
    /// Percent-decoded once.
    id: String,
}

impl Call {
    /// `POST /model/{id}/converse`: the id is one segment, so an ARN has its slashes encoded.
    fn of(parts: &Parts) -> Result<Self, Failure> {
        let unknown = || Failure::new("UnknownOperation", format!("Could not resolve an operation for {} {}", parts.method, parts.uri.path()));
        let (id, segment) = parts.uri.path().strip_prefix("/model/").and_then(|rest| rest.split_once('/')).ok_or_else(unknown)?;
        let operation = Operation::of(segment).filter(|_| parts.method == Method::POST).ok_or_else(unknown)?;
        let id = percent_encoding::percent_decode_str(id).decode_utf8().map_err(|_| invalid_model())?;
        shapes::check_text(operation.shapes().0, "modelId", &id)?;
        Ok(Call { operation, id: id.into_owned() })
    }
}

impl Service {
    pub(super) fn new(options: Options) -> Self {
        let journal = Arc::new(Journal::new(options.remembered_requests));
        Service { options, journal, cache: PromptCache::default() }
    }

    /// Answers one request.
    pub(super) async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Script>, Infallible> {
        let (parts, body) = request.into_parts();
        if parts.uri.path().starts_with(SIDE_DOOR) {
            return Ok(self.side_door(&parts).await);
        }
        let body = match Limited::new(body, self.options.max_body_bytes).collect().await {
            Ok(body) => body.to_bytes(),
            // A body that is too long, or a client that broke off: nobody reads this then.
            Err(error) => return Ok(refusal(&Failure::new("RequestEntityTooLarge", format!("The body could not be read: {error}")), None)),
        };
        Ok(self.answer(parts, body, peer).await)
    }

    async fn answer(&self, parts: Parts, body: Bytes, peer: SocketAddr) -> Response<Script> {
        let body_sha256 = hex(&Sha256::digest(&body));
        let verification = self.verify(&parts, &body_sha256);
        let call = Call::of(&parts);
        let knobs = call.as_ref().map_or_else(|_| Ok(("", Knobs::default())), |call| Knobs::of(&call.id, &parts.headers));
        let (model, knobs, broken_knob) = match knobs {
            Ok((model, knobs)) => (model.to_owned(), knobs, None),
            Err(failure) => (String::new(), Knobs::default(), Some(failure)),
        };
        let headers = parts.headers.clone();
        let delivery = self.journal.note(Facts {
            tag: knobs.tag.clone(),
            parts,
            peer,
            operation: call.as_ref().ok().map(|call| call.operation.name()),
            model: call.as_ref().ok().map(|call| call.id.clone()),
            body: body.clone(),
            body_bytes: body.len(),
            body_sha256: body_sha256.clone(),
            verification: verification.clone(),
        });
        let call = match call.and_then(|call| verification.map(|()| call)).and_then(|call| broken_knob.map_or(Ok(call), Err)) {
            Ok(call) => call,
            Err(failure) => return refusal(&failure, Some(delivery)),
        };
        if !knobs.delay.is_zero() {
            tokio::time::sleep(knobs.delay).await;
        }
        if knobs.hold == Some(Hold::Head) {
            delivery.hold().await;
        }
        match self.call(Asked { operation: call.operation, model: &model, knobs: &knobs, headers: &headers, body: &body, body_sha256: &body_sha256 }) {
            Ok(Output { body, headers }) => {
                delivery.answered(200, None);
                let mut response = match body {
                    Body::Json(bytes) => respond(200, "application/json", Script::json(bytes, &knobs, delivery)),
                    Body::Stream(frames) => respond(200, eventstream::CONTENT_TYPE, Script::stream(frames, &knobs, delivery)),
                };
                response.headers_mut().extend(headers);
                response
            }
            Err(failure) => refusal(&failure, Some(delivery)),
        }
    }

    fn verify(&self, parts: &Parts, body_sha256: &str) -> Result<(), Failure> {
        let keyring = Keyring { credentials: &self.options.credentials, bearer_tokens: &self.options.bearer_tokens, region: self.options.region.as_deref() };
        let received = Received {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
            headers: &parts.headers,
            body_sha256,
        };
        keyring.verify(&received, SystemTime::now()).map(|_| ())
    }

    /// One call, from the checks to the answer.
    fn call(&self, asked: Asked<'_>) -> Result<Output, Failure> {
        let Asked { operation, model, knobs, headers, body, body_sha256 } = asked;
        if let Some(failure) = &knobs.error {
            return Err(failure.clone());
        }
        let family = knobs.family.or_else(|| Family::of(model)).ok_or_else(invalid_model)?;
        if matches!(operation, Operation::Invoke | Operation::InvokeStream) {
            return Invocation { model, family, knobs, headers, body, body_sha256, stream: operation.is_stream() }.answer(&self.cache);
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| Failure::new("Serialization", format!("The body is not JSON: {error}")))?;
        shapes::check_body(operation.shapes().1, &body)?;
        if operation == Operation::CountTokens {
            return count(model, &body, family).map(|body| Body::Json(body).into());
        }
        if embeddings::Model::of(model).is_some() {
            let text = "This action doesn't support the model that you provided. Try again with a supported text or chat model.";
            return Err(Failure::validation(text));
        }
        rules::check(&body, family)?;
        let answer = Question { model, family, knobs, body: &body, body_sha256 }.answer(&self.cache);
        match knobs.exception {
            Some(MODEL_TIMEOUT) if operation.is_stream() => {
                Err(Failure::validation("The sandbox knob 'exception': ConverseStream has no modelTimeoutException."))
            }
            _ if operation.is_stream() => Ok(Body::Stream(Frames::of(&answer, knobs)).into()),
            // Without a stream there is no place for an exception but the whole answer.
            Some(name) => Err(Failure::new(name, "The sandbox was asked for this exception.")),
            None => Ok(Body::Json(render::body(&answer, knobs)).into()),
        }
    }

    /// What tests ask for. Nobody is asked who they are: the sandbox has nothing to hide.
    async fn side_door(&self, parts: &Parts) -> Response<Script> {
        let query = Query::of(parts);
        let tag = query.text("tag");
        let tag = tag.as_deref();
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/sandbox/health") => json(200, br#"{"status":"ok"}"#.to_vec()),
            (&Method::GET, "/sandbox/requests") => json(200, self.journal.list(tag)),
            (&Method::GET, "/sandbox/requests/last") => match self.journal.last(tag) {
                Some(entry) => json(200, entry),
                None => json(404, message("no such request")),
            },
            (&Method::DELETE, "/sandbox/requests") => {
                self.journal.clear(tag);
                json(200, b"{}".to_vec())
            }
            (&Method::DELETE, "/sandbox/cache") => {
                self.cache.clear();
                json(200, b"{}".to_vec())
            }
            (&Method::POST, "/sandbox/release") => {
                let mut out = Vec::new();
                Object::write(&mut out, |o| o.number("released", self.journal.release(tag) as u64));
                json(200, out)
            }
            (&Method::GET, "/sandbox/wait") => self.wait(&query, tag).await,
            (method, path) => json(404, message(&format!("the side door has no {method} {path}"))),
        }
    }

    /// Answers when what is awaited has happened.
    async fn wait(&self, query: &Query<'_>, tag: Option<&str>) -> Response<Script> {
        let count = |name: &str| query.text(name).and_then(|count| count.parse().ok()).unwrap_or(0);
        let awaited = Awaited {
            requests: count("requests"),
            held: count("held"),
            complete: count("complete"),
            closed: count("closed"),
            broken: count("broken"),
            frames: count("frames"),
        };
        let timeout = query.text("timeout").and_then(|time| humantime::parse_duration(&time).ok()).unwrap_or(WAIT);
        if self.journal.wait(tag, awaited, timeout).await { json(200, self.journal.list(tag)) } else { json(408, message("it did not happen in time")) }
    }
}

/// A request that has passed the signature check.
struct Asked<'a> {
    operation: Operation,
    /// Model id without knobs.
    model: &'a str,
    knobs: &'a Knobs,
    headers: &'a HeaderMap,
    body: &'a [u8],
    body_sha256: &'a str,
}

/// The answer of CountTokens. It takes foundation models only, not inference profiles.
fn count(model: &str, body: &Value, family: Family) -> Result<Vec<u8>, Failure> {
    let is_profile = model.contains("inference-profile")
        || (model.split('.').count() > 2 && Family::of(model).is_some() && !model.starts_with("arn:") && is_regional(model));
    if is_profile {
        return Err(Failure::validation("The provided model doesn't support counting tokens."));
    }
    let counted = match member(&body["input"]) {
        Some(("invokeModel", input)) => {
            // The service model has found base64.
            let body = text(input, "body").and_then(|body| STANDARD.decode(body).ok()).unwrap_or_default();
            invoke::count(model, family, &body)?
        }
        Some((_, input)) => {
            rules::check(input, family)?;
            count_tokens(input)
        }
        None => 1,
    };
    let mut out = Vec::new();
    Object::write(&mut out, |o| o.number("inputTokens", counted as u64));
    Ok(out)
}

/// Whether the id begins with the region of an inference profile: behind it stands an id that is whole without it.
fn is_regional(model: &str) -> bool {
    model.split_once('.').is_some_and(|(_, rest)| Family::of(rest).is_some())
}

fn invalid_model() -> Failure {
    Failure::validation("The provided model identifier is invalid.")
}

/// Parameters behind the question mark.
struct Query<'q>(&'q str);

impl<'q> Query<'q> {
    fn of(parts: &'q Parts) -> Self {
        Query(parts.uri.query().unwrap_or_default())
    }

    fn text(&self, name: &str) -> Option<Cow<'q, str>> {
        let value = self.0.split('&').find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy())
    }
}

/// The answer to a refused request.
fn refusal(failure: &Failure, delivery: Option<Delivery>) -> Response<Script> {
    if let Some(delivery) = &delivery {
        delivery.answered(failure.status, Some(failure));
    }
    let (body, media_type) = failure.body();
    let mut response = respond(failure.status, media_type, Script::plain(body, delivery));
    // What answers with plain text is not the service and knows no names of errors.
    if media_type == "application/json"
        && let Ok(name) = HeaderValue::from_str(&failure.error_type())
    {
        response.headers_mut().insert(ERROR_TYPE, name);
    }
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn message(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Object::write(&mut out, |o| o.string("message", text));
    out
}

fn json(status: u16, body: Vec<u8>) -> Response<Script> {
    respond(status, "application/json", Script::plain(body, None))
}

fn respond(status: u16, media_type: &'static str, body: Script) -> Response<Script> {
    let mut response = Response::new(body);
    // Statuses are those of the table of failures, or 200.
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Ok(id) = HeaderValue::from_str(&request_id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A random UUID.
fn request_id() -> String {
    let bits = fastrand::u128(..);
    let hex = format!("{bits:032x}");
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
