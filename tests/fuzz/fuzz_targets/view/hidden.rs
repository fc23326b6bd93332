//! By another reader of JSON, which sees the last of members with one name: in the place of every value of a Secret there
//! is a placeholder.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// How helm's own Secrets are named: a release in one is shown without what is secret in it.
const RELEASE: &str = "sh.helm.release.v1.";

/// `is_secret`: it is one whatever it says.
pub(crate) fn check(stored: &Value, seen: &Value, is_secret: bool) {
    let is_kind = |kind: &str| stored["kind"] == kind;
    let is_secret = is_secret || is_kind("Secret");
    let holds_secrets = is_secret || is_kind("SecretList");
    if is_secret {
        for members in ["data", "stringData"] {
            check_values(stored, seen, members);
        }
    }
    if let Some(object) = stored.get("object") {
        check(object, &seen["object"], holds_secrets);
    }
    for (index, item) in list(&stored["items"]) {
        check(item, &seen["items"][index], holds_secrets);
    }
    for (index, row) in list(&stored["rows"]) {
        let seen = &seen["rows"][index]["object"];
        check(&row["object"], seen, holds_secrets);
    }
}

fn list(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

fn check_values(stored: &Value, seen: &Value, members: &str) {
    let name = stored["metadata"]["name"].as_str();
    let is_helms = name.is_some_and(|name| name.starts_with(RELEASE));
    match &stored[members] {
        Value::Object(values) => {
            for (name, value) in values {
                let seen = &seen[members][name];
                let is_release = is_helms && members == "data" && name == "release";
                let is_hidden = value.is_null() || is_release || is_placeholder(seen);
                assert!(is_hidden, "{members}.{name} is shown");
            }
        }
        Value::Null => {}
        _ => assert!(is_placeholder(&seen[members]), "{members} is shown"),
    }
}

/// A member may be gone with what it was in, which shows nothing.
fn is_placeholder(seen: &Value) -> bool {
    let is_one = |text: &[u8]| text.starts_with(b"sallyport-masked-");
    let Some(text) = seen.as_str() else {
        return seen.is_null();
    };
    is_one(text.as_bytes()) || STANDARD.decode(text).is_ok_and(|text| is_one(&text))
}
