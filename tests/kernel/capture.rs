//! Agents' pods with everything real: kubectl and others in them, the node agent, the gateway, the API server.

use std::{fs::File, net::IpAddr, process::Command, time::Duration};

use harness::{
    Cluster, Gateway, Namespace, NetworkedPod, NodeAgent, Oracle, Settings, Tools, eventually,
};
use serde_json::{Value, json};

use crate::scene::take_turn;

mod bypass;
mod clients;
mod identity;
mod sequences;
mod scale;
mod served;
mod storms;

const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A node with Sallyport on it, an agents' namespace, and one of others.
pub(crate) struct Captured {
    pub(crate) gateway: Gateway,
    pub(crate) node: NodeAgent,
    pub(crate) agents: Namespace,
    pub(crate) others: Namespace,
    pub(crate) bystander: NetworkedPod,
    pub(crate) cluster: Cluster,
    _turn: File,
}

impl Captured {
    pub(crate) fn set() -> Self {
        Self::set_with(|_| {}, |settings| settings)
    }

    /// With a changed configuration of the node agent and of the gateway.
    pub(crate) fn set_with(
        node_config: impl FnOnce(&mut Value),
        gateway_settings: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let turn = take_turn();
        let cluster = Cluster::from_env().unwrap();
        install_crds(&cluster);
        let others = Namespace::create(&cluster).unwrap();
        // The node has a network once there is a pod with one.
        let bystander = others
            .create_networked_pod(&cluster, "bystander", &json!({}))
            .unwrap();
        let agents = Namespace::create(&cluster).unwrap();
        let node = NodeAgent::start_with(&cluster, node_config).unwrap();
        let settings = Settings::new(&cluster)
            .with_capture(&node)
            .with_policy("agents.yaml", &policy(&agents.name));
        let gateway = Gateway::start(&gateway_settings(settings)).unwrap();
        let captured = Self {
            gateway,
            node,
            agents,
            others,
            bystander,
            cluster,
            _turn: turn,
        };
        captured.make_agents_namespace();
        captured.node.wait_until_ready().unwrap();
        captured
    }

    /// The label, the CA, and what the API server lets the synthetic user do.
    fn make_agents_namespace(&self) {
        let namespace = &self.agents;
        let ca = std::fs::read_to_string(self.gateway.ca_file()).unwrap();
        let map = json!({"metadata": {"name": "sallyport-ca"}, "data": {"ca.crt": ca}});
        namespace
            .api()
            .create(&namespace.path("configmaps"), &map)
            .unwrap();
        let rules =
            json!([{"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["*"]}]);
        namespace
            .grant(&namespace.synthetic_user("default"), &rules)
            .unwrap();
        namespace
            .label(&json!({"sallyport.dev/agents": "enforce"}))
            .unwrap();
    }

    /// A pod of the agents' namespace, with the token and the CA that admission would give it.
    pub(crate) fn agent(&self, name: &str) -> NetworkedPod {
        let pod = self
            .agents
            .create_networked_pod(&self.cluster, name, &agent_spec())
            .unwrap();
        self.wait_until_captured(&pod);
        pod
    }

    pub(crate) fn wait_until_captured(&self, pod: &NetworkedPod) {
        let line = format!("capture of {}", pod.name);
        eventually(&line, LIMIT, || {
            Ok((self.coverage_of(pod)?["state"] == "Captured").then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.node.log()));
    }

    /// What the node agent publishes of a pod.
    pub(crate) fn coverage_of(&self, pod: &NetworkedPod) -> anyhow::Result<Value> {
        let path = format!(
            "/apis/sallyport.dev/v1alpha1/nodecoverages/{}",
            self.cluster.node.as_deref().unwrap_or_default()
        );
        let Ok(coverage) = self.cluster.api()?.get(&path) else {
            return Ok(Value::Null);
        };
        let pods = coverage["status"]["pods"].as_array().into_iter().flatten();
        let of_pod = pods
            .into_iter()
            .find(|entry| entry["uid"] == pod.uid.as_str());
        Ok(of_pod.cloned().unwrap_or_default())
    }

    /// Every packet that `pod` sends from here on.
    pub(crate) fn oracle(&self, pod: &NetworkedPod) -> Oracle {
        Oracle::on(&self.cluster, pod).unwrap()
    }

    /// Where the API server can be reached from pods: its endpoints and its Service.
    pub(crate) fn api_addresses(&self) -> Vec<IpAddr> {
        let service = self
            .cluster
            .api()
            .unwrap()
            .get("/api/v1/namespaces/default/services/kubernetes")
            .unwrap();
        let ips = service["spec"]["clusterIPs"].as_array().unwrap().clone();
        let ips = ips.iter().map(|ip| ip.as_str().unwrap().parse().unwrap());
        self.cluster
            .node_addresses
            .iter()
            .copied()
            .chain(ips)
            .collect()
    }

    /// The outcomes recorded of a pod's calls.
    pub(crate) fn records_of(&self, pod: &NetworkedPod) -> Vec<Value> {
        let rows = self.gateway.audit_list(&[]).unwrap();
        rows.into_iter()
            .filter(|row| row["workload"]["podUID"] == pod.uid.as_str())
            .collect()
    }
}

fn install_crds(cluster: &Cluster) {
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds");
    let mut apply = Command::new(Tools::from_env().unwrap().kubectl);
    apply.arg("--kubeconfig").arg(&cluster.kubeconfig);
    apply.args(["apply", "--server-side", "--filename", crds]);
    let output = apply.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

pub(crate) fn agent_spec() -> Value {
    json!({
        "automountServiceAccountToken": false,
        "volumes": [{"name": "kube-api-access", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "audience": "sallyport", "expirationSeconds": 3600}},
            {"configMap": {"name": "sallyport-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}}],
        "containers": [{
            "name": "main",
            "image": "registry.invalid/agent:1",
            "volumeMounts": [{"name": "kube-api-access", "mountPath": SERVICE_ACCOUNT, "readOnly": true}],
        }],
    })
}

fn policy(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: agents}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: default}}
  rules:
  - name: work
    effect: Allow
    verbs: ["*"]
    apiGroups: [""]
    resources: ["*"]
    namespaces: [{namespace}]
    names: ["*"]
"#
    )
}
