use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::node::destinations::cluster::{Compact, Kept, Key, Service, Slice};

const HOUR: Duration = REMEMBERED;

fn config(ports: u16) -> NodeConfig {
    let text = format!(
        "{{node: n, gatewayUid: 65532, ports: {{first: 15300, count: {ports}}}, destinations: {{addresses: [\"203.0.113.7:6443\"]}}}}"
    );
    NodeConfig::parse(&text, |_| None).expect("it is valid")
}

fn kept<T: Compact>(objects: &[Value]) -> Kept<T> {
    let mut kept = Kept::default();
    for object in objects {
        let (meta, object) = (&object["metadata"], object.clone());
        let part = |name: &str| meta[name].as_str().unwrap_or_default();
        let key = Key::new(part("namespace"), part("name"));
        let object: T::Object = serde_json::from_value(object.clone()).expect("an object");
        kept.objects
            .extend(T::of(&object).map(|object| (key, object)));
    }
    kept
}

fn service(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

fn slice(namespace: &str, service: &str, addresses: &[&str], ports: Value) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": format!("{service}-1"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": addresses, "conditions": {"ready": false}}],
        "ports": ports,
    })
}

fn node(name: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {
        "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    }})
}

/// Two API servers behind the Service, one worker.
fn cluster_with(services: &[Value], slices: &[Value]) -> Cluster {
    let kubernetes = service(
        "default",
        "kubernetes",
        json!({
            "clusterIPs": ["10.96.0.1", "fd00:96::1"],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
        }),
    );
    let endpoints = slice(
        "default",
        "kubernetes",
        &["192.0.2.1", "192.0.2.2"],
        json!([{"name": "https", "port": 6443}]),
    );
    let nodes = [
        node("control-1", "192.0.2.1"),
        node("worker-1", "192.0.2.11"),
    ];
    Cluster {
        services: kept::<Service>(&[services, &[kubernetes]].concat()),
        slices: kept::<Slice>(&[slices, &[endpoints]].concat()),
        nodes: kept::<Node>(&nodes),
        ..Cluster::default()
    }
}

fn announced(config: &NodeConfig) -> Announced {
    let nothing = Inherited::default();
    Announced::new(config, "cluster.local".into(), nothing, Instant::now())
}

fn destinations_of(cluster: &Cluster) -> Destinations {
    announced(&config(256)).update(cluster, Instant::now())
}

fn names(destinations: &Destinations, address: &str) -> Vec<String> {
    let address: SocketAddr = address.parse().expect("an address");
    destinations
        .redirected
        .get(&address)
        .cloned()
        .unwrap_or_default()
}

fn addresses(destinations: &Destinations) -> Vec<String> {
    destinations
        .redirected
        .keys()
        .map(SocketAddr::to_string)
        .collect()
}

fn is_guarded(destinations: &Destinations, ip: &str, port: u16) -> bool {
    let ip = ip.parse().expect("an address");
    destinations.guarded.contains(&guard(ip, port))
}

#[test]
fn the_service_its_endpoints_and_what_is_configured_are_redirected() {
    let destinations = destinations_of(&cluster_with(&[], &[]));
    assert_eq!(
        addresses(&destinations),
        [
            "10.96.0.1:443",
            "192.0.2.1:6443",
            "192.0.2.2:6443",
            "203.0.113.7:6443",
            "[fd00:96::1]:443"
        ]
    );
    let known = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    assert_eq!(names(&destinations, "10.96.0.1:443"), known);
    assert_eq!(names(&destinations, "192.0.2.2:6443"), known);
    assert_eq!(names(&destinations, "203.0.113.7:6443"), [""; 0]);
    assert_eq!(destinations.problems, [""; 0]);
}

#[test]
fn kubelets_and_the_rest_of_the_control_plane_are_guarded_and_not_redirected() {
    let destinations = destinations_of(&cluster_with(&[], &[]));
    for ip in ["192.0.2.1", "192.0.2.11"] {
        assert!(is_guarded(&destinations, ip, 10250), "{ip}");
    }
    for port in CONTROL_PLANE_PORTS {
        assert!(is_guarded(&destinations, "192.0.2.2", port), "{port}");
        assert!(
            !is_guarded(&destinations, "192.0.2.11", 2379),
            "no control plane is there"
        );
        assert!(!addresses(&destinations).contains(&format!("192.0.2.2:{port}")));
    }
    assert!(is_guarded(&destinations, "169.254.169.254", 80));
}

#[test]
fn metadata_is_reached_only_where_the_configuration_allows_it() {
    let allowing = NodeConfig {
        cloud_metadata: CloudMetadata::Allow,
        ..config(256)
    };
    let mut announced = announced(&allowing);
    let destinations = announced.update(&cluster_with(&[], &[]), Instant::now());
    assert!(!is_guarded(&destinations, "169.254.169.254", 80));
}

#[test]
fn a_service_that_leads_to_the_api_server_is_redirected_on_that_port_alone() {
    let alias = service(
        "shop",
        "api",
        json!({
            "clusterIPs": ["10.96.0.9"], "externalIPs": ["198.51.100.9"],
            "ports": [
                {"name": "api", "port": 8443, "nodePort": 30443},
                {"name": "web", "port": 80, "nodePort": 30080},
                {"name": "quic", "port": 8443, "protocol": "UDP"},
            ],
        }),
    );
    let endpoints = slice(
        "shop",
        "api",
        &["192.0.2.2", "10.0.0.5"],
        json!([{"name": "api", "port": 6443}, {"name": "web", "port": 8080}]),
    );
    let destinations = destinations_of(&cluster_with(&[alias], &[endpoints]));
    let names_of_alias = ["api.shop", "api.shop.svc", "api.shop.svc.cluster.local"];
    assert_eq!(names(&destinations, "10.96.0.9:8443"), names_of_alias);
    assert_eq!(names(&destinations, "198.51.100.9:8443"), names_of_alias);
    assert!(!addresses(&destinations).contains(&"10.96.0.9:80".to_owned()));
    assert!(
        !addresses(&destinations).contains(&"10.0.0.5:6443".to_owned()),
        "the other endpoint is no API server"
    );
    assert!(is_guarded(&destinations, "192.0.2.11", 30443));
    assert!(!is_guarded(&destinations, "192.0.2.11", 30080));
}

#[test]
fn an_alias_of_an_alias_is_found_whatever_its_name() {
    let first = service(
        "z",
        "first",
        json!({"clusterIPs": ["10.96.0.20"], "externalIPs": ["198.51.100.20"], "ports": [{"port": 443}]}),
    );
    let second = service(
        "a",
        "second",
        json!({"clusterIPs": ["10.96.0.21"], "ports": [{"port": 443}]}),
    );
    let slices = [
        slice(
            "z",
            "first",
            &["192.0.2.1"],
            json!([{"name": "", "port": 6443}]),
        ),
        slice(
            "a",
            "second",
            &["198.51.100.20"],
            json!([{"name": "", "port": 443}]),
        ),
    ];
    let destinations = destinations_of(&cluster_with(&[first, second], &slices));
    assert!(addresses(&destinations).contains(&"10.96.0.21:443".to_owned()));
}

#[test]
fn the_name_of_a_headless_service_is_one_of_its_endpoints() {
    let headless = service(
        "shop",
        "direct",
        json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 6443}]}),
    );
    let endpoints = slice("shop", "direct", &["192.0.2.2"], json!([{"port": 6443}]));
    let destinations = destinations_of(&cluster_with(&[headless], &[endpoints]));
    let known = names(&destinations, "192.0.2.2:6443");
    assert_eq!(
        (known[0].as_str(), known[4].as_str()),
        ("kubernetes", "direct.shop")
    );
    assert_eq!(names(&destinations, "192.0.2.1:6443").len(), 4);
}

#[test]
fn a_resolved_name_is_redirected_under_its_name() {
    let mut cluster = cluster_with(&[], &[]);
    let name: crate::config::node::PublicName = "api.example.com:443".parse().expect("a name");
    cluster.names.addresses.insert(
        name.clone(),
        BTreeSet::from([IpAddr::from([203, 0, 113, 9])]),
    );
    cluster.names.failures.insert(name, "no answer".into());
    let destinations = destinations_of(&cluster);
    assert_eq!(names(&destinations, "203.0.113.9:443"), ["api.example.com"]);
    assert_eq!(
        destinations.problems,
        ["api.example.com:443 does not resolve: no answer"]
    );
}

#[test]
fn what_went_stays_for_an_hour_and_not_longer() {
    let alias = service(
        "shop",
        "api",
        json!({"clusterIPs": ["10.96.0.9"], "ports": [{"port": 443}]}),
    );
    let endpoints = slice("shop", "api", &["192.0.2.1"], json!([{"port": 6443}]));
    let mut announced = announced(&config(256));
    let start = Instant::now();
    announced.update(&cluster_with(&[alias], &[endpoints]), start);
    let at = |announced: &mut Announced, after: Duration| {
        let destinations = announced.update(&cluster_with(&[], &[]), start + after);
        addresses(&destinations).contains(&"10.96.0.9:443".to_owned())
    };
    assert!(at(&mut announced, HOUR - Duration::from_secs(1)));
    assert!(!at(&mut announced, HOUR));
}

#[test]
fn what_the_kernel_holds_at_start_stays_closed_for_an_hour() {
    let resolved_before: SocketAddr = "203.0.113.9:443".parse().expect("an address");
    let gone_node = guard("192.0.2.12".parse().expect("an address"), 10250);
    let inherited = Inherited {
        redirected: BTreeSet::from([resolved_before]),
        guarded: BTreeSet::from([gone_node]),
    };
    let start = Instant::now();
    let mut announced = Announced::new(&config(256), "cluster.local".into(), inherited, start);
    let mut after = |after| announced.update(&cluster_with(&[], &[]), start + after);
    for passed in [Duration::ZERO, HOUR - Duration::from_secs(1)] {
        let destinations = after(passed);
        assert!(destinations.redirected.contains_key(&resolved_before));
        assert!(is_guarded(&destinations, "203.0.113.9", 443));
        assert!(destinations.guarded.contains(&gone_node));
    }
    let destinations = after(HOUR);
    assert!(!destinations.redirected.contains_key(&resolved_before));
    assert!(!is_guarded(&destinations, "203.0.113.9", 443));
    assert!(!destinations.guarded.contains(&gone_node));
}

#[test]
fn metadata_that_is_allowed_is_not_kept_closed_by_the_agent_before() {
    let inherited = Inherited {
        guarded: metadata::guards().collect(),
        ..Inherited::default()
    };
    let allowing = NodeConfig {
        cloud_metadata: CloudMetadata::Allow,
        ..config(256)
    };
    let mut announced =
        Announced::new(&allowing, "cluster.local".into(), inherited, Instant::now());
    let destinations = announced.update(&cluster_with(&[], &[]), Instant::now());
    assert!(!is_guarded(&destinations, "169.254.169.254", 80));
}

#[test]
fn what_finds_no_port_is_closed_and_named_and_the_service_is_not_among_it() {
    let many: Vec<_> = (1..=20)
        .map(|number| {
            let spec =
                json!({"clusterIPs": [format!("10.96.1.{number}")], "ports": [{"port": 443}]});
            service("a", &format!("api-{number}"), spec)
        })
        .collect();
    let slices: Vec<_> = (1..=20)
        .map(|number| {
            slice(
                "a",
                &format!("api-{number}"),
                &["192.0.2.1"],
                json!([{"port": 6443}]),
            )
        })
        .collect();
    let mut announced = announced(&config(10));
    let destinations = announced.update(&cluster_with(&many, &slices), Instant::now());
    assert_eq!(destinations.redirected.len(), 10);
    assert!(addresses(&destinations).contains(&"[fd00:96::1]:443".to_owned()));
    assert!(is_guarded(&destinations, "10.96.1.20", 443));
    assert!(
        destinations.problems[0].starts_with("15 ways"),
        "{:?}",
        destinations.problems
    );
}

#[test]
fn more_kubelets_than_the_kernel_has_room_for_are_a_problem() {
    let mut cluster = cluster_with(&[], &[]);
    let nodes: Vec<_> = (0..17_000)
        .map(|number| {
            node(
                &format!("n{number}"),
                &format!("10.{}.{}.1", number / 250, number % 250),
            )
        })
        .collect();
    cluster.nodes = kept::<Node>(&nodes);
    let destinations = destinations_of(&cluster);
    assert_eq!(destinations.guarded.len(), MAX_GUARDED as usize);
    assert!(is_guarded(&destinations, "10.96.0.1", 443));
    assert!(
        destinations.problems[0].contains("NetworkPolicy"),
        "{:?}",
        destinations.problems
    );
}

#[test]
fn services_that_somebody_makes_take_their_share_and_no_more() {
    let alias = |number: usize| {
        let ip = format!("10.97.{}.{}", number / 250, 1 + number % 250);
        let ports = json!([{"name": "a", "port": 443, "nodePort": 30_000}]);
        service("a", "api", json!({"clusterIPs": [ip], "ports": ports}))
    };
    let many: Vec<_> = (0..5_000)
        .map(|number| {
            let mut service = alias(number);
            service["metadata"]["name"] = json!(format!("api-{number}"));
            service
        })
        .collect();
    let slices: Vec<_> = (0..5_000)
        .map(|number| {
            let ports = json!([{"name": "a", "port": 6443}]);
            slice("a", &format!("api-{number}"), &["192.0.2.1"], ports)
        })
        .collect();
    let destinations = destinations_of(&cluster_with(&many, &slices));
    assert_eq!(destinations.redirected.len(), 5 + MOST_ALIASES);
    assert!(destinations.guarded.len() < 2 * MOST_ALIAS_GUARDS as usize);
    for (ip, port) in [
        ("169.254.169.254", 80),
        ("192.0.2.2", 2379),
        ("192.0.2.11", 10250),
    ] {
        assert!(is_guarded(&destinations, ip, port), "{ip}");
    }
    let problems = destinations.problems.join("\n");
    assert!(
        problems.contains("4968 addresses beyond the 32"),
        "{problems}"
    );
    assert!(problems.contains("beside 4096 others"), "{problems}");
}

#[test]
fn a_cluster_without_the_service_is_a_problem() {
    let problems = destinations_of(&Cluster::default()).problems;
    assert!(problems[0].contains("no ClusterIP"), "{problems:?}");
}

/// Aliases by number, each present or not; some lead to the API server, some elsewhere.
fn aliases(present: &BTreeMap<u8, bool>) -> Cluster {
    let (mut services, mut slices) = (Vec::new(), Vec::new());
    for (number, leads) in present {
        let name = format!("s{number}");
        let spec = json!({"clusterIPs": [format!("10.96.2.{number}")], "ports": [{"port": 443}]});
        services.push(service("a", &name, spec));
        let to = if *leads { "192.0.2.1" } else { "10.0.0.5" };
        slices.push(slice("a", &name, &[to], json!([{"port": 6443}])));
    }
    cluster_with(&services, &slices)
}

proptest! {
    #[test]
    fn an_address_once_announced_is_never_open_within_the_hour(
        steps in prop::collection::vec((prop::collection::btree_map(0_u8..12, any::<bool>(), 0..12), 1_u64..2_000), 1..20),
        ports in 1_u16..24,
    ) {
        let mut announced = announced(&config(ports));
        let mut now = Instant::now();
        let mut seen: BTreeMap<SocketAddr, Instant> = BTreeMap::new();
        for (present, seconds) in steps {
            now += Duration::from_secs(seconds);
            let cluster = aliases(&present);
            let destinations = announced.update(&cluster, now);
            let wanted = Ways::of(&cluster, &announced.configured, "cluster.local").ways;
            seen.extend(wanted.keys().map(|address| (*address, now)));
            seen.retain(|_, at| now.duration_since(*at) < HOUR);

            prop_assert!(destinations.redirected.len() <= usize::from(ports));
            for address in destinations.redirected.keys() {
                prop_assert!(destinations.guarded.contains(&guard(address.ip(), address.port())));
                prop_assert!(seen.contains_key(address), "{} is no way any more", address);
            }
            for address in seen.keys() {
                prop_assert!(destinations.guarded.contains(&guard(address.ip(), address.port())));
            }
            let all_fit = seen.len() <= usize::from(ports);
            prop_assert!(!all_fit || destinations.redirected.len() == seen.len());
            let closed = wanted.keys().any(|address| !destinations.redirected.contains_key(address));
            prop_assert_eq!(closed, destinations.problems.iter().any(|problem| problem.contains("ports.count")));
        }
    }

    #[test]
    fn a_way_that_is_still_there_keeps_its_port(
        present in prop::collection::btree_map(0_u8..12, Just(true), 1..12),
        more in prop::collection::btree_map(0_u8..12, Just(true), 1..12),
        ports in 6_u16..24,
    ) {
        let mut announced = announced(&config(ports));
        let now = Instant::now();
        let before = announced.update(&aliases(&present), now);
        let both = present.into_iter().chain(more).collect();
        let after = announced.update(&aliases(&both), now + Duration::from_secs(1));
        for address in before.redirected.keys() {
            prop_assert!(after.redirected.contains_key(address), "{} lost its port", address);
        }
    }
}
