use super::*;

const MINIMAL: &str = "node: worker-1\ngatewayUid: 65532\n";

fn parse(text: &str) -> Result<NodeConfig, String> {
    NodeConfig::parse(text, |_| None)
}

fn problem(text: &str) -> String {
    parse(text).expect_err("it is refused")
}

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let config = parse(MINIMAL).expect("the minimal file is valid");
    assert_eq!(config.node, "worker-1");
    assert_eq!(config.socket, Path::new("/run/sallyport/node.sock"));
    assert_eq!(config.host_netns, Path::new("/proc/1/ns/net"));
    assert_eq!(config.pins, Path::new("/sys/fs/bpf/sallyport"));
    assert_eq!(config.profile, Profile::Shared);
    assert_eq!(
        (config.ports.first.get(), config.ports.count.get()),
        (15300, 256)
    );
    assert_eq!(config.cloud_metadata, CloudMetadata::Deny);
    assert_eq!(config.reconcile_interval, Duration::from_secs(30));
    assert_eq!(config.destinations, ConfiguredDestinations::default());
    assert!(config.own_pod.is_none() && config.admin.is_none());
}

#[test]
fn every_field_is_written_as_kubernetes_writes_fields() {
    let text = r#"
node: worker-1
kubeconfig: kubeconfig
socket: /run/sallyport/node.sock
gatewayUid: 65532
cgroupRoot: /host/cgroup
kubepods: kubepods.slice
proc: /host/proc
pins: /sys/fs/bpf/sallyport
profile: dedicated
ports: {first: 61000, count: 16}
destinations:
  names: ["API.example.com.:443"]
  addresses: ["203.0.113.7:6443", "[::ffff:203.0.113.8]:443", "[2001:db8::7]:443"]
cloudMetadata: allow
apiAudiences: [https://issuer.example]
ownPod: {namespace: sallyport-system, name: node-x, uid: 7c1f}
admin: {listen: "127.0.0.1:15021"}
reconcileInterval: 10s
"#;
    let mut config = parse(text).expect("every field is known");
    config.resolve(Path::new("/etc/sallyport"));
    assert_eq!(
        config.kubeconfig.as_deref(),
        Some(Path::new("/etc/sallyport/kubeconfig"))
    );
    assert_eq!(
        config.kubepods.as_deref(),
        Some(Path::new("kubepods.slice"))
    );
    assert_eq!(config.host_netns, Path::new("/host/proc/1/ns/net"));
    assert_eq!(
        config.destinations.names[0].to_string(),
        "api.example.com:443"
    );
    let addresses: Vec<_> = config
        .destinations
        .addresses
        .iter()
        .map(SocketAddr::to_string)
        .collect();
    assert_eq!(
        addresses,
        ["203.0.113.7:6443", "203.0.113.8:443", "[2001:db8::7]:443"]
    );
    assert_eq!(config.api_audiences, ["https://issuer.example"]);
    assert_eq!(config.own_pod.expect("written").uid, "7c1f");
}

#[test]
fn an_unknown_field_is_refused_with_its_line() {
    let problem = problem(&format!("{MINIMAL}gatewayUID: 1\n"));
    assert!(
        problem.contains("line 3") && problem.contains("gatewayUID"),
        "{problem}"
    );
}

#[test]
fn what_differs_between_nodes_comes_from_the_environment() {
    let environment = |name: &str| Some(format!("the-{name}"));
    let config = NodeConfig::parse("gatewayUid: 65532", environment).expect("all is set");
    assert_eq!(config.node, "the-NODE_NAME");
    let own = config.own_pod.expect("all is set");
    assert_eq!(
        [own.namespace, own.name, own.uid],
        ["the-POD_NAMESPACE", "the-POD_NAME", "the-POD_UID"]
    );

    let written = NodeConfig::parse(MINIMAL, environment).expect("the file wins");
    assert_eq!(written.node, "worker-1");
}

#[test]
fn a_node_without_a_name_and_half_a_pod_are_refused() {
    assert!(problem("gatewayUid: 65532").contains("NODE_NAME"));
    let half = |name: &str| (name == "POD_NAME").then(|| "node-x".to_owned());
    let problem = NodeConfig::parse(MINIMAL, half).expect_err("half a pod");
    assert!(problem.contains("POD_UID"), "{problem}");
}

#[test]
fn ports_that_others_use_are_refused() {
    let with = |first: u32, count: u32| {
        parse(&format!(
            "{MINIMAL}ports: {{first: {first}, count: {count}}}"
        ))
    };
    for (first, count) in [(1024, 1), (29_744, 256), (61_000, 1024), (65_535, 1)] {
        with(first, count).expect("nobody else's");
    }
    for (first, count, reason) in [
        (0, 1, "line 3"),
        (443, 1, "1024"),
        (65_535, 2, "65535"),
        (29_745, 256, "node ports"),
        (32_767, 1, "node ports"),
        (60_999, 1, "outgoing"),
        (15_300, 1025, "1024 destinations"),
        (15_300, 0, "line 3"),
    ] {
        let problem = with(first, count).expect_err("in use");
        assert!(problem.contains(reason), "{first} {count}: {problem}");
    }
}

#[test]
fn a_destination_of_the_wrong_kind_says_where_to_write_it() {
    let names = |name: &str| problem(&format!("{MINIMAL}destinations: {{names: [\"{name}\"]}}"));
    assert!(names("203.0.113.7:443").contains("under addresses"));
    assert!(names("[2001:db8::7]:443").contains("under addresses"));
    for name in [
        "api.example.com",
        "api.example.com:0",
        "-a.example:443",
        "a..b:443",
        ":443",
        "*.example.com:443",
    ] {
        assert!(names(name).contains("write api.example.com:443"), "{name}");
    }
    let addresses = |address: &str| {
        problem(&format!(
            "{MINIMAL}destinations: {{addresses: [\"{address}\"]}}"
        ))
    };
    assert!(addresses("api.example.com:443").contains("under names"));
    for address in ["0.0.0.0:443", "127.0.0.1:443", "[::1]:443", "203.0.113.7:0"] {
        assert!(
            addresses(address).contains("no address that a pod"),
            "{address}"
        );
    }
}

#[test]
fn an_interval_that_says_nothing_in_time_is_refused() {
    for interval in ["0s", "61s"] {
        let problem = problem(&format!("{MINIMAL}reconcileInterval: {interval}"));
        assert!(problem.starts_with("reconcileInterval"), "{problem}");
    }
}
