use serde_json::json;

use super::*;
use crate::{mask::Key, request_info::RequestInfo};

fn key() -> Arc<Key> {
    Arc::new(Key::from_bytes([7; 32]))
}

fn rule() -> Rule {
    let info = RequestInfo::parse("GET", "/api/v1/namespaces/shop/secrets/db").expect("a request");
    Rule::select(&info)
}

fn secret(value: &str, colour: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "db",
            "labels": {"colour": colour},
            "managedFields": [{"manager": "kubectl"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"data\":\"s3cr3t\"}"},
        },
        "data": {"password": value},
    })
}

#[test]
fn a_diff_shows_that_a_secret_changes_and_never_to_what() {
    let (before, after) = (secret("b2xk", "green"), secret("bmV3", "green"));
    let diff = diff(&key(), rule, Some(&before), Some(&after)).expect("a diff");
    assert!(
        diff.contains("-  password: ") && diff.contains("+  password: "),
        "{diff}"
    );
    for hidden in ["b2xk", "bmV3", "s3cr3t", "managedFields"] {
        assert!(!diff.contains(hidden), "{hidden} is in {diff}");
    }
}

#[test]
fn a_secret_that_stays_is_no_change() {
    let (before, after) = (secret("b2xk", "green"), secret("b2xk", "red"));
    let diff = diff(&key(), rule, Some(&before), Some(&after)).expect("a diff");
    assert!(
        diff.contains("-    colour: ") && diff.contains("+    colour: "),
        "{diff}"
    );
    assert!(
        !diff.contains("-  password") && !diff.contains("b2xk"),
        "{diff}"
    );
    assert_eq!(
        super::diff(&key(), rule, Some(&before), Some(&before)),
        None
    );
}

#[test]
fn what_is_made_is_added_and_what_is_deleted_taken_away() {
    let object = secret("b2xk", "green");
    let made = diff(&key(), rule, None, Some(&object)).expect("a diff");
    assert!(made.contains("+kind: Secret"), "{made}");
    let deleted = diff(&key(), rule, Some(&object), None).expect("a diff");
    assert!(deleted.contains("-kind: Secret"), "{deleted}");
}

#[test]
fn what_is_long_is_cut_and_says_so() {
    let long = json!({"kind": "ConfigMap", "data": {"text": "\u{e9}".repeat(MOST)}});
    let info = RequestInfo::parse("GET", "/api/v1/namespaces/shop/configmaps/web");
    let rule = Rule::select(&info.expect("a request"));
    let shown = object(&key(), rule, &long).expect("it is shown");
    assert!(shown.len() < MOST + 100);
    assert!(shown.ends_with("too long to be shown here\n"));
}
