use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn record(sequence: u64, audit_id: &str, stage: &str) -> Record {
    let row = json!({"logID": "log", "sequence": sequence.to_string(), "auditID": audit_id, "stage": stage});
    Record(row.as_object().unwrap().clone())
}

fn intent(sequence: u64, audit_id: &str) -> Record {
    record(sequence, audit_id, "RequestReceived")
}

fn outcome(sequence: u64, audit_id: &str) -> Record {
    record(sequence, audit_id, "ResponseComplete")
}

fn hold(sequence: u64, audit_id: &str) -> Record {
    let mut hold = intent(sequence, audit_id);
    hold.0.insert(
        "approval".to_owned(),
        json!({"state": sequence.to_string()}),
    );
    hold
}

fn joined(sources: Vec<Vec<Record>>) -> Vec<(String, bool)> {
    let mut join = Join::default();
    let mut calls = Vec::new();
    for source in sources {
        let mut emit = |record: Record| {
            let unknown = record.text(&["outcome"]) == Some("unknown");
            calls.push((record.audit_id().to_owned(), unknown));
        };
        source
            .into_iter()
            .for_each(|record| join.add(record, &mut emit));
        join.end_source(&mut emit);
    }
    calls.sort();
    calls
}

#[test]
fn a_call_is_its_outcome() {
    assert_eq!(
        joined(vec![vec![intent(1, "a"), outcome(2, "a")]]),
        [("a".to_owned(), false)]
    );
}

#[test]
fn an_intent_without_outcome_is_unknown() {
    assert_eq!(joined(vec![vec![intent(1, "a")]]), [("a".to_owned(), true)]);
}

#[test]
fn a_hold_is_neither_an_intent_nor_an_outcome_wherever_it_is() {
    let records = [intent(1, "a"), hold(2, "a"), hold(3, "a"), outcome(4, "a")];
    for cuts in 0..8u8 {
        let mut sources = vec![Vec::new()];
        for (at, record) in (0u8..).zip(&records) {
            sources.last_mut().unwrap().push(record.clone());
            if cuts & (1 << at) != 0 {
                sources.push(Vec::new());
            }
        }
        sources.reverse();
        assert_eq!(joined(sources), [("a".to_owned(), false)], "{cuts:b}");
    }
}

#[test]
fn a_call_that_ended_in_a_hold_is_unknown_and_says_what_people_said() {
    let sources = vec![vec![hold(3, "a")], vec![hold(2, "a")], vec![intent(1, "a")]];
    let mut join = Join::default();
    let mut calls = Vec::new();
    for source in sources {
        let mut emit = |record: Record| calls.push(record);
        source
            .into_iter()
            .for_each(|record| join.add(record, &mut emit));
        join.end_source(&mut emit);
    }
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].text(&["outcome"]), Some("unknown"));
    assert_eq!(calls[0].text(&["approval", "state"]), Some("3"));
}

#[test]
fn an_outcome_in_a_newer_source_answers_an_intent_in_an_older_one() {
    let sources = vec![
        vec![outcome(3, "a")],
        vec![intent(2, "b")],
        vec![intent(1, "a")],
    ];
    assert_eq!(
        joined(sources),
        [("a".to_owned(), false), ("b".to_owned(), true)]
    );
}

#[test]
fn a_record_that_is_in_the_log_and_in_a_file_counts_once() {
    let all = vec![intent(1, "a"), outcome(2, "a"), intent(3, "b")];
    let sources = vec![all[1..].to_vec(), all.clone(), all];
    assert_eq!(
        joined(sources),
        [("a".to_owned(), false), ("b".to_owned(), true)]
    );
}

proptest! {
    #[test]
    fn ranges_hold_what_a_set_holds(sequences in prop::collection::vec(0u64..40, 0..80), other in prop::collection::btree_set(40u64..60, 0..20)) {
        let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
        for sequence in sequences {
            prop_assert_eq!(ranges.insert(sequence), set.insert(sequence));
        }
        let mut more = Ranges::default();
        other.iter().for_each(|&sequence| assert!(more.insert(sequence)));
        ranges.merge(more);
        set.extend(other);
        for sequence in 0..61 {
            prop_assert_eq!(ranges.contains(sequence), set.contains(&sequence));
        }
        prop_assert!(ranges.0.len() <= set.len());
    }

    /// However the log is cut into overlapping sources, the calls are the same.
    #[test]
    fn cuts_and_copies_do_not_change_the_calls(stages in prop::collection::vec((0u8..6, any::<bool>()), 1..30), cuts in prop::collection::vec(0usize..30, 0..4), overlap in 0usize..4) {
        let mut seen = BTreeSet::new();
        let mut log = Vec::new();
        for (call, is_outcome) in stages {
            let id = format!("c{call}");
            // An outcome follows its one intent.
            if seen.insert((call, false)) {
                log.push(intent(log.len() as u64 + 1, &id));
            } else if is_outcome && seen.insert((call, true)) {
                log.push(outcome(log.len() as u64 + 1, &id));
            }
        }
        let mut bounds: Vec<_> = cuts.into_iter().map(|cut| cut.min(log.len())).chain([0, log.len()]).collect();
        bounds.sort_unstable();
        let sources = bounds.windows(2).rev().map(|pair| log[pair[0].saturating_sub(overlap)..pair[1]].to_vec());
        prop_assert_eq!(joined(sources.collect()), joined(vec![log]));
    }
}
