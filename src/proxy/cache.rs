//! Answers that are given again: looked for before an upstream is asked, kept when one has answered in full.
//!
//! ```text
//! look ─┬─ bypass: the request, or the operator, wants nothing of it
//!       ├─ hit: answered from here, in the form that was asked for
//!       └─ miss ─▶ what the client gets is gathered ─▶ keep, if it is whole and good
//! ```

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::chat::{Envelope, Restore, Usage};
use crate::dialect::Surface;
use crate::ops::cache::{Entry, Form, Found, Lead};
use crate::ops::load::Held;
use crate::policy::cache::{Key, Wish};
use crate::proxy::Shared;
use crate::proxy::brand::{brand, stream_headers, tell_dropped};
use crate::proxy::ctx::{Ctx, Exchange};
use crate::proxy::tries::{Saved, Tries};
use crate::translate::sameness::{Scope, is_deterministic, is_kept, is_pure};
use crate::translate::{Api, Client, Question, Translation};
use crate::wire::json;

/// Tells of the cache in answers; in requests, `on` asks for it where only what is deterministic has its answer kept.
const HEADER: &str = "x-adit-cache";
/// Headers that change what a model does.
const TELLING: &[&str] = &["anthropic-beta", "anthropic-version", "openai-beta"];
/// The same, by their beginning: guardrails, latency, service tier.
const TELLING_PREFIX: &str = "x-amzn-bedrock-";

/// How a request stands with the cache.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// `hit`, `miss` or `bypass`; `None` where there is no cache, or nothing that it could keep.
    pub(super) result: Option<&'static str>,
    /// What was not taken again.
    pub(super) saved: Option<Usage>,
    /// Gathers the answer.
    recording: Option<Box<Recording>>,
}

/// An answer on its way to its client and, perhaps, into the cache.
#[derive(Debug)]
struct Recording {
    lead: Lead,
    surface: Surface,
    form: Form,
    body: Vec<u8>,
    /// Counts it with all other bodies of the process.
    held: Held,
}

/// An answer that can be given at once.
#[derive(Debug)]
pub(super) struct Hit {
    entry: Arc<Entry>,
    body: Bytes,
    is_stream: bool,
}

/// Looks for the answer of a request, and waits for it where another one asks for the same.
pub(super) async fn look(shared: &Shared, tries: &Tries, head: &RequestHeader, ctx: &mut Ctx) -> Option<Hit> {
    let cache = ctx.current.cache.clone()?;
    let saved = tries.saved().filter(|saved| is_kept(saved.surface))?;
    ctx.memo.result = Some("bypass");
    let text = std::str::from_utf8(&saved.body).ok()?;
    let wish = Wish::read(texts(&head.headers, header::CACHE_CONTROL.as_str()));
    let settings = cache.settings();
    let is_told = texts(&head.headers, HEADER).any(|value| value.eq_ignore_ascii_case("on"));
    if !(wish.read || wish.write)
        || saved.repeated
        || !is_pure(saved.surface, text)
        || !(is_told || !settings.deterministic_only || is_deterministic(saved.surface, text))
    {
        return None;
    }
    let key = key(settings.shared, saved, text, tries, &head.headers, ctx)?;
    let found = tokio::select! {
        found = cache.find(key, wish) => found,
        () = shared.ended() => return None,
    };
    match found {
        Found::Answer(entry) => {
            let body = render(&entry, saved, text, ctx)?;
            ctx.memo.result = Some("hit");
            ctx.memo.saved = entry.usage;
            Some(Hit { entry, body, is_stream: saved.stream })
        }
        Found::Nothing(lead) => {
            ctx.memo.result = Some("miss");
            if wish.write {
                let form = if saved.stream { Form::Stream { usage: wants_usage(text) } } else { Form::Whole };
                ctx.memo.recording = Some(Box::new(Recording { lead, surface: saved.surface, form, body: Vec::new(), held: shared.load.held() }));
            }
            None
        }
    }
}

fn texts<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

fn key(is_shared: bool, saved: &Saved, text: &str, tries: &Tries, headers: &HeaderMap, ctx: &Ctx) -> Option<Key> {
    let mut circumstances: Vec<String> = tries.routes().map(|route| format!("{}/{}", route.target.provider.name, route.target.model)).collect();
    // Which of them is asked first may be chance.
    circumstances.sort_unstable();
    let telling = headers.iter().filter(|(name, _)| TELLING.contains(&name.as_str()) || name.as_str().starts_with(TELLING_PREFIX));
    let mut telling: Vec<String> = telling.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
    telling.sort_unstable();
    circumstances.append(&mut telling);
    let circumstances: Vec<&str> = circumstances.iter().map(String::as_str).collect();
    let user = ctx.principal.as_ref().map(|principal| principal.name.as_ref()).filter(|_| !is_shared);
    Scope { user, surface: saved.surface, model: &ctx.model, circumstances: &circumstances }.hash(text).map(Key)
}

/// Whether streams of a surface tell of their tokens only where they are asked to.
fn tells_usage_if_asked(surface: Surface) -> bool {
    matches!(surface, Surface::ChatCompletions | Surface::Completions)
}

/// Whether a stream of OpenAI's is to tell of its tokens.
fn wants_usage(text: &str) -> bool {
    let options = json::pick(text, ["stream_options"]).ok().and_then(|[options]| options);
    let wanted = options.and_then(|options| json::pick(options.as_str(), ["include_usage"]).ok()).and_then(|[usage]| usage);
    wanted.and_then(json::Raw::bool) == Some(true)
}

/// The body of an answer in the form that is asked for; `None` where it cannot be brought into that form.
fn render(entry: &Entry, saved: &Saved, text: &str, ctx: &Ctx) -> Option<Bytes> {
    let surface = saved.surface;
    match entry.form {
        Form::Whole if !saved.stream => return Some(entry.body.clone()),
        Form::Stream { usage } if saved.stream && (!tells_usage_if_asked(surface) || usage == wants_usage(text)) => return Some(entry.body.clone()),
        _ => {}
    }
    let is_one = json::pick(text, ["n"]).is_ok_and(|[n]| n.and_then(json::Raw::number).is_none_or(|n| n <= 1.0));
    if !is_one || surface == Surface::Embeddings {
        return None;
    }
    let client = Question::decode(surface, &ctx.model, text).ok()?.client;
    let api = match &client {
        Client::OpenAi(_) => Api::OpenAi,
        Client::Anthropic(_) => Api::Anthropic,
        Client::Converse(_) => Api::Converse,
        _ => return None,
    };
    let created = ctx.received.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let envelope = Envelope { id: ctx.request_id.clone(), model: ctx.model.clone(), created };
    let translation = Translation { envelope, client, api, restore: Restore::default() };
    let mut body = Vec::new();
    let written = match (entry.form, saved.stream) {
        (Form::Whole, _) => translation.as_stream(&entry.body, &mut body),
        (Form::Stream { .. }, false) => translation.as_body(&entry.body, entry.usage, &mut body),
        // With tokens where it was without, or the other way round.
        (Form::Stream { .. }, true) => {
            let mut whole = Vec::new();
            translation.as_body(&entry.body, entry.usage, &mut whole).and_then(|()| translation.as_stream(&whole, &mut body))
        }
    };
    written.is_ok().then(|| body.into())
}

/// Gives an answer again.
pub(super) async fn give(shared: &Shared, hit: Hit, session: &mut Session, ctx: &mut Ctx) {
    if let Some(usage) = hit.entry.usage {
        shared.metrics.spared(&usage);
    }
    // The client is gone if this fails; there is nobody left to tell.
    let _ = write(hit, session, ctx).await;
}

async fn write(hit: Hit, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    let mut head = ResponseHeader::build(200, Some(12))?;
    if hit.is_stream {
        stream_headers(&mut head, ctx.dialect)?;
    } else {
        head.insert_header(header::CONTENT_TYPE, "application/json")?;
    }
    head.insert_header(header::CONTENT_LENGTH, hit.body.len())?;
    head.insert_header(header::AGE, hit.entry.age(SystemTime::now()).as_secs())?;
    brand(&mut head, ctx)?;
    tell_dropped(&mut head, &hit.entry.dropped)?;
    session.write_response_header(Box::new(head), false).await?;
    ctx.answers(&hit.body);
    session.write_response_body(Some(hit.body), true).await
}

/// Says how the request stands with the cache.
pub(super) fn tell(head: &mut ResponseHeader, ctx: &Ctx) -> Result<()> {
    match ctx.memo.result {
        Some(result) => head.insert_header(HEADER, result),
        None => Ok(()),
    }
}

impl Memo {
    /// A piece of the answer's body is on its way to the client. What is too large is not kept, and where there is no room nothing is.
    pub(super) fn answers(&mut self, piece: &[u8], bounds: &crate::config::snapshot::Overload) {
        let Some(recording) = &mut self.recording else { return };
        let fits = recording.body.len() + piece.len() <= recording.lead.cache().largest();
        if fits && recording.held.hold(piece.len(), bounds).is_ok() {
            recording.body.extend_from_slice(piece);
        } else {
            self.recording = None;
        }
    }

    /// The request has ended; `complete` says that its client has got a whole and good answer. What stopped because it ran out of tokens, or was filtered, is
    /// not kept.
    pub(super) fn settle(&mut self, complete: bool, exchange: Option<&Exchange>) {
        let Some(recording) = self.recording.take() else { return };
        let Some(exchange) = exchange.filter(|_| complete) else { return };
        let Recording { lead, surface, form, body, held } = *recording;
        let stop = exchange.facts.stop;
        if surface != Surface::Embeddings && !matches!(stop, Some("end_turn" | "stop_sequence" | "tool_use")) {
            return;
        }
        lead.keep(Entry {
            body: body.into(),
            form,
            made: SystemTime::now(),
            usage: exchange.facts.usage,
            stop: stop.map(str::to_owned),
            dropped: exchange.dropped.clone(),
        });
        drop(held);
    }
}
