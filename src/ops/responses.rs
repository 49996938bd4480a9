//! Answers of OpenAI Responses that are kept: by user, for a time, within a size.
//!
//! Requests hand answers over and go on; a thread of its own writes them down. What is asked for goes the same way, behind what was handed over before, so whoever has
//! got an answer finds it. `Shelf` is where they lie: `sqlite` is this node's own file, `shared` a Redis of all nodes.
//!
//! Nobody finds what another user keeps: a user's name is part of the key.

mod shared;
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use log::warn;
use tokio::sync::oneshot;

use crate::config::snapshot::Redis;

/// The most that waits to be written: with a disk that has stopped, more would be the memory of the process.
const MOST_WAITING_BYTES: usize = 256 * 1024 * 1024;
/// A shelf that fails is told of so often.
const TELL: Duration = Duration::from_secs(10);
/// Pauses behind which an answer is looked for again that another node may be about to write.
const AGAIN: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(200)];
/// Between two looks at whether everything is written.
const LOOK: Duration = Duration::from_millis(5);

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The answer, as its client got it: a JSON object. Empty where a provider keeps it.
    pub response: Bytes,
    /// The items of its own input: a JSON array.
    pub input: Bytes,
    /// The answer that it goes on from.
    pub previous: Option<String>,
    /// The provider that keeps it, and whose id it has.
    pub provider: Option<String>,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.response.len() + self.input.len()
    }
}

/// How long and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// From when on it is as if it had not been kept.
    pub ttl: Duration,
    /// All answers of all users: the oldest go when there are more.
    pub max_bytes: u64,
}

/// A place where answers lie. It blocks its caller, which is the store's own thread.
trait Shelf: Send {
    /// Puts an answer there. `now` and `expires` are seconds since 1970.
    fn put(&mut self, user: &str, id: &str, kept: &Kept, now: u64, expires: u64, max_bytes: u64) -> Result<(), Fault>;

    /// Finds one that has not expired.
    fn get(&mut self, user: &str, id: &str, now: u64) -> Result<Option<Kept>, Fault>;

    /// Takes one away; says whether it was there.
    fn delete(&mut self, user: &str, id: &str, now: u64) -> Result<bool, Fault>;
}

/// Why a shelf can't be used: for the log.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The shelf can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kept responses are not available")]
pub struct Trouble;

/// What became of answers.
#[derive(Debug, Default)]
pub struct Counts {
    /// Were written.
    pub written: AtomicU64,
    /// Were lost: the shelf failed, or too many waited for it.
    pub dropped: AtomicU64,
}

enum Order {
    Put { user: Arc<str>, id: String, kept: Kept, terms: Terms },
    Get { user: Arc<str>, id: String, reply: oneshot::Sender<Result<Option<Kept>, Trouble>> },
    Delete { user: Arc<str>, id: String, reply: oneshot::Sender<Result<bool, Trouble>> },
}

/// The store of the process.
#[derive(Debug, Default)]
pub struct Store {
    /// None before [`Store::open`].
    orders: OnceLock<Sender<Order>>,
    /// Bytes that wait to be written.
    waiting: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    /// Other nodes keep answers in the same place.
    is_shared: AtomicBool,
}

impl Store {
    /// Begins to keep answers: in a Redis of all nodes, in a folder, or as long as the process lives. Only the first call counts.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn open(&self, folder: Option<PathBuf>, redis: Option<Redis>) -> std::io::Result<()> {
        if self.is_open() {
            return Ok(());
        }
        self.is_shared.store(redis.is_some(), Ordering::Relaxed);
        let (sender, receiver) = channel();
        let (waiting, counts) = (Arc::clone(&self.waiting), Arc::clone(&self.counts));
        std::thread::Builder::new().name("responses".to_owned()).spawn(move || work(&receiver, folder.as_deref(), redis.as_ref(), &waiting, &counts))?;
        // Of two calls at once one has come too late: without orders its thread ends.
        let _ = self.orders.set(sender);
        Ok(())
    }

    /// Whether answers can be handed over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.orders.get().is_some()
    }

    /// Hands an answer over. It is lost, and counted, where too much waits already.
    pub fn put(&self, user: Arc<str>, id: String, kept: Kept, terms: Terms) {
        let bytes = kept.bytes();
        if self.waiting.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes) > MOST_WAITING_BYTES || !self.send(Order::Put { user, id, kept, terms }) {
            self.waiting.fetch_sub(bytes, Ordering::AcqRel);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Finds an answer of a user's.
    ///
    /// # Errors
    /// [`Trouble`]
    pub async fn get(&self, user: &Arc<str>, id: &str) -> Result<Option<Kept>, Trouble> {
        self.patiently(|reply| Order::Get { user: Arc::clone(user), id: id.to_owned(), reply }, Option::is_none).await
    }

    /// Takes an answer of a user's away; says whether it was there.
    ///
    /// # Errors
    /// [`Trouble`]
    pub async fn delete(&self, user: &Arc<str>, id: &str) -> Result<bool, Trouble> {
        self.patiently(|reply| Order::Delete { user: Arc::clone(user), id: id.to_owned(), reply }, |was_there| !was_there).await
    }

    /// Has an order carried out; again, a little later, for what is not there: another node may have it in line still, though its client has got it.
    async fn patiently<T>(&self, order: impl Fn(oneshot::Sender<Result<T, Trouble>>) -> Order, is_missing: impl Fn(&T) -> bool) -> Result<T, Trouble> {
        let mut pauses = AGAIN.iter().filter(|_| self.is_shared.load(Ordering::Relaxed));
        loop {
            let (reply, answer) = oneshot::channel();
            self.send(order(reply));
            let found = answer.await.unwrap_or(Err(Trouble))?;
            match pauses.next() {
                Some(pause) if is_missing(&found) => tokio::time::sleep(*pause).await,
                _ => return Ok(found),
            }
        }
    }

    /// What became of answers so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Holds up the caller's thread until everything is written, at most so long: for the end of a process. The bytes that are left then, which are lost.
    #[must_use]
    pub fn finish(&self, limit: Duration) -> usize {
        let begun = Instant::now();
        loop {
            let left = self.waiting.load(Ordering::Acquire);
            if left == 0 || begun.elapsed() >= limit {
                return left;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn send(&self, order: Order) -> bool {
        self.orders.get().is_some_and(|orders| orders.send(order).is_ok())
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Opens what answers lie in.
fn shelf(folder: Option<&Path>, redis: Option<&Redis>) -> Result<Box<dyn Shelf>, Fault> {
    let own = || -> Result<Box<dyn Shelf>, Fault> { Ok(Box::new(sqlite::Sqlite::open(folder)?)) };
    match redis {
        Some(redis) => Ok(Box::new(shared::Shared::new(redis.clone(), own)?)),
        None => own(),
    }
}

/// Carries orders out, to the end of the process. A shelf that could not be opened is tried again with the next one.
fn work(orders: &Receiver<Order>, folder: Option<&Path>, redis: Option<&Redis>, waiting: &AtomicUsize, counts: &Counts) {
    let mut shelf: Option<Box<dyn Shelf>> = None;
    let mut told: Option<Instant> = None;
    let mut blame = move |cause: Fault| {
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            told = Some(Instant::now());
            warn!("responses cannot be kept: {cause}");
        }
        Trouble
    };
    for order in orders {
        let opened = match &mut shelf {
            Some(shelf) => Ok(shelf),
            None => match self::shelf(folder, redis) {
                Ok(opened) => Ok(shelf.insert(opened)),
                Err(cause) => Err(blame(cause)),
            },
        };
        let now = now();
        match order {
            Order::Put { user, id, kept, terms } => {
                let expires = now.saturating_add(terms.ttl.as_secs());
                let put = opened.and_then(|shelf| shelf.put(&user, &id, &kept, now, expires, terms.max_bytes).map_err(&mut blame));
                let count = if put.is_ok() { &counts.written } else { &counts.dropped };
                count.fetch_add(1, Ordering::Relaxed);
                waiting.fetch_sub(kept.bytes(), Ordering::AcqRel);
            }
            // Whoever asked may have left.
            Order::Get { user, id, reply } => _ = reply.send(opened.and_then(|shelf| shelf.get(&user, &id, now).map_err(&mut blame))),
            Order::Delete { user, id, reply } => _ = reply.send(opened.and_then(|shelf| shelf.delete(&user, &id, now).map_err(&mut blame))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn kept(text: &str) -> Kept {
        Kept { response: text.to_owned().into(), input: Bytes::from_static(b"[]"), previous: None, provider: None }
    }

    const TERMS: Terms = Terms { ttl: Duration::from_secs(60), max_bytes: 1 << 20 };

    #[tokio::test]
    async fn what_was_handed_over_is_found_at_once_and_by_its_user_alone() {
        let store = Store::default();
        store.open(None, None).unwrap();
        let (alice, bob): (Arc<str>, Arc<str>) = ("alice".into(), "bob".into());
        for number in 0..100 {
            let (id, answer) = (format!("resp_{number}"), kept(&number.to_string()));
            store.put(Arc::clone(&alice), id.clone(), answer.clone(), TERMS);
            assert_eq!(store.get(&alice, &id).await, Ok(Some(answer)));
            assert_eq!((store.get(&bob, &id).await, store.delete(&bob, &id).await), (Ok(None), Ok(false)));
        }
        assert_eq!(store.delete(&alice, "resp_1").await, Ok(true));
        assert_eq!((store.get(&alice, "resp_1").await, store.delete(&alice, "resp_1").await), (Ok(None), Ok(false)));
        assert_eq!(store.finish(Duration::from_secs(60)), 0);
        assert_eq!((store.counts().written.load(Ordering::Relaxed), store.counts().dropped.load(Ordering::Relaxed)), (100, 0));
    }

    #[tokio::test]
    async fn it_outlives_its_process_and_two_processes_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let alice: Arc<str> = "alice".into();
        let [old, new] = [(); 2].map(|()| {
            let store = Store::default();
            store.open(Some(folder.path().join("state")), None).unwrap();
            store
        });
        old.put(Arc::clone(&alice), "resp_1".to_owned(), kept("1"), TERMS);
        assert!(old.get(&alice, "resp_1").await.unwrap().is_some());
        // As during an upgrade: both have it open.
        assert_eq!(new.get(&alice, "resp_1").await, Ok(Some(kept("1"))));
        new.put(Arc::clone(&alice), "resp_2".to_owned(), kept("2"), TERMS);
        assert!(new.get(&alice, "resp_2").await.unwrap().is_some());
        assert_eq!(old.get(&alice, "resp_2").await, Ok(Some(kept("2"))));
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_used_says_so() {
        let alice: Arc<str> = "alice".into();
        let closed = Store::default();
        assert!(!closed.is_open());
        closed.put(Arc::clone(&alice), "resp_1".to_owned(), kept("1"), TERMS);
        assert_eq!(closed.get(&alice, "resp_1").await, Err(Trouble));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let broken = Store::default();
        broken.open(Some(folder.path().join("file/state")), None).unwrap();
        broken.put(Arc::clone(&alice), "resp_1".to_owned(), kept("1"), TERMS);
        assert_eq!(broken.get(&alice, "resp_1").await, Err(Trouble));
        for store in [closed, broken] {
            assert_eq!((store.finish(Duration::from_secs(60)), store.counts().dropped.load(Ordering::Relaxed)), (0, 1));
        }
    }
}
