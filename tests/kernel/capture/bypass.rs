//! Ways around the gateway, tried with everything real. A pod that is no agent tries each first, and gets through; of
//! an agent no packet leaves its pod for the API server.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
};

use super::*;
use crate::packet::{TCP, hexadecimal, ports, v4};

/// What does one thing in a pod and says how it went.
pub(super) const KERNEL_CLIENT: &str = env!("CARGO_BIN_EXE_kernel-client");

/// What the API server answers to whoever speaks no TLS; the gateway does not.
pub(super) const DIRECT: &str = "Client sent an HTTP request to an HTTPS server";
const DENIED: &str = "Operation not permitted";

/// What a process of `pod` says that does this.
pub(super) fn attempt(pod: &NetworkedPod, words: &[&str]) -> String {
    let output = pod.run(&[&[KERNEL_CLIENT], words].concat()).unwrap();
    output.stdout.trim_end().to_owned()
}

/// Both kinds of pods, watched.
struct Watched {
    scene: Captured,
    agent: NetworkedPod,
    agents_packets: Oracle,
    bystanders_packets: Oracle,
}

impl Watched {
    fn set() -> Self {
        let scene = Captured::set();
        let agent = scene.agent("coder");
        Self {
            agents_packets: scene.oracle(&agent),
            bystanders_packets: scene.oracle(&scene.bystander),
            agent,
            scene,
        }
    }

    /// Every form of address at which the API server answers.
    fn addresses(&self) -> [SocketAddr; 4] {
        self.scene.ways()
    }

    fn endpoint(&self, index: usize) -> SocketAddr {
        let ip = self.scene.cluster.node_addresses[index];
        SocketAddr::new(ip, Cluster::ENDPOINT_PORT)
    }

    /// What the bystander says, who must be seen to send something to `address` meanwhile.
    fn bystander(&self, address: IpAddr, words: &[&str]) -> String {
        let address = address.to_canonical();
        let before = self.bystanders_packets.packets_to(&[address]).len();
        let said = attempt(&self.scene.bystander, words);
        let after = self.bystanders_packets.packets_to(&[address]).len();
        assert!(
            after > before,
            "the bystander sent nothing: {words:?}: {said}"
        );
        said
    }

    /// What the agent says, of whom nothing may be seen.
    fn agent(&self, address: IpAddr, words: &[&str]) -> String {
        let said = attempt(&self.agent, words);
        self.agent_sent_nothing_to(address);
        said
    }

    fn agent_sent_nothing_to(&self, address: IpAddr) {
        let mut addresses = self.scene.api_addresses();
        addresses.push(address.to_canonical());
        assert_eq!(self.agents_packets.packets_to(&addresses), []);
    }

    /// By these forms of `connect` the bystander reaches the API server, and the agent's own gateway takes the agent.
    fn leads_to_the_gateway(&self, ways: &[&str]) {
        for way in ways {
            for address in self.addresses() {
                let words = ["reach", way, &address.to_string()];
                let said = self.bystander(address.ip(), &words);
                assert!(said.contains(DIRECT), "{words:?}: {said}");
                let said = self.agent(address.ip(), &words);
                assert!(is_redirected(&said), "{words:?}: {said}");
            }
        }
        self.scene.calls_are_recorded(&[&self.agent]);
    }
}

/// The socket knows a reserved port on loopback for its peer.
fn is_redirected(said: &str) -> bool {
    let loopback = ["127.0.0.1:15", "[::1]:15", "[::ffff:127.0.0.1]:15"];
    loopback.iter().any(|start| said.starts_with(start)) && !said.contains(DIRECT)
}

impl Captured {
    /// The API server at its ClusterIP, at its endpoints, and at the ClusterIP as IPv6 has it.
    pub(super) fn ways(&self) -> [SocketAddr; 4] {
        let Some(IpAddr::V4(cluster_ip)) = self.cluster.cluster_ip else {
            panic!("this cluster's Services are not of IPv4");
        };
        let [v4, v6] = self.cluster.node_addresses[..] else {
            panic!("this cluster's node has not two addresses");
        };
        let mapped = cluster_ip.to_ipv6_mapped();
        [
            SocketAddr::new(cluster_ip.into(), 443),
            SocketAddr::new(v4, Cluster::ENDPOINT_PORT),
            SocketAddr::new(v6, Cluster::ENDPOINT_PORT),
            SocketAddr::new(mapped.into(), 443),
        ]
    }

    /// Of these pods the API server's audit log has no call that the gateway has not recorded; nor one with a token of
    /// theirs, or by their own ServiceAccount.
    pub(super) fn calls_are_recorded(&self, agents: &[&NetworkedPod]) {
        // Whether the log tells at all which pod calls.
        self.bystander.ok(&["kubectl", "auth", "whoami"]).unwrap();
        eventually("the bystander's call in the audit log", LIMIT, || {
            let calls = self
                .cluster
                .audit_events(|event| is_from(event, &self.bystander))?;
            Ok((!calls.is_empty()).then_some(()))
        })
        .unwrap();
        for agent in agents {
            agent.ok(&["kubectl", "get", "configmaps"]).unwrap();
            let direct = self.cluster.audit_events(|event| is_from(event, agent));
            assert_eq!(direct.unwrap(), Vec::<Value>::new());
        }
        let account = format!("system:serviceaccount:{}:default", self.agents.name);
        let as_themselves = |event: &Value| event["user"]["username"] == account.as_str();
        let calls = self.cluster.audit_events(as_themselves).unwrap();
        assert_eq!(calls, Vec::<Value>::new());

        let user = self.agents.synthetic_user("default");
        let on_behalf = |event: &Value| event["impersonatedUser"]["username"] == user.as_str();
        let calls = self.cluster.audit_events(on_behalf).unwrap();
        assert_ne!(calls, Vec::<Value>::new());
        let records = self.gateway.audit_list(&[]).unwrap();
        let recorded: BTreeSet<_> = records
            .iter()
            .map(|row| row["auditID"].to_string())
            .collect();
        for call in calls {
            assert!(recorded.contains(&call["auditID"].to_string()), "{call:#}");
        }
    }
}

/// With a token that is bound to `pod`. The source address is the node's, which forwards.
fn is_from(event: &Value, pod: &NetworkedPod) -> bool {
    let pods = &event["user"]["extra"]["authentication.kubernetes.io/pod-uid"];
    *pods == json!([pod.uid])
}

#[test]
fn connect_blocking_or_not_leads_to_the_gateway() {
    Watched::set().leads_to_the_gateway(&["connect", "connect-nonblocking"]);
}

#[test]
fn a_socket_that_is_disconnected_and_connected_again_leads_to_the_gateway() {
    Watched::set().leads_to_the_gateway(&["connect-after-unspec"]);
}

#[test]
fn tcp_fast_open_leads_to_the_gateway() {
    Watched::set().leads_to_the_gateway(&["fast-open", "fast-open-connect"]);
}

#[test]
fn mptcp_leads_to_the_gateway() {
    Watched::set().leads_to_the_gateway(&["mptcp", "mptcp-nonblocking"]);
}

#[test]
fn io_uring_leads_to_the_gateway_whoever_does_the_call() {
    Watched::set().leads_to_the_gateway(&["io-uring", "io-uring-sqpoll", "io-uring-async"]);
}

#[test]
fn datagrams_stay_in_the_pod_connected_or_not() {
    let watched = Watched::set();
    for address in [watched.endpoint(0), watched.endpoint(1)] {
        let (ip, address) = (address.ip(), address.to_string());
        assert_eq!(watched.bystander(ip, &["udp-send", &address]), "sent");
        let said = watched.agent(ip, &["udp-send", &address]);
        assert!(said.starts_with(DENIED), "{said}");
        watched.bystander(ip, &["udp-connect", &address]);
        let said = watched.agent(ip, &["udp-connect", &address]);
        assert!(said.starts_with("Connection refused"), "{said}");
    }
}

#[test]
fn raw_packets_stay_in_the_pod() {
    let watched = Watched::set();
    let (ip, port) = (watched.endpoint(0).ip(), Cluster::ENDPOINT_PORT);
    let words = |pod: &NetworkedPod| packet_of(pod, ip, port);
    let packet = words(&watched.scene.bystander);
    let said = watched.bystander(ip, &["raw4", &ip.to_string(), &packet]);
    assert_eq!(said, "sent");
    let packet = words(&watched.agent);
    let said = watched.agent(ip, &["raw4", &ip.to_string(), &packet]);
    assert!(said.starts_with(DENIED), "{said}");
}

/// As measured: a packet socket writes below the network layer, where no program of a cgroup runs. It takes the
/// capability NET_RAW, and what stops it is its lack, or a filter on the host's side of the pod's interface. The API
/// server refuses the agent's token whoever carries it there.
#[test]
fn a_packet_socket_is_not_seen_by_the_guard() {
    let watched = Watched::set();
    let (ip, port) = (watched.endpoint(0).ip(), Cluster::ENDPOINT_PORT);
    let packet = packet_of(&watched.agent, ip, port);
    let (broadcast, own, kind) = ("ffffffffffff", "020000000001", "0800");
    let frame = format!("{broadcast}{own}{kind}{packet}");
    assert_eq!(attempt(&watched.agent, &["frame", "eth0", &frame]), "sent");
    assert_eq!(watched.agents_packets.packets_to(&[ip]).len(), 1);
    let token = watched
        .agent
        .ok(&["cat", &format!("{SERVICE_ACCOUNT}/token")])
        .unwrap();
    let review = watched.scene.cluster.api().unwrap();
    let review = review.review(&token, &watched.scene.cluster.service_account_issuer);
    assert_ne!(review.unwrap()["authenticated"], true);
}

/// The first packet of a connection, in hexadecimal.
fn packet_of(pod: &NetworkedPod, ip: IpAddr, port: u16) -> String {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (pod.ips[0], ip) else {
        panic!("{} has no IPv4", pod.name);
    };
    let mut packet = v4(destination, TCP, &[], 0, &ports(port));
    packet[12..16].copy_from_slice(&source.octets());
    hexadecimal(&packet)
}

/// Where a socket lands that a process in `maker` made and one in `user` connects.
fn passed(maker: &NetworkedPod, user: &NetworkedPod, address: SocketAddr) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let path = path.to_str().unwrap();
    let mut taker = user.command(KERNEL_CLIENT);
    taker.args(["take-socket-and-ask", path, &address.to_string()]);
    let mut taker = Talking::start(taker);
    assert_eq!(taker.line(), "ready");
    assert_eq!(attempt(maker, &["give-socket", path, "4"]), "given");
    taker.finish()
}

#[test]
fn a_socket_from_another_pod_is_of_no_use_to_an_agent() {
    let watched = Watched::set();
    let (bystander, address) = (&watched.scene.bystander, watched.endpoint(0));
    let said = passed(bystander, bystander, address);
    assert!(said.contains(DIRECT), "{said}");
    let before = watched.bystanders_packets.packets_to(&[address.ip()]).len();
    let said = passed(bystander, &watched.agent, address);
    // The socket is in the other pod's network, where nobody listens on the port.
    assert!(said.starts_with("Connection refused"), "{said}");
    let after = watched.bystanders_packets.packets_to(&[address.ip()]).len();
    assert_eq!(after, before);
    watched.agent_sent_nothing_to(address.ip());
}

#[test]
fn an_agents_socket_in_another_pod_leads_to_the_gateway() {
    let watched = Watched::set();
    let (bystander, address) = (&watched.scene.bystander, watched.endpoint(0));
    let said = passed(&watched.agent, bystander, address);
    assert!(is_redirected(&said), "{said}");
    watched.agent_sent_nothing_to(address.ip());
}

#[test]
fn a_connection_from_before_the_label_is_cut() {
    let scene = Captured::set();
    let namespace = Namespace::create(&scene.cluster).unwrap();
    let pod = namespace
        .create_networked_pod(&scene.cluster, "early", &json!({}))
        .unwrap();
    let oracle = scene.oracle(&pod);
    let [_, endpoint, ..] = scene.ways();
    let mut early = pod.command(KERNEL_CLIENT);
    early.args(["keep-connection", &endpoint.to_string()]);
    let mut early = Talking::start(early);
    early.tell("connect");
    assert_eq!(early.line(), "connected");
    assert!(!oracle.packets_to(&[endpoint.ip()]).is_empty());

    namespace
        .label(&json!({"sallyport.dev/agents": "enforce"}))
        .unwrap();
    scene.wait_until(&pod, "NeedsRecreate");
    let before = oracle.packets_to(&[endpoint.ip()]).len();
    early.tell("write");
    assert_eq!(early.line(), "written");
    early.finish();
    assert_eq!(oracle.packets_to(&[endpoint.ip()]).len(), before);
}

#[test]
fn a_cgroup_that_the_pod_makes_is_still_the_pods() {
    let watched = Watched::set();
    const NESTED: &str = r#"mkdir "$1"; echo 0 > "$1/cgroup.procs"; shift; exec "$@""#;
    let nested = |pod: &NetworkedPod, address: &SocketAddr| {
        let cgroup = pod.container_cgroup.join("nested");
        let path = cgroup.to_str().unwrap();
        let address = address.to_string();
        let words = ["sh", "-euc", NESTED, "sh", path];
        let attempt = [KERNEL_CLIENT, "reach", "connect", &address];
        let said = pod.ok(&[&words[..], &attempt].concat()).unwrap();
        std::fs::remove_dir(cgroup).unwrap();
        said
    };
    let [cluster_ip, endpoint, ..] = watched.addresses();
    for address in [cluster_ip, endpoint] {
        let said = nested(&watched.scene.bystander, &address);
        assert!(said.contains(DIRECT), "{said}");
        let said = nested(&watched.agent, &address);
        assert!(is_redirected(&said), "{said}");
        watched.agent_sent_nothing_to(address.ip());
    }
}

#[test]
fn the_kubelets_port_is_out_of_reach() {
    let watched = Watched::set();
    let path = format!(
        "/api/v1/nodes/{}",
        watched.scene.cluster.node.as_ref().unwrap()
    );
    let node = watched.scene.cluster.api().unwrap().get(&path).unwrap();
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    let port = port.as_u64().unwrap().try_into().unwrap();
    for ip in &watched.scene.cluster.node_addresses {
        let address = SocketAddr::new(*ip, port).to_string();
        let words = ["reach", "connect", &address];
        let said = watched.bystander(*ip, &words);
        assert!(said.contains(DIRECT), "{said}");
        let said = watched.agent(*ip, &words);
        assert!(said.starts_with(DENIED), "{said}");
    }
}

#[test]
fn the_clouds_metadata_is_out_of_reach() {
    let watched = Watched::set();
    let ip = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
    let address = SocketAddr::new(ip, 80).to_string();
    assert_eq!(watched.bystander(ip, &["udp-send", &address]), "sent");
    for verb in ["connect", "udp-connect", "udp-send"] {
        let said = watched.agent(ip, &[verb, &address]);
        assert!(said.starts_with(DENIED), "{verb}: {said}");
    }
}

#[test]
fn root_in_a_pod_cannot_share_or_take_a_reserved_port() {
    let watched = Watched::set();
    for address in [
        "127.0.0.1:15300",
        "[::1]:15300",
        "0.0.0.0:15300",
        "[::]:15300",
        "[::ffff:127.0.0.1]:15300",
    ] {
        for verb in ["bind", "bind-shared"] {
            let said = attempt(&watched.scene.bystander, &[verb, address]);
            assert!(said.starts_with("bound"), "{verb} {address}: {said}");
            let said = attempt(&watched.agent, &[verb, address]);
            assert!(said.starts_with(DENIED), "{verb} {address}: {said}");
        }
    }
    let said = attempt(&watched.agent, &["bind", "0.0.0.0:0"]);
    assert!(said.starts_with("bound"), "any other port is free: {said}");
    watched.scene.calls_are_recorded(&[&watched.agent]);
}

impl Captured {
    pub(super) fn wait_until(&self, pod: &NetworkedPod, state: &str) {
        eventually(&format!("{} {state}", pod.name), LIMIT, || {
            Ok((self.coverage_of(pod)?["state"] == state).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.node.log()));
    }
}

/// A process in a pod that does one thing after the other.
struct Talking {
    process: std::process::Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Talking {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        Self {
            stdout: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
        }
    }

    fn tell(&mut self, line: &str) {
        let stdin = self.process.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Closes its stdin, and waits for its last word.
    fn finish(mut self) -> String {
        drop(self.process.stdin.take());
        let said = std::io::read_to_string(&mut self.stdout).unwrap();
        self.process.wait().unwrap();
        said.trim_end().to_owned()
    }
}
