use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::*;
use crate::{
    audit::{
        query::Record,
        record::{self, DecisionKind, ObjectRef, ResponseStatus, sample},
    },
    identity::{AgentIdentity, CiRun, Entry, ProvenanceSource, Source, UserInfo},
    mask::Masked,
    policy::{
        Fact, Facts,
        tests::{load, policy_for, set, set_for},
    },
    request_info::RequestInfo,
};

/// What the bot of the namespace `ci` did, allowed by `old/rule` and answered with 200.
pub(in crate::policy) fn recorded(line: &str, change: impl FnOnce(&mut record::Record)) -> Record {
    let (method, target) = line.split_once(' ').expect("method and target");
    let request = RequestInfo::parse(method, target).expect("it is unambiguous");
    let mut record = record::Record {
        verb: request.verb.clone(),
        request_uri: Masked::in_test(target.to_owned()),
        object_ref: request.is_resource_request.then(|| ObjectRef {
            api_group: request.api_group,
            resource: request.resource,
            subresource: request.subresource,
            namespace: request.namespace,
            name: request.name,
            ..ObjectRef::default()
        }),
        user: Some(user("system:serviceaccount:ci:bot")),
        upstream_user: Some(user("sallyport:sa:ci:bot")),
        agent: None,
        cicd: None,
        workload: None,
        decision: Some(DecisionKind::Allow),
        rule: Some("old/rule".to_owned()),
        response_status: status(200),
        request_object: None,
        response_object: None,
        body_state: None,
        masked_request: Some(0),
        masked_response: Some(0),
        request_bytes: None,
        view_placeholders: Vec::new(),
        ..sample::outcome("a-1")
    };

    change(&mut record);
    let row = serde_json::to_value(record).expect("plain data");
    let mut row = row.as_object().cloned().expect("an object");
    row.remove("approval");
    Record(row)
}

/// As an agent that an Agent object declares.
pub(in crate::policy) fn as_agent(name: &'static str) -> impl Fn(&mut record::Record) {
    move |record| {
        record.agent = Some(AgentIdentity {
            id: name.to_owned(),
            name: name.to_owned(),
            ..AgentIdentity::default()
        });
        record.provenance_source = Some(ProvenanceSource {
            agent: Some(Source::OperatorDeclared),
            ..ProvenanceSource::default()
        });
    }
}

fn user(name: &str) -> UserInfo {
    UserInfo {
        username: name.to_owned(),
        ..UserInfo::default()
    }
}

fn status(code: i32) -> Option<ResponseStatus> {
    Some(ResponseStatus {
        code,
        ..ResponseStatus::default()
    })
}

fn body(object: serde_json::Value) -> Option<Masked<String>> {
    Some(Masked::in_test(object.to_string()))
}

fn denied(rule: &str) -> impl FnOnce(&mut record::Record) {
    let rule = rule.to_owned();
    move |record| {
        record.decision = Some(DecisionKind::Deny);
        record.rule = Some(rule);
        record.response_status = status(403);
    }
}

fn judged(policies: &PolicySet, record: &Record) -> Result<String, Unknown> {
    let call = PastCall::read(record).expect("policy judged it")?;
    let verdict = policies.judge_past(&call)?;
    Ok(format!("{} {}", verdict.answer.as_str(), verdict.rule))
}

const WORK: &str = r#"name: work, effect: Allow, verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], names: ["*"]"#;

#[test]
fn a_read_is_judged_by_its_request_line() {
    let policies = set(&[
        r#"name: read, effect: Allow, verbs: [get], apiGroups: [""], resources: [pods], namespaces: [ci], names: ["*"]"#,
    ]);
    let read = recorded("GET /api/v1/namespaces/ci/pods/x", |_| {});
    assert_eq!(judged(&policies, &read), Ok("allow p/read".to_owned()));
    let list = recorded("GET /api/v1/namespaces/ci/pods", |_| {});
    assert_eq!(judged(&policies, &list), Ok("deny default".to_owned()));
}

#[test]
fn what_was_masked_and_is_not_any_more_is_a_change() {
    let read = recorded("GET /api/v1/namespaces/ci/secrets/db", |record| {
        record.view_placeholders = vec!["0123456789abcdef01234567".to_owned()];
    });
    let shown = |policies: &PolicySet| {
        let mut simulation = Simulation::default();
        simulation.add(policies, &read);
        (
            simulation.total(Change::NewlyShownInClear),
            simulation.unchanged,
        )
    };
    assert_eq!(shown(&set(&[WORK])), (1, 0));
    let masking = WORK.replace("effect: Allow", "effect: Allow, agentView: Masked");
    assert_eq!(shown(&set(&[&masking])), (0, 1));
}

#[test]
fn an_object_that_a_rule_reads_is_the_one_that_was_sent() {
    let policies = set(&[
        WORK,
        r#"name: no-red, effect: Deny, verbs: [create], apiGroups: [""], resources: [configmaps], namespaces: ["*"], names: ["*"], when: "object.data.colour == 'red'""#,
    ]);
    let create = |colour: &str| {
        let object = json!({"data": {"colour": colour}});
        recorded("POST /api/v1/namespaces/ci/configmaps", move |record| {
            record.request_object = body(object);
        })
    };
    assert_eq!(
        judged(&policies, &create("red")),
        Ok("deny p/no-red".to_owned())
    );
    assert_eq!(
        judged(&policies, &create("blue")),
        Ok("allow p/work".to_owned())
    );

    let unseen = recorded("POST /api/v1/namespaces/ci/configmaps", |_| {});
    assert_eq!(judged(&policies, &unseen), Err(Unknown::Object));
    let by_digest = recorded("POST /api/v1/namespaces/ci/configmaps", |record| {
        record.body_state = Some(record::BodyState::DigestOnly);
    });
    assert_eq!(judged(&policies, &by_digest), Err(Unknown::ObjectByDigest));
}

#[test]
fn a_masked_object_is_not_read_by_a_rule() {
    let policies = set(&[
        WORK,
        r#"name: no-red, effect: Deny, verbs: [create], apiGroups: [""], resources: [secrets], namespaces: ["*"], names: ["*"], when: "object.data.p != 'red'""#,
    ]);
    let masked = |line: &str| {
        recorded(line, |record| {
            record.request_object = body(json!({"data": {"p": "masked:00000000:00"}}));
            record.masked_request = Some(1);
        })
    };
    let secret = masked("POST /api/v1/namespaces/ci/secrets");
    assert_eq!(judged(&policies, &secret), Err(Unknown::MaskedObject));
    let other = masked("POST /api/v1/namespaces/ci/configmaps");
    assert_eq!(judged(&policies, &other), Ok("allow p/work".to_owned()));
}

#[test]
fn a_pod_is_judged_by_the_secrets_that_it_names() {
    let policies = set(&[
        WORK,
        r#"name: no-db, effect: Deny, verbs: [get], apiGroups: [""], resources: [secrets], namespaces: ["*"], names: [db]"#,
    ]);
    let pod = |secret: &str| {
        let pod = json!({"spec": {"volumes": [{"secret": {"secretName": secret}}]}});
        recorded("POST /api/v1/namespaces/ci/pods", move |record| {
            record.request_object = body(pod);
            record.entry = Entry::Captured;
            record.workload = Some(crate::identity::Workload {
                namespace: "ci".to_owned(),
                ..Default::default()
            });
        })
    };
    assert_eq!(judged(&policies, &pod("db")), Ok("deny p/no-db".to_owned()));
    assert_eq!(
        judged(&policies, &pod("web")),
        Ok("allow p/work".to_owned())
    );
}

#[test]
fn whether_a_namespace_was_an_agents_is_not_guessed() {
    let pod = || {
        recorded("POST /api/v1/namespaces/ci/pods", |record| {
            record.request_object = body(json!({"spec": {}}));
        })
    };
    assert_eq!(judged(&set(&[WORK]), &pod()), Err(Unknown::AgentNamespace));
    let captured = |labels: &[(&str, &str)]| {
        let own = crate::identity::Workload {
            namespace: "ci".to_owned(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
            ..Default::default()
        };
        recorded("POST /api/v1/namespaces/ci/pods", |record| {
            record.request_object = body(json!({"spec": {}}));
            record.entry = Entry::Captured;
            record.workload = Some(own);
        })
    };
    let judge = |labels| judged(&set(&[WORK]), &captured(labels));
    assert_eq!(judge(&[("app", "bot")]), Ok("allow p/work".to_owned()));
    let by_label = [("sallyport.dev/agent", "true")];
    assert_eq!(judge(&by_label), Err(Unknown::AgentNamespace));
    let named = WORK.replace(r#"namespaces: ["*"]"#, "namespaces: [ci]");
    assert_eq!(
        judged(&set(&[&named]), &pod()),
        Ok("allow p/work".to_owned())
    );
}

const PATCH_ONLY: &str = r#"name: patch, effect: Allow, verbs: [patch], apiGroups: [""], resources: [configmaps], namespaces: [ci], names: ["*"]"#;
const PATCHED: &str = "PATCH /api/v1/namespaces/ci/configmaps/x?fieldManager=kubectl";

#[test]
fn the_agent_of_a_users_pod_is_not_guessed() {
    let deny = r#"name: no, effect: Deny, verbs: [get], apiGroups: ["*"], resources: [secrets], namespaces: ["*"], names: ["*"]"#;
    let allow = deny.replace("name: no, effect: Deny", "name: yes, effect: Allow");
    let compiled = |subject: &str| {
        let both = "workload: {serviceAccount: {namespace: ci, name: runner}, oidc: {issuer: github, claims: {sub: job}}}";
        let files = [("p", both, &*allow), ("q", subject, deny)];
        let files = files.map(|(name, subject, rule)| {
            (format!("{name}.yaml"), policy_for(name, subject, &[rule]))
        });
        load(
            &files
                .each_ref()
                .map(|(file, text)| (file.as_str(), text.as_str())),
        )
        .expect("valid")
    };
    let secret = |captured: bool| {
        recorded("GET /api/v1/namespaces/ci/secrets/x", move |record| {
            record.user = Some(user("github:job"));
            record.upstream_user = Some(user("sallyport:oidc:github:job"));
            record.workload = captured.then(|| crate::identity::Workload {
                namespace: "ci".to_owned(),
                service_account: "runner".to_owned(),
                ..Default::default()
            });
        })
    };
    for agent in ["fixer", "*"] {
        let policies = compiled(&format!("agent: {{name: \"{agent}\"}}"));
        assert_eq!(judged(&policies, &secret(true)), Err(Unknown::PodAgent));
        assert_eq!(
            judged(&policies, &secret(false)),
            Ok("deny default".to_owned())
        );
    }
    let others = compiled("serviceAccount: {namespace: ci, name: other}");
    assert_eq!(judged(&others, &secret(true)), Ok("allow p/yes".to_owned()));
}

#[test]
fn a_patch_may_have_been_an_apply() {
    let policies = set(&[PATCH_ONLY]);
    let patch = |line: &str, object: serde_json::Value| {
        judged(
            &policies,
            &recorded(line, move |record| record.request_object = body(object)),
        )
    };
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    assert_eq!(patch(PATCHED, object.clone()), Err(Unknown::Apply));
    let forced = format!("{PATCHED}&force=true");
    assert_eq!(patch(&forced, object), Ok("deny default".to_owned()));
    for other in [
        json!([{"op": "remove", "path": "/data"}]),
        json!({"data": {}}),
    ] {
        assert_eq!(patch(PATCHED, other), Ok("allow p/patch".to_owned()));
    }
    assert_eq!(
        judged(&set(&[WORK]), &recorded(PATCHED, |_| {})),
        Ok("allow p/work".to_owned())
    );
}

fn job(record: &mut record::Record) {
    record.user = Some(user("github:repo:acme/shop"));
    record.upstream_user = Some(user("sallyport:oidc:github:repo:acme/shop"));
    record.cicd = Some(CiRun {
        provider: "github-actions".to_owned(),
        repository_id: "74".to_owned(),
        ..CiRun::default()
    });
}

#[test]
fn claims_that_have_a_column_tell_who_it_is_and_others_leave_it_open() {
    let read = recorded("GET /api/v1/namespaces/ci/pods/x", job);
    let decided = |claims: &str| {
        judged(
            &set_for(
                &format!("oidc: {{issuer: github, claims: {{{claims}}}}}"),
                &[WORK],
            ),
            &read,
        )
    };
    assert_eq!(
        decided(r#"repository_id: "74""#),
        Ok("allow p/work".to_owned())
    );
    assert_eq!(
        decided(r#"repository_id: "75""#),
        Ok("deny default".to_owned())
    );
    assert_eq!(
        decided(r#"sub: "repo:acme/shop""#),
        Ok("allow p/work".to_owned())
    );
    let team = Unknown::Claims(["team".to_owned()].into());
    assert_eq!(decided(r#"repository_id: "74", team: a"#), Err(team));
    assert_eq!(
        decided(r#"repository_id: "75", team: a"#),
        Ok("deny default".to_owned())
    );
}

#[test]
fn an_expression_that_reads_claims_or_a_masked_command_is_not_evaluated() {
    let by_claim = set(&[
        WORK,
        r#"name: no, effect: Deny, verbs: [get], apiGroups: [""], resources: [pods], namespaces: ["*"], names: ["*"], when: "user.claims.team[0] == 'a'""#,
    ]);
    let read = recorded("GET /api/v1/namespaces/ci/pods/x", job);
    assert_eq!(judged(&by_claim, &read), Err(Unknown::Claims([].into())));
    let elsewhere = recorded("GET /api/v1/namespaces/ci/services/x", job);
    assert_eq!(judged(&by_claim, &elsewhere), Ok("allow p/work".to_owned()));

    let by_command = set(&[
        r#"name: ls, effect: Allow, verbs: [create], apiGroups: [""], resources: [pods/exec], namespaces: [ci], names: ["*"], when: "request.command == ['ls']""#,
    ]);
    let exec = recorded(
        "GET /api/v1/namespaces/ci/pods/x/exec?command=masked:00000000:00",
        |_| {},
    );
    assert_eq!(judged(&by_command, &exec), Err(Unknown::Command));
}

#[test]
fn a_deletions_dry_run_is_in_its_body() {
    let policies = set(&[
        r#"name: try, effect: Allow, verbs: [delete], apiGroups: [""], resources: [pods], namespaces: [ci], names: ["*"], when: "request.dryRun""#,
    ]);
    let delete = |object: Option<Masked<String>>| {
        recorded("DELETE /api/v1/namespaces/ci/pods/x?dryRun=All", |record| {
            record.request_bytes = Some(17);
            record.request_object = object;
        })
    };
    let dry = delete(body(json!({"dryRun": ["All"]})));
    assert_eq!(judged(&policies, &dry), Ok("allow p/try".to_owned()));
    let wet = delete(body(json!({"kind": "DeleteOptions"})));
    assert_eq!(judged(&policies, &wet), Ok("deny default".to_owned()));
    assert_eq!(judged(&policies, &delete(None)), Err(Unknown::DryRun));
}

#[test]
fn the_floor_says_what_it_said() {
    let policies = set(&[WORK]);
    let token = recorded(
        "POST /api/v1/namespaces/ci/serviceaccounts/bot/token",
        denied("built-in/floor-token-audience"),
    );
    assert_eq!(
        judged(&policies, &token),
        Ok("deny built-in/floor-token-audience".to_owned())
    );
    let unlearned = recorded(
        "GET /api/v1/namespaces/ci/pods/x",
        denied("built-in/lookup"),
    );
    let gateway = Unknown::Gateway("built-in/lookup".to_owned());
    assert_eq!(judged(&policies, &unlearned), Err(gateway));
    let secret = recorded("POST /api/v1/namespaces/ci/secrets", denied("default"));
    assert_eq!(judged(&policies, &secret), Err(Unknown::Body));
}

#[test]
fn what_policy_had_no_part_in_is_not_judged() {
    let refused =
        |rule: &str| PastCall::read(&recorded("GET /api/v1/pods", denied(rule))).map(drop);
    assert_eq!(refused("gateway/quota_calls"), Err(NotJudged::BeforePolicy));
    assert_eq!(refused("AgentStop/night"), Err(NotJudged::Stopped));
    for (rule, decision) in [
        ("AgentStop/night", None),
        ("BreakGlass/night", None),
        ("built-in/subject-access-review", Some(DecisionKind::Allow)),
    ] {
        let of_people = recorded("GET /api/v1/namespaces/ci/pods/x", |record| {
            record.decision = decision;
            record.rule = Some(rule.to_owned());
        });
        assert_eq!(
            PastCall::read(&of_people).map(drop),
            Err(NotJudged::OfPeople),
            "{rule}"
        );
        let mut simulation = Simulation::default();
        simulation.add(&set(&[WORK]), &of_people);
        assert_eq!(simulation.calls, 0, "{rule}");
    }
    let lookup = recorded("GET /api/v1/namespaces/ci/pods/x", |record| {
        record.rule = Some("built-in/lookup".to_owned());
    });
    assert_eq!(PastCall::read(&lookup).map(drop), Err(NotJudged::Aside));
    let running = recorded("GET /api/v1/pods", |record| record.decision = None);
    assert_eq!(
        PastCall::read(&running).map(drop),
        Err(NotJudged::Undecided)
    );
}

#[test]
fn a_path_that_was_masked_or_contradicts_the_columns_is_not_judged() {
    let masked = recorded("GET /api/v1/namespaces/ci/pods/masked:00000000:00", |_| {});
    assert_eq!(judged(&set(&[WORK]), &masked), Err(Unknown::MaskedTarget));
    let other = recorded("GET /api/v1/namespaces/ci/pods/x", |record| {
        record.verb = "list".to_owned();
    });
    assert_eq!(judged(&set(&[WORK]), &other), Err(Unknown::Contradiction));
}

#[test]
fn changes_are_grouped_and_counted() {
    let policies = set(&[
        r#"name: read, effect: Allow, verbs: [get], apiGroups: [""], resources: [pods], namespaces: [ci], names: ["*"]"#,
        r#"name: ask, effect: RequireApproval, verbs: [delete], apiGroups: [""], resources: [pods], namespaces: [ci], names: ["*"]"#,
    ]);
    let mut simulation = Simulation::default();
    let calls = [
        recorded("GET /api/v1/namespaces/ci/pods/x", |_| {}),
        recorded("GET /api/v1/namespaces/ci/services/x", |_| {}),
        recorded("GET /api/v1/namespaces/ci/services/y", |_| {}),
        recorded("DELETE /api/v1/namespaces/ci/pods/x", |_| {}),
        recorded("GET /api/v1/namespaces/ci/pods/y", denied("default")),
        recorded("GET /api/v1/pods", denied("gateway/busy")),
    ];
    for call in &calls {
        simulation.add(&policies, call);
    }
    let totals = [
        simulation.calls,
        simulation.unchanged,
        simulation.total(Change::NewlyDenied),
        simulation.total(Change::NewlyHeld),
        simulation.total(Change::NewlyAllowed),
        simulation.undecidable(),
    ];
    assert_eq!(totals, [6, 1, 2, 1, 1, 0]);
    let services = simulation
        .changes
        .iter()
        .find(|(group, _)| group.resource == "services");
    let (group, counted) = services.expect("the group of services");
    assert_eq!((group.change, counted.calls), (Change::NewlyDenied, 2));
    assert_eq!(
        (group.then.rule.as_str(), group.now.rule.as_str()),
        ("old/rule", "default")
    );
}

/// What the record does not tell.
#[derive(Clone, Debug)]
struct Truth {
    line: &'static str,
    applies: bool,
    namespace_is_agents: bool,
    team: Option<&'static str>,
    object: serde_json::Value,
}

fn truth() -> impl Strategy<Value = Truth> {
    let lines = select(vec![
        "GET /api/v1/namespaces/ci/pods/x",
        "GET /api/v1/pods",
        "POST /api/v1/namespaces/ci/pods",
        "POST /api/v1/namespaces/prod/pods/x/exec",
        "PUT /api/v1/namespaces/prod/pods/x",
        "PATCH /api/v1/namespaces/ci/configmaps/x?fieldManager=a",
        "PATCH /api/v1/namespaces/prod/pods/x?fieldManager=a",
        "DELETE /api/v1/namespaces/ci/pods/x",
        "GET /metrics",
    ]);
    let objects = select(vec![
        json!({"apiVersion": "v1", "kind": "Pod", "data": {"colour": "red"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"volumes": [{"secret": {"secretName": "x"}}]}}),
    ]);
    let team = select(vec![None, Some("a"), Some("b")]);
    (lines, any::<bool>(), any::<bool>(), team, objects).prop_map(
        |(line, applies, namespace_is_agents, team, object)| Truth {
            line,
            applies: applies && line.starts_with("PATCH"),
            namespace_is_agents,
            team,
            object,
        },
    )
}

fn rules() -> impl Strategy<Value = Vec<String>> {
    let rule = (
        select(vec!["Allow", "Allow", "Allow", "RequireApproval", "Deny"]),
        select(vec![
            r#"["*"]"#,
            "[get, list]",
            "[create]",
            "[patch, update]",
        ]),
        select(vec![
            r#"["*"]"#,
            "[pods]",
            "[configmaps, pods, secrets]",
            "[pods/exec]",
        ]),
        select(vec![r#"["*"]"#, "[ci]", "[prod]"]),
        select(vec![
            "",
            "",
            r#", when: "object.data.colour == 'red'""#,
            r#", unless: "user.claims.team[0] == 'a'""#,
            r#", when: "oldObject == null""#,
        ]),
    );
    let rule = rule.prop_map(|(effect, verbs, resources, namespaces, condition)| {
        format!(
            "effect: {effect}, verbs: {verbs}, apiGroups: [\"\"], resources: {resources}, namespaces: {namespaces}, \
             names: [\"*\"]{condition}"
        )
    });
    prop::collection::vec(rule, 1..5)
}

proptest! {
    /// Whatever the record does not tell, the answer is the true one or there is none.
    #[test]
    fn what_is_decided_in_hindsight_is_what_would_have_been_decided(
        truth in truth(),
        rules in rules(),
        subject in select(vec!["all: \"*\"", "oidc: {issuer: github, claims: {team: a}}", "oidc: {issuer: github, claims: {sub: me}}"]),
    ) {
        let rules: Vec<_> = rules.iter().enumerate().map(|(at, rule)| format!("name: r{at}, {rule}")).collect();
        let rules: Vec<_> = rules.iter().map(String::as_str).collect();
        let policies = set_for(subject, &rules);
        let object = truth.object.clone();
        let record = recorded(truth.line, |record| {
            record.user = Some(user("github:me"));
            record.upstream_user = Some(user("sallyport:oidc:github:me"));
            record.request_object = body(object.clone());
            record.response_object = body(object);
        });
        let call = PastCall::read(&record).expect("policy judged it").expect("it is readable");
        let mut identity = call.identity.clone();
        identity.claims.extend(truth.team.map(|team| ("team".to_owned(), vec![team.to_owned()])));
        let attributes = Attributes {
            identity: &identity,
            request: &call.request,
            applies: truth.applies,
            dry_run: false,
            namespace_is_agents: truth.namespace_is_agents,
            is_served_locally: false,
        };
        let facts = Facts { object: Fact::Known(truth.object.clone()), old_object: Fact::Known(truth.object) };
        let truly = Verdict::of(&policies.conclude(&attributes, &facts));
        if let Ok(verdict) = policies.judge_past(&call) {
            prop_assert_eq!(verdict.answer, truly.answer);
        }
    }
}
