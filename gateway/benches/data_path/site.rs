//! What all measurements share: the API server, the agents, certificates and a directory.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::{
    agents::Agents,
    certificates,
    client::{Connection, OBJECT, Protocol, Trust},
    envoy, gateway, nginx, passthrough,
    side::Side,
    stub::Stub,
};

pub(crate) struct Site {
    pub(crate) agents: Agents,
    pub(crate) stub: Stub,
    trust: Trust,
    directory: TempDir,
    started: Cell<usize>,
}

impl Site {
    pub(crate) fn open() -> Self {
        allow_many_connections();
        // Not in /tmp, which is memory on many machines.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let directory = tempfile::tempdir_in(target).expect("a directory");
        certificates::create(directory.path());
        Self {
            agents: Agents::new(),
            stub: Stub::start(directory.path()),
            trust: Trust::new(directory.path()),
            directory,
            started: Cell::new(0),
        }
    }

    /// Where the certificates are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// An empty directory.
    pub(crate) fn fresh_directory(&self) -> PathBuf {
        let number = self.started.replace(self.started.get() + 1);
        let directory = self.directory().join(number.to_string());
        fs::create_dir(&directory).expect("a directory of our own");
        directory
    }

    pub(crate) fn direct(&self) -> Side {
        Side::direct(self.stub.address)
    }

    pub(crate) fn sallyport(&self) -> Side {
        gateway::start(self, false)
    }

    /// Reads are answered while their records are being committed.
    pub(crate) fn with_read_lag(&self) -> Side {
        gateway::start(self, true)
    }

    pub(crate) fn passthrough(&self) -> Side {
        passthrough::start(self)
    }

    pub(crate) fn envoy(&self) -> Option<Side> {
        envoy::start(self)
    }

    pub(crate) fn nginx(&self) -> Option<Side> {
        nginx::start(self)
    }

    /// A connection that has carried one call.
    pub(crate) async fn connect(
        &self,
        side: &Side,
        protocol: Protocol,
        agent: usize,
    ) -> Connection {
        let authorization = self.agents.authorization(agent);
        let mut connection =
            Connection::open(side.address, &self.trust, protocol, authorization).await;
        if let Err(failure) = connection.fetch(OBJECT).await {
            panic!("{} answers {}: {failure}", side.name, protocol.name());
        }
        connection
    }
}

/// Runs the clients of one measurement on one thread; at its end their connections close.
pub(crate) fn drive<T>(clients: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(clients)
}

/// Both ends of a thousand connections are ours.
fn allow_many_connections() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
}
