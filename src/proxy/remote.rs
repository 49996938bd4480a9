//! Files behind URLs: fetched before a request is planned, for a target that takes no URLs. The plan then reads a body that holds the files themselves.
//!
//! ```text
//! target                          client's body                  pictures   files
//! OpenAI-type                     relayed                        pass       pass
//! OpenAI-type                     translated                     pass       fetched
//! Anthropic                       relayed, translated            pass       pass
//! Claude on Vertex                relayed, translated            fetched    fetched      (pass while remote files are off: Vertex refuses them itself)
//! Bedrock                         Converse, InvokeModel          pass       pass         (untouched)
//! Bedrock                         translated, reframed           fetched    fetched
//! ```
//!
//! What was fetched, or could not be, is kept for the request's next target.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};

use crate::chat::media::{Head, document_format, ending};
use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{Overload, Process, ProviderKind, RemoteFiles, Target};
use crate::dialect::Surface;
use crate::ops::load::Held;
use crate::ops::remote::{Fetched, Remote, Trouble};
use crate::proxy::Shared;
use crate::proxy::error::{overloaded, stopping};
use crate::proxy::files::Got;
use crate::proxy::plan::{Speaks, speaks};
use crate::proxy::tries::{Saved, Tries};
use crate::translate::Question;
use crate::translate::remote::{Content, File, Link, inline, links, may_link};
use crate::wire::json::Text;

/// Fetches of one request at a time.
const SIDE_BY_SIDE: usize = 8;
/// Different URLs of one request: more than a model takes pictures, few enough that a request is no crawler.
const MOST_URLS: usize = 32;

const OFF: &str = "remote files are off: the gateway does not fetch URLs, and this model takes none. Send the file itself";
const IMAGES: &str = "the URL leads to no PNG, JPEG, GIF or WebP image";
const DOCUMENTS: &str = "the URL leads to no PDF, CSV, DOC, DOCX, XLS, XLSX, HTML, TXT or MD file";

/// What a target wants fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wants {
    Nothing,
    /// It takes URLs of pictures only.
    Documents,
    /// It takes none.
    All,
    /// It takes none, and says so itself.
    AllIfAllowed,
}

fn wants(surface: Surface, target: &Target) -> Wants {
    match (surface, speaks(target)) {
        (Surface::Responses | Surface::CountResponses, _) if target.provider.speaks_responses() => Wants::Nothing,
        (Surface::ChatCompletions | Surface::Responses | Surface::CountResponses | Surface::Messages | Surface::CountMessages, Speaks::Bedrock) => Wants::All,
        (Surface::Responses | Surface::Messages | Surface::CountMessages | Surface::Invoke | Surface::InvokeStream, Speaks::OpenAi) => Wants::Documents,
        (
            Surface::ChatCompletions
            | Surface::Responses
            | Surface::CountResponses
            | Surface::Messages
            | Surface::CountMessages
            | Surface::Invoke
            | Surface::InvokeStream,
            Speaks::Anthropic,
        ) if matches!(target.provider.kind, ProviderKind::Vertex { .. }) => Wants::AllIfAllowed,
        _ => Wants::Nothing,
    }
}

/// The body to plan a request from for this target: the client's own, or one that holds the files which the client's names by URL.
///
/// # Errors
/// 400 naming the URL's place: remote files are off, or why this one was not fetched. 503 when there is no room for it.
pub(super) async fn body_for(shared: &Shared, tries: &mut Tries, target: &Target, process: &Process, model: &str) -> Result<Bytes, ApiError> {
    let saved = tries.saved_mut().ok_or_else(|| ApiError::new(ErrorKind::Internal, "The gateway lost its way."))?;
    let wants = wants(saved.surface, target);
    let rules = process.remote_files.as_ref();
    if wants == Wants::Nothing || (wants == Wants::AllIfAllowed && rules.is_none()) || !may_link(&saved.body) {
        return Ok(saved.body.clone());
    }
    // What cannot be read is refused by the plan.
    let Some(links) = find(saved, model) else { return Ok(saved.body.clone()) };
    let wanted: Vec<&Link> = links.iter().filter(|link| wants != Wants::Documents || !link.is_image).collect();
    let Some(first) = wanted.first() else { return Ok(saved.body.clone()) };
    let Some(rules) = rules else { return Err(ApiError::invalid(first.param.clone(), OFF)) };
    let held = tokio::select! {
        held = fetch(shared, &wanted, rules, saved, process) => held?,
        () = shared.ended() => return Err(stopping()),
    };
    for link in &wanted {
        match saved.files.got.get(&link.url) {
            Some(Ok(got)) => fits(link, got)?,
            Some(Err(Trouble::Full(_))) => return Err(overloaded()),
            Some(Err(trouble)) => return Err(ApiError::invalid(link.param.clone(), trouble.to_string())),
            None => return Err(ApiError::new(ErrorKind::Internal, "The gateway lost its way.")),
        }
    }
    let text = std::str::from_utf8(&saved.body).unwrap_or_default();
    let file = |link: &Link| {
        let got = saved.files.got.get(&link.url).filter(|_| wants != Wants::Documents || !link.is_image)?.as_deref().ok()?;
        let content = got.text.as_deref().map_or(Content::Base64(&got.base64), |text| Content::Text(text, &got.base64));
        Some(File { media_type: got.media_type?, content })
    };
    let body = Bytes::from(inline(text, &links, file));
    // From here on it is counted with what is kept.
    drop(held);
    Ok(body)
}

/// Where the body names files; `None` if it cannot be read.
fn find(saved: &mut Saved, model: &str) -> Option<Arc<[Link]>> {
    if saved.files.links.is_none() {
        let text = std::str::from_utf8(&saved.body).ok()?;
        let question = Question::decode(saved.surface, model, text).ok()?;
        saved.files.links = Some(links(&question, text).into());
    }
    saved.files.links.clone()
}

/// Fetches what was not fetched before, and gives what it holds of the house.
async fn fetch(shared: &Shared, wanted: &[&Link], rules: &RemoteFiles, saved: &mut Saved, process: &Process) -> Result<Vec<Held>, ApiError> {
    let mut urls: Vec<String> = wanted.iter().map(|link| link.url.clone()).collect();
    urls.sort_unstable();
    urls.dedup();
    if urls.len() > MOST_URLS {
        return Err(ApiError::new(ErrorKind::InvalidRequest, format!("The request names more than {MOST_URLS} files by URL.")));
    }
    urls.retain(|url| !saved.files.got.contains_key(url));
    // All together are not more than the client could have sent itself.
    let room = Room { limit: process.max_body_bytes, total: Arc::new(AtomicUsize::new(saved.files.bytes())), overload: process.overload.clone() };
    let one = |url| fetch_one(Arc::clone(&shared.remote), url, rules.clone(), room.clone(), shared.load.held()).boxed();
    let fetches: Vec<_> = urls.into_iter().map(one).collect();
    let mut helds = Vec::new();
    let mut fetches = stream::iter(fetches).buffer_unordered(SIDE_BY_SIDE);
    while let Some((url, got, held)) = fetches.next().await {
        helds.push(held);
        saved.files.got.insert(url, got);
    }
    Ok(helds)
}

/// How much the files of one request may take.
#[derive(Clone)]
struct Room {
    limit: usize,
    total: Arc<AtomicUsize>,
    overload: Overload,
}

async fn fetch_one(remote: Arc<Remote>, url: String, rules: RemoteFiles, room: Room, mut held: Held) -> (String, Result<Arc<Got>, Trouble>, Held) {
    let hold = |bytes: usize| {
        if room.total.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > room.limit {
            return Err(Trouble::TooLarge(room.limit));
        }
        held.hold(bytes, &room.overload).map_err(Trouble::Full)
    };
    let got = remote.fetch(&url, &rules, hold).await.map(|file| Arc::new(read(&url, file)));
    (url, got, held)
}

/// # Errors
/// 400 for what may not stand in the link's place.
fn fits(link: &Link, got: &Got) -> Result<(), ApiError> {
    match got.media_type {
        Some(kind) if !link.is_image || kind.starts_with("image/") => Ok(()),
        _ if link.is_image => Err(ApiError::invalid(link.param.clone(), IMAGES)),
        _ => Err(ApiError::invalid(link.param.clone(), DOCUMENTS)),
    }
}

/// Tells what a file is: by its bytes where they tell, whatever its host says.
fn read(url: &str, file: Fetched) -> Got {
    let base64 = STANDARD.encode(&file.bytes);
    let head = Head::of(&Text::from_plain(base64.get(..64).unwrap_or(&base64)));
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let named = file.media_type.as_deref().and_then(document_format).or_else(|| document_format(ending(path)?));
    let text = |kind| String::from_utf8(file.bytes).ok().filter(|text| !text.contains('\0')).map(|text| (kind, text));
    let (media_type, text) = match (head.image(), named) {
        (Some(format), _) => (Some(image_type(format)), None),
        _ if head.starts_with(b"%PDF") => (Some("application/pdf"), None),
        (_, Some("docx")) if head.starts_with(b"PK") => (Some("application/vnd.openxmlformats-officedocument.wordprocessingml.document"), None),
        (_, Some("xlsx")) if head.starts_with(b"PK") => (Some("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"), None),
        (_, Some("doc")) if head.starts_with(&OLE) => (Some("application/msword"), None),
        (_, Some("xls")) if head.starts_with(&OLE) => (Some("application/vnd.ms-excel"), None),
        (_, Some("csv")) => text("text/csv").unzip(),
        (_, Some("html")) => text("text/html").unzip(),
        (_, Some("md")) => text("text/markdown").unzip(),
        (_, Some("txt")) => text("text/plain").unzip(),
        _ => (None, None),
    };
    Got { media_type, base64, text }
}

/// How office files from before 2007 begin.
const OLE: [u8; 4] = [0xd0, 0xcf, 0x11, 0xe0];

fn image_type(format: &str) -> &'static str {
    match format {
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ => "image/jpeg",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_39_the_bytes_tell_what_a_file_is() {
        let kind = |url: &str, media_type: Option<&str>, bytes: &[u8]| {
            let got = read(url, Fetched { bytes: bytes.to_vec(), media_type: media_type.map(str::to_owned) });
            (got.media_type, got.text.is_some())
        };
        let png = b"\x89PNG\r\n\x1a\n0000";
        assert_eq!(kind("http://a/x.jpg", Some("image/jpeg"), png), (Some("image/png"), false));
        assert_eq!(kind("http://a/x.txt", Some("text/plain"), png), (Some("image/png"), false));
        assert_eq!(kind("http://a/x", Some("text/html"), b"%PDF-1.7 x"), (Some("application/pdf"), false));
        assert_eq!(kind("http://a/x.pdf", Some("application/pdf"), b"<html>"), (None, false));
        assert_eq!(kind("http://a/x.png", Some("image/png"), b"<html>"), (None, false));
        assert_eq!(kind("http://a/x.png", Some("image/png"), b"<svg/>"), (None, false));
        assert_eq!(kind("http://a/x?y=.csv", Some("text/html; charset=utf-8"), b"<html>"), (Some("text/html"), true));
        assert_eq!(kind("http://a/x.csv?y", Some("application/octet-stream"), b"a,b"), (Some("text/csv"), true));
        assert_eq!(kind("http://a/x.md", None, b"# a"), (Some("text/markdown"), true));
        assert_eq!(kind("http://a/x.txt", None, b"a\0b"), (None, false));
        assert_eq!(kind("http://a/x.txt", None, b"\xff\xfe"), (None, false));
        assert_eq!(kind("http://a/x.docx", None, b"PK\x03\x04"), (Some("application/vnd.openxmlformats-officedocument.wordprocessingml.document"), false));
        assert_eq!(kind("http://a/x.doc", None, b"PK\x03\x04"), (None, false));
        assert_eq!(kind("http://a/x", None, b""), (None, false));
    }
}
