//! What a full node costs: the node agent's memory, and how soon it treats a new pod as it should.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData};
use harness::of_tier;
use sallyport::redirect::PodState;
use serde_json::json;

use crate::node::{
    holder::{GREETING, Holder},
    pod::{Network, RunningPod},
    scene::{POD_ADDRESS, Scene},
};

/// Of the node agent, with 250 pods: more than twice what kubelet runs where it is not told otherwise.
const MOST_MEMORY: u64 = 40 << 20;

#[test]
fn a_node_full_of_agents_fits_into_the_node_agents_memory() {
    let scene = Scene::new();
    let holder = Holder::connect(&scene.socket());
    let agent = scene.start_agent();
    let empty = agent.memory();
    let first = scene.agents_pod("agent-0");
    first.eventually_reaches(GREETING);
    let of_each = agent.metric("sallyport_node_listeners");
    let count = of_tier(60, 250);
    let mut pods = vec![first];
    pods.extend((1..count).map(|number| scene.agents_pod(&format!("agent-{number}"))));
    let listeners = of_each * f64::from(count);
    agent.eventually("all are captured", |agent| {
        agent.metric("sallyport_node_listeners") == listeners
    });
    holder.eventually_holds(listeners as usize);
    agent.eventually_ready();
    let full = agent.memory();
    println!("the node agent: {empty}; with {count} pods and {listeners} listeners: {full}");
    say_times(&scene);
    assert!(full.counted() <= MOST_MEMORY, "{full}");
}

/// On a node that is full already. Said, not judged: the machine may be busy.
fn say_times(scene: &Scene) {
    let pods = Pods::pinned(&scene.pins());
    let count = of_tier(10, 50);
    let cgroup_last = (0..count).map(|number| {
        let told = scene.create(&format!("told-{number}"), &json!({}));
        let (network, cgroup) = (Network::with(POD_ADDRESS), scene.cgroup_of_pod(&told));
        thread::scope(|scope| {
            let classified = scope.spawn(|| {
                while !cgroup.exists() {
                    thread::sleep(LOOK_EVERY);
                }
                pods.until_agent(&cgroup)
            });
            let _pod = scene.run_in(&told, network);
            classified.join().unwrap()
        })
    });
    say("its cgroup", cgroup_last.collect());
    let event_last = (0..count).map(|number| {
        let name = format!("runs-{number}");
        let told = scene.create_unbound(&name);
        let cgroup = scene.cgroup_of_pod(&told);
        let _pod: RunningPod = scene.run(told);
        thread::scope(|scope| {
            let classified = scope.spawn(|| pods.until_agent(&cgroup));
            scene.bind(&name);
            classified.join().unwrap()
        })
    });
    say("the API server was asked to bind it", event_last.collect());
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("a pod is an agent after {what}: median {median:.1?}, longest {longest:.1?}");
}

const LOOK_EVERY: Duration = Duration::from_micros(500);

/// What the kernel's programs go by.
struct Pods(HashMap<MapData, u64, PodState>);

impl Pods {
    fn pinned(pins: &Path) -> Self {
        let mut pinned = fs::read_dir(pins)
            .unwrap()
            .map(|entry| entry.unwrap().path().join("PODS"));
        let map = MapData::from_pin(pinned.find(|path| path.exists()).unwrap()).unwrap();
        Self(HashMap::try_from(Map::HashMap(map)).unwrap())
    }

    fn until_agent(&self, cgroup: &Path) -> Duration {
        let since = Instant::now();
        let id = fs::metadata(cgroup).unwrap().ino();
        while !self
            .0
            .get(&id, 0)
            .is_ok_and(|state| state == PodState::AGENT)
        {
            assert!(
                since.elapsed() < super::LIMIT,
                "{} is no agent",
                cgroup.display()
            );
            thread::sleep(LOOK_EVERY);
        }
        since.elapsed()
    }
}
