use serde_json::{Value, json};

use super::*;

const ALL: &str = r#"name: all, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*", "*/proxy"], namespaces: ["*"], names: ["*"]"#;
const SHOP: &str = r#"name: shop, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*", "*/proxy"], namespaces: [shop], names: ["*"]"#;
const UNNAMED: &str = "deny built-in/floor-unnamed-namespace";

fn judged(set: &PolicySet, line: &str, agents: bool, facts: &Facts) -> String {
    let (identity, request) = (bot(), request(&line.replacen("APPLY ", "PATCH ", 1)));
    let attributes = Attributes {
        applies: line.starts_with("APPLY "),
        namespace_is_agents: agents,
        ..Attributes::new(&identity, &request)
    };
    shown(set.conclude(&attributes, facts))
}

/// Each line starts something that the gateway would not see.
const RUNNING: [&str; 14] = [
    "POST /api/v1/namespaces/shop/pods",
    "PATCH /api/v1/namespaces/shop/pods/web",
    "PUT /api/v1/namespaces/shop/pods/web/ephemeralcontainers",
    "POST /api/v1/namespaces/shop/pods/web/binding",
    "POST /api/v1/namespaces/shop/bindings",
    "GET /api/v1/namespaces/shop/pods/web/exec?command=sh",
    "POST /api/v1/namespaces/shop/pods/web/attach",
    "POST /api/v1/namespaces/shop/pods/web/portforward",
    "PATCH /apis/apps/v1/namespaces/shop/deployments/web",
    "APPLY /apis/apps/v1/namespaces/shop/statefulsets/web",
    "POST /apis/apps/v1/namespaces/shop/controllerrevisions",
    "POST /apis/batch/v1/namespaces/shop/cronjobs",
    "POST /api/v1/namespaces/shop/replicationcontrollers",
    "POST /apis/argoproj.io/v1alpha1/namespaces/shop/workflows",
];

#[test]
fn what_runs_outside_agents_namespaces_needs_a_rule_that_names_the_namespace() {
    let facts = writes(json!({}));
    for line in RUNNING {
        assert_eq!(judged(&set(&[ALL]), line, false, &facts), UNNAMED, "{line}");
        assert_eq!(
            judged(&set(&[ALL]), line, true, &facts),
            "allow p/all",
            "{line}"
        );
        let named = judged(&set(&[ALL, SHOP]), line, false, &facts);
        assert_eq!(named, "allow p/all", "{line}");
    }
    let asking = SHOP.replace("Allow", "RequireApproval");
    assert_eq!(
        judged(&set(&[ALL, &asking]), RUNNING[0], false, &facts),
        "hold p/shop"
    );
    let denying = SHOP.replace("Allow", "Deny");
    assert_eq!(
        judged(&set(&[ALL, &denying]), RUNNING[0], false, &facts),
        "deny p/shop"
    );
}

#[test]
fn what_starts_nothing_needs_no_name() {
    for line in [
        "GET /api/v1/namespaces/shop/pods/web",
        "DELETE /api/v1/namespaces/shop/pods/web",
        "PATCH /apis/apps/v1/namespaces/shop/deployments/web/scale",
        "POST /api/v1/namespaces/shop/configmaps",
        "GET /apis/argoproj.io/v1alpha1/namespaces/shop/workflows",
        "POST /apis/authorization.k8s.io/v1/namespaces/shop/localsubjectaccessreviews",
    ] {
        assert_eq!(
            judged(&set(&[ALL]), line, false, &writes(json!({}))),
            "allow p/all",
            "{line}"
        );
    }
}

#[test]
fn an_unknown_kind_outside_all_namespaces_needs_the_empty_name() {
    let line = "POST /apis/example.com/v1/clusterwidgets";
    let update = "PUT /apis/example.com/v1/clusterwidgets/x";
    let named = ALL.replace(r#"namespaces: ["*"]"#, r#"namespaces: ["", "*"]"#);
    assert_eq!(
        judged(&set(&[ALL]), line, false, &writes(json!({}))),
        UNNAMED
    );
    assert_eq!(
        judged(&set(&[ALL]), update, false, &writes(json!({}))),
        UNNAMED
    );
    assert_eq!(
        judged(&set(&[&named]), update, false, &writes(json!({}))),
        "allow p/all"
    );
}

#[test]
fn sallyports_own_things_are_out_of_reach() {
    let own = "deny built-in/floor-own-objects";
    let namespace = "deny built-in/floor-own-namespace";
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    for (line, expected) in [
        (
            "DELETE /apis/sallyport.dev/v1alpha1/agentstops/all".to_owned(),
            own,
        ),
        (
            "PATCH /apis/sallyport.dev/v1alpha1/agentstops/all/status".to_owned(),
            own,
        ),
        (
            "PATCH /apis/sallyport.dev/v1alpha1/namespaces/shop/approvalrequests/a/status"
                .to_owned(),
            own,
        ),
        (
            format!("DELETE {admission}/mutatingadmissionpolicies/sallyport-agents"),
            own,
        ),
        (
            format!("PUT {admission}/validatingwebhookconfigurations/sallyport-admission"),
            own,
        ),
        (
            format!("DELETE {admission}/validatingadmissionpolicybindings"),
            own,
        ),
        (format!("PATCH {rbac}/clusterroles/sallyport-gateway"), own),
        (
            format!("DELETE {admission}/mutatingadmissionpolicies/other"),
            "allow p/all",
        ),
        (
            "POST /api/v1/namespaces/sallyport-system/configmaps".to_owned(),
            namespace,
        ),
        (
            "GET /api/v1/namespaces/sallyport-system/secrets/sallyport-issuer".to_owned(),
            namespace,
        ),
        (
            "GET /api/v1/namespaces/sallyport-system/secrets".to_owned(),
            namespace,
        ),
        (
            "GET /api/v1/namespaces/sallyport-system/pods/node-x/exec?command=sh".to_owned(),
            namespace,
        ),
        (
            "DELETE /api/v1/namespaces/sallyport-system".to_owned(),
            namespace,
        ),
        (
            "GET /api/v1/namespaces/sallyport-system/pods".to_owned(),
            "allow p/all",
        ),
        (
            "GET /api/v1/secrets".to_owned(),
            "deny built-in/floor-own-secrets",
        ),
        (
            "GET /api/v1/secrets?watch=1".to_owned(),
            "deny built-in/floor-own-secrets",
        ),
        (
            "GET /api/v1/namespaces/shop/secrets".to_owned(),
            "allow p/all",
        ),
    ] {
        assert_eq!(
            judged(&set(&[ALL, SHOP]), &line, false, &writes(json!({}))),
            expected,
            "{line}"
        );
    }
}

#[test]
fn no_service_leads_back_to_the_api_server() {
    for name in ["kubernetes", "https:kubernetes:443", "kubernetes:https"] {
        let line = format!("GET /api/v1/namespaces/default/services/{name}/proxy/api");
        let decided = judged(&set(&[ALL]), &line, false, &Facts::default());
        assert_eq!(decided, "deny built-in/floor-api-server-proxy", "{line}");
    }
}

#[test]
fn a_proxy_is_allowed_only_by_name_even_for_a_get() {
    let named_places = ALL.replace(r#"namespaces: ["*"]"#, r#"namespaces: ["", ci]"#);
    let bare = named_places.replace(r#", "*/proxy""#, "");
    let nodes = named_places.replace(r#"["*", "*/proxy"]"#, "[nodes/proxy]");
    for (line, named) in [
        ("GET /api/v1/nodes/n/proxy/run/x", true),
        ("POST /api/v1/nodes/n/proxy/exec", true),
        ("GET /api/v1/namespaces/ci/pods/web/proxy/", false),
        ("GET /api/v1/namespaces/ci/services/web/proxy/", false),
    ] {
        assert_eq!(
            decide(&set(&[&bare]), &bot(), line),
            "deny default",
            "{line}"
        );
        let expected = if named { "allow p/all" } else { "deny default" };
        assert_eq!(decide(&set(&[&nodes]), &bot(), line), expected, "{line}");
        // A proxy is a way into what runs, which a rule for every namespace does not open.
        let elsewhere = judged(&set(&[ALL]), line, false, &Facts::default());
        assert_eq!(elsewhere, UNNAMED, "{line}");
        let denying = bare.replace("Allow", "Deny");
        assert_eq!(
            decide(&set(&[&denying]), &bot(), line),
            "deny p/all",
            "{line}"
        );
    }
}

#[test]
fn pods_are_bound_under_two_resources() {
    for (rule, line) in [
        ("pods/binding", "POST /api/v1/namespaces/ci/bindings"),
        ("bindings", "POST /api/v1/namespaces/ci/pods/web/binding"),
    ] {
        let deny = ALL
            .replace("name: all", "name: no")
            .replace("Allow", "Deny")
            .replace(r#"["*", "*/proxy"]"#, &format!("[{rule}]"));
        assert_eq!(
            decide(&set(&[ALL, &deny]), &bot(), line),
            "deny p/no",
            "{line}"
        );
        let allow = deny.replace("Deny", "Allow");
        assert_eq!(
            decide(&set(&[&allow]), &bot(), line),
            "deny default",
            "{line}"
        );
    }
}

#[test]
fn approval_of_a_get_is_asked_for_exec_under_both_verbs() {
    let asking = ALL
        .replace(r#"verbs: ["*"]"#, "verbs: [get]")
        .replace("Allow", "RequireApproval")
        .replace("name: all", "name: ask");
    for line in [
        "GET /api/v1/namespaces/ci/pods/x/exec?command=sh",
        "POST /api/v1/namespaces/ci/pods/x/exec?command=sh",
        "POST /api/v1/namespaces/ci/pods/x/portforward",
    ] {
        assert_eq!(
            decide(&set(&[ALL, &asking]), &bot(), line),
            "hold p/ask",
            "{line}"
        );
    }
}

fn labels(object: Value) -> Facts {
    Facts {
        object: Fact::Known(object),
        old_object: Fact::Absent,
    }
}

fn change(old: Value, new: Value) -> Facts {
    Facts {
        object: Fact::Known(new),
        old_object: Fact::Known(old),
    }
}

fn with_label(label: &str, value: &str) -> Value {
    json!({"metadata": {"labels": {label: value}}})
}

#[test]
fn labels_that_say_what_is_an_agent_stay_as_they_are() {
    let denied = "deny built-in/floor-own-labels";
    let (none, agents) = (
        json!({"metadata": {}}),
        with_label("sallyport.dev/agents", "enforce"),
    );
    let agent = with_label("sallyport.dev/agent", "true");
    let template = |of: &Value| json!({"spec": {"template": of}});
    let namespace = "PATCH /api/v1/namespaces/shop";
    let pod = "PATCH /api/v1/namespaces/shop/pods/web";
    let deployment = "PATCH /apis/apps/v1/namespaces/shop/deployments/web";
    for (line, facts, expected) in [
        (namespace, change(none.clone(), agents.clone()), denied),
        (namespace, change(agents.clone(), none.clone()), denied),
        (
            namespace,
            change(
                agents.clone(),
                with_label("sallyport.dev/agents", "observe"),
            ),
            denied,
        ),
        (
            namespace,
            change(agents.clone(), agents.clone()),
            "allow p/all",
        ),
        (
            "DELETE /api/v1/namespaces/shop",
            change(agents.clone(), none.clone()),
            denied,
        ),
        (
            "DELETE /api/v1/namespaces/shop",
            change(none.clone(), none.clone()),
            "allow p/all",
        ),
        ("POST /api/v1/namespaces", labels(agents), denied),
        (pod, change(none.clone(), agent.clone()), denied),
        (pod, change(agent.clone(), none.clone()), denied),
        (
            "PATCH /api/v1/namespaces/shop/pods/web/status",
            change(agent.clone(), none.clone()),
            denied,
        ),
        (
            "POST /api/v1/namespaces/shop/pods",
            labels(agent.clone()),
            "allow p/all",
        ),
        (
            "POST /api/v1/namespaces/shop/pods",
            labels(with_label("sallyport.dev/agent", "false")),
            denied,
        ),
        (
            deployment,
            change(template(&none), template(&agent)),
            "allow p/all",
        ),
        (
            deployment,
            change(template(&agent), template(&none)),
            denied,
        ),
        (
            deployment,
            change(template(&agent), template(&agent)),
            "allow p/all",
        ),
        (
            "PATCH /api/v1/nodes/n",
            change(with_label("sallyport.dev/ready", "true"), none.clone()),
            denied,
        ),
    ] {
        assert_eq!(
            judged(&set(&[ALL, SHOP]), line, false, &facts),
            expected,
            "{line}"
        );
    }
}

#[test]
fn an_object_that_must_be_known_and_is_not_is_denied() {
    for line in [
        "POST /api/v1/namespaces/ci/pods",
        "PATCH /api/v1/namespaces/shop",
        "PATCH /apis/apps/v1/namespaces/ci/deployments/web",
    ] {
        let decided = judged(&set(&[ALL, SHOP]), line, true, &Facts::default());
        assert_eq!(decided, "deny built-in/floor-unknown-object", "{line}");
    }
}

fn pod(spec: Value) -> Facts {
    labels(json!({"spec": spec}))
}

/// Every way in which a pod reads the Secret `db`.
fn readers() -> Vec<Value> {
    vec![
        json!({"volumes": [{"secret": {"secretName": "db"}}]}),
        json!({"volumes": [{"projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": "db"}}]}}]}),
        json!({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "db"}}}]}),
        json!({"volumes": [{"azureFile": {"secretName": "db"}}]}),
        json!({"volumes": [{"flexVolume": {"secretRef": {"name": "db"}}}]}),
        json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "db", "key": "k"}}}]}]}),
        json!({"initContainers": [{"envFrom": [{"secretRef": {"name": "db"}}]}]}),
        json!({"ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "db", "optional": true}}]}]}),
    ]
}

#[test]
fn a_pod_reads_only_the_secrets_that_its_maker_may() {
    let deny = r#"name: no-db, effect: Deny, verbs: [get], apiGroups: [""], resources: [secrets], namespaces: [shop], names: [db]"#;
    let ask = deny
        .replace("Deny", "RequireApproval")
        .replace("no-db", "ask");
    let pods = r#"name: pods, effect: Allow, verbs: ["*"], apiGroups: [""], resources: [pods], namespaces: [shop], names: ["*"]"#;
    let line = "POST /api/v1/namespaces/shop/pods";
    for spec in readers() {
        let decide = |rules: &[&str]| judged(&set(rules), line, false, &pod(spec.clone()));
        assert_eq!(decide(&[ALL, SHOP, deny]), "deny p/no-db", "{spec}");
        assert_eq!(decide(&[pods]), "deny default", "{spec}");
        assert_eq!(decide(&[ALL, SHOP, &ask]), "hold p/ask", "{spec}");
        assert_eq!(decide(&[ALL, SHOP]), "allow p/all", "{spec}");
    }
    let pulls = json!({"imagePullSecrets": [{"name": "db"}], "containers": []});
    assert_eq!(
        judged(&set(&[pods]), line, false, &pod(pulls)),
        "allow p/pods"
    );
    let template =
        labels(json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": readers()[0]}}}}}));
    let cron = "POST /apis/batch/v1/namespaces/shop/cronjobs";
    assert_eq!(
        judged(&set(&[ALL, SHOP, deny]), cron, false, &template),
        "deny p/no-db"
    );
}

#[test]
fn a_pod_that_reads_very_many_secrets_is_denied() {
    let volumes: Vec<_> = (0..65)
        .map(|number| json!({"secret": {"secretName": format!("s{number}")}}))
        .collect();
    let decided = judged(
        &set(&[ALL, SHOP]),
        "POST /api/v1/namespaces/shop/pods",
        false,
        &pod(json!({"volumes": volumes})),
    );
    assert_eq!(decided, "deny built-in/floor-secrets");
}

#[test]
fn an_update_that_may_create_waits_for_whoever_approves_creations() {
    let ask = ALL
        .replace("Allow", "RequireApproval")
        .replace("name: all", "name: ask")
        .replace(r#"verbs: ["*"]"#, "verbs: [create]");
    for line in [
        "APPLY /apis/apps/v1/namespaces/ci/deployments/web",
        "PUT /api/v1/namespaces/ci/services/web",
    ] {
        assert_eq!(
            decide(&set(&[ALL, &ask]), &bot(), line),
            "hold p/ask",
            "{line}"
        );
    }
}

#[test]
fn no_rule_lets_a_bootstrap_token_be_written() {
    let system = "/api/v1/namespaces/kube-system/secrets";
    for verb in ["PUT", "PATCH", "APPLY"] {
        for (secret, expected) in [
            ("bootstrap-token-abcdef", "deny built-in/floor-token-secret"),
            ("bootstrap", "allow p/all"),
        ] {
            let line = format!("{verb} {system}/{secret}");
            let facts = writes(json!({}));
            assert_eq!(
                judged(&set(&[ALL]), &line, true, &facts),
                expected,
                "{line}"
            );
        }
    }
    for line in [
        format!("GET {system}/bootstrap-token-abcdef"),
        format!("DELETE {system}/bootstrap-token-abcdef"),
        "PATCH /api/v1/namespaces/shop/secrets/bootstrap-token-abcdef".to_owned(),
    ] {
        let judged = judged(&set(&[ALL]), &line, true, &writes(json!({})));
        assert_eq!(judged, "allow p/all", "{line}");
    }
}
