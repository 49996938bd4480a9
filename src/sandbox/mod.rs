//! A stand-in for the Bedrock runtime: what the demo runs against, and every test.
//!
//! It is strict where Bedrock is. Signatures are verified, bodies are checked against AWS's own service model (`shapes`), for Claude's own format against
//! Anthropic's published types (`messages`), and against the rules that are in neither (`rules`), by code that shares nothing with the gateway but the
//! formats in [`crate::wire`]. It is not a model: answers are deterministic and made from the request (`answer`). HTTP/1.1 and HTTP/2 without TLS,
//! `POST /model/{id}/…`:
//!
//! | operation | takes |
//! | --- | --- |
//! | `converse`, `converse-stream` | conversations, for every model that is not for embeddings |
//! | `invoke`, `invoke-with-response-stream` | Messages bodies for Claude, and for ids that hide their model |
//! | `invoke` | bodies of Titan Text Embeddings, Cohere Embed and Nova Multimodal Embeddings (`embeddings`, with the formula of its vectors) |
//! | `count-tokens` | either kind of conversation, for ids without a region |
//!
//! What else Bedrock has is answered with `UnknownOperationException`, and what else models take with `ValidationException`.
//!
//! # What it says
//! | request | answer |
//! | --- | --- |
//! | text | `Echo: <text of the last user turn>`, then ` [image png, 68 bytes]` for each file, ` (system: <system prompt>)`, and ` (turns: 3)` if the text has `#turns` |
//! | tools, and the text names one, has a word of a tool's name, or says "use the tool" | `I'll call get_weather.` and the call; with "both" or "all" several calls |
//! | tool choice any or tool | the call alone; arguments are made from the schema and the words of the text |
//! | tool results | `The tool says: <result>`, `The tool failed: <result>` |
//! | a schema for the answer | JSON for the schema; for a schema that allows everything `{"echo":"<text>"}` |
//! | thinking, and for Converse effort | reasoning first, signed for Claude; a signature that comes back must be the one that was issued |
//! | a guardrail, and [`GUARDRAIL_WORD`] in the text | `guardrail_intervened`; of Claude's own format `"amazon-bedrock-guardrailAction":"INTERVENED"` |
//!
//! One token is four characters. Limits of tokens and stop sequences are obeyed, `/stop_sequence` and `/usage/output_tokens_details` are answered, cache points
//! are written by the first request with a prefix and read by the next. Answers to `invoke` have token counts as headers too.
//!
//! # Knobs
//! As a header (`x-sandbox-delay: 500ms`), or behind the word `sandbox` in the model id, which stays a valid id:
//! `anthropic.claude-3-haiku-20240307-v1:0.sandbox.delay-500ms.words-20`. An id that begins with it (`sandbox.words-20`) has no family: nothing is refused.
//!
//! | knob | value | does |
//! | --- | --- | --- |
//! | `delay` | time | wait before the head of the answer |
//! | `pause` | time | wait between two frames; `0ms` sends them one by one |
//! | `stall` | time | wait behind the first content frame |
//! | `hold` | nothing, `head` | wait for `POST /sandbox/release` behind the first content frame, or before the head |
//! | `words`, `kib` | number | the answer has so many words (and deltas), or so many KiB |
//! | `chunk` | bytes, `all` | the body leaves in pieces of so many bytes, wherever frames end; with `all` it leaves in one |
//! | `error` | error name | an HTTP error with its status; `retry-7` adds `retry-after`, `body-empty` sends `{}`, `body-plain` text without a name |
//! | `exception` | error name | an exception frame instead of the stream; with `after-3`, behind three content frames. JSON: an HTTP error |
//! | `cut`, `tear` | number | the connection breaks behind so many frames, or inside the one that follows; JSON: in the middle |
//! | `corrupt` | number | the frame behind so many has a wrong checksum; JSON: the last byte is wrong |
//! | `omit` | `stop`, `metadata`, `output` | the answer lacks `messageStop` (`message_delta` and `message_stop`), `metadata` (all token counts), or everything |
//! | `stop` | stop reason | that stop reason (`stop-max-tokens`) |
//! | `answer` | `text`, `tool`, `tool-empty`, `citations`, `image`, `reasoning`, `redacted`, `empty` | that kind of answer; a Message has no `image` |
//! | `family` | `claude-4-5`, `nova`, `nova-2`, `titan`, `llama`, `llama-vision`, `mistral-instruct`, `mistral`, `cohere`, `deepseek`, `grok`, `other`, `any` | that family's limits, whatever the id |
//! | `tag` | word | a name by which a test finds its own requests |
//!
//! # Side door
//! | path | does |
//! | --- | --- |
//! | `GET /sandbox/health` | 200 |
//! | `GET /sandbox/requests`, `/sandbox/requests/last` | what arrived and how far its answer got; SHA-256 of body and answer; bodies over 64 KiB by length and hash; no credentials |
//! | `DELETE /sandbox/requests`, `/sandbox/cache` | forgets the requests, or the prompt cache |
//! | `POST /sandbox/release` | lets answers go on that a `hold` stops |
//! | `GET /sandbox/wait?held=1&closed=1&timeout=5s` | answers when so many requests are `requests` (there), `held`, `complete`, `closed` (by the peer), `broken`, or one has sent `frames`; 408 after the time |
//!
//! All but the first take `?tag=…`. Operations: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use answer::GUARDRAIL_WORD;
pub use verify::Credentials;

mod answer;
mod embeddings;
mod failure;
mod family;
mod invoke;
mod journal;
mod knobs;
mod messages;
mod render;
mod rules;
mod sample;
mod script;
mod seal;
mod service;
mod shapes;
mod verify;

/// The access key id that the sandbox knows by default: the one of AWS's documentation.
pub const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
/// The secret that belongs to [`ACCESS_KEY_ID`].
pub const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// The bearer token that the sandbox knows by default.
pub const BEARER_TOKEN: &str = "bedrock-api-key-sandbox";

/// How long connections may finish what they do when the sandbox stops.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait when the system has no more sockets.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What the sandbox knows and how much it takes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Key pairs whose signatures are accepted.
    pub credentials: Vec<Credentials>,
    /// Bedrock API keys that are accepted.
    pub bearer_tokens: Vec<String>,
    /// The only region that signatures may be for; `None` takes any.
    pub region: Option<String>,
    /// Longer bodies are answered with 413.
    pub max_body_bytes: usize,
    /// How many requests the side door remembers; with 0 it remembers none, and `hold` never ends.
    pub remembered_requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        let credentials =
            Credentials { access_key_id: ACCESS_KEY_ID.to_owned(), secret_access_key: SECRET_ACCESS_KEY.to_owned(), session_token: None, expires: None };
        Options {
            credentials: vec![credentials],
            bearer_tokens: vec![BEARER_TOKEN.to_owned()],
            region: None,
            max_body_bytes: 64 * 1024 * 1024,
            remembered_requests: 256,
        }
    }
}

/// Serves connections until `shutdown` is ready; open ones get a moment to finish.
pub async fn serve(listener: TcpListener, options: Options, shutdown: impl Future) {
    let service = Arc::new(service::Service::new(options));
    let stop = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            _ = &mut shutdown => break,
            // Finished connections are taken out as they end.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => drop(connections.spawn(connection(stream, peer, Arc::clone(&service), stop.subscribe()))),
                Err(error) => {
                    log::warn!("sandbox: accept: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    // What is still open then is cut when the set is dropped.
    let _ = tokio::time::timeout(GRACE, finished).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, service: Arc<service::Service>, mut stop: watch::Receiver<bool>) {
    // Frames are small and must leave at once.
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("sandbox: {peer}: no TCP_NODELAY: {error}");
    }
    let builder = auto::Builder::new(TokioExecutor::new());
    let handle = service_fn(move |request| Arc::clone(&service).handle(request, peer));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), handle));
    let mut stopping = false;
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        log::debug!("sandbox: {peer}: {error}");
    }
}

#[cfg(test)]
mod tests;
