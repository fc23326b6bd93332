use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::proxy::protobuf_fields::tests::{body, field};

const SECRETS: &str = "POST /api/v1/namespaces/ci/secrets";
const SECRET: &str = "/api/v1/namespaces/ci/secrets/x";
const DEFINITIONS: &str = "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SERVICES: &str = "POST /apis/apiregistration.k8s.io/v1/apiservices";
const SIGNING: &str = "POST /apis/certificates.k8s.io/v1/certificatesigningrequests";

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const APPLY: &str = "application/apply-patch+yaml";
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
const BOOTSTRAP_TYPE: &str = "bootstrap.kubernetes.io/token";

/// `allowed`, or the rule that denies.
fn judged(line: &str, content_type: Option<&str>, body: &[u8]) -> String {
    let (method, target) = line.split_once(' ').expect("method and target");
    let info = RequestInfo::parse(method, target).expect("it is unambiguous");
    match check(&info, content_type.map(str::as_bytes), body) {
        Ok(()) => "allowed".to_owned(),
        Err(denial) => denial
            .rule
            .strip_prefix("built-in/floor-")
            .expect("a rule of the floor")
            .to_owned(),
    }
}

fn judged_json(line: &str, object: &Value) -> String {
    judged(line, Some(JSON), object.to_string().as_bytes())
}

fn secret(kind: &str) -> Value {
    json!({ "metadata": { "name": "x" }, "type": kind, "data": { "type": "YQ==" } })
}

#[test]
fn a_secret_that_is_given_a_token_is_refused_however_it_is_written() {
    let update = format!("PUT {SECRET}");
    let patch = format!("PATCH {SECRET}");
    for (line, content_type) in [
        (SECRETS, Some(JSON)),
        (SECRETS, None),
        (SECRETS, Some("application/JSON; charset=utf-8")),
        (&*update, Some(JSON)),
        (&*patch, Some(APPLY)),
        (&*patch, Some("application/merge-patch+json")),
        (&*patch, Some("application/strategic-merge-patch+json")),
    ] {
        for (kind, expected) in [
            (TOKEN_TYPE, "token-secret"),
            (BOOTSTRAP_TYPE, "token-secret"),
            ("Opaque", "allowed"),
            ("kubernetes.io/tls", "allowed"),
        ] {
            let object = secret(kind).to_string();
            assert_eq!(
                judged(line, content_type, object.as_bytes()),
                expected,
                "{line} {content_type:?} {kind}"
            );
        }
    }
}

#[test]
fn a_secret_in_which_the_api_server_looks_for_a_bootstrap_token_is_refused() {
    let system = "/api/v1/namespaces/kube-system/secrets";
    let named = |field: &str, name: &str| json!({ "metadata": { field: name }, "type": "Opaque" });
    for (field, number) in [("name", 1), ("generateName", 2)] {
        for (name, expected) in [
            ("bootstrap-token-abcdef", "token-secret"),
            ("bootstrap-token-", "token-secret"),
            ("bootstrap-tokens", "allowed"),
            ("my-bootstrap-token-abcdef", "allowed"),
        ] {
            let object = named(field, name);
            assert_eq!(
                judged_json(&format!("POST {system}"), &object),
                expected,
                "{object}"
            );
            assert_eq!(judged_json(SECRETS, &object), "allowed", "{object}");
            let protobuf = body(&field_of_metadata(number, name));
            assert_eq!(
                judged(&format!("POST {system}"), Some(PROTOBUF), &protobuf),
                expected
            );
            let yaml = format!("metadata:\n  {field}: {name}\n");
            let line = format!("POST {system}");
            assert_eq!(
                judged(&line, Some("application/yaml"), yaml.as_bytes()),
                expected
            );
        }
    }
    // By its type a Secret is one wherever it is, and in protobuf as well.
    let typed = body(&field(3, BOOTSTRAP_TYPE.as_bytes()));
    assert_eq!(judged(SECRETS, Some(PROTOBUF), &typed), "token-secret");
    let unreadable = r#"{"metadata":{"name":"x","name":"bootstrap-token-abcdef"}}"#;
    let line = format!("POST {system}");
    assert_eq!(
        judged(&line, Some(JSON), unreadable.as_bytes()),
        "unreadable-body"
    );
}

fn field_of_metadata(number: u8, value: &str) -> Vec<u8> {
    field(1, &field(number.into(), value.as_bytes()))
}

#[test]
fn the_type_of_a_secret_is_read_as_the_api_server_reads_it() {
    for (text, expected) in [
        (r#"{"type":null}"#, "allowed"),
        (
            r#"{"Type":"kubernetes.io/service-account-token"}"#,
            "allowed",
        ),
        (
            r#"{"spec":{"type":"kubernetes.io/service-account-token"}}"#,
            "allowed",
        ),
        (
            r#"{"\u0074ype":"kubernetes.io/service-account\u002dtoken"}"#,
            "token-secret",
        ),
        (
            r#"{"type":"Opaque","type":"kubernetes.io/service-account-token"}"#,
            "unreadable-body",
        ),
        (
            r#"{"type":null,"type":"kubernetes.io/service-account-token"}"#,
            "unreadable-body",
        ),
        (r#"{"type":1}"#, "unreadable-body"),
        (r#"{"type":"Opaque"} {}"#, "unreadable-body"),
        ("type: Opaque", "unreadable-body"),
        ("[]", "unreadable-body"),
        ("", "unreadable-body"),
    ] {
        assert_eq!(
            judged(SECRETS, Some(JSON), text.as_bytes()),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_secret_in_yaml_is_read_where_it_can_be_read_in_one_way() {
    let applied = format!("PATCH {SECRET}");
    for (text, expected) in [
        ("type: Opaque\ndata: {type: YQ==}\n", "allowed"),
        (
            "type: kubernetes.io/service-account-token\n",
            "token-secret",
        ),
        (
            "\"type\": |-\n  kubernetes.io/service-account-token\n",
            "token-secret",
        ),
        (
            "type: &a kubernetes.io/service-account-token\nx: *a\n",
            "unreadable-body",
        ),
        (
            "type: Opaque\ntype: kubernetes.io/service-account-token\n",
            "unreadable-body",
        ),
        (
            "type: Opaque\n---\ntype: kubernetes.io/service-account-token\n",
            "unreadable-body",
        ),
        (
            r#"{"type":"Opaque","type":"kubernetes.io/service-account-token"}"#,
            "unreadable-body",
        ),
        ("type: [Opaque]\n", "unreadable-body"),
        ("[", "unreadable-body"),
    ] {
        for (line, content_type) in [(SECRETS, "application/yaml"), (&*applied, APPLY)] {
            assert_eq!(
                judged(line, Some(content_type), text.as_bytes()),
                expected,
                "{line} {text}"
            );
        }
    }
}

#[test]
fn a_protobuf_secret_is_judged_by_every_type_it_is_given() {
    let opaque = field(3, b"Opaque");
    let token = field(3, TOKEN_TYPE.as_bytes());
    let metadata = field(1, &token);
    for (parts, expected) in [
        (vec![&metadata, &opaque], "allowed"),
        (vec![&metadata], "allowed"),
        (vec![&token], "token-secret"),
        (vec![&token, &opaque], "token-secret"),
        (vec![&opaque, &token], "token-secret"),
    ] {
        let body = body(&parts.into_iter().flatten().copied().collect::<Vec<_>>());
        assert_eq!(judged(SECRETS, Some(PROTOBUF), &body), expected);
        assert_eq!(judged(SECRETS, Some(JSON), &body), "unreadable-body");
    }
    assert_eq!(judged(SECRETS, Some(PROTOBUF), b"k8s\0"), "unreadable-body");
    assert_eq!(judged(SECRETS, Some(PROTOBUF), b"{}"), "unreadable-body");
}

#[test]
fn a_secret_in_a_format_that_cannot_be_read_is_refused_with_a_way_out() {
    let patch = format!("PATCH {SECRET}");
    for (line, content_type) in [
        (SECRETS, "application/cbor"),
        (SECRETS, APPLY),
        (SECRETS, "application/json, application/yaml"),
        (&*patch, "application/apply-patch+cbor"),
        (&*patch, JSON),
        (&*patch, PROTOBUF),
        (&*patch, ""),
    ] {
        assert_eq!(
            judged(line, Some(content_type), b"{}"),
            "unreadable-body",
            "{line} {content_type}"
        );
    }
    assert_eq!(judged(&patch, None, b"{}"), "unreadable-body");
    assert!(floor::unreadable("secrets").hint.contains("Send JSON"));
}

#[test]
fn a_json_patch_of_a_secret_reads_nothing_hidden() {
    let line = format!("PATCH {SECRET}");
    let copy = br#"[{"op":"copy","from":"/data/a","path":"/metadata/labels/a"}]"#;
    let add = br#"[{"op":"add","path":"/data/a","value":"YQ=="}]"#;
    for content_type in [
        "application/json-patch+json",
        "application/json-patch+json; charset=utf-8",
    ] {
        assert_eq!(judged(&line, Some(content_type), copy), "json-patch");
        assert_eq!(judged(&line, Some(content_type), add), "allowed");
    }
    let other = "PATCH /api/v1/namespaces/ci/configmaps/x";
    assert_eq!(
        judged(other, Some("application/json-patch+json"), copy),
        "allowed"
    );
}

#[test]
fn our_group_is_defined_and_served_by_nobody_else() {
    let named = |name: &str, group: &str| json!({ "metadata": { "name": name }, "spec": { "group": group } });
    for line in [DEFINITIONS, SERVICES] {
        for (object, expected) in [
            (named("widgets.example.com", "example.com"), "allowed"),
            (
                named("agents.notsallyport.dev", "notsallyport.dev"),
                "allowed",
            ),
            (named("agents.sallyport.dev", "example.com"), "own-objects"),
            (named("x", "sallyport.dev"), "own-objects"),
            (
                json!({ "spec": { "group": "sallyport.dev" } }),
                "own-objects",
            ),
        ] {
            assert_eq!(judged_json(line, &object), expected, "{line} {object}");
            let (_, collection) = line.split_once(' ').expect("method and target");
            let applied = judged(
                &format!("PATCH {collection}/x"),
                Some(APPLY),
                object.to_string().as_bytes(),
            );
            assert_eq!(applied, expected, "{line} {object}");
        }
        let yaml = b"spec: {group: sallyport.dev}\n";
        assert_eq!(judged(line, Some("application/yaml"), yaml), "own-objects");
        let twice = br#"{"spec":{},"spec":{"group":"sallyport.dev"}}"#;
        assert_eq!(judged(line, Some(JSON), twice), "unreadable-body");
    }
}

#[test]
fn our_group_is_found_in_protobuf() {
    let name = |name: &[u8]| field(1, &field(1, name));
    let group = |number, group: &[u8]| field(2, &field(number, group));
    for (line, number) in [(DEFINITIONS, 1), (SERVICES, 2)] {
        for (object, expected) in [
            (
                [name(b"a.example.com"), group(number, b"example.com")],
                "allowed",
            ),
            (
                [name(b"agents.sallyport.dev"), group(number, b"example.com")],
                "own-objects",
            ),
            ([name(b"x"), group(number, b"sallyport.dev")], "own-objects"),
        ] {
            assert_eq!(
                judged(line, Some(PROTOBUF), &body(&object.concat())),
                expected,
                "{line}"
            );
        }
    }
}

#[test]
fn no_certificate_of_the_cluster_is_requested() {
    for (signer, expected) in [
        ("example.com/mesh", "allowed"),
        ("kubernetes.io/legacy-unknown", "allowed"),
        ("kubernetes.io/kube-apiserver-client", "signer"),
        ("kubernetes.io/kube-apiserver-client-kubelet", "signer"),
        ("kubernetes.io/kubelet-serving", "signer"),
    ] {
        assert_eq!(
            judged_json(SIGNING, &json!({ "spec": { "signerName": signer } })),
            expected,
            "{signer}"
        );
        let object = field(2, &field(7, signer.as_bytes()));
        assert_eq!(
            judged(SIGNING, Some(PROTOBUF), &body(&object)),
            expected,
            "{signer}"
        );
    }
    assert_eq!(
        judged(SIGNING, Some("application/cbor"), b"{}"),
        "unreadable-body"
    );
}

#[test]
fn everything_else_passes_unread() {
    for line in [
        "POST /api/v1/namespaces/ci/configmaps",
        "POST /apis/example.com/v1/namespaces/ci/secrets",
        "PUT /apis/apiextensions.k8s.io/v1/customresourcedefinitions/x/status",
        "GET /api/v1/namespaces/ci/secrets",
        "DELETE /api/v1/namespaces/ci/secrets/x",
        "POST /version",
    ] {
        assert_eq!(
            judged(line, Some("application/x"), b"\xff"),
            "allowed",
            "{line}"
        );
    }
}

proptest! {
    #[test]
    fn no_place_of_a_token_type_is_overlooked(
        fields in prop::collection::vec((select(&["kind", "Type", "data", "x"][..]), any::<String>()), 0..5),
        at in any::<prop::sample::Index>(),
    ) {
        let mut members: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}:{}", json!(name), json!(value)))
            .collect();
        prop_assert_eq!(judged(SECRETS, Some(JSON), format!("{{{}}}", members.join(",")).as_bytes()), "allowed");
        let at = at.index(members.len() + 1);
        members.insert(at, format!("\"type\":\"{TOKEN_TYPE}\""));
        prop_assert_eq!(judged(SECRETS, Some(JSON), format!("{{{}}}", members.join(",")).as_bytes()), "token-secret");
    }

    #[test]
    fn any_body_is_judged_without_a_panic(bytes in any::<Vec<u8>>(), content_type in select(&[JSON, PROTOBUF, APPLY][..])) {
        for line in [SECRETS, DEFINITIONS, SERVICES, SIGNING] {
            judged(line, Some(content_type), &bytes);
        }
    }
}
