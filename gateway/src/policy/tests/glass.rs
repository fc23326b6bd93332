//! What an open glass lets pass, and what it does not.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::{properties as any, *};
use crate::{
    api::v1alpha1::{
        agent_policy::{AgentView, RecordLevel},
        break_glass::BreakGlass,
    },
    policy::Glass,
};

/// Open for every agent, everywhere.
pub(super) fn glass(name: &str) -> Glass {
    let object: BreakGlass = serde_json::from_value(json!({
        "apiVersion": "sallyport.dev/v1alpha1",
        "kind": "BreakGlass",
        "metadata": {"name": name, "creationTimestamp": "2026-11-26T10:00:00Z"},
        "spec": {"agents": ["*"], "namespaces": ["*"], "reason": "an outage", "by": "ann", "via": "Kubernetes"},
        "status": {"votes": [
            {"result": "Approved", "by": "bob", "via": "Kubernetes", "at": "2026-11-26T10:00:00Z"},
        ]},
    }))
    .expect("a BreakGlass");
    let glass = Glass::of(&object);
    let now: Timestamp = "2026-11-26T10:01:00Z".parse().expect("a time");
    assert!(glass.phase(now).is_open());
    glass
}

/// `ci` is an agents' namespace, and what is written is `object`.
fn behind(set: &PolicySet, line: &str, object: serde_json::Value) -> Decision {
    let (identity, request) = (bot(), request(line));
    let attributes = Attributes {
        namespace_is_agents: request.namespace == "ci",
        ..Attributes::new(&identity, &request)
    };
    set.conclude_behind(Some(&glass("outage")), &attributes, &writes(object))
}

#[track_caller]
fn permit(decision: Decision) -> Permit {
    match decision {
        Decision::Allow(permit) => permit,
        other => panic!("not allowed: {other:?}"),
    }
}

const ALLOW: &str = r#"name: a, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: [ci], names: ["*"]"#;

#[test]
fn what_is_denied_or_held_passes_and_says_so() {
    let denying = ALLOW.replace("name: a, effect: Allow", "name: d, effect: Deny");
    let asking = ALLOW.replace("name: a, effect: Allow", "name: h, effect: RequireApproval");
    for (rules, otherwise) in [
        (vec![], "rule \"default\" denies it"),
        (vec![ALLOW, &denying], "rule \"p/d\" denies it"),
        (vec![ALLOW, &asking], "rule \"p/h\" requires approval"),
    ] {
        let set = match rules[..] {
            [] => PolicySet::empty(),
            _ => set(&rules),
        };
        let permit = permit(behind(
            &set,
            "DELETE /api/v1/namespaces/ci/configmaps/x",
            json!({}),
        ));
        assert_eq!(permit.rule(), "BreakGlass/outage");
        assert_eq!(permit.glass(), Some("outage"));
        assert_eq!(
            permit.obligations().record,
            Some(RecordLevel::RequestResponse)
        );
        let reason = permit.risk().reasons.last().expect("a reason");
        assert!(reason.ends_with(otherwise), "{reason}");
        assert_eq!(
            permit.obligations().warnings,
            [format!(
                "allowed by BreakGlass \"outage\" until 2026-11-26T10:15:00Z, although {otherwise}"
            )]
        );
    }
}

#[test]
fn what_policy_allows_passes_as_policy_says() {
    let permit = permit(behind(
        &set(&[ALLOW]),
        "GET /api/v1/namespaces/ci/pods",
        json!({}),
    ));
    assert_eq!((permit.rule(), permit.glass()), ("p/a", None));
}

#[test]
fn secrets_are_masked_where_no_rule_says_that_they_are_shown() {
    let secret = "GET /api/v1/namespaces/ci/secrets/x";
    let view = |set: &PolicySet| {
        permit(behind(set, secret, json!({})))
            .obligations()
            .agent_view
    };
    assert_eq!(view(&PolicySet::empty()), AgentView::Masked);
    let denying = ALLOW.replace("name: a, effect: Allow", "name: d, effect: Deny");
    assert_eq!(view(&set(&[&denying])), AgentView::Masked);
    assert_eq!(view(&set(&[ALLOW, &denying])), AgentView::Clear);
    let masked = format!("{ALLOW}, agentView: Masked");
    assert_eq!(view(&set(&[&masked, &denying])), AgentView::Masked);
}

#[test]
fn the_floor_denies_behind_a_glass_what_it_denies_before_it() {
    for (line, rule) in [
        (
            "DELETE /apis/sallyport.dev/v1alpha1/agentstops/x",
            "built-in/floor-own-objects",
        ),
        (
            "PATCH /apis/sallyport.dev/v1alpha1/breakglasses/x/status",
            "built-in/floor-own-objects",
        ),
        (
            "GET /api/v1/namespaces/sallyport-system/secrets",
            "built-in/floor-own-namespace",
        ),
        ("GET /api/v1/secrets", "built-in/floor-own-secrets"),
        (
            "GET /api/v1/namespaces/prod/pods/x/exec",
            "built-in/floor-unnamed-namespace",
        ),
        (
            "POST /apis/apps/v1/namespaces/prod/deployments",
            "built-in/floor-unnamed-namespace",
        ),
    ] {
        let decision = behind(&PolicySet::empty(), line, json!({}));
        assert_eq!(shown(decision), format!("deny {rule}"), "{line}");
    }
    let certificate = json!({"podCertificate": {"signerName": "example.com/mesh"}});
    let certificate = json!({"spec": {"volumes": [{"projected": {"sources": [certificate]}}]}});
    let create = "POST /api/v1/namespaces/ci/pods";
    let decision = behind(&PolicySet::empty(), create, certificate);
    assert_eq!(shown(decision), "deny built-in/floor-signer");
    let labelled = json!({"metadata": {"labels": {"sallyport.dev/ready": "x"}}});
    let decision = behind(
        &PolicySet::empty(),
        "POST /api/v1/namespaces/ci/pods",
        labelled,
    );
    assert_eq!(shown(decision), "deny built-in/floor-own-labels");
}

#[test]
fn a_pod_is_given_no_secret_that_its_agent_may_not_read() {
    let pod = json!({"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "x"}}]}]}});
    let create = "POST /api/v1/namespaces/ci/pods";
    let decide = |rules: &[&str]| shown(behind(&set(rules), create, pod.clone()));
    let denying = ALLOW
        .replace("name: a, effect: Allow", "name: d, effect: Deny")
        .replace(r#"resources: ["*"]"#, "resources: [pods]");
    assert_eq!(decide(&[ALLOW, &denying]), "allow BreakGlass/outage");
    let masked = format!("{ALLOW}, agentView: Masked");
    for rules in [
        [denying.as_str(), &denying.replace("name: d", "name: e")],
        [&denying, &masked],
    ] {
        assert_eq!(decide(&rules), "deny built-in/break-glass-secret");
    }
    let given = format!("{masked}, secretReferences: Allow");
    assert_eq!(decide(&[&denying, &given]), "allow BreakGlass/outage");
    let asking = ALLOW.replace("name: a, effect: Allow", "name: h, effect: RequireApproval");
    assert_eq!(
        decide(&[ALLOW, &asking]),
        "hold p/h",
        "people may still approve it"
    );
}

#[test]
fn what_the_floor_must_know_is_learned_although_a_rule_denies() {
    let (identity, request) = (bot(), request("PATCH /api/v1/namespaces/ci/pods/x"));
    let attributes = Attributes {
        namespace_is_agents: true,
        ..Attributes::new(&identity, &request)
    };
    let (set, glass) = (PolicySet::empty(), glass("outage"));
    let early = set.judge_behind(Some(&glass), &attributes, &Facts::default());
    assert!(matches!(early, Judgement::Undecided(_)), "{early:?}");
    let late = set.conclude_behind(Some(&glass), &attributes, &Facts::default());
    assert_eq!(shown(late), "deny built-in/floor-unknown-object");
}

#[test]
fn a_rule_that_may_name_the_namespace_is_looked_at_first() {
    let naming = r#"name: a, effect: Allow, verbs: [update], apiGroups: [example.com], resources: ["*"], namespaces: [prod], names: ["*"], when: "object.kind == 'Widget'""#;
    let denying = r#"name: d, effect: Deny, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;
    let (set, glass) = (set(&[naming, denying]), glass("outage"));
    let request = request("PUT /apis/example.com/v1/namespaces/prod/widgets/x");
    let identity = bot();
    let attributes = Attributes::new(&identity, &request);
    let early = set.judge_behind(Some(&glass), &attributes, &Facts::default());
    assert!(matches!(early, Judgement::Undecided(_)), "{early:?}");
    for (kind, decided) in [
        ("Widget", "allow BreakGlass/outage"),
        ("Gadget", "deny built-in/floor-unnamed-namespace"),
    ] {
        let facts = writes(json!({"kind": kind}));
        let late = set.judge_behind(Some(&glass), &attributes, &facts);
        let Judgement::Decided(late) = late else {
            panic!("everything is learned");
        };
        assert_eq!(shown(late), decided);
    }
}

proptest! {
    #[test]
    fn a_glass_never_lowers_the_floor(
        specs in any::specs(), line in any::request_line(), facts in any::facts(), agents: bool,
    ) {
        let set = any::compile(&any::named(specs)).expect("it is valid");
        let (before, behind) = any::with_attributes(&line, agents, |attributes| {
            let behind = set.conclude_behind(Some(&glass("outage")), attributes, &facts);
            (set.conclude(attributes, &facts), behind)
        });
        let (before, behind) = (shown(before), shown(behind));
        if before.starts_with("deny built-in/floor") {
            prop_assert!(behind.starts_with("deny built-in/"), "{before} became {behind}");
        }
        if before.starts_with("allow") {
            prop_assert_eq!(&before, &behind);
        }
        prop_assert!(!before.starts_with("hold") || !behind.starts_with("deny"), "{} became {}", before, behind);
    }

    /// The floor alone is what no rule changes, so what passes behind a glass passes under a policy that allows all.
    #[test]
    fn nothing_passes_behind_a_glass_that_no_policy_could_allow(
        specs in any::specs(), line in any::request_line(), facts in any::learned(), agents: bool,
    ) {
        let set = any::compile(&any::named(specs)).expect("it is valid");
        let everything = r#"verbs: ["*"], apiGroups: ["*"], resources: ["*", "*/proxy"], namespaces: ["*", "", ci, prod], names: ["*"]"#;
        let generous = super::set(&[
            &format!("name: a, effect: Allow, {everything}"),
            r#"name: b, effect: Allow, verbs: ["*"], nonResourceURLs: ["*"]"#,
        ]);
        let (behind, generous) = any::with_attributes(&line, agents, |attributes| {
            let behind = set.conclude_behind(Some(&glass("outage")), attributes, &facts);
            (shown(behind), shown(generous.conclude(attributes, &facts)))
        });
        prop_assert!(!behind.starts_with("allow BreakGlass") || generous.starts_with("allow"), "{behind}, and {generous}");
    }

    /// A decision that needed no more facts is the one that all of them give.
    #[test]
    fn what_is_decided_early_behind_a_glass_is_decided_right(
        specs in any::specs(), line in any::request_line(), facts in any::learned(), agents: bool,
    ) {
        let set = any::compile(&any::named(specs)).expect("it is valid");
        let glass = glass("outage");
        let (early, late) = any::with_attributes(&line, agents, |attributes| {
            let early = set.judge_behind(Some(&glass), attributes, &Facts::default());
            (early, shown(set.conclude_behind(Some(&glass), attributes, &facts)))
        });
        if let Judgement::Decided(early) = early {
            prop_assert_eq!(shown(early), late);
        }
    }

    #[test]
    fn the_order_of_policies_and_rules_changes_nothing_behind_a_glass(
        (policies, shuffled) in any::specs().prop_map(any::named).prop_flat_map(|policies| (Just(policies.clone()), Just(policies).prop_shuffle())),
        line in any::request_line(), facts in any::facts(), agents: bool,
    ) {
        let decide = |policies: &[_]| {
            let set = any::compile(policies).expect("it is valid");
            any::with_attributes(&line, agents, |attributes| {
                format!("{:?}", set.conclude_behind(Some(&glass("outage")), attributes, &facts))
            })
        };
        prop_assert_eq!(decide(&policies), decide(&shuffled));
    }
}
