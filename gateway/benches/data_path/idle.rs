//! What a watch costs on which nothing happens.

use std::time::Duration;

use crate::{
    agents::AGENTS,
    client::{PROTOCOLS, Protocol, QUIET_WATCH, next},
    row::{Better, Row},
    side::{SALLYPORT, Side},
    site::{Site, drive},
};

const WATCHES: usize = 1000;
/// A client has one HTTP/2 connection for all its watches.
const PER_HTTP2_CONNECTION: usize = 100;
const SETTLING: Duration = Duration::from_secs(1);
const KIBIBYTE: f64 = 1024.0;
const GOAL: f64 = 64.0;

pub(crate) fn measure(site: &Site) {
    for protocol in PROTOCOLS {
        // New processes: what an earlier measurement left in the heap would hide growth.
        let always = [site.sallyport(), site.passthrough()];
        let sides = always.into_iter().chain(site.envoy());
        let each: Vec<_> = sides
            .map(|side| (side.name, memory_of_each(site, &side, protocol)))
            .collect();
        print(protocol, each);
    }
}

fn print(protocol: Protocol, each: Vec<(&'static str, f64)>) {
    let ours = each.iter().find(|(side, _)| *side == SALLYPORT);
    Row {
        name: format!("memory of each of 1,000 idle watches, {}", protocol.name()),
        unit: "KiB",
        better: Better::Less,
        ours: ours.expect("it is measured").1,
        reference: GOAL,
        against: "goal",
        goal: Some(1.0),
        beside: each,
    }
    .print();
}

/// In KiB.
fn memory_of_each(site: &Site, side: &Side, protocol: Protocol) -> f64 {
    drive(async {
        let program = side.program.as_ref().expect("a program is measured");
        drop(site.connect(side, protocol, 0).await);
        let before = program.resident();
        let mut open = Vec::with_capacity(WATCHES);
        let each = match protocol {
            Protocol::Http1 => 1,
            Protocol::Http2 => PER_HTTP2_CONNECTION,
        };
        for number in 0..WATCHES / each {
            let mut connection = site.connect(side, protocol, number % AGENTS).await;
            for _ in 0..each {
                let mut watch = connection
                    .get(QUIET_WATCH)
                    .await
                    .expect("a watch")
                    .into_body();
                next(&mut watch).await.expect("an event");
                open.push(watch);
            }
            // Without its sender a connection would close.
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(connection);
            });
        }
        tokio::time::sleep(SETTLING).await;
        program.resident().saturating_sub(before) as f64 / KIBIBYTE / WATCHES as f64
    })
}
