//! Which process made a connection, for the record.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use sallyport::redirect::netns_cookie;

use crate::{
    process::client,
    scene::{ELSEWHERE_V6, Scene, to_port},
};

/// Of which process the connection is that lands on `listener` when an agent goes `way` to `address`.
fn caller(
    scene: &mut Scene,
    way: &str,
    address: SocketAddr,
    listener: &TcpListener,
) -> (u32, Option<u32>) {
    let port = listener.local_addr().unwrap().port().try_into().unwrap();
    let list = to_port([address].into_iter(), port);
    scene.redirect.set_destinations(&list).unwrap();
    let agent = client(&[way, &address.to_string()]).start_in(scene.agent.container());
    let (id, outcome) = std::thread::scope(|scope| {
        let id = agent.id();
        let connecting = scope.spawn(|| agent.finish());
        let (stream, peer) = listener.accept().unwrap();
        let found = scene
            .redirect
            .connected_process(netns_cookie(listener).unwrap(), peer);
        drop(stream);
        connecting.join().unwrap();
        (id, found.unwrap())
    });
    (id, outcome)
}

#[test]
fn the_process_that_connected_is_known_when_its_connection_is_accepted() {
    let mut scene = Scene::new();
    let v4 = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 443));
    let mapped = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(), 443));
    let on_v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for way in ["connect", "fast-open", "mptcp", "io-uring-async"] {
        for address in [v4, mapped] {
            let (process, found) = caller(&mut scene, way, address, &on_v4);
            assert_eq!(found, Some(process), "{way} {address}");
        }
    }
    let v6 = SocketAddr::from((
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        443,
    ));
    let on_v6 = TcpListener::bind(ELSEWHERE_V6).unwrap();
    let (process, found) = caller(&mut scene, "connect", v6, &on_v6);
    assert_eq!(found, Some(process));
}

#[test]
fn a_connection_that_was_not_redirected_has_no_known_process() {
    let scene = Scene::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_accepted, peer) = listener.accept().unwrap();
    let cookie = netns_cookie(&listener).unwrap();
    assert_eq!(
        scene.redirect.connected_process(cookie, peer).unwrap(),
        None
    );
    drop(stream);
}
