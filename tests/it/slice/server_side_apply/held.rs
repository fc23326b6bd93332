//! A server-side apply that people decide on: they see what it makes of the object, and it is sent once.

use std::thread;

use harness::{Kubectl, Output};

use super::*;
use crate::slice::{
    approvals::approval,
    canary::{MARKER, canary, sweep::sweep_files},
};

fn asking(namespace: &str, group: &str) -> String {
    let rule = |name: &str, group: &str, hold: &str| {
        format!(
            r#"
  - name: {name}
    effect: RequireApproval
    verbs: [create, update, patch]
    apiGroups: [{group}]
    resources: [{name}]
    namespaces: [{namespace}]
    names: [held]
    approval: {{hold: {hold}}}"#
        )
    };
    judging(namespace, group).trim_end().to_owned()
        + &rule("gadgets", group, "120s")
        + &rule("secrets", "\"\"", "0s")
        + "\n"
}

impl Gadgets {
    /// Held until somebody approves it.
    fn is_approved_while_held(&self, kubectl: &Kubectl, object: &Value) -> Result<Value> {
        thread::scope(|threads| {
            let held = threads.spawn(|| kubectl.run_with(&SERVER_SIDE, object));
            let request = self.asked.open_request()?;
            self.asked.vote(&request, &approval("ann"))?;
            let output: Result<Output> = held.join().unwrap_or_else(|_| anyhow::bail!("a panic"));
            output?.success()?;
            Ok(request)
        })
    }

    fn is_used_once(&self, request: &Value) -> Result<()> {
        let namespace = &self.asked.scene.namespace;
        let name = request["metadata"]["name"].as_str().context("a name")?;
        let path = format!(
            "/apis/sallyport.dev/v1alpha1/namespaces/{}/approvalrequests/{name}",
            namespace.name
        );
        let uses = namespace.api().get(&path)?["status"]["uses"].take();
        assert_eq!(uses.as_array().map(Vec::len), Some(1), "{uses}");
        Ok(())
    }
}

fn diff(request: &Value) -> Result<&str> {
    request["spec"]["diff"].as_str().context("a diff")
}

#[test]
fn people_see_what_an_apply_makes_and_it_is_sent_once() -> Result<()> {
    let gadgets = Gadgets::new(asking)?;
    let kubectl = gadgets.asked.scene.kubectl()?;
    let canary = canary();
    let spec = |colour: &str, of: &str| json!({"colour": colour, "marker": MARKER, "password": format!("{canary}{of}")});
    let first = gadgets.gadget("held", &spec("green", "1"));
    let made = gadgets.is_approved_while_held(&kubectl, &first)?;
    ensure!(diff(&made)?.contains("+  colour: green"), "{made:#}");
    let second = gadgets.gadget("held", &spec("blue", "2"));
    let changed = gadgets.is_approved_while_held(&kubectl, &second)?;
    for line in [
        "-  colour: green",
        "+  colour: blue",
        "-  password: ",
        "+  password: ",
    ] {
        ensure!(diff(&changed)?.contains(line), "no {line:?} in {changed:#}");
    }
    assert_eq!(gadgets.stored("held")?["spec"], spec("blue", "2"));
    let (dry, real) = gadgets.sent("held")?;
    ensure!(dry >= 2 && real == 2, "{dry} dry runs, {real} others");

    let red = gadgets.gadget("held", &spec("red", "3"));
    let refused = kubectl.run_with(&SERVER_SIDE, &red)?.failure()?;
    ensure!(refused.contains("judge/no-red"), "{refused}");
    shows_nothing(gadgets, &[made, changed], &canary)
}

#[test]
fn people_approve_a_secret_that_is_applied_and_see_no_value() -> Result<()> {
    let gadgets = Gadgets::new(asking)?;
    let kubectl = gadgets.asked.scene.kubectl()?;
    let canary = canary();
    let mut requests = Vec::new();
    for of in ["1", "2"] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "held", "labels": {"marker": MARKER}},
            "stringData": {"password": format!("{canary}{of}")},
        });
        let refused = kubectl.run_with(&SERVER_SIDE, &secret)?.failure()?;
        ensure!(refused.contains("waits for approval"), "{refused}");
        let request = gadgets.asked.open_request()?;
        ensure!(diff(&request)?.contains("password: "), "{request:#}");
        gadgets.asked.vote(&request, &approval("ann"))?;
        kubectl.run_with(&SERVER_SIDE, &secret)?.success()?;
        requests.push(request);
    }
    let (_, real) = sent(&gadgets.asked.scene, "secrets", "held")?;
    assert_eq!(real, 2);
    let plain = format!("--from-literal=marker={MARKER}");
    kubectl
        .run(&["create", "configmap", "plain", &plain])?
        .failure()?;
    shows_nothing(gadgets, &requests, &canary)
}

/// Neither to people nor on disk.
fn shows_nothing(gadgets: Gadgets, requests: &[Value], canary: &str) -> Result<()> {
    for request in requests {
        gadgets.is_used_once(request)?;
    }
    let namespace = &gadgets.asked.scene.namespace;
    let person =
        Kubectl::with_kubeconfig(&gadgets.asked.scene.cluster.kubeconfig, &namespace.name)?;
    let shown = ["approvalrequests", "events"].map(|kind| -> Result<_> {
        let told = person.ok(&["get", kind, "-n", &namespace.name, "-o", "json"])?;
        Ok((kind.to_owned(), told.into_bytes()))
    });
    let shown = shown.into_iter().collect::<Result<_>>()?;
    sweep_files(gadgets.asked.scene, shown, &[canary])
}
