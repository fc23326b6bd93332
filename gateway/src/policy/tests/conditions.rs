use serde_json::{Value, json};

use super::*;
use crate::{
    api::v1alpha1::{agent_policy::Effect, approval_request::RiskLevel},
    identity::{GenAi, Workload},
};

const ALL: &str = r#"name: all, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;
const PATCH: &str = "PATCH /api/v1/namespaces/ci/configmaps/x";
const READ: &str = "GET /api/v1/namespaces/ci/configmaps/x";

fn rule(name: &str, effect: &str, condition: &str) -> String {
    format!(
        "{}, {condition}",
        ALL.replace("name: all", &format!("name: {name}"))
            .replace("Allow", effect)
    )
}

fn judged(set: &PolicySet, line: &str, facts: &Facts) -> String {
    judged_of_api(set, line, facts, false)
}

fn judged_of_api(set: &PolicySet, line: &str, facts: &Facts, is_served_locally: bool) -> String {
    let (identity, request) = (bot(), request(line));
    let attributes = Attributes {
        namespace_is_agents: true,
        is_served_locally,
        ..Attributes::new(&identity, &request)
    };
    match set.judge(&attributes, facts) {
        Judgement::Decided(decision) => shown(decision),
        Judgement::Undecided(undecided) => format!(
            "undecided object={} old={} dry-run={}",
            undecided.wants_object(),
            undecided.wants_old_object(),
            undecided.dry_run().is_some()
        ),
    }
}

fn concluded(set: &PolicySet, line: &str, facts: &Facts) -> Decision {
    let (identity, request) = (bot(), request(line));
    set.conclude(&Attributes::new(&identity, &request), facts)
}

fn labelled(value: &str) -> Value {
    json!({"metadata": {"labels": {"team": value}}})
}

#[test]
fn a_rule_matches_where_when_is_true_and_unless_is_not() {
    let cases = [
        (r#"when: "request.verb == 'get'""#, "allow p/r"),
        (r#"when: "request.verb == 'patch'""#, "deny default"),
        (r#"unless: "request.name == 'x'""#, "deny default"),
        (r#"unless: "request.name == 'y'""#, "allow p/r"),
        (
            r#"when: "request.resource == 'configmaps'", unless: "user.name.endsWith(':bot')""#,
            "deny default",
        ),
    ];
    for (condition, expected) in cases {
        let set = set(&[&rule("r", "Allow", condition)]);
        assert_eq!(decide(&set, &bot(), READ), expected, "{condition}");
    }
}

#[test]
fn what_cannot_be_evaluated_counts_against_the_call() {
    for broken in [
        "when: \"user.claims.team[0] == 'a'\"",
        "unless: \"user.claims.team[0] == 'a'\"",
    ] {
        let allow = set(&[&rule("r", "Allow", broken)]);
        assert_eq!(decide(&allow, &bot(), READ), "deny default", "{broken}");
        let hold = set(&[ALL, &rule("r", "RequireApproval", broken)]);
        assert_eq!(decide(&hold, &bot(), READ), "hold p/r", "{broken}");
        let deny = set(&[ALL, &rule("r", "Deny", broken)]);
        let Decision::Deny(denial) = concluded(&deny, READ, &Facts::default()) else {
            panic!("it is denied");
        };
        assert_eq!(denial.rule, "p/r");
        assert!(
            denial
                .reason
                .contains("could not be evaluated: there is no \"team\""),
            "{}",
            denial.reason
        );
    }
}

#[test]
fn whoever_decides_is_told_what_could_not_be_evaluated() {
    let hold = set(&[
        ALL,
        &rule("r", "RequireApproval", "when: \"object.spec.x\""),
    ]);
    let Decision::Hold(pending) = concluded(&hold, PATCH, &writes(json!({}))) else {
        panic!("it is held");
    };
    let reasons = &pending.terms().reasons;
    assert!(reasons[0].contains("there is no \"spec\""), "{reasons:?}");
}

#[test]
fn an_object_is_asked_for_only_where_it_decides() {
    let reads = rule(
        "r",
        "Deny",
        "when: \"object.metadata.labels.team == 'payments'\"",
    );
    let set = set(&[ALL, &reads]);
    let unknown = Facts::default();
    assert_eq!(
        judged(&set, PATCH, &unknown),
        "undecided object=true old=false dry-run=true"
    );
    assert_eq!(
        judged(&set, PATCH, &writes(labelled("payments"))),
        "deny p/r"
    );
    assert_eq!(judged(&set, PATCH, &writes(labelled("web"))), "allow p/all");
    // A read has no object, so the expression fails and counts.
    assert_eq!(judged(&set, READ, &unknown), "deny p/r");
}

#[test]
fn what_is_denied_anyway_needs_no_object() {
    let reads = rule("r", "Deny", "when: \"object.x == 1\"");
    let denies = rule("no", "Deny", "when: \"request.verb == 'patch'\"");
    let unknown = Facts::default();
    assert_eq!(
        judged(&set(&[ALL, &reads, &denies]), PATCH, &unknown),
        "deny p/no"
    );
    assert_eq!(judged(&set(&[&reads]), PATCH, &unknown), "deny default");
    let settled = rule(
        "r",
        "Deny",
        "when: \"request.verb == 'get' && object.x == 1\"",
    );
    assert_eq!(
        judged(&set(&[ALL, &settled]), PATCH, &unknown),
        "allow p/all"
    );
}

#[test]
fn a_fact_that_was_not_learned_is_an_error_at_the_end() {
    let unknown = Facts::default();
    let reads = "when: \"object.x == 1\"";
    let allow = set(&[&rule("r", "Allow", reads)]);
    assert_eq!(shown(concluded(&allow, PATCH, &unknown)), "deny default");
    let deny = set(&[ALL, &rule("r", "Deny", reads)]);
    assert_eq!(shown(concluded(&deny, PATCH, &unknown)), "deny p/r");
}

#[test]
fn the_old_object_is_compared_with_the_new_one() {
    let changed = r#"when: "object.metadata.labels.team != oldObject.metadata.labels.team""#;
    let set = set(&[ALL, &rule("r", "Deny", changed)]);
    let between = |old: &str, new: &str| Facts {
        object: Fact::Known(labelled(new)),
        old_object: Fact::Known(labelled(old)),
    };
    assert_eq!(
        judged(&set, PATCH, &Facts::default()),
        "undecided object=true old=true dry-run=true"
    );
    assert_eq!(judged(&set, PATCH, &between("a", "a")), "allow p/all");
    assert_eq!(judged(&set, PATCH, &between("a", "b")), "deny p/r");
}

#[test]
fn a_dry_run_is_offered_only_where_nothing_acts_on_it() {
    let set = set(&[ALL, &rule("r", "Deny", "when: \"object.x == 1\"")]);
    const WIDGET: &str = "PATCH /apis/example.com/v1/namespaces/ci/widgets/x";
    let scale = "PATCH /apis/apps/v1/namespaces/ci/deployments/web/scale";
    let of_widget = |subresource: &str| format!("{WIDGET}/{subresource}");
    for (line, is_served_locally, offered) in [
        ("PATCH /api/v1/namespaces/ci/configmaps/x", false, true),
        (scale, false, true),
        ("PATCH /api/v1/namespaces/ci/secrets/x", false, true),
        ("PATCH /api/v1/namespaces/ci/pods/x/resize", false, true),
        (WIDGET, false, false),
        (WIDGET, true, true),
        (&of_widget("status"), false, false),
        (&of_widget("status"), true, true),
        (&of_widget("scale"), true, true),
        (&of_widget("resize"), true, false),
        (&of_widget("eviction"), true, false),
        ("PATCH /apis/apps/v1/namespaces/ci/widgets/x", true, false),
        ("PATCH /api/v1/namespaces/ci/widgets/x", true, false),
        (
            "PATCH /apis/metrics.k8s.io/v1/namespaces/ci/pods/x",
            true,
            false,
        ),
        // What is written whole is in its body.
        ("POST /api/v1/namespaces/ci/secrets", false, false),
        ("PUT /api/v1/namespaces/ci/secrets/x", false, false),
        (
            "POST /apis/example.com/v1/namespaces/ci/widgets",
            true,
            false,
        ),
        (
            "PUT /apis/example.com/v1/namespaces/ci/widgets/x",
            true,
            false,
        ),
        ("POST /api/v1/namespaces/ci/pods/x/eviction", true, false),
        (
            "POST /api/v1/namespaces/ci/serviceaccounts/x/token",
            true,
            false,
        ),
    ] {
        let judged = judged_of_api(&set, line, &Facts::default(), is_served_locally);
        assert!(judged.starts_with("undecided"), "{line}: {judged}");
        assert_eq!(judged.ends_with("dry-run=true"), offered, "{line}");
    }
}

#[test]
fn audit_policies_say_what_they_would_do_and_do_nothing() {
    let audit = |name: &str, rules: &[&str]| {
        policy(name, rules).replace("spec:\n", "spec:\n  mode: Audit\n")
    };
    let denies = rule("no", "Deny", "when: \"request.verb == 'get'\"");
    let files = [
        ("a.yaml", policy("a", &[ALL])),
        (
            "b.yaml",
            audit(
                "b",
                &[
                    &denies,
                    &rule("warned", "Allow", "warn: later"),
                    &rule("other", "Deny", "when: \"false\""),
                ],
            ),
        ),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let set = load(&files).expect("it is valid");
    let Decision::Allow(permit) = concluded(&set, READ, &Facts::default()) else {
        panic!("it is allowed");
    };
    let (identity, request) = (bot(), request(READ));
    let reading = Attributes::new(&identity, &request);
    let audited = set.audited(&reading, &Facts::default());
    let audited: Vec<_> = audited
        .iter()
        .map(|audited| (&*audited.rule, audited.effect))
        .collect();
    assert_eq!(
        audited,
        [("b/no", Effect::Deny), ("b/warned", Effect::Allow)]
    );
    assert!(permit.obligations().warnings.is_empty());
    let alone = load(&[("b.yaml", &audit("b", &[ALL]))]).expect("it is valid");
    assert_eq!(decide(&alone, &bot(), READ), "deny default");
    assert_eq!(alone.audited(&reading, &Facts::default()).len(), 1);
}

#[test]
fn obligations_are_those_of_rules_that_match() {
    let masked = rule(
        "masked",
        "Allow",
        "agentView: Masked, when: \"request.verb == 'get'\"",
    );
    let warned = rule(
        "warned",
        "Allow",
        "warn: careful, when: \"request.verb == 'patch'\"",
    );
    let Decision::Allow(permit) = concluded(&set(&[&masked, &warned]), READ, &Facts::default())
    else {
        panic!("it is allowed");
    };
    assert_eq!(
        permit.obligations().agent_view,
        crate::api::v1alpha1::agent_policy::AgentView::Masked
    );
    assert!(permit.obligations().warnings.is_empty());
}

#[test]
fn risk_is_read_with_the_object_where_that_tells_more() {
    let set = set(&[
        ALL,
        &rule("risky", "RequireApproval", "when: \"risk.level == 'high'\""),
    ]);
    let post = "POST /api/v1/namespaces/ci/pods";
    assert_eq!(judged(&set, READ, &Facts::default()), "allow p/all");
    assert!(judged(&set, post, &Facts::default()).starts_with("undecided object=true"));
    let pod = |spec: Value| writes(json!({"spec": spec}));
    assert_eq!(
        judged(&set, post, &pod(json!({"containers": []}))),
        "allow p/all"
    );
    assert_eq!(
        judged(&set, post, &pod(json!({"hostNetwork": true}))),
        "hold p/risky"
    );
    let Decision::Hold(pending) = concluded(
        &set,
        &post.replace("/ci/", "/kube-system/"),
        &pod(json!({"hostPID": true})),
    ) else {
        let decision = shown(concluded(
            &set,
            &post.replace("/ci/", "/kube-system/"),
            &pod(json!({})),
        ));
        assert_eq!(decision, "deny built-in/floor-unnamed-namespace");
        return;
    };
    assert_eq!(pending.risk().level, RiskLevel::High);
}

#[test]
fn nothing_is_read_that_the_agent_says_of_itself() {
    let model = |source: Source| {
        let mut identity = agent("coder", source);
        identity.provenance.gen_ai = Some(GenAi {
            request_model: Some("m-1".to_owned()),
            ..GenAi::default()
        });
        identity.provenance.source.model = Some(source);
        identity
    };
    let set = set(&[&rule(
        "r",
        "Allow",
        r#"when: "has(provenance.model) && provenance.model.name == 'm-1' && provenance.agent.name == 'coder'""#,
    )]);
    assert_eq!(
        decide(&set, &model(Source::OperatorDeclared), READ),
        "allow p/r"
    );
    assert_eq!(
        decide(&set, &model(Source::SelfDeclared), READ),
        "deny default"
    );
    assert_eq!(decide(&set, &bot(), READ), "deny default");
}

#[test]
fn expressions_read_what_is_known_of_caller_and_call() {
    let mut identity = github("42");
    identity.user.groups = vec!["devs".to_owned()];
    identity.workload = Some(Workload {
        namespace: "ci".to_owned(),
        pod: "runner".to_owned(),
        ..Workload::default()
    });
    let exec = "POST /api/v1/namespaces/ci/pods/x/exec?command=ls&command=-l";
    for (line, condition) in [
        (READ, "'devs' in user.groups && user.issuer == 'github'"),
        (READ, "'42' in user.claims.repository_id"),
        (
            READ,
            "workload.pod == 'runner' && workload.namespace == request.namespace",
        ),
        (READ, "object == null && oldObject == null"),
        (READ, "risk.level == 'low' && size(risk.reasons) == 0"),
        (
            exec,
            "request.command == ['ls', '-l'] && request.subresource == 'exec'",
        ),
        (exec, "request.command.exists(word, word.startsWith('-'))"),
        (
            "DELETE /api/v1/namespaces/ci/configmaps/x?dryRun=All",
            "request.dryRun && object == null",
        ),
        (
            "GET /version",
            "request.path == '/version' && request.resource == ''",
        ),
    ] {
        let rule = if line.ends_with("/version") {
            format!(
                r#"name: r, effect: Deny, verbs: ["*"], nonResourceURLs: ["*"], when: "{condition}""#
            )
        } else {
            rule("r", "Deny", &format!("when: \"{condition}\""))
        };
        assert_eq!(
            decide(&set(&[ALL, &rule]), &identity, line),
            "deny p/r",
            "{condition}"
        );
    }
}

#[test]
fn an_expression_that_could_never_be_meant_is_refused_with_file_line_and_field() {
    for (expression, why) in [
        ("request.verb ==", "is not CEL"),
        (
            "request.vreb == 'get'",
            "reads request.vreb, which does not exist",
        ),
        (
            "requests.verb == 'get'",
            "reads \\\"requests\\\", which does not exist",
        ),
        ("request.verb.matches(user.name)", "not written out"),
        ("request.verb.matches('(')", "not a regular expression"),
        ("request.verb.lowerAscii() == 'get'", "lowerAscii"),
        (
            "object.a.all(x, object.b.all(y, x == y))",
            "goes through a list inside",
        ),
    ] {
        let rule = rule("r", "Allow", &format!("when: \"{expression}\""));
        let message = load(&[("p.yaml", &policy("p", &[&rule]))])
            .expect_err(expression)
            .to_string();
        let why = why.replace("\\\"", "\"");
        assert!(message.contains(&why), "{why} in {message}");
        assert!(
            message.contains("p.yaml:7: p: spec.rules[0].when: rule \"r\": the expression"),
            "{message}"
        );
    }
}
