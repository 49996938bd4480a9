//! Requests that an OptiLLM server is working on, and the calls that it makes for them: whose they are, and what they took.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::chat::Usage;
use crate::ops::random;
use crate::policy::auth::Principal;
use crate::policy::auth::inner::Claims;

/// How long an answer waits for the booking of calls that were answered before it: an instant, unless one of them is still running.
const PATIENCE: Duration = Duration::from_secs(1);

/// All requests of this process that an OptiLLM server works on.
#[derive(Debug)]
pub(in crate::proxy) struct Parents {
    /// What the ids of this process begin with: one that is not listed any more has ended, while another process' may be well.
    node: [u8; 8],
    /// By the id of their token. Locked for a look-up, never over an await.
    listed: Mutex<HashMap<[u8; 16], Arc<Parent>>>,
}

impl Default for Parents {
    fn default() -> Self {
        Parents { node: random::bytes(), listed: Mutex::default() }
    }
}

/// A request that calls are made for.
#[derive(Debug)]
pub(in crate::proxy) struct Parent {
    /// Whose it is, and so whose they are.
    pub(in crate::proxy) principal: Option<Principal>,
    booked: watch::Sender<Booked>,
}

/// What calls took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) begun: u32,
    ended: u32,
    /// `None`: nobody said.
    pub(super) usage: Option<Usage>,
}

/// Keeps a request among the parents until it ends.
#[derive(Debug)]
pub(super) struct Listed<'p> {
    parents: &'p Parents,
    id: [u8; 16],
    parent: Arc<Parent>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.parents.lock().remove(&self.id);
    }
}

/// A call that is made for another request. Booked when it goes.
#[derive(Debug)]
pub(in crate::proxy) struct Inner {
    /// The id of that request.
    pub(in crate::proxy) parent: String,
    /// Where it is, if it came to this process and has not ended.
    live: Option<Arc<Parent>>,
    /// What the call took, once that is known.
    pub(in crate::proxy) usage: Option<Usage>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(parent) = &self.live else { return };
        parent.booked.send_modify(|booked| {
            booked.ended += 1;
            booked.usage = [booked.usage, self.usage].into_iter().flatten().reduce(Usage::plus);
        });
    }
}

impl Parents {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Arc<Parent>>> {
        // A poisoned lock would mean a panic inside the map.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id for a request.
    pub(super) fn new_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        let (node, own) = id.split_at_mut(self.node.len());
        node.copy_from_slice(&self.node);
        own.copy_from_slice(&random::bytes::<8>());
        id
    }

    /// Adds a request that calls will be made for.
    pub(super) fn list(&self, id: [u8; 16], principal: Option<Principal>) -> Listed<'_> {
        let parent = Arc::new(Parent { principal, booked: watch::Sender::default() });
        self.lock().insert(id, Arc::clone(&parent));
        Listed { parents: self, id, parent }
    }

    /// A call for one of them, and whose it is where that one is known here; `None` for one that has ended: nobody waits for what comes of it.
    pub(in crate::proxy) fn call(&self, claims: Claims) -> Option<(Inner, Option<Principal>)> {
        let live = self.lock().get(&claims.id).cloned();
        if live.is_none() && claims.id.starts_with(&self.node) {
            return None;
        }
        if let Some(parent) = &live {
            parent.booked.send_modify(|booked| booked.begun += 1);
        }
        let principal = live.as_ref().and_then(|parent| parent.principal.clone());
        Some((Inner { parent: claims.request, live, usage: None }, principal))
    }
}

impl Listed<'_> {
    /// What its calls took, as far as they have ended.
    pub(super) fn booked(&self) -> Booked {
        *self.parent.booked.borrow()
    }

    /// The same, once those that were answered are booked.
    pub(super) async fn settled(&self) -> Booked {
        let mut changes = self.parent.booked.subscribe();
        let settled = changes.wait_for(|booked| booked.ended >= booked.begun);
        let _ = tokio::time::timeout(PATIENCE, settled).await;
        self.booked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(id: [u8; 16]) -> Claims {
        Claims { id, user: "alice".to_owned(), request: "r".to_owned() }
    }

    #[tokio::test]
    async fn calls_are_booked_to_the_request_they_are_made_for() {
        let parents = Parents::default();
        let usage = |tokens| Some(Usage { input_tokens: tokens, ..Usage::default() });
        let id = parents.new_id();
        let one = parents.list(id, None);
        let other = parents.list(parents.new_id(), None);
        let (mut first, _) = parents.call(claims(id)).unwrap();
        let (second, _) = parents.call(claims(id)).unwrap();
        first.usage = usage(3);
        drop(first);
        drop(second);
        let (mut third, _) = parents.call(claims(id)).unwrap();
        third.usage = usage(4);
        let waiting = async {
            tokio::task::yield_now().await;
            drop(third);
        };
        let (booked, ()) = tokio::join!(one.settled(), waiting);
        assert_eq!((booked.begun, booked.usage), (3, usage(7)));
        assert_eq!(other.booked(), Booked::default());
        drop(one);
        assert!(parents.call(claims(id)).is_none(), "the request has ended");
        let (elsewhere, principal) = parents.call(claims([1; 16])).unwrap();
        assert!(elsewhere.live.is_none() && principal.is_none(), "another node may know it");
        assert_eq!(parents.lock().len(), 1);
    }
}
