//! Captured pods: the listener says who calls, and the token must agree. The test plays the node agent.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use harness::{
    Cluster, Exchange, Gateway, Kubectl, Namespace, NodeSocket, Oidc, Pod, RawClient, Response,
    ScriptedNode, Settings, Tools, eventually,
};
use sallyport::{
    handover::CapturedPod,
    identity::{Process, Workload},
};
use serde_json::{Value, json};

use super::{
    approvals::asking,
    developer_policy,
    stops::{Stopped, with_objects},
};

const LIMIT: Duration = Duration::from_secs(20);
/// The channel of a WebSocket.
const ERROR: u8 = 3;

/// A node with one captured pod, whose agent may do everything in its namespace.
struct Node {
    cluster: Cluster,
    namespace: Namespace,
    pod: Pod,
    token: String,
    socket: NodeSocket,
    agent: ScriptedNode,
    gateway: Gateway,
    /// Where the pod's connections to the API server arrive.
    address: SocketAddr,
}

impl Node {
    fn new() -> Result<Self> {
        Self::with(Ok)
    }

    fn with(change: impl FnOnce(Settings) -> Result<Settings>) -> Result<Self> {
        let cluster = Cluster::from_env()?;
        let namespace = Namespace::create(&cluster)?;
        let (pod, token) = namespace.create_coder()?;

        let socket = NodeSocket::new()?;
        let agent = ScriptedNode::start(&socket)?;
        agent.pod(captured(&namespace, &pod)?);
        let address = agent.listen(&pod.uid, &["kubernetes.default.svc"])?;
        let mut settings = Settings::new(&cluster)
            .with_policy("developer.yaml", &developer_policy(&namespace.name));
        settings.config["explicit"]["allowServiceAccountTokens"] = json!(false);
        settings.config["capture"] = socket.capture();
        let gateway = Gateway::start(&change(settings)?)?;
        Ok(Self {
            cluster,
            namespace,
            pod,
            token,
            socket,
            agent,
            gateway,
            address,
        })
    }

    /// A second pod of the same ServiceAccount, with its own listener.
    fn neighbour(&self) -> Result<(Pod, SocketAddr)> {
        let pod = self.namespace.create_pod("neighbour", "coder")?;
        self.agent.pod(captured(&self.namespace, &pod)?);
        let address = self.agent.listen(&pod.uid, &[])?;
        Ok((pod, address))
    }

    fn client(&self, address: SocketAddr) -> Result<RawClient> {
        RawClient::new(
            &format!("https://{address}"),
            &fs::read(self.gateway.ca_file())?,
            None,
        )
    }

    /// Lists ConfigMaps with `token`, at the listener of whichever pod.
    fn list_at(&self, address: SocketAddr, token: &str) -> Result<Response> {
        self.start_at(address, token)?.response()
    }

    fn start_at(&self, address: SocketAddr, token: &str) -> Result<Exchange> {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let target = self.namespace.path("configmaps");
        self.client(address)?.start("GET", &target, &headers, &[])
    }

    fn list(&self) -> Result<Response> {
        self.list_at(self.address, &self.token)
    }

    /// Any call with the pod's own token; no body where it is null.
    fn call(&self, method: &str, target: &str, body: &Value) -> Result<Response> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        let body = match body {
            Value::Null => Vec::new(),
            body => serde_json::to_vec(body)?,
        };
        let client = self.client(self.address)?;
        client.request(method, target, &headers, &body)
    }

    fn start(&self, method: &str, target: &str) -> Result<Exchange> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Authorization", bearer.as_str())];
        self.client(self.address)?
            .start(method, target, &headers, &[])
    }

    fn outcome(&self, audit_id: &str) -> Result<Value> {
        eventually("the record", LIMIT, || {
            let calls = self.gateway.audit_list(&[])?;
            Ok(calls
                .into_iter()
                .find(|call| call["auditID"] == audit_id && call["stage"] == "ResponseComplete"))
        })
    }

    fn refusal(&self, token: &str) -> Result<String> {
        let status = self.list_at(self.address, token)?.refusal(401)?;
        Ok(status["message"].as_str().unwrap_or_default().to_owned())
    }

    /// The folded record of refusals of this kind.
    fn refused(&self, rule: &str) -> Result<Value> {
        eventually(&format!("a record of {rule}"), LIMIT, || {
            let calls = self.gateway.audit_list(&[])?;
            Ok(calls.into_iter().find(|call| call["rule"] == rule))
        })
    }

    /// The records of refusals of this kind, once the gateway is down.
    fn refusals(&mut self, rule: &str) -> Result<Vec<Value>> {
        self.gateway.stop()?;
        let calls = self.gateway.audit_list(&[])?;
        Ok(calls
            .into_iter()
            .filter(|call| call["rule"] == rule)
            .collect())
    }

    fn errors_of_kind(&self, kind: &str) -> Result<u64> {
        let metrics = self.gateway.admin("/metrics")?;
        let name = format!("sallyport_connection_errors_total{{kind=\"{kind}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        Ok(value.map_or(Ok(0), str::parse)?)
    }
}

fn captured(namespace: &Namespace, pod: &Pod) -> Result<CapturedPod> {
    Ok(CapturedPod {
        workload: Workload {
            namespace: namespace.name.clone(),
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            service_account: "coder".to_owned(),
            labels: [("app".to_owned(), "coder".to_owned())].into(),
            container_image_digests: vec!["sha256:1234".to_owned()],
        },
        netns_cookie: ScriptedNode::netns_cookie()?,
        needs_recreate: false,
    })
}

const IN_CLUSTER: &str = r#"
import sys
from kubernetes import client
from kubernetes.config.incluster_config import InClusterConfigLoader

host, port, token, ca, namespace = sys.argv[1:]
environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
InClusterConfigLoader(token_filename=token, cert_filename=ca, environ=environ).load_and_set()
core = client.CoreV1Api()
core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="from-python")))
print([item.metadata.name for item in core.list_namespaced_config_map(namespace).items])
"#;

#[test]
fn unmodified_clients_are_served_as_the_pod_that_connects() -> Result<()> {
    let node = Node::new()?;
    node.agent.connections_are_of(Process {
        pid: 4711,
        exe: Some("/usr/bin/agent".to_owned()),
    });
    let (server, ca) = (format!("https://{}", node.address), node.gateway.ca_file());
    let kubectl = Kubectl::new(&server, &ca, &node.namespace.name, &node.token)?;
    kubectl.ok(&["create", "configmap", "from-kubectl"])?;

    let token = node.gateway.path("token");
    fs::write(&token, &node.token)?;
    let said = Tools::from_env()?
        .run_python(
            IN_CLUSTER,
            &[
                &node.address.ip().to_string(),
                &node.address.port().to_string(),
                token.to_str().context("UTF-8")?,
                ca.to_str().context("UTF-8")?,
                &node.namespace.name,
            ],
        )?
        .success()?;
    assert!(
        said.contains("from-kubectl") && said.contains("from-python"),
        "{said}"
    );

    let created = eventually("the record", LIMIT, || {
        let calls = node.gateway.audit_list(&["--verb", "create"])?;
        Ok(calls
            .into_iter()
            .find(|call| call["stage"] == "ResponseComplete"))
    })?;
    assert_eq!(created["entry"], "captured", "{created:#}");
    assert_eq!(
        created["workload"],
        json!({
            "namespace": node.namespace.name, "pod": "agent", "podUID": node.pod.uid, "serviceAccount": "coder",
            "labels": {"app": "coder"}, "containerImageDigests": ["sha256:1234"],
        })
    );
    assert_eq!(
        created["process"],
        json!({"pid": 4711, "exe": "/usr/bin/agent"})
    );
    assert!(
        created["sourceIPs"].is_null(),
        "loopback says nothing: {created:#}"
    );
    let user = format!("system:serviceaccount:{}:coder", node.namespace.name);
    assert_eq!(created["user"]["username"], json!(user));
    Ok(())
}

#[test]
fn a_stolen_token_is_refused_recorded_with_thief_and_victim_and_told() -> Result<()> {
    let cluster = Cluster::from_env()?;
    cluster.serve_objects()?;
    let events = Namespace::create(&cluster)?;
    let node = Node::with(|mut settings| {
        settings.config["objects"] = json!({"namespace": events.name});
        Ok(settings)
    })?;
    let (thief, address) = node.neighbour()?;
    // Where it is at home the token is good, so the gateway knows it when it comes from elsewhere.
    assert_eq!(node.list()?.status, 200);
    let answer = eventually("the neighbour's listener", LIMIT, || {
        Ok(node.list_at(address, &node.token).ok())
    })?;
    let message = answer.refusal(401)?["message"].to_string();
    assert!(message.contains("belongs to another pod"), "{message}");
    assert_eq!(node.list()?.status, 200);
    // Outside of any pod it is refused as well, and said to be whose it is.
    let explicit: SocketAddr = node.gateway.url().replace("https://", "").parse()?;
    node.list_at(explicit, &node.token)?.refusal(401)?;

    let record = node.refused("authentication/pod_mismatch")?;
    assert_eq!(record["workload"]["podUID"], json!(thief.uid), "{record:#}");
    let extra = &record["user"]["extra"];
    assert_eq!(
        extra["authentication.kubernetes.io/pod-uid"],
        json!([node.pod.uid]),
        "{record:#}"
    );
    assert_eq!(record["entry"], "captured");

    let record = node.refused("authentication/service_account_token_not_accepted")?;
    let user = json!(format!(
        "system:serviceaccount:{}:coder",
        node.namespace.name
    ));
    assert_eq!(record["user"]["username"], user, "{record:#}");
    assert_eq!(record["entry"], "explicit", "{record:#}");
    for told in [
        "/neighbour came with a token of system:serviceaccount:",
        ":coder that is bound to a pod came on the explicit listener",
    ] {
        eventually(&format!("the alert {told:?}"), LIMIT, || {
            let events = events.api().get(&events.path("events"))?;
            let mut events = events["items"].as_array().into_iter().flatten();
            let is_told = |event: &&Value| {
                let message = event["message"].as_str().unwrap_or_default();
                event["reason"] == "TokenTheft" && message.contains(told)
            };
            Ok(events.find(is_told).cloned())
        })?;
    }
    Ok(())
}

#[test]
fn tokens_that_prove_no_pod_are_refused_with_what_to_do() -> Result<()> {
    let mut oidc = None;
    let node = Node::with(|settings| {
        let provider = oidc.insert(Oidc::from_env(&Cluster::from_env()?)?);
        Ok(settings.with_github(provider))
    })?;
    let oidc = oidc.context("made with the gateway")?;
    let unbound = node.namespace.token("coder", "sallyport", None)?;
    assert!(node.refusal(&unbound)?.contains("bound to no pod"));
    // Outside of a captured pod the same tokens are taken or refused as ever.
    let explicit: SocketAddr = node.gateway.url().replace("https://", "").parse()?;
    let job = oidc.token(&Oidc::github_claims("74"))?;
    assert_eq!(node.list_at(explicit, &job)?.status, 403);
    assert_eq!(node.list_at(explicit, &node.token)?.status, 401);
    assert_eq!(node.list()?.status, 200);
    assert_eq!(node.list_at(explicit, &node.token)?.status, 401);
    node.refused("authentication/not_bound_to_pod")?;
    Ok(())
}

/// Lets repository 74 read ConfigMaps, by a `subject`.
fn policy_of_job(namespace: &str, subject: &Value) -> String {
    let rule = json!({
        "name": "read", "effect": "Allow", "verbs": ["list", "watch"], "apiGroups": [""], "resources": ["configmaps"],
        "namespaces": [namespace], "names": ["*"],
    });
    json!({
        "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentPolicy", "metadata": {"name": "job"},
        "spec": {"subjects": [subject], "rules": [rule]},
    })
    .to_string()
}

/// Stops are for the whole cluster, so no other test's agent has this name.
const PODS_AGENT: &str = "pods-of-jobs";

fn pods_agent() -> String {
    format!(
        "apiVersion: sallyport.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {PODS_AGENT}}}\nspec:\n  \
         match: {{serviceAccount: {{namespace: \"*\", name: coder}}}}\n"
    )
}

#[test]
fn a_jobs_token_out_of_a_pod_is_of_both_for_rules_and_for_stops() -> Result<()> {
    Cluster::from_env()?.serve_objects()?;
    let mut oidc = None;
    let node = Node::with(|settings| {
        let provider = oidc.insert(Oidc::from_env(&Cluster::from_env()?)?);
        let settings = settings.with_github(provider);
        with_objects(settings.with_agent("coder.yaml", &pods_agent()))
    })?;
    let claims = Oidc::github_claims("74");
    let job = oidc.context("made with the gateway")?.token(&claims)?;
    let (namespace, subject) = (&node.namespace.name, claims["sub"].as_str());
    let user = format!("sallyport:oidc:github:{}", subject.context("a subject")?);
    let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    node.namespace.grant(&user, &everything)?;

    let of_repository = json!({"issuer": "github", "claims": {"repository_id": "74"}});
    let alone = policy_of_job(namespace, &json!({"oidc": of_repository}));
    node.gateway.write_policy("job.yaml", &alone)?;
    let explicit: SocketAddr = node.gateway.url().replace("https://", "").parse()?;
    eventually("the policy", LIMIT, || {
        Ok((node.list_at(explicit, &job)?.status == 200).then_some(()))
    })?;
    let refused = node.list_at(node.address, &job)?.refusal(403)?["message"].to_string();
    let pod = format!("came out of a pod of ServiceAccount {namespace}/coder");
    assert!(refused.contains(&pod), "{refused}");

    let account = json!({"namespace": namespace, "name": "coder"});
    let together = json!({"workload": {"serviceAccount": account, "oidc": of_repository}});
    let together = policy_of_job(namespace, &together);
    node.gateway.write_policy("job.yaml", &together)?;
    let answer = eventually("the policy for both", LIMIT, || {
        let answer = node.list_at(node.address, &job)?;
        Ok((answer.status == 200).then_some(answer))
    })?;
    assert_eq!(node.list_at(explicit, &job)?.status, 403);
    let audit_id = answer.header("audit-id").context("an Audit-ID")?;
    let record = node.outcome(audit_id)?;
    assert_eq!(record["entry"], "captured", "{record:#}");
    assert_eq!(record["upstreamUser"]["username"], json!(user));
    assert_eq!(record["workload"]["podUID"], json!(node.pod.uid));
    assert_eq!(record["rule"], "job/read");
    assert!(record["agent"].is_null(), "the user's is none: {record:#}");

    let alone = alone.replace(r#"{"name":"job"}"#, r#"{"name":"alone"}"#);
    node.gateway.write_policy("alone.yaml", &alone)?;
    eventually("both policies", LIMIT, || {
        Ok((node.list_at(explicit, &job)?.status == 200).then_some(()))
    })?;
    let bearer = format!("Bearer {job}");
    let headers = [("Authorization", bearer.as_str())];
    let target = node.namespace.path("configmaps?watch=true");
    let client = node.client(node.address)?;
    let mut watch = client.start("GET", &target, &headers, &[])?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);

    let stop = Stopped::new(&node.cluster, &json!({"agent": PODS_AGENT}))?;
    eventually("the stop of the pod's agent", LIMIT, || {
        let answer = node.list_at(node.address, &job)?;
        Ok((answer.status == 403 && answer.text().contains("AgentStop/")).then_some(()))
    })?;
    watch.body(&head).context("the watch ends in order")?;
    assert_eq!(node.list_at(explicit, &job)?.status, 200, "out of no pod");
    stop.lift()?;
    eventually("the resumed pod", LIMIT, || {
        Ok((node.list_at(node.address, &job)?.status == 200).then_some(()))
    })
}

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
    let bearer = format!("Bearer {}", node.token);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
    ];
    let client = node.client(node.address)?;
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

#[test]
fn a_pod_older_than_the_label_is_told_to_be_recreated() -> Result<()> {
    let node = Node::new()?;
    let issuer = &node.cluster.service_account_issuer;
    let token = node.namespace.token("coder", issuer, Some(&node.pod))?;
    assert!(!node.refusal(&token)?.contains("recreate"));
    node.agent.pod(CapturedPod {
        needs_recreate: true,
        ..captured(&node.namespace, &node.pod)?
    });
    eventually("the hint", LIMIT, || {
        Ok(node
            .refusal(&token)?
            .contains("recreate the pod")
            .then_some(()))
    })?;
    node.refused("authentication/needs_recreate")?;
    Ok(())
}

#[test]
fn a_socket_of_another_network_namespace_is_closed_and_counted() -> Result<()> {
    let node = Node::new()?;
    let pod = node.namespace.create_pod("elsewhere", "coder")?;
    node.agent.pod(CapturedPod {
        netns_cookie: ScriptedNode::netns_cookie()? + 1,
        ..captured(&node.namespace, &pod)?
    });
    let address = node.agent.listen(&pod.uid, &[])?;
    let token = node.namespace.token("coder", "sallyport", Some(&pod))?;
    assert!(node.list_at(address, &token).is_err(), "it was served");
    eventually("the count", LIMIT, || {
        Ok((node.errors_of_kind("namespace")? > 0).then_some(()))
    })?;
    Ok(())
}

#[test]
fn listeners_outlive_the_node_agent_and_are_given_back() -> Result<()> {
    let mut node = Node::new()?;
    for _ in 0..3 {
        // The old one ends with all its descriptors: only the gateway holds the listener.
        let restarted = {
            let socket = &node.socket;
            let old = std::mem::replace(&mut node.agent, ScriptedNode::start(&NodeSocket::new()?)?);
            drop(old);
            assert_eq!(node.list()?.status, 200);
            ScriptedNode::start(socket)?
        };
        node.agent = restarted;
        eventually("the listener, given back", LIMIT, || {
            Ok((node.agent.given_back() == 1).then_some(()))
        })?;
        assert_eq!(node.list()?.status, 200);
    }
    Ok(())
}

#[test]
fn a_gateway_that_is_killed_gets_every_listener_anew() -> Result<()> {
    let mut node = Node::new()?;
    assert_eq!(node.list()?.status, 200);
    for _ in 0..3 {
        node.gateway.kill()?;
        // Nobody accepts, and yet nobody is refused.
        let waiting = TcpStream::connect(node.address)?;
        waiting.set_read_timeout(Some(LIMIT))?;
        node.gateway.start_again()?;
        let bearer = format!("Bearer {}", node.token);
        let target = node.namespace.path("configmaps");
        let headers = [("Authorization", bearer.as_str())];
        let mut call = node
            .client(node.address)?
            .start_on(waiting, "GET", &target, &headers)?;
        assert_eq!(call.response()?.status, 200);
    }
    Ok(())
}

#[test]
fn a_pod_that_is_gone_loses_listeners_and_connections() -> Result<()> {
    let node = Node::new()?;
    let bearer = format!("Bearer {}", node.token);
    let target = node.namespace.path("configmaps?watch=true");
    let headers = [("Authorization", bearer.as_str())];
    let mut watch = node
        .client(node.address)?
        .start("GET", &target, &headers, &[])?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);
    node.agent.gone(&node.pod.uid);
    assert!(watch.body(&head).is_err(), "the watch ended in order");
    eventually("the end of the listener", LIMIT, || {
        Ok(TcpStream::connect(node.address).is_err().then_some(()))
    })?;
    assert_eq!(node.gateway.metric("sallyport_captured_pods")?, 0.0);
    assert_eq!(node.gateway.metric("sallyport_captured_listeners")?, 0.0);
    Ok(())
}

#[test]
fn a_terminal_and_a_held_call_end_with_their_pod() -> Result<()> {
    Cluster::from_env()?.serve_objects()?;
    let node = Node::with(with_objects)?;
    let namespace = &node.namespace;
    namespace.create_running_pod("shell", &json!({}))?;
    let policy = asking(&namespace.name, "{hold: 60s}");
    let policy = policy.replace(", pods/exec", "");
    node.gateway.write_policy("ask.yaml", &policy)?;
    node.gateway.reload()?;
    let bearer = format!("Bearer {}", node.token);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
    ];
    let target = namespace.path("pods/shell/exec?command=cat&stdin=true&stdout=true");
    let mut shell = node.client(node.address)?.websocket(&target, &headers)?;
    shell.send(0, b"ping\n")?;
    assert_eq!(shell.receive()?, (1, b"ping\n".to_vec()));

    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let object = serde_json::to_vec(&json!({"metadata": {"name": "web"}}))?;
    let configmaps = namespace.path("configmaps");
    let client = node.client(node.address)?;
    let mut held = client.start("POST", &configmaps, &headers, &object)?;
    eventually("the held call", LIMIT, || {
        let calls = node.gateway.audit_list_of_log()?;
        let mut calls = calls.into_iter();
        Ok(calls.find(|call| call["approval"]["state"] == "pending"))
    })?;

    node.agent.gone(&node.pod.uid);
    assert!(held.response().is_err(), "the held call was answered");
    drop(shell.rest());
    let outcome = |what: &str, state: &str| {
        eventually(what, LIMIT, || {
            let calls = node.gateway.audit_list(&[])?;
            Ok(calls.into_iter().find(|call| {
                call["stage"] == "ResponseComplete"
                    && call["outcome"] == "aborted"
                    && call[state].is_object()
                    && (state == "approval" || call["objectRef"]["subresource"] == "exec")
            }))
        })
    };
    let ended = outcome("the end of the terminal", "responseStatus")?;
    assert_eq!(
        ended["responseStatus"]["message"], "the pod is gone",
        "{ended:#}"
    );
    let left = outcome("the end of the held call", "approval")?;
    assert_eq!(left["approval"]["state"], "withdrawn", "{left:#}");

    // Nobody is asked any more, and nothing was made.
    let requests = format!(
        "/apis/sallyport.dev/v1alpha1/namespaces/{}/approvalrequests",
        namespace.name
    );
    eventually("the withdrawn question", LIMIT, || {
        let list = namespace.api().get(&requests)?;
        let withdrawn = &list["items"][0]["status"]["withdrawnAt"];
        Ok(withdrawn.is_string().then_some(()))
    })?;
    let maps = namespace.api().get(&configmaps)?;
    let mut maps = maps["items"].as_array().into_iter().flatten();
    assert!(!maps.any(|map| map["metadata"]["name"] == "web"));
    Ok(())
}

#[test]
fn a_destination_that_gets_a_name_gets_a_certificate_for_it() -> Result<()> {
    let node = Node::new()?;
    let named = |name: &str| -> Result<Response> {
        let ca = fs::read(node.gateway.ca_file())?;
        let client = RawClient::new(&format!("https://{name}:443"), &ca, None)?;
        let socket = TcpStream::connect(node.address)?;
        socket.set_read_timeout(Some(LIMIT))?;
        client.start_on(socket, "GET", "/version", &[])?.response()
    };
    assert_eq!(named("kubernetes.default.svc")?.status, 401);
    assert!(named("api.example").is_err());
    node.agent
        .rename(node.address, &["kubernetes.default.svc", "api.example"])?;
    eventually("a certificate for the new name", LIMIT, || {
        Ok(named("api.example").ok())
    })?;
    assert_eq!(named("kubernetes.default.svc")?.status, 401);
    Ok(())
}

#[test]
fn a_client_that_trusts_another_ca_leaves_one_record() -> Result<()> {
    let mut node = Node::new()?;
    let mistrusting = RawClient::new(
        &format!("https://{}", node.address),
        &node.cluster.ca()?,
        None,
    )?;
    for _ in 0..3 {
        assert!(mistrusting.request("GET", "/version", &[], &[]).is_err());
    }
    let line = node.gateway.wait_for_log("what to do", |line| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        message.contains("trusts another CA")
    })?;
    assert_eq!(line["fields"]["pod"], "agent", "{line:#}");
    eventually("the count", LIMIT, || {
        Ok((node.errors_of_kind("certificate")? == 3).then_some(()))
    })?;
    let records = node.refusals("authentication/client_rejected_certificate")?;
    let [record] = records.as_slice() else {
        panic!("not one record: {records:#?}");
    };
    assert_eq!(record["workload"]["podUID"], json!(node.pod.uid));
    assert_eq!(record["itemCount"], json!("3"), "{record:#}");
    assert_eq!(record["outcome"], "aborted");
    Ok(())
}

#[test]
fn a_drain_serves_who_was_accepted_and_has_not_called_yet() -> Result<()> {
    let mut node = Node::new()?;
    assert_eq!(node.list()?.status, 200);
    let silent = TcpStream::connect(node.address)?;
    silent.set_read_timeout(Some(LIMIT))?;
    eventually("the connection's place", LIMIT, || {
        Ok((node.gateway.metric("sallyport_connections")? == 1.0).then_some(()))
    })?;
    node.gateway.terminate()?;
    node.gateway
        .wait_for_log("the drain", |line| line["fields"]["message"] == "draining")?;
    let bearer = format!("Bearer {}", node.token);
    let headers = [("Authorization", bearer.as_str())];
    let target = node.namespace.path("configmaps");
    let mut call = node
        .client(node.address)?
        .start_on(silent, "GET", &target, &headers)?;
    assert_eq!(call.response()?.status, 200);
    // Who comes later is in the queue of the next gateway.
    let queued = TcpStream::connect(node.address)?;
    queued.set_read_timeout(Some(LIMIT))?;
    node.gateway.wait_for_end()?;
    node.gateway.start_again()?;
    let mut call = node
        .client(node.address)?
        .start_on(queued, "GET", &target, &headers)?;
    assert_eq!(call.response()?.status, 200);
    Ok(())
}

#[test]
fn planned_restarts_fail_no_call_of_a_client_that_goes_on() -> Result<()> {
    let mut node = Node::new()?;
    let (address, token) = (node.address, node.token.clone());
    let client = node.client(address)?;
    let target = node.namespace.path("configmaps");
    let calls = thread::spawn(move || -> Result<usize> {
        let bearer = format!("Bearer {token}");
        for number in 0..200 {
            let answer = client.request("GET", &target, &[("Authorization", &bearer)], &[]);
            let answer = answer.with_context(|| format!("call {number}"))?;
            anyhow::ensure!(answer.status == 200, "call {number}: {}", answer.text());
        }
        Ok(200)
    });
    while !calls.is_finished() {
        node.gateway.stop()?;
        node.gateway.start_again()?;
    }
    assert_eq!(calls.join().expect("no panic")?, 200);
    Ok(())
}

#[test]
fn the_start_gate_opens_for_the_gateway_alone() -> Result<()> {
    let mut node = Node::new()?;
    let ca = node.gateway.ca_file();
    let shut = |address: SocketAddr, ca: PathBuf| -> Result<String> {
        node.gateway.start_gate(address, &ca, "100ms")?.failure()
    };
    node.gateway
        .start_gate(node.address, &ca, "20s")?
        .success()?;

    let server: SocketAddr = node.cluster.server.replace("https://", "").parse()?;
    let said = shut(server, node.cluster.ca_file.clone())?;
    assert!(said.contains("is no Sallyport gateway"), "{said}");
    let said = shut(node.address, node.cluster.ca_file.clone())?;
    assert!(said.contains("another CA"), "{said}");
    let said = shut(SocketAddr::from(([127, 0, 0, 1], 1)), ca)?;
    assert!(said.contains("nobody accepts"), "{said}");
    let said = shut(node.address, node.gateway.path("nowhere.crt"))?;
    assert!(said.contains("the mounted CA cannot be used"), "{said}");
    // It made no request, so it left no record but that of the CA it did not trust.
    let records = node.refusals("authentication/missing")?;
    assert!(records.is_empty(), "{records:#?}");
    Ok(())
}

#[test]
fn a_captured_pod_is_stopped_by_its_account_and_its_watch_ends_in_order() -> Result<()> {
    Cluster::from_env()?.serve_objects()?;
    let node = Node::with(with_objects)?;
    let target = node.namespace.path("configmaps?watch=true");
    let bearer = format!("Bearer {}", node.token);
    let headers = [("Authorization", bearer.as_str())];
    let client = node.client(node.address)?;
    let mut watch = client.start("GET", &target, &headers, &[])?;
    let head = watch.head()?;
    assert_eq!(head.status, 200);

    let account = format!("system:serviceaccount:{}:coder", node.namespace.name);
    let stop = Stopped::new(&node.cluster, &json!({"agent": account}))?;
    eventually("the stop", LIMIT, || {
        Ok((node.list()?.status == 403).then_some(()))
    })?;
    watch.body(&head).context("the watch ends in order")?;
    stop.lift()?;
    eventually("the resumed agent", LIMIT, || {
        Ok((node.list()?.status == 200).then_some(()))
    })
}
