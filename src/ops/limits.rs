//! What users have used and hold: in this process, where what they have spent also outlives it, or in Redis, where all nodes share it.
//!
//! Accounts of this process live in shards, each behind a lock that is held for the arithmetic of one request. An account that has nothing to tell any more is forgotten.

mod budgets;
mod shared;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use log::warn;

use crate::config::snapshot::OnRedisFailure;
use crate::ops::redis::Connection;
use crate::policy::limit::{Account, Ask, Now, Over, Spent, Standing, Used};
use budgets::{Budgets, Entry};
pub use shared::Ledger;
use shared::{Lease, Verdict};

/// Enough for the threads of a large machine.
const SHARDS: usize = 64;
/// How often a shard forgets what is idle, in seconds.
const SWEEP: u64 = 60;
/// Money that was spent is written down so often: what a crash loses.
const SAVE: Duration = Duration::from_secs(1);

/// The accounts of all users.
#[derive(Debug)]
pub struct Limits {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// Where budgets are written; `None`: nowhere.
    budgets: Mutex<Option<Budgets>>,
    /// Money was spent that is not written down.
    dirty: AtomicBool,
    /// Writes that failed.
    write_errors: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    accounts: HashMap<Arc<str>, Account>,
    swept: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            budgets: Mutex::new(None),
            dirty: AtomicBool::new(false),
            write_errors: AtomicU64::new(0),
        }
    }
}

/// The moment by the calendar.
#[must_use]
pub fn now() -> Now {
    Now::at(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

impl Limits {
    /// Reads what was spent before, and writes there from now on what is spent. A file that can't be read is kept aside.
    pub fn open(&self, folder: PathBuf) {
        let (store, now) = (Budgets::new(folder), now());
        match store.load() {
            Ok(users) => {
                for (user, spent) in users {
                    let user: Arc<str> = user.into();
                    self.shard(&user).accounts.entry(user).or_default().saved(Default::default(), spent, now);
                }
            }
            Err(error) => warn!("budgets: cannot read {}: {error}; what was spent before is not known", store.path().display()),
        }
        *lock(&self.budgets) = Some(store);
    }

    /// Holds what a request asks for, and tells where its user stands with it.
    ///
    /// # Errors
    /// When it is over a limit; nothing is counted then.
    pub fn reserve(self: &Arc<Self>, user: &Arc<str>, ask: Ask, now: Now) -> (Result<Reservation, Over>, Standing) {
        let mut shard = self.shard(user);
        shard.sweep(now);
        let account = shard.accounts.entry(Arc::clone(user)).or_default();
        let held = account.reserve(&ask, now);
        let standing = account.standing(&ask, now);
        drop(shard);
        (held.map(|()| Reservation { limits: Arc::clone(self), user: Arc::clone(user), ask: Some(ask), lease: None }), standing)
    }

    /// The same where all nodes share the accounts. While their server is away, this process decides, or nobody is let in, as configured; no request waits for it
    /// to come back.
    pub async fn reserve_shared(self: &Arc<Self>, ledger: &Arc<Ledger>, user: &Arc<str>, ask: Ask) -> Admission {
        let mut ask = ask;
        if let Some(connection) = ledger.link().connection() {
            // From here on it may be held: whoever leaves before the answer gives it back.
            let held = Reservation { limits: Arc::clone(self), user: Arc::clone(user), ask: Some(ask), lease: Some(ledger.lease(user)) };
            match held.confirm(&connection).await {
                Some(Verdict { held: Ok(()), standing, spent }) => {
                    self.learn(user, spent);
                    return Admission { held: Ok(held), standing, away: false };
                }
                Some(Verdict { held: Err(over), standing, spent }) => {
                    self.learn(user, spent);
                    held.forget();
                    return Admission { held: Err(Refused::Over(over)), standing, away: false };
                }
                None => ask = held.ask.clone().unwrap_or_default(),
            }
        }
        if ledger.link().on_failure() == OnRedisFailure::Deny {
            return Admission { held: Err(Refused::Away), standing: Standing::default(), away: true };
        }
        let (held, standing) = self.reserve(user, ask, now());
        Admission { held: held.map_err(Refused::Over), standing, away: true }
    }

    /// What all nodes have spent is where this one begins when it has to decide alone.
    fn learn(&self, user: &Arc<str>, spent: Spent) {
        if !spent.is_nothing() {
            self.shard(user).accounts.entry(Arc::clone(user)).or_default().learn(spent, Spent::default(), now());
        }
    }

    fn settle(&self, user: &Arc<str>, ask: &Ask, used: Used) {
        self.shard(user).accounts.entry(Arc::clone(user)).or_default().settle(ask, used, now());
        if used.nano_usd > 0 {
            self.dirty.store(true, Ordering::Release);
        }
    }

    /// Writes down what was spent, if something was.
    ///
    /// # Errors
    /// When the file can't be written: the next call tries again.
    pub fn save(&self) -> io::Result<()> {
        let store = lock(&self.budgets);
        let Some(store) = store.as_ref() else { return Ok(()) };
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let now = now();
        let spent = self.unsaved(now);
        match store.merge(&spent, now) {
            Ok(all) => {
                for (entry, all) in spent.iter().zip(all) {
                    if let Some(account) = self.shard(&entry.user).accounts.get_mut(&entry.user) {
                        account.saved(entry.unsaved, all, now);
                    }
                }
                Ok(())
            }
            Err(error) => {
                self.dirty.store(true, Ordering::Release);
                self.write_errors.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// How often [`Limits::save`] has failed.
    #[must_use]
    pub fn write_errors(&self) -> u64 {
        self.write_errors.load(Ordering::Relaxed)
    }

    /// Tells the other nodes what this one has let through on its own.
    ///
    /// # Errors
    /// While their server is away: the next call tries again.
    async fn share(&self, ledger: &Ledger) -> io::Result<()> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let now = now();
        let shared = async {
            let connection = ledger.link().connection().ok_or_else(|| io::Error::other("redis is away"))?;
            for Entry { user, unsaved, .. } in self.unsaved(now) {
                let all = ledger.add(&connection, &user, unsaved, now).await.map_err(io::Error::other)?;
                if let Some(account) = self.shard(&user).accounts.get_mut(&user) {
                    account.learn(all, unsaved, now);
                }
            }
            Ok(())
        };
        shared.await.inspect_err(|_| self.dirty.store(true, Ordering::Release))
    }

    /// Writes down what is spent, soon after it is, or tells the other nodes; for ever.
    pub async fn keep_saving(self: Arc<Self>, ledger: impl Fn() -> Option<Arc<Ledger>> + Send) {
        let mut failing = false;
        loop {
            tokio::time::sleep(SAVE).await;
            if let Some(ledger) = ledger() {
                // Told where the connection is kept.
                let _ = self.share(&ledger).await;
                continue;
            }
            let limits = Arc::clone(&self);
            let saved = tokio::task::spawn_blocking(move || limits.save()).await.unwrap_or(Ok(()));
            if let Err(error) = &saved
                && !failing
            {
                warn!("budgets: what is spent cannot be written down, and would be forgotten at a restart: {error}");
            }
            failing = saved.is_err();
        }
    }

    /// For a process that ends: counts what is not counted yet, and writes down what cannot be told to the other nodes.
    pub async fn finish(&self, ledger: Option<Arc<Ledger>>, patience: Duration) {
        if let Some(ledger) = ledger {
            let left = ledger.flush(tokio::time::Instant::now() + patience).await;
            if left > 0 {
                warn!("redis: what {left} requests have used is not counted there: it is away");
            }
            if self.share(&ledger).await.is_ok() {
                return;
            }
        }
        if let Err(error) = self.save() {
            warn!("budgets: what was spent is not written down: {error}");
        }
    }

    fn unsaved(&self, now: Now) -> Vec<Entry> {
        let mut entries = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let unsaved = shard.accounts.iter().filter(|(_, account)| !account.unsaved().at(now).is_nothing());
            entries.extend(unsaved.map(|(user, account)| Entry { user: Arc::clone(user), unsaved: account.unsaved(), spent: account.spent() }));
        }
        entries
    }

    fn shard(&self, user: &Arc<str>) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(user) as usize % SHARDS;
        lock(&self.shards[at])
    }
}

impl Shard {
    fn sweep(&mut self, now: Now) {
        if self.swept.abs_diff(now.second()) >= SWEEP {
            self.swept = now.second();
            self.accounts.retain(|_, account| !account.is_idle(now));
        }
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is over a limit.
    Over(Over),
    /// Nobody can say, and then nobody is let in.
    Away,
}

/// What becomes of a request where all nodes share the accounts.
#[derive(Debug)]
pub struct Admission {
    /// What is held for it, or why it is not let in.
    pub held: Result<Reservation, Refused>,
    /// Where its user stands.
    pub standing: Standing,
    /// The server could not be asked.
    pub away: bool,
}

/// What is held for a request. Without a word of what it has used, it has used nothing.
#[derive(Debug)]
pub struct Reservation {
    limits: Arc<Limits>,
    user: Arc<str>,
    /// `None` when it is settled.
    ask: Option<Ask>,
    /// Where it is held; `None`: in this process.
    lease: Option<Lease>,
}

impl Reservation {
    /// Whether money counts for its user.
    #[must_use]
    pub fn has_budget(&self) -> bool {
        self.ask.as_ref().is_some_and(|ask| ask.budget != Default::default())
    }

    /// Counts what was used in place of what is held.
    pub fn settle(mut self, used: Used) {
        self.give_back(used);
    }

    /// Asks the server whether it may be held; `None` when there is no telling.
    async fn confirm(&self, connection: &Connection) -> Option<Verdict> {
        let (lease, ask) = (self.lease.as_ref()?, self.ask.as_ref()?);
        lease.reserve(connection, &self.user, ask).await.ok()
    }

    /// It was never held.
    fn forget(mut self) {
        self.ask = None;
        if let Some(lease) = self.lease.take() {
            lease.forget();
        }
    }

    fn give_back(&mut self, used: Used) {
        let Some(ask) = self.ask.take() else { return };
        match self.lease.take() {
            Some(lease) => lease.settle(&self.user, ask, used),
            None => self.limits.settle(&self.user, &ask, used),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back(Used::default());
    }
}

/// Nothing that a lock guards here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
