//! Users' tokens out of captured pods: a rule must name the two together.

use proptest::{prelude::*, sample::select};

use super::{glass::glass, properties as any, *};
use crate::api::v1alpha1::agent_policy::{AgentPolicySpec, AgentView, Subject};

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

/// Where an Agent object declares `ci/runner` to be `fixer`.
fn job_in_fixers_pod() -> Identity {
    Identity {
        pod_agent: Some("fixer".to_owned()),
        ..job_in_pod("runner")
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
fn what_restricts_the_pods_agent_restricts_the_two() {
    let allowing = policy_for("p", &named(JOB), &[READ]);
    for (effect, expected) in [("Deny", "deny q/read"), ("RequireApproval", "hold q/read")] {
        let rule = READ.replace("Allow", effect);
        for (agent, caller, expected) in [
            ("fixer", job_in_fixers_pod(), expected),
            ("*", job_in_fixers_pod(), expected),
            ("other", job_in_fixers_pod(), "allow p/read"),
            ("fixer", job_in_pod("runner"), "allow p/read"),
        ] {
            let other = policy_for("q", &format!("agent: {{name: \"{agent}\"}}"), &[&rule]);
            let both = load(&[("p.yaml", &allowing), ("q.yaml", &other)]).expect("valid");
            assert_eq!(decide(&both, &caller, LINE), expected, "{agent} {effect}");
        }
    }
}

#[test]
fn the_pods_agent_lets_nothing_pass() {
    let caller = job_in_fixers_pod();
    for subject in ["agent: {name: fixer}", &named("agent: {name: fixer}")] {
        for effect in ["Allow", "RequireApproval"] {
            let rule = READ.replace("Allow", effect);
            let set = set_for(subject, &[&rule]);
            assert_eq!(decide(&set, &caller, LINE), "deny default", "{subject}");
        }
    }
}

const EXEC: &str = r#"apiGroups: [""], resources: [pods/exec], names: ["*"], verbs: [create]"#;

/// The floor asks for a rule that names the namespace: one that is for the user or the pod alone is none.
#[test]
fn a_rule_that_is_not_for_both_names_no_namespace_for_them() {
    let all = format!(r#"name: exec, effect: Allow, {EXEC}, namespaces: ["*"]"#);
    let ask = format!("name: ask, effect: RequireApproval, {EXEC}, namespaces: [prod]");
    let allowing = policy_for("p", &named(JOB), &[&all]);
    for (subject, expected) in [
        (POD, "deny built-in/floor-unnamed-namespace"),
        (
            "agent: {name: fixer}",
            "deny built-in/floor-unnamed-namespace",
        ),
        (&named(JOB), "hold q/ask"),
    ] {
        let asking = policy_for("q", subject, &[&ask]);
        let both = load(&[("p.yaml", &allowing), ("q.yaml", &asking)]).expect("valid");
        let line = "POST /api/v1/namespaces/prod/pods/web/exec?command=sh";
        let decided = decide(&both, &job_in_fixers_pod(), line);
        assert_eq!(decided, expected, "{subject}");
    }
}

#[test]
fn a_stop_of_the_pod_stops_users_in_it() {
    use crate::api::v1alpha1::agent_stop::StopTarget;
    let session = |id: &str| StopTarget::Session(id.to_owned());
    let agent = |name: &str| StopTarget::Agent(name.to_owned());
    let mut runner = job_in_fixers_pod();
    runner.workload.as_mut().expect("a pod").pod_uid = "uid-1".to_owned();
    let unknown_uid = job_in_fixers_pod();
    let builder = job_in_pod("builder");
    for (target, caller, stopped) in [
        (agent("system:serviceaccount:ci:runner"), &runner, true),
        (agent("sallyport:sa:ci:runner"), &runner, true),
        (agent("fixer"), &runner, true),
        (agent("system:serviceaccount:ci:runner"), &builder, false),
        (agent("sallyport:sa:ci:runner"), &builder, false),
        (agent("fixer"), &builder, false),
        (agent("*"), &runner, false),
        (
            session("system:serviceaccount:ci:runner/uid-1"),
            &runner,
            true,
        ),
        (
            session("system:serviceaccount:ci:runner/uid-11"),
            &runner,
            false,
        ),
        (
            session("system:serviceaccount:ci:runner/xuid-1"),
            &runner,
            false,
        ),
        (session("uid-1"), &runner, false),
        (
            session("system:serviceaccount:ci:runner/"),
            &unknown_uid,
            false,
        ),
        (
            agent("system:serviceaccount:ci:runner"),
            &github("74"),
            false,
        ),
        (agent("sallyport:sa:ci:runner"), &github("74"), false),
        (agent("fixer"), &github("74"), false),
        (
            session("system:serviceaccount:ci:runner/uid-1"),
            &github("74"),
            false,
        ),
    ] {
        let stop = Stop {
            name: "s".to_owned(),
            target,
            by: "ann".to_owned(),
            reason: "it loops".to_owned(),
            since: None,
        };
        assert_eq!(stop.is_for(caller), stopped, "{}", stop.whom());
    }
}

#[test]
fn behind_a_glass_a_rule_that_is_not_for_both_shows_nothing() {
    let ask = r#"name: ask, effect: RequireApproval, verbs: [get], apiGroups: [""], resources: [secrets], namespaces: [ci], names: ["*"]"#;
    let (caller, request) = (
        job_in_fixers_pod(),
        request("GET /api/v1/namespaces/ci/secrets/x"),
    );
    let attributes = Attributes::new(&caller, &request);
    for (subject, view) in [
        (POD, AgentView::Masked),
        ("agent: {name: fixer}", AgentView::Masked),
        (&named(JOB), AgentView::Clear),
    ] {
        let set = set_for(subject, &[ask]);
        let outage = glass("outage");
        let decision = set.conclude_behind(Some(&outage), &attributes, &Facts::default());
        let Decision::Allow(permit) = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(permit.obligations().agent_view, view, "{subject}");
    }
}

/// Of everybody who has a part in the call, and of one who has not.
fn specs() -> impl Strategy<Value = Vec<AgentPolicySpec>> {
    let subjects = [
        "all: \"*\"",
        JOB,
        POD,
        &named(JOB),
        &named("agent: {name: fixer}"),
        "agent: {name: fixer}",
        "agent: {name: \"*\"}",
        "agent: {name: other}",
    ];
    let subject = |text: &str| -> Subject {
        serde_saphyr::from_str(&format!("{{{text}}}")).expect("a subject")
    };
    let subjects = prop::collection::vec(select(subjects.map(subject).to_vec()), 4);
    (any::specs(), subjects).prop_map(|(mut specs, subjects)| {
        for (spec, subject) in specs.iter_mut().zip(subjects) {
            spec.subjects = vec![subject];
        }
        specs
    })
}

proptest! {
    #[test]
    fn what_is_known_of_the_pods_agent_only_takes_away(
        specs in specs(), line in any::request_line(), facts in any::facts(), agents: bool,
    ) {
        let set = any::compile(&any::named(specs)).expect("it is valid");
        let (request, outage) = (request(&line.replacen("APPLY ", "PATCH ", 1)), glass("outage"));
        let decided = |identity: &Identity| {
            let attributes = Attributes {
                applies: line.starts_with("APPLY "),
                namespace_is_agents: agents,
                ..Attributes::new(identity, &request)
            };
            let conclude = || set.conclude(&attributes, &facts);
            [
                given(Ok(conclude())),
                given(Ok(set.conclude_behind(Some(&outage), &attributes, &facts))),
                given(set.observe(conclude(), &attributes, &facts).map(Decision::Allow)),
            ]
        };
        let (unknown, known) = (decided(&job_in_pod("runner")), decided(&job_in_fixers_pod()));
        for (unknown, known) in unknown.into_iter().zip(known) {
            prop_assert!(known <= unknown, "{unknown:?} became {known:?}");
        }
    }
}

/// How much an answer gives: nothing, a question, or a call with what is shown of it.
fn given(decision: Result<Decision, Denial>) -> (u8, bool, bool, bool) {
    match decision {
        Err(_) | Ok(Decision::Deny(_)) => (0, false, false, false),
        Ok(Decision::Hold(_)) => (1, false, false, false),
        Ok(Decision::Allow(permit)) => {
            let Obligations {
                agent_view,
                withholds_secrets,
                hides_manifests,
                ..
            } = permit.obligations();
            let is_clear = *agent_view == AgentView::Clear;
            (2, is_clear, !withholds_secrets, !hides_manifests)
        }
    }
}
