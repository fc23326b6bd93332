//! The module against an API server that is strict about resource versions, on a wire that is not to be relied on.

use std::{future::poll_fn, pin::pin, task::Poll};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use self::server::{Fault, Server};
use super::*;
use crate::{
    api::{
        approval_decision::Claim,
        v1alpha1::{
            agent_policy::{Channel, Scope},
            approval_request::{
                ApprovalRequestSpec, Call, Requester, Risk, RiskLevel, State, Terms, Verdict, Vote,
            },
        },
    },
    policy::NotApproved,
};

mod server;

fn question(call: &str, scopes: &[Scope]) -> Question {
    let claim = Claim {
        digest: format!("sha256:{}", "0".repeat(64)),
        upstream_user: "sallyport:sa:shop:coder".to_owned(),
        namespace: "shop".to_owned(),
        command: None,
        session: None,
        audit_id: call.to_owned(),
    };
    let spec = ApprovalRequestSpec {
        requester: Requester {
            username: "system:serviceaccount:shop:coder".to_owned(),
            upstream_user: claim.upstream_user.clone(),
            ..Requester::default()
        },
        digest: claim.digest.clone(),
        expires_at: Timestamp::now() + SignedDuration::from_mins(15),
        call: Call {
            verb: "create".to_owned(),
            resource: "configmaps".to_owned(),
            namespace: claim.namespace.clone(),
            ..Call::default()
        },
        rule: "shop/ask".to_owned(),
        rules: vec!["shop/ask".to_owned()],
        policy_digest: "sha256:0".to_owned(),
        risk: Risk {
            level: RiskLevel::Low,
            reasons: Vec::new(),
        },
        terms: Terms {
            groups: Vec::new(),
            people: 1,
            channels: vec![Channel::Kubernetes],
            scopes: scopes.to_vec(),
        },
        audit_id: call.to_owned(),
        reasons: Vec::new(),
        diff: None,
        object: None,
    };
    Question { spec, claim }
}

fn ballot(result: Verdict, scope: Scope) -> Vote {
    Vote {
        result,
        by: "ann".to_owned(),
        via: Channel::Kubernetes,
        at: Timestamp::UNIX_EPOCH,
        reason: None,
        scope,
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(test)
}

async fn decide(server: &Server, key: &Key, result: Verdict, scope: Scope) {
    let stored = vote(&server.client(), key, &ballot(result, scope)).await;
    stored.expect("the vote is taken");
}

#[test]
fn a_call_waits_passes_and_passes_once() {
    run(async {
        let server = Server::default();
        let (one, other) = (server.gateway("node-1"), server.gateway("node-2"));
        let (first, second) = (
            question("call-1", &[Scope::Once]),
            question("call-2", &[Scope::Once]),
        );
        let ticket = one.open(&first).await.expect("it is asked");
        let same = other.open(&second).await.expect("it is asked");
        assert_eq!(ticket.key(), same.key());
        let mut waiting = pin!(ticket.settled(&first));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        decide(&server, ticket.key(), Verdict::Approved, Scope::Once).await;
        assert_eq!(waiting.await, Ok(()));
        let used = ticket.use_up(&first).await.expect("it is used");
        assert_eq!(
            used.request.status.expect("a status").uses[0].gateway,
            "node-1"
        );
        assert_eq!(same.settled(&second).await, Err(NotApproved::UsedUp));
        let refused = same.use_up(&second).await;
        assert!(matches!(
            refused,
            Err(NotUsed::NotApproved(NotApproved::UsedUp))
        ));
    });
}

#[test]
fn a_denial_is_told_to_all_who_ask_the_same() {
    run(async {
        let server = Server::default();
        let gateway = server.gateway("node-1");
        let asked = question("call-1", &[Scope::Once]);
        let ticket = gateway.open(&asked).await.expect("it is asked");
        decide(&server, ticket.key(), Verdict::Denied, Scope::Once).await;
        let denied = Err(NotApproved::Denied {
            by: "ann".to_owned(),
            reason: None,
        });
        assert_eq!(ticket.settled(&asked).await, denied);
        let again = question("call-2", &[Scope::Once]);
        let second = gateway.open(&again).await.expect("it is asked");
        assert_eq!(second.key(), ticket.key());
        assert_eq!(second.settled(&again).await, denied);
    });
}

#[test]
fn who_asks_after_the_use_is_a_new_request() {
    run(async {
        let server = Server::default();
        let gateway = server.gateway("node-1");
        let asked = question("call-1", &[Scope::Once]);
        let ticket = gateway.open(&asked).await.expect("it is asked");
        decide(&server, ticket.key(), Verdict::Approved, Scope::Once).await;
        ticket.use_up(&asked).await.expect("it is used");
        let again = gateway.open(&question("call-2", &[Scope::Once])).await;
        let again = again.expect("it is asked");
        assert_ne!(again.key(), ticket.key());
        assert!(again.key().1.ends_with("-2"), "{:?}", again.key());
    });
}

#[test]
fn the_last_who_leaves_withdraws_the_request() {
    run(async {
        let server = Server::default();
        let gateway = server.gateway("node-1");
        let asked = question("call-1", &[Scope::Once]);
        let first = gateway.open(&asked).await.expect("it is asked");
        let second = gateway.open(&question("call-2", &[Scope::Once])).await;
        let key = first.key().clone();
        drop(first);
        server.settle().await;
        assert_eq!(server.state(&key), State::Pending);
        drop(second);
        server.settle().await;
        assert_eq!(server.state(&key), State::Withdrawn);
    });
}

#[test]
fn who_leaves_before_the_answer_withdraws_the_request_too() {
    run(async {
        let mut arrived = 0;
        for polls in 1..20 {
            let server = Server::default();
            let gateway = server.gateway("node-1");
            let asked = question("call-1", &[Scope::Once]);
            let left = for_polls(polls, gateway.open(&asked)).await.is_none();
            server.settle().await;
            for key in server.keys() {
                arrived += usize::from(left);
                assert_eq!(server.state(&key), State::Withdrawn, "after {polls} polls");
            }
        }
        assert!(arrived > 0, "nobody left between request and answer");
    });
}

#[test]
fn a_request_that_is_kept_or_decided_is_not_withdrawn() {
    run(async {
        let server = Server::default();
        let gateway = server.gateway("node-1");
        let mut ticket = gateway
            .open(&question("call-1", &[Scope::Once]))
            .await
            .expect("it is asked");
        let key = ticket.key().clone();
        ticket.keep();
        drop(ticket);
        server.settle().await;
        assert_eq!(server.state(&key), State::Pending);
        let ticket = gateway.open(&question("call-2", &[Scope::Once])).await;
        decide(&server, &key, Verdict::Approved, Scope::Once).await;
        drop(ticket);
        server.settle().await;
        assert_eq!(server.state(&key), State::Approved);
    });
}

#[test]
fn a_use_whose_answer_is_lost_is_found_again() {
    run(async {
        let server = Server::default();
        let gateway = server.gateway("node-1");
        let asked = question("call-1", &[Scope::Once]);
        let ticket = gateway.open(&asked).await.expect("it is asked");
        decide(&server, ticket.key(), Verdict::Approved, Scope::Once).await;
        server.next_faults([Fault::None, Fault::ReplyLost]);
        ticket.use_up(&asked).await.expect("it is used");
        assert_eq!(server.uses(ticket.key()), ["call-1"]);
    });
}

#[test]
fn people_are_not_asked_without_end() {
    run(async {
        let server = Server::default();
        let gateway = server.gateway("node-1");
        let mut tickets = Vec::new();
        let refused = loop {
            let mut asked = question("call", &[Scope::Once]);
            asked.spec.digest = format!("sha256:{:04x}{}", tickets.len(), "0".repeat(60));
            asked.claim.digest = asked.spec.digest.clone();
            match gateway.open(&asked).await {
                Ok(ticket) => tickets.push(ticket),
                Err(refused) => break refused,
            }
        };
        assert_eq!(tickets.len(), 100);
        assert!(matches!(
            refused,
            NotAsked::TooManyUndecided | NotAsked::TooOften(_)
        ));
        assert!(refused.to_string().contains("wait"), "{refused}");
    });
}

#[test]
fn requests_that_were_left_at_once_count_until_they_are_deleted() {
    run(async {
        let server = Server::default();
        let gateway = server.gateway("node-1");
        let left = |n: usize| {
            let mut asked = question("call", &[Scope::Once]);
            asked.spec.digest = format!("sha256:{n:04x}{}", "0".repeat(60));
            asked.claim.digest = asked.spec.digest.clone();
            asked
        };
        for n in 0..100 {
            let ticket = gateway.open(&left(n)).await.expect("it is asked");
            let key = ticket.key().clone();
            drop(ticket);
            server.settle().await;
            assert_eq!(server.state(&key), State::Withdrawn);
        }
        let refused = gateway.open(&left(100)).await.err();
        assert!(
            matches!(refused, Some(NotAsked::TooManyUndecided)),
            "{refused:?}"
        );
    });
}

#[test]
fn an_api_server_that_refuses_is_quoted() {
    run(async {
        let server = Server::default();
        let gateway = server.gateway("node-1");
        server.next_faults([Fault::Forbidden]);
        let refused = gateway
            .open(&question("call-1", &[Scope::Once]))
            .await
            .err();
        let refused = refused.expect("a refusal").to_string();
        assert!(
            refused.contains("requests are made by somebody else"),
            "{refused}"
        );
    });
}

async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// The future, or nothing once it was polled so often: what a process is that ends in between.
async fn for_polls<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

proptest! {
    /// On any number of gateways, whatever is lost, stale or late, and wherever one of them dies.
    #[test]
    fn a_call_that_was_approved_once_passes_at_most_once(
        faults in prop::collection::vec(any::<Fault>(), 0..60),
        lives in prop::collection::vec(1u32..40, 2..6),
    ) {
        run(async {
            let server = Server::default();
            let setup = server.gateway("node-0");
            let mut asked = setup.open(&question("call", &[Scope::Once])).await.expect("it is asked");
            asked.keep();
            let key = asked.key().clone();
            decide(&server, &key, Verdict::Approved, Scope::Once).await;
            server.next_faults(faults);
            let calls = lives.iter().enumerate().map(|(n, life)| {
                let gateway = server.gateway(&format!("node-{n}"));
                let life = *life;
                async move {
                    let question = question(&format!("call-{n}"), &[Scope::Once]);
                    let pass = async {
                        let mut ticket = gateway.open(&question).await.ok()?;
                        ticket.keep();
                        ticket.use_up(&question).await.ok()
                    };
                    for_polls(life, pass).await.flatten().is_some()
                }
            });
            let passed = futures_util::future::join_all(calls).await;
            let passed = passed.into_iter().filter(|passed| *passed).count();
            let uses = server.uses(&key);
            assert!(passed <= 1, "{passed} calls passed");
            assert!(passed <= uses.len() && uses.len() <= 1, "{uses:?}");

            // And when the trouble is over, what is left to use can be used.
            server.next_faults([]);
            let last = server.gateway("node-9");
            let question = question("call-9", &[Scope::Once]);
            let mut ticket = last.open(&question).await.expect("it is asked");
            ticket.keep();
            let is_usable = *ticket.key() == key;
            assert_eq!(is_usable, uses.is_empty());
            if is_usable {
                ticket.use_up(&question).await.expect("it is used");
            }
            assert_eq!(server.uses(&key).len(), 1);
        });
    }

    /// Many calls share what was approved for the same call again, and each is one of its uses.
    #[test]
    fn every_call_that_passes_is_one_use(
        faults in prop::collection::vec(any::<Fault>(), 0..60),
        calls in 1usize..9,
    ) {
        run(async {
            let server = Server::default();
            let scopes = [Scope::Once, Scope::SameRequest];
            let setup = server.gateway("node-0");
            let mut asked = setup.open(&question("call", &scopes)).await.expect("it is asked");
            asked.keep();
            decide(&server, asked.key(), Verdict::Approved, Scope::SameRequest).await;
            server.next_faults(faults);
            let passed = futures_util::future::join_all((0..calls).map(|n| {
                let gateway = server.gateway(&format!("node-{n}"));
                let question = question(&format!("call-{n}"), &scopes);
                async move {
                    let mut ticket = gateway.open(&question).await.ok()?;
                    ticket.keep();
                    ticket.use_up(&question).await.ok()?;
                    Some(question.claim.audit_id)
                }
            }))
            .await;
            let uses = server.uses(asked.key());
            for call in passed.into_iter().flatten() {
                assert_eq!(uses.iter().filter(|one| **one == call).count(), 1, "{call}: {uses:?}");
            }
        });
    }
}

#[test]
fn the_state_that_people_see_follows_lists_and_clock() {
    let made = question("call", &[Scope::Once]);
    let mut request = ApprovalRequest::new("apr", made.spec.clone());
    let (now, late) = (Timestamp::now(), made.spec.expires_at);
    assert_eq!(state(&request, now), State::Pending);
    assert_eq!(state(&request, late), State::Expired);
    let status = |votes: serde_json::Value| {
        serde_json::from_value(json!({"votes": votes})).expect("a status")
    };
    request.status = Some(status(json!([ballot(Verdict::Approved, Scope::Once)])));
    assert_eq!(state(&request, now), State::Approved);
    assert_eq!(state(&request, late), State::Expired);
    request.status = Some(status(json!([ballot(Verdict::Denied, Scope::Once)])));
    assert_eq!(state(&request, late), State::Denied);
}
