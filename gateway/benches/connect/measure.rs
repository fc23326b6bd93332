//! Takes the turns and says what they come to.

use std::{collections::BTreeMap, env};

use anyhow::Result;

use crate::{
    network::{FAMILIES, Family},
    row::{Row, note},
    side::{
        AGENT_BARE, AGENT_MISS, AGENT_NFTABLES, AGENT_REDIRECTED, BIND_BARE, BIND_HOOKED,
        ORDINARY_BARE, ORDINARY_HIT, ORDINARY_MISS, SIDES, Side,
    },
    site::Site,
};

/// An odd number, so that the median is one of them.
const ROUNDS: usize = 21;
/// In which the kernel counts.
const COUNTED_ROUNDS: usize = 9;

/// Two sides, and the ratio of the first to the second that is good enough.
const COMPARISONS: [(Side, Side, Option<f64>); 6] = [
    (ORDINARY_MISS, ORDINARY_BARE, Some(1.10)),
    (ORDINARY_HIT, ORDINARY_BARE, Some(1.10)),
    (AGENT_REDIRECTED, AGENT_BARE, Some(1.20)),
    (AGENT_REDIRECTED, AGENT_NFTABLES, Some(0.80)),
    (AGENT_MISS, AGENT_BARE, None),
    (BIND_HOOKED, BIND_BARE, None),
];

/// Whose programs are counted, beside a call without any.
const COUNTED: [(Side, Side); 5] = [
    (ORDINARY_MISS, ORDINARY_BARE),
    (ORDINARY_HIT, ORDINARY_BARE),
    (AGENT_REDIRECTED, AGENT_BARE),
    (AGENT_MISS, AGENT_BARE),
    (BIND_HOOKED, BIND_BARE),
];

pub(crate) fn run(site: &mut Site) -> Result<()> {
    note(
        "connect: a row that begins with \"in\" is the time within kernel programs, by the kernel's count, for \
         one call; beside it stand each program's times, for one run of it, and how often it runs",
    );
    for family in FAMILIES {
        let medians = time(site, family)?;
        for (ours, reference, goal) in COMPARISONS {
            compare(&medians, family, ours, reference, goal);
        }
        for (side, bare) in COUNTED {
            let parts = count(site, side, family)?;
            print(parts, side, family, medians[&bare]);
        }
    }
    Ok(())
}

/// Nanoseconds for a call.
type Medians = BTreeMap<Side, f64>;

/// Every second round goes backwards, so that no side always follows the same other. The first is for nothing.
fn time(site: &mut Site, family: Family) -> Result<Medians> {
    let mut turns = BTreeMap::<_, Vec<_>>::new();
    let mut order = SIDES;
    for round in 0..=rounds(ROUNDS) {
        for side in order {
            let turn = site.take_turn(side, family)?;
            if round > 0 {
                turns.entry(side).or_default().push(turn.nanoseconds);
            }
        }
        order.reverse();
    }
    let medians = turns
        .into_iter()
        .map(|(side, values)| (side, median(values)));
    Ok(medians.collect())
}

fn compare(medians: &Medians, family: Family, ours: Side, reference: Side, goal: Option<f64>) {
    Row {
        ours: medians[&ours],
        reference: medians[&reference],
        against: reference.name(),
        goal,
        ..Row::nanoseconds(format!("{}, {}", ours.name(), family.name()))
    }
    .print();
}

/// A program's part in a call.
struct Part {
    program: String,
    nanoseconds_of_a_run: f64,
    runs: f64,
}

fn count(site: &mut Site, side: Side, family: Family) -> Result<Vec<Part>> {
    let mut turns = BTreeMap::<String, (Vec<f64>, Vec<f64>)>::new();
    for _ in 0..rounds(COUNTED_ROUNDS) {
        let (turn, run_times) = site.take_counted_turn(side, family)?;
        for (program, run_time) in run_times {
            let (times, runs) = turns.entry(program).or_default();
            times.push(run_time.of_a_call());
            runs.push(run_time.calls as f64 / turn.calls as f64);
        }
    }
    let part = |(program, (times, runs))| Part {
        program,
        nanoseconds_of_a_run: median(times),
        runs: median(runs),
    };
    Ok(turns.into_iter().map(part).collect())
}

fn print(parts: Vec<Part>, side: Side, family: Family, bare: f64) {
    let time = |part: &Part| part.nanoseconds_of_a_run * part.runs;
    let beside = |part: &Part| {
        let Part { program, runs, .. } = part;
        (format!("{program} ({runs:.0}×)"), part.nanoseconds_of_a_run)
    };
    Row {
        ours: parts.iter().map(time).sum(),
        reference: bare,
        against: "the call with no hooks",
        beside: parts.iter().map(beside).collect(),
        ..Row::nanoseconds(format!("in {}, {}", side.name(), family.name()))
    }
    .print();
}

/// `SALLYPORT_BENCH_ROUNDS` is for a quick look.
fn rounds(usual: usize) -> usize {
    let wanted = env::var("SALLYPORT_BENCH_ROUNDS").ok();
    wanted
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
        .max(1)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
