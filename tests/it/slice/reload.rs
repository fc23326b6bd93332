//! Policies change while the gateway runs; a bad one changes nothing but the log.

use std::time::Duration;

use anyhow::Result;
use harness::eventually;
use serde_json::Value;

use super::Scene;

const LIMIT: Duration = Duration::from_secs(20);

fn freeze(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: freeze}}
spec:
  subjects:
  - all: "*"
  rules:
  - name: nobody-lists
    effect: Deny
    verbs: [list]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
"#
    )
}

fn reloads(scene: &Scene) -> usize {
    let log = scene.gateway.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| {
            line["fields"]["message"] == "reloaded" && line["fields"]["part"] == "policies"
        })
        .count()
}

#[test]
fn a_bad_policy_keeps_the_last_good_set_and_is_explained() -> Result<()> {
    let scene = Scene::new()?;
    let misspelt = freeze(&scene.namespace.name).replace("    namespaces:", "    namespace:");
    scene.gateway.write_policy("freeze.yaml", &misspelt)?;
    scene
        .gateway
        .wait_for_log("why the policy is bad", |line| {
            let error = line["fields"]["error"].as_str().unwrap_or_default();
            line["level"] == "ERROR"
                && ["freeze.yaml", "nobody-lists", "namespace"]
                    .iter()
                    .all(|part| error.contains(part))
        })?;
    assert_eq!(scene.list()?.status, 200);

    scene
        .gateway
        .write_policy("freeze.yaml", &freeze(&scene.namespace.name))?;
    eventually("the corrected policy", LIMIT, || {
        Ok((scene.list()?.status == 403).then_some(()))
    })
}

#[test]
fn a_policy_takes_effect_when_its_file_appears_and_ends_with_it() -> Result<()> {
    let scene = Scene::new()?;
    assert_eq!(scene.list()?.status, 200);
    scene
        .gateway
        .write_policy("freeze.yaml", &freeze(&scene.namespace.name))?;
    eventually("the new policy", LIMIT, || {
        Ok((scene.list()?.status == 403).then_some(()))
    })?;
    let status = scene.list()?.refusal(403)?;
    assert!(
        status["message"]
            .as_str()
            .is_some_and(|message| message.contains("freeze/nobody-lists")),
        "{status}"
    );

    std::fs::remove_file(scene.gateway.path("policies/freeze.yaml"))?;
    eventually("the end of the policy", LIMIT, || {
        Ok((scene.list()?.status == 200).then_some(()))
    })
}

#[test]
fn sighup_reads_everything_again() -> Result<()> {
    let scene = Scene::new()?;
    let before = reloads(&scene);
    scene.gateway.reload()?;
    eventually("the reload by SIGHUP", LIMIT, || {
        Ok((reloads(&scene) > before).then_some(()))
    })
}
