//! A real agent's calls, from unmodified clients through the gateway to the API server and the record.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{
    Cluster, Exchange, Gateway, Kubectl, Namespace, Pod, RawClient, Relay, Response, Settings,
    eventually,
};
use serde_json::{Value, json};

mod alerts;
mod analysis;
mod approvals;
mod audit;
mod break_glass;
mod canary;
#[cfg(target_os = "linux")]
mod captured;
#[cfg(target_os = "linux")]
mod clock;
mod control;
mod decoys;
mod drain;
mod floor;
mod full_log;
mod gate_floor;
mod gzip;
mod headers;
mod hostile;
mod http2;
mod kubeconfig;
mod kubectl;
mod levels;
mod limits;
mod masked_view;
mod misspelt;
mod outcomes;
mod paths;
mod policy_tools;
#[cfg(target_os = "linux")]
mod protobuf;
mod python;
mod quotas;
mod reload;
mod self_review;
mod sensitive_fields;
mod server_side_apply;
mod shipped;
mod silence;
mod stops;
mod storage;
mod tokens;
mod upgrades;

const JSON: &str = "application/json";

/// One agent at work: its namespace, its pod's token, and the gateway before it. It may do everything
/// in its namespace but delete the ConfigMap `keep`.
struct Scene {
    cluster: Cluster,
    namespace: Namespace,
    pod: Pod,
    token: String,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Result<Self> {
        Self::with(|settings, _| Ok(settings))
    }

    /// With a changed gateway.
    fn with(change: impl FnOnce(Settings, &Namespace) -> Result<Settings>) -> Result<Self> {
        Self::on(Cluster::from_env()?, change)
    }

    /// With a changed gateway, before this cluster.
    fn on(
        cluster: Cluster,
        change: impl FnOnce(Settings, &Namespace) -> Result<Settings>,
    ) -> Result<Self> {
        let namespace = Namespace::create(&cluster)?;
        let (pod, token) = namespace.create_coder()?;

        let settings = Settings::new(&cluster)
            .with_policy("developer.yaml", &developer_policy(&namespace.name))
            .with_agent("coder.yaml", &coder(&namespace.name));
        let gateway = Gateway::start(&change(settings, &namespace)?)?;
        Ok(Self {
            cluster,
            namespace,
            pod,
            token,
            gateway,
        })
    }

    /// With the API server behind a wire that can be cut. The first call has been made, so the
    /// gateway has a connection and knows the agent.
    fn behind_relay(
        change: impl FnOnce(Settings, &Namespace) -> Result<Settings>,
    ) -> Result<(Self, Relay)> {
        let relay = Relay::before(&Cluster::from_env()?)?;
        let scene = Self::with(|settings, namespace| change(settings.through(&relay), namespace))?;
        anyhow::ensure!(scene.list()?.status == 200, "the first call failed");
        Ok((scene, relay))
    }

    /// The agent's kubectl.
    fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::through(&self.gateway, &self.namespace.name, &self.token)
    }

    /// The agent's own HTTP, without a body.
    fn call(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Response> {
        self.start(method, target, headers, &[])?.response()
    }

    /// Sends a request of the agent and leaves the answer to be read.
    fn start(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Exchange> {
        self.agent()?.start(method, target, headers, body)
    }

    /// The agent's own HTTP.
    fn agent(&self) -> Result<RawClient> {
        self.gateway.agent(&self.token)
    }

    /// Sends an object of the agent in this format of JSON.
    fn send(&self, method: &str, target: &str, format: &str, object: &Value) -> Result<Response> {
        self.agent()?
            .start_object(method, target, format, object)?
            .response()
    }

    /// Sends bytes of the agent in this format.
    fn send_bytes(
        &self,
        method: &str,
        target: &str,
        format: &str,
        body: &[u8],
    ) -> Result<Response> {
        self.start(method, target, &[("Content-Type", format)], body)?
            .response()
    }

    /// Creates a ConfigMap as the agent.
    fn post_configmap(&self, name: &str, value: &str) -> Result<Response> {
        self.start_configmap(name, value)?.response()
    }

    fn start_configmap(&self, name: &str, value: &str) -> Result<Exchange> {
        let object = json!({"metadata": {"name": name}, "data": {"value": value}});
        self.agent()?
            .start_object("POST", &self.configmaps(), JSON, &object)
    }

    /// Lists the agent's ConfigMaps.
    fn list(&self) -> Result<Response> {
        self.call("GET", &self.configmaps(), &[])
    }

    fn configmaps(&self) -> String {
        self.namespace.path("configmaps")
    }

    /// Makes a ConfigMap as the administrator.
    fn create_configmap(&self, name: &str) -> Result<()> {
        let object = json!({"metadata": {"name": name}, "data": {"colour": "green"}});
        self.namespace
            .api()
            .create(&self.configmaps(), &object)
            .map(drop)
    }

    /// A ConfigMap as it is, past the gateway.
    fn configmap(&self, name: &str) -> Result<Value> {
        self.namespace
            .api()
            .get(&format!("{}/{name}", self.configmaps()))
    }

    /// What the API server's own audit log says of the call that this response answers.
    fn api_servers_event(&self, response: &Response) -> Result<Value> {
        let audit_id = response
            .header("audit-id")
            .context("the response has no Audit-ID")?;
        eventually(
            "the API server's audit event",
            Duration::from_secs(60),
            || {
                let events = self.cluster.audit_events_of(audit_id)?;
                Ok(events
                    .into_iter()
                    .find(|event| event["stage"] == "ResponseComplete"))
            },
        )
    }

    /// Our own record of the same call.
    fn record(&self, response: &Response) -> Result<Value> {
        let audit_id = response
            .header("audit-id")
            .context("the response has no Audit-ID")?;
        self.outcome_of("the record", |call| call["auditID"] == audit_id)
    }

    /// The outcome of the call that `wanted` is true of, once it is recorded.
    fn outcome_of(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(what, Duration::from_secs(60), || {
            let calls = self.gateway.audit_list(&[])?;
            Ok(calls
                .into_iter()
                .find(|call| call["stage"] == "ResponseComplete" && wanted(call)))
        })
    }

    /// What the API server's own audit log says of these calls so far. A call made after them is in it
    /// by then, so what is missing was not sent.
    fn api_servers_events(&self, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        self.api_servers_event(&self.list()?)?;
        self.cluster.audit_events(wanted)
    }
}

/// The agent `coder` may do everything in its namespace but delete the ConfigMap `keep`.
pub(crate) fn developer_policy(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: developer}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - name: work
    effect: Allow
    verbs: ["*"]
    apiGroups: ["*"]
    resources: ["*", pods/proxy, services/proxy]
    namespaces: [{namespace}]
    names: ["*"]
  - name: keep
    effect: Deny
    verbs: [delete]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: [keep]
    reason: others depend on it
"#
    )
}

pub(crate) fn coder(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: Agent
metadata: {{name: coder}}
spec:
  match: {{serviceAccount: {{namespace: {namespace}, name: coder}}}}
  agent: {{version: "1.4", owner: team-a}}
  model: {{provider: acme, name: big-model, version: "2026-10"}}
"#
    )
}

/// Of no pods.
fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry.invalid/shop:1"}]},
            },
        },
    })
}
