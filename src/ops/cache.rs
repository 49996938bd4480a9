//! Answers that are kept to be given again: in memory, bounded by bytes, and where all nodes share a Redis there as well.
//!
//! ```text
//! look ─▶ in memory ─▶ under way? wait for it ─▶ in Redis ─▶ Lead: the upstream is asked
//!            ▲                                                  │
//!            └────────────── put, if it is whole and good ◀─────┘
//! ```
//!
//! Of requests that ask the same at a time one leads and the others wait for what it brings; where that cannot be kept, each asks for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use log::debug;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::chat::Usage;
use crate::config::snapshot::Cache as Settings;
use crate::ops::redis::Link;
use crate::policy::cache::{Key, Wish};

/// What an entry takes besides its body: names, counts, and its place in the cache.
const OVERHEAD: usize = 512;
/// No answer may take more than this part of the cache.
const LARGEST_PART: u64 = 8;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One JSON body.
    Whole,
    /// The events of a stream, up to its end. OpenAI's tell of tokens only if they are asked to.
    Stream {
        /// They do.
        usage: bool,
    },
}

/// An answer, as its client got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its body.
    pub body: Bytes,
    /// How it is written.
    pub form: Form,
    /// When it was complete.
    pub made: SystemTime,
    /// What it took.
    pub usage: Option<Usage>,
    /// Why the model stopped.
    pub stop: Option<String>,
    /// Members of its request that were dropped.
    pub dropped: Vec<String>,
}

impl Entry {
    /// How old it is.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.made).unwrap_or_default()
    }

    fn weight(&self) -> u32 {
        u32::try_from(self.body.len() + OVERHEAD).unwrap_or(u32::MAX)
    }
}

/// Answers that are kept.
#[derive(Debug)]
pub struct Cache {
    settings: Settings,
    entries: Moka<Key, Arc<Entry>>,
    flights: Mutex<HashMap<Key, watch::Receiver<Flight>>>,
    /// What all nodes share.
    link: Option<Arc<Link>>,
}

/// How a request that leads stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Running,
    /// Its answer is kept.
    Kept,
    /// There is no answer that could be kept.
    Failed,
}

/// What there is for a request.
#[derive(Debug)]
pub enum Found {
    /// An answer.
    Answer(Arc<Entry>),
    /// Nothing: whoever asks the upstream may keep what comes.
    Nothing(Lead),
}

/// Asks the upstream, for all who ask the same at this time.
#[derive(Debug)]
pub struct Lead {
    cache: Arc<Cache>,
    key: Key,
    /// `None` for one that asks for itself alone.
    flight: Option<watch::Sender<Flight>>,
}

impl Cache {
    /// Without any answers.
    #[must_use]
    pub fn new(settings: &Settings, link: Option<Arc<Link>>) -> Arc<Self> {
        let entries = Moka::builder()
            .max_capacity(settings.max_bytes)
            .weigher(|_, entry: &Arc<Entry>| entry.weight())
            .time_to_live(settings.ttl)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Arc::new(Cache { settings: settings.clone(), entries, flights: Mutex::default(), link })
    }

    /// For the next configuration: this one, if nothing of it has changed.
    #[must_use]
    pub fn renewed(self: &Arc<Self>, settings: &Settings, link: Option<Arc<Link>>) -> Arc<Self> {
        let same_link = match (&self.link, &link) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        if self.settings == *settings && same_link { Arc::clone(self) } else { Cache::new(settings, link) }
    }

    /// How it is set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The longest body that is kept.
    #[must_use]
    pub fn largest(&self) -> usize {
        usize::try_from(self.settings.max_bytes / LARGEST_PART).unwrap_or(usize::MAX).saturating_sub(OVERHEAD)
    }

    /// Looks for an answer, and waits for one that is under way.
    pub async fn find(self: &Arc<Self>, key: Key, wish: Wish) -> Found {
        if let Some(entry) = self.kept(&key, wish) {
            return Found::Answer(entry);
        }
        // Whoever wants a fresh answer waits for nobody's, and nobody waits for his.
        if !wish.read {
            return Found::Nothing(Lead { cache: Arc::clone(self), key, flight: None });
        }
        loop {
            let mut waiting = match self.board(key) {
                Ok(lead) => {
                    // It may have come in between.
                    let found = match self.kept(&key, wish) {
                        Some(entry) => Some(entry),
                        None => self.shared(&key).await.filter(|entry| wish.takes(entry.age(SystemTime::now()))),
                    };
                    return match found {
                        Some(entry) => lead.bring(entry),
                        None => Found::Nothing(lead),
                    };
                }
                Err(waiting) => waiting,
            };
            // A lead that goes without a word leaves its last one.
            let ended = waiting.wait_for(|flight| *flight != Flight::Running).await.map_or(Flight::Failed, |flight| *flight);
            match self.kept(&key, wish) {
                Some(entry) => return Found::Answer(entry),
                None if ended == Flight::Failed => return Found::Nothing(Lead { cache: Arc::clone(self), key, flight: None }),
                // Kept, and gone again by now.
                None => {}
            }
        }
    }

    /// Leads, or gives who does.
    fn board(self: &Arc<Self>, key: Key) -> Result<Lead, watch::Receiver<Flight>> {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&key) {
            return Err(flight.clone());
        }
        let (sender, receiver) = watch::channel(Flight::Running);
        flights.insert(key, receiver);
        Ok(Lead { cache: Arc::clone(self), key, flight: Some(sender) })
    }

    fn kept(&self, key: &Key, wish: Wish) -> Option<Arc<Entry>> {
        if !wish.read {
            return None;
        }
        self.entries.get(key).filter(|entry| wish.takes(entry.age(SystemTime::now())))
    }

    /// Entries and their bytes.
    #[must_use]
    pub fn size(&self) -> [u64; 2] {
        self.entries.run_pending_tasks();
        [self.entries.entry_count(), self.entries.weighted_size()]
    }

    fn put(&self, key: Key, entry: Arc<Entry>) {
        self.entries.insert(key, entry);
        // At once: what is over the bound goes before more comes.
        self.entries.run_pending_tasks();
    }

    /// What another node has kept.
    async fn shared(&self, key: &Key) -> Option<Arc<Entry>> {
        let link = self.link.as_ref()?;
        let connection = link.connection()?;
        let reply = redis::cmd("GET").arg(name(key)).query_async::<Option<Vec<u8>>>(&mut connection.get()).await;
        let bytes = reply.inspect_err(|error| link.failed(&connection, error)).ok()??;
        let entry = decode(bytes.into())?;
        (entry.age(SystemTime::now()) < self.settings.ttl).then(|| Arc::new(entry))
    }

    fn share(&self, key: &Key, entry: &Arc<Entry>) {
        let Some(link) = self.link.clone() else { return };
        let Some(connection) = link.connection() else { return };
        let mut call = redis::cmd("SET");
        call.arg(name(key)).arg(encode(entry)).arg("PX").arg(u64::try_from(self.settings.ttl.as_millis()).unwrap_or(u64::MAX));
        tokio::spawn(async move {
            if let Err(error) = call.query_async::<()>(&mut connection.get()).await {
                debug!("cache: an answer is not shared: {error}");
                link.failed(&connection, &error);
            }
        });
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Key, watch::Receiver<Flight>>> {
        // Nothing that it guards is left half done by a panic.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// Where an answer would be kept.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Keeps an answer, for those who wait and those who come.
    pub fn keep(self, entry: Entry) {
        let entry = Arc::new(entry);
        self.cache.share(&self.key, &entry);
        self.land(entry);
    }

    /// The answer of another node.
    fn bring(self, entry: Arc<Entry>) -> Found {
        self.land(Arc::clone(&entry));
        Found::Answer(entry)
    }

    fn land(mut self, entry: Arc<Entry>) {
        self.cache.put(self.key, entry);
        if let Some(flight) = self.flight.take() {
            self.cache.flights().remove(&self.key);
            flight.send_replace(Flight::Kept);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.cache.flights().remove(&self.key);
            flight.send_replace(Flight::Failed);
        }
    }
}

fn name(key: &Key) -> String {
    format!("adit:answer:{}", HEXLOWER.encode(&key.0))
}

/// What stands before an answer's body in Redis: one line of JSON.
#[derive(Serialize, Deserialize)]
struct Head {
    form: Form,
    made_ms: u64,
    usage: Option<[u64; 5]>,
    reasoning: Option<u64>,
    stop: Option<String>,
    dropped: Vec<String>,
}

fn encode(entry: &Entry) -> Vec<u8> {
    let usage = entry.usage.map(|u| [u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cache_write_tokens, u.cache_write_1h_tokens]);
    let head = Head {
        form: entry.form,
        made_ms: entry.made.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        usage,
        reasoning: entry.usage.and_then(|usage| usage.reasoning_tokens),
        stop: entry.stop.clone(),
        dropped: entry.dropped.clone(),
    };
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend_from_slice(&entry.body);
    bytes
}

/// `None` for what this version does not understand.
fn decode(mut bytes: Bytes) -> Option<Entry> {
    let end = memchr::memchr(b'\n', &bytes)?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok()?;
    let body = bytes.split_off(end + 1);
    let usage = head.usage.map(|[input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens]| Usage {
        input_tokens,
        output_tokens,
        cache_read_tokens,
        cache_write_tokens,
        cache_write_1h_tokens,
        reasoning_tokens: head.reasoning,
    });
    let made = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(head.made_ms))?;
    Some(Entry { body, form: head.form, made, usage, stop: head.stop, dropped: head.dropped })
}

#[cfg(test)]
mod tests;
