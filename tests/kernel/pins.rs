//! What outlives a node agent, and what does not.

use std::{fs, path::PathBuf, time::Duration};

use aya::maps::{HashMap, MapData};
use harness::eventually;
use sallyport::redirect::{PodState, TroubleKind, uninstall};

use crate::{
    leftovers,
    scene::{API_SERVER, GATEWAY, Scene, take_turn},
};

#[test]
fn everything_works_on_when_the_node_agent_has_ended() {
    let mut scene = Scene::new();
    // The new one attaches nothing; the old one is gone.
    drop(scene.open_again());
    assert_eq!(scene.connect_as_agent(), GATEWAY);
    assert_eq!(scene.redirect.decisions().unwrap().redirected_v4, 1);
}

#[test]
fn nothing_is_left_once_it_is_uninstalled() {
    let turn = take_turn();
    // The file system stays mounted, as it was before on every other machine.
    sallyport::redirect::mount_bpffs(sallyport::redirect::BPFFS.as_ref()).unwrap();
    let before = leftovers::held_by_the_kernel();
    let scene = Scene::set(turn, crate::scene::ELSEWHERE_V4.into());
    let during = leftovers::held_by_the_kernel();
    assert!(
        during
            .iter()
            .any(|held| held.starts_with("program") && held.ends_with("connect4"))
    );
    let removed = uninstall(scene.pins.path()).unwrap();
    assert_eq!((removed.links, removed.maps), (8, 9));
    // At once, although the node agent is there and holds the links.
    assert_eq!(scene.connect_as_agent(), API_SERVER);
    drop(scene);
    assert_eq!(leftovers::left_since(&before), [].into());
}

#[test]
fn uninstalling_what_is_not_installed_is_no_error() {
    let scene = Scene::new();
    uninstall(scene.pins.path()).unwrap();
    assert_eq!(uninstall(scene.pins.path()).unwrap(), Default::default());
}

fn link_pins(scene: &Scene) -> Vec<PathBuf> {
    let directories = ["kubepods", "pods"].map(|directory| scene.pins.path().join(directory));
    let cgroups = directories
        .iter()
        .flat_map(|directory| fs::read_dir(directory).unwrap());
    cgroups
        .flat_map(|cgroup| fs::read_dir(cgroup.unwrap().path()).unwrap())
        .map(|pin| pin.unwrap().path())
        .collect()
}

#[test]
fn pins_removed_by_hand_take_no_program_away_and_are_made_again() {
    let mut scene = Scene::new();
    let pins = link_pins(&scene);
    assert_eq!(pins.len(), 8);
    for pin in &pins {
        fs::remove_file(pin).unwrap();
    }
    assert_eq!(scene.connect_as_agent(), GATEWAY);
    let troubles = scene.redirect.observe().unwrap().troubles;
    assert_eq!(troubles.len(), 8, "{troubles:?}");
    assert!(
        troubles
            .iter()
            .all(|trouble| matches!(trouble.kind, TroubleKind::Unpinned { .. }))
    );
    let repaired = scene.redirect.repair().unwrap();
    assert_eq!((repaired.attached.len(), repaired.pinned.len()), (0, 8));
    assert_eq!(scene.redirect.observe().unwrap().troubles, []);
    assert_eq!(link_pins(&scene).len(), 8);
    assert!(scene.redirect.repair().unwrap().is_empty());
}

#[test]
fn pins_removed_while_no_node_agent_runs_are_made_by_the_next_one() {
    let mut scene = Scene::new();
    let pins = link_pins(&scene);
    drop(scene.open_again());
    for pin in pins {
        fs::remove_file(pin).unwrap();
    }
    // The kernel lets go of a link in its own time.
    eventually("the end of the links", Duration::from_secs(30), || {
        Ok((scene.connect_as_agent() == API_SERVER).then_some(()))
    })
    .unwrap();
    scene.attach();
    assert_eq!(
        scene.connect_as_agent(),
        GATEWAY,
        "classified by an earlier one"
    );
    assert_eq!(scene.redirect.attached_pods().count(), 0);
    scene.capture();
    assert_eq!(scene.redirect.observe().unwrap().troubles, []);
}

/// Of a map whose content would be misread, nothing is used: the entries are written anew, then the links run the
/// programs that read them.
#[test]
fn a_pinned_map_of_another_shape_is_made_anew_while_the_old_programs_run_on() {
    let mut scene = Scene::new();
    let pin = scene.pins.path().join("v1/DESTINATIONS");
    fs::remove_file(&pin).unwrap();
    let impostor = MapData::from_pin(scene.pins.path().join("v1/PODS")).unwrap();
    impostor.pin(&pin).unwrap();
    drop(scene.open_again());
    assert_eq!(
        scene.connect_as_agent(),
        GATEWAY,
        "by the old programs and their map"
    );
    scene.lead_to_gateway(&[scene.api_server.address()]);
    scene.attach();
    assert_eq!(scene.connect_as_agent(), GATEWAY);
    assert_eq!(
        scene.redirect.classified().unwrap().len(),
        1,
        "the other maps stay"
    );
}

#[test]
fn maps_of_other_versions_go_once_nothing_uses_them() {
    let mut scene = Scene::new();
    let old = scene.pins.path().join("v0");
    fs::create_dir(&old).unwrap();
    let map = MapData::from_pin(scene.pins.path().join("v1/PODS")).unwrap();
    map.pin(old.join("PODS")).unwrap();
    drop(scene.open_again());
    assert!(old.exists());
    scene.attach();
    assert!(!old.exists());
    assert_eq!(scene.connect_as_agent(), GATEWAY);
}

/// Any number but the two that are known counts as an agent.
#[test]
fn a_state_that_nobody_knows_counts_as_agent() {
    let mut scene = Scene::new();
    let pod = scene.pod(PodState::PASS);
    let map = MapData::from_pin(scene.pins.path().join("v1/PODS")).unwrap();
    let map = aya::maps::Map::from_map_data(map).unwrap();
    let mut pods = HashMap::<_, u64, u32>::try_from(map).unwrap();
    pods.insert(pod.cgroup().id.0, 77, 0).unwrap();
    let landed = crate::process::connect_inside(pod.container(), scene.api_server.address());
    assert_eq!(landed, GATEWAY);
}
