//! The gateway and the node agent killed and replaced again and again, while pods call the API server.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Stdio},
    thread::sleep,
};

use harness::of_tier;

use self::caller::{Caller, Outcome, Step};
use super::*;
use crate::leftovers::held_by_the_kernel;

mod caller;

/// An agent that calls and watches, and a pod beside it that calls, each under the eyes of an oracle.
struct Storm {
    calls: Caller,
    watch: Caller,
    beside: Caller,
    oracle: Oracle,
    pod: NetworkedPod,
    scene: Captured,
}

impl Storm {
    fn begin() -> Self {
        let scene = Captured::set_with(|_| {}, drains_soon);
        let pod = scene.agent("coder");
        let oracle = scene.oracle(&pod);
        let path = scene.agents.path("configmaps");
        Self {
            calls: Caller::calling(&pod, &path),
            watch: Caller::watching(&pod, &path),
            beside: beside(&scene),
            oracle,
            pod,
            scene,
        }
    }

    /// Every part is up: the agent is served again, and the pod beside it as ever.
    fn wait_until_served(&self) {
        self.calls.wait_until_served();
        self.beside.wait_until_served();
    }

    fn assert_nothing_went_direct(&self) {
        let direct = self.oracle.packets_to(&self.scene.api_addresses());
        assert_eq!(direct, []);
    }

    /// The one answer that it always gets, and no failure.
    fn assert_pod_beside_saw_no_change(&self) {
        assert_one_answer(&self.beside);
    }

    fn assert_every_call_was_served(&self) {
        let served = |outcome: &Outcome| matches!(outcome, Outcome::Answered { status: 200, .. });
        let counted = self.calls.counted();
        assert!(counted.keys().all(served), "{counted:?}");
    }
}

/// What it asks for is refused, in words that name who asked.
fn beside(scene: &Captured) -> Caller {
    Caller::calling(&scene.bystander, &scene.others.path("configmaps"))
}

fn assert_one_answer(beside: &Caller) {
    let counted = beside.counted();
    let [Outcome::Answered { status: 403, body }] = counted.keys().collect::<Vec<_>>()[..] else {
        panic!("{counted:?}");
    };
    assert!(body.contains("system:serviceaccount:"), "{body}");
}

#[test]
fn no_connection_is_refused_or_direct_while_the_gateway_is_killed_again_and_again() {
    let mut storm = Storm::begin();
    for _ in 0..of_tier(10, 1_000) {
        storm.scene.gateway.kill().unwrap();
        // Into the queue of a listener that only the node agent holds.
        storm.scene.gateway.start_again().unwrap();
        storm.wait_until_served();
    }
    storm.watch.wait_until_open();
    assert_eq!(storm.calls.failed(Step::Connect), []);
    assert_eq!(storm.watch.failed(Step::Connect), []);
    storm.assert_nothing_went_direct();
    storm.assert_pod_beside_saw_no_change();
}

#[test]
fn no_call_fails_and_no_watch_ends_while_the_node_agent_is_killed_again_and_again() {
    let mut storm = Storm::begin();
    for _ in 0..of_tier(5, 200) {
        storm.scene.node.kill().unwrap();
        storm.wait_until_served();
        storm.scene.node.start_again().unwrap();
        storm.scene.node.wait_until_ready().unwrap();
        storm.wait_until_served();
    }
    storm.assert_every_call_was_served();
    assert_eq!(storm.watch.outcomes(), [Outcome::Opened { opened: 200 }]);
    storm.assert_nothing_went_direct();
    storm.assert_pod_beside_saw_no_change();
    storm.scene.wait_until_captured(&storm.pod);
}

#[test]
fn no_call_fails_in_rolling_upgrades() {
    let mut storm = Storm::begin();
    for _ in 0..of_tier(3, 100) {
        storm.scene.node.replace().unwrap();
        storm.wait_until_served();
        storm.scene.replace_gateway();
        storm.wait_until_served();
    }
    storm.watch.wait_until_open();
    storm.assert_every_call_was_served();
    assert_eq!(storm.watch.failed(Step::Connect), []);
    storm.assert_nothing_went_direct();
    storm.assert_pod_beside_saw_no_change();
}

impl Captured {
    /// A second one serves before the first drains, as in an upgrade.
    fn replace_gateway(&mut self) {
        let second = Gateway::start(&self.settings_of_another_gateway()).unwrap();
        let mut first = std::mem::replace(&mut self.gateway, second);
        first.stop().unwrap();
    }

    /// The same CA, as of one Secret; all else is its own.
    fn settings_of_another_gateway(&self) -> Settings {
        let shared = |name: &str| fs::read_to_string(self.gateway.path(name)).unwrap();
        let settings = Settings::new(&self.cluster)
            .with_capture(&self.node)
            .with_policy("agents.yaml", &policy(&self.agents.name))
            .with_file("tls/ca.crt", &shared("tls/ca.crt"))
            .with_file("tls/ca.key", &shared("tls/ca.key"));
        drains_soon(settings)
    }
}

/// A watch does not end by itself, and a call that has begun must.
fn drains_soon(mut settings: Settings) -> Settings {
    settings.config["limits"] = json!({"drain": "5s"});
    settings
}

#[test]
fn with_both_killed_an_agent_is_refused_and_then_served_again() {
    let mut storm = Storm::begin();
    for _ in 0..of_tier(3, 50) {
        storm.scene.gateway.kill().unwrap();
        storm.scene.node.kill().unwrap();
        let before = storm.calls.failed(Step::Connect).len();
        eventually("a refused connection", LIMIT, || {
            Ok((storm.calls.failed(Step::Connect).len() > before).then_some(()))
        })
        .unwrap();
        storm.beside.wait_until_served();
        storm.scene.node.start_again().unwrap();
        storm.scene.gateway.start_again().unwrap();
        storm.scene.node.wait_until_ready().unwrap();
        storm.wait_until_served();
    }
    let refused = storm.calls.failed(Step::Connect);
    let is_refused = |outcome: &Outcome| matches!(outcome, Outcome::Failed { why, .. } if why.contains("ConnectionRefused"));
    assert!(refused.iter().all(is_refused), "{refused:?}");
    storm.assert_nothing_went_direct();
    storm.assert_pod_beside_saw_no_change();
}

#[test]
fn a_pod_beside_agents_sees_no_change_by_a_half_done_install() {
    let mut scene = Captured::set();
    let pod = scene.agent("coder");
    let beside = beside(&scene);
    scene.node.kill().unwrap();
    for round in 0..of_tier(10, 200) {
        // Half of them find nothing, the others what the one before has left.
        if round % 2 == 0 {
            scene.node.uninstall().unwrap().success().unwrap();
        }
        scene.kill_node_agent_at_a_random_moment_of_its_start();
        beside.wait_until_served();
    }
    scene.node.start_again().unwrap();
    scene.node.wait_until_ready().unwrap();
    scene.wait_until_captured(&pod);
    let oracle = scene.oracle(&pod);
    pod.ok(&["kubectl", "get", "configmaps"]).unwrap();
    assert_eq!(oracle.packets_to(&scene.api_addresses()), []);
    beside.wait_until_served();
    assert_one_answer(&beside);
}

impl Captured {
    fn kill_node_agent_at_a_random_moment_of_its_start(&self) {
        /// It has then attached, where it was not killed before.
        const WHOLE_START: Duration = Duration::from_millis(1_500);
        let mut process = self.start_bare_node_agent();
        let share = f64::from(random_byte()) / 256.0;
        sleep(WHOLE_START.mul_f64(share));
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn start_bare_node_agent(&self) -> Child {
        let directory = self.node.socket().parent().unwrap().to_owned();
        Command::new(self.gateway.binary())
            .args(["node", "--config", "node.yaml"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

fn random_byte() -> u8 {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    u8::from_str_radix(&uuid[..2], 16).unwrap()
}

#[test]
fn nothing_is_left_of_a_storm_once_it_is_uninstalled() {
    let before = held_by_the_kernel();
    let mut storm = Storm::begin();
    assert!(!programs_since(&before).is_empty());
    storm.scene.node.kill().unwrap();
    storm.scene.node.start_again().unwrap();
    storm.scene.node.replace().unwrap();
    storm.scene.gateway.kill().unwrap();
    storm.scene.node.kill().unwrap();
    storm.beside.wait_until_served();
    storm.assert_nothing_went_direct();

    storm.scene.node.uninstall().unwrap().success().unwrap();
    assert!(!storm.scene.node.pins().exists());
    let left = || Ok(programs_since(&before).is_empty().then_some(()));
    eventually("the end of every program", LIMIT, left)
        .unwrap_or_else(|error| panic!("{error}: {:?}", programs_since(&before)));
    storm.beside.wait_until_served();
    storm.assert_pod_beside_saw_no_change();

    // Nothing leads the agent away any more, and it does not trust the one whom it gets to.
    storm.calls.wait_for_outcome();
    let counted = storm.calls.counted();
    let mistrusts = |outcome: &Outcome| matches!(outcome, Outcome::Failed { why, .. } if why.contains("CERTIFICATE_VERIFY_FAILED"));
    assert!(counted.keys().any(mistrusts), "{counted:?}");
    let direct = storm.oracle.packets_to(&storm.scene.api_addresses());
    assert!(!direct.is_empty());
}

fn programs_since(before: &BTreeSet<String>) -> Vec<String> {
    let mut left = &held_by_the_kernel() - before;
    left.retain(|held| held.starts_with("program") || held.starts_with("link"));
    left.into_iter().collect()
}
