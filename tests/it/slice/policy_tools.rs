//! Policies made from the record, and tried on it.

use std::fs;

use anyhow::{Context, Result};
use harness::{Kubectl, Output};
use serde_json::{Value, json};

use super::{Scene, developer_policy};

/// What the agent does all day: look around, create an object and change it.
fn work(kubectl: &Kubectl) -> Result<()> {
    for colour in ["red", "blue"] {
        let paint = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "paint"}, "data": {"colour": colour}});
        kubectl.run_with(&["apply"], &paint)?.success()?;
    }
    kubectl.ok(&["get", "configmaps"])?;
    kubectl.ok(&["get", "pod", "agent"])?;
    Ok(())
}

/// Writes policies into a directory beside the configuration and judges the record by them.
fn simulate(scene: &Scene, policies: &[(&str, &str)]) -> Result<Output> {
    let directory = scene.gateway.path("tried");
    fs::create_dir_all(&directory)?;
    for (name, text) in policies {
        fs::write(directory.join(name), text)?;
    }
    let arguments = [
        "policy",
        "simulate",
        "--policies",
        "tried",
        "--config",
        "gateway.yaml",
        "-o",
        "json",
    ];
    scene.gateway.command(&arguments)
}

fn frozen(namespace: &str) -> String {
    format!(
        r#"apiVersion: sallyport.dev/v1alpha1
kind: AgentPolicy
metadata: {{name: freeze}}
spec:
  subjects:
  - agent: {{name: coder}}
  rules:
  - name: configmaps
    effect: Deny
    verbs: [patch]
    apiGroups: [""]
    resources: [configmaps]
    namespaces: [{namespace}]
    names: ["*"]
"#
    )
}

#[test]
fn a_policy_made_of_an_agents_work_serves_that_work_and_nothing_new() -> Result<()> {
    let mut scene = Scene::new()?;
    work(&scene.kubectl()?)?;
    scene
        .kubectl()?
        .run(&["delete", "configmap", "keep"])?
        .failure()?;

    fs::create_dir(scene.gateway.path("suggested"))?;
    let suggest = [
        "policy",
        "suggest",
        "--agent",
        "coder",
        "--config",
        "gateway.yaml",
        "--write",
        "suggested",
    ];
    scene.gateway.command(&suggest)?.success()?;
    let again = scene.gateway.command(&suggest)?.failure()?;
    assert!(
        again.contains("coder.yaml") && again.contains("--name"),
        "{again}"
    );
    scene
        .gateway
        .command(&["policy", "test", "suggested"])?
        .success()?;
    let suggested = fs::read_to_string(scene.gateway.path("suggested/coder.yaml"))?;
    assert!(suggested.contains("delete configmaps in "), "{suggested}");
    assert!(!suggested.contains("selfsubject"), "{suggested}");

    scene.gateway.stop()?;
    fs::remove_file(scene.gateway.path("policies/developer.yaml"))?;
    fs::write(scene.gateway.path("policies/coder.yaml"), &suggested)?;
    scene
        .namespace
        .api()
        .delete(&format!("{}/paint", scene.configmaps()))?;
    scene.gateway.start_again()?;

    let kubectl = scene.kubectl()?;
    work(&kubectl).context(suggested)?;
    let denied = kubectl.run(&["get", "secrets"])?.failure()?;
    assert!(
        denied.contains("no rule of any AgentPolicy allows it"),
        "{denied}"
    );
    kubectl.run(&["delete", "configmap", "paint"])?.failure()?;
    Ok(())
}

#[test]
fn a_stricter_policy_shows_the_calls_that_it_would_deny() -> Result<()> {
    let scene = Scene::new()?;
    work(&scene.kubectl()?)?;
    let developer = developer_policy(&scene.namespace.name);

    let same = simulate(&scene, &[("developer.yaml", &developer)])?;
    assert_eq!(same.status, 0, "{same:?}");
    let same: Value = serde_json::from_str(&same.stdout)?;
    assert_eq!(
        (&same["changes"], &same["undecidable"]),
        (&json!([]), &json!(0)),
        "{same:#}"
    );
    assert_eq!(same["calls"], same["unchanged"]);

    let stricter = simulate(&scene, &[("freeze.yaml", &frozen(&scene.namespace.name))])?;
    assert_eq!(stricter.status, 1, "{stricter:?}");
    let stricter: Value = serde_json::from_str(&stricter.stdout)?;
    let changes = stricter["changes"].as_array().context("an array")?;
    assert_eq!(changes.len(), 1, "{stricter:#}");
    let change = &changes[0];
    assert_eq!(
        (
            &change["change"],
            &change["agent"],
            &change["verb"],
            &change["resource"],
            &change["calls"]
        ),
        (
            &json!("newlyDenied"),
            &json!("coder"),
            &json!("patch"),
            &json!("configmaps"),
            &json!(1)
        )
    );
    assert_eq!(
        change["then"],
        json!({"decision": "allow", "rule": "developer/work"})
    );
    assert_eq!(
        change["now"],
        json!({"decision": "deny", "rule": "freeze/configmaps"})
    );
    let table = [
        "policy",
        "simulate",
        "--policies",
        "tried",
        "--config",
        "gateway.yaml",
    ];
    let table = scene.gateway.command(&table)?;
    assert_eq!(table.status, 1, "{table:?}");
    assert!(
        table.stdout.contains("newly denied") && table.stdout.contains("deny (freeze/"),
        "{}",
        table.stdout
    );

    let audit_id = change["exampleAuditID"].as_str().context("an audit id")?;
    let example = scene.outcome_of("the example", |call| call["auditID"] == audit_id)?;
    assert_eq!(
        (&example["verb"], &example["objectRef"]["name"]),
        (&json!("patch"), &json!("paint"))
    );

    let broken = simulate(&scene, &[("broken.yaml", "kind: AgentPolicy")])?;
    assert_eq!(broken.status, 2, "{broken:?}");
    assert!(broken.stderr.contains("broken.yaml"), "{broken:?}");
    Ok(())
}

#[test]
fn what_only_an_unrecorded_object_decides_is_undecidable() -> Result<()> {
    let scene = Scene::new()?;
    work(&scene.kubectl()?)?;
    let by_object = frozen(&scene.namespace.name).replace(
        "    names:",
        "    when: \"oldObject.data.colour == 'red'\"\n    names:",
    );
    let developer = developer_policy(&scene.namespace.name);
    let simulated = simulate(
        &scene,
        &[("developer.yaml", &developer), ("freeze.yaml", &by_object)],
    )?;
    assert_eq!(simulated.status, 0, "{simulated:?}");
    let simulated: Value = serde_json::from_str(&simulated.stdout)?;
    assert_eq!(
        (&simulated["changes"], &simulated["undecidable"]),
        (&json!([]), &json!(1)),
        "{simulated:#}"
    );
    let reason = simulated["undecidableReasons"][0]["reason"]
        .as_str()
        .unwrap_or_default();
    assert!(reason.contains("as it was before"), "{simulated:#}");
    Ok(())
}
