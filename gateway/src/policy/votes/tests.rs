use proptest::prelude::*;

use super::*;

fn requester() -> Requester {
    Requester {
        username: "github:repo:acme/shop".to_owned(),
        upstream_user: "sallyport:oidc:github:repo:acme/shop".to_owned(),
        humans: vec!["ann@example.com".to_owned(), "4711".to_owned()],
        ..Requester::default()
    }
}

fn terms(people: u8) -> Terms {
    Terms {
        groups: Vec::new(),
        people,
        channels: vec![Channel::Kubernetes, Channel::Console],
        scopes: vec![Scope::Once, Scope::Command],
    }
}

fn vote(by: &str) -> Vote {
    Vote {
        result: Verdict::Approved,
        by: by.to_owned(),
        via: Channel::Kubernetes,
        at: jiff::Timestamp::UNIX_EPOCH,
        reason: None,
        scope: Scope::Once,
    }
}

fn denial(by: &str) -> Vote {
    Vote {
        result: Verdict::Denied,
        reason: Some("no".to_owned()),
        ..vote(by)
    }
}

fn is_approved(votes: &[Vote], people: u8) -> bool {
    let standing = standing(votes, &requester(), &terms(people));
    matches!(standing, Standing::Approved { .. })
}

#[test]
fn who_asks_does_not_decide_under_any_name_of_theirs() {
    for own in [
        "github:repo:acme/shop",
        "sallyport:oidc:github:repo:acme/shop",
        "ann@example.com",
        "Ann@Example.com",
        "oidc:ann@example.com",
        "https://login.example.com#ann@example.com",
        "corp/4711",
    ] {
        assert!(!is_approved(&[vote(own)], 1), "{own}");
        let denied = standing(&[denial(own)], &requester(), &terms(1));
        assert_eq!(denied, Standing::Open { approved: 0 }, "{own}");
    }
    for other in ["joann@example.com", "bob", "14711"] {
        assert!(is_approved(&[vote(other)], 1), "{other}");
    }
}

/// The API server puts the issuer and `#` before the subject; agents' issuers have an alias of ours.
#[test]
fn who_asks_does_not_decide_under_the_subject_of_their_token() {
    let requester = Requester {
        username: "corp:00u1".to_owned(),
        upstream_user: "sallyport:oidc:corp:00u1".to_owned(),
        humans: vec!["00u1".to_owned(), "ann@example.com".to_owned()],
        ..Requester::default()
    };
    for own in [
        "00u1",
        "https://login.example.com#00u1",
        "https://login.example.com/oauth2/default#00U1",
        "corp:00u1",
        "other:00u1",
        "sallyport:oidc:corp:00u1",
    ] {
        let own = standing(&[vote(own)], &requester, &terms(1));
        assert_eq!(own, Standing::Open { approved: 0 });
    }
    let other = vote("https://login.example.com#x00u1");
    let other = standing(&[other], &requester, &terms(1));
    assert!(matches!(other, Standing::Approved { .. }), "{other:?}");
}

#[test]
fn agents_and_machines_do_not_decide() {
    for machine in [
        "sallyport:sa:shop:other",
        "system:serviceaccount:shop:default",
        "system:node:node-1",
        "",
    ] {
        assert!(!is_approved(&[vote(machine)], 1), "{machine:?}");
    }
}

#[test]
fn a_way_that_the_rule_does_not_take_is_no_way() {
    let chat = Vote {
        via: Channel::Webhook,
        ..vote("bob")
    };
    assert!(!is_approved(&[chat], 1));
}

#[test]
fn one_denial_outweighs_all_approvals_wherever_it_stands() {
    let denied = Standing::Denied {
        by: "eve".to_owned(),
        reason: Some("no".to_owned()),
    };
    for votes in [
        [vote("bob"), vote("carol"), denial("eve")],
        [denial("eve"), vote("bob"), vote("carol")],
    ] {
        assert_eq!(standing(&votes, &requester(), &terms(2)), denied);
    }
}

#[test]
fn two_people_are_not_one_person_under_two_names() {
    assert!(!is_approved(&[vote("bob"), vote("bob")], 2));
    assert!(!is_approved(&[vote("bob"), vote("oidc:BOB")], 2));
    assert!(is_approved(&[vote("bob"), vote("carol")], 2));
}

#[test]
fn a_scope_counts_where_all_gave_it_and_the_rule_takes_it() {
    let scoped = |by: &str, scope| Vote { scope, ..vote(by) };
    let scope = |votes: &[Vote], people| match standing(votes, &requester(), &terms(people)) {
        Standing::Approved { scope, .. } => scope,
        other => panic!("not approved: {other:?}"),
    };
    let rest = [
        scoped("bob", Scope::Command),
        scoped("carol", Scope::Command),
    ];
    assert_eq!(scope(&rest, 2), Scope::Command);
    let differing = [scoped("bob", Scope::Command), scoped("carol", Scope::Once)];
    assert_eq!(scope(&differing, 2), Scope::Once);
    assert_eq!(scope(&[scoped("bob", Scope::Session)], 1), Scope::Once);
}

fn any_vote() -> impl Strategy<Value = Vote> {
    let names = [
        "bob",
        "oidc:bob",
        "carol",
        "ann@example.com",
        "sallyport:sa:a:b",
        "",
    ];
    let via = [Channel::Kubernetes, Channel::Console, Channel::Webhook];
    (0..names.len(), 0..via.len(), any::<bool>()).prop_map(move |(name, way, approves)| Vote {
        via: via[way],
        ..match approves {
            true => vote(names[name]),
            false => denial(names[name]),
        }
    })
}

proptest! {
    #[test]
    fn nobody_is_counted_who_may_not_decide_and_nobody_twice(
        votes in prop::collection::vec(any_vote(), 0..8),
        people in 1u8..3,
    ) {
        match standing(&votes, &requester(), &terms(people)) {
            Standing::Approved { by, .. } => {
                prop_assert!(by.len() >= usize::from(people));
                prop_assert!(by.iter().all(|one| ["bob", "oidc:bob", "carol"].contains(&one.as_str())));
                prop_assert!(!(by.contains(&"bob".to_owned()) && by.contains(&"oidc:bob".to_owned())));
            }
            Standing::Open { approved } => prop_assert!(approved < usize::from(people)),
            Standing::Denied { by, .. } => prop_assert!(
                votes.iter().any(|vote| vote.by == by && vote.result == Verdict::Denied)
            ),
        }
    }

    /// Votes are appended by whoever comes first.
    #[test]
    fn the_order_of_votes_decides_nothing(votes in prop::collection::vec(any_vote(), 0..6)) {
        let kind = |votes: &[Vote]| match standing(votes, &requester(), &terms(2)) {
            Standing::Open { .. } => 0,
            Standing::Approved { .. } => 1,
            Standing::Denied { .. } => 2,
        };
        let mut reversed = votes.clone();
        reversed.reverse();
        prop_assert_eq!(kind(&votes), kind(&reversed));
    }
}
