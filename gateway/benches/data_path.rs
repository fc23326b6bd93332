//! What the gateway costs a client: its own binary beside Envoy, nginx and a proxy of the same libraries that
//! does nothing but pass on, all before one API server that answers from memory.
//!
//! Everything is on: TLS on both sides with the API server's certificate verified, tokens, policy, masking, both
//! records of a call durable before its answer ends, Parquet. The others verify the API server too and do
//! nothing else but, for Envoy and nginx, write an access log. Sides take turns, and medians are compared.
//!
//! `cargo bench --bench data_path -- throughput watch` measures only these topics. Envoy and nginx come from
//! `SALLYPORT_BENCH_ENVOY` and `SALLYPORT_BENCH_NGINX`, which `cargo xtask bench` sets; rows that need what is
//! absent are left out, with a note.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
};

use self::site::Site;

#[path = "data_path/agents.rs"]
mod agents;
#[path = "data_path/certificates.rs"]
mod certificates;
#[path = "data_path/client.rs"]
mod client;
#[path = "data_path/envoy.rs"]
mod envoy;
#[path = "data_path/gateway.rs"]
mod gateway;
#[path = "data_path/idle.rs"]
mod idle;
#[path = "data_path/latency.rs"]
mod latency;
#[path = "mask/lists.rs"]
mod lists;
#[path = "data_path/load.rs"]
mod load;
#[path = "data_path/memory.rs"]
mod memory;
#[path = "data_path/nginx.rs"]
mod nginx;
#[path = "measure/objects.rs"]
mod objects;
#[path = "data_path/passthrough.rs"]
mod passthrough;
#[path = "data_path/program.rs"]
mod program;
#[path = "data_path/row.rs"]
mod row;
#[path = "data_path/side.rs"]
mod side;
#[path = "data_path/site.rs"]
mod site;
#[path = "data_path/stalled.rs"]
mod stalled;
#[path = "data_path/stub.rs"]
mod stub;
#[path = "data_path/throughput.rs"]
mod throughput;
#[path = "data_path/turns.rs"]
mod turns;
#[path = "data_path/watch.rs"]
mod watch;

type Topic = (&'static str, fn(&Site));

const TOPICS: [Topic; 7] = [
    ("throughput", throughput::objects),
    ("latency", latency::measure),
    ("list", throughput::lists),
    ("memory", memory::measure),
    ("stalled", stalled::measure),
    ("watch", watch::measure),
    ("idle", idle::measure),
];

fn main() {
    sallyport::tls::install_provider();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, upstream, directory] = arguments.as_slice()
        && role == passthrough::ROLE
    {
        return passthrough::run(upstream, directory.as_ref());
    }
    let site = Site::open();
    let wanted = |topic: &str| {
        let mut named = arguments
            .iter()
            .filter(|argument| !argument.starts_with('-'))
            .peekable();
        named.peek().is_none() || named.any(|name| name == topic)
    };
    for (name, measure) in TOPICS.iter().filter(|(name, _)| wanted(name)) {
        // One topic that breaks off does not take the others along.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| measure(&site))) {
            let message = panic
                .downcast_ref::<String>()
                .map_or("see stderr", String::as_str);
            row::note(&format!("{name} broke off: {message}"));
        }
    }
}
