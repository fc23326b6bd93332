//! An agents' namespace of one test, and what admission makes of pods in it.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Installation, Namespace, Response, eventually};
use serde_json::{Value, json};

const LABEL: &str = "sallyport.dev/agents";

/// Whoever is in this group may take the label away again.
pub(super) const ADMINS: [(&str, &str); 3] = [
    ("Impersonate-User", "platform"),
    ("Impersonate-Group", "system:masters"),
    ("Impersonate-Group", "sallyport:admins"),
];

/// With a ServiceAccount `coder`. Dropping it takes the label away, so that the namespace can go.
pub(super) struct AgentsNamespace {
    pub(super) namespace: Namespace,
    _installation: Installation,
}

impl AgentsNamespace {
    pub(super) fn enforce() -> Result<Self> {
        Self::labelled("enforce")
    }

    pub(super) fn labelled(value: &str) -> Result<Self> {
        let agents = Self::unlabelled()?;
        agents.label(value)?;
        Ok(agents)
    }

    pub(super) fn unlabelled() -> Result<Self> {
        let installation = Installation::from_env()?;
        let namespace = Namespace::create(&installation.cluster)?;
        namespace.create_service_account("coder")?;
        Ok(Self {
            namespace,
            _installation: installation,
        })
    }

    pub(super) fn label(&self, value: &str) -> Result<()> {
        let answer = self.patch_label(&[], json!(value))?;
        ensure!(answer.status == 200, "{}", answer.text());
        self.wait_until_heard()
    }

    /// Admission selects namespaces as the API server last heard of them, which is after it has stored them.
    pub(super) fn wait_until_heard(&self) -> Result<()> {
        let mut probe = pod(json!({}));
        probe["metadata"]["name"] = json!("probe");
        eventually("admission as for agents", Duration::from_secs(60), || {
            let answer = self.admission(&probe)?;
            let is_heard = answer.status == 201
                && init_containers(&answer.json()?) == ["sallyport-start-gate"];
            Ok(is_heard.then_some(()))
        })
    }

    pub(super) fn patch_label(&self, headers: &[(&str, &str)], value: Value) -> Result<Response> {
        let patch = json!({"metadata": {"labels": {LABEL: value}}});
        self.namespace
            .api()
            .answer("PATCH", &self.path(), headers, &patch)
    }

    /// Of the Namespace object.
    pub(super) fn path(&self) -> String {
        format!("/api/v1/namespaces/{}", self.namespace.name)
    }

    /// What the API server would answer to the pod.
    pub(super) fn admission(&self, pod: &Value) -> Result<Response> {
        let path = self.namespace.path("pods?dryRun=All");
        self.namespace.api().answer("POST", &path, &[], pod)
    }

    /// What the API server would make of the pod.
    pub(super) fn admitted(&self, pod: &Value) -> Result<Value> {
        let answer = self.admission(pod)?;
        ensure!(answer.status == 201, "{}", answer.text());
        answer.json()
    }

    /// The API server refuses the pod, and says this.
    pub(super) fn refuses(&self, pod: &Value, message: &str) -> Result<()> {
        said(&self.admission(pod)?, 403, message)
    }

    /// Changes an existing pod, or would: `rest` is what follows its path.
    pub(super) fn change(&self, rest: &str, patch: &Value) -> Result<Response> {
        let path = self.namespace.path(&format!("pods/agent{rest}"));
        self.namespace.api().answer("PATCH", &path, &[], patch)
    }

    pub(super) fn pod(&self) -> Result<Value> {
        self.namespace.api().get(&self.namespace.path("pods/agent"))
    }
}

impl Drop for AgentsNamespace {
    fn drop(&mut self) {
        if let Err(error) = self.patch_label(&ADMINS, Value::Null) {
            eprintln!("namespace {} stays: {error:#}", self.namespace.name);
        }
    }
}

pub(super) fn said(answer: &Response, code: u16, message: &str) -> Result<()> {
    let text = answer.message(code)?;
    ensure!(text.contains(message), "not {message:?}: {text}");
    Ok(())
}

/// By a policy, or by what the definition of the kind says.
pub(super) fn refused(answer: &Response, message: &str) -> Result<()> {
    ensure!(
        matches!(answer.status, 403 | 422) && answer.text().contains(message),
        "{} {} does not say {message:?}",
        answer.status,
        answer.text()
    );
    Ok(())
}

/// A pod of the ServiceAccount, with `fields` in its spec.
pub(super) fn pod(fields: Value) -> Value {
    let mut spec = json!({
        "serviceAccountName": "coder",
        "containers": [{"name": "agent", "image": "agent:1"}],
    });
    if let Value::Object(fields) = fields {
        for (name, value) in fields {
            spec[name] = value;
        }
    }
    json!({"metadata": {"name": "agent"}, "spec": spec})
}

/// The audience and the seconds of every token that a pod gets.
pub(super) fn tokens(pod: &Value) -> Vec<(String, i64)> {
    let tokens = sources(pod)
        .into_iter()
        .filter(|source| source["serviceAccountToken"].is_object())
        .map(|source| {
            let token = &source["serviceAccountToken"];
            (
                token["audience"].as_str().unwrap_or_default().to_owned(),
                token["expirationSeconds"].as_i64().unwrap_or_default(),
            )
        });
    tokens.collect()
}

/// The ConfigMaps that a pod mounts in one way or the other; the start gate's volume is not the pod's own.
pub(super) fn config_maps(pod: &Value) -> Vec<String> {
    let volumes = pod["spec"]["volumes"].as_array().cloned();
    let plain = volumes.into_iter().flatten();
    let names = sources(pod)
        .into_iter()
        .chain(plain)
        .filter(|source| source["name"] != "sallyport-ca")
        .filter_map(|source| Some(source["configMap"]["name"].as_str()?.to_owned()));
    names.collect()
}

fn sources(pod: &Value) -> Vec<Value> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes
        .filter_map(|volume| volume["projected"]["sources"].as_array())
        .flatten()
        .cloned()
        .collect()
}

pub(super) fn init_containers(pod: &Value) -> Vec<String> {
    let containers = pod["spec"]["initContainers"].as_array();
    let names = containers
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str());
    names.map(str::to_owned).collect()
}

/// The start gate, as far as a pod's author can write it, and the volume that it needs.
pub(super) fn gate() -> (Value, Value) {
    let container = json!({
        "name": "sallyport-start-gate",
        "image": "sallyport:test",
        "command": ["sallyport", "start-gate"],
        "args": ["--certificate-authority", "/var/run/secrets/sallyport.dev/ca.crt"],
        "volumeMounts": [{"name": "sallyport-ca", "mountPath": "/var/run/secrets/sallyport.dev", "readOnly": true}],
    });
    let volume = json!({"name": "sallyport-ca", "configMap": {"name": "sallyport-ca"}});
    (container, volume)
}
