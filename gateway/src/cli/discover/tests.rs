use serde_json::json;

use super::*;
use crate::cli::reports::Report;

fn now() -> Timestamp {
    "2026-01-31T08:00:00Z".parse().expect("a time")
}

fn report(node: &str, since: &str, pods: &serde_json::Value) -> Report {
    let status = json!({
        "observedAt": now(), "countedSince": since, "version": "0", "pods": pods,
        "captured": 0, "denied": 0, "exempt": 0, "needsRecreate": 0, "unknown": 0,
    });
    let status = serde_json::from_value(status).expect("a status");
    Report {
        node: node.to_owned(),
        status,
    }
}

fn pod(namespace: &str, name: &str, owner: Option<&str>, connections: i64) -> serde_json::Value {
    json!({
        "namespace": namespace, "name": name, "uid": name, "serviceAccount": "default", "state": "Exempt", "reason": "",
        "owner": owner.map(|name| json!({"kind": "Deployment", "name": name})), "apiConnections": connections,
    })
}

fn tally(namespace: Option<&str>) -> Tally {
    let mut tally = Tally::new(namespace.map(str::to_owned), now());
    let first = json!([
        pod("shop", "web-1", Some("web"), 2),
        pod("shop", "idle", None, 0),
        pod("ops", "shell", None, 9)
    ]);
    let second = json!([
        pod("shop", "web-2", Some("web"), 5),
        pod("ops", "web-3", Some("web"), 1)
    ]);
    tally.add(&report("a", "2026-01-30T08:00:00Z", &first));
    tally.add(&report("b", "2026-01-31T07:00:00Z", &second));
    tally
}

fn rows(tally: &Tally) -> Vec<String> {
    tally
        .workloads()
        .iter()
        .map(|workload| cells(workload).join(" "))
        .collect()
}

#[test]
fn connections_add_up_over_nodes_and_the_most_come_first() {
    assert_eq!(
        rows(&tally(None)),
        [
            "ops Pod/shell default 1 9",
            "shop Deployment/web default 2 7",
            "ops Deployment/web default 1 1"
        ]
    );
}

#[test]
fn other_namespaces_are_left_out() {
    assert_eq!(
        rows(&tally(Some("shop"))),
        ["shop Deployment/web default 2 7"]
    );
}

#[test]
fn the_reader_learns_since_when_and_that_requests_are_not_counted() {
    let note = &tally(None).footnotes()[0];
    assert!(
        note.contains("not requests")
            && note.contains("2026-01-30T08:00:00Z")
            && note.contains("2 nodes"),
        "{note}"
    );
}

#[test]
fn silence_is_told_from_an_idle_cluster() {
    let silent = Tally::new(None, now());
    assert!(silent.footnotes()[0].contains("No node agent"));
    let mut idle = Tally::new(None, now());
    idle.add(&report("a", "2026-01-30T08:00:00Z", &json!([])));
    assert!(idle.footnotes()[0].contains("No workload"));
}

#[test]
fn a_report_that_is_old_is_named() {
    let mut tally = Tally::new(None, "2026-01-31T09:00:00Z".parse().expect("a time"));
    tally.add(&report("a", "2026-01-30T08:00:00Z", &json!([])));
    assert!(
        tally
            .footnotes()
            .iter()
            .any(|note| note.ends_with("older than two minutes: a."))
    );
    assert_eq!(tally.shown()["staleNodes"], json!(["a"]));
}
