use proptest::{prelude::*, sample::select};

use super::*;
use crate::api::v1alpha1::{
    agent_policy::{
        AgentPolicySpec, AgentSubject, AgentView, Effect, Everyone, HelmManifests, Mode,
        RecordLevel, Rule, StreamLimits, Subject,
    },
    manifest::{Manifest, Outline, Place},
    matching::ServiceAccountMatch,
};

fn list(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(select(of).prop_map(str::to_owned), 1..3)
}

pub(super) fn rule(effect: impl Strategy<Value = Effect>) -> impl Strategy<Value = Rule> {
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
    let conditions = (expression(), expression(), obligations());
    (
        effect, verbs, groups, resources, namespaces, names, paths, conditions,
    )
        .prop_map(
            |(
                effect,
                verbs,
                groups,
                resources,
                namespaces,
                names,
                paths,
                (when, unless, asked),
            )| {
                let (agent_view, record, streams) = asked;
                let shows = agent_view == Some(AgentView::Masked) && record.is_none();
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
                    when,
                    unless,
                    warn: None,
                    agent_view,
                    secret_references: None,
                    helm_manifests: shows.then_some(HelmManifests::Show),
                    record,
                    streams,
                    approval: None,
                }
            },
        )
}

type Asked = (Option<AgentView>, Option<RecordLevel>, Option<StreamLimits>);

fn obligations() -> impl Strategy<Value = Asked> {
    let duration = || prop::option::weighted(0.5, select(&["10s", "60s"][..]));
    let streams = (duration(), duration()).prop_map(|(idle, duration)| StreamLimits {
        idle: idle.map(str::to_owned),
        duration: duration.map(str::to_owned),
    });
    let record = select(&[RecordLevel::Request, RecordLevel::RequestResponse][..]);
    (
        prop::option::weighted(0.2, select(&[AgentView::Masked, AgentView::Clear][..])),
        prop::option::weighted(0.1, record),
        prop::option::weighted(0.1, streams),
    )
}

/// True, false, failing, and all that depends on the call.
fn expression() -> impl Strategy<Value = Option<String>> {
    let texts = select(
        &[
            "true",
            "false",
            "request.command[0] == 'sh'",
            "request.name == 'x' || request.verb == 'create'",
            "user.name.contains('bot')",
            "provenance.agent.name == 'x'",
            "risk.level == 'high' || risk.level == 'critical'",
            "object.spec.hostNetwork",
            "has(object.metadata.labels.a) && object.metadata.labels.a == 'b'",
            "object.a.all(entry, entry != null)",
            "object == oldObject",
            "oldObject != null && size(oldObject.a) > 1",
            "object.a[0] + object.a[1] > 2",
        ][..],
    );
    prop::option::weighted(0.4, texts.prop_map(str::to_owned))
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    let keys = select(
        &[
            "a",
            "metadata",
            "labels",
            "sallyport.dev/agent",
            "spec",
            "template",
            "volumes",
            "secret",
            "secretName",
            "containers",
            "env",
            "hostNetwork",
            "type",
            "replicas",
        ][..],
    );
    let any = leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    prop_oneof![
        4 => any,
        1 => Just(json!({"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "x"}}]}]}})),
        1 => Just(json!({"spec": {"hostNetwork": true}})),
    ]
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        Just(Fact::NotLearned),
        Just(Fact::Absent),
        json().prop_map(Fact::Known),
    ]
}

pub(super) fn learned() -> impl Strategy<Value = Facts> {
    let fact = || prop_oneof![1 => Just(Fact::Absent), 3 => json().prop_map(Fact::Known)];
    (fact(), fact()).prop_map(|(object, old_object)| Facts { object, old_object })
}

pub(super) fn facts() -> impl Strategy<Value = Facts> {
    (fact(), fact()).prop_map(|(object, old_object)| Facts { object, old_object })
}

/// The decision with all it binds to.
fn whole(
    policies: &[(String, AgentPolicySpec)],
    line: &str,
    agents: bool,
    facts: &Facts,
) -> String {
    let set = compile(policies).expect("it is valid");
    with_attributes(line, agents, |attributes| {
        format!("{:?}", set.conclude(attributes, facts))
    })
}

pub(super) fn with_attributes<T>(
    line: &str,
    agents: bool,
    then: impl FnOnce(&Attributes<'_>) -> T,
) -> T {
    let (identity, request) = (bot(), request(&line.replacen("APPLY ", "PATCH ", 1)));
    then(&Attributes {
        applies: line.starts_with("APPLY "),
        namespace_is_agents: agents,
        ..Attributes::new(&identity, &request)
    })
}

pub(super) fn any_rule() -> impl Strategy<Value = Rule> {
    rule(select(
        &[
            Effect::Allow,
            Effect::Allow,
            Effect::Deny,
            Effect::RequireApproval,
        ][..],
    ))
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
    let mode =
        prop::bool::weighted(0.1).prop_map(|audit| if audit { Mode::Audit } else { Mode::Enforce });
    (subject(), mode, prop::collection::vec(any_rule(), 1..4)).prop_map(|(subject, mode, rules)| {
        AgentPolicySpec {
            subjects: vec![subject],
            mode,
            rules,
            detectors: Vec::new(),
            sensitive_fields: Vec::new(),
        }
    })
}

pub(super) fn specs() -> impl Strategy<Value = Vec<AgentPolicySpec>> {
    prop::collection::vec(spec(), 0..4)
}

pub(super) fn request_line() -> impl Strategy<Value = String> {
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
        "/apis/example.com/v1/namespaces/ci/widgets/x",
        "/apis/apps/v1/namespaces/ci/deployments/x",
        "/apis/batch/v1/namespaces/prod/cronjobs",
        "/api/v1/namespaces/ci/secrets/x",
        "/api/v1/namespaces/prod",
    ]);
    (method, target).prop_map(|(method, target)| format!("{method} {target}"))
}

/// Names policies and rules by position, so that a permutation keeps its names.
pub(super) fn named(specs: Vec<AgentPolicySpec>) -> Vec<(String, AgentPolicySpec)> {
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

pub(super) fn compile(policies: &[(String, AgentPolicySpec)]) -> Result<PolicySet, PolicyError> {
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

pub(super) fn extended(
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
            detectors: Vec::new(),
            sensitive_fields: Vec::new(),
        },
    );
    policies.iter().cloned().chain([added]).collect()
}

fn strictness(decision: &str) -> u8 {
    match decision.split(' ').next() {
        Some("allow") => 0,
        Some("hold") => 1,
        _ => 2,
    }
}

proptest! {
    #[test]
    fn adding_a_deny_never_turns_a_deny_into_an_allow(
        specs in specs(), subject in subject(), added in rule(Just(Effect::Deny)), line in request_line(),
    ) {
        let policies = named(specs);
        let (before, after) = (decision(&policies, &line), decision(&extended(&policies, subject, added), &line));
        prop_assert!(strictness(&after) >= strictness(&before), "{before} became {after}");
    }

    /// People may be asked for what nobody allows, and nothing passes without them that did not before.
    #[test]
    fn adding_a_rule_that_requires_approval_allows_nothing_more(
        specs in specs(), subject in subject(), mut added in rule(Just(Effect::RequireApproval)), line in request_line(), facts in facts(), agents: bool,
    ) {
        added.agent_view = None;
        added.helm_manifests = None;
        let policies = named(specs);
        let before = whole(&policies, &line, agents, &facts);
        let after = whole(&extended(&policies, subject, added), &line, agents, &facts);
        prop_assert!(!after.starts_with("Allow") || before.starts_with("Allow"), "{before} became {after}");
        prop_assert!(!before.starts_with("Hold") || after.starts_with("Hold"), "{before} became {after}");
    }

    #[test]
    fn a_policy_in_audit_mode_decides_nothing(specs in specs(), subject in subject(), added in any_rule(), line in request_line(), facts in learned(), agents: bool) {
        let policies = named(specs);
        let mut with = extended(&policies, subject, added);
        with.last_mut().expect("it was added").1.mode = Mode::Audit;
        let shown = |policies: &[_]| {
            let set = compile(policies).expect("it is valid");
            with_attributes(&line, agents, |attributes| shown(set.conclude(attributes, &facts)))
        };
        prop_assert_eq!(shown(&policies), shown(&with));
    }

    /// A decision that needed no more facts is the one that all of them give.
    #[test]
    fn what_is_decided_early_is_decided_right(specs in specs(), line in request_line(), facts in learned(), agents: bool) {
        let set = compile(&named(specs)).expect("it is valid");
        let (early, late) = with_attributes(&line, agents, |attributes| {
            let early = set.judge(attributes, &Facts::default());
            (early, set.judge(attributes, &facts))
        });
        let Judgement::Decided(late) = late else {
            panic!("everything is learned");
        };
        match early {
            Judgement::Decided(early) => {
                let (early, late) = (shown(early), shown(late));
                let same = early == late || early.starts_with("deny") && late.starts_with("deny");
                prop_assert!(same, "{early}, and then {late}");
            }
            Judgement::Undecided(undecided) => {
                prop_assert!(undecided.wants_object() || undecided.wants_old_object());
            }
        }
    }

    /// Whatever the policies say.
    #[test]
    fn the_floor_holds(specs in specs(), line in request_line(), facts in facts()) {
        let policies = named(specs);
        let decided = whole(&policies, &line, false, &facts);
        let (verb, namespace, runs) = with_attributes(&line, false, |attributes| {
            let request = attributes.request;
            let kinds = matches!(request.resource.as_str(), "pods" | "deployments" | "cronjobs" | "widgets");
            let writes = matches!(request.verb.as_str(), "create" | "update" | "patch");
            let runs = request.is_stream() || kinds && writes && request.subresource.is_empty();
            (request.verb.clone(), request.namespace.clone(), runs)
        });
        let names = policies.iter().flat_map(|(_, spec)| &spec.rules).any(|rule| {
            rule.namespaces.iter().flatten().any(|entry| *entry == namespace)
        });
        if verb.is_empty() || runs && !names {
            prop_assert!(decided.starts_with("Deny"), "{line}: {decided}");
        }
    }

    #[test]
    fn no_call_policy_or_object_makes_the_evaluation_panic(
        specs in specs(), line in request_line(), facts in facts(), agents: bool,
    ) {
        let set = compile(&named(specs)).expect("it is valid");
        with_attributes(&line, agents, |attributes| {
            let _judged = set.judge(attributes, &facts);
            let _concluded = set.conclude(attributes, &facts);
            let _explained = set.explain(attributes, &facts);
            let _audited = set.audited(attributes, &facts);
        });
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
        line in request_line(), facts in facts(), agents: bool,
    ) {
        let mut shuffled = shuffled;
        shuffled.iter_mut().for_each(|(_, spec)| spec.rules.reverse());
        prop_assert_eq!(whole(&policies, &line, agents, &facts), whole(&shuffled, &line, agents, &facts));
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
