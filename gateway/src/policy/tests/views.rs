//! How far a view, a bound and a record level reach: as far as a denial does.

use std::time::Duration;

use proptest::prelude::*;

use super::{glass::glass, properties as any, *};
use crate::api::v1alpha1::agent_policy::{AgentView, Effect, Everyone, RecordLevel, Subject};

const CLEAR: &str = r#"name: clear, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;
const MASKED: &str = r#"name: masked, effect: Allow, verbs: [get, list, watch], apiGroups: ["", apps], resources: [secrets, deployments, events], namespaces: [prod], names: [x], agentView: Masked"#;

fn on<T>(line: &str, then: impl FnOnce(&Attributes<'_>) -> T) -> T {
    any::with_attributes(line, true, then)
}

#[track_caller]
fn obligations(set: &PolicySet, line: &str) -> Obligations {
    match on(line, |attributes| set.evaluate(attributes)) {
        Decision::Allow(permit) => permit.obligations().clone(),
        other => panic!("{line}: {other:?}"),
    }
}

/// However the call is let pass.
fn views(set: &PolicySet, line: &str) -> [AgentView; 3] {
    on(line, |attributes| {
        let (facts, glass) = (Facts::default(), glass("outage"));
        let behind = set.conclude_behind(Some(&glass), attributes, &facts);
        let Decision::Allow(behind) = behind else {
            panic!("{line}: {behind:?}");
        };
        [
            obligations(set, line).agent_view,
            behind.obligations().agent_view,
            set.observed_obligations(attributes).agent_view,
        ]
    })
}

#[test]
fn a_masked_object_is_masked_in_every_answer_that_may_hold_it() {
    let set = set(&[CLEAR, MASKED]);
    for (line, view) in [
        ("GET /api/v1/namespaces/prod/secrets/x", AgentView::Masked),
        ("GET /api/v1/namespaces/prod/secrets", AgentView::Masked),
        (
            "GET /api/v1/namespaces/prod/secrets?watch=1",
            AgentView::Masked,
        ),
        ("GET /api/v1/secrets", AgentView::Masked),
        ("GET /apis/apps/v1/deployments?watch=1", AgentView::Masked),
        (
            "GET /api/v1/namespaces/prod/secrets?fieldSelector=metadata.name%3Dx",
            AgentView::Masked,
        ),
        (
            "GET /apis/events.k8s.io/v1/namespaces/prod/events",
            AgentView::Masked,
        ),
        (
            "GET /api/v1/namespaces/prod/secrets?fieldSelector=metadata.name%3Dy",
            AgentView::Clear,
        ),
        ("GET /api/v1/namespaces/prod/secrets/y", AgentView::Clear),
        ("GET /api/v1/namespaces/ci/secrets", AgentView::Clear),
        ("GET /api/v1/namespaces/prod/configmaps", AgentView::Clear),
        ("DELETE /api/v1/namespaces/prod/secrets", AgentView::Clear),
        ("GET /version", AgentView::Clear),
    ] {
        if line == "GET /api/v1/secrets" {
            let view = on(line, |attributes| {
                set.observed_obligations(attributes).agent_view
            });
            assert_eq!(view, AgentView::Masked, "the floor alone denies it");
            continue;
        }
        assert_eq!(views(&set, line), [view; 3], "{line}");
    }
}

#[test]
fn a_view_whose_condition_cannot_be_evaluated_masks() {
    let line = "GET /api/v1/namespaces/prod/secrets/x";
    for (condition, view) in [
        ("when: \"provenance.model.name == 'm'\"", AgentView::Masked),
        (
            "unless: \"provenance.model.name == 'm'\"",
            AgentView::Masked,
        ),
        (
            "when: \"object.metadata.labels.a == 'b'\"",
            AgentView::Masked,
        ),
        ("when: \"request.name == 'y'\"", AgentView::Clear),
        ("unless: \"request.name == 'x'\"", AgentView::Clear),
    ] {
        let masked = format!("{MASKED}, {condition}");
        assert_eq!(
            views(&set(&[CLEAR, &masked]), line),
            [view; 3],
            "{condition}"
        );
    }
}

#[test]
fn a_view_that_may_concern_a_secret_gives_it_to_no_pod() {
    let masked = format!("{MASKED}, when: \"provenance.model.name == 'm'\"");
    let named = CLEAR.replace(r#"namespaces: ["*"]"#, "namespaces: [prod]");
    let reads = writes(serde_json::json!(
        {"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "x"}}]}]}}
    ));
    let line = "POST /api/v1/namespaces/prod/pods";
    let decided = |rules: &[&str]| {
        let set = set(rules);
        on(line, |attributes| shown(set.conclude(attributes, &reads)))
    };
    assert_eq!(decided(&[&named]), "allow p/clear");
    assert_eq!(decided(&[&named, &masked]), "deny p/masked");
}

#[test]
fn bounds_and_record_levels_reach_as_far_and_warnings_do_not() {
    let bounded = MASKED.replace(
        "agentView: Masked",
        "record: RequestResponse, streams: {idle: 10s, duration: 60s}, warn: careful",
    );
    let set = set(&[CLEAR, &bounded]);
    let list = obligations(&set, "GET /apis/apps/v1/deployments?watch=1");
    assert_eq!(list.record, Some(RecordLevel::RequestResponse));
    assert_eq!(list.idle, Some(Duration::from_secs(10)));
    assert_eq!(list.duration, Some(Duration::from_secs(60)));
    assert_eq!(list.warnings, [""; 0]);
    let named = obligations(&set, "GET /api/v1/namespaces/prod/secrets/x");
    assert_eq!(named.warnings, ["careful"]);
    let other = obligations(&set, "GET /api/v1/namespaces/prod/secrets/y");
    assert_eq!(other, Obligations::default());
}

#[test]
fn manifests_in_releases_are_hidden_unless_every_rule_that_masks_shows_them() {
    let shows = format!("{MASKED}, helmManifests: Show");
    let hides = format!("{MASKED}, helmManifests: Hide");
    let other = shows.replace("name: masked", "name: other");
    for (rules, hidden) in [
        (&[CLEAR, MASKED][..], true),
        (&[CLEAR, &hides], true),
        (&[CLEAR, &shows], false),
        (&[CLEAR, &other, MASKED], true),
        (&[CLEAR, &other, &shows], false),
    ] {
        for line in [
            "GET /api/v1/namespaces/prod/secrets/x",
            "GET /api/v1/namespaces/prod/secrets",
        ] {
            let obligations = obligations(&set(rules), line);
            assert!(obligations.masks());
            assert_eq!(obligations.hides_manifests, hidden, "{rules:?} {line}");
        }
    }
}

#[test]
fn behind_broken_glass_manifests_are_hidden_where_no_rule_says_what_is_seen() {
    let denying = MASKED.replace("effect: Allow", "effect: Deny") + ", helmManifests: Show";
    let set = set(&[&denying]);
    let permit = on("GET /api/v1/namespaces/prod/secrets/x", |attributes| {
        set.conclude_behind(Some(&glass("outage")), attributes, &Facts::default())
    });
    let Decision::Allow(permit) = permit else {
        panic!("{permit:?}");
    };
    assert!(permit.obligations().masks() && permit.obligations().hides_manifests);
}

#[test]
fn manifests_without_a_masked_view_are_no_choice() {
    let rule = format!("{CLEAR}, helmManifests: Show");
    let refused = load(&[("p.yaml", &policy("p", &[&rule]))]).expect_err("it is refused");
    let refused = refused.to_string();
    assert!(
        refused.contains("helmManifests") && refused.contains("belongs to agentView Masked"),
        "{refused}"
    );
    let misspelt = MASKED.to_owned() + ", helmManifest: Show";
    assert!(load(&[("p.yaml", &policy("p", &[&misspelt]))]).is_err());
}

#[test]
fn a_policy_in_audit_mode_masks_nothing() {
    let masked = policy("q", &[MASKED]).replace("spec:", "spec:\n  mode: Audit");
    let set = load(&[("p.yaml", &policy("p", &[CLEAR])), ("q.yaml", &masked)]).expect("valid");
    let line = "GET /api/v1/namespaces/prod/secrets";
    assert_eq!(views(&set, line), [AgentView::Clear; 3]);
}

proptest! {
    /// Where a rule would deny the read, it masks it.
    #[test]
    fn a_view_reaches_as_far_as_a_denial(
        specs in any::specs(), mut added in any::rule(Just(Effect::Deny)), line in any::request_line(), facts in any::facts(),
    ) {
        let is_read = on(&line, |attributes| {
            let request = attributes.request;
            request.is_read_only() && !request.is_connect()
        });
        prop_assume!(is_read);
        let policies = any::named(specs);
        let with = |rule: &_| {
            let all = any::extended(&policies, Subject::All(Everyone::Any), Clone::clone(rule));
            any::compile(&all).expect("it is valid")
        };
        let denying = on(&line, |attributes| shown(with(&added).conclude(attributes, &facts)));
        added.effect = Effect::Allow;
        added.agent_view = Some(AgentView::Masked);
        let (set, outage) = (with(&added), glass("outage"));
        let views = on(&line, |attributes| {
            [
                Ok(set.conclude(attributes, &facts)),
                Ok(set.conclude_behind(Some(&outage), attributes, &facts)),
                set.observe(set.conclude(attributes, &facts), attributes, &facts).map(Decision::Allow),
            ]
        });
        for view in views {
            if let ("deny added/added", Ok(Decision::Allow(permit))) = (&*denying, view) {
                prop_assert_eq!(permit.obligations().agent_view, AgentView::Masked);
            }
        }
    }

    #[test]
    fn another_rule_never_shows_more(
        specs in any::specs(), added in any::any_rule(), line in any::request_line(), facts in any::facts(), agents: bool,
    ) {
        let policies = any::named(specs);
        let extended = any::extended(&policies, Subject::All(Everyone::Any), added);
        let [before, after] = [&policies, &extended].map(|policies| {
            let set = any::compile(policies).expect("it is valid");
            any::with_attributes(&line, agents, |attributes| set.conclude(attributes, &facts))
        });
        if let (Decision::Allow(before), Decision::Allow(after)) = (before, after) {
            let (before, after) = (before.obligations(), after.obligations());
            prop_assert!(after.agent_view >= before.agent_view);
            prop_assert!(after.withholds_secrets >= before.withholds_secrets);
            prop_assert!(after.hides_manifests >= before.hides_manifests);
            prop_assert!(after.record >= before.record);
            for (before, after) in [(before.idle, after.idle), (before.duration, after.duration)] {
                prop_assert!(before.is_none_or(|before| after.is_some_and(|after| after <= before)));
            }
        }
    }
}
