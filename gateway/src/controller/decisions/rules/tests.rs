use super::*;
use crate::{
    api::v1alpha1::approval_request::{ApprovalRequestStatus, Vote},
    config::controller::Decider,
    controller::{
        decisions::ballot::{Choice, Target},
        example,
    },
    drain,
};

fn ballot(by: &str) -> Ballot {
    Ballot {
        choice: Choice {
            request: Target {
                namespace: "shop".into(),
                name: "apr-1".into(),
                uid: "5e3f".into(),
            },
            verdict: Verdict::Approved,
            user: "U1".into(),
            reason: None,
            scope: Scope::Once,
            response_url: None,
        },
        decider: Decider {
            username: by.into(),
            groups: vec!["approvers".into()],
        },
        _drain: drain::channel().1,
    }
}

fn refusal(request: &ApprovalRequest, ballot: &Ballot) -> &'static str {
    match check(request, ballot, Timestamp::UNIX_EPOCH) {
        Ok(()) => "none",
        Err(refusal) => refusal.label(),
    }
}

#[test]
fn who_asks_and_who_is_behind_it_do_not_decide() {
    let request = example::request();
    assert_eq!(refusal(&request, &ballot("alice@example.com")), "none");
    for by in [
        "bob@example.com",
        "system:serviceaccount:agents:coder",
        "sallyport:sa:agents:coder",
    ] {
        assert_eq!(refusal(&request, &ballot(by)), "own_call");
    }
}

#[test]
fn terms_hold() {
    let alice = ballot("alice@example.com");
    let with = |change: fn(&mut ApprovalRequest)| {
        let mut request = example::request();
        change(&mut request);
        request
    };
    let critical = with(|request| request.spec.risk.level = RiskLevel::Critical);
    assert_eq!(refusal(&critical, &alice), "critical");
    let elsewhere = with(|request| request.spec.terms.channels = vec![Channel::Console]);
    assert_eq!(refusal(&elsewhere, &alice), "other_channel");
    let unsaid = with(|request| request.spec.terms.channels = Vec::new());
    assert_eq!(refusal(&unsaid, &alice), "other_channel");
    let grouped = with(|request| request.spec.terms.groups = vec![vec!["owners".into()]]);
    assert_eq!(refusal(&grouped, &alice), "not_in_group");
    let ours = with(|request| {
        request.spec.terms.groups = vec![vec!["owners".into(), "approvers".into()]];
    });
    assert_eq!(refusal(&ours, &alice), "none");
    let mut wide = alice;
    wide.choice.scope = Scope::Session;
    assert_eq!(refusal(&example::request(), &wide), "other_scope");
}

#[test]
fn what_is_closed_or_another_object_takes_no_vote() {
    let alice = ballot("alice@example.com");
    let vote = |by: &str, result| Vote {
        result,
        by: by.into(),
        via: Channel::Kubernetes,
        at: Timestamp::UNIX_EPOCH,
        reason: None,
        scope: Scope::Once,
    };
    let voted = |votes| {
        let mut request = example::request();
        request.status = Some(ApprovalRequestStatus {
            votes,
            ..ApprovalRequestStatus::default()
        });
        request
    };
    let denied = voted(vec![vote("carol", Verdict::Denied)]);
    assert_eq!(refusal(&denied, &alice), "closed");
    let mut again = voted(vec![vote("alice@example.com", Verdict::Approved)]);
    again.spec.terms.people = 2;
    assert_eq!(refusal(&again, &alice), "has_voted");
    let mut expired = example::request();
    expired.spec.expires_at = Timestamp::UNIX_EPOCH;
    assert_eq!(refusal(&expired, &alice), "closed");
    let mut other = example::request();
    other.metadata.uid = Some("another".into());
    assert_eq!(refusal(&other, &alice), "gone");
}
