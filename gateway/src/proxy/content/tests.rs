use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::identity::{Identity, Provenance, UserInfo};

pub(in crate::proxy) fn identity() -> Identity {
    Identity {
        user: UserInfo::default(),
        upstream_user: UserInfo::default(),
        issuer: None,
        claims: BTreeMap::new(),
        workload: None,
        pod_agent: None,
        provenance: Provenance::default(),
        session_id: None,
    }
}

/// What a body may hold: every number is one that is kept, and none is written in two ways.
pub(in crate::proxy) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|number| Value::from(f64::from(number) + 0.5)),
        any::<String>().prop_map(Value::from),
        "(yes|no|on|0644|1e3|0x1f|null|~|2001-01-01|1:30|[a-z:#&*!|>%@`'\" -]{0,6})"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z.~/\"\u{e9}]{0,3}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn formats_that_are_not_read_are_named() {
    for format in ["application/cbor", "text/plain"] {
        let refused = read_object(format, b"{}").expect_err(format);
        assert_eq!(refused, Unreadable::Format(format.to_owned()));
    }
    assert_eq!(PatchType::of("application/apply-patch+cbor"), None);
    assert_eq!(read_object("", b"{}"), Ok(json!({})));
    assert_eq!(read_object("application/json", b""), Err(Unreadable::Empty));
}

#[test]
fn the_largest_body_is_read() {
    let object = json!({"data": {"blob": "x".repeat(LIMIT - 100)}, "metadata": {"name": "large"}});
    let text = object.to_string();
    assert!(text.len() <= LIMIT);
    assert_eq!(
        read_object("application/json", text.as_bytes()),
        Ok(object.clone())
    );
    assert_eq!(read_object("application/yaml", text.as_bytes()), Ok(object));
}

#[test]
fn a_deletion_without_a_body_keeps_the_options_of_its_query() {
    let target = "/api/v1/namespaces/shop/pods/web?gracePeriodSeconds=0&dryRun=All&propagationPolicy=Orphan\
                  &gracePeriodSeconds=9&orphanDependents=no&timeout=1s";
    let options = deletion_options(target, None).expect("it is text");
    let expected = json!({
        "gracePeriodSeconds": 0, "dryRun": ["All"], "propagationPolicy": "Orphan", "orphanDependents": true,
    });
    assert_eq!(options, expected);
    assert!(is_rehearsal(&options));
    let body = json!({"gracePeriodSeconds": 5});
    let options = deletion_options(target, Some(body.clone())).expect("it is text");
    assert_eq!(options, body);
    assert!(!is_rehearsal(&options));
}

#[test]
fn an_object_is_where_its_url_says() {
    let request = |line: &str| {
        let (method, target) = line.split_once(' ').expect("method and target");
        RequestInfo::parse(method, target).expect("it is unambiguous")
    };
    let create = request("POST /api/v1/namespaces/shop/pods");
    assert_eq!(
        placed(&json!({"metadata": {"generateName": "web-"}}), &create),
        json!({"metadata": {"generateName": "web-", "namespace": "shop"}})
    );
    let update = request("PUT /api/v1/namespaces/shop/pods/web");
    assert_eq!(
        placed(&json!({"spec": {}}), &update),
        json!({"spec": {}, "metadata": {"namespace": "shop", "name": "web"}})
    );
    assert_eq!(
        placed(&json!({"metadata": {"namespace": "other"}}), &update),
        json!({"metadata": {"namespace": "other", "name": "web"}})
    );
    assert_eq!(placed(&json!([1]), &update), json!([1]));
}

#[test]
fn json_of_an_apply_has_no_line_breaks_of_yaml() {
    let text = for_yaml("{\"a\":\"x\u{2028}y\u{85}z\u{1f600}\"}");
    assert_eq!(text, "{\"a\":\"x\\u2028y\\u0085z\u{1f600}\"}");
}

#[test]
fn what_was_read_is_sent_with_a_precondition() {
    let current = json!({"metadata": {"name": "web", "uid": "u", "resourceVersion": "7"}});
    let content = |verb: &str, patch: Option<PatchType>, body: Value| {
        let mut content = Content::default();
        content.set_body(body);
        content.facts.old_object = Fact::Known(current.clone());
        content.set_targets(Target::of(&current).into_iter().collect());
        content.pin(verb, patch).expect("it carries it");
        let outgoing = content.outgoing.expect("it is replaced");
        let sent: Value = serde_json::from_slice(&outgoing.bytes).expect("it is JSON");
        (sent, outgoing.content_type)
    };
    assert_eq!(
        content("update", None, json!({"spec": 1})),
        (
            json!({"spec": 1, "metadata": {"uid": "u", "resourceVersion": "7"}}),
            "application/json"
        )
    );
    assert_eq!(
        content("patch", Some(PatchType::Apply), json!({"spec": 1})).1,
        "application/apply-patch+yaml"
    );
    assert_eq!(
        content("delete", None, json!({})).0,
        json!({"preconditions": {"uid": "u", "resourceVersion": "7"}})
    );
}
