//! The keys of one issuer: fetched when first needed, refreshed when they age or a key is unknown,
//! kept through an outage of the issuer for a bounded time.
//!
//! Tokens with unknown key ids are free to make, so at most one fetch per `retry_after` is started, whoever
//! asks. A fetch runs in a task of its own: a caller that goes away does not undo it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

use super::Unauthenticated;

pub use self::origin::KeysError;
pub(super) use self::origin::{KeySet, Origin, check_file};

mod origin;

/// When keys are fetched again and how long they are good without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freshness {
    pub(super) refresh_after: Duration,
    pub(super) retry_after: Duration,
    pub(super) keep_for: Duration,
}

/// One fetched key set. `T` is what the owner makes of it.
pub(super) struct Loaded<T> {
    pub(super) keys: T,
    at: Instant,
}

struct Latest<T> {
    loaded: Option<Arc<Loaded<T>>>,
    attempted: Option<Instant>,
    error: Option<Arc<KeysError>>,
}

struct Shared<T> {
    origin: Origin,
    prepare: Box<dyn Fn(KeySet) -> T + Send + Sync>,
    freshness: Freshness,
    latest: Mutex<Latest<T>>,
}

pub(super) struct IssuerKeys<T> {
    shared: Arc<Shared<T>>,
    refreshing: Arc<tokio::sync::Mutex<()>>,
    fetches: TaskTracker,
}

impl<T: Send + Sync + 'static> IssuerKeys<T> {
    pub(super) fn new(
        origin: Origin,
        freshness: Freshness,
        prepare: impl Fn(KeySet) -> T + Send + Sync + 'static,
    ) -> Self {
        let latest = Latest {
            loaded: None,
            attempted: None,
            error: None,
        };
        Self {
            shared: Arc::new(Shared {
                origin,
                prepare: Box::new(prepare),
                freshness,
                latest: Mutex::new(latest),
            }),
            refreshing: Arc::default(),
            fetches: TaskTracker::new(),
        }
    }

    /// The keys to verify with now.
    pub(super) async fn current(&self) -> Result<Arc<Loaded<T>>, Unauthenticated> {
        let known = self.shared.usable();
        match &known {
            Some(loaded) if loaded.at.elapsed() < self.shared.freshness.refresh_after => {}
            Some(_) => self.refresh_behind(),
            None => self.refresh(None).await,
        }
        match known.or_else(|| self.shared.usable()) {
            Some(loaded) => Ok(loaded),
            None => Err(Unauthenticated::KeysUnavailable(self.shared.last_error())),
        }
    }

    /// Newer keys than `seen`, which lacked the one that a token names; `None` where there are none.
    pub(super) async fn newer_than(&self, seen: &Arc<Loaded<T>>) -> Option<Arc<Loaded<T>>> {
        self.refresh(Some(seen)).await;
        self.shared
            .usable()
            .filter(|latest| !Arc::ptr_eq(latest, seen))
    }

    async fn refresh(&self, seen: Option<&Arc<Loaded<T>>>) {
        let turn = Arc::clone(&self.refreshing).lock_owned().await;
        if self.shared.begin_attempt(seen) {
            let fetch = self.fetches.spawn(fetch(Arc::clone(&self.shared), turn));
            if let Err(error) = fetch.await {
                tracing::error!(%error, "fetching an issuer's keys ended abnormally");
            }
        }
    }

    fn refresh_behind(&self) {
        let Ok(turn) = Arc::clone(&self.refreshing).try_lock_owned() else {
            return;
        };
        if self.shared.begin_attempt(self.shared.usable().as_ref()) {
            self.fetches.spawn(fetch(Arc::clone(&self.shared), turn));
        }
    }
}

async fn fetch<T>(shared: Arc<Shared<T>>, _turn: OwnedMutexGuard<()>) {
    let outcome = shared.origin.load().await;
    let mut latest = shared.latest();
    match outcome {
        Ok(set) => {
            latest.error = None;
            latest.loaded = Some(Arc::new(Loaded {
                keys: (shared.prepare)(set),
                at: Instant::now(),
            }));
        }
        Err(error) => {
            let error = Arc::new(error);
            tracing::warn!(
                error = &*error as &dyn std::error::Error,
                origin = shared.origin.name(),
                "cannot refresh an issuer's keys"
            );
            latest.error = Some(error);
        }
    }
}

impl<T> Shared<T> {
    /// A panic in `prepare` leaves the previous keys in place.
    fn latest(&self) -> std::sync::MutexGuard<'_, Latest<T>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Option<Arc<Loaded<T>>> {
        let loaded = self.latest().loaded.clone();
        loaded.filter(|loaded| loaded.at.elapsed() <= self.freshness.keep_for)
    }

    fn last_error(&self) -> Arc<KeysError> {
        let error = self.latest().error.clone();
        error.unwrap_or_else(|| Arc::new(KeysError::TooSoon))
    }

    /// Whether a fetch is due for someone who has seen `seen`; if so, the attempt counts from now.
    fn begin_attempt(&self, seen: Option<&Arc<Loaded<T>>>) -> bool {
        let mut latest = self.latest();
        let news = match (&latest.loaded, seen) {
            (Some(loaded), Some(seen)) => !Arc::ptr_eq(loaded, seen),
            (Some(loaded), None) => loaded.at.elapsed() <= self.freshness.keep_for,
            (None, _) => false,
        };
        let too_soon = latest
            .attempted
            .is_some_and(|attempted| attempted.elapsed() < self.freshness.retry_after);
        if news || too_soon {
            return false;
        }
        latest.attempted = Some(Instant::now());
        true
    }
}
