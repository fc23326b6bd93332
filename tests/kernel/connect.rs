//! However a process in an agent pod connects to the API server, it lands on the gateway.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{
    greeter::Greeter,
    process::{client, connect, connect_inside},
    scene::{API_SERVER, ELSEWHERE_V4, ELSEWHERE_V6, GATEWAY, Scene},
};

/// Every way that `kernel-client` knows. Each is tried without the programs as well, where it has to work: a way
/// that fails by itself would prove nothing.
const WAYS: [&str; 11] = [
    "connect",
    "connect-nonblocking",
    "connect-after-unspec",
    "fast-open",
    "fast-open-connect",
    "io-uring",
    "io-uring-sqpoll",
    "io-uring-async",
    "mptcp",
    "mptcp-nonblocking",
    "connect-v6only",
];

fn all_ways_land_on_the_gateway(scene: &Scene, address: SocketAddr, ways: &[&str]) {
    let address = address.to_string();
    for way in ways {
        assert_eq!(
            client(&[way, &address]).run(),
            API_SERVER,
            "{way}, no agent"
        );
        let landed = client(&[way, &address]).run_in(scene.agent.container());
        assert_eq!(landed, GATEWAY, "{way}");
    }
}

#[test]
fn every_way_to_connect_to_an_ipv4_destination_lands_on_the_listener() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V4);
    all_ways_land_on_the_gateway(&scene, scene.api_server.address(), &WAYS[..10]);
    // The one that connects twice is counted twice.
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v4, 11);
}

#[test]
fn every_way_to_connect_to_an_ipv6_destination_lands_on_the_listener() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V6);
    all_ways_land_on_the_gateway(&scene, scene.api_server.address(), &WAYS);
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v6, 12);
}

#[test]
fn every_way_to_connect_to_a_v4_mapped_address_lands_on_the_listener() {
    let scene = Scene::with_api_server_at(ELSEWHERE_V4);
    let mapped = (
        Ipv4Addr::new(127, 9, 9, 9).to_ipv6_mapped(),
        scene.api_server.address().port(),
    );
    all_ways_land_on_the_gateway(&scene, mapped.into(), &WAYS[..10]);
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v4_mapped, 11);
}

#[test]
fn a_datagram_socket_that_connects_to_a_destination_reaches_nobody() {
    let scene = Scene::new();
    let outcome = scene.as_agent("udp-connect");
    assert!(outcome.starts_with("Connection refused"), "{outcome}");
}

#[test]
fn a_process_in_a_nested_cgroup_is_redirected_as_well() {
    let scene = Scene::new();
    let nested = scene.agent.nested();
    assert_eq!(
        connect_inside(nested.path(), scene.api_server.address()),
        GATEWAY
    );
}

#[test]
fn a_process_outside_of_every_pod_is_not_redirected() {
    let scene = Scene::new();
    assert_eq!(connect(scene.api_server.address()), API_SERVER);
}

#[test]
fn a_connection_of_an_agent_to_anything_else_passes() {
    let scene = Scene::new();
    let other = Greeter::start("something else", ELSEWHERE_V4);
    assert_eq!(
        connect_inside(scene.agent.container(), other.address()),
        "something else"
    );
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v4, 0);
}

#[test]
fn a_destination_stays_unreachable_when_the_listener_is_gone() {
    let mut scene = Scene::new();
    scene.gateway = None;
    assert!(scene.connect_as_agent().starts_with("Connection refused"));
    assert_eq!(connect(scene.api_server.address()), API_SERVER);
}
