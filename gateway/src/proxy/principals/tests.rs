use proptest::prelude::*;

use super::*;
use crate::config::ByteSize;

const MIB: u64 = 1 << 20;

fn limits(calls: u32) -> PerPrincipal {
    PerPrincipal {
        buffered_bytes: ByteSize(MIB),
        record_bytes_per_second: ByteSize(MIB),
        calls,
    }
}

fn principals(calls: u32) -> Principals {
    Principals::new(limits(calls), 4 * MIB)
}

/// A log of 100 MiB.
fn used(mebibytes: u64) -> Usage {
    Usage {
        used: mebibytes * MIB,
        limit: 100 * MIB,
        ..Usage::default()
    }
}

#[test]
fn a_principal_with_all_its_calls_open_is_refused_and_another_is_not() {
    let principals = principals(2);
    let open = [(); 2].map(|()| principals.admit("greedy", None, &used(0)).ok());
    assert!(open.iter().all(Option::is_some));
    assert_eq!(
        principals.admit("greedy", None, &used(0)).err(),
        Some(OverQuota::Calls { most: 2 })
    );
    assert!(principals.admit("other", None, &used(0)).is_ok());
    drop(open);
    assert!(principals.admit("greedy", None, &used(0)).is_ok());
}

#[test]
fn a_principal_that_writes_too_much_is_refused_and_another_is_not() {
    let principals = principals(8);
    let admission = principals.admit("greedy", None, &used(0)).ok();
    let greedy = admission.expect("nothing is written yet").principal;
    greedy.wrote(15 * MIB);
    let refused = principals.admit("greedy", None, &used(0)).err();
    assert!(
        matches!(refused, Some(OverQuota::Record { seconds: 4..=5, .. })),
        "{refused:?}"
    );
    assert!(principals.admit("other", None, &used(0)).is_ok());
}

#[test]
fn a_log_that_fills_up_slows_down_who_writes_much_before_who_writes_little() {
    let principals = principals(8);
    for (name, bytes) in [("much", 6 * MIB), ("little", MIB / 8)] {
        let admission = principals.admit(name, None, &used(0)).ok();
        admission.expect("it fits").principal.wrote(bytes);
    }
    assert!(principals.admit("much", None, &used(60)).is_ok());
    assert!(principals.admit("much", None, &used(90)).is_err());
    assert!(principals.admit("little", None, &used(90)).is_ok());
    assert!(principals.admit("little", None, &used(96)).is_err());
}

#[test]
fn principals_that_owe_nothing_are_forgotten_and_debtors_are_not() {
    let principals = principals(8);
    let debtor = principals.admit("debtor", None, &used(0)).ok();
    debtor.expect("it fits").principal.wrote(100 * MIB);
    let open = principals.admit("open", None, &used(0)).ok();
    for number in 0..FIRST_SWEEP {
        let (name, tenant) = (format!("once {number}"), format!("tenant {number}"));
        drop(principals.admit(&name, Some(tenant), &used(0)));
    }
    let known = principals.known.lock().expect("no panic");
    assert!(
        known.by_name.len() < FIRST_SWEEP / 2,
        "{}",
        known.by_name.len()
    );
    assert!(known.budgets_of_tenants.len() < FIRST_SWEEP / 2);
    assert!(known.by_name.contains_key("debtor") && known.by_name.contains_key("open"));
    drop(open);
}

proptest! {
    /// Whatever is written when, and however long the waits: on average it is no more than the rate, a burst and
    /// what one call may overshoot.
    #[test]
    fn who_waits_as_told_writes_at_the_allowed_rate(writes in prop::collection::vec((0..4 * MIB, 0..3_000u64), 1..200)) {
        let (rate, start) = (MIB as f64, Instant::now());
        let (mut allowance, mut now, mut total, mut largest) = (Allowance::full(start), start, 0, 0);
        for (bytes, pause) in writes {
            now += Duration::from_millis(pause);
            while let Some(wait) = allowance.wait(rate, now) {
                now += wait;
            }
            allowance.spent += bytes as f64;
            total += bytes;
            largest = largest.max(bytes);
            let most = rate * (now - start).as_secs_f64() + rate * BURST + largest as f64;
            prop_assert!(total as f64 <= most + 1.0, "{total} of {most}");
        }
    }
}
