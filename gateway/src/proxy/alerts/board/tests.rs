use proptest::{prelude::*, sample::select};

use super::*;

fn board() -> Board {
    Board::new(&mut Registry::default())
}

fn alert(reason: Reason, key: &str) -> Alert {
    Alert {
        reason,
        key: key.to_owned(),
        note: key.to_owned(),
    }
}

/// What a look writes, in its order.
fn look(board: &Board, now: Instant, pause: Duration) -> Vec<Due> {
    let next = || {
        let due = board.next(now, pause)?;
        board.tried(&due, now, true);
        Some(due)
    };
    std::iter::from_fn(next).collect()
}

fn totals(due: &[Due]) -> u64 {
    due.iter()
        .map(|due| u64::try_from(due.total).expect("it counts up"))
        .sum()
}

#[test]
fn a_flood_of_one_user_leaves_room_for_its_first_and_for_all_of_others() {
    let board = board();
    for number in 0..1000 {
        board.count(
            "noisy",
            alert(Reason::CriticalDenied, &format!("noisy {number}")),
        );
    }
    board.count("quiet", alert(Reason::CriticalDenied, "quiet 1"));
    board.count("noisy", alert(Reason::DecoyRead, "noisy decoy"));
    let written = look(&board, Instant::now(), Duration::ZERO);
    let keys: Vec<&str> = written.iter().map(|due| &*due.alert.key).collect();
    for key in ["noisy 0", "noisy 3", "quiet 1", "noisy decoy"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    let others = written
        .iter()
        .find(|due| due.alert.key == "noisy")
        .expect("it counts the others");
    assert_eq!((others.total, written.len()), (996, 7), "{written:?}");
    assert_eq!(board.lost.get(), 996);
    // The decoy did not wait for what is before it by name.
    assert!(
        keys.iter().position(|key| *key == "noisy decoy") < Some(2),
        "{keys:?}"
    );
}

#[test]
fn what_comes_during_a_look_goes_before_what_could_not_be_written() {
    let (board, now) = (board(), Instant::now());
    for key in ["a", "b"] {
        board.count(key, alert(Reason::CriticalDenied, key));
        let due = board.next(now, Duration::ZERO).expect("it is due");
        board.tried(&due, now, false);
    }
    assert!(
        board.next(now, Duration::ZERO).is_none(),
        "a look tries each once"
    );
    board.count("c", alert(Reason::TokenTheft, "c"));
    let next = board.next(now, Duration::ZERO).expect("the new one");
    assert_eq!(next.alert.key, "c");
    let later = now + Duration::from_secs(2);
    assert_eq!(look(&board, later, Duration::ZERO).len(), 3);
}

#[test]
fn what_was_written_is_written_again_after_the_pause_and_only_where_more_came() {
    let (board, now, pause) = (board(), Instant::now(), Duration::from_secs(60));
    let theft = alert(Reason::TokenTheft, "theft");
    board.count("pod", theft.clone());
    let first = look(&board, now, pause);
    board.count("pod", theft.clone());
    assert!(look(&board, now + pause / 2, pause).is_empty());
    let second = look(&board, now + pause, pause);
    assert_eq!((second[0].total, second[0].is_there), (2, true));
    assert!(look(&board, now + pause * 2, pause).is_empty());
    // After a quiet time it is another one, which gets an Event of its own.
    board.forget_quiet(now + pause + QUIET);
    board.count("pod", theft);
    let anew = look(&board, now + pause + QUIET, pause);
    assert_eq!((anew[0].total, anew[0].is_there), (1, false));
    assert_ne!(anew[0].serial, first[0].serial);
}

fn reasons() -> impl Strategy<Value = Reason> {
    select(
        &[
            Reason::CriticalDenied,
            Reason::TokenTheft,
            Reason::DecoyRead,
        ][..],
    )
}

proptest! {
    #[test]
    fn nothing_is_lost_uncounted_and_nothing_grows_without_bound(
        raised in prop::collection::vec((reasons(), 0..40_u8, 0..12_u8), 0..600),
    ) {
        let board = board();
        for (reason, causer, key) in &raised {
            let causer = causer.to_string();
            board.count(&causer, alert(*reason, &format!("{causer} {key}")));
        }
        let written = look(&board, Instant::now(), Duration::ZERO);
        prop_assert_eq!(totals(&written), raised.len() as u64);
        let own = written.iter().filter(|due| due.alert.note == due.alert.key).cloned().collect::<Vec<_>>();
        prop_assert_eq!(board.lost.get(), totals(&written) - totals(&own));
        for reason in [Reason::CriticalDenied, Reason::TokenTheft, Reason::DecoyRead] {
            let of_reason = written.iter().filter(|due| due.alert.reason == reason);
            prop_assert!(of_reason.count() <= MOST + 1);
        }
    }

    /// As many as have room for all that one may take.
    #[test]
    fn no_causer_takes_the_room_of_another(
        floods in prop::collection::vec((0..(MOST / (FEW + 1) - 1) as u8, any::<u16>()), 0..600),
        reason in reasons(),
    ) {
        let board = board();
        for (causer, key) in floods {
            board.count(&format!("noisy {causer}"), alert(reason, &key.to_string()));
        }
        board.count("quiet", alert(reason, "of the quiet one"));
        let written = look(&board, Instant::now(), Duration::ZERO);
        prop_assert!(written.iter().any(|due| due.alert.key == "of the quiet one"));
    }
}
