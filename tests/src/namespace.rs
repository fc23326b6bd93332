use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{Api, Cluster};

/// A fresh namespace of one test. Dropping it asks for its deletion and does not wait.
pub struct Namespace {
    pub name: String,
    api: Api,
}

/// A pod that no node runs: it exists, and tokens can be bound to it.
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
        Ok(Self { name, api })
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The path of a core resource here.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
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
        let created = self.api.create(&self.path("pods"), &pod)?;
        let uid = created["metadata"]["uid"]
            .as_str()
            .context("the pod has no uid")?
            .to_owned();
        Ok(Pod {
            name: name.to_owned(),
            uid,
        })
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
