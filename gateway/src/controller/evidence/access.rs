//! Who may: RBAC on `records` and `streams` of `sallyport.dev`, which no API server serves and every one can judge.

use std::fmt;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;

use super::person::{ReviewError, answered};
use crate::{api::names::GROUP, identity::UserInfo};

pub(super) const RECORDS: &str = "records";
pub(super) const STREAMS: &str = "streams";
pub(super) const STOPS: &str = "agentstops";

/// What is asked for, in RBAC's words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Attributes {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    /// All of them where absent.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, .. } = self;
        write!(f, "{verb} {resource}.{GROUP} ")?;
        match &self.namespace {
            Some(namespace) => write!(f, "of namespace {namespace}"),
            None => f.write_str("of all namespaces"),
        }
    }
}

impl Attributes {
    /// What gives the right, for whoever may give it.
    pub(super) fn remedy(&self, user: &str) -> String {
        let user = shell_word(user);
        let role = match self.resource {
            STREAMS => "sallyport-stream-operator",
            STOPS => "sallyport-operator",
            _ => "sallyport-evidence-reader",
        };
        match &self.namespace {
            Some(namespace) => format!(
                "the ClusterRole {role} gives it, as in `kubectl -n {namespace} create rolebinding {role} \
                 --clusterrole={role} --user={user}`"
            ),
            None => format!(
                "the ClusterRole {role} gives it, as in `kubectl create clusterrolebinding {role} \
                 --clusterrole={role} --user={user}`{}",
                match self.resource {
                    STOPS => "",
                    _ => "; or name a namespace that you may read",
                }
            ),
        }
    }

    fn review(&self, user: &UserInfo) -> SubjectAccessReview {
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some(self.resource.to_owned()),
            verb: Some(self.verb.to_owned()),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            ..ResourceAttributes::default()
        };
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.username.clone()),
                uid: user.uid.clone(),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }
}

/// A name goes into a command that somebody may copy.
fn shell_word(name: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:@/".contains(&byte);
    if name.bytes().all(plain) {
        name
    } else {
        "USER"
    }
}

/// What the API server's authorizers say, now.
pub(super) async fn may(
    client: &Client,
    user: &UserInfo,
    attributes: &Attributes,
) -> Result<bool, ReviewError> {
    const KIND: &str = "SubjectAccessReview";
    let reviewed = answered(KIND, client, &attributes.review(user)).await?;
    let status = reviewed.status.ok_or(ReviewError::NoStatus(KIND))?;
    Ok(status.allowed && status.denied != Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_gives_no_more_than_was_asked_for() {
        let mut asked = Attributes {
            verb: "watch",
            resource: RECORDS,
            namespace: Some("shop".to_owned()),
            name: None,
        };
        assert_eq!(
            asked.to_string(),
            "watch records.sallyport.dev of namespace shop"
        );
        assert!(
            asked
                .remedy("bob")
                .contains("-n shop create rolebinding sallyport-evidence-reader")
        );
        assert!(asked.remedy("bob; rm x").contains("--user=USER`"));
        asked.namespace = None;
        asked.resource = STREAMS;
        assert!(
            asked
                .remedy("bob")
                .contains("clusterrolebinding sallyport-stream-operator")
        );
    }

    #[test]
    fn a_review_says_everything_of_the_user_that_rbac_may_ask() {
        let user = UserInfo {
            username: "alice".to_owned(),
            uid: Some("1".to_owned()),
            groups: vec!["sre".to_owned()],
            extra: [("scopes".to_owned(), vec!["x".to_owned()])].into(),
        };
        let asked = Attributes {
            verb: "delete",
            resource: STREAMS,
            namespace: None,
            name: Some("id".to_owned()),
        };
        let spec = serde_json::to_value(asked.review(&user).spec).expect("it serializes");
        assert_eq!(
            spec,
            serde_json::json!({
                "user": "alice", "uid": "1", "groups": ["sre"], "extra": {"scopes": ["x"]},
                "resourceAttributes": {
                    "group": "sallyport.dev", "version": "v1", "resource": "streams", "verb": "delete", "name": "id",
                },
            })
        );
    }
}
