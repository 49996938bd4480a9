//! One upstream that plays every provider, and the model map that leads to it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::thread::JoinHandle;

use super::{Answer, Client, Gateway, Request, Upstream};

/// Bedrock's name of the Claude that the map calls `haiku`.
pub(crate) const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1%3A0";
/// What the gateway shows a provider.
pub(crate) const OPENAI_KEY: &str = "sk-of-the-gateway-openai";
pub(crate) const ANTHROPIC_KEY: &str = "sk-ant-of-the-gateway";

/// A map in which all providers are at `upstream`.
pub(crate) fn models(upstream: SocketAddr) -> String {
    format!(
        r"
providers:
  bedrock: {{ type: bedrock, region: us-east-1, endpoint: 'http://{upstream}', access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY }}
  openai: {{ type: openai, base_url: 'http://{upstream}/v1', api_key: {OPENAI_KEY} }}
  anthropic: {{ type: anthropic, base_url: 'http://{upstream}', api_key: {ANTHROPIC_KEY} }}
  azure: {{ type: azure_openai, endpoint: '', api_key: '' }}
models:
  haiku: {{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }}
  talker: {{ targets: [{{ provider: bedrock, model: 'anthropic.claude-3-haiku-20240307-v1:0', surface: converse }}] }}
  nova: {{ bedrock: 'amazon.nova-lite-v1:0' }}
  my-gpt: {{ openai: gpt-4o }}
  strict-gpt: {{ targets: [{{ provider: openai, model: gpt-4o }}], parameters: {{ unsupported: reject }} }}
  my-claude: {{ anthropic: claude-sonnet-4-5 }}
  titan: {{ bedrock: 'amazon.titan-embed-text-v2:0' }}
  embed: {{ bedrock: 'cohere.embed-english-v3' }}
  nowhere: {{ azure: gpt-4o }}
"
    )
}

/// A gateway over that map.
pub(crate) fn start(upstream: &Upstream, extra: &str) -> Gateway {
    Gateway::with_models(&models(upstream.address), extra, &[])
}

/// How a body is framed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    /// With its length.
    Length,
    /// In chunks of these sizes, over and over.
    Chunks(&'static [usize]),
}

/// Sizes at which nothing ends that matters.
pub(crate) const ODD: Framing = Framing::Chunks(&[1, 7, 8191, 3, 100_003]);

impl Framing {
    /// The line of the head.
    fn header(self, length: usize) -> String {
        match self {
            Framing::Length => format!("content-length: {length}\r\n"),
            Framing::Chunks(_) => "transfer-encoding: chunked\r\n".to_owned(),
        }
    }

    fn send(self, to: &mut Client, head: &str, body: &[u8]) {
        to.send(format!("{head}{}\r\n", self.header(body.len())).as_bytes());
        let Framing::Chunks(sizes) = self else { return to.send(body) };
        let mut rest = body;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            to.chunk(piece);
            rest = behind;
        }
        to.end_chunks();
    }
}

/// A POST from a thread, which gives the answer when it ends.
pub(crate) fn post(gateway: &Gateway, path: &str, framing: Framing, body: &[u8]) -> JoinHandle<Answer> {
    let mut client = gateway.connect();
    let mut writer = Client::new(client.stream.try_clone().unwrap());
    let (head, body) = (format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"), body.to_vec());
    std::thread::spawn(move || {
        framing.send(&mut writer, &head, &body);
        client.answer()
    })
}

/// Reads a request, as the upstream, and gives it a good answer.
pub(crate) fn serve(upstream: &Upstream, media_type: &str, framing: Framing, body: &[u8]) -> Request {
    let (mut far, request) = upstream.exchange();
    framing.send(&mut far, &format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\nconnection: close\r\n"), body);
    request
}
