//! A strategic merge patch of a Secret, applied here as the API server will apply it.
//!
//! Of maps and single values such a patch makes what a JSON merge patch makes. What else it can say is refused by name:
//! directives, lists, which merge by rules of their own, and fields that another version of Kubernetes may know.

use serde_json::Value;

use super::patch::NotApplied;

const FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "data",
    "stringData",
    "type",
    "immutable",
];

const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

pub(super) fn apply(mut secret: Value, patch: &Value) -> Result<Value, NotApplied> {
    if secret["kind"] != "Secret" || secret["apiVersion"] != "v1" {
        return Err(NotApplied::NeedsServer);
    }
    check_known(patch, "", FIELDS)?;
    check_known(&patch["metadata"], "metadata.", METADATA)?;
    check_plain(patch, "")?;
    json_patch::merge(&mut secret, patch);
    Ok(secret)
}

fn check_known(members: &Value, within: &str, known: &[&str]) -> Result<(), NotApplied> {
    let mut names = members.as_object().into_iter().flat_map(|map| map.keys());
    let unknown = names.find(|name| !known.contains(&name.as_str()));
    unknown.map_or(Ok(()), |name| {
        Err(NotApplied::NotPlain(format!("{within}{name}")))
    })
}

/// No name of a Secret's begins as directives do: neither a key, nor a label's, nor an annotation's.
fn check_plain(value: &Value, path: &str) -> Result<(), NotApplied> {
    match value {
        Value::Array(_) => Err(NotApplied::NotPlain(path.to_owned())),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            if name.starts_with('$') {
                return Err(NotApplied::NotPlain(path));
            }
            check_plain(value, &path)
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::proxy::content::tests::any_value;

    fn secret() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "db", "labels": {"app": "shop", "tier": "1"}, "finalizers": ["x/y"]},
            "data": {"user": "YQ==", "password": "Yg=="},
        })
    }

    #[test]
    fn maps_merge_and_null_deletes() {
        let patch = json!({
            "metadata": {"labels": {"tier": null, "new": "2"}, "annotations": {"a": "1", "b": null}},
            "data": {"user": null}, "stringData": {"password": "c"}, "immutable": true,
        });
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
            "metadata": {
                "name": "db", "labels": {"app": "shop", "new": "2"}, "annotations": {"a": "1"},
                "finalizers": ["x/y"],
            },
            "data": {"password": "Yg=="}, "stringData": {"password": "c"},
        });
        assert_eq!(apply(secret(), &patch).expect("it applies"), expected);
    }

    #[test]
    fn what_is_not_plain_is_refused_by_name() {
        for (patch, field) in [
            (
                json!({"metadata": {"finalizers": ["a/b"]}}),
                "metadata.finalizers",
            ),
            (
                json!({"metadata": {"ownerReferences": [{"uid": "u"}]}}),
                "metadata.ownerReferences",
            ),
            (
                json!({"metadata": {"$setElementOrder/finalizers": []}}),
                "metadata.$setElementOrder/finalizers",
            ),
            (
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/y"]}}),
                "metadata.$deleteFromPrimitiveList/finalizers",
            ),
            (
                json!({"data": {"$patch": "replace", "a": "YQ=="}}),
                "data.$patch",
            ),
            (json!({"$patch": "delete"}), "$patch"),
            (json!({"data": {"$retainKeys": ["a"]}}), "data.$retainKeys"),
            (
                json!({"metadata": {"labels": {"a": {"$patch": 1}}}}),
                "metadata.labels.a.$patch",
            ),
            (json!({"Data": {"a": "YQ=="}}), "Data"),
            (json!({"metadata": {"label": {}}}), "metadata.label"),
            (json!({"data": {"a": ["b"]}}), "data.a"),
        ] {
            let refused = apply(secret(), &patch).expect_err(field);
            let text = refused.to_string();
            assert!(text.contains(&format!("{field:?}")), "{field}: {text}");
        }
        let all = json!({"metadata": {"finalizers": null}});
        let after = apply(secret(), &all).expect("null deletes a list too");
        assert!(after["metadata"]["finalizers"].is_null());
    }

    #[test]
    fn nothing_but_a_secret_is_patched() {
        for (name, value) in [("kind", "Deployment"), ("apiVersion", "acme.dev/v1")] {
            let mut other = secret();
            other[name] = json!(value);
            let refused = apply(other, &json!({}));
            assert!(matches!(refused, Err(NotApplied::NeedsServer)));
        }
    }

    proptest! {
        #[test]
        fn any_patch_is_applied_or_refused(data in any_value()) {
            drop(apply(secret(), &data));
            drop(apply(secret(), &json!({"metadata": data})));
            drop(apply(secret(), &json!({"data": data})));
        }
    }
}
