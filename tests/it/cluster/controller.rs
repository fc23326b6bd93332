//! `sallyport controller` before a real API server.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use harness::{Api, Cluster, Controller, Namespace, Objects, eventually};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

mod decisions;
mod election;
mod evidence;
mod objects;
mod stops;
mod webhooks;

/// A takeover takes 15 s, and the cores are busy.
const LIMIT: Duration = Duration::from_secs(60);

/// What one test's controllers work on. The Lease is in its namespace.
struct Site {
    cluster: Cluster,
    namespace: Namespace,
    directory: TempDir,
    _objects: Objects,
}

impl Site {
    fn new() -> Result<Self> {
        let cluster = Cluster::from_env()?;
        let objects = Objects::of(&cluster)?;
        Ok(Self {
            namespace: Namespace::create(&cluster)?,
            directory: tempfile::tempdir()?,
            cluster,
            _objects: objects,
        })
    }

    fn api(&self) -> &Api {
        self.namespace.api()
    }

    fn config(&self) -> Value {
        json!({"namespace": self.namespace.name})
    }

    fn start(&self) -> Result<Controller> {
        Controller::start(&self.cluster, &self.config(), &[])
    }

    /// Of another machine, whose clock may be another.
    fn start_elsewhere(&self, user: &str, clock: i64) -> Result<Controller> {
        let config = self.config_as(user)?;
        Controller::start_with_clock(&self.cluster, &config, &[], Some(clock))
    }

    /// As a user of its own, so that the API server's audit log tells whose each write was.
    fn start_as(&self, user: &str) -> Result<Controller> {
        Controller::start(&self.cluster, &self.config_as(user)?, &[])
    }

    fn config_as(&self, user: &str) -> Result<Value> {
        let mut kubeconfig = self.cluster.kubeconfig_as(user)?;
        kubeconfig["users"][0]["user"]["as-groups"] = json!(["system:masters"]);
        let path = self.directory.path().join(user);
        fs::write(&path, kubeconfig.to_string())?;
        let mut config = self.config();
        config["kubeconfig"] = json!(path);
        Ok(config)
    }

    fn requests(&self) -> String {
        format!(
            "/apis/sallyport.dev/v1alpha1/namespaces/{}/approvalrequests",
            self.namespace.name
        )
    }

    fn lease(&self) -> String {
        format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases/sallyport-controller",
            self.namespace.name
        )
    }

    /// As a gateway makes one, open for so many seconds from now on, or closed for so many.
    fn ask(&self, name: &str, open_for: i64) -> Result<Value> {
        let expires_at = Timestamp::now() + SignedDuration::from_secs(open_for);
        self.api()
            .create(&self.requests(), &request(name, expires_at))
    }

    fn state(&self, name: &str) -> Result<Value> {
        let request = self.api().get(&format!("{}/{name}", self.requests()))?;
        Ok(request["status"]["state"].clone())
    }

    fn wait_for_state(&self, name: &str, state: &str) -> Result<()> {
        eventually(&format!("{name} {state}"), LIMIT, || {
            Ok((self.state(name)? == state).then_some(()))
        })
    }

    fn set_status(&self, name: &str, status: &Value) -> Result<Value> {
        let path = format!("{}/{name}/status", self.requests());
        self.api().patch(&path, &json!({"status": status}))
    }
}

fn request(name: &str, expires_at: Timestamp) -> Value {
    json!({
        "apiVersion": "sallyport.dev/v1alpha1",
        "kind": "ApprovalRequest",
        "metadata": {"name": name},
        "spec": {
            "requester": {
                "username": "system:serviceaccount:agents:coder", "upstreamUser": "sallyport:sa:agents:coder",
                "humans": ["bob@example.com"], "agent": "coder", "agentSource": "operator-declared",
                "model": "model-1", "modelSource": "self-declared",
            },
            "digest": format!("sha256:{}", "0".repeat(64)),
            "expiresAt": expires_at.to_string(),
            "call": {
                "summary": "patch deployments.apps/web in namespace shop", "verb": "patch", "apiGroup": "apps",
                "resource": "deployments", "subresource": "", "namespace": "shop", "name": "web",
            },
            "rule": "guardrails/workloads",
            "policyDigest": "sha256:1",
            "risk": {"level": "High", "reasons": ["changes what runs in production"]},
            "terms": {"people": 1, "channels": ["Kubernetes", "Webhook"], "scopes": ["Once"]},
            "auditID": "1",
            "diff": "-  replicas: 1\n+  replicas: 2\n",
        },
    })
}

fn vote(by: &str, result: &str) -> Value {
    let at = Timestamp::now().to_string();
    json!({"result": result, "by": by, "via": "Kubernetes", "at": at, "scope": "Once"})
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str> {
    value.as_str().with_context(|| format!("no {what}"))
}
