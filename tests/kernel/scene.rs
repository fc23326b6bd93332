use std::{
    collections::BTreeMap,
    env,
    fs::File,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    path::{Path, PathBuf},
    process,
};

use sallyport::redirect::{
    Action, BPFFS, ForwardedEvents, Guarded, ListenerPort, Options, OrigDstAddr, PodState,
    Redirect, ReservedPorts, Unclassified, mount_bpffs, uninstall,
};

use crate::{
    cgroup::{TestCgroup, TestPod, serial},
    greeter::{Greeter, LoopbackGreeters},
    log,
    process::{client, connect_inside},
};

pub(crate) const API_SERVER: &str = "the API server";
pub(crate) const GATEWAY: &str = "the gateway";

/// On loopback, but not the address that connections are redirected to.
pub(crate) const ELSEWHERE_V4: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 9, 9, 9), 0);
pub(crate) const ELSEWHERE_V6: (Ipv6Addr, u16) = (Ipv6Addr::LOCALHOST, 0);

/// An API server, a gateway, and an agent pod whose connections to the one are led to the other. All are in the
/// network namespace of the test.
pub(crate) struct Scene {
    pub(crate) redirect: Redirect,
    pub(crate) events: ForwardedEvents,
    pub(crate) pins: TestPins,
    pub(crate) agent: TestPod,
    pub(crate) kubepods: TestCgroup,
    pub(crate) api_server: Greeter,
    pub(crate) gateway: Option<LoopbackGreeters>,
    _turn: File,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with_api_server_at(ELSEWHERE_V4)
    }

    pub(crate) fn with_api_server_at(address: impl Into<SocketAddr>) -> Self {
        Self::set(take_turn(), address.into())
    }

    pub(crate) fn set(turn: File, api_server: SocketAddr) -> Self {
        let api_server = Greeter::start(API_SERVER, api_server);
        let pins = TestPins::new();
        let kubepods = TestCgroup::new();
        let (redirect, events) = open(&options(&pins, &kubepods));
        let mut scene = Self {
            redirect,
            events,
            pins,
            agent: kubepods.pod(),
            kubepods,
            api_server,
            gateway: Some(LoopbackGreeters::start(GATEWAY)),
            _turn: turn,
        };
        scene.lead_to_gateway(&[scene.api_server.address()]);
        scene.attach();
        scene.capture();
        scene
    }

    pub(crate) fn attach(&mut self) {
        self.redirect
            .attach()
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Does for the agent's pod what the node agent does, in that order.
    pub(crate) fn capture(&mut self) {
        let pod = self.agent.cgroup();
        self.redirect.guard_ports(&pod).unwrap();
        self.redirect.classify(pod.id, PodState::AGENT).unwrap();
        self.redirect.enforce(&pod).unwrap();
    }

    /// Another pod of that state, with nothing attached to it.
    pub(crate) fn pod(&mut self, state: PodState) -> TestPod {
        let pod = self.kubepods.pod();
        self.redirect.classify(pod.cgroup().id, state).unwrap();
        pod
    }

    /// Redirects these, and guards them.
    pub(crate) fn lead_to_gateway(&mut self, destinations: &[SocketAddr]) {
        let list = to_port(destinations.iter().copied(), self.gateway_port());
        self.redirect.set_destinations(&list).unwrap();
        let guarded = destinations
            .iter()
            .map(|address| Guarded::new(address.ip(), NonZeroU16::new(address.port())))
            .collect();
        self.redirect.set_guarded(&guarded).unwrap();
    }

    /// What a new node agent does when it starts. Returns the one that was there.
    pub(crate) fn open_again(&mut self) -> Redirect {
        let (redirect, events) = open(&options(&self.pins, &self.kubepods));
        self.events = events;
        std::mem::replace(&mut self.redirect, redirect)
    }

    pub(crate) fn gateway_port(&self) -> NonZeroU16 {
        self.gateway.as_ref().expect("the gateway is up").port()
    }

    /// Where a process in the agent's container lands that wants to reach the API server.
    pub(crate) fn connect_as_agent(&self) -> String {
        connect_inside(self.agent.container(), self.api_server.address())
    }

    /// What a process in the agent's container says that does `verb` to the API server's address.
    pub(crate) fn as_agent(&self, verb: &str) -> String {
        let address = self.api_server.address().to_string();
        client(&[verb, &address]).run_in(self.agent.container())
    }
}

pub(crate) fn options(pins: &TestPins, kubepods: &TestCgroup) -> Options {
    Options {
        pins: pins.path().to_owned(),
        kubepods: kubepods.path().to_owned(),
        host_netns: None,
        unclassified: Unclassified::Pass,
        ports: RESERVED,
    }
}

pub(crate) const RESERVED: ReservedPorts = ReservedPorts {
    first: 15300,
    count: 16,
};

pub(crate) fn open(options: &Options) -> (Redirect, ForwardedEvents) {
    log::start();
    let (redirect, events) = Redirect::open(options).unwrap_or_else(|error| panic!("{error}"));
    (redirect, events.forward().unwrap())
}

/// A directory in the BPF file system, uninstalled at the end.
pub(crate) struct TestPins(PathBuf);

impl TestPins {
    pub(crate) fn new() -> Self {
        let bpffs = Path::new(BPFFS);
        mount_bpffs(bpffs).unwrap();
        Self(bpffs.join(format!("sallyport-test-{}-{}", process::id(), serial())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestPins {
    fn drop(&mut self) {
        uninstall(&self.0).expect("root may remove every pin");
    }
}

pub(crate) fn to_port(
    destinations: impl Iterator<Item = SocketAddr>,
    port: NonZeroU16,
) -> BTreeMap<OrigDstAddr, Action> {
    let action = Action::Redirect(ListenerPort::new(port));
    destinations
        .map(|address| (OrigDstAddr::new(address), action))
        .collect()
}

/// One test at a time, also where each has a process of its own: some look at the whole machine.
/// The lock is on this binary, so that no lock file is left behind.
pub(crate) fn take_turn() -> File {
    let root = nix::unistd::geteuid().is_root();
    assert!(root, "these tests load kernel programs: run them as root");
    let turn = File::open(env::current_exe().unwrap()).unwrap();
    turn.lock().unwrap();
    turn
}
