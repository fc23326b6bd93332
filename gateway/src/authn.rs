//! Who is calling: every request's bearer token becomes an [`Identity`], or the request goes no further.
//!
//! The token's unverified `iss` chooses who verifies, nothing else. An OIDC token is verified with its
//! issuer's keys. A ServiceAccount token is verified with the cluster's keys first, which costs the API server
//! nothing, and then reviewed by the API server, which alone sees deleted pods. Outcomes are kept for
//! seconds under the token's SHA-256. Tokens are never stored, logged or quoted.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::HeaderMap;
use jiff::Timestamp;
use openidconnect::IssuerUrl;
use tokio::sync::watch;

use crate::{
    config::{Authentication, OidcIssuer, ServiceAccounts},
    handover::CapturedPod,
    identity::Identity,
};

pub use self::{
    agents::{AgentError, AgentSet, AgentSource},
    https::{FetchError, HttpsClient, is_fetchable},
    keys::KeysError,
    subprotocol::is_bearer_subprotocol,
    token_review::ReviewError,
    unauthenticated::Unauthenticated,
    upstream_user::{AGENTS_GROUP, EXTRA_KEYS, service_account_user},
};

use self::{
    bearer::{UnverifiedOrigin, credential},
    cache::{Outcome, Settled, TokenCache, TokenDigest, token_digest},
    keys::{Freshness, Origin},
    principal::{Principal, claimed_user_of_pod},
    token_review::Reviewer,
    verify::{LEEWAY, TokenVerifier, VerifiedToken},
};

mod agents;
mod bearer;
mod cache;
mod ci;
mod https;
mod keys;
mod principal;
mod subprotocol;
mod token_review;
mod unauthenticated;
mod upstream_user;
mod verify;

/// The API server itself keeps a review for ten seconds, so a deleted pod is out after twenty at most.
const REVIEW_HOLDS: Duration = Duration::from_secs(10);
/// Also of an API server that does not answer.
const REFUSAL_HOLDS: Duration = Duration::from_secs(2);
/// How long a token outlives the withdrawal of its issuer's key.
const SIGNATURE_HOLDS: Duration = Duration::from_secs(60);
/// About 20 MiB if every token were GitHub's.
const CACHED_TOKENS: usize = 8192;

const ISSUER_FRESHNESS: Freshness = Freshness {
    refresh_after: Duration::from_secs(600),
    retry_after: Duration::from_secs(10),
    keep_for: Duration::from_secs(3600),
};
const CLUSTER_FRESHNESS: Freshness = Freshness {
    refresh_after: Duration::from_secs(300),
    ..ISSUER_FRESHNESS
};

/// Aliases that would let a token's subject look like another kind of user.
const RESERVED_ALIASES: [&str; 2] = ["system", "sallyport"];

/// Why the configured authentication cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticatorError {
    #[error(
        "explicit.allowServiceAccountTokens needs authentication.serviceAccounts: name the API server's token issuer"
    )]
    NoServiceAccountIssuer,
    #[error(
        "{field}: {issuer:?} must be an https URL (http is for loopback only); or give jwksFile"
    )]
    InsecureIssuer { field: String, issuer: String },
    #[error("{field}: {issuer:?} is not a URL")]
    NotAUrl { field: String, issuer: String },
    #[error("{field}: the issuer {issuer:?} is named twice; tokens could not be told apart")]
    IssuerTwice { field: String, issuer: String },
    #[error(
        "{field}: {name:?} is taken; every issuer needs a name of its own, and system and sallyport are reserved"
    )]
    NameTaken { field: String, name: String },
    #[error("{field}")]
    Keys {
        field: String,
        #[source]
        source: KeysError,
    },
    #[error("{field}")]
    Roots {
        field: String,
        #[source]
        source: FetchError,
    },
}

/// Authenticates every request. Cheap to ask about a token seen within the last seconds.
pub struct Authenticator {
    issuers: HashMap<String, Issuer>,
    allow_service_account_tokens: bool,
    agents: watch::Receiver<Arc<AgentSet>>,
    settled: TokenCache,
    gateway: String,
}

enum Issuer {
    ServiceAccounts(Box<(TokenVerifier, Reviewer)>),
    Oidc(Box<(TokenVerifier, OidcIssuer)>),
}

impl Authenticator {
    /// Checks the configuration; keys are fetched when the first token needs them. Captured pods need no
    /// `allow_service_account_tokens`: the kernel vouches for them.
    pub fn new(
        config: &Authentication,
        allow_service_account_tokens: bool,
        upstream: kube::Client,
        agents: watch::Receiver<Arc<AgentSet>>,
    ) -> Result<Self, AuthenticatorError> {
        if allow_service_account_tokens && config.service_accounts.is_none() {
            return Err(AuthenticatorError::NoServiceAccountIssuer);
        }
        check_names(&config.oidc)?;
        let mut issuers = HashMap::new();
        if let Some(accounts) = &config.service_accounts {
            let issuer = service_accounts(accounts, upstream)?;
            issuers.insert(accounts.issuer.clone(), issuer);
        }
        for (index, oidc) in config.oidc.iter().enumerate() {
            let field = format!("authentication.oidc[{index}]");
            let issuer = oidc_issuer(&field, oidc)?;
            if issuers.insert(oidc.issuer.clone(), issuer).is_some() {
                return Err(AuthenticatorError::IssuerTwice {
                    field: format!("{field}.issuer"),
                    issuer: oidc.issuer.clone(),
                });
            }
        }
        Ok(Self {
            issuers,
            allow_service_account_tokens,
            agents,
            settled: TokenCache::new(CACHED_TOKENS),
            gateway: "sallyport".to_owned(),
        })
    }

    /// The gateway's name in the API server's audit log (`sallyport.dev/via`).
    pub fn named(mut self, gateway: impl Into<String>) -> Self {
        self.gateway = gateway.into();
        self
    }

    /// The caller that `headers` prove, on a listener that agents reach by themselves.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Unauthenticated> {
        self.identity(headers, None).await
    }

    /// The same on a connection that the kernel says is `pod`'s: a ServiceAccount's token must be that pod's. A user's
    /// token proves no pod; policy must name the two together.
    pub async fn authenticate_captured(
        &self,
        headers: &HeaderMap,
        pod: &CapturedPod,
    ) -> Result<Identity, Unauthenticated> {
        let identity = self.identity(headers, Some(pod)).await;
        identity.map_err(|refusal| match refusal {
            Unauthenticated::WrongAudience if pod.needs_recreate => {
                Unauthenticated::PredatesSallyport
            }
            refusal => refusal,
        })
    }

    /// What is settled about a token holds for whoever shows it; whether it may be shown here is asked each time.
    async fn identity(
        &self,
        headers: &HeaderMap,
        pod: Option<&CapturedPod>,
    ) -> Result<Identity, Unauthenticated> {
        let token = credential(headers)?;
        let digest = token_digest(&token);
        let principal = match self.settled.get(&digest) {
            Some(outcome) => outcome?,
            None => match self.issuer_of(&token)? {
                Issuer::ServiceAccounts(issuer) if !self.takes_service_accounts(pod) => {
                    return Err(not_accepted(&issuer.0, &token).await);
                }
                issuer => self.settle(issuer, &token, digest).await?,
            },
        };
        if principal.is_service_account() && !self.takes_service_accounts(pod) {
            let user = principal.user_of_pod().map(Box::new);
            return Err(Unauthenticated::ServiceAccountTokenNotAccepted(user));
        }
        let pod = pod.map(|pod| &pod.workload);
        if let Some(pod) = pod.filter(|_| principal.is_service_account()) {
            principal.check_pod(pod)?;
        }
        let agents = Arc::clone(&self.agents.borrow());
        principal.identity(&agents, &self.gateway, pod)
    }

    /// Whether tokens of ServiceAccounts are taken where one was shown.
    fn takes_service_accounts(&self, pod: Option<&CapturedPod>) -> bool {
        pod.is_some() || self.allow_service_account_tokens
    }

    async fn settle(&self, issuer: &Issuer, token: &str, digest: TokenDigest) -> Outcome {
        match issuer {
            Issuer::ServiceAccounts(issuer) => {
                let (verifier, reviewer) = &**issuer;
                let verified = verifier.verify(token).await?;
                let settle = || review(reviewer, token, &verified);
                self.settled.get_or_settle(digest, settle).await
            }
            Issuer::Oidc(issuer) => {
                let (verifier, config) = &**issuer;
                let verified = verifier.verify(token).await?;
                let principal = Arc::new(Principal::oidc(&verified, config)?);
                let settle = async || settle(Ok(principal), &verified, SIGNATURE_HOLDS);
                self.settled.get_or_settle(digest, settle).await
            }
        }
    }

    fn issuer_of(&self, token: &str) -> Result<&Issuer, Unauthenticated> {
        let origin = UnverifiedOrigin::of(token)?;
        match self.issuers.get(&origin.issuer) {
            Some(issuer) => Ok(issuer),
            None if origin.is_service_account() => {
                Err(Unauthenticated::ServiceAccountTokenNotAccepted(None))
            }
            None => Err(Unauthenticated::UnknownIssuer),
        }
    }
}

/// Says whose token it is, by the cluster's keys alone: nobody is asked about what is refused anyway, so it costs a
/// signature and nothing of the API server.
async fn not_accepted(verifier: &TokenVerifier, token: &str) -> Unauthenticated {
    let verified = verifier.verify(token).await;
    let user = verified.ok().and_then(|token| claimed_user_of_pod(&token));
    Unauthenticated::ServiceAccountTokenNotAccepted(user.map(Box::new))
}

async fn review(reviewer: &Reviewer, token: &str, verified: &VerifiedToken) -> Settled {
    let outcome = match reviewer.review(token).await {
        Ok(user) => Principal::service_account(verified, user).map(Arc::new),
        Err(refusal) => Err(refusal),
    };
    settle(outcome, verified, REVIEW_HOLDS)
}

/// A success holds no longer than the token does.
fn settle(outcome: Outcome, verified: &VerifiedToken, success_holds: Duration) -> Settled {
    let holds = match &outcome {
        Ok(_) => remaining(verified.expires).min(success_holds),
        Err(_) => REFUSAL_HOLDS,
    };
    Settled {
        outcome,
        until: Instant::now() + holds,
    }
}

fn remaining(expires: Timestamp) -> Duration {
    let last = SystemTime::from(expires) + LEEWAY;
    last.duration_since(SystemTime::now()).unwrap_or_default()
}

fn service_accounts(
    accounts: &ServiceAccounts,
    upstream: kube::Client,
) -> Result<Issuer, AuthenticatorError> {
    let field = "authentication.serviceAccounts";
    let origin = match &accounts.jwks_file {
        Some(path) => file_origin(field, path)?,
        None => Origin::ApiServer(upstream.clone()),
    };
    let audiences = vec![crate::AUDIENCE.to_owned()];
    let issuer = issuer_url(field, &accounts.issuer)?;
    let verifier = TokenVerifier::new(issuer, audiences, origin, CLUSTER_FRESHNESS);
    Ok(Issuer::ServiceAccounts(Box::new((
        verifier,
        Reviewer::new(upstream),
    ))))
}

fn oidc_issuer(field: &str, config: &OidcIssuer) -> Result<Issuer, AuthenticatorError> {
    let origin = match &config.jwks_file {
        Some(path) => file_origin(field, path)?,
        None => discovery_origin(field, config)?,
    };
    let issuer = issuer_url(field, &config.issuer)?;
    let verifier = TokenVerifier::new(issuer, config.audiences.clone(), origin, ISSUER_FRESHNESS);
    Ok(Issuer::Oidc(Box::new((verifier, config.clone()))))
}

fn issuer_url(field: &str, issuer: &str) -> Result<IssuerUrl, AuthenticatorError> {
    IssuerUrl::new(issuer.to_owned()).map_err(|_| AuthenticatorError::NotAUrl {
        field: format!("{field}.issuer"),
        issuer: issuer.to_owned(),
    })
}

fn file_origin(field: &str, path: &Path) -> Result<Origin, AuthenticatorError> {
    keys::check_file(path).map_err(|source| AuthenticatorError::Keys {
        field: format!("{field}.jwksFile"),
        source,
    })?;
    Ok(Origin::File(path.to_owned()))
}

fn discovery_origin(field: &str, config: &OidcIssuer) -> Result<Origin, AuthenticatorError> {
    if !is_fetchable(&config.issuer) {
        return Err(AuthenticatorError::InsecureIssuer {
            field: format!("{field}.issuer"),
            issuer: config.issuer.clone(),
        });
    }
    let client = HttpsClient::new(config.ca_file.as_deref()).map_err(|source| {
        AuthenticatorError::Roots {
            field: format!("{field}.caFile"),
            source,
        }
    })?;
    Ok(Origin::Discovery {
        issuer: config.issuer.clone(),
        client,
    })
}

fn check_names(issuers: &[OidcIssuer]) -> Result<(), AuthenticatorError> {
    for (index, issuer) in issuers.iter().enumerate() {
        let earlier = issuers[..index]
            .iter()
            .any(|other| other.name == issuer.name);
        if earlier || RESERVED_ALIASES.contains(&issuer.name.as_str()) {
            return Err(AuthenticatorError::NameTaken {
                field: format!("authentication.oidc[{index}].name"),
                name: issuer.name.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
