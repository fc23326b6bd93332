use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn holding(identity: &str, now: Instant) -> (Candidate, Record) {
    let mut candidate = Candidate::new(identity.into());
    candidate.see(None, now);
    let Next::Write(record) = candidate.next(at(0), now) else {
        panic!("nobody holds it");
    };
    candidate.written(record.clone(), now);
    (candidate, record)
}

#[test]
fn whoever_comes_first_leads_until_it_gives_up() {
    let now = Instant::now();
    let (leader, _) = holding("a", now);
    assert_eq!(leader.leads_until(), Some(now + GIVES_UP_AFTER));
    assert!(GIVES_UP_AFTER + WRITES_WITHIN < LEASE);
}

#[test]
fn rival_waits_for_a_whole_lease_since_it_saw_a_change() {
    let now = Instant::now();
    let (_, record) = holding("a", now);
    let mut rival = Candidate::new("b".into());
    rival.see(Some(record.clone()), now + Duration::from_secs(7));
    rival.see(Some(record), now + Duration::from_secs(14));
    let over = now + Duration::from_secs(7) + LEASE;
    assert_eq!(
        rival.next(at(0), over - Duration::from_millis(1)),
        Next::Wait
    );
    let Next::Write(taken) = rival.next(at(0), over) else {
        panic!("nothing has changed for a whole lease");
    };
    assert_eq!((taken.holder.as_str(), taken.transitions), ("b", 1));
}

#[test]
fn renewal_that_went_back_in_time_is_a_renewal() {
    let now = Instant::now();
    let (_, record) = holding("a", now);
    let mut rival = Candidate::new("b".into());
    rival.see(Some(record.clone()), now);
    let renewed = Record {
        renewed_at: Some(at(-86_400)),
        ..record
    };
    rival.see(Some(renewed), now + Duration::from_secs(14));
    assert_eq!(rival.next(at(86_400), now + LEASE), Next::Wait);
}

#[test]
fn released_lease_is_taken_without_waiting() {
    let now = Instant::now();
    let (mut leader, _) = holding("a", now);
    let released = leader.release().expect("it held it");
    assert_eq!(leader.leads_until(), None);
    let mut rival = Candidate::new("b".into());
    rival.see(Some(released), now);
    assert!(matches!(rival.next(at(0), now), Next::Write(_)));
}

#[test]
fn who_has_lost_it_releases_nothing() {
    let now = Instant::now();
    let (mut leader, record) = holding("a", now);
    let taken = Record {
        holder: "b".into(),
        ..record
    };
    leader.see(Some(taken), now + LEASE);
    assert_eq!(leader.release(), None);
}

/// A store with compare-and-swap, as the API server is one.
#[derive(Default)]
struct Store {
    record: Option<Record>,
    version: u64,
}

#[derive(Clone, Debug)]
struct Turn {
    candidate: usize,
    /// Since the turn before.
    pause: u64,
    /// From the request to its being stored, and from there to the answer.
    delays: (u64, u64),
    is_answer_lost: bool,
    clock: i64,
}

fn turn() -> impl Strategy<Value = Turn> {
    let delays = (0..4_000_u64, 0..4_000_u64);
    let clock = -100_000..100_000_i64;
    (0..3_usize, 0..6_000_u64, delays, any::<bool>(), clock).prop_map(
        |(candidate, pause, delays, is_answer_lost, clock)| Turn {
            candidate,
            pause,
            delays,
            is_answer_lost,
            clock,
        },
    )
}

proptest! {
    #[test]
    fn there_are_never_two_leaders(turns in prop::collection::vec(turn(), 1..200)) {
        let start = Instant::now();
        let mut now = start;
        let mut store = Store::default();
        let mut candidates: Vec<_> = ["a", "b", "c"].map(|name| Candidate::new(name.into())).into();
        for turn in turns {
            now += Duration::from_millis(turn.pause);
            let candidate = &mut candidates[turn.candidate];
            let version = store.version;
            candidate.see(store.record.clone(), now);
            let sent = now;
            if let Next::Write(record) = candidate.next(at(turn.clock), now) {
                now += Duration::from_millis(turn.delays.0);
                if store.version == version {
                    store.record = Some(record.clone());
                    store.version += 1;
                    now += Duration::from_millis(turn.delays.1);
                    if !turn.is_answer_lost {
                        candidate.written(record, sent);
                    }
                }
            }
            let writing = candidates.iter().filter(|candidate| {
                candidate.leads_until().is_some_and(|until| now < until + WRITES_WITHIN)
            });
            prop_assert!(writing.count() <= 1);
        }
    }
}
