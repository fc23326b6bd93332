//! Fields of an audit policy that Kubernetes does not know.

use serde_json::Value;

const POLICY: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "rules",
    "omitStages",
    "omitManagedFields",
];
const RULE: &[&str] = &[
    "level",
    "users",
    "userGroups",
    "verbs",
    "resources",
    "namespaces",
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
];
const RESOURCES: &[&str] = &["group", "resources", "resourceNames"];

/// Their paths, such as `rules[2].namespace`.
pub(super) fn fields(policy: &Value) -> Vec<String> {
    let mut unknown = beyond("", policy, POLICY);
    for (index, rule) in items(policy, "rules") {
        let path = format!("rules[{index}].");
        unknown.extend(beyond(&path, rule, RULE));
        for (inner, resources) in items(rule, "resources") {
            unknown.extend(beyond(
                &format!("{path}resources[{inner}]."),
                resources,
                RESOURCES,
            ));
        }
    }
    unknown
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    value[field].as_array().into_iter().flatten().enumerate()
}

fn beyond(path: &str, value: &Value, known: &[&str]) -> Vec<String> {
    let keys = value
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys());
    keys.filter(|key| !known.contains(&key.as_str()))
        .map(|key| format!("{path}{key}"))
        .collect()
}
