use std::collections::BTreeMap;

use super::*;
use crate::{
    identity::{Identity, Provenance, UserInfo},
    request_info::RequestInfo,
};

fn user(username: &str, groups: &[&str]) -> UserInfo {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    UserInfo {
        username: username.to_owned(),
        groups,
        ..UserInfo::default()
    }
}

fn caller() -> Identity {
    Identity {
        user: user(
            "system:serviceaccount:ci:bot",
            &["system:serviceaccounts", "system:authenticated"],
        ),
        upstream_user: user("sallyport:sa:ci:bot", &["sallyport:agents"]),
        issuer: None,
        claims: BTreeMap::new(),
        workload: None,
        pod_agent: None,
        provenance: Provenance::default(),
        session_id: None,
    }
}

fn level(policy: &LevelPolicy, line: &str) -> Level {
    let (method, target) = line.split_once(' ').expect("method and target");
    let request = RequestInfo::parse(method, target).expect("it is unambiguous");
    policy.level(&Attributes::new(&caller(), &request))
}

fn policy(rules: &str) -> LevelPolicy {
    parse(rules).expect("the policy is valid")
}

fn parse(rules: &str) -> Result<LevelPolicy, LevelError> {
    LevelPolicy::parse(
        &format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}"),
        true,
    )
}

/// Whether `rule` matches the request, seen by its level.
fn matches(rule: &str, line: &str) -> bool {
    level(&policy(&format!("- {{level: Request, {rule}}}\n")), line) == Level::Request
}

#[test]
fn the_shipped_policy_keeps_writes_and_single_reads_and_counts_lists() {
    use Level::{Metadata, RequestResponse};
    let shipped = LevelPolicy::shipped();
    for (line, expected) in [
        ("POST /api/v1/namespaces/ci/pods", RequestResponse),
        ("DELETE /api/v1/namespaces/ci/pods", RequestResponse),
        (
            "PATCH /apis/apps/v1/namespaces/ci/deployments/web",
            RequestResponse,
        ),
        ("GET /api/v1/namespaces/ci/pods/x/exec", RequestResponse),
        ("GET /api/v1/namespaces/ci/pods/x", RequestResponse),
        ("GET /api/v1/namespaces/ci/pods", Metadata),
        ("GET /api/v1/namespaces/ci/pods?watch=1", Metadata),
        ("GET /api/v1/namespaces/ci/secrets", RequestResponse),
        ("GET /api/v1/configmaps", RequestResponse),
        ("GET /api/v1/namespaces/ci/secrets?watch=1", Metadata),
        (
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles",
            RequestResponse,
        ),
        ("GET /version", Metadata),
    ] {
        assert_eq!(level(&shipped, line), expected, "{line}");
    }
}

#[test]
fn the_first_matching_rule_decides_and_without_one_there_is_none() {
    let policy = policy(
        "- {level: Metadata, verbs: [get]}\n- {level: RequestResponse, verbs: [get, list]}\n",
    );
    assert_eq!(
        level(&policy, "GET /api/v1/namespaces/ci/pods/x"),
        Level::Metadata
    );
    assert_eq!(
        level(&policy, "GET /api/v1/namespaces/ci/pods"),
        Level::RequestResponse
    );
    assert_eq!(
        level(&policy, "POST /api/v1/namespaces/ci/pods"),
        Level::None
    );
}

#[test]
fn none_is_raised_unless_it_is_allowed() {
    let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n";
    let line = "GET /api/v1/namespaces/ci/pods";
    assert_eq!(
        level(&LevelPolicy::parse(text, true).expect("it is valid"), line),
        Level::None
    );
    assert_eq!(
        level(&LevelPolicy::parse(text, false).expect("it is valid"), line),
        Level::Metadata
    );
}

#[test]
fn resources_match_as_in_the_api_server() {
    let (pod, log) = (
        "GET /api/v1/namespaces/ci/pods/x",
        "GET /api/v1/namespaces/ci/pods/x/log",
    );
    for (resources, line, expected) in [
        (r#"{group: "", resources: [pods]}"#, pod, true),
        (r#"{group: "", resources: [pods]}"#, log, false),
        (r#"{group: "", resources: [pods/log]}"#, log, true),
        (r#"{group: "", resources: ["*/log"]}"#, log, true),
        (r#"{group: "", resources: ["*/log"]}"#, pod, false),
        (r#"{group: "", resources: ["pods/*"]}"#, log, true),
        (r#"{group: "", resources: ["pods/*"]}"#, pod, true),
        (r#"{group: "", resources: ["pods/"]}"#, pod, false),
        (r#"{group: "", resources: ["*"]}"#, log, true),
        (r#"{group: "*"}"#, log, true),
        (r#"{group: ""}"#, log, true),
        ("{resources: [pods]}", pod, true),
        ("{group: apps}", pod, false),
        (
            r#"{group: "", resources: [pods], resourceNames: [x]}"#,
            pod,
            true,
        ),
        (
            r#"{group: "", resources: [pods], resourceNames: [y]}"#,
            pod,
            false,
        ),
        (
            r#"{group: "", resources: [pods], resourceNames: [x]}"#,
            "GET /api/v1/namespaces/ci/pods",
            false,
        ),
        (r#"{group: "*"}"#, "GET /version", false),
    ] {
        assert_eq!(
            matches(&format!("resources: [{resources}]"), line),
            expected,
            "{resources} {line}"
        );
    }
}

#[test]
fn namespaces_and_paths_match_as_in_the_api_server() {
    for (rule, line, expected) in [
        ("namespaces: [ci]", "GET /api/v1/namespaces/ci/pods", true),
        (
            "namespaces: [ci]",
            "GET /api/v1/namespaces/prod/pods",
            false,
        ),
        ("namespaces: [\"\"]", "GET /api/v1/nodes", true),
        ("namespaces: [\"\"]", "GET /api/v1/pods", true),
        ("namespaces: [\"\"]", "GET /version", false),
        ("nonResourceURLs: [\"*\"]", "GET /version", true),
        ("nonResourceURLs: [\"*\"]", "GET /api/v1/nodes", false),
        ("nonResourceURLs: [/version]", "GET /version/", false),
        ("nonResourceURLs: [\"/openapi*\"]", "GET /openapi/v3", true),
    ] {
        assert_eq!(matches(rule, line), expected, "{rule} {line}");
    }
}

#[test]
fn a_rule_matches_the_callers_own_name_or_the_synthetic_one_but_never_a_mix() {
    for (rule, expected) in [
        ("users: [\"system:serviceaccount:ci:bot\"]", true),
        ("users: [\"sallyport:sa:ci:bot\"]", true),
        ("users: [somebody]", false),
        ("userGroups: [\"system:authenticated\"]", true),
        ("userGroups: [\"sallyport:agents\", other]", true),
        (
            "users: [\"sallyport:sa:ci:bot\"], userGroups: [\"sallyport:agents\"]",
            true,
        ),
        (
            "users: [\"sallyport:sa:ci:bot\"], userGroups: [\"system:authenticated\"]",
            false,
        ),
    ] {
        assert_eq!(matches(rule, "GET /version"), expected, "{rule}");
    }
}

#[test]
fn what_the_api_server_refuses_is_refused_with_its_field() {
    for (rules, field) in [
        ("- {verbs: [get]}\n", "rules[0].level"),
        (
            "- {level: Metadata}\n- {level: Metadata, nonResourceURLs: [version]}\n",
            "rules[1].nonResourceURLs",
        ),
        (
            "- {level: Metadata, nonResourceURLs: [\"/a*b\"]}\n",
            "rules[0].nonResourceURLs",
        ),
        (
            "- {level: Metadata, nonResourceURLs: [/a], namespaces: [ci]}\n",
            "rules[0].nonResourceURLs",
        ),
        (
            "- {level: Metadata, omitStages: [Finished]}\n",
            "rules[0].omitStages",
        ),
        (
            "- {level: Metadata, resources: [{group: apps/v1}]}\n",
            "rules[0].resources.group",
        ),
        (
            "- {level: Metadata, resources: [{resourceNames: [x]}]}\n",
            "rules[0].resources.resourceNames",
        ),
        ("  []\n", "rules"),
        ("- {level: Everything}\n", "line 4"),
    ] {
        let error = parse(rules).expect_err("it is refused").to_string();
        assert!(error.contains(field), "{field} in {error}");
    }
    assert!(
        LevelPolicy::parse(
            "apiVersion: v1\nkind: Policy\nrules: [{level: None}]\n",
            true
        )
        .is_err()
    );
}

#[test]
fn a_policy_with_everything_that_kubernetes_knows_loads_unchanged() {
    let text = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
metadata: {name: x}
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: RequestResponse
  users:
  userGroups: ["system:nodes"]
  omitStages: [ResponseStarted, ResponseComplete, Panic]
  omitManagedFields: false
- level: Metadata
  future: field
"#;
    let policy = LevelPolicy::parse(text, true).expect("kube-apiserver loads it");
    assert_eq!(level(&policy, "GET /api/v1/nodes"), Level::Metadata);
    let unknown = unknown::fields(&serde_saphyr::from_str(text).expect("it is YAML"));
    assert_eq!(unknown, ["rules[1].future"]);
}
