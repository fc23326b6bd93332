//! The ways to the API server, as a node agent learns them from the real one.

use std::fs;

use anyhow::{Context, Result};
use harness::{Api, Cluster, Follower, Kubectl, Namespace, Sallyport};
use serde_json::{Value, json};
use tempfile::TempDir;

/// `sallyport debug destinations --follow`.
struct Watcher {
    follower: Follower,
    _directory: TempDir,
}

impl Watcher {
    fn start(cluster: &Cluster) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("node.yaml");
        let text = json!({
            "node": "nowhere", "gatewayUid": 65532, "kubeconfig": cluster.kubeconfig,
            "destinations": {"names": ["api.invalid:443"], "addresses": [format!("{}:{}", CONFIGURED.0, CONFIGURED.1)]},
        });
        fs::write(&config, text.to_string())?;
        let config = config.to_str().context("a path of ours")?;
        let arguments = ["debug", "destinations", "--follow", "--config", config];
        Ok(Self {
            follower: Sallyport::with_kubeconfig(&cluster.kubeconfig)?.follow(&arguments)?,
            _directory: directory,
        })
    }

    /// The next list that `wanted` is true of.
    fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let parsed = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
        let line = self.follower.wait_for(what, |line| wanted(&parsed(line)))?;
        Ok(parsed(&line))
    }
}

fn names<'a>(list: &'a Value, address: &str) -> Option<Vec<&'a str>> {
    let ways = list["redirected"].as_array()?;
    let way = ways.iter().find(|way| way["address"] == address)?;
    Some(
        way["names"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect(),
    )
}

fn is_guarded(list: &Value, address: &str) -> bool {
    list["guarded"]
        .as_array()
        .is_some_and(|guarded| guarded.contains(&json!(address)))
}

/// An address of the API server outside of the cluster, as configured, and its port.
const CONFIGURED: (&str, i64) = ("203.0.113.7", 6443);

/// A Service without a selector, whose endpoints somebody writes by hand: the API server. Its spec.
fn create_alias(namespace: &Namespace, name: &str, kind: &str) -> Result<Value> {
    let ports = json!([{"name": "api", "port": 8443, "targetPort": CONFIGURED.1}]);
    let spec = match kind {
        "None" => json!({"clusterIP": "None", "ports": ports}),
        kind => json!({"type": kind, "ports": ports}),
    };
    let service = json!({"metadata": {"name": name}, "spec": spec});
    let service = namespace
        .api()
        .create(&namespace.path("services"), &service)?;
    let slice = slice(&format!("{name}-by-hand"), name, CONFIGURED.0, "api");
    namespace.api().create(&slices(&namespace.name), &slice)?;
    Ok(service["spec"].clone())
}

fn slice(name: &str, service: &str, address: &str, port: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"name": port, "port": CONFIGURED.1, "protocol": "TCP"}],
    })
}

fn slices(namespace: &str) -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
}

fn address_of(spec: &Value) -> Result<String> {
    let ip = spec["clusterIP"].as_str().context("a ClusterIP")?;
    Ok(format!("{ip}:8443"))
}

#[test]
fn the_first_list_holds_the_service_its_endpoints_and_what_is_configured() -> Result<()> {
    // Of its own, since it gives the Service `kubernetes` an endpoint.
    let cluster = Cluster::start_private()?;
    let api = cluster.cluster.api()?;
    api.create(
        &slices("default"),
        &slice("by-hand", "kubernetes", "192.0.2.50", "https"),
    )?;
    let kubernetes = api.get("/api/v1/namespaces/default/services/kubernetes")?;
    let ip = kubernetes["spec"]["clusterIP"]
        .as_str()
        .context("a ClusterIP")?;
    let service = format!("{ip}:{}", kubernetes["spec"]["ports"][0]["port"]);

    let list = Watcher::start(&cluster.cluster)?.wait("the first list", |_| true)?;
    let known = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    assert_eq!(names(&list, &service).context("redirected")?, known);
    assert_eq!(
        names(&list, "192.0.2.50:6443").context("redirected")?,
        known
    );
    assert_eq!(
        names(&list, "203.0.113.7:6443").context("redirected")?,
        [""; 0]
    );
    for guarded in [
        &*service,
        "192.0.2.50:6443",
        "192.0.2.50:10250",
        "192.0.2.50:2379",
        "169.254.169.254:80",
    ] {
        assert!(is_guarded(&list, guarded), "{guarded}: {list}");
    }
    let problems = list["problems"].to_string();
    assert!(
        problems.contains("api.invalid:443 does not resolve"),
        "{problems}"
    );
    Ok(())
}

#[test]
fn a_service_that_leads_to_the_api_server_comes_and_outlives_its_deletion() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let watcher = Watcher::start(&cluster)?;
    watcher.wait("the first list", |_| true)?;

    let first = address_of(&create_alias(&namespace, "first", "ClusterIP")?)?;
    let list = watcher.wait("the alias", |list| names(list, &first).is_some())?;
    let name = format!("first.{}.svc", namespace.name);
    assert!(
        names(&list, &first)
            .context("redirected")?
            .contains(&name.as_str()),
        "{list}"
    );
    assert!(is_guarded(&list, &first), "{list}");

    namespace.api().delete(&namespace.path("services/first"))?;
    namespace
        .api()
        .delete(&format!("{}/first-by-hand", slices(&namespace.name)))?;
    let second = address_of(&create_alias(&namespace, "second", "ClusterIP")?)?;
    let list = watcher.wait("the other alias", |list| names(list, &second).is_some())?;
    assert!(
        names(&list, &first).is_some(),
        "it must stay for an hour: {list}"
    );
    Ok(())
}

#[test]
fn a_headless_service_names_its_endpoints_and_a_node_port_is_guarded() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let namespace = Namespace::create(&cluster)?;
    let watcher = Watcher::start(&cluster)?;
    let node = Node::create(&cluster, &namespace)?;
    watcher.wait("the node", |list| is_guarded(list, "192.0.2.77:11250"))?;
    let spec = create_alias(&namespace, "outside", "NodePort")?;
    let node_port = format!("192.0.2.77:{}", spec["ports"][0]["nodePort"]);
    watcher.wait("the node port", |list| is_guarded(list, &node_port))?;
    drop(node);

    create_alias(&namespace, "direct", "None")?;
    let name = format!("direct.{}", namespace.name);
    let named = |list: &Value| {
        names(list, "203.0.113.7:6443").is_some_and(|names| names.contains(&name.as_str()))
    };
    watcher.wait("the headless name", named).map(drop)
}

/// A Node without a kubelet, which says that one is at 192.0.2.77:11250.
struct Node {
    path: String,
    api: Api,
}

impl Node {
    fn create(cluster: &Cluster, namespace: &Namespace) -> Result<Self> {
        let name = format!("{}-node", namespace.name);
        let node = Self {
            path: format!("/api/v1/nodes/{name}"),
            api: cluster.api()?,
        };
        node.api
            .create("/api/v1/nodes", &json!({"metadata": {"name": name}}))?;
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "192.0.2.77"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 11250}},
        }});
        let admin = Kubectl::with_kubeconfig(&cluster.kubeconfig, &namespace.name)?;
        let patch = status.to_string();
        admin.ok(&[
            "patch",
            "node",
            &name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])?;
        Ok(node)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.api.delete(&self.path) {
            eprintln!("{} stays: {error:#}", self.path);
        }
    }
}
