use super::*;

const APPLIED: &str = "APPLY /apis/apps/v1/namespaces/ci/deployments/web";

fn rule(name: &str, effect: &str, verbs: &str) -> String {
    format!(
        r#"name: {name}, effect: {effect}, verbs: [{verbs}], apiGroups: ["*"], resources: ["*", "*/proxy"], namespaces: ["*"], names: ["*"]"#
    )
}

fn all() -> String {
    rule("all", "Allow", r#""*""#)
}

fn denial(set: &PolicySet, line: &str) -> String {
    let (identity, request) = (bot(), request(&line.replacen("APPLY ", "PATCH ", 1)));
    let attributes = Attributes {
        applies: line.starts_with("APPLY "),
        namespace_is_agents: true,
        ..Attributes::new(&identity, &request)
    };
    match set.conclude(&attributes, &writes(serde_json::json!({}))) {
        Decision::Deny(denial) => denial.message(&attributes),
        other => panic!("{line} is not denied: {other:?}"),
    }
}

#[test]
fn an_apply_needs_patch_and_create() {
    let (patch, create) = (
        rule("patch", "Allow", "patch"),
        rule("create", "Allow", "create"),
    );
    let cases: [(&[&str], &str); 4] = [
        (&[&patch], "deny default"),
        (&[&create], "deny default"),
        (&[&patch, &create], "allow p/patch"),
        (&[&rule("both", "Allow", "patch, create")], "allow p/both"),
    ];
    for (rules, expected) in cases {
        assert_eq!(decide(&set(rules), &bot(), APPLIED), expected, "{rules:?}");
    }
}

#[test]
fn a_deny_of_either_verb_denies_an_apply() {
    for verb in ["create", "patch"] {
        let set = set(&[&all(), &rule("no", "Deny", verb)]);
        assert_eq!(decide(&set, &bot(), APPLIED), "deny p/no", "{verb}");
    }
    let update = set(&[&all(), &rule("no", "Deny", "update")]);
    assert_eq!(decide(&update, &bot(), APPLIED), "allow p/all");
}

#[test]
fn another_patch_creates_nothing() {
    let set = set(&[&all(), &rule("no", "Deny", "create")]);
    let line = APPLIED.replace("APPLY", "PATCH");
    assert_eq!(decide(&set, &bot(), &line), "allow p/all");
}

#[test]
fn a_deny_of_create_denies_an_update_that_creates() {
    let set = set(&[&all(), &rule("no", "Deny", "create")]);
    for path in [
        "/api/v1/namespaces/ci/endpoints/x",
        "/api/v1/namespaces/ci/events/x",
        "/api/v1/namespaces/ci/limitranges/x",
        "/api/v1/namespaces/ci/services/x",
        "/api/v1/namespaces/ci/services/x/status",
        "/apis/coordination.k8s.io/v1/namespaces/ci/leases/x",
        "/apis/coordination.k8s.io/v1beta1/namespaces/ci/leasecandidates/x",
        "/apis/events.k8s.io/v1/namespaces/ci/events/x",
        "/apis/node.k8s.io/v1/runtimeclasses/x",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/x",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/x",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/ci/rolebindings/x",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/ci/roles/x",
    ] {
        assert_eq!(
            decide(&set, &bot(), &format!("PUT {path}")),
            "deny p/no",
            "{path}"
        );
    }
    for path in [
        "/api/v1/namespaces/ci/secrets/x",
        "/api/v1/namespaces/ci/services/x/proxy/a",
        "/apis/example.com/v1/namespaces/ci/services/x",
    ] {
        assert_eq!(
            decide(&set, &bot(), &format!("PUT {path}")),
            "allow p/all",
            "{path}"
        );
    }
}

#[test]
fn a_service_cannot_be_created_through_its_status() {
    let deny = r#"name: no, effect: Deny, verbs: [create], apiGroups: [""], resources: [services], namespaces: ["*"], names: ["*"]"#;
    let status = "/api/v1/namespaces/ci/services/x/status";
    assert_decides(
        &set(&[&all(), deny]),
        &[
            (&format!("PUT {status}"), "deny p/no"),
            (&format!("APPLY {status}"), "deny p/no"),
            (&format!("PATCH {status}"), "allow p/all"),
        ],
    );
}

#[test]
fn an_update_is_allowed_as_an_update_also_where_it_creates() {
    assert_decides(
        &set(&[&rule("update", "Allow", "update")]),
        &[
            (
                "PUT /apis/coordination.k8s.io/v1/namespaces/ci/leases/x",
                "allow p/update",
            ),
            (
                "POST /apis/coordination.k8s.io/v1/namespaces/ci/leases",
                "deny default",
            ),
        ],
    );
}

#[test]
fn a_denied_apply_names_the_missing_verb_and_the_way_out() {
    let message = denial(&set(&[&rule("patch", "Allow", "patch")]), APPLIED);
    for part in [
        "so the verb create counts too: no rule of any AgentPolicy allows it",
        "Use another patch type",
        "allow create as well",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let message = denial(&set(&[&rule("create", "Allow", "create")]), APPLIED);
    assert!(
        message.contains(r#"cannot patch resource "deployments""#),
        "{message}"
    );
}

#[test]
fn a_denied_update_says_that_it_would_create() {
    let deny = format!(
        "{}, reason: \"leases are ours\"",
        rule("no", "Deny", "create")
    );
    let message = denial(
        &set(&[&all(), &deny]),
        "PUT /apis/coordination.k8s.io/v1/namespaces/ci/leases/x",
    );
    for part in [
        "cannot update",
        "an update of this resource creates",
        "leases are ours",
    ] {
        assert!(message.contains(part), "{message}");
    }
}
