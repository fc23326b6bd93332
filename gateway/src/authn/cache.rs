//! What has been settled about tokens, by their SHA-256, for seconds.
//!
//! An entry is also the meeting point of callers who ask about the same token at once: one settles,
//! the others wait. If that one goes away, the next takes over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::OnceCell;

use super::{Unauthenticated, principal::Principal};

pub(super) type TokenDigest = [u8; 32];

pub(super) type Outcome = Result<Arc<Principal>, Unauthenticated>;

/// An outcome and how long it holds.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    pub(super) until: Instant,
}

type Entry = Arc<OnceCell<Settled>>;

pub(super) struct TokenCache {
    entries: Mutex<HashMap<TokenDigest, Entry>>,
    capacity: usize,
}

pub(super) fn token_digest(token: &str) -> TokenDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

impl TokenCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: Mutex::default(),
            capacity,
        }
    }

    /// The outcome that still holds, if there is one.
    pub(super) fn get(&self, token: &TokenDigest) -> Option<Outcome> {
        let entries = self.entries();
        let settled = entries.get(token)?.get()?;
        holds(settled).then(|| settled.outcome.clone())
    }

    /// The outcome that still holds, else what `settle` says.
    pub(super) async fn get_or_settle<F>(
        &self,
        token: TokenDigest,
        settle: impl FnOnce() -> F,
    ) -> Outcome
    where
        F: Future<Output = Settled>,
    {
        let entry = self.entry(token);
        entry.get_or_init(settle).await.outcome.clone()
    }

    fn entry(&self, token: TokenDigest) -> Entry {
        let mut entries = self.entries();
        if let Some(entry) = entries
            .get(&token)
            .filter(|entry| entry.get().is_none_or(holds))
        {
            return Arc::clone(entry);
        }
        if entries.len() >= self.capacity {
            make_room(&mut entries, self.capacity);
        }
        let entry = Entry::default();
        entries.insert(token, Arc::clone(&entry));
        entry
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<TokenDigest, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds(settled: &Settled) -> bool {
    Instant::now() < settled.until
}

/// Drops what no longer holds, and where that is too little any quarter: it costs a second look at those tokens.
fn make_room(entries: &mut HashMap<TokenDigest, Entry>, capacity: usize) {
    entries.retain(|_, entry| entry.get().is_none_or(holds));
    let surplus = (entries.len() + 1 + capacity / 4).saturating_sub(capacity);
    if entries.len() >= capacity {
        let victims: Vec<TokenDigest> = entries.keys().take(surplus).copied().collect();
        victims.iter().for_each(|victim| {
            entries.remove(victim);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::sync::Notify;

    use super::*;

    fn refused(until: Instant) -> Settled {
        Settled {
            outcome: Err(Unauthenticated::RefusedByAuthority),
            until,
        }
    }

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn an_outcome_is_kept_while_it_holds_and_settled_again_after() {
        let cache = TokenCache::new(8);
        let settled = AtomicUsize::new(0);
        let ask = async |until| {
            let settle = || async {
                settled.fetch_add(1, Ordering::SeqCst);
                refused(until)
            };
            drop(cache.get_or_settle([1; 32], settle).await);
            settled.load(Ordering::SeqCst)
        };
        assert_eq!(ask(Instant::now()).await, 1);
        assert!(cache.get(&[1; 32]).is_none());
        assert_eq!(ask(in_an_hour()).await, 2);
        assert_eq!(ask(in_an_hour()).await, 2);
        assert!(cache.get(&[1; 32]).is_some());
    }

    #[tokio::test]
    async fn callers_of_one_token_share_one_settlement_even_if_the_first_goes_away() {
        let cache = Arc::new(TokenCache::new(8));
        let settled = Arc::new(AtomicUsize::new(0));
        let started = Arc::new(Notify::new());
        let abandoned = {
            let (cache, started) = (Arc::clone(&cache), Arc::clone(&started));
            tokio::spawn(async move {
                let never = || async {
                    started.notify_one();
                    std::future::pending().await
                };
                cache.get_or_settle([1; 32], never).await
            })
        };
        started.notified().await;
        let followers: Vec<_> = (0..8)
            .map(|_| {
                let (cache, settled) = (Arc::clone(&cache), Arc::clone(&settled));
                tokio::spawn(async move {
                    let settle = || async {
                        settled.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        refused(in_an_hour())
                    };
                    cache.get_or_settle([1; 32], settle).await
                })
            })
            .collect();
        abandoned.abort();
        for follower in followers {
            let outcome = follower.await.expect("no panic");
            assert_eq!(
                outcome.expect_err("refused").reason(),
                "refused_by_authority"
            );
        }
        assert_eq!(settled.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_cache_never_exceeds_its_capacity() {
        let cache = TokenCache::new(16);
        for number in 0..200_u8 {
            drop(
                cache
                    .get_or_settle([number; 32], || async { refused(in_an_hour()) })
                    .await,
            );
            assert!(cache.entries().len() <= 16);
            assert!(cache.get(&[number; 32]).is_some());
        }
    }
}
