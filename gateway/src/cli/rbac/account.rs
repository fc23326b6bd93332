//! A ServiceAccount, as bindings name it and as the API server sees it behind the gateway.

use k8s_openapi::api::rbac::v1::Subject;

use crate::authn;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Account {
    /// Whom the gateway impersonates for it.
    pub(super) fn user(&self) -> String {
        authn::service_account_user(&self.namespace, &self.name)
    }

    pub(super) fn subject(&self) -> Subject {
        Subject {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "User".to_owned(),
            name: self.user(),
            namespace: None,
        }
    }

    /// Whether `subject` is this ServiceAccount, by itself or as one of a group.
    pub(super) fn is_named_by(&self, subject: &Subject) -> bool {
        let Self { namespace, name } = self;
        match subject.kind.as_str() {
            "ServiceAccount" => {
                subject.name == *name && subject.namespace.as_ref() == Some(namespace)
            }
            "User" => subject.name == format!("system:serviceaccount:{namespace}:{name}"),
            "Group" => {
                subject.name == "system:serviceaccounts"
                    || subject.name == format!("system:serviceaccounts:{namespace}")
            }
            _ => false,
        }
    }
}
