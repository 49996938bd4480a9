//! Many clients at a time against an upstream whose usage is known, for what counts exactly.

use super::{Answer, Gateway, Upstream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) const CHAT: &str = r#"{"model":"claude-3-haiku","max_tokens":1000,"messages":[{"role":"user","content":"Hi"}]}"#;
pub(crate) const DOLLAR: u64 = 1_000_000_000;
/// At 200 dollars per million tokens, whichever.
pub(crate) const TOKEN_NANO_USD: u64 = 200_000;
/// The scripted answer has taken three and given two.
pub(crate) const ANSWER_NANO_USD: u64 = 5 * TOKEN_NANO_USD;

/// Models with a price that makes small answers dear.
pub(crate) fn dear(upstream: SocketAddr) -> String {
    super::models(upstream).replace(
        "{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }",
        "{ targets: [{ provider: bedrock, model: 'anthropic.claude-3-haiku-20240307-v1:0' }], price: { input: 200, output: 200 } }",
    )
}

/// Answers every request, for as long as the test runs; counts them.
pub(crate) fn serve(upstream: Upstream) -> Arc<AtomicUsize> {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    std::thread::spawn(move || {
        loop {
            let mut far = upstream.accept();
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                while far.request().is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                    far.reply_text("Hello");
                }
            });
        }
    });
    served
}

/// So many clients at a time, each with so many requests.
pub(crate) fn storm(gateway: &Gateway, clients: usize, requests: usize, body: &str) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = gateway.connect();
                    let one = |_| {
                        client.post(body.as_bytes());
                        client.answer()
                    };
                    (0..requests).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

pub(crate) fn good(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}
