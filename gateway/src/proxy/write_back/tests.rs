use std::io::Write as _;

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SEEN: &str = "sallyport-masked-00aa11bb22cc-0123456789abcdef01234567";
const RECORDED: &str = "masked:deadbeef:0123456789abcdef0123456789abcdef";

fn refused(body: &[u8]) -> Option<String> {
    refused_as(b"application/json", body)
}

fn refused_as(content_type: &[u8], body: &[u8]) -> Option<String> {
    check(
        "/api/v1/namespaces/shop/secrets/db",
        Some(content_type),
        body,
    )
    .err()
    .map(|denial| denial.reason)
}

#[track_caller]
fn assert_names(field: &str, body: &Value) {
    let reason = refused(body.to_string().as_bytes()).expect("it is refused");
    assert!(
        reason.starts_with(&format!("{field} holds a placeholder")),
        "{reason}"
    );
}

#[test]
fn the_field_is_named() {
    let encoded = BASE64_STANDARD.encode(SEEN);
    assert_names(
        "data.password",
        &json!({"data": {"user": "eA==", "password": encoded}}),
    );
    assert_names(
        "stringData.password",
        &json!({"stringData": {"password": RECORDED}}),
    );
    assert_names(
        "spec.containers[1].env[0].value",
        &json!({"spec": {"containers": [{}, {"env": [{"name": "A", "value": SEEN}]}]}}),
    );
    assert_names(
        "[1].value",
        &json!([{"op": "add"}, {"op": "add", "value": encoded}]),
    );
    assert_names("data[\"tls.key\"]", &json!({"data": {"tls.key": encoded}}));
    let applied = json!({"data": {"password": encoded}}).to_string();
    assert_names(
        "metadata.annotations[\"kubectl.kubernetes.io/last-applied-configuration\"], in it data.password",
        &json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}}}),
    );
}

#[test]
fn other_formats_are_looked_into() {
    let encoded = BASE64_STANDARD.encode(SEEN);
    let yaml = format!("kind: Secret\ndata:\n  password: {encoded}\n");
    let reason = refused_as(b"application/yaml", yaml.as_bytes()).expect("it is refused");
    assert!(reason.starts_with("data.password holds"), "{reason}");
    for body in [
        format!("stringData: {{password: {SEEN}}}").into_bytes(),
        [
            &b"k8s\0\x0a\x0c\x12\x07password\x12\x36"[..],
            SEEN.as_bytes(),
            b"\x1a\0",
        ]
        .concat(),
    ] {
        assert!(refused(&body).is_some_and(|reason| reason.starts_with("the body")));
    }
}

#[test]
fn what_json_escapes_is_read() {
    let escaped = SEEN.replace('-', "\\u002d");
    let body = format!(r#"{{"data":{{"a":"{escaped}"}}}}"#);
    assert!(refused(body.as_bytes()).is_some_and(|reason| reason.starts_with("data.a ")));
    let beside_half_a_pair = format!(r#"{{"data":{{"b":"\ud800","a":"{escaped}"}}}}"#);
    assert!(refused(beside_half_a_pair.as_bytes()).is_some());
    let encoded = BASE64_STANDARD.encode(SEEN).replace('=', "\\u003d");
    assert_eq!(
        refused(format!(r#"{{"data":{{"a":"{encoded}"}}}}"#).as_bytes()),
        refused(format!(r#"{{"data":{{"a":"{SEEN}"}}}}"#).as_bytes())
    );
}

#[test]
fn a_body_that_is_too_long_to_be_kept_is_refused_all_the_same() {
    let comment = format!("# {}\n", "x".repeat(NAMED));
    let yaml = format!("{comment}data: {{password: {SEEN}}}\n");
    let reason = refused_as(b"application/yaml", yaml.as_bytes()).expect("it is refused");
    assert!(reason.starts_with("the body holds"), "{reason}");
}

#[test]
fn a_release_of_helms_with_a_placeholder_is_refused() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    write!(gzip, r#"{{"name":"site","manifest":"[{SEEN}"}}"#).unwrap();
    let release = BASE64_STANDARD.encode(gzip.finish().unwrap());
    assert_names(
        "data.release",
        &json!({"data": {"release": BASE64_STANDARD.encode(release)}}),
    );
}

/// As `base64` prints it, and as kubectl keeps what it applied.
#[test]
fn base64_in_lines_is_searched_as_one() {
    let text = BASE64_STANDARD.encode(format!("the password of the shop is {SEEN}"));
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(20)
        .map(String::from_utf8_lossy)
        .collect();
    let in_lines = json!({"stringData": {"note": lines.join("\n")}});
    assert!(refused(in_lines.to_string().as_bytes()).is_some());
    let applied = json!({"metadata": {"annotations": {"applied": in_lines.to_string()}}});
    assert!(refused(applied.to_string().as_bytes()).is_some());
    let harmless = json!({"stringData": {"note": lines[..2].join("\n")}});
    assert_eq!(refused(harmless.to_string().as_bytes()), None);
}

#[test]
fn fields_that_cost_much_to_search_are_searched_for_one_budget() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all("V".repeat(3 << 20).as_bytes()).unwrap();
    let much = BASE64_STANDARD.encode(gzip.finish().unwrap());
    let fields = vec![much; 4];
    let body = json!({"a": fields[..1], "b": SEEN}).to_string();
    assert!(refused(body.as_bytes()).is_some_and(|reason| reason.starts_with("b holds")));
    let body = json!({"a": fields, "b": SEEN}).to_string();
    assert!(refused(body.as_bytes()).is_some_and(|reason| reason.starts_with("the body holds")));
}

#[test]
fn a_target_with_a_placeholder_is_refused() {
    for target in [
        format!("/api/v1/namespaces/shop/pods/p/exec?command=login&command={SEEN}"),
        format!(
            "/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3D{}",
            SEEN.replace('-', "%2D")
        ),
        format!("/api/v1/namespaces/shop/secrets/{SEEN}"),
    ] {
        let reason = check(&target, None, b"").expect_err("it is refused").reason;
        assert!(reason.starts_with("the URL holds"), "{reason}");
    }
}

#[test]
fn what_has_none_passes() {
    for body in [
        "",
        "{}",
        "not JSON \\u",
        r#"{"data":{"password":"c2VjcmV0"},"a":"\u00e9"}"#,
        r#"{"message":"values look like sallyport-masked-<tag>-<digest>"}"#,
    ] {
        assert_eq!(refused(body.as_bytes()), None, "{body}");
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-zA-Z0-9+/ ]{0,80}".prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z./]{1,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_placeholder_anywhere_is_refused_and_nothing_else_is(
        document in document(), base64 in any::<bool>(), around in "[ -~]{0,20}",
    ) {
        prop_assert_eq!(refused(document.to_string().as_bytes()), None);
        let text = format!("{around}{SEEN}");
        let value = if base64 { BASE64_STANDARD.encode(text) } else { text };
        let body = json!({"before": document, "field": value});
        let reason = refused(body.to_string().as_bytes());
        prop_assert!(reason.is_some_and(|reason| reason.starts_with("field ")));
    }
}
