use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{Api, Cluster},
    wait::eventually,
};

/// Starting a process on two busy cores.
const RUNNING_WITHIN: Duration = Duration::from_secs(60);

/// A few calls on two busy cores.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// A fresh namespace of one test. Dropping it asks for its deletion and does not wait.
pub struct Namespace {
    pub name: String,
    api: Api,
    pub(crate) node: Option<String>,
}

/// A pod that exists: tokens can be bound to it.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub uid: String,
}

impl Namespace {
    pub fn create(cluster: &Cluster) -> Result<Self> {
        let api = cluster.api()?;
        let namespace = json!({"metadata": {"generateName": "sallyport-test-"}});
        let created = api.create("/api/v1/namespaces", &namespace)?;
        let name = created["metadata"]["name"]
            .as_str()
            .context("the namespace has no name")?
            .to_owned();
        let node = cluster.node.clone();
        Ok(Self { name, api, node })
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Adds labels to the namespace itself.
    pub fn label(&self, labels: &Value) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}", self.name);
        self.api
            .patch(&path, &json!({"metadata": {"labels": labels}}))
            .map(drop)
    }

    /// The path of a core resource here.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// Waits for an Event of this reason that says `note`.
    pub fn event(&self, reason: &str, note: &str) -> Result<Value> {
        eventually(&format!("the Event {reason} {note:?}"), TOLD_WITHIN, || {
            let events = self.api.get(&self.path("events"))?;
            let mut events = events["items"].as_array().into_iter().flatten();
            let is_it = |event: &&Value| {
                let message = event["message"].as_str().unwrap_or_default();
                event["reason"] == reason && message.contains(note)
            };
            Ok(events.find(is_it).cloned())
        })
    }

    pub fn create_service_account(&self, name: &str) -> Result<()> {
        let account = json!({"metadata": {"name": name}});
        self.api
            .create(&self.path("serviceaccounts"), &account)
            .map(drop)
    }

    /// Whom the API server sees when the ServiceAccount `name` calls through the gateway.
    pub fn synthetic_user(&self, name: &str) -> String {
        format!("sallyport:sa:{}:{name}", self.name)
    }

    /// Lets the API server accept `rules` (RBAC's own form) of `user` here.
    pub fn grant(&self, user: &str, rules: &Value) -> Result<()> {
        let metadata = json!({"generateName": "agent-"});
        let role = self.api.create(
            &self.rbac("roles"),
            &json!({"metadata": metadata, "rules": rules}),
        )?;
        let binding = json!({
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        self.api
            .create(&self.rbac("rolebindings"), &binding)
            .map(drop)
    }

    fn rbac(&self, resource: &str) -> String {
        format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{resource}",
            self.name
        )
    }

    /// The ServiceAccount `coder`, whose synthetic user may do everything here; a pod of it that no node runs, and that
    /// pod's token for the gateway.
    pub fn create_coder(&self) -> Result<(Pod, String)> {
        self.create_service_account("coder")?;
        let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        self.grant(&self.synthetic_user("coder"), &everything)?;
        let pod = self.create_pod("agent", "coder")?;
        let token = self.token("coder", "sallyport", Some(&pod))?;
        Ok((pod, token))
    }

    /// A pod that no node runs.
    pub fn create_pod(&self, name: &str, service_account: &str) -> Result<Pod> {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "serviceAccountName": service_account,
                // Named, so that no scheduler is needed; nothing runs it.
                "nodeName": "nowhere",
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "agent", "image": "registry.invalid/agent:1"}],
            },
        });
        self.submit(&pod)
    }

    /// Creates a pod. A controller makes the ServiceAccount `default` a moment after the namespace, and without it
    /// the API server refuses pods.
    pub(crate) fn submit(&self, pod: &Value) -> Result<Pod> {
        let created = eventually("the namespace's ServiceAccount", RUNNING_WITHIN, || {
            let answer = self.api.answer("POST", &self.path("pods"), &[], pod)?;
            let text = answer.text();
            if answer.status == 403 && text.contains("error looking up service account") {
                return Ok(None);
            }
            ensure!(answer.status == 201, "{}: {text}", answer.status);
            answer.json().map(Some)
        })?;
        Pod::of(&created)
    }

    /// A pod whose one container, `main`, runs as a process of this machine: exec, attach, cp, port-forward
    /// (to ports of loopback) and logs reach it as in any cluster. `container` holds fields of its spec, such
    /// as `command`, `env`, `stdin` and `tty`; without a command it sleeps.
    pub fn create_running_pod(&self, name: &str, container: &Value) -> Result<Pod> {
        let node = self.node.as_ref().context(
            "this cluster has no node that runs local processes: run against the built control plane",
        )?;
        let mut main = json!({"name": "main", "image": "registry.invalid/agent:1"});
        for (field, value) in container.as_object().into_iter().flatten() {
            main[field] = value.clone();
        }
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "nodeName": node,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "restartPolicy": "Never",
                "containers": [main],
            },
        });
        let pod = Pod::of(&self.api.create(&self.path("pods"), &pod)?)?;
        eventually(&format!("pod {name} running"), RUNNING_WITHIN, || {
            self.is_running(name).map(|running| running.then_some(()))
        })?;
        Ok(pod)
    }

    fn is_running(&self, name: &str) -> Result<bool> {
        let status = self.api.get(&self.path(&format!("pods/{name}")))?["status"].take();
        let container = &status["containerStatuses"][0]["state"];
        if container["waiting"].is_object() || container["terminated"].is_object() {
            bail!("the container of pod {name} does not run: {container}");
        }
        Ok(container["running"].is_object())
    }

    /// A token as the kubelet would mint it.
    pub fn token(
        &self,
        service_account: &str,
        audience: &str,
        bound_to: Option<&Pod>,
    ) -> Result<String> {
        let bound = bound_to.map(
            |pod| json!({"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid}),
        );
        let request = json!({"spec": {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound}});
        let answer = self.api.create(
            &self.path(&format!("serviceaccounts/{service_account}/token")),
            &request,
        )?;
        Ok(answer["status"]["token"]
            .as_str()
            .context("the answer holds no token")?
            .to_owned())
    }
}

impl Pod {
    pub(crate) fn of(created: &Value) -> Result<Self> {
        let field = |name: &str| -> Result<String> {
            let value = created["metadata"][name].as_str();
            Ok(value
                .with_context(|| format!("the pod has no {name}"))?
                .to_owned())
        };
        Ok(Self {
            name: field("name")?,
            uid: field("uid")?,
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = self
            .api
            .delete(&format!("/api/v1/namespaces/{}", self.name))
        {
            eprintln!("namespace {} stays: {error:#}", self.name);
        }
    }
}
