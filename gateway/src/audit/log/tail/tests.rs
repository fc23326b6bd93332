use futures_util::FutureExt;

use super::*;
use crate::audit::{
    record::sample,
    wal::{Appended, Headroom, NotRecorded},
};

fn payload(after: usize) -> Payload {
    Payload {
        before: Bytes::from_static(b"{\"sequence\":\""),
        after: Bytes::from(vec![b'x'; after]),
        headroom: Headroom::Spare,
    }
}

/// Appends a payload of this length to the log that `tail` shows.
fn append(tail: &Tail, sequence: u64, after: usize) {
    let readers = tail.readers_of(&sample::outcome("a"));
    let shown = shown(&payload(after), readers).expect("somebody follows");
    shown(&Ok(Appended {
        sequence,
        appended_at_micros: 0,
        bytes: 0,
    }));
}

#[test]
fn a_record_is_shown_once_it_is_durable_and_not_where_it_never_is() {
    let tail = Tail::default();
    let mut following = tail.follow(Wanted::default()).expect("the first reader");
    let readers = || tail.readers_of(&sample::outcome("a"));
    let durable = shown(&payload(2), readers()).expect("somebody follows");
    let refused = shown(&payload(2), readers()).expect("somebody follows");
    assert!(following.next().now_or_never().is_none(), "not yet");
    refused(&Err(NotRecorded::Closed));
    assert!(following.next().now_or_never().is_none(), "never");
    durable(&Ok(Appended {
        sequence: 7,
        appended_at_micros: 0,
        bytes: 0,
    }));
    let row = following.next().now_or_never().expect("it is durable");
    assert_eq!(&row.expect("not behind")[..], b"{\"sequence\":\"7xx");
}

#[test]
fn a_reader_that_falls_behind_is_told_after_what_it_has() {
    let tail = Tail::default();
    let mut slow = tail.follow(Wanted::default()).expect("a reader");
    let mut quick = tail.follow(Wanted::default()).expect("another");
    for sequence in 0..3 {
        append(&tail, sequence, MOST_BYTES / 2);
        let row = quick.next().now_or_never().expect("it is durable");
        row.expect("not behind");
    }
    let next = slow.next().now_or_never();
    next.expect("it is durable").expect("what it still has");
    assert_eq!(slow.next().now_or_never(), Some(Err(FellBehind)));
    append(&tail, 3, 1);
    assert_eq!(
        slow.next().now_or_never(),
        Some(Err(FellBehind)),
        "for good"
    );
}

#[test]
fn one_record_may_be_longer_than_a_reader_may_be_behind() {
    let tail = Tail::default();
    let mut following = tail.follow(Wanted::default()).expect("a reader");
    append(&tail, 0, MOST_BYTES + 1);
    let row = following.next().now_or_never().expect("it is durable");
    assert!(row.expect("not behind").len() > MOST_BYTES);
}

#[test]
fn readers_are_few_and_give_their_place_back() {
    let tail = Tail::default();
    let readers: Vec<_> = (0..MOST_READERS)
        .map(|_| tail.follow(Wanted::default()).expect("a place"))
        .collect();
    let more = tail.follow(Wanted::default()).map(drop);
    assert_eq!(more, Err(TooManyReaders));
    drop(readers);
    assert!(tail.readers_of(&sample::outcome("a")).is_empty());
    tail.follow(Wanted::default()).expect("a place");
}

#[test]
fn every_part_that_is_given_has_to_match() {
    let record = sample::outcome("a");
    let mut wanted = Wanted {
        audit_id: Some("a".to_owned()),
        stage: Some("ResponseComplete".to_owned()),
        user: record.user.as_ref().map(|user| user.username.clone()),
        ..Wanted::default()
    };
    assert!(wanted.matches(&record));
    assert!(!wanted.matches(&sample::intent("a")), "another stage");
    wanted.namespace = Some("nowhere".to_owned());
    assert!(!wanted.matches(&record));
}
