//! What a call costs: one GET of a 2 KB object through the gateway's own binary, beside the same call straight
//! to the same API server, which here answers from memory.
//!
//! Everything is on: TLS on both sides, a verified token, policy, masking, and both records durable before the
//! answer ends. So a call alone waits for two `fdatasync`s, and the added time is set beside two of them.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use self::{
    client::{Connection, Server},
    gateway::Gateway,
    rounds::{Measurement, alternate, cpu_seconds, median},
    stub::Stub,
};

#[path = "call/client.rs"]
mod client;
#[path = "call/gateway.rs"]
mod gateway;
#[path = "measure/objects.rs"]
mod objects;
#[path = "measure/rounds.rs"]
mod rounds;
#[path = "call/stub.rs"]
mod stub;
#[path = "call/token.rs"]
mod token;

const CALLS_ALONE: usize = 300;
const CONNECTIONS: usize = 64;
const CALLS_EACH: usize = 40;

fn main() {
    sallyport::tls::install_provider();
    // Not in /tmp, which is memory on many machines.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::tempdir_in(target).expect("a directory");
    let runtime = Runtime::new().expect("a runtime");
    let stub = runtime.block_on(Stub::start());
    let gateway = Gateway::start(directory.path(), &stub);
    let (through, direct) = (gateway.server(), stub.server());

    alone(&runtime, &through, &direct, directory.path());
    together(&runtime, &through, &direct, &gateway);
}

fn alone(runtime: &Runtime, through: &Server, direct: &Server, directory: &Path) {
    let (ours, reference) = alternate(
        || median_latency(runtime, through),
        || median_latency(runtime, direct),
    );
    print("call_per_second_at_1", ours.recip(), reference.recip());
    let file = File::create(directory.join("disk")).expect("a file");
    let (sync, _) = alternate(|| median_sync(&file), || 0.0);
    let added = (ours - reference).max(f64::EPSILON);
    print(
        "call_added_time_reciprocal",
        added.recip(),
        (2.0 * sync).recip(),
    );
}

fn together(runtime: &Runtime, through: &Server, direct: &Server, gateway: &Gateway) {
    let calls = (CONNECTIONS * CALLS_EACH) as f64;
    let (ours, reference) = alternate(
        || calls / wall_seconds(|| at_once(runtime, through)),
        || calls / wall_seconds(|| at_once(runtime, direct)),
    );
    print("call_per_second_at_64", ours, reference);
    let (ours, reference) = alternate(
        || calls / gateway.cpu_seconds(|| at_once(runtime, through)),
        || calls / cpu_seconds(|| at_once(runtime, direct)),
    );
    print("call_per_cpu_second_at_64", ours, reference);
}

fn print(name: &str, ours: f64, reference: f64) {
    Measurement {
        name,
        ours,
        reference,
        goal: None,
    }
    .print();
}

fn median_latency(runtime: &Runtime, server: &Server) -> f64 {
    runtime.block_on(async {
        let mut connection = Connection::open(server).await;
        let mut seconds = Vec::new();
        for _ in 0..CALLS_ALONE {
            let start = Instant::now();
            connection.get().await;
            seconds.push(start.elapsed().as_secs_f64());
        }
        median(seconds)
    })
}

fn median_sync(mut file: &File) -> f64 {
    let sync = |_| {
        wall_seconds(|| {
            file.write_all(&[b'x'; 4096]).expect("room");
            file.sync_data().expect("a healthy disk");
        })
    };
    median((0..CALLS_ALONE).map(sync).collect())
}

fn at_once(runtime: &Runtime, server: &Server) {
    runtime.block_on(async {
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let server = server.clone();
                tokio::spawn(async move {
                    let mut connection = Connection::open(&server).await;
                    for _ in 0..CALLS_EACH {
                        connection.get().await;
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("a caller ends");
        }
    });
}

fn wall_seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
}
