//! Which pods' connections are redirected.

use sallyport::redirect::{self, PodState, Redirect, Unclassified, netns_cookie};

use crate::{
    cgroup::TestCgroup,
    process::connect_inside,
    scene::{API_SERVER, GATEWAY, Scene, TestPins, open, options},
};

#[test]
fn a_pod_that_is_no_agent_passes_and_its_connections_are_counted() {
    let mut scene = Scene::new();
    let pod = scene.pod(PodState::PASS);
    for _ in 0..3 {
        assert_eq!(
            connect_inside(pod.container(), scene.api_server.address()),
            API_SERVER
        );
    }
    let counted = scene.redirect.api_connections().unwrap();
    assert_eq!(counted.get(&pod.cgroup().id), Some(&3));
    assert_eq!(
        scene.redirect.decisions().unwrap(),
        redirect::Decisions::default()
    );
}

#[test]
fn connections_of_agents_are_counted_as_well() {
    let scene = Scene::new();
    assert_eq!(scene.connect_as_agent(), GATEWAY);
    let counted = scene.redirect.api_connections().unwrap();
    assert_eq!(counted.get(&scene.agent.cgroup().id), Some(&1));
}

/// It is an agent by its class alone, before anything is attached to its own cgroup.
#[test]
fn a_pod_is_redirected_once_it_is_classified_whatever_its_qos_class() {
    let mut scene = Scene::new();
    let besteffort = scene.pod(PodState::AGENT);
    let guaranteed = scene.kubepods.guaranteed_pod();
    let id = guaranteed.cgroup().id;
    scene.redirect.classify(id, PodState::AGENT).unwrap();
    for pod in [&besteffort, &guaranteed] {
        let nested = pod.nested();
        for cgroup in [pod.container(), nested.path()] {
            assert_eq!(connect_inside(cgroup, scene.api_server.address()), GATEWAY);
        }
    }
}

#[test]
fn a_pod_that_nobody_has_classified_passes_on_a_shared_node_and_is_counted() {
    let scene = Scene::new();
    let pod = scene.kubepods.pod();
    assert_eq!(
        connect_inside(pod.container(), scene.api_server.address()),
        API_SERVER
    );
    assert_eq!(scene.redirect.decisions().unwrap().passed_unclassified, 1);
    let counted = scene.redirect.api_connections().unwrap();
    assert_eq!(counted.get(&pod.cgroup().id), Some(&1));
}

#[test]
fn a_pod_that_nobody_has_classified_is_an_agent_on_a_dedicated_node() {
    let mut scene = Scene::new();
    let mut dedicated = options(&scene.pins, &scene.kubepods);
    dedicated.unclassified = Unclassified::Agent;
    let (redirect, _events) = open(&dedicated);
    scene.redirect = redirect;
    let pod = scene.kubepods.pod();
    assert_eq!(
        connect_inside(pod.container(), scene.api_server.address()),
        GATEWAY
    );
    assert_eq!(scene.redirect.decisions().unwrap().passed_unclassified, 0);
}

#[test]
fn the_nodes_own_network_namespace_passes() {
    let mut scene = Scene::new();
    let mut with_exempt_host = options(&scene.pins, &scene.kubepods);
    with_exempt_host.host_netns =
        Some(netns_cookie(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap());
    let (redirect, _events) = open(&with_exempt_host);
    scene.redirect = redirect;
    let pod = scene.pod(PodState::AGENT);
    assert_eq!(
        connect_inside(pod.container(), scene.api_server.address()),
        API_SERVER
    );
}

#[test]
fn a_forgotten_pod_is_not_classified_any_more_and_nothing_is_attached_to_it() {
    let mut scene = Scene::new();
    let pod = scene.agent.cgroup();
    scene.redirect.forget(pod.id).unwrap();
    assert_eq!(scene.connect_as_agent(), API_SERVER);
    assert!(scene.redirect.classified().unwrap().is_empty());
    assert_eq!(scene.redirect.attached_pods().count(), 0);
    // Once more is no error.
    scene.redirect.forget(pod.id).unwrap();
}

#[test]
fn what_was_classified_outlives_the_node_agent() {
    let mut scene = Scene::new();
    let passing = scene.pod(PodState::PASS);
    drop(scene.open_again());
    let expected = [
        (scene.agent.cgroup().id, PodState::AGENT),
        (passing.cgroup().id, PodState::PASS),
    ];
    assert_eq!(scene.redirect.classified().unwrap(), expected.into());
}

/// A pod that finds no room is an error for the node agent, and is captured all the same by what is attached to it.
#[test]
fn more_pods_than_fit_are_refused_and_an_agent_among_them_is_redirected_all_the_same() {
    let mut scene = Scene::new();
    scene.redirect.forget(scene.agent.cgroup().id).unwrap();
    let full = fill_with_pods(&mut scene.redirect);
    assert!(
        matches!(full, redirect::Error::TooManyPods { room: 4096 }),
        "{full}"
    );
    let pod = scene.agent.cgroup();
    let refused = scene.redirect.classify(pod.id, PodState::AGENT);
    assert!(matches!(refused, Err(redirect::Error::TooManyPods { .. })));
    scene.redirect.enforce(&pod).unwrap();
    assert_eq!(scene.connect_as_agent(), GATEWAY);
}

/// With cgroups that do not exist: their numbers are far above any inode's.
fn fill_with_pods(redirect: &mut Redirect) -> redirect::Error {
    (1_u64 << 60..)
        .find_map(|id| {
            redirect
                .classify(redirect::CgroupId(id), PodState::PASS)
                .err()
        })
        .unwrap()
}

#[test]
fn a_kubepods_that_is_missing_is_an_error_that_names_it() {
    let _turn = crate::scene::take_turn();
    let (pins, kubepods) = (TestPins::new(), TestCgroup::new());
    let mut elsewhere = options(&pins, &kubepods);
    elsewhere.kubepods.push("missing");
    let error = Redirect::open(&elsewhere).err().unwrap();
    assert!(
        error.to_string().contains("/missing: check that"),
        "{error}"
    );
}
