//! The controller with the rights of its ServiceAccount and no others.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{Controller, Installation, RawClient, Response, eventually, signature};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const SECRET: &str = "the signing secret of a chat";
const REQUESTS: &str = "/apis/sallyport.dev/v1alpha1/namespaces/sallyport-system/approvalrequests";

struct Site {
    installation: Installation,
    client: RawClient,
    directory: TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let installation = Installation::from_env()?;
        Ok(Self {
            client: installation.cluster.anonymous()?,
            directory: tempfile::tempdir()?,
            installation,
        })
    }

    fn token(&self, account: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/sallyport-system/serviceaccounts/{account}/token");
        let request = json!({"spec": {"expirationSeconds": 3600}});
        let token = self.installation.cluster.api()?.create(&path, &request)?;
        let token = token["status"]["token"].as_str();
        Ok(token.context("a token")?.to_owned())
    }

    /// Starts it as its Deployment would.
    fn start(&self) -> Result<Controller> {
        let cluster = &self.installation.cluster;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "controller",
            "clusters": [{"name": "cluster", "cluster": {
                "server": cluster.server, "certificate-authority": cluster.ca_file,
            }}],
            "users": [{"name": "controller", "user": {"token": self.token("sallyport-controller")?}}],
            "contexts": [{"name": "controller", "context": {"cluster": "cluster", "user": "controller"}}],
        });
        let path = self.directory.path().join("kubeconfig");
        fs::write(&path, kubeconfig.to_string())?;
        let config = json!({
            "kubeconfig": path,
            "approvals": {"retention": "1h"},
            "decisions": {
                "listen": "127.0.0.1:0",
                "tls": {"local": {"directory": "tls", "names": ["127.0.0.1"]}},
                "secretFile": "secret",
                "users": {"U1": {"username": "alice@example.com"}},
            },
        });
        Controller::start(cluster, &config, &[("secret", SECRET)])
    }

    fn send(&self, token: &str, method: &str, path: &str, object: &Value) -> Result<Response> {
        let content_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let client = self.client.clone().as_bearer(token);
        let mut sent = client.start_object(method, path, content_type, object)?;
        sent.response()
    }

    /// As a gateway asks, which alone may.
    fn ask(&self, name: &str, open_for: i64) -> Result<Value> {
        let expires_at = Timestamp::now() + SignedDuration::from_secs(open_for);
        let gateway = self.token("sallyport-gateway")?;
        let made = self.send(&gateway, "POST", REQUESTS, &request(name, expires_at))?;
        ensure!(made.status == 201, "{}", made.text());
        made.json()
    }

    fn wait_for_state(&self, name: &str, state: &str) -> Result<Value> {
        let api = self.installation.cluster.api()?;
        eventually(&format!("{name} {state}"), LIMIT, || {
            let request = api.get(&format!("{REQUESTS}/{name}"))?;
            Ok((request["status"]["state"] == state).then_some(request))
        })
    }
}

fn request(name: &str, expires_at: Timestamp) -> Value {
    json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "ApprovalRequest", "metadata": {"name": name},
        "spec": {
            "requester": {
                "username": "system:serviceaccount:agents:coder", "upstreamUser": "sallyport:sa:agents:coder",
            },
            "digest": format!("sha256:{}", "0".repeat(64)),
            "expiresAt": expires_at.to_string(),
            "call": {
                "summary": "delete nodes/n", "verb": "delete", "apiGroup": "", "resource": "nodes",
                "subresource": "", "namespace": "", "name": "n",
            },
            "rule": "guardrails/nodes", "policyDigest": "sha256:1", "auditID": "1",
            "risk": {"level": "High", "reasons": ["takes a node away"]},
            "terms": {"people": 1, "channels": ["Kubernetes", "Webhook"], "scopes": ["Once"]},
        },
    })
}

fn unique(name: &str) -> String {
    format!("{name}-{}", Timestamp::now().as_nanosecond())
}

#[test]
fn controller_does_its_work_with_the_rights_of_its_service_account() -> Result<()> {
    let site = Site::new()?;
    let (expiring, decided, old) = (unique("expiring"), unique("decided"), unique("old"));
    site.ask(&old, -7200)?;
    let mut controller = site.start()?;
    controller.wait_until_it_leads()?;

    site.ask(&expiring, 2)?;
    site.wait_for_state(&expiring, "Expired")?;
    let api = site.installation.cluster.api()?;
    eventually("the deletion of an old request", LIMIT, || {
        let answer = api.answer("GET", &format!("{REQUESTS}/{old}"), &[], &Value::Null)?;
        Ok((answer.status == 404).then_some(()))
    })?;

    let asked = site.ask(&decided, 600)?;
    let ca = fs::read(controller.path("tls/ca.crt"))?;
    let callbacks = RawClient::new(&format!("https://{}", controller.decisions()), &ca, None)?;
    let decision = json!({
        "request": {"namespace": "sallyport-system", "name": decided, "uid": asked["metadata"]["uid"]},
        "verdict": "Approved", "user": "U1",
    });
    let (body, timestamp) = (
        decision.to_string(),
        Timestamp::now().as_second().to_string(),
    );
    let signature = signature(SECRET, &timestamp, body.as_bytes());
    let headers = [
        ("X-Sallyport-Timestamp", timestamp.as_str()),
        ("X-Sallyport-Signature", signature.as_str()),
    ];
    let answer = callbacks.request("POST", "/v1/decisions", &headers, body.as_bytes())?;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let approved = site.wait_for_state(&decided, "Approved")?;
    assert_eq!(
        approved["status"]["votes"][0]["via"], "Webhook",
        "{approved}"
    );

    let policies = "/apis/sallyport.dev/v1alpha1/agentpolicies";
    let name = unique("policy");
    let policy = json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentPolicy", "metadata": {"name": name},
        "spec": {
            "subjects": [{"serviceAccount": {"namespace": "nowhere", "name": "nobody"}}],
            "rules": [{
                "name": "read", "effect": "Allow", "verbs": ["get"],
                "apiGroups": [""], "resources": ["pods"], "namespaces": ["nowhere"], "names": ["*"],
            }],
        },
    });
    api.create(policies, &policy)?;
    eventually("the policy's status", LIMIT, || {
        let policy = api.get(&format!("{policies}/{name}"))?;
        Ok((policy["status"]["accepted"] == true).then_some(()))
    })?;
    api.delete(&format!("{policies}/{name}"))?;
    controller.stop()?;
    let log = controller.log();
    assert!(!log.contains("forbidden"), "{log}");
    Ok(())
}

#[test]
fn controller_may_do_nothing_else() -> Result<()> {
    let site = Site::new()?;
    let token = site.token("sallyport-controller")?;
    let asked = unique("asked");
    site.ask(&asked, 600)?;
    let status = format!("{REQUESTS}/{asked}/status");
    let later = Timestamp::now() + SignedDuration::from_secs(600);
    let vote = |by: &str, via: &str| {
        let at = Timestamp::now().to_string();
        json!({"status": {"votes": [{"result": "Approved", "by": by, "via": via, "at": at, "scope": "Once"}]}})
    };
    let usage =
        json!({"status": {"uses": [{"gateway": "n", "auditID": "1", "at": later.to_string()}]}});
    let event = json!({"metadata": {"name": "x"}, "involvedObject": {"namespace": "default"}});
    let lease = json!({"metadata": {"name": "x"}});
    let policies = "/apis/sallyport.dev/v1alpha1/agentpolicies";
    for (method, path, object) in [
        ("GET", "/api/v1/secrets", Value::Null),
        (
            "GET",
            "/api/v1/namespaces/sallyport-system/secrets",
            Value::Null,
        ),
        ("GET", "/api/v1/pods", Value::Null),
        ("GET", "/api/v1/namespaces/default/events", Value::Null),
        ("POST", "/api/v1/namespaces/default/events", event),
        (
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
            lease,
        ),
        ("POST", policies, json!({})),
        ("POST", "/apis/sallyport.dev/v1alpha1/agentstops", json!({})),
        ("POST", REQUESTS, request(&unique("own"), later)),
        (
            "PATCH",
            &format!("{REQUESTS}/{asked}"),
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        ("PATCH", &status, vote("alice@example.com", "Kubernetes")),
        (
            "PATCH",
            &status,
            vote("system:serviceaccount:agents:coder", "Webhook"),
        ),
        ("PATCH", &status, usage),
    ] {
        let answer = site.send(&token, method, path, &object)?;
        ensure!(
            answer.status == 403,
            "{method} {path}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let controller = site.client.as_bearer(&token);
    let alice = [("Impersonate-User", "alice@example.com")];
    let answer = controller.request("GET", "/api/v1/namespaces", &alice, &[])?;
    ensure!(answer.status == 403, "{}", answer.text());
    Ok(())
}

#[test]
fn the_example_of_decisions_is_a_service_without_a_selector() -> Result<()> {
    let installation = Installation::from_env()?;
    let example = include_str!("../../../deploy/install/examples/decisions.yaml");
    let create = [
        "create",
        "--dry-run=server",
        "--validate=strict",
        "-o",
        "json",
        "-f",
        "-",
    ];
    let made = installation
        .kubectl()?
        .run_with_input(&create, example.as_bytes())?
        .success()?;
    let made: Value = serde_json::from_str(&made)?;
    assert!(made["spec"]["selector"].is_null(), "{made}");
    Ok(())
}
