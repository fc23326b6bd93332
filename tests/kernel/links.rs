//! Cgroups that go, come again, and carry programs of others.

use std::{fs, time::Duration};

use harness::eventually;
use sallyport::redirect::{self, Attachment, PodState, TroubleKind};

use crate::{
    cgroup::TestCgroup,
    foreign::{Foreign, Mode},
    process::connect_inside,
    scene::{API_SERVER, GATEWAY, Scene, TestPins, open, options, take_turn},
};

#[test]
fn a_pod_whose_cgroup_is_gone_is_forgotten_and_its_pins_with_it() {
    let mut scene = Scene::new();
    let pod = scene.kubepods.pod();
    let id = pod.cgroup().id;
    scene.redirect.classify(id, PodState::AGENT).unwrap();
    scene.redirect.guard_ports(&pod.cgroup()).unwrap();
    scene.redirect.enforce(&pod.cgroup()).unwrap();
    let directory = scene.pins.path().join(format!("pods/{id}"));
    assert!(directory.exists());
    drop(pod);
    let troubles = scene.redirect.observe().unwrap().troubles;
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert_eq!(
        (troubles[0].pod, troubles[0].kind),
        (Some(id), TroubleKind::CgroupGone)
    );
    assert_eq!(scene.redirect.repair().unwrap().gone, [id]);
    assert!(!directory.exists());
    assert!(!scene.redirect.classified().unwrap().contains_key(&id));
    assert_eq!(scene.redirect.observe().unwrap().troubles, []);
}

#[test]
fn links_of_a_pod_that_went_while_no_node_agent_ran_are_removed_by_the_next_one() {
    let mut scene = Scene::new();
    let pod = scene.kubepods.pod();
    let id = pod.cgroup().id;
    scene.redirect.enforce(&pod.cgroup()).unwrap();
    drop(scene.open_again());
    drop(pod);
    scene.attach();
    // The kernel takes a cgroup that has gone out of its links a while later.
    let directory = scene.pins.path().join(format!("pods/{id}"));
    let is_removed = || {
        scene.redirect.repair()?;
        Ok((!directory.exists()).then_some(()))
    };
    eventually("the pins are removed", Duration::from_secs(60), is_removed).unwrap();
    let attached: Vec<_> = scene.redirect.attached_pods().collect();
    assert_eq!(attached, [scene.agent.cgroup().id]);
}

#[test]
fn another_cgroup_at_the_path_of_a_pod_is_not_taken_for_it() {
    let mut scene = Scene::new();
    let pod = scene.kubepods.pod();
    let mut replaced = pod.cgroup();
    replaced.id = scene.agent.cgroup().id;
    let refused = scene.redirect.enforce(&replaced);
    assert!(matches!(
        refused,
        Err(redirect::Error::CgroupReplaced { .. })
    ));
}

#[test]
fn a_kubepods_that_was_made_anew_is_attached_to_again() {
    let _turn = take_turn();
    let pins = TestPins::new();
    let kubepods = TestCgroup::new();
    let (mut redirect, _events) = open(&options(&pins, &kubepods));
    redirect.attach().unwrap();
    kubepods.make_anew();
    let troubles = redirect.observe().unwrap().troubles;
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert_eq!(troubles[0].kind, TroubleKind::CgroupReplaced);
    let attached = ["connect4", "connect6"].map(|program| Attachment {
        cgroup: kubepods.path().to_owned(),
        program,
    });
    assert_eq!(redirect.repair().unwrap().attached, attached);
    assert_eq!(redirect.observe().unwrap().troubles, []);
    assert_eq!(
        fs::read_dir(pins.path().join("kubepods")).unwrap().count(),
        1
    );
}

/// Its links are on the old cgroup still, which is alive: they are taken off.
#[test]
fn a_kubepods_that_lies_elsewhere_now_is_left_for_the_new_one() {
    let mut scene = Scene::new();
    let elsewhere = TestCgroup::new();
    let moved = options(&scene.pins, &elsewhere);
    let (redirect, _events) = open(&moved);
    scene.redirect = redirect;
    let pod = scene.pod(PodState::AGENT);
    assert_eq!(
        connect_inside(pod.container(), scene.api_server.address()),
        API_SERVER,
        "settings changed"
    );
    scene.attach();
    let pod = elsewhere.pod();
    scene
        .redirect
        .classify(pod.cgroup().id, PodState::AGENT)
        .unwrap();
    assert_eq!(
        connect_inside(pod.container(), scene.api_server.address()),
        GATEWAY
    );
    let directory = scene.pins.path().join("kubepods");
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
}

#[test]
fn programs_of_others_on_parent_and_child_are_left_alone_and_reported() {
    let mut scene = Scene::new();
    let pod = scene.agent.cgroup();
    let above = Foreign::attach(scene.kubepods.path(), Mode::BesideOthers);
    let below = Foreign::attach(&pod.path, Mode::BesideOthers);
    assert_eq!(scene.connect_as_agent(), GATEWAY);
    let observed = scene.redirect.observe().unwrap();
    assert_eq!(observed.troubles, []);
    let foreign: Vec<_> = observed
        .foreign
        .iter()
        .map(|foreign| (&foreign.cgroup, foreign.beside, &*foreign.name))
        .collect();
    let kubepods = scene.kubepods.path().to_owned();
    assert_eq!(
        foreign,
        [
            (&kubepods, "connect4", "foreign"),
            (&pod.path, "agent_connect4", "foreign")
        ]
    );
    assert!(scene.redirect.repair().unwrap().is_empty());
    assert!(above.is_attached() && below.is_attached());
}

#[test]
fn a_parent_that_allows_no_program_below_is_named_with_what_to_do() {
    let _turn = take_turn();
    let (pins, kubepods) = (TestPins::new(), TestCgroup::new());
    let alone = Foreign::attach(kubepods.path(), Mode::Alone);
    let mut below = options(&pins, &kubepods);
    below.kubepods = kubepods.besteffort().to_owned();
    let (mut redirect, _events) = open(&below);
    for kubepods_path in [kubepods.besteffort(), kubepods.path()] {
        below.kubepods = kubepods_path.to_owned();
        let error = redirect.attach().unwrap_err();
        let redirect::Error::ForbiddenByParent {
            program,
            parent,
            others,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((*program, &**others), ("connect4", "foreign"));
        assert_eq!(parent, kubepods.path());
        redirect = open(&below).0;
    }
    drop(alone);
    redirect.attach().unwrap();
}
