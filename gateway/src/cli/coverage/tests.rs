use super::*;
use crate::api::v1alpha1::node_coverage::{NodeCoverageStatus, PodCoverage};

fn now() -> Timestamp {
    "2026-01-31T08:00:00Z".parse().expect("a time")
}

fn report(node: &str, observed_at: &str, pods: &[(&str, CoverageState)]) -> (String, Report) {
    let pods = pods.iter().map(|(uid, state)| PodCoverage {
        namespace: "agents".into(),
        name: format!("pod-{uid}"),
        uid: (*uid).to_owned(),
        service_account: "coder".into(),
        owner: None,
        state: *state,
        reason: format!("because of {uid}"),
        api_connections: 0,
    });
    let status = NodeCoverageStatus {
        observed_at: observed_at.parse().expect("a time"),
        counted_since: now(),
        version: "0".into(),
        captured: 0,
        denied: 0,
        exempt: 0,
        needs_recreate: 0,
        unknown: 0,
        problems: vec![format!("{node} has a problem")],
        pods: pods.collect(),
    };
    let node = node.to_owned();
    (node.clone(), Report { node, status })
}

fn pod(uid: &str, node: Option<&str>) -> LivePod {
    LivePod {
        namespace: "agents".into(),
        name: format!("pod-{uid}"),
        uid: uid.to_owned(),
        node: node.map(str::to_owned),
    }
}

fn coverage() -> Coverage {
    let reports = HashMap::from([
        report(
            "fresh",
            "2026-01-31T07:58:00Z",
            &[
                ("1", CoverageState::Captured),
                ("2", CoverageState::Denied),
                ("3", CoverageState::Exempt),
            ],
        ),
        report(
            "stale",
            "2026-01-31T07:57:59Z",
            &[("4", CoverageState::Captured)],
        ),
        report("elsewhere", "2026-01-31T07:58:00Z", &[]),
    ]);
    let pods = [
        pod("1", Some("fresh")),
        pod("2", Some("fresh")),
        pod("3", Some("fresh")),
        pod("4", Some("stale")),
        pod("5", Some("fresh")),
        pod("6", Some("bare")),
        pod("7", None),
    ];
    Coverage::of(&pods, &reports, now())
}

fn reason(coverage: &Coverage, uid: &str) -> (CoverageState, String) {
    let line = coverage
        .pods
        .iter()
        .find(|line| line.uid == uid)
        .expect("a line");
    (line.state, line.reason.clone())
}

#[test]
fn a_fresh_report_is_believed() {
    let coverage = coverage();
    assert_eq!(
        reason(&coverage, "2"),
        (CoverageState::Denied, "because of 2".into())
    );
}

#[test]
fn a_pod_that_nobody_saw_lately_is_unknown_and_says_why() {
    let coverage = coverage();
    for (uid, why) in [
        ("4", "last reported 2m ago"),
        ("5", "not seen this pod"),
        ("6", "no node agent has reported from bare"),
    ] {
        let (state, reason) = reason(&coverage, uid);
        assert_eq!(state, CoverageState::Unknown);
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn what_needs_a_person_comes_first_and_the_summary_counts_all() {
    let coverage = coverage();
    let uids: Vec<_> = coverage.pods.iter().map(|line| line.uid.as_str()).collect();
    assert_eq!(uids, ["2", "4", "5", "6", "1", "3"]);
    assert_eq!(
        summary(&coverage),
        "1 captured, 1 denied, 1 exempt, 3 unknown, 1 pod not scheduled yet"
    );
}

#[test]
fn problems_are_those_of_the_nodes_that_the_pods_are_on() {
    let coverage = coverage();
    assert!(coverage.problems.keys().eq(["fresh", "stale"]));
}

#[test]
fn a_name_in_the_table_cannot_command_the_terminal() {
    let mut coverage = coverage();
    coverage.pods[0].reason = "a\u{1b}[2J".into();
    let mut out = Vec::new();
    print(&coverage, true, &mut out).expect("it prints");
    let out = String::from_utf8(out).expect("text");
    assert!(
        out.starts_with("NAMESPACE") && !out.contains('\u{1b}'),
        "{out}"
    );
}

#[test]
fn json_says_the_words_of_the_table() {
    let json = serde_json::to_value(coverage()).expect("it serializes");
    assert_eq!(json["pods"][0]["state"], "denied");
    assert_eq!(json["summary"]["needs-recreate"], 0);
    assert_eq!(json["notScheduled"], 1);
}

#[test]
fn a_pod_that_has_ended_is_no_line() {
    let ended = serde_json::json!({
        "metadata": {"namespace": "agents", "name": "a", "uid": "1"},
        "spec": {"nodeName": "fresh", "containers": []}, "status": {"phase": "Succeeded"},
    });
    assert!(LivePod::of(&serde_json::from_value(ended).expect("a pod")).is_none());
}
