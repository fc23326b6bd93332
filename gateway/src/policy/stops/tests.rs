use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::identity::{AgentIdentity, Provenance, ProvenanceSource, Source, UserInfo};

fn object(name: &str, target: &serde_json::Value) -> AgentStop {
    serde_json::from_value(json!({
        "apiVersion": "sallyport.dev/v1alpha1",
        "kind": "AgentStop",
        "metadata": {"name": name, "creationTimestamp": "2026-11-26T10:00:00Z"},
        "spec": {"target": target, "reason": "it loops", "by": "alice"},
    }))
    .expect("a stop")
}

fn stops(target: &serde_json::Value) -> Stops {
    let stop = Arc::new(object("one", target));
    Stops::of(&Known {
        synced: true,
        objects: BTreeMap::from([((String::new(), "one".into()), Ok(stop))]),
        ..Known::default()
    })
}

fn user(name: &str) -> UserInfo {
    UserInfo {
        username: name.to_owned(),
        ..UserInfo::default()
    }
}

/// The ServiceAccount `bot` in the namespace `ci`, whose agent is `fixer` as `source` says.
fn bot(source: Source) -> Identity {
    let agent = AgentIdentity {
        name: "fixer".to_owned(),
        ..AgentIdentity::default()
    };
    Identity {
        user: user("system:serviceaccount:ci:bot"),
        upstream_user: user("sallyport:sa:ci:bot"),
        issuer: None,
        claims: BTreeMap::new(),
        workload: None,
        pod_agent: None,
        provenance: Provenance {
            agent: Some(agent),
            source: ProvenanceSource {
                agent: Some(source),
                ..ProvenanceSource::default()
            },
            ..Provenance::default()
        },
        session_id: Some("sallyport:sa:ci:bot/pod".to_owned()),
    }
}

#[test]
fn an_agent_is_stopped_by_each_name_that_records_give_it() {
    let identity = bot(Source::OperatorDeclared);
    for (target, stopped) in [
        (json!({"agent": "fixer"}), true),
        (json!({"agent": "system:serviceaccount:ci:bot"}), true),
        (json!({"agent": "sallyport:sa:ci:bot"}), true),
        (json!({"session": "sallyport:sa:ci:bot/pod"}), true),
        (json!({"all": "*"}), true),
        (json!({"agent": "bot"}), false),
        (json!({"agent": "*"}), false),
        (json!({"session": "fixer"}), false),
    ] {
        let checked = stops(&target).check(&identity);
        assert_eq!(checked.is_err(), stopped, "{target}: {checked:?}");
    }
}

#[test]
fn a_name_that_an_agent_gives_itself_stops_nobody() {
    let stops = stops(&json!({"agent": "fixer"}));
    assert_eq!(stops.check(&bot(Source::SelfDeclared)), Ok(()));
}

#[test]
fn the_denial_says_who_stopped_it_when_and_why() {
    let denial = stops(&json!({"agent": "fixer"}))
        .check(&bot(Source::OidcClaim))
        .expect_err("it is stopped");
    assert_eq!(denial.rule, "AgentStop/one");
    assert_eq!(
        denial.reason,
        "agent \"fixer\" was stopped by \"alice\" at 2026-11-26T10:00:00Z: \"it loops\""
    );
    assert!(denial.hint.starts_with("Do not repeat it"), "{denial:?}");
}

#[test]
fn what_is_not_heard_or_not_understood_stops_everyone() {
    let identity = bot(Source::OperatorDeclared);
    let unheard = Stops::of(&Known::default());
    assert!(!unheard.is_heard());
    let denial = unheard.check(&identity).expect_err("nothing is known");
    assert_eq!(denial.rule, "built-in/not-heard");

    let unreadable: Arc<str> = "unknown field `targets`".into();
    let known = Known {
        synced: true,
        objects: BTreeMap::from([((String::new(), "odd".into()), Err(unreadable))]),
        ..Known::default()
    };
    let denial = Stops::of(&known)
        .check(&identity)
        .expect_err("it may be for anyone");
    assert_eq!(denial.rule, "AgentStop/odd");
    assert!(denial.reason.contains("targets"), "{denial:?}");
    assert_eq!(Stops::default().check(&identity), Ok(()));
}

#[test]
fn a_stop_that_somebody_resumed_stops_nobody_and_says_who() {
    let mut stop = object("one", &json!({"agent": "fixer"}));
    let in_force = Stop::of(&stop);
    let status = json!({"resumed": {"by": "bob", "at": "2026-11-26T11:00:00Z"}});
    stop.status = serde_json::from_value(status).expect("a status");
    let known = |stop: AgentStop| Known {
        synced: true,
        version: 0,
        objects: BTreeMap::from([((String::new(), "one".into()), Ok(Arc::new(stop)))]),
    };
    let stops = Stops::of(&known(stop.clone()));
    assert_eq!(stops.check(&bot(Source::OperatorDeclared)), Ok(()));
    assert_eq!(stops.iter().count(), 0);
    let by = |stop: &Stop| stops.resumed(stop).map(|resumed| resumed.by.as_str());
    assert_eq!(by(&in_force), Some("bob"));
    // Another one of the same name is not lifted by it.
    let other = Stop {
        since: None,
        ..in_force
    };
    assert_eq!(by(&other), None);

    // A status that says nothing of it lifts nothing.
    stop.status = serde_json::from_value(json!({"resumed": null, "other": 1})).expect("a status");
    let stops = Stops::of(&known(stop));
    assert!(stops.check(&bot(Source::OperatorDeclared)).is_err());
}
