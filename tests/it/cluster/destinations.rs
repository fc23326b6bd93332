//! The ways to the API server, as a node agent learns them from the real one.

use std::fs;

use anyhow::{Context, Result};
use harness::{Cluster, Follower, Namespace, Sallyport};
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
            "destinations": {"names": ["api.invalid:443"], "addresses": ["203.0.113.7:6443"]},
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

/// An API server's own address and port.
fn endpoint(cluster: &Cluster) -> Result<(String, i64)> {
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = cluster.api()?.get(path)?;
    let address = slice["endpoints"][0]["addresses"][0]
        .as_str()
        .context("an endpoint")?;
    let port = slice["ports"][0]["port"].as_i64().context("a port")?;
    Ok((address.to_owned(), port))
}

/// A Service without a selector, whose endpoints somebody writes by hand: the API server. Its ClusterIP.
fn create_alias(
    namespace: &Namespace,
    name: &str,
    kind: &str,
    endpoint: &(String, i64),
) -> Result<Value> {
    let (address, port) = endpoint;
    let spec = json!({"type": kind, "ports": [{"name": "api", "port": 8443, "targetPort": port}]});
    let service = json!({"metadata": {"name": name}, "spec": spec});
    let service = namespace
        .api()
        .create(&namespace.path("services"), &service)?;
    let slice = json!({
        "metadata": {"name": format!("{name}-by-hand"), "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"name": "api", "port": port, "protocol": "TCP"}],
    });
    namespace.api().create(&slices(namespace), &slice)?;
    Ok(service["spec"].clone())
}

fn slices(namespace: &Namespace) -> String {
    format!(
        "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
        namespace.name
    )
}

fn address_of(spec: &Value) -> Result<String> {
    let ip = spec["clusterIP"].as_str().context("a ClusterIP")?;
    Ok(format!("{ip}:8443"))
}

#[test]
fn the_first_list_holds_the_service_its_endpoints_and_what_is_configured() -> Result<()> {
    let cluster = Cluster::from_env()?;
    let kubernetes = cluster
        .api()?
        .get("/api/v1/namespaces/default/services/kubernetes")?;
    let service = format!(
        "{}:{}",
        kubernetes["spec"]["clusterIP"]
            .as_str()
            .context("a ClusterIP")?,
        kubernetes["spec"]["ports"][0]["port"]
    );
    let (address, port) = endpoint(&cluster)?;
    let list = Watcher::start(&cluster)?.wait("the first list", |_| true)?;
    let known = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    assert_eq!(names(&list, &service).context("redirected")?, known);
    assert_eq!(
        names(&list, &format!("{address}:{port}")).context("redirected")?,
        known
    );
    assert_eq!(
        names(&list, "203.0.113.7:6443").context("redirected")?,
        [""; 0]
    );
    for guarded in [
        service,
        format!("{address}:{port}"),
        format!("{address}:10250"),
        "169.254.169.254:80".into(),
    ] {
        assert!(is_guarded(&list, &guarded), "{guarded}: {list}");
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
    let endpoint = endpoint(&cluster)?;
    let watcher = Watcher::start(&cluster)?;
    watcher.wait("the first list", |_| true)?;

    let first = address_of(&create_alias(&namespace, "first", "ClusterIP", &endpoint)?)?;
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
        .delete(&format!("{}/first-by-hand", slices(&namespace)))?;
    let second = address_of(&create_alias(&namespace, "second", "ClusterIP", &endpoint)?)?;
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
    let node = format!("{}-node", namespace.name);
    let created = json!({"metadata": {"name": node}});
    namespace.api().create("/api/v1/nodes", &created)?;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.77"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 11250}},
    }});
    let admin = harness::Kubectl::with_kubeconfig(&cluster.kubeconfig, &namespace.name)?;
    let patch = status.to_string();
    admin.ok(&[
        "patch",
        "node",
        &node,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ])?;

    let endpoint = endpoint(&cluster)?;
    let watcher = Watcher::start(&cluster)?;
    let list = watcher.wait("the node", |list| is_guarded(list, "192.0.2.77:11250"));
    let spec = create_alias(&namespace, "outside", "NodePort", &endpoint)?;
    let node_port = format!("192.0.2.77:{}", spec["ports"][0]["nodePort"]);
    let guarded = watcher.wait("the node port", |list| is_guarded(list, &node_port));
    admin.ok(&["delete", "node", &node])?;
    (list?, guarded?);

    let headless = json!({"metadata": {"name": "direct"}, "spec": {"clusterIP": "None", "ports": [{"name": "api", "port": endpoint.1}]}});
    namespace
        .api()
        .create(&namespace.path("services"), &headless)?;
    let slice = json!({
        "metadata": {"name": "direct-by-hand", "labels": {"kubernetes.io/service-name": "direct"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [endpoint.0]}],
        "ports": [{"name": "api", "port": endpoint.1}],
    });
    namespace.api().create(&slices(&namespace), &slice)?;
    let (address, name) = (
        format!("{}:{}", endpoint.0, endpoint.1),
        format!("direct.{}", namespace.name),
    );
    let named =
        |list: &Value| names(list, &address).is_some_and(|names| names.contains(&name.as_str()));
    watcher.wait("the headless name", named).map(drop)
}
