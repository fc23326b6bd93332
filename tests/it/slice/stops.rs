//! Stopped agents: nothing new begins, and what runs ends, until somebody resumes them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Api, Cluster, Exchange, Output, Response, Sallyport, Settings, eventually};
use serde_json::{Value, json};

use super::Scene;

const STOPS: &str = "/apis/sallyport.dev/v1alpha1/agentstops";
const LIMIT: Duration = Duration::from_secs(20);

/// The gateway hears of the cluster's objects.
pub(super) fn with_objects(mut settings: Settings) -> Result<Settings> {
    settings.config["objects"] = json!({});
    Ok(settings)
}

fn scene() -> Result<Scene> {
    Cluster::from_env()?.serve_objects()?;
    Scene::with(|settings, _| with_objects(settings))
}

impl Scene {
    /// As a stop names the agent: other tests' agents have the same name, but not the same account.
    fn account(&self) -> String {
        format!("system:serviceaccount:{}:coder", self.namespace.name)
    }

    /// The administrator's `sallyport agents`.
    fn agents(&self, arguments: &[&str]) -> Result<Output> {
        let person = Sallyport::with_kubeconfig(&self.cluster.kubeconfig)?;
        person.run(&[&["agents"], arguments].concat())
    }

    fn watch(&self) -> Result<(Exchange, Response)> {
        let target = format!("{}?watch=true", self.configmaps());
        let mut exchange = self.start("GET", &target, &[], &[])?;
        let head = exchange.head()?;
        ensure!(head.status == 200, "the watch: {}", head.status);
        Ok((exchange, head))
    }

    fn eventually_denied(&self, what: &str) -> Result<Value> {
        eventually(what, LIMIT, || {
            let answer = self.list()?;
            (answer.status == 403)
                .then(|| answer.refusal(403))
                .transpose()
        })
    }

    fn eventually_served(&self, what: &str) -> Result<()> {
        eventually(what, LIMIT, || {
            Ok((self.list()?.status == 200).then_some(()))
        })
    }
}

/// A stop that is lifted at the latest when the test ends.
struct Stopped {
    api: Api,
    name: String,
}

impl Stopped {
    fn new(cluster: &Cluster, target: &Value) -> Result<Self> {
        let api = cluster.api()?;
        let stop = json!({
            "apiVersion": "sallyport.dev/v1alpha1", "kind": "AgentStop",
            "metadata": {"generateName": "test-"},
            "spec": {"target": target, "reason": "it loops", "by": "alice"},
        });
        let made = api.create(STOPS, &stop)?;
        let name = made["metadata"]["name"].as_str().context("a name")?;
        Ok(Self {
            name: name.to_owned(),
            api,
        })
    }

    fn path(&self) -> String {
        format!("{STOPS}/{}", self.name)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The test may have lifted it.
        let _gone = self.api.delete(&self.path());
    }
}

#[test]
fn a_stop_denies_what_is_new_and_ends_what_runs_until_it_is_lifted() -> Result<()> {
    let scene = scene()?;
    scene.namespace.create_running_pod("shell", &json!({}))?;
    let (mut watch, watch_head) = scene.watch()?;
    let mut shell = scene.waiting()?;

    let account = scene.account();
    let said = scene.agents(&["stop", &account, "--reason", "it loops"])?;
    assert!(
        said.clone().success()?.contains("stopped by AgentStop"),
        "{said:?}"
    );
    let message = scene.eventually_denied("the stop")?["message"].to_string();
    for part in ["AgentStop/", "it loops", "Do not repeat it"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    watch.body(&watch_head).context("the watch ends in order")?;
    assert!(shell.rest()?.is_empty());
    for (verb, resource) in [("watch", "configmaps"), ("get", "pods")] {
        let call = scene.outcome_of("what ran", |call| {
            call["verb"] == verb && call["objectRef"]["resource"] == resource
        })?;
        let why = call["responseStatus"]["message"].to_string();
        assert!(
            call["outcome"] == "aborted" && why.contains("it loops"),
            "{call:#}"
        );
    }

    scene.agents(&["resume", &account])?.success()?;
    scene.eventually_served("the resumed agent")?;
    for verb in ["stop", "resume"] {
        let call = scene.outcome_of("the record of the stop itself", |call| {
            call["verb"] == verb
                && call["responseStatus"]["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(&account))
        })?;
        assert_eq!(call["objectRef"]["resource"], "agentstops", "{call:#}");
    }
    Ok(())
}
