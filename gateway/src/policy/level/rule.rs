//! One rule of an audit policy.

use serde::Deserialize;

use super::{LevelError, check_stages, invalid, nullable};
use crate::{
    api::v1alpha1::selectors::is_subdomain,
    audit::record::Level,
    identity::{Attributes, UserInfo},
    request_info::RequestInfo,
};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LevelRule {
    level: Option<RuleLevel>,
    #[serde(deserialize_with = "nullable")]
    users: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    user_groups: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<GroupResources>,
    #[serde(deserialize_with = "nullable")]
    namespaces: Vec<String>,
    #[serde(deserialize_with = "nullable", rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    omit_stages: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum RuleLevel {
    None,
    Metadata,
    Request,
    RequestResponse,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GroupResources {
    #[serde(deserialize_with = "nullable")]
    group: String,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resource_names: Vec<String>,
}

impl LevelRule {
    pub(super) fn level(&self) -> Level {
        match self.level {
            None | Some(RuleLevel::None) => Level::None,
            Some(RuleLevel::Metadata) => Level::Metadata,
            Some(RuleLevel::Request) => Level::Request,
            Some(RuleLevel::RequestResponse) => Level::RequestResponse,
        }
    }

    pub(super) fn matches(&self, attributes: &Attributes<'_>) -> bool {
        let identity = attributes.identity;
        (self.matches_user(&identity.user) || self.matches_user(&identity.upstream_user))
            && is_empty_or_has(&self.verbs, &attributes.request.verb)
            && self.matches_target(attributes.request)
    }

    fn matches_user(&self, user: &UserInfo) -> bool {
        let in_group = |group: &String| self.user_groups.contains(group);
        is_empty_or_has(&self.users, &user.username)
            && (self.user_groups.is_empty() || user.groups.iter().any(in_group))
    }

    fn matches_target(&self, request: &RequestInfo) -> bool {
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return request.is_resource_request && self.matches_resource(request);
        }
        if self.non_resource_urls.is_empty() {
            return true;
        }
        !request.is_resource_request
            && self
                .non_resource_urls
                .iter()
                .any(|url| matches_url(url, &request.path))
    }

    fn matches_resource(&self, request: &RequestInfo) -> bool {
        is_empty_or_has(&self.namespaces, &request.namespace)
            && (self.resources.is_empty()
                || self
                    .resources
                    .iter()
                    .any(|resources| resources.matches(request)))
    }

    pub(super) fn check(&self, field: &str) -> Result<(), LevelError> {
        let wrong = |name: &str, message: &str| Err(invalid(&format!("{field}.{name}"), message));
        if self.level.is_none() {
            return wrong("level", "is required");
        }
        let for_paths = !self.non_resource_urls.is_empty();
        let for_objects = !self.resources.is_empty() || !self.namespaces.is_empty();
        if for_paths && for_objects {
            let message =
                "does not go together with resources and namespaces; make it a rule of its own";
            return wrong("nonResourceURLs", message);
        }
        if !self.non_resource_urls.iter().all(|url| is_url_pattern(url)) {
            return wrong(
                "nonResourceURLs",
                "must be \"*\" or start with '/', with '*' only at the end",
            );
        }
        if !self.resources.iter().all(GroupResources::has_valid_group) {
            return wrong(
                "resources.group",
                "must be an API group without version, \"\" or \"*\"",
            );
        }
        if self.resources.iter().any(GroupResources::has_only_names) {
            return wrong("resources.resourceNames", "need resources beside them");
        }
        check_stages(&format!("{field}.omitStages"), &self.omit_stages)
    }
}

impl GroupResources {
    fn has_valid_group(&self) -> bool {
        matches!(self.group.as_str(), "" | "*") || is_subdomain(&self.group)
    }

    fn has_only_names(&self) -> bool {
        self.resources.is_empty() && !self.resource_names.is_empty()
    }

    /// No resources means all of the group, with their subresources.
    fn matches(&self, request: &RequestInfo) -> bool {
        if self.group != "*" && self.group != request.api_group {
            return false;
        }
        let is_named = is_empty_or_has(&self.resource_names, &request.name);
        self.resources.is_empty()
            || is_named
                && self
                    .resources
                    .iter()
                    .any(|entry| matches_entry(entry, request))
    }
}

/// `pods`, `pods/log`, `*/scale`, `*` for everything, or `pods/*`, which here includes `pods` itself.
fn matches_entry(entry: &str, request: &RequestInfo) -> bool {
    let (resource, subresource) = (request.resource.as_str(), request.subresource.as_str());
    match entry.split_once('/') {
        None => entry == "*" || entry == resource && subresource.is_empty(),
        Some((parent, "*")) => parent == resource,
        Some(_) if subresource.is_empty() => false,
        Some((parent, child)) => (parent == "*" || parent == resource) && child == subresource,
    }
}

fn matches_url(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => pattern == path,
    }
}

fn is_url_pattern(url: &str) -> bool {
    url == "*" || url.starts_with('/') && !url.strip_suffix('*').unwrap_or(url).contains('*')
}

fn is_empty_or_has(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|entry| entry == value)
}
