//! The authority on ServiceAccount tokens: the API server sees deleted pods and revoked tokens, a key set cannot.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::authentication::v1::{
    TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo,
};
use kube::{Api, api::PostParams};

use super::Unauthenticated;

/// A healthy API server answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the API server could not say.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("the TokenReview failed; the gateway needs the ClusterRole system:auth-delegator")]
    Failed(#[source] Box<kube::Error>),
    #[error("no answer to the TokenReview within 5 s")]
    TimedOut,
    #[error("the TokenReview came back without a status")]
    NoStatus,
}

pub(super) struct Reviewer {
    reviews: Api<TokenReview>,
}

impl Reviewer {
    pub(super) fn new(upstream: kube::Client) -> Self {
        Self {
            reviews: Api::all(upstream),
        }
    }

    /// The user behind `token`, if the API server accepts it for our audience now.
    pub(super) async fn review(&self, token: &str) -> Result<UserInfo, Unauthenticated> {
        let status = self.status(token).await.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot review a ServiceAccount token"
            );
            Unauthenticated::AuthorityUnavailable(Arc::new(error))
        })?;
        accepted_user(status)
    }

    async fn status(&self, token: &str) -> Result<TokenReviewStatus, ReviewError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![crate::AUDIENCE.to_owned()]),
                token: token.to_owned(),
            },
            ..TokenReview::default()
        };
        tokio::time::timeout(
            TIMEOUT,
            self.reviews.create(&PostParams::default(), &review),
        )
        .await
        .map_err(|_| ReviewError::TimedOut)?
        .map_err(|error| ReviewError::Failed(Box::new(error)))?
        .status
        .ok_or(ReviewError::NoStatus)
    }
}

/// An authenticator that knows no audiences answers with none, which means "valid for the API server itself".
fn accepted_user(status: TokenReviewStatus) -> Result<UserInfo, Unauthenticated> {
    if status.authenticated != Some(true) {
        return Err(Unauthenticated::RefusedByAuthority);
    }
    let ours = |audience: &String| audience == crate::AUDIENCE;
    if !status.audiences.iter().flatten().any(ours) {
        return Err(Unauthenticated::WrongAudience);
    }
    status.user.ok_or(Unauthenticated::RefusedByAuthority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(authenticated: bool, audiences: Option<&[&str]>) -> Result<String, &'static str> {
        let status = TokenReviewStatus {
            authenticated: Some(authenticated),
            audiences: audiences.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
            user: Some(UserInfo {
                username: Some("system:serviceaccount:ns:sa".into()),
                ..UserInfo::default()
            }),
            error: None,
        };
        accepted_user(status)
            .map(|user| user.username.expect("set above"))
            .map_err(|error| error.reason())
    }

    #[test]
    fn only_a_review_for_our_audience_authenticates() {
        assert_eq!(
            answer(true, Some(&["sallyport"])),
            Ok("system:serviceaccount:ns:sa".into())
        );
        assert_eq!(answer(true, Some(&[])), Err("wrong_audience"));
        assert_eq!(answer(true, None), Err("wrong_audience"));
        assert_eq!(
            answer(true, Some(&["https://kubernetes.default.svc"])),
            Err("wrong_audience")
        );
        assert_eq!(
            answer(false, Some(&["sallyport"])),
            Err("refused_by_authority")
        );
    }
}
