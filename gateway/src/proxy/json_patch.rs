//! A JSON Patch must not read what the agent sees only masked: `copy` and `move` would put it where it can be seen, and
//! `test` answers a guess. Which places are masked is not written down a second time here: what is known to be no
//! such place passes.

use super::operations::{self, Operation};
use crate::policy::Denial;

/// Last names of pointers to what is never hidden.
const PLAIN: [&str; 14] = [
    "apiVersion",
    "containerPort",
    "image",
    "imagePullPolicy",
    "kind",
    "minReadySeconds",
    "name",
    "paused",
    "port",
    "replicas",
    "restartPolicy",
    "schedule",
    "suspend",
    "type",
];
/// What may have any names in it.
const FREE: [&str; 4] = ["annotations", "data", "stringData", "env"];

/// Denies a patch that could read what is hidden. `is_sensitive` knows what somebody named, which may be anything.
pub fn check(body: &[u8], is_sensitive: impl Fn(&str) -> bool) -> Result<(), Denial> {
    let reads_hidden = |operation: &Operation| {
        read_by(operation).is_some_and(|pointer| !is_plain(pointer) || is_sensitive(pointer))
    };
    match operations::position(body, reads_hidden).map_err(|_| unreadable())? {
        Some(index) => Err(denial(index)),
        None => Ok(()),
    }
}

fn read_by(operation: &Operation) -> Option<&str> {
    let pointer = match operation.op.as_deref()? {
        "test" => &operation.path,
        "copy" | "move" => &operation.from,
        _ => return None,
    };
    pointer.as_deref()
}

/// Read as evanphx/json-patch v4 reads it, which ignores what is before the first slash.
fn is_plain(pointer: &str) -> bool {
    let names: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|name| name.replace("~1", "/").replace("~0", "~"))
        .collect();
    match &names[..] {
        [metadata, member, ..] if metadata == "metadata" => member != "annotations",
        [.., last] => {
            let is_free = names.iter().any(|name| FREE.contains(&name.as_str()));
            !is_free && PLAIN.contains(&last.as_str())
        }
        [] => false,
    }
}

fn denial(index: usize) -> Denial {
    Denial {
        rule: "built-in/masked-view".into(),
        reason: format!(
            "operation {index} of the JSON Patch (counted from 0) could read or compare values that policy lets you see only masked"
        ),
        hint: "Use add, replace and remove, or a merge patch; test only names, images, replicas and metadata.".into(),
    }
}

fn unreadable() -> Denial {
    Denial {
        rule: "built-in/masked-view".into(),
        reason: "the JSON Patch cannot be read, and could read values that policy lets you see only masked".into(),
        hint: "Send a list of at most 10000 operations with each field given once.".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn passes(operation: &Value) -> bool {
        check(json!([operation]).to_string().as_bytes(), |_| false).is_ok()
    }

    #[test]
    fn what_reads_nothing_hidden_passes() {
        for operation in [
            json!({"op": "add", "path": "/spec/template/spec/containers/0/env/0/value", "value": "x"}),
            json!({"op": "replace", "path": "/metadata/annotations/a", "value": "b"}),
            json!({"op": "remove", "path": "/data/a"}),
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": "1"}),
            json!({"op": "test", "path": "/spec/template/spec/containers/0/image", "value": "a"}),
            json!({"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/b"}),
        ] {
            assert!(passes(&operation), "{operation}");
        }
    }

    #[test]
    fn what_could_read_something_hidden_does_not() {
        for pointer in [
            "",
            "/spec",
            "/metadata",
            "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
            "/spec/template/spec/containers/0/env/0/value",
            "/spec/template/spec/containers/0/env/0/name",
            "/spec/template/spec/containers/0/args/1",
            "x/data/name",
            "/data/na~0me",
        ] {
            for operation in [
                json!({"op": "test", "path": pointer, "value": "guess"}),
                json!({"op": "copy", "from": pointer, "path": "/metadata/labels/a"}),
                json!({"op": "move", "from": pointer, "path": "/metadata/labels/a"}),
            ] {
                assert!(!passes(&operation), "{operation}");
            }
        }
    }

    #[test]
    fn what_somebody_called_sensitive_is_not_read_whatever_its_name() {
        let check = |pointer: &str, op: &str| {
            let operation = json!({"op": op, "path": pointer, "from": pointer, "value": 1});
            let body = json!([operation]).to_string();
            check(body.as_bytes(), |pointer| pointer.starts_with("/spec/port"))
        };
        for op in ["test", "copy", "move"] {
            assert!(check("/spec/port", op).is_err(), "{op}");
            assert!(check("/spec/containerPort", op).is_ok(), "{op}");
        }
        assert!(check("/spec/port", "replace").is_ok());
    }

    #[test]
    fn a_field_that_is_given_twice_is_not_read_once() {
        for body in [
            r#"[{"op":"add","op":"test","path":"/data/a"}]"#,
            r#"{"op":"test"}"#,
            "",
        ] {
            assert!(check(body.as_bytes(), |_| false).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn nothing_below_free_names_is_plain(before in "(/[a-z]{1,4}){0,2}", after in "(/[a-z]{1,5}){0,2}") {
            for name in FREE {
                let pointer = format!("{before}/{name}{after}");
                if !pointer.starts_with("/metadata/") || name == "annotations" && before == "/metadata" {
                    prop_assert!(!is_plain(&pointer), "{}", pointer);
                }
            }
        }
    }
}
