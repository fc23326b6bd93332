//! CPU time per event of a watch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hyper::body::Incoming;

use crate::{
    client::{PROTOCOLS, Protocol, WATCH, next},
    load::lanes,
    row::{Better, Row},
    side::{PASSTHROUGH, SALLYPORT, Side},
    site::{Site, drive},
    turns::Turns,
};

const ROUNDS: usize = 5;
const WATCHES: usize = 16;
const SETTLING: Duration = Duration::from_millis(200);
const LASTING: Duration = Duration::from_millis(1500);

pub(crate) fn measure(site: &Site) {
    let always = [site.passthrough(), site.sallyport()];
    let sides: Vec<_> = always.into_iter().chain(site.envoy()).collect();
    let sides: Vec<_> = sides.iter().collect();
    for protocol in PROTOCOLS {
        print(
            protocol,
            &Turns::take(&sides, ROUNDS, |side| cpu(site, side, protocol)),
        );
    }
}

fn print(protocol: Protocol, turns: &Turns<f64>) {
    let of = |side| {
        turns
            .median(side, |micros| *micros)
            .expect("it is measured")
    };
    Row {
        name: format!("watch: CPU per event of 2 KB, {}", protocol.name()),
        unit: "µs",
        better: Better::Less,
        ours: of(SALLYPORT),
        reference: of(PASSTHROUGH),
        against: PASSTHROUGH,
        goal: Some(1.5),
        beside: turns.medians(|micros| *micros),
    }
    .print();
}

/// In microseconds.
fn cpu(site: &Site, side: &Side, protocol: Protocol) -> f64 {
    drive(async {
        let events = Arc::new(AtomicU64::new(0));
        let mut connections = lanes(site, side, protocol, WATCHES).await;
        for connection in &mut connections {
            let watch = connection.get(WATCH).await.expect("a watch");
            tokio::spawn(count(watch.into_body(), Arc::clone(&events)));
        }
        tokio::time::sleep(SETTLING).await;
        let (cpu, before) = (side.cpu(), events.load(Relaxed));
        tokio::time::sleep(LASTING).await;
        let events = events.load(Relaxed) - before;
        (side.cpu() - cpu).as_secs_f64() * 1e6 / events.max(1) as f64
    })
}

/// Frames may hold several events or parts of one; each ends a line.
async fn count(mut body: Incoming, events: Arc<AtomicU64>) {
    while let Ok(Some(data)) = next(&mut body).await {
        let ends = data.iter().filter(|byte| **byte == b'\n').count();
        events.fetch_add(ends as u64, Relaxed);
    }
}
