//! A namespace whose policies are only observed.

use anyhow::{Context, Result};
use harness::{Cluster, Exchange, Response, Settings, WebSocket, eventually};
use serde_json::{Value, json};

use super::{LIMIT, Node};
use crate::slice::stops::{stalled_upload, with_little_room, with_objects};

/// The channel of a WebSocket.
const ERROR: u8 = 3;

const OBSERVED: &str = r#"apiVersion: sallyport.dev/v1alpha1
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

/// A pod in a namespace that is observed from some moment on, and the ConfigMap `keep`, which it may not delete.
struct Observed {
    node: Node,
    configmaps: String,
    keep: String,
}

impl Observed {
    fn new() -> Result<Self> {
        Self::with(|settings| settings)
    }

    fn with(change: impl FnOnce(Settings) -> Settings) -> Result<Self> {
        Cluster::from_env()?.serve_objects()?;
        let observed =
            |settings: Settings| with_objects(settings.with_policy("observed.yaml", OBSERVED));
        let node = Node::with(|settings| observed(change(settings)))?;
        let namespace = &node.namespace;
        let secret = json!({"metadata": {"name": "db"}, "stringData": {"password": "tr0ub4dor"}});
        namespace
            .api()
            .create(&namespace.path("secrets"), &secret)?;
        let configmaps = namespace.path("configmaps");
        let keep = format!("{configmaps}/keep");
        let site = Self {
            node,
            configmaps,
            keep,
        };
        site.make_keep()?;
        Ok(site)
    }

    fn make_keep(&self) -> Result<()> {
        let api = self.node.namespace.api();
        api.create(&self.configmaps, &named("keep")).map(drop)
    }

    fn delete_keep(&self) -> Result<Response> {
        self.node.call("DELETE", &self.keep, &Value::Null)
    }

    /// Until a deletion of `keep` has this answer.
    fn label(&self, value: &str, status: u16) -> Result<()> {
        let label = json!({"sallyport.dev/agents": value});
        self.node.namespace.label(&label)?;
        eventually("the label", LIMIT, || {
            Ok((self.delete_keep()?.status == status).then_some(()))
        })
    }

    fn record(&self, answer: &Response) -> Result<Value> {
        let audit_id = answer.header("audit-id").context("an Audit-ID")?;
        self.node.outcome(audit_id)
    }

    /// By a watch of what it may not watch.
    fn watch(&self) -> Result<(Exchange, Response)> {
        let watch = format!("{}?watch=true", self.configmaps);
        let mut watch = self.node.start("GET", &watch)?;
        let head = watch.head()?;
        assert_eq!(head.status, 200);
        Ok((watch, head))
    }

    /// That people would be asked about.
    fn terminal(&self) -> Result<WebSocket> {
        let namespace = &self.node.namespace;
        namespace.create_running_pod("shell", &json!({}))?;
        let exec = namespace.path("pods/shell/exec?command=cat&stdin=true&stdout=true");
        let headers = [("Sec-WebSocket-Protocol", "v5.channel.k8s.io")];
        let mut terminal = self.node.own_client()?.websocket(&exec, &headers)?;
        terminal.send(0, b"nobody is asked\n")?;
        assert_eq!(terminal.receive()?, (1, b"nobody is asked\n".to_vec()));
        Ok(terminal)
    }
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[test]
fn where_policies_are_only_observed_they_are_recorded_and_deny_nothing() -> Result<()> {
    let site = Observed::new()?;
    let denied = site.delete_keep()?.message(403)?;
    assert!(denied.contains("developer/keep"), "{denied}");
    site.label("observe", 200)?;

    nobody_is_asked(&site)?;
    let (mut watch, head) = site.watch()?;
    views_are_masked_all_the_same(&site)?;
    the_floor_holds_all_the_same(&site)?;
    what_would_be_denied_is_recorded_and_counted(&site)?;
    let mut terminal = site.terminal()?;

    // Enforced, what runs against policy ends, and what nobody was asked about.
    site.make_keep()?;
    site.label("enforce", 403)?;
    watch.body(&head).context("the watch ends in order")?;
    let told = terminal.rest()?.remove(&ERROR).context("no Status")?;
    let told: Value = serde_json::from_slice(&told)?;
    assert_eq!(told["code"], 403, "{told}");
    assert!(told.to_string().contains("observed/ask"), "{told}");
    Ok(())
}

fn nobody_is_asked(site: &Observed) -> Result<()> {
    let held = site.node.call("POST", &site.configmaps, &named("asked"))?;
    assert_eq!(held.status, 201, "{}", held.text());
    let record = site.record(&held)?;
    assert_eq!(record["enforcement"], "observe", "{record:#}");
    assert_eq!(
        (&record["decision"], &record["rule"]),
        (&json!("hold"), &json!("observed/ask"))
    );
    assert!(record["approval"].is_null(), "{record:#}");
    Ok(())
}

fn views_are_masked_all_the_same(site: &Observed) -> Result<()> {
    let secret = site.node.namespace.path("secrets/db");
    let shown = site.node.call("GET", &secret, &Value::Null)?;
    assert_eq!(shown.status, 200);
    // The password.
    assert!(!shown.text().contains("dHIwdWI0ZG9y"), "{}", shown.text());
    Ok(())
}

fn the_floor_holds_all_the_same(site: &Observed) -> Result<()> {
    let volume =
        json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}});
    let pod = json!({
        "metadata": {"name": "thief"},
        "spec": {
            "nodeName": "nowhere", "volumes": [volume],
            "containers": [{"name": "main", "image": "registry.invalid/agent:1"}],
        },
    });
    let pods = site.node.namespace.path("pods");
    let refused = site.node.call("POST", &pods, &pod)?;
    let message = refused.message(403)?;
    assert!(message.contains("floor-token-audience"), "{message}");
    let record = site.record(&refused)?;
    assert_eq!(record["enforcement"], "enforce", "{record:#}");
    Ok(())
}

fn what_would_be_denied_is_recorded_and_counted(site: &Observed) -> Result<()> {
    let gateway = &site.node.gateway;
    let listed = gateway.audit_list(&["--enforcement", "observe", "--decision", "deny"])?;
    let rules: Vec<_> = listed.iter().map(|call| &call["rule"]).collect();
    assert!(rules.contains(&&json!("developer/keep")), "{rules:?}");
    let mut passed = listed.iter();
    assert!(passed.all(|call| call["responseStatus"]["code"] != 403));
    for decision in ["deny", "hold"] {
        let name = format!("sallyport_observed_total{{decision=\"{decision}\"}}");
        assert!(gateway.metric(&name)? >= 1.0, "{decision}");
    }
    Ok(())
}

/// An agent that fills its own room could otherwise keep calls that were judged while policies were only observed.
#[test]
fn what_waits_for_room_when_policies_begin_to_count_is_not_sent() -> Result<()> {
    let site = Observed::with(with_little_room)?;
    // Where the deletion comes before the upload has taken its room, it has been sent when they do.
    for _ in 0..5 {
        site.label("observe", 200)?;
        site.make_keep()?;
        let answer = site.delete_while_enforcing()?;
        if answer.status == 403 {
            let message = answer.message(403)?;
            assert!(message.contains("Policies count in namespace"), "{message}");
            let record = site.record(&answer)?;
            assert_eq!(record["enforcement"], "enforce", "{record:#}");
            site.node.namespace.api().get(&site.keep)?;
            return Ok(());
        }
    }
    anyhow::bail!("each was sent, although policies count")
}

impl Observed {
    fn delete_while_enforcing(&self) -> Result<Response> {
        let client = self.node.own_client()?;
        let slow = stalled_upload(&client, &self.configmaps)?;
        let mut delete = self.node.start("DELETE", &self.keep)?;
        eventually("the intent to delete", LIMIT, || {
            let calls = self.node.gateway.audit_list(&["--verb", "delete"])?;
            let is_intended = calls.iter().any(|call| call["responseStatus"].is_null());
            Ok(is_intended.then_some(()))
        })?;
        let label = json!({"sallyport.dev/agents": "enforce"});
        self.node.namespace.label(&label)?;
        eventually("policies that count", LIMIT, || {
            let watch = format!("{}?watch=true&timeoutSeconds=1", self.configmaps);
            let status = self.node.start("GET", &watch)?.head()?.status;
            Ok((status == 403).then_some(()))
        })?;
        drop(slow);
        delete.response()
    }
}
