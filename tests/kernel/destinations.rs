//! The lists that the programs decide by, and what they report.

use std::net::Ipv4Addr;

use sallyport::redirect::{self, Action, Guarded, OrigDstAddr};

use crate::{
    greeter::Greeter,
    log,
    process::connect_inside,
    scene::{API_SERVER, ELSEWHERE_V4, GATEWAY, Scene, to_port},
};

#[test]
fn a_destination_without_a_listener_is_denied_and_the_denial_logged() {
    let mut scene = Scene::new();
    let destination = OrigDstAddr::new(scene.api_server.address());
    scene
        .redirect
        .set_destinations(&[(destination, Action::Deny)].into())
        .unwrap();
    let outcome = scene.connect_as_agent();
    assert!(outcome.starts_with("Operation not permitted"), "{outcome}");
    assert_eq!(scene.redirect.decisions().unwrap().denied, 1);
    let port = scene.api_server.address().port();
    let line = log::wait_for(&["denied", &format!("orig_dst=[::ffff:127.9.9.9]:{port}")]);
    assert_eq!(line["level"], "WARN");
}

#[test]
fn every_redirection_is_logged_with_the_original_destination() {
    let scene = Scene::new();
    scene.connect_as_agent();
    let port = scene.api_server.address().port();
    let line = log::wait_for(&["redirected", &format!("orig_dst=[::ffff:127.9.9.9]:{port}")]);
    assert_eq!(line["target"], "sallyport::redirect::kernel");
    assert_eq!(line["level"], "DEBUG");
    let listener = format!("listener_port={}", scene.gateway_port());
    let message = line["fields"]["message"].as_str().unwrap();
    assert!(message.contains(&listener), "{line}");
}

#[test]
fn a_new_list_of_destinations_replaces_the_old_one() {
    let mut scene = Scene::new();
    let added = Greeter::start("a second API server", ELSEWHERE_V4);
    scene.lead_to_gateway(&[added.address()]);
    let landed = connect_inside(scene.agent.container(), added.address());
    assert_eq!(landed, GATEWAY);
    assert_eq!(scene.connect_as_agent(), API_SERVER);
}

#[test]
fn a_full_list_of_destinations_can_be_replaced_by_another_full_one() {
    let mut scene = Scene::new();
    for network in [1, 2, 3] {
        let many = (1..=1024).map(|port| (Ipv4Addr::new(192, 0, network, 1), port).into());
        let list = to_port(many, scene.gateway_port());
        scene.redirect.set_destinations(&list).unwrap();
    }
}

#[test]
fn more_destinations_than_fit_are_refused_and_the_old_list_stays() {
    let mut scene = Scene::new();
    let many = (1..=1025).map(|port| (Ipv4Addr::LOCALHOST, port).into());
    let refused = scene
        .redirect
        .set_destinations(&to_port(many, scene.gateway_port()));
    assert!(matches!(
        refused,
        Err(redirect::Error::TooManyDestinations { got: 1025, .. })
    ));
    assert_eq!(scene.connect_as_agent(), GATEWAY);
}

#[test]
fn more_guarded_addresses_than_fit_are_refused_and_the_old_list_stays() {
    let mut scene = Scene::new();
    let address = scene.api_server.address();
    let guarded = Guarded::new(address.ip(), None);
    scene.redirect.set_destinations(&[].into()).unwrap();
    scene.redirect.set_guarded(&[guarded].into()).unwrap();
    let many = (0..16385_u32)
        .map(|host| Guarded::new(Ipv4Addr::from_bits(0xc600_0000 + host).into(), None));
    let refused = scene.redirect.set_guarded(&many.collect());
    assert!(matches!(
        refused,
        Err(redirect::Error::TooManyGuarded { got: 16385, .. })
    ));
    let outcome = scene.connect_as_agent();
    assert!(outcome.starts_with("Operation not permitted"), "{outcome}");
    assert_eq!(scene.redirect.decisions().unwrap().denied_guarded, 1);
}
