use proptest::{prelude::*, sample::select};

use super::*;
use crate::api::v1alpha1::{
    agent_policy::{AgentPolicySpec, AgentSubject, Effect, Everyone, Mode, Rule, Subject},
    manifest::{Manifest, Outline, Place},
    matching::ServiceAccountMatch,
};

fn list(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(select(of).prop_map(str::to_owned), 1..3)
}

fn rule(effect: impl Strategy<Value = Effect>) -> impl Strategy<Value = Rule> {
    let verbs = list(&[
        "*",
        "get",
        "list",
        "watch",
        "create",
        "delete",
        "deletecollection",
        "patch",
        "update",
    ]);
    let groups = list(&["*", "", "apps", "events.k8s.io"]);
    let resources = list(&[
        "*",
        "pods",
        "pods/exec",
        "*/log",
        "events",
        "nodes",
        "services",
        "services/proxy",
    ]);
    let namespaces = list(&["*", "", "ci", "prod"]);
    let names = list(&["*", "x", "y"]);
    let paths = prop::option::weighted(0.2, list(&["*", "/version", "/openapi/*", "/metrics"]));
    (effect, verbs, groups, resources, namespaces, names, paths).prop_map(
        |(effect, verbs, groups, resources, namespaces, names, paths)| {
            let objects = paths.is_none();
            let verbs = if objects { verbs } else { vec!["*".to_owned()] };
            Rule {
                name: String::new(),
                effect,
                verbs,
                api_groups: objects.then_some(groups),
                resources: objects.then_some(resources),
                namespaces: objects.then_some(namespaces),
                names: objects.then_some(names),
                non_resource_urls: paths,
                reason: None,
                when: None,
                unless: None,
                warn: None,
                agent_view: None,
                record: None,
                streams: None,
                approval: None,
            }
        },
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    rule(select(&[Effect::Allow, Effect::Allow, Effect::Deny][..]))
}

fn subject() -> impl Strategy<Value = Subject> {
    let account = |name: &str| {
        Subject::ServiceAccount(ServiceAccountMatch {
            namespace: "ci".to_owned(),
            name: name.to_owned(),
        })
    };
    select(vec![
        Subject::All(Everyone::Any),
        account("bot"),
        account("other"),
    ])
}

fn spec() -> impl Strategy<Value = AgentPolicySpec> {
    (subject(), prop::collection::vec(any_rule(), 1..4)).prop_map(|(subject, rules)| {
        AgentPolicySpec {
            subjects: vec![subject],
            mode: Mode::Enforce,
            rules,
        }
    })
}

fn specs() -> impl Strategy<Value = Vec<AgentPolicySpec>> {
    prop::collection::vec(spec(), 0..4)
}

fn request_line() -> impl Strategy<Value = String> {
    let method = select(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "APPLY"][..]);
    let target = select(vec![
        "/version",
        "/openapi/v2",
        "/metrics",
        "/api/v1",
        "/api/v1/pods",
        "/api/v1/pods?watch=1",
        "/api/v1/nodes",
        "/api/v1/nodes/x",
        "/api/v1/namespaces/ci",
        "/api/v1/namespaces/ci/pods",
        "/api/v1/namespaces/prod/pods/x",
        "/api/v1/namespaces/ci/pods/x/exec",
        "/api/v1/namespaces/ci/pods/y/log",
        "/api/v1/namespaces/ci/events",
        "/apis/events.k8s.io/v1/events/x",
        "/api/v1/namespaces/ci/services/x",
        "/api/v1/namespaces/prod/services/y/status",
        "/api/v1/namespaces/ci/pods?fieldSelector=metadata.name%3Dx",
        "/api/v1/namespaces/ci/services/https:x:1/proxy/a",
        "/apis/apps/v1/namespaces/prod/deployments/y/scale",
        "/apis/example.com/v1/widgets",
    ]);
    (method, target).prop_map(|(method, target)| format!("{method} {target}"))
}

/// Names policies and rules by position, so that a permutation keeps its names.
fn named(specs: Vec<AgentPolicySpec>) -> Vec<(String, AgentPolicySpec)> {
    let name_rules = |mut spec: AgentPolicySpec| {
        spec.rules
            .iter_mut()
            .enumerate()
            .for_each(|(index, rule)| rule.name = format!("r{index}"));
        spec
    };
    specs
        .into_iter()
        .enumerate()
        .map(|(index, spec)| (format!("p{index}"), name_rules(spec)))
        .collect()
}

fn compile(policies: &[(String, AgentPolicySpec)]) -> Result<PolicySet, PolicyError> {
    let manifest = |(name, spec): &(String, AgentPolicySpec)| Manifest {
        place: Place::File(format!("{name}.yaml").into()),
        name: name.clone(),
        spec: spec.clone(),
        outline: Outline::default(),
    };
    PolicySet::compile(
        &policies.iter().map(manifest).collect::<Vec<_>>(),
        Vec::new(),
    )
}

fn decision(policies: &[(String, AgentPolicySpec)], line: &str) -> String {
    decide(&compile(policies).expect("it is valid"), &bot(), line)
}

/// Of the object that `target` names, as no method of HTTP asks for it.
fn decide_create(set: &PolicySet, target: &str) -> String {
    let mut request = request(&format!("PATCH {target}"));
    if request.is_resource_request {
        request.verb = "create".to_owned();
    }
    decide_request(set, &bot(), &request, false)
}

fn extended(
    policies: &[(String, AgentPolicySpec)],
    subject: Subject,
    mut rule: Rule,
) -> Vec<(String, AgentPolicySpec)> {
    rule.name = "added".to_owned();
    let added = (
        "added".to_owned(),
        AgentPolicySpec {
            subjects: vec![subject],
            mode: Mode::Enforce,
            rules: vec![rule],
        },
    );
    policies.iter().cloned().chain([added]).collect()
}

proptest! {
    #[test]
    fn adding_a_deny_never_turns_a_deny_into_an_allow(
        specs in specs(), subject in subject(), added in rule(Just(Effect::Deny)), line in request_line(),
    ) {
        let policies = named(specs);
        let (before, after) = (decision(&policies, &line), decision(&extended(&policies, subject, added), &line));
        prop_assert!(before.starts_with("allow") || after.starts_with("deny"), "{before} became {after}");
    }

    #[test]
    fn an_apply_is_allowed_only_where_patch_and_create_are(specs in specs(), line in request_line()) {
        let (policies, (_, target)) = (named(specs), line.split_once(' ').expect("method and target"));
        let apply = decision(&policies, &format!("APPLY {target}"));
        if apply.starts_with("allow") {
            prop_assert_eq!(&apply, &decision(&policies, &format!("PATCH {target}")));
            let set = compile(&policies).expect("it is valid");
            prop_assert!(decide_create(&set, target).starts_with("allow"));
        }
    }

    #[test]
    fn the_order_of_policies_and_rules_never_changes_the_decision(
        (policies, shuffled) in specs().prop_map(named).prop_flat_map(|policies| (Just(policies.clone()), Just(policies).prop_shuffle())),
        line in request_line(),
    ) {
        let mut shuffled = shuffled;
        shuffled.iter_mut().for_each(|(_, spec)| spec.rules.reverse());
        prop_assert_eq!(decision(&policies, &line), decision(&shuffled, &line));
        let digest = |policies: &[_]| compile(policies).expect("it is valid").digest().to_owned();
        prop_assert_eq!(digest(&policies), digest(&shuffled));
    }

    #[test]
    fn a_rule_for_somebody_else_changes_nothing(specs in specs(), added in any_rule(), line in request_line()) {
        let policies = named(specs);
        let somebody_else = Subject::Agent(AgentSubject { name: "somebody-else".to_owned() });
        prop_assert_eq!(decision(&policies, &line), decision(&extended(&policies, somebody_else, added), &line));
    }

    #[test]
    fn an_allow_for_other_resources_never_widens(specs in specs(), mut added in rule(Just(Effect::Allow)), line in request_line()) {
        prop_assume!(added.non_resource_urls.is_none());
        added.resources = Some(vec!["unrelated".to_owned()]);
        let policies = named(specs);
        prop_assert_eq!(decision(&policies, &line), decision(&extended(&policies, Subject::All(Everyone::Any), added), &line));
    }

    #[test]
    fn an_absent_or_empty_selector_is_never_in_force(specs in specs(), mut added in any_rule(), which in 0..5, empty in any::<bool>()) {
        let absent = empty.then(Vec::new);
        match which {
            _ if added.non_resource_urls.is_some() => added.non_resource_urls = absent,
            0 => added.api_groups = absent,
            1 => added.resources = absent,
            2 => added.namespaces = absent,
            3 => added.names = absent,
            _ => added.verbs = Vec::new(),
        }
        prop_assert!(compile(&extended(&named(specs), Subject::All(Everyone::Any), added)).is_err());
    }
}
