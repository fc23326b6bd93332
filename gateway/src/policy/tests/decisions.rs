use super::*;
use crate::policy::floor::token_request;

const READ: &str = r#"name: read, effect: Allow, verbs: [get, list, watch], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;
const ALL: &str = r#"name: all, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;

#[test]
fn what_no_rule_allows_is_denied() {
    assert_decides(
        &set(&[READ]),
        &[
            ("GET /api/v1/namespaces/ci/pods", "allow p/read"),
            ("GET /api/v1/namespaces/ci/pods/x/log", "allow p/read"),
            ("DELETE /api/v1/namespaces/ci/pods/x", "deny default"),
            ("GET /metrics", "deny default"),
        ],
    );
}

#[test]
fn discovery_and_questions_about_oneself_need_no_policy() {
    let allowed = "allow built-in/discovery";
    assert_decides(
        &load(&[]).expect("an empty directory is valid"),
        &[
            ("GET /api", allowed),
            ("GET /apis/", allowed),
            ("GET /api/v1", allowed),
            ("GET /apis/apps", allowed),
            ("GET /apis/apps/v1", allowed),
            ("GET /openapi/v3/apis/apps/v1?hash=1", allowed),
            ("GET /version", allowed),
            (
                "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                allowed,
            ),
            (
                "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                allowed,
            ),
            (
                "POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
                allowed,
            ),
            (
                "POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
                "deny default",
            ),
            ("GET /versions", "deny default"),
            ("GET /api/v1/pods", "deny default"),
            ("POST /version", "deny default"),
        ],
    );
}

#[test]
fn a_deny_also_takes_discovery_away() {
    let set = set(&[
        r#"name: no-openapi, effect: Deny, verbs: ["*"], nonResourceURLs: ["/openapi/*", "/version"]"#,
    ]);
    assert_decides(
        &set,
        &[
            ("GET /openapi/v2", "deny p/no-openapi"),
            ("GET /version/", "deny p/no-openapi"),
            ("GET /api", "allow built-in/discovery"),
        ],
    );
}

#[test]
fn the_strictest_effect_wins_across_policies() {
    let deny = r#"name: no-secrets, effect: Deny, verbs: ["*"], apiGroups: [""], resources: [secrets], namespaces: ["*"], names: ["*"]"#;
    let files = [
        ("z.yaml", &*policy("a", &[ALL])),
        ("a.yaml", &*policy("z", &[deny])),
    ];
    assert_decides(
        &load(&files).expect("it is valid"),
        &[
            ("GET /api/v1/namespaces/ci/secrets/x", "deny z/no-secrets"),
            ("GET /api/v1/namespaces/ci/configmaps/x", "allow a/all"),
        ],
    );
}

const EXEC: [&str; 2] = [
    "GET /api/v1/namespaces/ci/pods/x/exec?command=sh",
    "POST /api/v1/namespaces/ci/pods/x/exec?command=sh",
];

#[test]
fn exec_is_one_action_under_two_verbs() {
    let exec = |effect: &str, verb: &str| {
        format!(
            r#"name: exec, effect: {effect}, verbs: [{verb}], apiGroups: [""], resources: [pods/exec], namespaces: ["*"], names: ["*"]"#
        )
    };
    for (line, verb) in EXEC
        .into_iter()
        .flat_map(|line| [(line, "get"), (line, "create")])
    {
        assert_eq!(
            decide(&set(&[&exec("Allow", verb)]), &bot(), line),
            "allow p/exec",
            "{line} by {verb}"
        );
        assert_eq!(
            decide(&set(&[ALL, &exec("Deny", verb)]), &bot(), line),
            "deny p/exec",
            "{line} by {verb}"
        );
    }
}

#[test]
fn who_may_read_everything_may_not_open_a_shell() {
    let reader = r#"name: read, effect: Allow, verbs: [get, list, watch], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;
    let denier = r#"name: no, effect: Deny, verbs: [get], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;
    for line in EXEC {
        assert_eq!(
            decide(&set(&[reader]), &bot(), line),
            "deny default",
            "{line}"
        );
        assert_eq!(
            decide(&set(&[ALL, denier]), &bot(), line),
            "deny p/no",
            "{line}"
        );
    }
    let log = "GET /api/v1/namespaces/ci/pods/x/log";
    assert_eq!(decide(&set(&[reader]), &bot(), log), "allow p/read");
}

#[test]
fn a_bare_resource_does_not_reach_its_subresources() {
    let rule = r#"name: pods, effect: Allow, verbs: ["*"], apiGroups: ["", apps], resources: [pods, "*/scale"], namespaces: ["*"], names: ["*"]"#;
    assert_decides(
        &set(&[rule]),
        &[
            ("GET /api/v1/namespaces/ci/pods/x", "allow p/pods"),
            ("GET /api/v1/namespaces/ci/pods/x/log", "deny default"),
            (
                "PATCH /apis/apps/v1/namespaces/ci/deployments/web/scale",
                "allow p/pods",
            ),
            (
                "PATCH /apis/apps/v1/namespaces/ci/deployments/web",
                "deny default",
            ),
        ],
    );
}

#[test]
fn a_deny_for_one_namespace_cannot_be_walked_around_over_all_of_them() {
    let deny = r#"name: not-prod, effect: Deny, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: [prod], names: ["*"]"#;
    assert_decides(
        &set(&[ALL, deny]),
        &[
            ("GET /api/v1/namespaces/prod/configmaps", "deny p/not-prod"),
            ("GET /api/v1/configmaps", "deny p/not-prod"),
            ("GET /api/v1/configmaps?watch=1", "deny p/not-prod"),
            (
                "GET /api/v1/configmaps?fieldSelector=metadata.name%3Dx",
                "deny p/not-prod",
            ),
            ("GET /apis/example.com/v1/widgets", "deny p/not-prod"),
            ("DELETE /apis/example.com/v1/widgets", "deny p/not-prod"),
            ("GET /api/v1/namespaces/prod", "deny p/not-prod"),
            ("GET /api/v1/namespaces/dev/configmaps", "allow p/all"),
            ("GET /api/v1/nodes", "allow p/all"),
            (
                "GET /apis/rbac.authorization.k8s.io/v1/clusterroles",
                "allow p/all",
            ),
        ],
    );
}

#[test]
fn an_allow_for_cluster_scoped_objects_does_not_list_all_namespaces() {
    let rule = r#"name: cluster, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: [""], names: ["*"]"#;
    assert_decides(
        &set(&[rule]),
        &[
            ("GET /api/v1/nodes", "allow p/cluster"),
            ("GET /apis/example.com/v1/widgets/one", "allow p/cluster"),
            ("GET /api/v1/configmaps", "deny default"),
            ("GET /apis/example.com/v1/widgets", "deny default"),
            ("GET /api/v1/namespaces/ci/pods", "deny default"),
        ],
    );
}

#[test]
fn a_deny_for_one_name_cannot_be_walked_around_without_a_name() {
    let deny = r#"name: not-that, effect: Deny, verbs: ["*"], apiGroups: [""], resources: [secrets], namespaces: ["*"], names: [db]"#;
    assert_decides(
        &set(&[ALL, deny]),
        &[
            ("GET /api/v1/namespaces/ci/secrets/db", "deny p/not-that"),
            ("GET /api/v1/namespaces/ci/secrets", "deny p/not-that"),
            (
                "DELETE /api/v1/namespaces/ci/secrets?fieldSelector=metadata.name%3Dother",
                "deny p/not-that",
            ),
            ("POST /api/v1/namespaces/ci/secrets", "deny p/not-that"),
            ("GET /api/v1/namespaces/ci/secrets/other", "allow p/all"),
            (
                "GET /api/v1/namespaces/ci/secrets?fieldSelector=metadata.name%3Dother",
                "allow p/all",
            ),
        ],
    );
}

#[test]
fn an_allow_for_one_name_needs_that_name() {
    let rule = r#"name: one, effect: Allow, verbs: ["*"], apiGroups: [""], resources: [secrets], namespaces: [ci], names: [db]"#;
    assert_decides(
        &set(&[rule]),
        &[
            ("GET /api/v1/namespaces/ci/secrets/db", "allow p/one"),
            (
                "GET /api/v1/namespaces/ci/secrets?fieldSelector=metadata.name%3Ddb",
                "allow p/one",
            ),
            ("GET /api/v1/namespaces/ci/secrets", "deny default"),
            ("POST /api/v1/namespaces/ci/secrets", "deny default"),
        ],
    );
}

#[test]
fn a_denied_service_is_denied_under_every_port_and_scheme() {
    let deny = r#"name: no-db, effect: Deny, verbs: ["*"], apiGroups: [""], resources: [services/proxy], namespaces: ["*"], names: [db]"#;
    for name in ["db", "db:5432", "https:db:web", "https:db:"] {
        let line = format!("GET /api/v1/namespaces/ci/services/{name}/proxy/x");
        assert_eq!(
            decide(&set(&[ALL, deny]), &bot(), &line),
            "deny p/no-db",
            "{line}"
        );
    }
}

#[test]
fn events_are_denied_under_both_their_groups() {
    for group in [r#""""#, "events.k8s.io"] {
        let deny = format!(
            "name: quiet, effect: Deny, verbs: [\"*\"], apiGroups: [{group}], resources: [events], namespaces: [\"*\"], names: [\"*\"]"
        );
        assert_decides(
            &set(&[ALL, &deny]),
            &[
                ("GET /api/v1/namespaces/ci/events", "deny p/quiet"),
                (
                    "GET /apis/events.k8s.io/v1/namespaces/ci/events",
                    "deny p/quiet",
                ),
            ],
        );
    }
}

#[test]
fn subjects_are_recognized_by_verified_facts_only() {
    let line = "GET /api/v1/namespaces/ci/pods";
    let cases: [(&str, Identity, bool); 12] = [
        ("serviceAccount: {namespace: ci, name: bot}", bot(), true),
        ("serviceAccount: {namespace: ci, name: \"*\"}", bot(), true),
        ("serviceAccount: {namespace: ci, name: other}", bot(), false),
        (
            "serviceAccount: {namespace: \"*\", name: \"*\"}",
            github("42"),
            false,
        ),
        (
            "oidc: {issuer: github, claims: {repository_id: \"42\"}}",
            github("42"),
            true,
        ),
        (
            "oidc: {issuer: github, claims: {repository_id: \"*\"}}",
            github("7"),
            true,
        ),
        (
            "oidc: {issuer: github, claims: {repository_id: \"42\"}}",
            github("7"),
            false,
        ),
        (
            "oidc: {issuer: gitlab, claims: {repository_id: \"42\"}}",
            github("42"),
            false,
        ),
        (
            "oidc: {issuer: github, claims: {repository_id: \"42\", ref: \"*\"}}",
            github("42"),
            false,
        ),
        (
            "agent: {name: triage}",
            agent("triage", Source::OperatorDeclared),
            true,
        ),
        (
            "agent: {name: triage}",
            agent("triage", Source::SelfDeclared),
            false,
        ),
        ("agent: {name: \"*\"}", bot(), false),
    ];
    for (subject, identity, applies) in cases {
        let set = load(&[("p.yaml", &policy_for("p", subject, &[READ]))]).expect("it is valid");
        let expected = if applies {
            "allow p/read"
        } else {
            "deny default"
        };
        assert_eq!(
            decide(&set, &identity, line),
            expected,
            "{subject} for {}",
            identity.user.username
        );
    }
}

#[test]
fn a_claim_that_is_a_list_matches_by_each_of_its_entries() {
    let groups = |list: &[&str]| {
        let list = list.iter().map(|group| (*group).to_owned()).collect();
        let mut identity = github("42");
        identity.claims.insert("groups".to_owned(), list);
        identity
    };
    let line = "GET /api/v1/namespaces/ci/pods";
    let subject = "oidc: {issuer: github, claims: {groups: dev}}";
    let allow = load(&[("p.yaml", &policy_for("p", subject, &[READ]))]).expect("it is valid");
    let no = READ
        .replace("Allow", "Deny")
        .replace("name: read", "name: no");
    let deny = [
        ("p.yaml", &*policy("p", &[READ])),
        ("q.yaml", &*policy_for("q", subject, &[&no])),
    ];
    let deny = load(&deny).expect("it is valid");
    for (list, applies) in [
        (&["ops", "dev"][..], true),
        (&["dev"], true),
        (&["ops"], false),
        (&["dev,ops"], false),
    ] {
        let (allowed, denied) = if applies {
            ("allow p/read", "deny q/no")
        } else {
            ("deny default", "allow p/read")
        };
        assert_eq!(decide(&allow, &groups(list), line), allowed, "{list:?}");
        assert_eq!(decide(&deny, &groups(list), line), denied, "{list:?}");
    }
    assert_eq!(decide(&allow, &github("42"), line), "deny default");
}

#[test]
fn an_oidc_subject_that_looks_like_a_service_account_is_none() {
    let set = load(&[(
        "p.yaml",
        &policy_for("p", "serviceAccount: {namespace: ci, name: bot}", &[READ]),
    )])
    .expect("it is valid");
    let impostor = Identity {
        issuer: Some("system".to_owned()),
        ..bot()
    };
    assert_eq!(
        decide(&set, &impostor, "GET /api/v1/namespaces/ci/pods"),
        "deny default"
    );
}

#[test]
fn no_policy_lowers_the_floor() {
    let own = "deny built-in/floor-own-objects";
    assert_decides(
        &set(&[ALL]),
        &[
            ("PATCH /apis/sallyport.dev/v1alpha1/agentpolicies/p", own),
            ("DELETE /apis/sallyport.dev/v1alpha1/agents", own),
            (
                "DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/agents.sallyport.dev",
                own,
            ),
            (
                "GET /apis/sallyport.dev/v1alpha1/agentpolicies",
                "allow p/all",
            ),
            (
                "OPTIONS /api/v1/namespaces/ci/services/web/proxy/",
                "deny built-in/floor-verb",
            ),
        ],
    );
}

#[test]
fn a_token_is_only_for_our_audience() {
    let audiences = |list: &[&str]| {
        list.iter()
            .map(|audience| (*audience).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(token_request(&audiences(&["sallyport"])), Ok(()));
    for refused in [
        &[][..],
        &["https://kubernetes.default.svc"],
        &["sallyport", "vault"],
        &["Sallyport"],
        &[""],
    ] {
        let denial = token_request(&audiences(refused)).expect_err("it is refused");
        assert_eq!(denial.rule, "built-in/floor-token-audience", "{refused:?}");
    }
}

#[test]
fn a_denial_says_who_what_which_rule_and_what_to_do() {
    let rule = format!(
        "{}, reason: \"ask the payments team\"",
        READ.replace("Allow", "Deny")
    );
    let (identity, request) = (
        identity("evil\nname"),
        request("GET /api/v1/namespaces/ci/pods/x"),
    );
    let attributes = Attributes::new(&identity, &request);
    let Decision::Deny(denial) = set(&[&rule]).evaluate(&attributes) else {
        panic!("it is denied");
    };
    let message = denial.message(&attributes);
    let expected = r#"User "evil\nname" cannot get resource "pods" in API group "" named "x" in the namespace "ci": denied by rule "p/read": ask the payments team. "#;
    assert!(message.starts_with(expected), "{message}");
    assert!(!message.contains('\n'));
}

#[test]
fn a_denial_for_asking_too_broadly_says_how_to_be_precise() {
    let deny = |lists: &str| {
        format!(
            r#"name: no, effect: Deny, verbs: ["*"], apiGroups: ["*"], resources: ["*"], {lists}"#
        )
    };
    for (lists, line, hint) in [
        (
            "namespaces: [prod], names: [\"*\"]",
            "GET /api/v1/pods",
            "name one namespace",
        ),
        (
            "namespaces: [\"*\"], names: [db]",
            "GET /api/v1/namespaces/ci/pods",
            "name one object",
        ),
        (
            "namespaces: [\"*\"], names: [\"*\"]",
            "GET /api/v1/pods",
            "Do not repeat it",
        ),
        (
            "namespaces: [prod], names: [\"*\"]",
            "GET /api/v1/namespaces/prod/pods",
            "Do not repeat it",
        ),
    ] {
        let (set, identity, request) = (set(&[ALL, &deny(lists)]), bot(), request(line));
        let Decision::Deny(denial) = set.evaluate(&Attributes::new(&identity, &request)) else {
            panic!("{line} is denied");
        };
        assert!(denial.hint.contains(hint), "{line}: {}", denial.hint);
    }
}

#[test]
fn a_permit_names_its_rule_and_the_policies_in_force() {
    let (set, identity, request) = (
        set(&[READ]),
        bot(),
        request("GET /api/v1/namespaces/ci/pods"),
    );
    let Decision::Allow(permit) = set.evaluate(&Attributes::new(&identity, &request)) else {
        panic!("it is allowed");
    };
    assert_eq!(
        (permit.rule(), permit.policy_digest()),
        ("p/read", set.digest())
    );
}
