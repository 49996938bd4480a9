//! What users have used and hold, in this process; what they have spent also outlives it.
//!
//! Accounts live in shards, each behind a lock that is held for the arithmetic of one request. An account that has nothing to tell any more is forgotten.

mod budgets;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use log::warn;

use crate::policy::limit::{Account, Ask, Now, Over, Standing, Used};
use budgets::{Budgets, Entry};

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
}

#[derive(Debug, Default)]
struct Shard {
    accounts: HashMap<Arc<str>, Account>,
    swept: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new(), budgets: Mutex::new(None), dirty: AtomicBool::new(false) }
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
        (held.map(|()| Reservation { limits: Arc::clone(self), user: Arc::clone(user), ask: Some(ask) }), standing)
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
        let mut spent = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let unsaved = shard.accounts.iter().filter(|(_, account)| !account.unsaved().at(now).is_nothing());
            spent.extend(unsaved.map(|(user, account)| Entry { user: Arc::clone(user), unsaved: account.unsaved(), spent: account.spent() }));
        }
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
                Err(error)
            }
        }
    }

    /// Writes down what is spent, soon after it is; for ever.
    pub async fn keep_saving(self: Arc<Self>) {
        let mut failing = false;
        loop {
            tokio::time::sleep(SAVE).await;
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

/// What is held for a request. Without a word of what it has used, it has used nothing.
#[derive(Debug)]
pub struct Reservation {
    limits: Arc<Limits>,
    user: Arc<str>,
    /// `None` when it is settled.
    ask: Option<Ask>,
}

impl Reservation {
    /// All that is held.
    #[must_use]
    pub fn all(&self) -> Used {
        self.ask.as_ref().map_or_else(Used::default, |ask| Used { tokens: ask.tokens, nano_usd: ask.nano_usd })
    }

    /// Whether money counts for its user.
    #[must_use]
    pub fn has_budget(&self) -> bool {
        self.ask.as_ref().is_some_and(|ask| ask.budget != Default::default())
    }

    /// Counts what was used in place of what is held.
    pub fn settle(mut self, used: Used) {
        self.give_back(used);
    }

    fn give_back(&mut self, used: Used) {
        if let Some(ask) = self.ask.take() {
            self.limits.settle(&self.user, &ask, used);
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
