//! How far the selectors of a rule reach.

use crate::{
    api::v1alpha1::matching::ANY,
    policy::{floor::proxied_name, matching, reach::Reach},
    request_info::RequestInfo,
};

/// How far a rule reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reaching {
    /// To let pass.
    WhatItNames,
    /// To take away.
    WhatItMayConcern,
}

impl Reaching {
    pub(super) fn is_wide(self) -> bool {
        self == Self::WhatItMayConcern
    }

    /// Events are served under two groups: what takes away reaches both.
    pub(super) fn matches_group(self, api_groups: &[String], request: &RequestInfo) -> bool {
        let alias = match (request.api_group.as_str(), request.resource.as_str()) {
            ("", "events") => Some("events.k8s.io"),
            ("events.k8s.io", "events") => Some(""),
            _ => None,
        };
        matching::lists(api_groups, &request.api_group)
            || self.is_wide() && alias.is_some_and(|alias| matching::lists(api_groups, alias))
    }

    /// A request over all namespaces touches each of them: an `Allow` must say so, and whatever takes away reaches it.
    pub(super) fn matches_namespace(self, namespaces: &[String], request: &RequestInfo) -> bool {
        match Reach::of(request) {
            Reach::Namespace(namespace) => matching::lists(namespaces, namespace),
            Reach::Cluster => matching::lists(namespaces, ""),
            Reach::AllNamespaces => {
                self.is_wide() || namespaces.iter().any(|namespace| namespace == ANY)
            }
        }
    }

    /// A request without a name may touch any object: an `Allow` must say so, and whatever takes away reaches it.
    pub(super) fn matches_name(self, names: &[String], request: &RequestInfo) -> bool {
        if request.name.is_empty() {
            return self.is_wide() || names.iter().any(|name| name == ANY);
        }
        let proxied = self.is_wide() && request.subresource == "proxy";
        matching::lists(names, &request.name)
            || proxied && matching::lists(names, proxied_name(&request.name))
    }

    pub(super) fn matches_path(self, paths: &[String], path: &str) -> bool {
        let trimmed = path.trim_end_matches('/');
        matching::lists_path(paths, path) || self.is_wide() && matching::lists_path(paths, trimmed)
    }
}
