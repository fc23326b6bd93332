//! The listeners' ports in a pod, which is a network namespace of its own here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::{
    netns::NetNs,
    process::client,
    scene::{RESERVED, Scene},
};

const DENIED: &str = "Operation not permitted (os error 1)";
const LAST: u16 = RESERVED.first + RESERVED.count - 1;
const ADDRESSES: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

fn by_agent(scene: &Scene, netns: &NetNs, arguments: &[&str]) -> String {
    netns.enter(|| client(arguments).run_in(scene.agent.container()))
}

#[test]
fn an_agent_binds_no_reserved_port_on_any_address() {
    let (scene, netns) = (Scene::new(), NetNs::new());
    for ip in ADDRESSES {
        for port in [RESERVED.first, LAST] {
            let address = SocketAddr::new(ip, port).to_string();
            assert_eq!(by_agent(&scene, &netns, &["bind", &address]), DENIED);
            let outside = netns.enter(|| client(&["bind", &address]).run());
            assert_eq!(outside, format!("bound {address}"));
        }
    }
    assert_eq!(scene.redirect.decisions().unwrap().denied_binds, 8);
}

#[test]
fn an_agent_binds_every_other_port() {
    let (scene, netns) = (Scene::new(), NetNs::new());
    for ip in ADDRESSES {
        for port in [RESERVED.first - 1, LAST + 1] {
            let address = SocketAddr::new(ip, port).to_string();
            assert_eq!(
                by_agent(&scene, &netns, &["bind", &address]),
                format!("bound {address}")
            );
        }
        let any = SocketAddr::new(ip, 0).to_string();
        let outcome = by_agent(&scene, &netns, &["bind", &any]);
        assert!(outcome.starts_with("bound "), "{outcome}");
    }
}

/// The kernel lets a port be shared by sockets of one user: a listener of root's could be shared by a container
/// that runs as root. Without the guard it works, which is what makes the guard needed.
#[test]
fn an_agent_that_is_root_does_not_share_a_listeners_port() {
    let (mut scene, netns) = (Scene::new(), NetNs::new());
    for ip in [ADDRESSES[0], ADDRESSES[2]] {
        let address = SocketAddr::new(ip, RESERVED.first);
        let _listener = netns.enter(|| shared_listener(address));
        let address = address.to_string();
        assert_eq!(by_agent(&scene, &netns, &["bind-shared", &address]), DENIED);
        let as_nobody = ["bind-shared-as", "65534", &address];
        assert_eq!(by_agent(&scene, &netns, &as_nobody), DENIED);
    }
    scene.redirect.forget(scene.agent.cgroup().id).unwrap();
    let address = SocketAddr::new(ADDRESSES[0], RESERVED.first);
    let _listener = netns.enter(|| shared_listener(address));
    let address = address.to_string();
    let stolen = by_agent(&scene, &netns, &["bind-shared", &address]);
    assert_eq!(stolen, format!("bound {address}"));
    let as_nobody = by_agent(&scene, &netns, &["bind-shared-as", "65534", &address]);
    assert!(
        as_nobody.starts_with("Address already in use"),
        "{as_nobody}"
    );
}

fn shared_listener(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1).unwrap();
    socket
}
