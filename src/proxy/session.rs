//! `POST /auth/session`: a key and a code in, a token out that SDKs send in place of a key.
//!
//! ```json
//! {"code":"123456"}  ─▶  {"token":"adit-session-…","token_type":"Bearer","expires_in":43200,"expires_at":"2027-01-01T12:00:00Z"}
//! ```

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind, read};
use crate::ops::random;
use crate::policy::auth::{session, shown};
use crate::proxy::brand::brand;
use crate::proxy::ctx::Ctx;
use crate::proxy::error::Refusal;
use crate::proxy::{Shared, auth, body};
use crate::wire::json::{self, Kind, Object};

/// Where sessions are made.
pub(super) const PATH: &str = "/auth/session";
/// A code in JSON is far shorter.
const LONGEST_BODY: usize = 4096;

/// Makes a session. The key is checked before anything is read.
///
/// # Errors
/// As for any request; 400 for a body that can't be read.
pub(super) async fn serve(shared: &Arc<Shared>, session: &mut Session, ctx: &mut Ctx) -> Result<(), Refusal> {
    auth::key_for_session(shared, session.req_header(), ctx)?;
    ctx.place = Some(shared.load.enter(&ctx.process().overload).map_err(|full| body::turned_away(shared, full))?);
    let body = body::read(shared, session, ctx, LONGEST_BODY).await?;
    let head = session.req_header();
    // Once more: somebody may have failed with it in the meantime.
    let (text, key) = auth::key_for_session(shared, head, ctx)?;
    let code = match shown::code(&head.headers) {
        Some(code) => Some(code.to_owned()),
        None => code_in(&body)?,
    };
    let proof = auth::prove(shared, text, &key, code.as_deref(), ctx).await?;
    let process = ctx.process();
    let ends = SystemTime::now() + process.auth.session_ttl;
    let token = session::new(auth::session_secret(shared, ctx), &process.auth.users, &key, ends, random::bytes());
    let mut answer = Vec::with_capacity(256);
    Object::write(&mut answer, |answer| {
        answer.string("token", &token);
        answer.string("token_type", "Bearer");
        answer.number("expires_in", process.auth.session_ttl.as_secs());
        answer.string("expires_at", &humantime::format_rfc3339_seconds(ends).to_string());
    });
    ctx.principal = Some(auth::principal(&key, proof));
    // The client is gone if this fails; there is nobody left to tell.
    let _ = write(session, ctx, answer).await;
    Ok(())
}

fn code_in(body: &Bytes) -> Result<Option<String>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let text = std::str::from_utf8(body).map_err(|_| ApiError::new(ErrorKind::InvalidRequest, "The body is not valid UTF-8."))?;
    let [code] = json::pick(text, ["code"]).map_err(|syntax| read::malformed(text, syntax))?;
    let Some(code) = code.filter(|code| code.kind() != Kind::Null) else { return Ok(None) };
    Ok(Some(read::filled_text(Some(code), &read::Path::Root.key("code"))?.unescape().into_owned()))
}

async fn write(session: &mut Session, ctx: &Ctx, body: Vec<u8>) -> Result<()> {
    let mut head = ResponseHeader::build(200, Some(8))?;
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    brand(&mut head, ctx)?;
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(body.into()), true).await
}
