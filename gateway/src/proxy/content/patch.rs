//! A patch applied here as the API server will apply it.
//!
//! The server uses evanphx/json-patch, which allows more than RFC 6902 does: negative indices, `01`, text before
//! the first slash. What only one of the two applies is not applied here, so the call is denied; what both apply
//! gives the same object, and a precondition holds the server to the object that it was applied to.

use json_patch::PatchOperation;
use serde_json::Value;

/// The server's own limit on the operations of a patch.
const OPERATIONS: usize = 10_000;

/// What `copy` may add up to. The server has such a limit too, of the size of a body.
const COPIED: usize = super::LIMIT;

/// How a body changes an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    pub(super) fn of(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "application/json-patch+json" => Self::Json,
            "application/merge-patch+json" => Self::Merge,
            "application/strategic-merge-patch+json" => Self::Strategic,
            "application/apply-patch+yaml" => Self::Apply,
            _ => return None,
        })
    }

    /// The format that JSON text of such a patch is sent in.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Merge => "merge",
            Self::Strategic => "strategic",
            Self::Apply => "apply",
        }
    }
}

/// Why a patch gives no object.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    #[error("it is not a list of JSON Patch operations with op, path, and value or from")]
    Malformed,
    #[error("it has more than {OPERATIONS} operations")]
    TooLong,
    #[error("operation {index} (counted from 0) does not apply to the object: {problem}")]
    Failed { index: usize, problem: String },
    #[error("its copies add up to more than {COPIED} bytes")]
    TooLarge,
    #[error("only the API server can apply it")]
    NeedsServer,
}

/// `current` after the change.
pub fn apply(kind: PatchType, current: Value, patch: &Value) -> Result<Value, NotApplied> {
    match kind {
        PatchType::Json => apply_operations(current, patch),
        PatchType::Merge => {
            let mut object = current;
            json_patch::merge(&mut object, patch);
            Ok(object)
        }
        PatchType::Strategic | PatchType::Apply => Err(NotApplied::NeedsServer),
    }
}

fn apply_operations(mut object: Value, patch: &Value) -> Result<Value, NotApplied> {
    if patch.as_array().is_some_and(|list| list.len() > OPERATIONS) {
        return Err(NotApplied::TooLong);
    }
    let operations: Vec<PatchOperation> =
        serde::Deserialize::deserialize(patch).map_err(|_| NotApplied::Malformed)?;
    let mut copied = 0;
    for (index, operation) in operations.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation {
            copied += object.pointer(copy.from.as_str()).map_or(0, size);
        }
        if copied > COPIED {
            return Err(NotApplied::TooLarge);
        }
        if operation.path().is_root() && !matches!(operation, PatchOperation::Test(_)) {
            let problem = "the path is the whole object".to_owned();
            return Err(NotApplied::Failed { index, problem });
        }
        json_patch::patch_unsafe(&mut object, std::slice::from_ref(operation)).map_err(
            |error| NotApplied::Failed {
                index,
                problem: error.kind.to_string(),
            },
        )?;
    }
    Ok(object)
}

/// About the bytes of its JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(values) => 2 + values.iter().map(|value| size(value) + 1).sum::<usize>(),
        Value::Object(members) => {
            let members = members.iter();
            2 + members
                .map(|(name, value)| name.len() + 4 + size(value))
                .sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::proxy::content::tests::any_value;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "shop", "labels": {"a/b": "1"}},
            "spec": {"containers": [{"name": "main", "image": "old"}, {"name": "side"}]},
        })
    }

    #[test]
    fn operations_give_the_object_after_them() {
        let patch = json!([
            {"op": "test", "path": "/spec/containers/0/name", "value": "main"},
            {"op": "replace", "path": "/spec/containers/0/image", "value": "new"},
            {"op": "add", "path": "/spec/containers/-", "value": {"name": "late"}},
            {"op": "remove", "path": "/metadata/labels/a~1b"},
            {"op": "copy", "from": "/metadata/name", "path": "/metadata/labels/copy"},
            {"op": "move", "from": "/spec/containers/1", "path": "/spec/containers/0"},
        ]);
        let object = apply(PatchType::Json, pod(), &patch).expect("it applies");
        let expected = json!({
            "metadata": {"name": "shop", "labels": {"copy": "shop"}},
            "spec": {"containers": [{"name": "side"}, {"name": "main", "image": "new"}, {"name": "late"}]},
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_field_added_with_its_parent_is_seen() {
        let patch = json!([{"op": "add", "path": "/spec", "value": {"hostNetwork": true}}]);
        let object = apply(PatchType::Json, pod(), &patch).expect("it applies");
        assert_eq!(object["spec"], json!({"hostNetwork": true}));
    }

    #[test]
    fn what_the_server_alone_would_apply_is_not_applied() {
        for operation in [
            json!({"op": "remove", "path": "/spec/containers/-1"}),
            json!({"op": "replace", "path": "/spec/containers/00/image", "value": "new"}),
            json!({"op": "replace", "path": "/spec/containers/+0/image", "value": "new"}),
            json!({"op": "replace", "path": "x/spec/nodeName", "value": "new"}),
            json!({"op": "add", "path": "/spec/hostNetwork"}),
            json!({"op": "add", "path": "/spec/~2", "value": 1}),
        ] {
            let patch = json!([operation]);
            assert!(apply(PatchType::Json, pod(), &patch).is_err(), "{patch}");
        }
    }

    #[test]
    fn what_does_not_apply_says_where() {
        let patch = json!([
            {"op": "add", "path": "/metadata/labels/x", "value": "1"},
            {"op": "test", "path": "/metadata/name", "value": "other"},
        ]);
        let refused = apply(PatchType::Json, pod(), &patch).expect_err("the test fails");
        let text = refused.to_string();
        assert!(text.starts_with("operation 1 "), "{text}");
        for patch in [
            json!({}),
            json!([{"op": "Add", "path": "/a", "value": 1}]),
            json!([1]),
        ] {
            assert!(apply(PatchType::Json, pod(), &patch).is_err(), "{patch}");
        }
        let whole = json!([{"op": "replace", "path": "", "value": {}}]);
        assert!(apply(PatchType::Json, pod(), &whole).is_err());
    }

    #[test]
    fn copies_that_double_the_object_end_early() {
        let object = json!({"a": "x".repeat(1 << 10)});
        let doubling: Vec<Value> = (0..40)
            .map(|index| json!({"op": "copy", "from": "/a", "path": format!("/b{index}")}))
            .chain((0..40).map(|_| json!({"op": "copy", "from": "", "path": "/a"})))
            .collect();
        let refused = apply(PatchType::Json, object, &json!(doubling));
        assert!(matches!(refused, Err(NotApplied::TooLarge)), "{refused:?}");
    }

    #[test]
    fn a_merge_removes_what_is_null() {
        let patch = json!({"metadata": {"labels": null}, "spec": {"containers": [], "x": {"y": null, "z": 1}}});
        let object = apply(PatchType::Merge, pod(), &patch).expect("it applies");
        let expected =
            json!({"metadata": {"name": "shop"}, "spec": {"containers": [], "x": {"z": 1}}});
        assert_eq!(object, expected);
    }

    proptest! {
        #[test]
        fn any_patch_is_applied_or_refused(object in any_value(), patch in any_value()) {
            for kind in [PatchType::Json, PatchType::Merge] {
                drop(apply(kind, object.clone(), &patch));
            }
        }

        #[test]
        fn a_merge_that_was_applied_changes_nothing_more(object in any_value(), patch in any_value()) {
            let once = apply(PatchType::Merge, object, &patch).expect("a merge always applies");
            let twice = apply(PatchType::Merge, once.clone(), &patch).expect("a merge always applies");
            prop_assert_eq!(once, twice);
        }
    }
}
