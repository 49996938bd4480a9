//! Requests that want an approach: found here, before they are routed; made into calls and answered by [`run`].
//!
//! ```text
//! body, model ─▶ look ─▶ nothing of the kind ─▶ the usual way
//!                  └──▶ Wanted ─▶ Run ─▶ limits for all calls ─▶ serve ─▶ calls of the usual way ─▶ one answer
//! ```

mod call;
mod parent;
mod run;

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use pingora::http::RequestHeader;

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{ModelMap, Optillm, Provider, Target};
use crate::dialect::Surface;
use crate::policy::route::Way;
use crate::proxy::ctx::{Ctx, Made};
use crate::proxy::error::clip;
use crate::proxy::plan::{self, Draft};
use crate::proxy::tries::{Saved, Tries};
use crate::proxy::{Shared, next};
use crate::translate::approach::{Cost, Course, Expression, Fault, MEMBER, NONE, Next, Step, Wish, of_name};
use crate::translate::{Client, Question};

pub(super) use parent::{Inner, Parents};
pub(super) use run::serve;

/// What a request wants.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The approach as the client wrote it.
    pub(super) approach: String,
    /// The member that says so.
    param: &'static str,
    /// The model without it; whoever routes the request takes it.
    pub(super) model: String,
}

impl Wanted {
    /// The plain request, which needs nobody's help.
    fn is_plain(&self) -> bool {
        self.approach.trim() == NONE
    }
}

/// Finds the approach that a request wants.
///
/// # Errors
/// 400 for a body that cannot be read, or a member that is no text.
pub(super) fn look(rules: Option<&Optillm>, map: &ModelMap, surface: Surface, model: &str, body: &Bytes) -> Result<Option<Wanted>, ApiError> {
    // Everybody's way while approaches are off.
    if rules.is_none() || !takes(surface) {
        return Ok(None);
    }
    // A model of the map that is really called so wins.
    let named = if map.find(model).is_some() { None } else { of_name(model) };
    let base = named.map_or(model, |(_, base)| base);
    let wish = if memmem::find(body, MEMBER.as_bytes()).is_some() {
        // What cannot be read is refused by the plan, in its own words.
        let Some(text) = std::str::from_utf8(body).ok() else { return Ok(None) };
        Wish::take(&mut Question::decode(surface, model, text)?.request)?
    } else {
        Wish::default()
    };
    let param = if wish.or(None).is_some() { MEMBER } else { "model" };
    let wanted = wish.or(named.map(|(approach, _)| approach));
    Ok(wanted.map(|approach| Wanted { approach: approach.to_owned(), param, model: base.to_owned() }))
}

/// Whether a surface's requests are chat requests of the canonical form.
fn takes(surface: Surface) -> bool {
    matches!(surface, Surface::ChatCompletions | Surface::Responses | Surface::Messages | Surface::Converse | Surface::ConverseStream)
}

/// Plans the first call, and with it the run.
///
/// # Errors
/// As [`Run::new`], and why the first call cannot be planned.
pub(super) async fn plan(shared: &Shared, wanted: &Wanted, tries: &mut Tries, head: &RequestHeader, ctx: &mut Ctx) -> Result<(Draft, Run), ApiError> {
    let lost = || ApiError::new(ErrorKind::Internal, "The gateway lost its way.");
    let rules = ctx.process().optillm.as_ref().ok_or_else(lost)?;
    let (way, saved) = tries.way().cloned().zip(tries.saved().cloned()).ok_or_else(lost)?;
    let mut run = match rules.server.as_ref().filter(|_| !wanted.is_plain()) {
        Some(_) if ctx.inner.is_some() || head.headers.contains_key(plan::LOOP) => return Err(looping(wanted.param)),
        Some(server) => {
            let run = Run::outward(wanted, &ctx.model, server, way, saved)?;
            *tries = Tries::new(run.way.clone(), run.saved.clone(), None);
            run
        }
        None => Run::new(wanted, &ctx.model, rules, way, saved)?,
    };
    if let Some(saved) = tries.saved_mut() {
        saved.step = run.first();
    }
    let draft = next::planned(shared, tries, head, ctx, false).await?;
    if let Some(saved) = tries.saved() {
        run.keep(saved);
    }
    Ok((draft, run))
}

/// 400 for a call of an OptiLLM server's that wants an approach in its turn.
fn looping(param: &'static str) -> ApiError {
    ApiError::invalid(
        param,
        "this request has come from an OptiLLM server, or through another gateway on its way to one: sending it there again would make a loop",
    )
}

/// A request that is to become several calls.
#[derive(Debug)]
pub(super) struct Run {
    /// As the client wrote it.
    approach: String,
    /// One for each answer.
    courses: Vec<Course>,
    client: Client,
    /// Where each call may go.
    way: Way,
    /// What each call is planned from.
    saved: Saved,
    /// The client wants a stream.
    stream: bool,
    /// A server makes the calls.
    is_outward: bool,
}

impl Run {
    /// Reads what an approach means for a request.
    ///
    /// # Errors
    /// 400 for an approach that is not built in, one that takes too many calls, or a request that it is not for.
    fn new(wanted: &Wanted, model: &str, rules: &Optillm, way: Way, saved: Saved) -> Result<Self, ApiError> {
        let expression = Expression::parse(&wanted.approach).map_err(|fault| refused(wanted.param, &fault))?;
        let text = std::str::from_utf8(&saved.body).unwrap_or_default();
        let mut question = Question::decode(saved.surface, model, text)?;
        Wish::take(&mut question.request)?;
        let plain = expression.branches.iter().all(Vec::is_empty);
        if !plain && !question.request.tools.is_empty() {
            let param = question.client.own_name("tools").unwrap_or("tools");
            return Err(ApiError::invalid(param, "an approach answers in words: it cannot be used with tools"));
        }
        let times = question.request.n.unwrap_or(1);
        // Counted before anything is made of them: `n` is the client's.
        let calls = expression.branches.iter().map(|sequence| Cost::of(sequence).calls).sum::<u64>().saturating_mul(times);
        if calls > rules.max_calls {
            return Err(ApiError::invalid(
                wanted.param,
                format!("`{}` takes {calls} calls here, and a request may take {}", clip(&wanted.approach), rules.max_calls),
            ));
        }
        let courses: Vec<Course> = (0..times).flat_map(|_| &expression.branches).map(|sequence| Course::new(sequence, &question.request)).collect();
        if courses.len() > 1 && !matches!(question.client, Client::OpenAi(_)) {
            return Err(several(wanted.param));
        }
        let client = question.client.clone().unkept();
        Ok(Run { approach: wanted.approach.clone(), courses, client, way, stream: saved.stream, saved, is_outward: false })
    }

    /// Leaves the calls to a server. The model stays who it is: its name and its limits hold.
    ///
    /// # Errors
    /// 400 for a request that cannot be read, or that its API has no answer for.
    fn outward(wanted: &Wanted, model: &str, server: &Arc<Provider>, way: Way, saved: Saved) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(&saved.body).unwrap_or_default();
        let question = Question::decode(saved.surface, model, text)?;
        if wanted.approach.contains('|') && !matches!(question.client, Client::OpenAi(_)) {
            return Err(several(wanted.param));
        }
        let step = Step::whole(&question.request);
        let client = question.client.unkept();
        let way = Way { model: way.model, targets: vec![Arc::new(Target::plain(Arc::clone(server), model))] };
        let stream = saved.stream;
        let saved = Saved { stream: false, step: Some(Arc::new(step)), ..saved };
        Ok(Run { approach: wanted.approach.clone(), courses: Vec::new(), client, way, saved, stream, is_outward: true })
    }

    /// What all calls may cost; nothing where each is booked by itself.
    pub(super) fn cost(&self) -> Cost {
        self.courses.iter().map(Course::cost).reduce(Cost::plus).unwrap_or_default()
    }

    /// The first call: whether it can be planned tells whether the others can.
    fn first(&self) -> Option<Arc<Step>> {
        let Some(course) = self.courses.first() else { return self.saved.step.clone() };
        match course.clone().begin() {
            Next::Ask(steps) => steps.into_iter().next().map(Arc::new),
            Next::Last(step) => Some(Arc::from(step)),
            Next::Pick(_) => None,
        }
    }

    /// Keeps the files that were fetched for the first call.
    fn keep(&mut self, saved: &Saved) {
        self.saved.files = saved.files.clone();
    }

    /// What it is called, before any call.
    pub(super) fn made(&self) -> Made {
        Made { approach: self.approach.clone(), calls: 0 }
    }
}

fn several(param: &'static str) -> ApiError {
    ApiError::invalid(param, "`|` gives several answers, and this API has room for one")
}

/// 400 that says what to set.
fn refused(param: &'static str, fault: &Fault) -> ApiError {
    match fault {
        Fault::Unknown(name) => ApiError::invalid(
            param,
            format!(
                "the approach `{}` is not built in. These are: re2, cot_reflection, bon, moa and self_consistency; for others set OPTILLM_BASE_URL to a server of OptiLLM's",
                clip(name)
            ),
        ),
        Fault::Gap(text) => ApiError::invalid(param, format!("an approach is missing between the signs of `{}`", clip(text))),
    }
}
