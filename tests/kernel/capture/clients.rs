//! Unmodified clients in an agent's pod, on every way to the API server that a cluster has.

use std::net::SocketAddr;

use aya::maps::{HashMap, Map, MapData};

use super::*;

/// Prints the names of the ConfigMaps of the pod's namespace.
const PYTHON: &str = "\
from kubernetes import client, config
config.load_incluster_config()
namespace = open('/var/run/secrets/kubernetes.io/serviceaccount/namespace').read()
for item in client.CoreV1Api().list_namespaced_config_map(namespace).items:
    print(item.metadata.name)
";

const CURL: &str = r#"
directory=/var/run/secrets/kubernetes.io/serviceaccount
exec curl --silent --show-error --fail-with-body --max-time 20 --cacert "$directory/ca.crt" \
    --header "Authorization: Bearer $(cat "$directory/token")" --connect-to "::$1" \
    "https://$2/api/v1/namespaces/$(cat "$directory/namespace")/configmaps""#;

/// A ConfigMap of every agents' namespace; what client-go makes has the same beginning.
const FOUND: &str = "sallyport-";

/// An agent's pod that is watched while a client runs in it.
struct Watched {
    scene: Captured,
    pod: NetworkedPod,
    oracle: Oracle,
}

impl Watched {
    fn set() -> Self {
        let scene = Captured::set();
        let pod = scene.agent("coder");
        let oracle = scene.oracle(&pod);
        Self { scene, pod, oracle }
    }

    /// Wants that `words` find what is there as this pod, that no packet of theirs leaves the pod for `addresses` or
    /// the API server's own, and that the record names the executable.
    fn serves(&self, words: &[&str], executable: &str, addresses: &[IpAddr]) {
        // Whose connection it is, the gateway waits 50 ms to hear, and records the call without it otherwise.
        eventually("a record of the process", LIMIT, || {
            let processes = self.processes_of(words);
            let known: Option<Vec<_>> = processes
                .iter()
                .map(|process| process["exe"].as_str())
                .collect();
            let Some(known) = known else { return Ok(None) };
            assert!(
                known.iter().all(|exe| exe.contains(executable)),
                "{known:?}"
            );
            Ok(Some(()))
        })
        .unwrap();
        let addresses = [addresses, &self.scene.api_addresses()].concat();
        assert_eq!(self.oracle.packets_to(&addresses), [], "{words:?}");
    }

    /// Whose each call was, as recorded.
    fn processes_of(&self, words: &[&str]) -> Vec<Value> {
        let before = self.scene.records_of(&self.pod).len();
        let said = self.pod.ok(words).unwrap();
        assert!(said.contains(FOUND), "{words:?}: {said}");
        let records = self.scene.records_of(&self.pod);
        let new = &records[before..];
        assert!(!new.is_empty(), "{words:?} left no record");
        for record in new {
            assert_eq!(record["entry"], "captured", "{record:#}");
            assert_eq!(record["workload"]["pod"], self.pod.name.as_str());
            assert_eq!(
                record["workload"]["namespace"],
                self.scene.agents.name.as_str()
            );
        }
        new.iter().map(|record| record["process"].clone()).collect()
    }

    /// `words` where the API server is said to be at `address`.
    fn serves_at(&self, address: SocketAddr, words: &[&str], executable: &str) {
        let host = format!("KUBERNETES_SERVICE_HOST={}", address.ip());
        let port = format!("KUBERNETES_SERVICE_PORT={}", address.port());
        let words = [&["env", &host, &port], words].concat();
        self.serves(&words, executable, &[address.ip()]);
    }

    fn endpoint(&self, index: usize) -> SocketAddr {
        let ip = self.scene.cluster.node_addresses[index];
        SocketAddr::new(ip, Cluster::ENDPOINT_PORT)
    }

    fn cluster_ip(&self) -> SocketAddr {
        SocketAddr::new(self.scene.cluster.cluster_ip.unwrap(), 443)
    }

    /// By curl, which goes to exactly this address under that name.
    fn serves_curl(&self, address: SocketAddr, name: &str) {
        let words = ["sh", "-euc", CURL, "sh", &address.to_string(), name];
        self.serves(&words, "curl", &[address.ip()]);
    }
}

const KUBECTL: [&str; 5] = ["kubectl", "get", "configmaps", "-o", "name"];

fn go_client() -> String {
    std::env::var("SALLYPORT_TEST_GO_CLIENT").expect("run `cargo xtask test kernel`")
}

#[test]
fn kubectl_is_served_at_the_cluster_ip_and_at_both_endpoints() {
    let watched = Watched::set();
    watched.serves(&KUBECTL, "kubectl", &[]);
    for address in [watched.endpoint(0), watched.endpoint(1)] {
        watched.serves_at(address, &KUBECTL, "kubectl");
    }
}

#[test]
fn python_is_served_at_the_cluster_ip_and_at_an_endpoint() {
    let watched = Watched::set();
    let python = Tools::from_env().unwrap().python;
    let words = [python.to_str().unwrap(), "-I", "-c", PYTHON];
    watched.serves(&words, "python", &[]);
    watched.serves_at(watched.endpoint(0), &words, "python");
}

/// Every call of typed clients, in protobuf; what the policy refuses is an answer like any other.
#[test]
fn client_go_is_served_at_the_cluster_ip_and_at_both_endpoints() {
    let watched = Watched::set();
    let (client, namespace) = (go_client(), watched.scene.agents.name.clone());
    let words = [client.as_str(), "--namespace", &namespace, "typed"];
    watched.serves(&words, "go-client", &[]);
    for address in [watched.endpoint(0), watched.endpoint(1)] {
        watched.serves_at(address, &words, "go-client");
    }
}

#[test]
fn kube_rs_is_served_at_the_cluster_ip_and_at_an_endpoint() {
    let watched = Watched::set();
    let namespace = watched.scene.agents.name.clone();
    let words = [bypass::KERNEL_CLIENT, "list-by-kube-rs", &namespace];
    watched.serves(&words, "kernel-client", &[]);
    watched.serves_at(watched.endpoint(0), &words, "kernel-client");
}

/// As runtimes do that have IPv6 sockets alone.
#[test]
fn a_client_with_v4_mapped_addresses_is_served_at_the_cluster_ip_and_at_an_endpoint() {
    let watched = Watched::set();
    for address in [watched.cluster_ip(), watched.endpoint(0)] {
        let IpAddr::V4(ip) = address.ip() else {
            panic!("{address} is of IPv6 already");
        };
        let mapped = SocketAddr::new(ip.to_ipv6_mapped().into(), address.port());
        watched.serves_curl(mapped, "kubernetes.default.svc");
    }
    eventually("a count of IPv6 sockets", LIMIT, || {
        let metrics = watched.scene.node.admin("/metrics")?;
        let mapped = "decision=\"redirected_v4_mapped\"} ";
        let count = metrics.lines().find_map(|line| line.split_once(mapped));
        Ok(count.filter(|(_, count)| *count != "0").map(drop))
    })
    .expect("curl has made IPv6 sockets");
}

#[test]
fn a_service_that_is_made_while_the_pod_runs_and_leads_to_the_api_server_is_served() {
    let watched = Watched::set();
    let agents = &watched.scene.agents;
    let name = format!("alias.{}.svc", agents.name);
    for address in watched.scene.create_alias(agents, "alias") {
        watched.scene.wait_until_redirected(address);
        watched.serves_curl(address, &name);
    }
}

impl Captured {
    /// A Service without a selector whose endpoints are the API server's, IPv4 and IPv6; its addresses.
    pub(super) fn create_alias(&self, namespace: &Namespace, name: &str) -> Vec<SocketAddr> {
        const PORT: u16 = 8443;
        let service = json!({
            "metadata": {"name": name},
            "spec": {"ipFamilyPolicy": "PreferDualStack", "ports": [{"name": "https", "port": PORT}]},
        });
        let api = namespace.api();
        let service = api.create(&namespace.path("services"), &service).unwrap();
        let slices = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
            namespace.name
        );
        for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
            let slice = json!({
                "metadata": {
                    "name": format!("{name}-{}", family.to_lowercase()),
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": family,
                "endpoints": [{"addresses": [self.cluster.node_addresses[index]]}],
                "ports": [{"name": "https", "port": Cluster::ENDPOINT_PORT}],
            });
            api.create(&slices, &slice).unwrap();
        }
        let ips = service["spec"]["clusterIPs"].as_array().unwrap().iter();
        let ips = ips.map(|ip| ip.as_str().unwrap().parse().unwrap());
        ips.map(|ip| SocketAddr::new(ip, PORT)).collect()
    }

    /// Until the kernel's own list has `address`.
    pub(super) fn wait_until_redirected(&self, address: SocketAddr) {
        eventually(&format!("{address} among the destinations"), LIMIT, || {
            Ok(self.is_redirected(address).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.node.log()));
    }

    pub(super) fn is_redirected(&self, address: SocketAddr) -> bool {
        let pin = self.node.pins().join("v1/DESTINATIONS");
        let Ok(map) = MapData::from_pin(pin) else {
            return false;
        };
        let map = Map::from_map_data(map).unwrap();
        let destinations = HashMap::<_, [u8; 20], u16>::try_from(map).unwrap();
        destinations.get(&destination(address), 0).is_ok()
    }
}

/// The key of the kernel's list: the address as IPv6, the port, nothing.
fn destination(address: SocketAddr) -> [u8; 20] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut key = [0; 20];
    key[..16].copy_from_slice(&ip.octets());
    key[16..18].copy_from_slice(&address.port().to_be_bytes());
    key
}
