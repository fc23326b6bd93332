//! The time that a call takes longer than without a proxy, one in flight.

use std::{
    fs::File,
    io::Write as _,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use crate::{
    client::{OBJECT, PROTOCOLS, Protocol},
    row::{Better, Row, note},
    side::{DIRECT, PASSTHROUGH, READ_LAG, SALLYPORT, Side},
    site::{Site, drive},
    turns::{Turns, median},
};

const ROUNDS: usize = 7;
const CALLS: usize = 300;
const WARM_UP: usize = 30;
const SYNCS: usize = 100;
const RECORD: usize = 2048;
/// What a call may take longer than through the passthrough, beside the disk.
const ALLOWANCE_MILLIS: f64 = 0.1;

pub(crate) fn measure(site: &Site) {
    let always = [
        site.direct(),
        site.passthrough(),
        site.sallyport(),
        site.with_read_lag(),
    ];
    let sides: Vec<_> = always
        .into_iter()
        .chain(site.envoy())
        .chain(site.nginx())
        .collect();
    let sides: Vec<_> = sides.iter().collect();
    let disk = Disk::new(site);
    for protocol in PROTOCOLS {
        let turns = Turns::take(&sides, ROUNDS, |side| Turn {
            call: median_call(site, side, protocol),
            sync: median((0..SYNCS).map(|number| disk.sync(number)).collect()),
        });
        added(&turns, protocol, SALLYPORT, 2.0);
        added(&turns, protocol, READ_LAG, 1.0);
    }
}

/// Milliseconds.
struct Turn {
    call: f64,
    sync: f64,
}

fn added(turns: &Turns<Turn>, protocol: Protocol, ours: &str, syncs: f64) {
    let medians = turns.medians(|turn| turn.call);
    let of = |name: &str| {
        let found = medians.iter().find(|(side, _)| *side == name);
        found.expect("the side is always there").1
    };
    let sync = turns
        .median(SALLYPORT, |turn| turn.sync)
        .expect("the side is always there");
    let (added, passed) = (of(ours) - of(DIRECT), of(PASSTHROUGH) - of(DIRECT));
    let lag = if ours == READ_LAG {
        " with read lag"
    } else {
        ""
    };
    Row {
        name: format!("p50 added{lag}, one in flight, {}", protocol.name()),
        unit: "ms",
        better: Better::Less,
        ours: added,
        reference: passed + ALLOWANCE_MILLIS + syncs * sync,
        against: "passthrough + 0.1 + fdatasync",
        goal: Some(1.0),
        beside: medians.into_iter().chain([("fdatasync", sync)]).collect(),
    }
    .print();
}

fn median_call(site: &Site, side: &Side, protocol: Protocol) -> f64 {
    drive(async {
        let mut connection = site.connect(side, protocol, 0).await;
        let mut millis = Vec::with_capacity(CALLS);
        for call in 0..WARM_UP + CALLS {
            let start = Instant::now();
            if let Err(failure) = connection.fetch(OBJECT).await {
                note(&format!("{} failed a call: {failure}", side.name));
                break;
            }
            if call >= WARM_UP {
                millis.push(in_millis(start.elapsed()));
            }
        }
        median(millis)
    })
}

fn in_millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A file as the segments of the log are: its blocks exist, and are written anew.
struct Disk(File);

impl Disk {
    fn new(site: &Site) -> Self {
        let path = site.fresh_directory().join("segment");
        let mut file = File::create(path).expect("a directory of our own");
        file.write_all(&vec![0; SYNCS * RECORD]).expect("room");
        file.sync_all().expect("a healthy disk");
        Self(file)
    }

    /// How long one record takes.
    fn sync(&self, number: usize) -> f64 {
        let start = Instant::now();
        let offset = (number * RECORD) as u64;
        self.0.write_all_at(&[b'x'; RECORD], offset).expect("room");
        self.0.sync_data().expect("a healthy disk");
        in_millis(start.elapsed())
    }
}
