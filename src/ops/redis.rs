//! The connection to the Redis or Valkey server that all nodes share: kept beside the requests, so that none of them ever waits for it to be made.
//!
//! ```text
//! away ─▶ connect, PING ─▶ up ─▶ a call fails for a broken connection, or a PING does ─▶ away
//!   ▲                                                                                     │
//!   └───────────────────────── a pause, doubling ◀────────────────────────────────────────┘
//! ```
//!
//! One connection carries all calls, in the order in which they are made, without waiting for one another's answers. Not here: what is kept there.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use log::{info, warn};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::watch;

use crate::config::snapshot::{OnRedisFailure, Redis};

/// For a new connection, TLS and greeting included.
const CONNECT: Duration = Duration::from_secs(2);
/// The pause behind a first failure; it doubles up to the most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(5);
/// Seconds between two words about calls that the server refuses.
const BETWEEN_WORDS: u64 = 10;
/// How often a connection on which nothing fails is tried.
const PULSE: Duration = Duration::from_secs(1);

/// A server that all nodes share.
#[derive(Debug)]
pub struct Link {
    redis: Redis,
    state: watch::Sender<Option<Connection>>,
    /// Connections so far.
    made: AtomicU64,
    spawned: AtomicBool,
    began: Instant,
    /// The second, since it began, before which nothing more is said of calls that the server refuses.
    told: AtomicU64,
}

/// A connection that works, as far as is known.
#[derive(Clone)]
pub struct Connection {
    inner: MultiplexedConnection,
    /// Which one it is: who finds it broken must not drop its successor.
    number: u64,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Connection {
    /// For one call; calls of several run beside each other.
    #[must_use]
    pub fn get(&self) -> MultiplexedConnection {
        self.inner.clone()
    }
}

impl Link {
    /// Without a connection; [`Link::spawn`] makes it.
    #[must_use]
    pub fn new(redis: &Redis) -> Arc<Self> {
        Arc::new(Link {
            redis: redis.clone(),
            state: watch::Sender::new(None),
            made: AtomicU64::new(0),
            spawned: AtomicBool::new(false),
            began: Instant::now(),
            told: AtomicU64::new(0),
        })
    }

    /// For the next configuration: this one, if nothing has changed.
    #[must_use]
    pub fn renewed(self: &Arc<Self>, redis: &Redis) -> Arc<Self> {
        if self.redis == *redis { Arc::clone(self) } else { Link::new(redis) }
    }

    /// Starts the background work, once, in the current tokio runtime. It ends when nobody needs the link any more.
    pub fn spawn(self: &Arc<Self>) {
        if !self.spawned.swap(true, Ordering::Relaxed) {
            tokio::spawn(keep(Arc::downgrade(self)));
        }
    }

    /// The connection; `None` while there is none. Never waits.
    #[must_use]
    pub fn connection(&self) -> Option<Connection> {
        self.state.borrow().clone()
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.borrow().is_some()
    }

    /// Waits for a connection.
    pub async fn up(&self) -> Connection {
        let mut state = self.state.subscribe();
        loop {
            if let Some(connection) = state.borrow_and_update().clone() {
                return connection;
            }
            // The sender is in `self`.
            let _ = state.changed().await;
        }
    }

    /// A call has failed. If it is the connection that is broken, nobody else is to try it.
    pub fn failed(&self, connection: &Connection, error: &RedisError) {
        if !breaks(error) {
            let (now, told) = (self.began.elapsed().as_secs(), self.told.load(Ordering::Relaxed));
            // The first one, and then one in a while: it may be every call.
            if now >= told && self.told.compare_exchange(told, now + BETWEEN_WORDS, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                warn!("redis: the server refuses a call: {error}");
            }
            return;
        }
        let dropped = self.state.send_if_modified(|state| {
            let same = state.as_ref().is_some_and(|current| current.number == connection.number);
            if same {
                *state = None;
            }
            same
        });
        if dropped {
            warn!("redis: the connection is lost: {error}");
        }
    }

    /// Takes a name that only one may have, for a while; false if somebody has it. `None` when there is no telling.
    pub async fn claim(&self, name: &str, ttl: Duration) -> Option<bool> {
        let connection = self.connection()?;
        let mut call = redis::cmd("SET");
        call.arg(name).arg(1).arg("NX").arg("EX").arg(ttl.as_secs());
        let answer = call.query_async::<Option<String>>(&mut connection.get()).await;
        answer.inspect_err(|error| self.failed(&connection, error)).ok().map(|set| set.is_some())
    }

    /// What happens to requests without it.
    #[must_use]
    pub fn on_failure(&self) -> OnRedisFailure {
        self.redis.on_failure
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        let client = Client::open(self.redis.url.expose())?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(self.redis.timeout));
        let mut inner = client.get_multiplexed_async_connection_with_config(&config).await?;
        // A server that still reads its data takes connections and nothing else.
        redis::cmd("PING").query_async::<()>(&mut inner).await?;
        Ok(Connection { inner, number: self.made.fetch_add(1, Ordering::Relaxed) })
    }
}

/// Whether a connection on which this came is of no more use, or its server.
fn breaks(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly))
}

/// Sees to it that there is a connection, for as long as somebody needs it.
async fn keep(link: Weak<Link>) {
    let mut pause = PAUSE;
    let mut told = false;
    loop {
        let Some(strong) = link.upgrade() else { return };
        match strong.connect().await {
            Ok(connection) => {
                info!("redis: connected");
                strong.state.send_replace(Some(connection.clone()));
                let lost = strong.state.subscribe();
                drop(strong);
                watch_over(&link, &connection, lost).await;
                (pause, told) = (PAUSE, false);
            }
            Err(error) => {
                if !told {
                    warn!("redis: no connection: {error}; trying again, and doing without it as `on_redis_failure` says");
                }
                told = true;
                drop(strong);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

/// Ends when a connection is lost, or nobody needs it.
async fn watch_over(link: &Weak<Link>, connection: &Connection, mut state: watch::Receiver<Option<Connection>>) {
    loop {
        tokio::select! {
            lost = state.wait_for(Option::is_none) => {
                drop(lost);
                return;
            }
            () = tokio::time::sleep(PULSE) => {}
        }
        let pulse = redis::cmd("PING").query_async::<()>(&mut connection.get()).await;
        let Some(link) = link.upgrade() else { return };
        if let Err(error) = pulse {
            link.failed(connection, &error);
        }
    }
}
