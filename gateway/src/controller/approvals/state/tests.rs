use super::*;
use crate::{
    api::v1alpha1::{
        agent_policy::Channel,
        approval_request::{ApprovalRequestStatus, Use},
    },
    controller::example,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn request(status: ApprovalRequestStatus) -> ApprovalRequest {
    let mut request = example::request();
    request.spec.expires_at = at(100);
    request.metadata.creation_timestamp = None;
    request.status = Some(status);
    request
}

fn vote(by: &str, result: Verdict, scope: Scope) -> Vote {
    Vote {
        result,
        by: by.into(),
        via: Channel::Kubernetes,
        at: at(0),
        reason: None,
        scope,
    }
}

fn used() -> Use {
    Use {
        gateway: "node-1".into(),
        audit_id: "1".into(),
        at: at(0),
    }
}

fn voted(votes: Vec<Vote>, uses: Vec<Use>) -> ApprovalRequest {
    request(ApprovalRequestStatus {
        votes,
        uses,
        ..ApprovalRequestStatus::default()
    })
}

#[test]
fn state_follows_votes_uses_and_the_time() {
    use Scope::{Once, SameRequest};
    use State::{Approved, Denied, Expired, Pending, Used};
    let approved = |scope| vec![vote("a", Verdict::Approved, scope)];
    let denied = [approved(Once), vec![vote("b", Verdict::Denied, Once)]].concat();
    for (request, before, after) in [
        (voted(vec![], vec![]), Pending, Expired),
        (voted(approved(Once), vec![]), Approved, Expired),
        (voted(approved(Once), vec![used()]), Used, Used),
        (voted(approved(SameRequest), vec![used()]), Approved, Used),
        (voted(denied, vec![]), Denied, Denied),
    ] {
        assert_eq!(state(&request, at(99)), before, "{request:?}");
        assert_eq!(state(&request, at(100)), after, "{request:?}");
    }
}

#[test]
fn when_somebody_says_to_have_voted_does_not_matter() {
    let mut late = vote("a", Verdict::Approved, Scope::Once);
    late.at = at(1_000_000);
    let request = voted(vec![late], vec![]);
    assert_eq!(state(&request, at(99)), State::Approved);
    assert_eq!(state(&request, at(100)), State::Expired);
}

#[test]
fn two_people_are_not_one_who_votes_twice() {
    let twice = || vote("a", Verdict::Approved, Scope::Once);
    let mut request = voted(vec![twice(), twice()], vec![]);
    request.spec.terms.people = 2;
    assert_eq!(state(&request, at(0)), State::Pending);
    let status = request.status.as_mut().expect("it has one");
    status.votes.push(vote("b", Verdict::Approved, Scope::Once));
    assert_eq!(state(&request, at(0)), State::Approved);
}

#[test]
fn client_that_left_before_the_decision_has_withdrawn() {
    let withdrawn = |votes| {
        request(ApprovalRequestStatus {
            votes,
            withdrawn_at: Some(at(1)),
            ..ApprovalRequestStatus::default()
        })
    };
    assert_eq!(state(&withdrawn(vec![]), at(2)), State::Withdrawn);
    assert_eq!(state(&withdrawn(vec![]), at(200)), State::Withdrawn);
    let approved = vec![vote("a", Verdict::Approved, Scope::Once)];
    assert_eq!(state(&withdrawn(approved), at(2)), State::Approved);
}

#[test]
fn nothing_is_open_for_longer_than_any_rule_gives() {
    let mut request = voted(vec![], vec![]);
    request.spec.expires_at = at(10_000_000);
    let made = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0));
    request.metadata.creation_timestamp = Some(made);
    assert_eq!(ends(&request), at(24 * 3600));
    assert_eq!(state(&request, at(24 * 3600)), State::Expired);
}
