//! The headers that tell whose answer it is, and those of every stream.

use std::borrow::Cow;

use http::{HeaderValue, header};
use pingora::Result;
use pingora::http::ResponseHeader;

use crate::dialect::Dialect;
use crate::proxy::ctx::Ctx;
use crate::proxy::{cache, limits};
use crate::translate::stream_type;

/// The headers that every answer carries: `x-request-id`, and whose answer it is once that is known.
pub(super) fn brand(head: &mut ResponseHeader, ctx: &Ctx) -> Result<()> {
    head.insert_header("x-request-id", ctx.request_id.as_str())?;
    if let Some(name) = ctx.dialect.id_header().filter(|name| !head.headers.contains_key(*name)) {
        head.insert_header(name, ctx.request_id.as_str())?;
    }
    limits::tell(head, ctx)?;
    cache::tell(head, ctx)?;
    let Some(route) = ctx.exchange.as_ref().map(|exchange| &exchange.route).or(ctx.routed.as_ref()) else { return Ok(()) };
    head.insert_header("x-adit-provider", route.target.provider.name.as_str())?;
    // A model's name may be anything a client wrote; a header may not.
    let model = route.model.as_ref().map_or(route.target.model.as_str(), |model| model.name.as_str());
    if let Ok(model) = HeaderValue::from_str(model)
        && !model.is_empty()
    {
        head.insert_header("x-adit-model", model)?;
    }
    let Some(exchange) = &ctx.exchange else { return head.insert_header("x-adit-attempts", 0) };
    head.insert_header("x-adit-attempts", exchange.attempts)?;
    if let Some(made) = &exchange.approach {
        head.insert_header("x-adit-calls", made.calls)?;
    }
    tell_dropped(head, &exchange.dropped)
}

/// The header that names the members of a request that were dropped.
pub(super) fn tell_dropped(head: &mut ResponseHeader, dropped: &[String]) -> Result<()> {
    let dropped = header_list(dropped);
    if dropped.is_empty() { Ok(()) } else { head.insert_header("x-adit-dropped", dropped.as_ref()) }
}

/// The headers of a streamed answer.
pub(super) fn stream_headers(head: &mut ResponseHeader, dialect: Dialect) -> Result<()> {
    head.insert_header(header::CONTENT_TYPE, stream_type(dialect))?;
    head.insert_header(header::CACHE_CONTROL, "no-cache")?;
    // nginx in front would otherwise gather the stream before it passes it on.
    head.insert_header("x-accel-buffering", "no")
}

/// The names of dropped members for the `x-adit-dropped` header: only what a header can hold.
fn header_list(names: &[String]) -> Cow<'_, str> {
    const MOST: usize = 1024;
    let mut list = String::new();
    for name in names {
        let clean = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if !clean || list.len() + name.len() > MOST {
            continue;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(name);
    }
    list.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_members_fit_a_header_whatever_they_are_called() {
        let names = ["seed".to_owned(), "a\r\nb".to_owned(), "top_k".to_owned()];
        assert_eq!(header_list(&names), "seed, top_k");
    }
}
