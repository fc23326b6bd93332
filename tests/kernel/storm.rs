//! Programs are exchanged while connections are made: none goes past them, none fails, and a pod that is no agent
//! notices nothing.

use harness::of_tier;
use sallyport::redirect::{PodState, Redirect};

use crate::{
    process::client,
    scene::{API_SERVER, GATEWAY, Scene},
};

/// Links that one repair updates: two on `kubepods`, six on the agent's pod.
const LINKS: usize = 8;

fn all_land_on(greeting: &str, connects: u32) -> String {
    format!(
        "{:?}",
        std::collections::BTreeMap::from([(greeting, connects)])
    )
}

/// Connects from an agent and from a pod that is none, while `disturb` is called again and again.
fn under_load(scene: &mut Scene, connects: u32, mut disturb: impl FnMut(&mut Scene)) {
    let other = scene.pod(PodState::PASS);
    let (count, address) = (connects.to_string(), scene.api_server.address().to_string());
    let arguments = ["connect-many", &count, &address];
    let clients = [
        client(&arguments).start_in(scene.agent.container()),
        client(&arguments).start_in(other.container()),
    ];
    let [agent, other] = clients.map(|client| std::thread::spawn(|| client.finish()));
    while !(agent.is_finished() && other.is_finished()) {
        disturb(scene);
    }
    assert_eq!(agent.join().unwrap(), all_land_on(GATEWAY, connects));
    assert_eq!(other.join().unwrap(), all_land_on(API_SERVER, connects));
}

#[test]
fn no_connection_goes_past_links_that_are_updated_all_the_time() {
    let mut scene = Scene::new();
    let mut other = scene.open_again();
    scene.attach();
    scene.capture();
    let wanted = of_tier(2_000, 100_000);
    let mut updates = 0;
    while updates < wanted {
        under_load(&mut scene, of_tier(2_000, 20_000), |scene| {
            exchange(&mut scene.redirect, &mut other);
            updates += 2 * LINKS;
        });
    }
}

/// Each takes the links from the other.
fn exchange(one: &mut Redirect, other: &mut Redirect) {
    for redirect in [other, one] {
        let repaired = redirect.repair().unwrap();
        assert!(repaired.is_empty(), "{repaired:?}");
    }
}

#[test]
fn no_connection_goes_past_node_agents_that_follow_each_other() {
    let mut scene = Scene::new();
    let mut upgrades = 0;
    while upgrades < of_tier(10, 100) {
        under_load(&mut scene, of_tier(2_000, 10_000), |scene| {
            drop(scene.open_again());
            scene.lead_to_gateway(&[scene.api_server.address()]);
            scene.attach();
            scene.capture();
            upgrades += 1;
        });
    }
    assert_eq!(scene.redirect.observe().unwrap().troubles, []);
}
