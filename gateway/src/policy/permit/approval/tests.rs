use serde_json::json;

use crate::{
    api::{
        approval_decision::ApprovalDecision,
        v1alpha1::{
            agent_policy::Channel,
            approval_request::{
                ApprovalRequestStatus, Call, Requester, Risk, RiskLevel, Verdict, Vote,
            },
        },
    },
    policy::permit::Permit,
};

use super::*;

const NOW: i64 = 1_767_323_045;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).expect("a time")
}

fn claim() -> Claim {
    Claim {
        digest: "sha256:1".to_owned(),
        upstream_user: "sallyport:sa:shop:coder".to_owned(),
        namespace: "shop".to_owned(),
        command: Some("session-1".to_owned()),
        session: Some("pod-1".to_owned()),
        audit_id: "call-1".to_owned(),
    }
}

fn risk() -> Risk {
    Risk {
        level: RiskLevel::Medium,
        reasons: Vec::new(),
    }
}

fn pending() -> PendingPermit {
    let permit = Permit {
        rule: "shop/ask".into(),
        policy_digest: "sha256:0".into(),
        obligations: Default::default(),
        risk: risk(),
        glass: None,
        unenforced: None,
        is_approved: false,
    };
    PendingPermit {
        permit,
        rules: vec!["shop/ask".to_owned()],
        terms: Default::default(),
    }
}

fn by(audit_id: &str, second: i64) -> Use {
    Use {
        gateway: "node-1".to_owned(),
        audit_id: audit_id.to_owned(),
        at: at(second),
    }
}

/// Approved by one person for `scope`, and used by these.
fn approved(scope: Scope, uses: Vec<Use>) -> ApprovalRequest {
    let claim = claim();
    let spec = ApprovalRequestSpec {
        requester: Requester {
            username: "system:serviceaccount:shop:coder".to_owned(),
            upstream_user: claim.upstream_user,
            command: claim.command,
            session: claim.session,
            ..Requester::default()
        },
        digest: claim.digest,
        expires_at: at(900),
        call: Call {
            namespace: claim.namespace,
            ..Call::default()
        },
        rule: "shop/ask".to_owned(),
        rules: vec!["shop/ask".to_owned()],
        policy_digest: "sha256:0".to_owned(),
        risk: risk(),
        terms: pending().asked_terms(),
        audit_id: "call-1".to_owned(),
        reasons: Vec::new(),
        diff: None,
        object: None,
    };
    let vote = Vote {
        result: Verdict::Approved,
        by: "ann".to_owned(),
        via: Channel::Kubernetes,
        at: at(0),
        reason: None,
        scope,
    };
    let mut request = ApprovalRequest::new("apr", spec);
    request.status = Some(ApprovalRequestStatus {
        votes: vec![vote],
        uses,
        ..ApprovalRequestStatus::default()
    });
    request
}

fn judged(request: ApprovalRequest, claim: &Claim, second: i64) -> Result<(), NotApproved> {
    let decision = ApprovalDecision { request };
    let permit = pending().approve(&decision, claim, at(second))?;
    assert_eq!(permit.rule(), "shop/ask");
    Ok(())
}

#[test]
fn what_was_approved_passes_once() {
    let used = approved(Scope::Once, vec![by("call-1", 0)]);
    assert_eq!(judged(used.clone(), &claim(), 1), Ok(()));
    assert_eq!(judged(used, &claim(), 900), Err(NotApproved::Expired));
    let earlier = approved(Scope::Once, vec![by("call-0", 0), by("call-1", 1)]);
    assert_eq!(judged(earlier, &claim(), 1), Err(NotApproved::UsedUp));
}

/// The API server dates what it writes.
#[test]
fn a_gateway_whose_clock_is_behind_uses_nothing_that_has_expired() {
    let marked_at = |second| {
        let mut request = approved(Scope::Once, vec![by("call-1", 0)]);
        let entry = |time: Timestamp| json!({"manager": "sallyport", "time": time.to_string()});
        let entries = json!([entry(at(second)), entry(at(0))]);
        request.metadata.managed_fields = serde_json::from_value(entries).expect("entries");
        request
    };
    assert_eq!(judged(marked_at(899), &claim(), -300), Ok(()));
    let late = judged(marked_at(900), &claim(), -300);
    assert_eq!(late, Err(NotApproved::Expired));
}

#[test]
fn a_use_by_nobody_or_another_permits_nothing() {
    for uses in [Vec::new(), vec![by("call-0", 0)]] {
        let judged = judged(approved(Scope::Once, uses), &claim(), 1);
        assert_eq!(judged, Err(NotApproved::NotMarked));
    }
}

#[test]
fn another_call_is_not_what_was_approved() {
    let others = [
        Claim {
            digest: "sha256:2".to_owned(),
            ..claim()
        },
        Claim {
            upstream_user: "sallyport:sa:shop:other".to_owned(),
            ..claim()
        },
    ];
    for scope in [Scope::Once, Scope::SameRequest] {
        for other in &others {
            let judged = judged(approved(scope, vec![by("call-1", 0)]), other, 1);
            assert_eq!(judged, Err(NotApproved::OtherCall), "{scope:?} {other:?}");
        }
    }
}

#[test]
fn the_rest_of_a_command_is_of_that_command_and_soon_over() {
    let other = Claim {
        digest: "sha256:2".to_owned(),
        audit_id: "call-2".to_owned(),
        ..claim()
    };
    let uses = || vec![by("call-1", 0), by("call-2", 1)];
    assert_eq!(judged(approved(Scope::Command, uses()), &other, 2), Ok(()));
    assert_eq!(
        judged(approved(Scope::Command, uses()), &other, 121),
        Err(NotApproved::UsedUp)
    );
    // The first was let pass by a gateway whose clock is ahead.
    let ahead = |second| approved(Scope::Command, vec![by("call-1", second), by("call-2", 1)]);
    assert_eq!(judged(ahead(122), &other, 2), Ok(()));
    assert_eq!(judged(ahead(123), &other, 2), Err(NotApproved::UsedUp));
    for elsewhere in [
        Claim {
            command: Some("session-2".to_owned()),
            ..other.clone()
        },
        Claim {
            command: None,
            ..other.clone()
        },
        Claim {
            namespace: "bank".to_owned(),
            ..other.clone()
        },
        Claim {
            upstream_user: "sallyport:sa:shop:other".to_owned(),
            ..other.clone()
        },
    ] {
        let judged = judged(approved(Scope::Command, uses()), &elsewhere, 2);
        assert_eq!(judged, Err(NotApproved::OtherCall), "{elsewhere:?}");
    }
    let mut many: Vec<_> = (0..20).map(|n| by(&format!("earlier-{n}"), 0)).collect();
    many.push(by("call-2", 1));
    assert_eq!(
        judged(approved(Scope::Command, many), &other, 2),
        Err(NotApproved::UsedUp)
    );
}

#[test]
fn an_approval_of_several_calls_covers_none_that_is_riskier() {
    let other = Claim {
        digest: "sha256:2".to_owned(),
        audit_id: "call-2".to_owned(),
        ..claim()
    };
    let judged = |scope, claim: &Claim, level| {
        let mut pending = pending();
        pending.permit.risk.level = level;
        let request = approved(scope, vec![by(&claim.audit_id, 0)]);
        pending
            .approve(&ApprovalDecision { request }, claim, at(1))
            .map(drop)
    };
    for level in [RiskLevel::Low, RiskLevel::Medium] {
        for scope in [Scope::Command, Scope::Session] {
            assert_eq!(judged(scope, &other, level), Ok(()), "{scope:?} {level:?}");
        }
    }
    for level in [RiskLevel::High, RiskLevel::Critical] {
        for scope in [Scope::Command, Scope::Session] {
            let riskier = judged(scope, &other, level);
            assert_eq!(riskier, Err(NotApproved::OtherCall), "{scope:?} {level:?}");
        }
        let again = judged(Scope::SameRequest, &claim(), level);
        assert_eq!(again, Err(NotApproved::OtherCall), "{level:?}");
        assert_eq!(judged(Scope::Once, &claim(), level), Ok(()), "{level:?}");
    }
}

#[test]
fn an_approval_of_several_calls_covers_those_of_its_rules_alone() {
    let other = Claim {
        digest: "sha256:2".to_owned(),
        audit_id: "call-2".to_owned(),
        ..claim()
    };
    let owned = |rules: &[&str]| -> Vec<_> { rules.iter().map(|one| (*one).into()).collect() };
    let judged = |asked: &[&str], now: &[&str], digest: &str, claim: &Claim| {
        let mut pending = pending();
        pending.rules = owned(now);
        pending.permit.policy_digest = digest.into();
        let mut request = approved(Scope::Session, vec![by(&claim.audit_id, 0)]);
        request.spec.rules = owned(asked);
        let decision = ApprovalDecision { request };
        pending.approve(&decision, claim, at(1)).map(drop)
    };
    let (ask, both) = (&["shop/ask"][..], &["shop/ask", "shop/pay"][..]);
    let refused = Err(NotApproved::OtherCall);
    let same = "sha256:0";
    for (asked, now) in [(ask, ask), (both, both), (both, ask), (&[], ask)] {
        let covered = judged(asked, now, same, &other);
        assert_eq!(covered, Ok(()), "{asked:?} {now:?}");
        let other_policies = judged(asked, now, "sha256:1", &other);
        assert_eq!(other_policies, refused, "{asked:?} {now:?}");
    }
    for (asked, now) in [(ask, both), (&[][..], both), (both, &["shop/pay", "z/z"])] {
        let covered = judged(asked, now, same, &other);
        assert_eq!(covered, refused, "{asked:?} {now:?}");
    }
    assert_eq!(judged(ask, both, "sha256:1", &claim()), Ok(()));
}

#[test]
fn a_command_that_nobody_names_is_no_command() {
    let mut request = approved(Scope::Command, vec![by("call-2", 0)]);
    request.spec.requester.command = None;
    let other = Claim {
        digest: "sha256:2".to_owned(),
        audit_id: "call-2".to_owned(),
        command: None,
        ..claim()
    };
    assert_eq!(judged(request, &other, 1), Err(NotApproved::OtherCall));
}

#[test]
fn what_people_took_back_or_never_gave_permits_nothing() {
    let mut open = approved(Scope::Once, vec![by("call-1", 0)]);
    open.status.as_mut().expect("a status").votes.clear();
    let judged_open = judged(open, &claim(), 1);
    assert_eq!(
        judged_open,
        Err(NotApproved::Open {
            approved: 0,
            people: 1
        })
    );

    let mut withdrawn = approved(Scope::Once, vec![by("call-1", 0)]);
    withdrawn.status.as_mut().expect("a status").withdrawn_at = Some(at(0));
    assert_eq!(judged(withdrawn, &claim(), 1), Err(NotApproved::Withdrawn));
}

#[test]
fn stricter_rules_of_today_count_for_approvals_of_yesterday() {
    let request = approved(Scope::Once, vec![by("call-1", 0)]);
    let strict = |groups: Vec<Vec<String>>, people| {
        let mut pending = pending();
        pending.terms.groups = groups;
        pending.terms.people = people;
        pending
    };
    let decision = |groups: &[&[&str]]| {
        let mut request = request.clone();
        let owned = |list: &&[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        request.spec.terms.groups = groups.iter().map(owned).collect();
        ApprovalDecision { request }
    };
    let owners = || vec![vec!["owners".to_owned(), "leads".to_owned()]];
    let judged = |pending: PendingPermit, decision: &ApprovalDecision| {
        pending.approve(decision, &claim(), at(1)).map(drop)
    };
    assert_eq!(
        judged(strict(owners(), 1), &decision(&[])),
        Err(NotApproved::StricterTerms)
    );
    let wider = decision(&[&["owners", "everybody"]]);
    assert_eq!(
        judged(strict(owners(), 1), &wider),
        Err(NotApproved::StricterTerms)
    );
    assert_eq!(
        judged(strict(owners(), 1), &decision(&[&["leads"]])),
        Ok(())
    );
    let two = judged(strict(Vec::new(), 2), &decision(&[]));
    assert_eq!(
        two,
        Err(NotApproved::Open {
            approved: 1,
            people: 2
        })
    );
}
