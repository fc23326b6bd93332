//! Packets of an agent to the API server that no redirected connection sends: they are tried over a wire, whose
//! other end tells what arrived.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use sallyport::redirect::{Guarded, PodState};

use crate::{
    greeter::{Greeter, LoopbackGreeters},
    log,
    netns::Wire,
    packet::{Seen, Sniffer, TCP, UDP, hexadecimal, ports, v4, v6},
    process::{Started, client},
    scene::{API_SERVER, GATEWAY, Scene, to_port},
};

/// The API server's, which is guarded, and one on the same addresses that is not.
const GUARDED: u16 = 6443;
const OPEN: u16 = 6444;

/// What a process is told whose packet was dropped.
const DENIED: &str = "Operation not permitted (os error 1)";
const MORE_FRAGMENTS: u16 = 0x2000;

/// A scene whose agent and API server are in network namespaces of their own.
pub(crate) struct Wired {
    sniffer: Sniffer,
    pub(crate) scene: Scene,
    _servers: Vec<Greeter>,
    _gateway: LoopbackGreeters,
    pub(crate) wire: Wire,
}

impl Wired {
    pub(crate) fn new() -> Self {
        let mut scene = Scene::new();
        let wire = Wire::new();
        let servers = wire.server.enter(|| {
            let addresses = [
                Wire::SERVER_V4.into(),
                Wire::SERVER_V6.into(),
                Wire::OTHER_V4.into(),
            ];
            let addresses =
                addresses.map(|ip: IpAddr| [GUARDED, OPEN].map(|port| SocketAddr::new(ip, port)));
            let addresses = addresses.as_flattened().iter();
            addresses
                .map(|address| Greeter::start(API_SERVER, *address))
                .collect()
        });
        let gateway = wire.pod.enter(|| LoopbackGreeters::start(GATEWAY));
        let api_server = [Wire::SERVER_V4.into(), Wire::SERVER_V6.into()];
        let destinations = api_server.map(|ip: IpAddr| SocketAddr::new(ip, GUARDED));
        let list = to_port(destinations.into_iter(), gateway.port());
        scene.redirect.set_destinations(&list).unwrap();
        let mut wired = Self {
            sniffer: Sniffer::on(&wire.server),
            scene,
            _servers: servers,
            _gateway: gateway,
            wire,
        };
        wired.guard(NonZeroU16::new(GUARDED));
        wired
    }

    pub(crate) fn guard(&mut self, port: Option<NonZeroU16>) {
        let api_server = [Wire::SERVER_V4.into(), Wire::SERVER_V6.into()];
        let guarded = api_server.map(|ip: IpAddr| Guarded::new(ip, port));
        self.scene.redirect.set_guarded(&guarded.into()).unwrap();
    }

    /// What a process of the agent says.
    fn agent(&self, arguments: &[&str]) -> String {
        self.start_agent(arguments).finish()
    }

    pub(crate) fn start_agent(&self, arguments: &[&str]) -> Started {
        let container = self.scene.agent.container();
        self.wire
            .pod
            .enter(|| client(arguments).start_in(container))
    }

    /// What a process in the pod's network namespace says that is in no pod's cgroup.
    fn no_agent(&self, arguments: &[&str]) -> String {
        self.wire.pod.enter(|| client(arguments).run())
    }

    fn send_v4(&self, packet: &[u8]) -> String {
        let destination = std::net::Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
        self.agent(&["raw4", &destination.to_string(), &hexadecimal(packet)])
    }

    fn send_v6(&self, packet: &[u8]) -> String {
        let destination: [u8; 16] = packet[24..40].try_into().unwrap();
        let destination = std::net::Ipv6Addr::from(destination);
        self.agent(&["raw6", &destination.to_string(), &hexadecimal(packet)])
    }

    /// What arrived up to now, known by the answer to a connection that the guard lets pass.
    pub(crate) fn arrived(&mut self) -> Vec<Seen> {
        let open = SocketAddr::new(Wire::SERVER_V4.into(), OPEN).to_string();
        assert_eq!(self.no_agent(&["connect", &open]), API_SERVER);
        self.sniffer.seen()
    }

    pub(crate) fn arrived_at(&mut self, port: u16) -> usize {
        self.arrived()
            .iter()
            .filter(|seen| seen.port == port)
            .count()
    }
}

fn at(ip: impl Into<IpAddr>, port: u16) -> String {
    SocketAddr::new(ip.into(), port).to_string()
}

#[test]
fn an_agent_on_a_network_of_its_own_lands_on_the_listener_in_its_pod_and_no_packet_leaves() {
    let mut wired = Wired::new();
    for way in [
        "connect",
        "fast-open",
        "fast-open-connect",
        "mptcp",
        "io-uring-async",
    ] {
        for address in [at(Wire::SERVER_V4, GUARDED), at(Wire::SERVER_V6, GUARDED)] {
            assert_eq!(wired.agent(&[way, &address]), GATEWAY, "{way}");
        }
    }
    assert_eq!(wired.arrived_at(GUARDED), 0);
    assert_eq!(
        wired.no_agent(&["connect", &at(Wire::SERVER_V4, GUARDED)]),
        API_SERVER
    );
    assert_ne!(wired.arrived_at(GUARDED), 0);
}

#[test]
fn ports_that_are_not_guarded_are_reached_on_the_same_address() {
    let wired = Wired::new();
    for address in [
        at(Wire::SERVER_V4, OPEN),
        at(Wire::SERVER_V6, OPEN),
        at(Wire::OTHER_V4, GUARDED),
    ] {
        assert_eq!(wired.agent(&["connect", &address]), API_SERVER);
    }
}

#[test]
fn an_address_that_is_guarded_whole_is_reached_on_no_port() {
    let mut wired = Wired::new();
    wired.guard(None);
    for address in [at(Wire::SERVER_V4, OPEN), at(Wire::SERVER_V6, OPEN)] {
        let outcome = wired.agent(&["connect", &address]);
        assert!(outcome.starts_with("Operation not permitted"), "{outcome}");
        let outcome = wired.agent(&["udp-send", &address]);
        assert!(outcome.starts_with("Operation not permitted"), "{outcome}");
    }
    assert_eq!(wired.scene.redirect.decisions().unwrap().denied_guarded, 2);
}

#[test]
fn datagrams_to_a_guarded_port_are_dropped_connected_or_not() {
    let mut wired = Wired::new();
    for ip in [IpAddr::from(Wire::SERVER_V4), Wire::SERVER_V6.into()] {
        let outcome = wired.agent(&["udp-send", &at(ip, GUARDED)]);
        assert!(outcome.starts_with("Operation not permitted"), "{outcome}");
        // A destination of connections: this ends on loopback, where no datagram is expected.
        let outcome = wired.agent(&["udp-connect", &at(ip, GUARDED)]);
        assert!(outcome.starts_with("Connection refused"), "{outcome}");
        assert_eq!(wired.agent(&["udp-send", &at(ip, OPEN)]), "sent");
    }
    assert_eq!(wired.arrived_at(GUARDED), 0);
}

#[test]
fn a_connection_that_is_older_than_the_guard_is_cut() {
    let mut wired = Wired::new();
    let address = at(Wire::SERVER_V4, GUARDED);
    let pod = wired.scene.pod(PodState::PASS);
    // What it acknowledges of the greeting has arrived before the guard is there.
    let words = ["keep-greeted-connection", &address];
    let older = || client(&words).start_in(pod.container());
    let mut older = wired.wire.pod.enter(older);
    older.tell("connect");
    assert_eq!(older.line(), "connected");
    assert_ne!(wired.arrived_at(GUARDED), 0);
    wired.scene.redirect.enforce(&pod.cgroup()).unwrap();
    older.tell("write");
    assert_eq!(older.line(), "written");
    assert_eq!(wired.arrived_at(GUARDED), 0);
    assert_ne!(wired.scene.redirect.decisions().unwrap().dropped_packets, 0);
    let line = log::wait_for(&["dropped packet dst=[::ffff:10.77.0.2]"]);
    assert_eq!(line["level"], "WARN");
    older.finish();
    // Neither does its end reach the server.
    assert_eq!(wired.arrived_at(GUARDED), 0);
    wired.scene.redirect.forget(pod.cgroup().id).unwrap();
}

#[test]
fn raw_packets_to_a_guarded_port_are_dropped_with_options_or_without() {
    let mut wired = Wired::new();
    const NO_OPERATION: [u8; 8] = [1; 8];
    for protocol in [TCP, UDP, 33, 132, 136] {
        for options in [&[][..], &NO_OPERATION[..4], &NO_OPERATION] {
            let guarded = v4(Wire::SERVER_V4, protocol, options, 0, &ports(GUARDED));
            assert_eq!(wired.send_v4(&guarded), DENIED, "{protocol} {options:?}");
            let open = v4(Wire::SERVER_V4, protocol, options, 0, &ports(OPEN));
            assert_eq!(wired.send_v4(&open), "sent", "{protocol} {options:?}");
        }
    }
    assert_eq!(wired.arrived_at(GUARDED), 0);
}

#[test]
fn protocols_whose_port_cannot_be_read_are_dropped_and_icmp_is_not() {
    let wired = Wired::new();
    const ICMP: u8 = 1;
    const ICMP_V6: u8 = 58;
    let (gre, ip_in_ip, esp, ah, nothing) = (47, 4, 50, 51, 59);
    for protocol in [gre, ip_in_ip, esp, ah, 200] {
        let packet = v4(Wire::SERVER_V4, protocol, &[], 0, &ports(OPEN));
        assert_eq!(wired.send_v4(&packet), DENIED, "{protocol}");
        let elsewhere = v4(Wire::OTHER_V4, protocol, &[], 0, &ports(OPEN));
        assert_eq!(wired.send_v4(&elsewhere), "sent", "{protocol}");
    }
    for next in [gre, 41, esp, ah, nothing, 135, 200] {
        let packet = v6(Wire::SERVER_V6, next, &ports(OPEN));
        assert_eq!(wired.send_v6(&packet), DENIED, "{next}");
        let elsewhere = v6(Wire::OTHER_V6, next, &ports(OPEN));
        assert_eq!(wired.send_v6(&elsewhere), "sent", "{next}");
    }
    let echo = [8, 0, 0, 0, 0, 1, 0, 1];
    assert_eq!(
        wired.send_v4(&v4(Wire::SERVER_V4, ICMP, &[], 0, &echo)),
        "sent"
    );
    assert_eq!(wired.send_v6(&v6(Wire::SERVER_V6, ICMP_V6, &echo)), "sent");
}

#[test]
fn fragments_made_by_hand_do_not_hide_a_port() {
    let mut wired = Wired::new();
    let first = |payload: &[u8]| v4(Wire::SERVER_V4, TCP, &[], MORE_FRAGMENTS, payload);
    let behind = |payload: &[u8]| v4(Wire::SERVER_V4, TCP, &[], 1, payload);
    assert_eq!(wired.send_v4(&first(&ports(GUARDED))), DENIED);
    assert_eq!(
        wired.send_v4(&first(&ports(OPEN)[..2])),
        DENIED,
        "too short for its port"
    );
    assert_eq!(wired.send_v4(&behind(&ports(GUARDED))), DENIED);
    assert_eq!(
        wired.send_v4(&behind(&ports(OPEN))),
        DENIED,
        "whatever it contains"
    );
    assert_eq!(wired.send_v4(&first(&ports(OPEN))), "sent");
    assert_eq!(
        wired.send_v4(&v4(Wire::OTHER_V4, TCP, &[], 1, &ports(GUARDED))),
        "sent"
    );
    let guarded = wired
        .arrived()
        .into_iter()
        .filter(|seen| seen.destination == IpAddr::from(Wire::SERVER_V4) && seen.port == GUARDED);
    assert_eq!(guarded.count(), 0);
}

#[test]
fn ipv6_extension_headers_do_not_hide_a_port() {
    let wired = Wired::new();
    let tries: [(&str, u8, Vec<u8>); 6] = [
        ("none", TCP, vec![]),
        ("hop by hop", 0, options_header(TCP, 0)),
        ("destination options, long", 60, options_header(TCP, 3)),
        ("routing", 43, options_header(TCP, 1)),
        ("a first fragment", 44, fragment_header(TCP, 0)),
        (
            "three of them",
            0,
            [
                options_header(60, 0),
                options_header(44, 2),
                fragment_header(TCP, 0),
            ]
            .concat(),
        ),
    ];
    for (name, next, headers) in tries {
        let packet = |port| {
            v6(
                Wire::SERVER_V6,
                next,
                &[&headers[..], &ports(port)].concat(),
            )
        };
        assert_eq!(wired.send_v6(&packet(GUARDED)), DENIED, "{name}");
        assert_eq!(wired.send_v6(&packet(OPEN)), "sent", "{name}");
    }
}

#[test]
fn ipv6_headers_that_cannot_be_followed_are_dropped_with_what_is_behind_them() {
    let wired = Wired::new();
    let seven = [0; 7].map(|_| options_header(60, 0)).concat();
    let tries: [(&str, u8, Vec<u8>); 4] = [
        ("a fragment behind the first", 44, fragment_header(TCP, 8)),
        ("more headers than are followed", 60, seven),
        (
            "a header longer than the packet",
            60,
            options_header(TCP, 200)[..8].to_vec(),
        ),
        ("an authentication header", 51, options_header(TCP, 4)),
    ];
    for (name, next, headers) in tries {
        let payload = [&headers[..], &ports(OPEN)].concat();
        assert_eq!(
            wired.send_v6(&v6(Wire::SERVER_V6, next, &payload)),
            DENIED,
            "{name}"
        );
        let elsewhere = v6(Wire::OTHER_V6, next, &payload);
        assert_eq!(wired.send_v6(&elsewhere), "sent", "{name}");
    }
}

/// `length` counts units of eight bytes behind the first. The options are padding.
fn options_header(next: u8, length: u8) -> Vec<u8> {
    let mut header = vec![0; (usize::from(length) + 1) * 8];
    let padding = (header.len() - 4).min(255) as u8;
    header[..4].copy_from_slice(&[next, length, 1, padding]);
    header
}

fn fragment_header(next: u8, offset: u16) -> Vec<u8> {
    let [high, low] = (offset | 1).to_be_bytes();
    vec![next, 0, high, low, 0, 0, 0, 1]
}

/// As measured: a packet socket writes below the network layer, where no program of a cgroup runs. It takes the
/// capability NET_RAW, and what stops it is its lack, or a filter on the host's side of the pod's interface.
#[test]
fn a_packet_socket_passes_the_cgroups_guard() {
    let mut wired = Wired::new();
    let packet = v4(Wire::SERVER_V4, TCP, &[], 0, &ports(GUARDED));
    let broadcast = [0xff; 6];
    let frame = [&broadcast[..], &[2, 0, 0, 0, 0, 1], &[0x08, 0x00], &packet].concat();
    assert_eq!(
        wired.agent(&["frame", "eth0", &hexadecimal(&frame)]),
        "sent"
    );
    assert_eq!(wired.arrived_at(GUARDED), 1);
    assert_eq!(wired.scene.redirect.decisions().unwrap().dropped_packets, 0);
}
