//! Requests that say what is to become of them, an upstream that does it, and what the audit log has to tell of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::{Client, Gateway, Upstream};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Play {
    /// A whole answer.
    Whole,
    /// A stream to its end.
    Stream,
    /// Two calls, each with a whole answer.
    Fan,
    /// Two calls, each with a stream.
    FanStream,
    /// The upstream wants no more of them.
    Throttled,
    /// The upstream fails.
    Failed,
    /// The upstream closes the connection before it answers.
    Closed,
    /// The upstream closes the connection in the middle of a stream.
    Cut,
    /// The client leaves in the middle of a stream.
    Left,
    /// There is no such model.
    NoModel,
    /// The body is not JSON.
    NoJson,
    /// There is no such path.
    NoPath,
}

use Play::{Closed, Cut, Failed, Fan, FanStream, Left, NoJson, NoModel, NoPath, Stream, Throttled, Whole};

impl Play {
    /// All of them, the usual ones more than once.
    pub(crate) const TURNS: [Play; 20] =
        [Whole, Stream, Fan, Whole, NoModel, Throttled, Whole, Left, Stream, Failed, Whole, NoJson, Cut, Whole, FanStream, NoPath, Stream, Closed, Whole, Left];

    /// In the id of its request.
    pub(crate) fn word(self) -> String {
        format!("{self:?}")
    }

    pub(crate) fn of(word: &str) -> Option<Play> {
        Play::TURNS.into_iter().find(|play| play.word() == word)
    }

    /// Its path and its body.
    pub(crate) fn request(self) -> (&'static str, String) {
        let chat =
            |extra: &str| format!(r#"{{"model":"claude-3-haiku","max_tokens":9,{extra}"messages":[{{"role":"user","content":"play {}."}}]}}"#, self.word());
        let path = if self == NoPath { "/v1/nowhere" } else { "/v1/chat/completions" };
        let body = match self {
            Whole | Throttled | Failed | Closed | NoPath => chat(""),
            Stream | Cut | Left => chat(r#""stream":true,"#),
            Fan => chat(r#""n":2,"#),
            FanStream => chat(r#""n":2,"stream":true,"#),
            NoModel => r#"{"model":"nobody-has-it","messages":[]}"#.to_owned(),
            NoJson => "{".to_owned(),
        };
        (path, body)
    }

    /// Status, outcome and kind of error of its line.
    pub(crate) fn told(self) -> (u64, &'static str, Option<&'static str>) {
        match self {
            Whole | Stream | Fan | FanStream => (200, "complete", None),
            Throttled => (429, "upstream_failed", Some("rate_limited")),
            Failed => (500, "upstream_failed", Some("upstream_internal")),
            Closed => (502, "upstream_failed", Some("bad_upstream")),
            Cut => (200, "upstream_failed", Some("bad_upstream")),
            Left => (200, "client_left", None),
            NoModel => (404, "refused", Some("model_not_found")),
            NoJson => (400, "refused", Some("invalid_request")),
            NoPath => (404, "refused", Some("not_found")),
        }
    }

    /// Tokens of its line, in and out; `drained` says that what a client leaves behind goes on.
    pub(crate) fn tokens(self, drained: bool) -> Option<(u64, u64)> {
        match self {
            Whole | Stream => Some((3, 2)),
            Fan | FanStream => Some((6, 4)),
            Left if drained => Some((3, 2)),
            _ => None,
        }
    }
}

/// Lets the upstream go on once it is known that a client has left. Only where that is drained.
#[derive(Clone)]
pub(crate) struct Leaving(Option<Arc<Mutex<Sender<()>>>>);

/// Plays every request as its body says, for as long as the test runs.
pub(crate) fn play(upstream: Upstream, drained: bool) -> Leaving {
    let (leaving, left) = if drained {
        let (sender, receiver) = channel();
        (Leaving(Some(Arc::new(Mutex::new(sender)))), Some(Arc::new(Mutex::new(receiver))))
    } else {
        (Leaving(None), None)
    };
    std::thread::spawn(move || {
        loop {
            let (far, left) = (upstream.accept_any(), left.clone());
            std::thread::spawn(move || connection(far, left.as_deref()));
        }
    });
    leaving
}

fn connection(mut far: Client, left: Option<&Mutex<Receiver<()>>>) {
    while far.waits() {
        let Some(request) = far.request() else { return };
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let word = text.split("play ").nth(1).and_then(|rest| rest.split('.').next()).unwrap();
        match Play::of(word).unwrap() {
            Stream | FanStream => {
                far.begin_answer();
                far.delta("Hello");
                far.end_stream();
            }
            Throttled => far.reply("429 Too Many Requests", "x-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#),
            Failed => far.reply("500 Internal Server Error", "x-amzn-errortype: InternalServerException\r\n", r#"{"message":"down"}"#),
            Closed => return,
            Cut => {
                far.begin_answer();
                far.delta("Hello");
                return;
            }
            Left => {
                far.begin_last_answer();
                far.delta("Hello");
                match left {
                    Some(left) => {
                        left.lock().unwrap().recv().unwrap();
                        far.delta("nobody hears it");
                        far.end_stream();
                    }
                    None => far.wait_closed(),
                }
                return;
            }
            _ => far.reply_text("Hello"),
        }
    }
}

impl Leaving {
    /// Sends a request and takes what comes of it; the connection, if it may be used again.
    pub(crate) fn ask(&self, gateway: &Gateway, mut client: Client, play: Play, id: &str) -> Option<Client> {
        let (path, body) = play.request();
        if play == Left {
            return self.leave(gateway, client, path, &body, id);
        }
        client.call("POST", path, &format!("x-request-id: {id}\r\n"), body.as_bytes());
        let answer = client.answer();
        assert_eq!(u64::from(answer.status), play.told().0, "{play:?}: {}", answer.text());
        assert!(answer.whole, "{play:?}");
        (answer.header("connection") != Some("close")).then_some(client)
    }

    fn leave(&self, gateway: &Gateway, mut client: Client, path: &str, body: &str, id: &str) -> Option<Client> {
        const GONE: &str = "going on without the client";
        // One at a time, or it is not known whose leaving was noticed.
        let turn = self.0.as_ref().map(|turn| turn.lock().unwrap());
        let before = turn.as_ref().map_or(0, |_| gateway.log.count(GONE));
        client.call("POST", path, &format!("x-request-id: {id}\r\n"), body.as_bytes());
        client.read_until(b"Hello");
        drop(client);
        if let Some(turn) = turn {
            gateway.log.wait(GONE, before + 1);
            turn.send(()).unwrap();
        }
        None
    }
}
