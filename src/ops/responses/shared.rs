//! Kept answers in Redis, which all nodes share, with this node's own file for the time that it is away.
//!
//! One script puts an answer there and takes the oldest away while there are too many bytes; what expires goes by itself. All names have one tag, as the bound is
//! one of all answers.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{Client, Connection, Script};
use serde::{Deserialize, Serialize};

use super::{Fault, Kept, Shelf};
use crate::config::snapshot::{OnRedisFailure, Redis};

/// For a new connection.
const CONNECT: Duration = Duration::from_secs(2);
/// A server that cannot be reached is left alone for so long: nobody waits for it each time.
const PAUSE: Duration = Duration::from_secs(1);
/// Of all answers, and their bytes.
const ALL: &str = "{adit:responses}:all";
const TOTAL: &str = "{adit:responses}:bytes";

static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("put.lua")));
static DELETE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("delete.lua")));

/// The server, and what takes its place.
pub(super) struct Shared {
    redis: Redis,
    connection: Option<Connection>,
    /// When it may be tried again.
    resume: Instant,
    /// `None` where nothing is to be done without the server.
    own: Option<Box<dyn Shelf>>,
}

/// What stands before an answer: one line of JSON. Its own items stand behind it.
#[derive(Serialize, Deserialize)]
struct Head {
    previous: Option<String>,
    provider: Option<String>,
    /// Bytes of the answer.
    response: usize,
}

impl Shared {
    /// Over a server; `own` is this node's shelf.
    pub(super) fn new(redis: Redis, own: impl FnOnce() -> Result<Box<dyn Shelf>, Fault>) -> Result<Self, Fault> {
        let own = if redis.on_failure == OnRedisFailure::Local { Some(own()?) } else { None };
        Ok(Shared { redis, connection: None, resume: Instant::now(), own })
    }

    fn connect(&mut self) -> Result<Connection, Fault> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        if Instant::now() < self.resume {
            return Err("redis is away".into());
        }
        let connected = Client::open(self.redis.url.expose()).and_then(|client| client.get_connection_with_timeout(CONNECT));
        let connection = connected.inspect_err(|_| self.resume = Instant::now() + PAUSE)?;
        // A script over a large answer takes longer than one over a count.
        let patience = Some(self.redis.timeout.max(Duration::from_secs(1)));
        connection.set_read_timeout(patience)?;
        connection.set_write_timeout(patience)?;
        Ok(connection)
    }

    /// Makes a call; a connection on which one fails is given up.
    fn call<T>(&mut self, call: impl FnOnce(&mut Connection) -> redis::RedisResult<T>) -> Result<T, Fault> {
        let mut connection = self.connect()?;
        let result = call(&mut connection).inspect_err(|_| self.resume = Instant::now() + PAUSE)?;
        self.connection = Some(connection);
        Ok(result)
    }
}

/// The length keeps a user's name and what a client calls an answer apart.
fn name(user: &str, id: &str) -> String {
    format!("{{adit:responses}}:{}:{user}:{id}", user.len())
}

fn encode(kept: &Kept) -> Result<Vec<u8>, Fault> {
    let head = Head { previous: kept.previous.clone(), provider: kept.provider.clone(), response: kept.response.len() };
    let mut bytes = serde_json::to_vec(&head)?;
    bytes.reserve(1 + kept.bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(&kept.response);
    bytes.extend_from_slice(&kept.input);
    Ok(bytes)
}

/// `None` for what this version does not understand.
fn decode(bytes: &Bytes) -> Option<Kept> {
    let begin = memchr::memchr(b'\n', bytes)? + 1;
    let Head { previous, provider, response } = serde_json::from_slice(bytes.get(..begin)?).ok()?;
    let end = begin.checked_add(response).filter(|end| *end <= bytes.len())?;
    Some(Kept { response: bytes.slice(begin..end), input: bytes.slice(end..), previous, provider })
}

impl Shelf for Shared {
    fn put(&mut self, user: &str, id: &str, kept: &Kept, now: u64, expires: u64, max_bytes: u64) -> Result<(), Fault> {
        let seconds = expires.saturating_sub(now).max(1);
        let bytes = encode(kept)?;
        let put = self.call(|connection| PUT.key(name(user, id)).key(ALL).key(TOTAL).arg(bytes).arg(seconds).arg(max_bytes).invoke::<()>(connection));
        match (put, &mut self.own) {
            (Err(_), Some(own)) => own.put(user, id, kept, now, expires, max_bytes),
            (put, _) => put,
        }
    }

    fn get(&mut self, user: &str, id: &str, now: u64) -> Result<Option<Kept>, Fault> {
        let found = self.call(|connection| redis::cmd("GET").arg(name(user, id)).query::<Option<Vec<u8>>>(connection));
        let found = found.map(|found| found.and_then(|bytes| decode(&bytes.into())));
        match (found, &mut self.own) {
            (Ok(Some(kept)), _) => Ok(Some(kept)),
            // It may be of the time when the server was away; without both nobody can say that it is not there.
            (found, Some(own)) => own.get(user, id, now)?.map_or(found, |kept| Ok(Some(kept))),
            (found, None) => found,
        }
    }

    fn delete(&mut self, user: &str, id: &str, now: u64) -> Result<bool, Fault> {
        let gone = self.call(|connection| DELETE.key(name(user, id)).key(ALL).key(TOTAL).invoke::<bool>(connection));
        // It lies in one of them.
        let was_own = match &mut self.own {
            Some(own) => own.delete(user, id, now)?,
            None => false,
        };
        if was_own { Ok(true) } else { gone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_as_it_went_and_names_stay_apart() {
        let kept = Kept { response: Bytes::from_static(b"{\"a\":\n1}"), input: Bytes::from_static(b"[]"), previous: Some("resp_1".to_owned()), provider: None };
        assert_eq!(decode(&encode(&kept).unwrap().into()), Some(kept));
        for broken in ["", "{}\n", "x\ny", r#"{"previous":null,"provider":null,"response":9}"#, "{\"previous\":null,\"provider\":null,\"response\":9}\nshort"] {
            assert_eq!(decode(&Bytes::from_static(broken.as_bytes())), None, "{broken}");
        }
        assert_ne!(name("a", "b:c"), name("a:b", "c"));
    }
}
