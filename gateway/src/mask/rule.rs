//! What is secret in a body, by the URL that it belongs to.

use std::{collections::BTreeSet, sync::Arc};

use super::quotes;
use crate::{api::v1alpha1::matching::ANY, protobuf, request_info::RequestInfo};

/// Selected by the URL and never by what the body says of itself: the API server reads a body as what
/// its URL names, whatever `kind` it claims.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) secret: Secret,
    /// Whose fields somebody may have called sensitive. Empty where the URL is of no resource, `"*"` where it may be any.
    pub(super) api_group: String,
    pub(super) resource: String,
    /// From the URL, for bodies that do not name their object.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) decoys: Arc<Decoys>,
    /// Refusals of these objects may quote environment variables.
    pub(super) has_environment: bool,
    /// What is plain text is what a program printed.
    pub(super) is_output: bool,
}

/// Secrets whose reads are told at once.
pub type Decoys = BTreeSet<SecretName>;

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SecretName {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Secret {
    /// Every object is a Secret: `data`, `stringData`, all annotations and labels, and every member that
    /// is not known to be harmless.
    Objects,
    /// `token` in `spec` and `status`, without case.
    Tokens,
    /// Only what turns out to be a Secret inside, and `last-applied-configuration`.
    Embedded,
}

impl Rule {
    pub fn select(request: &RequestInfo) -> Self {
        let secret = match (
            &*request.api_group,
            &*request.resource,
            &*request.subresource,
        ) {
            ("", "secrets", _) => Secret::Objects,
            ("", "serviceaccounts", "token") | ("authentication.k8s.io", "tokenreviews", _) => {
                Secret::Tokens
            }
            _ => Secret::Embedded,
        };
        let resource = match request.is_resource_request {
            true => request.resource.clone(),
            false => String::new(),
        };
        Self {
            secret,
            api_group: request.api_group.clone(),
            resource,
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            decoys: Arc::default(),
            has_environment: quotes::has_environment(request),
            is_output: request.is_pod_log(),
        }
    }

    /// Looks out for these Secrets.
    pub fn with_decoys(self, decoys: &Arc<Decoys>) -> Self {
        Self {
            decoys: Arc::clone(decoys),
            ..self
        }
    }

    /// Whether there is nothing in an object but what names it that is shown.
    pub fn hides_all(&self) -> bool {
        self.secret != Secret::Embedded
    }

    /// For a part of a body that was found to be a Secret.
    pub(super) fn secrets(&self) -> Self {
        Self {
            secret: Secret::Objects,
            api_group: self.api_group.clone(),
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: String::new(),
            decoys: Arc::clone(&self.decoys),
            has_environment: self.has_environment,
            is_output: false,
        }
    }

    /// For an object in a manifest, which no URL names. Which resource a kind belongs to is only known of Kubernetes' own.
    pub(super) fn of_kind(&self, api_version: &str, kind: &str) -> Self {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let rule = match kind {
            "Secret" => self.secrets(),
            _ => self.embedded(),
        };
        Self {
            api_group: group.to_owned(),
            resource: match protobuf::has_kind(api_version, kind) {
                true => plural(kind),
                false => ANY.to_owned(),
            },
            namespace: String::new(),
            ..rule
        }
    }

    /// For the object inside `last-applied-configuration`.
    pub(super) fn embedded(&self) -> Self {
        Self {
            secret: Secret::Embedded,
            ..self.secrets()
        }
    }
}

/// As Kubernetes names the resources of its own kinds.
fn plural(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    match kind.strip_suffix('y') {
        _ if kind == "endpoints" => kind,
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}
