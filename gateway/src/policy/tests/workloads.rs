//! Users' tokens out of captured pods: a rule must name the two together.

use super::*;

const READ: &str = r#"name: read, effect: Allow, verbs: [get], apiGroups: ["", apps], resources: [pods, deployments], namespaces: [ci], names: ["*"]"#;
const LINE: &str = "GET /api/v1/namespaces/ci/pods/web";
const POD: &str = "serviceAccount: {namespace: ci, name: runner}";
const JOB: &str = "oidc: {issuer: github, claims: {repository_id: \"74\"}}";

/// A job's token in a pod of `ci/<account>`.
fn job_in_pod(account: &str) -> Identity {
    Identity {
        workload: Some(Workload {
            namespace: "ci".to_owned(),
            service_account: account.to_owned(),
            ..Workload::default()
        }),
        ..github("74")
    }
}

fn named(user: &str) -> String {
    format!("workload: {{{POD}, {user}}}")
}

#[test]
fn a_users_token_in_a_pod_needs_a_rule_that_names_both() {
    let runner = job_in_pod("runner");
    for (subject, expected) in [
        (&*named(JOB), "allow p/read"),
        (JOB, "deny default"),
        (POD, "deny default"),
        ("all: \"*\"", "deny default"),
        (
            &named("oidc: {issuer: github, claims: {repository_id: \"75\"}}"),
            "deny default",
        ),
        (
            &named(JOB).replace("name: runner", "name: builder"),
            "deny default",
        ),
        (
            &named(JOB).replace("namespace: ci", "namespace: shop"),
            "deny default",
        ),
        (
            &named(JOB).replace("name: runner", "name: \"*\""),
            "allow p/read",
        ),
    ] {
        let decided = decide(&set_for(subject, &[READ]), &runner, LINE);
        assert_eq!(decided, expected, "{subject}");
    }
    // Each alone is no such caller.
    let both = set_for(&named(JOB), &[READ]);
    assert_eq!(decide(&both, &github("74"), LINE), "deny default");
    assert_eq!(
        decide(&both, &identity("system:serviceaccount:ci:runner"), LINE),
        "deny default"
    );
    // Clients find their way all the same.
    assert_eq!(
        decide(&both, &runner, "GET /api"),
        "allow built-in/discovery"
    );
}

#[test]
fn an_agent_that_claims_make_is_a_user_as_well() {
    let known = Identity {
        provenance: agent("deployer", Source::OperatorDeclared).provenance,
        ..job_in_pod("runner")
    };
    let own_word = Identity {
        provenance: agent("deployer", Source::SelfDeclared).provenance,
        ..job_in_pod("runner")
    };
    let set = set_for(&named("agent: {name: deployer}"), &[READ]);
    assert_eq!(decide(&set, &known, LINE), "allow p/read");
    assert_eq!(decide(&set, &own_word, LINE), "deny default");
    assert_eq!(decide(&set, &job_in_pod("runner"), LINE), "deny default");
}

#[test]
fn what_restricts_the_user_or_the_pod_restricts_the_two() {
    let allowing = policy_for("p", &named(JOB), &[READ]);
    for subject in [JOB, POD, "all: \"*\""] {
        for (effect, expected) in [("Deny", "deny q/read"), ("RequireApproval", "hold q/read")] {
            let rule = READ.replace("Allow", effect);
            let other = policy_for("q", subject, &[&rule]);
            let both = load(&[("p.yaml", &allowing), ("q.yaml", &other)]).expect("valid");
            let decided = decide(&both, &job_in_pod("runner"), LINE);
            assert_eq!(decided, expected, "{subject}");
            // To ask people is not enough where no rule names both.
            let alone = load(&[("q.yaml", &other)]).expect("valid");
            let decided = decide(&alone, &job_in_pod("runner"), LINE);
            let expected = if effect == "Deny" {
                "deny q/read"
            } else {
                "deny default"
            };
            assert_eq!(decided, expected, "{subject}");
        }
    }
}

#[test]
fn the_denial_names_the_user_and_the_pod() {
    let (caller, request) = (job_in_pod("runner"), request(LINE));
    let set = set_for(JOB, &[READ]);
    let attributes = Attributes::new(&caller, &request);
    let Decision::Deny(denial) = set.evaluate(&attributes) else {
        panic!("it is denied");
    };
    let message = denial.message(&attributes);
    assert!(
        message
            .contains("the token of \"github:repo\" came out of a pod of ServiceAccount ci/runner"),
        "{message}"
    );
    assert!(message.contains("whose subject is a workload"), "{message}");
    let explained = set.explain(&attributes, &Facts::default());
    assert!(!explained[0].matches);
    let mismatch = explained[0].mismatch.as_ref().expect("a mismatch");
    assert_eq!(mismatch.field, "subjects");
    assert!(
        mismatch
            .call
            .ends_with("in a pod of ServiceAccount ci/runner")
    );
}

#[test]
fn a_workload_names_one_user() {
    for subject in [
        format!("workload: {{{POD}}}"),
        format!("workload: {{{POD}, {JOB}, agent: {{name: x}}}}"),
        format!("workload: {{{POD}, oidc: {{issuer: github, claims: {{}}}}}}"),
        format!("workload: {{{POD}, agent: {{name: \"\"}}}}"),
        format!("workload: {{{JOB}}}"),
        format!("workload: {{{POD}, {JOB}, pod: web}}"),
    ] {
        let policy = policy_for("p", &subject, &[READ]);
        assert!(load(&[("p.yaml", &policy)]).is_err(), "{subject}");
    }
}

#[test]
fn a_stop_of_the_pods_account_stops_users_in_it() {
    let stop = |name: &str| Stop {
        name: "s".to_owned(),
        target: crate::api::v1alpha1::agent_stop::StopTarget::Agent(name.to_owned()),
        by: "ann".to_owned(),
        reason: "it loops".to_owned(),
        since: None,
    };
    let account = stop("system:serviceaccount:ci:runner");
    assert!(account.is_for(&job_in_pod("runner")));
    assert!(!account.is_for(&job_in_pod("builder")));
    assert!(!account.is_for(&github("74")));
}
