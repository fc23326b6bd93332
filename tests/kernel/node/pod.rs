use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use harness::eventually;

use super::LIMIT;
use crate::{
    netns::NetNs,
    process::{Started, client},
};

/// A pod as the node sees it: a cgroup, and in it a sandbox whose network the others are in.
pub(crate) struct RunningPod {
    cgroup: PathBuf,
    network: Option<Network>,
    sandbox: Child,
    destination: SocketAddr,
    /// Connections of [`Self::connect_while_unstopped`].
    made: AtomicUsize,
    stopped: AtomicBool,
}

/// A network namespace that can be seen to go: one end of a pair of devices lies in it, the other outside.
pub(crate) struct Network {
    namespace: Option<NetNs>,
    outside: NetNs,
}

impl Network {
    pub(crate) fn with(address: &str) -> Self {
        let (namespace, outside) = (NetNs::new(), NetNs::new());
        outside.enter(|| {
            let outside = nix::unistd::gettid();
            namespace.ip(&format!(
                "link add eth0 type veth peer name pod netns {outside}"
            ));
        });
        namespace.ip(&format!("address add {address}/24 dev eth0"));
        namespace.ip("link set eth0 up");
        Self {
            namespace: Some(namespace),
            outside,
        }
    }

    fn namespace(&self) -> &NetNs {
        self.namespace
            .as_ref()
            .expect("it is let go of only when it is watched")
    }

    /// Nobody holds it any more.
    pub(crate) fn eventually_gone(mut self) {
        drop(self.namespace.take());
        let gone = || {
            let devices = self
                .outside
                .enter(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
            Ok((!devices.contains("pod:")).then_some(()))
        };
        eventually("the end of a pod's network", LIMIT, gone).unwrap();
    }
}

impl RunningPod {
    pub(crate) fn start(cgroup: PathBuf, network: Network, destination: SocketAddr) -> Self {
        fs::create_dir(&cgroup).unwrap();
        let sandbox = sandbox(&cgroup, &network);
        Self {
            cgroup,
            network: Some(network),
            sandbox,
            destination,
            made: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// What a process in the pod reads from the API server's address, or why it does not.
    pub(crate) fn connect(&self) -> String {
        let client = self.client();
        client.move_to(&self.container());
        client.finish()
    }

    fn client(&self) -> Started {
        let start = || client(&["connect", &self.destination.to_string()]).start();
        self.namespace().enter(start)
    }

    pub(crate) fn connect_while_unstopped(&self) -> Vec<String> {
        let mut greetings = Vec::new();
        while !self.stopped.load(Ordering::Acquire) {
            greetings.push(self.connect());
            self.made.fetch_add(1, Ordering::Release);
        }
        greetings
    }

    pub(crate) fn eventually_connected(&self, times: usize) {
        let enough = || Ok((self.made.load(Ordering::Acquire) >= times).then_some(()));
        eventually("enough connections", LIMIT, enough).unwrap();
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn eventually_reaches(&self, greeting: &str) {
        self.eventually(greeting, |outcome| outcome == greeting);
    }

    /// Its packets find no way, which they look for only where nothing redirects them.
    pub(crate) fn eventually_passes(&self) {
        self.eventually("no redirect", passes);
    }

    /// Asked often enough that it is no accident.
    pub(crate) fn always_passes(&self) {
        for _ in 0..5 {
            let outcome = self.connect();
            assert!(passes(&outcome), "{outcome}");
        }
    }

    pub(crate) fn eventually_refused(&self) {
        self.eventually("a refusal", |outcome| {
            outcome.starts_with("Connection refused")
        });
    }

    /// The kernel has completed the connection, and nobody accepts it.
    pub(crate) fn eventually_waits(&self) {
        let waits = || {
            let start = || {
                Command::new(env!("CARGO_BIN_EXE_kernel-client"))
                    .args(["connect", &self.destination.to_string()])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap()
            };
            let mut client = self.namespace().enter(start);
            let procs = self.container().join("cgroup.procs");
            fs::write(procs, client.id().to_string()).unwrap();
            drop(client.stdin.take());
            let sockets = format!("/proc/{}/net/tcp", client.id());
            let established = eventually("an outcome", LIMIT, || {
                if client.try_wait()?.is_some() {
                    return Ok(Some(false));
                }
                let sockets = fs::read_to_string(&sockets)?;
                let states = sockets
                    .lines()
                    .filter_map(|line| line.split_whitespace().nth(3));
                Ok(states
                    .into_iter()
                    .any(|state| state == "01")
                    .then_some(true))
            });
            end(&mut client);
            Ok(established?.then_some(()))
        };
        eventually("a connection that waits", LIMIT, waits).unwrap();
    }

    fn eventually(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let mut last = String::new();
        let outcome = eventually(what, LIMIT, || {
            last = self.connect();
            Ok(holds(&last).then_some(()))
        });
        outcome.unwrap_or_else(|error| panic!("{error}; the last outcome was {last:?}"));
    }

    /// Another sandbox with the same address, as the runtime makes it when the first one has died.
    pub(crate) fn renew_sandbox(&mut self) -> Network {
        end(&mut self.sandbox);
        let next = Network::with(super::scene::POD_ADDRESS);
        let old = self.network.replace(next).expect(TAKEN_AT_ITS_END);
        fs::remove_dir(self.container()).unwrap();
        let network = self.network.as_ref().expect(TAKEN_AT_ITS_END);
        self.sandbox = sandbox(&self.cgroup, network);
        old
    }

    /// Its processes, then its cgroup.
    pub(crate) fn end(mut self) -> Network {
        self.network.take().expect(TAKEN_AT_ITS_END)
    }

    fn container(&self) -> PathBuf {
        self.cgroup.join(CONTAINER)
    }

    fn namespace(&self) -> &NetNs {
        self.network.as_ref().expect(TAKEN_AT_ITS_END).namespace()
    }

    /// The process that its network is known by.
    pub(crate) fn sandbox(&self) -> u32 {
        self.sandbox.id()
    }
}

const TAKEN_AT_ITS_END: &str = "a pod's network is taken only where it ends";
const CONTAINER: &str = "cri-containerd-0123abcd.scope";

fn passes(outcome: &str) -> bool {
    outcome.contains("unreachable") || outcome.contains("timed out")
}

fn sandbox(pod: &Path, network: &Network) -> Child {
    let container = pod.join(CONTAINER);
    fs::create_dir(&container).unwrap();
    let start = || {
        Command::new("sleep")
            .arg("infinity")
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    };
    let sandbox = network.namespace().enter(start);
    fs::write(container.join("cgroup.procs"), sandbox.id().to_string()).unwrap();
    sandbox
}

fn end(process: &mut Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

impl Drop for RunningPod {
    fn drop(&mut self) {
        end(&mut self.sandbox);
        fs::remove_dir(self.container()).expect("every process of the container has ended");
        fs::remove_dir(&self.cgroup).expect("every process of the pod has ended");
    }
}
