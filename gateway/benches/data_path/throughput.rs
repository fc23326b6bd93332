//! Calls per second and CPU time per call with many in flight.

use std::time::Duration;

use crate::{
    client::{LIST, OBJECT, PROTOCOLS, Protocol},
    gateway::metric,
    load::{Pace, Work, run},
    row::{Better, Row},
    side::{ENVOY, SALLYPORT, Side},
    site::Site,
    turns::{Turns, median},
};

const ROUNDS: usize = 5;
const LASTING: Duration = Duration::from_millis(1200);
const IN_FLIGHT: usize = 64;
const LISTS_IN_FLIGHT: usize = 16;

/// Objects of 2 KB, 64 in flight.
pub(crate) fn objects(site: &Site) {
    let sides = sides(site);
    let mut groups = Vec::new();
    let measured = PROTOCOLS.map(|protocol| {
        let work = Work {
            protocol,
            path: OBJECT,
            in_flight: IN_FLIGHT,
            lasting: LASTING,
        };
        let mut per_sync = Vec::new();
        let turns = take(site, &sides, &work, &mut per_sync);
        groups.push((protocol, median(per_sync)));
        (protocol, turns)
    });
    for (protocol, turns) in &measured {
        rate(turns, "2 KB objects, 64 in flight", *protocol, 0.8);
    }
    for (protocol, turns) in &measured {
        cpu(turns, *protocol);
    }
    for (protocol, per_sync) in groups {
        records_per_sync(protocol, per_sync);
    }
}

/// Lists of 1 MB, 16 in flight.
pub(crate) fn lists(site: &Site) {
    let sides = sides(site);
    for protocol in PROTOCOLS {
        let work = Work {
            protocol,
            path: LIST,
            in_flight: LISTS_IN_FLIGHT,
            lasting: LASTING,
        };
        let turns = take(site, &sides, &work, &mut Vec::new());
        rate(&turns, "1 MB lists, 16 in flight", protocol, 0.7);
    }
}

fn sides(site: &Site) -> Vec<Side> {
    let always = [site.direct(), site.passthrough(), site.sallyport()];
    always
        .into_iter()
        .chain(site.envoy())
        .chain(site.nginx())
        .collect()
}

fn take(site: &Site, sides: &[Side], work: &Work, per_sync: &mut Vec<f64>) -> Turns<Pace> {
    Turns::take(&sides.iter().collect::<Vec<_>>(), ROUNDS, |side| {
        let before = side.admin.map(|_| Written::by(side));
        let pace = run(site, side, work);
        per_sync.extend(before.map(|before| Written::by(side).per_sync_since(&before)));
        pace
    })
}

/// What the gateway's log has taken.
struct Written {
    records: f64,
    syncs: f64,
}

impl Written {
    fn by(side: &Side) -> Self {
        Self {
            records: metric(side, "sallyport_wal_last_sequence"),
            syncs: metric(side, "sallyport_wal_commits_total"),
        }
    }

    fn per_sync_since(&self, before: &Self) -> f64 {
        (self.records - before.records) / (self.syncs - before.syncs).max(1.0)
    }
}

fn rate(turns: &Turns<Pace>, what: &str, protocol: Protocol, goal: f64) {
    let rate = |pace: &Pace| pace.per_second;
    let Some((ours, reference)) = turns.median(SALLYPORT, rate).zip(turns.median(ENVOY, rate))
    else {
        return;
    };
    Row {
        name: format!("{what}, {}", protocol.name()),
        unit: "calls/s",
        better: Better::More,
        ours,
        reference,
        against: ENVOY,
        goal: Some(goal),
        beside: turns.medians(rate),
    }
    .print();
}

fn cpu(turns: &Turns<Pace>, protocol: Protocol) {
    let cpu = |pace: &Pace| pace.cpu_micros;
    let Some((ours, reference)) = turns.median(SALLYPORT, cpu).zip(turns.median(ENVOY, cpu)) else {
        return;
    };
    Row {
        name: format!("CPU per call, 64 in flight, {}", protocol.name()),
        unit: "µs",
        better: Better::Less,
        ours,
        reference,
        against: ENVOY,
        goal: Some(1.25),
        beside: turns
            .medians(cpu)
            .into_iter()
            .filter(|(_, micros)| *micros > 0.0)
            .collect(),
    }
    .print();
}

fn records_per_sync(protocol: Protocol, ours: f64) {
    Row {
        name: format!("records per fdatasync, 64 in flight, {}", protocol.name()),
        unit: "records",
        better: Better::More,
        ours,
        reference: 16.0,
        against: "goal",
        goal: Some(1.0),
        beside: Vec::new(),
    }
    .print();
}
