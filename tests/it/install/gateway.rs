//! A gateway with the rights of its ServiceAccount and no others, behind the admission policies of the install.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{Exchange, Gateway, Response, Sallyport, Settings, eventually};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::rbac;

const LIMIT: Duration = Duration::from_secs(60);
const STOPS: &str = "/apis/sallyport.dev/v1alpha1/agentstops";
const GATEWAY: &str = "system:serviceaccount:sallyport-system:sallyport-gateway";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

/// An agent whose ConfigMaps people decide on, and a decoy beside them.
struct Site {
    site: rbac::Site,
    gateway: Gateway,
    agent: String,
    directory: TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let site = rbac::Site::new(&[])?;
        let pod = site.own.create_pod("agent", "coder")?;
        let agent = site.own.token("coder", "sallyport", Some(&pod))?;
        let decoy = json!({"metadata": {"name": "root-credentials"}, "stringData": {"a": "b"}});
        site.own.api().create(&site.own.path("secrets"), &decoy)?;

        let directory = tempfile::tempdir()?;
        let cluster = &site.installation.cluster;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "gateway",
            "clusters": [{"name": "cluster", "cluster": {
                "server": cluster.server, "certificate-authority": cluster.ca_file,
            }}],
            "users": [{"name": "gateway", "user": {"token": site.token}}],
            "contexts": [{"name": "gateway", "context": {"cluster": "cluster", "user": "gateway"}}],
        });
        let path = directory.path().join("gateway");
        fs::write(&path, kubeconfig.to_string())?;
        let mut settings =
            Settings::new(cluster).with_policy("coder.yaml", &policy(&site.own.name));
        settings.config["upstream"]["kubeconfig"] = json!(path);
        settings.config["objects"] = json!({});
        settings.config["decoys"] = json!({
            "secrets": [{"namespace": site.own.name, "name": "root-credentials"}],
            "stopSession": true,
        });
        Ok(Self {
            gateway: Gateway::start(&settings)?,
            site,
            agent,
            directory,
        })
    }

    fn start(&self, method: &str, target: &str, body: &Value) -> Result<Exchange> {
        let format = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let agent = self.gateway.agent(&self.agent)?;
        agent.start_object(method, target, format, body)
    }

    fn create_map(&self, name: &str) -> Result<Exchange> {
        let map = json!({"metadata": {"name": name}});
        self.start("POST", &self.site.own.path("configmaps"), &map)
    }

    /// The request for the approval of a ConfigMap, once it is as wanted.
    fn request(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let (user, map) = (
            self.site.own.synthetic_user("coder"),
            format!("configmaps/{name} "),
        );
        let requests = format!(
            "/apis/sallyport.dev/v1alpha1/namespaces/{}/approvalrequests",
            self.site.own.name
        );
        eventually(&format!("the request for {name}"), LIMIT, || {
            let all = self.site.own.api().get(&requests)?;
            let mut all = all["items"].as_array().into_iter().flatten();
            let is_it = |one: &&Value| {
                one["spec"]["requester"]["upstreamUser"] == user.as_str()
                    && one["spec"]["call"]["summary"].to_string().contains(&map)
                    && wanted(one)
            };
            Ok(all.find(is_it).cloned())
        })
    }

    /// Who may decide, by the role of the install alone.
    fn person(&self, name: &str) -> Result<Sallyport> {
        let path = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
            self.site.own.name
        );
        let binding = json!({
            "metadata": {"generateName": "approver-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sallyport-approver"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        });
        self.site.own.api().create(&path, &binding)?;
        let mut config = self.site.installation.cluster.kubeconfig_as(name)?;
        config["users"][0]["user"]["as-groups"] = json!(["people"]);
        let path = self.directory.path().join(name);
        fs::write(&path, config.to_string())?;
        Sallyport::with_kubeconfig(&path)
    }

    /// Waits until the API server heeds a binding that is there, or is not any more.
    fn may_stop(&self, expected: bool) -> Result<()> {
        let stops = json!({"group": "sallyport.dev", "resource": "agentstops", "verb": "create"});
        let review = json!({"spec": {"user": GATEWAY, "resourceAttributes": stops}});
        let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        eventually("the gateway's right to stop", LIMIT, || {
            let answer = self.site.own.api().create(reviews, &review)?;
            Ok((answer["status"]["allowed"] == expected).then_some(()))
        })
    }

    fn alert(&self, reason: &str) -> Result<Value> {
        let user = self.site.own.synthetic_user("coder");
        let account = format!("system:serviceaccount:{}:coder", self.site.own.name);
        eventually(&format!("the alert {reason}"), LIMIT, || {
            let events = "/api/v1/namespaces/sallyport-system/events";
            let events = self.site.own.api().get(events)?;
            let mut events = events["items"].as_array().into_iter().flatten();
            let is_it = |event: &&Value| {
                let note = event["message"].as_str().unwrap_or_default();
                event["reason"] == reason && (note.contains(&user) || note.contains(&account))
            };
            Ok(events.find(is_it).cloned())
        })
    }

    /// The stop that the gateway makes for a read of the decoy, resumed and deleted again.
    fn stopped_for(&self, read: &Response) -> Result<Value> {
        let api = self.site.own.api();
        let audit_id = read.header("audit-id").context("no Audit-ID")?;
        let path = format!("{STOPS}/decoy-{audit_id}");
        let stop = eventually("the stop", LIMIT, || {
            let answer = api.answer("GET", &path, &[], &Value::Null)?;
            Ok((answer.status == 200).then_some(answer))
        })
        .with_context(|| self.gateway.log())?;
        let at = Timestamp::now().to_string();
        let resumed = json!({"status": {"resumed": {"by": "admin", "at": at, "reason": "a test"}}});
        api.patch(&format!("{path}/status"), &resumed)?;
        api.delete(&path)?;
        stop.json()
    }
}

fn policy(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: coder}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - name: secrets
    effect: Allow
    verbs: [get]
    apiGroups: [""]
    resources: [secrets]
    namespaces: [{namespace}]
    names: ["*"]
  - name: maps
    effect: RequireApproval
    verbs: [create]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
    approval: {{hold: 60s}}
"#
    )
}

#[test]
fn gateway_does_its_work_with_the_rights_of_its_service_account() -> Result<()> {
    let site = Site::new()?;
    it_asks_and_uses_an_approval(&site)?;
    it_withdraws_what_nobody_waits_for(&site)?;
    it_tells_of_what_it_denied(&site)?;
    it_stops_who_reads_a_decoy(&site)?;
    let log = site.gateway.log();
    assert!(!log.contains("forbidden"), "{log}");
    Ok(())
}

fn it_asks_and_uses_an_approval(site: &Site) -> Result<()> {
    let namespace = &site.site.own.name;
    let carol = format!("carol-{namespace}");
    let person = site.person(&carol)?;
    let mut waiting = site.create_map("web")?;
    let asked = site.request("web", |_| true)?;
    let name = asked["metadata"]["name"].as_str().context("a name")?;
    let approve = ["approvals", "approve", "-n", namespace, name, "--yes"];
    person.run(&approve)?.success()?;
    let made = waiting.response()?;
    ensure!(
        made.status == 201,
        "{}\n{}",
        made.text(),
        site.gateway.log()
    );
    let used = site.request("web", |one| one["status"]["uses"][0].is_object())?;
    assert_eq!(used["status"]["votes"][0]["by"], carol.as_str(), "{used:#}");
    Ok(())
}

fn it_withdraws_what_nobody_waits_for(site: &Site) -> Result<()> {
    let left = site.create_map("other")?;
    site.request("other", |_| true)?;
    drop(left);
    site.request("other", |one| !one["status"]["withdrawnAt"].is_null())?;
    Ok(())
}

fn it_tells_of_what_it_denied(site: &Site) -> Result<()> {
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles/any";
    let denied = site.start("PATCH", roles, &json!({}))?.response()?;
    denied.refusal(403)?;
    site.alert("CriticalDenied").map(drop)
}

fn it_stops_who_reads_a_decoy(site: &Site) -> Result<()> {
    let own = &site.site.own;
    let _with_decoys = site.site.installation.rights_of_the_gateway()?;
    let binding = json!({
        "metadata": {"name": format!("decoys-{}", own.name)},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sallyport-gateway-decoys",
        },
        "subjects": [{"kind": "ServiceAccount", "namespace": "sallyport-system", "name": "sallyport-gateway"}],
    });
    own.api().create(BINDINGS, &binding)?;
    site.may_stop(true)?;
    let target = own.path("secrets/root-credentials");
    let read = site.start("GET", &target, &Value::Null)?.response()?;
    let stop = site.stopped_for(&read);
    own.api()
        .delete(&format!("{BINDINGS}/decoys-{}", own.name))?;
    site.may_stop(false)?;
    assert_eq!(stop?["spec"]["by"], GATEWAY);
    site.alert("DecoyRead").map(drop)
}
