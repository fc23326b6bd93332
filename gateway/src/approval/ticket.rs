//! One call's part in a request for approval, from the question to its use or its withdrawal.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{Approvals, Question, withdrawal};
use crate::{
    api::v1alpha1::approval_request::ApprovalRequest,
    informer::Key,
    policy::{NotApproved, usable},
};

/// A call that waits. Dropping it while people may still decide withdraws the request, unless others wait for it too.
pub struct Ticket<'a> {
    pub(super) approvals: &'a Approvals,
    pub(super) key: Key,
    /// It stays to be decided when nobody waits any more.
    kept: bool,
}

/// How many calls of this gateway wait for each request.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<Key, usize>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, key: &Key) {
        *self.lock().entry(key.clone()).or_default() += 1;
    }

    /// Whether it was the last.
    fn leave(&self, key: &Key) -> bool {
        let mut waiting = self.lock();
        let Some(count) = waiting.get_mut(key) else {
            return false;
        };
        *count -= 1;
        let was_last = *count == 0;
        if was_last {
            waiting.remove(key);
        }
        was_last
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }
}

impl<'a> Ticket<'a> {
    pub(super) fn new(approvals: &'a Approvals, key: Key) -> Self {
        approvals.waiting.enter(&key);
        Self {
            approvals,
            key,
            kept: false,
        }
    }

    /// Namespace and name of the request.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// As last heard; none where it has not been heard of yet.
    pub fn request(&self) -> Option<Arc<ApprovalRequest>> {
        self.approvals.heard(&self.key)
    }

    /// The request stays for people to decide on, and for the same call to come again.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Waits until the call may pass, or is known not to. Never answers [`NotApproved::Open`].
    pub async fn settled(&self, question: &Question) -> Result<(), NotApproved> {
        let mut known = self.approvals.known.clone();
        let mut expires = question.spec.expires_at;
        let mut was_there = false;
        loop {
            let heard = known.borrow_and_update().objects.get(&self.key).cloned();
            let now = Timestamp::now();
            match heard {
                Some(Ok(request)) => {
                    was_there = true;
                    expires = request.spec.expires_at;
                    let (spec, claim) = (&question.spec, &question.claim);
                    match usable(&request, spec, claim, now) {
                        Err(NotApproved::Open { .. }) => {}
                        settled => return settled.map(drop),
                    }
                }
                // A new field, or a hand that should not have written there: nobody here can tell what it means.
                Some(Err(_)) => return Err(NotApproved::OtherCall),
                None if was_there => return Err(NotApproved::Withdrawn),
                None if now >= expires => return Err(NotApproved::Expired),
                None => {}
            }
            tokio::select! {
                changed = known.changed() => if changed.is_err() {
                    return Err(NotApproved::Expired);
                },
                () = tokio::time::sleep(until(expires, now)) => {}
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let was_last = self.approvals.waiting.leave(&self.key);
        if was_last && !self.kept {
            withdrawal::start(self.approvals, &self.key);
        }
    }
}

/// A moment longer, so that it has come when the sleep is over.
fn until(time: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(time.duration_since(now)).unwrap_or_default();
    left + Duration::from_millis(1)
}
