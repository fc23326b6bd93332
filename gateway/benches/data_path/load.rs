//! Calls for a while, a fixed number of them in flight.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::{
    client::{Connection, Protocol},
    row::note,
    side::Side,
    site::{Site, drive},
};

/// HTTP/2 spreads its calls over this many connections.
const HTTP2_CONNECTIONS: usize = 4;

pub(crate) struct Work {
    pub(crate) protocol: Protocol,
    pub(crate) path: &'static str,
    pub(crate) in_flight: usize,
    pub(crate) lasting: Duration,
}

pub(crate) struct Pace {
    pub(crate) per_second: f64,
    /// Of the server, without its clients.
    pub(crate) cpu_micros: f64,
}

pub(crate) fn run(site: &Site, side: &Side, work: &Work) -> Pace {
    drive(async {
        let lanes = lanes(site, side, work.protocol, work.in_flight).await;
        let (start, cpu) = (Instant::now(), side.cpu());
        let end = start + work.lasting;
        let mut clients: JoinSet<_> = lanes
            .into_iter()
            .map(|lane| repeat(lane, work.path, end, side.name))
            .collect();
        let mut calls = 0;
        while let Some(client) = clients.join_next().await {
            calls += client.expect("a client ends");
        }
        let calls = f64::from(calls.max(1));
        Pace {
            per_second: calls / start.elapsed().as_secs_f64(),
            cpu_micros: (side.cpu() - cpu).as_secs_f64() * 1e6 / calls,
        }
    })
}

/// Open connections for `in_flight` calls at a time.
pub(crate) async fn lanes(
    site: &Site,
    side: &Side,
    protocol: Protocol,
    in_flight: usize,
) -> Vec<Connection> {
    let connections = match protocol {
        Protocol::Http1 => in_flight,
        Protocol::Http2 => in_flight.min(HTTP2_CONNECTIONS),
    };
    let mut lanes = Vec::with_capacity(in_flight);
    for agent in 0..connections {
        lanes.push(site.connect(side, protocol, agent).await);
    }
    for number in connections..in_flight {
        lanes.extend(lanes[number % connections].share());
    }
    lanes
}

/// Counts the calls that were answered. After a failure the connection is of no use.
async fn repeat(mut lane: Connection, path: &'static str, end: Instant, side: &str) -> u32 {
    let mut calls = 0;
    while Instant::now() < end {
        if let Err(failure) = lane.fetch(path).await {
            note(&format!("{side} failed a call of {path}: {failure}"));
            break;
        }
        calls += 1;
    }
    calls
}
