//! Who asks: the user that the API server sees behind a token, or whom its client CA vouches for.

use std::time::Duration;

use http::{HeaderMap, header::AUTHORIZATION};
use k8s_openapi::api::authentication::v1::{
    TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo as Reviewed,
};
use kube::{Api, Client, api::PostParams};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, x509::AttributeTypeAndValue};
use zeroize::Zeroizing;

use super::refusal::Refusal;
use crate::identity::UserInfo;

/// A healthy API server answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const AUTHENTICATED: &str = "system:authenticated";

/// Why the API server could not say.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    #[error("the {kind} failed; the controller needs the ClusterRole system:auth-delegator")]
    Failed {
        kind: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("no answer to the {0} within 5 s")]
    TimedOut(&'static str),
    #[error("the {0} came back without a status")]
    NoStatus(&'static str),
}

/// What proves who somebody is.
pub(super) enum Credential {
    Token(Zeroizing<String>),
    /// Verified when the connection was made.
    Certificate(UserInfo),
}

impl Credential {
    /// As the API server does: a certificate counts before a token.
    pub(super) fn of(headers: &HeaderMap, certificate: Option<&UserInfo>) -> Result<Self, Refusal> {
        if headers
            .keys()
            .any(|name| name.as_str().starts_with("impersonate-"))
        {
            return Err(Refusal::Impersonation);
        }
        if let Some(user) = certificate {
            return Ok(Self::Certificate(user.clone()));
        }
        let value = headers.get(AUTHORIZATION).ok_or(Refusal::NoCredential)?;
        let text = value.to_str().map_err(|_| Refusal::NoCredential)?;
        let (scheme, token) = text.split_once(' ').ok_or(Refusal::NoCredential)?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(Refusal::NoCredential);
        }
        Ok(Self::Token(Zeroizing::new(token.to_owned())))
    }

    /// Whom the API server takes it for, now.
    pub(super) async fn user(&self, client: &Client) -> Result<UserInfo, Refusal> {
        match self {
            Self::Certificate(user) => Ok(user.clone()),
            Self::Token(token) => {
                let status = review(client, token).await.map_err(Refusal::ReviewFailed)?;
                accepted(status).ok_or(Refusal::NotAuthenticated)
            }
        }
    }
}

/// For the API server's own audiences: a token for another one, such as a gateway's, is not authenticated.
async fn review(client: &Client, token: &str) -> Result<TokenReviewStatus, ReviewError> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            audiences: None,
            token: token.to_owned(),
        },
        ..TokenReview::default()
    };
    let reviewed: TokenReview = answered("TokenReview", client, &review).await?;
    reviewed.status.ok_or(ReviewError::NoStatus("TokenReview"))
}

/// What becomes of an object that the API server answers at once.
pub(super) async fn answered<K>(
    kind: &'static str,
    client: &Client,
    object: &K,
) -> Result<K, ReviewError>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let objects = Api::<K>::all(client.clone());
    let params = PostParams::default();
    timeout(PATIENCE, objects.create(&params, object))
        .await
        .map_err(|_| ReviewError::TimedOut(kind))?
        .map_err(|source| ReviewError::Failed {
            kind,
            source: Box::new(source),
        })
}

fn accepted(status: TokenReviewStatus) -> Option<UserInfo> {
    if status.authenticated != Some(true) {
        return None;
    }
    let Reviewed {
        username,
        uid,
        groups,
        extra,
    } = status.user?;
    Some(UserInfo {
        username: username.filter(|name| !name.is_empty())?,
        uid: uid.filter(|uid| !uid.is_empty()),
        groups: groups.unwrap_or_default(),
        extra: extra.unwrap_or_default(),
    })
}

/// As the API server reads a certificate: the common name is the user, organizations are the groups.
pub(super) fn certified(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let mut names = subject.iter_common_name();
    // With two of them it would depend on the reader who this is.
    let (Some(name), None) = (names.next(), names.next()) else {
        return None;
    };
    let username = text(name).filter(|name| !name.is_empty())?;
    let groups: Option<Vec<String>> = subject.iter_organization().map(text).collect();
    let mut groups = groups?;
    groups.push(AUTHENTICATED.to_owned());
    Some(UserInfo {
        username,
        groups,
        ..UserInfo::default()
    })
}

fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn status(authenticated: bool, username: &str) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(authenticated),
            user: Some(Reviewed {
                username: Some(username.to_owned()),
                ..Reviewed::default()
            }),
            ..TokenReviewStatus::default()
        }
    }

    fn certificate(subject: &[(DnType, &str)]) -> Option<UserInfo> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().expect("a key");
        certified(params.self_signed(&key).expect("a certificate").der())
    }

    #[test]
    fn only_who_is_authenticated_and_has_a_name_is_somebody() {
        assert!(accepted(status(true, "alice")).is_some());
        assert!(accepted(status(false, "alice")).is_none());
        assert!(accepted(status(true, "")).is_none());
        assert!(accepted(TokenReviewStatus::default()).is_none());
    }

    #[test]
    fn certificates_name_user_and_groups_as_for_the_api_server() {
        let alice = certificate(&[
            (DnType::CommonName, "alice"),
            (DnType::OrganizationName, "sre"),
        ]);
        let alice = alice.expect("a user");
        assert_eq!(alice.username, "alice");
        assert_eq!(alice.groups, ["sre", "system:authenticated"]);
        assert!(certificate(&[(DnType::OrganizationName, "sre")]).is_none());
        assert!(certificate(&[(DnType::CommonName, "")]).is_none());
    }

    #[test]
    fn what_proves_nothing_is_no_credential() {
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            Credential::of(&headers, None)
        };
        assert!(
            matches!(of("authorization", "Bearer x"), Ok(Credential::Token(token)) if *token == "x")
        );
        for value in ["Bearer ", "Basic x", "x", ""] {
            assert!(matches!(
                of("authorization", value),
                Err(Refusal::NoCredential)
            ));
        }
        assert!(matches!(
            of("impersonate-user", "x"),
            Err(Refusal::Impersonation)
        ));
        let bob = UserInfo {
            username: "bob".to_owned(),
            ..UserInfo::default()
        };
        let both = Credential::of(&HeaderMap::new(), Some(&bob));
        assert!(matches!(both, Ok(Credential::Certificate(user)) if user == bob));
    }
}
