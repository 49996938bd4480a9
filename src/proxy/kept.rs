//! Responses that are kept: what a request goes on from, and what becomes of its answer.
//!
//! ```text
//! previous_response_id ─▶ answers before, one by one ─▶ their items in front of `input` ─▶ planned like any other request
//! answer, complete ─▶ kept, with the request's own items, under its user
//! ```
//!
//! A provider that speaks Responses keeps its answers itself. Whose they are is written down here, for it knows the gateway's key only.

pub(super) mod pages;

use std::sync::Arc;

use bytes::Bytes;

use crate::chat::{ApiError, ErrorKind, read};
use crate::config::snapshot::Target;
use crate::dialect::Surface;
use crate::dialect::openai::responses::kept::{self, Link};
use crate::ops::responses::{Kept, Store, Terms, Trouble};
use crate::proxy::Shared;
use crate::proxy::ctx::Ctx;
use crate::proxy::error::{clip, overloaded};
use crate::wire::json::{Edit, Kind, Raw, pick, splice};

/// The most answers that a conversation goes back.
const MOST_LINKS: usize = 1000;
/// The most answers whose items one request names.
const MOST_REFERENCES: usize = 64;

/// What a request goes on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Previous {
    /// Nothing.
    #[default]
    None,
    /// An answer whose items stand in the body now.
    Followed,
    /// An answer that this provider keeps.
    Theirs(String),
    /// One that is not there for this user.
    Unknown(String),
}

/// A request for a response on its way.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    /// What the answer is called.
    pub(super) id: String,
    pub(super) previous: Previous,
    /// Whoever comes is one and the same user.
    pub(super) is_anybody: bool,
    keep: Option<Keep>,
}

/// How an answer is kept.
#[derive(Clone, Debug)]
struct Keep {
    store: Arc<Store>,
    user: Arc<str>,
    terms: Terms,
    /// The request's own items.
    input: Bytes,
    previous: Option<String>,
}

impl Answering {
    /// Whether the answer is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.keep.is_some()
    }

    /// Bytes that are held for it.
    pub(super) fn held_bytes(&self) -> usize {
        self.keep.as_ref().map_or(0, |keep| keep.input.len())
    }

    /// Keeps the answer; once.
    pub(super) fn keep(&mut self, response: Bytes) {
        if let Some(Keep { store, user, terms, input, previous }) = self.keep.take() {
            store.put(user, format!("resp_{}", self.id), Kept { response, input, previous, provider: None }, terms);
        }
    }

    /// Notes whose the answer is that a provider keeps; once.
    pub(super) fn keep_theirs(&mut self, id: String, provider: &str) {
        if let Some(Keep { store, user, terms, .. }) = self.keep.take() {
            store.put(user, id, Kept { response: Bytes::new(), input: Bytes::new(), previous: None, provider: Some(provider.to_owned()) }, terms);
        }
    }

    /// Whether what the request names is here, for an answer that is made of several calls.
    ///
    /// # Errors
    /// 400: it is not.
    pub(super) fn check_here(&self) -> Result<(), ApiError> {
        match &self.previous {
            Previous::None | Previous::Followed => Ok(()),
            Previous::Theirs(id) | Previous::Unknown(id) => Err(not_found(id)),
        }
    }

    /// Whether a target can go on from what the request names.
    ///
    /// # Errors
    /// 400: the answer is not there, or at another provider.
    pub(super) fn check(&self, target: &Target) -> Result<(), ApiError> {
        let speaks = target.provider.speaks_responses();
        match &self.previous {
            Previous::None | Previous::Followed => Ok(()),
            Previous::Theirs(provider) if speaks && *provider == target.provider.name => Ok(()),
            // Where nobody has to prove anything, it may be an answer that was made without the gateway.
            Previous::Unknown(_) if speaks && self.is_anybody => Ok(()),
            Previous::Theirs(provider) => Err(ApiError::invalid(
                "previous_response_id",
                format!("The previous response is kept by the provider '{provider}', which this request does not go to."),
            )),
            Previous::Unknown(id) => Err(not_found(id)),
        }
    }
}

fn not_found(id: &str) -> ApiError {
    ApiError::invalid("previous_response_id", format!("Previous response with id '{}' not found.", clip(id)))
}

/// Reads what a request for a response goes on from, and gives it a body that holds all of it.
///
/// # Errors
/// What is kept cannot be read, or is too much.
pub(super) async fn begin(shared: &Shared, surface: Surface, body: Bytes, ctx: &mut Ctx) -> Result<Bytes, ApiError> {
    let id = super::intake::random_id();
    let mut answering = Answering { id, previous: Previous::None, is_anybody: !ctx.process().auth.enabled, keep: None };
    // What cannot be read is refused by the plan.
    let members = std::str::from_utf8(&body).ok().and_then(|text| pick(text, ["store", "input", "previous_response_id"]).ok());
    let Some([store, input, previous]) = members.map(|members| members.map(|raw| raw.filter(|raw| raw.kind() != Kind::Null))) else {
        ctx.answering = Some(Box::new(answering));
        return Ok(body);
    };
    let rules = ctx.process().responses;
    let user = ctx.principal.as_ref().map(|principal| Arc::clone(&principal.name)).filter(|_| rules.store && shared.responses.is_open());
    let previous = previous.and_then(Raw::text).map(|id| id.unescape().into_owned());
    let mut links = Vec::new();
    answering.previous = match (&previous, &user) {
        (None, _) => Previous::None,
        (Some(id), None) => Previous::Unknown(id.clone()),
        (Some(id), Some(user)) => follow(shared, user, id, ctx, &mut links).await?,
    };
    let named = match (&user, input) {
        (Some(user), Some(input)) => dereference(shared, user, input, ctx).await?,
        _ => None,
    };
    let input = named.as_deref().and_then(|named| Raw::parse(named).ok()).or(input);
    if let Some(user) = user.filter(|_| surface == Surface::Responses && store.and_then(Raw::bool) != Some(false)) {
        let terms = Terms { ttl: rules.ttl, max_bytes: rules.max_bytes };
        let keep = Keep { store: Arc::clone(&shared.responses), user, terms, input: kept::own_items(input, &answering.id).into(), previous };
        hold(keep.input.len(), ctx)?;
        answering.keep = Some(keep);
    }
    let rebuilt = if links.is_empty() { named } else { Some(kept::rebuilt(&views(&links), input)) };
    ctx.answering = Some(Box::new(answering));
    let (Some(rebuilt), Ok(text)) = (rebuilt, std::str::from_utf8(&body)) else { return Ok(body) };
    hold(rebuilt.len(), ctx)?;
    splice(text, &[Edit::Set("input", &rebuilt)]).map(Bytes::from).map_err(|syntax| read::malformed(text, syntax))
}

/// Answers as they are kept, as texts.
pub(super) fn views(links: &[Kept]) -> Vec<Link<'_>> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    links.iter().map(|kept| Link { input: text(&kept.input), response: text(&kept.response) }).collect()
}

/// Follows a conversation to its beginning; the oldest answer comes first.
async fn follow(shared: &Shared, user: &Arc<str>, id: &str, ctx: &mut Ctx, links: &mut Vec<Kept>) -> Result<Previous, ApiError> {
    let Some(last) = shared.responses.get(user, id).await.map_err(unavailable)? else { return Ok(Previous::Unknown(id.to_owned())) };
    if let Some(provider) = last.provider {
        return Ok(Previous::Theirs(provider));
    }
    let before = last.previous.clone();
    hold(last.input.len() + last.response.len(), ctx)?;
    links.push(last);
    earlier(shared, user, before, ctx, links).await?;
    Ok(Previous::Followed)
}

/// Puts the answers before one in front of it, in their order.
///
/// # Errors
/// One of them is not there any more, or there are too many.
pub(super) async fn earlier(shared: &Shared, user: &Arc<str>, mut before: Option<String>, ctx: &mut Ctx, links: &mut Vec<Kept>) -> Result<(), ApiError> {
    let limit = ctx.process().max_body_bytes;
    let mut bytes: usize = links.iter().map(|kept| kept.input.len() + kept.response.len()).sum();
    links.reverse();
    while let Some(id) = before.take() {
        let found = shared.responses.get(user, &id).await.map_err(unavailable)?;
        let kept = found.ok_or_else(|| {
            ApiError::invalid("previous_response_id", format!("The response '{}', which the conversation goes on from, is not kept any more.", clip(&id)))
        })?;
        let more = kept.input.len() + kept.response.len();
        bytes = bytes.saturating_add(more);
        if bytes > limit || links.len() >= MOST_LINKS {
            return Err(ApiError::new(ErrorKind::TooLarge, "The conversation has become too large.").with_param("previous_response_id"));
        }
        hold(more, ctx)?;
        before = kept.previous.clone();
        links.push(kept);
    }
    links.reverse();
    Ok(())
}

/// Puts kept items in the places of their names; `None` if the input names none.
async fn dereference(shared: &Shared, user: &Arc<str>, input: Raw<'_>, ctx: &mut Ctx) -> Result<Option<String>, ApiError> {
    if memchr::memmem::find(input.as_str().as_bytes(), b"\"item_reference\"").is_none() {
        return Ok(None);
    }
    let mut answers: Vec<String> = kept::references(input).iter().filter_map(|item| kept::answer_of(item)).collect();
    answers.sort_unstable();
    answers.dedup();
    if answers.len() > MOST_REFERENCES {
        return Err(ApiError::invalid("input", format!("The input names items of more than {MOST_REFERENCES} responses.")));
    }
    let mut found = Vec::new();
    for id in &answers {
        if let Some(kept) = shared.responses.get(user, id).await.map_err(unavailable)? {
            hold(kept.input.len() + kept.response.len(), ctx)?;
            found.push(kept);
        }
    }
    let views = views(&found);
    Ok(Some(kept::dereferenced(input, |id| views.iter().find_map(|link| kept::find(*link, id)))))
}

fn hold(bytes: usize, ctx: &mut Ctx) -> Result<(), ApiError> {
    let bounds = &ctx.current.snapshot.process.overload;
    match ctx.place.as_mut().map(|place| place.hold(bytes, bounds)) {
        Some(Err(_)) => Err(overloaded()),
        _ => Ok(()),
    }
}

pub(super) fn unavailable(trouble: Trouble) -> ApiError {
    let text = trouble.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    ApiError::new(ErrorKind::Unavailable, format!("{first}{}: please try again later.", letters.as_str()))
}
