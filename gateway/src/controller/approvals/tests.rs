use super::*;
use crate::{
    api::v1alpha1::{
        agent_policy::{Channel, Scope},
        approval_request::{ApprovalRequestStatus, Verdict, Vote},
    },
    controller::example,
};

const RETENTION: SignedDuration = SignedDuration::from_secs(1000);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn request(state: Option<State>) -> ApprovalRequest {
    let mut request = example::request();
    request.spec.expires_at = at(100);
    request.metadata.creation_timestamp = None;
    request.status = Some(ApprovalRequestStatus {
        state,
        ..ApprovalRequestStatus::default()
    });
    request
}

fn voted(mut request: ApprovalRequest) -> ApprovalRequest {
    let status = request.status.get_or_insert_default();
    status.votes.push(Vote {
        result: Verdict::Approved,
        by: "ann".to_owned(),
        via: Channel::Kubernetes,
        at: at(50),
        reason: None,
        scope: Scope::Once,
    });
    request
}

#[test]
fn state_is_said_once_and_again_when_the_time_is_over() {
    let judged = judge(&request(None), RETENTION, at(90));
    let in_ten = Duration::from_secs(10);
    assert_eq!(judged, (Some(Action::Say(State::Pending)), in_ten));
    let pending = request(Some(State::Pending));
    assert_eq!(judge(&pending, RETENTION, at(90)), (None, in_ten));
    let (action, _) = judge(&pending, RETENTION, at(100));
    assert_eq!(action, Some(Action::Say(State::Expired)));
}

#[test]
fn it_is_deleted_after_the_retention_and_not_before() {
    let expired = voted(request(Some(State::Expired)));
    let last = Duration::from_secs(1);
    assert_eq!(judge(&expired, RETENTION, at(1099)), (None, last));
    let (action, _) = judge(&expired, RETENTION, at(1100));
    assert_eq!(action, Some(Action::Delete));
}

#[test]
fn what_expired_without_a_vote_is_deleted_after_minutes() {
    let expired = request(Some(State::Expired));
    let last = Duration::from_secs(1);
    assert_eq!(judge(&expired, RETENTION, at(399)), (None, last));
    let (action, _) = judge(&expired, RETENTION, at(400));
    assert_eq!(action, Some(Action::Delete));
    let short = SignedDuration::from_secs(10);
    let (action, _) = judge(&expired, short, at(110));
    assert_eq!(action, Some(Action::Delete));
}

#[test]
fn what_was_withdrawn_without_a_vote_is_deleted_minutes_after_the_withdrawal() {
    let mut withdrawn = request(Some(State::Withdrawn));
    withdrawn.spec.expires_at = at(10_000);
    let status = withdrawn.status.as_mut().expect("a status");
    status.withdrawn_at = Some(at(20));
    let last = Duration::from_secs(1);
    assert_eq!(judge(&withdrawn, RETENTION, at(319)), (None, last));
    let (action, _) = judge(&withdrawn, RETENTION, at(320));
    assert_eq!(action, Some(Action::Delete));
    let (action, _) = judge(&voted(withdrawn), RETENTION, at(320));
    assert_ne!(action, Some(Action::Delete));
}

#[test]
fn gateway_whose_clock_is_wrong_by_years_keeps_nothing_for_years() {
    let mut request = request(Some(State::Pending));
    request.spec.expires_at = at(1_000_000_000);
    let made = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0));
    request.metadata.creation_timestamp = Some(made);
    let (action, _) = judge(&request, RETENTION, at(24 * 3600 + 1000));
    assert_eq!(action, Some(Action::Delete));
}
