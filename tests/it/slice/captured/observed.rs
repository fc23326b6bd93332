//! A namespace whose policies are only observed.

use anyhow::{Context, Result};
use harness::{Cluster, eventually};
use serde_json::{Value, json};

use super::{LIMIT, Node};
use crate::slice::stops::with_objects;

/// The channel of a WebSocket.
const ERROR: u8 = 3;

const MASKED: &str = r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {name: observed}
spec:
  subjects: [{all: "*"}]
  rules:
  - name: masked
    effect: Allow
    verbs: [get]
    apiGroups: [""]
    resources: [secrets]
    namespaces: ["*"]
    names: [db]
    agentView: Masked
  - name: ask
    effect: RequireApproval
    verbs: [create]
    apiGroups: [""]
    resources: [configmaps, pods/exec]
    namespaces: ["*"]
    names: ["*"]
    reason: look at it first
  - name: no-watch
    effect: Deny
    verbs: [watch]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: ["*"]
    names: ["*"]
"#;

#[test]
fn where_policies_are_only_observed_they_are_recorded_and_deny_nothing() -> Result<()> {
    Cluster::from_env()?.serve_objects()?;
    let node = Node::with(|settings| with_objects(settings.with_policy("observed.yaml", MASKED)))?;
    let api = node.namespace.api();
    let configmaps = node.namespace.path("configmaps");
    let named = |name: &str| json!({"metadata": {"name": name}});
    api.create(&configmaps, &named("keep"))?;
    let secret = json!({"metadata": {"name": "db"}, "stringData": {"password": "tr0ub4dor"}});
    api.create(&node.namespace.path("secrets"), &secret)?;
    let keep = format!("{configmaps}/keep");
    let denied = node.call("DELETE", &keep, &Value::Null)?.refusal(403)?;
    assert!(denied.to_string().contains("developer/keep"), "{denied}");

    let observe = json!({"sallyport.dev/agents": "observe"});
    node.namespace.label(&observe)?;
    eventually("the label", LIMIT, || {
        let answer = node.call("DELETE", &keep, &Value::Null)?;
        Ok((answer.status == 200).then_some(()))
    })?;
    let held = node.call("POST", &configmaps, &named("asked"))?;
    assert_eq!(held.status, 201, "{}", held.text());
    let record = node.outcome(held.header("audit-id").context("an Audit-ID")?)?;
    assert_eq!(record["enforcement"], "observe", "{record:#}");
    assert_eq!(
        (&record["decision"], &record["rule"]),
        (&json!("hold"), &json!("observed/ask"))
    );
    assert!(record["approval"].is_null(), "nobody is asked: {record:#}");
    let watch = format!("{configmaps}?watch=true");
    let mut watch = node.start("GET", &watch)?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);

    let shown = node.call("GET", &node.namespace.path("secrets/db"), &Value::Null)?;
    assert_eq!(shown.status, 200);
    let base64 = "dHIwdWI0ZG9y";
    assert!(
        !shown.text().contains(base64),
        "the view is masked also here"
    );
    let volume =
        json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}});
    let pod = json!({
        "metadata": {"name": "thief"},
        "spec": {
            "nodeName": "nowhere", "volumes": [volume],
            "containers": [{"name": "main", "image": "registry.invalid/agent:1"}],
        },
    });
    let pods = node.namespace.path("pods");
    let refused = node.call("POST", &pods, &pod)?;
    let record = node.outcome(refused.header("audit-id").context("an Audit-ID")?)?;
    let refused = refused.refusal(403)?.to_string();
    assert!(refused.contains("floor-token-audience"), "{refused}");
    assert_eq!(record["enforcement"], "enforce", "{record:#}");

    let listed = node
        .gateway
        .audit_list(&["--enforcement", "observe", "--decision", "deny"])?;
    let rules: Vec<_> = listed.iter().map(|call| &call["rule"]).collect();
    assert!(rules.contains(&&json!("developer/keep")), "{rules:?}");
    assert!(
        listed
            .iter()
            .all(|call| call["responseStatus"]["code"] != 403)
    );
    let counted = |decision: &str| {
        let name = format!("sallyport_observed_total{{decision=\"{decision}\"}}");
        node.gateway.metric(&name)
    };
    assert!(counted("deny")? >= 1.0 && counted("hold")? >= 1.0);

    node.namespace.create_running_pod("shell", &json!({}))?;
    let exec = "pods/shell/exec?command=cat&stdin=true&stdout=true";
    let headers = [("Sec-WebSocket-Protocol", "v5.channel.k8s.io")];
    let client = node.own_client()?;
    let mut terminal = client.websocket(&node.namespace.path(exec), &headers)?;
    terminal.send(0, b"nobody is asked\n")?;
    assert_eq!(terminal.receive()?, (1, b"nobody is asked\n".to_vec()));

    // Enforced, what runs against policy ends, and what nobody was asked about.
    node.namespace
        .label(&json!({"sallyport.dev/agents": "enforce"}))?;
    watch.body(&head).context("the watch ends in order")?;
    let told = terminal.rest()?.remove(&ERROR).context("no Status")?;
    let told: Value = serde_json::from_slice(&told)?;
    assert_eq!(told["code"], 403, "{told}");
    assert!(told.to_string().contains("observed/ask"), "{told}");
    api.create(&configmaps, &named("keep"))?;
    eventually("the enforced policy", LIMIT, || {
        let answer = node.call("DELETE", &keep, &Value::Null)?;
        Ok((answer.status == 403).then_some(()))
    })
}
