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

    /// An object that no version is looked at of.
    pub(in crate::proxy) fn of_any_version(object: &Value) -> Option<Self> {
        Self::of(object).map(|target| Self {
            resource_version: String::new(),
            ..target
        })
    }
}

/// That of an empty store, so no object has it. What names it, and meets an object, is answered 409; where there is
/// none, an apply or a PUT that may create does so, and the rest is answered 404. Tried on 1.36 with ConfigMaps, Roles,
/// Leases and custom resources; `0` is none to the server, and an apply that names a uid never creates.
const OF_NO_OBJECT: &str = "1";

/// What the API server is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pin<'t> {
    uid: Option<&'t str>,
    resource_version: &'t str,
}

impl Pin<'_> {
    /// That there is still no such object.
    pub(super) const ABSENCE: Self = Self {
        uid: None,
        resource_version: OF_NO_OBJECT,
    };
}

impl<'t> Pin<'t> {
    pub(super) fn on(target: &'t Target) -> Self {
        Self {
            uid: Some(&target.uid),
            resource_version: &target.resource_version,
        }
    }

    /// Lets a patch apply to this version alone. The server answers 409, and 422 where it is a JSON Patch.
    pub(super) fn hold_patch(self, kind: PatchType, patch: &mut Value) -> Result<(), NotPinned> {
        let (PatchType::Json, Value::Array(operations)) = (kind, &mut *patch) else {
            return self.hold_object(patch);
        };
        let test = |name: &str, value: &str| json!({"op": "test", "path": format!("/metadata/{name}"), "value": value});
        let uid = self.uid.map(|uid| test("uid", uid));
        let version = test("resourceVersion", self.resource_version);
        operations.splice(0..0, uid.into_iter().chain([version]));
        Ok(())
    }

    /// Says in an object which version it replaces.
    pub(super) fn hold_object(self, object: &mut Value) -> Result<(), NotPinned> {
        let members = object.as_object_mut().ok_or(NotPinned(""))?;
        let metadata = members
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .ok_or(NotPinned("metadata"))?;
        self.name_in(metadata, is_no_version);
        Ok(())
    }

    /// Lets `DeleteOptions` delete this version alone.
    pub(super) fn hold_deletion(self, options: &mut Value) -> Result<(), NotPinned> {
        let members = options.as_object_mut().ok_or(NotPinned(""))?;
        let preconditions = members.entry("preconditions").or_insert(Value::Null);
        if preconditions.is_null() {
            *preconditions = Value::Object(Map::new());
        }
        let preconditions = preconditions
            .as_object_mut()
            .ok_or(NotPinned("preconditions"))?;
        self.name_in(preconditions, says_nothing);
        Ok(())
    }

    fn name_in(self, members: &mut Map<String, Value>, is_none: fn(&Value) -> bool) {
        let said = |name: &str| members.get(name).filter(|value| !is_none(value));
        // Another version than that of the judgement may be one that is yet to come: nothing is done then.
        let version = match said("resourceVersion") {
            Some(named) if named != self.resource_version => OF_NO_OBJECT,
            _ => self.resource_version,
        };
        let uid = self.uid.filter(|_| said("uid").is_none());
        members.insert("resourceVersion".to_owned(), json!(version));
        if let Some(uid) = uid {
            members.insert("uid".to_owned(), json!(uid));
        }
    }
}

/// Empty and null mean to the server that nothing is said.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || value == ""
}

/// As does a version of zero in an object: kinds that may be replaced unconditionally then are.
fn is_no_version(value: &Value) -> bool {
    let is_zero = |text: &str| text.bytes().all(|digit| digit == b'0');
    says_nothing(value) || value.as_str().is_some_and(is_zero)
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
        Pin::on(&target())
            .hold_patch(PatchType::Json, &mut patch)
            .expect("a list");
        let expected = json!([
            {"op": "test", "path": "/metadata/uid", "value": "u1"},
            {"op": "test", "path": "/metadata/resourceVersion", "value": "42"},
            {"op": "remove", "path": "/metadata/resourceVersion"},
        ]);
        assert_eq!(patch, expected);
    }

    #[test]
    fn a_merge_names_the_version_that_was_judged() {
        for (mut patch, version) in [
            (json!({}), "42"),
            (json!({"metadata": {"resourceVersion": null}}), "42"),
            (json!({"metadata": {"resourceVersion": ""}}), "42"),
            (json!({"metadata": {"resourceVersion": "0"}}), "42"),
            (json!({"metadata": {"resourceVersion": "000"}}), "42"),
            (json!({"metadata": {"resourceVersion": "42"}}), "42"),
        ] {
            Pin::on(&target())
                .hold_patch(PatchType::Merge, &mut patch)
                .expect("an object");
            assert_eq!(
                patch["metadata"],
                json!({"uid": "u1", "resourceVersion": version})
            );
        }
    }

    /// A version that is yet to come can be guessed, and would let through what was judged on another.
    #[test]
    fn a_call_that_names_another_version_meets_none() {
        let (target, mut patch) = (target(), json!({"metadata": {"resourceVersion": "43"}}));
        Pin::on(&target).hold_object(&mut patch).expect("an object");
        assert_eq!(patch["metadata"]["resourceVersion"], OF_NO_OBJECT);
        for named in ["43", "0"] {
            let mut options = json!({"preconditions": {"resourceVersion": named}});
            Pin::on(&target)
                .hold_deletion(&mut options)
                .expect("an object");
            assert_eq!(options["preconditions"]["resourceVersion"], OF_NO_OBJECT);
        }
    }

    #[test]
    fn what_was_absent_must_be_so_still() {
        let mut apply = json!({"metadata": {"name": "web", "resourceVersion": "43"}});
        Pin::ABSENCE
            .hold_patch(PatchType::Apply, &mut apply)
            .expect("an object");
        assert_eq!(
            apply,
            json!({"metadata": {"name": "web", "resourceVersion": OF_NO_OBJECT}})
        );
        let mut patch = json!([{"op": "add", "path": "/data/a", "value": "b"}]);
        Pin::ABSENCE
            .hold_patch(PatchType::Json, &mut patch)
            .expect("a list");
        assert_eq!(
            patch[0],
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": OF_NO_OBJECT})
        );
    }

    #[test]
    fn what_would_drop_the_version_is_not_pinned() {
        for (kind, mut patch) in [
            (PatchType::Merge, json!({"metadata": null})),
            (PatchType::Strategic, json!([])),
            (PatchType::Json, json!({"metadata": "x"})),
        ] {
            let held = Pin::on(&target()).hold_patch(kind, &mut patch);
            assert!(held.is_err(), "{patch}");
        }
        assert!(
            Pin::on(&target())
                .hold_deletion(&mut json!({"preconditions": 1}))
                .is_err()
        );
    }

    #[test]
    fn a_deletion_keeps_its_options() {
        let mut options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}});
        Pin::on(&target())
            .hold_deletion(&mut options)
            .expect("an object");
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
