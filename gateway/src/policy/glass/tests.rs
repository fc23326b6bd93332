use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    identity::{Identity, Workload},
    policy::tests::{bot, request},
};

const MADE: &str = "2026-11-26T10:00:00Z";

/// So many seconds after it was made.
fn at(seconds: i64) -> Timestamp {
    let made: Timestamp = MADE.parse().expect("a time");
    made + SignedDuration::from_secs(seconds)
}

fn vote(by: &str, seconds: i64) -> Value {
    json!({"result": "Approved", "by": by, "via": "Kubernetes", "at": at(seconds)})
}

fn with(mut vote: Value, member: &str, value: &str) -> Value {
    vote[member] = value.into();
    vote
}

fn object(name: &str, spec: &Value, votes: &[Value]) -> BreakGlass {
    let mut whole = json!({
        "agents": ["*"], "namespaces": ["*"], "reason": "an outage", "by": "ann", "via": "Kubernetes",
    });
    for (member, value) in spec.as_object().into_iter().flatten() {
        whole[member] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "sallyport.dev/v1alpha1",
        "kind": "BreakGlass",
        "metadata": {"name": name, "uid": name, "creationTimestamp": MADE},
        "spec": whole,
        "status": {"votes": votes},
    }))
    .expect("a BreakGlass")
}

/// Asked for by ann, for a minute.
fn asked(votes: &[Value]) -> Glass {
    Glass::of(&object("one", &json!({"durationSeconds": 60}), votes))
}

/// Whether it was ever open, in seconds after it was made.
fn open(glass: &Glass) -> Vec<i64> {
    let seconds = (-120..2000).step_by(5);
    seconds
        .filter(|second| glass.phase(at(*second)).is_open())
        .collect()
}

/// Without the field it would say something else.
#[test]
fn one_with_a_field_that_nobody_knows_opens_nothing() {
    for field in ["durationSecond", "resources"] {
        let glass = Glass::of(&object("one", &json!({field: 60}), &[vote("bob", 5)]));
        assert_eq!(glass.unknown.as_deref(), Some(field));
        assert_eq!(open(&glass), [0; 0], "{field}");
        assert!(glass.phase(at(2000)).is_over(), "it is kept for ever");
    }
    assert_eq!(asked(&[vote("bob", 5)]).unknown, None);
}

#[test]
fn second_person_opens_it_for_as_long_as_it_says() {
    let glass = asked(&[vote("bob", 300)]);
    assert_eq!(glass.phase(at(100)), Phase::Asked);
    let until = at(360);
    for second in [300, 359] {
        assert_eq!(glass.phase(at(second)), Phase::Open { until }, "{second}");
    }
    assert_eq!(glass.phase(at(360)), Phase::Over(Over::Expired));
    assert_eq!(glass.ends_at(), Some(until));
}

#[test]
fn later_votes_make_it_no_longer() {
    let one = asked(&[vote("bob", 300)]);
    for more in [
        vec![vote("bob", 300), vote("carol", 340)],
        vec![vote("carol", 340), vote("bob", 300)],
        vec![vote("bob", 300), vote("bob", 350)],
    ] {
        assert_eq!(open(&asked(&more)), open(&one), "{more:?}");
    }
}

#[test]
fn whoever_asks_is_not_the_second_person_under_any_name() {
    for by in ["ann", "Ann", "oidc:ann", "https://login.example.com#ann"] {
        assert!(open(&asked(&[vote(by, 10)])).is_empty(), "{by}");
    }
    assert!(!open(&asked(&[vote("joann", 10)])).is_empty());
}

#[test]
fn nobody_but_people_opens_it() {
    for name in [
        "",
        "sallyport:sa:ci:bot",
        "system:serviceaccount:ci:bot",
        "system:node:a",
        "system:kube-scheduler",
        "system:admin",
    ] {
        assert!(
            open(&asked(&[vote(name, 10)])).is_empty(),
            "voted by {name:?}"
        );
        let by = object("one", &json!({"by": name}), &[vote("bob", 10)]);
        assert!(open(&Glass::of(&by)).is_empty(), "asked for by {name:?}");
    }
    for other in ["Webhook", "Console"] {
        let voted = asked(&[with(vote("bob", 10), "via", other)]);
        assert!(open(&voted).is_empty(), "voted via {other}");
        let via = object("one", &json!({"via": other}), &[vote("bob", 10)]);
        assert!(open(&Glass::of(&via)).is_empty(), "asked for via {other}");
    }
}

#[test]
fn a_vote_of_another_time_opens_nothing() {
    for second in [-1, WAITS.as_secs() + 1] {
        assert!(open(&asked(&[vote("bob", second)])).is_empty(), "{second}");
    }
    let unborn = BreakGlass {
        metadata: Default::default(),
        ..object("one", &json!({}), &[vote("bob", 10)])
    };
    assert!(open(&Glass::of(&unborn)).is_empty());
}

#[test]
fn nobody_waits_for_ever_and_one_vote_against_it_ends_it() {
    let waits = WAITS.as_secs();
    let glass = asked(&[]);
    assert_eq!(glass.phase(at(waits - 1)), Phase::Asked);
    assert_eq!(glass.phase(at(waits)), Phase::Over(Over::Lapsed));
    let denial = with(vote("eve", -5), "result", "Denied");
    for votes in [[vote("bob", 10), denial.clone()], [denial, vote("bob", 10)]] {
        assert!(open(&asked(&votes)).is_empty());
    }
}

#[test]
fn it_is_over_at_once_where_somebody_closes_it_or_its_object_goes() {
    let open_one = object("one", &json!({}), &[vote("bob", 10)]);
    assert!(!open(&Glass::of(&open_one)).is_empty());
    let mut closed = open_one.clone();
    closed.status.as_mut().expect("it has one").closed = Some(Closed {
        by: "carol".to_owned(),
        via: Channel::Kubernetes,
        at: at(5000),
        reason: "done".to_owned(),
    });
    assert_eq!(Glass::of(&closed).phase(at(20)), Phase::Over(Over::Closed));
    let mut going = open_one;
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(15)));
    assert!(open(&Glass::of(&going)).is_empty());
}

#[test]
fn it_lasts_a_quarter_of_an_hour_at_most_whatever_it_says() {
    let long = object("one", &json!({"durationSeconds": 60000}), &[vote("bob", 0)]);
    assert_eq!(Glass::of(&long).ends_at(), Some(at(900)));
    let unsaid = object("one", &json!({}), &[vote("bob", 0)]);
    assert_eq!(Glass::of(&unsaid).ends_at(), Some(at(900)));
}

fn known(synced: bool, objects: Vec<Result<BreakGlass, &str>>) -> Known<BreakGlass> {
    let named = |(index, object): (usize, Result<BreakGlass, &str>)| {
        let name = match &object {
            Ok(object) => object.name_any(),
            Err(_) => format!("bad-{index}"),
        };
        let object = object.map(Arc::new).map_err(Arc::from);
        ((String::new(), name), object)
    };
    Known {
        synced,
        objects: objects
            .into_iter()
            .enumerate()
            .map(named)
            .collect::<BTreeMap<_, _>>(),
        ..Known::default()
    }
}

/// The name of the one that is open for a call of `system:serviceaccount:ci:bot`.
fn for_call(glasses: &Glasses, line: &str) -> Option<String> {
    let (identity, request) = (bot(), request(line));
    let attributes = Attributes::new(&identity, &request);
    let glass = glasses.open_for(&attributes, at(20));
    glass.map(|glass| glass.name.clone())
}

fn opened(name: &str, spec: &Value) -> Result<BreakGlass, &'static str> {
    Ok(object(name, spec, &[vote("bob", 10)]))
}

#[test]
fn what_is_not_heard_or_understood_opens_nothing() {
    let pods = "GET /api/v1/namespaces/ci/pods";
    let unheard = known(false, vec![opened("one", &json!({}))]);
    assert_eq!(for_call(&Glasses::of(&unheard), pods), None);
    let unreadable = known(true, vec![Err("unknown field")]);
    assert_eq!(for_call(&Glasses::of(&unreadable), pods), None);
    let both = known(true, vec![Err("unknown field"), opened("one", &json!({}))]);
    assert_eq!(for_call(&Glasses::of(&both), pods).as_deref(), Some("one"));
}

#[test]
fn it_reaches_the_namespaces_that_it_names_and_what_is_in_none_where_it_names_all() {
    let of = |namespaces: &[&str]| {
        Glasses::of(&known(
            true,
            vec![opened("one", &json!({"namespaces": namespaces}))],
        ))
    };
    let inside = [
        "GET /api/v1/namespaces/ci/pods",
        "DELETE /api/v1/namespaces/ci/pods/x",
    ];
    let outside = [
        "GET /api/v1/namespaces/prod/pods",
        "GET /api/v1/pods",
        "GET /apis/example.com/v1/widgets",
        "GET /api/v1/nodes/x",
        "DELETE /api/v1/namespaces/ci",
        "PUT /api/v1/namespaces/ci/finalize",
        "GET /metrics",
    ];
    for line in inside {
        assert!(for_call(&of(&["ci"]), line).is_some(), "{line}");
    }
    for line in outside {
        assert_eq!(for_call(&of(&["ci", ""]), line), None, "{line}");
        assert!(for_call(&of(&["*"]), line).is_some(), "{line}");
    }
}

#[test]
fn it_reaches_the_agents_that_it_names() {
    let of = |agent: &str| {
        let one = opened("one", &json!({"agents": ["somebody", agent]}));
        Glasses::of(&known(true, vec![one]))
    };
    let line = "GET /api/v1/namespaces/ci/pods";
    assert!(for_call(&of("system:serviceaccount:ci:bot"), line).is_some());
    assert_eq!(for_call(&of("system:serviceaccount:ci:other"), line), None);
    assert_eq!(for_call(&of("system:serviceaccount:ci:*"), line), None);
}

#[test]
fn it_reaches_a_user_in_a_pod_where_it_names_both() {
    let identity = Identity {
        issuer: Some("github".to_owned()),
        workload: Some(Workload {
            namespace: "ci".to_owned(),
            service_account: "runner".to_owned(),
            ..Workload::default()
        }),
        pod_agent: Some("fixer".to_owned()),
        ..bot()
    };
    let user = identity.user.username.as_str();
    let pod = "system:serviceaccount:ci:runner";
    let request = request("GET /api/v1/namespaces/ci/pods");
    let attributes = Attributes::new(&identity, &request);
    for (agents, reaches) in [
        (&[user, pod][..], true),
        (&["*"], true),
        (&[user], false),
        (&[pod], false),
        (&[user, "fixer"], false),
        (&["fixer", pod], false),
        (&[user, "system:serviceaccount:ci:builder"], false),
    ] {
        let one = opened("one", &json!({"agents": agents}));
        let glasses = Glasses::of(&known(true, vec![one]));
        let open = glasses.open_for(&attributes, at(20));
        assert_eq!(open.is_some(), reaches, "{agents:?}");
    }
}

#[test]
fn it_is_looked_at_again_when_it_opens_and_when_it_is_over() {
    let one = known(
        true,
        vec![Ok(object(
            "one",
            &json!({"durationSeconds": 60}),
            &[vote("bob", 300)],
        ))],
    );
    let glasses = Glasses::of(&one);
    assert_eq!(glasses.changes_at(at(0)), Some(at(240)));
    assert_eq!(glasses.changes_at(at(240)), Some(at(360)));
    assert_eq!(glasses.changes_at(at(360)), None);
}

fn any_vote() -> impl Strategy<Value = Value> {
    let names = [
        "ann",
        "oidc:ann",
        "bob",
        "oidc:bob",
        "carol",
        "system:admin",
        "sallyport:sa:a:b",
        "",
    ];
    let via = ["Kubernetes", "Kubernetes", "Webhook"];
    (
        0..names.len(),
        0..via.len(),
        prop::bool::weighted(0.9),
        -100i64..1200,
    )
        .prop_map(move |(name, way, approves, second)| {
            let vote = with(vote(names[name], second), "via", via[way]);
            match approves {
                true => vote,
                false => with(vote, "result", "Denied"),
            }
        })
}

proptest! {
    /// Votes are appended by whoever comes first.
    #[test]
    fn the_order_of_votes_decides_nothing(
        (votes, shuffled) in prop::collection::vec(any_vote(), 0..5)
            .prop_flat_map(|votes| (Just(votes.clone()), Just(votes).prop_shuffle())),
    ) {
        prop_assert_eq!(open(&asked(&votes)), open(&asked(&shuffled)));
    }

    #[test]
    fn it_is_open_only_in_the_minute_after_a_vote_of_a_second_person(
        votes in prop::collection::vec(any_vote(), 0..5),
    ) {
        let glass = asked(&votes);
        let counts = |vote: &&Value| {
            let by = vote["by"].as_str().expect("a name");
            ["bob", "oidc:bob", "carol"].contains(&by) && vote["via"] == "Kubernetes" && vote["result"] == "Approved"
        };
        let times: Vec<Timestamp> = votes.iter().filter(counts)
            .map(|vote| vote["at"].as_str().expect("a time").parse().expect("a time")).collect();
        for second in open(&glass) {
            let now = at(second);
            let explains = |time: &Timestamp| now >= before(*time) && now < *time + SignedDuration::from_mins(1);
            prop_assert!(times.iter().any(explains), "open at {second}");
        }
    }
}
