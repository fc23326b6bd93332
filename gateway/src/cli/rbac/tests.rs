use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::json;

use super::*;
use filter::{Filtered, Rule, filter};

fn rules(value: Value) -> Vec<PolicyRule> {
    serde_json::from_value(value).unwrap()
}

fn kept(value: Value) -> Value {
    match filter(&rules(value)) {
        Filtered::Whole => json!("whole"),
        Filtered::Part(parts) => parts
            .into_iter()
            .map(|part| match part {
                Rule::Kept(rule) => serde_json::to_value(rule).unwrap(),
                Rule::Lost(_) => json!("lost"),
            })
            .collect(),
    }
}

fn found() -> Found {
    serde_json::from_value::<Vec<RoleBinding>>(json!([
        {"metadata": {"name": "edits", "namespace": "coders"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
         "subjects": [{"kind": "ServiceAccount", "name": "coder", "namespace": "coders"},
                      {"kind": "ServiceAccount", "name": "coder", "namespace": "other"}]},
        {"metadata": {"name": "reads", "namespace": "shop"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
         "subjects": [{"kind": "Group", "name": "system:serviceaccounts:coders"}]},
        {"metadata": {"name": "people", "namespace": "coders"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
         "subjects": [{"kind": "User", "name": "someone"}]},
    ]))
    .map(|role_bindings| Found {
        accounts: ["coder", "default"]
            .map(|name| Account {
                namespace: "coders".into(),
                name: name.into(),
            })
            .to_vec(),
        role_bindings,
        cluster_roles: serde_json::from_value(json!([
            {"metadata": {"name": "edit"}, "rules": [
                {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate", "get"]},
                {"apiGroups": [""], "resources": ["serviceaccounts/token", "pods"], "verbs": ["create"]}]},
        ]))
        .unwrap(),
        roles: serde_json::from_value(json!([
            {"metadata": {"name": "reader", "namespace": "shop"}, "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
        ]))
        .unwrap(),
        ..Found::default()
    })
    .unwrap()
}

fn object<'a>(generated: &'a Generated, kind: &str, name: &str) -> &'a Value {
    let mut objects = generated.objects.iter();
    let found = objects.find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{kind} {name} in {generated:#?}"))
}

#[test]
fn rules_that_lead_nowhere_else_are_bound_as_they_are() {
    for whole in [
        json!([{"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]}]),
        json!([{"apiGroups": [""], "resources": ["*"], "verbs": ["get", "list"]}]),
        json!([{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["get"]}]),
        json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]),
    ] {
        assert_eq!(kept(whole.clone()), json!("whole"), "{whole}");
    }
}

#[test]
fn impersonation_and_tokens_are_taken_out() {
    assert_eq!(
        kept(json!([
            {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
            {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"]},
            {"apiGroups": [""], "resources": ["pods", "*/token"], "verbs": ["create"]},
        ])),
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}])
    );
}

#[test]
fn every_verb_on_identities_is_spelled_out() {
    let left =
        kept(json!([{"apiGroups": ["*"], "resources": ["serviceaccounts"], "verbs": ["*"]}]));
    let verbs = left[0]["verbs"].as_array().unwrap();
    assert!(
        verbs.contains(&json!("create")) && !verbs.contains(&json!("*")),
        "{left}"
    );
}

#[test]
fn every_resource_cannot_be_narrowed() {
    for wide in [
        json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]),
        json!([{"apiGroups": [""], "resources": ["*"], "verbs": ["create"]}]),
    ] {
        assert_eq!(kept(wide), json!(["lost"]));
    }
}

#[test]
fn the_gateway_may_be_every_account_of_the_namespace_and_nobody_else() {
    let generated = generate(&found(), false);
    let role = object(
        &generated,
        "ClusterRole",
        "sallyport-gateway-identities-coders",
    );
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"],
                "resourceNames": ["sallyport:sa:coders:coder", "sallyport:sa:coders:default"]}])
    );
    let text = yaml(&generated).unwrap();
    assert!(
        !text.contains("- impersonate\n") && !text.contains("sa:other:"),
        "{text}"
    );
}

#[test]
fn the_ceiling_is_bound_where_an_agent_has_rights() {
    let generated = generate(&found(), false);
    let ceilings: Vec<_> = generated
        .objects
        .iter()
        .filter(|object| object["metadata"]["name"] == "sallyport-gateway-ceiling")
        .map(|object| object["metadata"]["namespace"].clone())
        .collect();
    assert_eq!(ceilings, [json!("coders"), json!("shop")]);
}

#[test]
fn bindings_are_copied_with_filtered_roles() {
    let generated = generate(&found(), false);
    let binding = object(&generated, "RoleBinding", "sallyport-coders-edits");
    assert_eq!(binding["roleRef"]["kind"], "Role");
    assert_eq!(binding["subjects"].as_array().unwrap().len(), 1);
    assert_eq!(binding["subjects"][0]["name"], "sallyport:sa:coders:coder");
    let role = object(&generated, "Role", "sallyport-coders-edit");
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get"]},
               {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}])
    );
    let whole = object(&generated, "RoleBinding", "sallyport-coders-reads");
    assert_eq!(whole["roleRef"]["name"], "reader");
    assert_eq!(whole["subjects"].as_array().unwrap().len(), 2);
    assert!(!yaml(&generated).unwrap().contains("people"));
}

#[test]
fn without_constrained_impersonation_users_are_listed_and_the_ceiling_is_not_promised() {
    let generated = generate(&found(), true);
    let role = object(
        &generated,
        "ClusterRole",
        "sallyport-gateway-identities-legacy-coders",
    );
    assert_eq!(role["rules"][0]["verbs"], json!(["impersonate"]));
    object(&generated, "ClusterRole", "sallyport-gateway-marks-legacy");
    assert!(
        !yaml(&generated)
            .unwrap()
            .contains("name: sallyport-gateway-ceiling")
    );
    assert!(generated.notes.iter().any(|note| note.contains("ceiling")));
}
