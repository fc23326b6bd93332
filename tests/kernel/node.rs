//! The node agent itself, against the real control plane: pods are objects there, and here a cgroup, a network
//! namespace and a process. The gateway's half is played by a holder of listeners that greets whoever connects.

use std::{thread, time::Duration};

use harness::eventually;
use serde_json::json;

use self::{
    agent::NodeAgent,
    holder::{GREETING, Holder},
    pod::RunningPod,
    scene::Scene,
};

pub(crate) mod agent;
pub(crate) mod holder;
pub(crate) mod pod;
pub(crate) mod scene;

/// Far longer than anything takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A node with a gateway's half, a node agent and an agent's pod that is served.
fn captured() -> (Scene, Holder, NodeAgent, RunningPod) {
    let scene = Scene::new();
    let holder = Holder::connect(&scene.socket());
    let agent = scene.start_agent();
    let pod = scene.agents_pod("agent");
    pod.eventually_reaches(GREETING);
    (scene, holder, agent, pod)
}

#[test]
fn an_agents_pod_is_captured_and_the_node_says_so() {
    let (scene, _holder, agent, _pod) = captured();
    agent.eventually_ready();
    eventually("the node's label", LIMIT, || {
        let node = scene.api().get(&scene.node_path())?;
        Ok((node["metadata"]["labels"]["sallyport.dev/ready"] == "true").then_some(()))
    })
    .unwrap();
}

#[test]
fn a_pod_is_classified_whichever_source_lags() {
    let scene = Scene::new();
    let _holder = Holder::connect(&scene.socket());
    let _agent = scene.start_agent();
    let told_first = scene.create("told-first", &json!({}));
    let told_first = scene.run(told_first);
    told_first.eventually_reaches(GREETING);

    let runs_first = scene.run(scene.create_unbound("runs-first"));
    runs_first.eventually_passes();
    scene.bind("runs-first");
    runs_first.eventually_reaches(GREETING);
}

#[test]
fn a_pod_in_a_new_sandbox_is_captured_again_and_its_old_network_goes() {
    let (_scene, _holder, _agent, mut pod) = captured();
    let old = pod.renew_sandbox();
    pod.eventually_reaches(GREETING);
    old.eventually_gone();
}

#[test]
fn no_network_outlives_its_pod() {
    let (_scene, holder, _agent, pod) = captured();
    let network = pod.end();
    network.eventually_gone();
    holder.eventually_holds(0);
}

#[test]
fn pods_in_the_hosts_network_and_static_pods_are_never_agents() {
    let scene = Scene::new();
    let _holder = Holder::connect(&scene.socket());
    let host = scene.run_in_host_network(scene.create("host", &json!({"hostNetwork": true})));
    let _agent = scene.start_agent();
    let ordinary = scene.agents_pod("ordinary");
    let static_pod = scene.run_static();
    ordinary.eventually_reaches(GREETING);
    host.always_passes();
    static_pod.always_passes();
}

#[test]
fn a_pod_of_another_namespace_sees_no_change_unless_it_is_labelled_itself() {
    let scene = Scene::new();
    let _holder = Holder::connect(&scene.socket());
    let _agent = scene.start_agent();
    let other = scene.other_namespace();
    let plain = scene.run(scene.create_in(&other, "plain", &json!({}), &json!({})));
    let labels = json!({"sallyport.dev/agent": "true"});
    let labelled = scene.run(scene.create_in(&other, "labelled", &json!({}), &labels));
    labelled.eventually_reaches(GREETING);
    plain.always_passes();
}

#[test]
fn a_killed_node_agent_changes_nothing_and_gets_its_listeners_back() {
    let (scene, holder, agent, pod) = captured();
    agent.eventually_ready();
    let before = holder.sockets();
    agent.kill();
    assert_eq!(pod.connect(), GREETING);

    let agent = scene.start_agent();
    agent.eventually_ready();
    assert_eq!(pod.connect(), GREETING);
    assert_eq!(holder.sockets(), before, "the same sockets, not new ones");
    assert_eq!(
        agent.metric("sallyport_node_listeners"),
        before.len() as f64
    );
}

#[test]
fn a_gateway_that_comes_back_is_given_everything_again() {
    let (scene, holder, _agent, pod) = captured();
    let before = holder.sockets();
    drop(holder);
    let holder = Holder::connect(&scene.socket());
    pod.eventually_reaches(GREETING);
    assert_eq!(holder.sockets(), before);
}

#[test]
fn a_new_node_agent_takes_over_and_no_connection_is_refused() {
    let (scene, holder, old, pod) = captured();
    old.eventually_ready();
    let before = holder.sockets();

    let (new, greetings) = thread::scope(|scope| {
        let connecting = scope.spawn(|| pod.connect_while_unstopped());
        let new = scene.start_agent();
        new.eventually_ready();
        old.eventually_superseded();
        old.terminate();
        new.eventually_ready();
        pod.eventually_connected(10);
        pod.stop();
        (new, connecting.join().unwrap())
    });
    assert_eq!(
        greetings.iter().find(|greeting| *greeting != GREETING),
        None
    );
    holder.eventually_holds(before.len());
    assert_eq!(holder.sockets(), before);
    let second = scene.agents_pod("second");
    second.eventually_reaches(GREETING);
    new.eventually_ready();
}

#[test]
fn without_a_gateway_connections_wait_and_without_a_listener_they_are_refused() {
    let scene = Scene::new();
    let agent = scene.start_agent();
    let pod = scene.agents_pod("agent");
    pod.eventually_waits();
    let holder = Holder::connect(&scene.socket());
    pod.eventually_reaches(GREETING);
    drop(holder);
    agent.kill();
    pod.eventually_refused();
}

#[test]
fn sigterm_leaves_everything_and_uninstalling_leaves_nothing() {
    let (scene, _holder, agent, pod) = captured();
    agent.terminate();
    assert_eq!(pod.connect(), GREETING);
    assert!(scene.pins().exists());
    NodeAgent::uninstall(&scene.pins());
    assert!(!scene.pins().exists());
    pod.always_passes();
}

#[test]
fn a_link_taken_away_is_put_back_and_the_node_is_not_ready_meanwhile() {
    let (scene, _holder, agent, pod) = captured();
    agent.eventually_ready();
    std::fs::remove_dir_all(scene.pins()).unwrap();
    agent.eventually("mismatches are counted", |agent| {
        agent.metric("sallyport_node_mismatches_total") > 0.0
    });
    agent.eventually_ready();
    assert!(scene.pins().exists());
    assert_eq!(pod.connect(), GREETING);
}
