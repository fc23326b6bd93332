//! Policies that are only observed.

use serde_json::{Value, json};

use super::{glass::glass, *};
use crate::{
    api::v1alpha1::agent_policy::AgentView,
    audit::record::DecisionKind::{self, Deny, Hold},
};

const ALL: &str = r#"name: all, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;

/// What passes and would not: decision and rule. The error is the rule of what is protected.
fn observed(
    set: &PolicySet,
    line: &str,
    facts: &Facts,
) -> Result<(Option<DecisionKind>, String), String> {
    let (identity, request) = (bot(), request(line));
    let attributes = Attributes::new(&identity, &request);
    let decision = set.conclude(&attributes, facts);
    let permit = set.observe(decision, &attributes, facts);
    let permit = permit.map_err(|denial| denial.rule)?;
    let would_be = permit.would_be().map(|would_be| would_be.decision);
    Ok((would_be, permit.rule().to_owned()))
}

fn nothing() -> Facts {
    writes(json!({}))
}

fn is(decision: DecisionKind, rule: &str) -> Result<(Option<DecisionKind>, String), String> {
    Ok((Some(decision), rule.to_owned()))
}

#[test]
fn what_policies_deny_or_hold_passes_and_says_so() {
    let no = ALL
        .replace("Allow", "Deny")
        .replace("name: all", "name: no");
    let no = no.replace(r#"verbs: ["*"]"#, "verbs: [delete], reason: not here");
    let ask = no
        .replace("Deny", "RequireApproval")
        .replace("name: no", "name: ask");
    let get = "GET /api/v1/namespaces/ci/pods/web";
    let delete = "DELETE /api/v1/namespaces/ci/pods/web";
    assert_eq!(
        observed(&set(&[ALL]), get, &nothing()),
        Ok((None, "p/all".to_owned()))
    );
    assert_eq!(
        observed(&set(&[ALL, &no]), delete, &nothing()),
        is(Deny, "p/no")
    );
    assert_eq!(
        observed(&set(&[ALL, &ask]), delete, &nothing()),
        is(Hold, "p/ask")
    );
    let none = load(&[]).expect("an empty directory is valid");
    assert_eq!(observed(&none, get, &nothing()), is(Deny, "default"));

    let (identity, request) = (bot(), request(delete));
    let attributes = Attributes::new(&identity, &request);
    for (rule, expected) in [(&no, "not here"), (&ask, "not here")] {
        let set = set(&[ALL, rule]);
        let decision = set.evaluate(&attributes);
        let permit = set
            .observe(decision, &attributes, &nothing())
            .expect("it passes");
        assert_eq!(permit.would_be().expect("it would not").reason, expected);
        assert_eq!(permit.policy_digest(), set.digest());
    }
}

#[test]
fn what_asks_for_rules_on_the_floor_is_an_effect_of_policies() {
    let reads =
        writes(json!({"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "db"}}]}]}}));
    let create = "POST /api/v1/namespaces/shop/pods";
    let unnamed = observed(&set(&[ALL]), create, &nothing());
    assert_eq!(unnamed, is(Deny, "built-in/floor-unnamed-namespace"));
    let shop = ALL
        .replace(r#"namespaces: ["*"]"#, "namespaces: [shop]")
        .replace("name: all", "name: shop");
    let masked = r#"name: masked, effect: Allow, verbs: [get], apiGroups: [""], resources: [secrets], namespaces: [shop], names: ["*"], agentView: Masked"#;
    let given = observed(&set(&[&shop, masked]), create, &reads);
    assert_eq!(given, is(Deny, "p/masked"));
}

#[test]
fn what_the_floor_protects_is_protected() {
    let label = |value: &str| json!({"metadata": {"labels": {"sallyport.dev/agents": value}}});
    let relabel = Facts {
        object: Fact::Known(json!({"metadata": {}})),
        old_object: Fact::Known(label("observe")),
    };
    let source = |source: Value| {
        writes(json!({"spec": {"volumes": [{"projected": {"sources": [source]}}]}}))
    };
    let token = source(json!({"serviceAccountToken": {"path": "t"}}));
    let certificate =
        source(json!({"podCertificate": {"signerName": "kubernetes.io/kube-apiserver-client"}}));
    for rules in [&[ALL][..], &[]] {
        let policies: Vec<_> = rules
            .iter()
            .map(|_| ("p.yaml", policy("p", rules)))
            .collect();
        let policies: Vec<_> = policies
            .iter()
            .map(|(name, text)| (*name, &**text))
            .collect();
        let set = load(&policies).expect("valid");
        for (line, facts, expected) in [
            (
                "DELETE /apis/sallyport.dev/v1alpha1/agentstops/all",
                &nothing(),
                "own-objects",
            ),
            (
                "POST /api/v1/namespaces/sallyport-system/configmaps",
                &nothing(),
                "own-namespace",
            ),
            ("GET /api/v1/secrets", &nothing(), "own-secrets"),
            ("PATCH /api/v1/namespaces/ci", &relabel, "own-labels"),
            (
                "PATCH /api/v1/namespaces/ci",
                &Facts::default(),
                "unknown-object",
            ),
            (
                "POST /api/v1/namespaces/ci/pods",
                &Facts::default(),
                "unknown-object",
            ),
            ("POST /api/v1/namespaces/ci/pods", &token, "token-audience"),
            ("POST /api/v1/namespaces/ci/pods", &certificate, "signer"),
        ] {
            let protected = Err(format!("built-in/floor-{expected}"));
            assert_eq!(observed(&set, line, facts), protected, "{line}");
        }
    }
}

#[test]
fn what_the_floor_must_see_is_learned_also_of_what_policies_deny() {
    let none = load(&[]).expect("an empty directory is valid");
    let wants = |line: &str, facts: &Facts| {
        let (identity, request) = (bot(), request(line));
        let undecided = none.protecting(&Attributes::new(&identity, &request), facts)?;
        Some((undecided.wants_object(), undecided.wants_old_object()))
    };
    let patch = "PATCH /apis/apps/v1/namespaces/ci/deployments/web";
    assert_eq!(wants(patch, &Facts::default()), Some((true, true)));
    assert_eq!(wants(patch, &nothing()), None);
    assert_eq!(
        wants(
            "PATCH /api/v1/namespaces/ci/configmaps/web",
            &Facts::default()
        ),
        None
    );
    // It is protected whatever is learned.
    let own = "PATCH /api/v1/namespaces/sallyport-system/pods/web";
    assert_eq!(wants(own, &Facts::default()), None);
}

#[test]
fn views_of_every_rule_that_may_match_stay() {
    let deny = r#"name: no, effect: Deny, verbs: [get], apiGroups: [""], resources: [secrets], namespaces: [ci], names: ["*"]"#;
    let masked = deny.replace(
        "name: no, effect: Deny",
        "name: masked, effect: Allow, agentView: Masked",
    );
    let line = "GET /api/v1/namespaces/ci/secrets/db";
    let view = |rules: &[&str]| {
        let (identity, request) = (bot(), request(line));
        let (set, attributes) = (set(rules), Attributes::new(&identity, &request));
        let decision = set.evaluate(&attributes);
        let permit = set
            .observe(decision, &attributes, &nothing())
            .expect("it passes");
        assert_eq!(
            set.observed_obligations(&attributes).agent_view,
            permit.obligations().agent_view
        );
        permit.obligations().agent_view
    };
    assert_eq!(view(&[deny]), AgentView::Clear);
    assert_eq!(view(&[deny, &masked]), AgentView::Masked);
    let failing = format!("{masked}, when: \"provenance.model.name == 'm'\"");
    assert_eq!(view(&[&failing]), AgentView::Masked);
    let other = format!("{masked}, when: \"request.name == 'other'\"");
    assert_eq!(view(&[&other]), AgentView::Clear);
}

#[test]
fn an_open_glass_lifts_first_and_what_it_does_not_reach_is_observed() {
    let masked = r#"name: masked, effect: Allow, verbs: [get], apiGroups: [""], resources: [secrets], namespaces: [ci], names: ["*"], agentView: Masked"#;
    let given = json!({"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "db"}}]}]}});
    let (set, identity) = (set(&[masked]), bot());
    let behind = |line: &str, facts: &Facts| {
        let request = request(line);
        let attributes = Attributes {
            namespace_is_agents: true,
            ..Attributes::new(&identity, &request)
        };
        let decision = set.conclude_behind(Some(&glass("outage")), &attributes, facts);
        set.observe(decision, &attributes, facts)
    };
    let permit = behind("DELETE /api/v1/namespaces/ci/pods/web", &nothing()).expect("it passes");
    assert_eq!(permit.glass(), Some("outage"));
    assert_eq!(permit.would_be(), None);
    let create = "POST /api/v1/namespaces/ci/pods";
    let permit = behind(create, &writes(given)).expect("it passes");
    assert_eq!(permit.glass(), None);
    assert_eq!(permit.rule(), "built-in/break-glass-secret");
    let certificate = json!({"podCertificate": {"signerName": "example.com/mesh"}});
    let certificate =
        writes(json!({"spec": {"volumes": [{"projected": {"sources": [certificate]}}]}}));
    let denial = behind(create, &certificate).expect_err("it is protected");
    assert_eq!(denial.rule, "built-in/floor-signer");
}
