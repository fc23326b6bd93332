//! Calls that people decide on: held by the gateway, approved or denied past it, sent once.

use std::{
    thread::{Scope, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use harness::{Gateway, Kubectl, Output, Response, Sallyport, Settings, eventually};
use serde_json::{Value, json};

use super::Scene;

mod away;
#[cfg(target_os = "linux")]
mod clocks;
mod collections;
mod command_line;
mod decisions;
mod gateways;
mod http2;
mod large;
mod long;
mod meanwhile;
mod often;
mod scopes;
mod secrets;
mod shown;
mod stopped;
mod storm;
mod streams;

pub(super) const SOON: Duration = Duration::from_secs(60);
const API: &str = "/apis/sallyport.dev/v1alpha1";

/// An agent whose ConfigMaps people decide on, and the requests for their approval.
pub(super) struct Asked {
    pub(super) scene: Scene,
    person: Kubectl,
    settings: Settings,
}

impl Asked {
    /// With the approval's terms, as YAML of one line.
    fn with(terms: &str) -> Result<Self> {
        Self::with_settings(terms, |settings, _| settings)
    }

    /// With settings that are changed for the namespace of this name.
    pub(super) fn with_settings(
        terms: &str,
        change: impl FnOnce(Settings, &str) -> Settings,
    ) -> Result<Self> {
        let mut used = None;
        let scene = Scene::with(|mut settings, namespace| {
            install_definitions(&settings)?;
            settings.config["objects"] = json!({"namespace": namespace.name});
            let policy = asking(&namespace.name, terms);
            let settings = change(settings.with_policy("ask.yaml", &policy), &namespace.name);
            used = Some(settings.clone());
            Ok(settings)
        })?;
        let person = Kubectl::with_kubeconfig(&scene.cluster.kubeconfig, &scene.namespace.name)?;
        let settings = used.context("the settings were made")?;
        Ok(Self {
            scene,
            person,
            settings,
        })
    }

    /// The agent's kubectl, which goes on meanwhile.
    pub(super) fn agent_runs<'s, 'e>(
        &'e self,
        threads: &'s Scope<'s, 'e>,
        arguments: &'e [&'e str],
    ) -> Result<ScopedJoinHandle<'s, Result<Output>>> {
        let kubectl = self.scene.kubectl()?;
        Ok(threads.spawn(move || kubectl.run(arguments)))
    }

    fn path(&self) -> String {
        format!(
            "{API}/namespaces/{}/approvalrequests",
            self.scene.namespace.name
        )
    }

    fn requests(&self) -> Result<Vec<Value>> {
        let list = self.scene.namespace.api().get(&self.path())?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits for the one request that `wanted` is true of.
    fn request(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(what, SOON, || {
            Ok(self.requests()?.into_iter().find(&wanted))
        })
    }

    pub(super) fn open_request(&self) -> Result<Value> {
        self.request("a request that waits", is_open)
    }

    /// What a call that was voted for says, once the gateway has heard of the vote.
    fn passes(&self, run: impl Fn() -> Result<Output>) -> Result<String> {
        eventually("the call that was approved", SOON, || {
            let output = run()?;
            if output.is_success() {
                return Ok(Some(output.stdout));
            }
            ensure!(output.stderr.contains("waits for approval"), "{output:?}");
            Ok(None)
        })
    }

    /// Waits until so many calls are recorded as held: their request is there before that.
    fn wait_for_held(&self, calls: usize) -> Result<()> {
        self.wait_for_held_by(&self.scene.gateway, calls)
    }

    fn wait_for_held_by(&self, gateway: &Gateway, calls: usize) -> Result<()> {
        eventually("calls that are held", SOON, || {
            // Store and log: by the last, the first may have been shipped.
            let all = gateway.audit_list(&[])?;
            let held = all.iter().filter(|call| is_call(call, "pending"));
            Ok((held.count() == calls).then_some(()))
        })
    }

    /// The outcome of the call whose approval is in this state.
    fn outcome(&self, state: &str) -> Result<Value> {
        let what = format!("a call whose approval is {state}");
        self.scene.outcome_of(&what, |row| is_call(row, state))
    }

    /// The request as it is.
    fn again(&self, request: &Value) -> Result<Value> {
        let name = name(request)?;
        self.scene
            .namespace
            .api()
            .get(&format!("{}/{name}", self.path()))
    }

    /// How often it was used.
    fn uses(&self, request: &Value) -> Result<usize> {
        let uses = self.again(request)?["status"]["uses"]
            .as_array()
            .map(Vec::len);
        Ok(uses.unwrap_or_default())
    }

    /// A person's vote, by plain kubectl.
    pub(super) fn vote(&self, request: &Value, vote: &Value) -> Result<()> {
        let patch = json!([{"op": "add", "path": "/status/votes/-", "value": vote}]).to_string();
        let arguments = [
            "patch",
            "-n",
            &self.scene.namespace.name,
            "approvalrequest",
            name(request)?,
            "--subresource=status",
            "--type=json",
            "-p",
            &patch,
        ];
        self.person.ok(&arguments).map(drop)
    }

    /// Deletes every request.
    fn clear(&self) -> Result<()> {
        self.scene.namespace.api().delete(&self.path()).map(drop)
    }

    fn exists(&self, configmap: &str) -> Result<bool> {
        let path = format!("{}/{configmap}", self.scene.configmaps());
        let answer = self
            .scene
            .namespace
            .api()
            .answer("GET", &path, &[], &Value::Null)?;
        Ok(answer.status == 200)
    }
}

/// Nobody has said anything to it, and somebody waits.
fn is_open(request: &Value) -> bool {
    request["status"]["votes"] == json!([]) && request["status"]["withdrawnAt"].is_null()
}

/// Whether a record is of a call whose approval is in this state: what becomes of another test's BreakGlass is recorded
/// by every gateway.
pub(super) fn is_call(record: &Value, state: &str) -> bool {
    record["objectRef"]["resource"] != "breakglasses" && record["approval"]["state"] == state
}

/// The call was not sent, and people are asked about it.
pub(super) fn is_asked(answer: &Response) -> Result<()> {
    let message = answer.message(403)?;
    ensure!(message.contains("waits for approval"), "{message}");
    Ok(())
}

fn name(request: &Value) -> Result<&str> {
    request["metadata"]["name"]
        .as_str()
        .context("a request without a name")
}

pub(super) fn approval(by: &str) -> Value {
    json!({"result": "Approved", "by": by, "via": "Kubernetes", "at": "2026-01-01T00:00:00Z", "scope": "Once"})
}

fn denial(by: &str, reason: &str) -> Value {
    json!({"result": "Denied", "by": by, "via": "Kubernetes", "at": "2026-01-01T00:00:00Z", "reason": reason})
}

/// Of this version, on the control plane that all tests share.
fn install_definitions(settings: &Settings) -> Result<()> {
    let kubeconfig = settings.config["upstream"]["kubeconfig"].as_str();
    let kubeconfig = std::path::Path::new(kubeconfig.context("no kubeconfig")?);
    let printed = Sallyport::with_kubeconfig(kubeconfig)?.run(&["debug", "crds"])?;
    let kubectl = Kubectl::with_kubeconfig(kubeconfig, "default")?;
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let applied = kubectl.run_with_input(&apply, printed.success()?.as_bytes())?;
    applied.success()?;
    let established = [
        "wait",
        "--for=condition=Established",
        "crd/approvalrequests.sallyport.dev",
    ];
    kubectl.ok(&established).map(drop)
}

pub(super) fn asking(namespace: &str, terms: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: ask}}
spec:
  subjects:
  - serviceAccount: {{namespace: {namespace}, name: coder}}
  rules:
  - name: maps
    effect: RequireApproval
    verbs: [create, update, patch, deletecollection]
    apiGroups: [""]
    resources: [configmaps, pods/attach, pods/exec, pods/ephemeralcontainers]
    namespaces: [{namespace}]
    names: ["*"]
    reason: ConfigMaps are looked at first
    approval: {terms}
"#
    )
}
