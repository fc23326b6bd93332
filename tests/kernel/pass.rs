//! Sockets that are made by one process and used by another: both the maker's cgroup and the user's count.

use std::path::Path;

use sallyport::redirect::PodState;

use crate::{
    process::client,
    scene::{API_SERVER, GATEWAY, Scene},
};

/// Where a socket lands that a process in `maker` made and one in `user` connects.
fn passed(scene: &Scene, maker: Option<&Path>, user: Option<&Path>) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let (path, address) = (
        path.to_str().unwrap(),
        scene.api_server.address().to_string(),
    );
    let mut taker = client(&["take-socket", path, &address]).start();
    user.inspect(|cgroup| taker.move_to(cgroup));
    assert_eq!(taker.line(), "ready");
    let giver = client(&["give-socket", path, "4"]).start();
    maker.inspect(|cgroup| giver.move_to(cgroup));
    assert_eq!(giver.finish(), "given");
    taker.finish()
}

#[test]
fn a_socket_of_another_pod_does_not_help_an_agent() {
    let mut scene = Scene::new();
    let other = scene.pod(PodState::PASS);
    let landed = passed(
        &scene,
        Some(other.container()),
        Some(scene.agent.container()),
    );
    assert_eq!(landed, GATEWAY);
}

#[test]
fn an_agents_socket_is_redirected_in_another_pod() {
    let mut scene = Scene::new();
    let other = scene.pod(PodState::PASS);
    let landed = passed(
        &scene,
        Some(scene.agent.container()),
        Some(other.container()),
    );
    assert_eq!(landed, GATEWAY);
}

#[test]
fn an_agents_socket_is_redirected_outside_of_every_pod() {
    let scene = Scene::new();
    assert_eq!(passed(&scene, Some(scene.agent.container()), None), GATEWAY);
}

#[test]
fn sockets_of_other_pods_pass_among_them() {
    let mut scene = Scene::new();
    let (one, other) = (scene.pod(PodState::PASS), scene.pod(PodState::PASS));
    let landed = passed(&scene, Some(one.container()), Some(other.container()));
    assert_eq!(landed, API_SERVER);
}

/// As measured: no program on `kubepods` or on a pod sees it, since the kernel goes by the cgroup that made the
/// socket. It takes a process outside of every pod that gives its sockets away; what stops the packets then is
/// the network's policy or a filter on the host's side of the pod's interface.
#[test]
fn a_socket_made_outside_of_every_pod_is_not_seen() {
    let scene = Scene::new();
    assert_eq!(
        passed(&scene, None, Some(scene.agent.container())),
        API_SERVER
    );
}

#[test]
fn a_socket_that_is_older_than_its_pods_capture_is_redirected() {
    let mut scene = Scene::new();
    let pod = scene.pod(PodState::PASS);
    let address = scene.api_server.address().to_string();
    let mut older = client(&["keep-socket", &address]).start();
    older.move_to(pod.container());
    older.tell("make it");
    assert_eq!(older.line(), "made");
    scene
        .redirect
        .classify(pod.cgroup().id, PodState::AGENT)
        .unwrap();
    scene.redirect.enforce(&pod.cgroup()).unwrap();
    assert_eq!(older.finish(), GATEWAY);
    scene.redirect.forget(pod.cgroup().id).unwrap();
}
