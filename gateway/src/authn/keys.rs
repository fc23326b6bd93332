//! The keys of one issuer: fetched when first needed, refreshed when they age or a key is unknown,
//! kept through an outage of the issuer for a bounded time.
//!
//! Tokens with unknown key ids are free to make, so at most one fetch per `retry_after` is started, whoever
//! asks. A fetch runs in a task of its own: a caller that goes away does not undo it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use openidconnect::{JsonWebKeySet, core::CoreJsonWebKey};
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;

use super::{
    Unauthenticated,
    https::{FetchError, HttpsClient},
};

pub(super) type KeySet = JsonWebKeySet<CoreJsonWebKey>;

/// Why an issuer's keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot read the key set {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot fetch {what}")]
    Fetch {
        what: &'static str,
        #[source]
        source: FetchError,
    },
    #[error(
        "cannot read the API server's key set; its discovery role must be bound to the gateway"
    )]
    ApiServer(#[source] Box<kube::Error>),
    #[error("no answer from the API server within 10 s")]
    TimedOut,
    #[error("{what} is not the JSON it should be")]
    Malformed {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "the discovery document names the issuer {found:?} instead of {expected:?}; they must be equal to the byte"
    )]
    IssuerMismatch { expected: String, found: String },
    #[error("the key set holds no key that can verify a signature")]
    NoUsableKey,
    #[error("the last attempt was only seconds ago")]
    TooSoon,
}

/// Where keys come from.
pub(super) enum Origin {
    File(PathBuf),
    /// OpenID Connect Discovery 1.0, section 4.
    Discovery {
        issuer: String,
        client: HttpsClient,
    },
    /// The upstream API server's `/openid/v1/jwks`, with the gateway's own credential.
    ApiServer(kube::Client),
}

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

impl Origin {
    /// The keys as they are at the origin now.
    async fn load(&self) -> Result<KeySet, KeysError> {
        match self {
            Self::File(path) => parse_key_set(
                &tokio::fs::read(path)
                    .await
                    .map_err(|source| unreadable(path, source))?,
            ),
            Self::Discovery { issuer, client } => discover(issuer, client).await,
            Self::ApiServer(client) => parse_key_set(api_server_keys(client).await?.as_bytes()),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::File(_) => "file",
            Self::Discovery { issuer, .. } => issuer,
            Self::ApiServer(_) => "API server",
        }
    }
}

/// Checks at start that `path` holds keys, so that a wrong file is found before the first agent calls.
pub(super) fn check_file(path: &Path) -> Result<(), KeysError> {
    let bytes = std::fs::read(path).map_err(|source| unreadable(path, source))?;
    parse_key_set(&bytes).map(drop)
}

fn unreadable(path: &Path, source: std::io::Error) -> KeysError {
    KeysError::File {
        path: path.to_owned(),
        source,
    }
}

/// The members that a verifier needs. Workload issuers such as GitHub's and the API server have no
/// `authorization_endpoint`, so OpenID Connect's full provider metadata would refuse them.
#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    jwks_uri: String,
}

async fn discover(issuer: &str, client: &HttpsClient) -> Result<KeySet, KeysError> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let document: DiscoveryDocument = parse(
        &get(client, &url, "the discovery document").await?,
        "the discovery document",
    )?;
    if document.issuer != issuer {
        return Err(KeysError::IssuerMismatch {
            expected: issuer.to_owned(),
            found: document.issuer,
        });
    }
    parse_key_set(&get(client, &document.jwks_uri, "the key set").await?)
}

async fn get(client: &HttpsClient, url: &str, what: &'static str) -> Result<Bytes, KeysError> {
    let fetched = client.fetch(url, None).await;
    fetched.map_err(|source| KeysError::Fetch { what, source })
}

async fn api_server_keys(client: &kube::Client) -> Result<String, KeysError> {
    let request = http::Request::get("/openid/v1/jwks")
        .body(Vec::new())
        .expect("a constant request is valid");
    tokio::time::timeout(Duration::from_secs(10), client.request_text(request))
        .await
        .map_err(|_| KeysError::TimedOut)?
        .map_err(|error| KeysError::ApiServer(Box::new(error)))
}

fn parse_key_set(bytes: &[u8]) -> Result<KeySet, KeysError> {
    let set: KeySet = parse(bytes, "the key set")?;
    if set.keys().is_empty() {
        return Err(KeysError::NoUsableKey);
    }
    Ok(set)
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &'static str) -> Result<T, KeysError> {
    serde_json::from_slice(bytes).map_err(|source| KeysError::Malformed { what, source })
}
