//! Accounts that all nodes share, in Redis: one atomic script for what a request asks for, one for what it has used.
//!
//! ```text
//! reserve ─▶ a lease ─▶ renewed while the request runs ─▶ settle
//!                 └──── not renewed: its node is gone, all of it counts
//! ```
//!
//! Settling happens behind the requests, again and again until it is done: what was spent is not lost with a connection. What a node lets through on its
//! own while the server is away is told to it later, as a sum that may be told twice.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::future::join_all;
use log::warn;
use redis::{RedisError, Script, ScriptInvocation};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{lock, now};
use crate::config::snapshot::Redis;
use crate::ops::random;
use crate::ops::redis::{Connection, Link};
use crate::policy::limit::{Ask, Counted, Limit, Now, Over, Spent, Standing, Used};

/// How long a lease lasts that nobody renews: what a node leaves behind that has died.
const LEASE_SECONDS: u64 = 60;
/// How often leases are renewed.
const RENEWAL: Duration = Duration::from_secs(15);
/// Settled at a time.
const BATCH: usize = 128;
/// Renewed in one call.
const RENEWED: usize = 512;
/// Redis counts in 64 bits and its scripts in 53: no request holds more tokens and money than these, and no sum of them overflows.
const MOST_TOKENS: u64 = 1 << 40;
const MOST_NANO_USD: u64 = 1 << 52;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("shared.lua"), include_str!($file))))
    };
}

static RESERVE: LazyLock<Script> = script!("reserve.lua");
static SETTLE: LazyLock<Script> = script!("settle.lua");
static RENEW: LazyLock<Script> = script!("renew.lua");
static ADD: LazyLock<Script> = script!("add.lua");

/// Accounts in Redis, as this node sees them.
#[derive(Debug)]
pub struct Ledger {
    link: Arc<Link>,
    /// This process, among all that write there.
    node: String,
    leases: AtomicU64,
    live: Arc<Live>,
    settled: UnboundedSender<Settlement>,
    /// Taken by the worker.
    receiver: Mutex<Option<UnboundedReceiver<Settlement>>>,
    spawned: AtomicBool,
    /// What this node has let through on its own and the server has confirmed.
    told: Mutex<HashMap<Arc<str>, Spent>>,
}

/// Leases of requests that run, with their users; and how many settlements are on their way.
#[derive(Debug, Default)]
struct Live {
    leases: Mutex<HashMap<String, Arc<str>>>,
    unsettled: watch::Sender<usize>,
}

/// What a request holds.
#[derive(Debug)]
pub(super) struct Lease {
    ledger: Arc<Ledger>,
    id: String,
}

/// What is to be counted in the place of a lease.
#[derive(Debug)]
struct Settlement {
    lease: String,
    user: Arc<str>,
    ask: Ask,
    used: Used,
}

/// What the server says to a request.
pub(super) struct Verdict {
    pub(super) held: Result<(), Over>,
    pub(super) standing: Standing,
    pub(super) spent: Spent,
}

impl Ledger {
    /// Over a connection; [`Ledger::spawn`] starts what works behind the requests.
    #[must_use]
    pub fn new(link: &Arc<Link>) -> Arc<Self> {
        let (settled, receiver) = unbounded_channel();
        Arc::new(Ledger {
            link: Arc::clone(link),
            node: format!("{:016x}", u64::from_ne_bytes(random::bytes())),
            leases: AtomicU64::new(0),
            live: Arc::default(),
            settled,
            receiver: Mutex::new(Some(receiver)),
            spawned: AtomicBool::new(false),
            told: Mutex::default(),
        })
    }

    /// For the next configuration: this one, if nothing has changed.
    #[must_use]
    pub fn renewed(self: &Arc<Self>, redis: &Redis) -> Arc<Self> {
        let link = self.link.renewed(redis);
        if Arc::ptr_eq(&link, &self.link) { Arc::clone(self) } else { Ledger::new(&link) }
    }

    /// The connection to where it is kept.
    #[must_use]
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Starts the background work, once, in the current tokio runtime. It ends when nobody holds anything any more.
    pub fn spawn(&self) {
        self.link.spawn();
        if self.spawned.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(receiver) = lock(&self.receiver).take() {
            tokio::spawn(settle_all(Arc::clone(&self.link), Arc::clone(&self.live), receiver));
        }
    }

    /// Waits until all that was used is counted, or the time is over; gives how many requests are not.
    pub async fn flush(&self, until: Instant) -> usize {
        let mut unsettled = self.live.unsettled.subscribe();
        // The sender is in `self`; whether it was in time shows in the number.
        let _ = timeout_at(until, unsettled.wait_for(|count| *count == 0)).await;
        *unsettled.borrow()
    }

    /// Makes a lease that the server does not know yet. Whatever becomes of it, it has to be given back, unless the server has refused it.
    pub(super) fn lease(self: &Arc<Self>, user: &Arc<str>) -> Lease {
        let id = format!("{}:{}", self.node, self.leases.fetch_add(1, Ordering::Relaxed));
        lock(&self.live.leases).insert(id.clone(), Arc::clone(user));
        Lease { ledger: Arc::clone(self), id }
    }

    /// Tells the server what this node has let through on its own besides, and gives what all nodes have spent.
    pub(super) async fn add(&self, connection: &Connection, user: &Arc<str>, unsaved: Spent, now: Now) -> Result<Spent, RedisError> {
        let all = lock(&self.told).get(user).copied().unwrap_or_default().plus(unsaved, now);
        let keys = Keys::of(user);
        let mut call = keys.call(&ADD);
        call.key(format!("{{adit:{user}}}:apart:{}", self.node));
        call.arg(all.day).arg(all.in_day.min(MOST_NANO_USD)).arg(all.month).arg(all.in_month.min(MOST_NANO_USD));
        let reply: [u64; 4] = self.invoke(connection, &call).await?;
        let mut told = lock(&self.told);
        // What was of another month is nothing that a sum could still hold.
        told.retain(|_, spent| !spent.at(now).is_nothing());
        told.insert(Arc::clone(user), all);
        Ok(spent(reply))
    }

    async fn invoke<T: redis::FromRedisValue>(&self, connection: &Connection, call: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        call.invoke_async(&mut connection.get()).await.inspect_err(|error| self.link.failed(connection, error))
    }
}

impl Lease {
    /// Asks the server for it.
    ///
    /// # Errors
    /// When it does not answer: nobody knows then whether the lease is held.
    pub(super) async fn reserve(&self, connection: &Connection, user: &str, ask: &Ask) -> Result<Verdict, RedisError> {
        let keys = Keys::of(user);
        let mut call = keys.call(&RESERVE);
        let number = |limit: Option<u64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        call.arg(&self.id).arg(LEASE_SECONDS).arg(ask.tokens.min(MOST_TOKENS)).arg(ask.nano_usd.min(MOST_NANO_USD));
        call.arg(number(ask.budget.daily_nano_usd)).arg(number(ask.budget.monthly_nano_usd));
        for (scope, limits) in &ask.scopes {
            call.arg(&**scope).arg(number(limits.requests_per_minute)).arg(number(limits.tokens_per_minute)).arg(number(limits.concurrent_requests));
        }
        let reply: Vec<u64> = self.ledger.invoke(connection, &call).await?;
        verdict(&reply, ask, now()).ok_or_else(|| RedisError::from((redis::ErrorKind::UnexpectedReturnType, "a reply of another script")))
    }

    /// The server has refused it: there is nothing to give back.
    pub(super) fn forget(self) {
        lock(&self.ledger.live.leases).remove(&self.id);
    }

    /// Counts what was used in its place, soon.
    pub(super) fn settle(self, user: &Arc<str>, ask: Ask, used: Used) {
        lock(&self.ledger.live.leases).remove(&self.id);
        self.ledger.live.unsettled.send_modify(|count| *count += 1);
        // Not bounded, for it must not lose anything: there are never more in it than requests have run since the server was last seen, and those it has let in.
        let _ = self.ledger.settled.send(Settlement { lease: self.id, user: Arc::clone(user), ask, used });
    }
}

/// The names of one user's account. Between braces is what a cluster chooses the place by: all of an account is in one.
struct Keys([String; 3]);

impl Keys {
    fn of(user: &str) -> Self {
        Keys(["minute", "leases", "spent"].map(|part| format!("{{adit:{user}}}:{part}")))
    }

    fn call<'s>(&self, script: &'s Script) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        for key in &self.0 {
            call.key(key);
        }
        call
    }
}

fn spent([day, in_day, month, in_month]: [u64; 4]) -> Spent {
    Spent { day, in_day, month, in_month }
}

/// The answer of `reserve.lua`; `None` if it is none of its.
fn verdict(reply: &[u64], ask: &Ask, now: Now) -> Option<Verdict> {
    let ([over, pause], rest) = reply.split_first_chunk()?;
    let (money, counted) = rest.split_first_chunk::<4>()?;
    let mut standing = Standing::default();
    for ((_, limits), &[requests, requests_gone, tokens, tokens_gone]) in ask.scopes.iter().zip(counted.as_chunks().0) {
        standing.tighten(limits, Counted { requests, requests_gone, tokens, tokens_gone });
    }
    let limit = match over {
        0 => None,
        1 => Some(Limit::Requests),
        2 => Some(Limit::Tokens),
        3 => Some(Limit::Concurrent),
        4 => Some(Limit::Daily),
        5 => Some(Limit::Monthly),
        _ => return None,
    };
    let held = limit.map_or(Ok(()), |limit| Err(Over { limit, retry_after: if *pause == 0 { now.until_next(limit) } else { *pause } }));
    (counted.len() == ask.scopes.len() * 4).then_some(Verdict { held, standing, spent: spent(*money) })
}

/// Counts what requests have used, and keeps the leases of those that run, until nobody is left who could hold any.
async fn settle_all(link: Arc<Link>, live: Arc<Live>, mut receiver: UnboundedReceiver<Settlement>) {
    let mut waiting: VecDeque<Settlement> = VecDeque::new();
    let mut renewal = tokio::time::interval(RENEWAL);
    let mut closed: Option<Instant> = None;
    while closed.is_none() || !waiting.is_empty() {
        let mut fresh = Vec::new();
        let hopeless = closed.unwrap_or_else(Instant::now) + Duration::from_secs(LEASE_SECONDS);
        tokio::select! {
            count = receiver.recv_many(&mut fresh, BATCH), if closed.is_none() => closed = (count == 0).then(Instant::now),
            connection = link.up(), if !waiting.is_empty() => settle_some(&link, &connection, &live, &mut waiting).await,
            _ = renewal.tick() => renew(&link, &live).await,
            // Nobody needs the server any more, and what it holds has ended by now.
            () = tokio::time::sleep_until(hopeless), if closed.is_some() => {
                warn!("redis: what {} requests have used is not counted there: it is away for too long", waiting.len());
                return;
            }
        }
        waiting.extend(fresh);
    }
}

/// Settles some of those that wait; what fails waits on.
async fn settle_some(link: &Link, connection: &Connection, live: &Live, waiting: &mut VecDeque<Settlement>) {
    let some: Vec<Settlement> = waiting.drain(..waiting.len().min(BATCH)).collect();
    let results = join_all(some.iter().map(|settlement| settle(connection, settlement))).await;
    let mut done = 0;
    for (settlement, result) in some.into_iter().zip(results).rev() {
        match result {
            Ok(()) => done += 1,
            Err(error) => {
                link.failed(connection, &error);
                waiting.push_front(settlement);
            }
        }
    }
    live.unsettled.send_modify(|count| *count -= done);
    if done == 0 {
        // The server is there and refuses: it must not be asked without a pause.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn settle(connection: &Connection, settlement: &Settlement) -> Result<(), RedisError> {
    let Settlement { lease, user, ask, used } = settlement;
    let keys = Keys::of(user);
    let mut call = keys.call(&SETTLE);
    call.arg(lease).arg(used.tokens.min(MOST_TOKENS)).arg(used.nano_usd.min(MOST_NANO_USD));
    call.arg(ask.tokens.min(MOST_TOKENS)).arg(ask.nano_usd.min(MOST_NANO_USD));
    for (scope, _) in &ask.scopes {
        call.arg(&**scope);
    }
    call.invoke_async::<()>(&mut connection.get()).await
}

/// Keeps the leases of requests that run.
async fn renew(link: &Link, live: &Live) {
    let Some(connection) = link.connection() else { return };
    let mut users: HashMap<Arc<str>, Vec<String>> = HashMap::new();
    for (lease, user) in &*lock(&live.leases) {
        users.entry(Arc::clone(user)).or_default().push(lease.clone());
    }
    let calls = users.iter().flat_map(|(user, leases)| leases.chunks(RENEWED).map(move |leases| (user, leases)));
    let calls = calls.map(async |(user, leases)| {
        let keys = Keys::of(user);
        let mut call = keys.call(&RENEW);
        call.arg(LEASE_SECONDS);
        for lease in leases {
            call.arg(lease);
        }
        call.invoke_async::<()>(&mut connection.get()).await
    });
    for result in join_all(calls).await {
        if let Err(error) = result {
            link.failed(&connection, &error);
        }
    }
}
