//! Random sequences of everything that happens to a node, with one law after each step: no packet from an agent's pod
//! to the API server, and a pod that is no agent reaches it always.
//!
//! The seed is printed; `SALLYPORT_TEST_SEED` repeats a run.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use harness::of_tier;

use super::{
    bypass::{DIRECT, attempt},
    *,
};

const WAYS: [&str; 5] = [
    "connect",
    "connect-nonblocking",
    "fast-open",
    "mptcp",
    "io-uring-async",
];
/// Each has a network, processes and listeners.
const MOST_AGENTS: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    NewPod,
    NewPodWhileNoNodeAgentRuns,
    DeletePod,
    KillNodeAgent,
    StartNodeAgent,
    ReplaceNodeAgent,
    KillGateway,
    StartGateway,
    AddDestination,
    RemoveDestination,
    WipePins,
}

const STEPS: [Step; 12] = [
    Step::Connect,
    Step::NewPod,
    Step::NewPodWhileNoNodeAgentRuns,
    Step::DeletePod,
    Step::KillNodeAgent,
    Step::StartNodeAgent,
    Step::ReplaceNodeAgent,
    Step::KillGateway,
    Step::StartGateway,
    Step::AddDestination,
    Step::RemoveDestination,
    Step::WipePins,
];

/// An agent's pod from the moment on at which it was captured.
struct Agent {
    pod: NetworkedPod,
    packets: Oracle,
}

struct Sequence {
    scene: Captured,
    random: Random,
    agents: Vec<Agent>,
    bystanders_packets: Oracle,
    /// Aliases that are there, by name, with their addresses.
    aliases: Vec<(String, Vec<SocketAddr>)>,
    /// Of aliases that were there, too.
    addresses: Vec<IpAddr>,
    made: usize,
    node_agent_runs: bool,
    gateway_runs: bool,
}

#[test]
fn no_sequence_of_events_lets_an_agent_around_the_gateway_or_stops_another_pod() {
    let seed = seed();
    println!("SALLYPORT_TEST_SEED={seed}");
    let mut sequence = Sequence::set(Random(seed));
    for number in 0..of_tier(30, 2_000) {
        let step = STEPS[sequence.random.below(STEPS.len())];
        println!("{number}: {step:?}");
        sequence.take(step);
        sequence.assert_law();
    }
}

fn seed() -> u64 {
    let given = std::env::var("SALLYPORT_TEST_SEED").ok();
    given.map_or_else(
        || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_micros().try_into().unwrap()
        },
        |seed| seed.parse().unwrap(),
    )
}

impl Sequence {
    fn set(random: Random) -> Self {
        let scene = Captured::set();
        let mut sequence = Self {
            addresses: scene.api_addresses(),
            bystanders_packets: scene.oracle(&scene.bystander),
            scene,
            random,
            agents: Vec::new(),
            aliases: Vec::new(),
            made: 0,
            node_agent_runs: true,
            gateway_runs: true,
        };
        sequence.new_pod();
        sequence
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Connect => self.connect(),
            Step::NewPod if self.agents.len() < MOST_AGENTS => self.new_pod(),
            Step::NewPodWhileNoNodeAgentRuns if self.agents.len() < MOST_AGENTS => {
                self.kill_node_agent();
                self.new_pod();
            }
            Step::DeletePod if self.agents.len() > 1 => self.delete_pod(),
            Step::KillNodeAgent => self.kill_node_agent(),
            Step::StartNodeAgent => self.start_node_agent(),
            Step::ReplaceNodeAgent => {
                self.start_node_agent();
                self.scene.node.replace().unwrap();
            }
            Step::KillGateway => self.kill_gateway(),
            Step::StartGateway => self.start_gateway(),
            Step::AddDestination => self.add_destination(),
            Step::RemoveDestination => self.remove_destination(),
            Step::WipePins => self.wipe_pins(),
            Step::NewPod | Step::NewPodWhileNoNodeAgentRuns | Step::DeletePod => self.connect(),
        }
    }

    fn connect(&mut self) {
        let agent = &self.agents[self.random.below(self.agents.len())];
        let aliases = self.aliases.iter().flat_map(|(_, addresses)| addresses);
        let addresses: Vec<_> = self
            .scene
            .ways()
            .into_iter()
            .chain(aliases.copied())
            .collect();
        let address = addresses[self.random.below(addresses.len())].to_string();
        let way = WAYS[self.random.below(WAYS.len())];
        // Without a gateway it would wait in the queue.
        let verb = if self.gateway_runs { "reach" } else { "touch" };
        let said = attempt(&agent.pod, &[verb, way, &address]);
        println!("    {} {way} {address}: {said}", agent.pod.name);
        assert!(!said.contains(DIRECT), "{said}");
    }

    /// The pod may be older than the node agent that captures it; it counts from then on.
    fn new_pod(&mut self) {
        self.made += 1;
        let name = format!("agent-{}", self.made);
        let scene = &self.scene;
        let pod = scene
            .agents
            .create_networked_pod(&scene.cluster, &name, &agent_spec())
            .unwrap();
        self.start_node_agent();
        self.scene.wait_until_captured(&pod);
        let packets = self.scene.oracle(&pod);
        self.agents.push(Agent { pod, packets });
    }

    fn delete_pod(&mut self) {
        let agent = self
            .agents
            .swap_remove(self.random.below(self.agents.len()));
        agent.pod.delete().unwrap();
    }

    fn kill_node_agent(&mut self) {
        if std::mem::take(&mut self.node_agent_runs) {
            self.scene.node.kill().unwrap();
        }
    }

    fn start_node_agent(&mut self) {
        if !std::mem::replace(&mut self.node_agent_runs, true) {
            self.scene.node.start_again().unwrap();
        }
        self.scene.node.wait_until_ready().unwrap();
    }

    fn kill_gateway(&mut self) {
        if std::mem::take(&mut self.gateway_runs) {
            self.scene.gateway.kill().unwrap();
        }
    }

    /// A gateway is not ready before a node agent has handed its listeners over.
    fn start_gateway(&mut self) {
        if !std::mem::replace(&mut self.gateway_runs, true) {
            self.start_node_agent();
            self.scene.gateway.start_again().unwrap();
        }
    }

    /// It counts once the node agent has heard of it.
    fn add_destination(&mut self) {
        const MOST_ALIASES: usize = 3;
        if self.aliases.len() == MOST_ALIASES {
            return self.remove_destination();
        }
        self.made += 1;
        let name = format!("alias-{}", self.made);
        let addresses = self.scene.create_alias(&self.scene.others, &name);
        self.start_node_agent();
        for address in &addresses {
            self.scene.wait_until_redirected(*address);
        }
        self.addresses.extend(addresses.iter().map(SocketAddr::ip));
        self.aliases.push((name, addresses));
    }

    fn remove_destination(&mut self) {
        let Some((name, _)) = self.aliases.pop() else {
            return;
        };
        let others = &self.scene.others;
        let path = others.path(&format!("services/{name}"));
        others.api().delete(&path).unwrap();
    }

    /// The node agent puts back every link that it holds. The maps come with the next one, which fills them anew.
    fn wipe_pins(&mut self) {
        self.start_node_agent();
        let pins = self.scene.node.pins();
        let links = || [files(&pins.join("kubepods")), files(&pins.join("pods"))].concat();
        let before = links();
        wipe(&pins);
        eventually("every link's pin", LIMIT, || {
            Ok((links() == before).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.scene.node.log()));
        self.kill_node_agent();
        self.start_node_agent();
        let aliases = self.aliases.iter().flat_map(|(_, addresses)| addresses);
        for address in self.scene.ways().iter().chain(aliases) {
            self.scene.wait_until_redirected(*address);
        }
    }

    fn assert_law(&self) {
        for agent in &self.agents {
            let packets = agent.packets.packets_to(&self.addresses);
            assert_eq!(packets, [], "{}\n{}", agent.pod.name, self.scene.node.log());
        }
        let before = self.bystanders_packets.packets_to(&self.addresses).len();
        for address in self.scene.ways() {
            let words = ["reach", "connect", &address.to_string()];
            let said = attempt(&self.scene.bystander, &words);
            assert!(said.contains(DIRECT), "{words:?}: {said}");
        }
        let after = self.bystanders_packets.packets_to(&self.addresses).len();
        assert!(after > before, "the oracle sees nothing");
    }
}

/// At and below `directory`, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect();
    found.sort();
    found
}

/// As far as it goes: the node agent may put back at once what it misses.
fn wipe(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            wipe(&path);
        } else {
            let _gone = fs::remove_file(path);
        }
    }
    let _gone = fs::remove_dir(directory);
}

/// `splitmix64`: any seed will do.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).unwrap();
        usize::try_from((mixed ^ (mixed >> 31)) % limit).unwrap()
    }
}
