//! Captured pods: the listener says who calls, and the token must agree. The test plays the node agent.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use harness::{
    Cluster, Exchange, Gateway, Kubectl, Namespace, NodeSocket, Pod, RawClient, Response,
    ScriptedNode, Settings, Tools, eventually,
};
use sallyport::{
    handover::CapturedPod,
    identity::{Process, Workload},
};
use serde_json::{Value, json};

use super::developer_policy;

mod endings;
mod jobs;
mod observed;
mod restarts;
mod tokens;

const LIMIT: Duration = Duration::from_secs(60);

/// A node with one captured pod, whose agent may do everything in its namespace.
struct Node {
    cluster: Cluster,
    namespace: Namespace,
    pod: Pod,
    token: String,
    socket: NodeSocket,
    agent: ScriptedNode,
    gateway: Gateway,
    /// Where the pod's connections to the API server arrive.
    address: SocketAddr,
}

impl Node {
    fn new() -> Result<Self> {
        Self::with(Ok)
    }

    fn with(change: impl FnOnce(Settings) -> Result<Settings>) -> Result<Self> {
        let cluster = Cluster::from_env()?;
        let namespace = Namespace::create(&cluster)?;
        let (pod, token) = namespace.create_coder()?;

        let socket = NodeSocket::new()?;
        let agent = ScriptedNode::start(&socket)?;
        agent.pod(captured(&namespace, &pod)?);
        let address = agent.listen(&pod.uid, &["kubernetes.default.svc"])?;
        let mut settings = Settings::new(&cluster)
            .with_policy("developer.yaml", &developer_policy(&namespace.name));
        settings.config["explicit"]["allowServiceAccountTokens"] = json!(false);
        settings.config["capture"] = socket.capture();
        let gateway = Gateway::start(&change(settings)?)?;
        Ok(Self {
            cluster,
            namespace,
            pod,
            token,
            socket,
            agent,
            gateway,
            address,
        })
    }

    /// A second pod of the same ServiceAccount, with its own listener.
    fn neighbour(&self) -> Result<(Pod, SocketAddr)> {
        let pod = self.namespace.create_pod("neighbour", "coder")?;
        self.agent.pod(captured(&self.namespace, &pod)?);
        let address = self.agent.listen(&pod.uid, &[])?;
        Ok((pod, address))
    }

    fn client(&self, address: SocketAddr) -> Result<RawClient> {
        RawClient::new(
            &format!("https://{address}"),
            &fs::read(self.gateway.ca_file())?,
            None,
        )
    }

    /// Lists ConfigMaps with `token`, at the listener of whichever pod.
    fn list_at(&self, address: SocketAddr, token: &str) -> Result<Response> {
        self.start_at(address, token)?.response()
    }

    fn start_at(&self, address: SocketAddr, token: &str) -> Result<Exchange> {
        let target = self.namespace.path("configmaps");
        let client = self.client(address)?.as_bearer(token);
        client.start("GET", &target, &[], &[])
    }

    fn list(&self) -> Result<Response> {
        self.list_at(self.address, &self.token)
    }

    /// Any call with the pod's own token; no body where it is null.
    fn call(&self, method: &str, target: &str, body: &Value) -> Result<Response> {
        let client = self.own_client()?;
        let mut sent = client.start_object(method, target, "application/json", body)?;
        sent.response()
    }

    fn start(&self, method: &str, target: &str) -> Result<Exchange> {
        self.own_client()?.start(method, target, &[], &[])
    }

    /// The pod's, with its own token.
    fn own_client(&self) -> Result<RawClient> {
        Ok(self.client(self.address)?.as_bearer(&self.token))
    }

    fn outcome(&self, audit_id: &str) -> Result<Value> {
        eventually("the record", LIMIT, || {
            let calls = self.gateway.audit_list(&[])?;
            Ok(calls
                .into_iter()
                .find(|call| call["auditID"] == audit_id && call["stage"] == "ResponseComplete"))
        })
    }

    fn refusal(&self, token: &str) -> Result<String> {
        self.list_at(self.address, token)?.message(401)
    }

    /// The folded record of refusals of this kind.
    fn refused(&self, rule: &str) -> Result<Value> {
        eventually(&format!("a record of {rule}"), LIMIT, || {
            let calls = self.gateway.audit_list(&[])?;
            Ok(calls.into_iter().find(|call| call["rule"] == rule))
        })
    }

    /// The records of refusals of this kind, once the gateway is down.
    fn refusals(&mut self, rule: &str) -> Result<Vec<Value>> {
        self.gateway.stop()?;
        let calls = self.gateway.audit_list(&[])?;
        Ok(calls
            .into_iter()
            .filter(|call| call["rule"] == rule)
            .collect())
    }

    fn errors_of_kind(&self, kind: &str) -> Result<u64> {
        let metrics = self.gateway.admin("/metrics")?;
        let name = format!("sallyport_connection_errors_total{{kind=\"{kind}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        Ok(value.map_or(Ok(0), str::parse)?)
    }
}

fn captured(namespace: &Namespace, pod: &Pod) -> Result<CapturedPod> {
    Ok(CapturedPod {
        workload: Workload {
            namespace: namespace.name.clone(),
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            service_account: "coder".to_owned(),
            labels: [("app".to_owned(), "coder".to_owned())].into(),
            container_image_digests: vec!["sha256:1234".to_owned()],
        },
        netns_cookie: ScriptedNode::netns_cookie()?,
        needs_recreate: false,
    })
}

const IN_CLUSTER: &str = r#"
import sys
from kubernetes import client
from kubernetes.config.incluster_config import InClusterConfigLoader

host, port, token, ca, namespace = sys.argv[1:]
environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
InClusterConfigLoader(token_filename=token, cert_filename=ca, environ=environ).load_and_set()
core = client.CoreV1Api()
core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="from-python")))
print([item.metadata.name for item in core.list_namespaced_config_map(namespace).items])
"#;

#[test]
fn unmodified_clients_are_served_as_the_pod_that_connects() -> Result<()> {
    let node = Node::new()?;
    node.agent.connections_are_of(Process {
        pid: 4711,
        exe: Some("/usr/bin/agent".to_owned()),
    });
    let (server, ca) = (format!("https://{}", node.address), node.gateway.ca_file());
    let kubectl = Kubectl::new(&server, &ca, &node.namespace.name, &node.token)?;
    kubectl.ok(&["create", "configmap", "from-kubectl"])?;

    let token = node.gateway.path("token");
    fs::write(&token, &node.token)?;
    let said = Tools::from_env()?
        .run_python(
            IN_CLUSTER,
            &[
                &node.address.ip().to_string(),
                &node.address.port().to_string(),
                token.to_str().context("UTF-8")?,
                ca.to_str().context("UTF-8")?,
                &node.namespace.name,
            ],
        )?
        .success()?;
    assert!(
        said.contains("from-kubectl") && said.contains("from-python"),
        "{said}"
    );

    // The kernel's answer is not waited for long, so it may come too late for one connection and not for the next.
    let mut more = (0..).map(|number| format!("again-{number}"));
    let created = eventually("a record with its process", LIMIT, || {
        let calls = node.gateway.audit_list(&["--verb", "create"])?;
        let is_it =
            |call: &Value| call["stage"] == "ResponseComplete" && call["process"].is_object();
        if let Some(found) = calls.into_iter().find(is_it) {
            return Ok(Some(found));
        }
        kubectl.ok(&["create", "configmap", &more.next().context("a name")?])?;
        Ok(None)
    })?;
    assert_eq!(created["entry"], "captured", "{created:#}");
    assert_eq!(
        created["workload"],
        json!({
            "namespace": node.namespace.name, "pod": "agent", "podUID": node.pod.uid, "serviceAccount": "coder",
            "labels": {"app": "coder"}, "containerImageDigests": ["sha256:1234"],
        })
    );
    assert_eq!(
        created["process"],
        json!({"pid": 4711, "exe": "/usr/bin/agent"})
    );
    assert!(
        created["sourceIPs"].is_null(),
        "loopback says nothing: {created:#}"
    );
    let user = format!("system:serviceaccount:{}:coder", node.namespace.name);
    assert_eq!(created["user"]["username"], json!(user));
    Ok(())
}

#[test]
fn a_destination_that_gets_a_name_gets_a_certificate_for_it() -> Result<()> {
    let node = Node::new()?;
    let named = |name: &str| -> Result<Response> {
        let ca = fs::read(node.gateway.ca_file())?;
        let client = RawClient::new(&format!("https://{name}:443"), &ca, None)?;
        let socket = TcpStream::connect(node.address)?;
        socket.set_read_timeout(Some(LIMIT))?;
        client.start_on(socket, "GET", "/version", &[])?.response()
    };
    assert_eq!(named("kubernetes.default.svc")?.status, 401);
    assert!(named("api.example").is_err());
    node.agent
        .rename(node.address, &["kubernetes.default.svc", "api.example"])?;
    eventually("a certificate for the new name", LIMIT, || {
        Ok(named("api.example").ok())
    })?;
    assert_eq!(named("kubernetes.default.svc")?.status, 401);
    Ok(())
}

#[test]
fn the_start_gate_opens_for_the_gateway_alone() -> Result<()> {
    let mut node = Node::new()?;
    let ca = node.gateway.ca_file();
    let shut = |address: SocketAddr, ca: PathBuf| -> Result<String> {
        node.gateway.start_gate(address, &ca, "100ms")?.failure()
    };
    node.gateway
        .start_gate(node.address, &ca, "20s")?
        .success()?;

    let server: SocketAddr = node.cluster.server.replace("https://", "").parse()?;
    let said = shut(server, node.cluster.ca_file.clone())?;
    assert!(said.contains("is no Sallyport gateway"), "{said}");
    let said = shut(node.address, node.cluster.ca_file.clone())?;
    assert!(said.contains("another CA"), "{said}");
    let said = shut(SocketAddr::from(([127, 0, 0, 1], 1)), ca)?;
    assert!(said.contains("nobody accepts"), "{said}");
    let said = shut(node.address, node.gateway.path("nowhere.crt"))?;
    assert!(said.contains("the mounted CA cannot be used"), "{said}");
    // It made no request, so it left no record but that of the CA it did not trust.
    let records = node.refusals("authentication/missing")?;
    assert!(records.is_empty(), "{records:#?}");
    Ok(())
}
