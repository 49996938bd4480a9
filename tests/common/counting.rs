//! An upstream that answers by itself, in the form of Converse, and counts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Client;

/// Answers every request on threads of its own, for as long as the test runs.
pub(crate) struct Counting {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    requests: AtomicU64,
    failing: AtomicBool,
    throttling: AtomicBool,
}

impl Counting {
    pub(crate) fn new() -> Counting {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), state) = (stream, Arc::clone(&shared)) else { continue };
                std::thread::spawn(move || serve(Client::new(stream), &state));
            }
        });
        Counting { address, state }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Answers 503 from now on, or no longer.
    pub(crate) fn fail(&self, failing: bool) {
        self.state.failing.store(failing, Ordering::SeqCst);
    }

    /// Answers 429 and asks for an hour from now on, or no longer.
    pub(crate) fn throttle(&self, throttling: bool) {
        self.state.throttling.store(throttling, Ordering::SeqCst);
    }
}

fn serve(mut far: Client, state: &State) {
    while far.waits() && far.request().is_some() {
        state.requests.fetch_add(1, Ordering::SeqCst);
        if state.failing.load(Ordering::SeqCst) {
            far.reply("503 Service Unavailable", "", r#"{"message":"down"}"#);
        } else if state.throttling.load(Ordering::SeqCst) {
            far.reply("429 Too Many Requests", "retry-after: 3600\r\nx-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#);
        } else {
            far.reply_text("ok");
        }
    }
}
