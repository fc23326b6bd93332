//! The list of what RBAC allows, without what policy is sure to deny.
//!
//! A rule of RBAC speaks of every verb, group, resource and name in its lists together. Where policy takes a part of
//! that away, what is left is written as rules of one resource each. What has a `*` in it stays: nobody here knows what
//! it stands for.

use serde_json::{Value, json};

use super::ResourceAttributes;
use crate::{
    api::v1alpha1::matching::ANY,
    policy::Scoped,
    request_info::{RESOURCE_VERBS, RequestInfo},
};

/// A rule that speaks of more is left as it is.
const MOST: usize = 10_000;

/// Takes out of the status of an answer what `denies` is sure of, for calls in `namespace`.
pub(super) fn narrow(
    status: &mut serde_json::Map<String, Value>,
    namespace: &str,
    denies: &dyn Fn(&RequestInfo) -> bool,
) {
    if let Some(rules) = status
        .get_mut("resourceRules")
        .and_then(Value::as_array_mut)
    {
        let whole = std::mem::take(rules);
        rules.extend(
            whole
                .into_iter()
                .flat_map(|rule| of_objects(rule, namespace, denies)),
        );
    }
    if let Some(rules) = status
        .get_mut("nonResourceRules")
        .and_then(Value::as_array_mut)
    {
        let whole = std::mem::take(rules);
        rules.extend(whole.into_iter().flat_map(|rule| of_paths(rule, denies)));
    }
}

/// One resource of one rule.
struct Cell<'r> {
    group: &'r str,
    resource: &'r str,
    /// Empty for every name.
    name: &'r str,
}

fn of_objects(rule: Value, namespace: &str, denies: &dyn Fn(&RequestInfo) -> bool) -> Vec<Value> {
    let (verbs, cells) = (texts(&rule["verbs"]), cells(&rule));
    if verbs.len() * cells.len() > MOST {
        return vec![rule];
    }
    let left: Vec<_> = cells
        .iter()
        .map(|cell| {
            let mut verbs = verbs.clone();
            verbs.retain(|verb| !cell.is_denied(verb, namespace, denies));
            verbs
        })
        .collect();
    if left.iter().all(|left| *left == verbs) {
        return vec![rule];
    }
    let left = cells.iter().zip(&left);
    left.filter(|(_, verbs)| !verbs.is_empty())
        .map(|(cell, verbs)| cell.rule(verbs))
        .collect()
}

fn of_paths(mut rule: Value, denies: &dyn Fn(&RequestInfo) -> bool) -> Vec<Value> {
    let asked = |verb: &str, path: &str| RequestInfo {
        verb: verb.to_owned(),
        path: path.to_owned(),
        ..RequestInfo::default()
    };
    let verbs = texts(&rule["verbs"]);
    let is_left = |path: &&str| {
        path.contains(ANY)
            || verbs
                .iter()
                .any(|verb| *verb == ANY || !denies(&asked(verb, path)))
    };
    let mut paths = texts(&rule["nonResourceURLs"]);
    paths.retain(is_left);
    if paths.is_empty() {
        return Vec::new();
    }
    rule["nonResourceURLs"] = json!(paths);
    vec![rule]
}

fn cells(rule: &Value) -> Vec<Cell<'_>> {
    let names = match texts(&rule["resourceNames"]) {
        names if names.is_empty() => vec![""],
        names => names,
    };
    let (groups, resources) = (texts(&rule["apiGroups"]), texts(&rule["resources"]));
    let resources = |group| resources.iter().map(move |resource| (group, *resource));
    let of_groups = groups.into_iter().flat_map(resources);
    of_groups
        .flat_map(|(group, resource)| {
            names.iter().map(move |name| Cell {
                group,
                resource,
                name,
            })
        })
        .collect()
}

impl Cell<'_> {
    fn is_denied(
        &self,
        verb: &str,
        namespace: &str,
        denies: &dyn Fn(&RequestInfo) -> bool,
    ) -> bool {
        let is_open = [verb, self.group].contains(&ANY) || self.resource.contains(ANY);
        // RBAC has other verbs, of which the API server asks itself: policy says nothing of them.
        let is_of_requests = RESOURCE_VERBS.contains(&verb) || verb == "impersonate";
        if is_open || !is_of_requests {
            return false;
        }
        let denied =
            |namespace: &str| verb == "impersonate" || denies(&self.asked(verb, namespace));
        let (resource, _) = self.parts();
        match Scoped::of(self.group, resource) {
            Scoped::InNamespaces => denied(namespace),
            Scoped::InCluster => denied(""),
            // A Namespace is asked for as in itself, whichever it is.
            Scoped::Unknown if (self.group, resource) == ("", "namespaces") => false,
            Scoped::Unknown => denied(namespace) && denied(""),
        }
    }

    fn asked(&self, verb: &str, namespace: &str) -> RequestInfo {
        let (resource, subresource) = self.parts();
        let asked = ResourceAttributes {
            namespace: namespace.to_owned(),
            verb: verb.to_owned(),
            group: self.group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: self.name.to_owned(),
            ..ResourceAttributes::default()
        };
        asked.request()
    }

    fn parts(&self) -> (&str, &str) {
        self.resource.split_once('/').unwrap_or((self.resource, ""))
    }

    fn rule(&self, verbs: &[&str]) -> Value {
        let mut rule =
            json!({"verbs": verbs, "apiGroups": [self.group], "resources": [self.resource]});
        if !self.name.is_empty() {
            rule["resourceNames"] = json!([self.name]);
        }
        rule
    }
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(status: &Value, denies: &dyn Fn(&RequestInfo) -> bool) -> Value {
        let mut status = status.as_object().expect("an object").clone();
        narrow(&mut status, "ci", denies);
        Value::Object(status)
    }

    /// Of Secrets everything but `web`, and writes of nodes.
    fn denies(asked: &RequestInfo) -> bool {
        match asked.resource.as_str() {
            "secrets" => asked.name != "web",
            "nodes" => asked.verb != "get" && asked.namespace.is_empty(),
            "widgets" => !asked.namespace.is_empty(),
            _ => asked.path == "/logs",
        }
    }

    #[test]
    fn what_is_surely_denied_is_not_listed() {
        let rules = json!({
            "resourceRules": [
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "secrets"]},
                {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db", "web"]},
                {"verbs": ["get", "patch"], "apiGroups": [""], "resources": ["nodes"]},
                {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]},
            ],
            "nonResourceRules": [
                {"verbs": ["get"], "nonResourceURLs": ["/logs", "/metrics"]},
                {"verbs": ["get"], "nonResourceURLs": ["/logs"]},
            ],
        });
        let expected = json!({
            "resourceRules": [
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]},
                {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["web"]},
                {"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]},
            ],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}],
        });
        assert_eq!(narrowed(&rules, &denies), expected);
    }

    #[test]
    fn what_may_be_more_than_is_denied_is_listed() {
        let rules = json!({
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": [""], "resources": ["secrets"]},
                {"verbs": ["get"], "apiGroups": ["*"], "resources": ["secrets"]},
                {"verbs": ["get"], "apiGroups": [""], "resources": ["*", "*/scale"]},
                {"verbs": ["use"], "apiGroups": ["policy"], "resources": ["podsecuritypolicies"]},
                {"verbs": ["get"], "apiGroups": ["acme.dev"], "resources": ["widgets"]},
                {"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces"]},
            ],
            "nonResourceRules": [{"verbs": ["*", "get"], "nonResourceURLs": ["/logs", "/logs/*"]}],
        });
        let all = |asked: &RequestInfo| asked.resource != "widgets" || denies(asked);
        assert_eq!(narrowed(&rules, &all), rules);
    }
}
