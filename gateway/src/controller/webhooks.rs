//! URLs that are told: each message is signed, sent until it is accepted, and never sent by two at a time.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{metrics::Metrics, signature};
use crate::{
    authn::{FetchError, HttpsClient},
    config::controller::{Url, Webhook},
    telemetry::causes,
};

/// How long after a failure it is tried again; double as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// All webhooks of one kind.
pub(super) struct Webhooks {
    kind: Kind,
    hooks: Vec<Hook>,
    metrics: Metrics,
}

/// What messages are about, as metrics say it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Ask,
    Alert,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Alert => "alert",
        }
    }
}

struct Hook {
    webhook: Webhook,
    client: HttpsClient,
}

/// Why there is nobody to tell, or it was not told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("webhook {name:?}: cannot use it")]
    Client {
        name: String,
        #[source]
        source: FetchError,
    },
    #[error("webhook {name:?}: cannot read {}", path.display())]
    Unreadable {
        name: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("webhook {name:?}: {} is empty; write a secret of 32 random bytes into it", path.display())]
    NoSecret { name: String, path: PathBuf },
    #[error("webhook {name:?}: the URL must be https (http is for loopback only)")]
    InsecureUrl { name: String },
    #[error("webhook {name:?} did not accept the message")]
    NotAccepted {
        name: String,
        #[source]
        source: FetchError,
    },
}

impl WebhookError {
    /// Another attempt would end the same way.
    fn is_final(&self) -> bool {
        match self {
            Self::NotAccepted { source, .. } => source.is_final(),
            _ => false,
        }
    }
}

impl Webhooks {
    pub(super) fn open(
        kind: Kind,
        webhooks: &[Webhook],
        metrics: Metrics,
    ) -> Result<Self, WebhookError> {
        let hooks = webhooks.iter().map(Hook::open);
        Ok(Self {
            kind,
            hooks: hooks.collect::<Result<_, _>>()?,
            metrics,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Returns once each has accepted it, has refused it for good, or it is too late.
    pub(super) async fn tell(&self, message: &Value, until: Instant) {
        let body = Bytes::from(message.to_string());
        let telling = self
            .hooks
            .iter()
            .map(|hook| self.tell_one(hook, &body, until));
        futures_util::future::join_all(telling).await;
    }

    async fn tell_one(&self, hook: &Hook, body: &Bytes, until: Instant) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match hook.send(body).await {
                Ok(()) => return self.count("delivered"),
                Err(error) => error,
            };
            let webhook = &hook.webhook.name;
            if error.is_final() || Instant::now() + pause >= until {
                tracing::error!(webhook, error = causes(&error), "a message was given up");
                return self.count("given_up");
            }
            tracing::warn!(webhook, error = causes(&error), "a message is sent again");
            self.count("failed");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn count(&self, outcome: &'static str) {
        self.metrics.delivery(self.kind.as_str(), outcome);
    }
}

impl Hook {
    /// Reads what it needs, to find out at the start what is missing.
    fn open(webhook: &Webhook) -> Result<Self, WebhookError> {
        let client = HttpsClient::new(webhook.ca_file.as_deref());
        let client = client.map_err(|source| WebhookError::Client {
            name: webhook.name.clone(),
            source,
        })?;
        let hook = Self {
            webhook: webhook.clone(),
            client,
        };
        hook.secret()?;
        if !crate::authn::is_fetchable(&hook.url()?) {
            let name = webhook.name.clone();
            return Err(WebhookError::InsecureUrl { name });
        }
        Ok(hook)
    }

    async fn send(&self, body: &Bytes) -> Result<(), WebhookError> {
        let headers = signature::headers(self.secret()?.as_bytes(), Timestamp::now(), body);
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let headers: Vec<_> = headers.into_iter().chain([json]).collect();
        let sent = self.client.post(&self.url()?, headers, body.clone()).await;
        sent.map_err(|source| WebhookError::NotAccepted {
            name: self.webhook.name.clone(),
            source,
        })
    }

    /// Read each time, so that a new secret counts at once.
    fn secret(&self) -> Result<String, WebhookError> {
        let path = &self.webhook.secret_file;
        let secret = self.read(path)?;
        if secret.is_empty() {
            return Err(WebhookError::NoSecret {
                name: self.webhook.name.clone(),
                path: path.clone(),
            });
        }
        Ok(secret)
    }

    fn url(&self) -> Result<String, WebhookError> {
        match &self.webhook.url {
            Url::Text(url) => Ok(url.clone()),
            Url::File(path) => self.read(path),
        }
    }

    fn read(&self, path: &PathBuf) -> Result<String, WebhookError> {
        let text = std::fs::read_to_string(path).map_err(|source| WebhookError::Unreadable {
            name: self.webhook.name.clone(),
            path: path.clone(),
            source,
        })?;
        Ok(text.trim().to_owned())
    }
}
