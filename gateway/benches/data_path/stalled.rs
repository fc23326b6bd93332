//! Whether readers that stop hold up somebody else.

use std::time::{Duration, Instant};

use hyper::body::Incoming;

use crate::{
    client::{Connection, OBJECT, Protocol, SECRETS, next},
    row::{Better, Row, note},
    side::{SALLYPORT, Side},
    site::{Site, drive},
};

const STALLED: usize = 3;
const CALLS: usize = 50;
/// Until everything on the way has filled.
const FILLING: Duration = Duration::from_secs(1);
const GOAL: Duration = Duration::from_secs(1);
const GIVE_UP: Duration = Duration::from_secs(10);

pub(crate) fn measure(site: &Site) {
    for (protocol, shared, how) in [
        (Protocol::Http2, true, "one HTTP/2 connection"),
        (Protocol::Http2, false, "own HTTP/2 connections"),
        (Protocol::Http1, false, "own HTTP/1.1 connections"),
    ] {
        let always = [site.sallyport(), site.passthrough()];
        let sides = always.into_iter().chain(site.envoy());
        let slowest: Vec<_> = sides
            .map(|side| (side.name, slowest(site, &side, protocol, shared)))
            .collect();
        print(how, slowest);
    }
}

fn print(how: &str, slowest: Vec<(&'static str, f64)>) {
    let ours = slowest.iter().find(|(side, _)| *side == SALLYPORT);
    Row {
        name: format!("another agent's GET, 3 stalled readers, {how}"),
        unit: "ms",
        better: Better::Less,
        ours: ours.expect("it is measured").1,
        reference: GOAL.as_secs_f64() * 1e3,
        against: "goal",
        goal: Some(1.0),
        beside: slowest,
    }
    .print();
}

/// The slowest of all calls, in milliseconds.
fn slowest(site: &Site, side: &Side, protocol: Protocol, shared: bool) -> f64 {
    drive(async {
        let (stalled, other) = (0, 1);
        let mut bodies = Vec::with_capacity(STALLED);
        let mut connections = Vec::with_capacity(STALLED);
        for number in 0..STALLED {
            let shared = connections.first().filter(|_| shared && number > 0);
            let mut connection = match shared.and_then(Connection::share) {
                Some(connection) => connection,
                None => site.connect(side, protocol, stalled).await,
            };
            bodies.push(begin(&mut connection).await);
            connections.push(connection);
        }
        tokio::time::sleep(FILLING).await;
        let mut connection = site.connect(side, protocol, other).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..CALLS {
            let start = Instant::now();
            let answer = tokio::time::timeout(GIVE_UP, connection.fetch(OBJECT)).await;
            slowest = slowest.max(start.elapsed());
            match answer {
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => note(&format!("{} failed a call: {failure}", side.name)),
                Err(_) => break,
            }
        }
        slowest.as_secs_f64() * 1e3
    })
}

/// Reads what comes first, and no more.
async fn begin(connection: &mut Connection) -> Option<Incoming> {
    let mut body = connection.get(SECRETS).await.ok()?.into_body();
    next(&mut body).await.ok()?;
    Some(body)
}
