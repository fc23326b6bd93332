//! The object that a decision was made on, and how the API server is held to it.

use serde_json::{Map, Value, json};

use super::patch::PatchType;

/// One version of one object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Target {
    pub uid: String,
    pub resource_version: String,
}

/// The body cannot carry the precondition.
#[derive(Debug, thiserror::Error)]
#[error("the field {0:?} of the body is not an object")]
pub struct NotPinned(&'static str);

impl Target {
    pub(in crate::proxy) fn of(object: &Value) -> Option<Self> {
        let field = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
        Some(Self {
            uid: field("uid")?,
            resource_version: field("resourceVersion")?,
        })
    }

    /// Lets a patch apply to this version alone. The server answers 409, and 422 where it is a JSON Patch.
    pub(super) fn pin_patch(&self, kind: PatchType, patch: &mut Value) -> Result<(), NotPinned> {
        let (PatchType::Json, Value::Array(operations)) = (kind, &mut *patch) else {
            return self.pin_object(patch);
        };
        let test = |name: &str, value: &str| json!({"op": "test", "path": format!("/metadata/{name}"), "value": value});
        let tests = [
            test("uid", &self.uid),
            test("resourceVersion", &self.resource_version),
        ];
        operations.splice(0..0, tests);
        Ok(())
    }

    /// Says in an object which version it replaces, unless it says so itself.
    pub(super) fn pin_object(&self, object: &mut Value) -> Result<(), NotPinned> {
        let members = object.as_object_mut().ok_or(NotPinned(""))?;
        let metadata = members
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .ok_or(NotPinned("metadata"))?;
        set_default(metadata, "uid", &self.uid);
        set_default(metadata, "resourceVersion", &self.resource_version);
        Ok(())
    }

    /// Lets `DeleteOptions` delete this version alone.
    pub(super) fn pin_deletion(&self, options: &mut Value) -> Result<(), NotPinned> {
        let members = options.as_object_mut().ok_or(NotPinned(""))?;
        let preconditions = members.entry("preconditions").or_insert(Value::Null);
        if preconditions.is_null() {
            *preconditions = Value::Object(Map::new());
        }
        let preconditions = preconditions
            .as_object_mut()
            .ok_or(NotPinned("preconditions"))?;
        set_default(preconditions, "uid", &self.uid);
        set_default(preconditions, "resourceVersion", &self.resource_version);
        Ok(())
    }
}

/// Empty and null mean to the server that nothing is said.
fn set_default(members: &mut Map<String, Value>, name: &str, value: &str) {
    let said = members
        .get(name)
        .is_some_and(|value| !value.is_null() && value != "");
    if !said {
        members.insert(name.to_owned(), Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            uid: "u1".into(),
            resource_version: "42".into(),
        }
    }

    #[test]
    fn a_json_patch_tests_before_it_changes() {
        let mut patch = json!([{"op": "remove", "path": "/metadata/resourceVersion"}]);
        target()
            .pin_patch(PatchType::Json, &mut patch)
            .expect("a list");
        let expected = json!([
            {"op": "test", "path": "/metadata/uid", "value": "u1"},
            {"op": "test", "path": "/metadata/resourceVersion", "value": "42"},
            {"op": "remove", "path": "/metadata/resourceVersion"},
        ]);
        assert_eq!(patch, expected);
    }

    #[test]
    fn a_merge_names_the_version_unless_it_does_so_itself() {
        for (mut patch, version) in [
            (json!({}), "42"),
            (json!({"metadata": {"resourceVersion": null}}), "42"),
            (json!({"metadata": {"resourceVersion": ""}}), "42"),
            (json!({"metadata": {"resourceVersion": "7"}}), "7"),
        ] {
            target()
                .pin_patch(PatchType::Merge, &mut patch)
                .expect("an object");
            assert_eq!(
                patch["metadata"],
                json!({"uid": "u1", "resourceVersion": version})
            );
        }
    }

    #[test]
    fn what_would_drop_the_version_is_not_pinned() {
        for (kind, mut patch) in [
            (PatchType::Merge, json!({"metadata": null})),
            (PatchType::Strategic, json!([])),
            (PatchType::Json, json!({"metadata": "x"})),
        ] {
            assert!(target().pin_patch(kind, &mut patch).is_err(), "{patch}");
        }
        assert!(
            target()
                .pin_deletion(&mut json!({"preconditions": 1}))
                .is_err()
        );
    }

    #[test]
    fn a_deletion_keeps_its_options() {
        let mut options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}});
        target().pin_deletion(&mut options).expect("an object");
        let expected = json!({
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": "other", "resourceVersion": "42"},
        });
        assert_eq!(options, expected);
    }

    #[test]
    fn an_object_without_a_version_is_no_target() {
        assert_eq!(
            Target::of(&json!({"metadata": {"uid": "u1", "resourceVersion": "42"}})),
            Some(target())
        );
        for object in [json!({}), json!({"metadata": {"uid": "u1"}}), json!(null)] {
            assert_eq!(Target::of(&object), None);
        }
    }
}
