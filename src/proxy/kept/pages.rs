//! `/v1/responses/{id}`: an answer that is kept, its input, and its end. What a provider keeps is fetched there.

use std::sync::Arc;

use http::Method;
use pingora_proxy::Session;

use super::{earlier, unavailable, views};
use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{Provider, ProviderKind};
use crate::dialect::openai::responses::kept::{self, Page as Range};
use crate::ops::responses::Kept;
use crate::provider::{azure, openai};
use crate::proxy::Shared;
use crate::proxy::ctx::Ctx;
use crate::proxy::error::clip;
use crate::proxy::local::{self, Reply};

/// Where the paths begin.
const PLACES: &[&str] = &["/v1/responses/", "/api/v1/responses/", "/responses/"];
/// The longest id: OpenAI's have about 60 characters.
const LONGEST_ID: usize = 128;
const DEFAULT_LIMIT: usize = 20;
const MOST_ITEMS: usize = 100;

/// What of an answer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Page {
    id: String,
    input_items: bool,
}

/// What became of it.
pub(in crate::proxy) enum Served {
    Answered,
    /// A provider keeps it, at this path.
    Theirs {
        provider: Arc<Provider>,
        rest: String,
        query: Option<String>,
    },
}

impl Page {
    pub(in crate::proxy) fn of(path: &str) -> Option<Self> {
        let rest = PLACES.iter().find_map(|place| path.strip_prefix(place))?;
        let (id, input_items) = match rest.strip_suffix("/input_items") {
            Some(id) => (id, true),
            None => (rest, false),
        };
        let is_id = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        (is_id && id != "input_tokens").then(|| Page { id: id.to_owned(), input_items })
    }

    /// Its name in metrics.
    pub(in crate::proxy) fn route(&self) -> &'static str {
        if self.input_items { "/v1/responses/{id}/input_items" } else { "/v1/responses/{id}" }
    }

    /// The methods that it takes, and the header that says so.
    pub(in crate::proxy) fn methods(&self) -> (&'static [Method], &'static str) {
        if self.input_items { (&[Method::GET, Method::HEAD], "GET, HEAD") } else { (&[Method::GET, Method::HEAD, Method::DELETE], "GET, HEAD, DELETE") }
    }
}

/// Gives a client what it asks for, if it is its user's.
///
/// # Errors
/// 404 for what is not there, or is another user's; 503 while nothing can be read.
pub(in crate::proxy) async fn serve(page: &Page, shared: &Shared, session: &mut Session, ctx: &mut Ctx) -> Result<Served, ApiError> {
    let user = ctx.principal.as_ref().map(|principal| Arc::clone(&principal.name)).filter(|_| ctx.process().responses.store && shared.responses.is_open());
    let user = user.ok_or_else(|| unknown(page))?;
    let kept = shared.responses.get(&user, &page.id).await.map_err(unavailable)?.ok_or_else(|| unknown(page))?;
    let (method, query) = (session.req_header().method.clone(), session.req_header().uri.query().unwrap_or_default().to_owned());
    if let Some(name) = &kept.provider {
        return theirs(name, page, &query, ctx);
    }
    let body = if page.input_items {
        input(kept, &query, &user, shared, ctx).await?
    } else if method == Method::DELETE {
        if !shared.responses.delete(&user, &page.id).await.map_err(unavailable)? {
            return Err(unknown(page));
        }
        let mut out = Vec::new();
        kept::deleted(&page.id, &mut out);
        out
    } else if asked(&query, "stream").is_some_and(|stream| stream == "true") {
        return Err(ApiError::invalid("stream", "Invalid value for 'stream': an answer that is kept is complete, and is not streamed again."));
    } else {
        kept.response.into()
    };
    // The client is gone if this fails; there is nobody left to tell.
    let _ = local::write(session, ctx, Reply::json(200, body)).await;
    Ok(Served::Answered)
}

fn unknown(page: &Page) -> ApiError {
    ApiError { status: 404, ..ApiError::new(ErrorKind::InvalidRequest, format!("Response with id '{}' not found.", clip(&page.id))) }
}

async fn input(kept: Kept, query: &str, user: &Arc<str>, shared: &Shared, ctx: &mut Ctx) -> Result<Vec<u8>, ApiError> {
    let descending = match asked(query, "order") {
        None | Some("desc") => true,
        Some("asc") => false,
        Some(_) => return Err(ApiError::invalid("order", "Invalid value for 'order': expected one of 'asc', 'desc'.")),
    };
    let limit = match asked(query, "limit") {
        None => DEFAULT_LIMIT,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=MOST_ITEMS).contains(limit))
            .ok_or_else(|| ApiError::invalid("limit", format!("Invalid value for 'limit': expected an integer between 1 and {MOST_ITEMS}.")))?,
    };
    let range = Range { descending, after: asked(query, "after").map(str::to_owned), limit };
    let mut before = Vec::new();
    earlier(shared, user, kept.previous.clone(), ctx, &mut before).await?;
    let mut out = Vec::new();
    let own = std::str::from_utf8(&kept.input).unwrap_or_default();
    kept::list(&views(&before), own, &range, &mut out).ok_or_else(|| ApiError::invalid("after", "Invalid value for 'after': there is no such item."))?;
    Ok(out)
}

/// A parameter of a query. Those of this API need no escapes.
fn asked<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Where a provider keeps it.
fn theirs(name: &str, page: &Page, query: &str, ctx: &Ctx) -> Result<Served, ApiError> {
    let provider = ctx.current.snapshot.models.providers.get(name).ok_or_else(|| unknown(page))?;
    let path = match &provider.kind {
        ProviderKind::OpenAi { base_url, .. } => openai::responses_path(base_url),
        ProviderKind::AzureOpenAi { endpoint: Some(endpoint), api_version, .. } => azure::path(endpoint, api_version, "", azure::Operation::Responses),
        _ => return Err(unknown(page)),
    };
    let behind = if page.input_items { "/input_items" } else { "" };
    let (path, version) = path.split_once('?').unwrap_or((&path, ""));
    let query = [version, query].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
    let rest = format!("{path}/{}{behind}", page.id);
    Ok(Served::Theirs { provider: Arc::clone(provider), rest, query: Some(query).filter(|query| !query.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_by_their_path() {
        let page = |id: &str, input_items| Some(Page { id: id.to_owned(), input_items });
        for (path, expected) in [
            ("/v1/responses/resp_1", page("resp_1", false)),
            ("/api/v1/responses/resp_1/input_items", page("resp_1", true)),
            ("/responses/a-b", page("a-b", false)),
            ("/v1/responses/input_tokens", None),
            ("/v1/responses/", None),
            ("/v1/responses/a/cancel", None),
            ("/v1/responses/a%2Fb", None),
            ("/v1/responses/..", None),
            ("/v1/responses", None),
        ] {
            assert_eq!(Page::of(path), expected, "{path}");
        }
    }

    #[test]
    fn parameters_are_found_in_a_query() {
        for (query, name, value) in
            [("order=asc&limit=3", "limit", Some("3")), ("limit=3", "order", None), ("xlimit=3", "limit", None), ("", "limit", None), ("limit", "limit", None)]
        {
            assert_eq!(asked(query, name), value, "{query}");
        }
    }
}
