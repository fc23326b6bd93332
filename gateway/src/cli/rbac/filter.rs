//! Rules without what would lead around the gateway: being somebody else, and tokens that the API server accepts.

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::request_info::RESOURCE_VERBS;

#[derive(Debug)]
pub(super) enum Filtered {
    /// Nothing had to be taken away, so the role itself can be bound.
    Whole,
    Part(Vec<Rule>),
}

/// A rule that is left, or one that RBAC has no way to narrow.
#[derive(Debug)]
pub(super) enum Rule {
    Kept(PolicyRule),
    Lost(PolicyRule),
}

pub(super) fn filter(rules: &[PolicyRule]) -> Filtered {
    let parts: Vec<_> = rules.iter().filter_map(part).collect();
    let whole = parts.len() == rules.len()
        && rules
            .iter()
            .zip(&parts)
            .all(|(rule, part)| matches!(part, Rule::Kept(kept) if kept == rule));
    match whole {
        true => Filtered::Whole,
        false => Filtered::Part(parts),
    }
}

/// What is left of `rule`; nothing where it was about nothing else.
fn part(rule: &PolicyRule) -> Option<Rule> {
    let mints = |verb: &String| verb == "create" || verb == "*";
    let core = has(rule.api_groups.as_ref(), &["", "*"]);
    let mints = core && rule.verbs.iter().any(mints);
    if mints && has(rule.resources.as_ref(), &["*"]) {
        return Some(Rule::Lost(rule.clone()));
    }
    let mut left = rule.clone();
    if let Some(resources) = &mut left.resources {
        resources.retain(|resource| {
            !(mints && (resource == "serviceaccounts/token" || resource == "*/token"))
        });
        if resources.is_empty() {
            return None;
        }
    }
    left.verbs = verbs(rule);
    (!left.verbs.is_empty()).then_some(Rule::Kept(left))
}

fn verbs(rule: &PolicyRule) -> Vec<String> {
    let impersonates = is_about_identities(rule);
    if impersonates && rule.verbs.iter().any(|verb| verb == "*") {
        // What `*` meant before Kubernetes put other rights into verbs.
        return RESOURCE_VERBS.map(str::to_owned).to_vec();
    }
    let kept = rule
        .verbs
        .iter()
        .filter(|verb| !verb.starts_with("impersonate"));
    kept.cloned().collect()
}

fn is_about_identities(rule: &PolicyRule) -> bool {
    let identity = |resource: &String| {
        ["*", "users", "groups", "serviceaccounts", "uids", "nodes"].contains(&resource.as_str())
            || resource.starts_with("userextras")
    };
    has(
        rule.api_groups.as_ref(),
        &["", "*", "authentication.k8s.io"],
    ) && rule.resources.iter().flatten().any(identity)
}

fn has(list: Option<&Vec<String>>, any: &[&str]) -> bool {
    list.into_iter()
        .flatten()
        .any(|entry| any.contains(&entry.as_str()))
}
