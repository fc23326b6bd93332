//! A JSON Patch of a Secret must not read what the gateway hides: `copy` and `move` would put it where it
//! can be seen, and `test` answers a guess.

use crate::{
    policy::{Denial, floor},
    proxy::operations::{self, Operation},
};

/// What is hidden in a Secret.
const HIDDEN: [&[&str]; 3] = [&["data"], &["stringData"], &["metadata", "annotations"]];

pub(super) fn check(body: &[u8]) -> Result<(), Denial> {
    let found = operations::position(body, reads_hidden);
    match found.map_err(|_| floor::unreadable("secrets"))? {
        Some(index) => Err(floor::json_patch(index)),
        None => Ok(()),
    }
}

fn reads_hidden(operation: &Operation) -> bool {
    let reads = matches!(operation.op.as_deref(), Some("copy" | "move" | "test"));
    reads
        && [&operation.path, &operation.from]
            .into_iter()
            .flatten()
            .any(|pointer| touches_hidden(pointer))
}

/// Whether `pointer` is a hidden field, is in one, or has one in it. Read as evanphx/json-patch v4 reads
/// it, which ignores what is before the first slash.
fn touches_hidden(pointer: &str) -> bool {
    let names: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
    HIDDEN.iter().any(|hidden| {
        names
            .iter()
            .zip(*hidden)
            .all(|(name, hidden)| name == hidden)
    })
}

/// RFC 6901, section 4.
fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};
    use serde_json::{Value, json};

    use super::*;

    fn patch(operations: &Value) -> Result<(), String> {
        check(operations.to_string().as_bytes()).map_err(|denial| denial.reason)
    }

    #[test]
    fn what_reads_nothing_hidden_is_allowed() {
        for operation in [
            json!({ "op": "add", "path": "/data/a", "value": "YQ==" }),
            json!({ "op": "replace", "path": "/metadata/annotations/a", "value": "b" }),
            json!({ "op": "remove", "path": "/stringData" }),
            json!({ "op": "replace", "path": "", "value": {} }),
            json!({ "op": "test", "path": "/metadata/resourceVersion", "value": "1" }),
            json!({ "op": "copy", "from": "/metadata/labels/a", "path": "/metadata/labels/b" }),
            json!({ "op": "move", "from": "/metadata/labels/data", "path": "/metadata/labels/b" }),
        ] {
            assert_eq!(patch(&json!([operation])), Ok(()), "{operation}");
        }
        assert_eq!(patch(&json!([])), Ok(()));
    }

    #[test]
    fn hidden_fields_are_not_read_by_any_spelling() {
        for pointer in [
            "",
            "data",
            "/data",
            "/data/password",
            "x/data/password",
            "/stringData/a",
            "/metadata",
            "/metadata/annotations",
            "/metadata/annotations/example.com~1a",
        ] {
            for operation in [
                json!({ "op": "copy", "from": pointer, "path": "/metadata/labels/a" }),
                json!({ "op": "move", "from": pointer, "path": "/metadata/labels/a" }),
                json!({ "op": "copy", "from": "/metadata/labels/a", "path": pointer }),
                json!({ "op": "test", "path": pointer, "value": "guess" }),
            ] {
                assert!(patch(&json!([operation])).is_err(), "{operation}");
            }
        }
        assert!(check(br#"[{"op":"copy","from":"/\u0064ata/a","path":"/type"}]"#).is_err());
    }

    #[test]
    fn a_denial_names_the_operation() {
        let operations = json!([
            { "op": "add", "path": "/data/a", "value": "YQ==" },
            { "op": "test", "path": "/data/b", "value": "YQ==" },
        ]);
        let reason = patch(&operations).expect_err("it is denied");
        assert!(
            reason.starts_with("operation 1 of the JSON Patch"),
            "{reason}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_denied() {
        for body in [
            "",
            "null",
            "{}",
            "[null]",
            r#"[{"op":1}]"#,
            r#"[{"op":"add","op":"copy","from":"/data/a","path":"/type"}]"#,
            r#"[{"op":"copy","from":"/type","from":"/data/a","path":"/type"}]"#,
            r#"[] []"#,
            "- op: copy",
        ] {
            assert!(check(body.as_bytes()).is_err(), "{body}");
        }
        assert!(check(b"[{\"op\":\"c\xffpy\"}]").is_err());
    }

    /// evanphx/json-patch v4, `findObject` and `get`.
    fn found<'d>(document: &'d Value, pointer: &str) -> Option<&'d Value> {
        let (_, rest) = pointer.split_once('/')?;
        rest.split('/').try_fold(document, |value, name| {
            value.get(name.replace("~1", "/").replace("~0", "~"))
        })
    }

    proptest! {
        #[test]
        fn no_pointer_to_something_hidden_is_overlooked(
            before in select(&["", "x"][..]),
            names in prop::collection::vec(
                select(&["data", "stringData", "metadata", "annotations", "labels", "a~1b", "c~0d", "", "type"][..]), 0..4),
        ) {
            let hidden = json!({ "a/b": "hidden", "c~d": "hidden", "": "hidden" });
            let secret = json!({
                "data": hidden, "stringData": hidden, "type": "Opaque",
                "metadata": { "annotations": hidden, "labels": { "a/b": "shown", "data": "shown" } }
            });
            let pointer = names.iter().fold(before.to_owned(), |pointer, name| pointer + "/" + name);
            if let Some(value) = found(&secret, &pointer) {
                let is_hidden = value.to_string().contains("hidden");
                prop_assert_eq!(touches_hidden(&pointer), is_hidden, "{}", pointer);
            }
        }
    }
}
