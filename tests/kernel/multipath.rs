//! MPTCP: the kernel itself opens further connections, to addresses that the other side names.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use sallyport::redirect::{Guarded, PodState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    greeter::{Echo, LoopbackGreeters},
    netns::Wire,
    packet::Sniffer,
    process::{Started, client},
    scene::{GATEWAY, Scene, to_port},
};

/// The API server's, and on another address that of a server that is none.
const PORT: u16 = 7443;
const API_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Wire::SERVER_V4), PORT);

/// Such a server offers the API server's address as one more path. The kernel connects from a worker, which is in
/// no pod's cgroup; but the new socket has the cgroup of the first one.
#[test]
fn a_further_path_of_an_mptcp_connection_does_not_lead_to_the_api_server() {
    let mut scene = Scene::new();
    let wire = Wire::new();
    for end in [&wire.pod, &wire.server] {
        end.ip("mptcp limits set add_addr_accepted 2 subflows 2");
    }
    wire.server.ip(&format!(
        "mptcp endpoint add {} dev eth0 signal",
        Wire::SERVER_V4
    ));
    let _echo = Echo::start(wire.server.enter(multipath_listener));
    let gateway = wire.pod.enter(|| LoopbackGreeters::start(GATEWAY));
    let mut sniffer = Sniffer::on(&wire.server);
    let tried = |sniffer: &mut Sniffer| {
        let seen = sniffer.seen();
        seen.iter()
            .any(|seen| seen.destination == API_SERVER.ip() && seen.port == PORT)
    };

    // The kernel takes the offer where it may: of a pod that is no agent.
    let pod = scene.pod(PodState::PASS);
    let other = connected(&wire, pod.container());
    until("the offer is taken", || tried(&mut sniffer));
    other.finish();
    sniffer.seen();

    let list = to_port([API_SERVER].into_iter(), gateway.port());
    scene.redirect.set_destinations(&list).unwrap();
    let guarded = Guarded::new(API_SERVER.ip(), PORT.try_into().ok());
    scene.redirect.set_guarded(&[guarded].into()).unwrap();
    let agent = connected(&wire, scene.agent.container());
    until("the offer is taken, and led to the gateway", || {
        scene.redirect.decisions().unwrap().redirected_v4 > 0
    });
    agent.finish();
    assert!(!tried(&mut sniffer));
}

fn multipath_listener() -> TcpListener {
    const MPTCP: i32 = 262;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(MPTCP))).unwrap();
    let address = SocketAddr::from((Wire::OTHER_V4, PORT));
    socket.bind(&address.into()).unwrap();
    socket.listen(1).unwrap();
    socket.into()
}

/// A process that has exchanged some bytes with the server, and waits.
fn connected(wire: &Wire, cgroup: &Path) -> Started {
    let server = SocketAddr::from((Wire::OTHER_V4, PORT)).to_string();
    let mut started = wire
        .pod
        .enter(|| client(&["keep-multipath", &server]).start_in(cgroup));
    started.tell("connect");
    assert_eq!(started.line(), "connected");
    started
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}
