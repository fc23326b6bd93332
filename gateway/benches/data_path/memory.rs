//! How far memory grows while sixteen clients read 20 MB each, as fast as they can and slowly.

use std::time::{Duration, Instant};

use hyper::body::Incoming;
use tokio::task::JoinSet;

use crate::{
    client::{Connection, Failure, PROTOCOLS, Protocol, SECRETS, next},
    row::{Better, Row, note},
    side::{SALLYPORT, Side},
    site::{Site, drive},
};

const CLIENTS: usize = 16;
const MEBIBYTE: f64 = 1_048_576.0;
const GOAL: f64 = 64.0;
const SLOW_BYTES_PER_SECOND: f64 = 4e6;
/// Long enough for all that will be buffered for a reader who takes nothing.
const STALL: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum Reader {
    Fast,
    Slow,
    Stalled,
}

pub(crate) fn measure(site: &Site) {
    for (reader, how) in [
        (Reader::Fast, "fast readers"),
        (Reader::Slow, "readers of 4 MB/s"),
        (Reader::Stalled, "readers that stop"),
    ] {
        for protocol in PROTOCOLS {
            // New processes: what an earlier measurement left in the heap would hide growth.
            let always = [site.sallyport(), site.passthrough()];
            let sides = always.into_iter().chain(site.envoy());
            let grown: Vec<_> = sides
                .map(|side| (side.name, grown(site, &side, protocol, reader)))
                .collect();
            print(protocol, how, grown);
        }
    }
}

fn print(protocol: Protocol, how: &str, grown: Vec<(&'static str, f64)>) {
    let ours = grown.iter().find(|(side, _)| *side == SALLYPORT);
    Row {
        name: format!("memory over idle, 16 × 20 MB, {how}, {}", protocol.name()),
        unit: "MiB",
        better: Better::Less,
        ours: ours.expect("it is measured").1,
        reference: GOAL,
        against: "goal",
        goal: Some(1.0),
        beside: grown,
    }
    .print();
}

/// Peak over idle, in MiB.
fn grown(site: &Site, side: &Side, protocol: Protocol, reader: Reader) -> f64 {
    drive(async {
        let mut connections = Vec::with_capacity(CLIENTS);
        for agent in 0..CLIENTS {
            connections.push(site.connect(side, protocol, agent).await);
        }
        let program = side.program.as_ref().expect("a program is measured");
        let idle = program.resident();
        program.forget_peak();
        let mut clients: JoinSet<_> = connections
            .into_iter()
            .map(|connection| client(connection, reader))
            .collect();
        while let Some(client) = clients.join_next().await {
            if let Err(failure) = client.expect("a client ends") {
                note(&format!(
                    "{} failed a call of {SECRETS}: {failure}",
                    side.name
                ));
            }
        }
        program.peak().saturating_sub(idle) as f64 / MEBIBYTE
    })
}

async fn client(mut connection: Connection, reader: Reader) -> Result<(), Failure> {
    match reader {
        Reader::Fast => {
            connection.fetch(SECRETS).await?;
            connection.fetch(SECRETS).await?;
        }
        Reader::Slow => slowly(connection.get(SECRETS).await?.into_body()).await?,
        Reader::Stalled => {
            let mut body = connection.get(SECRETS).await?.into_body();
            next(&mut body).await?;
            tokio::time::sleep(STALL).await;
        }
    }
    Ok(())
}

async fn slowly(mut body: Incoming) -> Result<(), Failure> {
    let (start, mut read) = (Instant::now(), 0);
    while let Some(data) = next(&mut body).await? {
        read += data.len();
        let due = Duration::from_secs_f64(read as f64 / SLOW_BYTES_PER_SECOND);
        tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
    }
    Ok(())
}
