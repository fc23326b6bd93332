use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::Stops;

fn object(uid: u64) -> AgentStop {
    serde_json::from_value(json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop",
        "metadata": {"name": "one", "uid": uid.to_string(), "resourceVersion": uid.to_string()},
        "spec": {"target": {"agent": "fixer"}, "reason": uid.to_string(), "by": "alice"},
    }))
    .expect("a stop")
}

/// What was heard up to `version`, where `uid` is the object of then.
fn known(uid: Option<u64>, version: u64) -> Known<AgentStop> {
    let key = (String::new(), "one".to_owned());
    Known {
        synced: true,
        objects: uid
            .map(|uid| (key, Ok(Arc::new(object(uid)))))
            .into_iter()
            .collect(),
        version,
    }
}

/// The stops in force, each by the uid of its object.
fn in_force(pushed: &Pushed, known: &Known<AgentStop>) -> Vec<String> {
    let stops = Stops::of(known).and(pushed);
    stops.iter().map(|stop| stop.reason.clone()).collect()
}

#[test]
fn a_stop_counts_from_its_push_on_and_once_it_is_heard_of_only_as_long_as_it_is_there() {
    let (mut pushed, now) = (Pushed::default(), Instant::now());
    assert!(pushed.take(&object(5), &known(None, 3), now));
    assert_eq!(in_force(&pushed, &known(None, 3)), ["5"]);
    pushed.settle(&known(None, 4), now);
    assert_eq!(
        in_force(&pushed, &known(None, 4)),
        ["5"],
        "another object was heard of"
    );
    pushed.settle(&known(Some(5), 5), now);
    assert_eq!(
        in_force(&pushed, &known(Some(5), 5)),
        ["5"],
        "once, not twice"
    );
    assert_eq!(pushed.overdue(), None);
    assert!(
        in_force(&pushed, &known(None, 6)).is_empty(),
        "it was lifted"
    );
}

#[test]
fn a_stop_that_was_made_and_lifted_between_two_looks_is_over() {
    let (mut pushed, now) = (Pushed::default(), Instant::now());
    assert!(pushed.take(&object(5), &known(None, 3), now));
    pushed.settle(&known(None, 6), now);
    assert!(in_force(&pushed, &known(None, 6)).is_empty());
}

#[test]
fn a_push_that_comes_late_brings_back_nothing() {
    let (mut pushed, now) = (Pushed::default(), Instant::now());
    assert!(
        !pushed.take(&object(5), &known(None, 6), now),
        "it is lifted"
    );
    assert!(
        !pushed.take(&object(5), &known(Some(8), 8), now),
        "it was made anew"
    );
    assert!(pushed.take(&object(9), &known(Some(8), 8), now));
    assert!(
        !pushed.take(&object(5), &known(None, 3), now),
        "a newer one was pushed"
    );
    assert_eq!(in_force(&pushed, &known(None, 3)), ["9"]);
}

#[test]
fn a_stop_that_nobody_tells_of_counts_until_a_list_that_began_after_it_is_whole() {
    let (mut pushed, now) = (Pushed::default(), Instant::now());
    assert!(pushed.take(&object(5), &known(None, 3), now));
    assert_eq!(pushed.overdue(), Some(now + HEARD_WITHIN));
    pushed.settle(&known(None, 3), now);
    assert_eq!(
        in_force(&pushed, &known(None, 3)),
        ["5"],
        "the list may be older"
    );
    let later = now + HEARD_WITHIN;
    pushed.settle(&Known::default(), later);
    assert_eq!(
        in_force(&pushed, &known(None, 3)),
        ["5"],
        "the list is not whole"
    );
    // Restored from a backup, the store never comes to the version again.
    pushed.settle(&known(None, 2), later);
    assert!(in_force(&pushed, &known(None, 2)).is_empty());
    assert_eq!(pushed.overdue(), None);
}

#[test]
fn nothing_is_let_go_of_by_a_gateway_that_has_heard_nothing() {
    let (mut pushed, now) = (Pushed::default(), Instant::now());
    let nothing = Known::default();
    assert!(pushed.take(&object(5), &nothing, now));
    pushed.settle(&nothing, now);
    assert_eq!(in_force(&pushed, &known(None, 3)), ["5"]);
}

/// What happens next: the object is made or deleted, the gateway hears of so much more of it or lists everything anew,
/// the object as it is or as it last was is pushed.
#[derive(Clone, Copy, Debug)]
enum Step {
    Make,
    Delete,
    Hear(usize),
    List,
    Push,
    PushLast,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Make),
        Just(Step::Delete),
        (1..4_usize).prop_map(Step::Hear),
        Just(Step::List),
        Just(Step::Push),
        Just(Step::PushLast),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// Whatever the order: a push of what is there is in force at once and stays so; once everything is heard, exactly
    /// what is there counts, once.
    #[test]
    fn pushes_and_what_is_heard_agree_in_any_order(steps in steps()) {
        let (mut now, mut began) = (Instant::now(), Instant::now());
        let mut pushed = Pushed::default();
        // The object after each version. Version 0 is none.
        let mut history = vec![None];
        let (mut heard, mut last) = (0, None);
        for step in steps {
            let is = *history.last().expect("never empty");
            let next = history.len() as u64;
            now += Duration::from_secs(1);
            match (step, is) {
                (Step::Make, None) => {
                    history.push(Some(next));
                    last = Some((next, false));
                }
                (Step::Delete, Some(_)) => history.push(None),
                (Step::Hear(more), _) => heard = (heard + more).min(history.len() - 1),
                (Step::List, _) => (heard, began) = (history.len() - 1, now),
                (Step::Push, Some(uid)) => {
                    prop_assert!(pushed.take(&object(uid), &known(history[heard], heard as u64), now));
                    last = Some((uid, true));
                }
                (Step::PushLast, _) => if let Some((uid, _)) = last {
                    pushed.take(&object(uid), &known(history[heard], heard as u64), now);
                },
                _ => {}
            }
            let known = known(history[heard], heard as u64);
            pushed.settle(&known, began);
            let counts = in_force(&pushed, &known);
            let is = *history.last().expect("never empty");
            if let (Some(uid), Some((of, true))) = (is, last) && uid == of {
                prop_assert!(counts.contains(&uid.to_string()), "{:?}", counts);
            }
            if heard == history.len() - 1 {
                let is: Vec<_> = is.iter().map(u64::to_string).collect();
                prop_assert_eq!(counts, is);
            }
        }
    }
}

#[test]
fn a_stop_that_was_resumed_is_brought_to_nobody() {
    let (mut pushed, now) = (Pushed::default(), Instant::now());
    let mut resumed = object(5);
    let status = json!({"resumed": {"by": "bob", "at": "2026-11-26T11:00:00Z"}});
    resumed.status = serde_json::from_value(status).expect("a status");
    assert!(pushed.take(&object(5), &known(None, 3), now));
    assert!(!pushed.take(&resumed, &known(None, 3), now));
    assert!(in_force(&pushed, &known(None, 3)).is_empty());

    let mut heard = known(Some(5), 6);
    let key = (String::new(), "one".to_owned());
    heard.objects.insert(key, Ok(Arc::new(resumed)));
    assert!(
        !pushed.take(&object(5), &heard, now),
        "a push that comes late"
    );
}
