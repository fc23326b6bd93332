//! Every way a caller is not who it would have to be.

use std::sync::Arc;

use super::{keys::KeysError, token_review::ReviewError};
use crate::identity::UserInfo;

/// Why a request has no identity. No variant holds a token, or what a token that was not verified says.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unauthenticated {
    #[error("no bearer token")]
    Missing,
    #[error("more than one credential")]
    SeveralCredentials,
    #[error("a bearer subprotocol without another one beside it")]
    NoOtherSubprotocol,
    #[error("the authorization scheme is not bearer")]
    NotBearer,
    #[error("the bearer token is longer than 16 KiB")]
    Oversized,
    #[error("the bearer token is not a signed JWT with the claims that are required")]
    Malformed,
    #[error("the token's issuer is not configured")]
    UnknownIssuer,
    /// With its user, where it is good and bound to a pod.
    #[error("ServiceAccount tokens are not accepted on this listener")]
    ServiceAccountTokenNotAccepted(Option<Box<UserInfo>>),
    #[error("the token's signature algorithm is not allowed")]
    AlgorithmNotAllowed,
    #[error("the token's issuer has no such key")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    BadSignature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token's audiences are not exactly the accepted ones")]
    WrongAudience,
    #[error("the token's subject cannot be a user name")]
    UnusableSubject,
    #[error("the token lacks the claim {0:?} that the issuer's preset requires")]
    MissingClaim(&'static str),
    #[error("the API server does not accept the token")]
    RefusedByAuthority,
    #[error("the identity matches several Agent objects equally: {0:?}")]
    AmbiguousAgent(Vec<String>),
    #[error("the token is bound to another pod than the one that sent it")]
    PodMismatch(Box<UserInfo>),
    #[error("the token is bound to no pod")]
    NotBoundToPod,
    #[error("the pod is older than its namespace's label, and its token is the API server's own")]
    PredatesSallyport,
    #[error("the API server could not be asked about the token")]
    AuthorityUnavailable(#[source] Arc<ReviewError>),
    #[error("the keys of the token's issuer are not to be had")]
    KeysUnavailable(#[source] Arc<KeysError>),
}

impl Unauthenticated {
    /// The label for metrics and records.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::SeveralCredentials => "several_credentials",
            Self::NoOtherSubprotocol => "no_other_subprotocol",
            Self::NotBearer => "not_bearer",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::ServiceAccountTokenNotAccepted(_) => "service_account_token_not_accepted",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::UnusableSubject => "unusable_subject",
            Self::MissingClaim(_) => "missing_claim",
            Self::RefusedByAuthority => "refused_by_authority",
            Self::AmbiguousAgent(_) => "ambiguous_agent",
            Self::PodMismatch(_) => "pod_mismatch",
            Self::NotBoundToPod => "not_bound_to_pod",
            Self::PredatesSallyport => "needs_recreate",
            Self::AuthorityUnavailable(_) => "authority_unavailable",
            Self::KeysUnavailable(_) => "keys_unavailable",
        }
    }

    /// Whether the credential could not be judged, as opposed to being no good.
    pub fn is_authority_unavailable(&self) -> bool {
        matches!(
            self,
            Self::AuthorityUnavailable(_) | Self::KeysUnavailable(_)
        )
    }

    /// Whom the token is about, where it was verified and yet is in the wrong hands.
    pub fn user(&self) -> Option<&UserInfo> {
        match self {
            Self::PodMismatch(user) => Some(user),
            Self::ServiceAccountTokenNotAccepted(user) => user.as_deref(),
            _ => None,
        }
    }

    /// What the caller is told: what is wrong and what to do about it.
    pub fn public_message(&self) -> String {
        let text = match self {
            Self::Missing => {
                "no bearer token was sent; in a pod it is in \
                 /var/run/secrets/kubernetes.io/serviceaccount/token, elsewhere use the kubeconfig that \
                 `sallyport kubeconfig` writes"
            }
            Self::SeveralCredentials => {
                "several credentials were sent; send one Authorization header, or one bearer subprotocol of a \
                 WebSocket handshake"
            }
            Self::NoOtherSubprotocol => {
                "the bearer subprotocol needs another one beside it, such as v5.channel.k8s.io, which the server can \
                 choose"
            }
            Self::NotBearer => {
                "only bearer tokens are accepted; send `Authorization: Bearer <token>`"
            }
            Self::Oversized => {
                "the bearer token is longer than 16 KiB; ask its issuer for a smaller one"
            }
            Self::Malformed => {
                "the bearer token is not a signed JWT with iss, sub, aud, exp and iat; \
                 send the agent's OIDC or ServiceAccount token"
            }
            Self::UnknownIssuer => {
                "the token's issuer is not accepted here; \
                 the operator lists issuers under authentication in the gateway's configuration"
            }
            Self::ServiceAccountTokenNotAccepted(_) => {
                "ServiceAccount tokens are not accepted on this address, since nothing here proves which pod sent one; \
                 use an OIDC token, or have the operator set explicit.allowServiceAccountTokens \
                 and authentication.serviceAccounts"
            }
            Self::AlgorithmNotAllowed => {
                "the token's signature algorithm is not allowed; use one of RS256, RS384, RS512, PS256, PS384, PS512, \
                 ES256, ES384 and EdDSA"
            }
            Self::UnknownKey => {
                "the token is signed with a key that its issuer does not publish; \
                 get a new token, and after a key rotation try again in a few seconds"
            }
            Self::BadSignature => "the token's signature is wrong; get a new token from its issuer",
            Self::Expired => {
                "the token has expired; get a new one (a client that reads its token file only once must read it again)"
            }
            Self::NotYetValid => {
                "the token is not valid yet; check the clocks of its issuer and of the gateway"
            }
            Self::WrongAudience => {
                "the token's audiences are not accepted; request it for the gateway's audience alone, \
                 by default `sallyport`"
            }
            Self::UnusableSubject => {
                "the token's subject must be 1 to 255 printable ASCII characters without a space at either end"
            }
            Self::MissingClaim(claim) => {
                return format!(
                    "the token lacks the claim `{claim}`; \
                     the operator's preset for this issuer requires it, so use a token of that kind of CI job"
                );
            }
            Self::RefusedByAuthority => {
                "the API server no longer accepts the token: its pod or ServiceAccount is gone, or it is revoked; \
                 get a new one"
            }
            Self::AmbiguousAgent(agents) => {
                return format!(
                    "this identity matches the Agent objects {} equally; have the operator make one more specific",
                    agents.join(" and ")
                );
            }
            Self::PodMismatch(_) => {
                "this token belongs to another pod; this is recorded. Use the token that is mounted into this pod"
            }
            Self::NotBoundToPod => {
                "the token is bound to no pod, so it proves nothing of this one; \
                 use the token that is mounted into the pod"
            }
            Self::PredatesSallyport => {
                "this pod was created before its namespace was labelled for agents, so its token is for the API \
                 server, not for the gateway; recreate the pod (kubectl delete pod, or kubectl rollout restart)"
            }
            Self::AuthorityUnavailable(_) => {
                "the API server could not be asked whether the token is still valid; try again shortly"
            }
            Self::KeysUnavailable(_) => {
                "the keys of the token's issuer could not be fetched; try again shortly"
            }
        };
        text.to_owned()
    }
}
