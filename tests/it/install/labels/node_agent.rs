//! Of a node: what RBAC alone would let the node agent do.

use anyhow::{Context, Result};
use harness::{Installation, RawClient, Response};
use serde_json::{Value, json};

use super::super::agents_namespace::said;

/// The API server for a node agent on the cluster's node, with a token of its pod.
struct NodeAgent {
    installation: Installation,
    client: RawClient,
    node: String,
}

impl NodeAgent {
    fn new(pod: &str) -> Result<Self> {
        let installation = Installation::from_env()?;
        let node = installation.cluster.node.clone().context("a node")?;
        let api = installation.cluster.api()?;
        let pods = "/api/v1/namespaces/sallyport-system/pods";
        let pod = json!({
            "metadata": {"name": pod},
            "spec": {
                "nodeName": node, "serviceAccountName": "sallyport-node", "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{"name": "node", "image": "registry.invalid/pause:1"}],
            },
        });
        let pod = api.create(pods, &pod)?;
        let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]});
        let token = api.create(
            "/api/v1/namespaces/sallyport-system/serviceaccounts/sallyport-node/token",
            &json!({"spec": {"boundObjectRef": bound}}),
        )?;
        let token = token["status"]["token"].as_str().context("a token")?;
        Ok(Self {
            client: installation.cluster.anonymous()?.as_bearer(token),
            installation,
            node,
        })
    }

    fn send(&self, method: &str, path: &str, object: &Value) -> Result<Response> {
        let content_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut sent = self
            .client
            .start_object(method, path, content_type, object)?;
        sent.response()
    }

    fn patch(&self, node: &str, patch: &Value) -> Result<Response> {
        self.send("PATCH", &format!("/api/v1/nodes/{node}?dryRun=All"), patch)
    }
}

#[test]
fn node_agent_labels_its_own_node_and_no_other() -> Result<()> {
    let agent = NodeAgent::new("labels-its-own")?;
    let ready = json!({"metadata": {"labels": {"sallyport.dev/ready": "true"}}});
    let own = agent.patch(&agent.node, &ready)?;
    assert_eq!(own.status, 200, "{}", own.text());

    let api = agent.installation.cluster.api()?;
    api.create("/api/v1/nodes", &json!({"metadata": {"name": "another"}}))?;
    let other = agent.patch("another", &ready);
    api.delete("/api/v1/nodes/another")?;
    said(&other?, 403, "only about the node it runs on")
}

#[test]
fn node_agent_changes_nothing_else_of_its_node() -> Result<()> {
    let agent = NodeAgent::new("changes-nothing-else")?;
    for patch in [
        json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}),
        json!({"metadata": {"annotations": {"x": "y"}}}),
        json!({"spec": {"unschedulable": true}}),
        json!({"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}}),
    ] {
        let answer = agent.patch(&agent.node, &patch)?;
        said(
            &answer,
            403,
            "no more of a Node than its labels sallyport.dev/*",
        )?;
    }
    let status = format!("/api/v1/nodes/{}/status?dryRun=All", agent.node);
    let answer = agent.send("PATCH", &status, &json!({"status": {"phase": "Pending"}}))?;
    answer.refusal(403).map(drop)
}

#[test]
fn node_agent_reports_about_its_own_node_and_no_other() -> Result<()> {
    let agent = NodeAgent::new("reports-its-own")?;
    let coverage = |name: &str| json!({"apiVersion": "sallyport.dev/v1alpha1", "kind": "NodeCoverage", "metadata": {"name": name}, "spec": {}});
    let path = "/apis/sallyport.dev/v1alpha1/nodecoverages?dryRun=All";
    let own = agent.send("POST", path, &coverage(&agent.node))?;
    assert_eq!(own.status, 201, "{}", own.text());
    let other = agent.send("POST", path, &coverage("another"))?;
    said(&other, 403, "only about the node it runs on")
}

#[test]
fn node_agent_reads_what_it_classifies_by_and_no_secrets() -> Result<()> {
    let agent = NodeAgent::new("reads")?;
    for path in [
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dlocal",
        "/api/v1/namespaces",
        "/api/v1/nodes",
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
    ] {
        let answer = agent.send("GET", path, &json!({}))?;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    for path in ["/api/v1/secrets", "/api/v1/configmaps"] {
        agent.send("GET", path, &json!({}))?.refusal(403)?;
    }
    Ok(())
}
