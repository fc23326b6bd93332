use http::HeaderMap;

use super::*;

fn asked(accept: &[&str]) -> String {
    let mut headers = HeaderMap::new();
    for value in accept {
        headers.append(header::ACCEPT, value.parse().expect("a header"));
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let headers = request_headers(&headers);
    assert!(!headers.contains_key(header::ACCEPT_ENCODING));
    assert_eq!(headers.get_all(header::ACCEPT).iter().count(), 1);
    headers[header::ACCEPT].to_str().expect("text").to_owned()
}

#[test]
fn the_api_server_is_asked_for_what_can_be_masked() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (accept, expected) in [
        (
            &["application/vnd.kubernetes.protobuf,application/json"][..],
            "application/json",
        ),
        (&["application/vnd.kubernetes.protobuf"], "application/json"),
        (&["*/*"], "application/json"),
        (&[], "application/json"),
        (&["application/yaml"], "application/json"),
        (
            &["application/json;as=Table;v=v1;g=meta.k8s.io,application/json"],
            &*format!("{table}, application/json"),
        ),
        (
            &[
                "application/cbor;as=Table;v=v1;g=meta.k8s.io, application/json;as=Table;v=v1;g=meta.k8s.io",
                "application/cbor",
            ],
            table,
        ),
    ] {
        assert_eq!(asked(accept), expected, "{accept:?}");
    }
}

#[test]
fn a_warning_counts_what_is_hidden_where_it_can() {
    let info = |resource: &str| RequestInfo {
        resource: resource.to_owned(),
        ..RequestInfo::default()
    };
    let warned = |masked, resource| {
        let warning = warning(masked, &info(resource))?;
        Some(warning.to_str().expect("text").to_owned())
    };
    assert_eq!(warned(Some(0), "secrets"), None);
    assert_eq!(warned(None, "pods"), None);
    assert_eq!(
        warned(Some(2), "pods").as_deref(),
        Some(
            "299 - \"sallyport: 2 values in this answer are masked by policy; do not write the placeholders back\""
        )
    );
    assert!(warned(None, "secrets").is_some_and(|text| text.contains("the values in this answer")));
}

const POLICY: &str = r#"
apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {name: ci}
spec:
  subjects: [{all: "*"}]
  rules:
  - {name: masked, effect: Allow, verbs: [get, list], apiGroups: ["", apps], resources: ["*"], namespaces: [masked], names: ["*"], agentView: Masked}
  - {name: plain, effect: Allow, verbs: [get, list], apiGroups: ["", apps], resources: ["*"], namespaces: [plain], names: ["*"]}
"#;

fn on_attributes<T>(
    (verb, group, resource, namespace): (&str, &str, &str, &str),
    judge: impl Fn(&PolicySet, &Attributes<'_>) -> T,
) -> T {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("ci.yaml"), POLICY).expect("a file");
    let policies = PolicySet::load(directory.path()).expect("it is valid");
    let identity = crate::identity::Identity {
        user: crate::identity::UserInfo::default(),
        upstream_user: crate::identity::UserInfo::default(),
        issuer: None,
        claims: std::collections::BTreeMap::new(),
        workload: None,
        pod_agent: None,
        provenance: crate::identity::Provenance::default(),
        session_id: None,
    };
    let info = RequestInfo {
        is_resource_request: true,
        verb: verb.to_owned(),
        api_group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: "web".to_owned(),
        ..RequestInfo::default()
    };
    judge(&policies, &Attributes::new(&identity, &info))
}

#[test]
fn what_is_read_only_masked_is_not_read_by_an_empty_patch() {
    for (call, expected) in [
        (("patch", "apps", "deployments", "masked"), true),
        (("update", "", "pods", "masked"), true),
        (("patch", "apps", "deployments", "unreadable"), true),
        (("delete", "", "secrets", "masked"), true),
        (("patch", "apps", "deployments", "plain"), false),
        (("patch", "", "secrets", "plain"), false),
        (("get", "", "pods", "masked"), false),
        (
            (
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews",
                "",
            ),
            false,
        ),
    ] {
        let enforced = on_attributes(call, |policies, attributes| {
            writes_unseen(policies, attributes, Enforcement::Enforce)
        });
        assert_eq!(enforced, expected, "{call:?}");
    }
}

#[test]
fn where_policies_are_only_observed_only_what_they_mask_is_masked() {
    for (namespace, expected) in [("masked", true), ("unreadable", false), ("plain", false)] {
        let call = ("update", "", "pods", namespace);
        let observed = on_attributes(call, |policies, attributes| {
            writes_unseen(policies, attributes, Enforcement::Observe)
        });
        assert_eq!(observed, expected, "{call:?}");
    }
}

#[test]
fn a_guess_is_refused_before_anything_is_learned() {
    let guess = br#"[{"op":"test","path":"/spec/containers/0/env/0/value","value":"guess"}]"#;
    let copied =
        br#"[{"op":"copy","from":"/spec/containers/0/env/0/value","path":"/metadata/labels/a"}]"#;
    let change = br#"[{"op":"replace","path":"/spec/replicas","value":2}]"#;
    let passes = |namespace: &str, body: &[u8]| {
        let json_patch = Some(&b"application/json-patch+json"[..]);
        on_attributes(("patch", "", "pods", namespace), |policies, attributes| {
            let unseen = || writes_unseen(policies, attributes, Enforcement::Enforce);
            check_guesses(attributes, json_patch, body, &key(), unseen).is_ok()
        })
    };
    for body in [&guess[..], copied] {
        assert!(!passes("masked", body));
        assert!(!passes("unreadable", body));
        assert!(passes("plain", body));
    }
    assert!(passes("masked", change));
}

fn key() -> Arc<mask::Key> {
    Arc::new(mask::Key::from_bytes([7; 32]))
}

#[test]
fn a_dry_run_answers_no_guess_and_shows_other_changes() {
    const ENV: &str = r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"guess"}]}]}}}}"#;
    const SCALE: &str = r#"{"spec":{"replicas":2,"template":{"metadata":{"labels":{"a":"b"}}}}}"#;
    let denied = |target: &str, content_type: &str, body: &str| {
        let info = RequestInfo::parse("PATCH", target).expect("a request");
        check_oracles(
            &info,
            Some(content_type.as_bytes()),
            body.as_bytes(),
            &key(),
        )
        .is_err()
    };
    let deployment = "/apis/apps/v1/namespaces/shop/deployments/web";
    let dry = format!("{deployment}?dryRun=All");
    for kind in [
        "strategic-merge-patch+json",
        "merge-patch+json",
        "apply-patch+yaml",
    ] {
        let kind = format!("application/{kind}");
        assert!(denied(&dry, &kind, ENV), "{kind}");
        assert!(!denied(&dry, &kind, SCALE), "{kind}");
        assert!(!denied(deployment, &kind, ENV), "{kind}");
    }
    let replace = r#"[{"op":"replace","path":"/spec/replicas","value":2}]"#;
    assert!(denied(&dry, "application/json-patch+json", replace));
    assert!(!denied(deployment, "application/json-patch+json", replace));
    assert!(
        denied(&dry, "application/merge-patch+json", "{"),
        "nobody can tell"
    );
    let labels = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    let secret = "/api/v1/namespaces/shop/secrets/db?dryRun=All";
    assert!(denied(secret, "application/merge-patch+json", labels));
}

/// `.spec.port` of every locker.
fn key_of_lockers() -> Arc<mask::Key> {
    let list = |text: &str| vec![text.to_owned()];
    let fields = mask::SensitiveFields::new(&crate::config::SensitiveFields {
        api_groups: list("tests.example"),
        resources: list("lockers"),
        namespaces: list("*"),
        names: list("*"),
        paths: list(".spec.port"),
    });
    let key = mask::Key::from_bytes([7; 32]);
    key.look_for(&[], &[fields.expect("they are right")]);
    Arc::new(key)
}

#[test]
fn what_somebody_called_sensitive_is_compared_with_no_guess() {
    let key = key_of_lockers();
    let passes = |target: &str, kind: &str, body: &str| {
        let target = format!("/apis/tests.example/v1/namespaces/shop/{target}");
        let info = RequestInfo::parse("PATCH", &target).expect("a request");
        let kind = format!("application/{kind}-patch+json");
        check_oracles(&info, Some(kind.as_bytes()), body.as_bytes(), &key).is_ok()
    };
    let test = r#"[{"op":"test","path":"/spec/port","value":1}]"#;
    assert!(!passes("lockers/one", "json", test));
    assert!(passes("others/one", "json", test));
    let merge = r#"{"spec":{"port":1}}"#;
    assert!(!passes("lockers/one?dryRun=All", "merge", merge));
    assert!(!passes("lockers/one/status?dryRun=All", "merge", merge));
    assert!(passes("lockers/one", "merge", merge));
    assert!(passes("others/one?dryRun=All", "merge", merge));
}

#[test]
fn nothing_is_selected_by_what_somebody_called_sensitive() {
    let key = key_of_lockers();
    let is_refused = |resource: &str, selector: &str| {
        let target = format!("/apis/tests.example/v1/{resource}?fieldSelector={selector}");
        let info = RequestInfo::parse("GET", &target).expect("a request");
        hidden_selector(&info, &key).is_some()
    };
    for selector in [
        "spec.port%3D1",
        "spec.port!%3D1",
        "metadata.name%3Da,spec.port%3D%3D1",
    ] {
        assert!(is_refused("lockers", selector), "{selector}");
        assert!(!is_refused("others", selector), "{selector}");
    }
    assert!(!is_refused("lockers", "metadata.name%3Da,spec.host%3Db"));
}

/// People are told how many objects it is about before its caller is told anything.
#[test]
fn nothing_is_deleted_by_what_somebody_called_sensitive() {
    let key = key_of_lockers();
    let is_refused = |selector: &str| {
        let target = format!("/apis/tests.example/v1/namespaces/shop/lockers?{selector}");
        let info = RequestInfo::parse("DELETE", &target).expect("a request");
        check_oracles(&info, None, b"", &key).is_err()
    };
    assert!(is_refused("fieldSelector=spec.port%3D4711"));
    assert!(!is_refused("fieldSelector=metadata.name%3Da"));
    assert!(!is_refused("labelSelector=a%3Db"));
}

#[test]
fn a_warning_that_quotes_what_somebody_called_sensitive_is_withheld() {
    let key = key_of_lockers();
    let shown = |resource: &str, words: &str| {
        let target = format!("/apis/tests.example/v1/namespaces/shop/{resource}/one");
        let info = RequestInfo::parse("PUT", &target).expect("a request");
        let mut headers = HeaderMap::new();
        let warning = format!("299 - \"{words}\"");
        headers.insert(header::WARNING, warning.parse().expect("a header"));
        mask_warnings(&mut headers, &info, &key);
        headers[header::WARNING].to_str().expect("text") == warning
    };
    let quotes = "spec.port: Invalid value: 4711: it is taken";
    assert!(!shown("lockers", quotes));
    assert!(shown("lockers", "spec.port is deprecated"));
    assert!(shown("others", quotes));
}

#[test]
fn a_try_compares_where_the_api_server_refuses_other_values() {
    use PatchType::{Apply, Merge, Strategic};

    let of = |kind: &str, immutable: bool| json!({"apiVersion": "v1", "kind": kind, "immutable": immutable});
    for (patch, query, kind, immutable, expected) in [
        (Apply, "", "Secret", false, true),
        (Apply, "?force=false", "Secret", false, true),
        (Apply, "?force=0&force=true", "Secret", false, true),
        (Apply, "?force=true", "Secret", false, false),
        (Apply, "?fieldManager=a&force", "Secret", false, false),
        (Apply, "?force=true", "Secret", true, true),
        (Apply, "", "Widget", false, true),
        (Apply, "?force=true", "Widget", true, false),
        (Strategic, "", "Secret", false, false),
        (Strategic, "", "Secret", true, true),
        (Merge, "", "Secret", false, false),
    ] {
        let target = format!("/api/v1/namespaces/shop/secrets/db{query}");
        let compares = compares(patch, &target, &of(kind, immutable));
        assert_eq!(compares, expected, "{patch:?} {query} {kind} {immutable}");
    }
}
