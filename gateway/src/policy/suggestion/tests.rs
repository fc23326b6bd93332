use proptest::{prelude::*, sample::select};

use super::{draft::Target, need::ObjectNeed, *};
use crate::{
    policy::{
        Fact, Facts,
        cases::{self, Case},
        hindsight::tests::{as_agent, recorded},
        tests::load,
    },
    request_info::RequestInfo,
};

fn observed(lines: &[&str]) -> Observed {
    let mut observed = Observed::default();
    for line in lines {
        observed.add(&recorded(line, as_agent("coder")));
    }
    observed
}

fn suggestion(lines: &[&str]) -> Suggestion {
    observed(lines).suggest(None).expect("a suggestion")
}

/// The policy of the suggestion's text, and the outcome of its cases.
fn reread(suggestion: &Suggestion) -> (PolicySet, Vec<cases::Outcome>) {
    let text = suggestion.yaml();
    let set = load(&[("coder.yaml", &text)]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("coder.test.yaml");
    let cases: Vec<Case> = cases(suggestion, "coder.yaml").map_or_else(Vec::new, |text| {
        std::fs::write(&file, text).expect("a file");
        cases::read(&file).expect("a file with cases").cases
    });
    let is_path = |draft: &Draft| matches!(draft.target, Target::Paths(_));
    let paths_alone = suggestion.drafts.iter().all(is_path);
    assert_eq!(cases.is_empty(), paths_alone, "{text}");
    let outcomes = cases::run(&set, &cases);
    (set, outcomes)
}

#[track_caller]
fn assert_cases_pass(suggestion: &Suggestion) {
    let (_, outcomes) = reread(suggestion);
    for outcome in outcomes {
        assert!(
            outcome.passed,
            "{}:\n{outcome}\n{}",
            outcome.case,
            suggestion.yaml()
        );
    }
}

#[test]
fn paths_alone_have_no_cases() {
    let (_, outcomes) = reread(&suggestion(&["GET /metrics"]));
    assert!(outcomes.is_empty());
}

const READS: &str = r#"    - name: read-configmaps-and-services
      effect: Allow
      verbs: [get]
      apiGroups: [""]
      resources: [configmaps, services]
      namespaces: [ci]
      names: [x]
"#;

#[test]
fn reads_and_writes_are_apart_and_what_is_alike_is_joined() {
    let suggestion = suggestion(&[
        "GET /api/v1/namespaces/ci/configmaps/x",
        "GET /api/v1/namespaces/ci/services/x",
        "DELETE /api/v1/namespaces/ci/configmaps/x",
        "GET /api",
        "GET /version",
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    ]);
    let text = suggestion.yaml();
    assert!(text.contains(READS), "{text}");
    assert!(text.contains("    - name: delete-configmaps\n"), "{text}");
    assert_eq!(suggestion.rules(), 2, "discovery needs no rule: {text}");
    assert_cases_pass(&suggestion);
}

#[test]
fn streams_are_named_as_subresources() {
    let suggestion = suggestion(&[
        "GET /api/v1/namespaces/ci/pods/x/exec?command=masked:00000000:00",
        "GET /api/v1/namespaces/ci/pods/x/log",
    ]);
    let text = suggestion.yaml();
    assert!(
        text.contains("resources: [pods/exec]") && text.contains("verbs: [create]"),
        "{text}"
    );
    assert!(
        text.contains("- name: exec-pods") && text.contains("- name: read-pods-log"),
        "{text}"
    );
    assert_cases_pass(&suggestion);
}

#[test]
fn many_names_are_all_names_and_a_comment_says_so() {
    let lines: Vec<_> = (0..=MAX_NAMES)
        .map(|number| format!("DELETE /api/v1/namespaces/ci/pods/p{number}"))
        .collect();
    let mut lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let text = suggestion(&lines).yaml();
    assert!(
        text.contains("# More than 10 different names") && text.contains(r#"names: ["*"]"#),
        "{text}"
    );
    lines.pop();
    let text = suggestion(&lines).yaml();
    assert!(text.contains("names: [p0, p1, p2"), "{text}");
}

#[test]
fn whoever_lists_all_may_get_each() {
    let text = suggestion(&[
        "GET /api/v1/namespaces/ci/pods/x",
        "GET /api/v1/namespaces/ci/pods",
        "GET /api/v1/namespaces/prod/pods?watch=1",
        "GET /api/v1/namespaces/prod/pods/y",
    ])
    .yaml();
    assert!(
        text.contains("verbs: [get, list]") && text.contains("verbs: [get, watch]"),
        "{text}"
    );
    assert!(
        !text.contains("names: [x]") && !text.contains("names: [\"y\"]"),
        "{text}"
    );
}

#[test]
fn a_patch_that_may_have_been_an_apply_gets_create_and_a_comment() {
    let text = suggestion(&["PATCH /api/v1/namespaces/ci/configmaps/x?fieldManager=a"]).yaml();
    assert!(text.contains("verbs: [create, patch]"), "{text}");
    assert!(
        text.contains("# create: a patch may have been a server-side apply"),
        "{text}"
    );
    let text = suggestion(&["PATCH /api/v1/namespaces/ci/configmaps/x"]).yaml();
    assert!(text.contains("verbs: [patch]"), "{text}");
}

#[test]
fn what_was_denied_is_a_comment() {
    let mut observed = observed(&["GET /api/v1/namespaces/ci/pods/x"]);
    let denied = recorded("DELETE /api/v1/namespaces/prod/pods/x", |record| {
        as_agent("coder")(record);
        record.decision = Some(crate::audit::record::DecisionKind::Deny);
        record.rule = Some("guard/\nspec: {}".to_owned());
    });
    observed.add(&denied);
    observed.add(&denied);
    let text = observed.suggest(None).expect("a suggestion").yaml();
    assert!(
        text.contains("#   delete pods in prod, 2 times, by guard/?spec: {}\n"),
        "{text}"
    );
}

#[test]
fn what_people_approved_they_are_asked_about_again() {
    let mut observed = observed(&[
        "DELETE /api/v1/namespaces/ci/pods/x",
        "GET /api/v1/namespaces/ci/pods/x",
    ]);
    observed.add(&recorded("DELETE /api/v1/namespaces/ci/pods/x", |record| {
        as_agent("coder")(record);
        record.decision = Some(crate::audit::record::DecisionKind::Hold);
    }));
    let suggestion = observed.suggest(None).expect("a suggestion");
    let text = suggestion.yaml();
    assert!(
        text.contains("- name: ask-delete-pods\n      effect: RequireApproval"),
        "{text}"
    );
    assert!(!text.contains("- name: delete-pods"), "{text}");
    assert_cases_pass(&suggestion);
}

#[test]
fn an_agent_that_nobody_vouches_for_gets_none() {
    let mut alone = Observed::default();
    alone.add(&recorded("GET /api/v1/namespaces/ci/pods/x", |record| {
        as_agent("coder")(record);
        if let Some(source) = &mut record.provenance_source {
            source.agent = Some(Source::SelfDeclared);
        }
    }));
    assert!(matches!(
        alone.suggest(None),
        Err(NoSuggestion::SelfDeclared)
    ));
    assert!(matches!(
        Observed::default().suggest(None),
        Err(NoSuggestion::NoCalls)
    ));
    let nothing = observed(&["GET /version"]).suggest(None);
    assert!(matches!(nothing, Err(NoSuggestion::NothingNeeded)));
}

#[test]
fn names_that_agents_chose_cannot_leave_their_place() {
    let suggestion = suggestion(&[
        "DELETE /api/v1/namespaces/ci/pods/true",
        "DELETE /api/v1/namespaces/ci/services/12",
        "DELETE /apis/a.example/v1/namespaces/ci/widgets/a%22%5D,%20b:%20%5B%22c",
        "DELETE /apis/b.example/v1/namespaces/ci/widgets/caf%C3%A9%E2%80%A8x",
    ]);
    let (set, _) = reread(&suggestion);
    assert_eq!(set.len(), 4);
    assert_eq!(
        set.digest(),
        suggestion.policies.digest(),
        "{}",
        suggestion.yaml()
    );
    assert_cases_pass(&suggestion);
}

#[test]
fn a_name_that_no_object_can_have_is_refused() {
    let observed = observed(&["GET /api/v1/namespaces/ci/configmaps/x"]);
    let refusal = observed.suggest(Some("Bad Name")).unwrap_err().to_string();
    assert!(refusal.contains("is no name for a policy"), "{refusal}");
}

#[test]
fn what_was_seen_masked_is_a_rule_of_its_own_that_masks() {
    let mut observed = observed(&["GET /api/v1/namespaces/ci/secrets/clear"]);
    let masked = recorded("GET /api/v1/namespaces/ci/secrets/db", |record| {
        as_agent("coder")(record);
        record.view_placeholders = vec!["0123456789abcdef01234567".to_owned()];
    });
    observed.add(&masked);
    let suggestion = observed.suggest(None).expect("a suggestion");
    let text = suggestion.yaml();
    let expected = "    - name: read-secrets-masked\n      effect: Allow\n      verbs: [get]\n      agentView: Masked\n";
    assert!(text.contains(expected), "{text}");
    assert_eq!(text.matches("agentView").count(), 1, "{text}");
    assert_cases_pass(&suggestion);
}

fn line() -> impl Strategy<Value = String> {
    let methods = select(vec!["GET", "POST", "PUT", "PATCH", "DELETE"]);
    let places = select(vec![
        "/api/v1/namespaces/ci/",
        "/api/v1/namespaces/prod/",
        "/apis/apps/v1/namespaces/ci/",
        "/api/v1/",
    ]);
    let resources = select(vec!["configmaps", "services", "deployments", "pods"]);
    let names = select(vec![
        "",
        "/x",
        "/y",
        "/x/status",
        "/x/exec",
        "/x/log",
        "?watch=1",
    ]);
    let objects = (methods, places, resources, names)
        .prop_map(|(method, place, resource, name)| format!("{method} {place}{resource}{name}"));
    prop_oneof![9 => objects, 1 => Just("GET /metrics".to_owned())]
}

fn decided(suggestion: &Suggestion, request: &RequestInfo) -> Answer {
    let identity = super::cases::case_identity("coder");
    let facts = Facts {
        object: Fact::Known(serde_json::json!({})),
        old_object: Fact::Known(serde_json::json!({})),
    };
    suggestion
        .verdict(&Attributes::new(&identity, request), &facts)
        .answer
}

fn request(line: &str) -> RequestInfo {
    let (method, target) = line.split_once(' ').expect("method and target");
    RequestInfo::parse(method, target).expect("it is unambiguous")
}

proptest! {
    #[test]
    fn every_call_that_it_was_made_from_is_allowed(lines in prop::collection::vec(line(), 1..20)) {
        let lines: Vec<_> = lines.iter().map(String::as_str).filter(|line| !request(line).verb.is_empty()).collect();
        prop_assume!(!lines.is_empty());
        let suggestion = suggestion(&lines);
        for line in &lines {
            prop_assert_eq!(decided(&suggestion, &request(line)), Answer::Allow, "{}\n{}", line, suggestion.yaml());
        }
        let (set, outcomes) = reread(&suggestion);
        prop_assert_eq!(set.digest(), suggestion.policies.digest());
        for outcome in outcomes {
            prop_assert!(outcome.passed, "{}\n{}", outcome, suggestion.yaml());
        }
    }

    #[test]
    fn a_call_of_another_verb_resource_or_namespace_is_denied(lines in prop::collection::vec(line(), 1..20), other in line()) {
        let lines: Vec<_> = lines.iter().map(String::as_str).filter(|line| !request(line).verb.is_empty()).collect();
        prop_assume!(!lines.is_empty());
        let other = request(&other);
        let place = |request: &RequestInfo| match Need::of(request, false) {
            Need::Object(ObjectNeed { kind, api_group, resource, namespace, verb, .. }) => {
                Some((kind, api_group, resource, namespace, verb))
            }
            Need::Path { .. } => None,
        };
        let everywhere = |request: &RequestInfo| {
            place(request).map(|(kind, group, resource, _, verb)| (kind, group, resource, "*".to_owned(), verb))
        };
        let known: Vec<_> = lines.iter().map(|line| place(&request(line))).collect();
        prop_assume!(place(&other).is_some() && !known.contains(&place(&other)) && !known.contains(&everywhere(&other)));
        prop_assert_eq!(decided(&suggestion(&lines), &other), Answer::Deny);
    }
}
